import XCTest

@testable import RNN

final class JSONTests: XCTestCase {
  private func parse(_ text: String) throws -> JSONValue { try JSONValue.parse(text, named: "test") }

  private func parse(bytes: [UInt8]) throws -> JSONValue {
    try bytes.withUnsafeBytes { try JSONValue.parse($0, named: "test") }
  }

  private func assertRefused(
    _ text: String, _ expected: String, file: StaticString = #filePath, line: UInt = #line
  ) {
    assertRefused(bytes: Array(text.utf8), expected, file: file, line: line)
  }

  private func assertRefused(
    bytes: [UInt8], _ expected: String, file: StaticString = #filePath, line: UInt = #line
  ) {
    XCTAssertThrowsError(try parse(bytes: bytes), file: file, line: line) { error in
      let error = error as? RNNError
      XCTAssertEqual(error?.code, .format, file: file, line: line)
      XCTAssertTrue(error?.message.contains(expected) == true, "\(error?.message ?? "")", file: file, line: line)
    }
  }

  func testReadsEveryKindOfValue() throws {
    XCTAssertEqual(
      try parse(" {\"a\" : [null, true,false , -1, 0.5, \"x\"], \"b\":{}, \"c\":[]}\r\n\t"),
      .object([
        "a": .array([.null, .bool(true), .bool(false), .integer(-1), .number(0.5), .string("x")]),
        "b": .object([:]), "c": .array([]),
      ]))
  }

  func testKeepsTheOrderOfKeys() throws {
    guard case .object(let object) = try parse("{\"z\":1,\"a\":2,\"m\":3}") else { return XCTFail() }
    XCTAssertEqual(object.keys, ["z", "a", "m"])
  }

  func testIntegersAreExactTo64Bits() throws {
    for integer in [Int64.min, -9_007_199_254_740_993, 0, 9_007_199_254_740_993, .max] {
      XCTAssertEqual(try parse("\(integer)"), .integer(integer))
    }
    assertRefused("9223372036854775808", "does not fit in 64 bits at byte 0")
    assertRefused("[-9223372036854775809]", "at byte 1")
  }

  func testNumbersAreRoundedCorrectly() throws {
    // Halfway cases and extremes, which parsers by multiplication get wrong.
    let texts = [
      "1.0", "-0.0", "1e23", "8.5e22", "2.2250738585072011e-308", "1.7976931348623157e308", "5e-324", "0.1E+1",
      "1e-999",
      "9007199254740993.0", "123456789012345678901234567890e-5",
    ]
    for text in texts {
      guard case .number(let number) = try parse(text) else { return XCTFail(text) }
      XCTAssertEqual(number.bitPattern, Double(text)?.bitPattern, text)
    }
    XCTAssertEqual(try parse("9007199254740993.0"), .number(9_007_199_254_740_992))
  }

  func testRefusesNumbersOutsideTheGrammar() {
    for text in [
      "-", "+1", ".5", "1.", "1.e5", "1e", "1e+", "--1", "inf", "-inf", "nan", "NaN", "Infinity", "0x10", "1_0",
    ] {
      XCTAssertThrowsError(try parse(text), text)
    }
    assertRefused("01", "leading zero at byte 0")
    assertRefused("-012", "leading zero at byte 0")
    assertRefused("[1e999]", "too large for double precision at byte 1")
    assertRefused(String(repeating: "1", count: 100_000), "more than 1200 characters")
  }

  func testReadsEscapes() throws {
    XCTAssertEqual(try parse(#""\"\\\/\b\f\n\r\tA\u00e9\u20AC\ud834\udd1e!""#), .string("\"\\/\u{8}\u{c}\n\r\tAé€𝄞!"))
    XCTAssertEqual(try parse(#""\u0000""#), .string("\0"))
  }

  func testRefusesWrongEscapes() {
    assertRefused(#""\x""#, "unknown escape in a string at byte 1")
    assertRefused(#""\u12g4""#, "four hexadecimal digits")
    assertRefused(#""\u12"#, "four hexadecimal digits")
    assertRefused("\"\\", "ends in an escape")
    for text in [#""\ud834""#, #""\udd1e""#, #""\ud834x""#, #""\ud834\n""#, #""\ud834\ud834""#, #""\ud834A""#] {
      assertRefused(text, "lone surrogate in a string at byte 1")
    }
  }

  func testRefusesControlCharactersInStrings() {
    for byte in UInt8(0)..<0x20 { assertRefused(bytes: [0x22, byte, 0x22], "control character in a string at byte 1") }
  }

  func testRefusesInvalidUTF8() {
    let sequences: [[UInt8]] = [
      [0x80], [0xBF], [0xC0, 0x80], [0xC1, 0xBF], [0xC3], [0xC3, 0x41], [0xE0, 0x9F, 0xBF], [0xE2, 0x82],
      [0xE2, 0x82, 0x41], [0xED, 0xA0, 0x80], [0xF0, 0x8F, 0xBF, 0xBF], [0xF0, 0x9D, 0x84], [0xF4, 0x90, 0x80, 0x80],
      [0xF5, 0x80, 0x80, 0x80], [0xFF], [0xFE],
    ]
    for sequence in sequences {
      assertRefused(bytes: [0x22] + sequence + [0x22], "invalid UTF-8 at byte 1")
      assertRefused(bytes: [0x22] + sequence, "invalid UTF-8 at byte 1")
    }
    // A byte order mark is UTF-8, but not JSON.
    assertRefused(bytes: [0xEF, 0xBB, 0xBF, 0x31], "expected a JSON value at byte 0")
  }

  func testReadsTheEdgesOfUTF8() throws {
    for scalar in [
      "\u{7F}", "\u{80}", "\u{7FF}", "\u{800}", "\u{D7FF}", "\u{E000}", "\u{FFFF}", "\u{10000}", "\u{10FFFF}",
    ] {
      XCTAssertEqual(try parse("\"\(scalar)\""), .string(scalar))
    }
  }

  func testRefusesTextThatIsNotOneValue() {
    assertRefused("", "ends where a value is expected at byte 0")
    assertRefused("  ", "at byte 2")
    assertRefused("1 2", "text after the end of the JSON value at byte 2")
    assertRefused("{}}", "text after the end")
    assertRefused("{} \0", "text after the end")
    assertRefused("tru", "expected true at byte 0")
    assertRefused("nul1", "expected null")
    assertRefused("[1,]", "expected a JSON value at byte 3")
    assertRefused("[1 2]", "expected ',' or ']' in an array at byte 3")
    assertRefused("[", "ends where a value")
    assertRefused("[1", "expected ',' or ']'")
    assertRefused("{\"a\":1,}", "expected a key in double quotes at byte 7")
    assertRefused("{a:1}", "expected a key")
    assertRefused("{\"a\"}", "expected ':' after the key \"a\" at byte 4")
    assertRefused("{\"a\":1 \"b\":2}", "expected ',' or '}'")
    assertRefused("{\"a\":", "ends where a value")
    assertRefused("{", "expected a key")
    assertRefused("\"abc", "string without an end at byte 0")
    assertRefused("// comment\n1", "expected a JSON value")
  }

  func testRefusesAKeyASecondTime() {
    assertRefused("{\"a\":1,\"b\":2,\"a\":3}", "key \"a\" a second time at byte 13")
    assertRefused("{\"a\":1,\"\\u0061\":2}", "a second time")
    let many = (0..<50).map { "\"k\($0)\":0" }.joined(separator: ",")
    assertRefused("{\(many),\"k3\":1}", "key \"k3\" a second time")
    assertRefused("{\(many),\"k49\":1}", "key \"k49\" a second time")
    // Precomposed and decomposed: one key for every Swift dictionary.
    assertRefused("{\"\u{e9}\":1,\"e\u{301}\":2}", "a second time")
  }

  func testNestingIsLimited() throws {
    func nested(_ depth: Int) -> String { String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
    let deepest = try parse(nested(JSONValue.depthLimit))
    XCTAssertEqual(try deepest.serializedString(), nested(JSONValue.depthLimit))
    assertRefused(nested(JSONValue.depthLimit + 1), "nested more than 32 deep at byte 32")
    assertRefused(String(repeating: "[", count: 1_000_000), "nested more than 32 deep")
    assertRefused(String(repeating: "{\"a\":", count: 1_000_000), "nested more than 32 deep")
    XCTAssertThrowsError(try JSONValue.array([deepest]).serialized())
  }

  func testTheNumberOfValuesIsLimited() {
    var bytes = Array("[".utf8)
    for _ in 0...JSONValue.nodeLimit { bytes += [0x31, 0x2C] }
    assertRefused(bytes: bytes, "more than 2000000 JSON values")
  }

  func testOffsetsCountFromTheBeginningOfTheFile() {
    XCTAssertThrowsError(
      try Array("[x".utf8).withUnsafeBytes { try JSONValue.parse($0, named: "header", baseOffset: 8) }
    ) { XCTAssertEqual(($0 as? RNNError)?.message, "header: expected a JSON value at byte 9") }
  }

  func testWritingAndReadingGivesTheSameValue() throws {
    let value = JSONValue.object([
      "": .null, "é\u{0}\u{1f}\u{7f}\"\\/\n\r\t𝄞": .string("é\u{0}\u{1f}\u{7f}\"\\/\n\r\t𝄞"), "true": .bool(true),
      "integers": .array([.integer(.min), .integer(.max), .integer(0)]),
      "numbers": .array(
        [0.0, -0.0, 1, 0.1, 1e16, 1e-5, 1e300, .greatestFiniteMagnitude, .leastNonzeroMagnitude, .pi].map {
          .number($0)
        }),
      "empty": .array([]), "nothing": .object([:]),
    ])
    let text = try value.serializedString()
    let again = try parse(text)
    XCTAssertEqual(again, value)
    XCTAssertEqual(try again.serializedString(), text)
    // Double's == does not see the sign of zero.
    XCTAssertTrue(text.contains("-0.0"))
    XCTAssertTrue(text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F })
  }

  func testNumbersThatJSONCannotSayAreNotWritten() {
    for number in [Double.nan, .infinity, -.infinity] {
      XCTAssertThrowsError(try JSONValue.array([.number(number)]).serialized()) {
        XCTAssertEqual(($0 as? RNNError)?.code, .invalidArgument)
      }
    }
  }

  // MARK: - Accessors

  private let object: JSONObject = [
    "s": .string("x"), "i": .integer(7), "n": .number(0.5), "b": .bool(true),
    "a": .array([.string("p"), .string("q")]),
    "o": .object(["k": .null]), "d": .array([.integer(2), .integer(3)]), "big": .integer(9_007_199_254_740_993),
    "null": .null,
  ]

  private func assertMessage<Value>(
    _ expected: String, line: UInt = #line, _ body: @autoclosure () throws -> Value
  ) {
    XCTAssertThrowsError(try body(), line: line) {
      XCTAssertEqual(($0 as? RNNError)?.code, .format, line: line)
      XCTAssertEqual(($0 as? RNNError)?.message, expected, line: line)
    }
  }

  func testAccessorsGiveWhatIsThere() throws {
    XCTAssertEqual(try object.string("s", in: "o"), "x")
    XCTAssertEqual(try object.integer("i", in: "o", range: 0...7), 7)
    XCTAssertEqual(try object.number("n", in: "o"), 0.5)
    XCTAssertEqual(try object.number("i", in: "o"), 7)
    XCTAssertEqual(try object.bool("b", in: "o"), true)
    XCTAssertEqual(try object.strings("a", in: "o"), ["p", "q"])
    XCTAssertEqual(try object.integers("d", in: "o", range: 0...9), [2, 3])
    XCTAssertEqual(try object.object("o", in: "o"), ["k": .null])
    XCTAssertNil(try object.optionalString("-", in: "o"))
    XCTAssertNil(try object.optionalInteger("-", in: "o", range: 0...1))
    XCTAssertNil(try object.optionalNumber("-", in: "o"))
    XCTAssertNil(try object.optionalBool("-", in: "o"))
    XCTAssertNil(try object.optionalArray("-", in: "o"))
    XCTAssertNil(try object.optionalObject("-", in: "o"))
  }

  func testAccessorsNameKeyExpectedAndFound() {
    assertMessage("node 3: key \"-\" is missing", try object.string("-", in: "node 3"))
    assertMessage("node 3: \"i\" is an integer, expected a string", try object.string("i", in: "node 3"))
    assertMessage("node 3: \"null\" is null, expected a string", try object.optionalString("null", in: "node 3"))
    assertMessage("node 3: \"n\" is a number, expected an integer", try object.integer("n", in: "node 3", range: 0...9))
    assertMessage("node 3: \"i\" is 7, expected 8 to 9", try object.integer("i", in: "node 3", range: 8...9))
    assertMessage("node 3: \"i\" is 7, expected 8 or more", try object.integer("i", in: "node 3", range: 8...Int.max))
    assertMessage(
      "node 3: \"a\"[0] is a string, expected an integer", try object.integers("a", in: "node 3", range: 0...1))
    assertMessage("node 3: \"d\"[1] is 3, expected 0 to 2", try object.integers("d", in: "node 3", range: 0...2))
    assertMessage("node 3: \"d\"[0] is an integer, expected a string", try object.strings("d", in: "node 3"))
    assertMessage(
      "node 3: \"big\" is 9007199254740993, which no double-precision number equals",
      try object.number("big", in: "node 3"))
    assertMessage(
      "node 3: unknown key \"s\", expected only i, n", try object.requireNoKeys(except: ["i", "n"], in: "node 3"))
  }

  func testSettingAMemberReplacesAppendsAndRemoves() {
    var object: JSONObject = ["a": .integer(1), "b": .integer(2)]
    object["a"] = .null
    object["c"] = .bool(false)
    object["b"] = nil
    object["-"] = nil
    XCTAssertEqual(object, ["a": .null, "c": .bool(false)])
  }

  // MARK: - Quoting

  func testQuotedNamesAreShortAndHarmless() {
    XCTAssertEqual(quoted("weight_ih_l0"), "\"weight_ih_l0\"")
    XCTAssertEqual(quoted("é𝄞"), "\"é𝄞\"")
    XCTAssertEqual(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"")
    XCTAssertEqual(quoted("\u{1b}[2J\n\0\u{7f}\u{9b}"), "\"\\u{1b}[2J\\u{a}\\u{0}\\u{7f}\\u{9b}\"")
    XCTAssertEqual(quoted("\u{202e}\u{200b}\u{2028}\u{feff}"), "\"\\u{202e}\\u{200b}\\u{2028}\\u{feff}\"")
    XCTAssertEqual(quoted(String(repeating: "a", count: 100)), "\"" + String(repeating: "a", count: 64) + "…\"")
    // One character of a million scalars.
    XCTAssertLessThan(quoted("e" + String(repeating: "\u{301}", count: 1_000_000)).utf8.count, 200)
  }
}
