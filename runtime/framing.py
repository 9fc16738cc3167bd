"""Turns a picture into what a vision model takes."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

__all__ = ["Framing"]


@dataclass(frozen=True)
class Framing:
    """How a picture is cut and scaled to what a vision model takes.

    Attributes:
        size: Height and width of the result in pixels.
        shortest_edge: The picture is scaled until its shorter side has this many pixels, then `size` is cut from its
            centre; None scales all of it to `size`, whatever its shape.
        resample: Pillow's number of the interpolation: 2 bilinear, 3 bicubic.
    """

    size: tuple[int, int] = (224, 224)
    shortest_edge: int | None = None
    resample: int = 3

    def apply(self, picture: Image.Image, crop: tuple[float, float, float, float] | None = None) -> np.ndarray:
        """Return the framed picture, (height, width, 3) uint8.

        Args:
            picture: An RGB picture.
            crop: Part to use, as left, top, right, bottom in fractions.
        """
        left, top, right, bottom = crop or (0.0, 0.0, 1.0, 1.0)
        left, right = left * picture.width, right * picture.width
        top, bottom = top * picture.height, bottom * picture.height
        height, width = self.size
        if self.shortest_edge is not None:
            scale = min(right - left, bottom - top) / self.shortest_edge
            x, y = (left + right) / 2, (top + bottom) / 2
            half_x, half_y = min(width * scale, right - left) / 2, min(height * scale, bottom - top) / 2
            left, top, right, bottom = x - half_x, y - half_y, x + half_x, y + half_y
        box = (max(left, 0.0), max(top, 0.0), min(right, picture.width), min(bottom, picture.height))
        return np.asarray(picture.resize((width, height), Image.Resampling(self.resample), box=box))
