import RNNKernels

/// Memory of one backward pass.
final class BackwardWorkspace<Scalar: KernelScalar> {
  /// For each node ∂L/∂result, zeros at first; nil for tokens.
  let nodeGradients: [UnsafeMutablePointer<Scalar>?]
  /// ∂L/∂result of an inner layer, and of the layer below it; they take turns.
  let layerGradients: (UnsafeMutablePointer<Scalar>, UnsafeMutablePointer<Scalar>)
  let scratch: BackwardScratch<Scalar>
  /// All states for N rows.
  let stateGradient: UnsafeMutablePointer<Scalar>
  private let memory: AlignedBuffer<Scalar>
  /// Elements up to the end of the gradients of the nodes.
  private let nodeCount: Int

  /// Zeros again, for another pass.
  func clear() {
    memory.baseAddress.update(repeating: 0, count: nodeCount)
    stateGradient.update(repeating: 0, count: memory.count - (stateGradient - memory.baseAddress))
  }

  init(_ weights: Weights<Scalar>, stepCount: Int, rowCount: Int) throws(RNNError) {
    let cells = try checkedProduct(stepCount, rowCount, of: "steps and rows")
    var plan = MemoryPlan()
    var offsets: [Int] = []
    var layerCount = 0, gateCount = 0, termCount = 0, packingCount = 0
    for instruction in weights.instructions {
      let rows = instruction.isSingleStep ? rowCount : cells
      offsets.append(
        instruction.kind == .tokenInput
          ? -1 : try plan.reserve(try checkedProduct(rows, instruction.size, of: "gradients of a node")))
      switch instruction.kind {
      case .linear:
        packingCount = max(packingCount, try checkedProduct(rows, instruction.sourceSize + 64, of: "packed inputs"))
      case .recurrent:
        if instruction.layerCount > 1 {
          layerCount = max(layerCount, try checkedProduct(cells, instruction.size, of: "gradients of a layer"))
        }
        for layer in 0..<instruction.layerCount * instruction.directionCount {
          let layer = weights.layers[instruction.firstLayer + layer]
          gateCount = max(gateCount, try checkedProduct(cells, layer.gateWidth, of: "gradients of the gates"))
          if layer.cell.isGRU {
            termCount = max(termCount, try checkedProduct(cells, layer.hiddenSize, of: "gradients of a layer"))
          }
          packingCount = max(
            packingCount,
            try checkedProduct(cells, max(layer.inputSize, layer.hiddenSize) + 64, of: "packed inputs"))
        }
      default:
        packingCount = max(packingCount, try instruction.operatorScratchCount(rows: rows))
      }
    }
    nodeCount = plan.count
    let firstLayer = try plan.reserve(layerCount), secondLayer = try plan.reserve(layerCount)
    let gates = try plan.reserve(gateCount), term = try plan.reserve(termCount)
    let packing = try plan.reserve(packingCount)
    let state = try plan.reserve(
      try checkedProduct(weights.architecture.stateCount, rowCount, of: "gradients of the state"))
    memory = try makeBuffer(
      Scalar.self, count: plan.count, for: "the backward pass of \(stepCount) steps of \(rowCount) rows")
    let base = memory.baseAddress
    nodeGradients = offsets.map { $0 < 0 ? nil : base + $0 }
    layerGradients = (base + firstLayer, base + secondLayer)
    scratch = BackwardScratch(
      gateGradients: base + gates, recurrentTermGradient: base + term, packing: base + packing)
    stateGradient = base + state
  }
}

extension Weights {
  /// Backpropagates through everything that `forward` computed into `workspace`. Nothing is allocated; nothing fails.
  ///
  /// `backward.stateGradient` goes in as ∂L/∂(final state) and comes out as ∂L/∂(initial state); `backward.nodeGradients` of
  /// the output holds ∂L/∂output, and that of the inputs receives theirs.
  ///
  /// - Parameters:
  ///   - gradients: Zeros, in the layout of the parameters; nil where nobody wants them.
  ///   - flow: [layers and directions, T], or nil.
  func backward(
    _ batch: SequenceBatch, _ input: PassInput<Scalar>, workspace: Workspace<Scalar>, dropout: DropoutKey?,
    transposed: BackwardWeights<Scalar>, into memory: BackwardWorkspace<Scalar>,
    gradients: UnsafeMutablePointer<Scalar>?, wantsInputGradient: Bool, flow: UnsafeMutablePointer<Double>?
  ) {
    let kernels = Scalar.kernels
    for instruction in instructions.reversed() {
      guard let resultGradient = memory.nodeGradients[instruction.node] else { continue }
      let rows = instruction.isSingleStep ? batch.rowCount : batch.cellCount
      if !instruction.isSingleStep { batch.clearPadding(resultGradient, width: instruction.size) }
      let source = self.source(instruction.source, input, workspace)
      var sourceGradient = instruction.source >= 0 ? memory.nodeGradients[instruction.source] : nil
      if !wantsInputGradient, instruction.source >= 0, instructions[instruction.source].kind == .input {
        sourceGradient = nil
      }
      switch instruction.kind {
      case .input, .tokenInput, .oneHot: break
      case .embedding:
        if let gradients { addEmbeddingGradient(instruction, batch, input, resultGradient, to: gradients) }
      case .linear:
        if let sourceGradient {
          transposed.linear[instruction.node]?.multiplyOnThreads(
            kernels, rows: rows, input: resultGradient, inputRowStride: instruction.size,
            start: sourceGradient, startRowStride: instruction.sourceSize,
            output: sourceGradient, outputRowStride: instruction.sourceSize)
        }
        guard let gradients else { break }
        multiplyTransposed(
          kernels, rows: rows, left: resultGradient, leftColumns: instruction.size, leftRowStride: instruction.size,
          right: source, rightColumns: instruction.sourceSize, rightRowStride: instruction.sourceSize,
          output: gradients + instruction.weightOffset, outputRowStride: instruction.sourceSize,
          scratch: memory.scratch.packing)
        if instruction.biasOffset >= 0 {
          kernels.columnSums(
            ColumnSumArguments(
              rows: rows, columns: instruction.size, values: resultGradient, valuesStride: instruction.size,
              sums: gradients + instruction.biasOffset))
        }
      case .lastStep:
        guard let sourceGradient else { break }
        for n in 0..<batch.rowCount {
          let last = batch.lastStep(ofRow: n)
          guard last >= 0 else { continue }
          kernels.add(
            AddArguments(
              rows: 1, columns: instruction.size,
              values: sourceGradient + (last &* batch.rowCount &+ n) &* instruction.size, valuesStride: 0,
              addend: resultGradient + n &* instruction.size, addendStride: 0))
        }
      case .dropout:
        if let dropout {
          let mask = DropoutMask<Scalar>(dropout, probability: instruction.dropout, node: instruction.node, layer: 0)
          mask.apply(to: resultGradient, rows: rows, rowsPerStep: batch.rowCount, width: instruction.size)
        }
        if let sourceGradient { add(kernels, resultGradient, to: sourceGradient, count: rows &* instruction.size) }
      case .sum:
        for i in 0..<instruction.sumSourceCount {
          let node = sumSources[instruction.firstSumSource &+ i]
          if let gradient = memory.nodeGradients[node] {
            add(kernels, resultGradient, to: gradient, count: rows &* instruction.size)
          }
        }
      case .activation, .reverse, .softmax, .layerNorm, .scaleShift, .concat, .product, .slice:
        backpropagateOperator(
          kernels, instruction, batch, input, rows: rows, source: source, resultGradient: resultGradient,
          sourceGradient: sourceGradient, workspace, memory, gradients)
      case .recurrent:
        backpropagateLayers(
          kernels, instruction, batch, source: source, resultGradient: resultGradient, sourceGradient: sourceGradient,
          workspace, dropout, transposed, memory, gradients, flow)
      }
    }
  }

  private func add(
    _ kernels: borrowing KernelTable<Scalar>, _ addend: UnsafePointer<Scalar>, to values: UnsafeMutablePointer<Scalar>,
    count: Int
  ) {
    kernels.add(AddArguments(rows: 1, columns: count, values: values, valuesStride: 0, addend: addend, addendStride: 0))
  }

  private func addEmbeddingGradient(
    _ instruction: Instruction<Scalar>, _ batch: SequenceBatch, _ input: PassInput<Scalar>,
    _ resultGradient: UnsafePointer<Scalar>, to gradients: UnsafeMutablePointer<Scalar>
  ) {
    guard let tokens = input.tokens else { return }
    let columns = architecture.tokenCount
    let table = gradients + instruction.weightOffset
    for t in 0..<batch.stepCount {
      for n in 0..<batch.rowCount where batch.isActive(step: t, row: n) {
        let row = t &* batch.rowCount &+ n
        let line = table + Int(tokens[row &* columns &+ instruction.column]) &* instruction.size
        let addend = resultGradient + row &* instruction.size
        for j in 0..<instruction.size { line[j] = line[j] + addend[j] }
      }
    }
  }

  private func backpropagateLayers(
    _ kernels: borrowing KernelTable<Scalar>, _ instruction: Instruction<Scalar>, _ batch: SequenceBatch,
    source: UnsafePointer<Scalar>, resultGradient: UnsafeMutablePointer<Scalar>,
    sourceGradient: UnsafeMutablePointer<Scalar>?, _ workspace: Workspace<Scalar>, _ dropout: DropoutKey?,
    _ transposed: BackwardWeights<Scalar>, _ memory: BackwardWorkspace<Scalar>,
    _ gradients: UnsafeMutablePointer<Scalar>?, _ flow: UnsafeMutablePointer<Double>?
  ) {
    let n = batch.rowCount
    var outputGradient = resultGradient
    var lower = memory.layerGradients.0, other = memory.layerGradients.1
    for layer in (0..<instruction.layerCount).reversed() {
      let first = instruction.firstLayer &+ layer &* instruction.directionCount
      var layerInput = source
      var layerInputGradient = sourceGradient
      if layer > 0 {
        layerInput = workspace.layerResults[first &- 1].map { UnsafePointer($0) } ?? source
        lower.update(repeating: 0, count: batch.cellCount &* instruction.size)
        layerInputGradient = lower
      }
      for direction in 0..<instruction.directionCount {
        let weights = layers[first &+ direction]
        let h = weights.hiddenSize
        let place = (layer &* instruction.directionCount &+ direction) &* n &* h
        weights.backward(
          kernels, batch, transposed.layers[first &+ direction], trace: workspace.traces[first &+ direction],
          input: layerInput, outputGradient: outputGradient + direction &* h, outputGradientStride: instruction.size,
          hiddenGradient: memory.stateGradient + (instruction.hiddenOffset &* n &+ place),
          cellGradient: memory.stateGradient + (instruction.cellOffset &* n &+ place),
          inputGradient: layerInputGradient, gradients: gradients, scratch: memory.scratch,
          flow: flow.map { $0 + (first &+ direction) &* batch.stepCount })
      }
      guard layer > 0 else { break }
      if let dropout, instruction.dropout > 0 {
        let mask = DropoutMask<Scalar>(
          dropout, probability: instruction.dropout, node: instruction.node, layer: layer &- 1)
        mask.apply(to: lower, rows: batch.cellCount, rowsPerStep: n, width: instruction.size)
      }
      outputGradient = lower
      swap(&lower, &other)
    }
  }
}
