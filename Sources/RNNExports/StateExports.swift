import CRNN
import RNN

extension rnn_state_options: SizedStruct {}

@_cdecl("rnn_state_create") @implementation
public func rnn_state_create(
  _ network: OpaquePointer!, _ options: UnsafePointer<rnn_state_options>!,
  _ out_state: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  making(.state, out_state, named: "out_state") { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      let options = try RNNExports.options(options)
      return StateObject(
        try object.network.makeState(batchSize: options.batch_size == 0 ? 1 : options.batch_size))
    }
  }
}

@_cdecl("rnn_state_clone") @implementation
public func rnn_state_clone(
  _ state: OpaquePointer!, _ out_state: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  making(.state, out_state, named: "out_state") { () throws(RNNError) in
    try withState(state) { (object) throws(RNNError) in
      guard let copy = try object.state?.cloned() else { throw RNNError(.invalidHandle, "state is empty") }
      return StateObject(copy)
    }
  }
}

@_cdecl("rnn_state_reset") @implementation
public func rnn_state_reset(_ state: OpaquePointer!) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withState(state) { (object) throws(RNNError) in try object.state?.reset() }
  }
}

@_cdecl("rnn_state_destroy") @implementation
public func rnn_state_destroy(_ state: OpaquePointer!) { HandleTable.destroy(state, .state) }

@_cdecl("rnn_state_read") @implementation
public func rnn_state_read(
  _ state: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ out_values: UnsafeMutablePointer<Float>!, _ values_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withState(state) { (object) throws(RNNError) in
      try object.state?.read(
        try optionalText(name, named: "name"), into: try array(out_values, values_count, named: "out_values"))
    }
  }
}

@_cdecl("rnn_state_write") @implementation
public func rnn_state_write(
  _ state: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ values: UnsafePointer<Float>!, _ values_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withState(state) { (object) throws(RNNError) in
      try object.state?.write(
        try optionalText(name, named: "name"), from: try array(values, values_count, named: "values"))
    }
  }
}

// MARK: - The same in double

@_cdecl("rnn_state_read_f64") @implementation
public func rnn_state_read_f64(
  _ state: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ out_values: UnsafeMutablePointer<Double>!, _ values_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withState(state) { (object) throws(RNNError) in
      try object.state?.read(
        try optionalText(name, named: "name"), into: try array(out_values, values_count, named: "out_values"))
    }
  }
}

@_cdecl("rnn_state_write_f64") @implementation
public func rnn_state_write_f64(
  _ state: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ values: UnsafePointer<Double>!, _ values_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withState(state) { (object) throws(RNNError) in
      try object.state?.write(
        try optionalText(name, named: "name"), from: try array(values, values_count, named: "values"))
    }
  }
}
