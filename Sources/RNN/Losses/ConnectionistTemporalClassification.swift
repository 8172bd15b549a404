import RNNKernels

/// The labels of a batch, for ``ConnectionistTemporalClassification``.
public enum LabelSequences {
  /// [N, width]. What lies behind a row's target length is not read.
  case padded(UnsafeBufferPointer<Int64>, width: Int)
  /// The labels of all rows one after the other, [sum of the target lengths].
  case concatenated(UnsafeBufferPointer<Int64>)
}

/// Connectionist temporal classification (CTC): the loss of labels of which the order is known, but not the time.
///
/// An alignment gives each step a label or the blank; equal neighbours are one label, and blanks fall out. The loss is
/// -log of the sum of the probabilities of all alignments of the labels l_1 … l_S. With blanks around and between them,
/// z = blank, l_1, blank, …, l_S, blank:
///
///     p_t = softmax(x_t)
///     α_t(s) = p_t(z_s) · (α_{t-1}(s) + α_{t-1}(s-1) + α_{t-1}(s-2))          the last term only for a label z_s ≠ z_{s-2}
///     β_t(s) = Σ p_{t+1}(z_r) · β_{t+1}(r),  r = s, s+1, s+2                  the last one under the same condition
///     l = -log(α_T(2S+1) + α_T(2S))
///     ∂l/∂x_{t,c} = p_{t,c} - Σ_{s: z_s = c} α_t(s) β_t(s) / e^-l
///
/// α and β are kept as logarithms, in double. A row depends on itself alone: its bits do not depend on the batch or on the
/// number of threads.
///
/// The mean is PyTorch's: the loss of each row over its target length (at least 1), then the mean over the rows.
///
/// - SeeAlso: Graves, Fernández, Gomez and Schmidhuber 2006, doi:10.1145/1143844.1143891.
public struct ConnectionistTemporalClassification: Equatable, Sendable {
  public var reduction: Reduction
  /// The class of no label.
  public var blank: Int64
  /// What a row of infinite loss gives: no loss and no gradient, or infinity and, below its input length, NaN.
  public var zeroInfinity: Bool

  public init(reduction: Reduction = .mean, blank: Int64 = 0, zeroInfinity: Bool = false) {
    self.reduction = reduction
    self.blank = blank
    self.zeroInfinity = zeroInfinity
  }

  /// - Parameters:
  ///   - logits: [T, N, classes]. Steps past a row's input length are not read.
  ///   - targets: Classes other than the blank.
  ///   - inputLengths: [N], each 0 to T; nil: all T.
  ///   - targetLengths: [N]; for padded targets each 0 to their width, nil: all of it.
  ///   - losses: [1], or [N] without reduction.
  ///   - gradient: [T, N, classes], with respect to the logits; nil if it is not wanted; may be `logits`.
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func evaluate<Scalar: KernelScalar>(
    sequenceLength: Int, batchSize: Int, classes: Int, logits: UnsafeBufferPointer<Scalar>, targets: LabelSequences,
    inputLengths: UnsafeBufferPointer<Int64>?, targetLengths: UnsafeBufferPointer<Int64>?,
    losses: UnsafeMutableBufferPointer<Double>, gradient: UnsafeMutableBufferPointer<Scalar>?
  ) throws(RNNError) {
    let (t, n) = (sequenceLength, batchSize)
    guard t >= 0, n >= 0, classes >= 1 else {
      throw RNNError(
        .invalidArgument,
        "T is \(UInt(bitPattern: t)), N is \(UInt(bitPattern: n)), classes is \(UInt(bitPattern: classes)), expected at least 0, 0 and 1")
    }
    guard blank >= 0, blank < Int64(classes) else {
      throw RNNError(.invalidArgument, "blank is \(blank), expected 0 to \(classes - 1)")
    }
    let cellCount = try checkedProduct(t, n, of: "T and N")
    let count = try checkedProduct(cellCount, classes, of: "logits")
    let values = try present(logits, count: count, named: "logits", shape: "T*N*classes")
    let lossCount = reduction == .none ? n : 1
    guard losses.count >= lossCount, let lossTarget = losses.baseAddress ?? UnsafeMutablePointer(bitPattern: 8) else {
      throw RNNError(.bufferTooSmall, "loss_count is \(losses.count), expected at least \(lossCount)")
    }
    if let gradient, gradient.count < count {
      throw RNNError(.bufferTooSmall, "gradient_count is \(gradient.count), expected at least \(count) = T*N*classes")
    }
    let rows = try rows(
      of: targets, sequenceLength: t, batchSize: n, classes: classes, inputLengths: inputLengths, targetLengths: targetLengths)
    let rowLosses = try makeBuffer(Double.self, count: n, for: "the losses of rows")
    let plan = try ScratchPlan(rows.buffer, classes: classes, wantsGradient: gradient != nil)
    let parts = ThreadPool.parts(multiplyAdds: plan.multiplyAdds, units: n)
    let scratch = try makeBuffer(
      Double.self, count: try checkedProduct(plan.count, parts, of: "CTC and threads"), for: "CTC, a table for each thread")

    withNumericMode {
      ThreadPool.run(parts: parts) { part in
        for row in slice(of: n, part: part, parts: parts, unit: 1) {
          let divisor = reduction == .mean ? Double(n) * Double(max(rows.baseAddress[row].labelCount, 1)) : 1
          rowLosses.baseAddress[row] = evaluateRow(
            rows.baseAddress[row], sequenceLength: t, classes: classes, logits: values.map { $0 + row * classes },
            gradient: gradient?.baseAddress.map { $0 + row * classes }, stride: n * classes, scale: 1 / divisor,
            plan: plan, scratch: scratch.baseAddress + part * plan.count)
        }
      }
      if reduction == .none {
        lossTarget.update(from: rowLosses.baseAddress, count: n)
      } else {
        var sum = 0.0
        for row in 0..<n {
          sum += reduction == .mean
            ? rowLosses.baseAddress[row] / Double(max(rows.baseAddress[row].labelCount, 1)) : rowLosses.baseAddress[row]
        }
        lossTarget.pointee = reduction == .mean ? sum / Double(n) : sum
      }
    }
  }

  // MARK: - Checks

  /// The rows of the batch, each with its labels, all checked.
  private func rows(
    of targets: LabelSequences, sequenceLength: Int, batchSize: Int, classes: Int, inputLengths: UnsafeBufferPointer<Int64>?,
    targetLengths: UnsafeBufferPointer<Int64>?
  ) throws(RNNError) -> AlignedBuffer<LabelledRow> {
    if let inputLengths { _ = try present(inputLengths, count: batchSize, named: "input_lengths", shape: "N") }
    if let targetLengths { _ = try present(targetLengths, count: batchSize, named: "target_lengths", shape: "N") }
    let (labels, width): (UnsafeBufferPointer<Int64>, Int?)
    switch targets {
    case .padded(let padded, let given):
      guard given >= 0 else { throw RNNError(.invalidArgument, "S is \(UInt(bitPattern: given)), which is too large") }
      let count = try checkedProduct(batchSize, given, of: "targets, N and S")
      _ = try present(padded, count: count, named: "targets", shape: "N*S")
      (labels, width) = (padded, given)
    case .concatenated(let concatenated):
      guard targetLengths != nil || batchSize == 0 else {
        throw RNNError(.invalidArgument, "target_lengths is NULL, and concatenated targets are told apart by it")
      }
      (labels, width) = (concatenated, nil)
    }
    let rows = try makeBuffer(LabelledRow.self, count: batchSize, for: "the rows of CTC")
    var begin = 0
    for n in 0..<batchSize {
      let steps = inputLengths?[n] ?? Int64(sequenceLength)
      guard steps >= 0, steps <= Int64(sequenceLength) else {
        throw RNNError(.invalidArgument, "input_lengths[\(n)] is \(steps), expected 0 to \(sequenceLength), T")
      }
      let length = targetLengths?[n] ?? Int64(width ?? 0)
      if let width {
        begin = n * width
        guard length >= 0, length <= Int64(width) else {
          throw RNNError(.invalidArgument, "target_lengths[\(n)] is \(length), expected 0 to \(width), S")
        }
      } else {
        guard length >= 0 else {
          throw RNNError(.invalidArgument, "target_lengths[\(n)] is \(length), expected at least 0")
        }
        guard length <= Int64(labels.count - begin) else {
          throw RNNError(
            .bufferTooSmall,
            "targets_count is \(labels.count), expected at least the sum of target_lengths: row \(n) has \(length) labels after \(begin)"
          )
        }
      }
      let end = begin + Int(length)
      for i in begin..<end where labels[i] < 0 || labels[i] >= Int64(classes) || labels[i] == blank {
        throw RNNError(
          .invalidArgument,
          "targets[\(i)], label \(i - begin) of row \(n), is \(labels[i]), expected 0 to \(classes - 1) and not the blank, \(blank)")
      }
      // Without labels nothing is read of the array, which may be NULL.
      rows.baseAddress[n] = LabelledRow(
        labels: labels.baseAddress.map { $0 + begin }, labelCount: Int(length), stepCount: Int(steps))
      begin = end
    }
    return rows
  }

  // MARK: - One row

  /// The loss of one row, and its gradient times `scale`.
  ///
  /// - Parameters:
  ///   - logits: Step t begins at t · `stride`; so it is with the gradient, which may be the same memory.
  ///   - scratch: As `plan` says.
  private func evaluateRow<Scalar: KernelScalar>(
    _ row: LabelledRow, sequenceLength: Int, classes: Int, logits: UnsafePointer<Scalar>?,
    gradient: UnsafeMutablePointer<Scalar>?, stride: Int, scale: Double, plan: ScratchPlan,
    scratch: UnsafeMutablePointer<Double>
  ) -> Double {
    // No logits: T is 0.
    guard let logits else { return zeroInfinity || row.labelCount == 0 ? 0 : .infinity }
    if let gradient {
      for t in row.stepCount..<sequenceLength { (gradient + t * stride).update(repeating: 0, count: classes) }
    }
    let lattice = Lattice(row, emissions: scratch + plan.emissions, alpha: scratch + plan.alpha, keepsSteps: gradient != nil)
    let inverseSums = scratch + plan.inverseSums
    let isNumber = normalize(
      row, classes: classes, logits: logits, exponentials: gradient, stride: stride, emissions: lattice.emissions,
      inverseSums: inverseSums, scratch: scratch + plan.classes)
    let logLikelihood = isNumber ? lattice.forward() : .nan
    if logLikelihood == -.infinity || logLikelihood.isNaN {
      let isZero = zeroInfinity && !logLikelihood.isNaN
      if let gradient {
        for t in 0..<row.stepCount { (gradient + t * stride).update(repeating: isZero ? 0 : .nan, count: classes) }
      }
      return isZero ? 0 : -logLikelihood
    }
    if let gradient {
      let occupancy = scratch + plan.classes
      occupancy.update(repeating: 0, count: classes)
      lattice.backward(scratch + plan.beta) { (t, beta) in
        lattice.addOccupancy(step: t, beta, blank: Int(blank), to: occupancy)
        let target = gradient + t * stride
        let inverse = inverseSums[t]
        for c in 0..<classes { target[c] = Scalar(scale * (Double(target[c]) * inverse - occupancy[c])) }
        occupancy[Int(blank)] = 0
        for i in 0..<row.labelCount { occupancy[row.label(i)] = 0 }
      }
    }
    // 0 - 0, and not -0, for labels that are certain.
    return 0 - logLikelihood
  }

  /// log p_t of the labels and the blank, and in `exponentials` e^(x - max) of every class.
  ///
  /// - Parameters:
  ///   - emissions: [steps, labels + 1], the blank last.
  ///   - inverseSums: [steps]: 1 / Σ e^(x - max).
  ///   - scratch: Room for `classes`, used where no gradient is wanted.
  /// - Returns: Whether all softmaxes are numbers: none of a logit that is NaN or infinity, or of all -infinity.
  private func normalize<Scalar: KernelScalar>(
    _ row: LabelledRow, classes: Int, logits: UnsafePointer<Scalar>, exponentials: UnsafeMutablePointer<Scalar>?, stride: Int,
    emissions: UnsafeMutablePointer<Double>, inverseSums: UnsafeMutablePointer<Double>, scratch: UnsafeMutablePointer<Double>
  ) -> Bool {
    // Doubles have room for as many numbers of either type.
    scratch.withMemoryRebound(to: Scalar.self, capacity: classes) { (scratch) -> Bool in
      var isNumber = true
      for t in 0..<row.stepCount {
        let values = logits + t * stride
        let emission = emissions + t * (row.labelCount + 1)
        // What needs the logits comes first: the gradient may take their place.
        for i in 0..<row.labelCount { emission[i] = Double(values[row.label(i)]) }
        emission[row.labelCount] = Double(values[Int(blank)])
        var summary: (Scalar, Scalar) = (0, 0)
        withUnsafeMutableBytes(of: &summary) { bytes in
          guard let summaries = bytes.baseAddress?.assumingMemoryBound(to: Scalar.self) else { return }
          Scalar.kernels.softmax(
            SoftmaxArguments(
              rows: 1, columns: classes, values: values, valuesStride: classes,
              exponentials: exponentials.map { $0 + t * stride } ?? scratch, exponentialsStride: classes, summaries: summaries))
        }
        let (largest, sum) = (Double(summary.0), Double(summary.1))
        if sum.isNaN { isNumber = false }
        inverseSums[t] = 1 / sum
        // x - max is exact where it matters; max + log Σ would round it to the size of max.
        let logSum = Normal.logarithm(sum)
        for i in 0...row.labelCount { emission[i] = (emission[i] - largest) - logSum }
      }
      return isNumber
    }
  }
}

/// A row of a batch: how many steps of it count, and its labels.
private struct LabelledRow: BitwiseCopyable {
  let labels: UnsafePointer<Int64>?
  let labelCount: Int
  let stepCount: Int

  @inline(__always) func label(_ i: Int) -> Int { labels.map { Int($0[i]) } ?? 0 }
}

/// Where each array of a row lies in the scratch memory of a thread, with room for any row.
private struct ScratchPlan {
  /// [steps, labels + 1]: log p.
  let emissions: Int
  /// [steps, states], or [states] without a gradient: log α.
  let alpha: Int
  /// [states]: log β.
  let beta: Int
  /// [steps].
  let inverseSums: Int
  /// [classes].
  let classes: Int
  let count: Int
  /// The work of all rows, roughly.
  let multiplyAdds: Int

  init(_ rows: UnsafeMutableBufferPointer<LabelledRow>, classes: Int, wantsGradient: Bool) throws(RNNError) {
    var (emissionCount, alphaCount, stateCount, stepCount) = (0, 0, 0, 0)
    var work = 0.0
    for row in rows {
      let states = 2 * row.labelCount + 1
      emissionCount = max(emissionCount, try checkedProduct(row.stepCount, row.labelCount + 1, of: "steps and labels"))
      let cells = try checkedProduct(row.stepCount, states, of: "steps and labels")
      alphaCount = max(alphaCount, wantsGradient ? cells : states)
      stateCount = max(stateCount, states)
      stepCount = max(stepCount, row.stepCount)
      // Two exponentials and a logarithm for α and for β; a few operations for each class.
      work += Double(cells) * (wantsGradient ? 128 : 48) + Double(row.stepCount) * Double(classes) * 16
    }
    var plan = MemoryPlan()
    emissions = try plan.reserve(emissionCount)
    alpha = try plan.reserve(alphaCount)
    beta = try plan.reserve(stateCount)
    inverseSums = try plan.reserve(stepCount)
    self.classes = try plan.reserve(rows.isEmpty ? 0 : classes)
    count = plan.count
    multiplyAdds = Int(min(work, 0x1p60))
  }
}

/// The states z of one row over time; state 2i is a blank, state 2i + 1 is label i.
private struct Lattice {
  /// [steps, labels + 1]: log p of each label, then of the blank.
  let emissions: UnsafeMutablePointer<Double>
  private let row: LabelledRow
  private let stateCount: Int
  /// [steps, states] or, if steps are not kept, [states].
  private let alpha: UnsafeMutablePointer<Double>
  private let alphaStride: Int

  init(_ row: LabelledRow, emissions: UnsafeMutablePointer<Double>, alpha: UnsafeMutablePointer<Double>, keepsSteps: Bool) {
    self.row = row
    self.emissions = emissions
    self.alpha = alpha
    stateCount = 2 * row.labelCount + 1
    alphaStride = keepsSteps ? stateCount : 0
  }

  /// Whether an alignment may go from label i - 1 to label i without a blank between them.
  @inline(__always)
  private func mayFollow(_ i: Int) -> Bool { i > 0 && row.label(i) != row.label(i - 1) }

  @inline(__always)
  private func emission(_ t: Int) -> UnsafeMutablePointer<Double> { emissions + t * (row.labelCount + 1) }

  /// Fills α and returns the logarithm of the sum over all alignments, -infinity if there is none.
  func forward() -> Double {
    let labelCount = row.labelCount
    guard row.stepCount > 0 else { return labelCount == 0 ? 0 : -.infinity }
    alpha.update(repeating: -.infinity, count: stateCount)
    alpha[0] = emission(0)[labelCount]
    if labelCount > 0 { alpha[1] = emission(0)[0] }
    for t in 1..<max(row.stepCount, 1) {
      let p = emission(t)
      let past = alpha + (t - 1) * alphaStride, present = alpha + t * alphaStride
      // Downwards: the steps may share their memory, and a state reads those at and below it.
      for i in stride(from: labelCount, through: 1, by: -1) {
        let label = i - 1, s = 2 * label + 1
        present[s + 1] = logSum(past[s + 1], past[s]) + p[labelCount]
        present[s] = logSum(past[s], past[s - 1], mayFollow(label) ? past[s - 2] : -.infinity) + p[label]
      }
      present[0] = past[0] + p[labelCount]
    }
    let last = alpha + (row.stepCount - 1) * alphaStride
    return logSum(last[stateCount - 1], labelCount > 0 ? last[stateCount - 2] : -.infinity)
  }

  /// Calls `body` with each step, the last one first, and its log β, [states].
  func backward(_ beta: UnsafeMutablePointer<Double>, _ body: (Int, UnsafeMutablePointer<Double>) -> Void) {
    let labelCount = row.labelCount
    beta.update(repeating: -.infinity, count: stateCount)
    beta[stateCount - 1] = 0
    if labelCount > 0 { beta[stateCount - 2] = 0 }
    for t in stride(from: row.stepCount - 1, through: 0, by: -1) {
      body(t, beta)
      let p = emission(t)
      for s in 0..<stateCount { beta[s] = beta[s] + p[s & 1 == 0 ? labelCount : s &>> 1] }
      // Upwards, in place: a state reads those at and above it.
      for i in 0..<labelCount {
        let s = 2 * i
        beta[s] = logSum(beta[s], beta[s + 1])
        beta[s + 1] = logSum(beta[s + 1], beta[s + 2], i + 1 < labelCount && mayFollow(i + 1) ? beta[s + 3] : -.infinity)
      }
    }
  }

  /// Adds to each class the probability, given the labels, that step t is in one of its states: the softmax of log α + log β
  /// over the states. That is α β / e^-l; its sum is 1 also where l is so large that its rounding would show. Takes the
  /// place of α.
  func addOccupancy(step t: Int, _ beta: UnsafeMutablePointer<Double>, blank: Int, to occupancy: UnsafeMutablePointer<Double>) {
    let values = alpha + t * alphaStride
    var largest = -Double.infinity
    for s in 0..<stateCount {
      values[s] = values[s] + beta[s]
      largest = values[s] > largest ? values[s] : largest
    }
    guard largest > -.infinity else { return }
    var sum = 0.0
    for s in 0..<stateCount {
      let exponent = values[s] - largest
      values[s] = exponent > -700 ? Normal.exponential(exponent) : 0
      sum += values[s]
    }
    let inverse = 1 / sum
    for s in 0..<stateCount { occupancy[s & 1 == 0 ? blank : row.label(s &>> 1)] += values[s] * inverse }
  }
}

/// log(e^a + e^b + e^c); of terms that are not NaN or infinity.
@inline(__always)
private func logSum(_ a: Double, _ b: Double, _ c: Double = -.infinity) -> Double {
  var (largest, second, third) = a > b ? (a, b, c) : (b, a, c)
  if third > largest { (largest, third) = (third, largest) }
  guard largest > -.infinity else { return -.infinity }
  second = second - largest
  third = third - largest
  // e^-40 is below the rounding of 1.
  var sum = 1.0
  if second > -40 { sum += Normal.exponential(second) }
  if third > -40 { sum += Normal.exponential(third) }
  return sum == 1 ? largest : largest + Normal.logarithm(sum)
}
