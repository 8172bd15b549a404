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

  /// Products that share their left operand are what each is alone, also where their columns begin and end inside of a block, and where
  /// there are so many right columns that they are cut into groups.
  func testTransposedProductsOfOneLeftOperandAreEachAsIfAlone() {
    for (rows, width, products) in [
      (37, 60, [(0..<60, 13), (0..<40, 20), (40..<60, 20)]),
      (41, 39, [(0..<39, 5), (0..<26, 13), (26..<39, 13)]),
      (70, 24, [(0..<24, 650), (0..<24, 651)]),
      (400, 9, [(3..<8, 2000), (5..<9, 31)]),
      (20, 8, [(0..<0, 4), (0..<8, 1)]),
    ] as [(Int, Int, [(Range<Int>, Int)])] {
      checkShared(Float.self, rows, width, products)
      checkShared(Double.self, rows, width, products)
    }
  }

  private func checkShared<Scalar: KernelScalar>(
    _ type: Scalar.Type, _ rows: Int, _ width: Int, _ products: [(columns: Range<Int>, rightColumns: Int)]
  ) {
    var numbers = TestNumbers(seed: 5)
    let left: [Scalar] = numbers.array(rows * width)
    let rights: [[Scalar]] = products.map { numbers.array(rows * $0.rightColumns) }
    // Between NaN: what a product reads past its operand, or writes past its result, shows.
    let gap = 7
    func laidOut(_ arrays: [[Scalar]]) -> (memory: [Scalar], places: [Int]) {
      var memory = [Scalar](repeating: .nan, count: gap), places: [Int] = []
      for array in arrays {
        places.append(memory.count)
        memory += array + [Scalar](repeating: .nan, count: gap)
      }
      return (memory, places)
    }
    let right = laidOut(rights)
    var output = laidOut(products.map { [Scalar](repeating: .nan, count: $0.columns.count * $0.rightColumns) })
    right.memory.withUnsafeBufferPointer { memory in
      output.memory.withUnsafeMutableBufferPointer { target in
        multiplyTransposed(
          Scalar.kernels, rows: rows, left: left, leftRowStride: width,
          products.enumerated().map { index, product in
            TransposedProduct(
              leftColumns: product.columns, right: memory.baseAddress! + right.places[index], rightColumns: product.rightColumns,
              rightRowStride: product.rightColumns, output: target.baseAddress! + output.places[index],
              outputRowStride: product.rightColumns)
          })
      }
    }
    let fused = InstructionSet.current != .baseline
    let expected = laidOut(
      products.enumerated().map { index, product in
        product.columns.flatMap { m in
          (0..<product.rightColumns).map { k in
            var sum: Scalar = 0
            for r in 0..<rows {
              let (a, b) = (left[r * width + m], rights[index][r * product.rightColumns + k])
              sum = fused ? sum.addingProduct(a, b) : a * b + sum
            }
            return sum
          }
        }
      })
    assertSameBits(output.memory, expected.memory)
  }

  /// A depth of which one panel exceeds the cache is summed in chunks: the same chain.
  func testDeepProductsHaveTheBitsOfOneChain() {
    checkDeep(Float.self)
    checkDeep(Double.self)
  }

  private func checkDeep<Scalar: KernelScalar>(_ type: Scalar.Type) {
    let (rows, depth, outputs) = (11, 5003, 59)
    var numbers = TestNumbers(seed: 6)
    let weight: [Scalar] = numbers.array(outputs * depth), input: [Scalar] = numbers.array(rows * depth)
    let bias: [Scalar] = numbers.array(outputs)
    var panels = [Scalar](repeating: .nan, count: PackedMatrix<Scalar>.elementCount(outputs: outputs, depth: depth))
    var inChunks = [Scalar](repeating: .nan, count: rows * outputs), whole = inChunks
    weight.withUnsafeBufferPointer { weight in
      panels.withUnsafeMutableBufferPointer { panels in
        // Transposed, as the weights of a backward pass are.
        let packed = PackedMatrix(
          outputs: outputs, depth: depth, source: weight.baseAddress!, outputStride: 1, depthStride: outputs,
          panels: panels.baseAddress!)
        for startRowStride in [0, outputs] {
          let start: [Scalar] = startRowStride == 0 ? bias : numbers.array(rows * outputs)
          packed.multiplyOnThreads(
            Scalar.kernels, rows: rows, input: input, inputRowStride: depth, start: start, startRowStride: startRowStride,
            output: &inChunks, outputRowStride: outputs)
          packed.multiply(
            Scalar.kernels, rows: rows, input: input, inputRowStride: depth, start: start, startRowStride: startRowStride,
            output: &whole, outputRowStride: outputs)
          assertSameBits(inChunks, whole)
        }
        packed.multiplyOnThreads(
          Scalar.kernels, rows: rows, input: input, inputRowStride: depth, start: nil, startRowStride: 0, output: &inChunks,
          outputRowStride: outputs)
        packed.multiply(
          Scalar.kernels, rows: rows, input: input, inputRowStride: depth, start: nil, startRowStride: 0, output: &whole,
          outputRowStride: outputs)
        assertSameBits(inChunks, whole)
      }
    }
  }

  /// Threads pack parts of a matrix: the result is that of one.
  func testRepackingOnThreadsIsPacking() {
    let limit = ThreadPool.limit
    defer { ThreadPool.limit = limit }
    ThreadPool.limit = 3
    let (outputs, depth) = (2011, 1030)
    var numbers = TestNumbers(seed: 7)
    for isTransposed in [false, true] {
      let room = PackedMatrix<Float>.elementCount(outputs: outputs, depth: depth)
      let source = AlignedBuffer<Float>(count: outputs * depth)!, panels = AlignedBuffer<Float>(count: room)!
      let again = AlignedBuffer<Float>(count: room)!
      func pack(into target: AlignedBuffer<Float>) -> PackedMatrix<Float> {
        PackedMatrix(
          outputs: outputs, depth: depth, source: source.baseAddress, outputStride: isTransposed ? 1 : depth,
          depthStride: isTransposed ? outputs : 1, panels: target.baseAddress)
      }
      let packed = pack(into: panels)
      for i in 0..<source.count { source.baseAddress[i] = Float(numbers.next()) }
      packed.repack()
      _ = pack(into: again)
      XCTAssertEqual(Array(panels.buffer), Array(again.buffer))
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
