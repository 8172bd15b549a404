"""Options outlive their layer: in files, pickles, reprs and the letters of the equations."""

import copy
import json
import pickle

import numpy as np
import pytest

import librnn
from helpers import CELLS, assert_same_bits, leaves
from recurrent_options import OPTIONS, combined, inputs, make_layer, random_hx, random_names, zero_state

CASES = [(cell, name) for name, (cells, _, _) in OPTIONS.items() for cell in CELLS if cell in cells]
NAMES = {name: getattr(librnn, name) for name in librnn.__all__}


def assert_same_model(other, layer):
    assert type(other) is type(layer) and repr(other) == repr(layer)
    assert_same_bits(other.state_dict(), layer.state_dict())
    x, _ = inputs(layer, {})
    rows = x.shape[0 if layer.batch_first else 1]
    hx = random_hx(layer, rows)
    assert_same_bits(other(x, hx), layer(x, hx))
    assert_same_bits(other(x), layer(x))


@pytest.mark.parametrize("cell, option", CASES)
def test_a_layer_comes_back_from_file_pickle_and_repr(cell, option, tmp_path):
    layer = make_layer(cell, combined(cell, option)[0])
    librnn.save(layer, tmp_path / "layer")
    for other in (librnn.load(tmp_path / "layer"), pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert_same_model(other, layer)
    assert repr(eval(repr(layer), NAMES)) == repr(layer)
    chain = librnn.Sequential([layer, librnn.Linear(layer.output_size, 2, dtype="float64", seed=1)])
    librnn.save(chain, tmp_path / "chain")
    for other in (librnn.load(tmp_path / "chain"), pickle.loads(pickle.dumps(chain))):
        assert repr(other) == repr(chain) and "Linear" in repr(chain)
        x, _ = inputs(layer, {})
        assert_same_bits(other(x), chain(x))
    assert repr(eval(repr(chain), NAMES)) == repr(chain)


@pytest.mark.parametrize("cell", CELLS)
def test_layers_with_many_options_come_back_from_a_file(cell, tmp_path):
    generator = np.random.default_rng(1)
    for _ in range(20):
        layer = make_layer(cell, combined(cell, *random_names(cell, generator))[0])
        librnn.save(layer, tmp_path / "layer")
        assert_same_model(librnn.load(tmp_path / "layer"), layer)


def test_a_file_without_options_is_of_version_1_and_one_with_them_of_version_2():
    for keywords, version in (({}, 1), ({"bidirectional": True}, 1), ({"merge": "sum", "bidirectional": True}, 2)):
        node = json.loads(librnn.GRU(2, 3, **keywords)._architecture())["nodes"][1]
        assert node["version"] == version and ("merge" in node) == (version == 2)


def test_an_activation_without_numbers_in_a_file_has_zeros():
    """leaky_relu with alpha 0 is not leaky_relu with its default."""
    layer = librnn.RNN(2, 3, activations={"h": librnn.Activation("leaky_relu", 0.0)}, seed=1)
    network = pickle.loads(pickle.dumps(layer))
    assert network.activations == {"h": librnn.Activation("leaky_relu", 0.0)}
    assert "alpha" not in json.loads(layer._architecture())["nodes"][1]["activations"][0][0]


@pytest.mark.parametrize("cell, option", CASES)
def test_the_letters_of_a_layer_make_it_again(cell, option):
    keywords, _ = combined(cell, option)
    layer = make_layer(cell, {**keywords, "bias": keywords.get("bias", "single")})
    kind = type(layer)
    letters = layer.gates()
    derived = ("hidden_size_reverse", "learn_initial_state", "peepholes", "proj_size")
    passed = {
        key: value for key, value in layer._node().items()
        if key not in derived + ("input_size", "hidden_size", "num_layers", "bias", "bidirectional")
    }  # fmt: skip
    again = kind.from_gates(letters, batch_first=layer.batch_first, dtype="float64", **passed)
    x, _ = inputs(layer, {})
    if keywords.get("bias") == "double":
        # They come as one sum, but for those of the reset-after candidate.
        np.testing.assert_allclose(again(x)[0], layer(x)[0], rtol=1e-13)
        return
    assert repr(again) == repr(layer)
    assert_same_bits(again(x), layer(x))
    twice = again.gates()
    assert_same_bits(leaves(twice), leaves(letters))


def test_letters_have_the_shapes_of_the_equations():
    layer = librnn.LSTM(2, 5, proj_size=3, peepholes=True, learn_initial_state=True, coupled_gates=True, bias="single", seed=1)
    shapes = {name: value.shape for name, value in layer.gates().items()}
    assert shapes == {
        "W_xi": (2, 5), "W_xc": (2, 5), "W_xo": (2, 5), "W_hi": (3, 5), "W_hc": (3, 5), "W_ho": (3, 5), "b_i": (1, 5),
        "b_c": (1, 5), "b_o": (1, 5), "w_ci": (1, 5), "w_co": (1, 5), "W_hr": (5, 3), "h_0": (1, 3), "c_0": (1, 5),
    }  # fmt: skip


def test_letters_that_do_not_fit_are_refused_by_name():
    letters = librnn.LSTM(2, 5, proj_size=3, peepholes=True, learn_initial_state=True, bias="single", seed=1).gates()

    def refused(says, changed, **keywords):
        with pytest.raises(librnn.RNNError) as caught:
            librnn.LSTM.from_gates({**letters, **changed}, **keywords)
        for text in says:
            assert text in caught.value.message, caught.value.message

    without = dict(letters)
    del without["w_cf"]
    with pytest.raises(librnn.RNNError, match="missing: w_cf"):
        librnn.LSTM.from_gates(without)
    refused(["unexpected", "W_xf", "w_cf", "no forget gate"], {}, coupled_gates=True)
    refused(["w_co", "(1, 5)"], {"w_co": np.zeros(4)})
    refused(["W_hr", "(5, P)"], {"W_hr": np.zeros(5)})
    refused(["W_hi", "(4, 5)"], {"W_hr": np.zeros((5, 4))})
    refused(["h_0", "(1, 3)"], {"h_0": np.zeros(5)})
    refused(["proj_size", "W_hr"], {}, proj_size=3)
    refused(["peepholes", "w_ci"], {}, peepholes=True)
    with pytest.raises(librnn.RNNError, match="first layer has .*W_hr.* and this one"):
        small = librnn.LSTM(3, 5, bias="single", seed=1).gates()
        librnn.LSTM.from_gates([letters, small])
    with pytest.raises(librnn.RNNError, match="unexpected: w_ci"):
        librnn.GRU.from_gates({**librnn.GRU(2, 3).gates(), "w_ci": np.zeros(3)})


@pytest.mark.parametrize("cell", CELLS)
def test_states_of_two_sizes_are_pairs_and_wrong_ones_are_refused(cell):
    layer = make_layer(cell, {"bidirectional": True, "hidden_size_reverse": 3, "num_layers": 2})
    x, _ = inputs(layer, {})
    y, state = layer(x)
    assert y.shape == (3, 3, 5)
    for part in state if cell == "lstm" else (state,):
        assert [a.shape for a in part] == [(2, 3, 2), (2, 3, 3)]
    flat = layer(x[:, 0])[1]
    assert [a.shape for a in (flat[0] if cell == "lstm" else flat)] == [(2, 2), (2, 3)]
    zero = zero_state(layer, 3)
    half = ((zero[0][0], None), None) if cell == "lstm" else (zero[0], None)
    assert_same_bits(layer(x, half), layer(x, zero))
    stacked = np.zeros((4, 3, 2))
    for wrong in (stacked, (stacked,), (zero, zero)):
        with pytest.raises(librnn.RNNError):
            layer(x, wrong)
    with pytest.raises(librnn.RNNError, match="directions differ in size"):
        layer(x, (stacked, stacked) if cell == "lstm" else stacked)
    model = librnn.Sequential([layer, librnn.GRU(5, 2, dtype="float64"), librnn.Linear(2, 2, dtype="float64")])
    y, states = model(x)
    assert_same_bits(states[0], state)
    assert_same_bits(model(x, [None, states[1]])[1][0], state)
    with pytest.raises(librnn.RNNError, match="list of 2"):
        model(x, [None])


def test_a_network_of_a_file_takes_masks_and_shows_its_states(tmp_path):
    """A node of another name is a Network, with the same options."""
    layer = make_layer("lstm", {"bidirectional": True, "hidden_size_reverse": 3, "proj_size": 1})
    librnn.save(layer, tmp_path / "layer")
    content = (tmp_path / "layer").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].decode().replace("lstm.", "core.").replace('\\"name\\":\\"lstm\\"', '\\"name\\":\\"core\\"')
    header = header.replace('\\"outputs\\":[\\"lstm\\"]', '\\"outputs\\":[\\"core\\"]').encode()
    network = librnn.load(len(header).to_bytes(8, "little") + header + content[8 + length :])
    assert isinstance(network, librnn.Network)
    x, _ = inputs(layer, {})
    mask = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]], bool)
    call = {"mask": mask, "padding_value": 3.0, "lengths": [3, 3, 2]}
    y, state = layer(x, **call)
    z, states = network.run(x, **call)
    assert_same_bits(z, y)
    assert list(states) == ["core.h", "core.h_reverse", "core.c", "core.c_reverse"]
    assert_same_bits(list(states.values()), leaves(state))
    z, _, tape = network.forward_train(x, **call)
    assert_same_bits(z, y)
    assert "core.gates_l0_reverse" in tape.read()
