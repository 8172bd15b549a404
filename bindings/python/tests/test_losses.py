"""Losses against NumPy in double, and their gradients against central differences."""

import math

import numpy as np
import pytest

import librnn
from helpers import DTYPES, assert_same_bits, randoms
from librnn import losses

REDUCTIONS = ("mean", "sum", "none")


def reference(logits, targets, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """PyTorch's definition, written down."""
    x = logits.astype(np.float64).reshape(-1, logits.shape[-1])
    y = targets.reshape(-1)
    classes = x.shape[1]
    w = np.ones(classes) if weight is None else weight.astype(np.float64)
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    counts = y != ignore_index
    safe = np.where(counts, y, 0)
    own = -w[safe] * log_p[np.arange(len(y)), safe]
    rows = np.where(counts, (1 - label_smoothing) * own - label_smoothing / classes * (w * log_p).sum(axis=1), 0)
    if reduction == "none":
        return rows.reshape(targets.shape)
    return rows.sum() / (w[safe][counts].sum() if reduction == "mean" else 1)


def options_of_all_kinds(classes):
    weight = np.random.default_rng(5).random(classes) + 0.2
    for reduction in REDUCTIONS:
        for smoothing in (0.0, 0.1, 1.0):
            for w in (None, weight):
                for ignored in (-100, 2):
                    yield {"reduction": reduction, "label_smoothing": smoothing, "weight": w, "ignore_index": ignored}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 4, 9), (33, 70), (5,)])
def test_cross_entropy_is_the_definition_in_double(shape, dtype):
    generator = np.random.default_rng(3)
    logits = randoms(*shape, seed=2, dtype=dtype, scale=3)
    targets = generator.integers(0, shape[-1], shape[:-1])
    if targets.size > 2:
        targets.flat[1] = -100
    for options in options_of_all_kinds(shape[-1]):
        if (targets == 2).all() or options["ignore_index"] == 2:
            targets_here = np.where(targets == -100, 0, targets)
        else:
            targets_here = targets
        if options["weight"] is not None:
            options["weight"] = options["weight"].astype(dtype)
        value, gradient = losses.cross_entropy(logits, targets_here, **options)
        expected = reference(logits, targets_here, **options)
        # The exponentials are float32: each with a few roundings, in sums of up to 70; a row's loss is about 10.
        bound = 64 * np.finfo(dtype).eps
        np.testing.assert_allclose(value, expected, rtol=bound, atol=bound)
        assert gradient.shape == shape and gradient.dtype == dtype
        if options["reduction"] == "none":
            assert value.shape == shape[:-1] and value.dtype == np.float64
        else:
            assert isinstance(value, float)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_gradient_of_cross_entropy_is_the_slope(reduction):
    logits = randoms(6, 5, seed=1, dtype="float64")
    targets = np.array([0, 4, 2, -100, 1, 1])
    for options in options_of_all_kinds(5):
        if options["ignore_index"] != -100:
            continue
        options["reduction"] = reduction
        _, gradient = losses.cross_entropy(logits, targets, **options)
        for index in np.ndindex(6, 5):
            values = []
            for step in (1e-6, -1e-6):
                moved = logits.copy()
                moved[index] += step
                values.append(np.sum(losses.cross_entropy(moved, targets, **options)[0]))
            # Central differences: 1e-12 of curvature and 1e-16 / 1e-6 of rounding, in losses up to 30.
            assert abs((values[0] - values[1]) / 2e-6 - gradient[index]) < 1e-8, (options, index)
        assert not gradient[3].any()


def test_the_gradient_of_a_mean_is_that_of_the_sum_divided():
    logits, targets = randoms(6, 5, dtype="float64"), np.array([0, 4, 2, -100, 1, 1])
    weight = np.array([1.0, 2, 3, 4, 5])
    for w in (None, weight):
        _, total = losses.cross_entropy(logits, targets, weight=w, reduction="sum")
        _, mean = losses.cross_entropy(logits, targets, weight=w)
        _, rows = losses.cross_entropy(logits, targets, weight=w, reduction="none")
        counted = sum(1 if w is None else w[t] for t in targets if t != -100)
        np.testing.assert_allclose(mean, total / counted, rtol=1e-14, atol=1e-17)
        assert_same_bits(rows, total)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_logits_give_finite_losses_and_gradients(dtype):
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4]], dtype)
    value, gradient = losses.cross_entropy(logits, [1, 1, 0], reduction="none")
    np.testing.assert_allclose(value, [2e4, math.log(2), math.log(3)], rtol=1e-6)
    third = 1 / 3
    np.testing.assert_allclose(gradient, [[1, -1, 0], [0, -0.5, 0.5], [third - 1, third, third]], rtol=1e-6, atol=1e-7)
    huge = np.array([[3e38, -3e38, 0]], dtype)
    value, gradient = losses.cross_entropy(huge, [0])
    assert value == 0 and not gradient.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_class_that_is_masked_by_minus_infinity_has_no_probability_and_no_gradient(dtype):
    logits = np.array([[0, -np.inf, 1]], dtype)
    value, gradient = losses.cross_entropy(logits, [2])
    two, two_gradient = losses.cross_entropy(logits[:, [0, 2]], [1])
    assert abs(value - two) < 1e-6 and gradient[0, 1] == 0
    np.testing.assert_allclose(gradient[:, [0, 2]], two_gradient, rtol=1e-6)
    assert losses.cross_entropy(logits, [1])[0] == np.inf


def test_a_nan_passes_through_in_its_own_row():
    logits = randoms(3, 4)
    logits[1, 2] = np.nan
    value, gradient = losses.cross_entropy(logits, [0, 1, 2], reduction="none")
    assert np.isnan(value).tolist() == [False, True, False] and np.isnan(gradient[1]).all()
    assert np.isfinite(gradient[[0, 2]]).all()


def test_the_mean_of_no_row_is_nan_and_the_sum_zero():
    logits = randoms(3, 4)
    value, gradient = losses.cross_entropy(logits, [-100] * 3)
    assert math.isnan(value) and not gradient.any()
    assert losses.cross_entropy(logits, [-100] * 3, reduction="sum")[0] == 0
    assert math.isnan(losses.cross_entropy(np.zeros((0, 4)), np.zeros(0, int))[0])
    assert math.isnan(losses.mse([], [])[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_squared_error_is_the_definition_with_its_slope(reduction, dtype):
    x, y = randoms(3, 4, seed=1, dtype=dtype), randoms(3, 4, seed=2, dtype=dtype)
    value, gradient = losses.mse(x, y, reduction=reduction)
    difference = x.astype(np.float64) - y
    expected = {"mean": (difference**2).mean(), "sum": (difference**2).sum(), "none": difference**2}[reduction]
    # The difference is rounded once, and squared in double.
    np.testing.assert_allclose(value, expected, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(gradient, 2 * difference / (12 if reduction == "mean" else 1), rtol=4 * np.finfo(dtype).eps)
    assert gradient.dtype == dtype


def test_a_row_has_the_same_bits_whatever_is_around_it():
    logits, targets = randoms(9, 37), np.arange(9)
    value, gradient = losses.cross_entropy(logits, targets, reduction="none")
    for n in range(9):
        alone, alone_gradient = losses.cross_entropy(logits[n], targets[n], reduction="none")
        assert_same_bits([alone, alone_gradient], [value[n : n + 1].reshape(()), gradient[n]])


def test_layouts_and_types_of_arguments_do_not_matter():
    logits = randoms(4, 6)
    value, gradient = losses.cross_entropy(logits, np.array([0, 1, 2, 3]))
    for other in (np.asfortranarray(logits), np.repeat(logits, 2, axis=1)[:, ::2]):
        again, again_gradient = losses.cross_entropy(other, np.array([0, 1, 2, 3], np.uint8)[::1])
        assert again == value
        assert_same_bits(again_gradient, gradient)
    assert losses.cross_entropy(logits.astype(np.float16), [0, 1, 2, 3])[1].dtype == np.float32
    before = logits.copy()
    losses.cross_entropy(logits, [0, 1, 2, 3])
    assert_same_bits(logits, before)


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        (([[1.0, 2]], [2]), {}, r"targets\[0\] is 2"),
        (([[1.0, 2]], [-1]), {}, r"targets\[0\] is -1"),
        (([[1.0, 2]], [0, 1]), {}, r"targets has shape \(2,\), expected \(1,\)"),
        (([[1.0, 2]], [0.0]), {}, "targets has dtype float64"),
        ((1.0, 0), {}, "logits is one number"),
        ((np.zeros((2, 0)), [0, 0]), {}, "classes"),
        (([[1.0, 2]], [0]), {"label_smoothing": 1.5}, "label_smoothing is 1.5"),
        (([[1.0, 2]], [0]), {"label_smoothing": math.nan}, "label_smoothing is nan"),
        (([[1.0, 2]], [0]), {"weight": [1.0]}, r"weight has shape \(1,\), expected \(2,\)"),
        (([[1.0, 2]], [0]), {"reduction": "max"}, "reduction is 'max'"),
        (([[1.0, 2]], [0]), {"ignore_index": 0.5}, "ignore_index is 0.5"),
        (([["a"]], [0]), {}, "logits has dtype"),
    ],
)
def test_wrong_arguments_are_errors_that_say_what_is_wrong(arguments, options, message):
    with pytest.raises(librnn.RNNError, match=message):
        losses.cross_entropy(*arguments, **options)


def test_squared_error_does_not_broadcast():
    with pytest.raises(librnn.RNNError, match=r"target has shape \(3,\), expected \(3, 1\)"):
        losses.mse(np.zeros((3, 1)), np.zeros(3))
