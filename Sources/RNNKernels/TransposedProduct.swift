/// output[m, k] = Σ_r left[r, m] · right[r, k], r ascending in one chain: the gradient of a weight matrix. On as many threads
/// as the work deserves, each with outputs of its own.
///
/// Both operands run along the rows, the wrong way for a register tile. So the sum goes in chunks of rows: a chunk of `right`
/// becomes panels that stay in the second-level cache, and 16 columns of a chunk of `left` (a cache line of each row) become two
/// blocks in the first-level cache. The chain of a sum goes through the memory of the output between chunks, which changes no
/// bit.
///
/// - Parameter scratch: Room for ``transposedProductScratch(rows:rightColumns:)`` elements.
public func multiplyTransposed<Scalar: KernelScalar>(
  _ kernels: borrowing KernelTable<Scalar>, rows: Int,
  left: UnsafePointer<Scalar>, leftColumns: Int, leftRowStride: Int,
  right: UnsafePointer<Scalar>, rightColumns: Int, rightRowStride: Int,
  output: UnsafeMutablePointer<Scalar>, outputRowStride: Int, scratch: UnsafeMutablePointer<Scalar>
) {
  let plain = ProductArguments(
    rows: leftColumns, depth: rows, outputs: rightColumns,
    input: left, inputRowStride: 1, inputDepthStride: leftRowStride,
    weight: right, weightOutputStride: 1, weightDepthStride: rightRowStride,
    start: nil, startRowStride: 0, output: output, outputRowStride: outputRowStride, order: .single)
  if BLAS.takes(rows: leftColumns, depth: rows, outputs: rightColumns), BLAS.product(plain) { return }
  guard rows > 0 else {
    for m in 0..<leftColumns { (output + m &* outputRowStride).update(repeating: 0, count: rightColumns) }
    return
  }
  let kernels = copy kernels
  let panelWidth = kernels.panelWidth
  let work = leftColumns &* rows &* rightColumns
  let blockWidth = transposedBlockWidth
  let packingParts = ThreadPool.parts(multiplyAdds: work, units: (rightColumns &+ panelWidth &- 1) / panelWidth)
  let parts = ThreadPool.parts(multiplyAdds: work, units: (leftColumns &+ blockWidth &- 1) / blockWidth)
  let chunk = transposedChunk(Scalar.self, rightColumns: rightColumns)
  var first = 0
  while first < rows {
    let depth = min(chunk, rows &- first), isFirst = first == 0
    let chunkLeft = left + first &* leftRowStride, chunkRight = right + first &* rightRowStride
    ThreadPool.run(parts: packingParts) { part in
      // Panels are one after the other: those of some columns are a matrix of their own.
      let own = slice(of: rightColumns, part: part, parts: packingParts, unit: panelWidth)
      packPanels(
        order: .single, outputs: own.count, depth: depth, source: chunkRight + own.lowerBound, outputStride: 1,
        depthStride: rightRowStride, panels: scratch + own.lowerBound &* depth, panelWidth: panelWidth)
    }
    ThreadPool.run(parts: parts) { part in
      let own = slice(of: leftColumns, part: part, parts: parts, unit: blockWidth)
      withUnsafeTemporaryAllocation(of: Scalar.self, capacity: blockWidth &* depth) { memory in
        // capacity above 0: there is an address.
        guard let block = memory.baseAddress else { return }
        var m = own.lowerBound
        while m < own.upperBound {
          let columns = min(blockWidth, own.upperBound &- m)
          packBlocks(chunkLeft + m, columns: columns, rowStride: leftRowStride, depth: depth, into: block)
          var arguments = ProductArguments(
            rows: 0, depth: depth, outputs: rightColumns, input: UnsafePointer(block), inputRowStride: 1,
            inputDepthStride: tileRows, weight: UnsafePointer(scratch), start: nil, startRowStride: outputRowStride,
            output: output, outputRowStride: outputRowStride, order: .single)
          var c = 0
          while c < columns {
            arguments.rows = min(tileRows, columns &- c)
            arguments.input = UnsafePointer(block) + c &* depth
            arguments.output = output + (m &+ c) &* outputRowStride
            arguments.start = isFirst ? nil : UnsafePointer(arguments.output)
            kernels.product(arguments)
            c &+= tileRows
          }
          m &+= blockWidth
        }
      }
    }
    first &+= depth
  }
}

/// Elements of scratch memory that `multiplyTransposed` needs: a chunk of the right operand in panels.
public func transposedProductScratch<Scalar: KernelScalar>(
  _ type: Scalar.Type, rows: Int, rightColumns: Int
) -> Int {
  PackedMatrix<Scalar>.elementCount(
    outputs: rightColumns, depth: min(rows, transposedChunk(type, rightColumns: rightColumns)))
}

/// Rows of the largest register tile of any instruction set.
private let tileRows = 8
/// Columns of `left` that are packed together: a cache line of floats.
private let transposedBlockWidth = 2 * tileRows

/// Rows of a chunk: half a megabyte of panels, which a second-level cache holds, and blocks that the first-level cache holds.
private func transposedChunk<Scalar>(_ type: Scalar.Type, rightColumns: Int) -> Int {
  let elements = 512 * 1024 / MemoryLayout<Scalar>.stride
  return min(max(elements / max(rightColumns, 1), 64), 512)
}

/// `tileRows` elements: a few vectors, where `update(from:count:)` would call memmove.
@inline(__always)
private func copyTileRow<Scalar>(_ source: UnsafePointer<Scalar>, to target: UnsafeMutablePointer<Scalar>) {
  let from = UnsafeRawPointer(source), to = UnsafeMutableRawPointer(target)
  var byte = 0
  while byte < tileRows &* MemoryLayout<Scalar>.stride {
    to.storeBytes(of: from.loadUnaligned(fromByteOffset: byte, as: SIMD4<UInt32>.self), toByteOffset: byte, as: SIMD4<UInt32>.self)
    byte &+= MemoryLayout<SIMD4<UInt32>>.size
  }
}

/// Columns of [depth, ..] as blocks of `tileRows` of them, each [depth, tileRows]; missing columns are left as they are.
private func packBlocks<Scalar>(
  _ source: UnsafePointer<Scalar>, columns: Int, rowStride: Int, depth: Int, into target: UnsafeMutablePointer<Scalar>
) {
  if columns == transposedBlockWidth {
    let second = target + tileRows &* depth
    for k in 0..<depth {
      let line = source + k &* rowStride
      copyTileRow(line, to: target + k &* tileRows)
      copyTileRow(line + tileRows, to: second + k &* tileRows)
    }
    return
  }
  for k in 0..<depth {
    let line = source + k &* rowStride
    for c in 0..<columns { target[(c / tileRows) &* tileRows &* depth &+ k &* tileRows &+ c % tileRows] = line[c] }
  }
}
