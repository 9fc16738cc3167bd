"""Turns a finished run folder into its configuration, scores and predictions, each checked against the others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.targets import Target
from gia_mic.fuse.measure import measure_of
from gia_mic.fuse.runs.folder import CONFIG, HINT, METRICS, PREDICTIONS, is_number, read_config, recorded_target
from gia_mic.fuse.runs.history import read_history
from gia_mic.fuse.runs.metrics import read_metrics
from gia_mic.fuse.runs.predictions import Predictions, read_predictions
from gia_mic.fuse.runs.robustness import Robustness, read_robustness

__all__ = ["FoldRun", "read_fold"]

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
MOST_FOLDS = 100_000


@dataclass(frozen=True)
class FoldRun:
    """One finished training: a run folder.

    Attributes:
        folder: `…/fold-<k>/seed-<n>`.
        config: Entries of `config.json`.
        metrics: Entries of `metrics.json`.
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
    def target(self) -> Target:
        """What the model predicts."""
        return recorded_target(self.config)

    @property
    def tally(self) -> NDArray[np.float64]:
        """What its scores come from, (S,), as the measure of its target counts it."""
        return np.array(self.metrics["tally"], dtype=float)

    @property
    def without_features(self) -> int:
        """Number of test utterances without features, for which the answer is the training part's mean."""
        counts = self.metrics.get("without_features")
        count = counts.get("test") if isinstance(counts, dict) else None
        return count if type(count) is int else 0

    @property
    def tested(self) -> set[str]:
        """Classes that the test part has; none where the target isn't the label."""
        counts = self.metrics.get("confusion", []) if self.target.kind == "label" else []
        return {name for name, row in zip(self.target.names, counts, strict=False) if sum(row)}

    @property
    def taught(self) -> set[str] | None:
        """Classes that the training part has; None in a run of before, which doesn't say."""
        counts = self.metrics.get("train_classes")
        if not isinstance(counts, dict):
            return None
        return {name for name, count in counts.items() if type(count) is int and count > 0}

    @property
    def history(self) -> dict[str, list[float]]:
        """Columns of `history.csv` by epoch; empty where there is none.

        Raises:
            RunError: It isn't a table of numbers.
        """
        return read_history(self.folder)

    @cached_property
    def robustness(self) -> Robustness | None:
        """Scores with less than the model was trained on; None where it wasn't tested so since its training.

        Raises:
            RunError: The file is broken.
        """
        return read_robustness(self.folder, self.config["modalities"], measure_of(self.target))

    @cached_property
    def predictions(self) -> Predictions:
        """What the model said of each test utterance; read when first asked for.

        Raises:
            RunError: The file is broken, or doesn't give the scores of `metrics.json`.
        """
        path = self.folder / PREDICTIONS
        predictions = read_predictions(path, self.target)
        [tally] = measure_of(self.target).tally(predictions.true, predictions.answers)
        if not np.allclose(tally, self.metrics["tally"], rtol=1e-5, atol=1e-5):
            raise RunError(f"{path} and the {METRICS} beside it contradict each other: {HINT}.")
        return predictions


def read_fold(folder: Path) -> FoldRun:
    """Read a run folder; its predictions only once they are asked for.

    Raises:
        RunError: A file is missing, broken, of another format, or contradicts another one or the folder's path.
    """
    config = read_config(folder, ENTRIES)
    problems = _problems(config)
    if problems:
        raise RunError(f"{folder / CONFIG}: {one_line(problems)}: {HINT}.")
    for kind in ("fold", "seed"):
        named = folder.parent.name if kind == "fold" else folder.name
        if named != f"{kind}-{config[kind]}":
            raise RunError(f"{folder} holds {kind} {config[kind]}, which its path contradicts: {HINT}.")
    return FoldRun(folder, config, read_metrics(folder, recorded_target(config)))


def _problems(config: Mapping[str, Any]) -> list[str]:
    """Return what a report would stumble over inside the entries."""
    corpus, provenance = config["corpus"], config["provenance"]
    search, trials = config.get("search"), config.get("trials")
    ceiling = corpus.get("ceiling")
    best = ceiling.values() if isinstance(ceiling, dict) else [] if ceiling is None else [ceiling]
    return [
        problem
        for problem, wrong in {
            "the corpus has no name": not _is_text(corpus.get("name")),
            "the model has no name": not _is_text(config["model"].get("name")),
            "the classes aren't different names": "target" not in config and not _is_target(config),
            "the target isn't described": "target" in config and not _is_target(config),
            "the ceiling isn't in 0 … 1": not isinstance(ceiling, dict) and not all(_is_share(value) for value in best),
            "the ceilings aren't numbers": not all(map(is_number, best)),
            "the modalities aren't names": not _are_texts(config["modalities"]),
            "the features aren't described": not all(isinstance(entry, dict) for entry in config["features"].values()),
            "the versions aren't listed": not isinstance(provenance.get("versions") or {}, dict),
            "the search of its settings isn't described": search is not None
            and not (_is_target(config) and _is_search(search, trials, measure_of(recorded_target(config)).primary)),
            f"it is fold {config['fold']} of {config['folds']}": not 1
            <= config["fold"]
            <= config["folds"]
            <= MOST_FOLDS,
        }.items()
        if wrong
    ]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(map(_is_text, value))


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


def _is_target(config: Mapping[str, Any]) -> bool:
    try:
        names = recorded_target(config).names
    except (KeyError, TypeError, ValueError):
        return False
    return all(map(_is_text, names)) and len(set(names)) == len(names) > 0


def _is_search(search: Any, trials: Any, primary: str) -> bool:
    return (
        isinstance(search, dict)
        and isinstance(search.get("space"), dict)
        and isinstance(trials, list)
        and trials != []
        and all(isinstance(trial, dict) and is_number(trial.get(primary)) for trial in trials)
    )
