"""Activation, Softmax, LayerNorm, ScaleShift, Slice, Reverse: alone and in a Sequential."""

import pickle

import numpy as np
import pytest

import librnn
from helpers import DTYPES, assert_same_bits, random_state, randoms
from test_gradients import check_gradients

#: A name, the module, and what it computes of x [.., 6] in float64.
OPERATORS = {
    "sigmoid": (librnn.Activation("sigmoid"), lambda x: 1 / (1 + np.exp(-x))),
    "hard_sigmoid": (librnn.Activation("hard_sigmoid", 0.2, 0.5), lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    "tanh": (librnn.Activation("tanh"), np.tanh),
    "relu": (librnn.Activation("relu"), lambda x: np.maximum(x, 0)),
    "leaky_relu": (librnn.Activation("leaky_relu"), lambda x: np.where(x < 0, 0.01 * x, x)),
    "thresholded_relu": (librnn.Activation("thresholded_relu", 0.5), lambda x: np.where(x > 0.5, x, 0)),
    "scaled_tanh": (librnn.Activation("scaled_tanh", 1.7, 0.6), lambda x: 1.7 * np.tanh(0.6 * x)),
    "elu": (librnn.Activation("elu", 0.8), lambda x: np.where(x < 0, 0.8 * np.expm1(x), x)),
    "softsign": (librnn.Activation("softsign"), lambda x: x / (1 + np.abs(x))),
    "softplus": (librnn.Activation("softplus"), lambda x: np.logaddexp(0, x)),
    "affine": (librnn.Activation("affine", 2, -0.5), lambda x: 2 * x - 0.5),
    "softmax": (librnn.Softmax(), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    "log_softmax": (librnn.Softmax(log=True), lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))),
    "slice": (librnn.Slice(1, 5), lambda x: x[..., 1:5]),
}


def chain(module, dtype="float64"):
    return librnn.Sequential([librnn.ScaleShift(6, dtype=dtype, seed=0), module], dtype=dtype)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_module_computes_its_function(name):
    module, function = OPERATORS[name]
    for dtype in DTYPES:
        x = randoms(5, 3, 6, dtype=dtype, scale=3)
        y, state = chain(module, dtype)(x)
        assert state == [] and y.dtype == dtype
        np.testing.assert_allclose(y, function(x.astype(np.float64)), rtol=0, atol=30 * np.finfo(dtype).eps)


def test_layer_norm_and_scale_shift_are_modules_with_weights_of_their_own():
    for dtype in DTYPES:
        x = randoms(4, 3, 7, dtype=dtype)
        norm, scale = librnn.LayerNorm(7, eps=1e-3, dtype=dtype), librnn.ScaleShift(7, dtype=dtype)
        assert_same_bits([norm.state_dict(), scale.state_dict()], [{"weight": np.ones(7, dtype), "bias": np.zeros(7, dtype)}] * 2)
        weight, bias = randoms(7, seed=1, dtype=dtype), randoms(7, seed=2, dtype=dtype)
        for module in (norm, scale):
            module.load_state_dict({"weight": weight, "bias": bias})
        wide = x.astype(np.float64)
        normal = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-3)
        np.testing.assert_allclose(norm(x), normal * weight + bias, rtol=0, atol=50 * np.finfo(dtype).eps)
        np.testing.assert_allclose(scale(x), wide * weight + bias, rtol=0, atol=10 * np.finfo(dtype).eps)
        assert_same_bits(norm(x[1, 2]), norm(x)[1, 2])
        model = librnn.Sequential([norm, scale])
        assert list(model.parameters) == ["0.weight", "0.bias", "1.weight", "1.bias"]
        assert_same_bits(model(x)[0], scale(norm(x)))
    assert list(librnn.ScaleShift(2, bias=False).parameters) == ["weight"]
    for module in (librnn.LayerNorm(3, 0.5), librnn.ScaleShift(3, bias=False)):
        again = pickle.loads(pickle.dumps(module))
        assert repr(again) == repr(module)
        assert_same_bits(again.state_dict(), module.state_dict())


@pytest.mark.parametrize("name", [*OPERATORS, "layer_norm", "scale_shift", "reverse"])
def test_every_module_has_gradients(name):
    modules = {
        "layer_norm": librnn.LayerNorm(6, dtype="float64"),
        "scale_shift": librnn.ScaleShift(6, dtype="float64"),
        "reverse": librnn.Reverse(),
    }
    module = modules.get(name) or OPERATORS[name][0]
    width = 4 if name == "slice" else 6
    for lengths in (None, [2, 4, 1]):
        model = librnn.Sequential(
            [librnn.GRU(2, 6, dtype="float64", seed=1), module, librnn.Linear(width, 3, dtype="float64", seed=2)]
        )
        check_gradients(model, randoms(4, 3, 2, dtype="float64"), random_state(model, 3), lengths)
        # The module is the last: its result is in memory of the caller, which the backward pass cannot read.
        model = librnn.Sequential([librnn.GRU(2, 6, dtype="float64", seed=1), module])
        check_gradients(model, randoms(4, 3, 2, dtype="float64", seed=5), random_state(model, 3), lengths)


def model_of_all(dtype="float32"):
    model = librnn.Sequential(
        [
            librnn.ScaleShift(4, dtype=dtype), librnn.LSTM(4, 9, dtype=dtype, seed=1), librnn.LayerNorm(9, 1e-4, dtype=dtype),
            librnn.Activation("elu", 0.7), librnn.Slice(2, 8), librnn.Activation("hard_sigmoid", 0.2, 0.5),
            librnn.GRU(6, 5, dtype=dtype, seed=2), librnn.Softmax(log=True),
        ]
    )  # fmt: skip
    model.load_state_dict({name: randoms(*value.shape, seed=i) for i, (name, value) in enumerate(model.state_dict().items())})
    return model


def test_a_stream_and_a_row_alone_and_a_padded_row_have_the_same_bits():
    for dtype in DTYPES:
        model = model_of_all(dtype)
        x, lengths = randoms(7, 4, 4, dtype=dtype), [7, 3, 0, 5]
        y, _ = model(x)
        padded, _ = model(np.where(np.arange(7)[:, None, None] < np.array(lengths)[:, None], x, np.nan), lengths=lengths)
        stream = model.stream(batch=4)
        assert_same_bits(np.stack([stream.step(x_t).copy() for x_t in x]), y)
        for n, length in enumerate(lengths):
            assert_same_bits(y[:, n], model(x[:, n])[0])
            assert_same_bits(padded[:length, n], y[:length, n])
            assert not padded[length:, n].any()
        trained, _, _ = model.forward_train(x, lengths=lengths)
        assert_same_bits(trained, padded)


def test_a_file_brings_every_module_back(tmp_path):
    model = model_of_all()
    librnn.save(model, tmp_path / "model")
    again = librnn.load(tmp_path / "model")
    assert repr(again) == repr(model) and isinstance(again, librnn.Sequential)
    x = randoms(3, 2, 4)
    assert_same_bits(again(x)[0], model(x)[0])
    assert_same_bits(pickle.loads(pickle.dumps(model))(x)[0], model(x)[0])
    for module in (librnn.LayerNorm(3, 0.5), librnn.ScaleShift(3, bias=False)):
        librnn.save(module, tmp_path / "module")
        again = librnn.load(tmp_path / "module")
        assert type(again) is type(module) and repr(again) == repr(module)


def test_reverse_turns_each_row_around_and_twice_is_nothing():
    x, lengths = randoms(5, 3, 2), [5, 2, 0]
    model = librnn.Sequential([librnn.ScaleShift(2), librnn.Reverse()])
    y, _ = model(x, lengths=lengths)
    for n, length in enumerate(lengths):
        assert_same_bits(y[:length, n], np.ascontiguousarray(x[:length, n][::-1]))
    twice = librnn.Sequential([librnn.ScaleShift(2), librnn.Reverse(), librnn.Reverse()])
    assert_same_bits(twice(x)[0], x)
    # A layer between two reversals is a layer that reads backwards.
    gru = librnn.GRU(2, 3, seed=1)
    backwards = librnn.GRU(2, 3, direction="reverse")
    backwards.load_state_dict(gru.state_dict())
    between = librnn.Sequential([librnn.Reverse(), gru, librnn.Reverse()])
    assert_same_bits(between(x, lengths=lengths)[0], backwards(x, lengths=lengths)[0])
    with pytest.raises(librnn.RNNError, match="revers"):
        model.stream()
    with pytest.raises(librnn.RNNError, match="mask"):
        twice(x, mask=np.ones((5, 3), bool))
    assert_same_bits(model(x, mask=np.ones((5, 3), bool))[0], np.ascontiguousarray(x[::-1]))


def test_first_step_is_where_a_row_begins_and_a_backward_direction_ends(tmp_path):
    x, lengths = randoms(5, 4, 2), [5, 2, 0, 1]
    # Padding on the left, a hole, no step at all.
    mask = np.array([[0, 0, 1, 1, 1], [1, 0, 1, 1, 1], [0, 0, 0, 0, 0], [0, 1, 1, 1, 0]], bool).T
    model = librnn.Sequential([librnn.ScaleShift(2), librnn.FirstStep()])
    zero = np.zeros(2, np.float32)
    assert_same_bits(model(x)[0], x[0])
    assert_same_bits(model(x, lengths=lengths)[0], np.stack([x[0, 0], x[0, 1], zero, x[0, 3]]))
    assert_same_bits(model(np.where(mask[..., None], x, np.nan), mask=mask)[0], np.stack([x[2, 0], x[0, 1], zero, x[1, 3]]))
    assert_same_bits(model(x, lengths=[1, 2, 5, 5], mask=mask)[0], np.stack([zero, x[0, 1], zero, x[1, 3]]))
    backwards = librnn.GRU(2, 3, direction="reverse", seed=1)
    model = librnn.Sequential([backwards, librnn.FirstStep()])
    for arguments in ({}, {"lengths": lengths}, {"mask": mask}):
        y, (h_n,) = model(x, **arguments)
        # The final state of a row without steps is that before them, 0.
        assert_same_bits(y, h_n[0])
        assert_same_bits(model.forward_train(x, **arguments)[0], y)
    with pytest.raises(librnn.RNNError, match="whole sequence"):
        model.stream()
    with pytest.raises(librnn.RNNError, match="first step '2' reads a sequence"):
        librnn.Sequential([backwards, librnn.LastStep(), librnn.FirstStep()])
    librnn.save(model, tmp_path / "model")
    again = librnn.load(tmp_path / "model")
    assert repr(again) == repr(model) and "FirstStep()" in repr(model)
    assert_same_bits(again(x, lengths=lengths)[0], model(x, lengths=lengths)[0])
    double = librnn.Sequential([librnn.GRU(2, 3, dtype="float64", seed=1, bidirectional=True), librnn.FirstStep()])
    for given in (None, lengths):
        check_gradients(double, randoms(5, 4, 2, dtype="float64"), random_state(double, 4), given)


def test_sizes_are_found_and_checked():
    with pytest.raises(librnn.RNNError, match="module 1 reads 3 features, and the one before it gives 4"):
        librnn.Sequential([librnn.GRU(2, 4), librnn.LayerNorm(3)])
    with pytest.raises(librnn.RNNError, match="module 1 reads 3 features, and the one before it gives 2"):
        librnn.Sequential([librnn.ScaleShift(2), librnn.ScaleShift(3)])
    with pytest.raises(librnn.RNNError, match="module 0 does not tell the size of x"):
        librnn.Sequential([librnn.Slice(0, 2), librnn.GRU(2, 4)])
    with pytest.raises(librnn.RNNError, match="slice"):
        librnn.Sequential([librnn.GRU(2, 4), librnn.Slice(0, 5)])
    model = librnn.Sequential([librnn.Activation("tanh"), librnn.Dropout(0.1), librnn.LayerNorm(3)])
    assert model.input_size == 3 and model.output_size == 3
    for begin, end in ((-1, 2), (2, 2), (3, 1), (0, 0), (0.5, 2)):
        with pytest.raises(librnn.RNNError):
            librnn.Slice(begin, end)
    for eps in (0.0, -1.0, float("nan"), "x"):
        with pytest.raises(librnn.RNNError, match="eps"):
            librnn.LayerNorm(3, eps)
    with pytest.raises(librnn.RNNError, match="alpha"):
        librnn.Sequential([librnn.GRU(1, 1), librnn.Activation("elu", 1e300)])
