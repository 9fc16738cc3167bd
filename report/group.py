"""Turns runs into groups that may stand in one table, each with the evidence for its numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gia_mic.extract.errors import RunError, one_line
from gia_mic.fuse.audit import Control, by_value, majority, scores_of_control
from gia_mic.fuse.runs.runs import Run
from gia_mic.report import compare
from gia_mic.report.compare import Comparison, Evidence
from gia_mic.report.summary import Summary, summarise

__all__ = ["Group", "groups"]


@dataclass(frozen=True)
class Group:
    """What may stand in one table: runs of one corpus under one protocol with the same caveat, or none.

    Attributes:
        corpus: Name of the corpus.
        protocol: Column that the folds come from.
        caveat: Why its numbers are too high to stand beside others; empty where they aren't.
        rows: Summaries, highest mean UA first.
    """

    corpus: str
    protocol: str
    caveat: str
    rows: tuple[Summary, ...]

    @property
    def classes(self) -> list[str]:
        """Class names that occur in the runs, in their order."""
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
        """Number of the row with the highest mean UA, among those with all folds where there is one."""
        return compare.best(self.rows)

    @cached_property
    def against_best(self) -> list[Comparison | None]:
        """Comparison of each row with the best one."""
        return compare.compare(self.evidence, self.best)

    @cached_property
    def controls(self) -> dict[str, Control]:
        """What the most frequent class and the scenario alone score on the same folds; none where a fold is missing.

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
        C = len(run.classes)

        def rest(parts: Sequence[Any], number: int) -> Any:
            return np.concatenate([part for fold, part in enumerate(parts) if fold != number])

        answers = {"majority": [majority(rest(true, k), len(fold), C) for k, fold in enumerate(folds)]}
        scenarios = [part for fold in folds if (part := fold.about("scenario")) is not None and None not in part]
        if len(scenarios) == len(folds):
            answers["scenario"] = [
                by_value(rest(true, k), rest(scenarios, k), part, C) for k, part in enumerate(scenarios)
            ]
        return {name: scores_of_control(name, true, predicted, run.classes) for name, predicted in answers.items()}

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
    """Sort runs into groups, those with a caveat last."""
    by_table: dict[tuple[str, str, str], list[Summary]] = {}
    for run in runs:
        by_table.setdefault((_caveat(run), run.corpus, run.protocol), []).append(summarise(run))
    return [
        Group(corpus, protocol, caveat, tuple(sorted(rows, key=lambda row: -row.ua.mean)))
        for (caveat, corpus, protocol), rows in sorted(by_table.items(), key=lambda item: item[0])
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
