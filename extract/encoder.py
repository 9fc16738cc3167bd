"""Turns a pretrained model's name into something that makes frames, and all that shapes them into a fingerprint."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from extract.corpus import Clip
from extract.errors import EncoderError, one_line
from extract.files import digest
from extract.store import Header

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = [
    "DEFAULT_MODELS",
    "PRECISIONS",
    "TINY",
    "Encoder",
    "EncoderSpec",
    "Job",
    "Piece",
    "Weights",
    "check_layers",
    "exact_together",
    "find_weights",
    "load_config",
    "load_model",
    "load_settings",
    "pick_layers",
    "piece_windows",
    "pool",
]

EXTRACTOR_VERSION = 1
"""Raised whenever the same spec would give other values than before."""

TINY = "tiny"
"""Name of the offline encoders with seeded random weights."""

DEFAULT_MODELS = {
    "speech": "facebook/wav2vec2-base",
    "text": "FacebookAI/roberta-base",
    "visual": "openai/clip-vit-base-patch32",
}

PRECISIONS = ("float32", "bfloat16", "float16")

EXACT_TOGETHER = frozenset(
    "bert camembert distilbert electra hubert mpnet roberta wav2vec2 wavlm whisper xlm-roberta".split()
)

WEIGHT_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class EncoderSpec:
    """Everything that changes the value of a frame.

    Attributes:
        modality: speech, text or visual.
        model: Hub id, or the name of a local folder.
        weights: Commit of the hub, or digest of the folder's files.
        layers: Hidden layers to keep side by side in D; -1 is the last, 0 the embeddings; "mean" averages all
            transformer layers.
        pool: "none"; a number, to average so many neighbouring frames; or "utterance", to average all.
        precision: What the model computes in: float32, bfloat16 or float16.
        dtype: What is stored: float16 or float32.
        sampling_rate_hz: Sound is resampled to this.
        window_s: Longer sound goes through the model in windows of this length.
        context_s: How much of each neighbour a window sees on either side, of which no frame is kept.
        normalise: Whether each recording is brought to zero mean and unit variance, as the model was trained.
        window_tokens: Longer text goes through the model in windows of so many tokens.
        context_tokens: As `context_s`, in tokens.
        frame_rate_hz: Pictures taken per second of video.
        crop: Part of the picture, as in `extract.crop`; None is the manifest's.
        framing: How pictures are cut, scaled and normalised, and how a face is found.
        version: Version of this extractor.
    """

    modality: str
    model: str
    weights: str
    layers: tuple[int, ...] | str = (-1,)
    pool: str = "none"
    precision: str = "float32"
    dtype: str = "float16"
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
        if self.precision not in PRECISIONS:
            raise EncoderError(
                f"The precision {self.precision!r} is none of {one_line(PRECISIONS)}: choose one of them."
            )
        if self.dtype not in ("float16", "float32"):
            raise EncoderError(f"Frames can't be stored as {self.dtype!r}: choose float16 or float32.")
        if self.pool not in ("none", "utterance") and not (self.pool.isdigit() and int(self.pool) > 0):
            raise EncoderError(f"{self.pool!r} is no pooling: choose none, utterance, or a number of frames from 1.")

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

    def header(self, hidden_size: int, frame_rate_hz: float | None = None, weights: "Weights | None" = None) -> Header:
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
class Job:
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
class Piece:
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

    def size(self, job: Job) -> int:
        """Return about how many positions the model has to compute for an utterance."""

    def pieces(self, job: Job) -> Iterator[Piece]:
        """Decode an utterance into windows; called in worker threads."""

    def encode(self, pieces: Sequence[Piece]) -> list[np.ndarray]:
        """Return each piece's kept frames (T, D) float32; what else is in the batch changes nothing."""

    def to(self, device: str) -> "Encoder":
        """Load the weights, if they aren't yet, onto a device, and return the encoder."""


@dataclass(frozen=True)
class Weights:
    """Where a pretrained model lies.

    Attributes:
        name: Hub id, or the folder's name.
        location: What transformers loads it from.
        revision: The hub's revision asked for; None for a folder.
        digest: Commit, or digest of the folder's files.
    """

    name: str
    location: str
    revision: str | None
    digest: str

    @property
    def folder(self) -> str:
        """The local folder, absolute; empty for a model of the hub."""
        return str(Path(self.location).resolve()) if self.revision is None else ""


def find_weights(model: str, revision: str | None = None) -> Weights:
    """Find a model in a local folder or on the hub (or in the hub's local cache), without loading it.

    Raises:
        EncoderError: It isn't there, can't be fetched, or has no safetensors weights.
    """
    folder = Path(model)
    if folder.is_dir():
        files = sorted({path for pattern in WEIGHT_FILES for path in folder.glob(pattern)})
        if not any(path.suffix == ".safetensors" for path in files):
            raise EncoderError(
                f"{folder} holds no *.safetensors, the only weights that are safe to load: save the model there with "
                "save_pretrained."
            )
        hashed = hashlib.sha256("".join(f"{path.name} {digest(path)}\n" for path in files).encode()).hexdigest()
        return Weights(folder.resolve().name, str(folder), None, hashed)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        raise EncoderError(f"There is no folder {model!r}, and a hub id looks like owner/name: check --encoder.")

    from transformers.utils.hub import cached_file, extract_commit_hash

    wanted = revision or "main"
    try:
        config = cached_file(model, "config.json", revision=wanted)
    except Exception as error:  # the hub's libraries raise many kinds
        raise EncoderError(
            f"{model!r} is neither a local folder nor a model that the hub gave at revision {wanted!r} "
            f"({_first_line(error)}): check the name and the network, or give a folder."
        ) from error
    commit = extract_commit_hash(config, None)
    if commit is None:
        raise EncoderError(f"The hub gave no commit for {model!r}: download it to a folder and give that.")
    return Weights(model, model, wanted, commit)


def load_config(weights: Weights) -> "PreTrainedConfig":
    """Load a model's configuration.

    Raises:
        EncoderError: There is none that transformers knows.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            weights.location, revision=weights.revision or "main", trust_remote_code=False
        )
    except Exception as error:
        raise EncoderError(
            f"{weights.name} has no configuration that transformers knows ({_first_line(error)}): choose another."
        ) from error


def load_settings(weights: Weights, file_name: str) -> dict[str, Any]:
    """Load a model's JSON file of settings; empty where the model comes without."""
    from transformers.utils.hub import cached_file

    path = cached_file(
        weights.location, file_name, revision=weights.revision or "main", _raise_exceptions_for_missing_entries=False
    )
    return {} if path is None else dict(json.loads(Path(path).read_text(encoding="utf-8")))


def load_model(model_class: Any, weights: Weights, precision: str) -> "PreTrainedModel":
    """Load a pretrained model for inference: safetensors only, never remote code, every weight from the file.

    Args:
        model_class: Class of transformers; None for what the model's configuration says.
        weights: Where it lies.
        precision: What it computes in.

    Raises:
        EncoderError: It can't be loaded, or some of its weights are not in the file and would be random.
    """
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        model, info = (model_class or AutoModel).from_pretrained(
            weights.location,
            revision=weights.revision or "main",
            use_safetensors=True,
            trust_remote_code=False,
            dtype=getattr(torch, precision),
            output_loading_info=True,
        )
    except Exception as error:
        raise EncoderError(f"{weights.name} can't be loaded ({_first_line(error)}): check its files.") from error
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
    # heads that no frame passes through may be missing; anything else would be noise in every value
    random = [key for key in info["missing_keys"] if "pooler" not in key and "masked_spec_embed" not in key]
    if random:
        raise EncoderError(
            f"The weights of {weights.name} lack {one_line(sorted(random))}, which would be random: "
            "they are of another architecture, choose another encoder."
        )
    return model.eval()


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


def exact_together(model_type: str) -> bool:
    """Whether the modules of this kind of model leave an utterance's frames alone when a batch pads it.

    A test holds each of them to it; any other model gets its utterances one by one.
    """
    return model_type in EXACT_TOGETHER


def check_layers(layers: tuple[int, ...] | str, count: int, name: str) -> None:
    """Refuse layers that a model of `count` transformer layers doesn't have.

    Raises:
        EncoderError: As said.
    """
    if layers == "mean":
        return
    wrong = [layer for layer in layers if not (isinstance(layer, int) and -1 <= layer <= count)]
    if wrong or not layers:
        raise EncoderError(
            f"{name} has no layers {one_line(wrong) or '()'}: choose from 0 (the embeddings) to {count}, -1 (the "
            "last), or mean."
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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
