import RNNKernels

/// What a training pass keeps of one layer and direction; all by time t, not by the order of the steps. S is the width of h.
struct RecurrentTrace<Scalar: KernelScalar> {
  /// [T, N, G·H]: the gates' values (for the fused vanilla cell its sums, which nobody needs again).
  var gates: UnsafeMutablePointer<Scalar>
  /// [T + 1, N, S]: slot t is the state before step t; for a reverse layer slot t + 1 is, and slot 0 the final state.
  var hidden: UnsafeMutablePointer<Scalar>
  /// [T + 1, N, H], LSTM.
  var cell: UnsafeMutablePointer<Scalar>
  /// [T, N, H], GRU: R ⊙ H, or H W_hh + b_hh.
  var recurrentTerm: UnsafeMutablePointer<Scalar>
  /// [T, N, G·H], general gates: f′ at the gates' sums.
  var derivatives: UnsafeMutablePointer<Scalar>?
  /// [T, N, H], LSTM: h(C′); and with general gates h′(C′).
  var cellOutput: UnsafeMutablePointer<Scalar>?
  var cellOutputDerivative: UnsafeMutablePointer<Scalar>?
  /// [T, N, H], projection: O ⊙ h(C′).
  var unprojected: UnsafeMutablePointer<Scalar>?
  /// Recurrent dropout: its mask [N, S], 0 or 1 / (1 - p), and H as it enters the recurrent products, [T, N, S].
  var recurrentMask: UnsafeMutablePointer<Scalar>?
  var maskedHidden: UnsafeMutablePointer<Scalar>?
}

/// Where the parts of a trace are in the memory of a pass; -1 for those that the layer does not need.
struct RecurrentTraceOffsets {
  private var gates = -1, hidden = -1, cell = -1, recurrentTerm = -1, derivatives = -1, cellOutput = -1
  private var cellOutputDerivative = -1, unprojected = -1, recurrentMask = -1, maskedHidden = -1

  init<Scalar: KernelScalar>(
    _ layer: RecurrentWeights<Scalar>, _ plan: inout MemoryPlan, stepCount: Int, rowCount: Int
  ) throws(RNNError) {
    let cells = try checkedProduct(stepCount, rowCount, of: "steps and rows")
    let slots = try checkedProduct(stepCount + 1, rowCount, of: "steps and rows")
    func reserve(_ rows: Int, _ width: Int) throws(RNNError) -> Int {
      try plan.reserve(try checkedProduct(rows, width, of: "the trace of a layer"))
    }
    let general = layer.hasGeneralGates(keepsTrace: true)
    gates = try reserve(cells, layer.gateWidth)
    hidden = try reserve(slots, layer.stateSize)
    if layer.cell.hasCellState { cell = try reserve(slots, layer.hiddenSize) }
    if layer.cell.isGRU { recurrentTerm = try reserve(cells, layer.hiddenSize) }
    if layer.cell.hasCellState { cellOutput = try reserve(cells, layer.hiddenSize) }
    if general {
      derivatives = try reserve(cells, layer.gateWidth)
      if layer.cell.hasCellState { cellOutputDerivative = try reserve(cells, layer.hiddenSize) }
    }
    if layer.hasProjection { unprojected = try reserve(cells, layer.hiddenSize) }
    if layer.recurrentDropout > 0 {
      recurrentMask = try reserve(rowCount, layer.stateSize)
      maskedHidden = try reserve(cells, layer.stateSize)
    }
  }

  func trace<Scalar: KernelScalar>(_ base: UnsafeMutablePointer<Scalar>) -> RecurrentTrace<Scalar> {
    func optional(_ offset: Int) -> UnsafeMutablePointer<Scalar>? { offset < 0 ? nil : base + offset }
    // What a cell does not have it does not touch: any address serves.
    return RecurrentTrace(
      gates: base + gates, hidden: base + hidden, cell: base + max(cell, 0), recurrentTerm: base + max(recurrentTerm, 0),
      derivatives: optional(derivatives), cellOutput: optional(cellOutput),
      cellOutputDerivative: optional(cellOutputDerivative), unprojected: optional(unprojected),
      recurrentMask: optional(recurrentMask), maskedHidden: optional(maskedHidden))
  }
}

/// Memory of a forward pass that keeps nothing, for the largest layer.
struct RecurrentScratch<Scalar: KernelScalar> {
  /// [T, N, G·H].
  var gates: UnsafeMutablePointer<Scalar>
  /// [N, H], GRU.
  var recurrentTerm: UnsafeMutablePointer<Scalar>
  /// [N, H] each: LSTM with general gates; projection.
  var cellOutput: UnsafeMutablePointer<Scalar>
  var unprojected: UnsafeMutablePointer<Scalar>
  var fused: FusedScratch<Scalar>
}

struct RecurrentScratchPlan {
  private var fused = FusedScratchPlan()
  private var gateCount = 0, termCount = 0, cellOutputCount = 0, unprojectedCount = 0
  private var offsets = (0, 0, 0)
  /// Of one direction's output, where directions are merged; kept by the pass itself.
  var directionCount = 0

  mutating func include<Scalar: KernelScalar>(
    _ layer: RecurrentWeights<Scalar>, cellCount: Int, rowCount: Int
  ) throws(RNNError) {
    let gateWidth =
      layer.fusedCell == nil
      ? layer.gateWidth : layer.gateCount * FusedLayout.largestStateWidth(units: layer.hiddenSize)
    gateCount = max(gateCount, try checkedProduct(cellCount, gateWidth, of: "gates of a layer"))
    try fused.include(layer, rowCount: rowCount)
    let state = try checkedProduct(rowCount, layer.hiddenSize, of: "the state of a layer")
    if layer.cell.isGRU { termCount = max(termCount, state) }
    if layer.cell.hasCellState, !layer.gates.isPlain { cellOutputCount = max(cellOutputCount, state) }
    if layer.hasProjection { unprojectedCount = max(unprojectedCount, state) }
  }

  mutating func reserve(in plan: inout MemoryPlan) throws(RNNError) -> Int {
    let first = try plan.reserve(gateCount)
    offsets = (
      try plan.reserve(termCount) - first, try plan.reserve(cellOutputCount) - first,
      try plan.reserve(unprojectedCount) - first
    )
    try fused.reserve(in: &plan, from: first)
    return first
  }

  /// - Parameter base: Where `reserve` said.
  func scratch<Scalar: KernelScalar>(_ base: UnsafeMutablePointer<Scalar>) -> RecurrentScratch<Scalar> {
    RecurrentScratch(
      gates: base, recurrentTerm: base + offsets.0, cellOutput: base + offsets.1, unprojected: base + offsets.2,
      fused: fused.scratch(base))
  }
}

/// The gradients of one layer and direction for all steps, in the memory of a pass.
struct LayerGradients<Scalar: KernelScalar> {
  /// [T·N, G·H]: of the gates' sums.
  var gates: GateMatrix<Scalar>
  /// [T·N, H], GRU: of R ⊙ H, or of H W_hh + b_hh.
  var recurrentTerm: GateMatrix<Scalar>
}

/// Memory of a backward pass, for the largest layer.
struct BackwardScratch<Scalar: KernelScalar> {
  /// [T·N, G·H], in rows or in blocks: `RecurrentWeights.gradients(in:_:_:wantsInputGradient:)`.
  var gateGradients: UnsafeMutablePointer<Scalar>
  /// [T·N, H], GRU; the same.
  var recurrentTermGradient: UnsafeMutablePointer<Scalar>
  /// [T, N, P], projection: ∂L/∂H_t of every step.
  var hiddenGradients: UnsafeMutablePointer<Scalar>
  /// [N, H], projection: ∂L/∂(O ⊙ h(C′)).
  var unprojectedGradient: UnsafeMutablePointer<Scalar>
  /// [N, S], recurrent dropout: what comes back through the recurrent products.
  var maskedGradient: UnsafeMutablePointer<Scalar>
  /// [N, H], LSTM, for the flow: ∂L/∂C_t.
  var cellTotal: UnsafeMutablePointer<Scalar>
  /// What an operator asks for: `Instruction.operatorScratchCount`.
  var operators: UnsafeMutablePointer<Scalar>
}

struct BackwardScratchPlan {
  private var gateCount = 0, termCount = 0, hiddenCount = 0, unprojectedCount = 0, maskedCount = 0, cellCount = 0
  var operatorCount = 0
  private var offsets = (0, 0, 0, 0, 0, 0, 0)

  mutating func include<Scalar: KernelScalar>(
    _ layer: RecurrentWeights<Scalar>, cellCount: Int, rowCount: Int
  ) throws(RNNError) {
    func blocks(_ gates: Int) throws(RNNError) -> Int {
      let width = GateMatrix<Scalar>.blockedWidth(gates: gates, units: layer.hiddenSize)
      return try checkedProduct(cellCount, width, of: "gradients of the gates")
    }
    gateCount = max(gateCount, try blocks(layer.gateCount))
    if layer.cell.isGRU { termCount = max(termCount, try blocks(1)) }
    let cells = try checkedProduct(rowCount, layer.hiddenSize, of: "a gradient of the state")
    if layer.cell.hasCellState { self.cellCount = max(self.cellCount, cells) }
    if layer.hasProjection {
      unprojectedCount = max(unprojectedCount, cells)
      hiddenCount = max(hiddenCount, try checkedProduct(cellCount, layer.stateSize, of: "gradients of a layer"))
    }
    if layer.recurrentDropout > 0 {
      maskedCount = max(maskedCount, try checkedProduct(rowCount, layer.stateSize, of: "a gradient of the state"))
    }
  }

  mutating func reserve(in plan: inout MemoryPlan) throws(RNNError) {
    offsets = (
      try plan.reserve(gateCount), try plan.reserve(termCount), try plan.reserve(hiddenCount),
      try plan.reserve(unprojectedCount), try plan.reserve(maskedCount), try plan.reserve(operatorCount),
      try plan.reserve(cellCount)
    )
  }

  func scratch<Scalar: KernelScalar>(_ base: UnsafeMutablePointer<Scalar>) -> BackwardScratch<Scalar> {
    BackwardScratch(
      gateGradients: base + offsets.0, recurrentTermGradient: base + offsets.1, hiddenGradients: base + offsets.2,
      unprojectedGradient: base + offsets.3, maskedGradient: base + offsets.4, cellTotal: base + offsets.6,
      operators: base + offsets.5)
  }
}
