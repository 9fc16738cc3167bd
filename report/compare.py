"""Turns the runs of a table into evidence: an interval for each, its calibration, and its distance from another run.

What a run says of an utterance is the mean over its seeds, as in the table; McNemar's test, which needs one answer an
utterance, takes the lowest seed that both runs share. It and the calibration need a target of one class of many: its
answers are right or wrong, and say with which probability.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gia_mic.fuse.measure import Measure
from gia_mic.fuse.runs.runs import Run
from gia_mic.report import statistics
from gia_mic.report.statistics import Bin, Difference, Interval
from gia_mic.report.summary import Summary

__all__ = ["SIGNIFICANCE", "Comparison", "Evidence", "best", "compare", "gather"]

SIGNIFICANCE = 0.05
"""A difference whose corrected p is below it is taken as one."""

FEWEST_SPEAKERS = 10
"""Speakers below which drawing them tells less of the spread than drawing utterances."""


@dataclass(frozen=True)
class Evidence:
    """All answers of a run, and what they alone show.

    N is the number of answers of all its folds and seeds, which stand one after the other.

    Attributes:
        measure: What the answers are scored by.
        utterance: (N,) utterance numbers, the same in all runs gathered together.
        true: (N, K) what is true.
        answers: (N, K) what the run said.
        weight: (N,) what an answer counts: 1 / number of its fold's seeds.
        seed: (N,) seed of the training.
        group: (N,) group numbers, the same in all runs gathered together.
        names: Utterance id → utterance number.
        groups: Number of groups, whose utterances resemble each other.
        over: What a group is: dialogs, or speakers where not all runs name dialogs, or utterances.
        intervals: Interval of each metric of the main table, pooled.
        bins: Calibration; None where an answer isn't one class of many.
        calibration_error: Expected calibration error; None as well.
    """

    measure: Measure
    utterance: NDArray[np.int64] = field(repr=False)
    true: NDArray[np.float64] = field(repr=False)
    answers: NDArray[np.float32] = field(repr=False)
    weight: NDArray[np.float64] = field(repr=False)
    seed: NDArray[np.int64] = field(repr=False)
    group: NDArray[np.int64] = field(repr=False)
    names: Mapping[str, int] = field(repr=False)
    groups: int
    over: str
    intervals: Mapping[str, Interval]
    bins: list[Bin] | None = field(repr=False)
    calibration_error: float | None

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the most probable class is the true one, or one of those with most votes, (N,)."""
        return is_right(self.true, self.answers)


@dataclass(frozen=True)
class Comparison:
    """A run against another one, on the utterances that both were tested on.

    Attributes:
        metric: Name of the metric compared, the primary one.
        utterances: Number of utterances that both were tested on.
        difference: Difference of the metric, pooled, this run minus the other, with the p uncorrected.
        mcnemar: p of McNemar's test, uncorrected; None where an answer isn't one class of many.
        holm: p of the difference, corrected for the number of comparisons.
        mcnemar_holm: p of McNemar's test, corrected; None as well.
    """

    metric: str
    utterances: int
    difference: Difference
    mcnemar: float | None
    holm: float
    mcnemar_holm: float | None

    @property
    def distinguishable(self) -> bool:
        """Whether the metric differs beyond chance."""
        return self.holm < SIGNIFICANCE


def gather(runs: Sequence[Run]) -> list[Evidence]:
    """Read the predictions of runs of one corpus and target.

    Raises:
        RunError: A predictions file is broken.
    """
    grouped_by = _widest_group(runs)
    utterances, values = _Numbers(), _Numbers()
    return [_evidence(run, utterances, grouped_by, values) for run in runs]


def best(rows: Sequence[Summary]) -> int:
    """Return which row has the best mean of the primary metric, among those with all folds where there is one."""
    complete = [number for number, row in enumerate(rows) if row.run.complete] or range(len(rows))
    return max(complete, key=lambda number: rows[number].merit)


def compare(evidence: Sequence[Evidence], reference: int) -> list[Comparison | None]:
    """Compare each run with one of them, and correct for their number.

    Returns:
        A comparison a run; None for the reference itself, and for a run that shares no utterance with it, or for which
        another target or truth is given for one.
    """
    pairs = [None if number == reference else _pair(one, evidence[reference]) for number, one in enumerate(evidence)]
    compared = [pair for pair in pairs if pair is not None]
    corrected = iter(statistics.holm([difference.p for _, difference, _ in compared]))
    corrected_mcnemar = iter(statistics.holm([p for _, _, p in compared if p is not None]))
    comparisons: list[Comparison | None] = []
    for one, pair in zip(evidence, pairs, strict=True):
        if pair is None:
            comparisons.append(None)
            continue
        count, difference, p = pair
        mcnemar_holm = None if p is None else float(next(corrected_mcnemar))
        comparisons.append(Comparison(one.measure.primary, count, difference, p, float(next(corrected)), mcnemar_holm))
    return comparisons


def is_right(true: NDArray[np.float64], answers: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return whether the most probable class is the true one, or one of those with most votes, (B,).

    Args:
        true: (B, C) classes as 0 and 1, or shares of votes.
        answers: (B, C) probabilities.
    """
    rows = np.arange(len(true))
    return np.asarray(true[rows, answers.argmax(axis=1)] == true.max(axis=1))


def _widest_group(runs: Sequence[Run]) -> str:
    """Return the column whose values are drawn: dialogs; speakers, where there are some more; or utterances."""
    for name, fewest in (("dialog", 1), ("speaker", FEWEST_SPEAKERS)):
        columns = [fold.predictions.about(name) for run in runs for fold in run.folds]
        values = {value for column in columns for value in ([None] if column is None else set(column))}
        if None not in values and len(values) >= fewest:
            return name
    return "utterance"


def _evidence(run: Run, utterances: "_Numbers", grouped_by: str, groups: "_Numbers") -> Evidence:
    measure = run.measure
    predictions = [fold.predictions for fold in run.folds]
    trainings = {number: sum(fold.number == number for fold in run.folds) for number in run.numbers}
    sizes = [len(entry) for entry in predictions]
    utterance = np.concatenate([utterances.of(entry.ids) for entry in predictions])
    true = np.concatenate([entry.true for entry in predictions])
    answers = np.concatenate([entry.answers for entry in predictions])
    weight = np.repeat([1 / trainings[fold.number] for fold in run.folds], sizes)
    columns = [column for entry in predictions if (column := entry.about(grouped_by)) is not None]
    group = np.concatenate([groups.of(column) for column in columns]) if columns else utterance
    tallies = measure.tally(true, answers, np.unique(group, return_inverse=True)[1], weight)
    intervals = statistics.bootstrap(tallies, [partial(measure.value, name) for name in measure.headline])
    bins = None
    if measure.target.one_of_many:
        share = true[np.arange(len(true)), answers.argmax(axis=1)]  # 0 or 1 of a class, between them of votes
        bins = statistics.calibration(share, answers.max(axis=1), weight)
    return Evidence(
        measure=measure,
        utterance=utterance,
        true=true,
        answers=answers,
        weight=weight,
        seed=np.repeat([fold.seed for fold in run.folds], sizes),
        group=group,
        names=utterances.known,
        groups=len(tallies),
        over=f"{grouped_by}s",
        intervals=dict(zip(measure.headline, intervals, strict=True)),
        bins=bins,
        calibration_error=None if bins is None else statistics.calibration_error(bins),
    )


def _pair(one: Evidence, other: Evidence) -> tuple[int, Difference, float | None] | None:
    """Return the number of common utterances, the difference of the primary metric on them, and McNemar's p."""
    measure = one.measure
    if measure != other.measure:
        return None
    size = int(max(one.utterance.max(), other.utterance.max())) + 1
    truth = np.full((2, size, len(measure.target.names)), np.nan)
    truth[0, one.utterance], truth[1, other.utterance] = one.true, other.true
    common: NDArray[np.bool_] = ~np.isnan(truth).any(axis=(0, 2))
    if not common.any() or not np.array_equal(truth[0, common], truth[1, common]):
        return None
    group = np.zeros(size, dtype=np.int64)
    group[one.utterance] = one.group

    def tallies(side: Evidence) -> NDArray[np.float64]:
        rows = common[side.utterance]
        _, numbers = np.unique(group[side.utterance[rows]], return_inverse=True)
        return measure.tally(side.true[rows], side.answers[rows], numbers, side.weight[rows])

    return (
        int(common.sum()),
        statistics.paired_bootstrap(tallies(one), tallies(other), partial(measure.value, measure.primary)),
        _mcnemar(one, other, common) if measure.target.one_of_many else None,
    )


def _mcnemar(one: Evidence, other: Evidence, common: NDArray[np.bool_]) -> float:
    shared = np.intersect1d(one.seed, other.seed)
    answers = []
    for side in (one, other):
        chosen = common[side.utterance] & (side.seed == (shared if len(shared) else side.seed).min())
        right = np.full(len(common), -1)
        right[side.utterance[chosen]] = side.right[chosen]
        answers.append(right)
    both = (answers[0] >= 0) & (answers[1] >= 0)
    return statistics.mcnemar(answers[0][both], answers[1][both])


class _Numbers:
    """Gives each name a number, the same whenever it comes again.

    The runs of a table have the same test parts, so a whole column that came before is recognised at once.
    """

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.before: dict[tuple[str, int], tuple[NDArray[np.object_], NDArray[np.int64]]] = {}

    def of(self, names: NDArray[np.object_]) -> NDArray[np.int64]:
        """Return a number for each name."""
        key = (names[0], len(names))
        if key in self.before and np.array_equal(self.before[key][0], names):
            return self.before[key][1]
        known = self.known
        numbers = np.fromiter((known.setdefault(name, len(known)) for name in names), dtype=np.int64, count=len(names))
        self.before[key] = (names, numbers)
        return numbers
