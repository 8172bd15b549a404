import RNNKernels

/// The transposes: how gradients go back through each weight.
final class BackwardWeights<Scalar: KernelScalar>: @unchecked Sendable {
  struct Layer {
    /// Outputs I, depth G·H.
    let input: PackedMatrix<Scalar>
    /// Outputs S, depth G·H; for a GRU 2·H.
    let recurrent: PackedMatrix<Scalar>
    /// Outputs H, depth H.
    let candidate: PackedMatrix<Scalar>?
    /// Outputs H, depth P.
    let projection: PackedMatrix<Scalar>?
  }

  func repack() {
    for layer in layers {
      layer.input.repack()
      layer.recurrent.repack()
      layer.candidate?.repack()
      layer.projection?.repack()
    }
    for case let matrix? in linear { matrix.repack() }
  }

  private(set) var layers: [Layer] = []
  /// For each linear node: outputs I, depth O.
  private(set) var linear: [PackedMatrix<Scalar>?] = []
  private let packed: AlignedBuffer<Scalar>

  init(_ weights: Weights<Scalar>) throws(RNNError) {
    var plan = MemoryPlan()
    for layer in weights.layers {
      try plan.reservePacked(outputs: layer.inputSize, depth: layer.gateWidth)
      try plan.reservePacked(outputs: layer.stateSize, depth: layer.gateWidth)
      try plan.reservePacked(outputs: layer.hiddenSize, depth: layer.stateSize)
    }
    for case let linear? in weights.linear {
      try plan.reservePacked(outputs: linear.weight.depth, depth: linear.weight.outputs)
    }
    packed = try makeBuffer(Scalar.self, count: plan.count, for: "transposed weights")
    var memory = PackingMemory(next: packed.baseAddress)
    let values = UnsafePointer(weights.parameters.baseAddress)
    for layer in weights.layers {
      let (i, h, s) = (layer.inputSize, layer.hiddenSize, layer.stateSize)
      let hidden = values + layer.places.weightHH
      layers.append(
        Layer(
          input: memory.pack(
            outputs: i, depth: layer.gateWidth, values + layer.places.weightIH, outputStride: 1, depthStride: i),
          recurrent: memory.pack(
            outputs: s, depth: layer.cell.isGRU ? 2 * h : layer.gateWidth, hidden, outputStride: 1, depthStride: s),
          candidate: layer.cell.isGRU
            ? memory.pack(
              outputs: h, depth: h, hidden + CellKind.candidateGate * h * h, outputStride: 1, depthStride: h) : nil,
          projection: layer.hasProjection
            ? memory.pack(outputs: h, depth: s, values + layer.places.weightHR, outputStride: 1, depthStride: h) : nil))
    }
    for case let node in weights.linear {
      linear.append(
        node.map { node in
          memory.pack(
            outputs: node.weight.depth, depth: node.weight.outputs, node.weight.source, outputStride: 1,
            depthStride: node.weight.depth)
        })
    }
  }
}
