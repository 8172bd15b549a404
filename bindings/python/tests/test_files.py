"""Model files: saved and loaded with the same bits, readable by others, and written by others."""

import json

import numpy as np
import pytest

import librnn
from helpers import CELLS, DTYPES, assert_same_bits, make, random_state, randoms
from modelfile import gru_nodes, gru_tensors, model, safetensors
from reference import run
from test_gradients import differences


def through_a_file(original, path):
    original.metadata["note"] = "Grüße ✓"
    original.metadata["empty"] = ""
    librnn.save(original, path)
    loaded = librnn.load(path)
    assert type(loaded) is type(original)
    assert repr(loaded) == repr(original)
    assert dict(loaded.metadata) == dict(original.metadata) == {"note": "Grüße ✓", "empty": ""}
    assert list(loaded.parameters) == list(original.parameters)
    assert_same_bits(loaded.state_dict(), original.state_dict())
    from_memory = librnn.load(path.read_bytes())
    assert_same_bits(from_memory.state_dict(), original.state_dict())
    return loaded


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_a_layer_comes_back_from_a_file_with_the_same_bits(cell, dtype, tmp_path):
    choices = [
        {}, {"num_layers": 3, "bidirectional": True, "dropout": 0.25}, {"bias": "single"}, {"bias": False}, {"bias": "double"},
        {"batch_first": True},
    ]  # fmt: skip
    for number, keywords in enumerate(choices):
        layer = make(cell, 5, 7, dtype=dtype, **keywords)
        loaded = through_a_file(layer, tmp_path / f"{number}.safetensors")
        x = randoms(4, 3, 5, dtype=dtype)
        hx = random_state(layer, 4 if layer.batch_first else 3)
        assert_same_bits(loaded(x, hx), layer(x, hx))
        if cell.startswith("gru"):
            loaded.load_state_dict(layer.state_dict())


def test_a_chain_comes_back_from_a_file_with_the_same_bits(tmp_path):
    chains = [
        [librnn.Embedding(6, 3), librnn.GRU(3, 4, 2, dropout=0.5), librnn.Dropout(0.25), librnn.Linear(4, 6)],
        [librnn.OneHot(6), librnn.LSTM(6, 4, bidirectional=True), librnn.LastStep(), librnn.Linear(8, 6, bias=False)],
        [librnn.RNN(3, 4, nonlinearity="relu", dtype="float64"), librnn.GRU(4, 2, variant="reset_after", dtype="float64")],
        [librnn.GRU(3, 4, batch_first=True)],
    ]
    for number, modules in enumerate(chains):
        chain = librnn.Sequential(modules)
        loaded = through_a_file(chain, tmp_path / f"{number}.safetensors")
        if number < 2:
            x = np.random.default_rng(1).integers(0, 6, (5, 3))
        else:
            x = randoms(5, 2, 3, dtype=chain.dtype.name)
        assert_same_bits(loaded(x), chain(x))


def test_modules_of_one_node_come_back_from_a_file(tmp_path):
    linear = through_a_file(librnn.Linear(3, 4), tmp_path / "a")
    assert linear(np.ones((2, 3))).shape == (2, 4)
    embedding = through_a_file(librnn.Embedding(5, 2), tmp_path / "b")
    assert embedding([1, 2]).shape == (2, 2)


def test_any_path_and_any_bytes_will_do(tmp_path):
    layer = librnn.GRU(2, 3)
    path = tmp_path / "Übung mit Leerzeichen.safetensors"
    librnn.save(layer, str(path))
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), memoryview(path.read_bytes())):
        assert_same_bits(librnn.load(source).state_dict(), layer.state_dict())
    librnn.save(librnn.LSTM(2, 3), path)
    assert isinstance(librnn.load(path), librnn.LSTM)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name], "no temporary file is left"


def test_what_cannot_be_read_or_written_is_an_error(tmp_path):
    layer = librnn.GRU(2, 3)
    for attempt in (
        lambda: librnn.load(tmp_path / "missing"),
        lambda: librnn.load(tmp_path),
        lambda: librnn.save(layer, tmp_path / "no" / "such" / "folder"),
        lambda: librnn.save(layer, tmp_path),
    ):
        with pytest.raises(librnn.RNNError) as caught:
            attempt()
        assert caught.value.status == "RNN_ERROR_IO"
    for attempt in (
        lambda: librnn.load(3.5),
        lambda: librnn.load("a\0b"),
        lambda: librnn.save(np.zeros(3), "x"),
        lambda: librnn.save(layer, None),
    ):
        with pytest.raises(librnn.RNNError):
            attempt()


def test_metadata_is_a_dictionary_of_text():
    layer = librnn.GRU(2, 3)
    metadata = layer.metadata
    assert dict(metadata) == {} and len(metadata) == 0
    metadata["b"], metadata["a"] = "2", "x" * 100000
    assert list(metadata) == ["a", "b"] and len(metadata) == 2 and "a" in metadata and "c" not in metadata
    assert metadata["a"] == "x" * 100000 and metadata.get("c") is None
    metadata["a"] = "1"
    assert layer.metadata == {"a": "1", "b": "2"}
    del metadata["a"]
    with pytest.raises(KeyError):
        metadata["a"]
    with pytest.raises(KeyError):
        del metadata["a"]
    metadata.clear()
    assert len(metadata) == 0
    for key, value in (("librnn.architecture", "{}"), ("", "x"), ("k" * 257, "x"), ("k", 3), (3, "k"), ("k", "a\0b")):
        with pytest.raises(librnn.RNNError):
            metadata[key] = value
    assert len(metadata) == 0


def test_the_safetensors_package_reads_the_file(tmp_path):
    safetensors_numpy = pytest.importorskip("safetensors.numpy")
    import safetensors as package

    layer = librnn.LSTM(3, 4, 2, bidirectional=True)
    layer.metadata["sample_rate"] = "16000"
    path = tmp_path / "model.safetensors"
    librnn.save(layer, path)
    tensors = safetensors_numpy.load_file(path)
    assert {name: value.shape for name, value in tensors.items()} == {
        "lstm." + name: value.shape for name, value in layer.parameters.items()
    }
    for name, value in layer.state_dict().items():
        assert_same_bits(tensors["lstm." + name], value)
    with package.safe_open(path, "np") as file:
        metadata = file.metadata()
    assert metadata["sample_rate"] == "16000"
    assert json.loads(metadata["librnn.architecture"])["nodes"][1]["op"] == "lstm"


def test_a_file_written_by_hand_is_a_layer():
    tensors = gru_tensors()
    layer = librnn.load(safetensors(*model(gru_nodes(), tensors)))
    assert repr(layer) == "GRU(2, 3, variant='reset_before')"
    for name, value in tensors.items():
        assert_same_bits(layer.state_dict()[name[4:]], value)
    # The order of tensors and the spaces of JSON are the writer's own.
    header, data = model(gru_nodes(), dict(reversed(list(tensors.items()))))
    again = librnn.load(safetensors(json.dumps(header, indent=3).encode() + b"   ", data))
    assert_same_bits(again.state_dict(), layer.state_dict())
    layer.load_state_dict(layer.state_dict())


RESIDUAL = [
    {"name": "audio", "op": "input", "version": 1, "size": 2},
    {"name": "control", "op": "input", "version": 1, "size": 3},
    {"name": "up", "op": "linear", "version": 1, "inputs": ["audio"], "output_size": 4, "bias": True},
    {"name": "steer", "op": "linear", "version": 1, "inputs": ["control"], "output_size": 4, "bias": False},
    {"name": "mix", "op": "sum", "version": 1, "inputs": ["up", "steer"]},
    {"name": "cell", "op": "lstm", "version": 1, "inputs": ["mix"], "hidden_size": 4, "num_layers": 1, "bidirectional": False,
     "bias": "double", "dropout": 0.0},
    {"name": "residual", "op": "sum", "version": 1, "inputs": ["cell", "mix", "up"]},
    {"name": "out", "op": "linear", "version": 1, "inputs": ["residual"], "output_size": 2, "bias": True},
]  # fmt: skip
RESIDUAL_SHAPES = {
    "up.weight": (4, 2), "up.bias": (4,), "steer.weight": (4, 3), "cell.weight_ih_l0": (16, 4), "cell.weight_hh_l0": (16, 4),
    "cell.bias_ih_l0": (16,), "cell.bias_hh_l0": (16,), "out.weight": (2, 4), "out.bias": (2,),
}  # fmt: skip


def residual_network(dtype="float64"):
    generator = np.random.default_rng(3)
    tensors = {name: generator.standard_normal(shape) * 0.5 for name, shape in RESIDUAL_SHAPES.items()}
    return librnn.load(safetensors(*model(RESIDUAL, tensors, dtype=dtype, metadata={"sample_rate": "48000"}))), tensors


def test_a_network_of_two_inputs_and_residual_sums_runs():
    network, p = residual_network()
    assert isinstance(network, librnn.Network)
    assert network.metadata["sample_rate"] == "48000"
    assert network.input_size == 5 and network.output_size == 2
    assert list(network.parameters) == list(RESIDUAL_SHAPES)
    x = randoms(6, 3, 5, dtype="float64")
    up = x[..., :2] @ p["up.weight"].T + p["up.bias"]
    mix = up + x[..., 2:] @ p["steer.weight"].T
    cell = {name[5:]: value for name, value in p.items() if name.startswith("cell.")}
    h0 = {"cell.h": randoms(1, 3, 4, seed=1, dtype="float64"), "cell.c": randoms(1, 3, 4, seed=2, dtype="float64")}
    y, h, c = run("lstm", cell, mix, h0["cell.h"], h0["cell.c"])
    expected = (y.value + mix + up) @ p["out.weight"].T + p["out.bias"]
    actual, state = network.run(x, state=h0)
    np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(state["cell.h"], h.value, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(state["cell.c"], c.value, rtol=1e-13, atol=1e-13)
    stream = network.stream(batch=3)
    stream.state = h0
    assert_same_bits(np.stack([stream.step(x[t]) for t in range(6)]), actual)
    assert_same_bits(stream.state, state)
    padded, _ = network.run(x, state=h0, lengths=[6, 2, 0])
    assert_same_bits(padded[:2, 1], actual[:2, 1])
    assert not padded[:, 2].any()
    assert_same_bits(network.run(x[:, 0])[0], network.run(x[:, :1])[0][:, 0])


def test_a_network_of_two_inputs_and_residual_sums_has_gradients():
    network, _ = residual_network()
    x = randoms(4, 2, 5, dtype="float64")
    state = {"cell.h": randoms(1, 2, 4, dtype="float64"), "cell.c": randoms(1, 2, 4, seed=1, dtype="float64")}
    y, final, tape = network.forward_train(x, state=state, lengths=[4, 2])
    grad_y = randoms(*y.shape, seed=4, dtype="float64")
    grad_state = {name: np.cos(value) for name, value in final.items()}
    gradients = network.backward(tape, grad_y, grad_state, gradient_flow=True)

    def loss():
        y, final = network.run(x, state=state, lengths=[4, 2])
        return (y * grad_y).sum() + sum((final[name] * grad_state[name]).sum() for name in final)

    tolerance = {"rtol": 3e-8, "atol": 3e-8}  # as in test_gradients.py
    np.testing.assert_allclose(gradients.input, differences(loss, x), **tolerance)
    for name, value in state.items():
        np.testing.assert_allclose(gradients.state[name], differences(loss, value), **tolerance)
    weights = network.state_dict()
    for name, value in weights.items():
        def loss_of_weights():
            network.load_state_dict(weights)
            return loss()

        np.testing.assert_allclose(gradients.parameters[name], differences(loss_of_weights, value), **tolerance, err_msg=name)
    assert gradients.flow.hidden.shape == (1, 4)


def test_features_and_tokens_can_be_read_side_by_side(tmp_path):
    nodes = [
        {"name": "word", "op": "token_input", "version": 1},
        {"name": "tag", "op": "token_input", "version": 1},
        {"name": "x", "op": "input", "version": 1, "size": 3},
        {"name": "words", "op": "embedding", "version": 1, "inputs": ["word"], "vocabulary_size": 5, "embedding_size": 3},
        {"name": "tags", "op": "one_hot", "version": 1, "inputs": ["tag"], "size": 3},
        {"name": "sum", "op": "sum", "version": 1, "inputs": ["words", "tags", "x"]},
        {"name": "drop", "op": "dropout", "version": 1, "inputs": ["sum"], "probability": 0.5},
    ]
    table = np.arange(15.0).reshape(5, 3)
    network = librnn.load(safetensors(*model(nodes, {"words.weight": table})))
    generator = np.random.default_rng(0)
    x, tokens = randoms(4, 2, 3), np.stack([generator.integers(0, 5, (4, 2)), generator.integers(0, 3, (4, 2))], 2)
    expected = ((table[tokens[..., 0]] + np.eye(3)[tokens[..., 1]]).astype(np.float32) + x).astype(np.float32)
    y, state = network.run(x, tokens)
    assert state == {}
    assert_same_bits(y, expected)
    stream = network.stream(batch=2)
    assert_same_bits(np.stack([stream.step(x[t], tokens[t]) for t in range(4)]), expected)
    assert_same_bits(stream.process(x, tokens), expected)
    y, _, tape = network.forward_train(x, tokens)
    assert network.backward(tape, y).input.shape == x.shape
    librnn.save(network, tmp_path / "m")
    assert isinstance(librnn.load(tmp_path / "m"), librnn.Network)
    for wrong in ((x, None), (None, tokens), (x, tokens[..., 0]), (x, tokens[:3]), (x[..., :2], tokens)):
        with pytest.raises(librnn.RNNError):
            network.run(*wrong)
    with pytest.raises(librnn.RNNError):
        network.run(x, tokens, state={"cell.h": 0})
