"""Turns test predictions into intervals, comparisons and calibration: how far a number can be believed.

Utterances of one dialog or speaker resemble each other, so whole dialogs or speakers are drawn: an interval over single
utterances would be too narrow. Everything is drawn from one seed, so a report made twice says the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gia_mic.extract.errors import RunError

__all__ = [
    "BINS",
    "DRAWS",
    "LEVEL",
    "Bin",
    "Difference",
    "Interval",
    "bootstrap",
    "calibration",
    "calibration_error",
    "holm",
    "interval",
    "mcnemar",
    "paired_bootstrap",
    "paired_draws",
]

LEVEL = 0.95
DRAWS = 5000
"""Bootstrap samples; the smallest p that they can show is 2 / (DRAWS + 1)."""
BINS = 15
"""Bins of confidence, as in Guo et al., On Calibration of Modern Neural Networks, ICML 2017."""

SEED = 20250601
FEW_KINDS = 4
"""Groups for each kind of tally among them, above which drawing kinds instead of groups is faster."""
MOST_WEIGHTS = 2**24
"""Numbers that say how often each group is drawn in each sample, above which they are made a block at a time."""

Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Turns tallies, (…, S), into scores, (…), as `Measure.value` does."""


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """How much a score differs between two models on the same utterances.

    Attributes:
        value: First minus second.
        interval: Bootstrap interval of it.
        p: Two-sided p of no difference.
    """

    value: float
    interval: Interval
    p: float


@dataclass(frozen=True)
class Bin:
    """Predictions of about one confidence.

    Attributes:
        low: Lower edge; confidence is above it, or equal in the first bin.
        high: Upper edge.
        count: Number of predictions; may be a fraction when they are weighted.
        confidence: Their mean confidence; NaN where there are none.
        accuracy: The part of them that is right; NaN where there are none.
    """

    low: float
    high: float
    count: float
    confidence: float
    accuracy: float


def bootstrap(tallies: ArrayLike, scores: Sequence[Score], level: float = LEVEL, draws: int = DRAWS) -> list[Interval]:
    """Return the percentile interval of each score when groups are drawn with replacement.

    Args:
        tallies: (G, S) sums over the utterances of each group, as `Measure.tally` gives them.
        scores: Each turns tallies into scores.
        level: How much of the bootstrap distribution lies inside, in 0 … 1.
        draws: Bootstrap samples.

    Raises:
        RunError: There is no group.
    """
    (resampled,) = _drawn([np.asarray(tallies, dtype=float)], draws)
    return [interval(score(resampled), level) for score in scores]


def paired_bootstrap(
    first: ArrayLike, second: ArrayLike, score: Score, level: float = LEVEL, draws: int = DRAWS
) -> Difference:
    """Return how much a score differs between two models, drawing the same groups for both.

    The p is twice the smaller part of the differences on either side of zero, each with one draw added (Davison and
    Hinkley, Bootstrap Methods and their Application, 1997, section 4.2), at most 1.

    Args:
        first: (G, S) sums over the utterances of each group.
        second: (G, S) sums over the same utterances, of the other model.
        score: Turns tallies into scores.
        level: How much of the bootstrap distribution lies inside the interval, in 0 … 1.
        draws: Bootstrap samples.

    Raises:
        RunError: The groups differ, or there is none.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    differences = paired_draws(first, second, score, draws)
    side = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return Difference(
        value=float(score(first.sum(axis=0)) - score(second.sum(axis=0))),
        interval=interval(differences, level),
        p=min(1.0, 2 * (side + 1) / (draws + 1)),
    )


def paired_draws(first: ArrayLike, second: ArrayLike, score: Score, draws: int = DRAWS) -> NDArray[np.float64]:
    """Return the differences of a score between two models in bootstrap samples, (draws,); see `paired_bootstrap`.

    Raises:
        RunError: The groups differ, or there is none.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape:
        raise RunError(
            f"The models to compare have tallies of the shapes {first.shape} and {second.shape}: "
            "compare them on the same utterances and the same target."
        )
    resampled = _drawn([first, second], draws)
    return score(resampled[0]) - score(resampled[1])


def interval(values: NDArray[np.float64], level: float = LEVEL) -> Interval:
    """Return between which values of a bootstrap distribution a part of it lies, as much below as above.

    Samples without a value (NaN) don't count.
    """
    finite = values[~np.isnan(values)]
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2]) if len(finite) else (np.nan, np.nan)
    return Interval(float(low), float(high))


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Return the p of McNemar's exact test: are two models right equally often on the same utterances?

    Only the utterances that one of them gets right and the other wrong matter; without a difference each is as likely
    to be either (McNemar, Psychometrika 12, 1947; exact form). It takes utterances as independent.

    Args:
        first: (B,) whether the first model is right.
        second: (B,) whether the second one is.

    Raises:
        RunError: As many of the first as of the second are not given.

    >>> mcnemar([1, 1, 1, 1, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0, 0, 1])
    0.03125
    """
    from scipy.stats import binomtest  # takes longer to load than a report of one run to make

    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape != second.shape:
        raise RunError(f"There are {first.size} answers to compare with {second.size}: compare the same utterances.")
    only_first = int(np.count_nonzero(first & ~second))
    only_second = int(np.count_nonzero(second & ~first))
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return p-values corrected for how many there are (Holm, Scandinavian Journal of Statistics 6, 1979).

    The smallest of m is multiplied by m, the next by m − 1, and so on, none below the one before and none above 1.

    Args:
        p: (M,) p-values.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1)
    return corrected


def calibration(
    correct: ArrayLike, confidence: ArrayLike, weights: ArrayLike | None = None, bins: int = BINS
) -> list[Bin]:
    """Return how often predictions of each confidence are right, in bins of equal width.

    Args:
        correct: (B,) whether the prediction is right, or the part of the votes for it, in 0 … 1.
        confidence: (B,) probability of the predicted class, in 0 … 1.
        weights: (B,) what each prediction counts; by default 1.
        bins: Number of bins over 0 … 1, each without its lower edge but the first.
    """
    claimed = np.clip(np.asarray(confidence, dtype=float), 0, 1)
    weight = np.ones(len(claimed)) if weights is None else np.asarray(weights, dtype=float)
    edges = np.linspace(0, 1, bins + 1)
    answers = np.asarray(correct, dtype=float)
    bin_of = np.clip(np.searchsorted(edges, claimed, side="left") - 1, 0, bins - 1)
    counts = np.bincount(bin_of, weight, bins)
    divisor = np.where(counts > 0, counts, np.nan)
    means = np.bincount(bin_of, weight * claimed, bins) / divisor
    right = np.bincount(bin_of, weight * answers, bins) / divisor
    return [Bin(*map(float, row)) for row in zip(edges[:-1], edges[1:], counts, means, right, strict=True)]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: mean distance of accuracy from confidence, by the counts of the bins.

    >>> calibration_error(calibration([1, 0, 1, 1], [0.9, 0.9, 0.9, 0.9]))  # says 90 %, is right in 75 %
    0.15000000000000002
    """
    filled = [entry for entry in bins if entry.count > 0]
    total = sum(entry.count for entry in filled)
    return sum(entry.count * abs(entry.accuracy - entry.confidence) for entry in filled) / total


def _drawn(tallies: Sequence[NDArray[np.float64]], draws: int) -> list[NDArray[np.float64]]:
    """Return the tallies of each model over bootstrap samples of the same groups, (draws, S) each."""
    G = len(tallies[0])
    if G == 0 or not all(tally.any() for tally in tallies):
        raise RunError("There is no utterance to draw from: give at least one group with one.")
    flat = np.concatenate(tallies, axis=1)
    kinds, counts = np.unique(flat, axis=0, return_counts=True)
    if len(kinds) * FEW_KINDS < G:  # as when each group is one utterance: how often each kind is drawn says it all
        sums = np.random.default_rng(SEED).multinomial(G, counts / G, draws) @ kinds
    elif G * draws <= MOST_WEIGHTS:
        sums = _weights(G, draws) @ flat
    else:
        generator, block = np.random.default_rng(SEED), max(1, MOST_WEIGHTS // G)
        sizes = [min(block, draws - begin) for begin in range(0, draws, block)]
        sums = np.concatenate([_drawn_weights(generator, G, size) @ flat for size in sizes])
    return np.split(sums, len(tallies), axis=1)


@lru_cache(maxsize=4)
def _weights(G: int, draws: int) -> NDArray[np.float64]:
    """Return how often each of G groups is drawn in each sample of G, (draws, G)."""
    return _drawn_weights(np.random.default_rng(SEED), G, draws)


def _drawn_weights(generator: np.random.Generator, G: int, draws: int) -> NDArray[np.float64]:
    sampled = generator.integers(0, G, (draws, G)) + G * np.arange(draws)[:, None]
    return np.bincount(sampled.ravel(), minlength=draws * G).reshape(draws, G).astype(float)
