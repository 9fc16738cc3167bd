"""Notices sound in which there is no voice to hear: silence, a constant, nothing but a click."""

import numpy as np

__all__ = ["NO_VOICE", "Ear"]

NO_VOICE = "no voice to hear"
"""How the note of such sound begins."""

BLOCK_S = 0.01
"""Sound is judged by stretches of this length, in seconds."""

FAINT = 2.0**-12
"""A stretch whose samples differ by less than this is silent: eight steps of 16 bits, as dither may reach."""

STEADY = 0.01
"""So is one whose samples differ by less than this part of their mean: a constant, perhaps through a lossy codec."""

LEAST_S = 0.1
"""A voice is heard for at least so long, in seconds."""


class Ear:
    """Hears sound block by block."""

    def __init__(self) -> None:
        self._audible_s, self._heard_s, self._low, self._high = 0.0, 0.0, np.inf, -np.inf
        self._held = np.empty(0, np.float32)

    def hear(self, samples: np.ndarray, rate: int) -> None:
        """Take the next samples (n,)."""
        if not len(samples) or self._audible_s > LEAST_S:
            return
        self._low = min(self._low, float(samples.min()))
        self._high = max(self._high, float(samples.max()))
        waiting = np.concatenate([self._held, samples])
        length = max(round(BLOCK_S * rate), 1)
        complete = len(waiting) // length * length
        self._held = waiting[complete:]
        self._count(waiting[:complete].reshape(-1, length), length / rate)

    @property
    def note(self) -> str:
        """What to note of the sound, empty where there is something to hear."""
        if len(self._held) > 1:
            self._count(self._held[None], BLOCK_S)
            self._held = np.empty(0, np.float32)
        if self._audible_s > LEAST_S or self._audible_s > self._heard_s / 2 or not np.isfinite(self._low):
            return ""
        if self._audible_s > 0:
            return f"{NO_VOICE}: its sound is silent but for {1000 * self._audible_s:.0f} ms"
        peak = max(abs(self._low), abs(self._high))
        if peak < 1e-6:
            return f"{NO_VOICE}: its sound is silence"
        if self._high - self._low < STEADY * peak:
            return f"{NO_VOICE}: its sound is the constant {self._low:.3g}"
        return f"{NO_VOICE}: its sound is almost silent, at most {20 * np.log10(peak):.0f} dB of full scale"

    def _count(self, stretches: np.ndarray, length_s: float) -> None:
        if stretches.size:
            swing = stretches.max(axis=1) - stretches.min(axis=1)
            level = np.abs(stretches.mean(axis=1))
            self._audible_s += float((swing >= np.maximum(FAINT, STEADY * level)).sum()) * length_s
            self._heard_s += len(stretches) * length_s
