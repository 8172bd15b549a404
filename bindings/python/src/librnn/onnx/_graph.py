"""Reads a graph without running it: every value is a constant, a rearranged input, or an arrangement of a node of the network.

One pass over the nodes in the order of the file. What cannot be read is remembered with the reason, and is an error only if an
output needs it. Nothing is executed, and no loop of the graph is followed: a cycle is a node that reads what is not there yet.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..activations import Activation
from ..errors import RNNError, unsupported
from ._dims import Dim, DimError, Size, product, same
from ._file import Body, Graph, Node, allow_attributes, attribute, cast_type, format_error
from ._fold import (
    COMPUTING, FOLDED, MOVING, Budget, Fold, axes_of, axis_in, filling, flat_shape, fold, integers, numbers, permutation,
    python_slice, settle, shape_array, slice_plan, split_sizes, squeezed, symbolic, target_shape, unique_axes, unsqueezed,
)  # fmt: skip
from ._layout import FEATURES, Axis, Lead, Rows, Step, View, ViewError, moved
from ._loop import LoopReader
from ._recurrent import Recurrent, read_recurrent, state_rows

#: Folded constants may take this many bytes, and a few times what the file's own constants take.
_FOLDED_BYTES, _FOLDED_TIMES = 1 << 25, 4
#: Constants of more elements than this are kept as one number and a shape.
_FILL_ELEMENTS = 1 << 12
#: Pieces of a node's features that may be put together in another order.
_PIECES = 64

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
    "GlobalAveragePool": 22, "Reciprocal": 13, "BatchNormalization": 15, "OneHot": 28, "Dropout": 22, "ReverseSequence": 28, "GatherElements": 13, "Loop": 25, "ReduceSumSquare": 18, "Clip": 13, "Conv": 22,
}  # fmt: skip

_QUANTIZED = "it computes with integers, whose results librnn does not reproduce: load the model as it was before quantization"
_FRONT_END = (
    "librnn has no such node: cut the graph after it (onnx.utils.extract_model), compute that part elsewhere, and load the rest"
)
#: What can be done about operators that are met in graphs with recurrent nodes.
_INSTEAD = {
    "com.microsoft.DynamicQuantizeLSTM": _QUANTIZED, "DynamicQuantizeLinear": _QUANTIZED, "QuantizeLinear": _QUANTIZED,
    "MatMulInteger": _QUANTIZED, "ConvInteger": _QUANTIZED, "QLinearMatMul": _QUANTIZED, "QLinearConv": _QUANTIZED,
    "com.microsoft.DynamicQuantizeMatMul": _QUANTIZED, "com.microsoft.MatMulIntegerToFloat": _QUANTIZED,
    "STFT": _FRONT_END, "MaxPool": _FRONT_END, "AveragePool": _FRONT_END, "Pad": _FRONT_END,
    "If": "librnn runs one chain of layers: export the branch that is taken",
    "Scan": "export the recurrent layer as a node RNN, GRU or LSTM",
}  # fmt: skip

#: Arithmetic that acts on each token alone.
_ELEMENTWISE = frozenset(
    ["Add", "Sub", "Mul", "Cast", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal", "Not", "And", "Or", "Where",
     "Identity", "Min", "Max", "Mod"]
)  # fmt: skip

ACTIVATIONS = {
    "Relu": ("relu", None, None), "Sigmoid": ("sigmoid", None, None), "Tanh": ("tanh", None, None),
    "HardSigmoid": ("hard_sigmoid", 0.2, 0.5), "LeakyRelu": ("leaky_relu", 0.01, None),
    "ThresholdedRelu": ("thresholded_relu", 1.0, None), "Elu": ("elu", 1.0, None), "Softsign": ("softsign", None, None),
    "Softplus": ("softplus", None, None),
}  # fmt: skip


class Unfixed(Exception):
    """Something that librnn keeps in a model, such as weights, is an input of the graph."""

    def __init__(self, names: FrozenSet[str], node: Node, what: str) -> None:
        listed = ", ".join(sorted(names))
        super().__init__(f"{node}: {what} comes from the input {listed}; give its value with constants={{…}}")
        self.names = names


class FixedSize(RNNError):
    """A graph that declares a size by name and works for one number only, as PyTorch's newer exporter writes it."""

    def __init__(self, error: RNNError, name: str, size: int) -> None:
        super().__init__(error.code, error.message)
        self.name = name
        self.size = size

    def __reduce__(self) -> Tuple[type, Tuple[RNNError, str, int]]:
        return type(self), (RNNError(self.code, self.message), self.name, self.size)


class Norm(NamedTuple):
    """A part of a layer normalization that is written out, y = (x - mean) / sqrt(variance + epsilon) * weight + bias.

    `part` is one of: mean, -mean, centred (x - mean), square (of centred), squares (their sum), variance, deviation (its root), inverse
    (of the deviation, times weight), scaled (x times inverse), mean*inverse, shift (bias - mean*inverse).
    """

    part: str
    view: View
    epsilon: float = 0.0
    weight: Optional[np.ndarray] = None
    bias: Optional[np.ndarray] = None
    #: A mean or variance has an axis of size 1 in the place of the features.
    kept: bool = True


class Pattern(NamedTuple):
    """Something that is made of the lengths of the rows, by which a graph masks padding and finds last steps.

    `kind` is one of: lengths, last (lengths - 1), some (lengths > 0), steps (0, 1, ... T - 1), present (steps < lengths).
    """

    kind: str
    #: The value that the lengths come from; "" for steps.
    lengths: str
    #: For each axis of the array: "t" time, "n" rows, "1" size 1, "*" repeated.
    axes: str


class Value:
    """What is known of one array of the graph."""

    __slots__ = ("name", "dtype", "shape", "const", "fill", "host", "bases", "view", "reason", "state", "error", "origin",
                 "parent", "computed", "norm", "pattern")  # fmt: skip

    def __init__(
        self,
        name: str,
        dtype: Optional[np.dtype] = None,
        shape: Optional[Tuple[Size, ...]] = None,
        const: Optional[np.ndarray] = None,
        fill: Optional[np.ndarray] = None,
        bases: FrozenSet[str] = frozenset(),
        view: Optional[View] = None,
        reason: str = "",
        error: Optional[Exception] = None,
        origin: Optional[Node] = None,
        parent: Optional["Value"] = None,
        computed: bool = False,
        state: Optional[Tuple[Step, str]] = None,
        norm: Optional[Norm] = None,
        pattern: Optional[Pattern] = None,
    ) -> None:
        self.name = name
        self.dtype = dtype if const is None else const.dtype
        self.shape: Optional[Tuple[Size, ...]] = shape if const is None else const.shape
        #: The array itself, where it is known.
        self.const = const
        #: A number, or an array, that is repeated to `shape`.
        self.fill = fill
        #: Inputs of the graph, states and results of the network that it is moved together from.
        self.bases = bases
        self.view = view
        #: Why there is no view.
        self.reason = reason
        self.error = error
        #: The node that it is moved by; or the one that cannot be read, where there is an error.
        self.origin = origin
        self.parent = parent
        #: Made by arithmetic of integers, not by moving alone.
        self.computed = computed
        #: The final state of a recurrent step: "h" or "c".
        self.state = state
        self.norm = norm
        self.pattern = pattern

    @property
    def known(self) -> bool:
        return self.const is not None


class Interpreter:
    """The pass over a graph."""

    def __init__(
        self, graph: Graph, conventions: str, constants: Mapping[str, np.ndarray], onnx: Any, made: Sequence[str] = ()
    ) -> None:
        """`made`: inputs that another network makes, whose values nobody can give beforehand."""
        self.graph = graph
        self.conventions = conventions
        self.onnx = onnx
        self.opset = graph.opset
        self.budget = Budget(_FOLDED_BYTES + _FOLDED_TIMES * graph.bytes)
        self.steps: List[Step] = []
        self.values: Dict[str, Value] = {}
        self.inputs = {entry.name for entry in graph.inputs}
        self._given = self.inputs - set(made)
        #: Sizes that the graph takes for equal, and that only a run tells.
        self.assumptions: List[Tuple[Node, Size, Size]] = []
        self._made: Dict[Any, Step] = {}
        self._versions: Dict[str, int] = {}
        #: Rows of the batch, slowest first, as the first recurrent node has them.
        self.rows: Optional[Tuple[Lead, ...]] = None
        self.time: Optional[Lead] = None
        for name, array in graph.constants.items():
            self.values[name] = Value(name, const=array)
        for name, reason in graph.unread.items():
            self.values[name] = Value(name, error=unsupported(reason))
        for entry in graph.inputs:
            if entry.name in constants:
                self.values[entry.name] = Value(entry.name, const=constants[entry.name])
            elif entry.dtype is None:
                self.values[entry.name] = Value(
                    entry.name, error=unsupported(f"the input {entry.name!r} is of type {entry.kind}")
                )
            else:
                self.values[entry.name] = Value(
                    entry.name, entry.dtype, entry.shape, bases=frozenset([entry.name]), reason="it is not read as a sequence"
                )
        self._pass()

    # -------------------------------------------------------------- the pass

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

    # ------------------------------------------------------------- arguments

    def _argument(self, node: Node, arguments: Sequence[Optional[Value]], index: int) -> Value:
        value = arguments[index] if index < len(arguments) else None
        if value is None:
            raise format_error(f"{node}: input {index} is missing")
        return value

    def _optional(self, arguments: Sequence[Optional[Value]], index: int) -> Optional[Value]:
        return arguments[index] if index < len(arguments) else None

    def _constant(self, node: Node, value: Value, what: str) -> np.ndarray:
        """The array of something that a model keeps."""
        if value.const is not None and not symbolic(value.const):
            return value.const
        if value.fill is not None and value.shape is not None and all(isinstance(size, int) for size in value.shape):
            shape = tuple(int(size) for size in value.shape)  # type: ignore[arg-type]
            self.budget.take(int(np.prod(shape, dtype=object)), value.fill.dtype.itemsize, node)
            return _repeated(node, value.fill, shape)
        if value.bases and value.bases <= self._given:
            raise Unfixed(value.bases, node, what)
        raise unsupported(f"{node}: {what} is computed in the graph; librnn needs to know it beforehand")

    def _known_arrays(self, arguments: Sequence[Optional[Value]]) -> List[Optional[np.ndarray]]:
        return [None if value is None else value.const for value in arguments]

    def _from_inputs(self, value: Value) -> bool:
        return bool(value.bases) and value.bases <= self.inputs

    def _from_integers(self, value: Value) -> bool:
        """Computed of inputs that are integers: tokens and lengths."""
        return self._from_inputs(value) and all(
            dtype is not None and dtype.kind in "iub" for dtype in (self.values[base].dtype for base in value.bases)
        )

    # --------------------------------------------------------------- shapes

    def _shape(self, node: Node, arguments: Sequence[Optional[Value]]) -> Value:
        value = self._argument(node, arguments, 0)
        if value.shape is None:
            raise unsupported(f"{node}: the shape of {value.name!r} is not known")
        return Value("", const=shape_array(Fold(node, self.opset, None), value.shape))

    def _repeat(self, node: Node, arguments: Sequence[Optional[Value]]) -> Optional[Value]:
        """ConstantOfShape and Expand of what is known to a shape that may be large, or known only in a run."""
        maker = Fold(node, self.opset, self.budget)
        if node.op == "ConstantOfShape":
            shape_value, base = self._argument(node, arguments, 0), filling(maker)
        else:
            source, shape_value = self._argument(node, arguments, 0), self._argument(node, arguments, 1)
            given = source.const if source.const is not None else source.fill
            if given is None:
                return None
            base = given
        if shape_value.const is None:
            return None
        wanted = integers(shape_value.const, maker, "the shape")
        if any(isinstance(size, int) and size < 0 for size in wanted):
            raise maker.error(f"the shape {wanted}")
        if node.op == "Expand":
            first = self._argument(node, arguments, 0).shape
            assert first is not None
            shape = self._broadcast(node, first, wanted)
        else:
            shape = tuple(wanted)
        elements = product(shape)
        if isinstance(elements, int) and elements <= _FILL_ELEMENTS and not symbolic(base):
            if all(isinstance(size, int) for size in shape):
                return Value("", const=_repeated(node, base, tuple(int(size) for size in shape)))  # type: ignore[arg-type]
        return Value("", base.dtype, shape, fill=base, reason="it is a constant")

    def _broadcast(self, node: Node, left: Sequence[Size], right: Sequence[Size]) -> Tuple[Size, ...]:
        rank = max(len(left), len(right))
        result: List[Size] = []
        for a, b in zip([1] * (rank - len(left)) + list(left), [1] * (rank - len(right)) + list(right)):
            if same(a, 1) is True or same(a, b) is True:
                result.append(b)
            elif same(b, 1) is True:
                result.append(a)
            elif same(a, b) is False:
                raise format_error(f"{node}: the shapes {list(left)} and {list(right)} do not fit together")
            else:
                result.append(a if isinstance(a, int) else b)
        return tuple(result)

    def _moved_shapes(self, node: Node, arguments: Sequence[Optional[Value]]) -> List[Tuple[Size, ...]]:
        maker = Fold(node, self.opset, None)
        first = self._argument(node, arguments, 0)
        if first.shape is None:
            raise unsupported(f"{node}: the shape of {first.name!r} is not known")
        shape = list(first.shape)
        arrays = self._known_arrays(arguments)
        second = arrays[1] if len(arrays) > 1 else None
        if node.op in ("Identity", "Cast"):
            return [tuple(shape)]
        if node.op == "Transpose":
            return [tuple(shape[axis] for axis in permutation(maker, len(shape)))]
        if node.op == "Squeeze":
            gone = squeezed(maker, shape, axes_of(maker, second))
            self.assumptions += [(node, shape[axis], 1) for axis in gone if isinstance(shape[axis], Dim)]
            return [tuple(size for axis, size in enumerate(shape) if axis not in gone)]
        if node.op == "Unsqueeze":
            for place in unsqueezed(maker, len(shape), axes_of(maker, second)):
                shape.insert(place, 1)
            return [tuple(shape)]
        if node.op == "Flatten":
            return [flat_shape(maker, shape)]
        if node.op == "Concat":
            parts = [value for value in arguments if value is not None]
            axis = axis_in(attribute(node, "axis", int, 0), len(shape), maker)
            total: Size = 0
            for part in parts:
                if part.shape is None or len(part.shape) != len(shape):
                    raise format_error(f"{node}: the shapes of {', '.join(repr(entry.name) for entry in parts)} do not fit")
                for other in range(len(shape)):
                    if other != axis and same(part.shape[other], shape[other]) is False:
                        raise format_error(f"{node}: the shapes {list(part.shape)} and {shape} beside each other")
                total = total + part.shape[axis]
            return [tuple(total if other == axis else size for other, size in enumerate(shape))]
        if node.op == "Split":
            axis = axis_in(attribute(node, "axis", int, 0), len(shape), maker)
            size = shape[axis]
            if not isinstance(size, int):
                raise unsupported(f"{node}: it splits an axis of the size {size!r}")
            return [
                tuple(part if other == axis else entry for other, entry in enumerate(shape))
                for part in split_sizes(maker, size, second)
            ]
        if second is None and (node.op != "Slice" or self.opset >= 10):  # before, a Slice had attributes only
            raise unsupported(f"{node}: {node.op} by something that depends on an input")
        if node.op == "Slice":
            for axis, start, end, step in slice_plan(maker, len(shape), arrays):
                shape[axis] = self._sliced_size(node, shape[axis], start, end, step)
            return [tuple(shape)]
        assert second is not None
        if node.op == "Reshape":
            wanted = integers(second, maker, "the shape")
            try:
                target = target_shape(maker, shape, wanted)
            except RNNError as error:
                raise _fixed(error, shape, wanted) from None
            before, after = product(shape), product(target)
            if same(before, after) is None:
                error = _fixed(unsupported(f"{node}: {_show(shape)} becomes {_show(target)}"), shape, wanted)
                if isinstance(error, FixedSize):
                    raise error
                self.assumptions.append((node, before, after))
            return [target]
        if node.op == "Gather":
            axis = axis_in(attribute(node, "axis", int, 0), len(shape), maker)
            return [tuple(shape[:axis]) + second.shape + tuple(shape[axis + 1 :])]
        if node.op == "Expand":
            return [self._broadcast(node, shape, integers(second, maker, "the shape"))]
        assert node.op == "Tile"
        repeats = numbers(second, maker, "repeats")
        if len(repeats) != len(shape):
            raise format_error(f"{node}: repeats is {repeats}, for the shape {shape}")
        return [tuple(size * count for size, count in zip(shape, repeats))]

    def _sliced_size(self, node: Node, size: Size, start: Size, end: Size, step: int) -> Size:
        if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
            return len(range(*python_slice(start, end, step, size).indices(size)))
        if self._whole(size, start, end, step) or self._backwards(size, start, end, step):
            return size
        if self._last(size, start, end, step) or (start == 0 and end == 1 and step == 1):
            return 1
        raise unsupported(f"{node}: how much is left of an axis of the size {size!r} is not known")

    @staticmethod
    def _whole(size: Size, start: Size, end: Size, step: int) -> bool:
        far = isinstance(end, int) and (end >= 2**31 - 1 or isinstance(size, int) and end >= size)
        return start == 0 and step == 1 and (far or same(size, end) is True)

    @staticmethod
    def _backwards(size: Size, start: Size, end: Size, step: int) -> bool:
        if step != -1 or not isinstance(end, int):
            return False
        at_end = start == -1 or isinstance(start, int) and (
            start >= 2**31 - 1 or isinstance(size, int) and start >= size - 1
        )
        return at_end and (end <= -(2**31) + 1 or isinstance(size, int) and end <= -size - 1)

    @staticmethod
    def _last(size: Size, start: Size, end: Size, step: int) -> bool:
        begins = start == -1 or same(size - 1, start) is True
        ends = isinstance(end, int) and (end >= 2**31 - 1 or isinstance(size, int) and end >= size) or same(size, end) is True
        return begins and ends and step == 1

    # --------------------------------------------------------------- moving

    def _move(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        given = [value for value in arguments if value is not None]
        first = self._argument(node, arguments, 0)
        data = given if node.op == "Concat" else [first]
        if any(value.norm is not None for value in data):
            if first.norm is None:
                raise unsupported(f"{node}: it moves a part of a layer normalization")
            return self._norm_squeezed(node, first, arguments)
        if all(value.known or value.fill is not None for value in data):
            return self._move_fill(node, arguments)
        shapes = self._moved_shapes(node, arguments)
        for value in given:
            if value not in data and not value.known:
                raise unsupported(f"{node}: {node.op} by something that depends on an input")
        dtype = first.dtype
        if node.op == "Cast":
            target = cast_type(node)
            if first.view is not None and target != dtype:
                raise unsupported(f"{node}: {dtype} becomes {target} inside the network; librnn computes in one type")
            dtype = target
        views: List[Optional[View]] = [None] * len(shapes)
        reason = ""
        try:
            views = list(self._move_view(node, data, arguments))
        except ViewError as error:
            reason = f"{node}: {error}"
        except RNNError as error:
            reason = error.message
        except DimError as error:
            reason = f"{node}: {error}"
        bases: FrozenSet[str] = frozenset().union(*(value.bases for value in data))
        computed = any(value.computed for value in data)
        return [
            Value(
                "", dtype, shape, bases=bases, view=view, reason=reason or first.reason, origin=node, parent=first,
                computed=computed,
            )
            for shape, view in zip(shapes, views)
        ]  # fmt: skip

    def _move_fill(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        """Moving what is one number, or repeated along axes that it keeps."""
        data = [value for value in arguments if value is not None] if node.op == "Concat" else [self._argument(node, arguments, 0)]
        shapes = self._moved_shapes(node, arguments)
        bases = [value.const if value.const is not None else value.fill for value in data]
        first = bases[0]
        assert first is not None
        dtype = cast_type(node) if node.op == "Cast" else first.dtype
        uniform = [None if base is None or base.size == 0 or symbolic(base) else base.reshape(-1)[0] for base in bases]
        if all(
            value is not None and base is not None and (base == value).all() and value == uniform[0]
            for base, value in zip(bases, uniform)
        ):
            number = np.asarray(uniform[0]).astype(dtype)
            return [Value("", number.dtype, shape, fill=number, reason="it is a constant") for shape in shapes]
        if node.op == "Cast" and symbolic(first):
            return [Value("", first.dtype, shapes[0], fill=first, reason="it is a constant")]
        if any(value.shape is None for value in data):
            raise unsupported(f"{node}: the shape of a constant is not known")
        # From here on each base has all axes of its array; those along which it is repeated have size 1.
        full = [
            base.reshape((1,) * (len(value.shape) - base.ndim) + base.shape)  # type: ignore[arg-type, union-attr]
            for base, value in zip(bases, data)
        ]
        base = full[0]
        if node.op in ("Identity", "Cast", "Transpose", "Unsqueeze", "Squeeze"):
            base = fold(node, self.opset, [base] + self._known_arrays(arguments)[1:], self.budget)[0]
        elif node.op == "Slice":
            assert data[0].shape is not None
            for axis, start, end, step in slice_plan(Fold(node, self.opset, None), base.ndim, self._known_arrays(arguments)):
                size = data[0].shape[axis]
                if base.shape[axis] == 1 or self._whole(size, start, end, step):
                    continue
                if not isinstance(size, int) or isinstance(start, Dim) or isinstance(end, Dim):
                    raise unsupported(f"{node}: which part of a constant it takes depends on the size of an input")
                base = base[tuple([slice(None)] * axis + [python_slice(start, end, step, size)])]
        elif node.op == "Gather":
            axis = axis_in(attribute(node, "axis", int, 0), base.ndim, Fold(node, self.opset, None))
            indices = self._known_arrays(arguments)[1]
            assert indices is not None
            if base.shape[axis] != 1:
                base = fold(node, self.opset, [base, indices], self.budget)[0]
            else:
                base = base.reshape(base.shape[:axis] + (1,) * indices.ndim + base.shape[axis + 1 :])
        elif node.op == "Concat":
            axis = axis_in(attribute(node, "axis", int, 0), base.ndim, Fold(node, self.opset, None))
            other = np.broadcast_shapes(*(entry.shape[:axis] + (1,) + entry.shape[axis + 1 :] for entry in full))
            sizes = [value.shape[axis] for value in data]  # type: ignore[index]
            if not all(isinstance(size, int) for size in sizes):
                raise unsupported(f"{node}: constants beside each other on an axis whose size depends on an input")
            parts = [
                np.broadcast_to(entry, other[:axis] + (size,) + other[axis + 1 :]) for entry, size in zip(full, sizes)
            ]
            base = fold(node, self.opset, parts, self.budget)[0]
        else:
            raise unsupported(f"{node}: {node.op} of a constant whose shape depends on the size of an input")
        return [Value("", base.dtype, shapes[0], fill=base, reason="it is a constant")]

    def _move_view(
        self, node: Node, data: Sequence[Value], arguments: Sequence[Optional[Value]]
    ) -> List[View]:
        if node.op == "Concat":
            if not any(value.view is not None for value in data):
                raise ViewError(data[0].reason or "it is not read as a sequence")
            return [self._concat(node, data)]
        view = data[0].view
        if view is None:
            raise ViewError(data[0].reason or "it is not read as a sequence")
        return self._move_one(node, view, self._known_arrays(arguments))

    def _move_one(self, node: Node, view: View, arrays: Sequence[Optional[np.ndarray]]) -> List[View]:
        maker = Fold(node, self.opset, None)
        shape = view.shape()
        if node.op in ("Expand", "Tile"):
            second = arrays[1]
            if second is None:
                raise ViewError(f"{node.op} by something that depends on an input")
            wanted = integers(second, maker, "the shape")
            if node.op == "Tile" and all(count == 1 for count in wanted):
                return [view]
            if node.op == "Expand":
                result = self._broadcast(node, shape, wanted)
                if len(result) >= len(shape) and all(
                    same(a, b) is True for a, b in zip(result[len(result) - len(shape) :], shape)
                ) and all(size == 1 for size in result[: len(result) - len(shape)]):
                    return [view.unsqueeze(range(len(result) - len(shape)))]
            raise ViewError("it repeats steps, rows or features of a sequence")
        if node.op == "Split":
            axis = axis_in(attribute(node, "axis", int, 0), len(shape), maker)
            size = shape[axis]
            if not isinstance(size, int) or view.feature_axis(axis) is None:
                raise ViewError("it splits steps or rows of a sequence")
            parts = split_sizes(maker, size, arrays[1] if len(arrays) > 1 else None)
            ends = np.cumsum(parts)
            return [view.take(axis, slice(int(end) - part, int(end))) for part, end in zip(parts, ends)]
        if node.op == "Gather":
            second = arrays[1]
            if second is None or symbolic(second) or second.dtype.kind not in "iu":
                raise ViewError("it chooses by something that depends on an input")
            axis = axis_in(attribute(node, "axis", int, 0), len(shape), maker)
            if view.feature_axis(axis) is not None:
                size = shape[axis]
                assert isinstance(size, int)
                if second.size and (int(second.min()) < -size or int(second.max()) >= size):
                    raise format_error(f"{node}: an index is out of range of {size} elements")
                return [view.take(axis, int(second) if second.ndim == 0 else second)]
            if second.size != 1 or second.ndim > 1:
                raise ViewError("it chooses among steps or rows of a sequence")
            index = int(second.reshape(-1)[0])
            chosen = self._one_step(node, view, axis, index == -1 or same(shape[axis] - 1, index) is True, index == 0)
            return [chosen if second.ndim else chosen.squeeze([axis])]
        if node.op == "Slice":
            for axis, start, end, step in slice_plan(maker, len(shape), arrays):
                size = view.shape()[axis]
                if view.feature_axis(axis) is not None:
                    if isinstance(start, Dim) or isinstance(end, Dim):
                        raise ViewError("which features it takes depends on the size of an input")
                    assert isinstance(size, int)
                    view = view.take(axis, python_slice(start, end, step, size))
                elif self._whole(size, start, end, step):
                    continue
                elif self._backwards(size, start, end, step):
                    view = self._turned(node, view, axis)
                else:
                    first = start == 0 and end == 1 and step == 1
                    view = self._one_step(node, view, axis, self._last(size, start, end, step), first)
            return [view]
        return moved(maker, view, arrays)

    def _time_of(self, view: View, axis: int) -> Optional[Lead]:
        """The time lead that an axis runs over; None if its size is 1."""
        rows = view.axes[axis]
        assert rows is not None
        leads = [lead for lead in rows.roots() if same(lead.size, 1) is not True]
        if not leads:
            return None
        if len(leads) > 1 or leads[0].role is None or leads[0].role[0] != "time":
            if any(lead.role is None for lead in leads):
                raise ViewError("it chooses among steps or rows before any recurrent node has told which axis is time")
            raise ViewError("it chooses among rows of the batch")
        return leads[0]

    def _one_step(self, node: Node, view: View, axis: int, last: bool, first: bool) -> View:
        """The last or first step of a sequence; its axis stays, with size 1."""
        time = self._time_of(view, axis)
        axes = list(view.axes)
        axes[axis] = Rows()
        if time is None:
            if not last and not first:
                raise format_error(f"{node}: an index is out of range of 1 step")
            return View(view.step, axes, view.columns)
        if not last and not first:
            raise ViewError("it takes steps of a sequence that are neither the first nor the last one")
        return View(self._single(view.step, time, reverse=not last, place=str(node), padded=True), axes, view.columns)

    def _single(self, step: Step, time: Lead, reverse: bool, place: str, padded: bool) -> Step:
        """The last step of a node, or with `reverse` the first. `padded`: of the array, not of each row."""
        leads = [lead for lead in step.leads if lead.root() is not time.root()]
        kind = "first_step" if reverse else "last_step"
        return self._step(kind, [step], step.width, step.dtype, place, leads, {"padded": padded})

    def _turned(self, node: Node, view: View, axis: int) -> View:
        rows = view.axes[axis]
        if rows is not FEATURES and all(lead.role is None for lead in rows.roots()):
            self._assign(rows, "time", node)  # nobody turns rows around
        time = self._time_of(view, axis)
        if time is None:
            return view
        step = self._step("reverse", [view.step], view.step.width, view.step.dtype, str(node), view.step.leads, {"padded": True})
        return View(step, view.axes, view.columns)

    # ---------------------------------------------------------------- steps

    def _step(
        self,
        kind: str,
        sources: Sequence[Step],
        width: int,
        dtype: np.dtype,
        place: str,
        leads: Sequence[Lead],
        options: Optional[Dict[str, Any]] = None,
        parameters: Optional[Dict[str, np.ndarray]] = None,
        key: Any = None,
    ) -> Step:
        if parameters is None and key is None:
            key = (kind, tuple(source.index for source in sources), width, repr(options))
        if key is not None and key in self._made:
            return self._made[key]
        step = Step(len(self.steps), kind, sources, width, dtype, place, leads, options, parameters)
        self.steps.append(step)
        if key is not None:
            self._made[key] = step
        return step

    def _columns(self, step: Step, columns: np.ndarray, place: str) -> Step:
        """A node whose features are `columns` of another, in that order."""
        flat = columns.reshape(-1)
        if flat.size == step.width and (flat == np.arange(step.width)).all():
            return step
        breaks = np.flatnonzero(np.diff(flat) != 1) + 1
        runs = [(int(run[0]), int(run[-1]) + 1) for run in np.split(flat, breaks)]
        if len(runs) > _PIECES:
            raise ViewError(f"features in another order, of {len(runs)} pieces (librnn puts together up to {_PIECES})")
        if step.kind == "concat":
            pieces: List[Step] = []
            for begin, end in runs:
                offset = 0
                for source in step.sources:
                    first, last = max(begin, offset), min(end, offset + source.width)
                    if first < last:
                        pieces.append(self._columns(source, np.arange(first - offset, last - offset), place))
                    offset += source.width
            return self._joined(pieces, place)
        return self._joined(
            [
                self._step("slice", [step], end - begin, step.dtype, place, step.leads, {"begin": begin, "end": end})
                for begin, end in runs
            ],
            place,
        )

    def _joined(self, pieces: Sequence[Step], place: str) -> Step:
        merged: List[Step] = []
        for piece in pieces:
            before = merged[-1] if merged else None
            if before is not None and before.kind == piece.kind == "slice" and before.sources == piece.sources and (
                before.options["end"] == piece.options["begin"]
            ):
                columns = np.arange(before.options["begin"], piece.options["end"])
                merged[-1] = self._columns(piece.sources[0], columns, place)
            else:
                merged.append(piece)
        pieces = merged
        if len(pieces) == 1:
            return pieces[0]
        return self._step("concat", pieces, sum(piece.width for piece in pieces), pieces[0].dtype, place, pieces[0].leads)

    def _features(self, node: Node, value: Value, last: bool = True) -> Tuple[Step, View]:
        """A value as features of a node, which has exactly them, and the view of them on one axis."""
        view = self._view(node, value)
        narrow = view.narrow()
        if last and narrow.axes[-1] is not FEATURES:
            raise ViewError(f"the last axis of {value.name!r} is not its features, but its steps or rows")
        step = self._columns(narrow.step, narrow.columns, str(node))
        return step, View(step, narrow.axes, np.arange(step.width))

    def _view(self, node: Node, value: Value) -> View:
        if value.view is not None:
            return value.view
        if value.norm is not None:
            raise ViewError("it reads a part of a layer normalization that librnn knows only as a whole")
        if value.known or value.fill is not None:
            raise ViewError(f"{value.name!r} is a constant")
        if self._from_inputs(value):
            return self._input(node, value)
        raise unsupported(f"{node} reads {value.name!r}: {value.reason or 'it is not a sequence'}")

    def _input(self, node: Node, value: Value) -> View:
        """Makes an input of the network of what is rearranged from inputs of the graph, as early as its last axis are features."""
        if value.dtype is None or value.dtype.name not in ("float32", "float64"):
            raise unsupported(f"{node} reads {value.name!r}, which is {value.dtype}, as features; librnn has float and double")
        chain = [value]
        while chain[-1].parent is not None and chain[-1].parent.dtype == value.dtype and len(chain) < 64:
            origin = chain[-1].origin
            assert origin is not None
            if origin.op == "Concat" or self._argument(origin, [chain[-1].parent], 0).view is not None:
                break
            chain.append(chain[-1].parent)
        for start in reversed(range(len(chain))):
            source = chain[start]
            if not source.shape or not isinstance(source.shape[-1], int) or source.shape[-1] < 1:
                continue
            leads = [Lead(size, f"axis {axis} of {source.name!r}") for axis, size in enumerate(source.shape[:-1])]
            self.budget.take(source.shape[-1], 8, node)
            step = Step(
                len(self.steps), "input", [], int(source.shape[-1]), value.dtype, source.name, leads, {"value": source.name}
            )
            views = [View.of(step, [Rows(lead) for lead in leads] + [FEATURES])]
            try:
                for later in reversed(chain[:start]):
                    origin = later.origin
                    assert origin is not None
                    arrays = [None] + [self.values[name].const if name else None for name in origin.inputs[1:]]
                    results = self._move_one(origin, views[-1], arrays)
                    views.append(results[list(origin.outputs).index(later.name)])
                if views[-1].narrow().axes[-1] is not FEATURES:
                    continue
            except (ViewError, RNNError, DimError):
                continue
            self.steps.append(step)
            for index, entry in zip(reversed(range(start + 1)), views):
                chain[index].view = entry
            return views[-1]
        raise unsupported(f"{node} reads {value.name!r}, of the shape {_show(value.shape)}: its last axis has no known size")

    def _join(self, node: Node, views: Sequence[View]) -> List[Axis]:
        """The axes of views that are combined element by element, which must be the same."""
        rank = max(len(view.axes) for view in views)
        result: List[Axis] = []
        for place in range(rank):
            kinds = []
            for view in views:
                index = place - (rank - len(view.axes))
                kinds.append(view.axes[index] if index >= 0 else Rows())
            if any(kind is FEATURES for kind in kinds):
                if not all(kind is FEATURES or same(kind.size(), 1) is True for kind in kinds):
                    raise ViewError("steps or rows of one operand meet features of the other")
                result.append(FEATURES)
                continue
            chosen = kinds[0]
            assert chosen is not None
            for kind in kinds[1:]:
                assert kind is not None
                self._same_rows(chosen, kind)
                if not chosen.leads:
                    chosen = kind
            result.append(chosen)
        return result

    def _same_rows(self, left: Rows, right: Rows) -> None:
        a = [lead for lead in left.roots() if same(lead.size, 1) is not True]
        b = [lead for lead in right.roots() if same(lead.size, 1) is not True]
        if len(a) != len(b):
            raise ViewError("one operand has steps or rows where the other has none: librnn repeats nothing over them")
        for first, second in zip(a, b):
            first.join(second)

    def _together(self, node: Node, values: Sequence[Value]) -> Tuple[List[Step], List[Axis], Tuple[int, ...]]:
        """Operands of one shape, as nodes with the same features in the same order: nodes, axes, and the shape of the features."""
        views = [self._view(node, value) for value in values]
        axes = self._join(node, views)
        dtypes = {view.step.dtype.name for view in views}
        if len(dtypes) > 1:
            raise ViewError("float meets double")
        features = sum(kind is FEATURES for kind in axes)
        shapes = []
        for view in views:
            kinds = [Rows()] * (len(axes) - len(view.axes)) + view.axes
            sizes = iter(view.columns.shape)
            shape = []
            for kind, axis in zip(kinds, axes):
                if axis is FEATURES:
                    shape.append(next(sizes) if kind is FEATURES else 1)
            shapes.append(tuple(shape))
        if len(set(shapes)) > 1:
            raise ViewError(f"features of the shapes {', '.join(map(str, shapes))}: librnn repeats nothing over them")
        assert len(shapes[0]) == features
        return [self._columns(view.step, view.columns, str(node)) for view in views], axes, shapes[0]

    def _result(
        self, node: Node, kind: str, sources: Sequence[Step], axes: Sequence[Axis], shape: Tuple[int, ...], width: int,
        options: Optional[Dict[str, Any]] = None, parameters: Optional[Dict[str, np.ndarray]] = None,
    ) -> List[Value]:  # fmt: skip
        leads = sources[0].leads
        for source in sources[1:]:
            mine = {lead.root() for lead in leads if same(lead.root().size, 1) is not True}
            if mine != {lead.root() for lead in source.leads if same(lead.root().size, 1) is not True}:
                raise ViewError("one operand has steps or rows where the other has none: librnn repeats nothing over them")
        step = self._step(kind, sources, width, sources[0].dtype, node.outputs[0] or str(node), leads, options, parameters)
        return [self._viewed(node, View.of(step, axes, shape))]

    def _viewed(self, node: Node, view: View) -> Value:
        name = node.outputs[0]
        return Value(name, view.step.dtype, view.shape(), bases=frozenset([name]), view=view)

    # ------------------------------------------------------------- operators

    def _concat(self, node: Node, data: Sequence[Value]) -> View:
        rank = max(len(value.shape or ()) for value in data)
        axis = axis_in(attribute(node, "axis", int, 0), rank, Fold(node, self.opset, None))
        views = [self._view(node, value) for value in data]
        if any(len(view.axes) != rank for view in views):
            raise ViewError("arrays of different rank beside each other")
        if any(view.axes[axis] is not FEATURES for view in views):
            # Units that were put on an axis of their own, such as the two directions: an axis of size 1 may become features.
            views = [self._as_features(view, axis) for view in views]
        axes = self._join(node, views)
        offset, parts, pieces = 0, [], []
        place = views[0].feature_axis(axis)
        assert place is not None
        for view in views:
            step = self._columns(view.step, np.unique(view.columns), str(node))
            ranks = np.searchsorted(np.unique(view.columns), view.columns)
            parts.append(ranks + offset)
            pieces.append(step)
            offset += step.width
        columns = np.concatenate(parts, axis=place) if len({part.ndim for part in parts}) == 1 else None
        if columns is None:
            raise ViewError("features on different axes beside each other")
        first = {lead.root() for lead in pieces[0].leads if same(lead.root().size, 1) is not True}
        if any(first != {lead.root() for lead in piece.leads if same(lead.root().size, 1) is not True} for piece in pieces):
            raise ViewError("steps beside rows without steps")
        if len({piece.dtype for piece in pieces}) > 1:
            raise ViewError("float meets double")
        return View(self._joined(pieces, node.outputs[0] or str(node)), axes, columns)

    def _as_features(self, view: View, axis: int) -> View:
        rows = view.axes[axis]
        if rows is FEATURES:
            return view
        if same(rows.size(), 1) is not True:
            raise ViewError("it puts steps or rows of sequences one after the other")
        place = sum(kind is FEATURES for kind in view.axes[:axis])
        return View(view.step, view.axes[:axis] + [FEATURES] + view.axes[axis + 1 :], np.expand_dims(view.columns, place))

    def _gathered(self, node: Node, arguments: List[Optional[Value]]) -> Optional[List[Value]]:
        """Gather of rows of a table: an embedding."""
        table, tokens = self._argument(node, arguments, 0), self._argument(node, arguments, 1)
        if tokens.known or tokens.dtype is None or tokens.dtype.kind not in "iu" or table.dtype is None or table.dtype.kind != "f":
            return None
        if table.view is not None:
            return None
        weight = self._constant(node, table, "the table of an embedding")
        if weight.ndim != 2 or attribute(node, "axis", int, 0) not in (0, -2):
            raise unsupported(f"{node}: a table of the shape {weight.shape}; an embedding has [tokens, features], and axis 0")
        source, axes = self._tokens(node, tokens, weight.shape[0])
        step = self._step(
            "embedding", [source], weight.shape[1], _float(node, weight.dtype), node.outputs[0] or str(node), source.leads,
            {"vocabulary": int(weight.shape[0])}, {"weight": weight},
        )  # fmt: skip
        return [self._viewed(node, View.of(step, axes))]

    def _tokens(self, node: Node, tokens: Value, count: int) -> Tuple[Step, List[Axis]]:
        if not self._from_inputs(tokens) or tokens.computed and not self._same_tokens(node, tokens, count):
            raise unsupported(f"{node}: its indices {tokens.name!r} are computed; librnn reads tokens from an input")
        if tokens.shape is None:
            raise unsupported(f"{node}: the shape of {tokens.name!r} is not known")
        key = ("tokens", tokens.name)
        step = self._made.get(key)
        if step is None:
            leads = [Lead(size, f"axis {axis} of {tokens.name!r}") for axis, size in enumerate(tokens.shape)]
            step = self._step("tokens", [], 1, np.dtype(np.int64), tokens.name, leads, {"value": tokens.name}, key=key)
        return step, [Rows(lead) for lead in step.leads] + [FEATURES]

    def _same_tokens(self, node: Node, tokens: Value, count: int) -> bool:
        """Whether arithmetic gives each token in [0, count) back, as that does which lets negative ones count from the end."""
        if len(tokens.bases) != 1:
            return False
        (base,) = tokens.bases
        chain: List[Node] = []
        needed = {tokens.name}
        for entry in reversed(self.graph.nodes[: node.index]):
            if needed.isdisjoint(entry.outputs) or all(self.values[name].known for name in entry.outputs if name):
                continue
            if entry.op not in _ELEMENTWISE:
                return False
            chain.append(entry)
            for name in filter(None, entry.inputs):
                value = self.values[name]
                if value.known and value.const.size != 1:  # type: ignore[union-attr]
                    return False
                if not value.known:
                    needed.add(name)
        dtype = self.values[base].dtype
        if dtype is None or count > 1 << 24:
            return False
        self.budget.take(count, 8 * (1 + len(chain)), node)
        numbers_ = {base: np.arange(count).astype(dtype)}
        for entry in reversed(chain):
            arrays = [
                numbers_[name] if name in numbers_ else self.values[name].const if name else None for name in entry.inputs
            ]
            numbers_.update(zip(entry.outputs, fold(entry, self.opset, arrays, None)))
        return bool((numbers_[tokens.name].reshape(-1) == np.arange(count)).all())

    def _one_hot(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        allow_attributes(node, "axis")
        tokens = self._argument(node, arguments, 0)
        depth = self._constant(node, self._argument(node, arguments, 1), "depth")
        values = self._constant(node, self._argument(node, arguments, 2), "values")
        if tokens.dtype is None or tokens.dtype.kind not in "iu" or depth.size != 1 or values.shape != (2,):
            raise unsupported(f"{node}: indices of type {tokens.dtype}, depth {depth.shape}, values {values.shape}")
        axis = attribute(node, "axis", int, -1)
        if axis not in (-1, len(tokens.shape or ())):
            raise unsupported(f"{node}: axis is {axis}; librnn has it last")
        size = int(depth.reshape(-1)[0])
        if size < 1:
            raise unsupported(f"{node}: depth is {size}")
        self.budget.take(size, 8, node)
        source, axes = self._tokens(node, tokens, size)
        place = node.outputs[0] or str(node)
        step = self._step("one_hot", [source], size, _float(node, values.dtype), place, source.leads)
        off, on = (float(value) for value in values)
        if (off, on) != (0.0, 1.0):
            self.budget.take(size, 16, node)
            step = self._step(
                "scale_shift", [step], size, step.dtype, place, step.leads, {"bias": True},
                {"weight": np.full(size, on - off, step.dtype), "bias": np.full(size, off, step.dtype)},
            )  # fmt: skip
        return [self._viewed(node, View.of(step, axes))]

    def _matmul(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        allow_attributes(node)
        left, right = self._argument(node, arguments, 0), self._argument(node, arguments, 1)
        if left.known or left.fill is not None:
            raise unsupported(f"{node}: a constant times a sequence, expected a sequence times a constant")
        if right.view is not None:
            raise unsupported(f"{node}: a product of two sequences")
        weight = self._constant(node, right, "the second factor")
        if weight.ndim > 2 and all(size == 1 for size in weight.shape[:-2]):
            weight = weight.reshape(weight.shape[-2:])
        if weight.ndim != 2:
            raise unsupported(f"{node}: the second factor has the shape {weight.shape}, expected two axes")
        return self._linear(node, left, weight, None)

    def _linear(self, node: Node, value: Value, weight: np.ndarray, bias: Optional[np.ndarray]) -> List[Value]:
        step, view = self._features(node, value)
        if weight.shape[0] != step.width:
            raise format_error(f"{node}: {step.width} features times a matrix {weight.shape}")
        if weight.shape[1] < 1:
            raise format_error(f"{node}: a matrix of the shape {weight.shape}")
        if weight.dtype != step.dtype:
            raise format_error(f"{node}: {step.dtype} times {weight.dtype}")
        parameters = {"weight": weight.T}
        if bias is not None:
            parameters["bias"] = bias
        return self._result(
            node, "linear", [step], view.axes, (weight.shape[1],), weight.shape[1], {"bias": bias is not None}, parameters
        )

    def _gemm(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        allow_attributes(node, "alpha", "beta", "transA", "transB", "broadcast")
        if attribute(node, "transA", int, 0):
            raise unsupported(f"{node}: transA is 1")
        weight = self._constant(node, self._argument(node, arguments, 1), "B")
        if weight.ndim != 2:
            raise format_error(f"{node}: B has the shape {weight.shape}, expected two axes")
        if attribute(node, "transB", int, 0):
            weight = weight.T
        alpha, beta = attribute(node, "alpha", float, 1.0), attribute(node, "beta", float, 1.0)
        weight = _scaled(weight, alpha)
        third = self._optional(arguments, 2)
        bias = None
        if third is not None and beta != 0.0:
            given = self._constant(node, third, "C")
            bias = _scaled(self._vector(node, given, (weight.shape[1],), 1), beta)
        return self._linear(node, self._argument(node, arguments, 0), weight, bias)

    def _vector(self, node: Node, array: np.ndarray, features: Tuple[int, ...], rows: int) -> np.ndarray:
        """A constant that is combined with features [.., features] of an array with `rows` leading axes, per feature."""
        rank = rows + len(features)
        if array.ndim > rank:
            if any(size != 1 for size in array.shape[: array.ndim - rank]):
                raise ViewError(f"a constant of the shape {array.shape}")
            array = array.reshape(array.shape[array.ndim - rank :])
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        for axis in range(rows):
            if array.shape[axis] != 1:
                first = array[(slice(None),) * axis + (slice(1),)]
                if not array.size or not np.array_equal(np.broadcast_to(first, array.shape), array):
                    raise ViewError("a constant that differs from step to step, or from row to row")
                array = first
        array = array.reshape(array.shape[rows:])
        try:
            return np.array(np.broadcast_to(array, features))
        except ValueError:
            raise format_error(f"{node}: a constant of the shape {array.shape} with {features} features") from None

    def _per_feature(self, node: Node, view: View, array: np.ndarray) -> np.ndarray:
        """A constant that is combined with a view, one number for each feature, in the order of `view.columns`."""
        rank = len(view.axes)
        if array.ndim > rank:
            if any(size != 1 for size in array.shape[: array.ndim - rank]):
                raise ViewError(f"a constant of the shape {array.shape}")
            array = array.reshape(array.shape[array.ndim - rank :])
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        order = [axis for axis, kind in enumerate(view.axes) if kind is not FEATURES]
        moved_array = array.transpose(order + [axis for axis, kind in enumerate(view.axes) if kind is FEATURES])
        for axis in order:
            size = view.axes[axis].size()  # type: ignore[union-attr]
            if array.shape[axis] != 1 and same(size, array.shape[axis]) is not True:
                raise ViewError(f"a constant of the shape {array.shape} repeats steps or rows of {_show(view.shape())}")
        return self._vector(node, moved_array, view.columns.shape, len(order))

    def _combine(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        """Add, Sub, Mul, Div."""
        allow_attributes(node)
        left, right = self._argument(node, arguments, 0), self._argument(node, arguments, 1)
        if left.norm is not None or right.norm is not None:
            return self._norm_combine(node, left, right)
        for constant, value, first in ((left, right, True), (right, left, False)):
            if constant.known or constant.fill is not None:
                return self._combine_constant(node, value, constant, first)
        if node.op == "Div":
            raise unsupported(f"{node}: one sequence divided by another")
        if node.op == "Sub":
            steps, axes, shape = self._together(node, [left, right])
            width = steps[1].width
            negative = self._step(
                "scale_shift", [steps[1]], width, steps[1].dtype, node.outputs[0] or str(node), steps[1].leads, {"bias": False},
                {"weight": np.full(width, -1, steps[1].dtype)},
            )  # fmt: skip
            return self._result(node, "sum", [steps[0], negative], axes, shape, width)
        return self._together_as(node, "sum" if node.op == "Add" else "product", [left, right])

    def _together_as(self, node: Node, kind: str, values: Sequence[Value]) -> List[Value]:
        steps, axes, shape = self._together(node, values)
        return self._result(node, kind, steps, axes, shape, steps[0].width)

    def _sum(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        allow_attributes(node)
        values = [self._argument(node, arguments, index) for index in range(len(arguments))]
        if len(values) == 1:
            return [self._viewed(node, self._view(node, values[0]))]
        return self._together_as(node, "sum", values)

    def _combine_constant(self, node: Node, value: Value, constant: Value, constant_first: bool) -> List[Value]:
        """``value op constant``, or ``constant op value``."""
        array = self._constant(node, constant, "an operand")
        view = self._view(node, value)
        if array.dtype != view.step.dtype:
            raise format_error(f"{node}: {view.step.dtype} and {array.dtype}")
        shape = view.columns.shape
        numbers_ = self._per_feature(node, view, array).reshape(-1)
        scale: Optional[np.ndarray] = None
        shift: Optional[np.ndarray] = None
        one = np.ones(numbers_.size, view.step.dtype)
        if node.op == "Add":
            shift = numbers_
        elif node.op == "Sub":
            scale, shift = (-one, numbers_) if constant_first else (None, -numbers_)
        elif node.op == "Mul":
            scale = numbers_
        else:
            if constant_first:
                raise unsupported(f"{node}: a constant divided by a sequence")
            if (numbers_ == 0).any():
                raise unsupported(f"{node}: a division by 0")
            scale = (1 / numbers_.astype(np.float64)).astype(view.step.dtype)
        return self._affine(node, view, shape, scale, shift)

    def _affine(
        self, node: Node, view: View, shape: Tuple[int, ...], scale: Optional[np.ndarray], shift: Optional[np.ndarray]
    ) -> List[Value]:
        """Features times `scale` plus `shift`, as part of the node before where that is a linear or affine one without a bias."""
        step = self._columns(view.step, view.columns, str(node))
        if scale is None and shift is not None and not shift.any():
            return [self._viewed(node, View.of(step, view.axes, shape))]
        if scale is None and step.kind in ("linear", "scale_shift", "layer_norm"):
            has_bias = bool(step.options.get("bias"))
            if not has_bias or step.kind == "layer_norm" and not step.parameters["bias"].any():
                assert shift is not None
                return self._result(
                    node, step.kind, step.sources, view.axes, shape, step.width, {**step.options, "bias": True},
                    {**step.parameters, "bias": shift},
                )  # fmt: skip
        if shift is None and step.kind == "layer_norm" and (step.parameters["weight"] == 1).all() and not (
            step.parameters["bias"].any()
        ):
            assert scale is not None
            return self._result(
                node, "layer_norm", step.sources, view.axes, shape, step.width, step.options,
                {"weight": scale, "bias": step.parameters["bias"]},
            )  # fmt: skip
        parameters = {"weight": np.ones(step.width, step.dtype) if scale is None else scale}
        if shift is not None:
            parameters["bias"] = shift
        return self._result(
            node, "scale_shift", [step], view.axes, shape, step.width, {"bias": shift is not None}, parameters
        )

    def _negative(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        norm = self._argument(node, arguments, 0).norm
        if norm is not None and norm.kept and norm.part in ("mean", "mean*inverse"):
            return [self._norm_value(node, norm._replace(part="-mean" if norm.part == "mean" else "shift"))]
        view = self._view(node, self._argument(node, arguments, 0))
        return self._affine(node, view, view.columns.shape, np.full(view.columns.size, -1, view.step.dtype), None)

    def _activation(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        name, alpha, beta = ACTIVATIONS[node.op]
        allow_attributes(node, *(["alpha"] if alpha is not None else []), *(["beta"] if beta is not None else []))
        function = Activation(
            name,
            None if alpha is None else attribute(node, "alpha", float, alpha),
            None if beta is None else attribute(node, "beta", float, beta),
        )
        return self._elementwise(node, self._argument(node, arguments, 0), function)

    def _elementwise(self, node: Node, value: Value, function: Activation) -> List[Value]:
        view = self._view(node, value)
        step = self._columns(view.step, view.columns, str(node))
        return self._result(
            node, "activation", [step], view.axes, view.columns.shape, step.width, {"function": function}
        )

    def _prelu(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        slope = self._constant(node, self._argument(node, arguments, 1), "the slope")
        if not slope.size or not (slope == slope.reshape(-1)[0]).all():
            raise unsupported(f"{node}: a slope for each feature; librnn has one number")
        return self._elementwise(
            node, self._argument(node, arguments, 0), Activation("leaky_relu", float(slope.reshape(-1)[0]))
        )

    def _clip(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        """min(max(x, low), high): the hard sigmoid of x is that between 0 and 1; or a ReLU, without an upper limit."""
        value = self._argument(node, arguments, 0)
        limits: List[float] = []
        for index, (name, default) in enumerate((("min", -np.inf), ("max", np.inf)), 1):
            given = self._optional(arguments, index)
            if given is None:
                limits.append(attribute(node, name, float, default))
                continue
            array = self._constant(node, given, name)
            if array.size != 1:
                raise format_error(f"{node}: {name} has the shape {array.shape}, expected one number")
            limits.append(float(array.reshape(-1)[0]))
        low, high = limits
        view = self._view(node, value)
        largest = float(np.finfo(view.step.dtype).max)
        if low == 0 and high >= largest:
            return self._elementwise(node, value, Activation("relu"))
        if not low < high or high <= -largest or low >= largest:
            raise unsupported(f"{node}: limits from {low} to {high}")
        if low <= -largest and high >= largest:
            return [self._viewed(node, view)]
        if high < largest and low <= -largest:  # high - relu(high - x)
            turned = self._affined(node, view, -1.0, high)
            return self._affine(node, self._applied(node, turned, Activation("relu")), *self._numbers(view, -1.0, high))
        if high >= largest:
            shifted = self._affined(node, view, 1.0, -low)
            return self._affine(node, self._applied(node, shifted, Activation("relu")), *self._numbers(view, 1.0, low))
        width = high - low
        scaled = self._applied(node, view, Activation("hard_sigmoid", 1 / width, -low / width))
        if (low, high) == (0.0, 1.0):
            return [self._viewed(node, scaled)]
        return self._affine(node, scaled, *self._numbers(view, width, low))

    @staticmethod
    def _numbers(view: View, scale: float, shift: float) -> Tuple[Tuple[int, ...], Optional[np.ndarray], Optional[np.ndarray]]:
        """What `_affine` takes: the shape of the features, and one scale and shift for all."""
        count, dtype = view.columns.size, view.step.dtype
        return view.columns.shape, None if scale == 1 else np.full(count, scale, dtype), np.full(count, shift, dtype) if shift else None

    def _affined(self, node: Node, view: View, scale: float, shift: float) -> View:
        made = self._affine(node, view, *self._numbers(view, scale, shift))[0].view
        assert made is not None
        return made

    def _applied(self, node: Node, view: View, function: Activation) -> View:
        step = self._columns(view.step, view.columns, str(node))
        made = self._step(
            "activation", [step], step.width, step.dtype, node.outputs[0] or str(node), step.leads, {"function": function}
        )
        return View.of(made, view.axes, view.columns.shape)

    def _conv(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        """A convolution over one step is a linear layer of the channels, which stand on axis 1."""
        allow_attributes(node, "auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
        weight = self._constant(node, self._argument(node, arguments, 1), "W")
        if weight.ndim < 3 or any(size != 1 for size in weight.shape[2:]):
            raise unsupported(f"{node}: a Conv over the steps {list(weight.shape[2:])}, expected one step: {_FRONT_END}")
        for name, expected in (("group", 1), ("strides", 1), ("pads", 0)):
            given = node.attributes.get(name, expected)
            if any(number != expected for number in (given if isinstance(given, list) else [given])):
                raise unsupported(f"{node}: {name} is {given}: {_FRONT_END}")
        if attribute(node, "kernel_shape", [int], list(weight.shape[2:])) != list(weight.shape[2:]):
            raise format_error(f"{node}: kernel_shape is not that of W, {list(weight.shape[2:])}")
        value = self._argument(node, arguments, 0)
        step, narrow = self._features(node, value, last=False)
        if len(narrow.axes) != weight.ndim or narrow.axes[1] is not FEATURES:
            raise ViewError("axis 1 is not that of the features")
        third = self._optional(arguments, 2)
        bias = None if third is None else self._constant(node, third, "B")
        if weight.shape[1] != step.width or weight.dtype != step.dtype or bias is not None and bias.shape != weight.shape[:1]:
            raise format_error(f"{node}: {step.width} features with W {list(weight.shape)}")
        parameters = {"weight": weight.reshape(weight.shape[:2])}
        if bias is not None:
            parameters["bias"] = bias
        count = int(weight.shape[0])
        return self._result(node, "linear", [step], narrow.axes, (count,), count, {"bias": bias is not None}, parameters)

    def _softmax(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        allow_attributes(node, "axis")
        value = self._argument(node, arguments, 0)
        view = self._view(node, value)
        old = self._versions[node.op] < 13
        axis = axis_in(attribute(node, "axis", int, 1 if old else -1), len(view.axes), Fold(node, self.opset, None))
        step, narrow = self._features(node, value, last=False)
        # Until opset 12 all axes from `axis` on count as one.
        axes = range(axis, len(view.axes)) if old else [axis]
        if any(narrow.axes[other] is not FEATURES and same(narrow.shape()[other], 1) is not True for other in axes) or not any(
            narrow.axes[other] is FEATURES for other in axes
        ):
            raise ViewError("its axis is not that of the features")
        return self._result(
            node, "softmax", [step], narrow.axes, (step.width,), step.width, {"log": node.op == "LogSoftmax"}
        )

    def _layer_norm(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        allow_attributes(node, "axis", "epsilon", "stash_type")
        step, view = self._features(node, self._argument(node, arguments, 0))
        axis = axis_in(attribute(node, "axis", int, -1), len(view.axes), Fold(node, self.opset, None))
        if any(same(view.shape()[other], 1) is not True for other in range(axis, len(view.axes) - 1)):
            raise ViewError("it normalizes over steps or rows, too")
        scale = self._constant(node, self._argument(node, arguments, 1), "Scale")
        third = self._optional(arguments, 2)
        bias = np.zeros(step.width, step.dtype) if third is None else self._constant(node, third, "B")
        return self._normalized(node, step, view, attribute(node, "epsilon", float, 1e-5), scale, bias)

    def _normalized(
        self, node: Node, step: Step, view: View, epsilon: float, scale: np.ndarray, bias: np.ndarray
    ) -> List[Value]:
        if scale.dtype != step.dtype or bias.dtype != step.dtype:
            raise format_error(f"{node}: {step.dtype} with {scale.dtype} and {bias.dtype}")
        if not 0 < epsilon < np.inf:
            raise unsupported(f"{node}: epsilon is {epsilon}")
        return self._result(
            node, "layer_norm", [step], view.axes, (step.width,), step.width, {"epsilon": epsilon, "bias": True},
            {
                "weight": self._vector(node, scale, (step.width,), 0),
                "bias": self._vector(node, bias, (step.width,), 0),
            },
        )  # fmt: skip

    def _batch_norm(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        allow_attributes(node, "epsilon", "momentum", "training_mode", "spatial", "is_test")
        if attribute(node, "training_mode", int, 0) or not attribute(node, "spatial", int, 1):
            raise unsupported(f"{node}: batch normalization in training, or not per feature")
        value = self._argument(node, arguments, 0)
        view = self._view(node, value)
        step, narrow = self._features(node, value, last=False)
        place = 1 if len(view.axes) > 1 else 0
        if self._normalizes_rows(node, view, place, arguments):
            one, zero = np.ones(step.width, step.dtype), np.zeros(step.width, step.dtype)
            return self._normalized(node, step, narrow, attribute(node, "epsilon", float, 1e-5), one, zero)
        if narrow.axes[place] is not FEATURES:
            raise ViewError("axis 1 is not that of the features")
        names = ("scale", "B", "mean", "var")
        scale, bias, mean, variance = (
            self._constant(node, self._argument(node, arguments, index + 1), name).astype(np.float64)
            for index, name in enumerate(names)
        )
        for name, array in zip(names, (scale, bias, mean, variance)):
            if array.shape != (step.width,):
                raise format_error(f"{node}: {name} has the shape {array.shape}, expected ({step.width},)")
        with np.errstate(all="ignore"):
            factor = scale / np.sqrt(variance + attribute(node, "epsilon", float, 1e-5))
        if not np.isfinite(factor).all():
            raise unsupported(f"{node}: a variance below 0")
        return self._affine(
            node, View.of(step, narrow.axes), (step.width,), factor.astype(step.dtype),
            (bias - mean * factor).astype(step.dtype),
        )  # fmt: skip

    # ------------------------------------------ layer normalization, written out

    def _reduce_mean(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        """ReduceMean, GlobalAveragePool and ReduceSumSquare of the features, and of axes of size 1."""
        value = self._argument(node, arguments, 0)
        source = value.norm.view if value.norm is not None else self._view(node, value)
        rank = len(source.axes)
        keep = True
        if node.op == "GlobalAveragePool":
            allow_attributes(node)
            axes: Optional[List[int]] = [2] if rank == 3 else None
        else:
            allow_attributes(node, "axes", "keepdims", "noop_with_empty_axes")
            second = self._optional(arguments, 1)
            maker = Fold(node, self.opset, None)
            axes = axes_of(maker, None if second is None else self._constant(node, second, "axes"))
            axes = None if axes is None else unique_axes(axes, rank, maker)
            keep = bool(attribute(node, "keepdims", int, 1))
        place = self._features_place(source)
        shape = list(source.shape())
        parts = {None: "mean", "square": "variance"} if node.op != "ReduceSumSquare" else {"centred": "squares"}
        part = parts.get(value.norm.part if value.norm else None)
        if part is None or axes is None or place not in axes or any(
            axis != place and same(shape[axis], 1) is not True for axis in axes
        ):  # fmt: skip
            raise ViewError("a mean other than that of a layer normalization, over the features")
        for axis in axes:
            shape[axis] = 1
        left = [size for axis, size in enumerate(shape) if keep or axis not in axes]
        return [self._norm_value(node, Norm(part, source, kept=keep), tuple(left))]

    @staticmethod
    def _features_place(view: View) -> int:
        """The only axis of a view that runs over features, if others have size 1."""
        return view.narrow().axes.index(FEATURES)

    def _norm_value(self, node: Node, norm: Norm, shape: Optional[Tuple[Size, ...]] = None) -> Value:
        if shape is None:
            sizes = list(norm.view.shape())
            if norm.part in ("mean", "-mean", "variance", "deviation") or norm.part == "inverse" and norm.weight is None:
                sizes[self._features_place(norm.view)] = 1
            shape = tuple(sizes)
        return Value(
            "", norm.view.step.dtype, shape, bases=frozenset([node.outputs[0]]), norm=norm,
            reason="part of a layer normalization",
        )  # fmt: skip

    def _normalizes_rows(self, node: Node, view: View, place: int, arguments: Sequence[Optional[Value]]) -> bool:
        """Whether a BatchNormalization is a layer normalization: steps and rows are its channels, as Keras 2 writes it."""
        scale, bias, mean, variance = (self._argument(node, arguments, index) for index in range(1, 5))
        norms = (mean.norm, variance.norm)
        if any(norm is None for norm in norms):
            return False
        size = view.shape()[place]
        for norm, part, value in zip(norms, ("mean", "variance"), (mean, variance)):
            assert norm is not None
            if norm.part != part or norm.view is not view or norm.kept or norm.epsilon or value.shape is None or len(value.shape) != 1 or (
                same(value.shape[0], size) is not True
            ):
                raise ViewError("a mean or variance that is not that of its features")
        for value, number in ((scale, 1), (bias, 0)):
            array = value.const if value.const is not None else value.fill
            if array is None or symbolic(array) or not array.size or (array != number).any():
                raise ViewError("a layer normalization whose rows have weights of their own")
        return True

    def _norm_squeezed(self, node: Node, value: Value, arguments: Sequence[Optional[Value]]) -> List[Value]:
        """A mean or variance without the axis of the features."""
        norm, shape = value.norm, value.shape
        assert norm is not None and shape is not None
        maker = Fold(node, self.opset, None)
        arrays = self._known_arrays(arguments)
        if node.op != "Squeeze" or norm.part not in ("mean", "variance") or not norm.kept:
            raise unsupported(f"{node}: it moves a part of a layer normalization")
        gone = squeezed(maker, shape, axes_of(maker, arrays[1] if len(arrays) > 1 else None))
        if self._features_place(norm.view) not in gone:
            raise unsupported(f"{node}: it moves a part of a layer normalization")
        return [self._norm_value(node, norm._replace(kept=False), tuple(size for axis, size in enumerate(shape) if axis not in gone))]

    def _norm_combine(self, node: Node, left: Value, right: Value) -> List[Value]:
        """Add, Sub, Mul and Div of parts of a layer normalization, as PyTorch, Keras and tf2onnx write it."""
        if left.norm is not None and left.norm.part == "squares" and node.op == "Div" and right.known:
            count = self._constant(node, right, "an operand")
            if count.size == 1 and count.reshape(-1)[0] == left.norm.view.columns.size:
                return [self._norm_value(node, left.norm._replace(part="variance"), left.shape)]
        if any(value.norm is not None and not value.norm.kept for value in (left, right)):
            raise ViewError("a mean or variance without the axis of the features")
        for value, other, swapped in ((left, right, False), (right, left, True)):
            norm = value.norm
            if norm is None:
                continue
            if other.known or other.fill is not None:
                array = self._constant(node, other, "an operand")
                if node.op == "Add" and norm.part == "variance" and array.size == 1:
                    return [self._norm_value(node, norm._replace(epsilon=norm.epsilon + float(array.reshape(-1)[0])))]
                vector = self._per_feature(node, norm.view, array).reshape(-1)
                if node.op == "Mul" and norm.part == "inverse" and norm.weight is None:
                    return [self._norm_value(node, norm._replace(weight=vector))]
                if norm.bias is None and (
                    node.op == "Add" and norm.part == "shift" or node.op == "Sub" and swapped and norm.part == "mean*inverse"
                ):
                    return [self._norm_value(node, norm._replace(part="shift", bias=vector))]
                continue
            if other.norm is None:
                if norm.view is not other.view:
                    continue
                if node.op == "Sub" and swapped and norm.part == "mean":
                    return [self._norm_value(node, norm._replace(part="centred"))]
                if node.op == "Mul" and norm.part == "inverse":
                    return [self._norm_value(node, norm._replace(part="scaled"))]
                continue
            if norm.view is not other.norm.view:
                continue
            second = other.norm
            parts = (norm.part, second.part)
            if node.op == "Mul" and parts == ("centred", "centred"):
                return [self._norm_value(node, norm._replace(part="square"))]
            if node.op == "Mul" and second.part == "inverse" and norm.part in ("mean", "-mean"):
                return [self._norm_value(node, second._replace(part="mean*inverse" if norm.part == "mean" else "shift"))]
            whole = (
                node.op == "Div" and not swapped and parts == ("centred", "deviation")
                or node.op == "Mul" and parts == ("centred", "inverse")
                or node.op == "Add" and parts == ("scaled", "shift")
                or node.op == "Sub" and not swapped and parts == ("scaled", "mean*inverse")
            )  # fmt: skip
            if whole and (norm.part == "centred" or norm.weight is second.weight and norm.epsilon == second.epsilon):
                view = norm.view.narrow()
                step = self._columns(view.step, view.columns, str(node))
                weight = np.ones(step.width, step.dtype) if second.weight is None else second.weight
                bias = np.zeros(step.width, step.dtype) if second.bias is None else second.bias
                return self._normalized(node, step, View.of(step, view.axes), second.epsilon, weight, bias)
        raise ViewError("a mean or variance other than in a layer normalization, (x - mean) / sqrt(variance + epsilon)")

    def _power(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        value = self._argument(node, arguments, 0)
        exponent = self._constant(node, self._argument(node, arguments, 1), "the exponent")
        if exponent.size == 1:
            number = float(exponent.reshape(-1)[0])
            if number == 2.0 and value.norm is not None and value.norm.part == "centred":
                return [self._norm_value(node, value.norm._replace(part="square"))]
            if number == 2.0 and value.norm is None:
                return self._together_as(node, "product", [value, value])
            if number == 0.5:
                return self._root(node, arguments)
        raise unsupported(f"{node}: a power of a sequence other than its square")

    def _root(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        """Sqrt of the variance, and Reciprocal of that."""
        norm = self._argument(node, arguments, 0).norm
        before, after = ("deviation", "inverse") if node.op == "Reciprocal" else ("variance", "deviation")
        if norm is None or norm.part != before or not norm.kept:
            raise unsupported(f"{node}: {node.op} other than in a layer normalization")
        return [self._norm_value(node, norm._replace(part=after))]

    # ------------------------------------------------------------ other ones

    def _dropout(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        allow_attributes(node, "ratio", "seed", "is_test")
        training = self._optional(arguments, 2)
        if training is not None and self._constant(node, training, "training_mode").any():
            raise unsupported(f"{node}: dropout in training_mode")
        value = self._argument(node, arguments, 0)
        if value.known:
            return [Value("", const=value.const)]
        if value.fill is not None:
            return [Value("", value.dtype, value.shape, fill=value.fill, reason=value.reason)]
        identity = node._replace(op="Identity", attributes={})
        return self._move(identity, [value])

    def _reverse_sequence(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        allow_attributes(node, "batch_axis", "time_axis")
        value = self._argument(node, arguments, 0)
        lengths = self._argument(node, arguments, 1)
        view = self._view(node, value)
        maker = Fold(node, self.opset, None)
        axis = axis_in(attribute(node, "time_axis", int, 0), len(view.axes), maker)
        rows = view.axes[axis]
        if rows is FEATURES:
            raise ViewError("it turns features around")
        if self._full(lengths, rows.size()):
            return [self._viewed(node, self._turned(node, view, axis))]
        batch = axis_in(attribute(node, "batch_axis", int, 1), len(view.axes), maker)
        pattern = self._pattern_of(lengths)
        letters = "".join("t" if place == axis else "n" if place == batch else "1" for place in range(len(view.axes)))
        if pattern is None or pattern.kind != "lengths" or not self._fits(node, view, letters):
            raise ViewError("it turns each row around by a length that is not one of an input")
        step = view.step
        made = self._step(
            "reverse", [step], step.width, step.dtype, str(node), step.leads, {"lengths": ("value", pattern.lengths)}
        )
        return [self._viewed(node, View(made, view.axes, view.columns))]

    def _full(self, lengths: Value, size: Size) -> bool:
        """Lengths that are all the whole sequence."""
        base = lengths.const if lengths.const is not None else lengths.fill
        if base is None or base.dtype.kind not in "iuO":
            return False
        return all(
            same(entry if isinstance(entry, Dim) else int(entry), size) is True for entry in base.reshape(-1)[:4096]
        ) and base.size <= 4096

    def _host_integers(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        """Arithmetic of integers that a run makes of its inputs, such as lengths."""
        given = [value for value in arguments if value is not None]
        if any(value.known and symbolic(value.const) for value in given):  # type: ignore[arg-type]
            raise unsupported(f"{node}: arithmetic of sizes and inputs")
        shape: Optional[Tuple[Size, ...]] = None
        if not node.op.startswith("Reduce"):
            shapes = [value.shape for value in given if value.shape is not None]
            if len(shapes) == len(given):
                shape = shapes[0]
                for other in shapes[1:]:
                    shape = self._broadcast(node, shape, other)
        bases: FrozenSet[str] = frozenset().union(*(value.bases for value in given))
        dtype = given[0].dtype
        return [Value("", dtype, shape, bases=bases, reason="it is computed from integers", computed=True, origin=node)]

    # --------------------------------------------------------------- lengths

    def _pattern_of(self, value: Optional[Value]) -> Optional[Pattern]:
        if value is None or value.pattern is not None:
            return None if value is None else value.pattern
        if self._from_inputs(value) and value.dtype is not None and value.dtype.kind in "iu" and len(value.shape or ()) == 1:
            return Pattern("lengths", value.name, "n")
        return None

    def _patterned(self, node: Node, arguments: Sequence[Optional[Value]]) -> Optional[Value]:
        """The result of a node that makes a pattern of another one; None for other nodes."""
        if node.op == "Range":
            return self._steps_range(node, arguments)
        patterns = [self._pattern_of(value) for value in arguments]
        first = arguments[0] if arguments else None
        if first is None or not any(patterns):
            return None
        pattern, shape = patterns[0], first.shape
        made: Optional[Pattern] = None
        if node.op in MOVING and pattern is not None and shape is not None and pattern.kind != "lengths":
            made = self._moved_pattern(node, pattern, arguments)
            shape = self._moved_shapes(node, arguments)[0] if made is not None else None
        elif len(patterns) == 2 and len(arguments) == 2:
            second = arguments[1]
            assert second is not None
            if pattern is not None and pattern.kind == "lengths" and second.known:
                number = _single_integer(second.const)
                if (node.op, number) in (("Sub", 1), ("Add", -1)):
                    made = pattern._replace(kind="last")
                elif (node.op, number) in (("Greater", 0), ("GreaterOrEqual", 1)):
                    made = pattern._replace(kind="some")
            elif node.op in ("Less", "Greater") and all(patterns):
                steps, lengths = (patterns[0], patterns[1]) if node.op == "Less" else (patterns[1], patterns[0])
                assert steps is not None and lengths is not None
                axes = _broadcast_axes(steps.axes, lengths.axes)
                if (steps.kind, lengths.kind) == ("steps", "lengths") and axes is not None:
                    made = Pattern("present", lengths.lengths, axes)
                    assert first.shape is not None and second.shape is not None
                    shape = self._broadcast(node, first.shape, second.shape)
        if made is None or shape is None:
            return None
        dtype = np.dtype(bool) if made.kind in ("some", "present") else first.dtype
        bases: FrozenSet[str] = frozenset().union(*(value.bases for value in arguments if value is not None))
        return Value("", dtype, shape, bases=bases, reason="it is computed from lengths", computed=True, origin=node, pattern=made)

    def _steps_range(self, node: Node, arguments: Sequence[Optional[Value]]) -> Optional[Value]:
        """Range from 0 to a size that only a run tells."""
        start, limit, delta = (self._argument(node, arguments, index).const for index in range(3))
        if limit is None or limit.size != 1 or not symbolic(limit) or (_single_integer(start), _single_integer(delta)) != (0, 1):
            return None
        size: Dim = limit.reshape(-1)[0]
        return Value(
            "", np.dtype(np.int64), (size,), reason="it counts steps", computed=True, origin=node, pattern=Pattern("steps", "", "t")
        )

    def _moved_pattern(self, node: Node, pattern: Pattern, arguments: Sequence[Optional[Value]]) -> Optional[Pattern]:
        maker = Fold(node, self.opset, None)
        arrays = self._known_arrays(arguments)
        second = arrays[1] if len(arrays) > 1 else None
        axes = list(pattern.axes)
        if node.op == "Cast" and cast_type(node).kind not in "iu" or node.op not in (
            "Identity", "Cast", "Unsqueeze", "Squeeze", "Transpose", "Expand"
        ):  # fmt: skip
            return None
        if node.op == "Unsqueeze":
            for place in unsqueezed(maker, len(axes), axes_of(maker, second)):
                axes.insert(place, "1")
        elif node.op == "Squeeze":
            gone = axes_of(maker, second)
            if gone is None or any(axes[axis] != "1" for axis in unique_axes(gone, len(axes), maker)):
                return None
            axes = [letter for axis, letter in enumerate(axes) if axis not in unique_axes(gone, len(axes), maker)]
        elif node.op == "Transpose":
            axes = [axes[axis] for axis in permutation(maker, len(axes))]
        elif node.op == "Expand":
            shape = self._argument(node, arguments, 0).shape
            if second is None or shape is None:
                return None
            result = self._broadcast(node, shape, integers(second, maker, "the shape"))
            axes = ["1"] * (len(result) - len(axes)) + axes
            axes = ["*" if letter == "1" and same(size, 1) is not True else letter for letter, size in zip(axes, result)]
        return pattern._replace(axes="".join(axes))

    def _fits(self, node: Node, view: View, letters: str) -> bool:
        """Whether the axes of a pattern are those of a view, whose axes become time and rows by that."""
        letters = "1" * (len(view.axes) - len(letters)) + letters
        if len(letters) != len(view.axes):
            return False
        for letter, axis, size in zip(letters, view.axes, view.shape()):
            if letter in "tn":
                if axis is FEATURES:
                    return False
                self._assign(axis, "time" if letter == "t" else "rows", node)
            elif axis is not FEATURES and same(size, 1) is not True:
                return False
        return True

    def _where(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        """A sequence or its last steps where a row has them, and 0 elsewhere."""
        condition, value, other = (self._argument(node, arguments, index) for index in range(3))
        pattern = condition.pattern
        zero = other.const if other.const is not None else other.fill
        if pattern is None or pattern.kind not in ("present", "some") or zero is None or zero.any():
            raise unsupported(f"{node}: a choice by something other than the steps that each row has, or of something other than 0")
        view = self._view(node, value)
        step = view.step
        if not self._fits(node, view, pattern.axes) or zero.ndim > len(view.axes):
            raise ViewError("its condition has other steps or rows than what it chooses from")
        lengths = ("value", pattern.lengths)
        if pattern.kind == "present":
            made = self._step("mask", [step], step.width, step.dtype, str(node), step.leads, {"lengths": lengths})
        elif step.kind in ("last_step", "first_step") and self._one_step_each(step, lengths):
            made = self._step(step.kind, step.sources, step.width, step.dtype, step.place, step.leads, {"lengths": lengths})
        else:
            raise ViewError("it chooses whole rows, of something that is not the last or first step of each")
        return [self._viewed(node, View(made, view.axes, view.columns))]

    @staticmethod
    def _one_step_each(step: Step, lengths: Any) -> bool:
        """Whether a step is the last or first one of each row that has any."""
        return step.kind == "first_step" or not step.options.get("padded") and step.options.get("lengths", lengths) == lengths

    def _gather_elements(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        """The last step of each row, at lengths - 1."""
        allow_attributes(node, "axis")
        value, indices = self._argument(node, arguments, 0), self._argument(node, arguments, 1)
        view = self._view(node, value)
        axis = axis_in(attribute(node, "axis", int, 0), len(view.axes), Fold(node, self.opset, None))
        pattern = indices.pattern
        if pattern is None or pattern.kind != "last" or indices.shape is None or len(pattern.axes) != len(view.axes):
            raise unsupported(f"{node}: indices other than the last step of each row")
        rows, shape = view.axes[axis], list(view.shape())
        shape[axis] = 1
        if rows is FEATURES or any(same(a, b) is not True for a, b in zip(shape, indices.shape)):
            raise ViewError(f"indices of the shape {_show(indices.shape)} in {_show(view.shape())}")
        if pattern.axes[axis] != "1" or not self._fits(node, view, pattern.axes[:axis] + "t" + pattern.axes[axis + 1 :]):
            raise ViewError("its indices are of other rows than what it chooses from")
        time = self._time_of(view, axis)
        axes = list(view.axes)
        axes[axis] = Rows()
        if time is None:
            raise ViewError("a single step")
        leads = [lead for lead in view.step.leads if lead.root() is not time.root()]
        step = view.step
        made = self._step(
            "last_step", [step], step.width, step.dtype, str(node), leads,
            {"lengths": ("value", pattern.lengths), "unguarded": True},
        )  # fmt: skip
        return [self._viewed(node, View(made, axes, view.columns))]

    # ------------------------------------------------------------- recurrent

    def _assign(self, rows: Rows, role: str, node: Node) -> None:
        for lead in rows.roots():
            if same(lead.size, 1) is True:
                continue
            if lead.role is not None and lead.role[0] != role:
                raise ViewError(f"{lead.label} is {role} here and {lead.role[0]} in {lead.role[1]}")
            lead.role = (role, str(node))

    def _recurrent(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        names = ["X", "W", "R", "B", "sequence_lens", "initial_h"] + (["initial_c", "P"] if node.op == "LSTM" else [])
        if len(arguments) > len(names):
            raise format_error(f"{node} has {len(arguments)} inputs, expected at most {len(names)}")
        if len(node.outputs) > (3 if node.op == "LSTM" else 2):
            raise format_error(f"{node} has {len(node.outputs)} outputs")
        inputs = {name: self._optional(arguments, index) for index, name in enumerate(names)}
        arrays: Dict[str, Optional[np.ndarray]] = {}
        for name in ("W", "R", "B", "P"):
            value = inputs.get(name)
            arrays[name] = None if value is None else self._constant(node, value, name)
        W, R = arrays["W"], arrays["R"]
        if W is None or R is None or inputs["X"] is None:
            raise format_error(f"{node}: {'X' if inputs['X'] is None else 'W' if W is None else 'R'} is missing")
        layer = read_recurrent(node, self.conventions, W, R, arrays["B"], arrays["P"])
        step, view = self._features(node, inputs["X"])
        if len(view.axes) != 3:
            raise format_error(f"{node}: X has {len(view.axes)} axes, expected 3")
        if step.width != layer.input_size:
            raise format_error(f"{node}: X has {step.width} features, and W {list(W.shape)} reads {layer.input_size}")
        if step.dtype != W.dtype:
            raise format_error(f"{node}: X is {step.dtype}, and W is {W.dtype}")
        time, rows = (view.axes[1], view.axes[0]) if layer.layout else (view.axes[0], view.axes[1])
        assert time is not None and rows is not None
        if sum(same(lead.size, 1) is not True for lead in time.roots()) > 1:
            raise ViewError("its time runs over several axes of an input")
        self._assign(time, "time", node)
        self._assign(rows, "rows", node)
        options: Dict[str, Any] = {"layer": layer, "rows": rows, "lengths": self._lengths(node, inputs["sequence_lens"], time.size())}
        for name in ("initial_h", "initial_c"):
            options[name] = self._initial(node, inputs.get(name), layer, rows.size(), name)
        H, D = layer.hidden_size, layer.directions
        place = node.name or node.outputs[0] or str(node)
        result = self._step(
            "recurrent", [step], D * H, step.dtype, place, step.leads, options, dict(layer.parameters)
        )
        axes: List[Axis] = [time, FEATURES, rows, FEATURES]
        y = View.of(result, axes, (D, H))
        state_axes: List[Axis] = [FEATURES, rows, FEATURES]
        final = self._final(result, time, layer)
        h = View.of(final, state_axes, (D, H))
        if layer.layout:
            y, h = y.transpose([2, 0, 1, 3]), h.transpose([1, 0, 2])
        outputs = (list(node.outputs) + ["", "", ""])[:3]
        values = [
            Value("", step.dtype, y.shape(), bases=frozenset([outputs[0]]), view=y),
            Value("", step.dtype, h.shape(), bases=frozenset([outputs[1]]), view=h, state=(result, "h")),
            Value("", step.dtype, h.shape(), bases=frozenset([outputs[2]]), state=(result, "c"),
                  reason=f"Y_c of {node} is a state: it can be an output of the graph, and nothing can be computed of it"),
        ]  # fmt: skip
        return values[: 3 if node.op == "LSTM" else 2]

    def _loop(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        """A loop over steps that computes a cell."""
        allow_attributes(node, "body")
        body = attribute(node, "body", Body)
        if body is None or len(node.inputs) < 2:
            raise format_error(f"{node}: its body or its inputs are missing")
        sizes: Dict[str, Size] = {}

        def constant(name: str) -> Optional[np.ndarray]:
            value = self.values.get(name)
            if value is None:
                raise format_error(f"{node}: its body reads {name!r}, which is nowhere")
            return None if value.const is None or symbolic(value.const) else value.const

        def is_size(name: str) -> bool:
            size = self._size_in(name)
            if size is not None:
                sizes[name] = size
            return size is not None

        reader = LoopReader(node, body, list(node.inputs[2:]), self.opset, self.budget, constant, is_size)
        count = self._size_in(node.inputs[0]) if node.inputs[0] else None
        cell = reader.read(count is not None)
        x = self.values[cell.x]
        if x.error is not None:
            raise x.error
        if x.shape is None or len(x.shape) != 3 or x.dtype is None:
            raise unsupported(f"{node}: {cell.x!r} has the shape {_show(x.shape)}, expected [T, N, I]")
        steps = [*sizes.values(), *([] if count is None else [count])]
        if any(same(size, x.shape[0]) is not True for size in steps):
            raise unsupported(f"{node}: it does not run once for each step of {cell.x!r}")
        if node.inputs[1] and not self._begins(node.inputs[1], x.shape[0]):
            raise unsupported(f"{node}: whether it begins depends on {node.inputs[1]!r}, which is not that there is a step")
        given: List[Optional[Value]] = [x]
        given += [Value("", const=array.astype(x.dtype)) for array in (cell.W, cell.R, cell.B)] + [None]
        for place in cell.states:
            state = self.values[node.inputs[2 + place]]
            if state.error is not None:
                raise state.error
            if state.shape is None or len(state.shape) != 2 or state.const is None and state.fill is None:
                raise unsupported(f"{node}: the initial state {state.name!r} is not a constant [N, H]")
            given.append(Value(state.name, state.dtype, (1, *state.shape), state.const if state.const is None else state.const[None],
                               state.fill))  # fmt: skip
        found = self._recurrent(node._replace(op=cell.op, inputs=[], outputs=["", "", ""][: 1 + len(cell.states)],
                                              attributes=cell.attributes), given)  # fmt: skip
        carried = len(node.inputs) - 2
        results = [Value("", error=unsupported(f"{node}: its output {name!r} is not H"), origin=node) for name in node.outputs]
        views = {carried + place: found[0].view for place in cell.sequences}
        views[cell.states[0]] = found[1].view
        for place, view in views.items():
            if place < len(node.outputs) and view is not None:
                view = view.squeeze([0 if place < carried else 1])
                results[place] = Value("", view.step.dtype, view.shape(), bases=frozenset([node.outputs[place]]), view=view)
        return results

    def _size_in(self, name: str) -> Optional[Size]:
        """The size that a value without axes is, of an input or of a constant."""
        value = self.values.get(name)
        if value is None or value.const is None or value.const.size != 1 or value.const.ndim > 1 or value.const.dtype.kind not in "iuO":
            return None
        size = value.const.reshape(-1)[0]
        return size if isinstance(size, Dim) else None

    def _begins(self, name: str, steps: Size) -> bool:
        """Whether a condition is that there is a step, 0 < T, or true."""
        value = self.values[name]
        if value.known:
            return bool(value.const is not None and value.const.dtype == bool and value.const.all())
        node = next((entry for entry in self.graph.nodes if name in entry.outputs), None)
        if node is None or len(node.inputs) != 2:
            return False
        if node.op == "And":
            return all(self._begins(entry, steps) for entry in node.inputs)
        zero = self.values[node.inputs[0]].const if node.inputs[0] else None
        size = self._size_in(node.inputs[1])
        return node.op == "Less" and zero is not None and zero.size == 1 and not symbolic(zero) and not zero.any() and (
            size is not None and same(size, steps) is True
        )

    def _final(self, result: Step, time: Rows, layer: Recurrent) -> Step:
        """Y_h [.., D*H] as a node: the last step of the forward direction, the first of the backward one."""
        leads = [lead for lead in time.roots() if same(lead.size, 1) is not True]
        if not leads:
            return result
        place = result.place
        backward = layer.keywords.get("direction") == "reverse"
        if layer.directions == 1:
            return self._single(result, leads[0], backward, place, padded=False)
        H = layer.hidden_size
        halves = [self._columns(result, np.arange(begin, begin + H), place) for begin in (0, H)]
        return self._joined(
            [self._single(half, leads[0], bool(index), place, padded=False) for index, half in enumerate(halves)], place
        )

    def _lengths(self, node: Node, value: Optional[Value], time: Size) -> Any:
        """None: every row has all steps; ("value", name) of a run; ("constant", numbers)."""
        if value is None or self._full(value, time):
            return None
        if value.const is not None and not symbolic(value.const):
            if value.const.ndim != 1 or value.const.dtype.kind not in "iu":
                raise format_error(f"{node}: sequence_lens has the shape {value.const.shape} of {value.const.dtype}, expected [N]")
            lengths = tuple(int(length) for length in value.const)
            if any(not 0 <= length < 1 << 31 for length in lengths):
                raise format_error(f"{node}: sequence_lens has {max(lengths, key=abs)}, expected lengths from 0 to 2**31 - 1")
            return ("constant", lengths)
        if self._from_inputs(value) and value.dtype is not None and value.dtype.kind in "iu":
            return ("value", value.name)
        raise unsupported(f"{node}: sequence_lens is computed in a way that librnn does not follow")

    def _initial(self, node: Node, value: Optional[Value], layer: Recurrent, rows: Size, name: str) -> Any:
        """None: zeros; ("learned", [D, H]); ("constant", [D, N, H]); ("value", name, layout)."""
        if value is None:
            return None
        what = f"{node}: {name}"
        D, H = layer.directions, layer.hidden_size
        base = value.const if value.const is not None else value.fill
        if base is not None and not symbolic(base):
            if value.shape is None or len(value.shape) != 3:
                raise format_error(f"{what} has the shape {_show(value.shape)}, expected three axes")
            own = value.shape[0 if layer.layout else 1]
            if same(own, rows) is None and same(own, 1) is not True:
                self.assumptions.append((node, own, rows))
            if not base.any():
                return None
            if base.dtype.name not in ("float32", "float64"):
                raise format_error(f"{what} is {base.dtype}")
            small = base.reshape((1,) * (3 - base.ndim) + base.shape)
            target = list(small.shape)
            for axis, size in ((1 if layer.layout else 0, D), (2, H)):
                target[axis] = size
            try:
                full = np.broadcast_to(small, target)
            except ValueError:
                raise format_error(f"{what} has the shape {_show(value.shape)}, expected [{D}, N, {H}] (layout 0)") from None
            full = state_rows(full, D, H, layer.layout, what)
            if same(full.shape[1], rows) is False and full.shape[1] != 1:
                raise format_error(f"{what} has {full.shape[1]} rows, and X has {rows}")
            if (full == full[:, :1]).all():
                return ("learned", np.array(full[:, 0]))
            return ("constant", np.array(full))
        if self._from_inputs(value) and not value.computed:
            return ("value", value.name, layer.layout)
        raise unsupported(
            f"{what} {value.name!r} is computed in the graph; librnn takes initial states from inputs and constants"
        )


def _fixed(error: RNNError, shape: Sequence[Size], wanted: Sequence[Size]) -> RNNError:
    """A shape that does not become another one, but would if the first size that differs were the number that is asked for."""
    for size, target in zip(shape, wanted):
        if isinstance(size, Dim) and isinstance(target, int) and target > 0:
            name = size.only_name()
            return error if name is None else FixedSize(error, name, target)
        if target != 0 and same(size, target) is not True:
            break
    return error


def _repeated(node: Node, array: np.ndarray, shape: Tuple[int, ...]) -> np.ndarray:
    try:
        return np.broadcast_to(array, shape)
    except ValueError as error:  # such as a size of 0 beside a huge one
        raise format_error(f"{node}: a constant of the shape {list(shape)}: {error}") from None


def _single_integer(array: Optional[np.ndarray]) -> Optional[int]:
    """A number that is known; None for anything else."""
    if array is None or array.size != 1 or array.dtype.kind not in "iu":
        return None
    return int(array.reshape(-1)[0])


def _broadcast_axes(left: str, right: str) -> Optional[str]:
    rank = max(len(left), len(right))
    pairs = list(zip(left.rjust(rank, "1"), right.rjust(rank, "1")))
    if any("1" not in pair for pair in pairs):
        return None
    return "".join(b if a == "1" else a for a, b in pairs)


def _float(node: Node, dtype: np.dtype) -> np.dtype:
    if dtype.name not in ("float32", "float64"):
        raise unsupported(f"{node}: numbers of type {dtype}, expected float or double")
    return dtype


def _scaled(array: np.ndarray, factor: float) -> np.ndarray:
    return array if factor == 1.0 else (array.astype(np.float64) * factor).astype(array.dtype)


def _show(shape: Optional[Sequence[Size]]) -> str:
    return "of unknown rank" if shape is None else "[" + ", ".join(str(size) for size in shape) + "]"


_HANDLERS: Dict[str, Callable[[Interpreter, Node, List[Optional[Value]]], List[Value]]] = {
    "RNN": Interpreter._recurrent, "GRU": Interpreter._recurrent, "LSTM": Interpreter._recurrent,
    "Clip": Interpreter._clip, "Conv": Interpreter._conv, "Loop": Interpreter._loop, "OneHot": Interpreter._one_hot, "MatMul": Interpreter._matmul, "Gemm": Interpreter._gemm,
    "Add": Interpreter._combine, "Sub": Interpreter._combine, "Mul": Interpreter._combine, "Div": Interpreter._combine,
    "Sum": Interpreter._sum, "Neg": Interpreter._negative, "PRelu": Interpreter._prelu, "Softmax": Interpreter._softmax,
    "LogSoftmax": Interpreter._softmax, "LayerNormalization": Interpreter._layer_norm,
    "BatchNormalization": Interpreter._batch_norm, "ReduceMean": Interpreter._reduce_mean, "ReduceSumSquare": Interpreter._reduce_mean, "Pow": Interpreter._power,
    "Sqrt": Interpreter._root, "Reciprocal": Interpreter._root, "GlobalAveragePool": Interpreter._reduce_mean,
    "Dropout": Interpreter._dropout, "ReverseSequence": Interpreter._reverse_sequence,
    "Where": Interpreter._where, "GatherElements": Interpreter._gather_elements,
    **{op: Interpreter._activation for op in ACTIVATIONS},
}  # fmt: skip
