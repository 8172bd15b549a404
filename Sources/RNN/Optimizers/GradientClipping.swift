import RNNKernels

/// What clipping found and did.
public struct ClipReport: Equatable, Sendable {
  /// Norm of all gradients together, before clipping.
  public var totalNorm = 0.0
  /// What every gradient was multiplied by; 1 where the norm is not finite.
  public var scale = 1.0
  /// The tensor with the largest norm, and that norm.
  public var largestIndex = 0
  public var largestNorm = 0.0
  /// The first tensor with an infinite or NaN gradient; nothing is changed then.
  public var nonFiniteIndex: Int?
}

/// Clipping by the global norm: every gradient times min(1, max_norm / (norm + 1e-6)), PyTorch's clip_grad_norm_.
///
/// The norm is computed in double, so that squares of huge float gradients stay finite.
///
/// - SeeAlso: Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063.
public struct GradientClipping: Equatable, Sendable {
  public var maxNorm: Double
  /// p, at least 1; infinity is the largest magnitude.
  public var normType: Double

  public init(maxNorm: Double, normType: Double = 2) {
    self.maxNorm = maxNorm
    self.normType = normType
  }

  /// Clips tensors together, in place.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func clip<Scalar: KernelScalar>(tensors: [UnsafeMutableBufferPointer<Scalar>]) throws(RNNError) -> ClipReport {
    try check()
    return withNumericMode { clip(tensors) }
  }

  func check() throws(RNNError) {
    guard maxNorm >= 0 else { throw RNNError(.invalidArgument, "max_norm is \(maxNorm), expected at least 0") }
    guard normType >= 1 else { throw RNNError(.invalidArgument, "norm_type is \(normType), expected at least 1") }
  }

  /// Clips tensors together, in place. Must run inside `withNumericMode`.
  func clip<Scalar: KernelScalar>(_ tensors: [UnsafeMutableBufferPointer<Scalar>]) -> ClipReport {
    var report = ClipReport()
    var total = 0.0
    for (index, tensor) in tensors.enumerated() {
      let part = powerSum(tensor)
      if !part.isFinite, report.nonFiniteIndex == nil, tensor.contains(where: { !$0.isFinite }) {
        report.nonFiniteIndex = index
      }
      let norm = root(part)
      if norm > report.largestNorm || index == 0 { (report.largestIndex, report.largestNorm) = (index, norm) }
      total = normType == .infinity ? max(total, part) : total + part
      if part.isNaN { total = part }
    }
    report.totalNorm = root(total)
    guard report.nonFiniteIndex == nil, report.totalNorm.isFinite else { return report }
    report.scale = min(1, maxNorm / (report.totalNorm + 1e-6))
    if report.scale < 1 {
      let scale = Scalar(report.scale)
      for tensor in tensors { for i in tensor.indices { tensor[i] = tensor[i] * scale } }
    }
    return report
  }

  /// Σ |g|^p, or the largest |g|.
  private func powerSum<Scalar: KernelScalar>(_ tensor: UnsafeMutableBufferPointer<Scalar>) -> Double {
    guard let base = tensor.baseAddress, tensor.count > 0 else { return 0 }
    if normType == 2 {
      var sum = 0.0
      Scalar.kernels.sumOfSquares(SquareSumArguments(count: tensor.count, values: base, result: &sum))
      return sum
    }
    var sum = 0.0
    for value in tensor {
      let magnitude = Double(abs(value))
      if normType == .infinity {
        if magnitude > sum || magnitude.isNaN { sum = magnitude }
        if sum.isNaN { return sum }
      } else {
        sum += magnitude == 0 ? 0 : normType == 1 ? magnitude : Normal.power(magnitude, normType)
      }
    }
    return sum
  }

  private func root(_ sum: Double) -> Double {
    if normType == 2 { return sum.squareRoot() }
    if normType == 1 || normType == .infinity || sum == 0 || !sum.isFinite { return sum }
    return Normal.power(sum, 1 / normType)
  }
}

extension Normal {
  /// x^y for x > 0, y > 0.
  static func power(_ x: Double, _ y: Double) -> Double {
    guard x.isFinite else { return x }
    let exponent = y * logarithm(x)
    guard exponent < 709 else { return .infinity }
    return exponent > -708 ? exponential(exponent) : 0
  }

  /// e^x for |x| < 709, in operations that are the same on every platform: 2^n times the series of e^r, |r| <= ln 2 / 2.
  static func exponential(_ x: Double) -> Double {
    let n = (x * .log2e).rounded()
    let r = (x - n * .ln2High) - n * .ln2Low
    var term = 1.0, sum = 1.0
    for k in 1...16 {
      term = term * r / Double(k)
      sum += term
    }
    return sum * Double(sign: .plus, exponent: Int(n), significand: 1)
  }
}
