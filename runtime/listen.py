"""Turns sound that goes on into an answer every so often; each window is encoded anew."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from .answer import Answer
from .errors import PredictionError

if TYPE_CHECKING:
    from .model import Model

__all__ = ["EVERY_S", "WINDOW_S", "StreamAnswer", "listen", "pcm"]

EVERY_S, WINDOW_S = 0.5, 4.0
"""Seconds between two answers, and seconds of sound that each is about."""


@dataclass(frozen=True)
class StreamAnswer(Answer):
    """What a run says of the latest seconds of a stream.

    Attributes:
        time_s: End of the window, from the beginning of the stream.
        seconds: Time that this answer took to compute, in seconds.
    """

    time_s: float
    seconds: float


def listen(
    model: "Model", blocks: Iterable[np.ndarray], *, every_s: float = EVERY_S, window_s: float = WINDOW_S
) -> Iterator[StreamAnswer]:
    """Give an answer every so often, from the sound alone; sound after the last full step has none.

    Args:
        model: An exported run that takes speech.
        blocks: Samples (n,) float32 at the encoder's sampling rate, in blocks of any size.
        every_s: Seconds between two answers, above 0.
        window_s: Seconds of sound that each answer is about, up to the window of the encoder.

    Raises:
        PredictionError: The run takes no speech, or the times can't be.
    """
    if "speech" not in model.modalities:
        raise PredictionError(f"The run takes {', '.join(model.modalities)} and no speech: listen with another.")
    settings = model.settings.encoders["speech"]
    rate, hop, receptive_field = settings["sampling_rate_hz"], settings["hop"], settings["receptive_field"]
    finite = math.isfinite(every_s) and math.isfinite(window_s)
    most, step = (int(window_s * rate) // hop, round(every_s * rate)) if finite else (0, 0)
    if not 0 < most <= settings["window"] or step < 1:
        raise PredictionError(
            f"A window of {window_s:g} s every {every_s:g} s can't be: both are above 0, and a window has up to "
            f"{settings['window'] * hop / rate:g} s."
        )
    window, first, position, buffer = np.empty(0, np.float32), 0, 0, np.empty(0, np.float32)
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        while len(buffer) >= step:
            start = time.perf_counter()
            position += step
            window, buffer = np.concatenate([window, buffer[:step]]), buffer[step:]
            end = first + (len(window) - receptive_field) // hop + 1  # frames of the stream so far
            if end <= first:
                continue
            begin = max(end - most, 0)
            window, first = window[(begin - first) * hop :], begin
            samples = window[: (end - begin - 1) * hop + receptive_field]
            answers = model.fuse({"speech": model.frames("speech", samples, rate)})
            yield StreamAnswer(model.target, answers, position / rate, time.perf_counter() - start)


def pcm(file: BinaryIO) -> Iterator[np.ndarray]:
    """Give the samples (n,) float32 of raw 16-bit little-endian mono PCM as they come."""
    odd = b""
    read = getattr(file, "read1", file.read)
    while data := read(8192):
        data = odd + data
        even = len(data) // 2 * 2
        odd = data[even:]
        yield np.frombuffer(data[:even], "<i2").astype(np.float32) / 2**15
