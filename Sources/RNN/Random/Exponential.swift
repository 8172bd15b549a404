/// Exponentials and their like, in operations that are the same on every platform: see ``Normal``. All must run inside
/// `withNumericMode`, which rounds to nearest.
extension Normal {
  typealias Vector = SIMD4<Double>

  /// x^y for x > 0, y > 0.
  static func power(_ x: Double, _ y: Double) -> Double {
    guard x.isFinite else { return x }
    let exponent = y * logarithm(x)
    guard exponent < 709 else { return .infinity }
    return exponent > -708 ? exponential(exponent) : 0
  }

  /// e^x for |x| < 709.
  static func exponential(_ x: Double) -> Double { exponential(Vector(repeating: x)).x }

  /// e^x for |x| < 709, with an error below 1 unit in the last place: 2^n times the series of e^r, |r| <= ln 2 / 2.
  @inline(__always)
  static func exponential(_ x: Vector) -> Vector {
    // Adding 1.5 · 2^52 rounds to a whole number and leaves it in the lowest bits.
    let magic = 0x1.8p52
    let shifted = x * .log2e + magic
    let n = shifted - magic
    let r = (x - n * Double.ln2High) - n * Double.ln2Low
    // Σ r^k / k!; the next term is below 2^-57.
    var sum = r * (1 / 6227020800.0) + 1 / 479001600.0
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
    let exponent = unsafeBitCast(shifted, to: SIMD4<UInt64>.self) &- magic.bitPattern
    return sum * unsafeBitCast((exponent &+ 1023) &<< 52, to: Vector.self)
  }

  /// e^x for x <= 0; 0 below e^-700. Not of NaN.
  @inline(__always)
  static func exponentialOfNegative(_ x: Vector) -> Vector {
    let isSmall = x .< -700
    return exponential(x.replacing(with: -700, where: isSmall)).replacing(with: 0, where: isSmall)
  }

  /// log(e^a + e^b), -infinity included. Not of NaN.
  @inline(__always)
  static func logarithmOfSum(_ a: Vector, _ b: Vector) -> Vector {
    let largest = a.replacing(with: b, where: b .> a), other = b.replacing(with: a, where: b .> a)
    return largest + logarithm(ofSum: 1 + exponentialOfNegative(other - finite(largest)))
  }

  /// log(e^a + e^b + e^c), -infinity included. Not of NaN.
  @inline(__always)
  static func logarithmOfSum(_ a: Vector, _ b: Vector, _ c: Vector) -> Vector {
    let first = a.replacing(with: b, where: b .> a), smaller = b.replacing(with: a, where: b .> a)
    let largest = first.replacing(with: c, where: c .> first), middle = c.replacing(with: first, where: c .> first)
    let base = finite(largest)
    return largest
      + logarithm(ofSum: (1 + exponentialOfNegative(smaller - base)) + exponentialOfNegative(middle - base))
  }

  /// 0 for -infinity, of which the difference to itself would be NaN.
  @inline(__always)
  private static func finite(_ x: Vector) -> Vector { x.replacing(with: 0, where: x .== -.infinity) }

  /// ``logarithm(_:)`` of numbers from 1 to 3.
  @inline(__always)
  private static func logarithm(ofSum x: Vector) -> Vector {
    let isTwo = x .>= 2
    var k = Vector.zero.replacing(with: 1, where: isTwo)
    var significand = x.replacing(with: x * 0.5, where: isTwo)
    let isLarge = significand .> 1.414_213_562_373_095
    k = k.replacing(with: k + 1, where: isLarge)
    significand = significand.replacing(with: significand * 0.5, where: isLarge)
    return logarithm(significand: significand, exponent: k)
  }
}
