"""Layers on several threads: whoever computes which chunk, rows or panels of which layer, the bits are those of one thread."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import librnn
from helpers import CELLS, DTYPES, assert_same_bits, make, python, random_state, randoms

#: Layers, steps, rows: even and odd, below and above a chunk, and more layers or fewer than threads. A layer of 64 units on 3 rows
#: has a million multiply-adds (the least that a thread is given) in 11 steps of a vanilla cell.
SHAPES = [(2, 1, 3), (2, 101, 1), (2, 160, 3), (3, 97, 2), (5, 203, 1), (5, 64, 7)]


@pytest.fixture(autouse=True)
def _all_threads_afterwards():
    before = librnn.get_num_threads()
    yield
    librnn.set_num_threads(before)


def on_threads(count, call):
    librnn.set_num_threads(count)
    return call()


def assert_threads_change_nothing(call, name=""):
    expected = on_threads(1, call)
    for count in (2, 3, 7):
        for _ in range(3):
            assert_same_bits(on_threads(count, call), expected, f"{name}, {count} threads")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_any_number_of_threads_computes_the_same_layers(cell, dtype):
    for layers, steps, rows in SHAPES:
        model = make(cell, 48, 64, layers, dtype=dtype, seed=layers)
        x, hx = randoms(steps, rows, 48, seed=steps, dtype=dtype), random_state(model, rows, seed=rows)
        name = f"L {layers}, T {steps}, N {rows}"
        assert_threads_change_nothing(lambda: model(x, hx), name)
        lengths = np.random.default_rng(steps).integers(0, steps + 1, rows)
        assert_threads_change_nothing(lambda: model(x, hx, lengths), f"{name}, lengths {lengths}")


@pytest.mark.parametrize("size", [24, 33, 100, 200])
def test_sizes_that_vectors_do_not_divide(size):
    for cell in CELLS:
        model = make(cell, 7, size, 3)
        x = randoms(151, 2, 7)
        hx = random_state(model, 2)
        assert_threads_change_nothing(lambda: model(x, hx), f"{cell}, H {size}")


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("cell", CELLS)
def test_one_layer_is_shared_out(cell, direction):
    """X W_x + b ahead of the steps; panels; rows, also where they divide into tiles of no size."""
    for size, hidden, steps, rows in [(64, 64, 151, 1), (64, 72, 100, 2), (80, 136, 61, 3), (48, 72, 121, 9), (33, 40, 203, 14), (20, 96, 70, 20),
                                      (101, 50, 130, 33)]:  # fmt: skip
        way = {"bidirectional": True} if direction == "bidirectional" else {"direction": direction}
        model = make(cell, size, hidden, **way)
        x, hx = randoms(steps, rows, size), random_state(model, rows)
        assert_threads_change_nothing(lambda: model(x, hx), f"I {size}, H {hidden}, T {steps}, N {rows}")


def test_layers_with_options_go_side_by_side_too():
    x = randoms(120, 2, 40)
    for model in (
        librnn.LSTM(40, 96, 3, proj_size=24, seed=1),
        librnn.LSTM(40, 80, 3, peepholes=True, seed=1),
        librnn.GRU(40, 80, 4, residual=True, seed=1),
    ):
        assert_threads_change_nothing(lambda: model(x), str(model))


def test_layers_that_follow_each_other_in_a_sequential_go_side_by_side():
    model = librnn.Sequential(
        [
            librnn.Embedding(50, 64, seed=1),
            librnn.LSTM(64, 96, seed=2),
            librnn.Dropout(0.5),
            librnn.GRU(96, 64, 2, seed=3),
            librnn.RNN(64, 128, seed=4),
            librnn.Linear(128, 5, seed=5),
        ]
    )
    tokens = np.random.default_rng(0).integers(0, 50, (130, 2))
    lengths = np.array([130, 71])
    assert_threads_change_nothing(lambda: model(tokens))
    assert_threads_change_nothing(lambda: model(tokens, None, lengths))


def test_calls_that_find_the_threads_busy_compute_alone():
    model = make("lstm", 64, 96, 3)
    cases = [randoms(90 + number, 1 + number % 3, 64, seed=number) for number in range(6)]
    expected = [on_threads(1, lambda x=x: model(x)) for x in cases]
    librnn.set_num_threads(3)
    with ThreadPoolExecutor(4) as pool:
        for number, result in enumerate(pool.map(lambda i: model(cases[i % 6]), range(120))):
            assert_same_bits(result, expected[number % 6])


def test_a_forked_child_has_threads_of_its_own():
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    code = """
import os, zlib
import numpy as np, librnn
model = librnn.LSTM(64, 96, 3, seed=1)
x = np.random.default_rng(0).standard_normal((200, 1, 64)).astype("f")
librnn.set_num_threads(1)
expected = zlib.crc32(model(x)[0].tobytes())
librnn.set_num_threads(2)
assert zlib.crc32(model(x)[0].tobytes()) == expected
child = os.fork()
same = all(zlib.crc32(model(x)[0].tobytes()) == expected for _ in range(20))
if child == 0:
    os._exit(0 if same else 1)
assert same and os.waitpid(child, 0)[1] == 0
print("same")
"""
    assert python(code).strip() == "same"
