"""Layers, arrays and comparisons that the tests share."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import librnn

ROOT = Path(__file__).resolve().parents[3]
CONFORMANCE = ROOT.parent / "shared" / "conformance"

#: Every cell: a name for the test, the class, its own keywords.
CELLS = {
    "rnn_tanh": (librnn.RNN, {"nonlinearity": "tanh"}),
    "rnn_relu": (librnn.RNN, {"nonlinearity": "relu"}),
    "gru_before": (librnn.GRU, {"variant": "reset_before"}),
    "gru_after": (librnn.GRU, {"variant": "reset_after"}),
    "lstm": (librnn.LSTM, {}),
}
DTYPES = ("float32", "float64")


def make(cell, *sizes, **keywords):
    kind, options = CELLS[cell]
    return kind(*sizes, **{"seed": 1, **options, **keywords})


def randoms(*shape, seed=0, dtype="float32", scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def leaves(state):
    """The arrays of a state, however it is nested."""
    if state is None:
        return []
    if isinstance(state, np.ndarray):
        return [state]
    return list(itertools.chain.from_iterable(leaves(part) for part in (state.values() if isinstance(state, dict) else state)))


def random_state(model, batch, seed=0, scale=0.5):
    """A random state, structured as the model's."""
    shape = (batch, 0, model.input_size) if model.batch_first else (0, batch, model.input_size)
    _, zero = model(np.zeros(shape, model.dtype))
    return like(zero, seed, scale)


def like(state, seed=0, scale=1.0):
    """Random numbers in the structure of a state."""
    generator = np.random.default_rng(seed)
    return mapped(lambda a: (generator.standard_normal(a.shape) * scale).astype(a.dtype), state)


def mapped(function, state):
    """`function` of every array of a state."""
    if state is None:
        return None
    if isinstance(state, np.ndarray):
        return function(state)
    if isinstance(state, dict):
        return {key: mapped(function, value) for key, value in state.items()}
    return type(state)(mapped(function, part) for part in state)


def assert_same_bits(actual, expected, name=""):
    """The same shape, dtype and bits, in arrays or nested states; every NaN counts as the same number."""
    actual, expected = leaves(actual), leaves(expected)
    assert len(actual) == len(expected), name
    for a, b in zip(actual, expected):
        assert a.shape == b.shape and a.dtype == b.dtype, (name, a.shape, b.shape, a.dtype, b.dtype)
        integer = np.uint32 if a.dtype == np.float32 else np.uint64
        a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
        same = (a.view(integer) == b.view(integer)) | (np.isnan(a) & np.isnan(b))
        assert same.all(), f"{name}: {np.count_nonzero(~same)} of {a.size} differ, by up to {np.nanmax(np.abs(a - b))}"


def python(code, **environment):
    """Run Python in a process of its own, as this one finds librnn; its output."""
    path = os.pathsep.join([str(Path(librnn.__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)])
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, f"exit {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout
