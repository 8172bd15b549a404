"""What a trainer tells about gradients: their flow, limits inside the recursion, and where numbers first went wrong."""

import math

import numpy as np
import pytest

import librnn
from helpers import assert_same_bits, randoms
from librnn import optim
from recurrent_options import combined, make_layer, random_names

T, N = 7, 3


def data(model, dtype="float32", seed=0):
    y = model(np.zeros((T, N, model.input_size), dtype))[0]
    return randoms(T, N, model.input_size, seed=seed, dtype=dtype), randoms(*y.shape, seed=seed + 1, dtype=dtype)


def flow_arrays(flow):
    return [flow.hidden, flow.cell, flow.clipped, flow.gate_mean, flow.gate_saturation, flow.jacobian_norm]


def test_the_flow_of_a_trainer_is_that_of_the_backward_pass():
    model = librnn.Sequential([librnn.LSTM(3, 4, bidirectional=True, seed=1), librnn.GRU(8, 5, seed=2)])
    x, targets = data(model)
    y, _, tape = model.forward_train(x)
    # The sum of squares over all elements, divided by their number; as the trainer has it, the sum of single rows first.
    grad_y = 2 * (y - targets) * np.float32(1 / y.size)
    expected = model.backward(tape, grad_y, gradient_flow=True, hidden_clip=0.01).flow
    trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.1), gradient_flow=True, hidden_clip=0.01)
    assert trainer.step(x, targets).updates == 1
    flow = trainer.flow
    assert flow.labels == ("0: layer 0 forward", "0: layer 0 backward", "1: layer 0") and flow.gates == ("ifgo", "ifgo", "rzn")
    assert (flow.clipped < flow.hidden).any() and (flow.clipped <= 0.01 * np.sqrt(N) * (1 + 1e-6)).all()
    for actual, wanted in zip(flow_arrays(flow), flow_arrays(expected)):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-9)


def test_the_flow_of_truncated_backpropagation_is_that_of_the_last_window():
    model = librnn.GRU(3, 4, 2, seed=1)
    x, targets = data(model)
    trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.1), gradient_flow=True, update_interval=3, backward_steps=5)
    assert trainer.step(x, targets).updates == 3
    assert trainer.flow.hidden.shape[0] == 2 and 0 < trainer.flow.hidden.shape[1] < T


def test_a_trainer_without_a_flow_says_so():
    model = librnn.GRU(3, 4, seed=1)
    x, targets = data(model)
    with librnn.Trainer(model, "mse", optim.SGD(model, 0.1)) as trainer:
        trainer.step(x, targets)
        with pytest.raises(librnn.RNNError) as caught:
            trainer.flow  # noqa: B018
        assert caught.value.status == "RNN_ERROR_UNSUPPORTED"
    with librnn.Trainer(model, "mse", optim.SGD(model, 0.1), gradient_flow=True) as trainer:
        with pytest.raises(librnn.RNNError) as caught:
            trainer.flow  # noqa: B018
        assert caught.value.status == "RNN_ERROR_NOT_FOUND"
        trainer.step(x, targets)
        assert isinstance(trainer.flow, librnn.GradientFlow)


def test_hidden_clip_of_a_trainer_is_that_of_the_backward_pass():
    results = []
    for limit in (0.0, 1e-3):
        model = librnn.LSTM(3, 4, 2, dtype="float64", seed=1)
        x, targets = data(model, "float64")
        y, _, tape = model.forward_train(x)
        g = model.backward(tape, 2 * (y - targets) / y.size, hidden_clip=limit)
        trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.1), hidden_clip=limit)
        trainer.step(x, targets)
        for name, value in trainer.gradients().items():
            np.testing.assert_allclose(value, g.parameters[name], rtol=1e-11, atol=1e-15)
        results.append(trainer.gradients())
    assert not np.allclose(results[0]["weight_ih_l0"], results[1]["weight_ih_l0"])
    for wrong in (-1.0, math.nan, "x"):
        with pytest.raises(librnn.RNNError, match="hidden_clip"):
            librnn.Trainer(model, "mse", optim.SGD(model, 0.1), hidden_clip=wrong)


def skipped(model, x, targets, **keywords):
    before = model.state_dict()
    trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.1), **keywords)
    report = trainer.step(x, targets)
    assert (report.updates, report.skipped) == (0, 1)
    assert_same_bits(model.state_dict(), before)
    return report


def test_a_number_that_goes_wrong_in_the_forward_pass_is_named_by_layer_and_step():
    model = librnn.Sequential([librnn.GRU(3, 4, seed=1), librnn.LSTM(4, 4, 2, bidirectional=True, seed=2)])
    x, targets = data(model)
    x[4, 1, 2] = np.nan
    report = skipped(model, x, targets)
    assert (report.non_finite, report.non_finite_layer, report.non_finite_step) == ("forward", "0: layer 0", 4)
    assert report.non_finite_parameter in model.parameters
    assert "0: layer 0 is not finite from step 4 on" in report.message and report.non_finite_parameter in report.message

    # Backwards in time the layer meets its highest step first.
    model = librnn.GRU(3, 4, direction="reverse", seed=1)
    assert skipped(model, x, data(model)[1]).non_finite_step == 4
    # A weight of the second layer that is infinite: the first is in order.
    model = librnn.RNN(3, 4, 2, nonlinearity="relu", seed=1)
    state = model.state_dict()
    state["bias_ih_l1"][0] = np.inf
    model.load_state_dict(state)
    report = skipped(model, *data(model))
    assert (report.non_finite, report.non_finite_layer, report.non_finite_step) == ("forward", "layer 1", 0)


def test_a_number_that_goes_wrong_in_the_loss_is_named():
    model = librnn.GRU(3, 4, seed=1)
    x, targets = data(model)
    targets[2, 0, 0] = np.inf
    report = skipped(model, x, targets)
    assert (report.non_finite, report.non_finite_layer, report.non_finite_step) == ("loss", None, None)
    assert "the output or the loss is not finite" in report.message


def test_a_gradient_that_explodes_is_named_by_layer_and_step():
    model = librnn.RNN(1, 1, bias=False, activations={"h": ("affine", 1.0, 0.0)})
    # h grows by 1e4 a step and so does its gradient, which has the same exponent once more: it overflows on the way back.
    model.load_state_dict({"weight_ih_l0": [[1.0]], "weight_hh_l0": [[1e4]]})
    x = np.zeros((9, 1, 1), np.float32)
    x[0] = 1
    report = skipped(model, x, np.zeros((9, 1, 1), np.float32))
    assert (report.non_finite, report.non_finite_layer) == ("backward", "layer 0")
    # h_8 = 1e32; dL/dh_t = 1e32 · 1e4^(8 - t) · 2/9, above 3.4e38 from t = 6 down.
    assert report.non_finite_step == 6
    assert "the gradient dL/dh of layer 0 is not finite at step 6" in report.message


def test_gradients_whose_squares_overflow_are_finite():
    """From step 4 down, dL/dh is about 1e4, 1e84, 1e164, 1e244 and infinite: h is 1e-300, 1e-220, 1e-140, 1e-60, 1e20."""
    model = librnn.RNN(1, 1, nonlinearity="relu", dtype="float64")
    values = {"weight_ih_l0": 1.0, "weight_hh_l0": 1e80, "bias_ih_l0": 0.0, "bias_hh_l0": 0.0}
    model.load_state_dict({name: np.full(model.parameters[name].shape, value) for name, value in values.items()})
    x = np.zeros((5, 1, 1))
    x[0] = 1e-300
    y = model(x)[0]
    assert 0.9e20 < y[4, 0, 0] < 1.1e20
    targets = y.copy()
    targets[4] -= 32768.0
    report = librnn.Trainer(model, "mse", optim.SGD(model, 0.1)).step(x, targets)
    assert (report.skipped, report.non_finite, report.non_finite_layer) == (1, "backward", "layer 0")
    assert report.non_finite_step == 0



def test_an_epoch_says_why_updates_were_left_out():
    model = librnn.GRU(3, 4, seed=1)
    x, targets = data(model)
    bad = x.copy()
    bad[1] = np.nan
    trainer = librnn.Trainer(model, "mse", optim.SGD(model, 0.1))
    history = trainer.fit([(x, targets), (bad, targets)])
    assert (history.epochs[0].updates, history.epochs[0].skipped) == (1, 1)
    assert "layer 0 is not finite from step 1 on" in str(history.epochs[0])
    assert history.steps[0].message == "" and history.steps[0].non_finite is None
    assert "skipped" not in str(trainer.fit([(x, targets)]).epochs[0])


@pytest.mark.parametrize("cell", ["rnn_relu", "gru_before", "gru_after", "lstm"])
def test_a_trainer_learns_with_any_options(cell):
    """Its gradients are those of `backward`, and the learned initial state moves."""
    generator, moved = np.random.default_rng(0), 0
    for _ in range(8):
        names = random_names(cell, generator, ("lengths", "mask", "repeated padding", "batch first", "dropout", "recurrent dropout"))
        layer = make_layer(cell, {**combined(cell, *names)[0], "learn_initial_state": True})
        x, targets = data(layer, "float64")
        y, _, tape = layer.forward_train(x)
        g = layer.backward(tape, 2 * (y - targets) / y.size)
        before = layer.state_dict()
        trainer = librnn.Trainer(layer, "mse", optim.SGD(layer, 0.05))
        trainer.step(x, targets)
        for name, value in trainer.gradients().items():
            np.testing.assert_allclose(value, g.parameters[name], rtol=1e-10, atol=1e-14, err_msg=f"{names} {name}")
            np.testing.assert_allclose(layer.parameters[name], before[name] - 0.05 * value, rtol=1e-10, atol=1e-14)
        moved += int((layer.parameters["h_0_l0"] != before["h_0_l0"]).any())
    # Not where every unit of a ReLU is at 0, or every gate at its limit.
    assert moved >= 4
