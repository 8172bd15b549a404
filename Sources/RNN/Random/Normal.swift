/// Normal numbers that are the same on every platform.
///
/// Only `+ − × ÷` and the square root, which IEEE 754 defines to the bit: C libraries differ in the last bits of `log`.
/// Swift does not contract `a * b + c` to a fused multiply-add on its own.
enum Normal {
  /// The natural logarithm of a normal positive number, with an error below 1 unit in the last place.
  ///
  ///     x = 2ᵏ·(1 + f), √½ < 1 + f < √2;  s = f / (2 + f);  log(1 + f) = 2·artanh(s) = 2s + s·R(s²)
  ///
  /// R is a minimax polynomial of degree 14 in s, and ln 2 is kept in two parts of which the first, times k, is exact.
  ///
  /// - Returns: NaN for NaN and negative numbers, −∞ for 0, and for subnormal ones, which librnn's floating-point mode
  ///   takes for 0.
  /// - SeeAlso: K. C. Ng's `e_log.c` in Sun's fdlibm, whose reduction and coefficients these are.
  static func logarithm(_ x: Double) -> Double {
    guard x > 0 else { return x == 0 ? -.infinity : .nan }
    guard x >= .leastNormalMagnitude else { return -.infinity }
    guard x < .infinity else { return x }

    let bits = x.bitPattern
    var exponent = Int(bits &>> 52) - 1023
    var significand = Double(bitPattern: bits & 0x000F_FFFF_FFFF_FFFF | 0x3FF0_0000_0000_0000)
    if significand > 1.414_213_562_373_095 {
      significand *= 0.5
      exponent += 1
    }

    return logarithm(significand: Vector(repeating: significand), exponent: Vector(repeating: Double(exponent))).x
  }

  /// log(significand · 2^exponent), √½ < significand < √2.
  @inline(__always)
  static func logarithm(significand: Vector, exponent k: Vector) -> Vector {
    let f = significand - 1
    let s = f / (2 + f)
    let z = s * s
    let w = z * z
    // Two chains of every other coefficient, as published: the order of the sums is part of the result.
    let even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    let odd4 = 1.818357216161805012e-01 + w * 1.479819860510658591e-01
    let odd = z * (6.666666666666735130e-01 + w * (2.857142874366239149e-01 + w * odd4))
    let remainder = even + odd
    let halfSquare = 0.5 * f * f
    let ln2High = 6.93147180369123816490e-01
    let ln2Low = 1.90821492927058770002e-10
    return k * ln2High - ((halfSquare - (s * (halfSquare + remainder) + k * ln2Low)) - f)
  }

  /// The inverse of the normal distribution function: the `x` with Φ(x) = `probability`, to about 1 part in 10¹⁶.
  ///
  /// Three rational functions: of ¼·1.7² − q² near the middle, and of √(−log p) in the tails.
  ///
  /// - Returns: −∞ for 0, ∞ for 1, NaN outside [0, 1].
  /// - SeeAlso: Wichura 1988, Algorithm AS 241 (PPND16), Applied Statistics 37, 477-484.
  static func quantile(_ probability: Double) -> Double {
    guard probability > 0, probability < 1 else {
      return probability == 0 ? -.infinity : probability == 1 ? .infinity : .nan
    }
    let q = probability - 0.5
    if q.magnitude <= 0.425 {
      let r = 0.180625 - q * q
      let numerator =
        (((((((2.5090809287301226727e3 * r + 3.3430575583588128105e4) * r + 6.7265770927008700853e4) * r
          + 4.5921953931549871457e4) * r + 1.3731693765509461125e4) * r + 1.9715909503065514427e3) * r
          + 1.3314166789178437745e2) * r + 3.3871328727963666080)
      let denominator =
        (((((((5.2264952788528545610e3 * r + 2.8729085735721942674e4) * r + 3.9307895800092710610e4) * r
          + 2.1213794301586595867e4) * r + 5.3941960214247511077e3) * r + 6.8718700749205790830e2) * r
          + 4.2313330701600911252e1) * r + 1)
      return q * numerator / denominator
    }
    let tail = (-logarithm(q < 0 ? probability : 1 - probability)).squareRoot()
    let magnitude: Double
    if tail <= 5 {
      let r = tail - 1.6
      let numerator =
        (((((((7.74545014278341407640e-4 * r + 2.27238449892691845833e-2) * r + 2.41780725177450611770e-1) * r
          + 1.27045825245236838258) * r + 3.64784832476320460504) * r + 5.76949722146069140550) * r
          + 4.63033784615654529590) * r + 1.42343711074968357734)
      let denominator =
        (((((((1.05075007164441684324e-9 * r + 5.47593808499534494600e-4) * r + 1.51986665636164571966e-2) * r
          + 1.48103976427480074590e-1) * r + 6.89767334985100004550e-1) * r + 1.67638483018380384940) * r
          + 2.05319162663775882187) * r + 1)
      magnitude = numerator / denominator
    } else {
      let r = tail - 5
      let numerator =
        (((((((2.01033439929228813265e-7 * r + 2.71155556874348757815e-5) * r + 1.24266094738807843860e-3) * r
          + 2.65321895265761230930e-2) * r + 2.96560571828504891230e-1) * r + 1.78482653991729133580) * r
          + 5.46378491116411436990) * r + 6.65790464350110377720)
      let denominator =
        (((((((2.04426310338993978564e-15 * r + 1.42151175831644588870e-7) * r + 1.84631831751005468180e-5) * r
          + 7.86869131145613259100e-4) * r + 1.48753612908506148525e-2) * r + 1.36929880922735805310e-1) * r
          + 5.99832206555887937690e-1) * r + 1)
      magnitude = numerator / denominator
    }
    return q < 0 ? -magnitude : magnitude
  }

  /// A standard normal number from 64 random bits; see ``openUniformDouble(_:)``. Finite, |x| < 8.3.
  static func sample(_ bits: UInt64) -> Double { quantile(openUniformDouble(bits)) }
}
