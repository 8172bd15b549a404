import XCTest

@testable import RNNKernels

/// A matrix in blocks against the same matrix in rows: everything that reads it gives the same bits.
final class GateMatrixTests: XCTestCase {
  private struct Shape {
    let rows, gates, units: Int
    var columns: Int { gates * units }
  }

  private static let shapes = [
    Shape(rows: 1, gates: 4, units: 13), Shape(rows: 7, gates: 1, units: 16), Shape(rows: 21, gates: 3, units: 33),
    Shape(rows: 401, gates: 4, units: 50), Shape(rows: 40, gates: 3, units: 1), Shape(rows: 90, gates: 4, units: 150),
  ]

  /// Calls `body` with the numbers in rows, and with blocks whose unused places are NaN.
  private func withBoth<Scalar: KernelScalar>(
    _ type: Scalar.Type, _ shape: Shape, _ body: (_ inRows: GateMatrix<Scalar>, _ inBlocks: GateMatrix<Scalar>) -> Void
  ) {
    var numbers = TestNumbers(seed: 11)
    var rows: [Scalar] = numbers.array(shape.rows * shape.columns)
    let width = GateMatrix<Scalar>.blockedWidth(gates: shape.gates, units: shape.units)
    var blocks = [Scalar](repeating: .nan, count: shape.rows * width)
    rows.withUnsafeMutableBufferPointer { rows in
      blocks.withUnsafeMutableBufferPointer { blocks in
        let inBlocks = GateMatrix(blocks.baseAddress!, units: shape.units, blocksOfRows: shape.rows)
        for row in 0..<shape.rows {
          for column in 0..<shape.columns {
            let (gate, unit) = (column / shape.units, column % shape.units)
            blocks[gate * inBlocks.layout.gateStride + inBlocks.layout.place(row: row, unit: unit)] = rows[row * shape.columns + column]
          }
        }
        body(GateMatrix(rows.baseAddress!, units: shape.units, columns: shape.columns), inBlocks)
      }
    }
  }

  func testAProductReadsBlocksAsRows() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type, _ shape: Shape, fromGate: Int, gates: Int, outputs: Int) {
      var numbers = TestNumbers(seed: 12)
      let depth = gates * shape.units
      let weight: [Scalar] = numbers.array(outputs * depth), start: [Scalar] = numbers.array(shape.rows * outputs)
      var panels = [Scalar](repeating: .nan, count: PackedMatrix<Scalar>.elementCount(outputs: outputs, depth: depth))
      panels.withUnsafeMutableBufferPointer { panels in
        let packed = PackedMatrix(
          outputs: outputs, depth: depth, order: .single, source: weight, outputStride: 1, depthStride: outputs,
          panels: panels.baseAddress!)
        withBoth(type, shape) { inRows, inBlocks in
          let results = [inRows, inBlocks].map { input in
            var result = [Scalar](repeating: .nan, count: shape.rows * outputs), without = result
            packed.multiply(
              Scalar.kernels, rows: shape.rows, input: input, fromGate: fromGate, start: start, startRowStride: outputs,
              output: &result, outputRowStride: outputs)
            packed.multiply(
              Scalar.kernels, rows: shape.rows - 1, input: input.rows(from: 1), fromGate: fromGate, start: nil, startRowStride: 0,
              output: &without, outputRowStride: outputs)
            return result + without
          }
          assertSameBits(results[0], results[1], "\(shape), \(gates) gates from \(fromGate)")
        }
      }
    }
    for shape in Self.shapes {
      for (fromGate, gates) in [(0, shape.gates), (shape.gates - 1, 1), (0, max(1, shape.gates - 1))] {
        for outputs in [5, 50] {
          check(Float.self, shape, fromGate: fromGate, gates: gates, outputs: outputs)
          check(Double.self, shape, fromGate: fromGate, gates: gates, outputs: outputs)
        }
      }
    }
  }

  /// On threads, and with panels that exceed the cache: some gates at a time.
  func testAProductOfManyRowsReadsBlocksAsRows() {
    let limit = ThreadPool.limit
    defer { ThreadPool.limit = limit }
    ThreadPool.limit = 3
    func check<Scalar: KernelScalar>(_ type: Scalar.Type, _ shape: Shape) {
      var numbers = TestNumbers(seed: 13)
      let outputs = 59
      let weight: [Scalar] = numbers.array(outputs * shape.columns), bias: [Scalar] = numbers.array(outputs)
      var panels = [Scalar](repeating: .nan, count: PackedMatrix<Scalar>.elementCount(outputs: outputs, depth: shape.columns))
      panels.withUnsafeMutableBufferPointer { panels in
        let packed = PackedMatrix(
          outputs: outputs, depth: shape.columns, source: weight, outputStride: 1, depthStride: outputs, panels: panels.baseAddress!)
        withBoth(type, shape) { inRows, inBlocks in
          for start in [nil, bias] {
            let results = [inRows, inBlocks].map { input in
              var result = [Scalar](repeating: .nan, count: shape.rows * outputs)
              packed.multiplyOnThreads(
                Scalar.kernels, rows: shape.rows, input: input, start: start, startRowStride: 0, output: &result,
                outputRowStride: outputs)
              return result
            }
            assertSameBits(results[0], results[1], "\(shape)")
          }
        }
      }
    }
    for shape in [Shape(rows: 90, gates: 4, units: 150), Shape(rows: 61, gates: 3, units: 1501)] {
      check(Float.self, shape)
      check(Double.self, shape)
    }
  }

  func testGradientsOfWeightsAndBiasesReadBlocksAsRows() {
    let limit = ThreadPool.limit
    defer { ThreadPool.limit = limit }
    func check<Scalar: KernelScalar>(_ type: Scalar.Type, _ shape: Shape) {
      var numbers = TestNumbers(seed: 14)
      let border = (shape.gates - 1) * shape.units
      let rights: [[Scalar]] = [numbers.array(shape.rows * 19), numbers.array(shape.rows * 49)]
      withBoth(type, shape) { inRows, inBlocks in
        let results = [inRows, inBlocks].map { left in
          var ofAll = [Scalar](repeating: .nan, count: shape.columns * 19), ofSome = [Scalar](repeating: .nan, count: border * 49)
          var sums = [Scalar](repeating: .nan, count: shape.columns)
          ofAll.withUnsafeMutableBufferPointer { first in
            ofSome.withUnsafeMutableBufferPointer { second in
              rights[0].withUnsafeBufferPointer { firstRight in
                rights[1].withUnsafeBufferPointer { secondRight in
                  let products = [
                    TransposedProduct(
                      leftColumns: 0..<shape.columns, right: firstRight.baseAddress!, rightColumns: 19, rightRowStride: 19,
                      output: first.baseAddress!, outputRowStride: 19),
                    TransposedProduct(
                      leftColumns: 0..<border, right: secondRight.baseAddress!, rightColumns: 49, rightRowStride: 49,
                      // An empty array has no address, and nothing is written there.
                      output: second.baseAddress ?? first.baseAddress!, outputRowStride: 49),
                  ]
                  multiplyTransposed(Scalar.kernels, rows: shape.rows, left: left, products)
                }
              }
            }
          }
          left.sumColumns(Scalar.kernels, rows: shape.rows, gates: shape.gates, into: &sums)
          return ofAll + ofSome + sums
        }
        assertSameBits(results[0], results[1], "\(shape)")
      }
    }
    for threads in [1, 3] {
      ThreadPool.limit = threads
      for shape in Self.shapes {
        check(Float.self, shape)
        check(Double.self, shape)
      }
    }
  }
}
