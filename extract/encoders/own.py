"""Fits an encoder that others wrote, an ordinary class, to what extraction expects of one.

Their class says which modality it takes and has one method, `frames`, which turns one input into frames. What else
extraction needs is done here: recordings are decoded, resampled, cut into windows or framed, answers are checked, and
all that shapes the frames goes into the fingerprint, the code among it.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gia_mic.extract import media, plugins
from gia_mic.extract.config import EncoderConfig
from gia_mic.extract.crop import stream_cropped
from gia_mic.extract.device import is_out_of_memory
from gia_mic.extract.encoders.batch import Pending
from gia_mic.extract.encoders.contract import TINY, EncodeJob, EncoderSpec, Window, piece_windows
from gia_mic.extract.encoders.own_class import ENCODER, FORM, REQUIRED, TAKEN
from gia_mic.extract.errors import EncoderError, MediaError, MerError, what_failed
from gia_mic.extract.notes import trusted_digest_of
from gia_mic.extract.plugin_settings import NoSettings, config_of, configured
from gia_mic.extract.plugins import Plugin, Source
from gia_mic.extract.settings import out_of_range
from gia_mic.extract.store import Header

__all__ = ["OwnEncoder"]

SAMPLING_RATES_HZ = range(1000, 10**6)
CONTEXT_S = 2.0
POSITIONS_HZ = 50
"""Positions for each second of sound, to tell how much there is to compute where frames aren't evenly spaced."""


class OwnEncoder:
    """An encoder that others wrote, as extraction sees it (`contract.Encoder`).

    Inputs reach it one at a time, so nothing is padded and none sees another. It is called by one thread at a time.

    Args:
        plugin: Its class.
        modality: Modality that is wanted of it; None takes whatever it encodes.
        settings: Its own settings, as values or as text.
        pool: As in `EncoderConfig`, like the next four.
        dtype: What is stored.
        window_s: Longer sound is cut, if its frames are evenly spaced; else it sees all of a recording.
        frame_rate_hz: Pictures of each second.
        crop: Part of each picture.
        weights: Folder or file that stands for its setting `weights`, where that has moved.

    Attributes:
        spec: What shapes the frames.
        source: Where its code comes from.

    Raises:
        EncoderError: It can't be made, or lacks something.
    """

    missing_bytes = 0
    revision = None

    def __init__(
        self,
        plugin: Plugin,
        modality: str | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        pool: str = EncoderConfig.pool,
        dtype: str = EncoderConfig.dtype,
        window_s: float = EncoderConfig.window_s,
        frame_rate_hz: float = EncoderConfig.frame_rate_hz,
        crop: str = EncoderConfig.crop,
        weights: str | None = None,
    ) -> None:
        self.source: Source = plugin.source
        self._name = plugins.short_name(f":{plugin.source.class_name}")
        self._where = f"{plugin.source.class_name} in {plugin.source.file}"
        if self._name == TINY:
            raise EncoderError(f"{self._where} would be called {self._name}, as one of ours: rename it.")
        self._lock = threading.Lock()
        config_class = config_of(ENCODER, plugin, 0, FORM, taken=TAKEN, optional=True)
        config = configured(config_class, settings or {}, f"The encoder {self._name}", EncoderError)
        if weights is not None:
            config = replace(config, weights=weights)
        problems = config.problems() if hasattr(config, "problems") else out_of_range(config)
        if problems:
            raise EncoderError(f"The encoder {self._name} can't be made: {'; '.join(problems)}.")
        self.config = config
        self._file = plugins.file_of(plugin.make)
        try:
            self._own: Any = plugin.make() if config_class is NoSettings else plugin.make(config)
        except Exception as error:
            if isinstance(error, MerError) or is_out_of_memory(error):
                raise
            why = what_failed(error, self._file)
            raise EncoderError(f"The encoder {self._name} can't be made ({why}): correct it.") from error
        self._modality = self._checked_modality(modality)
        rate = self._checked_rate() if self._modality == "speech" else None
        self._framing = self._checked_framing() if self._modality == "visual" else None
        self._location, settings_record = self._weights(asdict(config))
        of_sound = self._modality == "speech" and self._frame_rate_hz is not None
        self.spec = EncoderSpec(
            modality=self._modality,
            model=self._name,
            weights=plugin.source.digest,
            pool=pool,
            dtype=dtype,
            sampling_rate_hz=rate,
            window_s=window_s if of_sound else None,
            context_s=CONTEXT_S if of_sound else None,
            frame_rate_hz=frame_rate_hz if self._framing else None,
            crop=crop if self._framing and crop != EncoderConfig.crop else None,
            framing=None
            if self._framing is None
            else {
                "size": list(self._framing.size),
                "shortest_edge": None,
                "resample": self._framing.resample,
            },
            code={**plugin.source.record(), "settings": settings_record},
        )
        self._crop = crop

    @cached_property
    def header(self) -> Header:
        """What all frames have in common; a short input says how many features they have.

        Raises:
            EncoderError: It makes no frames of that.
        """
        try:
            frames = [self._own_frames(self.probe(length), "a short input", None) for length in (1, 2)]
        except MediaError as error:
            raise EncoderError(f"The encoder {self._name} makes no frames: {error}") from error
        dim, rate = frames[0].shape[1], self._frame_rate_hz
        if self._framing is not None:
            evenly = [len(part) for part in frames] == [1, 2] and self._crop != "face"
            rate = self.spec.frame_rate_hz if evenly else None
        header = self.spec.header(dim, rate)
        return replace(header, location=self._location, code=self.source.code or b"")

    @property
    def dim(self) -> int:
        """Features of a frame, D."""
        return self.header.dim

    @property
    def evenly_spaced_hz(self) -> float | None:
        """Frames of a second of sound, as the class states it; None where they aren't evenly spaced."""
        return self._frame_rate_hz if self._modality == "speech" else None

    @property
    def shortest(self) -> str:
        """The shortest input that `probe` gives for 0, in words."""
        return {"speech": "a tenth of a second of sound", "text": "one word", "visual": "one picture"}[self._modality]

    def probe(self, length: int, seed: int = 0) -> Any:
        """Return an input to try it on: seconds of noise, words or pictures; of length 0 the shortest.

        Args:
            length: Seconds, words or pictures.
            seed: Another one gives another input of this length.
        """
        generator = np.random.default_rng(seed)
        if self._modality == "speech":
            samples = int((length or 0.1) * self._rate)
            return generator.normal(0, 0.1, samples).astype(np.float32)
        if self._modality == "text":
            words = ("no", "way", "so", "sad", "today", "I", "am", "glad")
            return " ".join(generator.choice(words, max(length, 1)))
        assert self._framing is not None
        return generator.integers(0, 256, (max(length, 1), *self._framing.size, 3), dtype=np.uint8)

    def frames(self, value: Any, what: str = "an input") -> np.ndarray:
        """Return the frames (T, D) float32 of one input.

        Args:
            value: Sound (n,) float32, a text, or pictures (n, height, width, 3) uint8.
            what: What to call it in an error.

        Raises:
            MediaError: It fails, or gives something else.
        """
        return self._own_frames(value, what, self.dim)

    def size(self, job: EncodeJob) -> int:
        """Return about how much there is to compute for an utterance."""
        if self._modality == "text":
            return len((job.text or "").split()) + 1
        rate = self.spec.frame_rate_hz or self._frame_rate_hz or POSITIONS_HZ
        return max(round(job.duration_s * rate), 1)

    def pieces(self, job: EncodeJob) -> Iterator[Window]:
        """Decode an utterance and give its frames; they are computed here, so that a failure is this utterance's own.

        Raises:
            MediaError: It can't be decoded, or the encoder fails on it.
        """
        if self._modality == "text":
            if not job.text or not job.text.strip():
                raise MediaError(
                    f"The transcript of {job.id} is empty: fill it in, or leave the text out of the manifest."
                )
            yield _piece(self.frames(job.text, job.id))
        elif self._modality == "visual":
            pictures, note = self._pictures(job)
            yield _piece(self.frames(pictures, job.id), note)
        else:
            yield from self._sound_pieces(job)

    def pictures(self, job: EncodeJob) -> np.ndarray:
        """Return the pictures (n, height, width, 3) uint8 that it sees of an utterance."""
        return self._pictures(job)[0]

    def encode(self, pieces: Sequence[Window]) -> list[np.ndarray]:
        """Return each piece's frames (T, D) float32."""
        return self.begin(pieces).frames()

    def begin(self, pieces: Sequence[Window], dtype: str = "float32") -> Pending:
        """Give the frames of pieces in the type they are stored in."""
        rows = torch.from_numpy(np.concatenate([piece.values for piece in pieces]))
        return Pending(rows, [len(piece.values) for piece in pieces], dtype)

    def to(self, device: str) -> "OwnEncoder":
        """Have it compute on a device, where it has a method `to`.

        Raises:
            EncoderError: That fails.
        """
        if hasattr(self._own, "to"):
            try:
                with self._lock:
                    self._own.to(device)
            except Exception as error:
                why = what_failed(error, self._file)
                raise EncoderError(f"The encoder {self._name} can't go to {device} ({why}): correct it.") from error
        return self

    @property
    def _rate(self) -> int:
        assert self.spec.sampling_rate_hz is not None
        return self.spec.sampling_rate_hz

    @property
    def _frame_rate_hz(self) -> float | None:
        rate = getattr(self._own, "frame_rate_hz", None)
        return None if rate is None else float(rate)

    def _sound_pieces(self, job: EncodeJob) -> Iterator[Window]:
        notes: list[str] = []
        start_s, end_s = (job.clip.start_s, job.clip.end_s) if job.clip else (None, None)
        if job.sound is not None:
            blocks = media.stream_samples(*job.sound, self._rate, notes)
        else:
            assert job.path is not None
            blocks = media.stream_audio(job.path, self._rate, start_s, end_s, notes)
        samples = np.concatenate([np.empty(0, np.float32), *blocks])
        if not len(samples):
            raise MediaError(f"{job.path or job.id} has no sound: leave the utterance out.")
        note, rate = "; ".join(notes), self._frame_rate_hz
        if rate is None or self.spec.window_s is None or len(samples) <= self.spec.window_s * self._rate:
            yield _piece(self.frames(samples, job.id), note)
            return
        hop = self._rate / rate
        context, most = round(CONTEXT_S * rate), round(self.spec.window_s * rate)
        for begin, end, keep in piece_windows(int(len(samples) / hop), most, context):
            last = (end - begin) == keep.stop
            window = samples[round(begin * hop) : None if last else round(end * hop)].copy()
            frames = self.frames(window, job.id)[keep.start : None if last else keep.stop]
            if not len(frames) or (not last and len(frames) != keep.stop - keep.start):
                raise MediaError(
                    f"{self._name} gives too few frames of {len(window) / self._rate:.3g} s of {job.id} for the "
                    f"frame_rate_hz of {rate:g} that it states: correct it."
                )
            yield _piece(frames, note)

    def _pictures(self, job: EncodeJob) -> tuple[np.ndarray, str]:
        """Return pictures (n, height, width, 3) and a note on those that show no face."""
        assert job.path is not None
        assert self._framing is not None
        assert self.spec.frame_rate_hz is not None
        pictures = list(stream_cropped(job.path, job.clip, self.spec.frame_rate_hz, self._framing, self._crop))
        visible = [picture for picture in pictures if picture is not None]
        if not visible:
            raise MediaError(f"no face in any of {len(pictures)} pictures")
        without = len(pictures) - len(visible)
        return np.stack(visible), f"no face in {without} of {len(pictures)} pictures" if without else ""

    def _own_frames(self, value: Any, what: str, dim: int | None) -> np.ndarray:
        """Return frames of a width; None takes any."""
        try:
            with self._lock, torch.inference_mode():
                answer = self._own.frames(value)
            if isinstance(answer, torch.Tensor):
                answer = answer.detach().float().cpu().numpy()
            frames = np.array(answer, dtype=np.float32)
        except Exception as error:
            if isinstance(error, MerError):
                raise
            raise MediaError(f"{self._name} fails on {what} ({what_failed(error, self._file)}): correct it.") from error
        if frames.ndim != 2 or not frames.shape[1]:
            raise MediaError(f"{self._name} gives an array of shape {frames.shape} for {what}: give frames (T, D).")
        if not len(frames):
            raise MediaError(f"{self._name} gives no frame for {what}: give at least one, or raise an error.")
        if dim not in (None, frames.shape[1]):
            raise MediaError(
                f"{self._name} gives frames of {frames.shape[1]} features for {what} and of {dim} for other inputs: "
                "give all the same."
            )
        if not np.isfinite(frames).all():
            raise MediaError(f"{self._name} gives NaN or infinity for {what}: give finite numbers.")
        return frames

    def _checked_modality(self, choice: str | None) -> str:
        modality = getattr(self._own, "modality", None)
        if modality not in ("speech", "text", "visual"):
            raise EncoderError(
                f"{self._where} has the modality {modality!r}: write modality = 'speech', 'text' or 'visual'."
            )
        if not callable(getattr(self._own, "frames", None)):
            raise EncoderError(f"{self._where} has no method frames: write {REQUIRED[modality]}.")
        if choice not in (None, modality):
            raise EncoderError(f"The encoder {self._name} is one of {modality}, not of {choice}: choose that modality.")
        return str(modality)

    def _checked_rate(self) -> int:
        rate = getattr(self._own, "sampling_rate_hz", None)
        if not isinstance(rate, int) or rate not in SAMPLING_RATES_HZ:
            raise EncoderError(
                f"{self._where} has the sampling_rate_hz {rate!r}: write a whole number from {SAMPLING_RATES_HZ.start}."
            )
        frame_rate = getattr(self._own, "frame_rate_hz", None)
        if frame_rate is not None and not (isinstance(frame_rate, int | float) and 0 < frame_rate <= rate):
            raise EncoderError(
                f"{self._where} has the frame_rate_hz {frame_rate!r}: write how many frames a second of sound has, or "
                "None where they aren't evenly spaced."
            )
        return rate

    def _checked_framing(self) -> media.Framing:
        size = getattr(self._own, "picture_size", None)
        if (
            not isinstance(size, tuple | list)
            or len(size) != 2
            or not all(isinstance(side, int) and side > 0 for side in size)
        ):
            raise EncoderError(f"{self._where} has the picture_size {size!r}: write (height, width) in pixels.")
        return media.Framing((size[0], size[1]))

    def _weights(self, settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return where its weights lie, and its settings as they are recorded: with their digest instead.

        Raises:
            EncoderError: They don't lie there.
        """
        location = settings.get("weights")
        if not location:
            return "", settings
        path = Path(str(location))
        if not path.exists():
            raise EncoderError(f"The encoder {self._name} has its weights in {path}, which isn't there: give the path.")
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        root = path if path.is_dir() else path.parent  # whatever the folder is called
        return str(path.resolve()), settings | {"weights": trusted_digest_of(files, root)}


def _piece(frames: np.ndarray, note: str = "") -> Window:
    return Window(frames, slice(0, len(frames)), len(frames), note)
