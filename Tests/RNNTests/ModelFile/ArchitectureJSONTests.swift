import XCTest

@testable import RNN

final class ArchitectureJSONTests: XCTestCase {
  private func parse(_ text: String) throws -> Architecture {
    try Architecture(json: try JSONValue.parse(text, named: "test"))
  }

  func testEveryArchitectureComesBackFromItsText() throws {
    for seed in 0..<60 as Range<UInt64> {
      var numbers = TestNumbers(seed: seed)
      let architecture = try randomArchitecture(
        seed % 2 == 0 ? .float32 : .float64, bidirectional: seed % 3 == 0, lastStep: seed % 5 == 0, numbers: &numbers)
      let text = try architecture.json.serializedString()
      let back = try parse(text)
      XCTAssertEqual(back, architecture, text)
      XCTAssertEqual(try back.json.serializedString(), text)
    }
  }

  /// A text with every part valid, of which the tests below replace one.
  private let valid = """
    {"dtype":"float32","nodes":[{"name":"x","op":"input","version":1,"size":2},\
    {"name":"g","op":"gru","version":1,"inputs":["x"],"variant":"reset_before","hidden_size":3,"num_layers":1,\
    "bidirectional":false,"bias":"single","dropout":0.0},\
    {"name":"y","op":"linear","version":1,"inputs":["g"],"output_size":1,"bias":true}],"outputs":["y"]}
    """

  private func refuses(
    _ code: RNNError.Code, _ parts: String..., replacing old: String, with new: String, line: UInt = #line
  ) {
    let text = valid.replacingOccurrences(of: old, with: new)
    XCTAssertNotEqual(text, valid, "nothing was replaced", line: line)
    XCTAssertThrowsError(try parse(text), line: line) {
      let error = $0 as? RNNError
      XCTAssertEqual(error?.code, code, "\($0)", line: line)
      for part in parts { XCTAssertTrue(error?.message.contains(part) == true, "\($0)", line: line) }
    }
  }

  func testTheValidTextIsValid() throws {
    XCTAssertEqual(try parse(valid).parameters.map(\.name), ["g.weight_ih_l0", "g.weight_hh_l0", "g.bias_l0", "y.weight", "y.bias"])
  }

  func testUnknownOperatorsVersionsAndValuesAreUnsupportedAndNamed() {
    refuses(.unsupported, "node 1 \"g\"", "\"qrnn\"", replacing: "\"op\":\"gru\"", with: "\"op\":\"qrnn\"")
    refuses(.unsupported, "node 1 \"g\"", "version 3", "\"gru\"", replacing: "\"op\":\"gru\",\"version\":1", with: "\"op\":\"gru\",\"version\":3")
    refuses(.unsupported, "\"float16\"", replacing: "\"float32\"", with: "\"float16\"")
    refuses(.unsupported, "variant \"reset_never\"", replacing: "\"reset_before\"", with: "\"reset_never\"")
    refuses(.unsupported, "bias \"triple\"", replacing: "\"single\"", with: "\"triple\"")
    refuses(.unsupported, "2 outputs", replacing: "\"outputs\":[\"y\"]", with: "\"outputs\":[\"g\",\"y\"]")
  }

  /// A newer version of an operator may have attributes that this library has not: the version is what it cannot do.
  func testANewerOperatorWithANewAttributeIsUnsupported() {
    refuses(
      .unsupported, "version 3", replacing: "\"op\":\"gru\",\"version\":1",
      with: "\"op\":\"gru\",\"version\":3,\"peephole\":true")
    refuses(
      .unsupported, "version 3", replacing: "\"op\":\"linear\",\"version\":1",
      with: "\"op\":\"linear\",\"version\":3,\"scale\":2")
  }

  func testUnknownAndMissingKeysAreNamed() {
    refuses(.format, "architecture", "\"extra\"", replacing: "{\"dtype\"", with: "{\"extra\":1,\"dtype\"")
    refuses(.format, "node 0 \"x\"", "\"extra\"", replacing: "\"size\":2", with: "\"size\":2,\"extra\":1")
    refuses(.format, "node 1 \"g\"", "\"nonlinearity\"", replacing: "\"dropout\":0.0", with: "\"dropout\":0.0,\"nonlinearity\":\"tanh\"")
    refuses(.format, "node 2 \"y\"", "\"hidden_size\"", replacing: "\"output_size\":1", with: "\"output_size\":1,\"hidden_size\":1")
    for key in ["\"variant\":\"reset_before\",", "\"hidden_size\":3,", "\"num_layers\":1,", "\"bidirectional\":false,", "\"bias\":\"single\","] {
      refuses(.format, "node 1 \"g\"", replacing: key, with: "")
    }
    refuses(.format, "node 0 \"x\"", "size", replacing: ",\"size\":2", with: "")
    refuses(.format, "version", replacing: "\"op\":\"input\",\"version\":1", with: "\"op\":\"input\"")
    refuses(.format, "\"op\"", replacing: "\"op\":\"input\",", with: "")
    refuses(.format, "dtype", replacing: "\"dtype\":\"float32\",", with: "")
    refuses(.format, "outputs", replacing: ",\"outputs\":[\"y\"]", with: "")
    refuses(.format, "node 1 \"g\": no inputs", replacing: "\"inputs\":[\"x\"],", with: "")
  }

  func testValuesOfTheWrongKindAreNamed() {
    refuses(.format, "hidden_size", replacing: "\"hidden_size\":3", with: "\"hidden_size\":\"3\"")
    refuses(.format, "hidden_size", replacing: "\"hidden_size\":3", with: "\"hidden_size\":3.5")
    refuses(.format, "hidden_size", replacing: "\"hidden_size\":3", with: "\"hidden_size\":0")
    refuses(.format, "hidden_size", replacing: "\"hidden_size\":3", with: "\"hidden_size\":-1")
    refuses(.format, "num_layers", replacing: "\"num_layers\":1", with: "\"num_layers\":true")
    refuses(.format, "bidirectional", replacing: "\"bidirectional\":false", with: "\"bidirectional\":0")
    refuses(.format, "dropout", replacing: "\"dropout\":0.0", with: "\"dropout\":null")
    refuses(.format, "version", replacing: "\"op\":\"gru\",\"version\":1", with: "\"op\":\"gru\",\"version\":0")
    refuses(.format, "inputs", replacing: "\"inputs\":[\"x\"]", with: "\"inputs\":\"x\"")
    refuses(.format, "inputs", replacing: "\"inputs\":[\"x\"]", with: "\"inputs\":[1]")
    refuses(.format, "node 0", replacing: "[{\"name\":\"x\"", with: "[3,{\"name\":\"x\"")
    XCTAssertThrowsError(try parse("[]")) { XCTAssertEqual(($0 as? RNNError)?.code, .format) }
  }

  /// What is a wrong argument in a program is a wrong file here.
  func testNodesThatDoNotFitAreFormatErrors() {
    refuses(.format, "dropout is 1", replacing: "\"dropout\":0.0", with: "\"dropout\":1.0")
    refuses(.format, "\"nobody\"", replacing: "\"inputs\":[\"x\"]", with: "\"inputs\":[\"nobody\"]")
    refuses(.format, "\"y\"", replacing: "\"inputs\":[\"x\"]", with: "\"inputs\":[\"y\"]")
    refuses(.format, "already a node 'x'", replacing: "\"name\":\"g\"", with: "\"name\":\"x\"")
    refuses(.format, "node name", replacing: "\"name\":\"g\"", with: "\"name\":\"g g\"")
    refuses(.format, "expected the last node, 'y'", replacing: "\"outputs\":[\"y\"]", with: "\"outputs\":[\"g\"]")
    refuses(.format, "node 'g' is read by no other node", replacing: "\"inputs\":[\"g\"]", with: "\"inputs\":[\"x\"]")
    refuses(.outOfMemory, "elements", replacing: "\"hidden_size\":3", with: "\"hidden_size\":\(1 << 50)")
    refuses(.unsupported, "1001 layers", replacing: "\"num_layers\":1", with: "\"num_layers\":1001")
  }
}
