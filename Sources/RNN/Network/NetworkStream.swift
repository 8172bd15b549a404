import RNNKernels

/// A network, a state and all memory of a step, made beforehand: for one step at a time in real time.
///
/// A step allocates nothing, takes no lock and makes no system call; on several threads it does wait for them, and may wake them. It
/// belongs to one thread at a time. It keeps the weights it was made with, until `reset`.
public final class NetworkStream {
  /// How a stream keeps the weights of recurrent layers.
  public enum WeightStorage: Sendable {
    /// As they are.
    case full
    /// Rounded to the nearest bfloat16: half the bytes, for one row whose weights exceed the cache. A relative error of at most
    /// 2⁻⁹ of each weight; sums and state stay float32.
    case bfloat16
  }

  public let network: Network
  /// N.
  public let batchSize: Int
  private let core: Core
  /// That of `core`, which keeps it, of one type: counting references takes as long as half a small step.
  private let float32: Unmanaged<StreamCore<Float>>?
  private let float64: Unmanaged<StreamCore<Double>>?

  private enum Core {
    case float32(StreamCore<Float>)
    case float64(StreamCore<Double>)
  }

  /// - Parameters:
  ///   - batchSize: N.
  ///   - threadCount: Threads that a step may use. It uses them where its layers' weights are large enough, and are known to fused
  ///     steps; the results have the same bits. Between two steps they wait for some 20 µs, and then sleep.
  ///   - weightStorage: `bfloat16` is for one row and float32, and for networks of inputs, recurrent layers without options and
  ///     linear layers.
  public init(
    _ network: Network, batchSize: Int = 1, threadCount: Int = 1, weightStorage: WeightStorage = .full
  ) throws(RNNError) {
    let architecture = network.architecture
    guard (1...ThreadPool.largestCount).contains(threadCount) else {
      throw RNNError(.invalidArgument, "num_threads is \(threadCount), expected 1 to \(ThreadPool.largestCount)")
    }
    if weightStorage == .bfloat16, batchSize != 1 {
      throw RNNError(.unsupported, "weights are stored as bfloat16 for one row at a time, and batch_size is \(batchSize)")
    }
    if weightStorage == .bfloat16, architecture.dataType != .float32 {
      throw RNNError(
        .unsupported, "weights are stored as bfloat16 in float32 networks, and this one is \(architecture.dataType.rawValue)")
    }
    let form = StreamForm(rows: batchSize, threadCount: threadCount, isBFloat16: weightStorage == .bfloat16)
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
    case .float32:
      let own = try StreamCore<Float>(network, form)
      (core, float32, float64) = (.float32(own), Unmanaged.passUnretained(own), nil)
    case .float64:
      let own = try StreamCore<Double>(network, form)
      (core, float32, float64) = (.float64(own), nil, Unmanaged.passUnretained(own))
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
    if stepPrepared() { return }
    switch core {
    case .float32(let core): try core.stepGeneral()
    case .float64(let core): try core.stepGeneral()
    }
  }

  /// The same of networks whose steps are prepared, of inputs, recurrent layers without options and linear layers; false, and nothing is
  /// done, for others.
  public func stepPrepared() -> Bool {
    if let float32 { return float32._withUnsafeGuaranteedRef { $0.stepPrepared() } }
    if let float64 { return float64._withUnsafeGuaranteedRef { $0.stepPrepared() } }
    return false
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

private struct StreamForm {
  let rows, threadCount: Int
  let isBFloat16: Bool
}

private final class StreamCore<Scalar: KernelScalar> {
  /// What belongs to one version of the weights; the memory of a step depends on sizes alone.
  private enum Version {
    /// Prepared steps, for networks that a plan can express.
    case prepared(StreamPlan<Scalar>, Weights<Scalar>)
    case general(Weights<Scalar>, FusedWeights<Scalar>)

    init(
      _ network: Network, _ workspace: Workspace<Scalar>, _ form: StreamForm, input: AlignedBuffer<Scalar>,
      output: AlignedBuffer<Scalar>
    ) throws(RNNError) {
      let weights = try network.weights(Scalar.self)
      let plan = try StreamPlan.make(
        weights, workspace, rows: form.rows, threadCount: form.threadCount, isBFloat16: form.isBFloat16,
        input: input.baseAddress, output: output.baseAddress)
      if let plan {
        self = .prepared(plan, weights)
        return
      }
      guard !form.isBFloat16 else {
        throw RNNError(
          .unsupported,
          """
          weights are stored as bfloat16 in networks of one input, recurrent layers of one direction without options, and linear layers
          """)
      }
      self = .general(weights, try weights.fusedWeights())
    }

    var plan: Unmanaged<StreamPlan<Scalar>>? {
      if case .prepared(let plan, _) = self { Unmanaged.passUnretained(plan) } else { nil }
    }

    var weights: Weights<Scalar> {
      switch self {
      case .prepared(_, let weights), .general(let weights, _): weights
      }
    }
  }

  private var version: Version {
    didSet { plan = version.plan }
  }
  /// That of `version`, which keeps it: a step has no time to count references.
  private var plan: Unmanaged<StreamPlan<Scalar>>?
  private let form: StreamForm
  private let workspace: Workspace<Scalar>
  private let batch: SequenceBatch
  /// All states of N rows, while a plan does not have them.
  private let state: AlignedBuffer<Scalar>
  let input: AlignedBuffer<Scalar>
  let output: AlignedBuffer<Scalar>
  let tokens: AlignedBuffer<Int64>

  init(_ network: Network, _ form: StreamForm) throws(RNNError) {
    let architecture = network.architecture
    let rows = form.rows
    guard rows >= 1 else { throw RNNError(.invalidArgument, "batch_size is \(rows), expected at least 1") }
    self.form = form
    let weights = try network.weights(Scalar.self)
    workspace = try Workspace(weights, stepCount: 1, rowCount: rows, keepsTrace: false, usesThreads: false)
    batch = SequenceBatch(stepCount: 1, rowCount: rows, lengths: nil)
    func buffer<Element: BitwiseCopyable>(_ size: Int, _ type: Element.Type) throws(RNNError) -> AlignedBuffer<Element> {
      try makeBuffer(type, count: try checkedProduct(size, rows, of: "a stream"), for: "a stream")
    }
    state = try buffer(architecture.stateCount, Scalar.self)
    input = try buffer(architecture.inputSize, Scalar.self)
    output = try buffer(architecture.outputSize, Scalar.self)
    tokens = try buffer(architecture.tokenCount, Int64.self)
    version = try Version(network, workspace, form, input: input, output: output)
    plan = version.plan
    begin()
  }

  /// The state before the first step.
  private func begin() {
    version.weights.writeInitialState(state.baseAddress, rows: form.rows)
    if case .prepared(let plan, _) = version { plan.load(state.baseAddress) }
  }

  @inline(__always)
  func stepPrepared() -> Bool {
    guard let plan else { return false }
    let mode = enterNumericMode()
    plan._withUnsafeGuaranteedRef { $0.step() }
    leaveNumericMode(mode)
    return true
  }

  func stepGeneral() throws(RNNError) {
    guard case .general(let weights, let fused) = version else { return }
    let architecture = weights.architecture
    let columns = architecture.tokenCount
    if columns > 0 {
      for place in 0..<tokens.count {
        let token = tokens.baseAddress[place], limit = architecture.vocabularySizes[place % columns]
        guard token >= 0, token < Int64(limit) else {
          throw RNNError(.invalidArgument, "token \(token) of row \(place / columns): expected 0 to \(limit - 1)")
        }
      }
    }
    withNumericMode {
      weights.forward(
        batch, PassInput(features: input.baseAddress, tokens: tokens.baseAddress), state: state.baseAddress,
        output: output.baseAddress, workspace: workspace, dropout: nil, fused: fused)
    }
  }

  func process(_ sequence: CheckedSequence<Scalar>) {
    switch version {
    case .prepared(let plan, _):
      guard let features = sequence.features else { return }
      withNumericMode {
        plan.process(
          stepCount: sequence.stepCount, features, featureCount: input.count, sequence.output, resultCount: output.count)
      }
    case .general(let weights, let fused):
      let architecture = weights.architecture
      withNumericMode {
        if sequence.stepCount == 0, architecture.hasSingleStepOutput {
          // The last step of nothing is zero, and the nodes after it have something to compute.
          weights.forward(
            SequenceBatch(stepCount: 0, rowCount: batch.rowCount, lengths: nil), PassInput(features: nil, tokens: nil),
            state: state.baseAddress, output: sequence.output, workspace: workspace, dropout: nil, fused: fused)
        }
        for t in 0..<sequence.stepCount {
          let row = t &* batch.rowCount
          let place = architecture.hasSingleStepOutput ? 0 : row &* architecture.outputSize
          weights.forward(
            batch,
            PassInput(
              features: sequence.features.map { $0 + row &* architecture.inputSize },
              tokens: sequence.tokens.map { $0 + row &* architecture.tokenCount }),
            state: state.baseAddress, output: sequence.output + place, workspace: workspace, dropout: nil, fused: fused)
        }
      }
    }
  }

  func reset(_ network: Network) throws(RNNError) {
    version = try Version(network, workspace, form, input: input, output: output)
    begin()
  }

  func readState(into values: UnsafeMutablePointer<Scalar>) {
    if case .prepared(let plan, _) = version { plan.store(state.baseAddress) }
    values.update(from: state.baseAddress, count: state.count)
  }

  func writeState(_ values: UnsafePointer<Scalar>) {
    state.baseAddress.update(from: values, count: state.count)
    if case .prepared(let plan, _) = version { plan.load(state.baseAddress) }
  }
}
