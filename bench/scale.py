"""Measure what a second Ray worker is worth: the same extraction by one worker and by two, one thread each.

A cluster of two cores on this machine; wav2vec2 of base size with random weights over noise of speech-like lengths. The
clock runs from the call to the finished feature file, so it includes the workers' start and the loading of the weights;
the start of Ray itself, once a cluster, is left out. Ours on one core without Ray stands beside it.
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import ray
import torch
import transformers
from extract_speech import durations_s, make_corpus
from section import measured

from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.on_ray import ray_engine
from gia_mic.extract.run import extract


def main() -> None:
    """Measure in turns and print a table; the last line is the time of one worker over that of two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    here = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = make_corpus(folder, durations_s(arguments.files))
        transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).save_pretrained(folder / "base")
        make = partial(make_encoder, "speech", str(folder / "base"))
        environment = {"PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"}
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})
        sides = {"without Ray": None, "1 worker": ray_engine(workers=1), "2 workers": ray_engine(workers=2)}
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(arguments.rounds):
            for side, engine in sides.items():
                begun = time.perf_counter()
                path = extract(corpus, make, engine=engine, quiet=True).path
                times[side].append(time.perf_counter() - begun)
                path.unlink()
        ray.shutdown()
    medians = {side: statistics.median(measured) for side, measured in times.items()}
    total_s = float(durations_s(arguments.files).sum())
    print(
        f"{arguments.files} files, {total_s / 60:.1f} minutes, one thread a worker, median of {arguments.rounds} rounds"
    )
    for side, seconds in medians.items():
        print(f"{side:12} {seconds:7.2f} s   {total_s / seconds:6.1f} × real time")
    print(f"ratio {medians['1 worker'] / medians['2 workers']:.2f}")


if __name__ == "__main__":
    measured(main)
