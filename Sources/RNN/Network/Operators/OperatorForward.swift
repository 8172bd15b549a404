import RNNKernels

extension Weights {
  /// The nodes that are neither inputs nor layers: one kernel, or copies.
  ///
  /// - Parameters:
  ///   - rows: T·N, or N for one step.
  ///   - source: Of the first input.
  func runOperator(
    _ kernels: borrowing KernelTable<Scalar>, _ instruction: Instruction<Scalar>, _ batch: SequenceBatch,
    _ input: PassInput<Scalar>, rows: Int, source: UnsafePointer<Scalar>, to result: UnsafeMutablePointer<Scalar>,
    _ workspace: Workspace<Scalar>
  ) {
    let size = instruction.size, count = rows &* size
    switch instruction.kind {
    case .activation:
      result.update(from: source, count: count)
      kernels.activate(
        ActivateArguments(
          rows: 1, columns: count, values: result, valuesStride: 0, kind: instruction.activation,
          alpha: instruction.alpha, beta: instruction.beta, clip: 0))
    case .softmax:
      kernels.softmaxForward(instruction.rowArguments(rows: rows, values: source, result: result))
    case .layerNorm:
      kernels.layerNormForward(instruction.rowArguments(rows: rows, values: source, result: result))
    case .scaleShift:
      guard let weight = instruction.table else { break }
      kernels.multiplyAdd(
        MultiplyAddArguments(
          rows: rows, columns: size, values: result, valuesStride: size, left: source, leftStride: size, right: weight,
          addend: instruction.bias))
    case .product:
      result.update(from: source, count: count)
      for i in 1..<instruction.sumSourceCount {
        let other = self.source(sumSources[instruction.firstSumSource &+ i], input, workspace)
        kernels.multiplyAdd(
          MultiplyAddArguments(rows: 1, columns: count, values: result, left: UnsafePointer(result), right: other))
      }
    case .concat:
      var column = 0
      for i in 0..<instruction.sumSourceCount {
        let node = sumSources[instruction.firstSumSource &+ i]
        let other = self.source(node, input, workspace), width = instructions[node].size
        for row in 0..<rows { (result + (row &* size &+ column)).update(from: other + row &* width, count: width) }
        column &+= width
      }
    case .slice:
      for row in 0..<rows {
        (result + row &* size).update(from: source + (row &* instruction.sourceSize &+ instruction.begin), count: size)
      }
    case .reverse:
      for t in 0..<batch.stepCount {
        for n in 0..<batch.rowCount {
          let line = result + (t &* batch.rowCount &+ n) &* size
          if let step = batch.reversedStep(t, row: n) {
            line.update(from: source + (step &* batch.rowCount &+ n) &* size, count: size)
          } else {
            line.update(repeating: 0, count: size)
          }
        }
      }
    default: break
    }
  }
}

extension Instruction {
  /// A kernel over the features of each row: softmax, layer normalisation.
  func rowArguments(
    rows: Int, values: UnsafePointer<Scalar>, result: UnsafeMutablePointer<Scalar>
  ) -> RowArguments<Scalar> {
    var arguments = RowArguments(
      rows: rows, columns: size, count: Scalar(size), values: values, result: result, epsilon: epsilon,
      isLogarithm: isLogarithm)
    if let table { arguments.weight = table }
    if let bias { arguments.bias = bias }
    return arguments
  }
}
