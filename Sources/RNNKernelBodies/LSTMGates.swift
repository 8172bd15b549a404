/// The elementwise part of an LSTM step.
///
///     I, F, O = σ(·)   C̃ = tanh(·)   C′ = F ⊙ C + I ⊙ C̃   H′ = O ⊙ tanh(C′)
///
/// Reads `gates` [N, 4·H] (pre-activations in the order i, f, g, o; replaced by I, F, C̃, O) and `cell`; writes `nextCell` and
/// `nextHidden`, and for the backward pass `cellOutput`, tanh(C′). `cell` may be `nextCell`.
@_alwaysEmitIntoClient @inline(__always)
public func lstmForwardBody<T: KernelTarget>(_ target: T.Type, _ a: GateArguments<T.Scalar>) {
  let h = a.hiddenSize
  T.forEachVector(rows: a.rows, columns: h) { row, j, lanes in
    let gates = a.gates + row &* a.gatesStride
    let offset = row &* h
    let i = T.sigmoid(T.load(gates + j, lanes: lanes))
    let f = T.sigmoid(T.load(gates + (h &+ j), lanes: lanes))
    let g = T.tanh(T.load(gates + (2 &* h &+ j), lanes: lanes))
    let o = T.sigmoid(T.load(gates + (3 &* h &+ j), lanes: lanes))
    let c = f * T.load(a.cell + (offset &+ j), lanes: lanes) + i * g
    T.store(i, gates + j, lanes: lanes)
    T.store(f, gates + (h &+ j), lanes: lanes)
    T.store(g, gates + (2 &* h &+ j), lanes: lanes)
    T.store(o, gates + (3 &* h &+ j), lanes: lanes)
    T.store(c, a.nextCell + (offset &+ j), lanes: lanes)
    let t = T.tanh(c)
    if a.keepsCellOutput { T.store(t, a.cellOutput + (offset &+ j), lanes: lanes) }
    T.store(o * t, a.nextHidden + (offset &+ j), lanes: lanes)
  }
}

/// Backward of `lstmForwardBody`.
///
/// Reads `gates` (I, F, C̃, O), `cell`, `cellOutput`, `nextHiddenGradient`; `cellGradient` goes in as ∂L/∂C′ and comes out as
/// ∂L/∂C. Writes `gateGradients` [N, 4·H].
@_alwaysEmitIntoClient @inline(__always)
public func lstmBackwardBody<T: KernelTarget>(_ target: T.Type, _ a: GateArguments<T.Scalar>) {
  let h = a.hiddenSize
  let one = T.Vector(repeating: 1)
  T.forEachVector(rows: a.rows, columns: h) { row, j, lanes in
    let gates = a.gates + row &* a.gatesStride
    let stride = a.gateGradientsLayout.gateStride
    let gradients = a.gateGradients + a.gateGradientsLayout.place(row: row, unit: j)
    let offset = row &* h
    let i = T.load(gates + j, lanes: lanes)
    let f = T.load(gates + (h &+ j), lanes: lanes)
    let g = T.load(gates + (2 &* h &+ j), lanes: lanes)
    let o = T.load(gates + (3 &* h &+ j), lanes: lanes)
    let dh = T.load(a.nextHiddenGradient + (offset &+ j), lanes: lanes)
    let t = T.load(UnsafePointer(a.cellOutput) + (offset &+ j), lanes: lanes)
    let dc = T.load(a.cellGradient + (offset &+ j), lanes: lanes) + dh * o * (one - t * t)
    T.store(dc * g * (i * (one - i)), gradients, lanes: lanes)
    T.store(dc * T.load(a.cell + (offset &+ j), lanes: lanes) * (f * (one - f)), gradients + stride, lanes: lanes)
    T.store(dc * i * (one - g * g), gradients + 2 &* stride, lanes: lanes)
    T.store(dh * t * (o * (one - o)), gradients + 3 &* stride, lanes: lanes)
    T.store(dc * f, a.cellGradient + (offset &+ j), lanes: lanes)
  }
}
