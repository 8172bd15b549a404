/// The element types of the safetensors format, by the names it gives them.
enum SafetensorsType: String, CaseIterable, Sendable {
  case bool = "BOOL"
  case uint8 = "U8"
  case int8 = "I8"
  case float8E5M2 = "F8_E5M2"
  case float8E4M3 = "F8_E4M3"
  case float8E8M0 = "F8_E8M0"
  case int16 = "I16"
  case uint16 = "U16"
  case float16 = "F16"
  case bfloat16 = "BF16"
  case int32 = "I32"
  case uint32 = "U32"
  case float32 = "F32"
  case complex64 = "C64"
  case float64 = "F64"
  case int64 = "I64"
  case uint64 = "U64"

  /// Bytes of one element.
  var size: Int {
    switch self {
    case .bool, .uint8, .int8, .float8E5M2, .float8E4M3, .float8E8M0: 1
    case .int16, .uint16, .float16, .bfloat16: 2
    case .int32, .uint32, .float32: 4
    case .complex64, .float64, .int64, .uint64: 8
    }
  }

  /// Official types whose elements are not whole bytes. A file that has one is sound; we cannot count its bytes.
  static let packedNames: Set<String> = ["F4", "F6_E2M3", "F6_E3M2"]
}

/// What both directions hold to. The reader refuses what is beyond, so the writer does too.
enum SafetensorsLimits {
  /// Bytes of JSON header; the limit of the format's own reference implementation.
  static let headerLength = 100_000_000
  static let tensorCount = 100_000
  /// Dimensions of one tensor; NumPy's limit.
  static let rank = 64
  /// Bytes before the header: its length.
  static let prefixLength = 8
  static let metadataKey = "__metadata__"
}

/// One tensor of a file: its description and where its bytes lie.
struct TensorEntry: Equatable, Sendable {
  let name: String
  let type: SafetensorsType
  /// Row-major; empty for a scalar. The product, times the size of the type, is `byteRange.count`. A dimension may be
  /// 0.
  let shape: [Int]
  /// Positions in the whole file. Nothing says that they are aligned for the type: copy the bytes, do not bind them.
  let byteRange: Range<Int>

  /// The product of `shape`; checked when the file was read, so it does not overflow.
  var elementCount: Int { byteRange.count / type.size }
}

/// The table of contents of a safetensors file.
///
///     8 bytes   N, unsigned, little-endian
///     N bytes   JSON: {"__metadata__": {key: string, …},
///                      name: {"dtype": …, "shape": […], "data_offsets": [begin, end]}, …}, padded with spaces
///     the rest  the tensors' bytes, row-major, little-endian; offsets count from here
///
/// Each statement of the header is checked before it is believed, and each kind of lie has a message of its own. After
/// ``init(_:)`` every `byteRange` lies within the buffer and fits its shape, no two overlap, and together they cover
/// the data: a file can hide nothing.
///
/// - SeeAlso: https://huggingface.co/docs/safetensors, "Format".
struct SafetensorsFile: Sendable {
  /// In the order of the header; no key twice.
  let metadata: [(key: String, value: String)]
  /// In the order of the header; no name twice, at most ``SafetensorsLimits/tensorCount``.
  let tensors: [TensorEntry]
  private let indices: [String: Int]

  /// The tensor of that name.
  func tensor(named name: String) -> TensorEntry? { indices[name].map { tensors[$0] } }

  /// The metadata value of that key.
  func metadataValue(_ key: String) -> String? { metadata.first { $0.key == key }?.value }

  /// Reads the header of a file.
  ///
  /// - Parameter file: The whole file. Not kept.
  /// - Throws: `.format` for anything that is not as above; `.unsupported` for an official type whose elements are not
  ///   whole bytes.
  init(_ file: UnsafeRawBufferPointer) throws(RNNError) {
    let headerLength = try Self.headerLength(of: file)
    let dataStart = SafetensorsLimits.prefixLength + headerLength
    let header = UnsafeRawBufferPointer(rebasing: file[SafetensorsLimits.prefixLength..<dataStart])
    guard header.first == UInt8(ascii: "{") else {
      throw RNNError(.format, "safetensors: the header at byte 8 does not begin with '{'; is this a safetensors file?")
    }
    let json = try JSONValue.parse(
      header, named: "safetensors header", baseOffset: SafetensorsLimits.prefixLength)
    guard case .object(let object) = json else {
      throw RNNError(.format, "safetensors: the header is \(json.kind), expected an object")
    }

    var metadata: [(key: String, value: String)] = []
    var tensors: [TensorEntry] = []
    for member in object.members {
      if member.key == SafetensorsLimits.metadataKey {
        metadata = try Self.metadata(member.value)
        continue
      }
      guard tensors.count < SafetensorsLimits.tensorCount else {
        throw RNNError(.format, "safetensors: more than \(SafetensorsLimits.tensorCount) tensors")
      }
      tensors.append(try Self.entry(member, dataStart: dataStart, dataCount: file.count - dataStart))
    }
    try Self.checkCoverage(tensors, dataStart: dataStart, fileCount: file.count)

    self.metadata = metadata
    self.tensors = tensors
    // The reader of objects refuses a key a second time, by the same comparison, so no name occurs twice here.
    indices = Dictionary(tensors.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
  }

  private static func headerLength(of file: UnsafeRawBufferPointer) throws(RNNError) -> Int {
    let prefixLength = SafetensorsLimits.prefixLength
    guard file.count >= prefixLength else {
      throw RNNError(
        .format, "safetensors: the file has \(file.count) bytes, expected at least \(prefixLength)")
    }
    var length: UInt64 = 0
    for index in (0..<prefixLength).reversed() { length = length << 8 | UInt64(file[index]) }
    guard length <= SafetensorsLimits.headerLength else {
      throw RNNError(
        .format,
        "safetensors: header of \(length) bytes announced, expected at most \(SafetensorsLimits.headerLength);"
          + " is this a safetensors file?")
    }
    guard length <= file.count - prefixLength else {
      throw RNNError(
        .format,
        "safetensors: header of \(length) bytes announced, but only \(file.count - prefixLength) bytes follow;"
          + " the file is cut short")
    }
    return Int(length)
  }

  private static func metadata(_ value: JSONValue) throws(RNNError) -> [(key: String, value: String)] {
    guard case .object(let object) = value else {
      throw RNNError(.format, "safetensors: \"__metadata__\" is \(value.kind), expected an object")
    }
    var metadata: [(key: String, value: String)] = []
    for member in object.members {
      guard case .string(let string) = member.value else {
        throw RNNError(
          .format, "safetensors: metadata \(quoted(member.key)) is \(member.value.kind), expected a string")
      }
      try refuseNUL(in: member.key, "metadata key")
      metadata.append((member.key, string))
    }
    return metadata
  }

  private static func refuseNUL(in name: String, _ what: String) throws(RNNError) {
    guard !name.utf8.contains(0) else {
      throw RNNError(.format, "safetensors: \(what) \(quoted(name)) holds a zero byte, where C would see its end")
    }
  }

  private static func entry(
    _ member: JSONObject.Member, dataStart: Int, dataCount: Int
  ) throws(RNNError) -> TensorEntry {
    let name = member.key
    try refuseNUL(in: name, "tensor name")
    let context = "safetensors: tensor \(quoted(name))"
    guard case .object(let object) = member.value else {
      throw RNNError(.format, "\(context) is \(member.value.kind), expected an object")
    }
    try object.requireNoKeys(except: ["dtype", "shape", "data_offsets"], in: context)

    let typeName = try object.string("dtype", in: context)
    guard let type = SafetensorsType(rawValue: typeName) else {
      guard !SafetensorsType.packedNames.contains(typeName) else {
        throw RNNError(.unsupported, "\(context): elements of dtype \(typeName) are not whole bytes")
      }
      throw RNNError(.format, "\(context): unknown dtype \(quoted(typeName, limit: 16))")
    }

    let shape = try object.integers("shape", in: context, range: 0...Int.max)
    guard shape.count <= SafetensorsLimits.rank else {
      throw RNNError(
        .format, "\(context): \(shape.count) dimensions, expected at most \(SafetensorsLimits.rank)")
    }
    let offsets = try object.integers("data_offsets", in: context, range: 0...Int.max)
    guard offsets.count == 2 else {
      throw RNNError(.format, "\(context): \"data_offsets\" has \(offsets.count) elements, expected 2")
    }
    let (begin, end) = (offsets[0], offsets[1])
    guard begin <= end else {
      throw RNNError(.format, "\(context): \"data_offsets\" [\(begin), \(end)] end before they begin")
    }
    guard end <= dataCount else {
      throw RNNError(
        .format,
        "\(context): \"data_offsets\" [\(begin), \(end)] lie beyond the data, which has \(dataCount) bytes;"
          + " is the file cut short?")
    }
    guard let byteCount = byteCount(shape: shape, type: type) else {
      throw RNNError(.format, "\(context): shape \(shape) of dtype \(type.rawValue) is larger than memory")
    }
    guard byteCount == end - begin else {
      throw RNNError(
        .format,
        "\(context): shape \(shape) of dtype \(type.rawValue) needs \(byteCount) bytes,"
          + " \"data_offsets\" [\(begin), \(end)] hold \(end - begin)")
    }
    // Within the file, so the sums do not overflow.
    return TensorEntry(name: name, type: type, shape: shape, byteRange: (dataStart + begin)..<(dataStart + end))
  }

  /// Bytes of a tensor, or `nil` if they overflow.
  ///
  /// A dimension of 0 makes the product 0 but does not excuse the others: readers multiply in any order, and one of
  /// those products would overflow.
  static func byteCount(shape: [Int], type: SafetensorsType) -> Int? {
    var count = type.size
    for dimension in shape where dimension != 0 {
      let (product, overflow) = count.multipliedReportingOverflow(by: dimension)
      guard !overflow, dimension > 0 else { return nil }
      count = product
    }
    return shape.contains(0) ? 0 : count
  }

  /// Checks that the tensors lie end to end over all of the data.
  private static func checkCoverage(_ tensors: [TensorEntry], dataStart: Int, fileCount: Int) throws(RNNError) {
    // Tensors without elements sort before the one that begins where they lie; they overlap nothing.
    let ordered = tensors.sorted {
      ($0.byteRange.lowerBound, $0.byteRange.upperBound) < ($1.byteRange.lowerBound, $1.byteRange.upperBound)
    }
    var covered = dataStart
    var previous: TensorEntry?
    for tensor in ordered {
      let begin = tensor.byteRange.lowerBound
      if begin < covered {
        throw RNNError(
          .format,
          "safetensors: tensor \(quoted(tensor.name)) overlaps tensor \(quoted(previous?.name ?? "")):"
            + " it begins at data byte \(begin - dataStart), the other ends at \(covered - dataStart)")
      }
      if begin > covered {
        throw RNNError(
          .format,
          "safetensors: data bytes \(covered - dataStart) to \(begin - dataStart) before tensor"
            + " \(quoted(tensor.name)) belong to no tensor")
      }
      covered = tensor.byteRange.upperBound
      previous = tensor
    }
    guard covered == fileCount else {
      throw RNNError(
        .format,
        "safetensors: the last \(fileCount - covered) bytes of the file, from data byte \(covered - dataStart),"
          + " belong to no tensor")
    }
  }
}

// MARK: - Writer

/// A tensor to be written.
struct TensorSource {
  var name: String
  var type: SafetensorsType
  /// Row-major; empty for a scalar.
  var shape: [Int]
  /// The elements, little-endian as in memory; must stay valid until the file is written.
  var bytes: UnsafeRawBufferPointer
}

extension SafetensorsFile {
  /// What stands before the data: the length and the JSON, padded with spaces so that the data begins at a multiple of
  /// 8.
  ///
  /// The same arguments give the same bytes: metadata is sorted by the bytes of its keys, tensors keep their order and
  /// lie end to end. The format allows no gaps, so the tensors are aligned only if those before them have round sizes.
  ///
  /// - Throws: `.invalidArgument` for what ``init(_:)`` would refuse: a name or key twice, reserved, or holding a zero
  ///   byte; bytes that do not fit the shape; a limit exceeded.
  static func header(
    metadata: [(key: String, value: String)], tensors: [TensorSource]
  ) throws(RNNError) -> [UInt8] {
    guard tensors.count <= SafetensorsLimits.tensorCount else {
      throw RNNError(
        .invalidArgument, "\(tensors.count) tensors to write, expected at most \(SafetensorsLimits.tensorCount)")
    }
    // Before any of it is copied: metadata is the caller's, and can be larger than any header.
    var textLength = 0
    for text in metadata.flatMap({ [$0.key, $0.value] }) + tensors.map(\.name) { textLength += text.utf8.count }
    try checkHeaderLength(textLength)

    var json: [UInt8] = [UInt8(ascii: "{")]
    func separate() { if json.count > 1 { json.append(UInt8(ascii: ",")) } }

    if !metadata.isEmpty {
      var keys: Set<String> = []
      JSONValue.writeString(SafetensorsLimits.metadataKey, to: &json)
      json += Array(":{".utf8)
      let sorted = metadata.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
      for (index, entry) in sorted.enumerated() {
        try checkName(entry.key, "metadata key", &keys)
        if index > 0 { json.append(UInt8(ascii: ",")) }
        JSONValue.writeString(entry.key, to: &json)
        json.append(UInt8(ascii: ":"))
        JSONValue.writeString(entry.value, to: &json)
      }
      json.append(UInt8(ascii: "}"))
    }

    var names: Set<String> = [SafetensorsLimits.metadataKey]
    var offset = 0
    for tensor in tensors {
      try checkName(tensor.name, "tensor name", &names)
      guard tensor.shape.count <= SafetensorsLimits.rank,
        let byteCount = byteCount(shape: tensor.shape, type: tensor.type), byteCount == tensor.bytes.count
      else {
        throw RNNError(
          .invalidArgument,
          "tensor \(quoted(tensor.name)): shape \(tensor.shape) of dtype \(tensor.type.rawValue) does not fit its"
            + " \(tensor.bytes.count) bytes")
      }
      let (end, overflow) = offset.addingReportingOverflow(byteCount)
      guard !overflow else { throw RNNError(.invalidArgument, "the tensors to write are larger than memory") }
      separate()
      JSONValue.writeString(tensor.name, to: &json)
      let shape = tensor.shape.map(String.init).joined(separator: ",")
      json += Array(
        ":{\"dtype\":\"\(tensor.type.rawValue)\",\"shape\":[\(shape)],\"data_offsets\":[\(offset),\(end)]}".utf8)
      offset = end
    }
    json.append(UInt8(ascii: "}"))

    // The 8 bytes of length keep the alignment, so it is enough to pad the JSON.
    while json.count % 8 != 0 { json.append(UInt8(ascii: " ")) }
    try checkHeaderLength(json.count)
    let length = UInt64(json.count)
    return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * UInt64($0))) } + json
  }

  /// Writes a whole file: all of it or, on any error, nothing.
  ///
  /// - Throws: As ``header(metadata:tensors:)`` and ``writeFileAtomically(_:chunks:synchronize:)``.
  static func write(
    to path: String, metadata: [(key: String, value: String)], tensors: [TensorSource], synchronize: Bool
  ) throws(RNNError) {
    let header = try header(metadata: metadata, tensors: tensors)
    // withUnsafeBytes rethrows untyped errors, so the result is carried out of it as a value.
    let result: Result<Void, RNNError> = header.withUnsafeBytes { headerBytes in
      Result { () throws(RNNError) in
        try writeFileAtomically(path, chunks: [headerBytes] + tensors.map(\.bytes), synchronize: synchronize)
      }
    }
    try result.get()
  }

  private static func checkHeaderLength(_ length: Int) throws(RNNError) {
    guard length <= SafetensorsLimits.headerLength else {
      throw RNNError(
        .invalidArgument,
        "names, shapes and metadata take \(length) bytes, expected at most \(SafetensorsLimits.headerLength)")
    }
  }

  private static func checkName(_ name: String, _ what: String, _ seen: inout Set<String>) throws(RNNError) {
    guard !name.utf8.contains(0) else {
      throw RNNError(.invalidArgument, "\(what) \(quoted(name)) holds a zero byte, where C would see its end")
    }
    guard seen.insert(name).inserted else {
      throw RNNError(.invalidArgument, "\(what) \(quoted(name)) is reserved or occurs a second time")
    }
  }
}
