import RNNKernels

/// One step of some rows that are next to each other: where each array has their first row. S is the width of h.
struct StepArrays<Scalar: KernelScalar> {
  var rows: Int
  /// [.., G·H]: X W_x + b, replaced by the gates' values; backwards those.
  var gates: UnsafeMutablePointer<Scalar>
  /// [.., S]: H, H as it enters the recurrent products (H itself, but for recurrent dropout), and H′.
  var hidden: UnsafePointer<Scalar>
  var hiddenInput: UnsafePointer<Scalar>
  var nextHidden: UnsafeMutablePointer<Scalar>
  /// [.., H], LSTM.
  var cell: UnsafePointer<Scalar>
  var nextCell: UnsafeMutablePointer<Scalar>
  /// [.., H], GRU.
  var recurrentTerm: UnsafeMutablePointer<Scalar>
  /// [.., H], projection: O ⊙ h(C′).
  var unprojected: UnsafeMutablePointer<Scalar>?
  /// LSTM, in training, and of general gates always: h(C′).
  var cellOutput: UnsafeMutablePointer<Scalar>?
  /// General gates, in training.
  var derivatives: UnsafeMutablePointer<Scalar>?
  var cellOutputDerivative: UnsafeMutablePointer<Scalar>?
}

/// One layer in one direction over time: the fused form of the equations in `Cells/`. `RecurrentBackward` is its backward pass.
///
/// The input's part of all sums is one product over all T·N rows; each step then adds the recurrent product and applies the
/// gates. Rows that do not have a step are left out of it altogether: their state stays, their output is zero.
extension RecurrentWeights {
  /// Slots of a trace's states before and after step t.
  func stateSlots(_ t: Int) -> (before: Int, after: Int) { isReverse ? (t &+ 1, t) : (t, t &+ 1) }

  /// - Parameters:
  ///   - input: [T, N, I].
  ///   - hidden: [N, S]: the initial state, replaced by the final one.
  ///   - cell: [N, H], LSTM.
  ///   - output: Where column 0 of this direction's S columns of [T, N, W] is.
  ///   - outputStride: W.
  ///   - trace: nil at inference.
  ///   - dropout: Draws the mask of the recurrent dropout, in training.
  ///   - usesThreads: Rows of the batch are independent of each other: each thread takes some of them through all steps.
  func forward(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, input: UnsafePointer<Scalar>,
    hidden: UnsafeMutablePointer<Scalar>, cell: UnsafeMutablePointer<Scalar>,
    output: UnsafeMutablePointer<Scalar>, outputStride: Int,
    scratch: RecurrentScratch<Scalar>, trace: RecurrentTrace<Scalar>?, dropout: PhiloxKey?, usesThreads: Bool
  ) {
    let (n, width) = (batch.rowCount, gateWidth)
    let hiddenCount = n &* stateSize, cellCount = n &* hiddenSize
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
      (trace.hidden + initial &* hiddenCount).update(from: hidden, count: hiddenCount)
      if self.cell.hasCellState { (trace.cell + initial &* cellCount).update(from: cell, count: cellCount) }
      if let mask = trace.recurrentMask { drawRecurrentMask(dropout, rows: n, into: mask) }
    }
    let parts = usesThreads ? threadParts(batch) : 1
    if parts > 1 {
      let kernels = copy kernels
      ThreadPool.run(parts: parts) { part in
        advance(
          kernels, batch, rows: rowSlice(of: n, part: part, parts: parts), gates: gates, hidden: hidden, cell: cell,
          output: output, outputStride: outputStride, scratch: scratch, trace: trace)
      }
    } else {
      advance(
        kernels, batch, rows: 0..<n, gates: gates, hidden: hidden, cell: cell, output: output, outputStride: outputStride,
        scratch: scratch, trace: trace)
    }
    if let trace {
      let final = isReverse ? 0 : batch.stepCount
      hidden.update(from: trace.hidden + final &* hiddenCount, count: hiddenCount)
      if self.cell.hasCellState { cell.update(from: trace.cell + final &* cellCount, count: cellCount) }
    }
  }

  /// Threads for the steps of a batch; eight rows fill a register tile.
  func threadParts(_ batch: SequenceBatch) -> Int {
    ThreadPool.parts(multiplyAdds: batch.cellCount &* gateWidth &* stateSize, units: batch.rowCount / 8)
  }

  /// The rows of a thread in training: whole register tiles, unless one thread would then have a quarter more rows than another.
  func rowSlice(of n: Int, part: Int, parts: Int) -> Range<Int> {
    let tiles = (n &+ 7) / 8
    let isEven = tiles % parts == 0 || tiles / parts >= 4
    return slice(of: n, part: part, parts: parts, unit: isEven ? 8 : 1)
  }

  /// Into how many parts the rows of a batch can be cut at most.
  static func rowParts(_ rowCount: Int) -> Int { max(1, rowCount / 8) }

  /// One mask for all steps: a function of row and unit. Without a key nothing is dropped.
  private func drawRecurrentMask(_ key: PhiloxKey?, rows: Int, into mask: UnsafeMutablePointer<Scalar>) {
    guard let key else { return mask.update(repeating: 1, count: rows &* stateSize) }
    let drop = InvertedDropout<Scalar>(probability: recurrentDropout)
    for n in 0..<rows {
      for unit in 0..<stateSize {
        let draw = key.draw(time: 0, row: UInt32(truncatingIfNeeded: n), unit: UInt32(truncatingIfNeeded: unit))
        mask[n &* stateSize &+ unit] = drop.factor(draw)
      }
    }
  }

  /// All steps of some rows.
  private func advance(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, rows: Range<Int>,
    gates: UnsafeMutablePointer<Scalar>, hidden: UnsafeMutablePointer<Scalar>, cell: UnsafeMutablePointer<Scalar>,
    output: UnsafeMutablePointer<Scalar>, outputStride: Int,
    scratch: RecurrentScratch<Scalar>, trace: RecurrentTrace<Scalar>?
  ) {
    let (n, s) = (batch.rowCount, stateSize)
    var step = 0
    while step < batch.stepCount {
      let t = isReverse ? batch.stepCount &- 1 &- step : step
      if let trace, batch.isRagged { keepStates(trace, batch, step: t, rows: rows) }
      var row = rows.lowerBound
      while let run = batch.activeRun(step: t, from: row, to: rows.upperBound) {
        let arrays: StepArrays<Scalar>
        if let trace {
          arrays = self.arrays(trace, batch, step: t, row: run.first, rows: run.count)
          if let mask = trace.recurrentMask, let masked = trace.maskedHidden {
            let count = run.count &* s, from = mask + run.first &* s, to = masked + (t &* n &+ run.first) &* s
            for j in 0..<count { to[j] = arrays.hidden[j] * from[j] }
          }
        } else {
          arrays = self.arrays(
            scratch, gates: gates + (t &* n &+ run.first) &* gateWidth, hidden: hidden, cell: cell, row: run.first,
            rows: run.count)
        }
        stepForward(kernels, arrays)
        row = run.first &+ run.count
      }
      let after = trace.map { $0.hidden + stateSlots(t).after &* n &* s } ?? hidden
      let stepOutput = output + t &* n &* outputStride
      var r = rows.lowerBound
      if !batch.isRagged && outputStride == s {
        (stepOutput + r &* s).update(from: after + r &* s, count: rows.count &* s)
        r = rows.upperBound
      }
      while r < rows.upperBound {
        let line = stepOutput + r &* outputStride
        if batch.isActive(step: t, row: r) {
          line.update(from: after + r &* s, count: s)
        } else {
          line.update(repeating: 0, count: s)
        }
        r &+= 1
      }
      step &+= 1
    }
  }

  /// Before the active rows of a step are computed: the others keep their state, and leave zeros where a sum over all rows will
  /// read what they did not compute.
  private func keepStates(_ trace: RecurrentTrace<Scalar>, _ batch: SequenceBatch, step t: Int, rows: Range<Int>) {
    let (n, h, s) = (batch.rowCount, hiddenSize, stateSize)
    let (before, after) = stateSlots(t)
    let first = rows.lowerBound, count = rows.count
    (trace.hidden + (after &* n &+ first) &* s).update(from: trace.hidden + (before &* n &+ first) &* s, count: count &* s)
    if cell.hasCellState {
      (trace.cell + (after &* n &+ first) &* h).update(from: trace.cell + (before &* n &+ first) &* h, count: count &* h)
    }
    let place = t &* n &+ first
    if cell.isGRU { (trace.recurrentTerm + place &* h).update(repeating: 0, count: count &* h) }
    if let unprojected = trace.unprojected { (unprojected + place &* h).update(repeating: 0, count: count &* h) }
    if let masked = trace.maskedHidden { (masked + place &* s).update(repeating: 0, count: count &* s) }
  }

  /// The arrays of a step in training.
  func arrays(
    _ trace: RecurrentTrace<Scalar>, _ batch: SequenceBatch, step t: Int, row: Int, rows: Int
  ) -> StepArrays<Scalar> {
    let (n, h, s) = (batch.rowCount, hiddenSize, stateSize)
    let (before, after) = stateSlots(t)
    let place = t &* n &+ row
    let hidden = UnsafePointer(trace.hidden + (before &* n &+ row) &* s)
    return StepArrays(
      rows: rows, gates: trace.gates + place &* gateWidth, hidden: hidden,
      hiddenInput: trace.maskedHidden.map { UnsafePointer($0 + place &* s) } ?? hidden,
      nextHidden: trace.hidden + (after &* n &+ row) &* s,
      cell: UnsafePointer(trace.cell + (before &* n &+ row) &* h), nextCell: trace.cell + (after &* n &+ row) &* h,
      recurrentTerm: trace.recurrentTerm + place &* h, unprojected: trace.unprojected.map { $0 + place &* h },
      cellOutput: trace.cellOutput.map { $0 + place &* h }, derivatives: trace.derivatives.map { $0 + place &* gateWidth },
      cellOutputDerivative: trace.cellOutputDerivative.map { $0 + place &* h })
  }

  /// The arrays of a step that keeps nothing: the state advances in place.
  @inline(__always)
  private func arrays(
    _ scratch: RecurrentScratch<Scalar>, gates: UnsafeMutablePointer<Scalar>, hidden: UnsafeMutablePointer<Scalar>,
    cell: UnsafeMutablePointer<Scalar>, row: Int, rows: Int
  ) -> StepArrays<Scalar> {
    let state = hidden + row &* stateSize, place = row &* hiddenSize
    return StepArrays(
      rows: rows, gates: gates, hidden: state, hiddenInput: state, nextHidden: state, cell: cell + place,
      nextCell: cell + place, recurrentTerm: scratch.recurrentTerm + place,
      unprojected: hasProjection ? scratch.unprojected + place : nil,
      cellOutput: self.gates.isPlain ? nil : scratch.cellOutput + place, derivatives: nil, cellOutputDerivative: nil)
  }

  /// One step of some rows.
  @inline(__always)
  private func stepForward(_ kernels: borrowing KernelTable<Scalar>, _ step: StepArrays<Scalar>) {
    let (h, s, width) = (hiddenSize, stateSize, gateWidth)
    // + H W_h: of all gates, or of a GRU's r and z.
    recurrentWeight.multiply(
      kernels, rows: step.rows, input: step.hiddenInput, inputRowStride: s, start: step.gates, startRowStride: width,
      output: step.gates, outputRowStride: width)
    if hasGeneralGates(keepsTrace: step.derivatives != nil) {
      generalGatesForward(kernels, step)
    } else {
      var arguments = GateArguments(rows: step.rows, hiddenSize: h, gates: step.gates, gatesStride: width)
      arguments.hidden = step.hiddenInput
      arguments.nextHidden = step.unprojected ?? step.nextHidden
      switch self.cell {
      case .vanilla(let nonlinearity):
        arguments.relu = nonlinearity == .relu
        kernels.vanillaForward(arguments)
      case .lstm:
        arguments.cell = step.cell
        arguments.nextCell = step.nextCell
        if let cellOutput = step.cellOutput {
          arguments.cellOutput = cellOutput
          arguments.keepsCellOutput = true
        }
        kernels.lstmForward(arguments)
      case .gru(let variant):
        arguments.recurrentTerm = step.recurrentTerm
        switch variant {
        case .resetBefore:
          kernels.gruGates(arguments)
          multiplyCandidate(kernels, step)
          kernels.gruBeforeForward(arguments)
        case .resetAfter:
          multiplyCandidate(kernels, step)
          kernels.gruAfterForward(arguments)
        }
      }
    }
    if let projectionWeight, let unprojected = step.unprojected {
      projectionWeight.multiply(
        kernels, rows: step.rows, input: unprojected, inputRowStride: h, start: nil, startRowStride: 0,
        output: step.nextHidden, outputRowStride: s)
    }
  }

  /// The recurrent product of a GRU's candidate: (R ⊙ H) W_hh added to the candidate's sum, or Q = H W_hh + b_hh.
  @inline(__always)
  func multiplyCandidate(_ kernels: borrowing KernelTable<Scalar>, _ step: StepArrays<Scalar>) {
    let (h, width) = (hiddenSize, gateWidth)
    if cell == .gru(.resetBefore) {
      let candidate = step.gates + CellKind.candidateGate &* h
      candidateWeight?.multiply(
        kernels, rows: step.rows, input: step.recurrentTerm, inputRowStride: h, start: candidate, startRowStride: width,
        output: candidate, outputRowStride: width)
    } else {
      candidateWeight?.multiply(
        kernels, rows: step.rows, input: step.hiddenInput, inputRowStride: h, start: candidateBias, startRowStride: 0,
        output: step.recurrentTerm, outputRowStride: h)
    }
  }
}

/// An element is 0 with the given probability, and multiplied by 1 / (1 - probability) otherwise.
struct InvertedDropout<Scalar: KernelScalar> {
  private let threshold: UInt64
  private let scale: Scalar

  init(probability: Double) {
    threshold = UInt64(probability * 4_294_967_296)
    scale = Scalar(1 / (1 - probability))
  }

  /// - Parameter draw: Uniform over all 32-bit words.
  @inline(__always)
  func factor(_ draw: UInt32) -> Scalar { UInt64(draw) < threshold ? 0 : scale }
}
