"""Streams: bound arrays, state, reset. That their bits are those of a call is in test_same_bits.py."""

import gc

import numpy as np
import pytest

import librnn
from helpers import CELLS, DTYPES, assert_same_bits, leaves, make, mapped, random_state, randoms


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_the_bound_arrays_are_the_streams_own_memory(cell, dtype):
    layer = make(cell, 5, 7, 2, dtype=dtype)
    x = randoms(6, 1, 5, dtype=dtype)
    y, _ = layer(x)
    stream = layer.stream()
    source, result = stream.input, stream.output
    assert source.shape == (1, 5) and result.shape == (1, 7) and source.dtype == result.dtype == layer.dtype
    for t in range(6):
        source[:] = x[t]
        assert stream.step() is result
        assert_same_bits(result, y[t])
    assert stream.input is source and stream.output is result


def test_a_step_takes_a_row_with_or_without_the_batch_axis():
    layer = librnn.GRU(3, 4, seed=1)
    x = randoms(5, 1, 3)
    y, _ = layer(x)
    stream = layer.stream()
    assert_same_bits(stream.step(x[0]), y[0])
    assert_same_bits(stream.step(x[1, 0]), y[1, 0])
    assert_same_bits(stream.step(x[2, 0].astype(np.float64)), y[2, 0])
    assert_same_bits(stream.step(x[3, 0].tolist()), y[3, 0])
    result = stream.step(x[4])
    kept = result.copy()
    stream.step(x[4])
    assert_same_bits(result, kept)
    stream.reset()
    assert_same_bits(stream.process(x[:, 0]), y[:, 0])
    assert stream.process(np.zeros((0, 3))).shape == (0, 4)
    assert stream.process(np.zeros((0, 1, 3))).shape == (0, 1, 4)


def test_wrong_steps_are_refused_and_change_nothing():
    layer = librnn.LSTM(3, 4, seed=1)
    stream, wide = layer.stream(), layer.stream(batch=2)
    stream.step(np.ones(3))
    before = stream.state
    for wrong in (np.ones(4), np.ones((2, 3)), 1.0, np.ones((1, 1, 3)), np.ones(3, complex), ["a"] * 3):
        with pytest.raises(librnn.RNNError):
            stream.step(wrong)
    with pytest.raises(librnn.RNNError):
        wide.step(np.ones(3))
    with pytest.raises(librnn.RNNError):
        wide.process(np.ones((2, 3)))
    with pytest.raises(librnn.RNNError):
        stream.process(np.ones((2, 2, 3)))
    with pytest.raises(librnn.RNNError):
        stream.step(np.ones(3), tokens=1)
    for keywords in ({"batch": 0}, {"batch": -1}, {"batch": 1.5}, {"num_threads": -1}, {"num_threads": 1025}, {"weight_storage": "float16"}, {"weight_storage": []}):
        with pytest.raises(librnn.RNNError):
            layer.stream(**keywords)
    assert_same_bits(stream.state, before)
    assert layer.stream(batch=1, num_threads=1).step(np.ones(3)).shape == (4,)


@pytest.mark.parametrize("cell", CELLS)
def test_the_state_can_be_read_set_and_reset(cell):
    layer = make(cell, 3, 4, 2)
    x, hx = randoms(6, 3, 3), random_state(layer, 3)
    stream = layer.stream(batch=3)
    assert not any(leaf.any() for leaf in leaves(stream.state))
    stream.state = hx
    assert_same_bits(stream.state, hx)
    y = stream.process(x)
    assert_same_bits([y, stream.state], list(layer(x, hx)))
    kept = stream.state
    more = stream.process(x)
    stream.state = kept
    assert_same_bits(stream.process(x), more)
    stream.reset()
    assert_same_bits(stream.process(x), layer(x)[0])
    stream.state = None
    assert_same_bits(stream.process(x), layer(x)[0])
    with pytest.raises(librnn.RNNError):
        stream.state = random_state(layer, 2)
    one = layer.stream()
    one.state = mapped(lambda a: a[:, 0], hx)
    assert_same_bits(one.state, mapped(lambda a: a[:, :1].copy(), hx))


def test_a_stream_keeps_its_weights_until_reset():
    layer = librnn.GRU(3, 4, seed=1)
    x = randoms(5, 1, 3)
    old = layer(x)[0]
    stream = layer.stream()
    layer.load_state_dict({name: value * 2 for name, value in layer.state_dict().items()})
    assert_same_bits(stream.process(x), old)
    stream.reset()
    assert_same_bits(stream.process(x), layer(x)[0])
    assert (layer(x)[0] != old).any()


def test_a_stream_outlives_its_layer_and_the_bound_memory_its_stream():
    stream = librnn.GRU(3, 4, seed=1).stream()
    gc.collect()
    expected = librnn.GRU(3, 4, seed=1)(np.ones((1, 1, 3), np.float32))[0][0]
    assert_same_bits(stream.step(np.ones((1, 3))), expected)
    source, result = stream.input, stream.output
    del stream
    gc.collect()
    assert_same_bits(result, expected)
    source[:] = 2
    assert (source == 2).all()


def test_the_floating_point_mode_of_the_caller_is_as_before():
    tiny = np.array([1e-310])
    layer = librnn.GRU(3, 4, dtype="float64", seed=1)
    layer(np.ones((2, 1, 3)))
    layer.stream().step(np.ones(3))
    assert (tiny * 0.5)[0] != 0


@pytest.mark.parametrize("cell", CELLS)
def test_a_stream_on_two_threads_has_the_bits_of_one(cell):
    layer = make(cell, 256, 256, 2)
    one, two = layer.stream(), layer.stream(num_threads=2)
    for x in randoms(30, 256):
        assert_same_bits(two.step(x), one.step(x))
    assert_same_bits(two.state, one.state)


def bfloat16(value):
    """The nearest bfloat16, ties to even: of 24 bits of the significand 16 are rounded off."""
    bits = value.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_weights_are_the_nearest(cell):
    layer = make(cell, 40, 50)
    rounded = make(cell, 40, 50)
    rounded.load_state_dict(
        {name: bfloat16(value) if name.startswith("weight") else value for name, value in layer.state_dict().items()}
    )
    stream, expected = layer.stream(weight_storage="bfloat16"), rounded.stream()
    for x in randoms(5, 40):
        assert_same_bits(stream.step(x), expected.step(x))


def test_bfloat16_weights_are_refused_where_they_are_not_for():
    for model, keywords in (
        (librnn.LSTM(4, 5, seed=1), {"batch": 2}),
        (librnn.LSTM(4, 5, dtype="float64", seed=1), {}),
        (librnn.LSTM(4, 5, peepholes=True, seed=1), {}),
    ):
        with pytest.raises(librnn.RNNError, match="bfloat16"):
            model.stream(weight_storage="bfloat16", **keywords)
