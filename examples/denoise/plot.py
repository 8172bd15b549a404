#!/usr/bin/env python3
"""The spectrograms of what denoise.c read and wrote.

    ./denoise nsnet2.safetensors < noisy.raw > clean.raw
    python plot.py noisy.raw clean.raw spectrograms.png
"""

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

RATE, WINDOW, HOP = 16000, 320, 160


def main():
    parser = argparse.ArgumentParser(description="spectrograms before and after")
    parser.add_argument("noisy", type=Path, help="what denoise read: 16000 samples a second of 16 bits")
    parser.add_argument("clean", type=Path, help="what it wrote")
    parser.add_argument("picture", type=Path, help="a .png or .svg to write")
    options = parser.parse_args()
    try:
        sounds = [np.fromfile(path, "<i2") / 32768 for path in (options.noisy, options.clean)]
    except OSError as error:
        sys.exit(str(error))
    if min(map(len, sounds)) < WINDOW:
        sys.exit(f"there is less than a window of {WINDOW} samples to draw")
    figure, axes = plt.subplots(2, 1, sharex=True, sharey=True, figsize=(9, 4.2), layout="constrained")
    for axis, sound, name in zip(axes, sounds, ("noisy", "clean")):
        # A power of 0 has no logarithm: nothing below -120 dB matters here.
        axis.specgram(sound + 1e-9, NFFT=WINDOW, noverlap=WINDOW - HOP, Fs=RATE, vmin=-120, vmax=-30, cmap="magma")
        axis.set(ylabel=f"{name}, Hz")
    axes[1].set(xlabel="seconds")
    figure.savefig(options.picture, dpi=100)


if __name__ == "__main__":
    main()
