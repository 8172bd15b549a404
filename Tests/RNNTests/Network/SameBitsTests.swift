import RNNKernels
import XCTest

@testable import RNN

/// The first promise of docs/contract.md, on networks of random nodes and sizes.
final class SameBitsTests: XCTestCase {
  private let seeds: Range<UInt64> = 0..<24

  /// Builds the random network of a seed, a batch for it and an initial state, in both element types.
  private func forEachNetwork(
    bidirectional: Bool, lastStep: Bool = false, _ check: (any CaseBody)
  ) throws {
    for seed in seeds {
      for dataType in [DataType.float32, .float64] {
        var numbers = TestNumbers(seed: seed)
        let architecture = try randomArchitecture(
          dataType, bidirectional: bidirectional, lastStep: lastStep, numbers: &numbers)
        let network = try Network(architecture, initialization: InitialWeights(.normal(deviation: 0.4), seed: seed))
        let (t, n) = (1 + numbers.below(9), numbers.one(of: [1, 2, 3, 5, 9]))
        let message = try "seed \(seed), T \(t), N \(n), \(architecture.architectureSummary())"
        switch dataType {
        case .float32: try check.run(network, t, n, Float.self, &numbers, message)
        case .float64: try check.run(network, t, n, Double.self, &numbers, message)
        }
      }
    }
  }

  // MARK: - One step at a time

  func testChunksStepsAndStreamsAreTheWholeSequence() throws {
    struct Body: CaseBody {
      func run<Scalar: KernelScalar>(
        _ network: Network, _ t: Int, _ n: Int, _ type: Scalar.Type, _ numbers: inout TestNumbers, _ message: String
      ) throws {
        let sequence = Batch<Scalar>(network.architecture, stepCount: t, rowCount: n, numbers: &numbers)
        let initial = try randomState(network, rowCount: n, Scalar.self, numbers: &numbers)
        var whole: NetworkState? = initial
        let expected = try network.run(sequence, state: &whole)
        let finalState: [Scalar] = try whole!.array()
        let isSingle = network.architecture.hasSingleStepOutput

        for sizes in [[Int](repeating: 1, count: t), SameBitsTests.chunks(t, &numbers), [0, t, 0]] {
          if isSingle && sizes.last == 0 { continue }
          var state: NetworkState? = initial
          var output: [Scalar] = []
          var first = 0
          for size in sizes {
            let part = try network.run(sequence.steps(first..<first + size, network.architecture), state: &state)
            output = isSingle ? part : output + part
            first += size
          }
          assertSameBits(output, expected, "chunks \(sizes): \(message)")
          assertSameBits(try state!.array(), finalState, "state after chunks \(sizes): \(message)")
        }
        try stream(network, sequence, initial, expected, finalState, &numbers, message)
      }

      /// Bound memory and memory of the caller, mixed.
      private func stream<Scalar: KernelScalar>(
        _ network: Network, _ sequence: Batch<Scalar>, _ initial: NetworkState, _ expected: [Scalar],
        _ finalState: [Scalar], _ numbers: inout TestNumbers, _ message: String
      ) throws {
        let stream = try NetworkStream(network, batchSize: sequence.rowCount)
        try stream.writeState(initial)
        var output: [Scalar] = []
        let isSingle = network.architecture.hasSingleStepOutput
        for t in 0..<sequence.stepCount {
          let part = sequence.steps(t..<t + 1, network.architecture)
          if numbers.below(2) == 0 {
            _ = try stream.input(as: Scalar.self).update(from: part.features)
            _ = stream.tokens.update(from: part.tokens)
            try stream.step()
            output = (isSingle ? [] : output) + Array(try stream.output(as: Scalar.self))
          } else {
            var result = [Scalar](repeating: .nan, count: network.outputCount(1, sequence.rowCount))
            try part.features.withUnsafeBufferPointer { features in
              try part.tokens.withUnsafeBufferPointer { tokens in
                try result.withUnsafeMutableBufferPointer {
                  try stream.process(stepCount: 1, features: features, tokens: tokens, output: $0)
                }
              }
            }
            output = (isSingle ? [] : output) + result
          }
        }
        assertSameBits(output, expected, "stream: \(message)")
        var state = try network.makeState(batchSize: sequence.rowCount)
        try stream.readState(into: &state)
        assertSameBits(try state.array(), finalState, "state of the stream: \(message)")

        // All steps in one call.
        try stream.writeState(initial)
        var result = [Scalar](repeating: .nan, count: expected.count)
        try sequence.features.withUnsafeBufferPointer { features in
          try sequence.tokens.withUnsafeBufferPointer { tokens in
            try result.withUnsafeMutableBufferPointer {
              try stream.process(stepCount: sequence.stepCount, features: features, tokens: tokens, output: $0)
            }
          }
        }
        assertSameBits(result, expected, "process: \(message)")
      }
    }
    try forEachNetwork(bidirectional: false, Body())
    try forEachNetwork(bidirectional: false, lastStep: true, Body())
  }

  fileprivate static func chunks(_ t: Int, _ numbers: inout TestNumbers) -> [Int] {
    var sizes: [Int] = [], left = t
    while left > 0 {
      sizes.append(1 + numbers.below(left))
      left -= sizes.last!
    }
    return sizes
  }

  /// `run` works in chunks of its own, which are longer than the sequences above.
  func testLongSequencesAreTheirSteps() throws {
    let network = try recurrentNetwork(.gru(.resetBefore), inputSize: 2, hiddenSize: 4)
    for n in [1, 3, 100, 257] {
      var numbers = TestNumbers(seed: 1)
      let t = 2_200 / n + 2
      let sequence = Batch<Float>(network.architecture, stepCount: t, rowCount: n, numbers: &numbers)
      var whole: NetworkState? = nil
      let expected = try network.run(sequence, state: &whole)
      var state: NetworkState? = try network.makeState(batchSize: n)
      var output: [Float] = []
      for step in 0..<t { output += try network.run(sequence.steps(step..<step + 1, network.architecture), state: &state) }
      assertSameBits(output, expected, "N = \(n)")
    }
  }

  // MARK: - Alone, padded, the other way round, in training

  func testARowOfABatchIsTheRowAlone() throws {
    struct Body: CaseBody {
      func run<Scalar: KernelScalar>(
        _ network: Network, _ t: Int, _ n: Int, _ type: Scalar.Type, _ numbers: inout TestNumbers, _ message: String
      ) throws {
        let sequence = Batch<Scalar>(network.architecture, stepCount: t, rowCount: n, numbers: &numbers)
        let initial = try randomState(network, rowCount: n, Scalar.self, numbers: &numbers)
        var state: NetworkState? = initial
        let output = try network.run(sequence, state: &state)
        let width = network.architecture.outputSize, steps = network.architecture.hasSingleStepOutput ? 1 : t
        for row in 0..<n {
          var alone: NetworkState? = try initial.row(row, of: network, Scalar.self)
          let expected = try network.run(sequence.row(row, length: t, network.architecture), state: &alone)
          assertSameBits(rowSlice(output, of: row, rows: n, width: width, steps: steps), expected, "row \(row): \(message)")
          assertSameBits(
            try state!.row(row, of: network, Scalar.self).array(), try alone!.array() as [Scalar], "state of row \(row): \(message)")
        }
      }
    }
    try forEachNetwork(bidirectional: false, Body())
    try forEachNetwork(bidirectional: true, Body())
    try forEachNetwork(bidirectional: true, lastStep: true, Body())
  }

  /// Padding is NaN, and tokens that no vocabulary has: nothing of it may be read.
  func testAPaddedRowIsTheRowUnpadded() throws {
    struct Body: CaseBody {
      func run<Scalar: KernelScalar>(
        _ network: Network, _ t: Int, _ n: Int, _ type: Scalar.Type, _ numbers: inout TestNumbers, _ message: String
      ) throws {
        let architecture = network.architecture
        var sequence = Batch<Scalar>(architecture, stepCount: t, rowCount: n, numbers: &numbers)
        let lengths = (0..<n).map { _ in numbers.below(t + 1) }
        sequence.lengths = lengths.map(Int64.init)
        for row in 0..<n {
          for step in lengths[row]..<t {
            let place = step * n + row
            for j in 0..<architecture.inputSize { sequence.features[place * architecture.inputSize + j] = .nan }
            for j in 0..<architecture.tokenCount { sequence.tokens[place * architecture.tokenCount + j] = -1 }
          }
        }
        let initial = try randomState(network, rowCount: n, Scalar.self, numbers: &numbers)
        var state: NetworkState? = initial, trainState: NetworkState? = initial
        let output = try network.run(sequence, state: &state)
        let message = "lengths \(lengths): \(message)"
        let (trained, tape) = try network.train(sequence, state: &trainState)
        if !hasDropout(architecture) {
          assertSameBits(trained, output, "forwardTrain, \(message)")
          assertSameBits(try trainState!.array() as [Scalar], try state!.array(), "forwardTrain, \(message)")
        }
        let width = architecture.outputSize, single = architecture.hasSingleStepOutput
        for row in 0..<n {
          let length = lengths[row]
          var alone: NetworkState? = try initial.row(row, of: network, Scalar.self)
          let expected = try network.run(sequence.row(row, length: length, architecture), state: &alone)
          let found = rowSlice(output, of: row, rows: n, width: width, steps: single ? 1 : length)
          assertSameBits(found, expected, "row \(row), \(message)")
          assertSameBits(
            try state!.row(row, of: network, Scalar.self).array(), try alone!.array() as [Scalar], "state of row \(row), \(message)")
          guard !single else { continue }
          for step in length..<t {
            let place = (step * n + row) * width
            assertSameBits(Array(output[place..<place + width]), [Scalar](repeating: 0, count: width), "padding, \(message)")
          }
        }
        // Backwards: padding of ∂L/∂output is not read either, and ∂L/∂input there is exactly 0.
        var gradient: [Scalar] = numbers.array(output.count)
        if !single {
          for row in 0..<n {
            for step in lengths[row]..<t { for j in 0..<width { gradient[(step * n + row) * width + j] = .nan } }
          }
        }
        var stateGradient: NetworkState? = try network.makeState(batchSize: n)
        let found = try network.gradients(
          tape, outputGradient: gradient, state: &stateGradient, inputCount: sequence.features.count)
        XCTAssertTrue(found.parameters.allSatisfy(\.isFinite), "∂L/∂parameters, \(message)")
        for row in 0..<n {
          for step in lengths[row]..<t {
            for j in 0..<architecture.inputSize {
              XCTAssertEqual(found.input[(step * n + row) * architecture.inputSize + j], 0, "∂L/∂X, \(message)")
            }
          }
        }
        XCTAssertTrue(found.input.allSatisfy(\.isFinite), "∂L/∂X, \(message)")
      }
    }
    try forEachNetwork(bidirectional: false, Body())
    try forEachNetwork(bidirectional: true, Body())
    try forEachNetwork(bidirectional: true, lastStep: true, Body())
  }

  /// Rows that end in the first, a later and the last of the chunks that `run` works in; and one that never begins.
  func testALongPaddedRowIsTheRowUnpadded() throws {
    for lastStep in [false, true] {
      var architecture = Architecture()
      try architecture.add(.input(size: 2), name: "x")
      try architecture.add(.recurrent(RecurrentConfiguration(.lstm, hiddenSize: 3, layerCount: 2)), name: "r")
      if lastStep { try architecture.add(.lastStep, name: "last") }
      let network = try Network(architecture)
      var numbers = TestNumbers(seed: 1)
      let (t, lengths) = (300, [300, 10, 0, 200])
      var batch = Batch<Float>(architecture, stepCount: t, rowCount: 4, numbers: &numbers)
      batch.lengths = lengths.map(Int64.init)
      for row in 0..<4 {
        for step in lengths[row]..<t { for j in 0..<2 { batch.features[(step * 4 + row) * 2 + j] = .nan } }
      }
      let initial = try randomState(network, rowCount: 4, Float.self, numbers: &numbers)
      var state: NetworkState? = initial
      let output = try network.run(batch, state: &state)
      for row in 0..<4 {
        var alone: NetworkState? = try initial.row(row, of: network, Float.self)
        let expected = try network.run(batch.row(row, length: lengths[row], architecture), state: &alone)
        assertSameBits(
          rowSlice(output, of: row, rows: 4, width: 3, steps: lastStep ? 1 : lengths[row]), expected, "row \(row), last step: \(lastStep)")
        assertSameBits(try state!.row(row, of: network, Float.self).array(), try alone!.array() as [Float], "state of row \(row)")
        guard !lastStep else { continue }
        for step in lengths[row]..<t {
          assertSameBits(Array(output[((step * 4 + row) * 3)..<((step * 4 + row + 1) * 3)]), [0, 0, 0], "padding of row \(row)")
        }
      }
    }
  }

  func testBatchFirstIsTimeMajor() throws {
    struct Body: CaseBody {
      func run<Scalar: KernelScalar>(
        _ network: Network, _ t: Int, _ n: Int, _ type: Scalar.Type, _ numbers: inout TestNumbers, _ message: String
      ) throws {
        let architecture = network.architecture
        var sequence = Batch<Scalar>(architecture, stepCount: t, rowCount: n, numbers: &numbers)
        sequence.lengths = (0..<n).map { _ in Int64(1 + numbers.below(t)) }
        let other = sequence.batchFirst(architecture)
        let single = architecture.hasSingleStepOutput
        func turned(_ values: [Scalar], width: Int) -> [Scalar] {
          single ? values : transposed(values, first: t, second: n, width: width)
        }
        var states: (NetworkState?, NetworkState?) = (nil, nil)
        let output = try network.run(sequence, state: &states.0)
        assertSameBits(try network.run(other, state: &states.1), turned(output, width: architecture.outputSize), message)

        let (a, b) = (try network.train(sequence, state: &states.0), try network.train(other, state: &states.1))
        assertSameBits(b.output, turned(a.output, width: architecture.outputSize), "forwardTrain: \(message)")
        let gradient: [Scalar] = numbers.array(output.count)
        let count = sequence.features.count
        let expected = try network.gradients(a.tape, outputGradient: gradient, state: &states.0, inputCount: count)
        let found = try network.gradients(
          b.tape, outputGradient: turned(gradient, width: architecture.outputSize), state: &states.1, inputCount: count)
        assertSameBits(found.parameters, expected.parameters, "∂L/∂parameters: \(message)")
        assertSameBits(
          found.input, transposed(expected.input, first: t, second: n, width: architecture.inputSize), "∂L/∂X: \(message)")
      }
    }
    try forEachNetwork(bidirectional: false, Body())
    try forEachNetwork(bidirectional: true, Body())
    try forEachNetwork(bidirectional: true, lastStep: true, Body())
  }

  func testTrainingForwardIsInferenceForward() throws {
    struct Body: CaseBody {
      func run<Scalar: KernelScalar>(
        _ network: Network, _ t: Int, _ n: Int, _ type: Scalar.Type, _ numbers: inout TestNumbers, _ message: String
      ) throws {
        guard !hasDropout(network.architecture) else { return }
        let sequence = Batch<Scalar>(network.architecture, stepCount: t, rowCount: n, numbers: &numbers)
        let initial = try randomState(network, rowCount: n, Scalar.self, numbers: &numbers)
        var states: (NetworkState?, NetworkState?) = (initial, initial)
        let output = try network.run(sequence, state: &states.0)
        assertSameBits(try network.train(sequence, state: &states.1).output, output, message)
        assertSameBits(try states.1!.array() as [Scalar], try states.0!.array(), message)
      }
    }
    try forEachNetwork(bidirectional: false, Body())
    try forEachNetwork(bidirectional: true, Body())
    try forEachNetwork(bidirectional: false, lastStep: true, Body())
  }

  // MARK: - Dropout

  /// A mask is a function of absolute time: a sequence in chunks gets the masks of the whole; and of the key alone.
  func testDropoutMasksFollowTheKeyAndAbsoluteTime() throws {
    var architecture = Architecture()
    try architecture.add(.input(size: 40))
    try architecture.add(.dropout(probability: 0.25))
    let network = try Network(architecture)
    let (t, n) = (8, 3)
    var numbers = TestNumbers(seed: 1)
    let sequence = Batch<Float>(architecture, stepCount: t, rowCount: n, numbers: &numbers)
    func train(_ sequence: Batch<Float>, _ key: DropoutKey) throws -> [Float] {
      var none: NetworkState?
      return try network.train(sequence, state: &none, dropout: key).output
    }
    let key = DropoutKey(seed: 3, step: 4, firstTime: 100)
    let whole = try train(sequence, key)
    assertSameBits(try train(sequence, key), whole)
    let parts =
      try train(sequence.steps(0..<3, architecture), key)
      + train(sequence.steps(3..<8, architecture), DropoutKey(seed: 3, step: 4, firstTime: 103))
    assertSameBits(parts, whole)
    for other in [
      DropoutKey(seed: 4, step: 4, firstTime: 100), DropoutKey(seed: 3, step: 5, firstTime: 100),
      DropoutKey(seed: 3, step: 4, firstTime: 101),
    ] { XCTAssertNotEqual(try train(sequence, other), whole) }
    // Kept elements are divided by 3/4; a quarter is dropped: 960 draws, deviation √(960·¼·¾) = 13.4.
    var dropped = 0
    for (x, y) in zip(sequence.features, whole) {
      if y == 0 { dropped += 1 } else { XCTAssertEqual(y, x * Float(1 / 0.75)) }
    }
    XCTAssertEqual(Double(dropped), 240, accuracy: 5 * 13.4)
    // At inference nothing is dropped.
    var none: NetworkState?
    assertSameBits(try network.run(sequence, state: &none), sequence.features)
  }
}

/// A check for either element type.
private protocol CaseBody {
  func run<Scalar: KernelScalar>(
    _ network: Network, _ t: Int, _ n: Int, _ type: Scalar.Type, _ numbers: inout TestNumbers, _ message: String) throws
}

private func hasDropout(_ architecture: Architecture) -> Bool {
  architecture.nodes.contains { node in
    switch node.operation {
    case .dropout: true
    case .recurrent(let configuration): configuration.dropout > 0 && configuration.layerCount > 1
    default: false
    }
  }
}

extension Architecture {
  fileprivate func architectureSummary() throws -> String { try json.serializedString() }
}
