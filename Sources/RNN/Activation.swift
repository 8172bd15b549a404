import RNNKernels

extension ActivationKind {
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

extension Activation {
  /// Refuses numbers that are not finite in this type, and those for a function that has none.
  func check(node name: String, _ dataType: DataType) throws(RNNError) {
    for (what, value, isRead) in [("alpha", alpha, kind.readsAlpha), ("beta", beta, kind.readsBeta)] {
      guard value.isFinite, dataType == .float64 || Float(value).isFinite else {
        throw RNNError(.invalidArgument, "node '\(name)': \(what) is \(value), expected a finite \(dataType.rawValue)")
      }
      guard isRead || value == 0 else {
        throw RNNError(.invalidArgument, "node '\(name)': \(what) is \(value), and activation \(kind.name) has none: expected 0")
      }
    }
  }
}
