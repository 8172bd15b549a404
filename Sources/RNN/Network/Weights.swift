import RNNKernels
import Synchronization

/// One version of a network's numbers: all parameters in one buffer, and the forms in which the kernels want them.
///
/// The numbers are immutable once made; the packed forms are made with them or, for a network, when a pass first wants them. A network
/// replaces its snapshot when parameters are set; calls in flight, streams and tapes keep the one they began with.
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
  /// Where the memory of the parameters goes when nobody needs these weights any more.
  private let parameterLoan: MemoryLoan<Scalar>?
  private let backward = Mutex<BackwardWeights<Scalar>?>(nil)
  private let fused = AtomicLazyReference<FusedWeights<Scalar>>()
  private let isPacked: Atomic<Bool>
  private let packing = Mutex<Void>(())

  /// - Parameters:
  ///   - parameters: Exactly `architecture.parameterCount` elements; from now on unchanged.
  ///   - loan: Of `parameters`, where they are lent.
  ///   - packsNow: false leaves it to `pack`. Parameters are often replaced again before anything is computed with them.
  init(
    architecture: Architecture, parameters: AlignedBuffer<Scalar>, loan: MemoryLoan<Scalar>? = nil, packsNow: Bool = true
  ) throws(RNNError) {
    parameterLoan = loan
    isPacked = Atomic(packsNow)
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
    packed = try makeBuffer(Scalar.self, count: plan.count, for: "packed weights", isCleared: false)
    var memory = PackingMemory(next: packed.baseAddress, packsNow: packsNow)
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
    for index in instructions.indices {
      let chain = chain(from: index)
      (instructions[index].chainNodeCount, instructions[index].chainLayerCount) = chain ?? (0, 0)
    }
  }

  /// Puts the state that sequences begin with into the states of n rows: zeros, but for what is learned.
  func writeInitialState(_ state: UnsafeMutablePointer<Scalar>, rows n: Int) {
    state.update(repeating: 0, count: architecture.stateCount &* n)
    guard architecture.learnsInitialState else { return }
    for instruction in instructions where instruction.kind == .recurrent {
      for layer in 0..<instruction.layerCount {
        for direction in 0..<instruction.directionCount {
          let weights = layers[instruction.firstLayer &+ layer &* instruction.directionCount &+ direction]
          let layout = instruction.direction(direction)
          let places = weights.places
          if places.initialHidden >= 0 {
            repeatRow(
              parameters.baseAddress + places.initialHidden, count: weights.stateSize, rows: n,
              into: state + layout.hiddenPlace(layer: layer, rows: n))
          }
          if places.initialCell >= 0 {
            repeatRow(
              parameters.baseAddress + places.initialCell, count: weights.hiddenSize, rows: n,
              into: state + layout.cellPlace(layer: layer, rows: n))
          }
        }
      }
    }
  }

  private func repeatRow(
    _ row: UnsafePointer<Scalar>, count: Int, rows: Int, into target: UnsafeMutablePointer<Scalar>
  ) {
    for n in 0..<rows { (target + n &* count).update(from: row, count: count) }
  }

  /// Makes the packed forms, if they are not there yet.
  func pack() {
    if isPacked.load(ordering: .acquiring) { return }
    packing.withLock { _ in
      if isPacked.load(ordering: .relaxed) { return }
      withNumericMode { repack() }
      isPacked.store(true, ordering: .releasing)
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

  /// The form of the recurrent layers that inference reads; made at the first call. Not for weights that change in place.
  func fusedWeights() throws(RNNError) -> FusedWeights<Scalar> {
    if let made = fused.load() { return made }
    return fused.storeIfNil(try FusedWeights(self))
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
  /// Otherwise matrices are packed by their `repack`.
  var packsNow = true

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
      panels: take(PackedMatrix<Scalar>.elementCount(outputs: outputs, depth: depth)), packsNow: packsNow)
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

