import RNN

// A GRU over two features, and a linear output.
var architecture = Architecture()
try architecture.add(.input(size: 2), name: "x")
try architecture.add(.recurrent(RecurrentConfiguration(.gru(.resetBefore), hiddenSize: 4)), name: "gru")
try architecture.add(.linear(outputSize: 1, bias: true), name: "out")
let network = try Network(architecture, initialization: InitialWeights(seed: 1))

// Run it with a state: eight steps at once, and the last four again from the state in the middle.
let input = (0..<16).map { Float($0 % 5) / 5 - 0.4 }
var state = try network.makeState()
let output = try network.run(input, state: &state)
print("output: \(output.count) numbers")
var half = try network.makeState()
_ = try network.run(Array(input[..<8]), state: &half)
let rest = try network.run(Array(input[8...]), state: &half)
print("second half again: \(rest == Array(output[4...]) ? "the same" : "different")")

/// ½ Σ (output - 1)², and one step of gradient descent on it.
func trainingStep(_ network: Network, _ input: [Float], rate: Float) throws -> Float {
  let parameterCount = network.architecture.parameterCount
  var output = [Float](repeating: 0, count: 8)
  var none: NetworkState?
  let tape = try input.withUnsafeBufferPointer { features in
    try output.withUnsafeMutableBufferPointer {
      try network.forwardTrain(SequenceInput(sequenceLength: 8, features: features), state: &none, output: $0)
    }
  }
  let difference = output.map { $0 - 1 }
  var gradients = [Float](repeating: 0, count: parameterCount)
  try difference.withUnsafeBufferPointer { outputGradient in
    try gradients.withUnsafeMutableBufferPointer {
      try network.backward(
        tape, outputGradient: outputGradient, stateGradient: &none, outputs: BackwardOutputs(gradients: $0))
    }
  }
  var parameters = [Float](repeating: 0, count: parameterCount)
  try parameters.withUnsafeMutableBufferPointer { try network.readParameter(into: $0) }
  for i in parameters.indices { parameters[i] -= rate * gradients[i] }
  try parameters.withUnsafeBufferPointer { try network.writeParameter(from: $0) }
  return difference.reduce(0) { $0 + $1 * $1 } / 2
}

print("loss before: \(try trainingStep(network, input, rate: 0.02))")
print("loss after: \(try trainingStep(network, input, rate: 0))")
