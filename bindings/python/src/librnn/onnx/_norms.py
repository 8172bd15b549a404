"""Normalizations: as operators, and layer normalization from its parts."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np

from ..errors import unsupported
from ._arithmetic import Arithmetic
from ._dims import Size, same
from ._file import Node, allow_attributes, attribute, format_error
from ._fold import Fold, axes_of, axis_in, squeezed, symbolic, unique_axes
from ._layout import FEATURES, Step, View, ViewError
from ._values import Norm, Value


class Norms(Arithmetic):
    """Normalizations."""

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

    def _combine(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        left, right = self._argument(node, arguments, 0), self._argument(node, arguments, 1)
        if left.norm is not None or right.norm is not None:
            allow_attributes(node)
            return self._norm_combine(node, left, right)
        return super()._combine(node, arguments)

    def _negative(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        norm = self._argument(node, arguments, 0).norm
        if norm is not None and norm.kept and norm.part in ("mean", "mean*inverse"):
            return [self._norm_value(node, norm._replace(part="-mean" if norm.part == "mean" else "shift"))]
        return super()._negative(node, arguments)

    def _move_norm(self, node: Node, arguments: Sequence[Optional[Value]]) -> List[Value]:
        """A mean or variance without the axis of the features."""
        value = self._argument(node, arguments, 0)
        norm, shape = value.norm, value.shape
        if norm is None or shape is None:
            return super()._move_norm(node, arguments)
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
