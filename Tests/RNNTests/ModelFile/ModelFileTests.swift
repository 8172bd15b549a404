import Foundation
import RNNKernels
import XCTest

@testable import RNN

final class ModelFileTests: XCTestCase {
  private var directory = ""

  override func setUpWithError() throws {
    directory = NSTemporaryDirectory() + "/librnn-ModelFileTests-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
  }

  override func tearDown() { try? FileManager.default.removeItem(atPath: directory) }

  func testSaveAndLoadKeepEveryBit() throws {
    for seed in 0..<12 as Range<UInt64> {
      var numbers = TestNumbers(seed: seed)
      let architecture = try randomArchitecture(
        seed % 2 == 0 ? .float32 : .float64, bidirectional: seed % 3 == 0, lastStep: false, numbers: &numbers)
      let network = try Network(architecture, initialization: InitialWeights(seed: seed))
      try network.setMetadata("classes", to: "[\"π\",\"\\n\"]")
      let path = directory + "/model-\(seed).safetensors", again = directory + "/again-\(seed).safetensors"
      try network.save(to: path, synchronize: false)
      let loaded = try Network(contentsOf: path)
      XCTAssertEqual(loaded.architecture, architecture)
      XCTAssertEqual(loaded.metadata, network.metadata)
      if architecture.dataType == .float32 {
        assertSameBits(try loaded.parameter(), try network.parameter() as [Float])
      } else {
        assertSameBits(try loaded.parameter(), try network.parameter() as [Double])
      }
      // The same network gives the same bytes; and loading from memory is loading from a file.
      try loaded.save(to: again, synchronize: false)
      let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
      XCTAssertEqual(try Data(contentsOf: URL(fileURLWithPath: again)), bytes)
      XCTAssertEqual(try bytes.withUnsafeBytes { try Network($0) }.architecture, architecture)
    }
  }

  func testNaNAndDenormalWeightsAreKept() throws {
    let network = try recurrentNetwork(.vanilla(.tanh), inputSize: 1, hiddenSize: 1, bias: BiasMode.none)
    let values: [Float] = [Float(bitPattern: 0x7fc0_1234), Float(bitPattern: 0x8000_0001)]
    try network.setParameter(to: values)
    try network.save(to: directory + "/m", synchronize: false)
    let loaded: [Float] = try Network(contentsOf: directory + "/m").parameter()
    XCTAssertEqual(loaded.map(\.bitPattern), values.map(\.bitPattern))
  }

  func testAModelLargerThanTheLimitIsRefused() throws {
    let network = try recurrentNetwork(.lstm, inputSize: 1, hiddenSize: 2)
    try network.save(to: directory + "/m", synchronize: false)
    let count = network.architecture.parameterCount
    XCTAssertNoThrow(try Network(contentsOf: directory + "/m", largestParameterCount: count))
    assertFails(.format, "\(count) parameters, and max_parameters allows \(count - 1)") {
      try Network(contentsOf: self.directory + "/m", largestParameterCount: count - 1)
    }
    assertFails(.io) { try Network(contentsOf: self.directory + "/missing") }
    assertFails(.io) { try network.save(to: self.directory + "/missing/m") }
  }

  // MARK: - Files that lie

  private func load(
    version: String? = "1", architecture: String? = nil, metadata: [(key: String, value: String)] = [],
    _ change: (inout [TensorSource]) -> Void = { _ in }
  ) throws -> Network {
    let text = architecture ?? """
      {"dtype":"float32","nodes":[{"name":"x","op":"input","version":1,"size":2},\
      {"name":"y","op":"linear","version":1,"inputs":["x"],"output_size":1,"bias":true}],"outputs":["y"]}
      """
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 8)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0)
    func bytes(_ count: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[..<count]) }
    var tensors = [
      TensorSource(name: "y.weight", type: .float32, shape: [1, 2], bytes: bytes(8)),
      TensorSource(name: "y.bias", type: .float32, shape: [1], bytes: bytes(4)),
    ]
    change(&tensors)
    var entries = metadata
    if let version { entries.append((key: "librnn.format_version", value: version)) }
    if text != "none" { entries.append((key: "librnn.architecture", value: text)) }
    let path = directory + "/made"
    try SafetensorsFile.write(to: path, metadata: entries, tensors: tensors, synchronize: false)
    return try Network(contentsOf: path)
  }

  func testTheFileOfTheseTestsIsValid() throws {
    XCTAssertEqual(try load().architecture.parameterCount, 3)
    XCTAssertEqual(try load(metadata: [(key: "mine", value: "x")]).metadata, ["mine": "x"])
  }

  func testVersionsAndMetadataAreChecked() throws {
    assertFails(.unsupported, "format version 2", "up to 1") { try self.load(version: "2") }
    for version in ["0", "-1", "1.0", "one", ""] {
      assertFails(.format, "librnn.format_version") { try self.load(version: version) }
    }
    assertFails(.format, "no librnn.format_version", "not a librnn model") { try self.load(version: nil) }
    assertFails(.format, "no librnn.architecture") { try self.load(architecture: "none") }
    assertFails(.format, "librnn.architecture") { try self.load(architecture: "{") }
    // A key of the library's own that this one does not know may change what the file means.
    assertFails(.unsupported, "\"librnn.quantized\"") { try self.load(metadata: [(key: "librnn.quantized", value: "1")]) }
  }

  func testTensorsMustBeExactlyThoseOfTheArchitecture() throws {
    assertFails(.format, "needs tensor \"y.bias\"") { try self.load { $0.removeLast() } }
    assertFails(.format, "\"y.scale\" belongs to no node") {
      try self.load { $0.append(TensorSource(name: "y.scale", type: .float32, shape: [1], bytes: $0[1].bytes)) }
    }
    assertFails(.format, "\"y.weight\" has shape [2, 1], expected [1, 2]") {
      try self.load { $0[0] = TensorSource(name: "y.weight", type: .float32, shape: [2, 1], bytes: $0[0].bytes) }
    }
    assertFails(.format, "\"y.weight\" is F64, expected F32") {
      try self.load { $0[0] = TensorSource(name: "y.weight", type: .float64, shape: [1], bytes: $0[0].bytes) }
    }
  }

  // MARK: - Compatibility

  /// What Tests/Vectors/make_format_1.py wrote: model files made without librnn, and what their networks compute.
  private struct Known: Decodable {
    let file: String
    let steps, rows: Int
    let features: [Double]
    let tokens: [Int64]
    let output: [Double]
    let state: [String: [Double]]
    let metadata: [String: String]
  }

  /// Files of format version 1 load in every later version, and compute the same.
  func testFilesOfFormatOneLoadAndGiveTheirKnownAnswers() throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Vectors")
    let cases = try JSONDecoder().decode([Known].self, from: Data(contentsOf: folder.appendingPathComponent("format-1.json")))
    XCTAssertEqual(cases.count, 2)
    for known in cases {
      let network = try Network(contentsOf: folder.appendingPathComponent(known.file).path)
      XCTAssertEqual(network.metadata, known.metadata)
      switch network.architecture.dataType {
      // The answers are in double; a float32 network rounds in every step.
      case .float32: try check(network, known, Float.self, accuracy: 1e-6)
      case .float64: try check(network, known, Double.self, accuracy: 1e-14)
      }
    }
  }

  private func check<Scalar: KernelScalar>(
    _ network: Network, _ known: Known, _ type: Scalar.Type, accuracy: Double
  ) throws {
    var batch = Batch<Scalar>(steps: known.steps, rows: known.rows, features: known.features.map { Scalar($0) })
    batch.tokens = known.tokens
    var state: NetworkState? = try network.makeState(batchSize: known.rows)
    let output = try network.run(batch, state: &state)
    XCTAssertEqual(output.count, known.output.count)
    for (found, expected) in zip(output, known.output) {
      XCTAssertEqual(Double(found), expected, accuracy: accuracy, known.file)
    }
    XCTAssertEqual(Set(network.architecture.states.map(\.name)), Set(known.state.keys))
    for (name, expected) in known.state {
      let found = try state!.array(name, as: Scalar.self)
      XCTAssertEqual(found.count, expected.count, name)
      for (a, b) in zip(found, expected) { XCTAssertEqual(Double(a), b, accuracy: accuracy, "\(known.file): \(name)") }
    }
  }
}
