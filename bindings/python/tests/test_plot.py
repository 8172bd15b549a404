"""Figures of training; skipped without matplotlib."""

import math

import numpy as np
import pytest

import librnn
from helpers import python, randoms


def flow_of(layer, steps=12):
    y, _, tape = layer.forward_train(randoms(steps, 3, layer.input_size))
    grad = np.zeros_like(y)
    grad[-1] = 1
    return layer.backward(tape, grad, gradient_flow=True)


def test_without_matplotlib_the_package_works_and_a_plot_says_what_it_needs():
    code = """
import sys
sys.modules["matplotlib"] = None
import librnn
try:
    librnn.plot.training_curve([1.0, 2.0])
except ImportError as error:
    print(error)
"""
    assert "librnn.plot needs matplotlib: pip install" in python(code)


def test_importing_the_package_does_not_import_matplotlib():
    assert python("import sys, librnn; print('matplotlib' in sys.modules)").strip() == "False"


def test_rows_of_the_flow_are_named():
    assert flow_of(librnn.GRU(2, 3, 2, seed=1)).flow.labels == ("layer 0", "layer 1")
    assert flow_of(librnn.LSTM(2, 3, 2, bidirectional=True, seed=1)).flow.labels == (
        "layer 0 forward", "layer 0 backward", "layer 1 forward", "layer 1 backward",
    )  # fmt: skip
    model = librnn.Sequential([librnn.LSTM(2, 3), librnn.GRU(3, 4, 2)])
    assert flow_of(model).flow.labels == ("0: layer 0", "1: layer 0", "1: layer 1")


def test_gradient_flow_draws_a_line_for_each_layer_and_direction(tmp_path):
    pytest.importorskip("matplotlib")
    gradients = flow_of(librnn.LSTM(2, 3, 2, bidirectional=True, seed=1))
    flow = gradients.flow
    for given in (gradients, flow):
        figure = librnn.plot.gradient_flow(given, tmp_path / "flow.png")
        hidden, cell, jacobian, mean, saturation = figure.axes[:5]
        for axes, values, letter in ((hidden, flow.hidden, "H_t"), (cell, flow.cell, "C_t"), (jacobian, flow.jacobian_norm, "{t-1}")):
            assert letter in axes.get_ylabel() and "partial" in axes.get_ylabel()
            lines = [line for line in axes.lines if len(line.get_ydata()) == 12]
            assert [line.get_label() for line in lines] == list(flow.labels)
            for line, row in zip(lines, values):
                shown = line.get_ydata()
                assert np.array_equal(shown[row > 0], row[row > 0]) and np.isnan(shown[row == 0]).all()
        assert hidden.get_yscale() == cell.get_yscale() == "log"
        assert [text.get_text() for text in hidden.get_legend().get_texts()] == list(flow.labels)
        assert saturation.get_xlabel() == "step t"
        names = [f"{label}  {letter}" for label in flow.labels for letter in "ifgo"]
        for axes, values in ((mean, flow.gate_mean), (saturation, flow.gate_saturation)):
            assert [label.get_text() for label in axes.get_yticklabels()] == names
            assert np.array_equal(axes.images[0].get_array(), values.transpose(0, 2, 1).reshape(16, 12))
        assert (tmp_path / "flow.png").stat().st_size > 5000
    one = librnn.plot.gradient_flow(flow_of(librnn.RNN(2, 3, seed=1)))
    assert one.axes[0].get_legend() is None
    # Without C: no panel for it; and a gate a row: h.
    assert len(one.axes[1].lines) == 2 and [label.get_text() for label in one.axes[2].get_yticklabels()] == ["layer 0  h"]


def test_gradient_flow_shows_what_a_limit_left():
    pytest.importorskip("matplotlib")
    layer = librnn.GRU(2, 3, seed=1)
    y, _, tape = layer.forward_train(randoms(12, 3, 2))
    flow = layer.backward(tape, np.ones_like(y), gradient_flow=True, hidden_clip=0.5).flow
    assert (flow.clipped < flow.hidden).any()
    dotted = [line for line in librnn.plot.gradient_flow(flow).axes[0].lines if line.get_linestyle() == ":"]
    assert len(dotted) == 1 and np.array_equal(dotted[0].get_ydata(), flow.clipped[0])


def test_a_flow_of_many_layers_can_be_drawn():
    pytest.importorskip("matplotlib")
    figure = librnn.plot.gradient_flow(flow_of(librnn.LSTM(2, 2, 16, bidirectional=True, seed=1), steps=3))
    assert 0 < len(figure.axes[3].get_yticklabels()) <= 32 and figure.get_size_inches()[1] < 20


def test_training_curve_draws_losses_and_gradient_norms(tmp_path):
    pytest.importorskip("matplotlib")
    model = librnn.GRU(2, 3, seed=1)
    trainer = librnn.Trainer(model, "mse", librnn.optim.SGD(model, 0.1), clip_norm=0.01)
    batches = [(randoms(4, 2, 2, seed=i), randoms(4, 2, 3, seed=i)) for i in range(30)]
    history = trainer.fit(batches, epochs=3)
    figure = librnn.plot.training_curve(history, str(tmp_path / "curve.svg"))
    upper, lower = figure.axes
    assert np.array_equal(upper.lines[0].get_ydata(), history.losses)
    assert upper.get_ylabel() == "loss" and lower.get_ylabel() == "gradient norm" and lower.get_xlabel() == "step"
    assert np.array_equal(lower.lines[0].get_ydata(), [step.gradient_norm for step in history.steps])
    assert (tmp_path / "curve.svg").read_text().startswith("<?xml")
    assert len(librnn.plot.training_curve(history.steps).axes) == 2
    numbers = librnn.plot.training_curve([3.0, math.nan, 1.0, 0.5])
    assert len(numbers.axes) == 1 and numbers.axes[0].get_xlabel() == "step"


def test_wrong_arguments_are_errors_that_say_what_is_wrong():
    layer = librnn.GRU(2, 3, seed=1)
    y, _, tape = layer.forward_train(randoms(4, 2, 2))
    with pytest.raises(librnn.RNNError, match="gradient_flow=True"):
        librnn.plot.gradient_flow(layer.backward(tape, y))
    with pytest.raises(librnn.RNNError, match="flow is ndarray"):
        librnn.plot.gradient_flow(y)
    with pytest.raises(librnn.RNNError, match="history is empty"):
        librnn.plot.training_curve([])
