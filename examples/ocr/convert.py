#!/usr/bin/env python3
"""Makes files for ocr.py and ocr.c of the model in the package nano_ocr (MIT): convolutions, a bidirectional LSTM, a linear layer.

    pip download --no-deps --require-hashes -r ../models.txt -d package
    python convert.py package/nano_ocr-0.1.0-py3-none-any.whl

ocr.safetensors   the LSTM and the linear layer, a librnn model, with the characters in its metadata
ocr.f32           the convolutions before them: for each its weights [outputs, inputs, k, k] and biases, as float32
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import librnn
import numpy as np

WEIGHTS = "nano_ocr/model/nano_ocr_ftr.pth"
#: As in the package's code: class 0 is CTC's blank, class i the character i - 1.
CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.- "
#: The convolutions in the package's nn.Sequential, and the batch normalisation after each.
CONVOLUTIONS = (("cnn.0", None), ("cnn.3", None), ("cnn.6", "cnn.7"), ("cnn.9", None), ("cnn.12", "cnn.13"), ("cnn.16", "cnn.17"))
EPSILON = 1e-5


def convolutions(tensors: Dict[str, np.ndarray]) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Weights and biases with the batch normalisation folded in: γ (x - μ) / √(σ² + ε) + β is a factor and a term for each output."""
    made = []
    for place, norm in CONVOLUTIONS:
        weight, bias = (tensors[f"{place}.{name}"].astype(np.float64) for name in ("weight", "bias"))
        if norm is not None:
            gamma, beta, mean, variance = (
                tensors[f"{norm}.{name}"].astype(np.float64) for name in ("weight", "bias", "running_mean", "running_var")
            )
            factor = gamma / np.sqrt(variance + EPSILON)
            weight, bias = weight * factor[:, None, None, None], (bias - mean) * factor + beta
        made.append((weight.astype("<f4"), bias.astype("<f4")))
    return made


def recurrent_part(tensors: Dict[str, np.ndarray]) -> Any:
    """The LSTM and the linear layer."""
    model = librnn.torch.load(tensors, [("rnn", "LSTM"), ("fc", "Linear")], ignore=["cnn"], batch_first=True)
    model.metadata["characters"] = CHARACTERS
    return model


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="nano_ocr-0.1.0-py3-none-any.whl")
    parser.add_argument("--output", type=Path, default=Path("."), help="the folder to write to (default: this one)")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(given.package) as archive:
            # The wheel is an archive; the checkpoint in it is read without executing it, and without PyTorch.
            tensors = {name: value.copy() for name, value in librnn.torch.tensors(archive.extract(WEIGHTS, folder)).items()}
        model = recurrent_part(tensors)
        librnn.save(model, given.output / "ocr.safetensors")
        with open(given.output / "ocr.f32", "wb") as file:
            for weight, bias in convolutions(tensors):
                file.write(weight.tobytes() + bias.tobytes())
    except (librnn.RNNError, OSError, KeyError, zipfile.BadZipFile) as error:
        print(f"convert: {error}", file=sys.stderr)
        return 1
    print(f"{given.output / 'ocr.safetensors'}: {model!r}\n{given.output / 'ocr.f32'}: {len(CONVOLUTIONS)} convolutions")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
