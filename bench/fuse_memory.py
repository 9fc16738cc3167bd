"""Measure the peak memory and time of `mer fuse-train` with all frames, with speech averaged, and with `--memory 0`.

    python bench/fuse_memory.py                        # IEMOCAP's size, five minutes
    python bench/fuse_memory.py --utterances 500       # a quick look

The random frames of `fuse.py` in feature files, GIA-MIC in float32, an epoch of one fold and its test; each training
has a process of its own, in turns. The last line is the peak without the bound over that with it.
"""

import argparse
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from process import in_a_process, memory
from section import measured

import fuse
from gia_mic.extract.corpus import Utterance, load_corpus, write_corpus
from gia_mic.extract.store import Header, Item, write_store
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import find_stores
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.run import train_folds

CASES = {
    "all frames in memory": (0.0, None),
    "--memory 0": (0.0, 0.0),
    "speech averaged": (TrainingConfig.speech_rate_hz, None),
    "averaged, --memory 0": (TrainingConfig.speech_rate_hz, 0.0),
}
"""Frames of speech per second, 0 for all there are, and most memory for frames in GiB."""


def make_corpus(features: Path, count: int) -> None:
    """Write a corpus of five speakers, and its feature files."""
    data = fuse.pack(count)
    rows = [
        Utterance(
            id=f"u{row}",
            label=fuse.CLASSES[label],
            speaker=f"s{row % 5}",
            session=f"s{row % 5}",
            dialog=f"d{row % 50}",
            text=str(row),
        )
        for row, label in enumerate(data.values.argmax(1))
    ]
    corpus = write_corpus(features, "bench", rows, root=features, classes=fuse.CLASSES)
    for name, packed in data.modalities.items():
        assert isinstance(packed.values, torch.Tensor)
        frames = packed.values.split(packed.lengths.tolist())
        write_store(
            corpus.folder / name / "bench-0.h5",
            Header(name, "bench", "0", {}, fuse.D, frame_rate_hz=fuse.SPEECH_HZ if name == "speech" else None),
            [Item(row.id, "s", values.numpy()) for row, values in zip(rows, frames, strict=True)],
        )


def measure(features: Path, rate_hz: float, bound: float | None, sender: Connection) -> None:
    """Train, and send the seconds that took, and the process's peak in GiB before and at the end."""
    corpus = load_corpus(features, "bench")
    torch.zeros(1).exp()
    before, begun = memory(), time.perf_counter()
    experiment = Experiment(training=TrainingConfig(epochs=1, speech_rate_hz=rate_hz), fold=1)
    execution = Execution(jobs=1, memory_gib=bound)
    with tempfile.TemporaryDirectory() as runs:
        train_folds(corpus, find_stores(corpus), experiment, execution, runs=Path(runs))
    sender.send((time.perf_counter() - begun, before / 2**30, memory() / 2**30))


def main() -> None:
    """Measure in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=5531)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    measurements: dict[str, list[tuple[float, float, float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as name:
        in_a_process(prepare, Path(name), arguments.utterances)
        size = sum(path.stat().st_size for path in Path(name).glob("bench/*/*.h5")) / 2**30
        for _ in range(arguments.rounds):
            for case, (rate_hz, bound) in CASES.items():
                measurements[case].append(in_a_process(measure, Path(name), rate_hz, bound))
    print(f"{arguments.utterances} utterances, {size:.2f} GiB of feature files; medians of {arguments.rounds} rounds")
    print(f"{'':24}{'imports':>12}{'peak':>12}{'time':>10}")
    medians = {
        case: [statistics.median(column) for column in zip(*rows, strict=True)] for case, rows in measurements.items()
    }
    for case, (seconds, before, peak) in medians.items():
        print(f"{case:24}{before:8.2f} GiB{peak:8.2f} GiB{seconds:8.1f} s")
    most, least, *_ = (peak for _, _, peak in medians.values())
    print(f"ratio {most / least:.2f}")


def prepare(features: Path, count: int, sender: Connection) -> None:
    """Make the corpus; apart, since it holds all frames."""
    sender.send(make_corpus(features, count))


if __name__ == "__main__":
    measured(main)
