#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

// MARK: - Reading

/// Maps a regular file into memory for the time of `body`.
///
/// Fast and without a copy, but the bytes are those of the file at the moment they are looked at: while another program
/// writes into the file they can change between a check and a use, and if it cuts the file short, touching the lost
/// pages kills the process (SIGBUS). Files that ``writeFileAtomically(_:chunks:synchronize:)`` replaces are safe: the
/// mapping keeps the old file.
///
/// - Parameter body: Receives the whole file; an empty buffer for an empty file. It may not keep the pointer.
/// - Throws: `.invalidArgument` for a path with a zero byte; `.io`, with path and reason, if the file cannot be opened
///   or is not a regular file; what `body` throws.
func withMappedFile<Result>(
  _ path: String, _ body: (UnsafeRawBufferPointer) throws(RNNError) -> Result
) throws(RNNError) -> Result {
  let file = try openForReading(path)
  // The mapping outlives the descriptor.
  var address: UnsafeMutableRawPointer?
  if file.size > 0 {
    address = mmap(nil, file.size, PROT_READ, MAP_PRIVATE, file.descriptor, 0)
    if address == MAP_FAILED {
      let failure = ioError("cannot map", path, errno)
      close(file.descriptor)
      throw failure
    }
  }
  close(file.descriptor)
  defer { if let address { munmap(address, file.size) } }
  return try body(UnsafeRawBufferPointer(start: address, count: file.size))
}

/// - Returns: An open descriptor, which the caller closes, and the size of the file.
private func openForReading(_ path: String) throws(RNNError) -> (descriptor: Int32, size: Int) {
  try checkPath(path)
  // Without O_NONBLOCK, opening a named pipe would wait for somebody to write to it.
  let descriptor = retryingInterrupts { open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) }
  guard descriptor >= 0 else { throw ioError("cannot open", path, errno) }
  var status = stat()
  guard fstat(descriptor, &status) == 0 else {
    let failure = ioError("cannot examine", path, errno)
    close(descriptor)
    throw failure
  }
  guard isRegular(status), let size = Int(exactly: status.st_size), size >= 0 else {
    close(descriptor)
    throw RNNError(.io, "cannot read \(quoted(path, limit: 512)): it is not a regular file")
  }
  return (descriptor, size)
}

// MARK: - Writing

/// Replaces a file, or makes it, so that at every moment the path holds either the whole old or the whole new file.
///
/// The bytes go into a new file in the same directory, which is then renamed. If `path` is a symbolic link, the file it
/// points to is replaced, not the link. An existing file's permission bits are kept, a new file has 0666 less the
/// umask; owner and other hard links are not kept.
///
/// - Parameters:
///   - chunks: Written one after the other.
///   - synchronize: Whether the new file must survive a power failure once this returns: file, then directory are
///     flushed to the disk. Slow on some disks; without it only a crash of the system can lose the file.
/// - Throws: `.invalidArgument` for a path with a zero byte; `.io`, with path and reason. The old file is then as it
///   was and nothing is left beside it. One exception, which the message tells: if the directory's own flush fails, the
///   new file is already in place.
func writeFileAtomically(
  _ path: String, chunks: [UnsafeRawBufferPointer], synchronize: Bool
) throws(RNNError) {
  try checkPath(path)
  let target = try resolvingLinks(path)
  var mode: mode_t?
  var status = stat()
  if stat(target, &status) == 0 {
    // Renaming over /dev/null, a pipe or a socket would take it away from the whole system.
    guard isRegular(status) else {
      throw RNNError(.io, "cannot write \(quoted(path, limit: 512)): it exists and is not a regular file")
    }
    mode = status.st_mode & 0o777
  }

  let (directory, _) = splitPath(target)
  let temporary = try makeTemporary(in: directory, mode: mode, for: path)
  do throws(RNNError) {
    try fill(temporary, with: chunks, mode: mode, synchronize: synchronize, path: path)
    guard rename(temporary.path, target) == 0 else { throw ioError("cannot replace", path, errno) }
  } catch {
    unlink(temporary.path)
    throw error
  }
  if synchronize { try synchronizeDirectory(directory, path: path) }
}

/// Writes everything and closes the descriptor, whatever happens.
private func fill(
  _ temporary: (descriptor: Int32, path: String), with chunks: [UnsafeRawBufferPointer], mode: mode_t?,
  synchronize: Bool, path: String
) throws(RNNError) {
  let descriptor = temporary.descriptor
  do throws(RNNError) {
    // EPERM: a file system without permissions of its own, such as FAT; there is nothing to keep there.
    if let mode, fchmod(descriptor, mode) != 0, errno != EPERM {
      throw ioError("cannot set the permissions of", path, errno)
    }
    for chunk in chunks { try writeAll(chunk, to: descriptor, path: path) }
    if synchronize, retryingInterrupts({ fsync(descriptor) }) != 0 { throw ioError("cannot flush", path, errno) }
  } catch {
    close(descriptor)
    throw error
  }
  // Network file systems report a full disk here. After EINTR Linux has closed the descriptor: it must not be tried
  // again.
  guard close(descriptor) == 0 || errno == EINTR else { throw ioError("cannot write", path, errno) }
}

private func writeAll(
  _ chunk: UnsafeRawBufferPointer, to descriptor: Int32, path: String
) throws(RNNError) {
  guard let start = chunk.baseAddress else { return }
  var written = 0
  while written < chunk.count {
    let count = write(descriptor, start + written, chunk.count - written)
    if count < 0 {
      if errno == EINTR { continue }
      throw ioError("cannot write", path, errno)
    }
    // write(2) never returns 0 for a regular file; if it did, this loop would not end.
    guard count > 0 else { throw ioError("cannot write", path, EIO) }
    written += count
  }
}

/// Makes an empty file with a name that nobody has. The name does not contain the target's, which may already be as
/// long as names can be.
private func makeTemporary(
  in directory: String, mode: mode_t?, for path: String
) throws(RNNError) -> (descriptor: Int32, path: String) {
  var generator = SystemRandomNumberGenerator()
  // Kept from others until fchmod when the old file was perhaps private; otherwise the umask decides.
  let creationMode: mode_t = mode == nil ? 0o666 : 0o600
  for _ in 0..<16 {
    let name = directory + ".librnn-" + String(generator.next(), radix: 36) + ".tmp"
    let descriptor = retryingInterrupts { open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, creationMode) }
    if descriptor >= 0 { return (descriptor, name) }
    guard errno == EEXIST else { throw ioError("cannot make a file beside", path, errno) }
  }
  throw ioError("cannot make a file beside", path, EEXIST)
}

/// Makes the rename itself last.
private func synchronizeDirectory(_ directory: String, path: String) throws(RNNError) {
  let name = directory.isEmpty ? "." : directory
  let descriptor = retryingInterrupts { open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
  // A directory that we may write but not read cannot be flushed; that is no reason to call the file unwritten.
  guard descriptor >= 0 else { return }
  defer { close(descriptor) }
  // EINVAL: a file system that has nothing to flush for a directory.
  guard retryingInterrupts({ fsync(descriptor) }) == 0 || errno == EINVAL else {
    throw ioError("the file is in place, but a power failure may undo it: cannot flush the directory of", path, errno)
  }
}

/// Follows symbolic links at the end of `path`, also to a file that does not exist yet. Links in its directories need
/// no care: the temporary file's path goes through the same ones.
private func resolvingLinks(_ path: String) throws(RNNError) -> String {
  var current = path
  // Linux gives up after 40 links too.
  for _ in 0..<40 {
    let capacity = Int(PATH_MAX)
    let link: [UInt8] = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: capacity) { buffer in
      guard let start = buffer.baseAddress else { return [] }
      let count = start.withMemoryRebound(to: CChar.self, capacity: capacity) { readlink(current, $0, capacity) }
      // Not a link, or nothing there: the system calls that follow say what is wrong, if anything is.
      guard count > 0, count < capacity else { return [] }
      return Array(UnsafeBufferPointer(start: start, count: count))
    }
    if link.isEmpty { return current }
    // Repairing it would name another file.
    guard let link = String(validating: link, as: UTF8.self) else {
      throw ioError("cannot follow the link", path, EILSEQ)
    }
    current = link.utf8.first == UInt8(ascii: "/") ? link : splitPath(current).directory + link
  }
  throw ioError("cannot write", path, ELOOP)
}

/// Splits after the last slash: `directory + name` is the path, and `directory + other` is beside it.
private func splitPath(_ path: String) -> (directory: String, name: String) {
  guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return ("", path) }
  let start = path.utf8.index(after: slash)
  return (String(path[..<start]), String(path[start...]))
}

// MARK: - Shared

/// A zero byte would end the C string, and another file than the one named would be opened.
private func checkPath(_ path: String) throws(RNNError) {
  guard !path.utf8.contains(0) else {
    throw RNNError(.invalidArgument, "the path \(quoted(path, limit: 512)) holds a zero byte")
  }
}

private func isRegular(_ status: stat) -> Bool { status.st_mode & S_IFMT == S_IFREG }

private func retryingInterrupts(_ call: () -> Int32) -> Int32 {
  while true {
    let result = call()
    if result != -1 || errno != EINTR { return result }
  }
}

private func ioError(_ action: String, _ path: String, _ code: Int32) -> RNNError {
  RNNError(.io, "\(action) \(quoted(path, limit: 512)): \(systemMessage(code))")
}

/// The system's text for an error number. `strerror` may share its buffer between threads; `strerror_r` does not.
private func systemMessage(_ code: Int32) -> String {
  withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
    guard let start = buffer.baseAddress else { return "error \(code)" }
    buffer.initialize(repeating: 0)
    _ = strerror_r(code, start, buffer.count - 1)
    let text = String(cString: start)
    return text.isEmpty ? "error \(code)" : text
  }
}
