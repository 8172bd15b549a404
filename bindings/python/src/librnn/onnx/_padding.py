"""What a graph does with the lengths of its rows: masks, last steps, rows turned around."""

from __future__ import annotations

from typing import Any, FrozenSet, List, Optional, Sequence

import numpy as np

from ..errors import unsupported
from ._dims import Dim, Size, same
from ._file import Node, allow_attributes, attribute, cast_type
from ._fold import MOVING, Fold, axes_of, axis_in, integers, permutation, symbolic, unique_axes, unsqueezed
from ._layout import FEATURES, Rows, Step, View, ViewError
from ._norms import Norms
from ._values import Pattern, Value, show, single_integer


class Padding(Norms):
    """What a graph does with the lengths of its rows."""

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
        elif len(arguments) == 2 and arguments[1] is not None:
            second = arguments[1]
            if pattern is not None and pattern.kind == "lengths" and second.known:
                number = single_integer(second.const)
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
        if limit is None or limit.size != 1 or not symbolic(limit) or (single_integer(start), single_integer(delta)) != (0, 1):
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
            if step.kind == "input":  # a network computes something: all its features
                whole = {"begin": 0, "end": step.width}
                step = self._step("slice", [step], step.width, step.dtype, str(node), step.leads, whole)
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
            raise ViewError(f"indices of the shape {show(indices.shape)} in {show(view.shape())}")
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


def _broadcast_axes(left: str, right: str) -> Optional[str]:
    rank = max(len(left), len(right))
    pairs = list(zip(left.rjust(rank, "1"), right.rjust(rank, "1")))
    if any("1" not in pair for pair in pairs):
        return None
    return "".join(b if a == "1" else a for a, b in pairs)
