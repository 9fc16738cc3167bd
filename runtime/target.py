"""Says what a model predicts of an utterance: one class, several of them, or scores."""

from dataclasses import dataclass

__all__ = ["THRESHOLD", "Target"]

THRESHOLD = 0.5
"""Probability above which one of several labels applies."""


@dataclass(frozen=True)
class Target:
    """What a model predicts of an utterance.

    Attributes:
        kind: label, labels, votes or scores.
        names: Names of the K classes, or of the K scores, in the order of the outputs.
        ranges: Lowest and highest value of each score, (K, 2); empty for classes.
    """

    kind: str
    names: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...] = ()

    @property
    def name(self) -> str:
        """How it is called on the command line.

        >>> Target("scores", ("valence", "arousal"), ((1, 5), (1, 5))).name
        'valence,arousal'
        """
        return ",".join(self.names) if self.kind == "scores" else self.kind

    @property
    def one_of_many(self) -> bool:
        """Whether an answer is a distribution over classes."""
        return self.kind in ("label", "votes")
