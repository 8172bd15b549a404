import XCTest

@testable import RNNKernels

final class PackedMatrixTests: XCTestCase {
  func testPackingKeepsEveryElementAndPadsWithZeros() {
    check(Float.self)
    check(Double.self)
  }

  /// Reads the panels back by their documented layout: `panelWidth` outputs side by side, the last panel in whole vectors.
  private func check<Scalar: KernelScalar>(_ type: Scalar.Type) {
    for set in InstructionSet.supported {
      let kernels = Scalar.table(of: set)
      for outputs in [1, 2, 7, 8, 9, 15, 16, 17, 23, 24, 25, 47, 48, 49, 65, 100] {
        for depth in [1, 2, 5, 33] {
          for isTransposed in [false, true] {
            var numbers = TestNumbers(seed: UInt64(outputs * 1000 + depth))
            let source: [Scalar] = numbers.array(outputs * depth)
            let (outputStride, depthStride) = isTransposed ? (1, outputs) : (depth, 1)
            let room = PackedMatrix<Scalar>.elementCount(outputs: outputs, depth: depth)
            var panels = [Scalar](repeating: .nan, count: room + 8)
            let message = "\(set.rawValue), \(outputs) outputs, depth \(depth), transposed: \(isTransposed)"
            source.withUnsafeBufferPointer { source in
              panels.withUnsafeMutableBufferPointer { panels in
                _ = PackedMatrix(
                  outputs: outputs, depth: depth, order: .single, source: source.baseAddress!, outputStride: outputStride,
                  depthStride: depthStride, panels: panels.baseAddress!, panelWidth: kernels.panelWidth)
              }
            }
            XCTAssertTrue(panels[room...].allSatisfy(\.isNaN), "wrote past its room: \(message)")
            let vector = kernels.panelWidth % 3 == 0 ? kernels.panelWidth / 3 : kernels.panelWidth / 2
            for first in stride(from: 0, to: outputs, by: kernels.panelWidth) {
              let columns = min(kernels.panelWidth, outputs - first)
              let width = (columns + vector - 1) / vector * vector
              for k in 0..<depth {
                for j in 0..<width {
                  let expected = j < columns ? source[(first + j) * outputStride + k * depthStride] : 0
                  XCTAssertEqual(panels[first * depth + k * width + j], expected, message)
                }
              }
            }
          }
        }
      }
    }
  }

  func testLanesArePackedAsRows() {
    var numbers = TestNumbers(seed: 1)
    let source: [Float] = numbers.array(3 * 20)
    // Lies transposed: [20, 3].
    var panels = [Float](repeating: .nan, count: PackedMatrix<Float>.elementCount(outputs: 3, depth: 20))
    source.withUnsafeBufferPointer { source in
      panels.withUnsafeMutableBufferPointer { panels in
        let packed = PackedMatrix(
          outputs: 3, depth: 20, source: source.baseAddress!, outputStride: 1, depthStride: 3, panels: panels.baseAddress!)
        XCTAssertEqual(packed.order, .lanes)
      }
    }
    for m in 0..<3 { for k in 0..<20 { XCTAssertEqual(panels[m * 20 + k], source[k * 3 + m]) } }
  }

  /// The gradient of a weight: Σ_r left[r, m] · right[r, k], r ascending: also over the borders of the chunks in which it is
  /// computed, and of blocks and tiles.
  func testMultiplyTransposedSumsOverRowsInTheirOrder() {
    for (rows, leftColumns, rightColumns) in [
      (37, 5, 19), (0, 3, 4), (1, 1, 1), (513, 17, 49), (1030, 16, 1), (700, 33, 97), (130, 40, 2500), (64, 8, 48),
    ] {
      checkTransposed(Float.self, rows, leftColumns, rightColumns)
      checkTransposed(Double.self, rows, leftColumns, rightColumns)
    }
  }

  private func checkTransposed<Scalar: KernelScalar>(
    _ type: Scalar.Type, _ rows: Int, _ leftColumns: Int, _ rightColumns: Int
  ) {
    var numbers = TestNumbers(seed: 3)
    let left: [Scalar] = numbers.array(rows * (leftColumns + 2)), right: [Scalar] = numbers.array(rows * rightColumns)
    let stride = rightColumns + 3
    var found = [Scalar](repeating: 7, count: leftColumns * stride)
    found.withUnsafeMutableBufferPointer { found in
      right.withUnsafeBufferPointer { right in
        // An empty array has no address.
        guard let right = right.baseAddress ?? UnsafePointer(bitPattern: 64), let output = found.baseAddress else { return }
        multiplyTransposed(
          Scalar.kernels, rows: rows, left: left, leftRowStride: leftColumns + 2,
          [
            TransposedProduct(
              leftColumns: 0..<leftColumns, right: right, rightColumns: rightColumns, rightRowStride: rightColumns, output: output,
              outputRowStride: stride)
          ])
      }
    }
    var expected = [Scalar](repeating: 7, count: leftColumns * stride)
    for m in 0..<leftColumns {
      for k in 0..<rightColumns {
        var sum: Scalar = 0
        for r in 0..<rows {
          let (a, b) = (left[r * (leftColumns + 2) + m], right[r * rightColumns + k])
          sum = InstructionSet.current == .baseline ? a * b + sum : sum.addingProduct(a, b)
        }
        expected[m * stride + k] = sum
      }
    }
    assertSameBits(found, expected)
  }
}
