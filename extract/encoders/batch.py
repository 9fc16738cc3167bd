"""Turns windows into a padded batch on a device, and what the device makes of it into frames.

An accelerator works through a queue that the host fills, and is idle after the host has asked it for a value. So masks
and cuts are computed there from the windows' lengths, only what is kept comes back, and it is waited for once.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from gia_mic.extract.device import host_buffer, to_host
from gia_mic.extract.encoders.contract import Window

__all__ = ["Batch", "Pending"]


class Batch:
    """Windows of different lengths, padded, on a device.

    Args:
        windows: B windows, whose values differ at most in the length of their first axis.
        device: Where to.
        padding: What stands behind the end of a window.

    Attributes:
        values: (B, n, ...), of the type of the windows' values.
        ragged: Whether they differ in length.
    """

    def __init__(self, windows: Sequence[Window], device: torch.device, padding: int = 0) -> None:
        self._keeps = [window.keep for window in windows]
        self._counts = [keep.stop - keep.start for keep in self._keeps]
        self._lengths = [len(window.values) for window in windows]
        self.ragged = min(self._lengths) < max(self._lengths)
        values = windows[0].values
        padded = host_buffer((len(windows), max(self._lengths), *values.shape[1:]), values.dtype, device)
        for row, window in zip(padded.numpy(), windows, strict=True):
            row[: len(window.values)] = window.values
            row[len(window.values) :] = padding
        self.values = padded.to(device, non_blocking=True)

    @property
    def lengths(self) -> torch.Tensor:
        """(B,) int64, how many of the n are a window's own."""
        return self._numbers[0]

    def mask(self) -> torch.Tensor:
        """Return (B, n), True where a window has a value of its own."""
        return torch.arange(self.values.shape[1], device=self.values.device)[None] < self.lengths[:, None]

    def kept(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return of (B, T, D) the frames that the windows keep, one after the other, (N, D)."""
        if hidden.device.type == "cpu" or len(hidden) == 1:
            return torch.cat([frames[keep] for frames, keep in zip(hidden, self._keeps, strict=True)])
        _, counts, shifts = self._numbers
        steps = torch.arange(len(hidden), device=hidden.device) * hidden.shape[1]
        count = sum(self._counts)  # said here, or the host would wait for the sum on the device
        rows = torch.repeat_interleave(shifts + steps, counts, output_size=count)
        return hidden.flatten(0, 1)[rows + torch.arange(count, device=hidden.device)]

    @cached_property
    def _numbers(self) -> torch.Tensor:
        """Return lengths, counts and shifts, (3, B).

        Row r of all that is kept, which is window b's, is frame r + shift + b T of a batch of T frames each.
        """
        shifts = np.array([keep.start for keep in self._keeps]) - np.cumsum([0, *self._counts[:-1]])
        numbers = host_buffer((3, len(self._keeps)), np.dtype(np.int64), self.values.device)
        numbers.numpy()[:] = self._lengths, self._counts, shifts
        return numbers.to(self.values.device, non_blocking=True)


class Pending:
    """Frames that a device may still be computing; whoever asks for them waits.

    Args:
        rows: (N, D), the frames of all windows one after the other.
        counts: How many of them each window has.
        dtype: What they are stored in, float16 or float32.
    """

    def __init__(self, rows: torch.Tensor, counts: Sequence[int], dtype: str) -> None:
        self._shape, self._ends = rows.shape, np.cumsum(counts)[:-1]
        stored = rows.float().to(getattr(torch, dtype))
        doubts = (stored - stored).sum(1)  # 0, and no number where one of the values isn't finite
        self._wait = to_host(torch.cat([stored.flatten(), doubts]))

    def frames(self) -> list[np.ndarray]:
        """Return each window's frames (T, D)."""
        values, _ = self._halves
        return np.split(values.reshape(self._shape), self._ends)

    def finite(self) -> list[bool]:
        """Return for each window whether all its values are finite numbers of their type."""
        _, doubts = self._halves
        return [not part.any() for part in np.split(np.isnan(doubts), self._ends)]

    @cached_property
    def _halves(self) -> list[np.ndarray]:
        whole = self._wait().numpy()
        return np.split(whole, [len(whole) - self._shape[0]])
