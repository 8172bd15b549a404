import XCTest

@testable import RNNKernels

final class BLASTests: XCTestCase {
  override func tearDown() { try? BLAS.select("none") }

  private func requireOpenBLAS() throws {
    // RTLD_DEEPBIND, which keeps OpenBLAS apart from the host, is refused by sanitizers.
    try XCTSkipIf(runsUnderSanitizer, "a sanitizer's runtime does not load libraries with RTLD_DEEPBIND")
    do {
      try BLAS.select("openblas")
      try BLAS.select("none")
    } catch BLAS.Failure.unavailable(let reason) {
      throw XCTSkip("OpenBLAS cannot be loaded here: \(reason)")
    }
  }

  /// rows · depth · outputs above the limit from which OpenBLAS is asked.
  private let (rows, depth, outputs) = (128, 130, 100)

  /// input [rows, depth] · weight [outputs, depth]ᵀ + bias, and the sum of the magnitudes of its terms.
  private func product<Scalar: KernelScalar>(
    _ type: Scalar.Type, rows: Int, depth: Int, outputs: Int
  ) -> (result: [Scalar], magnitude: [Double]) {
    var numbers = TestNumbers(seed: 1)
    let input: [Scalar] = numbers.array(rows * depth), weight: [Scalar] = numbers.array(outputs * depth)
    let bias: [Scalar] = numbers.array(outputs)
    var panels = [Scalar](repeating: 0, count: PackedMatrix<Scalar>.elementCount(outputs: outputs, depth: depth))
    var output = [Scalar](repeating: .nan, count: rows * outputs)
    weight.withUnsafeBufferPointer { weight in
      panels.withUnsafeMutableBufferPointer { panels in
        let packed = PackedMatrix(
          outputs: outputs, depth: depth, source: weight.baseAddress!, outputStride: depth, depthStride: 1,
          panels: panels.baseAddress!)
        packed.multiply(
          Scalar.kernels, rows: rows, input: input, inputRowStride: depth, start: bias, startRowStride: 0, output: &output,
          outputRowStride: outputs)
      }
    }
    // |x| <= 1 and |w| <= 1: no need to add up every term.
    return (output, bias.map { Double(abs($0)) + Double(depth) })
  }

  /// Two sums of depth + 1 terms, each within (depth + 1) · u of the true one, relative to the sum of the magnitudes, where u
  /// is half of ulpOfOne.
  private func bound<Scalar: KernelScalar>(_ type: Scalar.Type, magnitude: Double, depth: Int) -> Double {
    Double(depth + 1) * Double(Scalar.ulpOfOne) * magnitude
  }

  func testLargeProductsGoToOpenBLASOnRequestOnly() throws {
    try requireOpenBLAS()
    func check<Scalar: KernelScalar>(_ type: Scalar.Type, rows: Int, depth: Int, outputs: Int) throws {
      XCTAssertEqual(BLAS.name, "none")
      var calls = BLAS.calls
      let own = product(Scalar.self, rows: rows, depth: depth, outputs: outputs)
      XCTAssertEqual(BLAS.calls, calls, "nobody asked for OpenBLAS")

      try BLAS.select("openblas")
      XCTAssertTrue(BLAS.name.hasPrefix("OpenBLAS"), BLAS.name)
      let other = product(Scalar.self, rows: rows, depth: depth, outputs: outputs)
      XCTAssertEqual(BLAS.calls, calls + 1)
      for (i, pair) in zip(own.result, other.result).enumerated() {
        let limit = bound(Scalar.self, magnitude: own.magnitude[i % outputs], depth: depth)
        XCTAssertEqual(Double(pair.0), Double(pair.1), accuracy: limit)
      }

      // Small ones stay with the own kernels, and keep their bits.
      calls = BLAS.calls
      let small = product(Scalar.self, rows: 3, depth: depth, outputs: outputs).result
      XCTAssertEqual(BLAS.calls, calls)
      try BLAS.select("none")
      assertSameBits(product(Scalar.self, rows: 3, depth: depth, outputs: outputs).result, small)

      let again = product(Scalar.self, rows: rows, depth: depth, outputs: outputs)
      XCTAssertEqual(BLAS.calls, calls)
      assertSameBits(again.result, own.result, "after select(\"none\")")
    }
    try check(Float.self, rows: rows, depth: depth, outputs: outputs)
    try check(Double.self, rows: rows, depth: depth, outputs: outputs)
    // Lanes are packed in rows, OpenBLAS reads the source.
    try check(Float.self, rows: 8192, depth: 64, outputs: 3)
  }

  /// The gradient of a weight has its own way to OpenBLAS, with both matrices transposed.
  func testGradientsOfWeightsGoToOpenBLASToo() throws {
    try requireOpenBLAS()
    func gradient() -> [Double] {
      var numbers = TestNumbers(seed: 2)
      let left: [Double] = numbers.array(rows * (depth + 3)), right: [Double] = numbers.array(rows * outputs)
      var output = [Double](repeating: .nan, count: depth * (outputs + 1))
      output.withUnsafeMutableBufferPointer { output in
        right.withUnsafeBufferPointer { right in
          multiplyTransposed(
            Double.kernels, rows: rows, left: left, leftRowStride: depth + 3,
            [
              TransposedProduct(
                leftColumns: 0..<depth, right: right.baseAddress!, rightColumns: outputs, rightRowStride: outputs,
                output: output.baseAddress!, outputRowStride: outputs + 1)
            ])
        }
      }
      return output
    }
    let own = gradient()
    let calls = BLAS.calls
    try BLAS.select("openblas")
    let other = gradient()
    XCTAssertEqual(BLAS.calls, calls + 1)
    let limit = bound(Double.self, magnitude: Double(rows), depth: rows)
    for m in 0..<depth {
      for k in 0..<outputs { XCTAssertEqual(own[m * (outputs + 1) + k], other[m * (outputs + 1) + k], accuracy: limit) }
      XCTAssertTrue(other[m * (outputs + 1) + outputs].isNaN, "wrote between the rows")
    }
  }

  func testUnknownNamesAreRefusedAndChangeNothing() throws {
    for name in ["", "mkl", "OpenBLAS", "openblas "] {
      XCTAssertThrowsError(try BLAS.select(name)) { XCTAssertEqual($0 as? BLAS.Failure, .unknownName) }
      XCTAssertEqual(BLAS.name, "none")
    }
    try requireOpenBLAS()
    try BLAS.select("openblas")
    XCTAssertThrowsError(try BLAS.select("mkl"))
    XCTAssertNotEqual(BLAS.name, "none")
  }

  /// Run again by the test below with RNN_BLAS set.
  func testTheChoiceOfTheEnvironmentIsTakenAtTheFirstQuestion() throws {
    guard let expected = ProcessInfo.processInfo.environment["RNN_TEST_EXPECTED_BLAS"] else {
      return try checkEnvironment()
    }
    BLAS.prepare()
    XCTAssertTrue(BLAS.name.hasPrefix(expected), BLAS.name)
  }

  private func checkEnvironment() throws {
    try requireOpenBLAS()
    for (name, expected) in [("openblas", "OpenBLAS"), ("none", "none"), ("mkl", "none")] {
      let (status, output) = try runAgain(
        "RNNKernelsTests.BLASTests/testTheChoiceOfTheEnvironmentIsTakenAtTheFirstQuestion",
        environment: ["RNN_BLAS": name, "RNN_TEST_EXPECTED_BLAS": expected])
      XCTAssertEqual(status, 0, "RNN_BLAS=\(name): \(output)")
      XCTAssertTrue(output.contains("Executed 1 test, with 0 failures"), output)
    }
  }
}
