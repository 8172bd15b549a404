import RNNKernels

/// How a new network gets its first weights. Every number follows from the seed and the place of its parameter in the list,
/// on every platform; a float32 is the float64 rounded.
public struct InitialWeights: Equatable, Sendable {
  public enum Scheme: Sendable {
    /// PyTorch's: recurrent layers U(-1/√H, 1/√H), linear U(-1/√I, 1/√I), embedding N(0, 1).
    case pytorch
    /// The textbook's: weights N(0, deviation²), biases 0. Here and below scales are 1 and shifts 0, as with PyTorch's.
    case normal(deviation: Double)
    /// Keras': recurrent weights orthogonal gate by gate, others Glorot uniform, biases 0.
    case orthogonal
    case zeros
  }

  public var scheme: Scheme
  public var seed: UInt64
  /// Added to the forget gate's bias of LSTM layers (the first, where there are two).
  public var forgetBias: Double

  public init(_ scheme: Scheme = .pytorch, seed: UInt64 = 0, forgetBias: Double = 0) {
    self.scheme = scheme
    self.seed = seed
    self.forgetBias = forgetBias
  }

  public static func == (a: InitialWeights, b: InitialWeights) -> Bool {
    switch (a.scheme, b.scheme) {
    case (.pytorch, .pytorch), (.orthogonal, .orthogonal), (.zeros, .zeros): break
    case (.normal(let x), .normal(let y)) where x == y: break
    default: return false
    }
    return a.seed == b.seed && a.forgetBias == b.forgetBias
  }

  func parameters<Scalar: KernelScalar>(
    of architecture: Architecture, as type: Scalar.Type
  ) throws(RNNError) -> AlignedBuffer<Scalar> {
    guard forgetBias.isFinite else {
      throw RNNError(.invalidArgument, "forget_bias is \(forgetBias), expected a finite number")
    }
    if case .normal(let deviation) = scheme, !(deviation >= 0 && deviation.isFinite) {
      throw RNNError(.invalidArgument, "deviation is \(deviation), expected a finite number of at least 0")
    }
    try checkForgetBias(architecture)
    let result = try makeBuffer(Scalar.self, count: architecture.parameterCount, for: "the parameters")
    let largest = architecture.parameters.map(\.count).max() ?? 0
    let values = try makeBuffer(Double.self, count: largest, for: "initial weights")
    let scratch = try makeBuffer(Double.self, count: largest, for: "initial weights")
    for (ordinal, (slot, role)) in zip(architecture.parameters, architecture.parameterRoles).enumerated() {
      let target = UnsafeMutableBufferPointer(rebasing: values.buffer[0..<slot.count])
      fill(target, slot, role, ordinal: UInt32(ordinal), scratch: scratch.buffer)
      let rounded = result.baseAddress + slot.offset
      for i in 0..<slot.count { rounded[i] = Scalar(target[i]) }
    }
    return result
  }

  private func checkForgetBias(_ architecture: Architecture) throws(RNNError) {
    guard forgetBias != 0 else { return }
    for node in architecture.nodes {
      if case .recurrent(let configuration) = node.operation, configuration.cell == .lstm, configuration.bias == .none {
        throw RNNError(.invalidArgument, "forget_bias is \(forgetBias), and LSTM '\(node.name)' has no bias")
      }
    }
  }

  private func fill(
    _ values: UnsafeMutableBufferPointer<Double>, _ slot: TensorSlot, _ role: ParameterRole, ordinal: UInt32,
    scratch: UnsafeMutableBufferPointer<Double>
  ) {
    switch scheme {
    case .zeros: values.update(repeating: 0)
    case _ where role == .scale: values.update(repeating: 1)
    case _ where role == .shift: values.update(repeating: 0)
    case .pytorch: fillAsPyTorch(values, slot, role, ordinal)
    case .normal(let deviation):
      if role.isBias {
        values.update(repeating: 0)
      } else {
        Initialization.fillNormal(values, deviation: deviation, seed: seed, parameter: ordinal)
      }
    case .orthogonal: fillOrthogonal(values, slot, role, ordinal, scratch)
    }
    if forgetBias != 0, case .recurrentBias(let hidden, .lstm, isFirst: true) = role {
      for j in 0..<hidden { values[CellKind.forgetGate * hidden + j] += forgetBias }
    }
  }

  private func fillAsPyTorch(
    _ values: UnsafeMutableBufferPointer<Double>, _ slot: TensorSlot, _ role: ParameterRole, _ ordinal: UInt32
  ) {
    let fan: Int
    switch role {
    case .embedding:
      return Initialization.fillNormal(values, deviation: 1, seed: seed, parameter: ordinal)
    case .recurrentInputWeight(let hidden, _), .recurrentHiddenWeight(let hidden, _), .recurrentBias(let hidden, _, _),
      .projectionWeight(let hidden), .peepholeWeight(let hidden):
      fan = hidden
    case .initialState:
      return values.update(repeating: 0)
    case .linearWeight: fan = slot.shape[1]
    case .linearBias(let inputSize): fan = inputSize
    // Filled already.
    case .scale, .shift: return
    }
    Initialization.fillUniform(values, bound: 1 / Double(fan).squareRoot(), seed: seed, parameter: ordinal)
  }

  private func fillOrthogonal(
    _ values: UnsafeMutableBufferPointer<Double>, _ slot: TensorSlot, _ role: ParameterRole, _ ordinal: UInt32,
    _ scratch: UnsafeMutableBufferPointer<Double>
  ) {
    switch role {
    case .recurrentHiddenWeight(let hidden, let gates):
      let columns = slot.shape[1], block = hidden * columns
      for gate in 0..<gates {
        // A stream of draws for each gate: there are fewer parameters than 2^20.
        Initialization.fillOrthogonal(
          UnsafeMutableBufferPointer(rebasing: values[gate * block..<(gate + 1) * block]), rows: hidden, columns: columns,
          scratch: scratch, seed: seed, parameter: ordinal | UInt32(gate) << 20)
      }
    case .embedding, .recurrentInputWeight, .linearWeight, .projectionWeight:
      Initialization.fillGlorotUniform(
        values, fanIn: slot.shape[1], fanOut: slot.shape[0], seed: seed, parameter: ordinal)
    case .recurrentBias, .linearBias, .peepholeWeight, .initialState:
      values.update(repeating: 0)
    case .scale, .shift: break
    }
  }
}

extension ParameterRole {
  /// Zero in the schemes that have no rule for it.
  var isBias: Bool {
    switch self {
    case .recurrentBias, .linearBias, .initialState, .shift: true
    case .scale, .embedding, .recurrentInputWeight, .recurrentHiddenWeight, .linearWeight, .projectionWeight, .peepholeWeight: false
    }
  }
}
