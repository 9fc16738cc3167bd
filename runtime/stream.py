"""Turns a stream of sound into its statistics, and into slices of it, in bounded memory."""

from collections.abc import Iterator

import numpy as np

__all__ = ["SoundStatistics", "SoundWindow"]


class SoundStatistics:
    """A recording's statistics from one pass over it, and its samples if it is short.

    Args:
        blocks: The recording.
        keep: Most samples to hold in memory.
    """

    def __init__(self, blocks: Iterator[np.ndarray], keep: int) -> None:
        parts: list[np.ndarray] | None = []
        self.count, self.mean, squares = 0, 0.0, 0.0
        for block in blocks:
            if not len(block):
                continue
            # Chan's update of mean and squared deviations, which doesn't cancel as sums of squares do
            block_mean = float(block.mean(dtype=np.float64))
            squares += float(((block - block_mean) ** 2).sum(dtype=np.float64))
            delta = block_mean - self.mean
            squares += delta**2 * self.count * len(block) / (self.count + len(block))
            self.mean += delta * len(block) / (self.count + len(block))
            self.count += len(block)
            if parts is not None:
                parts.append(block)
                if self.count > 2 * keep:
                    parts = None
        self.variance = squares / max(self.count, 1)
        self.kept = None if parts is None else np.concatenate(parts) if parts else np.empty(0, np.float32)


class SoundWindow:
    """A stream that can be sliced, as long as no slice begins before the one before it."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self._held = np.empty(0, np.float32)
        self._begin = 0

    def __getitem__(self, span: slice) -> np.ndarray:
        drop = span.start - self._begin
        parts = [self._held[drop:]]
        count = len(parts[0])
        self._begin = span.start
        while count < span.stop - span.start and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            count += len(block)
        self._held = np.concatenate(parts)
        return self._held[: span.stop - span.start]
