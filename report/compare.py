"""Turns the runs of a table into evidence: an interval for each, its calibration, and its distance from another run.

What a run says of an utterance is the mean over its seeds, as in the table; McNemar's test, which needs one answer an
utterance, takes the lowest seed that both runs share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gia_mic.fuse import measure
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
        utterance: (N,) utterance numbers, the same in all runs gathered together.
        true: (N,) class indices.
        predicted: (N,) class indices.
        weight: (N,) what an answer counts: 1 / number of its fold's seeds.
        seed: (N,) seed of the training.
        group: (N,) group numbers, the same in all runs gathered together.
        names: Utterance id → utterance number.
        classes: Number of classes, C.
        groups: Number of groups, whose utterances resemble each other.
        over: What a group is: dialogs, or speakers where not all runs name dialogs, or utterances.
        wa: Interval of the pooled WA.
        ua: Interval of the pooled UA.
        bins: Calibration.
        calibration_error: Expected calibration error.
    """

    utterance: NDArray[np.int64] = field(repr=False)
    true: NDArray[np.int64] = field(repr=False)
    predicted: NDArray[np.int64] = field(repr=False)
    weight: NDArray[np.float64] = field(repr=False)
    seed: NDArray[np.int64] = field(repr=False)
    group: NDArray[np.int64] = field(repr=False)
    names: Mapping[str, int] = field(repr=False)
    classes: int
    groups: int
    over: str
    wa: Interval
    ua: Interval
    bins: list[Bin] = field(repr=False)
    calibration_error: float


@dataclass(frozen=True)
class Comparison:
    """A run against another one, on the utterances that both were tested on.

    Attributes:
        utterances: Number of utterances that both were tested on.
        ua: Difference of the pooled UA, this run minus the other, with the p uncorrected.
        mcnemar: p of McNemar's test, uncorrected.
        holm: p of the UA difference, corrected for the number of comparisons.
        mcnemar_holm: p of McNemar's test, corrected.
    """

    utterances: int
    ua: Difference
    mcnemar: float
    holm: float
    mcnemar_holm: float

    @property
    def distinguishable(self) -> bool:
        """Whether the UA differs beyond chance."""
        return self.holm < SIGNIFICANCE


def gather(runs: Sequence[Run]) -> list[Evidence]:
    """Read the predictions of runs of one corpus.

    Raises:
        RunError: A predictions file is broken.
    """
    grouped_by = _widest_group(runs)
    utterances, values = _Numbers(), _Numbers()
    return [_evidence(run, utterances, grouped_by, values) for run in runs]


def best(rows: Sequence[Summary]) -> int:
    """Return which row has the highest mean UA, among those with all folds where there is one."""
    complete = [number for number, row in enumerate(rows) if row.run.complete] or range(len(rows))
    return max(complete, key=lambda number: rows[number].ua.mean)


def compare(evidence: Sequence[Evidence], reference: int) -> list[Comparison | None]:
    """Compare each run with one of them, and correct for their number.

    Returns:
        A comparison a run; None for the reference itself, and for a run that shares no utterance with it or has other
        classes or labels for one.
    """
    compared = [None if number == reference else _pair(one, evidence[reference]) for number, one in enumerate(evidence)]
    comparable = [number for number, entry in enumerate(compared) if entry is not None]
    pairs = [entry for entry in compared if entry is not None]
    corrected = statistics.holm([difference.p for _, difference, _ in pairs])
    corrected_mcnemar = statistics.holm([p for _, _, p in pairs])
    comparisons: list[Comparison | None] = [None] * len(evidence)
    for number, (count, difference, p), holm, mcnemar_holm in zip(
        comparable, pairs, corrected, corrected_mcnemar, strict=True
    ):
        comparisons[number] = Comparison(count, difference, p, float(holm), float(mcnemar_holm))
    return comparisons


def _widest_group(runs: Sequence[Run]) -> str:
    """Return the column whose values are drawn: dialogs; speakers, where there are some more; or utterances."""
    for name, fewest in (("dialog", 1), ("speaker", FEWEST_SPEAKERS)):
        columns = [fold.predictions.about(name) for run in runs for fold in run.folds]
        values = {value for column in columns for value in ([None] if column is None else set(column))}
        if None not in values and len(values) >= fewest:
            return name
    return "utterance"


def _evidence(run: Run, utterances: "_Numbers", grouped_by: str, groups: "_Numbers") -> Evidence:
    C = len(run.classes)
    predictions = [fold.predictions for fold in run.folds]
    trainings = {number: sum(fold.number == number for fold in run.folds) for number in run.numbers}
    sizes = [len(entry) for entry in predictions]
    utterance = np.concatenate([utterances.of(entry.ids) for entry in predictions])
    true = np.concatenate([entry.true for entry in predictions])
    predicted = np.concatenate([entry.predicted for entry in predictions])
    weight = np.repeat([1 / trainings[fold.number] for fold in run.folds], sizes)
    columns = [column for entry in predictions if (column := entry.about(grouped_by)) is not None]
    group = np.concatenate([groups.of(column) for column in columns]) if columns else utterance
    tables = _tables(true, predicted, group, weight, C)
    confidence = np.concatenate([entry.probabilities.max(axis=1) for entry in predictions])
    bins = statistics.calibration(predicted == true, confidence, weight)
    wa, ua = statistics.bootstrap(tables, [measure.wa_of, measure.ua_of])
    return Evidence(
        utterance=utterance,
        true=true,
        predicted=predicted,
        weight=weight,
        seed=np.repeat([fold.seed for fold in run.folds], sizes),
        group=group,
        names=utterances.known,
        classes=C,
        groups=len(tables),
        over=f"{grouped_by}s",
        wa=wa,
        ua=ua,
        bins=bins,
        calibration_error=statistics.calibration_error(bins),
    )


def _pair(one: Evidence, other: Evidence) -> tuple[int, Difference, float] | None:
    """Return the number of common utterances, the difference of UA on them and McNemar's p."""
    size = int(max(one.utterance.max(), other.utterance.max())) + 1
    labels = np.full((2, size), -1)
    labels[0, one.utterance], labels[1, other.utterance] = one.true, other.true
    common: NDArray[np.bool_] = np.all(labels >= 0, axis=0)
    if one.classes != other.classes or not common.any() or not np.array_equal(labels[0, common], labels[1, common]):
        return None
    groups = int(max(one.group.max(), other.group.max())) + 1
    tables = []
    for side in (one, other):
        in_both = common[side.utterance]
        chosen = (side.true[in_both], side.predicted[in_both], side.group[in_both], side.weight[in_both])
        tables.append(_tables(*chosen, side.classes, groups))
    used = tables[0].any(axis=(1, 2))
    return (
        int(common.sum()),
        statistics.paired_bootstrap(tables[0][used], tables[1][used]),
        _mcnemar(one, other, common),
    )


def _mcnemar(one: Evidence, other: Evidence, common: NDArray[np.bool_]) -> float:
    shared = np.intersect1d(one.seed, other.seed)
    answers = []
    for side in (one, other):
        chosen = common[side.utterance] & (side.seed == (shared if len(shared) else side.seed).min())
        right = np.full(len(common), -1)
        right[side.utterance[chosen]] = (side.true == side.predicted)[chosen]
        answers.append(right)
    both = (answers[0] >= 0) & (answers[1] >= 0)
    return statistics.mcnemar(answers[0][both], answers[1][both])


def _tables(
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    group: NDArray[np.int64],
    weight: NDArray[np.float64],
    classes: int,
    groups: int | None = None,
) -> NDArray[np.float64]:
    """Return a confusion matrix a group; with `groups` for each of so many, else for those that occur."""
    if groups is None:
        _, group = np.unique(group, return_inverse=True)
        return statistics.grouped_confusions(true, predicted, group, classes, weight)
    tables = np.zeros((groups, classes, classes))
    occurring = statistics.grouped_confusions(true, predicted, group, classes, weight)
    tables[: len(occurring)] = occurring
    return tables


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
