"""Makes the known answers of this folder: `python make_vectors.py [part of a name …]` with NumPy installed, and PyTorch for torch_*.

Each .npz holds one layer in float64: `param.NAME` (PyTorch's names and shapes), `x`, `h0`, `c0`, `lengths` where they are not all
T, the weights `wy`, `wh`, `wc` of the loss sum(y*wy) + sum(hn*wh) + sum(cn*wc), and the answers `y`, `hn`, `cn`, `grad.x`,
`grad.h0`, `grad.c0`, `grad.NAME`. The arguments of the layer are the JSON text `arguments`.

torch_*: made by PyTorch, whose GRU is the reset-after one. numpy_*: the reset-before GRU, the textbook's, which PyTorch does
not have: made by the equations below, and its gradients by differentiating them with complex numbers, exact to rounding.

options_*: the options that no framework has, or has together, in the same way from the equations of
bindings/python/tests/reference.py. States come apart, as `hx.0`, …, in the order of the layer's own; so do `weight.0`, …, of the
loss, `state.0`, … and `grad.hx.0`, …. Without `hx.0` the layer begins with what it learned. `call` in `arguments` is what a call of
the layer gets; `mask` is an array. Activations in JSON are [name, alpha, beta].
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bindings" / "python" / "tests"))
CASES = {
    "layer": {"input_size": 3, "hidden_size": 5},
    "deep": {"input_size": 2, "hidden_size": 3, "num_layers": 3},
    "both_directions": {"input_size": 3, "hidden_size": 3, "num_layers": 2, "bidirectional": True},
    "lengths": {"input_size": 2, "hidden_size": 3, "num_layers": 2, "bidirectional": True, "lengths": [5, 2, 4, 1]},
    "no_bias": {"input_size": 3, "hidden_size": 4, "bias": False},
    "wide": {"input_size": 1, "hidden_size": 9},
}
#: LSTM alone.
PROJECTIONS = {
    "projection": {"input_size": 3, "hidden_size": 5, "proj_size": 2},
    "projection_deep": {
        "input_size": 2, "hidden_size": 4, "proj_size": 3, "num_layers": 2, "bidirectional": True, "lengths": [5, 2, 4, 1],
    },
}  # fmt: skip
#: name -> cell, arguments of the layer, arguments of a call, whether hx is given.
OPTIONS = {
    "lstm_peepholes": ("lstm", {"peepholes": True, "cell_clip": 0.5, "num_layers": 2}, {"lengths": [5, 3, 0]}, True),
    "lstm_coupled": ("lstm", {"coupled_gates": True, "peepholes": True, "learn_initial_state": True, "proj_size": 2}, {}, False),
    "lstm_activations": (
        "lstm",
        {
            "activations": {"i": ["hard_sigmoid", 0.2, 0.5], "f": ["affine", 0.3, 0.5], "g": ["softsign"], "o": ["sigmoid"],
                            "h": ["elu", 0.8]},
            "gate_clip": 0.9, "gate_clip_output": True, "runtime_forget_bias": 1.0,
        },
        {"mask": [[0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0]], "padding": "repeat"}, True,
    ),
    "lstm_two_sizes": (
        "lstm", {"bidirectional": True, "hidden_size_reverse": 2, "num_layers": 2, "residual": True, "bias": "single"}, {}, True,
    ),
    "gru_before_merged": (
        "gru",
        {"variant": "reset_before", "bidirectional": True, "merge": "product", "num_layers": 2, "gate_clip": 0.8, "residual": True},
        {"lengths": [5, 4, 2]}, True,
    ),
    "gru_after_each_direction": (
        "gru",
        {"variant": "reset_after", "bidirectional": True, "merge": "mean", "learn_initial_state": True,
         "activations": [{"z": ["hard_sigmoid", 1 / 6, 0.5]}, {"n": ["scaled_tanh", 1.7, 0.6], "r": ["softplus"]}]},
        {"padding_value": -1.5, "lengths": [3, 0, 5]}, False,
    ),
    "rnn_reverse": (
        "rnn", {"direction": "reverse", "num_layers": 3, "residual": True, "activations": {"h": ["leaky_relu", 0.2]}},
        {"mask": [[1, 0, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0], [1, 0, 1]], "zero_state_of_empty_rows": True}, True,
    ),
}  # fmt: skip
STEPS = 5


def random_arrays(generator, arguments, lengths, cell):
    """x, states and the weights of the loss."""
    directions = 2 if arguments.get("bidirectional") else 1
    batch = len(lengths) if lengths else 3
    states = (arguments.get("num_layers", 1) * directions, batch, arguments["hidden_size"])
    arrays = {
        "x": generator.standard_normal((STEPS, batch, arguments["input_size"])),
        "h0": generator.standard_normal(states) * 0.5,
        "wy": generator.standard_normal((STEPS, batch, directions * arguments["hidden_size"])),
        "wh": generator.standard_normal(states),
    }
    if arguments.get("proj_size"):
        width = arguments["proj_size"]
        for name, shape in (("h0", states[:2] + (width,)), ("wh", states[:2] + (width,)), ("wy", (STEPS, batch, directions * width))):
            arrays[name] = generator.standard_normal(shape)
    if cell == "lstm":
        arrays["c0"], arrays["wc"] = generator.standard_normal(states), generator.standard_normal(states)
    return arrays


def make_torch(name, cell, arguments, nonlinearity=None):
    import torch

    torch.manual_seed(sum(name.encode()))
    arguments = dict(arguments)
    lengths = arguments.pop("lengths", None)
    if nonlinearity:
        arguments["nonlinearity"] = nonlinearity
    module = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell](**arguments).double()
    arrays = random_arrays(np.random.default_rng(sum(name.encode())), arguments, lengths, cell)
    if lengths:
        arrays["lengths"] = np.array(lengths)
    t = {key: torch.tensor(value, requires_grad=key in ("x", "h0", "c0")) for key, value in arrays.items()}
    hx = (t["h0"], t["c0"]) if cell == "lstm" else t["h0"]
    if lengths:
        packed = torch.nn.utils.rnn.pack_padded_sequence(t["x"], t["lengths"], enforce_sorted=False)
        y, state = module(packed, hx)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=STEPS)
    else:
        y, state = module(t["x"], hx)
    h_n, c_n = state if cell == "lstm" else (state, None)
    loss = (y * t["wy"]).sum() + (h_n * t["wh"]).sum() + (0 if c_n is None else (c_n * t["wc"]).sum())
    loss.backward()
    arrays.update(y=y.detach().numpy(), hn=h_n.detach().numpy())
    if c_n is not None:
        arrays.update(cn=c_n.detach().numpy())
    arrays.update({f"grad.{key}": t[key].grad.numpy() for key in ("x", "h0", "c0") if key in t})
    for key, value in module.named_parameters():
        arrays[f"param.{key}"] = value.detach().numpy()
        arrays[f"grad.{key}"] = value.grad.numpy()
    if cell == "gru":
        arguments["variant"] = "reset_after"
    save(name, cell, arguments, arrays, f"PyTorch {torch.__version__}")


def textbook_gru(p, x, h0, lengths, hidden, layers, directions):
    """The reset-before GRU, as docs/equations.md has it."""
    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    finals = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            end = f"_l{layer}" + ("_reverse" if direction else "")
            w_xr, w_xz, w_xh = (w.T for w in np.split(p["weight_ih" + end], 3))
            w_hr, w_hz, w_hh = (w.T for w in np.split(p["weight_hh" + end], 3))
            b_r, b_z, b_h = np.split(p.get("bias" + end, np.zeros(3 * hidden)), 3)
            h = h0[layer * directions + direction]
            y = np.zeros(x.shape[:2] + (hidden,), np.result_type(x, h0, *p.values()))
            for t in range(len(x)) if direction == 0 else reversed(range(len(x))):
                r = sigmoid(x[t] @ w_xr + h @ w_hr + b_r)
                z = sigmoid(x[t] @ w_xz + h @ w_hz + b_z)
                candidate = np.tanh(x[t] @ w_xh + (r * h) @ w_hh + b_h)
                here = (t < lengths)[:, None]
                h = np.where(here, z * h + (1 - z) * candidate, h)
                y[t] = np.where(here, h, 0)
            finals.append(h)
            outputs.append(y)
        x = np.concatenate(outputs, 2)
    return x, np.stack(finals)


def make_numpy(name, arguments):
    generator = np.random.default_rng(sum(name.encode()))
    arguments = dict(arguments)
    lengths = arguments.pop("lengths", None)
    arrays = random_arrays(generator, arguments, lengths, "gru")
    if lengths:
        arrays["lengths"] = np.array(lengths)
    hidden, layers = arguments["hidden_size"], arguments.get("num_layers", 1)
    directions = 2 if arguments.get("bidirectional") else 1
    parameters = {}
    for layer in range(layers):
        for end in [f"_l{layer}", f"_l{layer}_reverse"][:directions]:
            width = arguments["input_size"] if layer == 0 else directions * hidden
            shapes = {"weight_ih": (3 * hidden, width), "weight_hh": (3 * hidden, hidden), "bias": (3 * hidden,)}
            for key, shape in shapes.items():
                if key != "bias" or arguments.get("bias", True):
                    parameters[key + end] = generator.uniform(-1, 1, shape) / np.sqrt(hidden)
    limits = arrays.get("lengths", np.full(arrays["x"].shape[1], STEPS))

    def forward():
        return textbook_gru(parameters, arrays["x"], arrays["h0"], limits, hidden, layers, directions)

    def loss():
        y, h_n = forward()
        return (y * arrays["wy"]).sum() + (h_n * arrays["wh"]).sum()

    def derivative(owner, key):
        real = owner[key]
        result = np.zeros_like(real)
        for index in np.ndindex(real.shape):
            owner[key] = real.astype(complex)
            owner[key][index] += 1e-40j
            result[index] = loss().imag / 1e-40
        owner[key] = real
        return result

    gradients = {f"grad.{key}": derivative(arrays, key) for key in ("x", "h0")}
    gradients.update({f"grad.{key}": derivative(parameters, key) for key in list(parameters)})
    arrays["y"], arrays["hn"] = forward()
    arrays.update(gradients)
    arrays.update({f"param.{key}": value for key, value in parameters.items()})
    save(name, "gru", {**arguments, "variant": "reset_before"}, arrays, f"NumPy {np.__version__}, the equations of this script")


def shapes_of(cell, arguments):
    """Parameters and states of a layer: name -> shape, and the shapes of h (and c) of one row as the layer gives them."""
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    directions = 2 if arguments.get("bidirectional") else 1
    sizes = [arguments["hidden_size"], arguments.get("hidden_size_reverse") or arguments["hidden_size"]][:directions]
    widths = [arguments.get("proj_size") or size for size in sizes]
    bias = arguments.get("bias", "single" if arguments.get("variant") == "reset_before" else "double")
    shapes = {}
    width = arguments["input_size"]
    for layer in range(arguments.get("num_layers", 1)):
        for size, projected, end in zip(sizes, widths, [f"_l{layer}", f"_l{layer}_reverse"]):
            shapes["weight_ih" + end] = (gates * size, width)
            shapes["weight_hh" + end] = (gates * size, projected)
            for name in {"single": ["bias"], "double": ["bias_ih", "bias_hh"]}[bias]:
                shapes[name + end] = (gates * size,)
            if arguments.get("proj_size"):
                shapes["weight_hr" + end] = (projected, size)
            if arguments.get("peepholes"):
                shapes["weight_peephole" + end] = (3, size)
            if arguments.get("learn_initial_state"):
                shapes["h_0" + end] = (projected,)
                if cell == "lstm":
                    shapes["c_0" + end] = (size,)
        width = sum(widths) if arguments.get("merge", "concat") == "concat" else widths[0]
    layers, split = arguments.get("num_layers", 1), len(set(sizes)) > 1
    states = []
    for part in [widths, sizes] if cell == "lstm" else [widths]:
        states += [(layers, size) for size in part] if split else [(layers * directions, part[0])]
    return shapes, states, width, split


def make_options(name, cell, arguments, call, given):
    import reference

    generator = np.random.default_rng(sum(name.encode()))
    arguments, batch = {"input_size": 2, "hidden_size": 3, **arguments}, 3
    shapes, states, width, split = shapes_of(cell, arguments)
    parameters = {key: generator.standard_normal(shape) * 0.6 for key, shape in shapes.items()}
    arrays = {"x": generator.standard_normal((STEPS, batch, arguments["input_size"])), "wy": None}
    arrays["wy"] = generator.standard_normal((STEPS, batch, width))
    for number, (rows, size) in enumerate(states):
        arrays[f"weight.{number}"] = generator.standard_normal((rows, batch, size))
        if given:
            arrays[f"hx.{number}"] = generator.standard_normal((rows, batch, size)) * 0.5
    options = {key: value for key, value in arguments.items() if key in reference.DEFAULTS}

    def forward():
        hx = [arrays.get(f"hx.{number}") for number in range(len(states))]
        if split:
            hx = [None if pair[0] is None else [row for both in zip(*pair) for row in both] for pair in (hx[:2], hx[2:]) if pair]
        y, h, c = reference.run(cell, parameters, arrays["x"], *(hx + [None])[:2], **call, **options)
        parts = [part for state in (h, c) if state is not None for part in (state if isinstance(state, tuple) else (state,))]
        return y.value, [part.value for part in parts]

    def loss():
        y, state = forward()
        return (y * arrays["wy"]).sum() + sum((part * arrays[f"weight.{n}"]).sum() for n, part in enumerate(state))

    gradients = {}
    for owner, keys in ((arrays, [key for key in arrays if key == "x" or key.startswith("hx.")]), (parameters, list(parameters))):
        for key in keys:
            real = owner[key]
            gradients[f"grad.{key}"] = result = np.zeros_like(real)
            for index in np.ndindex(real.shape):
                owner[key] = real.astype(complex)
                owner[key][index] += 1e-40j
                result[index] = loss().imag / 1e-40
            owner[key] = real
    arrays["y"], final = forward()
    arrays.update({f"state.{number}": part for number, part in enumerate(final)})
    arrays.update(gradients)
    arrays.update({f"param.{key}": value for key, value in parameters.items()})
    call = dict(call)
    if "mask" in call:
        arrays["mask"] = np.array(call.pop("mask"), np.uint8)
    if "lengths" in call:
        arrays["lengths"] = np.array(call.pop("lengths"))
    save(f"options_{name}", cell, arguments, arrays, f"NumPy {np.__version__}, the equations of reference.py", call=call)


def save(name, cell, arguments, arrays, source, **more):
    text = json.dumps({"cell": cell, "arguments": arguments, "source": source, **more})
    np.savez_compressed(HERE / f"{name}.npz", arguments=np.array(text), **arrays)
    print(f"{name}.npz", (HERE / f"{name}.npz").stat().st_size)


def main():
    wanted = sys.argv[1:]

    def make(function, name, *arguments):
        if not wanted or any(part in name for part in wanted):
            function(name, *arguments)

    for case, arguments in CASES.items():
        make(make_torch, f"torch_lstm_{case}", "lstm", arguments)
        make(make_torch, f"torch_gru_{case}", "gru", arguments)
        make(make_torch, f"torch_rnn_tanh_{case}", "rnn", arguments, "tanh")
        make(make_numpy, f"numpy_gru_{case}", arguments)
    make(make_torch, "torch_rnn_relu_lengths", "rnn", CASES["lengths"], "relu")
    for case, arguments in PROJECTIONS.items():
        make(make_torch, f"torch_lstm_{case}", "lstm", arguments)
    for case, arguments in OPTIONS.items():
        make(make_options, case, *arguments)


if __name__ == "__main__":
    main()
