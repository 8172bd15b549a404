/// One of the products that share a left operand: output[m, k] = Σ_r left[r, m] · right[r, k].
public struct TransposedProduct<Scalar: KernelScalar> {
  /// m: columns of the left operand.
  public var leftColumns: Range<Int>
  /// [rows, columns].
  public var right: UnsafePointer<Scalar>
  public var rightColumns, rightRowStride: Int
  /// [leftColumns.count, columns].
  public var output: UnsafeMutablePointer<Scalar>
  public var outputRowStride: Int

  public init(
    leftColumns: Range<Int>, right: UnsafePointer<Scalar>, rightColumns: Int, rightRowStride: Int,
    output: UnsafeMutablePointer<Scalar>, outputRowStride: Int
  ) {
    self.leftColumns = leftColumns
    self.right = right
    self.rightColumns = rightColumns
    self.rightRowStride = rightRowStride
    self.output = output
    self.outputRowStride = outputRowStride
  }
}

/// output[m, k] = Σ_r left[r, m] · right[r, k], r ascending in one chain: the gradients of one or more weight matrices. On as many
/// threads as the work deserves, each with outputs of its own.
///
/// Both operands run along the rows, the wrong way for a register tile. So the sum goes in chunks of rows: of a chunk of `left`, 16
/// columns (a cache line of each row) become two blocks in the first-level cache, once for several products; a chunk of the right
/// operands, of so many columns that it stays in the second-level cache, is read where it lies. The chain of a sum goes through the
/// memory of the output between chunks, which changes no bit.
///
/// A left operand in blocks (``GateLayout``) is what the kernel reads, and is not packed.
public func multiplyTransposed<Scalar: KernelScalar>(
  _ kernels: borrowing KernelTable<Scalar>, rows: Int, left: GateMatrix<Scalar>, _ products: [TransposedProduct<Scalar>]
) {
  let all = products.filter { !multiplyTransposedByBLAS(rows: rows, left: left, $0) }
  guard rows > 0 else {
    for product in all {
      for m in 0..<product.leftColumns.count {
        (product.output + m &* product.outputRowStride).update(repeating: 0, count: product.rightColumns)
      }
    }
    return
  }
  for group in columnGroups(all, unit: kernels.panelWidth) {
    addProducts(kernels, rows: rows, left: left, group)
  }
}

/// The same of a left operand in rows.
public func multiplyTransposed<Scalar: KernelScalar>(
  _ kernels: borrowing KernelTable<Scalar>, rows: Int, left: UnsafePointer<Scalar>, leftRowStride: Int,
  _ products: [TransposedProduct<Scalar>]
) {
  let left = GateMatrix(UnsafeMutablePointer(mutating: left), units: leftRowStride, columns: leftRowStride)
  multiplyTransposed(kernels, rows: rows, left: left, products)
}

private func addProducts<Scalar: KernelScalar>(
  _ kernels: borrowing KernelTable<Scalar>, rows: Int, left: GateMatrix<Scalar>, _ own: [TransposedProduct<Scalar>]
) {
  // Between two borders every product has all columns or none.
  let borders = Set(own.flatMap { [$0.leftColumns.lowerBound, $0.leftColumns.upperBound] }).sorted()
  var blocks: [Range<Int>] = []
  for (begin, end) in zip(borders, borders.dropFirst()) where own.contains(where: { $0.leftColumns.contains(begin) }) {
    var first = begin
    while first < end {
      let next = min(left.blockEnd(after: first), end)
      blocks.append(first..<next)
      first = next
    }
  }
  let work = own.reduce(0) { $0 &+ $1.leftColumns.count &* $1.rightColumns &* rows }
  let parts = ThreadPool.parts(multiplyAdds: work, units: blocks.count)
  let chunk = transposedChunk(Scalar.self, rows: rows, rightColumns: own.reduce(0) { $0 &+ $1.rightColumns })
  let kernels = copy kernels
  let isBlocked = left.layout.isBlocked, leftRowStride = left.layout.rowStride
  let blockWidth = WeightGradientArguments<Scalar>.blockWidth
  ThreadPool.run(parts: parts) { part in
    withUnsafeTemporaryAllocation(of: Scalar.self, capacity: isBlocked ? 1 : packedWidth &* chunk) { memory in
      // capacity above 0: there is an address.
      guard let packed = memory.baseAddress else { return }
      var first = 0
      while first < rows {
        let depth = min(chunk, rows &- first)
        for index in slice(of: blocks.count, part: part, parts: parts, unit: 1) {
          let columns = blocks[index]
          let source = left.address(column: columns.lowerBound) + first &* leftRowStride
          var block = LeftBlock(first: source, second: source + blockWidth, rowStride: leftRowStride)
          if !isBlocked {
            packBlocks(source, columns: columns.count, rowStride: leftRowStride, depth: depth, into: packed)
            block = LeftBlock(
              first: UnsafePointer(packed), second: UnsafePointer(packed + blockWidth &* depth), rowStride: blockWidth)
          }
          for product in own where product.leftColumns.contains(columns.lowerBound) {
            addBlock(kernels, product, columns, block, rows: first..<first &+ depth, of: rows)
          }
        }
        first &+= depth
      }
    }
  }
}

/// `packedWidth` columns of `left` as the kernel takes them, in two halves.
private struct LeftBlock<Scalar> {
  var first, second: UnsafePointer<Scalar>
  var rowStride: Int
}

/// Columns of `left` that are packed together: a cache line of floats.
private var packedWidth: Int { GateLayout.blockWidth }

/// What of the right operands a second-level cache holds.
private let chunkBytes = 640 * 1024
/// Rows of a chunk at most: two blocks of them are half of a first-level cache.
private let mostRows = 384

/// Rows of a chunk, all of about the same size.
private func transposedChunk<Scalar>(_ type: Scalar.Type, rows: Int, rightColumns: Int) -> Int {
  let most = min(max(chunkBytes / MemoryLayout<Scalar>.stride / max(rightColumns, 1), 64), mostRows)
  let count = (rows &+ most &- 1) / most
  return (rows &+ count &- 1) / count
}

/// The products, cut into groups of right columns of which whole chunks fit the cache: every sum goes through the memory of its output
/// once for each chunk, so that short chunks would be all traffic.
///
/// - Parameter unit: Cuts are at multiples of it.
private func columnGroups<Scalar: KernelScalar>(
  _ products: [TransposedProduct<Scalar>], unit: Int
) -> [[TransposedProduct<Scalar>]] {
  let total = products.reduce(0) { $0 &+ $1.rightColumns }
  let most = chunkBytes / MemoryLayout<Scalar>.stride / mostRows
  let count = (total &+ most &- 1) / most
  guard count > 1 else { return products.isEmpty ? [] : [products] }
  let width = ((total &+ count &- 1) / count &+ unit &- 1) / unit &* unit
  var groups: [[TransposedProduct<Scalar>]] = [[]]
  var room = width
  for product in products {
    var first = 0
    while first < product.rightColumns {
      let left = product.rightColumns &- first
      let columns = left <= room ? left : room / unit &* unit
      if columns > 0 {
        var part = product
        part.right += first
        part.rightColumns = columns
        part.output += first
        groups[groups.count - 1].append(part)
      }
      first &+= columns
      room &-= columns
      if first < product.rightColumns {
        groups.append([])
        room = width
      }
    }
  }
  return groups
}

private func addBlock<Scalar: KernelScalar>(
  _ kernels: KernelTable<Scalar>, _ product: TransposedProduct<Scalar>, _ columns: Range<Int>, _ left: LeftBlock<Scalar>,
  rows: Range<Int>, of rowCount: Int
) {
  let blockWidth = WeightGradientArguments<Scalar>.blockWidth
  var c = 0
  while c < columns.count {
    kernels.weightGradient(
      WeightGradientArguments(
        depth: rows.count, readableRows: rowCount &- rows.lowerBound, left: c == 0 ? left.first : left.second,
        leftColumns: min(blockWidth, columns.count &- c), leftRowStride: left.rowStride,
        right: product.right + rows.lowerBound &* product.rightRowStride, rightColumns: product.rightColumns,
        rightRowStride: product.rightRowStride,
        output: product.output + (columns.lowerBound &- product.leftColumns.lowerBound &+ c) &* product.outputRowStride,
        outputRowStride: product.outputRowStride, continues: rows.lowerBound > 0))
    c &+= blockWidth
  }
}

/// Columns of [depth, ..] as blocks of `blockWidth` of them, each [depth, blockWidth]; missing columns are left as they are.
private func packBlocks<Scalar: KernelScalar>(
  _ source: UnsafePointer<Scalar>, columns: Int, rowStride: Int, depth: Int, into target: UnsafeMutablePointer<Scalar>
) {
  let width = WeightGradientArguments<Scalar>.blockWidth
  if columns == packedWidth {
    let second = target + width &* depth
    for k in 0..<depth {
      let line = source + k &* rowStride
      copyBlockRow(line, to: target + k &* width)
      copyBlockRow(line + width, to: second + k &* width)
    }
    return
  }
  for k in 0..<depth {
    let line = source + k &* rowStride
    for c in 0..<columns { target[(c / width) &* width &* depth &+ k &* width &+ c % width] = line[c] }
  }
}

/// `blockWidth` elements: a few vectors, where `update(from:count:)` would call memmove.
@inline(__always)
public func copyBlockRow<Scalar>(_ source: UnsafePointer<Scalar>, to target: UnsafeMutablePointer<Scalar>) {
  let from = UnsafeRawPointer(source), to = UnsafeMutableRawPointer(target)
  var byte = 0
  while byte < WeightGradientArguments<Scalar>.blockWidth &* MemoryLayout<Scalar>.stride {
    to.storeBytes(of: from.loadUnaligned(fromByteOffset: byte, as: SIMD4<UInt32>.self), toByteOffset: byte, as: SIMD4<UInt32>.self)
    byte &+= MemoryLayout<SIMD4<UInt32>>.size
  }
}

private func multiplyTransposedByBLAS<Scalar: KernelScalar>(
  rows: Int, left: GateMatrix<Scalar>, _ product: TransposedProduct<Scalar>
) -> Bool {
  let outputs = product.leftColumns.count
  guard !left.layout.isBlocked, BLAS.takes(rows: outputs, depth: rows, outputs: product.rightColumns) else { return false }
  return BLAS.product(
    ProductArguments(
      rows: outputs, depth: rows, outputs: product.rightColumns, input: left.address(column: product.leftColumns.lowerBound),
      inputRowStride: 1, inputDepthStride: left.layout.rowStride, weight: product.right, weightOutputStride: 1,
      weightDepthStride: product.rightRowStride, start: nil, startRowStride: 0, output: product.output,
      outputRowStride: product.outputRowStride, order: .single))
}
