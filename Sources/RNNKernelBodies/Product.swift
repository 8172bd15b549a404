/// One register tile of a packed product over the whole depth: output = start + input · panel.
///
/// - Parameters:
///   - panel: The weights of these columns, [depth, Columns.vectors · width].
///   - edge: Room for one line of the panel, where columns are missing.
@_alwaysEmitIntoClient @inline(__always)
func productTile<Rows: RowTile>(
  _ tile: Rows.Type, _ a: ProductArguments<Rows.Scalar>, row: Int, column: Int, panel: UnsafePointer<Rows.Scalar>,
  edge: UnsafeMutablePointer<Rows.Scalar>, twoChains: Bool
) {
  let lineWidth = Rows.Columns.vectors &* Rows.Columns.Target.width
  let columns = a.outputs &- column
  let rowStride = a.inputRowStride
  let inputs = a.input + row &* rowStride
  var line = panel
  var sum = Rows.zero
  if let start = a.start {
    let begin = start + (row &* a.startRowStride &+ column)
    sum = Rows(begin, stride: a.startRowStride, columns: columns, edge: edge)
    // Those of the next panel would be waited for: sums of all steps are larger than a cache.
    if a.startRowStride > 0 && columns > lineWidth {
      prefetchRows(begin + lineWidth, rows: Rows.count, stride: a.startRowStride, count: lineWidth)
    }
  }
  if !twoChains && a.inputBlockStride > 0 {
    var block = inputs, gate = inputs
    var left = a.depth, leftInGate = a.inputGateDepth
    while left > 0 {
      var input = block
      var k = min(leftInGate, GateLayout.blockWidth)
      left &-= k
      leftInGate &-= k
      block += a.inputBlockStride
      if leftInGate == 0 {
        gate += a.inputGateStride
        block = gate
        leftInGate = a.inputGateDepth
      }
      // Blocks are far apart: nothing but this asks for the next one.
      prefetch(block, count: Rows.count &* GateLayout.blockWidth)
      while k > 0 {
        sum.addProduct(input, stride: GateLayout.blockWidth, Rows.Columns(line))
        input += 1
        line += lineWidth
        k &-= 1
      }
    }
  } else if twoChains {
    var odd = Rows.zero
    var input = inputs
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
    var input = inputs
    var k = a.depth
    while k > 0 {
      sum.addProduct(input, stride: rowStride, Rows.Columns(line))
      input += a.inputDepthStride
      line += lineWidth
      k &-= 1
    }
  }
  sum.store(
    a.output + (row &* a.outputRowStride &+ column), stride: a.outputRowStride, columns: columns, edge: edge)
}

@_alwaysEmitIntoClient @inline(__always)
func prefetchRows<Scalar>(_ p: UnsafePointer<Scalar>, rows: Int, stride: Int, count: Int) {
  var row = 0
  while row < rows {
    prefetch(p + row &* stride, count: count)
    row &+= 1
  }
}

@_alwaysEmitIntoClient @inline(__always)
func copyElements<Scalar>(from source: UnsafePointer<Scalar>, to target: UnsafeMutablePointer<Scalar>, count: Int) {
  var i = 0
  while i < count {
    target[i] = source[i]
    i &+= 1
  }
}

public typealias FiveRows<Columns: ColumnTile> = Above<FourRows<Columns>, OneRow<Columns>>
public typealias SevenRows<Columns: ColumnTile> = Above<FourRows<Columns>, Above<TwoRows<Columns>, OneRow<Columns>>>

/// All rows of one panel, in the largest tiles that fit: 8 (with 32 registers), 4, 2, 1; half of that for two chains. With 32 registers
/// the rows are shared out evenly among as few tiles as there can be, since small ones wait for memory: 9 are 5 + 4, 20 are 7 + 7 + 6.
///
/// A function by itself: where it is inlined into a kernel's own, `rnn_cpu_prefetch` stays a call, around which the tile is saved.
@_alwaysEmitIntoClient @inline(never)
func productPanel<Columns: ColumnTile>(
  _ kind: Columns.Type, _ a: ProductArguments<Columns.Scalar>, column: Int, panel: UnsafePointer<Columns.Scalar>,
  edge: UnsafeMutablePointer<Columns.Scalar>, twoChains: Bool
) {
  let tileRows = twoChains ? Columns.Target.tileRows &>> 1 : Columns.Target.tileRows
  var row = 0
  if tileRows >= 8 {
    let tiles = max((a.rows &+ 7) &>> 3, 1)
    let rows = a.rows / tiles
    // So many tiles have a row more, and come first.
    var larger = a.rows &- rows &* tiles
    while row < a.rows {
      let size = larger > 0 ? rows &+ 1 : rows
      larger &-= 1
      if size == 8 {
        productTile(EightRows<Columns>.self, a, row: row, column: column, panel: panel, edge: edge, twoChains: twoChains)
      } else if size == 7 {
        productTile(SevenRows<Columns>.self, a, row: row, column: column, panel: panel, edge: edge, twoChains: twoChains)
      } else if size == 6 {
        productTile(SixRows<Columns>.self, a, row: row, column: column, panel: panel, edge: edge, twoChains: twoChains)
      } else if size == 5 {
        productTile(FiveRows<Columns>.self, a, row: row, column: column, panel: panel, edge: edge, twoChains: twoChains)
      } else {
        break
      }
      row &+= size
    }
  }
  if tileRows >= 4 {
    while row &+ 4 <= a.rows {
      productTile(FourRows<Columns>.self, a, row: row, column: column, panel: panel, edge: edge, twoChains: twoChains)
      row &+= 4
    }
  }
  while row &+ 2 <= a.rows {
    productTile(TwoRows<Columns>.self, a, row: row, column: column, panel: panel, edge: edge, twoChains: twoChains)
    row &+= 2
  }
  if row < a.rows {
    productTile(OneRow<Columns>.self, a, row: row, column: column, panel: panel, edge: edge, twoChains: twoChains)
  }
}

@_alwaysEmitIntoClient @inline(__always)
func productPanels<T: KernelTarget>(_ target: T.Type, _ a: ProductArguments<T.Scalar>, twoChains: Bool) {
  let panelWidth = T.panelVectors &* T.width
  // One line, 192 bytes: above 1024 the memory would come from the heap.
  withUnsafeTemporaryAllocation(of: T.Scalar.self, capacity: panelWidth) { memory in
    guard let edge = memory.baseAddress else { return }
    productPanels(T.self, a, edge: edge, panelWidth: panelWidth, twoChains: twoChains)
  }
}

@_alwaysEmitIntoClient @inline(__always)
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
@_alwaysEmitIntoClient @inline(__always)
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
@_alwaysEmitIntoClient @inline(__always)
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
@_alwaysEmitIntoClient @inline(__always)
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
