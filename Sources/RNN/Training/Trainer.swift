import RNNKernels

/// What is learnt from a batch, and how.
public struct TrainerOptions: Equatable, Sendable {
  public enum Loss: Equatable, Sendable {
    /// Softmax cross-entropy against class targets; the mean over the steps and rows that count.
    case crossEntropy(ignoreIndex: Int64 = -100)
    /// Squared error against values; the mean over all elements that are not padding.
    case meanSquaredError
  }

  public var loss: Loss
  /// Clip gradients to this; nil: no clipping.
  public var clipNorm: Double?
  /// What `clipNorm` bounds.
  public var clipMode = ClipMode.globalNorm
  /// k1 of truncated backpropagation: an update after every so many steps; nil: one, after the whole sequence.
  public var updateInterval: Int?
  /// k2: how many steps back each update looks, at least `updateInterval`; nil: as many.
  public var backwardSteps: Int?
  public var dropoutSeed: UInt64 = 0
  /// Limits the Euclidean norm of each row's ∂L/∂H_t inside backpropagation through time; nil: no limit.
  public var hiddenClip: Double?
  /// Keep the flow of the last update's gradient, for `readFlow`.
  public var keepsGradientFlow = false

  public init(
    loss: Loss = .crossEntropy(), clipNorm: Double? = nil, updateInterval: Int? = nil, backwardSteps: Int? = nil
  ) {
    self.loss = loss
    self.clipNorm = clipNorm
    self.updateInterval = updateInterval
    self.backwardSteps = backwardSteps
  }

  func check(_ architecture: Architecture) throws(RNNError) {
    if let clipNorm, !(clipNorm > 0) {
      throw RNNError(.invalidArgument, "clip_norm is \(clipNorm), expected above 0, or 0 for no clipping")
    }
    if let hiddenClip, !(hiddenClip > 0) {
      throw RNNError(.invalidArgument, "hidden_clip is \(hiddenClip), expected above 0, or 0 for no limit")
    }
    if let updateInterval {
      guard updateInterval >= 1 else { throw RNNError(.invalidArgument, "update_interval is too large") }
      guard architecture.isStreamable, !architecture.hasSingleStepOutput else {
        throw RNNError(
          .unsupported,
          "truncated backpropagation needs a network that can stop at any step: no layer that reads backwards, no reversal, no last step")
      }
    }
    if let backwardSteps {
      guard let updateInterval, backwardSteps >= updateInterval else {
        throw RNNError(
          .invalidArgument, "backward_steps is \(backwardSteps), expected at least update_interval, \(updateInterval ?? 0)")
      }
    }
  }
}

/// What a step of a trainer did.
public struct StepReport: Equatable, Sendable {
  /// Mean loss of the terms that counted.
  public var loss = 0.0
  /// Tokens for cross-entropy, elements for squared error.
  public var terms = 0
  /// Of the last update: global gradient norm before clipping, and what the gradients were multiplied by; see ``ClipReport``.
  public var gradientNorm = 0.0
  public var gradientScale = 1.0
  /// Index of the parameter with the largest gradient norm.
  public var largestParameter = 0
  public var updates = 0
  /// Updates left out because the loss or a gradient was infinite or NaN.
  public var skipped = 0
  /// What went wrong first in the first update that was left out.
  public var nonFinite: NonFinite?
  /// The first parameter of that update whose gradient is not finite.
  public var nonFiniteParameter: Int?
}

/// Where the first infinite or NaN number was found. A layer is a row of the gradient flow; a step counts from the begin of the
/// sequence.
public enum NonFinite: Equatable, Sendable {
  /// In H or C of the forward pass: the lowest layer, and the first step of it that went wrong.
  case forward(layer: Int, step: Int)
  /// In the output or the loss, with all states finite.
  case loss
  /// In ∂L/∂H_t: the highest layer, and the step that the backward pass met first.
  case backward(layer: Int, step: Int)
  /// In the gradient of a parameter alone.
  case gradient
}

/// Targets of a batch, time-major.
public enum TrainingTargets<Scalar: KernelScalar> {
  /// [T, N], or [N] for a single-step output.
  case classes(UnsafeBufferPointer<Int64>)
  /// In the shape of the output.
  case values(UnsafeBufferPointer<Scalar>)
}

/// A network in training: a copy of the weights that it alone changes, gradients, optimizer, and the memory of a step.
///
/// Belongs to one thread at a time. `snapshot()` gives networks for everybody else.
public final class Trainer {
  public let architecture: Architecture
  private let core: Core

  private enum Core {
    case float32(TrainerCore<Float>)
    case float64(TrainerCore<Double>)
  }

  public init(
    _ network: Network, options: TrainerOptions = TrainerOptions(), optimizer: OptimizerOptions = OptimizerOptions()
  ) throws(RNNError) {
    architecture = network.architecture
    try options.check(architecture)
    switch architecture.dataType {
    case .float32: core = .float32(try TrainerCore(network, options, optimizer))
    case .float64: core = .float64(try TrainerCore(network, options, optimizer))
    }
  }

  private func core<Scalar: KernelScalar>(_ type: Scalar.Type) throws(RNNError) -> TrainerCore<Scalar> {
    switch core {
    case .float32(let core):
      if Scalar.self == Float.self { return unsafeDowncast(core, to: TrainerCore<Scalar>.self) }
    case .float64(let core):
      if Scalar.self == Double.self { return unsafeDowncast(core, to: TrainerCore<Scalar>.self) }
    }
    throw RNNError(
      .dtype, "the trainer is \(architecture.dataType.rawValue), and the call is for \(Scalar.dataType.rawValue)")
  }

  /// One batch: forward, loss, backward, clip, update; several times along the sequence with truncated backpropagation.
  ///
  /// - Parameter state: Replaced by the final state; nil begins with zeros. Gradients stop at its border.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func step<Scalar: KernelScalar>(
    _ input: SequenceInput<Scalar>, targets: TrainingTargets<Scalar>, state: inout NetworkState?
  ) throws(RNNError) -> StepReport {
    try core(Scalar.self).run(input, targets, &state, learns: true)
  }

  /// The loss alone, without dropout and without an update.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func evaluate<Scalar: KernelScalar>(
    _ input: SequenceInput<Scalar>, targets: TrainingTargets<Scalar>, state: inout NetworkState?
  ) throws(RNNError) -> StepReport {
    try core(Scalar.self).run(input, targets, &state, learns: false)
  }

  /// Gradients of the last update, after clipping, in the order of ``Architecture/parameters``.
  public func readGradients<Scalar: KernelScalar>(into target: UnsafeMutableBufferPointer<Scalar>) throws(RNNError) {
    let core = try core(Scalar.self)
    guard target.count >= architecture.parameterCount else {
      throw RNNError(
        .bufferTooSmall, "gradients_count is \(target.count), expected at least \(architecture.parameterCount)")
    }
    target.baseAddress?.update(from: core.gradients.baseAddress, count: architecture.parameterCount)
  }

  /// Copies the gradient flow of the last update into the arrays of `target`; returns T of its window.
  public func readFlow(into target: GradientFlow) throws(RNNError) -> Int {
    switch core {
    case .float32(let core): try core.readFlow(into: target)
    case .float64(let core): try core.readFlow(into: target)
    }
  }

  /// A network of the present weights, with the metadata of the network that the trainer was made from.
  public func snapshot() throws(RNNError) -> Network {
    switch core {
    case .float32(let core): try core.snapshot()
    case .float64(let core): try core.snapshot()
    }
  }

  /// Gives `network`, which has the architecture of the trainer's, the present weights. What of it is in use, calls in flight,
  /// streams and tapes, keeps the weights it has.
  public func update(_ network: Network) throws(RNNError) {
    switch core {
    case .float32(let core): try network.writeParameters(of: core.weights)
    case .float64(let core): try network.writeParameters(of: core.weights)
    }
  }

  public func setLearningRate(_ rate: Double) throws(RNNError) {
    switch core {
    case .float32(let core): try core.optimizer.setLearningRate(rate)
    case .float64(let core): try core.optimizer.setLearningRate(rate)
    }
  }
}

private final class TrainerCore<Scalar: KernelScalar> {
  let optimizer: Optimizer<Scalar>
  let gradients: AlignedBuffer<Scalar>
  let weights: Weights<Scalar>
  private let options: TrainerOptions
  private let metadata: [String: String]
  /// Calls of `step` so far: part of the key of dropout.
  private var stepCount: UInt64 = 0
  /// The memory of the last shape, for the next batch of it.
  private var memory: StepMemory<Scalar>?
  private var flow: FlowMemory?

  init(_ network: Network, _ options: TrainerOptions, _ optimizer: OptimizerOptions) throws(RNNError) {
    let architecture = network.architecture
    let parameters = try makeBuffer(Scalar.self, count: architecture.parameterCount, for: "a trainer's parameters")
    try network.readParameter(into: parameters.buffer)
    weights = try Weights(architecture: architecture, parameters: parameters)
    gradients = try makeBuffer(Scalar.self, count: architecture.parameterCount, for: "gradients")
    self.optimizer = try Optimizer(optimizer, count: architecture.parameterCount)
    self.options = options
    metadata = network.metadata
  }

  func snapshot() throws(RNNError) -> Network {
    let copy = try makeBuffer(Scalar.self, count: weights.parameters.count, for: "a snapshot", isCleared: false)
    copy.baseAddress.update(from: weights.parameters.baseAddress, count: weights.parameters.count)
    return try Network(weights.architecture, parameters: copy, metadata: metadata)
  }

  func readFlow(into target: GradientFlow) throws(RNNError) -> Int {
    guard options.keepsGradientFlow else {
      throw RNNError(.unsupported, "the trainer was made without gradient_flow")
    }
    guard let flow, let steps = flow.stepCount else { throw RNNError(.notFound, "there was no update yet") }
    try target.check(layerDirections: weights.architecture.layerDirections, stepCount: steps)
    flow.copy(to: target, stepCount: steps)
    return steps
  }

  /// All that one window of steps needs.
  private func memory(stepCount: Int, rowCount: Int, learns: Bool) throws(RNNError) -> StepMemory<Scalar> {
    if let memory, memory.fits(stepCount, rowCount, learns: learns) { return memory }
    memory = nil
    let made = try StepMemory(weights, stepCount: stepCount, rowCount: rowCount, learns: learns, loss: options.loss)
    memory = made
    return made
  }

  func run(
    _ input: SequenceInput<Scalar>, _ targets: TrainingTargets<Scalar>, _ state: inout NetworkState?, learns: Bool
  ) throws(RNNError) -> StepReport {
    let architecture = weights.architecture
    let (t, n) = (input.sequenceLength, input.batchSize)
    guard !input.isBatchFirst else { throw RNNError(.unsupported, "a trainer reads time-major sequences") }
    // The output stays in the memory of the step: as far as the checks go there is room for any.
    let nowhere = UnsafeMutableBufferPointer(start: UnsafeMutablePointer<Scalar>(bitPattern: 64), count: largestCount)
    let checked = try CheckedSequence(architecture, input, output: nowhere, state: state)
    try check(targets, rows: architecture.hasSingleStepOutput ? n : try checkedProduct(t, n, of: "T and N"))

    // The longest window, before anything changes: from here on nothing fails. Sizes beyond the sequence mean all of it.
    let longest = max(t, 1)
    let interval = min(options.updateInterval ?? longest, longest)
    // The steps before its own that an update looks back to, also the last one, which may have fewer of its own.
    let asked = options.updateInterval.map { (options.backwardSteps ?? $0) - $0 } ?? 0
    let lookBack = learns ? min(asked, longest) : 0
    let window = min(interval + lookBack, longest)
    let memory = try memory(stepCount: options.updateInterval == nil ? t : window, rowCount: n, learns: learns)
    if learns, options.keepsGradientFlow, flow?.stepCapacity ?? -1 < window {
      flow = try FlowMemory(layerDirections: architecture.layerDirections, stepCapacity: window)
    }
    let beginsWithLearned = (state?.isInitial ?? true) && architecture.learnsInitialState
    var temporary = try NetworkState(architecture, batchSize: state == nil ? n : 1)
    let values = if let given = try state?.mutableValues(Scalar.self) { given } else { try temporary.mutableValues(Scalar.self) }
    let stateCount = try checkedProduct(architecture.stateCount, n, of: "the state")
    // States at the borders of the updates, for windows that reach back beyond them.
    let reach = (lookBack + interval - 1) / interval + 1
    let history = try makeBuffer(Scalar.self, count: try checkedProduct(stateCount, reach, of: "states"), for: "states")

    return withNumericMode {
      var report = StepReport()
      var lossSum = 0.0
      var end = 0
      var update = 0
      if beginsWithLearned { weights.writeInitialState(values, rows: n) }
      repeat {
        let begin = end
        end = min(begin + interval, t)
        // This update looks from `first` on; what lies before `begin` is computed again, with the present weights.
        let first = max(0, begin - lookBack)
        (history.baseAddress + update % reach * stateCount).update(from: values, count: stateCount)
        let borderUpdate = first / interval
        if borderUpdate < update {
          values.update(from: history.baseAddress + borderUpdate % reach * stateCount, count: stateCount)
          let border = borderUpdate * interval
          if border < first { advance(checked, from: border, to: first, values, memory) }
        }
        let steps = self.window(
          checked, from: first, lossFrom: begin, to: end,
          dropout: learns ? DropoutKey(seed: options.dropoutSeed, step: stepCount, firstTime: UInt64(first)) : nil)
        let terms = termCount(steps, targets)
        // Nothing is learnt from no term.
        let hasUpdate = learns && terms > 0
        if hasUpdate {
          memory.backward?.clear()
          clearGradients(memory)
        }
        let loss = pass(steps, targets, values, memory, scale: hasUpdate ? 1 / Double(terms) : nil)
        lossSum += loss
        report.terms += terms
        if hasUpdate {
          learn(
            steps, targets, (loss, terms), memory, learnsInitialState: beginsWithLearned && first == 0, &report)
        }
        update += 1
      } while end < t
      report.loss = lossSum / Double(report.terms)
      if learns { stepCount += 1 }
      return report
    }
  }

  private func check(_ targets: TrainingTargets<Scalar>, rows: Int) throws(RNNError) {
    let classes = weights.architecture.outputSize
    switch (targets, options.loss) {
    case (.classes(let targets), .crossEntropy(let ignoreIndex)):
      _ = try present(targets, count: rows, named: "class_targets", shape: "rows of the output")
      let loss = CrossEntropy(ignoreIndex: ignoreIndex)
      try loss.check(
        classes: classes, targets: UnsafeBufferPointer(rebasing: targets.prefix(rows)), named: "class_targets",
        classWeights: UnsafePointer<Scalar>?.none)
    case (.values(let targets), .meanSquaredError):
      let count = try checkedProduct(rows, classes, of: "value_targets")
      _ = try present(targets, count: count, named: "value_targets", shape: "elements of the output")
    case (.values, .crossEntropy):
      throw RNNError(.invalidArgument, "the loss is cross-entropy, and class_targets is NULL")
    case (.classes(let targets), .meanSquaredError):
      if rows == 0, targets.isEmpty { return }
      throw RNNError(.invalidArgument, "the loss is squared error, and value_targets is NULL")
    }
  }

  private func batch(_ sequence: CheckedSequence<Scalar>, from first: Int, to end: Int) -> SequenceBatch {
    SequenceBatch(
      stepCount: end - first, rowCount: sequence.rowCount, lengths: sequence.lengths, mask: sequence.mask, firstStep: first)
  }

  private func input(_ sequence: CheckedSequence<Scalar>, from first: Int) -> PassInput<Scalar> {
    let row = first * sequence.rowCount
    return PassInput(
      features: sequence.features.map { $0 + row * weights.architecture.inputSize },
      tokens: sequence.tokens.map { $0 + row * weights.architecture.tokenCount })
  }

  /// Brings the state forward, and nothing else; of an output layer that has no state not even the output.
  private func advance(
    _ sequence: CheckedSequence<Scalar>, from first: Int, to end: Int, _ state: UnsafeMutablePointer<Scalar>,
    _ memory: StepMemory<Scalar>
  ) {
    weights.forward(
      batch(sequence, from: first, to: end), input(sequence, from: first), state: state,
      output: memory.outputGradient, workspace: memory.workspace, dropout: nil)
  }

  /// Zeros, but for the largest matrix where that is going to be overwritten anyway.
  private func clearGradients(_ memory: StepMemory<Scalar>) {
    let left = memory.outputLoss?.weightPlace ?? gradients.count..<gradients.count
    for place in [0..<left.lowerBound, left.upperBound..<gradients.count] {
      // A number that goes to memory costs as much as some four products.
      let parts = ThreadPool.parts(multiplyAdds: 4 &* place.count, units: place.count / 4096)
      ThreadPool.run(parts: parts) { part in
        let own = slice(of: place.count, part: part, parts: parts, unit: 4096)
        (gradients.baseAddress + place.lowerBound + own.lowerBound).update(repeating: 0, count: own.count)
      }
    }
  }

  /// Steps of one update: what its passes read.
  private struct Window {
    let batch: SequenceBatch
    let input: PassInput<Scalar>
    /// Rows of the output; those before `firstCounted` are there for the state alone.
    let rowCount, firstCounted: Int
    /// Of the targets: the one of row 0.
    let firstTarget: Int
    let isSingleStep: Bool
    let dropout: DropoutKey?

    /// Whether a row of the output has a loss.
    func counts(_ row: Int) -> Bool {
      let n = batch.rowCount
      return row >= firstCounted && (isSingleStep || batch.isActive(step: row / n, row: row % n))
    }
  }

  private func window(
    _ sequence: CheckedSequence<Scalar>, from first: Int, lossFrom begin: Int, to end: Int, dropout: DropoutKey?
  ) -> Window {
    let batch = batch(sequence, from: first, to: end), n = sequence.rowCount
    let isSingle = weights.architecture.hasSingleStepOutput
    return Window(
      batch: batch, input: input(sequence, from: first), rowCount: isSingle ? n : batch.cellCount,
      firstCounted: isSingle ? 0 : (begin - first) * n, firstTarget: isSingle ? 0 : first * n, isSingleStep: isSingle,
      dropout: dropout)
  }

  /// Losses that count: of classes those that are not ignored, of values all.
  private func termCount(_ window: Window, _ targets: TrainingTargets<Scalar>) -> Int {
    var terms = 0
    for row in window.firstCounted..<max(window.firstCounted, window.rowCount) where window.counts(row) {
      switch (targets, options.loss) {
      case (.classes(let classes), .crossEntropy(let ignoreIndex)):
        terms += classes[window.firstTarget + row] == ignoreIndex ? 0 : 1
      default: terms += weights.architecture.outputSize
      }
    }
    return terms
  }

  /// Forward and loss, the sum over all terms. In training, also what of the backward pass belongs to the loss: ∂(mean loss)/∂output
  /// in `memory.outputGradient`, or all of the output layer's where that is computed together with the loss.
  ///
  /// - Parameter scale: 1 / terms; nil for the loss alone.
  private func pass(
    _ window: Window, _ targets: TrainingTargets<Scalar>, _ state: UnsafeMutablePointer<Scalar>,
    _ memory: StepMemory<Scalar>, scale: Double?
  ) -> Double {
    weights.forward(
      window.batch, window.input, state: state, output: memory.outputGradient, workspace: memory.workspace,
      dropout: window.dropout)
    if let output = memory.outputGradient {
      evaluate(window, targets, output, memory, scale: scale ?? 1)
    } else {
      runOutput(window, targets, memory, scale: scale, gradients: gradients.baseAddress)
    }
    // In the order of the rows, whoever computed them.
    var sum = 0.0
    for row in 0..<window.rowCount { sum += memory.rowLosses[row] }
    return sum
  }

  /// Losses of the rows of the output, one by one: each turns its row into its gradient.
  private func evaluate(
    _ window: Window, _ targets: TrainingTargets<Scalar>, _ output: UnsafeMutablePointer<Scalar>,
    _ memory: StepMemory<Scalar>, scale: Double
  ) {
    let classes = weights.architecture.outputSize
    let parts = ThreadPool.parts(multiplyAdds: window.rowCount * classes * 16, units: window.rowCount / 8)
    ThreadPool.run(parts: parts) { part in
      for row in slice(of: window.rowCount, part: part, parts: parts, unit: 8) {
        let values = output + row * classes
        memory.rowLosses[row] = 0
        guard window.counts(row) else {
          values.update(repeating: 0, count: classes)
          continue
        }
        switch (targets, options.loss) {
        case (.classes(let classTargets), .crossEntropy(let ignoreIndex)):
          memory.rowLosses[row] = CrossEntropy(ignoreIndex: ignoreIndex).evaluateRow(
            values, classes: classes, target: classTargets[window.firstTarget + row], weights: nil, gradient: values,
            scratch: values, scale: scale)
        case (.values(let valueTargets), _):
          let factor = Scalar(2 * scale)
          var sum = 0.0
          for j in 0..<classes {
            let difference = values[j] - valueTargets[(window.firstTarget + row) * classes + j]
            sum += Double(difference) * Double(difference)
            values[j] = factor * difference
          }
          memory.rowLosses[row] = sum
        default: break
        }
      }
    }
  }

  /// The output layer together with its loss.
  ///
  /// - Parameter scale: nil for the losses alone.
  private func runOutput(
    _ window: Window, _ targets: TrainingTargets<Scalar>, _ memory: StepMemory<Scalar>, scale: Double?,
    gradients: UnsafeMutablePointer<Scalar>?
  ) {
    guard let outputLoss = memory.outputLoss, let last = weights.instructions.last,
      case .classes(let classes) = targets, case .crossEntropy(let ignoreIndex) = options.loss
    else { return }
    // What features are given has no gradient.
    let isInput = weights.instructions[last.source].kind == .input
    outputLoss.run(
      rows: window.rowCount, input: weights.source(last.source, window.input, memory.workspace),
      loss: CrossEntropy(ignoreIndex: ignoreIndex), losses: memory.rowLosses,
      gradients: scale.map { scale in
        OutputLoss.Gradients(
          scale: scale, input: isInput ? nil : memory.backward?.nodeGradients[last.source],
          transposed: isInput ? nil : memory.transposed?.linear[last.node], parameters: gradients)
      }
    ) { row in window.counts(row) ? classes[window.firstTarget + row] : nil }
  }

  /// Backward, clip, update.
  private func learn(
    _ window: Window, _ targets: TrainingTargets<Scalar>, _ loss: (sum: Double, terms: Int), _ memory: StepMemory<Scalar>,
    learnsInitialState: Bool, _ report: inout StepReport
  ) {
    let architecture = weights.architecture
    guard let backward = memory.backward, let transposed = memory.transposed else { return }
    memory.copyOutputGradient(window.rowCount * architecture.outputSize)
    weights.backward(
      window.batch, window.input, workspace: memory.workspace, dropout: window.dropout, transposed: transposed,
      into: backward, gradients: gradients.baseAddress, wantsInputGradient: false, learnsInitialState: learnsInitialState,
      hiddenClip: options.hiddenClip ?? 0,
      flow: options.keepsGradientFlow ? flow?.begin(stepCount: window.batch.stepCount) : nil)

    let tensors = architecture.parameters.map {
      UnsafeMutableBufferPointer(start: gradients.baseAddress + $0.offset, count: $0.count)
    }
    let clipped = GradientClipping(options.clipMode, limit: options.clipNorm ?? .infinity).clip(tensors)
    report.gradientNorm = clipped.totalNorm
    report.gradientScale = clipped.scale
    report.largestParameter = clipped.largestIndex
    guard clipped.nonFiniteIndex == nil, loss.sum.isFinite else {
      report.largestParameter = clipped.nonFiniteIndex ?? report.largestParameter
      report.skipped += 1
      if report.skipped == 1 {
        report.nonFiniteParameter = clipped.nonFiniteIndex
        report.nonFinite = firstNonFinite(window, targets, loss, memory, backward, transposed)
      }
      return
    }
    optimizer.update(weights.parameters.baseAddress, with: gradients.baseAddress)
    weights.repack()
    report.updates += 1
  }

  /// Looks for the first number that went wrong: in the states, then the loss, then once more through the backward pass, with its
  /// norms.
  private func firstNonFinite(
    _ window: Window, _ targets: TrainingTargets<Scalar>, _ loss: (sum: Double, terms: Int), _ memory: StepMemory<Scalar>,
    _ backward: BackwardWorkspace<Scalar>, _ transposed: BackwardWeights<Scalar>
  ) -> NonFinite {
    let batch = window.batch, first = batch.firstStep
    for (index, layer) in weights.layers.enumerated() {
      if let step = layer.firstNonFiniteStep(batch, memory.workspace.traces[index]) {
        return .forward(layer: index, step: first + step)
      }
    }
    guard loss.sum.isFinite else { return .loss }
    let rows = weights.architecture.layerDirections * batch.stepCount
    guard let norms = AlignedBuffer<Double>(count: rows), let smallNorms = AlignedBuffer<Double>(count: rows) else { return .gradient }
    measure(norms, of: window, targets, loss.terms, memory, backward, transposed, times: 1)
    // A norm is a root of squares, which overflow long before the numbers do. What the pass computes is proportional to the gradient that
    // it begins with: the norm of numbers that are all finite stays below the limit where they are made smaller.
    let small = 0x1p-512, limit = Double(Scalar.greatestFiniteMagnitude) * small
    var isMeasuredSmall = false
    for (index, layer) in weights.layers.enumerated().reversed() {
      for step in 0..<batch.stepCount {
        let t = layer.isReverse ? step : batch.stepCount - 1 - step
        let place = index * batch.stepCount + t
        if norms.baseAddress[place].isFinite { continue }
        if Scalar.self == Double.self, !norms.baseAddress[place].isNaN {
          if !isMeasuredSmall {
            measure(smallNorms, of: window, targets, loss.terms, memory, backward, transposed, times: small)
            isMeasuredSmall = true
          }
          if smallNorms.baseAddress[place] <= limit { continue }
        }
        return .backward(layer: index, step: first + t)
      }
    }
    return .gradient
  }

  /// ||∂L/∂H_t|| of each layer and step of a backward pass, [layers and directions, T], for a loss `factor` times the mean.
  private func measure(
    _ norms: AlignedBuffer<Double>, of window: Window, _ targets: TrainingTargets<Scalar>, _ terms: Int,
    _ memory: StepMemory<Scalar>, _ backward: BackwardWorkspace<Scalar>, _ transposed: BackwardWeights<Scalar>,
    times factor: Double
  ) {
    backward.clear()
    if memory.outputLoss == nil {
      memory.copyOutputGradient(window.rowCount * weights.architecture.outputSize, times: Scalar(factor))
    } else {
      runOutput(window, targets, memory, scale: factor / Double(terms), gradients: nil)
    }
    var flow = GradientFlow()
    flow.hidden = norms.buffer
    weights.backward(
      window.batch, window.input, workspace: memory.workspace, dropout: window.dropout, transposed: transposed, into: backward,
      gradients: nil, wantsInputGradient: false, learnsInitialState: false, hiddenClip: (options.hiddenClip ?? 0) * factor,
      flow: flow)
  }
}

/// The memory of the passes over one window, kept from batch to batch.
private final class StepMemory<Scalar: KernelScalar> {
  let workspace: Workspace<Scalar>
  let backward: BackwardWorkspace<Scalar>?
  let transposed: BackwardWeights<Scalar>?
  /// The output layer together with the loss; nil where they are computed apart.
  let outputLoss: OutputLoss<Scalar>?
  /// Apart: the output, then ∂L/∂output, of the window.
  let outputGradient: UnsafeMutablePointer<Scalar>?
  var rowLosses: UnsafeMutablePointer<Double> { losses.baseAddress }
  private let outputs: AlignedBuffer<Scalar>?
  private let losses: AlignedBuffer<Double>

  init(
    _ weights: Weights<Scalar>, stepCount: Int, rowCount: Int, learns: Bool, loss: TrainerOptions.Loss
  ) throws(RNNError) {
    let architecture = weights.architecture
    let rows = architecture.hasSingleStepOutput ? rowCount : try checkedProduct(stepCount, rowCount, of: "steps and rows")
    if case .crossEntropy = loss {
      outputLoss = try OutputLoss(weights, rowCount: rows, learns: learns)
    } else {
      outputLoss = nil
    }
    workspace = try Workspace(weights, stepCount: stepCount, rowCount: rowCount, keepsTrace: learns)
    backward =
      learns
      ? try BackwardWorkspace(weights, stepCount: stepCount, rowCount: rowCount, beginsAtOutput: outputLoss == nil) : nil
    transposed = learns ? try withNumericMode { () throws(RNNError) in try weights.backwardWeights() } : nil
    outputs =
      outputLoss == nil
      ? try makeBuffer(
        Scalar.self, count: try checkedProduct(rows, architecture.outputSize, of: "output"), for: "the output of a step") : nil
    outputGradient = outputs?.baseAddress
    losses = try makeBuffer(Double.self, count: rows, for: "losses")
  }

  /// Puts ∂L/∂output, times `factor`, where the backward pass begins; nothing where it does not begin there.
  func copyOutputGradient(_ count: Int, times factor: Scalar = 1) {
    guard let outputGradient, let target = backward?.nodeGradients.last ?? nil else { return }
    for i in 0..<count { target[i] = outputGradient[i] * factor }
  }

  func fits(_ stepCount: Int, _ rowCount: Int, learns: Bool) -> Bool {
    workspace.stepCapacity == stepCount && workspace.rowCount == rowCount && workspace.keepsTrace == learns
  }
}

extension RecurrentWeights {
  /// The first step, in the order in which the layer takes them, after which H or C of some row is not finite.
  fileprivate func firstNonFiniteStep(_ batch: SequenceBatch, _ trace: RecurrentTrace<Scalar>) -> Int? {
    let n = batch.rowCount
    for step in 0..<batch.stepCount {
      let t = isReverse ? batch.stepCount - 1 - step : step
      let after = stateSlots(t).after
      for row in 0..<n where batch.isActive(step: t, row: row) {
        let hidden = trace.hidden + (after * n + row) * stateSize
        if (0..<stateSize).contains(where: { !hidden[$0].isFinite }) { return t }
        guard cell.hasCellState else { continue }
        let memory = trace.cell + (after * n + row) * hiddenSize
        if (0..<hiddenSize).contains(where: { !memory[$0].isFinite }) { return t }
      }
    }
    return nil
  }
}

/// The gradient flow of the last update.
private final class FlowMemory {
  let stepCapacity: Int
  /// T of the last update.
  private(set) var stepCount: Int?
  private let norms: AlignedBuffer<Double>
  private let columns: AlignedBuffer<Double>
  private let layerDirections: Int

  init(layerDirections: Int, stepCapacity: Int) throws(RNNError) {
    self.stepCapacity = stepCapacity
    self.layerDirections = layerDirections
    let steps = try checkedProduct(layerDirections, stepCapacity, of: "the gradient flow")
    norms = try makeBuffer(Double.self, count: try checkedProduct(4, steps, of: "the gradient flow"), for: "the gradient flow")
    columns = try makeBuffer(
      Double.self, count: try checkedProduct(2 * GradientFlow.gateColumns, steps, of: "the gradient flow"),
      for: "the gradient flow")
  }

  private func flow(stepCount: Int) -> GradientFlow {
    let steps = layerDirections * stepCount, wide = steps * GradientFlow.gateColumns
    var flow = GradientFlow()
    func part(_ index: Int) -> UnsafeMutableBufferPointer<Double> {
      UnsafeMutableBufferPointer(start: norms.baseAddress + index * steps, count: steps)
    }
    flow.hidden = part(0)
    flow.clipped = part(1)
    flow.cell = part(2)
    flow.jacobian = part(3)
    flow.gateMean = UnsafeMutableBufferPointer(start: columns.baseAddress, count: wide)
    flow.gateSaturation = UnsafeMutableBufferPointer(start: columns.baseAddress + wide, count: wide)
    return flow
  }

  /// Where the next update's flow goes.
  func begin(stepCount: Int) -> GradientFlow {
    self.stepCount = stepCount
    return flow(stepCount: stepCount)
  }

  func copy(to target: GradientFlow, stepCount: Int) {
    let own = flow(stepCount: stepCount)
    func copy(_ from: UnsafeMutableBufferPointer<Double>?, _ to: UnsafeMutableBufferPointer<Double>?) {
      guard let from, let source = from.baseAddress else { return }
      to?.baseAddress?.update(from: source, count: from.count)
    }
    copy(own.hidden, target.hidden)
    copy(own.clipped, target.clipped)
    copy(own.cell, target.cell)
    copy(own.jacobian, target.jacobian)
    copy(own.gateMean, target.gateMean)
    copy(own.gateSaturation, target.gateSaturation)
  }
}
