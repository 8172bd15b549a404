import RNNKernels

/// Element type of a network, fixed when it is made.
public enum DataType: String, Sendable {
  case float32
  case float64
}

/// What a node computes.
public enum Operator: Equatable, Sendable {
  /// The caller's features, [T, N, size].
  case input(size: Int)
  /// The caller's tokens, [T, N].
  case tokenInput
  /// weight[token].
  case embedding(vocabularySize: Int, size: Int)
  /// 1 at the token, 0 elsewhere.
  case oneHot(size: Int)
  case recurrent(RecurrentConfiguration)
  /// X weightᵀ + bias: the output layer O_t = H_t W_hq + b_q.
  case linear(outputSize: Int, bias: Bool)
  /// [T, N, F] to [N, F]: the last step of each row.
  case lastStep
  /// [T, N, F] to [N, F]: the first step of each row, which is where a layer that reads backwards ends.
  case firstStep
  case dropout(probability: Double)
  /// Of two or more nodes.
  case sum
  /// f(X), element by element.
  case activation(Activation)
  /// Y at step t of a row of length L is X at L - 1 - t.
  case reverse
  /// Over the features of a step; or its logarithm.
  case softmax(logarithm: Bool)
  /// (X - mean) / √(variance + epsilon) over the features of a step, times weight, plus bias.
  case layerNorm(epsilon: Double)
  /// X ⊙ weight + bias, a number of each for every feature.
  case scaleShift(bias: Bool)
  /// The features of two or more nodes side by side.
  case concat
  /// Element by element, of two or more nodes.
  case product
  /// Features begin to end - 1.
  case slice(begin: Int, end: Int)

  /// Reads two or more nodes, which must be named.
  var readsSeveral: Bool {
    switch self {
    case .sum, .product, .concat: true
    default: false
    }
  }
}

/// A node: its name, what it computes, and the earlier nodes it reads.
public struct Node: Equatable, Sendable {
  public let name: String
  public let operation: Operator
  /// Positions in the list of nodes, all before this one.
  public let inputs: [Int]
  /// F: features of the result; 0 for tokens.
  public let outputSize: Int
  /// The result has one step, [N, F].
  public let isSingleStep: Bool
}

/// What a parameter is for: initial values and the reader of files depend on it.
enum ParameterRole: Equatable, Sendable {
  case embedding
  case recurrentInputWeight(hiddenSize: Int, gates: Int)
  case recurrentHiddenWeight(hiddenSize: Int, gates: Int)
  /// `isFirst`: the one that a forget bias is added to.
  case recurrentBias(hiddenSize: Int, cell: CellKind, isFirst: Bool)
  case projectionWeight(hiddenSize: Int)
  case peepholeWeight(hiddenSize: Int)
  case initialState
  case linearWeight
  case linearBias(inputSize: Int)
  /// What features are multiplied by, 1 at first, and what is added to them, 0.
  case scale
  case shift
}

/// A named array among others in one buffer.
public struct TensorSlot: Equatable, Sendable {
  public let name: String
  /// Elements before it; for a state, with one row.
  public let offset: Int
  public let shape: [Int]
  public let count: Int
}

/// Where the parameters of one layer and direction begin among all; -1 where there is none.
struct RecurrentParameters: Equatable, Sendable {
  var weightIH = -1, weightHH = -1
  /// A single bias is `biasIH`.
  var biasIH = -1, biasHH = -1
  var weightHR = -1, peephole = -1
  var initialHidden = -1, initialCell = -1
}

/// A network without its numbers: named nodes with named inputs, checked as they are added.
public struct Architecture: Equatable, Sendable {
  public let dataType: DataType
  public private(set) var nodes: [Node] = []
  /// Every parameter in the order of the buffer of all parameters.
  public private(set) var parameters: [TensorSlot] = []
  private(set) var parameterRoles: [ParameterRole] = []
  private var parameterIndex: [String: Int] = [:]
  /// NODE.h [L·D, N, H], and NODE.c for LSTM; counts and offsets are those of one row.
  public private(set) var states: [TensorSlot] = []
  /// Features of all feature inputs.
  public private(set) var inputSize = 0
  /// Token inputs.
  public private(set) var tokenCount = 0
  /// For each token input: tokens are below it. The smallest of the nodes that read it.
  private(set) var vocabularySizes: [Int] = []
  public private(set) var parameterCount = 0
  /// Elements of all states of one row.
  public private(set) var stateCount = 0
  /// Layers times directions of all recurrent nodes.
  public private(set) var layerDirections = 0
  /// For each node: where its parameters and states begin in the lists above, and its place among inputs of its kind.
  private(set) var firstParameter: [Int] = []
  private(set) var firstState: [Int] = []
  private(set) var inputOffset: [Int] = []
  private(set) var firstLayer: [Int] = []
  /// For each layer and direction of all recurrent nodes.
  private(set) var recurrentParameters: [RecurrentParameters] = []

  static let largestNodeCount = 1_000
  static let largestParameterTensorCount = 20_000
  static let largestNameLength = 128

  public init(dataType: DataType = .float32) { self.dataType = dataType }

  /// The node added last: its result is the network's.
  var outputNode: Node? { nodes.last }
  public var outputSize: Int { nodes.last?.outputSize ?? 0 }
  public var hasSingleStepOutput: Bool { nodes.last?.isSingleStep ?? false }

  /// Whether the network can be run one step at a time: no layer needs the future.
  public var isStreamable: Bool {
    nodes.allSatisfy { node in
      switch node.operation {
      case .recurrent(let configuration): !configuration.needsWholeSequence
      case .reverse, .firstStep: false
      default: true
      }
    }
  }

  /// Whether a node reads what a `reverse` node gives: then the steps of that node's input must be known one by one.
  public var reversesBeforeItsEnd: Bool { nodes.dropLast().contains { $0.operation == .reverse } }
  var reversesAtItsEnd: Bool { outputNode?.operation == .reverse }

  /// Whether the state that a sequence begins with is a parameter, at least of some node.
  var learnsInitialState: Bool { recurrentParameters.contains { $0.initialHidden >= 0 } }

  func index(ofNode name: String) -> Int? { nodes.firstIndex { $0.name == name } }
  func parameter(named name: String) -> TensorSlot? { parameterIndex[name].map { parameters[$0] } }
  func state(named name: String) -> TensorSlot? { states.first { $0.name == name } }

  /// Adds a node.
  ///
  /// - Parameters:
  ///   - name: nil names it by its position.
  ///   - inputs: Names of earlier nodes; empty means the node added last (inputs have none).
  /// - Throws: `invalidArgument`, `notFound`, `shape`, `outOfMemory` (sizes overflow); the architecture is then as before.
  public mutating func add(_ operation: Operator, name: String? = nil, inputs: [String] = []) throws(RNNError) {
    var operation = operation
    let name = name ?? String(nodes.count)
    try checkName(name)
    guard nodes.count < Self.largestNodeCount else {
      throw RNNError(.unsupported, "a network has at most \(Self.largestNodeCount) nodes")
    }
    let sources = try resolve(inputs, of: name, operation)
    let (outputSize, isSingleStep) = try outputShape(of: operation, name: name, sources: sources)

    // Work on a copy: an error in the middle must leave nothing behind.
    var next = self
    next.firstParameter.append(parameters.count)
    next.firstState.append(states.count)
    next.firstLayer.append(layerDirections)
    next.inputOffset.append(0)
    switch operation {
    case .input(let size):
      next.inputOffset[nodes.count] = inputSize
      next.inputSize = try checkedSum(inputSize, size, of: "the input features")
    case .tokenInput:
      next.inputOffset[nodes.count] = tokenCount
      next.tokenCount += 1
      next.vocabularySizes.append(largestCount)
    case .embedding(let vocabularySize, let size):
      next.limitTokens(of: sources[0], to: vocabularySize)
      try next.addParameter("\(name).weight", [vocabularySize, size], .embedding)
    case .linear(let size, let bias):
      let inputSize = nodes[sources[0]].outputSize
      try next.addParameter("\(name).weight", [size, inputSize], .linearWeight)
      if bias { try next.addParameter("\(name).bias", [size], .linearBias(inputSize: inputSize)) }
    case .recurrent(let configuration):
      // Two spellings of one network are equal.
      operation = .recurrent(configuration.canonical)
      try next.addRecurrent(configuration.canonical, name: name, inputSize: nodes[sources[0]].outputSize)
    case .oneHot(let size):
      next.limitTokens(of: sources[0], to: size)
    case .layerNorm:
      let inputSize = nodes[sources[0]].outputSize
      try next.addParameter("\(name).weight", [inputSize], .scale)
      try next.addParameter("\(name).bias", [inputSize], .shift)
    case .scaleShift(let bias):
      let inputSize = nodes[sources[0]].outputSize
      try next.addParameter("\(name).weight", [inputSize], .scale)
      if bias { try next.addParameter("\(name).bias", [inputSize], .shift) }
    case .lastStep, .firstStep, .dropout, .sum, .activation, .reverse, .softmax, .concat, .product, .slice:
      break
    }
    next.nodes.append(
      Node(name: name, operation: operation, inputs: sources, outputSize: outputSize, isSingleStep: isSingleStep))
    self = next
  }

  /// Checks what only the whole list can tell.
  func checkComplete() throws(RNNError) {
    guard let last = nodes.last else { throw RNNError(.invalidArgument, "the network has no nodes") }
    switch last.operation {
    case .input, .tokenInput:
      throw RNNError(.invalidArgument, "the last node, '\(last.name)', is an input: there is nothing to compute")
    default: break
    }
    var isRead = [Bool](repeating: false, count: nodes.count)
    for node in nodes { for input in node.inputs { isRead[input] = true } }
    for (node, read) in zip(nodes.dropLast(), isRead) where !read {
      throw RNNError(.invalidArgument, "node '\(node.name)' is read by no other node, and the output is '\(last.name)'")
    }
  }

  // MARK: - Checks

  private func checkName(_ name: String) throws(RNNError) {
    let allowed = name.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-"):
        true
      default: false
      }
    }
    guard allowed, (1...Self.largestNameLength).contains(name.utf8.count) else {
      throw RNNError(
        .invalidArgument,
        "node name \(quoted(name)): expected 1 to \(Self.largestNameLength) characters of [A-Za-z0-9_.-]")
    }
    guard index(ofNode: name) == nil else { throw RNNError(.invalidArgument, "there is already a node '\(name)'") }
  }

  private func resolve(_ inputs: [String], of name: String, _ operation: Operator) throws(RNNError) -> [Int] {
    let isInput: Bool
    switch operation {
    case .input, .tokenInput: isInput = true
    default: isInput = false
    }
    if isInput {
      guard inputs.isEmpty else { throw RNNError(.invalidArgument, "node '\(name)' is an input and reads no node") }
      return []
    }
    guard !inputs.isEmpty else {
      guard !nodes.isEmpty else {
        throw RNNError(.invalidArgument, "node '\(name)' has nothing to read: add an input first")
      }
      guard !operation.readsSeveral else {
        throw RNNError(.invalidArgument, "\(operation.label) '\(name)': expected the names of its inputs")
      }
      return [nodes.count - 1]
    }
    if operation.readsSeveral {
      guard inputs.count >= 2 else {
        throw RNNError(.invalidArgument, "\(operation.label) '\(name)': expected 2 or more inputs, got 1")
      }
    } else if inputs.count != 1 {
      throw RNNError(.invalidArgument, "node '\(name)' reads one node, got \(inputs.count)")
    }
    var sources: [Int] = []
    for input in inputs {
      guard let source = index(ofNode: input) else {
        throw RNNError(.notFound, "node '\(name)' reads \(quoted(input)), and no node before it has that name")
      }
      sources.append(source)
    }
    return sources
  }

  private func outputShape(
    of operation: Operator, name: String, sources: [Int]
  ) throws(RNNError) -> (size: Int, isSingleStep: Bool) {
    let first = sources.first.map { nodes[$0] }
    let readsTokens = first?.operation == .tokenInput
    func positive(_ size: Int, _ what: String) throws(RNNError) -> Int {
      guard size > 0, size <= largestCount else {
        // A size_t above SSIZE_MAX arrives negative.
        throw RNNError(
          .invalidArgument, "node '\(name)': \(what) is \(UInt(bitPattern: size)), expected 1 to \(largestCount)")
      }
      return size
    }
    func checkProbability(_ p: Double, _ what: String) throws(RNNError) {
      guard p >= 0, p < 1 else { throw RNNError(.invalidArgument, "node '\(name)': \(what) is \(p), expected [0, 1)") }
    }
    func features() throws(RNNError) -> Node {
      guard let first, !readsTokens else {
        throw RNNError(.shape, "node '\(name)' reads features, and '\(first?.name ?? "")' gives tokens")
      }
      return first
    }
    func tokens() throws(RNNError) {
      guard readsTokens else {
        throw RNNError(.shape, "node '\(name)' reads tokens, and '\(first?.name ?? "")' gives features")
      }
    }
    switch operation {
    case .input(let size):
      return (try positive(size, "the size"), false)
    case .tokenInput:
      return (0, false)
    case .embedding(let vocabularySize, let size):
      try tokens()
      _ = try positive(vocabularySize, "the vocabulary size")
      return (try positive(size, "the embedding size"), false)
    case .oneHot(let size):
      try tokens()
      return (try positive(size, "the size"), false)
    case .recurrent(let configuration):
      let source = try features()
      guard !source.isSingleStep else {
        throw RNNError(.shape, "recurrent node '\(name)' reads a sequence, and '\(source.name)' gives one step")
      }
      return (try configuration.check(node: name, dataType), false)
    case .linear(let size, _):
      return (try positive(size, "the output size"), try features().isSingleStep)
    case .lastStep, .firstStep:
      let source = try features()
      guard !source.isSingleStep else {
        let what = operation == .lastStep ? "last" : "first"
        throw RNNError(.shape, "\(what) step '\(name)' reads a sequence, and '\(source.name)' gives one step")
      }
      return (source.outputSize, true)
    case .dropout(let p):
      let source = try features()
      try checkProbability(p, "probability")
      return (source.outputSize, source.isSingleStep)
    case .activation(let activation):
      let source = try features()
      guard activation.fits(dataType) else {
        throw RNNError(
          .invalidArgument,
          "node '\(name)': alpha \(activation.alpha) and beta \(activation.beta) are not both finite in \(dataType.rawValue)")
      }
      return (source.outputSize, source.isSingleStep)
    case .softmax, .scaleShift:
      let source = try features()
      return (source.outputSize, source.isSingleStep)
    case .layerNorm(let epsilon):
      let source = try features()
      // Of constant features the variance is 0: the root must not be.
      let smallest = dataType == .float32 ? Double(Float.leastNormalMagnitude) : Double.leastNormalMagnitude
      let largest = dataType == .float32 ? Double(Float.greatestFiniteMagnitude) : Double.greatestFiniteMagnitude
      guard epsilon >= smallest, epsilon <= largest else {
        throw RNNError(
          .invalidArgument, "node '\(name)': epsilon is \(epsilon), expected a finite number of at least \(smallest)")
      }
      return (source.outputSize, source.isSingleStep)
    case .reverse:
      let source = try features()
      guard !source.isSingleStep else {
        throw RNNError(.shape, "reverse '\(name)' reads a sequence, and '\(source.name)' gives one step")
      }
      return (source.outputSize, false)
    case .slice(let begin, let end):
      let source = try features()
      guard begin >= 0, begin < end, end <= source.outputSize else {
        throw RNNError(
          .shape,
          """
          slice '\(name)': features \(UInt(bitPattern: begin)) to \(UInt(bitPattern: end)), and '\(source.name)' gives \
          \(source.outputSize): expected begin < end <= \(source.outputSize)
          """)
      }
      return (end - begin, source.isSingleStep)
    case .concat:
      let source = try features()
      var size = source.outputSize
      for other in sources.dropFirst().map({ nodes[$0] }) {
        guard other.operation != .tokenInput, other.isSingleStep == source.isSingleStep else {
          throw RNNError(
            .shape,
            """
            concat '\(name)': '\(source.name)' gives \(source.isSingleStep ? "one step" : "a sequence"), '\(other.name)' \
            \(other.operation == .tokenInput ? "tokens" : other.isSingleStep ? "one step" : "a sequence")
            """)
        }
        size = try checkedSum(size, other.outputSize, of: "node '\(name)'")
      }
      return (size, source.isSingleStep)
    case .sum, .product:
      let source = try features()
      for other in sources.dropFirst().map({ nodes[$0] }) {
        guard other.operation != .tokenInput, other.outputSize == source.outputSize,
          other.isSingleStep == source.isSingleStep
        else {
          throw RNNError(
            .shape,
            """
            \(operation.label) '\(name)': '\(source.name)' gives \(source.isSingleStep ? "one step" : "a sequence") of \
            \(source.outputSize) features, '\(other.name)' \(other.isSingleStep ? "one step" : "a sequence") of \
            \(other.outputSize)
            """)
        }
      }
      return (source.outputSize, source.isSingleStep)
    }
  }

  // MARK: - Tables

  private mutating func limitTokens(of node: Int, to size: Int) {
    vocabularySizes[inputOffset[node]] = min(vocabularySizes[inputOffset[node]], size)
  }

  private mutating func addParameter(_ name: String, _ shape: [Int], _ role: ParameterRole) throws(RNNError) {
    guard parameter(named: name) == nil else {
      throw RNNError(.invalidArgument, "two parameters would be named '\(name)'")
    }
    var count = 1
    for size in shape { count = try checkedProduct(count, size, of: "parameter '\(name)'") }
    guard parameters.count < Self.largestParameterTensorCount else {
      throw RNNError(.unsupported, "a network has at most \(Self.largestParameterTensorCount) parameter tensors")
    }
    parameterIndex[name] = parameters.count
    parameters.append(TensorSlot(name: name, offset: parameterCount, shape: shape, count: count))
    parameterRoles.append(role)
    parameterCount = try checkedSum(parameterCount, count, of: "the parameters")
  }

  private mutating func addState(_ name: String, layers: Int, size: Int) throws(RNNError) {
    let count = try checkedProduct(layers, size, of: "state '\(name)'")
    states.append(TensorSlot(name: name, offset: stateCount, shape: [layers, 1, size], count: count))
    stateCount = try checkedSum(stateCount, count, of: "the states")
  }

  private mutating func addRecurrent(
    _ configuration: RecurrentConfiguration, name: String, inputSize: Int
  ) throws(RNNError) {
    let outputSize = try configuration.check(node: name, dataType)
    for layer in 0..<configuration.layerCount {
      for direction in 0..<configuration.directionCount {
        recurrentParameters.append(
          try addLayer(
            configuration, name: name, suffix: "_l\(layer)" + (direction == 1 ? "_reverse" : ""),
            inputSize: layer == 0 ? inputSize : outputSize, direction: direction))
      }
    }
    let layers = configuration.layerCount, hasCell = configuration.cell.hasCellState
    if configuration.hasUnequalDirections {
      let hidden = (0..<2).map { configuration.hiddenSize(direction: $0) }
      try addState("\(name).h", layers: layers, size: configuration.stateSize(direction: 0))
      try addState("\(name).h_reverse", layers: layers, size: configuration.stateSize(direction: 1))
      if hasCell {
        try addState("\(name).c", layers: layers, size: hidden[0])
        try addState("\(name).c_reverse", layers: layers, size: hidden[1])
      }
    } else {
      let rows = layers * configuration.directionCount
      try addState("\(name).h", layers: rows, size: configuration.stateSize(direction: 0))
      if hasCell { try addState("\(name).c", layers: rows, size: configuration.hiddenSize) }
    }
    layerDirections += layers * configuration.directionCount
  }

  /// The parameters of one layer and direction, in PyTorch's order as far as PyTorch has them.
  private mutating func addLayer(
    _ configuration: RecurrentConfiguration, name: String, suffix: String, inputSize: Int, direction: Int
  ) throws(RNNError) -> RecurrentParameters {
    let hidden = configuration.hiddenSize(direction: direction), state = configuration.stateSize(direction: direction)
    let cell = configuration.cell, gates = cell.gateCount
    let rows = try checkedProduct(gates, hidden, of: "the gates of node '\(name)'")
    var places = RecurrentParameters()
    func add(_ tensor: String, _ shape: [Int], _ role: ParameterRole) throws(RNNError) -> Int {
      try addParameter("\(name).\(tensor)\(suffix)", shape, role)
      return parameters[parameters.count - 1].offset
    }
    func bias(_ tensor: String, isFirst: Bool) throws(RNNError) -> Int {
      try add(tensor, [rows], .recurrentBias(hiddenSize: hidden, cell: cell, isFirst: isFirst))
    }
    places.weightIH = try add("weight_ih", [rows, inputSize], .recurrentInputWeight(hiddenSize: hidden, gates: gates))
    places.weightHH = try add("weight_hh", [rows, state], .recurrentHiddenWeight(hiddenSize: hidden, gates: gates))
    switch configuration.bias {
    case .none: break
    case .single: places.biasIH = try bias("bias", isFirst: true)
    case .double:
      places.biasIH = try bias("bias_ih", isFirst: true)
      places.biasHH = try bias("bias_hh", isFirst: false)
    }
    if configuration.projectionSize != nil {
      places.weightHR = try add("weight_hr", [state, hidden], .projectionWeight(hiddenSize: hidden))
    }
    if configuration.hasPeepholes {
      places.peephole = try add(
        "weight_peephole", [CellKind.peepholeCount, hidden], .peepholeWeight(hiddenSize: hidden))
    }
    if configuration.learnsInitialState {
      places.initialHidden = try add("h_0", [state], .initialState)
      if cell.hasCellState { places.initialCell = try add("c_0", [hidden], .initialState) }
    }
    return places
  }
}

func checkedSum(_ a: Int, _ b: Int, of what: @autoclosure () -> String) throws(RNNError) -> Int {
  let (sum, overflow) = a.addingReportingOverflow(b)
  guard !overflow, sum <= largestCount else {
    throw RNNError(.outOfMemory, "\(what()): \(a) + \(b) elements are more than memory can have")
  }
  return sum
}

extension Operator {
  /// What messages call a node that reads several.
  fileprivate var label: String {
    switch self {
    case .concat: "concat"
    case .product: "product"
    default: "sum"
    }
  }
}
