"""Known answers of ONNX's own node tests and of onnxruntime, from arrays, in ../shared/conformance beside the checkout.

The conventions are onnxruntime's (docs/semantics.md): clip limits f and g, not h; a row of length 0 ends with 0; each function of
`activations` takes the next of activation_alpha and activation_beta if it has that number.
"""

import json

import numpy as np
import pytest

import librnn
import reference
from helpers import CONFORMANCE

FOLDERS = [CONFORMANCE / "onnx_node", CONFORMANCE / "onnx_random"]
CASES = sorted(path for folder in FOLDERS if folder.is_dir() for path in folder.iterdir())
KINDS = {"RNN": librnn.RNN, "GRU": librnn.GRU, "LSTM": librnn.LSTM}
#: Rows of ONNX's stacked gates in the order of librnn's: z r h -> r z n; i o f c -> i f g o.
ORDERS = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 2, 3, 1]}
#: ONNX's name -> ours, and the defaults of alpha and beta.
ACTIVATIONS = {
    "sigmoid": ("sigmoid", {}), "tanh": ("tanh", {}), "relu": ("relu", {}), "softsign": ("softsign", {}),
    "softplus": ("softplus", {}), "leakyrelu": ("leaky_relu", {"alpha": 0.01}), "elu": ("elu", {"alpha": 1.0}),
    "thresholdedrelu": ("thresholded_relu", {"alpha": 1.0}), "hardsigmoid": ("hard_sigmoid", {"alpha": 0.2, "beta": 0.5}),
    "scaledtanh": ("scaled_tanh", {"alpha": 1.0, "beta": 1.0}), "affine": ("affine", {"alpha": 1.0, "beta": 0.0}),
}  # fmt: skip
#: Which of ONNX's functions f, g, h each gate has.
SLOTS = {"RNN": {"h": 0}, "GRU": {"r": 0, "z": 0, "n": 1}, "LSTM": {"i": 0, "f": 0, "o": 0, "g": 1, "h": 2}}


def test_there_are_cases():
    if not CASES:
        pytest.skip(f"{FOLDERS[0]} is not there: the ONNX cases were not run")
    assert len(CASES) > 80


def gate_activations(op, attributes, directions):
    """`activations` of a layer."""
    names = attributes.get("activations")
    if names is None:
        return None
    numbers = {"alpha": list(attributes.get("activation_alpha", [])), "beta": list(attributes.get("activation_beta", []))}
    functions = []
    for name in names:
        ours, defaults = ACTIVATIONS[name.lower()]
        given = {key: numbers[key].pop(0) if numbers[key] else default for key, default in defaults.items()}
        functions.append(librnn.Activation(ours, **given))
    count = len(functions) // directions
    sides = []
    for direction in range(directions):
        side = {letter: functions[direction * count + slot] for letter, slot in SLOTS[op].items()}
        if attributes.get("input_forget"):
            del side["f"]
        sides.append(side)
    return tuple(sides) if directions == 2 else sides[0]


def layer_of(op, attributes, arrays, dtype):
    hidden, size = arrays["R"].shape[2], arrays["W"].shape[2]
    direction = attributes.get("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    keywords = {"activations": gate_activations(op, attributes, directions), "gate_clip": attributes.get("clip", 0.0)}
    if op == "GRU":
        keywords["variant"] = "reset_after" if attributes.get("linear_before_reset") else "reset_before"
    if op == "LSTM":
        keywords.update(peepholes="P" in arrays, coupled_gates=bool(attributes.get("input_forget")))
    layer = KINDS[op](
        size, hidden, bias="double" if "B" in arrays else False, bidirectional=directions == 2, dtype=dtype,
        direction="reverse" if direction == "reverse" else "forward", **keywords,
    )  # fmt: skip

    def rows(stacked):
        parts = np.split(stacked, len(ORDERS[op]))
        return np.concatenate([parts[index] for index in ORDERS[op]])

    state = {}
    for number, end in enumerate(["_l0", "_l0_reverse"][:directions]):
        state["weight_ih" + end], state["weight_hh" + end] = rows(arrays["W"][number]), rows(arrays["R"][number])
        if "B" in arrays:
            state["bias_ih" + end], state["bias_hh" + end] = map(rows, np.split(arrays["B"][number], 2))
        if "P" in arrays:
            i, o, f = np.split(arrays["P"][number], 3)
            state["weight_peephole" + end] = np.stack([i, f, o])
    layer.load_state_dict(state)
    return layer


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=[f"{path.parent.name}-{path.name}" for path in CASES])
def test_outputs_are_those_of_onnx(case, dtype):
    meta = json.loads((case / "meta.json").read_text())
    stored = dict(np.load(case / "tensors.npz"))
    arrays = {name[len("in_") :]: value for name, value in stored.items() if name.startswith("in_") and value.size}
    op, attributes = meta["op"], meta["attributes"]
    layer = layer_of(op, attributes, arrays, dtype)
    batch_first = bool(attributes.get("layout"))

    def time_first(array):
        return np.swapaxes(array, 0, 1) if batch_first else array

    x = time_first(arrays["X"])
    directions, batch = arrays["R"].shape[0], x.shape[1]
    zeros = np.zeros((directions, batch, layer.hidden_size))
    initial = [time_first(arrays[name]) if name in arrays else zeros for name in ("initial_h", "initial_c")]
    hx = tuple(initial) if op == "LSTM" else initial[0]
    lengths = arrays.get("sequence_lens")
    y, state = layer(x, hx, lengths, zero_state_of_empty_rows=True)
    h_n, c_n = state if op == "LSTM" else (state, None)
    y = y.reshape(len(x), batch, directions, -1).transpose(0, 2, 1, 3)
    actual = {"Y": y, "Y_h": h_n, "Y_c": c_n}
    if batch_first:
        actual = {"Y": y.transpose(2, 0, 1, 3), "Y_h": time_first(h_n), "Y_c": c_n if c_n is None else time_first(c_n)}

    # The referee computed in float32, and how far that may be off its equations is derived; so may a float32 layer be.
    names = ("nonlinearity", "variant", "direction", "gate_clip", "coupled_gates", "activations")
    options = {name: getattr(layer, name) for name in names if hasattr(layer, name)}
    bounds = reference.run(
        layer.cell, {key: value.astype(np.float64) for key, value in layer.parameters.items()}, x.astype(np.float64),
        initial[0], initial[1] if op == "LSTM" else None, lengths, 2.0**-24, zero_state_of_empty_rows=True, **options,
    )  # fmt: skip
    errors = bounds[0].error.reshape(len(x), batch, directions, -1).transpose(0, 2, 1, 3)
    allowed = {"Y": errors, "Y_h": bounds[1].error, "Y_c": bounds[2].error if op == "LSTM" else None}
    if batch_first:
        allowed = {"Y": errors.transpose(2, 0, 1, 3)} | {k: time_first(v) for k, v in allowed.items() if k != "Y" and v is not None}
    compared = 0
    for name, value in actual.items():
        wanted = stored.get("out_" + name)
        if wanted is None or not wanted.size:
            continue
        assert value.shape == wanted.shape, (name, value.shape, wanted.shape)
        difference = np.abs(value - wanted.astype(np.float64))
        # What is derived grows with every step, as if all errors pointed one way: 2e-6 is ten times what was measured.
        bound = np.minimum((1 if dtype == "float64" else 2) * allowed[name], 2e-6 * np.maximum(np.abs(wanted), 1)) + 1e-30
        assert (difference <= bound).all(), (name, difference.max(), (difference / bound).max())
        compared += 1
    assert compared
