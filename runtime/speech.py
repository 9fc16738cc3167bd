"""Turns sound into the inputs of a speech encoder: samples or spectrograms in windows that overlap."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .errors import PredictionError
from .log_mel import log_mel
from .stream import SoundStatistics, SoundWindow
from .windows import overlapping

__all__ = ["LOG_MEL", "SAMPLES", "speech_windows"]

SAMPLES, LOG_MEL = "samples", "log-mel"
"""What an encoder takes: samples (1, n), or Whisper's spectrogram (1, mels, 3000)."""


def speech_windows(
    settings: Mapping[str, Any], stream: Callable[[], Iterator[np.ndarray]], name: str
) -> Iterator[tuple[np.ndarray, slice]]:
    """Give the inputs of a recording in turn, each with the frames of it that count.

    A recording of more than two windows is read twice, as its mean and deviation are needed first.

    Args:
        settings: Entries of `speech` in `runtime.json`.
        stream: Gives the recording anew, in blocks (n,) float32.
        name: What to call it in an error.

    Raises:
        PredictionError: It is shorter than a frame.
    """
    hop, receptive_field = settings["hop"], settings["receptive_field"]
    is_spectrogram = settings["input"] == LOG_MEL

    def length(frames: int) -> int:
        return (frames - 1) * hop + receptive_field

    whole = SoundStatistics(stream(), keep=length(settings["window"]))
    if whole.count < (1 if is_spectrogram else receptive_field):
        raise PredictionError(
            f"{name} has {whole.count} samples at {settings['sampling_rate_hz']} Hz, and the encoder needs at least "
            f"{receptive_field}: leave it out."
        )
    frames = math.ceil(whole.count / hop) if is_spectrogram else (whole.count - receptive_field) // hop + 1
    mean, scale = (whole.mean, 1 / math.sqrt(whole.variance + 1e-7)) if settings["normalise"] else (0.0, 1.0)
    samples = whole.kept if whole.kept is not None else SoundWindow(stream())
    for begin, end, keep in overlapping(frames, settings["window"], settings["context"]):
        values = samples[begin * hop : whole.count if end == frames else begin * hop + length(end - begin)]
        if is_spectrogram:
            yield log_mel(values, settings["mels"])[None], keep
        else:
            yield ((values - mean) * scale).astype(np.float32)[None], keep
