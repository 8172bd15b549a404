/// A weight matrix [outputs, depth] in the layout that the product kernel streams, with the order of its sums.
///
/// Plain memory, no ownership: whoever packs keeps `panels` and `source` alive. The layout is private to the instruction
/// set: panels of `panelWidth` outputs, each [depth, panelWidth], the last as wide as whole vectors need; for
/// ``ReductionOrder/lanes`` rows, [outputs, depth].
@frozen
public struct PackedMatrix<Scalar: KernelScalar> {
  public let outputs: Int
  public let depth: Int
  public let order: ReductionOrder
  public let panels: UnsafePointer<Scalar>
  /// The matrix as it was packed from, for OpenBLAS: element [m, k] at m · sourceOutputStride + k · sourceDepthStride.
  public let source: UnsafePointer<Scalar>
  public let sourceOutputStride: Int
  public let sourceDepthStride: Int

  /// Elements of `panels`, on any instruction set: outputs rounded up to a multiple of 64.
  public static func elementCount(outputs: Int, depth: Int) -> Int { ((outputs &+ 63) & ~63) &* depth }

  /// Packs a matrix into `panels`, which has room for `elementCount`.
  public init(
    outputs: Int, depth: Int, order: ReductionOrder? = nil, source: UnsafePointer<Scalar>, outputStride: Int,
    depthStride: Int, panels: UnsafeMutablePointer<Scalar>, panelWidth: Int = Scalar.kernels.panelWidth
  ) {
    self.outputs = outputs
    self.depth = depth
    self.order = order ?? reductionChains(depth: depth, outputs: outputs)
    self.source = source
    sourceOutputStride = outputStride
    sourceDepthStride = depthStride
    self.panels = UnsafePointer(panels)
    packPanels(
      order: self.order, outputs: outputs, depth: depth, source: source, outputStride: outputStride,
      depthStride: depthStride, panels: panels, panelWidth: panelWidth)
  }

  /// output[n, m] = start[n, m] + Σ_k input[n, k] · weight[m, k]; see ``ProductArguments``.
  @inlinable @inline(__always)
  public func multiply(
    _ kernels: borrowing KernelTable<Scalar>, rows: Int,
    input: UnsafePointer<Scalar>, inputRowStride: Int,
    start: UnsafePointer<Scalar>?, startRowStride: Int,
    output: UnsafeMutablePointer<Scalar>, outputRowStride: Int
  ) {
    let arguments = ProductArguments(
      rows: rows, depth: depth, outputs: outputs, input: input, inputRowStride: inputRowStride, weight: panels,
      start: start, startRowStride: startRowStride, output: output, outputRowStride: outputRowStride, order: order)
    if BLAS.takes(rows: rows, depth: depth, outputs: outputs) {
      var plain = arguments
      plain.weight = source
      plain.weightOutputStride = sourceOutputStride
      plain.weightDepthStride = sourceDepthStride
      if BLAS.product(plain) { return }
    }
    kernels.product(arguments)
  }
}

/// Copies a strided matrix into panels; padding columns become zero.
func packPanels<Scalar: KernelScalar>(
  order: ReductionOrder, outputs: Int, depth: Int, source: UnsafePointer<Scalar>, outputStride: Int, depthStride: Int,
  panels: UnsafeMutablePointer<Scalar>, panelWidth: Int
) {
  if order == .lanes {
    for m in 0..<outputs {
      for k in 0..<depth { panels[m &* depth &+ k] = source[m &* outputStride &+ k &* depthStride] }
    }
    return
  }
  var column = 0
  while column < outputs {
    let columns = min(panelWidth, outputs &- column)
    // The kernel reads whole vectors; a panel's vectors divide its width, so rounding up to any of them is safe.
    let vectorWidth = panelWidth % 3 == 0 ? panelWidth / 3 : panelWidth / 2
    let width = (columns &+ vectorWidth &- 1) / vectorWidth &* vectorWidth
    let panel = panels + column &* depth
    if outputStride == 1 {
      for k in 0..<depth {
        let line = panel + k &* width
        let from = source + (column &+ k &* depthStride)
        for j in 0..<columns { line[j] = from[j] }
        for j in columns..<width { line[j] = 0 }
      }
    } else {
      for j in 0..<columns {
        let from = source + (column &+ j) &* outputStride
        for k in 0..<depth { panel[k &* width &+ j] = from[k &* depthStride] }
      }
      for j in columns..<width {
        for k in 0..<depth { panel[k &* width &+ j] = 0 }
      }
    }
    column &+= panelWidth
  }
}

/// output[m, k] = Σ_r left[r, m] · right[r, k], r ascending in one chain: the gradient of a weight matrix.
///
/// - Parameter scratch: Room for ``PackedMatrix/elementCount(outputs:depth:)`` of outputs K and depth `rows`.
public func multiplyTransposed<Scalar: KernelScalar>(
  _ kernels: borrowing KernelTable<Scalar>, rows: Int,
  left: UnsafePointer<Scalar>, leftColumns: Int, leftRowStride: Int,
  right: UnsafePointer<Scalar>, rightColumns: Int, rightRowStride: Int,
  output: UnsafeMutablePointer<Scalar>, outputRowStride: Int, scratch: UnsafeMutablePointer<Scalar>
) {
  var arguments = ProductArguments(
    rows: leftColumns, depth: rows, outputs: rightColumns,
    input: left, inputRowStride: 1, inputDepthStride: leftRowStride,
    weight: right, weightOutputStride: 1, weightDepthStride: rightRowStride,
    start: nil, startRowStride: 0, output: output, outputRowStride: outputRowStride, order: .single)
  if BLAS.takes(rows: leftColumns, depth: rows, outputs: rightColumns), BLAS.product(arguments) { return }
  let packed = PackedMatrix(
    outputs: rightColumns, depth: rows, order: .single, source: right, outputStride: 1, depthStride: rightRowStride,
    panels: scratch)
  arguments.weight = packed.panels
  kernels.product(arguments)
}
