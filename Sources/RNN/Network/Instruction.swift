import RNNKernels

/// A node as the passes over a network see it: plain memory, so that a step touches no reference count.
struct Instruction<Scalar: KernelScalar> {
  enum Kind: UInt8 {
    case input, tokenInput, embedding, oneHot, recurrent, linear, lastStep, dropout, sum
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
  /// Elements before its h and its c in the states of one row.
  var hiddenOffset = 0
  var cellOffset = 0
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
      let state = architecture.firstState[index]
      hiddenOffset = architecture.states[state].offset
      cellOffset = configuration.cell.hasCellState ? architecture.states[state + 1].offset : 0
    case .linear(_, let hasBias):
      kind = .linear
      weight = weights?.weight
      bias = weights?.bias
      weightOffset = offset(0)
      biasOffset = hasBias ? offset(1) : -1
    case .lastStep: kind = .lastStep
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

/// Where the passes put what they compute: made once, before anything is computed, so that a pass cannot fail.
final class Workspace<Scalar: KernelScalar>: @unchecked Sendable {
  /// Steps and rows there is room for.
  let stepCapacity, rowCount: Int
  let keepsTrace: Bool
  /// Whether a pass may use the threads of the process: not in a stream, whose step takes no lock.
  let usesThreads: Bool
  /// For each node its result, [T, N, F] or [N, F]; nil for the caller's own memory (an input or the output).
  let results: [UnsafeMutablePointer<Scalar>?]
  /// For each layer and direction the result of its layer, [T, N, D·H]; the last layer of a node writes the node's.
  let layerResults: [UnsafeMutablePointer<Scalar>?]
  let traces: [RecurrentTrace<Scalar>]
  let scratch: RecurrentScratch<Scalar>
  private let memory: AlignedBuffer<Scalar>

  /// - Parameter keepsTrace: For a backward pass: nothing is shared between layers, and inputs are copied.
  init(
    _ weights: Weights<Scalar>, stepCount: Int, rowCount: Int, keepsTrace: Bool, usesThreads: Bool = true
  ) throws(RNNError) {
    self.usesThreads = usesThreads
    self.stepCapacity = stepCount
    self.rowCount = rowCount
    self.keepsTrace = keepsTrace
    let cells = try checkedProduct(stepCount, rowCount, of: "steps and rows")
    var plan = MemoryPlan()
    var resultOffsets: [Int] = [], layerOffsets: [Int] = []
    var traceOffsets: [(gates: Int, hidden: Int, cell: Int, term: Int)] = []
    var gateCount = 0, termCount = 0
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
      for layer in 0..<instruction.layerCount {
        let isLast = layer == instruction.layerCount - 1
        let offset = isLast ? -1 : try plan.reserve(try checkedProduct(cells, instruction.size, of: "results of a layer"))
        for direction in 0..<instruction.directionCount {
          let layer = weights.layers[instruction.firstLayer + layer * instruction.directionCount + direction]
          layerOffsets.append(offset)
          let gates = try checkedProduct(cells, layer.gateWidth, of: "gates of a layer")
          let state = try checkedProduct(rowCount, layer.hiddenSize, of: "the state of a layer")
          if keepsTrace {
            let sequence = try checkedProduct(stepCount + 1, state, of: "the states of a layer")
            traceOffsets.append(
              (
                try plan.reserve(gates), try plan.reserve(sequence),
                layer.cell.hasCellState ? try plan.reserve(sequence) : 0, layer.cell.isGRU ? try plan.reserve(sequence) : 0
              ))
          } else {
            gateCount = max(gateCount, gates)
            termCount = max(termCount, layer.cell.isGRU ? state : 0)
          }
        }
      }
    }
    let gatesOffset = try plan.reserve(gateCount), termOffset = try plan.reserve(termCount)
    let memory = try makeBuffer(Scalar.self, count: plan.count, for: "running \(stepCount) steps of \(rowCount) rows")
    let base = memory.baseAddress
    self.memory = memory
    results = resultOffsets.map { $0 < 0 ? nil : base + $0 }
    layerResults = layerOffsets.map { $0 < 0 ? nil : base + $0 }
    traces = traceOffsets.map {
      RecurrentTrace(gates: base + $0.gates, hidden: base + $0.hidden, cell: base + $0.cell, recurrentTerm: base + $0.term)
    }
    scratch = RecurrentScratch(gates: base + gatesOffset, recurrentTerm: base + termOffset)
  }
}

/// What the caller gives to a pass, all time-major.
struct PassInput<Scalar: KernelScalar> {
  /// [T, N, input size].
  var features: UnsafePointer<Scalar>?
  /// [T, N, token inputs].
  var tokens: UnsafePointer<Int64>?
}
