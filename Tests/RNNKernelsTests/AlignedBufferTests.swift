import XCTest

@testable import RNNKernels

final class AlignedBufferTests: XCTestCase {
  func testMemoryIsAlignedAndZero() throws {
    for count in [0, 1, 15, 16, 17, 1000] {
      // Dirty memory first, so that zeros are not an accident.
      for _ in 0..<2 {
        let buffer = try XCTUnwrap(AlignedBuffer<Float>(count: count))
        XCTAssertEqual(UInt(bitPattern: buffer.baseAddress) % 64, 0)
        XCTAssertEqual(buffer.buffer.count, count)
        XCTAssertTrue(buffer.buffer.allSatisfy { $0 == 0 })
        buffer.buffer.update(repeating: .nan)
      }
    }
  }

  func testCountsThatMemoryCannotHaveAreRefused() {
    for count in [-1, Int.min, Int.max, Int.max / 8, Int.max / 8 + 1, 1 << 60] {
      XCTAssertNil(AlignedBuffer<Double>(count: count), "\(count)")
    }
    XCTAssertNil(AlignedBuffer<UInt8>(count: Int.max))
    XCTAssertNil(AlignedBuffer<UInt8>(count: Int.max - 63))
    // In range as a number, more than any machine has.
    XCTAssertNil(AlignedBuffer<UInt8>(count: 1 << 60))
  }
}
