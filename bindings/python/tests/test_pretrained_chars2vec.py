"""chars2vec, pretrained vectors of words, from a weights file of Keras 2 and a configuration: two LSTMs read one-hot characters, and the
last output of the second is the vector."""

import json

import numpy as np
import pytest
from example_programs import traces

import librnn

pytest.importorskip("h5py")

from kerasfile import h5_file, lstm, sequential  # noqa: E402

#: Keras computes in float32, as librnn does; its vectors are up to 5.8e-7 away from float64 ones (meta.json).
TOLERANCE = 2e-6


@pytest.mark.parametrize("name", ["eng_50", "eng_150"])
@pytest.mark.parametrize("gate, key", [("sigmoid", "vec"), ("hard_sigmoid", "vec_hard_sigmoid")])
def test_words_have_the_vectors_of_keras(name, gate, key, tmp_path):
    """The weights are of Keras 2.2.0, in which hard_sigmoid was the default; read without a word about it, later versions
    take sigmoid. The configuration decides."""
    folder = traces("chars2vec")
    meta = json.loads((folder / "meta.json").read_text())
    dim, vocabulary = (meta["info"][name][size] for size in ("dim", "vocab"))
    stored, trace = np.load(folder / f"weights_{name}.npz"), np.load(folder / "trace.npz")
    weights = [("LSTM", f"lstm_{i}", [stored[f"{part}{i}"] for part in "krb"]) for i in (1, 2)]
    h5_file(tmp_path / "weights.h5", None, weights, version="2.2.0")
    layers = [lstm(f"lstm_{i}", dim, recurrent_activation=gate, return_sequences=i == 1) for i in (1, 2)]
    model = librnn.keras.load(tmp_path / "weights.h5", config=sequential(layers, (None, None, vocabulary)))
    first = librnn.LSTM(vocabulary, dim, bias="single")
    first.load_state_dict({part[2:]: value for part, value in model.state_dict().items() if part.startswith("0.")})

    characters = json.loads((folder / f"chars_{name}.json").read_text())
    assert len(characters) == vocabulary and len(meta["words"]) == 16
    for word in meta["words"]:
        x = np.eye(vocabulary, dtype=np.float32)[trace[f"{name}.{word}.x_ids"]]
        vector = model(x[None])[0][0]
        assert np.abs(vector - trace[f"{name}.{word}.{key}"]).max() < TOLERANCE, word
        if gate == "sigmoid":
            assert np.abs(first(x[:, None])[0][:, 0] - trace[f"{name}.{word}.rnn1"]).max() < TOLERANCE, word
