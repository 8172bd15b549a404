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
    let lattice = Lattice(row, plan, scratch, keepsSteps: gradient != nil)
    let inverseSums = scratch + plan.inverseSums
    let isNumber = normalize(
      row, classes: classes, logits: logits, exponentials: gradient, stride: stride, lattice: lattice,
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
      lattice.backward { t in
        lattice.addOccupancy(step: t, blank: Int(blank), to: occupancy)
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

  /// Gives the lattice log p_t of the labels and the blank, and `exponentials` e^(x - max) of every class.
  ///
  /// - Parameters:
  ///   - inverseSums: [steps]: 1 / Σ e^(x - max).
  ///   - scratch: Room for `classes`, used where no gradient is wanted.
  /// - Returns: Whether all softmaxes are numbers: none of a logit that is NaN or infinity, or of all -infinity.
  private func normalize<Scalar: KernelScalar>(
    _ row: LabelledRow, classes: Int, logits: UnsafePointer<Scalar>, exponentials: UnsafeMutablePointer<Scalar>?, stride: Int,
    lattice: Lattice, inverseSums: UnsafeMutablePointer<Double>, scratch: UnsafeMutablePointer<Double>
  ) -> Bool {
    // Doubles have room for as many numbers of either type.
    scratch.withMemoryRebound(to: Scalar.self, capacity: classes) { (scratch) -> Bool in
      var isNumber = true
      for t in 0..<row.stepCount {
        let values = logits + t * stride
        let emission = lattice.emission(t)
        // What needs the logits comes first: the gradient may take their place.
        for i in 0..<row.labelCount { emission[i] = Double(values[row.label(i)]) }
        let blankLogit = Double(values[Int(blank)])
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
        for i in 0..<row.labelCount { emission[i] = (emission[i] - largest) - logSum }
        lattice.blankEmissions[t] = (blankLogit - largest) - logSum
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

  /// Of the arrays of a ``Lattice``: room for the labels and one more, in whole vectors, and a vector.
  var width: Int { (labelCount / Lattice.lanes + 2) * Lattice.lanes }

  @inline(__always) func label(_ i: Int) -> Int { labels.map { Int($0[i]) } ?? 0 }
}

/// Where each array of a row lies in the scratch memory of a thread, with room for any row; see ``Lattice``.
private struct ScratchPlan {
  let emissions: Int
  let blankEmissions: Int
  let follows: Int
  let alpha: Int
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
      let states = 2 * row.width
      emissionCount = max(emissionCount, try checkedProduct(row.stepCount, row.width, of: "steps and labels"))
      let cells = try checkedProduct(row.stepCount, states, of: "steps and labels")
      alphaCount = max(alphaCount, wantsGradient ? cells : states)
      stateCount = max(stateCount, states)
      stepCount = max(stepCount, row.stepCount)
      // Two exponentials and a logarithm for α and for β; a few operations for each class.
      work += Double(cells) * (wantsGradient ? 64 : 24) + Double(row.stepCount) * Double(classes) * 16
    }
    var plan = MemoryPlan()
    emissions = try plan.reserve(emissionCount)
    blankEmissions = try plan.reserve(stepCount)
    follows = try plan.reserve(stateCount / 2)
    alpha = try plan.reserve(max(alphaCount, stateCount))
    beta = try plan.reserve(stateCount)
    inverseSums = try plan.reserve(stepCount)
    self.classes = try plan.reserve(rows.isEmpty ? 0 : classes)
    count = plan.count
    multiplyAdds = Int(min(work, 0x1p60))
  }
}

/// The states z of one row over time, in vectors of four: first the blanks, then the labels. Blank i lies before label i.
///
/// Each array is [width], the labels and a blank more, filled up with -infinity to whole vectors and one vector more, so that
/// every element has neighbours. What is filled up stays -infinity through every step.
private struct Lattice {
  private typealias Vector = Normal.Vector
  static let lanes = 4

  /// [steps]: log p of the blank.
  let blankEmissions: UnsafeMutablePointer<Double>
  private let row: LabelledRow
  /// [steps, width]: log p of each label.
  private let emissions: UnsafeMutablePointer<Double>
  /// [width]: 0 where an alignment may go from label i - 1 to label i without a blank between them, else -infinity.
  private let follows: UnsafeMutablePointer<Double>
  /// [steps, 2, width], or [2, width] if steps are not kept: log α.
  private let alpha: UnsafeMutablePointer<Double>
  private let alphaStride: Int
  /// [2, width]: log β of one step.
  private let beta: UnsafeMutablePointer<Double>

  init(_ row: LabelledRow, _ plan: ScratchPlan, _ scratch: UnsafeMutablePointer<Double>, keepsSteps: Bool) {
    self.row = row
    emissions = scratch + plan.emissions
    blankEmissions = scratch + plan.blankEmissions
    follows = scratch + plan.follows
    alpha = scratch + plan.alpha
    alphaStride = keepsSteps ? 2 * row.width : 0
    beta = scratch + plan.beta
    follows.update(repeating: -.infinity, count: row.width)
    for i in 0..<row.labelCount where i > 0 && row.label(i) != row.label(i - 1) { follows[i] = 0 }
    for t in 0..<row.stepCount {
      (emissions + t * row.width + row.labelCount).update(repeating: -.infinity, count: row.width - row.labelCount)
    }
    let steps = keepsSteps ? row.stepCount : min(row.stepCount, 1)
    // Only what no step fills: the vector behind the states.
    for t in 0..<steps {
      for part in 1...2 {
        (alpha + t * alphaStride + part * row.width - Self.lanes).update(repeating: -.infinity, count: Self.lanes)
      }
    }
  }

  /// [width]: log p of each label in step t.
  @inline(__always)
  func emission(_ t: Int) -> UnsafeMutablePointer<Double> { emissions + t * row.width }

  /// Four neighbours, at any address of an element.
  @inline(__always)
  private func load(_ values: UnsafePointer<Double>) -> Vector {
    UnsafeRawPointer(values).loadUnaligned(as: Vector.self)
  }

  @inline(__always)
  private func store(_ vector: Vector, _ values: UnsafeMutablePointer<Double>) {
    UnsafeMutableRawPointer(values).storeBytes(of: vector, as: Vector.self)
  }

  /// Fills α and returns the logarithm of the sum over all alignments, -infinity if there is none.
  func forward() -> Double {
    let (labelCount, width) = (row.labelCount, row.width)
    guard row.stepCount > 0 else { return labelCount == 0 ? 0 : -.infinity }
    alpha.update(repeating: -.infinity, count: 2 * width)
    alpha[0] = blankEmissions[0]
    if labelCount > 0 { alpha[width] = emission(0)[0] }
    for t in 1..<max(row.stepCount, 1) {
      let blanks = alpha + (t - 1) * alphaStride, labels = blanks + width
      let nextBlanks = alpha + t * alphaStride, nextLabels = nextBlanks + width
      let p = emission(t)
      let blank = Vector(repeating: blankEmissions[t])
      // Downwards: the steps may share their memory, and a state reads those at and below it. Before the labels there is
      // -infinity, the vector behind the blanks.
      for i in stride(from: width - 2 * Self.lanes, through: 0, by: -Self.lanes) {
        let (b, l, before) = (load(blanks + i), load(labels + i), load(labels + i - 1))
        store(Normal.logarithmOfSum(b, before) + blank, nextBlanks + i)
        store(Normal.logarithmOfSum(l, b, before + load(follows + i)) + load(p + i), nextLabels + i)
      }
    }
    let last = alpha + (row.stepCount - 1) * alphaStride
    let label = labelCount > 0 ? last[width + labelCount - 1] : -.infinity
    return Normal.logarithmOfSum(Vector(repeating: last[labelCount]), Vector(repeating: label)).x
  }

  /// Calls `body` with each step, the last one first; β is that of the step.
  func backward(_ body: (Int) -> Void) {
    let (labelCount, width) = (row.labelCount, row.width)
    beta.update(repeating: -.infinity, count: 2 * width)
    beta[labelCount] = 0
    if labelCount > 0 { beta[width + labelCount - 1] = 0 }
    let blanks = beta, labels = beta + width
    for t in stride(from: row.stepCount - 1, through: 0, by: -1) {
      body(t)
      let p = emission(t)
      let blank = Vector(repeating: blankEmissions[t])
      // Upwards, in place: a state reads those at and above it.
      for i in stride(from: 0, to: width - Self.lanes, by: Self.lanes) {
        let label = load(labels + i) + load(p + i)
        let nextBlank = load(blanks + i + 1) + blank
        let nextLabel = load(labels + i + 1) + load(p + i + 1) + load(follows + i + 1)
        store(Normal.logarithmOfSum(load(blanks + i) + blank, label), blanks + i)
        store(Normal.logarithmOfSum(label, nextBlank, nextLabel), labels + i)
      }
    }
  }

  /// Adds to each class the probability, given the labels, that step t is in one of its states: the softmax of log α + log β
  /// over the states. That is α β / e^-l; its sum is 1 also where l is so large that its rounding would show. Takes the
  /// place of α.
  func addOccupancy(step t: Int, blank: Int, to occupancy: UnsafeMutablePointer<Double>) {
    let values = alpha + t * alphaStride
    let count = 2 * row.width
    var maxima = Vector(repeating: -.infinity)
    for i in stride(from: 0, to: count, by: Self.lanes) {
      let sum = load(values + i) + load(beta + i)
      store(sum, values + i)
      maxima = maxima.replacing(with: sum, where: sum .> maxima)
    }
    let largest = maxima.max()
    guard largest > -.infinity else { return }
    var sums = Vector.zero
    for i in stride(from: 0, to: count, by: Self.lanes) {
      let share = Normal.exponentialOfNegative(load(values + i) - largest)
      store(share, values + i)
      sums += share
    }
    let inverse = 1 / sums.sum()
    for i in 0...row.labelCount { occupancy[blank] += values[i] * inverse }
    for i in 0..<row.labelCount { occupancy[row.label(i)] += values[row.width + i] * inverse }
  }
}
