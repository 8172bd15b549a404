// One file for every instruction set (RNNKernelsV3 and RNNKernelsV4 link to it): Target.swift beside it says which.
import CRNNSupport
import RNNKernelBodies

@inline(__always)
private func arguments<A>(_ pointer: UnsafeRawPointer, _ type: A.Type) -> A {
  pointer.assumingMemoryBound(to: A.self).pointee
}

@inline(__always)
func fillFloat32(_ table: UnsafeMutablePointer<rnn_cpu_kernels>) {
  table.pointee.panel_width = Float32Target.panelVectors &* Float32Target.width
  table.pointee.product = { productBody(Float32Target.self, arguments($0, ProductArguments<Float>.self)) }
  table.pointee.plain_product = { plainProductBody(Float32Target.self, arguments($0, ProductArguments<Float>.self)) }
  table.pointee.weight_gradient = { weightGradientBody(Float32Target.self, arguments($0, WeightGradientArguments<Float>.self)) }
  table.pointee.sigmoid = { sigmoidBody(Float32Target.self, arguments($0, ElementArguments<Float>.self)) }
  table.pointee.tanh = { tanhBody(Float32Target.self, arguments($0, ElementArguments<Float>.self)) }
  table.pointee.activate = { activateBody(Float32Target.self, arguments($0, ActivateArguments<Float>.self)) }
  table.pointee.add = { addBody(Float32Target.self, arguments($0, AddArguments<Float>.self)) }
  table.pointee.vanilla_forward = { vanillaForwardBody(Float32Target.self, arguments($0, GateArguments<Float>.self)) }
  table.pointee.vanilla_backward = { vanillaBackwardBody(Float32Target.self, arguments($0, GateArguments<Float>.self)) }
  table.pointee.lstm_forward = { lstmForwardBody(Float32Target.self, arguments($0, GateArguments<Float>.self)) }
  table.pointee.lstm_backward = { lstmBackwardBody(Float32Target.self, arguments($0, GateArguments<Float>.self)) }
  table.pointee.gru_gates = { gruGatesBody(Float32Target.self, arguments($0, GateArguments<Float>.self)) }
  table.pointee.gru_before_forward = { gruBeforeForwardBody(Float32Target.self, arguments($0, GateArguments<Float>.self)) }
  table.pointee.gru_after_forward = { gruAfterForwardBody(Float32Target.self, arguments($0, GateArguments<Float>.self)) }
  table.pointee.gru_backward = { gruBackwardBody(Float32Target.self, arguments($0, GateArguments<Float>.self)) }
  table.pointee.gru_before_backward = { gruBeforeBackwardBody(Float32Target.self, arguments($0, GateArguments<Float>.self)) }
  table.pointee.gru_after_backward = { gruAfterBackwardBody(Float32Target.self, arguments($0, GateArguments<Float>.self)) }
  table.pointee.softmax = { softmaxBody(Float32Target.self, arguments($0, SoftmaxArguments<Float>.self)) }
  table.pointee.column_sums = { columnSumsBody(Float32Target.self, arguments($0, ColumnSumArguments<Float>.self)) }
  table.pointee.sum_of_squares = { sumOfSquaresBody(Float32Target.self, arguments($0, SquareSumArguments<Float>.self)) }
  table.pointee.multiply_add = { multiplyAddBody(Float32Target.self, arguments($0, MultiplyAddArguments<Float>.self)) }
  table.pointee.softmax_forward = { softmaxForwardBody(Float32Target.self, arguments($0, RowArguments<Float>.self)) }
  table.pointee.softmax_backward = { softmaxBackwardBody(Float32Target.self, arguments($0, RowArguments<Float>.self)) }
  table.pointee.layer_norm_forward = { layerNormForwardBody(Float32Target.self, arguments($0, RowArguments<Float>.self)) }
  table.pointee.layer_norm_backward = { layerNormBackwardBody(Float32Target.self, arguments($0, RowArguments<Float>.self)) }
  table.pointee.vector_width = Float32Target.width
  table.pointee.half_width = Float32Target.halfWidth
  table.pointee.beside_rows = Float32Target.besideRows
  table.pointee.fused_sequence = { fusedSequenceBody(Float32Target.self, $0.assumingMemoryBound(to: FusedArguments<Float>.self)) }
}

@inline(__always)
func fillFloat64(_ table: UnsafeMutablePointer<rnn_cpu_kernels>) {
  table.pointee.panel_width = Float64Target.panelVectors &* Float64Target.width
  table.pointee.product = { productBody(Float64Target.self, arguments($0, ProductArguments<Double>.self)) }
  table.pointee.plain_product = { plainProductBody(Float64Target.self, arguments($0, ProductArguments<Double>.self)) }
  table.pointee.weight_gradient = { weightGradientBody(Float64Target.self, arguments($0, WeightGradientArguments<Double>.self)) }
  table.pointee.sigmoid = { sigmoidBody(Float64Target.self, arguments($0, ElementArguments<Double>.self)) }
  table.pointee.tanh = { tanhBody(Float64Target.self, arguments($0, ElementArguments<Double>.self)) }
  table.pointee.activate = { activateBody(Float64Target.self, arguments($0, ActivateArguments<Double>.self)) }
  table.pointee.add = { addBody(Float64Target.self, arguments($0, AddArguments<Double>.self)) }
  table.pointee.vanilla_forward = { vanillaForwardBody(Float64Target.self, arguments($0, GateArguments<Double>.self)) }
  table.pointee.vanilla_backward = { vanillaBackwardBody(Float64Target.self, arguments($0, GateArguments<Double>.self)) }
  table.pointee.lstm_forward = { lstmForwardBody(Float64Target.self, arguments($0, GateArguments<Double>.self)) }
  table.pointee.lstm_backward = { lstmBackwardBody(Float64Target.self, arguments($0, GateArguments<Double>.self)) }
  table.pointee.gru_gates = { gruGatesBody(Float64Target.self, arguments($0, GateArguments<Double>.self)) }
  table.pointee.gru_before_forward = { gruBeforeForwardBody(Float64Target.self, arguments($0, GateArguments<Double>.self)) }
  table.pointee.gru_after_forward = { gruAfterForwardBody(Float64Target.self, arguments($0, GateArguments<Double>.self)) }
  table.pointee.gru_backward = { gruBackwardBody(Float64Target.self, arguments($0, GateArguments<Double>.self)) }
  table.pointee.gru_before_backward = { gruBeforeBackwardBody(Float64Target.self, arguments($0, GateArguments<Double>.self)) }
  table.pointee.gru_after_backward = { gruAfterBackwardBody(Float64Target.self, arguments($0, GateArguments<Double>.self)) }
  table.pointee.softmax = { softmaxBody(Float64Target.self, arguments($0, SoftmaxArguments<Double>.self)) }
  table.pointee.column_sums = { columnSumsBody(Float64Target.self, arguments($0, ColumnSumArguments<Double>.self)) }
  table.pointee.sum_of_squares = { sumOfSquaresBody(Float64Target.self, arguments($0, SquareSumArguments<Double>.self)) }
  table.pointee.multiply_add = { multiplyAddBody(Float64Target.self, arguments($0, MultiplyAddArguments<Double>.self)) }
  table.pointee.softmax_forward = { softmaxForwardBody(Float64Target.self, arguments($0, RowArguments<Double>.self)) }
  table.pointee.softmax_backward = { softmaxBackwardBody(Float64Target.self, arguments($0, RowArguments<Double>.self)) }
  table.pointee.layer_norm_forward = { layerNormForwardBody(Float64Target.self, arguments($0, RowArguments<Double>.self)) }
  table.pointee.layer_norm_backward = { layerNormBackwardBody(Float64Target.self, arguments($0, RowArguments<Double>.self)) }
  table.pointee.vector_width = Float64Target.width
  table.pointee.half_width = Float64Target.halfWidth
  table.pointee.beside_rows = Float64Target.besideRows
  table.pointee.fused_sequence = { fusedSequenceBody(Float64Target.self, $0.assumingMemoryBound(to: FusedArguments<Double>.self)) }
}
