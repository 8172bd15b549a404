"""Optimizers against their equations in NumPy; PyTorch's numbers are in test_conformance_training.py."""

import gc
import math

import numpy as np
import pytest

import librnn
from helpers import DTYPES, assert_same_bits, randoms

optim = librnn.optim


def reference(kind, p, gradients, lr, momentum=0, dampening=0, weight_decay=0, nesterov=False, betas=(0.9, 0.999), eps=1e-8,
              amsgrad=False, alpha=0.99, centered=False):  # fmt: skip
    """PyTorch's update rules, step by step, in double."""
    p = p.astype(np.float64)
    b, m, v, largest, mean = None, 0, 0, 0, 0
    buffer = 0
    for t, g in enumerate(gradients, 1):
        g = g.astype(np.float64)
        if kind == "AdamW":
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        if kind == "SGD":
            if momentum:
                b = g if b is None else momentum * b + (1 - dampening) * g
                g = g + momentum * b if nesterov else b
            p = p - lr * g
        elif kind in ("Adam", "AdamW"):
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g * g
            largest = np.maximum(largest, v)
            size = largest if amsgrad else v
            p = p - lr / (1 - betas[0] ** t) * m / (np.sqrt(size) / math.sqrt(1 - betas[1] ** t) + eps)
        else:
            v = alpha * v + (1 - alpha) * g * g
            mean = alpha * mean + (1 - alpha) * g
            change = g / (np.sqrt(v - mean**2 if centered else v) + eps)
            buffer = momentum * buffer + change
            p = p - lr * buffer
    return p


CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.03}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "betas": (0.0, 0.9)}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "betas": (0.9, 0.5)}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.0, "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.001, "alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1, "momentum": 0.8, "centered": True}),
    ("RMSprop", {"lr": 0.001, "alpha": 0.0}),
]
DEFAULTS = {"Adam": {"lr": 1e-3}, "AdamW": {"lr": 1e-3, "weight_decay": 1e-2}, "RMSprop": {"lr": 1e-2}, "SGD": {}}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind, options", CASES)
def test_twelve_updates_follow_the_equations(kind, options, dtype):
    p = randoms(5, 7, seed=1, dtype=dtype)
    gradients = [randoms(5, 7, seed=10 + t, dtype=dtype) for t in range(12)]
    expected = reference(kind, p, gradients, **{**DEFAULTS[kind], **options})
    arrays = {"p": p.copy(), "empty": np.zeros((0, 3), dtype)}
    optimizer = getattr(optim, kind)(arrays, **options)
    for gradient in gradients:
        optimizer.step({"p": gradient, "empty": np.zeros((0, 3))})
    # Twelve updates of a few roundings each, of numbers below 4 and steps of up to lr * 4; centered subtracts, and
    # loses what v and the squared mean share.
    bound = 200 * np.finfo(dtype).eps * (30 if options.get("centered") else 1)
    np.testing.assert_allclose(arrays["p"], expected, rtol=bound, atol=bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind, options", CASES[2:8:2] + CASES[8:12:2])
def test_a_model_gets_the_bits_that_its_arrays_would_get(kind, options, dtype):
    model = librnn.Sequential(
        [librnn.LSTM(3, 5, seed=1, dtype=dtype), librnn.Linear(5, 2, seed=2, dtype=dtype)], dtype=dtype
    )
    arrays = model.state_dict()
    views = model.parameters
    first, second = getattr(optim, kind)(model, **options), getattr(optim, kind)(arrays, **options)
    x = randoms(6, 4, 3, dtype=dtype)
    for t in range(4):
        y, _, tape = model.forward_train(x)
        gradients = model.backward(tape, y)
        first.step(gradients if t % 2 else gradients.parameters)
        second.step(gradients.parameters)
        for name, value in arrays.items():
            assert_same_bits(model.state_dict()[name], value, name)
            assert_same_bits(views[name], value, name)
    fresh = librnn.Sequential([librnn.LSTM(3, 5, dtype=dtype), librnn.Linear(5, 2, dtype=dtype)], dtype=dtype)
    fresh.load_state_dict(arrays)
    # Packed weights follow at once.
    assert_same_bits(model(x)[0], fresh(x)[0])


@pytest.mark.parametrize("make", [librnn.RNNCell, librnn.GRUCell, librnn.LSTMCell])
def test_a_cell_is_updated_too(make):
    cell = make(3, 4, bias=False, seed=1)
    arrays, views = cell.state_dict(), cell.parameters
    first, second = optim.Adam(cell, lr=0.1), optim.Adam(arrays, lr=0.1)
    x = randoms(2, 3)
    for _ in range(3):
        state, trace = cell.forward_train(x)
        gradients = cell.backward(trace, state)
        first.step(gradients)
        second.step(gradients)
        for name, value in arrays.items():
            assert_same_bits(cell.state_dict()[name], value)
            assert_same_bits(views[name], value)


def test_weights_that_are_loaded_between_steps_are_what_the_next_step_changes():
    model = librnn.Linear(2, 1, bias=False)
    optimizer = optim.SGD(model, 0.5)
    model.load_state_dict({"weight": np.array([[1.0, 2]])})
    optimizer.step({"weight": np.array([[1.0, 1]])})
    assert model.parameters["weight"].tolist() == [[0.5, 1.5]]


def test_the_learning_rate_is_settable_and_zero_is_zero():
    for make in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop):
        for dtype in DTYPES:
            arrays = {"p": np.ones(3, dtype)}
            optimizer = make(arrays, lr=0)
            optimizer.step({"p": np.ones(3)})
            assert (arrays["p"] == 1).all()
            optimizer.lr = 0.5
            optimizer.step({"p": np.ones(3)})
            assert (arrays["p"] < 1).all() and optimizer.lr == 0.5
            value = arrays["p"].copy()
            optimizer.lr = 0.0
            optimizer.step({"p": np.ones(3)})
            assert_same_bits(arrays["p"], value)
            for bad in (-1, math.nan, math.inf):
                with pytest.raises(librnn.RNNError, match="learning_rate"):
                    optimizer.lr = bad
            assert optimizer.lr == 0


@pytest.mark.parametrize(
    "kind, options, message",
    [
        ("SGD", {"lr": -1}, "learning_rate is -1"),
        ("SGD", {"lr": math.nan}, "learning_rate is nan"),
        ("SGD", {"lr": 1, "momentum": -1}, "momentum is -1"),
        ("SGD", {"lr": 1, "nesterov": True}, "nesterov"),
        ("SGD", {"lr": 1, "nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov"),
        ("SGD", {"lr": "fast"}, "lr is 'fast'"),
        ("Adam", {"betas": (1.0, 0.9)}, "beta1 is 1"),
        ("Adam", {"betas": 0.9}, "betas is 0.9"),
        ("Adam", {"eps": -1}, "epsilon is -1"),
        ("AdamW", {"weight_decay": math.inf}, "weight_decay is inf"),
        ("RMSprop", {"alpha": 1}, "alpha is 1"),
    ],
)
def test_numbers_out_of_range_are_errors_when_the_optimizer_is_made(kind, options, message):
    with pytest.raises(librnn.RNNError, match=message):
        getattr(optim, kind)({"p": np.ones(3)}, **options)


def test_gradients_that_do_not_fit_are_errors_and_change_nothing():
    model = librnn.Linear(2, 3, seed=1)
    before = model.state_dict()
    good = {"weight": np.ones((3, 2)), "bias": np.ones(3)}
    for target in (model, model.state_dict()):
        optimizer = optim.Adam(target)
        for wrong, message in [
            ({"weight": good["weight"]}, "missing: bias"),
            ({**good, "extra": 1}, "unexpected: extra"),
            ({**good, "bias": np.ones(2)}, r"gradient bias has shape \(2,\), expected \(3,\)"),
            ({**good, "bias": ["a", "b", "c"]}, "gradient bias has dtype"),
            ([1], "gradients is list"),
        ]:
            with pytest.raises(librnn.RNNError, match=message):
                optimizer.step(wrong)
        now = target.state_dict() if target is model else target
        for name, value in before.items():
            assert_same_bits(now[name], value)
        # A step that failed does not count: Adam's first step is lr in each direction.
        optimizer.step(good)
        now = target.state_dict() if target is model else target
        np.testing.assert_allclose(now["bias"], before["bias"] - 1e-3, rtol=1e-4)


def test_arrays_that_cannot_be_changed_in_place_are_errors():
    frozen = np.ones(3)
    frozen.flags.writeable = False
    for target, message in [
        ({"p": frozen}, "read-only"),
        ({"p": np.ones((4, 4))[:, ::2]}, "not contiguous"),
        ({"p": np.ones(3, int)}, "dtype int64"),
        ({"p": [1.0]}, "parameter p is list"),
        ([np.ones(3)], "target is list"),
        (librnn.Linear(1, 1).parameters, "read-only"),
    ]:
        with pytest.raises(librnn.RNNError, match=message):
            optim.SGD(target, 0.1)


def test_gradients_that_share_memory_with_the_parameters_are_read_first():
    p = np.arange(4, dtype=np.float64)
    optim.SGD({"p": p}, 1.0).step({"p": p})
    assert (p == 0).all()


def test_a_closed_optimizer_says_so_and_an_optimizer_outlives_nothing():
    arrays = {"p": np.ones(3)}
    optimizer = optim.Adam(arrays)
    optimizer.step({"p": np.ones(3)})
    optimizer.close()
    with pytest.raises(librnn.RNNError, match="optimizer"):
        optimizer.step({"p": np.ones(3)})
    model = librnn.Linear(2, 2)
    optimizer = optim.Adam(model)
    del model
    gc.collect()
    optimizer.step({"weight": np.ones((2, 2)), "bias": np.ones(2)})
    assert "Adam" in repr(optimizer)
