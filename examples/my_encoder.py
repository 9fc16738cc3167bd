"""An encoder of one's own: the energy in mel bands, in decibels, and how it changes from frame to frame.

    P = |rfft(w ⊙ x)|²,    E = 10 log10(M P + 1e-10),    frame t is [E_t ; E_t − E_{t−1}]

x are 25 ms of sound, every 10 ms; w is a Hann window. M has a triangle for each band, evenly spaced in mel, which are
2595 log10(1 + f / 700) of a frequency f in Hz.
"""

from dataclasses import dataclass

import numpy as np

from gia_mic.encoder import setting


@dataclass(frozen=True)
class Config:
    """Settings, each typed by --set NAME=VALUE."""

    bands: int = setting(40, "Mel bands.", at_least=1)
    change: bool = setting(True, "Also give the change from frame to frame.")


class MelBands:
    """Energy in mel bands, in decibels."""

    modality = "speech"
    sampling_rate_hz = 16_000
    frame_rate_hz = 100  # frames a second

    def __init__(self, config: Config) -> None:
        self.config = config
        self.length, self.hop = self.sampling_rate_hz // 40, self.sampling_rate_hz // self.frame_rate_hz
        self.window = np.hanning(self.length)
        edges = np.linspace(0, 2595 * np.log10(1 + self.sampling_rate_hz / 2 / 700), config.bands + 2)
        low, middle, high = (700 * (10 ** (edges[i : i + config.bands] / 2595) - 1) for i in range(3))
        hertz = np.fft.rfftfreq(self.length, 1 / self.sampling_rate_hz)[:, None]
        rising, falling = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
        self.filters = np.maximum(np.minimum(rising, falling), 0)

    def frames(self, sound: np.ndarray) -> np.ndarray:
        """Return frames (T, bands) or (T, 2 bands) of samples (n,) float32; sound shorter than 25 ms is filled up."""
        sound = np.pad(sound, (0, max(self.length - len(sound), 0)))
        windows = np.lib.stride_tricks.sliding_window_view(sound, self.length)[:: self.hop] * self.window
        energy = 10 * np.log10(np.abs(np.fft.rfft(windows)) ** 2 @ self.filters + 1e-10)
        if not self.config.change:
            return energy
        return np.concatenate([energy, np.diff(energy, axis=0, prepend=energy[:1])], axis=1)
