import XCTest

@testable import RNNKernels

final class ReductionTests: XCTestCase {
  /// Lane l takes the rows r ≡ l, ascending; 16 lanes (double: 8), folded in halves.
  func testColumnSumsAreFoldedInHalves() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type, lanes laneCount: Int) {
      var numbers = TestNumbers(seed: 1)
      for rows in [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 50] {
        for columns in [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 33, 64, 83, 131] {
          let stride = columns + 2
          let values: [Scalar] = numbers.array(rows * stride + 1)
          var expected = [Scalar](repeating: 77, count: columns + 3)
          for column in 0..<columns {
            var lanes = [Scalar](repeating: 0, count: laneCount)
            for row in 0..<rows { lanes[row % laneCount] += values[row * stride + column] }
            var half = laneCount / 2
            while half > 0 {
              for l in 0..<half { lanes[l] += lanes[l + half] }
              half /= 2
            }
            expected[column] = lanes[0]
          }
          for set in InstructionSet.supported {
            var sums = [Scalar](repeating: 77, count: columns + 3)
            values.withUnsafeBufferPointer { values in
              sums.withUnsafeMutableBufferPointer { sums in
                Scalar.table(of: set).columnSums(
                  ColumnSumArguments(
                    rows: rows, columns: columns, values: values.baseAddress!, valuesStride: stride, sums: sums.baseAddress!))
              }
            }
            assertSameBits(sums, expected, "\(Scalar.self) on \(set.rawValue), \(rows) rows, \(columns) columns")
          }
        }
      }
    }
    check(Float.self, lanes: 16)
    check(Double.self, lanes: 8)
  }

  private func sumOfSquares<Scalar: KernelScalar>(_ values: [Scalar], _ count: Int, _ set: InstructionSet) -> Double {
    var result = -1.0
    values.withUnsafeBufferPointer { values in
      withUnsafeMutablePointer(to: &result) {
        Scalar.table(of: set).sumOfSquares(SquareSumArguments(count: count, values: values.baseAddress!, result: $0))
      }
    }
    return result
  }

  /// In double and 8 lanes, folded in halves; the squares of the largest floats are in range.
  func testSumOfSquaresIsFoldedInHalves() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type) {
      var numbers = TestNumbers(seed: 2)
      for count in Array(0...33) + [64, 100, 257] {
        let values: [Scalar] = numbers.array(count, scale: 3) + [.nan]
        var lanes = [Double](repeating: 0, count: 8)
        for i in 0..<count {
          let value = Double(values[i])
          lanes[i % 8] += value * value
        }
        for half in [4, 2, 1] { for l in 0..<half { lanes[l] += lanes[l + half] } }
        for set in InstructionSet.supported {
          let result = sumOfSquares(values, count, set)
          XCTAssertEqual(result.bitPattern, lanes[0].bitPattern, "\(Scalar.self) on \(set.rawValue), \(count) elements")
        }
      }
    }
    check(Float.self)
    check(Double.self)
    for set in InstructionSet.supported {
      let result = sumOfSquares([Float.greatestFiniteMagnitude, 0], 2, set)
      XCTAssertEqual(result, Double(Float.greatestFiniteMagnitude) * Double(Float.greatestFiniteMagnitude))
    }
  }

  private func checkLargest<Scalar: KernelScalar>(_ type: Scalar.Type) {
    var numbers = TestNumbers(seed: 7)
    for set in InstructionSet.supported {
      let kernels = Scalar.table(of: set)
      // Around four vectors of each instruction set, the largest in every place.
      for columns in [1, 2, 7, 15, 16, 17, 33, 63, 64, 65, 130] {
        for place in 0..<columns {
          var values = (0..<columns).map { _ in Scalar(numbers.next() * 50) }
          values[place] = 60
          // What is not a number, of either sign, and infinities below are not larger.
          if columns > 2 {
            values[(place + 1) % columns] = place % 2 == 0 ? Scalar.nan : -Scalar.nan
            values[(place + 2) % columns] = -Scalar.infinity
          }
          var exponentials = values, summary: [Scalar] = [0, 0]
          kernels.softmax(
            SoftmaxArguments(
              rows: 1, columns: columns, values: values, valuesStride: columns, exponentials: &exponentials,
              exponentialsStride: columns, summaries: &summary))
          XCTAssertEqual(summary[0], 60, "\(set) \(columns) \(place)")
          XCTAssertEqual(exponentials[place], 1)
        }
      }
      let extremes: [[Scalar]] = [
        [-.infinity, -.infinity], [.infinity, 3, .infinity], [-.greatestFiniteMagnitude, .greatestFiniteMagnitude],
      ]
      for values in extremes {
        for count in [values.count, 97] {
          let row = (0..<count).map { values[$0 % values.count] }
          var exponentials = row, summary: [Scalar] = [0, 0]
          kernels.softmax(
            SoftmaxArguments(
              rows: 1, columns: count, values: row, valuesStride: count, exponentials: &exponentials, exponentialsStride: count,
              summaries: &summary))
          XCTAssertEqual(summary[0], values.max(), "\(set)")
        }
      }
    }
  }

  func testTheLargestOfARowIsFoundInAnyPlaceAndNaNIsNotIt() {
    checkLargest(Float.self)
    checkLargest(Double.self)
  }

  func testAddAddsRowsOfTheirOwnStrides() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type) {
      var numbers = TestNumbers(seed: 3)
      for columns in 1...33 {
        let (rows, valuesStride, addendStride) = (3, columns + 1, columns + 4)
        let values: [Scalar] = numbers.array(rows * valuesStride), addend: [Scalar] = numbers.array(rows * addendStride)
        var expected = values
        for row in 0..<rows {
          for j in 0..<columns { expected[row * valuesStride + j] += addend[row * addendStride + j] }
        }
        for set in InstructionSet.supported {
          var found = values
          found.withUnsafeMutableBufferPointer { found in
            addend.withUnsafeBufferPointer { addend in
              Scalar.table(of: set).add(
                AddArguments(
                  rows: rows, columns: columns, values: found.baseAddress!, valuesStride: valuesStride,
                  addend: addend.baseAddress!, addendStride: addendStride))
            }
          }
          assertSameBits(found, expected, "\(Scalar.self) on \(set.rawValue), \(columns) columns")
        }
      }
    }
    check(Float.self)
    check(Double.self)
  }
}
