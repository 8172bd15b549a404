import RNNKernels
import Synchronization

// Recurrent layers that read one another, on several threads: while a layer computes a chunk of steps, the layer above computes the
// chunk before. Chunks change no bit (docs/contract.md), so neither does who computes which.

/// Memory for the chains of a network: of each thread what one layer wants for a chunk, and who is how far.
struct WavefrontPlan<Scalar: KernelScalar> {
  private var scratch = RecurrentScratchPlan()
  private var firstScratch = 0, scratchStride = 0, firstProgress = 0

  /// nil if no chain of layers is worth it.
  init?(_ weights: Weights<Scalar>, stepCount: Int, rowCount: Int, in plan: inout MemoryPlan) throws(RNNError) {
    var threads = 0, layerCount = 0
    for instruction in weights.instructions where instruction.chainLayerCount > 1 {
      guard let shape = weights.wavefrontShape(instruction, stepCount: stepCount, rowCount: rowCount) else { continue }
      threads = max(threads, shape.threads)
      layerCount = max(layerCount, instruction.chainLayerCount)
      let cells = try checkedProduct(shape.chunk, rowCount, of: "steps and rows")
      for layer in 0..<instruction.chainLayerCount {
        try scratch.include(weights.layers[instruction.firstLayer + layer], cellCount: cells, rowCount: rowCount)
      }
    }
    guard threads > 1 else { return nil }
    firstProgress = try plan.reserve(try checkedProduct(layerCount, ChainProgress.stride, of: "the progress of layers"))
    firstScratch = try scratch.reserve(in: &plan)
    for thread in 1..<threads {
      let next = try scratch.reserve(in: &plan)
      if thread == 1 { scratchStride = next - firstScratch }
    }
  }

  func progress(_ base: UnsafeMutablePointer<Scalar>, layers: Int) -> ChainProgress {
    ChainProgress(UnsafeMutableRawPointer(base + firstProgress), layers: layers)
  }

  func scratch(_ base: UnsafeMutablePointer<Scalar>, thread: Int) -> RecurrentScratch<Scalar> {
    scratch.scratch(base + firstScratch + thread &* scratchStride)
  }
}

/// How far each layer of a chain is. A chunk can be computed when its layer has computed the one before, and the layer below this one.
///
/// A thread that is free takes the chunk that most others wait for, and of several one of the layer whose weights it has in its cache. So
/// nobody waits for a thread that does not come, and any number of threads does any number of layers.
struct ChainProgress: @unchecked Sendable {
  /// Elements for one layer: a line of the cache, of the smallest elements there are.
  static var stride: Int { 16 }
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
    (words + layer &* 64).assumingMemoryBound(to: Atomic<Int>.self)
  }

  @inline(__always)
  private func done(_ layer: Int) -> Int { word(layer).pointee.load(ordering: .acquiring) &>> 1 }

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

extension Weights {
  /// The recurrent nodes from this one on of which each reads the one before, with layers that go forwards; with dropout, which does
  /// nothing at inference, between them. nil if they have fewer than two layers.
  func chain(from first: Int) -> (nodes: Int, layers: Int)? {
    guard instructions[first].kind == .recurrent else { return nil }
    var end = first, layerCount = 0
    while end < instructions.count {
      var next = end
      while next > first, next < instructions.count &- 1, instructions[next].kind == .dropout,
        instructions[next].source == next &- 1
      {
        next += 1
      }
      let instruction = instructions[next]
      guard instruction.kind == .recurrent, instruction.directionCount == 1, instruction.merge == .concat,
        !layers[instruction.firstLayer].isReverse, next == first || instruction.source == next &- 1
      else { break }
      layerCount += instruction.layerCount
      end = next + 1
    }
    return layerCount > 1 ? (end - first, layerCount) : nil
  }

  private func chainLayers(_ first: Instruction<Scalar>) -> ArraySlice<RecurrentWeights<Scalar>> {
    layers[first.firstLayer..<first.firstLayer &+ first.chainLayerCount]
  }

  /// What handing over a chunk costs, in multiply-adds: some 1.5 µs.
  private static var handOverWork: Int { 64 << 10 }

  /// Steps of a chunk of this chain, and how many threads share it; nil if another way is faster (docs/performance.md, Threads).
  func wavefrontShape(
    _ first: Instruction<Scalar>, stepCount: Int, rowCount: Int
  ) -> (chunk: Int, threads: Int)? {
    guard ThreadPool.limit > 1, stepCount > 1 else { return nil }
    // Multiply-adds of a step: of all layers, of the largest, and of the thread that has most where layers share theirs out.
    var stepWork = 0, largest = 0, shared = 0.0
    for layer in chainLayers(first) {
      let work = rowCount &* layer.gateWidth &* (layer.stateSize &+ layer.inputSize)
      stepWork &+= work
      largest = max(largest, work)
      shared += layer.sharedWork(stepCount: stepCount, rowCount: rowCount)
    }
    let threads = ThreadPool.parts(multiplyAdds: stepCount &* stepWork, units: first.chainLayerCount)
    guard threads > 1 else { return nil }

    // Threads wait while the first chunks go up, and at each chunk for a moment: between both lies the least.
    let steps = Double(stepCount), fill = Double(threads &- 1)
    let best = (Double(Self.handOverWork) * steps / fill * Double(first.chainLayerCount) / Double(stepWork)).squareRoot()
    // With few rows, whole register tiles of the input's product.
    var unit = rowCount < 8 ? 4 : 1
    while unit > 1, unit / 2 &* rowCount % 4 == 0 { unit /= 2 }
    let chunk = min(max(unit, (Int(best) &+ unit / 2) / unit &* unit), stepCount)
    let longest = max(Double(stepWork) / Double(threads), Double(largest)) * (1 + fill * Double(chunk) / steps)
    // Sharing a layer out loses some 10 percent to tiles of fewer rows, and to threads that wait before and after its product.
    return longest < 1.1 * shared ? (chunk, threads) : nil
  }

  /// All layers of the chain that begins with `first`; false, and nothing is done, if threads had better not or the pool is busy.
  func run(
    _ wavefront: Wavefront<Scalar>, _ kernels: borrowing KernelTable<Scalar>, from first: Instruction<Scalar>, _ batch: SequenceBatch,
    _ input: PassInput<Scalar>, state: UnsafeMutablePointer<Scalar>, output: UnsafeMutablePointer<Scalar>,
    workspace: Workspace<Scalar>, fused: FusedWeights<Scalar>?
  ) -> Bool {
    guard let shape = wavefrontShape(first, stepCount: batch.stepCount, rowCount: batch.rowCount), ThreadPool.maySynchronize
    else { return false }
    let chunk = shape.chunk
    let chunks = (batch.stepCount &+ chunk &- 1) / chunk
    let progress = wavefront.plan.progress(wavefront.base, layers: first.chainLayerCount)
    let lateThreads = ThreadPool.lateThreads
    // More than a thread takes for a chunk, even from memory.
    let layerWork = chainLayers(first).reduce(0) { max($0, $1.gateWidth &* ($1.stateSize &+ $1.inputSize)) }
    let patience = UInt64(50_000 &+ chunk &* batch.rowCount &* layerWork / 4)
    let kernels = copy kernels
    return ThreadPool.runWithHelpers(parts: shape.threads, patience: patience) { part in
      let scratch = wavefront.plan.scratch(wavefront.base, thread: part)
      var own = 0
      while !progress.isDone(chunks: chunks) {
        // Where processors are not to be had, a chunk that a helper has taken is one that everybody waits for.
        if part > 0, ThreadPool.lateThreads &- lateThreads >= 2 { return }
        guard let next = progress.take(chunks: chunks, own: own) else {
          ThreadPool.wait(patience) { progress.canTake(chunks: chunks) }
          continue
        }
        own = next.layer
        var steps = batch
        steps.firstStep &+= next.chunk &* chunk
        steps.stepCount = min(chunk, batch.stepCount &- next.chunk &* chunk)
        runChunk(
          kernels, first, layer: next.layer, steps, from: next.chunk &* chunk, input, state: state, output: output, scratch: scratch,
          workspace, fused)
        progress.finish(layer: next.layer, chunk: next.chunk)
      }
    }
  }

  /// One chunk of one layer of a chain, counted from its first.
  ///
  /// - Parameter from: The chunk's first step in the arrays.
  private func runChunk(
    _ kernels: borrowing KernelTable<Scalar>, _ first: Instruction<Scalar>, layer: Int, _ batch: SequenceBatch, from step: Int,
    _ input: PassInput<Scalar>, state: UnsafeMutablePointer<Scalar>, output: UnsafeMutablePointer<Scalar>,
    scratch: RecurrentScratch<Scalar>, _ workspace: Workspace<Scalar>, _ fused: FusedWeights<Scalar>?
  ) {
    let index = first.firstLayer &+ layer
    var node = first.node
    while instructions[node].kind != .recurrent || index >= instructions[node].firstLayer &+ instructions[node].layerCount {
      node &+= 1
    }
    let instruction = instructions[node]
    let ownLayer = index &- instruction.firstLayer
    let firstRow = step &* batch.rowCount, count = batch.cellCount &* instruction.size
    let place = firstRow &* instruction.size
    let result = (workspace.layerResults[index] ?? workspace.results[node] ?? output) + place
    var layerInput: UnsafePointer<Scalar>
    if ownLayer > 0 {
      layerInput = UnsafePointer((workspace.layerResults[index &- 1] ?? output) + place)
    } else {
      var from = instruction.source
      // Dropout passes on what it reads.
      while from > first.node, instructions[from].kind == .dropout { from = instructions[from].source }
      let inputPlace = firstRow &* instruction.sourceSize
      layerInput = source(from, input, workspace) + inputPlace
      for dropout in from &+ 1..<node where node > first.node {
        workspace.results[dropout]?.advanced(by: inputPlace).update(
          from: layerInput, count: batch.cellCount &* instruction.sourceSize)
      }
    }
    runLayer(
      kernels, instruction, layer: ownLayer, direction: 0, batch, input: layerInput, state: state, result: result, scratch: scratch,
      workspace, nil, fused, usesThreads: false)
    if instruction.isResidual, ownLayer > 0 {
      kernels.add(
        AddArguments(rows: 1, columns: count, values: result, valuesStride: 0, addend: layerInput, addendStride: 0))
    }
    batch.clearPadding(result, width: instruction.size)
  }
}

/// A plan with its memory.
struct Wavefront<Scalar: KernelScalar> {
  let plan: WavefrontPlan<Scalar>
  let base: UnsafeMutablePointer<Scalar>

  init(_ plan: WavefrontPlan<Scalar>, _ base: UnsafeMutablePointer<Scalar>) {
    self.plan = plan
    self.base = base
  }
}
