"""Turns a finished run folder into its configuration, scores and predictions, each checked against the others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extract.errors import RunError, one_line
from fuse import measure
from report.predictions import Predictions, read

__all__ = ["FORMAT", "Fold", "read_fold"]

FORMAT = 1
CONFIG = {
    "corpus": dict,
    "protocol": str,
    "select": str,
    "fold": int,
    "folds": int,
    "seed": int,
    "modalities": list,
    "features": dict,
    "model": dict,
    "training": dict,
    "provenance": dict,
}
METRICS = {"WA": float, "UA": float, "recall": dict, "confusion": list, "test_utterances": int}
HINT = "remove the folder and train the fold again"


@dataclass(frozen=True)
class Fold:
    """One finished training: a run folder.

    Attributes:
        folder: `…/fold-<k>/seed-<n>`.
        config: Its `config.json`.
        metrics: Its `metrics.json`.
    """

    folder: Path
    config: Mapping[str, Any] = field(repr=False)
    metrics: Mapping[str, Any] = field(repr=False)

    @property
    def number(self) -> int:
        """Which fold was tested on, from 1."""
        return int(self.config["fold"])

    @property
    def value(self) -> str:
        """Value of the column that the folds come from, such as the session that was tested on."""
        value = self.config.get("fold_value")
        return str(self.number if value is None else value)

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return int(self.config["seed"])

    @cached_property
    def predictions(self) -> Predictions:
        """What the model said of each test utterance; read when first asked for.

        Raises:
            RunError: The file is broken, or doesn't give the scores of `metrics.json`.
        """
        classes = self.config["corpus"]["classes"]
        path = self.folder / "predictions.parquet"
        predictions = read(path, classes)
        counted = measure.confusion(predictions.true, predictions.predicted, len(classes))
        if counted.tolist() != self.metrics["confusion"]:
            raise RunError(f"{path} and the metrics.json beside it contradict each other: {HINT}.")
        return predictions


def read_fold(folder: Path) -> Fold:
    """Read a run folder; its predictions only once they are asked for.

    Raises:
        RunError: A file is missing, broken, of another format, or contradicts another one or the folder's path.
    """
    config = _read(folder / "config.json", CONFIG)
    metrics = _read(folder / "metrics.json", METRICS)
    for kind in ("fold", "seed"):
        named = folder.parent.name if kind == "fold" else folder.name
        if named != f"{kind}-{config[kind]}":
            raise RunError(f"{folder} holds {kind} {config[kind]}, which its path contradicts: {HINT}.")
    corpus, classes = config["corpus"], config["corpus"].get("classes")
    if not isinstance(corpus.get("name"), str) or not isinstance(config["model"].get("name"), str):
        raise RunError(f"{folder / 'config.json'} names no corpus or no model: {HINT}.")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise RunError(f"{folder / 'config.json'} lists no classes: {HINT}.")
    if not 1 <= config["fold"] <= config["folds"]:
        raise RunError(f"{folder / 'config.json'} is fold {config['fold']} of {config['folds']}: {HINT}.")
    _check_scores(folder / "metrics.json", metrics, classes)
    return Fold(folder, config, metrics)


def _check_scores(path: Path, metrics: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Refuse scores that don't follow from the confusion matrix beside them."""
    C = len(classes)
    try:
        table: NDArray[np.int64] = np.array(metrics["confusion"], dtype=np.int64)
    except (TypeError, ValueError):
        table = np.zeros(0, dtype=np.int64)
    if table.shape != (C, C) or (table < 0).any() or table.sum() != metrics["test_utterances"] or not table.sum():
        raise RunError(
            f"{path}: expected a confusion matrix of {C} × {C} counts over all "
            f"{metrics['test_utterances']} test utterances: {HINT}."
        )
    expected = measure.scores_of(table, classes)
    for name in ("WA", "UA"):
        if abs(metrics[name] - expected[name]) > 1e-6:
            raise RunError(
                f"{path}: {name} is {metrics[name]:.4f}, but its confusion matrix gives {expected[name]:.4f}: {HINT}."
            )


def _read(path: Path, entries: Mapping[str, type]) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is missing, though the fold is finished: {HINT}.") from None
    except (ValueError, RecursionError, OSError) as error:
        raise RunError(f"{path} can't be read as JSON ({error}): {HINT}.") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise RunError(f"{path} is of format {found!r}, but this version reads format {FORMAT}: {HINT}.")
    wrong = [
        name
        for name, kind in entries.items()
        if not isinstance(value.get(name), (int, float) if kind is float else kind) or isinstance(value[name], bool)
    ]
    if wrong:
        raise RunError(f"{path} lacks {one_line(wrong)}, or has it in another type: {HINT}.")
    return value
