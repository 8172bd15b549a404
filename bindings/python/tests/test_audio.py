"""librnn.audio: files of audio plug-ins compute what the plug-ins' own code computes; what they cannot say is refused by name."""

import json
import random

import numpy as np
import pytest

import librnn
from helpers import assert_same_bits
from hostile import assert_refused, cut_and_flipped, mutated
from librnn._describe import describe

#: Float32 against the equations in float64: a few roundings of numbers below 4, over ten steps.
TOLERANCE = 2e-6


def draw(*shape, seed=0):
    return np.random.default_rng(sum(shape) + 100 * seed).standard_normal(shape).astype(np.float32) * np.float32(0.5)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def write(path, content):
    path.write_text(json.dumps(content, default=lambda array: array.tolist()))
    return path


def lstm(x, w_ih, w_hh, bias, h=None, c=None):
    """The loop of a plug-in, gates i f g o: x [T, I] to [T, H]."""
    hidden = w_hh.shape[1]
    h, c = (np.zeros(hidden) if value is None else value.astype(np.float64) for value in (h, c))
    outputs = []
    for step in x.astype(np.float64):
        i, f, g, o = np.split(w_ih @ step + w_hh @ h + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


def gru(x, w_ih, w_hh, b_ih, b_hh):
    """Reset-after, gates r z n."""
    h, outputs = np.zeros(w_hh.shape[1]), []
    for step in x.astype(np.float64):
        xr, xz, xn = np.split(w_ih @ step + b_ih, 3)
        hr, hz, hn = np.split(w_hh @ h + b_hh, 3)
        z = sigmoid(xz + hz)
        h = (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h
        outputs.append(h)
    return np.array(outputs)


def signal(size=1, steps=10):
    return draw(steps, size, seed=9)


# --------------------------------------------------------------------------------------- RTNeural and AIDA-X


def rtneural(layers, size=1, **keys):
    return {"in_shape": [None, None, size], "layers": layers, **keys}


def rt_lstm(size, hidden, activation=""):
    weights = [draw(size, 4 * hidden), draw(hidden, 4 * hidden, seed=1), draw(4 * hidden, seed=2)]
    return {"type": "lstm", "activation": activation, "shape": [None, None, hidden], "weights": weights}


def rt_gru(size, hidden):
    weights = [draw(size, 3 * hidden), draw(hidden, 3 * hidden, seed=1), draw(2, 3 * hidden, seed=2)]
    return {"type": "gru", "activation": "tanh", "shape": [None, None, hidden], "weights": weights}


def rt_dense(size, outputs, activation="", kind="dense"):
    return {"type": kind, "activation": activation, "shape": [None, None, outputs], "weights": [draw(size, outputs), draw(outputs, seed=1)]}


def run_rt(layer, x):
    w = layer["weights"]
    if layer["type"] == "lstm":
        return lstm(x, w[0].T.astype(float), w[1].T.astype(float), w[2].astype(float))
    if layer["type"] == "gru":
        # Keras' z r h to r z n.
        hidden = w[1].shape[0]
        order = np.r_[hidden : 2 * hidden, :hidden, 2 * hidden : 3 * hidden]
        return gru(x, w[0].T[order].astype(float), w[1].T[order].astype(float), w[2][0][order].astype(float), w[2][1][order].astype(float))
    return x @ w[0].astype(float) + w[1]


def test_rtneural_models_compute_what_their_layers_say(tmp_path):
    layers = [rt_dense(1, 8, "tanh"), rt_gru(8, 5), rt_lstm(5, 4, "tanh"), rt_dense(4, 2, "sigmoid", "time-distributed-dense")]
    model = librnn.audio.load(write(tmp_path / "model.json", rtneural(layers)))
    x = signal()
    expected = np.tanh(run_rt(layers[0], x))
    expected = run_rt(layers[2], run_rt(layers[1], expected))
    expected = sigmoid(run_rt(layers[3], expected))
    y, _ = model(x)
    assert isinstance(model, librnn.Sequential) and model.metadata["audio.format"] == "RTNeural"
    assert np.abs(y - expected).max() < TOLERANCE
    stream = model.stream()
    assert_same_bits(np.array([stream.step(step) for step in x]).reshape(y.shape), y)


@pytest.mark.parametrize("name, function", [
    ("relu", lambda x: np.maximum(x, 0)), ("elu", lambda x: np.where(x > 0, x, np.expm1(x))), ("sigmoid", sigmoid),
    ("softmax", lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)), ("", lambda x: x),
])  # fmt: skip
def test_activations_stand_in_a_layer_or_alone(name, function, tmp_path):
    inside = librnn.audio.load(write(tmp_path / "a.json", rtneural([rt_lstm(1, 3), rt_dense(3, 3, name)])))
    alone = librnn.audio.load(write(tmp_path / "b.json", rtneural(
        [rt_lstm(1, 3), rt_dense(3, 3), {"type": "activation", "activation": name, "shape": [None, None, 3], "weights": []}])))  # fmt: skip
    x = signal()
    expected = function(run_rt(rt_dense(3, 3), run_rt(rt_lstm(1, 3), x)))
    assert np.abs(inside(x)[0] - expected).max() < TOLERANCE
    assert_same_bits(inside(x)[0], alone(x)[0])


def test_batch_norm_and_prelu_with_one_slope(tmp_path):
    gamma, beta, mean, variance = (draw(3, seed=i) for i in range(4))
    variance = np.abs(variance) + np.float32(0.1)
    norm = {"type": "batchnorm", "shape": [None, None, 3], "epsilon": 0.001, "weights": [gamma, beta, mean, variance]}
    prelu = {"type": "prelu", "shape": [None, None, 3], "weights": [[[0.25, 0.25, 0.25]]]}
    model = librnn.audio.load(write(tmp_path / "model.json", rtneural([rt_lstm(1, 3), norm, prelu])))
    h = run_rt(rt_lstm(1, 3), signal())
    expected = (h - mean) / np.sqrt(variance.astype(float) + 0.001) * gamma + beta
    assert np.abs(model(signal())[0] - np.where(expected > 0, expected, 0.25 * expected)).max() < TOLERANCE
    plain = {**norm, "weights": [mean, variance]}
    model = librnn.audio.load(write(tmp_path / "model.json", rtneural([rt_lstm(1, 3), plain])))
    assert np.abs(model(signal())[0] - (h - mean) / np.sqrt(variance.astype(float) + 0.001)).max() < TOLERANCE


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("gains", [{}, {"in_gain": -6.0, "out_gain": 3.5}, {"out_gain": -100}])
def test_aida_x_adds_the_input_and_applies_its_gains(size, skip, gains, tmp_path):
    layers = [rt_lstm(size, 4), rt_dense(4, 1)]
    content = rtneural(layers, size, in_skip=skip, metadata={"name": "amp", "samplerate": 48000}, **gains)
    model = librnn.audio.load(write(tmp_path / "model.aidax", content))
    factor = {key: 10 ** (gains.get(key, 0) / 20) if gains.get(key, 0) > -90 else 0 for key in ("in_gain", "out_gain")}
    x = signal(size) * factor["in_gain"]
    expected = (run_rt(layers[1], run_rt(layers[0], x)) + skip * x[:, :1]) * factor["out_gain"]
    y, _ = model(signal(size))
    assert np.abs(y - expected).max() < TOLERANCE
    assert model.metadata["audio.format"] == "AIDA-X" and model.metadata["audio.sample_rate"] == "48000"
    assert json.loads(model.metadata["audio.metadata"])["name"] == "amp"


# ------------------------------------------------------------------------------------------------- GuitarML


def guitarml(kind="LSTM", inputs=1, hidden=4, skip=1, bias=True, layers=1, **keys):
    gates = {"LSTM": 4, "GRU": 3}[kind]
    state = {}
    for layer in range(layers):
        width = inputs if layer == 0 else hidden
        state.update({
            f"rec.weight_ih_l{layer}": draw(gates * hidden, width, seed=layer), f"rec.weight_hh_l{layer}": draw(gates * hidden, hidden, seed=layer + 5),
            f"rec.bias_ih_l{layer}": draw(gates * hidden, seed=layer + 7), f"rec.bias_hh_l{layer}": draw(gates * hidden, seed=layer + 8),
        })  # fmt: skip
    state["lin.weight"] = draw(1, hidden, seed=3)
    if bias:
        state["lin.bias"] = draw(1, seed=4)
    data = {"model": "SimpleRNN", "input_size": inputs, "skip": skip, "output_size": 1, "unit_type": kind, "num_layers": layers,
            "hidden_size": hidden, "bias_fl": bias}  # fmt: skip
    return {"model_data": {**data, **keys}, "state_dict": state}


@pytest.mark.parametrize("kind, inputs, skip, bias, layers", [
    ("LSTM", 1, 1, True, 1), ("LSTM", 2, 1, True, 1), ("GRU", 1, 0, True, 1), ("GRU", 2, 1, False, 1), ("LSTM", 1, 1, True, 2),
])  # fmt: skip
def test_guitarml_models_add_the_input_to_what_the_network_says(kind, inputs, skip, bias, layers, tmp_path):
    content = guitarml(kind, inputs, skip=skip, bias=bias, layers=layers, sample_rate=44100.0)
    model = librnn.audio.load(write(tmp_path / "model.json", content))
    state = {name: value.astype(float) for name, value in content["state_dict"].items()}
    h = x = signal(inputs)
    for layer in range(layers):
        w_ih, w_hh, b_ih, b_hh = (state[f"rec.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h = lstm(h, w_ih, w_hh, b_ih + b_hh) if kind == "LSTM" else gru(h, w_ih, w_hh, b_ih, b_hh)
    expected = h @ state["lin.weight"].T + state.get("lin.bias", 0) + skip * x[:, :1]
    assert np.abs(model(x)[0] - expected).max() < TOLERANCE
    assert model.metadata["audio.format"] == "GuitarML" and model.metadata["audio.sample_rate"] == "44100"


# ------------------------------------------------------------------------------------- Neural Amp Modeler


def nam(inputs=1, hidden=3, layers=2, outputs=None, version="0.5.4", **keys):
    parts, arrays = [], []
    for layer in range(layers):
        width = inputs if layer == 0 else hidden
        arrays.append((draw(4 * hidden, width + hidden, seed=layer), draw(4 * hidden, seed=layer + 3), draw(hidden, seed=layer + 5), draw(hidden, seed=layer + 6)))
        parts += [part.reshape(-1) for part in arrays[-1]]
    head = draw(outputs or 1, hidden, seed=8), draw(outputs or 1, seed=9)
    parts += [part.reshape(-1) for part in head]
    config = {"input_size": inputs, "hidden_size": hidden, "num_layers": layers}
    if outputs:
        config.update(in_channels=inputs, out_channels=outputs)
    content = {"version": version, "architecture": "LSTM", "config": config, "weights": np.concatenate(parts),
               "metadata": {"name": "amp", "loudness": -18.5}, "sample_rate": 48000, **keys}  # fmt: skip
    return content, arrays, head


@pytest.mark.parametrize("outputs", [None, 2])
@pytest.mark.parametrize("layers", [1, 2])
def test_nam_models_begin_with_the_state_in_the_file(layers, outputs, tmp_path):
    content, arrays, head = nam(layers=layers, outputs=outputs, version="0.5.4" if outputs is None else "0.7.0")
    model = librnn.audio.load(write(tmp_path / "model.nam", content))
    h = signal()
    for weights, bias, h_0, c_0 in arrays:
        width = weights.shape[1] - 3
        h = lstm(h, weights[:, :width].astype(float), weights[:, width:].astype(float), bias.astype(float), h_0, c_0)
    expected = h @ head[0].T.astype(float) + head[1]
    y, _ = model(signal())
    assert np.abs(y - expected).max() < TOLERANCE
    stream = model.stream()
    assert_same_bits(np.array([stream.step(step) for step in signal()]).reshape(y.shape), y)
    librnn.save(model, tmp_path / "model.safetensors")
    assert_same_bits(librnn.load(tmp_path / "model.safetensors")(signal())[0], y)
    assert model.metadata["audio.format"] == "NAM" and json.loads(model.metadata["audio.metadata"])["loudness"] == -18.5


# --------------------------------------------------------------------------------------------------- refusals


def changed(content, *path, value):
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return content


NAM = nam()[0]
REFUSED = {
    "another format": ({"a": 1}, "neither RTNeural .* nor NAM"),
    "a state_dict": ({"lstm.weight_ih_l0": [[0.5]] * 4, "lstm.weight_hh_l0": [[0.5]] * 4}, "librnn.torch.load"),
    "a WaveNet": ({**NAM, "architecture": "WaveNet"}, "architecture 'WaveNet'"),
    "a parametric LSTM": ({**NAM, "architecture": "CatLSTM"}, "architecture 'CatLSTM'"),
    "an old version of NAM": ({**NAM, "version": "0.4.0"}, "version 0.4.0"),
    "a new version of NAM": ({**NAM, "version": "0.8.0"}, "version 0.8.0"),
    "version 1 of NAM": ({**NAM, "version": "1.5.0"}, "version 1.5.0"),
    "a version that is none": ({**NAM, "version": "new"}, "version is 'new'"),
    "a key NAM does not have": ({**NAM, "quantization": 8}, "'quantization'"),
    "a configuration NAM does not have": ({**NAM, "config": {**NAM["config"], "head_scale": 2}}, "'head_scale'"),
    "other channels": ({**NAM, "config": {**NAM["config"], "in_channels": 2}}, "2 channels, but input_size 1"),
    "one weight less": ({**NAM, "weights": NAM["weights"][:-1]}, "weights, but an LSTM of these sizes has"),
    "a rate that is none": ({**NAM, "sample_rate": -1}, "sample rate"),
    "a convolution": (rtneural([{"type": "conv1d", "shape": [None, None, 1], "weights": []}]), "no layer 'conv1d'"),
    "a layer nobody knows": (rtneural([{"type": "attention", "shape": [None, None, 1], "weights": []}]), "no layer 'attention'"),
    "an activation nobody knows": (rtneural([rt_dense(1, 2, "mish")]), "no activation 'mish'"),
    "another activation of a gate": (rtneural([rt_lstm(1, 3, "relu")]), "activation 'relu'; RTNeural computes tanh"),
    "slopes that differ": (
        rtneural([rt_dense(1, 2), {"type": "prelu", "shape": [None, None, 2], "weights": [[[0.1, 0.2]]]}]), "differ between features"),
    "a skip of two": (rtneural([rt_lstm(1, 3), rt_dense(3, 1)], in_skip=2), "in_skip is 2"),
    "a skip to two outputs": (rtneural([rt_lstm(1, 3), rt_dense(3, 2)], in_skip=1), "2 outputs"),
    "an image": ({"in_shape": [None, 3, 3, 1], "layers": [rt_dense(1, 1)]}, "in_shape"),
    "a shape that does not fit": (rtneural([{**rt_dense(1, 3), "shape": [None, None, 4]}]), "expected an array of 4"),
    "a vanilla RNN": (changed(guitarml(), "model_data", "unit_type", value="RNN"), "unit_type is 'RNN'"),
    "another model of GuitarML": (changed(guitarml(), "model_data", "model", value="WaveNet"), "'WaveNet'"),
    "a key GuitarML does not have": (changed(guitarml(), "model_data", "mean", value=0.5), "'mean'"),
    "a tensor too many": (changed(guitarml(), "state_dict", "conv.weight", value=[1.0]), "unexpected: conv.weight"),
    "a tensor that is missing": (changed(guitarml(), "state_dict", "lin.bias", value=None), "missing: lin.bias"),
    "a skip of GuitarML of two": (guitarml(inputs=2, skip=2), "skip is 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_is_refused_by_name(case, tmp_path):
    content, text = REFUSED[case]
    with pytest.raises(librnn.RNNError, match=text):
        librnn.audio.load(write(tmp_path / "model.json", content))


def dumped(content):
    return json.dumps(content, default=lambda array: array.tolist()).encode()


LIES = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"3",
    "deep": b'{"a":' * 100000 + b"1" + b"}" * 100000,
    "a list of lists": b'{"layers": [' + b"[]," * 3_000_000 + b"[]]}",
    "a list of objects": b'{"weights": [' + b"{}," * 3_000_000 + b"{}]}",
    "a list of numbers": b'{"weights": [' + b"1.5," * 2_500_000 + b"1]}",
    "a file of 50 MB": b'{"a": "' + b"x" * 50_000_000 + b'"}',
    "endless digits": b'{"a": ' + b"9" * 1_000_000 + b"}",
    "NaN": b'{"version": NaN}',
    "infinity": dumped(changed(guitarml(), "state_dict", "lin.bias", value=[3])).replace(b"[3]", b"[1e999]"),
    "a key twice": b'{"version": "0.5.4", "version": "0.5.3"}',
    "sizes of 2**31": dumped({**NAM, "config": {"input_size": 2**31 - 1, "hidden_size": 2**31 - 1, "num_layers": 1000}}),
    "sizes of 2**70": dumped({**NAM, "config": {"input_size": 2**70, "hidden_size": 3, "num_layers": 1}}),
    "a billion layers": dumped({**NAM, "config": {"input_size": 1, "hidden_size": 3, "num_layers": 10**9}}),
    "a billion layers of GuitarML": dumped(changed(guitarml(), "model_data", "num_layers", value=10**9)),
    "a hidden size of 2**30": dumped(changed(guitarml(), "model_data", "hidden_size", value=2**30)),
    "a hidden size below zero": dumped(changed(guitarml(), "model_data", "hidden_size", value=-1)),
    "a hidden size of truth": dumped(changed(guitarml(), "model_data", "hidden_size", value=True)),
    "weights in words": dumped(changed(guitarml(), "state_dict", "lin.bias", value=["one"])),
    "weights of truth": dumped(changed(guitarml(), "state_dict", "lin.bias", value=[True])),
    "weights of nothing": dumped({**NAM, "weights": None}),
    "weights that are deep": dumped(changed(guitarml(), "state_dict", "lin.bias", value=[[[[[1]]]]])),
    "layers that are words": dumped(rtneural(["lstm", "dense"])),
    "ten thousand layers": dumped(rtneural([{"type": "activation", "shape": [1], "activation": "tanh", "weights": []}] * 10_000)),
    "a shape of 2**19": dumped(rtneural([{**rt_dense(1, 3), "shape": [None, None, 2**19]}])),
    "a variance below zero": dumped(rtneural([rt_dense(1, 1), {"type": "batchnorm", "shape": [1], "epsilon": 0.1, "weights": [[0.0], [-1.0]]}])),
    "a gain of words": dumped(rtneural([rt_dense(1, 1)], out_gain="loud")),
    "a gain of 1e300": dumped(rtneural([rt_dense(1, 1)], out_gain=1e300)),
}  # fmt: skip


def test_a_hostile_file_is_refused_at_once(tmp_path):
    assert_refused(tmp_path, LIES, "librnn.audio.load(path)")


@pytest.mark.parametrize("content", [dumped(NAM), dumped(guitarml()), dumped(rtneural([rt_gru(1, 3), rt_dense(3, 1)]))])
def test_a_damaged_file_is_an_error_or_a_model_of_other_numbers(content, tmp_path):
    for _, damaged in cut_and_flipped(content, flips=150):
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            librnn.audio.load(tmp_path / "damaged")
        except librnn.RNNError:
            pass


@pytest.mark.parametrize("content", [dumped(NAM), dumped(guitarml(inputs=2)), dumped(rtneural([rt_gru(1, 3), rt_dense(3, 1)], in_skip=1))])
def test_a_changed_file_is_an_error_or_a_model(content, tmp_path):
    generator = random.Random(1)
    for _ in range(150):
        path = write(tmp_path / "changed", mutated(json.loads(content), generator))
        try:
            assert describe(librnn.audio.load(path))
        except librnn.RNNError as error:
            assert error.message
