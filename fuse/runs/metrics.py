"""Turns the scores of a tested fold into `metrics.json`, and back, checked against their confusion matrix."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gia_mic.extract.errors import RunError
from gia_mic.extract.files import write_json
from gia_mic.fuse import measure
from gia_mic.fuse.runs.folder import FORMAT, HINT, METRICS, read_entries

__all__ = ["read_metrics", "write_metrics"]

ENTRIES = {"WA": float, "UA": float, "recall": dict, "confusion": list, "test_utterances": int}
"""Entries that a report needs, with their types."""


def write_metrics(
    run_dir: Path,
    scores: Mapping[str, Any],
    *,
    train_classes: Mapping[str, int],
    train_utterances: int,
    test_utterances: int,
    without_features: Mapping[str, int],
    epoch: int,
    seconds: float,
    parameters: int,
) -> None:
    """Write the scores of a fold, which makes its run folder a finished one.

    Args:
        run_dir: The run folder; everything else in it is written.
        scores: Scores in 0 … 1, as `measure.scores` gives them.
        train_classes: Number of utterances of each class that there were to learn from.
        train_utterances: Number of utterances that the model learned from.
        test_utterances: Number of utterances that it was tested on.
        without_features: `train` and `test` → number of utterances of that part without features.
        epoch: Epoch whose weights were taken, from 1.
        seconds: Duration of the training.
        parameters: Number of the model's weights.
    """
    write_json(
        run_dir / METRICS,
        {
            "format": FORMAT,
            **scores,
            "train_classes": dict(train_classes),
            "train_utterances": train_utterances,
            "test_utterances": test_utterances,
            "without_features": dict(without_features),
            "epoch": epoch,
            "seconds": round(seconds, 3),
            "parameters": parameters,
        },
    )


def read_metrics(run_dir: Path, classes: Sequence[str]) -> dict[str, Any]:
    """Return the scores of a finished fold.

    Args:
        run_dir: The run folder.
        classes: Class names, in the order of class indices.

    Raises:
        RunError: The file is missing, broken or of another format, or its scores contradict its confusion matrix.
    """
    path = run_dir / METRICS
    metrics = read_entries(path, ENTRIES)
    C = len(classes)
    rows = metrics["confusion"]
    counts = [count for row in rows if isinstance(row, list) for count in row]
    square = len(rows) == C and all(isinstance(row, list) and len(row) == C for row in rows)
    if not square or not all(type(count) is int and 0 <= count <= metrics["test_utterances"] for count in counts):
        counts = []
    if not counts or sum(counts) != metrics["test_utterances"] or not sum(counts):
        raise RunError(
            f"{path}: expected a confusion matrix of {C} × {C} counts over all "
            f"{metrics['test_utterances']} test utterances: {HINT}."
        )
    expected = measure.scores_of(np.array(rows, dtype=np.int64), classes)
    for name in ("WA", "UA"):
        if abs(metrics[name] - expected[name]) > 1e-6:
            raise RunError(
                f"{path}: {name} is {metrics[name]:.4f}, but its confusion matrix gives {expected[name]:.4f}: {HINT}."
            )
    return metrics
