"""Every forward has a backward: all gradients against central differences in float64."""

import numpy as np
import pytest

import librnn
from helpers import CELLS, leaves, like, make, mapped, random_state, randoms

#: Step of the differences. Truncation errs by STEP²/6 · |L'''|, rounding by u · |L| / STEP: with |L| and |L'''| below about 100
#: that is 2e-9 and 1e-9; TOLERANCE leaves a factor of 10.
STEP = 1e-5
TOLERANCE = 3e-8


def differences(loss, array):
    """dloss/darray, by changing each element in place."""
    result = np.zeros_like(array)
    flat, out = array.reshape(-1), result.reshape(-1)
    for index in range(flat.size):
        kept = flat[index]
        flat[index] = kept + STEP
        above = loss()
        flat[index] = kept - STEP
        below = loss()
        flat[index] = kept
        out[index] = (above - below) / (2 * STEP)
    return result


def check_gradients(model, x, hx, lengths=None, seed=11):
    """Compares `backward` with the differences of a random linear function of y and the final state."""
    y, state, tape = model.forward_train(x, hx, lengths)
    grad_y, grad_state = randoms(*y.shape, seed=seed, dtype="float64"), like(state, seed + 1)

    def loss():
        y, state = model(x, hx, lengths)
        return (y * grad_y).sum() + sum((a * b).sum() for a, b in zip(leaves(state), leaves(grad_state)))

    gradients = model.backward(tape, grad_y, grad_state)
    if x.dtype.kind == "f":
        np.testing.assert_allclose(gradients.input, differences(loss, x), atol=TOLERANCE, rtol=TOLERANCE, err_msg="input")
    else:
        assert gradients.input is None
    assert len(leaves(gradients.state)) == len(leaves(hx))
    for index, (actual, array) in enumerate(zip(leaves(gradients.state), leaves(hx))):
        assert actual.shape == array.shape
        np.testing.assert_allclose(actual, differences(loss, array), atol=TOLERANCE, rtol=TOLERANCE, err_msg=f"state {index}")
    weights = model.state_dict()
    assert list(gradients.parameters) == list(weights)
    for name, array in weights.items():
        def loss_of_weights():
            model.load_state_dict(weights)
            return loss()

        expected = differences(loss_of_weights, array)
        np.testing.assert_allclose(gradients.parameters[name], expected, atol=TOLERANCE, rtol=TOLERANCE, err_msg=name)
    model.load_state_dict(weights)
    return gradients


@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_every_gradient_of_a_layer_is_that_of_central_differences(cell, layers, bidirectional, lengths):
    layer = make(cell, 2, 3, layers, bidirectional=bidirectional, dtype="float64", seed=5)
    check_gradients(layer, randoms(4, 3, 2, dtype="float64"), random_state(layer, 3), lengths)


@pytest.mark.parametrize("bias", ["single", "double", False])
@pytest.mark.parametrize("cell", CELLS)
def test_every_gradient_is_right_with_any_kind_of_bias(cell, bias):
    layer = make(cell, 2, 3, bias=bias, dtype="float64", seed=5, batch_first=True)
    check_gradients(layer, randoms(3, 4, 2, dtype="float64"), random_state(layer, 3))


@pytest.mark.parametrize("cell", CELLS)
def test_three_layers_and_no_batch_axis_have_gradients(cell):
    layer = make(cell, 2, 3, 3, dtype="float64", seed=5)
    hx = mapped(lambda a: a[:, 0].copy(), random_state(layer, 1))
    check_gradients(layer, randoms(4, 2, dtype="float64"), hx)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_large_layers_are_right_along_random_directions(cell):
    """Sizes beyond every tile and block: d loss / d direction = Σ gradient · direction checks all elements at once."""
    for size, hidden, rows, steps, bidirectional in [(70, 129, 33, 6, True), (300, 260, 17, 4, False), (5, 31, 130, 9, True)]:
        options = {"bidirectional": bidirectional, "seed": 2}
        layer, single = make(cell, size, hidden, dtype="float64", **options), make(cell, size, hidden, **options)
        layer.load_state_dict(single.state_dict())
        x = randoms(steps, rows, size).astype(np.float64)
        hx = mapped(lambda a: a.astype(np.float32).astype(np.float64), random_state(layer, rows))
        lengths = np.random.default_rng(0).integers(0, steps + 1, rows)
        y, state, tape = layer.forward_train(x, hx, lengths)
        grad_y, grad_state = randoms(*y.shape, seed=5).astype(np.float64), mapped(np.cos, state)
        g = layer.backward(tape, grad_y, grad_state)
        weights = layer.state_dict()
        turns = {name: randoms(*value.shape, seed=6, dtype="float64") for name, value in weights.items()}
        turn_x, turn_hx = randoms(*x.shape, seed=7, dtype="float64"), like(hx, 8)

        def loss(by, part):
            layer.load_state_dict({name: weights[name] + (by * turns[name] if part == "weights" else 0) for name in weights})
            moved = [a + (by * b if part == "state" else 0) for a, b in zip(leaves(hx), leaves(turn_hx))]
            moved_x = x + (by * turn_x if part == "input" else 0)
            y, state = layer(moved_x, tuple(moved) if isinstance(hx, tuple) else moved[0], lengths)
            return (y * grad_y).sum() + sum((a * b).sum() for a, b in zip(leaves(state), leaves(grad_state)))

        pairs = {
            "weights": [(g.parameters[name], turn) for name, turn in turns.items()],
            "input": [(g.input, turn_x)],
            "state": list(zip(leaves(g.state), leaves(turn_hx))),
        }
        # Not for ReLU: among so many units some pass 0 on the way, and the difference then sees both slopes.
        for part, gradients in pairs.items() if cell != "rnn_relu" else ():
            slope = sum((gradient * turn).sum() for gradient, turn in gradients)
            length = np.sqrt(sum((gradient**2).sum() for gradient, _ in gradients))
            expected = (loss(1e-7, part) - loss(-1e-7, part)) / 2e-7
            # The slope is about as large as the gradient is long. Differences this small lose half of the digits to rounding.
            assert abs(slope - expected) <= 1e-7 * length, (part, size, hidden, abs(slope - expected) / length)

        # float32 against float64: sums of T*N terms, of values behind T steps of sums of I + H, each rounded at its worst.
        y, state, tape = single.forward_train(x, hx, lengths)
        single_g = single.backward(tape, grad_y, mapped(np.cos, state))
        bound = (steps * rows + steps * (size + hidden)) * 2.0**-24
        for name, value in [*g.parameters.items(), ("input", g.input)]:
            other = single_g.input if name == "input" else single_g.parameters[name]
            assert np.abs(value - other).max() <= bound * np.abs(value).max(), (name, size, hidden)


STACKS = {
    "mixed cells": [librnn.LSTM, librnn.GRU, librnn.RNN],
    "other mixed cells": [librnn.GRU, librnn.RNN, librnn.LSTM],
}


@pytest.mark.parametrize("lengths", [None, [3, 4, 1]])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("stack", STACKS)
def test_every_gradient_of_a_mixed_stack_is_that_of_central_differences(stack, bidirectional, lengths):
    width, modules = 2, []
    for size, kind in zip((3, 2, 4), STACKS[stack]):
        modules.append(kind(width, size, bidirectional=bidirectional, dtype="float64", seed=3))
        width = size * (2 if bidirectional else 1)
    model = librnn.Sequential(modules + [librnn.Linear(width, 2, dtype="float64", seed=4)])
    check_gradients(model, randoms(4, 3, 2, dtype="float64"), random_state(model, 3), lengths)


@pytest.mark.parametrize("lengths", [None, [3, 4, 1]])
def test_a_classifier_of_token_sequences_has_gradients(lengths):
    model = librnn.Sequential(
        [
            librnn.Embedding(5, 3, dtype="float64", seed=1),
            librnn.GRU(3, 4, bidirectional=True, dtype="float64", seed=2),
            librnn.LSTM(8, 3, dtype="float64", seed=3),
            librnn.LastStep(),
            librnn.Linear(3, 2, dtype="float64", seed=4),
        ]
    )
    tokens = np.array([[0, 1, 2], [3, 0, 4], [1, 1, 0], [2, 3, 1]])
    hx = [np.zeros((2, 3, 4)) + 0.1, (np.zeros((1, 3, 3)), np.ones((1, 3, 3)))]
    gradients = check_gradients(model, tokens, hx, lengths)
    assert gradients.input is None


def test_one_hot_tokens_have_gradients():
    rnn, linear = librnn.RNN(4, 3, dtype="float64", seed=2), librnn.Linear(3, 4, dtype="float64", seed=3)
    model = librnn.Sequential([librnn.OneHot(4), rnn, linear])
    check_gradients(model, np.array([[0, 3], [1, 2], [3, 3]]), [np.zeros((1, 2, 3))])


def test_a_linear_network_alone_has_gradients():
    model = librnn.Sequential([librnn.Linear(5, 3, dtype="float64", seed=1)])
    check_gradients(model, randoms(3, 2, 5, dtype="float64"), [])
    model = librnn.Sequential([librnn.Linear(20, 1, bias=False, dtype="float64", seed=1)])
    check_gradients(model, randoms(2, 3, 20, dtype="float64"), [], [1, 2, 0])


def test_a_module_alone_has_gradients_in_any_shape():
    linear, embedding = librnn.Linear(3, 2, dtype="float64", seed=1), librnn.Embedding(4, 2, dtype="float64", seed=1)
    batch, row, tokens = randoms(2, 5, 3, dtype="float64"), randoms(3, dtype="float64"), np.array([[1, 2, 1]])
    for module, x in ((linear, batch), (linear, row), (embedding, tokens)):
        y, tape = module.forward_train(x)
        assert np.array_equal(y, module(x)) and y.shape == module(x).shape
        grad_y = np.cos(y)
        g = module.backward(tape, grad_y)
        if module is linear:
            assert g.input.shape == x.shape
            np.testing.assert_allclose(g.input, grad_y @ linear.parameters["weight"], rtol=1e-14, atol=1e-14)
            rows, grads = x.reshape(-1, 3), grad_y.reshape(-1, 2)
            np.testing.assert_allclose(g.parameters["weight"], grads.T @ rows, rtol=1e-14, atol=1e-14)
            np.testing.assert_allclose(g.parameters["bias"], grads.sum(0), rtol=1e-14, atol=1e-14)
        else:
            expected = np.zeros((4, 2))
            np.add.at(expected, x, grad_y)
            np.testing.assert_allclose(g.parameters["weight"], expected, rtol=1e-15)


def test_dropout_in_training_has_the_gradient_of_its_mask():
    gru, linear = librnn.GRU(3, 4, 2, dropout=0.4, dtype="float64", seed=1), librnn.Linear(4, 2, dtype="float64", seed=2)
    model = librnn.Sequential([gru, librnn.Dropout(0.3), linear], seed=9)
    x = randoms(5, 3, 3, dtype="float64")
    y, _, tape = model.forward_train(x, step=3)
    grad_y = randoms(*y.shape, seed=5, dtype="float64")
    gradients = model.backward(tape, grad_y)
    expected = differences(lambda: (model.forward_train(x, step=3)[0] * grad_y).sum(), x)
    np.testing.assert_allclose(gradients.input, expected, atol=TOLERANCE, rtol=TOLERANCE)
    assert not np.array_equal(y, model(x)[0])


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_in_padding_are_exactly_zero_and_padding_is_never_read(cell):
    layer = make(cell, 3, 4, 2, bidirectional=True)
    x, lengths = randoms(6, 3, 3), [4, 6, 2]
    y, state, tape = layer.forward_train(x, None, lengths)
    grad_y = randoms(*y.shape, seed=1)
    clean = layer.backward(tape, grad_y)
    for row, length in enumerate(lengths):
        assert not clean.input[length:, row].any()
        x[length:, row] = np.nan
        grad_y[length:, row] = np.nan
    _, _, tape = layer.forward_train(x, None, lengths)
    dirty = layer.backward(tape, grad_y)
    assert np.array_equal(dirty.input, clean.input)
    assert all(np.array_equal(dirty.parameters[name], value) for name, value in clean.parameters.items())


def test_what_is_left_out_of_a_backward_pass_is_zeros():
    layer = librnn.LSTM(3, 4, seed=1, dtype="float64")
    y, (h, c), tape = layer.forward_train(randoms(5, 2, 3, dtype="float64"))
    grad_y = randoms(*y.shape, dtype="float64")
    zeros = np.zeros_like(h)
    a, b = layer.backward(tape, grad_y), layer.backward(tape, grad_y, (zeros, None))
    assert np.array_equal(a.input, b.input) and np.array_equal(a.state[1], b.state[1])
    a, b = layer.backward(tape, None, (h, c)), layer.backward(tape, np.zeros_like(y), (h, c))
    assert np.array_equal(a.input, b.input) and np.array_equal(a.state[0], b.state[0])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lengths", [None, [7, 3, 5]])
def test_the_gradient_of_the_input_can_be_left_out(cell, lengths):
    layer = make(cell, 3, 4, num_layers=2, seed=1)
    y, _, tape = layer.forward_train(randoms(7, 3, 3), None, lengths)
    grad_y = randoms(*y.shape)
    all_of_them, parameters_alone = layer.backward(tape, grad_y), layer.backward(tape, grad_y, input_gradient=False)
    assert all_of_them.input is not None and parameters_alone.input is None
    for a, b in zip(leaves(all_of_them.state), leaves(parameters_alone.state)):
        assert np.array_equal(a, b)
    for name, value in all_of_them.parameters.items():
        assert np.array_equal(value, parameters_alone.parameters[name]), name


@pytest.mark.parametrize("lengths", [None, [9, 0, 4, 7]])
@pytest.mark.parametrize(
    "layers",
    [
        lambda: [librnn.LSTM(5, 6, 2, bidirectional=True, seed=1)],
        lambda: [librnn.LSTM(5, 6, proj_size=3, dropout=0.5, num_layers=2, seed=1), librnn.Linear(3, 2, seed=2)],
        lambda: [librnn.GRU(5, 6, variant="reset_before", seed=1), librnn.Dropout(0.3), librnn.LastStep()],
        lambda: [librnn.GRU(5, 17, variant="reset_after", recurrent_dropout=0.4, seed=1), librnn.Linear(17, 20, seed=2)],
        lambda: [librnn.RNN(5, 33, seed=1), librnn.LSTM(33, 4, seed=3)],
    ],
)
def test_passes_do_not_see_what_passes_before_them_left_in_their_memory(layers, lengths):
    """The memory of a pass goes to the next one as it is: full of NaN here."""

    def gradients(model):
        x = randoms(9, 4, 5)
        y, state, tape = model.forward_train(x, None, lengths, step=3)
        found = model.backward(tape, np.ones_like(y))
        return [y, found.input, *leaves(state), *leaves(found.state), *found.parameters.values()]

    fresh, used = librnn.Sequential(layers(), seed=4), librnn.Sequential(layers(), seed=4)
    for _ in range(3):
        y, _, tape = used.forward_train(np.full((9, 4, 5), np.nan, np.float32))
        used.backward(tape, np.full_like(y, np.nan))
        del tape
    for a, b in zip(gradients(fresh), gradients(used)):
        assert np.array_equal(a, b)


def test_a_tape_keeps_the_weights_of_its_forward_pass():
    layer = librnn.GRU(3, 4, seed=1)
    y, h, tape = layer.forward_train(randoms(5, 2, 3))
    before = layer.backward(tape, np.ones_like(y))
    layer.load_state_dict({name: value + 1 for name, value in layer.state_dict().items()})
    after = layer.backward(tape, np.ones_like(y))
    assert np.array_equal(before.input, after.input)
    assert all(np.array_equal(before.parameters[n], after.parameters[n]) for n in before.parameters)


@pytest.mark.parametrize("options", [(c, n) for c in CELLS for n in (True, "single", False)])
def test_every_gradient_of_a_cell_is_that_of_central_differences(options):
    name, bias = options
    kind, keywords = {"rnn": librnn.RNNCell, "gru": librnn.GRUCell, "lstm": librnn.LSTMCell}[name.split("_")[0]], CELLS[name][1]
    cell = kind(3, 4, bias=bias, dtype="float64", seed=2, **keywords)
    x = randoms(2, 3, dtype="float64")
    state = like(cell(x), 3)
    result, trace = cell.forward_train(x, state)
    grad_state = like(result, 4)

    def loss():
        return sum((a * b).sum() for a, b in zip(leaves(cell(x, state)), leaves(grad_state)))

    gradients = cell.backward(trace, grad_state)
    np.testing.assert_allclose(gradients.input, differences(loss, x), atol=TOLERANCE, rtol=TOLERANCE)
    for actual, array in zip(leaves(gradients.state), leaves(state)):
        np.testing.assert_allclose(actual, differences(loss, array), atol=TOLERANCE, rtol=TOLERANCE)
    weights = cell.state_dict()
    for key, array in weights.items():
        def loss_of_weights():
            cell.load_state_dict(weights)
            return loss()

        np.testing.assert_allclose(
            gradients.parameters[key], differences(loss_of_weights, array), atol=TOLERANCE, rtol=TOLERANCE, err_msg=key
        )
