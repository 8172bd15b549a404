import RNNKernels
import XCTest

/// Numbers in [-1, 1) with full significands, the same in every run: SplitMix64.
struct TestNumbers {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func bits() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z &>> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z &>> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z &>> 31)
  }

  mutating func next() -> Double { Double(Int64(bitPattern: bits()) &>> 10) * 0x1p-53 }

  mutating func array<Scalar: KernelScalar>(_ count: Int, of type: Scalar.Type = Scalar.self, scale: Double = 1) -> [Scalar] {
    (0..<count).map { _ in Scalar(next() * scale) }
  }

  mutating func below(_ limit: Int) -> Int { Int(bits() % UInt64(limit)) }
}

/// Compares bits: 0 and -0 differ, and every NaN is a difference only from what is not NaN.
func assertSameBits<Scalar: KernelScalar>(
  _ found: [Scalar], _ expected: [Scalar], _ message: @autoclosure () -> String = "", file: StaticString = #filePath,
  line: UInt = #line
) {
  guard found.count == expected.count else {
    return XCTFail("\(found.count) elements instead of \(expected.count): \(message())", file: file, line: line)
  }
  let isSame = found.withUnsafeBytes { a in
    expected.withUnsafeBytes { b in a.isEmpty || memcmp(a.baseAddress!, b.baseAddress!, a.count) == 0 }
  }
  guard !isSame else { return }
  for (i, (a, b)) in zip(found, expected).enumerated() where !(a.isNaN && b.isNaN) && !(a == b && a.sign == b.sign) {
    return XCTFail("element \(i) is \(a), expected \(b): \(message())", file: file, line: line)
  }
}

/// Whether the process runs under a sanitizer, which refuses some of what the loader can do.
var runsUnderSanitizer: Bool {
  dlsym(nil, "__asan_init") != nil || dlsym(nil, "__tsan_init") != nil
}
