// X W_x + b of coming steps, computed beside the steps of one row. A row's step waits for its weights, which are larger than the
// first-level cache: of four cycles one multiplies. X W_x + b of many steps multiplies in every cycle and hardly reads. So the steps of one
// block carry the product of the next block along, some lines of theirs for each line of its. Where the step's weights are larger than the
// first-level cache, it takes little longer for it. The sums are those of a product by itself: k ascending, in parts that are stored and
// loaded in between.

extension KernelTarget {
  /// Rows that a product beside steps has at once: with three vectors of columns they fill 18 registers, and a step's sums and lines the
  /// others. 0 where there are not so many.
  @inlinable @inline(__always) public static var besideRows: Int { tileRows >= 8 && panelVectors == 3 ? 6 : 0 }
}

extension BesideProduct {
  /// k of the product that go into a tile at once: a part of a panel that stays in the first-level cache for all rows.
  @inlinable @inline(__always) static var depthBlock: Int { 16 }
  @inlinable @inline(__always) var isDone: Bool { column >= columns }
  /// How many k the next tile has.
  @inlinable @inline(__always) var nextDepth: Int { min(Self.depthBlock, depth &- firstDepth) }

  /// Goes on to the tile after: rows, then k, then columns.
  @inlinable @inline(__always)
  mutating func advance(rows count: Int, columns width: Int) {
    row &+= count
    if row < rows { return }
    row = 0
    firstDepth &+= nextDepth
    if firstDepth < depth { return }
    firstDepth = 0
    column &+= width
  }
}

/// The next tile of a product: its sums so far, and where its operands are.
@frozen
public struct BesideTile<Tile: RowTile> {
  public typealias Scalar = Tile.Scalar
  @usableFromInline var sums: Tile
  @usableFromInline var input, line: UnsafePointer<Scalar>
  @usableFromInline let inputStride: Int
  @usableFromInline let depth: Int
  @usableFromInline let output: UnsafeMutablePointer<Scalar>

  @inlinable @inline(__always) static var width: Int { Tile.Columns.vectors &* Tile.Columns.Target.width }

  @inlinable @inline(__always)
  init(_ product: borrowing BesideProduct<Scalar>, edge: UnsafeMutablePointer<Scalar>) {
    let (row, column, firstDepth) = (product.row, product.column, product.firstDepth)
    output = product.output + (row &* product.outputRowStride &+ column)
    sums = firstDepth == 0
      ? Tile(product.start + column, stride: 0, columns: Self.width, edge: edge)
      : Tile(UnsafePointer(output), stride: product.outputRowStride, columns: Self.width, edge: edge)
    inputStride = product.inputRowStride
    input = product.input + (row &* inputStride &+ firstDepth)
    line = product.weight + (column &* product.depth &+ firstDepth &* Self.width)
    depth = product.nextDepth
  }

  /// The terms of the next k.
  @inlinable @inline(__always)
  mutating func addProduct() {
    sums.addProduct(input, stride: inputStride, Tile.Columns(line))
    input += 1
    line += Self.width
  }

  @inlinable @inline(__always)
  func store(_ product: inout BesideProduct<Scalar>) {
    sums.store(output, stride: product.outputRowStride)
    product.advance(rows: Tile.count, columns: Self.width)
  }
}

/// Sums of a step, one chain each, beside as much of the product as there are lines for.
@_alwaysEmitIntoClient @inline(never)
func storeFusedSumsBesideProduct<Sums: FusedOneRowSums, Tile: RowTile>(
  _ kind: Sums.Type, _ tile: Tile.Type, _ o: borrowing FusedOperands<Sums.Scalar>, _ product: UnsafeMutablePointer<BesideProduct<Sums.Scalar>>
) where Tile.Scalar == Sums.Scalar {
  // As many multiply-adds as the tile has.
  let isWide = Sums.count &* Sums.Shape.Columns.vectors > 4
  let lines = isWide ? 3 : 4
  let lineWidth = Sums.Shape.lineWidth
  var input = o.input
  var line = o.weight
  var sums = Sums(o)
  var k = o.depth
  let (inputStride, weightStride) = (o.inputStride, o.weightStride)
  while !product.pointee.isDone, k >= product.pointee.nextDepth &* lines {
    var beside = BesideTile<Tile>(product.pointee, edge: o.sums)
    var left = beside.depth
    k &-= left &* lines
    while left > 0 {
      beside.addProduct()
      sums.addProduct(input, inputStride: inputStride, line, weightStride: weightStride)
      sums.addProduct(input + 1, inputStride: inputStride, line + lineWidth, weightStride: weightStride)
      sums.addProduct(input + 2, inputStride: inputStride, line + 2 &* lineWidth, weightStride: weightStride)
      if !isWide { sums.addProduct(input + 3, inputStride: inputStride, line + 3 &* lineWidth, weightStride: weightStride) }
      input += lines
      line += lines &* lineWidth
      left &-= 1
    }
    beside.store(&product.pointee)
  }
  while k > 0 {
    sums.addProduct(input, inputStride: inputStride, line, weightStride: weightStride)
    input += 1
    line += lineWidth
    k &-= 1
  }
  sums.store(o.sums)
}

/// A tile of panels of one row, beside a product.
@_alwaysEmitIntoClient @inline(__always)
func fusedTileBesideProduct<Pass: FusedPass, Sums: FusedPanelSums>(
  _ pass: Pass.Type, _ kind: Sums.Type, _ a: UnsafePointer<FusedArguments<Pass.Scalar>>, _ xStep: UnsafePointer<Pass.Scalar>, row: Int,
  panel: Int, known: Int, _ product: UnsafeMutablePointer<BesideProduct<Pass.Scalar>>
) where Sums.Shape == Pass.Shape {
  let x = xStep + (row &* a.pointee.xRowStride &+ panel &* Pass.xPanelStride)
  let operands = fusedOperands(Pass.self, a, x, row: row, panel: panel, ofPanels: true)
  storeFusedSumsBesideProduct(Sums.self, SixRows<ThreeColumns<Pass.Shape.Columns.Target>>.self, operands, product)
  fusedFinish(
    Pass.self, a, x, xStride: operands.xStride, row: row, panel: panel, ofPanels: true, known: known, count: Sums.count)
}

/// What is left of a product after its steps.
@_alwaysEmitIntoClient @inline(never)
func finishProduct<T: KernelTarget>(
  _ target: T.Type, _ product: UnsafeMutablePointer<BesideProduct<T.Scalar>>, edge: UnsafeMutablePointer<T.Scalar>
) {
  while !product.pointee.isDone {
    var tile = BesideTile<SixRows<ThreeColumns<T>>>(product.pointee, edge: edge)
    var left = tile.depth
    while left > 0 {
      tile.addProduct()
      left &-= 1
    }
    tile.store(&product.pointee)
  }
}
