import CRNN
import RNN

extension rnn_run_options: SizedStruct {}
extension rnn_train_options: SizedStruct {}
extension rnn_backward_options: SizedStruct {}

/// The arrays of a forward pass, checked for what only C can get wrong.
private func sequence<Scalar: KernelScalar>(
  _ T: Int, _ N: Int, _ input: UnsafePointer<Scalar>?, _ inputCount: Int, _ tokens: UnsafePointer<Int64>?,
  _ tokensCount: Int, _ lengths: UnsafePointer<Int64>?, _ lengthsCount: Int,
  output: UnsafeMutablePointer<Scalar>?, _ outputCount: Int, _ options: RunChoices
) throws(RNNError) -> (SequenceInput<Scalar>, UnsafeMutableBufferPointer<Scalar>) {
  let features = try array(input, inputCount, named: "input")
  let tokenArray = try array(tokens, tokensCount, named: "tokens")
  let lengthArray = try array(lengths, lengthsCount, named: "lengths")
  let outputArray = try array(output, outputCount, named: "output")
  try checkDisjoint(outputArray, "output", features, "input")
  try checkDisjoint(outputArray, "output", tokenArray, "tokens")
  try checkDisjoint(outputArray, "output", lengthArray, "lengths")
  let mask = try array(options.mask, options.maskCount, named: "mask")
  try checkDisjoint(outputArray, "output", mask, "mask")
  var sequence = SequenceInput(
    sequenceLength: T, batchSize: N, features: features, tokens: tokenArray, lengths: lengths == nil ? nil : lengthArray,
    mask: options.mask == nil ? nil : mask, isBatchFirst: try flag(options.batchFirst, named: "batch_first"))
  switch options.padding {
  case RNN_PADDING_VALUE: sequence.padding = .value(options.paddingValue)
  case RNN_PADDING_REPEAT:
    guard options.paddingValue == 0 else {
      throw RNNError(.invalidArgument, "padding is RNN_PADDING_REPEAT, and padding_value \(options.paddingValue)")
    }
    sequence.padding = .repeatsLast
  default: throw unknown("padding", options.padding)
  }
  sequence.zeroesEmptyRows = try flag(options.zeroStateOfEmptyRows, named: "zero_state_of_empty_rows")
  return (sequence, outputArray)
}

/// What rnn_run_options and rnn_train_options have in common.
private struct RunChoices {
  let batchFirst, padding, zeroStateOfEmptyRows: Int32
  let paddingValue: Double
  let mask: UnsafePointer<UInt8>?
  let maskCount: Int

  init(_ options: rnn_run_options) {
    (batchFirst, padding, zeroStateOfEmptyRows) = (options.batch_first, options.padding, options.zero_state_of_empty_rows)
    (paddingValue, mask, maskCount) = (options.padding_value, options.mask, options.mask_count)
  }

  init(_ options: rnn_train_options) {
    (batchFirst, padding, zeroStateOfEmptyRows) = (options.batch_first, options.padding, options.zero_state_of_empty_rows)
    (paddingValue, mask, maskCount) = (options.padding_value, options.mask, options.mask_count)
  }
}

/// A run with the states as arrays; see rnn_network_run_arrays.
private func run<Scalar: KernelScalar>(
  _ network: Network, _ input: SequenceInput<Scalar>, _ output: UnsafeMutableBufferPointer<Scalar>,
  _ initialState: UnsafePointer<Scalar>?, _ initialStateCount: Int,
  _ finalState: UnsafeMutablePointer<Scalar>?, _ finalStateCount: Int
) throws(RNNError) {
  let initial = try array(initialState, initialStateCount, named: "initial_state")
  let final = try optionalArray(finalState, finalStateCount, named: "final_state")
  try checkDisjoint(output, "output", initial, "initial_state")
  if let final {
    try checkDisjoint(final, "final_state", UnsafeBufferPointer(output), "output")
    try checkDisjoint(final, "final_state", input.features, "input")
    try checkDisjoint(final, "final_state", input.tokens, "tokens")
    if let lengths = input.lengths { try checkDisjoint(final, "final_state", lengths, "lengths") }
    if let mask = input.mask { try checkDisjoint(final, "final_state", mask, "mask") }
    if initialState != UnsafePointer(finalState) { try checkDisjoint(final, "final_state", initial, "initial_state") }
  }
  try network.run(input, initialState: initialState == nil ? nil : initial, finalState: final, output: output)
}

/// The arrays that a backward pass's flow goes into.
func gradientFlow(_ options: rnn_backward_options) throws(RNNError) -> GradientFlow {
  var flow = GradientFlow()
  flow.hidden = try optionalArray(options.hidden_flow, options.hidden_flow_count, named: "hidden_flow")
  flow.cell = try optionalArray(options.cell_flow, options.cell_flow_count, named: "cell_flow")
  flow.clipped = try optionalArray(options.clipped_flow, options.clipped_flow_count, named: "clipped_flow")
  flow.gateMean = try optionalArray(options.gate_mean, options.gate_mean_count, named: "gate_mean")
  flow.gateSaturation = try optionalArray(options.gate_saturation, options.gate_saturation_count, named: "gate_saturation")
  flow.jacobian = try optionalArray(options.jacobian_norm, options.jacobian_norm_count, named: "jacobian_norm")
  return flow
}

extension GradientFlow {
  /// The arrays with their names in rnn.h.
  var arrays: [(array: UnsafeMutableBufferPointer<Double>, name: StaticString)] {
    let all: [(UnsafeMutableBufferPointer<Double>?, StaticString)] = [
      (hidden, "hidden_flow"), (cell, "cell_flow"), (clipped, "clipped_flow"), (gateMean, "gate_mean"),
      (gateSaturation, "gate_saturation"), (jacobian, "jacobian_norm"),
    ]
    return all.compactMap { array, name in array.map { ($0, name) } }
  }

  /// No two arrays overlap.
  func checkDisjointArrays() throws(RNNError) {
    let arrays = arrays
    for (index, first) in arrays.enumerated() {
      for second in arrays[..<index] {
        try checkDisjoint(first.array, first.name, UnsafeBufferPointer(second.array), second.name)
      }
    }
  }
}

/// A backward pass between C's arrays and states; see rnn_network_backward.
private func backpropagate<Scalar: KernelScalar>(
  _ network: Network, _ tape: Tape, _ outputGradient: UnsafePointer<Scalar>?, _ outputGradientCount: Int,
  final: StateObject?, _ inputGradient: UnsafeMutablePointer<Scalar>?, _ inputGradientCount: Int, initial: StateObject?,
  _ gradients: UnsafeMutablePointer<Scalar>?, _ gradientsCount: Int, _ options: UnsafePointer<rnn_backward_options>?
) throws(RNNError) {
  let options = try RNNExports.options(options)
  let from = try array(outputGradient, outputGradientCount, named: "output_gradient")
  let outputs = BackwardOutputs(
    inputGradient: try optionalArray(inputGradient, inputGradientCount, named: "out_input_gradient"),
    gradients: try optionalArray(gradients, gradientsCount, named: "out_gradients"),
    flow: try gradientFlow(options))
  if let target = outputs.inputGradient {
    try checkDisjoint(target, "out_input_gradient", from, "output_gradient")
  }
  if let target = outputs.gradients {
    try checkDisjoint(target, "out_gradients", from, "output_gradient")
    if let other = outputs.inputGradient {
      try checkDisjoint(target, "out_gradients", UnsafeBufferPointer(other), "out_input_gradient")
    }
  }
  try outputs.flow.checkDisjointArrays()
  for (flow, name) in outputs.flow.arrays {
    try checkDisjoint(flow, name, from, "output_gradient")
    if let other = outputs.inputGradient { try checkDisjoint(flow, name, UnsafeBufferPointer(other), "out_input_gradient") }
    if let other = outputs.gradients { try checkDisjoint(flow, name, UnsafeBufferPointer(other), "out_gradients") }
  }
  // The state's gradient goes in as that of the final state and comes out as that of the initial one.
  var state = final?.state
  if let initial = initial?.state {
    try initial.check(network.architecture, batchSize: tape.batchSize, named: "initial_state_gradient")
    if state == nil {
      // Not the learned initial state, which a new state holds: without ∂L/∂(final state) that gradient is zeros.
      var zeros = try network.makeState(batchSize: tape.batchSize)
      try zeros.clear()
      state = zeros
    }
  }
  try network.backward(
    tape, outputGradient: from, stateGradient: &state, outputs: outputs, hiddenClip: options.hidden_clip)
  if let initial { initial.state = state }
}

// MARK: - In either precision

private func readTape<Scalar: KernelScalar>(
  _ tape: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ values: UnsafeMutablePointer<Scalar>?, _ count: Int
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withTape(tape) { (tape) throws(RNNError) in
      try tape.tape.read(try text(name, named: "name"), into: try array(values, count, named: "out_values"))
    }
  }
}

private func run<Scalar: KernelScalar>(
  _ network: OpaquePointer?, _ T: Int, _ N: Int, _ input: UnsafePointer<Scalar>?, _ inputCount: Int,
  _ tokens: UnsafePointer<Int64>?, _ tokensCount: Int, _ lengths: UnsafePointer<Int64>?, _ lengthsCount: Int,
  _ state: OpaquePointer?, _ output: UnsafeMutablePointer<Scalar>?, _ outputCount: Int,
  _ options: UnsafePointer<rnn_run_options>?
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try withOptionalState(state) { (state) throws(RNNError) in
        let (sequence, target) = try sequence(
          T, N, input, inputCount, tokens, tokensCount, lengths, lengthsCount, output: output, outputCount,
          RunChoices(try RNNExports.options(options)))
        if let state {
          try object.network.run(sequence, state: &state.state, output: target)
        } else {
          var none: NetworkState?
          try object.network.run(sequence, state: &none, output: target)
        }
      }
    }
  }
}

private func runArrays<Scalar: KernelScalar>(
  _ network: OpaquePointer?, _ T: Int, _ N: Int, _ input: UnsafePointer<Scalar>?, _ inputCount: Int,
  _ tokens: UnsafePointer<Int64>?, _ tokensCount: Int, _ lengths: UnsafePointer<Int64>?, _ lengthsCount: Int,
  _ initialState: UnsafePointer<Scalar>?, _ initialStateCount: Int, _ output: UnsafeMutablePointer<Scalar>?, _ outputCount: Int,
  _ finalState: UnsafeMutablePointer<Scalar>?, _ finalStateCount: Int, _ options: UnsafePointer<rnn_run_options>?
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      let (sequence, target) = try sequence(
        T, N, input, inputCount, tokens, tokensCount, lengths, lengthsCount, output: output, outputCount,
        RunChoices(try RNNExports.options(options)))
      try run(object.network, sequence, target, initialState, initialStateCount, finalState, finalStateCount)
    }
  }
}

private func forwardTrain<Scalar: KernelScalar>(
  _ network: OpaquePointer?, _ T: Int, _ N: Int, _ input: UnsafePointer<Scalar>?, _ inputCount: Int,
  _ tokens: UnsafePointer<Int64>?, _ tokensCount: Int, _ lengths: UnsafePointer<Int64>?, _ lengthsCount: Int,
  _ state: OpaquePointer?, _ output: UnsafeMutablePointer<Scalar>?, _ outputCount: Int,
  _ options: UnsafePointer<rnn_train_options>?, _ outTape: UnsafeMutablePointer<OpaquePointer?>?
) -> rnn_status {
  making(.tape, outTape, named: "out_tape") { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try withOptionalState(state) { (state) throws(RNNError) in
        let options = try RNNExports.options(options)
        let (sequence, target) = try sequence(
          T, N, input, inputCount, tokens, tokensCount, lengths, lengthsCount, output: output, outputCount, RunChoices(options))
        let dropout = DropoutKey(seed: options.dropout_seed, step: options.step, firstTime: options.first_time)
        if let state {
          return TapeObject(
            try object.network.forwardTrain(sequence, state: &state.state, output: target, dropout: dropout))
        }
        var none: NetworkState?
        return TapeObject(try object.network.forwardTrain(sequence, state: &none, output: target, dropout: dropout))
      }
    }
  }
}

private func backward<Scalar: KernelScalar>(
  _ network: OpaquePointer?, _ tape: OpaquePointer?, _ outputGradient: UnsafePointer<Scalar>?, _ outputGradientCount: Int,
  _ finalStateGradient: OpaquePointer?, _ inputGradient: UnsafeMutablePointer<Scalar>?, _ inputGradientCount: Int,
  _ initialStateGradient: OpaquePointer?, _ gradients: UnsafeMutablePointer<Scalar>?, _ gradientsCount: Int,
  _ options: UnsafePointer<rnn_backward_options>?
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try withTape(tape) { (tape) throws(RNNError) in
        try withOptionalState(finalStateGradient, named: "final_state_gradient") { (final) throws(RNNError) in
          let isSame = initialStateGradient == finalStateGradient
          try withOptionalState(
            isSame ? nil : initialStateGradient, named: "initial_state_gradient"
          ) { (initial) throws(RNNError) in
            try backpropagate(
              object.network, tape.tape, outputGradient, outputGradientCount, final: final, inputGradient, inputGradientCount,
              initial: isSame ? final : initial, gradients, gradientsCount, options)
          }
        }
      }
    }
  }
}

// MARK: - The functions of rnn.h

@_cdecl("rnn_tape_destroy") @implementation
public func rnn_tape_destroy(_ tape: OpaquePointer!) { HandleTable.destroy(tape, .tape) }

@_cdecl("rnn_tape_tensor_info") @implementation
public func rnn_tape_tensor_info(
  _ tape: OpaquePointer!, _ index: Int, _ out_info: UnsafeMutablePointer<rnn_tensor_info>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withTape(tape) { (tape) throws(RNNError) in
      try describe(tape.arrays, index, "array", out_info, name: { tape.names[$0] })
    }
  }
}

@_cdecl("rnn_tape_read") @implementation
public func rnn_tape_read(
  _ tape: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ out_values: UnsafeMutablePointer<Float>!, _ values_count: Int
) -> rnn_status {
  readTape(tape, name, out_values, values_count)
}

@_cdecl("rnn_network_run") @implementation
public func rnn_network_run(
  _ network: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Float>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ state: OpaquePointer!, _ output: UnsafeMutablePointer<Float>!, _ output_count: Int,
  _ options: UnsafePointer<rnn_run_options>!
) -> rnn_status {
  run(
    network, T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, state, output, output_count, options)
}

@_cdecl("rnn_network_run_arrays") @implementation
public func rnn_network_run_arrays(
  _ network: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Float>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ initial_state: UnsafePointer<Float>!, _ initial_state_count: Int,
  _ output: UnsafeMutablePointer<Float>!, _ output_count: Int,
  _ final_state: UnsafeMutablePointer<Float>!, _ final_state_count: Int, _ options: UnsafePointer<rnn_run_options>!
) -> rnn_status {
  runArrays(
    network, T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, initial_state, initial_state_count, output,
    output_count, final_state, final_state_count, options)
}

@_cdecl("rnn_network_forward_train") @implementation
public func rnn_network_forward_train(
  _ network: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Float>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ state: OpaquePointer!, _ output: UnsafeMutablePointer<Float>!, _ output_count: Int,
  _ options: UnsafePointer<rnn_train_options>!, _ out_tape: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  forwardTrain(
    network, T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, state, output, output_count, options,
    out_tape)
}

@_cdecl("rnn_network_backward") @implementation
public func rnn_network_backward(
  _ network: OpaquePointer!, _ tape: OpaquePointer!,
  _ output_gradient: UnsafePointer<Float>!, _ output_gradient_count: Int, _ final_state_gradient: OpaquePointer!,
  _ out_input_gradient: UnsafeMutablePointer<Float>!, _ input_gradient_count: Int,
  _ initial_state_gradient: OpaquePointer!, _ out_gradients: UnsafeMutablePointer<Float>!, _ gradients_count: Int,
  _ options: UnsafePointer<rnn_backward_options>!
) -> rnn_status {
  backward(
    network, tape, output_gradient, output_gradient_count, final_state_gradient, out_input_gradient, input_gradient_count,
    initial_state_gradient, out_gradients, gradients_count, options)
}

// MARK: - The same in double

@_cdecl("rnn_tape_read_f64") @implementation
public func rnn_tape_read_f64(
  _ tape: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ out_values: UnsafeMutablePointer<Double>!, _ values_count: Int
) -> rnn_status {
  readTape(tape, name, out_values, values_count)
}

@_cdecl("rnn_network_run_f64") @implementation
public func rnn_network_run_f64(
  _ network: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Double>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ state: OpaquePointer!, _ output: UnsafeMutablePointer<Double>!, _ output_count: Int,
  _ options: UnsafePointer<rnn_run_options>!
) -> rnn_status {
  run(
    network, T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, state, output, output_count, options)
}

@_cdecl("rnn_network_run_arrays_f64") @implementation
public func rnn_network_run_arrays_f64(
  _ network: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Double>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ initial_state: UnsafePointer<Double>!, _ initial_state_count: Int,
  _ output: UnsafeMutablePointer<Double>!, _ output_count: Int,
  _ final_state: UnsafeMutablePointer<Double>!, _ final_state_count: Int, _ options: UnsafePointer<rnn_run_options>!
) -> rnn_status {
  runArrays(
    network, T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, initial_state, initial_state_count, output,
    output_count, final_state, final_state_count, options)
}

@_cdecl("rnn_network_forward_train_f64") @implementation
public func rnn_network_forward_train_f64(
  _ network: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Double>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ state: OpaquePointer!, _ output: UnsafeMutablePointer<Double>!, _ output_count: Int,
  _ options: UnsafePointer<rnn_train_options>!, _ out_tape: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  forwardTrain(
    network, T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, state, output, output_count, options,
    out_tape)
}

@_cdecl("rnn_network_backward_f64") @implementation
public func rnn_network_backward_f64(
  _ network: OpaquePointer!, _ tape: OpaquePointer!,
  _ output_gradient: UnsafePointer<Double>!, _ output_gradient_count: Int, _ final_state_gradient: OpaquePointer!,
  _ out_input_gradient: UnsafeMutablePointer<Double>!, _ input_gradient_count: Int,
  _ initial_state_gradient: OpaquePointer!, _ out_gradients: UnsafeMutablePointer<Double>!, _ gradients_count: Int,
  _ options: UnsafePointer<rnn_backward_options>!
) -> rnn_status {
  backward(
    network, tape, output_gradient, output_gradient_count, final_state_gradient, out_input_gradient, input_gradient_count,
    initial_state_gradient, out_gradients, gradients_count, options)
}
