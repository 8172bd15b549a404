"""The contract: however a sequence is cut, batched, padded or trained, the bits are the same."""

import numpy as np
import pytest

import librnn
from helpers import CELLS, DTYPES, assert_same_bits, make, mapped, python, random_state, randoms


def random_shapes(count, seed):
    """Sizes I, H, rows N and steps T around and away from every vector width."""
    generator = np.random.default_rng(seed)
    return [tuple(int(generator.integers(low, high)) for low, high in ((1, 71), (1, 71), (1, 18), (2, 9))) for _ in range(count)]


SHAPES = [(1, 1, 1, 2), (1, 16, 1, 5), (64, 64, 2, 3), (17, 3, 33, 4), (65, 65, 1, 3)] + random_shapes(12, seed=20)


def row(state, n):
    return mapped(lambda a: a[:, n : n + 1].copy(), state)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_one_call_steps_chunks_streams_rows_and_training_agree(cell, dtype):
    for number, (size, hidden, rows, steps) in enumerate(SHAPES):
        generator = np.random.default_rng(number)
        layer = make(cell, size, hidden, 1 + number % 2, dtype=dtype, seed=number)
        name = f"I {size}, H {hidden}, N {rows}, T {steps}"
        x, hx = randoms(steps, rows, size, seed=number, dtype=dtype), random_state(layer, rows, seed=number)
        y, final = layer(x, hx)

        state, parts = hx, []
        for t in range(steps):
            part, state = layer(x[t : t + 1], state)
            parts.append(part)
        assert_same_bits([np.concatenate(parts), state], [y, final], name + ", steps")

        cut = int(generator.integers(1, steps))
        first, state = layer(x[:cut], hx)
        second, state = layer(x[cut:], state)
        assert_same_bits([np.concatenate([first, second]), state], [y, final], name + ", chunks")

        stream = layer.stream(batch=rows)
        stream.state = hx
        assert_same_bits(np.stack([stream.step(x[t]) for t in range(steps)]), y, name + ", stream")
        assert_same_bits(stream.state, final, name + ", state of the stream")
        stream.state = hx
        assert_same_bits(np.concatenate([stream.process(x[:cut]), stream.process(x[cut:])]), y, name + ", process")
        assert_same_bits(stream.state, final, name + ", state after process")

        n = int(generator.integers(rows))
        alone, alone_final = layer(x[:, n : n + 1], row(hx, n))
        assert_same_bits([alone, alone_final], [y[:, n : n + 1], row(final, n)], name + ", a row alone")
        turned = layer(x[:, ::-1], mapped(lambda a: a[:, ::-1].copy(), hx))
        assert_same_bits(turned[0], y[:, ::-1], name + ", rows in another order")

        trained, trained_final, tape = layer.forward_train(x, hx)
        assert_same_bits([trained, trained_final], [y, final], name + ", training")
        tape.close()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_a_long_sequence_of_one_row_is_its_steps(cell, dtype):
    """X W_x of later steps is computed beside earlier ones, where a layer's weights exceed the first-level cache."""
    for size, hidden, steps in [(40, 150, 37), (131, 130, 36), (33, 97, 60), (200, 200, 61), (1, 160, 48), (150, 144, 97)]:
        layer = make(cell, size, hidden, 2, dtype=dtype, seed=hidden)
        name = f"I {size}, H {hidden}, T {steps}"
        x, hx = randoms(steps, 1, size, seed=steps, dtype=dtype), random_state(layer, 1, seed=steps)
        y, final = layer(x, hx)
        stream = layer.stream()
        stream.state = hx
        assert_same_bits(np.stack([stream.step(x[t]) for t in range(steps)]), y, name)
        assert_same_bits(stream.state, final, name + ", state")
        both = make(cell, size, hidden, dtype=dtype, seed=hidden, bidirectional=True)
        z = both(x)[0]
        two = both(np.concatenate([x, x[::-1]], axis=1))[0]
        assert_same_bits(z, two[:, :1], name + ", both directions")
        assert_same_bits(both(x[::-1])[0], two[:, 1:], name + ", the other way round")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_padded_with_lengths_is_each_row_alone(cell, bidirectional, dtype):
    for number, (size, hidden, rows, steps) in enumerate(SHAPES):
        lengths = np.random.default_rng(number).integers(0, steps + 1, rows)
        layer = make(cell, size, hidden, 1 + number % 2, bidirectional=bidirectional, dtype=dtype, seed=number)
        x, hx = randoms(steps, rows, size, seed=number, dtype=dtype), random_state(layer, rows, seed=number)
        for n, length in enumerate(lengths):
            x[length:, n] = np.nan
        results = [layer(x, hx, lengths), layer.forward_train(x, hx, lengths)[:2]]
        for y, final in results:
            for n, length in enumerate(lengths):
                alone, alone_final = layer(x[:length, n : n + 1], row(hx, n))
                assert_same_bits(y[:length, n : n + 1], alone, f"{SHAPES[number]} {lengths}")
                assert not y[length:, n].any()
                assert_same_bits(row(final, n), alone_final)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_is_one_step_of_its_layer(cell, dtype):
    kinds = {"rnn": librnn.RNNCell, "gru": librnn.GRUCell, "lstm": librnn.LSTMCell}
    for number, (size, hidden, rows, _) in enumerate(SHAPES):
        for bias in (True, "single", False):
            layer = make(cell, size, hidden, dtype=dtype, bias=bias, seed=number)
            one = kinds[layer.cell](size, hidden, dtype=dtype, bias=bias, **CELLS[cell][1])
            one.load_state_dict({name[: -len("_l0")]: value for name, value in layer.state_dict().items()})
            x, hx = randoms(1, rows, size, seed=number, dtype=dtype), random_state(layer, rows, seed=number)
            _, expected = layer(x, hx)
            squeezed = mapped(lambda a: a[0], hx)
            expected = mapped(lambda a: a[0], expected)
            assert_same_bits(one(x[0], squeezed), expected, f"{size} {hidden} {rows} {bias}")
            assert_same_bits(one.forward_train(x[0], squeezed)[0], expected)
            assert_same_bits(one(x[0]), mapped(lambda a: a[0], layer(x)[1]))


def test_a_mixed_stack_keeps_the_contract():
    for dtype in DTYPES:
        kinds = [librnn.LSTM, librnn.GRU, librnn.Linear, librnn.RNN, librnn.Linear, librnn.Linear, librnn.Linear]
        widths = [7, 19, 33, 18, 5, 1, 40, 3]
        model = librnn.Sequential(
            [kind(a, b, dtype=dtype, seed=a) for kind, a, b in zip(kinds, widths, widths[1:])],
        )
        x, hx = randoms(9, 6, 7, dtype=dtype), random_state(model, 6)
        y, final = model(x, hx)
        stream = model.stream(batch=6)
        stream.state = hx
        assert_same_bits(np.stack([stream.step(x[t]) for t in range(9)]), y)
        assert_same_bits(stream.state, final)
        first, state = model(x[:4], hx)
        second, state = model(x[4:], state)
        assert_same_bits([np.concatenate([first, second]), state], [y, final])
        for n in range(6):
            alone = model(x[:, n : n + 1], [mapped(lambda a, n=n: a[:, n : n + 1].copy(), part) for part in hx])
            assert_same_bits(alone[0], y[:, n : n + 1])
        assert_same_bits(model.forward_train(x, hx)[0], y)
        lengths = [9, 0, 3, 8, 1, 5]
        padded, _ = model(x, hx, lengths)
        for n, length in enumerate(lengths):
            assert_same_bits(padded[:length, n], y[:length, n])


def test_gradients_are_the_same_bits_at_each_call_and_from_any_tape():
    for cell in CELLS:
        layer = make(cell, 19, 21, 2, bidirectional=True)
        x = randoms(7, 5, 19)
        results = []
        for _ in range(2):
            y, state, tape = layer.forward_train(x, None, [7, 1, 3, 0, 5])
            for _ in range(2):
                g = layer.backward(tape, np.cos(y), mapped(np.sin, state), gradient_flow=True)
                results.append([g.input, g.state, g.parameters, g.flow.hidden])
        for other in results[1:]:
            assert_same_bits(other, results[0], cell)


DIGEST = """
import hashlib, numpy as np, librnn
from helpers import CELLS, leaves, make, mapped, random_state, randoms
from test_same_bits import SHAPES
digest = hashlib.sha256()
for cell in CELLS:
    for dtype in ("float32", "float64"):
        for number, (size, hidden, rows, steps) in enumerate(SHAPES):
            layer = make(cell, size, hidden, 2, bidirectional=number % 2 == 0, dtype=dtype, seed=number)
            x, hx = randoms(steps, rows, size, seed=number, dtype=dtype), random_state(layer, rows, seed=number)
            y, state, tape = layer.forward_train(x, hx, np.random.default_rng(number).integers(0, steps + 1, rows))
            g = layer.backward(tape, np.cos(y), mapped(np.sin, state), gradient_flow=True)
            parts = [y, state, g.input, g.state, g.parameters, g.flow.hidden]
            # tanh and σ over their whole range, beyond it, and at what is not a number
            wide = layer(x * np.asarray(1e3, dtype))[0]
            for array in leaves(parts + [wide]):
                digest.update(np.ascontiguousarray(array).tobytes())
print(librnn.kernels(), digest.hexdigest())
"""


def test_v3_and_v4_kernels_give_the_same_bits():
    if librnn.kernels() != "x86-64-v4":
        pytest.skip(f"this machine runs {librnn.kernels()}, and the comparison needs x86-64-v4")
    v4 = python(DIGEST).split()
    v3 = python(DIGEST, RNN_FORCE_KERNELS="x86-64-v3").split()
    assert (v4[0], v3[0]) == ("x86-64-v4", "x86-64-v3")
    assert v4[1] == v3[1]


BASELINE = """
import librnn
assert librnn.kernels() == "baseline", librnn.kernels()
import test_forward, test_gradients, test_gate_semantics, test_same_bits
for cell in test_same_bits.CELLS:
    for dtype in ("float32", "float64"):
        test_forward.test_a_layer_computes_the_equations(cell, 2, True, dtype)
        test_forward.test_sizes_beyond_every_tile_compute_the_equations(cell, dtype)
        test_same_bits.test_one_call_steps_chunks_streams_rows_and_training_agree(cell, dtype)
        test_same_bits.test_padded_with_lengths_is_each_row_alone(cell, True, dtype)
    test_gradients.test_every_gradient_of_a_layer_is_that_of_central_differences(cell, 2, True, [4, 1, 0])
for variant in test_gate_semantics.VARIANTS:
    test_gate_semantics.test_an_update_gate_of_one_keeps_the_state_for_a_thousand_steps(variant, "float32")
print("done")
"""


def test_the_baseline_kernels_compute_the_equations_and_keep_the_contract():
    assert python(BASELINE, RNN_FORCE_KERNELS="baseline").strip() == "done"
