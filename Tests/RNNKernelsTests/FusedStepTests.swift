import XCTest

@testable import RNNKernels

/// Fused steps against the products and gates that they are made of, bit for bit.
final class FusedStepTests: XCTestCase {
  fileprivate enum Cell: CaseIterable {
    case tanh, relu, lstm, gruBefore, gruAfter

    var fused: FusedCell {
      switch self {
      case .tanh: .vanillaTanh
      case .relu: .vanillaRelu
      case .lstm: .lstm
      case .gruBefore: .gruBefore
      case .gruAfter: .gruAfter
      }
    }
  }

  /// A layer with random weights, and T steps of N rows from X W_x + b.
  fileprivate struct Problem<Scalar: KernelScalar> {
    let cell: Cell
    let h, rows, steps: Int
    /// [G·H, H], [T, N, G·H], [H].
    let weight, x, candidateBias: [Scalar]
    /// [N, H].
    let hidden, cellState: [Scalar]
    var gates: Int { cell.fused.gateCount }
    var isGRU: Bool { cell == .gruBefore || cell == .gruAfter }

    init(_ cell: Cell, h: Int, rows: Int, steps: Int) {
      (self.cell, self.h, self.rows, self.steps) = (cell, h, rows, steps)
      var numbers = TestNumbers(seed: UInt64(h * 1000 + rows))
      let g = cell.fused.gateCount
      weight = numbers.array(g * h * h, scale: 1 / Double(h).squareRoot())
      x = numbers.array(steps * rows * g * h, scale: 2)
      candidateBias = numbers.array(h)
      hidden = numbers.array(rows * h)
      cellState = numbers.array(rows * h)
    }

    struct Result {
      /// [T, N, H], and [N, H].
      var output, hidden, cell: [Scalar]
    }

    /// Step by step with the kernels of single products and gates.
    func apart(_ set: InstructionSet) -> Result {
      let kernels = Scalar.table(of: set)
      let width = gates * h
      var gateValues = x, state = hidden, next = hidden, c = cellState
      var term = [Scalar](repeating: 0, count: rows * h), output: [Scalar] = []
      func multiply(
        from gate: Int, _ count: Int, _ input: UnsafePointer<Scalar>, start: UnsafePointer<Scalar>, startStride: Int,
        into output: UnsafeMutablePointer<Scalar>, outputStride: Int
      ) {
        var panels = [Scalar](repeating: 0, count: PackedMatrix<Scalar>.elementCount(outputs: count * h, depth: h))
        weight.withUnsafeBufferPointer { weight in
          panels.withUnsafeMutableBufferPointer { panels in
            let packed = PackedMatrix(
              outputs: count * h, depth: h, source: weight.baseAddress! + gate * h * h, outputStride: h, depthStride: 1,
              panels: panels.baseAddress!, panelWidth: kernels.panelWidth)
            packed.multiply(
              kernels, rows: rows, input: input, inputRowStride: h, start: start, startRowStride: startStride, output: output,
              outputRowStride: outputStride)
          }
        }
      }
      gateValues.withUnsafeMutableBufferPointer { all in
        for t in 0..<steps {
          let g = all.baseAddress! + t * rows * width
          state.withUnsafeMutableBufferPointer { state in
            next.withUnsafeMutableBufferPointer { next in
              c.withUnsafeMutableBufferPointer { c in
                term.withUnsafeMutableBufferPointer { term in
                  var arguments = GateArguments(rows: rows, hiddenSize: h, gates: g, gatesStride: width)
                  arguments.hidden = UnsafePointer(state.baseAddress!)
                  arguments.nextHidden = next.baseAddress!
                  (arguments.cell, arguments.nextCell) = (UnsafePointer(c.baseAddress!), c.baseAddress!)
                  arguments.recurrentTerm = term.baseAddress!
                  arguments.relu = cell == .relu
                  multiply(
                    from: 0, isGRU ? 2 : gates, state.baseAddress!, start: g, startStride: width, into: g, outputStride: width)
                  switch cell {
                  case .tanh, .relu: kernels.vanillaForward(arguments)
                  case .lstm: kernels.lstmForward(arguments)
                  case .gruBefore:
                    kernels.gruGates(arguments)
                    multiply(
                      from: 2, 1, term.baseAddress!, start: g + 2 * h, startStride: width, into: g + 2 * h, outputStride: width)
                    kernels.gruBeforeForward(arguments)
                  case .gruAfter:
                    candidateBias.withUnsafeBufferPointer { bias in
                      multiply(
                        from: 2, 1, state.baseAddress!, start: bias.baseAddress!, startStride: 0, into: term.baseAddress!,
                        outputStride: h)
                    }
                    kernels.gruAfterForward(arguments)
                  }
                }
              }
            }
          }
          swap(&state, &next)
          output += state
        }
      }
      return Result(output: output, hidden: state, cell: c)
    }

    /// The same with the fused kernel: all steps at once, or each step in `parts` parts of its panels.
    ///
    /// - Parameter beside: A product to compute beside the steps.
    func fused(
      _ set: InstructionSet, firstStep: Int, parts: Int?, beside: UnsafeMutablePointer<BesideProduct<Scalar>>? = nil
    ) -> Result {
      let kernels = Scalar.table(of: set)
      let layout = FusedLayout(units: h, gates: gates, kernels)
      let (sw, rw) = (layout.stateWidth, layout.rowWidth)
      func buffer(_ count: Int) -> UnsafeMutablePointer<Scalar> {
        let memory = UnsafeMutablePointer<Scalar>.allocate(capacity: max(1, count))
        memory.initialize(repeating: 0, count: max(1, count))
        return memory
      }
      let panels = buffer(rw * h), candidate = buffer(sw * h), bias = buffer(sw), xs = buffer(steps * rows * rw)
      var (now, next) = (buffer(rows * sw), buffer(rows * sw))
      let c = buffer(rows * sw), term = buffer(rows * sw), update = buffer(rows * sw)
      let sums = buffer(FusedArguments<Scalar>.sumCount + 8)
      // Columns past H of the output stay as they are.
      let output = buffer(steps * rows * (h + 1))
      defer { for memory in [panels, candidate, bias, xs, now, next, c, term, update, sums, output] { memory.deallocate() } }
      for i in 0..<8 { sums[FusedArguments<Scalar>.sumCount + i] = 77 }
      output.update(repeating: 55, count: steps * rows * (h + 1))
      weight.withUnsafeBufferPointer { weight in
        if cell == .gruBefore {
          layout.with(gates: 2).pack(weight.baseAddress!, depth: h, into: panels)
          layout.with(gates: 1).pack(weight.baseAddress! + 2 * h * h, depth: h, into: candidate)
        } else {
          layout.pack(weight.baseAddress!, depth: h, into: panels)
        }
      }
      for row in 0..<steps * rows {
        x.withUnsafeBufferPointer { layout.interleave($0.baseAddress! + row * gates * h, columns: 1, into: xs + row * rw) }
      }
      for j in 0..<h { bias[j] = candidateBias[j] }
      for row in 0..<rows {
        for j in 0..<h { (now[row * sw + j], c[row * sw + j]) = (hidden[row * h + j], cellState[row * h + j]) }
      }
      var arguments = FusedArguments(
        cell.fused, order: reductionChains(depth: h, outputs: (isGRU ? 2 : gates) * h),
        candidateOrder: reductionChains(depth: h, outputs: h), depth: h, steps: steps, rows: rows,
        panelCount: layout.wholePanelCount, hasHalfPanel: layout.hasHalfPanel, rowWidth: rw, stateWidth: sw, x: xs, weight: panels, hidden: now, nextHidden: next, sums: sums)
      arguments.candidateWeight = UnsafePointer(candidate)
      arguments.candidateBias = UnsafePointer(bias)
      (arguments.cell, arguments.term, arguments.update) = (c, term, update)
      arguments.output = output
      arguments.outputRowStride = h + 1
      arguments.outputStepStride = rows * (h + 1)
      arguments.firstStep = firstStep
      arguments.beside = beside
      if let parts {
        for t in 0..<steps {
          for phase in cell == .gruBefore ? [1, 2] : [2] as [UInt8] {
            for part in 0..<parts {
              var step = arguments.panels(part: part, parts: parts)
              step.steps = 1
              step.phases = phase
              step.x = UnsafePointer(xs) + t * rows * rw
              step.output = output + t * rows * (h + 1)
              (step.hidden, step.nextHidden) = (now, next)
              kernels.fusedSequence(step)
            }
          }
          swap(&now, &next)
        }
      } else {
        kernels.fusedSequence(arguments)
        if steps % 2 == 1 { swap(&now, &next) }
      }
      for i in 0..<8 { XCTAssertEqual(sums[FusedArguments<Scalar>.sumCount + i], 77, "wrote past its sums") }
      var result = Result(output: [], hidden: [], cell: [])
      for row in 0..<steps * rows {
        result.output += (0..<h).map { output[row * (h + 1) + $0] }
        XCTAssertEqual(output[row * (h + 1) + h], 55, "wrote past its units")
      }
      for row in 0..<rows {
        result.hidden += (0..<h).map { now[row * sw + $0] }
        result.cell += (0..<h).map { c[row * sw + $0] }
        // Padding is zero, or NaN in a row that has one: nobody reads it for a unit.
        for j in h..<sw where !now[row * sw + j].isNaN { XCTAssertEqual(now[row * sw + j], 0, "padding of the state") }
      }
      return result
    }
  }

  private func check<Scalar: KernelScalar>(_ type: Scalar.Type, _ cell: Cell, sizes: [Int], rows: [Int]) {
    for h in sizes {
      for n in rows {
        let problem = Problem<Scalar>(cell, h: h, rows: n, steps: 3)
        var results: [InstructionSet: Problem<Scalar>.Result] = [:]
        for set in InstructionSet.supported {
          let expected = problem.apart(set)
          for (firstStep, parts) in [(0, nil), (1, nil), (0, 2), (0, 3)] as [(Int, Int?)] {
            let found = problem.fused(set, firstStep: firstStep, parts: parts)
            let message = "\(cell), \(Scalar.self) on \(set.rawValue), H = \(h), N = \(n), first step \(firstStep), parts \(parts ?? 1)"
            assertSameBits(found.output, expected.output, "output: \(message)")
            assertSameBits(found.hidden, expected.hidden, "state: \(message)")
            if cell == .lstm { assertSameBits(found.cell, expected.cell, "memory cell: \(message)") }
            results[set] = found
          }
        }
        if let v3 = results[.v3], let v4 = results[.v4] { assertSameBits(v3.output, v4.output, "v3 and v4, \(cell), H = \(h)") }
      }
    }
  }

  /// Around every vector width (2 to 16), every number of panels that one row takes at once (1 to 8), and the limit of two chains.
  private let sizes = [1, 2, 3, 5, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 47, 48, 64, 65, 72, 100, 130]

  func testOneRowEqualsItsProductsAndGates() {
    for cell in Cell.allCases {
      check(Float.self, cell, sizes: sizes, rows: [1])
      check(Double.self, cell, sizes: sizes, rows: [1])
    }
  }

  /// Where the steps' weights are in the first-level cache and where not; products that are done before the steps are, and that are not; k in
  /// whole blocks and not.
  func testStepsAndAProductBesideThemAreAsEachAlone() {
    for cell in Cell.allCases {
      checkBeside(Float.self, cell)
      checkBeside(Double.self, cell)
    }
  }

  private func checkBeside<Scalar: KernelScalar>(_ type: Scalar.Type, _ cell: Cell) {
    for set in InstructionSet.supported {
      let kernels = Scalar.table(of: set)
      guard kernels.besideRows > 0 else { continue }
      for (h, depth, tiles) in [(40, 50, 1), (100, 1, 1), (130, 16, 2), (130, 41, 3), (200, 200, 2), (97, 300, 4)] {
        let problem = Problem<Scalar>(cell, h: h, rows: 1, steps: 3)
        let rows = tiles * kernels.besideRows, outputs = 2 * kernels.panelWidth, stride = outputs + 3
        var numbers = TestNumbers(seed: UInt64(h * depth))
        let input: [Scalar] = numbers.array(rows * (depth + 1)), weight: [Scalar] = numbers.array(outputs * depth)
        let start: [Scalar] = numbers.array(outputs)
        var panels = [Scalar](repeating: 0, count: PackedMatrix<Scalar>.elementCount(outputs: outputs, depth: depth))
        var alone = [Scalar](repeating: 44, count: rows * stride), beside = alone
        input.withUnsafeBufferPointer { input in
          panels.withUnsafeMutableBufferPointer { panels in
            let matrix = weight.withUnsafeBufferPointer {
              PackedMatrix(
                outputs: outputs, depth: depth, order: .single, source: $0.baseAddress!, outputStride: depth, depthStride: 1,
                panels: panels.baseAddress!, panelWidth: kernels.panelWidth)
            }
            start.withUnsafeBufferPointer { start in
              alone.withUnsafeMutableBufferPointer {
                matrix.multiply(
                  kernels, rows: rows, input: input.baseAddress!, inputRowStride: depth + 1, start: start.baseAddress!,
                  startRowStride: 0, output: $0.baseAddress!, outputRowStride: stride)
              }
              beside.withUnsafeMutableBufferPointer {
                var product = BesideProduct(
                  matrix.arguments(
                    rows: rows, input: input.baseAddress!, inputRowStride: depth + 1, start: start.baseAddress!, startRowStride: 0,
                    output: $0.baseAddress!, outputRowStride: stride),
                  start: start.baseAddress!, columns: outputs)
                let message = "\(cell), \(Scalar.self) on \(set.rawValue), H = \(h), depth \(depth), \(rows) rows"
                let expected = problem.apart(set)
                let found = problem.fused(set, firstStep: 0, parts: nil, beside: &product)
                assertSameBits(found.output, expected.output, "output: \(message)")
                assertSameBits(found.hidden, expected.hidden, "state: \(message)")
              }
            }
          }
        }
        assertSameBits(beside, alone, "product beside \(cell), H = \(h), depth \(depth), \(rows) rows")
      }
    }
  }

  /// Around the rows of every tile: 8, 6, 5, 4 and 2, and what remains of them.
  func testRowsEqualTheirProductsAndGates() {
    for cell in Cell.allCases {
      check(Float.self, cell, sizes: [3, 17, 32, 40], rows: Array(2...15) + [17, 19])
      check(Double.self, cell, sizes: [3, 17, 33], rows: Array(2...15))
    }
  }

  func testNoStepsLeaveTheState() {
    let problem = Problem<Float>(.lstm, h: 5, rows: 2, steps: 0)
    let found = problem.fused(.current, firstStep: 0, parts: nil)
    assertSameBits(found.hidden, problem.hidden)
    assertSameBits(found.cell, problem.cellState)
  }

  /// NaN in one row stays in that row.
  func testARowWithNaNSpoilsNoOther() {
    for cell in Cell.allCases {
      let clean = Problem<Float>(cell, h: 19, rows: 7, steps: 2)
      for set in InstructionSet.supported {
        let expected = clean.fused(set, firstStep: 0, parts: nil)
        let spoilt = Problem(clean, hidden: clean.hidden.enumerated().map { $0.offset / 19 == 3 ? .nan : $0.element })
        let found = spoilt.fused(set, firstStep: 0, parts: nil)
        for t in 0..<2 {
          for n in 0..<7 {
            let line = (t * 7 + n) * 19..<(t * 7 + n + 1) * 19
            if n == 3 {
              XCTAssertTrue(found.output[line].allSatisfy(\.isNaN), "\(cell) on \(set.rawValue)")
            } else {
              assertSameBits(Array(found.output[line]), Array(expected.output[line]), "\(cell) on \(set.rawValue)")
            }
          }
        }
      }
    }
  }
}

extension FusedStepTests.Problem {
  /// `other` with another initial state.
  fileprivate init(_ other: Self, hidden: [Scalar]) {
    (cell, h, rows, steps) = (other.cell, other.h, other.rows, other.steps)
    (weight, x, candidateBias, cellState) = (other.weight, other.x, other.candidateBias, other.cellState)
    self.hidden = hidden
  }
}
