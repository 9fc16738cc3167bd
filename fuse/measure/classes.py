"""Turns true and predicted labels into scores.

Labels are class indices 0 … C − 1, scores are fractions in 0 … 1. Two accuracies are reported side by side in emotion
recognition and are easily swapped:

    WA = correct / all                          weighted accuracy: every utterance counts the same
    UA = mean over classes of correct / all     unweighted accuracy: every class counts the same (balanced accuracy)

A class that never occurs in the true labels has no recall (NaN) and no part in UA.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gia_mic.extract.errors import RunError
from gia_mic.extract.targets import Target
from gia_mic.fuse.measure.metric import Measure, Metric, known_mean, plain, ratio

__all__ = [
    "ClassMeasure",
    "confusion",
    "macro_f1",
    "macro_f1_of",
    "recalls",
    "recalls_of",
    "scores",
    "scores_of",
    "ua",
    "ua_of",
    "wa",
    "wa_of",
    "weighted_f1",
    "weighted_f1_of",
]


class ClassMeasure(Measure):
    """The metrics of one class an utterance; the answer is the most probable class, the first of equals.

    A tally is a confusion matrix, rows true, row after row.
    """

    primary = "UA"
    headline: tuple[str, ...] = ("WA", "UA")

    @property
    def size(self) -> int:
        """Number of cells, C²."""
        return len(self.target.names) ** 2

    @property
    def table(self) -> Mapping[str, Metric]:
        """WA, UA and F1."""

        def of(score: Callable[[ArrayLike], NDArray[np.float64]]) -> Callable[[ArrayLike], NDArray[np.float64]]:
            return lambda tallies: score(self.tables(tallies))

        return {
            "WA": Metric("weighted accuracy: correct / all, every utterance counts the same", of(wa_of)),
            "UA": Metric("unweighted accuracy: mean of the classes' recalls, every class counts the same", of(ua_of)),
            "macro_F1": Metric("mean F1 of the classes", of(macro_f1_of)),
            "weighted_F1": Metric("mean F1 of the classes, each weighted by its utterances", of(weighted_f1_of)),
        }

    def tables(self, tallies: ArrayLike) -> NDArray[np.float64]:
        """Return the confusion matrices in tallies, (..., S) → (..., C, C)."""
        sums, C = np.asarray(tallies, dtype=float), len(self.target.names)
        return sums[..., : C * C].reshape(*sums.shape[:-1], C, C)

    def rows(self, true: NDArray[np.float64], answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each utterance's confusion matrix, (B, C²), from true classes as 0 and 1 and from probabilities."""
        return confusion_rows(true, chosen(answers))

    def details(self, tally: NDArray[np.float64]) -> dict[str, Any]:
        """Return `recall` (by class name; None where a class has no true utterance) and `confusion` (lists)."""
        table = self.tables(tally)
        is_counts = np.array_equal(table, np.rint(table))
        return {
            "recall": dict(zip(self.target.names, map(plain, recalls_of(table)), strict=True)),
            "confusion": (table.astype(np.int64) if is_counts else table).tolist(),
        }


def chosen(answers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 for the most probable class of each utterance, the first of equals, and else 0, (B, C)."""
    return np.eye(answers.shape[1])[answers.argmax(axis=1)]


def confusion_rows(true: NDArray[np.float64], answered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each utterance's confusion matrix, rows true, row after row, (B, C), (B, C) → (B, C²)."""
    return (true[:, :, None] * answered[:, None, :]).reshape(len(true), -1)


def wa(true: ArrayLike, predicted: ArrayLike) -> float:
    """Return the weighted accuracy: correct / all.

    Args:
        true: (B,) class indices.
        predicted: (B,) class indices.

    Raises:
        RunError: There are no labels, as many true as predicted ones are not given, or one isn't a class index.

    >>> wa([0, 0, 0, 1], [0, 0, 0, 0])
    0.75
    """
    true, predicted = _indices(true, "true"), _indices(predicted, "predicted")
    table = confusion(true, predicted, int(max(true.max(initial=0), predicted.max(initial=0))) + 1)
    return float(wa_of(table))


def ua(true: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Return the unweighted accuracy: the mean of the recalls of the classes that occur in `true`.

    Args:
        true: (B,) class indices.
        predicted: (B,) class indices.
        classes: Number of classes, C.

    Raises:
        RunError: As `wa`.

    >>> ua([0, 0, 0, 1], [0, 0, 0, 0], 2)
    0.5
    """
    return float(ua_of(confusion(true, predicted, classes)))


def recalls(true: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.float64]:
    """Return the recall of each class, (C,): the part of its utterances that was found; NaN where there are none.

    Raises:
        RunError: As `wa`.
    """
    return recalls_of(confusion(true, predicted, classes))


def confusion(true: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Return how often each true class (row) was predicted as each class (column), (C, C).

    Raises:
        RunError: As `wa`.

    >>> confusion([0, 0, 0, 1], [0, 0, 1, 1], 2).tolist()
    [[2, 1], [0, 1]]
    """
    true, predicted = _indices(true, "true"), _indices(predicted, "predicted")
    if len(true) != len(predicted):
        raise RunError(
            f"There are {len(true)} true labels but {len(predicted)} predicted ones: give one of each an utterance."
        )
    if len(true) == 0:
        raise RunError("There are no labels to score: give at least one utterance.")
    for name, labels in (("true", true), ("predicted", predicted)):
        if labels.min() < 0 or labels.max() >= classes:
            wrong = int(labels.min() if labels.min() < 0 else labels.max())
            raise RunError(
                f"A {name} label is {wrong}, but the {classes} classes are numbered from 0: check the classes."
            )
    counts = np.bincount(true * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def macro_f1(true: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Return the mean F1 of the classes that occur in `true` or in `predicted`.

    Raises:
        RunError: As `wa`.
    """
    return float(macro_f1_of(confusion(true, predicted, classes)))


def weighted_f1(true: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Return the mean F1 of the classes, each weighted by its number of true utterances.

    Raises:
        RunError: As `wa`.
    """
    return float(weighted_f1_of(confusion(true, predicted, classes)))


def scores(true: ArrayLike, predicted: ArrayLike, classes: Sequence[str]) -> dict[str, Any]:
    """Return all scores as `metrics.json` holds them.

    Args:
        true: (B,) class indices.
        predicted: (B,) class indices.
        classes: Class names, in the order of class indices.

    Returns:
        `WA`, `UA`, `macro_F1`, `weighted_F1`, `recall` (by class name; None where a class has no true utterance) and
        `confusion` (lists, rows true): plain values, ready for JSON.

    Raises:
        RunError: As `wa`.
    """
    return scores_of(confusion(true, predicted, len(classes)), classes)


def wa_of(tables: ArrayLike) -> NDArray[np.float64]:
    """Return WA from confusion matrices, (..., C, C) → (...); counts may be fractions, as of a mean over seeds."""
    tables = np.asarray(tables, dtype=float)
    return ratio(np.trace(tables, axis1=-2, axis2=-1), tables.sum(axis=(-2, -1)))


def ua_of(tables: ArrayLike) -> NDArray[np.float64]:
    """Return UA from confusion matrices, (..., C, C) → (...); a class without true utterances has no part in it."""
    return known_mean(recalls_of(tables))


def recalls_of(tables: ArrayLike) -> NDArray[np.float64]:
    """Return the recalls from confusion matrices, (..., C, C) → (..., C); NaN where a class has no true utterance."""
    tables = np.asarray(tables, dtype=float)
    return ratio(np.diagonal(tables, axis1=-2, axis2=-1), tables.sum(axis=-1))


def macro_f1_of(tables: ArrayLike) -> NDArray[np.float64]:
    """Return the mean F1 from confusion matrices, (..., C, C) → (...), of the classes that occur on either side."""
    return known_mean(_f1_of(tables))


def weighted_f1_of(tables: ArrayLike) -> NDArray[np.float64]:
    """Return the mean F1 weighted by true utterances from confusion matrices, (..., C, C) → (...)."""
    support = np.asarray(tables, dtype=float).sum(axis=-1)
    return ratio((np.nan_to_num(_f1_of(tables)) * support).sum(axis=-1), support.sum(axis=-1))


def scores_of(table: ArrayLike, classes: Sequence[str]) -> dict[str, Any]:
    """Return what `scores` does, from one confusion matrix, (C, C), rows true.

    Raises:
        RunError: It isn't a square of the classes, or holds no utterance.
    """
    table = np.asarray(table)
    if table.shape != (len(classes), len(classes)) or not table.sum() > 0:
        raise RunError(
            f"A confusion matrix has the shape {table.shape} and counts {table.sum():g} utterances: "
            f"expected one row and one column for each of {len(classes)} classes, and at least one utterance."
        )
    measure = ClassMeasure(Target("label", tuple(classes)))
    return {**measure.scores(table.ravel()), "confusion": table.tolist()}


def _f1_of(tables: ArrayLike) -> NDArray[np.float64]:
    """Return 2 TP / (true + predicted) of each class, (..., C, C) → (..., C); NaN where it occurs in neither."""
    tables = np.asarray(tables, dtype=float)
    return ratio(2 * np.diagonal(tables, axis1=-2, axis2=-1), tables.sum(axis=-1) + tables.sum(axis=-2))


def _indices(labels: ArrayLike, name: str) -> NDArray[np.int64]:
    indices = np.asarray(labels)
    if indices.ndim != 1:
        raise RunError(f"The {name} labels have the shape {indices.shape}: give one class index an utterance.")
    if indices.size and not np.issubdtype(indices.dtype, np.integer):
        raise RunError(f"The {name} labels are of type {indices.dtype}: give class indices, which are whole numbers.")
    return indices.astype(np.int64)
