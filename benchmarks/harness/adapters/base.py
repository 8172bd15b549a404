"""What every adapter of a peer offers to the worker."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, ContextManager, Dict, List, Mapping, Optional, Sequence

import numpy as np

from ..configurations import CELLS, KINDS, Configuration
from ..reference import suffix

Data = Mapping[str, np.ndarray]


class Adapter:
    """One way of doing the work, in a process of its own.

    A worker calls `setup` once; for each configuration `build`, then `run` many times, `outputs` or `state` now and then,
    `free`. The parent uses the class only, never an instance, so that it imports no peer.
    """

    #: The environment of benchmarks/environments that it needs.
    environment = "main"
    kinds: Sequence[str] = KINDS
    cells: Sequence[str] = CELLS
    #: One step, one sequence or one training step; returns when it is done. `build` sets it.
    run: Callable[[], Any]

    @classmethod
    def limit(cls, configuration: Configuration) -> Optional[str]:
        """Why the peer cannot do this work at all, or None. What is not listed here and fails is a failure."""
        if configuration.kind not in cls.kinds:
            return f"does no {configuration.kind}"
        if configuration.cell not in cls.cells:
            return f"has no {configuration.cell}"
        return None

    @staticmethod
    def variables(threads: int) -> Dict[str, str]:
        """Environment variables of the worker, beside OMP_NUM_THREADS."""
        return {}

    def setup(self, threads: int) -> str:
        """Import the peer and set its number of threads; returns its version."""
        raise NotImplementedError

    def build(self, c: Configuration, data: Data) -> None:
        raise NotImplementedError

    def outputs(self) -> Dict[str, np.ndarray]:
        """What the last `run` gave: y [T, N, D*H] and, for training, gradients by PyTorch's names and in its order of gates."""
        raise NotImplementedError

    def state(self) -> List[np.ndarray]:
        """Of a step: the present h [1, H], and c of an LSTM; copies."""
        raise NotImplementedError

    def context(self) -> ContextManager[Any]:
        return contextlib.nullcontext()

    def free(self) -> None:
        """Forget the configuration: what `build` kept has a name that begins with an underscore."""
        for name in [key for key in self.__dict__ if key.startswith("_") or key == "run"]:
            del self.__dict__[name]


def copied(array: Any) -> np.ndarray:
    """A float32 array of one's own, [1, H] for a state."""
    return np.array(array, np.float32, copy=True)


def reorder(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """The blocks of gates (rows) of a stacked weight or bias in another order."""
    blocks = np.split(array, len(order))
    return np.concatenate([blocks[index] for index in order])


def restore(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """The inverse of `reorder`."""
    return reorder(array, np.argsort(order).tolist())


def directions(c: Configuration, data: Data, layer: int) -> List[Dict[str, np.ndarray]]:
    """The weights of each direction of a layer by their plain names."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [{name: data[name + suffix(layer, d)] for name in names} for d in range(c.D)]


#: Names of the states.
STATES = {"lstm": ("h", "c"), "gru": ("h",), "gru-before": ("h",), "rnn": ("h",)}
