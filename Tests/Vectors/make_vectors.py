"""Makes the known answers of this folder: `python make_vectors.py` with PyTorch and NumPy installed.

Each .npz holds one layer in float64: `param.NAME` (PyTorch's names and shapes), `x`, `h0`, `c0`, `lengths` where they are not all
T, the weights `wy`, `wh`, `wc` of the loss sum(y*wy) + sum(hn*wh) + sum(cn*wc), and the answers `y`, `hn`, `cn`, `grad.x`,
`grad.h0`, `grad.c0`, `grad.NAME`. The arguments of the layer are the JSON text `arguments`.

torch_*: made by PyTorch, whose GRU is the reset-after one. numpy_*: the reset-before GRU, the textbook's, which PyTorch does
not have: made by the equations below, and its gradients by differentiating them with complex numbers, exact to rounding.
"""

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
CASES = {
    "layer": {"input_size": 3, "hidden_size": 5},
    "deep": {"input_size": 2, "hidden_size": 3, "num_layers": 3},
    "both_directions": {"input_size": 3, "hidden_size": 3, "num_layers": 2, "bidirectional": True},
    "lengths": {"input_size": 2, "hidden_size": 3, "num_layers": 2, "bidirectional": True, "lengths": [5, 2, 4, 1]},
    "no_bias": {"input_size": 3, "hidden_size": 4, "bias": False},
    "wide": {"input_size": 1, "hidden_size": 9},
}
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


def save(name, cell, arguments, arrays, source):
    text = json.dumps({"cell": cell, "arguments": arguments, "source": source})
    np.savez_compressed(HERE / f"{name}.npz", arguments=np.array(text), **arrays)
    print(f"{name}.npz", (HERE / f"{name}.npz").stat().st_size)


def main():
    for case, arguments in CASES.items():
        make_torch(f"torch_lstm_{case}", "lstm", arguments)
        make_torch(f"torch_gru_{case}", "gru", arguments)
        make_torch(f"torch_rnn_tanh_{case}", "rnn", arguments, "tanh")
        make_numpy(f"numpy_gru_{case}", arguments)
    make_torch("torch_rnn_relu_lengths", "rnn", CASES["lengths"], "relu")


if __name__ == "__main__":
    main()
