import CRNN
import RNN

extension rnn_load_options: SizedStruct {}
extension rnn_save_options: SizedStruct {}
extension rnn_network_info: SizedStruct {}
extension rnn_tensor_info: SizedStruct {}

private func limit(_ options: rnn_load_options) throws(RNNError) -> Int? {
  // A limit above SSIZE_MAX arrives negative, and is none.
  options.max_parameters > 0 ? options.max_parameters : nil
}

@_cdecl("rnn_network_load") @implementation
public func rnn_network_load(
  _ path: UnsafePointer<CChar>!, _ options: UnsafePointer<rnn_load_options>!,
  _ out_network: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  making(.network, out_network, named: "out_network") { () throws(RNNError) in
    let limit = try limit(try RNNExports.options(options))
    return NetworkObject(
      try Network(contentsOf: try text(path, named: "path"), largestParameterCount: limit))
  }
}

@_cdecl("rnn_network_load_memory") @implementation
public func rnn_network_load_memory(
  _ bytes: UnsafePointer<UInt8>!, _ byte_count: Int, _ options: UnsafePointer<rnn_load_options>!,
  _ out_network: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  making(.network, out_network, named: "out_network") { () throws(RNNError) in
    let limit = try limit(try RNNExports.options(options))
    guard bytes != nil else { throw RNNError(.invalidArgument, "bytes is NULL") }
    let file = UnsafeRawBufferPointer(try array(bytes, byte_count, named: "bytes"))
    return NetworkObject(try Network(file, largestParameterCount: limit))
  }
}

@_cdecl("rnn_network_save") @implementation
public func rnn_network_save(
  _ network: OpaquePointer!, _ path: UnsafePointer<CChar>!, _ options: UnsafePointer<rnn_save_options>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      let options = try RNNExports.options(options)
      let synchronize = try !flag(options.no_sync, named: "no_sync")
      try object.network.save(to: try text(path, named: "path"), synchronize: synchronize)
    }
  }
}

@_cdecl("rnn_network_destroy") @implementation
public func rnn_network_destroy(_ network: OpaquePointer!) { HandleTable.destroy(network, .network) }

@_cdecl("rnn_network_describe") @implementation
public func rnn_network_describe(
  _ network: OpaquePointer!, _ out_info: UnsafeMutablePointer<rnn_network_info>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      let architecture = object.network.architecture
      var info = rnn_network_info()
      info.dtype = architecture.dataType == .float32 ? 0 : 1
      info.streamable = architecture.isStreamable ? 1 : 0
      info.single_step_output = architecture.hasSingleStepOutput ? 1 : 0
      info.input_size = architecture.inputSize
      info.token_count = architecture.tokenCount
      info.output_size = architecture.outputSize
      info.parameter_count = architecture.parameters.count
      info.parameter_elements = architecture.parameterCount
      info.state_count = architecture.states.count
      info.state_elements = architecture.stateCount
      info.layer_directions = architecture.layerDirections
      try fill(out_info, with: info)
    }
  }
}

func describe(
  _ slots: [TensorSlot], _ index: Int, _ what: StaticString, _ target: UnsafeMutablePointer<rnn_tensor_info>?,
  name: (Int) -> UnsafePointer<CChar>
) throws(RNNError) {
  guard slots.indices.contains(index) else {
    throw RNNError(.notFound, "\(what) \(UInt(bitPattern: index)): there are \(slots.count)")
  }
  let slot = slots[index]
  var info = rnn_tensor_info()
  info.name = name(index)
  info.offset = slot.offset
  info.element_count = slot.count
  info.rank = slot.shape.count
  let shape = slot.shape + [0, 0, 0, 0]
  info.shape = (shape[0], shape[1], shape[2], shape[3])
  try fill(target, with: info)
}

@_cdecl("rnn_network_parameter_info") @implementation
public func rnn_network_parameter_info(
  _ network: OpaquePointer!, _ index: Int, _ out_info: UnsafeMutablePointer<rnn_tensor_info>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try describe(
        object.network.architecture.parameters, index, "parameter", out_info, name: object.parameterName)
    }
  }
}

@_cdecl("rnn_network_state_info") @implementation
public func rnn_network_state_info(
  _ network: OpaquePointer!, _ index: Int, _ out_info: UnsafeMutablePointer<rnn_tensor_info>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try describe(object.network.architecture.states, index, "state", out_info, name: object.stateName)
    }
  }
}

@_cdecl("rnn_network_architecture") @implementation
public func rnn_network_architecture(
  _ network: OpaquePointer!, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int,
  _ out_length: UnsafeMutablePointer<Int>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try copyText(try object.network.architectureText(), to: buffer, capacity: capacity, length: out_length)
    }
  }
}

@_cdecl("rnn_network_metadata_get") @implementation
public func rnn_network_metadata_get(
  _ network: OpaquePointer!, _ key: UnsafePointer<CChar>!, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int,
  _ out_length: UnsafeMutablePointer<Int>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      let key = try text(key, named: "key")
      guard let value = object.network.metadata[key] else {
        throw RNNError(.notFound, "no metadata entry '\(key.prefix(80))'")
      }
      try copyText(value, to: buffer, capacity: capacity, length: out_length)
    }
  }
}

@_cdecl("rnn_network_metadata_set") @implementation
public func rnn_network_metadata_set(
  _ network: OpaquePointer!, _ key: UnsafePointer<CChar>!, _ value: UnsafePointer<CChar>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try object.network.setMetadata(
        try text(key, named: "key"), to: try optionalText(value, named: "value"))
    }
  }
}

@_cdecl("rnn_network_metadata_key") @implementation
public func rnn_network_metadata_key(
  _ network: OpaquePointer!, _ index: Int, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int,
  _ out_length: UnsafeMutablePointer<Int>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      let keys = object.network.metadata.keys.sorted()
      guard keys.indices.contains(index) else {
        throw RNNError(.notFound, "metadata entry \(UInt(bitPattern: index)): there are \(keys.count)")
      }
      try copyText(keys[index], to: buffer, capacity: capacity, length: out_length)
    }
  }
}

@_cdecl("rnn_network_parameter_get") @implementation
public func rnn_network_parameter_get(
  _ network: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ out_values: UnsafeMutablePointer<Float>!, _ values_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try object.network.readParameter(
        try optionalText(name, named: "name"), into: try array(out_values, values_count, named: "out_values"))
    }
  }
}

@_cdecl("rnn_network_parameter_set") @implementation
public func rnn_network_parameter_set(
  _ network: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ values: UnsafePointer<Float>!, _ values_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try object.network.writeParameter(
        try optionalText(name, named: "name"), from: try array(values, values_count, named: "values"))
    }
  }
}

// MARK: - The same in double

@_cdecl("rnn_network_parameter_get_f64") @implementation
public func rnn_network_parameter_get_f64(
  _ network: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ out_values: UnsafeMutablePointer<Double>!, _ values_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try object.network.readParameter(
        try optionalText(name, named: "name"), into: try array(out_values, values_count, named: "out_values"))
    }
  }
}

@_cdecl("rnn_network_parameter_set_f64") @implementation
public func rnn_network_parameter_set_f64(
  _ network: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ values: UnsafePointer<Double>!, _ values_count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try object.network.writeParameter(
        try optionalText(name, named: "name"), from: try array(values, values_count, named: "values"))
    }
  }
}
