"""examples/ocr: a checkpoint of PyTorch becomes a model that reads, in Python and C; its layers: test_pretrained_nano_ocr."""

import json

import numpy as np
import pytest

import librnn
from example_programs import c_program, example, package, printed, script, traces

CONVERT, OCR = example("ocr/convert.py"), example("ocr/ocr.py")


def test_the_texts_are_those_of_the_package():
    folder = traces("nano_ocr")
    trace, meta = np.load(folder / "trace.npz"), json.loads((folder / "meta.json").read_text())
    # These weights are rounded to float16; the trace is of those before.
    model = CONVERT.recurrent_part(dict(np.load(folder / "weights_fp16.npz")))
    assert model.metadata["characters"] == CONVERT.CHARACTERS == meta["charset"]
    for case, (_, text, confidence) in enumerate(meta["predictions"]):
        read, sure = OCR.recognize(model, trace[f"{case}.lstm_in"])
        assert read == text and abs(sure - confidence) < 0.01


def test_decoding_leaves_out_blanks_and_repetitions():
    logits = np.full((8, 4), -5.0)
    for step, number in enumerate([1, 1, 0, 1, 3, 3, 2, 0]):
        logits[step, number] = 5
    text, confidence = OCR.decode(logits, "abc")
    assert text == "aacb" and abs(confidence - 1 / (1 + 3 * np.exp(-10))) < 1e-12
    assert OCR.decode(np.array([[5.0, 0, 0]]), "ab") == ("", 0.0)


def tensors(seed):
    """Random tensors with the names and shapes of the checkpoint; values keep their size from layer to layer."""
    generator, state = np.random.default_rng(seed), {}
    for (place, norm), (outputs, inputs, kernel, _, _) in zip(CONVERT.CONVOLUTIONS, OCR.LAYERS):
        scale = (2 / (inputs * kernel**2)) ** 0.5
        state[f"{place}.weight"] = generator.normal(0, scale, (outputs, inputs, kernel, kernel)).astype(np.float32)
        state[f"{place}.bias"] = generator.normal(0, 0.1, outputs).astype(np.float32)
        if norm:
            for name, low, high in (("weight", 0.5, 1.5), ("bias", -0.1, 0.1), ("running_mean", -0.2, 0.2), ("running_var", 0.5, 1.5)):
                state[f"{norm}.{name}"] = generator.uniform(low, high, outputs).astype(np.float32)
    for suffix in ("", "_reverse"):
        for name, shape in (("weight_ih", (1024, 512)), ("weight_hh", (1024, 256)), ("bias_ih", (1024,)), ("bias_hh", (1024,))):
            state[f"rnn.{name}_l0{suffix}"] = generator.normal(0, 0.08, shape).astype(np.float32)
    state["fc.weight"] = generator.normal(0, 0.5, (66, 512)).astype(np.float32)
    state["fc.bias"] = generator.normal(0, 0.5, 66).astype(np.float32)
    return state


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What convert.py writes, of random weights, and these."""
    folder, state = tmp_path_factory.mktemp("ocr"), tensors(1)
    librnn.save(CONVERT.recurrent_part(state), folder / "ocr.safetensors")
    with open(folder / "ocr.f32", "wb") as file:
        for weight, bias in CONVERT.convolutions(state):
            file.write(weight.tobytes() + bias.tobytes())
    return folder, state


def test_the_front_end_computes_convolutions_norms_and_pools(files):
    """One column at a time, from the definitions, in float64."""
    folder, state = files
    image = np.random.default_rng(2).uniform(-1, 1, (32, 128)).astype(np.float32)
    x = image[None].astype(np.float64)
    for (place, norm), (outputs, _, kernel, padding, pooling) in zip(CONVERT.CONVOLUTIONS, OCR.LAYERS):
        x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
        height, width = x.shape[1] - kernel + 1, x.shape[2] - kernel + 1
        weight = state[f"{place}.weight"].astype(np.float64).reshape(outputs, -1)
        y = np.empty((outputs, height, width))
        for h in range(height):
            for w in range(width):
                y[:, h, w] = weight @ x[:, h : h + kernel, w : w + kernel].ravel() + state[f"{place}.bias"]
        if norm:
            gamma, beta, mean, variance = (
                state[f"{norm}.{name}"].astype(np.float64)[:, None, None] for name in ("weight", "bias", "running_mean", "running_var")
            )
            y = gamma * (y - mean) / np.sqrt(variance + 1e-5) + beta
        x = np.maximum(y, 0)
        if pooling:
            rows = np.maximum(x[:, ::2], x[:, 1::2])
            if pooling == "both":
                x = np.maximum(rows[:, :, ::2], rows[:, :, 1::2])
            else:
                padded = np.pad(rows, ((0, 0), (0, 0), (1, 1)), constant_values=-np.inf)
                x = np.stack([padded[:, :, w : w + 2].max(-1) for w in range(padded.shape[2] - 1)], -1)
    features = OCR.front_end(image, OCR.read_convolutions(folder / "ocr.f32"))
    assert features.shape == (33, 512) and x.shape == (512, 1, 33)
    assert np.abs(features - x[:, 0].T).max() < 1e-4 * np.abs(x).max()


def test_c_and_python_read_the_same(files, tmp_path):
    folder, _ = files
    program = c_program("ocr/ocr.c", tmp_path)
    model, convolutions = librnn.load(folder / "ocr.safetensors"), OCR.read_convolutions(folder / "ocr.f32")
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 128)).astype(np.uint8)
        told = printed(program, folder / "ocr.safetensors", folder / "ocr.f32", data=b"P5\n128 32\n255\n" + pixels.tobytes()).decode()
        text, confidence = OCR.recognize(model, OCR.front_end(pixels / np.float32(255) * 2 - 1, convolutions))
        assert len(text) > 3 and told.rpartition("  ")[0] == text
        assert abs(float(told.rpartition("  ")[2]) - confidence) < 0.006
    arguments = folder / "ocr.safetensors", folder / "ocr.f32"
    assert "expected a binary PGM" in printed(program, *arguments, data=b"P5 3 3 255\n123456789", status=1)
    assert "expected a binary PGM" in printed(program, *arguments, data=b"P5 128 32 255\n123", status=1)
    (tmp_path / "short").write_bytes(b"\0" * 100)
    assert "cut short" in printed(program, arguments[0], tmp_path / "short", data=b"P5\n128 32\n255\n" + bytes(4096), status=1)


def test_the_package_is_converted_and_reads(tmp_path):
    """A picture drawn in dots: a line of three strokes is read as letters, the same in C and Python."""
    script("ocr/convert.py", package("nano_ocr"), "--output", tmp_path)
    model, convolutions = librnn.load(tmp_path / "ocr.safetensors"), OCR.read_convolutions(tmp_path / "ocr.f32")
    pixels = np.full((32, 128), 255, np.uint8)
    for left in (20, 50, 80):
        pixels[6:26, left : left + 4] = 0
    text, confidence = OCR.recognize(model, OCR.front_end(pixels / np.float32(255) * 2 - 1, convolutions))
    assert 1 <= len(text) <= 5 and set(text) <= set("lI1i|"), text
    program = c_program("ocr/ocr.c", tmp_path)
    told = printed(program, tmp_path / "ocr.safetensors", tmp_path / "ocr.f32", data=b"P5\n128 32\n255\n" + pixels.tobytes()).decode()
    assert told == f"{text}  {confidence:.2f}\n"


def test_the_scripts_explain_themselves(tmp_path):
    for name, word in (("convert.py", "pip download"), ("ocr.py", "--word")):
        assert word in script(f"ocr/{name}", "--help").stdout
    ended = script("ocr/convert.py", tmp_path / "none.whl", check=False)
    assert ended.returncode == 1 and "none.whl" in ended.stderr and "Traceback" not in ended.stderr
