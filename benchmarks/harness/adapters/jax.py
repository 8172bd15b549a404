"""JAX: jit of lax.scan, the input projection of all steps before the scan."""

from __future__ import annotations

from typing import Any, Dict, List

import numpy as np

from ..configurations import Configuration
from ..reference import suffix
from .base import Adapter, Data, copied, directions


class JAX(Adapter):
    # Its cells are written by hand here; reset-before has the peers that offer it.
    cells = ("lstm", "gru", "rnn")

    @staticmethod
    def variables(threads: int) -> Dict[str, str]:
        flags = "--xla_cpu_multi_thread_eigen=false" if threads == 1 else ""
        return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "NPROC": str(threads)}

    def setup(self, threads: int) -> str:
        import jax

        self.jax = jax
        return str(jax.__version__)

    def cell(self, name: str, H: int) -> Any:
        """(gx, state, R^T, b_h) -> state, where the LSTM's and the vanilla cell's two biases are one."""
        jnp, sigmoid = self.jax.numpy, self.jax.nn.sigmoid

        def rnn(gx: Any, state: Any, r: Any, b: Any) -> Any:
            return (jnp.tanh(gx + state[0] @ r),)

        def gru(gx: Any, state: Any, r: Any, b: Any) -> Any:
            gh = state[0] @ r + b
            gates = sigmoid(gx[:, : 2 * H] + gh[:, : 2 * H])
            z = gates[:, H:]
            n = jnp.tanh(gx[:, 2 * H :] + gates[:, :H] * gh[:, 2 * H :])
            return ((1 - z) * n + z * state[0],)

        def lstm(gx: Any, state: Any, r: Any, b: Any) -> Any:
            a = gx + state[0] @ r
            gates = sigmoid(jnp.concatenate([a[:, : 2 * H], a[:, 3 * H :]], 1))
            c = gates[:, H : 2 * H] * state[1] + gates[:, :H] * jnp.tanh(a[:, 2 * H : 3 * H])
            return gates[:, 2 * H :] * jnp.tanh(c), c

        return {"rnn": rnn, "gru": gru, "lstm": lstm}[name]

    def build(self, c: Configuration, data: Data) -> None:
        jax, jnp = self.jax, self.jax.numpy
        self._c = c
        cell, both = self.cell(c.cell, c.H), c.cell == "gru"
        weights = []
        for layer in range(c.L):
            for s in directions(c, data, layer):
                bias = s["bias_ih"] if both else s["bias_ih"] + s["bias_hh"]
                weights.append([jnp.asarray(a) for a in (s["weight_ih"].T, s["weight_hh"].T, bias, s["bias_hh"])])

        def zeros() -> Any:
            return tuple(jnp.zeros((c.N, c.H), jnp.float32) for _ in range(2 if c.cell == "lstm" else 1))

        def network(weights: Any, x: Any) -> Any:
            for layer in range(c.L):
                outputs = []
                for d in range(c.D):
                    w, r, b, br = weights[layer * c.D + d]
                    gx = (x.reshape(-1, x.shape[2]) @ w + b).reshape(c.T, c.N, -1)

                    def step(state: Any, g: Any, r: Any = r, br: Any = br) -> Any:
                        state = cell(g, state, r, br)
                        return state, state[0]

                    outputs.append(jax.lax.scan(step, zeros(), gx, reverse=bool(d))[1])
                x = jnp.concatenate(outputs, 2) if c.D == 2 else outputs[0]
            return x

        x, dy = jnp.asarray(data["x"]), jnp.asarray(data["dy"])
        ready = jax.block_until_ready
        if c.kind == "step":
            row, (w, r, b, br) = x[0], weights[0]
            compiled = jax.jit(lambda row, state, w, r, b, br: cell(row @ w + b, state, r, br))
            self._state = zeros()

            def run() -> None:
                self._state = ready(compiled(row, self._state, w, r, b, br))

        elif c.kind == "sequence":
            compiled = jax.jit(network)

            def run() -> None:
                self._y = ready(compiled(weights, x))

        else:

            def training(weights: Any, x: Any, dy: Any) -> Any:
                y, pull = jax.vjp(lambda values: network(values, x), weights)
                return y, pull(dy)[0]

            compiled = jax.jit(training)

            def run() -> None:
                self._y, self._gradients = ready(compiled(weights, x, dy))

        self.run = run

    def state(self) -> List[np.ndarray]:
        return [copied(a) for a in self._state]

    def outputs(self) -> Dict[str, np.ndarray]:
        c, found = self._c, {"y": copied(self._y)}
        if c.kind == "training":
            for layer in range(c.L):
                for d in range(c.D):
                    w, r, b, _ = self._gradients[layer * c.D + d]
                    for name, value in (("weight_ih", w), ("weight_hh", r), ("bias_ih", b)):
                        found[name + suffix(layer, d)] = copied(np.asarray(value).T)
        return found
