import RNNKernels

/// A step in stages, for several threads.
private struct SharedStep: BitwiseCopyable {
  /// Of each stage `threadCount` calls; one that is not shared has nil for all threads but the first.
  let calls: UnsafeMutablePointer<PreparedKernel?>
  let isShared: UnsafeMutablePointer<Bool>
  let threadCount: Int
  var stageCount = 0
  /// Nanoseconds: more than a thread takes for the whole step, even from memory.
  var patience: UInt64 = 50_000

  /// What thread `part` does of a step.
  func run(_ part: Int) {
    var isAfterShared = false
    for stage in 0..<stageCount {
      // Before a shared stage all must have what the first thread did alone; after it the first must have all parts.
      if stage > 0, isAfterShared || isShared[stage] { ThreadPool.barrier.wait(count: threadCount, patience: patience) }
      if let call = calls[stage &* threadCount &+ part] { call() }
      isAfterShared = isShared[stage]
    }
  }
}

extension SharedStep {
  /// Together with the pool's threads; false, and nothing is done, if they are busy.
  static func run(_ step: UnsafePointer<SharedStep>) -> Bool {
    ThreadPool.runTogether(
      parts: step.pointee.threadCount, patience: step.pointee.patience, UnsafeRawPointer(step), runSharedStep)
  }
}

private func runSharedStep(_ step: UnsafeRawPointer, _ part: Int) {
  step.assumingMemoryBound(to: SharedStep.self).pointee.run(part)
}

/// One step of a stream as a list of kernel calls whose arguments are ready: what a step does is to make the calls.
///
/// For networks of inputs, recurrent layers with fused steps and linear layers. It has a state of its own, in the layout of the
/// kernels; `load` and `store` bring it in and out. The results have the bits of `Weights.forward`.
///
/// On several threads each stage of a step that is large enough is shared out by panels of outputs, so that each thread reads
/// weights of its own from a cache of its own; all wait for each other after such a stage.
final class StreamPlan<Scalar: KernelScalar> {
  private struct FusedState {
    /// Places in the states of N rows, and H.
    let hidden, cell, size: Int
    let hasCell: Bool
    /// The layer's whole step in `steps`.
    let step: Int
  }

  /// Weights of a stage from which on it is shared: some 2 µs of reading for one thread, where waiting takes 0.3.
  private static var sharedStageSize: Int { 1 << 18 }
  /// Weights of all shared stages from which on it is worth waiting for a thread that sleeps.
  private static var wakingSize: Int { 16 << 20 }

  private let rows, threadCount: Int
  /// The whole step on one thread.
  private let calls: AlignedBuffer<PreparedKernel>
  private var callCount = 0
  /// The same for several threads.
  private let stageCalls: AlignedBuffer<PreparedKernel?>
  private let stageIsShared: AlignedBuffer<Bool>
  private let sharedStep: AlignedBuffer<SharedStep>
  private var sharedSize = 0
  /// When the last step that was not shared ended.
  private var lastStepAlone: UInt64 = 0
  private let products: AlignedBuffer<ProductArguments<Scalar>>
  private let steps: AlignedBuffer<FusedArguments<Scalar>>
  private var productCount = 0, stepCount = 0
  /// The calls that read the network's input and write its output.
  private var inputProducts: [Int] = [], inputSteps: [Int] = [], outputProducts: [Int] = [], outputSteps: [Int] = []
  private let input: UnsafePointer<Scalar>, output: UnsafeMutablePointer<Scalar>
  /// What the last product writes in whole vectors, and where its outputs go from there; nil where it writes them itself.
  private var paddedOutput: UnsafePointer<Scalar>?
  private var outputTarget: UnsafeMutablePointer<Scalar>
  private let outputCount: Int
  private var states: [FusedState] = []
  private let memory: AlignedBuffer<Scalar>
  private let workspace: Workspace<Scalar>
  private let weights: Weights<Scalar>
  private let fused: FusedWeights<Scalar>

  /// nil if the network has something that a plan does not know.
  static func make(
    _ weights: Weights<Scalar>, _ workspace: Workspace<Scalar>, rows: Int, threadCount: Int, isBFloat16: Bool,
    input: UnsafeMutablePointer<Scalar>, output: UnsafeMutablePointer<Scalar>
  ) throws(RNNError) -> StreamPlan? {
    for instruction in weights.instructions {
      switch instruction.kind {
      case .input:
        guard workspace.results[instruction.node] == nil else { return nil }
      case .recurrent:
        guard instruction.directionCount == 1, instruction.merge == .concat, !instruction.isResidual else { return nil }
        for layer in weights.layers[instruction.firstLayer..<instruction.firstLayer + instruction.layerCount] {
          guard layer.fusedCell != nil, layer.inputWeight.order != .lanes else { return nil }
        }
      case .linear: break
      default: return nil
      }
    }
    // A network that is an input alone computes nothing.
    guard let last = weights.instructions.last, last.kind != .input else { return nil }
    return try StreamPlan(
      weights, workspace, rows: rows, threadCount: threadCount, isBFloat16: isBFloat16, input: input, output: output)
  }

  private init(
    _ weights: Weights<Scalar>, _ workspace: Workspace<Scalar>, rows: Int, threadCount: Int, isBFloat16: Bool,
    input: UnsafeMutablePointer<Scalar>, output: UnsafeMutablePointer<Scalar>
  ) throws(RNNError) {
    (self.weights, self.workspace, self.rows, self.threadCount) = (weights, workspace, rows, threadCount)
    (self.input, self.output, outputTarget) = (UnsafePointer(input), output, output)
    outputCount = weights.architecture.outputSize
    fused =
      rows == 1
      ? try FusedWeights(weights, input: .steps, isBFloat16: isBFloat16) : try weights.fusedWeights()
    let recurrent = weights.layers.count
    let linear = weights.instructions.count { $0.kind == .linear }
    // Of each layer the whole step and, for each thread, two halves; of each product the whole and the threads' parts.
    products = try makeBuffer(
      ProductArguments<Scalar>.self, count: (recurrent + linear) * (threadCount + 1), for: "a stream")
    calls = try makeBuffer(PreparedKernel.self, count: 2 * recurrent + linear, for: "a stream")
    // A layer is a product and two halves of a step.
    let stages = 3 * recurrent + linear
    stageCalls = try makeBuffer(PreparedKernel?.self, count: stages * threadCount, for: "a stream")
    stageIsShared = try makeBuffer(Bool.self, count: stages, for: "a stream")
    sharedStep = try makeBuffer(SharedStep.self, count: 1, for: "a stream")
    sharedStep.baseAddress.initialize(
      to: SharedStep(calls: stageCalls.baseAddress, isShared: stageIsShared.baseAddress, threadCount: threadCount))
    steps = try makeBuffer(FusedArguments<Scalar>.self, count: recurrent * (2 * threadCount + 1), for: "a stream")
    var plan = MemoryPlan()
    for layer in fused.layers {
      guard let layer else { continue }
      for _ in 0..<3 { _ = try plan.reserve(try checkedProduct(rows, layer.layout.stateWidth, of: "the state of a layer")) }
    }
    let sums = try plan.reserve(FusedArguments<Scalar>.sumCount * threadCount)
    let padded = plan.count
    for instruction in weights.instructions where instruction.kind == .linear && rows == 1 {
      for _ in 0..<2 { _ = try plan.reserve(Self.paddedCount(instruction.size)) }
    }
    memory = try makeBuffer(Scalar.self, count: plan.count, for: "a stream")

    var nextState = memory.baseAddress
    func takeState(_ layout: FusedLayout) -> UnsafeMutablePointer<Scalar> {
      defer { nextState += (rows * layout.stateWidth + 15) & ~15 }
      return nextState
    }
    // A product of one row writes whole vectors where it may: parts of them would go through memory twice.
    var paddedResults: [Int: UnsafeMutablePointer<Scalar>] = [:], nextPadded = memory.baseAddress + padded
    func takePadded(_ count: Int) -> UnsafeMutablePointer<Scalar> {
      defer { nextPadded += (Self.paddedCount(count) + 15) & ~15 }
      return nextPadded
    }
    func result(_ node: Int) -> UnsafeMutablePointer<Scalar> {
      paddedResults[node] ?? workspace.results[node] ?? (node == weights.instructions.count - 1 ? output : input)
    }
    for instruction in weights.instructions {
      let source = UnsafePointer(instruction.source >= 0 ? result(instruction.source) : input)
      switch instruction.kind {
      case .linear:
        guard let weight = instruction.weight else { continue }
        var arguments = weight.arguments(
          rows: rows, input: source, inputRowStride: instruction.sourceSize, start: instruction.bias, startRowStride: 0,
          output: result(instruction.node), outputRowStride: instruction.size)
        if rows == 1, weight.order != .lanes, Self.paddedCount(instruction.size) > instruction.size {
          let target = takePadded(instruction.size)
          paddedResults[instruction.node] = target
          if let bias = instruction.bias {
            let start = takePadded(instruction.size)
            start.update(from: bias, count: instruction.size)
            arguments.start = UnsafePointer(start)
          }
          arguments.output = target
          arguments.outputs = Self.paddedCount(instruction.size)
          if instruction.node == weights.instructions.count - 1 { paddedOutput = UnsafePointer(target) }
        }
        addProduct(arguments)
      case .recurrent:
        var layerInput = source
        for index in 0..<instruction.layerCount {
          let first = instruction.firstLayer + index
          guard let layer = fused.layers[first] else { continue }
          let own = weights.layers[first], scratch = workspace.scratch.0
          let target = workspace.layerResults[first] ?? result(instruction.node)
          var arguments = layer.arguments(
            steps: 1, rows: rows, x: scratch.gates, hidden: takeState(layer.layout), nextHidden: takeState(layer.layout),
            cell: takeState(layer.layout), scratch.fused)
          arguments.output = target
          arguments.outputRowStride = instruction.size
          if let panels = layer.inputPanels {
            arguments.x = layer.bias
            (arguments.inputDepth, arguments.inputOrder) = (own.inputSize, layer.inputOrder)
            (arguments.input, arguments.inputWeight, arguments.inputSums) = (layerInput, panels, scratch.gates)
          } else if let matrix = layer.inputWeight {
            addProduct(
              matrix.arguments(
                rows: rows, input: layerInput, inputRowStride: own.inputSize, start: layer.bias, startRowStride: 0,
                output: scratch.gates, outputRowStride: layer.layout.rowWidth))
          }
          let layout = instruction.direction(0), step = stepCount
          addStep(arguments, sums: memory.baseAddress + sums)
          states.append(
            FusedState(
              hidden: layout.hiddenPlace(layer: index, rows: rows), cell: layout.cellPlace(layer: index, rows: rows),
              size: own.hiddenSize, hasCell: own.cell.hasCellState, step: step))
          layerInput = UnsafePointer(target)
        }
      default: break
      }
    }
  }

  // MARK: - Stages

  /// Outputs in whole vectors, of which a packed matrix has all.
  private static func paddedCount(_ outputs: Int) -> Int {
    let width = Scalar.kernels.vectorWidth
    return (outputs + width - 1) / width * width
  }

  private func prepare(_ arguments: ProductArguments<Scalar>, readsInput: Bool, writesOutput: Bool) -> PreparedKernel {
    if readsInput { inputProducts.append(productCount) }
    if writesOutput { outputProducts.append(productCount) }
    let place = products.baseAddress + productCount
    productCount += 1
    place.initialize(to: arguments)
    return Scalar.kernels.product.prepared(place)
  }

  private func prepare(_ arguments: FusedArguments<Scalar>) -> PreparedKernel {
    if arguments.inputDepth > 0, arguments.input == input { inputSteps.append(stepCount) }
    if arguments.output == output { outputSteps.append(stepCount) }
    let place = steps.baseAddress + stepCount
    stepCount += 1
    place.initialize(to: arguments)
    return Scalar.kernels.fusedSequence.prepared(place)
  }

  private func addStage(_ parts: [PreparedKernel?], isShared: Bool) {
    let stage = sharedStep.baseAddress.pointee.stageCount
    for (part, call) in parts.enumerated() { stageCalls.baseAddress[stage * threadCount + part] = call }
    stageIsShared.baseAddress[stage] = isShared
    sharedStep.baseAddress.pointee.stageCount = stage + 1
  }

  private func addProduct(_ whole: ProductArguments<Scalar>) {
    let readsInput = whole.input == input, writesOutput = whole.output == output
    let call = prepare(whole, readsInput: readsInput, writesOutput: writesOutput)
    calls.baseAddress[callCount] = call
    callCount += 1
    guard threadCount > 1 else { return }
    let width = Scalar.kernels.panelWidth
    let size = whole.depth * whole.outputs * MemoryLayout<Scalar>.size
    guard whole.order != .lanes, size >= Self.sharedStageSize, whole.outputs >= width * threadCount else {
      return addStage([call] + Array(repeating: nil, count: threadCount - 1), isShared: false)
    }
    sharedSize += size
    sharedStep.baseAddress.pointee.patience = UInt64(50_000 + sharedSize / 8)
    addStage(
      (0..<threadCount).map { part in
        let own = slice(of: whole.outputs, part: part, parts: threadCount, unit: width)
        var arguments = whole
        arguments.outputs = own.count
        arguments.weight += own.lowerBound * whole.depth
        arguments.start = whole.start.map { $0 + own.lowerBound }
        arguments.output += own.lowerBound
        return prepare(arguments, readsInput: readsInput, writesOutput: writesOutput)
      }, isShared: true)
  }

  private func addStep(_ whole: FusedArguments<Scalar>, sums: UnsafeMutablePointer<Scalar>) {
    let call = prepare(whole)
    calls.baseAddress[callCount] = call
    callCount += 1
    guard threadCount > 1 else { return }
    let size =
      (whole.depth + whole.inputDepth) * whole.rows * whole.xRowStride * MemoryLayout<Scalar>.size / (whole.isBFloat16 ? 2 : 1)
    guard size >= Self.sharedStageSize, whole.sharedPanelCount >= threadCount else {
      return addStage([call] + Array(repeating: nil, count: threadCount - 1), isShared: false)
    }
    sharedSize += size
    sharedStep.baseAddress.pointee.patience = UInt64(50_000 + sharedSize / 8)
    for phase in whole.cellKind == .gruBefore ? [1, 2] : [3] as [UInt8] {
      addStage(
        (0..<threadCount).map { part in
          var arguments = whole.panels(part: part, parts: threadCount)
          arguments.phases = phase
          arguments.sums = sums + part * FusedArguments<Scalar>.sumCount
          return prepare(arguments)
        }, isShared: true)
    }
  }

  // MARK: - A step

  /// One step from the stream's input to its output. Must run inside `withNumericMode`.
  @inline(__always)
  func step() {
    if sharedSize == 0 { stepAlone() } else { stepShared() }
    if let paddedOutput { outputTarget.update(from: paddedOutput, count: outputCount) }
    var step = steps.baseAddress
    let last = step + stepCount
    while step < last {
      let hidden = step.pointee.hidden
      step.pointee.hidden = step.pointee.nextHidden
      step.pointee.nextHidden = hidden
      step.pointee.firstStep ^= 1
      step += 1
    }
  }

  @inline(__always)
  private func stepAlone() {
    var call = calls.baseAddress
    let end = call + callCount
    while call < end {
      call.pointee()
      call += 1
    }
  }

  /// With other threads, if they are awake or it is worth waiting for them. If they are not, they are called where the step before has only
  /// just ended, since then the next one will soon follow.
  private func stepShared() {
    let maySynchronize = ThreadPool.maySynchronize
    if maySynchronize, sharedSize >= Self.wakingSize || ThreadPool.isAwake(parts: threadCount),
      SharedStep.run(sharedStep.baseAddress)
    {
      return
    }
    if maySynchronize, ThreadPool.nanoseconds() &- lastStepAlone < ThreadPool.spinTime {
      ThreadPool.awaken(parts: threadCount) { stepAlone() }
    } else {
      stepAlone()
    }
    lastStepAlone = ThreadPool.nanoseconds()
  }

  /// Steps from and to memory of the caller, which lie one after the other. Must run inside `withNumericMode`.
  func process(
    stepCount: Int, _ features: UnsafePointer<Scalar>, featureCount: Int, _ results: UnsafeMutablePointer<Scalar>, resultCount: Int
  ) {
    let size = MemoryLayout<Scalar>.stride
    let toFeatures = Int(bitPattern: features) &- Int(bitPattern: input)
    let toResults = Int(bitPattern: results) &- Int(bitPattern: output)
    move(input: toFeatures, output: toResults)
    for _ in 0..<stepCount {
      step()
      move(input: featureCount &* size, output: resultCount &* size)
    }
    move(
      input: 0 &- toFeatures &- stepCount &* featureCount &* size, output: 0 &- toResults &- stepCount &* resultCount &* size)
  }

  /// Lets the calls read and write so many bytes further.
  private func move(input: Int, output: Int) {
    for i in inputProducts { products.baseAddress[i].input = shifted(products.baseAddress[i].input, input) }
    for i in inputSteps { steps.baseAddress[i].input = shifted(steps.baseAddress[i].input, input) }
    outputTarget = UnsafeMutablePointer(mutating: shifted(UnsafePointer(outputTarget), output))
    for i in outputProducts {
      products.baseAddress[i].output = UnsafeMutablePointer(mutating: shifted(UnsafePointer(products.baseAddress[i].output), output))
    }
    for i in outputSteps {
      steps.baseAddress[i].output = steps.baseAddress[i].output.map {
        UnsafeMutablePointer(mutating: shifted(UnsafePointer($0), output))
      }
    }
  }

  @inline(__always)
  private func shifted(_ pointer: UnsafePointer<Scalar>, _ bytes: Int) -> UnsafePointer<Scalar> {
    (UnsafeRawPointer(pointer) + bytes).assumingMemoryBound(to: Scalar.self)
  }

  // MARK: - State

  /// - Parameter state: All states of N rows.
  func load(_ state: UnsafePointer<Scalar>) {
    for own in states {
      let arguments = steps.baseAddress[own.step]
      for row in 0..<rows {
        (arguments.hidden + row * arguments.stateStride).update(from: state + own.hidden + row * own.size, count: own.size)
        if own.hasCell {
          (arguments.cell + row * arguments.stateStride).update(from: state + own.cell + row * own.size, count: own.size)
        }
      }
    }
  }

  func store(_ state: UnsafeMutablePointer<Scalar>) {
    for own in states {
      let arguments = steps.baseAddress[own.step]
      for row in 0..<rows {
        (state + own.hidden + row * own.size).update(from: arguments.hidden + row * arguments.stateStride, count: own.size)
        if own.hasCell {
          (state + own.cell + row * own.size).update(from: arguments.cell + row * arguments.stateStride, count: own.size)
        }
      }
    }
  }
}
