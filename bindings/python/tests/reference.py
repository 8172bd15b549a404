"""The equations of docs/equations.md and docs/semantics.md in NumPy, slowly and in float64: what the library is compared with.

Row-vector convention: X [N, I], H [N, H]; weights come with PyTorch's names and shapes and are transposed here. Beside each value
goes a bound of the error that a machine with unit roundoff u can make of it (standard model of rounding, first order in
the error of the arguments, no cancellation assumed). `run` therefore returns what the library should give and how far it may
be off. Complex numbers are fine too: their imaginary part is a derivative.
"""

import numpy as np

#: Error of the library's activation functions, absolute where the result is at most 1, otherwise relative, in units of u: 8 u is
#: 4 ulp of a result near 1.
ACTIVATION = 8.0


def sigmoid(a):
    """σ(a), without overflow for real a."""
    if np.iscomplexobj(a):
        return 1 / (1 + np.exp(-a))
    return 0.5 * (1 + np.tanh(0.5 * a))


def softplus(a):
    return np.log(1 + np.exp(a)) if np.iscomplexobj(a) else np.logaddexp(0, a)


def hard_sigmoid(a, alpha, beta):
    line = alpha * a + beta
    return np.where(line.real <= 0, 0, np.where(line.real >= 1, 1, line))


#: name -> the function of (a, alpha, beta), and a bound of its slope.
ACTIVATIONS = {
    "sigmoid": (lambda a, alpha, beta: sigmoid(a), lambda alpha, beta: 0.25),
    "hard_sigmoid": (hard_sigmoid, lambda alpha, beta: abs(alpha)),
    "tanh": (lambda a, alpha, beta: np.tanh(a), lambda alpha, beta: 1),
    "relu": (lambda a, alpha, beta: np.where(a.real > 0, a, 0), lambda alpha, beta: 1),
    "leaky_relu": (lambda a, alpha, beta: np.where(a.real >= 0, a, alpha * a), lambda alpha, beta: max(1, abs(alpha))),
    "thresholded_relu": (lambda a, alpha, beta: np.where(a.real > alpha, a, 0), lambda alpha, beta: 1),
    "scaled_tanh": (lambda a, alpha, beta: alpha * np.tanh(beta * a), lambda alpha, beta: abs(alpha * beta)),
    "elu": (
        lambda a, alpha, beta: np.where(a.real >= 0, a, alpha * np.expm1(np.where(a.real >= 0, 0, a))),
        lambda alpha, beta: max(1, abs(alpha)),
    ),
    "softsign": (lambda a, alpha, beta: a / (1 + np.where(a.real < 0, -a, a)), lambda alpha, beta: 1),
    "softplus": (lambda a, alpha, beta: softplus(a), lambda alpha, beta: 1),
    "affine": (lambda a, alpha, beta: alpha * a + beta, lambda alpha, beta: abs(alpha)),
}
#: How far apart two values of a function can be; of scaled_tanh times α.
RANGES = {"sigmoid": 1, "hard_sigmoid": 1, "tanh": 2, "softsign": 2, "scaled_tanh": 2}
LETTERS = {"rnn": "h", "gru": "rzn", "lstm": "ifgo"}


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


def limit(a, bound, u):
    """a kept in [-bound, bound]; 0: no limit. Moves nothing further apart; what is far beyond the limit has no error left."""
    if not bound:
        return a
    value = np.where(a.value.real > bound, bound, np.where(a.value.real < -bound, -bound, a.value))
    beyond = np.maximum(np.abs(a.value) - bound, 0)
    # The limit itself is rounded to the type.
    return Bounded(value, np.minimum(np.maximum(a.error - beyond, 0), 2 * bound) + u * bound)


def activate(activation, a, u):
    """f(a), of (name, alpha, beta)."""
    name, alpha, beta = activation
    function, slope = ACTIVATIONS[name]
    value = function(a.value, alpha, beta)
    # No error is larger than the range of the function.
    error = np.minimum(slope(alpha, beta) * a.error, RANGES.get(name, np.inf) * (abs(alpha) if name == "scaled_tanh" else 1))
    error = error + ACTIVATION * u * np.maximum(np.abs(value), 1)
    if name == "thresholded_relu":
        # It jumps at α: an error there is as large as the jump.
        error = error + np.where(np.abs(a.value.real - alpha) <= a.error, abs(alpha) + a.error, 0)
    return Bounded(value, error)


def step(cell, options, weights, activations, x, h, c, drop, u):
    """One step: (H', C', [gates]), of `Bounded` X, H, C. `drop` multiplies H where it enters the products, or is None."""
    def split(a):
        count = len(LETTERS[cell])
        return [Bounded(v, e) for v, e in zip(np.split(a.value, count, 1), np.split(a.error, count, 1))]

    def biased(a, name):
        return add(a, Bounded(weights[name]), u) if name in weights else a

    def gate(letter, a):
        return activate(activations[letter], limit(a, options["gate_clip"], u), u)

    seen = h if drop is None else multiply(h, Bounded(drop), u)
    from_x = product(x, weights["weight_ih"], u)
    for name in ("bias_ih", "bias"):
        from_x = biased(from_x, name)
    from_h = biased(product(seen, weights["weight_hh"], u), "bias_hh")

    if cell == "rnn":
        value = gate("h", add(from_x, from_h, u))
        return value, None, [value]

    if cell == "lstm":
        i, f, g, o = split(add(from_x, from_h, u))
        peephole = [None if "weight_peephole" not in weights else Bounded(row) for row in weights.get("weight_peephole", [0] * 3)]
        if options["runtime_forget_bias"]:
            f = add(f, Bounded(np.full_like(f.value, options["runtime_forget_bias"])), u)
        if peephole[0] is not None:
            i, f = add(i, multiply(peephole[0], c, u), u), add(f, multiply(peephole[1], c, u), u)
        i, g = gate("i", i), gate("g", g)
        f = add(Bounded(np.ones_like(i.value)), Bounded(-i.value, i.error), u) if options["coupled_gates"] else gate("f", f)
        c = limit(add(multiply(f, c, u), multiply(i, g, u), u), options["cell_clip"], u)
        if options.get("nudge_cell") is not None:
            c = Bounded(c.value + options["nudge_cell"], c.error)
        if peephole[0] is not None:
            o = add(o, multiply(peephole[2], c, u), u)
        o = gate("o", o)
        shown = activate(activations["h"], limit(c, options["gate_clip"] if options["gate_clip_output"] else 0, u), u)
        h = multiply(o, shown, u)
        if "weight_hr" in weights:
            h = product(h, weights["weight_hr"], u)
        return h, c, [i, f, g, o]

    xr, xz, xn = split(from_x)
    hr, hz, hn = split(from_h)
    r = gate("r", add(xr, hr, u))
    z = gate("z", add(xz, hz, u))
    if options["variant"] == "reset_after":
        inner = multiply(r, hn, u)
    else:
        inner = product(multiply(r, seen, u), np.split(weights["weight_hh"], 3)[2], u)
        if "bias_hh" in weights:
            inner = add(inner, Bounded(np.split(weights["bias_hh"], 3)[2]), u)
    n = gate("n", add(xn, inner, u))
    # H' = Z ⊙ H + (1 - Z) ⊙ H̃, or any rearrangement of it: an error of z moves H' by the distance of H and H̃.
    value = z.value * h.value + (1 - z.value) * n.value
    error = (
        z.error * (h.largest + n.largest)
        + np.abs(z.value) * h.error
        + np.abs(1 - z.value) * n.error
        + 4 * u * (1 + np.abs(z.value)) * (h.largest + n.largest)
    )
    return Bounded(value, error), None, [r, z, n]


DEFAULTS = {
    "nonlinearity": "tanh", "variant": "reset_before", "direction": "forward", "merge": "concat", "residual": False,
    "gate_clip": 0, "cell_clip": 0, "gate_clip_output": False, "coupled_gates": False, "runtime_forget_bias": 0,
    "activations": None, "padding": "value", "padding_value": 0, "zero_state_of_empty_rows": False,
}  # fmt: skip


def gate_activations(cell, options, direction):
    """Letter -> (name, alpha, beta) of one direction; `activations` as a layer takes them or shows them."""
    given = options["activations"]
    side = given[direction] if isinstance(given, (tuple, list)) else given or {}
    usual = {letter: "sigmoid" for letter in "iforz"} | {letter: "tanh" for letter in "gn"}
    usual["h"] = options["nonlinearity"] if cell == "rnn" else "tanh"
    defaults = {"leaky_relu": 0.01, "thresholded_relu": 1, "elu": 1}
    result = {}
    for letter in LETTERS[cell] + ("h" if cell == "lstm" else ""):
        spec = side.get(letter, usual[letter])
        if hasattr(spec, "alpha"):
            spec = (spec.name, spec.alpha, spec.beta)
        elif isinstance(spec, str):
            spec = (spec, defaults.get(spec, 0), 0)
        result[letter] = (tuple(spec) + (0, 0))[:3]
    return result


def merged(merge, outputs, u):
    """The output of both directions."""
    if len(outputs) == 1:
        return outputs[0]
    forward, backward = outputs
    if merge == "concat":
        return Bounded(*(np.concatenate([getattr(o, name) for o in outputs], 2) for name in ("value", "error")))
    if merge == "product":
        return multiply(forward, backward, u)
    total = add(forward, backward, u)
    return total if merge == "sum" else Bounded(total.value / 2, total.error / 2)


def pad(y, here, padding, value):
    """The output [T, N, ..] at steps that a row does not have."""
    values, errors = y.value.copy(), y.error.copy()
    for t in range(len(values)):
        away = ~here[t]
        if padding == "repeat":
            values[t][away] = values[t - 1][away] if t else 0
            errors[t][away] = errors[t - 1][away] if t else 0
        else:
            values[t][away], errors[t][away] = value, 0
    return Bounded(values, errors)


def run(
    cell, parameters, x, h0=None, c0=None, lengths=None, u=0.0, nudge=None, *, mask=None, recurrent_masks=None,
    dropout_masks=None, record=None, nudge_cell=None, **options,
):  # fmt: skip
    """A stack of layers over a batch of sequences.

    Parameters: named as the layer's (weight_ih_l0_reverse, …). x [T, N, I]; h0, c0 [L*D, N, H], or a list of L*D arrays [N, H];
    mask [T, N]; `recurrent_masks` {(layer, direction): [N, H]} and `dropout_masks` {layer: [T, N, F]} are factors. `nudge` is (row
    of h_n, t, [N, H]), which is added to H_t there, and `nudge_cell` the same for C_t. `record` is filled with what a tape gives.
    Options are spelled as the layer's.

    Returns y [T, N, D*H], h_n and c_n (None unless LSTM) [L*D, N, H], each `Bounded`; h_n and c_n are pairs (forward, backward) of
    [L, N, H] where the directions differ in size.
    """
    options = {**DEFAULTS, **options}
    layers = 1 + max(int(name.split("_l")[1].split("_")[0]) for name in parameters if name.startswith("weight_ih"))
    directions = 2 if "weight_ih_l0_reverse" in parameters else 1
    steps, batch = x.shape[:2]
    lengths = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    here = np.arange(steps)[:, None] < lengths
    if mask is not None:
        here = here & (np.asarray(mask) != 0)
    given = [a for a in (nudge and nudge[2], nudge_cell and nudge_cell[2]) if a is not None]
    given += [a for states in (h0, c0) if states is not None for a in states if a is not None]
    kind = np.result_type(x, *parameters.values(), np.float64, *given)
    layer_input = Bounded(np.where(here[:, :, None], x, 0).astype(kind))
    finals_h, finals_c = [], []
    for layer in range(layers):
        outputs = []
        read = layer_input
        if dropout_masks is not None and layer in dropout_masks:
            read = multiply(read, Bounded(dropout_masks[layer]), u)
        for direction in range(directions):
            end = f"_l{layer}" + ("_reverse" if direction else "")
            weights = {k[: -len(end)]: np.asarray(v, kind) for k, v in parameters.items() if k.endswith(end)}
            hidden = weights["weight_ih"].shape[0] // len(LETTERS[cell])
            width = weights["weight_hh"].shape[1]
            row = layer * directions + direction
            activations = gate_activations(cell, options, direction)

            def initial(states, name, size):
                if states is not None and states[row] is not None:
                    return Bounded(np.asarray(states[row], kind))
                return Bounded(np.broadcast_to(weights[name], (batch, size)) if name in weights else np.zeros((batch, size), kind))

            h = initial(h0, "h_0", width)
            c = initial(c0, "c_0", hidden) if cell == "lstm" else None
            y = Bounded(np.zeros((steps, batch, width), kind), np.zeros((steps, batch, width)))
            y.error = y.error.copy()
            kept = {name: [None] * steps for name in ("h", "c", "gates")}
            backwards = direction == 1 or options["direction"] == "reverse"
            drop = None if recurrent_masks is None else recurrent_masks[layer, direction]
            for t in reversed(range(steps)) if backwards else range(steps):
                if nudge_cell is not None:
                    options["nudge_cell"] = nudge_cell[2] if nudge_cell[:2] == (row, t) else None
                # Padding is never read.
                next_h, next_c, gates = step(cell, options, weights, activations, read[t], h, c, drop, u)
                if nudge is not None and nudge[:2] == (row, t):
                    next_h = Bounded(next_h.value + nudge[2], next_h.error)
                h = choose(here[t], next_h, h)
                if c is not None:
                    c = choose(here[t], next_c, c)
                y.value[t][here[t]] = h.value[here[t]]
                y.error[t][here[t]] = h.error[here[t]]
                if record is not None:
                    gates = [choose(here[t], gate, Bounded(np.zeros_like(gate.value))) for gate in gates]
                    kept["h"][t], kept["c"][t] = h, c
                    kept["gates"][t] = Bounded(np.stack([g.value for g in gates], 1), np.stack([g.error for g in gates], 1))
            if record is not None and steps:
                for name in ("h", "gates") + (("c",) if cell == "lstm" else ()):
                    record[name + end] = stacked(kept[name])
            if options["zero_state_of_empty_rows"]:
                some = here.any(0)
                h = choose(some, h, Bounded(np.zeros_like(h.value)))
                c = c and choose(some, c, Bounded(np.zeros_like(c.value)))
            outputs.append(y)
            finals_h.append(h)
            finals_c.append(c)
        y = merged(options["merge"], outputs, u)
        layer_input = add(y, layer_input, u) if options["residual"] and layer else y

    def states(finals):
        if finals[0].value.shape == finals[-1].value.shape:
            return stacked(finals)
        return stacked(finals[::2]), stacked(finals[1::2])

    layer_input = pad(layer_input, here, options["padding"], options["padding_value"])
    # With a projection h of both directions has one size where c has two: both come as pairs then.
    if cell == "lstm" and finals_c[0].value.shape != finals_c[-1].value.shape:
        return layer_input, (stacked(finals_h[::2]), stacked(finals_h[1::2])), states(finals_c)
    return layer_input, states(finals_h), states(finals_c) if cell == "lstm" else None


def stacked(parts):
    return Bounded(np.stack([part.value for part in parts]), np.stack([part.error for part in parts]))


def roundoff(dtype):
    """u: half the distance from 1 to the next number."""
    return float(np.finfo(dtype).eps) / 2


def assert_within(actual, expected, scale=1.0, name=""):
    """`actual` lies within the bound of a `Bounded`, or of a pair of them; the reference itself makes float64's error."""
    if isinstance(expected, tuple):
        assert isinstance(actual, tuple) and len(actual) == len(expected), name
        for number, (part, wanted) in enumerate(zip(actual, expected)):
            assert_within(part, wanted, scale, f"{name} {number}")
        return
    assert np.shape(actual) == expected.value.shape, (name, np.shape(actual), expected.value.shape)
    difference = np.abs(np.asarray(actual, np.float64) - expected.value)
    bound = scale * np.asarray(expected.error) + 1e-15 * (1 + np.abs(expected.value))
    worst = np.max(difference / bound, initial=0.0)
    assert worst <= 1, f"{name}: {worst:.3g} times the bound, difference {difference.max():.3g}"
