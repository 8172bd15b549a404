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
      multiplyRows(
        kernels, rows: own.count, input: input + own.lowerBound &* inputRowStride, inputRowStride: inputRowStride,
        start: start.map { $0 + own.lowerBound &* startRowStride }, startRowStride: startRowStride,
        output: output + own.lowerBound &* outputRowStride, outputRowStride: outputRowStride)
    }
  }

  /// `multiply` for many rows, on this thread.
  public func multiplyRows(
    _ kernels: borrowing KernelTable<Scalar>, rows: Int,
    input: UnsafePointer<Scalar>, inputRowStride: Int,
    start: UnsafePointer<Scalar>?, startRowStride: Int,
    output: UnsafeMutablePointer<Scalar>, outputRowStride: Int
  ) {
    if isDeep(kernels) {
      multiplyInChunks(
        kernels, rows: rows, input: input, inputRowStride: inputRowStride, start: start, startRowStride: startRowStride,
        output: output, outputRowStride: outputRowStride)
    } else {
      multiply(
        kernels, rows: rows, input: input, inputRowStride: inputRowStride, start: start, startRowStride: startRowStride,
        output: output, outputRowStride: outputRowStride)
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
        for k in first..<end { copyLine(source + (column &+ k &* depthStride), to: panel + k &* width, count: columns) }
      } else {
        transpose(
          source + column &* outputStride, rows: columns, rowStride: outputStride, columns: depth, columnStride: depthStride,
          to: panel, targetStride: width)
      }
      if columns < width {
        for k in first..<end { (panel + (k &* width &+ columns)).update(repeating: 0, count: width &- columns) }
      }
      column &+= panelWidth
    }
    first = end
  }
}

/// A line of a panel: a few vectors, where `update(from:count:)` would call memmove.
@inline(__always)
private func copyLine<Scalar: KernelScalar>(_ source: UnsafePointer<Scalar>, to target: UnsafeMutablePointer<Scalar>, count: Int) {
  let from = UnsafeRawPointer(source), to = UnsafeMutableRawPointer(target)
  let bytes = count &* MemoryLayout<Scalar>.stride
  var byte = 0
  while byte &+ 64 <= bytes {
    to.storeBytes(of: from.loadUnaligned(fromByteOffset: byte, as: SIMD16<UInt32>.self), toByteOffset: byte, as: SIMD16<UInt32>.self)
    byte &+= 64
  }
  var i = byte / MemoryLayout<Scalar>.stride
  while i < count {
    target[i] = source[i]
    i &+= 1
  }
}

/// target[c, r] = source[r, c], a strip of rows at a time: along it the rows are read as streams, and what is written are whole cache
/// lines.
private func transpose<Scalar: KernelScalar>(
  _ source: UnsafePointer<Scalar>, rows: Int, rowStride: Int, columns: Int, columnStride: Int, to target: UnsafeMutablePointer<Scalar>,
  targetStride: Int
) {
  let size = MemoryLayout<Scalar>.stride
  let side = 16 / size, stripHeight = 64 / size
  let wholeRows = columnStride == 1 ? rows / side &* side : 0
  let wholeColumns = columns / side &* side
  var first = 0
  while first < wholeRows {
    let end = min(first &+ stripHeight, wholeRows)
    var column = 0
    while column < wholeColumns {
      var row = first
      while row < end {
        let from = UnsafeRawPointer(source + (row &* rowStride &+ column))
        let to = UnsafeMutableRawPointer(target + (column &* targetStride &+ row))
        if size == 4 {
          transposeFour(from, rowBytes: rowStride &* size, to: to, targetBytes: targetStride &* size)
        } else {
          transposeTwo(from, rowBytes: rowStride &* size, to: to, targetBytes: targetStride &* size)
        }
        row &+= side
      }
      column &+= side
    }
    first = end
  }
  // What is left over below, and to the right of the blocks.
  for row in 0..<rows {
    for column in (row < wholeRows ? wholeColumns : 0)..<columns {
      target[column &* targetStride &+ row] = source[row &* rowStride &+ column &* columnStride]
    }
  }
}

/// A square of 4 × 4 words.
@inline(__always)
private func transposeFour(_ source: UnsafeRawPointer, rowBytes: Int, to target: UnsafeMutableRawPointer, targetBytes: Int) {
  typealias Word = SIMD4<UInt32>
  let a = source.loadUnaligned(as: Word.self), b = (source + rowBytes).loadUnaligned(as: Word.self)
  let c = (source + 2 &* rowBytes).loadUnaligned(as: Word.self), d = (source + 3 &* rowBytes).loadUnaligned(as: Word.self)
  target.storeBytes(of: Word(a.x, b.x, c.x, d.x), as: Word.self)
  (target + targetBytes).storeBytes(of: Word(a.y, b.y, c.y, d.y), as: Word.self)
  (target + 2 &* targetBytes).storeBytes(of: Word(a.z, b.z, c.z, d.z), as: Word.self)
  (target + 3 &* targetBytes).storeBytes(of: Word(a.w, b.w, c.w, d.w), as: Word.self)
}

/// A square of 2 × 2 double words.
@inline(__always)
private func transposeTwo(_ source: UnsafeRawPointer, rowBytes: Int, to target: UnsafeMutableRawPointer, targetBytes: Int) {
  typealias Word = SIMD2<UInt64>
  let a = source.loadUnaligned(as: Word.self), b = (source + rowBytes).loadUnaligned(as: Word.self)
  target.storeBytes(of: Word(a.x, b.x), as: Word.self)
  (target + targetBytes).storeBytes(of: Word(a.y, b.y), as: Word.self)
}
