/// One register tile of a packed product over the whole depth: output = start + input · panel.
///
/// - Parameters:
///   - line: The panel's first line of weights, [depth, Columns.vectors · width].
///   - start: Rows at `startStride`; nil for zeros.
@inlinable @inline(__always)
func productTile<Rows: RowTile>(
  _ tile: Rows.Type, _ a: ProductArguments<Rows.Scalar>, row: Int, panel: UnsafePointer<Rows.Scalar>,
  start: UnsafePointer<Rows.Scalar>?, startStride: Int, output: UnsafeMutablePointer<Rows.Scalar>, outputStride: Int,
  twoChains: Bool
) {
  let lineWidth = Rows.Columns.vectors &* Rows.Columns.Target.width
  let rowStride = a.inputRowStride
  var input = a.input + row &* rowStride
  var line = panel
  var sum = Rows.zero
  if let start { sum = Rows(start, stride: startStride) }
  if twoChains {
    var odd = Rows.zero
    var k = a.depth
    while k >= 2 {
      sum.addProduct(input, stride: rowStride, Rows.Columns(line))
      odd.addProduct(input + a.inputDepthStride, stride: rowStride, Rows.Columns(line + lineWidth))
      input += 2 &* a.inputDepthStride
      line += 2 &* lineWidth
      k &-= 2
    }
    if k == 1 { sum.addProduct(input, stride: rowStride, Rows.Columns(line)) }
    sum.add(odd)
  } else {
    var k = a.depth
    while k > 0 {
      sum.addProduct(input, stride: rowStride, Rows.Columns(line))
      input += a.inputDepthStride
      line += lineWidth
      k &-= 1
    }
  }
  sum.store(output, stride: outputStride)
}

/// The rows of a tile in one panel: directly, or through `edge` where the panel has fewer columns than its vectors.
@inlinable @inline(__always)
func productRows<Rows: RowTile>(
  _ tile: Rows.Type, _ a: ProductArguments<Rows.Scalar>, row: Int, column: Int, panel: UnsafePointer<Rows.Scalar>,
  edge: UnsafeMutablePointer<Rows.Scalar>, twoChains: Bool
) {
  let lineWidth = Rows.Columns.vectors &* Rows.Columns.Target.width
  let columns = a.outputs &- column
  let start = a.start.map { $0 + (row &* a.startRowStride &+ column) }
  let output = a.output + (row &* a.outputRowStride &+ column)
  let isPartial = columns < lineWidth
  if isPartial, let start {
    var r = 0
    while r < Rows.count {
      copyElements(from: start + r &* a.startRowStride, to: edge + r &* lineWidth, count: columns)
      r &+= 1
    }
  }
  productTile(
    Rows.self, a, row: row, panel: panel,
    start: isPartial && start != nil ? UnsafePointer(edge) : start, startStride: isPartial ? lineWidth : a.startRowStride,
    output: isPartial ? edge : output, outputStride: isPartial ? lineWidth : a.outputRowStride, twoChains: twoChains)
  if isPartial {
    var r = 0
    while r < Rows.count {
      copyElements(from: edge + r &* lineWidth, to: output + r &* a.outputRowStride, count: columns)
      r &+= 1
    }
  }
}

@inlinable @inline(__always)
func copyElements<Scalar>(from source: UnsafePointer<Scalar>, to target: UnsafeMutablePointer<Scalar>, count: Int) {
  var i = 0
  while i < count {
    target[i] = source[i]
    i &+= 1
  }
}

/// All rows of one panel, in the largest tiles that fit: 8 (with 32 registers), 4, 2, 1; half of that for two chains.
@inlinable @inline(__always)
func productPanel<Columns: ColumnTile>(
  _ kind: Columns.Type, _ a: ProductArguments<Columns.Scalar>, column: Int, panel: UnsafePointer<Columns.Scalar>,
  edge: UnsafeMutablePointer<Columns.Scalar>, twoChains: Bool
) {
  let tileRows = twoChains ? Columns.Target.tileRows &>> 1 : Columns.Target.tileRows
  var row = 0
  if tileRows >= 8 {
    while row &+ 8 <= a.rows {
      productRows(EightRows<Columns>.self, a, row: row, column: column, panel: panel, edge: edge, twoChains: twoChains)
      row &+= 8
    }
  }
  if tileRows >= 4 {
    while row &+ 4 <= a.rows {
      productRows(FourRows<Columns>.self, a, row: row, column: column, panel: panel, edge: edge, twoChains: twoChains)
      row &+= 4
    }
  }
  while row &+ 2 <= a.rows {
    productRows(TwoRows<Columns>.self, a, row: row, column: column, panel: panel, edge: edge, twoChains: twoChains)
    row &+= 2
  }
  if row < a.rows {
    productRows(OneRow<Columns>.self, a, row: row, column: column, panel: panel, edge: edge, twoChains: twoChains)
  }
}

@inlinable @inline(__always)
func productPanels<T: KernelTarget>(_ target: T.Type, _ a: ProductArguments<T.Scalar>, twoChains: Bool) {
  let panelWidth = T.panelVectors &* T.width
  // The largest tile; 64-byte alignment is not needed, the loads are unaligned ones.
  withUnsafeTemporaryAllocation(of: T.Scalar.self, capacity: 8 &* panelWidth) { memory in
    guard let edge = memory.baseAddress else { return }
    productPanels(T.self, a, edge: edge, panelWidth: panelWidth, twoChains: twoChains)
  }
}

@inlinable @inline(__always)
func productPanels<T: KernelTarget>(
  _ target: T.Type, _ a: ProductArguments<T.Scalar>, edge: UnsafeMutablePointer<T.Scalar>, panelWidth: Int,
  twoChains: Bool
) {
  var column = 0
  while column < a.outputs {
    let panel = a.weight + column &* a.depth
    let left = a.outputs &- column
    if T.panelVectors == 3 && left > 2 &* T.width {
      productPanel(ThreeColumns<T>.self, a, column: column, panel: panel, edge: edge, twoChains: twoChains)
    } else if left > T.width {
      productPanel(TwoColumns<T>.self, a, column: column, panel: panel, edge: edge, twoChains: twoChains)
    } else {
      productPanel(OneColumn<T>.self, a, column: column, panel: panel, edge: edge, twoChains: twoChains)
    }
    column &+= panelWidth
  }
}

/// The packed product: panels of `panelVectors` vectors of outputs, [depth, panel width] each; the last one only as many
/// vectors wide as it needs. For `lanes` the weights are rows, [outputs, depth].
@inlinable @inline(__always)
public func productBody<T: KernelTarget>(_ target: T.Type, _ a: ProductArguments<T.Scalar>) {
  switch a.order {
  case .single: productPanels(T.self, a, twoChains: false)
  case .double: productPanels(T.self, a, twoChains: true)
  case .lanes:
    var rows = a
    rows.weightOutputStride = a.depth
    rows.weightDepthStride = 1
    laneProduct(T.self, rows)
  }
}

/// The same sums from weights as they lie in memory: what the plain equations use, and the referee of the packed product.
@inlinable @inline(__always)
public func plainProductBody<T: KernelTarget>(_ target: T.Type, _ a: ProductArguments<T.Scalar>) {
  if a.order == .lanes { return laneProduct(T.self, a) }
  var row = 0
  while row < a.rows {
    let input = a.input + row &* a.inputRowStride
    var column = 0
    while column < a.outputs {
      let lanes = min(T.width, a.outputs &- column)
      var sum = T.Vector.zero
      if let start = a.start { sum = T.load(start + (row &* a.startRowStride &+ column), lanes: lanes) }
      var odd = T.Vector.zero
      let weight = a.weight + column &* a.weightOutputStride
      var k = 0
      while k < a.depth {
        let x = T.Vector(repeating: input[k &* a.inputDepthStride])
        let line = weight + k &* a.weightDepthStride
        let w = a.weightOutputStride == 1
          ? T.load(line, lanes: lanes) : T.load(line, stride: a.weightOutputStride, lanes: lanes)
        if a.order == .double && k & 1 == 1 { odd = T.multiplyAdd(x, w, odd) } else { sum = T.multiplyAdd(x, w, sum) }
        k &+= 1
      }
      if a.order == .double { sum = sum + odd }
      T.store(sum, a.output + (row &* a.outputRowStride &+ column), lanes: lanes)
      column &+= T.width
    }
    row &+= 1
  }
}

/// Few outputs: each sum in logical lanes, so that it is not one long chain of dependent additions.
@inlinable @inline(__always)
func laneProduct<T: KernelTarget>(_ target: T.Type, _ a: ProductArguments<T.Scalar>) {
  let logicalLanes = T.Vector.Scalar.reductionLanes
  var lanes = LaneSums<T>()
  var row = 0
  while row < a.rows {
    let input = a.input + row &* a.inputRowStride
    var m = 0
    while m < a.outputs {
      let weight = a.weight + m &* a.weightOutputStride
      // The physical vectors of one set of logical lanes, one after the other.
      var first = 0
      while first < logicalLanes {
        var sum = T.Vector.zero
        var k = first
        while k < a.depth {
          let count = a.depth &- k
          let x = a.inputDepthStride == 1
            ? T.load(input + k, lanes: count)
            : T.load(input + k &* a.inputDepthStride, stride: a.inputDepthStride, lanes: min(count, T.width))
          let w = a.weightDepthStride == 1
            ? T.load(weight + k, lanes: count)
            : T.load(weight + k &* a.weightDepthStride, stride: a.weightDepthStride, lanes: min(count, T.width))
          sum = T.multiplyAdd(x, w, sum)
          k &+= logicalLanes
        }
        lanes.set(sum, first)
        first &+= T.width
      }
      let start = a.start.map { $0[row &* a.startRowStride &+ m] } ?? 0
      a.output[row &* a.outputRowStride &+ m] = start + lanes.folded()
      m &+= 1
    }
    row &+= 1
  }
}
