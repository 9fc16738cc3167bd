"""Turns the scores of a tested fold into `metrics.json`, and back, checked against their confusion matrix."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gia_mic.extract.errors import RunError
from gia_mic.extract.files import write_json
from gia_mic.extract.targets import Target
from gia_mic.fuse.measure import measure_of
from gia_mic.fuse.runs.folder import FORMAT, HINT, METRICS, is_number, read_entries

__all__ = ["read_metrics", "write_metrics"]

ENTRIES: dict[str, dict[str, type]] = {
    "label": {"WA": float, "UA": float, "recall": dict, "confusion": list, "test_utterances": int},
    "other": {"tally": list, "test_utterances": int},
}
"""Entries that a report needs, with their types, for the target `label` and for others."""


def write_metrics(
    run_dir: Path,
    scores: Mapping[str, Any],
    *,
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
        scores: Scores as the target's `Measure.scores` gives them. For the target `label` also `train_classes`, the
            number of utterances of each class that there were to learn from; for others `tally`, what they come from.
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
            "train_utterances": train_utterances,
            "test_utterances": test_utterances,
            "without_features": dict(without_features),
            "epoch": epoch,
            "seconds": round(seconds, 3),
            "parameters": parameters,
        },
    )


def read_metrics(run_dir: Path, target: Target) -> dict[str, Any]:
    """Return the scores of a finished fold, with `tally` in any case.

    Args:
        run_dir: The run folder.
        target: What the run predicts.

    Raises:
        RunError: The file is missing, broken or of another format, or its scores contradict what they come from.
    """
    path, measure = run_dir / METRICS, measure_of(target)
    metrics = read_entries(path, ENTRIES["label" if target.kind == "label" else "other"])
    if target.kind == "label":
        metrics["tally"] = _confusion(path, metrics, len(target.names))
    tally = metrics["tally"]
    if len(tally) != measure.size or not all(map(is_number, tally)) or not metrics["test_utterances"] > 0:
        raise RunError(f"{path}: expected a tally of {measure.size} numbers over at least one test utterance: {HINT}.")
    with np.errstate(all="ignore"):  # whatever a damaged tally makes, the scores beside it contradict it
        expected = measure.scores(np.array(tally, dtype=float))
    for name in measure.headline:
        stated = metrics.get(name)
        if name in expected and not _same(stated, expected[name]):
            source = "confusion matrix" if target.kind == "label" else "tally"
            raise RunError(
                f"{path}: {name} is {_shown(stated)}, but its {source} gives {_shown(expected[name])}: {HINT}."
            )
    return metrics


def _confusion(path: Path, metrics: Mapping[str, Any], C: int) -> list[int]:
    """Return the counts of a confusion matrix, row by row.

    Raises:
        RunError: It isn't C × C counts of all test utterances.
    """
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
    return counts


def _shown(value: Any) -> str:
    return f"{value:.4f}" if is_number(value) else repr(value)


def _same(stated: Any, expected: float | None) -> bool:
    if expected is None or not is_number(stated):
        return stated is None and expected is None
    return abs(stated - expected) <= 1e-6
