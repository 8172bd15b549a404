"""Arrays on their way to the library: dtype, contiguity, alignment, address."""

from __future__ import annotations

from ctypes import addressof, c_char
from typing import Any, Dict, Tuple

import numpy as np

from .errors import argument_error, dtype_error, shape_error

INT64 = np.dtype(np.int64)
_FLOATS: Dict[str, np.dtype] = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}
_from_buffer = c_char.from_buffer
_LARGEST = 2**63 - 1


def address(array: np.ndarray) -> int:
    """The address of an array's memory.

    `ndarray.ctypes.data` costs 1 µs, the buffer protocol a quarter; read-only and empty arrays take the long way.
    """
    try:
        return addressof(_from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return int(array.ctypes.data)


def float_dtype(dtype: Any) -> np.dtype:
    """`dtype` as NumPy's float32 or float64; anything else is an error."""
    try:
        name = np.dtype(dtype).name if dtype is not None else ""
    except TypeError:
        name = ""
    if name not in _FLOATS:
        raise dtype_error(f'dtype is {dtype!r}, expected "float32" or "float64"')
    return _FLOATS[name]


def _as_array(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        # Nested lists of different lengths.
        raise shape_error(f"{name} does not become an array: {error}") from None


def floats(values: Any, dtype: np.dtype, name: str) -> np.ndarray:
    """`values` as a contiguous, aligned array of `dtype`; the array itself if it is one.

    Integers and the other floating-point type are converted (a float64 is rounded to float32); complex numbers, strings
    and objects are refused.
    """
    array = values if values.__class__ is np.ndarray else _as_array(values, name)
    if array.dtype is not dtype:
        if array.dtype.kind not in "fiub":
            raise dtype_error(f"{name} has dtype {array.dtype}, expected numbers that become {dtype}")
        array = array.astype(dtype)
    if not array.flags.carray:  # contiguous, aligned and writable
        if not array.flags.c_contiguous or not array.flags.aligned:
            array = np.array(array, dtype, order="C", copy=True, subok=False)
    return array


def integers(values: Any, name: str) -> np.ndarray:
    """`values` as a contiguous, aligned array of int64; floats and booleans are refused."""
    array = values if values.__class__ is np.ndarray else _as_array(values, name)
    if array.dtype is not INT64:
        if array.dtype.kind not in "iu" and array.size:
            raise dtype_error(f"{name} has dtype {array.dtype}, expected integers")
        array = array.astype(INT64)
    if not array.flags.c_contiguous or not array.flags.aligned:
        array = np.array(array, INT64, order="C", copy=True, subok=False)
    return array


def as_lengths(lengths: Any, batch: int) -> np.ndarray:
    """`lengths` as int64 [N]; one number will do for one row. Their range is for the library to check."""
    array = integers(lengths, "lengths")
    if array.ndim == 0 and batch == 1:
        array = array.reshape(1)
    if array.shape != (batch,):
        raise shape_error(f"lengths has shape {array.shape}, expected ({batch},), one number for each row of the batch")
    return array


def as_mask(mask: Any, shape: Tuple[int, ...]) -> np.ndarray:
    """`mask` as contiguous uint8 of a shape, 0 where a step is left out."""
    array = mask if mask.__class__ is np.ndarray else _as_array(mask, "mask")
    if array.dtype.kind not in "biu" and array.size:
        raise dtype_error(f"mask has dtype {array.dtype}, expected bool or uint8")
    if array.shape != shape:
        raise shape_error(f"mask has shape {array.shape}, expected {shape}: one value for each step of each row")
    if array.dtype != np.uint8:
        array = array != 0
    return np.ascontiguousarray(array).view(np.uint8)


def positive(value: Any, name: str) -> int:
    """`value` as a size of at least 1 that fits into size_t."""
    try:
        size = value.__index__()
    except (AttributeError, TypeError):
        raise argument_error(f"{name} is {value!r}, expected an integer of at least 1") from None
    if not 1 <= size <= _LARGEST:
        raise argument_error(f"{name} is {value!r}, expected an integer of at least 1")
    return int(size)


def unsigned(value: Any, name: str) -> int:
    """`value` as a number from 0 to 2**64 - 1."""
    try:
        number = value.__index__()
    except (AttributeError, TypeError):
        raise argument_error(f"{name} is {value!r}, expected an integer from 0 to 2**64 - 1") from None
    if not 0 <= number < 2**64:
        raise argument_error(f"{name} is {value!r}, expected an integer from 0 to 2**64 - 1")
    return int(number)


def real(value: Any, name: str) -> float:
    """`value` as a float; the library checks its range."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise argument_error(f"{name} is {value!r}, expected a number") from None


def show(shape: Tuple[Any, ...]) -> str:
    """A shape with letters, such as ``(T, N, 5)``."""
    return "(" + ", ".join(str(part) for part in shape) + ("," if len(shape) == 1 else "") + ")"
