"""Turns a microphone's sound, piece by piece, into answers to its latest seconds."""

import time

import numpy as np
import soxr

from gia_mic.config import ListenConfig
from gia_mic.listen import StreamPrediction
from gia_mic.predictor import Predictor

__all__ = ["LiveSpeech"]


class LiveSpeech:
    """The speech of one session.

    Where an answer takes longer than the sound that it waited for, the next one waits for as much sound as that took:
    a slow machine answers more rarely, but never falls behind.

    Args:
        predictor: Runs that take speech.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        most_s = predictor.encoders["speech"].spec.window_s or ListenConfig.window_s  # of others' there may be no limit
        self._window = predictor.encoders.window(min(ListenConfig.window_s, most_s))
        self._resampler: soxr.ResampleStream | None = None
        self._rate_hz = 0
        self._waiting: list[np.ndarray] = []
        self._heard_samples, self._seconds = 0, 0.0

    def push(self, samples: np.ndarray, rate_hz: int) -> StreamPrediction | None:
        """Take the next sound, and return the answer to the latest seconds, or None while more sound is awaited.

        Args:
            samples: (n,) float32, full scale ±1.
            rate_hz: Their sampling rate.
        """
        start, rate = time.perf_counter(), self._window.rate
        if rate_hz != self._rate_hz:
            self._resampler, self._rate_hz = soxr.ResampleStream(rate_hz, rate, 1, dtype="float32"), rate_hz
        assert self._resampler is not None
        self._waiting.append(self._resampler.resample_chunk(samples))
        waiting = sum(map(len, self._waiting))
        if waiting / rate < self._seconds:
            return None
        frames = self._window.push(np.concatenate(self._waiting))
        self._waiting, self._heard_samples = [], self._heard_samples + waiting
        if frames is None:
            return None
        answers = self._predictor.fuse([{"speech": frames}]).mean((0, 1))
        self._seconds = time.perf_counter() - start
        return StreamPrediction(
            target=self._predictor.target,
            values=self._predictor.named(answers),
            time_s=self._heard_samples / rate,
            seconds=self._seconds,
        )
