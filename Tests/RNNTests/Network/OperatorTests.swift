import RNNKernels
import XCTest

@testable import RNN

/// What the operators without a state compute, and what they refuse.
final class OperatorTests: XCTestCase {
  /// x [T, N, 5] and y [T, N, 5] into the operator, which is the output.
  private func network<Scalar: KernelScalar>(
    _ operation: Operator, _ type: Scalar.Type, size: Int = 5
  ) throws -> Network {
    var architecture = Architecture(dataType: Scalar.dataType)
    try architecture.add(.input(size: size), name: "x")
    if operation.readsSeveral { try architecture.add(.input(size: size), name: "y") }
    try architecture.add(operation, name: "op", inputs: operation.readsSeveral ? ["x", "y"] : ["x"])
    return try Network(architecture)
  }

  private func run<Scalar: KernelScalar>(
    _ network: Network, _ features: [Scalar], stepCount: Int, rowCount: Int, lengths: [Int64]? = nil
  ) throws -> [Scalar] {
    var numbers = TestNumbers(seed: 0)
    var batch = Batch<Scalar>(network.architecture, stepCount: stepCount, rowCount: rowCount, numbers: &numbers)
    batch.features = features
    batch.lengths = lengths
    var none: NetworkState?
    let output = try network.run(batch, state: &none)
    assertSameBits(try network.train(batch, state: &none).output, output, "forwardTrain")
    return output
  }

  func testSoftmaxIsTheExponentialsOverTheirSum() throws {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type) throws {
      var numbers = TestNumbers(seed: 1)
      for size in [1, 2, 5, 8, 15, 16, 17, 40] {
        let x: [Scalar] = numbers.array(6 * size, scale: 8)
        let softmax = try run(network(.softmax(logarithm: false), type, size: size), x, stepCount: 3, rowCount: 2)
        let logarithm = try run(network(.softmax(logarithm: true), type, size: size), x, stepCount: 3, rowCount: 2)
        for row in 0..<6 {
          let values = x[row * size..<(row + 1) * size].map(Double.init)
          let largest = values.max()!
          let exponentials = values.map { exp($0 - largest) }, sum = exponentials.reduce(0, +)
          for i in 0..<size {
            // e^(x - max) within 2 units and the difference rounded once, times |x - max|; the sum of `size` terms.
            let bound = Double(Scalar.ulpOfOne) * (4 + abs(values[i] - largest) + Double(size) / 8)
            let p = exponentials[i] / sum
            XCTAssertEqual(Double(softmax[row * size + i]), p, accuracy: bound * p, "\(Scalar.self), \(size)")
            XCTAssertEqual(Double(logarithm[row * size + i]), values[i] - largest - log(sum), accuracy: bound, "\(Scalar.self), \(size)")
          }
        }
      }
      // Far apart: no overflow, and a logarithm where the probability is 0.
      let far: [Scalar] = [1000, 0, -1000]
      XCTAssertEqual(try run(network(.softmax(logarithm: false), type, size: 3), far, stepCount: 1, rowCount: 1), [1, 0, 0])
      XCTAssertEqual(try run(network(.softmax(logarithm: true), type, size: 3), far, stepCount: 1, rowCount: 1), [0, -1000, -2000])
      // A NaN is that row's alone.
      let nan = try run(network(.softmax(logarithm: true), type, size: 2), [Scalar.nan, 1, 0, 0], stepCount: 1, rowCount: 2)
      XCTAssertTrue(nan[0].isNaN && nan[1].isNaN && nan[2].isFinite && nan[3].isFinite)
    }
    try check(Float.self)
    try check(Double.self)
  }

  func testLayerNormIsThatOfItsDefinition() throws {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type) throws {
      var numbers = TestNumbers(seed: 2)
      for size in [1, 2, 5, 8, 15, 16, 17, 40] {
        let network = try network(.layerNorm(epsilon: 1e-3), type, size: size)
        XCTAssertEqual(try network.parameter("op.weight", as: Scalar.self), [Scalar](repeating: 1, count: size))
        XCTAssertEqual(try network.parameter("op.bias", as: Scalar.self), [Scalar](repeating: 0, count: size))
        let weight: [Scalar] = numbers.array(size, scale: 2), bias: [Scalar] = numbers.array(size)
        try network.setParameter(to: weight + bias)
        let x: [Scalar] = numbers.array(6 * size).map { $0 * 3 + 1 }
        let found = try run(network, x, stepCount: 3, rowCount: 2)
        for row in 0..<6 {
          let values = x[row * size..<(row + 1) * size].map(Double.init)
          let mean = values.reduce(0, +) / Double(size)
          let variance = values.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(size)
          for i in 0..<size {
            let expected = (values[i] - mean) / (variance + 1e-3).squareRoot() * Double(weight[i]) + Double(bias[i])
            // Of numbers up to 4 the mean errs by 4 units at most, the quotient by as many times 1/√(variance + ε).
            let bound = Double(Scalar.ulpOfOne) * 16 * (1 + 1 / (variance + 1e-3).squareRoot())
            XCTAssertEqual(Double(found[row * size + i]), expected, accuracy: bound, "\(Scalar.self), \(size)")
          }
        }
      }
    }
    try check(Float.self)
    try check(Double.self)
  }

  func testScaleShiftProductConcatAndSlice() throws {
    var numbers = TestNumbers(seed: 3)
    let both: [Double] = numbers.array(6 * 10)
    let x = (0..<6).flatMap { both[$0 * 10..<$0 * 10 + 5] }, y = (0..<6).flatMap { both[$0 * 10 + 5..<$0 * 10 + 10] }
    assertSameBits(try run(network(.product, Double.self), both, stepCount: 2, rowCount: 3), zip(x, y).map { $0 * $1 })
    assertSameBits(try run(network(.concat, Double.self), both, stepCount: 2, rowCount: 3), both)
    assertSameBits(
      try run(network(.slice(begin: 1, end: 4), Double.self), x, stepCount: 2, rowCount: 3),
      (0..<6).flatMap { x[$0 * 5 + 1..<$0 * 5 + 4] })
    for bias in [false, true] {
      let network = try network(.scaleShift(bias: bias), Double.self)
      XCTAssertEqual(network.architecture.parameters.map(\.name), bias ? ["op.weight", "op.bias"] : ["op.weight"])
      XCTAssertEqual(try network.parameter("op.weight", as: Double.self), [1, 1, 1, 1, 1])
      let weight = [2, -1, 0.5, 0, 3], shift = bias ? [1, 2, -3, 4, 0.25] : [0, 0, 0, 0, 0]
      try network.setParameter(to: weight + (bias ? shift : []))
      let found = try run(network, x, stepCount: 2, rowCount: 3)
      for i in found.indices {
        XCTAssertEqual(found[i], x[i] * weight[i % 5] + shift[i % 5], accuracy: 1e-15)
      }
    }
  }

  func testReverseTurnsEachRowAroundWithinItsLength() throws {
    let (t, n) = (4, 3)
    let x = (0..<t * n).map(Double.init)
    let network = try network(.reverse, Double.self, size: 1)
    XCTAssertFalse(network.architecture.isStreamable)
    XCTAssertFalse(network.architecture.reversesBeforeItsEnd)
    assertFails(.unsupported, "reversal") { try NetworkStream(network) }
    // [T, N]: the number is 3 t + n.
    assertSameBits(try run(network, x, stepCount: t, rowCount: n), [9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2])
    assertSameBits(
      try run(network, x, stepCount: t, rowCount: n, lengths: [2, 0, 4]), [3, 0, 11, 0, 0, 8, 0, 0, 5, 0, 0, 2])
    var architecture = network.architecture
    try architecture.add(.dropout(probability: 0))
    XCTAssertTrue(architecture.reversesBeforeItsEnd)
  }

  /// With a mask all T steps are turned around, those that the row does not have too.
  func testReverseWithAMaskTurnsAllStepsAround() throws {
    let (t, n) = (4, 2)
    let network = try network(.reverse, Double.self, size: 1)
    var x = (0..<t * n).map { Double($0 + 1) }
    // Row 0 has steps 1 and 2, row 1 steps 0 and 3.
    let mask: [UInt8] = [0, 1, 1, 0, 1, 0, 0, 1]
    for i in x.indices where mask[i] == 0 { x[i] = .nan }
    var output = [Double](repeating: .nan, count: t * n), gradient = output
    let tape = try x.withUnsafeBufferPointer { x in
      try mask.withUnsafeBufferPointer { mask in
        try output.withUnsafeMutableBufferPointer { output in
          var none: NetworkState?
          var input = SequenceInput(sequenceLength: t, batchSize: n, features: x)
          input.mask = mask
          try network.run(input, state: &none, output: output)
          return try network.forwardTrain(input, state: &none, output: output)
        }
      }
    }
    assertSameBits(output, [0, 8, 5, 0, 3, 0, 0, 2])
    try gradient.withUnsafeMutableBufferPointer { gradient in
      try (0..<t * n).map { Double($0 + 1) }.withUnsafeBufferPointer {
        var none: NetworkState?
        try network.backward(
          tape, outputGradient: $0, stateGradient: &none, outputs: BackwardOutputs(inputGradient: gradient))
      }
    }
    assertSameBits(gradient, [0, 8, 5, 0, 3, 0, 0, 2])
  }

  func testWhatDoesNotFitIsRefused() throws {
    func base() throws -> Architecture {
      var architecture = Architecture()
      try architecture.add(.input(size: 3), name: "x")
      try architecture.add(.input(size: 4), name: "y")
      try architecture.add(.tokenInput, name: "t")
      try architecture.add(.lastStep, name: "last", inputs: ["x"])
      return architecture
    }
    func refuses(
      _ code: RNNError.Code, _ part: String, _ operation: Operator, _ inputs: [String], line: UInt = #line
    ) throws {
      var architecture = try base()
      assertFails(code, part, line: line) { try architecture.add(operation, name: "op", inputs: inputs) }
      XCTAssertEqual(architecture, try base(), line: line)
    }
    for operation in [
      Operator.activation(function(.tanh)), .reverse, .firstStep, .softmax(logarithm: false), .layerNorm(epsilon: 1e-5),
      .scaleShift(bias: true), .slice(begin: 0, end: 1),
    ] {
      try refuses(.shape, "'t' gives tokens", operation, ["t"])
      try refuses(.invalidArgument, "reads one node, got 2", operation, ["x", "x"])
    }
    for operation in [Operator.product, .concat] {
      try refuses(.invalidArgument, "expected 2 or more inputs, got 1", operation, ["x"])
      try refuses(.invalidArgument, "expected the names of its inputs", operation, [])
      try refuses(.notFound, "\"z\"", operation, ["x", "z"])
      try refuses(.shape, "'t'", operation, ["x", "t"])
      try refuses(.shape, "'last'", operation, ["x", "last"])
    }
    try refuses(.shape, "product 'op'", .product, ["x", "y"])
    try refuses(.shape, "reads a sequence", .reverse, ["last"])
    try refuses(.shape, "first step 'op' reads a sequence", .firstStep, ["last"])
    for (begin, end) in [(0, 0), (2, 2), (2, 1), (0, 4), (-1, 2), (0, -1), (3, 4), (Int.min, Int.max)] {
      try refuses(.shape, "slice 'op'", .slice(begin: begin, end: end), ["x"])
    }
    for epsilon in [0, -1, .nan, .infinity, 1e-45, 1e300] {
      try refuses(.invalidArgument, "epsilon", .layerNorm(epsilon: epsilon), ["x"])
    }
    try refuses(.invalidArgument, "not both finite in float32", .activation(function(.elu, alpha: 1e300)), ["x"])
    assertFails(.invalidArgument, "alpha of activation elu is nan") { try Activation(.elu, alpha: .nan) }
    assertFails(.invalidArgument, "beta of activation affine is inf") { try Activation(.affine, alpha: 1, beta: .infinity) }
    assertFails(.invalidArgument, "activation tanh has no alpha") { try Activation(.tanh, alpha: 1) }
    assertFails(.invalidArgument, "activation elu has no beta") { try Activation(.elu, alpha: 1, beta: 1) }
  }

  func testEveryOperatorComesBackFromItsText() throws {
    var architecture = Architecture()
    try architecture.add(.input(size: 4), name: "x")
    for kind in ActivationKind.allCases {
      try architecture.add(
        .activation(try Activation(kind, alpha: kind.readsAlpha ? 0.1 : 0, beta: kind.readsBeta ? -0.5 : 0)), name: kind.name)
    }
    try architecture.add(.softmax(logarithm: true), name: "a")
    try architecture.add(.softmax(logarithm: false), name: "b")
    try architecture.add(.layerNorm(epsilon: 1e-5), name: "c")
    try architecture.add(.scaleShift(bias: true), name: "d")
    try architecture.add(.scaleShift(bias: false), name: "e")
    try architecture.add(.product, name: "f", inputs: ["e", "d", "x"])
    try architecture.add(.concat, name: "g", inputs: ["e", "f"])
    try architecture.add(.slice(begin: 2, end: 7), name: "h")
    try architecture.add(.reverse, name: "i")
    try architecture.add(.firstStep, name: "j")
    let text = try architecture.json.serializedString()
    XCTAssertEqual(try Architecture(json: try JSONValue.parse(text, named: "test")), architecture, text)
    XCTAssertEqual(architecture.outputSize, 5)

    func refuses(_ code: RNNError.Code, _ part: String, _ old: String, _ new: String, line: UInt = #line) {
      let changed = text.replacingOccurrences(of: old, with: new)
      XCTAssertNotEqual(changed, text, line: line)
      assertFails(code, part, line: line) { try Architecture(json: try JSONValue.parse(changed, named: "test")) }
    }
    refuses(.unsupported, "\"swish\", expected one of sigmoid,", "\"function\":\"softsign\"", "\"function\":\"swish\"")
    refuses(.format, "\"slope\"", "\"function\":\"softsign\"", "\"function\":\"softsign\",\"slope\":1")
    refuses(.format, "\"alpha\"", "\"function\":\"softsign\"", "\"function\":\"softsign\",\"alpha\":1")
    refuses(.format, "alpha", "\"function\":\"elu\",\"alpha\":0.1", "\"function\":\"elu\"")
    refuses(.format, "function", "\"function\":\"softsign\"", "\"function\":1")
    refuses(.format, "epsilon", "\"epsilon\":1e-05", "\"epsilon\":0")
    refuses(.format, "end", "\"end\":7", "\"end\":9")
    refuses(.format, "begin", "\"begin\":2", "\"begin\":-1")
    refuses(.format, "log", "\"log\":true", "\"log\":1")
    refuses(.unsupported, "version 2", "\"op\":\"reverse\",\"version\":1", "\"op\":\"reverse\",\"version\":2")
  }
}
