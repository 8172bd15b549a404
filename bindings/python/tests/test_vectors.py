"""Known answers in Tests/Vectors, so that a plain clone proves itself."""

import itertools
import json

import numpy as np
import pytest

import librnn
from helpers import ROOT, leaves, mapped

VECTORS = sorted((ROOT / "Tests" / "Vectors").glob("*.npz"))
OPTIONS = [path for path in VECTORS if path.stem.startswith("options_")]
PLAIN = [path for path in VECTORS if path not in OPTIONS]
KINDS = {"rnn": librnn.RNN, "gru": librnn.GRU, "lstm": librnn.LSTM}


def test_there_are_vectors():
    assert len(VECTORS) == 34


def close(value, wanted, name):
    # Sums of up to a hundred terms, each rounded at 1.1e-16 of its size.
    bound = 1e-13 * max(1, np.abs(wanted).max())
    assert value.shape == wanted.shape, name
    assert np.abs(value - wanted).max() <= bound, name


@pytest.mark.parametrize("path", OPTIONS, ids=[path.stem for path in OPTIONS])
def test_layers_with_options_give_the_known_answers(path):
    arrays = dict(np.load(path))
    about = json.loads(str(arrays["arguments"]))
    arguments = about["arguments"]
    layer = KINDS[about["cell"]](**arguments, dtype="float64")
    layer.load_state_dict({name[len("param.") :]: value for name, value in arrays.items() if name.startswith("param.")})
    call = {**about["call"], **{name: arrays[name] for name in ("mask", "lengths") if name in arrays}}
    x = arrays["x"]
    structure = layer(x[:0])[1]

    def nested(prefix):
        numbers = itertools.count()
        return mapped(lambda _: arrays[f"{prefix}.{next(numbers)}"], structure)

    hx = nested("hx") if "hx.0" in arrays else None
    y, state, tape = layer.forward_train(x, hx, **call)
    g = layer.backward(tape, arrays["wy"], nested("weight"))
    close(y, arrays["y"], "y")
    close(g.input, arrays["grad.x"], "grad.x")
    for number, (part, gradient) in enumerate(zip(leaves(state), leaves(g.state))):
        close(part, arrays[f"state.{number}"], f"state {number}")
        if hx is not None:
            close(gradient, arrays[f"grad.hx.{number}"], f"grad.hx {number}")
    for name, value in g.parameters.items():
        close(value, arrays[f"grad.{name}"], name)


@pytest.mark.parametrize("path", PLAIN, ids=[path.stem for path in PLAIN])
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
        close(value, arrays[name], name)
