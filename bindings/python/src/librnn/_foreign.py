"""What the readers of other systems' files share: bounded files, strict JSON, zip archives that do not grow, float arrays.

A file from elsewhere is not trusted. Nothing in it is executed or written to disk, and what it makes us allocate is bounded by
its own size.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from .errors import RNNError, argument_error, format_error, io_error, unsupported

#: JSON texts: weights in text take about 20 bytes each, so this is some hundred thousand of them.
LARGEST_JSON = 12 << 20
#: Objects, arrays and strings of one JSON text: an empty one of three bytes becomes 64 bytes of Python.
_MOST_CONTAINERS, _MOST_STRINGS = 200_000, 500_000
#: Entries of a zip archive, and bytes of its directory.
_MOST_ENTRIES, _LARGEST_DIRECTORY = 20_000, 4 << 20
#: Weights hardly shrink when they are compressed. What grows more than this, beyond 16 MiB, is no model.
_LARGEST_RATIO, _FREE_GROWTH = 20, 16 << 20


def path_of(source: Any, what: str) -> str:
    """`source` as a path, or an error."""
    try:
        path = os.fsdecode(source)
    except TypeError:
        raise argument_error(f"{what} is {type(source).__name__}, expected a path") from None
    if "\0" in path:
        raise argument_error(f"{what} contains a NUL character")
    return path


def file_size(path: str) -> int:
    """Bytes of a regular file, or an error."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise io_error(f"{path} cannot be read: {error}") from None
    if not os.path.isfile(path):
        raise io_error(f"{path} is not a regular file")
    return status.st_size


def read_file(path: str, largest: int) -> bytes:
    """All of a file that may have at most `largest` bytes."""
    size = file_size(path)
    if size > largest:
        raise format_error(f"{path} has {size} bytes; a file of this kind has at most {largest}")
    try:
        with open(path, "rb") as file:
            return file.read(largest)
    except OSError as error:
        raise io_error(f"{path} cannot be read: {error}") from None


def first_bytes(path: str, count: int = 16) -> bytes:
    """How a file begins."""
    file_size(path)
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as error:
        raise io_error(f"{path} cannot be read: {error}") from None


# ------------------------------------------------------------------------------------------------ JSON


def _object(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return made


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def parse_json(text: Any, what: str, largest: int = LARGEST_JSON) -> Any:
    """The value of a JSON text of bounded size and depth: no key twice, no NaN, no endless digits."""
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogatepass")
    text = bytes(text)
    if len(text) > largest:
        raise format_error(f"{what}: {len(text)} bytes of JSON, the limit is {largest}")
    if text.count(b"{") + text.count(b"[") > _MOST_CONTAINERS or text.count(b'"') > 2 * _MOST_STRINGS:
        raise format_error(f"{what}: JSON of more objects, arrays or strings than a model has")
    try:
        return json.loads(
            text.decode("utf-8"), object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant
        )
    except RecursionError:
        raise format_error(f"{what}: JSON that is nested too deeply") from None
    except ValueError as error:
        raise format_error(f"{what} is no valid JSON: {error}") from None


class Json:
    """A JSON object and where it stands, so that an error can name the place and the key."""

    def __init__(self, value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise format_error(f"{place} is {kind_of(value)}, expected an object")
        self.value: Dict[str, Any] = value
        self.place = place

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def get(self, key: str, kind: Any, *default: Any) -> Any:
        """The entry, which must be of that kind (a type, or several); `default` where there is none or null."""
        if self.value.get(key) is None:
            if default:
                return default[0]
            raise format_error(f"{self.place} has no {key!r}")
        value = self.value[key]
        kinds = kind if isinstance(kind, tuple) else (kind,)
        # bool is an int in Python, but true is no number in JSON.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            names = " or ".join(_KINDS.get(each, each.__name__) for each in kinds)
            raise format_error(f"{self.place}: {key!r} is {kind_of(value)}, expected {names}")
        return value

    def size(self, key: str, *default: int) -> int:
        """A size: an integer from 1 to 2**31 - 1."""
        value = self.get(key, int, *default)
        if not 1 <= value < 2**31:
            raise format_error(f"{self.place}: {key!r} is {value}, expected a size of at least 1")
        return int(value)

    def inner(self, key: str) -> "Json":
        return Json(self.get(key, dict), f"{self.place}: {key!r}")


_KINDS = {str: "a string", int: "an integer", float: "a number", bool: "true or false", dict: "an object", list: "an array"}


def kind_of(value: Any) -> str:
    """What a JSON value is, shown briefly."""
    if value is None:
        return "null"
    if isinstance(value, (dict, list)):
        return _KINDS[type(value)]
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def number_array(value: Any, shape: Tuple[int, ...], what: str, dtype: Any = np.float32) -> np.ndarray:
    """Nested JSON arrays of numbers as an array of exactly that shape."""

    def check(part: Any, depth: int) -> None:
        if not isinstance(part, list) or len(part) != shape[depth]:
            found = f"an array of {len(part)}" if isinstance(part, list) else kind_of(part)
            raise format_error(f"{what}: {found}, expected an array of {shape[depth]} (shape {shape})")
        if depth + 1 < len(shape):
            for inner in part:
                check(inner, depth + 1)
        elif not all(type(number) in (int, float) for number in part):
            wrong = next(number for number in part if type(number) not in (int, float))
            raise format_error(f"{what} holds {kind_of(wrong)}, expected numbers")

    check(value, 0)
    try:
        with np.errstate(over="ignore"):
            array = np.array(value, np.float64).astype(dtype)
    except OverflowError:
        raise format_error(f"{what} holds a number that no {np.dtype(dtype).name} can be") from None
    if not np.isfinite(array).all():
        raise format_error(f"{what} holds a number that no {np.dtype(dtype).name} can be")
    return array


# ------------------------------------------------------------------------------------------------- zip


class Archive:
    """A zip archive whose entries together are hardly larger than the file. Entries are read into memory, never unpacked."""

    def __init__(self, path: str) -> None:
        self.path = path
        size = file_size(path)
        try:
            self._file = open(path, "rb")
        except OSError as error:
            raise io_error(f"{path} cannot be read: {error}") from None
        try:
            self._check_directory(size)
            self._zip = zipfile.ZipFile(self._file)
            infos = self._zip.infolist()
            if len(infos) > _MOST_ENTRIES:
                raise format_error(f"{path}: a zip archive of {len(infos)} entries")
            self._infos = {info.filename: info for info in infos}
            if len(self._infos) != len(infos):
                raise format_error(f"{path}: two entries of the zip archive have one name")
            total = sum(info.file_size for info in infos)
            if total > max(_FREE_GROWTH, _LARGEST_RATIO * size):
                raise format_error(f"{path}: {size} bytes of zip that claim to become {total}")
        except RNNError:
            self._file.close()
            raise
        except Exception as error:
            # zipfile raises BadZipFile, but also struct.error, ValueError and others on damaged directories.
            self._file.close()
            raise format_error(f"{path} is no readable zip archive: {error}") from None

    def _check_directory(self, size: int) -> None:
        """zipfile reads the directory as a whole: look at its size first."""
        tail_size = min(size, (1 << 16) + 22)
        self._file.seek(size - tail_size)
        tail = self._file.read(tail_size)
        place = tail.rfind(b"PK\5\6")
        if place < 0 or place + 22 > len(tail):
            raise format_error(f"{self.path} is no zip archive, or is cut short")
        (length,) = struct.unpack_from("<I", tail, place + 12)
        locator = place - 20
        if length == 0xFFFFFFFF and locator >= 0 and tail[locator : locator + 4] == b"PK\6\7":
            (record,) = struct.unpack_from("<Q", tail, locator + 8)
            if record > size - 56:
                raise format_error(f"{self.path}: the directory of the zip archive lies outside of the file")
            self._file.seek(record)
            (length,) = struct.unpack_from("<Q", self._file.read(56), 40)
        if length > _LARGEST_DIRECTORY:
            raise format_error(f"{self.path}: a zip archive with a directory of {length} bytes")
        self._file.seek(0)

    @property
    def names(self) -> List[str]:
        return list(self._infos)

    def size(self, name: str) -> int:
        return self._infos[name].file_size

    def read(self, name: str, largest: Optional[int] = None) -> bytes:
        """An entry, as far as the archive promised its size."""
        info = self._infos.get(name)
        if info is None:
            raise format_error(f"{self.path} has no {name!r} in it")
        if largest is not None and info.file_size > largest:
            raise format_error(f"{self.path}: {name!r} has {info.file_size} bytes, the limit is {largest}")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise unsupported(f"{self.path}: {name!r} is compressed in another way than deflate")
        try:
            with self._zip.open(info) as entry:
                data = entry.read(info.file_size)
        except Exception as error:
            raise format_error(f"{self.path}: {name!r} is damaged: {error}") from None
        if len(data) != info.file_size:
            raise format_error(f"{self.path}: {name!r} is cut short")
        return data

    def close(self) -> None:
        self._zip.close()
        self._file.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


# ---------------------------------------------------------------------------------------------- arrays


class ElementType(NamedTuple):
    """How a file stores one number."""

    name: str
    size: int
    numpy: Optional[str]


#: By the names of safetensors; PyTorch's checkpoints are mapped to these.
ELEMENT_TYPES = {
    "F64": ElementType("float64", 8, "f8"),
    "F32": ElementType("float32", 4, "f4"),
    "F16": ElementType("float16", 2, "f2"),
    "BF16": ElementType("bfloat16", 2, None),
    "I64": ElementType("int64", 8, "i8"),
    "I32": ElementType("int32", 4, "i4"),
    "I16": ElementType("int16", 2, "i2"),
    "I8": ElementType("int8", 1, "i1"),
    "U8": ElementType("uint8", 1, "u1"),
    "BOOL": ElementType("bool", 1, "?"),
}


def array_from(data: Any, element: ElementType, big_endian: bool = False) -> np.ndarray:
    """Bytes as a flat array in the machine's order; bfloat16, which NumPy lacks, becomes the float32 of the same value."""
    order = ">" if big_endian else "<"
    if element.numpy is None:
        return (np.frombuffer(data, order + "u2").astype(np.uint32) << 16).view(np.float32)
    flat = np.frombuffer(data, order + element.numpy)
    return flat.astype(flat.dtype.newbyteorder("="), copy=False)
