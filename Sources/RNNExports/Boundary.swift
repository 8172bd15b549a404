import CRNN
import CRNNSupport
import RNN

/// Runs the body of an export: the only `catch`, and the only map from errors to statuses.
@inline(__always)
func catchingErrors(_ body: () throws(RNNError) -> Void) -> rnn_status {
  do {
    try body()
    return 0
  } catch {
    return report(error)
  }
}

@inline(never)
private func report(_ error: RNNError) -> rnn_status {
  var message = error.message
  message.withUTF8 { utf8 in
    utf8.withMemoryRebound(to: CChar.self) { text in
      if let base = text.baseAddress { rnn_cpu_message_set(base, text.count) }
    }
  }
  return status(of: error.code)
}

private func status(of code: RNNError.Code) -> rnn_status {
  switch code {
  case .invalidArgument: -1
  case .invalidHandle: -2
  case .bufferTooSmall: -3
  case .shape: -4
  case .dtype: -5
  case .outOfMemory: -6
  case .io: -7
  case .format: -8
  case .unsupported: -9
  case .busy: -10
  case .notFound: -11
  }
}

// MARK: - Handles

/// What a network handle stands for: the network, and its names as C wants them.
final class NetworkObject {
  let network: Network
  private let parameterNames, stateNames: CNames

  init(_ network: Network) {
    self.network = network
    parameterNames = CNames(network.architecture.parameters)
    stateNames = CNames(network.architecture.states)
  }

  func parameterName(_ index: Int) -> UnsafePointer<CChar> { parameterNames[index] }
  func stateName(_ index: Int) -> UnsafePointer<CChar> { stateNames[index] }
}

/// Names of tensors as C reads them, each ended by 0; valid while the object lives.
final class CNames {
  private let names: [UnsafeMutablePointer<CChar>]

  init(_ slots: [TensorSlot]) {
    names = slots.map { slot in
      let bytes = Array(slot.name.utf8CString)
      let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
      copy.initialize(from: bytes, count: bytes.count)
      return copy
    }
  }

  deinit { for name in names { name.deallocate() } }

  subscript(index: Int) -> UnsafePointer<CChar> { UnsafePointer(names[index]) }
}

final class TapeObject {
  let tape: Tape
  let arrays: [TensorSlot]
  let names: CNames

  init(_ tape: Tape) {
    self.tape = tape
    arrays = tape.arrays
    names = CNames(arrays)
  }
}

final class StateObject {
  var state: NetworkState?
  init(_ state: NetworkState) { self.state = state }
}

final class StreamObject {
  let stream: NetworkStream
  /// The same, for a step, which has no time to count references.
  let unmanaged: Unmanaged<NetworkStream>

  init(_ stream: NetworkStream) {
    self.stream = stream
    unmanaged = Unmanaged.passUnretained(stream)
  }
}

final class BuilderObject {
  var architecture: Architecture
  init(_ architecture: Architecture) { self.architecture = architecture }
}

@inline(__always)
func withNetwork<Result>(
  _ handle: OpaquePointer?, _ body: (NetworkObject) throws(RNNError) -> Result
) throws(RNNError) -> Result {
  let borrowed = try HandleTable.borrow(handle, .network, exclusively: false, named: "network")
  defer { borrowed.end() }
  return try body(borrowed.object(as: NetworkObject.self))
}

@inline(__always)
func withStream<Result>(
  _ handle: OpaquePointer?, _ body: (NetworkStream) throws(RNNError) -> Result
) throws(RNNError) -> Result {
  let borrowed = try HandleTable.borrow(handle, .stream, exclusively: true, named: "stream")
  defer { borrowed.end() }
  return try body(borrowed.object(as: StreamObject.self).stream)
}

func withState<Result>(
  _ handle: OpaquePointer?, named name: StaticString = "state", _ body: (StateObject) throws(RNNError) -> Result
) throws(RNNError) -> Result {
  let borrowed = try HandleTable.borrow(handle, .state, exclusively: true, named: name)
  defer { borrowed.end() }
  return try body(borrowed.object(as: StateObject.self))
}

/// The same where NULL means none.
func withOptionalState<Result>(
  _ handle: OpaquePointer?, named name: StaticString = "state", _ body: (StateObject?) throws(RNNError) -> Result
) throws(RNNError) -> Result {
  guard handle != nil else { return try body(nil) }
  return try withState(handle, named: name, body)
}

func withBuilder<Result>(
  _ handle: OpaquePointer?, _ body: (BuilderObject) throws(RNNError) -> Result
) throws(RNNError) -> Result {
  let borrowed = try HandleTable.borrow(handle, .builder, exclusively: true, named: "builder")
  defer { borrowed.end() }
  return try body(borrowed.object(as: BuilderObject.self))
}

func withTape<Result>(
  _ handle: OpaquePointer?, _ body: (TapeObject) throws(RNNError) -> Result
) throws(RNNError) -> Result {
  let borrowed = try HandleTable.borrow(handle, .tape, exclusively: true, named: "tape")
  defer { borrowed.end() }
  return try body(borrowed.object(as: TapeObject.self))
}

/// Runs the body of an export that makes an object: `out` is NULL until it exists.
func making(
  _ kind: HandleKind, _ out: UnsafeMutablePointer<OpaquePointer?>?, named name: StaticString,
  _ body: () throws(RNNError) -> AnyObject
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let out = try required(out, named: name)
    out.pointee = nil
    out.pointee = try HandleTable.insert(try body(), kind)
  }
}

// MARK: - Arguments

/// A pointer that must not be NULL and is aligned.
func required<Element>(
  _ pointer: UnsafeMutablePointer<Element>?, named name: StaticString
) throws(RNNError) -> UnsafeMutablePointer<Element> {
  guard let pointer else { throw RNNError(.invalidArgument, "\(name) is NULL") }
  try checkAlignment(UnsafePointer(pointer), name)
  return pointer
}

func checkAlignment<Element>(_ pointer: UnsafePointer<Element>, _ name: StaticString) throws(RNNError) {
  let alignment = MemoryLayout<Element>.alignment
  guard UInt(bitPattern: pointer) % UInt(alignment) == 0 else {
    throw RNNError(.invalidArgument, "\(name) is at address \(pointer), expected a multiple of \(alignment)")
  }
}

/// A caller's array. NULL is allowed with count 0 only.
func array<Element>(
  _ pointer: UnsafePointer<Element>?, _ count: Int, named name: StaticString
) throws(RNNError) -> UnsafeBufferPointer<Element> {
  try checkCount(count, of: Element.self, name)
  guard let pointer else {
    guard count == 0 else { throw RNNError(.invalidArgument, "\(name) is NULL, and its count is \(count)") }
    return UnsafeBufferPointer(start: nil, count: 0)
  }
  try checkAlignment(pointer, name)
  return UnsafeBufferPointer(start: pointer, count: count)
}

func array<Element>(
  _ pointer: UnsafeMutablePointer<Element>?, _ count: Int, named name: StaticString
) throws(RNNError) -> UnsafeMutableBufferPointer<Element> {
  UnsafeMutableBufferPointer(mutating: try array(UnsafePointer(pointer), count, named: name))
}

/// The same, nil for NULL.
func optionalArray<Element>(
  _ pointer: UnsafeMutablePointer<Element>?, _ count: Int, named name: StaticString
) throws(RNNError) -> UnsafeMutableBufferPointer<Element>? {
  let buffer = try array(pointer, count, named: name)
  return pointer == nil ? nil : buffer
}

private func checkCount<Element>(_ count: Int, of type: Element.Type, _ name: StaticString) throws(RNNError) {
  // A size_t above SSIZE_MAX arrives negative; and no array is larger than the address space.
  guard count >= 0, count <= Int.max / MemoryLayout<Element>.stride else {
    throw RNNError(.invalidArgument, "\(name): a count of \(UInt(bitPattern: count)) is larger than memory")
  }
}

/// Refuses an output that shares memory with another array.
func checkDisjoint<First, Second>(
  _ output: UnsafeMutableBufferPointer<First>, _ outputName: StaticString,
  _ other: UnsafeBufferPointer<Second>, _ otherName: StaticString
) throws(RNNError) {
  guard let a = output.baseAddress, let b = other.baseAddress, output.count > 0, other.count > 0 else { return }
  let (begin, otherBegin) = (UInt(bitPattern: a), UInt(bitPattern: b))
  let end = begin &+ UInt(output.count &* MemoryLayout<First>.stride)
  let otherEnd = otherBegin &+ UInt(other.count &* MemoryLayout<Second>.stride)
  guard end <= otherBegin || otherEnd <= begin else {
    throw RNNError(.invalidArgument, "\(outputName) overlaps \(otherName)")
  }
}

func checkDisjoint(
  _ output: UnsafeMutableRawBufferPointer, _ outputName: StaticString, _ other: UnsafeRawBufferPointer,
  _ otherName: StaticString
) throws(RNNError) {
  try checkDisjoint(
    output.bindMemory(to: UInt8.self), outputName, other.bindMemory(to: UInt8.self), otherName)
}

/// Text from C: UTF-8, ended by 0.
func text(_ pointer: UnsafePointer<CChar>?, named name: StaticString) throws(RNNError) -> String {
  guard let pointer else { throw RNNError(.invalidArgument, "\(name) is NULL") }
  guard let text = String(validatingCString: pointer) else { throw RNNError(.invalidArgument, "\(name) is not UTF-8") }
  return text
}

func optionalText(_ pointer: UnsafePointer<CChar>?, named name: StaticString) throws(RNNError) -> String? {
  pointer == nil ? nil : try text(pointer, named: name)
}

/// Copies a text to C, ended by 0; see rnn_network_architecture.
func copyText(
  _ text: String, to buffer: UnsafeMutablePointer<CChar>?, capacity: Int, length: UnsafeMutablePointer<Int>?
) throws(RNNError) {
  try checkCount(capacity, of: CChar.self, "capacity")
  if let length { try checkAlignment(UnsafePointer(length), "out_length") }
  guard buffer != nil || capacity == 0 else {
    throw RNNError(.invalidArgument, "buffer is NULL, and capacity is \(capacity)")
  }
  let bytes = Array(text.utf8)
  length?.pointee = bytes.count
  guard let buffer else { return }
  guard capacity > bytes.count else {
    throw RNNError(.bufferTooSmall, "capacity is \(capacity), expected at least \(bytes.count + 1)")
  }
  for (i, byte) in bytes.enumerated() { buffer[i] = CChar(bitPattern: byte) }
  buffer[bytes.count] = 0
}

func unknown(_ name: StaticString, _ value: Int32) -> RNNError {
  RNNError(.invalidArgument, "\(name) is \(value), which is none of its constants")
}

/// A C truth value.
func flag(_ value: Int32, named name: StaticString) throws(RNNError) -> Bool {
  guard value == 0 || value == 1 else { throw RNNError(.invalidArgument, "\(name) is \(value), expected 0 or 1") }
  return value == 1
}
