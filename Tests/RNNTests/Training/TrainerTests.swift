import XCTest

@testable import RNN

/// The whole life of a model in Swift alone: build, train, save, load, step.
final class TrainerTests: XCTestCase {
  /// Token t + 1 is token t plus one: two bits of memory are enough, and chance has a loss of log 4.
  private func countingBatch(stepCount: Int, rowCount: Int) -> (tokens: [Int64], targets: [Int64]) {
    var tokens: [Int64] = [], targets: [Int64] = []
    for t in 0..<stepCount {
      for n in 0..<rowCount {
        tokens.append(Int64((t + n) % 4))
        targets.append(Int64((t + n + 1) % 4))
      }
    }
    return (tokens, targets)
  }

  private func languageModel(_ dataType: DataType = .float32) throws -> Network {
    var architecture = Architecture(dataType: dataType)
    try architecture.add(.tokenInput, name: "token")
    try architecture.add(.embedding(vocabularySize: 4, size: 3), name: "embedding")
    try architecture.add(.recurrent(RecurrentConfiguration(.gru(.resetBefore), hiddenSize: 8)), name: "gru")
    try architecture.add(.linear(outputSize: 4, bias: true), name: "out")
    return try Network(architecture, initialization: InitialWeights(.pytorch, seed: 1))
  }

  private func train<Scalar: KernelScalar>(
    _ trainer: Trainer, _ batch: (tokens: [Int64], targets: [Int64]), stepCount: Int, rowCount: Int,
    state: inout NetworkState?, as type: Scalar.Type = Float.self, learns: Bool = true
  ) throws -> StepReport {
    try batch.tokens.withUnsafeBufferPointer { tokens in
      try batch.targets.withUnsafeBufferPointer { targets in
        let input = SequenceInput<Scalar>(sequenceLength: stepCount, batchSize: rowCount, tokens: tokens)
        return learns
          ? try trainer.step(input, targets: .classes(targets), state: &state)
          : try trainer.evaluate(input, targets: .classes(targets), state: &state)
      }
    }
  }

  func testASwiftProgramBuildsTrainsSavesLoadsAndStepsANetwork() throws {
    let network = try languageModel()
    let trainer = try Trainer(
      network, options: TrainerOptions(clipNorm: 1), optimizer: OptimizerOptions(.adam, learningRate: 0.02))
    let batch = countingBatch(stepCount: 12, rowCount: 5)
    var none: NetworkState?
    let first = try train(trainer, batch, stepCount: 12, rowCount: 5, state: &none)
    XCTAssertEqual(first.terms, 60)
    XCTAssertEqual(first.updates, 1)
    var last = first
    for _ in 0..<150 {
      none = nil
      last = try train(trainer, batch, stepCount: 12, rowCount: 5, state: &none)
    }
    // Chance is log 4 = 1.386; a model that has learnt to count is near 0.
    XCTAssertLessThan(last.loss, 0.05)

    let path = NSTemporaryDirectory() + "trainer-test-\(UInt32.random(in: 0 ... .max)).safetensors"
    defer { unlink(path) }
    let snapshot = try trainer.snapshot()
    try snapshot.save(to: path, synchronize: false)
    let stream = try NetworkStream(try Network(contentsOf: path))
    let logits = try stream.output(as: Float.self)
    var token: Int64 = 2
    for _ in 0..<8 {
      stream.tokens[0] = token
      try stream.step()
      var greedy = SamplingOptions()
      greedy.isGreedy = true
      let next = try sample(UnsafeBufferPointer(logits), greedy)
      XCTAssertEqual(Int64(next), (token + 1) % 4)
      token = Int64(next)
    }
  }

  func testTheNetworkThatATrainerWasMadeFromDoesNotChange() throws {
    let network = try languageModel()
    var before = [Float](repeating: 0, count: network.architecture.parameterCount), after = before
    try before.withUnsafeMutableBufferPointer { try network.readParameter(into: $0) }
    let trainer = try Trainer(network)
    var none: NetworkState?
    _ = try train(trainer, countingBatch(stepCount: 4, rowCount: 2), stepCount: 4, rowCount: 2, state: &none)
    try after.withUnsafeMutableBufferPointer { try network.readParameter(into: $0) }
    XCTAssertEqual(before, after)
    try after.withUnsafeMutableBufferPointer { try trainer.snapshot().readParameter(into: $0) }
    XCTAssertNotEqual(before, after)
  }

  func testEvaluationChangesNothingAndGivesTheLossOfTheNextStep() throws {
    let trainer = try Trainer(try languageModel(.float64))
    let batch = countingBatch(stepCount: 6, rowCount: 3)
    var state: NetworkState?
    let evaluated = try train(trainer, batch, stepCount: 6, rowCount: 3, state: &state, as: Double.self, learns: false)
    state = nil
    let again = try train(trainer, batch, stepCount: 6, rowCount: 3, state: &state, as: Double.self, learns: false)
    state = nil
    let learnt = try train(trainer, batch, stepCount: 6, rowCount: 3, state: &state, as: Double.self)
    XCTAssertEqual(evaluated.loss, again.loss)
    XCTAssertEqual(evaluated.loss, learnt.loss)
    XCTAssertEqual(evaluated.updates, 0)
  }

  /// k1 = k2: chunks of one call are calls of one chunk with the state carried over.
  func testTruncatedBackpropagationIsChunksWithCarriedState() throws {
    let batch = countingBatch(stepCount: 12, rowCount: 3)
    let network = try languageModel()
    let whole = try Trainer(network, options: TrainerOptions(updateInterval: 4))
    var state: NetworkState? = try network.makeState(batchSize: 3)
    let report = try train(whole, batch, stepCount: 12, rowCount: 3, state: &state)
    XCTAssertEqual(report.updates, 3)

    let chunked = try Trainer(network)
    var carried: NetworkState? = try network.makeState(batchSize: 3)
    for chunk in 0..<3 {
      let range = chunk * 12..<(chunk + 1) * 12
      _ = try train(
        chunked, (Array(batch.tokens[range]), Array(batch.targets[range])), stepCount: 4, rowCount: 3, state: &carried)
    }
    var a = [Float](repeating: 0, count: network.architecture.parameterCount), b = a
    try a.withUnsafeMutableBufferPointer { try whole.snapshot().readParameter(into: $0) }
    try b.withUnsafeMutableBufferPointer { try chunked.snapshot().readParameter(into: $0) }
    XCTAssertEqual(a, b)
  }

  func testAnInfiniteGradientSkipsTheUpdate() throws {
    let network = try languageModel()
    var values = [Float](repeating: 0, count: network.architecture.parameterCount)
    try values.withUnsafeMutableBufferPointer { try network.readParameter(into: $0) }
    values[values.count - 1] = .nan
    try values.withUnsafeBufferPointer { try network.writeParameter(from: $0) }
    let trainer = try Trainer(network, options: TrainerOptions(clipNorm: 1))
    var state: NetworkState?
    let report = try train(trainer, countingBatch(stepCount: 4, rowCount: 2), stepCount: 4, rowCount: 2, state: &state)
    XCTAssertEqual(report.skipped, 1)
    XCTAssertEqual(report.updates, 0)
    var after = values
    try after.withUnsafeMutableBufferPointer { try trainer.snapshot().readParameter(into: $0) }
    XCTAssertEqual(values.map(\.bitPattern), after.map(\.bitPattern))
  }

  func testWrongTargetsAreRefusedBeforeAnythingChanges() throws {
    let trainer = try Trainer(try languageModel())
    var state: NetworkState?
    XCTAssertThrowsError(
      try train(trainer, ([0, 1], [1, 4]), stepCount: 2, rowCount: 1, state: &state)
    ) { error in
      XCTAssertEqual((error as? RNNError)?.code, .invalidArgument)
      XCTAssertTrue("\(error)".contains("targets[1] is 4"), "\(error)")
    }
    XCTAssertThrowsError(try Trainer(try languageModel(), options: TrainerOptions(clipNorm: .nan)))
    XCTAssertThrowsError(try Trainer(try languageModel(), options: TrainerOptions(updateInterval: 4, backwardSteps: 3)))
  }
}
