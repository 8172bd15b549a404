"""A model file that is damaged or lies gives an RNNError; nothing crashes, nothing large is allocated."""

import copy
import json
import struct

import numpy as np
import pytest

import librnn
from modelfile import gru_nodes, gru_tensors, model, safetensors


def good():
    return model(gru_nodes(), gru_tensors())


def with_header(change):
    header, data = good()
    header = copy.deepcopy(header)
    change(header)
    return safetensors(header, data)


def with_node(**changes):
    return safetensors(*model(gru_nodes(**changes), gru_tensors()))


def with_nodes(nodes, tensors=None, **keywords):
    return safetensors(*model(nodes, gru_tensors() if tensors is None else tensors, **keywords))


def setting(*path, value):
    def change(header):
        inner = header
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return change


W = "gru.weight_ih_l0"
INPUT = {"name": "input", "op": "input", "version": 1, "size": 2}
LIES = {
    "nothing": lambda: b"",
    "too short": lambda: b"\x01\x02\x03",
    "length only": lambda: struct.pack("<Q", 0),
    "length beyond the file": lambda: safetensors(*good(), length=10**6),
    "length of 2**63": lambda: safetensors(*good(), length=2**63),
    "length of 2**64 - 1": lambda: safetensors(*good(), length=2**64 - 1),
    "no JSON": lambda: safetensors(b"not json at all"),
    "JSON that is no object": lambda: safetensors(b"[1, 2, 3]"),
    "JSON cut short": lambda: safetensors(json.dumps(good()[0]).encode()[:-20], good()[1]),
    "JSON nested ten thousand deep": lambda: safetensors(b'{"a":' + b"[" * 10000 + b"]" * 10000 + b"}"),
    "a key twice": lambda: safetensors(b'{"a": 1, ' + json.dumps(good()[0]).encode()[1:-1] + b', "a": 1}', good()[1]),
    "a tensor twice": lambda: safetensors(json.dumps(good()[0]).encode()[:-1] + b', "' + W.encode() + b'": '
                                          + json.dumps(good()[0][W]).encode() + b"}", good()[1]),
    "bytes that are not UTF-8": lambda: safetensors(
        json.dumps(good()[0]).encode().replace(b"gru.bias", b"gru.\xff\xfes"), good()[1]),
    "data cut short": lambda: safetensors(*good())[:-4],
    "data too long": lambda: safetensors(*good()) + b"\0" * 8,
    "no metadata": lambda: with_header(lambda h: h.pop("__metadata__")),
    "metadata that is no object": lambda: with_header(setting("__metadata__", value="x")),
    "metadata that is no text": lambda: with_header(setting("__metadata__", "k", value=3)),
    "no version": lambda: with_header(lambda h: h["__metadata__"].pop("librnn.format_version")),
    "a version of another kind": lambda: with_header(setting("__metadata__", "librnn.format_version", value="one")),
    "a version from the future": lambda: with_header(setting("__metadata__", "librnn.format_version", value="99")),
    "no architecture": lambda: with_header(lambda h: h["__metadata__"].pop("librnn.architecture")),
    "an architecture that is no JSON": lambda: with_header(setting("__metadata__", "librnn.architecture", value="{")),
    "an architecture nested deep": lambda: with_header(
        setting("__metadata__", "librnn.architecture", value='{"a":' + "[" * 5000 + "]" * 5000 + "}")),
    "offsets that end before they begin": lambda: with_header(setting(W, "data_offsets", value=[72, 0])),
    "offsets beyond the data": lambda: with_header(setting(W, "data_offsets", value=[10**9, 10**9 + 72])),
    "offsets of 2**63": lambda: with_header(setting(W, "data_offsets", value=[2**63, 2**63 + 72])),
    "negative offsets": lambda: with_header(setting(W, "data_offsets", value=[-72, 0])),
    "offsets that overlap": lambda: with_header(setting("gru.bias_l0", "data_offsets", value=[0, 36])),
    "offsets that are fractions": lambda: with_header(setting(W, "data_offsets", value=[0.5, 72.5])),
    "one offset": lambda: with_header(setting(W, "data_offsets", value=[0])),
    "a shape that does not fit its bytes": lambda: with_header(setting(W, "shape", value=[9, 3])),
    "a shape that overflows": lambda: with_header(setting(W, "shape", value=[2**33, 2**33])),
    "a negative shape": lambda: with_header(setting(W, "shape", value=[-9, -2])),
    "a shape in another order": lambda: with_header(setting(W, "shape", value=[2, 9])),
    "a shape of a hundred dimensions": lambda: with_header(setting(W, "shape", value=[18] + [1] * 99)),
    "a tensor of another type": lambda: with_header(setting(W, "dtype", value="I32")),
    "a tensor of no known type": lambda: with_header(setting(W, "dtype", value="F33")),
    "a tensor with a stray key": lambda: with_header(setting(W, "strides", value=[1, 2])),
    "a tensor that is missing": lambda: with_nodes(gru_nodes(), {k: v for k, v in gru_tensors().items() if "bias" not in k}),
    "a tensor too many": lambda: with_nodes(gru_nodes(), {**gru_tensors(), "extra": np.zeros(3)}),
    "an operator nobody knows": lambda: with_node(op="transformer"),
    "an operator from the future": lambda: with_node(version=3),
    "an option in version 1": lambda: with_node(residual=True),
    "a direction nobody knows": lambda: with_node(version=2, direction="sideways"),
    "a direction and two": lambda: with_node(version=2, direction="reverse", bidirectional=True),
    "a merge of one direction": lambda: with_node(version=2, merge="sum"),
    "a merge nobody knows": lambda: with_node(version=2, merge="max"),
    "a backward size of one direction": lambda: with_node(version=2, hidden_size_reverse=4),
    "a backward size of 2**62": lambda: with_node(version=2, bidirectional=True, hidden_size_reverse=2**62),
    "a projection of a GRU": lambda: with_node(version=2, proj_size=2),
    "peepholes of a GRU": lambda: with_node(version=2, peepholes=True),
    "a limit below zero": lambda: with_node(version=2, gate_clip=-1.0),
    "a recurrent dropout of one": lambda: with_node(version=2, recurrent_dropout=1.0),
    "a learned state that is missing": lambda: with_node(version=2, learned_initial_state=True),
    "activations of three directions": lambda: with_node(version=2, activations=[[{"name": "tanh"}] * 3] * 3),
    "activations of two gates": lambda: with_node(version=2, activations=[[{"name": "tanh"}] * 2]),
    "an activation nobody knows": lambda: with_node(version=2, activations=[[{"name": "swiglu"}] * 3]),
    "an activation in words": lambda: with_node(version=2, activations=[["tanh"] * 3]),
    "an activation with a number in words": lambda: with_node(version=2, activations=[[{"name": "elu", "alpha": "1"}] * 3]),
    "an activation with a number nobody knows": lambda: with_node(version=2, activations=[[{"name": "elu", "gamma": 1}] * 3]),
    "an operator version of zero": lambda: with_node(version=0),
    "a key nobody knows": lambda: with_node(zoneout=0.1),
    "a variant nobody knows": lambda: with_node(variant="reset_sometimes"),
    "a bias nobody knows": lambda: with_node(bias="triple"),
    "a hidden size of zero": lambda: with_node(hidden_size=0),
    "a hidden size below zero": lambda: with_node(hidden_size=-3),
    "a hidden size of 2**62": lambda: with_node(hidden_size=2**62),
    "a hidden size of 2**70": lambda: with_node(hidden_size=2**70),
    "a hidden size of 3.5": lambda: with_node(hidden_size=3.5),
    "a hidden size in words": lambda: with_node(hidden_size="3"),
    "a billion layers": lambda: with_node(num_layers=10**9),
    "a dropout of two": lambda: with_node(dropout=2.0),
    "a dropout that is no number": lambda: with_node(dropout="half"),
    "a direction that is no truth value": lambda: with_node(bidirectional=1),
    "a node that reads itself": lambda: with_node(inputs=["gru"]),
    "a node that reads nobody": lambda: with_node(inputs=["ghost"]),
    "a node that reads two": lambda: with_node(inputs=["input", "input"]),
    "a node without inputs": lambda: with_node(inputs=[]),
    "a node name with a slash": lambda: with_node(name="a/b"),
    "a node name of 500 letters": lambda: with_node(name="x" * 500),
    "two nodes of one name": lambda: with_nodes([INPUT] + gru_nodes()),
    "no nodes": lambda: with_nodes([], architecture='{"dtype": "float32", "nodes": [], "outputs": ["x"]}'),
    "inputs only": lambda: with_nodes([INPUT], {}),
    "an input that nobody reads": lambda: with_nodes([INPUT, {**INPUT, "name": "second"}, gru_nodes(inputs=["second"])[1]]),
    "ten thousand nodes": lambda: with_nodes(
        [INPUT] + [{"name": f"d{i}", "op": "dropout", "version": 1, "probability": 0.0,
                    "inputs": [f"d{i - 1}" if i else "input"]} for i in range(10000)], {}),
    "an output that does not exist": lambda: with_nodes(gru_nodes(), output="ghost"),
    "an output that is not the last": lambda: with_nodes(gru_nodes(), output="input"),
    "another dtype than its tensors": lambda: safetensors(
        *model(gru_nodes(), gru_tensors(),
               architecture=json.dumps({"dtype": "float64", "nodes": gru_nodes(), "outputs": ["gru"]}))),
    "a dtype nobody knows": lambda: safetensors(
        *model(gru_nodes(), gru_tensors(),
               architecture=json.dumps({"dtype": "float8", "nodes": gru_nodes(), "outputs": ["gru"]}))),
    "a pickle": lambda: b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}.",
    "a zip": lambda: b"PK\x03\x04" + b"\0" * 100,
}  # fmt: skip


def test_the_file_that_the_lies_are_made_of_is_good():
    assert isinstance(librnn.load(safetensors(*good())), librnn.GRU)


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused_with_a_message(lie, tmp_path):
    content = LIES[lie]()
    for source in (content, tmp_path / "model"):
        if source is not content:
            source.write_bytes(content)
        with pytest.raises(librnn.RNNError) as caught:
            librnn.load(source)
        assert caught.value.status in ("RNN_ERROR_FORMAT", "RNN_ERROR_UNSUPPORTED", "RNN_ERROR_OUT_OF_MEMORY"), caught.value
        assert 10 < len(caught.value.message) < 2000


def test_no_truncation_and_no_flipped_bit_crashes():
    """A flipped bit in a weight is a good file; everywhere else the file is refused, or says the same in another way."""
    content = safetensors(*good())
    header = len(content) - len(good()[1])
    for length in range(0, len(content), 7):
        with pytest.raises(librnn.RNNError):
            librnn.load(content[:length])
    generator = np.random.default_rng(1)
    survived = 0
    for _ in range(3000):
        damaged = bytearray(content)
        for _ in range(int(generator.integers(1, 4))):
            position = int(generator.integers(header))
            damaged[position] ^= 1 << int(generator.integers(8))
        try:
            model_ = librnn.load(damaged)
        except librnn.RNNError:
            continue
        survived += 1
        if isinstance(model_, librnn.Network):
            model_.run(np.zeros((2, 1, model_.input_size), model_.dtype))
        else:
            model_(np.zeros((2, 1, model_.input_size), model_.dtype))
    assert survived < 1000
