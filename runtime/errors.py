"""Turns whatever keeps the runtime from an answer into one sentence."""

__all__ = ["PredictionError"]


class PredictionError(Exception):
    """A folder, an input or a library is wrong: the message says what, where, and what to do about it."""
