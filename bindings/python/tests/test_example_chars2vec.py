"""examples/chars2vec: the layers of a real Keras model, from its package's form to C, against what Keras computed."""

import importlib.util
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import librnn
from helpers import CONFORMANCE, ROOT
from program import compiled, run

pytest.importorskip("h5py")

from kerasfile import h5_file  # noqa: E402

EXAMPLE, FOLDER = ROOT / "examples" / "chars2vec", CONFORMANCE / "models" / "chars2vec"
if not FOLDER.is_dir():
    pytest.skip(f"{FOLDER} is not there: chars2vec was not run", allow_module_level=True)
TRACE = np.load(FOLDER / "trace.npz")
WORDS = json.loads((FOLDER / "meta.json").read_text())["words"]
#: Two LSTM layers in float32 over words of up to 13 characters, against Keras in float32: measured 6e-7 against float64.
TOLERANCE = 5e-6


def script(name, *arguments, text=""):
    """What a script prints."""
    environment = {**os.environ, "PYTHONPATH": str(Path(librnn.__file__).parents[1]), "PYTHONUTF8": "1"}
    command = [sys.executable, EXAMPLE / name, *map(str, arguments)]
    return subprocess.run(command, input=text, env=environment, capture_output=True, encoding="utf-8", timeout=120, check=True).stdout


def module(name):
    spec = importlib.util.spec_from_file_location(f"chars2vec_{name}", EXAMPLE / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


CONVERT, NEAREST = module("convert"), module("nearest")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The source package, as far as it is read: weights as Keras 2.2 saved them, characters in a pickle."""
    folder = tmp_path_factory.mktemp("package")
    path = folder / "chars2vec-0.1.7.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("eng_50", "eng_150"):
            stored, characters = np.load(FOLDER / f"weights_{name}.npz"), json.loads((FOLDER / f"chars_{name}.json").read_text())
            layers = [("LSTM", f"lstm_{i}", [stored[f"{part}{i}"] for part in "krb"]) for i in (1, 2)]
            files = {
                "weights.h5": h5_file(folder / "weights.h5", None, layers, version="2.2.0").read_bytes(),
                "model.pkl": pickle.dumps([int(name[4:]), characters], protocol=2),
            }
            for file, content in files.items():
                entry = tarfile.TarInfo(f"chars2vec-0.1.7/chars2vec/trained_models/{name}/{file}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def models(package):
    return {(name, gates): CONVERT.convert(package, name, gates) for name in ("eng_50", "eng_150") for gates in ("sigmoid", "hard_sigmoid")}


@pytest.mark.parametrize("name", ["eng_50", "eng_150"])
def test_each_layer_computes_what_keras_computed(name, models):
    model, dim = models[name, "sigmoid"], int(name[4:])
    layers = [librnn.LSTM(size, dim, bias="single") for size in (59, dim)]
    for index, layer in enumerate(layers):
        layer.load_state_dict({key[2:]: value for key, value in model.state_dict().items() if key.startswith(f"{index}.")})
    for word in WORDS:
        x = NEAREST.one_hot(word, model.metadata["characters"])
        assert np.array_equal(x.argmax(1)[x.any(1)], TRACE[f"{name}.{word}.x_ids"][x.any(1)])
        h, _ = layers[0](x)
        assert np.abs(h - TRACE[f"{name}.{word}.rnn1"]).max() < TOLERANCE
        y, _ = layers[1](TRACE[f"{name}.{word}.rnn1"])
        assert np.abs(y[-1] - TRACE[f"{name}.{word}.vec"]).max() < TOLERANCE


@pytest.mark.parametrize("gates, key", [("sigmoid", "vec"), ("hard_sigmoid", "vec_hard_sigmoid")])
@pytest.mark.parametrize("name", ["eng_50", "eng_150"])
def test_words_of_all_lengths_at_once_have_the_vectors_of_the_package(name, gates, key, models):
    vectors = NEAREST.vectors(models[name, gates], WORDS)
    for word, vector in zip(WORDS, vectors):
        assert np.abs(vector - TRACE[f"{name}.{word}.{key}"]).max() < TOLERANCE
    other = TRACE[f"{name}.recurrent.{'vec_hard_sigmoid' if key == 'vec' else 'vec'}"]
    assert np.abs(vectors[0] - other).max() > 1e-3


def test_the_programs_in_c_and_python_print_the_same_words(package, tmp_path):
    printed = script("convert.py", package, "--output", tmp_path / "model.safetensors")
    assert "LSTM(59, 50" in printed and "59 characters" in printed
    program = compiled(EXAMPLE / "nearest.c", tmp_path)
    text = "\n".join([*WORDS, "", "Straße", "recurring"]) + "\n"
    for word, nearest in (("recurent", "recurrent"), ("netwrok", "network"), ("MISSISSIPPI", "Mississippi")):
        in_c = run(program, tmp_path / "model.safetensors", word, text=text.replace(f"{word}\n", ""))
        in_python = script("nearest.py", tmp_path / "model.safetensors", word, text=text.replace(f"{word}\n", ""))
        assert in_c.splitlines()[0].split()[1] == nearest and len(in_c.splitlines()) == 5
        assert in_c == in_python
    assert "more than 100" in run(program, tmp_path / "model.safetensors", "a", text="b" * 101 + "\n", status=1)
    assert "usage" in run(program, tmp_path / "model.safetensors", "", status=2)
    librnn.save(librnn.LSTM(3, 4), tmp_path / "other.safetensors")
    assert "characters" in run(program, tmp_path / "other.safetensors", "a", status=1)


def test_a_package_with_code_in_its_pickle_runs_nothing(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    path = tmp_path / "package.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for file, content in (("weights.h5", b""), ("model.pkl", pickle.dumps(Attack()))):
            entry = tarfile.TarInfo(f"a/eng_50/{file}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    with pytest.raises(pickle.UnpicklingError, match="the pickle names"):
        CONVERT.convert(path, "eng_50", "sigmoid")
    assert not (tmp_path / "executed").exists()
