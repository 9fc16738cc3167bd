"""Turns the numbers that a run gives for an input into an answer: one class, several of them, or scores."""

from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Any

from .target import THRESHOLD, Target

__all__ = ["Answer", "decimals", "in_words", "range_of"]

BAR = 30
"""Characters of the longest bar, and of a scale."""


@dataclass(frozen=True)
class Answer:
    """What a run says of an input. It reads alike for all targets; what one doesn't have is None or empty.

    Attributes:
        target: What the run predicts.
        values: By the target's names, in their order: the probability of each class in 0 … 1, or each score in its own
            unit. With several models, their mean.
    """

    target: Target
    values: dict[str, float]

    @property
    def label(self) -> str | None:
        """Most probable class, of `votes` the one that most annotators would choose; None for other targets."""
        return max(self.values, key=self.values.__getitem__) if self.target.one_of_many else None

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes that apply, those with a probability above 0.5, of `labels`; empty for other targets."""
        if self.target.kind != "labels":
            return ()
        return tuple(name for name, p in self.values.items() if p > THRESHOLD)

    @property
    def probabilities(self) -> dict[str, float]:
        """Probability of each class in 0 … 1, empty for scores.

        Their sum is 1, except for `labels`. There the threshold that was chosen in training lies at 0.5.
        """
        return {} if self.target.kind == "scores" else self.values

    @property
    def scores(self) -> dict[str, float]:
        """Each score in its own unit, within its range; empty for classes."""
        return self.values if self.target.kind == "scores" else {}

    def entries(self) -> dict[str, Any]:
        """Return the answer as JSON values: label or labels with probabilities, or scores.

        >>> Answer(Target("scores", ("valence",), ((1, 5),)), {"valence": 3.25}).entries()
        {'scores': {'valence': 3.25}}
        """
        values = {name: round(value, 6) for name, value in self.values.items()}
        if self.target.kind == "scores":
            return {"scores": values}
        if self.target.kind == "labels":
            return {"labels": list(self.labels), "probabilities": values}
        return {"label": self.label, "probabilities": values}

    def in_words(self) -> str:
        """Return the answer without probabilities, in a few words.

        >>> Answer(Target("labels", ("happy", "sad")), {"happy": 0.3, "sad": 0.2}).in_words()
        'none'
        """
        if self.target.kind == "scores":
            return ", ".join(f"{name} {in_words(self.target, name, score)}" for name, score in self.values.items())
        return self.label or ", ".join(self.labels) or "none"

    def lines(self) -> str:
        """Return the answer for a terminal, a line a class or score.

        Classes come with bars, the most probable first, and several say which of them apply. A score has its place
        between the ends of its range.
        """
        width = max(map(len, self.values))
        if self.scores:
            lows = max(len(f"{low:g}") for low, _ in self.target.ranges)
            return "\n".join(f"{name:{width}}  {self._on_scale(name, lows)}" for name in self.scores)
        lines = []
        for name, p in sorted(self.probabilities.items(), key=lambda pair: -pair[1]):
            line = f"{name:{width}}  {100 * p:5.1f} %  {'█' * round(BAR * p)}".rstrip()
            lines.append(f"{line}  applies" if name in self.labels else line)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.lines())}</pre>"

    def _on_scale(self, name: str, low_width: int) -> str:
        low, high = range_of(self.target, name)
        before = round(BAR * (self.scores[name] - low) / (high - low))
        value = in_words(self.target, name, self.scores[name])
        return f"{value:>6}  {low:>{low_width}g} {'─' * before}●{'─' * (BAR - before)} {high:g}"


def range_of(target: Target, name: str) -> tuple[float, float]:
    """Return the lowest and highest value of a score, or of a class's probability."""
    return target.ranges[target.names.index(name)] if target.kind == "scores" else (0.0, 1.0)


def in_words(target: Target, name: str, value: float) -> str:
    """Return a probability in percent, or a score to about a hundredth of its range.

    >>> in_words(Target("scores", ("valence",), ((1, 5),)), "valence", 3.14159)
    '3.14'
    """
    return f"{value:.{decimals(target, name)}f}" if target.kind == "scores" else f"{100 * value:.1f} %"


def decimals(target: Target, name: str) -> int:
    """Return the digits behind the point that show about a hundredth of a score's range."""
    low, high = range_of(target, name)
    return max(0, 2 - floor(log10(high - low)))
