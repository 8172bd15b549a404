import RNN

/// A C struct that begins with `size_t struct_size` and may have come from an older or newer rnn.h.
protocol SizedStruct {
  /// All zeros.
  init()
  var struct_size: Int { get set }
}

private let largestStruct = 4096

/// Reads options: fields that an older caller does not have are zero, the default; fields that this library does not
/// know must be zero.
func options<Options: SizedStruct>(
  _ pointer: UnsafePointer<Options>?, named name: StaticString = "options"
) throws(RNNError) -> Options {
  guard let pointer else { return Options() }
  let (size, known) = try checkedSize(pointer, named: name)
  var result = Options()
  withUnsafeMutableBytes(of: &result) { target in
    target.copyMemory(from: UnsafeRawBufferPointer(start: pointer, count: min(size, known)))
  }
  if size > known {
    let tail = UnsafeRawBufferPointer(start: UnsafeRawPointer(pointer) + known, count: size - known)
    guard tail.allSatisfy({ $0 == 0 }) else {
      throw RNNError(
        .unsupported, "\(name).struct_size is \(size), and this library knows \(known) bytes: a field after them is set")
    }
  }
  return result
}

/// Fills a struct of the caller as far as it goes.
func fill<Info: SizedStruct>(_ pointer: UnsafeMutablePointer<Info>?, with info: Info) throws(RNNError) {
  guard let pointer else { throw RNNError(.invalidArgument, "out_info is NULL") }
  let (size, known) = try checkedSize(UnsafePointer(pointer), named: "out_info")
  var info = info
  info.struct_size = size
  withUnsafeBytes(of: info) { bytes in
    UnsafeMutableRawBufferPointer(start: pointer, count: min(size, known)).copyMemory(
      from: UnsafeRawBufferPointer(rebasing: bytes.prefix(size)))
  }
}

/// Checks a struct that will be filled, before anything is computed.
func checkInfo<Info: SizedStruct>(_ pointer: UnsafeMutablePointer<Info>?) throws(RNNError) {
  guard let pointer else { return }
  _ = try checkedSize(UnsafePointer(pointer), named: "out_report")
}

private func checkedSize<Options: SizedStruct>(
  _ pointer: UnsafePointer<Options>, named name: StaticString
) throws(RNNError) -> (size: Int, known: Int) {
  guard UInt(bitPattern: pointer) % UInt(MemoryLayout<Options>.alignment) == 0 else {
    throw RNNError(.invalidArgument, "\(name) is at address \(pointer), expected a multiple of \(MemoryLayout<Options>.alignment)")
  }
  let size = UnsafeRawPointer(pointer).load(as: Int.self)
  guard size >= MemoryLayout<Int>.size, size <= largestStruct else {
    throw RNNError(
      .invalidArgument,
      "\(name): struct_size is \(UInt(bitPattern: size)), expected \(MemoryLayout<Options>.size): begin with RNN_…_INIT")
  }
  return (size, MemoryLayout<Options>.size)
}
