"""Turns sound into the normalised log-mel frames that w2v-BERT 2.0 takes instead of samples."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from gia_mic.extract.errors import EncoderError, first_line

__all__ = ["KIND", "LogMel"]

KIND = "SeamlessM4TFeatureExtractor"
"""Name of what makes these frames in the settings of a model."""

WIDTH_S, STEP_S = 0.025, 0.010
"""Sound that one spectrum sees, and how far the next one lies."""


class LogMel:
    """Kaldi's log-mel spectra, `stride` of them side by side in each frame (Barrault et al., 2023, arXiv:2312.05187).

    Each mel band is brought to zero mean and unit variance over the whole recording, so a recording's spectra are held
    in memory: 0.1 GB an hour.

    Args:
        settings: Of the feature extractor, as `load_settings` gives them.

    Attributes:
        rate: Sampling rate in Hz.
        dim: Features of a frame.
        hop: Samples from one frame to the next.
        receptive_field: Samples that one frame sees.

    Raises:
        EncoderError: The settings make no such spectra.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        from transformers import SeamlessM4TFeatureExtractor

        fields = ("feature_size", "sampling_rate", "num_mel_bins", "padding_value", "stride")
        try:
            self._extractor = SeamlessM4TFeatureExtractor(**{key: settings[key] for key in fields if key in settings})
        except Exception as error:
            raise EncoderError(
                f"The settings of the feature extractor don't describe log-mel spectra ({first_line(error)}): copy "
                "them from the model again."
            ) from error
        self._mels, self._stride = self._extractor.num_mel_bins, self._extractor.stride
        self.rate: int = self._extractor.sampling_rate
        self.dim: int = self._mels * self._stride
        self._width, self._step = round(WIDTH_S * self.rate), round(STEP_S * self.rate)
        self.hop = self._stride * self._step
        self.receptive_field = self._width + (self._stride - 1) * self._step

    def __call__(self, blocks: Iterator[np.ndarray]) -> np.ndarray:
        """Return frames (T, D) float32 of samples in blocks (n,); T = floor((n - receptive field) / hop) + 1."""
        buffer = np.empty(0, np.float32)
        parts = [np.empty((0, self._mels), np.float32)]
        for block in blocks:
            buffer = np.concatenate([buffer, block])
            count = (len(buffer) - self._width) // self._step + 1
            if count > 0:
                parts.append(self._spectra(buffer[: (count - 1) * self._step + self._width])[:count])
                buffer = buffer[count * self._step :]
        spectra = np.concatenate(parts)
        if len(spectra) > 1:
            spectra = (spectra - spectra.mean(axis=0)) / np.sqrt(spectra.var(axis=0, ddof=1) + 1e-7)
        whole = len(spectra) // self._stride
        return spectra[: whole * self._stride].reshape(whole, self.dim).astype(np.float32)

    def _spectra(self, samples: np.ndarray) -> np.ndarray:
        """Return spectra (T, mels) of samples; the last one may be filled up with nothing."""
        spectra = self._extractor(
            samples, sampling_rate=self.rate, do_normalize_per_mel_bins=False, return_tensors="np"
        ).input_features
        return spectra[0].reshape(-1, self._mels)
