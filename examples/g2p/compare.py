#!/usr/bin/env python3
"""The package's own NumPy code and librnn on the same words: the same phonemes, and how long each takes.

    python compare.py g2p_en-2.1.0-py3-none-any.whl words.txt

Everything runs on one thread. The list is cut into groups of 50 words. All take turns on each group, and of each group the shortest
time counts, so that other programs on the machine disturb little.
"""

import argparse
import ast
import os
import sys
import time
import types
import zipfile
from pathlib import Path

# Before NumPy is loaded: its matrix products on one thread.
for _library in ("OPENBLAS", "MKL", "OMP"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import numpy as np  # noqa: E402

import librnn  # noqa: E402
from convert import CHECKPOINT, convert, read_weights  # noqa: E402
from g2p import G2P  # noqa: E402

GROUP = 50


def package_of(path):
    """The class G2p of the wheel, its code unchanged, without what its module does beside it.

    The module wants nltk, and downloads dictionaries when it is imported. Its network needs neither: the class alone is executed, with
    empty dictionaries.
    """
    with zipfile.ZipFile(path) as wheel, wheel.open(CHECKPOINT) as checkpoint:
        module = ast.parse(wheel.read("g2p_en/g2p.py"))
        module.body = [node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "G2p"]
        with np.load(checkpoint) as arrays:
            weights = {name: arrays[name] for name in arrays.files}
    names = {
        "np": types.SimpleNamespace(**{**vars(np), "load": lambda path: weights}),
        "os": os, "dirname": "", "cmudict": types.SimpleNamespace(dict=dict), "construct_homograph_dictionary": dict,
    }  # fmt: skip
    exec(compile(module, f"{path}/g2p_en/g2p.py", "exec"), names)  # noqa: S102
    return names["G2p"]()


def compare(programs, words, seconds):
    """The time of each program over all words, in seconds: the sum of the shortest times of each group of words."""
    groups = [words[begin : begin + GROUP] for begin in range(0, len(words), GROUP)]
    shortest = {name: [float("inf")] * len(groups) for name in programs}
    end = time.perf_counter() + seconds
    while True:
        for i, group in enumerate(groups):
            for name, program in programs.items():
                begin = time.perf_counter()
                program(group)
                shortest[name][i] = min(shortest[name][i], time.perf_counter() - begin)
        if time.perf_counter() >= end:
            return {name: sum(times) for name, times in shortest.items()}


def main():
    parser = argparse.ArgumentParser(description="g2p_en's own code and librnn on the same words")
    parser.add_argument("wheel", type=Path, help="the wheel of g2p_en 2.1.0")
    parser.add_argument("words", type=Path, help="a file with a word on each line")
    parser.add_argument("--seconds", type=float, default=10.0, help="time to measure in (10)")
    options = parser.parse_args()
    try:
        package = package_of(options.wheel)
        weights = read_weights(options.wheel)
        g2p, folded = G2P(*convert(weights)), G2P(*convert(weights, folded=True))
        words = [word.lower() for word in options.words.read_text(encoding="utf-8").split()]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        sys.exit(str(error))
    if not words:
        sys.exit(f"{options.words} has no word")
    librnn.set_num_threads(1)
    programs = {
        "g2p_en, NumPy": lambda words: [package.predict(word) for word in words],
        "librnn, word by word": lambda words: [g2p(word) for word in words],
        "librnn, 50 words at once": g2p.batch,
        "librnn, folded, word by word": lambda words: [folded(word) for word in words],
        "librnn, folded, 50 at once": folded.batch,
    }

    expected, *others = (program(words) for program in programs.values())
    wrong = [word for word, *answers in zip(words, expected, *others) if any(answer != answers[0] for answer in answers)]
    print(f"{len(words)} words, {sum(map(len, expected))} phonemes; librnn writes other phonemes for {len(wrong)} words", *wrong)

    shortest = compare(programs, words, options.seconds)
    slowest = shortest["g2p_en, NumPy"]
    for name, taken in shortest.items():
        print(f"{name:29} {1e6 * taken / len(words):8.1f} µs a word {slowest / taken:7.1f} × the speed")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
