import RNNKernels

/// One step of the long short-term memory.
///
///     I  = σ(X W_xi + H W_hi + b_i)      input gate
///     F  = σ(X W_xf + H W_hf + b_f)      forget gate
///     O  = σ(X W_xo + H W_ho + b_o)      output gate
///     C̃  = tanh(X W_xc + H W_hc + b_c)   candidate memory cell
///     C′ = F ⊙ C + I ⊙ C̃                 memory cell
///     H′ = O ⊙ tanh(C′)
///
/// Arrays are row-major: X [N, I], H and C [N, H]. The weights are stacked gate by gate in PyTorch's order i, f, g, o (g is C̃):
/// weight_ih [4·H, I], weight_hh [4·H, H]; W_xi is the transpose of the first H rows of weight_ih, and so on. The caller has checked
/// them; they do not overlap. Must run inside `withNumericMode`.
///
/// - SeeAlso: Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000 for the forget gate.
public struct LSTMCell<Scalar: KernelScalar> {
  /// N, I, H.
  public let batchSize, inputSize, hiddenSize: Int

  public init(batchSize: Int, inputSize: Int, hiddenSize: Int) {
    self.batchSize = batchSize
    self.inputSize = inputSize
    self.hiddenSize = hiddenSize
  }

  /// - Parameters:
  ///   - hidden: H [N, H], nil for zeros.
  ///   - cell: C [N, H], nil for zeros.
  ///   - nextHidden: Receives H′ [N, H].
  ///   - nextCell: Receives C′ [N, H].
  ///   - trace: Receives I, F, C̃, O in each row, [N, 4·H], for `backward`.
  public func forward(
    input: UnsafePointer<Scalar>, hidden: UnsafePointer<Scalar>?, cell: UnsafePointer<Scalar>?,
    weightIH: UnsafePointer<Scalar>, weightHH: UnsafePointer<Scalar>,
    biasIH: UnsafePointer<Scalar>?, biasHH: UnsafePointer<Scalar>?,
    nextHidden: UnsafeMutablePointer<Scalar>, nextCell: UnsafeMutablePointer<Scalar>,
    trace: UnsafeMutablePointer<Scalar>?
  ) throws(RNNError) {
    let math = CellMath<Scalar>()
    let (n, i, h) = (batchSize, inputSize, hiddenSize)
    let scratch = try makeBuffer(Scalar.self, count: 4 * h + 5 * n * h, for: "an LSTM step")
    let bias = scratch.baseAddress
    let zeros = UnsafePointer(bias + 4 * h)
    let gates = trace ?? bias + (4 * h + n * h)
    let (previousHidden, previousCell) = (hidden ?? zeros, cell ?? zeros)
    combineBiases(biasIH, biasHH, count: 4 * h, into: bias)

    // The four sums side by side, [N, 4·H]: X W_x + b, then + H W_h
    math.product(rows: n, input, columns: i, weightIH, outputs: 4 * h, start: bias, startStride: 0, into: gates, outputStride: 4 * h)
    math.product(
      rows: n, previousHidden, columns: h, weightHH, outputs: 4 * h, start: gates, startStride: 4 * h, into: gates,
      outputStride: 4 * h)
    for row in 0..<n {
      let I = gates + row * 4 * h, F = I + h, G = F + h, O = G + h
      math.sigmoid(I, count: 2 * h)  // I and F
      math.tanh(G, count: h)
      math.sigmoid(O, count: h)
      let C = nextCell + row * h, H = nextHidden + row * h, previous = previousCell + row * h
      for j in 0..<h {
        C[j] = F[j] * previous[j] + I[j] * G[j]
        H[j] = C[j]
      }
      math.tanh(H, count: h)
      for j in 0..<h { H[j] = O[j] * H[j] }
    }
  }

  /// - Parameters:
  ///   - trace: I, F, C̃, O of the forward call, [N, 4·H].
  ///   - nextCell: C′ of the forward call.
  ///   - nextHiddenGradient: ∂L/∂H′, nil for zeros.
  ///   - nextCellGradient: ∂L/∂C′ as it comes from the step after this one, nil for zeros.
  ///   - biasGradient: [4·H], the gradient of either bias.
  public func backward(
    input: UnsafePointer<Scalar>, hidden: UnsafePointer<Scalar>?, cell: UnsafePointer<Scalar>?,
    weightIH: UnsafePointer<Scalar>, weightHH: UnsafePointer<Scalar>,
    trace: UnsafePointer<Scalar>, nextCell: UnsafePointer<Scalar>,
    nextHiddenGradient: UnsafePointer<Scalar>?, nextCellGradient: UnsafePointer<Scalar>?,
    inputGradient: UnsafeMutablePointer<Scalar>?, hiddenGradient: UnsafeMutablePointer<Scalar>?,
    cellGradient: UnsafeMutablePointer<Scalar>?,
    weightIHGradient: UnsafeMutablePointer<Scalar>?, weightHHGradient: UnsafeMutablePointer<Scalar>?,
    biasGradient: UnsafeMutablePointer<Scalar>?
  ) throws(RNNError) {
    let math = CellMath<Scalar>()
    let (n, i, h) = (batchSize, inputSize, hiddenSize)
    let scratch = try makeBuffer(Scalar.self, count: 7 * n * h, for: "an LSTM backward step")
    let a = scratch.baseAddress
    let tanhC = a + 4 * n * h
    let dC = tanhC + n * h
    let zeros = UnsafePointer(dC + n * h)
    let (previousHidden, previousCell) = (hidden ?? zeros, cell ?? zeros)
    let dH = nextHiddenGradient ?? zeros

    tanhC.update(from: nextCell, count: n * h)
    math.tanh(tanhC, count: n * h)
    for row in 0..<n {
      let I = trace + row * 4 * h, F = I + h, G = F + h, O = G + h
      // Gradients of the four sums, before σ and tanh.
      let aI = a + row * 4 * h, aF = aI + h, aG = aF + h, aO = aG + h
      for j in 0..<h {
        let at = row * h + j
        let t = tanhC[at]
        // C′ reaches the loss through the next step and through H′ = O ⊙ tanh(C′).
        let dNext = (nextCellGradient ?? zeros)[at] + dH[at] * O[j] * (1 - t * t)
        aI[j] = dNext * G[j] * (I[j] * (1 - I[j]))
        aF[j] = dNext * previousCell[at] * (F[j] * (1 - F[j]))
        aG[j] = dNext * I[j] * (1 - G[j] * G[j])
        aO[j] = dH[at] * t * (O[j] * (1 - O[j]))
        dC[at] = dNext * F[j]
      }
    }
    if let inputGradient {
      math.productBack(rows: n, a, columns: 4 * h, stride: 4 * h, weightIH, outputs: i, start: nil, into: inputGradient)
    }
    if let hiddenGradient {
      math.productBack(rows: n, a, columns: 4 * h, stride: 4 * h, weightHH, outputs: h, start: nil, into: hiddenGradient)
    }
    cellGradient?.update(from: dC, count: n * h)
    if let weightIHGradient {
      math.weightGradient(rows: n, a, columns: 4 * h, stride: 4 * h, input, depth: i, into: weightIHGradient)
    }
    if let weightHHGradient {
      math.weightGradient(rows: n, a, columns: 4 * h, stride: 4 * h, previousHidden, depth: h, into: weightHHGradient)
    }
    if let biasGradient { math.biasGradient(rows: n, a, columns: 4 * h, stride: 4 * h, into: biasGradient) }
  }
}
