"""Layers compute the equations."""

import numpy as np
import pytest

import librnn
import reference
from helpers import CELLS, DTYPES, assert_same_bits, make, random_state, randoms

T, N, I, H = 6, 3, 5, 7


def compare(cell, layer, x, hx, lengths, name=""):
    y, state = layer(x, hx, lengths)
    h0, c0 = (hx if isinstance(hx, tuple) else (hx, None)) if hx is not None else (None, None)
    expected = reference.run(
        layer.cell, layer.parameters, x, h0, c0, lengths, reference.roundoff(layer.dtype), **CELLS[cell][1]
    )
    h_n, c_n = state if isinstance(state, tuple) else (state, None)
    reference.assert_within(y, expected[0], name=name + " y")
    reference.assert_within(h_n, expected[1], name=name + " h_n")
    if c_n is not None:
        reference.assert_within(c_n, expected[2], name=name + " c_n")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_a_layer_computes_the_equations(cell, layers, bidirectional, dtype):
    for bias in (True, "single", False):
        layer = make(cell, I, H, layers, bidirectional=bidirectional, dtype=dtype, bias=bias)
        x = randoms(T, N, I, seed=2, dtype=dtype)
        compare(cell, layer, x, random_state(layer, N, seed=3), None, f"bias {bias}")
        compare(cell, layer, x, None, [4, 6, 1], f"bias {bias}, lengths")
        compare(cell, layer, x, random_state(layer, N, seed=3), [0, 2, 5], f"bias {bias}, an empty row")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_sizes_beyond_every_tile_compute_the_equations(cell, dtype):
    for size, hidden, rows in [(1, 1, 1), (70, 33, 5), (3, 65, 17), (16, 16, 4), (129, 40, 2), (300, 270, 3), (520, 64, 40)]:
        layer = make(cell, size, hidden, dtype=dtype)
        x = randoms(3, rows, size, seed=4, dtype=dtype)
        compare(cell, layer, x, random_state(layer, rows), None, f"{size} {hidden} {rows}")


@pytest.mark.parametrize("cell", CELLS)
def test_batch_first_is_the_same_numbers_in_another_layout(cell):
    layer, other = make(cell, I, H, 2, bidirectional=True), make(cell, I, H, 2, bidirectional=True, batch_first=True)
    x, lengths = randoms(T, N, I), [6, 2, 3]
    y, state = layer(x, random_state(layer, N), lengths)
    z, other_state = other(np.ascontiguousarray(x.transpose(1, 0, 2)), random_state(layer, N), lengths)
    assert z.shape == (N, T, 2 * H)
    assert_same_bits(z.transpose(1, 0, 2), y)
    assert_same_bits(other_state, state)


@pytest.mark.parametrize("cell", CELLS)
def test_without_a_batch_every_array_loses_its_batch_axis(cell):
    layer = make(cell, I, H, 2, bidirectional=True)
    x = randoms(T, 1, I)
    hx = random_state(layer, 1)
    y, state = layer(x, hx)
    flat_hx = tuple(part[:, 0] for part in hx) if isinstance(hx, tuple) else hx[:, 0]
    z, flat_state = layer(x[:, 0], flat_hx)
    assert z.shape == (T, 2 * H)
    assert_same_bits(z, y[:, 0])
    assert_same_bits(flat_state, tuple(part[:, 0] for part in state) if isinstance(state, tuple) else state[:, 0])
    for shorter in (3, [3]):
        assert_same_bits(layer(x[:, 0], lengths=shorter)[0][:3], layer(x[:3, 0])[0])


def test_anything_that_becomes_an_array_is_taken():
    layer = librnn.GRU(2, 3, seed=1)
    x = [[[1, 2]], [[3, 4]]]
    expected = layer(np.array(x, np.float32))[0]
    assert_same_bits(layer(x)[0], expected)
    assert_same_bits(layer(np.array(x, np.float64))[0], expected)
    assert_same_bits(layer(np.array(x, ">f4"))[0], expected)
    assert_same_bits(layer(np.asfortranarray(np.array(x, np.float32)))[0], expected)
    wide = np.zeros((2, 1, 4), np.float32)
    wide[..., ::2] = x
    assert_same_bits(layer(wide[..., ::2])[0], expected)
    read_only = np.array(x, np.float32)
    read_only.flags.writeable = False
    assert_same_bits(layer(read_only)[0], expected)
    misaligned = np.frombuffer(b"\0" + np.array(x, np.float32).tobytes(), np.float32, offset=1).reshape(2, 1, 2)
    assert_same_bits(layer(misaligned)[0], expected)


def test_an_empty_chunk_gives_the_state_back():
    for cell in CELLS:
        layer = make(cell, 4, 5, 2)
        hx = random_state(layer, 3)
        y, state = layer(np.zeros((0, 3, 4), np.float32), hx)
        assert y.shape == (0, 3, 5)
        assert_same_bits(state, hx)
        y, state = layer(np.zeros((0, 4), np.float32))
        assert y.shape == (0, 5)


def test_no_state_is_zeros_with_the_same_bits():
    for cell in CELLS:
        layer = make(cell, 4, 5, 2, bidirectional=True)
        x = randoms(3, 2, 4)
        zeros = random_state(layer, 2, scale=0.0)
        assert_same_bits(layer(x), layer(x, zeros), cell)
    layer = make("lstm", 4, 5)
    h = random_state(layer, 2)[0]
    assert_same_bits(layer(x, (h, None)), layer(x, (h, np.zeros_like(h))))


def test_nan_passes_through_and_stays_in_its_row():
    layer = librnn.LSTM(4, 5, 2, seed=1)
    x = randoms(6, 3, 4)
    clean, _ = layer(x)
    x[2, 1, 0] = np.nan
    y, (h, c) = layer(x)
    assert np.isnan(y[2:, 1]).all() and np.isnan(h[:, 1]).all() and np.isnan(c[:, 1]).all()
    assert_same_bits(y[:, [0, 2]], clean[:, [0, 2]])
    assert_same_bits(y[:2], clean[:2])


def test_large_numbers_saturate():
    for cell in ("gru_before", "gru_after", "lstm", "rnn_tanh"):
        for dtype in DTYPES:
            layer = make(cell, 4, 5, dtype=dtype)
            y, _ = layer(randoms(3, 2, 4, dtype=dtype, scale=1e6))
            assert np.isfinite(y).all() and (abs(y) <= 1).all()


def test_the_seed_makes_the_weights_and_float32_is_float64_rounded():
    for cell in CELLS:
        for init in ("pytorch", "normal", "orthogonal"):
            a, b = make(cell, 4, 5, 2, init=init, seed=7), make(cell, 4, 5, 2, init=init, seed=7)
            double = make(cell, 4, 5, 2, init=init, seed=7, dtype="float64")
            for name, value in a.state_dict().items():
                assert_same_bits(value, b.state_dict()[name])
                assert_same_bits(value, double.state_dict()[name].astype(np.float32))
            other = make(cell, 4, 5, 2, init=init, seed=8)
            assert (other.parameters["weight_hh_l1"] != a.parameters["weight_hh_l1"]).any()
    fresh = [librnn.GRU(4, 5).state_dict()["weight_hh_l0"] for _ in range(2)]
    assert (fresh[0] != fresh[1]).any()


def test_initial_weights_are_those_of_their_homes():
    layer = librnn.LSTM(20, 64, seed=1)
    for value in layer.parameters.values():
        assert abs(value).max() <= 1 / 8 and abs(value).max() > 0.12 and abs(value.mean()) < 0.01
    layer = librnn.GRU(200, 100, seed=1, init="normal")
    assert abs(layer.parameters["weight_ih_l0"].std() - 0.01) < 0.001
    assert not layer.parameters["bias_l0"].any()
    layer = librnn.GRU(20, 30, seed=1, init="orthogonal", dtype="float64")
    for gate in np.split(layer.parameters["weight_hh_l0"], 3):
        np.testing.assert_allclose(gate @ gate.T, np.eye(30), atol=1e-12)
    layer = librnn.LSTM(20, 30, seed=1, init="orthogonal", forget_bias=1.0)
    assert (np.split(layer.parameters["bias_ih_l0"], 4)[1] == 1).all()
    assert not layer.parameters["bias_hh_l0"].any()
    assert not any(value.any() for value in librnn.RNN(2, 3, init="zeros").parameters.values())
