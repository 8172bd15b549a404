import XCTest

@testable import RNN

final class InitializationTests: XCTestCase {
  private func filled(_ count: Int, _ fill: (UnsafeMutableBufferPointer<Double>) -> Void) -> [Double] {
    var values = [Double](repeating: .nan, count: count)
    values.withUnsafeMutableBufferPointer { fill($0) }
    return values
  }

  private func orthogonal(_ rows: Int, _ columns: Int, seed: UInt64 = 1, parameter: UInt32 = 0) -> [Double] {
    var scratch = [Double](repeating: .nan, count: Initialization.orthogonalScratchCount(rows: rows, columns: columns))
    return scratch.withUnsafeMutableBufferPointer { scratch in
      filled(rows * columns) {
        Initialization.fillOrthogonal(
          $0, rows: rows, columns: columns, scratch: scratch, seed: seed, parameter: parameter)
      }
    }
  }

  func testUniformValuesFillTheirInterval() {
    let values = filled(10_000) { Initialization.fillUniform($0, bound: 0.25, seed: 1, parameter: 2) }
    XCTAssertTrue(values.allSatisfy { $0 >= -0.25 && $0 < 0.25 })
    XCTAssertLessThan(values.min() ?? 0, -0.249)
    XCTAssertGreaterThan(values.max() ?? 0, 0.249)
    // The mean has the standard error bound/√(3n).
    XCTAssertEqual(values.reduce(0, +) / 10_000, 0, accuracy: 5 * 0.25 / (30_000.0).squareRoot())
  }

  func testNormalValuesHaveTheirDeviation() {
    let values = filled(10_000) { Initialization.fillNormal($0, deviation: 0.01, seed: 1, parameter: 2) }
    let variance = values.reduce(0) { $0 + $1 * $1 } / 10_000
    XCTAssertEqual(variance, 1e-4, accuracy: 5 * 1e-4 * (2.0 / 10_000).squareRoot())
  }

  func testGlorotIsUniformWithItsBound() {
    XCTAssertEqual(
      filled(100) { Initialization.fillGlorotUniform($0, fanIn: 20, fanOut: 4, seed: 1, parameter: 0) },
      filled(100) { Initialization.fillUniform($0, bound: 0.5, seed: 1, parameter: 0) })
    let extreme = filled(4) { Initialization.fillGlorotUniform($0, fanIn: .max, fanOut: .max, seed: 1, parameter: 0) }
    XCTAssertTrue(extreme.allSatisfy(\.isFinite))
    XCTAssertEqual(
      filled(2) { Initialization.fillGlorotUniform($0, fanIn: 0, fanOut: 0, seed: 1, parameter: 0) }, [0, 0])
  }

  func testAnElementDoesNotDependOnHowManyThereAre() {
    for fill in [
      { Initialization.fillUniform($0, bound: 1, seed: 9, parameter: 3) },
      { Initialization.fillNormal($0, deviation: 1, seed: 9, parameter: 3) },
    ] as [(UnsafeMutableBufferPointer<Double>) -> Void] {
      XCTAssertEqual(filled(7, fill), Array(filled(100, fill).prefix(7)))
      XCTAssertEqual(filled(0, fill), [])
    }
  }

  func testSeedAndParameterChangeTheNumbers() {
    let all = [(1, 0), (2, 0), (1, 1)].map { (seed: UInt64, parameter: UInt32) in
      filled(2) { Initialization.fillUniform($0, bound: 1, seed: seed, parameter: parameter) }
    }
    XCTAssertEqual(Set(all).count, 3)
    XCTAssertNotEqual(orthogonal(3, 3, seed: 1), orthogonal(3, 3, seed: 2))
    XCTAssertNotEqual(orthogonal(3, 3, parameter: 0), orthogonal(3, 3, parameter: 1))
    XCTAssertEqual(orthogonal(3, 3), orthogonal(3, 3))
  }

  func testTheShorterSideIsOrthonormal() {
    for (rows, columns) in [
      (1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (5, 3), (33, 32), (32, 33), (64, 64), (96, 32), (13, 61),
    ] {
      let matrix = orthogonal(rows, columns)
      let isTall = rows > columns
      let count = min(rows, columns)
      for i in 0..<count {
        for j in 0...i {
          var sum = 0.0
          for k in 0..<max(rows, columns) {
            sum +=
              isTall
              ? matrix[k * columns + i] * matrix[k * columns + j] : matrix[i * columns + k] * matrix[j * columns + k]
          }
          XCTAssertEqual(sum, i == j ? 1 : 0, accuracy: 1e-12, "\(rows)x\(columns): \(i), \(j)")
        }
      }
    }
  }

  func testAMatrixWithoutElementsIsLeftAlone() {
    XCTAssertEqual(orthogonal(0, 0), [])
    XCTAssertEqual(orthogonal(0, 3), [])
    XCTAssertEqual(orthogonal(3, 0), [])
  }

  /// Under the Haar measure every element has mean 0, every square mean 1/n, and both signs of the determinant are
  /// equally likely. With the signs of a plain Householder QR the first element would always be negative.
  func testOrthogonalMatricesHaveNoPreferredDirection() {
    let count = 2_000
    var sums = [Double](repeating: 0, count: 4)
    var squares = [Double](repeating: 0, count: 4)
    var positive = 0
    for seed in 0..<count {
      let m = orthogonal(2, 2, seed: UInt64(seed))
      for index in 0..<4 {
        sums[index] += m[index]
        squares[index] += m[index] * m[index]
      }
      if m[0] * m[3] - m[1] * m[2] > 0 { positive += 1 }
    }
    let n = Double(count)
    for index in 0..<4 {
      XCTAssertEqual(sums[index] / n, 0, accuracy: 5 * (0.5 / n).squareRoot())
      // The square of a cosine of a uniform angle has variance 1/8.
      XCTAssertEqual(squares[index] / n, 0.5, accuracy: 5 * (0.125 / n).squareRoot())
    }
    XCTAssertEqual(Double(positive) / n, 0.5, accuracy: 5 * 0.5 / n.squareRoot())
    let signs = (0..<200).filter { orthogonal(1, 1, seed: UInt64($0))[0] > 0 }.count
    XCTAssertEqual(Double(signs), 100, accuracy: 5 * (50.0).squareRoot())
  }
}
