import CRNNSupport

/// What a kernel body must know of Float and Double: the layout of the bits and the constants of the exponential.
///
/// The rules of this module and its three instances (checked on every build): only unsafe pointers, SIMD and scalars; no array,
/// class or escaping closure; everything `@inlinable @inline(__always)`. Then an instance leaves no weak symbol that the
/// linker could hand to code for an older processor. Lane-wise selection and clamping are done on the bits: the standard
/// library's `.clamped`, `.replacing(with:where:)` and `pointwiseMin` fall apart into scalar code in generic bodies.
public protocol KernelFloat: SIMDScalar, BinaryFloatingPoint, Codable, Sendable {
  associatedtype Bits: FixedWidthInteger & SignedInteger & SIMDScalar & Sendable

  /// Logical lanes of every horizontal sum, the same on every instruction set.
  static var reductionLanes: Int { get }

  /// Bits of a stored weight of half the size, the high half of a number; 0 where there are none.
  static var halfWidth: Bits { get }

  /// The square root, in a form that loops are vectorised with.
  static func root(_ x: Self) -> Self

  static var signShift: Bits { get }
  static var magnitudeMask: Bits { get }
  static var infinityBits: Bits { get }
  static var exponentShift: Bits { get }
  static var exponentBias: Bits { get }

  /// 1.5 · 2^(significand bits): adding it rounds to an integer, which is then in the low bits.
  static var roundingMagic: Self { get }
  static var log2e: Self { get }
  /// ln 2 = high + low, where n · high is exact for every exponent n.
  static var ln2High: Self { get }
  static var ln2Low: Self { get }
  /// Above it e^-x is below the smallest normal number, and 2^n of the reduced argument becomes zero.
  static var exponentialLimit: Self { get }
  static var exponentialLimitBits: Bits { get }

  /// e^x is infinite from here on.
  static var exponentialOverflowBits: Bits { get }
  /// ln 2, as one number.
  static var ln2: Self { get }

  /// Σ_k 2 u^k / (2k + 3), k from 0: with u = s², s = f / (2 + f), it is what ln(1 + f) = f - s (f - u · series) needs, for
  /// |s| <= 3 - 2√2.
  static func logarithmSeries<T: KernelTarget>(_ target: T.Type, _ u: T.Vector) -> T.Vector where T.Scalar == Self

  /// From here on tanh is 1.
  static var tanhLimitBits: Bits { get }
  /// 0.55, where `KernelTarget.tanh` changes from the series to the exponential; tanh is just above 1/2.
  static var tanhBorderBits: Bits { get }
  /// (tanh x - x) / x³ with u = x², for 0 <= x <= 0.55.
  static func tanhTail<T: KernelTarget>(_ target: T.Type, _ u: T.Vector) -> T.Vector where T.Scalar == Self

  /// (e^r - 1 - r) / r² for |r| <= ln 2 / 2.
  static func exponentialTail<T: KernelTarget>(_ target: T.Type, _ r: T.Vector) -> T.Vector where T.Scalar == Self
}

extension Float: KernelFloat {
  public typealias Bits = Int32
  @inlinable @inline(__always) public static var reductionLanes: Int { 16 }
  @inlinable @inline(__always) public static func root(_ x: Float) -> Float { rnn_cpu_sqrt_f32(x) }
  /// bfloat16.
  @inlinable @inline(__always) public static var halfWidth: Int32 { 16 }
  @inlinable @inline(__always) public static var signShift: Int32 { 31 }
  @inlinable @inline(__always) public static var magnitudeMask: Int32 { 0x7fff_ffff }
  @inlinable @inline(__always) public static var infinityBits: Int32 { 0x7f80_0000 }
  @inlinable @inline(__always) public static var exponentShift: Int32 { 23 }
  @inlinable @inline(__always) public static var exponentBias: Int32 { 127 }
  @inlinable @inline(__always) public static var roundingMagic: Float { 12_582_912 }
  @inlinable @inline(__always) public static var log2e: Float { 1.44269504 }
  @inlinable @inline(__always) public static var ln2High: Float { 0.693359375 }
  @inlinable @inline(__always) public static var ln2Low: Float { -2.12194440e-4 }
  @inlinable @inline(__always) public static var exponentialLimit: Float { 88 }
  @inlinable @inline(__always) public static var exponentialLimitBits: Int32 { 0x42b0_0000 }
  /// 89.
  @inlinable @inline(__always) public static var exponentialOverflowBits: Int32 { 0x42b2_0000 }
  @inlinable @inline(__always) public static var ln2: Float { 0.693147181 }

  /// The first term left out is below 4e-9 of the logarithm.
  @inlinable @inline(__always)
  public static func logarithmSeries<T: KernelTarget>(_ target: T.Type, _ u: T.Vector) -> T.Vector where T.Scalar == Float {
    var p = T.Vector(repeating: 2 / 9.0)
    p = T.multiplyAdd(p, u, T.Vector(repeating: 2 / 7.0))
    p = T.multiplyAdd(p, u, T.Vector(repeating: 2 / 5.0))
    return T.multiplyAdd(p, u, T.Vector(repeating: 2 / 3.0))
  }

  /// 10.
  @inlinable @inline(__always) public static var tanhLimitBits: Int32 { 0x4120_0000 }
  @inlinable @inline(__always) public static var tanhBorderBits: Int32 { 0x3f0c_cccd }

  /// Minimax (Remez), error of tanh below 1e-9 relative. Estrin's form, as in the others: one row is waiting for this.
  @inlinable @inline(__always)
  public static func tanhTail<T: KernelTarget>(_ target: T.Type, _ u: T.Vector) -> T.Vector where T.Scalar == Float {
    let first = T.multiplyAdd(T.Vector(repeating: 0.13332601), u, T.Vector(repeating: -0.3333332))
    let second = T.multiplyAdd(T.Vector(repeating: 0.021077262), u, T.Vector(repeating: -0.053853747))
    let square = u * u
    return T.multiplyAdd(T.multiplyAdd(T.Vector(repeating: -0.0062817247), square, second), square, first)
  }

  /// Minimax (Remez), error of e^r below 4e-9 relative.
  @inlinable @inline(__always)
  public static func exponentialTail<T: KernelTarget>(_ target: T.Type, _ r: T.Vector) -> T.Vector where T.Scalar == Float {
    let first = T.multiplyAdd(T.Vector(repeating: 0x1.555492p-3), r, T.Vector(repeating: 0x1.fffffcp-2))
    let second = T.multiplyAdd(T.Vector(repeating: 0x1.1239e2p-7), r, T.Vector(repeating: 0x1.5558f2p-5))
    let square = r * r
    return T.multiplyAdd(T.multiplyAdd(T.Vector(repeating: 0x1.6a2430p-10), square, second), square, first)
  }
}

extension Double: KernelFloat {
  public typealias Bits = Int64
  @inlinable @inline(__always) public static var reductionLanes: Int { 8 }
  @inlinable @inline(__always) public static func root(_ x: Double) -> Double { rnn_cpu_sqrt_f64(x) }
  @inlinable @inline(__always) public static var halfWidth: Int64 { 0 }
  @inlinable @inline(__always) public static var signShift: Int64 { 63 }
  @inlinable @inline(__always) public static var magnitudeMask: Int64 { 0x7fff_ffff_ffff_ffff }
  @inlinable @inline(__always) public static var infinityBits: Int64 { 0x7ff0_0000_0000_0000 }
  @inlinable @inline(__always) public static var exponentShift: Int64 { 52 }
  @inlinable @inline(__always) public static var exponentBias: Int64 { 1023 }
  @inlinable @inline(__always) public static var roundingMagic: Double { 6_755_399_441_055_744 }
  @inlinable @inline(__always) public static var log2e: Double { 1.4426950408889634 }
  @inlinable @inline(__always) public static var ln2High: Double { 6.93147180369123816490e-01 }
  @inlinable @inline(__always) public static var ln2Low: Double { 1.90821492927058770002e-10 }
  @inlinable @inline(__always) public static var exponentialLimit: Double { 709.125 }
  @inlinable @inline(__always) public static var exponentialLimitBits: Int64 { 0x4086_2900_0000_0000 }
  /// 710.
  @inlinable @inline(__always) public static var exponentialOverflowBits: Int64 { 0x4086_3000_0000_0000 }
  @inlinable @inline(__always) public static var ln2: Double { 0.6931471805599453 }

  /// The first term left out is below 2e-18 of the logarithm.
  @inlinable @inline(__always)
  public static func logarithmSeries<T: KernelTarget>(_ target: T.Type, _ u: T.Vector) -> T.Vector where T.Scalar == Double {
    var p = T.Vector(repeating: 2 / 21.0)
    p = T.multiplyAdd(p, u, T.Vector(repeating: 2 / 19.0))
    p = T.multiplyAdd(p, u, T.Vector(repeating: 2 / 17.0))
    p = T.multiplyAdd(p, u, T.Vector(repeating: 2 / 15.0))
    p = T.multiplyAdd(p, u, T.Vector(repeating: 2 / 13.0))
    p = T.multiplyAdd(p, u, T.Vector(repeating: 2 / 11.0))
    p = T.multiplyAdd(p, u, T.Vector(repeating: 2 / 9.0))
    p = T.multiplyAdd(p, u, T.Vector(repeating: 2 / 7.0))
    p = T.multiplyAdd(p, u, T.Vector(repeating: 2 / 5.0))
    return T.multiplyAdd(p, u, T.Vector(repeating: 2 / 3.0))
  }

  /// 22.
  @inlinable @inline(__always) public static var tanhLimitBits: Int64 { 0x4036_0000_0000_0000 }
  @inlinable @inline(__always) public static var tanhBorderBits: Int64 { 0x3fe1_9999_9999_999a }

  /// Minimax (Remez), error of tanh below 6e-19 relative.
  @inlinable @inline(__always)
  public static func tanhTail<T: KernelTarget>(_ target: T.Type, _ u: T.Vector) -> T.Vector where T.Scalar == Double {
    polynomial(
      T.self, u,
      (
        -0.333333333333333, 0.1333333333332681, -0.05396825396386536, 0.021869488388711257, -0.00886323264615762,
        0.0035920924634750043, -0.0014555455259807795, 0.0005884551095050739, -0.00023340765479274169,
        8.335259982749435e-05, -1.9516295560302643e-05
      ))
  }

  /// Minimax (Remez), error of e^r below 1e-19 relative.
  @inlinable @inline(__always)
  public static func exponentialTail<T: KernelTarget>(_ target: T.Type, _ r: T.Vector) -> T.Vector where T.Scalar == Double {
    polynomial(
      T.self, r,
      (
        0.5, 0.16666666666666682, 0.041666666666666095, 0.008333333333317034, 0.0013888888889115587,
        0.00019841269896383085, 2.480158692671121e-05, 2.7557234862552098e-06, 2.75575817837713e-07,
        2.5112036646527386e-08, 2.082664649860019e-09
      ))
  }

  /// Σ c_k x^k, k from 0 to 10.
  @inlinable @inline(__always)
  static func polynomial<T: KernelTarget>(
    _ target: T.Type, _ x: T.Vector,
    _ c: (Double, Double, Double, Double, Double, Double, Double, Double, Double, Double, Double)
  ) -> T.Vector where T.Scalar == Double {
    @inline(__always) func pair(_ low: Double, _ high: Double) -> T.Vector {
      T.multiplyAdd(T.Vector(repeating: high), x, T.Vector(repeating: low))
    }
    let x2 = x * x
    let x4 = x2 * x2
    let low = T.multiplyAdd(pair(c.2, c.3), x2, pair(c.0, c.1))
    let middle = T.multiplyAdd(pair(c.6, c.7), x2, pair(c.4, c.5))
    let high = T.multiplyAdd(T.Vector(repeating: c.10), x2, pair(c.8, c.9))
    return T.multiplyAdd(T.multiplyAdd(high, x4, middle), x4, low)
  }
}
