"""Turns single recordings and transcripts into frames, each modality by an encoder that was recorded."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gia_mic.extract import media, plan
from gia_mic.extract.corpus import MODALITIES, Clip
from gia_mic.extract.device import batch_positions
from gia_mic.extract.encoders.contract import EncodeJob, Encoder
from gia_mic.extract.errors import MediaError
from gia_mic.extract.names import mended
from gia_mic.extract.pipeline import encode_all, encode_one, reason, side_by_side
from gia_mic.extract.store import FAILED, Item
from gia_mic.rebuild import rebuild
from gia_mic.window import OwnWindow, SpeechWindow

if TYPE_CHECKING:
    from gia_mic.extract.encoders.recogniser import Recogniser

__all__ = ["Encoders", "Input", "InputFrames", "encode_inputs"]

logger = logging.getLogger(__name__)

LOOK_RATE_HZ = 16_000
"""Sampling rate of sound that is looked at."""


@dataclass(frozen=True)
class Input:
    """What there is of one utterance; a modality that is None is missing.

    Attributes:
        audio: Sound or video file, a `Clip` of one, or samples (n,) or (n, channels).
        text: Transcript.
        video: Video file, or a `Clip` of one.
        sampling_rate_hz: Sampling rate of samples, in Hz; None for files.
        id: Name of the utterance in answers and errors.
    """

    audio: str | Path | Clip | np.ndarray | None = None
    text: str | None = None
    video: str | Path | Clip | None = None
    sampling_rate_hz: int | None = None
    id: str = "the input"

    def by_modality(self) -> dict[str, Any]:
        """Return the modalities that there are, and what there is of each."""
        values = dict(zip(MODALITIES.values(), (self.audio, self.text, self.video), strict=True))
        return {name: value for name, value in values.items() if value is not None}

    def job(self, modality: str) -> EncodeJob:
        """Return one modality as work for its encoder.

        Raises:
            MediaError: Samples come without their sampling rate.
        """
        value = self.by_modality()[modality]
        if modality == "text":
            return EncodeJob(self.id, "", text=mended(value))
        if isinstance(value, np.ndarray):
            if self.sampling_rate_hz is None:
                raise MediaError(f"The samples of {self.id} come without a sampling rate: give sampling_rate_hz.")
            duration_s = len(value) / max(self.sampling_rate_hz, 1)
            return EncodeJob(self.id, "", sound=(value, self.sampling_rate_hz), duration_s=duration_s)
        clip = value if isinstance(value, Clip) else Clip(str(value))
        return EncodeJob(self.id, "", path=Path(clip.path), clip=clip)


@dataclass(frozen=True)
class InputFrames:
    """The frames of one input.

    Attributes:
        frames: (T, D) by modality, as a feature file holds them.
        failed: Reason by modality, where frames couldn't be made.
        notes: Remarks by modality, such as pictures that were left out because they show no face.
    """

    frames: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


class Encoders:
    """The encoders of some modalities, each loaded when an input first needs it.

    Args:
        specs: Recorded spec of each modality's encoder, as `EncoderSpec.canonical` gives it.
        folders: Folders of weights that are not the hub's, by modality.
        device: cpu, cuda or cuda:N.
        run_dir: The run that recorded them, which has the code of those that others wrote.
        precision: What all of ours compute in; None takes what was recorded.
        trust: Run such code.
    """

    def __init__(
        self,
        specs: Mapping[str, Mapping[str, Any]],
        folders: Mapping[str, str],
        device: str = "cpu",
        run_dir: Path | None = None,
        *,
        precision: str | None = None,
        trust: bool = False,
    ) -> None:
        self.specs, self.folders, self.device, self.precision = dict(specs), dict(folders), device, precision
        self._run_dir, self._trust = run_dir, trust
        self._loaded: dict[str, Encoder] = {}
        self._recogniser: Recogniser | None = None

    def __getitem__(self, modality: str) -> Any:
        """Return the encoder of a modality, loaded.

        Raises:
            EncoderError: It can't be found, or would make other frames than were recorded.
        """
        self.load([modality])
        return self._loaded[modality]

    def load(self, modalities: Iterable[str]) -> None:
        """Load the encoders of modalities side by side, those that aren't yet.

        Raises:
            EncoderError: One can't be found, or would make other frames than were recorded.
        """
        from gia_mic.extract.encoders.deferred import without_compiler
        from gia_mic.extract.encoders.pretrained import BUILDING

        def load_one(modality: str) -> Encoder:
            with BUILDING, without_compiler():
                encoder = rebuild(
                    self.specs[modality],
                    self.folders.get(modality),
                    self._run_dir,
                    precision=self.precision,
                    trust=self._trust,
                )
            return encoder.to(self.device)

        absent = [modality for modality in modalities if modality not in self._loaded]
        if len(absent) < 2:
            encoders = [load_one(modality) for modality in absent]
        else:
            threads = torch.get_num_threads()
            with ThreadPoolExecutor(len(absent), "load", torch.set_num_threads, (threads,)) as loaders:
                encoders = list(loaders.map(load_one, absent))
            torch.set_num_threads(threads)  # threads begun later compute as this one does
        for modality, encoder in zip(absent, encoders, strict=True):
            folder = self.folders.get(modality)
            origin = f" from {folder}" if folder else ""
            logger.info(f"{modality}: {encoder.spec.name} {encoder.header.fingerprint}{origin}")
            computed, trained = encoder.spec.precision, self.specs[modality].get("precision")
            if encoder.spec.code is not None and self.precision:
                logger.info(
                    f"{modality}: {encoder.spec.name} computes as its author wrote it, not in {self.precision}."
                )
            if computed != trained:
                logger.info(
                    f"{modality}: frames in {computed} differ a little from those in {trained} that the run was "
                    "trained on."
                )
            self._loaded[modality] = encoder

    @property
    def recogniser(self) -> "Recogniser | None":
        """What hears the text where none is given, loaded; None where nothing does."""
        return self._recogniser

    @property
    def loaded(self) -> tuple[str, ...]:
        """The modalities whose encoders are loaded."""
        return tuple(self._loaded)

    def encode(self, inputs: Sequence[Input]) -> list[InputFrames]:
        """Return the frames of inputs, in all modalities that both they and the encoders have.

        Raises:
            EncoderError: An encoder can't be found, or would make other frames than were recorded.
        """
        encoded = [InputFrames() for _ in inputs]
        modalities = [name for name in self.specs if any(name in utterance.by_modality() for utterance in inputs)]
        self.load(modalities)
        for modality in modalities:
            items = encode_inputs(self[modality], inputs, modality, self.device)
            for input_frames, item in zip(encoded, items, strict=True):
                if item is None:
                    continue
                if item.status == FAILED or item.frames is None:
                    input_frames.failed[modality] = item.reason
                else:
                    input_frames.frames[modality] = item.frames
                    input_frames.notes.update({modality: item.reason} if item.reason else {})
        return encoded

    def listen_with(self, model: str, revision: str | None = None, language: str | None = None) -> None:
        """Load a recogniser of words, for `transcribed`.

        Raises:
            EncoderError: The model can't be found, or recognises no words.
        """
        from gia_mic.extract.encoders.recogniser import make_recogniser

        recogniser = make_recogniser(model, revision, language)
        recogniser.to(self.device)
        self._recogniser = recogniser
        logger.info(f"text: what {recogniser.spec.name} hears, where none is given")

    def transcribed(self, inputs: Sequence[Input]) -> tuple[list[Input], dict[int, str]]:
        """Return inputs with the text that is heard in their sound, where they have sound and no text.

        Also, by number of the input, why nothing was heard in others.
        """
        if self._recogniser is None:
            return list(inputs), {}
        mute = [utterance if utterance.text is None else replace(utterance, audio=None) for utterance in inputs]
        with_text, failed = list(inputs), {}
        for number, item in enumerate(encode_inputs(self._recogniser, mute, "speech", self.device)):
            if item is None:
                continue
            text = "" if item.frames is None else self._recogniser.text(item.frames)
            if text:
                with_text[number] = replace(inputs[number], text=text)
            else:
                failed[number] = item.reason or "no words were heard"
        return with_text, failed

    def sound_and_pictures(
        self, utterance: Input, modalities: Sequence[str]
    ) -> tuple[tuple[np.ndarray, int] | None, np.ndarray | None]:
        """Return what there is to look at in an input: samples (n,) with their rate, and pictures, of `modalities`.

        The pictures (n, height, width, 3) uint8 are cut and scaled as the encoder sees them.
        """
        sound = pictures = None
        if "speech" in modalities:
            job = utterance.job("speech")
            if job.sound is not None:
                blocks = media.stream_samples(*job.sound, LOOK_RATE_HZ)
            else:
                assert job.path is not None
                assert job.clip is not None
                blocks = media.stream_audio(job.path, LOOK_RATE_HZ, job.clip.start_s, job.clip.end_s)
            sound = np.concatenate(list(blocks)), LOOK_RATE_HZ
        if "visual" in modalities:
            pictures = self["visual"].pictures(utterance.job("visual"))
        return sound, pictures

    @property
    def knows_spans(self) -> bool:
        """Whether the text's encoder can say what its frames stand for; one that others wrote can't."""
        return self["text"].spec.code is None

    def spans(self, utterance: Input) -> list[tuple[int, int] | None]:
        """Return where in the transcript each of its tokens begins and ends; None for one that only marks."""
        return self["text"].spans(utterance.job("text"))

    def window(self, length_s: float, *, reuse: bool = True) -> SpeechWindow | OwnWindow:
        """Return a window over a stream of sound, with its own state; see `gia_mic.window`."""
        encoder = self["speech"]
        if encoder.spec.code is not None:
            return OwnWindow(encoder, length_s)
        return SpeechWindow(encoder, length_s, reuse=reuse)


def encode_inputs(
    encoder: Encoder,
    inputs: Sequence[Input],
    modality: str,
    device: str,
    on_done: Callable[[int], None] | None = None,
) -> list[Item | None]:
    """Encode one modality of inputs, together where that is faster; None for an input without.

    Args:
        encoder: The encoder, loaded.
        inputs: The inputs.
        modality: speech, text or visual.
        device: Where the encoder is.
        on_done: Called with the number of inputs that got done.
    """
    on_done = on_done or (lambda count: None)
    encoded: list[Item | None] = [None] * len(inputs)
    numbers = {utterance.id: number for number, utterance in enumerate(inputs)}
    if len(numbers) < len(inputs):  # a name is for messages; work needs a key
        inputs = [replace(utterance, id=f"{utterance.id} ({number + 1})") for number, utterance in enumerate(inputs)]
        numbers = {utterance.id: number for number, utterance in enumerate(inputs)}
    jobs = []
    for utterance in inputs:
        if modality in utterance.by_modality():
            try:
                jobs.append(_sized(utterance.job(modality), encoder))
            except (MediaError, OSError, ValueError) as error:
                encoded[numbers[utterance.id]] = Item(utterance.id, "", status=FAILED, reason=reason(error))
                on_done(1)
    budget = batch_positions(device)
    if len(jobs) == 1:
        encoded[numbers[jobs[0].id]] = encode_one(encoder, jobs[0], budget)
        on_done(1)
        return encoded
    batches = plan.batches(jobs, budget, seed="")
    encoders = side_by_side(encoder, device, len(batches))
    with closing(encode_all(encoders, batches, budget, threading.Event())) as results:
        for items in results:
            on_done(len(items))
            for item in items:
                encoded[numbers[item.id]] = item
    return encoded


def _sized(job: EncodeJob, encoder: Encoder) -> EncodeJob:
    """Return a job with its size.

    Raises:
        MediaError: It can't be looked at.
    """
    length_s = media.duration_s(job.path) if job.path is not None else job.duration_s
    if job.clip is not None:
        length_s = max((length_s if job.clip.end_s is None else job.clip.end_s) - (job.clip.start_s or 0.0), 0.0)
    job = replace(job, duration_s=length_s)
    return replace(job, size=encoder.size(job))
