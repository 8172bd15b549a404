import RNNKernels
import XCTest

@testable import RNN

/// Numbers in [-1, 1) with full significands, the same in every run: SplitMix64.
struct TestNumbers {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func bits() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z &>> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z &>> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z &>> 31)
  }

  mutating func next() -> Double { Double(Int64(bitPattern: bits()) &>> 10) * 0x1p-53 }

  mutating func array<Scalar: KernelScalar>(_ count: Int, of type: Scalar.Type = Scalar.self, scale: Double = 1) -> [Scalar] {
    (0..<count).map { _ in Scalar(next() * scale) }
  }

  mutating func below(_ limit: Int) -> Int { Int(bits() % UInt64(limit)) }

  mutating func one<Element>(of elements: [Element]) -> Element { elements[below(elements.count)] }
}

/// Compares bits: 0 and -0 differ, and every NaN is a difference only from what is not NaN.
func assertSameBits<Scalar: KernelScalar>(
  _ found: [Scalar], _ expected: [Scalar], _ message: @autoclosure () -> String = "", file: StaticString = #filePath,
  line: UInt = #line
) {
  guard found.count == expected.count else {
    return XCTFail("\(found.count) elements instead of \(expected.count): \(message())", file: file, line: line)
  }
  let isSame = found.withUnsafeBytes { a in
    expected.withUnsafeBytes { b in a.isEmpty || memcmp(a.baseAddress!, b.baseAddress!, a.count) == 0 }
  }
  guard !isSame else { return }
  for (i, (a, b)) in zip(found, expected).enumerated() where !(a.isNaN && b.isNaN) && !(a == b && a.sign == b.sign) {
    return XCTFail("element \(i) is \(a), expected \(b): \(message())", file: file, line: line)
  }
}

/// A batch of sequences in arrays, and what a network makes of it.
struct Batch<Scalar: KernelScalar> {
  /// T and N.
  var stepCount, rowCount: Int
  /// [T, N, input size].
  var features: [Scalar]
  /// [T, N, token inputs].
  var tokens: [Int64]
  var lengths: [Int64]?
  var isBatchFirst = false

  /// Random features and tokens for a network.
  init(_ architecture: Architecture, stepCount: Int, rowCount: Int, numbers: inout TestNumbers) {
    self.stepCount = stepCount
    self.rowCount = rowCount
    features = numbers.array(stepCount * rowCount * architecture.inputSize)
    tokens = (0..<stepCount * rowCount * architecture.tokenCount).map { _ in Int64(numbers.below(smallestVocabulary)) }
  }

  /// Steps `range` of all rows.
  func steps(_ range: Range<Int>, _ architecture: Architecture) -> Batch {
    var part = self
    part.stepCount = range.count
    let features = rowCount * architecture.inputSize, tokens = rowCount * architecture.tokenCount
    part.features = Array(self.features[range.lowerBound * features..<range.upperBound * features])
    part.tokens = Array(self.tokens[range.lowerBound * tokens..<range.upperBound * tokens])
    return part
  }

  /// Row n alone, its first `length` steps.
  func row(_ n: Int, length: Int, _ architecture: Architecture) -> Batch {
    var part = self
    (part.stepCount, part.rowCount) = (length, 1)
    part.lengths = nil
    part.features = rowSlice(features, of: n, rows: rowCount, width: architecture.inputSize, steps: length)
    part.tokens = rowSlice(tokens, of: n, rows: rowCount, width: architecture.tokenCount, steps: length)
    return part
  }

  /// The same batch with rows before steps.
  func batchFirst(_ architecture: Architecture) -> Batch {
    var other = self
    other.isBatchFirst = true
    other.features = transposed(features, first: stepCount, second: rowCount, width: architecture.inputSize)
    other.tokens = transposed(tokens, first: stepCount, second: rowCount, width: architecture.tokenCount)
    return other
  }
}

/// Tokens of tests are below it, whatever the vocabulary.
let smallestVocabulary = 5

/// Row n of [T, N, width]: its first `steps` steps.
func rowSlice<Element>(_ values: [Element], of n: Int, rows: Int, width: Int, steps: Int) -> [Element] {
  var result: [Element] = []
  for t in 0..<steps {
    let first = (t * rows + n) * width
    result += values[first..<first + width]
  }
  return result
}

/// [first, second, width] to [second, first, width].
func transposed<Element>(_ values: [Element], first: Int, second: Int, width: Int) -> [Element] {
  var result: [Element] = []
  for j in 0..<second {
    for i in 0..<first {
      let begin = (i * second + j) * width
      result += values[begin..<begin + width]
    }
  }
  return result
}

extension Network {
  func outputCount(_ stepCount: Int, _ rowCount: Int) -> Int {
    (architecture.hasSingleStepOutput ? rowCount : stepCount * rowCount) * architecture.outputSize
  }

  /// - Parameter fill: What the output holds beforehand; every element of it must be overwritten.
  func run<Scalar: KernelScalar>(
    _ sequence: Batch<Scalar>, state: inout NetworkState?, fill: Scalar = .nan
  ) throws -> [Scalar] {
    var output = [Scalar](repeating: fill, count: outputCount(sequence.stepCount, sequence.rowCount))
    try withInput(sequence) { input in
      try output.withUnsafeMutableBufferPointer { try run(input, state: &state, output: $0) }
    }
    return output
  }

  func train<Scalar: KernelScalar>(
    _ sequence: Batch<Scalar>, state: inout NetworkState?, dropout: DropoutKey = DropoutKey()
  ) throws -> (output: [Scalar], tape: Tape) {
    var output = [Scalar](repeating: .nan, count: outputCount(sequence.stepCount, sequence.rowCount))
    let tape = try withInput(sequence) { input in
      try output.withUnsafeMutableBufferPointer {
        try forwardTrain(input, state: &state, output: $0, dropout: dropout)
      }
    }
    return (output, tape)
  }

  private func withInput<Scalar: KernelScalar, Result>(
    _ sequence: Batch<Scalar>, _ body: (SequenceInput<Scalar>) throws -> Result
  ) rethrows -> Result {
    try sequence.features.withUnsafeBufferPointer { features in
      try sequence.tokens.withUnsafeBufferPointer { tokens in
        func call(_ lengths: UnsafeBufferPointer<Int64>?) throws -> Result {
          try body(
            SequenceInput(
              sequenceLength: sequence.stepCount, batchSize: sequence.rowCount, features: features, tokens: tokens,
              lengths: lengths, isBatchFirst: sequence.isBatchFirst))
        }
        guard let lengths = sequence.lengths else { return try call(nil) }
        return try lengths.withUnsafeBufferPointer { try call($0) }
      }
    }
  }

  /// Everything that a backward pass gives.
  func gradients<Scalar: KernelScalar>(
    _ tape: Tape, outputGradient: [Scalar], state: inout NetworkState?, inputCount: Int, flowCount: Int = 0
  ) throws -> (input: [Scalar], parameters: [Scalar], flow: [Double]) {
    var input = [Scalar](repeating: .nan, count: inputCount)
    var parameters = [Scalar](repeating: .nan, count: architecture.parameterCount)
    var flow = [Double](repeating: .nan, count: flowCount)
    try input.withUnsafeMutableBufferPointer { input in
      try parameters.withUnsafeMutableBufferPointer { parameters in
        try flow.withUnsafeMutableBufferPointer { flow in
          var wanted = GradientFlow()
          if flowCount > 0 { wanted.hidden = flow }
          try outputGradient.withUnsafeBufferPointer {
            try backward(
              tape, outputGradient: $0, stateGradient: &state,
              outputs: BackwardOutputs(
                inputGradient: inputCount == 0 ? nil : input, gradients: parameters, flow: wanted))
          }
        }
      }
    }
    return (input, parameters, flow)
  }

  func parameter<Scalar: KernelScalar>(_ name: String? = nil, as type: Scalar.Type = Scalar.self) throws -> [Scalar] {
    let count = name.map { architecture.parameter(named: $0)?.count ?? 0 } ?? architecture.parameterCount
    var values = [Scalar](repeating: .nan, count: count)
    try values.withUnsafeMutableBufferPointer { try readParameter(name, into: $0) }
    return values
  }

  func setParameter<Scalar: KernelScalar>(_ name: String? = nil, to values: [Scalar]) throws {
    try values.withUnsafeBufferPointer { try writeParameter(name, from: $0) }
  }
}

extension NetworkState {
  func array<Scalar: KernelScalar>(_ name: String? = nil, as type: Scalar.Type = Scalar.self) throws -> [Scalar] {
    var values = [Scalar](repeating: .nan, count: name == nil ? count : entries.first { $0.name == name }!.count * batchSize)
    try values.withUnsafeMutableBufferPointer { try read(name, into: $0) }
    return values
  }

  mutating func set<Scalar: KernelScalar>(_ name: String? = nil, to values: [Scalar]) throws {
    try values.withUnsafeBufferPointer { try write(name, from: $0) }
  }

  /// The state of row n alone.
  func row<Scalar: KernelScalar>(_ n: Int, of network: Network, _ type: Scalar.Type) throws -> NetworkState {
    var part = try network.makeState(batchSize: 1)
    for entry in entries {
      let layers = entry.shape[0], h = entry.shape[2]
      try part.set(
        entry.name, to: rowSlice(try array(entry.name, as: Scalar.self), of: n, rows: batchSize, width: h, steps: layers))
    }
    return part
  }
}

/// A state with numbers of its own.
func randomState<Scalar: KernelScalar>(
  _ network: Network, rowCount: Int, _ type: Scalar.Type, numbers: inout TestNumbers
) throws -> NetworkState {
  var state = try network.makeState(batchSize: rowCount)
  try state.set(to: numbers.array(state.count, of: Scalar.self))
  return state
}

let everyCell: [CellKind] = [.vanilla(.tanh), .vanilla(.relu), .gru(.resetBefore), .gru(.resetAfter), .lstm]

/// A network of random nodes and sizes: inputs of both kinds, stacks of any cell, residual sums, dropout, linear nodes, any of the
/// other operators.
func randomArchitecture(
  _ dataType: DataType, bidirectional: Bool, lastStep: Bool, numbers: inout TestNumbers
) throws -> Architecture {
  var architecture = Architecture(dataType: dataType)
  var heads: [String] = []
  if numbers.below(2) == 0 {
    try architecture.add(.input(size: 1 + numbers.below(6)), name: "x")
    heads.append("x")
  }
  if heads.isEmpty || numbers.below(2) == 0 {
    try architecture.add(.tokenInput, name: "t")
    try architecture.add(
      numbers.below(2) == 0
        ? .embedding(vocabularySize: smallestVocabulary + numbers.below(3), size: 1 + numbers.below(7))
        : .oneHot(size: smallestVocabulary + numbers.below(3)), name: "e", inputs: ["t"])
    heads.append("e")
  }
  if numbers.below(2) == 0 {
    try architecture.add(.input(size: 2), name: "y")
    heads.append("y")
  }
  // Every head to one width, summed.
  let width = numbers.one(of: [2, 5, 17])
  for head in heads {
    try architecture.add(.linear(outputSize: width, bias: numbers.below(2) == 0), name: "\(head)_in", inputs: [head])
  }
  if heads.count > 1 { try architecture.add(.sum, name: "mix", inputs: heads.map { "\($0)_in" }) }
  for block in 0..<1 + numbers.below(2) {
    let source = architecture.nodes.last!
    let isBoth = bidirectional && (block == 0 || numbers.below(2) == 0)
    let h = numbers.one(of: [1, 3, 5, 16, 19, width])
    var configuration = RecurrentConfiguration(
      numbers.one(of: everyCell), hiddenSize: h, layerCount: 1 + numbers.below(3), bidirectional: isBoth,
      bias: numbers.one(of: BiasMode.allCases), dropout: numbers.below(2) == 0 ? 0.25 : 0)
    configuration.addRandomOptions(&numbers)
    try architecture.add(.recurrent(configuration), name: "r\(block)")
    if architecture.outputSize == source.outputSize {
      try architecture.add(.sum, name: "residual\(block)", inputs: [source.name, "r\(block)"])
    }
    if numbers.below(2) == 0 { try architecture.add(.dropout(probability: 0.5), name: "d\(block)") }
    if numbers.below(2) == 0 { try architecture.addRandomOperators(named: "op\(block)_", reversing: bidirectional, &numbers) }
  }
  if lastStep { try architecture.add(.lastStep, name: "last") }
  if numbers.below(2) == 0 {
    try architecture.addRandomOperators(named: "end", reversing: bidirectional && !lastStep, &numbers)
  }
  if numbers.below(2) == 0 || lastStep { try architecture.add(.linear(outputSize: 3, bias: true), name: "out") }
  return architecture
}

/// A function whose numbers are right.
func function(_ kind: ActivationKind, alpha: Double = 0, beta: Double = 0) -> Activation {
  try! Activation(kind, alpha: alpha, beta: beta)
}

extension Activation {
  static func random(_ numbers: inout TestNumbers) -> Activation {
    let kind = numbers.one(of: ActivationKind.allCases)
    return function(kind, alpha: kind.readsAlpha ? 0.5 + numbers.next() / 4 : 0, beta: kind.readsBeta ? 0.5 : 0)
  }
}

extension Architecture {
  /// One to three operators without a state, each reading the last node, and those of several also an earlier one.
  mutating func addRandomOperators(named name: String, reversing: Bool, _ numbers: inout TestNumbers) throws {
    for i in 0..<1 + numbers.below(3) {
      let (size, last) = (outputSize, nodes.last!)
      let others = nodes.filter { $0.operation != .tokenInput && $0.isSingleStep == last.isSingleStep }
      let same = others.filter { $0.outputSize == size }
      let choices: [(Operator, [String])] = [
        (.activation(.random(&numbers)), []), (.softmax(logarithm: numbers.below(2) == 0), []), (.layerNorm(epsilon: 1e-5), []),
        (.scaleShift(bias: numbers.below(2) == 0), []), (.product, [last.name, numbers.one(of: same).name]),
        (.concat, [last.name, numbers.one(of: others).name, last.name]),
        (.slice(begin: size / 3, end: size - size / 4), []), (reversing ? .reverse : .activation(function(.tanh)), []),
      ]
      let (operation, inputs) = numbers.one(of: choices)
      try add(operation, name: "\(name)\(i)", inputs: inputs)
    }
  }
}

extension RecurrentConfiguration {
  /// Each option with a chance of one in three, as far as it fits the others. No recurrent dropout: training would differ from
  /// running.
  mutating func addRandomOptions(_ numbers: inout TestNumbers) {
    func chance(_ numbers: inout TestNumbers) -> Bool { numbers.below(3) == 0 }
    isResidual = chance(&numbers)
    learnsInitialState = chance(&numbers)
    if chance(&numbers) { gateClip = 0.7 }
    if bidirectional {
      if chance(&numbers) { merge = numbers.one(of: [.sum, .mean, .product]) }
      if chance(&numbers), merge == .concat { reverseHiddenSize = hiddenSize + 2 }
    }
    if cell == .lstm {
      if chance(&numbers) { projectionSize = numbers.one(of: [1, 2, hiddenSize, hiddenSize + 1]) }
      hasPeepholes = chance(&numbers)
      hasCoupledGates = chance(&numbers)
      if chance(&numbers) { cellClip = 0.4 }
      clipsOutputActivation = gateClip != nil && chance(&numbers)
      if chance(&numbers) { forgetBias = 1 }
    }
    guard chance(&numbers) else { return }
    let bounded: [Activation?] = [
      nil, function(.hardSigmoid, alpha: 0.2, beta: 0.5), function(.softsign), function(.scaledTanh, alpha: 1.2, beta: 0.7),
      function(.sigmoid), function(.tanh),
    ]
    let others: [Activation?] = [
      function(.leakyRelu, alpha: 0.1), function(.elu, alpha: 0.8), function(.softplus), function(.relu),
      function(.affine, alpha: 0.6, beta: 0.1), function(.thresholdedRelu, alpha: -0.3),
    ]
    for _ in 0..<directionCount {
      activations.append(
        cell.activationNames.map { name in
          if hasCoupledGates && name == "f" { return nil }
          // Gates without bounds multiply each other to infinity.
          return numbers.one(of: ["n", "g", "h"].contains(name) ? bounded + others : bounded)
        })
    }
  }
}

/// A network with one recurrent node, and weights that are not small.
func recurrentNetwork(
  _ cell: CellKind, inputSize: Int, hiddenSize: Int, layerCount: Int = 1, bidirectional: Bool = false, bias: BiasMode? = nil,
  dataType: DataType = .float32, seed: UInt64 = 1
) throws -> Network {
  var architecture = Architecture(dataType: dataType)
  try architecture.add(.input(size: inputSize), name: "x")
  try architecture.add(
    .recurrent(
      RecurrentConfiguration(cell, hiddenSize: hiddenSize, layerCount: layerCount, bidirectional: bidirectional, bias: bias)),
    name: "r")
  return try Network(architecture, initialization: InitialWeights(.normal(deviation: 0.5), seed: seed))
}

/// Expects an error of this kind whose message has these parts.
func assertFails<Value>(
  _ code: RNNError.Code, _ parts: String..., file: StaticString = #filePath, line: UInt = #line,
  _ body: () throws -> Value
) {
  XCTAssertThrowsError(try body(), file: file, line: line) {
    let error = $0 as? RNNError
    XCTAssertEqual(error?.code, code, "\($0)", file: file, line: line)
    for part in parts {
      XCTAssertTrue(error?.message.contains(part) == true, "\($0) does not say \(part)", file: file, line: line)
    }
  }
}
