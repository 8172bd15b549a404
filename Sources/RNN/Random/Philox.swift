/// Philox4x32-10: a bijection of 128-bit counters for each 64-bit key, whose values pass for random.
///
/// Any number of the stream is had without the ones before it, so a mask can be drawn in any order, on any thread and
/// in any chunks, and is the same. Ten rounds, each
///
///     (c0, c1, c2, c3) ← (hi(M1·c2) ⊕ c1 ⊕ k0,  lo(M1·c2),  hi(M0·c0) ⊕ c3 ⊕ k1,  lo(M0·c0))
///
/// with (k0, k1) advanced by Weyl constants between rounds.
///
/// - SeeAlso: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"; checked against the
///   kat_vectors of its Random123 library.
enum Philox {
  @inline(__always)
  static func block(counter: SIMD4<UInt32>, key: SIMD2<UInt32>) -> SIMD4<UInt32> {
    var (c0, c1, c2, c3) = (counter.x, counter.y, counter.z, counter.w)
    var (k0, k1) = (key.x, key.y)
    for _ in 0..<10 {
      let product0 = UInt64(0xD251_1F53) &* UInt64(c0)
      let product1 = UInt64(0xCD9E_8D57) &* UInt64(c2)
      (c0, c1, c2, c3) = (
        UInt32(truncatingIfNeeded: product1 &>> 32) ^ c1 ^ k0,
        UInt32(truncatingIfNeeded: product1),
        UInt32(truncatingIfNeeded: product0 &>> 32) ^ c3 ^ k1,
        UInt32(truncatingIfNeeded: product0)
      )
      k0 &+= 0x9E37_79B9
      k1 &+= 0xBB67_AE85
    }
    return SIMD4(c0, c1, c2, c3)
  }
}

/// A stream of random numbers for one purpose, and the mapping from what a number is for to the number.
///
/// The mapping is a promise like a file format: the same on every platform and processor, and in every release.
/// Changing it would change the result of every seeded training.
///
///     subkey = words 0 and 1 of Philox(counter: (step low, step high, layer, purpose << 16 | direction),
///                                      key:     (seed low, seed high))
///     draw(time, row, unit) = word (unit mod 4) of Philox(counter: (unit / 4, row, time low, time high), key: subkey)
///     element e             = words 2·(e mod 2) and 2·(e mod 2) + 1 of
///                             Philox(counter: (e/2 low, e/2 high, 0, 0), key: subkey)
///
/// A purpose uses draws or elements, not both: they read the same counters.
struct PhiloxKey: Equatable, Sendable {
  /// What numbers are for; the same place in a network gets other numbers for another purpose. Raw values are part of
  /// the mapping: they are never changed and never used again.
  enum Purpose: UInt32, CaseIterable, Sendable {
    case initialization = 1
    case dropout = 2
    case sampling = 3
    case recurrentDropout = 4
  }

  /// Key of every draw; Philox's (k0, k1).
  let subkey: SIMD2<UInt32>

  /// - Parameters:
  ///   - seed: The user's.
  ///   - layer: The caller's number for the place in the network: a layer, or for initialization the parameter's
  ///     ordinal.
  ///   - direction: 0 forward, 1 backward; only the low 16 bits count.
  ///   - step: The caller's number for the pass, such as the training step; 0 where there is but one.
  init(seed: UInt64, purpose: Purpose, layer: UInt32, direction: UInt32 = 0, step: UInt64 = 0) {
    let block = Philox.block(
      counter: SIMD4(
        UInt32(truncatingIfNeeded: step), UInt32(truncatingIfNeeded: step &>> 32),
        layer, purpose.rawValue &<< 16 | direction & 0xFFFF),
      key: SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed &>> 32)))
    subkey = SIMD2(block.x, block.y)
  }

  /// The number of one unit of one row at one absolute time step: uniform over all 32-bit words.
  func draw(time: UInt64, row: UInt32, unit: UInt32) -> UInt32 {
    draws(time: time, row: row, unitBlock: unit &>> 2)[Int(unit & 3)]
  }

  /// The numbers of units `4·unitBlock` to `4·unitBlock + 3`, for the price of one.
  @inline(__always)
  func draws(time: UInt64, row: UInt32, unitBlock: UInt32) -> SIMD4<UInt32> {
    Philox.block(
      counter: SIMD4(
        unitBlock, row, UInt32(truncatingIfNeeded: time), UInt32(truncatingIfNeeded: time &>> 32)),
      key: subkey)
  }

  /// 64 random bits for element `index` of an array, the first word in the high half.
  func bits(element index: UInt64) -> UInt64 {
    let pair = index &>> 1
    let block = Philox.block(
      counter: SIMD4(UInt32(truncatingIfNeeded: pair), UInt32(truncatingIfNeeded: pair &>> 32), 0, 0), key: subkey)
    return index & 1 == 0 ? joinedWords(block.x, block.y) : joinedWords(block.z, block.w)
  }
}

/// Two words as one, the first one high.
@inline(__always)
func joinedWords(_ high: UInt32, _ low: UInt32) -> UInt64 { UInt64(high) &<< 32 | UInt64(low) }

/// The upper 53 bits `k` as `k · 2⁻⁵³`: uniform in [0, 1), every value exact.
@inline(__always)
func uniformDouble(_ bits: UInt64) -> Double { Double(bits &>> 11) * 0x1p-53 }

/// The upper 52 bits `k` as `(k + ½) · 2⁻⁵²`: uniform in (0, 1), every value exact, and symmetric: 1 − u occurs if u
/// does.
///
/// 52, because with 53 the sum would be rounded, for the largest `k` to 1.
@inline(__always)
func openUniformDouble(_ bits: UInt64) -> Double { (Double(bits &>> 12) + 0.5) * 0x1p-52 }
