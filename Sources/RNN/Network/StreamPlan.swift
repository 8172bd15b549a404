import RNNKernels

/// One step of a stream as a list of kernel calls whose arguments are ready: what a step does is to make the calls.
///
/// For networks of inputs, recurrent layers with fused steps and linear layers. It has a state of its own, in the layout of the
/// kernels; `load` and `store` bring it in and out. The results have the bits of `Weights.forward`.
final class StreamPlan<Scalar: KernelScalar> {
  private struct FusedState {
    /// Places in the states of N rows, and H.
    let hidden, cell, size: Int
    let hasCell: Bool
  }

  private let calls: AlignedBuffer<PreparedKernel>
  private let products: AlignedBuffer<ProductArguments<Scalar>>
  private let steps: AlignedBuffer<FusedArguments<Scalar>>
  private var states: [FusedState] = []
  private let rows: Int
  private let memory: AlignedBuffer<Scalar>
  private let workspace: Workspace<Scalar>
  private let weights: Weights<Scalar>
  private let fused: FusedWeights<Scalar>

  /// nil if the network has something that a plan does not know.
  static func make(
    _ weights: Weights<Scalar>, _ fused: FusedWeights<Scalar>, _ workspace: Workspace<Scalar>, rows: Int,
    input: UnsafeMutablePointer<Scalar>, output: UnsafeMutablePointer<Scalar>
  ) throws(RNNError) -> StreamPlan? {
    for instruction in weights.instructions {
      switch instruction.kind {
      case .input:
        guard workspace.results[instruction.node] == nil else { return nil }
      case .recurrent:
        guard instruction.directionCount == 1, instruction.merge == .concat, !instruction.isResidual else { return nil }
        for layer in 0..<instruction.layerCount where fused.layers[instruction.firstLayer + layer] == nil { return nil }
      case .linear: break
      default: return nil
      }
    }
    // A network that is an input alone computes nothing.
    guard let last = weights.instructions.last, last.kind != .input else { return nil }
    return try StreamPlan(weights, fused, workspace, rows: rows, input: input, output: output)
  }

  private init(
    _ weights: Weights<Scalar>, _ fused: FusedWeights<Scalar>, _ workspace: Workspace<Scalar>, rows: Int,
    input: UnsafeMutablePointer<Scalar>, output: UnsafeMutablePointer<Scalar>
  ) throws(RNNError) {
    (self.weights, self.fused, self.workspace, self.rows) = (weights, fused, workspace, rows)
    let recurrent = weights.layers.count
    let linear = weights.instructions.count { $0.kind == .linear }
    products = try makeBuffer(ProductArguments<Scalar>.self, count: recurrent + linear, for: "a stream")
    steps = try makeBuffer(FusedArguments<Scalar>.self, count: recurrent, for: "a stream")
    calls = try makeBuffer(PreparedKernel.self, count: 2 * recurrent + linear, for: "a stream")
    var plan = MemoryPlan()
    for layer in fused.layers {
      guard let layer else { continue }
      for _ in 0..<3 { _ = try plan.reserve(try checkedProduct(rows, layer.layout.stateWidth, of: "the state of a layer")) }
    }
    memory = try makeBuffer(Scalar.self, count: plan.count, for: "a stream")

    let kernels = Scalar.kernels
    var states: [FusedState] = [], nextState = memory.baseAddress, productCount = 0, callCount = 0
    func call(_ kernel: PreparedKernel) {
      calls.baseAddress[callCount] = kernel
      callCount += 1
    }
    func product(
      _ matrix: PackedMatrix<Scalar>, _ source: UnsafePointer<Scalar>, sourceSize: Int, bias: UnsafePointer<Scalar>?,
      into target: UnsafeMutablePointer<Scalar>, stride: Int
    ) {
      let place = products.baseAddress + productCount
      productCount += 1
      place.initialize(
        to: matrix.arguments(
          rows: rows, input: source, inputRowStride: sourceSize, start: bias, startRowStride: 0, output: target,
          outputRowStride: stride))
      call(kernels.product.prepared(place))
    }
    func takeState(_ layout: FusedLayout) -> UnsafeMutablePointer<Scalar> {
      defer { nextState += (rows * layout.stateWidth + 15) & ~15 }
      return nextState
    }
    func result(_ node: Int) -> UnsafeMutablePointer<Scalar> {
      workspace.results[node] ?? (node == weights.instructions.count - 1 ? output : input)
    }
    for instruction in weights.instructions {
      let source = UnsafePointer(instruction.source >= 0 ? result(instruction.source) : input)
      switch instruction.kind {
      case .linear:
        guard let weight = instruction.weight else { continue }
        product(
          weight, source, sourceSize: instruction.sourceSize, bias: instruction.bias, into: result(instruction.node),
          stride: instruction.size)
      case .recurrent:
        var layerInput = source
        for index in 0..<instruction.layerCount {
          let first = instruction.firstLayer + index
          guard let layer = fused.layers[first] else { continue }
          let own = weights.layers[first], scratch = workspace.scratch.0
          let target = workspace.layerResults[first] ?? result(instruction.node)
          product(
            layer.inputWeight, layerInput, sourceSize: own.inputSize, bias: layer.bias, into: scratch.gates,
            stride: layer.layout.rowWidth)
          var arguments = layer.arguments(
            steps: 1, rows: rows, x: scratch.gates, hidden: takeState(layer.layout), nextHidden: takeState(layer.layout),
            cell: takeState(layer.layout), scratch.fused)
          arguments.output = target
          arguments.outputRowStride = instruction.size
          let place = steps.baseAddress + states.count
          place.initialize(to: arguments)
          call(kernels.fusedSequence.prepared(place))
          let layout = instruction.direction(0)
          states.append(
            FusedState(
              hidden: layout.hiddenPlace(layer: index, rows: rows), cell: layout.cellPlace(layer: index, rows: rows),
              size: own.hiddenSize, hasCell: own.cell.hasCellState))
          layerInput = UnsafePointer(target)
        }
      default: break
      }
    }
    self.states = states
  }

  /// One step from the stream's input to its output. Must run inside `withNumericMode`.
  @inline(__always)
  func step() {
    var call = calls.baseAddress
    let end = call + calls.count
    while call < end {
      call.pointee()
      call += 1
    }
    var step = steps.baseAddress
    let last = step + steps.count
    while step < last {
      let hidden = step.pointee.hidden
      step.pointee.hidden = step.pointee.nextHidden
      step.pointee.nextHidden = hidden
      step.pointee.firstStep ^= 1
      step += 1
    }
  }

  /// - Parameter state: All states of N rows.
  func load(_ state: UnsafePointer<Scalar>) {
    for (index, own) in states.enumerated() {
      let arguments = steps.baseAddress[index]
      for row in 0..<rows {
        (arguments.hidden + row * arguments.stateStride).update(from: state + own.hidden + row * own.size, count: own.size)
        if own.hasCell {
          (arguments.cell + row * arguments.stateStride).update(from: state + own.cell + row * own.size, count: own.size)
        }
      }
    }
  }

  func store(_ state: UnsafeMutablePointer<Scalar>) {
    for (index, own) in states.enumerated() {
      let arguments = steps.baseAddress[index]
      for row in 0..<rows {
        (state + own.hidden + row * own.size).update(from: arguments.hidden + row * arguments.stateStride, count: own.size)
        if own.hasCell {
          (state + own.cell + row * own.size).update(from: arguments.cell + row * arguments.stateStride, count: own.size)
        }
      }
    }
  }
}
