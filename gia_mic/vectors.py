"""Turns recordings, transcripts and videos into vectors or frames by an encoder that is named, without a corpus."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    import numpy as np

    from gia_mic.extract.corpus import Clip
    from gia_mic.extract.encoders.contract import Encoder
    from gia_mic.extract.plugins import Plugin
    from gia_mic.inputs import Input

    Sound = str | Path | Clip | np.ndarray
    Video = str | Path | Clip

__all__ = ["encode"]

logger = logging.getLogger(__name__)

MODALITIES = {"audio": "speech", "text": "text", "video": "visual"}
"""Modality of what is given under each name."""


@overload
def encode(
    audio: "Sound | Iterable[Sound] | None" = None,
    text: str | Iterable[str] | None = None,
    video: "Video | Iterable[Video] | None" = None,
    *,
    encoder: str | None = None,
    encoder_settings: Mapping[str, Any] | None = None,
    sampling_rate_hz: int | None = None,
    device: str | None = None,
    pool: Literal["utterance"] = "utterance",
    dtype: str = "float32",
    **settings: Any,
) -> "np.ndarray": ...


@overload
def encode(
    audio: "Sound | Iterable[Sound] | None" = None,
    text: str | Iterable[str] | None = None,
    video: "Video | Iterable[Video] | None" = None,
    *,
    encoder: str | None = None,
    encoder_settings: Mapping[str, Any] | None = None,
    sampling_rate_hz: int | None = None,
    device: str | None = None,
    pool: str,
    dtype: str = "float32",
    **settings: Any,
) -> "np.ndarray | list[np.ndarray]": ...


def encode(
    audio: "Sound | Iterable[Sound] | None" = None,
    text: str | Iterable[str] | None = None,
    video: "Video | Iterable[Video] | None" = None,
    *,
    encoder: str | None = None,
    encoder_settings: Mapping[str, Any] | None = None,
    sampling_rate_hz: int | None = None,
    device: str | None = None,
    pool: str = "utterance",
    dtype: str = "float32",
    **settings: Any,
) -> "np.ndarray | list[np.ndarray]":
    """Encode one or many inputs of one modality by a frozen encoder, as `mer extract` does.

        gia_mic.encode(text="no way")                                  # (768,) of RoBERTa
        gia_mic.encode(text=["no way", "so sad"])                      # (2, 768)
        gia_mic.encode(audio="a.wav", encoder="microsoft/wavlm-base")  # (768,)
        gia_mic.encode(video=["a.mp4", "b.mp4"], pool="none")          # two arrays (T, 768) of CLIP's frames

    What else is encoded in the call changes no value by more than rounding. The three encoders used last stay loaded.

    Args:
        audio: Sound or video file, a `Clip` of one, samples (n,) or (n, channels), or several of these.
        text: Transcript, or several.
        video: Video file, a `Clip` of one, or several.
        encoder: Hub id, local folder, tiny, or your own, MODULE:CLASS; None takes the default of the modality.
        encoder_settings: Settings of your own encoder.
        sampling_rate_hz: Sampling rate of samples, in Hz; nothing for files.
        device: cpu, cuda or cuda:N; None takes cuda where there is one.
        pool: utterance, for the mean over an input's frames; none, for all of them; or a number of neighbours to
            average.
        dtype: Type of the values: float32 or float16.
        settings: revision, and other settings of the encoder, such as layers and precision.

    Returns:
        Of one input a vector (D,), of N inputs (N, D). With another pool the frames (T, D), or a list of those.

    Raises:
        EncoderError: Not exactly one kind of input is given, or the encoder can't be found or doesn't fit.
        MediaError: Inputs can't be read; all of them are named.
    """
    import numpy as np

    from gia_mic.extract.config import DEFAULT_MODELS
    from gia_mic.extract.device import check_precision, find_devices
    from gia_mic.extract.encoders.make import check_names
    from gia_mic.extract.encoders.own_class import find_own
    from gia_mic.extract.errors import EncoderError, MediaError, one_line
    from gia_mic.inputs import Input

    values = {"audio": audio, "text": text, "video": video}
    kinds = [kind for kind, value in values.items() if value is not None]
    if len(kinds) != 1:
        raise EncoderError(f"encode takes one of audio, text and video, not {one_line(kinds) or 'none of them'}.")
    kind, value, modality = kinds[0], values[kinds[0]], MODALITIES[kinds[0]]
    check_names(settings, modality)
    device = find_devices(device)[0]
    check_precision(str(settings.get("precision") or "float32"), device)
    alone = _is_one(kind, value)
    several: list[Any] = [value] if alone else list(value)  # type: ignore[arg-type] # what isn't one is iterable
    if nothing := [number for number, one in enumerate(several, start=1) if not _is_one(kind, one)]:
        raise MediaError(f"{len(nothing)} of {len(several)} inputs are no {kind}: input {one_line(nothing)}.")
    entries = {"pool": pool, "dtype": dtype, **settings}
    options = tuple((name, tuple(option) if isinstance(option, list) else option) for name, option in entries.items())
    model = encoder or DEFAULT_MODELS[modality]
    own = tuple(sorted((encoder_settings or {}).items()))
    loaded = _load(modality, find_own(model) or model, device, options, own)
    inputs = [
        Input(**{kind: one}, sampling_rate_hz=sampling_rate_hz, id=f"input {number}")
        for number, one in enumerate(several, start=1)
    ]
    frames = _frames(loaded, inputs, modality, device)
    if pool != "utterance":
        return frames[0] if alone else frames
    vectors = np.concatenate([np.empty((0, loaded.header.dim), loaded.spec.dtype), *frames])
    return vectors[0] if alone else vectors


def _frames(encoder: "Encoder", inputs: "Sequence[Input]", modality: str, device: str) -> "list[np.ndarray]":
    """Return the frames of each input.

    Raises:
        MediaError: Some have none; it names them.
    """
    from gia_mic.extract.errors import MediaError, one_line
    from gia_mic.extract.progress import progress
    from gia_mic.inputs import encode_inputs

    with progress(len(inputs), encoder.spec.name, "input", leave=False) as bar:
        items = [
            item for item in encode_inputs(encoder, inputs, modality, device, on_done=bar.update) if item is not None
        ]
    frames = [item.frames for item in items if item.frames is not None]
    if len(frames) < len(inputs):
        failed = one_line(f"{item.id} ({item.reason.rstrip('.')})" for item in items if item.frames is None)
        raise MediaError(f"{len(inputs) - len(frames)} of {len(inputs)} inputs can't be encoded: {failed}.")
    if notes := [f"{item.id} ({item.reason})" for item in items if item.reason]:
        logger.warning(f"{len(notes)} of {len(inputs)} inputs have a note: {one_line(notes)}.")
    return frames


def _is_one(kind: str, value: Any) -> bool:
    """Whether a value is one input, not several; samples are, but an array of texts or paths isn't."""
    import numpy as np

    from gia_mic.extract.corpus import Clip

    if kind == "text":
        return isinstance(value, str)
    samples = kind == "audio" and isinstance(value, np.ndarray) and value.dtype.kind in "iuf"
    return samples or isinstance(value, (str, Path, Clip))


@lru_cache(maxsize=len(MODALITIES))
def _load(
    modality: str,
    model: "str | Plugin",
    device: str,
    options: tuple[tuple[str, Any], ...],
    own: tuple[tuple[str, Any], ...],
) -> "Encoder":
    from gia_mic.extract.encoders.make import make_encoder, make_own

    settings = dict(own) or None
    if isinstance(model, str):
        return make_encoder(modality, model, settings=settings, **dict(options)).to(device)
    return make_own(model, modality, settings=settings, **dict(options)).to(device)
