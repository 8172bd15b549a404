import RNNKernels

/// The weights of recurrent layers as fused steps read them: made when a network is first run, as training does without.
final class FusedWeights<Scalar: KernelScalar>: @unchecked Sendable {
  struct Layer {
    let cell: FusedCell
    let layout: FusedLayout
    let order, candidateOrder: ReductionOrder
    /// [G·H, I] in the order of the fused sums, with rows of zeros between the units.
    let inputWeight: PackedMatrix<Scalar>
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

  init(_ weights: Weights<Scalar>) throws(RNNError) {
    var plan = MemoryPlan()
    for layer in weights.layers where layer.fusedCell != nil { try Layer.reserve(in: &plan, layer) }
    memory = try makeBuffer(Scalar.self, count: plan.count, for: "packed weights")
    var packing = PackingMemory(next: memory.baseAddress)
    let values = UnsafePointer(weights.parameters.baseAddress)
    layers.reserveCapacity(weights.layers.count)
    for layer in weights.layers {
      layers.append(layer.fusedCell.map { Layer($0, layer, values: values, memory: &packing) })
    }
  }
}

extension FusedWeights.Layer {
  private static func largestRowWidth(_ layer: RecurrentWeights<Scalar>) -> Int {
    FusedLayout.largestStateWidth(units: layer.hiddenSize) * layer.gateCount
  }

  fileprivate static func reserve(in plan: inout MemoryPlan, _ layer: RecurrentWeights<Scalar>) throws(RNNError) {
    let width = largestRowWidth(layer), state = FusedLayout.largestStateWidth(units: layer.hiddenSize)
    // The reordered rows of the input's weight, and their packed form.
    _ = try plan.reserve(try checkedProduct(width, layer.inputSize, of: "packed weights"))
    try plan.reservePacked(outputs: width, depth: layer.inputSize)
    _ = try plan.reserve(try checkedProduct(width, layer.hiddenSize, of: "packed weights"))
    _ = try plan.reserve(width)
    _ = try plan.reserve(state)
  }

  fileprivate init(
    _ cell: FusedCell, _ layer: RecurrentWeights<Scalar>, values: UnsafePointer<Scalar>, memory: inout PackingMemory<Scalar>
  ) {
    let (h, i) = (layer.hiddenSize, layer.inputSize)
    let layout = FusedLayout(units: h, gates: cell.gateCount, width: Scalar.kernels.vectorWidth)
    self.cell = cell
    self.layout = layout
    // The orders of the sums are those of the matrices as they are, without the padding.
    order = layer.recurrentWeight.order
    candidateOrder = layer.candidateWeight?.order ?? order
    let rows = memory.take(layout.rowWidth * i)
    layout.interleave(values + layer.places.weightIH, columns: i, into: rows)
    inputWeight = PackedMatrix(
      outputs: layout.rowWidth, depth: i, order: layer.inputWeight.order, source: rows, outputStride: i, depthStride: 1,
      panels: memory.take(PackedMatrix<Scalar>.elementCount(outputs: layout.rowWidth, depth: i)))
    let bias = memory.take(layout.rowWidth)
    layout.interleave(layer.bias, columns: 1, into: bias)
    self.bias = UnsafePointer(bias)
    let panels = memory.take(layout.rowWidth * h)
    let hidden = values + layer.places.weightHH
    if cell == .gruBefore {
      let gates = FusedLayout(units: h, gates: 2, width: layout.width)
      gates.pack(hidden, into: panels)
      let candidate = panels + gates.rowWidth * h
      FusedLayout(units: h, gates: 1, width: layout.width).pack(hidden + CellKind.candidateGate * h * h, into: candidate)
      candidateWeight = UnsafePointer(candidate)
    } else {
      layout.pack(hidden, into: panels)
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
