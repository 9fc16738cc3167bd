"""Turns up to 30 s of sound into the log-mel spectrogram that Whisper's encoder takes."""

import numpy as np

__all__ = ["HOP", "log_mel"]

RATE = 16_000
FOURIER = 400
HOP = 160
SAMPLES = 30 * RATE

LEAST = 1e-10
"""Power that stands for silence."""

DYNAMIC = 8.0
"""Powers of ten below the loudest band at which a spectrogram is cut off."""


def log_mel(samples: np.ndarray, mels: int) -> np.ndarray:
    """Return the spectrogram (mels, 3000) float32 of samples (n,) at 16 kHz, filled up with silence to 30 s.

    Frames of 25 ms, each 10 ms after the one before, in Hann windows; powers in mel bands, as powers of ten, cut at 8
    below the loudest and scaled to about ±1 (Radford et al., ICML 2023, arXiv:2212.04356).
    """
    sound = np.zeros(SAMPLES)
    sound[: len(samples)] = samples[:SAMPLES]
    padded = np.pad(sound, FOURIER // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FOURIER)[:-1:HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FOURIER) / FOURIER)
    power = np.abs(np.fft.rfft(frames * hann)) ** 2
    bands = np.log10(np.maximum(_filters(mels) @ power.T, LEAST))
    return ((np.maximum(bands, bands.max() - DYNAMIC) + 4) / 4).astype(np.float32)


def _filters(mels: int) -> np.ndarray:
    """Return triangular filters (mels, frequencies) on Slaney's mel scale, each of the same area."""
    edges = _hertz(np.linspace(0, _mel(RATE / 2), mels + 2))
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    frequencies = np.fft.rfftfreq(FOURIER, 1 / RATE)
    triangles = np.minimum((frequencies - low) / (centre - low), (high - frequencies) / (high - centre))
    return np.maximum(triangles, 0) * 2 / (high - low)


def _mel(hertz: float) -> float:
    """Return mels of Slaney's scale for frequencies of at least 1 kHz: 15 below, logarithmic above."""
    return 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def _hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((np.maximum(mel, 15) - 15) * np.log(6.4) / 27))
