"""Turns true and predicted scores, such as valence or sentiment, into metrics.

Of each score, over n utterances with truth t and answer a:

    MAE        Σ |t − a| / n
    Pearson    cov(t, a) / √(var t · var a)
    CCC        2 cov(t, a) / (var t + var a + (mean t − mean a)²)

CCC is the concordance correlation of Lin, A Concordance Correlation Coefficient to Evaluate Reproducibility (Biometrics
45, 1989). As there, variances and the covariance are divided by n. Where truth or answers are constant, both
correlations are 0. Numbers count as constant up to a standard deviation of 0.00001 of their distance from the range's
middle.

Of several scores each metric is given for each, and as the mean over them. Classes may be read off a single score too,
see `sentiment`.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from gia_mic.fuse.measure.classes import wa_of, weighted_f1_of
from gia_mic.fuse.measure.metric import Measure, Metric, ratio
from gia_mic.fuse.measure.sentiment import Reading, readings_of

__all__ = ["ScoreMeasure"]

Numbers = NDArray[np.float64]

SUMS = 7
"""Sums of each score: of 1, truth, answers, both squares, products, and distances."""
CONSTANT = 1e-10
"""Part of the mean square up to which a variance counts as 0, since the rounding of sums can leave that much."""


class ScoreMeasure(Measure):
    """The metrics of one or several scores.

    A tally has `SUMS` sums of each score, in which numbers are distances from the range's middle: that keeps rounding
    small. A confusion matrix, rows true, row after row, follows for each reading of classes.
    """

    primary = "CCC"

    @property
    def headline(self) -> tuple[str, ...]:
        """Everything of one score; of several the CCC of each, its mean, and the mean MAE."""
        names = self.target.names
        return self.metrics if len(names) == 1 else (*(f"CCC_{name}" for name in names), "CCC", "MAE")

    @property
    def size(self) -> int:
        """Number of sums and cells."""
        return SUMS * len(self.target.names) + sum(reading.classes**2 for reading in self.readings)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """How classes are read off the score; none of several scores."""
        return readings_of(self.target.ranges[0]) if len(self.target.ranges) == 1 else ()

    @property
    def table(self) -> Mapping[str, Metric]:
        """MAE and correlations, of several scores the mean and each one's own, and then accuracies and F1."""
        names = self.target.names
        table = {}
        for name, (about, function) in FUNCTIONS.items():
            plain = {"percent": False, "lower_is_better": name == "MAE"}
            mean = about if len(names) == 1 else f"mean over scores: {about}"
            table[name] = Metric(mean, self._mean_of(function), **plain)
            for column, own in enumerate(names if len(names) > 1 else ()):
                table[f"{name}_{own}"] = Metric(f"{own}: {about}", self._one_of(function, column), **plain)
        begin = SUMS * len(names)
        for reading in self.readings:
            table[reading.accuracy] = Metric(f"accuracy of {reading.about}", table_score(wa_of, begin, reading.classes))
            if reading.f1:
                table[reading.f1] = Metric(
                    f"mean F1 of {reading.about}, each side weighted by its true utterances",
                    table_score(weighted_f1_of, begin, reading.classes),
                )
            begin += reading.classes**2
        return table

    def rows(self, true: Numbers, answers: Numbers) -> Numbers:
        """Return what each utterance adds to the sums and cells, (B, S), from true and predicted scores, (B, K)."""
        low, high = np.array(self.target.ranges, dtype=float).T
        if any(reading.clips for reading in self.readings):
            true, answers = np.clip(true, low, high), np.clip(answers, low, high)
        t, a = true - (low + high) / 2, answers - (low + high) / 2
        sums = np.stack([np.ones_like(t), t, a, t * t, a * a, t * a, np.abs(t - a)], axis=-1)
        classes = (reading.rows(true[:, 0], answers[:, 0]) for reading in self.readings)
        return np.column_stack([sums.reshape(len(true), -1), *classes])

    def _sums(self, tallies: Numbers) -> Numbers:
        """Return the sums of each score, (..., S) → (..., K, SUMS)."""
        K = len(self.target.names)
        return tallies[..., : SUMS * K].reshape(*tallies.shape[:-1], K, SUMS)

    def _mean_of(self, function: Callable[[Numbers], Numbers]) -> Callable[[Numbers], Numbers]:
        return lambda tallies: function(self._sums(tallies)).mean(axis=-1)

    def _one_of(self, function: Callable[[Numbers], Numbers], column: int) -> Callable[[Numbers], Numbers]:
        return lambda tallies: function(self._sums(tallies)[..., column, :])


def mae(sums: Numbers) -> Numbers:
    """Return the mean absolute error from the sums of a score, (..., SUMS) → (...)."""
    return ratio(sums[..., 6], sums[..., 0])


def pearson(sums: Numbers) -> Numbers:
    """Return Pearson's correlation from the sums of a score, (..., SUMS) → (...)."""
    _, (true, answer), covariance = moments(sums)
    return correlation(sums, covariance, np.sqrt(true * answer))


def ccc(sums: Numbers) -> Numbers:
    """Return the concordance correlation from the sums of a score, (..., SUMS) → (...)."""
    distance, (true, answer), covariance = moments(sums)
    return correlation(sums, 2 * covariance, true + answer + distance**2)


def moments(sums: Numbers) -> tuple[Numbers, tuple[Numbers, Numbers], Numbers]:
    """Return the distance of the means, both variances and the covariance of a score, (...) each."""
    t, a, tt, aa, ta = (ratio(sums[..., column], sums[..., 0]) for column in range(1, 6))
    true, answer = (
        np.where(square - mean**2 > CONSTANT * square, square - mean**2, 0) for square, mean in ((tt, t), (aa, a))
    )
    return t - a, (true, answer), np.where((true > 0) & (answer > 0), ta - t * a, 0)


def correlation(sums: Numbers, numerator: Numbers, denominator: Numbers) -> Numbers:
    """Return a quotient that is 0 of constant numbers, and NaN where there is no utterance."""
    return np.where(sums[..., 0] > 0, np.nan_to_num(ratio(numerator, denominator)), np.nan)


def table_score(score: Callable[[Numbers], Numbers], begin: int, classes: int) -> Callable[[Numbers], Numbers]:
    """Return what works out a score of the confusion matrix that begins at a place in tallies."""
    end = begin + classes**2
    return lambda tallies: score(tallies[..., begin:end].reshape(*tallies.shape[:-1], classes, classes))


FUNCTIONS: Mapping[str, tuple[str, Callable[[Numbers], Numbers]]] = {
    "MAE": ("mean absolute error, in the score's unit", mae),
    "Pearson": ("Pearson's correlation; 0 of constant answers", pearson),
    "CCC": ("concordance correlation (Lin 1989), variances divided by n; 0 of constant answers", ccc),
}
"""What each metric of a score is, and how its sums give it."""
