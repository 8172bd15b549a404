import RNNKernels

/// How many biases a recurrent layer has for each gate.
public enum BiasMode: String, Sendable, CaseIterable {
  case none
  /// One: `bias_l0`.
  case single
  /// Two, as PyTorch has them: `bias_ih_l0` and `bias_hh_l0`, trained apart.
  case double
}

/// Which way a recurrent layer reads its sequence.
public enum Direction: String, Sendable, CaseIterable {
  case forward
  /// From the row's last step to its first; the output of a step stays at that step.
  case reverse
  /// Both, with weights of their own.
  case bidirectional
}

/// How the two directions of a bidirectional layer become its output.
public enum Merge: String, Sendable, CaseIterable {
  /// Side by side, the forward direction first.
  case concat
  case sum
  /// Half of the sum.
  case mean
  case product
}

/// A stack of recurrent layers of one kind and size.
public struct RecurrentConfiguration: Equatable, Sendable {
  public var cell: CellKind
  /// H.
  public var hiddenSize: Int
  /// L.
  public var layerCount: Int
  public var direction: Direction
  public var bias: BiasMode
  /// Of what each layer but the first reads, in training.
  public var dropout: Double

  /// H of the backward direction where it differs.
  public var reverseHiddenSize: Int?
  public var merge = Merge.concat
  /// P of an LSTM: H′ = (O ⊙ h(C′)) W_hrᵀ, [N, P].
  public var projectionSize: Int?
  /// From the second layer on, Y_l = H_l + Y_(l-1).
  public var isResidual = false
  /// h_0 (and c_0) are parameters, one row for all of the batch.
  public var learnsInitialState = false
  /// LSTM: I and F see C, O sees C′, each through a diagonal.
  public var hasPeepholes = false
  /// LSTM: F = 1 - I.
  public var hasCoupledGates = false
  /// LSTM: C′ stays in [-cellClip, cellClip]; nil: no limit.
  public var cellClip: Double?
  /// The input of each gate's activation stays in [-gateClip, gateClip]; nil: no limit.
  public var gateClip: Double?
  /// LSTM: `gateClip` limits the input of h(C′) too.
  public var clipsOutputActivation = false
  /// LSTM: a constant added to the forget gate's input at run time.
  public var forgetBias = 0.0
  /// Of H where it enters the recurrent products, in training; one mask for all steps.
  public var recurrentDropout = 0.0
  /// For each direction, one for each of ``CellKind/activationNames``; empty, or nil for one: the cell's own.
  public var activations: [[Activation?]] = []

  /// - Parameter bias: nil takes the habit of the cell's home: one for the reset-before GRU, otherwise two.
  public init(
    _ cell: CellKind, hiddenSize: Int, layerCount: Int = 1, bidirectional: Bool = false, bias: BiasMode? = nil,
    dropout: Double = 0
  ) {
    self.cell = cell
    self.hiddenSize = hiddenSize
    self.layerCount = layerCount
    direction = bidirectional ? .bidirectional : .forward
    self.bias = bias ?? (cell == .gru(.resetBefore) ? .single : .double)
    self.dropout = dropout
  }

  public var bidirectional: Bool { direction == .bidirectional }
  /// D.
  public var directionCount: Int { bidirectional ? 2 : 1 }
  /// Whether a layer must have seen the end of a sequence before it tells anything.
  var needsWholeSequence: Bool { direction != .forward }
  func isReverse(direction index: Int) -> Bool { direction == .reverse || index == 1 }

  /// H of a direction.
  func hiddenSize(direction: Int) -> Int { direction == 1 ? reverseHiddenSize ?? hiddenSize : hiddenSize }
  /// Width of h: H, or P.
  func stateSize(direction: Int) -> Int { projectionSize ?? hiddenSize(direction: direction) }
  var hasUnequalDirections: Bool { bidirectional && hiddenSize(direction: 1) != hiddenSize }

  /// The activation of each slot.
  func activation(direction: Int, slot: Int) -> Activation {
    let given = direction < activations.count && slot < activations[direction].count ? activations[direction][slot] : nil
    return given ?? cell.ownActivation(slot: slot)
  }

  /// The same cell, with every default written as such.
  var canonical: RecurrentConfiguration {
    var result = self
    result.activations = (0..<directionCount).map { direction in
      cell.activationNames.indices.map { slot in
        let activation = activation(direction: direction, slot: slot)
        return activation == cell.ownActivation(slot: slot) ? nil : activation
      }
    }
    if result.activations.allSatisfy({ $0.allSatisfy { $0 == nil } }) { result.activations = [] }
    if reverseHiddenSize == hiddenSize { result.reverseHiddenSize = nil }
    return result
  }

  /// Whether the fused gate kernels compute this cell.
  var hasPlainGates: Bool {
    !hasPeepholes && !hasCoupledGates && cellClip == nil && gateClip == nil && canonical.activations.isEmpty
  }

  /// Checks everything that does not depend on what the node reads; returns the width of the output.
  func check(node name: String) throws(RNNError) -> Int {
    func refuse(_ text: String) -> RNNError { RNNError(.invalidArgument, "node '\(name)': \(text)") }
    func size(_ value: Int, _ what: String) throws(RNNError) {
      guard value > 0, value <= largestCount else {
        // A size_t above SSIZE_MAX arrives negative.
        throw refuse("\(what) is \(UInt(bitPattern: value)), expected 1 to \(largestCount)")
      }
    }
    func probability(_ value: Double, _ what: String) throws(RNNError) {
      guard value >= 0, value < 1 else { throw refuse("\(what) is \(value), expected [0, 1)") }
    }
    func limit(_ value: Double?, _ what: String) throws(RNNError) {
      guard let value else { return }
      guard value > 0, value.isFinite else { throw refuse("\(what) is \(value), expected a finite number above 0, or 0 for no limit") }
    }
    try size(hiddenSize, "the hidden size")
    try size(layerCount, "the number of layers")
    guard layerCount <= 1_000 else {
      throw RNNError(.unsupported, "node '\(name)' has \(layerCount) layers, expected at most 1000")
    }
    try probability(dropout, "dropout")
    try probability(recurrentDropout, "recurrent_dropout")
    if let reverseHiddenSize {
      try size(reverseHiddenSize, "hidden_size_reverse")
      guard bidirectional else { throw refuse("hidden_size_reverse is \(reverseHiddenSize), and the layer is not bidirectional") }
    }
    if let projectionSize { try size(projectionSize, "proj_size") }
    try limit(cellClip, "cell_clip")
    try limit(gateClip, "gate_clip")
    guard forgetBias.isFinite else { throw refuse("forget_bias is \(forgetBias), expected a finite number") }
    if cell != .lstm {
      for (isSet, what) in [
        (projectionSize != nil, "proj_size"), (hasPeepholes, "peepholes"), (hasCoupledGates, "coupled_gates"),
        (cellClip != nil, "cell_clip"), (clipsOutputActivation, "gate_clip_output"), (forgetBias != 0, "forget_bias"),
      ] where isSet {
        throw refuse("\(what) is an option of the LSTM, and the cell is \(cell.name)")
      }
    }
    if clipsOutputActivation, gateClip == nil { throw refuse("gate_clip_output is set without gate_clip") }
    if merge != .concat {
      guard bidirectional else { throw refuse("merge is \(merge.rawValue), and the layer is not bidirectional") }
      guard stateSize(direction: 0) == stateSize(direction: 1) else {
        throw refuse(
          "merge \(merge.rawValue) needs directions of one size, and they have \(stateSize(direction: 0)) and \(stateSize(direction: 1))")
      }
    }
    try checkActivations(refuse)
    guard bidirectional, merge == .concat else { return stateSize(direction: 0) }
    return try checkedSum(stateSize(direction: 0), stateSize(direction: 1), of: "node '\(name)'")
  }

  private func checkActivations(_ refuse: (String) -> RNNError) throws(RNNError) {
    guard activations.count <= directionCount else {
      throw refuse("activations are given for \(activations.count) directions, and there is \(directionCount)")
    }
    for (direction, slots) in activations.enumerated() {
      guard slots.count <= cell.activationNames.count else {
        throw refuse("\(slots.count) activations are given, and the cell has \(cell.activationNames.count)")
      }
      for (slot, activation) in slots.enumerated() {
        guard let activation else { continue }
        let gate = cell.activationNames[slot]
        guard activation.alpha.isFinite, activation.beta.isFinite else {
          throw refuse("activation of \(gate): alpha is \(activation.alpha) and beta \(activation.beta), expected finite numbers")
        }
        if hasCoupledGates, slot == CellKind.forgetGate, activation != cell.ownActivation(slot: slot) {
          throw refuse("an activation of f is given, and coupled gates have f = 1 - i (direction \(direction))")
        }
      }
    }
  }
}
