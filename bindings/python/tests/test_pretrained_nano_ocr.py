"""nano_ocr, a pretrained reader of words in pictures, from its PyTorch checkpoint: the recurrent part, which reads 512 features of each
of 33 columns that a convolutional network made: bidirectional LSTM of 256, linear layer to 65 characters and a blank, CTC."""

import json
import zipfile

import numpy as np
import pytest
from example_programs import package, traces
from helpers import assert_same_bits

import librnn
from librnn._cli import main

CASES = range(10)
#: PyTorch, which made the traces, sums in float32 as librnn does, in another order: the whole is up to 1.3e-5 away from float64
#: numbers (meta.json), of logits up to 20.
TOLERANCE = 4e-5
MODULES = [("rnn", "LSTM"), ("fc", "Linear")]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    with zipfile.ZipFile(package("nano_ocr")) as wheel:
        return wheel.extract("nano_ocr/model/nano_ocr_ftr.pth", tmp_path_factory.mktemp("nano_ocr"))


@pytest.fixture(scope="module")
def model(path):
    return librnn.torch.load(path, MODULES, batch_first=True, ignore=["cnn"])


@pytest.fixture(scope="module")
def trace():
    return np.load(traces("nano_ocr") / "trace.npz")


def test_each_layer_computes_what_pytorch_computed(model, trace):
    lstm, linear = librnn.LSTM(512, 256, bidirectional=True), librnn.Linear(512, 66)
    for i, layer in enumerate((lstm, linear)):
        layer.load_state_dict({name[2:]: value for name, value in model.state_dict().items() if name.startswith(f"{i}.")})
    for case in CASES:
        x, h, logits = (trace[f"{case}.{name}"] for name in ("lstm_in", "lstm_out", "logits"))
        assert np.abs(lstm(x[:, None])[0][:, 0] - h).max() < 5e-6
        assert np.abs(linear(h) - logits).max() < TOLERANCE


def test_the_characters_are_those_of_the_package(model, trace):
    meta = json.loads((traces("nano_ocr") / "meta.json").read_text())
    x = np.stack([trace[f"{case}.lstm_in"] for case in CASES])  # [N, T, F]
    y, _ = model(x)
    assert np.abs(y - np.stack([trace[f"{case}.logits"] for case in CASES])).max() < TOLERANCE
    for logits, (_, expected, _) in zip(y, meta["predictions"]):
        best = logits.argmax(-1)
        # CTC: equal neighbours are one character, then the blanks fall out.
        kept = best[np.append(True, best[1:] != best[:-1]) & (best != meta["blank"])]
        assert "".join(meta["charset"][i - 1] for i in kept) == expected


def test_ctc_loss_is_smallest_for_the_text_that_is_read(model, trace):
    meta = json.loads((traces("nano_ocr") / "meta.json").read_text())
    x = np.stack([trace[f"{case}.lstm_in"] for case in CASES])
    logits = model(x)[0].swapaxes(0, 1)  # [T, N, C]
    texts = [[meta["charset"].index(c) + 1 for c in read] for _, read, _ in meta["predictions"]]
    losses = np.array([
        librnn.losses.ctc(
            logits, np.repeat([text], len(texts), 0), input_lengths=np.full(len(texts), 33),
            target_lengths=np.full(len(texts), len(text)), blank=meta["blank"], reduction="none",
        )[0] for text in texts
    ])  # fmt: skip
    assert losses.shape == (10, 10) and (losses.argmin(0) == np.arange(10)).all()


def test_converted_in_a_shell_it_is_the_same_network(model, path, trace, tmp_path):
    target = tmp_path / "ocr.safetensors"
    assert main(["convert", path, str(target), "--batch-first", "--ignore", "cnn", "--module", "rnn=LSTM", "--module", "fc=Linear"]) == 0
    x = trace["0.lstm_in"][None]
    assert_same_bits(librnn.load(target)(x)[0], model(x)[0])


def test_without_a_word_about_the_convolutions_it_is_refused(path):
    with pytest.raises(librnn.RNNError, match="cnn.*ignore="):
        librnn.torch.load(path, MODULES, batch_first=True)
