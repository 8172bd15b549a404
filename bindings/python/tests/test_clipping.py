"""Clipping by the norm of all gradients, by that of each, and by value."""

import math

import numpy as np
import pytest

import librnn
from helpers import DTYPES, assert_same_bits, randoms


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [1, 2, 3, 1.5, math.inf])
def test_every_gradient_is_scaled_by_the_norm_of_all(p, dtype):
    gradients = {"a": randoms(3, 5, seed=1, dtype=dtype), "b": randoms(70, seed=2, dtype=dtype), "c": np.zeros(2, dtype)}
    before = {name: value.copy() for name, value in gradients.items()}
    report = librnn.clip_grad_norm(gradients, 0.5, p)
    every = np.concatenate([value.reshape(-1) for value in before.values()]).astype(np.float64)
    # Sums and powers are in double.
    assert math.isclose(report.total_norm, np.linalg.norm(every, p), rel_tol=1e-13)
    assert math.isclose(report.scale, 0.5 / (report.total_norm + 1e-6), rel_tol=1e-15)
    norms = {name: np.linalg.norm(value.reshape(-1).astype(np.float64), p) for name, value in before.items()}
    assert report.largest == max(norms, key=norms.get)
    assert math.isclose(report.largest_norm, max(norms.values()), rel_tol=1e-13)
    assert not report.non_finite and report.non_finite_name is None
    for name, value in gradients.items():
        assert_same_bits(value, before[name] * np.dtype(dtype).type(report.scale))


def test_gradients_below_the_limit_keep_their_bits():
    gradients = {"a": randoms(9)}
    before = gradients["a"].copy()
    report = librnn.clip_grad_norm(gradients, 1e3)
    assert report.scale == 1
    assert_same_bits(gradients["a"], before)
    assert librnn.clip_grad_norm(gradients, math.inf).scale == 1
    assert_same_bits(gradients["a"], before)


def test_pytorchs_epsilon_is_there():
    gradients = {"a": np.array([3.0, 4.0])}
    report = librnn.clip_grad_norm(gradients, 5)
    assert report.scale == 5 / (5 + 1e-6)
    assert gradients["a"][0] == 3 * report.scale


def test_squares_of_huge_float32_gradients_do_not_overflow():
    for p in (1, 2, 3, math.inf):
        gradients = {"a": np.full(100, 1e30, np.float32), "b": np.ones(3, np.float32)}
        report = librnn.clip_grad_norm(gradients, 1.0, p)
        assert math.isclose(report.total_norm, 1e30 * 100 ** (1 / p), rel_tol=1e-6) and not report.non_finite
        assert math.isclose(np.linalg.norm(gradients["a"].astype(np.float64), p), 1, rel_tol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [1, 2, 3, math.inf])
def test_each_gradient_alone_is_what_clip_grad_norm_makes_of_it(p, dtype):
    gradients = {name: randoms(4, 9, seed=seed, dtype=dtype, scale=scale) for seed, (name, scale) in
                 enumerate({"a": 1.0, "small": 1e-3, "huge": 1e20}.items())}  # fmt: skip
    alone = {name: value.copy() for name, value in gradients.items()}
    whole = librnn.clip_grad_norm({name: value.copy() for name, value in gradients.items()}, 0.5, p)
    report = librnn.clip_grad_norm_each(gradients, 0.5, p)
    scales = {}
    for name, value in alone.items():
        scales[name] = librnn.clip_grad_norm({name: value}, 0.5, p).scale
        assert_same_bits(gradients[name], value, name)
    assert report.scale == min(scales.values()) == scales["huge"] and scales["small"] == 1 > scales["a"]
    assert (report.total_norm, report.largest, report.largest_norm) == (whole.total_norm, "huge", whole.largest_norm)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_value_bounds_every_element(dtype):
    gradients = {"a": randoms(7, 5, seed=1, dtype=dtype), "b": randoms(33, seed=2, dtype=dtype) * dtype_of(dtype)(1e-3)}
    before = {name: value.copy() for name, value in gradients.items()}
    report = librnn.clip_grad_value(gradients, 0.25)
    for name, value in gradients.items():
        assert_same_bits(value, np.clip(before[name], dtype_of(dtype)(-0.25), dtype_of(dtype)(0.25)))
    assert report.scale == 1 and report.largest == "a"
    assert report.total_norm == librnn.clip_grad_norm(before, math.inf).total_norm
    assert_same_bits(gradients["b"], before["b"])


def dtype_of(name):
    return np.dtype(name).type


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("clip", [librnn.clip_grad_norm_each, librnn.clip_grad_value])
def test_no_tensor_is_clipped_where_one_is_not_finite(clip, bad):
    gradients = {"good": randoms(20) * 10, "bad": randoms(20), "worse": np.full(2, bad, np.float32)}
    gradients["bad"][7] = bad
    before = {name: value.copy() for name, value in gradients.items()}
    report = clip(gradients, 0.1)
    assert report.non_finite and report.non_finite_name == "bad" and report.scale == 1
    for name, value in gradients.items():
        assert_same_bits(value, before[name])


@pytest.mark.parametrize("p", [1, 2, 3, math.inf])
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_that_is_not_finite_is_named_and_nothing_is_changed(dtype, bad, p):
    gradients = {"good": randoms(20, dtype=dtype), "bad": randoms(20, dtype=dtype), "worse": np.full(2, bad, dtype)}
    gradients["bad"][7] = bad
    before = {name: value.copy() for name, value in gradients.items()}
    report = librnn.clip_grad_norm(gradients, 0.1, p)
    assert report.non_finite and report.non_finite_name == "bad" and report.scale == 1
    assert not math.isfinite(report.total_norm)
    for name, value in gradients.items():
        assert_same_bits(value, before[name])


CLIPPING = [librnn.clip_grad_norm, librnn.clip_grad_norm_each, librnn.clip_grad_value]


@pytest.mark.parametrize("clip", CLIPPING)
def test_no_gradients_have_norm_zero(clip):
    for gradients in ({}, {"a": np.zeros((0, 3), np.float32)}, {"a": np.zeros(3)}):
        report = clip(gradients, 1.0)
        assert report.total_norm == 0 and report.scale == 1 and not report.non_finite
        assert report.largest == (list(gradients) or [None])[0]


def test_strided_gradients_and_those_of_backward_are_clipped_in_place():
    whole = randoms(6, 8)
    part = whole[::2, ::3]
    other = whole.copy()
    report = librnn.clip_grad_norm({"part": part}, 0.1)
    assert_same_bits(part, other[::2, ::3] * np.float32(report.scale))
    assert_same_bits(whole[1::2], other[1::2])

    layer = librnn.GRU(3, 4, seed=1)
    y, _, tape = layer.forward_train(randoms(5, 2, 3))
    gradients = layer.backward(tape, y)
    before = {name: value.copy() for name, value in gradients.parameters.items()}
    report = librnn.clip_grad_norm(gradients, 1e-3)
    assert report.scale < 1 and report.largest in before
    for name, value in gradients.parameters.items():
        assert_same_bits(value, before[name] * np.float32(report.scale))


def test_wrong_arguments_are_errors_that_say_what_is_wrong():
    a = np.ones(3, np.float32)
    frozen = a.copy()
    frozen.flags.writeable = False
    for gradients, norm, p, message in [
        ({"a": a}, -1, 2, "max_norm is -1"),
        ({"a": a}, math.nan, 2, "max_norm is nan"),
        ({"a": a}, 1, 0.5, "norm_type is 0.5"),
        ({"a": a}, 1, math.nan, "norm_type is nan"),
        ({"a": [1.0]}, 1, 2, "gradient a is list"),
        ({"a": a.astype(int)}, 1, 2, "gradient a has dtype int64"),
        ({"a": frozen}, 1, 2, "read-only"),
        ({"a": a, "b": a.astype(np.float64)}, 1, 2, "some gradients are float32 and some float64"),
        ({"a": a, "b": a}, 1, 2, "share memory"),
        ([a], 1, 2, "gradients is list"),
    ]:
        with pytest.raises(librnn.RNNError, match=message):
            librnn.clip_grad_norm(gradients, norm, p)
    assert (a == 1).all()


@pytest.mark.parametrize("clip", [librnn.clip_grad_norm_each, librnn.clip_grad_value])
def test_the_other_ways_check_their_arguments_too(clip):
    a = np.ones(3, np.float32)
    limit = "clip_value" if clip is librnn.clip_grad_value else "max_norm"
    for gradients, value, message in [
        ({"a": a}, -1, f"{limit} is -1"),
        ({"a": a}, math.nan, f"{limit} is nan"),
        ({"a": a}, "much", f"{limit} is 'much'"),
        ({"a": [1.0]}, 1, "gradient a is list"),
        ({"a": a, "b": a}, 1, "share memory"),
    ]:
        with pytest.raises(librnn.RNNError, match=message):
            clip(gradients, value)
    with pytest.raises(librnn.RNNError, match="norm_type is 0.5"):
        librnn.clip_grad_norm_each({"a": a}, 1, 0.5)
    assert (a == 1).all()
