/// The product of two sizes, or an error: sizes come from callers and files, and `*` would trap.
///
/// - Parameter what: What the product counts, for the message.
func checkedProduct(_ a: Int, _ b: Int, of what: @autoclosure () -> String) throws(RNNError) -> Int {
  let (product, overflow) = a.multipliedReportingOverflow(by: b)
  guard a >= 0, b >= 0, !overflow, product <= largestCount else {
    throw RNNError(.outOfMemory, "\(what()): \(a) x \(b) elements are more than memory can have")
  }
  return product
}

/// Elements of any array: with eight bytes each, and sums of a few such counts, far from overflow.
let largestCount = 1 << 56

/// Adds up the parts of one allocation, each beginning on a cache line.
struct MemoryPlan {
  private(set) var count = 0

  /// Reserves room and returns where it begins.
  mutating func reserve(_ elements: Int) throws(RNNError) -> Int {
    let offset = count
    let (end, overflow) = count.addingReportingOverflow(elements)
    guard elements >= 0, !overflow, end <= largestCount else {
      throw RNNError(.outOfMemory, "\(elements) more elements are more than memory can have")
    }
    count = (end + 15) & ~15
    return offset
  }
}
