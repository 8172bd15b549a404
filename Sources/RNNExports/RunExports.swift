import CRNN
import RNN

extension rnn_run_options: SizedStruct {}
extension rnn_train_options: SizedStruct {}
extension rnn_backward_options: SizedStruct {}

/// The arrays of a forward pass, checked for what only C can get wrong.
private func sequence<Scalar: KernelScalar>(
  _ T: Int, _ N: Int, _ input: UnsafePointer<Scalar>?, _ inputCount: Int, _ tokens: UnsafePointer<Int64>?,
  _ tokensCount: Int, _ lengths: UnsafePointer<Int64>?, _ lengthsCount: Int,
  output: UnsafeMutablePointer<Scalar>?, _ outputCount: Int, batchFirst: Int32
) throws(RNNError) -> (SequenceInput<Scalar>, UnsafeMutableBufferPointer<Scalar>) {
  let features = try array(input, inputCount, named: "input")
  let tokenArray = try array(tokens, tokensCount, named: "tokens")
  let lengthArray = try array(lengths, lengthsCount, named: "lengths")
  let outputArray = try array(output, outputCount, named: "output")
  try checkDisjoint(outputArray, "output", features, "input")
  try checkDisjoint(outputArray, "output", tokenArray, "tokens")
  try checkDisjoint(outputArray, "output", lengthArray, "lengths")
  let sequence = SequenceInput(
    sequenceLength: T, batchSize: N, features: features, tokens: tokenArray, lengths: lengths == nil ? nil : lengthArray,
    isBatchFirst: try flag(batchFirst, named: "batch_first"))
  return (sequence, outputArray)
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
    hiddenFlow: try optionalArray(options.hidden_flow, options.hidden_flow_count, named: "hidden_flow"))
  if let target = outputs.inputGradient {
    try checkDisjoint(target, "out_input_gradient", from, "output_gradient")
  }
  if let target = outputs.gradients {
    try checkDisjoint(target, "out_gradients", from, "output_gradient")
    if let other = outputs.inputGradient {
      try checkDisjoint(target, "out_gradients", UnsafeBufferPointer(other), "out_input_gradient")
    }
  }
  if let flow = outputs.hiddenFlow {
    try checkDisjoint(flow, "hidden_flow", from, "output_gradient")
    if let other = outputs.inputGradient {
      try checkDisjoint(flow, "hidden_flow", UnsafeBufferPointer(other), "out_input_gradient")
    }
    if let other = outputs.gradients { try checkDisjoint(flow, "hidden_flow", UnsafeBufferPointer(other), "out_gradients") }
  }
  // The state's gradient goes in as that of the final state and comes out as that of the initial one.
  var state = final?.state
  if let initial = initial?.state {
    try initial.check(network.architecture, batchSize: tape.batchSize, named: "initial_state_gradient")
    if state == nil { state = try network.makeState(batchSize: tape.batchSize) }
  }
  try network.backward(tape, outputGradient: from, stateGradient: &state, outputs: outputs)
  if let initial { initial.state = state }
}

@_cdecl("rnn_tape_destroy") @implementation
public func rnn_tape_destroy(_ tape: OpaquePointer!) { HandleTable.destroy(tape, .tape) }

@_cdecl("rnn_network_run") @implementation
public func rnn_network_run(
  _ network: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Float>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ state: OpaquePointer!, _ output: UnsafeMutablePointer<Float>!, _ output_count: Int,
  _ options: UnsafePointer<rnn_run_options>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try withOptionalState(state) { (state) throws(RNNError) in
        let (sequence, target) = try sequence(
          T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, output: output, output_count,
          batchFirst: try RNNExports.options(options).batch_first)
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

@_cdecl("rnn_network_forward_train") @implementation
public func rnn_network_forward_train(
  _ network: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Float>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ state: OpaquePointer!, _ output: UnsafeMutablePointer<Float>!, _ output_count: Int,
  _ options: UnsafePointer<rnn_train_options>!, _ out_tape: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  making(.tape, out_tape, named: "out_tape") { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try withOptionalState(state) { (state) throws(RNNError) in
        let options = try RNNExports.options(options)
        let (sequence, target) = try sequence(
          T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, output: output, output_count,
          batchFirst: options.batch_first)
        let dropout = DropoutKey(seed: options.dropout_seed, step: options.step, firstTime: options.first_time)
        if let state {
          return try object.network.forwardTrain(sequence, state: &state.state, output: target, dropout: dropout)
        }
        var none: NetworkState?
        return try object.network.forwardTrain(sequence, state: &none, output: target, dropout: dropout)
      }
    }
  }
}

@_cdecl("rnn_network_backward") @implementation
public func rnn_network_backward(
  _ network: OpaquePointer!, _ tape: OpaquePointer!,
  _ output_gradient: UnsafePointer<Float>!, _ output_gradient_count: Int, _ final_state_gradient: OpaquePointer!,
  _ out_input_gradient: UnsafeMutablePointer<Float>!, _ input_gradient_count: Int,
  _ initial_state_gradient: OpaquePointer!, _ out_gradients: UnsafeMutablePointer<Float>!, _ gradients_count: Int,
  _ options: UnsafePointer<rnn_backward_options>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try withTape(tape) { (tape) throws(RNNError) in
        try withOptionalState(final_state_gradient, named: "final_state_gradient") { (final) throws(RNNError) in
          let isSame = initial_state_gradient == final_state_gradient
          try withOptionalState(
            isSame ? nil : initial_state_gradient, named: "initial_state_gradient"
          ) { (initial) throws(RNNError) in
            try backpropagate(
              object.network, tape, output_gradient, output_gradient_count, final: final, out_input_gradient,
              input_gradient_count, initial: isSame ? final : initial, out_gradients, gradients_count, options)
          }
        }
      }
    }
  }
}

// MARK: - The same in double

@_cdecl("rnn_network_run_f64") @implementation
public func rnn_network_run_f64(
  _ network: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Double>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ state: OpaquePointer!, _ output: UnsafeMutablePointer<Double>!, _ output_count: Int,
  _ options: UnsafePointer<rnn_run_options>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try withOptionalState(state) { (state) throws(RNNError) in
        let (sequence, target) = try sequence(
          T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, output: output, output_count,
          batchFirst: try RNNExports.options(options).batch_first)
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

@_cdecl("rnn_network_forward_train_f64") @implementation
public func rnn_network_forward_train_f64(
  _ network: OpaquePointer!, _ T: Int, _ N: Int, _ input: UnsafePointer<Double>!, _ input_count: Int,
  _ tokens: UnsafePointer<Int64>!, _ tokens_count: Int, _ lengths: UnsafePointer<Int64>!, _ lengths_count: Int,
  _ state: OpaquePointer!, _ output: UnsafeMutablePointer<Double>!, _ output_count: Int,
  _ options: UnsafePointer<rnn_train_options>!, _ out_tape: UnsafeMutablePointer<OpaquePointer?>!
) -> rnn_status {
  making(.tape, out_tape, named: "out_tape") { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try withOptionalState(state) { (state) throws(RNNError) in
        let options = try RNNExports.options(options)
        let (sequence, target) = try sequence(
          T, N, input, input_count, tokens, tokens_count, lengths, lengths_count, output: output, output_count,
          batchFirst: options.batch_first)
        let dropout = DropoutKey(seed: options.dropout_seed, step: options.step, firstTime: options.first_time)
        if let state {
          return try object.network.forwardTrain(sequence, state: &state.state, output: target, dropout: dropout)
        }
        var none: NetworkState?
        return try object.network.forwardTrain(sequence, state: &none, output: target, dropout: dropout)
      }
    }
  }
}

@_cdecl("rnn_network_backward_f64") @implementation
public func rnn_network_backward_f64(
  _ network: OpaquePointer!, _ tape: OpaquePointer!,
  _ output_gradient: UnsafePointer<Double>!, _ output_gradient_count: Int, _ final_state_gradient: OpaquePointer!,
  _ out_input_gradient: UnsafeMutablePointer<Double>!, _ input_gradient_count: Int,
  _ initial_state_gradient: OpaquePointer!, _ out_gradients: UnsafeMutablePointer<Double>!, _ gradients_count: Int,
  _ options: UnsafePointer<rnn_backward_options>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    try withNetwork(network) { (object) throws(RNNError) in
      try withTape(tape) { (tape) throws(RNNError) in
        try withOptionalState(final_state_gradient, named: "final_state_gradient") { (final) throws(RNNError) in
          let isSame = initial_state_gradient == final_state_gradient
          try withOptionalState(
            isSame ? nil : initial_state_gradient, named: "initial_state_gradient"
          ) { (initial) throws(RNNError) in
            try backpropagate(
              object.network, tape, output_gradient, output_gradient_count, final: final, out_input_gradient,
              input_gradient_count, initial: isSame ? final : initial, out_gradients, gradients_count, options)
          }
        }
      }
    }
  }
}
