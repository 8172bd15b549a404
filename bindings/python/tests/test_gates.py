"""from_gates and gates: the letters of the equations, row-vector convention."""

import numpy as np
import pytest

import librnn
from helpers import DTYPES, assert_same_bits, make, randoms
from reference import sigmoid

I, H, N, T = 3, 4, 2, 5
LETTERS = {"RNN": "h", "GRU": "rzh", "LSTM": "ifoc"}


def random_gates(name, size=I, seed=0, bias="row", double=False):
    generator = np.random.default_rng(seed)
    gates = {}
    for letter in LETTERS[name]:
        gates["W_x" + letter] = generator.standard_normal((size, H))
        gates["W_h" + letter] = generator.standard_normal((H, H))
        if bias:
            gates["b_" + letter] = generator.standard_normal((1, H) if bias == "row" else H)
    if double:
        gates["b_xh"], gates["b_hh"] = gates.pop("b_h"), generator.standard_normal((1, H))
    return gates


def textbook(name, g, x):
    """The equations as they are written, from zero states."""
    h = c = np.zeros((x.shape[1], H))
    b = {k: g.get("b_" + k, 0) for k in LETTERS[name]}
    outputs = []
    for x_t in x:
        if name == "RNN":
            h = np.tanh(x_t @ g["W_xh"] + h @ g["W_hh"] + b["h"])
        elif name == "GRU":
            r = sigmoid(x_t @ g["W_xr"] + h @ g["W_hr"] + b["r"])
            z = sigmoid(x_t @ g["W_xz"] + h @ g["W_hz"] + b["z"])
            if "b_xh" in g:
                candidate = np.tanh(x_t @ g["W_xh"] + g["b_xh"] + r * (h @ g["W_hh"] + g["b_hh"]))
            else:
                candidate = np.tanh(x_t @ g["W_xh"] + (r * h) @ g["W_hh"] + b["h"])
            h = z * h + (1 - z) * candidate
        else:
            i = sigmoid(x_t @ g["W_xi"] + h @ g["W_hi"] + b["i"])
            f = sigmoid(x_t @ g["W_xf"] + h @ g["W_hf"] + b["f"])
            o = sigmoid(x_t @ g["W_xo"] + h @ g["W_ho"] + b["o"])
            candidate = np.tanh(x_t @ g["W_xc"] + h @ g["W_hc"] + b["c"])
            c = f * c + i * candidate
            h = o * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs)


@pytest.mark.parametrize("bias", ["row", "flat", None])
@pytest.mark.parametrize("name", LETTERS)
def test_a_layer_from_the_letters_computes_the_equations_and_gives_them_back(name, bias):
    g, x = random_gates(name, bias=bias), randoms(T, N, I, dtype="float64")
    layer = getattr(librnn, name).from_gates(**g, dtype="float64")
    np.testing.assert_allclose(layer(x)[0], textbook(name, g, x), rtol=1e-13, atol=1e-13)
    back = layer.gates()
    assert set(back) == set(g)
    for key, value in g.items():
        assert_same_bits(back[key], value, key)


def test_reset_after_takes_one_or_two_biases_of_the_candidate():
    x = randoms(T, N, I, dtype="float64")
    g = random_gates("GRU", double=True)
    layer = librnn.GRU.from_gates(**g, variant="reset_after", dtype="float64")
    np.testing.assert_allclose(layer(x)[0], textbook("GRU", g, x), rtol=1e-13, atol=1e-13)
    assert set(layer.parameters) == {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"}
    assert {k: v.tolist() for k, v in layer.gates().items()} == {k: v.tolist() for k, v in g.items()}
    one = random_gates("GRU")
    layer = librnn.GRU.from_gates(**one, variant="reset_after", dtype="float64")
    two = {**one, "b_xh": one["b_h"], "b_hh": np.zeros((1, H))}
    np.testing.assert_allclose(layer(x)[0], textbook("GRU", two, x), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LETTERS)
def test_lists_are_layers_and_pairs_are_directions(name, dtype):
    kind = getattr(librnn, name)
    deep = [random_gates(name, I, 1), random_gates(name, H, 2), random_gates(name, H, 3)]
    layer = kind.from_gates(deep, dtype=dtype)
    assert (layer.num_layers, layer.bidirectional) == (3, False)
    pair = (random_gates(name, I, 1), random_gates(name, I, 2))
    both = kind.from_gates(pair, dtype=dtype)
    assert (both.num_layers, both.bidirectional) == (1, True)
    deep_pairs = [pair, (random_gates(name, 2 * H, 3), random_gates(name, 2 * H, 4))]
    all_of_it = kind.from_gates(deep_pairs, dtype=dtype, batch_first=True)
    assert (all_of_it.num_layers, all_of_it.bidirectional, all_of_it.batch_first) == (2, True, True)
    for model, letters in ((layer, deep), (both, pair), (all_of_it, deep_pairs)):
        back = model.gates()
        assert isinstance(back, type(letters)) and len(back) == len(letters)
        again = kind.from_gates(back, dtype=dtype)
        assert_same_bits(again.state_dict(), model.state_dict())
    x = randoms(T, N, I, dtype=dtype)
    forward = kind.from_gates(pair[0], dtype=dtype)
    assert_same_bits(both(x)[0][..., :H], forward(x)[0])


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "gru_before", "gru_after", "lstm"])
def test_gates_of_a_layer_make_the_layer_again(cell):
    layer = make(cell, I, H, 2, bidirectional=True, bias="single")
    keywords = {"variant": layer.variant} if "gru" in cell else {"nonlinearity": layer.nonlinearity} if "rnn" in cell else {}
    again = type(layer).from_gates(layer.gates(), **keywords)
    x = randoms(T, N, I)
    assert_same_bits(again(x), layer(x))


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru_before", "gru_after", "lstm"])
def test_two_biases_come_as_their_sum_with_the_same_bits(cell):
    layer = make(cell, I, H, bias="double")
    again = type(layer).from_gates(layer.gates(), **({"variant": layer.variant} if "gru" in cell else {}))
    x = randoms(T, N, I)
    assert_same_bits(again(x), layer(x))


def refused(function, *arguments, says=(), **keywords):
    with pytest.raises(librnn.RNNError) as caught:
        function(*arguments, **keywords)
    for text in says:
        assert text in caught.value.message, caught.value.message


def test_letters_that_do_not_fit_are_refused_by_name():
    g = random_gates("GRU")
    make_gru = librnn.GRU.from_gates
    refused(make_gru, {k: v for k, v in g.items() if k != "W_hz"}, says=["missing: W_hz"])
    refused(make_gru, {k: v for k, v in g.items() if k != "b_r"}, says=["missing: b_r"])
    refused(make_gru, {**g, "W_xn": 0}, says=["unexpected: W_xn"])
    refused(make_gru, random_gates("LSTM"), says=["GRU reset_before"])
    refused(make_gru, random_gates("GRU", double=True), says=["b_xh"])
    refused(make_gru, {**g, "W_hz": np.zeros((H, I))}, says=["W_hz", "(4, 3)", "(4, 4)"])
    refused(make_gru, {**g, "b_z": np.zeros((2, H))}, says=["b_z"])
    refused(make_gru, [g, g], says=["(12, 3)", "(12, 4)"])
    refused(make_gru, [g, (g, g)], says=["one direction and some two"])
    refused(make_gru, [], says=["at least one"])
    refused(make_gru, g, W_xr=0, says=["not both"])
    refused(make_gru, [3], says=["layer 0 is int"])
    refused(make_gru, 3, says=["int"])
    refused(make_gru, [g, random_gates("GRU", H, bias=None)], says=["layer 1"])
