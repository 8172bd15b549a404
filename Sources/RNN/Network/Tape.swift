import RNNKernels

/// What a training forward pass kept: for any number of backward passes, with the weights of that pass.
public final class Tape: @unchecked Sendable {
  private enum Contents {
    case float32(TapeContents<Float>)
    case float64(TapeContents<Double>)
  }

  private let contents: Contents
  /// Input and output of the forward pass were [N, T, …].
  let isBatchFirst: Bool
  /// A backward pass must name the network that the tape comes from. Held, so that no other takes its address.
  let network: Network

  init<Scalar: KernelScalar>(_ contents: TapeContents<Scalar>, isBatchFirst: Bool, network: Network) {
    self.isBatchFirst = isBatchFirst
    self.network = network
    if Scalar.self == Float.self {
      self.contents = .float32(unsafeDowncast(contents, to: TapeContents<Float>.self))
    } else {
      self.contents = .float64(unsafeDowncast(contents, to: TapeContents<Double>.self))
    }
  }

  /// N of the forward pass.
  public var batchSize: Int {
    switch contents {
    case .float32(let contents): contents.rowCount
    case .float64(let contents): contents.rowCount
    }
  }

  /// T of the forward pass.
  public var stepCount: Int {
    switch contents {
    case .float32(let contents): contents.stepCount
    case .float64(let contents): contents.stepCount
    }
  }

  func contents<Scalar: KernelScalar>(_ type: Scalar.Type, of network: Network) throws(RNNError) -> TapeContents<Scalar> {
    guard network === self.network else {
      throw RNNError(.shape, "the tape comes from another network")
    }
    switch contents {
    case .float32(let contents):
      if Scalar.self == Float.self { return unsafeDowncast(contents, to: TapeContents<Scalar>.self) }
    case .float64(let contents):
      if Scalar.self == Double.self { return unsafeDowncast(contents, to: TapeContents<Scalar>.self) }
    }
    throw RNNError(.dtype, "the tape's numbers are not \(Scalar.dataType.rawValue)")
  }
}

final class TapeContents<Scalar: KernelScalar> {
  let weights: Weights<Scalar>
  let workspace: Workspace<Scalar>
  let dropout: DropoutKey
  /// The pass began with the learned initial state.
  let beganWithLearnedState: Bool
  let padding: Padding
  let zeroesEmptyRows: Bool
  private let lengths: AlignedBuffer<Int64>?
  private let mask: AlignedBuffer<UInt8>?
  private let tokens: AlignedBuffer<Int64>?
  let stepCount, rowCount: Int

  init(
    _ weights: Weights<Scalar>, _ input: CheckedSequence<Scalar>, _ dropout: DropoutKey, beganWithLearnedState: Bool,
    reserve: PassMemory<Scalar>
  ) throws(RNNError) {
    self.weights = weights
    self.beganWithLearnedState = beganWithLearnedState
    padding = input.padding
    zeroesEmptyRows = input.zeroesEmptyRows
    self.dropout = dropout
    stepCount = input.stepCount
    rowCount = input.rowCount
    workspace = try Workspace(weights, stepCount: stepCount, rowCount: rowCount, keepsTrace: true, reserve: reserve)
    lengths = try Self.copy(input.lengths, count: rowCount)
    mask = try Self.copy(input.mask, count: stepCount * rowCount)
    tokens = try Self.copy(input.tokens, count: stepCount * rowCount * weights.architecture.tokenCount)
  }

  private static func copy<Element: BitwiseCopyable>(
    _ values: UnsafePointer<Element>?, count: Int
  ) throws(RNNError) -> AlignedBuffer<Element>? {
    guard let values else { return nil }
    let copy = try makeBuffer(Element.self, count: count, for: "lengths, mask and tokens")
    copy.baseAddress.update(from: values, count: count)
    return copy
  }

  var batch: SequenceBatch {
    SequenceBatch(
      stepCount: stepCount, rowCount: rowCount, lengths: lengths.map { UnsafePointer($0.baseAddress) },
      mask: mask.map { UnsafePointer($0.baseAddress) })
  }
  var input: PassInput<Scalar> { PassInput(features: nil, tokens: tokens.map { UnsafePointer($0.baseAddress) }) }
}

/// What a backward pass writes; leave out what you do not need.
public struct BackwardOutputs<Scalar: KernelScalar> {
  /// ∂L/∂input, in the shape and layout of the forward pass.
  public var inputGradient: UnsafeMutableBufferPointer<Scalar>?
  /// ∂L/∂parameters, in the order and shapes of ``Architecture/parameters``.
  public var gradients: UnsafeMutableBufferPointer<Scalar>?
  /// How the gradient flowed through layers and time.
  public var flow: GradientFlow

  public init(
    inputGradient: UnsafeMutableBufferPointer<Scalar>? = nil, gradients: UnsafeMutableBufferPointer<Scalar>? = nil,
    flow: GradientFlow = GradientFlow()
  ) {
    self.inputGradient = inputGradient
    self.gradients = gradients
    self.flow = flow
  }
}

extension Network {
  /// Backpropagation through time, with the weights of the forward pass.
  ///
  /// - Parameters:
  ///   - outputGradient: ∂L/∂output, in the shape and layout of the forward pass.
  ///   - stateGradient: ∂L/∂(final state), replaced by ∂L/∂(initial state); nil is zeros.
  ///   - hiddenClip: Limits the Euclidean norm of each row's ∂L/∂H_t inside backpropagation through time; 0: no limit.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func backward<Scalar: KernelScalar>(
    _ tape: Tape, outputGradient: UnsafeBufferPointer<Scalar>, stateGradient: inout NetworkState?,
    outputs: BackwardOutputs<Scalar>, hiddenClip: Double = 0
  ) throws(RNNError) {
    let contents = try tape.contents(Scalar.self, of: self)
    let (t, n) = (contents.stepCount, contents.rowCount)
    let cells = t * n
    let singleStep = architecture.hasSingleStepOutput
    let outputCount = (singleStep ? n : cells) * architecture.outputSize
    let outputValues = try present(
      outputGradient, count: outputCount, named: "output_gradient",
      shape: "\(singleStep ? "N" : "T*N")*\(architecture.outputSize)")
    if let stateGradient { try stateGradient.check(architecture, batchSize: n, named: "final_state_gradient") }
    let inputCount = cells * architecture.inputSize
    if let target = outputs.inputGradient, target.count < inputCount {
      throw RNNError(.bufferTooSmall, "input_gradient_count is \(target.count), expected at least \(inputCount)")
    }
    if let target = outputs.gradients, target.count < architecture.parameterCount {
      throw RNNError(
        .bufferTooSmall, "gradients_count is \(target.count), expected at least \(architecture.parameterCount)")
    }
    try outputs.flow.check(layerDirections: architecture.layerDirections, stepCount: t)
    guard hiddenClip >= 0 else { throw RNNError(.invalidArgument, "hidden_clip is \(hiddenClip), expected at least 0") }

    let weights = contents.weights
    let memory = try BackwardWorkspace(weights, stepCount: t, rowCount: n, reserve: try passMemory(Scalar.self))
    let transposed = try withNumericMode { () throws(RNNError) in try weights.backwardWeights() }
    let stateCount = architecture.stateCount * n
    let stateTarget = try stateGradient?.mutableValues(Scalar.self)
    withNumericMode {
      memory.clear(inputs: outputs.inputGradient != nil, output: outputValues == nil)
      if let stateTarget {
        memory.stateGradient.update(from: stateTarget, count: stateCount)
        // A final state that is 0 whatever came before does not pass a gradient on.
        if contents.zeroesEmptyRows { contents.batch.clearEmptyRows(memory.stateGradient, architecture) }
      }
      if let outputValues, let target = memory.nodeGradients[architecture.nodes.count - 1] {
        if tape.isBatchFirst && !singleStep {
          transposeLeading(outputValues, target, first: n, second: t, width: architecture.outputSize)
        } else {
          target.update(from: outputValues, count: outputCount)
        }
        if !singleStep { contents.padding.fillBack(target, contents.batch, architecture) }
      }
      let gradients = outputs.gradients?.baseAddress
      gradients?.update(repeating: 0, count: architecture.parameterCount)
      weights.backward(
        contents.batch, contents.input, workspace: contents.workspace, dropout: contents.dropout, transposed: transposed,
        into: memory, gradients: gradients, wantsInputGradient: outputs.inputGradient != nil,
        learnsInitialState: contents.beganWithLearnedState, hiddenClip: hiddenClip,
        flow: outputs.flow.isEmpty ? nil : outputs.flow)
      if let target = outputs.inputGradient?.baseAddress, inputCount > 0 {
        writeInputGradient(weights, memory, to: target, stepCount: t, rowCount: n, isBatchFirst: tape.isBatchFirst)
      }
      stateTarget?.update(from: memory.stateGradient, count: stateCount)
    }
  }

  /// Puts the gradients of the feature inputs side by side.
  private func writeInputGradient<Scalar: KernelScalar>(
    _ weights: Weights<Scalar>, _ memory: BackwardWorkspace<Scalar>, to target: UnsafeMutablePointer<Scalar>,
    stepCount: Int, rowCount: Int, isBatchFirst: Bool
  ) {
    let width = architecture.inputSize
    for instruction in weights.instructions where instruction.kind == .input {
      guard let gradient = memory.nodeGradients[instruction.node] else { continue }
      for t in 0..<stepCount {
        for n in 0..<rowCount {
          let place = isBatchFirst ? n &* stepCount &+ t : t &* rowCount &+ n
          (target + (place &* width &+ instruction.column)).update(
            from: gradient + (t &* rowCount &+ n) &* instruction.size, count: instruction.size)
        }
      }
    }
  }
}
