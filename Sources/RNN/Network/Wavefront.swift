import RNNKernels

// Recurrent layers that read one another, on several threads: while a layer computes a chunk of steps, the layer above computes the
// chunk before. Chunks change no bit (docs/contract.md), so neither does who computes which.

/// Memory for the chains of a network: of each thread what one layer wants for a chunk, and who is how far.
struct WavefrontPlan<Scalar: KernelScalar> {
  /// What there is memory for: a limit of threads that changes meanwhile must not ask for more.
  private(set) var chunk = 0, threads = 0
  private var scratch = RecurrentScratchPlan()
  private var firstScratch = 0, scratchStride = 0, firstProgress = 0

  /// nil if no chain of layers is worth it.
  init?(_ weights: Weights<Scalar>, stepCount: Int, rowCount: Int, in plan: inout MemoryPlan) throws(RNNError) {
    for instruction in weights.instructions where instruction.chainLayerCount > 1 {
      guard let shape = weights.wavefrontShape(instruction, stepCount: stepCount, rowCount: rowCount) else { continue }
      threads = max(threads, shape.threads)
      chunk = max(chunk, shape.chunk)
    }
    guard threads > 1 else { return nil }
    let cells = try checkedProduct(chunk, rowCount, of: "steps and rows")
    var layerCount = 0
    // All chains, as a sequence's last steps may be worth it where these are not.
    for instruction in weights.instructions where instruction.chainLayerCount > 1 {
      layerCount = max(layerCount, instruction.chainLayerCount)
      for layer in 0..<instruction.chainLayerCount {
        try scratch.include(weights.layers[instruction.firstLayer + layer], cellCount: cells, rowCount: rowCount)
      }
    }
    let line = ChainProgress.lineSize / MemoryLayout<Scalar>.stride
    firstProgress = try plan.reserve(try checkedProduct(layerCount, line, of: "the progress of layers"))
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

    let chunk = ChainProgress.chunk(
      stepCount: stepCount, rowCount: rowCount, stepWork: stepWork / first.chainLayerCount, threads: threads)
    let fill = Double((threads &- 1) &* chunk) / Double(stepCount)
    let longest = max(Double(stepWork) / Double(threads), Double(largest)) * (1 + fill)
    // Sharing a layer out loses some 5 percent to tiles of fewer rows, and to threads that wait for each other; with 32 rows for each nothing.
    return longest < (rowCount < 32 &* threads ? 1.05 : 1) * shared ? (chunk, threads) : nil
  }

  /// All layers of the chain that begins with `first`; false, and nothing is done, if threads had better not or the pool is busy.
  func run(
    _ wavefront: Wavefront<Scalar>, _ kernels: borrowing KernelTable<Scalar>, from first: Instruction<Scalar>, _ batch: SequenceBatch,
    _ input: PassInput<Scalar>, state: UnsafeMutablePointer<Scalar>, output: UnsafeMutablePointer<Scalar>?,
    workspace: Workspace<Scalar>, fused: FusedWeights<Scalar>?
  ) -> Bool {
    guard let shape = wavefrontShape(first, stepCount: batch.stepCount, rowCount: batch.rowCount), ThreadPool.maySynchronize
    else { return false }
    let chunk = min(shape.chunk, wavefront.plan.chunk), threads = min(shape.threads, wavefront.plan.threads)
    let chunks = (batch.stepCount &+ chunk &- 1) / chunk
    let progress = wavefront.plan.progress(wavefront.base, layers: first.chainLayerCount)
    let layerWork = chainLayers(first).reduce(0) { max($0, $1.gateWidth &* ($1.stateSize &+ $1.inputSize)) }
    let kernels = copy kernels
    return progress.run(
      chunks: chunks, threads: threads, chunkWork: chunk &* batch.rowCount &* layerWork
    ) { thread, layer, index in
      let from = index &* chunk
      var steps = batch
      steps.firstStep &+= from
      steps.stepCount = min(chunk, batch.stepCount &- from)
      runChunk(
        kernels, first, layer: layer, steps, from: from, input, state: state, output: output,
        scratch: wavefront.plan.scratch(wavefront.base, thread: thread), workspace, fused)
    }
  }

  /// One chunk of one layer of a chain, counted from its first.
  ///
  /// - Parameter from: The chunk's first step in the arrays.
  private func runChunk(
    _ kernels: borrowing KernelTable<Scalar>, _ first: Instruction<Scalar>, layer: Int, _ batch: SequenceBatch, from step: Int,
    _ input: PassInput<Scalar>, state: UnsafeMutablePointer<Scalar>, output: UnsafeMutablePointer<Scalar>?,
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
    // The last layer of the network writes to the output, which a pass without an output does not come to.
    guard let result = (workspace.layerResults[index] ?? workspace.results[node] ?? output).map({ $0 + place }) else { return }
    var layerInput: UnsafePointer<Scalar>
    if ownLayer > 0 {
      guard let below = workspace.layerResults[index &- 1] ?? output else { return }
      layerInput = UnsafePointer(below + place)
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
