"""Turns feature files and a manifest into batches of padded frames.

Frames are read once and stay end to end in one array for each modality, in half precision where they were stored so;
where that is more than the memory allowed, they stay in their file, of which each batch then reads its own, and the
system keeps what fits. A batch is padded to its own longest utterance, so an epoch costs one copy of its frames and no
worker processes. For training in bfloat16 on a CPU the array holds rounded frames, and what needs the frames
themselves, the scaler's statistics and every evaluation, reads the file.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gia_mic.extract.corpus import MODALITIES, Corpus
from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.store import Store, find, refuse_stale_texts
from gia_mic.fuse.frames import Padded

__all__ = ["Data", "Filed", "Packed", "Rounded", "epoch", "find_stores", "layer_count", "read", "sorted_batches"]

POOL = 2
"""How far, in batches, an utterance may move from its place by length: it shall not always meet the same ones."""

ORIGIN_FRAMES = 2**12
"""Most frames, spread over all, whose median is the origin of those that are rounded."""

BLOCK_FRAMES = 2**12
"""Frames that are rounded or looked through at a time."""


@dataclass(frozen=True)
class Rounded:
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
    def of(values: "Tensor | Filed") -> "Rounded":
        """Round frames (N, D), a block after the other."""
        origin = values[:: -(-len(values) // ORIGIN_FRAMES)].float().median(0).values
        rounded = torch.empty(values.shape, dtype=torch.bfloat16)
        for block, place in zip(values.split(BLOCK_FRAMES), rounded.split(BLOCK_FRAMES), strict=True):
            place.copy_(block - origin)
        return Rounded(rounded, origin)


@dataclass(frozen=True)
class Filed:
    """Frames (N, D) that stay in their file, N ≥ 1; as much of a tensor as is needed here.

    They are read when they are asked for, not mapped: the pages of a map would count as memory of this process until
    the system takes them back, and a scheduler that bounds memory ends the process before.
    """

    store: Store

    def __len__(self) -> int:
        return self.store.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return len(self), self.store.dim

    @property
    def nbytes(self) -> int:
        """Bytes of all."""
        return self.store.nbytes

    def __getitem__(self, wanted: slice) -> Tensor:
        """Return rows (R, D)."""
        rows = range(len(self))[wanted]
        found = np.empty((len(rows), self.store.dim), self.store.header.dtype)
        self.store.fill([(rows.start, found)] if rows.step == 1 else zip(rows, found[:, None], strict=True))
        return torch.from_numpy(found)

    def split(self, count: int) -> Iterator[Tensor]:
        """Give all rows in order, `count` at a time."""
        return (self[start : start + count] for start in range(0, len(self), count))

    def padded(self, starts: Tensor, mask: Tensor, stride: int) -> Tensor:
        """Return (B, T, D): every `stride`-th row from each start (B,) on where the mask (B, T) is True, then zeros."""
        found = np.zeros((*mask.shape, self.store.dim), self.store.header.dtype)
        rows = [row[:count] for row, count in zip(found, mask.sum(1).tolist(), strict=True)]
        return self._filled(found, starts, rows, stride)

    def joined(self, starts: Tensor, lengths: Tensor, stride: int) -> Tensor:
        """Return (S, D): so many rows (B,), every `stride`-th, from each start (B,) on, one after the other."""
        found = np.empty((int(lengths.sum()), self.store.dim), self.store.header.dtype)
        return self._filled(found, starts, np.split(found, lengths.cumsum(0)[:-1].numpy()), stride)

    def _filled(self, found: np.ndarray, starts: Tensor, parts: Sequence[np.ndarray], stride: int) -> Tensor:
        """Read each of the parts of an array from its start on, and return the array."""
        if stride == 1:
            self.store.fill(zip(starts.tolist(), parts, strict=True))
        else:
            for start, part in zip(starts.tolist(), parts, strict=True):
                part[:] = self[start : start + len(part) * stride][::stride]
        return torch.from_numpy(found)


@dataclass(frozen=True)
class Packed:
    """The frames of all utterances in one modality, end to end.

    Attributes:
        values: (N, D) float16 or float32, in memory or in their file.
        starts: (U,) int64, first row of each utterance.
        lengths: (U,) int64, frames of each that are used; 0 where it has none.
        stride: Every n-th row is used.
        layers: Of the encoder, L, that lie side by side in D and are to be weighed.
        rounded: The same for training in bfloat16, where it is done on a CPU.
    """

    values: Tensor | Filed
    starts: Tensor
    lengths: Tensor
    stride: int = 1
    layers: int = 1
    rounded: Rounded | None = None

    @property
    def dim(self) -> int:
        """Features per frame, D."""
        return self.values.shape[1]

    def gather(self, rows: Tensor, *, for_bfloat16: bool = False) -> Padded:
        """Return the frames of utterances (B,) padded to the longest of them, at least 1.

        A row number of −1 is nobody: an utterance without frames. The batch is on the device of `rows`, wherever the
        frames are kept.

        A batch to be multiplied in bfloat16 on a CPU is of the rounded frames, where there are any, and padded on to
        one of four lengths an octave, because oneDNN compiles a product for each shape anew.
        """
        device, rows = rows.device, rows.to(self.starts.device)
        lengths = torch.where(rows >= 0, self.lengths[rows], 0)
        longest = max(int(lengths.max()), 1)
        steps = torch.arange(_one_of_few(longest) if for_bfloat16 else longest, device=rows.device)
        mask = steps < lengths.unsqueeze(1)
        values = self.rounded.values if for_bfloat16 and self.rounded is not None else self.values
        if isinstance(values, Filed):
            found = values.padded(self.starts[rows], mask, self.stride)
        else:  # padding shows the last row, whose values mean nothing there
            places = torch.where(mask, self.starts[rows].unsqueeze(1) + steps * self.stride, len(values) - 1)
            found = values.index_select(0, places.flatten()).view(*places.shape, -1)
        return Padded(found.to(device), mask.to(device))

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
            variance, mean = variance.double().cpu(), mean.double().cpu()
            apart = mean - (total / count if count else 0)
            squares += variance * size + apart.square() * (count * size / (count + size))
            total += mean * size
            count += size
        if not count:
            return total, total + 1
        return total / count, (squares / count).sqrt()

    def _end_to_end(self, rows: Tensor) -> Tensor:
        """Return the frames (S, D) of utterances (B,)."""
        lengths = self.lengths[rows]
        if isinstance(self.values, Filed):
            return self.values.joined(self.starts[rows], lengths, self.stride)
        size = int(lengths.sum())
        first = torch.repeat_interleave(self.starts[rows], lengths, output_size=size)
        before = torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths, output_size=size)
        steps = torch.arange(size, device=rows.device) - before
        return self.values.index_select(0, first + steps * self.stride)


@dataclass(frozen=True)
class Data:
    """A corpus ready to train on.

    Attributes:
        modalities: Packed frames by modality, in the project's order.
        labels: (U,) int64 class indices.
        classes: Class names.
    """

    modalities: Mapping[str, Packed]
    labels: Tensor
    classes: tuple[str, ...]

    @property
    def dims(self) -> dict[str, int]:
        """Features per frame of each modality."""
        return {name: packed.dim for name, packed in self.modalities.items()}

    @property
    def layers(self) -> dict[str, int]:
        """Layers that are to be weighed in each modality."""
        return {name: packed.layers for name, packed in self.modalities.items()}

    @property
    def costs(self) -> np.ndarray:
        """(U,) frames of each utterance over all modalities: what it costs to compute, and 0 where it has nothing."""
        return sum(packed.lengths for packed in self.modalities.values()).cpu().numpy()  # type: ignore[union-attr]

    def batch(self, rows: Tensor, *, for_bfloat16: bool = False) -> dict[str, Padded]:
        """Gather the utterances (B,), −1 for nobody, each modality as `Packed.gather` does."""
        return {name: packed.gather(rows, for_bfloat16=for_bfloat16) for name, packed in self.modalities.items()}

    def rounded(self) -> "Data":
        """Return the same with `Packed.rounded` beside the frames."""
        modalities = {
            name: replace(packed, rounded=Rounded.of(packed.values)) for name, packed in self.modalities.items()
        }
        return replace(self, modalities=modalities)

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return sum(packed.values.nbytes for packed in self.modalities.values())

    def to(self, device: torch.device, *, frames: bool = True) -> "Data":
        """Return the same on a device.

        Frames in files, and without `frames` all, stay where they are, and each batch is carried over.
        """
        moved = {
            name: replace(
                packed,
                values=packed.values.to(device),
                starts=packed.starts.to(device),
                lengths=packed.lengths.to(device),
            )
            for name, packed in self.modalities.items()
            if frames and isinstance(packed.values, Tensor)
        }
        return Data({**self.modalities, **moved}, self.labels.to(device), self.classes)


def find_stores(corpus: Corpus, modalities: str | None = None, encoders: Sequence[str] = ()) -> dict[str, Path]:
    """Return the feature file of each modality, in the project's order.

    Args:
        corpus: A prepared corpus.
        modalities: Letters such as "s,t,v" or "st"; None takes every modality that is extracted.
        encoders: Encoders' short names or feature files' names, for modalities that have several files.

    Raises:
        RunError: A letter is unknown, a wanted modality isn't extracted, nothing is, or an encoder is none of any.
        StoreError: A modality has several files and no encoder says which; or the texts have changed since theirs were
            made.
    """
    letters = list(MODALITIES) if modalities is None else [letter for letter in modalities if letter not in ", "]
    unknown = [letter for letter in letters if letter not in MODALITIES]
    if unknown or not letters:
        known = ", ".join(f"{letter} ({name})" for letter, name in MODALITIES.items())
        raise RunError(f"{modalities!r} doesn't name modalities: give some of {known}, such as s,t.")
    found: dict[str, Path] = {}
    used: set[str] = set()
    for letter, name in MODALITIES.items():
        if letter not in letters:
            continue
        fitting = [encoder for encoder in encoders if find(corpus.folder, name, encoder) is not None]
        if len(fitting) > 1:
            raise RunError(f"For {name} several encoders are named ({one_line(fitting)}): name one.")
        path = find(corpus.folder, name, *fitting)
        used.update(fitting)
        if path is not None:
            found[name] = path
        elif modalities is not None:
            raise RunError(
                f"Corpus {corpus.name} has no {name} features: "
                f"run `mer extract --corpus {corpus.name} --modality {name}`."
            )
    if not found:
        raise RunError(
            f"Corpus {corpus.name} has no features: run `mer extract --corpus {corpus.name} --modality all`."
        )
    strange = [encoder for encoder in encoders if encoder not in used]
    if strange:
        there = one_line(path.stem for path in sorted(corpus.folder.glob("*/*.h5")))
        raise RunError(f"No feature file is of the encoder {one_line(strange)}: there are {there}.")
    if "text" in found:
        refuse_stale_texts(found["text"], dict(zip(corpus.ids, corpus.column("text"), strict=True)))
    return found


def read(
    corpus: Corpus,
    stores: Mapping[str, Store],
    *,
    memory_gib: float | None = None,
    speech_stride: int = 1,
    layer_weights: bool = True,
    rounded: bool = False,
) -> Data:
    """Read the features of a corpus, aligned by utterance id.

    Args:
        corpus: A prepared corpus; its order is the order of all rows here.
        stores: Feature files by modality, in the project's order.
        memory_gib: Most memory for frames; more than that stay in their files. None sets no bound.
        speech_stride: Use every n-th frame of speech.
        layer_weights: Whether a model is to weigh the layers of features that keep several.
        rounded: Whether what is held in memory is `Packed.rounded`; the frames themselves then stay in their files.

    Raises:
        StoreError: A file lacks utterances of the corpus.
        RunError: A frame is not a finite number.
    """
    ids = corpus.ids
    # float32 frames are half as many bytes once they are rounded
    size = sum(2 * math.prod(store.shape) if rounded else store.nbytes for store in stores.values())
    held = memory_gib is None or size <= memory_gib * 2**30
    packed = {}
    for name, store in stores.items():
        rows = store.index(ids)
        starts, lengths = store.offsets[:-1][rows], np.diff(store.offsets)[rows]
        values: Tensor | Filed = Filed(store)
        if not len(values):
            values = torch.from_numpy(np.zeros((1, store.dim), store.header.dtype))
        elif held and not rounded:
            values = values[:]
        broken = _not_finite(values)
        if len(broken):
            hit = np.unique(np.searchsorted(store.offsets, broken, side="right") - 1)
            raise RunError(
                f"{store.path} has frames that are no finite numbers, in {one_line(store.ids[row] for row in hit)}: "
                "extract them again in float32."
            )
        stride = speech_stride if name == "speech" else 1
        packed[name] = Packed(
            values,
            torch.from_numpy(starts.astype(np.int64)),
            torch.from_numpy(-(-lengths // stride)),
            stride,
            layer_count(store.spec) if layer_weights else 1,
        )
    data = Data(packed, torch.tensor(corpus.column("label"), dtype=torch.int64), corpus.classes)
    return data.rounded() if held and rounded else data


def layer_count(spec: Mapping[str, Any]) -> int:
    """Return how many layers of the encoder lie side by side in the frames of a feature file with this spec."""
    layers = spec.get("layers")
    return len(layers) if isinstance(layers, list | tuple) and layers else 1


def epoch(
    rows: np.ndarray, costs: np.ndarray, batches: int, generator: torch.Generator, order: Sequence[int] | None = None
) -> list[np.ndarray]:
    """Divide the training part into batches of utterances of about the same length, in random order.

    Utterances are sorted by length, moved up by a random part of `POOL` batches, and cut into batches. These number
    `batches` whatever the fold's size (their sizes differ by one at most), so that the folds of a corpus step together.

    Args:
        rows: Rows to train on.
        costs: (U,) length of each utterance.
        batches: Number of batches.
        generator: Draws the order.
        order: Order in which the batches, from the shortest utterances to the longest, are visited; by default random.

    Returns:
        Rows of each batch.
    """
    noise = torch.rand(len(rows), generator=generator).numpy()
    ranks = np.argsort(np.argsort(costs[rows], kind="stable"), kind="stable") / max(len(rows), 1)
    arranged = rows[np.argsort(ranks + noise * POOL / batches, kind="stable")]
    parts = np.array_split(arranged, batches)
    visit = torch.randperm(batches, generator=generator).tolist() if order is None else order
    return [parts[number] for number in visit]


def sorted_batches(rows: np.ndarray, costs: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Give batches of at most `size` utterances, the longest first: for evaluation, where order means nothing."""
    arranged = rows[np.argsort(-costs[rows], kind="stable")]
    for start in range(0, len(arranged), size):
        yield arranged[start : start + size]


def _one_of_few(length: int) -> int:
    """Return the next of four lengths an octave: 1 to 8, 10, 12, 14, 16, 20, 24, 28, 32, 40 and so on."""
    step = 1 << max((length - 1).bit_length() - 3, 0)
    return -(-length // step) * step


def _not_finite(values: Tensor | Filed) -> np.ndarray:
    """Return the numbers of the rows that hold NaN or infinity."""
    blocks = [np.flatnonzero(~np.isfinite(block.numpy()).all(1)) for block in values.split(BLOCK_FRAMES)]
    return np.concatenate([number * BLOCK_FRAMES + block for number, block in enumerate(blocks)])
