"""Turns several true and predicted labels an utterance into scores.

An answer above 0.5 says that the label applies. Of each label, with P utterances that have it and N that don't, of
which TP and TN are found:

    WAcc            (TP N / P + TN) / 2N     weighted accuracy: those with and without the label count the same
    F1              2 TP / (P + answered)    of having the label
    two_sided_F1    mean of the F1 of having and of lacking the label, weighted by P and N

The weighted accuracy is that of Tong et al., Combating Human Trafficking with Multimodal Deep Models (ACL 2017). Papers
on CMU-MOSEI print it for each emotion, after Zadeh et al., Multimodal Language Analysis in the Wild (ACL 2018), and an
F1 beside it. Published code mostly takes the two-sided F1, which is high even if a rare emotion is never found. Other
papers print the F1 of having the emotion, so both are here.

A label that all utterances have, or none, has no WAcc (NaN) and no part in the mean over labels. A label that neither
occurs nor is answered has no F1, and no part in its mean.

Average precision looks at the order of the answers alone: Σ (R_n − R_n−1) P_n over the thresholds n between different
answers, with recall R and precision P. A label that never occurs has none.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gia_mic.fuse.measure.classes import recalls_of, weighted_f1_of
from gia_mic.fuse.measure.metric import Measure, Metric, known_mean, plain, ratio

__all__ = ["THRESHOLD", "LabelsMeasure"]

THRESHOLD = 0.5
"""Probability above which a label applies."""


class LabelsMeasure(Measure):
    """The metrics of several labels an utterance.

    A tally is a confusion matrix of each label, one after another: TN, FP, FN, TP.
    """

    primary = "macro_F1"
    headline = ("WAcc", "macro_F1", "micro_F1")

    @property
    def size(self) -> int:
        """Number of cells, 4 K."""
        return 4 * len(self.target.names)

    @property
    def table(self) -> Mapping[str, Metric]:
        """Means over the labels, and then each label's own."""
        names = self.target.names

        def of(score: Callable, label: int | None = None) -> Callable[[ArrayLike], NDArray[np.float64]]:
            """Give a score of one label, or the mean over labels."""
            if label is None:
                return lambda tallies: known_mean(score(self.tables(tallies)))
            return lambda tallies: score(self.tables(tallies)[..., label, :, :])

        return {
            "WAcc": Metric("mean over labels of the weighted accuracy, (TP N / P + TN) / 2N", of(weighted_accuracy)),
            "macro_F1": Metric("mean over labels of the F1 of having the label", of(f1)),
            "micro_F1": Metric(
                "F1 of having a label, all labels counted together",
                lambda tallies: f1(self.tables(tallies).sum(axis=-3)),
            ),
            "two_sided_F1": Metric(
                "mean over labels of the F1 of having and of lacking it, weighted by their utterances",
                of(weighted_f1_of),
            ),
            "mAP": Metric("mean over labels of the average precision, whatever the threshold", None),
            **{
                f"WAcc_{name}": Metric(
                    f"weighted accuracy of {name}, (TP N / P + TN) / 2N", of(weighted_accuracy, label)
                )
                for label, name in enumerate(names)
            },
            **{f"F1_{name}": Metric(f"F1 of having {name}", of(f1, label)) for label, name in enumerate(names)},
            **{
                f"two_sided_F1_{name}": Metric(
                    f"mean of the F1 of having and of lacking {name}, weighted by their utterances",
                    of(weighted_f1_of, label),
                )
                for label, name in enumerate(names)
            },
            **{f"AP_{name}": Metric(f"average precision of {name}, whatever the threshold", None) for name in names},
        }

    def tables(self, tallies: ArrayLike) -> NDArray[np.float64]:
        """Return each label's confusion matrix, (..., 4 K) → (..., K, 2, 2)."""
        sums = np.asarray(tallies, dtype=float)
        return sums.reshape(*sums.shape[:-1], len(self.target.names), 2, 2)

    def rows(self, true: NDArray[np.float64], answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each utterance's confusion matrices, (B, 4 K), from labels as 0 and 1 and from probabilities."""
        cells = 2 * (true > THRESHOLD) + (answers > THRESHOLD)
        return np.eye(4)[cells].reshape(len(true), -1)

    def whole(self, true: ArrayLike, answers: ArrayLike) -> dict[str, float | None]:
        """Return `mAP` and the average precision of each label."""
        true, answers = self.checked(true, answers)
        precisions = np.array([average_precision(*column) for column in zip(true.T, answers.T, strict=True)])
        own = {f"AP_{name}": plain(value) for name, value in zip(self.target.names, precisions, strict=True)}
        return {"mAP": plain(known_mean(precisions)), **own}


def weighted_accuracy(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return WAcc from confusion matrices, (..., 2, 2) → (...): the mean of both sides' recalls, NaN without a side."""
    return recalls_of(tables).mean(axis=-1)


def f1(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the F1 of having the label from confusion matrices, (..., 2, 2) → (...); NaN where it occurs nowhere."""
    hits = tables[..., 1, 1]
    return ratio(2 * hits, tables[..., 1, :].sum(axis=-1) + tables[..., :, 1].sum(axis=-1))


def average_precision(true: NDArray[np.float64], answers: NDArray[np.float64]) -> float:
    """Return the average precision of one label from labels and probabilities, (B,) each; NaN if it never occurs."""
    order = np.argsort(-answers, kind="stable")
    last = np.flatnonzero(np.diff(answers[order], append=-np.inf))  # of equal answers
    hits = np.cumsum(true[order] > THRESHOLD)[last]
    return float(ratio((np.diff(hits, prepend=0) * hits / (last + 1)).sum(), hits[-1]))
