import RNNKernels

/// How the losses of rows or elements become one.
public enum Reduction: Sendable {
  case mean
  case sum
  /// Not at all: a value and a gradient for each.
  case none
}

/// Softmax cross-entropy, PyTorch's definition.
///
///     p = softmax(x)    l = (1 - ε) w_y (-log p_y) + ε / C Σ_c w_c (-log p_c)
///     ∂l/∂x_c = (1 - ε) w_y (p_c - [c = y]) + ε / C (p_c Σ_j w_j - w_c)
///
/// The mean divides by the sum of w_y over the rows that are not ignored.
public struct CrossEntropy: Equatable, Sendable {
  public var reduction: Reduction
  /// Rows with this target count for nothing.
  public var ignoreIndex: Int64
  /// ε in [0, 1].
  public var labelSmoothing: Double

  public init(reduction: Reduction = .mean, ignoreIndex: Int64 = -100, labelSmoothing: Double = 0) {
    self.reduction = reduction
    self.ignoreIndex = ignoreIndex
    self.labelSmoothing = labelSmoothing
  }

  func check<Scalar: KernelScalar>(
    classes: Int, targets: UnsafeBufferPointer<Int64>, named name: String = "targets", classWeights: UnsafePointer<Scalar>?
  ) throws(RNNError) {
    guard labelSmoothing >= 0, labelSmoothing <= 1 else {
      throw RNNError(.invalidArgument, "label_smoothing is \(labelSmoothing), expected 0 to 1")
    }
    for (row, target) in targets.enumerated() where target != ignoreIndex {
      guard target >= 0, target < Int64(classes) else {
        throw RNNError(
          .invalidArgument,
          "\(name)[\(row)] is \(target), expected 0 to \(classes - 1) or the ignore index \(ignoreIndex)")
      }
    }
  }

  /// - Parameters:
  ///   - logits: [rows, classes].
  ///   - targets: [rows].
  ///   - classWeights: [classes], nil for ones.
  ///   - losses: [1], or [rows] without reduction.
  ///   - gradient: [rows, classes], nil if it is not wanted; may be `logits`.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func evaluate<Scalar: KernelScalar>(
    rows: Int, classes: Int, logits: UnsafeBufferPointer<Scalar>, targets: UnsafeBufferPointer<Int64>,
    classWeights: UnsafeBufferPointer<Scalar>?, losses: UnsafeMutableBufferPointer<Double>,
    gradient: UnsafeMutableBufferPointer<Scalar>?
  ) throws(RNNError) {
    guard rows >= 0, classes >= 1 else {
      throw RNNError(.invalidArgument, "rows is \(UInt(bitPattern: rows)), classes is \(UInt(bitPattern: classes)), expected at least 0 and 1")
    }
    let count = try checkedProduct(rows, classes, of: "logits")
    let values = try present(logits, count: count, named: "logits", shape: "rows*classes")
    _ = try present(targets, count: rows, named: "targets", shape: "rows")
    if let classWeights { _ = try present(classWeights, count: classes, named: "class_weights", shape: "classes") }
    let lossCount = reduction == .none ? rows : 1
    guard losses.count >= lossCount, let lossTarget = losses.baseAddress ?? UnsafeMutablePointer(bitPattern: 8) else {
      throw RNNError(.bufferTooSmall, "loss_count is \(losses.count), expected at least \(lossCount)")
    }
    if let gradient, gradient.count < count {
      throw RNNError(.bufferTooSmall, "gradient_count is \(gradient.count), expected at least \(count) = rows*classes")
    }
    let rowTargets = UnsafeBufferPointer(rebasing: targets.prefix(rows))
    try check(classes: classes, targets: rowTargets, classWeights: classWeights?.baseAddress)
    // A logit costs about as much as some ten products.
    let parts = ThreadPool.parts(multiplyAdds: 16 &* count, units: rows / 8)
    let scratchCount = rows > 0 && gradient == nil ? try checkedProduct(parts, classes, of: "logits") : 0
    let scratch = try makeBuffer(Scalar.self, count: scratchCount, for: "cross-entropy", isCleared: false)
    let rowLosses = try makeBuffer(Double.self, count: rows, for: "cross-entropy")
    withNumericMode {
      let weights = classWeights?.baseAddress
      let total = totalWeight(rowTargets, weights)
      let divisor = reduction == .mean ? total : 1
      if let values {
        // Each row by itself, so threads change no bit.
        ThreadPool.run(parts: parts) { part in
          let ownScratch = scratch.baseAddress + (scratchCount > 0 ? part * classes : 0)
          for row in slice(of: rows, part: part, parts: parts, unit: 8) {
            rowLosses.baseAddress[row] = evaluateRow(
              values + row * classes, classes: classes, target: rowTargets[row], weights: weights,
              gradient: gradient?.baseAddress.map { $0 + row * classes }, scratch: ownScratch, scale: 1 / divisor)
          }
        }
      }
      if reduction == .none {
        lossTarget.update(from: rowLosses.baseAddress, count: rows)
      } else {
        var sum = 0.0
        for row in 0..<rows { sum += rowLosses.baseAddress[row] }
        lossTarget.pointee = sum / divisor
      }
    }
  }

  /// Σ w_y over the rows that count.
  func totalWeight<Scalar: KernelScalar>(
    _ targets: UnsafeBufferPointer<Int64>, _ weights: UnsafePointer<Scalar>?
  ) -> Double {
    var total = 0.0
    for target in targets where target != ignoreIndex { total += weights.map { Double($0[Int(target)]) } ?? 1 }
    return total
  }

  /// The loss of one row, and its gradient times `scale`.
  ///
  /// - Parameter scratch: [classes], used where no gradient is wanted.
  func evaluateRow<Scalar: KernelScalar>(
    _ logits: UnsafePointer<Scalar>, classes: Int, target: Int64, weights: UnsafePointer<Scalar>?,
    gradient: UnsafeMutablePointer<Scalar>?, scratch: UnsafeMutablePointer<Scalar>, scale: Double
  ) -> Double {
    guard target != ignoreIndex else {
      gradient?.update(repeating: 0, count: classes)
      return 0
    }
    let y = Int(target)
    let smooth = labelSmoothing / Double(classes)
    // What needs the logits comes first: the gradient may take their place.
    let targetLogit = Double(logits[y])
    var weightSum = 0.0, weightedLogits = 0.0
    if smooth > 0 {
      for c in 0..<classes {
        let weight = weights.map { Double($0[c]) } ?? 1
        weightSum += weight
        weightedLogits += weight * Double(logits[c])
      }
    }
    let exponentials = gradient ?? scratch
    var summary: (Scalar, Scalar) = (0, 0)
    withUnsafeMutableBytes(of: &summary) { bytes in
      guard let summaries = bytes.baseAddress?.assumingMemoryBound(to: Scalar.self) else { return }
      Scalar.kernels.softmax(
        SoftmaxArguments(
          rows: 1, columns: classes, values: logits, valuesStride: classes, exponentials: exponentials,
          exponentialsStride: classes, summaries: summaries))
    }
    // log p_c = x_c - (max + log Σ e^(x - max))
    let logSum = Double(summary.0) + Normal.logarithm(Double(summary.1))
    let targetWeight = weights.map { Double($0[y]) } ?? 1
    var loss = (1 - labelSmoothing) * targetWeight * (logSum - targetLogit)
    if smooth > 0 { loss += smooth * (weightSum * logSum - weightedLogits) }
    if let gradient {
      let own = (1 - labelSmoothing) * targetWeight
      let factor = Scalar(scale * (own + smooth * weightSum) / Double(summary.1))
      for c in 0..<classes { gradient[c] = gradient[c] * factor }
      gradient[y] = gradient[y] - Scalar(scale * own)
      if smooth > 0 {
        for c in 0..<classes {
          gradient[c] = gradient[c] - Scalar(scale * smooth * (weights.map { Double($0[c]) } ?? 1))
        }
      }
    }
    return loss
  }
}

/// Squared error: l = (x - y)², ∂l/∂x = 2 (x - y); the mean is over all elements.
public struct MeanSquaredError: Equatable, Sendable {
  public var reduction: Reduction

  public init(reduction: Reduction = .mean) { self.reduction = reduction }

  /// - Parameters:
  ///   - losses: [1], or [count] without reduction.
  ///   - gradient: [count], nil if it is not wanted; may be `prediction`.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func evaluate<Scalar: KernelScalar>(
    count: Int, prediction: UnsafeBufferPointer<Scalar>, target: UnsafeBufferPointer<Scalar>,
    losses: UnsafeMutableBufferPointer<Double>, gradient: UnsafeMutableBufferPointer<Scalar>?
  ) throws(RNNError) {
    guard count >= 0 else { throw RNNError(.invalidArgument, "count is \(UInt(bitPattern: count)), which is too large") }
    let x = try present(prediction, count: count, named: "prediction", shape: "count")
    let y = try present(target, count: count, named: "target", shape: "count")
    let lossCount = reduction == .none ? count : 1
    guard losses.count >= lossCount, let lossTarget = losses.baseAddress ?? UnsafeMutablePointer(bitPattern: 8) else {
      throw RNNError(.bufferTooSmall, "loss_count is \(losses.count), expected at least \(lossCount)")
    }
    if let gradient, gradient.count < count {
      throw RNNError(.bufferTooSmall, "gradient_count is \(gradient.count), expected at least \(count)")
    }
    withNumericMode {
      let divisor = reduction == .mean ? Double(count) : 1
      var sum = 0.0
      if let x, let y {
        for i in 0..<count {
          let difference = x[i] - y[i]
          let square = Double(difference) * Double(difference)
          if reduction == .none { lossTarget[i] = square } else { sum += square }
          gradient?[i] = Scalar(2 / divisor) * difference
        }
      }
      if reduction != .none { lossTarget.pointee = sum / divisor }
    }
  }
}
