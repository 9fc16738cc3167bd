"""Turns a decoded picture as a film stores it into one as a person sees it: turned, and with square pixels."""

import struct
from typing import Any

from PIL import Image

__all__ = ["shape_of", "turn_of", "upright"]

TURNS = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
"""What to do to a picture by the signs of a display matrix's a, b, c, d: x' = a x + c y and y' = b x + d y."""


def upright(frame: Any, shape: float) -> Image.Image:
    """Return a frame that PyAV decoded as an RGB picture.

    Args:
        frame: The frame.
        shape: What `shape_of` says of its stream.
    """
    image: Image.Image = frame.to_image()
    if shape != 1.0:
        image = image.resize((max(round(image.width * shape), 1), image.height), Image.Resampling.BICUBIC)
    turn = turn_of(frame)
    return image if turn is None else image.transpose(turn)


def turn_of(frame: Any) -> Image.Transpose | None:
    """Return how a picture is to be turned, or None."""
    from av.sidedata.sidedata import Type

    try:
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # PyAV's, of a frame with side data of a kind that it doesn't know, such as EXIF
        return {-90: Image.Transpose.ROTATE_270, 90: Image.Transpose.ROTATE_90}.get(
            frame.rotation, Image.Transpose.ROTATE_180 if abs(frame.rotation) == 180 else None
        )
    if matrix is None:
        return None
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)[:36])
    largest = max(map(abs, (a, b, c, d))) or 1
    return TURNS.get(tuple(round(value / largest) for value in (a, b, c, d)))


def shape_of(stream: Any) -> float:
    """Return how much wider than high a stream's pixels are."""
    ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return float(ratio) if ratio and 0.1 <= ratio <= 10 else 1.0
