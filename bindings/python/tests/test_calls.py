"""Calls cost little: what they ask of the library, and that the memory they keep between calls is nobody's result.

Times are measured by benchmarks/harness/overhead.py. Here calls into the library are counted, which no load of the machine changes.
"""

import threading

import numpy as np
import pytest

import librnn
from helpers import DTYPES, assert_same_bits, randoms
from librnn import _abi

SMALL, LARGE = (3, 2), (200, 3)


def small_network():
    b = librnn.NetworkBuilder()
    b.linear("out", b.sum("sum", [b.recurrent("gru", b.input("x", 4), librnn.GRU(4, 5)), b.linear("skip", "x", 5)]), 3)
    return b.build(seed=1)


MODELS = {
    "LSTM": lambda: librnn.LSTM(4, 5, 2, seed=1),
    "GRU": lambda: librnn.GRU(4, 5, bidirectional=True, seed=1),
    "RNN, directions of different size": lambda: librnn.RNN(4, 5, bidirectional=True, hidden_size_reverse=3, seed=1),
    "batch_first": lambda: librnn.LSTM(4, 5, batch_first=True, seed=1),
    "learned initial state": lambda: librnn.LSTM(4, 5, learn_initial_state=True, seed=1),
    "Sequential": lambda: librnn.Sequential([librnn.LSTM(4, 5, seed=1), librnn.GRU(5, 3, seed=2), librnn.Linear(3, 2, seed=3)]),
    "no state": lambda: librnn.Sequential([librnn.Linear(4, 2, seed=3)]),
    "Network": small_network,
}


@pytest.fixture
def through_ctypes(monkeypatch):
    """Models that are made or first called in this test have no extension module."""
    monkeypatch.setattr(librnn._extension, "native", None)


@pytest.fixture
def called(monkeypatch, through_ctypes):
    """The names of the library's functions that are called."""
    names = []

    def counting(name, function):
        def call(*arguments):
            names.append(name)
            return function(*arguments)

        return call

    for name in _abi.FUNCTIONS:
        monkeypatch.setattr(_abi, name, counting(name, getattr(_abi, name)))
    return names


def each_call(model, x, hx):
    """Calls of a model in its usual forms."""
    yield lambda: model(x)
    yield lambda: model.run(x, state=hx) if isinstance(model, librnn.Network) else model(x, hx)
    yield lambda: model(x, lengths=[1] * (x.shape[0] if model.batch_first else x.shape[1]))


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", MODELS)
def test_a_call_of_a_model_is_one_call_of_the_library(name, size, called):
    model = MODELS[name]()
    x = randoms(*size, 4)
    hx = model(x)[1]
    for call in each_call(model, x, hx):
        called.clear()
        call()
        assert called == ["rnn_network_run_arrays"]


@pytest.mark.parametrize("cell", [librnn.RNNCell, librnn.GRUCell, librnn.LSTMCell])
def test_a_step_of_a_cell_is_one_call_of_the_library(cell, called):
    cell = cell(4, 5, seed=1)
    called.clear()
    state = cell(randoms(2, 4))
    cell(randoms(2, 4), state)
    assert len(called) == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_and_large_calls_give_the_same_bits(dtype, monkeypatch, through_ctypes):
    model = librnn.Sequential([librnn.LSTM(4, 5, 2, seed=1), librnn.GRU(5, 3, seed=2)], dtype=dtype)
    x = randoms(*SMALL, 4, dtype=dtype)
    first = model(x)
    second = model(x, first[1])
    monkeypatch.setattr(librnn._network, "_SLOT_ELEMENTS", 0)
    other = librnn.Sequential([librnn.LSTM(4, 5, 2, seed=1), librnn.GRU(5, 3, seed=2)], dtype=dtype)
    assert_same_bits(first, other(x))
    assert_same_bits(second, other(x, first[1]))
    assert not other._plans[(*SMALL, True)].slots and model._plans[(*SMALL, True)].slots


@pytest.mark.parametrize("name", MODELS)
def test_results_are_the_callers_own(name):
    """A later call, and what the caller writes, change no result that was given before."""
    model = MODELS[name]()
    x = randoms(*SMALL, 4)
    y, state = model(x)
    kept_y, kept_state = np.copy(y), flat(state)
    other = model(randoms(*SMALL, 4, seed=7))
    np.testing.assert_array_equal(y, kept_y)
    np.testing.assert_array_equal(flat(state), kept_state)
    for array in [other[0], *arrays(other[1])]:
        assert array.flags.writeable
        array[...] = np.nan
    assert_same_bits(model(x)[0], kept_y)


def arrays(state):
    if isinstance(state, np.ndarray):
        return [state]
    return [array for part in (state.values() if isinstance(state, dict) else state) for array in arrays(part)]


def flat(state):
    return np.concatenate([np.zeros(0), *(array.reshape(-1) for array in arrays(state))])


def test_a_given_state_is_not_written_to():
    layer = librnn.LSTM(4, 5, seed=1)
    h, c = randoms(1, 2, 5), randoms(1, 2, 5, seed=2)
    kept = h.copy(), c.copy()
    for size in (SMALL, (300, 2)):
        layer(randoms(*size, 4), (h, c))
        assert_same_bits((h, c), kept)


def test_arrays_of_any_layout_and_read_only_ones_give_the_same_bits():
    layer = librnn.GRU(4, 5, seed=1)
    for size in (SMALL, LARGE):
        x = randoms(*size, 4)
        expected = layer(x)
        read_only = x.copy()
        read_only.flags.writeable = False
        shifted = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
        shifted[...] = x
        wide = np.repeat(x, 2, axis=-1)
        for same in (read_only, shifted, wide[..., ::2], np.asfortranarray(x), x.astype(np.float64), x.tolist()):
            assert_same_bits(layer(same), expected)


def test_threads_that_share_a_model_get_their_own_results():
    layer = librnn.LSTM(4, 5, seed=1)
    inputs = [randoms(*SMALL, 4, seed=seed) for seed in range(8)]
    expected = [layer(x) for x in inputs]
    wrong = []

    def work(index):
        for _ in range(300):
            y, (h, c) = layer(inputs[index])
            if not (np.array_equal(y, expected[index][0]) and np.array_equal(c, expected[index][1][1])):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_new_weights_and_a_closed_model_are_seen_by_the_next_call():
    layer, other = librnn.GRU(4, 5, seed=1), librnn.GRU(4, 5, seed=2)
    x = randoms(*SMALL, 4)
    layer(x)
    layer.load_state_dict(other.state_dict())
    assert_same_bits(layer(x), other(x))
    layer.close()
    with pytest.raises(librnn.RNNError, match="RNN_ERROR_INVALID_HANDLE"):
        layer(x)


def test_a_shape_that_came_before_does_not_let_another_one_pass():
    layer = librnn.GRU(4, 5, seed=1)
    layer(randoms(3, 2, 4))
    for wrong in ((3, 2, 5), (4,), (1, 3, 2, 4)):
        with pytest.raises(librnn.RNNError, match="x has shape"):
            layer(randoms(*wrong))
    with pytest.raises(librnn.RNNError, match=r"hx .* has shape \(1, 3, 5\), expected \(1, 2, 5\)"):
        layer(randoms(3, 2, 4), randoms(1, 3, 5))
