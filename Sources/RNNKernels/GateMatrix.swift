/// A matrix [rows, gates · units], whose gates lie as rows or in blocks: gradients of gates. Plain memory, no ownership.
public struct GateMatrix<Scalar: KernelScalar> {
  public var base: UnsafeMutablePointer<Scalar>
  /// Columns of one gate.
  public let units: Int
  public let layout: GateLayout

  /// Rows of `columns` elements.
  public init(_ base: UnsafeMutablePointer<Scalar>, units: Int, columns: Int) {
    self.base = base
    self.units = units
    layout = GateLayout(units: units, columns: columns)
  }

  /// Blocks of `rows` rows.
  public init(_ base: UnsafeMutablePointer<Scalar>, units: Int, blocksOfRows rows: Int) {
    self.base = base
    self.units = units
    layout = GateLayout(units: units, blocksOfRows: rows)
  }

  /// Elements of one row in blocks, the room for whole blocks included; in rows it has no more.
  public static func blockedWidth(gates: Int, units: Int) -> Int {
    gates * ((units + GateLayout.blockWidth - 1) / GateLayout.blockWidth) * GateLayout.blockWidth
  }

  /// The rows from `row` on.
  @inline(__always)
  public func rows(from row: Int) -> Self {
    var rest = self
    rest.base += row &* layout.rowStride
    return rest
  }

  /// The address of a column's first row; those beside it follow as far as its block goes.
  @inline(__always)
  func address(column: Int) -> UnsafePointer<Scalar> {
    UnsafePointer(base + (column / units &* layout.gateStride &+ layout.place(row: 0, unit: column % units)))
  }

  /// The first column of the next block, which may be past the last.
  func blockEnd(after column: Int) -> Int {
    guard layout.isBlocked else { return column &+ GateLayout.blockWidth }
    let unit = column % units
    return column &- unit &+ min(units, (unit / GateLayout.blockWidth &+ 1) &* GateLayout.blockWidth)
  }

  /// sums[j] = Σ_r of column j, on as many threads as the work deserves.
  public func sumColumns(
    _ kernels: borrowing KernelTable<Scalar>, rows: Int, gates: Int, into sums: UnsafeMutablePointer<Scalar>
  ) {
    let columns = gates &* units
    // An addition that waits for memory costs about as much as ten products.
    let parts = ThreadPool.parts(multiplyAdds: 10 &* rows &* columns, units: columns / 64)
    let kernels = copy kernels
    ThreadPool.run(parts: parts) { part in
      let own = slice(of: columns, part: part, parts: parts, unit: 64)
      guard layout.isBlocked else {
        return kernels.columnSums(
          ColumnSumArguments(
            rows: rows, columns: own.count, values: address(column: own.lowerBound), valuesStride: layout.rowStride,
            sums: sums + own.lowerBound))
      }
      var first = own.lowerBound
      while first < own.upperBound {
        // A slice may begin inside of a block.
        let end = min(blockEnd(after: first), own.upperBound), lane = first % units % GateLayout.blockWidth
        sumBlock(kernels, rows: rows, address(column: first) - lane, lane..<lane &+ end &- first, into: sums + first)
        first = end
      }
    }
  }

  /// Sums of some columns of a block. Rows that are a whole set of lanes lie together, and so are added as one long row.
  private func sumBlock(
    _ kernels: KernelTable<Scalar>, rows: Int, _ block: UnsafePointer<Scalar>, _ columns: Range<Int>,
    into sums: UnsafeMutablePointer<Scalar>
  ) {
    let width = GateLayout.blockWidth, set = Scalar.reductionLanes &* width, whole = rows / Scalar.reductionLanes
    withUnsafeTemporaryAllocation(of: Scalar.self, capacity: set) { memory in
      // capacity above 0: there is an address.
      guard let lanes = memory.baseAddress else { return }
      lanes.update(repeating: 0, count: set)
      kernels.add(AddArguments(rows: whole, columns: set, values: lanes, valuesStride: 0, addend: block, addendStride: set))
      kernels.add(
        AddArguments(
          rows: 1, columns: (rows &- whole &* Scalar.reductionLanes) &* width, values: lanes, valuesStride: 0,
          addend: block + whole &* set, addendStride: 0))
      kernels.columnSums(
        ColumnSumArguments(
          rows: Scalar.reductionLanes, columns: columns.count, values: UnsafePointer(lanes) + columns.lowerBound, valuesStride: width,
          sums: sums))
    }
  }
}

/// Products whose input is some gates of a matrix.
extension PackedMatrix {
  /// Whether the input may be in blocks: own kernels compute it, in one chain.
  public var takesBlocks: Bool { order == .single && !BLAS.takes(rows: 1 << 20, depth: depth, outputs: outputs) }

  /// `multiply` of the gates from `gate` on, as many as the depth has.
  @inline(__always)
  public func multiply(
    _ kernels: borrowing KernelTable<Scalar>, rows: Int, input: GateMatrix<Scalar>, fromGate gate: Int = 0,
    start: UnsafePointer<Scalar>?, startRowStride: Int, output: UnsafeMutablePointer<Scalar>, outputRowStride: Int
  ) {
    let layout = input.layout
    let first = UnsafePointer(input.base + gate &* layout.gateStride)
    guard layout.isBlocked else {
      return multiply(
        kernels, rows: rows, input: first, inputRowStride: layout.rowStride, start: start, startRowStride: startRowStride,
        output: output, outputRowStride: outputRowStride)
    }
    var arguments = self.arguments(
      rows: rows, input: first, inputRowStride: layout.rowStride, start: start, startRowStride: startRowStride, output: output,
      outputRowStride: outputRowStride)
    arguments.setBlocks(of: input)
    kernels.product(arguments)
  }

  /// The same of all gates and many rows, on as many threads as the work deserves.
  public func multiplyOnThreads(
    _ kernels: borrowing KernelTable<Scalar>, rows: Int, input: GateMatrix<Scalar>,
    start: UnsafePointer<Scalar>?, startRowStride: Int, output: UnsafeMutablePointer<Scalar>, outputRowStride: Int
  ) {
    guard input.layout.isBlocked else {
      return multiplyOnThreads(
        kernels, rows: rows, input: UnsafePointer(input.base), inputRowStride: input.layout.rowStride, start: start,
        startRowStride: startRowStride, output: output, outputRowStride: outputRowStride)
    }
    let parts = ThreadPool.parts(multiplyAdds: rows &* depth &* outputs, units: rows / 8)
    let kernels = copy kernels
    ThreadPool.run(parts: parts) { part in
      let own = slice(of: rows, part: part, parts: parts, unit: 8)
      multiplyByGates(
        kernels, rows: own.count, input: input.rows(from: own.lowerBound), start: start.map { $0 + own.lowerBound &* startRowStride },
        startRowStride: startRowStride, output: output + own.lowerBound &* outputRowStride, outputRowStride: outputRowStride)
    }
  }

  /// `multiply` panel by panel and, in a panel, by some gates at a time, as `multiplyRows` does by chunks of the depth.
  private func multiplyByGates(
    _ kernels: borrowing KernelTable<Scalar>, rows: Int, input: GateMatrix<Scalar>, start: UnsafePointer<Scalar>?,
    startRowStride: Int, output: UnsafeMutablePointer<Scalar>, outputRowStride: Int
  ) {
    let panelWidth = kernels.panelWidth, vectorWidth = kernels.vectorWidth
    let bytes = input.units &* panelWidth &* MemoryLayout<Scalar>.stride
    let gates = max(1, mostPanelBytes / max(bytes, 1)), step = gates &* input.units
    var column = 0
    while column < outputs {
      let columns = min(panelWidth, outputs &- column), target = output + column
      let lineWidth = (columns &+ vectorWidth &- 1) / vectorWidth &* vectorWidth
      var first = 0
      while first < depth {
        var arguments = ProductArguments(
          rows: rows, depth: min(step, depth &- first), outputs: columns,
          input: UnsafePointer(input.base + first / input.units &* input.layout.gateStride), inputRowStride: input.layout.rowStride,
          weight: panels + (column &* depth &+ first &* lineWidth), start: first == 0 ? start.map { $0 + column } : UnsafePointer(target),
          startRowStride: first == 0 ? startRowStride : outputRowStride, output: target, outputRowStride: outputRowStride,
          order: .single)
        arguments.setBlocks(of: input)
        kernels.product(arguments)
        first &+= step
      }
      column &+= panelWidth
    }
  }
}

/// What of one panel a second-level cache holds beside other things while all rows go over it.
private let mostPanelBytes = 512 * 1024

extension ProductArguments where Scalar: KernelScalar {
  @inline(__always)
  fileprivate mutating func setBlocks(of matrix: GateMatrix<Scalar>) {
    inputBlockStride = matrix.layout.blockStride
    // Whole blocks go on from one gate to the next.
    inputGateDepth = matrix.units % GateLayout.blockWidth == 0 ? depth : matrix.units
    inputGateStride = matrix.layout.gateStride
  }
}
