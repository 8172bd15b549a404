"""Operators on arrays that are known: the constants of a graph before it runs, its inputs and states when it runs.

Sizes that only a run tells stand in arrays of objects, as `Dim`. Only moving, integers, comparisons, and constants are computed
here; what a network has to compute never is.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..errors import RNNError, unsupported
from ._dims import Dim, DimError, Size, bind, divide, product, same
from ._file import Node, Unread, attribute, cast_type, format_error

Arrays = Sequence[Optional[np.ndarray]]


class Budget:
    """Bytes that folding may still take: a few nodes of a hostile file can ask for any number."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def take(self, count: int, itemsize: int, node: Node) -> None:
        need = count * itemsize
        if need > self.left:
            raise unsupported(f"{node}: computing this constant takes {need} bytes, more than the file justifies")
        self.left -= need


class Fold:
    """One operator and what it may use."""

    def __init__(self, node: Node, opset: int, budget: Optional[Budget]) -> None:
        self.node = node
        self.opset = opset
        self.budget = budget

    def get(self, name: str, kind: Any, default: Any = None) -> Any:
        return attribute(self.node, name, kind, default)

    def take(self, shape: Sequence[Any], itemsize: int = 8) -> None:
        """Count an array of `shape` before it is made."""
        count = product([int(size) for size in shape])
        if not isinstance(count, int) or count < 0:
            raise self.error(f"an array of the shape {list(shape)}")
        if self.budget is not None:
            self.budget.take(count, itemsize, self.node)

    def error(self, message: str) -> RNNError:
        return format_error(f"{self.node}: {message}")


def symbolic(array: np.ndarray) -> bool:
    """Whether an array holds sizes that only a run tells."""
    return array.dtype == object


def settle(array: np.ndarray) -> np.ndarray:
    """An array of objects as integers, if none of them is a `Dim`."""
    if array.dtype == object and not any(isinstance(value, Dim) for value in array.flat):
        try:
            return array.astype(np.int64)
        except OverflowError:
            raise DimError(f"sizes {array.tolist()}") from None
    return array


def bound(array: np.ndarray, sizes: Mapping[str, int]) -> np.ndarray:
    """An array with the numbers that its sizes are in this run."""
    if not symbolic(array):
        return array
    return np.array([bind(value, sizes) for value in array.flat], np.int64).reshape(array.shape)


def integers(array: np.ndarray, fold: Fold, what: str) -> List[Size]:
    """A vector of integers, such as axes or a shape."""
    if array.ndim > 1 or array.dtype.kind not in "iuO" or array.size > 64:
        raise fold.error(f"{what} has the type {array.dtype} and the shape {array.shape}, expected a few integers")
    return [value if isinstance(value, Dim) else int(value) for value in array.reshape(-1)]


def numbers(array: np.ndarray, fold: Fold, what: str) -> List[int]:
    values = integers(array, fold, what)
    if any(isinstance(value, Dim) for value in values):
        raise unsupported(f"{fold.node}: {what} depends on the size of an input")
    return [int(value) for value in values]


def axes_of(fold: Fold, given: Optional[np.ndarray], name: str = "axes") -> Optional[List[int]]:
    """Axes as an input or, of older opsets, as an attribute."""
    if given is not None:
        return numbers(given, fold, name)
    return fold.get(name, [int])  # type: ignore[no-any-return]


def axis_in(axis: int, rank: int, fold: Fold) -> int:
    if not -rank <= axis < rank:
        raise fold.error(f"axis {axis} of an array with {rank} axes")
    return axis % rank


def unique_axes(axes: Sequence[int], rank: int, fold: Fold) -> List[int]:
    result = [axis_in(axis, rank, fold) for axis in axes]
    if len(set(result)) != len(result):
        raise fold.error(f"axes {list(axes)} of an array with {rank} axes")
    return result


def target_shape(fold: Fold, shape: Sequence[Size], wanted: Sequence[Size]) -> Tuple[Size, ...]:
    """The shape that Reshape gives, with 0 and -1 resolved."""
    sizes: List[Size] = []
    unknown = None
    for index, size in enumerate(wanted):
        if isinstance(size, int) and size == 0 and not fold.get("allowzero", int, 0):
            if index >= len(shape):
                raise fold.error(f"the shape {list(wanted)} copies axis {index} of {list(shape)}")
            size = shape[index]
        if isinstance(size, int) and size < 0:
            if size != -1 or unknown is not None:
                raise fold.error(f"the shape {list(wanted)}")
            unknown, size = index, 1
        sizes.append(size)
    try:
        if unknown is not None:
            sizes[unknown] = divide(product(shape), product(sizes))
        if same(product(shape), product(sizes)) is False:
            raise DimError("their products differ")
    except DimError as error:
        raise fold.error(f"{list(shape)} cannot become {list(wanted)}: {error}") from None
    return tuple(sizes)


def slice_plan(
    fold: Fold, rank: int, arrays: Arrays
) -> List[Tuple[int, Size, Size, int]]:
    """(axis, start, end, step) of a Slice; start and end as in the file."""
    if fold.opset < 10:
        starts = fold.get("starts", [int], [])
        ends = fold.get("ends", [int], [])
        given = fold.get("axes", [int])
        axes = list(range(len(starts))) if given is None else given
        steps = [1] * len(starts)
    else:
        first, second, third, fourth = (list(arrays) + [None] * 5)[1:5]
        if first is None or second is None:
            raise fold.error("starts or ends is missing")
        starts = integers(first, fold, "starts")  # type: ignore[assignment]
        ends = integers(second, fold, "ends")  # type: ignore[assignment]
        axes = list(range(len(starts))) if third is None else numbers(third, fold, "axes")
        steps = [1] * len(starts) if fourth is None else numbers(fourth, fold, "steps")
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise fold.error(f"starts {starts}, ends {ends}, axes {axes}, steps {steps}")
    return list(zip(unique_axes(axes, rank, fold), starts, ends, steps))


def split_sizes(fold: Fold, size: int, sizes: Optional[np.ndarray]) -> List[int]:
    count = len(fold.node.outputs)
    if sizes is not None:
        parts = numbers(sizes, fold, "split")
    elif "split" in fold.node.attributes:
        parts = fold.get("split", [int])
    else:
        given = fold.get("num_outputs", int, count)
        if given != count:
            raise fold.error(f"num_outputs is {given}, and there are {count} outputs")
        each = -(-size // count)
        parts = [max(0, min(each, size - index * each)) for index in range(count)]
        if "num_outputs" not in fold.node.attributes and size % count:
            raise fold.error(f"{size} elements are split into {count} equal parts")
    if len(parts) != count or any(part < 0 for part in parts) or sum(parts) != size:
        raise fold.error(f"{size} elements are split into {parts}")
    return parts


# ---------------------------------------------------------------- moving


def _identity(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    return [_first(fold, arrays)]


def _first(fold: Fold, arrays: Arrays, index: int = 0) -> np.ndarray:
    array = arrays[index] if index < len(arrays) else None
    if array is None:
        raise fold.error(f"input {index} is missing")
    return array


def _transpose(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    array = _first(fold, arrays)
    return [array.transpose(permutation(fold, array.ndim))]


def permutation(fold: Fold, rank: int) -> List[int]:
    order = fold.get("perm", [int])
    if order is None:
        return list(range(rank))[::-1]
    if sorted(order) != list(range(rank)):
        raise fold.error(f"perm is {order}, for an array with {rank} axes")
    return list(order)


def _reshape(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    array = _first(fold, arrays)
    shape = target_shape(fold, array.shape, integers(_first(fold, arrays, 1), fold, "the shape"))
    if any(isinstance(size, Dim) for size in shape):
        raise unsupported(f"{fold.node}: a constant takes a shape that depends on the size of an input")
    return [array.reshape(tuple(int(size) for size in shape))]


def flat_shape(fold: Fold, shape: Sequence[Size]) -> Tuple[Size, Size]:
    axis = fold.get("axis", int, 1)
    if not -len(shape) <= axis <= len(shape):
        raise fold.error(f"axis {axis} of an array with {len(shape)} axes")
    axis = axis + len(shape) if axis < 0 else axis
    return product(shape[:axis]), product(shape[axis:])


def _flatten(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    array = _first(fold, arrays)
    return [array.reshape([int(size) for size in flat_shape(fold, array.shape)])]  # type: ignore[arg-type]


def squeezed(fold: Fold, shape: Sequence[Size], axes: Optional[List[int]]) -> List[int]:
    """The axes that Squeeze takes away."""
    if not axes:  # onnxruntime takes an empty list for none
        if any(isinstance(size, Dim) for size in shape):
            raise unsupported(f"{fold.node}: it has no axes, and the sizes {list(shape)} are not all known")
        return [axis for axis, size in enumerate(shape) if size == 1]
    result = unique_axes(axes, len(shape), fold)
    for axis in result:
        if same(shape[axis], 1) is False:
            raise fold.error(f"axis {axis} of the shape {list(shape)} is not 1")
    return result


def _squeeze(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    array = _first(fold, arrays)
    axes = squeezed(fold, array.shape, axes_of(fold, arrays[1] if len(arrays) > 1 else None))
    return [array.squeeze(tuple(axes))]


def unsqueezed(fold: Fold, rank: int, axes: Optional[List[int]]) -> List[int]:
    """The places of the new axes, in the result."""
    if axes is None:
        raise fold.error("axes is missing")
    return sorted(unique_axes(axes, rank + len(axes), fold))


def _unsqueeze(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    array = _first(fold, arrays)
    axes = unsqueezed(fold, array.ndim, axes_of(fold, arrays[1] if len(arrays) > 1 else None))
    if array.ndim + len(axes) > 60:
        raise fold.error(f"an array with {array.ndim + len(axes)} axes")
    return [np.expand_dims(array, tuple(axes))]


def _gather(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    array, indices = _first(fold, arrays), _first(fold, arrays, 1)
    if symbolic(indices) or indices.dtype.kind not in "iu":
        raise unsupported(f"{fold.node}: the indices are {indices.dtype}")
    axis = axis_in(fold.get("axis", int, 0), array.ndim, fold)
    size = array.shape[axis]
    if indices.size and (int(indices.min()) < -size or int(indices.max()) >= size):
        raise fold.error(f"an index is out of range of {size} elements")
    fold.take(array.shape[:axis] + indices.shape + array.shape[axis + 1 :], array.dtype.itemsize)
    return [np.take(array, indices, axis=axis)]


def _slice(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    array = _first(fold, arrays)
    index: List[slice] = [slice(None)] * array.ndim
    for axis, start, end, step in slice_plan(fold, array.ndim, arrays):
        if isinstance(start, Dim) or isinstance(end, Dim):
            raise unsupported(f"{fold.node}: starts or ends depend on the size of an input")
        index[axis] = python_slice(int(start), int(end), step, array.shape[axis])
    return [array[tuple(index)]]


def python_slice(start: int, end: int, step: int, size: int) -> slice:
    """ONNX's start and end, which are clamped, as Python's."""
    if step > 0:
        first = min(max(start + size if start < 0 else start, 0), size)
        last = min(max(end + size if end < 0 else end, 0), size)
        return slice(first, last, step)
    first = min(max(start + size if start < 0 else start, 0), size - 1)
    last = min(max(end + size if end < 0 else end, -1), size - 1)
    return slice(first, None if last < 0 else last, step)


def _concat(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    parts = [_first(fold, arrays, index) for index in range(len(arrays))]
    axis = axis_in(fold.get("axis", int, 1 if fold.opset < 4 else 0), parts[0].ndim, fold)
    for part in parts:
        if part.ndim != parts[0].ndim or any(
            part.shape[other] != parts[0].shape[other] for other in range(part.ndim) if other != axis
        ):
            raise fold.error(f"shapes {', '.join(str(entry.shape) for entry in parts)} beside each other")
    fold.take((sum(part.size for part in parts),), max(part.dtype.itemsize for part in parts))
    return [settle(np.concatenate(parts, axis=axis))]


def _split(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    array = _first(fold, arrays)
    axis = axis_in(fold.get("axis", int, 0), array.ndim, fold)
    sizes = split_sizes(fold, array.shape[axis], arrays[1] if len(arrays) > 1 else None)
    return np.split(array, np.cumsum(sizes)[:-1], axis=axis) if array.dtype != object else [
        array[tuple([slice(None)] * axis + [slice(sum(sizes[:i]), sum(sizes[: i + 1]))])] for i in range(len(sizes))
    ]


def _expand(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    array = _first(fold, arrays)
    wanted = numbers(_first(fold, arrays, 1), fold, "the shape")
    shape = np.broadcast_shapes(array.shape, tuple(wanted)) if all(size >= 0 for size in wanted) else None
    if shape is None:
        raise fold.error(f"the shape {wanted}")
    fold.take(shape, array.dtype.itemsize)
    return [np.broadcast_to(array, shape)]


def _tile(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    array = _first(fold, arrays)
    repeats = numbers(_first(fold, arrays, 1), fold, "repeats")
    if len(repeats) != array.ndim or any(count < 0 for count in repeats):
        raise fold.error(f"repeats is {repeats}, for the shape {array.shape}")
    fold.take([size * count for size, count in zip(array.shape, repeats)], array.dtype.itemsize)
    return [np.tile(array, repeats)]


def _cast(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    array = _first(fold, arrays)
    target = cast_type(fold.node)
    if symbolic(array):
        if target.kind not in "if":
            raise unsupported(f"{fold.node}: a size of an input becomes {target}")
        return [array]  # as a float it may only be compared: arithmetic of sizes and fractions is refused
    fold.take(array.shape, target.itemsize)
    with np.errstate(all="ignore"):
        return [array.astype(target)]


# ------------------------------------------------------- making and computing


def _constant(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    for name, value in fold.node.attributes.items():
        if isinstance(value, Unread):
            raise unsupported(f"{fold.node}: {value.reason}")
        if name == "value" and isinstance(value, np.ndarray):
            return [value]
        if name in ("value_int", "value_ints"):
            return [np.array(value, np.int64)]
        if name in ("value_float", "value_floats"):
            return [np.array(value, np.float32)]
    raise unsupported(f"{fold.node}: a constant of {', '.join(fold.node.attributes) or 'nothing'}")


def filling(fold: Fold) -> np.ndarray:
    """The number that ConstantOfShape fills an array with, as an array without axes."""
    value = fold.get("value", np.ndarray)
    if value is None:
        return np.zeros((), np.float32)
    if value.size != 1:
        raise fold.error(f"value has {value.size} elements, expected 1")
    return value.reshape(())


def _constant_of_shape(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    shape = numbers(_first(fold, arrays), fold, "the shape")
    value = filling(fold)
    if any(size < 0 for size in shape):
        raise fold.error(f"the shape {shape}")
    fold.take(shape, value.dtype.itemsize)
    return [np.broadcast_to(value, shape)]


def _range(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    start, limit, delta = (_first(fold, arrays, index) for index in range(3))
    if any(symbolic(part) or part.size != 1 or part.dtype.kind not in "iu" for part in (start, limit, delta)):
        raise unsupported(f"{fold.node}: a range of other things than known integers")
    first, last, step = (int(part.reshape(-1)[0]) for part in (start, limit, delta))
    if step == 0:
        raise fold.error("delta is 0")
    count = max(0, -(-(last - first) // step))
    fold.take((count,))
    return [np.arange(first, last, step, dtype=start.dtype)]


def _binary(function: Callable[[Any, Any], Any], objects: bool) -> Callable[[Fold, Arrays], List[np.ndarray]]:
    def compute(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
        left, right = _first(fold, arrays), _first(fold, arrays, 1)
        if symbolic(left) or symbolic(right):
            if not objects or left.dtype.kind not in "iO" or right.dtype.kind not in "iO" or max(left.size, right.size) > 64:
                raise unsupported(f"{fold.node}: it depends on the size of an input")
        elif left.dtype != right.dtype:
            raise fold.error(f"operands of the types {left.dtype} and {right.dtype}")
        try:
            shape = np.broadcast_shapes(left.shape, right.shape)
        except ValueError:
            raise fold.error(f"operands of the shapes {left.shape} and {right.shape}") from None
        fold.take(shape, max(left.dtype.itemsize, right.dtype.itemsize))
        with np.errstate(all="ignore"):
            try:
                return [settle(np.asarray(function(left, right)))]
            except DimError as error:
                raise unsupported(f"{fold.node}: {error}") from None

    return compute


def _div(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    if left.dtype == object or right.dtype == object:
        return np.floor_divide(left, right)
    if left.dtype.kind in "iu":
        if (right == 0).any():
            raise DimError("an integer is divided by 0")
        quotient = np.floor_divide(left, right)
        # ONNX rounds towards zero.
        return quotient + ((quotient < 0) & (quotient * right != left))  # type: ignore[no-any-return]
    return left / right  # type: ignore[no-any-return]


def _mod(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    if fold.get("fmod", int, 0):
        raise unsupported(f"{fold.node}: fmod")
    if any(array is not None and array.dtype.kind not in "iuO" or array is not None and (array == 0).any() for array in arrays[1:]):
        raise fold.error("a remainder of fractions, or by 0")
    return _binary(np.mod, True)(fold, arrays)


def _equal(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    if left.dtype != object and right.dtype != object:
        return np.equal(left, right)
    left, right = np.broadcast_arrays(left, right)
    result = []
    for a, b in zip(left.flat, right.flat):
        answer = same(a if isinstance(a, Dim) else int(a), b if isinstance(b, Dim) else int(b))
        if answer is None:
            raise DimError(f"whether {a!r} is {b!r} depends on the size of an input")
        result.append(answer)
    return np.array(result, bool).reshape(left.shape)


def _unary(function: Callable[[Any], Any], kinds: str) -> Callable[[Fold, Arrays], List[np.ndarray]]:
    def compute(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
        array = _first(fold, arrays)
        if array.dtype.kind not in kinds:
            raise unsupported(f"{fold.node}: a constant of type {array.dtype}")
        fold.take(array.shape, array.dtype.itemsize)
        with np.errstate(all="ignore"):
            return [np.asarray(function(array), array.dtype)]

    return compute


def _where(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    condition, left, right = (_first(fold, arrays, index) for index in range(3))
    if condition.dtype != bool:
        raise fold.error(f"the condition is {condition.dtype}")
    fold.take(np.broadcast_shapes(condition.shape, left.shape, right.shape), max(left.dtype.itemsize, right.dtype.itemsize))
    return [settle(np.where(condition, left, right))]


def _reduce(function: Callable[..., Any]) -> Callable[[Fold, Arrays], List[np.ndarray]]:
    def compute(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
        array = _first(fold, arrays)
        axes = axes_of(fold, arrays[1] if len(arrays) > 1 else None)
        if axes is None and fold.get("noop_with_empty_axes", int, 0):
            return [array]
        if symbolic(array) and function is not np.prod:
            raise unsupported(f"{fold.node}: it depends on the size of an input")
        chosen = None if not axes else tuple(unique_axes(axes, array.ndim, fold))
        keep = bool(fold.get("keepdims", int, 1))
        result = function(array, axis=chosen, keepdims=keep)
        return [settle(np.asarray(result, array.dtype if not symbolic(array) else object))]

    return compute


def _size(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    return [np.array(_first(fold, arrays).size, np.int64)]


def _shape(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    return [shape_array(fold, _first(fold, arrays).shape)]


def shape_array(fold: Fold, shape: Sequence[Size]) -> np.ndarray:
    """What the operator Shape gives."""
    start, end = fold.get("start", int, 0), fold.get("end", int, len(shape))
    chosen = list(shape)[python_slice(start, end, 1, len(shape))]
    array = np.empty(len(chosen), object)
    array[:] = chosen
    return settle(array)


def _dequantize(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    array, scale = _first(fold, arrays), _first(fold, arrays, 1)
    zero = arrays[2] if len(arrays) > 2 else None
    if fold.get("block_size", int, 0) or scale.ndim > 1 or array.dtype.kind not in "iu" or scale.dtype.kind != "f":
        raise unsupported(f"{fold.node}: blocks, or numbers of the types {array.dtype} and {scale.dtype}")
    shape = [1] * array.ndim
    if scale.ndim == 1 and scale.size > 1:
        axis = axis_in(fold.get("axis", int, 1), array.ndim, fold)
        if array.shape[axis] != scale.size:
            raise fold.error(f"{scale.size} scales for the shape {array.shape}")
        shape[axis] = scale.size
    fold.take(array.shape, 8)
    offset = 0 if zero is None else zero.astype(np.int64).reshape(shape)
    return [((array.astype(np.int64) - offset) * scale.reshape(shape)).astype(scale.dtype)]


def _matmul(fold: Fold, arrays: Arrays) -> List[np.ndarray]:
    left, right = _first(fold, arrays), _first(fold, arrays, 1)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0] or left.dtype != right.dtype:
        raise unsupported(f"{fold.node}: a product of constants of the shapes {left.shape} and {right.shape}")
    if left.shape[0] * left.shape[1] * right.shape[1] > 1 << 28:
        raise unsupported(f"{fold.node}: a product of constants of the shapes {left.shape} and {right.shape}")
    fold.take((left.shape[0], right.shape[1]))
    wide = np.float64 if left.dtype.kind == "f" else left.dtype
    return [(left.astype(wide) @ right.astype(wide)).astype(left.dtype)]


#: Moving and type conversion: they may also act on the inputs of a graph and on its outputs, outside of the network.
MOVING: Dict[str, Callable[[Fold, Arrays], List[np.ndarray]]] = {
    "Identity": _identity, "Transpose": _transpose, "Reshape": _reshape, "Flatten": _flatten, "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze, "Gather": _gather, "Slice": _slice, "Concat": _concat, "Split": _split, "Expand": _expand,
    "Tile": _tile, "Cast": _cast,
}  # fmt: skip

#: What may be computed of integers and constants.
COMPUTING: Dict[str, Callable[[Fold, Arrays], List[np.ndarray]]] = {
    "Constant": _constant, "ConstantOfShape": _constant_of_shape, "Range": _range, "Size": _size, "Shape": _shape,
    "Add": _binary(np.add, True), "Sub": _binary(np.subtract, True), "Mul": _binary(np.multiply, True),
    "Div": _binary(_div, True), "Mod": _mod, "Min": _binary(np.minimum, False), "Max": _binary(np.maximum, False),
    "Equal": _binary(_equal, True), "Less": _binary(np.less, False), "Greater": _binary(np.greater, False),
    "LessOrEqual": _binary(np.less_equal, False), "GreaterOrEqual": _binary(np.greater_equal, False),
    "And": _binary(np.logical_and, False), "Or": _binary(np.logical_or, False), "Not": _unary(np.logical_not, "b"),
    "Neg": _unary(np.negative, "if"), "Abs": _unary(np.abs, "if"), "Sqrt": _unary(np.sqrt, "f"),
    "Floor": _unary(np.floor, "f"), "Ceil": _unary(np.ceil, "f"), "Where": _where,
    "ReduceProd": _reduce(np.prod), "ReduceSum": _reduce(np.sum), "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min), "DequantizeLinear": _dequantize, "MatMul": _matmul,
}  # fmt: skip

FOLDED: Dict[str, Callable[[Fold, Arrays], List[np.ndarray]]] = {**MOVING, **COMPUTING}


def fold(node: Node, opset: int, arrays: Arrays, budget: Optional[Budget]) -> List[np.ndarray]:
    """The outputs of a node whose inputs are known."""
    try:
        results = FOLDED[node.op](Fold(node, opset, budget), arrays)
    except DimError as error:
        raise unsupported(f"{node}: {error}") from None
    except (ValueError, IndexError, TypeError, OverflowError) as error:
        if isinstance(error, RNNError):
            raise
        raise format_error(f"{node}: {str(error)[:200]}") from None
    if len(results) < len([name for name in node.outputs if name]):
        raise format_error(f"{node} has {len(node.outputs)} outputs, expected {len(results)}")
    # NumPy gives scalars where no axis is left.
    return [result if isinstance(result, np.ndarray) else np.asarray(result) for result in results]


