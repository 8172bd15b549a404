import RNNKernels

/// Memory of fused steps, for the largest layer: W is H with padding.
struct FusedScratch<Scalar: KernelScalar> {
  /// [N, W] each: H before and after a step, C, and a reset-before GRU's R ⊙ H and Z.
  var hidden, nextHidden, cell, term, update: UnsafeMutablePointer<Scalar>
  /// For each of `partCount` threads what the kernel wants.
  var sums: UnsafeMutablePointer<Scalar>
  var partCount: Int
}

struct FusedScratchPlan {
  private var stateCount = 0, partCount = 0
  private var offsets = (0, 0, 0, 0, 0, 0)

  mutating func include<Scalar: KernelScalar>(_ layer: RecurrentWeights<Scalar>, rowCount: Int) throws(RNNError) {
    guard layer.fusedCell != nil else { return }
    let width = FusedLayout.largestStateWidth(units: layer.hiddenSize)
    stateCount = max(stateCount, try checkedProduct(rowCount, width, of: "the state of a layer"))
    // At most one thread for four rows, or for a panel.
    partCount = max(partCount, rowCount / 4 + 1, min(ThreadPool.limit, width / 16))
  }

  /// - Parameter first: What all offsets count from.
  mutating func reserve(in plan: inout MemoryPlan, from first: Int) throws(RNNError) {
    // The largest of any precision: 24 vectors.
    let sumCount = try checkedProduct(partCount, FusedArguments<Float>.sumCount, of: "sums of a layer")
    func state() throws(RNNError) -> Int { try plan.reserve(stateCount) - first }
    offsets = (try state(), try state(), try state(), try state(), try state(), try plan.reserve(sumCount) - first)
  }

  func scratch<Scalar: KernelScalar>(_ base: UnsafeMutablePointer<Scalar>) -> FusedScratch<Scalar> {
    FusedScratch(
      hidden: base + offsets.0, nextHidden: base + offsets.1, cell: base + offsets.2, term: base + offsets.3,
      update: base + offsets.4, sums: base + offsets.5, partCount: partCount)
  }
}

extension RecurrentWeights {
  /// `forward` of a layer whose rows all have every step, without a trace: one kernel call for all steps of some rows. The same bits.
  func fusedForward(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, _ fused: FusedWeights<Scalar>.Layer,
    input: UnsafePointer<Scalar>, hidden: UnsafeMutablePointer<Scalar>, cell: UnsafeMutablePointer<Scalar>,
    output: UnsafeMutablePointer<Scalar>, outputStride: Int, gates: UnsafeMutablePointer<Scalar>,
    scratch: FusedScratch<Scalar>, usesThreads: Bool
  ) {
    let (n, h, steps) = (batch.rowCount, hiddenSize, batch.stepCount)
    guard steps > 0 else { return }
    let layout = fused.layout
    let width = layout.stateWidth, rowWidth = layout.rowWidth
    // Without padding the states are where the caller has them.
    let isInPlace = width == h
    let first = isInPlace ? hidden : scratch.hidden, cells = isInPlace ? cell : scratch.cell
    if !isInPlace {
      copyRows(hidden, h, to: first, width, rows: n, count: h)
      if self.cell.hasCellState { copyRows(cell, h, to: cells, width, rows: n, count: h) }
    }
    var arguments = fused.arguments(
      steps: steps, rows: n, x: gates, hidden: first, nextHidden: scratch.nextHidden, cell: cells, scratch)
    arguments.output = output
    arguments.outputStepStride = n &* outputStride
    arguments.outputRowStride = outputStride
    if isReverse {
      arguments.output = output + (steps &- 1) &* arguments.outputStepStride
      arguments.outputStepStride = 0 &- arguments.outputStepStride
    }
    let sharing = usesThreads ? sharing(batch, layout, most: scratch.partCount) : .none
    if sharing.rowParts == 1, let blockSteps = stepsBesideProduct(kernels, batch, fused) {
      advanceBesideProduct(kernels, batch, fused, arguments, blockSteps: blockSteps, input: input, gates: gates)
    } else if let parts = sharing.rowParts, parts > 1 || !usesThreads || inputParts(batch) == 1,
      let blockSteps = blockSteps(batch, layout, parts: parts)
    {
      let kernels = copy kernels
      let whole = arguments
      ThreadPool.run(parts: parts) { part in
        let own = slice(of: n, part: part, parts: parts, unit: 1)
        advance(
          kernels, batch, fused, whole.rows(own, part: part), rows: own, blockSteps: blockSteps, input: input,
          gates: gates + own.lowerBound &* steps &* rowWidth)
      }
    } else if case .none = sharing, usesThreads,
      runAhead(kernels, batch, fused, arguments, input: input, gates: gates)
    {
      // Both are done.
    } else {
      // X W_x + b of all steps.
      if usesThreads {
        fused.inputWeight?.multiplyOnThreads(
          kernels, rows: batch.cellCount, input: input, inputRowStride: inputSize, start: fused.bias, startRowStride: 0,
          output: gates, outputRowStride: rowWidth)
      } else {
        fused.inputWeight?.multiply(
          kernels, rows: batch.cellCount, input: input, inputRowStride: inputSize, start: fused.bias, startRowStride: 0,
          output: gates, outputRowStride: rowWidth)
      }
      if isReverse {
        arguments.x += (steps &- 1) &* arguments.xStepStride
        arguments.xStepStride = 0 &- arguments.xStepStride
      }
      switch sharing {
      case .rows(let parts):
        let kernels = copy kernels
        let whole = arguments
        ThreadPool.run(parts: parts) { part in
          kernels.fusedSequence(whole.rows(slice(of: n, part: part, parts: parts, unit: 1), part: part))
        }
      case .panels(let parts):
        let done = sharePanels(kernels, arguments, parts: parts)
        if done < steps { kernels.fusedSequence(arguments.steps(from: done)) }
      case .none:
        kernels.fusedSequence(arguments)
      }
    }

    let final = steps & 1 == 1 ? scratch.nextHidden : first
    if final != hidden { copyRows(final, width, to: hidden, h, rows: n, count: h) }
    if !isInPlace, self.cell.hasCellState { copyRows(cells, width, to: cell, h, rows: n, count: h) }
  }

  /// How threads share a layer's steps.
  private enum Sharing {
    case none
    /// Each has rows of its own, and waits for nobody.
    case rows(parts: Int)
    /// Each has panels of its own, whose weights stay in its cache; all wait for each other in every step.
    case panels(parts: Int)

    /// Threads that have rows of their own.
    var rowParts: Int? {
      switch self {
      case .none: 1
      case .rows(let parts): parts
      case .panels: nil
      }
    }
  }

  /// Bytes of X W_x + b that a thread computes at once, before the steps that read them: they stay in its second-level cache.
  private static var blockSize: Int { 512 << 10 }

  /// Steps of such a block, where threads have rows of their own; nil where X W_x + b of all steps is better computed first.
  private func blockSteps(_ batch: SequenceBatch, _ layout: FusedLayout, parts: Int) -> Int? {
    // A deep product goes over all rows with a part of the weights at a time.
    guard inputSize <= 2048 else { return nil }
    let rows = (batch.rowCount &+ parts &- 1) / parts
    let blockRows = min(max(Self.blockSize / (layout.rowWidth &* MemoryLayout<Scalar>.stride), 128), 512)
    var steps = max(1, blockRows / rows)
    // Beside its sums a thread has a copy of its rows of the input, so that they are one matrix.
    if parts > 1 { steps = min(steps, batch.stepCount &* layout.rowWidth / (layout.rowWidth &+ inputSize)) }
    return steps > 0 && steps < batch.stepCount ? steps : nil
  }

  /// All steps of some rows on one thread, block by block.
  ///
  /// - Parameters:
  ///   - arguments: Of these rows, but for X W_x + b.
  ///   - gates: Room for X W_x + b of these rows in all steps.
  private func advance(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, _ fused: FusedWeights<Scalar>.Layer,
    _ arguments: FusedArguments<Scalar>, rows: Range<Int>, blockSteps: Int, input: UnsafePointer<Scalar>,
    gates: UnsafeMutablePointer<Scalar>
  ) {
    let (n, steps) = (batch.rowCount, batch.stepCount)
    let stepSize = rows.count &* fused.layout.rowWidth, inputCount = rows.count &* inputSize
    let inputCopy = gates + blockSteps &* stepSize
    var done = 0
    while done < steps {
      let count = min(blockSteps, steps &- done)
      let first = isReverse ? steps &- done &- count : done
      var source = input + (first &* n &+ rows.lowerBound) &* inputSize
      if rows.count < n {
        for step in 0..<count { (inputCopy + step &* inputCount).update(from: source + step &* n &* inputSize, count: inputCount) }
        source = UnsafePointer(inputCopy)
      }
      fused.inputWeight?.multiply(
        kernels, rows: count &* rows.count, input: source, inputRowStride: inputSize, start: fused.bias, startRowStride: 0,
        output: gates, outputRowStride: fused.layout.rowWidth)
      kernels.fusedSequence(block(arguments, from: done, count: count, x: gates))
      done &+= count
    }
  }

  /// Bytes of a layer's recurrent weights between which steps and a product share a thread well: beyond the first-level cache, and not so
  /// large that the product's weights drive them from where zigzag finds them. LSTM of 1024 units, 16 MiB: 14.4 ms, beside 15.1.
  private static var besideWeightSizes: ClosedRange<Int> { 65_536...(4 << 20) }

  /// Steps of a block of one row beside which X W_x + b of the next block is computed (see `BesideProduct`); nil where that is no faster.
  private func stepsBesideProduct(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, _ fused: FusedWeights<Scalar>.Layer
  ) -> Int? {
    let block = 4 * kernels.besideRows
    guard block > 0, batch.rowCount == 1, batch.stepCount >= block + block / 2,
      fused.inputOrder == .single, fused.order == .single, fused.candidateOrder == .single,
      Self.besideWeightSizes.contains(fused.layout.rowWidth * hiddenSize * MemoryLayout<Scalar>.size),
      !BLAS.takes(rows: batch.stepCount, depth: inputSize, outputs: fused.layout.rowWidth)
    else { return nil }
    return block
  }

  /// All steps of one row, in blocks, each beside the product of the next. All blocks but the first have `blockSteps`: a product of a few rows
  /// would read all weights for them.
  ///
  /// - Parameter gates: Room for X W_x + b of all steps. Two blocks at a time are enough, and stay in the cache.
  private func advanceBesideProduct(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, _ fused: FusedWeights<Scalar>.Layer,
    _ arguments: FusedArguments<Scalar>, blockSteps: Int, input: UnsafePointer<Scalar>, gates: UnsafeMutablePointer<Scalar>
  ) {
    guard let weight = fused.inputWeight else { return }
    let steps = batch.stepCount, rowWidth = fused.layout.rowWidth
    var done = 0
    var count = (steps &- blockSteps / 2) % blockSteps &+ blockSteps / 2
    // Where a block's inputs are. Of a reverse layer the steps of a block end where it begins.
    func source(_ first: Int, _ count: Int) -> UnsafePointer<Scalar> {
      input + (isReverse ? steps &- first &- count : first) &* inputSize
    }
    var sums = gates, nextSums = gates + min(max(count, blockSteps), steps &- blockSteps) &* rowWidth
    weight.multiply(
      kernels, rows: count, input: source(0, count), inputRowStride: inputSize, start: fused.bias, startRowStride: 0, output: sums,
      outputRowStride: rowWidth)
    let kernels = copy kernels
    while done &+ count < steps {
      var own = block(arguments, from: done, count: count, x: sums)
      done &+= count
      count = blockSteps
      let product = weight.arguments(
        rows: count, input: source(done, count), inputRowStride: inputSize, start: fused.bias, startRowStride: 0, output: nextSums,
        outputRowStride: rowWidth)
      // Whole panels beside the steps, and the columns that are left after them.
      let columns = rowWidth / kernels.panelWidth &* kernels.panelWidth
      var beside = BesideProduct(product, start: fused.bias, columns: columns)
      withUnsafeMutablePointer(to: &beside) {
        own.beside = $0
        kernels.fusedSequence(own)
      }
      if columns < rowWidth { kernels.product(product.outputs(from: columns)) }
      swap(&sums, &nextSums)
    }
    kernels.fusedSequence(block(arguments, from: done, count: count, x: sums))
  }

  /// Steps that are too small to be shared out: one thread computes X W_x + b, and another the steps behind it, chunk by chunk.
  ///
  /// - Returns: false, and nothing is done, where that does not pay or the pool is busy.
  private func runAhead(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, _ fused: FusedWeights<Scalar>.Layer,
    _ arguments: FusedArguments<Scalar>, input: UnsafePointer<Scalar>, gates: UnsafeMutablePointer<Scalar>
  ) -> Bool {
    let (n, steps) = (batch.rowCount, batch.stepCount)
    let inputWork = n &* gateWidth &* inputSize, stepWork = n &* gateWidth &* stateSize
    guard ThreadPool.parts(multiplyAdds: steps &* (inputWork &+ stepWork), units: 2) == 2, ThreadPool.maySynchronize else { return false }
    let chunk = ChainProgress.chunk(stepCount: steps, rowCount: n, stepWork: (inputWork &+ stepWork) / 2, threads: 2)
    // The product's multiply-adds take half the time of those of a row.
    let product = Double(inputWork) / 2, row = Double(stepWork)
    let longest = max(product, row) * (1 + Double(chunk) / Double(steps))
    guard 1.1 * longest < product / Double(inputParts(batch)) + row else { return false }

    let chunks = (steps &+ chunk &- 1) / chunk
    let rowWidth = fused.layout.rowWidth
    let kernels = copy kernels
    return withUnsafeTemporaryAllocation(byteCount: 2 * ChainProgress.lineSize, alignment: ChainProgress.lineSize) { memory in
      guard let base = memory.baseAddress else { return false }
      let progress = ChainProgress(base, layers: 2)
      return progress.run(chunks: chunks, threads: 2, chunkWork: chunk &* (inputWork &+ stepWork)) { _, layer, index in
        let done = index &* chunk, count = min(chunk, steps &- done)
        let first = isReverse ? steps &- done &- count : done
        let sums = gates + first &* n &* rowWidth
        if layer == 0 {
          fused.inputWeight?.multiply(
            kernels, rows: count &* n, input: input + first &* n &* inputSize, inputRowStride: inputSize, start: fused.bias,
            startRowStride: 0, output: sums, outputRowStride: rowWidth)
        } else {
          kernels.fusedSequence(block(arguments, from: done, count: count, x: sums))
        }
      }
    }
  }

  /// Some of a sequence's steps, from X W_x + b of these alone, in the order of time.
  private func block(
    _ arguments: FusedArguments<Scalar>, from first: Int, count: Int, x: UnsafePointer<Scalar>
  ) -> FusedArguments<Scalar> {
    let stepSize = arguments.rows &* arguments.xRowStride
    var block = arguments.steps(from: first)
    block.steps = count
    block.x = isReverse ? x + (count &- 1) &* stepSize : x
    block.xStepStride = isReverse ? 0 &- stepSize : stepSize
    return block
  }

  /// Multiply-adds of a step from which on its panels are shared: some 1 µs on one thread, where waiting takes 0.2.
  private static var sharedStepWork: Int { 48 << 10 }

  private func sharing(_ batch: SequenceBatch, _ layout: FusedLayout, most: Int) -> Sharing {
    let rowParts = fusedRowParts(batch)
    let panelParts = min(panelParts(batch, panelCount: layout.panelCount), most)
    guard panelParts > 1, ThreadPool.maySynchronize else { return rowParts > 1 ? .rows(parts: rowParts) : .none }
    if rowParts == 1 { return .panels(parts: panelParts) }
    let byRows = rowShare(batch.rowCount, parts: rowParts), byPanels = panelShare(layout.panelCount, parts: panelParts)
    return byPanels < byRows ? .panels(parts: panelParts) : .rows(parts: rowParts)
  }

  /// Threads with rows of their own; with fewer than four, reading weights is the work.
  private func fusedRowParts(_ batch: SequenceBatch) -> Int {
    ThreadPool.parts(multiplyAdds: batch.cellCount &* gateWidth &* stateSize, units: batch.rowCount / 4)
  }

  /// Threads for X W_x + b of all steps.
  private func inputParts(_ batch: SequenceBatch) -> Int {
    ThreadPool.parts(multiplyAdds: batch.cellCount &* gateWidth &* inputSize, units: batch.cellCount / 8)
  }

  /// Threads for the panels of a layer, if its steps are worth waiting in.
  private func panelParts(_ batch: SequenceBatch, panelCount: Int) -> Int {
    let stepWork = batch.rowCount &* gateWidth &* stateSize
    guard stepWork >= Self.sharedStepWork else { return 1 }
    return ThreadPool.parts(multiplyAdds: batch.stepCount &* stepWork, units: panelCount)
  }

  /// The work of the thread that has most of it, as a part of the whole.
  private func rowShare(_ rowCount: Int, parts: Int) -> Double {
    let rows = (rowCount + parts - 1) / parts
    // Seven rows are two tiles of four.
    return Double(rows == 7 ? 8 : rows) / Double(rowCount)
  }

  /// The same of panels, where waiting costs some 5 percent.
  private func panelShare(_ panelCount: Int, parts: Int) -> Double {
    1.05 * Double((panelCount + parts - 1) / parts) / Double(panelCount)
  }

  /// Multiply-adds of a layer's step on the thread that has most of them, where threads share the layer's product and steps out.
  func sharedWork(stepCount: Int, rowCount: Int) -> Double {
    let batch = SequenceBatch(stepCount: stepCount, rowCount: rowCount)
    let rowParts = fusedCell == nil ? threadParts(batch) : fusedRowParts(batch)
    var share = rowParts > 1 ? rowShare(rowCount, parts: rowParts) : 1
    if fusedCell != nil {
      let panelCount = (hiddenSize + 15) / 16, parts = panelParts(batch, panelCount: panelCount)
      if parts > 1 { share = min(share, panelShare(panelCount, parts: parts)) }
    }
    let inputWork = rowCount &* gateWidth &* inputSize, steps = rowCount &* gateWidth &* stateSize
    return Double(inputWork) / Double(inputParts(batch)) + Double(steps) * share
  }

  /// Steps on threads that share panels. If one of them keeps the others waiting, the caller goes on alone.
  ///
  /// - Returns: The steps done: 0 if the threads are busy.
  private func sharePanels(
    _ kernels: borrowing KernelTable<Scalar>, _ whole: FusedArguments<Scalar>, parts: Int
  ) -> Int {
    let kernels = copy kernels
    let hasTwoPhases = whole.cellKind == .gruBefore
    // More than one thread takes for a step, even from memory.
    let patience = UInt64(50_000 + whole.rows &* gateWidth &* stateSize / 8)
    let lateThreads = ThreadPool.lateThreads
    // The step after which all stop: written by the caller before a barrier, and read by the others after it.
    var lastStep = whole.steps &- 1
    let isDone = withUnsafeMutablePointer(to: &lastStep) { lastStep in
      ThreadPool.runTogether(parts: parts, patience: patience) { part in
        var own = whole.panels(part: part, parts: parts)
        own.sums += part &* FusedArguments<Scalar>.sumCount
        own.steps = 1
        var step = 0
        while step <= lastStep.pointee {
          own.firstStep = step
          if hasTwoPhases {
            own.phases = 1
            kernels.fusedSequence(own)
            ThreadPool.barrier.wait(count: parts, patience: patience)
            own.phases = 2
          }
          kernels.fusedSequence(own)
          if part == 0, ThreadPool.lateThreads &- lateThreads >= 2 { lastStep.pointee = step }
          ThreadPool.barrier.wait(count: parts, patience: patience)
          swap(&own.hidden, &own.nextHidden)
          own.x += own.xStepStride
          own.output = own.output.map { $0 + own.outputStepStride }
          step &+= 1
        }
      }
    }
    return isDone ? lastStep &+ 1 : 0
  }

  private func copyRows(
    _ source: UnsafePointer<Scalar>, _ sourceStride: Int, to target: UnsafeMutablePointer<Scalar>, _ targetStride: Int, rows: Int,
    count: Int
  ) {
    if sourceStride == targetStride { return target.update(from: source, count: rows &* count) }
    for row in 0..<rows { (target + row &* targetStride).update(from: source + row &* sourceStride, count: count) }
  }
}

extension FusedWeights.Layer {
  /// Steps of this layer, to be given an output.
  func arguments(
    steps: Int, rows: Int, x: UnsafePointer<Scalar>, hidden: UnsafeMutablePointer<Scalar>,
    nextHidden: UnsafeMutablePointer<Scalar>, cell: UnsafeMutablePointer<Scalar>, _ scratch: FusedScratch<Scalar>
  ) -> FusedArguments<Scalar> {
    var arguments = FusedArguments(
      self.cell, order: order, candidateOrder: candidateOrder, depth: layout.units, steps: steps, rows: rows,
      panelCount: layout.wholePanelCount, hasHalfPanel: layout.hasHalfPanel, rowWidth: layout.rowWidth,
      stateWidth: layout.stateWidth, x: x, weight: weight, hidden: hidden, nextHidden: nextHidden, sums: scratch.sums)
    arguments.isBFloat16 = isBFloat16
    arguments.candidateWeight = candidateWeight
    arguments.candidateBias = candidateBias
    (arguments.cell, arguments.term, arguments.update) = (cell, scratch.term, scratch.update)
    return arguments
  }
}

extension FusedArguments {
  /// The steps that are left when so many are done.
  fileprivate func steps(from first: Int) -> Self {
    var result = self
    result.steps -= first
    result.firstStep += first
    result.x += first &* xStepStride
    result.output = output.map { $0 + first &* outputStepStride }
    if first & 1 == 1 { swap(&result.hidden, &result.nextHidden) }
    return result
  }

  /// The same steps of some of the rows, as the work of thread `part`.
  fileprivate func rows(_ own: Range<Int>, part: Int) -> Self {
    var result = self
    let first = own.lowerBound, place = own.lowerBound &* stateStride
    result.rows = own.count
    result.x += first &* xRowStride
    result.hidden += place
    result.nextHidden += place
    result.cell += place
    result.term += place
    result.update += place
    result.output = output.map { $0 + first &* outputRowStride }
    result.sums += part &* Self.sumCount
    return result
  }
}
