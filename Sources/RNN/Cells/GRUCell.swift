import RNNKernels

/// One step of the gated recurrent unit, in both of its forms.
///
///     R  = σ(X W_xr + H W_hr + b_r)                        reset gate: short-term dependencies
///     Z  = σ(X W_xz + H W_hz + b_z)                        update gate: long-term dependencies
///     H̃  = tanh(X W_xh + (R ⊙ H) W_hh + b_h)               candidate state, ``GRUVariant/resetBefore``
///     H̃  = tanh(X W_xh + b_xh + R ⊙ (H W_hh + b_hh))       candidate state, ``GRUVariant/resetAfter``
///     H′ = Z ⊙ H + (1 - Z) ⊙ H̃
///
/// Arrays are row-major: X [N, I], H [N, H]. The weights are stacked in PyTorch's order r, z, n (n is H̃): weight_ih [3·H, I],
/// weight_hh [3·H, H]; W_xr is the transpose of the first H rows of weight_ih, and so on. The caller has checked them; they do
/// not overlap. Must run inside `withNumericMode`.
///
/// - SeeAlso: Cho et al. 2014, arXiv:1406.1078: v3 has reset-before, v1 reset-after.
public struct GRUCell<Scalar: KernelScalar> {
  public let variant: GRUVariant
  /// N, I, H.
  public let batchSize, inputSize, hiddenSize: Int

  public init(_ variant: GRUVariant = .resetBefore, batchSize: Int, inputSize: Int, hiddenSize: Int) {
    self.variant = variant
    self.batchSize = batchSize
    self.inputSize = inputSize
    self.hiddenSize = hiddenSize
  }

  /// - Parameters:
  ///   - hidden: H [N, H], nil for zeros.
  ///   - biasIH: [3·H], nil for zeros.
  ///   - biasHH: [3·H], nil for zeros. Added to `biasIH`, but for reset-after's candidate, where it is b_hh.
  ///   - nextHidden: Receives H′ [N, H].
  ///   - trace: Receives R, Z, H̃, Q in each row, [N, 4·H], for `backward`. Q is R ⊙ H, or H W_hh + b_hh for reset-after.
  public func forward(
    input: UnsafePointer<Scalar>, hidden: UnsafePointer<Scalar>?,
    weightIH: UnsafePointer<Scalar>, weightHH: UnsafePointer<Scalar>,
    biasIH: UnsafePointer<Scalar>?, biasHH: UnsafePointer<Scalar>?,
    nextHidden: UnsafeMutablePointer<Scalar>, trace: UnsafeMutablePointer<Scalar>?
  ) throws(RNNError) {
    let math = CellMath<Scalar>()
    let (n, i, h) = (batchSize, inputSize, hiddenSize)
    let width = 4 * h
    let scratch = try makeBuffer(Scalar.self, count: 4 * h + 5 * n * h, for: "a GRU step")
    let bias = scratch.baseAddress
    let previous = hidden ?? UnsafePointer(bias + 4 * h)
    let gates = trace ?? bias + (4 * h + n * h)
    let candidate = gates + 2 * h, recurrent = gates + 3 * h
    let candidateWeightHH = weightHH + 2 * h * h
    combineBiases(biasIH, biasHH, count: 3 * h, into: bias)
    if variant == .resetAfter, let biasHH {
      // b_xh stays by itself; b_hh enters the recurrent sum below.
      combineBiases(biasIH.map { $0 + 2 * h }, nil, count: h, into: bias + 2 * h)
      (bias + 3 * h).update(from: biasHH + 2 * h, count: h)
    }

    // X W_x + b of all three, [N, 3·H]; then + H W_h for R and Z
    math.product(rows: n, input, columns: i, weightIH, outputs: 3 * h, start: bias, startStride: 0, into: gates, outputStride: width)
    math.product(
      rows: n, previous, columns: h, weightHH, outputs: 2 * h, start: gates, startStride: width, into: gates, outputStride: width)
    for row in 0..<n { math.sigmoid(gates + row * width, count: 2 * h) }

    switch variant {
    case .resetBefore:
      for row in 0..<n {
        let R = gates + row * width, Q = recurrent + row * width, H = previous + row * h
        for j in 0..<h { Q[j] = R[j] * H[j] }
      }
      // + (R ⊙ H) W_hh
      math.product(
        rows: n, recurrent, columns: h, stride: width, candidateWeightHH, outputs: h, start: candidate, startStride: width,
        into: candidate, outputStride: width)
    case .resetAfter:
      // Q = H W_hh + b_hh
      math.product(
        rows: n, previous, columns: h, candidateWeightHH, outputs: h, start: bias + 3 * h, startStride: 0, into: recurrent,
        outputStride: width)
      for row in 0..<n {
        let R = gates + row * width, Q = recurrent + row * width, N = candidate + row * width
        for j in 0..<h { N[j] = N[j] + R[j] * Q[j] }
      }
    }

    for row in 0..<n {
      let Z = gates + row * width + h, N = candidate + row * width, H = previous + row * h, next = nextHidden + row * h
      math.tanh(N, count: h)
      for j in 0..<h { next[j] = Z[j] * H[j] + (1 - Z[j]) * N[j] }
    }
  }

  /// With A the gradient of the candidate's sum, A = ∂L/∂H′ ⊙ (1 - Z) ⊙ (1 - H̃²):
  ///
  ///     reset-before   ∂L/∂(R ⊙ H) = A W_hhᵀ,  ∂L/∂R = ∂L/∂(R ⊙ H) ⊙ H,  ∂L/∂W_hh = (R ⊙ H)ᵀ A
  ///     reset-after    ∂L/∂Q = A ⊙ R,          ∂L/∂R = A ⊙ Q,              ∂L/∂W_hh = Hᵀ (A ⊙ R)
  ///
  /// - Parameters:
  ///   - trace: R, Z, H̃, Q of the forward call, [N, 4·H].
  ///   - biasIHGradient, biasHHGradient: [3·H]; they differ in reset-after's candidate only.
  public func backward(
    input: UnsafePointer<Scalar>, hidden: UnsafePointer<Scalar>?,
    weightIH: UnsafePointer<Scalar>, weightHH: UnsafePointer<Scalar>,
    trace: UnsafePointer<Scalar>, nextHiddenGradient: UnsafePointer<Scalar>,
    inputGradient: UnsafeMutablePointer<Scalar>?, hiddenGradient: UnsafeMutablePointer<Scalar>?,
    weightIHGradient: UnsafeMutablePointer<Scalar>?, weightHHGradient: UnsafeMutablePointer<Scalar>?,
    biasIHGradient: UnsafeMutablePointer<Scalar>?, biasHHGradient: UnsafeMutablePointer<Scalar>?
  ) throws(RNNError) {
    let math = CellMath<Scalar>()
    let (n, i, h) = (batchSize, inputSize, hiddenSize)
    let width = 4 * h
    let scratch = try makeBuffer(Scalar.self, count: 7 * n * h, for: "a GRU backward step")
    let a = scratch.baseAddress  // [N, 3·H]: gradients of the sums of r, z, n
    let dQ = a + 3 * n * h  // ∂L/∂Q
    let dH = dQ + n * h
    let Qs = dH + n * h  // Q without the gates beside it
    let previous = hidden ?? UnsafePointer(Qs + n * h)
    let candidateWeightHH = weightHH + 2 * h * h

    for row in 0..<n {
      let Z = trace + row * width + h, N = Z + h, Q = N + h
      let aZ = a + row * 3 * h + h, aN = aZ + h
      for j in 0..<h {
        let at = row * h + j
        let dNext = nextHiddenGradient[at]
        aZ[j] = dNext * (previous[at] - N[j]) * (Z[j] * (1 - Z[j]))
        aN[j] = dNext * (1 - Z[j]) * (1 - N[j] * N[j])
        dH[at] = dNext * Z[j]
        Qs[at] = Q[j]
      }
    }

    if variant == .resetBefore {
      math.productBack(rows: n, a + 2 * h, columns: h, stride: 3 * h, candidateWeightHH, outputs: h, start: nil, into: dQ)
    }
    for row in 0..<n {
      let R = trace + row * width, aR = a + row * 3 * h, aN = aR + 2 * h
      for j in 0..<h {
        let at = row * h + j
        switch variant {
        case .resetBefore:
          aR[j] = dQ[at] * previous[at] * (R[j] * (1 - R[j]))
          dH[at] = dH[at] + dQ[at] * R[j]
        case .resetAfter:
          aR[j] = aN[j] * Qs[at] * (R[j] * (1 - R[j]))
          dQ[at] = aN[j] * R[j]
        }
      }
    }
    if let inputGradient {
      math.productBack(rows: n, a, columns: 3 * h, stride: 3 * h, weightIH, outputs: i, start: nil, into: inputGradient)
    }
    if let hiddenGradient {
      math.productBack(rows: n, a, columns: 2 * h, stride: 3 * h, weightHH, outputs: h, start: dH, into: hiddenGradient)
      if variant == .resetAfter {
        math.productBack(
          rows: n, dQ, columns: h, stride: h, candidateWeightHH, outputs: h, start: hiddenGradient, into: hiddenGradient)
      }
    }
    if let weightIHGradient {
      math.weightGradient(rows: n, a, columns: 3 * h, stride: 3 * h, input, depth: i, into: weightIHGradient)
    }
    if let weightHHGradient {
      let candidateGradient = weightHHGradient + 2 * h * h
      math.weightGradient(rows: n, a, columns: 2 * h, stride: 3 * h, previous, depth: h, into: weightHHGradient)
      switch variant {
      case .resetBefore:
        math.weightGradient(rows: n, a + 2 * h, columns: h, stride: 3 * h, Qs, depth: h, into: candidateGradient)
      case .resetAfter:
        math.weightGradient(rows: n, dQ, columns: h, stride: h, previous, depth: h, into: candidateGradient)
      }
    }
    if let biasIHGradient { math.biasGradient(rows: n, a, columns: 3 * h, stride: 3 * h, into: biasIHGradient) }
    if let biasHHGradient {
      switch variant {
      case .resetBefore: math.biasGradient(rows: n, a, columns: 3 * h, stride: 3 * h, into: biasHHGradient)
      case .resetAfter:
        math.biasGradient(rows: n, a, columns: 2 * h, stride: 3 * h, into: biasHHGradient)
        math.biasGradient(rows: n, dQ, columns: h, stride: h, into: biasHHGradient + 2 * h)
      }
    }
  }
}
