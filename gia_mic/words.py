"""Turns the latest seconds of a stream into the words that a recogniser hears in them, again and again."""

import threading
from typing import TYPE_CHECKING

import numpy as np

from gia_mic.extract.encoders.contract import EncodeJob
from gia_mic.extract.errors import MediaError
from gia_mic.extract.media.voice import Ear

if TYPE_CHECKING:
    from gia_mic.extract.encoders.recogniser import Recogniser

__all__ = ["Words"]


class Words:
    """The words of the latest seconds.

    A recogniser reads those seconds whole each time, as the words at their end change what is heard before.

    Args:
        recogniser: A recogniser, loaded.
        length_s: How many seconds it reads.
        sampling_rate_hz: Sampling rate of what it is fed.
        beside: Whether a thread of its own reads, as fast as it can, while other things go on. Then the words are those
            of the last reading that ended; else `latest` reads.
    """

    def __init__(self, recogniser: "Recogniser", length_s: float, sampling_rate_hz: int, *, beside: bool) -> None:
        self._recogniser, self._rate = recogniser, sampling_rate_hz
        self._most = max(round(length_s * sampling_rate_hz), 1)
        self._sound = np.empty(0, np.float32)
        self._end = 0  # of the stream's samples so far
        self._read_to = 0  # of those that were read
        self._text = ""
        self._news = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._go_on, name="words", daemon=True) if beside else None
        if self._thread is not None:
            self._thread.start()

    def push(self, samples: np.ndarray) -> None:
        """Take the next samples (n,) float32."""
        with self._news:
            self._sound = np.concatenate([self._sound, samples])[-self._most :]
            self._end += len(samples)
            self._news.notify()

    def latest(self) -> tuple[str, float]:
        """Return the words that were heard, and the end of the sound that they were heard in, in seconds."""
        if self._thread is None:
            self._read()
        with self._news:
            if self._error is not None:
                raise self._error
            return self._text, self._read_to / self._rate

    def close(self) -> None:
        """End the thread, after what it is reading."""
        with self._news:
            self._ended = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join()

    def _go_on(self) -> None:
        try:
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._ended or self._end > self._read_to)
                    if self._ended:
                        return
                self._read()
        except BaseException as error:  # raised where the words are asked for
            with self._news:
                self._error = error

    def _read(self) -> None:
        with self._news:
            sound, end = self._sound, self._end
            if end == self._read_to:
                return
        text = self._recognise(sound)
        with self._news:
            self._text, self._read_to = text, end

    def _recognise(self, sound: np.ndarray) -> str:
        ear = Ear()
        ear.hear(sound, self._rate)
        if ear.note:  # recognisers hear words in silence
            return ""
        try:
            pieces = list(self._recogniser.pieces(EncodeJob("the stream", "", sound=(sound, self._rate))))
        except MediaError:  # too short
            return ""
        return self._recogniser.text(np.concatenate(self._recogniser.encode(pieces)))
