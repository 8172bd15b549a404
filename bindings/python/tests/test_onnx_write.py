"""librnn.onnx.save: what it writes, onnxruntime runs to the same numbers, and librnn reads back; what ONNX cannot say is refused."""

import json

import numpy as np
import pytest

import librnn
from helpers import ROOT, randoms

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

HARD = ("hard_sigmoid", 0.2, 0.5)
LENGTHS = np.array([6, 2, 4], np.int32)
MODELS = {
    "gru_both_directions": lambda: librnn.GRU(5, 4, 2, bidirectional=True),
    "gru_reset_before_without_bias": lambda: librnn.GRU(5, 4, bias=False),
    "gru_reset_after_without_bias": lambda: librnn.GRU(5, 4, 2, bias=False, variant="reset_after"),
    "rnn_single_bias_backwards": lambda: librnn.RNN(5, 4, bias="single", direction="reverse"),
    "lstm_single_bias": lambda: librnn.LSTM(5, 4, 3, bias="single", bidirectional=True),
    "lstm_dropout": lambda: librnn.LSTM(5, 4, 2, dropout=0.5, recurrent_dropout=0.2),
    "lstm_three_layers_batch_first": lambda: librnn.LSTM(5, 4, 3, bidirectional=True, batch_first=True),
    "learned_initial_state_of_two_sizes": lambda: librnn.GRU(5, 4, bidirectional=True, hidden_size_reverse=3, learn_initial_state=True),
    "gru_reset_after_clip": lambda: librnn.GRU(5, 4, variant="reset_after", gate_clip=0.25, bidirectional=True),
    "activations_of_two_directions": lambda: librnn.LSTM(
        5, 4, bidirectional=True, activations=({"g": "elu", "h": "softsign"}, {"g": ("leaky_relu", 0.25), "h": ("affine", 0.5, 0.25)})
    ),
    "gru_reset_after_batch_first": lambda: librnn.GRU(5, 4, variant="reset_after", batch_first=True),
    "rnn_relu": lambda: librnn.RNN(5, 4, nonlinearity="relu"),
    "lstm_peepholes_clip": lambda: librnn.LSTM(5, 4, 2, bidirectional=True, peepholes=True, gate_clip=0.7),
    "lstm_coupled_backwards": lambda: librnn.LSTM(5, 4, coupled_gates=True, runtime_forget_bias=1.0, direction="reverse"),
    "merge_mean": lambda: librnn.GRU(5, 4, bidirectional=True, merge="mean"),
    "merge_sum": lambda: librnn.RNN(5, 4, bidirectional=True, merge="sum"),
    "merge_product": lambda: librnn.LSTM(5, 4, bidirectional=True, merge="product"),
    "two_hidden_sizes": lambda: librnn.GRU(5, 4, bidirectional=True, hidden_size_reverse=3),
    "residual": lambda: librnn.GRU(4, 4, 3, residual=True),
    "learned_initial_state": lambda: librnn.LSTM(5, 4, learn_initial_state=True),
    "activations": lambda: librnn.GRU(5, 4, activations={"r": HARD, "z": HARD, "n": "softsign"}),
    "tokens": lambda: librnn.Sequential(
        [librnn.Embedding(7, 5), librnn.GRU(5, 4), librnn.LayerNorm(4), librnn.Linear(4, 3), librnn.Softmax()]
    ),
    "last_step": lambda: librnn.Sequential(
        [
            librnn.OneHot(7), librnn.LSTM(7, 4), librnn.Activation("scaled_tanh", 1.5, 0.5), librnn.ScaleShift(4),
            librnn.LastStep(), librnn.Linear(4, 2),
        ]
    ),
    "first_step": lambda: librnn.Sequential(
        [librnn.GRU(5, 4, direction="reverse"), librnn.Linear(4, 3), librnn.FirstStep(), librnn.Activation("relu")]
    ),
    "mask_in_the_middle": lambda: librnn.Sequential(
        [librnn.Linear(5, 3), librnn.Reverse(), librnn.GRU(3, 4), librnn.Reverse(), librnn.Linear(4, 2), librnn.Softmax(log=True)]
    ),
    "reversed": lambda: librnn.Sequential([librnn.GRU(5, 4), librnn.Reverse(), librnn.Slice(1, 3)]),
}  # fmt: skip


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_and_the_reader_give_the_models_numbers(name, lengths, tmp_path):
    model = MODELS[name]()
    path = tmp_path / "model.onnx"
    librnn.onnx.save(model, path, lengths=lengths)
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path))
    generator = np.random.default_rng(1)
    feeds = {}
    for entry in session.get_inputs():
        shape = [{"T": 6, "N": 3}.get(size, size) for size in entry.shape]
        if entry.name == "lengths":
            feeds["lengths"] = LENGTHS
        elif "int64" in entry.type:
            feeds[entry.name] = generator.integers(0, 7, shape)
        else:
            feeds[entry.name] = generator.uniform(-1, 1, shape).astype(np.float32)
    (x,) = (array for key, array in feeds.items() if key in ("input", "tokens"))
    expected = model(x, None, feeds.get("lengths"))[0]
    (actual,) = session.run(["y"], feeds)
    assert actual.shape == expected.shape
    # float32 on both sides, values up to about 1.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6)
    back = librnn.onnx.load(path)
    np.testing.assert_allclose(back.run(feeds)["y"], expected, rtol=0, atol=2e-6)
    if lengths:
        # One network, with lengths of its own, also for rows without a step.
        feeds["lengths"] = np.array([6, 0, 1], np.int32)
        first = x.swapaxes(0, 1) if model.batch_first else x  # the reader's networks have time first
        again = back.network.run(**{"tokens" if x.dtype == np.int64 else "x": first}, lengths=feeds["lengths"])[0]
        again = again.swapaxes(0, 1) if model.batch_first else again
        np.testing.assert_allclose(again, model(x, None, feeds["lengths"])[0], rtol=0, atol=2e-6)
        np.testing.assert_allclose(back.run(feeds)["y"], session.run(["y"], feeds)[0], rtol=0, atol=2e-6)



#: Numbers of the activations that have some; exact in float32, as attributes of ONNX are.
NUMBERS = {
    "sigmoid": (), "hard_sigmoid": (0.25, 0.5), "tanh": (), "relu": (), "leaky_relu": (0.125,), "thresholded_relu": (0.25,),
    "scaled_tanh": (0.5, 0.75), "elu": (0.5,), "softsign": (), "softplus": (), "affine": (0.5, 0.25),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_each_activation_is_written_as_a_node_and_of_a_cell(name):
    activation = librnn.Activation(name, *NUMBERS[name])
    model = librnn.Sequential(
        [librnn.RNN(5, 4, activations={"h": activation}), activation, librnn.GRU(4, 3, activations={"n": activation}, variant="reset_after")]
    )  # fmt: skip
    proto, x = librnn.onnx.to_model(model), randoms(6, 3, 5)
    expected = model(x)[0]
    # Functions without a bound let values and their rounding grow.
    bound = {"rtol": 2e-6, "atol": 2e-6}
    np.testing.assert_allclose(onnxruntime.InferenceSession(proto.SerializeToString()).run(["y"], {"input": x})[0], expected, **bound)
    np.testing.assert_allclose(librnn.onnx.load(proto).run({"input": x})["y"], expected, **bound)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("tokens", "last_step")])
def test_a_model_comes_back_with_its_outputs_and_states(name):
    model = MODELS[name]()
    proto = librnn.onnx.to_model(model)
    loaded = librnn.onnx.load(proto)
    assert len(loaded.networks) == 1
    x = randoms(3, 6, 5) if model.batch_first else randoms(6, 3, 4 if name == "residual" else 5)
    results = loaded.run({"input": x})
    expected, states = model(x)
    np.testing.assert_allclose(results.pop("y"), expected, rtol=0, atol=2e-6)
    if isinstance(model, librnn.Sequential) or "two" in name:
        return
    arrays = dict(zip(("h_n", "c_n"), states if isinstance(states, tuple) else (states,)))
    assert {key.rpartition(".")[2] for key in results} == set(arrays)
    for key, array in results.items():
        np.testing.assert_allclose(array, arrays[key.rpartition(".")[2]], rtol=0, atol=2e-6)


@pytest.mark.parametrize("cell", [librnn.RNN, librnn.GRU, librnn.LSTM])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}, {"bias": "single", "batch_first": True}])
def test_a_model_of_doubles_comes_back_to_rounding(cell, options):
    """onnxruntime does not run these."""
    model = cell(5, 4, dtype="float64", **options)
    proto = librnn.onnx.to_model(model)
    onnx.checker.check_model(proto, full_check=True)
    x = randoms(6, 3, 5).astype(np.float64)
    # Values up to 1; sums of biases may be in another order.
    np.testing.assert_allclose(librnn.onnx.load(proto).run({"input": x})["y"], model(x)[0], rtol=0, atol=1e-14)


#: torch_cell has its states as features of further inputs.
EXPORTED = [path for path in sorted((ROOT / "Tests" / "Vectors" / "onnx").glob("torch_*.legacy.onnx")) if "cell" not in path.name]


@pytest.mark.parametrize("path", EXPORTED, ids=lambda path: path.stem)
def test_pytorch_to_librnn_to_onnx_to_onnxruntime_and_back(path):
    """An exported model, read, written again: onnxruntime and librnn give PyTorch's numbers. Time comes first in what is written."""
    with np.load(path.parent / (path.name.split(".")[0] + ".npz")) as file:
        arrays = dict(file)
    first = librnn.onnx.load(path)
    # The network's own layout, [T, N, ..]: the axes of the graph's first input are in the metadata.
    (given, *_) = json.loads(first.network.metadata["onnx.inputs"])
    x = arrays["in_in0"].transpose(2, 0, 1) if "channels" in path.name else arrays["in_in0"]
    axes = ["T", "N"] if "channels" in path.name else given["axes"]
    if axes == ["N", "T"]:
        x = x.swapaxes(0, 1)
    elif len(axes) == 1:
        x = x[None] if axes == ["N"] else x[:, None]
    expected, _ = first.network.run(**{"tokens" if x.dtype == np.int64 else "x": x})
    again = librnn.onnx.to_model(first.network)
    (name,) = [entry.name for entry in again.graph.input]
    session = onnxruntime.InferenceSession(again.SerializeToString())
    np.testing.assert_allclose(session.run(["y"], {name: x})[0], expected, rtol=0, atol=2e-6)
    np.testing.assert_allclose(librnn.onnx.load(again).run({name: x})["y"], expected, rtol=0, atol=2e-6)


def test_a_layer_of_pytorchs_weights_goes_through_onnx_with_pytorchs_numbers(tmp_path):
    """torch -> librnn -> ONNX -> onnxruntime -> librnn, from a state_dict that PyTorch wrote."""
    vectors = ROOT / "Tests" / "Vectors" / "torch"
    arrays = np.load(vectors / "tagger.npz")
    model = librnn.torch.load(
        vectors / "tagger_checkpoint.pt", key="model_state_dict", prefix="module", batch_first=True, dtype="float32", modules=[
            ("embedding", "Embedding"), ("rnn", "GRU", {"variant": "reset_after"}), ("norm", "LayerNorm", {"eps": 0.001}),
            librnn.Activation("relu"), ("fc", "Linear"),
        ],
    )  # fmt: skip
    librnn.onnx.save(model, tmp_path / "tagger.onnx")
    x = arrays["x"].astype(np.int64)
    session = onnxruntime.InferenceSession(str(tmp_path / "tagger.onnx"))
    back = librnn.onnx.load(tmp_path / "tagger.onnx")
    for y in (session.run(["y"], {"tokens": x})[0], back.run({"tokens": x})["y"]):
        # Weights and sums of float32 against PyTorch's doubles.
        np.testing.assert_allclose(y, arrays["y"], rtol=0, atol=5e-6)


def test_states_can_be_inputs():
    model = librnn.LSTM(5, 4, 2, bidirectional=True)
    session = onnxruntime.InferenceSession(librnn.onnx.to_model(model, states=True).SerializeToString())
    x, h, c = randoms(6, 3, 5), randoms(4, 3, 4, seed=1), randoms(4, 3, 4, seed=2)
    y, h_n, c_n = session.run(["y", "lstm.h_n", "lstm.c_n"], {"input": x, "lstm.h_0": h, "lstm.c_0": c})
    expected, (expected_h, expected_c) = model(x, (h, c))
    for actual, wanted in ((y, expected), (h_n, expected_h), (c_n, expected_c)):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("model", "part"),
    [
        (lambda: librnn.LSTM(5, 4, proj_size=2), "proj_size"),
        (lambda: librnn.LSTM(5, 4, cell_clip=1.0), "cell_clip"),
        (lambda: librnn.LSTM(5, 4, gate_clip=1.0, gate_clip_output=True), "gate_clip_output"),
        (lambda: librnn.GRU(5, 4, activations={"r": "relu"}), "different activations of the gates"),
        (lambda: librnn.GRU(5, 4, gate_clip=0.1, dtype="float64"), "gate_clip"),
    ],
)
def test_what_onnx_cannot_say_is_refused_by_name_and_nothing_is_written(model, part, tmp_path):
    with pytest.raises(librnn.RNNError, match=part):
        librnn.onnx.save(model(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
