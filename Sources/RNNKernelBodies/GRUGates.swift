// `gates` are [N, 3·H] in the order r, z, n throughout.

/// R, Z = σ(·) in place, and R ⊙ H into `recurrentTerm`: the first half of a reset-before step.
@_alwaysEmitIntoClient @inline(__always)
public func gruGatesBody<T: KernelTarget>(_ target: T.Type, _ a: GateArguments<T.Scalar>) {
  let h = a.hiddenSize
  T.forEachVector(rows: a.rows, columns: h) { row, j, lanes in
    let gates = a.gates + row &* a.gatesStride
    let offset = row &* h
    let r = T.sigmoid(T.load(gates + j, lanes: lanes))
    let z = T.sigmoid(T.load(gates + (h &+ j), lanes: lanes))
    T.store(r, gates + j, lanes: lanes)
    T.store(z, gates + (h &+ j), lanes: lanes)
    T.store(r * T.load(a.hidden + (offset &+ j), lanes: lanes), a.recurrentTerm + (offset &+ j), lanes: lanes)
  }
}

/// The second half: H̃ = tanh(·) in place, H′ = Z ⊙ H + (1 - Z) ⊙ H̃. `hidden` may be `nextHidden`.
@_alwaysEmitIntoClient @inline(__always)
public func gruBeforeForwardBody<T: KernelTarget>(_ target: T.Type, _ a: GateArguments<T.Scalar>) {
  let h = a.hiddenSize
  let one = T.Vector(repeating: 1)
  T.forEachVector(rows: a.rows, columns: h) { row, j, lanes in
    let gates = a.gates + row &* a.gatesStride
    let offset = row &* h
    let z = T.load(gates + (h &+ j), lanes: lanes)
    let n = T.tanh(T.load(gates + (2 &* h &+ j), lanes: lanes))
    T.store(n, gates + (2 &* h &+ j), lanes: lanes)
    let next = z * T.load(a.hidden + (offset &+ j), lanes: lanes) + (one - z) * n
    T.store(next, a.nextHidden + (offset &+ j), lanes: lanes)
  }
}

/// A whole reset-after step: R, Z = σ(·), H̃ = tanh(x-part + R ⊙ Q) with Q = H W_hh + b_hh in `recurrentTerm`, H′ as above.
@_alwaysEmitIntoClient @inline(__always)
public func gruAfterForwardBody<T: KernelTarget>(_ target: T.Type, _ a: GateArguments<T.Scalar>) {
  let h = a.hiddenSize
  let one = T.Vector(repeating: 1)
  T.forEachVector(rows: a.rows, columns: h) { row, j, lanes in
    let gates = a.gates + row &* a.gatesStride
    let offset = row &* h
    let r = T.sigmoid(T.load(gates + j, lanes: lanes))
    let z = T.sigmoid(T.load(gates + (h &+ j), lanes: lanes))
    let q = T.load(UnsafePointer(a.recurrentTerm) + (offset &+ j), lanes: lanes)
    let n = T.tanh(T.load(gates + (2 &* h &+ j), lanes: lanes) + r * q)
    T.store(r, gates + j, lanes: lanes)
    T.store(z, gates + (h &+ j), lanes: lanes)
    T.store(n, gates + (2 &* h &+ j), lanes: lanes)
    let next = z * T.load(a.hidden + (offset &+ j), lanes: lanes) + (one - z) * n
    T.store(next, a.nextHidden + (offset &+ j), lanes: lanes)
  }
}

/// What both variants begin their backward step with.
///
/// Reads `gates` (R, Z, H̃), `hidden`, `nextHiddenGradient`. Writes the update gate's and the candidate's columns of
/// `gateGradients` [N, 3·H], and `hiddenGradient` = ∂L/∂H′ ⊙ Z.
@_alwaysEmitIntoClient @inline(__always)
public func gruBackwardBody<T: KernelTarget>(_ target: T.Type, _ a: GateArguments<T.Scalar>) {
  let h = a.hiddenSize
  let one = T.Vector(repeating: 1)
  T.forEachVector(rows: a.rows, columns: h) { row, j, lanes in
    let gates = a.gates + row &* a.gatesStride
    let stride = a.gateGradientsLayout.gateStride
    let gradients = a.gateGradients + a.gateGradientsLayout.place(row: row, unit: j)
    let offset = row &* h
    let z = T.load(gates + (h &+ j), lanes: lanes)
    let n = T.load(gates + (2 &* h &+ j), lanes: lanes)
    let dh = T.load(a.nextHiddenGradient + (offset &+ j), lanes: lanes)
    let previous = T.load(a.hidden + (offset &+ j), lanes: lanes)
    T.store(dh * (previous - n) * (z * (one - z)), gradients + stride, lanes: lanes)
    T.store(dh * (one - z) * (one - n * n), gradients + 2 &* stride, lanes: lanes)
    T.store(dh * z, a.hiddenGradient + (offset &+ j), lanes: lanes)
  }
}

/// Reset-before, after the product ∂L/∂(R ⊙ H) = A_n W_hhᵀ, which is in `recurrentTermGradient`: writes the reset gate's
/// columns of `gateGradients`, and adds ∂L/∂(R ⊙ H) ⊙ R to `hiddenGradient`.
@_alwaysEmitIntoClient @inline(__always)
public func gruBeforeBackwardBody<T: KernelTarget>(_ target: T.Type, _ a: GateArguments<T.Scalar>) {
  let h = a.hiddenSize
  let one = T.Vector(repeating: 1)
  T.forEachVector(rows: a.rows, columns: h) { row, j, lanes in
    let gates = a.gates + row &* a.gatesStride
    let gradients = a.gateGradients + a.gateGradientsLayout.place(row: row, unit: j)
    let offset = row &* h
    let r = T.load(gates + j, lanes: lanes)
    let dq = T.load(
      UnsafePointer(a.recurrentTermGradient) + a.recurrentTermGradientLayout.place(row: row, unit: j), lanes: lanes)
    let dh = T.load(UnsafePointer(a.hiddenGradient) + (offset &+ j), lanes: lanes)
    T.store(dq * T.load(a.hidden + (offset &+ j), lanes: lanes) * (r * (one - r)), gradients, lanes: lanes)
    T.store(dh + dq * r, a.hiddenGradient + (offset &+ j), lanes: lanes)
  }
}

/// Reset-after: from the candidate's A_n and Q in `recurrentTerm`, the reset gate's columns of `gateGradients` and
/// ∂L/∂Q = A_n ⊙ R into `recurrentTermGradient`.
@_alwaysEmitIntoClient @inline(__always)
public func gruAfterBackwardBody<T: KernelTarget>(_ target: T.Type, _ a: GateArguments<T.Scalar>) {
  let h = a.hiddenSize
  let one = T.Vector(repeating: 1)
  T.forEachVector(rows: a.rows, columns: h) { row, j, lanes in
    let gates = a.gates + row &* a.gatesStride
    let stride = a.gateGradientsLayout.gateStride
    let gradients = a.gateGradients + a.gateGradientsLayout.place(row: row, unit: j)
    let offset = row &* h
    let r = T.load(gates + j, lanes: lanes)
    let candidate = T.load(UnsafePointer(gradients) + 2 &* stride, lanes: lanes)
    let q = T.load(UnsafePointer(a.recurrentTerm) + (offset &+ j), lanes: lanes)
    T.store(candidate * q * (r * (one - r)), gradients, lanes: lanes)
    T.store(candidate * r, a.recurrentTermGradient + a.recurrentTermGradientLayout.place(row: row, unit: j), lanes: lanes)
  }
}
