"""Turns a film into the pictures that are on the screen at evenly spaced moments, as players show them."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from gia_mic.extract.errors import MediaError, words_of
from gia_mic.extract.media.container import (
    Track,
    check_is_whole,
    check_step,
    frames_of,
    is_credible,
    measured_s,
    open_track,
)
from gia_mic.extract.media.headers import TOLERANCE_S, check_file
from gia_mic.runtime.upright import shape_of, upright

__all__ = ["stream_pictures"]

ROUNDING_S = 1e-6
"""Moments closer than this are the same; the times of pictures are sums of rounded fractions."""

SLIGHT_S = 0.03
"""Pictures that begin less than this after the sound, about one of them, begin with it."""

LINGER_S = 1.0
"""A film that goes on for longer than this after its last picture shows it until its end."""

BELIEVED_S = 60.0
"""It is believed to go on for so long; more is measured."""


def stream_pictures(
    path: Path,
    frame_rate_hz: float,
    start_s: float | None = None,
    end_s: float | None = None,
) -> Iterator[Image.Image]:
    """Decode the pictures that are on the screen at start_s, start_s + 1 / frame_rate_hz, and so on.

    They are turned as the camera was held, and their pixels are made square. The first picture stands for the moments
    before it, the last one for those until the film ends.

    Args:
        path: A video file, or a still, which is one picture.
        frame_rate_hz: Pictures wanted per second.
        start_s: First moment, in seconds from the beginning of the first stream of the file.
        end_s: Last moment, in seconds.

    Yields:
        RGB pictures; at least one.

    Raises:
        MediaError: The file is missing, broken, without pictures, or ends before the clip does.
    """
    check_file(path)
    start, end = start_s or 0.0, math.inf if end_s is None else end_s
    count = 0
    visible: Any = None
    image: Image.Image | None = None
    until = start
    for frame, from_s, to_s in _pictures(path, start, end):
        # the picture before this one stays on the screen until this one's time
        while visible is not None and start + count / frame_rate_hz < min(from_s, end) - ROUNDING_S:
            image = image or _image_of(visible)
            yield image
            count += 1
        if from_s >= end:
            break
        visible, image, until = frame, None, to_s
    while visible is not None and start + count / frame_rate_hz < min(until, end) - ROUNDING_S:
        image = image or _image_of(visible)
        yield image
        count += 1
    if count == 0:
        raise MediaError(f"{path} has no pictures{_between(start_s, end_s)}: check the file and the clip's times.")
    if end_s is not None and until < end_s - TOLERANCE_S:
        missing_s = end_s - until
        raise MediaError(
            f"{path} ends {missing_s:.2f} s before its clip does: check the clip's times against the file."
        )


def _pictures(path: Path, start_s: float, end_s: float) -> Iterator[tuple[Any, float, float]]:
    """Yield each picture from the one on the screen at `start_s` on, with the times it appears and goes."""
    if _is_animated_webp(path):
        yield from _webp_pictures(path, start_s)
        return
    with open_track(path, "video") as track:
        stream = track.stream
        stream.thread_type = "AUTO"
        shape = shape_of(stream)
        length_s = 1 / float(stream.average_rate or 25)
        counted_s = 1 / float(stream.guessed_rate or stream.average_rate or 25)  # for frames that don't say when
        before: tuple[Any, float] | None = None
        last: tuple[Any, float] | None = None
        until = 0.0
        shift_s = track.start_s if track.start_s is not None and 0 < track.start_s < SLIGHT_S else 0.0
        for frame in frames_of(track, start_s, []):
            moment_s = track.time_s(frame)
            from_s = until if moment_s is None else moment_s - shift_s
            if last is not None:
                _check_moment(track, last[1], from_s)
            until = from_s + (length_s if moment_s is not None else counted_s)
            if last is None:  # the first picture stands for what is before it
                check_step(track, max(from_s - start_s, 0.0), from_s)
                from_s = min(from_s, start_s)
            last = (frame, shape), from_s
            if from_s <= start_s:
                before = last
                continue
            if before is not None:
                yield *before, from_s
                before = None
            yield *last, until
        if last is None:
            return
        check_is_whole(track, until)
        stays = _stays_until(track, until, end_s)
        if stays > (until if before is None else start_s):
            yield *last, stays


def _is_animated_webp(path: Path) -> bool:
    """Whether a file is what FFmpeg can't decode, and Pillow can."""
    with path.open("rb") as file:
        head = file.read(34)
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP" and b"ANIM" in head


def _webp_pictures(path: Path, start_s: float) -> Iterator[tuple[Any, float, float]]:
    from_s = 0.0
    try:
        with Image.open(path) as film:
            for number in range(getattr(film, "n_frames", 1)):
                film.seek(number)
                picture = film.convert("RGB")
                until = from_s + film.info.get("duration", 100) / 1000
                if until > start_s:
                    yield picture, from_s, until
                from_s = until
    except (OSError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise MediaError(f"{path} can't be decoded ({words_of(error)}): copy or convert it again.") from error


def _check_moment(track: Track, before_s: float, at_s: float) -> None:
    """Refuse a clock that jumps; a picture may stay for long as long as the file goes on."""
    whole_s = track.whole_s
    if at_s < before_s or whole_s is None or at_s > whole_s + TOLERANCE_S or not is_credible(whole_s, track.path):
        check_step(track, at_s - before_s, at_s)


def _stays_until(track: Track, until_s: float, end_s: float) -> float:
    """Return until when the last picture stays, which goes at a moment by the usual time between pictures."""
    stays = until_s
    if (own := track.end_s) is not None and own > until_s + TOLERANCE_S:
        stays = own
    whole = track.whole_s
    if whole is None and track.container.streams.audio:
        whole = measured_s(track.path)
    if whole is not None and (whole > stays + LINGER_S or (stays < end_s - TOLERANCE_S < whole and end_s < math.inf)):
        stays = whole
    if stays > until_s + BELIEVED_S:
        stays = max(until_s, min(stays, measured_s(track.path)))
    return stays


def _image_of(picture: Any) -> Image.Image:
    """Return a picture as a person sees it: one that Pillow decoded, or FFmpeg's with the shape of its pixels."""
    return picture if isinstance(picture, Image.Image) else upright(*picture)


def _between(start_s: float | None, end_s: float | None) -> str:
    if start_s is None and end_s is None:
        return ""
    return f" between {start_s or 0:.2f} s and {'its end' if end_s is None else f'{end_s:.2f} s'}"
