import RNNKernels
import XCTest

@testable import RNN

/// Every backward pass against central differences of its forward pass, in double precision.
final class GradientTests: XCTestCase {
  /// (L(p + ε) − L(p − ε)) / 2ε with ε = 1e-5: the error of the difference is ε²/6 · L‴ ≈ 2e-11 · L‴ and of rounding
  /// 1e-16 · L / ε ≈ 1e-11 · L, where L is about 1 to 30 here. The largest measured is 4e-10, for gradients up to 5.6.
  private let epsilon = 1e-5
  private let accuracy = 5e-9

  /// L = Σ output · w + Σ final state · v, and its gradients.
  private func check(
    _ network: Network, stepCount t: Int, rowCount n: Int, lengths: [Int64]? = nil, seed: UInt64, file: StaticString = #filePath,
    line: UInt = #line
  ) throws {
    let architecture = network.architecture
    var numbers = TestNumbers(seed: seed)
    var sequence = Batch<Double>(architecture, stepCount: t, rowCount: n, numbers: &numbers)
    sequence.lengths = lengths
    let initial = try randomState(network, rowCount: n, Double.self, numbers: &numbers)
    let w: [Double] = numbers.array(network.outputCount(t, n))
    let v: [Double] = numbers.array(initial.count)
    let key = DropoutKey(seed: 5, step: 6)

    func loss(_ sequence: Batch<Double>, _ state: NetworkState) throws -> Double {
      var state: NetworkState? = state
      let output = try network.train(sequence, state: &state, dropout: key).output
      let final: [Double] = try state!.array()
      return zip(output, w).reduce(0) { $0 + $1.0 * $1.1 } + zip(final, v).reduce(0) { $0 + $1.0 * $1.1 }
    }

    var state: NetworkState? = initial
    let tape = try network.train(sequence, state: &state, dropout: key).tape
    var stateGradient: NetworkState? = try network.makeState(batchSize: n)
    try stateGradient!.set(to: v)
    let found = try network.gradients(tape, outputGradient: w, state: &stateGradient, inputCount: sequence.features.count)

    // A tape serves any number of backward passes.
    var again: NetworkState? = try network.makeState(batchSize: n)
    try again!.set(to: v)
    assertSameBits(
      try network.gradients(tape, outputGradient: w, state: &again, inputCount: 0).parameters, found.parameters, file: file,
      line: line)

    var largest = 0.0
    func compare(_ gradient: Double, _ what: String, _ lossAt: (Double) throws -> Double) rethrows {
      let difference = (try lossAt(epsilon) - lossAt(-epsilon)) / (2 * epsilon)
      XCTAssertEqual(gradient, difference, accuracy: accuracy, what, file: file, line: line)
      largest = max(largest, abs(gradient))
    }
    for i in sequence.features.indices {
      try compare(found.input[i], "input \(i)") { delta in
        var other = sequence
        other.features[i] += delta
        return try loss(other, initial)
      }
    }
    let stateGradients: [Double] = try stateGradient!.array(), initialValues: [Double] = try initial.array()
    for i in initialValues.indices {
      try compare(stateGradients[i], "state \(i)") { delta in
        var values = initialValues, other = initial
        values[i] += delta
        try other.set(to: values)
        return try loss(sequence, other)
      }
    }
    let parameters: [Double] = try network.parameter()
    for slot in architecture.parameters {
      for i in slot.offset..<slot.offset + slot.count {
        try compare(found.parameters[i], "\(slot.name)[\(i - slot.offset)]") { delta in
          var values = parameters
          values[i] += delta
          try network.setParameter(to: values)
          defer { try? network.setParameter(to: parameters) }
          return try loss(sequence, initial)
        }
      }
    }
    XCTAssertGreaterThan(largest, 0.01, "all gradients vanish: nothing was tested", file: file, line: line)
  }

  func testEveryCellInEveryBiasMode() throws {
    for (i, cell) in everyCell.enumerated() {
      for bias in BiasMode.allCases {
        let network = try recurrentNetwork(
          cell, inputSize: 2, hiddenSize: 3, bias: bias, dataType: .float64, seed: UInt64(i))
        try check(network, stepCount: 3, rowCount: 2, seed: 1)
      }
    }
  }

  func testEveryCellDeepAndInBothDirections() throws {
    for cell in everyCell {
      let network = try recurrentNetwork(
        cell, inputSize: 2, hiddenSize: 2, layerCount: 2, bidirectional: true, dataType: .float64, seed: 3)
      try check(network, stepCount: 4, rowCount: 2, seed: 2)
      try check(network, stepCount: 4, rowCount: 3, lengths: [2, 4, 0], seed: 3)
    }
  }

  /// Random sets of options, deep, in one direction or both, with lengths and dropout of every kind.
  func testRandomOptions() throws {
    for seed in UInt64(0)..<40 {
      var numbers = TestNumbers(seed: seed)
      var configuration = RecurrentConfiguration(
        everyCell[Int(seed) % everyCell.count], hiddenSize: 2, layerCount: 1 + numbers.below(2),
        bidirectional: numbers.below(2) == 0, bias: numbers.one(of: BiasMode.allCases), dropout: numbers.below(2) == 0 ? 0.3 : 0)
      configuration.addRandomOptions(&numbers)
      if !configuration.bidirectional, numbers.below(2) == 0 { configuration.direction = .reverse }
      if numbers.below(2) == 0 { configuration.recurrentDropout = 0.3 }
      var architecture = Architecture(dataType: .float64)
      try architecture.add(.input(size: 2), name: "x")
      try architecture.add(.recurrent(configuration), name: "r")
      let network = try Network(architecture)
      // Biases too: where ReLU gives zeros, the sums of the next layer would be at a kink.
      try network.setParameter(to: numbers.array(architecture.parameterCount, of: Double.self, scale: 0.9))
      try check(network, stepCount: 3, rowCount: 2, seed: seed)
      try check(network, stepCount: 3, rowCount: 3, lengths: [2, 3, 0], seed: seed + 100)
    }
  }

  /// h_0 and c_0 as parameters: one row for all of the batch, whose gradient is the sum over the rows.
  func testTheLearnedInitialState() throws {
    for cell in everyCell {
      var configuration = RecurrentConfiguration(cell, hiddenSize: 3, layerCount: 2, bidirectional: true)
      configuration.learnsInitialState = true
      var architecture = Architecture(dataType: .float64)
      try architecture.add(.input(size: 2), name: "x")
      try architecture.add(.recurrent(configuration), name: "r")
      let network = try Network(architecture, initialization: InitialWeights(.normal(deviation: 0.6), seed: 1))
      var numbers = TestNumbers(seed: 3)
      let sequence = Batch<Double>(architecture, stepCount: 3, rowCount: 2, numbers: &numbers)
      let parameters: [Double] = numbers.array(architecture.parameterCount, scale: 0.7)
      try network.setParameter(to: parameters)
      let w: [Double] = numbers.array(network.outputCount(3, 2))
      func loss() throws -> Double {
        var none: NetworkState?
        return zip(try network.run(sequence, state: &none), w).reduce(0) { $0 + $1.0 * $1.1 }
      }
      var none: NetworkState?, noGradient: NetworkState?
      let tape = try network.train(sequence, state: &none).tape
      let found = try network.gradients(tape, outputGradient: w, state: &noGradient, inputCount: 0).parameters
      for slot in architecture.parameters where slot.name.contains("_0_l") {
        for i in slot.offset..<slot.offset + slot.count {
          var values = parameters
          values[i] += epsilon
          try network.setParameter(to: values)
          let above = try loss()
          values[i] -= 2 * epsilon
          try network.setParameter(to: values)
          XCTAssertEqual(found[i], (above - (try loss())) / (2 * epsilon), accuracy: accuracy, "\(cell) \(slot.name)")
          XCTAssertGreaterThan(abs(found[i]), 1e-6)
        }
      }
    }
  }

  /// Two inputs, embedding and one-hot, a sum, dropout, an LSTM, a deep bidirectional GRU, the last step, linear nodes.
  private func mixed(lastStep: Bool) throws -> Network {
    var architecture = Architecture(dataType: .float64)
    try architecture.add(.tokenInput, name: "word")
    try architecture.add(.input(size: 3), name: "x")
    try architecture.add(.input(size: 2), name: "control")
    try architecture.add(.embedding(vocabularySize: smallestVocabulary, size: 4), name: "embedding", inputs: ["word"])
    try architecture.add(.oneHot(size: smallestVocabulary), name: "one_hot", inputs: ["word"])
    try architecture.add(.linear(outputSize: 4, bias: false), name: "from_one_hot", inputs: ["one_hot"])
    try architecture.add(.linear(outputSize: 4, bias: true), name: "from_x", inputs: ["x"])
    try architecture.add(.linear(outputSize: 4, bias: true), name: "from_control", inputs: ["control"])
    try architecture.add(.sum, name: "mix", inputs: ["embedding", "from_x", "from_control", "from_one_hot"])
    try architecture.add(.dropout(probability: 0.3), name: "drop")
    try architecture.add(.recurrent(RecurrentConfiguration(.lstm, hiddenSize: 4)), name: "lstm")
    try architecture.add(.sum, name: "residual", inputs: ["mix", "lstm"])
    try architecture.add(
      .recurrent(
        RecurrentConfiguration(.gru(.resetBefore), hiddenSize: 2, layerCount: 2, bidirectional: true, dropout: 0.4)),
      name: "gru")
    if lastStep { try architecture.add(.lastStep, name: "last") }
    try architecture.add(.linear(outputSize: 3, bias: true), name: "out")
    return try Network(architecture, initialization: InitialWeights(.normal(deviation: 0.6), seed: 8))
  }

  func testAMixedNetwork() throws {
    try check(try mixed(lastStep: false), stepCount: 3, rowCount: 2, seed: 4)
    try check(try mixed(lastStep: true), stepCount: 3, rowCount: 2, seed: 5)
    try check(try mixed(lastStep: true), stepCount: 4, rowCount: 3, lengths: [3, 1, 4], seed: 6)
  }

  /// A linear node, the operator, and a linear node that mixes its result, with and without lengths, of steps and of one step.
  private func checkOperator(
    _ operation: Operator, _ what: String, singleStep: Bool = false, file: StaticString = #filePath, line: UInt = #line
  ) throws {
    var architecture = Architecture(dataType: .float64)
    try architecture.add(.input(size: 3), name: "x")
    // Reads an input directly, too: its gradient may not be wanted.
    try architecture.add(.linear(outputSize: 3, bias: true), name: "a", inputs: ["x"])
    try architecture.add(.recurrent(RecurrentConfiguration(.vanilla(.tanh), hiddenSize: 3)), name: "r", inputs: ["x"])
    if singleStep {
      try architecture.add(.lastStep, name: "last_a", inputs: ["a"])
      try architecture.add(.lastStep, name: "last_r", inputs: ["r"])
    }
    let names = singleStep ? ["last_a", "last_r"] : ["a", "r"]
    if operation.readsSeveral {
      try architecture.add(operation, name: "op", inputs: names + [names[0]])
    } else {
      try architecture.add(.sum, name: "sum", inputs: names)
      try architecture.add(operation, name: "op")
    }
    for end in [true, false] {
      if !end { try architecture.add(.linear(outputSize: 2, bias: false), name: "out") }
      let network = try Network(architecture)
      var numbers = TestNumbers(seed: 17)
      try network.setParameter(to: numbers.array(architecture.parameterCount, of: Double.self))
      try check(network, stepCount: 3, rowCount: 2, seed: 31, file: file, line: line)
      try check(network, stepCount: 3, rowCount: 3, lengths: [2, 3, 1], seed: 32, file: file, line: line)
    }
  }

  func testEveryOperatorOverTheFeaturesOfAStep() throws {
    for singleStep in [false, true] {
      try checkOperator(.softmax(logarithm: false), "softmax", singleStep: singleStep)
      try checkOperator(.softmax(logarithm: true), "log softmax", singleStep: singleStep)
      try checkOperator(.layerNorm(epsilon: 0.01), "layer norm", singleStep: singleStep)
      try checkOperator(.scaleShift(bias: true), "scale and shift", singleStep: singleStep)
      try checkOperator(.scaleShift(bias: false), "scale", singleStep: singleStep)
      try checkOperator(.slice(begin: 1, end: 3), "slice", singleStep: singleStep)
      try checkOperator(.concat, "concat", singleStep: singleStep)
      try checkOperator(.product, "product", singleStep: singleStep)
    }
    try checkOperator(.reverse, "reverse")
    try checkOperator(.firstStep, "first step")
  }

  func testEveryActivation() throws {
    for kind in ActivationKind.allCases {
      try checkOperator(
        .activation(try Activation(kind, alpha: kind.readsAlpha ? 0.4 : 0, beta: kind.readsBeta ? 0.6 : 0)), kind.name)
    }
  }

  /// More elements than a backward pass takes at a time, and than a vector has.
  func testOperatorsOfManyElements() throws {
    for operation in [
      Operator.activation(function(.elu, alpha: 0.5)), .product, .softmax(logarithm: true), .layerNorm(epsilon: 1e-5),
      .scaleShift(bias: true),
    ] {
      var architecture = Architecture(dataType: .float64)
      try architecture.add(.input(size: 2), name: "x")
      try architecture.add(.linear(outputSize: 37, bias: true), name: "a")
      try architecture.add(.linear(outputSize: 37, bias: true), name: "b", inputs: ["x"])
      try architecture.add(operation, name: "op", inputs: operation.readsSeveral ? ["a", "b"] : ["a"])
      try architecture.add(.product, name: "c", inputs: ["op", "b"])
      try architecture.add(.linear(outputSize: 1, bias: false), name: "out")
      let network = try Network(architecture)
      var numbers = TestNumbers(seed: 3)
      let parameters: [Double] = numbers.array(architecture.parameterCount)
      try network.setParameter(to: parameters)
      // 70 · 37 = 2590 elements; one direction in the space of the parameters checks them all at once.
      let sequence = Batch<Double>(architecture, stepCount: 7, rowCount: 10, numbers: &numbers)
      let turn: [Double] = numbers.array(parameters.count), w: [Double] = numbers.array(70)
      func loss(_ by: Double) throws -> Double {
        try network.setParameter(to: zip(parameters, turn).map { $0 + by * $1 })
        var none: NetworkState?
        return zip(try network.run(sequence, state: &none), w).reduce(0) { $0 + $1.0 * $1.1 }
      }
      try network.setParameter(to: parameters)
      var none: NetworkState?, noGradient: NetworkState?
      let tape = try network.train(sequence, state: &none).tape
      let found = try network.gradients(tape, outputGradient: w, state: &noGradient, inputCount: 0).parameters
      let slope = zip(found, turn).reduce(0) { $0 + $1.0 * $1.1 }
      // The losses are about 100, the differences of elu' at its kink none: alpha 0.5 leaves one of 0.5 · ε at 0, hit by no element.
      XCTAssertEqual(slope, (try loss(1e-6) - loss(-1e-6)) / 2e-6, accuracy: 1e-6 * max(1, abs(slope)), "\(operation)")
    }
  }

  /// A node may be read twice, and a sum may add it to itself.
  func testANodeReadSeveralTimesGetsAllItsGradients() throws {
    var architecture = Architecture(dataType: .float64)
    try architecture.add(.input(size: 2), name: "x")
    try architecture.add(.recurrent(RecurrentConfiguration(.vanilla(.tanh), hiddenSize: 2)), name: "r", inputs: ["x"])
    try architecture.add(.sum, name: "twice", inputs: ["r", "r"])
    try architecture.add(.linear(outputSize: 2, bias: true), name: "a", inputs: ["r"])
    try architecture.add(.sum, name: "all", inputs: ["twice", "a", "x", "r"])
    try check(try Network(architecture, initialization: InitialWeights(seed: 2)), stepCount: 3, rowCount: 2, seed: 7)
  }

  /// ||∂L/∂H_t|| of a network whose output is H itself: the gradient that reaches H_t is ∂L/∂(output of step t) and what
  /// comes back from later steps, so it equals the gradient of an initial state for the rest of the sequence.
  func testTheGradientFlowIsTheNormOfTheHiddenGradient() throws {
    for cell in everyCell {
      let network = try recurrentNetwork(cell, inputSize: 2, hiddenSize: 3, dataType: .float64, seed: 4)
      var numbers = TestNumbers(seed: 9)
      let (t, n, h) = (4, 2, 3)
      let sequence = Batch<Double>(network.architecture, stepCount: t, rowCount: n, numbers: &numbers)
      var none: NetworkState?
      let tape = try network.train(sequence, state: &none).tape
      let gradient: [Double] = numbers.array(t * n * h)
      var zeros: NetworkState?
      let flow = try network.gradients(tape, outputGradient: gradient, state: &zeros, inputCount: 0, flowCount: t).flow
      for step in 0..<t {
        // The state after `step`, then the rest of the sequence as a network call of its own.
        var state: NetworkState? = try network.makeState(batchSize: n)
        _ = try network.run(sequence.steps(0..<step + 1, network.architecture), state: &state)
        let rest = try network.train(sequence.steps(step + 1..<t, network.architecture), state: &state).tape
        var back: NetworkState? = try network.makeState(batchSize: n)
        _ = try network.gradients(
          rest, outputGradient: Array(gradient[((step + 1) * n * h)...]), state: &back, inputCount: 0)
        let fromLater: [Double] = try back!.array("r.h")
        let own = gradient[(step * n * h)..<((step + 1) * n * h)]
        let norm = zip(fromLater, own).reduce(0) { $0 + ($1.0 + $1.1) * ($1.0 + $1.1) }.squareRoot()
        XCTAssertEqual(flow[step], norm, accuracy: 1e-13, "\(cell), step \(step)")
      }
    }
  }

  /// An empty chunk: ∂L/∂(initial state) is ∂L/∂(final state), and all other gradients are 0.
  func testAnEmptyChunkPassesTheGradientOfTheState() throws {
    for cell in everyCell {
      let network = try recurrentNetwork(cell, inputSize: 2, hiddenSize: 3, layerCount: 2)
      var numbers = TestNumbers(seed: 9)
      let sequence = Batch<Float>(network.architecture, stepCount: 0, rowCount: 2, numbers: &numbers)
      let initial = try randomState(network, rowCount: 2, Float.self, numbers: &numbers)
      var state: NetworkState? = initial
      let tape = try network.train(sequence, state: &state).tape
      assertSameBits(try state!.array() as [Float], try initial.array())
      let given = try randomState(network, rowCount: 2, Float.self, numbers: &numbers)
      var gradient: NetworkState? = given
      let found = try network.gradients(tape, outputGradient: [Float](), state: &gradient, inputCount: 0)
      assertSameBits(try gradient!.array() as [Float], try given.array())
      XCTAssertTrue(found.parameters.allSatisfy { $0 == 0 })
    }
  }
}
