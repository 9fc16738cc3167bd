"""Turns noise into how intense the demo's utterances look in each modality, and into the best possible scores.

The true intensity x of an utterance comes from a normal distribution around 3, cut to 1 … 5. Each modality shows x plus
noise of its own, rounded to the nearest of nine levels; beyond the ends it shows the last level. So what any model can
reach is an integral over x, done here as a sum over a fine grid.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from gia_mic.extract.corpora.demo_cues import SUBSETS
from gia_mic.extract.corpus import MODALITIES

__all__ = ["LEVELS", "NOISE", "RANGE", "best_scores", "best_scores_in_sample", "draw_intensities"]

RANGE = (1.0, 5.0)
LEVELS = np.linspace(*RANGE, 9)
"""What a modality can show."""

NOISE = {"s": 0.85, "t": 0.95, "v": 0.85}
"""Standard deviation of what a modality adds to the true intensity, by its letter."""

_MEAN, _DEVIATION = 3.0, 1.0  # before the cut
_CELLS = 400  # of the grid
_DRAWS = 100


class _Best(NamedTuple):
    """The best answers to each tuple of levels, (9^M), and what they score on average."""

    medians: NDArray[np.float64]
    means: NDArray[np.float64]
    scores: dict[str, float]


def best_scores(noise: Mapping[str, float] = NOISE) -> dict[str, dict[str, float]]:
    """Return the best MAE, Pearson correlation and CCC of every subset of modalities.

    What a subset shows leaves a distribution of x. Its median is the answer with the least expected error. Its mean m
    is the one with the highest correlation, √(var m / var x). No CCC is above the correlation; m reaches it when
    stretched about 3 until its variance is that of x. So each score is reached by answers of its own.

    Args:
        noise: Standard deviation of each modality's noise, by its letter.
    """
    return {subset: best.scores for subset, best in _best(noise).items()}


def best_scores_in_sample(
    intensity: NDArray[np.float64], levels: NDArray[np.int64], noise: Mapping[str, float] = NOISE
) -> dict[str, dict[str, float]]:
    """Return what the best answers score on these utterances.

    Args:
        intensity: (U) true intensities.
        levels: (U, 3) index of the level that each modality shows.
        noise: Standard deviation of each modality's noise, by its letter.
    """
    return _in_sample(intensity, levels, _best(noise))


def draw_intensities(
    count: int, rng: np.random.Generator, noise: Mapping[str, float] = NOISE
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw (U) true intensities, to two decimals, and (U, 3) the index of the level that each modality shows.

    The intensities lie evenly over their distribution. Of 100 draws of the noise the one is taken whose best
    correlations are nearest to those expected: on a small sample a perfect model could else miss or beat them by much.
    """
    low, high = ndtr((np.array(RANGE) - _MEAN) / _DEVIATION)
    quantile = low + (high - low) * (rng.permutation(count) + 0.5) / count
    intensity = np.round(_MEAN + _DEVIATION * ndtri(quantile), 2)
    best = _best(noise)
    deviations = np.array([noise[letter] for letter in MODALITIES])
    best_levels, least = np.empty((0, len(MODALITIES)), np.int64), np.inf
    for _ in range(_DRAWS):
        readings = intensity[:, None] + deviations * rng.standard_normal((count, len(MODALITIES)))
        levels = np.searchsorted(_edges()[1:-1], readings)
        sample = _in_sample(intensity, levels, best)
        off = max(abs(sample[subset]["Pearson"] - best[subset].scores["Pearson"]) for subset in SUBSETS)
        if off < least:
            best_levels, least = levels, off
    return intensity, best_levels


def _best(noise: Mapping[str, float]) -> dict[str, _Best]:
    low, high = RANGE
    x = low + (high - low) * (np.arange(_CELLS) + 0.5) / _CELLS
    density = np.exp(-(((x - _MEAN) / _DEVIATION) ** 2) / 2)
    density /= density.sum()
    variance = density @ (x - _MEAN) ** 2
    best = {}
    for subset in SUBSETS:
        joint = density[None]  # P(levels, x), (9^M, cells)
        for letter in subset:
            level = np.diff(ndtr((_edges()[:, None] - x) / noise[letter]), axis=0)  # P(level | x), (9, cells)
            joint = (joint[:, None] * level).reshape(-1, _CELLS)
        shares = joint.sum(axis=1)
        means = joint @ x / shares
        medians = x[(joint.cumsum(axis=1) < shares[:, None] / 2).sum(axis=1)]
        error = (joint * np.abs(x - medians[:, None])).sum()
        correlation = np.sqrt(shares @ (means - _MEAN) ** 2 / variance)
        best[subset] = _Best(medians, means, _named(error, correlation, correlation))
    return best


def _edges() -> NDArray[np.float64]:
    """Return the ends of what is rounded to each level, (10)."""
    return np.concatenate([[-np.inf], (LEVELS[:-1] + LEVELS[1:]) / 2, [np.inf]])


def _in_sample(
    intensity: NDArray[np.float64], levels: NDArray[np.int64], best: Mapping[str, _Best]
) -> dict[str, dict[str, float]]:
    scores = {}
    for subset, (medians, means, expected) in best.items():
        columns = [list(MODALITIES).index(letter) for letter in subset]
        row = np.ravel_multi_index(tuple(levels[:, columns].T), (len(LEVELS),) * len(columns))
        stretched = _MEAN + (means[row] - _MEAN) / expected["Pearson"]
        (var_x, cov), (_, var) = np.cov(intensity, stretched, ddof=0)
        ccc = 2 * cov / (var_x + var + (intensity.mean() - stretched.mean()) ** 2)
        correlation = cov / np.sqrt(var_x * var) if var > 0 else 0.0  # a few utterances may all show the same
        scores[subset] = _named(np.abs(intensity - medians[row]).mean(), correlation, ccc)
    return scores


def _named(mae: float, correlation: float, ccc: float) -> dict[str, float]:
    return {"MAE": round(float(mae), 4), "Pearson": round(float(correlation), 4), "CCC": round(float(ccc), 4)}
