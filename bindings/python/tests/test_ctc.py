"""Connectionist temporal classification: PyTorch's known answers, its own laws, and labels learnt without their times."""

import importlib.util
import json
import math

import numpy as np
import pytest

import librnn
from helpers import CONFORMANCE, DTYPES, ROOT, assert_same_bits, randoms
from librnn import losses

FOLDER = CONFORMANCE / "torch" / "ctc"
spec = importlib.util.spec_from_file_location("make_ctc", ROOT / "Tests" / "Vectors" / "make_ctc.py")
vectors = importlib.util.module_from_spec(spec)
spec.loader.exec_module(vectors)
EXPECTED = json.loads((ROOT / "Tests" / "Vectors" / "ctc.json").read_text())


def cases():
    return sorted(path.name for path in FOLDER.iterdir()) if FOLDER.is_dir() else []


def test_there_are_cases():
    if not cases():
        pytest.skip(f"{FOLDER} is not there: the PyTorch cases were not run")
    assert len(cases()) >= 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", cases())
def test_losses_and_gradients_are_pytorchs(case, dtype):
    meta, arrays = json.loads((FOLDER / case / "meta.json").read_text()), dict(np.load(FOLDER / case / "tensors.npz"))
    options = {name: meta[name] for name in ("blank", "reduction", "zero_infinity")}
    value, gradient = losses.ctc(
        arrays["logits"].astype(dtype), arrays["targets"], arrays["input_lengths"], arrays["target_lengths"], **options
    )
    if options["reduction"] == "none":  # PyTorch's gradient is of the sum weighted by w
        gradient = gradient * arrays["w"][:, None]
    for name, actual in (("loss", value), ("grad.logits", gradient)):
        exact, single = (np.asarray(arrays[f"{kind}.{name}"], np.float64) for kind in ("f64", "f32"))
        if dtype == "float64":
            # Logarithms of up to 60, sums of 15 steps, each rounded at 1.1e-16 of its size; on both sides.
            bound = 1e-15 * max(np.abs(exact).max(), 8)
        else:
            # Below PyTorch's own error: of a float32 softmax, with double from there on.
            bound = np.abs(single - exact).max() + 4 * 2.0**-24
        assert np.abs(actual - exact).max() <= bound, name


@pytest.mark.parametrize("case", vectors.CASES)
def test_the_vectors_of_the_checkout_are_the_known_answers(case):
    _, arguments = vectors.CASES[case]
    value, gradient = losses.ctc(vectors.logits(case), **arguments)
    # Losses of up to 30, gradients of up to 1.
    np.testing.assert_allclose(value, np.array(EXPECTED[case]["loss"]), rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(gradient, np.array(EXPECTED[case]["gradient"]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_form_of_the_targets_is_the_same(dtype):
    logits = randoms(9, 3, 6, seed=1, dtype=dtype, scale=2)
    padded = [[1, 2, 2], [5, -1, 99], [3, 4, 7]]
    lengths = [3, 1, 2]
    value, gradient = losses.ctc(logits, padded, [9, 8, 6], lengths, reduction="none")
    assert value.shape == (3,) and value.dtype == np.float64 and gradient.shape == (9, 3, 6) and gradient.dtype == dtype
    other = losses.ctc(logits, [1, 2, 2, 5, 3, 4], [9, 8, 6], lengths, reduction="none")
    assert_same_bits(list(other), [value, gradient])
    for n, steps in enumerate([9, 8, 6]):
        row = padded[n][: lengths[n]]
        alone = losses.ctc(logits[:, n], row, steps, lengths[n], reduction="none")
        assert_same_bits(list(alone), [value[n : n + 1].reshape(()), np.ascontiguousarray(gradient[:, n])])
        cut = losses.ctc(logits[:steps, n : n + 1], row, reduction="sum")
        assert cut[0] == value[n]
        assert_same_bits(cut[1], np.ascontiguousarray(gradient[:steps, n : n + 1]))
        assert not gradient[steps:, n].any()
    for array in (np.asfortranarray(logits), np.repeat(logits, 2, axis=2)[:, :, ::2]):
        assert_same_bits(losses.ctc(array, np.array(padded, np.int8), np.array([9, 8, 6]), lengths, reduction="none")[1], gradient)
    assert isinstance(losses.ctc(logits, padded, [9, 8, 6], lengths)[0], float)


def test_the_number_of_threads_changes_no_bit():
    logits = randoms(90, 16, 40, seed=3, scale=3)
    targets = np.random.default_rng(1).integers(1, 40, (16, 30))
    before = librnn.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 5):
            librnn.set_num_threads(threads)
            found.append(list(losses.ctc(logits, targets, None, np.arange(15, 31), reduction="none")))
    finally:
        librnn.set_num_threads(before)
    assert_same_bits(found[1], found[0])
    assert_same_bits(found[2], found[0])


def test_a_row_without_an_alignment_is_infinite_or_zero():
    logits = randoms(4, 2, 3)
    value, gradient = losses.ctc(logits, [[1, 1, 1], [1, 2, 1]], reduction="none")
    assert value[0] == math.inf and np.isnan(gradient[:, 0]).all() and np.isfinite(gradient[:, 1]).all()
    zero, zero_gradient = losses.ctc(logits, [[1, 1, 1], [1, 2, 1]], reduction="none", zero_infinity=True)
    assert zero.tolist() == [0, value[1]] and not zero_gradient[:, 0].any()
    assert_same_bits(zero_gradient[:, 1], gradient[:, 1])


def test_no_rows_and_no_steps():
    assert math.isnan(losses.ctc(np.zeros((3, 0, 4)), np.zeros((0, 2), int))[0])
    assert losses.ctc(np.zeros((3, 0, 4)), np.zeros((0, 2), int), reduction="sum")[0] == 0
    value, gradient = losses.ctc(np.zeros((0, 2, 4)), [[1], [2]], None, [0, 1], reduction="none")
    assert value.tolist() == [0, math.inf] and gradient.shape == (0, 2, 4)


def test_a_network_learns_labels_without_their_places_in_time():
    """Each of three patterns lasts one to four steps, with noise between: the network finds where by itself."""
    generator = np.random.default_rng(7)
    rows, steps = 16, 24

    def batch():
        x = generator.standard_normal((steps, rows, 3)).astype(np.float32) * 0.2
        labels = generator.integers(1, 4, (rows, 4))
        for n in range(rows):
            t = 0
            for label in labels[n]:
                t += generator.integers(1, 3)
                length = generator.integers(1, 4)
                x[t : t + length, n, label - 1] += 1
                t += length
        return x, labels

    model = librnn.Sequential([librnn.GRU(3, 16, seed=1), librnn.Linear(16, 4, seed=2)])
    optimizer = librnn.optim.Adam(model, lr=0.02)
    history = []
    for _ in range(400):
        x, labels = batch()
        logits, _, tape = model.forward_train(x)
        value, gradient = losses.ctc(logits, labels)
        gradients = model.backward(tape, gradient)
        librnn.clip_grad_norm(gradients, 1.0)
        optimizer.step(gradients.parameters)
        history.append(value)
    x, labels = batch()
    right = 0
    for best, expected in zip(model(x)[0].argmax(axis=2).T, labels):
        kept = best[np.diff(best, prepend=-1) != 0]
        right += kept[kept != 0].tolist() == expected.tolist()
    # Seen: 4.1 to 0.03, and 15 rows right.
    assert history[0] > 3 and history[-1] < 0.3 and right >= rows - 2, (history[0], history[-1], right)


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        ((np.zeros(3), [1]), {}, r"logits has shape \(3,\), expected \(T, N, C\) or \(T, C\)"),
        ((np.zeros((3, 2, 4)), [[1]]), {}, r"targets has shape \(1, 1\), expected \(2, S\) or \(sum of target_lengths,\)"),
        ((np.zeros((3, 4)), [[1], [2]]), {}, r"targets has shape \(2, 1\), expected \(S,\)"),
        ((np.zeros((3, 2, 4)), [1, 2]), {}, "target_lengths is None"),
        ((np.zeros((3, 2, 4)), [1, 2, 3], None, [1, 1]), {}, "targets has 3 labels, expected 2"),
        ((np.zeros((3, 2, 4)), [1, 2], None, [1, 2]), {}, "targets_count is 2"),
        ((np.zeros((3, 2, 4)), [[1], [2]], [3]), {}, r"input_lengths has shape \(1,\), expected \(2,\)"),
        ((np.zeros((3, 2, 4)), [[1], [2]], [3, 4]), {}, r"input_lengths\[1\] is 4, expected 0 to 3"),
        ((np.zeros((3, 2, 4)), [[1], [2]], [3, 2.0]), {}, "input_lengths has dtype float64"),
        ((np.zeros((3, 2, 4)), [[1], [2]], None, [1, 2]), {}, r"target_lengths\[1\] is 2, expected 0 to 1"),
        ((np.zeros((3, 2, 4)), [[1], [4]]), {}, r"targets\[1\], label 0 of row 1, is 4, expected 0 to 3"),
        ((np.zeros((3, 2, 4)), [[1], [0]]), {}, "not the blank, 0"),
        ((np.zeros((3, 2, 4)), [[1], [0.0]]), {}, "targets has dtype float64"),
        ((np.zeros((3, 1, 4)), [[1]]), {"blank": 4}, "blank is 4, expected 0 to 3"),
        ((np.zeros((3, 1, 4)), [[1]]), {"blank": 0.5}, "blank is 0.5"),
        ((np.zeros((3, 1, 4)), [[1]]), {"reduction": "max"}, "reduction is 'max'"),
        ((np.zeros((3, 1, 0)), np.zeros((1, 0), int)), {}, "classes is 0"),
    ],
)
def test_wrong_arguments_are_errors_that_say_what_is_wrong(arguments, options, message):
    with pytest.raises(librnn.RNNError, match=message):
        losses.ctc(*arguments, **options)
