"""Finds and opens the shared library."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Iterator, List, Optional, Tuple


def candidates() -> List[Tuple[str, str]]:
    """Where the library is looked for: pairs of the reason and the path or name, in order.

    ``LIBRNN_LIBRARY`` in the environment is the only candidate when it is set: who names a file does not want another.
    """
    chosen = os.environ.get("LIBRNN_LIBRARY")
    if chosen:
        return [("LIBRNN_LIBRARY", chosen)]
    return [(reason, str(folder / "librnn.so")) for reason, folder in _own_folders()] + [("of the system", "librnn.so.0")]


def _own_folders() -> List[Tuple[str, Path]]:
    here = Path(__file__).resolve()
    found = [("in the package", here.parent)]
    if len(here.parents) > 4:
        found.append(("of a checkout", here.parents[4] / "build"))
    return found


def directories(library: ctypes.CDLL) -> Iterator[Path]:
    """Where files that are built together with the library lie: beside it, in the package, in a checkout's build folder."""
    if os.sep in library._name:
        yield Path(library._name).absolute().parent
    for _, folder in _own_folders():
        yield folder


def load(version_number: int) -> ctypes.CDLL:
    """Open the first library that is there and not older than the header this package is written for.

    Parameters
    ----------
    version_number : int
        That header's RNN_VERSION_NUMBER: 10000 * major + 100 * minor + patch.

    Raises
    ------
    ImportError
        None could be opened, or it is of a version that this package does not fit. The message lists what was tried.
    """
    tried = []
    for reason, path in candidates():
        if reason in ("in the package", "of a checkout") and not os.path.exists(path):
            tried.append(f"{path} ({reason}): not there")
            continue
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            tried.append(f"{path} ({reason}): {error}")
            continue
        problem = _version_problem(library, version_number)
        if problem is None:
            return library
        tried.append(f"{path} ({reason}): {problem}")
    raise ImportError("librnn's shared library could not be opened. Tried:\n  " + "\n  ".join(tried))


def _version_problem(library: ctypes.CDLL, needed: int) -> Optional[str]:
    """What speaks against the library, or None: the major version is the header's, the minor one not older."""
    try:
        function = library.rnn_version_number
    except AttributeError:
        return "it has no rnn_version_number: not librnn"
    function.restype = ctypes.c_uint32
    function.argtypes = []
    number = int(function())
    same_major = number // 10000 == needed // 10000
    if same_major and number // 100 >= needed // 100:
        return None
    return f"it has version {_dotted(number)}, and this package needs {_dotted(needed)} or a later minor version"


def _dotted(number: int) -> str:
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
