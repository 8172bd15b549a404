import CRNNSupport
import XCTest

@testable import RNNKernels

/// Every kind of activation, of every instruction set, against references of higher precision.
final class ActivationKindTests: XCTestCase {
  private struct Function: Sendable {
    let kind: ActivationKind
    var alpha = 0.0, beta = 0.0
    let value: @Sendable (Wide) -> Wide
    let derivative: @Sendable (Wide) -> Wide
    /// Units in the last place. Measured on these samples and every instruction set: scaled tanh 2.71, elu 1.11, softsign 1.48,
    /// softplus 1.65.
    let error: Double
  }

  #if arch(x86_64)
    private typealias Wide = Float80
  #else
    private typealias Wide = Double
  #endif

  private static let functions: [Function] = [
    Function(
      kind: .sigmoid, value: { 1 / (1 + exp(-$0)) },
      derivative: { x in let y = 1 / (1 + exp(-x)); return y / (1 + exp(x)) }, error: 2),
    Function(
      kind: .hardSigmoid, alpha: 0.25, beta: 0.5, value: { max(0, min(1, 0.25 * $0 + 0.5)) },
      derivative: { $0 > -2 && $0 < 2 ? 0.25 : 0 }, error: 0.5),
    Function(
      kind: .tanh, value: { tanh($0) }, derivative: { 1 / (cosh($0) * cosh($0)) }, error: 2),
    Function(kind: .relu, value: { max($0, 0) }, derivative: { $0 > 0 ? 1 : 0 }, error: 0),
    Function(
      kind: .leakyRelu, alpha: 0.125, value: { $0 < 0 ? 0.125 * $0 : $0 }, derivative: { $0 > 0 ? 1 : 0.125 }, error: 0),
    Function(
      kind: .thresholdedRelu, alpha: 0.75, value: { $0 > 0.75 ? $0 : 0 }, derivative: { $0 > 0.75 ? 1 : 0 }, error: 0),
    Function(
      kind: .scaledTanh, alpha: 1.75, beta: 0.5, value: { 1.75 * tanh(0.5 * $0) },
      derivative: { 0.875 / (cosh($0 / 2) * cosh($0 / 2)) }, error: 3),
    Function(
      kind: .elu, alpha: 1, value: { $0 < 0 ? expm1($0) : $0 }, derivative: { $0 > 0 ? 1 : exp($0) }, error: 1.5),
    Function(
      kind: .softsign, value: { $0 / (1 + abs($0)) }, derivative: { 1 / ((1 + abs($0)) * (1 + abs($0))) }, error: 1.5),
    Function(
      kind: .softplus, value: { max($0, 0) + log1p(exp(-abs($0))) }, derivative: { 1 / (1 + exp(-$0)) }, error: 2),
    Function(kind: .affine, alpha: -1.5, beta: 0, value: { -1.5 * $0 }, derivative: { _ in -1.5 }, error: 0.5),
  ]

  private func activate<Scalar: KernelScalar>(
    _ values: [Scalar], _ kind: ActivationKind, alpha: Double = 0, beta: Double = 0, clip: Double = 0, _ set: InstructionSet
  ) -> (values: [Scalar], derivatives: [Scalar]) {
    var result = values
    var derivatives = [Scalar](repeating: 77, count: values.count)
    result.withUnsafeMutableBufferPointer { result in
      derivatives.withUnsafeMutableBufferPointer { derivatives in
        Scalar.table(of: set).activate(
          ActivateArguments(
            rows: 1, columns: result.count, values: result.baseAddress!, valuesStride: 0,
            derivatives: derivatives.baseAddress!, derivativesStride: 0, kind: kind, alpha: Scalar(alpha), beta: Scalar(beta),
            clip: Scalar(clip)))
      }
    }
    return (result, derivatives)
  }

  /// Both signs of every exponent from tiny to huge, and evenly spaced numbers where the functions bend.
  private func samples<Scalar: KernelScalar>(_ type: Scalar.Type, exponents: ClosedRange<Int>) -> [Scalar] {
    var numbers = TestNumbers(seed: 1)
    var result: [Scalar] = []
    for exponent in exponents {
      for _ in 0..<100 {
        let value = Scalar(sign: .plus, exponent: Scalar.Exponent(exponent), significand: Scalar(1 + abs(numbers.next())))
        result += [value, -value]
      }
    }
    for _ in 0..<20_000 { result.append(Scalar(numbers.next() * 20)) }
    for _ in 0..<5_000 { result.append(Scalar(numbers.next() * 700)) }
    return result
  }

  // MARK: - Accuracy

  func testValuesAreWithinTheirErrors() {
    check(samples(Float.self, exponents: -40...100))
    #if arch(x86_64)
      check(samples(Double.self, exponents: -60...100))
    #endif
  }

  private func check<Scalar: KernelScalar>(_ values: [Scalar]) {
    for function in Self.functions {
      for set in InstructionSet.supported {
        let found = activate(values, function.kind, alpha: function.alpha, beta: function.beta, set)
        var worst = (value: 0.0, derivative: 0.0, valueAt: Scalar(0), derivativeAt: Scalar(0))
        for (i, x) in values.enumerated() {
          let value = error(found.values[i], function.value(Wide(x)))
          if !(value <= worst.value) { (worst.value, worst.valueAt) = (value, x) }
          let derivative = absoluteError(found.derivatives[i], function.derivative(Wide(x)))
          if !(derivative <= worst.derivative) { (worst.derivative, worst.derivativeAt) = (derivative, x) }
        }
        let message = "\(function.kind), \(Scalar.self) on \(set.rawValue)"
        XCTAssertLessThanOrEqual(worst.value, function.error, "\(message), at \(worst.valueAt)")
        // Through y, as in y (1 - y) and 1 - y², the error of y remains whatever the size of the difference. Measured 2.56.
        XCTAssertLessThanOrEqual(worst.derivative, 3, "\(message): derivative at \(worst.derivativeAt)")
      }
    }
  }

  /// In units in the last place; below the normal numbers everything may be flushed to zero.
  private func error<Scalar: KernelScalar>(_ found: Scalar, _ expected: Wide) -> Double {
    guard abs(expected) >= Wide(Scalar.leastNormalMagnitude) else {
      return abs(found) <= 2 * Scalar.leastNormalMagnitude ? 0 : .infinity
    }
    return Double(abs(Wide(found) - expected) / Wide(Scalar(expected).ulp))
  }

  /// In units of the last place of 1.
  private func absoluteError<Scalar: KernelScalar>(_ found: Scalar, _ expected: Wide) -> Double {
    Double(abs(Wide(found) - expected) / Wide(Scalar.ulpOfOne))
  }

  // MARK: - Exact values

  /// At kinks as PyTorch has it.
  func testKinksHaveTheDerivativesOfPyTorch() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type) {
      let tiny = Scalar.leastNormalMagnitude
      for set in InstructionSet.supported {
        func derivatives(_ kind: ActivationKind, _ values: [Scalar], alpha: Double = 0, beta: Double = 0) -> [Scalar] {
          activate(values, kind, alpha: alpha, beta: beta, set).derivatives
        }
        XCTAssertEqual(derivatives(.relu, [-1, -tiny, -0.0, 0, tiny, 1]), [0, 0, 0, 0, 1, 1])
        XCTAssertEqual(derivatives(.leakyRelu, [-1, -tiny, -0.0, 0, tiny, 1], alpha: 0.25), [0.25, 0.25, 0.25, 0.25, 1, 1])
        XCTAssertEqual(derivatives(.elu, [-tiny, -0.0, 0, tiny, 1], alpha: 2), [2, 2, 2, 1, 1])
        XCTAssertEqual(derivatives(.thresholdedRelu, [0.5, 1, Scalar(1).nextUp, 2], alpha: 1), [0, 0, 1, 1])
        XCTAssertEqual(
          derivatives(.hardSigmoid, [-3, -2, -1.9999, 0, 1.9999, 2, 3], alpha: 0.25, beta: 0.5),
          [0, 0, 0.25, 0.25, 0.25, 0, 0])
      }
    }
    check(Float.self)
    check(Double.self)
  }

  func testInfinitiesGiveLimitsAndNaNPasses() {
    // As in the library: what is below every normal number is zero.
    let mode = rnn_cpu_mode_enter()
    defer { rnn_cpu_mode_leave(mode) }
    func check<Scalar: KernelScalar>(_ type: Scalar.Type) {
      let limits: [(ActivationKind, [Scalar], [Scalar])] = [
        (.sigmoid, [0, 1], [0, 0]), (.hardSigmoid, [0, 1], [0, 0]), (.tanh, [-1, 1], [0, 0]), (.relu, [0, .infinity], [0, 1]),
        (.leakyRelu, [-.infinity, .infinity], [0.5, 1]), (.thresholdedRelu, [0, .infinity], [0, 1]),
        (.scaledTanh, [-0.5, 0.5], [0, 0]), (.elu, [-0.5, .infinity], [0, 1]), (.softsign, [-1, 1], [0, 0]),
        (.softplus, [0, .infinity], [0, 1]), (.affine, [-.infinity, .infinity], [0.5, 0.5]),
      ]
      XCTAssertEqual(limits.map(\.0.rawValue), Self.functions.map(\.kind.rawValue))
      for set in InstructionSet.supported {
        for (kind, values, derivatives) in limits {
          let found = activate([-Scalar.infinity, .infinity], kind, alpha: 0.5, beta: 0.5, set)
          XCTAssertEqual(found.values, values, "\(kind) on \(set.rawValue)")
          XCTAssertEqual(found.derivatives, derivatives, "\(kind) on \(set.rawValue)")
          let nans = activate([Scalar.nan, 1, -.nan, .signalingNaN], kind, alpha: 0.5, beta: 0.5, clip: 3, set)
          XCTAssertEqual(nans.values.map(\.isNaN), [true, false, true, true], "\(kind) on \(set.rawValue)")
          XCTAssertEqual(nans.derivatives.map(\.isNaN), [true, false, true, true], "\(kind) on \(set.rawValue)")
        }
      }
    }
    check(Float.self)
    check(Double.self)
  }

  func testSigmoidAndTanhAreTheOnesOfTheGates() {
    func check<Scalar: KernelScalar>(_ values: [Scalar]) {
      for set in InstructionSet.supported {
        var (sigmoid, tanh) = (values, values)
        sigmoid.withUnsafeMutableBufferPointer {
          Scalar.table(of: set).sigmoid(ElementArguments(count: $0.count, values: $0.baseAddress!))
        }
        tanh.withUnsafeMutableBufferPointer {
          Scalar.table(of: set).tanh(ElementArguments(count: $0.count, values: $0.baseAddress!))
        }
        assertSameBits(activate(values, .sigmoid, set).values, sigmoid, set.rawValue)
        assertSameBits(activate(values, .tanh, set).values, tanh, set.rawValue)
      }
    }
    check(samples(Float.self, exponents: -149...127) + [.infinity, 0, -0.0])
    check(samples(Double.self, exponents: -60...10) + [.infinity, 0, -0.0])
  }

  // MARK: - Properties

  func testTheSameBitsOnEveryInstructionSetWithFusedMultiplyAdd() {
    func check<Scalar: KernelScalar>(_ values: [Scalar]) {
      for function in Self.functions {
        let found = InstructionSet.supported.filter { $0 != .baseline }.map {
          activate(values, function.kind, alpha: function.alpha, beta: function.beta, clip: 100, $0)
        }
        for other in found.dropFirst() {
          assertSameBits(other.values, found[0].values, "\(function.kind)")
          assertSameBits(other.derivatives, found[0].derivatives, "\(function.kind)")
        }
      }
    }
    check(samples(Float.self, exponents: -149...127))
    check(samples(Double.self, exponents: -60...100))
  }

  /// Against the function of the limited x, in bits; outside the limit, but not at it, the derivative is 0.
  func testClipLimitsWhatTheFunctionSees() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type) {
      let limit = Scalar(1.5)
      let values: [Scalar] = [-.infinity, -9, limit.nextUp, -limit.nextUp, limit, -limit, -1, 0, 0.25, 1, 2, .infinity]
      let limited = values.map { max(-limit, min(limit, $0)) }
      for function in Self.functions {
        for set in InstructionSet.supported {
          let found = activate(values, function.kind, alpha: function.alpha, beta: function.beta, clip: 1.5, set)
          let expected = activate(limited, function.kind, alpha: function.alpha, beta: function.beta, set)
          assertSameBits(found.values, expected.values, "\(function.kind) on \(set.rawValue)")
          let derivatives = zip(values, expected.derivatives).map { abs($0) > limit ? 0 : $1 }
          assertSameBits(found.derivatives, derivatives, "\(function.kind) on \(set.rawValue)")
        }
      }
    }
    check(Float.self)
    check(Double.self)
  }

  /// Rows of strides of their own, any number of columns, with derivatives and without: nothing else is read or touched.
  func testAnElementDependsOnNothingButItself() {
    func check<Scalar: KernelScalar>(_ type: Scalar.Type) {
      var numbers = TestNumbers(seed: 5)
      let values: [Scalar] = numbers.array(3 * 37, scale: 6)
      for function in Self.functions {
        for set in InstructionSet.supported {
          let whole = activate(values, function.kind, alpha: function.alpha, beta: function.beta, set)
          for columns in [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33] {
            var (plain, beside) = (values, values)
            var derivatives = [Scalar](repeating: 77, count: 3 * 35)
            plain.withUnsafeMutableBufferPointer { plain in
              beside.withUnsafeMutableBufferPointer { beside in
                derivatives.withUnsafeMutableBufferPointer { derivatives in
                  var arguments = ActivateArguments(
                    rows: 3, columns: columns, values: plain.baseAddress!, valuesStride: 37, kind: function.kind,
                    alpha: Scalar(function.alpha), beta: Scalar(function.beta), clip: 0)
                  Scalar.table(of: set).activate(arguments)
                  arguments.values = beside.baseAddress!
                  arguments.derivatives = derivatives.baseAddress!
                  arguments.derivativesStride = 35
                  Scalar.table(of: set).activate(arguments)
                }
              }
            }
            let message = "\(function.kind) on \(set.rawValue), \(columns) columns"
            assertSameBits(
              plain, values.indices.map { $0 % 37 < columns ? whole.values[$0] : values[$0] }, message)
            assertSameBits(beside, plain, message)
            assertSameBits(
              derivatives, (0..<105).map { $0 % 35 < columns ? whole.derivatives[$0 / 35 * 37 + $0 % 35] : 77 }, message)
          }
        }
      }
    }
    check(Float.self)
    check(Double.self)
  }
}
