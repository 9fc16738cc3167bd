"""Turns answers into words, and says by how much they change; the runtime owns what an answer is."""

from gia_mic.extract.targets import Target
from gia_mic.runtime.answer import Answer, decimals, in_words, range_of

__all__ = ["Answer", "change_in_words", "in_words", "range_of"]


def change_in_words(target: Target, name: str, change: float) -> str:
    """Return by how much a value changes, in points of a hundred or in the score's unit.

    >>> change_in_words(Target("label", ("angry", "sad")), "sad", -0.125)
    '-12.5'
    """
    return f"{change:+.{decimals(target, name)}f}" if target.kind == "scores" else f"{100 * change:+.1f}"
