"""Measure the feature store against what people use: an array a file, gzipped HDF5, a pickle.

Frames of IEMOCAP's size: 5,531 utterances, 1.25 million frames of 768 features, cut from what a wav2vec2 of base size
(random weights) makes of the demo corpus's speech. People store what an encoder returns, float32; the store's float16
stands against both. Every side is handed its frames in the type that it stores, and gives them back in that type, in
padded batches of 32 in random order. Each write and each epoch has a process of its own, which says what it took:

    write       until the call returns; the store alone has flushed its bytes to the disk by then
    on disk     until the system's caches are flushed, too
    epoch       from the page cache, as all of these files fit
    memory      most that the process held for itself alone
    resident    most that it had mapped, pages of files counted, which the system takes back when it needs them
"""

import argparse
import json
import math
import os
import pickle
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import h5py
import numpy as np
from process import in_a_process, memory
from section import measured

from gia_mic.extract.parts import Builder
from gia_mic.extract.store import Header, Item, open_store, write_store

D = 768
BATCH = 32
PART = 100
"""Utterances in a part: about what a GPU encodes in ten seconds."""


@dataclass(frozen=True)
class Frames:
    """Utterances' frames, cut from a pool when they are asked for, so that nobody has to hold them all.

    Attributes:
        pool: Array file of (P, D) frames.
        utterances: Number of utterances.
        frames: Number of frames of all utterances, about.
        dtype: Type of the frames, such as float16.
    """

    pool: Path
    utterances: int
    frames: int
    dtype: str

    def lengths(self) -> np.ndarray:
        """Return the frames of each utterance, skewed as speech is."""
        lengths = np.clip(np.random.default_rng(0).lognormal(5.2, 0.6, self.utterances), 50, 750)
        return (lengths * self.frames / lengths.sum()).astype(int)

    def __iter__(self) -> Iterator[np.ndarray]:
        pool = np.load(self.pool).astype(self.dtype)
        starts = np.random.default_rng(1)
        for length in self.lengths():
            start = starts.integers(len(pool) - length)
            yield pool[start : start + length]


def header(frames: Frames) -> Header:
    return Header("speech", "bench", "0" * 12, {}, D, frames.dtype)


def write_whole(path: Path, frames: Frames) -> None:
    write_store(path, header(frames), [Item(str(n), "s", part) for n, part in enumerate(frames)])


def write_parts(path: Path, frames: Frames) -> None:
    """Write as `mer extract` does: parts in the order of length, put together at the end."""
    parts = list(frames)
    order = np.argsort([len(part) for part in parts], kind="stable")
    with Builder(path, header(frames)) as builder:
        for first in range(0, len(order), PART):
            builder.add([Item(str(n), "s", parts[n]) for n in order[first : first + PART]])
        builder.finalise([(str(n), "s") for n in range(len(parts))])


def read_store(path: Path) -> Callable[[int], np.ndarray]:
    store = open_store(path)
    return lambda number: store.read(str(number))


def write_npy(path: Path, frames: Frames) -> None:
    path.mkdir()
    for number, part in enumerate(frames):
        np.save(path / f"{number}.npy", part)


def read_npy(path: Path) -> Callable[[int], np.ndarray]:
    return lambda number: np.load(path / f"{number}.npy")


def write_gzip(path: Path, frames: Frames) -> None:
    with h5py.File(path, "w") as file:
        for number, part in enumerate(frames):
            file.create_dataset(str(number), data=part, compression="gzip")


def read_gzip(path: Path) -> Callable[[int], np.ndarray]:
    file = h5py.File(path)
    return lambda number: file[str(number)][:]


def write_pickle(path: Path, frames: Frames) -> None:
    with path.open("wb") as file:
        pickle.dump({str(number): part for number, part in enumerate(frames)}, file, pickle.HIGHEST_PROTOCOL)


def read_pickle(path: Path) -> Callable[[int], np.ndarray]:
    with path.open("rb") as file:
        arrays = pickle.load(file)
    return lambda number: arrays[str(number)]


@dataclass(frozen=True)
class Side:
    """A way to keep frames."""

    dtype: str
    write: Callable[[Path, Frames], None]
    read: Callable[[Path], Callable[[int], np.ndarray]]


OURS = "mer's store, float16"

SIDES = {
    OURS: Side("float16", write_whole, read_store),
    "mer's store through parts, float16": Side("float16", write_parts, read_store),
    "one .npy each, float32": Side("float32", write_npy, read_npy),
    "one .npy each, float16": Side("float16", write_npy, read_npy),
    "pickle of all, float32": Side("float32", write_pickle, read_pickle),
    "pickle of all, float16": Side("float16", write_pickle, read_pickle),
    "gzipped HDF5, float32": Side("float32", write_gzip, read_gzip),
    "gzipped HDF5, float16": Side("float16", write_gzip, read_gzip),
}


def measure_write(side: str, path: Path, frames: Frames, answer: Connection) -> None:
    """Write everything; answer with seconds until the call returns and until all is on the disk."""
    warm = sum(part.nbytes for part in frames)  # so that the pool is paged in
    begun = time.perf_counter()
    SIDES[side].write(path, frames)
    returned = time.perf_counter() - begun
    os.sync()
    on_disk = time.perf_counter() - begun
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))
    answer.send({"write s": returned, "on disk s": on_disk, "GB": size / 1e9, "of frames": size / warm})


def measure_epoch(side: str, path: Path, frames: Frames, answer: Connection) -> None:
    """Copy everything once, in random order, into padded batches; answer with seconds and memory."""
    lengths = frames.lengths()
    batch = np.zeros((BATCH, lengths.max(), D), frames.dtype)
    order = np.random.default_rng(0).permutation(len(lengths))
    alone = 0
    begun = time.perf_counter()
    read = SIDES[side].read(path)
    for row, number in enumerate(order):
        part = read(number)
        batch[row % BATCH, : len(part)] = part
        if row % BATCH == 0:
            alone = max(alone, memory("RssAnon"))
    answer.send({"epoch s": time.perf_counter() - begun, "memory GB": alone / 1e9, "resident GB": memory() / 1e9})


def make_pool(path: Path, count: int = 20_000) -> None:
    """Save frames (count, D) float32 of a wav2vec2 of base size with random weights, made of the demo's speech."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    from gia_mic.extract.corpora import demo
    from gia_mic.extract.media import stream_audio

    torch.manual_seed(0)
    model = Wav2Vec2Model(Wav2Vec2Config()).eval()
    frames: list[np.ndarray] = []
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        corpus = demo.prepare_demo(Path(name))
        for utterance in corpus:
            samples = np.concatenate(list(stream_audio(corpus.path(utterance.audio), 16000)))
            frames.append(model(torch.from_numpy(samples)[None]).last_hidden_state[0].numpy())
            if sum(map(len, frames)) > count:
                break
    np.save(path, np.concatenate(frames)[:count])


def main() -> None:
    """Measure in turns and print a table; the last line is the best other epoch time over ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=5531)
    parser.add_argument("--frames", type=int, default=1_250_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", default="", help="only those with this in their name, and the store")
    parser.add_argument("--pool", type=Path, help="frames to cut from; made if it isn't there")
    parser.add_argument("--folder", type=Path, help="where to write, on the disk to be measured")
    parser.add_argument("--json", action="store_true", help="print every measurement too")
    arguments = parser.parse_args()
    sides = [side for side in SIDES if arguments.sides in side or side == OURS]
    measurements: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        pool = arguments.pool or Path(name) / "pool.npy"
        if not pool.exists():
            make_pool(pool)
        for _ in range(arguments.rounds):
            for side in sides:
                frames = Frames(pool, arguments.utterances, arguments.frames, SIDES[side].dtype)
                path = Path(name) / "written"
                wrote = in_a_process(measure_write, side, path, frames)
                measurements[side].append(wrote | in_a_process(measure_epoch, side, path, frames))
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    total = frames.lengths().sum()
    print(f"{arguments.utterances} utterances, {total:,} frames × {D}, median of {arguments.rounds} rounds\n")
    medians = {
        side: {column: statistics.median(measured[column] for measured in rounds) for column in rounds[0]}
        for side, rounds in measurements.items()
    }
    columns = list(next(iter(medians.values())))
    print(" " * 36 + "".join(f"{column:>12}" for column in columns))
    for side, row in medians.items():
        print(f"{side:36}" + "".join(f"{row[column]:12.2f}" for column in columns))
    if arguments.json:
        print(json.dumps(measurements))
    other_epochs = [row["epoch s"] for side, row in medians.items() if "mer's" not in side]
    print(f"ratio {min(other_epochs, default=math.nan) / medians[OURS]['epoch s']:.2f}")


if __name__ == "__main__":
    measured(main)
