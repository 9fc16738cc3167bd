"""Turns sound that goes on into an answer every so often; each window is encoded anew."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .answer import Answer
from .errors import PredictionError

if TYPE_CHECKING:
    from .model import Model

__all__ = ["EVERY_S", "NO_PCM", "WINDOW_S", "StreamAnswer", "is_container", "listen", "pcm", "peeked"]

EVERY_S, WINDOW_S = 0.5, 4.0
"""Seconds between two answers, and seconds of sound that each is about."""

NO_PCM = "is a file of sound or film, and no raw samples: convert it with `ffmpeg -i - -f s16le -ar 16000 -ac 1 -`"
"""Why a pipe with the bytes of a file would be answered wrongly."""

HEAD = 12
"""Bytes that show of what format a file is."""


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
    finite = math.isfinite(window_s * rate) and math.isfinite(every_s * rate)
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


def peeked(file: Any) -> bytes:
    """Return what a pipe begins with, which stays in it; empty where that can't be seen."""
    return bytes(file.peek(HEAD)) if hasattr(file, "peek") else b""


def is_container(head: bytes) -> bool:
    """Whether bytes begin a file of WAV or AVI, FLAC, Ogg, MP3 with tags, Matroska or MP4.

    >>> is_container(b"RIFF....WAVE"), is_container(b"....ftypisom"), is_container(bytes(12))
    (True, True, False)
    """
    return head.startswith((b"RIFF", b"fLaC", b"OggS", b"ID3", b"\x1a\x45\xdf\xa3")) or head[4:8] == b"ftyp"
