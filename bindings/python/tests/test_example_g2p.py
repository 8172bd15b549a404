"""examples/g2p: g2p_en's encoder and decoder, converted, write the phonemes of the package, from Python and from C."""

import re
import subprocess

import numpy as np
import pytest
from example_programs import c_program, example, package, script, traces
from helpers import CONFORMANCE

import librnn

convert, g2p = example("g2p/convert.py"), example("g2p/g2p.py")
#: Words for which the package needs all of its steps, that it does not know the letters of, or that are hardly words.
ODD = [
    "", "a", "pneumonoultramicroscopicsilicovolcanoconiosis", "banana" * 6, "café", "naïve", "don't", "abcdefghijklmnopqrstuvwxyz",
    "ж", "🎲", "two words", "<unk>",
]  # fmt: skip


def weights_file():
    """The weights as a file, from wherever they can be had."""
    stored = CONFORMANCE / "models" / "g2p_en" / "weights.npz"
    return stored if stored.exists() else package("g2p_en")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folder with the model files."""
    folder = tmp_path_factory.mktemp("g2p")
    script("g2p/convert.py", weights_file(), folder)
    return folder


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return c_program("g2p/g2p.c", tmp_path_factory.mktemp("program"))


def load(folder):
    return g2p.G2P(*(librnn.load(folder / f"{part}.safetensors") for part in ("encoder", "decoder")))


def from_c(program, models, *words, **options):
    command = [program, models / "encoder.safetensors", models / "decoder.safetensors", *words]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", **options)


def test_same_phonemes_as_the_package_for_500_words(models, program):
    folder = traces("g2p_en")
    expected = (folder / "predictions.tsv").read_text(encoding="utf-8")
    words = (folder / "words.txt").read_text(encoding="utf-8").split()
    assert len(words) == len(expected.splitlines()) == 500
    model = load(models)
    assert "".join(f"{word}\t{' '.join(model(word))}\n" for word in words) == expected
    assert "".join(f"{word}\t{' '.join(phonemes)}\n" for word, phonemes in zip(words, model.batch(words))) == expected
    with open(folder / "words.txt") as file:
        assert script("g2p/g2p.py", "--models", models, stdin=file).stdout == expected
    with open(folder / "words.txt") as file:
        assert from_c(program, models, stdin=file).stdout == expected


def test_each_layer_computes_what_the_package_computed():
    """On the package's own inputs of each layer. The package rounds to float32 as librnn does, in another order: its numbers are
    up to 5.9e-6 away from float64 ones (meta.json), and librnn's as much."""
    folder = traces("g2p_en")
    trace = np.load(folder / "trace.npz")
    encoder, decoder = convert.convert(convert.read_weights(folder / "weights.npz"))
    layers = []
    for network in (encoder, decoder):
        gru = librnn.GRU(256, 256, variant="reset_after")
        gru.load_state_dict({name[4:]: value for name, value in network.state_dict().items() if name.startswith("gru.")})
        layers.append(gru)
    words = (folder / "words.txt").read_text().split()
    count = len([name for name in trace.files if name.endswith(".ids")])
    assert count == 40
    begin = convert.PHONEMES.index("<s>")
    spell = g2p.G2P(encoder, decoder).spell
    for n, word in zip(range(count), words):
        x, y, decoder_x, decoder_h, logits, ids = (
            trace[f"{n}.{name}"] for name in ("enc_x", "enc_y", "dec_x", "dec_h", "logits", "ids")
        )
        assert (encoder.state_dict()["embedding.weight"][spell(word)] == x).all()
        assert (decoder.state_dict()["embedding.weight"][[begin, *ids][: len(decoder_x)]] == decoder_x).all()
        read, state = layers[0](x[:, None])
        assert np.abs(read[:, 0] - y).max() < 1.2e-5
        written, _ = layers[1](decoder_x[:, None], y[-1][None, None])
        assert np.abs(written[:, 0] - decoder_h).max() < 1.2e-5
        # From letters to logits: one error on top of the other, and 256 products of weights up to 2 in each logit.
        _, state = encoder(tokens=spell(word))
        own, _ = decoder(tokens=[begin, *ids][: len(decoder_x)], state=state)
        assert np.abs(own - logits).max() < 2e-4 and (own.argmax(-1) == logits.argmax(-1)).all()


def test_folded_models_write_the_same_phonemes(models, tmp_path, program):
    script("g2p/convert.py", weights_file(), tmp_path, "--fold")
    model, folded = load(models), load(tmp_path)
    words = ["librnn", "backpropagation", "kubernetes", *ODD]
    assert folded.batch(words) == model.batch(words)
    expected = script("g2p/g2p.py", "--models", tmp_path, *words[:3]).stdout
    assert from_c(program, tmp_path, *words[:3]).stdout == expected
    assert folded.encoder.state_dict()["gru.weight_ih_l0"].shape == (768, 29)


def test_a_batch_has_the_phonemes_of_its_words_and_c_those_of_python(models, program):
    model = load(models)
    expected = [model(word) for word in ODD]
    assert model.batch(ODD) == expected and max(map(len, expected)) == g2p.MOST_PHONEMES
    assert model.batch([]) == []
    ended = from_c(program, models, *ODD)
    assert ended.stdout.split("\n")[:-1] == [f"{word}\t{' '.join(phonemes)}" for word, phonemes in zip(ODD, expected)]


def test_capitals_are_read_as_small_letters(models, program):
    expected = "Recurrent\tR IH0 K ER1 AH0 N T\n"
    assert script("g2p/g2p.py", "--models", models, "Recurrent").stdout == expected
    assert from_c(program, models, "Recurrent").stdout == expected
    assert from_c(program, models, input="Recurrent\r\n\n").stdout == expected


def test_the_package_itself_writes_the_same_and_is_slower(tmp_path):
    wheel = package("g2p_en")
    words = tmp_path / "words.txt"
    words.write_text("recurrent\nKubernetes\nbackpropagation\n")
    out = script("g2p/compare.py", wheel, words, "--seconds", "0.5").stdout
    assert "3 words" in out and "other phonemes for 0 words" in out
    ratios = [float(ratio) for ratio in re.findall(r"([\d.]+) × the speed", out)]
    # 3 and more on a quiet machine; a loaded one must not fail this test.
    assert len(ratios) == 5 and ratios[0] == 1 and max(ratios) > 1.2


def test_the_wheel_holds_the_weights_of_the_checkpoint(tmp_path):
    folder, wheel = traces("g2p_en"), package("g2p_en")
    expected = convert.read_weights(folder / "weights.npz")
    read = convert.read_weights(wheel)
    assert read.keys() == expected.keys() and all((read[name] == expected[name]).all() for name in read)


def test_convert_says_what_is_wrong(tmp_path):
    text = tmp_path / "text.whl"
    text.write_text("no wheel")
    np.savez(tmp_path / "other.npz", enc_emb=np.zeros((3, 4), np.float32))
    for source, message in [(tmp_path / "none.whl", "No such file"), (text, "not a zip file"), (tmp_path / "other.npz", "enc_")]:
        ended = script("g2p/convert.py", source, tmp_path, check=False)
        assert ended.returncode == 1 and message in ended.stderr and "Traceback" not in ended.stderr
    assert not list(tmp_path.glob("*.safetensors"))


def test_programs_say_what_is_wrong(models, program, tmp_path):
    ended = script("g2p/g2p.py", "--models", tmp_path, "a", check=False)
    assert ended.returncode == 1 and "encoder.safetensors" in ended.stderr and "Traceback" not in ended.stderr
    assert subprocess.run([program], capture_output=True).returncode == 2
    encoder, decoder = models / "encoder.safetensors", models / "decoder.safetensors"
    for first, second, message in [(tmp_path / "none", decoder, "none"), (decoder, encoder, "letters"), (encoder, encoder, "phonemes")]:
        ended = subprocess.run([program, first, second, "a"], capture_output=True, text=True)
        assert ended.returncode == 1 and message in ended.stderr and not ended.stdout
    for words in (["a" * 256], []):
        ended = from_c(program, models, *words, input="a" * 5000)
        assert ended.returncode == 1 and "more than 255 letters" in ended.stderr and not ended.stdout
