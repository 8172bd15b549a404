"""The gradient flow ||dL/dh_t|| that a backward pass reports."""

import numpy as np
import pytest

import librnn
import reference
from helpers import CELLS, like, make, random_state, randoms

T, N, I, H = 5, 3, 2, 3


@pytest.mark.parametrize("lengths", [None, [5, 2, 0]])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_flow_is_the_norm_of_the_gradient_that_reaches_each_state(cell, bidirectional, lengths):
    layer = make(cell, I, H, 2, bidirectional=bidirectional, dtype="float64", seed=3)
    x, hx = randoms(T, N, I, dtype="float64"), random_state(layer, N)
    y, state, tape = layer.forward_train(x, hx, lengths)
    grad_y, grad_state = randoms(*y.shape, seed=1, dtype="float64"), like(state, 2)
    flow = layer.backward(tape, grad_y, grad_state, gradient_flow=True).flow.hidden
    rows = 2 * (2 if bidirectional else 1)
    assert flow.shape == (rows, T) and flow.dtype == np.float64

    h0, c0 = hx if isinstance(hx, tuple) else (hx, None)
    grad_h, grad_c = grad_state if isinstance(grad_state, tuple) else (grad_state, None)

    def loss(nudge):
        y, h, c = reference.run(layer.cell, layer.parameters, x, h0, c0, lengths, nudge=nudge, **CELLS[cell][1])
        total = (y.value * grad_y).sum() + (h.value * grad_h).sum()
        return total + (c.value * grad_c).sum() if c is not None else total

    for row in range(rows):
        for t in range(T):
            gradient = np.zeros((N, H))
            for index in np.ndindex(N, H):
                # The complex step: exact to rounding, since nothing is subtracted.
                nudge = np.zeros((N, H), complex)
                nudge[index] = 1e-30j
                gradient[index] = loss((row, t, nudge)).imag / 1e-30
            np.testing.assert_allclose(flow[row, t], np.linalg.norm(gradient), rtol=1e-11, atol=1e-13)


def test_the_flow_shows_a_gradient_that_vanishes_and_one_that_explodes():
    for scale, exploding in ((0.5, False), (1.5, True)):
        layer = librnn.RNN(1, 4, nonlinearity="relu", bias=False)
        layer.load_state_dict({"weight_ih_l0": np.ones((4, 1)), "weight_hh_l0": np.eye(4) * scale})
        y, _, tape = layer.forward_train(np.ones((20, 1, 1), np.float32))
        grad_y = np.zeros_like(y)
        grad_y[-1] = 1
        flow = layer.backward(tape, grad_y, gradient_flow=True).flow.hidden
        np.testing.assert_allclose(flow[0], 2 * scale ** np.arange(19, -1, -1), rtol=1e-5)
        assert (flow[0, 0] > 1000) == exploding


def test_the_flow_is_only_computed_when_asked_for():
    layer = librnn.GRU(2, 3, seed=1)
    y, _, tape = layer.forward_train(randoms(4, 2, 2))
    assert layer.backward(tape, y).flow is None
