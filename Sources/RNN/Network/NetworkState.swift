import RNNKernels

/// h (and c) of every recurrent layer, for N rows: what a network remembers between two calls.
///
/// A value: copies are independent. The same shape holds gradients with respect to it. Layout: the arrays of
/// ``Architecture/states`` one after the other, each [L·D, N, H].
public struct NetworkState: Sendable {
  /// N.
  public let batchSize: Int
  public let dataType: DataType
  /// Names and shapes, for one row.
  public let entries: [TensorSlot]
  /// Elements of all arrays.
  public let count: Int
  private var storage: Storage
  /// The state that sequences begin with, untouched since: a network that learns it takes its present one.
  private(set) var isInitial = true
  /// As the state was made, where that is not zero.
  private var initial: Storage?

  /// The numbers, of either type; doubles are the larger.
  private final class Storage: @unchecked Sendable {
    let buffer: AlignedBuffer<Double>
    init(_ buffer: AlignedBuffer<Double>) { self.buffer = buffer }
  }

  /// Zeros.
  init(_ architecture: Architecture, batchSize: Int) throws(RNNError) {
    guard batchSize >= 1 else { throw RNNError(.invalidArgument, "batch_size is \(batchSize), expected at least 1") }
    self.batchSize = batchSize
    dataType = architecture.dataType
    entries = architecture.states
    count = try checkedProduct(architecture.stateCount, batchSize, of: "the state")
    storage = Storage(try makeBuffer(Double.self, count: count, for: "the state of \(batchSize) rows"))
  }

  public func check(_ architecture: Architecture, batchSize: Int, named name: String = "state") throws(RNNError) {
    guard dataType == architecture.dataType, entries == architecture.states else {
      throw RNNError(.shape, "\(name) was made for a network with other layers")
    }
    guard self.batchSize == batchSize else {
      throw RNNError(.shape, "\(name) has \(self.batchSize) rows, expected \(batchSize)")
    }
  }

  func values<Scalar: KernelScalar>(_ type: Scalar.Type) -> UnsafePointer<Scalar> {
    UnsafePointer(UnsafeMutableRawPointer(storage.buffer.baseAddress).assumingMemoryBound(to: Scalar.self))
  }

  /// Makes it the learned initial state of these weights.
  mutating func begin<Scalar: KernelScalar>(with weights: Weights<Scalar>) throws(RNNError) {
    weights.writeInitialState(try mutableValues(Scalar.self), rows: batchSize)
    // Apart, so that writing the state need not copy it first.
    let copy = try makeBuffer(Double.self, count: count, for: "the initial state")
    copy.baseAddress.update(from: storage.buffer.baseAddress, count: count)
    initial = Storage(copy)
    isInitial = true
  }

  /// The numbers, to be changed; after a copy if another state shares them.
  mutating func mutableValues<Scalar: KernelScalar>(_ type: Scalar.Type) throws(RNNError) -> UnsafeMutablePointer<Scalar> {
    if !isKnownUniquelyReferenced(&storage) {
      let copy = try makeBuffer(Double.self, count: count, for: "a copy of the state")
      copy.baseAddress.update(from: storage.buffer.baseAddress, count: count)
      storage = Storage(copy)
    }
    isInitial = false
    return UnsafeMutableRawPointer(storage.buffer.baseAddress).assumingMemoryBound(to: Scalar.self)
  }

  /// A copy that shares no memory, or an error.
  public func cloned() throws(RNNError) -> NetworkState {
    var copy = self
    _ = try copy.mutableValues(Double.self)
    copy.isInitial = isInitial
    return copy
  }

  /// As it was made: zeros, or the learned initial state.
  public mutating func reset() throws(RNNError) {
    let values = try mutableValues(Double.self)
    if let initial {
      values.update(from: initial.buffer.baseAddress, count: count)
    } else {
      values.update(repeating: 0, count: count)
    }
    isInitial = true
  }

  /// Zeros, also where an initial state is learned: a gradient that begins with nothing.
  public mutating func clear() throws(RNNError) {
    try mutableValues(Double.self).update(repeating: 0, count: count)
  }

  /// Copies out the array `name`, or all of them for nil.
  public func read<Scalar: KernelScalar>(
    _ name: String? = nil, into target: UnsafeMutableBufferPointer<Scalar>
  ) throws(RNNError) {
    let (offset, count) = try range(name, Scalar.self)
    guard target.count >= count else {
      throw RNNError(
        .bufferTooSmall, "values_count is \(target.count), and \(name.map { "'\($0)'" } ?? "the state") has \(count)")
    }
    target.baseAddress?.update(from: values(Scalar.self) + offset, count: count)
  }

  /// Replaces the array `name`, or all of them for nil.
  public mutating func write<Scalar: KernelScalar>(
    _ name: String? = nil, from source: UnsafeBufferPointer<Scalar>
  ) throws(RNNError) {
    let (offset, count) = try range(name, Scalar.self)
    guard source.count == count else {
      throw RNNError(.shape, "values_count is \(source.count), and \(name.map { "'\($0)'" } ?? "the state") has \(count)")
    }
    let values = try mutableValues(Scalar.self)
    if let base = source.baseAddress { (values + offset).update(from: base, count: count) }
  }

  private func range<Scalar: KernelScalar>(
    _ name: String?, _ type: Scalar.Type
  ) throws(RNNError) -> (offset: Int, count: Int) {
    guard Scalar.dataType == dataType else {
      throw RNNError(.dtype, "the state is \(dataType.rawValue), asked for \(Scalar.dataType.rawValue)")
    }
    guard let name else { return (0, count) }
    guard let entry = entries.first(where: { $0.name == name }) else {
      throw RNNError(
        .notFound, "no state \(quoted(name)); there are \(entries.map { "'\($0.name)'" }.joined(separator: ", "))")
    }
    return (entry.offset * batchSize, entry.count * batchSize)
  }
}

extension KernelScalar {
  static var dataType: DataType { Self.self == Float.self ? .float32 : .float64 }
}
