import CRNN
import RNN

@_cdecl("rnn_vanilla_forward") @implementation
public func rnn_vanilla_forward(
  _ nonlinearity: Int32, _ N: Int, _ I: Int, _ H: Int,
  _ input: UnsafePointer<Float>!, _ hidden_state: UnsafePointer<Float>!,
  _ weight_ih: UnsafePointer<Float>!, _ weight_hh: UnsafePointer<Float>!,
  _ bias_ih: UnsafePointer<Float>!, _ bias_hh: UnsafePointer<Float>!,
  _ out_hidden_state: UnsafeMutablePointer<Float>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let cell = VanillaCell<Float>(
      try Nonlinearity(constant: nonlinearity), batchSize: N, inputSize: I, hiddenSize: H)
    var arrays = try CellArrays(N, I, H, gates: 1)
    try arrays.input(input, "input", .input)
    try arrays.input(hidden_state, "hidden_state", .state, isOptional: true)
    try arrays.input(weight_ih, "weight_ih", .weightIH)
    try arrays.input(weight_hh, "weight_hh", .weightHH)
    try arrays.input(bias_ih, "bias_ih", .bias, isOptional: true)
    try arrays.input(bias_hh, "bias_hh", .bias, isOptional: true)
    try arrays.output(out_hidden_state, "out_hidden_state", .state)
    try arrays.computing { () throws(RNNError) in
      try cell.forward(
        input: input, hidden: hidden_state, weightIH: weight_ih, weightHH: weight_hh, biasIH: bias_ih, biasHH: bias_hh,
        nextHidden: out_hidden_state)
    }
  }
}

@_cdecl("rnn_vanilla_backward") @implementation
public func rnn_vanilla_backward(
  _ nonlinearity: Int32, _ N: Int, _ I: Int, _ H: Int,
  _ input: UnsafePointer<Float>!, _ hidden_state: UnsafePointer<Float>!,
  _ weight_ih: UnsafePointer<Float>!, _ weight_hh: UnsafePointer<Float>!,
  _ next_hidden_state: UnsafePointer<Float>!, _ next_hidden_state_gradient: UnsafePointer<Float>!,
  _ out_input_gradient: UnsafeMutablePointer<Float>!, _ out_hidden_state_gradient: UnsafeMutablePointer<Float>!,
  _ out_weight_ih_gradient: UnsafeMutablePointer<Float>!, _ out_weight_hh_gradient: UnsafeMutablePointer<Float>!,
  _ out_bias_gradient: UnsafeMutablePointer<Float>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let cell = VanillaCell<Float>(
      try Nonlinearity(constant: nonlinearity), batchSize: N, inputSize: I, hiddenSize: H)
    var arrays = try CellArrays(N, I, H, gates: 1)
    try arrays.input(input, "input", .input)
    try arrays.input(hidden_state, "hidden_state", .state, isOptional: true)
    try arrays.input(weight_ih, "weight_ih", .weightIH)
    try arrays.input(weight_hh, "weight_hh", .weightHH)
    try arrays.input(next_hidden_state, "next_hidden_state", .state)
    try arrays.input(next_hidden_state_gradient, "next_hidden_state_gradient", .state)
    try arrays.output(out_input_gradient, "out_input_gradient", .input, isOptional: true)
    try arrays.output(out_hidden_state_gradient, "out_hidden_state_gradient", .state, isOptional: true)
    try arrays.output(out_weight_ih_gradient, "out_weight_ih_gradient", .weightIH, isOptional: true)
    try arrays.output(out_weight_hh_gradient, "out_weight_hh_gradient", .weightHH, isOptional: true)
    try arrays.output(out_bias_gradient, "out_bias_gradient", .bias, isOptional: true)
    try arrays.computing { () throws(RNNError) in
      try cell.backward(
        input: input, hidden: hidden_state, weightIH: weight_ih, weightHH: weight_hh,
        nextHidden: next_hidden_state, nextHiddenGradient: next_hidden_state_gradient,
        inputGradient: out_input_gradient, hiddenGradient: out_hidden_state_gradient,
        weightIHGradient: out_weight_ih_gradient, weightHHGradient: out_weight_hh_gradient,
        biasGradient: out_bias_gradient)
    }
  }
}

@_cdecl("rnn_gru_forward") @implementation
public func rnn_gru_forward(
  _ variant: Int32, _ N: Int, _ I: Int, _ H: Int,
  _ input: UnsafePointer<Float>!, _ hidden_state: UnsafePointer<Float>!,
  _ weight_ih: UnsafePointer<Float>!, _ weight_hh: UnsafePointer<Float>!,
  _ bias_ih: UnsafePointer<Float>!, _ bias_hh: UnsafePointer<Float>!,
  _ out_hidden_state: UnsafeMutablePointer<Float>!, _ out_trace: UnsafeMutablePointer<Float>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let cell = GRUCell<Float>(try GRUVariant(constant: variant), batchSize: N, inputSize: I, hiddenSize: H)
    var arrays = try CellArrays(N, I, H, gates: 3)
    try arrays.input(input, "input", .input)
    try arrays.input(hidden_state, "hidden_state", .state, isOptional: true)
    try arrays.input(weight_ih, "weight_ih", .weightIH)
    try arrays.input(weight_hh, "weight_hh", .weightHH)
    try arrays.input(bias_ih, "bias_ih", .bias, isOptional: true)
    try arrays.input(bias_hh, "bias_hh", .bias, isOptional: true)
    try arrays.output(out_hidden_state, "out_hidden_state", .state)
    try arrays.output(out_trace, "out_trace", .trace, isOptional: true)
    try arrays.computing { () throws(RNNError) in
      try cell.forward(
        input: input, hidden: hidden_state, weightIH: weight_ih, weightHH: weight_hh, biasIH: bias_ih, biasHH: bias_hh,
        nextHidden: out_hidden_state, trace: out_trace)
    }
  }
}

@_cdecl("rnn_gru_backward") @implementation
public func rnn_gru_backward(
  _ variant: Int32, _ N: Int, _ I: Int, _ H: Int,
  _ input: UnsafePointer<Float>!, _ hidden_state: UnsafePointer<Float>!,
  _ weight_ih: UnsafePointer<Float>!, _ weight_hh: UnsafePointer<Float>!,
  _ trace: UnsafePointer<Float>!, _ next_hidden_state_gradient: UnsafePointer<Float>!,
  _ out_input_gradient: UnsafeMutablePointer<Float>!, _ out_hidden_state_gradient: UnsafeMutablePointer<Float>!,
  _ out_weight_ih_gradient: UnsafeMutablePointer<Float>!, _ out_weight_hh_gradient: UnsafeMutablePointer<Float>!,
  _ out_bias_ih_gradient: UnsafeMutablePointer<Float>!, _ out_bias_hh_gradient: UnsafeMutablePointer<Float>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let cell = GRUCell<Float>(try GRUVariant(constant: variant), batchSize: N, inputSize: I, hiddenSize: H)
    var arrays = try CellArrays(N, I, H, gates: 3)
    try arrays.input(input, "input", .input)
    try arrays.input(hidden_state, "hidden_state", .state, isOptional: true)
    try arrays.input(weight_ih, "weight_ih", .weightIH)
    try arrays.input(weight_hh, "weight_hh", .weightHH)
    try arrays.input(trace, "trace", .trace)
    try arrays.input(next_hidden_state_gradient, "next_hidden_state_gradient", .state)
    try arrays.output(out_input_gradient, "out_input_gradient", .input, isOptional: true)
    try arrays.output(out_hidden_state_gradient, "out_hidden_state_gradient", .state, isOptional: true)
    try arrays.output(out_weight_ih_gradient, "out_weight_ih_gradient", .weightIH, isOptional: true)
    try arrays.output(out_weight_hh_gradient, "out_weight_hh_gradient", .weightHH, isOptional: true)
    try arrays.output(out_bias_ih_gradient, "out_bias_ih_gradient", .bias, isOptional: true)
    try arrays.output(out_bias_hh_gradient, "out_bias_hh_gradient", .bias, isOptional: true)
    try arrays.computing { () throws(RNNError) in
      try cell.backward(
        input: input, hidden: hidden_state, weightIH: weight_ih, weightHH: weight_hh,
        trace: trace, nextHiddenGradient: next_hidden_state_gradient,
        inputGradient: out_input_gradient, hiddenGradient: out_hidden_state_gradient,
        weightIHGradient: out_weight_ih_gradient, weightHHGradient: out_weight_hh_gradient,
        biasIHGradient: out_bias_ih_gradient, biasHHGradient: out_bias_hh_gradient)
    }
  }
}

@_cdecl("rnn_lstm_forward") @implementation
public func rnn_lstm_forward(
  _ N: Int, _ I: Int, _ H: Int,
  _ input: UnsafePointer<Float>!, _ hidden_state: UnsafePointer<Float>!, _ cell_state: UnsafePointer<Float>!,
  _ weight_ih: UnsafePointer<Float>!, _ weight_hh: UnsafePointer<Float>!,
  _ bias_ih: UnsafePointer<Float>!, _ bias_hh: UnsafePointer<Float>!,
  _ out_hidden_state: UnsafeMutablePointer<Float>!, _ out_cell_state: UnsafeMutablePointer<Float>!,
  _ out_trace: UnsafeMutablePointer<Float>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let cell = LSTMCell<Float>(batchSize: N, inputSize: I, hiddenSize: H)
    var arrays = try CellArrays(N, I, H, gates: 4)
    try arrays.input(input, "input", .input)
    try arrays.input(hidden_state, "hidden_state", .state, isOptional: true)
    try arrays.input(cell_state, "cell_state", .state, isOptional: true)
    try arrays.input(weight_ih, "weight_ih", .weightIH)
    try arrays.input(weight_hh, "weight_hh", .weightHH)
    try arrays.input(bias_ih, "bias_ih", .bias, isOptional: true)
    try arrays.input(bias_hh, "bias_hh", .bias, isOptional: true)
    try arrays.output(out_hidden_state, "out_hidden_state", .state)
    try arrays.output(out_cell_state, "out_cell_state", .state)
    try arrays.output(out_trace, "out_trace", .trace, isOptional: true)
    try arrays.computing { () throws(RNNError) in
      try cell.forward(
        input: input, hidden: hidden_state, cell: cell_state,
        weightIH: weight_ih, weightHH: weight_hh, biasIH: bias_ih, biasHH: bias_hh,
        nextHidden: out_hidden_state, nextCell: out_cell_state, trace: out_trace)
    }
  }
}

@_cdecl("rnn_lstm_backward") @implementation
public func rnn_lstm_backward(
  _ N: Int, _ I: Int, _ H: Int,
  _ input: UnsafePointer<Float>!, _ hidden_state: UnsafePointer<Float>!, _ cell_state: UnsafePointer<Float>!,
  _ weight_ih: UnsafePointer<Float>!, _ weight_hh: UnsafePointer<Float>!,
  _ trace: UnsafePointer<Float>!, _ next_cell_state: UnsafePointer<Float>!,
  _ next_hidden_state_gradient: UnsafePointer<Float>!, _ next_cell_state_gradient: UnsafePointer<Float>!,
  _ out_input_gradient: UnsafeMutablePointer<Float>!, _ out_hidden_state_gradient: UnsafeMutablePointer<Float>!,
  _ out_cell_state_gradient: UnsafeMutablePointer<Float>!,
  _ out_weight_ih_gradient: UnsafeMutablePointer<Float>!, _ out_weight_hh_gradient: UnsafeMutablePointer<Float>!,
  _ out_bias_gradient: UnsafeMutablePointer<Float>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let cell = LSTMCell<Float>(batchSize: N, inputSize: I, hiddenSize: H)
    var arrays = try CellArrays(N, I, H, gates: 4)
    try arrays.input(input, "input", .input)
    try arrays.input(hidden_state, "hidden_state", .state, isOptional: true)
    try arrays.input(cell_state, "cell_state", .state, isOptional: true)
    try arrays.input(weight_ih, "weight_ih", .weightIH)
    try arrays.input(weight_hh, "weight_hh", .weightHH)
    try arrays.input(trace, "trace", .trace)
    try arrays.input(next_cell_state, "next_cell_state", .state)
    try arrays.input(next_hidden_state_gradient, "next_hidden_state_gradient", .state, isOptional: true)
    try arrays.input(next_cell_state_gradient, "next_cell_state_gradient", .state, isOptional: true)
    try arrays.output(out_input_gradient, "out_input_gradient", .input, isOptional: true)
    try arrays.output(out_hidden_state_gradient, "out_hidden_state_gradient", .state, isOptional: true)
    try arrays.output(out_cell_state_gradient, "out_cell_state_gradient", .state, isOptional: true)
    try arrays.output(out_weight_ih_gradient, "out_weight_ih_gradient", .weightIH, isOptional: true)
    try arrays.output(out_weight_hh_gradient, "out_weight_hh_gradient", .weightHH, isOptional: true)
    try arrays.output(out_bias_gradient, "out_bias_gradient", .bias, isOptional: true)
    try arrays.computing { () throws(RNNError) in
      try cell.backward(
        input: input, hidden: hidden_state, cell: cell_state, weightIH: weight_ih, weightHH: weight_hh,
        trace: trace, nextCell: next_cell_state,
        nextHiddenGradient: next_hidden_state_gradient, nextCellGradient: next_cell_state_gradient,
        inputGradient: out_input_gradient, hiddenGradient: out_hidden_state_gradient,
        cellGradient: out_cell_state_gradient,
        weightIHGradient: out_weight_ih_gradient, weightHHGradient: out_weight_hh_gradient,
        biasGradient: out_bias_gradient)
    }
  }
}

// MARK: - The same in double

@_cdecl("rnn_vanilla_forward_f64") @implementation
public func rnn_vanilla_forward_f64(
  _ nonlinearity: Int32, _ N: Int, _ I: Int, _ H: Int,
  _ input: UnsafePointer<Double>!, _ hidden_state: UnsafePointer<Double>!,
  _ weight_ih: UnsafePointer<Double>!, _ weight_hh: UnsafePointer<Double>!,
  _ bias_ih: UnsafePointer<Double>!, _ bias_hh: UnsafePointer<Double>!,
  _ out_hidden_state: UnsafeMutablePointer<Double>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let cell = VanillaCell<Double>(
      try Nonlinearity(constant: nonlinearity), batchSize: N, inputSize: I, hiddenSize: H)
    var arrays = try CellArrays(N, I, H, gates: 1)
    try arrays.input(input, "input", .input)
    try arrays.input(hidden_state, "hidden_state", .state, isOptional: true)
    try arrays.input(weight_ih, "weight_ih", .weightIH)
    try arrays.input(weight_hh, "weight_hh", .weightHH)
    try arrays.input(bias_ih, "bias_ih", .bias, isOptional: true)
    try arrays.input(bias_hh, "bias_hh", .bias, isOptional: true)
    try arrays.output(out_hidden_state, "out_hidden_state", .state)
    try arrays.computing { () throws(RNNError) in
      try cell.forward(
        input: input, hidden: hidden_state, weightIH: weight_ih, weightHH: weight_hh, biasIH: bias_ih, biasHH: bias_hh,
        nextHidden: out_hidden_state)
    }
  }
}

@_cdecl("rnn_vanilla_backward_f64") @implementation
public func rnn_vanilla_backward_f64(
  _ nonlinearity: Int32, _ N: Int, _ I: Int, _ H: Int,
  _ input: UnsafePointer<Double>!, _ hidden_state: UnsafePointer<Double>!,
  _ weight_ih: UnsafePointer<Double>!, _ weight_hh: UnsafePointer<Double>!,
  _ next_hidden_state: UnsafePointer<Double>!, _ next_hidden_state_gradient: UnsafePointer<Double>!,
  _ out_input_gradient: UnsafeMutablePointer<Double>!, _ out_hidden_state_gradient: UnsafeMutablePointer<Double>!,
  _ out_weight_ih_gradient: UnsafeMutablePointer<Double>!, _ out_weight_hh_gradient: UnsafeMutablePointer<Double>!,
  _ out_bias_gradient: UnsafeMutablePointer<Double>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let cell = VanillaCell<Double>(
      try Nonlinearity(constant: nonlinearity), batchSize: N, inputSize: I, hiddenSize: H)
    var arrays = try CellArrays(N, I, H, gates: 1)
    try arrays.input(input, "input", .input)
    try arrays.input(hidden_state, "hidden_state", .state, isOptional: true)
    try arrays.input(weight_ih, "weight_ih", .weightIH)
    try arrays.input(weight_hh, "weight_hh", .weightHH)
    try arrays.input(next_hidden_state, "next_hidden_state", .state)
    try arrays.input(next_hidden_state_gradient, "next_hidden_state_gradient", .state)
    try arrays.output(out_input_gradient, "out_input_gradient", .input, isOptional: true)
    try arrays.output(out_hidden_state_gradient, "out_hidden_state_gradient", .state, isOptional: true)
    try arrays.output(out_weight_ih_gradient, "out_weight_ih_gradient", .weightIH, isOptional: true)
    try arrays.output(out_weight_hh_gradient, "out_weight_hh_gradient", .weightHH, isOptional: true)
    try arrays.output(out_bias_gradient, "out_bias_gradient", .bias, isOptional: true)
    try arrays.computing { () throws(RNNError) in
      try cell.backward(
        input: input, hidden: hidden_state, weightIH: weight_ih, weightHH: weight_hh,
        nextHidden: next_hidden_state, nextHiddenGradient: next_hidden_state_gradient,
        inputGradient: out_input_gradient, hiddenGradient: out_hidden_state_gradient,
        weightIHGradient: out_weight_ih_gradient, weightHHGradient: out_weight_hh_gradient,
        biasGradient: out_bias_gradient)
    }
  }
}

@_cdecl("rnn_gru_forward_f64") @implementation
public func rnn_gru_forward_f64(
  _ variant: Int32, _ N: Int, _ I: Int, _ H: Int,
  _ input: UnsafePointer<Double>!, _ hidden_state: UnsafePointer<Double>!,
  _ weight_ih: UnsafePointer<Double>!, _ weight_hh: UnsafePointer<Double>!,
  _ bias_ih: UnsafePointer<Double>!, _ bias_hh: UnsafePointer<Double>!,
  _ out_hidden_state: UnsafeMutablePointer<Double>!, _ out_trace: UnsafeMutablePointer<Double>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let cell = GRUCell<Double>(try GRUVariant(constant: variant), batchSize: N, inputSize: I, hiddenSize: H)
    var arrays = try CellArrays(N, I, H, gates: 3)
    try arrays.input(input, "input", .input)
    try arrays.input(hidden_state, "hidden_state", .state, isOptional: true)
    try arrays.input(weight_ih, "weight_ih", .weightIH)
    try arrays.input(weight_hh, "weight_hh", .weightHH)
    try arrays.input(bias_ih, "bias_ih", .bias, isOptional: true)
    try arrays.input(bias_hh, "bias_hh", .bias, isOptional: true)
    try arrays.output(out_hidden_state, "out_hidden_state", .state)
    try arrays.output(out_trace, "out_trace", .trace, isOptional: true)
    try arrays.computing { () throws(RNNError) in
      try cell.forward(
        input: input, hidden: hidden_state, weightIH: weight_ih, weightHH: weight_hh, biasIH: bias_ih, biasHH: bias_hh,
        nextHidden: out_hidden_state, trace: out_trace)
    }
  }
}

@_cdecl("rnn_gru_backward_f64") @implementation
public func rnn_gru_backward_f64(
  _ variant: Int32, _ N: Int, _ I: Int, _ H: Int,
  _ input: UnsafePointer<Double>!, _ hidden_state: UnsafePointer<Double>!,
  _ weight_ih: UnsafePointer<Double>!, _ weight_hh: UnsafePointer<Double>!,
  _ trace: UnsafePointer<Double>!, _ next_hidden_state_gradient: UnsafePointer<Double>!,
  _ out_input_gradient: UnsafeMutablePointer<Double>!, _ out_hidden_state_gradient: UnsafeMutablePointer<Double>!,
  _ out_weight_ih_gradient: UnsafeMutablePointer<Double>!, _ out_weight_hh_gradient: UnsafeMutablePointer<Double>!,
  _ out_bias_ih_gradient: UnsafeMutablePointer<Double>!, _ out_bias_hh_gradient: UnsafeMutablePointer<Double>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let cell = GRUCell<Double>(try GRUVariant(constant: variant), batchSize: N, inputSize: I, hiddenSize: H)
    var arrays = try CellArrays(N, I, H, gates: 3)
    try arrays.input(input, "input", .input)
    try arrays.input(hidden_state, "hidden_state", .state, isOptional: true)
    try arrays.input(weight_ih, "weight_ih", .weightIH)
    try arrays.input(weight_hh, "weight_hh", .weightHH)
    try arrays.input(trace, "trace", .trace)
    try arrays.input(next_hidden_state_gradient, "next_hidden_state_gradient", .state)
    try arrays.output(out_input_gradient, "out_input_gradient", .input, isOptional: true)
    try arrays.output(out_hidden_state_gradient, "out_hidden_state_gradient", .state, isOptional: true)
    try arrays.output(out_weight_ih_gradient, "out_weight_ih_gradient", .weightIH, isOptional: true)
    try arrays.output(out_weight_hh_gradient, "out_weight_hh_gradient", .weightHH, isOptional: true)
    try arrays.output(out_bias_ih_gradient, "out_bias_ih_gradient", .bias, isOptional: true)
    try arrays.output(out_bias_hh_gradient, "out_bias_hh_gradient", .bias, isOptional: true)
    try arrays.computing { () throws(RNNError) in
      try cell.backward(
        input: input, hidden: hidden_state, weightIH: weight_ih, weightHH: weight_hh,
        trace: trace, nextHiddenGradient: next_hidden_state_gradient,
        inputGradient: out_input_gradient, hiddenGradient: out_hidden_state_gradient,
        weightIHGradient: out_weight_ih_gradient, weightHHGradient: out_weight_hh_gradient,
        biasIHGradient: out_bias_ih_gradient, biasHHGradient: out_bias_hh_gradient)
    }
  }
}

@_cdecl("rnn_lstm_forward_f64") @implementation
public func rnn_lstm_forward_f64(
  _ N: Int, _ I: Int, _ H: Int,
  _ input: UnsafePointer<Double>!, _ hidden_state: UnsafePointer<Double>!, _ cell_state: UnsafePointer<Double>!,
  _ weight_ih: UnsafePointer<Double>!, _ weight_hh: UnsafePointer<Double>!,
  _ bias_ih: UnsafePointer<Double>!, _ bias_hh: UnsafePointer<Double>!,
  _ out_hidden_state: UnsafeMutablePointer<Double>!, _ out_cell_state: UnsafeMutablePointer<Double>!,
  _ out_trace: UnsafeMutablePointer<Double>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let cell = LSTMCell<Double>(batchSize: N, inputSize: I, hiddenSize: H)
    var arrays = try CellArrays(N, I, H, gates: 4)
    try arrays.input(input, "input", .input)
    try arrays.input(hidden_state, "hidden_state", .state, isOptional: true)
    try arrays.input(cell_state, "cell_state", .state, isOptional: true)
    try arrays.input(weight_ih, "weight_ih", .weightIH)
    try arrays.input(weight_hh, "weight_hh", .weightHH)
    try arrays.input(bias_ih, "bias_ih", .bias, isOptional: true)
    try arrays.input(bias_hh, "bias_hh", .bias, isOptional: true)
    try arrays.output(out_hidden_state, "out_hidden_state", .state)
    try arrays.output(out_cell_state, "out_cell_state", .state)
    try arrays.output(out_trace, "out_trace", .trace, isOptional: true)
    try arrays.computing { () throws(RNNError) in
      try cell.forward(
        input: input, hidden: hidden_state, cell: cell_state,
        weightIH: weight_ih, weightHH: weight_hh, biasIH: bias_ih, biasHH: bias_hh,
        nextHidden: out_hidden_state, nextCell: out_cell_state, trace: out_trace)
    }
  }
}

@_cdecl("rnn_lstm_backward_f64") @implementation
public func rnn_lstm_backward_f64(
  _ N: Int, _ I: Int, _ H: Int,
  _ input: UnsafePointer<Double>!, _ hidden_state: UnsafePointer<Double>!, _ cell_state: UnsafePointer<Double>!,
  _ weight_ih: UnsafePointer<Double>!, _ weight_hh: UnsafePointer<Double>!,
  _ trace: UnsafePointer<Double>!, _ next_cell_state: UnsafePointer<Double>!,
  _ next_hidden_state_gradient: UnsafePointer<Double>!, _ next_cell_state_gradient: UnsafePointer<Double>!,
  _ out_input_gradient: UnsafeMutablePointer<Double>!, _ out_hidden_state_gradient: UnsafeMutablePointer<Double>!,
  _ out_cell_state_gradient: UnsafeMutablePointer<Double>!,
  _ out_weight_ih_gradient: UnsafeMutablePointer<Double>!, _ out_weight_hh_gradient: UnsafeMutablePointer<Double>!,
  _ out_bias_gradient: UnsafeMutablePointer<Double>!
) -> rnn_status {
  catchingErrors { () throws(RNNError) in
    let cell = LSTMCell<Double>(batchSize: N, inputSize: I, hiddenSize: H)
    var arrays = try CellArrays(N, I, H, gates: 4)
    try arrays.input(input, "input", .input)
    try arrays.input(hidden_state, "hidden_state", .state, isOptional: true)
    try arrays.input(cell_state, "cell_state", .state, isOptional: true)
    try arrays.input(weight_ih, "weight_ih", .weightIH)
    try arrays.input(weight_hh, "weight_hh", .weightHH)
    try arrays.input(trace, "trace", .trace)
    try arrays.input(next_cell_state, "next_cell_state", .state)
    try arrays.input(next_hidden_state_gradient, "next_hidden_state_gradient", .state, isOptional: true)
    try arrays.input(next_cell_state_gradient, "next_cell_state_gradient", .state, isOptional: true)
    try arrays.output(out_input_gradient, "out_input_gradient", .input, isOptional: true)
    try arrays.output(out_hidden_state_gradient, "out_hidden_state_gradient", .state, isOptional: true)
    try arrays.output(out_cell_state_gradient, "out_cell_state_gradient", .state, isOptional: true)
    try arrays.output(out_weight_ih_gradient, "out_weight_ih_gradient", .weightIH, isOptional: true)
    try arrays.output(out_weight_hh_gradient, "out_weight_hh_gradient", .weightHH, isOptional: true)
    try arrays.output(out_bias_gradient, "out_bias_gradient", .bias, isOptional: true)
    try arrays.computing { () throws(RNNError) in
      try cell.backward(
        input: input, hidden: hidden_state, cell: cell_state, weightIH: weight_ih, weightHH: weight_hh,
        trace: trace, nextCell: next_cell_state,
        nextHiddenGradient: next_hidden_state_gradient, nextCellGradient: next_cell_state_gradient,
        inputGradient: out_input_gradient, hiddenGradient: out_hidden_state_gradient,
        cellGradient: out_cell_state_gradient,
        weightIHGradient: out_weight_ih_gradient, weightHHGradient: out_weight_hh_gradient,
        biasGradient: out_bias_gradient)
    }
  }
}
