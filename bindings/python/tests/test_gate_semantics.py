"""What each gate does, in exact bits, through biases that saturate it.

σ of ±1e4 is exactly 1 or 0, in both precisions and with every kernel.
"""

import numpy as np
import pytest

import librnn
from helpers import DTYPES, assert_same_bits, randoms

OPEN, SHUT = 1e4, -1e4
VARIANTS = ("reset_before", "reset_after")
I, H, N = 5, 6, 3


def gru(variant, dtype, **biases):
    """Random weights; the biases of the named gates saturate them."""
    layer = librnn.GRU(I, H, variant=variant, bias="single", dtype=dtype, seed=3)
    state = layer.state_dict()
    for gate, bias in biases.items():
        np.split(state["bias_l0"], 3)["rzn".index(gate)][:] = bias
    layer.load_state_dict(state)
    return layer


def lstm(dtype, **biases):
    layer = librnn.LSTM(I, H, bias="single", dtype=dtype, seed=3)
    state = layer.state_dict()
    for gate, bias in biases.items():
        np.split(state["bias_l0"], 4)["ifgo".index(gate)][:] = bias
    layer.load_state_dict(state)
    return layer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_update_gate_of_one_keeps_the_state_for_a_thousand_steps(variant, dtype):
    layer = gru(variant, dtype, z=OPEN)
    h = randoms(1, N, H, seed=1, dtype=dtype)
    y, h_n = layer(randoms(1000, N, I, dtype=dtype), h)
    assert_same_bits(h_n, h)
    assert_same_bits(y, np.broadcast_to(h, y.shape))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_update_gate_of_zero_takes_the_candidate_alone(variant, dtype):
    layer = gru(variant, dtype, z=SHUT, r=SHUT)
    x = randoms(4, N, I, dtype=dtype)
    y, _ = layer(x, randoms(1, N, H, dtype=dtype))
    weights = layer.state_dict()
    candidate = librnn.RNN(I, H, bias="single", dtype=dtype)
    candidate.load_state_dict(
        {
            "weight_ih_l0": weights["weight_ih_l0"][2 * H :],
            "weight_hh_l0": np.zeros((H, H)),
            "bias_l0": weights["bias_l0"][2 * H :],
        }
    )
    expected = candidate(x)[0]
    # The same function; the order of its sum is the vanilla cell's own.
    np.testing.assert_allclose(y, expected, rtol=0, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_reset_gate_of_zero_makes_the_candidate_forget_the_state(variant, dtype):
    # Z = 0, so that H is the candidate: it may not depend on the state before.
    layer = gru(variant, dtype, r=SHUT, z=SHUT)
    x = randoms(1, N, I, dtype=dtype)
    results = [layer(x, randoms(1, N, H, seed=seed, dtype=dtype))[1] for seed in range(3)] + [layer(x)[1]]
    for other in results[1:]:
        assert_same_bits(other, results[0])
    # And with the gate open it does.
    layer = gru(variant, dtype, r=OPEN, z=SHUT)
    assert (layer(x, randoms(1, N, H, seed=1, dtype=dtype))[1] != layer(x)[1]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_with_an_open_reset_gate_both_variants_are_one_function(dtype):
    x, h = randoms(5, N, I, dtype=dtype), randoms(1, N, H, dtype=dtype)
    before, after = (gru(variant, dtype, r=OPEN)(x, h)[0] for variant in VARIANTS)
    np.testing.assert_allclose(before, after, rtol=0, atol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_lstm_that_remembers_all_and_takes_nothing_keeps_its_cell(dtype):
    layer = lstm(dtype, f=OPEN, i=SHUT)
    h, c = randoms(1, N, H, seed=1, dtype=dtype), randoms(1, N, H, seed=2, dtype=dtype)
    _, (_, c_n) = layer(randoms(1000, N, I, dtype=dtype), (h, c))
    assert_same_bits(c_n, c)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_forget_gate_of_zero_forgets_the_cell(dtype):
    layer = lstm(dtype, f=SHUT)
    x, h = randoms(1, N, I, dtype=dtype), randoms(1, N, H, dtype=dtype)
    results = [layer(x, (h, randoms(1, N, H, seed=seed, dtype=dtype))) for seed in range(3)]
    for other in results[1:]:
        assert_same_bits(other, results[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_input_gate_of_zero_takes_nothing_in(dtype):
    layer = lstm(dtype, i=SHUT, f=SHUT)
    y, (h, c) = layer(randoms(3, N, I, dtype=dtype), (randoms(1, N, H, dtype=dtype), randoms(1, N, H, dtype=dtype)))
    assert not c.any() and not y.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_output_gate_of_zero_hides_a_cell_that_moves_on(dtype):
    layer = lstm(dtype, o=SHUT)
    x = randoms(4, N, I, dtype=dtype)
    y, (h, c) = layer(x)
    assert not y.any() and not h.any()
    assert (c != layer(x[:3])[1][1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_variants_differ_in_what_the_reset_gate_scales(dtype):
    """With R = 1/2, W = 0 and b_hh = 1 the candidate is tanh(R ⊙ b_hh) after the product and tanh(b_hh) before it."""
    zeros = np.zeros((3, 1))
    state = {"weight_ih_l0": zeros, "weight_hh_l0": zeros, "bias_ih_l0": [0, SHUT, 0], "bias_hh_l0": [0, 0, 1]}
    layer = librnn.GRU(1, 1, variant="reset_after", dtype=dtype)
    layer.load_state_dict(state)
    _, h = layer(np.zeros((1, 1, 1), dtype))
    np.testing.assert_allclose(h, np.tanh(0.5), rtol=4 * np.finfo(dtype).eps)
    double = librnn.GRU(1, 1, variant="reset_before", bias="double", dtype=dtype)
    double.load_state_dict(state)
    _, h = double(np.zeros((1, 1, 1), dtype))
    np.testing.assert_allclose(h, np.tanh(1.0), rtol=4 * np.finfo(dtype).eps)
