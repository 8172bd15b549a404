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
  ///
  /// - Parameter packsNow: false leaves it to `repack`, before the first product.
  public init(
    outputs: Int, depth: Int, order: ReductionOrder? = nil, source: UnsafePointer<Scalar>, outputStride: Int,
    depthStride: Int, panels: UnsafeMutablePointer<Scalar>, panelWidth: Int = Scalar.kernels.panelWidth, packsNow: Bool = true
  ) {
    self.outputs = outputs
    self.depth = depth
    self.order = order ?? reductionChains(depth: depth, outputs: outputs)
    self.source = source
    sourceOutputStride = outputStride
    sourceDepthStride = depthStride
    self.panels = UnsafePointer(panels)
    guard packsNow else { return }
    packPanels(
      order: self.order, outputs: outputs, depth: depth, source: source, outputStride: outputStride,
      depthStride: depthStride, panels: panels, panelWidth: panelWidth)
  }

  /// Packs again what `source` has become, on as many threads as the size deserves.
  public func repack() {
    let panelWidth = Scalar.kernels.panelWidth
    // Copying an element costs about as much as two products.
    let parts =
      order == .lanes ? 1 : ThreadPool.parts(multiplyAdds: 2 &* outputs &* depth, units: (outputs &+ panelWidth &- 1) / panelWidth)
    ThreadPool.run(parts: parts) { part in
      // Panels are one after the other: those of some outputs are a matrix of their own.
      let own = slice(of: outputs, part: part, parts: parts, unit: panelWidth)
      packPanels(
        order: order, outputs: own.count, depth: depth, source: source + own.lowerBound &* sourceOutputStride,
        outputStride: sourceOutputStride, depthStride: sourceDepthStride,
        panels: UnsafeMutablePointer(mutating: panels) + own.lowerBound &* depth, panelWidth: panelWidth)
    }
  }

  /// `multiply` on as many threads as the work deserves: each has rows of its own, so no bit changes.
  public func multiplyOnThreads(
    _ kernels: borrowing KernelTable<Scalar>, rows: Int,
    input: UnsafePointer<Scalar>, inputRowStride: Int,
    start: UnsafePointer<Scalar>?, startRowStride: Int,
    output: UnsafeMutablePointer<Scalar>, outputRowStride: Int
  ) {
    let parts = ThreadPool.parts(multiplyAdds: rows &* depth &* outputs, units: rows / 8)
    let kernels = copy kernels
    ThreadPool.run(parts: parts) { part in
      let own = slice(of: rows, part: part, parts: parts, unit: 8)
      let ownInput = input + own.lowerBound &* inputRowStride, ownOutput = output + own.lowerBound &* outputRowStride
      let ownStart = start.map { $0 + own.lowerBound &* startRowStride }
      if isDeep(kernels) {
        multiplyInChunks(
          kernels, rows: own.count, input: ownInput, inputRowStride: inputRowStride, start: ownStart, startRowStride: startRowStride,
          output: ownOutput, outputRowStride: outputRowStride)
      } else {
        multiply(
          kernels, rows: own.count, input: ownInput, inputRowStride: inputRowStride, start: ownStart, startRowStride: startRowStride,
          output: ownOutput, outputRowStride: outputRowStride)
      }
    }
  }

  /// Depth of a chunk: of one panel a part that stays in the second-level cache while all rows go over it.
  private static var chunkDepth: Int { 256 * 1024 / (48 * MemoryLayout<Scalar>.stride) }

  /// Whether one panel is larger than a second-level cache holds beside other things: every tile of rows would read it from afar.
  private func isDeep(_ kernels: borrowing KernelTable<Scalar>) -> Bool {
    order == .single && depth > 2 &* Self.chunkDepth && !BLAS.takes(rows: 1 << 20, depth: depth, outputs: outputs)
  }

  /// `multiply` panel by panel and, in a panel, by chunks of the depth. A sum goes on from where the chunk before left it in the
  /// output, which changes no bit.
  private func multiplyInChunks(
    _ kernels: borrowing KernelTable<Scalar>, rows: Int, input: UnsafePointer<Scalar>, inputRowStride: Int,
    start: UnsafePointer<Scalar>?, startRowStride: Int, output: UnsafeMutablePointer<Scalar>, outputRowStride: Int
  ) {
    let panelWidth = kernels.panelWidth, vectorWidth = kernels.vectorWidth
    let chunkCount = (depth &+ Self.chunkDepth &- 1) / Self.chunkDepth, chunk = (depth &+ chunkCount &- 1) / chunkCount
    var column = 0
    while column < outputs {
      let columns = min(panelWidth, outputs &- column)
      let lineWidth = (columns &+ vectorWidth &- 1) / vectorWidth &* vectorWidth
      var first = 0
      while first < depth {
        let target = output + column
        kernels.product(
          ProductArguments(
            rows: rows, depth: min(chunk, depth &- first), outputs: columns, input: input + first, inputRowStride: inputRowStride,
            weight: panels + (column &* depth &+ first &* lineWidth), start: first == 0 ? start.map { $0 + column } : UnsafePointer(target),
            startRowStride: first == 0 ? startRowStride : outputRowStride, output: target, outputRowStride: outputRowStride,
            order: .single))
        first &+= chunk
      }
      column &+= panelWidth
    }
  }

  /// What `multiply` tells the product kernel.
  @inlinable @inline(__always)
  public func arguments(
    rows: Int, input: UnsafePointer<Scalar>, inputRowStride: Int, start: UnsafePointer<Scalar>?, startRowStride: Int,
    output: UnsafeMutablePointer<Scalar>, outputRowStride: Int
  ) -> ProductArguments<Scalar> {
    ProductArguments(
      rows: rows, depth: depth, outputs: outputs, input: input, inputRowStride: inputRowStride, weight: panels, start: start,
      startRowStride: startRowStride, output: output, outputRowStride: outputRowStride, order: order)
  }

  /// output[n, m] = start[n, m] + Σ_k input[n, k] · weight[m, k]; see ``ProductArguments``.
  @inlinable @inline(__always)
  public func multiply(
    _ kernels: borrowing KernelTable<Scalar>, rows: Int,
    input: UnsafePointer<Scalar>, inputRowStride: Int,
    start: UnsafePointer<Scalar>?, startRowStride: Int,
    output: UnsafeMutablePointer<Scalar>, outputRowStride: Int
  ) {
    let arguments = self.arguments(
      rows: rows, input: input, inputRowStride: inputRowStride, start: start, startRowStride: startRowStride, output: output,
      outputRowStride: outputRowStride)
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
  // The kernel reads whole vectors; a panel's vectors divide its width, so rounding up to any of them is safe.
  let vectorWidth = panelWidth % 3 == 0 ? panelWidth / 3 : panelWidth / 2
  // Where the source runs along the outputs, some lines of it for all panels at a time: it is read once, from one end to the other.
  let chunk = outputStride == 1 ? 64 : max(depth, 1)
  var first = 0
  while first < depth {
    let end = min(first &+ chunk, depth)
    var column = 0
    while column < outputs {
      let columns = min(panelWidth, outputs &- column)
      let width = (columns &+ vectorWidth &- 1) / vectorWidth &* vectorWidth
      let panel = panels + column &* depth
      if outputStride == 1 {
        for k in first..<end {
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
    first = end
  }
}
