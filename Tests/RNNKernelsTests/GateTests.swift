import XCTest

@testable import RNNKernels

/// The memory of one step of a cell: every array of `GateArguments`, with a gap of guard values after each.
private struct GateMemory<Scalar: KernelScalar> {
  /// In this order: gates, hidden, nextHidden, cell, nextCell, recurrentTerm, recurrentTermGradient, gateGradients,
  /// nextHiddenGradient, hiddenGradient, cellGradient, cellOutput.
  var arrays: [[Scalar]]
  let rows, hiddenSize, gatesStride: Int
  let gradientsLayout, termGradientLayout: GateLayout

  /// - Parameters:
  ///   - realistic: Gates as σ and tanh give them, for backward kernels.
  ///   - inBlocks: Of two rows more, what a kernel writes for the gradients of weights; otherwise in rows.
  init(rows: Int, hiddenSize h: Int, gates: Int, realistic: Bool, inBlocks: Bool = false, seed: UInt64) {
    self.rows = rows
    hiddenSize = h
    gatesStride = gates * h + 2
    let gradientsStride = gates * h + 1
    gradientsLayout =
      inBlocks ? GateLayout(units: h, blocksOfRows: rows + 2) : GateLayout(units: h, columns: gradientsStride)
    termGradientLayout = inBlocks ? GateLayout(units: h, blocksOfRows: rows + 2) : GateLayout(units: h, columns: h)
    var numbers = TestNumbers(seed: seed)
    arrays = [numbers.array(rows * gatesStride + 5, scale: realistic ? 1 : 4)]
    for _ in 1..<6 { arrays.append(numbers.array(rows * h + 5)) }
    arrays.append(numbers.array(inBlocks ? termGradientLayout.gateStride : rows * h + 5))
    arrays.append(numbers.array(inBlocks ? gates * gradientsLayout.gateStride : rows * gradientsStride + 5))
    for _ in 8..<12 { arrays.append(numbers.array(rows * h + 5)) }
  }

  mutating func run(_ kernel: Kernel<GateArguments<Scalar>>, relu: Bool = false) {
    let pointers = arrays.map { array in
      let memory = UnsafeMutablePointer<Scalar>.allocate(capacity: array.count)
      memory.initialize(from: array, count: array.count)
      return memory
    }
    var arguments = GateArguments(rows: rows, hiddenSize: hiddenSize, gates: pointers[0], gatesStride: gatesStride)
    arguments.hidden = UnsafePointer(pointers[1])
    arguments.nextHidden = pointers[2]
    arguments.cell = UnsafePointer(pointers[3])
    arguments.nextCell = pointers[4]
    arguments.recurrentTerm = pointers[5]
    arguments.recurrentTermGradient = pointers[6]
    arguments.recurrentTermGradientLayout = termGradientLayout
    arguments.gateGradients = pointers[7]
    arguments.gateGradientsLayout = gradientsLayout
    arguments.nextHiddenGradient = UnsafePointer(pointers[8])
    arguments.hiddenGradient = pointers[9]
    arguments.cellGradient = pointers[10]
    arguments.cellOutput = pointers[11]
    arguments.keepsCellOutput = true
    arguments.relu = relu
    kernel(arguments)
    for (i, pointer) in pointers.enumerated() {
      arrays[i] = Array(UnsafeBufferPointer(start: pointer, count: arrays[i].count))
      pointer.deallocate()
    }
  }

  subscript(_ array: Name, row: Int, column: Int) -> Scalar {
    get { arrays[array.rawValue][place(array, row, column)] }
    set { arrays[array.rawValue][place(array, row, column)] = newValue }
  }

  enum Name: Int, CaseIterable {
    case gates, hidden, nextHidden, cell, nextCell, recurrentTerm, recurrentTermGradient, gateGradients, nextHiddenGradient
    case hiddenGradient, cellGradient, cellOutput
  }

  private func place(_ name: Name, _ row: Int, _ column: Int) -> Int {
    switch name {
    case .gates: row * gatesStride + column
    case .gateGradients:
      column / hiddenSize * gradientsLayout.gateStride + gradientsLayout.place(row: row, unit: column % hiddenSize)
    case .recurrentTermGradient: termGradientLayout.place(row: row, unit: column)
    default: row * hiddenSize + column
    }
  }
}

/// Each gate kernel against plain loops, in bits; the loops use σ and tanh of the same table, one number at a time.
final class GateTests: XCTestCase {
  private struct Reference<Scalar: KernelScalar> {
    let kernels: KernelTable<Scalar>

    func sigmoid(_ x: Scalar) -> Scalar {
      var x = x
      withUnsafeMutablePointer(to: &x) { kernels.sigmoid(ElementArguments(count: 1, values: $0)) }
      return x
    }

    func tanh(_ x: Scalar) -> Scalar {
      var x = x
      withUnsafeMutablePointer(to: &x) { kernels.tanh(ElementArguments(count: 1, values: $0)) }
      return x
    }
  }

  private typealias Step<Scalar: KernelScalar> = (inout GateMemory<Scalar>, Int, Int, Reference<Scalar>) -> Void

  /// Runs a kernel and a plain loop on the same memory, for every tail of every vector width, and compares all of it.
  private func check<Scalar: KernelScalar>(
    _ name: String, gates: Int, realistic: Bool = false, relu: Bool = false, inBlocks: Bool = false,
    _ kernel: (KernelTable<Scalar>) -> Kernel<GateArguments<Scalar>>, line: UInt = #line, _ step: Step<Scalar>
  ) {
    for h in 1...33 {
      let rows = h % 3 + 1
      let start = GateMemory<Scalar>(
        rows: rows, hiddenSize: h, gates: gates, realistic: realistic, inBlocks: inBlocks, seed: UInt64(h))
      var results: [InstructionSet: GateMemory<Scalar>] = [:]
      for set in InstructionSet.supported {
        let kernels = Scalar.table(of: set)
        var found = start, expected = start
        found.run(kernel(kernels), relu: relu)
        for row in 0..<rows { for j in 0..<h { step(&expected, row, j, Reference(kernels: kernels)) } }
        for (i, array) in GateMemory<Scalar>.Name.allCases.enumerated() {
          assertSameBits(
            found.arrays[i], expected.arrays[i], "\(name), \(Scalar.self) on \(set.rawValue), H = \(h), \(array)", line: line)
        }
        results[set] = found
      }
      // The contract: v3 and v4 agree in every bit.
      if let v3 = results[.v3], let v4 = results[.v4] { XCTAssertEqual(v3.arrays, v4.arrays, "\(name), H = \(h)", line: line) }
    }
  }

  func testVanillaForwardIsItsEquation() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type) {
      self.check("vanilla", gates: 1, { (table: KernelTable<Scalar>) in table.vanillaForward }) { m, n, j, reference in
        m[.nextHidden, n, j] = reference.tanh(m[.gates, n, j])
      }
      self.check("vanilla relu", gates: 1, relu: true, { (table: KernelTable<Scalar>) in table.vanillaForward }) { m, n, j, _ in
        let x = m[.gates, n, j]
        m[.nextHidden, n, j] = x > 0 ? x : 0
      }
    }
    check(Float.self)
    check(Double.self)
  }

  func testVanillaBackwardIsItsEquation() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type, inBlocks: Bool) {
      self.check("vanilla", gates: 1, inBlocks: inBlocks, { (table: KernelTable<Scalar>) in table.vanillaBackward }) { m, n, j, _ in
        let y = m[.nextHidden, n, j]
        m[.gateGradients, n, j] = m[.nextHiddenGradient, n, j] * (1 - y * y)
      }
      self.check("vanilla relu", gates: 1, relu: true, inBlocks: inBlocks, { (table: KernelTable<Scalar>) in table.vanillaBackward }) {
        m, n, j, _ in
        m[.gateGradients, n, j] = m[.nextHidden, n, j] == 0 ? 0 : m[.nextHiddenGradient, n, j]
      }
    }
    for inBlocks in [false, true] {
      check(Float.self, inBlocks: inBlocks)
      check(Double.self, inBlocks: inBlocks)
    }
  }

  /// Where the result of relu is 0 its gradient is +0, whatever comes from above; NaN and the sign pass elsewhere.
  func testTheGradientOfReluIsZeroWhereItsResultIs() {
    for set in InstructionSet.supported {
      var memory = GateMemory<Float>(rows: 1, hiddenSize: 5, gates: 1, realistic: false, seed: 1)
      memory.arrays[GateMemory<Float>.Name.nextHidden.rawValue].replaceSubrange(0..<5, with: [0, 2, 0, 3, .nan])
      memory.arrays[GateMemory<Float>.Name.nextHiddenGradient.rawValue].replaceSubrange(0..<5, with: [-1, -1, .nan, .nan, 7])
      memory.run(Float.table(of: set).vanillaBackward, relu: true)
      let found = Array(memory.arrays[GateMemory<Float>.Name.gateGradients.rawValue][..<5])
      assertSameBits(found, [0, -1, 0, .nan, 7], set.rawValue)
    }
  }

  func testLSTMForwardIsItsEquations() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type) {
      self.check("LSTM", gates: 4, { (table: KernelTable<Scalar>) in table.lstmForward }) { m, n, j, reference in
        let h = m.hiddenSize
        let i = reference.sigmoid(m[.gates, n, j]), f = reference.sigmoid(m[.gates, n, h + j])
        let g = reference.tanh(m[.gates, n, 2 * h + j]), o = reference.sigmoid(m[.gates, n, 3 * h + j])
        let c = f * m[.cell, n, j] + i * g
        (m[.gates, n, j], m[.gates, n, h + j], m[.gates, n, 2 * h + j], m[.gates, n, 3 * h + j]) = (i, f, g, o)
        m[.nextCell, n, j] = c
        m[.cellOutput, n, j] = reference.tanh(c)
        m[.nextHidden, n, j] = o * m[.cellOutput, n, j]
      }
    }
    check(Float.self)
    check(Double.self)
  }

  func testLSTMBackwardIsItsEquations() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type, inBlocks: Bool) {
      self.check("LSTM", gates: 4, realistic: true, inBlocks: inBlocks, { (table: KernelTable<Scalar>) in table.lstmBackward }) {
        m, n, j, _ in
        let h = m.hiddenSize
        let (i, f) = (m[.gates, n, j], m[.gates, n, h + j]), (g, o) = (m[.gates, n, 2 * h + j], m[.gates, n, 3 * h + j])
        let dh = m[.nextHiddenGradient, n, j], t = m[.cellOutput, n, j]
        let dc = m[.cellGradient, n, j] + dh * o * (1 - t * t)
        m[.gateGradients, n, j] = dc * g * (i * (1 - i))
        m[.gateGradients, n, h + j] = dc * m[.cell, n, j] * (f * (1 - f))
        m[.gateGradients, n, 2 * h + j] = dc * i * (1 - g * g)
        m[.gateGradients, n, 3 * h + j] = dh * t * (o * (1 - o))
        m[.cellGradient, n, j] = dc * f
      }
    }
    for inBlocks in [false, true] {
      check(Float.self, inBlocks: inBlocks)
      check(Double.self, inBlocks: inBlocks)
    }
  }

  func testGRUGatesAreTheirEquations() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type) {
      self.check("gates", gates: 3, { (table: KernelTable<Scalar>) in table.gruGates }) { m, n, j, reference in
        let r = reference.sigmoid(m[.gates, n, j])
        m[.gates, n, j] = r
        m[.gates, n, m.hiddenSize + j] = reference.sigmoid(m[.gates, n, m.hiddenSize + j])
        m[.recurrentTerm, n, j] = r * m[.hidden, n, j]
      }
    }
    check(Float.self)
    check(Double.self)
  }

  func testGRUForwardIsItsEquationsInBothVariants() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type) {
      self.check("reset-before", gates: 3, { (table: KernelTable<Scalar>) in table.gruBeforeForward }) { m, n, j, reference in
        let h = m.hiddenSize, z = m[.gates, n, h + j]
        let candidate = reference.tanh(m[.gates, n, 2 * h + j])
        m[.gates, n, 2 * h + j] = candidate
        m[.nextHidden, n, j] = z * m[.hidden, n, j] + (1 - z) * candidate
      }
      self.check("reset-after", gates: 3, { (table: KernelTable<Scalar>) in table.gruAfterForward }) { m, n, j, reference in
        let h = m.hiddenSize
        let r = reference.sigmoid(m[.gates, n, j]), z = reference.sigmoid(m[.gates, n, h + j])
        let candidate = reference.tanh(m[.gates, n, 2 * h + j] + r * m[.recurrentTerm, n, j])
        (m[.gates, n, j], m[.gates, n, h + j], m[.gates, n, 2 * h + j]) = (r, z, candidate)
        m[.nextHidden, n, j] = z * m[.hidden, n, j] + (1 - z) * candidate
      }
    }
    check(Float.self)
    check(Double.self)
  }

  func testGRUBackwardIsItsEquationsInBothVariants() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type, inBlocks: Bool) {
      self.check("both", gates: 3, realistic: true, inBlocks: inBlocks, { (table: KernelTable<Scalar>) in table.gruBackward }) {
        m, n, j, _ in
        let h = m.hiddenSize, (z, candidate) = (m[.gates, n, h + j], m[.gates, n, 2 * h + j])
        let dh = m[.nextHiddenGradient, n, j]
        m[.gateGradients, n, h + j] = dh * (m[.hidden, n, j] - candidate) * (z * (1 - z))
        m[.gateGradients, n, 2 * h + j] = dh * (1 - z) * (1 - candidate * candidate)
        m[.hiddenGradient, n, j] = dh * z
      }
      self.check("reset-before", gates: 3, realistic: true, inBlocks: inBlocks, { (table: KernelTable<Scalar>) in table.gruBeforeBackward })
      {
        m, n, j, _ in
        let r = m[.gates, n, j], dq = m[.recurrentTermGradient, n, j]
        m[.gateGradients, n, j] = dq * m[.hidden, n, j] * (r * (1 - r))
        m[.hiddenGradient, n, j] = m[.hiddenGradient, n, j] + dq * r
      }
      self.check("reset-after", gates: 3, realistic: true, inBlocks: inBlocks, { (table: KernelTable<Scalar>) in table.gruAfterBackward }) {
        m, n, j, _ in
        let r = m[.gates, n, j], candidate = m[.gateGradients, n, 2 * m.hiddenSize + j]
        m[.gateGradients, n, j] = candidate * m[.recurrentTerm, n, j] * (r * (1 - r))
        m[.recurrentTermGradient, n, j] = candidate * r
      }
    }
    for inBlocks in [false, true] {
      check(Float.self, inBlocks: inBlocks)
      check(Double.self, inBlocks: inBlocks)
    }
  }

  /// At inference the state is advanced where it is.
  func testAStepInPlaceEqualsAStepToOtherMemory() {
    for set in InstructionSet.supported {
      let kernels = Float.table(of: set)
      for h in [1, 7, 16, 19] {
        for (kernel, hasCell) in [(kernels.gruBeforeForward, false), (kernels.gruAfterForward, false), (kernels.lstmForward, true)] {
          var apart = GateMemory<Float>(rows: 2, hiddenSize: h, gates: 4, realistic: false, seed: 1)
          var gates = apart.arrays[0], hidden = apart.arrays[1], cell = apart.arrays[3], term = apart.arrays[5]
          let stride = apart.gatesStride
          apart.run(kernel)
          gates.withUnsafeMutableBufferPointer { gates in
            hidden.withUnsafeMutableBufferPointer { hidden in
              cell.withUnsafeMutableBufferPointer { cell in
                term.withUnsafeMutableBufferPointer { term in
                  var arguments = GateArguments(rows: 2, hiddenSize: h, gates: gates.baseAddress!, gatesStride: stride)
                  (arguments.hidden, arguments.nextHidden) = (UnsafePointer(hidden.baseAddress!), hidden.baseAddress!)
                  (arguments.cell, arguments.nextCell) = (UnsafePointer(cell.baseAddress!), cell.baseAddress!)
                  arguments.recurrentTerm = term.baseAddress!
                  kernel(arguments)
                }
              }
            }
          }
          assertSameBits(Array(hidden[..<(2 * h)]), Array(apart.arrays[2][..<(2 * h)]), "\(set.rawValue), H = \(h)")
          if hasCell {
            assertSameBits(Array(cell[..<(2 * h)]), Array(apart.arrays[4][..<(2 * h)]), "\(set.rawValue), H = \(h)")
          }
        }
      }
    }
  }
}
