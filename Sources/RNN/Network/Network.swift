import RNNKernels
import Synchronization

/// A batch of sequences as a caller has it.
public struct SequenceInput<Scalar: KernelScalar> {
  /// T; 0 is an empty chunk.
  public var sequenceLength: Int
  /// N.
  public var batchSize: Int
  /// [T, N, input size], the feature inputs of the network side by side; empty if it has none.
  public var features: UnsafeBufferPointer<Scalar>
  /// [T, N, token inputs].
  public var tokens: UnsafeBufferPointer<Int64>
  /// [N]: row n ends after lengths[n] steps; nil: all have T.
  public var lengths: UnsafeBufferPointer<Int64>?
  /// [T, N], or nil: a step of a row where it is 0 is left out.
  public var mask: UnsafeBufferPointer<UInt8>?
  /// What the output holds at steps that a row does not have.
  public var padding = Padding.value(0)
  /// The final state of a row without any step is 0; otherwise its initial state.
  public var zeroesEmptyRows = false
  /// Features, tokens, mask and the output are [N, T, …].
  public var isBatchFirst: Bool

  public init(
    sequenceLength: Int, batchSize: Int = 1, features: UnsafeBufferPointer<Scalar> = .init(start: nil, count: 0),
    tokens: UnsafeBufferPointer<Int64> = .init(start: nil, count: 0), lengths: UnsafeBufferPointer<Int64>? = nil,
    mask: UnsafeBufferPointer<UInt8>? = nil, isBatchFirst: Bool = false
  ) {
    self.mask = mask
    self.sequenceLength = sequenceLength
    self.batchSize = batchSize
    self.features = features
    self.tokens = tokens
    self.lengths = lengths
    self.isBatchFirst = isBatchFirst
  }
}

/// A recurrent network: an architecture and its weights. Shared by any number of threads.
///
///     let network = try Network(contentsOf: path)
///     var state = try network.makeState(batchSize: 1)
///     let output = try network.run(input, state: &state)
public final class Network: Sendable {
  public let architecture: Architecture
  private let numbers: Numbers
  private let metadataEntries: Mutex<[String: String]>

  private enum Numbers: Sendable {
    case float32(Versions<Float>)
    case float64(Versions<Double>)
  }

  /// The present snapshot of the weights. Whoever takes it keeps it; setting parameters puts another in its place.
  private final class Versions<Scalar: KernelScalar>: Sendable {
    let current: Mutex<Weights<Scalar>>
    /// Setting is read, change, replace: one at a time.
    let writing = Mutex<Void>(())
    /// Of training passes.
    let passMemory = PassMemory<Scalar>()
    /// Of snapshots that were replaced. The first one never comes back: who sets parameters once keeps no second copy.
    let parameterMemory = PassMemory<Scalar>()
    init(_ weights: Weights<Scalar>) { current = Mutex(weights) }
  }

  // MARK: - Making

  /// A network with initial weights.
  public convenience init(_ architecture: Architecture, initialization: InitialWeights = InitialWeights()) throws(RNNError) {
    let saved = enterNumericMode()
    defer { leaveNumericMode(saved) }
    switch architecture.dataType {
    case .float32:
      try self.init(architecture, parameters: try initialization.parameters(of: architecture, as: Float.self), metadata: [:])
    case .float64:
      try self.init(architecture, parameters: try initialization.parameters(of: architecture, as: Double.self), metadata: [:])
    }
  }

  init<Scalar: KernelScalar>(
    _ architecture: Architecture, parameters: AlignedBuffer<Scalar>, metadata: [String: String]
  ) throws(RNNError) {
    try architecture.checkComplete()
    BLAS.prepare()
    self.architecture = architecture
    metadataEntries = Mutex(metadata)
    if let parameters = parameters as? AlignedBuffer<Float> {
      numbers = .float32(Versions(try Weights(architecture: architecture, parameters: parameters, packsNow: false)))
    } else if let parameters = parameters as? AlignedBuffer<Double> {
      numbers = .float64(Versions(try Weights(architecture: architecture, parameters: parameters, packsNow: false)))
    } else {
      throw RNNError(.dtype, "parameters are neither float32 nor float64")
    }
  }

  private func versions<Scalar: KernelScalar>(_ type: Scalar.Type) throws(RNNError) -> Versions<Scalar> {
    switch numbers {
    case .float32(let versions):
      if Scalar.self == Float.self { return unsafeDowncast(versions, to: Versions<Scalar>.self) }
    case .float64(let versions):
      if Scalar.self == Double.self { return unsafeDowncast(versions, to: Versions<Scalar>.self) }
    }
    throw RNNError(
      .dtype, "the network is \(architecture.dataType.rawValue), and the call is for \(Scalar.dataType.rawValue)")
  }

  /// The present snapshot, ready for a pass.
  func weights<Scalar: KernelScalar>(_ type: Scalar.Type) throws(RNNError) -> Weights<Scalar> {
    let weights = try unpackedWeights(type)
    weights.pack()
    return weights
  }

  /// The present snapshot, of which only the parameters may be read.
  func unpackedWeights<Scalar: KernelScalar>(_ type: Scalar.Type) throws(RNNError) -> Weights<Scalar> {
    try versions(type).current.withLock { $0 }
  }

  /// Memory of training passes, which go on using what the passes before them have left.
  func passMemory<Scalar: KernelScalar>(_ type: Scalar.Type) throws(RNNError) -> PassMemory<Scalar> {
    try versions(type).passMemory
  }

  // MARK: - Parameters

  /// Copies a parameter out, or all of them in order for nil.
  public func readParameter<Scalar: KernelScalar>(
    _ name: String? = nil, into target: UnsafeMutableBufferPointer<Scalar>
  ) throws(RNNError) {
    let weights = try unpackedWeights(Scalar.self)
    let (offset, count) = try parameterRange(name)
    guard target.count >= count else {
      throw RNNError(
        .bufferTooSmall,
        "values_count is \(target.count), and \(name.map { "parameter '\($0)' has" } ?? "the parameters have") \(count)")
    }
    target.baseAddress?.update(from: weights.parameters.baseAddress + offset, count: count)
  }

  /// Replaces a parameter, or all of them for nil. Calls in flight, streams and tapes keep the weights they have.
  public func writeParameter<Scalar: KernelScalar>(
    _ name: String? = nil, from source: UnsafeBufferPointer<Scalar>
  ) throws(RNNError) {
    let versions = try versions(Scalar.self)
    let (offset, count) = try parameterRange(name)
    guard source.count == count, let values = source.baseAddress else {
      throw RNNError(
        .shape,
        "values_count is \(source.count), and \(name.map { "parameter '\($0)' has" } ?? "the parameters have") \(count)")
    }
    nonisolated(unsafe) let from = values
    let result = versions.writing.withLock { _ -> Result<Void, RNNError> in
      do throws(RNNError) {
        let old = versions.current.withLock { $0 }
        let loan = try versions.parameterMemory.lend(count: architecture.parameterCount, for: "the parameters")
        let target = loan.baseAddress
        if count != architecture.parameterCount {
          copyOnThreads(old.parameters.baseAddress, to: target, count: architecture.parameterCount)
        }
        copyOnThreads(from, to: target + offset, count: count)
        let new = try Weights(architecture: architecture, parameters: loan.buffer, loan: loan, packsNow: false)
        versions.current.withLock { $0 = new }
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    try result.get()
  }

  /// Replaces all parameters with those of a network of the same parameters: what a trainer does after its steps.
  func writeParameters<Scalar: KernelScalar>(of weights: Weights<Scalar>) throws(RNNError) {
    guard architecture.parameters == weights.architecture.parameters else {
      throw RNNError(.shape, "the network has other parameters than the trainer")
    }
    guard architecture.parameterCount > 0 else { return }
    try writeParameter(from: UnsafeBufferPointer(weights.parameters.buffer))
  }

  private func parameterRange(_ name: String?) throws(RNNError) -> (offset: Int, count: Int) {
    guard let name else { return (0, architecture.parameterCount) }
    guard let entry = architecture.parameter(named: name) else {
      throw RNNError(.notFound, "the network has no parameter \(quoted(name))")
    }
    return (entry.offset, entry.count)
  }

  // MARK: - Metadata

  /// What the maker stored with the network: vocabulary, scaling, class names, sample rate.
  public var metadata: [String: String] { metadataEntries.withLock { $0 } }

  /// - Parameter value: nil removes the entry.
  public func setMetadata(_ key: String, to value: String?) throws(RNNError) {
    try ModelFile.checkMetadata(key: key, value: value)
    metadataEntries.withLock { $0[key] = value }
  }

  // MARK: - Running

  /// A state of zeros, or of the learned initial state.
  public func makeState(batchSize: Int = 1) throws(RNNError) -> NetworkState {
    var state = try NetworkState(architecture, batchSize: batchSize)
    if architecture.learnsInitialState {
      switch numbers {
      case .float32(let versions): try state.begin(with: versions.current.withLock { $0 })
      case .float64(let versions): try state.begin(with: versions.current.withLock { $0 })
      }
    }
    return state
  }

  /// The memory of the state that a pass begins with: of the caller's state, or of `temporary`. A state that is still the
  /// initial one is filled from these weights.
  private func beginState<Scalar: KernelScalar>(
    _ state: inout NetworkState?, temporary: inout NetworkState?, rows: Int, _ weights: Weights<Scalar>
  ) throws(RNNError) -> (values: UnsafeMutablePointer<Scalar>, isLearned: Bool) {
    let isInitial = state?.isInitial ?? true
    // `??` would forget the type of the error.
    let values: UnsafeMutablePointer<Scalar>
    if let given = try state?.mutableValues(Scalar.self) {
      values = given
    } else {
      var made = try NetworkState(architecture, batchSize: rows)
      values = try made.mutableValues(Scalar.self)
      temporary = made
    }
    let isLearned = isInitial && architecture.learnsInitialState
    if isLearned { weights.writeInitialState(values, rows: rows) }
    return (values, isLearned)
  }

  /// Runs the network over a batch of sequences.
  ///
  /// - Parameters:
  ///   - state: The initial state, replaced by the final one; nil begins with zeros.
  ///   - output: [T, N, O], or [N, O] where ``Architecture/hasSingleStepOutput``.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func run<Scalar: KernelScalar>(
    _ input: SequenceInput<Scalar>, state: inout NetworkState?, output: UnsafeMutableBufferPointer<Scalar>
  ) throws(RNNError) {
    let weights = try weights(Scalar.self)
    let checked = try CheckedSequence(architecture, input, output: output, state: state)
    var temporary: NetworkState?
    try run(checked, weights) { () throws(RNNError) in
      try beginState(&state, temporary: &temporary, rows: input.batchSize, weights).values
    }
    withExtendedLifetime(temporary) {}
  }

  /// The same with the states as arrays of the caller: all of a state's values in order, each array [L·D, N, H].
  ///
  /// - Parameters:
  ///   - initialState: nil begins with zeros, or with the learned initial state.
  ///   - finalState: Receives the state after each row's last step; nil drops it. May be the memory of `initialState`.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func run<Scalar: KernelScalar>(
    _ input: SequenceInput<Scalar>, initialState: UnsafeBufferPointer<Scalar>?,
    finalState: UnsafeMutableBufferPointer<Scalar>?, output: UnsafeMutableBufferPointer<Scalar>
  ) throws(RNNError) {
    let weights = try weights(Scalar.self)
    let checked = try CheckedSequence(architecture, input, output: output, state: nil)
    let rows = checked.rowCount
    let count = try checkedProduct(architecture.stateCount, rows, of: "the state")
    func check(_ given: Int, _ name: String) throws(RNNError) {
      guard given >= count else {
        throw RNNError(
          .bufferTooSmall, "\(name)_count is \(given), expected at least \(count) = N*\(architecture.stateCount)")
      }
    }
    if let initialState { try check(initialState.count, "initial_state") }
    if let finalState { try check(finalState.count, "final_state") }
    var temporary: AlignedBuffer<Scalar>?
    try run(checked, weights) { () throws(RNNError) in
      let values: UnsafeMutablePointer<Scalar>
      if let memory = finalState?.baseAddress {
        values = memory
      } else {
        let memory = try makeBuffer(Scalar.self, count: count, for: "the state of \(rows) rows")
        values = memory.baseAddress
        temporary = memory
      }
      if let initial = initialState?.baseAddress {
        if initial != UnsafePointer(values) { values.update(from: initial, count: count) }
      } else {
        weights.writeInitialState(values, rows: rows)
      }
      return values
    }
    withExtendedLifetime(temporary) {}
  }

  /// A checked run.
  ///
  /// - Parameter begin: Gives the memory of the state, filled with the initial one. Called when nothing else can fail: what it
  ///   returns becomes the final state.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  private func run<Scalar: KernelScalar>(
    _ checked: CheckedSequence<Scalar>, _ weights: Weights<Scalar>,
    begin: () throws(RNNError) -> UnsafeMutablePointer<Scalar>
  ) throws(RNNError) {
    let (stepCount, rowCount) = (checked.stepCount, checked.rowCount)
    // Chunks of steps keep the memory small and the gates in the cache; by the contract they change no bit.
    let rowsPerChunk = 2048
    let steps = architecture.isStreamable ? max(1, min(stepCount, rowsPerChunk / rowCount)) : stepCount
    // Memory of chunks is kept for the next call; that of long sequences at once is not.
    let reserve = steps * rowCount <= 2 * rowsPerChunk ? try passMemory(Scalar.self) : PassMemory()
    let workspace = try Workspace(weights, stepCount: steps, rowCount: rowCount, keepsTrace: false, reserve: reserve)
    let fused = try weights.fusedWeights()
    let values = try begin()
    withNumericMode {
      var first = 0
      repeat {
        let count = min(steps, stepCount - first)
        let rows = first * rowCount
        let batch = SequenceBatch(
          stepCount: count, rowCount: rowCount, lengths: checked.lengths, mask: checked.mask, firstStep: first)
        let chunk = PassInput(
          features: checked.features.map { $0 + rows * architecture.inputSize },
          tokens: checked.tokens.map { $0 + rows * architecture.tokenCount })
        let place = architecture.hasSingleStepOutput ? 0 : rows * architecture.outputSize
        weights.forward(
          batch, chunk, state: values, output: checked.output + place, workspace: workspace, dropout: nil, fused: fused)
        first += count
      } while first < stepCount
      checked.finish(architecture, state: values)
    }
  }

  /// As `run`, with dropout, and keeps what `backward` needs.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func forwardTrain<Scalar: KernelScalar>(
    _ input: SequenceInput<Scalar>, state: inout NetworkState?, output: UnsafeMutableBufferPointer<Scalar>,
    dropout: DropoutKey = DropoutKey()
  ) throws(RNNError) -> Tape {
    let weights = try weights(Scalar.self)
    let checked = try CheckedSequence(architecture, input, output: output, state: state)
    let isLearned = (state?.isInitial ?? true) && architecture.learnsInitialState
    let trace = try TapeContents(
      weights, checked, dropout, beganWithLearnedState: isLearned, reserve: try passMemory(Scalar.self))
    var temporary: NetworkState?
    let values = try beginState(&state, temporary: &temporary, rows: input.batchSize, weights).values
    withNumericMode {
      weights.forward(
        trace.batch, PassInput(features: checked.features, tokens: checked.tokens), state: values,
        output: checked.output, workspace: trace.workspace, dropout: dropout)
      checked.finish(architecture, state: values)
    }
    withExtendedLifetime(temporary) {}
    return Tape(trace, isBatchFirst: input.isBatchFirst, network: self)
  }
}

extension Network {
  /// Runs the network over one or more sequences from an array, time-major.
  ///
  /// - Parameters:
  ///   - input: [T, N, input size]; T follows from its count.
  ///   - state: Replaced by the final state; N is its batch size.
  /// - Returns: [T, N, O], or [N, O] where ``Architecture/hasSingleStepOutput``.
  public func run<Scalar: KernelScalar>(_ input: [Scalar], state: inout NetworkState) throws(RNNError) -> [Scalar] {
    let n = state.batchSize
    let width = try checkedProduct(n, architecture.inputSize, of: "a step")
    guard width > 0, architecture.tokenCount == 0 else {
      throw RNNError(.invalidArgument, "the network reads tokens: use run(tokens:state:)")
    }
    guard input.count % width == 0 else {
      throw RNNError(
        .shape, "input has \(input.count) elements, expected a multiple of N * \(architecture.inputSize) = \(width)")
    }
    return try run(features: input, tokens: [], stepCount: input.count / width, state: &state)
  }

  /// The same from tokens, [T, N, token inputs].
  public func run<Scalar: KernelScalar>(
    tokens: [Int64], state: inout NetworkState, as type: Scalar.Type = Float.self
  ) throws(RNNError) -> [Scalar] {
    let width = try checkedProduct(state.batchSize, architecture.tokenCount, of: "a step")
    guard width > 0, architecture.inputSize == 0 else {
      throw RNNError(.invalidArgument, "the network reads features: use run(_:state:)")
    }
    guard tokens.count % width == 0 else {
      throw RNNError(
        .shape, "tokens has \(tokens.count) elements, expected a multiple of N * \(architecture.tokenCount) = \(width)")
    }
    return try run(features: [Scalar](), tokens: tokens, stepCount: tokens.count / width, state: &state)
  }

  private func run<Scalar: KernelScalar>(
    features: [Scalar], tokens: [Int64], stepCount: Int, state: inout NetworkState
  ) throws(RNNError) -> [Scalar] {
    let rows = architecture.hasSingleStepOutput ? state.batchSize : stepCount * state.batchSize
    var output = [Scalar](repeating: 0, count: try checkedProduct(rows, architecture.outputSize, of: "output"))
    var optional: NetworkState? = state
    state = try makeState(batchSize: state.batchSize)
    defer { if let final = optional { state = final } }
    let result = output.withUnsafeMutableBufferPointer { output in
      features.withUnsafeBufferPointer { features in
        tokens.withUnsafeBufferPointer { tokens -> Result<Void, RNNError> in
          do throws(RNNError) {
            let input = SequenceInput(
              sequenceLength: stepCount, batchSize: optional?.batchSize ?? 1, features: features, tokens: tokens)
            try run(input, state: &optional, output: output)
            return .success(())
          } catch {
            return .failure(error)
          }
        }
      }
    }
    try result.get()
    return output
  }
}
