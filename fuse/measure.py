"""Turns true and predicted labels into scores; the only module that defines a metric.

Labels are class indices 0 … C − 1, scores are fractions in 0 … 1. Two accuracies are reported side by side in emotion
recognition and are easily swapped:

    WA = correct / all                          weighted accuracy: every utterance counts the same
    UA = mean over classes of correct / all     unweighted accuracy: every class counts the same (balanced accuracy)

A class that never occurs in the true labels has no recall (NaN) and no part in UA.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gia_mic.extract.errors import RunError

__all__ = [
    "confusion",
    "macro_f1",
    "recalls",
    "recalls_of",
    "scores",
    "scores_of",
    "ua",
    "ua_of",
    "wa",
    "wa_of",
    "weighted_f1",
]


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
    return _macro_f1(confusion(true, predicted, classes))


def weighted_f1(true: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Return the mean F1 of the classes, each weighted by its number of true utterances.

    Raises:
        RunError: As `wa`.
    """
    return _weighted_f1(confusion(true, predicted, classes))


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
    return np.asarray(np.trace(tables, axis1=-2, axis2=-1) / tables.sum(axis=(-2, -1)))


def ua_of(tables: ArrayLike) -> NDArray[np.float64]:
    """Return UA from confusion matrices, (..., C, C) → (...); a class without true utterances has no part in it."""
    tables = np.asarray(tables, dtype=float)
    occurs = tables.sum(axis=-1) > 0
    return np.asarray(np.where(occurs, recalls_of(tables), 0).sum(axis=-1) / occurs.sum(axis=-1))


def recalls_of(tables: ArrayLike) -> NDArray[np.float64]:
    """Return the recalls from confusion matrices, (..., C, C) → (..., C); NaN where a class has no true utterance."""
    tables = np.asarray(tables, dtype=float)
    support = tables.sum(axis=-1)
    correct = np.diagonal(tables, axis1=-2, axis2=-1)
    return np.where(support > 0, correct / np.where(support > 0, support, 1), np.nan)


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
    class_recalls = recalls_of(table)
    return {
        "WA": float(wa_of(table)),
        "UA": float(ua_of(table)),
        "macro_F1": _macro_f1(table),
        "weighted_F1": _weighted_f1(table),
        "recall": {
            name: None if np.isnan(value) else float(value) for name, value in zip(classes, class_recalls, strict=True)
        },
        "confusion": table.tolist(),
    }


def _f1(table: NDArray[Any]) -> NDArray[np.float64]:
    """Return 2 TP / (true + predicted) of each class, (C,); 0 where the class occurs in neither."""
    occurs = table.sum(axis=0) + table.sum(axis=1)
    return np.asarray(2 * np.diag(table) / np.where(occurs > 0, occurs, 1))


def _macro_f1(table: NDArray[Any]) -> float:
    occurs = table.sum(axis=0) + table.sum(axis=1) > 0
    return float(_f1(table)[occurs].mean())


def _weighted_f1(table: NDArray[Any]) -> float:
    return float(np.average(_f1(table), weights=table.sum(axis=1)))


def _indices(labels: ArrayLike, name: str) -> NDArray[np.int64]:
    indices = np.asarray(labels)
    if indices.ndim != 1:
        raise RunError(f"The {name} labels have the shape {indices.shape}: give one class index an utterance.")
    if indices.size and not np.issubdtype(indices.dtype, np.integer):
        raise RunError(f"The {name} labels are of type {indices.dtype}: give class indices, which are whole numbers.")
    return indices.astype(np.int64)
