import RNNKernels
import Synchronization

/// One version of a network's numbers: all parameters in one buffer, and the forms in which the kernels want them.
///
/// Immutable once made. A network replaces its snapshot when parameters are set; calls in flight, streams and tapes keep the
/// one they began with.
final class Weights<Scalar: KernelScalar>: @unchecked Sendable {
  let architecture: Architecture
  /// All parameters, in the order and shapes of `architecture.parameters`.
  let parameters: AlignedBuffer<Scalar>
  /// For each node: the packed forms of its weights; empty but for linear nodes.
  private(set) var linear: [LinearWeights<Scalar>?] = []
  /// Every layer and direction of all recurrent nodes, in the order of `architecture.firstLayer`.
  private(set) var layers: [RecurrentWeights<Scalar>] = []
  /// The nodes as the passes see them.
  private(set) var instructions: [Instruction<Scalar>] = []
  private(set) var sumSources: [Int] = []
  private let packed: AlignedBuffer<Scalar>
  private let backward = Mutex<BackwardWeights<Scalar>?>(nil)

  /// - Parameter parameters: Exactly `architecture.parameterCount` elements; from now on unchanged.
  init(architecture: Architecture, parameters: AlignedBuffer<Scalar>) throws(RNNError) {
    self.architecture = architecture
    self.parameters = parameters
    let values = UnsafePointer(parameters.baseAddress)

    var plan = MemoryPlan()
    for (index, node) in architecture.nodes.enumerated() {
      switch node.operation {
      case .linear: try LinearWeights<Scalar>.reserve(in: &plan, architecture, node: index)
      case .recurrent(let configuration):
        try RecurrentWeights<Scalar>.reserve(in: &plan, architecture, node: index, configuration)
      default: break
      }
    }
    packed = try makeBuffer(Scalar.self, count: plan.count, for: "packed weights")
    var memory = PackingMemory(next: packed.baseAddress)
    for (index, node) in architecture.nodes.enumerated() {
      var linearWeights: LinearWeights<Scalar>?
      switch node.operation {
      case .linear:
        linearWeights = LinearWeights(architecture, node: index, values: values, memory: &memory)
      case .recurrent(let configuration):
        for layer in 0..<configuration.layerCount {
          for direction in 0..<configuration.directionCount {
            layers.append(
              RecurrentWeights(
                architecture, node: index, configuration, layer: layer, direction: direction, values: values,
                memory: &memory))
          }
        }
      default: break
      }
      linear.append(linearWeights)
      var instruction = Instruction(architecture, node: index, weights: linearWeights, values: values)
      if node.operation.readsSeveral {
        instruction.firstSumSource = sumSources.count
        instruction.sumSourceCount = node.inputs.count
        sumSources += node.inputs
      }
      instructions.append(instruction)
    }
  }

  /// Brings the packed forms up to date after the parameters changed in place: for a trainer, which shares its weights with
  /// nobody.
  func repack() {
    let values = UnsafePointer(parameters.baseAddress)
    for layer in layers { layer.repack(values) }
    for case let linear? in linear { linear.weight.repack() }
    backward.withLock { $0?.repack() }
  }

  /// The transposed weights that a backward pass multiplies by; made at the first one.
  func backwardWeights() throws(RNNError) -> BackwardWeights<Scalar> {
    let result = backward.withLock { current -> Result<BackwardWeights<Scalar>, RNNError> in
      if let current { return .success(current) }
      do throws(RNNError) {
        let made = try BackwardWeights(self)
        current = made
        return .success(made)
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }
}

/// Hands out the parts of one buffer in the order in which they were reserved.
struct PackingMemory<Scalar: KernelScalar> {
  var next: UnsafeMutablePointer<Scalar>

  mutating func take(_ count: Int) -> UnsafeMutablePointer<Scalar> {
    let taken = next
    next += (count + 15) & ~15
    return taken
  }

  mutating func pack(
    outputs: Int, depth: Int, _ source: UnsafePointer<Scalar>, outputStride: Int, depthStride: Int
  ) -> PackedMatrix<Scalar> {
    PackedMatrix(
      outputs: outputs, depth: depth, source: source, outputStride: outputStride, depthStride: depthStride,
      panels: take(PackedMatrix<Scalar>.elementCount(outputs: outputs, depth: depth)))
  }
}

extension MemoryPlan {
  mutating func reservePacked(outputs: Int, depth: Int) throws(RNNError) {
    _ = try reserve(try checkedProduct(outputs + 64, depth, of: "packed weights"))
  }
}

/// The output layer: weight [O, I] packed, bias [O] or nil.
struct LinearWeights<Scalar: KernelScalar> {
  let weight: PackedMatrix<Scalar>
  let bias: UnsafePointer<Scalar>?

  static func reserve(in plan: inout MemoryPlan, _ architecture: Architecture, node: Int) throws(RNNError) {
    let shape = architecture.parameters[architecture.firstParameter[node]].shape
    try plan.reservePacked(outputs: shape[0], depth: shape[1])
  }

  init(
    _ architecture: Architecture, node: Int, values: UnsafePointer<Scalar>, memory: inout PackingMemory<Scalar>
  ) {
    let first = architecture.firstParameter[node]
    let entry = architecture.parameters[first]
    weight = memory.pack(
      outputs: entry.shape[0], depth: entry.shape[1], values + entry.offset, outputStride: entry.shape[1], depthStride: 1)
    if case .linear(_, bias: true) = architecture.nodes[node].operation {
      bias = values + architecture.parameters[first + 1].offset
    } else {
      bias = nil
    }
  }
}

/// One layer and direction: where its parameters are, and how they are packed for the forward pass.
///
/// Plain memory: it lives in an array of the snapshot that owns what it points to.
struct RecurrentWeights<Scalar: KernelScalar> {
  let cell: CellKind
  /// I of this layer, and H.
  let inputSize, hiddenSize: Int
  /// Reads the sequence backwards.
  let isReverse: Bool
  let biasMode: BiasMode
  /// Offsets in the buffer of all parameters, and of all gradients.
  let weightIHOffset, weightHHOffset: Int
  /// -1 where there is none. A single bias is `biasIHOffset`.
  let biasIHOffset, biasHHOffset: Int

  /// [G·H, I].
  let inputWeight: PackedMatrix<Scalar>
  /// [G·H, H]; for a GRU the gates r and z alone, [2·H, H].
  let recurrentWeight: PackedMatrix<Scalar>
  /// The candidate of a GRU, [H, H]: its product has another input (reset-before) or another bias (reset-after).
  let candidateWeight: PackedMatrix<Scalar>?
  /// [G·H]: what the sums begin with. Two biases that are simply added are one here.
  let bias: UnsafePointer<Scalar>
  /// b_hh of a reset-after candidate, [H].
  let candidateBias: UnsafePointer<Scalar>

  var gateCount: Int { cell.gateCount }
  /// Columns of the gates.
  var gateWidth: Int { cell.gateCount * hiddenSize }

  static func reserve(
    in plan: inout MemoryPlan, _ architecture: Architecture, node: Int, _ configuration: RecurrentConfiguration
  ) throws(RNNError) {
    let hidden = configuration.hiddenSize, rows = configuration.cell.gateCount * hidden
    for layer in 0..<configuration.layerCount {
      let inputSize = layerInputSize(architecture, node: node, configuration, layer: layer)
      for _ in 0..<configuration.directionCount {
        try plan.reservePacked(outputs: rows, depth: inputSize)
        try plan.reservePacked(outputs: rows, depth: hidden)
        try plan.reservePacked(outputs: hidden, depth: hidden)
        _ = try plan.reserve(rows)
        _ = try plan.reserve(hidden)
      }
    }
  }

  static func layerInputSize(
    _ architecture: Architecture, node: Int, _ configuration: RecurrentConfiguration, layer: Int
  ) -> Int {
    layer == 0
      ? architecture.nodes[architecture.nodes[node].inputs[0]].outputSize
      : configuration.hiddenSize * configuration.directionCount
  }

  init(
    _ architecture: Architecture, node: Int, _ configuration: RecurrentConfiguration, layer: Int, direction: Int,
    values: UnsafePointer<Scalar>, memory: inout PackingMemory<Scalar>
  ) {
    let biasTensors = switch configuration.bias {
    case .none: 0
    case .single: 1
    case .double: 2
    }
    let first =
      architecture.firstParameter[node] + (layer * configuration.directionCount + direction) * (2 + biasTensors)
    func offset(_ tensor: Int) -> Int { architecture.parameters[first + tensor].offset }

    cell = configuration.cell
    hiddenSize = configuration.hiddenSize
    inputSize = Self.layerInputSize(architecture, node: node, configuration, layer: layer)
    isReverse = direction == 1
    biasMode = configuration.bias
    weightIHOffset = offset(0)
    weightHHOffset = offset(1)
    biasIHOffset = biasTensors >= 1 ? offset(2) : -1
    biasHHOffset = biasTensors == 2 ? offset(3) : -1

    let h = hiddenSize, rows = cell.gateCount * h
    inputWeight = memory.pack(
      outputs: rows, depth: inputSize, values + weightIHOffset, outputStride: inputSize, depthStride: 1)
    let hidden = values + weightHHOffset
    if cell.isGRU {
      recurrentWeight = memory.pack(outputs: 2 * h, depth: h, hidden, outputStride: h, depthStride: 1)
      candidateWeight = memory.pack(
        outputs: h, depth: h, hidden + CellKind.candidateGate * h * h, outputStride: h, depthStride: 1)
    } else {
      recurrentWeight = memory.pack(outputs: rows, depth: h, hidden, outputStride: h, depthStride: 1)
      candidateWeight = nil
    }

    bias = UnsafePointer(memory.take(rows))
    candidateBias = UnsafePointer(memory.take(h))
    combineBiases(values)
  }

  /// Fills `bias` and `candidateBias`.
  private func combineBiases(_ values: UnsafePointer<Scalar>) {
    let sum = UnsafeMutablePointer(mutating: bias), candidate = UnsafeMutablePointer(mutating: candidateBias)
    let biasIH = biasIHOffset >= 0 ? values + biasIHOffset : nil
    let biasHH = biasHHOffset >= 0 ? values + biasHHOffset : nil
    RNN.combineBiases(biasIH, biasHH, count: gateWidth, into: sum)
    if cell == .gru(.resetAfter) {
      let at = CellKind.candidateGate * hiddenSize
      RNN.combineBiases(biasIH.map { $0 + at }, nil, count: hiddenSize, into: sum + at)
      RNN.combineBiases(nil, biasHH.map { $0 + at }, count: hiddenSize, into: candidate)
    }
  }

  func repack(_ values: UnsafePointer<Scalar>) {
    inputWeight.repack()
    recurrentWeight.repack()
    candidateWeight?.repack()
    combineBiases(values)
  }
}

/// The transposes: how gradients go back through each weight.
final class BackwardWeights<Scalar: KernelScalar>: @unchecked Sendable {
  struct Layer {
    /// Outputs I, depth G·H.
    let input: PackedMatrix<Scalar>
    /// Outputs H, depth G·H; for a GRU 2·H.
    let recurrent: PackedMatrix<Scalar>
    /// Outputs H, depth H.
    let candidate: PackedMatrix<Scalar>?
  }

  func repack() {
    for layer in layers {
      layer.input.repack()
      layer.recurrent.repack()
      layer.candidate?.repack()
    }
    for case let matrix? in linear { matrix.repack() }
  }

  private(set) var layers: [Layer] = []
  /// For each linear node: outputs I, depth O.
  private(set) var linear: [PackedMatrix<Scalar>?] = []
  private let packed: AlignedBuffer<Scalar>

  init(_ weights: Weights<Scalar>) throws(RNNError) {
    var plan = MemoryPlan()
    for layer in weights.layers {
      try plan.reservePacked(outputs: layer.inputSize, depth: layer.gateWidth)
      try plan.reservePacked(outputs: layer.hiddenSize, depth: layer.gateWidth)
      try plan.reservePacked(outputs: layer.hiddenSize, depth: layer.hiddenSize)
    }
    for case let linear? in weights.linear {
      try plan.reservePacked(outputs: linear.weight.depth, depth: linear.weight.outputs)
    }
    packed = try makeBuffer(Scalar.self, count: plan.count, for: "transposed weights")
    var memory = PackingMemory(next: packed.baseAddress)
    let values = UnsafePointer(weights.parameters.baseAddress)
    for layer in weights.layers {
      let (i, h) = (layer.inputSize, layer.hiddenSize)
      let hidden = values + layer.weightHHOffset
      layers.append(
        Layer(
          input: memory.pack(
            outputs: i, depth: layer.gateWidth, values + layer.weightIHOffset, outputStride: 1, depthStride: i),
          recurrent: memory.pack(
            outputs: h, depth: layer.cell.isGRU ? 2 * h : layer.gateWidth, hidden, outputStride: 1, depthStride: h),
          candidate: layer.cell.isGRU
            ? memory.pack(
              outputs: h, depth: h, hidden + CellKind.candidateGate * h * h, outputStride: 1, depthStride: h) : nil))
    }
    for case let node in weights.linear {
      linear.append(
        node.map { node in
          memory.pack(
            outputs: node.weight.depth, depth: node.weight.outputs, node.weight.source, outputStride: 1,
            depthStride: node.weight.depth)
        })
    }
  }
}
