"""Every option of recurrent layers, alone and in pairs: equations, gradients, refusals."""

import itertools

import numpy as np
import pytest

import librnn
import reference
from helpers import CELLS, DTYPES, assert_same_bits, leaves, like
from recurrent_options import (
    OPTIONS,
    REFUSED,
    active,
    assert_as_expected,
    combined,
    expected,
    inputs,
    make_layer,
    partners,
    probe_masks,
    random_hx,
    time_major,
)
from test_gradients import STEP, TOLERANCE

STEP_NUMBER = 7


def pairs(cell):
    """(first option, all that it is combined with), as parameters of a test."""
    return [(cell, first) for first, (cells, _, _) in OPTIONS.items() if cell in cells]


CASES = [case for cell in CELLS for case in pairs(cell)]


def trained(layer, x, hx, call):
    y, state, tape = layer.forward_train(x, hx, step=STEP_NUMBER, **call)
    return y, state, tape


@pytest.mark.parametrize("cell, first", CASES)
def test_a_layer_with_any_pair_of_options_computes_the_equations(cell, first):
    for names in partners(cell, first):
        keywords, call = combined(cell, *names)
        for dtype in DTYPES:
            layer = make_layer(cell, keywords, dtype=dtype)
            x, call_here = inputs(layer, call)
            u = reference.roundoff(layer.dtype)
            for hx in (random_hx(layer, x.shape[0 if layer.batch_first else 1]), None):
                name = f"{names} {dtype} {'with' if hx is not None else 'without'} hx"
                wanted = expected(layer, x, hx, call_here, u)
                y, state = layer(x, hx, **call_here)
                assert_as_expected(layer, y, state, wanted, name)
                y, state, tape = trained(layer, x, hx, call_here)
                record = {}
                recurrent, between = probe_masks(layer, STEP_NUMBER)
                wanted = expected(
                    layer, x, hx, call_here, u, recurrent_masks=recurrent, dropout_masks=between, record=record
                )
                assert_as_expected(layer, y, state, wanted, name + ", training")
                kept = tape.read()
                assert sorted(kept) == sorted(record)
                for key, value in record.items():
                    reference.assert_within(time_major(layer, kept[key]), value, name=f"{name}, tape {key}")


def differences(model, flat, loss, array, step):
    """dloss/darray by central differences; `array` is the model's parameters, or what the loss reads itself."""
    result = np.zeros_like(array)
    values, out = array.reshape(-1), result.reshape(-1)
    for index in range(values.size):
        kept = values[index]
        sums = []
        for moved in (kept + step, kept - step):
            values[index] = moved
            if array is flat:
                model._set_parameters(flat)
            sums.append(loss())
        values[index] = kept
        out[index] = (sums[0] - sums[1]) / (2 * step)
    if array is flat:
        model._set_parameters(flat)
    return result


def assert_gradients(model, x, hx, call, name):
    """All gradients of a random linear function of y and the final state are those of central differences."""
    y, state, tape = trained(model, x, hx, call)
    grad_y, grad_state = np.random.default_rng(11).standard_normal(y.shape), like(state, 12)
    weights = [(grad, np.asarray(grad)) for grad in leaves(grad_state)]

    def loss():
        y, state, _ = trained(model, x, hx, call)
        return np.vdot(y, grad_y) + sum(np.vdot(a, b) for a, (_, b) in zip(leaves(state), weights))

    gradients = model.backward(tape, grad_y, grad_state)
    flat = np.empty(model._parameter_elements)
    model._get_parameters(flat)
    given = np.concatenate([value.reshape(-1) for value in gradients.parameters.values()])
    compared = [("parameters", given, flat), ("input", gradients.input, x)]
    if hx is not None:
        compared += [
            (f"state {number}", gradient, array) for number, (gradient, array) in enumerate(zip(leaves(gradients.state), leaves(hx)))
        ]
    for part, actual, array in compared:
        wanted = differences(model, flat, loss, array, STEP)
        allowed = TOLERANCE * (1 + np.abs(wanted))
        off = np.abs(actual - wanted) > allowed
        if off.any():
            # A kink nearer than STEP, such as a limit, and the difference sees both slopes: a smaller step does not. It loses
            # as many digits to rounding.
            wanted = np.where(off, differences(model, flat, loss, array, STEP / 100), wanted)
            off &= np.abs(actual - wanted) > 100 * allowed
        if part == "parameters":
            part += " " + ", ".join(key for key, value in model._split(off).items() if value.any())
        assert not off.any(), f"{name}: {part}: off by {np.abs(actual - wanted).max():.3g} at {np.argwhere(off).tolist()[:5]}"


@pytest.mark.parametrize("cell, first", CASES)
def test_every_gradient_with_any_pair_of_options_is_that_of_central_differences(cell, first):
    for number, names in enumerate(partners(cell, first)):
        keywords, call = combined(cell, *names)
        layer = make_layer(cell, keywords)
        # Without NaN: the differences move padding too, and must find 0 there.
        x, call = inputs(layer, call, nan=False)
        rows = x.shape[0 if layer.batch_first else 1]
        hx = random_hx(layer, rows)
        assert_gradients(layer, x, hx, call, str(names))
        if layer.learn_initial_state:
            assert_gradients(layer, x, None, call, f"{names}, the learned state")


@pytest.mark.parametrize("cell", CELLS)
def test_pairs_that_make_no_sense_are_refused_and_the_message_says_why(cell):
    refused = 0
    for pair, says in REFUSED.items():
        names = sorted(pair)
        if any(cell not in OPTIONS[name][0] for name in names):
            continue
        keywords = {}
        for name in names:
            keywords.update(combined(cell, name)[0])
        with pytest.raises(librnn.RNNError, match=says) as caught:
            make_layer(cell, keywords)
        assert caught.value.status == "RNN_ERROR_INVALID_ARGUMENT"
        refused += 1
    assert refused >= 9


@pytest.mark.parametrize("cell", CELLS)
def test_every_pair_is_allowed_refused_or_two_values_of_one_keyword(cell):
    """So that the lists above are complete: what is not among the pairs cannot be said at all."""
    names = [name for name, (cells, _, _) in OPTIONS.items() if cell in cells]
    allowed = {frozenset(pair) for first in names for pair in partners(cell, first)}
    for pair in map(frozenset, itertools.combinations(names, 2)):
        assert (pair in allowed) + (pair in REFUSED) <= 1
        if pair not in allowed and pair not in REFUSED:
            assert combined(cell, *pair) is None, pair


def test_many_options_at_once_have_gradients_and_compute_the_equations():
    everything = {
        "num_layers": 2, "bidirectional": True, "merge": "sum", "residual": True, "learn_initial_state": True, "dropout": 0.3,
        "recurrent_dropout": 0.3, "gate_clip": 0.9, "bias": "single",
    }  # fmt: skip
    lstm = {
        "proj_size": 2, "hidden_size_reverse": 3, "peepholes": True, "cell_clip": 0.8, "gate_clip_output": True,
        "runtime_forget_bias": 0.5, "activations": ({"i": ("hard_sigmoid", 0.2, 0.5)}, {"h": "softsign", "g": "elu"}),
    }  # fmt: skip
    call = {"lengths": [3, 2, 3], "mask": [[1, 1, 0], [0, 1, 1], [1, 1, 1]], "padding_value": 2.5}
    for cell in CELLS:
        layer = make_layer(cell, {**everything, **(lstm if cell == "lstm" else {})})
        x, given = inputs(layer, call, nan=False)
        recurrent, between = probe_masks(layer, STEP_NUMBER)
        for hx in (None, random_hx(layer, 3)):
            y, state, _ = trained(layer, x, hx, given)
            wanted = expected(
                layer, x, hx, given, reference.roundoff(np.float64), recurrent_masks=recurrent, dropout_masks=between
            )
            assert_as_expected(layer, y, state, wanted, cell)
            assert_gradients(layer, x, hx, given, cell)


def test_masks_of_dropout_are_those_of_their_probability():
    layer = make_layer("lstm", {"num_layers": 2, "dropout": 0.25, "recurrent_dropout": 0.4}, hidden=50)
    recurrent, between = probe_masks(layer, 3, steps=20, rows=10)
    for mask, p in [(recurrent[0, 0], 0.4), (recurrent[1, 0], 0.4), (between[1], 0.25)]:
        assert set(np.unique(mask)) == {0, 1 / (1 - p)}
        # 500 draws or more: four standard deviations.
        assert abs((mask == 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / mask.size)
    assert (recurrent[0, 0] != recurrent[1, 0]).any()
    other, _ = probe_masks(layer, 4, steps=20, rows=10)
    assert (other[0, 0] != recurrent[0, 0]).any()


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_written_as_an_option_with_its_usual_value_is_no_option(cell):
    usual = {"rnn_tanh": {"h": "tanh"}, "rnn_relu": {"h": "relu"}, "lstm": {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "h": "tanh"}}
    activations = usual.get(cell, {"r": "sigmoid", "z": "sigmoid", "n": "tanh"})
    plain = make_layer(cell, {"bidirectional": True})
    same = make_layer(cell, {"bidirectional": True, "activations": activations, "hidden_size_reverse": 2, "merge": "concat"})
    assert repr(same) == repr(plain)
    x, _ = inputs(plain, {})
    assert_same_bits(same(x), plain(x))


def test_limits_that_nothing_reaches_and_zero_peepholes_change_no_bit():
    """The gates of the options are those of the plain cells."""
    for cell in CELLS:
        for dtype in DTYPES:
            plain = make_layer(cell, {"num_layers": 2}, size=19, hidden=21, dtype=dtype)
            wide = {"gate_clip": 1e6, **({"peepholes": True, "cell_clip": 1e6} if cell == "lstm" else {})}
            other = make_layer(cell, {"num_layers": 2, **wide}, size=19, hidden=21, dtype=dtype)
            zeros = {name: np.zeros_like(value) for name, value in other.state_dict().items()}
            other.load_state_dict({**zeros, **plain.state_dict()})
            x = np.random.default_rng(0).standard_normal((6, 5, 19)).astype(dtype)
            assert_same_bits(other(x), plain(x), cell)


def test_a_runtime_forget_bias_is_a_stored_one():
    stored, added = make_layer("lstm", {"bias": "single"}), make_layer("lstm", {"bias": "single", "runtime_forget_bias": 1.0})
    state = added.state_dict()
    np.split(state["bias_l0"], 4)[1][...] += 1.0
    stored.load_state_dict(state)
    x, _ = inputs(stored, {})
    np.testing.assert_allclose(added(x)[0], stored(x)[0], rtol=1e-14)


def test_padding_is_what_was_chosen_and_the_empty_row_keeps_or_loses_its_state():
    for cell in CELLS:
        layer = make_layer(cell, {"num_layers": 2})
        hx = random_hx(layer, 3)
        x, call = inputs(layer, {"lengths": [3, 0, 1]})
        here = active(call, 3, 3)
        zeros, final = layer(x, hx, **call)
        assert not zeros[~here].any()
        valued, _ = layer(x, hx, **call, padding_value=-7.5)
        assert (valued[~here] == -7.5).all()
        repeated, _ = layer(x, hx, **call, padding="repeat")
        assert np.array_equal(repeated[1:, 2], np.repeat(repeated[:1, 2], 2, 0)) and not repeated[:, 1].any()
        for other in (valued, repeated):
            assert_same_bits(other[here], zeros[here])
        assert all(np.array_equal(a[:, 1], b[:, 1]) for a, b in zip(leaves(final), leaves(hx)))
        _, cleared = layer(x, hx, **call, zero_state_of_empty_rows=True)
        for a, b in zip(leaves(cleared), leaves(final)):
            assert not a[:, 1].any() and np.array_equal(a[:, [0, 2]], b[:, [0, 2]])


def test_a_mask_of_any_kind_of_number_will_do():
    layer = make_layer("gru_before", {})
    x, _ = inputs(layer, {})
    mask = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]])
    wanted = layer(x, mask=mask.astype(bool))
    for kind in (np.uint8, np.int64, np.int8):
        assert_same_bits(layer(x, mask=mask.astype(kind) * 3), wanted)
    assert_same_bits(layer(x, mask=mask.tolist()), wanted)
    strided = np.zeros((3, 6), bool)
    strided[:, ::2] = mask
    assert_same_bits(layer(x, mask=strided[:, ::2]), wanted)
    flat = layer(x[:, 0], mask=mask[:, 0])
    assert_same_bits(flat[0], wanted[0][:, 0])
    assert_same_bits(layer(x, mask=np.ones((3, 3), bool)), layer(x))


def test_wrong_options_are_refused_by_name():
    def refused(says, function, *arguments, **keywords):
        with pytest.raises(librnn.RNNError) as caught:
            function(*arguments, **keywords)
        for text in says:
            assert text in caught.value.message, caught.value.message

    for kind in (librnn.RNN, librnn.GRU, librnn.LSTM):
        nan, infinity = float("nan"), float("inf")
        for name, values in {
            "direction": ["backward", None, 1], "merge": ["add", None], "hidden_size_reverse": [0, -1, 2.5, "3"],
            "recurrent_dropout": [1.0, -0.1, nan, "x"], "gate_clip": [-1, nan, infinity, "x"],
        }.items():  # fmt: skip
            for value in values:
                refused([f"{name} is {value!r}"], kind, 2, 3, bidirectional=name in ("merge", "hidden_size_reverse"), **{name: value})
        refused(["merge is 'sum'", "bidirectional=True"], kind, 2, 3, merge="sum")
        refused(["hidden_size_reverse is 4"], kind, 2, 3, hidden_size_reverse=4)
        letter = {"rnn": "h", "gru": "n", "lstm": "g"}[kind.cell]
        refused(["'q'", f"'{letter}'"], kind, 2, 3, activations={"q": "tanh"})
        refused(["'gelu2'"], kind, 2, 3, activations={letter: "gelu2"})
        refused(["'hard_sigmoid'", "alpha"], kind, 2, 3, activations={letter: "hard_sigmoid"})
        refused(["'tanh'", "alpha"], kind, 2, 3, activations={letter: ("tanh", 1.0)})
        refused(["(name, alpha, beta)"], kind, 2, 3, activations={letter: ("tanh", 1, 1, 1)})
        refused(["pair"], kind, 2, 3, activations=({letter: "relu"}, {}))
        for wrong in ("tanh", [{}], 3, ({}, {}, {}), ({}, 3)):
            refused(["activations is"], kind, 2, 3, bidirectional=True, activations=wrong)
    for name, values in {
        "proj_size": [-1, 1.5, None], "cell_clip": [-1, float("nan")], "runtime_forget_bias": [float("inf"), "x"],
    }.items():  # fmt: skip
        for value in values:
            refused([f"{name} is {value!r}"], librnn.LSTM, 2, 3, **{name: value})
    refused(["gate_clip_output", "gate_clip is 0"], librnn.LSTM, 2, 3, gate_clip_output=True)
    refused(["'f'", "coupled_gates"], librnn.LSTM, 2, 3, coupled_gates=True, activations={"f": "tanh"})
    for kind in (librnn.RNN, librnn.GRU):
        with pytest.raises(TypeError, match="peepholes"):
            kind(2, 3, peepholes=True)

    layer = librnn.GRU(2, 3, seed=1)
    x = np.zeros((4, 2, 2), np.float32)
    refused(["mask has shape (2, 4)", "(4, 2)"], layer, x, mask=np.ones((2, 4), bool))
    refused(["mask has dtype float64"], layer, x, mask=np.ones((4, 2)))
    refused(["padding is 'zero'", "'repeat'"], layer, x, padding="zero")
    refused(["padding_value"], layer, x, padding_value="x")
    refused(["padding_value"], layer, x, padding_value=float("nan"))
    for backwards in (librnn.GRU(2, 3, direction="reverse"), librnn.LSTM(2, 3, bidirectional=True)):
        refused(["whole sequence"], backwards.stream)
        refused(["whole sequence"], librnn.Sequential([backwards]).stream)
    learned = librnn.LSTM(2, 3, learn_initial_state=True)
    refused(["all of it or none"], learned, x, (np.zeros((1, 2, 3)), None))
    y, _, tape = layer.forward_train(x)
    refused(["hidden_clip"], layer.backward, tape, y, hidden_clip=-1.0)
    refused(["hidden_clip"], layer.backward, tape, y, hidden_clip=float("nan"))
    refused(["'h_l7'", "h_l0"], tape.read, "h_l7")
