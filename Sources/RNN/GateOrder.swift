import RNNKernels

/// The variants of the gated recurrent unit. Both are called "GRU"; no weights turn one into the other.
public enum GRUVariant: String, Sendable, CaseIterable {
  /// H̃ = tanh(X W_xh + (R ⊙ H) W_hh + b_h): Cho et al. 2014 (arXiv:1406.1078v3), textbooks, ONNX's default.
  case resetBefore = "reset_before"
  /// H̃ = tanh(X W_xh + b_xh + R ⊙ (H W_hh + b_hh)): arXiv:1406.1078v1, PyTorch, cuDNN, Keras.
  case resetAfter = "reset_after"
}

/// φ of the vanilla cell.
public enum Nonlinearity: String, Sendable, CaseIterable {
  case tanh
  case relu
}

/// Which cell a recurrent layer is made of.
public enum CellKind: Equatable, Sendable {
  case vanilla(Nonlinearity)
  case gru(GRUVariant)
  case lstm

  /// Row blocks of the stacked weights, in the order `gateNames`. Nobody else writes these numbers.
  public var gateCount: Int { gateNames.count }

  /// PyTorch's order: r, z, n and i, f, g, o.
  public var gateNames: [String] {
    switch self {
    case .vanilla: ["h"]
    case .gru: ["r", "z", "n"]
    case .lstm: ["i", "f", "g", "o"]
    }
  }

  /// Where the cell applies an activation: to each gate, and for LSTM h to C′.
  public var activationNames: [String] { self == .lstm ? gateNames + ["h"] : gateNames }

  /// The activation of a slot of `activationNames` by the cell's own equations.
  func ownActivation(slot: Int) -> Activation {
    switch self {
    case .vanilla(let nonlinearity): Activation(nonlinearity == .relu ? .relu : .tanh)
    case .gru: Activation(slot == Self.candidateGate ? .tanh : .sigmoid)
    case .lstm: Activation(slot == Self.cellGate || slot == Self.outputActivation ? .tanh : .sigmoid)
    }
  }

  var name: String {
    switch self {
    case .vanilla: "the vanilla cell"
    case .gru: "GRU"
    case .lstm: "LSTM"
    }
  }

  /// Blocks of an LSTM, and the slot of the activation h(C′).
  static let inputGate = 0, forgetGate = 1, cellGate = 2, outputGate = 3, outputActivation = 4
  /// Rows of a peephole weight: i, f, o.
  static let peepholeCount = 3
  /// Blocks of a GRU: r, z and the candidate.
  static let resetGate = 0, updateGate = 1, candidateGate = 2

  var hasCellState: Bool { self == .lstm }
  var isGRU: Bool { if case .gru = self { true } else { false } }
}

/// The activation function of a gate: y = f(x); alpha and beta as ``ActivationKind`` says.
public struct Activation: Equatable, Sendable {
  public var kind: ActivationKind
  public var alpha: Double
  public var beta: Double

  public init(_ kind: ActivationKind, alpha: Double = 0, beta: Double = 0) {
    self.kind = kind
    self.alpha = alpha
    self.beta = beta
  }
}

extension ActivationKind: CaseIterable {
  public static let allCases: [ActivationKind] = (UInt8.min...UInt8.max).compactMap { ActivationKind(rawValue: $0) }

  /// As model files and Python call it.
  public var name: String {
    switch self {
    case .sigmoid: "sigmoid"
    case .hardSigmoid: "hard_sigmoid"
    case .tanh: "tanh"
    case .relu: "relu"
    case .leakyRelu: "leaky_relu"
    case .thresholdedRelu: "thresholded_relu"
    case .scaledTanh: "scaled_tanh"
    case .elu: "elu"
    case .softsign: "softsign"
    case .softplus: "softplus"
    case .affine: "affine"
    }
  }
}
