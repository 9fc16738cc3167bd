"""Turns a table of inputs into the same table with answers beside its own columns."""

import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gia_mic.answer import Answer
from gia_mic.extract import media
from gia_mic.extract.corpora.cells import (
    MISSING_TEXTS,
    as_text,
    crop_of,
    drop_missing,
    matching,
    seconds_of,
)
from gia_mic.extract.corpora.hf import sound_suffix
from gia_mic.extract.corpora.manifest import CLIPS
from gia_mic.extract.corpora.table import columns, filled, read_rows
from gia_mic.extract.corpus import Clip
from gia_mic.extract.errors import CorpusError, MediaError, one_line, words_of
from gia_mic.extract.targets import Target
from gia_mic.predictor import Input, Prediction, Predictor

__all__ = ["Batch", "answer_cells", "answer_columns", "free_names", "plain", "read_batch"]

logger = logging.getLogger(__name__)

GIVEN = ("audio", "text", "video")
COLUMNS = ("id", "text", *CLIPS["audio"], *CLIPS["video"])
"""Columns that are read, with the meaning that they have in a manifest; all others are only kept."""


@dataclass(frozen=True)
class Batch:
    """A table of inputs.

    Attributes:
        columns: Names of all its columns.
        rows: Its rows, as they are.
        names: What to call each row.
        inputs: The input of each row, or why it is none.
    """

    columns: list[str]
    rows: list[dict[str, Any]]
    names: list[str]
    inputs: list[Input | MediaError]

    def answers(self, predictor: Predictor, *, allow_failures: bool = False) -> Iterator[Prediction | MediaError]:
        """Give what a predictor says of each row, or why it says nothing."""
        good = (one for one in self.inputs if isinstance(one, Input))
        answers = predictor.predict_many(good, keep_failures=True, allow_failures=allow_failures)
        for one in self.inputs:
            yield one if isinstance(one, MediaError) else next(answers)


def read_batch(path: Path, scratch: Path, missing: Collection[str] = MISSING_TEXTS) -> Batch:
    """Read a table of inputs; a row that makes none doesn't stop the others.

    Args:
        path: CSV, TSV, JSONL or Parquet file; paths in it start from its folder.
        scratch: Folder for sound and films that are inside the table.
        missing: Texts that stand for a missing value, in any column.

    Raises:
        CorpusError: It can't be read, or has none of the columns audio, text and video.
    """
    rows = read_rows(path)
    present = columns(rows)
    named = matching(present, COLUMNS)
    if not any(name in GIVEN for name in named.values()):
        raise CorpusError(
            f"{path} has the columns {one_line(present, 20)}, and none of them is audio, text or video: rename those "
            f"that are (read are {one_line(COLUMNS, 20)})."
        )
    others = [column for column in present if column not in named]
    if others:
        logger.info(f"{path}: {one_line(named)} are read; {one_line(others, 20)} are only kept.")
    cells = drop_missing(
        [{named[column]: value for column, value in row.items() if column in named} for row in filled(rows)], missing
    )
    reader = _Reader(path.parent, scratch)
    names = [as_text(row.get("id")) or f"row {number}" for number, row in enumerate(cells, start=1)]
    inputs = [reader.input(name, number, row) for number, (name, row) in enumerate(zip(names, cells, strict=True))]
    return Batch(present, rows, names, inputs)


def answer_columns(target: Target, *, nested: bool) -> list[str]:
    """Return how the parts of an answer are called in a table that has no such columns of its own.

    Args:
        target: What the run predicts.
        nested: Whether a column can hold several numbers, as in JSON: then they are those of `Answer.entries`.
    """
    if target.kind == "scores":
        return ["scores"] if nested else list(target.names)
    probabilities = ["probabilities"] if nested else [f"p_{name}" for name in target.names]
    return ["labels" if target.kind == "labels" else "label", *probabilities]


def answer_cells(answer: Answer) -> dict[str, str]:
    """Return an answer as text by the names that `answer_columns` gives where nothing is nested.

    Several labels are written as a manifest has them: happy|surprised, and - where none applies.
    """
    if answer.scores:
        return {name: f"{score:.6g}" for name, score in answer.scores.items()}
    probabilities = {f"p_{name}": f"{p:.6f}" for name, p in answer.probabilities.items()}
    classes = {"labels": "|".join(answer.labels) or "-"} if answer.label is None else {"label": answer.label}
    return {**classes, **probabilities}


def free_names(names: Sequence[str], columns: Collection[str]) -> dict[str, str]:
    """Return a column's name for each answer that no column of the table has, whatever the capitals.

    >>> free_names(["label", "notes", "error"], ["id", "Label", "notes", "predicted_notes"])
    {'label': 'predicted', 'notes': 'predicted_notes_2', 'error': 'error'}
    """
    used = {name.casefold() for name in columns}
    free = {}
    for name in names:
        other = "predicted" if name in ("label", "labels") else f"predicted_{name}"
        candidates = [name, other, *(f"{other}_{number}" for number in range(2, len(used) + 3))]
        free[name] = next(candidate for candidate in candidates if candidate.casefold() not in used)
        used.add(free[name].casefold())
    return free


def plain(value: Any) -> Any:
    """Return a cell as JSON can hold it: numbers that are none as null, and no sound itself."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items() if key != "bytes"}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str | int | None) else str(value)


class _Reader:
    """Turns rows into inputs."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder, self.scratch = folder, scratch
        self.durations_s: dict[Path, float] = {}

    def input(self, name: str, number: int, row: Mapping[str, Any]) -> Input | MediaError:
        try:
            audio, video = (self._clip(kind, number, row) for kind in CLIPS)
            text = None
            if row.get("text") is not None:
                text = as_text(row["text"])
                if text is None:
                    raise MediaError(f"text: {row['text']!r:.40} is no text.")
        except MediaError as error:
            return error
        return Input(audio=audio, text=text or None, video=video, id=name)

    def _clip(self, kind: str, number: int, row: Mapping[str, Any]) -> Clip | None:
        """Return what a row has of audio or video.

        Raises:
            MediaError: It makes no sense.
        """
        cells = {column.removeprefix(f"{kind}_"): row.get(column) for column in CLIPS[kind]}
        path = cells.pop(kind)
        if isinstance(path, Mapping):
            nested, keys = dict(path), {"path", "bytes", *cells}
            if unknown := sorted(set(map(str, nested)) - keys):
                raise MediaError(f"{kind}: there are no parts {one_line(unknown)}, but {one_line(sorted(keys))}.")
            cells.update({key: nested[key] for key in cells if nested.get(key) is not None})
            path = nested.get("path")
            if isinstance(nested.get("bytes"), bytes):
                path = self._write(f"{number}-{kind}", nested["bytes"], Path(str(path or "")))
        if path is None or path == "":
            if any(value is not None for value in cells.values()):
                raise MediaError(f"{kind}: times or a crop without a path.")
            return None
        if not isinstance(path, str | Path):
            raise MediaError(f"{kind}: {path!r:.40} is no path.")
        whole = self._checked(kind, path)
        try:
            start_s, end_s, crop = seconds_of(cells["start_s"]), seconds_of(cells["end_s"]), crop_of(cells.get("crop"))
        except ValueError as error:
            raise MediaError(f"{kind}: {error}.") from error
        self._check_times(kind, whole, start_s, end_s)
        return Clip(str(whole), start_s, end_s, crop)

    def _checked(self, kind: str, path: str | Path) -> Path:
        """Return the whole path, if the system can look it up."""
        whole = self.folder / path
        try:
            whole.stat()
        except FileNotFoundError:  # the reader of media says so
            pass
        except (OSError, ValueError) as error:  # too long, a circle of links, a NUL character, half a surrogate pair
            raise MediaError(f"{kind}: {str(path)[:40]!r} can't be a path ({words_of(error)}).") from error
        return whole

    def _check_times(self, kind: str, path: Path, start_s: float | None, end_s: float | None) -> None:
        if start_s is None and end_s is None:
            return
        times = f"{start_s or 0:g} to {'its end' if end_s is None else f'{end_s:g} s'}"
        if end_s is not None and (start_s or 0.0) >= end_s:
            raise MediaError(f"{kind}: the clip from {times} ends before it starts.")
        if path not in self.durations_s:
            try:
                self.durations_s[path] = media.duration_s(path)
            except MediaError:  # said when it is read
                self.durations_s[path] = math.inf
        last_s = (start_s or 0.0) if end_s is None else end_s - media.TOLERANCE_S
        if last_s >= self.durations_s[path]:
            raise MediaError(f"{kind}: the clip from {times} ends after its file, of {self.durations_s[path]:g} s.")

    def _write(self, name: str, data: bytes, origin: Path) -> Path:
        path = (self.scratch / name).with_suffix(sound_suffix(data, origin))
        path.write_bytes(data)
        return path.absolute()
