"""What a training forward pass keeps and what a backward pass gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

import numpy as np

from . import _abi
from ._arrays import address
from ._handle import Handle


class Tape:
    """What `forward_train` kept for `backward`: any number of times, with the weights of the forward pass.

    Its memory, about T*N*(G+2)*H elements a layer, is freed with the last reference, or by `close`.
    """

    __slots__ = ("_handle", "_owner", "_key", "_input_shape", "_output_shape", "__weakref__")

    def __init__(
        self,
        handle: Handle,
        owner: Any,
        key: Tuple[int, int, bool],
        input_shape: Optional[Tuple[int, ...]],
        output_shape: Tuple[int, ...],
    ) -> None:
        self._handle = handle
        self._owner = owner
        self._key = key
        self._input_shape = input_shape
        self._output_shape = output_shape

    def read(self, *names: str) -> Dict[str, np.ndarray]:
        """h, c and the gates of every step, for inspection, and for what is computed outside, such as attention.

        Parameters
        ----------
        *names : str
            Which arrays; by default all.

        Returns
        -------
        dict of str to ndarray
            Copies. For each layer, and with the suffix ``_reverse`` for a backward direction: ``"h_l0"`` [T, N, H], for LSTM
            ``"c_l0"`` [T, N, H], and ``"gates_l0"`` [T, N, G, H], the gates after their activation: LSTM i, f, g, o; GRU r, z, n;
            vanilla h. Laid out as y: [N, T, ..] with batch_first, without the axis of N where x had none. In a Sequential or
            Network the name of the node comes first: ``"0.h_l0"``. At steps that a row does not have, h and c are the state that
            stays, and gates are 0.
        """
        return self._owner._read_tape(self, names)

    def close(self) -> None:
        """Free the memory now. `backward` then raises `RNNError`."""
        self._handle.close()

    def __enter__(self) -> "Tape":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        time, batch, _ = self._key
        return f"<Tape of {time} steps, {batch} rows>"


@dataclass(frozen=True)
class GradientFlow:
    """How gradients decay or explode over time, and what the gates do, computed inside the backward pass.

    Each array has a row for each layer and direction (L*D, forward first), and a column for each step.

    Attributes
    ----------
    hidden : ndarray of float64, shape (L*D, T)
        ``||dL/dh_t||``: the Euclidean norm over all rows of the batch of the gradient that reaches h_t, from the output of that
        step and from later steps, before ``hidden_clip``.
    cell : ndarray of float64, shape (L*D, T)
        ``||dL/dc_t||`` of what reaches c_t from h_t and from c_{t+1}; 0 for cells without c.
    clipped : ndarray of float64, shape (L*D, T)
        `hidden` after ``hidden_clip``.
    gate_mean : ndarray of float64, shape (L*D, T, 4)
        The mean over rows and units of each gate's value: LSTM i, f, g, o; GRU r, z, n; vanilla h; 0 in further columns.
    gate_saturation : ndarray of float64, shape (L*D, T, 4)
        The share of the gate's values that are saturated: σ outside [0.1, 0.9], tanh and softsign outside [-0.9, 0.9] of
        their range, ReLU at 0. Other activations have none.
    jacobian_norm : ndarray of float64, shape (L*D, T)
        The spectral norm of dh_t/dh_{t-1} (of an LSTM with c_{t-1} held), the largest of all rows, estimated from below.
    labels : tuple of str
        A name for each row, such as ``"layer 1 forward"``.
    gates : tuple of str
        For each row the letters of its gates, in the order of the columns: ``"ifgo"``, ``"rzn"`` or ``"h"``.
    """

    hidden: np.ndarray
    cell: np.ndarray
    clipped: np.ndarray
    gate_mean: np.ndarray
    gate_saturation: np.ndarray
    jacobian_norm: np.ndarray
    labels: Tuple[str, ...] = ()
    gates: Tuple[str, ...] = ()


class FlowArrays:
    """The arrays that a backward pass fills for a `GradientFlow`."""

    __slots__ = ("_arrays",)

    def __init__(self, rows: int, time: int) -> None:
        wide = ("gate_mean", "gate_saturation")
        names = ("hidden_flow", "cell_flow", "clipped_flow", "jacobian_norm") + wide
        self._arrays = {
            name: np.zeros((rows, time, _abi.RNN_FLOW_GATES) if name in wide else (rows, time), np.float64) for name in names
        }

    def fields(self) -> Dict[str, int]:
        """Fields of rnn_backward_options, valid while this object lives."""
        result = {}
        for name, array in self._arrays.items():
            result[name] = address(array)
            result[name + "_count"] = array.size
        return result

    def report(self, labels: Tuple[str, ...], gates: Tuple[str, ...]) -> GradientFlow:
        return GradientFlow(
            **{name[: -len("_flow")] if name.endswith("_flow") else name: array for name, array in self._arrays.items()},
            labels=labels,
            gates=gates,
        )


@dataclass(frozen=True)
class Gradients:
    """The result of a backward pass.

    Attributes
    ----------
    input : ndarray or None
        dL/dx, in the shape of x; exactly 0 in padding. None where x is tokens, or nobody asked for it.
    state : ndarray, tuple, list or dict
        dL/d(initial state), structured as `hx`.
    parameters : dict of str to ndarray
        dL/d(parameter) by name: views of one array, in the order and shapes of the model's parameters.
    flow : GradientFlow or None
        When asked for.
    """

    input: Optional[np.ndarray]
    state: Any
    parameters: Dict[str, np.ndarray]
    flow: Optional[GradientFlow] = field(default=None)
