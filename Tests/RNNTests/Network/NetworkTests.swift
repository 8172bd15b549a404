import Foundation
import RNNKernels
import Synchronization
import XCTest

@testable import RNN

final class NetworkTests: XCTestCase {
  // MARK: - Arguments

  func testEveryWrongArgumentOfARunIsNamed() throws {
    var architecture = Architecture()
    try architecture.add(.input(size: 2), name: "x")
    try architecture.add(.tokenInput, name: "t")
    try architecture.add(.embedding(vocabularySize: 7, size: 2), name: "e7", inputs: ["t"])
    try architecture.add(.embedding(vocabularySize: 5, size: 2), name: "e5", inputs: ["t"])
    try architecture.add(.sum, name: "out", inputs: ["x", "e7", "e5"])
    let network = try Network(architecture)
    var good = Batch<Float>(steps: 2, rows: 2, features: [Float](repeating: 1, count: 8))
    good.tokens = [0, 1, 4, 0]
    var none: NetworkState?
    XCTAssertEqual(try network.run(good, state: &none).count, 8)
    func fails(_ code: RNNError.Code, _ part: String, line: UInt = #line, _ change: (inout Batch<Float>) -> Void) {
      var batch = good
      change(&batch)
      var state: NetworkState?
      assertFails(code, part, line: line) { try network.run(batch, state: &state) }
      assertFails(code, part, line: line) { try network.train(batch, state: &state) }
    }
    fails(.invalidArgument, "N is 0") { ($0.rowCount, $0.stepCount) = (0, 0) }
    fails(.bufferTooSmall, "input_count is 7, expected at least 8") { $0.features.removeLast() }
    fails(.bufferTooSmall, "tokens_count is 3") { $0.tokens.removeLast() }
    fails(.bufferTooSmall, "lengths_count is 1") { $0.lengths = [1] }
    fails(.invalidArgument, "lengths[1] is 3, expected 0 to T = 2") { $0.lengths = [1, 3] }
    fails(.invalidArgument, "lengths[0] is -1") { $0.lengths = [-1, 1] }
    fails(.invalidArgument, "token 5 at step 1 of row 0: expected 0 to 4") { $0.tokens[2] = 5 }
    fails(.invalidArgument, "token -1") { $0.tokens[0] = -1 }
    fails(.invalidArgument, "token \(Int64.max)") { $0.tokens[3] = .max }
    // The same token past the end of its row is not read.
    good.lengths = [1, 2]
    good.tokens[2] = 5
    XCTAssertNoThrow(try network.run(good, state: &none))

    var output = [Float](repeating: 9, count: 7)
    good.lengths = nil
    good.tokens[2] = 0
    assertFails(.bufferTooSmall, "output_count is 7, expected at least 8 = T*N*2") {
      try good.features.withUnsafeBufferPointer { features in
        try good.tokens.withUnsafeBufferPointer { tokens in
          try output.withUnsafeMutableBufferPointer {
            try network.run(
              SequenceInput(sequenceLength: 2, batchSize: 2, features: features, tokens: tokens), state: &none, output: $0)
          }
        }
      }
    }
    XCTAssertEqual(output, [Float](repeating: 9, count: 7))
    for (t, n) in [(-1, 1), (1, -1), (Int.max, 2), (2, Int.max), (1 << 40, 1 << 40)] {
      var state: NetworkState?
      XCTAssertThrowsError(
        try output.withUnsafeMutableBufferPointer {
          try network.run(SequenceInput<Float>(sequenceLength: t, batchSize: n), state: &state, output: $0)
        }, "T \(t), N \(n)")
    }
    assertFails(.dtype, "float32", "float64") { try network.parameter(as: Double.self) }
  }

  /// An empty sequence: no output but that of a last step, which is zero; the state stays.
  func testTheLastStepOfAnEmptySequenceIsZero() throws {
    for hasLinear in [false, true] {
      var architecture = Architecture()
      try architecture.add(.input(size: 2), name: "x")
      try architecture.add(.recurrent(RecurrentConfiguration(.gru(.resetBefore), hiddenSize: 3)), name: "r")
      try architecture.add(.lastStep, name: "last")
      if hasLinear { try architecture.add(.linear(outputSize: 3, bias: false), name: "out") }
      let network = try Network(architecture)
      // One row of three is empty.
      var batch = Batch<Float>(steps: 2, rows: 3, features: [Float](repeating: 1, count: 12))
      batch.lengths = [2, 0, 1]
      for fill in [Float.nan, 5] {
        var none: NetworkState?
        let output = try network.run(batch, state: &none, fill: fill)
        assertSameBits(Array(output[3..<6]), [0, 0, 0], "run, linear: \(hasLinear)")
        XCTAssertFalse(output[0..<3].contains { $0 == 0 || $0.isNaN })
      }
      var none: NetworkState?
      assertSameBits(Array(try network.train(batch, state: &none).output[3..<6]), [0, 0, 0], "train, linear: \(hasLinear)")
      // No steps at all.
      let empty = Batch<Float>(steps: 0, rows: 2, features: [])
      assertSameBits(try network.run(empty, state: &none), [Float](repeating: 0, count: 6), "T = 0, linear: \(hasLinear)")
      assertSameBits(try network.train(empty, state: &none).output, [Float](repeating: 0, count: 6), "T = 0, linear: \(hasLinear)")
    }
  }

  // MARK: - Parameters

  func testParametersAreReadAndWrittenByName() throws {
    let network = try recurrentNetwork(.gru(.resetAfter), inputSize: 2, hiddenSize: 3, layerCount: 2, bidirectional: true)
    XCTAssertEqual(
      network.architecture.parameters.map(\.name),
      ["l0", "l0_reverse", "l1", "l1_reverse"].flatMap { suffix in
        ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map { "r.\($0)_\(suffix)" }
      })
    XCTAssertEqual(network.architecture.parameter(named: "r.weight_ih_l1")?.shape, [9, 6])
    let all: [Float] = try network.parameter()
    let name = "r.weight_hh_l1_reverse"
    let slot = try XCTUnwrap(network.architecture.parameter(named: name))
    let values = (0..<slot.count).map { Float($0) }
    try network.setParameter(name, to: values)
    var expected = all
    expected.replaceSubrange(slot.offset..<slot.offset + slot.count, with: values)
    XCTAssertEqual(try network.parameter(), expected)
    assertFails(.notFound, "\"r.bias_l0\"") { try network.setParameter("r.bias_l0", to: values) }
    assertFails(.shape, "values_count is 26", "27") { try network.setParameter(name, to: Array(values.dropLast())) }
    assertFails(.shape) { try network.setParameter(name, to: values + [1]) }
    XCTAssertEqual(try network.parameter(), expected)
  }

  /// Snapshots: a tape keeps the weights of its forward pass.
  func testATapeKeepsItsWeights() throws {
    let network = try recurrentNetwork(.lstm, inputSize: 2, hiddenSize: 3)
    var numbers = TestNumbers(seed: 1)
    let batch = Batch<Float>(network.architecture, stepCount: 3, rowCount: 2, numbers: &numbers)
    var none: NetworkState?
    let (output, tape) = try network.train(batch, state: &none)
    let before = try network.gradients(tape, outputGradient: output, state: &none, inputCount: batch.features.count)
    try network.setParameter(to: [Float](repeating: 0.1, count: network.architecture.parameterCount))
    let after = try network.gradients(tape, outputGradient: output, state: &none, inputCount: batch.features.count)
    assertSameBits(after.parameters, before.parameters)
    assertSameBits(after.input, before.input)
    XCTAssertNotEqual(try network.run(batch, state: &none), output)
  }

  func testATapeBelongsToItsNetwork() throws {
    let network = try recurrentNetwork(.lstm, inputSize: 2, hiddenSize: 3)
    let twin = try recurrentNetwork(.lstm, inputSize: 2, hiddenSize: 3)
    let batch = Batch<Float>(steps: 1, rows: 1, features: [1, 2])
    var none: NetworkState?
    let (output, tape) = try network.train(batch, state: &none)
    assertFails(.shape, "another network") { try twin.gradients(tape, outputGradient: output, state: &none, inputCount: 2) }
    assertFails(.bufferTooSmall, "input_gradient_count is 1, expected at least 2") {
      try network.gradients(tape, outputGradient: output, state: &none, inputCount: 1)
    }
    assertFails(.bufferTooSmall, "output_gradient_count is 2") {
      try network.gradients(tape, outputGradient: [Float](output.dropLast()), state: &none, inputCount: 2)
    }
    assertFails(.dtype) { try network.gradients(tape, outputGradient: [1.0, 2, 3], state: &none, inputCount: 2) }
  }

  /// A network that has gone may have lent its address to another one, smaller: the tape must not take it for its own.
  func testATapeOfANetworkThatIsGoneFitsNoOther() throws {
    for _ in 0..<50 {
      var network: Network? = try recurrentNetwork(.lstm, inputSize: 2, hiddenSize: 3)
      var none: NetworkState?
      let (output, tape) = try network!.train(Batch<Float>(steps: 1, rows: 1, features: [1, 2]), state: &none)
      network = nil
      let other = try recurrentNetwork(.vanilla(.tanh), inputSize: 1, hiddenSize: 1)
      assertFails(.shape, "another network") {
        try other.gradients(tape, outputGradient: output, state: &none, inputCount: 2)
      }
    }
  }

  // MARK: - Threads

  func testThreadsThatShareANetworkGetTheSameBits() throws {
    var numbers = TestNumbers(seed: 3)
    let architecture = try randomArchitecture(.float32, bidirectional: true, lastStep: false, numbers: &numbers)
    let network = try Network(architecture)
    let batch = Batch<Float>(architecture, stepCount: 5, rowCount: 3, numbers: &numbers)
    let gradient: [Float] = numbers.array(network.outputCount(5, 3))
    @Sendable func everything() throws -> [Float] {
      var state: NetworkState? = try network.makeState(batchSize: 3)
      let output = try network.run(batch, state: &state)
      let tape = try network.train(batch, state: &state).tape
      let found = try network.gradients(tape, outputGradient: gradient, state: &state, inputCount: batch.features.count)
      return output + found.input + found.parameters + (try state!.array())
    }
    let expected = try everything()
    let differences = Mutex(0)
    DispatchQueue.concurrentPerform(iterations: 4) { _ in
      for _ in 0..<20 {
        let found = (try? everything()) ?? []
        if found != expected { differences.withLock { $0 += 1 } }
      }
    }
    XCTAssertEqual(differences.withLock { $0 }, 0)
  }

  /// Every run sees one version of all weights: with all parameters equal to v, the output is a function of v alone.
  func testWritingParametersWhileOthersRunShowsOldOrNewWeights() throws {
    let network = try recurrentNetwork(.vanilla(.relu), inputSize: 3, hiddenSize: 8)
    let count = network.architecture.parameterCount
    let batch = Batch<Float>(steps: 2, rows: 1, features: [1, 1, 1, 1, 1, 1])
    func output(_ value: Float) throws -> [Float] {
      try network.setParameter(to: [Float](repeating: value, count: count))
      var none: NetworkState?
      return try network.run(batch, state: &none)
    }
    let versions: [Float] = [0.25, 0.5, 0.75, 1]
    let allowed = try versions.map(output)
    XCTAssertEqual(Set(allowed).count, 4)
    let strange = Mutex<[[Float]]>([])
    DispatchQueue.concurrentPerform(iterations: 4) { thread in
      for i in 0..<100 {
        if thread == 0 {
          try? network.setParameter(to: [Float](repeating: versions[i % 4], count: count))
        } else {
          var none: NetworkState?
          let found = (try? network.run(batch, state: &none)) ?? []
          let weights: [Float] = (try? network.parameter()) ?? []
          if !allowed.contains(found) || Set(weights).count != 1 { strange.withLock { $0.append(found) } }
        }
      }
    }
    XCTAssertEqual(strange.withLock { $0 }, [])
  }

  /// Under Swift 6 this compiles only if networks and states are Sendable.
  func testNetworksAndStatesMayCrossTasks() async throws {
    let network = try recurrentNetwork(.gru(.resetBefore), inputSize: 1, hiddenSize: 2)
    let state = try network.makeState()
    let outputs = try await withThrowingTaskGroup(of: [Float].self) { group in
      for _ in 0..<3 {
        group.addTask {
          var own = state
          return try network.run([1, 2, 3] as [Float], state: &own)
        }
      }
      return try await group.reduce(into: [[Float]]()) { $0.append($1) }
    }
    XCTAssertEqual(Set(outputs).count, 1)
    XCTAssertEqual(outputs.count, 3)
  }

  func testMetadataIsKeptAndChecked() throws {
    let network = try recurrentNetwork(.lstm, inputSize: 1, hiddenSize: 1)
    try network.setMetadata("a", to: "1")
    try network.setMetadata("b", to: "2")
    try network.setMetadata("a", to: nil)
    XCTAssertEqual(network.metadata, ["b": "2"])
    for key in ["", "librnn.x", "a\0b", String(repeating: "k", count: 257)] {
      assertFails(.invalidArgument, "metadata key") { try network.setMetadata(key, to: "x") }
    }
    try network.setMetadata(String(repeating: "k", count: 256), to: "")
    assertFails(.invalidArgument, "16777217 bytes") {
      try network.setMetadata("c", to: String(repeating: "x", count: (1 << 24) + 1))
    }
  }
}
