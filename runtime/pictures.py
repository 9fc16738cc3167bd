"""Turns a film, a picture or frames in memory into the inputs of a vision model: framed pictures, some at a time."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import PredictionError

__all__ = ["picture_batches"]

TOGETHER = 16
"""Pictures that go through the model at a time."""

ROUNDING_S = 1e-6
"""Moments closer than this are the same."""


def picture_batches(settings: Mapping[str, Any], source: str | Path | np.ndarray) -> Iterator[np.ndarray]:
    """Give pictures (n, height, width, 3) uint8 as the encoder takes them.

    Args:
        settings: Entries of `visual` in `runtime.json`.
        source: Path of a film or a picture, or RGB pictures (n, height, width, 3) uint8 at the run's rate.

    Raises:
        PredictionError: It can't be decoded, has no pictures, or needs a library that isn't installed.
    """
    size = tuple(settings["size"])
    if isinstance(source, np.ndarray):
        if source.ndim != 4 or source.shape[-1] != 3 or source.dtype != np.uint8 or not len(source):
            raise PredictionError(
                f"Pictures of shape {source.shape} and type {source.dtype} can't be read: give RGB as "
                "(n, height, width, 3) uint8."
            )
        if source.shape[1:3] == size:
            yield from (source[start : start + TOGETHER] for start in range(0, len(source), TOGETHER))
            return
    try:
        import av
        from PIL import Image

        from .framing import Framing
    except ImportError as error:
        raise PredictionError(
            f"Films, and pictures of another size than {size[0]} × {size[1]}, need {error.name}: `pip install av "
            "pillow`."
        ) from None
    framing = Framing(size, settings.get("shortest_edge"), settings["resample"])
    if isinstance(source, np.ndarray):
        pictures: Iterator[Any] = map(Image.fromarray, source)
    else:
        pictures = _film(Path(source), settings["frame_rate_hz"], av)
    some = []
    for picture in pictures:
        some.append(framing.apply(picture))
        if len(some) == TOGETHER:
            yield np.stack(some)
            some = []
    if some:
        yield np.stack(some)


def _film(path: Path, frame_rate_hz: float, av: Any) -> Iterator[Any]:
    """Give the pictures that are on the screen at evenly spaced moments, from the beginning of the film, upright.

    Raises:
        PredictionError: It can't be decoded, or has no pictures.
    """
    from .upright import shape_of, upright

    if not path.is_file():
        raise PredictionError(f"There is no file {path}: check the path.")
    count, latest, latest_s = 0, None, 0.0
    try:
        with av.open(str(path.absolute()), options={"protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                raise PredictionError(f"{path} has no pictures: check the path.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            step_s, shape = 1 / float(stream.average_rate or 25), shape_of(stream)
            first_s: float | None = None
            for frame in container.decode(stream):
                begin_s = (first_s or 0.0) + latest_s + step_s if frame.time is None else frame.time
                first_s = begin_s if first_s is None else first_s
                while latest is not None and count / frame_rate_hz < begin_s - first_s - ROUNDING_S:
                    yield upright(latest, shape)
                    count += 1
                latest, latest_s = frame, begin_s - first_s
            while latest is not None and count / frame_rate_hz < latest_s + step_s - ROUNDING_S:
                yield upright(latest, shape)
                count += 1
    except av.FFmpegError as error:
        raise PredictionError(f"{path} can't be decoded ({error.strerror}): copy or convert it again.") from error
    if not count:
        raise PredictionError(f"{path} has no pictures: check the path.")
