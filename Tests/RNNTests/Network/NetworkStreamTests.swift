import XCTest

@testable import RNN

/// That a step allocates nothing is tested in C (bindings/c/realtime.c): unoptimised Swift takes memory for generic values.
final class NetworkStreamTests: XCTestCase {
  func testAStreamKeepsItsWeightsUntilReset() throws {
    let network = try recurrentNetwork(.gru(.resetBefore), inputSize: 2, hiddenSize: 3)
    let stream = try NetworkStream(network), fresh = try NetworkStream(network)
    func step(_ stream: NetworkStream) throws -> [Float] {
      _ = try stream.input(as: Float.self).update(from: [0.5, -1])
      try stream.step()
      return Array(try stream.output(as: Float.self))
    }
    let first = try step(fresh), second = try step(fresh)
    assertSameBits(try step(stream), first)
    try network.setParameter(to: [Float](repeating: 0.25, count: network.architecture.parameterCount))
    assertSameBits(try step(stream), second, "new weights in the middle")
    try stream.reset()
    let renewed = try step(try NetworkStream(network))
    assertSameBits(try step(stream), renewed, "after reset")
    XCTAssertNotEqual(renewed, first)
  }

  /// A stack whose layers are large enough for threads to share, with a linear layer in the middle and at the end.
  private func largeNetwork<Scalar: KernelScalar>(
    _ cell: CellKind, _ dataType: DataType, _ type: Scalar.Type, hidden: Int = 160, roundedTo bfloat16: Bool = false
  ) throws -> Network {
    var architecture = Architecture(dataType: dataType)
    try architecture.add(.input(size: 67), name: "x")
    try architecture.add(.recurrent(RecurrentConfiguration(cell, hiddenSize: hidden, layerCount: 2)), name: "a")
    try architecture.add(.linear(outputSize: 450, bias: true), name: "b")
    try architecture.add(.recurrent(RecurrentConfiguration(cell, hiddenSize: 2 * hidden)), name: "c")
    try architecture.add(.linear(outputSize: 5, bias: true), name: "d")
    let network = try Network(architecture)
    var numbers = TestNumbers(seed: 5)
    let values: [Scalar] = numbers.array(architecture.parameterCount, scale: 0.1)
    try network.setParameter(to: values)
    guard bfloat16 else { return network }
    for parameter in architecture.parameters where parameter.name.contains("weight_") {
      let whole = try network.parameter(parameter.name, as: Scalar.self)
      try network.setParameter(parameter.name, to: whole.map { Scalar(Float($0).roundedToBFloat16) })
    }
    return network
  }

  private func outputs<Scalar: KernelScalar>(_ stream: NetworkStream, steps: Int, of type: Scalar.Type) throws -> [Scalar] {
    var numbers = TestNumbers(seed: 6), result: [Scalar] = []
    for _ in 0..<steps {
      let x: [Scalar] = numbers.array(try stream.input(as: Scalar.self).count)
      _ = try stream.input(as: Scalar.self).update(from: x)
      try stream.step()
      result += try stream.output(as: Scalar.self)
    }
    return result
  }

  func testAStepOnSeveralThreadsHasTheBitsOfOne() throws {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type, _ dataType: DataType) throws {
      for cell in [.vanilla(.relu), .lstm, .gru(.resetBefore), .gru(.resetAfter)] as [CellKind] {
        let network = try largeNetwork(cell, dataType, Scalar.self)
        for rows in [1, 3] {
          let expected = try outputs(NetworkStream(network, batchSize: rows), steps: 20, of: Scalar.self)
          for threads in [2, 3, 7] {
            let stream = try NetworkStream(network, batchSize: rows, threadCount: threads)
            assertSameBits(try outputs(stream, steps: 20, of: Scalar.self), expected, "\(cell), N = \(rows), \(threads) threads")
          }
        }
      }
    }
    try check(Float.self, .float32)
    try check(Double.self, .float64)
  }

  /// Of sums of one chain, those of more than 32 terms: rounding the weights is all that bfloat16 changes.
  func testBFloat16StoresTheNearestWeights() throws {
    for cell in [.vanilla(.tanh), .lstm, .gru(.resetBefore), .gru(.resetAfter)] as [CellKind] {
      for hidden in [33, 64, 160] {
        let network = try largeNetwork(cell, .float32, Float.self, hidden: hidden)
        let rounded = try largeNetwork(cell, .float32, Float.self, hidden: hidden, roundedTo: true)
        let expected = try outputs(NetworkStream(rounded), steps: 7, of: Float.self)
        for threads in [1, 2] {
          let stream = try NetworkStream(network, threadCount: threads, weightStorage: .bfloat16)
          assertSameBits(try outputs(stream, steps: 7, of: Float.self), expected, "\(cell), H = \(hidden), \(threads) threads")
        }
      }
    }
  }

  func testBFloat16RefusesWhatItIsNotFor() throws {
    func message(_ network: Network, rows: Int = 1) -> String {
      do {
        _ = try NetworkStream(network, batchSize: rows, weightStorage: .bfloat16)
        return "accepted"
      } catch { return error.message }
    }
    XCTAssertTrue(message(try largeNetwork(.lstm, .float64, Double.self)).contains("float32"))
    XCTAssertTrue(message(try largeNetwork(.lstm, .float32, Float.self), rows: 2).contains("batch_size is 2"))
    var architecture = Architecture(dataType: .float32)
    try architecture.add(.input(size: 3), name: "x")
    try architecture.add(.recurrent(RecurrentConfiguration(.lstm, hiddenSize: 4)), name: "a")
    try architecture.add(.softmax(logarithm: false), name: "b")
    XCTAssertTrue(message(try Network(architecture)).contains("bfloat16"))
  }

  /// `process` reads and writes the caller's memory, and leaves the stream's as it is.
  func testProcessingLeavesTheBoundMemory() throws {
    let stream = try NetworkStream(try largeNetwork(.gru(.resetAfter), .float32, Float.self), threadCount: 2)
    _ = try stream.input().update(from: (0..<67).map(Float.init))
    try stream.step()
    let (input, output) = (Array(try stream.input()), Array(try stream.output()))
    let x = [Float](repeating: 0.5, count: 2 * 67)
    var y = [Float](repeating: 0, count: 2 * 5)
    try x.withUnsafeBufferPointer { x in
      try y.withUnsafeMutableBufferPointer { y in
        try stream.process(stepCount: 2, features: x, tokens: .init(start: nil, count: 0), output: y)
      }
    }
    XCTAssertEqual(Array(try stream.input()), input)
    XCTAssertEqual(Array(try stream.output()), output)
    XCTAssertNotEqual(Array(y[5..<10]), output)
  }

  /// Steps from bound memory take prepared calls, `process` takes the general way, and the state goes from one to the other: the
  /// bits are those of the whole sequence. Padded and unpadded sizes of the state, several layers, one row and more.
  func testStepsAndProcessingAlternateWithoutChangingABit() throws {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type, _ dataType: DataType) throws {
      for cell in [.vanilla(.tanh), .lstm, .gru(.resetBefore), .gru(.resetAfter)] as [CellKind] {
        for h in [5, 16, 33] {
          for rows in [1, 3] {
            var architecture = Architecture(dataType: dataType)
            try architecture.add(.input(size: 3), name: "x")
            try architecture.add(.recurrent(RecurrentConfiguration(cell, hiddenSize: h, layerCount: 2)), name: "a")
            try architecture.add(.linear(outputSize: 4, bias: true), name: "b")
            try architecture.add(.recurrent(RecurrentConfiguration(.lstm, hiddenSize: h)), name: "c")
            let network = try Network(architecture)
            var numbers = TestNumbers(seed: UInt64(h))
            try network.setParameter(to: numbers.array(architecture.parameterCount, of: Scalar.self))
            let x: [Scalar] = numbers.array(6 * rows * 3)
            var state = try network.makeState(batchSize: rows)
            let whole = try network.run(x, state: &state)
            let (stream, other) = (try NetworkStream(network, batchSize: rows), try NetworkStream(network, batchSize: rows))
            func step(_ t: Int, _ stream: NetworkStream) throws {
              _ = try stream.input(as: Scalar.self).update(from: x[t * rows * 3..<(t + 1) * rows * 3])
              try stream.step()
              assertSameBits(
                Array(try stream.output(as: Scalar.self)), Array(whole[t * rows * h..<(t + 1) * rows * h]),
                "\(cell), H = \(h), N = \(rows), step \(t)")
            }
            try step(0, stream)
            try step(1, stream)
            var output = [Scalar](repeating: 0, count: 2 * rows * h)
            try x.withUnsafeBufferPointer { x in
              try output.withUnsafeMutableBufferPointer { output in
                try stream.process(
                  stepCount: 2, features: UnsafeBufferPointer(rebasing: x[2 * rows * 3..<4 * rows * 3]),
                  tokens: .init(start: nil, count: 0), output: output)
              }
            }
            assertSameBits(output, Array(whole[2 * rows * h..<4 * rows * h]), "\(cell), H = \(h), N = \(rows), processed")
            try step(4, stream)
            var middle = try network.makeState(batchSize: rows)
            try stream.readState(into: &middle)
            try other.step()
            try other.writeState(middle)
            try step(5, other)
            try step(5, stream)
            try stream.readState(into: &middle)
            assertSameBits(try middle.array(as: Scalar.self), try state.array(as: Scalar.self), "\(cell), H = \(h), N = \(rows)")
          }
        }
      }
    }
    try check(Float.self, .float32)
    try check(Double.self, .float64)
  }

  func testAStreamOutlivesTheNameOfItsNetwork() throws {
    var network: Network? = try recurrentNetwork(.lstm, inputSize: 1, hiddenSize: 2)
    weak let watched = network
    var stream: NetworkStream? = try NetworkStream(network!)
    network = nil
    XCTAssertNotNil(watched)
    try stream?.step()
    try stream?.reset()
    stream = nil
    XCTAssertNil(watched)
  }

  func testAStreamSaysWhatItCannot() throws {
    let both = try recurrentNetwork(.lstm, inputSize: 1, hiddenSize: 2, bidirectional: true)
    assertFails(.unsupported, "bidirectional") { try NetworkStream(both) }
    let network = try recurrentNetwork(.lstm, inputSize: 1, hiddenSize: 2)
    assertFails(.invalidArgument, "batch_size is 0") { try NetworkStream(network, batchSize: 0) }
    assertFails(.outOfMemory) { try NetworkStream(network, batchSize: .max) }
    let stream = try NetworkStream(network)
    assertFails(.dtype, "float32", "float64") { try stream.input(as: Double.self) }
  }

  /// A token out of range is found before anything is computed.
  func testARefusedTokenLeavesTheStateAsItWas() throws {
    var architecture = Architecture()
    try architecture.add(.tokenInput, name: "t")
    try architecture.add(.embedding(vocabularySize: 4, size: 2), name: "e")
    try architecture.add(.recurrent(RecurrentConfiguration(.lstm, hiddenSize: 2)), name: "r")
    let network = try Network(architecture)
    let stream = try NetworkStream(network, batchSize: 2)
    _ = stream.tokens.update(from: [1, 3])
    try stream.step()
    func state() throws -> [Float] {
      var state = try network.makeState(batchSize: 2)
      try stream.readState(into: &state)
      return try state.array()
    }
    let before = try state()
    for token in [4, -1, Int64.max, Int64.min] {
      stream.tokens[1] = token
      assertFails(.invalidArgument, "token \(token) of row 1: expected 0 to 3") { try stream.step() }
      assertSameBits(try state(), before)
    }
  }

  /// A copy of a state shares memory with the original until the stream writes into it.
  func testReadingAStateChangesNoCopyOfIt() throws {
    let network = try recurrentNetwork(.lstm, inputSize: 1, hiddenSize: 2)
    let stream = try NetworkStream(network)
    var state = try network.makeState()
    let copy = state
    stream.withInput { $0[0] = 1 }
    try stream.step()
    try stream.readState(into: &state)
    XCTAssertEqual(try copy.array(), [0, 0, 0, 0] as [Float])
    XCTAssertNotEqual(try state.array(), [0, 0, 0, 0] as [Float])
  }
}

extension NetworkStream {
  fileprivate func withInput(_ body: (UnsafeMutableBufferPointer<Float>) -> Void) {
    if let input = try? input(as: Float.self) { body(input) }
  }
}

extension Float {
  /// The nearest number of 8 significant bits, ties to even.
  fileprivate var roundedToBFloat16: Float {
    let step = Float(sign: .plus, exponent: exponent - 7, significand: 1)
    return isZero ? 0 : (self / step).rounded(.toNearestOrEven) * step
  }
}
