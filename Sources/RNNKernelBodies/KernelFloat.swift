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

  /// (e^r - 1 - r) / r² for |r| <= ln 2 / 2.
  static func exponentialTail<T: KernelTarget>(_ target: T.Type, _ r: T.Vector) -> T.Vector where T.Scalar == Self
}

extension Float: KernelFloat {
  public typealias Bits = Int32
  @inlinable @inline(__always) public static var reductionLanes: Int { 16 }
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

  /// Minimax of Cephes' expf (Moshier), error of e^r below 2e-9 relative.
  @inlinable @inline(__always)
  public static func exponentialTail<T: KernelTarget>(_ target: T.Type, _ r: T.Vector) -> T.Vector where T.Scalar == Float {
    var p = T.Vector(repeating: 1.9875691500e-4)
    p = T.multiplyAdd(p, r, T.Vector(repeating: 1.3981999507e-3))
    p = T.multiplyAdd(p, r, T.Vector(repeating: 8.3334519073e-3))
    p = T.multiplyAdd(p, r, T.Vector(repeating: 4.1665795894e-2))
    p = T.multiplyAdd(p, r, T.Vector(repeating: 1.6666665459e-1))
    return T.multiplyAdd(p, r, T.Vector(repeating: 5.0000001201e-1))
  }
}

extension Double: KernelFloat {
  public typealias Bits = Int64
  @inlinable @inline(__always) public static var reductionLanes: Int { 8 }
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

  /// Taylor series through r^13 / 13!; the first term left out is below 5e-18 relative.
  @inlinable @inline(__always)
  public static func exponentialTail<T: KernelTarget>(_ target: T.Type, _ r: T.Vector) -> T.Vector where T.Scalar == Double {
    var p = T.Vector(repeating: 1 / 6_227_020_800.0)
    p = T.multiplyAdd(p, r, T.Vector(repeating: 1 / 479_001_600.0))
    p = T.multiplyAdd(p, r, T.Vector(repeating: 1 / 39_916_800.0))
    p = T.multiplyAdd(p, r, T.Vector(repeating: 1 / 3_628_800.0))
    p = T.multiplyAdd(p, r, T.Vector(repeating: 1 / 362_880.0))
    p = T.multiplyAdd(p, r, T.Vector(repeating: 1 / 40_320.0))
    p = T.multiplyAdd(p, r, T.Vector(repeating: 1 / 5_040.0))
    p = T.multiplyAdd(p, r, T.Vector(repeating: 1 / 720.0))
    p = T.multiplyAdd(p, r, T.Vector(repeating: 1 / 120.0))
    p = T.multiplyAdd(p, r, T.Vector(repeating: 1 / 24.0))
    p = T.multiplyAdd(p, r, T.Vector(repeating: 1 / 6.0))
    return T.multiplyAdd(p, r, T.Vector(repeating: 0.5))
  }
}
