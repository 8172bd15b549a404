import CRNNSupport
import XCTest

@testable import RNNKernels

/// σ, tanh and relu of every instruction set against references of higher precision.
final class ActivationTests: XCTestCase {
  /// Units in the last place. Measured over all floats (RNN_EXHAUSTIVE, below), on every instruction set: at most 1.71 (σ) and 1.35
  /// (tanh). The bound for double is the same derivation: it has the same roundings, and polynomials below 0.01 units.
  private let largestError = 2.0

  private func apply<Scalar: KernelScalar>(
    _ kernel: (KernelTable<Scalar>) -> Kernel<ElementArguments<Scalar>>, _ values: [Scalar], _ set: InstructionSet
  ) -> [Scalar] {
    var result = values
    result.withUnsafeMutableBufferPointer {
      // As in the library: what is below every normal number is zero.
      let mode = rnn_cpu_mode_enter()
      kernel(Scalar.table(of: set))(ElementArguments(count: $0.count, values: $0.baseAddress!))
      rnn_cpu_mode_leave(mode)
    }
    return result
  }

  private func sigmoid<Scalar: KernelScalar>(_ values: [Scalar], _ set: InstructionSet) -> [Scalar] {
    apply({ $0.sigmoid }, values, set)
  }

  private func tanh<Scalar: KernelScalar>(_ values: [Scalar], _ set: InstructionSet) -> [Scalar] {
    apply({ $0.tanh }, values, set)
  }

  // MARK: - Accuracy

  /// Every exponent from the smallest denormal to infinity with `perExponent` significands, both signs; and evenly spaced
  /// numbers where the functions bend.
  private func samples<Scalar: KernelScalar>(_ type: Scalar.Type, exponents: ClosedRange<Int>, perExponent: Int) -> [Scalar] {
    var numbers = TestNumbers(seed: 1)
    var result: [Scalar] = []
    for exponent in exponents {
      for _ in 0..<perExponent {
        let value = Scalar(sign: .plus, exponent: Scalar.Exponent(exponent), significand: Scalar(1 + abs(numbers.next())))
        result += [value, -value]
      }
    }
    for _ in 0..<20_000 { result.append(Scalar(numbers.next() * 20)) }
    return result
  }

  func testFloatIsWithinItsErrorOfDoublePrecision() {
    let values = samples(Float.self, exponents: -149...127, perExponent: 100)
    for set in InstructionSet.supported {
      let (s, t) = (sigmoid(values, set), tanh(values, set))
      var worst = (sigmoid: 0.0, tanh: 0.0)
      for (i, x) in values.enumerated() {
        let reference = 1 / (1 + Glibc.exp(-Double(x)))
        if reference >= Double(Float.leastNormalMagnitude) {
          worst.sigmoid = max(worst.sigmoid, abs(Double(s[i]) - reference) / Double(Float(reference).ulp))
        } else {
          // Flushed to zero by some, and below every normal number.
          XCTAssertLessThanOrEqual(abs(Double(s[i]) - reference), Double(Float.leastNormalMagnitude), "\(set.rawValue) σ(\(x))")
        }
        let hyperbolic = Glibc.tanh(Double(x))
        // What is below every normal number is zero.
        guard x.isNormal else { continue }
        worst.tanh = max(worst.tanh, abs(Double(t[i]) - hyperbolic) / Double(Float(hyperbolic).ulp))
      }
      XCTAssertLessThanOrEqual(worst.sigmoid, largestError, "\(set.rawValue) σ")
      XCTAssertLessThanOrEqual(worst.tanh, largestError, "\(set.rawValue) tanh")
    }
  }

  #if arch(x86_64)
    func testDoubleIsWithinItsErrorOfExtendedPrecision() {
      let values = samples(Double.self, exponents: -60...10, perExponent: 2000)
      for set in InstructionSet.supported {
        let (s, t) = (sigmoid(values, set), tanh(values, set))
        var worst = (sigmoid: 0.0, tanh: 0.0)
        for (i, x) in values.enumerated() {
          let reference = 1 / (1 + Glibc.exp(-Float80(x)))
          if reference >= Float80(Double.leastNormalMagnitude) {
            worst.sigmoid = max(worst.sigmoid, Double(abs(Float80(s[i]) - reference) / Float80(Double(reference).ulp)))
          } else {
            XCTAssertLessThanOrEqual(abs(s[i]), 2 * Double.leastNormalMagnitude, "\(set.rawValue) σ(\(x))")
          }
          let hyperbolic = Glibc.tanh(Float80(x))
          worst.tanh = max(worst.tanh, Double(abs(Float80(t[i]) - hyperbolic) / Float80(Double(hyperbolic).ulp)))
        }
        XCTAssertLessThanOrEqual(worst.sigmoid, largestError, "\(set.rawValue) σ")
        XCTAssertLessThanOrEqual(worst.tanh, largestError, "\(set.rawValue) tanh")
      }
    }
  #endif

  // MARK: - Exact values

  func testTailsAndSpecialValuesAreExact() {
    checkSpecialValues(Float.self, past: [88, 89, 1000, .greatestFiniteMagnitude, .infinity])
    checkSpecialValues(Double.self, past: [709.125, 710, 1e6, .greatestFiniteMagnitude, .infinity])
  }

  private func checkSpecialValues<Scalar: KernelScalar>(_ type: Scalar.Type, past: [Scalar]) {
    for set in InstructionSet.supported {
      let message = "\(Scalar.self) on \(set.rawValue)"
      assertSameBits(sigmoid(past, set), past.map { _ in 1 }, message)
      assertSameBits(sigmoid(past.map { -$0 }, set), past.map { _ in 0 }, message)
      assertSameBits(tanh(past, set), past.map { _ in 1 }, message)
      assertSameBits(tanh(past.map { -$0 }, set), past.map { _ in -1 }, message)
      assertSameBits(sigmoid([0, -0.0], set), [0.5, 0.5], message)
      assertSameBits(tanh([0, -0.0], set), [0, -0.0], message)
      let tiny: [Scalar] = [Scalar.leastNormalMagnitude, -Scalar.leastNormalMagnitude, Scalar.ulpOfOne * Scalar.ulpOfOne]
      assertSameBits(tanh(tiny, set), tiny, message)
      let nans: [Scalar] = [Scalar.nan, -Scalar.nan, Scalar.signalingNaN]
      XCTAssertTrue(sigmoid(nans, set).allSatisfy(\.isNaN), message)
      XCTAssertTrue(tanh(nans, set).allSatisfy(\.isNaN), message)
      // A NaN spoils no neighbour.
      let beside: [Scalar] = sigmoid([0, Scalar.nan, 0], set)
      XCTAssertEqual([beside[0], beside[2]], [0.5, 0.5], message)
    }
  }

  // MARK: - Properties

  func testTanhIsOddToTheBit() {
    checkOdd(samples(Float.self, exponents: -149...127, perExponent: 20))
    checkOdd(samples(Double.self, exponents: -1022...1023, perExponent: 4))
  }

  private func checkOdd<Scalar: KernelScalar>(_ values: [Scalar]) {
    for set in InstructionSet.supported {
      assertSameBits(tanh(values.map { -$0 }, set), tanh(values, set).map { -$0 }, set.rawValue)
    }
  }

  /// σ(x) + σ(-x): the two are within 2 units each, and those of the smaller one are at most as large as the other's.
  func testTheSigmoidOfOppositesAddsUpToOne() {
    checkOpposites(samples(Float.self, exponents: -149...127, perExponent: 20))
    checkOpposites(samples(Double.self, exponents: -100...10, perExponent: 20))
  }

  private func checkOpposites<Scalar: KernelScalar>(_ values: [Scalar]) {
    for set in InstructionSet.supported {
      let (plus, minus) = (sigmoid(values, set), sigmoid(values.map { -$0 }, set))
      for (i, x) in values.enumerated() {
        XCTAssertLessThanOrEqual(abs(plus[i] + minus[i] - 1), 2 * Scalar.ulpOfOne, "\(set.rawValue), \(x)")
      }
    }
  }

  func testConsecutiveFloatsNeverStepBackwards() {
    for first in [
      -88, -30, -16.7, -4.2, -1.0398, -1, -0.69316, -0.5501, -0.35, -0.001, 0, 1e-9, 0.17, 0.3465, 0.5499, 1, 3.5, 8.6, 9.01, 16,
      16.63, 43.9, 87.6,
    ] as [Float] {
      var values = [first]
      for _ in 0..<4000 { values.append(values[values.count - 1].nextUp) }
      for set in InstructionSet.supported {
        let (s, t) = (sigmoid(values, set), tanh(values, set))
        for i in 1..<values.count {
          XCTAssertLessThanOrEqual(t[i - 1], t[i], "\(set.rawValue): tanh at \(values[i])")
          XCTAssertLessThanOrEqual(s[i - 1], s[i], "\(set.rawValue): σ at \(values[i])")
        }
      }
    }
  }

  /// Every float whose functions are not yet the same as those of its neighbours: 20 minutes, so only with RNN_EXHAUSTIVE set.
  func testEveryFloatIsWithinItsErrorAndNeverStepsBackwards() throws {
    try XCTSkipIf(getenv("RNN_EXHAUSTIVE") == nil, "set RNN_EXHAUSTIVE to check all floats")
    let first = Float(0x1p-30).bitPattern, last = Float(110).bitPattern, count = 1 << 20
    for set in InstructionSet.supported {
      var worst = (sigmoid: 0.0, tanh: 0.0), before = (above: Float(0.5), below: Float(0.5), tanh: Float(0)), steps = 0
      for start in stride(from: first, through: last, by: count) {
        let values = (0..<UInt32(min(count, Int(last - start) + 1))).map { Float(bitPattern: start + $0) }
        let (above, below, t) = (sigmoid(values, set), sigmoid(values.map { -$0 }, set), tanh(values, set))
        values.withUnsafeBufferPointer { values in
          above.withUnsafeBufferPointer { above in
            below.withUnsafeBufferPointer { below in
              t.withUnsafeBufferPointer { t in
                var i = 0
                while i < values.count {
                  let x = Double(values[i]), e = Glibc.exp(-x), h = Glibc.tanh(x)
                  let (a, b) = (1 / (1 + e), e / (1 + e))
                  worst.sigmoid = max(worst.sigmoid, abs(Double(above[i]) - a) / Double(Float(a).ulp))
                  if b >= Double(Float.leastNormalMagnitude) {
                    worst.sigmoid = max(worst.sigmoid, abs(Double(below[i]) - b) / Double(Float(b).ulp))
                  }
                  worst.tanh = max(worst.tanh, abs(Double(t[i]) - h) / Double(Float(h).ulp))
                  if above[i] < before.above || below[i] > before.below || t[i] < before.tanh { steps += 1 }
                  before = (above[i], below[i], t[i])
                  i += 1
                }
              }
            }
          }
        }
      }
      print("\(set.rawValue): σ \(worst.sigmoid), tanh \(worst.tanh) units, \(steps) steps backwards")
      XCTAssertLessThanOrEqual(worst.sigmoid, largestError, "\(set.rawValue) σ")
      XCTAssertLessThanOrEqual(worst.tanh, largestError, "\(set.rawValue) tanh")
      XCTAssertEqual(steps, 0, set.rawValue)
    }
  }

  func testDoublesNeverStepBackwards() {
    var values = stride(from: -720.0, through: 720.0, by: 1.0 / 128).map { $0 }
    for set in InstructionSet.supported {
      for results in [sigmoid(values, set), tanh(values, set)] {
        XCTAssertTrue(zip(results, results.dropFirst()).allSatisfy { $0 <= $1 }, set.rawValue)
        XCTAssertLessThan(results[0], results[results.count - 1])
      }
    }
    // Consecutive numbers, also around the borders of the argument reduction and of the two forms of tanh.
    for first in [-300, -36.1, -1.0397207708399179, -0.55, -0.1733, -1e-5, 1e-9, 0.17328679513998, 0.55, 0.8664, 3, 19.06] {
      values = [first - 1000 * first.ulp]
      for _ in 0..<2000 { values.append(values[values.count - 1].nextUp) }
      for set in InstructionSet.supported {
        for results in [sigmoid(values, set), tanh(values, set)] {
          XCTAssertTrue(zip(results, results.dropFirst()).allSatisfy { $0 <= $1 }, "\(set.rawValue) at \(first)")
        }
      }
    }
  }

  func testReluZeroesNegativesAndPassesNaN() {
    checkRelu(Float.self)
    checkRelu(Double.self)
  }

  private func checkRelu<Scalar: KernelScalar>(_ type: Scalar.Type) {
    let values: [Scalar] = [
      1, -1, 0, -0.0, .infinity, -.infinity, .leastNormalMagnitude, -.leastNormalMagnitude, .greatestFiniteMagnitude,
      -.greatestFiniteMagnitude, 0.5, -0.5,
    ]
    let expected: [Scalar] = values.map { $0 > 0 ? $0 : 0 }
    for set in InstructionSet.supported {
      func relu(_ input: [Scalar]) -> [Scalar] {
        var gates = input
        var result = [Scalar](repeating: 9, count: input.count)
        gates.withUnsafeMutableBufferPointer { gates in
          result.withUnsafeMutableBufferPointer { result in
            var arguments = GateArguments(
              rows: 1, hiddenSize: gates.count, gates: gates.baseAddress!, gatesStride: gates.count)
            arguments.nextHidden = result.baseAddress!
            arguments.relu = true
            Scalar.table(of: set).vanillaForward(arguments)
          }
        }
        return result
      }
      assertSameBits(relu(values), expected, "\(Scalar.self) on \(set.rawValue)")
      XCTAssertTrue(relu([.nan, -.nan]).allSatisfy(\.isNaN), "\(Scalar.self) on \(set.rawValue)")
    }
  }

  /// No element depends on where in a vector it stands, on how many there are, and nothing past the last is touched.
  func testAnElementDependsOnNothingButItself() {
    checkElements(Float.self)
    checkElements(Double.self)
  }

  private func checkElements<Scalar: KernelScalar>(_ type: Scalar.Type) {
    var numbers = TestNumbers(seed: 5)
    let values: [Scalar] = numbers.array(33, scale: 6)
    for set in InstructionSet.supported {
      for kernel in [{ $0.sigmoid }, { $0.tanh }] as [(KernelTable<Scalar>) -> Kernel<ElementArguments<Scalar>>] {
        let alone = values.map { apply(kernel, [$0], set)[0] }
        for count in 0...33 {
          var padded = values
          padded.withUnsafeMutableBufferPointer {
            kernel(Scalar.table(of: set))(ElementArguments(count: count, values: $0.baseAddress!))
          }
          assertSameBits(padded, Array(alone[..<count] + values[count...]), "\(set.rawValue), \(count) elements")
        }
      }
    }
  }
}
