import Glibc

/// Memory whose size depends on a caller or a file: 64-byte aligned, zeroed unless told otherwise, and able to fail.
///
/// `UnsafeMutablePointer.allocate` and arrays abort the process when memory is short; every allocation of that kind goes
/// through here instead, and the caller turns nil into an error.
public final class AlignedBuffer<Element: BitwiseCopyable>: @unchecked Sendable {
  public let count: Int
  public let baseAddress: UnsafeMutablePointer<Element>

  /// nil if `count` is negative, the size in bytes overflows, or there is no memory.
  ///
  /// - Parameter isCleared: false where all that will be read is written first; then the memory is not touched yet.
  public init?(count: Int, isCleared: Bool = true) {
    guard count >= 0 else { return nil }
    let (bytes, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
    guard !overflow, bytes <= Int.max - 64 else { return nil }
    // A multiple of the alignment, and never 0: an empty buffer has an address too.
    let size = max(64, (bytes + 63) & ~63)
    let isLarge = size >= Self.hugePage * 2
    var raw: UnsafeMutableRawPointer?
    guard posix_memalign(&raw, isLarge ? Self.hugePage : 64, size) == 0, let raw else { return nil }
    // A pass over a large batch would otherwise spend a tenth of its time on page faults. If it is not to be had, nothing is lost.
    if isLarge { _ = madvise(raw, size & ~(Self.hugePage - 1), MADV_HUGEPAGE) }
    if isCleared { memset(raw, 0, size) }
    self.count = count
    baseAddress = raw.bindMemory(to: Element.self, capacity: count)
  }

  deinit { free(baseAddress) }

  private static var hugePage: Int { 2 << 20 }

  public var buffer: UnsafeMutableBufferPointer<Element> { UnsafeMutableBufferPointer(start: baseAddress, count: count) }
}

/// Copies elements that do not overlap, on as many threads as their number deserves.
public func copyOnThreads<Element: BitwiseCopyable>(
  _ source: UnsafePointer<Element>, to target: UnsafeMutablePointer<Element>, count: Int
) {
  // An element that comes from memory and goes there costs about as much as some ten products.
  let parts = ThreadPool.parts(multiplyAdds: 10 &* count, units: count / 4096)
  ThreadPool.run(parts: parts) { part in
    let own = slice(of: count, part: part, parts: parts, unit: 4096)
    (target + own.lowerBound).update(from: source + own.lowerBound, count: own.count)
  }
}
