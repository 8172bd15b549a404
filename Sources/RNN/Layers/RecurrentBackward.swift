import RNNKernels

/// Backpropagation through time of one layer in one direction.
extension RecurrentWeights {
  /// Where a layer's gradients of all steps go in the memory of a pass.
  ///
  /// In blocks, where nobody reads them otherwise, so that the gradients of the weights need no packing. Of a small layer rows are as
  /// good.
  func gradients(
    in scratch: BackwardScratch<Scalar>, _ batch: SequenceBatch, _ transposed: BackwardWeights<Scalar>.Layer, wantsInputGradient: Bool
  ) -> LayerGradients<Scalar> {
    let (h, cells) = (hiddenSize, batch.cellCount)
    let gates = scratch.gateGradients, term = scratch.recurrentTermGradient
    let termsInRows = GateMatrix(term, units: h, columns: h)
    let isBlocked =
      h >= 64 && !hasGeneralGates(keepsTrace: true) && transposed.recurrent.takesBlocks && transposed.candidate?.takesBlocks != false
      && (!wantsInputGradient || transposed.input.takesBlocks)
    guard isBlocked else {
      return LayerGradients(gates: GateMatrix(gates, units: h, columns: gateWidth), recurrentTerm: termsInRows)
    }
    return LayerGradients(
      gates: GateMatrix(gates, units: h, blocksOfRows: cells),
      recurrentTerm: cell == .gru(.resetAfter) ? GateMatrix(term, units: h, blocksOfRows: cells) : termsInRows)
  }

  /// The recurrence: gradients of the gates of all steps into `gradients`, for `backwardProducts`.
  ///
  /// - Parameters:
  ///   - outputGradient: Column 0 of this direction in ∂L/∂output [T, N, W].
  ///   - hiddenGradient: [N, S]: ∂L/∂(final state), replaced by ∂L/∂(initial state).
  ///   - cellGradient: The same of C, [N, H].
  ///   - hiddenClip: Limits the norm of each row's ∂L/∂H_t; 0: no limit.
  ///   - flow: Receives the norms of each step, or nil.
  func backwardRecurrence(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, _ transposed: BackwardWeights<Scalar>.Layer,
    trace: RecurrentTrace<Scalar>, outputGradient: UnsafePointer<Scalar>, outputGradientStride: Int,
    hiddenGradient: UnsafeMutablePointer<Scalar>, cellGradient: UnsafeMutablePointer<Scalar>,
    into gradients: LayerGradients<Scalar>, scratch: BackwardScratch<Scalar>, hiddenClip: Double, flow: LayerFlow?
  ) {
    let n = batch.rowCount
    if batch.isRagged {
      // The room that blocks need, rows have too.
      let cells = batch.cellCount, h = hiddenSize
      gradients.gates.base.update(repeating: 0, count: cells &* GateMatrix<Scalar>.blockedWidth(gates: gateCount, units: h))
      if cell.isGRU {
        gradients.recurrentTerm.base.update(repeating: 0, count: cells &* GateMatrix<Scalar>.blockedWidth(gates: 1, units: h))
      }
      if hasProjection { scratch.hiddenGradients.update(repeating: 0, count: batch.cellCount &* stateSize) }
    }
    // The flow is a sum over all rows of a step: they stay together.
    let parts = flow == nil ? threadParts(batch) : 1
    let ownKernels = copy kernels
    ThreadPool.run(parts: parts) { part in
      retreat(
        ownKernels, batch, transposed, rows: rowSlice(of: n, part: part, parts: parts), trace: trace,
        outputGradient: outputGradient, outputGradientStride: outputGradientStride, hiddenGradient: hiddenGradient,
        cellGradient: cellGradient, into: gradients, scratch: scratch, hiddenClip: hiddenClip, flow: flow)
    }
  }

  /// The products over all steps at once, after the recurrence.
  ///
  /// - Parameters:
  ///   - input: X of the forward pass, [T, N, I], with zeros in padding.
  ///   - inputGradient: [T, N, I]: receives ∂L/∂X, or ∂L/∂X is added to it; nil where nobody wants it.
  ///   - parameterGradients: ∂L/∂parameters of the whole network; this layer's part is overwritten.
  func backwardProducts(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, _ transposed: BackwardWeights<Scalar>.Layer,
    trace: RecurrentTrace<Scalar>, input: UnsafePointer<Scalar>, inputGradient: UnsafeMutablePointer<Scalar>?,
    addsToInputGradient: Bool, gradients: LayerGradients<Scalar>, parameterGradients: UnsafeMutablePointer<Scalar>?,
    scratch: BackwardScratch<Scalar>
  ) {
    if let inputGradient {
      transposed.input.multiplyOnThreads(
        kernels, rows: batch.cellCount, input: gradients.gates,
        start: addsToInputGradient ? UnsafePointer(inputGradient) : nil, startRowStride: inputSize,
        output: inputGradient, outputRowStride: inputSize)
    }
    guard let parameterGradients else { return }
    addWeightGradients(kernels, batch, trace: trace, input: input, gradients, scratch: scratch, to: parameterGradients)
  }

  /// All steps of some rows, from the last to the first.
  private func retreat(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, _ transposed: BackwardWeights<Scalar>.Layer,
    rows: Range<Int>, trace: RecurrentTrace<Scalar>, outputGradient: UnsafePointer<Scalar>, outputGradientStride: Int,
    hiddenGradient: UnsafeMutablePointer<Scalar>, cellGradient: UnsafeMutablePointer<Scalar>,
    into layer: LayerGradients<Scalar>, scratch: BackwardScratch<Scalar>, hiddenClip: Double, flow: LayerFlow?
  ) {
    let (n, h, s) = (batch.rowCount, hiddenSize, stateSize)
    var step = batch.stepCount &- 1
    while step >= 0 {
      let t = isReverse ? batch.stepCount &- 1 &- step : step
      var norms = FlowSums()
      var row = rows.lowerBound
      while let run = batch.activeRun(step: t, from: row, to: rows.upperBound) {
        let place = t &* n &+ run.first
        let dh = hiddenGradient + run.first &* s, dc = cellGradient + run.first &* h
        kernels.add(
          AddArguments(
            rows: run.count, columns: s, values: dh, valuesStride: s,
            addend: outputGradient + place &* outputGradientStride, addendStride: outputGradientStride))
        if flow != nil { norms.hidden += sumOfSquares(kernels, dh, count: run.count &* s) }
        if hiddenClip > 0 {
          clipRows(kernels, dh, rows: run.count, limit: hiddenClip)
          if flow != nil { norms.clipped += sumOfSquares(kernels, dh, count: run.count &* s) }
        }
        let gradients = StepGradients(
          hidden: dh, cell: dc, gates: layer.gates.rows(from: place), recurrentTerm: layer.recurrentTerm.rows(from: place),
          unprojected: scratch.unprojectedGradient + run.first &* h, masked: scratch.maskedGradient + run.first &* s,
          cellTotal: scratch.cellTotal + run.first &* h,
          recurrentMask: trace.recurrentMask.map { UnsafePointer($0 + run.first &* s) })
        if hasProjection {
          (scratch.hiddenGradients + place &* s).update(from: dh, count: run.count &* s)
        }
        let arrays = self.arrays(trace, batch, step: t, row: run.first, rows: run.count)
        stepBackward(kernels, transposed, arrays, gradients, &norms, measuresCell: flow != nil)
        row = run.first &+ run.count
      }
      flow?.store(norms, step: t, isClipped: hiddenClip > 0)
      step &-= 1
    }
  }

  /// Where the gradients of some rows of a step are.
  private struct StepGradients {
    /// [.., S]: ∂L/∂H′, replaced by ∂L/∂H.
    var hidden: UnsafeMutablePointer<Scalar>
    /// [.., H], LSTM: ∂L/∂C′ from the next step, replaced by ∂L/∂C.
    var cell: UnsafeMutablePointer<Scalar>
    /// [.., G·H].
    var gates: GateMatrix<Scalar>
    /// [.., H], GRU.
    var recurrentTerm: GateMatrix<Scalar>
    /// [.., H], projection.
    var unprojected: UnsafeMutablePointer<Scalar>
    /// [.., S], recurrent dropout: what comes back through the products; and the mask.
    var masked: UnsafeMutablePointer<Scalar>
    /// [.., H], LSTM, for the flow.
    var cellTotal: UnsafeMutablePointer<Scalar>
    var recurrentMask: UnsafePointer<Scalar>?
  }

  /// One step of some rows.
  @inline(__always)
  private func stepBackward(
    _ kernels: borrowing KernelTable<Scalar>, _ transposed: BackwardWeights<Scalar>.Layer, _ step: StepArrays<Scalar>,
    _ gradients: StepGradients, _ norms: inout FlowSums, measuresCell: Bool
  ) {
    let (h, s, rows) = (hiddenSize, stateSize, step.rows)
    let dh = gradients.hidden
    var result = UnsafePointer(dh)
    if let projection = transposed.projection {
      projection.multiply(
        kernels, rows: rows, input: dh, inputRowStride: s, start: nil, startRowStride: 0, output: gradients.unprojected,
        outputRowStride: h)
      result = UnsafePointer(gradients.unprojected)
    }
    if measuresCell, cell.hasCellState { norms.cell += cellGradientSquares(kernels, step, result, gradients) }
    // What comes back through the recurrent products: into ∂L/∂H itself, or apart, to pass the mask of the recurrent dropout.
    let isMasked = gradients.recurrentMask != nil
    let back = isMasked ? gradients.masked : dh
    // Of a GRU, what passes through Z (and R) is in it already.
    let start = cell.isGRU ? UnsafePointer(back) : nil
    if isMasked && cell.isGRU { back.update(repeating: 0, count: rows &* s) }

    if hasGeneralGates(keepsTrace: true) {
      generalGatesBackward(
        step, resultGradient: result, passedGradient: dh, cellGradient: gradients.cell, gradients.gates.base,
        recurrentTermGradient: gradients.recurrentTerm.base)
      if cell == .gru(.resetBefore) {
        multiplyCandidateBack(kernels, transposed, rows: rows, gradients)
        generalResetBackward(step, gradients.gates.base, recurrentTermGradient: gradients.recurrentTerm.base, addingTo: back)
      }
    } else {
      gatesBackward(kernels, transposed, step, gradients, result)
    }

    transposed.recurrent.multiply(
      kernels, rows: rows, input: gradients.gates, start: start, startRowStride: h, output: back, outputRowStride: s)
    if cell == .gru(.resetAfter) {
      transposed.candidate?.multiply(
        kernels, rows: rows, input: gradients.recurrentTerm, start: back, startRowStride: h, output: back, outputRowStride: h)
    }
    if let mask = gradients.recurrentMask {
      if cell.isGRU {
        for j in 0..<rows &* s { dh[j] = dh[j] + mask[j] * back[j] }
      } else {
        for j in 0..<rows &* s { dh[j] = mask[j] * back[j] }
      }
    }
  }

  /// The fused gate kernels.
  @inline(__always)
  private func gatesBackward(
    _ kernels: borrowing KernelTable<Scalar>, _ transposed: BackwardWeights<Scalar>.Layer, _ step: StepArrays<Scalar>,
    _ gradients: StepGradients, _ resultGradient: UnsafePointer<Scalar>
  ) {
    var arguments = GateArguments(rows: step.rows, hiddenSize: hiddenSize, gates: step.gates, gatesStride: gateWidth)
    arguments.hidden = step.hidden
    arguments.nextHidden = step.nextHidden
    arguments.cell = step.cell
    arguments.nextCell = step.nextCell
    if let cellOutput = step.cellOutput { arguments.cellOutput = cellOutput }
    arguments.recurrentTerm = step.recurrentTerm
    arguments.recurrentTermGradient = gradients.recurrentTerm.base
    arguments.recurrentTermGradientLayout = gradients.recurrentTerm.layout
    arguments.gateGradients = gradients.gates.base
    arguments.gateGradientsLayout = gradients.gates.layout
    arguments.nextHiddenGradient = resultGradient
    arguments.hiddenGradient = gradients.hidden
    arguments.cellGradient = gradients.cell
    switch cell {
    case .vanilla(let nonlinearity):
      arguments.relu = nonlinearity == .relu
      kernels.vanillaBackward(arguments)
    case .lstm:
      kernels.lstmBackward(arguments)
    case .gru(.resetBefore):
      kernels.gruBackward(arguments)
      multiplyCandidateBack(kernels, transposed, rows: step.rows, gradients)
      kernels.gruBeforeBackward(arguments)
    case .gru(.resetAfter):
      kernels.gruBackward(arguments)
      kernels.gruAfterBackward(arguments)
    }
  }

  /// ∂L/∂(R ⊙ H) = A W_hhᵀ of a reset-before candidate.
  @inline(__always)
  private func multiplyCandidateBack(
    _ kernels: borrowing KernelTable<Scalar>, _ transposed: BackwardWeights<Scalar>.Layer, rows: Int,
    _ gradients: StepGradients
  ) {
    transposed.candidate?.multiply(
      kernels, rows: rows, input: gradients.gates, fromGate: CellKind.candidateGate, start: nil, startRowStride: 0,
      output: gradients.recurrentTerm.base, outputRowStride: hiddenSize)
  }

  private func sumOfSquares(
    _ kernels: borrowing KernelTable<Scalar>, _ values: UnsafePointer<Scalar>, count: Int
  ) -> Double {
    var sum = 0.0
    kernels.sumOfSquares(SquareSumArguments(count: count, values: values, result: &sum))
    return sum
  }

  /// Each row by itself, so that a row in a batch is clipped like the row alone.
  private func clipRows(
    _ kernels: borrowing KernelTable<Scalar>, _ values: UnsafeMutablePointer<Scalar>, rows: Int, limit: Double
  ) {
    for row in 0..<rows {
      let line = values + row &* stateSize
      let norm = sumOfSquares(kernels, line, count: stateSize).squareRoot()
      guard norm > limit, norm.isFinite else { continue }
      let scale = Scalar(limit / norm)
      for j in 0..<stateSize { line[j] = line[j] * scale }
    }
  }

  /// ||∂L/∂C′||² of some rows: what comes from the next step and through H′. The cell's gradient itself stays as it is.
  private func cellGradientSquares(
    _ kernels: borrowing KernelTable<Scalar>, _ step: StepArrays<Scalar>, _ resultGradient: UnsafePointer<Scalar>,
    _ gradients: StepGradients
  ) -> Double {
    let (h, width, rows) = (hiddenSize, gateWidth, step.rows)
    let dC = gradients.cellTotal
    if gates.isPlain {
      dC.update(from: step.nextCell, count: rows &* h)
      kernels.tanh(ElementArguments(count: rows &* h, values: dC))
      for row in 0..<rows {
        let O = step.gates + row &* width + CellKind.outputGate &* h
        for j in 0..<h {
          let at = row &* h &+ j
          dC[at] = gradients.cell[at] + resultGradient[at] * O[j] * (1 - dC[at] * dC[at])
        }
      }
    } else {
      dC.update(from: gradients.cell, count: rows &* h)
      addCellGradient(step, resultGradient, to: dC)
    }
    return sumOfSquares(kernels, dC, count: rows &* h)
  }

  // MARK: - Weights

  /// Sums over all steps and rows, in one chain of ascending rows for each element of a weight's gradient.
  private func addWeightGradients(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, trace: RecurrentTrace<Scalar>,
    input: UnsafePointer<Scalar>, _ layer: LayerGradients<Scalar>, scratch: BackwardScratch<Scalar>,
    to gradients: UnsafeMutablePointer<Scalar>
  ) {
    let (h, s, width, rows) = (hiddenSize, stateSize, gateWidth, batch.cellCount)
    let hiddenBefore = UnsafePointer(trace.hidden + (isReverse ? batch.rowCount &* s : 0))
    let hiddenInput = trace.maskedHidden.map { UnsafePointer($0) } ?? hiddenBefore
    let weightHHGradient = gradients + places.weightHH
    let candidate = CellKind.candidateGate &* h
    var products = [
      TransposedProduct(
        leftColumns: 0..<width, right: input, rightColumns: inputSize, rightRowStride: inputSize,
        output: gradients + places.weightIH, outputRowStride: inputSize),
      TransposedProduct(
        leftColumns: 0..<(cell.isGRU ? candidate : width), right: hiddenInput, rightColumns: s, rightRowStride: s,
        output: weightHHGradient, outputRowStride: s),
    ]
    if cell == .gru(.resetBefore) {
      products.append(
        TransposedProduct(
          leftColumns: candidate..<width, right: UnsafePointer(trace.recurrentTerm), rightColumns: h, rightRowStride: h,
          output: weightHHGradient + candidate &* h, outputRowStride: h))
    }
    multiplyTransposed(kernels, rows: rows, left: layer.gates, products)
    if cell == .gru(.resetAfter) {
      let product = TransposedProduct(
        leftColumns: 0..<h, right: hiddenInput, rightColumns: h, rightRowStride: h, output: weightHHGradient + candidate &* h,
        outputRowStride: h)
      multiplyTransposed(kernels, rows: rows, left: layer.recurrentTerm, [product])
    }
    if let unprojected = trace.unprojected {
      let product = TransposedProduct(
        leftColumns: 0..<s, right: UnsafePointer(unprojected), rightColumns: h, rightRowStride: h,
        output: gradients + places.weightHR, outputRowStride: h)
      multiplyTransposed(kernels, rows: rows, left: scratch.hiddenGradients, leftRowStride: s, [product])
    }
    if places.peephole >= 0 {
      let target = gradients + places.peephole
      let cellBefore = trace.cell + (isReverse ? batch.rowCount &* h : 0)
      let cellAfter = trace.cell + (isReverse ? 0 : batch.rowCount &* h)
      for (row, gate) in [CellKind.inputGate, CellKind.forgetGate, CellKind.outputGate].enumerated() {
        addDiagonalGradient(
          rows: rows, layer.gates.base + gate &* h, gate == CellKind.outputGate ? cellAfter : cellBefore, into: target + row &* h)
      }
    }
    guard places.biasIH >= 0 else { return }
    let biasGradient = gradients + places.biasIH
    layer.gates.sumColumns(kernels, rows: rows, gates: gateCount, into: biasGradient)
    guard places.biasHH >= 0 else { return }
    let recurrentBiasGradient = gradients + places.biasHH
    recurrentBiasGradient.update(from: biasGradient, count: width)
    if cell == .gru(.resetAfter) {
      layer.recurrentTerm.sumColumns(
        kernels, rows: rows, gates: 1, into: recurrentBiasGradient + CellKind.candidateGate &* h)
    }
  }

  /// gradient[j] = Σ_r a[r, j] · C[r, j], rows ascending.
  private func addDiagonalGradient(
    rows: Int, _ a: UnsafePointer<Scalar>, _ cell: UnsafePointer<Scalar>, into gradient: UnsafeMutablePointer<Scalar>
  ) {
    let (h, width) = (hiddenSize, gateWidth)
    gradient.update(repeating: 0, count: h)
    for row in 0..<rows {
      let a = a + row &* width, C = cell + row &* h
      for j in 0..<h { gradient[j] = gradient[j] + a[j] * C[j] }
    }
  }
}
