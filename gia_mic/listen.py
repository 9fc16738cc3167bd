"""Turns sound that goes on into an answer every half second."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from gia_mic.answer import Answer
from gia_mic.config import ListenConfig
from gia_mic.extract.errors import RunError
from gia_mic.extract.settings import out_of_range
from gia_mic.predictor import Predictor

__all__ = ["StreamPrediction", "listen", "pcm"]


@dataclass(frozen=True)
class StreamPrediction(Answer):
    """What a run says of the latest seconds of a stream.

    Attributes:
        time_s: End of the window, from the beginning of the stream.
        seconds: Time that this answer took to compute, in seconds.
    """

    time_s: float
    seconds: float


def listen(
    predictor: Predictor,
    blocks: Iterable[np.ndarray],
    *,
    every_s: float = ListenConfig.every_s,
    window_s: float = ListenConfig.window_s,
    reuse: bool = True,
) -> Iterator[StreamPrediction]:
    """Give an answer every so often, from the sound alone; sound after the last full step has none.

    Args:
        predictor: Runs that take speech.
        blocks: Samples (n,) float32 at the encoder's sampling rate, in blocks of any size.
        every_s: As in `ListenConfig`.
        window_s: As in `ListenConfig`; the first answers rest on what there is.
        reuse: Whether to re-use what two windows share, as `gia_mic.window` says.

    Raises:
        RunError: The runs don't take speech, or the times can't be.
        EncoderError: The window doesn't fit the encoder.
    """
    if "speech" not in predictor.modalities:
        raise RunError(f"The run takes {', '.join(predictor.modalities)} and no speech: listen with another.")
    if problems := out_of_range(ListenConfig(every_s, window_s)):
        raise RunError(f"Listening can't begin: {'; '.join(problems)}.")
    window = predictor.encoders.window(window_s, reuse=reuse)
    step, heard_samples, buffer = max(round(every_s * window.rate), 1), 0, np.empty(0, np.float32)
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        while len(buffer) >= step:
            start = time.perf_counter()
            heard_samples += step
            frames = window.push(buffer[:step])
            buffer = buffer[step:]
            if frames is None:
                continue
            answers = predictor.fuse([{"speech": frames}]).mean((0, 1))
            yield StreamPrediction(
                target=predictor.target,
                values=predictor.named(answers),
                time_s=heard_samples / window.rate,
                seconds=time.perf_counter() - start,
            )


def pcm(file: BinaryIO) -> Iterator[np.ndarray]:
    """Give the samples (n,) float32 of raw 16-bit little-endian mono PCM as they come."""
    odd = b""
    read = getattr(file, "read1", file.read)
    while data := read(8192):
        data = odd + data
        even = len(data) // 2 * 2
        odd = data[even:]
        yield np.frombuffer(data[:even], "<i2").astype(np.float32) / 2**15
