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
from gia_mic.extract.targets import Target
from gia_mic.fuse.runs.folder import PREDICTIONS

__all__ = ["ABOUT", "Predictions", "read_predictions", "write_predictions"]

ABOUT = ("dialog", "speaker", "session", "scenario", "text")
"""Columns of the manifest that stand beside each prediction; a run may be without them."""


@dataclass(frozen=True)
class Predictions:
    """What a model said of each utterance of a test fold.

    Attributes:
        ids: (B,) str, each once.
        true: (B, K) what is true, as `Corpus.values` gives it.
        answers: (B, K) what the model said, as `Readout.answers` gives it.
        table: The columns `ABOUT` that the file has.
    """

    ids: NDArray[np.object_]
    true: NDArray[np.float64]
    answers: NDArray[np.float32]
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


def write_predictions(run_dir: Path, corpus: Corpus, target: Target, rows: np.ndarray, answers: np.ndarray) -> None:
    """Write the test part's predictions, one row an utterance; `answers` (B, K) in the order of `rows`.

    The target `label` has the columns true, predicted (both names of classes) and probabilities; others have true and
    answer, lists of K numbers.
    """
    ids, values = corpus.ids, corpus.values(target)[rows]
    text, floats = pyarrow.string(), pyarrow.list_(pyarrow.float32())
    columns = {"id": pyarrow.array([ids[row] for row in rows], text)}
    if target.kind == "label":
        columns |= {
            name: pyarrow.array([target.names[best] for best in numbers.argmax(-1)], text)
            for name, numbers in (("true", values), ("predicted", answers))
        }
        columns["probabilities"] = pyarrow.array(list(answers.astype(np.float32)), floats)
    else:
        columns["true"] = pyarrow.array(list(values), pyarrow.list_(pyarrow.float64()))
        columns["answer"] = pyarrow.array(list(answers.astype(np.float32)), floats)
    for name in ABOUT:
        values = corpus.column(name)
        columns[name] = pyarrow.array([values[row] for row in rows], text)
    with replacing(run_dir / PREDICTIONS) as temporary, temporary.open("wb") as file:  # Arrow wants paths in UTF-8
        pyarrow.parquet.write_table(pyarrow.table(columns), file)


def read_predictions(path: Path, target: Target) -> Predictions:
    """Read the predictions of a fold.

    Args:
        path: A `predictions.parquet`.
        target: What the run predicts.

    Raises:
        RunError: It is missing, isn't Parquet, lacks a column, or holds values that don't fit the target.
    """
    needed = ("id", "true", "predicted", "probabilities") if target.kind == "label" else ("id", "true", "answer")
    try:
        with path.open("rb") as opened, pyarrow.parquet.ParquetFile(opened) as file:
            table = file.read(use_threads=False)
    except FileNotFoundError:
        raise RunError(f"{path} is missing, though the fold is finished: train the fold again.") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise RunError(f"{path} can't be read as Parquet ({first_line(error)}): train the fold again.") from error
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise RunError(f"{path} lacks the columns {one_line(missing)}: train the fold again.")
    if table.num_rows == 0:
        raise RunError(f"{path} holds no utterance: train the fold again.")
    ids = _text(table, "id")
    if len(set(ids)) < len(ids) or None in set(ids):
        raise RunError(f"{path} holds an utterance twice, or one without an id: train the fold again.")
    K = len(target.names)
    answers = _numbers(table, needed[-1], K, path)
    if target.kind != "scores" and not ((answers >= 0) & (answers <= 1 + 1e-3)).all():
        raise RunError(f"{path}: the probabilities of an utterance aren't in 0 … 1: train the fold again.")
    if target.one_of_many and not np.allclose(answers.sum(axis=1), 1, atol=1e-3):
        raise RunError(f"{path}: the probabilities of an utterance don't have the sum 1: train the fold again.")
    if target.kind == "label":
        true = np.eye(K)[_indices(table, "true", target.names, path)]
        if not np.array_equal(_indices(table, "predicted", target.names, path), answers.argmax(axis=1)):
            raise RunError(f"{path}: a predicted class isn't the most probable one: train the fold again.")
    else:
        true = _numbers(table, "true", K, path).astype(np.float64)
    about = table.select([name for name in ABOUT if name in table.column_names])
    return Predictions(ids, true, answers.astype(np.float32), about)


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


def _numbers(table: pyarrow.Table, name: str, K: int, path: Path) -> NDArray[np.float64]:
    """Return a column of lists of K numbers, (B, K)."""
    column = table[name].combine_chunks()
    try:
        values = np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
        lengths = np.asarray(pyarrow.compute.list_value_length(column).to_numpy(zero_copy_only=False))
    except (pyarrow.ArrowException, AttributeError, ValueError, TypeError) as error:
        raise RunError(f"{path}: the column {name!r} isn't lists of numbers: train the fold again.") from error
    if not (lengths == K).all() or not np.isfinite(values).all():
        raise RunError(f"{path}: expected {K} finite numbers an utterance in {name!r}: train the fold again.")
    return values.reshape(-1, K)
