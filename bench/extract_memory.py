"""Measure the peak memory of `mer extract --modality speech`: longer files and larger corpora must not need more.

    python bench/extract_memory.py                  base size, random weights: a quarter of an hour on two cores
    python bench/extract_memory.py --model tiny     a quick look

Each case runs in a process of its own, whose peak of resident memory is read at its end. The last line is the peak of
an hour in one file over that of a minute.
"""

import argparse
import tempfile
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path

import transformers
from extract_speech import durations_s, make_corpus
from process import in_a_process, memory
from section import measured

from gia_mic.extract.corpus import load_corpus
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.run import extract

CASES: dict[str, Iterable[float]] = {
    "1 file of 1 minute": [60.0],
    "1 file of 10 minutes": [600.0],
    "1 file of 1 hour": [3600.0],
    "50 files of 1 to 15 s": durations_s(50),
    "200 files of 1 to 15 s": durations_s(200),
    "400 files of 1 to 15 s": durations_s(400),
}


def measure(features: Path, model: str, precision: str, sender: Connection) -> None:
    """Extract a corpus, and send the process's peak: when the weights are loaded, and at the end."""
    corpus = load_corpus(features, "bench")
    encoder = make_encoder("speech", model, precision=precision).to("cpu")
    loaded = memory() / 2**20
    extract(corpus, lambda: encoder, quiet=True)
    sender.send((loaded, memory() / 2**20))


def main() -> None:
    """Measure case by case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="base", choices=["base", "tiny"])
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    arguments = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as name:
        model = arguments.model
        if model == "base":
            transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).save_pretrained(f"{name}/base")
            model = f"{name}/base"
        print(f"{'wav2vec2 ' + arguments.model + ', ' + arguments.precision:28} weights loaded       peak")
        for number, (case, lengths_s) in enumerate(CASES.items()):
            folder = Path(name) / f"corpus-{number}"
            folder.mkdir()
            make_corpus(folder, lengths_s)
            loaded, peak = in_a_process(measure, folder / "features", model, arguments.precision)
            peaks.append(peak)
            print(f"{case:28} {loaded:10.0f} MiB {peak:6.0f} MiB", flush=True)
    print(f"ratio {peaks[2] / peaks[0]:.2f}")


if __name__ == "__main__":
    measured(main)
