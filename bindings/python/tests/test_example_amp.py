"""examples/amp: sound in blocks through converted models of audio plug-ins, in C, as whole in Python."""

import numpy as np
import pytest

import librnn
from example_programs import c_program, printed
from helpers import assert_same_bits
from librnn._cli import main
from test_audio import guitarml, nam, rt_dense, rt_lstm, rtneural, write


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return c_program("amp/amp.c", tmp_path_factory.mktemp("amp"))


MODELS = {
    "nam": (lambda: nam()[0], ()),
    "nam at 3 kHz": (lambda: {**nam()[0], "sample_rate": 3000}, ()),
    "aida": (lambda: rtneural([rt_lstm(1, 4), rt_dense(4, 1)], in_skip=1, in_gain=-3.0, metadata={"samplerate": 48000}), ()),
    "guitarml": (lambda: guitarml("GRU", sample_rate=44100.0), ()),
    "a setting": (lambda: guitarml(inputs=2, skip=1), (0.25,)),
    "two settings": (lambda: guitarml(inputs=3, skip=1), (0.25, -1.5)),
}


@pytest.mark.parametrize("name", MODELS)
def test_blocks_in_c_have_the_bits_of_the_whole_in_python(name, program, tmp_path):
    content, settings = MODELS[name]
    path, out = write(tmp_path / "amp.json", content()), tmp_path / "amp.safetensors"
    assert main(["convert", str(path), str(out)]) == 0
    # No multiple of the block: the last one is shorter.
    sound = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    heard = np.frombuffer(printed(program, out, *settings, data=sound.tobytes()), np.float32)
    model = librnn.load(out)
    silence = int(0.5 * int(model.metadata["audio.sample_rate"])) if name.startswith("nam") else 0
    x = np.concatenate([np.zeros(silence, np.float32), sound])[:, None]
    x = np.concatenate([x, np.tile(np.float32(settings), (len(x), 1)).reshape(len(x), -1)], 1)
    y = (model.run(x[:, None])[0] if isinstance(model, librnn.Network) else model(x[:, None])[0]).reshape(-1)
    assert_same_bits(heard, y[silence:])


def test_errors_name_what_is_wrong(program, tmp_path):
    assert main(["convert", str(write(tmp_path / "a.json", guitarml(inputs=2, skip=1))), str(tmp_path / "a")]) == 0
    assert "has 1 settings, 0 were given" in printed(program, tmp_path / "a", status=1)
    assert "has 1 settings, 2 were given" in printed(program, tmp_path / "a", 1, 2, status=1)
    librnn.save(librnn.GRU(1, 3), tmp_path / "b")
    assert "no model of sound" in printed(program, tmp_path / "b", status=1)
    librnn.save(librnn.GRU(1, 1, direction="reverse"), tmp_path / "b")
    assert "a stream" in printed(program, tmp_path / "b", status=1)
    assert "No such file" in printed(program, tmp_path / "none", status=1)
    assert "usage" in printed(program, status=2)
