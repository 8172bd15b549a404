import RNNKernels
import XCTest

@testable import RNN

/// First weights are a promise: a seed of today must give the same network in every later version.
final class InitialWeightsTests: XCTestCase {
  private func architecture(_ dataType: DataType = .float64, bias: BiasMode = .double) throws -> Architecture {
    var architecture = Architecture(dataType: dataType)
    try architecture.add(.tokenInput, name: "word")
    try architecture.add(.embedding(vocabularySize: 5, size: 3), name: "embedding")
    try architecture.add(.recurrent(RecurrentConfiguration(.lstm, hiddenSize: 4, bias: bias)), name: "lstm")
    try architecture.add(.linear(outputSize: 2, bias: true), name: "out")
    return architecture
  }

  private let pytorch: [(String, Double, Double)] = [
    ("embedding.weight", -0.0021779838957008578, 0.6211305465043625),
    ("lstm.weight_ih_l0", 0.4371203168505847, -0.48798994929602246),
    ("lstm.weight_hh_l0", -0.1576377894866552, 0.2178391602634837),
    ("lstm.bias_ih_l0", 0.4404704952842171, -0.49847471263721077),
    ("lstm.bias_hh_l0", -0.07415377400281742, 0.13715619815821156),
    ("out.weight", 0.08847158719064863, -0.36954009594326687),
    ("out.bias", -0.060472999156008234, 0.19380625266698048),
  ]
  private let normal: [(String, Double, Double)] = [
    ("embedding.weight", -0.0010889919478504289, 0.31056527325218125),
    ("lstm.weight_ih_l0", 0.765520284814208, -1.1284037859214375),
    ("lstm.weight_hh_l0", -0.2030123710065124, 0.28821713996294174),
    ("lstm.bias_ih_l0", 0, 0), ("lstm.bias_hh_l0", 0, 0),
    ("out.weight", 0.11180754194360808, -0.5621098806430596), ("out.bias", 0, 0),
  ]
  private let orthogonal: [(String, Double, Double)] = [
    ("embedding.weight", -0.0015049601973897671, 0.40312293290371753),
    ("lstm.weight_ih_l0", 0.4912808240596225, -0.5484533552461498),
    ("lstm.weight_hh_l0", -0.46599622453582246, 0.6615759345273354),
    ("lstm.bias_ih_l0", 0, 0), ("lstm.bias_hh_l0", 0, 0),
    ("out.weight", 0.17694317438129725, -0.7390801918865337), ("out.bias", 0, 0),
  ]

  /// The first two elements of each parameter under seed 42, as an independent program computed them from the documented
  /// mapping (Philox, AS 241, Gram-Schmidt). Its logarithm is another, hence two units in the last place.
  func testTheFirstWeightsOfEverySchemeArePinned() throws {
    let cases: [(InitialWeights.Scheme, [(String, Double, Double)])] = [
      (.pytorch, pytorch), (.normal(deviation: 0.5), normal), (.orthogonal, orthogonal),
    ]
    for (scheme, expected) in cases {
      let network = try Network(try architecture(), initialization: InitialWeights(scheme, seed: 42))
      XCTAssertEqual(network.architecture.parameters.map(\.name), expected.map(\.0))
      for (name, first, second) in expected {
        let values: [Double] = try network.parameter(name)
        XCTAssertEqual(values[0], first, accuracy: 2 * first.ulp, "\(scheme), \(name)")
        XCTAssertEqual(values[1], second, accuracy: 2 * second.ulp, "\(scheme), \(name)")
      }
    }
    let zeros: [Double] = try Network(try architecture(), initialization: InitialWeights(.zeros, seed: 42)).parameter()
    XCTAssertTrue(zeros.allSatisfy { $0 == 0 && $0.sign == .plus })
  }

  /// Uniform numbers need no logarithm: these are exact.
  func testUniformWeightsArePinnedToTheBit() throws {
    let network = try Network(try architecture(), initialization: InitialWeights(seed: 42))
    for (name, first, second) in pytorch.dropFirst() {
      assertSameBits(Array(try network.parameter(name, as: Double.self)[..<2]), [first, second], name)
    }
  }

  func testFloatWeightsAreTheDoublesRounded() throws {
    for scheme in [.pytorch, .normal(deviation: 0.5), .orthogonal] as [InitialWeights.Scheme] {
      let double = try Network(try architecture(.float64), initialization: InitialWeights(scheme, seed: 1))
      let float = try Network(try architecture(.float32), initialization: InitialWeights(scheme, seed: 1))
      assertSameBits(try float.parameter(), try double.parameter(as: Double.self).map { Float($0) }, "\(scheme)")
    }
  }

  func testTheForgetBiasLandsOnTheForgetRows() throws {
    for (mode, target) in [(.double, "lstm.bias_ih_l0"), (.single, "lstm.bias_l0")] as [(BiasMode, String)] {
      for scheme in [InitialWeights.Scheme.pytorch, .orthogonal, .zeros] {
        let plain = try Network(try architecture(bias: mode), initialization: InitialWeights(scheme, seed: 3))
        let biased = try Network(try architecture(bias: mode), initialization: InitialWeights(scheme, seed: 3, forgetBias: 1))
        for slot in plain.architecture.parameters {
          let before: [Double] = try plain.parameter(slot.name), after: [Double] = try biased.parameter(slot.name)
          for i in before.indices {
            // Rows i, f, g, o of four units each: f is 4 to 7.
            let isForget = slot.name == target && (4..<8).contains(i)
            XCTAssertEqual(after[i], before[i] + (isForget ? 1 : 0), "\(slot.name)[\(i)], \(scheme)")
          }
        }
      }
    }
    assertFails(.invalidArgument, "LSTM 'lstm' has no bias") {
      try Network(try self.architecture(bias: .none), initialization: InitialWeights(forgetBias: 1))
    }
    XCTAssertNoThrow(try Network(try architecture(bias: .none)))
  }

  func testGRUsHaveNoForgetGate() throws {
    let plain = try recurrentNetwork(.gru(.resetAfter), inputSize: 1, hiddenSize: 3)
    let architecture = plain.architecture
    let a: [Float] = try Network(architecture, initialization: InitialWeights(seed: 1)).parameter()
    let b: [Float] = try Network(architecture, initialization: InitialWeights(seed: 1, forgetBias: 1)).parameter()
    XCTAssertEqual(a, b)
  }

  func testOrthogonalRecurrentWeightsAreOrthogonalGateByGate() throws {
    let network = try Network(try architecture(), initialization: InitialWeights(.orthogonal, seed: 5))
    let values: [Double] = try network.parameter("lstm.weight_hh_l0")
    var blocks: [[Double]] = []
    for gate in 0..<4 {
      let w = Array(values[(gate * 16)..<(gate * 16 + 16)])
      for i in 0..<4 {
        for j in 0..<4 {
          var product = 0.0
          for k in 0..<4 { product += w[i * 4 + k] * w[j * 4 + k] }
          XCTAssertEqual(product, i == j ? 1 : 0, accuracy: 1e-14)
        }
      }
      blocks.append(w)
    }
    XCTAssertEqual(Set(blocks).count, 4, "every gate has a matrix of its own")
  }

  func testSettingsThatAreNoNumbersAreRefused() throws {
    for value in [Double.nan, .infinity, -.infinity] {
      assertFails(.invalidArgument, "forget_bias") {
        try Network(try self.architecture(), initialization: InitialWeights(forgetBias: value))
      }
      assertFails(.invalidArgument, "deviation") {
        try Network(try self.architecture(), initialization: InitialWeights(.normal(deviation: value)))
      }
    }
    assertFails(.invalidArgument, "deviation is -1") {
      try Network(try self.architecture(), initialization: InitialWeights(.normal(deviation: -1)))
    }
  }
}
