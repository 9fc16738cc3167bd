"""Turns cue probabilities into what each modality displays, and into the Bayes-optimal accuracy of every subset."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gia_mic.extract.corpus import MODALITIES

__all__ = ["CUES", "EMOTIONS", "SUBSETS", "ceilings", "displayed", "in_sample"]

EMOTIONS = ("angry", "happy", "neutral", "sad")
CUES = {"s": 0.8, "t": 0.78, "v": 0.8}
"""Probability that a modality displays the true emotion, by its letter."""

SUBSETS = ("s", "t", "v", "st", "sv", "tv", "stv")
_DRAWS = 100


def ceilings(cues: Mapping[str, float]) -> dict[str, float]:
    """Return the Bayes-optimal accuracy of every subset of modalities, with equally likely emotions.

    A subset displays one of 4^M tuples. Given the truth c, modality m displays c with probability p_m and each other
    emotion with (1 − p_m) / 3. The best decision for a tuple is its likeliest truth, so the accuracy is the mean over
    truths of Σ_tuples max_c P(tuple | c). With two modalities this is the better one alone: where they differ, nothing
    speaks against following it. The third decides between them.

    >>> ceilings({"s": 0.7, "t": 0.6, "v": 0.5})["st"]
    0.7
    """
    accuracies = {}
    for subset in SUBSETS:
        likelihood = _likelihoods([cues[letter] for letter in subset])
        accuracies[subset] = round(float(likelihood.max(axis=0).sum()) / len(EMOTIONS), 6)
    return accuracies


def displayed(label: NDArray[np.int64], cues: Mapping[str, float], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw the emotion that each modality displays, (U, 3), for true emotions (U).

    Plain draws of 600 utterances would put the share that shows the truth up to four points off its probability,
    and a model that reads everything perfectly would miss a ceiling by that much, or beat it. So the counts are exact:
    among the utterances of an emotion, p of them (rounded) display it and each other emotion has an equal part of the
    rest, in an order shuffled for each modality by itself. Then only the joint ceiling can still be off, and of 100
    such draws the one nearest to it is taken. That choice looks at one number of the whole table, so modalities stay
    independent.
    """
    best, least = np.empty((0, len(MODALITIES)), np.int64), np.inf
    truth = ceilings(cues)
    for _ in range(_DRAWS):
        displays = np.empty((len(label), len(MODALITIES)), np.int64)
        for column, letter in enumerate(MODALITIES):
            for emotion in range(len(EMOTIONS)):
                members = np.flatnonzero(label == emotion)
                right = round(cues[letter] * len(members))
                other_emotions = rng.permutation(np.delete(np.arange(len(EMOTIONS)), emotion))
                wrong = np.resize(other_emotions, len(members) - right)
                displays[members, column] = rng.permutation(np.append(np.full(right, emotion), wrong))
        off = abs(in_sample(label, displays, cues)["stv"] - truth["stv"])
        if off < least:
            best, least = displays, off
    return best


def in_sample(label: NDArray[np.int64], displays: NDArray[np.int64], cues: Mapping[str, float]) -> dict[str, float]:
    """Return how often the best decisions are right on these utterances; likeliest truths that tie share it."""
    letters = "".join(MODALITIES)
    accuracies = {}
    for subset in SUBSETS:
        columns = [letters.index(letter) for letter in subset]
        likelihood = _likelihoods([cues[letter] for letter in subset])
        likeliest = np.isclose(likelihood, likelihood.max(axis=0))
        share = (likeliest / likeliest.sum(axis=0))[(label, *displays[:, columns].T)]
        accuracies[subset] = round(float(share.mean()), 6)
    return accuracies


def _likelihoods(cues: Sequence[float]) -> NDArray[np.float64]:
    """Return P(tuple | truth) as (C, C, …, C): truth first, then what each modality displays."""
    C = len(EMOTIONS)
    likelihood = np.ones((C,) + (1,) * len(cues))
    for axis, cue in enumerate(cues, start=1):
        shape = [C if dimension in (0, axis) else 1 for dimension in range(len(cues) + 1)]
        likelihood = likelihood * np.where(np.eye(C, dtype=bool), cue, (1 - cue) / (C - 1)).reshape(shape)
    return likelihood
