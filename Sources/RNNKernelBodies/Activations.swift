extension KernelTarget {
  /// e^x = (1 + fraction) · 2^n: fraction = e^r - 1 of the reduced argument, and n in the low bits.
  @inlinable @inline(__always)
  static func reducedExponential(_ x: Vector) -> (fraction: Vector, power: Mask) {
    typealias S = Vector.Scalar
    let shifted = multiplyAdd(x, Vector(repeating: S.log2e), Vector(repeating: S.roundingMagic))
    let n = shifted - Vector(repeating: S.roundingMagic)
    var r = multiplyAdd(n, Vector(repeating: -S.ln2High), x)
    r = multiplyAdd(n, Vector(repeating: -S.ln2Low), r)
    return (multiplyAdd(S.exponentialTail(Self.self, r), r * r, r), bits(shifted))
  }

  /// e^-y = (1 + first) · second for 0 <= y <= the exponential limit: first = e^r - 1 of the reduced argument, second = 2^n, which
  /// is exactly 0 at the limit.
  @inlinable @inline(__always)
  static func negativeExponential(_ y: Vector) -> (fraction: Vector, scale: Vector) {
    typealias S = Vector.Scalar
    let (fraction, power) = reducedExponential(-y)
    return (fraction, vector((power &+ Mask(repeating: S.exponentBias)) &<< Mask(repeating: S.exponentShift)))
  }

  /// min(|x|, limit), on the bits; NaN becomes the limit.
  @inlinable @inline(__always)
  static func clampedMagnitude(_ x: Vector, _ limit: Vector.Scalar.Bits) -> Vector {
    let magnitude = bits(x) & Mask(repeating: Vector.Scalar.magnitudeMask)
    let excess = magnitude &- Mask(repeating: limit)
    return vector(Mask(repeating: limit) &+ (excess & signMask(excess)))
  }

  /// σ(x) = 1 / (1 + e^-x), without overflow: with z = e^-|x|, it is 1 / (1 + z) or z / (1 + z). Exactly 0 and 1 in the far
  /// tails; NaN passes.
  @inlinable @inline(__always)
  public static func sigmoid(_ x: Vector) -> Vector {
    let (fraction, scale) = negativeExponential(clampedMagnitude(x, Vector.Scalar.exponentialLimitBits))
    let z = multiplyAdd(fraction, scale, scale)
    let negative = signMask(bits(x))
    let one = Vector(repeating: 1)
    let numerator = vector((bits(z) & negative) | (bits(one) & ~negative))
    return vector(bits(numerator / (z + one)) | nanMask(x))
  }

  /// tanh x = -m / (2 + m) with m = e^(-2|x|) - 1, and the sign of x: odd to the bit, exact for tiny x; NaN passes.
  @inlinable @inline(__always)
  public static func tanh(_ x: Vector) -> Vector {
    typealias S = Vector.Scalar
    // Half the limit: one less in the exponent.
    let halfLimit = S.exponentialLimitBits &- (1 &<< S.exponentShift)
    let (fraction, scale) = negativeExponential(clampedMagnitude(x, halfLimit) * Vector(repeating: 2))
    let m = multiplyAdd(fraction, scale, scale - Vector(repeating: 1))
    let quotient = m / (m + Vector(repeating: 2))
    let magnitude = bits(quotient) & Mask(repeating: S.magnitudeMask)
    return vector(magnitude | (bits(x) & ~Mask(repeating: S.magnitudeMask)) | nanMask(x))
  }

  /// e^(x - maximum) for x <= maximum; NaN passes.
  @inlinable @inline(__always)
  static func exponentialOfDifference(_ x: Vector, _ maximum: Vector) -> Vector {
    let difference = x - maximum
    let (fraction, scale) = negativeExponential(clampedMagnitude(difference, Vector.Scalar.exponentialLimitBits))
    return vector(bits(multiplyAdd(fraction, scale, scale)) | nanMask(difference))
  }

  /// max(x, 0); NaN passes.
  @inlinable @inline(__always)
  public static func relu(_ x: Vector) -> Vector {
    vector((bits(x) & ~signMask(bits(x))) | nanMask(x))
  }

  /// v where y is not 0, else 0: the gradient of relu through its result, which is never negative; NaN lets v pass.
  @inlinable @inline(__always)
  static func reluGradient(_ v: Vector, result y: Vector) -> Vector {
    vector(bits(v) & signMask(Mask.zero &- (bits(y) & Mask(repeating: Vector.Scalar.magnitudeMask))))
  }

  @inlinable @inline(__always)
  static func nonlinearity(_ x: Vector, relu useRelu: Bool) -> Vector {
    useRelu ? relu(x) : tanh(x)
  }
}

/// In place over `count` elements.
@inlinable @inline(__always)
public func sigmoidBody<T: KernelTarget>(_ target: T.Type, _ a: ElementArguments<T.Scalar>) {
  T.forEachVector(rows: 1, columns: a.count) { _, i, lanes in
    T.store(T.sigmoid(T.load(a.values + i, lanes: lanes)), a.values + i, lanes: lanes)
  }
}

/// In place over `count` elements.
@inlinable @inline(__always)
public func tanhBody<T: KernelTarget>(_ target: T.Type, _ a: ElementArguments<T.Scalar>) {
  T.forEachVector(rows: 1, columns: a.count) { _, i, lanes in
    T.store(T.tanh(T.load(a.values + i, lanes: lanes)), a.values + i, lanes: lanes)
  }
}

/// values += addend, over rows of their own strides.
@inlinable @inline(__always)
public func addBody<T: KernelTarget>(_ target: T.Type, _ a: AddArguments<T.Scalar>) {
  T.forEachVector(rows: a.rows, columns: a.columns) { row, i, lanes in
    let values = a.values + (row &* a.valuesStride &+ i)
    T.store(T.load(values, lanes: lanes) + T.load(a.addend + (row &* a.addendStride &+ i), lanes: lanes), values, lanes: lanes)
  }
}
