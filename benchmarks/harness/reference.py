"""The same work in NumPy and float64, forwards and backwards, and how far a float32 result may be from it.

Shapes and names are PyTorch's: weight_ih [G*H, inputs], weight_hh [G*H, H], gates i, f, g, o and r, z, n.

The tolerance is not a guess. The reference runs a second time with every result of a product and of an activation moved by the
error that float32 may make there, with a random sign:

  product of depth K     u √K |x_n| |w_m|      (Higham and Mary 2019, SIAM J. Sci. Comput. 41: with high probability the error
                                               of an inner product grows with √K; Cauchy and Schwarz bound Σ|x||w|)
  activation, gate       4 u                   (4 ulp of a result near 1)

with u = 2^-24. What comes out differs from the exact result as a float32 library's may, carried through all steps as errors are. The
tolerance of an array is `MARGIN` times its largest such difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from .configurations import GATES, Configuration

U = 2.0**-24
ACTIVATION = 4.0
#: Largest of a few signs drawn at random against the largest of others: measured over the grid, they differ by less than 2.
MARGIN = 4.0

Arrays = Dict[str, np.ndarray]


def make_data(configuration: Configuration) -> Arrays:
    """Weights uniform in ±1/√H as PyTorch's, x and dy normal, all float32; of gru-before bias_hh is zero."""
    c = configuration
    random = np.random.default_rng([c.T, c.N, c.I, c.H, c.L, c.D, GATES[c.cell]])
    rows, scale = GATES[c.cell] * c.H, 1 / np.sqrt(c.H)
    data: Arrays = {}
    for layer, inputs in enumerate(c.layer_inputs()):
        for direction in range(c.D):
            shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, c.H), "bias_ih": (rows,), "bias_hh": (rows,)}
            for name, shape in shapes.items():
                values = random.uniform(-scale, scale, shape).astype(np.float32)
                if c.cell == "gru-before" and name == "bias_hh":
                    values = np.zeros(shape, np.float32)
                data[name + suffix(layer, direction)] = values
    data["x"] = random.standard_normal((c.T, c.N, c.I), np.float32)
    data["dy"] = random.standard_normal((c.T, c.N, c.H * c.D), np.float32)
    return data


def suffix(layer: int, direction: int) -> str:
    return f"_l{layer}" + ("_reverse" if direction else "")


class Exact:
    """Arithmetic without rounding worth mentioning."""

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a [n, k] times b [k, m]."""
        return a @ b

    def rounded(self, a: np.ndarray) -> np.ndarray:
        """The result of an activation."""
        return a


class Float32Errors(Exact):
    """Arithmetic with the errors that float32 may make; see the top of the file."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)

    def signs(self, shape: Tuple[int, ...]) -> np.ndarray:
        return self.random.integers(0, 2, shape, np.int8) * 2.0 - 1.0

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        size = np.sqrt(a.shape[1]) * U * np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=0)
        return a @ b + self.signs(size.shape) * size

    def rounded(self, a: np.ndarray) -> np.ndarray:
        return a + self.signs(a.shape) * (ACTIVATION * U)


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * a)


def step(
    cell: str, gx: np.ndarray, h: np.ndarray, c: np.ndarray, recurrent: np.ndarray, bias: np.ndarray, arithmetic: Exact
) -> Tuple[np.ndarray, np.ndarray, Tuple[np.ndarray, ...]]:
    """One step from (h, c) [N, H] with gx = x W_ih^T + b_ih [N, G*H]: h', c', and what backward needs."""
    H, q = h.shape[1], arithmetic.rounded
    if cell == "gru-before":
        gh = arithmetic.product(h, recurrent[: 2 * H].T) + bias[: 2 * H]
        r, z = (q(sigmoid(a)) for a in np.split(gx[:, : 2 * H] + gh, 2, 1))
        n = q(np.tanh(gx[:, 2 * H :] + arithmetic.product(r * h, recurrent[2 * H :].T) + bias[2 * H :]))
        return q(z * h + (1 - z) * n), c, (r, z, n, n)
    gh = arithmetic.product(h, recurrent.T) + bias
    if cell == "rnn":
        after = q(np.tanh(gx + gh))
        return after, c, (after,)
    if cell == "gru":
        r, z = (q(sigmoid(a)) for a in np.split(gx[:, : 2 * H] + gh[:, : 2 * H], 2, 1))
        inner = gh[:, 2 * H :]
        n = q(np.tanh(gx[:, 2 * H :] + r * inner))
        return q(z * h + (1 - z) * n), c, (r, z, n, inner)
    i, f, g, o = np.split(gx + gh, 4, 1)
    i, f, g, o = q(sigmoid(i)), q(sigmoid(f)), q(np.tanh(g)), q(sigmoid(o))
    after = q(f * c + i * g)
    tanh_c = q(np.tanh(after))
    return q(o * tanh_c), after, (i, f, g, o, tanh_c)


@dataclass
class Kept:
    """What one layer and direction keeps for the backward pass, in the order of its steps."""

    x: np.ndarray
    h: List[np.ndarray] = field(default_factory=list)
    c: List[np.ndarray] = field(default_factory=list)
    gates: List[Tuple[np.ndarray, ...]] = field(default_factory=list)


def forward(c: Configuration, data: Mapping[str, np.ndarray], arithmetic: Exact) -> Tuple[np.ndarray, List[List[Kept]]]:
    """y [T, N, D*H] from a zero state, and what each layer kept."""
    x = data["x"].astype(np.float64)
    layers: List[List[Kept]] = []
    for layer in range(c.L):
        outputs, kept = [], []
        for direction in range(c.D):
            end = suffix(layer, direction)
            w, r, b, br = (data[n + end].astype(np.float64) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            ordered = x[::-1] if direction else x
            gx = (arithmetic.product(ordered.reshape(-1, ordered.shape[2]), w.T) + b).reshape(c.T, c.N, -1)
            h, cell_state, mine, ys = np.zeros((c.N, c.H)), np.zeros((c.N, c.H)), Kept(ordered), []
            for t in range(c.T):
                mine.h.append(h)
                mine.c.append(cell_state)
                h, cell_state, gates = step(c.cell, gx[t], h, cell_state, r, br, arithmetic)
                mine.gates.append(gates)
                ys.append(h)
            y = np.stack(ys)
            outputs.append(y[::-1] if direction else y)
            kept.append(mine)
        x = np.concatenate(outputs, 2)
        layers.append(kept)
    return x, layers


def backward_step(
    cell: str, dh: np.ndarray, dc: np.ndarray, h: np.ndarray, c: np.ndarray, gates: Tuple[np.ndarray, ...],
    recurrent: np.ndarray, arithmetic: Exact,
) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """dh and dc of the step before; gradients of x W^T + b and of h R^T + b_h [N, G*H]."""
    H = h.shape[1]
    if cell == "rnn":
        da = dh * (1 - gates[0] ** 2)
        return arithmetic.product(da, recurrent), dc, da, da
    if cell == "lstm":
        i, f, g, o, tanh_c = gates
        dc = dc + dh * o * (1 - tanh_c**2)
        da = np.concatenate([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * tanh_c * o * (1 - o)], 1)
        return arithmetic.product(da, recurrent), dc * f, da, da
    r, z, n, inner = gates
    dn, dz = dh * (1 - z) * (1 - n**2), dh * (h - n) * z * (1 - z)
    if cell == "gru":
        dr = dn * inner * r * (1 - r)
        da_h = np.concatenate([dr, dz, dn * r], 1)
        return dh * z + arithmetic.product(da_h, recurrent), dc, np.concatenate([dr, dz, dn], 1), da_h
    drh = arithmetic.product(dn, recurrent[2 * H :])
    dr = drh * h * r * (1 - r)
    da = np.concatenate([dr, dz, dn], 1)
    return dh * z + drh * r + arithmetic.product(da[:, : 2 * H], recurrent[: 2 * H]), dc, da, da


def backward(c: Configuration, data: Mapping[str, np.ndarray], layers: List[List[Kept]], arithmetic: Exact) -> Arrays:
    """Gradients of weight_ih, weight_hh and bias_ih of each layer and direction."""
    dy = data["dy"].astype(np.float64)
    gradients: Arrays = {}
    for layer in reversed(range(c.L)):
        dx_sum: Optional[np.ndarray] = None
        for direction in range(c.D):
            end, kept = suffix(layer, direction), layers[layer][direction]
            w, r = data["weight_ih" + end].astype(np.float64), data["weight_hh" + end].astype(np.float64)
            mine = dy[:, :, direction * c.H : (direction + 1) * c.H]
            mine = mine[::-1] if direction else mine
            dh, dc = np.zeros((c.N, c.H)), np.zeros((c.N, c.H))
            from_x, from_h = [np.empty(0)] * c.T, [np.empty(0)] * c.T
            for t in reversed(range(c.T)):
                dh, dc, from_x[t], from_h[t] = backward_step(
                    c.cell, dh + mine[t], dc, kept.h[t], kept.c[t], kept.gates[t], r, arithmetic
                )
            da_x, da_h = np.concatenate(from_x), np.concatenate(from_h)
            hs = np.concatenate(kept.h)
            gradients["weight_ih" + end] = arithmetic.product(da_x.T, kept.x.reshape(len(da_x), -1))
            if c.cell == "gru-before":
                rh = np.concatenate([gates[0] * h for gates, h in zip(kept.gates, kept.h)])
                gradients["weight_hh" + end] = np.concatenate(
                    [arithmetic.product(da_h[:, : 2 * c.H].T, hs), arithmetic.product(da_h[:, 2 * c.H :].T, rh)]
                )
            else:
                gradients["weight_hh" + end] = arithmetic.product(da_h.T, hs)
            gradients["bias_ih" + end] = arithmetic.product(da_x.T, np.ones((len(da_x), 1)))[:, 0]
            if layer:
                dx = arithmetic.product(da_x, w).reshape(c.T, c.N, -1)
                dx = dx[::-1] if direction else dx
                dx_sum = dx if dx_sum is None else dx_sum + dx
        if dx_sum is not None:
            dy = dx_sum
    return gradients


def results(c: Configuration, data: Mapping[str, np.ndarray], arithmetic: Exact) -> Arrays:
    """y, and for training the gradients."""
    y, kept = forward(c, data, arithmetic)
    return {"y": y, **(backward(c, data, kept, arithmetic) if c.kind == "training" else {})}


@dataclass
class Expected:
    """Exact arrays and how far a float32 result may be off, element by element."""

    arrays: Arrays
    tolerances: Dict[str, float]


def tolerance(exact: np.ndarray, moved: np.ndarray) -> float:
    return float(MARGIN * max(np.abs(moved - exact).max(initial=0.0), U * np.abs(exact).max(initial=0.0)))


def expected(c: Configuration, data: Mapping[str, np.ndarray]) -> Expected:
    """What a sequence or a training step should give."""
    exact, moved = results(c, data, Exact()), results(c, data, Float32Errors())
    return Expected(exact, {name: tolerance(exact[name], moved[name]) for name in exact})


def step_error(c: Configuration, data: Mapping[str, np.ndarray], before: np.ndarray, after: np.ndarray) -> float:
    """Largest error / tolerance of steps: `before` and `after` [S, states, H], the state at both ends of each of S steps."""
    x = data["x"][0].astype(np.float64)
    w, r, b, br = (data[n + "_l0"].astype(np.float64) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    start = before.astype(np.float64)
    h, cell_state = start[:, 0], start[:, -1]
    ends = []
    for arithmetic in (Exact(), Float32Errors()):
        gx = arithmetic.product(np.repeat(x, len(h), 0), w.T) + b
        ends.append(step(c.cell, gx, h, cell_state, r, br, arithmetic)[:2][: before.shape[1]])
    worst = 0.0
    for index, (exact, moved) in enumerate(zip(*ends)):
        worst = max(worst, relative_error(after[:, index], exact, tolerance(exact, moved)))
    return worst


def relative_error(actual: Any, exact: np.ndarray, allowed: float) -> float:
    """Largest |actual - exact| / allowed; infinite for another shape or what is not finite."""
    values = np.asarray(actual)
    if values.shape != exact.shape or not np.isfinite(values).all():
        return float("inf")
    return float(np.abs(values - exact).max(initial=0.0) / allowed)


def error(wanted: Expected, actual: Mapping[str, np.ndarray]) -> Tuple[float, str]:
    """Largest error / tolerance over all arrays and the array that has it. For gradients also the Euclidean norms are compared:
    they must agree to the tolerance of one element times √(number of elements)."""
    worst, where = 0.0, ""
    for name, exact in wanted.arrays.items():
        if name not in actual:
            return float("inf"), f"{name} is missing"
        values, allowed = actual[name], wanted.tolerances[name]
        found = relative_error(values, exact, allowed)
        if name != "y" and np.isfinite(found):
            norms = abs(np.linalg.norm(values.astype(np.float64)) - np.linalg.norm(exact))
            found = max(found, float(norms / (allowed * np.sqrt(exact.size))))
        if not found <= worst:
            worst, where = found, name
    return worst, where
