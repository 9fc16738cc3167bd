"""Measure `mer extract --modality speech` against the loop everybody writes, and against the bare encoder.

The loop reads one file at a time, runs the model in float32 and saves an array a file. The bare encoder gets our own
batches, decoded beforehand. Both sides take the same files, threads and random weights of base size, in turns.
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
import transformers

from extract import corpus as corpora
from extract import plan
from extract.corpus import Clip, Utterance
from extract.encoder import Encoder
from extract.run import POSITIONS, extract, make_encoder

RATE = 16000


def durations_s(count: int) -> np.ndarray:
    """Lengths like IEMOCAP's utterances: 1 to 15 s, skewed, mean about 4.5 s."""
    return np.clip(np.random.default_rng(0).lognormal(1.3, 0.6, count), 1.0, 15.0)


def make_corpus(folder: Path, count: int) -> corpora.Corpus:
    """Write noise of speech-like lengths."""
    rng = np.random.default_rng(1)
    utterances = []
    for number, length in enumerate(durations_s(count)):
        soundfile.write(folder / f"{number}.wav", rng.normal(0, 0.1, round(length * RATE)), RATE)
        utterances.append(Utterance(f"u{number}", "a", audio=Clip(f"{number}.wav")))
    return corpora.write(folder / "features", "bench", utterances, root=folder)


def the_loop(folder: Path, model_folder: Path, count: int, device: str) -> float:
    """One file at a time, float32, `np.save` each."""
    model = transformers.Wav2Vec2Model.from_pretrained(model_folder).eval().to(device)
    processor = transformers.Wav2Vec2FeatureExtractor()
    begun = time.perf_counter()
    with torch.no_grad():
        for number in range(count):
            samples, rate = soundfile.read(folder / f"{number}.wav", dtype="float32")
            inputs = processor(samples, sampling_rate=rate, return_tensors="pt").input_values.to(device)
            np.save(folder / f"{number}.npy", model(inputs).last_hidden_state[0].cpu().numpy())
    return time.perf_counter() - begun


def ours(corpus: corpora.Corpus, make: partial[Encoder], device: str) -> float:
    """The command's own call, on loaded weights as the loop has them."""
    loaded = make().to(device)
    begun = time.perf_counter()
    path = extract(corpus, lambda: loaded, devices=(device,), quiet=True).path
    elapsed = time.perf_counter() - begun
    path.unlink()
    return elapsed


def bare(corpus: corpora.Corpus, make: partial[Encoder], device: str) -> float:
    """The model alone, on the same batches in memory."""
    encoder = make().to(device)
    jobs, _ = plan.jobs(corpus, encoder)
    groups = plan.batches(jobs, POSITIONS[device.partition(":")[0]], seed=encoder.header.fingerprint)
    decoded = [[piece for job in group for piece in encoder.pieces(job)] for group in groups]
    begun = time.perf_counter()
    for pieces in decoded:
        encoder.encode(pieces)
    return time.perf_counter() - begun


def main() -> None:
    """Measure in turns and print a table; the last line is the loop's time over ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = make_corpus(folder, chosen.files)
        transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).save_pretrained(folder / "base")
        make = partial(make_encoder, "speech", str(folder / "base"), precision=chosen.precision)
        sides = {
            "the loop, float32": lambda: the_loop(folder, folder / "base", chosen.files, chosen.device),
            f"mer extract, {chosen.precision}": lambda: ours(corpus, make, chosen.device),
            f"bare encoder, {chosen.precision}": lambda: bare(corpus, make, chosen.device),
        }
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(chosen.rounds):
            for side, measure in sides.items():
                times[side].append(measure())
    medians = {side: statistics.median(measured) for side, measured in times.items()}
    total_s = float(durations_s(chosen.files).sum())
    machine = torch.cuda.get_device_name() if chosen.device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    print(f"{chosen.files} files, {total_s / 60:.1f} minutes, {machine}, median of {chosen.rounds} rounds")
    for side, seconds in medians.items():
        print(f"{side:28} {seconds:8.2f} s   {total_s / seconds:8.1f} × real time")
    loop, command, encoder = medians.values()
    print(f"share of our time that the bare encoder needs: {100 * encoder / command:.0f} %")
    print(f"ratio {loop / command:.2f}")


if __name__ == "__main__":
    main()
