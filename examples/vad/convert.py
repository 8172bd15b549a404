#!/usr/bin/env python3
"""Silero's voice activity detector as librnn model files, for vad.c.

    pip download --no-deps silero-vad==6.2.3
    python convert.py silero_vad-6.2.3-py3-none-any.whl

The wheel need not be installed; the weights are its silero_vad_16k.safetensors. (The .onnx and .jit files in it have other weights of the
same architecture.)

    lstm.safetensors     the recurrent part: LSTM 128 -> 128, ReLU, linear 128 -> 1, sigmoid; one step for each frame
    front.safetensors    the weights of what comes before: a Fourier transform and four convolutions, which are not recurrent and
                         which vad.c computes itself

A convolution of three taps is a linear layer that reads three columns side by side. So the front end is kept as five linear layers.
They are not connected to each other, and vad.c only reads their weights: stft.weight [258, 256], conv1.weight [128, 3*129], conv1.bias [128], …
"""

import argparse
import sys
import zipfile
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load

import librnn

WEIGHTS = "silero_vad/data/silero_vad_16k.safetensors"
#: Features that each layer reads in one column, and gives.
CONVOLUTIONS = {"conv1": (129, 128), "conv2": (128, 64), "conv3": (64, 64), "conv4": (64, 128)}
TAPS, WINDOW, FREQUENCIES = 3, 256, 129


def read_weights(path):
    """The tensors of a wheel of silero-vad, or of the .safetensors in it."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            return load(wheel.read(WEIGHTS))
    return load(Path(path).read_bytes())


def tensor(weights, name, *shape):
    """A tensor by its name; its shape is looked at, since vad.c relies on it."""
    if name not in weights or weights[name].shape != shape:
        found = f"shape {weights[name].shape}" if name in weights else f"only {', '.join(sorted(weights))}"
        raise ValueError(f"expected {name} of shape {shape}, found {found}")
    return weights[name]


def recurrent_part(weights):
    """The LSTM and what follows it, as a network of one step for each frame."""
    parameters = {name: weights[name] for name in weights if name.startswith("lstm_cell.")}
    parameters["head.weight"] = tensor(weights, "final_conv.weight", 1, 128, 1)[:, :, 0]
    parameters["head.bias"] = tensor(weights, "final_conv.bias", 1)
    parts = [("lstm_cell", "LSTM"), librnn.Activation("relu"), ("head", "Linear"), librnn.Activation("sigmoid")]
    return librnn.torch.load(parameters, parts, batch_first=False)


def front_end(weights):
    """The weights of the Fourier transform and the convolutions, as linear layers side by side."""
    builder = librnn.NetworkBuilder()
    layers = [builder.linear("stft", builder.input("window", WINDOW), 2 * FREQUENCIES, bias=False)]
    parameters = {"stft.weight": tensor(weights, "stft_conv.weight", 2 * FREQUENCIES, 1, WINDOW)[:, 0]}
    for name, (size, output_size) in CONVOLUTIONS.items():
        layers.append(builder.linear(name, builder.input(f"{name}.columns", TAPS * size), output_size))
        kernel = tensor(weights, f"{name}.weight", output_size, size, TAPS)
        parameters[f"{name}.weight"] = kernel.transpose(0, 2, 1).reshape(output_size, TAPS * size)
        parameters[f"{name}.bias"] = tensor(weights, f"{name}.bias", output_size)
    builder.concat("all", layers)
    return builder.build(parameters)


def main():
    parser = argparse.ArgumentParser(description="Silero's voice activity detector as librnn model files")
    parser.add_argument("source", type=Path, help="the wheel of silero-vad 6.2.3, or silero_vad_16k.safetensors of an installed one")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("."), help="where the model files go (.)")
    options = parser.parse_args()
    try:
        weights = read_weights(options.source)
        models = {"front": front_end(weights), "lstm": recurrent_part(weights)}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, SafetensorError, librnn.RNNError) as error:
        sys.exit(f"{options.source}: {error}")
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, model in models.items():
        path = options.folder / f"{name}.safetensors"
        librnn.save(model, path)
        print(f"{path}: {model}")


if __name__ == "__main__":
    main()
