/// A batch of sequences: T steps of N rows, of which row n ends after lengths[n] steps.
struct SequenceBatch {
  /// T.
  var stepCount: Int
  /// N.
  var rowCount: Int
  /// [N], or nil where every row has all T steps.
  var lengths: UnsafePointer<Int64>?
  /// Steps of each row that came before these, when a sequence is run in chunks.
  var firstStep = 0

  /// T·N.
  var cellCount: Int { stepCount &* rowCount }

  func isActive(step t: Int, row n: Int) -> Bool {
    guard let lengths else { return true }
    return Int64(firstStep &+ t) < lengths[n]
  }

  /// The next run of rows in row..<limit that are active at step t: they are contiguous in memory, and go through a kernel
  /// together. nil when there are no more.
  @inline(__always)
  func activeRun(step t: Int, from row: Int, to limit: Int) -> (first: Int, count: Int)? {
    guard lengths != nil else { return row < limit ? (row, limit &- row) : nil }
    var first = row
    while first < limit, !isActive(step: t, row: first) { first &+= 1 }
    guard first < limit else { return nil }
    var end = first &+ 1
    while end < limit, isActive(step: t, row: end) { end &+= 1 }
    return (first, end &- first)
  }

  /// Zeros what lies past the end of each row in an array [T, N, width].
  func clearPadding<Scalar: BinaryFloatingPoint>(_ values: UnsafeMutablePointer<Scalar>, width: Int) {
    guard lengths != nil else { return }
    for t in 0..<stepCount {
      for n in 0..<rowCount where !isActive(step: t, row: n) {
        (values + (t &* rowCount &+ n) &* width).update(repeating: 0, count: width)
      }
    }
  }
}
