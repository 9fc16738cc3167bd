"""Turns a sound file, the sound of a film, or samples in memory into mono samples at one rate, block by block."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from .errors import PredictionError
from .mixing import Sound, full_scale, mixed, resampled, usual_layout

__all__ = ["stream_sound"]

BLOCK_S = 10
"""Seconds of a file that are decoded at a time."""

TOLERANCE_S = 0.1
"""A file may be this much shorter than its header says."""


def stream_sound(source: str | Path | np.ndarray, rate: int | None, wanted_rate: int) -> Iterator[np.ndarray]:
    """Give sound as blocks (n,) float32 of full scale ±1.

    Args:
        source: Path of a sound file or a film, or samples (n,) or (n, channels), floats of full scale ±1 or integers.
        rate: Sampling rate of samples, in Hz; of no use for files.
        wanted_rate: Sampling rate wanted, in Hz.

    Raises:
        PredictionError: It can't be decoded, or has no sound.
    """
    name = "the sound" if isinstance(source, np.ndarray) else str(source)
    sounds = _samples(source, rate) if isinstance(source, np.ndarray) else _decoded(Path(source))
    yield from resampled(_checked(mixed(sounds, []), name), wanted_rate)


def _samples(samples: np.ndarray, rate: int | None) -> Iterator[Sound]:
    if samples.ndim not in (1, 2) or not samples.size or samples.dtype.kind not in "fiu" or not rate or rate < 1:
        raise PredictionError(
            f"Samples of shape {samples.shape} and type {samples.dtype} at {rate} Hz are no sound: give (n,) or "
            "(n, channels) floats or integers, and sampling_rate_hz."
        )
    yield Sound(full_scale(samples), rate)


def _decoded(path: Path) -> Iterator[Sound]:
    if not path.is_file():
        raise PredictionError(f"There is no file {path}: check the path.")
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, TypeError):  # of a .raw file it asks for the rate
        yield from _film_sound(path)
        return
    count = 0
    try:
        with file:
            for block in file.blocks(BLOCK_S * file.samplerate, dtype="float32", always_2d=True):
                count += len(block)
                yield Sound(block, file.samplerate, usual_layout(file.channels))
    except soundfile.SoundFileError as error:
        raise PredictionError(f"{path} can't be decoded ({error}): copy or convert it again.") from error
    if count < file.frames - TOLERANCE_S * file.samplerate:
        raise PredictionError(f"{path} is cut short: it has {count} of {file.frames} samples; copy it again.")


def _film_sound(path: Path) -> Iterator[Sound]:
    """Give the sound of what libsndfile doesn't read."""
    try:
        import av
    except ImportError:
        raise PredictionError(
            f"{path} is no sound that libsndfile reads: convert it to WAV, or `pip install av` for the sound of films."
        ) from None
    try:
        with av.open(str(path.absolute()), options={"protocol_whitelist": "file"}) as container:
            if not container.streams.audio:
                raise PredictionError(f"{path} has no sound: check the path.")
            for frame in container.decode(container.streams.audio[0]):
                layout = tuple(channel.name for channel in frame.layout.channels)
                yield Sound(full_scale(_channels(frame)), frame.sample_rate, layout)
    except av.FFmpegError as error:
        raise PredictionError(f"{path} can't be decoded ({error.strerror}): copy or convert it again.") from error


def _channels(frame: Any) -> np.ndarray:
    """Return the samples of a decoded frame, (n, channels)."""
    values = frame.to_ndarray()
    return values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)


def _checked(blocks: Iterator[tuple[np.ndarray, int]], name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Give the blocks, and refuse numbers that aren't finite."""
    for samples, rate in blocks:
        if not np.isfinite(samples).all():
            raise PredictionError(f"{name} has samples that are not finite numbers: convert it again.")
        yield samples, rate
