import CRNN
import RNN

extension rnn_builder_options: SizedStruct {}
extension rnn_recurrent_options: SizedStruct {}
extension rnn_build_options: SizedStruct {}

@_cdecl("rnn_builder_create") @implementation
public func rnn_builder_create(
  _ options: UnsafePointer<rnn_builder_options>!, _ out_builder: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  making(.builder, out_builder, named: "out_builder") { () throws(RNNError) in
    let options = try RNNExports.options(options)
    switch options.dtype {
    case 0: return BuilderObject(Architecture(dataType: .float32))
    case 1: return BuilderObject(Architecture(dataType: .float64))
    default: throw unknown("dtype", options.dtype)
    }
  }
}

/// Adds a node to a builder: the names, then what it computes.
private func add(
  _ builder: OpaquePointer?, _ name: UnsafePointer<CChar>?, reading inputs: [UnsafePointer<CChar>?] = [],
  _ operation: () throws(RNNError) -> Operator
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withBuilder(builder) { (builder) throws(RNNError) in
      var names: [String] = []
      for input in inputs {
        if let input = try optionalText(input, named: "input") { names.append(input) }
      }
      try builder.architecture.add(try operation(), name: try optionalText(name, named: "name"), inputs: names)
    }
  }
}

@_cdecl("rnn_builder_add_input") @implementation
public func rnn_builder_add_input(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ size: Int
) -> rnn_status {
  add(builder, name) { .input(size: size) }
}

@_cdecl("rnn_builder_add_token_input") @implementation
public func rnn_builder_add_token_input(_ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!) -> rnn_status {
  add(builder, name) { .tokenInput }
}

@_cdecl("rnn_builder_add_embedding") @implementation
public func rnn_builder_add_embedding(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ input: UnsafePointer<CChar>!,
  _ vocabulary_size: Int, _ embedding_size: Int
) -> rnn_status {
  add(builder, name, reading: [input]) { .embedding(vocabularySize: vocabulary_size, size: embedding_size) }
}

@_cdecl("rnn_builder_add_one_hot") @implementation
public func rnn_builder_add_one_hot(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ input: UnsafePointer<CChar>!, _ size: Int
) -> rnn_status {
  add(builder, name, reading: [input]) { .oneHot(size: size) }
}

@_cdecl("rnn_builder_add_recurrent") @implementation
public func rnn_builder_add_recurrent(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ input: UnsafePointer<CChar>!,
  _ options: UnsafePointer<rnn_recurrent_options>!
) -> rnn_status {
  add(builder, name, reading: [input]) { () throws(RNNError) in
    guard options != nil else { throw RNNError(.invalidArgument, "options is NULL, and hidden_size has no default") }
    let options = try RNNExports.options(options)
    let cell: CellKind
    switch options.cell {
    case 0: cell = .vanilla(try Nonlinearity(constant: options.nonlinearity))
    case 1: cell = .gru(try GRUVariant(constant: options.gru_variant))
    case 2: cell = .lstm
    default: throw unknown("cell", options.cell)
    }
    let bias: BiasMode?
    switch options.bias {
    case 0: bias = nil
    case 1: bias = BiasMode.none
    case 2: bias = .single
    case 3: bias = .double
    default: throw unknown("bias", options.bias)
    }
    var configuration = RecurrentConfiguration(
      cell, hiddenSize: options.hidden_size, layerCount: options.num_layers == 0 ? 1 : options.num_layers,
      bidirectional: try flag(options.bidirectional, named: "bidirectional"), bias: bias, dropout: options.dropout)
    try configuration.take(options)
    return .recurrent(configuration)
  }
}

extension RecurrentConfiguration {
  /// The options beside those of the initializer.
  fileprivate mutating func take(_ options: rnn_recurrent_options) throws(RNNError) {
    if try flag(options.reverse, named: "reverse") {
      guard !bidirectional else { throw RNNError(.invalidArgument, "reverse and bidirectional are both 1, expected one of them") }
      direction = .reverse
    }
    switch options.merge {
    case 0: merge = .concat
    case 1: merge = .sum
    case 2: merge = .mean
    case 3: merge = .product
    default: throw unknown("merge", options.merge)
    }
    reverseHiddenSize = options.hidden_size_reverse == 0 ? nil : options.hidden_size_reverse
    projectionSize = options.proj_size == 0 ? nil : options.proj_size
    isResidual = try flag(options.residual, named: "residual")
    learnsInitialState = try flag(options.learned_initial_state, named: "learned_initial_state")
    hasPeepholes = try flag(options.peepholes, named: "peepholes")
    hasCoupledGates = try flag(options.coupled_gates, named: "coupled_gates")
    cellClip = options.cell_clip == 0 ? nil : options.cell_clip
    gateClip = options.gate_clip == 0 ? nil : options.gate_clip
    clipsOutputActivation = try flag(options.gate_clip_output, named: "gate_clip_output")
    forgetBias = options.forget_bias
    recurrentDropout = options.recurrent_dropout

    let slots = Int(RNN_ACTIVATION_SLOTS)
    let kinds = elements(of: options.activations, as: Int32.self, count: 2 * slots)
    let alphas = elements(of: options.activation_alpha, as: Double.self, count: 2 * slots)
    let betas = elements(of: options.activation_beta, as: Double.self, count: 2 * slots)
    var given: [[Activation?]] = []
    for direction in 0..<2 {
      var row: [Activation?] = []
      for slot in 0..<slots {
        let at = direction * slots + slot
        let place = "activations[\(direction)][\(slot)]"
        if kinds[at] == 0 {
          guard alphas[at] == 0, betas[at] == 0 else {
            throw RNNError(.invalidArgument, "\(place) is RNN_ACTIVATION_DEFAULT, and its alpha or beta is not 0")
          }
          row.append(nil)
          continue
        }
        guard let raw = UInt8(exactly: kinds[at]), let kind = ActivationKind(rawValue: raw) else {
          throw RNNError(.invalidArgument, "\(place) is \(kinds[at]), which is none of RNN_ACTIVATION_*")
        }
        row.append(try Activation(kind, alpha: alphas[at], beta: betas[at]))
      }
      // What the cell does not have is left out here, and refused where it is not the default.
      while row.count > 0, row[row.count - 1] == nil { row.removeLast() }
      given.append(row)
    }
    while given.count > 0, given[given.count - 1].isEmpty { given.removeLast() }
    activations = given
  }
}

/// The elements of a C array in a struct, which Swift sees as a tuple (of tuples).
private func elements<Tuple, Element: BitwiseCopyable>(of tuple: Tuple, as type: Element.Type, count: Int) -> [Element] {
  withUnsafeBytes(of: tuple) { bytes in (0..<count).map { bytes.load(fromByteOffset: $0 * MemoryLayout<Element>.stride, as: type) } }
}

@_cdecl("rnn_builder_add_linear") @implementation
public func rnn_builder_add_linear(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ input: UnsafePointer<CChar>!,
  _ output_size: Int, _ bias: Int32
) -> rnn_status {
  add(builder, name, reading: [input]) { () throws(RNNError) in
    .linear(outputSize: output_size, bias: try flag(bias, named: "bias"))
  }
}

@_cdecl("rnn_builder_add_last_step") @implementation
public func rnn_builder_add_last_step(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ input: UnsafePointer<CChar>!
) -> rnn_status {
  add(builder, name, reading: [input]) { .lastStep }
}

@_cdecl("rnn_builder_add_first_step") @implementation
public func rnn_builder_add_first_step(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ input: UnsafePointer<CChar>!
) -> rnn_status {
  add(builder, name, reading: [input]) { .firstStep }
}

@_cdecl("rnn_builder_add_dropout") @implementation
public func rnn_builder_add_dropout(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ input: UnsafePointer<CChar>!, _ probability: Double
) -> rnn_status {
  add(builder, name, reading: [input]) { .dropout(probability: probability) }
}

/// Adds a node that reads several.
private func add(
  _ builder: OpaquePointer?, _ name: UnsafePointer<CChar>?, readingAll inputs: UnsafePointer<UnsafePointer<CChar>?>?,
  _ count: Int, _ operation: Operator
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withBuilder(builder) { (builder) throws(RNNError) in
      let pointers = try array(inputs, count, named: "inputs")
      guard pointers.count >= 2, pointers.count <= 1_000 else {
        throw RNNError(.invalidArgument, "input_count is \(pointers.count), expected 2 to 1000")
      }
      var names: [String] = []
      for pointer in pointers { names.append(try text(pointer, named: "an element of inputs")) }
      try builder.architecture.add(operation, name: try optionalText(name, named: "name"), inputs: names)
    }
  }
}

@_cdecl("rnn_builder_add_sum") @implementation
public func rnn_builder_add_sum(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!,
  _ inputs: UnsafePointer<UnsafePointer<CChar>?>!, _ input_count: Int
) -> rnn_status {
  add(builder, name, readingAll: inputs, input_count, .sum)
}

@_cdecl("rnn_builder_add_product") @implementation
public func rnn_builder_add_product(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!,
  _ inputs: UnsafePointer<UnsafePointer<CChar>?>!, _ input_count: Int
) -> rnn_status {
  add(builder, name, readingAll: inputs, input_count, .product)
}

@_cdecl("rnn_builder_add_concat") @implementation
public func rnn_builder_add_concat(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!,
  _ inputs: UnsafePointer<UnsafePointer<CChar>?>!, _ input_count: Int
) -> rnn_status {
  add(builder, name, readingAll: inputs, input_count, .concat)
}

@_cdecl("rnn_builder_add_slice") @implementation
public func rnn_builder_add_slice(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ input: UnsafePointer<CChar>!, _ begin: Int, _ end: Int
) -> rnn_status {
  add(builder, name, reading: [input]) { .slice(begin: begin, end: end) }
}

@_cdecl("rnn_builder_add_activation") @implementation
public func rnn_builder_add_activation(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ input: UnsafePointer<CChar>!,
  _ activation: Int32, _ alpha: Double, _ beta: Double
) -> rnn_status {
  add(builder, name, reading: [input]) { () throws(RNNError) in
    guard let kind = UInt8(exactly: activation).flatMap(ActivationKind.init(rawValue:)) else {
      throw unknown("activation", activation)
    }
    return .activation(try Activation(kind, alpha: alpha, beta: beta))
  }
}

@_cdecl("rnn_builder_add_softmax") @implementation
public func rnn_builder_add_softmax(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ input: UnsafePointer<CChar>!, _ log: Int32
) -> rnn_status {
  add(builder, name, reading: [input]) { () throws(RNNError) in .softmax(logarithm: try flag(log, named: "log")) }
}

@_cdecl("rnn_builder_add_layer_norm") @implementation
public func rnn_builder_add_layer_norm(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ input: UnsafePointer<CChar>!, _ epsilon: Double
) -> rnn_status {
  add(builder, name, reading: [input]) { .layerNorm(epsilon: epsilon) }
}

@_cdecl("rnn_builder_add_scale_shift") @implementation
public func rnn_builder_add_scale_shift(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ input: UnsafePointer<CChar>!, _ bias: Int32
) -> rnn_status {
  add(builder, name, reading: [input]) { () throws(RNNError) in .scaleShift(bias: try flag(bias, named: "bias")) }
}

@_cdecl("rnn_builder_add_reverse") @implementation
public func rnn_builder_add_reverse(
  _ builder: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ input: UnsafePointer<CChar>!
) -> rnn_status {
  add(builder, name, reading: [input]) { .reverse }
}

@_cdecl("rnn_builder_build") @implementation
public func rnn_builder_build(
  _ builder: OpaquePointer!, _ options: UnsafePointer<rnn_build_options>!,
  _ out_network: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  making(.network, out_network, named: "out_network") { () throws(RNNError) in
    try withBuilder(builder) { (builder) throws(RNNError) in
      let options = try RNNExports.options(options)
      let scheme: InitialWeights.Scheme
      switch options.initialization {
      case 0: scheme = .pytorch
      case 1: scheme = .normal(deviation: options.deviation == 0 ? 0.01 : options.deviation)
      case 2: scheme = .orthogonal
      case 3: scheme = .zeros
      default: throw unknown("initialization", options.initialization)
      }
      guard options.deviation.isFinite, options.deviation >= 0 else {
        throw RNNError(.invalidArgument, "deviation is \(options.deviation), expected a finite number of at least 0")
      }
      return NetworkObject(
        try Network(
          builder.architecture,
          initialization: InitialWeights(scheme, seed: options.seed, forgetBias: options.forget_bias)))
    }
  }
}

@_cdecl("rnn_builder_destroy") @implementation
public func rnn_builder_destroy(_ builder: OpaquePointer!) { HandleTable.destroy(builder, .builder) }
