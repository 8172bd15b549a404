import XCTest

@testable import RNN

final class PhiloxTests: XCTestCase {
  /// `philox4x32 10` of kat_vectors in Random123, the library of the paper's authors.
  func testKnownAnswers() {
    XCTAssertEqual(
      Philox.block(counter: SIMD4(repeating: 0), key: SIMD2(repeating: 0)),
      SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
    XCTAssertEqual(
      Philox.block(counter: SIMD4(repeating: .max), key: SIMD2(repeating: .max)),
      SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
    XCTAssertEqual(
      Philox.block(
        counter: SIMD4(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), key: SIMD2(0xa409_3822, 0x299f_31d0)),
      SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
  }

  /// The documented mapping, spelled out: where each argument goes.
  func testTheMappingIsTheDocumentedOne() {
    let key = PhiloxKey(
      seed: 0x1111_1111_2222_2222, purpose: .dropout, layer: 0x3333_3333, direction: 1, step: 0x4444_4444_5555_5555)
    let block = Philox.block(
      counter: SIMD4(0x5555_5555, 0x4444_4444, 0x3333_3333, 0x0002_0001), key: SIMD2(0x2222_2222, 0x1111_1111))
    XCTAssertEqual(key.subkey, SIMD2(block.x, block.y))

    let words = Philox.block(counter: SIMD4(2, 7, 0x9999_9999, 0x8888_8888), key: key.subkey)
    for unit in UInt32(0)..<4 {
      XCTAssertEqual(key.draw(time: 0x8888_8888_9999_9999, row: 7, unit: 8 + unit), words[Int(unit)])
    }
    XCTAssertEqual(key.draws(time: 0x8888_8888_9999_9999, row: 7, unitBlock: 2), words)

    let pair = Philox.block(counter: SIMD4(0x6666_6666, 0x7777_7777, 0, 0), key: key.subkey)
    let even: UInt64 = 0x7777_7777_6666_6666 << 1
    XCTAssertEqual(key.bits(element: even), UInt64(pair.x) << 32 | UInt64(pair.y))
    XCTAssertEqual(key.bits(element: even + 1), UInt64(pair.z) << 32 | UInt64(pair.w))
  }

  /// Pinned numbers: a change here changes every seeded training.
  func testTheNumbersOfASeedNeverChange() {
    XCTAssertEqual(PhiloxKey.Purpose.allCases.map(\.rawValue), [1, 2, 3, 4])
    let key = PhiloxKey(seed: 42, purpose: .dropout, layer: 1, direction: 1, step: 3)
    XCTAssertEqual(key.subkey, SIMD2(0xdbd9_81e2, 0x73c1_257d))
    XCTAssertEqual(key.draw(time: 5, row: 6, unit: 7), 0x6fde_973f)
    XCTAssertEqual(key.bits(element: 9), 0x5545_e2af_a8f2_8e28)
  }

  func testEveryArgumentChangesTheNumbers() {
    func key(
      seed: UInt64 = 1, purpose: PhiloxKey.Purpose = .dropout, layer: UInt32 = 1, direction: UInt32 = 0,
      step: UInt64 = 1
    ) -> PhiloxKey { PhiloxKey(seed: seed, purpose: purpose, layer: layer, direction: direction, step: step) }
    let keys = [
      key(), key(seed: 2), key(seed: 1 << 32), key(purpose: .recurrentDropout), key(layer: 2), key(direction: 1),
      key(step: 2), key(step: 1 << 32),
    ]
    XCTAssertEqual(Set(keys.map { [$0.subkey.x, $0.subkey.y] }).count, keys.count)
    let draws = [
      key().draw(time: 1, row: 1, unit: 1), key().draw(time: 2, row: 1, unit: 1),
      key().draw(time: 1 << 32, row: 1, unit: 1),
      key().draw(time: 1, row: 2, unit: 1), key().draw(time: 1, row: 1, unit: 2), key().draw(time: 1, row: 1, unit: 5),
    ]
    XCTAssertEqual(Set(draws).count, draws.count)
  }

  func testExtremeArgumentsAreFine() {
    let key = PhiloxKey(seed: .max, purpose: .sampling, layer: .max, direction: .max, step: .max)
    _ = key.draw(time: .max, row: .max, unit: .max)
    _ = key.bits(element: .max)
  }

  func testUniformNumbersStayInTheirInterval() {
    XCTAssertEqual(uniformDouble(0), 0)
    XCTAssertEqual(uniformDouble(.max), 1.0.nextDown)
    XCTAssertEqual(uniformDouble(1 << 63), 0.5)
    XCTAssertEqual(uniformDouble(1 << 11), 0x1p-53)
    XCTAssertEqual(openUniformDouble(0), 0x1p-53)
    XCTAssertEqual(openUniformDouble(.max), 1.0.nextDown)
    for bits in [UInt64(0), 1 << 12, 1 << 63, 0x0123_4567_89AB_CDEF, .max] {
      XCTAssertEqual(openUniformDouble(bits) + openUniformDouble(~bits), 1)
    }
  }

  /// Each of 16 bins holds count/16 ± 5 standard deviations.
  func testUniformNumbersAreUniform() {
    let key = PhiloxKey(seed: 7, purpose: .sampling, layer: 0)
    let count = 16_000
    var bins = [Int](repeating: 0, count: 16)
    for element in 0..<count { bins[Int(uniformDouble(key.bits(element: UInt64(element))) * 16)] += 1 }
    let expected = Double(count) / 16
    let deviation = (expected * 15 / 16).squareRoot()
    for bin in bins { XCTAssertEqual(Double(bin), expected, accuracy: 5 * deviation) }
  }
}
