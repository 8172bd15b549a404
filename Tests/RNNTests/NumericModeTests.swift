import Foundation
import RNNKernels
import XCTest

@testable import RNN

#if arch(x86_64)
  /// librnn's floating-point mode is its own, and the caller's is back afterwards.
  final class NumericModeTests: XCTestCase {
    private var saved = fenv_t()

    override func setUp() { fegetenv(&saved) }
    override func tearDown() { fesetenv(&saved) }

    /// The SSE control and status register: rounding, masks, flush modes and exception flags.
    private var controlRegister: UInt32 {
      get {
        var environment = fenv_t()
        fegetenv(&environment)
        return UInt32(environment.__mxcsr)
      }
      set {
        var environment = fenv_t()
        fegetenv(&environment)
        environment.__mxcsr = newValue
        fesetenv(&environment)
      }
    }

    /// Round up; round down with flush to zero; toward zero with some exception flags raised; the default with all flags.
    private let modes: [UInt32] = [0x1f80 | 0x4000, 0x1f80 | 0x2000 | 0x8000, 0x1f80 | 0x6000 | 0x15, 0x1fbf]

    func testTheCallersModeIsBackAfterEveryCall() throws {
      let network = try recurrentNetwork(.lstm, inputSize: 2, hiddenSize: 3)
      let stream = try NetworkStream(network)
      let batch = Batch<Float>(steps: 1, rows: 1, features: [1, 1 / 3])
      for mode in modes {
        controlRegister = mode
        try stream.step()
        XCTAssertEqual(controlRegister, mode, "step")
        controlRegister = mode
        var none: NetworkState?
        let output = try network.run(batch, state: &none)
        XCTAssertEqual(controlRegister, mode, "run")
        let tape = try network.train(batch, state: &none).tape
        XCTAssertEqual(controlRegister, mode, "forwardTrain")
        _ = try network.gradients(tape, outputGradient: output, state: &none, inputCount: 2)
        XCTAssertEqual(controlRegister, mode, "backward")
        try network.setParameter(to: try network.parameter(as: Float.self))
        XCTAssertEqual(controlRegister, mode, "writeParameter")
        struct Failure: Error {}
        XCTAssertThrowsError(try withNumericMode { throw Failure() })
        XCTAssertEqual(controlRegister, mode, "after an error")
      }
    }

    /// Initial weights, packing, running, training: nothing depends on the caller's rounding.
    func testTheCallersModeChangesNoBit() throws {
      var architecture = Architecture()
      try architecture.add(.input(size: 3), name: "x")
      try architecture.add(.recurrent(RecurrentConfiguration(.gru(.resetAfter), hiddenSize: 5)), name: "r")
      var numbers = TestNumbers(seed: 4)
      let batch = Batch<Float>(architecture, stepCount: 4, rowCount: 2, numbers: &numbers)
      func everything() throws -> [Float] {
        let network = try Network(architecture, initialization: InitialWeights(.orthogonal, seed: 2))
        let other = try Network(architecture, initialization: InitialWeights(seed: 3))
        var result: [Float] = try network.parameter() + other.parameter()
        for network in [network, other] {
          var state: NetworkState?
          let (output, tape) = try network.train(batch, state: &state)
          let gradients = try network.gradients(tape, outputGradient: output, state: &state, inputCount: 24)
          result += output + gradients.input + gradients.parameters
        }
        return result
      }
      let expected = try everything()
      for mode in modes {
        controlRegister = mode
        let found = try everything()
        controlRegister = 0x1f80
        assertSameBits(found, expected, "MXCSR \(String(mode, radix: 16))")
      }
    }

    /// Denormal features are zero features, in bits.
    func testDenormalsAreZero() throws {
      for cell in everyCell {
        let network = try recurrentNetwork(cell, inputSize: 3, hiddenSize: 5)
        let tiny = Float.leastNonzeroMagnitude * 1000
        XCTAssertTrue(tiny.isSubnormal)
        var states: (NetworkState?, NetworkState?) = (nil, nil)
        let denormal = try network.run(
          Batch<Float>(steps: 2, rows: 1, features: [tiny, -tiny, tiny, tiny, tiny, tiny]), state: &states.0)
        let zero = try network.run(Batch<Float>(steps: 2, rows: 1, features: [0, 0, 0, 0, 0, 0]), state: &states.1)
        XCTAssertEqual(denormal, zero, "\(cell)")
      }
    }

    /// Without the mode a step on denormal numbers was measured to take up to 82 times as long.
    func testSilenceCostsNoMoreThanSound() throws {
      let h = 128
      let network = try recurrentNetwork(.gru(.resetBefore), inputSize: 1, hiddenSize: h)
      var state = try network.makeState()
      func time(_ value: Float) throws -> Double {
        let stream = try NetworkStream(network)
        var best = Double.infinity
        for _ in 0..<8 {
          try state.set(to: [Float](repeating: value, count: h))
          let begin = DispatchTime.now().uptimeNanoseconds
          for _ in 0..<30 {
            try stream.writeState(state)
            stream.withFloatInput { $0[0] = value }
            try stream.step()
          }
          best = min(best, Double(DispatchTime.now().uptimeNanoseconds - begin))
        }
        return best
      }
      let sound = try time(0.5), silence = try time(Float.leastNonzeroMagnitude * 12345)
      XCTAssertLessThan(silence / sound, 5)
    }
  }

  extension NetworkStream {
    fileprivate func withFloatInput(_ body: (UnsafeMutableBufferPointer<Float>) -> Void) {
      if let input = try? input(as: Float.self) { body(input) }
    }
  }
#endif
