"""Turns films, pipes and devices into one stream: blocks of samples (n,) float32 and pictures, in the order of time."""

import logging
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from gia_mic.extract import media
from gia_mic.extract.errors import MediaError
from gia_mic.extract.media.live import Picture, stream_container
from gia_mic.runtime.listen import pcm

__all__ = ["Devices", "Item", "film", "paced", "pcm"]

logger = logging.getLogger(__name__)

Item = np.ndarray | Picture
"""A block of samples (n,) float32, or a picture."""

BLOCK_S = 0.1
"""Seconds of sound that are given at a time."""

MOST_ITEMS = 1_000
"""Blocks and pictures of devices that wait to be taken; what comes after that is lost."""

CLOSING_S = 2.0
"""A device that gives nothing for so long is left to end with the process."""


def film(path: Path, sampling_rate_hz: int | None, frame_rate_hz: float | None) -> Iterator[Item]:
    """Decode the sound and the pictures of a file together, as `media` does each of them; a few seconds are held.

    Args:
        path: A sound or video file.
        sampling_rate_hz: Rate wanted of its sound; None leaves the sound out.
        frame_rate_hz: Pictures wanted per second; None leaves them out.

    Raises:
        MediaError: It has none of what is wanted, or can't be decoded.
    """
    sound, no_sound = _begun(media.stream_audio(path, sampling_rate_hz) if sampling_rate_hz else None)
    pictures, no_pictures = _begun(media.stream_pictures(path, frame_rate_hz) if frame_rate_hz else None)
    errors = [error for error in (no_sound, no_pictures) if error]
    if sound is None and pictures is None and errors:
        raise errors[0]
    for error in errors:
        logger.info(f"One modality is missing: {error}")
    times = ((number / (frame_rate_hz or 1), image) for number, image in enumerate(pictures or ()))
    waiting = next(times, None)
    count, rate = 0, sampling_rate_hz or 1
    for samples in _cut(sound or (), round(BLOCK_S * rate)):
        while waiting is not None and waiting[0] * rate < count + len(samples):
            yield Picture(*waiting)
            waiting = next(times, None)
        count += len(samples)
        yield samples
    while waiting is not None:
        yield Picture(*waiting)
        waiting = next(times, None)


def paced(stream: Iterable[Item], sampling_rate_hz: int) -> Iterator[Item]:
    """Give the items of a stream no sooner than they would be heard and seen, counted from the first one."""
    begun, count = time.monotonic(), 0
    for item in stream:
        if not isinstance(item, Picture):
            count += len(item)
        due_s = item.time_s if isinstance(item, Picture) else count / sampling_rate_hz
        time.sleep(max(begun + due_s - time.monotonic(), 0.0))
        yield item


class Devices:
    """Cameras and microphones that threads of their own read, so that nothing waits while an answer is computed.

    Args:
        containers: Open containers of devices.
        sampling_rate_hz: Rate wanted of sound; None leaves it out.
        frame_rate_hz: Most pictures wanted per second; None leaves them out.
    """

    def __init__(self, containers: Sequence[Any], sampling_rate_hz: int | None, frame_rate_hz: float | None) -> None:
        self._items: queue.Queue[Item | MediaError | None] = queue.Queue(MOST_ITEMS)
        self._stop, self._begun = threading.Event(), time.monotonic()
        self._left = len(containers)
        self._threads = [
            threading.Thread(
                target=self._read,
                args=(stream_container(container, sampling_rate_hz, frame_rate_hz),),
                name="device",
                daemon=True,  # a device that hangs doesn't keep the process
            )
            for container in containers
        ]

    def __enter__(self) -> "Devices":
        self._begun = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(CLOSING_S)

    def __iter__(self) -> Iterator[Item]:
        """Give all that comes, until the devices end."""
        while self._left:
            yield from self._unpack(self._items.get())

    def beside(self, sound: Iterable[Item]) -> Iterator[Item]:
        """Give sound from elsewhere, and before each block what has come meanwhile."""
        for samples in sound:
            with suppress(queue.Empty):
                while True:
                    yield from self._unpack(self._items.get_nowait())
            yield samples

    def _unpack(self, item: Item | MediaError | None) -> Iterator[Item]:
        if item is None:
            self._left -= 1
        elif isinstance(item, MediaError):
            raise item
        else:
            yield item

    def _read(self, stream: Iterator[Item]) -> None:
        end: MediaError | None = None
        try:
            for item in stream:
                if self._stop.is_set():
                    return
                if isinstance(item, Picture):
                    item = Picture(time.monotonic() - self._begun, item.image)
                with suppress(queue.Full):
                    self._items.put_nowait(item)
        except MediaError as error:
            end = error
        finally:
            stream.close()  # type: ignore[attr-defined] # a generator
            while not self._stop.is_set():
                with suppress(queue.Full):
                    self._items.put(end, timeout=0.2)
                    break


def _begun(stream: Iterator[Any] | None) -> tuple[Iterator[Any] | None, MediaError | None]:
    """Return a stream of which the first item is decoded, and why there is none where there is none."""
    if stream is None:
        return None, None
    try:
        first = next(stream, None)
    except MediaError as error:
        return None, error
    return _joined(first, stream), None


def _joined(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    if first is not None:
        yield first
    yield from rest


def _cut(blocks: Iterable[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """Cut blocks into such of at most a length."""
    for block in blocks:
        for begin in range(0, len(block), length):
            yield block[begin : begin + length]
