import RNNKernels
import Synchronization

/// How far each layer of a chain is. A chunk can be computed when its layer has computed the one before, and the layer below this one.
///
/// A thread that is free takes the chunk that most others wait for, and of several one of the layer whose weights it has in its cache. So
/// nobody waits for a thread that does not come, and any number of threads does any number of layers.
struct ChainProgress: @unchecked Sendable {
  /// What handing over a chunk costs, in multiply-adds: some 1.5 µs.
  private static var handOverWork: Int { 64 << 10 }

  /// Steps of a chunk: threads wait while the first chunks go up, and for a moment at each chunk; between both lies the least.
  ///
  /// - Parameter stepWork: Multiply-adds of a step in one layer, on average.
  static func chunk(stepCount: Int, rowCount: Int, stepWork: Int, threads: Int) -> Int {
    let best = (Double(handOverWork) * Double(stepCount) / Double(threads - 1) / Double(max(stepWork, 1))).squareRoot()
    // With few rows, whole register tiles of the input's product.
    var unit = rowCount < 8 ? 4 : 1
    while unit > 1, unit / 2 &* rowCount % 4 == 0 { unit /= 2 }
    return min(max(unit, (Int(best) + unit / 2) / unit * unit), stepCount)
  }

  /// Bytes for one layer: a line of the cache.
  static var lineSize: Int { 64 }
  /// For each layer 2 · chunks that are done, + 1 while a thread computes the next.
  private let words: UnsafeMutableRawPointer
  private let layerCount: Int

  init(_ memory: UnsafeMutableRawPointer, layers: Int) {
    words = memory
    layerCount = layers
    for layer in 0..<layers { word(layer).initialize(to: Atomic(0)) }
  }

  @inline(__always)
  private func word(_ layer: Int) -> UnsafeMutablePointer<Atomic<Int>> {
    (words + layer &* Self.lineSize).assumingMemoryBound(to: Atomic<Int>.self)
  }

  @inline(__always)
  private func done(_ layer: Int) -> Int { word(layer).pointee.load(ordering: .acquiring) &>> 1 }

  /// All chunks of all layers, on as many threads as come; false, and nothing is done, if the pool is busy.
  ///
  /// - Parameters:
  ///   - chunkWork: Multiply-adds of a chunk of the largest layer.
  ///   - compute: Called with the thread, below `threads`, and the layer and chunk to compute.
  func run(chunks: Int, threads: Int, chunkWork: Int, _ compute: (_ thread: Int, _ layer: Int, _ chunk: Int) -> Void) -> Bool {
    // More than a thread takes for a chunk, even from memory.
    let patience = UInt64(truncatingIfNeeded: 50_000 &+ chunkWork / 4)
    let lateThreads = ThreadPool.lateThreads
    return ThreadPool.runWithHelpers(parts: threads, patience: patience) { thread in
      var own = 0
      while !isDone(chunks: chunks) {
        // Where processors are not to be had, a chunk that a helper has taken is one that everybody waits for.
        if thread > 0, ThreadPool.lateThreads &- lateThreads >= 2 { return }
        if let next = take(chunks: chunks, own: own) {
          own = next.layer
          compute(thread, next.layer, next.chunk)
          finish(layer: next.layer, chunk: next.chunk)
        } else {
          ThreadPool.wait(patience) { canTake(chunks: chunks) }
        }
      }
    }
  }

  func isDone(chunks: Int) -> Bool { done(layerCount &- 1) == chunks }

  /// Takes a chunk that can be computed.
  ///
  /// - Parameter own: The layer that the thread computed last.
  /// - Returns: nil if there is none now.
  func take(chunks: Int, own: Int) -> (layer: Int, chunk: Int)? {
    while true {
      var best = -1, bestChunk = 0
      var below = chunks
      for layer in 0..<layerCount {
        let word = word(layer).pointee.load(ordering: .acquiring)
        let chunk = word &>> 1
        if word & 1 == 0, chunk < below {
          let order = layer &+ chunk, bestOrder = best &+ bestChunk
          if best < 0 || order < bestOrder || order == bestOrder && layer == own { (best, bestChunk) = (layer, chunk) }
        }
        below = chunk
      }
      if best < 0 { return nil }
      let word = word(best)
      if word.pointee.compareExchange(
        expected: 2 &* bestChunk, desired: 2 &* bestChunk &+ 1, ordering: .acquiringAndReleasing
      ).exchanged {
        return (best, bestChunk)
      }
    }
  }

  /// Whether there may be a chunk to take, or none is left.
  func canTake(chunks: Int) -> Bool {
    if isDone(chunks: chunks) { return true }
    var below = chunks
    for layer in 0..<layerCount {
      let word = word(layer).pointee.load(ordering: .acquiring)
      if word & 1 == 0, word &>> 1 < below { return true }
      below = word &>> 1
    }
    return false
  }

  func finish(layer: Int, chunk: Int) { word(layer).pointee.store(2 &* chunk &+ 2, ordering: .releasing) }
}
