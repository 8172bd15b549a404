// What each kernel is told: plain memory, no ownership. Strides are in elements. Everything has been checked by the caller.

/// The order in which a product adds its terms; `reductionChains(depth:outputs:)` chooses it, from nothing but the sizes
/// of the weight matrix, so that rows, chunks and threads cannot change a bit.
@frozen
public enum ReductionOrder: UInt8, Sendable {
  /// One chain: start, then k ascending.
  case single
  /// Two chains, added at the end: start and the even k, zero and the odd k.
  case double
  /// 16 lanes (double: 8), lane l taking the k ≡ l; folded in halves, then added to start.
  case lanes
}

/// Where the elements of a matrix [rows, gates · units] are: as rows, or in blocks of `blockWidth` units, each [rows, blockWidth], with
/// room for whole blocks in every gate. In blocks it is what the gradient of a weight reads, and a step's rows are read as well.
@frozen
public struct GateLayout: BitwiseCopyable, Sendable {
  public var gateStride, rowStride: Int
  public var isBlocked: Bool
  /// Rows of a block; 1: blocks follow each other in a row.
  @usableFromInline var blockRows: Int

  /// Columns of a block: a cache line of floats.
  @inlinable @inline(__always) public static var blockWidth: Int { 16 }

  /// Rows of `columns` elements.
  @inlinable @inline(__always)
  public init(units: Int, columns: Int) {
    gateStride = units
    blockRows = 1
    rowStride = columns
    isBlocked = false
  }

  /// Blocks of `rows` rows.
  @inlinable @inline(__always)
  public init(units: Int, blocksOfRows rows: Int) {
    gateStride = (units &+ Self.blockWidth &- 1) / Self.blockWidth &* Self.blockWidth &* rows
    blockRows = rows
    rowStride = Self.blockWidth
    isBlocked = true
  }

  @inlinable @inline(__always) public var blockStride: Int { blockRows &* Self.blockWidth }

  /// The place of a unit of the first gate; those beside it follow as far as its block goes.
  @inlinable @inline(__always)
  public func place(row: Int, unit: Int) -> Int {
    let lane = unit & (Self.blockWidth &- 1)
    return row &* rowStride &+ (unit &- lane) &* blockRows &+ lane
  }
}

/// output[n, m] = start[n, m] + Σ_k input[n, k] · weight[m, k], in the given order.
@frozen
public struct ProductArguments<Scalar>: BitwiseCopyable {
  public var rows, depth, outputs: Int
  public var input: UnsafePointer<Scalar>
  public var inputRowStride, inputDepthStride: Int
  /// `product` in one chain, of an input in blocks (``GateLayout``): how far they are apart, 0 for rows; the k of a gate, of which
  /// the depth is a multiple; and how far gates are apart.
  public var inputBlockStride, inputGateDepth, inputGateStride: Int
  /// `product`: packed (see `PackedMatrix`). `plain_product`: weight[m, k] at m · outputStride + k · depthStride.
  public var weight: UnsafePointer<Scalar>
  public var weightOutputStride, weightDepthStride: Int
  /// nil: zeros. Row stride 0: the same row, a bias, for all. May be `output` itself.
  public var start: UnsafePointer<Scalar>?
  public var startRowStride: Int
  public var output: UnsafeMutablePointer<Scalar>
  public var outputRowStride: Int
  public var order: ReductionOrder

  @inlinable @inline(__always)
  public init(
    rows: Int, depth: Int, outputs: Int,
    input: UnsafePointer<Scalar>, inputRowStride: Int, inputDepthStride: Int = 1,
    weight: UnsafePointer<Scalar>, weightOutputStride: Int = 0, weightDepthStride: Int = 0,
    start: UnsafePointer<Scalar>?, startRowStride: Int,
    output: UnsafeMutablePointer<Scalar>, outputRowStride: Int, order: ReductionOrder
  ) {
    self.rows = rows
    self.depth = depth
    self.outputs = outputs
    self.input = input
    self.inputRowStride = inputRowStride
    self.inputDepthStride = inputDepthStride
    inputBlockStride = 0
    inputGateDepth = depth
    inputGateStride = 0
    self.weight = weight
    self.weightOutputStride = weightOutputStride
    self.weightDepthStride = weightDepthStride
    self.start = start
    self.startRowStride = startRowStride
    self.output = output
    self.outputRowStride = outputRowStride
    self.order = order
  }
}

extension ProductArguments {
  /// The outputs from `first` on, which begins a panel.
  @inlinable @inline(__always)
  public func outputs(from first: Int) -> Self {
    var rest = self
    rest.outputs &-= first
    rest.weight += first &* depth
    rest.start = start.map { $0 + first }
    rest.output += first
    return rest
  }
}

/// Rows of a weight's gradient, summed over a chunk of the rows of two operands; see `weightGradientBody`.
@frozen
public struct WeightGradientArguments<Scalar>: BitwiseCopyable {
  /// Rows of the chunk, and those that may be read from `right` on: the chunk's and what follows it in the operand.
  public var depth, readableRows: Int
  /// [depth, leftColumns], at most `blockWidth` of them.
  public var left: UnsafePointer<Scalar>
  public var leftColumns, leftRowStride: Int
  /// [depth, rightColumns].
  public var right: UnsafePointer<Scalar>
  public var rightColumns, rightRowStride: Int
  /// [leftColumns, rightColumns].
  public var output: UnsafeMutablePointer<Scalar>
  public var outputRowStride: Int
  /// The sums go on from what is in `output`.
  public var continues: Bool

  /// Columns of the left operand side by side: rows of the largest register tile of any instruction set.
  @inlinable @inline(__always) public static var blockWidth: Int { 8 }

  @inlinable @inline(__always)
  public init(
    depth: Int, readableRows: Int, left: UnsafePointer<Scalar>, leftColumns: Int, leftRowStride: Int = Self.blockWidth,
    right: UnsafePointer<Scalar>, rightColumns: Int, rightRowStride: Int, output: UnsafeMutablePointer<Scalar>, outputRowStride: Int,
    continues: Bool
  ) {
    self.depth = depth
    self.readableRows = readableRows
    self.left = left
    self.leftColumns = leftColumns
    self.leftRowStride = leftRowStride
    self.right = right
    self.rightColumns = rightColumns
    self.rightRowStride = rightRowStride
    self.output = output
    self.outputRowStride = outputRowStride
    self.continues = continues
  }
}

@frozen
public struct ElementArguments<Scalar> {
  public var count: Int
  public var values: UnsafeMutablePointer<Scalar>

  @inlinable @inline(__always)
  public init(count: Int, values: UnsafeMutablePointer<Scalar>) {
    self.count = count
    self.values = values
  }
}

@frozen
public struct AddArguments<Scalar> {
  public var rows, columns: Int
  public var values: UnsafeMutablePointer<Scalar>
  public var valuesStride: Int
  public var addend: UnsafePointer<Scalar>
  public var addendStride: Int

  @inlinable @inline(__always)
  public init(
    rows: Int, columns: Int, values: UnsafeMutablePointer<Scalar>, valuesStride: Int,
    addend: UnsafePointer<Scalar>, addendStride: Int
  ) {
    self.rows = rows
    self.columns = columns
    self.values = values
    self.valuesStride = valuesStride
    self.addend = addend
    self.addendStride = addendStride
  }
}

/// One step of the elementwise part of a cell, forwards or backwards; each kernel says what it reads and writes.
///
/// All are [N, H] but `gates` and `gateGradients`, which have G·H columns; of gradients that stay for all steps there is a layout.
@frozen
public struct GateArguments<Scalar> {
  public var rows, hiddenSize: Int
  /// Pre-activations, replaced by the gates' values; backwards: the gates' values.
  public var gates: UnsafeMutablePointer<Scalar>
  public var gatesStride: Int
  /// H of the step before.
  public var hidden: UnsafePointer<Scalar>
  /// H of this step.
  public var nextHidden: UnsafeMutablePointer<Scalar>
  /// LSTM: C of the step before and of this one.
  public var cell: UnsafePointer<Scalar>
  public var nextCell: UnsafeMutablePointer<Scalar>
  /// LSTM, in training: tanh(C) of this step.
  public var cellOutput: UnsafeMutablePointer<Scalar>
  public var keepsCellOutput: Bool
  /// GRU: R ⊙ H (reset-before) or H W_hh + b_hh of the candidate (reset-after); backwards its gradient too.
  public var recurrentTerm: UnsafeMutablePointer<Scalar>
  public var recurrentTermGradient: UnsafeMutablePointer<Scalar>
  public var recurrentTermGradientLayout: GateLayout
  /// Gradients of the pre-activations.
  public var gateGradients: UnsafeMutablePointer<Scalar>
  public var gateGradientsLayout: GateLayout
  /// ∂L/∂H of this step, and what of ∂L/∂H of the step before does not pass through a matrix.
  public var nextHiddenGradient: UnsafePointer<Scalar>
  public var hiddenGradient: UnsafeMutablePointer<Scalar>
  /// LSTM: ∂L/∂C of this step, replaced by that of the step before.
  public var cellGradient: UnsafeMutablePointer<Scalar>
  public var relu: Bool

  /// Every array is `anchor` until the caller sets it: a kernel touches only what it documents.
  @inlinable @inline(__always)
  public init(rows: Int, hiddenSize: Int, gates: UnsafeMutablePointer<Scalar>, gatesStride: Int) {
    self.rows = rows
    self.hiddenSize = hiddenSize
    self.gates = gates
    self.gatesStride = gatesStride
    hidden = UnsafePointer(gates)
    nextHidden = gates
    cell = UnsafePointer(gates)
    nextCell = gates
    cellOutput = gates
    keepsCellOutput = false
    recurrentTerm = gates
    recurrentTermGradient = gates
    recurrentTermGradientLayout = GateLayout(units: hiddenSize, columns: hiddenSize)
    gateGradients = gates
    gateGradientsLayout = GateLayout(units: hiddenSize, columns: gatesStride)
    nextHiddenGradient = UnsafePointer(gates)
    hiddenGradient = gates
    cellGradient = gates
    relu = false
  }
}

/// Which cell a fused sequence is of.
@frozen
public enum FusedCell: UInt8, Sendable {
  case vanillaTanh, vanillaRelu, lstm, gruBefore, gruAfter

  /// Sums of one unit: G.
  @inlinable @inline(__always)
  public var gateCount: Int {
    switch self {
    case .vanillaTanh, .vanillaRelu: 1
    case .lstm: 4
    case .gruBefore, .gruAfter: 3
    }
  }
}

/// A product that steps compute beside themselves, as far as it has come: output[n, m] = start[m] + Σ_k input[n, k] · weight[m, k] in
/// one chain. See ProductBesideSteps.swift.
@frozen
public struct BesideProduct<Scalar>: BitwiseCopyable {
  /// A multiple of `besideRows`, all k, and whole panels of outputs.
  public var rows, depth, columns: Int
  public var input: UnsafePointer<Scalar>
  public var inputRowStride: Int
  /// Packed (see `PackedMatrix`).
  public var weight: UnsafePointer<Scalar>
  public var start: UnsafePointer<Scalar>
  public var output: UnsafeMutablePointer<Scalar>
  public var outputRowStride: Int
  /// What comes next.
  @usableFromInline var row, firstDepth, column: Int

  /// The first `columns` outputs of a product that begins with `start`, in one chain.
  @inlinable @inline(__always)
  public init(_ product: ProductArguments<Scalar>, start: UnsafePointer<Scalar>, columns: Int) {
    rows = product.rows
    depth = product.depth
    self.columns = rows > 0 && depth > 0 ? columns : 0
    input = product.input
    inputRowStride = product.inputRowStride
    weight = product.weight
    self.start = start
    output = product.output
    outputRowStride = product.outputRowStride
    row = 0
    firstDepth = 0
    column = 0
  }
}

/// Steps of one layer and direction, from X W_x + b: each step's recurrent product, gates and state at once. See FusedStep.swift.
///
/// Units come in panels of one vector; P panels hold H units and, past the last, zeros. The last panel may be one of half a vector. Of all
/// rows, the state is [N, P · width].
@frozen
public struct FusedArguments<Scalar>: BitwiseCopyable {
  public var cellKind: FusedCell
  /// The order of the sums over H: of all gates, or of a GRU's r and z; and of its candidate. With `gruAfter` they are the same.
  public var order, candidateOrder: ReductionOrder
  /// Which halves of a step: 1 is the gates r and z of `gruBefore`, 2 everything else; 3 is both. A part of a step, for threads
  /// that share it, has one step and one phase.
  public var phases: UInt8
  /// H.
  public var depth: Int
  public var steps, rows: Int
  /// The panels of this call, of whole vectors; all of them but where threads share a step.
  public var firstPanel, panelCount: Int
  /// After them comes a panel of half a vector.
  public var hasHalfPanel: Bool
  /// Odd steps take the panels backwards, counted from here.
  public var firstStep: Int
  /// [steps, rows, P, G, width]: X W_x + b, or with `inputDepth` only b, for the step to add X W_x.
  public var x: UnsafePointer<Scalar>
  public var xStepStride, xRowStride: Int
  /// I, where one step of one row computes X W_x + b itself, from `input`; 0 otherwise.
  public var inputDepth: Int
  public var inputOrder: ReductionOrder
  public var input: UnsafePointer<Scalar>
  /// [P, I, G, width].
  public var inputWeight: UnsafePointer<Scalar>
  /// [P, G, width]: room for X W_x + b of a step.
  public var inputSums: UnsafeMutablePointer<Scalar>
  /// Weights are bfloat16, of one row: in place of two lines k and k + 1 there is one of words, k in the low halves; all sums are of
  /// one chain. An odd depth ends with half a line.
  public var isBFloat16: Bool
  /// [P, H, G, width]; for `gruBefore` of r and z alone, and the candidate's [P, H, width] beside it.
  public var weight, candidateWeight: UnsafePointer<Scalar>
  /// b_hh of the candidate of `gruAfter`, [P · width].
  public var candidateBias: UnsafePointer<Scalar>
  /// The state of each row, `stateStride` apart: H goes in by `hidden` and comes out in `nextHidden`, and they change places after
  /// every step. `cell` of an LSTM is advanced where it is; `term` and `update` of `gruBefore` carry R ⊙ H and Z over.
  public var hidden, nextHidden, cell, term, update: UnsafeMutablePointer<Scalar>
  public var stateStride: Int
  /// Receives H of every step, H elements a row; nil where nobody wants it.
  public var output: UnsafeMutablePointer<Scalar>?
  public var outputStepStride, outputRowStride: Int
  /// Room for ``sumCount`` elements.
  public var sums: UnsafeMutablePointer<Scalar>
  /// What several steps of one row, whose sums have one chain, compute beside themselves and finish; nil for nothing.
  public var beside: UnsafeMutablePointer<BesideProduct<Scalar>>?

  /// Elements of `sums` on any instruction set: 24 vectors.
  @inlinable @inline(__always) public static var sumCount: Int { 24 * 16 }

  @inlinable @inline(__always)
  public init(
    _ cellKind: FusedCell, order: ReductionOrder, candidateOrder: ReductionOrder, depth: Int, steps: Int, rows: Int,
    panelCount: Int, hasHalfPanel: Bool, rowWidth: Int, stateWidth: Int, x: UnsafePointer<Scalar>, weight: UnsafePointer<Scalar>,
    hidden: UnsafeMutablePointer<Scalar>, nextHidden: UnsafeMutablePointer<Scalar>, sums: UnsafeMutablePointer<Scalar>
  ) {
    self.cellKind = cellKind
    self.order = order
    self.candidateOrder = candidateOrder
    phases = 3
    self.depth = depth
    self.steps = steps
    self.rows = rows
    firstPanel = 0
    self.panelCount = panelCount
    self.hasHalfPanel = hasHalfPanel
    firstStep = 0
    self.x = x
    xRowStride = rowWidth
    xStepStride = rows &* xRowStride
    inputDepth = 0
    inputOrder = order
    input = x
    inputWeight = weight
    inputSums = sums
    isBFloat16 = false
    self.weight = weight
    candidateWeight = weight
    candidateBias = weight
    self.hidden = hidden
    self.nextHidden = nextHidden
    cell = hidden
    term = hidden
    update = hidden
    stateStride = stateWidth
    output = nil
    outputStepStride = 0
    outputRowStride = 0
    self.sums = sums
    beside = nil
  }
}

/// sums[m] = Σ_r values[r, m].
@frozen
public struct ColumnSumArguments<Scalar> {
  public var rows, columns: Int
  public var values: UnsafePointer<Scalar>
  public var valuesStride: Int
  public var sums: UnsafeMutablePointer<Scalar>

  @inlinable @inline(__always)
  public init(
    rows: Int, columns: Int, values: UnsafePointer<Scalar>, valuesStride: Int, sums: UnsafeMutablePointer<Scalar>
  ) {
    self.rows = rows
    self.columns = columns
    self.values = values
    self.valuesStride = valuesStride
    self.sums = sums
  }
}

/// result = Σ values², in double.
@frozen
public struct SquareSumArguments<Scalar> {
  public var count: Int
  public var values: UnsafePointer<Scalar>
  public var result: UnsafeMutablePointer<Double>

  @inlinable @inline(__always)
  public init(count: Int, values: UnsafePointer<Scalar>, result: UnsafeMutablePointer<Double>) {
    self.count = count
    self.values = values
    self.result = result
  }
}

/// For each row: exponentials[c] = e^(values[c] - max), their sum, and max. May be in place.
@frozen
public struct SoftmaxArguments<Scalar> {
  public var rows, columns: Int
  public var values: UnsafePointer<Scalar>
  public var valuesStride: Int
  public var exponentials: UnsafeMutablePointer<Scalar>
  public var exponentialsStride: Int
  /// [rows, 2]: max and sum.
  public var summaries: UnsafeMutablePointer<Scalar>

  @inlinable @inline(__always)
  public init(
    rows: Int, columns: Int, values: UnsafePointer<Scalar>, valuesStride: Int,
    exponentials: UnsafeMutablePointer<Scalar>, exponentialsStride: Int, summaries: UnsafeMutablePointer<Scalar>
  ) {
    self.rows = rows
    self.columns = columns
    self.values = values
    self.valuesStride = valuesStride
    self.exponentials = exponentials
    self.exponentialsStride = exponentialsStride
    self.summaries = summaries
  }
}

/// values = f(values), element by element; `derivatives` = f'(values as they were). The two do not overlap.
@frozen
public struct ActivateArguments<Scalar> {
  public var rows, columns: Int
  public var values: UnsafeMutablePointer<Scalar>
  public var valuesStride: Int
  /// nil where nobody wants them.
  public var derivatives: UnsafeMutablePointer<Scalar>?
  public var derivativesStride: Int
  public var kind: ActivationKind
  /// Finite; not read where the kind has none.
  public var alpha, beta: Scalar
  /// Above 0: x is first limited to [-clip, clip], and the derivative is 0 where it was outside. 0: no limit.
  public var clip: Scalar

  @inlinable @inline(__always)
  public init(
    rows: Int, columns: Int, values: UnsafeMutablePointer<Scalar>, valuesStride: Int,
    derivatives: UnsafeMutablePointer<Scalar>? = nil, derivativesStride: Int = 0,
    kind: ActivationKind, alpha: Scalar, beta: Scalar, clip: Scalar
  ) {
    self.rows = rows
    self.columns = columns
    self.values = values
    self.valuesStride = valuesStride
    self.derivatives = derivatives
    self.derivativesStride = derivativesStride
    self.kind = kind
    self.alpha = alpha
    self.beta = beta
    self.clip = clip
  }
}

/// values = left ⊙ right + addend. `values` may be any of them.
@frozen
public struct MultiplyAddArguments<Scalar> {
  public var rows, columns: Int
  public var values: UnsafeMutablePointer<Scalar>
  public var valuesStride: Int
  public var left: UnsafePointer<Scalar>
  public var leftStride: Int
  public var right: UnsafePointer<Scalar>
  public var rightStride: Int
  /// nil: nothing is added.
  public var addend: UnsafePointer<Scalar>?
  public var addendStride: Int

  @inlinable @inline(__always)
  public init(
    rows: Int, columns: Int, values: UnsafeMutablePointer<Scalar>, valuesStride: Int = 0,
    left: UnsafePointer<Scalar>, leftStride: Int = 0, right: UnsafePointer<Scalar>, rightStride: Int = 0,
    addend: UnsafePointer<Scalar>? = nil, addendStride: Int = 0
  ) {
    self.rows = rows
    self.columns = columns
    self.values = values
    self.valuesStride = valuesStride
    self.left = left
    self.leftStride = leftStride
    self.right = right
    self.rightStride = rightStride
    self.addend = addend
    self.addendStride = addendStride
  }
}

/// An operator over the features of each row; each kernel says what it reads and writes. All are [rows, columns] but `weight` and
/// `bias`, [columns].
@frozen
public struct RowArguments<Scalar> {
  public var rows, columns: Int
  /// The columns, as a number.
  public var count: Scalar
  public var values: UnsafePointer<Scalar>
  public var result: UnsafeMutablePointer<Scalar>
  public var gradient: UnsafeMutablePointer<Scalar>
  public var scratch: UnsafeMutablePointer<Scalar>
  public var weight: UnsafePointer<Scalar>
  public var bias: UnsafePointer<Scalar>
  /// Layer normalisation: above 0.
  public var epsilon: Scalar
  /// Softmax: its logarithm.
  public var isLogarithm: Bool

  /// Every array is `values` or `result` until the caller sets it: a kernel touches only what it documents.
  @inlinable @inline(__always)
  public init(
    rows: Int, columns: Int, count: Scalar, values: UnsafePointer<Scalar>, result: UnsafeMutablePointer<Scalar>,
    epsilon: Scalar, isLogarithm: Bool = false
  ) {
    self.rows = rows
    self.columns = columns
    self.count = count
    self.values = values
    self.result = result
    gradient = result
    scratch = result
    weight = values
    bias = values
    self.epsilon = epsilon
    self.isLogarithm = isLogarithm
  }
}
