import Foundation
import XCTest

@testable import RNNKernels

final class InstructionSetTests: XCTestCase {
  func testTheBestSupportedSetComesFirst() {
    XCTAssertEqual(InstructionSet.supported.last, .baseline)
    // Fewest capabilities last, and none missing between.
    XCTAssertEqual(InstructionSet.supported, Array(InstructionSet.allCases.suffix(InstructionSet.supported.count)))
  }

  func testPanelsAreWholeVectorsAndFitTheRoomOfAPackedMatrix() {
    for set in InstructionSet.supported {
      // elementCount rounds outputs up to 64: the last panel, in whole vectors, must fit.
      for width in [Float.table(of: set).panelWidth, Double.table(of: set).panelWidth] {
        let vector = width % 3 == 0 ? width / 3 : width / 2
        XCTAssertEqual(64 % vector, 0, set.rawValue)
        XCTAssertEqual(width % vector, 0, set.rawValue)
      }
    }
  }

  /// True in any process; run again by the test below under several values of RNN_FORCE_KERNELS.
  func testTheProcessRunsTheForcedKernelsOrTheBest() {
    let environment = ProcessInfo.processInfo.environment
    let forced = environment["RNN_FORCE_KERNELS"].flatMap { name in InstructionSet.supported.first { $0.rawValue == name } }
    XCTAssertEqual(InstructionSet.current, forced ?? InstructionSet.supported[0])
    if let expected = environment["RNN_TEST_EXPECTED_KERNELS"] { XCTAssertEqual(InstructionSet.current.rawValue, expected) }
    // And they are the ones behind the table of the process.
    XCTAssertEqual(Float.kernels.panelWidth, Float.table(of: InstructionSet.current).panelWidth)
  }

  func testTheEnvironmentForcesKernelsAndUnknownNamesAreIgnored() throws {
    let best = InstructionSet.supported[0].rawValue
    var cases = InstructionSet.supported.map { ($0.rawValue, $0.rawValue) }
    cases += [("", best), ("x86-64-v9", best), ("BASELINE", best)]
    cases += InstructionSet.allCases.filter { !InstructionSet.supported.contains($0) }.map { ($0.rawValue, best) }
    for (forced, expected) in cases {
      let (status, output) = try runAgain(
        "RNNKernelsTests.InstructionSetTests/testTheProcessRunsTheForcedKernelsOrTheBest",
        environment: ["RNN_FORCE_KERNELS": forced, "RNN_TEST_EXPECTED_KERNELS": expected])
      XCTAssertEqual(status, 0, "RNN_FORCE_KERNELS=\(forced): \(output)")
      XCTAssertTrue(output.contains("Executed 1 test, with 0 failures"), output)
    }
    // The check can fail: a wrong expectation does.
    let (status, _) = try runAgain(
      "RNNKernelsTests.InstructionSetTests/testTheProcessRunsTheForcedKernelsOrTheBest",
      environment: ["RNN_FORCE_KERNELS": "baseline", "RNN_TEST_EXPECTED_KERNELS": "x86-64-v9"])
    XCTAssertNotEqual(status, 0)
  }
}

/// Runs one test of this bundle in a process of its own: what is chosen once per process cannot be tested twice in one.
func runAgain(_ test: String, environment: [String: String]) throws -> (status: Int32, output: String) {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
  process.arguments = [test]
  process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
  let pipe = Pipe()
  process.standardOutput = pipe
  process.standardError = pipe
  try process.run()
  let output = pipe.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return (process.terminationStatus, String(decoding: output, as: UTF8.self))
}
