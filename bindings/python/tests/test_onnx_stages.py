"""Graphs that are more than one network: `run` gives onnxruntime's numbers, and `network` says why there is none."""

import numpy as np
import pytest

import librnn

onnx = pytest.importorskip("onnx")

from onnxfile import graph, weights  # noqa: E402
from test_onnx import FLOAT32, assert_as_onnxruntime, uniform  # noqa: E402

X = {"X": ("float32", ("T", "N", 3))}
ENCODER = ("LSTM", ["X", "eW", "eR", "eB"], ["Y", "h", "c"])
ONE, LAST = np.array([1]), np.array(-1)


def named(prefix, op, **more):
    return {prefix + name: array for name, array in weights(op, **more).items()}


#: name -> nodes, inputs, outputs, constants, how many networks, part of the reason.
GRAPHS = {
    "an encoder's final state is the decoder's initial state": (
        [ENCODER, ("LSTM", ["Q", "dW", "dR", "dB", "", "h", "c"], ["out", "h2"]), ],
        {**X, "Q": ("float32", ("S", "N", 2))}, ["out", "h2"],
        {**named("e", "LSTM"), **named("d", "LSTM", features=2, seed=1)}, 2, "initial_h 'h' is computed in the graph",
    ),
    "a bridge between encoder and decoder": (
        [ENCODER, ("MatMul", ["h", "M"], ["m"]), ("Tanh", ["m"], ["s"]),
         ("GRU", ["Q", "dW", "dR", "dB", "", "s"], ["D"]), ("Squeeze", ["D", "one"], ["d"]), ("MatMul", ["d", "V"], ["out"])],
        {**X, "Q": ("float32", ("S", "N", 2))}, ["out"],
        {**named("e", "LSTM"), **named("d", "GRU", features=2, hidden=5, seed=1), "M": uniform(4, 5, seed=3), "V": uniform(5, 2, seed=4),
         "one": ONE}, 2, "initial_h 's' is computed in the graph",
    ),
    "the state of two directions, put together": (
        [("GRU", ["X", "eW", "eR", "eB"], ["Y", "h"], {"direction": "bidirectional"}), ("Split", ["h"], ["h1", "h2"], {"axis": 0}),
         ("Concat", ["h1", "h2"], ["hh"], {"axis": 2}), ("GRU", ["X", "dW", "dR", "dB", "", "hh"], ["out"])],
        X, ["out"], {**named("e", "GRU", directions=2), **named("d", "GRU", hidden=8, seed=1)}, 2, "computed in the graph",
    ),
    "the cell state is computed with": (
        [ENCODER, ("Sigmoid", ["c"], ["s"]), ("Mul", ["s", "h"], ["out"])], X, ["out"], named("e", "LSTM"), 2, "Y_c of node 0",
    ),
    "steps among the features": (
        [("GRU", ["X", "eW", "eR", "eB"], ["Y"], {"layout": 0}), ("Transpose", ["Y"], ["t"], {"perm": [2, 0, 1, 3]}),
         ("Reshape", ["t", "s"], ["f"]), ("MatMul", ["f", "M"], ["m"]), ("Relu", ["m"], ["out"])],
        {"X": ("float32", (5, "N", 3))}, ["out"], {**named("e", "GRU"), "s": np.array([0, 20]), "M": uniform(20, 3, seed=3)}, 2,
        "becomes [N, 20]",
    ),
    "rows are the next layer's time": (
        [("GRU", ["X", "eW", "eR", "eB"], ["Y"]), ("Squeeze", ["Y", "one"], ["y"]), ("Transpose", ["y"], ["t"], {"perm": [1, 0, 2]}),
         ("GRU", ["t", "dW", "dR", "dB"], ["Z"]), ("Squeeze", ["Z", "one"], ["z"]), ("Transpose", ["z"], ["tz"], {"perm": [1, 0, 2]}),
         ("Add", ["tz", "y"], ["out"])],
        X, ["out"], {**named("e", "GRU"), **named("d", "GRU", features=4, seed=1), "one": ONE}, 2, "here and",
    ),
    "a sequence and what is computed of its last step": (
        [("GRU", ["X", "eW", "eR", "eB"], ["Y"]), ("Gather", ["Y", "last"], ["z"], {"axis": 0}), ("MatMul", ["z", "M"], ["out"])],
        X, ["Y", "out"], {**named("e", "GRU"), "last": LAST, "M": uniform(4, 2, seed=3)}, 2, "choose with outputs",
    ),
    "the last step repeated for a decoder": (
        [("GRU", ["X", "eW", "eR", "eB"], ["Y", "h"]), ("Expand", ["h", "shape"], ["r"]), ("GRU", ["r", "dW", "dR", "dB"], ["out"])],
        X, ["out"], {**named("e", "GRU"), **named("d", "GRU", features=4, seed=1), "shape": np.array([6, 1, 1])}, 2, "repeats",
    ),
    "the last step of the padded array": (
        [("GRU", ["X", "eW", "eR", "eB", "n"], ["Y"]), ("Gather", ["Y", "last"], ["z"], {"axis": 0}), ("MatMul", ["z", "M"], ["out"])],
        {**X, "n": ("int32", ("N",))}, ["out"], {**named("e", "GRU"), "last": LAST, "M": uniform(4, 2, seed=3)}, 2, "padded array",
    ),
    "one layer with lengths and one without": (
        [("GRU", ["X", "eW", "eR", "eB", "n"], ["Y"]), ("Squeeze", ["Y", "one"], ["y"]), ("GRU", ["y", "dW", "dR", "dB"], ["out"])],
        {**X, "n": ("int32", ("N",))}, ["out"], {**named("e", "GRU"), **named("d", "GRU", features=4, seed=1), "one": ONE}, 2,
        "has no sequence_lens",
    ),
    "two time axes": (
        [("GRU", ["X", "eW", "eR", "eB"], ["Y", "h"]), ("GRU", ["Q", "dW", "dR", "dB"], ["Z", "g"]),
         ("Concat", ["h", "g"], ["hg"], {"axis": 2}), ("MatMul", ["hg", "M"], ["out"])],
        {**X, "Q": ("float32", ("S", "N", 3))}, ["out"], {**named("e", "GRU"), **named("d", "GRU", seed=1), "M": uniform(8, 2, seed=3)}, 3,
        "",
    ),
}  # fmt: skip


def made(name):
    nodes, inputs, outputs, constants, *_ = GRAPHS[name]
    return graph(nodes, inputs, outputs, constants)


def feeds_of(inputs):
    sizes = {"T": 5, "N": 3, "S": 4}
    feeds = {}
    for seed, (name, (dtype, shape)) in enumerate(inputs.items()):
        shape = [sizes.get(size, size) for size in shape]
        feeds[name] = np.array([5, 2, 3], dtype) if dtype == "int32" else uniform(*shape, seed=seed)
    return feeds


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_of_several_networks_runs_as_in_onnxruntime(name):
    assert_as_onnxruntime(made(name), feeds_of(GRAPHS[name][1]))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_of_several_networks_says_why_it_is_not_one(name):
    *_, count, reason = GRAPHS[name]
    model = librnn.onnx.load(made(name))
    assert len(model.networks) == count
    with pytest.raises(librnn.RNNError) as caught:
        model.network  # noqa: B018
    assert "is no single network" in caught.value.message and reason in caught.value.message


#: present [T, N, 1]: whether a row has a step.
PRESENT = [
    ("Shape", ["X"], ["s"]), ("Gather", ["s", "zero"], ["T"], {"axis": 0}), ("Range", ["zero", "T", "n1"], ["t"]),
    ("Unsqueeze", ["t", "one"], ["tt"]), ("Less", ["tt", "n"], ["less"]), ("Unsqueeze", ["less", "two"], ["present"]),
]  # fmt: skip
MASKED = {
    "the output of a layer without lengths": [
        ("GRU", ["X", "eW", "eR", "eB"], ["Y"]), ("Squeeze", ["Y", "one"], ["y"]), ("Where", ["present", "y", "z"], ["out"])],
    "a head of it": [
        ("GRU", ["X", "eW", "eR", "eB"], ["Y"]), ("Squeeze", ["Y", "one"], ["y"]), ("MatMul", ["y", "M"], ["l"]),
        ("Where", ["present", "l", "z"], ["out"])],
    "the input of a layer without lengths": [("Where", ["present", "X", "z"], ["x"]), ("GRU", ["x", "eW", "eR", "eB"], ["out"])],
    "what no recurrent layer reads": [("Relu", ["X"], ["l"]), ("Where", ["present", "l", "z"], ["out"])],
}  # fmt: skip


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_by_lengths_is_as_in_onnxruntime(name):
    constants = {**named("e", "GRU"), "zero": np.array(0), "n1": np.array(1), "one": ONE, "two": np.array([2]), "M": uniform(4, 2),
                 "z": np.array(0, np.float32)}  # fmt: skip
    model = graph(PRESENT + MASKED[name], {**X, "n": ("int64", ("N",))}, ["out"], constants)
    assert_as_onnxruntime(model, {"X": uniform(5, 3, 3), "n": np.array([5, 0, 2])})


def test_a_graph_of_one_network_is_one():
    model = librnn.onnx.load(graph([ENCODER], X, ["Y", "h", "c"], named("e", "LSTM")))
    assert len(model.networks) == 1 and model.networks[0] is model.network


def test_sizes_that_a_network_gives_the_next_are_those_of_the_run():
    model = librnn.onnx.load(made("an encoder's final state is the decoder's initial state"))
    for rows in (1, 4):
        feeds = {"X": uniform(2, rows, 3), "Q": uniform(3, rows, 2)}
        assert model.run(feeds)["out"].shape == (3, 1, rows, 4)
    with pytest.raises(librnn.RNNError, match="N is 2 in another place"):
        model.run({"X": uniform(2, 2, 3), "Q": uniform(3, 1, 2)})


def test_what_no_network_computes_is_refused_with_the_node_that_cannot_be_read():
    nodes = [ENCODER, ("Exp", ["h"], ["e"]), ("LSTM", ["X", "eW", "eR", "eB", "", "e"], ["out"])]
    with pytest.raises(librnn.RNNError, match="node 1 .*Exp"):
        librnn.onnx.load(graph(nodes, X, ["out"], named("e", "LSTM")))
    product = [ENCODER, ("MatMul", ["Y", "Y"], ["out"])]
    with pytest.raises(librnn.RNNError, match="a product of two sequences"):
        librnn.onnx.load(graph(product, X, ["out"], named("e", "LSTM")))


def test_weights_that_are_inputs_are_given_before_a_graph_is_cut():
    nodes, inputs, outputs, constants, *_ = GRAPHS["an encoder's final state is the decoder's initial state"]
    open_weights = {key: ("float32", array.shape) for key, array in constants.items()}
    feeds = {**feeds_of(inputs), **constants}
    model = graph(nodes, {**inputs, **open_weights}, outputs)
    expected = librnn.onnx.load(graph(nodes, inputs, outputs, constants)).run(feeds_of(inputs))
    actual = librnn.onnx.load(model).run(feeds)
    for key, array in expected.items():
        np.testing.assert_allclose(actual[key], array, rtol=0, atol=FLOAT32)
    assert len(librnn.onnx.load(model, constants=constants).networks) == 2
