import RNNKernels

/// What the plain equations are written in: products of matrices as they lie in memory, σ and tanh over arrays.
///
/// Everything in this folder is the reference: no packing, no fusing, one line per term of an equation. The sums are in the
/// order of the contract (docs/contract.md), so the fused kernels of a network must give the same bits.
struct CellMath<Scalar: KernelScalar> {
  let kernels = Scalar.kernels

  /// output[n, m] = start[n, m] + Σ_k x[n, k] · weight[m, k]: X Wᵀ with PyTorch's weight [outputs, depth].
  ///
  /// - Parameter start: A bias (row stride 0), a matrix, or nil for zeros.
  func product(
    rows: Int, _ x: UnsafePointer<Scalar>, columns depth: Int, stride: Int? = nil,
    _ weight: UnsafePointer<Scalar>, outputs: Int,
    start: UnsafePointer<Scalar>?, startStride: Int, into output: UnsafeMutablePointer<Scalar>, outputStride: Int
  ) {
    kernels.plainProduct(
      ProductArguments(
        rows: rows, depth: depth, outputs: outputs, input: x, inputRowStride: stride ?? depth,
        weight: weight, weightOutputStride: depth, weightDepthStride: 1,
        start: start, startRowStride: startStride, output: output, outputRowStride: outputStride,
        order: reductionChains(depth: depth, outputs: outputs)))
  }

  /// output[n, k] = start[n, k] + Σ_m a[n, m] · weight[m, k]: how a gradient goes back through `product`.
  func productBack(
    rows: Int, _ a: UnsafePointer<Scalar>, columns: Int, stride: Int,
    _ weight: UnsafePointer<Scalar>, outputs: Int,
    start: UnsafePointer<Scalar>?, into output: UnsafeMutablePointer<Scalar>
  ) {
    kernels.plainProduct(
      ProductArguments(
        rows: rows, depth: columns, outputs: outputs, input: a, inputRowStride: stride,
        weight: weight, weightOutputStride: 1, weightDepthStride: outputs,
        start: start, startRowStride: outputs, output: output, outputRowStride: outputs,
        order: reductionChains(depth: columns, outputs: outputs)))
  }

  /// gradient[m, k] = Σ_n a[n, m] · x[n, k]: the gradient of a weight.
  func weightGradient(
    rows: Int, _ a: UnsafePointer<Scalar>, columns: Int, stride: Int, _ x: UnsafePointer<Scalar>, depth: Int,
    into gradient: UnsafeMutablePointer<Scalar>
  ) {
    kernels.plainProduct(
      ProductArguments(
        rows: columns, depth: rows, outputs: depth, input: a, inputRowStride: 1, inputDepthStride: stride,
        weight: x, weightOutputStride: 1, weightDepthStride: depth,
        start: nil, startRowStride: 0, output: gradient, outputRowStride: depth, order: .single))
  }

  /// gradient[m] = Σ_n a[n, m]: the gradient of a bias.
  func biasGradient(
    rows: Int, _ a: UnsafePointer<Scalar>, columns: Int, stride: Int, into gradient: UnsafeMutablePointer<Scalar>
  ) {
    kernels.columnSums(ColumnSumArguments(rows: rows, columns: columns, values: a, valuesStride: stride, sums: gradient))
  }

  func sigmoid(_ values: UnsafeMutablePointer<Scalar>, count: Int) {
    kernels.sigmoid(ElementArguments(count: count, values: values))
  }

  func tanh(_ values: UnsafeMutablePointer<Scalar>, count: Int) {
    kernels.tanh(ElementArguments(count: count, values: values))
  }
}

/// The bias that enters a sum: two that are simply added are summed in double and rounded once.
func combineBiases<Scalar: KernelScalar>(
  _ inputBias: UnsafePointer<Scalar>?, _ recurrentBias: UnsafePointer<Scalar>?, count: Int,
  into sum: UnsafeMutablePointer<Scalar>
) {
  for i in 0..<count { sum[i] = Scalar(Double(inputBias?[i] ?? 0) + Double(recurrentBias?[i] ?? 0)) }
}

/// Memory of `count` zeros, or an error that says what it was for.
func makeBuffer<Element: BitwiseCopyable>(
  _ type: Element.Type, count: Int, for purpose: @autoclosure () -> String, isCleared: Bool = true
) throws(RNNError) -> AlignedBuffer<Element> {
  guard let buffer = AlignedBuffer<Element>(count: count, isCleared: isCleared) else {
    throw RNNError(.outOfMemory, "no memory for \(purpose()): \(count) elements")
  }
  return buffer
}
