import RNNKernels

/// A caller's sequence after every check, time-major; the caller's own memory where that is possible.
struct CheckedSequence<Scalar: KernelScalar> {
  let stepCount, rowCount: Int
  let features: UnsafePointer<Scalar>?
  let tokens: UnsafePointer<Int64>?
  let lengths: UnsafePointer<Int64>?
  let mask: UnsafePointer<UInt8>?
  let padding: Padding
  let zeroesEmptyRows: Bool
  /// Where the passes write.
  let output: UnsafeMutablePointer<Scalar>
  private let callersOutput: UnsafeMutablePointer<Scalar>
  private let outputSize: Int
  private let copies: (AlignedBuffer<Scalar>?, AlignedBuffer<Int64>?, AlignedBuffer<UInt8>?, AlignedBuffer<Scalar>?)

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
    var mask: UnsafePointer<UInt8>?
    if let given = input.mask {
      mask = try present(given, count: cells, named: "mask", shape: "T*N")
      guard !architecture.reversesBeforeItsEnd else {
        throw RNNError(.unsupported, "a mask, and a reversal that is not the network's last node: which steps are left is then unclear")
      }
    }
    try input.padding.check()
    padding = input.padding
    zeroesEmptyRows = input.zeroesEmptyRows
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
      self.mask = mask
      self.output = outputBase
      copies = (nil, nil, nil, nil)
      return
    }
    var featureCopy: AlignedBuffer<Scalar>?, tokenCopy: AlignedBuffer<Int64>?, outputCopy: AlignedBuffer<Scalar>?
    var maskCopy: AlignedBuffer<UInt8>?
    if let mask {
      let copy = try makeBuffer(UInt8.self, count: cells, for: "mask in time-major order")
      transposeLeading(mask, copy.baseAddress, first: n, second: t, width: 1)
      maskCopy = copy
    }
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
    self.mask = maskCopy.map { UnsafePointer($0.baseAddress) }
    self.output = outputCopy?.baseAddress ?? outputBase
    copies = (featureCopy, tokenCopy, maskCopy, outputCopy)
  }

  /// After the last step: fills the padding, zeros the states of empty rows where that is asked, and brings the output into the
  /// caller's layout.
  func finish(_ architecture: Architecture, state: UnsafeMutablePointer<Scalar>) {
    let batch = SequenceBatch(stepCount: stepCount, rowCount: rowCount, lengths: lengths, mask: mask)
    if !architecture.hasSingleStepOutput { padding.fill(output, batch, architecture) }
    if zeroesEmptyRows { batch.clearEmptyRows(state, architecture) }
    guard copies.3 != nil else { return }
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
        // Tokens of steps that a row does not have are not read.
        let length = input.lengths.map { Int($0[row]) } ?? t
        for step in 0..<length {
          let cell = input.isBatchFirst ? row * t + step : step * n + row
          if let mask = input.mask, mask[cell] == 0 { continue }
          let place = cell * columns + column
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
