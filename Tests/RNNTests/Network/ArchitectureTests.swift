import XCTest

@testable import RNN

final class ArchitectureTests: XCTestCase {
  /// x (3 features), t (tokens), a GRU on x, its last step: something to refuse nodes with.
  private func base() throws -> Architecture {
    var architecture = Architecture()
    try architecture.add(.input(size: 3), name: "x")
    try architecture.add(.tokenInput, name: "t")
    try architecture.add(.recurrent(RecurrentConfiguration(.gru(.resetBefore), hiddenSize: 4)), name: "r", inputs: ["x"])
    try architecture.add(.lastStep, name: "last")
    return architecture
  }

  /// Refused, and the architecture is as before.
  private func refuses(
    _ code: RNNError.Code, _ part: String, _ operation: Operator, name: String? = "new", inputs: [String] = [],
    line: UInt = #line
  ) throws {
    var architecture = try base()
    let before = architecture
    assertFails(code, part, line: line) { try architecture.add(operation, name: name, inputs: inputs) }
    XCTAssertEqual(architecture, before, line: line)
  }

  private func gru(_ change: (inout RecurrentConfiguration) -> Void) -> Operator {
    var configuration = RecurrentConfiguration(.gru(.resetBefore), hiddenSize: 4)
    change(&configuration)
    return .recurrent(configuration)
  }

  func testNamesAreCheckedAndUnique() throws {
    for name in ["", "a b", "ä", "a/b", "a\n", "a\"", String(repeating: "n", count: 129)] {
      try refuses(.invalidArgument, "node name", .input(size: 1), name: name)
    }
    try refuses(.invalidArgument, "already a node 'x'", .input(size: 1), name: "x")
    var architecture = try base()
    try architecture.add(.input(size: 1), name: String(repeating: "n", count: 128))
    try architecture.add(.input(size: 1), name: "A-z_0.9")
    try architecture.add(.input(size: 1))
    XCTAssertEqual(architecture.nodes.last?.name, "6")
  }

  func testInputsAreCheckedByNumberAndName() throws {
    try refuses(.invalidArgument, "is an input and reads no node", .input(size: 1), inputs: ["x"])
    try refuses(.invalidArgument, "is an input and reads no node", .tokenInput, inputs: ["x"])
    try refuses(.notFound, "\"nobody\"", .lastStep, inputs: ["nobody"])
    try refuses(.notFound, "\"new\"", .lastStep, inputs: ["new"])
    try refuses(.invalidArgument, "reads one node, got 2", .lastStep, inputs: ["x", "r"])
    try refuses(.invalidArgument, "expected the names of its inputs", .sum)
    try refuses(.invalidArgument, "2 or more inputs, got 1", .sum, inputs: ["x"])
    var empty = Architecture()
    assertFails(.invalidArgument, "add an input first") { try empty.add(.lastStep) }
    assertFails(.invalidArgument, "add an input first") { try empty.add(.sum) }
    XCTAssertEqual(empty.nodes.count, 0)
  }

  func testSizesAreCheckedInAllNodes() throws {
    for invalid in [0, -1, Int.min, Int.max] {
      // As C wrote it: a size_t above SSIZE_MAX arrives negative.
      let size = UInt(bitPattern: invalid)
      try refuses(.invalidArgument, "the size is \(size)", .input(size: invalid))
      try refuses(.invalidArgument, "the size is \(size)", .oneHot(size: invalid), inputs: ["t"])
      try refuses(.invalidArgument, "vocabulary size is \(size)", .embedding(vocabularySize: invalid, size: 1), inputs: ["t"])
      try refuses(.invalidArgument, "embedding size is \(size)", .embedding(vocabularySize: 1, size: invalid), inputs: ["t"])
      try refuses(.invalidArgument, "hidden size is \(size)", gru { $0.hiddenSize = invalid }, inputs: ["x"])
      try refuses(.invalidArgument, "number of layers is \(size)", gru { $0.layerCount = invalid }, inputs: ["x"])
      try refuses(.invalidArgument, "output size is \(size)", .linear(outputSize: invalid, bias: true), inputs: ["x"])
    }
    try refuses(.unsupported, "1001 layers", gru { $0.layerCount = 1001 }, inputs: ["x"])
    for p in [-0.1, 1, 2, .nan, .infinity, -.infinity] as [Double] {
      try refuses(.invalidArgument, "probability is \(p)", .dropout(probability: p), inputs: ["x"])
      try refuses(.invalidArgument, "dropout is \(p)", gru { $0.dropout = p }, inputs: ["x"])
    }
  }

  func testSizesThatOverflowAreRefused() throws {
    let large = 1 << 40
    try refuses(.outOfMemory, "new.weight", .embedding(vocabularySize: large, size: large), inputs: ["t"])
    try refuses(.outOfMemory, "elements", gru { $0.hiddenSize = large }, inputs: ["x"])
    try refuses(.outOfMemory, "node 'new'", gru { $0.hiddenSize = 1 << 56; $0.direction = .bidirectional }, inputs: ["x"])
    try refuses(.outOfMemory, "the input features", .input(size: 1 << 56))
    var architecture = try base()
    try architecture.add(.linear(outputSize: 1 << 54, bias: false), name: "a", inputs: ["x"])
    assertFails(.outOfMemory, "the parameters") {
      try architecture.add(.linear(outputSize: 1 << 54, bias: false), name: "b", inputs: ["x"])
    }
  }

  func testNodesReadWhatTheyCan() throws {
    let readers: [Operator] = [gru { _ in }, .linear(outputSize: 1, bias: true), .lastStep, .dropout(probability: 0.5)]
    for operation in readers {
      try refuses(.shape, "reads features, and 't' gives tokens", operation, inputs: ["t"])
    }
    try refuses(.shape, "reads tokens, and 'x' gives features", .embedding(vocabularySize: 2, size: 2), inputs: ["x"])
    try refuses(.shape, "reads tokens, and 'r' gives features", .oneHot(size: 2), inputs: ["r"])
    try refuses(.shape, "reads a sequence, and 'last' gives one step", gru { _ in }, inputs: ["last"])
    try refuses(.shape, "reads a sequence, and 'last' gives one step", .lastStep, inputs: ["last"])
    try refuses(.shape, "a sequence of 4 features, 'x' a sequence of 3", .sum, inputs: ["r", "x"])
    try refuses(.shape, "a sequence of 4 features, 'last' one step of 4", .sum, inputs: ["r", "last"])
    try refuses(.shape, "sum", .sum, inputs: ["r", "t"])
    try refuses(.shape, "'t' gives tokens", .sum, inputs: ["t", "r"])
    // What has one step may go on through nodes that have no time.
    var architecture = try base()
    try architecture.add(.linear(outputSize: 4, bias: true), name: "a")
    try architecture.add(.dropout(probability: 0), name: "b")
    try architecture.add(.sum, name: "c", inputs: ["b", "last"])
    XCTAssertTrue(architecture.hasSingleStepOutput)
    XCTAssertEqual(architecture.outputSize, 4)
  }

  func testParametersOfTwoNodesMayNotShareAName() throws {
    // "r" has r.weight_ih_l0; nothing stops a node from being named so that it would have it too, but the check.
    var architecture = Architecture()
    try architecture.add(.input(size: 1), name: "x")
    try architecture.add(.linear(outputSize: 1, bias: true), name: "a")
    XCTAssertNoThrow(try architecture.add(.linear(outputSize: 1, bias: true), name: "a.b"))
    XCTAssertEqual(architecture.parameters.map(\.name), ["a.weight", "a.bias", "a.b.weight", "a.b.bias"])
  }

  func testTheNumberOfNodesIsLimited() throws {
    var architecture = Architecture()
    try architecture.add(.input(size: 1))
    for _ in 1..<Architecture.largestNodeCount { try architecture.add(.dropout(probability: 0)) }
    assertFails(.unsupported, "at most \(Architecture.largestNodeCount) nodes") { try architecture.add(.lastStep) }
  }

  func testTheNumberOfParameterTensorsIsLimited() throws {
    var architecture = Architecture()
    try architecture.add(.input(size: 1))
    let stack = RecurrentConfiguration(.lstm, hiddenSize: 1, layerCount: 1000, bidirectional: true)
    try architecture.add(.recurrent(stack))
    try architecture.add(.recurrent(stack))
    XCTAssertEqual(architecture.parameters.count, 16_000)
    let before = architecture.parameterCount
    assertFails(.unsupported, "at most 20000 parameter tensors") { try architecture.add(.recurrent(stack)) }
    XCTAssertEqual(architecture.parameterCount, before)
  }

  func testACompleteNetworkComputesSomethingFromAllItsInputs() throws {
    assertFails(.invalidArgument, "no nodes") { try Network(Architecture()) }
    var architecture = Architecture()
    try architecture.add(.input(size: 3), name: "x")
    assertFails(.invalidArgument, "the last node, 'x', is an input") { try Network(architecture) }
    try architecture.add(.tokenInput, name: "t")
    assertFails(.invalidArgument, "the last node, 't', is an input") { try Network(architecture) }
    try architecture.add(.linear(outputSize: 1, bias: true), name: "y", inputs: ["x"])
    assertFails(.invalidArgument, "node 't' is read by no other node, and the output is 'y'") { try Network(architecture) }
    assertFails(.invalidArgument, "node 'last' is read by no other node") {
      var other = try base()
      try other.add(.oneHot(size: 2), name: "o", inputs: ["t"])
      return try Network(other)
    }
  }

  func testTablesOfAnArchitecture() throws {
    var architecture = Architecture(dataType: .float64)
    try architecture.add(.input(size: 3), name: "x")
    try architecture.add(.tokenInput, name: "t")
    try architecture.add(.oneHot(size: 5), name: "o")
    try architecture.add(.linear(outputSize: 3, bias: false), name: "p")
    try architecture.add(.sum, name: "s", inputs: ["x", "p"])
    try architecture.add(
      .recurrent(RecurrentConfiguration(.lstm, hiddenSize: 2, layerCount: 2, bidirectional: true, bias: .single)), name: "l")
    XCTAssertEqual([architecture.inputSize, architecture.tokenCount, architecture.outputSize], [3, 1, 4])
    XCTAssertEqual(architecture.layerDirections, 4)
    XCTAssertFalse(architecture.isStreamable)
    XCTAssertFalse(architecture.hasSingleStepOutput)
    XCTAssertEqual(architecture.states.map(\.name), ["l.h", "l.c"])
    XCTAssertEqual(architecture.states.map(\.shape), [[4, 1, 2], [4, 1, 2]])
    XCTAssertEqual(architecture.states.map(\.offset), [0, 8])
    XCTAssertEqual(architecture.stateCount, 16)
    XCTAssertEqual(architecture.parameters.map(\.shape), [[3, 5], [8, 3], [8, 2], [8], [8, 3], [8, 2], [8], [8, 4], [8, 2], [8], [8, 4], [8, 2], [8]])
    var end = 0
    for slot in architecture.parameters {
      XCTAssertEqual(slot.offset, end, slot.name)
      XCTAssertEqual(slot.count, slot.shape.reduce(1, *), slot.name)
      end += slot.count
    }
    XCTAssertEqual(architecture.parameterCount, end)
  }

  /// One bias for the reset-before GRU (the equations' form), two for what PyTorch has.
  func testTheDefaultBiasIsTheHabitOfTheCell() {
    for cell in everyCell {
      let expected: BiasMode = cell == .gru(.resetBefore) ? .single : .double
      XCTAssertEqual(RecurrentConfiguration(cell, hiddenSize: 1).bias, expected)
    }
  }
}
