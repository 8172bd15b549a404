import RNNKernels
import XCTest

@testable import RNN

/// The options of recurrent layers: what they are made of elsewhere is tested by gradients and same bits.
final class RecurrentOptionsTests: XCTestCase {
  private func network(
    _ configuration: RecurrentConfiguration, _ dataType: DataType = .float32
  ) throws -> Network {
    var architecture = Architecture(dataType: dataType)
    try architecture.add(.input(size: 5), name: "x")
    try architecture.add(.recurrent(configuration), name: "r")
    return try Network(architecture, initialization: InitialWeights(.normal(deviation: 0.4), seed: 3))
  }

  /// A limit that never holds sends a layer through the general gates: forward and backward must have the fused gates' bits.
  func testGeneralGatesHaveTheBitsOfTheFusedOnes() throws {
    func compare<Scalar: KernelScalar>(_ type: Scalar.Type, _ dataType: DataType) throws {
      for cell in everyCell {
        for h in [1, 7, 16, 33] {
          let plain = RecurrentConfiguration(cell, hiddenSize: h, layerCount: 2)
          var limited = plain
          limited.gateClip = 1e30
          XCTAssertTrue(plain.hasPlainGates)
          XCTAssertFalse(limited.hasPlainGates)
          var results: [(output: [Scalar], gradients: [Scalar], state: [Scalar])] = []
          for configuration in [plain, limited] {
            let network = try network(configuration, dataType)
            var numbers = TestNumbers(seed: 4)
            let batch = Batch<Scalar>(network.architecture, stepCount: 5, rowCount: 3, numbers: &numbers)
            var state: NetworkState? = try randomState(network, rowCount: 3, Scalar.self, numbers: &numbers)
            let (output, tape) = try network.train(batch, state: &state)
            var gradient: NetworkState? = try randomState(network, rowCount: 3, Scalar.self, numbers: &numbers)
            let w: [Scalar] = numbers.array(output.count)
            let found = try network.gradients(tape, outputGradient: w, state: &gradient, inputCount: batch.features.count)
            results.append((output, found.input + found.parameters, try gradient!.array()))
          }
          assertSameBits(results[1].output, results[0].output, "\(cell) \(h)")
          assertSameBits(results[1].gradients, results[0].gradients, "\(cell) \(h)")
          assertSameBits(results[1].state, results[0].state, "\(cell) \(h)")
        }
      }
    }
    try compare(Float.self, .float32)
    try compare(Double.self, .float64)
  }

  /// h_t = a h_(t-1), and the loss is on the last step: ||∂L/∂h_t|| is a^(T - 1 - t), and the Jacobian's norm is a.
  func testTheFlowOfALinearRecurrenceIsAPower() throws {
    let a = 0.8, steps = 12
    var configuration = RecurrentConfiguration(.vanilla(.tanh), hiddenSize: 1, bias: BiasMode.none)
    configuration.activations = [[Activation(.affine, alpha: 1, beta: 0)]]
    let network = try network(configuration, .float64)
    try network.setParameter(to: [Double](repeating: 0, count: 5) + [a])
    var numbers = TestNumbers(seed: 4)
    let batch = Batch<Double>(network.architecture, stepCount: steps, rowCount: 1, numbers: &numbers)
    var state: NetworkState? = try randomState(network, rowCount: 1, Double.self, numbers: &numbers)
    let tape = try network.train(batch, state: &state).tape
    var gradient = [Double](repeating: 0, count: steps)
    gradient[steps - 1] = 1
    var hidden = [Double](repeating: .nan, count: steps), jacobian = hidden
    var none: NetworkState?
    try hidden.withUnsafeMutableBufferPointer { hidden in
      try jacobian.withUnsafeMutableBufferPointer { jacobian in
        try gradient.withUnsafeBufferPointer { gradient in
          var flow = GradientFlow()
          (flow.hidden, flow.jacobian) = (hidden, jacobian)
          try network.backward(tape, outputGradient: gradient, stateGradient: &none, outputs: BackwardOutputs(flow: flow))
        }
      }
    }
    for t in 0..<steps {
      var power = 1.0
      for _ in t + 1..<max(steps, t + 1) { power *= a }
      XCTAssertEqual(hidden[t], power, accuracy: 1e-15)
      XCTAssertEqual(jacobian[t], a, accuracy: 1e-15)
    }
  }

  func testOptionsOfAnotherCellAreRefused() {
    func refuses(_ cell: CellKind, _ part: String, _ change: (inout RecurrentConfiguration) -> Void) {
      var configuration = RecurrentConfiguration(cell, hiddenSize: 3)
      change(&configuration)
      assertFails(.invalidArgument, part) { try network(configuration) }
    }
    for cell in everyCell where cell != .lstm {
      refuses(cell, "proj_size") { $0.projectionSize = 2 }
      refuses(cell, "peepholes") { $0.hasPeepholes = true }
      refuses(cell, "coupled_gates") { $0.hasCoupledGates = true }
      refuses(cell, "cell_clip") { $0.cellClip = 1 }
      refuses(cell, "forget_bias") { $0.forgetBias = 1 }
      refuses(cell, "gate_clip_output") { ($0.gateClip, $0.clipsOutputActivation) = (1, true) }
    }
    for cell in everyCell {
      refuses(cell, "merge") { $0.merge = .sum }
      refuses(cell, "hidden_size_reverse") { $0.reverseHiddenSize = 4 }
      refuses(cell, "3 and 4") { ($0.direction, $0.merge, $0.reverseHiddenSize) = (.bidirectional, .mean, 4) }
      refuses(cell, "gate_clip") { $0.gateClip = -1 }
      refuses(cell, "gate_clip") { $0.gateClip = .nan }
      refuses(cell, "recurrent_dropout") { $0.recurrentDropout = 1 }
      refuses(cell, "directions") { $0.activations = [[], []] }
      refuses(cell, "activations") { $0.activations = [[nil, nil, nil, nil, nil, nil]] }
      refuses(cell, "alpha") { $0.activations = [[Activation(.elu, alpha: .nan)]] }
    }
    refuses(.lstm, "f = 1 - i") { ($0.hasCoupledGates, $0.activations) = (true, [[nil, Activation(.relu)]]) }
    refuses(.lstm, "gate_clip_output") { $0.clipsOutputActivation = true }
  }

  func testOptionsAreKeptInTheFile() throws {
    for seed in UInt64(0)..<60 {
      var numbers = TestNumbers(seed: seed)
      var configuration = RecurrentConfiguration(
        everyCell[Int(seed) % everyCell.count], hiddenSize: 3, layerCount: 2, bidirectional: numbers.below(2) == 0)
      configuration.addRandomOptions(&numbers)
      if !configuration.bidirectional, numbers.below(2) == 0 { configuration.direction = .reverse }
      configuration.recurrentDropout = numbers.one(of: [0, 0.5])
      var architecture = Architecture()
      try architecture.add(.input(size: 2), name: "x")
      try architecture.add(.recurrent(configuration), name: "r")
      let again = try Architecture(json: architecture.json)
      guard case .recurrent(let read) = again.nodes[1].operation else { return XCTFail() }
      XCTAssertEqual(again.parameters, architecture.parameters)
      XCTAssertEqual(again.states, architecture.states)
      XCTAssertEqual(read, configuration.canonical, "seed \(seed)")
    }
  }
}
