"""Plain safetensors files: tensors by name and the metadata. Model files of librnn are read by the library itself."""

from __future__ import annotations

import math
import mmap
import struct
from typing import Any, Dict, List, Tuple

import numpy as np

from ._foreign import ELEMENT_TYPES, array_from, file_size, parse_json
from .errors import format_error, io_error, unsupported

_LARGEST_HEADER = 4 << 20


def read_header(path: str) -> Tuple[Dict[str, Dict[str, Any]], Dict[str, str], int]:
    """The entries of the tensors, the metadata, and where the data begins."""
    size = file_size(path)
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            if len(start) < 8:
                raise format_error(f"{path} is no safetensors file: it has {size} bytes")
            (length,) = struct.unpack("<Q", start)
            if length > size - 8:
                raise format_error(f"{path} is cut short, or no safetensors file: its header claims {length} bytes")
            if length > _LARGEST_HEADER:
                raise format_error(f"{path}: a safetensors header of {length} bytes, the limit is {_LARGEST_HEADER}")
            text = file.read(length)
    except OSError as error:
        raise io_error(f"{path} cannot be read: {error}") from None
    header = parse_json(text, f"the header of {path}", _LARGEST_HEADER)
    if not isinstance(header, dict):
        raise format_error(f"the header of {path} is no object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise format_error(f"{path}: __metadata__ is not an object of strings")
    return header, metadata, 8 + length


def read_safetensors(path: str) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """The tensors, as read-only arrays on the mapped file, and the metadata."""
    header, metadata, start = read_header(path)
    try:
        with open(path, "rb") as file:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise io_error(f"{path} cannot be read: {error}") from None
    data = mapped[start:]
    tensors: Dict[str, np.ndarray] = {}
    ranges: List[Tuple[int, int, str]] = []
    for name, entry in header.items():
        begin, end, shape, element = _entry(path, name, entry, len(data))
        ranges.append((begin, end, name))
        tensors[name] = array_from(data[begin:end], element).reshape(shape)
    ranges.sort()
    for (_, end, first), (begin, _, second) in zip(ranges, ranges[1:]):
        if begin < end:
            raise format_error(f"{path}: the tensors {first!r} and {second!r} overlap")
    return tensors, metadata


def _entry(path: str, name: str, entry: Any, available: int) -> Tuple[int, int, Tuple[int, ...], Any]:
    """A tensor's checked place, shape and type."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise format_error(f"{path}: the entry of {name!r} is not dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(number) is int and number >= 0 for number in numbers):
            raise format_error(f"{path}: shape or data_offsets of {name!r} are not sizes")
    element = ELEMENT_TYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if element is None:
        raise unsupported(f"{path}: {name!r} has dtype {entry['dtype']!r}, expected one of {', '.join(ELEMENT_TYPES)}")
    if len(offsets) != 2 or not offsets[0] <= offsets[1] <= available or len(shape) > 32:
        raise format_error(f"{path}: {name!r} does not lie inside of the file")
    if math.prod(shape) * element.size != offsets[1] - offsets[0]:
        raise format_error(f"{path}: {name!r} has shape {tuple(shape)} and {offsets[1] - offsets[0]} bytes, which do not fit")
    return offsets[0], offsets[1], tuple(shape), element
