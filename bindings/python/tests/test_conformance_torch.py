"""Known answers of PyTorch, in ../shared/conformance beside the checkout."""

import json

import numpy as np
import pytest

import librnn
from helpers import CONFORMANCE

FOLDER = CONFORMANCE / "torch" / "rnn"
CASES = sorted(path.name for path in FOLDER.iterdir()) if FOLDER.is_dir() else []
KINDS = {"torch.nn.RNN": librnn.RNN, "torch.nn.GRU": librnn.GRU, "torch.nn.LSTM": librnn.LSTM}


def test_there_are_cases():
    if not CASES:
        pytest.skip(f"{FOLDER} is not there: the PyTorch cases were not run")
    assert len(CASES) > 30


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_pytorchs(case, dtype):
    meta = json.loads((FOLDER / case / "meta.json").read_text())
    arrays = dict(np.load(FOLDER / case / "tensors.npz"))
    arguments = dict(meta["args"])
    kind = KINDS[meta["module"]]
    if kind is librnn.GRU:
        arguments["variant"] = "reset_after"
    layer = kind(**arguments, dtype=dtype)
    layer.load_state_dict({name[len("param.") :]: value for name, value in arrays.items() if name.startswith("param.")})

    hx = None
    if meta["initial_state"]:
        hx = (arrays["h0"], arrays["c0"]) if kind is librnn.LSTM else arrays["h0"]
    lengths = arrays.get("lengths")
    y, state = layer(arrays["x"], hx, lengths)
    trained, trained_state, tape = layer.forward_train(arrays["x"], hx, lengths)
    assert np.array_equal(trained, y)
    grad_state = (arrays["wh"], arrays["wc"]) if kind is librnn.LSTM else arrays["wh"]
    gradients = layer.backward(tape, arrays["wy"], grad_state)

    actual = {"y": y, "grad.x": gradients.input, **{f"grad.{name}": value for name, value in gradients.parameters.items()}}
    pairs = [("", state), ("grad.", gradients.state)]
    for prefix, part in pairs:
        h, c = part if kind is librnn.LSTM else (part, None)
        actual["hn" if not prefix else "grad.h0"] = h
        if c is not None:
            actual["cn" if not prefix else "grad.c0"] = c
    if lengths is not None:
        y_time_first = y.transpose(1, 0, 2) if layer.batch_first else y
        for row, length in enumerate(lengths):
            assert not y_time_first[length:, row].any()
    compared = 0
    for name, value in actual.items():
        if f"f64.{name}" not in arrays:
            # PyTorch made its own initial state, and so no gradient of it.
            assert name in ("grad.h0", "grad.c0") and not meta["initial_state"], name
            continue
        exact, single = arrays[f"f64.{name}"], arrays[f"f32.{name}"].astype(np.float64)
        assert value.shape == exact.shape, name
        size = np.abs(exact).max()
        if dtype == "float64":
            # Sums of a few hundred terms, each rounded at 1.1e-16 of its size.
            bound = 1e-13 * max(size, 1)
        else:
            # PyTorch's own float32 error on the same numbers is the measure; another order of sums may have a few times of it.
            bound = 8 * np.abs(single - exact).max() + 32 * 2.0**-24 * size
        assert np.abs(value - exact).max() <= bound, (name, np.abs(value - exact).max(), bound)
        compared += 1
    assert compared >= 5
