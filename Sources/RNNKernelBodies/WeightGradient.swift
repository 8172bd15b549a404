/// One register tile of a weight's gradient over a chunk of rows: output (+)= leftᵀ · right.
///
/// The right operand is read where it lies. A vector at the end of a row reaches into the next one, which does no harm: what it adds
/// is not stored. `directRows` is how far that stays inside the operand; the rows from there on go through `edge`.
@_alwaysEmitIntoClient @inline(__always)
func weightGradientTile<Rows: RowTile>(
  _ tile: Rows.Type, _ a: WeightGradientArguments<Rows.Scalar>, row: Int, column: Int, directRows: Int,
  edge: UnsafeMutablePointer<Rows.Scalar>
) {
  let columns = a.rightColumns &- column
  let output = a.output + (row &* a.outputRowStride &+ column)
  var left = a.left + row
  var right = a.right + column
  var sum = Rows.zero
  if a.continues {
    sum = Rows(output, stride: a.outputRowStride, columns: columns, edge: edge)
    // The next tile's, which would be waited for: that of the next panel, or of the next rows.
    let panelWidth = Rows.Columns.vectors &* Rows.Columns.Target.width
    let next = columns > panelWidth ? output + panelWidth : a.output + (row &+ Rows.count) &* a.outputRowStride
    prefetchRows(UnsafePointer(next), rows: Rows.count, stride: a.outputRowStride, count: panelWidth)
  }
  var k = 0
  while k < a.depth {
    var line = right
    if k >= directRows {
      copyElements(from: right, to: edge, count: min(columns, Rows.Columns.vectors &* Rows.Columns.Target.width))
      line = UnsafePointer(edge)
    }
    sum.addProduct(left, stride: 1, Rows.Columns(line))
    left += a.leftRowStride
    right += a.rightRowStride
    k &+= 1
  }
  sum.store(output, stride: a.outputRowStride, columns: columns, edge: edge)
}

/// All columns of a block of the left operand, for one panel of the right one. A function by itself, as `productPanel` is.
@_alwaysEmitIntoClient @inline(never)
func weightGradientPanel<Columns: ColumnTile>(
  _ kind: Columns.Type, _ a: WeightGradientArguments<Columns.Scalar>, column: Int, edge: UnsafeMutablePointer<Columns.Scalar>
) {
  // The last row of the operand ends at its last column.
  let spare = (a.readableRows &- 1) &* a.rightRowStride &+ a.rightColumns &- column &- Columns.vectors &* Columns.Target.width
  let directRows = spare < 0 ? 0 : min(a.depth, spare / a.rightRowStride &+ 1)
  var row = 0
  if Columns.Target.tileRows >= 8 {
    while row &+ 8 <= a.leftColumns {
      weightGradientTile(EightRows<Columns>.self, a, row: row, column: column, directRows: directRows, edge: edge)
      row &+= 8
    }
  }
  while Columns.Target.tileRows < 8 && row &+ 4 <= a.leftColumns {
    weightGradientTile(FourRows<Columns>.self, a, row: row, column: column, directRows: directRows, edge: edge)
    row &+= 4
  }
  while row < a.leftColumns {
    weightGradientTile(OneRow<Columns>.self, a, row: row, column: column, directRows: directRows, edge: edge)
    row &+= 1
  }
}

/// output[m, k] (+)= Σ_r left[r, m] · right[r, k], r ascending in one chain: a block of rows of a weight's gradient.
@_alwaysEmitIntoClient @inline(__always)
public func weightGradientBody<T: KernelTarget>(_ target: T.Type, _ a: WeightGradientArguments<T.Scalar>) {
  let panelWidth = T.panelVectors &* T.width
  // One line, 192 bytes: above 1024 the memory would come from the heap.
  withUnsafeTemporaryAllocation(of: T.Scalar.self, capacity: panelWidth) { memory in
    guard let edge = memory.baseAddress else { return }
    var column = 0
    while column < a.rightColumns {
      let left = a.rightColumns &- column
      if T.panelVectors == 3 && left > 2 &* T.width {
        weightGradientPanel(ThreeColumns<T>.self, a, column: column, edge: edge)
      } else if left > T.width {
        weightGradientPanel(TwoColumns<T>.self, a, column: column, edge: edge)
      } else {
        weightGradientPanel(OneColumn<T>.self, a, column: column, edge: edge)
      }
      column &+= panelWidth
    }
  }
}
