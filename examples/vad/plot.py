#!/usr/bin/env python3
"""A waveform, and below it the probability of speech that vad.c found in each frame.

    ./vad -p front.safetensors lstm.safetensors < speech.raw > speech.tsv
    python plot.py speech.raw speech.tsv speech.png
"""

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

RATE, FRAME = 16000, 512
SPEECH_ABOVE = 0.5


def draw(samples, begins, probabilities):
    """A figure. samples: of 16 bits; begins: of the frames, in seconds."""
    figure, (wave, curve) = plt.subplots(2, 1, sharex=True, figsize=(9, 3.6), height_ratios=[2, 1], layout="constrained")
    wave.plot(np.arange(len(samples)) / RATE, samples / 32768, color="0.35", linewidth=0.4)
    wave.set(ylabel="waveform", yticks=[], xlim=(0, len(samples) / RATE))
    edges = np.append(begins, begins[-1] + FRAME / RATE)
    curve.stairs(probabilities, edges, color="C0")
    curve.axhline(SPEECH_ABOVE, color="0.6", linewidth=0.8, linestyle=":")
    curve.set(ylabel="speech", xlabel="seconds", ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
    for begin, probability in zip(begins, probabilities):
        if probability >= SPEECH_ABOVE:
            wave.axvspan(begin, begin + FRAME / RATE, color="C0", alpha=0.15, linewidth=0)
    return figure


def main():
    parser = argparse.ArgumentParser(description="waveform and probability of speech")
    parser.add_argument("samples", type=Path, help="what vad.c read: 16000 samples a second of 16 bits")
    parser.add_argument("probabilities", type=Path, help="what vad -p wrote")
    parser.add_argument("picture", type=Path, help="a .png or .svg to write")
    options = parser.parse_args()
    try:
        samples = np.fromfile(options.samples, "<i2")
        begins, probabilities = np.loadtxt(options.probabilities, ndmin=2, unpack=True)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    draw(samples, begins, probabilities).savefig(options.picture, dpi=110)


if __name__ == "__main__":
    main()
