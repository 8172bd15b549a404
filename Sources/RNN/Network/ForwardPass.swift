import RNNKernels

/// How a training pass draws its dropout masks: a function of these and of node, layer, time, row and unit.
public struct DropoutKey: Equatable, Sendable {
  public var seed: UInt64
  public var step: UInt64
  /// Absolute time of the first step.
  public var firstTime: UInt64

  public init(seed: UInt64 = 0, step: UInt64 = 0, firstTime: UInt64 = 0) {
    self.seed = seed
    self.step = step
    self.firstTime = firstTime
  }

  /// A node has at most 1000 layers, a network at most 1000 nodes.
  func key(_ purpose: PhiloxKey.Purpose, node: Int, layer: Int, direction: Int) -> PhiloxKey {
    PhiloxKey(
      seed: seed, purpose: purpose, layer: UInt32(truncatingIfNeeded: node &* 1024 &+ layer),
      direction: UInt32(truncatingIfNeeded: direction), step: step)
  }
}

extension Weights {
  /// Runs the network over a chunk of sequences. Everything has been checked; nothing is allocated; nothing fails.
  ///
  /// - Parameters:
  ///   - state: All states for N rows, replaced by the final ones.
  ///   - output: [T, N, O] or [N, O]; nil leaves the last node out.
  ///   - dropout: In training; nil leaves every element as it is.
  ///   - fused: `fusedWeights()` of these weights, or nil to compute products and gates one after the other.
  func forward(
    _ batch: SequenceBatch, _ input: PassInput<Scalar>, state: UnsafeMutablePointer<Scalar>,
    output: UnsafeMutablePointer<Scalar>?, workspace: Workspace<Scalar>, dropout: DropoutKey?,
    fused: FusedWeights<Scalar>? = nil
  ) {
    let kernels = Scalar.kernels
    let cells = batch.cellCount
    var doneCount = 0
    for instruction in instructions where instruction.node >= doneCount {
      if instruction.chainLayerCount > 1, dropout == nil, let wavefront = workspace.wavefront,
        run(
          wavefront, kernels, from: instruction, batch, input, state: state, output: output, workspace: workspace, fused: fused)
      {
        doneCount = instruction.node &+ instruction.chainNodeCount
        continue
      }
      let rows = instruction.isSingleStep ? batch.rowCount : cells
      let isOutput = instruction.node == instructions.count &- 1
      guard let result = workspace.results[instruction.node] ?? (isOutput ? output : nil) else { continue }
      let source = self.source(instruction.source, input, workspace)
      switch instruction.kind {
      case .tokenInput: break
      case .input:
        copyColumns(instruction, batch, input, to: result)
      case .embedding, .oneHot:
        lookUp(instruction, batch, input, to: result)
      case .recurrent:
        runLayers(kernels, instruction, batch, source: source, state: state, result: result, workspace, dropout, fused)
      case .linear:
        if workspace.usesThreads {
          instruction.weight?.multiplyOnThreads(
            kernels, rows: rows, input: source, inputRowStride: instruction.sourceSize, start: instruction.bias,
            startRowStride: 0, output: result, outputRowStride: instruction.size)
        } else {
          instruction.weight?.multiply(
            kernels, rows: rows, input: source, inputRowStride: instruction.sourceSize, start: instruction.bias,
            startRowStride: 0, output: result, outputRowStride: instruction.size)
        }
      case .lastStep, .firstStep:
        takeStep(instruction, batch, source: source, to: result)
      case .dropout:
        result.update(from: source, count: rows &* instruction.size)
        if let dropout {
          let mask = DropoutMask<Scalar>(dropout, probability: instruction.dropout, node: instruction.node, layer: 0)
          mask.apply(to: result, rows: rows, rowsPerStep: batch.rowCount, width: instruction.size)
        }
      case .sum:
        result.update(from: source, count: rows &* instruction.size)
        for i in 1..<instruction.sumSourceCount {
          let other = self.source(sumSources[instruction.firstSumSource &+ i], input, workspace)
          kernels.add(
            AddArguments(
              rows: 1, columns: rows &* instruction.size, values: result, valuesStride: 0, addend: other, addendStride: 0))
        }
      case .activation, .reverse, .softmax, .layerNorm, .scaleShift, .concat, .product, .slice:
        runOperator(kernels, instruction, batch, input, rows: rows, source: source, to: result, workspace)
      }
      // A reversal leaves zeros itself: with a mask the steps that a row does not have are elsewhere after it.
      if !instruction.isSingleStep, instruction.kind != .reverse { batch.clearPadding(result, width: instruction.size) }
    }
  }

  /// The result of a node, or the caller's features where they are the node.
  func source(_ node: Int, _ input: PassInput<Scalar>, _ workspace: Workspace<Scalar>) -> UnsafePointer<Scalar> {
    guard node >= 0 else { return UnsafePointer(parameters.baseAddress) }
    if let result = workspace.results[node] { return UnsafePointer(result) }
    // An empty chunk has no features; nothing is read then.
    return input.features ?? UnsafePointer(parameters.baseAddress)
  }

  private func copyColumns(
    _ instruction: Instruction<Scalar>, _ batch: SequenceBatch, _ input: PassInput<Scalar>,
    to result: UnsafeMutablePointer<Scalar>
  ) {
    guard let features = input.features else { return }
    let width = architecture.inputSize
    if instruction.size == width { return result.update(from: features, count: batch.cellCount &* width) }
    for row in 0..<batch.cellCount {
      (result + row &* instruction.size).update(
        from: features + (row &* width &+ instruction.column), count: instruction.size)
    }
  }

  private func lookUp(
    _ instruction: Instruction<Scalar>, _ batch: SequenceBatch, _ input: PassInput<Scalar>,
    to result: UnsafeMutablePointer<Scalar>
  ) {
    guard let tokens = input.tokens else { return }
    let columns = architecture.tokenCount
    for t in 0..<batch.stepCount {
      // What a token past the end of its row says is not read.
      for n in 0..<batch.rowCount where batch.isActive(step: t, row: n) {
        let row = t &* batch.rowCount &+ n
        let token = Int(tokens[row &* columns &+ instruction.column])
        let line = result + row &* instruction.size
        if let table = instruction.table {
          line.update(from: table + token &* instruction.size, count: instruction.size)
        } else {
          line.update(repeating: 0, count: instruction.size)
          line[token] = 1
        }
      }
    }
  }

  /// Of each row its last step, or its first.
  private func takeStep(
    _ instruction: Instruction<Scalar>, _ batch: SequenceBatch, source: UnsafePointer<Scalar>,
    to result: UnsafeMutablePointer<Scalar>
  ) {
    for n in 0..<batch.rowCount {
      let step = instruction.kind == .lastStep ? batch.lastStep(ofRow: n) : batch.earliestStep(ofRow: n)
      let line = result + n &* instruction.size
      guard step >= 0 else {
        // Nothing of this row in this chunk: what an earlier chunk left stays, and before the first there is nothing.
        if batch.firstStep == 0 { line.update(repeating: 0, count: instruction.size) }
        continue
      }
      line.update(
        from: source + (step &* batch.rowCount &+ n) &* instruction.size, count: instruction.size)
    }
  }

  /// Whether a batch has too few rows to share them out among threads, so that the two directions of a layer are instead.
  func runsSideBySide(rowCount: Int) -> Bool {
    RecurrentWeights<Scalar>.rowParts(rowCount) == 1 && instructions.contains { $0.directionCount == 2 }
  }

  /// Threads for the directions of a layer.
  func sideBySideParts(_ instruction: Instruction<Scalar>, layer: Int, _ batch: SequenceBatch) -> Int {
    guard instruction.directionCount == 2, RecurrentWeights<Scalar>.rowParts(batch.rowCount) == 1 else { return 1 }
    let weights = layers[instruction.firstLayer &+ 2 &* layer]
    return ThreadPool.parts(
      multiplyAdds: 2 &* batch.cellCount &* weights.gateWidth &* (weights.stateSize &+ weights.inputSize), units: 2)
  }

  /// Calls `body` for each direction of a node, on one thread or on two.
  @inline(__always)
  func eachDirection(_ instruction: Instruction<Scalar>, parts: Int, _ body: (Int) -> Void) {
    if parts > 1 {
      ThreadPool.run(parts: 2, body)
    } else {
      for direction in 0..<instruction.directionCount { body(direction) }
    }
  }

  /// One direction of one layer.
  ///
  /// - Parameters:
  ///   - input, result: Of the layer, where the batch begins.
  func runLayer(
    _ kernels: borrowing KernelTable<Scalar>, _ instruction: Instruction<Scalar>, layer: Int, direction: Int, _ batch: SequenceBatch,
    input: UnsafePointer<Scalar>, state: UnsafeMutablePointer<Scalar>, result: UnsafeMutablePointer<Scalar>,
    scratch: RecurrentScratch<Scalar>, _ workspace: Workspace<Scalar>, _ dropout: DropoutKey?, _ fused: FusedWeights<Scalar>?,
    usesThreads: Bool
  ) {
    let n = batch.rowCount
    let index = instruction.firstLayer &+ layer &* instruction.directionCount &+ direction
    let weights = layers[index]
    let layout = instruction.direction(direction)
    let own = workspace.directionResults[index]
    let hidden = state + layout.hiddenPlace(layer: layer, rows: n), cell = state + layout.cellPlace(layer: layer, rows: n)
    let output = own ?? result + layout.column, outputStride = own == nil ? instruction.size : weights.stateSize
    if let fused, !batch.isRagged, !workspace.keepsTrace, let layerWeights = fused.layers[index] {
      return weights.fusedForward(
        kernels, batch, layerWeights, input: input, hidden: hidden, cell: cell, output: output, outputStride: outputStride,
        gates: scratch.gates, scratch: scratch.fused, usesThreads: usesThreads)
    }
    weights.forward(
      kernels, batch, input: input, hidden: hidden, cell: cell, output: output, outputStride: outputStride, scratch: scratch,
      trace: workspace.keepsTrace ? workspace.traces[index] : nil,
      dropout: weights.recurrentDropout > 0
        ? dropout?.key(.recurrentDropout, node: instruction.node, layer: layer, direction: direction) : nil,
      usesThreads: usesThreads)
  }

  private func runLayers(
    _ kernels: borrowing KernelTable<Scalar>, _ instruction: Instruction<Scalar>, _ batch: SequenceBatch,
    source: UnsafePointer<Scalar>, state: UnsafeMutablePointer<Scalar>, result: UnsafeMutablePointer<Scalar>,
    _ workspace: Workspace<Scalar>, _ dropout: DropoutKey?, _ fused: FusedWeights<Scalar>?
  ) {
    let n = batch.rowCount
    var layerInput = source, residual = source
    for layer in 0..<instruction.layerCount {
      let first = instruction.firstLayer &+ layer &* instruction.directionCount
      let layerResult = workspace.layerResults[first] ?? result
      let parts = workspace.usesThreads ? sideBySideParts(instruction, layer: layer, batch) : 1
      let ownKernels = copy kernels
      eachDirection(instruction, parts: parts) { direction in
        runLayer(
          ownKernels, instruction, layer: layer, direction: direction, batch, input: layerInput, state: state,
          result: layerResult, scratch: direction == 0 ? workspace.scratch.0 : workspace.scratch.1, workspace, dropout, fused,
          usesThreads: workspace.usesThreads && parts == 1)
      }
      let count = batch.cellCount &* instruction.size
      if let forward = workspace.directionResults[first], let backward = workspace.directionResults[first &+ 1] {
        instruction.merge.combine(forward, backward, count: count, into: layerResult)
      }
      if instruction.isResidual, layer > 0 {
        kernels.add(
          AddArguments(
            rows: 1, columns: count, values: layerResult, valuesStride: 0, addend: residual, addendStride: 0))
      }
      guard layer < instruction.layerCount &- 1 else { return }
      // Y_l as it was before dropout: what the next layer's output is added to.
      residual = UnsafePointer(layerResult)
      layerInput = UnsafePointer(layerResult)
      if let dropout, instruction.dropout > 0 {
        let next = workspace.droppedInputs[first &+ instruction.directionCount] ?? layerResult
        if next != layerResult { next.update(from: layerResult, count: count) }
        let mask = DropoutMask<Scalar>(dropout, probability: instruction.dropout, node: instruction.node, layer: layer)
        mask.apply(to: next, rows: batch.cellCount, rowsPerStep: n, width: instruction.size)
        layerInput = UnsafePointer(next)
      }
    }
  }
}

extension Merge {
  /// result = forward and backward combined, element by element.
  func combine<Scalar: KernelScalar>(
    _ forward: UnsafePointer<Scalar>, _ backward: UnsafePointer<Scalar>, count: Int,
    into result: UnsafeMutablePointer<Scalar>
  ) {
    switch self {
    case .concat: break
    case .sum: for i in 0..<count { result[i] = forward[i] + backward[i] }
    case .mean: for i in 0..<count { result[i] = (forward[i] + backward[i]) * 0.5 }
    case .product: for i in 0..<count { result[i] = forward[i] * backward[i] }
    }
  }

  /// ∂L/∂(one direction) from ∂L/∂result and the other direction's values.
  func combineBack<Scalar: KernelScalar>(
    _ gradient: UnsafePointer<Scalar>, other: UnsafePointer<Scalar>, count: Int, into result: UnsafeMutablePointer<Scalar>
  ) {
    switch self {
    case .concat, .sum: result.update(from: gradient, count: count)
    case .mean: for i in 0..<count { result[i] = gradient[i] * 0.5 }
    case .product: for i in 0..<count { result[i] = gradient[i] * other[i] }
    }
  }
}

/// Inverted dropout: an element is 0 with the given probability, and divided by 1 - probability otherwise. Its own backward.
struct DropoutMask<Scalar: KernelScalar> {
  private let key: PhiloxKey
  private let drop: InvertedDropout<Scalar>
  private let firstTime: UInt64

  init(_ dropout: DropoutKey, probability: Double, node: Int, layer: Int) {
    key = dropout.key(.dropout, node: node, layer: layer, direction: 0)
    drop = InvertedDropout(probability: probability)
    firstTime = dropout.firstTime
  }

  /// values [rows, width], rows = steps · rowsPerStep.
  func apply(to values: UnsafeMutablePointer<Scalar>, rows: Int, rowsPerStep: Int, width: Int) {
    for row in 0..<rows {
      let time = firstTime &+ UInt64(truncatingIfNeeded: row / rowsPerStep)
      let rowInBatch = UInt32(truncatingIfNeeded: row % rowsPerStep)
      let line = values + row &* width
      for unit in 0..<width {
        let draw = key.draw(time: time, row: rowInBatch, unit: UInt32(truncatingIfNeeded: unit))
        // Selected, not multiplied: of an infinite element nothing is left.
        let factor = drop.factor(draw)
        line[unit] = factor == 0 ? 0 : line[unit] * factor
      }
    }
  }
}
