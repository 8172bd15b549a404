"""examples/vad: Silero's voice activity detector in C on a stream: the traced probabilities, in constant time and memory."""

import os
import re
import subprocess

import numpy as np
import pytest
from example_programs import allocations, c_program, example, filtered, filtered_under_valgrind, package, script, sound, traces
from helpers import CONFORMANCE

import librnn

RECORDINGS = ("librivox_0870", "goforward", "numbers")
RATE, FRAME = 16000, 512


@pytest.fixture(scope="module")
def weights_file():
    """The weights, from wherever they can be had."""
    stored = CONFORMANCE / "models" / "silero_vad" / "silero_vad_16k.safetensors"
    return stored if stored.exists() else package("silero-vad")


@pytest.fixture(scope="module")
def models(weights_file, tmp_path_factory):
    """The folder with the model files."""
    folder = tmp_path_factory.mktemp("vad")
    script("vad/convert.py", weights_file, folder)
    return folder


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return c_program("vad/vad.c", tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def trace():
    return np.load(traces("silero_vad") / "trace.npz")


def command(program, models, *options):
    return [program, *options, models / "front.safetensors", models / "lstm.safetensors"]


def run(program, models, samples, *options):
    """What the program writes, and what it says on stderr."""
    out, err = filtered(command(program, models, *options), samples)
    return out.decode(), err


def probabilities(output):
    return np.array([line.split("\t")[1] for line in output.splitlines()], np.float32)


@pytest.mark.parametrize("recording", RECORDINGS)
def test_lstm_and_head_compute_what_pytorch_computed(models, trace, recording):
    """On the traced input. Both round to float32, in different orders: PyTorch's h is up to 1.5e-6 away from a float64
    computation, its probability up to 2.2e-7."""
    x, h, expected = (trace[f"{recording}.st_{name}"] for name in ("lstm_in", "lstm_out", "prob"))
    model = librnn.load(models / "lstm.safetensors")
    lstm = librnn.LSTM(128, 128)
    lstm.load_state_dict({name[2:]: value for name, value in model.state_dict().items() if name.startswith("0.")})
    assert np.abs(lstm(x[:, None])[0][:, 0] - h).max() < 3e-6
    y, _ = model(x[:, None])
    assert np.abs(y[:, 0, 0] - expected).max() < 1e-6
    stream = model.stream()
    assert (np.array([stream.step(step)[0] for step in x]) == y[:, 0, 0]).all()


@pytest.mark.parametrize("recording", RECORDINGS)
def test_the_c_program_finds_the_traced_probabilities(program, models, trace, recording):
    """From samples to probabilities. The program's sums of up to 387 products are one after the other: its probabilities are up
    to 2.1e-6 away from a float64 computation, the traced ones up to 2.2e-7."""
    out, _ = run(program, models, trace[f"{recording}.audio_i16"], "-p")
    expected = trace[f"{recording}.st_prob"]
    found = probabilities(out)
    assert found.shape == expected.shape and np.abs(found - expected).max() < 4e-6
    begins = [float(line.split("\t")[0]) for line in out.splitlines()]
    assert begins == [round(i * FRAME / RATE, 3) for i in range(len(expected))]


def in_double_precision(weights, samples):
    """The package's equations on its own tensors, in float64."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    sigmoid, h, c = lambda x: 1 / (1 + np.exp(-x)), np.zeros(128), np.zeros(128)
    padded, found = np.append(np.zeros(64), samples / 32768), []
    for begin in range(0, len(samples), FRAME):
        x = np.pad(padded[begin : begin + 64 + FRAME], (0, 64), mode="reflect")
        spectra = w["stft_conv.weight"][:, 0] @ np.stack([x[hop : hop + 256] for hop in range(0, 512, 128)], 1)
        x = np.hypot(spectra[:129], spectra[129:])
        for layer, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2), ("conv4", 1)):
            columns = np.pad(x, ((0, 0), (1, 1)))
            x = np.stack([
                np.tensordot(w[f"{layer}.weight"], columns[:, at : at + 3]) + w[f"{layer}.bias"] for at in range(0, x.shape[1], stride)
            ], 1)  # fmt: skip
            x = np.maximum(x, 0)
        gates = w["lstm_cell.weight_ih"] @ x[:, 0] + w["lstm_cell.bias_ih"] + w["lstm_cell.weight_hh"] @ h + w["lstm_cell.bias_hh"]
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        found.append(sigmoid(w["final_conv.weight"][0, :, 0] @ np.maximum(h, 0) + w["final_conv.bias"][0]))
    return np.array(found)


def test_the_c_program_finds_the_probabilities_of_double_precision(program, models, weights_file):
    weights = example("vad/convert.py").read_weights(weights_file)
    # A voice, more or less: the harmonics of 140 Hz, seven syllables in two seconds, some noise, and silence.
    time = np.arange(RATE * 2) / RATE
    voice = sum(np.sin(2 * np.pi * 140 * k * time + k) / k for k in range(1, 25)) * np.maximum(np.sin(7 * np.pi * time), 0)
    samples = np.concatenate([sound(0.32), (5000 * voice).astype("<i2"), np.zeros(10 * FRAME, "<i2"), sound(0.64, seed=1)])
    samples = samples[: len(samples) // FRAME * FRAME]
    expected = in_double_precision(weights, samples)
    assert expected.min() < 0.05 and expected.max() > 0.3
    # As in the recordings: sums of up to 387 float32 products, one after the other.
    assert np.abs(probabilities(run(program, models, samples, "-p")[0]) - expected).max() < 4e-6


def segments(found, length):
    """The package's VADIterator with its defaults, after one frame of 512 samples each; what still lasts ends with the samples."""
    triggered, temp_end, current, spans = False, 0, 0, []
    for p in found:
        current += FRAME
        if p >= 0.5 and temp_end:
            temp_end = 0
        if p >= 0.5 and not triggered:
            triggered = True
            spans.append([max(0, current - 0.03 * RATE - FRAME), length])
        elif p < 0.5 - 0.15 and triggered:
            temp_end = temp_end or current
            if current - temp_end >= 0.1 * RATE:
                spans[-1][1] = temp_end + 0.03 * RATE - FRAME
                triggered, temp_end = False, 0
    return "".join(f"{begin / RATE:.3f}\t{end / RATE:.3f}\n" for begin, end in spans)


def test_speech_begins_and_ends_where_the_package_says(program, models, trace):
    joined = np.concatenate([trace[f"{name}.audio_i16"] for name in (*RECORDINGS, *RECORDINGS)])
    for samples in (joined, joined[3000:100_000], trace["goforward.audio_i16"][:20_000], np.zeros(RATE)):
        out, _ = run(program, models, samples)
        assert out == segments(probabilities(run(program, models, samples, "-p")[0]), len(samples))
    assert run(program, models, joined)[0].count("\n") > 3


def test_the_begin_of_speech_is_told_while_it_goes_on(program, models, trace):
    samples = trace["numbers.audio_i16"]
    with subprocess.Popen(command(program, models), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as live:
        live.stdin.write(samples[: 3 * RATE // FRAME * FRAME].astype("<i2").tobytes())
        live.stdin.flush()
        assert os.read(live.stdout.fileno(), 100) == b"1.474\t"
        out, _ = live.communicate(samples[3 * RATE // FRAME * FRAME :].astype("<i2").tobytes(), timeout=60)
    assert out == b"4.414\n"


def test_a_last_frame_that_is_short_is_filled_with_silence(program, models):
    samples = sound(1)[: 10 * FRAME + 100]
    assert run(program, models, samples, "-p")[0] == run(program, models, np.append(samples, np.zeros(FRAME - 100)), "-p")[0]
    assert run(program, models, [], "-p") == ("", "")


def test_nothing_is_allocated_after_the_start(program, models, tmp_path):
    inputs = [sound(0.032), sound(1), sound(60)]
    counts = {allocations(command(program, models, *options), x, tmp_path) for x in inputs for options in ([], ["-p"])}
    assert len(counts) == 1 and min(counts) > 0


def test_a_frame_takes_the_same_time_early_late_and_in_silence(program, models):
    def time_of_a_frame(samples):
        return min(float(re.search(r"(\d+) us for each", run(program, models, samples)[1]).group(1)) for _ in range(5))

    noise = time_of_a_frame(sound(10))
    # On denormal numbers silence would take ten times as long; other programs disturb these times.
    assert time_of_a_frame(np.zeros(10 * RATE)) < 3 * noise
    assert time_of_a_frame(sound(60)) < 3 * noise
    assert noise < 32_000  # the frame itself


def test_valgrind_finds_no_error(program, models):
    filtered_under_valgrind(command(program, models), sound(0.2))


def test_the_wheel_has_the_weights_of_the_file(models, tmp_path):
    traces("silero_vad")
    script("vad/convert.py", package("silero-vad"), tmp_path)
    for name in ("front.safetensors", "lstm.safetensors"):
        assert (tmp_path / name).read_bytes() == (models / name).read_bytes()


def test_plot_draws_a_picture(program, models, tmp_path):
    pytest.importorskip("matplotlib")
    samples, table, picture = (tmp_path / name for name in ("speech.raw", "speech.tsv", "speech.png"))
    samples.write_bytes(sound(2).tobytes())
    table.write_text(run(program, models, sound(2), "-p")[0])
    script("vad/plot.py", samples, table, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    ended = script("vad/plot.py", tmp_path / "none.raw", table, picture, check=False)
    assert ended.returncode == 1 and "none.raw" in ended.stderr and "Traceback" not in ended.stderr


def test_convert_says_what_is_wrong(tmp_path):
    from safetensors.numpy import save_file

    save_file({"stft_conv.weight": np.zeros((3, 1, 4), np.float32)}, tmp_path / "other.safetensors")
    (tmp_path / "text").write_text("no model at all")
    for name, message in [("none", "No such file"), ("text", "header"), ("other.safetensors", "expected stft_conv.weight of shape")]:
        ended = script("vad/convert.py", tmp_path / name, tmp_path / "out", check=False)
        assert ended.returncode == 1 and message in ended.stderr.replace("Header", "header") and "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_the_program_says_what_is_wrong(program, models, tmp_path):
    front, lstm = models / "front.safetensors", models / "lstm.safetensors"
    builder = librnn.NetworkBuilder()
    builder.linear("stft", builder.input("window", 256), 129, bias=False)
    librnn.save(builder.build(seed=1), tmp_path / "small.safetensors")
    for arguments, message in [
        ([tmp_path / "small.safetensors", lstm], "stft.weight has another size"),
        ([tmp_path / "none", lstm], "none"),
        ([lstm, lstm], "stft.weight"),
        ([front, front], "no model of convert.py"),
    ]:
        ended = subprocess.run([program, *arguments], input=b"", capture_output=True)
        assert ended.returncode == 1 and message in ended.stderr.decode() and not ended.stdout
    assert subprocess.run([program, front], input=b"", capture_output=True).returncode == 2
