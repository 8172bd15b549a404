"""Every option of recurrent layers, which go together, and layers that have any of them, for tests."""

import numpy as np

import librnn
import reference
from helpers import CELLS, like

T, N, I, H = 3, 3, 2, 2

LSTM = ("lstm",)
#: Activations that no cell has by itself; smooth or with kinks, of one number and of two.
ACTIVATIONS = {
    "rnn_tanh": {"h": ("scaled_tanh", 0.9, 1.3)},
    "rnn_relu": {"h": ("leaky_relu", 0.3)},
    "gru_before": {"r": ("hard_sigmoid", 0.2, 0.5), "z": "softsign", "n": ("elu", 0.7)},
    "gru_after": {"r": "tanh", "z": ("hard_sigmoid", 1 / 6, 0.5), "n": "softplus"},
    "lstm": {"i": ("hard_sigmoid", 0.3, 0.4), "g": "softsign", "o": ("affine", 0.4, 0.2), "h": ("thresholded_relu", 0.1)},
}
OTHERS = {
    "rnn_tanh": {"h": ("affine", 0.5, 0.1)},
    "rnn_relu": {"h": "sigmoid"},
    "gru_before": {"n": "relu"},
    "gru_after": {"z": ("affine", 0.3, 0.5)},
    "lstm": {"f": "softsign", "h": "softplus"},
}
#: name -> (cells, or all of them; keywords of the layer; keywords of a call).
OPTIONS = {
    "deep": (CELLS, {"num_layers": 2}, {}),
    "bidirectional": (CELLS, {"bidirectional": True}, {}),
    "reverse": (CELLS, {"direction": "reverse"}, {}),
    "sum": (CELLS, {"bidirectional": True, "merge": "sum"}, {}),
    "mean": (CELLS, {"bidirectional": True, "merge": "mean"}, {}),
    "product": (CELLS, {"bidirectional": True, "merge": "product"}, {}),
    "two sizes": (CELLS, {"bidirectional": True, "hidden_size_reverse": 3}, {}),
    "residual": (CELLS, {"num_layers": 2, "residual": True}, {}),
    "learned state": (CELLS, {"learn_initial_state": True}, {}),
    "dropout": (CELLS, {"num_layers": 2, "dropout": 0.4}, {}),
    "recurrent dropout": (CELLS, {"recurrent_dropout": 0.4}, {}),
    "gate clip": (CELLS, {"gate_clip": 0.4}, {}),
    "activations": (CELLS, {"activations": ACTIVATIONS}, {}),
    "activations of each direction": (CELLS, {"bidirectional": True, "activations": (ACTIVATIONS, OTHERS)}, {}),
    "one bias": (CELLS, {"bias": "single"}, {}),
    "two biases": (CELLS, {"bias": "double"}, {}),
    "no bias": (CELLS, {"bias": False}, {}),
    "batch first": (CELLS, {"batch_first": True}, {}),
    "lengths": (CELLS, {}, {"lengths": [3, 2, 0]}),
    "mask": (CELLS, {}, {"mask": [[0, 1, 0], [1, 0, 0], [1, 1, 1]]}),
    "repeated padding": (CELLS, {}, {"lengths": [3, 2, 0], "padding": "repeat"}),
    "projection": (LSTM, {"proj_size": 1}, {}),
    "peepholes": (LSTM, {"peepholes": True}, {}),
    "coupled gates": (LSTM, {"coupled_gates": True}, {}),
    "cell clip": (LSTM, {"cell_clip": 0.3}, {}),
    "gate clip of the output": (LSTM, {"gate_clip": 0.4, "gate_clip_output": True}, {}),
    "forget bias": (LSTM, {"runtime_forget_bias": 0.7}, {}),
}
#: Pairs that are refused, and what the message says. A pair of two values of one keyword is no pair of options.
REFUSED = {
    frozenset(["reverse", both]): "both directions already"
    for both in ("bidirectional", "sum", "mean", "product", "two sizes", "activations of each direction")
} | {frozenset(["two sizes", merge]): "needs directions of one size" for merge in ("sum", "mean", "product")}
#: Only of LSTM: an activation of a gate that coupled gates do not have.
REFUSED[frozenset(["coupled gates", "activations of each direction"])] = "no forget gate"


def _of_cell(value, cell):
    if value is ACTIVATIONS or value is OTHERS:
        return value[cell]
    return tuple(_of_cell(part, cell) for part in value) if isinstance(value, tuple) else value


def combined(cell, *names):
    """Keywords of the layer and of the call that have all these options; None if they do not mean anything together."""
    layer, call = {}, {}
    for name in names:
        cells, more, calls = OPTIONS[name]
        if cell not in cells:
            return None
        for target, given in ((layer, more), (call, calls)):
            for key, value in given.items():
                value = _of_cell(value, cell)
                if target.setdefault(key, value) != value:
                    return None
    return layer, call


def partners(cell, first):
    """The options after `first` that it makes an allowed pair with, and itself alone."""
    names = list(OPTIONS)
    yield (first,)
    for second in names[names.index(first) + 1 :]:
        if frozenset([first, second]) not in REFUSED and combined(cell, first, second) is not None:
            yield (first, second)


def make_layer(cell, keywords, *, size=I, hidden=H, dtype="float64", seed=5, scale=0.6):
    """A layer whose parameters are all random, also those that begin with zeros; float32 is float64 rounded."""
    kind, options = CELLS[cell]
    layer = kind(size, hidden, **{"seed": seed, **options, **keywords}, dtype=dtype)
    generator = np.random.default_rng(seed)
    layer.load_state_dict(
        {name: generator.standard_normal(value.shape) * scale for name, value in layer.state_dict().items()}
    )
    return layer


def zero_state(layer, rows):
    shape = (rows, 0, layer.input_size) if layer.batch_first else (0, rows, layer.input_size)
    return layer(np.zeros(shape, layer.dtype))[1]


def random_hx(layer, rows, seed=3, scale=0.5):
    return like(zero_state(layer, rows), seed, scale)


def inputs(layer, call, *, steps=T, rows=N, seed=2, nan=True):
    """x, laid out as the layer reads it, NaN at steps that a row does not have; and the call's keywords in that layout."""
    x = np.random.default_rng(seed).standard_normal((steps, rows, layer.input_size)).astype(layer.dtype)
    call = dict(call)
    here = active(call, steps, rows)
    if nan:
        x[~here] = np.nan
    if layer.batch_first:
        x = np.ascontiguousarray(x.transpose(1, 0, 2))
        if "mask" in call:
            call["mask"] = np.transpose(call["mask"])
    if "mask" in call:
        call["mask"] = np.asarray(call["mask"], np.uint8)
    return x, call


def active(call, steps, rows):
    """[T, N]: the steps that each row has; `call` with a time-major mask."""
    here = np.arange(steps)[:, None] < np.asarray(call.get("lengths", np.full(rows, steps)))
    return here & (np.asarray(call["mask"]) != 0) if "mask" in call else here


def time_major(layer, array):
    return array.transpose(1, 0, *range(2, array.ndim)) if layer.batch_first else array


def rows_of_state(layer, state):
    """The states of each layer and direction as lists for the reference: h and, for LSTM, c."""
    parts = state if layer.cell == "lstm" else (state,)
    lists = []
    for part in parts:
        if isinstance(part, tuple):
            lists.append([row for pair in zip(*part) for row in pair])
        else:
            lists.append(list(part))
    return lists + [None] * (2 - len(lists))


def expected(layer, x, hx, call, u=0.0, **more):
    """What the reference makes of a call: y time-major, h_n, c_n."""
    h0, c0 = (None, None) if hx is None else rows_of_state(layer, hx)
    names = [
        "nonlinearity", "variant", "direction", "merge", "residual", "gate_clip", "cell_clip", "gate_clip_output",
        "coupled_gates", "runtime_forget_bias", "activations",
    ]  # fmt: skip
    options = {name: getattr(layer, name) for name in names if hasattr(layer, name)}
    call = dict(call)
    if layer.batch_first and "mask" in call:
        call["mask"] = np.transpose(call["mask"])
    parameters = more.pop("parameters", layer.parameters)
    return reference.run(layer.cell, parameters, time_major(layer, x), h0, c0, u=u, **options, **call, **more)


def assert_as_expected(layer, y, state, wanted, name=""):
    h_n, c_n = state if layer.cell == "lstm" else (state, None)
    reference.assert_within(time_major(layer, y), wanted[0], name=f"{name} y")
    reference.assert_within(h_n, wanted[1], name=f"{name} h_n")
    if c_n is not None:
        reference.assert_within(c_n, wanted[2], name=f"{name} c_n")


def probe_masks(layer, step, steps=T, rows=N):
    """The factors of recurrent dropout {(layer, direction): [N, H]} and of dropout {1: [T, N, F]} of a training forward pass.

    They depend on seed and step, not on weights: a layer with linear gates shows them. Its candidate reads H alone, and then X.
    """
    kind = type(layer)
    linear = {
        "rnn": {"h": ("affine", 1, 0)},
        "gru": {"r": ("affine", 0, 1), "z": ("affine", 0, 0), "n": ("affine", 1, 0)},
        "lstm": {"i": ("affine", 0, 1), "f": ("affine", 0, 0), "g": ("affine", 1, 0), "o": ("affine", 0, 1), "h": ("affine", 1, 0)},
    }[layer.cell]
    names = ("bidirectional", "direction", "merge", "hidden_size_reverse", "recurrent_dropout", "dropout", "proj_size", "variant")
    keywords = {name: getattr(layer, name) for name in names if hasattr(layer, name)}
    probe = kind(
        layer.input_size, layer.hidden_size, layer.num_layers, **keywords, bias=False, activations=linear, dtype="float64",
        seed=layer._seed, init="zeros",
    )  # fmt: skip
    block = {"rnn": 0, "gru": 2, "lstm": 2}[layer.cell]

    def weights(of_h):
        state = probe.state_dict()
        for name, value in state.items():
            value[...] = 0
            gates = {"rnn": 1, "gru": 3, "lstm": 4}[layer.cell]
            if name.startswith("weight_hr"):
                value[...] = np.eye(*value.shape)
            elif name.startswith("weight_hh") and of_h:
                part = np.split(value, gates)[block]
                part[...] = np.eye(*part.shape)
            elif name.startswith("weight_ih") and not of_h:
                part = np.split(value, gates)[block]
                if "_l0" in name:
                    part[:, 0] = 1
                else:
                    # The two directions show the two ends of what the layer reads.
                    shift = part.shape[1] - part.shape[0] if name.endswith("_reverse") else 0
                    part[...] = np.eye(*part.shape, shift)
        probe.load_state_dict(state)

    ends = ["", "_reverse"][: 2 if layer.bidirectional else 1]
    recurrent = between = None
    if layer.recurrent_dropout:
        weights(True)
        ones = like(zero_state(probe, rows), 0, 0)
        for part in [ones] if not isinstance(ones, tuple) else ones:
            for array in part if isinstance(part, tuple) else [part]:
                array += 1
        _, _, tape = probe.forward_train(np.zeros((1, rows, layer.input_size)), ones, step=step)
        kept = tape.read()
        recurrent = {
            (number, direction): kept[f"h_l{number}{end}"][0]
            for number in range(layer.num_layers) for direction, end in enumerate(ends)
        }  # fmt: skip
    if layer.dropout and layer.num_layers > 1:
        assert layer.num_layers == 2
        weights(False)
        _, _, tape = probe.forward_train(np.ones((steps, rows, layer.input_size)), step=step)
        kept = tape.read()
        shown = [kept["h_l1" + end] for end in ends]
        width = probe.parameters["weight_ih_l1"].shape[1]
        together = np.concatenate(shown, 2) if width > shown[0].shape[2] else shown[0]
        # The layer below gives 1, or the sum of two.
        between = {1: together / (2 if layer.merge == "sum" else 1)}
    return recurrent, between


def random_names(cell, generator, without=()):
    """Some options that go together: a random order of all of them, each taken if it can join those before, up to four."""
    names = [name for name, (cells, _, _) in OPTIONS.items() if cell in cells and name not in without]
    taken = []
    for name in generator.permutation(names).tolist():
        refused = any(frozenset([name, other]) in REFUSED for other in taken)
        if not refused and combined(cell, *taken, name) is not None:
            taken.append(name)
        if len(taken) == 4:
            break
    return taken
