"""The equations of docs/equations.md in NumPy, slowly and in float64: what the library is compared with.

Row-vector convention: X [N, I], H [N, H]; weights come with PyTorch's names and shapes and are transposed here. Beside each value
goes a bound of the error that a machine with unit roundoff u can make of it (standard model of rounding, first order in
the error of the arguments, no cancellation assumed). `run` therefore returns what the library should give and how far it may
be off. Complex numbers are fine too: their imaginary part is a derivative.
"""

import numpy as np

#: Error of the library's tanh and logistic function, absolute, in units of u: results are at most 1, and 8 u is 4 ulp there.
ACTIVATION = 8.0


def sigmoid(a):
    """σ(a), without overflow for real a."""
    if np.iscomplexobj(a):
        return 1 / (1 + np.exp(-a))
    return 0.5 * (1 + np.tanh(0.5 * a))


def relu(a):
    return np.where(a.real > 0, a, 0)


class Bounded:
    """A value and a bound of the error that the machine's version of it may have."""

    def __init__(self, value, error=0.0):
        self.value = np.asarray(value)
        self.error = np.broadcast_to(error, self.value.shape)

    @property
    def largest(self):
        return np.abs(self.value) + self.error

    def __getitem__(self, key):
        return Bounded(self.value[key], self.error[key])


def product(x, weight, u):
    """X Wᵀ: K products and sums."""
    gamma = (weight.shape[1] + 1) * u
    size = np.abs(weight).T
    return Bounded(x.value @ weight.T, x.error @ size + gamma * (x.largest @ size))


def add(a, b, u):
    return Bounded(a.value + b.value, a.error + b.error + u * (a.largest + b.largest))


def multiply(a, b, u):
    return Bounded(a.value * b.value, a.error * b.largest + b.error * np.abs(a.value) + u * a.largest * b.largest)


def choose(rows, a, b):
    """The rows of `a` where `rows` is true, of `b` elsewhere."""
    return Bounded(np.where(rows[:, None], a.value, b.value), np.where(rows[:, None], a.error, b.error))


def activate(function, a, slope, u):
    return Bounded(function(a.value), slope * a.error + ACTIVATION * u)


def step(cell, options, weights, x, h, c, u):
    """One step: (H', C'), of `Bounded` X, H, C."""
    def split(a):
        return [Bounded(v, e) for v, e in zip(np.split(a.value, gates, 1), np.split(a.error, gates, 1))]

    def biased(a, name):
        return add(a, Bounded(weights[name]), u) if name in weights else a

    gates = {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    from_x = product(x, weights["weight_ih"], u)
    for name in ("bias_ih", "bias"):
        from_x = biased(from_x, name)
    from_h = biased(product(h, weights["weight_hh"], u), "bias_hh")

    if cell == "rnn":
        a = add(from_x, from_h, u)
        if options["nonlinearity"] == "relu":
            return Bounded(relu(a.value), a.error), None
        return activate(np.tanh, a, 1, u), None

    if cell == "lstm":
        i, f, g, o = split(add(from_x, from_h, u))
        i, f, o = (activate(sigmoid, a, 0.25, u) for a in (i, f, o))
        g = activate(np.tanh, g, 1, u)
        c = add(multiply(f, c, u), multiply(i, g, u), u)
        return multiply(o, activate(np.tanh, c, 1, u), u), c

    xr, xz, xn = split(from_x)
    hr, hz, hn = split(from_h)
    r = activate(sigmoid, add(xr, hr, u), 0.25, u)
    z = activate(sigmoid, add(xz, hz, u), 0.25, u)
    if options["variant"] == "reset_after":
        inner = multiply(r, hn, u)
    else:
        inner = product(multiply(r, h, u), np.split(weights["weight_hh"], 3)[2], u)
        if "bias_hh" in weights:
            inner = add(inner, Bounded(np.split(weights["bias_hh"], 3)[2]), u)
    n = activate(np.tanh, add(xn, inner, u), 1, u)
    # H' = Z ⊙ H + (1 - Z) ⊙ H̃, or any rearrangement of it: an error of z moves H' by the distance of H and H̃.
    value = z.value * h.value + (1 - z.value) * n.value
    error = (
        z.error * (h.largest + n.largest)
        + np.abs(z.value) * h.error
        + np.abs(1 - z.value) * n.error
        + 4 * u * (h.largest + n.largest)
    )
    return Bounded(value, error), None


def run(cell, parameters, x, h0=None, c0=None, lengths=None, u=0.0, nudge=None, **options):
    """A stack of layers over a batch of sequences.

    Parameters: named as the layer's (weight_ih_l0_reverse, …). x [T, N, I]; h0, c0 [L*D, N, H]; `nudge` is (row of h_n, t,
    [N, H]), which is added to H_t there.

    Returns y [T, N, D*H], h_n and c_n (None unless LSTM) [L*D, N, H], each `Bounded`.
    """
    options = {"nonlinearity": "tanh", "variant": "reset_before", **options}
    layers = 1 + max(int(name.split("_l")[1].split("_")[0]) for name in parameters)
    directions = 2 if any(name.endswith("_reverse") for name in parameters) else 1
    steps, batch = x.shape[:2]
    lengths = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    hidden = parameters["weight_hh_l0"].shape[1]
    kind = np.result_type(x, *parameters.values(), np.float64, *([] if nudge is None else [nudge[2]]))
    layer_input = Bounded(x.astype(kind))
    finals_h, finals_c = [], []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            end = f"_l{layer}" + ("_reverse" if direction else "")
            weights = {k[: -len(end)]: np.asarray(v, kind) for k, v in parameters.items() if k.endswith(end)}
            row = layer * directions + direction
            zeros = np.zeros((batch, hidden), kind)
            h = Bounded(zeros if h0 is None else h0[row].astype(kind))
            c = Bounded(zeros if c0 is None else c0[row].astype(kind)) if cell == "lstm" else None
            y = Bounded(np.zeros((steps, batch, hidden), kind), np.zeros((steps, batch, hidden)))
            y.error = y.error.copy()
            for t in range(steps) if direction == 0 else reversed(range(steps)):
                here = t < lengths
                # Padding is never read.
                row_x = choose(here, layer_input[t], Bounded(np.zeros_like(layer_input.value[t])))
                next_h, next_c = step(cell, options, weights, row_x, h, c, u)
                if nudge is not None and nudge[:2] == (row, t):
                    next_h = Bounded(next_h.value + nudge[2], next_h.error)
                h = choose(here, next_h, h)
                if c is not None:
                    c = choose(here, next_c, c)
                y.value[t][here] = h.value[here]
                y.error[t][here] = h.error[here]
            outputs.append(y)
            finals_h.append(h)
            finals_c.append(c)
        layer_input = Bounded(
            np.concatenate([o.value for o in outputs], 2), np.concatenate([o.error for o in outputs], 2)
        )
    def stacked(finals):
        return Bounded(np.stack([f.value for f in finals]), np.stack([f.error for f in finals]))

    return layer_input, stacked(finals_h), stacked(finals_c) if cell == "lstm" else None


def roundoff(dtype):
    """u: half the distance from 1 to the next number."""
    return float(np.finfo(dtype).eps) / 2


def assert_within(actual, expected, scale=1.0, name=""):
    """`actual` lies within the bound of a `Bounded`; the reference itself makes float64's error."""
    difference = np.abs(np.asarray(actual, np.float64) - expected.value)
    bound = scale * np.asarray(expected.error) + 1e-15 * (1 + np.abs(expected.value))
    worst = np.max(difference / bound, initial=0.0)
    assert worst <= 1, f"{name}: {worst:.3g} times the bound, difference {difference.max():.3g}"
