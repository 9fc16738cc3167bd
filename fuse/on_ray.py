"""Turns trainings into tasks for a Ray cluster: models × folds × seeds.

Every task trains as one machine would and writes the same run folders, which all machines must see; so a finished run
is kept here too, and the same command goes on after any end.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from gia_mic.extract.cluster import connect, share_out
from gia_mic.extract.corpus import Corpus, load_corpus
from gia_mic.extract.progress import progress
from gia_mic.fuse import split
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.models.registry import configure
from gia_mic.fuse.run import train_folds

__all__ = ["train_on_ray"]


def train_on_ray(
    corpus: Corpus,
    stores: Mapping[str, Path],
    experiments: Sequence[Experiment],
    execution: Execution | None = None,
    *,
    runs: Path,
    address: str | None = None,
) -> list[Path]:
    """Train experiments, each run a task; on GPUs all folds of as many seeds as a GPU gets are one, trained as a stack.

    Args:
        corpus: A prepared corpus.
        stores: Feature file by modality.
        experiments: The experiments to train.
        execution: Device, memory and the like; by default GPUs where the cluster has some. `jobs` is 1 in every task.
        runs: Folder of all runs.
        address: The cluster, as `ray.init` takes it; by default what RAY_ADDRESS names, or this machine alone.

    Returns:
        The run folders, experiment by experiment, in the order of folds, then seeds.

    Raises:
        MerError: Ray isn't installed, or there is no such cluster; or as `run.train_folds`.
    """
    execution = execution or Execution()
    ray = connect(address)
    workers, share, kind = share_out(ray, None, execution.device)
    share["num_cpus"] = 1
    execution = replace(execution, device=kind, jobs=1)
    remote = ray.remote(_train).options(**share)
    corpus_location = (Path.cwd(), corpus.folder.parent, corpus.name)
    divided = [
        _by_fold_and_seed(corpus, experiment) if kind == "cpu" else _by_seeds(experiment, workers // len(experiments))
        for experiment in experiments
    ]
    tasks = [
        [remote.remote(corpus_location, dict(stores), *_portable(part), execution, runs) for part in parts]
        for parts in divided
    ]
    waiting = [task for of_experiment in tasks for task in of_experiment]
    with progress(len(waiting), "runs", "task", leave=False) as bar:
        while waiting:
            ended, waiting = ray.wait(waiting)
            for _, records in _results(ray, ended, waiting):
                bar.update()
                for record in records:
                    logger = logging.getLogger(record.name)
                    if logger.isEnabledFor(record.levelno):
                        logger.handle(record)
    run_dirs: list[Path] = []
    for experiment, parts, of_experiment in zip(experiments, divided, tasks, strict=True):
        by_seed: dict[int, list[Path]] = {seed: [] for seed in experiment.seeds}
        for part, (of_part, _) in zip(parts, ray.get(of_experiment), strict=True):
            for number, seed in enumerate(part.seeds):
                by_seed[seed] += of_part[number :: len(part.seeds)]
        run_dirs += [run_dir for of_fold in zip(*by_seed.values(), strict=True) for run_dir in of_fold]
    return run_dirs


def _by_fold_and_seed(corpus: Corpus, experiment: Experiment) -> list[Experiment]:
    """Divide an experiment into its runs, in the order of seeds, then folds."""
    folds = split.folds(corpus, experiment.protocol, allow_shared=experiment.allow_shared)
    numbers = [fold.number for fold in split.choose(folds, experiment.fold)]
    return [replace(experiment, seeds=(seed,), fold=number) for seed in experiment.seeds for number in numbers]


def _by_seeds(experiment: Experiment, parts: int) -> list[Experiment]:
    """Divide an experiment's seeds into at most so many parts, at least one."""
    seeds = list(experiment.seeds)
    size = -(-len(seeds) // max(parts, 1))
    return [replace(experiment, seeds=tuple(seeds[first : first + size])) for first in range(0, len(seeds), size)]


def _results(
    ray: Any, ended: Sequence[Any], waiting: Sequence[Any]
) -> list[tuple[list[Path], list[logging.LogRecord]]]:
    """Return what tasks gave; the error of one ends the others."""
    try:
        return ray.get(list(ended))
    except ray.exceptions.RayTaskError as error:
        for task in waiting:
            ray.cancel(task)
        raise getattr(error, "cause", error) from error


def _load(working_folder: Path, features: Path, name: str) -> Corpus:
    """Load a corpus in another process, where relative paths shall mean the same."""
    os.chdir(working_folder)
    return load_corpus(features, name)


def _portable(experiment: Experiment) -> tuple[Experiment, dict[str, Any]]:
    """Return an experiment without its fusion's config, and that as plain values: its class may be in a user's file."""
    return replace(experiment, model=None), asdict(experiment.model) if experiment.model is not None else {}


def _train(
    corpus_location: tuple[Path, Path, str],
    stores: Mapping[str, Path],
    experiment: Experiment,
    settings: Mapping[str, Any],
    execution: Execution,
    runs: Path,
) -> tuple[list[Path], list[logging.LogRecord]]:
    """Train an experiment; return its run folders and what was logged, for the log of the process that asked."""
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    log, handler = logging.getLogger("gia_mic"), QueueHandler(queue)
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        corpus = _load(*corpus_location)
        if settings:
            experiment = replace(experiment, model=configure(experiment.fusion, settings))
        run_dirs = train_folds(corpus, stores, experiment, execution, runs=runs)
    finally:
        log.removeHandler(handler)
    return run_dirs, [queue.get() for _ in range(queue.qsize())]
