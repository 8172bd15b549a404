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

  /// σ(x) = 1 / (1 + e^-x). 1/2 at 0 and 1 in the far tail; 0 in the other one, where the quotient is below every normal number
  /// and the numeric mode makes it 0. NaN passes.
  ///
  /// e^-x = 2^n + 2^n · fraction, and 1 + 2^n is exact but for what `lost` keeps: so the denominator is rounded once, in the last
  /// addition. Every operation is monotone, so that the whole is, and its error stays below 2 units in the last place.
  @inlinable @inline(__always)
  public static func sigmoid(_ x: Vector) -> Vector {
    typealias S = Vector.Scalar
    let one = Vector(repeating: 1)
    let opposite = ~bits(x) & ~Mask(repeating: S.magnitudeMask)
    let y = vector(bits(clampedMagnitude(x, S.exponentialLimitBits)) | opposite)
    let (fraction, power) = reducedExponential(y)
    let scale = vector((power &+ Mask(repeating: S.exponentBias)) &<< Mask(repeating: S.exponentShift))
    let sum = scale + one
    let lost = one - (sum - scale)
    return vector(bits(one / (sum + multiplyAdd(scale, fraction, lost))) | nanMask(x))
  }

  /// tanh x, with the sign of x: odd to the bit, x itself where x is tiny, ±1 in the far tails; NaN passes.
  ///
  /// |x| + |x|³ · P(x²) below 0.55, where tanh is 1/2; 1 - 2 / (1 + e^2|x|) above, where the error of the quotient counts half. Both
  /// are computed, as branches would cost more.
  @inlinable @inline(__always)
  public static func tanh(_ x: Vector) -> Vector {
    typealias S = Vector.Scalar
    let one = Vector(repeating: 1)
    let sign = bits(x) & ~Mask(repeating: S.magnitudeMask)
    let magnitude = vector(bits(x) & Mask(repeating: S.magnitudeMask))

    let half = clampedMagnitude(x, S.tanhLimitBits)
    let y = half + half
    let shifted = multiplyAdd(y, Vector(repeating: S.log2e), Vector(repeating: S.roundingMagic))
    let n = shifted - Vector(repeating: S.roundingMagic)
    // ln 2 as one number is enough: where n is large, the quotient is small.
    let r = multiplyAdd(n, Vector(repeating: -S.ln2), y)
    let fraction = multiplyAdd(S.exponentialTail(Self.self, r), r * r, r)
    let scale = vector((bits(shifted) &+ Mask(repeating: S.exponentBias)) &<< Mask(repeating: S.exponentShift))
    let large = one - Vector(repeating: 2) / multiplyAdd(scale, fraction, scale + one)

    let square = magnitude * magnitude
    let small = multiplyAdd(magnitude * square, S.tanhTail(Self.self, square), magnitude)
    let isSmall = signMask(bits(magnitude) &- Mask(repeating: S.tanhBorderBits))
    return vector((bits(small) & isSmall) | (bits(large) & ~isSmall) | sign | nanMask(x))
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
@_alwaysEmitIntoClient @inline(__always)
public func sigmoidBody<T: KernelTarget>(_ target: T.Type, _ a: ElementArguments<T.Scalar>) {
  T.forEachVector(rows: 1, columns: a.count) { _, i, lanes in
    T.store(T.sigmoid(T.load(a.values + i, lanes: lanes)), a.values + i, lanes: lanes)
  }
}

/// In place over `count` elements.
@_alwaysEmitIntoClient @inline(__always)
public func tanhBody<T: KernelTarget>(_ target: T.Type, _ a: ElementArguments<T.Scalar>) {
  T.forEachVector(rows: 1, columns: a.count) { _, i, lanes in
    T.store(T.tanh(T.load(a.values + i, lanes: lanes)), a.values + i, lanes: lanes)
  }
}

/// values += addend, over rows of their own strides.
@_alwaysEmitIntoClient @inline(__always)
public func addBody<T: KernelTarget>(_ target: T.Type, _ a: AddArguments<T.Scalar>) {
  T.forEachVector(rows: a.rows, columns: a.columns) { row, i, lanes in
    let values = a.values + (row &* a.valuesStride &+ i)
    T.store(T.load(values, lanes: lanes) + T.load(a.addend + (row &* a.addendStride &+ i), lanes: lanes), values, lanes: lanes)
  }
}
