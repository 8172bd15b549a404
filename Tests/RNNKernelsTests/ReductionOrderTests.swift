import XCTest

@testable import RNNKernels

final class ReductionOrderTests: XCTestCase {
  /// The order of sums is a promise to users: a change of this table is a change of their bits.
  func testTheOrderOfEverySizeIsPinned() {
    let table: [(depth: Int, outputs: Int, order: ReductionOrder)] = [
      (0, 1, .double), (1, 1, .double), (15, 1, .double), (16, 1, .lanes), (17, 4, .lanes), (1000, 4, .lanes),
      (15, 4, .double), (16, 5, .double), (32, 5, .double), (33, 5, .single), (33, 4, .lanes), (32, 64, .double),
      (32, 65, .single), (33, 64, .single), (1, 64, .double), (1, 65, .single), (0, 65, .single), (512, 2048, .single),
    ]
    for (depth, outputs, order) in table {
      XCTAssertEqual(reductionChains(depth: depth, outputs: outputs), order, "depth \(depth), \(outputs) outputs")
    }
    // The whole plane: what the table's corners enclose.
    for depth in 0...140 {
      for outputs in 1...140 {
        let expected: ReductionOrder = outputs <= 4 && depth >= 16 ? .lanes : outputs <= 64 && depth <= 32 ? .double : .single
        XCTAssertEqual(reductionChains(depth: depth, outputs: outputs), expected)
      }
    }
  }
}
