"""The command line: `librnn convert` writes what C loads, `librnn inspect` says what a file is; both say why they do not."""

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import librnn
from helpers import ROOT, assert_same_bits, randoms
from librnn._cli import kind_of_file, main
from librnn._describe import describe, recurrent_equations
from modelfile import safetensors

VECTORS = ROOT / "Tests" / "Vectors"
TAGGER = [
    "--batch-first", "--key", "model_state_dict", "--prefix", "module", "--module", "embedding=Embedding", "--module",
    "rnn=GRU:variant=reset_after,dropout=0.25", "--module", "norm=LayerNorm:eps=0.001", "--module", "=Activation:name=relu",
    "--module", "fc=Linear",
]  # fmt: skip


def run(capsys, *arguments):
    """Exit status, output, errors."""
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def nam(path):
    weights = [0.01 * i for i in range(4 * 2 * 3 + 8 + 4 + 3)]
    path.write_text(json.dumps({"version": "0.5.4", "architecture": "LSTM", "weights": weights, "sample_rate": 48000,
                                "config": {"input_size": 1, "hidden_size": 2, "num_layers": 1}}))  # fmt: skip
    return path


def test_a_checkpoint_of_several_modules_becomes_a_model_file(tmp_path, capsys):
    out = tmp_path / "tagger.safetensors"
    status, printed, _ = run(capsys, "convert", VECTORS / "torch" / "tagger_checkpoint.pt", out, *TAGGER, "--metadata", "classes=a,b,c")
    assert status == 0 and "Sequential([Embedding(7, 5), GRU(5, 4" in printed
    model, arrays = librnn.load(out), np.load(VECTORS / "torch" / "tagger.npz")
    assert model.batch_first and model.metadata["classes"] == "a,b,c"
    assert np.abs(model(arrays["x"])[0] - arrays["y"]).max() < 1e-14


def test_a_model_goes_to_pytorch_and_comes_back(tmp_path, capsys):
    layer = librnn.LSTM(3, 4, 2, bidirectional=True, seed=1)
    librnn.save(layer, tmp_path / "a.safetensors")
    assert run(capsys, "convert", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--to", "torch")[0] == 0
    safetensors = pytest.importorskip("safetensors.numpy")
    assert_same_bits(safetensors.load_file(tmp_path / "b.safetensors"), layer.state_dict())
    assert run(capsys, "convert", tmp_path / "b.safetensors", tmp_path / "c.safetensors", "--time-first")[0] == 0
    x = randoms(5, 2, 3)
    assert_same_bits(librnn.load(tmp_path / "c.safetensors")(x)[0], layer(x)[0])
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors", "b.safetensors", "c.safetensors"]


def test_keras_and_audio_files_need_no_options(tmp_path, capsys):
    pytest.importorskip("h5py")
    for path, name in ((VECTORS / "keras" / "keras2_states.h5", "LSTM"), (nam(tmp_path / "amp.nam"), "Sequential")):
        assert run(capsys, "convert", path, tmp_path / "out")[0] == 0
        assert type(librnn.load(tmp_path / "out")).__name__ == name


def test_files_are_recognised_by_what_is_in_them(tmp_path):
    librnn.save(librnn.GRU(2, 3), tmp_path / "model.pt")
    for path, kind in (
        ("torch/lstm.pt", "torch"), ("torch/lstm_old.pt", "torch"), ("torch/lstm_script.pt", "torch"), ("torch/lstm.safetensors", "torch"),
        ("keras/keras3_states.keras", "keras"), ("keras/keras2_states.h5", "keras"), (tmp_path / "model.pt", "librnn"),
        (nam(tmp_path / "amp.h5"), "audio"),
    ):  # fmt: skip
        assert kind_of_file(str(VECTORS / path)) == kind


def test_json_with_a_brace_where_safetensors_has_one_is_json(tmp_path, capsys):
    (tmp_path / "a").write_text('{"data":{"b": 1}}')
    assert kind_of_file(str(tmp_path / "a")) == "audio"
    assert "neither RTNeural" in run(capsys, "inspect", tmp_path / "a")[2]


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["convert", "torch/lstm.pt", "OUT"], "spell out batch_first.*--batch-first or --time-first.*`librnn inspect torch/lstm.pt`"),
        (["convert", "torch/lightning.ckpt", "OUT"], "several modules.*modules= is --module PREFIX=KIND"),
        (["convert", "torch/tagger_checkpoint.pt", "OUT"], "several sets.*on the command line key= is --key"),
        (["convert", "torch/gru_bfloat16.pt", "OUT", "--time-first"], "variant"),
        (["convert", "torch/lstm.pt", "OUT", "--time-first", "--keras-version", "3"], "--keras-version has no meaning.*read as torch"),
        (["convert", "torch/lstm.pt", "OUT", "--time-first", "--module", "LSTM"], "expected PREFIX=KIND"),
        (["convert", "torch/lstm.pt", "OUT", "--time-first", "--module", "=GELU"], "without a prefix, expected one of Activation"),
        (["convert", "torch/lstm.pt", "OUT", "--time-first", "--module", "=LastStep:a=1"], "LastStep has no a; it has no options"),
        (["convert", "torch/lstm.pt", "OUT", "--time-first", "--module", "=Dropout:q=1"], "Dropout has no q; it has p"),
        (["convert", "torch/lstm.pt", "OUT", "--time-first", "--module", "a=GRU:variant"], "not NAME=VALUE"),
        (["convert", "torch/lstm.pt", "OUT", "--time-first", "--metadata", "x"], "expected KEY=VALUE"),
        (["convert", "torch/views.npz", "OUT"], "zip archive, neither of Keras nor of PyTorch"),
        (["convert", "make_keras.py", "OUT", "--from", "audio"], "no valid JSON"),
        (["convert", "make_keras.py", "OUT"], "no model file that librnn knows"),
        (["convert", "missing", "OUT"], "cannot be read"),
        (["convert", "torch/lstm.pt", "missing/OUT", "--time-first"], "missing/OUT"),
        (["convert", "torch/lstm.pt", "torch/lstm.pt", "--time-first"], "same file"),
        (["inspect", "missing"], "cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_a_line(arguments, text, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(VECTORS)
    before = sorted(os.listdir(VECTORS))
    status, printed, error = run(capsys, *(str(tmp_path / "OUT") if argument == "OUT" else argument for argument in arguments))
    assert status == 1 and printed == "" and error.startswith("librnn: ")
    assert re.search(text, error, re.DOTALL), error
    assert not (tmp_path / "OUT").exists() and sorted(os.listdir(VECTORS)) == before


def test_wrong_use_is_explained(capsys):
    for arguments in ([], ["transform"], ["convert"], ["convert", "a", "b", "--variant", "other"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2 and "usage: librnn" in capsys.readouterr().err
    for arguments, words in (
        (["--help"], ["PyTorch", "Keras", "ONNX", "audio", "Nothing is guessed"]),
        (["convert", "--help"], ["--module embedding=Embedding", "--batch-first", "--keras-version"]),
        (["inspect", "--help"], ["librnn inspect model.safetensors"]),
        (["--version"], [f"librnn {librnn.__version__}"]),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        printed = capsys.readouterr().out
        assert caught.value.code == 0 and all(word in printed for word in words)


def test_the_module_is_the_program():
    environment = {**os.environ, "PYTHONPATH": str(Path(librnn.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-m", "librnn", "inspect", str(VECTORS / "format-1-residual-lstm.safetensors")],
        env=environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "Equations" in result.stdout and "C' = F ⊙ C + I ⊙ C̃" in result.stdout


# ----------------------------------------------------------------------------------------------------- inspect


def test_inspect_of_weights_shows_the_modules_and_the_command_that_converts_them(capsys):
    status, printed, _ = run(capsys, "inspect", VECTORS / "torch" / "tagger_checkpoint.pt", "--key", "model_state_dict")
    assert status == 0
    for text in ("module.rnn: GRU(5, 4, num_layers=2, bidirectional=True)", "weight [7, 5]",
                 "OUT.safetensors --key model_state_dict --prefix module LAYOUT \\", "--module rnn=GRU:variant=VARIANT \\",
                 "--module fc=Linear", "--module norm=LayerNorm:eps=EPS", "--module embedding=Embedding\n", "LAYOUT   --batch-first or",
                 "VARIANT  reset_after (torch.nn.GRU) or", "EPS      the epsilon", "--prefix module.rnn and no --module"):  # fmt: skip
        assert text in printed, printed
    assert "FUNCTION" not in printed and "KIND " not in printed
    _, printed, _ = run(capsys, "inspect", VECTORS / "torch" / "lstm.safetensors")
    assert "LSTM(3, 4, num_layers=2, proj_size=2)" in printed and "OUT.safetensors LAYOUT\n" in printed
    assert "VARIANT" not in printed and "--module" not in printed
    _, printed, _ = run(capsys, "inspect", VECTORS / "torch" / "cell.pt")
    assert "OUT.safetensors LAYOUT --nonlinearity FUNCTION" in printed and "FUNCTION tanh" in printed
    _, printed, _ = run(capsys, "inspect", VECTORS / "torch" / "lstm.pt", "--time-first")
    assert "H' = (O ⊙ tanh(C')) W_hrᵀ" in printed


def test_the_command_of_inspect_runs_once_its_capitals_are_filled_in(tmp_path, capsys):
    source, out = VECTORS / "torch" / "lightning.ckpt", tmp_path / "out.safetensors"
    _, printed, _ = run(capsys, "inspect", source)
    start = printed.index("  librnn convert")
    command = printed[start : printed.index("\n\n", start)].replace("\\\n", " ")
    assert "--prefix model._orig_mod LAYOUT" in command and "criterion" not in command
    # The last matrix has no bias, and could be a table as far as its shape tells.
    for word, value in (("LAYOUT", "--batch-first"), ("EPS", "1e-3"), ("KIND", "Linear"), ("OUT.safetensors", str(out))):
        assert word in command
        command = command.replace(word, value)
    assert run(capsys, *shlex.split(command)[1:])[0] == 0
    assert [name for name, _ in librnn.load(out)._specs] == ["scale_shift", "lstm", "linear", "linear"]


def test_inspect_of_modules_that_were_saved_whole_asks_for_nothing(tmp_path, capsys):
    _, printed, _ = run(capsys, "inspect", VECTORS / "torch" / "lstm_module.pt")
    assert "To convert it:\n" in printed and "OUT.safetensors\n" in printed and "LAYOUT" not in printed
    _, printed, _ = run(capsys, "inspect", VECTORS / "torch" / "modules.pt")
    start = printed.index("  librnn convert")
    command = printed[start : printed.index("\n\n", start)].replace("\\\n", " ").replace("OUT.safetensors", str(tmp_path / "out"))
    assert "batch: torch.nn.modules.batchnorm.BatchNorm1d" in printed and "capitals" not in printed
    assert run(capsys, *shlex.split(command)[1:])[0] == 0
    arrays = np.load(VECTORS / "torch" / "modules.npz")
    assert np.abs(librnn.load(tmp_path / "out")(arrays["x"])[0] - arrays["y"]).max() < 1e-14


def state_file(path, shapes):
    """A safetensors file of zeros."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    path.write_bytes(safetensors(header, bytes(offset)))
    return path


def test_the_command_of_inspect_says_what_it_cannot_tell_and_leaves_out_what_librnn_does_not_have(tmp_path, capsys):
    gru = {"rnn.weight_ih_l0": (12, 5), "rnn.weight_hh_l0": (12, 4)}
    path = state_file(tmp_path / "a", {
        "h0": (1, 4), "conv.weight": (5, 4, 3), "table.weight": (9, 5), "matrix.weight": (5, 8), "open.weight": (5, 5),
        "attention.in_proj_weight": (12, 4), "attention.out.weight": (4, 4), "attention.out.bias": (4,), **gru})  # fmt: skip
    status, printed, _ = run(capsys, "inspect", path)
    command = printed[printed.index("To convert it") :]
    assert status == 0 and "--module table=Embedding" in command and "--module matrix=Linear" in command and "--module open=KIND" in command
    assert all(f"--ignore {name}" in command for name in ("h0", "conv", "attention")) and "attention.out" not in command
    assert "KIND     Embedding or Linear" in command and "--prefix rnn and no --module" in command
    for shapes, text in (
        ({"a.weight": (3, 4, 5)}, "None of these is a module of librnn"),
        ({"rnn.parametrizations.weight_hh_l0.original0": (12, 1), **gru}, "remove_parametrizations"),
        ({}, "None of these"),
    ):
        assert text in run(capsys, "inspect", state_file(tmp_path / "a", shapes))[1]


def test_a_program_of_torch_export_is_named(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.writestr("a/archive_format", "pt2")
    assert "torch.export" in run(capsys, "inspect", tmp_path / "a.pt2")[2]


def test_forms_of_tensorflow_are_named(tmp_path, capsys):
    assert "is a folder, expected a file" in run(capsys, "inspect", tmp_path)[2]
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert "SavedModel of TensorFlow: save the model as a file" in run(capsys, "convert", tmp_path, tmp_path / "out")[2]
    (tmp_path / "a.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(50))
    assert "TensorFlow Lite" in run(capsys, "convert", tmp_path / "a.tflite", tmp_path / "out")[2]


def test_a_module_at_the_root_has_no_prefix(tmp_path, capsys):
    path = state_file(tmp_path / "a", {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 2), "fc.weight": (1, 2), "fc.bias": (1,)})
    arguments = ["--time-first", "--module", "=LSTM", "--module", "fc=Linear"]
    status, printed, _ = run(capsys, "convert", path, tmp_path / "out", *arguments)
    assert status == 0 and "Sequential([LSTM(3, 2, bias=False), Linear(2, 1)])" in printed


def test_inspect_shows_what_a_keras_model_became(capsys):
    pytest.importorskip("h5py")
    status, printed, _ = run(capsys, "inspect", VECTORS / "keras" / "keras3_both_ave_last.keras")
    assert status == 0
    for text in ("first_step", "[N, 2]", "bidirectional_8.h [2, N, 3]", "streams: no", "R ⊙ (H W_hh + b_hh)", "all features are 0"):
        assert text in printed
    widths = [line for line in printed.splitlines() if ".direction_2 " in line]
    assert "[T, N, 3]" in widths[0]


@pytest.mark.parametrize(
    "layer, lines",
    [
        (librnn.RNN(2, 3), ["H' = tanh(X W_xh + H W_hh + b_xh + b_hh)"]),
        (librnn.RNN(2, 3, nonlinearity="relu", bias=False), ["H' = relu(X W_xh + H W_hh)", "relu(x) = max(0, x)"]),
        (librnn.GRU(2, 3), ["R  = σ(X W_xr + H W_hr + b_r)", "H̃  = tanh(X W_xh + (R ⊙ H) W_hh + b_h)", "H' = Z ⊙ H + (1 - Z) ⊙ H̃"]),
        (librnn.GRU(2, 3, variant="reset_after"), ["H̃  = tanh(X W_xh + b_xh + R ⊙ (H W_hh + b_hh))"]),
        (librnn.GRU(2, 3, variant="reset_after", bias=False), ["H̃  = tanh(X W_xh + R ⊙ (H W_hh))"]),
        (librnn.LSTM(2, 3, peepholes=True), ["I  = σ(X W_xi + H W_hi + b_xi + b_hi + p_i ⊙ C)", "b_ho + p_o ⊙ C')"]),
        (librnn.LSTM(2, 3, coupled_gates=True, runtime_forget_bias=1.0), ["F  = 1 - I"]),
        (librnn.LSTM(2, 3, runtime_forget_bias=1.0), ["b_hf + 1)"]),
        (librnn.LSTM(2, 3, cell_clip=3.0), ["C' = F ⊙ C + I ⊙ C̃, kept in [-3, 3]"]),
        (librnn.LSTM(2, 3, gate_clip=2.5, gate_clip_output=True), ["tanh([C'])", "[x] is x kept in [-2.5, 2.5]"]),
        (librnn.LSTM(2, 3, activations={"i": ("hard_sigmoid", 0.2, 0.5)}), ["max(0, min(1, 0.2 x + 0.5))", "I  = hard_sigmoid("]),
        (librnn.LSTM(2, 3, proj_size=2, learn_initial_state=True), ["W_hrᵀ", "h_0, c_0, parameters"]),
        (librnn.GRU(2, 3, bidirectional=True, merge="mean"), ["Y = (H→ + H←) / 2"]),
        (librnn.GRU(2, 3, direction="reverse"), ["each row is read from its last step"]),
        (librnn.GRU(3, 3, 2, residual=True), ["the next layer reads H' + X"]),
    ],
)  # fmt: skip
def test_equations_show_every_option(layer, lines):
    text = describe(layer)
    assert all(line in text for line in lines), text


def test_the_equations_of_two_directions_with_other_functions_are_both_shown():
    layer = librnn.GRU(2, 3, bidirectional=True, activations=({"n": "relu"}, {"n": ("leaky_relu", 0.1)}))
    lines = recurrent_equations(json.loads(layer._architecture())["nodes"][1])
    assert any("relu(" in line for line in lines) and any("leaky_relu(" in line for line in lines)
    assert "backward direction:" in lines
