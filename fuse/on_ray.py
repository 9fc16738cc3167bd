"""Turns trainings into tasks for a Ray cluster: models × folds × seeds, or the trials of a search.

Every task trains as one machine would and writes the same run folders, which all machines must see; so a finished run
is kept here too, and the same command goes on after any end.
"""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gia_mic.extract import corpus as corpora
from gia_mic.extract.cluster import connect, share_out
from gia_mic.extract.corpus import Corpus
from gia_mic.fuse import split
from gia_mic.fuse.config import SPACE
from gia_mic.fuse.run import train_folds
from gia_mic.fuse.tune import Engine, Search

__all__ = ["ray_search", "train_on_ray"]


def train_on_ray(
    corpus: Corpus,
    stores: Mapping[str, Path],
    models: Sequence[Mapping[str, Any]],
    *,
    address: str | None = None,
    protocol: str = "session",
    fold: int | None = None,
    seeds: Sequence[int] = (0,),
    device: str | None = None,
    allow_shared: bool = False,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> list[Path]:
    """Train models on folds and seeds, each run a task; on GPUs all folds of a seed are one task, trained as a stack.

    Args:
        corpus: A prepared corpus.
        stores: Feature file by modality.
        models: What `run.train_folds` is to be told for each model: fusion, model, name.
        address: The cluster, as `ray.init` takes it; by default what RAY_ADDRESS names, or this machine alone.
        protocol: What makes the folds.
        fold: The K-th fold, from 1; None is all.
        seeds: Each gives a run for every fold.
        device: cpu or cuda; by default cuda where the cluster has GPUs.
        allow_shared: Accept folds that share speakers (or scenarios) between training and test.
        say: Takes lines for the user.
        options: The rest of `run.train_folds`, the same for all.

    Returns:
        The run folders, model by model, in the order of folds, then seeds.

    Raises:
        MerError: Ray isn't installed, or there is no such cluster; or as `run.train_folds`.
    """
    ray = connect(address)
    _, share, kind = share_out(ray, None, device)
    share["num_cpus"] = 1
    numbers = [one.number for one in split.choose(split.folds(corpus, protocol, allow_shared=allow_shared), fold)]
    places = [(number, seed) for number in numbers for seed in seeds] if kind == "cpu" else [(fold, s) for s in seeds]
    same = {"protocol": protocol, "device": kind, "allow_shared": allow_shared, "jobs": 1} | options
    remote = ray.remote(_train).options(**share)
    tasks = [
        remote.remote(Path.cwd(), corpus.folder.parent, corpus.name, dict(stores), number, seed, {**same, **model})
        for model in models
        for number, seed in places
    ]
    left = list(tasks)
    with tqdm(total=len(tasks), desc="runs", unit="task", disable=None, leave=False) as bar:
        while left:
            ended, left = ray.wait(left)
            for _, lines in _results(ray, ended, left):
                bar.update()
                for line in lines:
                    say(line)
    found = [folders for folders, _ in ray.get(tasks)]
    if kind == "cpu":
        return [folder for folders in found for folder in folders]
    by_model = [found[first : first + len(places)] for first in range(0, len(found), len(places))]
    return [folder for of_seeds in by_model for of_fold in zip(*of_seeds, strict=True) for folder in of_fold]


def ray_search(address: str | None = None) -> Engine:
    """Return what `tune.tune` needs to try settings on a Ray cluster, with Ray Tune over Optuna.

    Which settings are tried depends on which trials are done first, so a search need not repeat itself.

    Raises:
        MerError: Ray isn't installed, or there is no such cluster.
    """
    connect(address)

    def engine(search: Search, trials: int, tell: Callable[[Mapping[str, Any], float, int], None]) -> None:
        import optuna
        from ray import tune
        from ray.tune.search.optuna import OptunaSearch

        place = (Path.cwd(), search.corpus.folder.parent, search.corpus.name)
        same = {field.name: getattr(search, field.name) for field in fields(search) if field.name != "corpus"}

        def trial(chosen: Mapping[str, Any]) -> None:
            score, epoch = Search(_load(*place), **same).scorer()(chosen)
            tune.report({"UA": score, "epoch": epoch})

        with tempfile.TemporaryDirectory() as folder:
            found = tune.Tuner(
                tune.with_resources(trial, {"cpu": 1}),
                param_space={name: tune.choice(values) for name, values in SPACE.items()},
                tune_config=tune.TuneConfig(
                    metric="UA",
                    mode="max",
                    num_samples=trials,
                    search_alg=OptunaSearch(sampler=optuna.samplers.TPESampler(seed=search.seed)),
                ),
                run_config=tune.RunConfig(storage_path=folder, verbose=0),
            ).fit()
            for error in found.errors:
                raise error
            for number in range(len(found)):
                chosen, scores = found[number].config or {}, found[number].metrics or {}
                tell(chosen, scores["UA"], scores["epoch"])

    return engine


def _results(ray: Any, ended: Sequence[Any], left: Sequence[Any]) -> list[tuple[list[Path], list[str]]]:
    """Return what tasks gave; the error of one ends the others."""
    try:
        return ray.get(list(ended))
    except ray.exceptions.RayTaskError as error:
        for task in left:
            ray.cancel(task)
        raise getattr(error, "cause", error) from error


def _load(working_folder: Path, features: Path, name: str) -> Corpus:
    os.chdir(working_folder)
    return corpora.load(features, name)


def _train(
    working_folder: Path,
    features: Path,
    name: str,
    stores: Mapping[str, Path],
    fold: int | None,
    seed: int,
    options: Mapping[str, Any],
) -> tuple[list[Path], list[str]]:
    """Train one model on a fold, or on all, with one seed; return the run folders and lines for the user."""
    lines: list[str] = []
    corpus = _load(working_folder, features, name)
    return train_folds(corpus, stores, fold=fold, seeds=(seed,), say=lines.append, **options), lines
