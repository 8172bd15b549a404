/// A batch of sequences: T steps of N rows, of which some rows do not have some steps: those past the row's length, and those
/// where a mask is 0.
struct SequenceBatch {
  /// T.
  var stepCount: Int
  /// N.
  var rowCount: Int
  /// [N], or nil where every row has all T steps.
  var lengths: UnsafePointer<Int64>?
  /// [steps of the whole sequence, N], or nil.
  var mask: UnsafePointer<UInt8>?
  /// Steps of each row that came before these, when a sequence is run in chunks.
  var firstStep = 0

  /// T·N.
  var cellCount: Int { stepCount &* rowCount }

  /// Whether some row may lack some step.
  var isRagged: Bool { lengths != nil || mask != nil }

  @inline(__always)
  func isActive(step t: Int, row n: Int) -> Bool {
    let step = firstStep &+ t
    if let lengths, Int64(step) >= lengths[n] { return false }
    if let mask { return mask[step &* rowCount &+ n] != 0 }
    return true
  }

  /// The next run of rows in row..<limit that are active at step t: they are contiguous in memory, and go through a kernel
  /// together. nil when there are no more.
  @inline(__always)
  func activeRun(step t: Int, from row: Int, to limit: Int) -> (first: Int, count: Int)? {
    guard isRagged else { return row < limit ? (row, limit &- row) : nil }
    var first = row
    while first < limit, !isActive(step: t, row: first) { first &+= 1 }
    guard first < limit else { return nil }
    var end = first &+ 1
    while end < limit, isActive(step: t, row: end) { end &+= 1 }
    return (first, end &- first)
  }

  /// The last active step of a row in this chunk, negative if there is none.
  func lastStep(ofRow n: Int) -> Int {
    var last = stepCount &- 1
    if let lengths { last = min(Int(lengths[n]) &- firstStep, stepCount) &- 1 }
    if mask != nil { while last >= 0, !isActive(step: last, row: n) { last &-= 1 } }
    return last
  }

  /// The first active step of a row, if it is in this chunk; negative if there is none or an earlier chunk had it.
  func earliestStep(ofRow n: Int) -> Int {
    // Steps before this chunk are at negative positions.
    var step = -firstStep
    while step < stepCount, !isActive(step: step, row: n) {
      // Without a mask a row that does not begin with a step has none.
      if mask == nil { return -1 }
      step &+= 1
    }
    return step < stepCount ? max(step, -1) : -1
  }

  /// The step that a reversal puts at step t of row n, nil if the row has none there: the other one counted from the end of the
  /// row's length, or, with a mask, from the end of all steps.
  func reversedStep(_ t: Int, row n: Int) -> Int? {
    let step = (mask == nil ? lastStep(ofRow: n) : stepCount &- 1) &- t
    return step >= 0 && isActive(step: step, row: n) ? step : nil
  }

  /// Zeros the steps that a row does not have in an array [T, N, width].
  func clearPadding<Scalar: BinaryFloatingPoint>(_ values: UnsafeMutablePointer<Scalar>, width: Int) {
    guard isRagged else { return }
    for t in 0..<stepCount {
      for n in 0..<rowCount where !isActive(step: t, row: n) {
        (values + (t &* rowCount &+ n) &* width).update(repeating: 0, count: width)
      }
    }
  }
}
