"""examples/chars2vec: a real Keras model, from its package's form to C, against what Keras computed.

Its layers one by one: test_pretrained_chars2vec.
"""

import io
import json
import pickle
import tarfile

import numpy as np
import pytest

import librnn
from example_programs import c_program, example, printed, script, traces

pytest.importorskip("h5py")

from kerasfile import h5_file  # noqa: E402

#: Two LSTM layers in float32 over words of up to 13 characters, against Keras in float32: measured 6e-7 against float64.
TOLERANCE = 5e-6


CONVERT, NEAREST = example("chars2vec/convert.py"), example("chars2vec/nearest.py")


@pytest.fixture(scope="module")
def known():
    return traces("chars2vec")


@pytest.fixture(scope="module")
def words(known):
    return json.loads((known / "meta.json").read_text())["words"]


@pytest.fixture(scope="module")
def package(known, tmp_path_factory):
    """The source package, as far as it is read: weights as Keras 2.2 saved them, characters in a pickle."""
    folder = tmp_path_factory.mktemp("package")
    path = folder / "chars2vec-0.1.7.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("eng_50", "eng_150"):
            stored, characters = np.load(known / f"weights_{name}.npz"), json.loads((known / f"chars_{name}.json").read_text())
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
    kinds = [(name, gates) for name in ("eng_50", "eng_150") for gates in ("sigmoid", "hard_sigmoid")]
    return {kind: CONVERT.convert(package, *kind) for kind in kinds}


@pytest.mark.parametrize("gates, key", [("sigmoid", "vec"), ("hard_sigmoid", "vec_hard_sigmoid")])
@pytest.mark.parametrize("name", ["eng_50", "eng_150"])
def test_words_of_all_lengths_at_once_have_the_vectors_of_the_package(name, gates, key, models, known, words):
    vectors, trace = NEAREST.vectors(models[name, gates], words), np.load(known / "trace.npz")
    for word, vector in zip(words, vectors):
        assert np.abs(vector - trace[f"{name}.{word}.{key}"]).max() < TOLERANCE
    other = trace[f"{name}.recurrent.{'vec_hard_sigmoid' if key == 'vec' else 'vec'}"]
    assert np.abs(vectors[0] - other).max() > 1e-3


def test_the_programs_in_c_and_python_print_the_same_words(package, words, tmp_path):
    told = script("chars2vec/convert.py", package, "--output", tmp_path / "model.safetensors").stdout
    assert "LSTM(59, 50" in told and "59 characters" in told
    program = c_program("chars2vec/nearest.c", tmp_path)
    text = "\n".join([*words, "", "Straße", "recurring"]) + "\n"
    for word, nearest in (("recurent", "recurrent"), ("netwrok", "network"), ("MISSISSIPPI", "Mississippi")):
        others = text.replace(f"{word}\n", "")
        in_c = printed(program, tmp_path / "model.safetensors", word, data=others.encode()).decode()
        in_python = script("chars2vec/nearest.py", tmp_path / "model.safetensors", word, input=others).stdout
        assert in_c.splitlines()[0].split()[1] == nearest and len(in_c.splitlines()) == 5
        assert in_c == in_python
    assert "more than 100" in printed(program, tmp_path / "model.safetensors", "a", data=b"b" * 101 + b"\n", status=1)
    assert "usage" in printed(program, tmp_path / "model.safetensors", "", status=2)
    librnn.save(librnn.LSTM(3, 4), tmp_path / "other.safetensors")
    assert "characters" in printed(program, tmp_path / "other.safetensors", "a", status=1)


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
