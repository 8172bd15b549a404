import RNNKernels

/// The attributes that version 2 of the recurrent operators added. Each may be absent, which is the default; the writer leaves
/// defaults out, so that a network without options is written as version 1.
extension RecurrentConfiguration {
  static let jsonOptionKeys = [
    "direction", "merge", "hidden_size_reverse", "proj_size", "residual", "learned_initial_state", "peepholes", "coupled_gates",
    "cell_clip", "gate_clip", "gate_clip_output", "forget_bias", "recurrent_dropout", "activations",
  ]

  var jsonOptions: [(key: String, value: JSONValue)] {
    var options: [(key: String, value: JSONValue)] = []
    // What forward and bidirectional are, version 1 says.
    if direction == .reverse { options.append(("direction", .string(direction.rawValue))) }
    if merge != .concat { options.append(("merge", .string(merge.rawValue))) }
    if let reverseHiddenSize { options.append(("hidden_size_reverse", .integer(Int64(reverseHiddenSize)))) }
    if let projectionSize { options.append(("proj_size", .integer(Int64(projectionSize)))) }
    for (key, isSet) in [
      ("residual", isResidual), ("learned_initial_state", learnsInitialState), ("peepholes", hasPeepholes),
      ("coupled_gates", hasCoupledGates),
    ] where isSet {
      options.append((key, .bool(true)))
    }
    if let cellClip { options.append(("cell_clip", .number(cellClip))) }
    if let gateClip { options.append(("gate_clip", .number(gateClip))) }
    if clipsOutputActivation { options.append(("gate_clip_output", .bool(true))) }
    if forgetBias != 0 { options.append(("forget_bias", .number(forgetBias))) }
    if recurrentDropout != 0 { options.append(("recurrent_dropout", .number(recurrentDropout))) }
    let names = cell.activationNames
    if !canonical.activations.isEmpty {
      let all = (0..<directionCount).map { direction in names.indices.map { activation(direction: direction, slot: $0) } }
      options.append(("activations", .array(all.map { .array($0.map { .object($0.json) }) })))
    }
    return options
  }

  mutating func readOptions(_ node: JSONObject, in context: String) throws(RNNError) {
    func choice<Choice: RawRepresentable & CaseIterable>(
      _ key: String, _ fallback: Choice
    ) throws(RNNError) -> Choice where Choice.RawValue == String {
      guard node[key] != nil else { return fallback }
      let text = try node.string(key, in: context)
      guard let choice = Choice(rawValue: text) else {
        let known = Choice.allCases.map { $0.rawValue }.joined(separator: ", ")
        throw RNNError(.unsupported, "\(context): \(key) \(quoted(text)), expected one of \(known)")
      }
      return choice
    }
    func bool(_ key: String) throws(RNNError) -> Bool { node[key] == nil ? false : try node.bool(key, in: context) }
    func size(_ key: String) throws(RNNError) -> Int? {
      node[key] == nil ? nil : try node.integer(key, in: context, range: 1...largestCount)
    }
    func number(_ key: String) throws(RNNError) -> Double? { node[key] == nil ? nil : try node.number(key, in: context) }

    let given = try choice("direction", direction)
    guard given == direction || !bidirectional else {
      throw RNNError(.format, "\(context): bidirectional is true, and direction is \(quoted(given.rawValue))")
    }
    guard given == direction || given == .reverse else {
      throw RNNError(.format, "\(context): bidirectional is false, and direction is \(quoted(given.rawValue))")
    }
    direction = given
    merge = try choice("merge", .concat)
    reverseHiddenSize = try size("hidden_size_reverse")
    projectionSize = try size("proj_size")
    isResidual = try bool("residual")
    learnsInitialState = try bool("learned_initial_state")
    hasPeepholes = try bool("peepholes")
    hasCoupledGates = try bool("coupled_gates")
    cellClip = try number("cell_clip")
    gateClip = try number("gate_clip")
    clipsOutputActivation = try bool("gate_clip_output")
    forgetBias = try number("forget_bias") ?? 0
    recurrentDropout = try number("recurrent_dropout") ?? 0
    guard node["activations"] != nil else { return }
    let names = cell.activationNames
    let directions = try node.array("activations", in: context)
    guard directions.count == directionCount else {
      throw RNNError(.format, "\(context): activations of \(directions.count) directions, expected \(directionCount)")
    }
    for value in directions {
      guard case .array(let slots) = value, slots.count == names.count else {
        throw RNNError(.format, "\(context): the activations of a direction are not a list of \(names.count), for \(names)")
      }
      var read: [Activation?] = []
      for (slot, value) in slots.enumerated() {
        read.append(try Activation(json: value, in: "\(context), activation of \(names[slot])"))
      }
      activations.append(read)
    }
  }
}

extension Activation {
  var json: JSONObject {
    var object = JSONObject()
    object["name"] = .string(kind.name)
    if alpha != 0 { object["alpha"] = .number(alpha) }
    if beta != 0 { object["beta"] = .number(beta) }
    return object
  }

  init(json: JSONValue, in context: String) throws(RNNError) {
    guard case .object(let object) = json else {
      throw RNNError(.format, "\(context) is \(json.kind), expected an object")
    }
    try object.requireNoKeys(except: ["name", "alpha", "beta"], in: context)
    let name = try object.string("name", in: context)
    guard let kind = ActivationKind.allCases.first(where: { $0.name == name }) else {
      let known = ActivationKind.allCases.map(\.name).joined(separator: ", ")
      throw RNNError(.unsupported, "\(context): \(quoted(name)), expected one of \(known)")
    }
    self.init(
      kind, alpha: object["alpha"] == nil ? 0 : try object.number("alpha", in: context),
      beta: object["beta"] == nil ? 0 : try object.number("beta", in: context))
  }
}
