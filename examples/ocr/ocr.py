#!/usr/bin/env python3
"""Reads the word in an image: convolutions in NumPy, then a bidirectional LSTM and CTC's greedy decoding with librnn.

    python ocr.py word.png                # with Pillow, which makes it 32 x 128 grey as the model's own package does
    python ocr.py --word "gate 12"        # draws the word first
    python ocr.py word.png --pgm word.pgm # also writes what ocr.c reads
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, List, Tuple

import librnn
import numpy as np

HEIGHT, WIDTH = 32, 128
#: Of each convolution: outputs, inputs, size of the kernel, padding, and the pooling after it: none, halves, or halves of the height.
LAYERS = (
    (64, 1, 3, 1, "both"), (128, 64, 3, 1, "both"), (256, 128, 3, 1, ""), (256, 256, 3, 1, "height"), (512, 256, 3, 1, "height"),
    (512, 512, 2, 0, ""),
)  # fmt: skip


def read_convolutions(path: Path) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Weights and biases as convert.py wrote them."""
    numbers, made, at = np.fromfile(path, "<f4"), [], 0
    for outputs, inputs, kernel, _, _ in LAYERS:
        size = outputs * inputs * kernel * kernel
        made.append((numbers[at : at + size].reshape(outputs, inputs, kernel, kernel), numbers[at + size : at + size + outputs]))
        at += size + outputs
    if at != numbers.size:
        raise ValueError(f"{path} has {numbers.size} numbers, expected {at}")
    return made


def front_end(image: np.ndarray, convolutions: List[Tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Features [T, 512] of an image [32, 128] with values from -1 to 1; T is 33, from left to right."""
    x = image[None]
    for (weight, bias), (_, _, kernel, padding, pooling) in zip(convolutions, LAYERS):
        x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2))
        x = np.maximum(np.einsum("oikl,ihwkl->ohw", weight, windows, optimize=True) + bias[:, None, None], 0)
        if pooling == "both":
            x = np.maximum(np.maximum(x[:, ::2, ::2], x[:, 1::2, ::2]), np.maximum(x[:, ::2, 1::2], x[:, 1::2, 1::2]))
        elif pooling == "height":
            # Halves of the height; along the width each pair of neighbours, with nothing beyond the edges.
            x = np.pad(np.maximum(x[:, ::2], x[:, 1::2]), ((0, 0), (0, 0), (1, 1)), constant_values=-np.inf)
            x = np.maximum(x[:, :, :-1], x[:, :, 1:])
    return np.ascontiguousarray(x[:, 0].T, np.float32)


def decode(logits: np.ndarray, characters: str) -> Tuple[str, float]:
    """CTC, greedily: the likeliest class of each step, without repetitions and blanks; and the mean probability of what remains."""
    e = np.exp(logits - logits.max(-1, keepdims=True).astype(np.float64))
    probabilities, classes = e / e.sum(-1, keepdims=True), logits.argmax(-1)
    kept = [t for t, number in enumerate(classes) if number != 0 and (t == 0 or number != classes[t - 1])]
    text = "".join(characters[classes[t] - 1] for t in kept)
    return text, float(np.mean([probabilities[t, classes[t]] for t in kept])) if kept else 0.0


def recognize(model: Any, features: np.ndarray) -> Tuple[str, float]:
    """Text and confidence of features [T, 512]."""
    logits, _ = model(features[None])
    return decode(logits[0], model.metadata["characters"])


def grey(given: argparse.Namespace) -> np.ndarray:
    """The image as bytes [32, 128]."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise SystemExit("ocr: images need the package pillow: pip install pillow") from None
    if given.word:
        font = ImageFont.load_default(24)
        box = font.getbbox(given.word)
        picture = Image.new("L", (int(box[2]) + 16, 36), 255)
        ImageDraw.Draw(picture).text((8, 4), given.word, fill=0, font=font)
    else:
        picture = Image.open(given.image)
    return np.asarray(picture.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, nargs="?", help="a picture of one word in one line")
    parser.add_argument("--word", help="draw this word instead")
    parser.add_argument("--pgm", type=Path, help="write the 32 x 128 picture")
    parser.add_argument("--files", type=Path, default=Path("."), help="the folder of ocr.safetensors and ocr.f32 (default: this one)")
    given = parser.parse_args()
    if (given.image is None) == (given.word is None):
        parser.error("give an image, or --word")
    try:
        pixels = grey(given)
        if given.pgm:
            given.pgm.write_bytes(f"P5\n{WIDTH} {HEIGHT}\n255\n".encode() + pixels.tobytes())
        model, convolutions = librnn.load(given.files / "ocr.safetensors"), read_convolutions(given.files / "ocr.f32")
    except (librnn.RNNError, OSError, ValueError) as error:
        print(f"ocr: {error}", file=sys.stderr)
        return 1
    text, confidence = recognize(model, front_end(pixels / np.float32(255) * 2 - 1, convolutions))
    print(f"{text}  {confidence:.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
