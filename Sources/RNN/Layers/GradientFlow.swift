import RNNKernels

/// Where the flow of the gradient through one layer and direction goes: [T] each, in double; nil for what nobody wants.
struct LayerFlow {
  /// ||∂L/∂H_t|| before and after the limit inside backpropagation through time.
  var hidden, clipped: UnsafeMutablePointer<Double>?
  /// ||∂L/∂C_t||.
  var cell: UnsafeMutablePointer<Double>?
  /// [T, ``GradientFlow/gateColumns``].
  var gateMean, gateSaturation: UnsafeMutablePointer<Double>?
  /// Spectral norm of ∂H_t/∂H_(t-1).
  var jacobian: UnsafeMutablePointer<Double>?

  /// Whether the backward pass itself must measure something.
  var needsNorms: Bool { hidden != nil || clipped != nil || cell != nil }

  func store(_ sums: FlowSums, step t: Int, isClipped: Bool) {
    hidden?[t] = sums.hidden.squareRoot()
    clipped?[t] = (isClipped ? sums.clipped : sums.hidden).squareRoot()
    cell?[t] = sums.cell.squareRoot()
  }
}

/// Squares of the norms of one step.
struct FlowSums {
  var hidden = 0.0, clipped = 0.0, cell = 0.0
}

/// How gradients decay or explode over time: what a backward pass measured, for each layer, direction and step.
public struct GradientFlow {
  /// Columns of the gates' statistics: LSTM i, f, g, o; GRU r, z, n; vanilla h.
  public static let gateColumns = 4

  /// ||∂L/∂H_t||, [layers and directions, T], over all rows: of what reaches H_t from its output and from later steps.
  public var hidden: UnsafeMutableBufferPointer<Double>?
  /// The same after the limit of `hiddenClip`.
  public var clipped: UnsafeMutableBufferPointer<Double>?
  /// ||∂L/∂C_t||; 0 for cells without C.
  public var cell: UnsafeMutableBufferPointer<Double>?
  /// Mean over rows and units of each gate, [layers and directions, T, gateColumns].
  public var gateMean: UnsafeMutableBufferPointer<Double>?
  /// Share of each gate's values that are saturated: σ outside [0.1, 0.9], tanh and softsign outside [-0.9, 0.9] of their range,
  /// ReLU at 0.
  public var gateSaturation: UnsafeMutableBufferPointer<Double>?
  /// Largest over the rows of the spectral norm of ∂H_t/∂H_(t-1), C_(t-1) held: estimated from below by power iteration.
  public var jacobian: UnsafeMutableBufferPointer<Double>?

  public init() {}

  var isEmpty: Bool {
    hidden == nil && clipped == nil && cell == nil && gateMean == nil && gateSaturation == nil && jacobian == nil
  }

  /// The part of a layer and direction.
  func layer(_ index: Int, stepCount: Int) -> LayerFlow {
    func part(_ buffer: UnsafeMutableBufferPointer<Double>?, columns: Int = 1) -> UnsafeMutablePointer<Double>? {
      buffer?.baseAddress.map { $0 + index &* stepCount &* columns }
    }
    return LayerFlow(
      hidden: part(hidden), clipped: part(clipped), cell: part(cell), gateMean: part(gateMean, columns: Self.gateColumns),
      gateSaturation: part(gateSaturation, columns: Self.gateColumns), jacobian: part(jacobian))
  }

  func check(layerDirections: Int, stepCount: Int) throws(RNNError) {
    let steps = try checkedProduct(layerDirections, stepCount, of: "the gradient flow")
    let columns = try checkedProduct(steps, Self.gateColumns, of: "the gradient flow")
    for (buffer, count, name) in [
      (hidden, steps, "hidden_flow"), (clipped, steps, "clipped_flow"), (cell, steps, "cell_flow"),
      (gateMean, columns, "gate_mean"), (gateSaturation, columns, "gate_saturation"), (jacobian, steps, "jacobian_norm"),
    ] {
      if let buffer, buffer.count < count {
        throw RNNError(.bufferTooSmall, "\(name)_count is \(buffer.count), expected at least \(count)")
      }
    }
  }
}

extension RecurrentWeights {
  /// Means and saturation of the gates, from the trace alone.
  func measureGates(_ batch: SequenceBatch, _ trace: RecurrentTrace<Scalar>, _ flow: LayerFlow) {
    guard flow.gateMean != nil || flow.gateSaturation != nil else { return }
    let h = hiddenSize, columns = GradientFlow.gateColumns
    for t in 0..<batch.stepCount {
      for gate in 0..<columns {
        var sum = 0.0, saturated = 0, count = 0
        if gate < gateCount {
          let function = gates.function(gate)
          // F = 1 - I is saturated where I is.
          let kind = gates.isCoupled && gate == CellKind.forgetGate ? gates.function(CellKind.inputGate).kind : function.kind
          for n in 0..<batch.rowCount where batch.isActive(step: t, row: n) {
            let values = gateValues(batch, trace, step: t, row: n) + gate &* h
            for j in 0..<h {
              sum += Double(values[j])
              saturated += isSaturated(values[j], kind, alpha: function.alpha) ? 1 : 0
            }
            count += h
          }
        }
        flow.gateMean?[t &* columns &+ gate] = count > 0 ? sum / Double(count) : 0
        flow.gateSaturation?[t &* columns &+ gate] = count > 0 ? Double(saturated) / Double(count) : 0
      }
    }
  }

  /// The gates of one row and step, [G·H]. The fused vanilla cell keeps sums in its trace; its one gate is H′.
  func gateValues(
    _ batch: SequenceBatch, _ trace: RecurrentTrace<Scalar>, step t: Int, row n: Int
  ) -> UnsafePointer<Scalar> {
    if case .vanilla = cell {
      return UnsafePointer(trace.hidden + (stateSlots(t).after &* batch.rowCount &+ n) &* hiddenSize)
    }
    return UnsafePointer(trace.gates + (t &* batch.rowCount &+ n) &* gateWidth)
  }

  private func isSaturated(_ value: Scalar, _ kind: ActivationKind, alpha: Scalar) -> Bool {
    switch kind {
    case .sigmoid, .hardSigmoid: value < 0.1 || value > 0.9
    case .tanh, .softsign: abs(value) > 0.9
    case .scaledTanh: abs(value) > 0.9 * abs(alpha)
    case .relu, .thresholdedRelu: value == 0
    default: false
    }
  }

  /// Spectral norms of ∂H_t/∂H_(t-1).
  ///
  /// For one row the Jacobian is J = D + Σ_g diag(s_g) W_g (of a reset-before GRU the candidate's W_n acts on
  /// diag(R) + diag(H ⊙ r′) W_r), where s_g are the gates' gradients for ∂L/∂H′ = 1 and D what passes beside the products.
  /// u ← Jᵀ J u / ||J u|| from a fixed u ends at the largest singular value; after finitely many steps it is below it.
  func measureJacobian(
    _ kernels: borrowing KernelTable<Scalar>, _ batch: SequenceBatch, _ transposed: BackwardWeights<Scalar>.Layer,
    _ trace: RecurrentTrace<Scalar>, _ flow: LayerFlow
  ) {
    guard let target = flow.jacobian else { return }
    guard let memory = JacobianMemory(self) else {
      for t in 0..<batch.stepCount { target[t] = .nan }
      return
    }
    for t in 0..<batch.stepCount {
      var largest = 0.0
      for n in 0..<batch.rowCount where batch.isActive(step: t, row: n) {
        let step = arrays(trace, batch, step: t, row: n, rows: 1)
        let norm = jacobianNorm(kernels, transposed, step, mask: trace.recurrentMask.map { $0 + n &* stateSize }, memory)
        if norm > largest || norm.isNaN { largest = norm }
        if norm.isNaN { break }
      }
      target[t] = largest
    }
  }

  private struct JacobianMemory {
    static var iterations: Int { 12 }
    let buffer: AlignedBuffer<Scalar>
    /// s_g [G·H]; for GRU also D [H] and dQ-like scratch.
    let slopes, passed, gateSums, inner, v, u, image, ones, cell: UnsafeMutablePointer<Scalar>

    init?(_ weights: RecurrentWeights<Scalar>) {
      let width = weights.gateWidth, h = weights.hiddenSize, s = weights.stateSize
      let big = (max(h, s) + 15) & ~15, wide = (width + 15) & ~15
      guard let buffer = AlignedBuffer<Scalar>(count: 2 * wide + 7 * big) else { return nil }
      self.buffer = buffer
      let base = buffer.baseAddress
      slopes = base
      gateSums = base + wide
      let rest = base + 2 * wide
      passed = rest
      inner = rest + big
      v = rest + 2 * big
      u = rest + 3 * big
      image = rest + 4 * big
      ones = rest + 5 * big
      cell = rest + 6 * big
    }
  }

  private func jacobianNorm(
    _ kernels: borrowing KernelTable<Scalar>, _ transposed: BackwardWeights<Scalar>.Layer, _ step: StepArrays<Scalar>,
    mask: UnsafePointer<Scalar>?, _ m: JacobianMemory
  ) -> Double {
    let (h, s) = (hiddenSize, stateSize)
    gateSlopes(kernels, step, m)
    // A fixed start that no structure of the weights is orthogonal to by chance.
    for j in 0..<s { m.u[j] = 1 + Scalar(j % 7) * 0.25 - (j & 1 == 0 ? 0 : 2.5) }
    var norm = 0.0
    for _ in 0..<JacobianMemory.iterations {
      let length = Self.length(m.u, s)
      guard length > 0, length.isFinite else { return length == 0 ? norm : .nan }
      for j in 0..<s { m.u[j] = m.u[j] / Scalar(length) }
      // image = J u
      for j in 0..<s { m.v[j] = mask.map { $0[j] * m.u[j] } ?? m.u[j] }
      let inside = hasProjection ? m.inner : m.image
      multiplyForward(kernels, step, m, into: inside)
      if let projectionWeight {
        projectionWeight.multiply(
          kernels, rows: 1, input: m.inner, inputRowStride: h, start: nil, startRowStride: 0, output: m.image, outputRowStride: s)
      }
      norm = Self.length(m.image, s)
      // u = Jᵀ image
      multiplyBackward(kernels, transposed, step, mask: mask, m)
    }
    return norm
  }

  private static func length(_ values: UnsafePointer<Scalar>, _ count: Int) -> Double {
    var sum = 0.0
    for j in 0..<count { sum += Double(values[j]) * Double(values[j]) }
    return sum.squareRoot()
  }

  /// s_g [G·H] for ∂L/∂(what the gates make) = 1 and no gradient of the next C; for a GRU also Z in `passed`. The reset gate's
  /// slope of a reset-before GRU is r′ ⊙ H as it enters the products.
  private func gateSlopes(_ kernels: borrowing KernelTable<Scalar>, _ step: StepArrays<Scalar>, _ m: JacobianMemory) {
    let h = hiddenSize
    for j in 0..<h { m.ones[j] = 1 }
    m.cell.update(repeating: 0, count: h)
    if hasGeneralGates(keepsTrace: true) {
      generalGatesBackward(
        step, resultGradient: m.ones, passedGradient: m.passed, cellGradient: m.cell, m.slopes, recurrentTermGradient: m.inner)
      if cell == .gru(.resetBefore), let derivatives = step.derivatives {
        for j in 0..<h { m.slopes[j] = step.hiddenInput[j] * derivatives[j] }
      }
      return
    }
    var arguments = GateArguments(rows: 1, hiddenSize: h, gates: step.gates, gatesStride: gateWidth)
    arguments.hidden = step.hidden
    arguments.nextHidden = step.nextHidden
    arguments.cell = step.cell
    arguments.nextCell = step.nextCell
    if let cellOutput = step.cellOutput { arguments.cellOutput = cellOutput }
    arguments.recurrentTerm = step.recurrentTerm
    arguments.recurrentTermGradient = m.inner
    arguments.gateGradients = m.slopes
    arguments.gateGradientsLayout = GateLayout(units: h, columns: gateWidth)
    arguments.nextHiddenGradient = UnsafePointer(m.ones)
    arguments.hiddenGradient = m.passed
    arguments.cellGradient = m.cell
    switch cell {
    case .vanilla(let nonlinearity):
      arguments.relu = nonlinearity == .relu
      kernels.vanillaBackward(arguments)
    case .lstm: kernels.lstmBackward(arguments)
    case .gru(.resetBefore):
      kernels.gruBackward(arguments)
      for j in 0..<h { m.slopes[j] = step.hiddenInput[j] * (step.gates[j] * (1 - step.gates[j])) }
    case .gru(.resetAfter):
      kernels.gruBackward(arguments)
      kernels.gruAfterBackward(arguments)
    }
  }

  /// Σ_g s_g ⊙ (W_g v) + D ⊙ u, [H], with v = u as it enters the products.
  private func multiplyForward(
    _ kernels: borrowing KernelTable<Scalar>, _ step: StepArrays<Scalar>, _ m: JacobianMemory,
    into image: UnsafeMutablePointer<Scalar>
  ) {
    let (h, s, width) = (hiddenSize, stateSize, gateWidth)
    recurrentWeight.multiply(
      kernels, rows: 1, input: m.v, inputRowStride: s, start: nil, startRowStride: 0, output: m.gateSums,
      outputRowStride: width)
    guard case .gru(let variant) = cell else {
      for j in 0..<h {
        var sum: Scalar = 0
        for gate in 0..<gateCount { sum += m.slopes[gate &* h &+ j] * m.gateSums[gate &* h &+ j] }
        image[j] = sum
      }
      return
    }
    let candidate = CellKind.candidateGate &* h
    if variant == .resetBefore {
      // d(R ⊙ H) = R ⊙ v + (H ⊙ r′) ⊙ (W_r v)
      for j in 0..<h { m.inner[j] = step.gates[j] * m.v[j] + m.slopes[j] * m.gateSums[j] }
      candidateWeight?.multiply(
        kernels, rows: 1, input: m.inner, inputRowStride: h, start: nil, startRowStride: 0, output: m.gateSums + candidate,
        outputRowStride: h)
      for j in 0..<h {
        image[j] =
          m.passed[j] * m.u[j] + m.slopes[h &+ j] * m.gateSums[h &+ j] + m.slopes[candidate &+ j] * m.gateSums[candidate &+ j]
      }
    } else {
      candidateWeight?.multiply(
        kernels, rows: 1, input: m.v, inputRowStride: h, start: nil, startRowStride: 0, output: m.gateSums + candidate,
        outputRowStride: h)
      for j in 0..<h {
        let gates = m.slopes[j] * m.gateSums[j] + m.slopes[h &+ j] * m.gateSums[h &+ j]
        // ∂/∂Q is the candidate's slope times R.
        image[j] = m.passed[j] * m.u[j] + gates + m.slopes[candidate &+ j] * step.gates[j] * m.gateSums[candidate &+ j]
      }
    }
  }

  /// u = Jᵀ image.
  private func multiplyBackward(
    _ kernels: borrowing KernelTable<Scalar>, _ transposed: BackwardWeights<Scalar>.Layer, _ step: StepArrays<Scalar>,
    mask: UnsafePointer<Scalar>?, _ m: JacobianMemory
  ) {
    let (h, s, width) = (hiddenSize, stateSize, gateWidth)
    var from = UnsafePointer(m.image)
    if let projection = transposed.projection {
      projection.multiply(
        kernels, rows: 1, input: m.image, inputRowStride: s, start: nil, startRowStride: 0, output: m.inner,
        outputRowStride: h)
      from = UnsafePointer(m.inner)
    }
    for gate in 0..<gateCount {
      for j in 0..<h { m.gateSums[gate &* h &+ j] = m.slopes[gate &* h &+ j] * from[j] }
    }
    guard case .gru(let variant) = cell else {
      transposed.recurrent.multiply(
        kernels, rows: 1, input: m.gateSums, inputRowStride: width, start: nil, startRowStride: 0, output: m.u,
        outputRowStride: s)
      if let mask { for j in 0..<s { m.u[j] = m.u[j] * mask[j] } }
      return
    }
    let candidate = m.gateSums + CellKind.candidateGate &* h
    if variant == .resetBefore {
      transposed.candidate?.multiply(
        kernels, rows: 1, input: candidate, inputRowStride: h, start: nil, startRowStride: 0, output: m.inner,
        outputRowStride: h)
      for j in 0..<h {
        m.gateSums[j] = m.slopes[j] * m.inner[j]
        m.inner[j] = step.gates[j] * m.inner[j]
      }
    } else {
      for j in 0..<h { candidate[j] = candidate[j] * step.gates[j] }
      transposed.candidate?.multiply(
        kernels, rows: 1, input: candidate, inputRowStride: h, start: nil, startRowStride: 0, output: m.inner,
        outputRowStride: h)
    }
    transposed.recurrent.multiply(
      kernels, rows: 1, input: m.gateSums, inputRowStride: width, start: m.inner, startRowStride: h, output: m.v,
      outputRowStride: h)
    for j in 0..<h { m.u[j] = m.passed[j] * m.image[j] + (mask.map { $0[j] * m.v[j] } ?? m.v[j]) }
  }
}
