"""Cuts what is longer than a model takes into windows that overlap, and averages neighbouring frames."""

from collections.abc import Iterator

import numpy as np

__all__ = ["overlapping", "pool"]


def overlapping(length: int, window: int, context: int) -> Iterator[tuple[int, int, slice]]:
    """Cut `length` positions into windows that overlap, of which the kept parts tile it.

    Args:
        length: Positions in all, ≥ 1.
        window: Most positions in a window, more than twice the context.
        context: Positions that a window sees of each neighbour without keeping them.

    Yields:
        Begin and end of a window, and which of its positions to keep.

    >>> list(overlapping(5, 8, 2))
    [(0, 5, slice(0, 5, None))]
    >>> list(overlapping(10, 8, 2))
    [(0, 8, slice(0, 6, None)), (4, 10, slice(2, 6, None))]
    """
    if length <= window:
        yield 0, length, slice(0, length)
        return
    keep_from = 0
    while keep_from < length:
        begin = max(keep_from - context, 0)
        end = min(begin + window, length)
        keep_to = length if end == length else end - context
        yield begin, end, slice(keep_from - begin, keep_to - begin)
        keep_from = keep_to


def pool(frames: np.ndarray, how: str) -> np.ndarray:
    """Average neighbouring frames.

    Args:
        frames: (T, D).
        how: "none", a number of frames, or "utterance" for all of them.

    Returns:
        (ceil(T / N), D) for a number N, the last row averaging what is left; (1, D) for "utterance".
    """
    if how == "none":
        return frames
    if how == "utterance":
        return frames.mean(axis=0, keepdims=True)
    starts = np.arange(0, len(frames), int(how))
    counts = np.diff(np.append(starts, len(frames)))
    return np.add.reduceat(frames, starts, axis=0) / counts[:, None].astype(frames.dtype)
