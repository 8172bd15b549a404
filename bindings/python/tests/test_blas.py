"""OpenBLAS as the second backend, in a process of its own: the choice is the whole process's."""

import pytest

import librnn
from helpers import python

CODE = """
import numpy as np, librnn, reference
from helpers import leaves, make, mapped, random_state, randoms
assert librnn.blas() == "none"
try:
    name = librnn.blas("openblas")
except librnn.RNNError as error:
    assert error.status == "RNN_ERROR_UNSUPPORTED" and librnn.blas() == "none"
    print("skip", error.message)
    raise SystemExit
assert "openblas" in name.lower() and librnn.blas() == name, name
differences = 0
for cell in ("rnn_tanh", "gru_before", "gru_after", "lstm"):
    for dtype in ("float32", "float64"):
        layer = make(cell, 160, 192, dtype=dtype)
        x, hx = randoms(6, 64, 160, dtype=dtype), random_state(layer, 64)
        librnn.blas("openblas")
        y, state, tape = layer.forward_train(x, hx)
        g = layer.backward(tape, np.cos(y))
        librnn.blas("none")
        own, own_state, own_tape = layer.forward_train(x, hx)
        h = layer.backward(own_tape, np.cos(own))
        differences += np.count_nonzero(y != own)
        h0, c0 = hx if isinstance(hx, tuple) else (hx, None)
        options = {"variant": layer.variant} if "gru" in cell else {}
        expected = reference.run(layer.cell, layer.parameters, x, h0, c0, None, reference.roundoff(dtype), **options)
        reference.assert_within(y, expected[0], name=cell + " y")
        reference.assert_within((state[0] if c0 is not None else state), expected[1], name=cell + " h_n")
        # Gradients: sums of T*N = 384 terms, of values that went through 6 steps of sums of 160 + 192 terms. With rounding at
        # its worst, each backend is off by n u times the largest gradient, n = 384 + 6 * (160 + 192) < 2500; two, twice that.
        u = reference.roundoff(dtype)
        for name, value in list(g.parameters.items()) + [("input", g.input)]:
            other = h.parameters.get(name, h.input)
            bound = 2 * 2500 * u * np.abs(other).max()
            assert np.abs(value - other).max() <= bound, (cell, dtype, name, np.abs(value - other).max(), bound)
# Another order of sums: had no bit changed, OpenBLAS would not have been asked.
assert differences > 0
print("agrees", name)
"""


def test_openblas_agrees_with_the_own_kernels_and_the_equations():
    result = python(CODE).split(maxsplit=1)
    if result[0] == "skip":
        pytest.skip(f"no OpenBLAS: {result[1]}")
    assert result[0] == "agrees"


def test_a_backend_of_another_name_is_refused_and_nothing_changes():
    before = librnn.blas()
    with pytest.raises(librnn.RNNError) as caught:
        librnn.blas("abacus")
    assert caught.value.status == "RNN_ERROR_INVALID_ARGUMENT"
    assert librnn.blas() == before
    assert librnn.blas("none") == "none"
