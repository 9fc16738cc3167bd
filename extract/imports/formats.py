"""Turns feature files that others made into frames by utterance id, with labels where the file has them.

Read are pickles as MMSA and MulT publish them, computational sequences (.csd), folders of `<id>.npy`, and .npz files.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from gia_mic.extract.corpora.cells import MISSING_TEXTS, file_pointer
from gia_mic.extract.errors import StoreError, one_line
from gia_mic.extract.imports.csd import read_sequences
from gia_mic.extract.imports.unpickle import load_pickle
from gia_mic.extract.names import mended, part_of

__all__ = ["ImportedUtterance", "Segment", "cut_to_segments", "read_segments", "read_utterances"]

logger = logging.getLogger(__name__)

_KEYS = {
    "speech": ("audio", "speech", "acoustic"),
    "text": ("text", "language"),
    "visual": ("vision", "visual", "video"),
}
_OF_ONE_MODALITY = ("regression_labels_T", "regression_labels_A", "regression_labels_V")


@dataclass(frozen=True)
class ImportedUtterance:
    """One utterance of a feature file that others made.

    Attributes:
        id: Utterance id, as the file has it.
        frames: (T, D) float32, or None where the file has none.
        label: The file's own word for the emotion or sentiment, if it has one.
        scores: The numbers behind it, such as the sentiment from -3 to 3; empty if the file has none.
        of_one_modality: The same of text, speech and pictures alone; empty if the file has none.
        text: Transcript, if the file has it.
        split: train, dev or test, if the file says.
    """

    id: str
    frames: np.ndarray | None
    label: str | None = None
    scores: tuple[float, ...] = ()
    of_one_modality: tuple[float, ...] = ()
    text: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Segment:
    """A stretch of a video with its scores, the sentiment first, of a label sequence; `id` is `video[number]`."""

    id: str
    video: str
    start_s: float
    end_s: float
    scores: tuple[float, ...]


def read_utterances(path: Path, modality: str) -> Iterator[ImportedUtterance]:
    """Give the utterances of a file or folder.

    Args:
        path: .pkl or .pickle, .csd, .npz, or a folder of .npy files.
        modality: speech, text or visual; matters where one file holds several.

    Raises:
        StoreError: It is of no known kind, refused, broken, or doesn't hold the modality.
    """
    suffix = path.suffix.lower()
    if command := file_pointer(path):
        raise StoreError(f"{path} is a pointer to features that aren't here: run `{command}` there first.")
    if path.is_dir():
        yield from _npy_folder(path)
    elif suffix in (".pkl", ".pickle", ".p"):
        yield from _pickle(path, modality)
    elif suffix == ".csd":
        yield from (ImportedUtterance(sequence.video, sequence.features) for sequence in read_sequences(path))
    elif suffix == ".npz":
        yield from _npz(path)
    else:
        raise StoreError(f"{path} is not of a known kind: expected .pkl, .csd, .npz or a folder of .npy files.")


def read_segments(path: Path) -> list[Segment]:
    """Read a label sequence (.csd) whose first column is the sentiment from -3 to 3."""
    return [
        Segment(f"{sequence.video}[{number}]", sequence.video, float(start_s), float(end_s), _numbers(values))
        for sequence in read_sequences(path)
        for number, (values, (start_s, end_s)) in enumerate(zip(sequence.features, sequence.intervals, strict=True))
    ]


def cut_to_segments(path: Path, segments: Sequence[Segment]) -> Iterator[ImportedUtterance]:
    """Cut a sequence of whole videos (.csd) to segments: the frames whose middle lies within."""
    by_video: dict[str, list[Segment]] = {}
    for segment in segments:
        by_video.setdefault(segment.video, []).append(segment)
    for sequence in read_sequences(path):
        middle = sequence.intervals.mean(axis=1)
        for segment in by_video.get(sequence.video, []):
            frames = sequence.features[(segment.start_s <= middle) & (middle < segment.end_s)]
            yield ImportedUtterance(segment.id, frames if len(frames) else None)


def _npy_folder(path: Path) -> Iterator[ImportedUtterance]:
    files = sorted(file for file in path.glob("*.npy") if not file.name.startswith("."))
    if not files:
        raise StoreError(f"{path} holds no .npy file: expected one for each utterance, named after its id.")
    for file in files:
        if not file.resolve().is_relative_to(path.resolve()):
            raise StoreError(f"{file} is a symbolic link out of {path}: copy the file instead.")
        try:
            values = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StoreError(f"{file} is no readable array ({error}): only plain numbers are read.") from error
        yield ImportedUtterance(file.stem, _frames(values, file.name, path))


def _npz(path: Path) -> Iterator[ImportedUtterance]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                yield ImportedUtterance(name, _frames(archive[name], name, path))
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise StoreError(f"{path} is no readable set of arrays ({error}): only plain numbers are read.") from error


def _pickle(path: Path, modality: str) -> Iterator[ImportedUtterance]:
    content = load_pickle(path)
    parts = content if isinstance(content, Mapping) else {}
    if not (parts and all(isinstance(part, Mapping) for part in parts.values())):
        parts = {"": content}  # one part of the three
    other_parts = [name for name in parts if part_of(_words(name)) is None]
    if 0 < len(other_parts) < len(parts):
        logger.warning(f"{path}: left out is {one_line(map(repr, other_parts))}, which is none of train, dev and test.")
        parts = {name: part for name, part in parts.items() if name not in other_parts}
    for name, part in parts.items():
        if not isinstance(part, Mapping) or "id" not in part:
            raise StoreError(
                f"{path} is no feature file: expected parts such as train, each with id and {_KEYS[modality][0]}."
            )
        key = next((key for key in _KEYS[modality] if key in part), None)
        if key is None:
            raise StoreError(f"{path} has no {modality}: its part {name!r} holds {one_line(map(str, part), 20)}.")
        ids = [_id(value) for value in part["id"]]
        values, lengths = part[key], _lengths(part, key)
        for field in (key, "annotations", "regression_labels", "labels", "raw_text", *_OF_ONE_MODALITY):
            if field in part and len(part[field]) != len(ids):
                raise StoreError(f"{path}: part {name!r} has {len(ids)} ids, but {len(part[field])} of {field}.")
        for row, utterance_id in enumerate(ids):
            frames = _frames(np.asarray(values[row]), utterance_id, path)
            if frames is not None:
                frames = frames[: int(lengths[row])] if lengths is not None else _unpadded(frames)
            yield ImportedUtterance(
                utterance_id,
                frames if frames is not None and len(frames) else None,
                _annotation(part, row),
                _scores(part, row),
                _scores_of_one_modality(part, row),
                _words(part["raw_text"][row]) if "raw_text" in part else None,
                part_of(_words(name)),
            )


def _id(value: Any) -> str:
    """Return an id as text; MulT has video, start and end in an array."""
    return "_".join(_texts(value))


def _words(value: Any) -> str:
    """Return a text, or the words that it was cut into."""
    return mended(" ".join(_texts(value)))


def _texts(value: Any) -> list[str]:
    values = np.asarray(value).ravel().tolist()
    return [part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part) for part in values]


def _lengths(part: Mapping[str, Any], key: str) -> Any:
    """Return each row's number of frames before the padding, where the file says it."""
    if f"{key}_lengths" in part:
        return part[f"{key}_lengths"]
    if key == "text" and "text_bert" in part:
        return np.asarray(part["text_bert"])[:, 1].sum(axis=-1)  # tokens, attention mask, segments
    return None


def _scores(part: Mapping[str, Any], row: int) -> tuple[float, ...]:
    """Return an utterance's sentiment, with the six emotions where they are beside it."""
    field = next((name for name in ("regression_labels", "labels") if name in part), None)
    values = np.asarray(part[field][row]).ravel() if field else np.empty(0)
    return _numbers(values) if values.size in (1, 7) and values.dtype.kind in "fiu" else ()


def _scores_of_one_modality(part: Mapping[str, Any], row: int) -> tuple[float, ...]:
    """Return the sentiments of text, speech and pictures alone, NaN for one that is missing; empty without any.

    MMSA-FET writes these fields for every corpus, with NaN in all of them where there are no such sentiments.
    """
    cells = [np.asarray(part[field][row] if field in part else np.nan).ravel() for field in _OF_ONE_MODALITY]
    numbers = tuple(_numbers(cell)[0] if cell.size == 1 and cell.dtype.kind in "fiu" else np.nan for cell in cells)
    return numbers if np.isfinite(numbers).any() else ()


def _numbers(values: np.ndarray) -> tuple[float, ...]:
    """Return numbers as they would be printed: 2.8 for the float32 nearest to it, which isn't 2.8 exactly."""
    return tuple(float(str(value)) for value in values.ravel())


def _annotation(part: Mapping[str, Any], row: int) -> str | None:
    """Return the file's own word for an utterance, if it has one."""
    word = _words(part["annotations"][row]).strip().lower() if "annotations" in part else ""
    return word if word and word not in MISSING_TEXTS else None


def _frames(values: np.ndarray, name: str, path: Path) -> np.ndarray | None:
    """Return (T, D) float32; a vector is a sequence of length one; None if there is no frame."""
    if values.dtype.kind not in "fiu" or values.ndim not in (1, 2):
        raise StoreError(
            f"{path}: {name} is an array of {values.dtype} with shape {values.shape}, expected numbers (T, D) or (D)."
        )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is told with that
        frames = np.atleast_2d(values).astype(np.float32)
    return frames if frames.size else None


def _unpadded(frames: np.ndarray) -> np.ndarray:
    """Cut the rows of zeros that pad a sequence at its front or end; one of zeros alone stays as it is."""
    filled = np.flatnonzero(frames.any(axis=1))
    return frames[filled[0] : filled[-1] + 1] if len(filled) else frames
