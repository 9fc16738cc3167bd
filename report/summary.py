"""Turns a run into the numbers of its table row: per fold, mean ± std over folds, pooled over all test predictions.

With several seeds, a fold's score is the mean over its seeds; what follows treats it as one fold. So the std is that
between folds, and "pooled" counts every test utterance once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gia_mic.fuse import measure
from gia_mic.fuse.runs.runs import Run

__all__ = ["FoldScores", "MeanStd", "Summary", "mean_std", "summarise"]


@dataclass(frozen=True)
class MeanStd:
    """Mean and standard deviation of a score over folds.

    Attributes:
        mean: In 0 … 1.
        std: Sample standard deviation (n − 1); None for one fold.
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
        confusion: (C, C) counts, rows true; their mean over the seeds.
        scores: What `measure.scores` returns, of the mean confusion matrix.
    """

    number: int
    value: str
    seeds: tuple[int, ...]
    confusion: NDArray[np.float64] = field(repr=False)
    scores: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Summary:
    """Numbers of a run.

    Attributes:
        run: The run.
        folds: Scores of its finished folds, by number.
        wa: Mean and std of WA over the folds.
        ua: Mean and std of UA over the folds.
        pooled: Scores, as `measure.scores`, of the test predictions of all folds together; with several seeds those of
            the mean confusion matrix.
    """

    run: Run
    folds: tuple[FoldScores, ...]
    wa: MeanStd
    ua: MeanStd
    pooled: dict[str, Any] = field(repr=False)


def summarise(run: Run) -> Summary:
    """Return the numbers of a run."""
    folds = []
    for number in run.numbers:
        seeds = [fold for fold in run.folds if fold.number == number]
        confusion = np.mean([fold.metrics["confusion"] for fold in seeds], axis=0)
        folds.append(
            FoldScores(
                number=number,
                value=seeds[0].value,
                seeds=tuple(fold.seed for fold in seeds),
                confusion=confusion,
                scores=measure.scores_of(confusion, run.classes),
            )
        )
    return Summary(
        run=run,
        folds=tuple(folds),
        wa=mean_std([fold.scores["WA"] for fold in folds]),
        ua=mean_std([fold.scores["UA"] for fold in folds]),
        pooled=measure.scores_of(np.sum([fold.confusion for fold in folds], axis=0), run.classes),
    )


def mean_std(scores: Sequence[float]) -> MeanStd:
    """Return mean and sample standard deviation of at least one score.

    >>> mean_std([0.5, 0.7]).mean, round(mean_std([0.5, 0.7]).std, 4), mean_std([0.5]).std
    (0.6, 0.1414, None)
    """
    std = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    return MeanStd(float(np.mean(scores)), std, len(scores))
