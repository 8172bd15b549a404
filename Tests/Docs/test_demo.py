"""The demo: learns, is deterministic to the bit, survives Ctrl-C, and its C twin writes the same text."""

import importlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import librnn

pytest.importorskip("rich")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "demo"
SMALL = ["--hidden", "24", "--layers", "1", "--embedding", "8", "--batch", "8", "--steps", "16", "--epochs", "6", "--length", "40"]
PACKAGE = str(Path(librnn.__file__).resolve().parents[1])


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Sentences with characters of two, three and four bytes, and unknown ones in the validation part only."""
    words = "the café opens at nine, 門 and gate 🎲 closes at ten ".split()
    generator = np.random.default_rng(1)
    body = " ".join(words[i] for i in generator.integers(0, len(words), 2500))
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(body + " ЖЖ Ж", encoding="utf-8")
    return path


def demo(*arguments, threads=None, **options):
    environment = {**os.environ, "PYTHONPATH": PACKAGE}
    if threads:
        environment["RNN_NUM_THREADS"] = str(threads)
    command = [sys.executable, str(FOLDER / "demo.py"), *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", **options
    )


def run(*arguments, **options):
    process = demo(*arguments, **options)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out


@pytest.fixture(scope="module")
def trained(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    out = run("--text", text, "--output", folder, *SMALL)
    return folder, out, json.loads((folder / "report.json").read_text())


def test_learns_and_reports(trained):
    folder, out, report = trained
    perplexity = report["perplexity"]
    assert 1 < perplexity["validation"] < 0.6 * perplexity["unigram"]
    assert report["skipped_updates"] == 0 and report["steps"] > 100
    for name in ("training-curve.png", "gradient-flow.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert report["weights_sha256"] in out
    model = librnn.load(folder / "model.safetensors")
    assert model.metadata["vocabulary"][0] == "\N{REPLACEMENT CHARACTER}" and "🎲" in model.metadata["vocabulary"]


def test_same_bytes_again_on_another_number_of_threads(trained, text, tmp_path):
    folder, _, report = trained
    run("--text", text, "--output", tmp_path, *SMALL, threads=1)
    for name in ("model.safetensors", "sample.txt"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert json.loads((tmp_path / "report.json").read_text())["weights_sha256"] == report["weights_sha256"]


@pytest.fixture(scope="module")
def continuation(tmp_path_factory):
    """continue.c, compiled against the library that the tests use."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    library = Path(os.environ.get("LIBRNN_LIBRARY") or ROOT / "build" / "librnn.so").resolve()
    program = tmp_path_factory.mktemp("continue") / "continue"
    subprocess.run(
        [compiler, "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "include", FOLDER / "continue.c",
         library, f"-Wl,-rpath,{library.parent}", "-o", program], check=True,
    )  # fmt: skip
    return program


@pytest.mark.parametrize("prompt, seed, temperature", [("the ", 1, 0.7), ("café 門 🎲", 2, 1.0), ("Ж unknown", 3, 0.9), ("", 4, 1.3)])
def test_c_continues_with_the_same_bytes(trained, continuation, prompt, seed, temperature):
    path = trained[0] / "model.safetensors"
    c = subprocess.run([continuation, path, prompt, "60", str(seed), str(temperature)], capture_output=True, check=True).stdout
    sys.path.insert(0, str(FOLDER))
    generate = importlib.import_module("demo").generate
    model = librnn.load(path)
    python = prompt + generate(model, model.metadata["vocabulary"], prompt, 60, temperature, seed)
    assert c == python.encode() + b"\n"
    assert len(python) == len(prompt) + 60


def test_c_writes_the_sample_of_the_demo(trained, continuation):
    c = subprocess.run([continuation, trained[0] / "model.safetensors", "The ", "40"], capture_output=True, check=True).stdout
    assert c == (trained[0] / "sample.txt").read_bytes()


def test_c_says_what_is_wrong(continuation, tmp_path):
    for arguments, message in [([tmp_path / "none", "a"], "none"), ([ROOT / "Tests/Vectors/format-1-classifier.safetensors", "a"], "vocabulary")]:
        ended = subprocess.run([continuation, *arguments], capture_output=True, text=True)
        assert ended.returncode == 1 and message in ended.stderr
    assert subprocess.run([continuation], capture_output=True).returncode == 2


def test_ctrl_c_leaves_a_model(text, tmp_path):
    process = demo("--text", text, "--output", tmp_path, *SMALL, "--epochs", "100000")
    for line in process.stdout:
        # Before the first line about steps comes one about threads; wait until training runs.
        if "threads" in line:
            break
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        pass
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted after" in out and "Traceback" not in out
    model = librnn.load(tmp_path / "model.safetensors")
    assert np.isfinite(model([[1, 2, 3]])[0]).all() and model.metadata["vocabulary"]


def test_textbook_recipe(text, tmp_path):
    run("--text", text, "--output", tmp_path, "--recipe", "textbook", "--hidden", "32", "--batch", "8", "--epochs", "3")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["options"]["optimizer"] == "sgd" and report["options"]["steps"] == 35
    assert report["perplexity"]["validation"] < report["perplexity"]["unigram"]


def test_help_and_errors(tmp_path):
    assert "validation perplexity" in run("--help")
    short = tmp_path / "short.txt"
    short.write_text("too short")
    for arguments, message in [
        (["--text", short], "too few"), (["--text", tmp_path / "none"], "cannot read"), (["--epochs", "0"], "at least 1"),
    ]:  # fmt: skip
        process = demo(*arguments, "--output", tmp_path / "out")
        out, _ = process.communicate(timeout=60)
        assert process.returncode != 0 and message in out and "Traceback" not in out
    assert not (tmp_path / "out").exists()


def test_baselines_are_probabilities():
    sys.path.insert(0, str(FOLDER))
    ngram_perplexities = importlib.import_module("baselines").ngram_perplexities
    generator = np.random.default_rng(3)
    size, train = 5, generator.integers(0, 4, 200)

    def probability(history, w):
        if history is None:
            return 1 / size
        starts = [i for i in range(len(train) - len(history)) if list(train[i : i + len(history)]) == list(history)]
        following = [train[i + len(history)] for i in starts]
        shorter = probability(history[1:] if history else None, w)
        if not following:
            return shorter
        d = len(set(following))
        return (following.count(w) + d * shorter) / (len(following) + d)

    assert math.isclose(sum(probability([1, 2], w) for w in range(size)), 1)
    validation = generator.integers(0, 5, 30)
    text = list(train) + list(validation)
    for order, perplexity in ngram_perplexities(train, validation, size).items():
        p = [probability(text[i - order + 1 : i], text[i]) for i in range(len(train) + 1, len(text))]
        assert math.isclose(perplexity, math.exp(-np.mean(np.log(p))), rel_tol=1e-12)
