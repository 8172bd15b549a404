import RNNKernels

/// Memory of one backward pass.
final class BackwardWorkspace<Scalar: KernelScalar> {
  /// For each node ∂L/∂result, zeros after `clear`; nil for tokens, and for an output whose gradient nobody wants.
  let nodeGradients: [UnsafeMutablePointer<Scalar>?]
  /// ∂L/∂result of an inner layer, and of the layer below it; they take turns.
  let layerGradients: (UnsafeMutablePointer<Scalar>, UnsafeMutablePointer<Scalar>)
  /// ∂L/∂(output of one direction), where directions are merged, [T, N, S].
  let directionGradients: (UnsafeMutablePointer<Scalar>, UnsafeMutablePointer<Scalar>)
  /// Of either direction, which run side by side where the rows are too few to be shared out.
  let scratch: BackwardScratch<Scalar>
  let secondScratch: BackwardScratch<Scalar>
  /// All states for N rows.
  let stateGradient: UnsafeMutablePointer<Scalar>
  private let memory: MemoryLoan<Scalar>
  /// Elements of the gradient of each node, and whether the node is a feature input; elements of the gradients of the state.
  private let nodes: [(count: Int, isInput: Bool)]
  private let stateCount: Int

  /// Zeros, before every pass.
  ///
  /// - Parameters:
  ///   - inputs: false where nobody wants their gradients.
  ///   - output: false where all of ∂L/∂output is about to be written.
  func clear(inputs: Bool = true, output: Bool = true) {
    for (node, gradient) in nodeGradients.enumerated() {
      guard let gradient, inputs || !nodes[node].isInput, output || node < nodes.count &- 1 else { continue }
      gradient.update(repeating: 0, count: nodes[node].count)
    }
    stateGradient.update(repeating: 0, count: stateCount)
  }

  /// What is in the memory is unspecified until `clear`.
  ///
  /// - Parameters:
  ///   - beginsAtOutput: false: passes begin with the gradient of what the last node reads.
  ///   - reserve: Where the memory comes from and goes back to.
  init(
    _ weights: Weights<Scalar>, stepCount: Int, rowCount: Int, beginsAtOutput: Bool = true,
    reserve: PassMemory<Scalar> = PassMemory()
  ) throws(RNNError) {
    let cells = try checkedProduct(stepCount, rowCount, of: "steps and rows")
    var plan = MemoryPlan()
    var offsets: [Int] = []
    var nodes: [(count: Int, isInput: Bool)] = []
    var layerCount = 0, directionCount = 0
    var scratchPlan = BackwardScratchPlan()
    for instruction in weights.instructions {
      let rows = instruction.isSingleStep ? rowCount : cells
      let isLeftOut = !beginsAtOutput && instruction.node == weights.instructions.count - 1
      let count = try checkedProduct(rows, instruction.size, of: "gradients of a node")
      nodes.append((count, instruction.kind == .input))
      offsets.append(instruction.kind == .tokenInput || isLeftOut ? -1 : try plan.reserve(count))
      switch instruction.kind {
      case .recurrent:
        if instruction.layerCount > 1 {
          layerCount = max(layerCount, try checkedProduct(cells, instruction.size, of: "gradients of a layer"))
        }
        if instruction.merge != .concat {
          directionCount = max(directionCount, try checkedProduct(cells, instruction.size, of: "gradients of a direction"))
        }
        for layer in 0..<instruction.layerCount * instruction.directionCount {
          try scratchPlan.include(weights.layers[instruction.firstLayer + layer], cellCount: cells, rowCount: rowCount)
        }
      default:
        scratchPlan.operatorCount = max(scratchPlan.operatorCount, instruction.operatorScratchCount)
      }
    }
    self.nodes = nodes
    let firstLayer = try plan.reserve(layerCount), secondLayer = try plan.reserve(layerCount)
    let direction = (try plan.reserve(directionCount), try plan.reserve(directionCount))
    try scratchPlan.reserve(in: &plan)
    var secondPlan = scratchPlan
    if weights.runsSideBySide(rowCount: rowCount) { try secondPlan.reserve(in: &plan) }
    stateCount = try checkedProduct(weights.architecture.stateCount, rowCount, of: "gradients of the state")
    let state = try plan.reserve(stateCount)
    memory = try reserve.lend(count: plan.count, for: "the backward pass of \(stepCount) steps of \(rowCount) rows")
    let base = memory.baseAddress
    nodeGradients = offsets.map { $0 < 0 ? nil : base + $0 }
    layerGradients = (base + firstLayer, base + secondLayer)
    directionGradients = (base + direction.0, base + direction.1)
    scratch = scratchPlan.scratch(base)
    secondScratch = secondPlan.scratch(base)
    stateGradient = base + state
  }
}

extension Weights {
  /// Backpropagates through everything that `forward` computed into `workspace`. Nothing fails; nothing is allocated but lists of
  /// products and the blocks that they pack, some ten kilobytes.
  ///
  /// `backward.stateGradient` goes in as ∂L/∂(final state) and comes out as ∂L/∂(initial state); `backward.nodeGradients` of
  /// the output holds ∂L/∂output, or, where it has none, that of the node before holds its own; that of the inputs receives theirs.
  ///
  /// - Parameters:
  ///   - gradients: Zeros, in the layout of the parameters; nil where nobody wants them.
  ///   - learnsInitialState: The pass began with the learned initial state: it has a gradient, summed over the rows.
  ///   - hiddenClip: Limits the norm of each row's ∂L/∂H_t; 0: no limit.
  func backward(
    _ batch: SequenceBatch, _ input: PassInput<Scalar>, workspace: Workspace<Scalar>, dropout: DropoutKey?,
    transposed: BackwardWeights<Scalar>, into memory: BackwardWorkspace<Scalar>,
    gradients: UnsafeMutablePointer<Scalar>?, wantsInputGradient: Bool,
    learnsInitialState: Bool, hiddenClip: Double, flow: GradientFlow?
  ) {
    let kernels = Scalar.kernels
    for instruction in instructions.reversed() {
      guard let resultGradient = memory.nodeGradients[instruction.node] else { continue }
      let rows = instruction.isSingleStep ? batch.rowCount : batch.cellCount
      // A reversal does not read the gradients of steps that a row does not have.
      if !instruction.isSingleStep, instruction.kind != .reverse {
        batch.clearPadding(resultGradient, width: instruction.size)
      }
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
        let product = TransposedProduct(
          leftColumns: 0..<instruction.size, right: source, rightColumns: instruction.sourceSize,
          rightRowStride: instruction.sourceSize, output: gradients + instruction.weightOffset,
          outputRowStride: instruction.sourceSize)
        multiplyTransposed(
          kernels, rows: rows, left: resultGradient, leftRowStride: instruction.size, [product])
        if instruction.biasOffset >= 0 {
          kernels.columnSums(
            ColumnSumArguments(
              rows: rows, columns: instruction.size, values: resultGradient, valuesStride: instruction.size,
              sums: gradients + instruction.biasOffset))
        }
      case .lastStep, .firstStep:
        guard let sourceGradient else { break }
        for n in 0..<batch.rowCount {
          let step = instruction.kind == .lastStep ? batch.lastStep(ofRow: n) : batch.earliestStep(ofRow: n)
          guard step >= 0 else { continue }
          kernels.add(
            AddArguments(
              rows: 1, columns: instruction.size,
              values: sourceGradient + (step &* batch.rowCount &+ n) &* instruction.size, valuesStride: 0,
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
          workspace, dropout, transposed, memory, gradients, learnsInitialState: learnsInitialState, hiddenClip: hiddenClip,
          flow)
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
    _ gradients: UnsafeMutablePointer<Scalar>?, learnsInitialState: Bool, hiddenClip: Double, _ flow: GradientFlow?
  ) {
    let n = batch.rowCount
    var outputGradient = resultGradient
    var lower = memory.layerGradients.0, other = memory.layerGradients.1
    for layer in (0..<instruction.layerCount).reversed() {
      let first = instruction.firstLayer &+ layer &* instruction.directionCount
      var layerInput = source
      var layerInputGradient = sourceGradient
      if layer > 0 {
        layerInput = (workspace.droppedInputs[first] ?? workspace.layerResults[first &- 1]).map { UnsafePointer($0) } ?? source
        layerInputGradient = lower
      }
      let sideBySide = sideBySideParts(instruction, layer: layer, batch)
      let ownKernels = copy kernels
      func scratch(_ direction: Int) -> BackwardScratch<Scalar> {
        sideBySide > 1 && direction == 1 ? memory.secondScratch : memory.scratch
      }
      func layerGradients(_ direction: Int) -> LayerGradients<Scalar> {
        layers[first &+ direction].gradients(
          in: scratch(direction), batch, transposed.layers[first &+ direction], wantsInputGradient: layerInputGradient != nil)
      }
      // One answer for both halves of the work: which library multiplies may change at any time.
      let ownGradients = (layerGradients(0), layerGradients(instruction.directionCount &- 1))
      func recurrence(_ direction: Int) {
        let layout = instruction.direction(direction)
        let layerFlow = flow?.layer(first &+ direction, stepCount: batch.stepCount)
        var own = UnsafePointer(outputGradient + layout.column)
        if instruction.merge != .concat, let other = workspace.directionResults[first &+ 1 &- direction] {
          let gradient = direction == 0 ? memory.directionGradients.0 : memory.directionGradients.1
          instruction.merge.combineBack(
            outputGradient, other: other, count: batch.cellCount &* instruction.size, into: gradient)
          own = UnsafePointer(gradient)
        }
        layers[first &+ direction].backwardRecurrence(
          ownKernels, batch, transposed.layers[first &+ direction], trace: workspace.traces[first &+ direction],
          outputGradient: own, outputGradientStride: instruction.size,
          hiddenGradient: memory.stateGradient + layout.hiddenPlace(layer: layer, rows: n),
          cellGradient: memory.stateGradient + layout.cellPlace(layer: layer, rows: n),
          into: direction == 0 ? ownGradients.0 : ownGradients.1, scratch: scratch(direction), hiddenClip: hiddenClip,
          flow: layerFlow?.needsNorms == true ? layerFlow : nil)
      }
      if sideBySide > 1 { ThreadPool.run(parts: 2, recurrence) }
      for direction in 0..<instruction.directionCount {
        if sideBySide == 1 { recurrence(direction) }
        let weights = layers[first &+ direction]
        let layout = instruction.direction(direction)
        let trace = workspace.traces[first &+ direction], back = transposed.layers[first &+ direction]
        weights.backwardProducts(
          kernels, batch, back, trace: trace, input: layerInput, inputGradient: layerInputGradient,
          // The gradient of what is between layers comes from nowhere else.
          addsToInputGradient: layer == 0 || direction > 0,
          gradients: direction == 0 ? ownGradients.0 : ownGradients.1, parameterGradients: gradients, scratch: scratch(direction))
        let layerFlow = flow?.layer(first &+ direction, stepCount: batch.stepCount)
        let hiddenGradient = memory.stateGradient + layout.hiddenPlace(layer: layer, rows: n)
        let cellGradient = memory.stateGradient + layout.cellPlace(layer: layer, rows: n)
        if let layerFlow {
          weights.measureGates(batch, trace, layerFlow)
          weights.measureJacobian(kernels, batch, back, trace, layerFlow)
        }
        if learnsInitialState, let gradients {
          weights.addInitialStateGradient(kernels, rows: n, hiddenGradient, cellGradient, to: gradients)
        }
      }
      guard layer > 0 else { break }
      if let dropout, instruction.dropout > 0 {
        let mask = DropoutMask<Scalar>(
          dropout, probability: instruction.dropout, node: instruction.node, layer: layer &- 1)
        mask.apply(to: lower, rows: batch.cellCount, rowsPerStep: n, width: instruction.size)
      }
      if instruction.isResidual {
        // Y_l = H_l + Y_(l-1): past the layer, and past its dropout.
        add(kernels, outputGradient, to: lower, count: batch.cellCount &* instruction.size)
      }
      outputGradient = lower
      swap(&lower, &other)
    }
  }
}

extension RecurrentWeights {
  /// The learned initial state is the same row for all of the batch: its gradient is the sum over the rows.
  fileprivate func addInitialStateGradient(
    _ kernels: borrowing KernelTable<Scalar>, rows: Int, _ hidden: UnsafePointer<Scalar>, _ cell: UnsafePointer<Scalar>,
    to gradients: UnsafeMutablePointer<Scalar>
  ) {
    for (place, values, size) in [(places.initialHidden, hidden, stateSize), (places.initialCell, cell, hiddenSize)]
    where place >= 0 {
      kernels.columnSums(
        ColumnSumArguments(rows: rows, columns: size, values: values, valuesStride: size, sums: gradients + place))
    }
  }
}
