"""Turns a corpus, its features and settings into run folders, one for each fold and seed.

`runs/<corpus>/<name>/fold-<k>/seed-<n>/` holds `config.json`, written before the first batch; `model.safetensors`,
`history.csv` and `predictions.parquet`; and `metrics.json`, written last: where it is, the fold is finished. A finished
fold whose configuration is the same is not trained again.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from extract import store as stores_on_disk
from extract.corpus import MODALITIES, Corpus, valid_name
from extract.errors import RunError, one_line
from extract.files import lock, write_json
from fuse import folder as run_folder
from fuse import fusions, measure, split
from fuse.config import TrainingConfig
from fuse.data import Data, read
from fuse.train import Trained, fit, predict, steps_per_epoch

__all__ = ["default_name", "train_folds"]


def default_name(fusion: str, modalities: Sequence[str]) -> str:
    """Return a run's name: the fusion, and the modalities' letters unless it has all of them.

    >>> default_name("gia-mic", ["speech", "text"])
    'gia-mic-st'
    """
    letters = "".join(letter for letter, name in MODALITIES.items() if name in modalities)
    return fusion if len(letters) == len(MODALITIES) else f"{fusion}-{letters}"


def train_folds(
    corpus: Corpus,
    stores: Mapping[str, Path],
    *,
    runs: Path,
    fusion: str = "gia-mic",
    model: Any = None,
    training: TrainingConfig | None = None,
    protocol: str = "session",
    select: str = "last",
    fold: int | None = None,
    seeds: Sequence[int] = (0,),
    name: str | None = None,
    device: str | None = None,
    jobs: int | None = None,
    allow_shared: bool = False,
    command: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Train a fusion on folds and seeds, and return their run folders in the order of folds, then seeds.

    Args:
        corpus: A prepared corpus.
        stores: Feature file by modality; the modalities of the model.
        runs: Folder of all runs.
        fusion: Name of the fusion, one of `fusions.FUSIONS`.
        model: Its config; None takes the defaults.
        training: How to train; None takes the defaults.
        protocol: What makes the folds, one of `split.PROTOCOLS`.
        select: How the epoch is chosen, one of `split.SELECTIONS`.
        fold: The K-th fold, from 1; None is all.
        seeds: Each gives a run for every fold.
        name: Run name; by default `default_name`.
        device: cpu, cuda or cuda:N; by default cuda where there is one.
        jobs: Runs trained side by side on the CPU, one thread each; by default as many as there are cores. The results
            don't depend on it.
        allow_shared: Accept folds that share speakers (or scenarios) between training and test.
        command: What the user typed, for the record.
        say: Takes lines for the user.

    Raises:
        RunError: Something about the settings is wrong (all of it is named at once), or training failed.
        StoreError: A feature file is broken or lacks utterances, or the run folder can't be written.
    """
    training = training or TrainingConfig()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    settings = fusions.find(fusion).config() if model is None and fusion in fusions.FUSIONS else model
    _refuse_problems(fusion, settings, training, select, stores, seeds, device)
    modalities = [modality for modality in MODALITIES.values() if modality in stores]
    found = split.folds(corpus, protocol, allow_shared=allow_shared)
    wanted = split.choose(found, fold)
    opened = {modality: stores_on_disk.open_store(stores[modality]) for modality in modalities}
    for modality, store in opened.items():
        if store.modality != modality:
            raise RunError(f"{store.path} holds {store.modality} features, not {modality}: choose another file.")
    parts = {one.number: split.development(corpus, one) if select == "dev" else (one.train, None) for one in found}
    name = valid_name(name or default_name(fusion, modalities))
    base = {
        "format": run_folder.FORMAT,
        "corpus": run_folder.about_corpus(corpus, modalities),
        "protocol": protocol,
        "select": select,
        "folds": len(found),
        "modalities": modalities,
        "features": {modality: run_folder.about_features(corpus, store) for modality, store in opened.items()},
        "model": {"name": fusion, **asdict(settings)},
        "training": asdict(training),
    }
    if allow_shared:
        base["allow_shared"] = True
    tasks, folders = [], []
    for one in wanted:
        for seed in seeds:
            place = runs / corpus.name / name / f"fold-{one.number}" / f"seed-{seed}"
            config = {**base, "fold": one.number, "fold_value": one.value, "seed": seed}
            folders.append(place)
            state = run_folder.state(place, config)
            if state == "changed":
                say(f"{place}: trained before with other settings; training it again.")
            if state != "finished":
                tasks.append((one, seed, place, config))
    kept = len(folders) - len(tasks)
    if kept:
        say(f"{name}: {kept} of {len(folders)} runs are finished and kept.")
    if not tasks:
        return folders
    data = read(corpus, opened)
    on_device = torch.device(device)
    data = data.to(on_device)
    steps = steps_per_epoch([len(part) for part, _ in parts.values()], training.batch_size)
    provenance = run_folder.provenance(command, device)
    bar = tqdm(total=len(tasks) * training.epochs, desc=name, unit="epoch", disable=None, leave=False)
    ended = threading.Event()

    def progress(row: Mapping[str, Any]) -> None:
        if ended.is_set():
            raise RunError("Stopped, because another run failed.")
        bar.update()
        bar.set_postfix(loss=f"{row['loss']:.3f}", UA=f"{row['train_UA']:.3f}", refresh=False)

    def work(task: tuple[split.Fold, int, Path, dict[str, Any]]) -> list[str]:
        one, seed, place, config = task
        torch.set_num_threads(1)  # of this worker thread alone
        with lock(place / ".lock"):
            run_folder.begin(place, {**config, "provenance": provenance})
            start = time.perf_counter()
            rows, choose = parts[one.number]
            trained = fit(
                lambda: fusions.find(fusion).make(data.dims, len(corpus.classes), settings),
                data,
                rows,
                training,
                seed=seed,
                steps=steps,
                choose=one.test if select == "test" else choose,
                choose_by=select,
                report=progress,
            )
            return _finish(place, corpus, data, one, rows, trained, start)

    workers = 1 if on_device.type != "cpu" else min(jobs or cores(), len(tasks))
    pool = ThreadPoolExecutor(workers)
    try:
        for lines in pool.map(work, tasks):
            for line in lines:
                say(line)
    finally:
        ended.set()
        pool.shutdown(wait=True, cancel_futures=True)
        bar.close()
    return folders


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _finish(
    place: Path, corpus: Corpus, data: Data, one: split.Fold, rows: np.ndarray, trained: Trained, start: float
) -> list[str]:
    """Test a trained model, write all that is left of the run folder, and return lines for the user."""
    probabilities = predict(trained.model, data, one.test)
    labels = data.labels.cpu().numpy()
    blind = data.costs[one.test] == 0
    if blind.any():
        counts = np.bincount(labels[rows], minlength=len(corpus.classes))
        probabilities[blind] = counts / counts.sum()
    lines = []
    if trained.unusable:
        lines.append(f"{place}: {trained.unusable} training utterances have no features and were left out.")
    if blind.any():
        lines.append(
            f"{place}: {blind.sum()} of {len(blind)} test utterances have no features; they count as predicted to be "
            f"{corpus.classes[int(counts.argmax())]}, the training part's most frequent class."
        )
    run_folder.write_history(place, trained.history)
    run_folder.write_weights(place, trained.model)
    run_folder.write_predictions(place, corpus, one.test, probabilities)
    scores = measure.scores(labels[one.test], probabilities.argmax(-1), corpus.classes)
    write_json(
        place / run_folder.METRICS,
        {
            "format": run_folder.FORMAT,
            **scores,
            "train_utterances": len(rows) - trained.unusable,
            "test_utterances": len(one.test),
            "without_features": {"train": trained.unusable, "test": int(blind.sum())},
            "epoch": trained.epoch,
            "seconds": round(time.perf_counter() - start, 3),
            "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
        },
    )
    return lines


def _refuse_problems(
    fusion: str,
    settings: Any,
    training: TrainingConfig,
    select: str,
    stores: Mapping[str, Path],
    seeds: Sequence[int],
    device: str,
) -> None:
    """Raise one error that names everything wrong with the settings."""
    found = []
    if fusion not in fusions.FUSIONS:
        found.append(f"there is no fusion {fusion!r} (there are {', '.join(fusions.FUSIONS)})")
    elif not isinstance(settings, fusions.FUSIONS[fusion].config):
        found.append(f"{fusion} takes a {fusions.FUSIONS[fusion].config.__name__}, not {type(settings).__name__}")
    else:
        found += settings.problems()
    found += training.problems()
    if select not in split.SELECTIONS:
        found.append(f"there is no selection {select!r} (there are {', '.join(split.SELECTIONS)})")
    unknown = [name for name in stores if name not in MODALITIES.values()]
    if unknown or not stores:
        found.append(f"the modalities are {one_line(unknown) or 'none'}, not some of {', '.join(MODALITIES.values())}")
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        found.append(f"the seeds {one_line(seeds)} are not different numbers from 0 up")
    try:
        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            found.append(f"the device is {device}, and there is no CUDA here (choose cpu)")
    except RuntimeError:
        found.append(f"there is no device {device!r} (choose cpu, cuda or cuda:N)")
    if found:
        raise RunError(f"Training can't begin: {'; '.join(found)}.")
