"""librnn.onnx.save: what it writes, onnxruntime runs to the same numbers, and librnn reads back; what ONNX cannot say is refused."""

import numpy as np
import pytest

import librnn
from helpers import randoms

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

HARD = ("hard_sigmoid", 0.2, 0.5)
LENGTHS = np.array([6, 2, 4], np.int32)
MODELS = {
    "gru_both_directions": lambda: librnn.GRU(5, 4, 2, bidirectional=True),
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
