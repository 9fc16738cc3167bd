"""Turns what a fusion gives, outputs (B, K), into answers (B, K) in the units of its target.

    label, votes    p = softmax(o)                    probabilities, whose sum is 1
    labels          p_k = σ(o_k − θ_k)                above 0.5 where the class applies
    scores          ŷ_k = μ_k + s_k o_k               in the score's own unit, cut to its range

μ and s are mean and standard deviation of the training part. Where CCC is learnt, both are set anew after training, so
that answers to the training part have the mean and deviation of its scores: dropout shrinks outputs, and CCC counts
that as an error. θ_k is where F1 of class k is highest on the training
part: classes that rarely apply get probabilities far below 0.5, and would never be answered. As the threshold is worked
into the answers, those of several models can be averaged.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gia_mic.extract.targets import Target

if TYPE_CHECKING:
    from torch import Tensor  # takes seconds to load, and thresholds are chosen without it too

    from gia_mic.fuse.models.layers import Batch
    from gia_mic.fuse.ridge import Ridge

__all__ = ["Readout", "fit_readout"]


SMALLEST_SPREAD = 0.1
"""Deviation of outputs, in deviations of the score, below which they aren't stretched further."""


@dataclass(frozen=True)
class Readout:
    """How a trained fusion's outputs are read.

    Attributes:
        target: What the fusion predicts.
        mean: μ of each score, (K,); empty for classes.
        deviation: s of each score, (K,), above 0; empty for classes.
        thresholds: θ of each class of `labels`, (K,), in the outputs' unit (log odds); empty for other targets.
        ridge: What the fusion corrects: its prediction is added to the fusion's outputs; None where nothing is.
    """

    target: Target
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = ()
    ridge: Ridge | None = field(default=None, repr=False)

    def corrected(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return a fusion's outputs (B, K) for a batch, with what they correct."""
        return outputs if self.ridge is None else outputs + self.ridge(batch)

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the answers (…, K) float32 to outputs (…, K)."""
        outputs = outputs.float()
        if self.target.one_of_many:
            return outputs.softmax(-1)
        if self.target.kind == "labels":
            return (outputs - outputs.new_tensor(self.thresholds)).sigmoid()
        low, high = outputs.new_tensor(self.target.ranges).T
        scores = outputs.new_tensor(self.mean) + outputs * outputs.new_tensor(self.deviation)
        return scores.clamp(low, high)

    def scaled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what outputs are compared to in training, (…, K), from values of the target (…, K)."""
        if self.target.kind != "scores":
            return values
        return (values - np.array(self.mean)) / np.array(self.deviation)

    def with_thresholds(self, outputs: NDArray[np.float32], values: NDArray[np.float64]) -> Readout:
        """Return the same with the thresholds of the training part.

        Args:
            outputs: What the trained fusion gives for it, (B, K).
            values: Its labels, (B, K), 1 where a class applies.
        """
        pairs = zip(outputs.T, values.T, strict=True)
        return replace(self, thresholds=tuple(_best_threshold(output, value > 0.5) for output, value in pairs))

    def rescaled(self, outputs: NDArray[np.float32], values: NDArray[np.float64]) -> Readout:
        """Return the same, but answers to the training part get the mean and deviation of its scores.

        Args:
            outputs: What the trained fusion gives for it, (B, K).
            values: Its scores, (B, K).
        """
        spread = np.maximum(outputs.std(0, dtype=float), SMALLEST_SPREAD)
        deviation = np.array(self.deviation) / spread
        mean = values.mean(0) - deviation * outputs.mean(0, dtype=float)
        return replace(self, mean=tuple(map(float, mean)), deviation=tuple(map(float, deviation)))


def fit_readout(target: Target, values: NDArray[np.float64]) -> Readout:
    """Return the readout of a training part, whose values are (B, K), without thresholds as yet.

    A score that is the same throughout has deviation 1.
    """
    if target.kind == "labels":
        return Readout(target, thresholds=(0.0,) * len(target.names))
    if target.kind != "scores":
        return Readout(target)
    deviation = values.std(0)
    deviation[deviation == 0] = 1
    return Readout(target, tuple(map(float, values.mean(0))), tuple(map(float, deviation)))


def _best_threshold(outputs: NDArray[np.float32], applies: NDArray[np.bool_]) -> float:
    """Return the threshold with the highest F1, midway between two outputs; 0 where a class always or never applies."""
    if applies.all() or not applies.any():
        return 0.0
    order = np.argsort(-outputs, kind="stable")
    ordered = outputs[order].astype(float)
    hits = np.cumsum(applies[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + applies.sum())
    between = np.append(ordered[:-1] > ordered[1:], True)  # a threshold can't lie between equal outputs
    best = int(np.argmax(np.where(between, f1, -1)))
    if best + 1 == len(ordered):
        return float(ordered[best]) - 1
    return float((ordered[best] + ordered[best + 1]) / 2)
