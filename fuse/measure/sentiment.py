"""Reads classes off a sentiment score, as papers do that train regressors but print accuracies.

The range of the score says which reading is meant; any other range has none. Both are those of the toolkit MMSA (Mao et
al., M-SENA, ACL 2022), for regression, in its class `MetricsTop`.

−3 … 3, CMU-MOSI (Zadeh et al., MOSI: Multimodal Corpus of Sentiment Intensity and Subjectivity Analysis, 2016) and
CMU-MOSEI (Zadeh et al., Multimodal Language Analysis in the Wild, ACL 2018). Acc-7, Acc-5 and Acc-3 clip both numbers
to ±3, ±2 and ±1, round them, halves to the even number, and compare. Two readings of two classes are in use:

    Acc-2_has0, F1_has0    ≥ 0 against < 0, all utterances
    Acc-2_non0, F1_non0    > 0 against < 0, without utterances whose true score is 0; an answer of 0 counts as negative

−1 … 1, CH-SIMS (Yu et al., CH-SIMS: A Chinese Multimodal Sentiment Analysis Dataset, ACL 2020). Acc-2, Acc-3 and Acc-5
compare in which interval both numbers lie. The limits are 0; ±0.1; ±0.1 and ±0.7. A limit belongs to the interval below
it, and so F1 takes 0 as negative. MAE and correlations too are those of numbers clipped to the range.

F1 is the mean of both classes' F1, weighted by their true utterances. Some code passes truth and answers the other way
round, and so weights by the answers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gia_mic.fuse.measure.classes import confusion_rows

__all__ = ["Reading", "readings_of"]

Classes = Callable[[NDArray[np.float32]], NDArray[np.int64]]


@dataclass(frozen=True)
class Reading:
    """One way to read classes off a score.

    Attributes:
        accuracy: Name of its accuracy.
        about: What the classes are, and of which utterances.
        classes: Number of classes, C.
        class_of: Turns scores, (B,), into class indices, (B,).
        f1: Name of its weighted F1; None where papers print none.
        without_zeros: Whether utterances whose true score is 0 are left out.
        clips: Whether MAE and correlations beside it are those of numbers clipped to the range.
    """

    accuracy: str
    about: str
    classes: int
    class_of: Classes
    f1: str | None = None
    without_zeros: bool = False
    clips: bool = False

    def rows(self, true: NDArray[np.float64], answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each utterance's confusion matrix, rows true, row after row, (B,), (B,) → (B, C²)."""
        t, a = (
            true.astype(np.float32),
            answers.astype(np.float32),
        )  # a number read from a float32 0.1 is no more than 0.1
        one_hot = np.eye(self.classes)
        counts = (t != 0) | (not self.without_zeros)
        return confusion_rows(one_hot[self.class_of(t)] * counts[:, None], one_hot[self.class_of(a)])


def readings_of(limits: tuple[float, float]) -> tuple[Reading, ...]:
    """Return how classes are read off a score of a range, its lowest and highest value.

    >>> [reading.accuracy for reading in readings_of((-1, 1))]
    ['Acc-5', 'Acc-3', 'Acc-2']
    """
    return READINGS.get(limits, ())


def rounded(limit: int) -> Classes:
    """Return what numbers the whole numbers from −limit to limit, to which scores are rounded."""
    return lambda scores: (np.round(np.clip(scores, -limit, limit)) + limit).astype(np.int64)


def between(*limits: float) -> Classes:
    """Return what numbers the intervals between limits, each of which belongs to the interval below it."""
    return lambda scores: np.digitize(scores, np.array(limits, dtype=np.float32), right=True)


READINGS: dict[tuple[float, float], tuple[Reading, ...]] = {
    (-3, 3): (
        *(
            Reading(
                f"Acc-{2 * limit + 1}",
                f"scores clipped to ±{limit} and rounded to whole numbers, halves to even ones",
                2 * limit + 1,
                rounded(limit),
            )
            for limit in (3, 2, 1)
        ),
        Reading(
            "Acc-2_has0",
            "non-negative (≥ 0) against negative scores, of all utterances",
            2,
            lambda scores: (scores >= 0).astype(np.int64),
            "F1_has0",
        ),
        Reading(
            "Acc-2_non0",
            "positive against negative scores, without utterances whose true score is 0",
            2,
            between(0),
            "F1_non0",
            without_zeros=True,
        ),
    ),
    (-1, 1): (
        Reading("Acc-5", "scores between −1, −0.7, −0.1, 0.1, 0.7 and 1", 5, between(-0.7, -0.1, 0.1, 0.7), clips=True),
        Reading("Acc-3", "scores between −1, −0.1, 0.1 and 1", 3, between(-0.1, 0.1), clips=True),
        Reading("Acc-2", "positive (> 0) against other scores", 2, between(0), "F1", clips=True),
    ),
}
"""How classes are read off a score, by its lowest and highest value."""
