"""Parameters: names, shapes, views, and what a mismatch says."""

import numpy as np
import pytest

import librnn
from helpers import CELLS, assert_same_bits, make, randoms
from librnn import _abi


@pytest.mark.parametrize("cell, gates, names", [
    ("rnn_tanh", 1, ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]),
    ("gru_before", 3, ["weight_ih", "weight_hh", "bias"]),
    ("gru_after", 3, ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]),
    ("lstm", 4, ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]),
])  # fmt: skip
def test_names_and_shapes_are_pytorchs(cell, gates, names):
    layer = make(cell, 5, 7, 2, bidirectional=True)
    expected = {}
    for k in range(2):
        for end in (f"_l{k}", f"_l{k}_reverse"):
            for name in names:
                width = {"weight_ih": 5 if k == 0 else 14, "weight_hh": 7}.get(name)
                expected[name + end] = (gates * 7, width) if width else (gates * 7,)
    assert {name: value.shape for name, value in layer.state_dict().items()} == expected
    assert list(layer.state_dict()) == list(expected) == list(layer.parameters)


@pytest.mark.parametrize("cell", CELLS)
def test_one_bias_or_none_on_request(cell):
    assert list(make(cell, 2, 3, bias="single").parameters) == ["weight_ih_l0", "weight_hh_l0", "bias_l0"]
    assert list(make(cell, 2, 3, bias=False).parameters) == ["weight_ih_l0", "weight_hh_l0"]


def test_state_dict_copies_and_parameters_are_read_only_views_that_follow():
    layer = librnn.LSTM(3, 4, seed=1)
    copies, views = layer.state_dict(), layer.parameters
    copies["weight_hh_l0"][:] = 9
    assert (views["weight_hh_l0"] != 9).all()
    with pytest.raises(ValueError):
        views["weight_hh_l0"][0, 0] = 1
    assert views["weight_ih_l0"].base is not None
    layer.load_state_dict({name: np.full(value.shape, 0.25) for name, value in copies.items()})
    assert all((value == 0.25).all() for value in views.values())
    assert all((value == 0.25).all() for value in layer.state_dict().values())
    assert views["weight_ih_l0"].dtype == np.float32


@pytest.mark.parametrize("cell", CELLS)
def test_weights_travel_between_layers_with_the_same_bits(cell):
    first, second = make(cell, 3, 4, 2, bidirectional=True, seed=1), make(cell, 3, 4, 2, bidirectional=True, seed=2)
    x = randoms(4, 2, 3)
    assert not np.array_equal(first(x)[0], second(x)[0])
    second.load_state_dict(first.state_dict())
    assert_same_bits(second(x), first(x))
    second.load_state_dict(first.parameters)
    third = make(cell, 3, 4, 2, bidirectional=True, dtype="float64")
    third.load_state_dict(first.state_dict())
    second.load_state_dict(third.state_dict())
    assert_same_bits(second(x), first(x))


def test_nan_can_be_loaded_as_any_number():
    layer = librnn.RNN(1, 1)
    layer.load_state_dict({name: np.full(value.shape, np.nan) for name, value in layer.state_dict().items()})
    assert all(np.isnan(value).all() for value in layer.parameters.values())


def refused(layer, state, *says, code=_abi.RNN_ERROR_SHAPE):
    before = layer.state_dict()
    with pytest.raises(librnn.RNNError) as caught:
        layer.load_state_dict(state)
    assert caught.value.code == code
    for text in says:
        assert text in caught.value.message, caught.value.message
    assert_same_bits(layer.state_dict(), before)


def test_a_mismatch_says_what_was_expected_and_what_came():
    layer = librnn.LSTM(3, 4)
    state = layer.state_dict()
    refused(layer, {k: v for k, v in state.items() if k != "bias_hh_l0"}, "missing: bias_hh_l0")
    refused(layer, {**state, "weight_hr_l0": 0}, "unexpected: weight_hr_l0")
    refused(layer, {**state, "weight_ih_l0": np.zeros((16, 4))}, "weight_ih_l0", "(16, 4)", "(16, 3)")
    refused(layer, {**state, "bias_ih_l0": np.zeros((1, 16))}, "(1, 16)", "(16,)")
    refused(layer, {**state, "bias_ih_l0": np.zeros(16, complex)}, "complex128", code=_abi.RNN_ERROR_DTYPE)
    refused(layer, {**state, "bias_ih_l0": ["a"] * 16}, "bias_ih_l0", code=_abi.RNN_ERROR_DTYPE)
    refused(layer, {}, "missing: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0")
    refused(layer, librnn.LSTM(3, 4, 2).state_dict(), "unexpected: weight_ih_l1")
    refused(layer, librnn.GRU(3, 4, variant="reset_after").state_dict(), "(12, 3)", "(16, 3)")


def test_a_gru_says_which_variant_the_names_belong_to():
    before, after = librnn.GRU(3, 4), librnn.GRU(3, 4, variant="reset_after")
    refused(before, after.state_dict(), 'variant="reset_after"', "PyTorch", "this layer is reset_before", "no weights convert")
    refused(after, before.state_dict(), 'variant="reset_before"', "this layer is reset_after", "no weights convert")
    refused(before, {**before.state_dict(), "weight_ih_l1": 0}, 'variant="reset_before"')


def test_weights_without_biases_need_a_variant_that_was_spelled_out():
    state = librnn.GRU(3, 4, bias=False).state_dict()
    refused(librnn.GRU(3, 4, bias=False), state, "variant=", "reset_after", "reset_before", code=_abi.RNN_ERROR_INVALID_ARGUMENT)
    for variant in ("reset_before", "reset_after"):
        librnn.GRU(3, 4, bias=False, variant=variant).load_state_dict(state)
    cell_state = librnn.GRUCell(3, 4, bias=False).state_dict()
    with pytest.raises(librnn.RNNError):
        librnn.GRUCell(3, 4, bias=False).load_state_dict(cell_state)
    librnn.GRUCell(3, 4, bias=False, variant="reset_after").load_state_dict(cell_state)


def test_cells_have_pytorchs_names_without_a_suffix_and_the_layers_numbers():
    for kind, layer in ((librnn.RNNCell, librnn.RNN), (librnn.LSTMCell, librnn.LSTM), (librnn.GRUCell, librnn.GRU)):
        cell, numbers = kind(3, 4, seed=5), layer(3, 4, seed=5).state_dict()
        assert [name + "_l0" for name in cell.state_dict()] == list(numbers)
        assert_same_bits(list(cell.state_dict().values()), list(numbers.values()))
    assert list(librnn.GRUCell(3, 4).state_dict()) == ["weight_ih", "weight_hh", "bias"]
    assert list(librnn.GRUCell(3, 4, variant="reset_after").state_dict()) == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    before, after = librnn.GRUCell(3, 4), librnn.GRUCell(3, 4, variant="reset_after")
    with pytest.raises(librnn.RNNError, match='variant="reset_after"'):
        before.load_state_dict(after.state_dict())
    views = before.parameters
    before.load_state_dict({name: np.ones(value.shape) for name, value in before.state_dict().items()})
    assert all((value == 1).all() for value in views.values())
    with pytest.raises(ValueError):
        views["bias"][0] = 2


def test_one_bias_is_the_sum_of_two_rounded_once():
    """rnn.h: two biases that are simply added are summed in double and rounded once."""
    for cell in ("rnn_tanh", "gru_before", "lstm"):
        two, one = make(cell, 3, 4, bias="double"), make(cell, 3, 4, bias="single")
        state = two.state_dict()
        total = state["bias_ih_l0"].astype(np.float64) + state["bias_hh_l0"]
        one.load_state_dict(
            {"weight_ih_l0": state["weight_ih_l0"], "weight_hh_l0": state["weight_hh_l0"], "bias_l0": total.astype(np.float32)}
        )
        x = randoms(5, 2, 3)
        assert_same_bits(one(x), two(x), cell)
