"""Training on cached features: our trainer against a naive baseline, on the same model and the same frames.

    python bench/fuse.py                                        two CPU cores: utterances per second, ours / theirs
    python bench/fuse.py --set width=64 --set latents=4         another GIA-MIC than the default one
    python bench/fuse.py --whole                                five folds by the shipped defaults: minutes
    python bench/fuse.py --device cuda                          all 5 folds × 5 seeds stacked, against 25 single runs

Frames are random, as many as IEMOCAP has: 5,531 utterances, speech of 1–15 s at 50 Hz, about 15 tokens, 2 pictures a
second, 768 features each. The naive baseline keeps one HDF5 dataset for each utterance, reads them in a DataLoader with
two workers, pads to the corpus maximum in float32, and trains one fold at a time. Ours reads the same frames, and then
speech as it is averaged by default (`--speech-rate`).
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import torch
from section import measured
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from gia_mic.extract.corpus import load_corpus
from gia_mic.extract.device import PRODUCT_CACHES, has_products
from gia_mic.extract.targets import Target
from gia_mic.fuse.config import PRECISIONS, GiaMicConfig, TrainingConfig
from gia_mic.fuse.data import Data, epoch, find_stores, speech_group
from gia_mic.fuse.experiment import Execution
from gia_mic.fuse.models.gia_mic import GiaMic
from gia_mic.fuse.models.layers import PaddedFrames
from gia_mic.fuse.models.registry import configure
from gia_mic.fuse.packed import PackedFrames, average
from gia_mic.fuse.run import train_folds
from gia_mic.fuse.train import RunSpec, fit, fit_together, prepare_cpu, steps_per_epoch

PLAIN = {"unimodal_weight": 0.0, "soft_target": 0.0}  # the naive baseline minimises cross-entropy, so do we
SPEECH_HZ = 50
CLASSES = ("angry", "happy", "neutral", "sad")
D = 768
EPOCHS = 3  # of 30, the first of which doesn't count: it pages memory in and meets nearly all lengths of batches


def lengths(count: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    seconds = np.clip(random.lognormal(np.log(3.7), 0.62, count), 1, 15)
    return {
        "speech": (seconds * SPEECH_HZ).astype(np.int64),
        "text": np.clip(random.poisson(seconds * 15 / 4.5), 2, 60).astype(np.int64),
        "visual": np.maximum((seconds * 2).astype(np.int64), 1),
    }


def pack(count: int) -> Data:
    generator = torch.Generator().manual_seed(0)
    modalities = {}
    for name, frames in lengths(count).items():
        total = int(frames.sum())
        values = torch.empty(total, D, dtype=torch.float16)
        for block in values.split(65536):
            block.copy_(torch.randn(block.shape, generator=generator))
        starts = np.concatenate([[0], np.cumsum(frames)[:-1]])
        modalities[name] = PackedFrames(values, torch.from_numpy(starts), torch.from_numpy(frames))
    labels = torch.randint(0, 4, (count,), generator=generator).numpy()
    return Data(modalities, np.eye(len(CLASSES))[labels], Target("label", CLASSES))


def averaged(data: Data) -> Data:
    """Return the same with speech averaged as by default."""
    speech = data.modalities["speech"]
    assert isinstance(speech.values, torch.Tensor)
    group = speech_group(SPEECH_HZ, TrainingConfig().speech_rate_hz)
    values, counts = average(speech.values, speech.lengths.numpy(), group)
    starts = np.cumsum(counts) - counts
    fewer = PackedFrames(values, torch.from_numpy(starts), torch.from_numpy(counts))
    return Data({**data.modalities, "speech": fewer}, data.values, data.target)


class OneDatasetEach(Dataset):
    """The naive baseline's frames: an HDF5 dataset for each utterance, padded to the longest of the corpus."""

    def __init__(self, path: Path, longest: dict[str, int], labels: np.ndarray, rows: np.ndarray) -> None:
        self.path, self.longest, self.labels, self.rows = path, longest, labels, rows
        self.file: h5py.File | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[dict[str, np.ndarray], dict[str, int], int]:
        self.file = self.file or h5py.File(self.path, "r")
        row = int(self.rows[number])
        padded, count = {}, {}
        for name, longest in self.longest.items():
            frames = self.file[f"{name}/{row}"][:]
            padded[name] = np.zeros((longest, D), dtype=np.float32)
            padded[name][: len(frames)] = frames
            count[name] = len(frames)
        return padded, count, int(self.labels[row])


def write_one_each(path: Path, data: Data, rows: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        for name, packed in data.modalities.items():
            for row in rows:
                start = int(packed.starts[row])
                frames = packed.values[start : start + int(packed.lengths[row])]
                file.create_dataset(f"{name}/{row}", data=frames.float().numpy())


def theirs(path: Path, data: Data, rows: np.ndarray, workers: int, settings: GiaMicConfig) -> Iterator[int]:
    """Train for ever, one fold, and give the number of utterances after each step."""
    longest = {name: int(packed.lengths.max()) for name, packed in data.modalities.items()}
    model = build(data, settings).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    dataset = OneDatasetEach(path, longest, data.values.argmax(1), rows)
    while True:
        for padded, counts, labels in DataLoader(dataset, 32, shuffle=True, num_workers=workers):
            batch = {
                name: PaddedFrames(values, torch.arange(longest[name]) < counts[name].unsqueeze(1))
                for name, values in padded.items()
            }
            keep = (torch.rand(len(labels), model.dropouts, model.width) >= model.dropout) / (1 - model.dropout)
            output = model(batch, keep)
            loss = torch.nn.functional.cross_entropy(output.logits, labels) + output.constraint
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            yield len(labels)


def their_rate(path: Path, count: int, rows: np.ndarray, steps: int, cores: int, settings: GiaMicConfig) -> float:
    """Return utterances per second of the naive baseline, in a process of its own with default settings."""
    for cache in PRODUCT_CACHES:  # set by our side, and inherited
        os.environ.pop(cache, None)
    torch.set_num_threads(cores)
    frames = {name: torch.from_numpy(counts) for name, counts in lengths(count).items()}
    nothing = torch.empty(0, D)
    packed = {name: PackedFrames(nothing, counts, counts) for name, counts in frames.items()}
    data = Data(packed, np.zeros((count, len(CLASSES))), Target("label", CLASSES))
    batches = theirs(path, data, np.resize(rows, len(rows) * 2), 2, settings)
    next(batches)
    start = now()
    utterances = sum(next(batches) for _ in range(steps))
    rate = utterances / (now() - start)
    batches.close()
    return rate


def build(data: Data, settings: GiaMicConfig) -> GiaMic:
    return GiaMic(data.dims, 4, settings)


def now() -> float:
    return time.perf_counter()


def ours(data: Data, rows: np.ndarray, cores: int, precision: str, settings: GiaMicConfig) -> float:
    """Return utterances per second when as many whole folds as cores train side by side, past their first epoch."""
    config = TrainingConfig(epochs=EPOCHS, precision=precision, **PLAIN)
    steps = steps_per_epoch([len(rows)], config.batch_size)
    ends: list[float] = []

    def train_fold(seed: int) -> None:
        spec = RunSpec(rows, seed, report=lambda _: ends.append(now()))
        fit(lambda: build(data, settings), data, spec, config, steps=steps)

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(train_fold, range(cores)))
    # from the end of all first epochs, so that setting up, which happens once in 30 epochs, stays out on both sides
    ends.sort()
    return cores * (EPOCHS - 1) * len(rows) / (ends[-1] - ends[cores - 1])


def peak_gflops(cores: int) -> float:
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    torch.set_num_threads(cores)
    a @ b
    start = time.perf_counter()
    for _ in range(5):
        a @ b
    return 5 * 2 * 2048**3 / (time.perf_counter() - start) / 1e9


def flops_per_utterance(data: Data, rows: np.ndarray, settings: GiaMicConfig) -> float:
    """Return the floating-point operations of a training step, by utterance, over an epoch's own batches."""
    model = build(data, settings).train()
    steps = steps_per_epoch([len(rows)], 32)
    with FlopCounterMode(display=False) as counter:
        for members in epoch(rows, data.costs, steps, torch.Generator().manual_seed(0)):
            output = model(data.batch(torch.from_numpy(members)))
            (output.logits.sum() + output.constraint).backward()
    return counter.get_total_flops() / len(rows)


def on_cpu(arguments: argparse.Namespace, settings: GiaMicConfig) -> float:
    cores = arguments.cores
    torch.set_num_threads(cores)
    prepare_cpu(cores)
    data = pack(arguments.utterances)
    precisions = [precision for precision in PRECISIONS if has_products(precision)]
    cases = {
        f"mer, {cores} folds side by side, speech {rate}, {precision}": (some, precision)
        for rate, some in {"at 50 Hz": data, "averaged": averaged(data)}.items()
        for precision in precisions
    }
    random = np.random.default_rng(1)
    rows = random.permutation(arguments.utterances)
    few, fold = rows[: arguments.steps * 32], rows[: arguments.utterances * 4 // 5]
    peak = peak_gflops(cores)
    baseline = "one HDF5 dataset each, DataLoader, padded, float32"
    rates: dict[str, list[float]] = {name: [] for name in (baseline, *cases)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one-each.h5"
        write_one_each(path, data, few)
        for round_ in range(arguments.rounds + 1):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own_process:
                task = own_process.submit(their_rate, path, arguments.utterances, few, arguments.steps, cores, settings)
                round_rates = [task.result()]
            round_rates += [ours(some, fold, cores, precision, settings) for some, precision in cases.values()]
            if round_:  # the first warms up
                for name, rate in zip(rates, round_rates, strict=True):
                    rates[name].append(rate)
    medians = {name: statistics.median(round_rates) for name, round_rates in rates.items()}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    ratios = {name: median / medians[baseline] for name, median in medians.items()}
    equal, fewer = (max(ratios[name] for name in cases if rate in name) for rate in ("at 50 Hz", "averaged"))
    share = medians[next(iter(cases))] * flops_per_utterance(data, fold, settings) / 1e9 / peak
    frames = sum(int(packed.lengths.sum()) for packed in data.modalities.values())
    print(f"{arguments.utterances} utterances, {frames:,} frames of {D}, {cores} cores, {settings}")
    print("| trainer                                                | utterances per second | ratio |")
    print("|--------------------------------------------------------|----------------------:|------:|")
    for name, median in medians.items():
        print(f"| {name:54} | {median:21.1f} | {ratios[name]:5.1f} |")
    print(f"matrix multiplication in float32: {peak:.0f} GFLOP/s measured; training reaches {share:.0%} of it")
    frames_gib = frames * D * 2 / 2**30
    print(f"peak memory of the process: {memory:.2f} GiB, of which {frames_gib:.2f} GiB are frames in float16", end="")
    if "bfloat16" in precisions:
        print(" and as many in bfloat16; `mer fuse-train` holds one of them")
    else:
        print("\nbfloat16 is not measured: this processor has no instructions for it")
    print(f"ratio with speech averaged by default {fewer:.1f}, and at equal frames")
    return equal


def whole(arguments: argparse.Namespace) -> None:
    """Train five folds by the shipped defaults, from feature files to run folders, and print how long that takes."""
    from fuse_memory import make_corpus  # which imports this module

    execution = Execution(device="cpu", jobs=arguments.cores)
    with tempfile.TemporaryDirectory() as folder:
        make_corpus(Path(folder), arguments.utterances)
        corpus = load_corpus(Path(folder), "bench")
        start = now()
        runs = train_folds(corpus, find_stores(corpus), execution=execution, runs=Path(folder) / "runs")
        minutes = (now() - start) / 60
    epochs, rate_hz = TrainingConfig().epochs, TrainingConfig().speech_rate_hz
    print(f"{arguments.utterances} utterances, speech at {SPEECH_HZ} Hz, averaged to about {rate_hz:g}")
    print(
        f"{len(runs)} folds of {epochs} epochs on {arguments.cores} cores, read, trained and tested: {minutes:.1f} min"
    )


def on_gpu(arguments: argparse.Namespace, settings: GiaMicConfig) -> float:
    device = torch.device(arguments.device)
    data = pack(arguments.utterances).to(device)
    config = TrainingConfig(epochs=arguments.epochs, **PLAIN)
    everybody = np.arange(arguments.utterances)
    folds = [everybody[everybody % 5 != fold] for fold in range(5)]
    steps = steps_per_epoch([len(rows) for rows in folds], config.batch_size)
    specs = [RunSpec(rows, seed) for rows in folds for seed in range(5)]
    # warm up the kernels of both
    brief = TrainingConfig(epochs=1, **PLAIN)
    few = [RunSpec(folds[0][:640], 0), RunSpec(folds[1][:640], 1)]
    fit_together(lambda: build(data, settings), data, few, brief, steps=20)
    fit(lambda: build(data, settings), data, few[0], brief, steps=20)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    fit_together(lambda: build(data, settings), data, specs, config, steps=steps)
    torch.cuda.synchronize()
    stacked = time.perf_counter() - start
    memory = torch.cuda.max_memory_allocated() / 2**30
    start = time.perf_counter()
    for spec in specs[: arguments.singles]:
        fit(lambda: build(data, settings), data, spec, config, steps=steps)
    torch.cuda.synchronize()
    single = (time.perf_counter() - start) / arguments.singles * len(specs)
    print(
        f"{torch.cuda.get_device_name(device)}, {arguments.utterances} utterances, {arguments.epochs} epochs, 25 runs"
    )
    print(f"25 single runs ({arguments.singles} measured): {single:.1f} s")
    print(f"one stack of 25: {stacked:.1f} s, peak memory {memory:.1f} GiB")
    return single / stacked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whole", action="store_true", help="train five folds from feature files, and nothing else")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--utterances", type=int, default=5531)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (CPU)")
    parser.add_argument("--steps", type=int, default=8, help="measured steps of the naive baseline (CPU)")
    parser.add_argument("--epochs", type=int, default=30, help="of each run (GPU)")
    parser.add_argument("--singles", type=int, default=2, help="single runs measured, times 25 (GPU)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of GIA-MIC")
    arguments = parser.parse_args()
    if arguments.whole:
        whole(arguments)
        return
    settings = configure("gia-mic", dict(setting.split("=") for setting in arguments.set))
    ratio = (on_cpu if arguments.device == "cpu" else on_gpu)(arguments, settings)
    print(f"ratio {ratio:.1f}")


if __name__ == "__main__":
    measured(main)
