"""Linear layers, sums, products and activations."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np

from ..activations import Activation
from ..errors import unsupported
from ._dims import same
from ._file import Node, allow_attributes, attribute, format_error
from ._fold import Fold, axis_in
from ._layout import FEATURES, View, ViewError
from ._tokens import Tokens
from ._values import Value, show

FRONT_END = (
    "librnn has no such node: cut the graph after it (onnx.utils.extract_model), compute that part elsewhere, and load the rest"
)

ACTIVATIONS = {
    "Relu": ("relu", None, None), "Sigmoid": ("sigmoid", None, None), "Tanh": ("tanh", None, None),
    "HardSigmoid": ("hard_sigmoid", 0.2, 0.5), "LeakyRelu": ("leaky_relu", 0.01, None),
    "ThresholdedRelu": ("thresholded_relu", 1.0, None), "Elu": ("elu", 1.0, None), "Softsign": ("softsign", None, None),
    "Softplus": ("softplus", None, None),
}  # fmt: skip


class Arithmetic(Tokens):
    """Linear layers, sums, products and activations."""

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
                raise ViewError(f"a constant of the shape {array.shape} repeats steps or rows of {show(view.shape())}")
        return self._vector(node, moved_array, view.columns.shape, len(order))

    def _combine(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        """Add, Sub, Mul, Div."""
        allow_attributes(node)
        left, right = self._argument(node, arguments, 0), self._argument(node, arguments, 1)
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
            raise unsupported(f"{node}: a Conv over the steps {list(weight.shape[2:])}, expected one step: {FRONT_END}")
        for name, expected in (("group", 1), ("strides", 1), ("pads", 0)):
            given = node.attributes.get(name, expected)
            if any(number != expected for number in (given if isinstance(given, list) else [given])):
                raise unsupported(f"{node}: {name} is {given}: {FRONT_END}")
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


def _scaled(array: np.ndarray, factor: float) -> np.ndarray:
    return array if factor == 1.0 else (array.astype(np.float64) * factor).astype(array.dtype)
