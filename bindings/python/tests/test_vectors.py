"""Known answers in Tests/Vectors, so that a plain clone proves itself."""

import json

import numpy as np
import pytest

import librnn
from helpers import ROOT

VECTORS = sorted((ROOT / "Tests" / "Vectors").glob("*.npz"))
KINDS = {"rnn": librnn.RNN, "gru": librnn.GRU, "lstm": librnn.LSTM}


def test_there_are_vectors():
    assert len(VECTORS) == 25


@pytest.mark.parametrize("path", VECTORS, ids=[path.stem for path in VECTORS])
def test_outputs_and_gradients_are_the_known_answers(path):
    arrays = dict(np.load(path))
    about = json.loads(str(arrays["arguments"]))
    layer = KINDS[about["cell"]](**about["arguments"], dtype="float64")
    layer.load_state_dict({name[len("param.") :]: value for name, value in arrays.items() if name.startswith("param.")})
    is_lstm = about["cell"] == "lstm"
    hx = (arrays["h0"], arrays["c0"]) if is_lstm else arrays["h0"]
    y, state, tape = layer.forward_train(arrays["x"], hx, arrays.get("lengths"))
    g = layer.backward(tape, arrays["wy"], (arrays["wh"], arrays["wc"]) if is_lstm else arrays["wh"])
    actual = {"y": y, "grad.x": g.input, **{f"grad.{name}": value for name, value in g.parameters.items()}}
    actual["hn"], actual["grad.h0"] = (state[0], g.state[0]) if is_lstm else (state, g.state)
    if is_lstm:
        actual["cn"], actual["grad.c0"] = state[1], g.state[1]
    assert set(actual) == {name for name in arrays if name in ("y", "hn", "cn") or name.startswith("grad.")}
    for name, value in actual.items():
        # Sums of up to a hundred terms, each rounded at 1.1e-16 of its size.
        bound = 1e-13 * max(1, np.abs(arrays[name]).max())
        assert value.shape == arrays[name].shape
        assert np.abs(value - arrays[name]).max() <= bound, name
