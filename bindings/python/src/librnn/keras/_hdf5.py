"""HDF5 as it is read here: only what lies in the file itself, and no more memory than its bytes can account for."""

from __future__ import annotations

import io
import math
from typing import Any, List, Union

import numpy as np

from .._foreign import LARGEST_JSON
from ..errors import RNNError, format_error, unsupported

#: Deflate makes at most 1032 bytes of one. Weights hardly shrink; zeros do, but not many are zero.
_LARGEST_RATIO, _FREE_GROWTH = 20, 16 << 20
_MOST_NAMES = 20_000


class File:
    """An HDF5 file, from a path or from its bytes."""

    def __init__(self, source: Union[str, bytes], what: str) -> None:
        try:
            import h5py
        except ImportError:
            raise unsupported(
                f"reading {what} needs the package h5py, which is not installed: pip install 'librnn[keras]'"
            ) from None
        self._h5py = h5py
        self.what = what
        try:
            self._file = h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r")
        except Exception as error:
            raise format_error(f"{what} is no readable HDF5 file: {error}") from None
        self.root = Group(self, self._file, "")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Group:
    """A group and its path."""

    def __init__(self, file: File, group: Any, path: str) -> None:
        self._file, self._group, self.path = file, group, path

    def _fail(self, error: Exception) -> RNNError:
        # HDF5 reports damage as OSError, RuntimeError, KeyError or ValueError.
        return error if isinstance(error, RNNError) else format_error(f"{self._file.what}: {self.path or '/'}: {error}")

    @property
    def names(self) -> List[str]:
        try:
            if len(self._group) > _MOST_NAMES:
                raise format_error(f"{self._file.what}: {self.path or '/'} has {len(self._group)} entries")
            return [str(name) for name in self._group]
        except Exception as error:
            raise self._fail(error) from None

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def _member(self, name: str) -> Any:
        """What a hard link leads to. Soft and external links lead elsewhere, perhaps out of the file."""
        found, path = self._group, self.path
        try:
            for part in name.split("/"):
                if part in ("", ".", "..") or not isinstance(found, self._file._h5py.Group):
                    raise format_error(f"{self._file.what} has no {path}/{part}")
                link = found.get(part, getlink=True)
                path = f"{path}/{part}"
                if link is None:
                    raise format_error(f"{self._file.what} has no {path}")
                if not isinstance(link, self._file._h5py.HardLink):
                    raise unsupported(f"{self._file.what}: {path} is a link to another place, which is not followed")
                found = found[part]
            return found
        except Exception as error:
            raise self._fail(error) from None

    def group(self, name: str) -> "Group":
        found = self._member(name)
        if not isinstance(found, self._file._h5py.Group):
            raise format_error(f"{self._file.what}: {self.path}/{name} is no group")
        return Group(self._file, found, f"{self.path}/{name}")

    def has(self, name: str) -> bool:
        """Whether there is a group or array of that path."""
        try:
            self._member(name)
        except RNNError:
            return False
        return True

    def array(self, name: str) -> np.ndarray:
        """The numbers of a dataset."""
        dataset, place = self._member(name), f"{self._file.what}: {self.path}/{name}"
        if not isinstance(dataset, self._file._h5py.Dataset):
            raise format_error(f"{place} is no array")
        try:
            if dataset.dtype.kind not in "fiu":
                raise format_error(f"{place} has dtype {dataset.dtype}, expected numbers")
            if dataset.external or dataset.is_virtual:
                raise unsupported(f"{place} keeps its numbers in another file, which is not opened")
            shape = tuple(int(extent) for extent in dataset.shape or ())
            size, stored = math.prod(shape) * dataset.dtype.itemsize, int(dataset.id.get_storage_size())
            if size > stored and (dataset.chunks is None or size > max(_FREE_GROWTH, _LARGEST_RATIO * stored)):
                raise format_error(f"{place} has shape {shape}, but {stored} bytes in the file")
            if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > max(_FREE_GROWTH, 4 * size):
                raise format_error(f"{place} has shape {shape} in chunks of {dataset.chunks}")
            return np.asarray(dataset[()])
        except Exception as error:
            raise self._fail(error) from None

    def text(self, name: str) -> Any:
        """A string attribute, or None."""
        values = self._attribute(name)
        return None if values is None else str(_decoded(values))

    def texts(self, name: str) -> List[str]:
        """An attribute that is a list of strings; Keras splits long ones into name0, name1, …"""
        values = self._attribute(name)
        if values is not None:
            return [_decoded(value) for value in np.atleast_1d(values)]
        found: List[str] = []
        for index in range(_MOST_NAMES):
            values = self._attribute(f"{name}{index}")
            if values is None:
                break
            found += [_decoded(value) for value in np.atleast_1d(values)]
        return found

    def _attribute(self, name: str) -> Any:
        try:
            if name not in self._group.attrs:
                return None
            identifier = self._group.attrs.get_id(name)
            if math.prod(identifier.shape or ()) * max(identifier.dtype.itemsize, 1) > LARGEST_JSON:
                raise format_error(f"{self._file.what}: the attribute {name!r} of {self.path or '/'} is too large")
            return self._group.attrs[name]
        except Exception as error:
            raise self._fail(error) from None


def _decoded(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
