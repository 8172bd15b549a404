import RNNKernels

/// The elementwise part of a cell with any activations, limits, peepholes or coupled gates: one gate after the other, forward
/// beside backward. With the cell's own activations and no option the bits are those of the fused gate kernels.
///
/// Every activation leaves f′ beside its value in training, so that no backward step needs to know which function it was.
extension RecurrentWeights {
  /// y = f(x) in place, x first limited to [-clip, clip]; f′, 0 where the limit held, into `derivatives`.
  @inline(__always)
  private func activate(
    _ kernels: borrowing KernelTable<Scalar>, slot: Int, rows: Int, _ values: UnsafeMutablePointer<Scalar>, stride: Int,
    _ derivatives: UnsafeMutablePointer<Scalar>?, clip: Scalar
  ) {
    let function = gates.function(slot)
    kernels.activate(
      ActivateArguments(
        rows: rows, columns: hiddenSize, values: values, valuesStride: stride, derivatives: derivatives,
        derivativesStride: stride, kind: function.kind, alpha: function.alpha, beta: function.beta, clip: clip))
  }

  /// Activates the gate `slot` of [rows, G·H].
  @inline(__always)
  private func activateGate(_ kernels: borrowing KernelTable<Scalar>, _ slot: Int, _ step: StepArrays<Scalar>) {
    let offset = slot &* hiddenSize
    activate(
      kernels, slot: slot, rows: step.rows, step.gates + offset, stride: gateWidth, step.derivatives.map { $0 + offset },
      clip: gates.gateClip)
  }

  /// One step of some rows: `step.gates` holds the gates' sums but for the candidate of a GRU.
  func generalGatesForward(_ kernels: borrowing KernelTable<Scalar>, _ step: StepArrays<Scalar>) {
    switch cell {
    case .vanilla:
      activateGate(kernels, 0, step)
      for row in 0..<step.rows {
        (step.nextHidden + row &* hiddenSize).update(from: step.gates + row &* gateWidth, count: hiddenSize)
      }
    case .gru(let variant): generalGRUForward(kernels, variant, step)
    case .lstm: generalLSTMForward(kernels, step)
    }
  }

  private func generalGRUForward(_ kernels: borrowing KernelTable<Scalar>, _ variant: GRUVariant, _ step: StepArrays<Scalar>) {
    let (h, width) = (hiddenSize, gateWidth)
    activateGate(kernels, CellKind.resetGate, step)
    activateGate(kernels, CellKind.updateGate, step)
    switch variant {
    case .resetBefore:
      for row in 0..<step.rows {
        let R = step.gates + row &* width, H = step.hiddenInput + row &* h, Q = step.recurrentTerm + row &* h
        for j in 0..<h { Q[j] = R[j] * H[j] }
      }
      multiplyCandidate(kernels, step)
    case .resetAfter:
      multiplyCandidate(kernels, step)
      for row in 0..<step.rows {
        let R = step.gates + row &* width, N = R + CellKind.candidateGate &* h, Q = step.recurrentTerm + row &* h
        for j in 0..<h { N[j] = N[j] + R[j] * Q[j] }
      }
    }
    activateGate(kernels, CellKind.candidateGate, step)
    for row in 0..<step.rows {
      let Z = step.gates + row &* width + h, N = Z + h, H = step.hidden + row &* h, next = step.nextHidden + row &* h
      for j in 0..<h { next[j] = Z[j] * H[j] + (1 - Z[j]) * N[j] }
    }
  }

  private func generalLSTMForward(_ kernels: borrowing KernelTable<Scalar>, _ step: StepArrays<Scalar>) {
    let (h, width) = (hiddenSize, gateWidth)
    let I = step.gates, F = I + h, G = F + h, O = G + h
    if let peephole = gates.peephole {
      addDiagonal(rows: step.rows, I, peephole, step.cell)
      if !gates.isCoupled { addDiagonal(rows: step.rows, F, peephole + h, step.cell) }
    }
    activateGate(kernels, CellKind.inputGate, step)
    if gates.isCoupled {
      for row in 0..<step.rows {
        let I = I + row &* width, F = F + row &* width
        for j in 0..<h { F[j] = 1 - I[j] }
      }
    } else {
      activateGate(kernels, CellKind.forgetGate, step)
    }
    activateGate(kernels, CellKind.cellGate, step)
    for row in 0..<step.rows {
      let I = I + row &* width, F = F + row &* width, G = G + row &* width
      let C = step.cell + row &* h, next = step.nextCell + row &* h
      for j in 0..<h { next[j] = F[j] * C[j] + I[j] * G[j] }
    }
    if gates.cellClip > 0 {
      let limit = gates.cellClip
      // Comparisons, so that NaN stays.
      for j in 0..<step.rows &* h {
        let c = step.nextCell[j]
        step.nextCell[j] = c > limit ? limit : c < -limit ? -limit : c
      }
    }
    if let peephole = gates.peephole { addDiagonal(rows: step.rows, O, peephole + 2 &* h, UnsafePointer(step.nextCell)) }
    activateGate(kernels, CellKind.outputGate, step)
    guard let cellOutput = step.cellOutput else { return }
    cellOutput.update(from: step.nextCell, count: step.rows &* h)
    activate(
      kernels, slot: CellKind.outputActivation, rows: step.rows, cellOutput, stride: h, step.cellOutputDerivative,
      clip: gates.outputClip)
    let result = step.unprojected ?? step.nextHidden
    for row in 0..<step.rows {
      let O = O + row &* width, T = cellOutput + row &* h, next = result + row &* h
      for j in 0..<h { next[j] = O[j] * T[j] }
    }
  }

  /// gate[n, j] += diagonal[j] · C[n, j].
  private func addDiagonal(
    rows: Int, _ gate: UnsafeMutablePointer<Scalar>, _ diagonal: UnsafePointer<Scalar>, _ cell: UnsafePointer<Scalar>
  ) {
    let (h, width) = (hiddenSize, gateWidth)
    for row in 0..<rows {
      let gate = gate + row &* width, C = cell + row &* h
      for j in 0..<h { gate[j] = gate[j] + diagonal[j] * C[j] }
    }
  }

  // MARK: - Backward

  /// Gradients of the gates' sums into `a` [rows, G·H], from ∂L/∂(what the gates make: H′, or O ⊙ h(C′)) [rows, H].
  ///
  /// LSTM: `cellGradient` goes in as ∂L/∂C′ and comes out as ∂L/∂C. GRU: `passedGradient` receives ∂L/∂H′ ⊙ Z, what reaches H
  /// beside the products; it may be `resultGradient`; a reset-before candidate needs `generalResetBackward` afterwards.
  func generalGatesBackward(
    _ step: StepArrays<Scalar>, resultGradient: UnsafePointer<Scalar>, passedGradient: UnsafeMutablePointer<Scalar>,
    cellGradient: UnsafeMutablePointer<Scalar>, _ a: UnsafeMutablePointer<Scalar>,
    recurrentTermGradient: UnsafeMutablePointer<Scalar>
  ) {
    let (h, width) = (hiddenSize, gateWidth)
    guard let derivatives = step.derivatives else { return }
    switch cell {
    case .vanilla:
      for j in 0..<step.rows &* h { a[j] = resultGradient[j] * derivatives[j] }
    case .gru(let variant):
      for row in 0..<step.rows {
        let Z = step.gates + row &* width + h, N = Z + h, H = step.hidden + row &* h
        let dR = derivatives + row &* width, dZ = dR + h, dN = dZ + h
        let aR = a + row &* width, aZ = aR + h, aN = aZ + h
        let dH = resultGradient + row &* h, passed = passedGradient + row &* h
        for j in 0..<h {
          let d = dH[j]
          aZ[j] = d * (H[j] - N[j]) * dZ[j]
          aN[j] = d * (1 - Z[j]) * dN[j]
          passed[j] = d * Z[j]
        }
        guard variant == .resetAfter else { continue }
        let R = step.gates + row &* width, Q = step.recurrentTerm + row &* h, dQ = recurrentTermGradient + row &* h
        for j in 0..<h {
          aR[j] = aN[j] * Q[j] * dR[j]
          dQ[j] = aN[j] * R[j]
        }
      }
    case .lstm: generalLSTMBackward(step, derivatives, resultGradient, cellGradient, a)
    }
  }

  /// Reset-before, after dQ = A W_hhᵀ: the reset gate's gradient, and dQ ⊙ R, what reaches H as it entered the products, into
  /// `inputGradient`.
  func generalResetBackward(
    _ step: StepArrays<Scalar>, _ a: UnsafeMutablePointer<Scalar>, recurrentTermGradient: UnsafePointer<Scalar>,
    addingTo inputGradient: UnsafeMutablePointer<Scalar>
  ) {
    let (h, width) = (hiddenSize, gateWidth)
    guard let derivatives = step.derivatives else { return }
    for row in 0..<step.rows {
      let R = step.gates + row &* width, dR = derivatives + row &* width, H = step.hiddenInput + row &* h
      let dQ = recurrentTermGradient + row &* h, aR = a + row &* width, dH = inputGradient + row &* h
      for j in 0..<h {
        aR[j] = dQ[j] * H[j] * dR[j]
        dH[j] = dH[j] + dQ[j] * R[j]
      }
    }
  }

  private func generalLSTMBackward(
    _ step: StepArrays<Scalar>, _ derivatives: UnsafePointer<Scalar>, _ resultGradient: UnsafePointer<Scalar>,
    _ cellGradient: UnsafeMutablePointer<Scalar>, _ a: UnsafeMutablePointer<Scalar>
  ) {
    let (h, width) = (hiddenSize, gateWidth)
    guard let cellOutput = step.cellOutput else { return }
    addCellGradient(step, resultGradient, to: cellGradient)
    if gates.cellClip > 0 {
      // To what the limit was applied to; past it nothing of the gradient goes.
      for at in 0..<step.rows &* h where abs(step.nextCell[at]) >= gates.cellClip { cellGradient[at] = 0 }
    }
    for row in 0..<step.rows {
      let I = step.gates + row &* width, F = I + h, G = F + h
      let dI = derivatives + row &* width, dF = dI + h, dG = dF + h, dO = dG + h
      let aI = a + row &* width, aF = aI + h, aG = aF + h, aO = aG + h
      let C = step.cell + row &* h, T = cellOutput + row &* h
      let dM = resultGradient + row &* h, dC = cellGradient + row &* h
      for j in 0..<h {
        let d = dC[j]
        aO[j] = dM[j] * T[j] * dO[j]
        aG[j] = d * I[j] * dG[j]
        if gates.isCoupled {
          aI[j] = d * (G[j] - C[j]) * dI[j]
          aF[j] = 0
        } else {
          aI[j] = d * G[j] * dI[j]
          aF[j] = d * C[j] * dF[j]
        }
        dC[j] = d * F[j]
      }
      guard let peephole = gates.peephole else { continue }
      for j in 0..<h { dC[j] = dC[j] + (peephole[j] * aI[j] + peephole[h &+ j] * aF[j]) }
    }
  }

  /// Completes ∂L/∂C′, C′ as it is passed on: to what comes from the next step, what comes through O ⊙ h(C′) and the output
  /// gate's peephole.
  func addCellGradient(
    _ step: StepArrays<Scalar>, _ resultGradient: UnsafePointer<Scalar>, to cellGradient: UnsafeMutablePointer<Scalar>
  ) {
    let (h, width) = (hiddenSize, gateWidth)
    guard let derivatives = step.derivatives, let T = step.cellOutput, let dT = step.cellOutputDerivative else { return }
    for row in 0..<step.rows {
      let O = step.gates + row &* width + CellKind.outputGate &* h
      let dO = derivatives + row &* width + CellKind.outputGate &* h
      let first = row &* h
      for j in 0..<h {
        let at = first &+ j
        cellGradient[at] = cellGradient[at] + resultGradient[at] * O[j] * dT[at]
        if let peephole = gates.peephole {
          cellGradient[at] = cellGradient[at] + resultGradient[at] * T[at] * dO[j] * peephole[2 &* h &+ j]
        }
      }
    }
  }
}
