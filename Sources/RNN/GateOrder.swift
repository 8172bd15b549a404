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

  /// The forget gate's block in an LSTM.
  static let forgetGate = 1
  /// The candidate's block in a GRU; the blocks before it are r and z.
  static let candidateGate = 2

  var hasCellState: Bool { self == .lstm }
  var isGRU: Bool { if case .gru = self { true } else { false } }
}
