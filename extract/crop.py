"""Turns a video clip into the pictures that a vision model sees: whole, the manifest's part of them, or the face."""

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image

from gia_mic.extract import media
from gia_mic.extract.corpus import Clip
from gia_mic.extract.face import Box, FaceTrackerConfig, find_faces

__all__ = ["stream_cropped"]

WHOLE = (0.0, 0.0, 1.0, 1.0)


def stream_cropped(
    path: Path,
    clip: Clip | None,
    frame_rate_hz: float,
    framing: media.Framing,
    crop: str,
    tracker: FaceTrackerConfig | None = None,
) -> Iterator[np.ndarray | None]:
    """Decode a clip into framed pictures.

    For the face the clip is decoded twice, so that it can be chosen and its place be smoothed over all of the clip
    while only one picture is held.

    Args:
        path: A video file.
        clip: Which stretch of it, and which part of the picture.
        frame_rate_hz: Pictures per second.
        framing: How each picture is cut and scaled to what the model takes.
        crop: One of `config.CROPS`.
        tracker: How the face is found and framed; by default as `FaceTrackerConfig` says.

    Yields:
        Pictures, (height, width, 3) uint8; None for one without the face.

    Raises:
        MediaError: The clip can't be decoded.
        EncoderError: The face detector isn't installed.
    """
    start_s, end_s, part = (clip.start_s, clip.end_s, clip.crop) if clip else (None, None, None)

    def pictures() -> Iterator[Image.Image]:
        return media.stream_pictures(path, frame_rate_hz, start_s, end_s)

    boxes: Iterator[Box | None]
    if crop == "face":
        boxes = iter(find_faces(pictures(), tracker or FaceTrackerConfig(), frame_rate_hz, part))
    else:
        boxes = repeat(part or WHOLE if crop == "half" else WHOLE)
    for picture, box in zip(pictures(), boxes, strict=False):
        yield None if box is None else framing.apply(picture, box)
