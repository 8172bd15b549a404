"""The extension module of bindings/python/native: calls of the library without ctypes, where it is there."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from importlib.machinery import ExtensionFileLoader
from typing import Any

from . import _abi
from ._library import directories

_FILE = "_native.abi3.so"


def _load() -> Any:
    """The module that was built with this package or library and fits this Python; None if there is none."""
    if os.environ.get("LIBRNN_NATIVE") == "0" or sys.version_info < (3, 11):
        return None
    name = f"{__package__}._native"
    for path in (directory / _FILE for directory in directories(_abi.library)):
        if not path.exists():
            continue
        loader = ExtensionFileLoader(name, str(path))
        specification = importlib.util.spec_from_file_location(name, path, loader=loader)
        assert specification is not None
        try:
            module = importlib.util.module_from_spec(specification)
            loader.exec_module(module)
        except (ImportError, RuntimeError):  # built for another machine, or for a NumPy that is newer than this one
            continue
        return module
    return None


#: Its classes are `Stepper` and `PlannedRun`.
native: Any = _load()


def function_address(function: Any) -> int:
    """Where a function of `_abi` is."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0
