"""Turns what a camera, a microphone or a pipe gives at the moment into blocks of samples and pictures, as they come."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import floor
from typing import Any, BinaryIO

import av
import numpy as np
import soxr
from PIL import Image

from gia_mic.extract.errors import MediaError, words_of
from gia_mic.extract.media.sound import layout_of, samples_of
from gia_mic.runtime.mixing import usual_layout, weights
from gia_mic.runtime.upright import shape_of, upright

__all__ = ["MATROSKA", "Picture", "open_device", "open_pipe", "stream_container"]

MATROSKA = b"\x1a\x45\xdf\xa3"
"""What a Matroska or WebM stream begins with."""

SYSTEMS = {
    "linux": {"video": ("v4l2", "/dev/video0"), "audio": ("alsa", "default")},
    "darwin": {"video": ("avfoundation", "0"), "audio": ("avfoundation", ":0")},
    "win32": {"video": ("dshow", ""), "audio": ("dshow", "")},
}
"""FFmpeg's input format and usual device for each system and kind."""

FORMATS = ("v4l2", "alsa", "pulse", "avfoundation", "dshow", "lavfi")
"""Input formats that a device may be named with, as in lavfi:testsrc."""


@dataclass(frozen=True)
class Picture:
    """A picture of a stream.

    Attributes:
        time_s: When it is on the screen, in seconds from the beginning of the stream.
        image: The picture, RGB, as a person sees it.
    """

    time_s: float
    image: Image.Image


def open_device(kind: str, name: str = "") -> Any:
    """Open a camera or a microphone with FFmpeg.

    Args:
        kind: video or audio.
        name: The device's name to FFmpeg, which may begin with an input format and a colon; empty for the usual one.

    Raises:
        MediaError: There is no such device, or this build of FFmpeg has no input of its format.
    """
    format_, device = SYSTEMS.get(sys.platform, SYSTEMS["linux"])[kind]
    if name:
        before, _, after = name.partition(":")
        format_, device = (before, after) if before in FORMATS else (format_, name)
    what = "camera" if kind == "video" else "microphone"
    if not device:
        raise MediaError(f"This system has no usual {what}: name one, as FFmpeg calls it, with --{what} {kind}=NAME.")
    if format_ not in av.formats_available:
        raise MediaError(
            f"The FFmpeg in PyAV reads no {what} by {format_}: pipe it in, as `ffmpeg -f {format_} -i {device} -f "
            "matroska - | mer listen RUN -`."
        )
    try:
        return av.open(device, format=format_)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(
            f"The {what} {device} can't be opened by {format_} ({words_of(error)}): name another with --{what}."
        ) from error


def open_pipe(file: BinaryIO) -> Any:
    """Open a film that comes through a pipe.

    Raises:
        MediaError: It isn't one that can be read.
    """
    try:
        return av.open(_Pipe(file), options={"analyzeduration": "1000000"}, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"Standard input is no film that can be read ({words_of(error)}): send Matroska.") from error


def stream_container(
    container: Any, sampling_rate_hz: int | None, frame_rate_hz: float | None
) -> Iterator[np.ndarray | Picture]:
    """Decode the first sound and the first video of a container together, in one pass.

    Args:
        container: An open container, which is closed at the end.
        sampling_rate_hz: Rate wanted of its sound; None leaves the sound out.
        frame_rate_hz: Most pictures wanted per second; None leaves them out.

    Yields:
        Samples (n,) float32, full scale ±1, of one channel; and pictures, the first from each moment k / frame_rate_hz.

    Raises:
        MediaError: There is none of both, or it can't be decoded.
    """
    with container:
        streams = [*container.streams.audio[:1]] if sampling_rate_hz else []
        streams += [*container.streams.video[:1]] if frame_rate_hz else []
        if not streams:
            raise MediaError(f"{container.name} has no sound or pictures that the run takes: choose another input.")
        resampler: Any = None
        rate, origin_s, due = 0, None, 0
        try:
            for frame in container.decode(*streams):
                if isinstance(frame, av.AudioFrame):
                    if frame.sample_rate != rate:
                        rate = frame.sample_rate
                        resampler = soxr.ResampleStream(rate, sampling_rate_hz, 1, dtype="float32")
                    block = resampler.resample_chunk(_mono(frame))
                    if len(block):
                        yield block
                    continue
                origin_s = (frame.time or 0.0) if origin_s is None else origin_s
                time_s = (frame.time or 0.0) - origin_s
                number = floor(time_s * (frame_rate_hz or 1) + 1e-6)
                if number >= due:
                    due = number + 1
                    yield Picture(time_s, upright(frame, shape_of(streams[-1])))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise MediaError(f"{container.name} can't be decoded ({words_of(error)}): send it again.") from error


def _mono(frame: Any) -> np.ndarray:
    """Return the samples (n,) of a decoded frame."""
    samples = samples_of(frame)
    layout = layout_of(frame) or usual_layout(samples.shape[1])
    mixed = samples @ weights(layout) if len(layout) == samples.shape[1] else samples.mean(1)
    return np.ascontiguousarray(mixed, np.float32)


class _Pipe:
    """Gives FFmpeg what has come, rather than wait for a whole block."""

    name = "standard input"

    def __init__(self, file: BinaryIO) -> None:
        self.read = getattr(file, "read1", file.read)
