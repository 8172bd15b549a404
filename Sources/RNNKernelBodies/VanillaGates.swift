/// H′ = φ(·): `gates` [N, H] are pre-activations; writes `nextHidden`.
@_alwaysEmitIntoClient @inline(__always)
public func vanillaForwardBody<T: KernelTarget>(_ target: T.Type, _ a: GateArguments<T.Scalar>) {
  let h = a.hiddenSize
  T.forEachVector(rows: a.rows, columns: h) { row, j, lanes in
    let x = T.load(a.gates + (row &* a.gatesStride &+ j), lanes: lanes)
    T.store(T.nonlinearity(x, relu: a.relu), a.nextHidden + (row &* h &+ j), lanes: lanes)
  }
}

/// Reads `nextHidden` (H′) and `nextHiddenGradient`; writes `gateGradients` [N, H]: ∂L/∂H′ ⊙ φ′, through the result.
@_alwaysEmitIntoClient @inline(__always)
public func vanillaBackwardBody<T: KernelTarget>(_ target: T.Type, _ a: GateArguments<T.Scalar>) {
  let h = a.hiddenSize
  let one = T.Vector(repeating: 1)
  T.forEachVector(rows: a.rows, columns: h) { row, j, lanes in
    let y = T.load(UnsafePointer(a.nextHidden) + (row &* h &+ j), lanes: lanes)
    let dh = T.load(a.nextHiddenGradient + (row &* h &+ j), lanes: lanes)
    let gradient = a.relu ? T.reluGradient(dh, result: y) : dh * (one - y * y)
    T.store(gradient, a.gateGradients + a.gateGradientsLayout.place(row: row, unit: j), lanes: lanes)
  }
}
