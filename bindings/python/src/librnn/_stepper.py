"""What a step of a stream is called through: a small extension module where there is one, ctypes otherwise."""

from __future__ import annotations

from ctypes import c_void_p
from typing import Any

import numpy as np

from . import _abi
from ._extension import native
from .errors import last_error

_ndarray = np.ndarray
_step = _abi.rnn_stream_step


class Stepper:
    """`Stream.step` through ctypes. The other one, of bindings/python/native/step.c, has the same methods.

    A subclass has `_step_any(x, tokens)` for arguments that must be converted first.
    """

    def _bind_step(self, function: int, stream: int, input: np.ndarray, output: np.ndarray) -> None:
        """The address of ``rnn_stream_step``, the stream's handle, and the arrays on its own memory."""
        # A ctypes object spares the conversion of a Python integer in each step.
        self._bound: Any = c_void_p(stream)
        self._in, self._out = input, output
        self._shape, self._dtype = input.shape, input.dtype

    def _unbind_step(self) -> None:
        self._bound = None

    def step(self, x: Any = None, tokens: Any = None) -> np.ndarray:
        """Advance by one step.

        Parameters
        ----------
        x : array_like, shape (N, I), or (I,) for one row; tokens (N,), or a number for one row
            Copied to `input`. Without it, `input` is read as it is: the fastest way.
        tokens : array_like of int
            For a network that reads both features and tokens.

        Returns
        -------
        ndarray, shape (N, O), or (O,) if x came without the batch axis
            A copy of `output`; without x `output` itself.
        """
        if x is None and tokens is None:
            status = _step(self._bound)
            if status:
                self._step_failed(status)
            return self._out
        if tokens is None and x.__class__ is _ndarray and x.shape == self._shape and x.dtype is self._dtype:
            self._in[...] = x
            status = _step(self._bound)
            if status:
                self._step_failed(status)
            return self._out.copy()
        return self._step_any(x, tokens)

    def _step_any(self, x: Any = None, tokens: Any = None) -> np.ndarray:
        raise NotImplementedError

    def _step_failed(self, status: int) -> None:
        raise last_error(status)


BestStepper: Any = Stepper if native is None else native.Stepper
