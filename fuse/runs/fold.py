"""Turns a finished run folder into its configuration, scores and predictions, each checked against the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gia_mic.extract.errors import RunError, one_line
from gia_mic.fuse import measure
from gia_mic.fuse.runs.folder import CONFIG, HINT, METRICS, PREDICTIONS, read_config, read_json
from gia_mic.fuse.runs.history import read_history
from gia_mic.fuse.runs.predictions import Predictions, read_predictions

__all__ = ["Fold", "read_fold"]

ENTRIES = {
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
SCORES = {"WA": float, "UA": float, "recall": dict, "confusion": list, "test_utterances": int}
MOST_FOLDS = 100_000


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

    @property
    def without_features(self) -> int:
        """How many test utterances have no features, so that the answer is the most frequent class."""
        counts = self.metrics.get("without_features")
        count = counts.get("test") if isinstance(counts, dict) else None
        return count if type(count) is int else 0

    @property
    def history(self) -> dict[str, list[float]]:
        """Columns of `history.csv` by epoch; empty where there is none.

        Raises:
            RunError: It isn't a table of numbers.
        """
        return read_history(self.folder)

    @cached_property
    def predictions(self) -> Predictions:
        """What the model said of each test utterance; read when first asked for.

        Raises:
            RunError: The file is broken, or doesn't give the scores of `metrics.json`.
        """
        classes = self.config["corpus"]["classes"]
        path = self.folder / PREDICTIONS
        predictions = read_predictions(path, classes)
        counted = measure.confusion(predictions.true, predictions.predicted, len(classes))
        if counted.tolist() != self.metrics["confusion"]:
            raise RunError(f"{path} and the {METRICS} beside it contradict each other: {HINT}.")
        return predictions


def read_fold(folder: Path) -> Fold:
    """Read a run folder; its predictions only once they are asked for.

    Raises:
        RunError: A file is missing, broken, of another format, or contradicts another one or the folder's path.
    """
    config, metrics = read_config(folder), read_json(folder / METRICS)
    _check_entries(folder / CONFIG, config, ENTRIES)
    _check_entries(folder / METRICS, metrics, SCORES)
    problems = _problems(config)
    if problems:
        raise RunError(f"{folder / CONFIG}: {one_line(problems)}: {HINT}.")
    for kind in ("fold", "seed"):
        named = folder.parent.name if kind == "fold" else folder.name
        if named != f"{kind}-{config[kind]}":
            raise RunError(f"{folder} holds {kind} {config[kind]}, which its path contradicts: {HINT}.")
    _check_scores(folder / METRICS, metrics, config["corpus"]["classes"])
    return Fold(folder, config, metrics)


def _problems(config: Mapping[str, Any]) -> list[str]:
    """Return what a report would stumble over inside the entries."""
    corpus, made = config["corpus"], config["provenance"]
    classes, ceiling = corpus.get("classes"), corpus.get("ceiling")
    return [
        problem
        for problem, found in {
            "the corpus has no name": not _is_text(corpus.get("name")),
            "the model has no name": not _is_text(config["model"].get("name")),
            "the classes aren't different names": not _are_texts(classes)
            or len(set(classes or ())) < len(classes or ()),
            "the ceiling isn't in 0 … 1": not (ceiling is None or (_is_number(ceiling) and 0 <= ceiling <= 1)),
            "the modalities aren't names": not _are_texts(config["modalities"]),
            "the features aren't described": not all(isinstance(entry, dict) for entry in config["features"].values()),
            "the versions aren't listed": not isinstance(made.get("versions") or {}, dict),
            f"it is fold {config['fold']} of {config['folds']}": not 1
            <= config["fold"]
            <= config["folds"]
            <= MOST_FOLDS,
        }.items()
        if found
    ]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(map(_is_text, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_scores(path: Path, metrics: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Refuse scores that don't follow from the confusion matrix beside them."""
    C = len(classes)
    rows = metrics["confusion"]
    counts = [count for row in rows if isinstance(row, list) for count in row]
    square = len(rows) == C and all(isinstance(row, list) and len(row) == C for row in rows)
    if not square or not all(type(count) is int and 0 <= count <= metrics["test_utterances"] for count in counts):
        counts = []
    table = np.array(counts, dtype=object)
    if not counts or table.sum() != metrics["test_utterances"] or not table.sum():
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


def _check_entries(path: Path, value: Mapping[str, Any], entries: Mapping[str, type]) -> None:
    """Refuse what a JSON file holds, unless it has these entries in these types."""
    wrong = [
        name
        for name, kind in entries.items()
        if not isinstance(value.get(name), (int, float) if kind is float else kind) or isinstance(value[name], bool)
    ]
    if wrong:
        raise RunError(f"{path} lacks {one_line(wrong)}, or has it in another type: {HINT}.")
