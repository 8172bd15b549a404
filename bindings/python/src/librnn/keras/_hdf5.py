"""HDF5 files, read with h5py in a process of its own, so that a file which makes the HDF5 library fail is an error like others.

That costs about 0.3 seconds a file. What the process may use is bounded by the size of the file; see `_hdf5_process`.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import numpy as np

from .._foreign import file_size
from ..errors import RNNError, format_error, io_error, unsupported

_PROCESS = Path(__file__).with_name("_hdf5_process.py")
#: Seconds on the clock, for a machine that is busy with something else; the process itself counts those of the processor.
_PATIENCE, _BYTES_PER_SECOND = 60.0, 1_000_000
#: Lists that Keras splits have no more parts than this.
_MOST_PARTS = 1000


class File:
    """What an HDF5 file holds, from its path or from its bytes."""

    def __init__(self, source: Union[str, bytes], what: str) -> None:
        if not _is_installed("h5py"):
            raise unsupported(f"reading {what} needs the package h5py, which is not installed: pip install 'librnn[keras]'")
        if not sys.executable:
            raise unsupported(f"reading {what} needs a Python interpreter to run h5py in, and sys.executable names none")
        self.what = what
        answer = _ask(source, what)
        try:
            (length,) = struct.unpack_from("<Q", answer)
            index = json.loads(answer[8 : 8 + length])
        except (struct.error, ValueError):
            raise io_error(f"{what}: the process that reads it gave no answer") from None
        if "error" in index:
            raise format_error(f"{what} is no readable HDF5 file: {index['error']}")
        self.root = Group(self, index["root"], "")
        self._numbers = memoryview(answer)[8 + length :]
        self._place(index["root"], 0)

    def _place(self, group: Dict[str, Any], offset: int) -> int:
        """Notes where the numbers of each array are, which stand in the order of the walk: names of a group as the index has them."""
        for name in group["order"]:
            if name in group["groups"]:
                offset = self._place(group["groups"][name], offset)
            else:
                entry = group["arrays"][name]
                entry["offset"] = offset
                offset += math.prod(entry["shape"]) * np.dtype(entry["dtype"]).itemsize
        return offset

    def numbers(self, entry: Dict[str, Any]) -> np.ndarray:
        kind, count = np.dtype(entry["dtype"]), math.prod(entry["shape"])
        flat = np.frombuffer(self._numbers, kind, count, entry["offset"])
        return flat.astype(kind.newbyteorder("="), copy=False).reshape(entry["shape"])


def _is_installed(name: str) -> bool:
    """Whether the import would find it; finders that are told to hide a package may raise instead of finding nothing."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _ask(source: Union[str, bytes], what: str) -> bytes:
    """The answer of the process."""
    size = len(source) if isinstance(source, bytes) else file_size(source)
    order = {"path": sys.path, "file": None if isinstance(source, bytes) else os.path.abspath(source), "size": size}
    data = json.dumps(order).encode() + b"\n" + (source if isinstance(source, bytes) else b"")
    # One thread: it computes nothing, and each would reserve memory.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HDF5_USE_FILE_LOCKING": "FALSE"}
    try:
        result = subprocess.run(
            [sys.executable, "-B", str(_PROCESS)], input=data, capture_output=True, env=environment, check=False,
            timeout=_PATIENCE + size / _BYTES_PER_SECOND,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise format_error(f"{what}: the HDF5 library did not come to an end with it") from None
    except OSError as error:
        raise io_error(f"{what}: the process that reads it did not start: {error}") from None
    if result.returncode == -signal.SIGPROF:
        raise format_error(f"{what} is damaged: the HDF5 library did not come to an end with it")
    if result.returncode < 0:
        raise format_error(f"{what} is damaged: the HDF5 library failed on it ({signal.Signals(-result.returncode).name})")
    if result.returncode:
        lines = result.stderr.decode("utf-8", "replace").strip().splitlines()
        raise io_error(f"{what}: the process that reads it failed: {lines[-1] if lines else result.returncode}")
    return result.stdout


class Group:
    """A group and its path."""

    def __init__(self, file: File, index: Dict[str, Any], path: str) -> None:
        self._file, self._index, self.path = file, index, path

    @property
    def names(self) -> List[str]:
        """Of all its members."""
        return [*self._index["order"], *self._index["errors"]]

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def _parent(self, name: str) -> "tuple[Dict[str, Any], str, str]":
        """The group that has the last part of a path, that part, and the whole."""
        index, path = self._index, self.path
        *folders, last = name.split("/")
        for part in folders:
            path = f"{path}/{part}"
            if part not in index["groups"]:
                raise self._missing(index, part, path)
            index = index["groups"][part]
        return index, last, f"{path}/{last}"

    def _missing(self, index: Dict[str, Any], part: str, path: str) -> RNNError:
        if part in index["errors"]:
            return format_error(f"{self._file.what}: {path} cannot be read: {index['errors'][part]}")
        return format_error(f"{self._file.what} has no {path}")

    def group(self, name: str) -> "Group":
        index, last, path = self._parent(name)
        if last not in index["groups"]:
            raise self._missing(index, last, path)
        return Group(self._file, index["groups"][last], path)

    def has(self, name: str) -> bool:
        """Whether there is a group of that path."""
        try:
            self.group(name)
        except RNNError:
            return False
        return True

    def array(self, name: str) -> np.ndarray:
        """The numbers of an array."""
        index, last, path = self._parent(name)
        if last not in index["arrays"]:
            raise self._missing(index, last, path)
        return self._file.numbers(index["arrays"][last])

    def text(self, name: str) -> Optional[str]:
        """An attribute that is a string, or None."""
        value = self._index["attributes"].get(name)
        return value if isinstance(value, str) else None

    def texts(self, name: str) -> List[str]:
        """An attribute that is a list of strings; Keras splits long ones into name0, name1, …"""
        attributes = self._index["attributes"]
        if name in attributes:
            value = attributes[name]
            return value if isinstance(value, list) else [value]
        found: List[str] = []
        for part in range(_MOST_PARTS):
            value = attributes.get(f"{name}{part}")
            if value is None:
                break
            found += value if isinstance(value, list) else [value]
        return found
