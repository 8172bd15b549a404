import XCTest

@testable import RNN

final class SafetensorsTests: XCTestCase {
  /// A file with that header, unpadded, and that many zero bytes of data.
  private func file(_ header: String, data: Int = 0) -> [UInt8] {
    let length = UInt64(header.utf8.count)
    return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * UInt64($0))) } + Array(header.utf8)
      + [UInt8](repeating: 0, count: data)
  }

  private func read(_ bytes: [UInt8]) throws -> SafetensorsFile {
    try bytes.withUnsafeBytes { try SafetensorsFile($0) }
  }

  private func assertRefused(
    _ bytes: [UInt8], _ expected: String, code: RNNError.Code = .format, file: StaticString = #filePath,
    line: UInt = #line
  ) {
    XCTAssertThrowsError(try read(bytes), file: file, line: line) { error in
      let error = error as? RNNError
      XCTAssertEqual(error?.code, code, file: file, line: line)
      XCTAssertTrue(error?.message.contains(expected) == true, "\(error?.message ?? "")", file: file, line: line)
    }
  }

  /// A file whose one tensor is described by `entry`.
  private func one(_ entry: String, data: Int = 4) -> [UInt8] { file("{\"w\":{\(entry)}}", data: data) }

  // MARK: - Sound files

  func testReadsWhatTheFormatAllows() throws {
    let header = """
      {"b":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},"__metadata__":{"z":"1","a":"é"},\
      "a":{"shape":[],"data_offsets":[0,8],"dtype":"I64"},"none":{"dtype":"F64","shape":[0,7],"data_offsets":[8,8]}}
      """
    let read = try read(file(header + "   ", data: 32))
    let start = 8 + header.utf8.count + 3
    XCTAssertEqual(
      read.tensors,
      [
        TensorEntry(name: "b", type: .float32, shape: [2, 3], byteRange: start + 8..<start + 32),
        TensorEntry(name: "a", type: .int64, shape: [], byteRange: start..<start + 8),
        TensorEntry(name: "none", type: .float64, shape: [0, 7], byteRange: start + 8..<start + 8),
      ])
    XCTAssertEqual(read.tensors.map(\.elementCount), [6, 1, 0])
    XCTAssertEqual(read.metadata.map(\.key), ["z", "a"])
    XCTAssertEqual(read.metadataValue("a"), "é")
    XCTAssertNil(read.metadataValue("-"))
    XCTAssertEqual(read.tensor(named: "a")?.type, .int64)
    XCTAssertNil(read.tensor(named: "-"))
  }

  func testAFileWithoutTensorsIsSound() throws {
    XCTAssertTrue(try read(file("{}")).tensors.isEmpty)
    XCTAssertTrue(try read(file("{\"__metadata__\":{}}  ")).metadata.isEmpty)
  }

  func testEveryTypeHasItsSize() throws {
    for type in SafetensorsType.allCases {
      let entry = "\"dtype\":\"\(type.rawValue)\",\"shape\":[3],\"data_offsets\":[0,\(3 * type.size)]"
      XCTAssertEqual(try read(one(entry, data: 3 * type.size)).tensors[0].type, type)
    }
  }

  // MARK: - Lies

  func testRefusesAFileThatIsTooShortForItsLength() {
    assertRefused([], "has 0 bytes, expected at least 8")
    assertRefused([2, 0, 0, 0, 0, 0, 0], "has 7 bytes")
  }

  func testRefusesAHeaderLengthThatCannotBe() {
    assertRefused(Array(file("{}").dropLast()), "header of 2 bytes announced, but only 1 bytes follow")
    assertRefused(
      [UInt8](repeating: 255, count: 64), "header of 18446744073709551615 bytes announced, expected at most")
    assertRefused([1, 0xE1, 0xF5, 5, 0, 0, 0, 0], "header of 100000001 bytes announced, expected at most 100000000")
    assertRefused([0, 0xE1, 0xF5, 5, 0, 0, 0, 0], "but only 0 bytes follow")
    assertRefused([0, 0, 0, 0, 0, 0, 0, 0x80], "header of 9223372036854775808 bytes")
  }

  func testRefusesAHeaderThatIsNotAnObject() {
    assertRefused(file(""), "does not begin with '{'")
    assertRefused(file(" {}"), "does not begin with '{'")
    assertRefused(file("[]"), "does not begin with '{'")
    assertRefused(file("{"), "safetensors header: expected a key in double quotes at byte 9")
    assertRefused(file("{}x"), "text after the end of the JSON value at byte 10")
    assertRefused(file("{}\0"), "text after the end")
  }

  func testRefusesMetadataThatIsNotStrings() {
    assertRefused(file("{\"__metadata__\":[]}"), "\"__metadata__\" is an array, expected an object")
    assertRefused(file("{\"__metadata__\":{\"k\":1}}"), "metadata \"k\" is an integer, expected a string")
    assertRefused(file("{\"__metadata__\":{\"k\":null}}"), "metadata \"k\" is null")
    assertRefused(file("{\"__metadata__\":{\"k\\u0000\":\"\"}}"), "metadata key \"k\\u{0}\" holds a zero byte")
    assertRefused(file("{\"__metadata__\":{},\"__metadata__\":{}}"), "key \"__metadata__\" a second time")
  }

  func testRefusesATensorASecondTime() {
    let entry = "{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}"
    assertRefused(file("{\"w\":\(entry),\"w\":\(entry)}"), "key \"w\" a second time")
  }

  func testRefusesATensorWithoutAllItsKeysOrWithOthers() {
    assertRefused(file("{\"w\":3}"), "tensor \"w\" is an integer, expected an object")
    assertRefused(one("\"shape\":[1],\"data_offsets\":[0,4]"), "tensor \"w\": key \"dtype\" is missing")
    assertRefused(one("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), "key \"shape\" is missing")
    assertRefused(one("\"dtype\":\"F32\",\"shape\":[1]"), "key \"data_offsets\" is missing")
    assertRefused(
      one("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"stride\":1"), "tensor \"w\": unknown key \"stride\""
    )
    assertRefused(
      file("{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", data: 4), "holds a zero byte")
  }

  func testRefusesATypeItDoesNotKnow() {
    assertRefused(one("\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]"), "unknown dtype \"F31\"")
    assertRefused(one("\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]"), "unknown dtype \"f32\"")
    assertRefused(
      one("\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]"), "\"dtype\" is an integer, expected a string")
    assertRefused(one("\"dtype\":\"F4\",\"shape\":[8],\"data_offsets\":[0,4]"), "not whole bytes", code: .unsupported)
  }

  func testRefusesAShapeThatCannotBe() {
    func shaped(_ shape: String) -> [UInt8] { one("\"dtype\":\"F32\",\"shape\":\(shape),\"data_offsets\":[0,4]") }
    assertRefused(shaped("1"), "\"shape\" is an integer, expected an array")
    assertRefused(shaped("[-1]"), "\"shape\"[0] is -1, expected 0 or more")
    assertRefused(shaped("[1,1.0]"), "\"shape\"[1] is a number, expected an integer")
    assertRefused(shaped("[1e0]"), "expected an integer")
    assertRefused(shaped("[9223372036854775808]"), "does not fit in 64 bits")
    assertRefused(shaped("[9223372036854775807]"), "larger than memory")
    assertRefused(shaped("[4294967296,4294967296]"), "larger than memory")
    assertRefused(shaped("[4611686018427387904,4]"), "larger than memory")
    // A zero does not hide the overflow, wherever it stands.
    assertRefused(shaped("[0,4294967296,4294967296]"), "larger than memory")
    assertRefused(shaped("[4294967296,4294967296,0]"), "larger than memory")
    assertRefused(shaped("[\(Array(repeating: "1", count: 65).joined(separator: ","))]"), "65 dimensions")
  }

  func testRefusesOffsetsThatCannotBe() {
    func placed(_ offsets: String) -> [UInt8] { one("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":\(offsets)") }
    XCTAssertNoThrow(try read(placed("[0,4]")))
    assertRefused(placed("4"), "\"data_offsets\" is an integer, expected an array")
    assertRefused(placed("[0]"), "\"data_offsets\" has 1 elements, expected 2")
    assertRefused(placed("[0,4,8]"), "has 3 elements")
    assertRefused(placed("[-4,0]"), "\"data_offsets\"[0] is -4, expected 0 or more")
    assertRefused(placed("[4,0]"), "[4, 0] end before they begin")
    assertRefused(placed("[4,8]"), "[4, 8] lie beyond the data, which has 4 bytes")
    assertRefused(placed("[9223372036854775803,9223372036854775807]"), "lie beyond the data")
  }

  func testRefusesAShapeThatDoesNotFillItsBytes() {
    assertRefused(
      one("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"),
      "tensor \"w\": shape [2] of dtype F32 needs 8 bytes, \"data_offsets\" [0, 4] hold 4")
    assertRefused(one("\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,4]"), "needs 8 bytes")
    assertRefused(one("\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,4]"), "needs 0 bytes")
  }

  private func two(_ first: String, _ second: String, data: Int) -> [UInt8] {
    file(
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":\(first)},"
        + "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":\(second)}}", data: data)
  }

  func testRefusesTensorsThatOverlap() {
    assertRefused(
      two("[0,4]", "[3,7]", data: 7),
      "tensor \"b\" overlaps tensor \"a\": it begins at data byte 3, the other ends at 4")
    assertRefused(two("[2,6]", "[0,4]", data: 6), "tensor \"a\" overlaps tensor \"b\"")
    assertRefused(two("[0,4]", "[0,4]", data: 4), "overlaps")
  }

  func testRefusesDataThatNoTensorOwns() {
    assertRefused(two("[0,4]", "[5,9]", data: 9), "data bytes 4 to 5 before tensor \"b\" belong to no tensor")
    assertRefused(two("[1,5]", "[5,9]", data: 9), "data bytes 0 to 1 before tensor \"a\"")
    assertRefused(two("[0,4]", "[4,8]", data: 9), "the last 1 bytes of the file, from data byte 8, belong to no tensor")
    assertRefused(file("{}", data: 1), "the last 1 bytes")
  }

  func testRefusesMoreTensorsThanItsLimit() {
    var header = "{"
    for index in 0...SafetensorsLimits.tensorCount {
      header += "\(index == 0 ? "" : ",")\"\(index)\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}"
    }
    assertRefused(file(header + "}"), "more than 100000 tensors")
  }

  func testMessagesDoNotRepeatHostileNames() {
    let name = String(repeating: "x", count: 10_000) + "\\u001b[2J"
    XCTAssertThrowsError(try read(file("{\"\(name)\":1}"))) {
      let message = ($0 as? RNNError)?.message ?? ""
      XCTAssertLessThan(message.utf8.count, 300)
    }
    XCTAssertThrowsError(try read(file("{\"\\u001b[2J\":1}"))) {
      XCTAssertTrue(($0 as? RNNError)?.message.contains("\\u{1b}[2J") == true)
    }
  }

  /// The memory checks of the language stand behind this: a trap would end the test program.
  func testNoDamageToAHeaderTraps() throws {
    let sound = file(
      """
      {"__metadata__":{"format":"pt","librnn":"{\\"nodes\\":[]}\\u00e9é"},\
      "gru.weight_ih_l0":{"dtype":"F32","shape":[6,3],"data_offsets":[0,72]},\
      "gru.bias_l0":{"dtype":"F64","shape":[2],"data_offsets":[72,88]},\
      "s":{"dtype":"BF16","shape":[],"data_offsets":[88,90]}}
      """, data: 90)
    XCTAssertEqual(try read(sound).tensors.count, 3)
    let key = PhiloxKey(seed: 1, purpose: .sampling, layer: 0)
    // Bytes that matter to the grammar, so that many mutants get past the first check.
    let grammar = Array("{}[]\",:\\0129-.eutn\u{1}\u{7f}".utf8) + [0xFF, 0xC3, 0xED, 0xF4]
    var accepted = 0
    for round in UInt64(0)..<20_000 {
      var bytes = sound
      for change in 0...(round % 3) {
        let random = key.bits(element: round * 4 + change)
        let place = Int((random >> 32) % UInt64(bytes.count))
        switch random % 5 {
        case 0: bytes[place] ^= 1 << UInt8(random >> 8 & 7)
        case 1: bytes[place] = grammar[Int(random >> 8 & 0xFFFF) % grammar.count]
        case 2: bytes.remove(at: place)
        case 3: bytes.insert(grammar[Int(random >> 8 & 0xFFFF) % grammar.count], at: place)
        default: bytes.removeSubrange(place...)
        }
        if bytes.isEmpty { break }
        // Most lengths that do not match the file are refused at once; let half of the mutants past that.
        if random & 0x1_0000 != 0, bytes.count >= 98 {
          let length = UInt64(bytes.count - 98)
          for index in 0..<8 { bytes[index] = UInt8(truncatingIfNeeded: length >> (8 * UInt64(index))) }
        }
      }
      guard let read = try? read(bytes) else { continue }
      accepted += 1
      for tensor in read.tensors {
        XCTAssertLessThanOrEqual(tensor.byteRange.upperBound, bytes.count)
        XCTAssertEqual(tensor.byteRange.count, tensor.shape.reduce(tensor.type.size, *))
      }
    }
    // A change of the data or of a name is no lie; nearly everything else is.
    XCTAssertGreaterThan(accepted, 100)
    XCTAssertLessThan(accepted, 10_000)
  }

  // MARK: - Writer

  private func written(
    metadata: [(key: String, value: String)],
    _ tensors: [(name: String, type: SafetensorsType, shape: [Int], bytes: [UInt8])]
  ) throws -> [UInt8] {
    let buffers = tensors.map { tensor in
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: tensor.bytes.count, alignment: 8)
      buffer.copyBytes(from: tensor.bytes)
      return buffer
    }
    defer { for buffer in buffers { buffer.deallocate() } }
    let sources = zip(tensors, buffers).map {
      TensorSource(name: $0.name, type: $0.type, shape: $0.shape, bytes: UnsafeRawBufferPointer($1))
    }
    return try SafetensorsFile.header(metadata: metadata, tensors: sources) + tensors.flatMap(\.bytes)
  }

  func testWritingAndReadingGivesTheSameFile() throws {
    let bytes = try written(
      metadata: [("z", "1"), ("librnn.architecture", "{\"nodes\":[]}"), ("é", "\n\u{0}")],
      [
        ("b", .float32, [2, 3], (0..<24).map { $0 }), ("a\"\\", .uint8, [3], [7, 8, 9]),
        ("s", .float64, [], Array(repeating: 1, count: 8)),
        ("none", .float32, [0, 4], []),
      ])
    let read = try read(bytes)
    XCTAssertEqual(read.metadata.map(\.key), ["librnn.architecture", "z", "é"])
    XCTAssertEqual(read.metadata.map(\.value), ["{\"nodes\":[]}", "1", "\n\u{0}"])
    XCTAssertEqual(read.tensors.map(\.name), ["b", "a\"\\", "s", "none"])
    XCTAssertEqual(read.tensors.map(\.shape), [[2, 3], [3], [], [0, 4]])
    XCTAssertEqual(read.tensors[0].byteRange.lowerBound % 8, 0)
    XCTAssertEqual(Array(bytes[read.tensors[0].byteRange]), (0..<24).map { $0 })
    XCTAssertEqual(Array(bytes[read.tensors[1].byteRange]), [7, 8, 9])
  }

  func testTheHeaderIsTheSameInAnyOrderOfMetadata() throws {
    XCTAssertEqual(
      try written(metadata: [("a", "1"), ("b", "2"), ("B", "3")], []),
      try written(metadata: [("B", "3"), ("b", "2"), ("a", "1")], []))
  }

  func testTheDataIsAlignedForEveryLengthOfHeader() throws {
    for length in 0..<17 {
      let bytes = try written(
        metadata: [("k", String(repeating: "x", count: length))], [("w", .float64, [1], Array(repeating: 5, count: 8))])
      XCTAssertEqual(try read(bytes).tensors[0].byteRange.lowerBound % 8, 0)
    }
  }

  func testTheWriterRefusesWhatTheReaderWould() throws {
    func assertRefused(
      _ expected: String, metadata: [(key: String, value: String)] = [],
      _ tensors: [(name: String, type: SafetensorsType, shape: [Int], bytes: [UInt8])], line: UInt = #line
    ) {
      XCTAssertThrowsError(try written(metadata: metadata, tensors), line: line) {
        XCTAssertEqual(($0 as? RNNError)?.code, .invalidArgument, line: line)
        XCTAssertTrue(($0 as? RNNError)?.message.contains(expected) == true, "\($0)", line: line)
      }
    }
    assertRefused("\"w\" is reserved or occurs a second time", [("w", .uint8, [1], [0]), ("w", .uint8, [1], [0])])
    assertRefused("reserved", [("__metadata__", .uint8, [1], [0])])
    assertRefused("zero byte", [("a\0", .uint8, [1], [0])])
    assertRefused("does not fit its 3 bytes", [("w", .float32, [1], [0, 0, 0])])
    assertRefused("does not fit", [("w", .float32, [-1], [0, 0, 0, 0])])
    assertRefused("does not fit", [("w", .uint8, [.max, .max], [0])])
    assertRefused("does not fit", [("w", .uint8, Array(repeating: 1, count: 65), [0])])
    assertRefused("metadata key \"k\" is reserved or occurs", metadata: [("k", "1"), ("k", "2")], [])
    assertRefused("expected at most 100000000", metadata: [("k", String(repeating: "x", count: 100_000_000))], [])
  }
}
