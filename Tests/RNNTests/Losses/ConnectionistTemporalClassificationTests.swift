import RNNKernels
import XCTest

@testable import RNN

/// CTC against the sum over all alignments, against central differences, and where there is nothing to align.
final class ConnectionistTemporalClassificationTests: XCTestCase {
  private typealias CTC = ConnectionistTemporalClassification

  /// A batch of rows with labels of different lengths.
  private struct Problem<Scalar: KernelScalar> {
    var stepCount, rowCount, classes: Int
    /// [T, N, classes].
    var logits: [Scalar]
    var labels: [[Int64]]
    var inputLengths: [Int64]?

    var width: Int { labels.map(\.count).max() ?? 0 }

    /// Padded targets [N, width]; what is padding is no class.
    var padded: [Int64] { labels.flatMap { $0 + [Int64](repeating: -7, count: width - $0.count) } }

    func row(_ n: Int) -> Problem {
      Problem(
        stepCount: stepCount, rowCount: 1, classes: classes,
        logits: rowSlice(logits, of: n, rows: rowCount, width: classes, steps: stepCount), labels: [labels[n]],
        inputLengths: inputLengths.map { [$0[n]] })
    }
  }

  private struct Answer<Scalar> {
    var losses: [Double]
    var gradient: [Scalar]
  }

  private func evaluate<Scalar: KernelScalar>(
    _ loss: CTC, _ problem: Problem<Scalar>, concatenated: Bool = false, wantsGradient: Bool = true, inPlace: Bool = false
  ) throws -> Answer<Scalar> {
    var losses = [Double](repeating: -1, count: loss.reduction == .none ? problem.rowCount : 1)
    // Read where gradients are not written would be seen.
    var gradient = inPlace ? problem.logits : [Scalar](repeating: 123, count: problem.logits.count)
    let targets = concatenated ? problem.labels.flatMap { $0 } : problem.padded
    let targetLengths = problem.labels.map { Int64($0.count) }
    try targets.withUnsafeBufferPointer { targets in
      try targetLengths.withUnsafeBufferPointer { targetLengths in
        try (problem.inputLengths ?? []).withUnsafeBufferPointer { inputLengths in
          try losses.withUnsafeMutableBufferPointer { losses in
            try problem.logits.withUnsafeBufferPointer { logits in
              try gradient.withUnsafeMutableBufferPointer { gradient in
                try loss.evaluate(
                  sequenceLength: problem.stepCount, batchSize: problem.rowCount, classes: problem.classes,
                  logits: inPlace ? UnsafeBufferPointer(gradient) : logits,
                  targets: concatenated ? .concatenated(targets) : .padded(targets, width: problem.width),
                  inputLengths: problem.inputLengths == nil ? nil : inputLengths, targetLengths: targetLengths,
                  losses: losses, gradient: wantsGradient ? gradient : nil)
              }
            }
          }
        }
      }
    }
    return Answer(losses: losses, gradient: gradient)
  }

  private func problem<Scalar: KernelScalar>(
    _ type: Scalar.Type, stepCount: Int, classes: Int, blank: Int, labelCounts: [Int], lengths: [Int64]? = nil,
    seed: UInt64 = 1, scale: Double = 2
  ) -> Problem<Scalar> {
    var numbers = TestNumbers(seed: seed)
    let logits = numbers.array(stepCount * labelCounts.count * classes, of: Scalar.self, scale: scale)
    let labels = labelCounts.map { count in
      (0..<count).map { _ in Int64((blank + 1 + numbers.below(classes - 1)) % classes) }
    }
    return Problem(
      stepCount: stepCount, rowCount: labelCounts.count, classes: classes, logits: logits, labels: labels, inputLengths: lengths)
  }

  // MARK: - The definition

  /// The labels of an alignment: equal neighbours are one, and blanks fall out.
  private func collapsed(_ alignment: [Int], blank: Int) -> [Int64] {
    var result: [Int64] = [], last = blank
    for label in alignment {
      if label != last, label != blank { result.append(Int64(label)) }
      last = label
    }
    return result
  }

  /// The definition, alignment by alignment: all classes^T of them. One row.
  private func byEnumeration(_ problem: Problem<Double>, blank: Int) -> (loss: Double, gradient: [Double]) {
    let (steps, classes) = (problem.stepCount, problem.classes)
    var probabilities = problem.logits
    for t in 0..<steps {
      let values = problem.logits[t * classes..<(t + 1) * classes]
      let largest = values.max()!
      let sum = values.reduce(0) { $0 + exp($1 - largest) }
      for c in 0..<classes { probabilities[t * classes + c] = exp(values[t * classes + c] - largest) / sum }
    }
    var total = 0.0
    var occupancy = [Double](repeating: 0, count: problem.logits.count)
    var alignment = [Int](repeating: 0, count: steps)
    alignments: while true {
      if collapsed(alignment, blank: blank) == problem.labels[0] {
        let probability = alignment.enumerated().reduce(1) { $0 * probabilities[$1.offset * classes + $1.element] }
        total += probability
        for (t, c) in alignment.enumerated() { occupancy[t * classes + c] += probability }
      }
      for t in 0..<steps {
        alignment[t] += 1
        if alignment[t] < classes { continue alignments }
        alignment[t] = 0
      }
      break
    }
    return (-log(total), zip(probabilities, occupancy).map { $0 - $1 / total })
  }

  func testTheLossIsTheSumOverAllAlignmentsForEveryShortLabelSequence() throws {
    var feasible = 0, infeasible = 0
    for (classes, longest) in [(2, 6), (3, 5), (4, 4)] {
      for steps in 1...longest {
        for blank in 0..<classes {
          // All label sequences of up to three labels.
          var sequences: [[Int64]] = [[]]
          for length in 1...3 {
            sequences += sequences.filter { $0.count == length - 1 }.flatMap { start in
              (0..<classes).filter { $0 != blank }.map { start + [Int64($0)] }
            }
          }
          for labels in sequences {
            var problem = self.problem(Double.self, stepCount: steps, classes: classes, blank: blank, labelCounts: [0])
            problem.labels = [labels]
            let answer = try evaluate(CTC(reduction: .sum, blank: Int64(blank)), problem)
            let alone = try evaluate(CTC(reduction: .sum, blank: Int64(blank)), problem, wantsGradient: false)
            XCTAssertEqual(answer.losses, alone.losses)
            let expected = byEnumeration(problem, blank: blank)
            let needed = labels.count + zip(labels, labels.dropFirst()).filter { $0 == $1 }.count
            if needed > steps {
              infeasible += 1
              XCTAssertEqual(answer.losses, [.infinity])
              XCTAssertEqual(expected.loss, .infinity)
              XCTAssertTrue(answer.gradient.allSatisfy(\.isNaN))
              continue
            }
            feasible += 1
            // Up to 256 products of up to six numbers, each rounded at 1.1e-16; losses are below 30.
            XCTAssertEqual(answer.losses[0], expected.loss, accuracy: 3e-14, "\(classes) \(steps) \(blank) \(labels)")
            for (found, right) in zip(answer.gradient, expected.gradient) { XCTAssertEqual(found, right, accuracy: 3e-14) }
          }
        }
      }
    }
    XCTAssertGreaterThan(feasible, 300)
    XCTAssertGreaterThan(infeasible, 100)
  }

  func testTheGradientIsTheSlopeForEveryReduction() throws {
    for reduction in [Reduction.mean, .sum, .none] {
      for blank in [0, 2, 4] {
        let loss = CTC(reduction: reduction, blank: Int64(blank))
        var problem = self.problem(
          Double.self, stepCount: 7, classes: 5, blank: blank, labelCounts: [3, 0, 2, 1], lengths: [7, 4, 6, 5])
        problem.labels[0] = [1, 1, 3]
        let gradient = try evaluate(loss, problem).gradient
        for i in problem.logits.indices {
          var sums: [Double] = []
          for step in [1e-6, -1e-6] {
            var moved = problem
            moved.logits[i] += step
            sums.append(try evaluate(loss, moved, wantsGradient: false).losses.reduce(0, +))
          }
          // Central differences: 1e-12 of curvature, and 1e-15 / 1e-6 of rounding in losses around 10.
          XCTAssertEqual((sums[0] - sums[1]) / 2e-6, gradient[i], accuracy: 2e-8, "\(reduction) \(blank) \(i)")
        }
      }
    }
  }

  func testTheMeanIsOfTheLossesOverTheirLengths() throws {
    let problem = self.problem(Double.self, stepCount: 9, classes: 4, blank: 0, labelCounts: [3, 0, 2])
    let rows = try evaluate(CTC(reduction: .none), problem)
    let sum = try evaluate(CTC(reduction: .sum), problem)
    let mean = try evaluate(CTC(), problem)
    XCTAssertEqual(sum.losses[0], rows.losses[0] + rows.losses[1] + rows.losses[2])
    XCTAssertEqual(mean.losses[0], (rows.losses[0] / 3 + rows.losses[1] / 1 + rows.losses[2] / 2) / 3)
    assertSameBits(sum.gradient, rows.gradient)
    for i in problem.logits.indices {
      XCTAssertEqual(mean.gradient[i], rows.gradient[i] / [9, 3, 6][i / 4 % 3], accuracy: 1e-16)
    }
  }

  /// A step in which all alignments agree has one label, and only its softmax counts: logits of any size.
  func testTheGradientsOfAStepAddUpToZeroForLogitsOfAnySize() throws {
    for scale in [0.0, 1, 30, 1e3, 1e6, 1e12, 1e30, 1e300] {
      let problem = self.problem(
        Double.self, stepCount: 20, classes: 5, blank: 0, labelCounts: [6, 9, 1], seed: 5, scale: scale)
      let answer = try evaluate(CTC(reduction: .none), problem)
      for (n, loss) in answer.losses.enumerated() {
        XCTAssertTrue(loss >= 0 && loss.isFinite, "\(scale) \(n) \(loss)")
      }
      for cell in 0..<60 {
        let part = answer.gradient[cell * 5..<(cell + 1) * 5]
        XCTAssertEqual(part.reduce(0, +), 0, accuracy: 2e-15, "\(scale)")
        XCTAssertTrue(part.allSatisfy { abs($0) <= 1 })
      }
    }
  }

  func testALongRowThatOnlyOneAlignmentFitsHasTheLossOfThatAlignment() throws {
    // As many labels as steps: at each, the label's own loss. The blank has nearly all the probability.
    let count = 400
    let labels = (0..<count).map { Int64(1 + $0 % 2) }
    var logits: [Double] = []
    for _ in 0..<count { logits += [40, 0, 1] }
    let problem = Problem(
      stepCount: count, rowCount: 1, classes: 3, logits: logits, labels: [labels], inputLengths: nil)
    let answer = try evaluate(CTC(reduction: .sum), problem)
    let logSum: Double = 40 + log1p(exp(-40.0) + exp(-39.0))
    // 400 additions of numbers up to 16000, each rounded at 1.1e-16 of it.
    XCTAssertEqual(answer.losses[0], Double(count) * logSum - Double(count / 2), accuracy: 1e-9)
    for t in 0..<count {
      XCTAssertEqual(answer.gradient[3 * t], 1, accuracy: 1e-15)
      XCTAssertEqual(answer.gradient[3 * t + Int(labels[t])], -1, accuracy: 1e-15)
    }
  }

  func testFloatAgreesWithDoubleWithinItsSoftmax() throws {
    let single = problem(Float.self, stepCount: 30, classes: 40, blank: 7, labelCounts: [10, 3], lengths: [30, 22], scale: 4)
    let double = Problem<Double>(
      stepCount: 30, rowCount: 2, classes: 40, logits: single.logits.map(Double.init), labels: single.labels,
      inputLengths: single.inputLengths)
    let loss = CTC(reduction: .none, blank: 7)
    let (a, b) = (try evaluate(loss, single), try evaluate(loss, double))
    // Each of 30 softmaxes has an error of a few 2^-24, in the loss their sum.
    for (x, y) in zip(a.losses, b.losses) { XCTAssertEqual(x, y, accuracy: 30 * 4 * 0x1p-24) }
    for (x, y) in zip(a.gradient, b.gradient) { XCTAssertEqual(Double(x), y, accuracy: 30 * 4 * 0x1p-24) }
  }

  // MARK: - The same bits

  private func checkSameBits<Scalar: KernelScalar>(_ type: Scalar.Type) throws {
    let counts = (0..<24).map { $0 % 21 }
    let problem = self.problem(
      Scalar.self, stepCount: 70, classes: 33, blank: 3, labelCounts: counts, lengths: (0..<24).map { Int64(47 + $0) })
    let loss = CTC(reduction: .none, blank: 3)
    let limit = ThreadPool.limit
    defer { ThreadPool.limit = limit }
    ThreadPool.limit = 1
    let expected = try evaluate(loss, problem)
    for threads in [2, 3, 7] {
      ThreadPool.limit = threads
      let found = try evaluate(loss, problem)
      assertSameBits(found.losses, expected.losses)
      assertSameBits(found.gradient, expected.gradient)
    }
    assertSameBits(try evaluate(loss, problem, concatenated: true).gradient, expected.gradient, "concatenated")
    assertSameBits(try evaluate(loss, problem, inPlace: true).gradient, expected.gradient, "in place")
    assertSameBits(try evaluate(loss, problem, wantsGradient: false).losses, expected.losses, "loss alone")
    for n in 0..<24 {
      let found = try evaluate(loss, problem.row(n))
      assertSameBits(found.losses, [expected.losses[n]])
      assertSameBits(found.gradient, rowSlice(expected.gradient, of: n, rows: 24, width: 33, steps: 70), "row \(n)")
    }
  }

  func testARowHasTheSameBitsAloneInABatchAndOnAnyNumberOfThreads() throws {
    try checkSameBits(Float.self)
    try checkSameBits(Double.self)
  }

  func testNothingBehindTheEndOfARowIsRead() throws {
    let loss = CTC(reduction: .none, blank: 1)
    let problem = self.problem(Float.self, stepCount: 8, classes: 4, blank: 1, labelCounts: [2, 3], lengths: [5, 8])
    var other = problem
    for t in 5..<8 { for c in 0..<4 { other.logits[(t * 2 + 0) * 4 + c] = c == 1 ? .infinity : .nan } }
    let (a, b) = (try evaluate(loss, problem), try evaluate(loss, other))
    assertSameBits(a.losses, b.losses)
    assertSameBits(a.gradient, b.gradient)
    for t in 5..<8 { XCTAssertEqual(Array(b.gradient[t * 8..<t * 8 + 4]), [0, 0, 0, 0]) }
    assertSameBits(try evaluate(loss, other, inPlace: true).gradient, a.gradient)
  }

  // MARK: - Nothing to align, and no numbers

  func testARowWithoutAlignmentIsInfiniteOrNothing() throws {
    // Two equal labels need a blank between them: three steps.
    var problem = self.problem(Float.self, stepCount: 4, classes: 4, blank: 0, labelCounts: [2, 2], lengths: [2, 4])
    problem.labels = [[1, 1], [1, 1]]
    let infinite = try evaluate(CTC(reduction: .none), problem)
    XCTAssertEqual(infinite.losses[0], .infinity)
    XCTAssertTrue(infinite.losses[1].isFinite)
    for t in 0..<4 {
      let own = infinite.gradient[t * 8..<t * 8 + 4]
      XCTAssertTrue(t < 2 ? own.allSatisfy(\.isNaN) : own.allSatisfy { $0 == 0 })
      XCTAssertTrue(infinite.gradient[t * 8 + 4..<t * 8 + 8].allSatisfy { $0.isFinite && $0 != 0 })
    }
    let zero = try evaluate(CTC(reduction: .none, zeroInfinity: true), problem)
    assertSameBits(zero.losses, [0, infinite.losses[1]])
    for t in 0..<4 {
      XCTAssertEqual(Array(zero.gradient[t * 8..<t * 8 + 4]), [0, 0, 0, 0])
      assertSameBits(Array(zero.gradient[t * 8 + 4..<t * 8 + 8]), Array(infinite.gradient[t * 8 + 4..<t * 8 + 8]))
    }
    // The row counts for the mean all the same.
    XCTAssertEqual(try evaluate(CTC(), problem).losses, [.infinity])
    XCTAssertEqual(try evaluate(CTC(zeroInfinity: true), problem).losses, [infinite.losses[1] / 2 / 2])
  }

  func testNoStepsHaveTheProbabilityOneOfNoLabels() throws {
    for lengths in [[0, 0] as [Int64], nil] {
      let problem = Problem<Double>(
        stepCount: lengths == nil ? 0 : 3, rowCount: 2, classes: 3,
        logits: [Double](repeating: 1, count: lengths == nil ? 0 : 18), labels: [[], [1]], inputLengths: lengths)
      let answer = try evaluate(CTC(reduction: .none), problem)
      assertSameBits(answer.losses, [0, .infinity])
      XCTAssertTrue(answer.gradient.allSatisfy { $0 == 0 })
      assertSameBits(try evaluate(CTC(reduction: .none, zeroInfinity: true), problem).losses, [0, 0])
    }
  }

  func testNoLabelsAreBlanksAlone() throws {
    let problem = self.problem(Double.self, stepCount: 5, classes: 3, blank: 2, labelCounts: [0])
    let answer = try evaluate(CTC(reduction: .sum, blank: 2), problem)
    let crossEntropy = CrossEntropy(reduction: .sum)
    var expected = [0.0], gradient = [Double](repeating: 0, count: 15)
    try problem.logits.withUnsafeBufferPointer { logits in
      try [Int64](repeating: 2, count: 5).withUnsafeBufferPointer { targets in
        try expected.withUnsafeMutableBufferPointer { losses in
          try gradient.withUnsafeMutableBufferPointer { gradient in
            try crossEntropy.evaluate(
              rows: 5, classes: 3, logits: logits, targets: targets, classWeights: nil, losses: losses, gradient: gradient)
          }
        }
      }
    }
    XCTAssertEqual(answer.losses[0], expected[0], accuracy: 1e-14)
    for (a, b) in zip(answer.gradient, gradient) { XCTAssertEqual(a, b, accuracy: 1e-15) }
  }

  func testNoRowsHaveTheMeanNaNAndTheSumZero() throws {
    let none = Problem<Float>(stepCount: 3, rowCount: 0, classes: 3, logits: [], labels: [], inputLengths: [])
    XCTAssertTrue(try evaluate(CTC(), none).losses[0].isNaN)
    XCTAssertEqual(try evaluate(CTC(reduction: .sum), none).losses, [0])
    XCTAssertEqual(try evaluate(CTC(reduction: .none), none).losses, [])
  }

  private func checkNumbersThatAreNone<Scalar: KernelScalar>(_ type: Scalar.Type) throws {
    for (class_, bad) in [(0, Scalar.nan), (1, .nan), (3, .nan), (0, .infinity), (3, .infinity)] {
      for zeroInfinity in [false, true] {
        let loss = CTC(reduction: .none, zeroInfinity: zeroInfinity)
        var problem = self.problem(Scalar.self, stepCount: 5, classes: 4, blank: 0, labelCounts: [2, 2, 5], lengths: [4, 5, 2])
        problem.labels = [[1, 2], [1, 2], [1, 1, 1, 1, 1]]
        let without = try evaluate(loss, problem)
        for n in [0, 2] { problem.logits[(1 * 3 + n) * 4 + class_] = bad }
        let answer = try evaluate(loss, problem)
        // In its own row, also in the one that has no alignment: bad numbers are not lost.
        XCTAssertEqual(answer.losses.map(\.isNaN), [true, false, true])
        XCTAssertEqual(answer.losses[1], without.losses[1])
        for t in 0..<5 {
          for (n, length) in [4, 5, 2].enumerated() {
            let cell = answer.gradient[(t * 3 + n) * 4..<(t * 3 + n + 1) * 4]
            if t >= length {
              XCTAssertTrue(cell.allSatisfy { $0 == 0 })
            } else {
              XCTAssertTrue(cell.allSatisfy { $0.isNaN == (n != 1) }, "\(t) \(n)")
            }
          }
        }
      }
    }
  }

  func testALogitThatIsNoNumberMakesItsRowNaN() throws {
    try checkNumbersThatAreNone(Float.self)
    try checkNumbersThatAreNone(Double.self)
  }

  func testAClassThatIsMaskedByMinusInfinityHasNoProbabilityAndNoGradient() throws {
    var problem = self.problem(Double.self, stepCount: 5, classes: 4, blank: 0, labelCounts: [2])
    problem.labels = [[1, 2]]
    for t in 0..<5 { problem.logits[t * 4 + 3] = -.infinity }
    let answer = try evaluate(CTC(reduction: .sum), problem)
    var three = problem
    three.classes = 3
    three.logits = (0..<5).flatMap { Array(problem.logits[$0 * 4..<$0 * 4 + 3]) }
    let expected = try evaluate(CTC(reduction: .sum), three)
    XCTAssertEqual(answer.losses[0], expected.losses[0], accuracy: 1e-14)
    for t in 0..<5 {
      XCTAssertEqual(answer.gradient[t * 4 + 3], 0)
      for c in 0..<3 { XCTAssertEqual(answer.gradient[t * 4 + c], expected.gradient[t * 3 + c], accuracy: 1e-15) }
    }
    // A label that is masked everywhere cannot be.
    problem.labels = [[1, 3]]
    XCTAssertEqual(try evaluate(CTC(reduction: .sum), problem).losses, [.infinity])
    XCTAssertEqual(try evaluate(CTC(reduction: .sum, zeroInfinity: true), problem).losses, [0])
    // All classes masked: no distribution.
    for c in 0..<4 { problem.logits[c] = -.infinity }
    XCTAssertTrue(try evaluate(CTC(reduction: .sum, zeroInfinity: true), problem).losses[0].isNaN)
  }

  // MARK: - Arguments

  func testWrongArgumentsAreErrorsThatNameThem() throws {
    let good = problem(Float.self, stepCount: 4, classes: 3, blank: 0, labelCounts: [2, 1])
    func fails(_ word: String, _ code: RNNError.Code = .invalidArgument, line: UInt = #line, _ body: () throws -> Void) {
      XCTAssertThrowsError(try body(), line: line) { error in
        XCTAssertEqual((error as? RNNError)?.code, code, line: line)
        XCTAssertTrue("\(error)".contains(word), "\(error)", line: line)
      }
    }
    for blank in [-1, 3, Int64.max, .min] { fails("blank is \(blank)") { _ = try evaluate(CTC(blank: blank), good) } }
    for (label, word) in [(0, "is 0"), (3, "is 3"), (-1, "is -1"), (Int64.max, "label 1 of row 0"), (.min, "targets[1]")] as [(Int64, String)] {
      for concatenated in [false, true] {
        var bad = good
        bad.labels[0][1] = label
        fails(word) { _ = try evaluate(CTC(), bad, concatenated: concatenated) }
      }
    }
    for length in [-1, 5, Int64.max, .min] {
      var bad = good
      bad.inputLengths = [4, length]
      fails("input_lengths[1] is \(length)") { _ = try evaluate(CTC(), bad) }
    }
    for length in [-1, 3, Int64.max, .min] {
      let lengths = [1, length], targets = [Int64](repeating: 1, count: 4), logits = [Float](repeating: 0, count: 24)
      var losses = [0.0]
      for concatenated in [false, true] where !concatenated || length != 3 {
        fails("target", concatenated && length > 0 ? .bufferTooSmall : .invalidArgument) {
          try lengths.withUnsafeBufferPointer { lengths in
            try targets.withUnsafeBufferPointer { targets in
              try logits.withUnsafeBufferPointer { logits in
                try losses.withUnsafeMutableBufferPointer { losses in
                  try CTC().evaluate(
                    sequenceLength: 4, batchSize: 2, classes: 3, logits: logits,
                    targets: concatenated ? .concatenated(targets) : .padded(targets, width: 2), inputLengths: nil,
                    targetLengths: lengths, losses: losses, gradient: nil)
                }
              }
            }
          }
        }
      }
    }
  }
}
