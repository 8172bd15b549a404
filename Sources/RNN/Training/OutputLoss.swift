import RNNKernels

/// The output layer of a classifier and its cross-entropy as one pass over blocks of rows: logits, loss, ∂L/∂logits in their place, and
/// what follows from it for the layer's input, weight and bias. Neither the logits nor their gradients are ever there for all rows.
///
/// Every sum has the order that it has in the passes that are apart, so the bits are those of `forward`, ``CrossEntropy`` and
/// `backward`, one after the other.
///
/// Of a block, each thread takes some rows at a time, a group, from the logits to the gradient of the layer's input, and leaves their
/// ∂L/∂logits as the weight gradient's kernel reads them. The gradient of the weight then is one product for the block.
final class OutputLoss<Scalar: KernelScalar> {
  /// Rows of a block, or bytes of one, whichever are more. Sums of a weight's gradient go through memory once for each block, and a block
  /// that stays in the third-level cache is not fetched from memory.
  private static var mostRows: Int { 384 }
  private static var mostBytes: Int { 8 << 20 }
  /// Rows of a group: each uses all of the weight, which comes from the third-level cache or from memory.
  private static var groupRows: Int { 96 }
  /// Of the layer's input, what a second-level cache holds while the blocks of ∂L/∂logits pass by.
  private static var inputBytes: Int { 640 << 10 }
  /// Columns of ∂L/∂logits that lie together.
  private static var blockWidth: Int { WeightGradientArguments<Scalar>.blockWidth }

  private let instruction: Instruction<Scalar>
  private let weight: PackedMatrix<Scalar>
  private let blockRows, groupRows: Int
  /// Threads that have memory for a group.
  private let threadCount: Int
  /// For each thread [groupRows, classes].
  private let groups: UnsafeMutablePointer<Scalar>
  /// ∂L/∂logits of the block: for each `blockWidth` classes [blockRows, blockWidth].
  private let gradientBlocks: UnsafeMutablePointer<Scalar>
  /// The layer's input of the block as panels, each [blockRows, panel width].
  private let inputPanels: UnsafeMutablePointer<Scalar>
  /// Partial sums of the bias's gradient, lane l takes the rows ≡ l: for each `blockWidth` classes [lanes, blockWidth].
  private let lanes: UnsafeMutablePointer<Scalar>?
  private let memory: AlignedBuffer<Scalar>

  private var classes: Int { instruction.size }
  private var width: Int { instruction.sourceSize }

  /// nil where the network does not end with a linear layer.
  ///
  /// - Parameters:
  ///   - rowCount: Rows of the output.
  ///   - learns: false: for losses alone.
  init?(_ weights: Weights<Scalar>, rowCount: Int, learns: Bool) throws(RNNError) {
    guard let last = weights.instructions.last, last.kind == .linear, let weight = last.weight else { return nil }
    instruction = last
    self.weight = weight
    let size = MemoryLayout<Scalar>.stride, classes = last.size, panelWidth = Scalar.kernels.panelWidth
    let most = max(Self.mostRows, Self.mostBytes / size / classes)
    let blocks = max(1, (rowCount + most - 1) / most)
    // Whole tiles of rows, and whole sets of lanes.
    blockRows = max(16, ((rowCount + blocks - 1) / blocks + 15) & ~15)
    threadCount = max(1, min(ThreadPool.limit, blockRows / 8))
    groupRows = min(Self.groupRows, ((blockRows + threadCount - 1) / threadCount + 7) & ~7)

    var plan = MemoryPlan()
    let group = try plan.reserve(
      try checkedProduct(threadCount, try checkedProduct(groupRows, classes, of: "a group of logits"), of: "logits"))
    let blockCount = learns ? (classes + Self.blockWidth - 1) / Self.blockWidth : 0
    let gradient = try plan.reserve(try checkedProduct(blockCount * Self.blockWidth, blockRows, of: "a block of logits"))
    let panelCount = learns ? (last.sourceSize + panelWidth - 1) / panelWidth : 0
    let panels = try plan.reserve(try checkedProduct(panelCount * panelWidth, blockRows, of: "a block of inputs"))
    let hasLanes = learns && last.biasOffset >= 0
    let lane = try plan.reserve(hasLanes ? blockCount * Self.blockWidth * Scalar.reductionLanes : 0)
    memory = try makeBuffer(Scalar.self, count: plan.count, for: "a block of logits")
    groups = memory.baseAddress + group
    gradientBlocks = memory.baseAddress + gradient
    inputPanels = memory.baseAddress + panels
    lanes = hasLanes ? memory.baseAddress + lane : nil
  }

  /// Where the gradient of the weight is among those of all parameters: `run` overwrites it.
  var weightPlace: Range<Int> { instruction.weightOffset..<instruction.weightOffset &+ classes &* width }

  /// What a backward pass wants, for the mean loss.
  struct Gradients {
    /// What each row's loss is multiplied by: 1 / terms.
    var scale: Double
    /// [rows, input size]; nil where nobody wants it.
    var input: UnsafeMutablePointer<Scalar>?
    var transposed: PackedMatrix<Scalar>?
    /// In the layout of all parameters; nil where nobody wants them.
    var parameters: UnsafeMutablePointer<Scalar>?
  }

  /// - Parameters:
  ///   - input: [rows, input size], what the layer reads.
  ///   - target: The class of a row; nil for a row that does not count.
  ///   - losses: [rows].
  ///   - gradients: nil for the losses alone.
  func run(
    rows: Int, input: UnsafePointer<Scalar>, loss: CrossEntropy, losses: UnsafeMutablePointer<Double>, gradients: Gradients?,
    target: (Int) -> Int64?
  ) {
    let kernels = Scalar.kernels
    var first = 0
    repeat {
      let count = min(blockRows, rows &- first)
      // Those before it have gone.
      let block = first..<first &+ count
      let parts = min(threadCount, ThreadPool.parts(multiplyAdds: 2 &* count &* classes &* width, units: count / 8))
      ThreadPool.run(parts: parts) { part in
        let own = slice(of: count, part: part, parts: parts, unit: 8)
        // Groups of about the same size.
        let groupCount = (own.count &+ groupRows &- 1) / groupRows
        for index in 0..<groupCount {
          let group = slice(of: own.count, part: index, parts: groupCount, unit: 8)
          let begin = own.lowerBound &+ group.lowerBound
          runGroup(
            kernels, begin..<begin &+ group.count, of: block, logits: groups + part &* groupRows &* classes, input: input, loss: loss,
            losses: losses, gradients: gradients, target: target)
        }
      }
      if let parameters = gradients?.parameters {
        packInput(input + first &* width, rows: count)
        addParameterGradients(kernels, block, to: parameters)
      }
      first &+= count
    } while first < rows
    if let parameters = gradients?.parameters { foldLanes(kernels, into: parameters) }
  }

  /// Some rows of a block, from the logits to the gradient of the layer's input.
  private func runGroup(
    _ kernels: borrowing KernelTable<Scalar>, _ group: Range<Int>, of block: Range<Int>, logits: UnsafeMutablePointer<Scalar>,
    input: UnsafePointer<Scalar>, loss: CrossEntropy, losses: UnsafeMutablePointer<Double>, gradients: Gradients?,
    target: (Int) -> Int64?
  ) {
    let first = block.lowerBound &+ group.lowerBound
    weight.multiplyRows(
      kernels, rows: group.count, input: input + first &* width, inputRowStride: width, start: instruction.bias, startRowStride: 0,
      output: logits, outputRowStride: classes)
    for row in 0..<group.count {
      let values = logits + row &* classes
      guard let target = target(first &+ row) else {
        losses[first &+ row] = 0
        values.update(repeating: 0, count: classes)
        continue
      }
      losses[first &+ row] = loss.evaluateRow(
        values, classes: classes, target: target, weights: nil, gradient: gradients == nil ? nil : values, scratch: values,
        scale: gradients?.scale ?? 1)
    }
    guard let gradients else { return }
    if let inputGradient = gradients.input {
      gradients.transposed?.multiplyRows(
        kernels, rows: group.count, input: logits, inputRowStride: classes, start: nil, startRowStride: 0,
        output: inputGradient + first &* width, outputRowStride: width)
    }
    if gradients.parameters != nil { packGradient(logits, group, of: block.count) }
  }

  /// Copies ∂L/∂logits of some rows to their places in `gradientBlocks`; two blocks at a time, a cache line of floats.
  private func packGradient(_ values: UnsafePointer<Scalar>, _ group: Range<Int>, of rows: Int) {
    let blockWidth = Self.blockWidth
    var column = 0
    while column &+ 2 &* blockWidth <= classes {
      let target = gradientBlocks + (column &* rows &+ group.lowerBound &* blockWidth)
      let second = target + blockWidth &* rows
      for row in 0..<group.count {
        let line = values + (row &* classes &+ column)
        copyBlockRow(line, to: target + row &* blockWidth)
        copyBlockRow(line + blockWidth, to: second + row &* blockWidth)
      }
      column &+= 2 &* blockWidth
    }
    // What is left over is less than two blocks.
    for column in column..<classes {
      let target = gradientBlocks + (column / blockWidth &* blockWidth &* rows &+ group.lowerBound &* blockWidth &+ column % blockWidth)
      for row in 0..<group.count { target[row &* blockWidth] = values[row &* classes &+ column] }
    }
  }

  /// The layer's input of a block as panels; sums of what is past its last column are computed, but not stored.
  private func packInput(_ input: UnsafePointer<Scalar>, rows: Int) {
    let panelWidth = Scalar.kernels.panelWidth
    for column in stride(from: 0, to: width, by: panelWidth) {
      let panel = inputPanels + column &* rows, columns = min(panelWidth, width &- column)
      for row in 0..<rows {
        (panel + row &* panelWidth).update(from: input + (row &* width &+ column), count: columns)
      }
    }
  }

  private func addParameterGradients(
    _ kernels: borrowing KernelTable<Scalar>, _ block: Range<Int>, to gradients: UnsafeMutablePointer<Scalar>
  ) {
    let rows = block.count, blockWidth = Self.blockWidth, panelWidth = kernels.panelWidth
    let output = gradients + instruction.weightOffset
    // Of panels as many as stay in the cache.
    let columnsAtOnce = max(1, Self.inputBytes / MemoryLayout<Scalar>.stride / (max(rows, 1) &* panelWidth)) &* panelWidth
    let blockCount = (classes &+ blockWidth &- 1) / blockWidth
    let parts = ThreadPool.parts(multiplyAdds: rows &* classes &* width, units: blockCount)
    let kernels = copy kernels
    ThreadPool.run(parts: parts) { part in
      let own = slice(of: blockCount, part: part, parts: parts, unit: 1)
      for firstColumn in stride(from: 0, to: width, by: columnsAtOnce) {
        for index in own {
          let left = gradientBlocks + index &* blockWidth &* rows
          let leftColumns = min(blockWidth, classes &- index &* blockWidth)
          for column in stride(from: firstColumn, to: min(firstColumn &+ columnsAtOnce, width), by: panelWidth) {
            kernels.weightGradient(
              WeightGradientArguments(
                depth: rows, readableRows: rows, left: left, leftColumns: leftColumns, right: inputPanels + column &* rows,
                rightColumns: min(panelWidth, width &- column), rightRowStride: panelWidth,
                output: output + (index &* blockWidth &* width &+ column), outputRowStride: width,
                continues: block.lowerBound > 0))
          }
          if firstColumn == 0 { addToLanes(kernels, left, rows: rows, lanes: index, isFirst: block.lowerBound == 0) }
        }
      }
    }
  }

  /// Adds rows of a block of ∂L/∂logits to the lanes of its bias. Blocks of rows are whole sets of lanes, so that each begins with lane 0.
  private func addToLanes(
    _ kernels: borrowing KernelTable<Scalar>, _ values: UnsafePointer<Scalar>, rows: Int, lanes index: Int, isFirst: Bool
  ) {
    guard let lanes else { return }
    let set = Scalar.reductionLanes &* Self.blockWidth
    let target = lanes + index &* set
    if isFirst { target.update(repeating: 0, count: set) }
    // A set of lanes is one row of the sum; so are the rows left over, which are fewer.
    let whole = rows / Scalar.reductionLanes
    kernels.add(
      AddArguments(rows: whole, columns: set, values: target, valuesStride: 0, addend: values, addendStride: set))
    kernels.add(
      AddArguments(
        rows: 1, columns: (rows &- whole &* Scalar.reductionLanes) &* Self.blockWidth, values: target, valuesStride: 0,
        addend: values + whole &* set, addendStride: 0))
  }

  /// The gradient of the bias from its lanes, which are put row by row first, where the logits were.
  private func foldLanes(_ kernels: borrowing KernelTable<Scalar>, into gradients: UnsafeMutablePointer<Scalar>) {
    guard let lanes else { return }
    let laneCount = Scalar.reductionLanes, blockWidth = Self.blockWidth
    for lane in 0..<laneCount {
      for column in 0..<classes {
        groups[lane &* classes &+ column] = lanes[(column / blockWidth &* laneCount &+ lane) &* blockWidth &+ column % blockWidth]
      }
    }
    kernels.columnSums(
      ColumnSumArguments(
        rows: laneCount, columns: classes, values: groups, valuesStride: classes, sums: gradients + instruction.biasOffset))
  }
}
