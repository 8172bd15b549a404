"""A model is shared by threads; each call has memory of its own."""

import gc
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import librnn
from helpers import CELLS, assert_same_bits, make, random_state, randoms


@pytest.mark.parametrize("cell", CELLS)
def test_threads_that_share_a_layer_get_the_results_of_one(cell):
    layer = make(cell, 16, 24, 2)
    cases = []
    for number in range(8):
        rows = 1 + number % 3
        x, hx = randoms(9, rows, 16, seed=number), random_state(layer, rows, seed=number)
        y, state, tape = layer.forward_train(x, hx)
        cases.append((x, hx, [y, state, layer.backward(tape, y).parameters]))

    def work(number):
        x, hx, expected = cases[number % len(cases)]
        y, state = layer(x, hx)
        trained, trained_state, tape = layer.forward_train(x, hx)
        assert_same_bits([y, state, layer.backward(tape, y).parameters], expected)
        assert_same_bits([trained, trained_state], expected[:2])
        stream = layer.stream(batch=x.shape[1])
        stream.state = hx
        assert_same_bits(stream.process(x), expected[0])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(64)))


def test_a_call_sees_the_weights_of_before_or_after_never_a_mixture():
    layer = librnn.RNN(4, 32, bias=False, nonlinearity="relu")
    states = [{name: np.full(value.shape, number / 64) for name, value in layer.state_dict().items()} for number in (1, 2)]
    x = np.ones((4, 1, 4), np.float32)
    allowed = []
    for state in states:
        layer.load_state_dict(state)
        allowed.append(layer(x)[0].tobytes())

    def write(number):
        for turn in range(200):
            layer.load_state_dict(states[turn % 2])

    def read(number):
        views = layer.parameters
        for _ in range(400):
            assert layer(x)[0].tobytes() in allowed
            values = layer.state_dict()
            assert len({float(value.flat[0]) for value in values.values()}) == 1
        assert views

    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(write, 0), pool.submit(read, 1), pool.submit(read, 2)]
        for task in tasks:
            task.result()


def test_cells_are_shared_too():
    cell = librnn.LSTMCell(8, 8, seed=1)
    x = randoms(3, 8)
    expected = cell(x)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: cell(x), range(100)):
            assert_same_bits(result, expected)


def test_memory_does_not_grow_with_calls():
    def resident():
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    if not os.path.exists("/proc/self/statm"):
        pytest.skip("no /proc here")
    layer = librnn.LSTM(32, 32, 2, seed=1)
    x = randoms(50, 4, 32)

    def use():
        y, _, tape = layer.forward_train(x)
        layer.backward(tape, y)
        layer(x)
        layer.stream(batch=2).step(x[0, :2])
        librnn.GRU(16, 16).close()
        with pytest.raises(librnn.RNNError):
            layer(x, None, [99] * 4)

    for _ in range(30):
        use()
    gc.collect()
    before = resident()
    for _ in range(200):
        use()
    gc.collect()
    # A tape here has about 300 kB: 200 of them forgotten would be 60 MB.
    assert resident() - before < 8 << 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_process_computes_the_same_bits():
    layer = librnn.GRU(16, 16, seed=1)
    x = randoms(5, 3, 16)
    expected = layer(x)[0].tobytes()
    child = os.fork()
    if child == 0:
        os._exit(0 if layer(x)[0].tobytes() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
