#!/usr/bin/env python3
"""Makes a librnn model file of a model in the package chars2vec (Apache-2.0): two LSTM layers of Keras that read a word.

    pip download --no-deps --require-hashes -r requirements.txt -d package
    python convert.py package/chars2vec-0.1.7.tar.gz                       # writes eng_50.safetensors

The package has weights.h5, weights without an architecture, and model.pkl with the characters. The architecture is in its code, and
is written here as Keras writes one.
"""

from __future__ import annotations

import argparse
import io
import pickle
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import librnn

MODELS = ("eng_50", "eng_100", "eng_150", "eng_200", "eng_300")
LARGEST = 16 << 20


class PlainUnpickler(pickle.Unpickler):
    """Reads numbers, strings, lists and dictionaries; runs nothing."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"the pickle names {module}.{name}")


def read_package(path: Path, name: str) -> Tuple[bytes, List[str]]:
    """weights.h5 of a model, and its characters in the order of their numbers."""
    with tarfile.open(path) as archive:
        found = {}
        for wanted in ("weights.h5", "model.pkl"):
            member = next((each for each in archive if each.name.endswith(f"/{name}/{wanted}")), None)
            file = archive.extractfile(member) if member is not None and member.size <= LARGEST else None
            if file is None:
                raise SystemExit(f"{path} has no {name}/{wanted}")
            found[wanted] = file.read()
    _, numbers = PlainUnpickler(io.BytesIO(found["model.pkl"])).load()
    return found["weights.h5"], sorted(numbers, key=numbers.get)


def architecture(dim: int, characters: int, gates: str) -> Dict[str, Any]:
    """What the package builds in Keras: the vector of a word is h of the second LSTM after its last character."""

    def lstm(name: str, sequences: bool) -> Dict[str, Any]:
        config = {"name": name, "units": dim, "activation": "tanh", "recurrent_activation": gates, "return_sequences": sequences}
        return {"class_name": "LSTM", "config": config}

    source = {"class_name": "InputLayer", "config": {"name": "input_1", "batch_input_shape": [None, None, characters]}}
    return {"class_name": "Sequential", "config": {"layers": [source, lstm("lstm_1", True), lstm("lstm_2", False)]}}


def convert(package: Path, name: str, gates: str) -> Any:
    """The model, with its characters in the metadata."""
    weights, characters = read_package(package, name)
    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        file.write(weights)
        file.flush()
        model = librnn.keras.load(file.name, config=architecture(int(name.split("_")[1]), len(characters), gates))
    model.metadata["characters"] = "".join(characters)
    return model


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="chars2vec-0.1.7.tar.gz")
    parser.add_argument("--model", choices=MODELS, default="eng_50", help="the number is the size of a vector (default: eng_50)")
    parser.add_argument(
        "--gates", choices=("sigmoid", "hard_sigmoid"), default="sigmoid",
        help="sigmoid: what the package computes with a Keras of today (default); hard_sigmoid: what the weights were trained with",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, help="the file to write (default: MODEL.safetensors)")
    given = parser.parse_args()
    try:
        model = convert(given.package, given.model, given.gates)
        output = given.output or Path(f"{given.model}.safetensors")
        librnn.save(model, output)
    except (librnn.RNNError, OSError, tarfile.TarError, pickle.UnpicklingError) as error:
        print(f"convert: {error}", file=sys.stderr)
        return 1
    print(f"{output}: {model!r}, {len(model.metadata['characters'])} characters")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
