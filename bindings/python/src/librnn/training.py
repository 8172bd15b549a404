"""What a training forward pass keeps and what a backward pass gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

import numpy as np

from ._handle import Handle


class Tape:
    """What `forward_train` kept for `backward`: any number of times, with the weights of the forward pass.

    Its memory, about T*N*(G+2)*H elements a layer, is freed with the last reference, or by `close`.
    """

    __slots__ = ("_handle", "_owner", "_key", "_input_shape", "_output_shape", "__weakref__")

    def __init__(
        self,
        handle: Handle,
        owner: object,
        key: Tuple[int, int, bool],
        input_shape: Optional[Tuple[int, ...]],
        output_shape: Tuple[int, ...],
    ) -> None:
        self._handle = handle
        self._owner = owner
        self._key = key
        self._input_shape = input_shape
        self._output_shape = output_shape

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
    """How gradients decay or explode over time, computed inside the backward pass.

    Attributes
    ----------
    hidden : ndarray of float64, shape (L*D, T)
        ``||dL/dh_t||`` for each layer, direction (forward first) and step: the Euclidean norm over all rows of the
        gradient that reaches h_t, from the output of that step and from later steps.
    labels : tuple of str
        A name for each row, such as ``"layer 1 forward"``.
    """

    hidden: np.ndarray
    labels: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Gradients:
    """The result of a backward pass.

    Attributes
    ----------
    input : ndarray or None
        dL/dx, in the shape of x; exactly 0 in padding. None where x is tokens.
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
