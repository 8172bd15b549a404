"""Reads a graph without running it: every value is a constant, a rearranged input, or an arrangement of a node of the network.

One pass over the nodes in the order of the file. What cannot be read is remembered with the reason, and is an error only if an
output needs it. Nothing is executed, and no loop of the graph is followed: a cycle is a node that reads what is not there yet.

What the operators mean stands in classes that build on each other: `Reader`, `Moving`, `Tokens`, `Arithmetic`, `Norms`, `Padding`,
`Cells`.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from ..errors import RNNError, unsupported
from ._arithmetic import ACTIVATIONS, FRONT_END
from ._cells import Cells
from ._dims import DimError
from ._file import Graph, Node, format_error
from ._fold import COMPUTING, FOLDED, MOVING, fold, settle
from ._layout import ViewError
from ._values import Unfixed, Value

#: The newest version of each operator that is read; a later one could mean something else.
NEWEST = {
    "RNN": 22, "GRU": 22, "LSTM": 22, "Constant": 25, "Identity": 25, "Cast": 28, "Shape": 25, "Size": 25, "Gather": 13,
    "Concat": 13, "Slice": 13, "Unsqueeze": 25, "Squeeze": 25, "Transpose": 25, "Reshape": 25, "Flatten": 25, "Expand": 13,
    "ConstantOfShape": 25, "Range": 27, "Tile": 13, "Split": 18, "Add": 14, "Sub": 14, "Mul": 14, "Div": 14, "Neg": 13,
    "Mod": 28, "Pow": 15, "Sqrt": 13, "Min": 13, "Max": 13, "Where": 16, "Equal": 19, "Not": 1, "Less": 13, "Greater": 13,
    "LessOrEqual": 16, "GreaterOrEqual": 16, "And": 7, "Or": 7, "ReduceProd": 18, "ReduceSum": 13, "ReduceMean": 18,
    "ReduceMax": 20, "ReduceMin": 20, "Abs": 13, "Floor": 13, "Ceil": 13, "DequantizeLinear": 28, "MatMul": 13, "Gemm": 13,
    "Sum": 13, "Relu": 14, "Sigmoid": 13, "Tanh": 13, "HardSigmoid": 22, "LeakyRelu": 16, "ThresholdedRelu": 22, "Elu": 22,
    "Softsign": 22, "Softplus": 22, "PRelu": 16, "Softmax": 13, "LogSoftmax": 13, "LayerNormalization": 17,
    "GlobalAveragePool": 22, "Reciprocal": 13, "BatchNormalization": 15, "OneHot": 28, "Dropout": 22, "ReverseSequence": 28,
    "GatherElements": 13, "Loop": 25, "ReduceSumSquare": 18, "Clip": 13, "Conv": 22,
}  # fmt: skip

_QUANTIZED = "it computes with integers, whose results librnn does not reproduce: load the model as it was before quantization"

#: What can be done about operators that are met in graphs with recurrent nodes.
_INSTEAD = {
    "com.microsoft.DynamicQuantizeLSTM": _QUANTIZED, "DynamicQuantizeLinear": _QUANTIZED, "QuantizeLinear": _QUANTIZED,
    "MatMulInteger": _QUANTIZED, "ConvInteger": _QUANTIZED, "QLinearMatMul": _QUANTIZED, "QLinearConv": _QUANTIZED,
    "com.microsoft.DynamicQuantizeMatMul": _QUANTIZED, "com.microsoft.MatMulIntegerToFloat": _QUANTIZED,
    "STFT": FRONT_END, "MaxPool": FRONT_END, "AveragePool": FRONT_END, "Pad": FRONT_END,
    "If": "librnn runs one chain of layers: export the branch that is taken",
    "Scan": "export the recurrent layer as a node RNN, GRU or LSTM",
}  # fmt: skip


class Interpreter(Cells):
    """The pass over a graph."""

    def __init__(
        self, graph: Graph, conventions: str, constants: Mapping[str, np.ndarray], onnx: Any, made: Sequence[str] = ()
    ) -> None:
        super().__init__(graph, conventions, constants, onnx, made)
        self._pass()

    def _pass(self) -> None:
        made_later: Dict[str, Node] = {}
        for node in self.graph.nodes:
            for name in node.outputs:
                if name and (name in self.values or name in made_later):
                    raise format_error(f"{node}: its output {name!r} is there already")
                if name:
                    made_later[name] = node
        for node in self.graph.nodes:
            if not any(node.outputs):
                continue  # nothing can need it
            arguments: List[Optional[Value]] = []
            for name in node.inputs:
                if name and name not in self.values:
                    if name in made_later:
                        raise format_error(
                            f"{node} reads {name!r}, which {made_later[name]} makes later: the graph has a cycle, or its nodes "
                            "are not in order"
                        )
                    raise format_error(f"{node} reads {name!r}, which is nowhere")
                arguments.append(self.values[name] if name else None)
            cause: Optional[Node] = node
            try:
                self._check_operator(node)
                needed = arguments[:1] + arguments[2:] if node.op == "Loop" else arguments  # its condition is looked at by itself
                failed = next((value for value in needed if value is not None and value.error), None)
                if failed is not None:
                    cause = failed.origin
                    assert failed.error is not None
                    raise failed.error
                results = self._node(node, arguments)
            except (RNNError, Unfixed) as error:
                results = [Value(name, error=error, origin=cause) for name in node.outputs]
            except (ViewError, DimError) as error:
                results = [Value(name, error=unsupported(f"{node}: {error}"), origin=cause) for name in node.outputs]
            for name in node.outputs[len(results) :]:
                results.append(Value(name, error=unsupported(f"{node}: its output {name!r} is not one that librnn has")))
            for name, value in zip(node.outputs, results):
                if name:
                    value.name = name
                    self.values[name] = value
                    made_later.pop(name, None)

    def _node(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        given = [value for value in arguments if value is not None]
        pattern = self._patterned(node, arguments)
        if pattern is not None:
            return [pattern]
        if node.op == "Shape":
            return [self._shape(node, arguments)]
        if node.op in ("ConstantOfShape", "Expand"):
            repeated = self._repeat(node, arguments)
            if repeated is not None:
                return [repeated]
        if node.op in FOLDED and all(value.known for value in given):
            arrays = fold(node, self.opset, [None if value is None else value.const for value in arguments], self.budget)
            return [Value("", const=settle(array)) for array in arrays]
        handler = _HANDLERS.get(node.op)
        if node.op in MOVING:
            special = self._gathered(node, arguments) if node.op == "Gather" else None
            return special if special is not None else self._move(node, arguments)
        if node.op in COMPUTING and all(value.known or self._from_integers(value) for value in given):
            return self._host_integers(node, arguments)
        if handler is None:
            raise unsupported(f"{node}: {node.op} of something that depends on an input is not among what librnn reads")
        return handler(self, node, arguments)

    def _check_operator(self, node: Node) -> None:
        if node.domain or node.op not in NEWEST:
            op = f"{node.domain}.{node.op}" if node.domain else node.op
            instead = f": {_INSTEAD[op]}" if op in _INSTEAD else ""
            raise unsupported(f"{node}: {op} is not among the operators that librnn reads{instead}")
        version = self._versions.get(node.op)
        if version is None:
            try:
                version = int(self.onnx.defs.get_schema(node.op, self.opset, "").since_version)
            except Exception:  # the package has an exception class of its own in C++
                raise unsupported(f"{node}: the opset {self.opset} has no operator {node.op}") from None
            self._versions[node.op] = version
        if version > NEWEST[node.op]:
            raise unsupported(f"{node}: version {version} of {node.op} is newer than this reader, which knows {NEWEST[node.op]}")


_HANDLERS: Dict[str, Callable[[Interpreter, Node, List[Optional[Value]]], List[Value]]] = {
    "RNN": Interpreter._recurrent, "GRU": Interpreter._recurrent, "LSTM": Interpreter._recurrent, "Clip": Interpreter._clip,
    "Conv": Interpreter._conv, "Loop": Interpreter._loop, "OneHot": Interpreter._one_hot, "MatMul": Interpreter._matmul,
    "Gemm": Interpreter._gemm, "Add": Interpreter._combine, "Sub": Interpreter._combine, "Mul": Interpreter._combine,
    "Div": Interpreter._combine, "Sum": Interpreter._sum, "Neg": Interpreter._negative, "PRelu": Interpreter._prelu,
    "Softmax": Interpreter._softmax, "LogSoftmax": Interpreter._softmax, "LayerNormalization": Interpreter._layer_norm,
    "BatchNormalization": Interpreter._batch_norm, "ReduceMean": Interpreter._reduce_mean,
    "ReduceSumSquare": Interpreter._reduce_mean, "Pow": Interpreter._power, "Sqrt": Interpreter._root,
    "Reciprocal": Interpreter._root, "GlobalAveragePool": Interpreter._reduce_mean, "Dropout": Interpreter._dropout,
    "ReverseSequence": Interpreter._reverse_sequence, "Where": Interpreter._where,
    "GatherElements": Interpreter._gather_elements,
    **{op: Interpreter._activation for op in ACTIVATIONS},
}  # fmt: skip
