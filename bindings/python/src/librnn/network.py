"""Any network of the library: several inputs, residual sums, nodes of any name."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ._arrays import as_lengths, floats, integers, show
from ._builder import fresh_seed
from ._handle import Handle
from ._network import Batch, Key, Model
from .errors import argument_error, shape_error
from .training import Tape


class Network(Model):
    """A network that is neither one layer nor a chain of modules. Comes from `load`.

    Feature inputs stand side by side in x [T, N, sum of their sizes], token inputs in tokens [T, N, K] ([T, N] for one), in
    the order of the file. States are a dict of arrays [L*D, N, H], named ``NODE.h`` and, for LSTM, ``NODE.c``; where the
    directions of a node differ in size, ``NODE.h`` and ``NODE.h_reverse``, each [L, N, H].
    """

    @classmethod
    def _from_network(cls, network: Handle) -> "Network":
        model = cls.__new__(cls)
        model._adopt(network, fresh_seed(None))
        return model

    def run(
        self,
        x: Any = None,
        tokens: Any = None,
        state: Optional[Mapping[str, Any]] = None,
        lengths: Any = None,
        *,
        mask: Any = None,
        padding_value: float = 0.0,
        padding: Optional[str] = None,
        zero_state_of_empty_rows: bool = False,
    ) -> Tuple[np.ndarray, Dict[str, np.ndarray]]:
        """Run the network over a batch of sequences.

        Parameters
        ----------
        x : array_like, shape (T, N, input_size), or (T, input_size) without a batch
            For a network with feature inputs.
        tokens : array_like of int, shape (T, N, K), or (T, N) for one token input; (T, K) or (T,) without a batch
            For a network with token inputs.
        state : mapping, optional
            The initial state; what is left out is zeros.
        lengths : sequence of N ints, optional
            Row n ends after ``lengths[n]`` steps.
        mask, padding_value, padding, zero_state_of_empty_rows
            As for a call of a layer.

        Returns
        -------
        y : ndarray, shape (T, N, O), or (N, O) after a last-step node
        state : dict of str to ndarray
            The final state.
        """
        batch = self._arguments(x, tokens, state, lengths)
        return self._call(batch, mask, padding_value, padding, zero_state_of_empty_rows)

    __call__ = run

    def forward_train(
        self,
        x: Any = None,
        tokens: Any = None,
        state: Optional[Mapping[str, Any]] = None,
        lengths: Any = None,
        *,
        step: Optional[int] = None,
        first_time: int = 0,
        mask: Any = None,
        padding_value: float = 0.0,
        padding: Optional[str] = None,
        zero_state_of_empty_rows: bool = False,
    ) -> Tuple[np.ndarray, Dict[str, np.ndarray], Tape]:
        """As `run`, with dropout, and keeps what `backward` needs; `step` and `first_time` choose the dropout masks.

        Returns
        -------
        y, state, tape
        """
        batch = self._arguments(x, tokens, state, lengths)
        return self._train(batch, step, first_time, mask, padding_value, padding, zero_state_of_empty_rows)

    def _arguments(
        self, x: Any, tokens: Any, state: Optional[Mapping[str, Any]], lengths: Any
    ) -> Batch:
        key: Optional[Key] = None
        axes: Tuple[Any, ...] = ("N", "T") if self.batch_first else ("T", "N")
        if (x is None) != (self.input_size == 0):
            raise argument_error("x is missing" if x is None else "this network has no feature input, only tokens")
        if (tokens is None) != (self._token_count == 0):
            raise argument_error("tokens is missing" if tokens is None else "this network has no token input, only x")
        if x is not None:
            x = floats(x, self.dtype, "x")
            if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
                raise shape_error(
                    f"x has shape {x.shape}, expected {show(axes + (self.input_size,))} or {show(('T', self.input_size))}"
                )
            key = self._time_and_batch(x.shape[:-1])
        if tokens is not None:
            tokens = integers(tokens, "tokens")
            last: Tuple[int, ...] = () if self._token_count == 1 else (self._token_count,)
            rank = tokens.ndim - len(last)
            if rank not in (1, 2) or tokens.shape[rank:] != last:
                raise shape_error(
                    f"tokens has shape {tokens.shape}, expected {show(axes + last)} or {show(('T',) + last)}"
                )
            token_key = self._time_and_batch(tokens.shape[:rank])
            if key is not None and key != token_key:
                raise shape_error(f"x has shape {x.shape} and tokens {tokens.shape}: T and N differ")
            key = token_key
        assert key is not None
        plan = self._plan(key)
        initial = None if state is None else self._pack(self._leaves(state, "state"), plan, "state")
        return plan, x, tokens, initial, None if lengths is None else as_lengths(lengths, key[1])

    def _time_and_batch(self, shape: Tuple[int, ...]) -> Key:
        """T, N and whether there is a batch axis, of the shape of x without its features."""
        if len(shape) == 1:
            return shape[0], 1, False
        return (shape[1], shape[0], True) if self.batch_first else (shape[0], shape[1], True)

    def _batch(self, x: Any, hx: Any, lengths: Any) -> Batch:
        """`x` of a trainer: features, or tokens, or a pair of both for a network that reads both."""
        tokens = None
        if self._token_count and self.input_size:
            if not isinstance(x, (tuple, list)) or len(x) != 2:
                raise argument_error("x is one array, expected a pair (x, tokens): this network reads both")
            x, tokens = x
        elif self._token_count:
            x, tokens = None, x
        return self._arguments(x, tokens, hx, lengths)

    def _nest(self, leaves: Sequence[np.ndarray]) -> Dict[str, np.ndarray]:
        return {info.name: leaf for info, leaf in zip(self._states, leaves)}

    def _leaves(self, state: Any, name: str) -> List[Any]:
        names = [info.name for info in self._states]
        if not isinstance(state, Mapping):
            raise shape_error(f"{name} is {type(state).__name__}, expected a dict with the names {', '.join(names)}")
        unknown = [str(key) for key in state if key not in names]
        if unknown:
            raise shape_error(f"{name} has {', '.join(unknown)}, expected {', '.join(names)}")
        return [state.get(key) for key in names]

    def __repr__(self) -> str:
        reads = [f"x [T, N, {self.input_size}]"] if self.input_size else []
        reads += [f"{self._token_count} token inputs"] if self._token_count else []
        return f"<Network of {' and '.join(reads)} to {self.output_size} features, {self._parameter_elements} weights>"
