import RNNKernels

/// An element-wise function y = f(x) and its numbers: a node of a network, or what a gate applies.
public struct Activation: Equatable, Sendable {
  public let kind: ActivationKind
  /// 0 where the function has none.
  public let alpha, beta: Double

  /// - Throws: `invalidArgument`: a number that is not finite, or one for a function that has none.
  public init(_ kind: ActivationKind, alpha: Double = 0, beta: Double = 0) throws(RNNError) {
    for (name, value, isRead) in [("alpha", alpha, kind.readsAlpha), ("beta", beta, kind.readsBeta)] {
      guard value.isFinite else {
        throw RNNError(.invalidArgument, "\(name) of activation \(kind.name) is \(value), expected a finite number")
      }
      guard isRead || value == 0 else {
        throw RNNError(.invalidArgument, "activation \(kind.name) has no \(name): expected 0, got \(value)")
      }
    }
    self.kind = kind
    self.alpha = alpha
    self.beta = beta
  }

  private init(plain kind: ActivationKind) {
    self.kind = kind
    alpha = 0
    beta = 0
  }

  /// A function without numbers.
  static func plain(_ kind: ActivationKind) -> Activation { Activation(plain: kind) }

  /// Whether the numbers, rounded to this type, are still finite.
  func fits(_ dataType: DataType) -> Bool {
    dataType == .float64 || (Float(alpha).isFinite && Float(beta).isFinite)
  }
}

extension ActivationKind: CaseIterable {
  public static let allCases: [ActivationKind] = (0...UInt8.max).compactMap { ActivationKind(rawValue: $0) }

  /// As model files and the Python package write it.
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

  public init?(name: String) {
    guard let kind = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = kind
  }

  public var readsAlpha: Bool {
    switch self {
    case .hardSigmoid, .leakyRelu, .thresholdedRelu, .scaledTanh, .elu, .affine: true
    case .sigmoid, .tanh, .relu, .softsign, .softplus: false
    }
  }

  public var readsBeta: Bool {
    switch self {
    case .hardSigmoid, .scaledTanh, .affine: true
    case .sigmoid, .tanh, .relu, .leakyRelu, .thresholdedRelu, .elu, .softsign, .softplus: false
    }
  }
}
