"""The contract with the options of recurrent layers: however a sequence is cut, batched, padded or trained, the same bits."""

import numpy as np
import pytest

import librnn
from helpers import CELLS, DTYPES, assert_same_bits, mapped, python
from recurrent_options import OPTIONS, combined, make_layer, random_hx, random_names

#: What only one of two calls would have, or what another test is about.
CALLS = ("lengths", "mask", "repeated padding", "batch first")
CASES = [(cell, dtype) for cell in CELLS for dtype in DTYPES]


def cases(cell, without=(), count=24, largest=40):
    """Layers with random options and sizes around and away from every vector width, x and hx for them."""
    generator = np.random.default_rng(sum(cell.encode()))
    for number in range(count):
        names = random_names(cell, generator, CALLS + tuple(without))
        keywords, _ = combined(cell, *names)
        size, hidden, rows, steps = (int(generator.integers(1, high)) for high in (largest, largest, 14, 9))
        if "hidden_size_reverse" in keywords:
            keywords["hidden_size_reverse"] = hidden + 3
        if "proj_size" in keywords:
            keywords["proj_size"] = (hidden + 1) // 2
        yield number, names, keywords, (size, hidden, rows, steps + 1)


def prepared(cell, number, keywords, sizes, dtype):
    size, hidden, rows, steps = sizes
    layer = make_layer(cell, keywords, size=size, hidden=hidden, dtype=dtype, seed=number, scale=hidden**-0.5)
    x = np.random.default_rng(number).standard_normal((steps, rows, size)).astype(dtype)
    return layer, x, random_hx(layer, rows, number) if number % 4 or not layer.learn_initial_state else None


def rows_of(state, rows):
    return mapped(lambda a: np.ascontiguousarray(a[:, rows]), state)


@pytest.mark.parametrize("cell, dtype", CASES)
def test_one_call_steps_chunks_and_streams_agree(cell, dtype):
    two_ways = ["bidirectional", "reverse", "sum", "mean", "product", "two sizes", "activations of each direction"]
    for number, names, keywords, sizes in cases(cell, two_ways):
        layer, x, hx = prepared(cell, number, keywords, sizes, dtype)
        name, steps, rows = f"{names} {sizes}", len(x), x.shape[1]
        y, final = layer(x, hx)
        state, parts = hx, []
        for t in range(steps):
            part, state = layer(x[t : t + 1], state)
            parts.append(part)
        assert_same_bits([np.concatenate(parts), state], [y, final], name + ", steps")
        cut = 1 + number % (steps - 1)
        first, state = layer(x[:cut], hx)
        second, state = layer(x[cut:], state)
        assert_same_bits([np.concatenate([first, second]), state], [y, final], name + ", chunks")
        stream = layer.stream(batch=rows)
        for run in (lambda: np.stack([stream.step(x[t]) for t in range(steps)]), lambda: stream.process(x)):
            stream.reset()
            if hx is not None:
                stream.state = hx
            assert_same_bits(run(), y, name + ", stream")
            assert_same_bits(stream.state, final, name + ", state of the stream")
        # Masks of dropout are keyed by absolute time.
        whole, whole_final, _ = layer.forward_train(x, hx, step=2)
        first, state, _ = layer.forward_train(x[:cut], hx, step=2)
        second, state, _ = layer.forward_train(x[cut:], state, step=2, first_time=cut)
        assert_same_bits([np.concatenate([first, second]), state], [whole, whole_final], name + ", training in chunks")


@pytest.mark.parametrize("cell, dtype", CASES)
def test_a_row_in_a_batch_is_the_row_alone_and_training_is_inference(cell, dtype):
    for number, names, keywords, sizes in cases(cell):
        layer, x, hx = prepared(cell, number, keywords, sizes, dtype)
        name, rows = f"{names} {sizes}", x.shape[1]
        y, final = layer(x, hx)
        n = number % rows
        alone = layer(x[:, n : n + 1], rows_of(hx, slice(n, n + 1)))
        assert_same_bits(alone, [y[:, n : n + 1], rows_of(final, slice(n, n + 1))], name + ", a row alone")
        turned = layer(x[:, ::-1], rows_of(hx, slice(None, None, -1)))
        assert_same_bits(turned, [y[:, ::-1], rows_of(final, slice(None, None, -1))], name + ", rows in another order")
        if not (layer.dropout or layer.recurrent_dropout):
            assert_same_bits(layer.forward_train(x, hx)[:2], [y, final], name + ", training")
        if layer.learn_initial_state and hx is None:
            learned = mapped(np.zeros_like, final)
            for part, letter in zip(learned if layer.cell == "lstm" else [learned], "hc"):
                fill_learned(part, letter, layer)
            assert_same_bits(layer(x, learned), [y, final], name + ", the learned state, given")


def fill_learned(part, letter, layer):
    """The learned initial state for each row, as a caller would give it."""
    ends = ["", "_reverse"][: 2 if layer.bidirectional else 1]
    for number in range(layer.num_layers):
        for direction, end in enumerate(ends):
            value = layer.parameters[f"{letter}_0_l{number}{end}"]
            if isinstance(part, tuple):
                part[direction][number] = value
            else:
                part[number * len(ends) + direction] = value


@pytest.mark.parametrize("cell, dtype", CASES)
def test_padded_and_masked_is_each_row_alone_without_its_holes(cell, dtype):
    for number, names, keywords, sizes in cases(cell, without=["dropout", "recurrent dropout"]):
        layer, x, hx = prepared(cell, number, keywords, sizes, dtype)
        generator, (steps, rows) = np.random.default_rng(number), x.shape[:2]
        lengths, mask = generator.integers(0, steps + 1, rows), generator.random((steps, rows)) < 0.6
        for call in ({"lengths": lengths}, {"mask": mask}, {"lengths": lengths, "mask": mask}):
            here = (np.arange(steps)[:, None] < call.get("lengths", steps)) & call.get("mask", True)
            holes = np.where(here[:, :, None], x, np.nan).astype(dtype)
            for y, final in (layer(holes, hx, **call), layer.forward_train(holes, hx, **call)[:2]):
                assert not y[~here].any()
                for n in range(rows):
                    alone, alone_final = layer(x[here[:, n], n : n + 1], rows_of(hx, slice(n, n + 1)))
                    assert_same_bits(y[here[:, n], n : n + 1], alone, f"{names} {sizes} {list(call)}")
                    assert_same_bits(rows_of(final, slice(n, n + 1)), alone_final, f"{names} {sizes} {list(call)}")


@pytest.mark.parametrize("cell", CELLS)
def test_padding_has_gradient_zero_and_is_never_read_backwards(cell):
    for number, names, keywords, sizes in cases(cell):
        layer, x, hx = prepared(cell, number, keywords, sizes, "float32")
        generator, (steps, rows) = np.random.default_rng(number), x.shape[:2]
        mask = generator.random((steps, rows)) < 0.6
        results = []
        for filler in (1.0, np.nan):
            filled = np.where(mask[:, :, None], x, filler).astype(np.float32)
            y, state, tape = layer.forward_train(filled, hx, mask=mask, step=1)
            grad_y = np.where(mask[:, :, None], np.cos(y), filler).astype(np.float32)
            g = layer.backward(tape, grad_y, mapped(np.sin, state), gradient_flow=True)
            assert not g.input[~mask].any(), names
            results.append([y, g.input, g.state, g.parameters, g.flow.hidden, g.flow.cell, g.flow.gate_mean, g.flow.jacobian_norm])
        assert_same_bits(results[1], results[0], str(names))


def everything(layer, x, hx, mask=None):
    """All arrays of a training pass with the flow of the gradient."""
    y, state, tape = layer.forward_train(x, hx, mask=mask, step=1)
    g = layer.backward(tape, np.cos(y), mapped(np.sin, state), gradient_flow=True, hidden_clip=0.1)
    flow = [g.flow.hidden, g.flow.clipped, g.flow.cell, g.flow.gate_mean, g.flow.gate_saturation, g.flow.jacobian_norm]
    return [y, state, g.input, g.state, g.parameters, flow, tape.read(), layer(x, hx, mask=mask)]


@pytest.mark.parametrize("cell, dtype", CASES)
def test_any_number_of_threads_gives_the_same_bits(cell, dtype):
    before = librnn.get_num_threads()
    try:
        for number, names, keywords, (size, hidden, _, _) in cases(cell, count=3):
            # Large enough that the work is shared.
            layer, x, hx = prepared(cell, number, keywords, (size + 60, hidden + 60, 37, 8), dtype)
            mask = np.random.default_rng(number).random(x.shape[:2]) < 0.8 if number % 2 else None
            results = []
            for threads in (1, 2, 3, 7):
                librnn.set_num_threads(threads)
                results.append(everything(layer, x, hx, mask))
            for other in results[1:]:
                assert_same_bits(other, results[0], str(names))
    finally:
        librnn.set_num_threads(before)


DIGEST = """
import hashlib, numpy as np, librnn
from helpers import CELLS, DTYPES, leaves
from recurrent_options import OPTIONS
from test_same_bits_options import cases, everything, prepared
digest = hashlib.sha256()
for cell in CELLS:
    for dtype in DTYPES:
        for number, names, keywords, sizes in cases(cell, count=16):
            layer, x, hx = prepared(cell, number, keywords, sizes, dtype)
            for scale in (1, 30):
                for array in leaves(everything(layer, x * np.asarray(scale, dtype), hx)):
                    digest.update(np.ascontiguousarray(array).tobytes())
print(librnn.kernels(), digest.hexdigest())
"""


def test_v3_and_v4_kernels_give_the_same_bits_with_options():
    if librnn.kernels() != "x86-64-v4":
        pytest.skip(f"this machine runs {librnn.kernels()}, and the comparison needs x86-64-v4")
    v4 = python(DIGEST).split()
    v3 = python(DIGEST, RNN_FORCE_KERNELS="x86-64-v3").split()
    assert (v4[0], v3[0]) == ("x86-64-v4", "x86-64-v3")
    assert v4[1] == v3[1]


BASELINE = """
import librnn
assert librnn.kernels() == "baseline", librnn.kernels()
import test_options, test_same_bits_options
for cell, first in test_options.CASES:
    if first in ("activations", "peepholes", "mask", "product"):
        test_options.test_a_layer_with_any_pair_of_options_computes_the_equations(cell, first)
for cell, dtype in test_same_bits_options.CASES:
    test_same_bits_options.test_one_call_steps_chunks_and_streams_agree(cell, dtype)
    test_same_bits_options.test_padded_and_masked_is_each_row_alone_without_its_holes(cell, dtype)
print("done")
"""


def test_the_baseline_kernels_compute_the_options_and_keep_the_contract():
    assert python(BASELINE, RNN_FORCE_KERNELS="baseline").strip() == "done"


def test_the_random_options_meet_every_option():
    for cell in CELLS:
        met = {name for _, names, _, _ in cases(cell) for name in names}
        assert met == {name for name, (cells, _, _) in OPTIONS.items() if cell in cells and name not in CALLS}
