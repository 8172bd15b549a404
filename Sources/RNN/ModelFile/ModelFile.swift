import RNNKernels

/// The model file: safetensors with the architecture, a format version and free metadata (docs/format.md).
enum ModelFile {
  /// The version that this library writes, and the newest that it reads.
  static let formatVersion = 1
  private static let reservedPrefix = "librnn."
  private static let versionKey = "librnn.format_version"
  private static let architectureKey = "librnn.architecture"
  private static let largestKey = 256
  private static let largestValue = 16 << 20

  static func checkMetadata(key: String, value: String?) throws(RNNError) {
    guard (1...largestKey).contains(key.utf8.count), !key.utf8.contains(0) else {
      throw RNNError(.invalidArgument, "metadata key \(quoted(key)): expected 1 to \(largestKey) bytes, none of them 0")
    }
    guard !key.hasPrefix(reservedPrefix) else {
      throw RNNError(.invalidArgument, "metadata key \(quoted(key)): keys that begin with librnn. are the library's own")
    }
    if let value, value.utf8.count > largestValue {
      throw RNNError(
        .invalidArgument, "metadata \(quoted(key)) has \(value.utf8.count) bytes, expected at most \(largestValue)")
    }
  }

  // MARK: - Reading

  /// - Parameter largestParameterCount: nil for no limit.
  static func read(_ bytes: UnsafeRawBufferPointer, largestParameterCount: Int?) throws(RNNError) -> ModelContents {
    let file = try SafetensorsFile(bytes)
    guard let versionText = file.metadataValue(versionKey), let architectureText = file.metadataValue(architectureKey) else {
      throw RNNError(
        .format,
        "no \(file.metadataValue(versionKey) == nil ? versionKey : architectureKey) in the metadata: safetensors, but not a librnn model")
    }
    guard let version = Int(versionText), version >= 1 else {
      throw RNNError(.format, "\(versionKey) is \(quoted(versionText)), expected a number of at least 1")
    }
    guard version <= formatVersion else {
      throw RNNError(
        .unsupported, "the file has format version \(version), and this library reads up to \(formatVersion)")
    }
    let architecture = try Architecture(json: try JSONValue.parse(architectureText, named: architectureKey))
    if let largestParameterCount, architecture.parameterCount > largestParameterCount {
      throw RNNError(
        .format,
        "the model has \(architecture.parameterCount) parameters, and max_parameters allows \(largestParameterCount)")
    }
    var metadata: [String: String] = [:]
    for (key, value) in file.metadata where key != versionKey && key != architectureKey {
      guard !key.hasPrefix(reservedPrefix) else {
        throw RNNError(.unsupported, "metadata key \(quoted(key)) is not one that this version of librnn knows")
      }
      try checkFileMetadata(key: key, value: value)
      metadata[key] = value
    }
    let parameters: ModelContents.Parameters =
      switch architecture.dataType {
      case .float32: .float32(try Self.parameters(architecture, file, bytes, Float.self))
      case .float64: .float64(try Self.parameters(architecture, file, bytes, Double.self))
      }
    return ModelContents(architecture: architecture, parameters: parameters, metadata: metadata)
  }

  private static func checkFileMetadata(key: String, value: String) throws(RNNError) {
    do {
      try checkMetadata(key: key, value: value)
    } catch {
      throw RNNError(.format, error.message)
    }
  }

  private static func parameters<Scalar: KernelScalar>(
    _ architecture: Architecture, _ file: SafetensorsFile, _ bytes: UnsafeRawBufferPointer, _ type: Scalar.Type
  ) throws(RNNError) -> AlignedBuffer<Scalar> {
    // Everything is checked before memory is taken: the tensors are in the file, so it is no larger than the file.
    for slot in architecture.parameters {
      guard let tensor = file.tensor(named: slot.name) else {
        throw RNNError(.format, "the architecture needs tensor \(quoted(slot.name)), and the file has none of that name")
      }
      guard tensor.type == Scalar.tensorType else {
        throw RNNError(
          .format, "tensor \(quoted(slot.name)) is \(tensor.type.rawValue), expected \(Scalar.tensorType.rawValue)")
      }
      guard tensor.shape == slot.shape else {
        throw RNNError(.format, "tensor \(quoted(slot.name)) has shape \(tensor.shape), expected \(slot.shape)")
      }
    }
    for tensor in file.tensors where architecture.parameter(named: tensor.name) == nil {
      throw RNNError(.format, "tensor \(quoted(tensor.name)) belongs to no node of the architecture")
    }
    let result = try makeBuffer(Scalar.self, count: architecture.parameterCount, for: "the parameters")
    for slot in architecture.parameters {
      guard let tensor = file.tensor(named: slot.name) else { continue }
      UnsafeMutableRawBufferPointer(
        start: result.baseAddress + slot.offset, count: slot.count * MemoryLayout<Scalar>.stride
      ).copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[tensor.byteRange]))
    }
    return result
  }

  // MARK: - Writing

  static func write(_ network: Network, to path: String, synchronize: Bool) throws(RNNError) {
    switch network.architecture.dataType {
    case .float32: try write(network, Float.self, to: path, synchronize: synchronize)
    case .float64: try write(network, Double.self, to: path, synchronize: synchronize)
    }
  }

  private static func write<Scalar: KernelScalar>(
    _ network: Network, _ type: Scalar.Type, to path: String, synchronize: Bool
  ) throws(RNNError) {
    let weights = try network.unpackedWeights(Scalar.self)
    var metadata = network.metadata.map { (key: $0.key, value: $0.value) }
    metadata.append((key: versionKey, value: String(formatVersion)))
    metadata.append((key: architectureKey, value: try network.architecture.json.serializedString()))
    let tensors = network.architecture.parameters.map { slot in
      TensorSource(
        name: slot.name, type: Scalar.tensorType, shape: slot.shape,
        bytes: UnsafeRawBufferPointer(
          start: weights.parameters.baseAddress + slot.offset, count: slot.count * MemoryLayout<Scalar>.stride))
    }
    try SafetensorsFile.write(to: path, metadata: metadata, tensors: tensors, synchronize: synchronize)
    withExtendedLifetime(weights) {}
  }
}

/// What a model file holds.
struct ModelContents {
  enum Parameters {
    case float32(AlignedBuffer<Float>)
    case float64(AlignedBuffer<Double>)
  }

  let architecture: Architecture
  let parameters: Parameters
  let metadata: [String: String]
}

extension KernelScalar {
  fileprivate static var tensorType: SafetensorsType { Self.self == Float.self ? .float32 : .float64 }
}

extension Network {
  /// The architecture as the JSON text of the model file.
  public func architectureText() throws(RNNError) -> String { try architecture.json.serializedString() }

  /// Loads a model file.
  ///
  /// The file is mapped, checked and copied. It may be replaced while the network lives, but not be cut short in place during
  /// the call.
  ///
  /// - Parameter largestParameterCount: Refuse larger models before memory is taken; nil for no limit.
  public convenience init(contentsOf path: String, largestParameterCount: Int? = nil) throws(RNNError) {
    try self.init(
      try withMappedFile(path) { bytes throws(RNNError) in
        try ModelFile.read(bytes, largestParameterCount: largestParameterCount)
      })
  }

  /// Loads a model file that is in memory already; the memory may be freed afterwards.
  public convenience init(_ file: UnsafeRawBufferPointer, largestParameterCount: Int? = nil) throws(RNNError) {
    try self.init(try ModelFile.read(file, largestParameterCount: largestParameterCount))
  }

  private convenience init(_ contents: ModelContents) throws(RNNError) {
    // Packing sums biases: in librnn's floating-point mode, like everything that computes.
    let saved = enterNumericMode()
    defer { leaveNumericMode(saved) }
    switch contents.parameters {
    case .float32(let values):
      try self.init(contents.architecture, parameters: values, metadata: contents.metadata)
    case .float64(let values):
      try self.init(contents.architecture, parameters: values, metadata: contents.metadata)
    }
  }

  /// Writes the network as a model file, atomically.
  ///
  /// - Parameter synchronize: Wait until the file is on the disk.
  public func save(to path: String, synchronize: Bool = true) throws(RNNError) {
    try ModelFile.write(self, to: path, synchronize: synchronize)
  }
}
