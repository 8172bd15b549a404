import Foundation
import XCTest

@testable import RNN

final class NormalTests: XCTestCase {
  /// Glibc's log is right to half a unit in the last place and a bit; ours is documented to be within one.
  func testLogarithmAgreesWithTheCLibrary() {
    let key = PhiloxKey(seed: 3, purpose: .sampling, layer: 0)
    for element in UInt64(0)..<20_000 {
      let bits = key.bits(element: element)
      // Half of them anywhere in the range of doubles, half around 1, where the result is near 0.
      let exponent = bits & 1 == 0 ? Int(bits >> 1 & 0x7FF) % 2046 - 1022 : Int(bits >> 1 & 7) - 4
      let x = (1 + uniformDouble(bits)) * Double(sign: .plus, exponent: exponent, significand: 1)
      guard x.isFinite, x >= .leastNormalMagnitude else { continue }
      let expected = Foundation.log(x)
      XCTAssertEqual(Normal.logarithm(x), expected, accuracy: 1.5 * expected.ulp, "\(x)")
    }
  }

  func testLogarithmOfSpecialValues() {
    XCTAssertEqual(Normal.logarithm(1), 0)
    XCTAssertEqual(Normal.logarithm(.infinity), .infinity)
    XCTAssertEqual(Normal.logarithm(0), -.infinity)
    XCTAssertEqual(Normal.logarithm(-0.0), -.infinity)
    XCTAssertTrue(Normal.logarithm(-1).isNaN)
    XCTAssertTrue(Normal.logarithm(.nan).isNaN)
    XCTAssertEqual(Normal.logarithm(.leastNormalMagnitude), Foundation.log(.leastNormalMagnitude))
    XCTAssertEqual(Normal.logarithm(.leastNonzeroMagnitude), -.infinity)
  }

  /// Computed with mpmath at 60 digits: x with erfc(-x/√2)/2 = p, where p is the double nearest to the one written.
  func testQuantilesAreKnown() {
    let known: [(Double, Double)] = [
      (0.3, -0.5244005127080408),
      (0.6, 0.2533471031357997),
      (0.9, 1.2815515655446006),
      (0.925, 1.4395314709384561),
      (0.925000001, 1.439531478002827),
      (0.975, 1.9599639845400538),
      (0.99, 2.3263478740408408),
      (0.001, -3.0902323061678136),
      (1e-6, -4.753424308822899),
      (1e-10, -6.361340902404057),
      (1e-11, -6.706023155495136),
      (2e-11, -6.604077590405634),
      (1e-12, -7.034483825301132),
      (1e-15, -7.941345326170997),
      (1e-100, -21.273453560965326),
      (1e-300, -37.0470962993612),
      (0x1p-53, -8.209536151601387),
      (0.9999999999, 6.361340889697422),
    ]
    for (probability, expected) in known {
      XCTAssertEqual(Normal.quantile(probability), expected, accuracy: 4 * expected.ulp, "\(probability)")
    }
  }

  func testQuantileOfSpecialValues() {
    XCTAssertEqual(Normal.quantile(0.5), 0)
    XCTAssertEqual(Normal.quantile(0), -.infinity)
    XCTAssertEqual(Normal.quantile(1), .infinity)
    for probability in [-0.1, 1.1, .nan, .infinity, -.infinity] {
      XCTAssertTrue(Normal.quantile(probability).isNaN)
    }
  }

  func testQuantilesAreSymmetricAndGrow() {
    var previous = -Double.infinity
    for step in 1..<4096 {
      let probability = Double(step) / 4096
      let quantile = Normal.quantile(probability)
      XCTAssertGreaterThan(quantile, previous)
      XCTAssertEqual(quantile, -Normal.quantile(1 - probability))
      previous = quantile
    }
  }

  func testSamplesAreFinite() {
    XCTAssertEqual(Normal.sample(0), -Normal.sample(.max))
    XCTAssertGreaterThan(Normal.sample(.max), 8.2)
    XCTAssertLessThan(Normal.sample(.max), 8.3)
  }

  /// Moments of n samples lie within 5 standard errors: 1/√n, √(2/n), √(15/n), √(96/n).
  func testMomentsAreThoseOfTheNormalDistribution() {
    let key = PhiloxKey(seed: 11, purpose: .sampling, layer: 0)
    let count = 40_000
    var sums = (0.0, 0.0, 0.0, 0.0)
    for element in 0..<count {
      let x = Normal.sample(key.bits(element: UInt64(element)))
      sums = (sums.0 + x, sums.1 + x * x, sums.2 + x * x * x, sums.3 + x * x * x * x)
    }
    let n = Double(count)
    XCTAssertEqual(sums.0 / n, 0, accuracy: 5 * (1 / n).squareRoot())
    XCTAssertEqual(sums.1 / n, 1, accuracy: 5 * (2 / n).squareRoot())
    XCTAssertEqual(sums.2 / n, 0, accuracy: 5 * (15 / n).squareRoot())
    XCTAssertEqual(sums.3 / n, 3, accuracy: 5 * (96 / n).squareRoot())
  }

  /// Pinned bits: the same on every platform.
  func testTheNumbersNeverChange() {
    XCTAssertEqual(Normal.sample(0x0123_4567_89AB_CDEF).bitPattern, 0xc004_ee2d_c0a9_e007)
    XCTAssertEqual(Normal.sample(0x9000_0000_0000_0000).bitPattern, 0x3fc4_22c1_aadb_249d)
    XCTAssertEqual(Normal.sample(0xFFFF_FFFF_FFFF_0000).bitPattern, 0x401f_257b_baa2_c63f)
  }
}
