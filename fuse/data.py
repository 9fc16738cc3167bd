"""Turns feature files and a manifest into batches of padded frames.

Frames are read once, those of speech averaged to fewer, and stay end to end in one array for each modality, in half
precision where they were stored so. A batch is padded to its own longest utterance, so an epoch costs one copy of its
frames and no worker processes.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gia_mic.extract.corpus import MODALITIES, Corpus
from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.inspection import find_features, refuse_stale_texts
from gia_mic.extract.store import Store
from gia_mic.extract.targets import Target
from gia_mic.fuse.models.layers import PaddedFrames
from gia_mic.fuse.packed import Bfloat16Frames, FileFrames, PackedFrames, rows_not_finite

__all__ = ["Data", "epoch", "find_stores", "layer_count", "read_data", "sorted_batches", "speech_group"]

CPU = torch.device("cpu")
Made = TypeVar("Made")

POOL = 2
"""Batches by which an utterance may move from its place by length, so that it doesn't always meet the same ones."""


@dataclass(frozen=True)
class Data:
    """A corpus ready to train on.

    Attributes:
        modalities: Packed frames by modality, in the project's order.
        values: (U, K) what is to be predicted, as `Corpus.values` gives it, on the host; NaN where it is missing.
        target: What that is.
        device: Where computations are done; frames may stay elsewhere.
    """

    modalities: Mapping[str, PackedFrames]
    values: NDArray[np.float64]
    target: Target
    device: torch.device = CPU
    _computed: dict[tuple[str, bytes], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def dims(self) -> dict[str, int]:
        """Features per frame of each modality."""
        return {name: packed.dim for name, packed in self.modalities.items()}

    @property
    def layers(self) -> dict[str, int]:
        """Layers that are to be weighed in each modality."""
        return {name: packed.layers for name, packed in self.modalities.items()}

    @cached_property
    def lengths(self) -> dict[str, np.ndarray]:
        """(U,) frames of each utterance by modality, on the host."""
        return {name: packed.lengths.cpu().numpy() for name, packed in self.modalities.items()}

    @cached_property
    def costs(self) -> np.ndarray:
        """(U,) frames of each utterance over all modalities: what it costs to compute, and 0 where it has nothing."""
        return np.sum(list(self.lengths.values()), 0)

    def batch(
        self, rows: Tensor, *, on_host: np.ndarray | None = None, for_bfloat16: bool = False
    ) -> dict[str, PaddedFrames]:
        """Gather the utterances (B,), −1 for nobody, each modality as `PackedFrames.gather` does.

        With `on_host`, the same rows, nothing is asked of the device.
        """
        if on_host is None:
            return {name: packed.gather(rows, for_bfloat16=for_bfloat16) for name, packed in self.modalities.items()}
        on_device, somebody = torch.from_numpy(on_host), on_host[on_host >= 0]
        return {
            name: packed.gather(
                rows,
                for_bfloat16=for_bfloat16,
                on_host=on_device,
                longest=int(self.lengths[name][somebody].max(initial=0)),
            )
            for name, packed in self.modalities.items()
        }

    def statistics(self, name: str, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return `PackedFrames.statistics` of a modality."""
        return self.once(name, rows, lambda: self.modalities[name].statistics(rows))

    def once(self, name: str, rows: np.ndarray, make: Callable[[], Made]) -> Made:
        """Return what is made of these rows, and make it only once: the runs of a fold ask for the same.

        Args:
            name: What it is.
            rows: The rows.
            make: Makes it.
        """
        key = (name, rows.tobytes())
        if key not in self._computed:
            self._computed[key] = make()
        value: Made = self._computed[key]
        return value

    def rounded(self) -> "Data":
        """Return the same with `PackedFrames.rounded` beside the frames."""
        modalities = {
            name: replace(packed, rounded=Bfloat16Frames.of(packed.values)) for name, packed in self.modalities.items()
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
        return Data({**self.modalities, **moved}, self.values, self.target, device)


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
        choices = ", ".join(f"{letter} ({name})" for letter, name in MODALITIES.items())
        raise RunError(f"{modalities!r} doesn't name modalities: give some of {choices}, such as s,t.")
    paths: dict[str, Path] = {}
    used_encoders: set[str] = set()
    for letter, name in MODALITIES.items():
        if letter not in letters:
            continue
        matching = [encoder for encoder in encoders if find_features(corpus.folder, name, encoder) is not None]
        if len(matching) > 1:
            raise RunError(f"For {name} several encoders are named ({one_line(matching)}): name one.")
        path = find_features(corpus.folder, name, *matching)
        used_encoders.update(matching)
        if path is not None:
            paths[name] = path
        elif modalities is not None:
            raise RunError(
                f"Corpus {corpus.name} has no {name} features: "
                f"run `mer extract --corpus {corpus.name} --modality {name}`."
            )
    if not paths:
        raise RunError(
            f"Corpus {corpus.name} has no features: run `mer extract --corpus {corpus.name} --modality all`."
        )
    unknown_encoders = [encoder for encoder in encoders if encoder not in used_encoders]
    if unknown_encoders:
        available = one_line(path.stem for path in sorted(corpus.folder.glob("*/*.h5")))
        raise RunError(f"No feature file is of the encoder {one_line(unknown_encoders)}: there are {available}.")
    if "text" in paths:
        refuse_stale_texts(paths["text"], dict(zip(corpus.ids, corpus.column("text"), strict=True)))
    return paths


def read_data(
    corpus: Corpus,
    stores: Mapping[str, Store],
    *,
    memory_gib: float | None = None,
    speech_rate_hz: float = 0,
    layer_weights: bool = True,
    rounded: bool = False,
    target: Target | None = None,
) -> Data:
    """Read the features of a corpus, aligned by utterance id.

    Args:
        corpus: A prepared corpus; its order is the order of all rows here.
        stores: Feature files by modality, in the project's order.
        memory_gib: Most memory for frames; more than that stay in their files. None sets no bound.
        speech_rate_hz: Frames of speech per second, about; 0 leaves them as they are.
        layer_weights: Whether a model is to weigh the layers of features that keep several.
        rounded: Whether what is held in memory is `PackedFrames.rounded`; the frames themselves then stay in
            their files.
        target: What is to be predicted; None takes the corpus's default.

    Raises:
        StoreError: A file lacks utterances of the corpus.
        RunError: A frame is not a finite number.
    """
    ids = corpus.ids
    files = {
        name: FileFrames(store, speech_group(store.frame_rate_hz, speech_rate_hz) if name == "speech" else 1)
        for name, store in stores.items()
    }
    # float32 frames are half as many bytes once they are rounded
    size = sum(2 * math.prod(frames.shape) if rounded else frames.nbytes for frames in files.values())
    in_memory = memory_gib is None or size <= memory_gib * 2**30
    packed = {}
    for name, frames in files.items():
        store, offsets = frames.store, frames.offsets
        rows = store.index(ids)
        starts, lengths = offsets[:-1][rows], np.diff(offsets)[rows]
        values: Tensor | FileFrames = frames
        if not len(values):
            values = torch.from_numpy(np.zeros((1, store.dim), store.header.dtype))
        elif in_memory and not rounded:
            values = values[:]
        bad_frames = rows_not_finite(values)
        if len(bad_frames):
            bad_rows = np.unique(np.searchsorted(offsets, bad_frames, side="right") - 1)
            bad_ids = one_line(store.ids[row] for row in bad_rows)
            raise RunError(
                f"{store.path} has frames that are no finite numbers, in {bad_ids}: extract them again in float32."
            )
        packed[name] = PackedFrames(
            values,
            torch.from_numpy(starts),
            torch.from_numpy(lengths),
            layer_count(store.spec) if layer_weights else 1,
        )
    target = target or corpus.target()
    data = Data(packed, corpus.values(target), target)
    return data.rounded() if in_memory and rounded else data


def speech_group(frame_rate_hz: float | None, speech_rate_hz: float) -> int:
    """Return how many neighbouring frames of speech are averaged to one, at least 1.

    Args:
        frame_rate_hz: Frames per second of the features; None where they aren't evenly spaced, and stay as they are.
        speech_rate_hz: Frames per second that are wanted; 0 averages none.

    >>> [speech_group(rate, 12) for rate in (50, 25, 12.5, 2, None)]
    [4, 2, 1, 1, 1]
    """
    return max(round(frame_rate_hz / speech_rate_hz), 1) if frame_rate_hz and speech_rate_hz else 1


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
