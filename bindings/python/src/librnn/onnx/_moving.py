"""Moving of values: shapes and axes, followed by views or, for inputs and constants, left to NumPy."""

from __future__ import annotations

from typing import FrozenSet, List, Optional, Sequence, Tuple

import numpy as np

from ..errors import RNNError, unsupported
from ._dims import Dim, DimError, Size, product, same
from ._file import Node, allow_attributes, attribute, cast_type, format_error
from ._fold import (
    Fold, axes_of, axis_in, filling, flat_shape, fold, integers, numbers, permutation, python_slice, shape_array, slice_plan,
    split_sizes, squeezed, symbolic, target_shape, unsqueezed,
)  # fmt: skip
from ._layout import FEATURES, Axis, Lead, Rows, Step, View, ViewError, moved
from ._reader import Reader
from ._values import FixedSize, Value, fixed, repeated, show

#: Constants of more elements than this are kept as one number and a shape.
_FILL_ELEMENTS = 1 << 12


class Moving(Reader):
    """Moving of values."""

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
                return Value("", const=repeated(node, base, tuple(int(size) for size in shape)))  # type: ignore[arg-type]
        return Value("", base.dtype, shape, fill=base, reason="it is a constant")

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
                raise fixed(error, shape, wanted) from None
            before, after = product(shape), product(target)
            if same(before, after) is None:
                error = fixed(unsupported(f"{node}: {show(shape)} becomes {show(target)}"), shape, wanted)
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

    def _move(self, node: Node, arguments: List[Optional[Value]]) -> List[Value]:
        given = [value for value in arguments if value is not None]
        first = self._argument(node, arguments, 0)
        data = given if node.op == "Concat" else [first]
        if any(value.norm is not None for value in data):
            return self._move_norm(node, arguments)
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

    def _move_norm(self, node: Node, arguments: Sequence[Optional[Value]]) -> List[Value]:
        """Moving of a part of a layer normalization, for a class that knows these."""
        raise unsupported(f"{node}: it moves a part of a layer normalization")

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
        raise unsupported(f"{node} reads {value.name!r}, of the shape {show(value.shape)}: its last axis has no known size")

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
