import RNNKernels
import Synchronization
import XCTest

@testable import RNN

final class WavefrontTests: XCTestCase {
  private func withProgress(layers: Int, _ body: (ChainProgress) -> Void) {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 64 * layers, alignment: 64)
    defer { memory.deallocate() }
    body(ChainProgress(memory, layers: layers))
  }

  func testAChunkIsTakenOnceAndAfterThoseThatItNeeds() {
    for layers in 2...5 {
      for chunks in [1, 2, 3, 8] {
        withProgress(layers: layers) { progress in
          var taken = [[Bool]](repeating: [Bool](repeating: false, count: chunks), count: layers)
          var finished = taken
          var inFlight: [(layer: Int, chunk: Int)] = []
          var numbers = TestNumbers(seed: UInt64(layers * 10 + chunks))
          while !progress.isDone(chunks: chunks) {
            // As many threads at once as there are chunks to take, and which is ready first is chance.
            if let next = progress.take(chunks: chunks, own: numbers.below(layers)) {
              XCTAssertFalse(taken[next.layer][next.chunk])
              if next.layer > 0 { XCTAssert(finished[next.layer - 1][next.chunk]) }
              if next.chunk > 0 { XCTAssert(finished[next.layer][next.chunk - 1]) }
              taken[next.layer][next.chunk] = true
              inFlight.append(next)
              if numbers.below(2) == 0 { continue }
            } else {
              XCTAssertFalse(inFlight.isEmpty, "nothing to take, and nothing to wait for")
              XCTAssertFalse(progress.canTake(chunks: chunks))
            }
            let ready = inFlight.remove(at: numbers.below(inFlight.count))
            progress.finish(layer: ready.layer, chunk: ready.chunk)
            finished[ready.layer][ready.chunk] = true
          }
          XCTAssert(finished.allSatisfy { $0.allSatisfy { $0 } })
          XCTAssert(progress.canTake(chunks: chunks), "who waits must learn that all is done")
          XCTAssertNil(progress.take(chunks: chunks, own: 0))
        }
      }
    }
  }

  /// One thread alone goes up through the layers as soon as it can; with equal need it stays with its layer.
  func testTheChunkThatMostOthersWaitForComesFirst() {
    withProgress(layers: 2) { progress in
      var order: [String] = []
      var own = 0
      while let next = progress.take(chunks: 3, own: own) {
        order.append("\(next.layer)\(next.chunk)")
        own = next.layer
        progress.finish(layer: next.layer, chunk: next.chunk)
      }
      XCTAssertEqual(order, ["00", "01", "10", "11", "02", "12"])
    }
  }

  /// Nodes and layers of the chain that begins at each node.
  private func chains(_ operations: [(Operator, inputs: [String])]) throws -> [[Int]] {
    var architecture = Architecture()
    for (index, (operation, inputs)) in operations.enumerated() {
      try architecture.add(operation, name: "n\(index)", inputs: inputs)
    }
    let instructions = try Network(architecture).weights(Float.self).instructions
    return instructions.map { [$0.chainNodeCount, $0.chainLayerCount] }
  }

  private func lstm(_ layerCount: Int, _ direction: Direction = .forward) -> Operator {
    var configuration = RecurrentConfiguration(.lstm, hiddenSize: 4, layerCount: layerCount)
    configuration.direction = direction
    return .recurrent(configuration)
  }

  func testAChainIsLayersOfWhichEachReadsTheOneBefore() throws {
    let input: (Operator, inputs: [String]) = (.input(size: 4), [])
    XCTAssertEqual(try chains([input, (lstm(1), ["n0"])]), [[0, 0], [0, 0]])
    XCTAssertEqual(try chains([input, (lstm(3), ["n0"])]), [[0, 0], [1, 3]])
    XCTAssertEqual(
      try chains([input, (lstm(1), ["n0"]), (.dropout(probability: 0.5), ["n1"]), (lstm(2), ["n2"]), (.dropout(probability: 0.5), ["n3"])]),
      [[0, 0], [3, 3], [0, 0], [1, 2], [0, 0]])
    // Both read the input; neither waits for the other, and the sum reads both.
    XCTAssertEqual(
      try chains([input, (lstm(1), ["n0"]), (lstm(1), ["n0"]), (.sum, ["n1", "n2"])]), [[0, 0], [0, 0], [0, 0], [0, 0]])
    // Who reads backwards needs the whole sequence.
    XCTAssertEqual(
      try chains([input, (lstm(1), ["n0"]), (lstm(1, .reverse), ["n1"])]), [[0, 0], [0, 0], [0, 0]])
    XCTAssertEqual(try chains([input, (lstm(2, .bidirectional), ["n0"])]), [[0, 0], [0, 0]])
  }
}
