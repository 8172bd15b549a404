/// The element-wise functions of activation nodes and of gates: rnn.h's RNN_ACTIVATION_*, by its numbers. a and b are `alpha` and `beta`.
@frozen
public enum ActivationKind: UInt8, Sendable {
  /// 1 / (1 + e^-x).
  case sigmoid = 1
  /// max(0, min(1, a x + b)).
  case hardSigmoid = 2
  case tanh = 3
  /// max(0, x).
  case relu = 4
  /// x for x >= 0, else a x.
  case leakyRelu = 5
  /// x for x > a, else 0.
  case thresholdedRelu = 6
  /// a tanh(b x).
  case scaledTanh = 7
  /// x for x >= 0, else a (e^x - 1).
  case elu = 8
  /// x / (1 + |x|).
  case softsign = 9
  /// ln(1 + e^x).
  case softplus = 10
  /// a x + b.
  case affine = 11
}

extension KernelTarget {
  /// min(|x|, limit), on the bits; NaN becomes the limit. `limit`: bits of numbers of at least 0.
  @inlinable @inline(__always)
  static func clampedMagnitude(_ x: Vector, _ limit: Mask) -> Vector {
    let excess = (bits(x) & Mask(repeating: Vector.Scalar.magnitudeMask)) &- limit
    return vector(limit &+ (excess & signMask(excess)))
  }

  /// x with its magnitude limited; NaN becomes a limit.
  @inlinable @inline(__always)
  static func limited(_ x: Vector, _ limit: Mask) -> Vector {
    vector(bits(clampedMagnitude(x, limit)) | (bits(x) & ~Mask(repeating: Vector.Scalar.magnitudeMask)))
  }

  /// a where the mask is all ones, b where it is zero.
  @inlinable @inline(__always)
  static func select(_ mask: Mask, _ a: Vector, _ b: Vector) -> Vector {
    vector((bits(a) & mask) | (bits(b) & ~mask))
  }

  /// All ones where x > y, of which one is finite: the difference has a sign even where it underflows. NaN gives either.
  @inlinable @inline(__always)
  static func isGreater(_ x: Vector, _ y: Vector) -> Mask { signMask(bits(y - x)) }

  /// All ones where x > 0. NaN gives either.
  @inlinable @inline(__always)
  static func isPositive(_ x: Vector) -> Mask {
    // A positive magnitude, and no sign: zero minus the bits is negative.
    signMask(Mask.zero &- bits(x)) & ~signMask(bits(x))
  }

  /// e^x - 1 and e^x for x <= 0, the first exact to rounding for small x; of x > 0 those of -x.
  @inlinable @inline(__always)
  static func exponentialMinusOne(ofNegative x: Vector) -> (minusOne: Vector, exponential: Vector) {
    let (fraction, scale) = negativeExponential(clampedMagnitude(x, Vector.Scalar.exponentialLimitBits))
    return (multiplyAdd(fraction, scale, scale - Vector(repeating: 1)), multiplyAdd(fraction, scale, scale))
  }

  /// ln(1 + z) for 0 <= z <= 1.
  ///
  /// ln(1 + f) = f - s (f - R), s = f / (2 + f) = tanh of half of it, R = 2 s² / 3 + 2 s⁴ / 5 + …: the error of s counts little
  /// (FDLIBM's log1p). f is z, and (z - 1) / 2 above √2 - 1, where the result is ln 2 more.
  @inlinable @inline(__always)
  static func logarithmOfOnePlus(_ z: Vector) -> Vector {
    typealias S = Vector.Scalar
    let isLarge = isGreater(z, Vector(repeating: 0.41421356))
    let f = select(isLarge, (z - Vector(repeating: 1)) * Vector(repeating: 0.5), z)
    let s = f / (f + Vector(repeating: 2))
    let u = s * s
    let bracket = f - u * S.logarithmSeries(Self.self, u)
    return vector(bits(Vector(repeating: S.ln2)) & isLarge) + multiplyAdd(-s, bracket, f)
  }

  /// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|).
  @inlinable @inline(__always)
  static func softplus(_ x: Vector) -> Vector {
    relu(x) + logarithmOfOnePlus(exponentialMinusOne(ofNegative: x).exponential)
  }

  /// |x|, or the largest number for infinity, so that |x| / (1 + |x|) is 1 there and no NaN.
  @inlinable @inline(__always)
  static func finiteMagnitude(_ x: Vector) -> Vector {
    clampedMagnitude(x, Mask(repeating: Vector.Scalar.infinityBits &- 1))
  }

  /// The loop of every kind: x limited, y = f(x), and f'(x) where it is wanted; NaN passes to both.
  @inlinable @inline(__always)
  static func activateEach(
    _ a: ActivateArguments<Scalar>, _ function: (_ x: Vector) -> Vector, derivative: (_ x: Vector, _ y: Vector) -> Vector
  ) {
    let limit = bits(Vector(repeating: a.clip > 0 ? a.clip : .infinity))
    forEachVector(rows: a.rows, columns: a.columns) { row, i, lanes in
      let values = a.values + (row &* a.valuesStride &+ i)
      let given = load(values, lanes: lanes)
      let nan = nanMask(given)
      let x = limited(given, limit)
      let y = function(x)
      store(vector(bits(y) | nan), values, lanes: lanes)
      guard let derivatives = a.derivatives else { return }
      let isOutside = signMask(limit &- (bits(given) & Mask(repeating: Vector.Scalar.magnitudeMask)))
      store(
        vector((bits(derivative(x, y)) & ~isOutside) | nan), derivatives + (row &* a.derivativesStride &+ i), lanes: lanes)
    }
  }
}

/// In place: values = f(values), and the derivatives beside them.
///
/// At a kink the derivative is PyTorch's: relu'(0) = 0, hard_sigmoid' is 0 at both ends, of leaky_relu and elu it is that of the
/// negative side.
@_alwaysEmitIntoClient @inline(__always)
public func activateBody<T: KernelTarget>(_ target: T.Type, _ a: ActivateArguments<T.Scalar>) {
  let one = T.Vector(repeating: 1)
  let oneBits = T.bits(one)
  let alpha = T.Vector(repeating: a.alpha), beta = T.Vector(repeating: a.beta)
  switch a.kind {
  case .sigmoid:
    T.activateEach(a) { T.sigmoid($0) } derivative: { _, y in y * (one - y) }
  case .hardSigmoid:
    T.activateEach(a) { x in
      let line = T.multiplyAdd(alpha, x, beta)
      return T.vector(T.bits(T.clampedMagnitude(T.relu(line), oneBits)) | T.nanMask(line))
    } derivative: { x, _ in
      let line = T.multiplyAdd(alpha, x, beta)
      return T.vector(T.bits(alpha) & T.isPositive(line) & T.isGreater(one, line))
    }
  case .tanh:
    T.activateEach(a) { T.tanh($0) } derivative: { _, y in one - y * y }
  case .relu:
    T.activateEach(a) { T.relu($0) } derivative: { x, _ in T.vector(oneBits & T.isPositive(x)) }
  case .leakyRelu:
    T.activateEach(a) { x in
      T.select(T.signMask(T.bits(x)), alpha * x, x)
    } derivative: { x, _ in
      T.select(T.isPositive(x), one, alpha)
    }
  case .thresholdedRelu:
    T.activateEach(a) { x in
      T.vector(T.bits(x) & T.isGreater(x, alpha))
    } derivative: { x, _ in
      T.vector(oneBits & T.isGreater(x, alpha))
    }
  case .scaledTanh:
    T.activateEach(a) { x in
      alpha * T.tanh(beta * x)
    } derivative: { x, _ in
      let t = T.tanh(beta * x)
      return alpha * beta * (one - t * t)
    }
  case .elu:
    T.activateEach(a) { x in
      T.select(T.signMask(T.bits(x)), alpha * T.exponentialMinusOne(ofNegative: x).minusOne, x)
    } derivative: { x, _ in
      T.select(T.isPositive(x), one, alpha * T.exponentialMinusOne(ofNegative: x).exponential)
    }
  case .softsign:
    T.activateEach(a) { x in
      let magnitude = T.finiteMagnitude(x)
      let sign = T.bits(x) & ~T.Mask(repeating: T.Vector.Scalar.magnitudeMask)
      return T.vector(T.bits(magnitude / (one + magnitude)) | sign)
    } derivative: { x, _ in
      let reciprocal = one / (one + T.finiteMagnitude(x))
      return reciprocal * reciprocal
    }
  case .softplus:
    T.activateEach(a) { T.softplus($0) } derivative: { x, _ in T.sigmoid(x) }
  case .affine:
    T.activateEach(a) { x in T.multiplyAdd(alpha, x, beta) } derivative: { _, _ in alpha }
  }
}
