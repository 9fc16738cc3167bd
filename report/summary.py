"""Turns a run into the numbers of its table row: per fold, mean ± std over folds, pooled over all test predictions.

With several seeds, a fold's score is the mean over its seeds; what follows treats it as one fold. So the std is that
between folds, and "pooled" counts every test utterance once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gia_mic.fuse.measure import Measure
from gia_mic.fuse.runs.runs import Run

__all__ = ["FoldScores", "MeanStd", "Summary", "mean_std", "summarise"]


@dataclass(frozen=True)
class MeanStd:
    """Mean and standard deviation of a score over folds.

    Attributes:
        mean: In the unit of the score; NaN where no fold has it.
        std: Sample standard deviation (n − 1); None for fewer than two folds.
        count: Number of folds, n.
    """

    mean: float
    std: float | None
    count: int


@dataclass(frozen=True)
class FoldScores:
    """Scores of one fold, the mean over its seeds.

    Attributes:
        number: Fold, from 1.
        value: Value of the column that the folds come from, such as the session that was tested on.
        seeds: Seeds averaged.
        tally: (S,) sums over the test utterances, the mean over the seeds.
        scores: What `Measure.scores` returns of the tally, and the mean over the seeds of `Measure.whole`.
    """

    number: int
    value: str
    seeds: tuple[int, ...]
    tally: NDArray[np.float64] = field(repr=False)
    scores: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Summary:
    """Numbers of a run.

    Attributes:
        run: The run.
        folds: Scores of its finished folds, by number.
        over_folds: Mean and std over the folds of each metric of the main table.
        pooled: Scores, as of a fold, of the test predictions of all folds together; with several seeds those of the
            mean tally. What sums can't give is the mean over the seeds that all folds have, None without such a seed.
    """

    run: Run
    folds: tuple[FoldScores, ...]
    over_folds: Mapping[str, MeanStd]
    pooled: dict[str, Any] = field(repr=False)

    @property
    def measure(self) -> Measure:
        """What its answers are scored by."""
        return self.run.measure

    @property
    def primary(self) -> MeanStd:
        """Mean and std over the folds of the metric that rows are compared by."""
        return self.over_folds[self.measure.primary]

    @property
    def merit(self) -> float:
        """The mean of that metric over the folds, turned so that more is better, also than none."""
        sign = -1 if self.measure.primary in self.measure.lower_is_better else 1
        return -np.inf if np.isnan(self.primary.mean) else sign * self.primary.mean


def summarise(run: Run) -> Summary:
    """Return the numbers of a run."""
    measure = run.measure
    folds = []
    for number in run.numbers:
        seeds = [fold for fold in run.folds if fold.number == number]
        tally = np.mean([fold.tally for fold in seeds], axis=0)
        folds.append(
            FoldScores(
                number=number,
                value=seeds[0].value,
                seeds=tuple(fold.seed for fold in seeds),
                tally=tally,
                scores=measure.scores(tally) | _whole(run, [number], [fold.seed for fold in seeds]),
            )
        )
    seeds_of_all = set.intersection(*(set(fold.seeds) for fold in folds))
    return Summary(
        run=run,
        folds=tuple(folds),
        over_folds={name: mean_std([fold.scores[name] for fold in folds]) for name in measure.headline},
        pooled=measure.scores(np.sum([fold.tally for fold in folds], axis=0))
        | _whole(run, run.numbers, sorted(seeds_of_all)),
    )


def mean_std(scores: Sequence[float | None]) -> MeanStd:
    """Return mean and sample standard deviation of scores; those that aren't known (None or NaN) don't count.

    >>> mean_std([0.5, 0.7, None]).mean, round(mean_std([0.5, 0.7]).std, 4), mean_std([0.5]).std
    (0.6, 0.1414, None)
    """
    finite = [score for score in scores if score is not None and not np.isnan(score)]
    std = float(np.std(finite, ddof=1)) if len(finite) > 1 else None
    return MeanStd(float(np.mean(finite)) if finite else np.nan, std, len(finite))


def _whole(run: Run, numbers: Sequence[int], seeds: Sequence[int]) -> dict[str, float | None]:
    """Return the metrics that sums can't give, of the answers in some folds together; the mean over seeds."""
    measure = run.measure
    names = [name for name in measure.table if name not in measure.metrics]
    if not names:
        return {}
    scores = []
    for seed in seeds:
        parts = [fold.predictions for fold in run.folds if fold.seed == seed and fold.number in numbers]
        scores.append(
            measure.whole(np.concatenate([one.true for one in parts]), np.concatenate([one.answers for one in parts]))
        )
    means = {}
    for name in names:
        values = [value for one in scores if (value := one[name]) is not None]
        means[name] = float(np.mean(values)) if values and len(values) == len(scores) else None
    return means
