"""Turns annotators' votes and predicted distributions into scores.

Answers are judged twice. As classes: the most probable class should be the one with most votes. As distributions: the
probabilities should be the shares of the votes.

Where several classes have the most votes, each of them is right. The utterance counts in equal parts for these classes:
as found in each of them if the answer is any of them, else as missed in each. How much a class counts so depends on the
votes alone, and a class that never has the most votes has no part in UA, as ever.

With shares p, probabilities q and m = (p + q) / 2, over the classes:

    JS              (Σ p log2(p / m) + Σ q log2(q / m)) / 2    Jensen–Shannon divergence, 0 … 1
    TV              Σ |p − q| / 2                              total variation, 0 … 1
    cross_entropy   −Σ p ln q                                  in nats; a q under 1e-12 counts as 1e-12

JS is the divergence in bits (Lin, Divergence Measures Based on the Shannon Entropy, 1991), not its root.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gia_mic.fuse.measure.classes import ClassMeasure, chosen, confusion_rows
from gia_mic.fuse.measure.metric import Metric, ratio

__all__ = ["VoteMeasure"]

DISTANCES = {
    "JS": "mean Jensen–Shannon divergence of probabilities from shares of votes, in bits (0 … 1)",
    "TV": "mean total variation between probabilities and shares of votes (0 … 1)",
    "cross_entropy": "mean cross-entropy of the probabilities under the shares of votes, in nats",
}
SMALLEST = 1e-12
"""Probability that a smaller one counts as, so that a vote for an impossible class costs a finite amount."""


class VoteMeasure(ClassMeasure):
    """The metrics of votes: of the class with most, and of their distribution.

    A tally is a confusion matrix, rows true, row after row, and the sums of the distances.
    """

    headline = ("WA", "UA", "JS")

    @property
    def size(self) -> int:
        """Number of cells and distances, C² + 3."""
        return len(self.target.names) ** 2 + len(DISTANCES)

    @property
    def table(self) -> Mapping[str, Metric]:
        """WA, UA and F1 of the class with most votes, and the distances."""
        right = "the class with most votes is right, and each of those that tie"
        classes = {name: replace(metric, about=f"{metric.about}; {right}") for name, metric in super().table.items()}
        return classes | {
            name: Metric(about, self._mean_of(column), percent=False, lower_is_better=True)
            for column, (name, about) in enumerate(DISTANCES.items(), len(self.target.names) ** 2)
        }

    def _mean_of(self, column: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        return lambda tallies: ratio(tallies[..., column], self.tables(tallies).sum(axis=(-2, -1)))

    def rows(self, true: NDArray[np.float64], answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each utterance's confusion matrix and distances, (B, C² + 3), from shares and probabilities."""
        answered, most = chosen(answers), true == true.max(axis=1, keepdims=True)
        parts = most / most.sum(axis=1, keepdims=True)
        found = (parts[:, :, None] * np.eye(len(self.target.names))).reshape(len(true), -1)
        right = (most * answered).any(axis=1, keepdims=True)
        middle = (true + answers) / 2
        distances = (
            np.maximum(0, divergence(true, middle) + divergence(answers, middle)) / 2,
            np.abs(true - answers).sum(axis=1) / 2,
            -(true * np.log(np.maximum(answers, SMALLEST))).sum(axis=1),
        )
        return np.column_stack([np.where(right, found, confusion_rows(parts, answered)), *distances])


def divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Σ p log2(p / q) of each row, the Kullback–Leibler divergence in bits, (B, C), (B, C) → (B,)."""
    occurs = p > 0
    return (p * np.log2(np.where(occurs, p, 1) / np.where(occurs, q, 1))).sum(axis=1)
