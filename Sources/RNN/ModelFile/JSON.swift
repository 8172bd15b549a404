/// A JSON value (RFC 8259), as strict as the RFC allows.
///
/// Integers are kept apart from other numbers: what was written without `.`, `e` or `E` is an ``integer(_:)``, exact to
/// 64 bits. Two values are equal if they were written alike; `1` and `1.0` are not, nor are objects in another order.
enum JSONValue: Equatable, Sendable {
  case null
  case bool(Bool)
  case integer(Int64)
  /// A finite number written with a fraction or an exponent.
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object(JSONObject)

  /// What the value is, for messages.
  var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a boolean"
    case .integer: "an integer"
    case .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}

/// The members of a JSON object, in the order of the text, no key twice.
///
/// Keys are compared as Swift strings are, by canonical equivalence: a decomposed and a precomposed "é" are one key.
/// That is stricter than bytes, and makes it safe to put keys of a file into a `Dictionary`.
struct JSONObject: Equatable, Sendable {
  struct Member: Equatable, Sendable {
    var key: String
    var value: JSONValue
  }

  private(set) var members: [Member]

  init() { members = [] }

  /// - Precondition: No key occurs twice; ``JSONReader`` has checked it.
  fileprivate init(uncheckedMembers: [Member]) { members = uncheckedMembers }

  var keys: [String] { members.map(\.key) }

  /// The value of a key. Setting an absent key appends it; setting `nil` removes it.
  ///
  /// - Complexity: O(number of members). Objects that are looked into have few; long ones are iterated.
  subscript(key: String) -> JSONValue? {
    get { members.first { $0.key == key }?.value }
    set {
      let index = members.firstIndex { $0.key == key }
      switch (index, newValue) {
      case (let index?, let value?): members[index].value = value
      case (let index?, nil): members.remove(at: index)
      case (nil, let value?): members.append(Member(key: key, value: value))
      case (nil, nil): break
      }
    }
  }
}

// MARK: - Reading members

/// Accessors for readers of a format. `context` names the object in messages, such as `node 3`.
///
/// Each has an `optional…` twin for a key that may be absent. An explicit `null` is not absence: it is a wrong type,
/// since no part of our format writes it.
extension JSONObject {
  /// Refuses members that the reader does not know: a file that asks for something must not be half obeyed.
  func requireNoKeys(except known: [String], in context: String) throws(RNNError) {
    for member in members where !known.contains(member.key) {
      throw RNNError(
        .format, "\(context): unknown key \(quoted(member.key)), expected only \(known.joined(separator: ", "))")
    }
  }

  func string(_ key: String, in context: String) throws(RNNError) -> String {
    try required(optionalString(key, in: context), key, in: context)
  }

  func optionalString(_ key: String, in context: String) throws(RNNError) -> String? {
    guard let value = self[key] else { return nil }
    guard case .string(let string) = value else { throw wrongKind(value, key, "a string", in: context) }
    return string
  }

  func bool(_ key: String, in context: String) throws(RNNError) -> Bool {
    try required(optionalBool(key, in: context), key, in: context)
  }

  func optionalBool(_ key: String, in context: String) throws(RNNError) -> Bool? {
    guard let value = self[key] else { return nil }
    guard case .bool(let bool) = value else { throw wrongKind(value, key, "a boolean", in: context) }
    return bool
  }

  func integer(_ key: String, in context: String, range: ClosedRange<Int>) throws(RNNError) -> Int {
    try required(optionalInteger(key, in: context, range: range), key, in: context)
  }

  func optionalInteger(_ key: String, in context: String, range: ClosedRange<Int>) throws(RNNError) -> Int? {
    guard let value = self[key] else { return nil }
    return try Self.integer(value, key, in: context, range: range)
  }

  /// A finite number, written as an integer or not. An integer that no double equals is refused, not rounded.
  func number(_ key: String, in context: String) throws(RNNError) -> Double {
    try required(optionalNumber(key, in: context), key, in: context)
  }

  func optionalNumber(_ key: String, in context: String) throws(RNNError) -> Double? {
    guard let value = self[key] else { return nil }
    switch value {
    case .number(let number): return number
    case .integer(let integer):
      guard let number = Double(exactly: integer) else {
        throw RNNError(.format, "\(context): \(quoted(key)) is \(integer), which no double-precision number equals")
      }
      return number
    default: throw wrongKind(value, key, "a number", in: context)
    }
  }

  func array(_ key: String, in context: String) throws(RNNError) -> [JSONValue] {
    try required(optionalArray(key, in: context), key, in: context)
  }

  func optionalArray(_ key: String, in context: String) throws(RNNError) -> [JSONValue]? {
    guard let value = self[key] else { return nil }
    guard case .array(let array) = value else { throw wrongKind(value, key, "an array", in: context) }
    return array
  }

  func object(_ key: String, in context: String) throws(RNNError) -> JSONObject {
    try required(optionalObject(key, in: context), key, in: context)
  }

  func optionalObject(_ key: String, in context: String) throws(RNNError) -> JSONObject? {
    guard let value = self[key] else { return nil }
    guard case .object(let object) = value else { throw wrongKind(value, key, "an object", in: context) }
    return object
  }

  /// An array of nothing but strings.
  func strings(_ key: String, in context: String) throws(RNNError) -> [String] {
    var strings: [String] = []
    for (index, value) in try array(key, in: context).enumerated() {
      guard case .string(let string) = value else {
        throw RNNError(.format, "\(context): \(quoted(key))[\(index)] is \(value.kind), expected a string")
      }
      strings.append(string)
    }
    return strings
  }

  /// An array of nothing but integers in `range`.
  func integers(_ key: String, in context: String, range: ClosedRange<Int>) throws(RNNError) -> [Int] {
    var integers: [Int] = []
    for value in try array(key, in: context) {
      integers.append(try Self.integer(value, key, at: integers.count, in: context, range: range))
    }
    return integers
  }

  private static func integer(
    _ value: JSONValue, _ key: String, at index: Int? = nil, in context: String, range: ClosedRange<Int>
  ) throws(RNNError) -> Int {
    // Built only on failure: arrays of shapes come through here by the hundred thousand.
    func place() -> String { quoted(key) + (index.map { "[\($0)]" } ?? "") }
    guard case .integer(let wide) = value else {
      throw RNNError(.format, "\(context): \(place()) is \(value.kind), expected an integer")
    }
    guard let integer = Int(exactly: wide), range.contains(integer) else {
      let expected = "\(range.lowerBound) " + (range.upperBound == .max ? "or more" : "to \(range.upperBound)")
      throw RNNError(.format, "\(context): \(place()) is \(wide), expected \(expected)")
    }
    return integer
  }

  private func required<Value>(_ value: Value?, _ key: String, in context: String) throws(RNNError) -> Value {
    guard let value else { throw RNNError(.format, "\(context): key \(quoted(key)) is missing") }
    return value
  }

  private func wrongKind(_ value: JSONValue, _ key: String, _ expected: String, in context: String) -> RNNError {
    RNNError(.format, "\(context): \(quoted(key)) is \(value.kind), expected \(expected)")
  }
}

// MARK: - Reader

extension JSONValue {
  /// Arrays and objects may be nested this deep. Bounds the recursion of reader, writer and release.
  static let depthLimit = 32
  /// Values in one text. Bounds memory: the shortest value takes two bytes of text and some 32 of memory. A model of
  /// 100,000 tensors, the most that ``SafetensorsFile`` takes, has about 1.2 million.
  static let nodeLimit = 2_000_000

  /// Reads one JSON text; white space may stand around it, nothing else.
  ///
  /// - Parameters:
  ///   - bytes: UTF-8, from a file: nothing about it is trusted.
  ///   - what: Names the text in messages, such as `model header`.
  ///   - baseOffset: Position of `bytes` in the file, so that the offsets in messages are those of the file.
  /// - Throws: `.format` with the byte offset: not JSON, not UTF-8, a lone surrogate, a key twice, a number that does
  ///   not fit in 64 bits, text after the value, or a limit above exceeded.
  static func parse(
    _ bytes: UnsafeRawBufferPointer, named what: String, baseOffset: Int = 0
  ) throws(RNNError) -> JSONValue {
    var reader = JSONReader(bytes: bytes, what: what, baseOffset: baseOffset)
    return try reader.text()
  }

  /// The same for a text that is itself a string, such as a metadata value. Offsets count its UTF-8 bytes.
  static func parse(_ text: String, named what: String) throws(RNNError) -> JSONValue {
    var text = text
    // withUTF8 rethrows untyped errors, so the result is carried out of it as a value.
    let result: Result<JSONValue, RNNError> = text.withUTF8 { utf8 in
      Result { () throws(RNNError) in try parse(UnsafeRawBufferPointer(utf8), named: what) }
    }
    return try result.get()
  }
}

/// A recursive-descent reader over raw bytes. `position` never passes `bytes.count`.
private struct JSONReader {
  let bytes: UnsafeRawBufferPointer
  let what: String
  let baseOffset: Int
  private var position = 0
  private var nodeCount = 0
  private var depth = 0

  /// Longer number tokens are refused: the longest decimal expansion that names one double exactly has 1077 characters.
  private static let numberLengthLimit = 1200

  init(bytes: UnsafeRawBufferPointer, what: String, baseOffset: Int) {
    self.bytes = bytes
    self.what = what
    self.baseOffset = baseOffset
  }

  mutating func text() throws(RNNError) -> JSONValue {
    let value = try value()
    skipWhiteSpace()
    guard position == bytes.count else { throw failure("text after the end of the JSON value") }
    return value
  }

  private func failure(_ problem: String, at offset: Int? = nil) -> RNNError {
    RNNError(.format, "\(what): \(problem) at byte \(baseOffset &+ (offset ?? position))")
  }

  /// The byte at `position`, or `nil` at the end.
  private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func skipWhiteSpace() {
    while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
  }

  private mutating func skip(_ byte: UInt8) -> Bool {
    guard next == byte else { return false }
    position += 1
    return true
  }

  private mutating func value() throws(RNNError) -> JSONValue {
    skipWhiteSpace()
    nodeCount += 1
    guard nodeCount <= JSONValue.nodeLimit else { throw failure("more than \(JSONValue.nodeLimit) JSON values") }
    switch next {
    case nil: throw failure("the JSON text ends where a value is expected")
    case UInt8(ascii: "{"): return .object(try object())
    case UInt8(ascii: "["): return .array(try array())
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case let byte? where byte == UInt8(ascii: "-") || isDigit(byte): return try number()
    default: throw failure("expected a JSON value")
    }
  }

  private mutating func literal(_ word: StaticString, _ value: JSONValue) throws(RNNError) -> JSONValue {
    let start = position
    for index in 0..<word.utf8CodeUnitCount {
      guard skip(word.utf8Start[index]) else { throw failure("expected \(word)", at: start) }
    }
    return value
  }

  private mutating func enter() throws(RNNError) {
    depth += 1
    guard depth <= JSONValue.depthLimit else {
      throw failure("arrays and objects nested more than \(JSONValue.depthLimit) deep")
    }
    position += 1
  }

  private mutating func array() throws(RNNError) -> [JSONValue] {
    try enter()
    defer { depth -= 1 }
    var elements: [JSONValue] = []
    skipWhiteSpace()
    if skip(UInt8(ascii: "]")) { return elements }
    while true {
      elements.append(try value())
      skipWhiteSpace()
      if skip(UInt8(ascii: "]")) { return elements }
      guard skip(UInt8(ascii: ",")) else { throw failure("expected ',' or ']' in an array") }
    }
  }

  private mutating func object() throws(RNNError) -> JSONObject {
    try enter()
    defer { depth -= 1 }
    var members: [JSONObject.Member] = []
    // Filled only once the object is long enough for the set to be quicker than looking through the members.
    var seen: Set<String> = []
    skipWhiteSpace()
    if skip(UInt8(ascii: "}")) { return JSONObject() }
    while true {
      skipWhiteSpace()
      let start = position
      guard next == UInt8(ascii: "\"") else { throw failure("expected a key in double quotes") }
      let key = try string()
      let isNew: Bool
      if members.count < 8 {
        isNew = !members.contains { $0.key == key }
      } else {
        if seen.isEmpty { seen = Set(members.map(\.key)) }
        isNew = seen.insert(key).inserted
      }
      guard isNew else { throw failure("key \(quoted(key)) a second time", at: start) }
      skipWhiteSpace()
      guard skip(UInt8(ascii: ":")) else { throw failure("expected ':' after the key \(quoted(key))") }
      members.append(JSONObject.Member(key: key, value: try value()))
      skipWhiteSpace()
      if skip(UInt8(ascii: "}")) { return JSONObject(uncheckedMembers: members) }
      guard skip(UInt8(ascii: ",")) else { throw failure("expected ',' or '}' in an object") }
    }
  }

  // MARK: Numbers

  /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
  private mutating func number() throws(RNNError) -> JSONValue {
    let start = position
    var isInteger = true
    _ = skip(UInt8(ascii: "-"))
    if skip(UInt8(ascii: "0")) {
      if let byte = next, isDigit(byte) { throw failure("a number with a leading zero", at: start) }
    } else {
      try digits()
    }
    if skip(UInt8(ascii: ".")) {
      isInteger = false
      try digits()
    }
    if skip(UInt8(ascii: "e")) || skip(UInt8(ascii: "E")) {
      isInteger = false
      if !skip(UInt8(ascii: "-")) { _ = skip(UInt8(ascii: "+")) }
      try digits()
    }
    guard position - start <= Self.numberLengthLimit else {
      throw failure("a number of more than \(Self.numberLengthLimit) characters", at: start)
    }
    // Grammar first, then the standard library: its own parser also takes "inf", "nan" and "0x1p3".
    let token = String(decoding: bytes[start..<position], as: UTF8.self)
    if isInteger {
      guard let integer = Int64(token) else {
        throw failure("the integer \(quoted(token, limit: 32)) does not fit in 64 bits", at: start)
      }
      return .integer(integer)
    }
    guard let number = Double(token), number.isFinite else {
      throw failure("the number \(quoted(token, limit: 32)) is too large for double precision", at: start)
    }
    return .number(number)
  }

  private func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

  private mutating func digits() throws(RNNError) {
    guard let first = next, isDigit(first) else { throw failure("expected a digit") }
    while let byte = next, isDigit(byte) { position += 1 }
  }

  // MARK: Strings

  private mutating func string() throws(RNNError) -> String {
    let start = position
    position += 1
    // Nearly every string has no escape: it is then decoded from the file at once.
    let plain = position
    try skipPlain(openedAt: start)
    if next == UInt8(ascii: "\"") {
      defer { position += 1 }
      return String(decoding: bytes[plain..<position], as: UTF8.self)
    }
    var utf8 = Array(bytes[plain..<position])
    while true {
      // skipPlain stops at a quote or a backslash only.
      if skip(UInt8(ascii: "\"")) { return String(decoding: utf8, as: UTF8.self) }
      try escape(into: &utf8)
      let run = position
      try skipPlain(openedAt: start)
      utf8.append(contentsOf: bytes[run..<position])
    }
  }

  /// Moves to the next quote or backslash, checking that what lies before it is UTF-8 without control characters.
  private mutating func skipPlain(openedAt start: Int) throws(RNNError) {
    while true {
      guard let byte = next else { throw failure("a string without an end", at: start) }
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { return }
      guard byte >= 0x20 else { throw failure("a control character in a string") }
      guard byte >= 0x80 else {
        position += 1
        continue
      }
      guard let length = validSequenceLength(at: position) else { throw failure("invalid UTF-8") }
      position += length
    }
  }

  /// The length of the UTF-8 sequence of two to four bytes at `offset`, or `nil` if it is not one: cut short, overlong,
  /// a surrogate, or above U+10FFFF (Unicode 15, table 3-7).
  private func validSequenceLength(at offset: Int) -> Int? {
    let lead = bytes[offset]
    let length: Int
    var second: ClosedRange<UInt8> = 0x80...0xBF
    switch lead {
    case 0xC2...0xDF: length = 2
    case 0xE0...0xEF:
      length = 3
      if lead == 0xE0 { second = 0xA0...0xBF }
      if lead == 0xED { second = 0x80...0x9F }
    case 0xF0...0xF4:
      length = 4
      if lead == 0xF0 { second = 0x90...0xBF }
      if lead == 0xF4 { second = 0x80...0x8F }
    default: return nil
    }
    guard bytes.count - offset >= length, second.contains(bytes[offset + 1]) else { return nil }
    for index in 2..<max(length, 2) where bytes[offset + index] & 0xC0 != 0x80 { return nil }
    return length
  }

  private mutating func escape(into utf8: inout [UInt8]) throws(RNNError) {
    let start = position
    position += 1
    guard let byte = next else { throw failure("a string that ends in an escape", at: start) }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): utf8.append(byte)
    case UInt8(ascii: "b"): utf8.append(0x08)
    case UInt8(ascii: "f"): utf8.append(0x0C)
    case UInt8(ascii: "n"): utf8.append(0x0A)
    case UInt8(ascii: "r"): utf8.append(0x0D)
    case UInt8(ascii: "t"): utf8.append(0x09)
    case UInt8(ascii: "u"):
      let scalar = try escapedScalar(from: start)
      utf8.append(contentsOf: UTF8.encode(scalar).map(Array.init) ?? [])
    default: throw failure("an unknown escape in a string", at: start)
    }
  }

  /// The scalar of `\uXXXX`, or of two of them that are a surrogate pair.
  private mutating func escapedScalar(from start: Int) throws(RNNError) -> Unicode.Scalar {
    let first = try hexadecimalUnit(from: start)
    if let scalar = Unicode.Scalar(first) { return scalar }
    guard first < 0xDC00, skip(UInt8(ascii: "\\")), skip(UInt8(ascii: "u")) else {
      throw failure("a lone surrogate in a string", at: start)
    }
    let second = try hexadecimalUnit(from: start)
    guard second >= 0xDC00, second <= 0xDFFF,
      let scalar = Unicode.Scalar(0x10000 + (UInt32(first) - 0xD800) << 10 + (UInt32(second) - 0xDC00))
    else { throw failure("a lone surrogate in a string", at: start) }
    return scalar
  }

  private mutating func hexadecimalUnit(from start: Int) throws(RNNError) -> UInt16 {
    var unit: UInt16 = 0
    for _ in 0..<4 {
      let digit: UInt8
      switch next {
      case let byte? where isDigit(byte): digit = byte - UInt8(ascii: "0")
      case let byte? where byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
      case let byte? where byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
      default: throw failure("expected four hexadecimal digits after \\u", at: start)
      }
      unit = unit << 4 | UInt16(digit)
      position += 1
    }
    return unit
  }
}

// MARK: - Writer

extension JSONValue {
  /// The value as JSON without white space, in UTF-8. Equal values give equal bytes, and reading them gives the value.
  ///
  /// Numbers are written in the fewest digits that read back to the same bits. Control characters are escaped, all
  /// other scalars are written as they are.
  ///
  /// - Throws: `.invalidArgument` for a number that is not finite, which JSON cannot say, and for nesting that
  ///   ``parse(_:named:baseOffset:)`` would refuse.
  func serialized() throws(RNNError) -> [UInt8] {
    var output: [UInt8] = []
    try write(to: &output, depth: 0)
    return output
  }

  /// ``serialized()`` as a string, for JSON within a metadata value.
  func serializedString() throws(RNNError) -> String {
    String(decoding: try serialized(), as: UTF8.self)
  }

  /// Appends `string` in quotes.
  static func writeString(_ string: String, to output: inout [UInt8]) {
    output.append(UInt8(ascii: "\""))
    for byte in string.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): output += [UInt8(ascii: "\\"), byte]
      case 0x0A: output += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
      case 0x0D: output += [UInt8(ascii: "\\"), UInt8(ascii: "r")]
      case 0x09: output += [UInt8(ascii: "\\"), UInt8(ascii: "t")]
      case 0..<0x20, 0x7F:
        output += Array("\\u00".utf8) + [hexadecimalDigit(byte >> 4), hexadecimalDigit(byte & 0xF)]
      default: output.append(byte)
      }
    }
    output.append(UInt8(ascii: "\""))
  }

  private static func hexadecimalDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
  }

  private func write(to output: inout [UInt8], depth: Int) throws(RNNError) {
    switch self {
    case .null: output += Array("null".utf8)
    case .bool(let bool): output += Array((bool ? "true" : "false").utf8)
    case .integer(let integer): output += Array(String(integer).utf8)
    case .number(let number):
      guard number.isFinite else {
        throw RNNError(.invalidArgument, "JSON has no way to write \(number): a number must be finite")
      }
      // Swift's description is the shortest that reads back, and always has a "." or an "e".
      output += Array(number.description.utf8)
    case .string(let string): Self.writeString(string, to: &output)
    case .array(let elements):
      try checkDepth(depth)
      output.append(UInt8(ascii: "["))
      for (index, element) in elements.enumerated() {
        if index > 0 { output.append(UInt8(ascii: ",")) }
        try element.write(to: &output, depth: depth + 1)
      }
      output.append(UInt8(ascii: "]"))
    case .object(let object):
      try checkDepth(depth)
      output.append(UInt8(ascii: "{"))
      for (index, member) in object.members.enumerated() {
        if index > 0 { output.append(UInt8(ascii: ",")) }
        Self.writeString(member.key, to: &output)
        output.append(UInt8(ascii: ":"))
        try member.value.write(to: &output, depth: depth + 1)
      }
      output.append(UInt8(ascii: "}"))
    }
  }

  private func checkDepth(_ depth: Int) throws(RNNError) {
    guard depth < Self.depthLimit else {
      throw RNNError(.invalidArgument, "JSON nested more than \(Self.depthLimit) deep could not be read back")
    }
  }
}

extension JSONObject: ExpressibleByDictionaryLiteral {
  /// For writers: keys are literals there. A key written twice keeps the later value.
  init(dictionaryLiteral elements: (String, JSONValue)...) {
    self.init()
    for (key, value) in elements { self[key] = value }
  }
}
