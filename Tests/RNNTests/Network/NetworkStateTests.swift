import XCTest

@testable import RNN

final class NetworkStateTests: XCTestCase {
  func testAStateIsAValue() throws {
    let network = try recurrentNetwork(.lstm, inputSize: 1, hiddenSize: 2)
    var a = try network.makeState(batchSize: 2)
    try a.set(to: [1, 2, 3, 4, 5, 6, 7, 8] as [Float])
    var b = a
    try b.set("r.c", to: [50, 60, 70, 80] as [Float])
    XCTAssertEqual(try a.array(), [1, 2, 3, 4, 5, 6, 7, 8] as [Float])
    XCTAssertEqual(try b.array(), [1, 2, 3, 4, 50, 60, 70, 80] as [Float])
    let c = try a.cloned()
    try a.reset()
    XCTAssertEqual(try a.array(), [Float](repeating: 0, count: 8))
    XCTAssertEqual(try c.array("r.h"), [1, 2, 3, 4] as [Float])

    // Running advances one copy and no other.
    var running: NetworkState? = b
    _ = try network.run(Batch<Float>(steps: 3, rows: 2, features: [1, 2, 3, 4, 5, 6]), state: &running)
    XCTAssertEqual(try b.array(), [1, 2, 3, 4, 50, 60, 70, 80] as [Float])
    XCTAssertNotEqual(try running!.array(), try b.array() as [Float])
    // So does the convenience over arrays, and a call that fails changes nothing.
    var d = b
    _ = try network.run([1, 2] as [Float], state: &d)
    XCTAssertNotEqual(try d.array(), try b.array() as [Float])
    let before: [Float] = try d.array()
    XCTAssertThrowsError(try network.run([1, 2, 3] as [Float], state: &d))
    XCTAssertThrowsError(try network.run([1, 2] as [Double], state: &d))
    XCTAssertEqual(try d.array(), before)
    XCTAssertEqual(d.batchSize, 2)
  }

  func testAStateSaysWhatDoesNotFit() throws {
    let network = try recurrentNetwork(.lstm, inputSize: 1, hiddenSize: 2)
    assertFails(.invalidArgument, "batch_size is 0") { try network.makeState(batchSize: 0) }
    assertFails(.invalidArgument) { try network.makeState(batchSize: -1) }
    assertFails(.outOfMemory) { try network.makeState(batchSize: .max) }
    var state = try network.makeState(batchSize: 2)
    assertFails(.notFound, "r.x", "'r.h', 'r.c'") { try state.set("r.x", to: [1] as [Float]) }
    assertFails(.shape, "values_count is 3", "4") { try state.set("r.h", to: [1, 2, 3] as [Float]) }
    assertFails(.dtype, "float32", "float64") { try state.set(to: [Double](repeating: 0, count: 8)) }
    var short = [Float](repeating: 0, count: 7)
    assertFails(.bufferTooSmall, "values_count is 7", "8") { try short.withUnsafeMutableBufferPointer { try state.read(into: $0) } }

    let other = try recurrentNetwork(.lstm, inputSize: 1, hiddenSize: 3)
    var wrong: NetworkState? = state
    let batch = Batch<Float>(steps: 1, rows: 2, features: [1, 2])
    assertFails(.shape, "other layers") { try other.run(batch, state: &wrong) }
    var fewer: NetworkState? = try network.makeState(batchSize: 1)
    assertFails(.shape, "1 rows, expected 2") { try network.run(batch, state: &fewer) }
    let double = try recurrentNetwork(.lstm, inputSize: 1, hiddenSize: 2, dataType: .float64)
    assertFails(.shape) { try NetworkStream(double).writeState(try network.makeState()) }
  }
}

extension Batch {
  /// A batch of features alone.
  init(steps: Int, rows: Int, features: [Scalar]) {
    var numbers = TestNumbers(seed: 0)
    self.init(Architecture(), stepCount: steps, rowCount: rows, numbers: &numbers)
    self.features = features
  }
}
