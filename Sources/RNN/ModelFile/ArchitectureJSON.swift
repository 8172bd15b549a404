/// The architecture as JSON, in the metadata of a model file (docs/format.md). Unknown keys, operators and versions are
/// refused: a file that asks for something must not be half obeyed.
extension Architecture {
  /// The newest version of an operator that this library reads. It writes the oldest that can say what there is to say: 2 for
  /// recurrent nodes with an attribute that version 1 does not have, otherwise 1.
  private static func newestVersion(of operation: String) -> Int {
    switch operation {
    case "rnn", "gru", "lstm": 2
    default: 1
    }
  }

  var json: JSONValue {
    var object = JSONObject()
    object["dtype"] = .string(dataType.rawValue)
    object["nodes"] = .array(nodes.map { .object(json(of: $0)) })
    object["outputs"] = .array([.string(outputNode?.name ?? "")])
    return .object(object)
  }

  private func json(of node: Node) -> JSONObject {
    var object = JSONObject()
    object["name"] = .string(node.name)
    func operation(_ name: String, version: Int64 = 1) {
      object["op"] = .string(name)
      object["version"] = .integer(version)
      if !node.inputs.isEmpty { object["inputs"] = .array(node.inputs.map { .string(nodes[$0].name) }) }
    }
    switch node.operation {
    case .input(let size):
      operation("input")
      object["size"] = .integer(Int64(size))
    case .tokenInput:
      operation("token_input")
    case .embedding(let vocabularySize, let size):
      operation("embedding")
      object["vocabulary_size"] = .integer(Int64(vocabularySize))
      object["embedding_size"] = .integer(Int64(size))
    case .oneHot(let size):
      operation("one_hot")
      object["size"] = .integer(Int64(size))
    case .linear(let size, let bias):
      operation("linear")
      object["output_size"] = .integer(Int64(size))
      object["bias"] = .bool(bias)
    case .lastStep:
      operation("last_step")
    case .firstStep:
      operation("first_step")
    case .dropout(let probability):
      operation("dropout")
      object["probability"] = .number(probability)
    case .sum:
      operation("sum")
    case .activation(let activation):
      operation("activation")
      object["function"] = .string(activation.kind.name)
      if activation.kind.readsAlpha { object["alpha"] = .number(activation.alpha) }
      if activation.kind.readsBeta { object["beta"] = .number(activation.beta) }
    case .reverse:
      operation("reverse")
    case .softmax(let logarithm):
      operation("softmax")
      object["log"] = .bool(logarithm)
    case .layerNorm(let epsilon):
      operation("layer_norm")
      object["epsilon"] = .number(epsilon)
    case .scaleShift(let bias):
      operation("scale_shift")
      object["bias"] = .bool(bias)
    case .concat:
      operation("concat")
    case .product:
      operation("product")
    case .slice(let begin, let end):
      operation("slice")
      object["begin"] = .integer(Int64(begin))
      object["end"] = .integer(Int64(end))
    case .recurrent(let configuration):
      let options = configuration.jsonOptions
      let version: Int64 = options.isEmpty ? 1 : 2
      switch configuration.cell {
      case .vanilla(let nonlinearity):
        operation("rnn", version: version)
        object["nonlinearity"] = .string(nonlinearity.rawValue)
      case .gru(let variant):
        operation("gru", version: version)
        object["variant"] = .string(variant.rawValue)
      case .lstm:
        operation("lstm", version: version)
      }
      object["hidden_size"] = .integer(Int64(configuration.hiddenSize))
      object["num_layers"] = .integer(Int64(configuration.layerCount))
      object["bidirectional"] = .bool(configuration.bidirectional)
      object["bias"] = .string(configuration.bias.rawValue)
      object["dropout"] = .number(configuration.dropout)
      for (key, value) in options { object[key] = value }
    }
    return object
  }

  init(json: JSONValue) throws(RNNError) {
    guard case .object(let object) = json else {
      throw RNNError(.format, "the architecture is \(json.kind), expected an object")
    }
    let context = "architecture"
    try object.requireNoKeys(except: ["dtype", "nodes", "outputs"], in: context)
    let dtype = try object.string("dtype", in: context)
    guard let dataType = DataType(rawValue: dtype) else {
      throw RNNError(.unsupported, "architecture: dtype \(quoted(dtype)), expected float32 or float64")
    }
    self.init(dataType: dataType)
    for (index, value) in try object.array("nodes", in: context).enumerated() {
      guard case .object(let node) = value else {
        throw RNNError(.format, "architecture: node \(index) is \(value.kind), expected an object")
      }
      try addNode(node, context: "node \(index)")
    }
    let outputs = try object.strings("outputs", in: context)
    guard outputs.count == 1 else {
      throw RNNError(.unsupported, "architecture: \(outputs.count) outputs, and this version of librnn computes one")
    }
    guard let last = outputNode, outputs[0] == last.name else {
      throw RNNError(
        .format, "architecture: the output is \(quoted(outputs[0])), expected the last node, '\(outputNode?.name ?? "")'")
    }
    try asFormatError { () throws(RNNError) in try checkComplete() }
  }

  private mutating func addNode(_ node: JSONObject, context: String) throws(RNNError) {
    let name = try node.string("name", in: context)
    let context = "\(context) \(quoted(name))"
    let op = try node.string("op", in: context)
    // First of all: a newer operator may well have keys that are unknown here.
    let version = try node.integer("version", in: context, range: 1...Int(Int32.max))
    let newest = Self.newestVersion(of: op)
    guard version <= newest else {
      throw RNNError(
        .unsupported, "\(context): version \(version) of operator \(quoted(op)), and this library knows up to \(newest)")
    }
    let common = ["name", "op", "version", "inputs"]
    func only(_ keys: String...) throws(RNNError) { try node.requireNoKeys(except: common + keys, in: context) }
    func size(_ key: String) throws(RNNError) -> Int { try node.integer(key, in: context, range: 1...largestCount) }
    let operation: Operator
    switch op {
    case "input":
      try only("size")
      operation = .input(size: try size("size"))
    case "token_input":
      try only()
      operation = .tokenInput
    case "embedding":
      try only("vocabulary_size", "embedding_size")
      operation = .embedding(vocabularySize: try size("vocabulary_size"), size: try size("embedding_size"))
    case "one_hot":
      try only("size")
      operation = .oneHot(size: try size("size"))
    case "linear":
      try only("output_size", "bias")
      operation = .linear(outputSize: try size("output_size"), bias: try node.bool("bias", in: context))
    case "last_step":
      try only()
      operation = .lastStep
    case "first_step":
      try only()
      operation = .firstStep
    case "dropout":
      try only("probability")
      operation = .dropout(probability: try node.number("probability", in: context))
    case "sum":
      try only()
      operation = .sum
    case "activation":
      let text = try node.string("function", in: context)
      guard let kind = ActivationKind(name: text) else {
        let known = ActivationKind.allCases.map(\.name).joined(separator: ", ")
        throw RNNError(.unsupported, "\(context): function \(quoted(text)), expected one of \(known)")
      }
      let numbers = (kind.readsAlpha ? ["alpha"] : []) + (kind.readsBeta ? ["beta"] : [])
      try node.requireNoKeys(except: common + ["function"] + numbers, in: context)
      let alpha = kind.readsAlpha ? try node.number("alpha", in: context) : 0
      let beta = kind.readsBeta ? try node.number("beta", in: context) : 0
      operation = .activation(try asFormatError { () throws(RNNError) in try Activation(kind, alpha: alpha, beta: beta) })
    case "reverse":
      try only()
      operation = .reverse
    case "softmax":
      try only("log")
      operation = .softmax(logarithm: try node.bool("log", in: context))
    case "layer_norm":
      try only("epsilon")
      operation = .layerNorm(epsilon: try node.number("epsilon", in: context))
    case "scale_shift":
      try only("bias")
      operation = .scaleShift(bias: try node.bool("bias", in: context))
    case "concat":
      try only()
      operation = .concat
    case "product":
      try only()
      operation = .product
    case "slice":
      try only("begin", "end")
      operation = .slice(
        begin: try node.integer("begin", in: context, range: 0...largestCount), end: try size("end"))
    case "rnn", "gru", "lstm":
      operation = .recurrent(try Self.configuration(node, op: op, version: version, common: common, context: context))
    default:
      throw RNNError(.unsupported, "\(context): operator \(quoted(op)) is not one that this version of librnn knows")
    }
    let inputs = node["inputs"] == nil ? [] : try node.strings("inputs", in: context)
    switch operation {
    case .input, .tokenInput: break
    default:
      guard !inputs.isEmpty else { throw RNNError(.format, "\(context): no inputs; expected the names of earlier nodes") }
    }
    try asFormatError { () throws(RNNError) in try add(operation, name: name, inputs: inputs) }
  }

  private static func configuration(
    _ node: JSONObject, op: String, version: Int, common: [String], context: String
  ) throws(RNNError) -> RecurrentConfiguration {
    func choice<Choice: RawRepresentable & CaseIterable>(
      _ type: Choice.Type, _ key: String
    ) throws(RNNError) -> Choice where Choice.RawValue == String {
      let text = try node.string(key, in: context)
      guard let choice = Choice(rawValue: text) else {
        let known = Choice.allCases.map { $0.rawValue }.joined(separator: ", ")
        throw RNNError(.unsupported, "\(context): \(key) \(quoted(text)), expected one of \(known)")
      }
      return choice
    }
    let cell: CellKind
    var keys = ["hidden_size", "num_layers", "bidirectional", "bias", "dropout"]
    switch op {
    case "rnn":
      cell = .vanilla(try choice(Nonlinearity.self, "nonlinearity"))
      keys.append("nonlinearity")
    case "gru":
      cell = .gru(try choice(GRUVariant.self, "variant"))
      keys.append("variant")
    default:
      cell = .lstm
    }
    if version >= 2 { keys += RecurrentConfiguration.jsonOptionKeys }
    try node.requireNoKeys(except: common + keys, in: context)
    var configuration = RecurrentConfiguration(
      cell, hiddenSize: try node.integer("hidden_size", in: context, range: 1...largestCount),
      layerCount: try node.integer("num_layers", in: context, range: 1...largestCount),
      bidirectional: try node.bool("bidirectional", in: context), bias: try choice(BiasMode.self, "bias"),
      dropout: try node.number("dropout", in: context))
    try configuration.readOptions(node, in: context)
    return configuration
  }
}

/// What is a wrong argument in a program is a wrong file here; memory and versions stay what they are.
func asFormatError<Result>(_ body: () throws(RNNError) -> Result) throws(RNNError) -> Result {
  do {
    return try body()
  } catch {
    switch error.code {
    case .outOfMemory, .unsupported: throw error
    default: throw RNNError(.format, "architecture: \(error.message)")
    }
  }
}
