"""examples/convert: a model of another framework, converted in a shell, computes the same bits in C as in Python."""

import json

import numpy as np
import pytest

import librnn
from example_programs import c_program, printed
from helpers import ROOT, assert_same_bits
from librnn._cli import main
from test_cli import TAGGER, nam

VECTORS = ROOT / "Tests" / "Vectors"
TORCH = {
    "torch/lstm.pt": ["--time-first"],
    "torch/lstm_old.pt": ["--batch-first"],
    "torch/lstm.safetensors": ["--time-first", "--dtype", "float32"],
    "torch/gru_bfloat16.pt": ["--variant", "reset_after", "--time-first"],
    "torch/cell.pt": ["--nonlinearity", "relu", "--time-first"],
    "torch/tagger_checkpoint.pt": TAGGER,
    "torch/lightning.ckpt": [
        "--batch-first", "--prefix", "model._orig_mod", "--module", "norm=BatchNorm1d:eps=0.001", "--module", "lstm=LSTM", "--module",
        "=LastStep", "--module", "head.0=Linear", "--module", "=Activation:name=relu", "--module", "head.2=Linear",
    ],
}  # fmt: skip
KERAS = {f"keras/{path.name}": [] for path in sorted((VECTORS / "keras").iterdir()) if path.suffix in (".keras", ".h5")}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return c_program("convert/run.c", tmp_path_factory.mktemp("run"))


def in_python(model, features, tokens):
    """y of one row. A model with a mask gets one in which all steps are there: the program in C leaves out none."""
    x = features if tokens is None else tokens
    x = x[None] if model.batch_first else x[:, None]
    mask = np.ones(x.shape[:2], bool) if model._mask_rule else None
    if isinstance(model, librnn.Network):
        y, _ = model.run(tokens=x, mask=mask) if tokens is not None else model.run(x, mask=mask)
    else:
        y, _ = model(x, mask=mask)
    return y.reshape(-1, y.shape[-1])


@pytest.mark.parametrize("name", [*TORCH, *KERAS, "amp.nam"])
def test_the_same_bits_come_out_of_c(name, program, tmp_path, capsys):
    if name in KERAS:
        pytest.importorskip("h5py")
    source, out = nam(tmp_path / name) if name == "amp.nam" else VECTORS / name, tmp_path / "out.safetensors"
    assert main(["convert", str(source), str(out), *{**TORCH, **KERAS}.get(name, [])]) == 0
    model = librnn.load(out)
    generator, steps = np.random.default_rng(1), 6
    features = tokens = None
    if model.input_size:
        features = generator.standard_normal((steps, model.input_size)).astype(model.dtype)
        text = "\n".join(" ".join(f"{number:.17g}" for number in row) for row in features)
    else:
        tokens = generator.integers(0, 7, steps)
        text = " ".join(map(str, tokens))
    lines = printed(program, out, data=text.encode()).decode().splitlines()
    y = np.array([[model.dtype.type(number) for number in line.split()] for line in lines])
    assert_same_bits(y, in_python(model, features, tokens))


def test_errors_of_the_program_name_what_is_wrong(program, tmp_path):
    librnn.save(librnn.GRU(2, 3), tmp_path / "gru.safetensors")
    assert "No such file" in printed(program, tmp_path / "none", status=1)
    assert "step 1: expected 2 features and 0 tokens" in printed(program, tmp_path / "gru.safetensors", data=b"1 2 3", status=1)
    assert "step 0: expected 2" in printed(program, tmp_path / "gru.safetensors", data=b"1 x", status=1)
    assert "usage" in printed(program, status=2)
    assert printed(program, tmp_path / "gru.safetensors") == b""
    (tmp_path / "bad").write_text(json.dumps({}))
    assert "run: " in printed(program, tmp_path / "bad", status=1)
