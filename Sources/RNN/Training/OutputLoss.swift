import RNNKernels

/// The output layer of a classifier and its cross-entropy as one pass over blocks of rows: logits, loss, ∂L/∂logits in their place, and
/// what follows from it for the layer's input, weight and bias. Neither the logits nor their gradients are ever there for all rows.
///
/// Every sum has the order that it has in the passes that are apart, so the bits are those of `forward`, ``CrossEntropy`` and
/// `backward`, one after the other.
final class OutputLoss<Scalar: KernelScalar> {
  /// Rows of a block, and elements of one, whichever are more. Sums of a weight's gradient go through memory once for each block; and a
  /// block that stays in the third-level cache is not fetched from memory.
  private static var mostRows: Int { 384 }
  private static var mostElements: Int { (8 << 20) / MemoryLayout<Scalar>.stride }
  /// Elements of the rows that a thread takes from the logits to the gradient of the layer's input in one go.
  private static var groupElements: Int { (1 << 20) / MemoryLayout<Scalar>.stride }

  private let instruction: Instruction<Scalar>
  private let weight: PackedMatrix<Scalar>
  private let blockRows: Int
  private let groupRows: Int
  /// [blockRows, classes].
  private let block: UnsafeMutablePointer<Scalar>
  /// Partial sums of the bias's gradient, [lanes, classes]: lane l takes the rows ≡ l.
  private let lanes: UnsafeMutablePointer<Scalar>?
  private let memory: AlignedBuffer<Scalar>

  private var classes: Int { instruction.size }

  /// nil where the network does not end with a linear layer.
  ///
  /// - Parameter rowCount: Rows of the output.
  init?(_ weights: Weights<Scalar>, rowCount: Int, learns: Bool) throws(RNNError) {
    guard let last = weights.instructions.last, last.kind == .linear, let weight = last.weight else { return nil }
    instruction = last
    self.weight = weight
    let most = max(Self.mostRows, Self.mostElements / last.size)
    let blocks = max(1, (rowCount + most - 1) / most)
    // Whole tiles of rows, and whole sets of lanes.
    blockRows = ((rowCount + blocks - 1) / blocks + 15) & ~15
    groupRows = max(16, Self.groupElements / last.size & ~7)
    let blockCount = try checkedProduct(blockRows, last.size, of: "a block of logits")
    let laneCount = learns && last.biasOffset >= 0 ? Scalar.reductionLanes * last.size : 0
    memory = try makeBuffer(Scalar.self, count: blockCount + laneCount, for: "a block of logits")
    block = memory.baseAddress
    lanes = laneCount > 0 ? memory.baseAddress + blockCount : nil
  }

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
    if let lanes { lanes.update(repeating: 0, count: Scalar.reductionLanes &* classes) }
    var first = 0
    repeat {
      let count = min(blockRows, rows &- first)
      let parts = ThreadPool.parts(multiplyAdds: count &* classes &* instruction.sourceSize, units: count / 8)
      let begin = first
      ThreadPool.run(parts: parts) { part in
        let own = slice(of: count, part: part, parts: parts, unit: 8)
        // Groups of about the same size.
        let groups = (own.count &+ groupRows &- 1) / groupRows
        for group in 0..<groups {
          let place = slice(of: own.count, part: group, parts: groups, unit: 8)
          guard !place.isEmpty else { continue }
          runRows(
            kernels, own.lowerBound &+ place.lowerBound, count: place.count, after: begin, input: input, loss: loss, losses: losses,
            gradients: gradients, target: target)
        }
      }
      if let parameters = gradients?.parameters {
        addParameterGradients(kernels, rows: count, after: begin, input: input, to: parameters)
      }
      first &+= count
    } while first < rows
    if let lanes, let parameters = gradients?.parameters {
      kernels.columnSums(
        ColumnSumArguments(
          rows: Scalar.reductionLanes, columns: classes, values: lanes, valuesStride: classes,
          sums: parameters + instruction.biasOffset))
    }
  }

  /// Some rows of the block that begins `after` so many rows, from the logits to the gradient of the layer's input.
  private func runRows(
    _ kernels: borrowing KernelTable<Scalar>, _ first: Int, count: Int, after begin: Int, input: UnsafePointer<Scalar>,
    loss: CrossEntropy, losses: UnsafeMutablePointer<Double>, gradients: Gradients?, target: (Int) -> Int64?
  ) {
    let logits = block + first &* classes
    let width = instruction.sourceSize
    weight.multiplyRows(
      kernels, rows: count, input: input + (begin &+ first) &* width, inputRowStride: width, start: instruction.bias, startRowStride: 0,
      output: logits, outputRowStride: classes)
    for row in 0..<count {
      let values = logits + row &* classes
      let place = begin &+ first &+ row
      guard let target = target(place) else {
        losses[place] = 0
        values.update(repeating: 0, count: classes)
        continue
      }
      losses[place] = loss.evaluateRow(
        values, classes: classes, target: target, weights: nil, gradient: gradients == nil ? nil : values, scratch: values,
        scale: gradients?.scale ?? 1)
    }
    if let gradients, let inputGradient = gradients.input {
      gradients.transposed?.multiplyRows(
        kernels, rows: count, input: logits, inputRowStride: classes, start: nil, startRowStride: 0,
        output: inputGradient + (begin &+ first) &* width, outputRowStride: width)
    }
  }

  private func addParameterGradients(
    _ kernels: borrowing KernelTable<Scalar>, rows: Int, after begin: Int, input: UnsafePointer<Scalar>,
    to gradients: UnsafeMutablePointer<Scalar>
  ) {
    let width = instruction.sourceSize
    multiplyTransposed(
      kernels, rows: rows, left: block, leftRowStride: classes,
      [
        TransposedProduct(
          leftColumns: 0..<classes, right: input + begin &* width, rightColumns: width, rightRowStride: width,
          output: gradients + instruction.weightOffset, outputRowStride: width, continues: begin > 0)
      ])
    guard let lanes else { return }
    // Blocks are whole sets of lanes, so that lane 0 is the first row of each; and of so many columns all lanes stay in the cache.
    let laneCount = Scalar.reductionLanes, columnsAtOnce = 512
    let parts = ThreadPool.parts(multiplyAdds: 4 &* rows &* classes, units: classes / columnsAtOnce)
    let kernels = copy kernels
    ThreadPool.run(parts: parts) { part in
      let own = slice(of: classes, part: part, parts: parts, unit: columnsAtOnce)
      for column in stride(from: own.lowerBound, to: own.upperBound, by: columnsAtOnce) {
        for row in stride(from: 0, to: rows, by: laneCount) {
          kernels.add(
            AddArguments(
              rows: min(laneCount, rows &- row), columns: min(columnsAtOnce, own.upperBound &- column), values: lanes + column,
              valuesStride: classes, addend: block + (row &* classes &+ column), addendStride: classes))
        }
      }
    }
  }
}
