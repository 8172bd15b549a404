import RNNKernels

/// A node as the passes over a network see it: plain memory, so that a step touches no reference count.
struct Instruction<Scalar: KernelScalar> {
  enum Kind: UInt8 {
    case input, tokenInput, embedding, oneHot, recurrent, linear, lastStep, firstStep, dropout, sum
    case activation, reverse, softmax, layerNorm, scaleShift, concat, product, slice
  }

  let kind: Kind
  /// Position in the list of nodes.
  let node: Int
  /// The (first) node it reads, and that node's features.
  let source: Int
  let sourceSize: Int
  /// Features of the result.
  let size: Int
  let isSingleStep: Bool
  /// Inputs: the first column among all of the kind; embedding and one-hot: the column of their tokens.
  var column = 0
  /// Sum, product, concat: its sources, begin and count in `Weights.sumSources`.
  var firstSumSource = 0
  var sumSourceCount = 0
  /// Recurrent: its layers in `Weights.layers`, and its states.
  var firstLayer = 0
  var layerCount = 0
  var directionCount = 0
  var directions = (DirectionLayout(), DirectionLayout())
  var merge = Merge.concat
  var isResidual = false
  /// Recurrent: nodes and layers of the chain that begins here (see ``Wavefront``); 0 where none does.
  var chainNodeCount = 0, chainLayerCount = 0
  var dropout = 0.0
  /// Linear; of layer normalisation and scale-shift only the bias.
  var weight: PackedMatrix<Scalar>?
  var bias: UnsafePointer<Scalar>?
  /// Activation.
  var activation = ActivationKind.affine
  var alpha: Scalar = 0
  var beta: Scalar = 0
  /// Layer normalisation.
  var epsilon: Scalar = 0
  /// Softmax: its logarithm.
  var isLogarithm = false
  /// Slice: its first feature.
  var begin = 0
  /// Embedding: weight [V, size]; one-hot has none. V for both. Layer normalisation and scale-shift: weight [size].
  var table: UnsafePointer<Scalar>?
  var vocabularySize = 0
  /// Place of the parameters among all, for gradients.
  var weightOffset = 0
  var biasOffset = -1

  init(_ architecture: Architecture, node index: Int, weights: LinearWeights<Scalar>?, values: UnsafePointer<Scalar>) {
    let node = architecture.nodes[index]
    self.node = index
    source = node.inputs.first ?? -1
    sourceSize = node.inputs.first.map { architecture.nodes[$0].outputSize } ?? 0
    size = node.outputSize
    isSingleStep = node.isSingleStep
    let first = architecture.firstParameter[index]
    func offset(_ parameter: Int) -> Int { architecture.parameters[first + parameter].offset }
    func tokenColumn() -> Int { architecture.inputOffset[node.inputs[0]] }
    switch node.operation {
    case .input:
      kind = .input
      column = architecture.inputOffset[index]
    case .tokenInput:
      kind = .tokenInput
      column = architecture.inputOffset[index]
    case .embedding(let vocabularySize, _):
      kind = .embedding
      column = tokenColumn()
      self.vocabularySize = vocabularySize
      weightOffset = offset(0)
      table = values + weightOffset
    case .oneHot(let size):
      kind = .oneHot
      column = tokenColumn()
      vocabularySize = size
    case .recurrent(let configuration):
      kind = .recurrent
      firstLayer = architecture.firstLayer[index]
      layerCount = configuration.layerCount
      directionCount = configuration.directionCount
      dropout = configuration.dropout
      merge = configuration.merge
      isResidual = configuration.isResidual && configuration.layerCount > 1
      directions.0 = DirectionLayout(architecture, node: index, configuration, direction: 0)
      if directionCount == 2 { directions.1 = DirectionLayout(architecture, node: index, configuration, direction: 1) }
    case .linear(_, let hasBias):
      kind = .linear
      weight = weights?.weight
      bias = weights?.bias
      weightOffset = offset(0)
      biasOffset = hasBias ? offset(1) : -1
    case .lastStep: kind = .lastStep
    case .firstStep: kind = .firstStep
    case .dropout(let probability):
      kind = .dropout
      dropout = probability
    case .sum: kind = .sum
    case .activation(let function):
      kind = .activation
      activation = function.kind
      alpha = Scalar(function.alpha)
      beta = Scalar(function.beta)
    case .reverse: kind = .reverse
    case .softmax(let logarithm):
      kind = .softmax
      isLogarithm = logarithm
    case .layerNorm(let epsilon):
      kind = .layerNorm
      self.epsilon = Scalar(epsilon)
      weightOffset = offset(0)
      biasOffset = offset(1)
      table = values + weightOffset
      bias = values + biasOffset
    case .scaleShift(let hasBias):
      kind = .scaleShift
      weightOffset = offset(0)
      table = values + weightOffset
      if hasBias {
        biasOffset = offset(1)
        bias = values + biasOffset
      }
    case .concat: kind = .concat
    case .product: kind = .product
    case .slice(let begin, _):
      kind = .slice
      self.begin = begin
    }
  }
}

/// Where one direction of a recurrent node has its states, and its columns in the layer's output.
struct DirectionLayout {
  /// Elements before the h and the c of layer 0 in the states of one row, and from one layer to the next.
  var hiddenOffset = 0, hiddenStride = 0
  var cellOffset = 0, cellStride = 0
  /// First column in [T, N, sum of the directions' sizes], for ``Merge/concat``.
  var column = 0

  init() {}

  init(_ architecture: Architecture, node: Int, _ configuration: RecurrentConfiguration, direction: Int) {
    let first = architecture.firstState[node]
    let hidden = configuration.hiddenSize(direction: direction), state = configuration.stateSize(direction: direction)
    let hasCell = configuration.cell.hasCellState
    column = direction == 1 ? configuration.stateSize(direction: 0) : 0
    if configuration.hasUnequalDirections {
      hiddenOffset = architecture.states[first + direction].offset
      hiddenStride = state
      cellOffset = hasCell ? architecture.states[first + 2 + direction].offset : 0
      cellStride = hidden
    } else {
      hiddenOffset = architecture.states[first].offset + direction * state
      hiddenStride = configuration.directionCount * state
      cellOffset = hasCell ? architecture.states[first + 1].offset + direction * hidden : 0
      cellStride = configuration.directionCount * hidden
    }
  }

  /// Elements before this layer's h among the states of n rows.
  func hiddenPlace(layer: Int, rows n: Int) -> Int { (hiddenOffset &+ layer &* hiddenStride) &* n }
  func cellPlace(layer: Int, rows n: Int) -> Int { (cellOffset &+ layer &* cellStride) &* n }
}

extension Instruction {
  @inline(__always)
  func direction(_ index: Int) -> DirectionLayout { index == 0 ? directions.0 : directions.1 }
}

/// Where the passes put what they compute: made once, before anything is computed, so that a pass cannot fail.
final class Workspace<Scalar: KernelScalar>: @unchecked Sendable {
  /// Steps and rows there is room for.
  let stepCapacity, rowCount: Int
  let keepsTrace: Bool
  /// Whether a pass may use the threads of the process: not in a stream, whose step takes no lock.
  let usesThreads: Bool
  /// For each node its result, [T, N, F] or [N, F]; nil for the caller's own memory (an input or the output).
  let results: [UnsafeMutablePointer<Scalar>?]
  /// For each layer and direction the result of its layer, [T, N, W]; the last layer of a node writes the node's.
  let layerResults: [UnsafeMutablePointer<Scalar>?]
  /// For each layer and direction what its layer reads where that is not the result of the layer below: after dropout, [T, N, W].
  let droppedInputs: [UnsafeMutablePointer<Scalar>?]
  /// For each layer and direction its own output before merging, [T, N, S]; nil where it goes into its columns of the result.
  let directionResults: [UnsafeMutablePointer<Scalar>?]
  let traces: [RecurrentTrace<Scalar>]
  /// Of either direction: where the rows are too few to be shared out, the directions of a layer run side by side.
  let scratch: (RecurrentScratch<Scalar>, RecurrentScratch<Scalar>)
  let wavefront: Wavefront<Scalar>?
  private let memory: MemoryLoan<Scalar>

  /// - Parameters:
  ///   - keepsTrace: For a backward pass: nothing is shared between layers, and inputs are copied.
  ///   - reserve: Where the memory comes from and goes back to. No pass relies on what is in it.
  init(
    _ weights: Weights<Scalar>, stepCount: Int, rowCount: Int, keepsTrace: Bool, usesThreads: Bool = true,
    reserve: PassMemory<Scalar> = PassMemory()
  ) throws(RNNError) {
    self.usesThreads = usesThreads
    self.stepCapacity = stepCount
    self.rowCount = rowCount
    self.keepsTrace = keepsTrace
    let cells = try checkedProduct(stepCount, rowCount, of: "steps and rows")
    var plan = MemoryPlan()
    var resultOffsets: [Int] = [], layerOffsets: [Int] = [], droppedOffsets: [Int] = [], directionOffsets: [Int] = []
    var traceOffsets: [RecurrentTraceOffsets] = []
    var scratchPlan = RecurrentScratchPlan()
    for instruction in weights.instructions {
      let rows = instruction.isSingleStep ? rowCount : cells
      let isOutput = instruction.node == weights.instructions.count - 1
      let isCallersInput =
        instruction.kind == .input && instruction.size == weights.architecture.inputSize && !keepsTrace
      if isOutput || isCallersInput || instruction.kind == .tokenInput {
        resultOffsets.append(-1)
      } else {
        resultOffsets.append(try plan.reserve(try checkedProduct(rows, instruction.size, of: "results of a node")))
      }
      guard instruction.kind == .recurrent else { continue }
      let width = try checkedProduct(cells, instruction.size, of: "results of a layer")
      for layer in 0..<instruction.layerCount {
        let isLast = layer == instruction.layerCount - 1
        let offset = isLast ? -1 : try plan.reserve(width)
        // A residual sum needs the input as it was before dropout.
        let dropsApart = keepsTrace && layer > 0 && instruction.isResidual && instruction.dropout > 0
        let dropped = dropsApart ? try plan.reserve(width) : -1
        for direction in 0..<instruction.directionCount {
          let layer = weights.layers[instruction.firstLayer + layer * instruction.directionCount + direction]
          layerOffsets.append(offset)
          droppedOffsets.append(dropped)
          if instruction.merge == .concat {
            directionOffsets.append(-1)
          } else if keepsTrace {
            directionOffsets.append(try plan.reserve(try checkedProduct(cells, layer.stateSize, of: "results of a direction")))
          } else {
            directionOffsets.append(direction)
            scratchPlan.directionCount = max(
              scratchPlan.directionCount, try checkedProduct(cells, layer.stateSize, of: "results of a direction"))
          }
          if keepsTrace {
            traceOffsets.append(try RecurrentTraceOffsets(layer, &plan, stepCount: stepCount, rowCount: rowCount))
          } else {
            try scratchPlan.include(layer, cellCount: cells, rowCount: rowCount)
          }
        }
      }
    }
    let scratchOffset = try scratchPlan.reserve(in: &plan)
    let isSharedOut = !weights.runsSideBySide(rowCount: rowCount) || !usesThreads
    let secondScratchOffset = isSharedOut ? scratchOffset : try scratchPlan.reserve(in: &plan)
    let shared = try (plan.reserve(scratchPlan.directionCount), plan.reserve(scratchPlan.directionCount))
    let wavefrontPlan =
      usesThreads && !keepsTrace ? try WavefrontPlan(weights, stepCount: stepCount, rowCount: rowCount, in: &plan) : nil
    let memory = try reserve.lend(count: plan.count, for: "running \(stepCount) steps of \(rowCount) rows")
    let base = memory.baseAddress
    self.memory = memory
    func pointers(_ offsets: [Int]) -> [UnsafeMutablePointer<Scalar>?] { offsets.map { $0 < 0 ? nil : base + $0 } }
    results = pointers(resultOffsets)
    layerResults = pointers(layerOffsets)
    droppedInputs = pointers(droppedOffsets)
    directionResults =
      keepsTrace
      ? pointers(directionOffsets) : directionOffsets.map { $0 < 0 ? nil : base + ($0 == 0 ? shared.0 : shared.1) }
    traces = traceOffsets.map { $0.trace(base) }
    scratch = (scratchPlan.scratch(base + scratchOffset), scratchPlan.scratch(base + secondScratchOffset))
    wavefront = wavefrontPlan.map { Wavefront($0, base) }
  }
}

/// What the caller gives to a pass, all time-major.
struct PassInput<Scalar: KernelScalar> {
  /// [T, N, input size].
  var features: UnsafePointer<Scalar>?
  /// [T, N, token inputs].
  var tokens: UnsafePointer<Int64>?
}
