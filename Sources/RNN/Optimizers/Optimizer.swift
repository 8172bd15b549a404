import RNNKernels

/// An update rule, as PyTorch defines it.
public struct OptimizerOptions: Equatable, Sendable {
  public enum Kind: Sendable {
    /// b = μ b + (1 - dampening) g;  p = p - η b, or with Nesterov p - η (g + μ b).
    case sgd
    /// m = β1 m + (1 - β1) g;  v = β2 v + (1 - β2) g²;  p = p - η m̂ / (√v̂ + ε)  (arXiv:1412.6980).
    case adam
    /// Adam with decoupled weight decay: p = (1 - η λ) p first  (arXiv:1711.05101).
    case adamW
    /// v = α v + (1 - α) g²;  p = p - η g / (√v + ε); centered: √(v - ḡ²).
    case rmsProp
  }

  public var kind: Kind
  public var learningRate: Double
  public var momentum = 0.0
  public var dampening = 0.0
  /// λ; added to the gradient as λ p, but for AdamW.
  public var weightDecay = 0.0
  public var nesterov = false
  public var betas = (0.9, 0.999)
  public var epsilon = 1e-8
  public var amsgrad = false
  public var alpha = 0.99
  public var centered = false

  /// - Parameter learningRate: nil takes the kind's default: SGD 0.1, RMSprop 0.01, Adam and AdamW 0.001.
  public init(_ kind: Kind = .sgd, learningRate: Double? = nil) {
    self.kind = kind
    let usual =
      switch kind {
      case .sgd: 0.1
      case .rmsProp: 0.01
      case .adam, .adamW: 0.001
      }
    self.learningRate = learningRate ?? usual
  }

  public static func == (a: OptimizerOptions, b: OptimizerOptions) -> Bool {
    a.kind == b.kind && a.learningRate == b.learningRate && a.momentum == b.momentum && a.dampening == b.dampening
      && a.weightDecay == b.weightDecay && a.nesterov == b.nesterov && a.betas == b.betas && a.epsilon == b.epsilon
      && a.amsgrad == b.amsgrad && a.alpha == b.alpha && a.centered == b.centered
  }

  func check() throws(RNNError) {
    func require(_ value: Double, _ name: String, below limit: Double = .infinity) throws(RNNError) {
      guard value >= 0, value < limit else {
        throw RNNError(
          .invalidArgument,
          "\(name) is \(value), expected at least 0\(limit < .infinity ? " and below \(limit)" : " and finite")")
      }
    }
    try require(learningRate, "learning_rate")
    try require(momentum, "momentum")
    try require(weightDecay, "weight_decay")
    try require(betas.0, "beta1", below: 1)
    try require(betas.1, "beta2", below: 1)
    try require(epsilon, "epsilon")
    try require(alpha, "alpha", below: 1)
    guard dampening.isFinite else { throw RNNError(.invalidArgument, "dampening is \(dampening), expected a finite number") }
    guard !nesterov || (momentum > 0 && dampening == 0) else {
      throw RNNError(.invalidArgument, "nesterov needs a momentum above 0 and no dampening")
    }
  }
}

/// An update rule and its memory, for `count` numbers.
public final class Optimizer<Scalar: KernelScalar> {
  public private(set) var options: OptimizerOptions
  public let count: Int
  /// Updates so far.
  public private(set) var stepCount = 0
  /// SGD: b. Adam: m. RMSprop: v.
  private let first: AlignedBuffer<Scalar>
  /// Adam: v. RMSprop: the momentum's buffer.
  private let second: AlignedBuffer<Scalar>
  /// Adam: largest v (AMSGrad). RMSprop: ḡ.
  private let third: AlignedBuffer<Scalar>

  public init(_ options: OptimizerOptions, count: Int) throws(RNNError) {
    try options.check()
    guard count >= 0 else { throw RNNError(.invalidArgument, "count is \(UInt(bitPattern: count)), which is too large") }
    self.options = options
    self.count = count
    let (needsFirst, needsSecond, needsThird) =
      switch options.kind {
      case .sgd: (options.momentum > 0, false, false)
      case .adam, .adamW: (true, true, options.amsgrad)
      case .rmsProp: (true, options.momentum > 0, options.centered)
      }
    first = try makeBuffer(Scalar.self, count: needsFirst ? count : 0, for: "an optimizer")
    second = try makeBuffer(Scalar.self, count: needsSecond ? count : 0, for: "an optimizer")
    third = try makeBuffer(Scalar.self, count: needsThird ? count : 0, for: "an optimizer")
  }

  public func setLearningRate(_ rate: Double) throws(RNNError) {
    var changed = options
    changed.learningRate = rate
    try changed.check()
    options = changed
  }

  /// One update of all parameters, in place.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func update(
    _ parameters: UnsafeMutableBufferPointer<Scalar>, with gradients: UnsafeBufferPointer<Scalar>
  ) throws(RNNError) {
    guard parameters.count == count, gradients.count == count else {
      throw RNNError(
        .shape,
        "the optimizer is for \(count) numbers, got \(parameters.count) parameters and \(gradients.count) gradients")
    }
    guard let values = parameters.baseAddress, let changes = gradients.baseAddress else { return }
    withNumericMode { update(values, with: changes) }
  }

  /// The same, inside `withNumericMode`.
  func update(_ parameters: UnsafeMutablePointer<Scalar>, with gradients: UnsafePointer<Scalar>) {
    stepCount += 1
    // Each number by itself, so threads change no bit. A number costs as much as some ten products.
    let parts = ThreadPool.parts(multiplyAdds: 10 &* count, units: count / 1024)
    ThreadPool.run(parts: parts) { part in
      let own = slice(of: count, part: part, parts: parts, unit: 1024)
      switch options.kind {
      case .sgd: updateSGD(own, parameters, gradients)
      case .adam, .adamW: updateAdam(own, parameters, gradients)
      case .rmsProp: updateRMSProp(own, parameters, gradients)
      }
    }
  }

  // Loops without a condition inside, so that the compiler can make vectors of them; and `Scalar.root`, since Swift's square root calls
  // the C library for negative numbers.

  private func updateSGD(_ own: Range<Int>, _ p: UnsafeMutablePointer<Scalar>, _ gradients: UnsafePointer<Scalar>) {
    let rate = Scalar(options.learningRate), decay = Scalar(options.weightDecay), momentum = Scalar(options.momentum)
    guard options.momentum > 0 else {
      for i in own { p[i] = p[i] - rate * (gradients[i] + decay * p[i]) }
      return
    }
    // The first gradient enters the buffer undamped.
    let share: Scalar = stepCount == 1 ? 1 : Scalar(1 - options.dampening)
    let b = first.baseAddress
    if options.nesterov {
      for i in own {
        let g = gradients[i] + decay * p[i]
        let moved = momentum * b[i] + share * g
        b[i] = moved
        p[i] = p[i] - rate * (g + momentum * moved)
      }
    } else {
      for i in own {
        let moved = momentum * b[i] + share * (gradients[i] + decay * p[i])
        b[i] = moved
        p[i] = p[i] - rate * moved
      }
    }
  }

  private func updateAdam(_ own: Range<Int>, _ p: UnsafeMutablePointer<Scalar>, _ gradients: UnsafePointer<Scalar>) {
    let isDecoupled = options.kind == .adamW
    let coupled = Scalar(isDecoupled ? 0 : options.weightDecay)
    let shrink = Scalar(isDecoupled ? 1 - options.learningRate * options.weightDecay : 1)
    let (beta1, beta2) = options.betas
    let correction1 = 1 - power(beta1, stepCount), correction2 = 1 - power(beta2, stepCount)
    let rate = Scalar(options.learningRate / correction1), root = Scalar(correction2.squareRoot())
    let epsilon = Scalar(options.epsilon)
    let (keep1, new1, keep2, new2) = (Scalar(beta1), Scalar(1 - beta1), Scalar(beta2), Scalar(1 - beta2))
    let m = first.baseAddress, v = second.baseAddress
    guard options.amsgrad else {
      for i in own {
        let old = p[i], g = gradients[i] + coupled * old
        let mean = keep1 * m[i] + new1 * g, size = keep2 * v[i] + new2 * g * g
        m[i] = mean
        v[i] = size
        p[i] = shrink * old - rate * mean / (Scalar.root(size) / root + epsilon)
      }
      return
    }
    let largest = third.baseAddress
    for i in own {
      let old = p[i], g = gradients[i] + coupled * old
      let mean = keep1 * m[i] + new1 * g, size = keep2 * v[i] + new2 * g * g
      m[i] = mean
      v[i] = size
      largest[i] = largest[i] > size ? largest[i] : size
      p[i] = shrink * old - rate * mean / (Scalar.root(largest[i]) / root + epsilon)
    }
  }

  private func updateRMSProp(_ own: Range<Int>, _ p: UnsafeMutablePointer<Scalar>, _ gradients: UnsafePointer<Scalar>) {
    let rate = Scalar(options.learningRate), decay = Scalar(options.weightDecay), epsilon = Scalar(options.epsilon)
    let (keep, new) = (Scalar(options.alpha), Scalar(1 - options.alpha))
    let momentum = Scalar(options.momentum)
    let v = first.baseAddress
    let buffer = options.momentum > 0 ? second.baseAddress : nil
    let mean = options.centered ? third.baseAddress : nil
    // The usual case as a loop of its own: with branches it is not vectorised, and takes three times as long.
    if buffer == nil, mean == nil {
      for i in own {
        let g = gradients[i] + decay * p[i], size = keep * v[i] + new * g * g
        v[i] = size
        p[i] = p[i] - rate * (g / (Scalar.root(size) + epsilon))
      }
      return
    }
    for i in own {
      let g = gradients[i] + decay * p[i]
      v[i] = keep * v[i] + new * g * g
      var variance = v[i]
      if let mean {
        mean[i] = keep * mean[i] + new * g
        variance = variance - mean[i] * mean[i]
      }
      let change = g / (Scalar.root(variance) + epsilon)
      if let buffer {
        buffer[i] = momentum * buffer[i] + change
        p[i] = p[i] - rate * buffer[i]
      } else {
        p[i] = p[i] - rate * change
      }
    }
  }

  /// base^exponent by squaring: the same on every platform.
  private func power(_ base: Double, _ exponent: Int) -> Double {
    var result = 1.0, square = base, rest = exponent
    while rest > 0 {
      if rest & 1 == 1 { result *= square }
      square *= square
      rest >>= 1
    }
    return result
  }
}
