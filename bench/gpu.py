"""Measure extraction and training on one GPU, in less than ten minutes, as tables for the docs.

    python bench/gpu.py                          everything
    python bench/gpu.py --only extract           one block of it: model, extract, train
    python bench/gpu.py --device cpu --small     a rehearsal without a GPU, in a minute or two

The model is a wav2vec2 of base size (random weights). `model` gives the bare network and `encode`, which pads, copies
and cuts as well; `extract` the command's own call on 20 hours of WAV in memory, to the finished file; `train` runs of
IEMOCAP's size in stacks of 1, 5 and 25. How busy the GPU is comes from NVML (pip install nvidia-ml-py). Times are wall
clock between synchronisations, after a warm-up. The last line is the rate of `mer extract` over the bare model's.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import transformers
from extract_speech import durations_s, make_corpus
from section import measured
from tabulate import tabulate

from fuse import pack
from gia_mic.extract.device import device_name, dtype_of, is_out_of_memory, use_tf32
from gia_mic.extract.encoders.contract import Encoder, Window
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.run import extract
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import Data
from gia_mic.fuse.models.registry import FUSIONS, configure
from gia_mic.fuse.train import RunSpec, fit_together, steps_per_epoch

HOP, RECEPTIVE_FIELD, FRAMES_A_SECOND = 320, 400, 50
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


def synchronise(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize()


def median_s(call: Callable[[], object], device: str, least_s: float = 0.5) -> float:
    """Return the median of the seconds that a call takes, after two that warm up."""
    for _ in range(2):
        call()
    times: list[float] = []
    synchronise(device)
    while sum(times) < least_s or len(times) < 5:
        begun = time.perf_counter()
        call()
        synchronise(device)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def gibibytes(device: str) -> float | None:
    return torch.cuda.max_memory_allocated() / 2**30 if device.startswith("cuda") else None


def precisions(device: str) -> list[str]:
    return ["float32"] if device == "cpu" else ["float32", "tf32", "bfloat16", "float16"]


def save_model(folder: Path, small: bool) -> Path:
    transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**(SMALL if small else {}))).save_pretrained(folder)
    return folder


def recordings(lengths: np.ndarray) -> list[Window]:
    """Return noise that gives so many frames each."""
    rng = np.random.default_rng(0)
    return [
        Window(rng.normal(size=(n - 1) * HOP + RECEPTIVE_FIELD).astype(np.float32), slice(0, int(n)), int(n))
        for n in lengths
    ]


def measure_model(folder: Path, device: str, small: bool) -> float:
    """Print how fast the network alone and `encode` are, by precision and shape; return the fastest bare model."""
    rng = np.random.default_rng(0)
    shapes = [(3, 20)] if small else [(89, 224), (20, 1000)]
    rows, fastest, expected = [], 0.0, None
    check = recordings(rng.integers(14, 21, 3))
    for precision in precisions(device):
        encoder: Encoder = make_encoder("speech", str(folder), precision=precision).to(device)
        frames = np.concatenate(encoder.encode(check))
        expected = frames if expected is None else expected
        error = float(np.linalg.norm(frames - expected) / np.linalg.norm(expected))
        bare = make_bare(folder, device, precision)
        for count, length in shapes:
            samples = torch.randn(count, (length - 1) * HOP + RECEPTIVE_FIELD, device=device, dtype=dtype_of(precision))
            alone = count * length / FRAMES_A_SECOND / median_s(lambda: bare(samples), device)  # noqa: B023
            fastest = max(fastest, alone)
            rates = []
            for lengths in (np.full(count, length), rng.integers(round(0.95 * length), length + 1, count)):
                batch = recordings(lengths)
                seconds = median_s(lambda: encoder.begin(batch, "float16").frames(), device)  # noqa: B023
                rates.append(lengths.sum() / FRAMES_A_SECOND / seconds)
            rows.append([precision, f"{count} × {length}", alone, *rates, gibibytes(device), error])
    headers = ["precision", "frames", "bare model", "encode, one length", "many lengths", "GiB", "off float32, L2"]
    print(tabulate(rows, headers, "github", floatfmt=".4g"), "\n× real time\n", flush=True)
    return fastest


def make_bare(folder: Path, device: str, precision: str) -> Callable[[torch.Tensor], object]:
    """Return the network as transformers has it."""
    model = transformers.Wav2Vec2Model.from_pretrained(folder).eval().to(device, dtype_of(precision))

    @torch.inference_mode()
    def run(samples: torch.Tensor) -> object:
        use_tf32(precision == "tf32")
        return model(samples)

    return run


@contextmanager
def watched(device: str) -> Iterator[list[float]]:
    """Give a list that is filled with how busy the GPU is, in percent, while the block runs."""
    samples: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        try:
            import pynvml
        except ImportError:
            return
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        while not stop.wait(0.05):
            samples.append(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)

    watcher = threading.Thread(target=watch)
    if device != "cpu":
        watcher.start()
    try:
        yield samples
    finally:
        stop.set()
        if device != "cpu":
            watcher.join()


def measure_extract(folder: Path, device: str, small: bool) -> float:
    """Print how fast the command is, by precision, and how busy the GPU; return the fastest rate."""
    memory = Path("/dev/shm")
    rows, fastest = [], 0.0
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        lengths_s = durations_s(20 if small else 16_000)
        corpus = make_corpus(Path(name), lengths_s)
        for precision in reversed(precisions(device)):
            encoder = make_encoder("speech", str(folder), precision=precision).to(device)
            with watched(device) as busy:
                begun = time.perf_counter()
                result = extract(corpus, lambda: encoder, devices=(device,), quiet=True)  # noqa: B023
                elapsed = time.perf_counter() - begun
            result.path.unlink()
            rate = lengths_s.sum() / elapsed
            fastest = max(fastest, rate)
            rows.append([precision, rate, rate / 3600, statistics.mean(busy) if busy else None, gibibytes(device)])
    headers = ["mer extract", "× real time", "hours of speech a second", "GPU busy, %", "GiB"]
    print(tabulate(rows, headers, "github", floatfmt=".4g"), "\n", flush=True)
    return fastest


def measure_train(device: str, small: bool) -> None:
    """Print how fast runs in stacks are, by fusion, and the memory they take."""
    count = 40 if small else 5531
    data = pack(count).to(torch.device(device))
    folds = [np.flatnonzero(np.arange(count) % 5 != fold) for fold in range(5)]
    rows = []
    for fusion in ("concat",) if small else ("gia-mic", "concat", "mult"):
        for precision in ("float32",) if device == "cpu" else ("float32", "bfloat16"):
            for runs in (1, 2) if small else (1, 5, 25):
                specs = [RunSpec(fold, seed) for seed in range(5) for fold in folds][:runs]
                if device.startswith("cuda"):
                    torch.cuda.reset_peak_memory_stats()
                try:
                    rows.append(
                        [fusion, precision, runs, *train_rate(fusion, precision, specs, data), gibibytes(device)]
                    )
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    rows.append([fusion, precision, runs, "out of memory", None, None])
    headers = ["fusion", "precision", "stacked runs", "utterances a second", "ms a step", "GiB"]
    print(tabulate(rows, headers, "github", floatfmt=".4g"), "\n", flush=True)


def train_rate(fusion: str, precision: str, specs: list[RunSpec], data: Data) -> tuple[float, float]:
    """Return the utterances a second of all runs together and the milliseconds of a step, without the first epoch."""
    config = TrainingConfig(epochs=2, precision=precision)
    steps = steps_per_epoch([len(spec.rows) for spec in specs], config.batch_size)
    ends: list[float] = []
    entry, model = FUSIONS[fusion], configure(fusion, {})
    reporting = [RunSpec(spec.rows, spec.seed, report=lambda _: ends.append(time.perf_counter())) for spec in specs]
    fit_together(lambda: entry.make(data.dims, 4, model), data, reporting, config, steps=steps)
    elapsed = max(ends) - sorted(ends)[len(specs) - 1]
    return sum(len(spec.rows) for spec in specs) / elapsed, 1000 * elapsed / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--only", nargs="+", choices=["model", "extract", "train"], default=["model", "extract", "train"]
    )
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script itself")
    arguments = parser.parse_args()
    device, small = arguments.device, arguments.small
    transformers.utils.logging.disable_progress_bar()
    print(f"{device_name(device)}, torch {torch.__version__}\n")
    bare = command = float("nan")
    with tempfile.TemporaryDirectory() as name:
        folder = save_model(Path(name) / "base", small)
        for block in arguments.only:
            begun = time.perf_counter()
            if block == "model":
                bare = measure_model(folder, device, small)
            elif block == "extract":
                command = measure_extract(folder, device, small)
            else:
                measure_train(device, small)
            print(f"{block}: {time.perf_counter() - begun:.0f} s\n", flush=True)
    print(f"ratio {command / bare:.2f}")


if __name__ == "__main__":
    measured(main)
