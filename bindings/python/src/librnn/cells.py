"""One step of a cell on arrays: RNNCell, GRUCell and LSTMCell, with the shapes and names of torch.nn.

The bits are those of one step of the layer with the same weights.
"""

from __future__ import annotations

import threading
from ctypes import c_size_t, c_void_p
from typing import Any, ClassVar, Dict, List, Mapping, Optional, Tuple, Type, Union

import numpy as np

from . import _abi
from ._arrays import address, float_dtype, floats, positive
from ._builder import choose
from .errors import argument_error, check, dtype_error, last_error, shape_error
from .layers import GRU, LSTM, NONLINEARITIES, RNN, VARIANTS, RecurrentLayer
from .training import Gradients

_Optional = Optional[np.ndarray]
_ndarray, _empty = np.ndarray, np.empty


class Weights:
    """The weights of a cell at one time, never written to, and their addresses in the order of the C functions."""

    __slots__ = ("arrays", "pointers")

    def __init__(self, arrays: Dict[str, np.ndarray]) -> None:
        self.arrays = arrays
        self.pointers = (c_void_p(address(arrays["weight_ih"])), c_void_p(address(arrays["weight_hh"]))) + tuple(
            c_void_p(pointer) for pointer in _biases(arrays)
        )


class Trace:
    """What `forward_train` of a cell kept for `backward`: the arguments, the weights and the gates of one step."""

    __slots__ = ("_cell", "_weights", "_x", "_states", "_gates", "_results")

    def __init__(
        self,
        cell: "Cell",
        weights: Weights,
        x: np.ndarray,
        states: List[_Optional],
        gates: _Optional,
        results: List[np.ndarray],
    ) -> None:
        self._cell = cell
        self._weights = weights
        self._x = x
        self._states = states
        self._gates = gates
        self._results = results


class Cell:
    """What the cells share. Not made directly."""

    _layer: ClassVar[Type[RecurrentLayer]]
    #: The functions of the library, forward and backward, for float32.
    _c_names: ClassVar[Tuple[str, str]]
    #: The states of a cell: h, and c for LSTM.
    _state_names: ClassVar[Tuple[str, ...]] = ("h",)
    #: Gates that a trace keeps, in H: the four arrays of a GRU and LSTM step.
    _trace_width: ClassVar[int] = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: Union[bool, str],
        dtype: Any,
        init: str,
        forget_bias: float,
        seed: Optional[int],
        **options: Any,
    ) -> None:
        self.input_size = positive(input_size, "input_size")
        self.hidden_size = positive(hidden_size, "hidden_size")
        self.dtype = float_dtype(dtype)
        self.bias = bias
        # The numbers of a layer with the same seed.
        with self._layer(
            input_size, hidden_size, bias=bias, dtype=dtype, init=init, forget_bias=forget_bias, seed=seed, **options
        ) as layer:
            self._variant_spelled = getattr(layer, "_variant_spelled", True)
            state = {name[: -len("_l0")]: value for name, value in layer.state_dict().items()}
        self._lock = threading.Lock()
        self._shapes = {name: value.shape for name, value in state.items()}
        self._hidden = (self.hidden_size,)
        # What ctypes would otherwise make of the numbers at each call.
        self._sizes = (c_size_t(self.input_size), c_size_t(self.hidden_size))
        double = self.dtype == np.float64
        self._c_forward = getattr(_abi, self._c_names[0] + ("_f64" if double else ""))
        self._c_backward = getattr(_abi, self._c_names[1] + ("_f64" if double else ""))
        #: Replaced, never written to: a trace keeps the weights of its forward pass.
        self._weights = Weights(state)
        self._mirror: Dict[str, np.ndarray] = {}

    # ------------------------------------------------------------ parameters

    @property
    def parameters(self) -> Dict[str, np.ndarray]:
        """The parameters by name, as read-only views that follow the cell's weights."""
        with self._lock:
            if not self._mirror:
                self._mirror = {name: value.copy() for name, value in self._weights.arrays.items()}
            views = {name: value.view() for name, value in self._mirror.items()}
        for view in views.values():
            view.flags.writeable = False
        return views

    def state_dict(self) -> Dict[str, np.ndarray]:
        """Copies of the parameters: weight_ih [G*H, I], weight_hh [G*H, H], bias_ih and bias_hh [G*H], or one `bias`."""
        return {name: value.copy() for name, value in self._weights.arrays.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace all parameters; any mismatch of names or shapes is an `RNNError`, and changes nothing."""
        missing = [name for name in self._shapes if name not in state]
        unexpected = [str(name) for name in state if name not in self._shapes]
        if missing or unexpected:
            text = f"state_dict does not fit {self!r}"
            text += "; missing: " + ", ".join(missing) if missing else ""
            text += "; unexpected: " + ", ".join(unexpected) if unexpected else ""
            raise shape_error(text + self._explain_names(state))
        self._check_variant(state)
        weights = {}
        for name, shape in self._shapes.items():
            value = np.asarray(state[name])
            if value.shape != shape:
                raise shape_error(f"{name} has shape {value.shape}, expected {shape} in {self!r}")
            if value.dtype.kind not in "fiub":
                raise dtype_error(f"{name} has dtype {value.dtype}, expected numbers that become {self.dtype}")
            weights[name] = np.array(value, self.dtype, order="C", copy=True)
        self._replace(weights)

    def _replace(self, weights: Dict[str, np.ndarray]) -> None:
        """Take over new weights; `parameters` shows them."""
        with self._lock:
            self._weights = Weights(weights)
            for name, value in self._mirror.items():
                value[...] = weights[name]

    def _explain_names(self, state: Mapping[str, Any]) -> str:
        return ""

    def _check_variant(self, state: Mapping[str, Any]) -> None:
        pass

    # ------------------------------------------------------------------ steps

    def __call__(self, x: Any, state: Any = None) -> Any:
        """One step.

        Parameters
        ----------
        x : array_like, shape (N, I) or (I,)
        state : array_like, shape (N, H) or (H,); for LSTMCell a pair (h, c)
            None is zeros.

        Returns
        -------
        ndarray, shape (N, H) or (H,); for LSTMCell a pair (h, c)
            The next state.
        """
        weights, x, states = self._arguments(x, state)
        shape = x.shape[:-1] + self._hidden
        results = [_empty(shape, self.dtype) for _ in self._state_names]
        status = self._forward(weights, x, states, results, None)
        if status:
            raise last_error(status)
        return results[0] if len(results) == 1 else tuple(results)

    def forward_train(self, x: Any, state: Any = None) -> Tuple[Any, Trace]:
        """As a call, and keeps what `backward` needs: the next state, and the trace."""
        weights, x, states = self._arguments(x, state)
        # The caller may change its arrays before `backward`.
        x, states = x.copy(), [None if value is None else value.copy() for value in states]
        results = [_empty(x.shape[:-1] + self._hidden, self.dtype) for _ in self._state_names]
        gates = _empty((_rows(x), self._trace_width * self.hidden_size), self.dtype) if self._trace_width else None
        check(self._forward(weights, x, states, results, gates))
        trace = Trace(self, weights, x, states, gates, [value.copy() for value in results])
        return results[0] if len(results) == 1 else tuple(results), trace

    def backward(self, trace: Trace, grad_state: Any) -> Gradients:
        """The backward pass of one step, with the weights of the forward pass.

        Parameters
        ----------
        trace : Trace
            From `forward_train` of this cell.
        grad_state : array_like, shape (N, H) or (H,); for LSTMCell a pair, of which one may be None for zeros
            dL/d(next state).

        Returns
        -------
        Gradients
            ``.input`` as x, ``.state`` as state, ``.parameters``.
        """
        if not isinstance(trace, Trace) or trace._cell is not self:
            raise argument_error("trace is not one of this cell's forward_train")
        shape = trace._x.shape[:-1] + self._hidden
        final = self._states(grad_state, shape, "grad_state")
        if all(value is None for value in final):
            final[0] = np.zeros(shape, self.dtype)
        grad_x = _empty(trace._x.shape, self.dtype)
        grad_states = [_empty(shape, self.dtype) for _ in self._state_names]
        parameters = {name: _empty(shape, self.dtype) for name, shape in self._shapes.items()}
        check(self._backward(trace, final, grad_x, grad_states, parameters))
        return Gradients(
            input=grad_x,
            state=grad_states[0] if len(grad_states) == 1 else tuple(grad_states),
            parameters=parameters,
        )

    def _arguments(self, x: Any, state: Any) -> Tuple[Weights, np.ndarray, List[_Optional]]:
        """Checks x, (N, I) or (I,), and the state."""
        if x.__class__ is not _ndarray or x.dtype is not self.dtype or not x.flags.carray:
            x = floats(x, self.dtype, "x")
        shape = x.shape
        if len(shape) not in (1, 2) or shape[-1] != self.input_size:
            raise shape_error(f"x has shape {shape}, expected (N, {self.input_size}) or ({self.input_size},)")
        return self._weights, x, self._states(state, shape[:-1] + self._hidden, "state")

    def _states(self, state: Any, shape: Tuple[int, ...], name: str) -> List[_Optional]:
        """Checks a state: h, or (h, c), each of a shape, (N, H) or (H,)."""
        names = self._state_names
        if state is None:
            return [None] * len(names)
        if len(names) == 1:
            state = (state,)
        elif not isinstance(state, (tuple, list)) or len(state) != len(names):
            raise shape_error(f"{name} is {type(state).__name__}, expected a pair (h, c)")
        result: List[_Optional] = []
        for letter, value in zip(names, state):
            if value is not None:
                if value.__class__ is not _ndarray or value.dtype is not self.dtype or not value.flags.carray:
                    value = floats(value, self.dtype, name)
                if value.shape != shape:
                    raise shape_error(f"{name} ({letter}) has shape {value.shape}, expected {shape}")
            result.append(value)
        return result

    def _forward(
        self,
        weights: Weights,
        x: np.ndarray,
        states: List[_Optional],
        results: List[np.ndarray],
        gates: _Optional,
    ) -> int:
        raise NotImplementedError

    def _backward(
        self,
        trace: Trace,
        final: List[_Optional],
        grad_x: np.ndarray,
        grad_states: List[np.ndarray],
        parameters: Dict[str, np.ndarray],
    ) -> int:
        raise NotImplementedError

    def _options(self) -> Dict[str, Any]:
        """What the constructor takes beyond sizes, bias and dtype."""
        return {}

    def __reduce__(self) -> Tuple[Any, ...]:
        keywords = {"bias": self.bias, "dtype": self.dtype.name, **self._options()}
        return _restore, (type(self), self.input_size, self.hidden_size, keywords, self.state_dict(), self._variant_spelled)

    def __repr__(self) -> str:
        options = dict(self._options())
        if self.bias is not True:
            options["bias"] = self.bias
        if self.dtype != np.float32:
            options["dtype"] = self.dtype.name
        shown = "".join(f", {key}={value!r}" for key, value in options.items())
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{shown})"


class RNNCell(Cell):
    """One step of the vanilla cell: H' = φ(X W_xh + H W_hh + b_h).

    Parameters
    ----------
    input_size, hidden_size : int
    nonlinearity : {"tanh", "relu"}
    bias : {True, "single", False}
        Two (bias_ih, bias_hh), one (`bias`), or none.
    dtype, init, seed
        As for `RNN`: the same seed gives the same weights.
    """

    _layer = RNN
    _c_names = ("rnn_vanilla_forward", "rnn_vanilla_backward")
    _trace_width = 0

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: str = "tanh",
        bias: Union[bool, str] = True,
        dtype: Any = "float32",
        init: str = "pytorch",
        seed: Optional[int] = None,
    ) -> None:
        self._nonlinearity = choose(nonlinearity, NONLINEARITIES, "nonlinearity")
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, bias=bias, dtype=dtype, init=init, forget_bias=0.0, seed=seed,
            nonlinearity=nonlinearity,
        )  # fmt: skip

    def _options(self) -> Dict[str, Any]:
        return {"nonlinearity": self.nonlinearity}

    def _forward(
        self,
        weights: Weights,
        x: np.ndarray,
        states: List[_Optional],
        results: List[np.ndarray],
        gates: _Optional,
    ) -> int:
        return int(
            self._c_forward(
                self._nonlinearity, _rows(x), *self._sizes,
                address(x), _pointer(states[0]),
                *weights.pointers,
                address(results[0]),
            )
        )  # fmt: skip

    def _backward(
        self,
        trace: Trace,
        final: List[_Optional],
        grad_x: np.ndarray,
        grad_states: List[np.ndarray],
        parameters: Dict[str, np.ndarray],
    ) -> int:
        status = self._c_backward(
            self._nonlinearity, _rows(trace._x), *self._sizes,
            address(trace._x), _pointer(trace._states[0]),
            *trace._weights.pointers[:2],
            address(trace._results[0]), _pointer(final[0]),
            address(grad_x), address(grad_states[0]),
            address(parameters["weight_ih"]), address(parameters["weight_hh"]), _biases(parameters)[0],
        )  # fmt: skip
        _copy_bias(parameters)
        return int(status)


class GRUCell(Cell):
    """One step of a GRU; `GRU` has the equations of both variants.

    Parameters
    ----------
    input_size, hidden_size : int
    variant : {"reset_before", "reset_after"}, optional
        By default "reset_before".
    bias : {True, "single", False}
        True: one (`bias`) for reset_before, PyTorch's two for reset_after.
    dtype, init, seed
        As for `GRU`: the same seed gives the same weights.
    """

    _layer = GRU
    _c_names = ("rnn_gru_forward", "rnn_gru_backward")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        variant: Optional[str] = None,
        bias: Union[bool, str] = True,
        dtype: Any = "float32",
        init: str = "pytorch",
        seed: Optional[int] = None,
    ) -> None:
        self.variant = "reset_before" if variant is None else variant
        self._variant = choose(self.variant, VARIANTS, "variant")
        super().__init__(
            input_size, hidden_size, bias=bias, dtype=dtype, init=init, forget_bias=0.0, seed=seed, variant=variant
        )

    def _options(self) -> Dict[str, Any]:
        return {"variant": self.variant}

    def _explain_names(self, state: Mapping[str, Any]) -> str:
        belongs = "reset_after" if "bias_ih" in state or "bias_hh" in state else "reset_before" if "bias" in state else None
        if belongs is None or belongs == self.variant:
            return ""
        return (
            f'. These names belong to variant="{belongs}"; this cell is {self.variant}, and no weights convert one into the'
            " other"
        )

    def _check_variant(self, state: Mapping[str, Any]) -> None:
        if self.bias is False and not self._variant_spelled:
            raise argument_error(
                "weights without biases do not tell which GRU they belong to: make the cell with "
                'variant="reset_after" (PyTorch, cuDNN, Keras) or variant="reset_before" (the textbook, ONNX\'s default)'
            )

    def _forward(
        self,
        weights: Weights,
        x: np.ndarray,
        states: List[_Optional],
        results: List[np.ndarray],
        gates: _Optional,
    ) -> int:
        return int(
            self._c_forward(
                self._variant, _rows(x), *self._sizes,
                address(x), _pointer(states[0]),
                *weights.pointers,
                address(results[0]), _pointer(gates),
            )
        )  # fmt: skip

    def _backward(
        self,
        trace: Trace,
        final: List[_Optional],
        grad_x: np.ndarray,
        grad_states: List[np.ndarray],
        parameters: Dict[str, np.ndarray],
    ) -> int:
        return int(
            self._c_backward(
                self._variant, _rows(trace._x), *self._sizes,
                address(trace._x), _pointer(trace._states[0]),
                *trace._weights.pointers[:2],
                _pointer(trace._gates), _pointer(final[0]),
                address(grad_x), address(grad_states[0]),
                address(parameters["weight_ih"]), address(parameters["weight_hh"]), *_biases(parameters),
            )
        )  # fmt: skip


class LSTMCell(Cell):
    """One step of an LSTM; `LSTM` has the equations. The state is a pair (h, c).

    Parameters
    ----------
    input_size, hidden_size : int
    bias : {True, "single", False}
        Two (bias_ih, bias_hh), one (`bias`), or none.
    forget_bias : float
        Added to the forget gate's initial bias.
    dtype, init, seed
        As for `LSTM`: the same seed gives the same weights.
    """

    _layer = LSTM
    _c_names = ("rnn_lstm_forward", "rnn_lstm_backward")
    _state_names = ("h", "c")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: Union[bool, str] = True,
        dtype: Any = "float32",
        init: str = "pytorch",
        forget_bias: float = 0.0,
        seed: Optional[int] = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, bias=bias, dtype=dtype, init=init, forget_bias=forget_bias, seed=seed
        )

    def _forward(
        self,
        weights: Weights,
        x: np.ndarray,
        states: List[_Optional],
        results: List[np.ndarray],
        gates: _Optional,
    ) -> int:
        return int(
            self._c_forward(
                _rows(x), *self._sizes,
                address(x), _pointer(states[0]), _pointer(states[1]),
                *weights.pointers,
                address(results[0]), address(results[1]), _pointer(gates),
            )
        )  # fmt: skip

    def _backward(
        self,
        trace: Trace,
        final: List[_Optional],
        grad_x: np.ndarray,
        grad_states: List[np.ndarray],
        parameters: Dict[str, np.ndarray],
    ) -> int:
        status = self._c_backward(
            _rows(trace._x), *self._sizes,
            address(trace._x), _pointer(trace._states[0]), _pointer(trace._states[1]),
            *trace._weights.pointers[:2],
            _pointer(trace._gates), address(trace._results[1]),
            _pointer(final[0]), _pointer(final[1]),
            address(grad_x), address(grad_states[0]), address(grad_states[1]),
            address(parameters["weight_ih"]), address(parameters["weight_hh"]), _biases(parameters)[0],
        )  # fmt: skip
        _copy_bias(parameters)
        return int(status)


def _biases(arrays: Mapping[str, np.ndarray]) -> Tuple[Optional[int], Optional[int]]:
    """The addresses of bias_ih (or the one bias) and bias_hh."""
    return _pointer(arrays.get("bias_ih", arrays.get("bias"))), _pointer(arrays.get("bias_hh"))


def _rows(x: np.ndarray) -> int:
    """N of x, (N, I) or (I,)."""
    return len(x) if x.ndim == 2 else 1


def _pointer(array: _Optional) -> Optional[int]:
    return None if array is None else address(array)


def _copy_bias(parameters: Dict[str, np.ndarray]) -> None:
    """The C function gives the gradient of bias_ih, which is also that of bias_hh."""
    if "bias_hh" in parameters:
        parameters["bias_hh"][...] = parameters["bias_ih"]


def _restore(
    kind: Type[Any], size: int, hidden: int, keywords: Dict[str, Any], state: Dict[str, np.ndarray], spelled: bool
) -> Any:
    cell = kind(size, hidden, init="zeros", **keywords)
    cell._variant_spelled = True
    cell.load_state_dict(state)
    cell._variant_spelled = spelled
    return cell
