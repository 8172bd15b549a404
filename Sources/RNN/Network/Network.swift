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
  /// Features, tokens and the output are [N, T, …].
  public var isBatchFirst: Bool

  public init(
    sequenceLength: Int, batchSize: Int = 1, features: UnsafeBufferPointer<Scalar> = .init(start: nil, count: 0),
    tokens: UnsafeBufferPointer<Int64> = .init(start: nil, count: 0), lengths: UnsafeBufferPointer<Int64>? = nil,
    isBatchFirst: Bool = false
  ) {
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
      numbers = .float32(Versions(try Weights(architecture: architecture, parameters: parameters)))
    } else if let parameters = parameters as? AlignedBuffer<Double> {
      numbers = .float64(Versions(try Weights(architecture: architecture, parameters: parameters)))
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

  func weights<Scalar: KernelScalar>(_ type: Scalar.Type) throws(RNNError) -> Weights<Scalar> {
    try versions(type).current.withLock { $0 }
  }

  // MARK: - Parameters

  /// Copies a parameter out, or all of them in order for nil.
  public func readParameter<Scalar: KernelScalar>(
    _ name: String? = nil, into target: UnsafeMutableBufferPointer<Scalar>
  ) throws(RNNError) {
    let weights = try weights(Scalar.self)
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
        let buffer = try makeBuffer(Scalar.self, count: architecture.parameterCount, for: "the parameters")
        if count != architecture.parameterCount {
          buffer.baseAddress.update(from: old.parameters.baseAddress, count: architecture.parameterCount)
        }
        (buffer.baseAddress + offset).update(from: from, count: count)
        let new = try withNumericMode { () throws(RNNError) in
          try Weights(architecture: architecture, parameters: buffer)
        }
        versions.current.withLock { $0 = new }
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    try result.get()
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

  /// A state of zeros.
  public func makeState(batchSize: Int = 1) throws(RNNError) -> NetworkState {
    try NetworkState(architecture, batchSize: batchSize)
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
    // Chunks of steps keep the memory small and the gates in the cache; by the contract they change no bit.
    let rowsPerChunk = 1024
    let steps =
      architecture.isStreamable
      ? max(1, min(input.sequenceLength, rowsPerChunk / input.batchSize)) : input.sequenceLength
    let workspace = try Workspace(weights, stepCount: steps, rowCount: input.batchSize, keepsTrace: false)
    var temporary = try makeState(batchSize: state == nil ? input.batchSize : 1)
    // `??` would forget the type of the error.
    let values = if let given = try state?.mutableValues(Scalar.self) { given } else { try temporary.mutableValues(Scalar.self) }
    withNumericMode {
      var first = 0
      repeat {
        let count = min(steps, input.sequenceLength - first)
        let rows = first * input.batchSize
        let batch = SequenceBatch(
          stepCount: count, rowCount: input.batchSize, lengths: checked.lengths, firstStep: first)
        let chunk = PassInput(
          features: checked.features.map { $0 + rows * architecture.inputSize },
          tokens: checked.tokens.map { $0 + rows * architecture.tokenCount })
        let place = architecture.hasSingleStepOutput ? 0 : rows * architecture.outputSize
        weights.forward(
          batch, chunk, state: values, output: checked.output + place, workspace: workspace, dropout: nil)
        first += count
      } while first < input.sequenceLength
      checked.finish()
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
    let trace = try TapeContents(weights, checked, dropout)
    var temporary = try makeState(batchSize: state == nil ? input.batchSize : 1)
    // `??` would forget the type of the error.
    let values = if let given = try state?.mutableValues(Scalar.self) { given } else { try temporary.mutableValues(Scalar.self) }
    withNumericMode {
      weights.forward(
        trace.batch, PassInput(features: checked.features, tokens: checked.tokens), state: values,
        output: checked.output, workspace: trace.workspace, dropout: dropout)
      checked.finish()
    }
    return Tape(trace, isBatchFirst: input.isBatchFirst, network: self)
  }
}

/// A caller's sequence after every check, time-major; the caller's own memory where that is possible.
struct CheckedSequence<Scalar: KernelScalar> {
  let stepCount, rowCount: Int
  let features: UnsafePointer<Scalar>?
  let tokens: UnsafePointer<Int64>?
  let lengths: UnsafePointer<Int64>?
  /// Where the passes write.
  let output: UnsafeMutablePointer<Scalar>
  private let callersOutput: UnsafeMutablePointer<Scalar>
  private let outputSize: Int
  private let copies: (AlignedBuffer<Scalar>?, AlignedBuffer<Int64>?, AlignedBuffer<Scalar>?)

  init(
    _ architecture: Architecture, _ input: SequenceInput<Scalar>, output: UnsafeMutableBufferPointer<Scalar>,
    state: NetworkState?
  ) throws(RNNError) {
    let (t, n) = (input.sequenceLength, input.batchSize)
    guard t >= 0 else { throw RNNError(.invalidArgument, "T is \(UInt(bitPattern: t)), which is too large") }
    guard n >= 1 else {
      throw RNNError(.invalidArgument, "N is \(n == 0 ? "0, expected at least 1" : "\(UInt(bitPattern: n)), which is too large")")
    }
    stepCount = t
    rowCount = n
    let cells = try checkedProduct(t, n, of: "T and N")
    let featureCount = try checkedProduct(cells, architecture.inputSize, of: "input")
    let features = try present(input.features, count: featureCount, named: "input", shape: "T*N*\(architecture.inputSize)")
    let tokenCount = try checkedProduct(cells, architecture.tokenCount, of: "tokens")
    let tokens = try present(input.tokens, count: tokenCount, named: "tokens", shape: "T*N*\(architecture.tokenCount)")
    let rows = architecture.hasSingleStepOutput ? n : cells
    let outputCount = try checkedProduct(rows, architecture.outputSize, of: "output")
    guard output.count >= outputCount else {
      throw RNNError(
        .bufferTooSmall,
        "output_count is \(output.count), expected at least \(outputCount) = \(rows == n && architecture.hasSingleStepOutput ? "N" : "T*N")*\(architecture.outputSize)")
    }
    if let lengths = input.lengths {
      guard lengths.count >= n else {
        throw RNNError(.bufferTooSmall, "lengths_count is \(lengths.count), expected at least N = \(n)")
      }
      for row in 0..<n where lengths[row] < 0 || lengths[row] > Int64(t) {
        throw RNNError(.invalidArgument, "lengths[\(row)] is \(lengths[row]), expected 0 to T = \(t)")
      }
    }
    lengths = input.lengths?.baseAddress
    if let state { try state.check(architecture, batchSize: n) }
    try Self.checkTokens(architecture, tokens, input)
    // Something to point at, for an empty output.
    guard let outputBase = output.baseAddress ?? UnsafeMutablePointer(bitPattern: 64) else {
      throw RNNError(.invalidArgument, "output is NULL")
    }
    callersOutput = outputBase
    outputSize = architecture.outputSize

    guard input.isBatchFirst, t > 0 else {
      self.features = features
      self.tokens = tokens
      self.output = outputBase
      copies = (nil, nil, nil)
      return
    }
    var featureCopy: AlignedBuffer<Scalar>?, tokenCopy: AlignedBuffer<Int64>?, outputCopy: AlignedBuffer<Scalar>?
    if let features {
      let copy = try makeBuffer(Scalar.self, count: featureCount, for: "input in time-major order")
      transposeLeading(features, copy.baseAddress, first: n, second: t, width: architecture.inputSize)
      featureCopy = copy
    }
    if let tokens {
      let copy = try makeBuffer(Int64.self, count: tokenCount, for: "tokens in time-major order")
      transposeLeading(tokens, copy.baseAddress, first: n, second: t, width: architecture.tokenCount)
      tokenCopy = copy
    }
    if !architecture.hasSingleStepOutput {
      outputCopy = try makeBuffer(Scalar.self, count: outputCount, for: "output in time-major order")
    }
    self.features = featureCopy.map { UnsafePointer($0.baseAddress) }
    self.tokens = tokenCopy.map { UnsafePointer($0.baseAddress) }
    self.output = outputCopy?.baseAddress ?? outputBase
    copies = (featureCopy, tokenCopy, outputCopy)
  }

  /// Brings the output into the caller's layout.
  func finish() {
    guard copies.2 != nil else { return }
    transposeLeading(UnsafePointer(output), callersOutput, first: stepCount, second: rowCount, width: outputSize)
  }

  private static func checkTokens(
    _ architecture: Architecture, _ tokens: UnsafePointer<Int64>?, _ input: SequenceInput<Scalar>
  ) throws(RNNError) {
    guard let tokens else { return }
    let (t, n, columns) = (input.sequenceLength, input.batchSize, architecture.tokenCount)
    for column in 0..<columns {
      let limit = architecture.vocabularySizes[column]
      for row in 0..<n {
        // Tokens past the end of a row are not read.
        let length = input.lengths.map { Int($0[row]) } ?? t
        for step in 0..<length {
          let place = (input.isBatchFirst ? row * t + step : step * n + row) * columns + column
          guard tokens[place] >= 0, tokens[place] < Int64(limit) else {
            throw RNNError(
              .invalidArgument,
              "token \(tokens[place]) at step \(step) of row \(row): expected 0 to \(limit - 1)")
          }
        }
      }
    }
  }
}

/// An array that must have `count` elements; nil if none are needed.
func present<Element>(
  _ array: UnsafeBufferPointer<Element>, count: Int, named name: String, shape: @autoclosure () -> String
) throws(RNNError) -> UnsafePointer<Element>? {
  guard count > 0 else { return nil }
  guard let base = array.baseAddress else {
    throw RNNError(.invalidArgument, "\(name) is NULL, expected \(count) = \(shape()) elements")
  }
  guard array.count >= count else {
    throw RNNError(.bufferTooSmall, "\(name)_count is \(array.count), expected at least \(count) = \(shape())")
  }
  return base
}

/// [first, second, width] to [second, first, width].
func transposeLeading<Element: BitwiseCopyable>(
  _ source: UnsafePointer<Element>, _ target: UnsafeMutablePointer<Element>, first: Int, second: Int, width: Int
) {
  for i in 0..<first {
    for j in 0..<second {
      (target + (j &* first &+ i) &* width).update(from: source + (i &* second &+ j) &* width, count: width)
    }
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
