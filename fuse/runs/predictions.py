"""Turns the predictions of a fold into `predictions.parquet`, and back into arrays, one entry an utterance."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray

from gia_mic.extract.corpus import Corpus
from gia_mic.extract.errors import RunError, first_line, one_line
from gia_mic.extract.files import replacing
from gia_mic.fuse.runs.folder import PREDICTIONS

__all__ = ["ABOUT", "Predictions", "read_predictions", "write_predictions"]

ABOUT = ("dialog", "speaker", "session", "scenario", "text")
"""Columns of the manifest that stand beside each prediction; a run may be without them."""


@dataclass(frozen=True)
class Predictions:
    """What a model said of each utterance of a test fold.

    Attributes:
        ids: (B,) str, each once.
        true: (B,) class indices.
        predicted: (B,) class indices.
        probabilities: (B, C) in 0 … 1.
        table: The columns `ABOUT` that the file has.
    """

    ids: NDArray[np.object_]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    table: pyarrow.Table = field(repr=False)
    decoded: dict[str, NDArray[np.object_]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def about(self, name: str) -> NDArray[np.object_] | None:
        """Return a column of `ABOUT`, (B,) str or None each; None where the file is without it."""
        if name not in self.table.column_names:
            return None
        if name not in self.decoded:
            self.decoded[name] = _text(self.table, name)
        return self.decoded[name]


def write_predictions(run_dir: Path, corpus: Corpus, rows: np.ndarray, probabilities: np.ndarray) -> None:
    """Write the test part's predictions, one row an utterance; `probabilities` (B, C) in the order of `rows`."""
    ids, labels = corpus.ids, corpus.column("label")
    text = pyarrow.string()
    columns = {
        "id": pyarrow.array([ids[row] for row in rows], text),
        "true": pyarrow.array([corpus.classes[labels[row]] for row in rows], text),
        "predicted": pyarrow.array([corpus.classes[best] for best in probabilities.argmax(-1)], text),
        "probabilities": pyarrow.array(list(probabilities.astype(np.float32)), pyarrow.list_(pyarrow.float32())),
    }
    for name in ABOUT:
        values = corpus.column(name)
        columns[name] = pyarrow.array([values[row] for row in rows], text)
    with replacing(run_dir / PREDICTIONS) as temporary, temporary.open("wb") as file:  # Arrow wants paths in UTF-8
        pyarrow.parquet.write_table(pyarrow.table(columns), file)


def read_predictions(path: Path, classes: Sequence[str]) -> Predictions:
    """Read the predictions of a fold.

    Args:
        path: A `predictions.parquet`.
        classes: Class names, in the order of class indices and probabilities.

    Raises:
        RunError: It is missing, isn't Parquet, lacks a column, or holds labels or probabilities that don't fit.
    """
    try:
        with path.open("rb") as opened, pyarrow.parquet.ParquetFile(opened) as file:
            table = file.read(use_threads=False)
    except FileNotFoundError:
        raise RunError(f"{path} is missing, though the fold is finished: train the fold again.") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise RunError(f"{path} can't be read as Parquet ({first_line(error)}): train the fold again.") from error
    missing = [name for name in ("id", "true", "predicted", "probabilities") if name not in table.column_names]
    if missing:
        raise RunError(f"{path} lacks the columns {one_line(missing)}: train the fold again.")
    if table.num_rows == 0:
        raise RunError(f"{path} holds no utterance: train the fold again.")
    ids = _text(table, "id")
    if len(set(ids)) < len(ids) or None in set(ids):
        raise RunError(f"{path} holds an utterance twice, or one without an id: train the fold again.")
    return Predictions(
        ids=ids,
        true=_indices(table, "true", classes, path),
        predicted=_indices(table, "predicted", classes, path),
        probabilities=_probabilities(table, len(classes), path),
        table=table.select([name for name in ABOUT if name in table.column_names]),
    )


def _text(table: pyarrow.Table, name: str) -> NDArray[np.object_]:
    return np.array(table[name].to_pylist(), dtype=object)


def _indices(table: pyarrow.Table, name: str, classes: Sequence[str], path: Path) -> NDArray[np.int64]:
    try:
        indices = pyarrow.compute.index_in(table[name].cast(pyarrow.string()), pyarrow.array(classes, pyarrow.string()))
    except pyarrow.ArrowException as error:
        raise RunError(
            f"{path}: the column {name!r} isn't text ({first_line(error)}): train the fold again."
        ) from error
    if indices.null_count:
        values: set[Any] = set(table[name].to_pylist()) - set(classes)
        raise RunError(
            f"{path}: the column {name!r} holds {one_line(sorted(map(repr, values)))}, but the classes are "
            f"{one_line(classes)}: train the fold again."
        )
    return np.asarray(indices.to_numpy(), dtype=np.int64)


def _probabilities(table: pyarrow.Table, classes: int, path: Path) -> NDArray[np.float32]:
    column = table["probabilities"].combine_chunks()
    try:
        values = np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float32)
        lengths = np.asarray(pyarrow.compute.list_value_length(column).to_numpy(zero_copy_only=False))
    except (pyarrow.ArrowException, AttributeError, ValueError, TypeError) as error:
        raise RunError(f"{path}: the probabilities aren't lists of numbers: train the fold again.") from error
    if not (lengths == classes).all():
        raise RunError(f"{path}: expected {classes} probabilities an utterance, one a class: train the fold again.")
    probabilities = values.reshape(-1, classes)
    if not (np.isfinite(probabilities).all() and (probabilities >= 0).all()) or not np.allclose(
        probabilities.sum(axis=1), 1, atol=1e-3
    ):
        raise RunError(f"{path}: the probabilities of an utterance aren't in 0 … 1 with sum 1: train the fold again.")
    return probabilities
