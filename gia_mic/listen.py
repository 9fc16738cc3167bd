"""Turns sound, pictures and words that go on into an answer every half second."""

import logging
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gia_mic.config import ListenConfig
from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.media.live import Picture
from gia_mic.extract.settings import out_of_range
from gia_mic.inputs import Input
from gia_mic.predictor import Predictor
from gia_mic.runtime.listen import StreamAnswer
from gia_mic.streams import Item
from gia_mic.window import PictureWindow
from gia_mic.words import Words

__all__ = ["StreamPrediction", "listen", "sampling_rate"]

logger = logging.getLogger(__name__)

RATE_HZ = 16_000
"""Sampling rate of a stream of which the run takes no speech."""


@dataclass(frozen=True)
class StreamPrediction(StreamAnswer):
    """What a run says of the latest seconds of a stream, and what that rests on.

    Attributes:
        ages_s: For each modality that the run takes, how long before `time_s` its newest data is, in seconds; None
            where there is none in the window.
        modalities: Those that the answer rests on, whose data is no older than is allowed.
        text: Words that were heard in the window; None where no recogniser listens.
    """

    ages_s: dict[str, float | None] = field(default_factory=dict)
    modalities: tuple[str, ...] = ()
    text: str | None = None

    def entries(self) -> dict[str, Any]:
        """Return the answer, and what it rests on, as JSON values."""
        ages_s = {name: None if age is None else round(age, 3) for name, age in self.ages_s.items()}
        beside = {"modalities": list(self.modalities), "ages_s": ages_s}
        return {
            "time_s": round(self.time_s, 3),
            **super().entries(),
            **beside,
            **({} if self.text is None else {"text": self.text}),
        }


def listen(
    predictor: Predictor,
    stream: Iterable[Item],
    *,
    every_s: float = ListenConfig.every_s,
    window_s: float = ListenConfig.window_s,
    lag_s: float = ListenConfig.lag_s,
    reuse: bool = True,
    live: bool = False,
) -> Generator[StreamPrediction, None, None]:
    """Give an answer every so often from what has come of a stream; what comes after the last full step has none.

    The stream's time is that of its sound. Where the sound is late by a step, or there is none, it is that of its
    pictures.

    Args:
        predictor: Runs that take speech, pictures, or text that their recogniser hears.
        stream: Blocks of any size of samples (n,) float32 at `sampling_rate`, and pictures, as they come.
        every_s: As in `ListenConfig`, like the next two.
        window_s: The first answers rest on what there is.
        lag_s: What is older is missing for an answer, rather than taken for the present.
        reuse: Whether to re-use what two windows share, as `gia_mic.window` says.
        live: Whether the stream comes at its own pace. Then words are recognised beside it, as fast as the machine can;
            otherwise for each answer.

    Raises:
        RunError: The runs take nothing of a stream, or the times can't be.
        EncoderError: The window doesn't fit the encoder.
    """
    config = ListenConfig(every_s, window_s, lag_s)
    if problems := out_of_range(config):
        raise RunError(f"Listening can't begin: {'; '.join(problems)}.")
    senses = _Senses(predictor, config, reuse=reuse, live=live)
    try:
        for time_s in senses.steps(stream):
            if (answer := senses.answer(time_s)) is not None:
                yield answer
    finally:
        senses.close()


def sampling_rate(predictor: Predictor) -> int:
    """Return the sampling rate in Hz of the sound that a predictor listens to."""
    spec = predictor.encoders.specs.get("speech")
    return RATE_HZ if spec is None else int(spec["sampling_rate_hz"])


class _Senses:
    """What has come of a stream, as the frames of each modality."""

    def __init__(self, predictor: Predictor, config: ListenConfig, *, reuse: bool, live: bool) -> None:
        self._predictor, self._config = predictor, config
        self._encoders = predictor.encoders
        recogniser = self._encoders.recogniser if "text" in predictor.modalities else None
        takes = [name for name in predictor.modalities if name != "text" or recogniser is not None]
        if "visual" in takes and self._encoders.specs["visual"].get("code") is not None:
            logger.warning("Pictures are left out: encoders that others wrote see films as a whole, not as they come.")
            takes.remove("visual")
        if not takes:
            way_out = ", or name a recogniser with --transcribe" if "text" in predictor.modalities else ""
            raise RunError(
                f"The run takes {one_line(predictor.modalities)} and no speech: listen with another{way_out}."
            )
        self._encoders.load(takes)
        self.rate = sampling_rate(predictor)
        self._ears = self._encoders.window(config.window_s, reuse=reuse) if "speech" in takes else None
        self._eyes = PictureWindow(self._encoders["visual"], config.window_s) if "visual" in takes else None
        self._step = max(round(config.every_s * self.rate), 1)
        self._buffer = np.empty(0, np.float32)
        self._heard = 0  # samples so far
        self._begun = 0.0  # when the work for the next answer began
        self._speech: np.ndarray | None = None
        self._text: tuple[str, np.ndarray | None] = "", None
        self._words = None
        if recogniser is not None:
            self._words = Words(recogniser, config.window_s, self.rate, beside=live)

    def close(self) -> None:
        """End what goes on beside."""
        if self._words is not None:
            self._words.close()

    def steps(self, stream: Iterable[Item]) -> Iterator[float]:
        """Take a stream in, and give each moment, in seconds, at which there is to be an answer."""
        number = 0  # of the last step that was given
        for item in stream:
            self._begun = time.perf_counter()
            if isinstance(item, Picture):
                behind = 1 if self._heard or len(self._buffer) else 0  # pictures may run ahead of sound by a step
                while item.time_s * self.rate >= (number + 1 + behind) * self._step:
                    number += 1
                    yield number * self._step / self.rate
                if self._eyes is not None:
                    self._eyes.push(item)
                continue
            self._buffer = np.concatenate([self._buffer, item])
            while len(self._buffer) >= self._step:
                self._hear(self._buffer[: self._step])
                self._buffer = self._buffer[self._step :]
                if self._heard >= (number + 1) * self._step:
                    number += 1
                    yield number * self._step / self.rate
                self._begun = time.perf_counter()

    def _hear(self, samples: np.ndarray) -> None:
        self._heard += len(samples)
        if self._words is not None:
            self._words.push(samples)
        if self._ears is not None:
            self._speech = self._ears.push(samples)

    def answer(self, time_s: float) -> StreamPrediction | None:
        """Return the answer at a moment; None where no modality has anything to say of it."""
        frames: dict[str, np.ndarray] = {}
        ends: dict[str, float] = {}
        if self._speech is not None:
            frames["speech"], ends["speech"] = self._speech, self._heard / self.rate
        text = None
        if self._words is not None:
            text, heard_to_s = self._words.latest()
            if (text_frames := self._text_frames(text)) is not None:
                frames["text"], ends["text"] = text_frames, heard_to_s
        if self._eyes is not None and (picture_frames := self._eyes.frames(time_s)) is not None:
            frames["visual"], ends["visual"] = picture_frames
        ages_s = {name: max(time_s - ends[name], 0.0) if name in ends else None for name in self._predictor.modalities}
        fresh = {name: frames[name] for name, age in ages_s.items() if age is not None and age <= self._config.lag_s}
        if not fresh:
            return None
        answers = self._predictor.fuse([fresh]).mean((0, 1))
        return StreamPrediction(
            target=self._predictor.target,
            values=self._predictor.named(answers),
            time_s=time_s,
            seconds=time.perf_counter() - self._begun,
            ages_s=ages_s,
            modalities=tuple(fresh),
            text=text,
        )

    def _text_frames(self, text: str) -> np.ndarray | None:
        """Return the frames (T, D) of a text, which are computed when it changes; None where it is empty."""
        if text != self._text[0]:
            [encoded] = self._encoders.encode([Input(text=text)]) if text else [None]
            self._text = text, None if encoded is None else encoded.frames.get("text")
        return self._text[1]
