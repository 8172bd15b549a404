import RNN

/// The arrays of a cell function: N, I and H fix every length. Checks NULL, alignment and overlap.
struct CellArrays {
  /// What an array is, and with it how long.
  enum Role {
    case input, state, weightIH, weightHH, bias
    /// [N, 4·H] for every cell that has one.
    case trace
  }

  private let counts: [Role: Int]
  /// The arrays so far, as bytes.
  private var inputs: [(name: StaticString, bytes: UnsafeRawBufferPointer)] = []
  private var outputs: [(name: StaticString, bytes: UnsafeRawBufferPointer)] = []

  init(_ n: Int, _ i: Int, _ h: Int, gates: Int) throws(RNNError) {
    for (name, size) in [("N", n), ("I", i), ("H", h)] where size < 1 || size > 1 << 40 {
      throw RNNError(.invalidArgument, "\(name) is \(UInt(bitPattern: size)), expected 1 to 2^40")
    }
    func count(_ sizes: Int...) throws(RNNError) -> Int {
      var product = 1
      for size in sizes {
        let (next, overflow) = product.multipliedReportingOverflow(by: size)
        guard !overflow, next < 1 << 50 else {
          throw RNNError(.invalidArgument, "N = \(n), I = \(i), H = \(h): an array would be larger than memory")
        }
        product = next
      }
      return product
    }
    counts = [
      .input: try count(n, i), .state: try count(n, h), .weightIH: try count(gates, h, i),
      .weightHH: try count(gates, h, h), .bias: try count(gates, h), .trace: try count(n, 4, h),
    ]
  }

  mutating func input<Scalar>(
    _ pointer: UnsafePointer<Scalar>?, _ name: StaticString, _ role: Role, isOptional: Bool = false
  ) throws(RNNError) {
    if let bytes = try bytes(pointer, name, role, isOptional: isOptional) { inputs.append((name, bytes)) }
  }

  mutating func output<Scalar>(
    _ pointer: UnsafeMutablePointer<Scalar>?, _ name: StaticString, _ role: Role, isOptional: Bool = false
  ) throws(RNNError) {
    if let bytes = try bytes(UnsafePointer(pointer), name, role, isOptional: isOptional) { outputs.append((name, bytes)) }
  }

  private func bytes<Scalar>(
    _ pointer: UnsafePointer<Scalar>?, _ name: StaticString, _ role: Role, isOptional: Bool
  ) throws(RNNError) -> UnsafeRawBufferPointer? {
    guard let pointer else {
      guard isOptional else { throw RNNError(.invalidArgument, "\(name) is NULL") }
      return nil
    }
    let buffer = try array(pointer, counts[role] ?? 0, named: name)
    guard UInt.max - UInt(bitPattern: pointer) >= UInt(buffer.count * MemoryLayout<Scalar>.stride) else {
      throw RNNError(.invalidArgument, "\(name): \(buffer.count) elements from \(pointer) on leave the address space")
    }
    return UnsafeRawBufferPointer(buffer)
  }

  /// Checks overlaps, then computes in librnn's floating-point mode.
  func computing(_ body: () throws(RNNError) -> Void) throws(RNNError) {
    for (index, output) in outputs.enumerated() {
      for other in inputs + outputs[..<index] {
        try checkDisjoint(UnsafeMutableRawBufferPointer(mutating: output.bytes), output.name, other.bytes, other.name)
      }
    }
    try withNumericMode(body)
  }
}

extension Nonlinearity {
  init(constant: Int32) throws(RNNError) {
    switch constant {
    case 0: self = .tanh
    case 1: self = .relu
    default: throw unknown("nonlinearity", constant)
    }
  }
}

extension GRUVariant {
  init(constant: Int32) throws(RNNError) {
    switch constant {
    case 0: self = .resetBefore
    case 1: self = .resetAfter
    default: throw unknown("gru_variant", constant)
    }
  }
}
