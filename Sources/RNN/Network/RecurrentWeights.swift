import RNNKernels

/// One layer and direction: where its parameters are, and how they are packed for the forward pass.
///
/// Plain memory: it lives in an array of the snapshot that owns what it points to.
struct RecurrentWeights<Scalar: KernelScalar> {
  let cell: CellKind
  /// I of this layer, and H.
  let inputSize, hiddenSize: Int
  /// S, the width of h: H, or P of a projection.
  let stateSize: Int
  /// Reads the sequence backwards.
  let isReverse: Bool
  /// Offsets in the buffer of all parameters, and of all gradients.
  let places: RecurrentParameters
  /// What the gates are where they are not the cell's own.
  let gates: GateOptions<Scalar>
  /// A constant in the forget gate's sum.
  let forgetBias: Double
  /// Probability of dropping an element of H before the recurrent products, in training.
  let recurrentDropout: Double

  /// [G·H, I].
  let inputWeight: PackedMatrix<Scalar>
  /// [G·H, S]; for a GRU the gates r and z alone, [2·H, H].
  let recurrentWeight: PackedMatrix<Scalar>
  /// The candidate of a GRU, [H, H]: its product has another input (reset-before) or another bias (reset-after).
  let candidateWeight: PackedMatrix<Scalar>?
  /// W_hr of an LSTM with projection, [P, H].
  let projectionWeight: PackedMatrix<Scalar>?
  /// [G·H]: what the sums begin with. Two biases that are simply added are one here.
  let bias: UnsafePointer<Scalar>
  /// b_hh of a reset-after candidate, [H].
  let candidateBias: UnsafePointer<Scalar>

  var gateCount: Int { cell.gateCount }
  /// Columns of the gates.
  var gateWidth: Int { cell.gateCount * hiddenSize }
  var hasProjection: Bool { projectionWeight != nil }

  /// Whether a pass computes the gates one by one rather than fused. With a recurrent dropout the GRU has two forms of H.
  func hasGeneralGates(keepsTrace: Bool) -> Bool {
    !gates.isPlain || (keepsTrace && recurrentDropout > 0 && cell.isGRU)
  }

  static func reserve(
    in plan: inout MemoryPlan, _ architecture: Architecture, node: Int, _ configuration: RecurrentConfiguration
  ) throws(RNNError) {
    for layer in 0..<configuration.layerCount {
      let inputSize = layerInputSize(architecture, node: node, layer: layer)
      for direction in 0..<configuration.directionCount {
        let hidden = configuration.hiddenSize(direction: direction), state = configuration.stateSize(direction: direction)
        let rows = configuration.cell.gateCount * hidden
        try plan.reservePacked(outputs: rows, depth: inputSize)
        try plan.reservePacked(outputs: rows, depth: state)
        try plan.reservePacked(outputs: hidden, depth: state)
        if configuration.projectionSize != nil { try plan.reservePacked(outputs: state, depth: hidden) }
        _ = try plan.reserve(rows)
        _ = try plan.reserve(hidden)
      }
    }
  }

  /// What layer 0 reads is the node's input; the others read a layer of the node, which is as wide as its output.
  private static func layerInputSize(_ architecture: Architecture, node: Int, layer: Int) -> Int {
    let node = architecture.nodes[node]
    return layer == 0 ? architecture.nodes[node.inputs[0]].outputSize : node.outputSize
  }

  init(
    _ architecture: Architecture, node: Int, _ configuration: RecurrentConfiguration, layer: Int, direction: Int,
    values: UnsafePointer<Scalar>, memory: inout PackingMemory<Scalar>
  ) {
    cell = configuration.cell
    hiddenSize = configuration.hiddenSize(direction: direction)
    stateSize = configuration.stateSize(direction: direction)
    inputSize = Self.layerInputSize(architecture, node: node, layer: layer)
    isReverse = configuration.isReverse(direction: direction)
    forgetBias = configuration.forgetBias
    recurrentDropout = configuration.recurrentDropout
    places = architecture.recurrentParameters[
      architecture.firstLayer[node] + layer * configuration.directionCount + direction]
    gates = GateOptions(configuration, direction: direction, peephole: places.peephole < 0 ? nil : values + places.peephole)

    let h = hiddenSize, s = stateSize, rows = cell.gateCount * h
    inputWeight = memory.pack(
      outputs: rows, depth: inputSize, values + places.weightIH, outputStride: inputSize, depthStride: 1)
    let hidden = values + places.weightHH
    if cell.isGRU {
      recurrentWeight = memory.pack(outputs: 2 * h, depth: h, hidden, outputStride: h, depthStride: 1)
      candidateWeight = memory.pack(
        outputs: h, depth: h, hidden + CellKind.candidateGate * h * h, outputStride: h, depthStride: 1)
    } else {
      recurrentWeight = memory.pack(outputs: rows, depth: s, hidden, outputStride: s, depthStride: 1)
      candidateWeight = nil
    }
    projectionWeight =
      places.weightHR < 0 ? nil : memory.pack(outputs: s, depth: h, values + places.weightHR, outputStride: h, depthStride: 1)

    bias = UnsafePointer(memory.take(rows))
    candidateBias = UnsafePointer(memory.take(h))
    if memory.packsNow { combineBiases(values) }
  }

  /// Fills `bias` and `candidateBias`.
  private func combineBiases(_ values: UnsafePointer<Scalar>) {
    let sum = UnsafeMutablePointer(mutating: bias), candidate = UnsafeMutablePointer(mutating: candidateBias)
    let biasIH = places.biasIH >= 0 ? values + places.biasIH : nil
    let biasHH = places.biasHH >= 0 ? values + places.biasHH : nil
    RNN.combineBiases(biasIH, biasHH, count: gateWidth, into: sum)
    if cell == .gru(.resetAfter) {
      let at = CellKind.candidateGate * hiddenSize
      RNN.combineBiases(biasIH.map { $0 + at }, nil, count: hiddenSize, into: sum + at)
      RNN.combineBiases(nil, biasHH.map { $0 + at }, count: hiddenSize, into: candidate)
    }
    if forgetBias != 0 {
      // Like two biases: summed in double, rounded once.
      for j in CellKind.forgetGate * hiddenSize..<(CellKind.forgetGate + 1) * hiddenSize {
        sum[j] = Scalar(Double(biasIH?[j] ?? 0) + Double(biasHH?[j] ?? 0) + forgetBias)
      }
    }
  }

  func repack(_ values: UnsafePointer<Scalar>) {
    inputWeight.repack()
    recurrentWeight.repack()
    candidateWeight?.repack()
    projectionWeight?.repack()
    combineBiases(values)
  }
}

/// What the elementwise part of a cell does where it is not the cell's own equations.
struct GateOptions<Scalar: KernelScalar> {
  typealias Function = (kind: ActivationKind, alpha: Scalar, beta: Scalar)

  /// The fused gate kernels compute this cell.
  let isPlain: Bool
  /// Limits of the inputs of the gates' activations, of h(C′)'s, and of C′; 0: none.
  let gateClip, outputClip, cellClip: Scalar
  let isCoupled: Bool
  /// [3, H], rows i, f, o.
  let peephole: UnsafePointer<Scalar>?
  private let functions: (Function, Function, Function, Function, Function)

  init(_ configuration: RecurrentConfiguration, direction: Int, peephole: UnsafePointer<Scalar>?) {
    isPlain = configuration.hasPlainGates
    gateClip = Scalar(configuration.gateClip ?? 0)
    outputClip = configuration.clipsOutputActivation ? gateClip : 0
    cellClip = Scalar(configuration.cellClip ?? 0)
    isCoupled = configuration.hasCoupledGates
    self.peephole = peephole
    func function(_ slot: Int) -> Function {
      let activation = configuration.activation(direction: direction, slot: slot)
      return (activation.kind, Scalar(activation.alpha), Scalar(activation.beta))
    }
    let slots = configuration.cell.activationNames.count
    functions = (
      function(0), function(min(1, slots - 1)), function(min(2, slots - 1)), function(min(3, slots - 1)),
      function(min(4, slots - 1))
    )
  }

  /// The activation of a slot of ``CellKind/activationNames``.
  func function(_ slot: Int) -> Function {
    switch slot {
    case 0: functions.0
    case 1: functions.1
    case 2: functions.2
    case 3: functions.3
    default: functions.4
    }
  }
}
