"""Turns a tree of run folders into runs: one configuration, with all its folds and seeds."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.targets import Target
from gia_mic.fuse.measure import Measure, measure_of
from gia_mic.fuse.runs.fold import FoldRun, read_fold
from gia_mic.fuse.runs.folder import METRICS, WHOLE, recorded_target, shared

__all__ = ["Run", "differences", "read_runs", "setting_text"]


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One model in one configuration: a row of a table.

    Attributes:
        name: Name of the run's folder.
        config: Entries of `config.json` that all its folds and seeds share.
        folds: Finished folds, by number and seed.
        unfinished: Folders of this name that have no metrics yet.
        broken: Reasons why others of its folders can't be read.
        note: Settings that differ from another configuration of the same name; empty where there is none.
    """

    name: str
    config: Mapping[str, Any] = field(repr=False)
    folds: tuple[FoldRun, ...]
    unfinished: int = 0
    note: str = ""
    broken: tuple[str, ...] = ()

    @property
    def corpus(self) -> str:
        """Name of the corpus."""
        return str(self.config["corpus"]["name"])

    @cached_property
    def target(self) -> Target:
        """What it predicts."""
        return recorded_target(self.config)

    @property
    def measure(self) -> Measure:
        """What its answers are scored by."""
        return measure_of(self.target)

    @property
    def classes(self) -> list[str]:
        """Names of its classes or scores, in the order of answers."""
        return list(self.target.names)

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
        """Name of the way the epoch was chosen: last, dev or test."""
        return str(self.config["select"])

    @property
    def ceilings(self) -> dict[str, float]:
        """Best possible value of metrics for these modalities, in expectation, by name, as far as the corpus knows it.

        For classes that is the accuracy, which WA and UA have in common.
        """
        ceiling = self.config["corpus"].get("ceiling")
        if self.target.kind == "label":
            return {} if ceiling is None else {"WA": float(ceiling), "UA": float(ceiling)}
        return {name: float(value) for name, value in (ceiling or {}).items()}

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
    def one_sided(self) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """Folds by class: those with the class in the test part alone, and those with it in the training part alone.

        Where a run of before doesn't say what it was trained on, that is the test parts of all other folds.
        """
        tested = {fold.number: fold.tested for fold in self.folds}
        untaught: dict[str, list[int]] = {}
        untested: dict[str, list[int]] = {}
        for fold in {fold.number: fold for fold in self.folds}.values():
            taught = fold.taught
            if taught is None and self.protocol != "split" and len(tested) == self.expected:
                taught = set().union(*(names for number, names in tested.items() if number != fold.number))
            if taught is None:
                continue
            for name in self.classes:
                if name in fold.tested - taught:
                    untaught.setdefault(name, []).append(fold.number)
                elif name in taught - fold.tested:
                    untested.setdefault(name, []).append(fold.number)
        return untaught, untested

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
        without `metrics.json` isn't finished, and only counted; one that is broken is warned of and left out.

    Raises:
        RunError: There is no finished run, or all are broken or of another format.
    """
    root = Path(root)
    folders = sorted(
        {
            folder.resolve()
            for pattern in ("fold-*/seed-*", "*/fold-*/seed-*", "*/*/fold-*/seed-*")
            for folder in root.glob(pattern)
            if folder.is_dir() and folder.parent.name != f"fold-{WHOLE}"
        }
    )
    finished: dict[tuple[str, str], list[FoldRun]] = {}
    unfinished: dict[tuple[str, str], int] = {}
    broken: dict[tuple[str, str], list[RunError]] = {}
    for folder in folders:
        corpus, name = folder.parents[2].name, folder.parents[1].name
        if (folder / METRICS).is_file():
            try:
                fold = _read_whole(folder)
                finished.setdefault((corpus, name), []).append(fold)
            except RunError as error:
                broken.setdefault((corpus, name), []).append(error)
        else:
            unfinished[corpus, name] = unfinished.get((corpus, name), 0) + 1
    causes = [cause for several in broken.values() for cause in several]
    if causes and not finished:
        raise causes[0]
    for cause in causes:
        logger.warning(f"Left out, because it is broken: {cause}")
    if not finished:
        content = f"no finished run ({len(folders)} unfinished)" if folders else "no run folder"
        raise RunError(f"There is {content} in {root}: train a model with `mer fuse-train --fold all` first.")
    return [
        run
        for (corpus, name), folds in finished.items()
        for run in _runs(name, folds, unfinished.get((corpus, name), 0), broken.get((corpus, name), ()))
    ]


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the entries in which configurations differ: dotted path → each one's value, None where it has none.

    >>> differences([{"training": {"epochs": 30}, "folds": 5}, {"training": {"epochs": 60}, "folds": 5}])
    {'training.epochs': [30, 60]}
    """
    flat = [dict(_flat(config)) for config in configs]
    paths = list(dict.fromkeys(path for entries in flat for path in entries))
    values = {path: [entries.get(path) for entries in flat] for path in paths}
    return {path: several for path, several in values.items() if any(value != several[0] for value in several)}


def setting_text(value: Any) -> str:
    """Return a setting's value in words.

    >>> setting_text(["gate", "generator"])
    'gate and generator'
    """
    if isinstance(value, list):
        return " and ".join(setting_text(item) for item in value) or "none"
    return value if isinstance(value, str) else json.dumps(value)


def _read_whole(folder: Path) -> FoldRun:
    """Read a run folder with all its files, so that one that is broken is found at once.

    Raises:
        RunError: A file is broken.
    """
    fold = read_fold(folder)
    _ = fold.predictions, fold.robustness, fold.history
    return fold


def _runs(name: str, folds: Sequence[FoldRun], unfinished: int, broken: Sequence[RunError]) -> list[Run]:
    """Group the folds of one name by configuration."""
    groups: dict[str, list[FoldRun]] = {}
    for fold in folds:
        groups.setdefault(json.dumps(shared(fold.config), sort_keys=True), []).append(fold)
    ordered = sorted(groups.values(), key=len, reverse=True)
    configs = [shared(group[0].config) for group in ordered]
    differing = differences(configs)
    runs = []
    for number, (config, group) in enumerate(zip(configs, ordered, strict=True)):
        settings = [f"{path} {setting_text(values[number])}" for path, values in differing.items()]
        group.sort(key=lambda fold: (fold.number, fold.seed))
        counted, why = (unfinished, tuple(map(str, broken))) if number == 0 else (0, ())
        runs.append(Run(name, config, tuple(group), counted, one_line(settings, 5), why))
    return runs


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [entry for key, inner in value.items() for entry in _flat(inner, f"{path}.{key}" if path else str(key))]
    return [(path, value)]
