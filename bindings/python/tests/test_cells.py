"""RNNCell, GRUCell, LSTMCell: one step, with PyTorch's shapes."""

import numpy as np
import pytest

import librnn
import reference
from helpers import CELLS, DTYPES, assert_same_bits, leaves, like, mapped, randoms

KINDS = {"rnn": librnn.RNNCell, "gru": librnn.GRUCell, "lstm": librnn.LSTMCell}


def make_cell(cell, *sizes, **keywords):
    return KINDS[cell.split("_")[0]](*sizes, **{"seed": 1, **CELLS[cell][1], **keywords})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, "single", False])
@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_computes_the_equations(cell, bias, dtype):
    one = make_cell(cell, 5, 7, bias=bias, dtype=dtype)
    x = randoms(3, 5, dtype=dtype)
    state = like(one(x), 2)
    h, c = state if isinstance(state, tuple) else (state, None)
    parameters = {name + "_l0": value for name, value in one.parameters.items()}
    _, h_n, c_n = reference.run(
        cell.split("_")[0], parameters, x[None], h[None], None if c is None else c[None], None,
        reference.roundoff(dtype), **CELLS[cell][1],
    )  # fmt: skip
    result = one(x, state)
    reference.assert_within((result if c is None else result[0])[None], h_n)
    if c is not None:
        reference.assert_within(result[1][None], c_n)


@pytest.mark.parametrize("cell", CELLS)
def test_one_row_may_come_without_the_batch_axis(cell):
    one = make_cell(cell, 5, 7)
    x = randoms(1, 5)
    state = like(one(x), 2)
    flat = mapped(lambda a: a[0], state)
    assert_same_bits(one(x[0], flat), mapped(lambda a: a[0], one(x, state)))
    result, trace = one.forward_train(x[0], flat)
    g = one.backward(trace, flat)
    assert g.input.shape == (5,) and all(leaf.shape == (7,) for leaf in leaves(g.state))


@pytest.mark.parametrize("cell", CELLS)
def test_the_backward_of_a_cell_is_that_of_one_step_of_its_layer(cell):
    kind, options = CELLS[cell]
    layer = kind(5, 7, seed=1, **options)
    one = make_cell(cell, 5, 7)
    x = randoms(3, 5)
    state = like(one(x), 2)
    result, trace = one.forward_train(x, state)
    grad = like(result, 3)
    g = one.backward(trace, grad)
    y, _, tape = layer.forward_train(x[None], mapped(lambda a: a[None], state))
    expected = layer.backward(tape, None, mapped(lambda a: a[None], grad))
    np.testing.assert_allclose(g.input, expected.input[0], rtol=1e-5, atol=1e-6)
    for a, b in zip(leaves(g.state), leaves(expected.state)):
        np.testing.assert_allclose(a, b[0], rtol=1e-5, atol=1e-6)
    for name, value in g.parameters.items():
        np.testing.assert_allclose(value, expected.parameters[name + "_l0"], rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_trace_keeps_the_arguments_and_weights_of_its_step():
    cell = librnn.GRUCell(3, 4, seed=1)
    x, h = randoms(2, 3), randoms(2, 4)
    result, trace = cell.forward_train(x, h)
    before = cell.backward(trace, result)
    x[:], h[:] = 0, 0
    cell.load_state_dict({name: value * 2 for name, value in cell.state_dict().items()})
    after = cell.backward(trace, before.state * 0 + cell(x) * 0 + result)
    assert_same_bits(after.parameters, before.parameters)


def test_half_a_gradient_of_an_lstm_state_may_be_left_out():
    cell = librnn.LSTMCell(3, 4, seed=1, dtype="float64")
    (h, c), trace = cell.forward_train(randoms(2, 3))
    zeros = np.zeros_like(h)
    for part, full in (((h, None), (h, zeros)), ((None, c), (zeros, c)), (None, (zeros, zeros))):
        assert_same_bits(cell.backward(trace, part).input, cell.backward(trace, full).input)
