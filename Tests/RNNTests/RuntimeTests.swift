import RNNKernels
import XCTest

@testable import RNN

final class RuntimeTests: XCTestCase {
  func testKernelsHaveTheNameOfTheirSet() {
    XCTAssertEqual(Runtime.kernelsName, InstructionSet.current.rawValue)
    XCTAssertTrue(["x86-64-v4", "x86-64-v3", "baseline"].contains(Runtime.kernelsName))
  }

  func testAnUnknownBLASIsRefused() throws {
    let before = Runtime.blasName
    assertFails(.invalidArgument, "\"mkl\"", "\"openblas\"") { try Runtime.selectBLAS("mkl") }
    XCTAssertEqual(Runtime.blasName, before)
  }

  /// Large products of a network, forwards and backwards, go through OpenBLAS on request, and the results agree.
  func testANetworkRunsOnOpenBLASOnRequestOnly() throws {
    try XCTSkipIf(
      dlsym(nil, "__asan_init") != nil || dlsym(nil, "__tsan_init") != nil, "a sanitizer does not load with RTLD_DEEPBIND")
    // `catch let error where error.code == …` here sends the compiler of Swift 6.3 into a loop without end.
    let failure = Result { try Runtime.selectBLAS("openblas") }
    if case .failure(let error as RNNError) = failure, error.code == .unsupported { throw XCTSkip(error.message) }
    try Runtime.selectBLAS("none")
    defer { try? Runtime.selectBLAS("none") }
    let network = try recurrentNetwork(.gru(.resetAfter), inputSize: 64, hiddenSize: 64, dataType: .float64)
    var numbers = TestNumbers(seed: 1)
    try network.setParameter(to: numbers.array(network.architecture.parameterCount, of: Double.self, scale: 0.2))
    let batch = Batch<Double>(network.architecture, stepCount: 12, rowCount: 16, numbers: &numbers)
    let gradient: [Double] = numbers.array(network.outputCount(12, 16))
    func everything() throws -> [Double] {
      var none: NetworkState?
      let (output, tape) = try network.train(batch, state: &none)
      let found = try network.gradients(tape, outputGradient: gradient, state: &none, inputCount: batch.features.count)
      return output + found.input + found.parameters
    }
    let calls = Runtime.blasProductCount
    let own = try everything()
    XCTAssertEqual(Runtime.blasProductCount, calls)
    try Runtime.selectBLAS("openblas")
    XCTAssertTrue(Runtime.blasName.hasPrefix("OpenBLAS"))
    let other = try everything()
    XCTAssertGreaterThan(Runtime.blasProductCount, calls)
    // The largest difference measured is 7e-15, of values up to 15, through 12 steps forwards and back.
    print("MEASURE blas", zip(own, other).map { abs($0 - $1) }.max()!, own.map { abs($0) }.max()!)
    for (a, b) in zip(own, other) { XCTAssertEqual(a, b, accuracy: 1e-12) }
    try Runtime.selectBLAS("none")
    XCTAssertEqual(Runtime.blasName, "none")
    assertSameBits(try everything(), own)
  }
}
