"""Measure `mer extract --modality speech` against a naive baseline, and against the bare encoder.

    python bench/extract_speech.py                          both precisions, 200 files
    python bench/extract_speech.py --files 40 --rounds 1    a quick look

The naive baseline reads one file at a time, runs the model in float32 and saves an array a file. The bare encoder gets
our own batches, decoded beforehand. All sides take the same files, threads and random weights of base size, in turns.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
import transformers
from section import measured
from transformers.utils import logging

from gia_mic.extract import plan
from gia_mic.extract.corpus import Clip, Corpus, Utterance, write_corpus
from gia_mic.extract.device import batch_positions, has_products
from gia_mic.extract.encoders.contract import Encoder
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.run import extract

RATE = 16000


def durations_s(count: int) -> np.ndarray:
    """Return lengths like those of IEMOCAP's utterances: 1 to 15 s, skewed, mean about 4.5 s."""
    return np.clip(np.random.default_rng(0).lognormal(1.3, 0.6, count), 1.0, 15.0)


def make_corpus(folder: Path, lengths_s: Iterable[float]) -> Corpus:
    """Write noise of these lengths."""
    rng = np.random.default_rng(1)
    utterances = []
    for number, length in enumerate(lengths_s):
        soundfile.write(folder / f"{number}.wav", rng.normal(0, 0.1, round(length * RATE)), RATE)
        utterances.append(Utterance(f"u{number}", "a", audio=Clip(f"{number}.wav")))
    return write_corpus(folder / "features", "bench", utterances, root=folder)


def naive_baseline(folder: Path, model_folder: Path, count: int, device: str) -> float:
    """Return the seconds that a plain loop takes: one file at a time, float32, `np.save` each."""
    model = transformers.Wav2Vec2Model.from_pretrained(model_folder).eval().to(device)
    processor = transformers.Wav2Vec2FeatureExtractor()
    begun = time.perf_counter()
    with torch.no_grad():
        for number in range(count):
            samples, rate = soundfile.read(folder / f"{number}.wav", dtype="float32")
            inputs = processor(samples, sampling_rate=rate, return_tensors="pt").input_values.to(device)
            np.save(folder / f"{number}.npy", model(inputs).last_hidden_state[0].cpu().numpy())
    return time.perf_counter() - begun


def ours(corpus: Corpus, make: partial[Encoder], device: str) -> float:
    """Return the seconds of the command's own call, on loaded weights as the baseline has them."""
    loaded = make().to(device)
    begun = time.perf_counter()
    path = extract(corpus, lambda: loaded, devices=(device,), quiet=True).path
    elapsed = time.perf_counter() - begun
    path.unlink()
    return elapsed


def bare(corpus: Corpus, make: partial[Encoder], device: str) -> float:
    """Return the seconds of the model alone, on the same batches in memory, with the command's workers."""
    encoder = make().to(device)
    jobs, _ = plan.jobs(corpus, encoder)
    groups = plan.batches(jobs, batch_positions(device), seed=encoder.header.fingerprint)
    decoded = [[piece for job in group for piece in encoder.pieces(job)] for group in groups]
    with workers(device) as pool:
        begun = time.perf_counter()
        for _ in pool.map(encoder.encode, decoded):
            pass
        return time.perf_counter() - begun


def peak(precision: str, device: str) -> float:
    """Return the GFLOP/s of plain matrix products, as large as the model's larger ones, on all workers."""
    size, count = (750, 768, 3072), 40
    left, right = (torch.randn(shape, dtype=getattr(torch, precision), device=device) for shape in (size[:2], size[1:]))

    def multiply(_: int) -> None:
        for _ in range(count):
            product = left @ right
        product.float().sum().item()

    with workers(device) as pool:
        side_by_side = torch.get_num_threads() if device == "cpu" else 1
        list(pool.map(multiply, range(side_by_side)))
        begun = time.perf_counter()
        list(pool.map(multiply, range(side_by_side)))
        return 2e-9 * math.prod(size) * count * side_by_side / (time.perf_counter() - begun)


def workers(device: str) -> ThreadPoolExecutor:
    """Return a pool of one thread for each core, computing with one; or of one thread for a GPU."""
    if device != "cpu":
        return ThreadPoolExecutor(1)
    return ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,))


def main() -> None:
    """Measure in turns and print a table; the last line is the baseline's time over ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", nargs="+", help="by default those the device has; last line: ratio of the last")
    arguments = parser.parse_args()
    if arguments.precision is None:
        has_bfloat16 = arguments.device != "cpu" or has_products("bfloat16")
        arguments.precision = ["float32", "bfloat16"] if has_bfloat16 else ["float32"]
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = make_corpus(folder, durations_s(arguments.files))
        transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).save_pretrained(folder / "base")
        sides: dict[str, Callable[[], float]] = {
            "naive baseline, float32": lambda: naive_baseline(
                folder, folder / "base", arguments.files, arguments.device
            )
        }
        for precision in arguments.precision:
            make = partial(make_encoder, "speech", str(folder / "base"), precision=precision)
            sides[f"mer extract, {precision}"] = partial(ours, corpus, make, arguments.device)
            sides[f"bare encoder, {precision}"] = partial(bare, corpus, make, arguments.device)
        times: dict[str, list[float]] = {side: [] for side in sides}
        peaks = {precision: peak(precision, arguments.device) for precision in arguments.precision}
        for _ in range(arguments.rounds):
            for side, measure in sides.items():
                times[side].append(measure())
                print(f"{side}: {times[side][-1]:.1f} s", file=sys.stderr, flush=True)
    medians = {side: statistics.median(measured) for side, measured in times.items()}
    total_s = float(durations_s(arguments.files).sum())
    machine = (
        torch.cuda.get_device_name() if arguments.device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    )
    print(f"{arguments.files} files, {total_s / 60:.1f} minutes, {machine}, medians of {arguments.rounds} rounds")
    for side, seconds in medians.items():
        single = " ".join(f"{value:.1f}" for value in times[side])
        print(f"{side:24} {seconds:8.2f} s {total_s / seconds:7.1f} × real time   rounds: {single}")
    baseline = medians["naive baseline, float32"]
    for precision in arguments.precision:
        command, encoder = medians[f"mer extract, {precision}"], medians[f"bare encoder, {precision}"]
        print(
            f"{precision}: {baseline / command:.2f} times the baseline; the bare encoder needs "
            f"{100 * encoder / command:.0f} % of our time; matrix products alone reach {peaks[precision]:.0f} GFLOP/s"
        )
    print(f"ratio {baseline / command:.2f}")


if __name__ == "__main__":
    measured(main)
