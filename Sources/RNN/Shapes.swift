/// The product of sizes, or an error: sizes come from callers and files, and `*` would trap.
///
/// - Parameter what: What the product counts, for the message.
func checkedProduct(_ sizes: Int..., of what: @autoclosure () -> String) throws(RNNError) -> Int {
  var product = 1
  for size in sizes {
    let (next, overflow) = product.multipliedReportingOverflow(by: size)
    guard size >= 0, !overflow, next <= largestCount else {
      let factors = sizes.map(String.init).joined(separator: " x ")
      throw RNNError(.outOfMemory, "\(what()): \(factors) elements are more than memory can have")
    }
    product = next
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
