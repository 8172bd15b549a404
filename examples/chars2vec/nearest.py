#!/usr/bin/env python3
"""Words that are spelled like another: the vectors of chars2vec, computed by librnn. Prints what nearest.c prints.

    python nearest.py eng_50.safetensors recurent < words.txt
"""

from __future__ import annotations

import sys
from typing import Any, List

import librnn
import numpy as np

NEAREST = 5


def one_hot(word: str, characters: str) -> np.ndarray:
    """[T, characters]: 1 at the number of each character, all zeros for an unknown one."""
    x = np.zeros((len(word), len(characters)), np.float32)
    for t, character in enumerate(word.lower()):
        if character in characters:
            x[t, characters.index(character)] = 1
    return x


def vectors(model: Any, words: List[str]) -> np.ndarray:
    """[words, dim]. All words at once: rows of different length; each row has the bits that it has alone."""
    characters = model.metadata["characters"]
    lengths = np.array([len(word) for word in words])
    x = np.zeros((len(words), lengths.max(), len(characters)), np.float32)
    for row, word in enumerate(words):
        x[row, : len(word)] = one_hot(word, characters)
    return model(x, lengths=lengths)[0]


def main() -> int:
    if len(sys.argv) != 3 or not sys.argv[2]:
        print(f"usage: {sys.argv[0]} MODEL WORD < WORDS", file=sys.stderr)
        return 2
    model = librnn.load(sys.argv[1])
    words = [word for word in sys.stdin.read().splitlines() if word]
    wanted, *others = vectors(model, [sys.argv[2], *words]).astype(np.float64)
    distances = [np.sqrt(((wanted - other) ** 2).sum()) for other in others]
    for i in np.argsort(distances, kind="stable")[:NEAREST]:
        print(f"{distances[i]:.4f} {words[i]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
