"""Measure the feature store against what people use: an array a file, gzipped HDF5, a pickle.

Frames of IEMOCAP's size: 5,531 utterances, 1.25 million frames of 768 features. Every side stores float16 (the pickle
float32 padded to the longest, as such pickles are) and is read in one epoch of batches of 32 in random order; each
epoch runs in a process of its own.
"""

import argparse
import multiprocessing
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from extract.store import Header, Item, open_store, write

D = 768
BATCH = 32


def lengths(utterances: int, frames: int) -> np.ndarray:
    """Frames of each utterance, skewed as speech is, adding up to about `frames`."""
    drawn = np.clip(np.random.default_rng(0).lognormal(5.2, 0.6, utterances), 50, 750)
    return (drawn * frames / drawn.sum()).astype(int)


def utterance(number: int, length: int) -> np.ndarray:
    """Random frames (T, D) float16, the same for every side."""
    return np.random.default_rng(number).standard_normal((length, D), dtype=np.float32).astype(np.float16)


def touch(frames: np.ndarray) -> float:
    """Read all bytes, as a copy to a batch would."""
    return float(np.ascontiguousarray(frames).view(np.uint8)[::64].sum())


def write_ours(folder: Path, parts: list[np.ndarray]) -> None:
    header = Header("speech", "bench", "0" * 12, {}, D)
    write(folder / "ours.h5", header, [Item(str(n), "s", frames) for n, frames in enumerate(parts)])


def read_ours(folder: Path, order: np.ndarray) -> None:
    store = open_store(folder / "ours.h5")
    for number in order:
        touch(store.frames(str(number)))


def write_npy(folder: Path, parts: list[np.ndarray]) -> None:
    (folder / "npy").mkdir(exist_ok=True)
    for number, frames in enumerate(parts):
        np.save(folder / "npy" / f"{number}.npy", frames)


def read_npy(folder: Path, order: np.ndarray) -> None:
    for number in order:
        touch(np.load(folder / "npy" / f"{number}.npy"))


def write_gzip(folder: Path, parts: list[np.ndarray]) -> None:
    with h5py.File(folder / "gzip.h5", "w") as file:
        for number, frames in enumerate(parts):
            file.create_dataset(str(number), data=frames, compression="gzip")


def read_gzip(folder: Path, order: np.ndarray) -> None:
    with h5py.File(folder / "gzip.h5") as file:
        for number in order:
            touch(file[str(number)][:])


def write_pickle(folder: Path, parts: list[np.ndarray]) -> None:
    longest = max(len(frames) for frames in parts)
    padded = np.zeros((len(parts), longest, D), np.float32)
    for row, frames in zip(padded, parts, strict=True):
        row[: len(frames)] = frames
    with (folder / "padded.pkl").open("wb") as file:
        pickle.dump({"speech": padded, "id": [str(n) for n in range(len(parts))]}, file)


def read_pickle(folder: Path, order: np.ndarray) -> None:
    with (folder / "padded.pkl").open("rb") as file:
        padded = pickle.load(file)["speech"]
    for number in order:
        touch(padded[number])


SIDES: dict[str, tuple[Callable, Callable, str]] = {
    "mer's store": (write_ours, read_ours, "ours.h5"),
    "one .npy each": (write_npy, read_npy, "npy/*.npy"),
    "HDF5, gzip, one dataset each": (write_gzip, read_gzip, "gzip.h5"),
    "pickle, padded": (write_pickle, read_pickle, "padded.pkl"),
}


def epoch(side: str, folder: Path, order: np.ndarray, answer: "multiprocessing.Queue[float]") -> None:
    """Read everything once in random order; answer with seconds."""
    begun = time.perf_counter()
    SIDES[side][1](folder, order)
    answer.put(time.perf_counter() - begun)


def main() -> None:
    """Measure in turns and print a table; the last line is the best other epoch time over ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=5531)
    parser.add_argument("--frames", type=int, default=1_250_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    counts = lengths(chosen.utterances, chosen.frames)
    parts = [utterance(number, length) for number, length in enumerate(counts)]
    context = multiprocessing.get_context("spawn")
    order = np.random.default_rng(0).permutation(chosen.utterances)
    wrote: dict[str, list[float]] = {side: [] for side in SIDES}
    read: dict[str, list[float]] = {side: [] for side in SIDES}
    size: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(chosen.rounds):
            for side, (write_all, _read, pattern) in SIDES.items():
                begun = time.perf_counter()
                write_all(folder, parts)
                wrote[side].append(time.perf_counter() - begun)
                size[side] = sum(path.stat().st_size for path in folder.glob(pattern)) / 1e6
            for side in SIDES:
                answer: multiprocessing.Queue[float] = context.Queue()
                process = context.Process(target=epoch, args=(side, folder, order, answer))
                process.start()
                read[side].append(answer.get())
                process.join()
    print(f"{chosen.utterances} utterances, {counts.sum():,} frames × {D}, median of {chosen.rounds} rounds\n")
    print(f"{'':30} {'size':>9} {'write':>9} {'epoch':>9}")
    for side in SIDES:
        print(
            f"{side:30} {size[side]:6.0f} MB {statistics.median(wrote[side]):7.2f} s "
            f"{statistics.median(read[side]):7.2f} s"
        )
    medians = {side: statistics.median(seconds) for side, seconds in read.items()}
    ours = medians.pop("mer's store")
    print(f"ratio {min(medians.values()) / ours:.2f}")


if __name__ == "__main__":
    main()
