"""One step at a time."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_size_t, c_void_p
from typing import TYPE_CHECKING, Any, Optional, Tuple

import numpy as np

from . import _abi
from ._arrays import INT64, address, floats, integers, positive, show, unsigned
from ._extension import function_address
from ._handle import Handle, create
from ._stepper import BestStepper, Stepper
from .errors import argument_error, check, shape_error

if TYPE_CHECKING:
    from ._network import Model


_STORAGES = {None: _abi.RNN_STORAGE_FULL, "bfloat16": _abi.RNN_STORAGE_BFLOAT16}


class Stream(Stepper if TYPE_CHECKING else BestStepper):
    """A model, its state and all scratch memory, made beforehand, for one step at a time.

    Made by `model.stream`. A stream belongs to one thread at a time; it keeps the weights that the model had when it was
    made or last `reset`. Time comes first in everything a stream reads, also for a model with ``batch_first``.

    Attributes
    ----------
    input : ndarray, shape (N, I), or of int64, shape (N,)
        The stream's own memory, features or tokens (N, K) for K > 1 token inputs: fill it, then call `step()`.
    output : ndarray, shape (N, O)
        The stream's own memory, overwritten by each step.
    tokens : ndarray of int64 or None
        As `input`, for a network that reads tokens.
    """

    def __init__(self, model: "Model", batch: int, num_threads: int, weight_storage: Optional[str]) -> None:
        batch = positive(batch, "batch")
        if weight_storage is not None and not (isinstance(weight_storage, str) and weight_storage in _STORAGES):
            raise argument_error(f"weight_storage is {show(weight_storage)}, expected None or 'bfloat16'")
        options = _abi.rnn_stream_options(
            batch_size=batch, num_threads=unsigned(num_threads, "num_threads"), weight_storage=_STORAGES[weight_storage]
        )
        self._model = model
        self._batch = batch
        self._handle: Optional[Handle] = create(
            _abi.rnn_stream_destroy, _abi.rnn_stream_create, model._network.value, byref(options)
        )
        self._state: Optional[Handle] = None
        # A ctypes object spares the conversion of a Python integer in each step.
        self._pointer: Optional[c_void_p] = c_void_p(self._handle.value)
        double = model.dtype == np.float64
        self._process = _abi.rnn_stream_process_f64 if double else _abi.rnn_stream_process
        self._features = (
            self._bind(_abi.rnn_stream_input_f64 if double else _abi.rnn_stream_input, model.dtype, model.input_size)
            if model.input_size
            else None
        )
        self.output: np.ndarray = self._bind(
            _abi.rnn_stream_output_f64 if double else _abi.rnn_stream_output, model.dtype, model.output_size
        )
        self.tokens = self._bind(_abi.rnn_stream_tokens, INT64, model._token_count) if model._token_count else None
        if self.tokens is not None and model._token_count == 1:
            self.tokens = self.tokens.reshape(batch)
        bound = self._features if self._features is not None else self.tokens
        assert bound is not None
        self.input: np.ndarray = bound
        self._bind_step(function_address(_abi.rnn_stream_step), self._handle.value, self.input, self.output)

    def _bind(self, function: Any, dtype: np.dtype, width: int) -> np.ndarray:
        """An array [N, width] on the stream's memory, which it keeps alive."""
        out, count = c_void_p(), c_size_t()
        assert self._handle is not None
        check(function(self._handle.value, byref(out), byref(count)))
        assert out.value is not None
        memory: Any = (ctypes.c_char * (count.value * dtype.itemsize)).from_address(out.value)
        memory._stream = self._handle
        array: np.ndarray = np.frombuffer(memory, dtype)
        return array.reshape(self._batch, width)

    def _step_any(self, x: Any = None, tokens: Any = None) -> np.ndarray:
        """`step` with what must be converted or checked first."""
        flat = False
        if x is not None:
            flat = self._put(self.input, x, "x")
        if tokens is not None:
            if self._features is None or self.tokens is None:
                raise argument_error("this model has no token input beside x")
            flat = self._put(self.tokens, tokens, "tokens") or flat
        check(_abi.rnn_stream_step(self._pointer))
        y: np.ndarray = self.output[0].copy() if flat else self.output.copy()
        return y

    def _put(self, target: np.ndarray, values: Any, name: str) -> bool:
        """Copy a step's values in; True if they came without the batch axis."""
        shape = target.shape
        row = shape[1:] if self._batch == 1 else None
        if values.__class__ is not np.ndarray:
            values = np.asarray(values)
        if values.dtype is not target.dtype:
            if target.dtype is INT64:
                values = integers(values, name)
            else:
                values = floats(values, target.dtype, name)
        if values.shape == shape:
            target[...] = values
            return False
        if values.shape == row:
            target[0] = values
            return True
        one = "" if row is None else f" or {show(row)}"
        raise shape_error(f"{name} has shape {values.shape}, expected {show(shape)}{one}")

    def process(self, x: Any = None, tokens: Any = None) -> np.ndarray:
        """Advance by T steps: the bits of T calls of `step`.

        Parameters
        ----------
        x : array_like, shape (T, N, I), or (T, I) for one row; tokens (T, N), or (T,)
            T may be 0.
        tokens : array_like of int, shape (T, N)
            For a network that reads both.

        Returns
        -------
        ndarray, shape (T, N, O), or (T, O) if x came without the batch axis
            (N, O) or (O,) for a model that gives the last step only.
        """
        model = self._model
        if self._features is None and tokens is None:
            x, tokens = None, x
        features, words = None, None
        time, flat = None, False
        if self._features is not None:
            features = floats(x, model.dtype, "x")
            time, flat = self._time(features.shape, self._features.shape, "x")
        if self.tokens is not None:
            words = integers(tokens, "tokens")
            token_time, flat = self._time(words.shape, self.tokens.shape, "tokens")
            if time not in (None, token_time):
                raise shape_error(f"x has {time} steps and tokens has {token_time}")
            time = token_time
        elif tokens is not None:
            raise argument_error("this model reads no tokens")
        assert time is not None
        steps: Tuple[int, ...] = () if model._single_step else (time,)
        rows: Tuple[int, ...] = () if flat else (self._batch,)
        y = np.empty(steps + rows + (model.output_size,), model.dtype)
        check(
            self._process(
                self._pointer,
                time,
                None if features is None else address(features),
                0 if features is None else features.size,
                None if words is None else address(words),
                0 if words is None else words.size,
                address(y),
                y.size,
            )
        )
        return y

    def _time(self, shape: Tuple[int, ...], step: Tuple[int, ...], name: str) -> Tuple[int, bool]:
        """T, and whether the batch axis is left out."""
        if len(shape) == 1 + len(step) and shape[1:] == step:
            return shape[0], False
        if self._batch == 1 and len(shape) == len(step) and shape[1:] == step[1:]:
            return shape[0], True
        one = f" or {show(('T',) + step[1:])}" if self._batch == 1 else ""
        raise shape_error(f"{name} has shape {shape}, expected {show(('T',) + step)}{one}")

    def reset(self) -> None:
        """Set the state to zero and take up the model's present weights."""
        check(_abi.rnn_stream_reset(self._pointer))

    @property
    def state(self) -> Any:
        """The state after the last step, structured as the model's `hx`, with the batch axis. Assignable; None is zeros."""
        model = self._model
        if not model._states:
            return model._nest([])
        return model._nest(model._read_state(self._copied_state(), model._plan((0, self._batch, True))))

    @state.setter
    def state(self, value: Any) -> None:
        model = self._model
        if not model._states:
            return
        batched = True
        leaves = [None] * len(model._states) if value is None else list(model._leaves(value, "state"))
        if self._batch == 1 and all(leaf is None or np.ndim(leaf) == 2 for leaf in leaves):
            batched = False
        flat = model._pack(leaves, model._plan((0, self._batch, batched)), "state")
        state = self._copied_state()
        if flat is None:
            check(_abi.rnn_state_reset(state.value))
        else:
            check(model._c_state_write(state.value, None, address(flat), flat.size))
        check(_abi.rnn_stream_state_set(self._pointer, state.value))

    def _copied_state(self) -> Handle:
        """A state of the library with the stream's values; made at the first use and kept."""
        state = self._state
        if state is None:
            options = _abi.rnn_state_options(batch_size=self._batch)
            state = create(
                _abi.rnn_state_destroy, _abi.rnn_state_create, self._model._network.value, byref(options)
            )
            self._state = state
        check(_abi.rnn_stream_state_get(self._pointer, state.value))
        return state

    def close(self) -> None:
        """Give the stream up. Its memory is freed once `input` and `output` are no longer referenced."""
        self._unbind_step()
        self._pointer = None
        self._handle = None
        self._state = None

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Stream of {self._batch} rows over {self._model!r}>"
