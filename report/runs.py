"""Turns a tree of run folders into runs: one configuration, with all its folds and seeds."""

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

__all__ = ["FORMAT", "Fold", "Run", "differences", "read_runs"]

FORMAT = 1
OF_ONE_FOLD = ("fold", "fold_value", "seed", "provenance")
"""Entries of `config.json` that don't tell one configuration from another."""

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


@dataclass(frozen=True)
class Run:
    """One model in one configuration: a row of a table.

    Attributes:
        name: Name of the run's folder.
        config: What all its folds and seeds share.
        folds: Finished folds, by number and seed.
        unfinished: Folders of this name that have no metrics yet.
        note: What sets it apart from another configuration of the same name; empty where there is none.
    """

    name: str
    config: Mapping[str, Any] = field(repr=False)
    folds: tuple[Fold, ...]
    unfinished: int = 0
    note: str = ""

    @property
    def corpus(self) -> str:
        """Name of the corpus."""
        return str(self.config["corpus"]["name"])

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of class indices."""
        return list(self.config["corpus"]["classes"])

    @property
    def fusion(self) -> str:
        """Name of the fusion model."""
        return str(self.config["model"]["name"])

    @property
    def modalities(self) -> list[str]:
        """Names of its modalities."""
        return list(self.config["modalities"])

    @property
    def protocol(self) -> str:
        """Column that the folds come from."""
        return str(self.config["protocol"])

    @property
    def select(self) -> str:
        """How the epoch was chosen."""
        return str(self.config["select"])

    @property
    def ceiling(self) -> float | None:
        """Accuracy that no model of these modalities can be above in expectation, where the corpus knows it."""
        ceiling = self.config["corpus"].get("ceiling")
        return None if ceiling is None else float(ceiling)

    @property
    def expected(self) -> int:
        """Number of folds of the protocol."""
        return int(self.config["folds"])

    @property
    def numbers(self) -> list[int]:
        """Numbers of the finished folds, each once."""
        return sorted({fold.number for fold in self.folds})

    @property
    def seeds(self) -> list[int]:
        """Seeds that occur."""
        return sorted({fold.seed for fold in self.folds})

    @property
    def complete(self) -> bool:
        """Whether every fold is finished with every seed."""
        return len(self.folds) == self.expected * len(self.seeds)


def read_runs(root: Path) -> list[Run]:
    """Read all runs below a folder.

    Args:
        root: The runs folder, or the folder of one corpus or one run in it.

    Returns:
        Runs by corpus, name and configuration, those with the most folds first where a name has several. A folder
        without `metrics.json` isn't finished, and only counted.

    Raises:
        RunError: There is no finished run, or a file is broken or of another format.
    """
    root = Path(root)
    folders = sorted(
        {
            folder.resolve()
            for pattern in ("fold-*/seed-*", "*/fold-*/seed-*", "*/*/fold-*/seed-*")
            for folder in root.glob(pattern)
            if folder.is_dir()
        }
    )
    finished: dict[tuple[str, str], list[Fold]] = {}
    unfinished: dict[tuple[str, str], int] = {}
    for folder in folders:
        corpus, name = folder.parents[2].name, folder.parents[1].name
        if (folder / "metrics.json").is_file():
            finished.setdefault((corpus, name), []).append(_fold(folder))
        else:
            unfinished[corpus, name] = unfinished.get((corpus, name), 0) + 1
    if not finished:
        found = f"only {len(folders)} unfinished run folders" if folders else "no run folder"
        raise RunError(f"There is {found} in {root}: train a model with `mer fuse-train --fold all` first.")
    return [
        run
        for (corpus, name), folds in finished.items()
        for run in _runs(name, folds, unfinished.get((corpus, name), 0))
    ]


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the entries in which configurations differ: dotted path → each one's value, None where it has none.

    >>> differences([{"training": {"epochs": 30}, "folds": 5}, {"training": {"epochs": 60}, "folds": 5}])
    {'training.epochs': [30, 60]}
    """
    flat = [dict(_flat(config)) for config in configs]
    paths = list(dict.fromkeys(path for entries in flat for path in entries))
    values = {path: [entries.get(path) for entries in flat] for path in paths}
    return {path: found for path, found in values.items() if any(value != found[0] for value in found)}


def _runs(name: str, folds: Sequence[Fold], unfinished: int) -> list[Run]:
    """Group the folds of one name by configuration."""
    groups: dict[str, list[Fold]] = {}
    for fold in folds:
        groups.setdefault(json.dumps(_shared(fold.config), sort_keys=True), []).append(fold)
    ordered = sorted(groups.values(), key=len, reverse=True)
    configs = [_shared(group[0].config) for group in ordered]
    differing = differences(configs)
    runs = []
    for number, (config, group) in enumerate(zip(configs, ordered, strict=True)):
        said = [f"{path} {_shown(values[number])}" for path, values in differing.items()]
        group.sort(key=lambda fold: (fold.number, fold.seed))
        runs.append(Run(name, config, tuple(group), unfinished if number == 0 else 0, one_line(said, 5)))
    return runs


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in OF_ONE_FOLD}


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [entry for key, inner in value.items() for entry in _flat(inner, f"{path}.{key}" if path else str(key))]
    return [(path, value)]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _fold(folder: Path) -> Fold:
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
