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
    case .vanilla(let nonlinearity): .plain(nonlinearity == .relu ? .relu : .tanh)
    case .gru: .plain(slot == Self.candidateGate ? .tanh : .sigmoid)
    case .lstm: .plain(slot == Self.cellGate || slot == Self.outputActivation ? .tanh : .sigmoid)
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
