"""Turns targets and answers into scores; the only package that defines a metric.

    from gia_mic.fuse import measure

    rule = measure.measure_of(target)
    tallies = rule.tally(true, answers, groups=dialogs)     (G, S) sums over the utterances of each dialog
    rule.value("UA", tallies.sum(axis=0))                   one metric of all of them
    rule.scores(tallies.sum(axis=0))                        all metrics, as metrics.json holds them

A `Measure` knows the metrics of one target. It counts in tallies: sums over utterances, from which all its metrics
follow. So sums of folds and dialogs may be added, and drawn with replacement, whatever the target is.

    kind      module        primary     metrics
    label     classes       UA          WA, UA, macro and weighted F1
    votes     votes         UA          those of the class with most votes, and distances of the distributions
    labels    labels        macro_F1    weighted accuracy and F1 of each class, macro and micro F1, mAP
    scores    regression    CCC         MAE, Pearson, CCC, and accuracies where papers read classes off a score

Metrics that installed packages have are added, see `own`.

Functions of labels without a target, such as `ua` and `confusion`, are those of `classes`.
"""

from gia_mic.extract.targets import Target
from gia_mic.fuse.measure.classes import (
    ClassMeasure,
    confusion,
    macro_f1,
    macro_f1_of,
    recalls,
    recalls_of,
    scores,
    scores_of,
    ua,
    ua_of,
    wa,
    wa_of,
    weighted_f1,
    weighted_f1_of,
)
from gia_mic.fuse.measure.labels import LabelsMeasure
from gia_mic.fuse.measure.metric import Measure
from gia_mic.fuse.measure.own import own_metrics, with_own
from gia_mic.fuse.measure.regression import ScoreMeasure
from gia_mic.fuse.measure.votes import VoteMeasure

__all__ = [
    "Measure",
    "confusion",
    "macro_f1",
    "macro_f1_of",
    "measure_of",
    "recalls",
    "recalls_of",
    "scores",
    "scores_of",
    "ua",
    "ua_of",
    "wa",
    "wa_of",
    "weighted_f1",
    "weighted_f1_of",
]


def measure_of(target: Target) -> Measure:
    """Return the metrics of a target, with those that installed packages have of it.

    >>> rule = measure_of(Target("label", ("angry", "sad")))
    >>> rule.scores(rule.tally([[1, 0], [1, 0], [0, 1]], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])[0])["UA"]
    0.75
    """
    return with_own(MEASURES[target.kind], own_metrics(target.kind), target)


MEASURES: dict[str, type[Measure]] = {
    "label": ClassMeasure,
    "labels": LabelsMeasure,
    "votes": VoteMeasure,
    "scores": ScoreMeasure,
}
