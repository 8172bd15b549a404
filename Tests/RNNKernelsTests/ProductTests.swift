import XCTest

@testable import RNNKernels

/// What the order of a sum is, written out for one number at a time: the judge of every product kernel.
private protocol OracleScalar: KernelScalar {
  /// result[n · outputs + m] = start[n, m] + Σ_k input[n · depth + k] · weight[m · depth + k] in the documented order.
  ///
  /// Not generic: in a debug build a generic loop takes ten times as long.
  static func product(
    rows: Int, depth: Int, outputs: Int, input: [Self], weight: [Self], start: (Int, Int) -> Self, order: ReductionOrder,
    fused: Bool
  ) -> [Self]
}

extension Float: OracleScalar {
  fileprivate static func product(
    rows: Int, depth: Int, outputs: Int, input: [Float], weight: [Float], start: (Int, Int) -> Float, order: ReductionOrder,
    fused: Bool
  ) -> [Float] {
    @inline(__always) func multiplyAdd(_ a: Float, _ b: Float, _ c: Float) -> Float {
      fused ? c.addingProduct(a, b) : a * b + c
    }
    var result: [Float] = []
    for n in 0..<rows {
      for m in 0..<outputs {
        switch order {
        case .single:
          var sum = start(n, m)
          for k in 0..<depth { sum = multiplyAdd(input[n * depth + k], weight[m * depth + k], sum) }
          result.append(sum)
        case .double:
          var even = start(n, m), odd: Float = 0
          for k in 0..<depth {
            let (x, w) = (input[n * depth + k], weight[m * depth + k])
            if k % 2 == 0 { even = multiplyAdd(x, w, even) } else { odd = multiplyAdd(x, w, odd) }
          }
          result.append(even + odd)
        case .lanes:
          var lanes = [Float](repeating: 0, count: 16)
          for k in 0..<depth {
            lanes[k % 16] = multiplyAdd(input[n * depth + k], weight[m * depth + k], lanes[k % 16])
          }
          for half in [8, 4, 2, 1] { for l in 0..<half { lanes[l] += lanes[l + half] } }
          result.append(start(n, m) + lanes[0])
        }
      }
    }
    return result
  }
}

extension Double: OracleScalar {
  fileprivate static func product(
    rows: Int, depth: Int, outputs: Int, input: [Double], weight: [Double], start: (Int, Int) -> Double,
    order: ReductionOrder, fused: Bool
  ) -> [Double] {
    @inline(__always) func multiplyAdd(_ a: Double, _ b: Double, _ c: Double) -> Double {
      fused ? c.addingProduct(a, b) : a * b + c
    }
    var result: [Double] = []
    for n in 0..<rows {
      for m in 0..<outputs {
        switch order {
        case .single:
          var sum = start(n, m)
          for k in 0..<depth { sum = multiplyAdd(input[n * depth + k], weight[m * depth + k], sum) }
          result.append(sum)
        case .double:
          var even = start(n, m), odd: Double = 0
          for k in 0..<depth {
            let (x, w) = (input[n * depth + k], weight[m * depth + k])
            if k % 2 == 0 { even = multiplyAdd(x, w, even) } else { odd = multiplyAdd(x, w, odd) }
          }
          result.append(even + odd)
        case .lanes:
          var lanes = [Double](repeating: 0, count: 8)
          for k in 0..<depth {
            lanes[k % 8] = multiplyAdd(input[n * depth + k], weight[m * depth + k], lanes[k % 8])
          }
          for half in [4, 2, 1] { for l in 0..<half { lanes[l] += lanes[l + half] } }
          result.append(start(n, m) + lanes[0])
        }
      }
    }
    return result
  }
}

final class ProductTests: XCTestCase {
  /// Around the heights of the register tiles (8, 4, 2, 1) and their sums.
  private let rowCounts = [1, 2, 3, 4, 5, 6, 7, 8, 9, 17]
  /// Around the lanes (8 and 16), the limit of the two chains (64), even and odd.
  private let depths = [0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 130]
  /// Around every vector width and panel width (8 to 48), the limits of lanes (4) and of two chains (64).
  private let outputCounts = [1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65, 100]

  func testPackedAndPlainProductsAreTheDocumentedSumsInFloat() { checkProducts(Float.self) }
  func testPackedAndPlainProductsAreTheDocumentedSumsInDouble() { checkProducts(Double.self) }

  /// Every order with every size, also those that `reductionChains` would not choose for it.
  private func checkProducts<Scalar: OracleScalar>(_ type: Scalar.Type) {
    let (mostRows, mostOutputs) = (17, 100)
    for depth in depths {
      var numbers = TestNumbers(seed: UInt64(depth))
      let input: [Scalar] = numbers.array(mostRows * depth)
      let weight: [Scalar] = numbers.array(mostOutputs * depth)
      let bias: [Scalar] = numbers.array(mostOutputs)
      let matrix: [Scalar] = numbers.array(mostRows * mostOutputs)
      for order in [ReductionOrder.single, .double, .lanes] {
        for (start, value) in [
          (Start.none, { (_, _) in 0 }), (.bias, { (_, m) in bias[m] }), (.matrix, { (n, m) in matrix[n * mostOutputs + m] }),
          (.inPlace, { (n, m) in matrix[n * mostOutputs + m] }),
        ] as [(Start, (Int, Int) -> Scalar)] {
          var expected: [Bool: [Scalar]] = [:]
          for set in InstructionSet.supported {
            let fused = set != .baseline
            if expected[fused] == nil {
              expected[fused] = Scalar.product(
                rows: mostRows, depth: depth, outputs: mostOutputs, input: input, weight: weight, start: value, order: order,
                fused: fused)
            }
            let check = ProductCheck(
              set: set, depth: depth, order: order, start: start, input: input, weight: weight, bias: bias, matrix: matrix,
              matrixColumns: mostOutputs, expected: expected[fused]!)
            for outputs in outputCounts {
              for rows in rowCounts { check.run(rows: rows, outputs: outputs) }
            }
          }
        }
      }
    }
  }
}

private enum Start: String { case none, bias, matrix, inPlace }

/// One depth, order and start on one instruction set: runs products of any size and compares every bit.
private struct ProductCheck<Scalar: OracleScalar> {
  let set: InstructionSet
  let depth: Int
  let order: ReductionOrder
  let start: Start
  /// [rows, depth], [outputs, depth], [outputs], [rows, matrixColumns].
  let input, weight, bias, matrix: [Scalar]
  let matrixColumns: Int
  /// [rows, matrixColumns].
  let expected: [Scalar]

  func run(rows: Int, outputs: Int) {
    let kernels = Scalar.table(of: set)
    var panels = [Scalar](repeating: .nan, count: PackedMatrix<Scalar>.elementCount(outputs: outputs, depth: depth) + 1)
    weight.withUnsafeBufferPointer { weight in
      panels.withUnsafeMutableBufferPointer { panels in
        let packed = PackedMatrix(
          outputs: outputs, depth: depth, order: order, source: weight.baseAddress!, outputStride: depth, depthStride: 1,
          panels: panels.baseAddress!, panelWidth: kernels.panelWidth)
        // The depth stride of the input is 1 for most calls; that of a weight gradient is not.
        for inputStride in rows == 5 ? [1, 3] : [1] {
          product(rows, outputs, inputStride, "packed") { arguments in
            arguments.weight = packed.panels
            kernels.product(arguments)
          }
          product(rows, outputs, inputStride, "plain") { arguments in
            arguments.weight = weight.baseAddress!
            arguments.weightOutputStride = depth
            arguments.weightDepthStride = 1
            kernels.plainProduct(arguments)
          }
        }
      }
    }
    if rows == 3 { plainTransposed(kernels, rows, outputs) }
  }

  /// The plain product of a weight that lies the other way round, as gradients need it.
  private func plainTransposed(_ kernels: KernelTable<Scalar>, _ rows: Int, _ outputs: Int) {
    var transposed = [Scalar](repeating: .nan, count: max(1, depth * outputs))
    for m in 0..<outputs { for k in 0..<depth { transposed[k * outputs + m] = weight[m * depth + k] } }
    transposed.withUnsafeBufferPointer { transposed in
      product(rows, outputs, 1, "plain transposed") { arguments in
        arguments.weight = transposed.baseAddress!
        arguments.weightOutputStride = 1
        arguments.weightDepthStride = outputs
        kernels.plainProduct(arguments)
      }
    }
  }

  /// Lays out input and output with gaps between the rows: NaN, which would spoil what reads it, and a guard value, which
  /// must survive.
  private func product(
    _ rows: Int, _ outputs: Int, _ inputStride: Int, _ what: String, _ body: (inout ProductArguments<Scalar>) -> Void
  ) {
    let guardValue: Scalar = 12345
    let inputRowStride = depth * inputStride + 2, outputStride = outputs + 3
    var spread = [Scalar](repeating: .nan, count: rows * inputRowStride + 1)
    var output = [Scalar](repeating: guardValue, count: (rows + 1) * outputStride)
    input.withUnsafeBufferPointer { input in
      spread.withUnsafeMutableBufferPointer { spread in
        for n in 0..<rows {
          let line = spread.baseAddress! + n * inputRowStride
          if inputStride == 1 {
            line.update(from: input.baseAddress! + n * depth, count: depth)
          } else {
            for k in 0..<depth { line[k * inputStride] = input[n * depth + k] }
          }
        }
      }
    }
    if start == .inPlace {
      for n in 0..<rows {
        output.replaceSubrange(n * outputStride..<n * outputStride + outputs, with: matrix[n * matrixColumns..<n * matrixColumns + outputs])
      }
    }
    let isRight = spread.withUnsafeBufferPointer { spread in
      output.withUnsafeMutableBufferPointer { output in
        bias.withUnsafeBufferPointer { bias in
          matrix.withUnsafeBufferPointer { matrix in
            var arguments = ProductArguments(
              rows: rows, depth: depth, outputs: outputs, input: spread.baseAddress!, inputRowStride: inputRowStride,
              inputDepthStride: inputStride, weight: spread.baseAddress!, start: nil, startRowStride: 0,
              output: output.baseAddress!, outputRowStride: outputStride, order: order)
            switch start {
            case .none: break
            case .bias: arguments.start = bias.baseAddress!
            case .matrix: (arguments.start, arguments.startRowStride) = (matrix.baseAddress!, matrixColumns)
            case .inPlace:
              (arguments.start, arguments.startRowStride) = (UnsafePointer(output.baseAddress!), outputStride)
            }
            body(&arguments)
          }
        }
        return isExpected(output, rows, outputs, outputStride, guardValue)
      }
    }
    guard !isRight else { return }
    XCTFail(
      "\(what) \(Scalar.self) product on \(set.rawValue): \(rows) rows, depth \(depth) (stride \(inputStride)), \(outputs) outputs, "
        + "order \(order), start \(start)")
  }

  private func isExpected(
    _ output: UnsafeMutableBufferPointer<Scalar>, _ rows: Int, _ outputs: Int, _ stride: Int, _ guardValue: Scalar
  ) -> Bool {
    expected.withUnsafeBufferPointer { expected in
      for n in 0..<rows {
        let line = output.baseAddress! + n * stride
        let size = outputs * MemoryLayout<Scalar>.stride
        guard memcmp(line, expected.baseAddress! + n * matrixColumns, size) == 0 else { return false }
        for gap in outputs..<stride where line[gap] != guardValue { return false }
      }
      for i in rows * stride..<output.count where output[i] != guardValue { return false }
      return true
    }
  }
}
