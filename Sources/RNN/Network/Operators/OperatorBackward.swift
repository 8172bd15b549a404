import RNNKernels

extension Instruction {
  /// Elements that a backward pass computes at a time, for operators that work element by element: they stay in the cache.
  static var blockCount: Int { 2048 }

  /// Elements of scratch memory that `Weights.backpropagateOperator` needs.
  var operatorScratchCount: Int {
    switch kind {
    case .activation: 2 * Self.blockCount
    case .product: Self.blockCount
    case .softmax, .layerNorm: size
    default: 0
    }
  }
}

extension Weights {
  /// Adds ∂L/∂X to the gradients of the nodes that are read, and writes those of the parameters. `resultGradient` may be changed.
  func backpropagateOperator(
    _ kernels: borrowing KernelTable<Scalar>, _ instruction: Instruction<Scalar>, _ batch: SequenceBatch,
    _ input: PassInput<Scalar>, rows: Int, source: UnsafePointer<Scalar>, resultGradient: UnsafeMutablePointer<Scalar>,
    sourceGradient: UnsafeMutablePointer<Scalar>?, _ workspace: Workspace<Scalar>, _ memory: BackwardWorkspace<Scalar>,
    _ gradients: UnsafeMutablePointer<Scalar>?
  ) {
    let size = instruction.size, count = rows &* size
    let scratch = memory.scratch.operators
    switch instruction.kind {
    case .activation:
      guard let sourceGradient else { break }
      // ∂L/∂X = ∂L/∂Y ⊙ f'(X).
      let derivatives = scratch + Instruction<Scalar>.blockCount
      for first in stride(from: 0, to: count, by: Instruction<Scalar>.blockCount) {
        let count = min(Instruction<Scalar>.blockCount, count &- first)
        scratch.update(from: source + first, count: count)
        kernels.activate(
          ActivateArguments(
            rows: 1, columns: count, values: scratch, valuesStride: 0, derivatives: derivatives, kind: instruction.activation,
            alpha: instruction.alpha, beta: instruction.beta, clip: 0))
        kernels.multiplyAdd(
          MultiplyAddArguments(
            rows: 1, columns: count, values: sourceGradient + first, left: UnsafePointer(resultGradient + first),
            right: UnsafePointer(derivatives), addend: UnsafePointer(sourceGradient + first)))
      }
    case .product:
      for i in 0..<instruction.sumSourceCount {
        let node = sumSources[instruction.firstSumSource &+ i]
        guard let gradient = memory.nodeGradients[node] else { continue }
        // ∂L/∂X_i = ∂L/∂Y ⊙ the product of the others.
        for first in stride(from: 0, to: count, by: Instruction<Scalar>.blockCount) {
          let count = min(Instruction<Scalar>.blockCount, count &- first)
          scratch.update(from: resultGradient + first, count: count)
          for j in 0..<instruction.sumSourceCount where j != i {
            let other = self.source(sumSources[instruction.firstSumSource &+ j], input, workspace)
            kernels.multiplyAdd(
              MultiplyAddArguments(rows: 1, columns: count, values: scratch, left: UnsafePointer(scratch), right: other + first))
          }
          kernels.add(
            AddArguments(
              rows: 1, columns: count, values: gradient + first, valuesStride: 0, addend: UnsafePointer(scratch), addendStride: 0))
        }
      }
    case .softmax:
      guard let sourceGradient else { break }
      var arguments = instruction.rowArguments(rows: rows, values: source, result: sourceGradient)
      arguments.gradient = resultGradient
      arguments.scratch = scratch
      kernels.softmaxBackward(arguments)
    case .layerNorm:
      if let gradients { sumColumns(kernels, resultGradient, rows: rows, size, to: gradients + instruction.biasOffset) }
      // For the weight's sake also where nobody wants ∂L/∂X.
      guard sourceGradient != nil || gradients != nil, let result = memory.nodeGradients[instruction.source] else { break }
      var arguments = instruction.rowArguments(rows: rows, values: source, result: result)
      arguments.gradient = resultGradient
      arguments.scratch = scratch
      kernels.layerNormBackward(arguments)
      if let gradients { sumColumns(kernels, resultGradient, rows: rows, size, to: gradients + instruction.weightOffset) }
    case .scaleShift:
      guard let weight = instruction.table else { break }
      if let sourceGradient {
        kernels.multiplyAdd(
          MultiplyAddArguments(
            rows: rows, columns: size, values: sourceGradient, valuesStride: size, left: UnsafePointer(resultGradient),
            leftStride: size, right: weight, addend: UnsafePointer(sourceGradient), addendStride: size))
      }
      guard let gradients else { break }
      if instruction.biasOffset >= 0 {
        sumColumns(kernels, resultGradient, rows: rows, size, to: gradients + instruction.biasOffset)
      }
      // Nobody reads ∂L/∂Y any more: ∂L/∂Y ⊙ X takes its place.
      kernels.multiplyAdd(
        MultiplyAddArguments(
          rows: 1, columns: count, values: resultGradient, left: UnsafePointer(resultGradient), right: source))
      sumColumns(kernels, resultGradient, rows: rows, size, to: gradients + instruction.weightOffset)
    case .concat:
      var column = 0
      for i in 0..<instruction.sumSourceCount {
        let node = sumSources[instruction.firstSumSource &+ i]
        let width = instructions[node].size
        if let gradient = memory.nodeGradients[node] {
          kernels.add(
            AddArguments(
              rows: rows, columns: width, values: gradient, valuesStride: width,
              addend: UnsafePointer(resultGradient + column), addendStride: size))
        }
        column &+= width
      }
    case .slice:
      guard let sourceGradient else { break }
      kernels.add(
        AddArguments(
          rows: rows, columns: size, values: sourceGradient + instruction.begin, valuesStride: instruction.sourceSize,
          addend: UnsafePointer(resultGradient), addendStride: size))
    case .reverse:
      guard let sourceGradient else { break }
      for t in 0..<batch.stepCount {
        for n in 0..<batch.rowCount {
          guard let step = batch.reversedStep(t, row: n) else { continue }
          kernels.add(
            AddArguments(
              rows: 1, columns: size, values: sourceGradient + (step &* batch.rowCount &+ n) &* size, valuesStride: 0,
              addend: UnsafePointer(resultGradient + (t &* batch.rowCount &+ n) &* size), addendStride: 0))
        }
      }
    default: break
    }
  }

  private func sumColumns(
    _ kernels: borrowing KernelTable<Scalar>, _ values: UnsafePointer<Scalar>, rows: Int, _ columns: Int,
    to sums: UnsafeMutablePointer<Scalar>
  ) {
    kernels.columnSums(ColumnSumArguments(rows: rows, columns: columns, values: values, valuesStride: columns, sums: sums))
  }
}
