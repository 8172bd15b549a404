import RNNKernels

/// What clipping found and did.
public struct ClipReport: Equatable, Sendable {
  /// Norm of all gradients together, before clipping.
  public var totalNorm = 0.0
  /// What every gradient was multiplied by; the smallest where each tensor has its own, and 1 where elements are clipped. 1
  /// where the norm is not finite.
  public var scale = 1.0
  /// The tensor with the largest norm, and that norm.
  public var largestIndex = 0
  public var largestNorm = 0.0
  /// The first tensor with an infinite or NaN gradient; nothing is changed then.
  public var nonFiniteIndex: Int?
}

/// What clipping bounds.
public enum ClipMode: Equatable, Sendable {
  /// The norm of all gradients together: one factor for all, PyTorch's clip_grad_norm_.
  case globalNorm
  /// The norm of each tensor: a factor for each.
  case tensorNorm
  /// The magnitude of each element, PyTorch's clip_grad_value_.
  case value
}

/// Clipping of gradients. By a norm: times min(1, limit / (norm + 1e-6)). By value: to [-limit, limit].
///
/// Norms are computed in double, so that squares of huge float gradients stay finite.
///
/// - SeeAlso: Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063.
public struct GradientClipping: Equatable, Sendable {
  public var mode: ClipMode
  /// What the norm or the magnitude may be, at least 0; infinity only measures.
  public var limit: Double
  /// p, at least 1; infinity is the largest magnitude. Norms in the report are of this kind, too.
  public var normType: Double

  public init(_ mode: ClipMode = .globalNorm, limit: Double, normType: Double = 2) {
    self.mode = mode
    self.limit = limit
    self.normType = normType
  }

  /// Clips tensors, in place.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func clip<Scalar: KernelScalar>(tensors: [UnsafeMutableBufferPointer<Scalar>]) throws(RNNError) -> ClipReport {
    try check()
    return withNumericMode { clip(tensors) }
  }

  func check() throws(RNNError) {
    guard limit >= 0 else {
      throw RNNError(.invalidArgument, "\(mode == .value ? "clip_value" : "max_norm") is \(limit), expected at least 0")
    }
    guard normType >= 1 else { throw RNNError(.invalidArgument, "norm_type is \(normType), expected at least 1") }
  }

  /// Clips tensors, in place. Must run inside `withNumericMode`.
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
    guard report.nonFiniteIndex == nil else { return report }
    switch mode {
    case .globalNorm:
      report.scale = factor(report.totalNorm)
      for tensor in tensors { scale(tensor, by: report.scale) }
    case .tensorNorm:
      for tensor in tensors {
        // Once more rather than kept: clipping takes no memory, and cannot fail.
        let own = factor(root(powerSum(tensor)))
        report.scale = min(report.scale, own)
        scale(tensor, by: own)
      }
    case .value:
      let bound = Scalar(limit)
      for tensor in tensors {
        for i in tensor.indices { tensor[i] = tensor[i] > bound ? bound : tensor[i] < -bound ? -bound : tensor[i] }
      }
    }
    return report
  }

  /// What gradients of this norm are multiplied by; 1 if it is not finite.
  private func factor(_ norm: Double) -> Double { norm.isFinite ? min(1, limit / (norm + 1e-6)) : 1 }

  private func scale<Scalar: KernelScalar>(_ tensor: UnsafeMutableBufferPointer<Scalar>, by factor: Double) {
    guard factor < 1 else { return }
    let factor = Scalar(factor)
    for i in tensor.indices { tensor[i] = tensor[i] * factor }
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
  ///
  /// Must run inside `withNumericMode`: rounding is to nearest.
  static func exponential(_ x: Double) -> Double {
    // Adding 1.5 · 2^52 rounds to a whole number and leaves it in the lowest bits.
    let magic = 0x1.8p52
    let shifted = x * .log2e + magic
    let n = shifted - magic
    let r = (x - n * .ln2High) - n * .ln2Low
    // Σ r^k / k!; the next term is below 2^-57.
    var sum = 1 / 6227020800.0
    sum = sum * r + 1 / 479001600.0
    sum = sum * r + 1 / 39916800.0
    sum = sum * r + 1 / 3628800.0
    sum = sum * r + 1 / 362880.0
    sum = sum * r + 1 / 40320.0
    sum = sum * r + 1 / 5040.0
    sum = sum * r + 1 / 720.0
    sum = sum * r + 1 / 120.0
    sum = sum * r + 1 / 24.0
    sum = sum * r + 1 / 6.0
    sum = sum * r + 0.5
    sum = sum * r + 1
    sum = sum * r + 1
    let exponent = shifted.bitPattern &- magic.bitPattern
    return sum * Double(bitPattern: (exponent &+ 1023) &<< 52)
  }
}
