"""Known answers of Keras, from arrays in the order of get_weights(), in ../shared/conformance beside the checkout."""

import json

import numpy as np
import pytest

import librnn
import reference
from helpers import CONFORMANCE

FOLDER = CONFORMANCE / "keras"
CASES = sorted(path.name for path in FOLDER.iterdir()) if FOLDER.is_dir() else []
KINDS = {"SimpleRNN": librnn.RNN, "GRU": librnn.GRU, "LSTM": librnn.LSTM}
#: Columns of Keras' stacked gates in the order of librnn's: z r h -> r z n; LSTM i f c o is i f g o.
ORDERS = {"SimpleRNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 1, 2, 3]}
#: Keras 3's meaning of a name; hard_sigmoid of Keras 2 had another slope.
ACTIVATIONS = {
    "sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu", "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5), "softsign": "softsign",
    "softplus": "softplus", "elu": "elu", "linear": ("affine", 1.0, 0.0),
}  # fmt: skip


def test_there_are_cases():
    if not CASES:
        pytest.skip(f"{FOLDER} is not there: the Keras cases were not run")
    assert len(CASES) >= 12


def layer_of(kind, config, weights, dtype, **keywords):
    activation = ACTIVATIONS[config["activation"]]
    if kind == "SimpleRNN":
        activations = {"h": activation}
    else:
        gate = ACTIVATIONS[config["recurrent_activation"]]
        activations = dict.fromkeys("rz" if kind == "GRU" else "ifo", gate) | {"n" if kind == "GRU" else "g": activation}
        if kind == "LSTM":
            activations["h"] = activation
    after = kind == "GRU" and config["reset_after"]
    if kind == "GRU":
        keywords["variant"] = "reset_after" if after else "reset_before"
    bias = ("double" if after else "single") if config["use_bias"] else False
    layer = KINDS[kind](
        weights[0].shape[0], config["units"], bias=bias, activations=activations, batch_first=True, dtype=dtype, **keywords
    )

    def rows(columns):
        parts = np.split(columns, len(ORDERS[kind]), -1)
        return np.concatenate([parts[index] for index in ORDERS[kind]], -1).T

    state = {"weight_ih_l0": rows(weights[0]), "weight_hh_l0": rows(weights[1])}
    if after and config["use_bias"]:
        state["bias_ih_l0"], state["bias_hh_l0"] = rows(weights[2][0]), rows(weights[2][1])
    elif config["use_bias"]:
        state["bias_l0"] = rows(weights[2])
    layer.load_state_dict(state)
    return layer


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_outputs_are_those_of_keras(case, dtype):
    meta = json.loads((FOLDER / case / "meta.json").read_text())
    kind, config = meta["layer"], meta["config"]
    if kind not in KINDS:
        pytest.skip(f"{kind} is not one layer: librnn.keras reads it from a file")
    arrays = dict(np.load(FOLDER / case / "tensors.npz"))
    weights = [arrays[f"weight.{index}"] for index in range(sum(name.startswith("weight.") for name in arrays))]
    layer = layer_of(kind, config, weights, dtype)
    states = [arrays[name][None] for name in sorted(arrays) if name.startswith("initial_state.")]
    hx = None if not states else tuple(states) if kind == "LSTM" else states[0]
    x, mask = arrays["x"], arrays.get("mask")
    if config["go_backwards"]:
        # The whole row is turned around, padding too, and stays in the order of processing.
        x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
    call = {"padding": "value" if config.get("zero_output_for_mask") else "repeat"}
    if mask is not None:
        call["mask"] = np.asarray(mask) != 0
    y, state = layer(x, hx, **call)
    h_n, c_n = state if kind == "LSTM" else (state, None)
    if config["go_backwards"] and mask is None:
        # The same as a layer that reads backwards, whose output stays at its step.
        other, _ = layer_of(kind, config, weights, dtype, direction="reverse")(arrays["x"], hx)
        assert np.array_equal(other[:, ::-1], y)

    names = ("nonlinearity", "variant", "activations")
    options = {name: getattr(layer, name) for name in names if hasattr(layer, name)}
    flat = [None if hx is None else part.astype(np.float64) for part in (states + [None, None])[:2] if part is not None or hx is None]
    bounds = reference.run(
        layer.cell, {key: value.astype(np.float64) for key, value in layer.parameters.items()},
        x.transpose(1, 0, 2).astype(np.float64), flat[0], flat[1] if len(flat) > 1 else None, None, 2.0**-24,
        mask=None if mask is None else np.transpose(mask), padding=call["padding"], **options,
    )  # fmt: skip
    actual = [(y, bounds[0].error.transpose(1, 0, 2))] if config["return_sequences"] else [(h_n[0], bounds[1].error[0])]
    if config["return_state"]:
        actual.append((h_n[0], bounds[1].error[0]))
        if kind == "LSTM":
            actual.append((c_n[0], bounds[2].error[0]))
    wanted = [arrays[f"out.{index}"] for index in range(sum(name.startswith("out.") for name in arrays))]
    assert len(wanted) == len(actual)
    for index, (value, (given, error)) in enumerate(zip(wanted, actual)):
        assert given.shape == value.shape
        difference = np.abs(given - value.astype(np.float64))
        # Keras computed in float32, and how far that may be off the equations is derived; so may a float32 layer be.
        # What is derived grows with every step, as if all errors pointed one way: 2e-6 is ten times what was measured.
        bound = np.minimum((1 if dtype == "float64" else 2) * error, 2e-6 * np.maximum(np.abs(value), 1)) + 1e-30
        assert (difference <= bound).all(), (index, difference.max(), (difference / bound).max())
