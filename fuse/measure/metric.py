"""Turns targets and answers into sums over utterances, and such sums into metrics."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gia_mic.extract.errors import RunError
from gia_mic.extract.targets import Target

__all__ = ["Measure", "Metric", "known_mean", "ratio"]

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One number that says how good answers are.

    Attributes:
        about: What it is, in one sentence.
        of: Turns tallies, (..., S), into its values, (...); None where sums over utterances can't give it.
        percent: Whether it is a fraction in 0 … 1 that is printed as a percentage.
        lower_is_better: Whether better answers make it smaller.
    """

    about: str
    of: Callable[[Numbers], Numbers] | None
    percent: bool = True
    lower_is_better: bool = False


@dataclass(frozen=True)
class Measure(ABC):
    """The metrics of one target.

    Everything but `whole` is worked out from a tally: S sums over utterances. Tallies of folds or dialogs may be added,
    and those of seeds averaged, before a metric is worked out. K is the number of the target's names, B of utterances.

    Attributes:
        target: What is predicted.
    """

    target: Target
    own: ClassVar[tuple[str, ...]] = ()
    """Names of the metrics that others wrote."""

    @property
    @abstractmethod
    def primary(self) -> str:
        """Name of the metric that chooses an epoch, and the best model."""

    @property
    @abstractmethod
    def headline(self) -> tuple[str, ...]:
        """Names of the metrics of the main table."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of sums in a tally, S."""

    @property
    @abstractmethod
    def table(self) -> Mapping[str, Metric]:
        """All metrics by name, also those of `whole`, in the order to print them."""

    @abstractmethod
    def rows(self, true: Numbers, answers: Numbers) -> Numbers:
        """Return what each utterance adds to a tally, (B, S), from targets and answers, (B, K)."""

    def details(self, tally: Numbers) -> dict[str, Any]:
        """Return what `scores` gives beside numbers, such as a confusion matrix, as plain values."""
        return {}

    def whole(self, true: ArrayLike, answers: ArrayLike) -> dict[str, float | None]:
        """Return the metrics that sums over utterances can't give; None where there is nothing to judge.

        Args:
            true: (B, K) targets.
            answers: (B, K) answers.

        Raises:
            RunError: As `tally`.
        """
        return {}

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics that a tally gives, in the order to print them."""
        return tuple(name for name, metric in self.table.items() if metric.of)

    @property
    def about(self) -> dict[str, str]:
        """What each metric is, in one sentence; also those of `whole`."""
        return {name: metric.about for name, metric in self.table.items()}

    @property
    def in_percent(self) -> frozenset[str]:
        """Names of metrics that are fractions in 0 … 1, printed as percentages; others are plain numbers."""
        return frozenset(name for name, metric in self.table.items() if metric.percent)

    @property
    def lower_is_better(self) -> frozenset[str]:
        """Names of metrics that better answers make smaller."""
        return frozenset(name for name, metric in self.table.items() if metric.lower_is_better)

    def tally(
        self, true: ArrayLike, answers: ArrayLike, groups: ArrayLike | None = None, weights: ArrayLike | None = None
    ) -> Numbers:
        """Return the sums over the utterances of each group, (G, S).

        Args:
            true: (B, K) targets, as `Corpus.values` gives them.
            answers: (B, K) answers: probabilities of classes, or scores in their own unit.
            groups: (B,) group numbers from 0, such as of dialogs; by default all utterances are one group.
            weights: (B,) what each utterance counts; by default 1.

        Raises:
            RunError: There is no utterance, the shapes differ, or a value isn't a number.
        """
        rows = self.rows(*self.checked(true, answers))
        if weights is not None:
            rows = rows * np.asarray(weights, dtype=float)[:, None]
        if groups is None:
            return rows.sum(axis=0, keepdims=True)
        numbers = np.asarray(groups)
        return np.stack([np.bincount(numbers, weights=column) for column in rows.T], axis=-1)

    def value(self, name: str, tallies: ArrayLike) -> Numbers:
        """Return a metric of tallies, (..., S) → (...); NaN where no utterance counts.

        Raises:
            RunError: Tallies don't give such a metric.
        """
        metric = self.table.get(name)
        if metric is None or metric.of is None:
            raise RunError(
                f"There is no metric {name!r} of {self.target.name}: choose one of {', '.join(self.metrics)}."
            )
        return np.asarray(metric.of(np.asarray(tallies, dtype=float)), dtype=float)

    def scores(self, tally: ArrayLike) -> dict[str, Any]:
        """Return all metrics of one tally, (S,), as plain values ready for JSON; None where no utterance counts.

        Raises:
            RunError: The tally is one of another target, or of no utterance.
        """
        sums = np.asarray(tally, dtype=float)
        if sums.shape != (self.size,) or not sums.any():
            raise RunError(
                f"A tally of {self.target.name} has the shape {sums.shape} and {np.count_nonzero(sums)} sums other "
                f"than 0: expected {self.size} sums over at least one utterance."
            )
        return {name: plain(self.value(name, sums)) for name in self.metrics} | self.details(sums)

    def checked(self, true: ArrayLike, answers: ArrayLike) -> tuple[Numbers, Numbers]:
        """Return targets and answers as numbers, (B, K) each.

        Raises:
            RunError: As `tally`.
        """
        true, answers = np.asarray(true, dtype=float), np.asarray(answers, dtype=float)
        K = len(self.target.names)
        if true.shape != answers.shape or true.ndim != 2 or true.shape[1] != K:
            raise RunError(
                f"The targets have the shape {true.shape} and the answers {answers.shape}: expected one row an "
                f"utterance and one column for each of {', '.join(self.target.names)}."
            )
        if len(true) == 0:
            raise RunError("There are no answers to score: give at least one utterance.")
        for what, values, advice in (
            ("targets", true, f"score only utterances that have the target {self.target.name}"),
            ("answers", answers, "check that the training didn't diverge"),
        ):
            wrong = ~np.isfinite(values).all(axis=1)
            if wrong.any():
                raise RunError(
                    f"{wrong.sum()} of {len(true)} utterances have {what} that aren't numbers, first row "
                    f"{wrong.argmax()}: {advice}."
                )
        return true, answers


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Numbers:
    """Return a quotient, NaN where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    return np.where(denominator != 0, numerator / np.where(denominator != 0, denominator, 1), np.nan)


def known_mean(values: Numbers) -> Numbers:
    """Return the mean over the last axis of the values that aren't NaN, (..., C) → (...); NaN where all are."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(axis=-1), known.sum(axis=-1))


def plain(value: ArrayLike) -> float | None:
    """Return a number as JSON can hold it: None for NaN."""
    return None if np.isnan(value) else float(value)  # type: ignore[arg-type]
