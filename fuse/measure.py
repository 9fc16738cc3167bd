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

from extract.errors import RunError

__all__ = ["confusion", "macro_f1", "recalls", "scores", "ua", "wa", "weighted_f1"]


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
    return float(np.trace(table) / table.sum())


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
    return float(np.nanmean(recalls(true, predicted, classes)))


def recalls(true: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.float64]:
    """Return the recall of each class, (C,): the part of its utterances that was found; NaN where there are none.

    Raises:
        RunError: As `wa`.
    """
    return _recalls(confusion(true, predicted, classes))


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
    table = confusion(true, predicted, len(classes))
    found = _recalls(table)
    return {
        "WA": float(np.trace(table) / table.sum()),
        "UA": float(np.nanmean(found)),
        "macro_F1": _macro_f1(table),
        "weighted_F1": _weighted_f1(table),
        "recall": {name: None if np.isnan(value) else float(value) for name, value in zip(classes, found, strict=True)},
        "confusion": table.tolist(),
    }


def _recalls(table: NDArray[np.int64]) -> NDArray[np.float64]:
    support = table.sum(axis=1)
    return np.where(support > 0, np.diag(table) / np.maximum(support, 1), np.nan)


def _f1(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 2 TP / (true + predicted) of each class, (C,); 0 where the class occurs in neither."""
    occurs = table.sum(axis=0) + table.sum(axis=1)
    return np.asarray(2 * np.diag(table) / np.maximum(occurs, 1))


def _macro_f1(table: NDArray[np.int64]) -> float:
    occurs = table.sum(axis=0) + table.sum(axis=1) > 0
    return float(_f1(table)[occurs].mean())


def _weighted_f1(table: NDArray[np.int64]) -> float:
    return float(np.average(_f1(table), weights=table.sum(axis=1)))


def _indices(labels: ArrayLike, name: str) -> NDArray[np.int64]:
    indices = np.asarray(labels)
    if indices.ndim != 1:
        raise RunError(f"The {name} labels have the shape {indices.shape}: give one class index an utterance.")
    if indices.size and not np.issubdtype(indices.dtype, np.integer):
        raise RunError(f"The {name} labels are of type {indices.dtype}: give class indices, which are whole numbers.")
    return indices.astype(np.int64)
