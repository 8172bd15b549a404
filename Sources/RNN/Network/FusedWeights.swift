import RNNKernels

/// What the input's weights of fused steps are packed for.
enum FusedInput {
  /// One product of all steps, before them.
  case product
  /// Steps of one row, which compute their part of X W_x + b themselves.
  case steps
}

/// The weights of recurrent layers as fused steps read them: made when a network is first run, as training does without.
final class FusedWeights<Scalar: KernelScalar>: @unchecked Sendable {
  struct Layer {
    let cell: FusedCell
    let layout: FusedLayout
    let order, candidateOrder: ReductionOrder
    /// ``FusedInput/product``: [G·H, I] in the order of the fused sums, with rows of zeros between the units.
    let inputWeight: PackedMatrix<Scalar>?
    /// ``FusedInput/steps``: [panels, I, G, width].
    let inputPanels: UnsafePointer<Scalar>?
    let inputOrder: ReductionOrder
    /// All panels are words (see `FusedLayout.packWords`).
    let isBFloat16: Bool
    /// [panels, G, width].
    let bias: UnsafePointer<Scalar>
    /// [panels, H, G, width]; for a reset-before GRU the gates r and z alone, and the candidate.
    let weight, candidateWeight: UnsafePointer<Scalar>
    /// b_hh of a reset-after candidate, [panels, width].
    let candidateBias: UnsafePointer<Scalar>
  }

  /// As `Weights.layers`; nil where a layer has options that fused steps do not know.
  private(set) var layers: [Layer?] = []
  private let memory: AlignedBuffer<Scalar>

  /// - Parameter isBFloat16: Of float32, for steps: weights are rounded to bfloat16.
  init(_ weights: Weights<Scalar>, input: FusedInput = .product, isBFloat16: Bool = false) throws(RNNError) {
    var plan = MemoryPlan()
    for layer in weights.layers where layer.fusedCell != nil {
      try Layer.reserve(in: &plan, layer, input: input, isBFloat16: isBFloat16)
    }
    memory = try makeBuffer(Scalar.self, count: plan.count, for: "packed weights")
    var packing = PackingMemory(next: memory.baseAddress)
    let values = UnsafePointer(weights.parameters.baseAddress)
    layers.reserveCapacity(weights.layers.count)
    for layer in weights.layers {
      layers.append(
        layer.fusedCell.map {
          Layer($0, layer, values: values, input: input, isBFloat16: isBFloat16, memory: &packing)
        })
    }
  }
}

extension FusedWeights.Layer {
  private static func largestRowWidth(_ layer: RecurrentWeights<Scalar>) -> Int {
    FusedLayout.largestStateWidth(units: layer.hiddenSize) * layer.gateCount
  }

  fileprivate static func reserve(
    in plan: inout MemoryPlan, _ layer: RecurrentWeights<Scalar>, input: FusedInput, isBFloat16: Bool
  ) throws(RNNError) {
    let width = largestRowWidth(layer), state = FusedLayout.largestStateWidth(units: layer.hiddenSize)
    func reservePanels(_ depth: Int) throws(RNNError) {
      let lines = isBFloat16 ? FusedLayout.wordLines(depth) : depth
      _ = try plan.reserve(try checkedProduct(width, lines, of: "packed weights"))
    }
    try reservePanels(layer.inputSize)
    // For the product the reordered rows, and their packed form.
    if input == .product { try plan.reservePacked(outputs: width, depth: layer.inputSize) }
    try reservePanels(layer.hiddenSize)
    _ = try plan.reserve(width)
    _ = try plan.reserve(state)
  }

  fileprivate init(
    _ cell: FusedCell, _ layer: RecurrentWeights<Scalar>, values: UnsafePointer<Scalar>, input: FusedInput, isBFloat16: Bool,
    memory: inout PackingMemory<Scalar>
  ) {
    let (h, i) = (layer.hiddenSize, layer.inputSize)
    let layout = FusedLayout(units: h, gates: cell.gateCount, Scalar.kernels)
    func pack(_ layout: FusedLayout, _ source: UnsafePointer<Scalar>, depth: Int, into panels: UnsafeMutablePointer<Scalar>) {
      guard isBFloat16 else { return layout.pack(source, depth: depth, into: panels) }
      layout.packWords(
        UnsafeRawPointer(source).assumingMemoryBound(to: Float.self), depth: depth,
        into: UnsafeMutableRawPointer(panels).assumingMemoryBound(to: Float.self))
    }
    func lines(_ depth: Int) -> Int { isBFloat16 ? FusedLayout.wordLines(depth) : depth }
    self.cell = cell
    self.layout = layout
    self.isBFloat16 = isBFloat16
    // The orders of the sums are those of the matrices as they are, without the padding.
    order = layer.recurrentWeight.order
    candidateOrder = layer.candidateWeight?.order ?? order
    inputOrder = layer.inputWeight.order
    let inputRows = memory.take(layout.rowWidth * lines(i))
    switch input {
    case .product:
      layout.interleave(values + layer.places.weightIH, columns: i, into: inputRows)
      inputWeight = PackedMatrix(
        outputs: layout.rowWidth, depth: i, order: inputOrder, source: inputRows, outputStride: i, depthStride: 1,
        panels: memory.take(PackedMatrix<Scalar>.elementCount(outputs: layout.rowWidth, depth: i)))
      inputPanels = nil
    case .steps:
      pack(layout, values + layer.places.weightIH, depth: i, into: inputRows)
      inputPanels = UnsafePointer(inputRows)
      inputWeight = nil
    }
    let bias = memory.take(layout.rowWidth)
    layout.interleave(layer.bias, columns: 1, into: bias)
    self.bias = UnsafePointer(bias)
    let panels = memory.take(layout.rowWidth * lines(h))
    let hidden = values + layer.places.weightHH
    if cell == .gruBefore {
      let gates = layout.with(gates: 2)
      pack(gates, hidden, depth: h, into: panels)
      let candidate = panels + gates.rowWidth * lines(h)
      pack(layout.with(gates: 1), hidden + CellKind.candidateGate * h * h, depth: h, into: candidate)
      candidateWeight = UnsafePointer(candidate)
    } else {
      pack(layout, hidden, depth: h, into: panels)
      candidateWeight = UnsafePointer(panels)
    }
    weight = UnsafePointer(panels)
    let candidate = memory.take(layout.stateWidth)
    candidate.update(repeating: 0, count: layout.stateWidth)
    if cell == .gruAfter { candidate.update(from: layer.candidateBias, count: h) }
    candidateBias = UnsafePointer(candidate)
  }
}

extension RecurrentWeights {
  /// The cell as fused steps know it; nil if it has options that they do not.
  var fusedCell: FusedCell? {
    guard gates.isPlain, !hasProjection else { return nil }
    switch cell {
    case .vanilla(.tanh): return .vanillaTanh
    case .vanilla(.relu): return .vanillaRelu
    case .lstm: return .lstm
    case .gru(.resetBefore): return .gruBefore
    case .gru(.resetAfter):
      // Its three sums are computed side by side, so they must have one order.
      return candidateWeight?.order == recurrentWeight.order ? .gruAfter : nil
    }
  }
}
