import RNNKernels
import XCTest

@testable import RNN

/// Clipping by the norm of all tensors, by that of each, and by value.
final class GradientClippingTests: XCTestCase {
  private func clip<Scalar: KernelScalar>(
    _ clipping: GradientClipping, _ tensors: inout [[Scalar]]
  ) throws -> ClipReport {
    let buffers = tensors.map { tensor in
      let buffer = UnsafeMutableBufferPointer<Scalar>.allocate(capacity: tensor.count)
      _ = buffer.initialize(from: tensor)
      return buffer
    }
    defer { for buffer in buffers { buffer.deallocate() } }
    let report = try clipping.clip(tensors: buffers)
    tensors = buffers.map(Array.init)
    return report
  }

  private func checkNorms<Scalar: KernelScalar>(_ type: Scalar.Type) throws {
    // Norms 5, 13 and 0.5.
    let tensors: [[Scalar]] = [[3, 4], [-5, 0, 12], [0.5]]
    var together = tensors, each = tensors
    let all = try clip(GradientClipping(limit: 1), &together)
    XCTAssertEqual(all.totalNorm, (25 + 169 + 0.25).squareRoot())
    XCTAssertEqual(all.scale, 1 / (all.totalNorm + 1e-6))
    for (found, before) in zip(together, tensors) { assertSameBits(found, before.map { $0 * Scalar(all.scale) }) }

    let own = try clip(GradientClipping(.tensorNorm, limit: 1), &each)
    XCTAssertEqual(own.totalNorm, all.totalNorm)
    XCTAssertEqual(own.scale, 1 / (13 + 1e-6))
    XCTAssertEqual(own.largestIndex, 1)
    XCTAssertEqual(own.largestNorm, 13)
    assertSameBits(each[0], tensors[0].map { $0 * Scalar(1 / (5 + 1e-6)) })
    assertSameBits(each[1], tensors[1].map { $0 * Scalar(1 / (13 + 1e-6)) })
    assertSameBits(each[2], tensors[2])
  }

  func testANormIsOfAllTensorsOrOfEach() throws {
    try checkNorms(Float.self)
    try checkNorms(Double.self)
  }

  func testAValueIsTheBoundOfEachElement() throws {
    var tensors: [[Float]] = [[3, -4, 0.25], [], [-0.5, 0.5, -0.0]]
    let report = try clip(GradientClipping(.value, limit: 0.5), &tensors)
    assertSameBits(tensors[0], [0.5, -0.5, 0.25])
    assertSameBits(tensors[2], [-0.5, 0.5, -0.0])
    XCTAssertEqual(report.scale, 1)
    XCTAssertEqual(report.totalNorm, (9 + 16 + 0.0625 + 0.5).squareRoot())
    XCTAssertEqual(report.largestIndex, 0)
    _ = try clip(GradientClipping(.value, limit: .infinity), &tensors)
    assertSameBits(tensors[0], [0.5, -0.5, 0.25])
    _ = try clip(GradientClipping(.value, limit: 0), &tensors)
    XCTAssertTrue(tensors.joined().allSatisfy { $0 == 0 })
  }

  func testAGradientThatIsNotFiniteIsNamedAndNothingIsChanged() throws {
    for mode in [ClipMode.globalNorm, .tensorNorm, .value] {
      for bad in [Double.nan, .infinity, -.infinity] {
        var tensors: [[Double]] = [[30, 40], [1, bad, 1], [bad]]
        let before = tensors
        let report = try clip(GradientClipping(mode, limit: 1), &tensors)
        XCTAssertEqual(report.nonFiniteIndex, 1)
        XCTAssertEqual(report.scale, 1)
        for (a, b) in zip(tensors, before) { assertSameBits(a, b) }
      }
    }
  }

  /// The squares of 1e300 are beyond double, and so is the norm of two of the largest doubles.
  func testFiniteGradientsAreClippedHoweverLargeTheyAre() throws {
    for (large, normType) in [(1e300, 2.0), (1e300, 3), (1.7e308, 2), (1.7e308, 1)] {
      let clipping = GradientClipping(limit: 1, normType: normType)
      var tensors: [[Double]] = [[large, -large], [3, 4]]
      let report = try clip(clipping, &tensors)
      XCTAssertNil(report.nonFiniteIndex)
      XCTAssertEqual(report.largestIndex, 0)
      let norm = normType == 1 ? 2 : pow(2, 1 / normType)
      XCTAssertEqual(tensors[0][0], 1 / norm, accuracy: 1e-14)
      XCTAssertEqual(tensors[0][1], -1 / norm, accuracy: 1e-14)
      if large == 1e300 { XCTAssertEqual(report.totalNorm, large * norm, accuracy: 1e286) }
    }
    var tensors: [[Double]] = [[1e300, 1e300], [3, 4]]
    let report = try clip(GradientClipping(.tensorNorm, limit: 1), &tensors)
    XCTAssertNil(report.nonFiniteIndex)
    XCTAssertEqual(tensors[0][0], 0.5.squareRoot(), accuracy: 1e-15)
    assertSameBits(tensors[1], [3, 4].map { $0 * (1 / (5 + 1e-6)) })
    _ = try clip(GradientClipping(.value, limit: 2), &tensors)
    XCTAssertEqual(tensors[0][0], 0.5.squareRoot(), accuracy: 1e-15)
  }

  func testLimitsAreChecked() {
    for (mode, word) in [(ClipMode.globalNorm, "max_norm"), (.tensorNorm, "max_norm"), (.value, "clip_value")] {
      for limit in [-1, -Double.infinity, Double.nan] {
        var tensors: [[Float]] = [[1]]
        XCTAssertThrowsError(try clip(GradientClipping(mode, limit: limit), &tensors)) { error in
          XCTAssertEqual((error as? RNNError)?.code, .invalidArgument)
          XCTAssertTrue("\(error)".contains(word), "\(error)")
        }
      }
    }
  }

  /// e^x in operations that are the same everywhere; within 1 unit in the last place of the C library's.
  func testTheExponentialIsThatOfTheCLibrary() {
    withNumericMode {
      var numbers = TestNumbers(seed: 3)
      for i in 0..<20_000 {
        let x = i < 100 ? Double(i - 50) * 14 : numbers.next() * (i % 2 == 0 ? 708 : 1)
        let expected = exp(x), found = Normal.exponential(x)
        XCTAssertLessThanOrEqual(abs(found - expected), expected.ulp * 1.0, "\(x)")
      }
      XCTAssertEqual(Normal.exponential(0), 1)
    }
  }
}
