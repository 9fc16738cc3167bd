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
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from gia_mic.extract import store as stores_on_disk
from gia_mic.extract.corpus import MODALITIES, Corpus, valid_name
from gia_mic.extract.device import choices, free_bytes, usual_device, why_unusable
from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.files import lock
from gia_mic.fuse import measure, split
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import Data, read
from gia_mic.fuse.models import registry as fusions
from gia_mic.fuse.runs import folder as run_folder
from gia_mic.fuse.runs.history import need_tensorboard, write_events, write_history
from gia_mic.fuse.runs.metrics import write_metrics
from gia_mic.fuse.runs.predictions import write_predictions
from gia_mic.fuse.runs.record import about_corpus, about_features
from gia_mic.fuse.runs.record import provenance as record_provenance
from gia_mic.fuse.runs.weights import write_weights
from gia_mic.fuse.stack import Job, fit_together
from gia_mic.fuse.train import Trained, fit, one_thread, predict, prepare_cpu, rounds_frames, steps_per_epoch

__all__ = ["default_name", "refuse_problems", "train_folds"]


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
    stack: int | None = None,
    memory_gib: float | None = None,
    tensorboard: bool = False,
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
        stack: Runs trained as one stack of models; by default all of them on a GPU, and 1 on the CPU, where stacking
            measured no faster. A stacked run equals the one trained alone within float tolerance.
        memory_gib: Most memory for frames, of the machine or of the GPU; more than that are read from their files, or
            carried to the GPU, batch by batch. None takes all of the machine's, and 60 % of what is free on the GPU.
        tensorboard: Also write each run's history for TensorBoard, into its folder.
        allow_shared: Accept folds that share speakers (or scenarios) between training and test.
        command: What the user typed, for the record.
        say: Takes lines for the user.

    Raises:
        RunError: Something about the settings is wrong (all of it is named at once), or training failed.
        StoreError: A feature file is broken or lacks utterances, or the run folder can't be written.
    """
    training = training or TrainingConfig()
    device = device or usual_device()
    settings = fusions.find(fusion).config() if model is None and fusion in fusions.FUSIONS else model
    refuse_problems(fusion, settings, training, select=select, seeds=seeds, device=device, stores=stores)
    if tensorboard:
        need_tensorboard()
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
        "corpus": about_corpus(corpus, modalities),
        "protocol": protocol,
        "select": select,
        "folds": len(found),
        "modalities": modalities,
        "features": {modality: about_features(corpus, store) for modality, store in opened.items()},
        "model": {"name": fusion, **asdict(settings)},
        "training": asdict(training),
    }
    if allow_shared:
        base["allow_shared"] = True
    tasks: list[_Task] = []
    folders: list[Path] = []
    for one in wanted:
        for seed in seeds:
            place = run_folder.run_dir_of(runs / corpus.name / name, one.number, seed)
            config = {**base, "fold": one.number, "fold_value": one.value, "seed": seed}
            folders.append(place)
            state = run_folder.state(place, config)
            if state == "changed":
                say(f"{place}: trained before with other settings; training it again.")
            if state != "finished":
                tasks.append(_Task(one, seed, place, config))
    kept = len(folders) - len(tasks)
    if kept:
        say(f"{name}: {kept} of {len(folders)} runs are finished and kept.")
    if not tasks:
        return folders
    on_device = torch.device(device)
    data = read(
        corpus,
        opened,
        memory_gib=memory_gib,
        speech_stride=training.speech_stride,
        layer_weights=training.layer_weights,
        rounded=rounds_frames(training, on_device),
    )
    together = stack or (len(tasks) if on_device.type == "cuda" else 1)
    groups = [tasks[first : first + together] for first in range(0, len(tasks), together)]
    side_by_side = 1
    if on_device.type == "cpu":
        side_by_side = min(jobs or cores(), len(groups))
        prepare_cpu(side_by_side)
    data = data.to(on_device, frames=_fits(data, on_device, memory_gib))
    steps = steps_per_epoch([len(part) for part, _ in parts.values()], training.batch_size)
    provenance = record_provenance(command, device, opened)
    bar = tqdm(total=len(tasks) * training.epochs, desc=name, unit="epoch", disable=None, leave=False)
    ended = threading.Event()

    def progress(row: Mapping[str, Any]) -> None:
        if ended.is_set():
            raise RunError("Stopped, because another run failed.")
        bar.update()
        bar.set_postfix(loss=f"{row['loss']:.3f}", UA=f"{row['train_UA']:.3f}", refresh=False)

    def build() -> nn.Module:
        return fusions.find(fusion).make(data.dims, len(corpus.classes), settings, data.layers)

    def work(group: Sequence[_Task]) -> list[str]:
        """Train the runs of a group in one stack, and return lines for the user."""
        start = time.perf_counter()
        with ExitStack() as locks:
            for task in group:
                locks.enter_context(lock(task.place / ".lock"))
                run_folder.begin(task.place, {**task.config, "provenance": provenance})
            runs = [
                Job(parts[task.fold.number][0], task.seed, task.choose(select, parts[task.fold.number][1]), progress)
                for task in group
            ]
            if len(runs) == 1:
                [one] = runs
                trained = [
                    fit(
                        build,
                        data,
                        one.rows,
                        training,
                        seed=one.seed,
                        steps=steps,
                        choose=one.choose,
                        choose_by=select,
                        report=progress,
                    )
                ]
            else:
                trained = fit_together(build, data, runs, training, steps=steps, choose_by=select)
            seconds = (time.perf_counter() - start) / len(runs)
            if tensorboard:
                for task, one_trained in zip(group, trained, strict=True):
                    write_events(task.place, one_trained.history)
            return [
                line
                for task, one, found in zip(group, runs, trained, strict=True)
                for line in _finish(task.place, corpus, data, task.fold, one.rows, found, seconds)
            ]

    pool = ThreadPoolExecutor(side_by_side)
    try:
        for lines in pool.map(work, groups):
            for line in lines:
                say(line)
    finally:
        ended.set()
        pool.shutdown(wait=True, cancel_futures=True)
        bar.close()
    return folders


def refuse_problems(
    fusion: str,
    settings: Any,
    training: TrainingConfig,
    *,
    select: str = "last",
    seeds: Sequence[int] = (0,),
    device: str = "cpu",
    stores: Mapping[str, Path] | None = None,
) -> None:
    """Refuse settings that no training can begin with; a command does so before it prepares a corpus.

    Args:
        fusion: Name of the fusion.
        settings: Its config.
        training: How to train.
        select: How the epoch is chosen.
        seeds: Seed of each run of a fold.
        device: Where to train.
        stores: Feature file by modality, where they are known.

    Raises:
        RunError: It names everything that is wrong.
    """
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
    unknown = [name for name in stores or () if name not in MODALITIES.values()]
    if unknown or (stores is not None and not stores):
        found.append(f"the modalities are {one_line(unknown) or 'none'}, not some of {', '.join(MODALITIES.values())}")
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        found.append(f"the seeds {one_line(seeds)} are not different numbers from 0 up")
    if (why := why_unusable(device)) is not None:
        found.append(f"there is no device {device!r} here ({why}; choose {choices()})")
    if found:
        raise RunError(f"Training can't begin: {'; '.join(found)}.")


def _fits(data: Data, device: torch.device, memory_gib: float | None) -> bool:
    """Whether all frames may stay on the device."""
    if device.type == "cpu":
        return True
    if memory_gib is not None:
        return data.size <= memory_gib * 2**30
    free = free_bytes(str(device))
    return free is None or data.size <= 0.6 * free


@dataclass(frozen=True)
class _Task:
    """A run that is to be trained."""

    fold: split.Fold
    seed: int
    place: Path
    config: dict[str, Any]

    def choose(self, select: str, development: np.ndarray | None) -> np.ndarray | None:
        """Return the rows that choose the epoch."""
        return self.fold.test if select == "test" else development


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _finish(
    place: Path, corpus: Corpus, data: Data, one: split.Fold, rows: np.ndarray, trained: Trained, seconds: float
) -> list[str]:
    """Test a trained model, write all that is left of the run folder, and return lines for the user."""
    with one_thread():
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
    write_history(place, trained.history)
    write_weights(place, trained.model)
    write_predictions(place, corpus, one.test, probabilities)
    scores = measure.scores(labels[one.test], probabilities.argmax(-1), corpus.classes)
    write_metrics(
        place,
        scores,
        train_utterances=len(rows) - trained.unusable,
        test_utterances=len(one.test),
        without_features={"train": trained.unusable, "test": int(blind.sum())},
        epoch=trained.epoch,
        seconds=seconds,
        parameters=sum(parameter.numel() for parameter in trained.model.parameters()),
    )
    return lines
