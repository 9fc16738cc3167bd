"""What int8 encoders cost: how far frames move, and UA of fusions trained and tested on them, on real recordings.

    python bench/precision.py RAVDESS ENCODER WORK

RAVDESS is the folder of that corpus, ENCODER a speech encoder's folder or hub id. WORK keeps features and runs: after a
stop, the same command goes on. Folds are by speaker, and runs of one fold and seed are compared with each other. The
last line is `ratio N`: GIA-MIC's UA on int8 frames over that on float32 frames.
"""

import argparse
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pandas
from real import read, scores, signed
from section import measured
from sklearn.metrics import recall_score

from gia_mic.extract.corpora.release import prepare_release
from gia_mic.extract.corpus import corpus_names, load_corpus
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.run import extract
from gia_mic.extract.store import open_store
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.run import train_here
from gia_mic.fuse.runs.runs import Run
from gia_mic.predictor import load_predictor
from gia_mic.report import statistics

FUSIONS = ("gia-mic", "concat")


def error(path: Path, reference: Path) -> tuple[float, float]:
    """Return the distance of a file's frames from another's, root mean square and the 99th percentile.

    Both are parts of the root mean square distance of frames from their mean.
    """
    frames, expected = (open_store(each).values[:].astype(np.float32) for each in (path, reference))
    spread = np.sqrt(((expected - expected.mean(0)) ** 2).sum(1).mean())
    distances = np.linalg.norm(frames - expected, axis=1) / spread
    return float(np.sqrt((distances**2).mean())), float(np.quantile(distances, 0.99))


def ua_on(path: Path, run: Run) -> float:
    """Return UA of a trained run on the frames of another feature file, the mean over seeds."""
    store = open_store(path)
    rows = {name: number for number, name in enumerate(store.ids)}
    by_seed: dict[int, list[tuple[int, int]]] = {}  # the true class and the answer, of each utterance
    for fold in run.folds:
        predictor = load_predictor(fold.folder, device="cpu")
        names = list(predictor.classes)
        table = pandas.read_parquet(fold.folder / "predictions.parquet")
        for name, true in zip(table["id"], table["true"], strict=True):
            begin, end = store.offsets[rows[name] : rows[name] + 2]
            answer = predictor.fuse([{"speech": np.asarray(store.values[begin:end])}]).mean((0, 1)).argmax()
            by_seed.setdefault(fold.seed, []).append((names.index(true), int(answer)))
    return float(np.mean([recall_score(*zip(*pairs, strict=True), average="macro") for pairs in by_seed.values()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ravdess", type=Path)
    parser.add_argument("encoder")
    parser.add_argument("work", type=Path)
    parser.add_argument("--precisions", nargs="+", default=["int8"], help="compared with float32")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=TrainingConfig.epochs)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    features = arguments.work / "features"
    if "ravdess" not in corpus_names(features):
        prepare_release("ravdess", arguments.ravdess, features)
    corpus = load_corpus(features, "ravdess")
    stores = {
        precision: extract(corpus, partial(make_encoder, "speech", arguments.encoder, precision=precision)).path
        for precision in ("float32", *arguments.precisions)
    }
    for precision, path in list(stores.items())[1:]:
        mean, most = error(path, stores["float32"])
        print(f"{precision}: frames lie {100 * mean:.1f} % off, 1 in 100 over {100 * most:.1f} %")
    ratio = 1.0
    for fusion in FUSIONS:
        runs = []
        for precision, path in stores.items():
            whole = Experiment(
                fusion=fusion,
                name=f"{fusion}-{precision}",
                protocol="speaker",
                seeds=range(arguments.seeds),
                training=TrainingConfig(epochs=arguments.epochs),
            )
            runs += read(
                train_here(corpus, {"speech": path}, [whole], Execution(device="cpu"), runs=arguments.work / "runs")
            )
        by_name = scores(runs, f"{fusion}-float32")
        reference = by_name[f"{fusion}-float32"].ua
        print(f"{fusion}: UA {100 * reference:.2f} on float32")
        for name, one in list(by_name.items())[1:]:
            interval = statistics.interval(one.differences)
            print(
                f"{name}: UA {100 * one.ua:.2f}, {signed(one.ua - reference)} points "
                f"({signed(interval.low)}…{signed(interval.high)})"
            )
            ratio = one.ua / reference if fusion == FUSIONS[0] else ratio
        for precision, path in list(stores.items())[1:]:
            moved = ua_on(path, runs[0]) - ua_on(stores["float32"], runs[0])
            print(f"{fusion}: trained on float32 and asked in {precision}, UA moves by {signed(moved)} points")
    print(f"ratio {ratio:.3f}")


if __name__ == "__main__":
    measured(main)
