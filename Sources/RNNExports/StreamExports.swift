import CRNN
import RNN

extension rnn_stream_options: SizedStruct {}

@_cdecl("rnn_stream_create") @implementation
public func rnn_stream_create(
  _ network: OpaquePointer!, _ options: UnsafePointer<rnn_stream_options>!,
  _ out_stream: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  making(.stream, out_stream, named: "out_stream") { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      let options = try RNNExports.options(options)
      let storage: NetworkStream.WeightStorage
      switch options.weight_storage {
      case RNN_STORAGE_FULL: storage = .full
      case RNN_STORAGE_BFLOAT16: storage = .bfloat16
      default:
        throw RNNError(
          .invalidArgument, "weight_storage is \(options.weight_storage), expected RNN_STORAGE_FULL or RNN_STORAGE_BFLOAT16")
      }
      return StreamObject(
        try NetworkStream(
          object.network, batchSize: options.batch_size == 0 ? 1 : options.batch_size,
          threadCount: options.num_threads == 0 ? 1 : options.num_threads, weightStorage: storage))
    }
  }
}

@_cdecl("rnn_stream_step") @implementation
public func rnn_stream_step(_ stream: OpaquePointer!) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let borrowed = try HandleTable.borrow(stream, .stream, exclusively: true, named: "stream")
    defer { borrowed.end() }
    // Counting references on the way would take 20 ns of some 90.
    if borrowed.read(StreamObject.self, { $0.unmanaged._withUnsafeGuaranteedRef { $0.stepPrepared() } }) { return }
    try borrowed.object(as: StreamObject.self).stream.step()
  }
}

@_cdecl("rnn_stream_reset") @implementation
public func rnn_stream_reset(_ stream: OpaquePointer!) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withStream(stream) { (stream) throws(RNNError) in try stream.reset() }
  }
}

@_cdecl("rnn_stream_state_get") @implementation
public func rnn_stream_state_get(_ stream: OpaquePointer!, _ state: OpaquePointer!) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withStream(stream) { (stream) throws(RNNError) in
      try withState(state) { (object) throws(RNNError) in
        guard object.state != nil else { return }
        try stream.readState(into: &object.state!)
      }
    }
  }
}

@_cdecl("rnn_stream_state_set") @implementation
public func rnn_stream_state_set(_ stream: OpaquePointer!, _ state: OpaquePointer!) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withStream(stream) { (stream) throws(RNNError) in
      try withState(state) { (object) throws(RNNError) in
        if let state = object.state { try stream.writeState(state) }
      }
    }
  }
}

@_cdecl("rnn_stream_destroy") @implementation
public func rnn_stream_destroy(_ stream: OpaquePointer!) { HandleTable.destroy(stream, .stream) }

/// Tells where the stream's own memory is.
private func bind<Element>(
  _ stream: OpaquePointer?, _ values: UnsafeMutablePointer<UnsafeMutablePointer<Element>?>?,
  _ count: UnsafeMutablePointer<Int>?,
  _ memory: (NetworkStream) throws(RNNError) -> UnsafeMutableBufferPointer<Element>
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let values = try required(values, named: "out_values")
    let count = try required(count, named: "out_count")
    let buffer = try withStream(stream, memory)
    values.pointee = buffer.baseAddress
    count.pointee = buffer.count
  }
}

@_cdecl("rnn_stream_tokens") @implementation
public func rnn_stream_tokens(
  _ stream: OpaquePointer!, _ out_values: UnsafeMutablePointer<UnsafeMutablePointer<Int64>?>!,
  _ out_count: UnsafeMutablePointer<Int>!
) -> rnn_status {
  bind(stream, out_values, out_count) { $0.tokens }
}

@_cdecl("rnn_stream_input") @implementation
public func rnn_stream_input(
  _ stream: OpaquePointer!, _ out_values: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>!,
  _ out_count: UnsafeMutablePointer<Int>!
) -> rnn_status {
  bind(stream, out_values, out_count) { (stream) throws(RNNError) in try stream.input(as: Float.self) }
}

@_cdecl("rnn_stream_output") @implementation
public func rnn_stream_output(
  _ stream: OpaquePointer!, _ out_values: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>!,
  _ out_count: UnsafeMutablePointer<Int>!
) -> rnn_status {
  bind(stream, out_values, out_count) { (stream) throws(RNNError) in try stream.output(as: Float.self) }
}

@_cdecl("rnn_stream_process") @implementation
public func rnn_stream_process(
  _ stream: OpaquePointer!, _ T: Int, _ input: UnsafePointer<Float>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ output: UnsafeMutablePointer<Float>!, _ output_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withStream(stream) { (stream) throws(RNNError) in
      let features = try array(input, input_count, named: "input")
      let tokenArray = try array(tokens, tokens_count, named: "tokens")
      let target = try array(output, output_count, named: "output")
      try checkDisjoint(target, "output", features, "input")
      try checkDisjoint(target, "output", tokenArray, "tokens")
      try stream.process(stepCount: T, features: features, tokens: tokenArray, output: target)
    }
  }
}

// MARK: - The same in double

@_cdecl("rnn_stream_input_f64") @implementation
public func rnn_stream_input_f64(
  _ stream: OpaquePointer!, _ out_values: UnsafeMutablePointer<UnsafeMutablePointer<Double>?>!,
  _ out_count: UnsafeMutablePointer<Int>!
) -> rnn_status {
  bind(stream, out_values, out_count) { (stream) throws(RNNError) in try stream.input(as: Double.self) }
}

@_cdecl("rnn_stream_output_f64") @implementation
public func rnn_stream_output_f64(
  _ stream: OpaquePointer!, _ out_values: UnsafeMutablePointer<UnsafeMutablePointer<Double>?>!,
  _ out_count: UnsafeMutablePointer<Int>!
) -> rnn_status {
  bind(stream, out_values, out_count) { (stream) throws(RNNError) in try stream.output(as: Double.self) }
}

@_cdecl("rnn_stream_process_f64") @implementation
public func rnn_stream_process_f64(
  _ stream: OpaquePointer!, _ T: Int, _ input: UnsafePointer<Double>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ output: UnsafeMutablePointer<Double>!, _ output_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withStream(stream) { (stream) throws(RNNError) in
      let features = try array(input, input_count, named: "input")
      let tokenArray = try array(tokens, tokens_count, named: "tokens")
      let target = try array(output, output_count, named: "output")
      try checkDisjoint(target, "output", features, "input")
      try checkDisjoint(target, "output", tokenArray, "tokens")
      try stream.process(stepCount: T, features: features, tokens: tokenArray, output: target)
    }
  }
}
