import RNNKernels

/// One step of the vanilla recurrent cell.
///
///     H′ = φ(X W_xh + H W_hh + b_h)          φ = tanh or ReLU
///
/// Arrays are row-major: X [N, I], H [N, H], weights as PyTorch has them, weight_ih [H, I] = W_xhᵀ, weight_hh [H, H] = W_hhᵀ.
/// The caller has checked them; they do not overlap. Must run inside `withNumericMode`.
///
/// - SeeAlso: Elman 1990, "Finding structure in time".
public struct VanillaCell<Scalar: KernelScalar> {
  public let nonlinearity: Nonlinearity
  /// N, I, H.
  public let batchSize, inputSize, hiddenSize: Int

  public init(_ nonlinearity: Nonlinearity = .tanh, batchSize: Int, inputSize: Int, hiddenSize: Int) {
    self.nonlinearity = nonlinearity
    self.batchSize = batchSize
    self.inputSize = inputSize
    self.hiddenSize = hiddenSize
  }

  /// - Parameters:
  ///   - hidden: H [N, H], nil for zeros.
  ///   - nextHidden: Receives H′ [N, H].
  public func forward(
    input: UnsafePointer<Scalar>, hidden: UnsafePointer<Scalar>?,
    weightIH: UnsafePointer<Scalar>, weightHH: UnsafePointer<Scalar>,
    biasIH: UnsafePointer<Scalar>?, biasHH: UnsafePointer<Scalar>?,
    nextHidden: UnsafeMutablePointer<Scalar>
  ) throws(RNNError) {
    let math = CellMath<Scalar>()
    let (n, i, h) = (batchSize, inputSize, hiddenSize)
    let scratch = try makeBuffer(Scalar.self, count: h + n * h, for: "a vanilla step")
    let bias = scratch.baseAddress
    let previous = hidden ?? UnsafePointer(scratch.baseAddress + h)
    combineBiases(biasIH, biasHH, count: h, into: bias)

    // X W_xh + b_h, then + H W_hh
    math.product(rows: n, input, columns: i, weightIH, outputs: h, start: bias, startStride: 0, into: nextHidden, outputStride: h)
    math.product(
      rows: n, previous, columns: h, weightHH, outputs: h, start: nextHidden, startStride: h, into: nextHidden, outputStride: h)
    switch nonlinearity {
    case .tanh: math.tanh(nextHidden, count: n * h)
    case .relu: for j in 0..<n * h where nextHidden[j] <= 0 { nextHidden[j] = 0 }
    }
  }

  /// - Parameters:
  ///   - nextHidden: H′ of the forward call; φ′ is computed from it.
  ///   - nextHiddenGradient: ∂L/∂H′.
  ///   - biasGradient: [H], the gradient of either bias.
  public func backward(
    input: UnsafePointer<Scalar>, hidden: UnsafePointer<Scalar>?,
    weightIH: UnsafePointer<Scalar>, weightHH: UnsafePointer<Scalar>,
    nextHidden: UnsafePointer<Scalar>, nextHiddenGradient: UnsafePointer<Scalar>,
    inputGradient: UnsafeMutablePointer<Scalar>?, hiddenGradient: UnsafeMutablePointer<Scalar>?,
    weightIHGradient: UnsafeMutablePointer<Scalar>?, weightHHGradient: UnsafeMutablePointer<Scalar>?,
    biasGradient: UnsafeMutablePointer<Scalar>?
  ) throws(RNNError) {
    let math = CellMath<Scalar>()
    let (n, i, h) = (batchSize, inputSize, hiddenSize)
    let scratch = try makeBuffer(Scalar.self, count: 2 * n * h, for: "a vanilla backward step")
    let a = scratch.baseAddress
    let previous = hidden ?? UnsafePointer(scratch.baseAddress + n * h)

    for j in 0..<n * h {
      let (y, dy) = (nextHidden[j], nextHiddenGradient[j])
      switch nonlinearity {
      case .tanh: a[j] = dy * (1 - y * y)
      case .relu: a[j] = y <= 0 ? 0 : dy
      }
    }
    if let inputGradient {
      math.productBack(rows: n, a, columns: h, stride: h, weightIH, outputs: i, start: nil, into: inputGradient)
    }
    if let hiddenGradient {
      math.productBack(rows: n, a, columns: h, stride: h, weightHH, outputs: h, start: nil, into: hiddenGradient)
    }
    if let weightIHGradient {
      math.weightGradient(rows: n, a, columns: h, stride: h, input, depth: i, into: weightIHGradient)
    }
    if let weightHHGradient {
      math.weightGradient(rows: n, a, columns: h, stride: h, previous, depth: h, into: weightHHGradient)
    }
    if let biasGradient { math.biasGradient(rows: n, a, columns: h, stride: h, into: biasGradient) }
  }
}
