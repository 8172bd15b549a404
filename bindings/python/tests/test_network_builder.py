"""NetworkBuilder: networks of any shape, node by node."""

import numpy as np
import pytest

import librnn
from helpers import DTYPES, assert_same_bits, randoms


def all_nodes(dtype="float32"):
    """Every kind of node, with two inputs and tokens."""
    b = librnn.NetworkBuilder(dtype)
    x, control, word = b.input("x", 4), b.input("control", 2), b.tokens("word")
    table = b.embedding("table", word, 7, 4)
    hot = b.linear("from_hot", b.one_hot("hot", word, 7), 4, bias=False)
    scaled = b.scale_shift("scaled", x)
    gate = b.activation("gate", b.linear("from_control", control, 4), "sigmoid")
    mix = b.sum("mix", (b.product("gated", [scaled, gate]), table, hot))
    lstm = b.recurrent("lstm", b.dropout("drop", mix, 0.2), librnn.LSTM(4, 6, 2, dtype=dtype))
    gru = b.recurrent("gru", b.reverse("turned", lstm), ("gru", {"hidden_size": 3, "variant": "reset_after"}))
    both = b.concat("both", [b.layer_norm("norm", lstm, eps=1e-4), b.reverse("back", gru), control])
    part = b.activation("part_tanh", b.slice("part", both, 1, 9), librnn.Activation("scaled_tanh", 1.5, 0.5))
    b.softmax("out", b.last_step("last", part), log=True)
    return b


def arrays_of(network):
    return {name: randoms(*value.shape, seed=i, dtype=value.dtype) for i, (name, value) in enumerate(network.parameters.items())}


def test_every_kind_of_node_runs_trains_and_comes_back_from_a_file(tmp_path):
    for dtype in DTYPES:
        b = all_nodes(dtype)
        network = b.build(seed=3, metadata={"a": "b"})
        assert isinstance(network, librnn.Network) and network.dtype == dtype and dict(network.metadata) == {"a": "b"}
        assert (network.input_size, network.output_size) == (6, 8)
        x, tokens = randoms(5, 3, 6, dtype=dtype), np.random.default_rng(0).integers(0, 7, (5, 3))
        y, state = network.run(x, tokens, lengths=[5, 2, 3])
        assert y.shape == (3, 8) and set(state) == {"lstm.h", "lstm.c", "gru.h"}
        np.testing.assert_allclose(np.exp(y.astype(np.float64)).sum(-1), 1, rtol=1e-5)
        librnn.save(network, tmp_path / "network")
        again = librnn.load(tmp_path / "network")
        assert_same_bits(again.run(x, tokens, lengths=[5, 2, 3]), (y, state))
        _, _, tape = network.forward_train(x, tokens)
        g = network.backward(tape, randoms(3, 8, dtype=dtype))
        assert set(g.parameters) == set(network.parameters) and all(np.isfinite(v).all() for v in g.parameters.values())


def test_a_network_is_what_its_parts_compute():
    b = librnn.NetworkBuilder()
    x = b.input("x", 3)
    gru, linear, norm = librnn.GRU(3, 5, seed=1), librnn.Linear(3, 5, seed=2), librnn.LayerNorm(5)
    h = b.recurrent("gru", x, gru)
    s = b.sum("sum", [h, b.linear("skip", x, 5)])
    b.layer_norm("norm", s)
    parts = {"gru": gru, "skip": linear, "norm": norm}
    parameters = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    network = b.build(parameters)
    data, lengths = randoms(6, 2, 3), [6, 3]
    y, state = network.run(data, lengths=lengths)
    h, h_n = gru(data, lengths=lengths)
    expected = norm(h + linear(data))
    for n, length in enumerate(lengths):
        assert_same_bits(y[:length, n], expected[:length, n])
    assert_same_bits(state["gru.h"], h_n)


def test_a_layers_configuration_is_taken_whole():
    b = librnn.NetworkBuilder()
    x = b.input("x", 3)
    keywords = {
        "hidden_size": 4, "num_layers": 2, "bidirectional": True, "merge": "sum", "peepholes": True, "bias": "single",
        "activations": {"g": "softsign"},
    }  # fmt: skip
    layer = librnn.LSTM(3, seed=1, **keywords)
    b.recurrent("a", x, layer)
    b.recurrent("b", x, ("lstm", keywords))
    b.concat("both", ["a", "b"])
    weights = layer.state_dict()
    network = b.build({f"{node}.{name}": value for node in "ab" for name, value in weights.items()})
    y, _ = network.run(data := randoms(4, 2, 3))
    expected, _ = layer(data)
    assert_same_bits(y, np.concatenate([expected, expected], axis=-1))


def test_weights_follow_from_the_seed_and_the_builder_stays_usable():
    b = all_nodes()
    one, two = b.build(seed=1), b.build(seed=1)
    assert_same_bits(one.state_dict(), two.state_dict())
    assert (b.build(seed=2).parameters["lstm.weight_ih_l0"] != one.parameters["lstm.weight_ih_l0"]).any()
    assert not b.build(init="zeros").parameters["scaled.weight"].any()
    assert (one.parameters["scaled.weight"] == 1).all() and (one.parameters["norm.weight"] == 1).all()
    b.linear("more", "out", 2)
    assert b.build().output_size == 2 and one.output_size == 8


def test_every_parameter_is_checked_by_name_and_shape():
    b = all_nodes()
    parameters = arrays_of(b.build())
    assert_same_bits(b.build(parameters).state_dict(), parameters)
    with pytest.raises(librnn.RNNError, match="missing: norm.bias"):
        b.build({name: value for name, value in parameters.items() if name != "norm.bias"})
    with pytest.raises(librnn.RNNError, match="unexpected: norm.scale"):
        b.build({**parameters, "norm.scale": 1})
    with pytest.raises(librnn.RNNError, match=r"norm.bias has shape \(5,\), expected \(6,\)"):
        b.build({**parameters, "norm.bias": np.zeros(5)})
    with pytest.raises(librnn.RNNError, match="parameters is list, expected a mapping"):
        b.build([parameters])
    with pytest.raises(librnn.RNNError, match="missing"):
        b.build({})


REFUSED = {
    "a name twice": (lambda b: b.linear("x", "x", 2), "already a node 'x'"),
    "a name that is none": (lambda b: b.linear("a b", "x", 2), "a b"),
    "a name with NUL": (lambda b: b.linear("y\0z", "x", 2), "the name of a node is 'y\\\\x00z'"),
    "no name": (lambda b: b.linear(None, "x", 2), "the name of a node is None"),
    "a source that is not there": (lambda b: b.linear("y", "z", 2), "source is 'z', expected a node that was added before"),
    "a source that is no name": (lambda b: b.linear("y", 3, 2), "source is 3"),
    "tokens as features": (lambda b: b.linear("y", "t", 2), "'t' gives tokens"),
    "features as tokens": (lambda b: b.embedding("y", "x", 2, 3), "gives features"),
    "tokens of a layer": (lambda b: b.recurrent("y", "t", ("gru", {"hidden_size": 2})), "'t' gives tokens"),
    "one source of several": (lambda b: b.sum("y", ["x"]), "sources has 1 names"),
    "a text as sources": (lambda b: b.concat("y", "x"), "sources is 'x'"),
    "sources of two sizes": (lambda b: b.product("y", ["x", "w"]), "product 'y'"),
    "a slice too far": (lambda b: b.slice("y", "x", 1, 4), "slice 'y'"),
    "a slice of nothing": (lambda b: b.slice("y", "x", 2, 2), "slice 'y'"),
    "a size of 0": (lambda b: b.linear("y", "x", 0), "output_size is 0"),
    "an unknown activation": (lambda b: b.activation("y", "x", "swish"), "'swish'"),
    "a layer of another size": (lambda b: b.recurrent("y", "x", librnn.GRU(2, 4)), "reads 2 features, and 'x' gives 3"),
    "a layer of another dtype": (lambda b: b.recurrent("y", "x", librnn.GRU(3, 4, dtype="float64")), "float64"),
    "a layer with batch_first": (lambda b: b.recurrent("y", "x", librnn.GRU(3, 4, batch_first=True)), "batch_first"),
    "no layer": (lambda b: b.recurrent("y", "x", librnn.Linear(3, 4)), "expected RNN, GRU, LSTM or a pair"),
    "an unknown kind": (lambda b: b.recurrent("y", "x", ("qrnn", {})), "'qrnn', expected one of 'rnn', 'gru', 'lstm'"),
    "a layer without a size": (lambda b: b.recurrent("y", "x", ("gru", {})), "hidden_size"),
    "an unknown keyword": (lambda b: b.recurrent("y", "x", ("gru", {"hidden_size": 2, "zoneout": 1})), "zoneout"),
    "a keyword of the network": (lambda b: b.recurrent("y", "x", ("gru", {"hidden_size": 2, "seed": 1})), "seed is not for"),
    "reverse of one step": (lambda b: b.reverse("y", "last"), "'last' gives one step"),
    "epsilon 0": (lambda b: b.layer_norm("y", "x", 0), "epsilon"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_named_and_changes_nothing(case):
    call, message = REFUSED[case]
    b = librnn.NetworkBuilder()
    b.input("x", 3), b.input("w", 2), b.tokens("t"), b.last_step("last", "x")
    before = repr(b)
    with pytest.raises(librnn.RNNError, match=message):
        call(b)
    assert repr(b) == before
    # The name is free still.
    b.concat("y", ["x", "w"])


def test_what_only_the_whole_network_tells_is_told_by_build():
    b = librnn.NetworkBuilder()
    with pytest.raises(librnn.RNNError, match="no nodes"):
        b.build()
    b.input("x", 3)
    with pytest.raises(librnn.RNNError, match="is an input"):
        b.build()
    b.linear("a", "x", 2), b.linear("b", "x", 2)
    with pytest.raises(librnn.RNNError, match="'a' is read by no other node"):
        b.build()
    with pytest.raises(librnn.RNNError, match="dtype"):
        librnn.NetworkBuilder("float16")


def test_a_trainer_trains_a_built_network():
    b = librnn.NetworkBuilder()
    h = b.recurrent("gru", b.scale_shift("scale", b.input("x", 2)), ("gru", {"hidden_size": 8}))
    b.linear("out", b.activation("elu", b.layer_norm("norm", h), "elu"), 1)
    network = b.build(seed=1)
    x = randoms(12, 16, 2)
    target = np.cumsum(x[..., :1], axis=0) / 4
    trainer = librnn.Trainer(network, "mse", librnn.optim.Adam(network, lr=0.02))
    losses = [trainer.step(x, target).loss for _ in range(60)]
    assert losses[-1] < losses[0] / 4
