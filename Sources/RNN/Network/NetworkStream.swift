import RNNKernels

/// A network, a state and all memory of a step, made beforehand: for one step at a time in real time.
///
/// A step allocates nothing, takes no lock and makes no system call. It belongs to one thread at a time. It keeps the weights it
/// was made with, until `reset`.
public final class NetworkStream {
  public let network: Network
  /// N.
  public let batchSize: Int
  private let core: Core

  private enum Core {
    case float32(StreamCore<Float>)
    case float64(StreamCore<Double>)
  }

  public init(_ network: Network, batchSize: Int = 1) throws(RNNError) {
    let architecture = network.architecture
    guard architecture.isStreamable else {
      throw RNNError(
        .unsupported,
        """
        the network has a layer that reads backwards (bidirectional or reverse), a reversal or a first step, which need the whole \
        sequence: use run
        """)
    }
    self.network = network
    self.batchSize = batchSize
    switch architecture.dataType {
    case .float32: core = .float32(try StreamCore(network, batchSize: batchSize))
    case .float64: core = .float64(try StreamCore(network, batchSize: batchSize))
    }
    try warmUp()
  }

  /// Walks every real-time path once, with no steps: the Swift runtime looks up some types at their first use, which takes a
  /// lock and memory.
  private func warmUp() throws(RNNError) {
    let noTokens = UnsafeBufferPointer<Int64>(start: nil, count: 0)
    switch core {
    case .float32(let core):
      try process(stepCount: 0, features: .init(start: nil, count: 0), tokens: noTokens, output: core.output.buffer)
      core.output.baseAddress.update(repeating: 0, count: core.output.count)
    case .float64(let core):
      try process(stepCount: 0, features: .init(start: nil, count: 0), tokens: noTokens, output: core.output.buffer)
      core.output.baseAddress.update(repeating: 0, count: core.output.count)
    }
    var state = try network.makeState(batchSize: batchSize)
    try readState(into: &state)
    try writeState(state)
  }

  private func core<Scalar: KernelScalar>(_ type: Scalar.Type) throws(RNNError) -> StreamCore<Scalar> {
    switch core {
    case .float32(let core):
      if Scalar.self == Float.self { return unsafeDowncast(core, to: StreamCore<Scalar>.self) }
    case .float64(let core):
      if Scalar.self == Double.self { return unsafeDowncast(core, to: StreamCore<Scalar>.self) }
    }
    throw RNNError(
      .dtype, "the stream is \(network.architecture.dataType.rawValue), and the call is for \(Scalar.dataType.rawValue)")
  }

  /// The memory a step reads its features from, [N, input size]. Valid while the stream lives.
  public func input<Scalar: KernelScalar>(as type: Scalar.Type = Float.self) throws(RNNError) -> UnsafeMutableBufferPointer<Scalar> {
    try core(Scalar.self).input.buffer
  }

  /// The memory a step writes its result to, [N, output size].
  public func output<Scalar: KernelScalar>(as type: Scalar.Type = Float.self) throws(RNNError) -> UnsafeMutableBufferPointer<Scalar> {
    try core(Scalar.self).output.buffer
  }

  /// The memory a step reads its tokens from, [N, token inputs].
  public var tokens: UnsafeMutableBufferPointer<Int64> {
    switch core {
    case .float32(let core): core.tokens.buffer
    case .float64(let core): core.tokens.buffer
    }
  }

  /// One step from the bound input to the bound output.
  public func step() throws(RNNError) {
    switch core {
    case .float32(let core): try core.step()
    case .float64(let core): try core.step()
    }
  }

  /// T steps from and to memory of the caller, time-major.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func process<Scalar: KernelScalar>(
    stepCount: Int, features: UnsafeBufferPointer<Scalar>, tokens: UnsafeBufferPointer<Int64>,
    output: UnsafeMutableBufferPointer<Scalar>
  ) throws(RNNError) {
    let core = try core(Scalar.self)
    let checked = try CheckedSequence(
      network.architecture,
      SequenceInput(sequenceLength: stepCount, batchSize: batchSize, features: features, tokens: tokens),
      output: output, state: nil)
    core.process(checked)
  }

  /// Takes up the network's present weights, and sets the state to zero or the learned initial state.
  public func reset() throws(RNNError) {
    switch core {
    case .float32(let core): try core.reset(network)
    case .float64(let core): try core.reset(network)
    }
  }

  /// Copies the state out. Allocates nothing if `state` shares its memory with no other.
  public func readState(into state: inout NetworkState) throws(RNNError) {
    try state.check(network.architecture, batchSize: batchSize)
    switch core {
    case .float32(let core): core.readState(into: try state.mutableValues(Float.self))
    case .float64(let core): core.readState(into: try state.mutableValues(Double.self))
    }
  }

  public func writeState(_ state: NetworkState) throws(RNNError) {
    try state.check(network.architecture, batchSize: batchSize)
    switch core {
    case .float32(let core): core.writeState(state.values(Float.self))
    case .float64(let core): core.writeState(state.values(Double.self))
    }
  }
}

private final class StreamCore<Scalar: KernelScalar> {
  /// What belongs to one version of the weights; the memory of a step depends on sizes alone.
  private struct Version {
    let weights: Weights<Scalar>
    let fused: FusedWeights<Scalar>
    /// Prepared steps, for networks that a plan can express.
    let plan: StreamPlan<Scalar>?

    init(
      _ network: Network, _ workspace: Workspace<Scalar>, rows: Int, input: AlignedBuffer<Scalar>, output: AlignedBuffer<Scalar>
    ) throws(RNNError) {
      weights = try network.weights(Scalar.self)
      fused = try weights.fusedWeights()
      plan = try StreamPlan.make(
        weights, fused, workspace, rows: rows, input: input.baseAddress, output: output.baseAddress)
    }
  }

  private var version: Version
  private let workspace: Workspace<Scalar>
  private let batch: SequenceBatch
  /// All states of N rows, while the plan does not have them.
  private let state: AlignedBuffer<Scalar>
  private var planHasState = false
  let input: AlignedBuffer<Scalar>
  let output: AlignedBuffer<Scalar>
  let tokens: AlignedBuffer<Int64>

  init(_ network: Network, batchSize: Int) throws(RNNError) {
    let architecture = network.architecture
    guard batchSize >= 1 else { throw RNNError(.invalidArgument, "batch_size is \(batchSize), expected at least 1") }
    let weights = try network.weights(Scalar.self)
    workspace = try Workspace(weights, stepCount: 1, rowCount: batchSize, keepsTrace: false, usesThreads: false)
    batch = SequenceBatch(stepCount: 1, rowCount: batchSize, lengths: nil)
    func buffer<Element: BitwiseCopyable>(_ size: Int, _ type: Element.Type) throws(RNNError) -> AlignedBuffer<Element> {
      try makeBuffer(type, count: try checkedProduct(size, batchSize, of: "a stream"), for: "a stream")
    }
    state = try buffer(architecture.stateCount, Scalar.self)
    input = try buffer(architecture.inputSize, Scalar.self)
    output = try buffer(architecture.outputSize, Scalar.self)
    tokens = try buffer(architecture.tokenCount, Int64.self)
    version = try Version(network, workspace, rows: batchSize, input: input, output: output)
    version.weights.writeInitialState(state.baseAddress, rows: batchSize)
  }

  func step() throws(RNNError) {
    if let plan = version.plan {
      takeState(plan)
      withNumericMode { plan.step() }
      return
    }
    let architecture = version.weights.architecture
    let columns = architecture.tokenCount
    if columns > 0 {
      for place in 0..<tokens.count {
        let token = tokens.baseAddress[place], limit = architecture.vocabularySizes[place % columns]
        guard token >= 0, token < Int64(limit) else {
          throw RNNError(.invalidArgument, "token \(token) of row \(place / columns): expected 0 to \(limit - 1)")
        }
      }
    }
    withNumericMode { advance(input.baseAddress, tokens.baseAddress, output.baseAddress) }
  }

  @inline(__always)
  private func takeState(_ plan: StreamPlan<Scalar>) {
    guard !planHasState else { return }
    plan.load(state.baseAddress)
    planHasState = true
  }

  private func bringStateBack() {
    guard planHasState, let plan = version.plan else { return }
    plan.store(state.baseAddress)
    planHasState = false
  }

  func process(_ sequence: CheckedSequence<Scalar>) {
    bringStateBack()
    let architecture = version.weights.architecture
    withNumericMode {
      if sequence.stepCount == 0, architecture.hasSingleStepOutput {
        // The last step of nothing is zero, and the nodes after it have something to compute.
        version.weights.forward(
          SequenceBatch(stepCount: 0, rowCount: batch.rowCount, lengths: nil), PassInput(features: nil, tokens: nil),
          state: state.baseAddress, output: sequence.output, workspace: workspace, dropout: nil, fused: version.fused)
      }
      for t in 0..<sequence.stepCount {
        let row = t &* batch.rowCount
        let place = architecture.hasSingleStepOutput ? 0 : row &* architecture.outputSize
        advance(
          sequence.features.map { $0 + row &* architecture.inputSize },
          sequence.tokens.map { $0 + row &* architecture.tokenCount }, sequence.output + place)
      }
    }
  }

  @inline(__always)
  private func advance(
    _ features: UnsafePointer<Scalar>?, _ tokens: UnsafePointer<Int64>?, _ output: UnsafeMutablePointer<Scalar>
  ) {
    version.weights.forward(
      batch, PassInput(features: features, tokens: tokens), state: state.baseAddress, output: output,
      workspace: workspace, dropout: nil, fused: version.fused)
  }

  func reset(_ network: Network) throws(RNNError) {
    version = try Version(network, workspace, rows: batch.rowCount, input: input, output: output)
    planHasState = false
    version.weights.writeInitialState(state.baseAddress, rows: batch.rowCount)
  }

  func readState(into values: UnsafeMutablePointer<Scalar>) {
    bringStateBack()
    values.update(from: state.baseAddress, count: state.count)
  }

  func writeState(_ values: UnsafePointer<Scalar>) {
    planHasState = false
    state.baseAddress.update(from: values, count: state.count)
  }
}
