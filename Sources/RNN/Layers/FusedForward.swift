import RNNKernels

/// Memory of fused steps, for the largest layer: W is H with padding.
struct FusedScratch<Scalar: KernelScalar> {
  /// [N, W] each: H before and after a step, C, and a reset-before GRU's R ⊙ H and Z.
  var hidden, nextHidden, cell, term, update: UnsafeMutablePointer<Scalar>
  /// For each thread what the kernel wants.
  var sums: UnsafeMutablePointer<Scalar>
}

struct FusedScratchPlan {
  private var stateCount = 0, sumCount = 0
  private var offsets = (0, 0, 0, 0, 0, 0)

  mutating func include<Scalar: KernelScalar>(_ layer: RecurrentWeights<Scalar>, rowCount: Int) throws(RNNError) {
    guard layer.fusedCell != nil else { return }
    let width = FusedLayout.largestStateWidth(units: layer.hiddenSize)
    stateCount = max(stateCount, try checkedProduct(rowCount, width, of: "the state of a layer"))
    // At most one thread for eight rows.
    sumCount = max(sumCount, try checkedProduct(rowCount / 8 + 1, FusedArguments<Scalar>.sumCount, of: "sums of a layer"))
  }

  /// - Parameter first: What all offsets count from.
  mutating func reserve(in plan: inout MemoryPlan, from first: Int) throws(RNNError) {
    func state() throws(RNNError) -> Int { try plan.reserve(stateCount) - first }
    offsets = (try state(), try state(), try state(), try state(), try state(), try plan.reserve(sumCount) - first)
  }

  func scratch<Scalar: KernelScalar>(_ base: UnsafeMutablePointer<Scalar>) -> FusedScratch<Scalar> {
    FusedScratch(
      hidden: base + offsets.0, nextHidden: base + offsets.1, cell: base + offsets.2, term: base + offsets.3,
      update: base + offsets.4, sums: base + offsets.5)
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
      arguments.x += (steps &- 1) &* arguments.xStepStride
      arguments.output = output + (steps &- 1) &* arguments.outputStepStride
      arguments.xStepStride = 0 &- arguments.xStepStride
      arguments.outputStepStride = 0 &- arguments.outputStepStride
    }
    let parts = usesThreads ? threadParts(batch) : 1
    if parts > 1 {
      let kernels = copy kernels
      let whole = arguments
      ThreadPool.run(parts: parts) { part in
        kernels.fusedSequence(whole.rows(slice(of: n, part: part, parts: parts, unit: 8), part: part))
      }
    } else {
      kernels.fusedSequence(arguments)
    }

    let final = steps & 1 == 1 ? scratch.nextHidden : first
    if final != hidden { copyRows(final, width, to: hidden, h, rows: n, count: h) }
    if !isInPlace, self.cell.hasCellState { copyRows(cells, width, to: cell, h, rows: n, count: h) }
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
      panelCount: layout.panelCount, width: layout.width, x: x, weight: weight, hidden: hidden, nextHidden: nextHidden,
      sums: scratch.sums)
    arguments.isBFloat16 = isBFloat16
    arguments.candidateWeight = candidateWeight
    arguments.candidateBias = candidateBias
    (arguments.cell, arguments.term, arguments.update) = (cell, scratch.term, scratch.update)
    return arguments
  }
}

extension FusedArguments {
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
