"""Says what an encoder is, and turns all that shapes its frames into a fingerprint."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gia_mic.extract.config import EncoderConfig
from gia_mic.extract.corpus import Clip
from gia_mic.extract.encoders.weights import Weights
from gia_mic.extract.errors import EncoderError, one_line
from gia_mic.extract.settings import out_of_range
from gia_mic.extract.store import Header

if TYPE_CHECKING:
    import torch

    from gia_mic.extract.encoders.batch import Pending

__all__ = [
    "TINY",
    "EncodeJob",
    "Encoder",
    "EncoderSpec",
    "Window",
    "check_layers",
    "pick_layers",
    "piece_windows",
    "pool",
]

EXTRACTOR_VERSION = 1
"""Raised whenever the same spec would give other values than before."""

TINY = "tiny"
"""Name of the offline encoders with seeded random weights."""


@dataclass(frozen=True)
class EncoderSpec:
    """Everything that changes the value of a frame: what `EncoderConfig` declares, and what follows from the model.

    Attributes:
        modality: speech, text or visual.
        model: Hub id, or the name of a local folder.
        weights: Commit of the hub, or digest of the folder's files.
        weights_file: File of weights that was read where they are not safetensors, such as pytorch_model.bin.
        layers: As in `EncoderConfig`, like the next three; the layers lie side by side in D.
        pool: Frames to average.
        precision: What the model computes in.
        dtype: What is stored.
        sampling_rate_hz: Sound is resampled to this.
        window_s: As in `EncoderConfig`; None but for speech.
        context_s: How much of each neighbour a window sees on either side, of which no frame is kept.
        normalise: Whether each recording is brought to zero mean and unit variance, as the model was trained.
        window_tokens: Longer text goes through the model in windows of so many tokens.
        context_tokens: As `context_s`, in tokens.
        frame_rate_hz: As in `EncoderConfig`; None but for pictures.
        crop: As in `EncoderConfig`; None is its default, which feature files don't name.
        framing: How pictures are cut, scaled and normalised, and how a face is found.
        version: Version of this extractor.
    """

    modality: str
    model: str
    weights: str
    weights_file: str | None = None
    layers: tuple[int, ...] | str = EncoderConfig.layers
    pool: str = EncoderConfig.pool
    precision: str = EncoderConfig.precision
    dtype: str = EncoderConfig.dtype
    sampling_rate_hz: int | None = None
    window_s: float | None = None
    context_s: float | None = None
    normalise: bool | None = None
    window_tokens: int | None = None
    context_tokens: int | None = None
    frame_rate_hz: float | None = None
    crop: str | None = None
    framing: dict[str, Any] | None = None
    version: int = EXTRACTOR_VERSION

    def __post_init__(self) -> None:
        problems = out_of_range(self, EncoderConfig)
        if self.pool not in ("none", "utterance") and not (self.pool.isdigit() and int(self.pool) > 0):
            problems.append(f"pool is {self.pool!r}, and must be none, utterance, or a number of frames from 1")
        if problems:
            raise EncoderError(f"The {self.modality} encoder {self.model} can't be made: {'; '.join(problems)}.")

    def canonical(self) -> dict[str, Any]:
        """Return the fields that are set, JSON-like."""
        return {name: value for name, value in json.loads(json.dumps(asdict(self))).items() if value is not None}

    @property
    def fingerprint(self) -> str:
        """Hash of the whole spec, 12 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.canonical(), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """Short name for people and file names."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.model.rstrip("/").rpartition("/")[2]).strip("-.") or "encoder"

    @property
    def layer_count(self) -> int:
        """How many layers lie side by side in D."""
        return 1 if isinstance(self.layers, str) else len(self.layers)

    def header(self, hidden_size: int, frame_rate_hz: float | None = None, weights: Weights | None = None) -> Header:
        """Return what all frames have in common.

        Args:
            hidden_size: Features of one hidden layer.
            frame_rate_hz: Frames per second before pooling; None where they are not evenly spaced.
            weights: Where the model lies; None for the offline ones.
        """
        if self.pool == "utterance":
            frame_rate_hz = None
        elif frame_rate_hz is not None and self.pool != "none":
            frame_rate_hz /= int(self.pool)
        return Header(
            modality=self.modality,
            encoder=self.name,
            fingerprint=self.fingerprint,
            spec=self.canonical(),
            dim=hidden_size * self.layer_count,
            dtype=self.dtype,
            frame_rate_hz=frame_rate_hz,
            location="" if weights is None else weights.folder,
        )


@dataclass(frozen=True)
class EncodeJob:
    """One utterance to encode.

    Attributes:
        id: Utterance id.
        source: Digest of the input.
        text: Transcript, for text.
        path: File, for speech and visual.
        sound: Instead of a file, samples (n,) or (n, channels) and their sampling rate in Hz, for speech.
        clip: Which stretch of the file.
        duration_s: Length of that stretch in seconds.
        size: About how many positions the model has to compute, for balanced batches.
    """

    id: str
    source: str
    text: str | None = None
    path: Path | None = None
    sound: tuple[np.ndarray, int] | None = None
    clip: Clip | None = None
    duration_s: float = 0.0
    size: int = 0


@dataclass(frozen=True)
class Window:
    """One window of an utterance, ready for the model.

    Attributes:
        values: Samples (n,) float32, a spectrogram (mels, n) float32, token ids (n,) int64, or pictures
            (n, height, width, 3) uint8.
        keep: Which of the window's frames belong to the result; the others are context.
        size: Positions that the model computes for it.
        note: What to record of the utterance, such as how many pictures were left out.
    """

    values: np.ndarray
    keep: slice
    size: int
    note: str = ""


class Encoder(Protocol):
    """What each modality's encoder offers to `extract.run`."""

    spec: EncoderSpec

    @property
    def header(self) -> Header:
        """What all frames have in common; known before the weights are loaded."""

    @property
    def missing_bytes(self) -> int:
        """How much has to be downloaded before the weights can be loaded."""

    def size(self, job: EncodeJob) -> int:
        """Return about how many positions the model has to compute for an utterance."""

    def pieces(self, job: EncodeJob) -> Iterator[Window]:
        """Decode an utterance into windows; called in worker threads."""

    def encode(self, pieces: Sequence[Window]) -> list[np.ndarray]:
        """Return each piece's kept frames (T, D) float32; what else is in the batch changes nothing."""

    def begin(self, pieces: Sequence[Window], dtype: str = "float32") -> "Pending":
        """Have frames computed as `encode` does, in the type they are stored in, without waiting for an accelerator."""

    def to(self, device: str) -> "Encoder":
        """Load the weights, if they aren't yet, onto a device, and return the encoder."""


def pick_layers(outputs: Any, layers: tuple[int, ...] | str) -> "torch.Tensor":
    """Return the wanted hidden layers side by side, (B, T, L · H), or their mean (B, T, H).

    Args:
        outputs: What a transformers encoder returned, with hidden states unless `layers` is (-1,).
        layers: As in `EncoderSpec`.
    """
    import torch

    if layers == (-1,):
        return outputs.last_hidden_state
    if layers == "mean":
        return torch.stack(outputs.hidden_states[1:]).mean(dim=0)
    return torch.cat([outputs.hidden_states[layer] for layer in layers], dim=-1)


def check_layers(layers: tuple[int, ...] | str, count: int, name: str) -> None:
    """Refuse layers that a model of `count` transformer layers doesn't have.

    Raises:
        EncoderError: There are such layers, or none is given.
    """
    if layers == "mean":
        return
    wrong = [layer for layer in layers if not (isinstance(layer, int) and -count - 1 <= layer <= count)]
    if wrong or not layers:
        raise EncoderError(
            f"{name} has no layers {one_line(wrong) or '()'}: choose from 0 (the embeddings) to {count}, from -1 (the "
            f"last) back to -{count}, or mean."
        )


def piece_windows(length: int, window: int, context: int) -> Iterator[tuple[int, int, slice]]:
    """Cut `length` positions into windows that overlap, of which the kept parts tile it.

    Args:
        length: Positions in all, ≥ 1.
        window: Most positions in a window.
        context: Positions that a window sees of each neighbour without keeping them.

    Yields:
        Begin and end of a window, and which of its positions to keep.

    >>> list(piece_windows(5, 8, 2))
    [(0, 5, slice(0, 5, None))]
    >>> list(piece_windows(10, 8, 2))
    [(0, 8, slice(0, 6, None)), (4, 10, slice(2, 6, None))]
    """
    if window <= 2 * context:
        raise EncoderError(
            f"A window of {window} positions has no room for {context} of context on both sides: widen it."
        )
    if length <= window:
        yield 0, length, slice(0, length)
        return
    keep_from = 0
    while keep_from < length:
        begin = max(keep_from - context, 0)
        end = min(begin + window, length)
        keep_to = length if end == length else end - context
        yield begin, end, slice(keep_from - begin, keep_to - begin)
        keep_from = keep_to


def pool(frames: np.ndarray, how: str) -> np.ndarray:
    """Average neighbouring frames.

    Args:
        frames: (T, D).
        how: As in `EncoderSpec.pool`.

    Returns:
        (ceil(T / N), D) for a number N, the last row averaging what is left; (1, D) for "utterance".
    """
    if how == "none":
        return frames
    if how == "utterance":
        return frames.mean(axis=0, keepdims=True)
    starts = np.arange(0, len(frames), int(how))
    counts = np.diff(np.append(starts, len(frames)))
    return np.add.reduceat(frames, starts, axis=0) / counts[:, None].astype(frames.dtype)
