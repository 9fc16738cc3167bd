"""Turns runs into groups that may stand in one table, each with the evidence for its numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.targets import Target
from gia_mic.fuse import controls
from gia_mic.fuse.controls import Control
from gia_mic.fuse.measure import Measure
from gia_mic.fuse.runs.runs import Run
from gia_mic.report import compare
from gia_mic.report.compare import Comparison, Evidence
from gia_mic.report.summary import Summary, summarise

__all__ = ["Group", "groups"]


@dataclass(frozen=True)
class Group:
    """What may stand in one table: runs of one corpus and target under one protocol with the same caveat, or none.

    Attributes:
        corpus: Name of the corpus.
        protocol: Column that the folds come from.
        caveat: Why its numbers are too high to stand beside others; empty where they aren't.
        rows: Summaries, those with the best mean of the primary metric first.
    """

    corpus: str
    protocol: str
    caveat: str
    rows: tuple[Summary, ...]

    @property
    def target(self) -> Target:
        """What the runs predict; where it is the label, their classes may differ."""
        return self.rows[0].run.target

    @property
    def title(self) -> str:
        """What its tables are of, such as iemocap, valence by session."""
        of_what = "" if self.target.kind == "label" else f"{', '.join(self.target.name.split(','))} "
        return f"{self.corpus}, {of_what}by {self.protocol}"

    @property
    def measure(self) -> Measure:
        """What the runs are scored by."""
        return self.rows[0].measure

    @property
    def classes(self) -> list[str]:
        """Names of classes or scores that occur in the runs, in their order."""
        return list(dict.fromkeys(name for row in self.rows for name in row.run.classes))

    @property
    def names(self) -> list[str]:
        """A name for each row: the run's, with its fusion where the name doesn't say it, numbered if not unique."""
        runs = [row.run for row in self.rows]
        names = [run.name if run.name.startswith(run.fusion) else f"{run.name} ({run.fusion})" for run in runs]
        return [
            f"{name} [{names[:row].count(name) + 1}]" if names.count(name) > 1 else name
            for row, name in enumerate(names)
        ]

    @cached_property
    def evidence(self) -> list[Evidence]:
        """Intervals and calibration, in the order of the rows."""
        return compare.gather([row.run for row in self.rows])

    @cached_property
    def best(self) -> int:
        """Number of the row with the best mean of the primary metric, among those with all folds where there is one."""
        return compare.best(self.rows)

    @cached_property
    def against_best(self) -> list[Comparison | None]:
        """Comparison of each row with the best one."""
        return compare.compare(self.evidence, self.best)

    @cached_property
    def controls(self) -> dict[str, Control]:
        """What the mean of the training part and the scenario alone score on the same folds; none where one is missing.

        The training part of a fold is taken to be the test parts of all others, as under every protocol but `split`.
        """
        run = self.rows[self.best].run
        if (
            run.protocol == "split"
            or run.config.get("inner")
            or run.expected < 2
            or run.numbers != list(range(1, run.expected + 1))
        ):
            return {}
        first = {fold.number: fold.predictions for fold in reversed(run.folds)}
        folds = [first[number] for number in run.numbers]
        true = [fold.true for fold in folds]
        target = run.target

        def rest(parts: Sequence[Any], number: int) -> Any:
            return np.concatenate([part for fold, part in enumerate(parts) if fold != number])

        answers = {
            controls.constant_name(target): [
                controls.of_training_part(target, rest(true, k), len(fold)) for k, fold in enumerate(folds)
            ]
        }
        scenarios = [part for fold in folds if (part := fold.about("scenario")) is not None and None not in part]
        if len(scenarios) == len(folds):
            answers["scenario"] = [
                controls.of_scenario(target, rest(true, k), rest(scenarios, k), part)
                for k, part in enumerate(scenarios)
            ]
        return {name: controls.control_of(name, target, true, several) for name, several in answers.items()}

    def against(self, row: int) -> list[Comparison | None]:
        """Return the comparison of each row with one of them."""
        return self.against_best if row == self.best else compare.compare(self.evidence, row)

    def find_row(self, name: str) -> int | None:
        """Return which row is a run's, from 0, by the run's name or the name in the table; None if it isn't here.

        Raises:
            RunError: Several rows have that name.
        """
        rows = [number for number, row_name in enumerate(self.names) if row_name == name]
        rows = rows or [number for number, row in enumerate(self.rows) if row.run.name == name]
        if len(rows) > 1:
            several = one_line(self.names[number] for number in rows)
            raise RunError(f"{name!r} is the name of {len(rows)} rows: choose one of {several} as the reference.")
        return rows[0] if rows else None


def groups(runs: Iterable[Run]) -> list[Group]:
    """Sort runs into groups, the label before other targets, those with a caveat last."""
    by_table: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        target = None if run.target.kind == "label" else run.target
        by_table.setdefault((_caveat(run), run.corpus, run.protocol, target), []).append(run)
    ordered = sorted(by_table.items(), key=lambda item: (*item[0][:3], "" if item[0][3] is None else item[0][3].name))
    return [
        Group(corpus, protocol, caveat, tuple(sorted(map(summarise, alike), key=lambda row: -row.merit)))
        for (caveat, corpus, protocol, _), alike in ordered
    ]


def _caveat(run: Run) -> str:
    reasons = []
    if run.select == "test":
        reasons.append("epoch chosen on the test fold")
    if run.config.get("inner"):
        reasons.append("tested on a part of the training folds")
    if run.config.get("allow_shared"):
        kept_apart = "scenarios" if run.protocol == "scenario" else "speakers"
        reasons.append(f"training and test share {kept_apart}")
    return " and ".join(reasons)
