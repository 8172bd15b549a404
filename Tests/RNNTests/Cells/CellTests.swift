import RNNKernels
import XCTest

@testable import RNN

/// The plain equations are the judge of the fused kernels: one step of a network has their bits, forwards and backwards.
final class CellTests: XCTestCase {
  /// Odd sizes, sizes of whole vectors, and sizes past the limits of `reductionChains`.
  private let sizes: [(n: Int, i: Int, h: Int)] = [
    (1, 1, 1), (1, 3, 5), (2, 17, 4), (3, 1, 16), (1, 16, 16), (5, 2, 33), (1, 65, 7), (2, 33, 65), (9, 5, 3), (17, 4, 9),
  ]

  func testAStepOfANetworkIsTheCellInFloat() throws { try checkEveryCell(Float.self) }
  func testAStepOfANetworkIsTheCellInDouble() throws { try checkEveryCell(Double.self) }

  private func checkEveryCell<Scalar: KernelScalar>(_ type: Scalar.Type) throws {
    for cell in everyCell {
      for bias in BiasMode.allCases {
        for size in sizes { try check(cell, bias, size, Scalar.self) }
      }
    }
  }

  /// What a cell function gives, forwards and backwards.
  private struct Answers<Scalar: KernelScalar> {
    var hidden, cell, input, hiddenGradient, cellGradient: [Scalar]
    var weightIH, weightHH, biasIH, biasHH: [Scalar]
  }

  private func check<Scalar: KernelScalar>(
    _ cell: CellKind, _ bias: BiasMode, _ size: (n: Int, i: Int, h: Int), _ type: Scalar.Type
  ) throws {
    let (n, i, h) = size
    let message = "\(cell), bias \(bias), N \(n), I \(i), H \(h), \(Scalar.self)"
    let network = try recurrentNetwork(
      cell, inputSize: i, hiddenSize: h, bias: bias, dataType: Scalar.dataType, seed: UInt64(n + i + h))
    var numbers = TestNumbers(seed: 7)
    // Not all biases are zero, which the normal scheme makes them.
    try network.setParameter(to: numbers.array(network.architecture.parameterCount, of: Scalar.self, scale: 0.7))
    let sequence = Batch<Scalar>(network.architecture, stepCount: 1, rowCount: n, numbers: &numbers)
    let before = try randomState(network, rowCount: n, Scalar.self, numbers: &numbers)
    let outputGradient: [Scalar] = numbers.array(n * h)
    let finalGradient = try randomState(network, rowCount: n, Scalar.self, numbers: &numbers)

    func tensor(_ name: String, of all: [Scalar]) -> [Scalar]? {
      network.architecture.parameter(named: "r.\(name)").map { Array(all[$0.offset..<$0.offset + $0.count]) }
    }
    let all: [Scalar] = try network.parameter()
    let answers = try compute(
      cell, size, input: sequence.features, hidden: before.array("r.h"), cell: cell == .lstm ? before.array("r.c") : nil,
      weightIH: tensor("weight_ih_l0", of: all)!, weightHH: tensor("weight_hh_l0", of: all)!,
      biasIH: tensor("bias_ih_l0", of: all) ?? tensor("bias_l0", of: all), biasHH: tensor("bias_hh_l0", of: all),
      hiddenGradient: zip(finalGradient.array("r.h", as: Scalar.self), outputGradient).map { $0 + $1 },
      cellGradient: cell == .lstm ? finalGradient.array("r.c") : [])

    var state: NetworkState? = before
    let output = try network.run(sequence, state: &state)
    assertSameBits(output, answers.hidden, "output, \(message)")
    assertSameBits(try state!.array("r.h"), answers.hidden, "h, \(message)")
    if cell == .lstm { assertSameBits(try state!.array("r.c"), answers.cell, "c, \(message)") }

    var trainState: NetworkState? = before
    let (trained, tape) = try network.train(sequence, state: &trainState)
    assertSameBits(trained, answers.hidden, "forwardTrain, \(message)")
    var gradient: NetworkState? = finalGradient
    let found = try network.gradients(tape, outputGradient: outputGradient, state: &gradient, inputCount: n * i)
    assertSameBits(found.input, answers.input, "∂L/∂X, \(message)")
    assertSameBits(try gradient!.array("r.h"), answers.hiddenGradient, "∂L/∂H, \(message)")
    if cell == .lstm { assertSameBits(try gradient!.array("r.c"), answers.cellGradient, "∂L/∂C, \(message)") }
    assertSameBits(tensor("weight_ih_l0", of: found.parameters)!, answers.weightIH, "∂L/∂W_x, \(message)")
    assertSameBits(tensor("weight_hh_l0", of: found.parameters)!, answers.weightHH, "∂L/∂W_h, \(message)")
    if let biasIH = tensor("bias_ih_l0", of: found.parameters) ?? tensor("bias_l0", of: found.parameters) {
      assertSameBits(biasIH, answers.biasIH, "∂L/∂b_x, \(message)")
    }
    if let biasHH = tensor("bias_hh_l0", of: found.parameters) {
      assertSameBits(biasHH, answers.biasHH, "∂L/∂b_h, \(message)")
    }
  }

  private func compute<Scalar: KernelScalar>(
    _ kind: CellKind, _ size: (n: Int, i: Int, h: Int), input: [Scalar], hidden: [Scalar], cell: [Scalar]?,
    weightIH: [Scalar], weightHH: [Scalar], biasIH: [Scalar]?, biasHH: [Scalar]?, hiddenGradient: [Scalar],
    cellGradient: [Scalar]
  ) throws -> Answers<Scalar> {
    let (n, i, h) = size, gates = kind.gateCount
    func array(_ count: Int) -> [Scalar] { [Scalar](repeating: .nan, count: count) }
    var a = Answers(
      hidden: array(n * h), cell: array(n * h), input: array(n * i), hiddenGradient: array(n * h), cellGradient: array(n * h),
      weightIH: array(gates * h * i), weightHH: array(gates * h * h), biasIH: array(gates * h), biasHH: array(gates * h))
    var trace = array(n * 4 * h)
    try withNumericMode {
      switch kind {
      case .vanilla(let nonlinearity):
        let step = VanillaCell<Scalar>(nonlinearity, batchSize: n, inputSize: i, hiddenSize: h)
        try step.forward(
          input: input, hidden: hidden, weightIH: weightIH, weightHH: weightHH, biasIH: biasIH, biasHH: biasHH,
          nextHidden: &a.hidden)
        try step.backward(
          input: input, hidden: hidden, weightIH: weightIH, weightHH: weightHH, nextHidden: a.hidden,
          nextHiddenGradient: hiddenGradient, inputGradient: &a.input, hiddenGradient: &a.hiddenGradient,
          weightIHGradient: &a.weightIH, weightHHGradient: &a.weightHH, biasGradient: &a.biasIH)
        a.biasHH = a.biasIH
      case .gru(let variant):
        let step = GRUCell<Scalar>(variant, batchSize: n, inputSize: i, hiddenSize: h)
        try step.forward(
          input: input, hidden: hidden, weightIH: weightIH, weightHH: weightHH, biasIH: biasIH, biasHH: biasHH,
          nextHidden: &a.hidden, trace: &trace)
        try step.backward(
          input: input, hidden: hidden, weightIH: weightIH, weightHH: weightHH, trace: trace,
          nextHiddenGradient: hiddenGradient, inputGradient: &a.input, hiddenGradient: &a.hiddenGradient,
          weightIHGradient: &a.weightIH, weightHHGradient: &a.weightHH, biasIHGradient: &a.biasIH, biasHHGradient: &a.biasHH)
      case .lstm:
        let step = LSTMCell<Scalar>(batchSize: n, inputSize: i, hiddenSize: h)
        try step.forward(
          input: input, hidden: hidden, cell: cell, weightIH: weightIH, weightHH: weightHH, biasIH: biasIH, biasHH: biasHH,
          nextHidden: &a.hidden, nextCell: &a.cell, trace: &trace)
        try step.backward(
          input: input, hidden: hidden, cell: cell, weightIH: weightIH, weightHH: weightHH, trace: trace, nextCell: a.cell,
          nextHiddenGradient: hiddenGradient, nextCellGradient: cellGradient, inputGradient: &a.input,
          hiddenGradient: &a.hiddenGradient, cellGradient: &a.cellGradient, weightIHGradient: &a.weightIH,
          weightHHGradient: &a.weightHH, biasGradient: &a.biasIH)
        a.biasHH = a.biasIH
      }
    }
    return a
  }

  // MARK: - The equations themselves

  /// σ and tanh of Glibc in double: within a few units of rounding of the kernels' own, so the equations are judged, not the
  /// order of sums. The largest difference measured is 2.2e-16.
  private let rounding = 2e-15

  private func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

  /// N = 1, I = H = 1: every symbol of docs/equations.md is one number.
  func testScalarCellsAreTheirEquations() throws {
    var numbers = TestNumbers(seed: 11)
    for _ in 0..<50 {
      let x = numbers.next() * 2, h = numbers.next(), c = numbers.next()
      let wx: [Double] = numbers.array(4, scale: 2), wh: [Double] = numbers.array(4, scale: 2)
      let bx: [Double] = numbers.array(4), bh: [Double] = numbers.array(4)
      func gate(_ g: Int) -> Double { x * wx[g] + h * wh[g] + bx[g] + bh[g] }
      var next = [0.0], nextCell = [0.0]

      try VanillaCell<Double>(.tanh, batchSize: 1, inputSize: 1, hiddenSize: 1).forward(
        input: [x], hidden: [h], weightIH: wx, weightHH: wh, biasIH: bx, biasHH: bh, nextHidden: &next)
      XCTAssertEqual(next[0], tanh(gate(0)), accuracy: rounding)
      try VanillaCell<Double>(.relu, batchSize: 1, inputSize: 1, hiddenSize: 1).forward(
        input: [x], hidden: [h], weightIH: wx, weightHH: wh, biasIH: bx, biasHH: bh, nextHidden: &next)
      XCTAssertEqual(next[0], max(0, gate(0)), accuracy: rounding)

      let r = sigmoid(gate(0)), z = sigmoid(gate(1))
      try GRUCell<Double>(.resetBefore, batchSize: 1, inputSize: 1, hiddenSize: 1).forward(
        input: [x], hidden: [h], weightIH: wx, weightHH: wh, biasIH: bx, biasHH: bh, nextHidden: &next, trace: nil)
      XCTAssertEqual(
        next[0], z * h + (1 - z) * tanh(x * wx[2] + (r * h) * wh[2] + bx[2] + bh[2]), accuracy: rounding)
      try GRUCell<Double>(.resetAfter, batchSize: 1, inputSize: 1, hiddenSize: 1).forward(
        input: [x], hidden: [h], weightIH: wx, weightHH: wh, biasIH: bx, biasHH: bh, nextHidden: &next, trace: nil)
      XCTAssertEqual(
        next[0], z * h + (1 - z) * tanh(x * wx[2] + bx[2] + r * (h * wh[2] + bh[2])), accuracy: rounding)

      let (i, f, g, o) = (sigmoid(gate(0)), sigmoid(gate(1)), tanh(gate(2)), sigmoid(gate(3)))
      try LSTMCell<Double>(batchSize: 1, inputSize: 1, hiddenSize: 1).forward(
        input: [x], hidden: [h], cell: [c], weightIH: wx, weightHH: wh, biasIH: bx, biasHH: bh, nextHidden: &next,
        nextCell: &nextCell, trace: nil)
      XCTAssertEqual(nextCell[0], f * c + i * g, accuracy: rounding)
      XCTAssertEqual(next[0], o * tanh(nextCell[0]), accuracy: rounding)
    }
  }

  func testNoStateIsAStateOfZeros() throws {
    var numbers = TestNumbers(seed: 12)
    let (n, i, h) = (3, 2, 5)
    let input: [Float] = numbers.array(n * i), zeros = [Float](repeating: 0, count: n * h)
    let weightIH: [Float] = numbers.array(4 * h * i), weightHH: [Float] = numbers.array(4 * h * h)
    var with = [Float](repeating: .nan, count: n * h), without = with, cell = with
    try VanillaCell<Float>(batchSize: n, inputSize: i, hiddenSize: h).forward(
      input: input, hidden: zeros, weightIH: weightIH, weightHH: weightHH, biasIH: nil, biasHH: nil, nextHidden: &with)
    try VanillaCell<Float>(batchSize: n, inputSize: i, hiddenSize: h).forward(
      input: input, hidden: nil, weightIH: weightIH, weightHH: weightHH, biasIH: nil, biasHH: nil, nextHidden: &without)
    assertSameBits(with, without)
    for variant in GRUVariant.allCases {
      let step = GRUCell<Float>(variant, batchSize: n, inputSize: i, hiddenSize: h)
      try step.forward(
        input: input, hidden: zeros, weightIH: weightIH, weightHH: weightHH, biasIH: nil, biasHH: nil, nextHidden: &with,
        trace: nil)
      try step.forward(
        input: input, hidden: nil, weightIH: weightIH, weightHH: weightHH, biasIH: nil, biasHH: nil, nextHidden: &without,
        trace: nil)
      assertSameBits(with, without, "\(variant)")
    }
    let step = LSTMCell<Float>(batchSize: n, inputSize: i, hiddenSize: h)
    try step.forward(
      input: input, hidden: zeros, cell: zeros, weightIH: weightIH, weightHH: weightHH, biasIH: nil, biasHH: nil,
      nextHidden: &with, nextCell: &cell, trace: nil)
    try step.forward(
      input: input, hidden: nil, cell: nil, weightIH: weightIH, weightHH: weightHH, biasIH: nil, biasHH: nil,
      nextHidden: &without, nextCell: &cell, trace: nil)
    assertSameBits(with, without)
  }
}
