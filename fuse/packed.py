"""Turns utterances' frames, end to end in memory or in their file, into padded batches.

Neighbouring frames may be averaged, which happens where they are read, a block after the other.

Where the frames are more than the memory allowed, they stay in their file, of which each batch reads its own. For
training in bfloat16 on a CPU the array in memory holds rounded frames, and what needs the frames themselves, the
scaler's statistics and every evaluation, reads the file.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gia_mic.extract.store import Store
from gia_mic.fuse.models.layers import PaddedFrames

__all__ = ["Bfloat16Frames", "FileFrames", "PackedFrames", "average", "rows_not_finite"]


ORIGIN_FRAMES = 2**12
"""Most frames, spread over all, whose median is the origin of those that are rounded."""


BLOCK_FRAMES = 2**12
"""Frames that are rounded, averaged or looked through at a time."""


@dataclass(frozen=True)
class Bfloat16Frames:
    """Frames in bfloat16, without what they all have in common, whose digits bfloat16 has no room for.

    The origin decides nothing but what is lost in rounding, so it is one for all folds, unlike the scaler's mean; a
    median, so that no strange part of a corpus moves it.

    Attributes:
        values: (N, D) bfloat16, frames less the origin.
        origin: (D,) float32, about their median.
    """

    values: Tensor
    origin: Tensor

    @staticmethod
    def of(values: "Tensor | FileFrames") -> "Bfloat16Frames":
        """Round frames (N, D), a block after the other."""
        origin = values[:: -(-len(values) // ORIGIN_FRAMES)].float().median(0).values
        rounded = torch.empty(values.shape, dtype=torch.bfloat16)
        for block, target in zip(values.split(BLOCK_FRAMES), rounded.split(BLOCK_FRAMES), strict=True):
            target.copy_(block - origin)
        return Bfloat16Frames(rounded, origin)


@dataclass(frozen=True)
class FileFrames:
    """Frames (N, D) that stay in their file; as much of a tensor as is needed here.

    They are read when they are asked for, not mapped: the pages of a map would count as memory of this process until
    the system takes them back, and a scheduler that bounds memory ends the process before.

    Attributes:
        store: The feature file.
        group: Neighbouring frames of the file that are averaged to one, at least 1.
    """

    store: Store
    group: int = 1

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @cached_property
    def offsets(self) -> np.ndarray:
        """First row of each utterance, (U + 1,) int64: utterance u has the rows offsets[u] to offsets[u + 1]."""
        return np.concatenate([[0], np.cumsum(-(-np.diff(self.store.offsets) // self.group))])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features of all frames, (N, D)."""
        return len(self), self.store.dim

    @property
    def nbytes(self) -> int:
        """Bytes of all frames, as a tensor of them would have."""
        return len(self) * self.store.dim * np.dtype(self.store.header.dtype).itemsize

    def __getitem__(self, selection: slice) -> Tensor:
        """Return the selected rows, (R, D)."""
        rows = range(len(self))[selection]
        frames = np.empty((len(rows), self.store.dim), self.store.header.dtype)
        return self._fill(frames, *(([rows.start], [frames]) if rows.step == 1 else (rows, frames[:, None])))

    def split(self, count: int) -> Iterator[Tensor]:
        """Give all rows in order, `count` at a time."""
        return (self[start : start + count] for start in range(0, len(self), count))

    def padded(self, starts: Tensor, mask: Tensor) -> Tensor:
        """Return (B, T, D): the rows from each start (B,) on where the mask (B, T) is True, then zeros."""
        frames = np.zeros((*mask.shape, self.store.dim), self.store.header.dtype)
        rows = [row[:count] for row, count in zip(frames, mask.sum(1).tolist(), strict=True)]
        return self._fill(frames, starts.tolist(), rows)

    def joined(self, starts: Tensor, lengths: Tensor) -> Tensor:
        """Return (S, D): so many rows (B,) from each start (B,) on, one after the other."""
        frames = np.empty((int(lengths.sum()), self.store.dim), self.store.header.dtype)
        return self._fill(frames, starts.tolist(), np.split(frames, lengths.cumsum(0)[:-1].numpy()))

    def _fill(self, frames: np.ndarray, starts: Sequence[int], parts: Iterable[np.ndarray]) -> Tensor:
        """Read each of the parts of an array from its start on, and return the array."""
        spans = zip(starts, parts, strict=True)
        if self.group == 1:
            self.store.fill(spans)
        else:
            for start, part in spans:
                self._average(start, part)
        return torch.from_numpy(frames)

    def _average(self, start: int, means: np.ndarray) -> None:
        """Read the rows from a start on, and no more than a block of the file's at a time."""
        block = -(-BLOCK_FRAMES // self.group)
        for first in range(0, len(means), block):
            target = means[first : first + block]
            rows = start + first + np.arange(len(target) + 1)
            utterances = np.searchsorted(self.offsets, rows, side="right") - 1
            # row n is the mean of the file's rows bounds[n] to bounds[n + 1]
            bounds = self.store.offsets[utterances] + (rows - self.offsets[utterances]) * self.group
            frames = np.empty((bounds[-1] - bounds[0], self.store.dim), self.store.header.dtype)
            self.store.fill([(int(bounds[0]), frames)])
            target[:] = _means(torch.from_numpy(frames), np.diff(bounds))


@dataclass(frozen=True)
class PackedFrames:
    """The frames of all utterances in one modality, end to end.

    Attributes:
        values: (N, D) float16 or float32, in memory or in their file.
        starts: (U,) int64, first row of each utterance.
        lengths: (U,) int64, frames of each; 0 where it has none.
        layers: Number of encoder layers L that lie side by side in D and are to be weighed, at least 1.
        rounded: The same frames in bfloat16, for training in bfloat16 on a CPU; None otherwise.
    """

    values: Tensor | FileFrames
    starts: Tensor
    lengths: Tensor
    layers: int = 1
    rounded: Bfloat16Frames | None = None

    @property
    def dim(self) -> int:
        """Features per frame, D."""
        return self.values.shape[1]

    def gather(
        self, rows: Tensor, *, for_bfloat16: bool = False, on_host: Tensor | None = None, longest: int | None = None
    ) -> PaddedFrames:
        """Return the frames of utterances (B,) padded to the longest of them, at least 1.

        A row number of −1 is nobody: an utterance without frames. The batch is on the device of `rows`, wherever the
        frames are kept.

        A batch to be multiplied in bfloat16 on a CPU is of the rounded frames, where there are any, and padded on to
        one of four lengths an octave, because oneDNN compiles a product for each shape anew.

        A device is asked for nothing where `on_host`, the same rows, and the `longest` of their lengths are given.
        """
        device = rows.device
        if device != self.starts.device:
            rows = rows.to(self.starts.device) if on_host is None else on_host
        lengths = torch.where(rows >= 0, self.lengths[rows], 0)
        longest = max(int(lengths.max()) if longest is None else longest, 1)
        steps = torch.arange(_batch_length(longest) if for_bfloat16 else longest, device=rows.device)
        mask = steps < lengths.unsqueeze(1)
        values = self.rounded.values if for_bfloat16 and self.rounded is not None else self.values
        if isinstance(values, FileFrames):
            frames = values.padded(self.starts[rows], mask)
        else:  # padding shows the last row, whose values mean nothing there
            indices = torch.where(mask, self.starts[rows].unsqueeze(1) + steps, len(values) - 1)
            frames = values.index_select(0, indices.flatten()).view(*indices.shape, -1)
        return PaddedFrames(frames.to(device), mask.to(device))

    def statistics(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (D,) float64 of the frames of these utterances.

        Blocks are summed in float32 around their own means and joined in float64 (Chan, Golub and LeVeque 1983), so a
        mean a thousand times the deviation does no harm. Without any frame the mean is 0 and the deviation 1.
        """
        total = torch.zeros(self.dim, dtype=torch.float64)
        squares = torch.zeros(self.dim, dtype=torch.float64)
        count = 0
        for block in torch.as_tensor(rows, device=self.starts.device).split(64):
            frames = self._end_to_end(block)
            size = len(frames)
            if not size:
                continue
            variance, mean = torch.var_mean(frames.float(), 0, correction=0)
            variance, mean = variance.cpu().double(), mean.cpu().double()  # not every device has float64
            difference = mean - (total / count if count else 0)
            squares += variance * size + difference.square() * (count * size / (count + size))
            total += mean * size
            count += size
        if not count:
            return total, total + 1
        return total / count, (squares / count).sqrt()

    def _end_to_end(self, rows: Tensor) -> Tensor:
        """Return the frames (S, D) of utterances (B,)."""
        lengths = self.lengths[rows]
        if isinstance(self.values, FileFrames):
            return self.values.joined(self.starts[rows], lengths)
        size = int(lengths.sum())
        first = torch.repeat_interleave(self.starts[rows], lengths, output_size=size)
        before = torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths, output_size=size)
        steps = torch.arange(size, device=rows.device) - before
        return self.values.index_select(0, first + steps)


def average(frames: Tensor, lengths: np.ndarray, group: int) -> tuple[Tensor, np.ndarray]:
    """Average each `group` neighbouring frames of an utterance to one, in float32; the last ones may be fewer.

    Args:
        frames: (N, D), the frames of utterances end to end.
        lengths: (U,) frames of each.
        group: Frames that are averaged, at least 1; 1 changes nothing.

    Returns:
        Frames (S, D) of the same type, and how many each utterance has, (U,) ceil(lengths / group).
    """
    if group > 1:
        frames = _means(frames, _group_sizes(lengths, group))
    return frames, -(-lengths // group)


def _group_sizes(lengths: np.ndarray, group: int) -> np.ndarray:
    """Return (S,) how many frames are averaged to each, where utterances have so many (U,)."""
    ends = np.cumsum(-(-lengths // group))
    sizes = np.full(ends[-1] if len(ends) else 0, group)
    sizes[ends[lengths > 0] - 1] -= -lengths[lengths > 0] % group
    return sizes


def _means(frames: Tensor, sizes: np.ndarray) -> Tensor:
    """Return the means (S, D) of so many frames each, one after the other, whatever stands beside them."""
    groups = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes))
    sums = torch.zeros(len(sizes), frames.shape[1]).index_add_(0, groups, frames.float())
    return (sums / torch.from_numpy(sizes).unsqueeze(1)).to(frames.dtype)


def _batch_length(length: int) -> int:
    """Return the next of four lengths an octave: 1 to 8, 10, 12, 14, 16, 20, 24, 28, 32, 40 and so on."""
    step = 1 << max((length - 1).bit_length() - 3, 0)
    return -(-length // step) * step


def rows_not_finite(values: Tensor | FileFrames) -> np.ndarray:
    """Return the numbers of the rows that hold NaN or infinity."""
    blocks = [np.flatnonzero(~np.isfinite(block.numpy()).all(1)) for block in values.split(BLOCK_FRAMES)]
    return np.concatenate([number * BLOCK_FRAMES + block for number, block in enumerate(blocks)])
