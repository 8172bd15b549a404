import RNNKernels

/// What a training pass keeps of one layer and direction; all by time t, not by the order of the steps.
struct RecurrentTrace<Scalar: KernelScalar> {
  /// [T, N, G·H]: the gates' values (for the vanilla cell its sums, which nobody needs again).
  var gates: UnsafeMutablePointer<Scalar>
  /// [T + 1, N, H]: slot t is the state before step t; for a reverse layer slot t + 1 is, and slot 0 the final state.
  var hidden: UnsafeMutablePointer<Scalar>
  /// [T + 1, N, H], LSTM.
  var cell: UnsafeMutablePointer<Scalar>
  /// [T, N, H], GRU: R ⊙ H, or H W_hh + b_hh.
  var recurrentTerm: UnsafeMutablePointer<Scalar>
}

/// Memory of a forward pass that keeps nothing.
struct RecurrentScratch<Scalar: KernelScalar> {
  /// [T, N, G·H].
  var gates: UnsafeMutablePointer<Scalar>
  /// [N, H], GRU.
  var recurrentTerm: UnsafeMutablePointer<Scalar>
}

/// One layer in one direction over time: the fused form of the equations in `Cells/`, and its backward pass.
///
/// The input's part of all sums is one product over all T·N rows; each step then adds the recurrent product and applies the
/// gates. Rows that have ended are left out of a step altogether: their state stays, their output is zero.
extension RecurrentWeights {
  private func stateSlots(_ t: Int) -> (before: Int, after: Int) { isReverse ? (t &+ 1, t) : (t, t &+ 1) }

  /// - Parameters:
  ///   - input: [T, N, I].
  ///   - hidden: [N, H]: the initial state, replaced by the final one.
  ///   - cell: [N, H], LSTM.
  ///   - output: Where column 0 of this direction's H columns of [T, N, D·H] is.
  ///   - outputStride: D·H.
  ///   - trace: nil at inference.
  ///   - usesThreads: Rows of the batch are independent of each other: each thread takes some of them through all steps.
  func forward(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, input: UnsafePointer<Scalar>,
    hidden: UnsafeMutablePointer<Scalar>, cell: UnsafeMutablePointer<Scalar>,
    output: UnsafeMutablePointer<Scalar>, outputStride: Int,
    scratch: RecurrentScratch<Scalar>, trace: RecurrentTrace<Scalar>?, usesThreads: Bool
  ) {
    let (n, h, width) = (batch.rowCount, hiddenSize, gateWidth)
    let size = n &* h
    let gates = trace?.gates ?? scratch.gates
    // X W_x + b of all steps.
    if usesThreads {
      inputWeight.multiplyOnThreads(
        kernels, rows: batch.cellCount, input: input, inputRowStride: inputSize, start: bias, startRowStride: 0,
        output: gates, outputRowStride: width)
    } else {
      inputWeight.multiply(
        kernels, rows: batch.cellCount, input: input, inputRowStride: inputSize, start: bias, startRowStride: 0,
        output: gates, outputRowStride: width)
    }

    if let trace {
      let initial = isReverse ? batch.stepCount : 0
      (trace.hidden + initial &* size).update(from: hidden, count: size)
      if self.cell.hasCellState { (trace.cell + initial &* size).update(from: cell, count: size) }
    }
    let parts = usesThreads ? threadParts(batch) : 1
    if parts > 1 {
      let kernels = copy kernels
      ThreadPool.run(parts: parts) { part in
        advance(
          kernels, batch, rows: slice(of: n, part: part, parts: parts, unit: 8), gates: gates, hidden: hidden, cell: cell,
          output: output, outputStride: outputStride, scratch: scratch, trace: trace)
      }
    } else {
      advance(
        kernels, batch, rows: 0..<n, gates: gates, hidden: hidden, cell: cell, output: output, outputStride: outputStride,
        scratch: scratch, trace: trace)
    }
    if let trace {
      let final = isReverse ? 0 : batch.stepCount
      hidden.update(from: trace.hidden + final &* size, count: size)
      if self.cell.hasCellState { cell.update(from: trace.cell + final &* size, count: size) }
    }
  }

  /// Threads for the steps of a batch; eight rows fill a register tile.
  private func threadParts(_ batch: SequenceBatch) -> Int {
    ThreadPool.parts(multiplyAdds: batch.cellCount &* gateWidth &* hiddenSize, units: batch.rowCount / 8)
  }

  /// All steps of some rows.
  private func advance(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, rows: Range<Int>,
    gates: UnsafeMutablePointer<Scalar>, hidden: UnsafeMutablePointer<Scalar>, cell: UnsafeMutablePointer<Scalar>,
    output: UnsafeMutablePointer<Scalar>, outputStride: Int,
    scratch: RecurrentScratch<Scalar>, trace: RecurrentTrace<Scalar>?
  ) {
    let (n, h, width) = (batch.rowCount, hiddenSize, gateWidth)
    let size = n &* h
    let firstElement = rows.lowerBound &* h, elementCount = rows.count &* h
    var step = 0
    while step < batch.stepCount {
      let t = isReverse ? batch.stepCount &- 1 &- step : step
      let stepGates = gates + t &* n &* width
      // Without a trace the state is advanced in place.
      let (before, after) = stateSlots(t)
      let hiddenBefore = trace.map { $0.hidden + before &* size } ?? hidden
      let hiddenAfter = trace.map { $0.hidden + after &* size } ?? hidden
      let cellBefore = trace.map { $0.cell + before &* size } ?? cell
      let cellAfter = trace.map { $0.cell + after &* size } ?? cell
      let recurrentTerm = trace.map { $0.recurrentTerm + t &* size } ?? scratch.recurrentTerm
      if trace != nil, batch.lengths != nil {
        (hiddenAfter + firstElement).update(from: hiddenBefore + firstElement, count: elementCount)
        if self.cell.hasCellState {
          (cellAfter + firstElement).update(from: cellBefore + firstElement, count: elementCount)
        }
      }
      var row = rows.lowerBound
      while let run = batch.activeRun(step: t, from: row, to: rows.upperBound) {
        let offset = run.first &* h
        stepForward(
          kernels, rows: run.count, gates: stepGates + run.first &* width,
          hidden: hiddenBefore + offset, nextHidden: hiddenAfter + offset,
          cell: cellBefore + offset, nextCell: cellAfter + offset, recurrentTerm: recurrentTerm + offset)
        row = run.first &+ run.count
      }
      let stepOutput = output + t &* n &* outputStride
      var r = rows.lowerBound
      while r < rows.upperBound {
        let line = stepOutput + r &* outputStride
        if batch.isActive(step: t, row: r) {
          line.update(from: hiddenAfter + r &* h, count: h)
        } else {
          line.update(repeating: 0, count: h)
        }
        r &+= 1
      }
      step &+= 1
    }
  }

  /// One step of some rows: `gates` holds X W_x + b.
  @inline(__always)
  private func stepForward(
    _ kernels: borrowing KernelTable<Scalar>, rows: Int, gates: UnsafeMutablePointer<Scalar>,
    hidden: UnsafeMutablePointer<Scalar>, nextHidden: UnsafeMutablePointer<Scalar>,
    cell: UnsafeMutablePointer<Scalar>, nextCell: UnsafeMutablePointer<Scalar>,
    recurrentTerm: UnsafeMutablePointer<Scalar>
  ) {
    let (h, width) = (hiddenSize, gateWidth)
    // + H W_h: of all gates, or of a GRU's r and z.
    recurrentWeight.multiply(
      kernels, rows: rows, input: hidden, inputRowStride: h, start: gates, startRowStride: width,
      output: gates, outputRowStride: width)
    var arguments = GateArguments(rows: rows, hiddenSize: h, gates: gates, gatesStride: width)
    arguments.hidden = UnsafePointer(hidden)
    arguments.nextHidden = nextHidden
    switch self.cell {
    case .vanilla(let nonlinearity):
      arguments.relu = nonlinearity == .relu
      kernels.vanillaForward(arguments)
    case .lstm:
      arguments.cell = UnsafePointer(cell)
      arguments.nextCell = nextCell
      kernels.lstmForward(arguments)
    case .gru(let variant):
      arguments.recurrentTerm = recurrentTerm
      let candidate = gates + CellKind.candidateGate &* h
      switch variant {
      case .resetBefore:
        kernels.gruGates(arguments)
        candidateWeight?.multiply(
          kernels, rows: rows, input: recurrentTerm, inputRowStride: h, start: candidate, startRowStride: width,
          output: candidate, outputRowStride: width)
        kernels.gruBeforeForward(arguments)
      case .resetAfter:
        candidateWeight?.multiply(
          kernels, rows: rows, input: hidden, inputRowStride: h, start: candidateBias, startRowStride: 0,
          output: recurrentTerm, outputRowStride: h)
        kernels.gruAfterForward(arguments)
      }
    }
  }

  /// Backpropagation through time.
  ///
  /// - Parameters:
  ///   - input: X of the forward pass, [T, N, I], with zeros in padding.
  ///   - outputGradient: Column 0 of this direction in ∂L/∂output [T, N, D·H].
  ///   - hiddenGradient: [N, H]: ∂L/∂(final state), replaced by ∂L/∂(initial state).
  ///   - cellGradient: The same of C.
  ///   - inputGradient: [T, N, I]: ∂L/∂X is added to it; nil where nobody wants it.
  ///   - gradients: ∂L/∂parameters of the whole network; this layer's part is overwritten.
  ///   - flow: [T]: ||∂L/∂H_t||, or nil.
  func backward(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, _ transposed: BackwardWeights<Scalar>.Layer,
    trace: RecurrentTrace<Scalar>, input: UnsafePointer<Scalar>,
    outputGradient: UnsafePointer<Scalar>, outputGradientStride: Int,
    hiddenGradient: UnsafeMutablePointer<Scalar>, cellGradient: UnsafeMutablePointer<Scalar>,
    inputGradient: UnsafeMutablePointer<Scalar>?, gradients: UnsafeMutablePointer<Scalar>?,
    scratch: BackwardScratch<Scalar>, flow: UnsafeMutablePointer<Double>?
  ) {
    let (n, width) = (batch.rowCount, gateWidth)
    let size = n &* hiddenSize
    let gateGradients = scratch.gateGradients, termGradient = scratch.recurrentTermGradient
    if batch.lengths != nil {
      gateGradients.update(repeating: 0, count: batch.cellCount &* width)
      termGradient.update(repeating: 0, count: batch.stepCount &* size)
    }
    // The flow is a sum over all rows of a step: they stay together.
    let parts = flow == nil ? threadParts(batch) : 1
    let ownKernels = copy kernels
    ThreadPool.run(parts: parts) { part in
      retreat(
        ownKernels, batch, transposed, rows: slice(of: n, part: part, parts: parts, unit: 8), trace: trace,
        outputGradient: outputGradient, outputGradientStride: outputGradientStride, hiddenGradient: hiddenGradient,
        cellGradient: cellGradient, gateGradients: gateGradients, termGradient: termGradient, flow: flow)
    }

    let rows = batch.cellCount
    if let inputGradient {
      transposed.input.multiplyOnThreads(
        kernels, rows: rows, input: gateGradients, inputRowStride: width,
        start: inputGradient, startRowStride: inputSize, output: inputGradient, outputRowStride: inputSize)
    }
    guard let gradients else { return }
    addWeightGradients(
      kernels, batch, trace: trace, input: input, gateGradients: gateGradients, termGradient: termGradient,
      gradients: gradients, packing: scratch.packing)
  }

  /// All steps of some rows, from the last to the first.
  private func retreat(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, _ transposed: BackwardWeights<Scalar>.Layer,
    rows: Range<Int>, trace: RecurrentTrace<Scalar>, outputGradient: UnsafePointer<Scalar>, outputGradientStride: Int,
    hiddenGradient: UnsafeMutablePointer<Scalar>, cellGradient: UnsafeMutablePointer<Scalar>,
    gateGradients: UnsafeMutablePointer<Scalar>, termGradient: UnsafeMutablePointer<Scalar>,
    flow: UnsafeMutablePointer<Double>?
  ) {
    let (n, h, width) = (batch.rowCount, hiddenSize, gateWidth)
    let size = n &* h
    var step = batch.stepCount &- 1
    while step >= 0 {
      let t = isReverse ? batch.stepCount &- 1 &- step : step
      let (before, after) = stateSlots(t)
      var squares = 0.0
      var row = rows.lowerBound
      while let run = batch.activeRun(step: t, from: row, to: rows.upperBound) {
        let offset = run.first &* h
        let cellRow = t &* n &+ run.first
        let dh = hiddenGradient + offset
        kernels.add(
          AddArguments(
            rows: run.count, columns: h, values: dh, valuesStride: h,
            addend: outputGradient + cellRow &* outputGradientStride, addendStride: outputGradientStride))
        if flow != nil {
          var sum = 0.0
          kernels.sumOfSquares(SquareSumArguments(count: run.count &* h, values: dh, result: &sum))
          squares += sum
        }
        var arguments = GateArguments(
          rows: run.count, hiddenSize: h, gates: trace.gates + cellRow &* width, gatesStride: width)
        arguments.hidden = UnsafePointer(trace.hidden + (before &* size &+ offset))
        arguments.nextHidden = trace.hidden + (after &* size &+ offset)
        arguments.cell = UnsafePointer(trace.cell + (before &* size &+ offset))
        arguments.nextCell = trace.cell + (after &* size &+ offset)
        arguments.recurrentTerm = trace.recurrentTerm + (t &* size &+ offset)
        arguments.recurrentTermGradient = termGradient + (t &* size &+ offset)
        arguments.gateGradients = gateGradients + cellRow &* width
        arguments.gateGradientsStride = width
        arguments.nextHiddenGradient = UnsafePointer(dh)
        arguments.hiddenGradient = dh
        arguments.cellGradient = cellGradient + offset
        stepBackward(kernels, transposed, arguments)
        row = run.first &+ run.count
      }
      flow?[t] = squares.squareRoot()
      step &-= 1
    }
  }

  /// Sums over all steps and rows, in one chain of ascending rows for each element of a weight's gradient.
  private func addWeightGradients(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, trace: RecurrentTrace<Scalar>,
    input: UnsafePointer<Scalar>, gateGradients: UnsafePointer<Scalar>, termGradient: UnsafePointer<Scalar>,
    gradients: UnsafeMutablePointer<Scalar>, packing: UnsafeMutablePointer<Scalar>
  ) {
    let (h, width, rows) = (hiddenSize, gateWidth, batch.cellCount)
    let size = batch.rowCount &* h
    let hiddenBefore = trace.hidden + (isReverse ? size : 0)
    multiplyTransposed(
      kernels, rows: rows, left: gateGradients, leftColumns: width, leftRowStride: width,
      right: input, rightColumns: inputSize, rightRowStride: inputSize,
      output: gradients + weightIHOffset, outputRowStride: inputSize, scratch: packing)
    let weightHHGradient = gradients + weightHHOffset
    let recurrentColumns = cell.isGRU ? 2 &* h : width
    multiplyTransposed(
      kernels, rows: rows, left: gateGradients, leftColumns: recurrentColumns, leftRowStride: width,
      right: hiddenBefore, rightColumns: h, rightRowStride: h,
      output: weightHHGradient, outputRowStride: h, scratch: packing)
    if case .gru(let variant) = cell {
      let before = variant == .resetBefore
      multiplyTransposed(
        kernels, rows: rows,
        left: before ? gateGradients + CellKind.candidateGate &* h : termGradient, leftColumns: h,
        leftRowStride: before ? width : h,
        right: UnsafePointer(before ? trace.recurrentTerm : hiddenBefore), rightColumns: h, rightRowStride: h,
        output: weightHHGradient + CellKind.candidateGate &* h &* h, outputRowStride: h, scratch: packing)
    }
    guard biasIHOffset >= 0 else { return }
    let biasGradient = gradients + biasIHOffset
    kernels.columnSums(
      ColumnSumArguments(rows: rows, columns: width, values: gateGradients, valuesStride: width, sums: biasGradient))
    guard biasHHOffset >= 0 else { return }
    let recurrentBiasGradient = gradients + biasHHOffset
    recurrentBiasGradient.update(from: biasGradient, count: width)
    if cell == .gru(.resetAfter) {
      kernels.columnSums(
        ColumnSumArguments(
          rows: rows, columns: h, values: termGradient, valuesStride: h,
          sums: recurrentBiasGradient + CellKind.candidateGate &* h))
    }
  }

  /// One step of some rows: `hiddenGradient` goes in as ∂L/∂H′ and comes out as ∂L/∂H.
  @inline(__always)
  private func stepBackward(
    _ kernels: borrowing KernelTable<Scalar>, _ transposed: BackwardWeights<Scalar>.Layer,
    _ arguments: GateArguments<Scalar>
  ) {
    let (h, width, rows) = (hiddenSize, gateWidth, arguments.rows)
    let dh = arguments.hiddenGradient, a = arguments.gateGradients
    switch cell {
    case .vanilla(let nonlinearity):
      var arguments = arguments
      arguments.relu = nonlinearity == .relu
      kernels.vanillaBackward(arguments)
    case .lstm:
      kernels.lstmBackward(arguments)
    case .gru(.resetBefore):
      kernels.gruBackward(arguments)
      transposed.candidate?.multiply(
        kernels, rows: rows, input: a + CellKind.candidateGate &* h, inputRowStride: width, start: nil, startRowStride: 0,
        output: arguments.recurrentTermGradient, outputRowStride: h)
      kernels.gruBeforeBackward(arguments)
    case .gru(.resetAfter):
      kernels.gruBackward(arguments)
      kernels.gruAfterBackward(arguments)
    }
    // Of a GRU, what passes through Z and R is in dh already.
    transposed.recurrent.multiply(
      kernels, rows: rows, input: a, inputRowStride: width, start: cell.isGRU ? UnsafePointer(dh) : nil, startRowStride: h,
      output: dh, outputRowStride: h)
    if cell == .gru(.resetAfter) {
      transposed.candidate?.multiply(
        kernels, rows: rows, input: arguments.recurrentTermGradient, inputRowStride: h, start: dh, startRowStride: h,
        output: dh, outputRowStride: h)
    }
  }
}

/// Memory of a backward pass, for the largest layer.
struct BackwardScratch<Scalar: KernelScalar> {
  /// [T, N, G·H].
  var gateGradients: UnsafeMutablePointer<Scalar>
  /// [T, N, H], GRU.
  var recurrentTermGradient: UnsafeMutablePointer<Scalar>
  /// One operand of a weight gradient, packed.
  var packing: UnsafeMutablePointer<Scalar>
}
