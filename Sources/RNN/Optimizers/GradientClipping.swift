import RNNKernels

/// What clipping found and did.
public struct ClipReport: Equatable, Sendable {
  /// Norm of all gradients together, before clipping.
  public var totalNorm = 0.0
  /// What every gradient was multiplied by; the smallest where each tensor has its own, and 1 where elements are clipped. 1
  /// where a gradient is not finite.
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
/// Norms are computed in double, so that squares of huge float gradients stay finite; where those of double gradients do not, all are
/// measured again relative to the largest.
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
    var report = measure(tensors, unit: 1)
    guard report.nonFiniteIndex == nil else { return report }
    var unit = 1.0
    if !report.totalNorm.isFinite {
      // Every gradient is finite, so this is one, too.
      unit = tensors.lazy.map { tensor in tensor.reduce(0) { max($0, Double(abs($1))) } }.max() ?? 1
      report = measure(tensors, unit: unit)
    }
    switch mode {
    case .globalNorm:
      for tensor in tensors { report.scale = scale(tensor, norm: report.totalNorm, unit: unit) }
    case .tensorNorm:
      for tensor in tensors {
        // Once more rather than kept: clipping takes no memory, and cannot fail.
        let norm = root(powerSum(tensor, unit: 1))
        let own =
          norm.isFinite
          ? scale(tensor, norm: norm, unit: 1) : scale(tensor, norm: root(powerSum(tensor, unit: unit)), unit: unit)
        report.scale = min(report.scale, own)
      }
    case .value:
      let bound = Scalar(limit)
      for tensor in tensors {
        for i in tensor.indices { tensor[i] = tensor[i] > bound ? bound : tensor[i] < -bound ? -bound : tensor[i] }
      }
    }
    // Norms of their own may be too large for a number, although the factors are known.
    report.totalNorm *= unit
    report.largestNorm *= unit
    return report
  }

  /// The norms of tensors divided by `unit`.
  private func measure<Scalar: KernelScalar>(_ tensors: [UnsafeMutableBufferPointer<Scalar>], unit: Double) -> ClipReport {
    var report = ClipReport()
    var total = 0.0
    withUnsafeTemporaryAllocation(of: Double.self, capacity: tensors.count) { sums in
      // Each tensor by itself, so threads change no bit. A number that comes from memory costs as much as some four products.
      let parts = ThreadPool.parts(multiplyAdds: 4 &* tensors.reduce(0) { $0 &+ $1.count }, units: tensors.count)
      ThreadPool.run(parts: parts) { part in
        for index in slice(of: tensors.count, part: part, parts: parts, unit: 1) {
          sums[index] = powerSum(tensors[index], unit: unit)
        }
      }
      for (index, tensor) in tensors.enumerated() {
        let part = sums[index]
        if !part.isFinite, report.nonFiniteIndex == nil, tensor.contains(where: { !$0.isFinite }) {
          report.nonFiniteIndex = index
        }
        let norm = root(part)
        if norm > report.largestNorm || index == 0 { (report.largestIndex, report.largestNorm) = (index, norm) }
        total = normType == .infinity ? max(total, part) : total + part
        if part.isNaN { total = part }
      }
    }
    report.totalNorm = root(total)
    return report
  }

  /// Multiplies by what gradients of the norm `norm` · `unit` are clipped with; returns it.
  private func scale<Scalar: KernelScalar>(
    _ tensor: UnsafeMutableBufferPointer<Scalar>, norm: Double, unit: Double
  ) -> Double {
    // Relative to the unit the factor is never too small for a number.
    let relative = unit == 1 ? limit / (norm + 1e-6) : norm > 0 ? limit / norm : .infinity
    let factor = min(1, relative / unit)
    guard factor < 1, let values = tensor.baseAddress else { return factor }
    let multiplier = Scalar(relative), divisor = Scalar(unit)
    // Each number by itself, so threads change no bit. It comes from memory and goes there, as long as some ten products.
    let parts = ThreadPool.parts(multiplyAdds: 10 &* tensor.count, units: tensor.count / 1024)
    ThreadPool.run(parts: parts) { part in
      let own = slice(of: tensor.count, part: part, parts: parts, unit: 1024)
      if unit == 1 {
        for i in own { values[i] = values[i] * multiplier }
      } else {
        for i in own { values[i] = values[i] / divisor * multiplier }
      }
    }
    return factor
  }

  /// Σ |g / unit|^p, or the largest |g / unit|.
  private func powerSum<Scalar: KernelScalar>(_ tensor: UnsafeMutableBufferPointer<Scalar>, unit: Double) -> Double {
    guard let base = tensor.baseAddress, tensor.count > 0 else { return 0 }
    if normType == 2, unit == 1 {
      var sum = 0.0
      Scalar.kernels.sumOfSquares(SquareSumArguments(count: tensor.count, values: base, result: &sum))
      return sum
    }
    var sum = 0.0
    for value in tensor {
      let magnitude = Double(abs(value)) / unit
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
