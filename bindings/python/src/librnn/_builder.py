"""The list of nodes from which the library builds a network."""

from __future__ import annotations

import os
from ctypes import byref
from typing import Any, Optional

import numpy as np

from . import _abi
from ._arrays import real, unsigned
from ._handle import Handle, create
from .errors import argument_error, check

INITIALIZATIONS = {
    "pytorch": _abi.RNN_INITIALIZATION_PYTORCH,
    "normal": _abi.RNN_INITIALIZATION_NORMAL,
    "orthogonal": _abi.RNN_INITIALIZATION_ORTHOGONAL,
    "zeros": _abi.RNN_INITIALIZATION_ZEROS,
}
DTYPES = {np.dtype(np.float32): _abi.RNN_DTYPE_FLOAT32, np.dtype(np.float64): _abi.RNN_DTYPE_FLOAT64}


def choose(value: Any, choices: Any, name: str) -> Any:
    """``choices[value]``, or an error that lists the choices."""
    try:
        return choices[value]
    except (KeyError, TypeError):
        known = ", ".join(repr(choice) for choice in choices)
        raise argument_error(f"{name} is {value!r}, expected one of {known}") from None


def fresh_seed(seed: Optional[int]) -> int:
    """`seed`, or one that the operating system draws."""
    return int.from_bytes(os.urandom(8), "little") if seed is None else unsigned(seed, "seed")


class Builder:
    """Adds nodes one after the other, each reading the one before."""

    def __init__(self, dtype: np.dtype) -> None:
        options = _abi.rnn_builder_options(dtype=DTYPES[dtype])
        self._handle = create(_abi.rnn_builder_destroy, _abi.rnn_builder_create, byref(options))

    def add(self, kind: str, name: str, *arguments: Any) -> None:
        """Call ``rnn_builder_add_KIND(builder, name, arguments…)``."""
        check(getattr(_abi, "rnn_builder_add_" + kind)(self._handle.value, name.encode(), *arguments))

    def build(self, init: str, seed: int, forget_bias: float) -> Handle:
        """The network of the nodes so far, with initial weights."""
        options = _abi.rnn_build_options(
            seed=seed,
            initialization=choose(init, INITIALIZATIONS, "init"),
            forget_bias=real(forget_bias, "forget_bias"),
        )
        return create(_abi.rnn_network_destroy, _abi.rnn_builder_build, self._handle.value, byref(options))
