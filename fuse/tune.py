"""Turns the training part of each fold into settings that do better on a part of it; its test part is never looked at.

The search is nested and small: every fusion tries the same few settings, drawn at random, with its own defaults first.
A trial is a run like any other, but inside a fold's training part. The best one's settings are then trained on the
whole training part, and tested on the fold.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from gia_mic.extract.corpus import Corpus
from gia_mic.extract.errors import RunError
from gia_mic.fuse.config import SPACE, TRIALS, TrainingConfig, fusion_name
from gia_mic.fuse.experiment import Execution, Experiment, Search
from gia_mic.fuse.measure import measure_of
from gia_mic.fuse.run import model_config, refuse_problems, train_here
from gia_mic.fuse.runs.fold import read_fold

__all__ = ["draw_settings", "refuse_search", "tune", "with_settings"]

SEARCH = "search"
"""Folder of the trials' runs, in that of the runs that are trained with what they show."""

Settings = Mapping[str, Any]
Space = Mapping[str, Sequence[Any]]


def tune(
    corpus: Corpus,
    stores: Mapping[str, Path],
    experiment: Experiment | None = None,
    execution: Execution | None = None,
    *,
    runs: Path,
    trials: int = TRIALS,
    space: Space = SPACE,
    train: Callable[..., list[Path]] = train_here,
) -> list[Path]:
    """Choose settings for each fold on a part of its training part, train with them, and return the run folders.

    Each trial trains on the training part less whole sessions, speakers or dialogs (`split.inner_fold`), and is scored
    by the target's primary metric, such as UA, of its last epoch on these. The trials lie in
    `runs/<corpus>/<name>/search`, as runs that are kept: a search that was stopped goes on, and one of more trials
    tries only the new ones.

    Args:
        corpus: A prepared corpus.
        stores: Feature file by modality.
        experiment: The first trial, and all that is not searched; the trials have its first seed, what is trained in
            the end has all of them. By default the runs are called as usual, with -tuned at the end.
        execution: Device, memory and the like; None takes the defaults.
        runs: Folder of all runs.
        trials: Number of settings tried, the experiment's own among them.
        space: Values of each setting that is searched; what a fusion lacks is left out.
        train: Trains experiments, as `run.train_here` does side by side and `on_ray.train_on_ray` on a cluster.

    Raises:
        RunError: A setting is out of range, there is nothing to choose on, or as `run.train_folds`.
    """
    experiment = (experiment or Experiment()).on(corpus)
    refuse_search(experiment, trials, space)
    primary = measure_of(corpus.target(experiment.target)).primary
    name = experiment.name or f"{experiment.run_name(list(stores))}-tuned"
    proposals = draw_settings(experiment, trials, space)
    candidates = [
        replace(
            with_settings(experiment, settings),
            seeds=experiment.seeds[:1],
            name=f"{fusion_name(experiment.fusion)}-trial-{number}",
            inner=True,
        )
        for number, settings in enumerate(proposals, start=1)
    ]
    run_dirs = train(corpus, stores, candidates, execution, runs=runs / corpus.name / name / SEARCH)
    by_fold: dict[int, list[float]] = {}
    for run_dir in run_dirs:
        fold = read_fold(run_dir)
        by_fold.setdefault(fold.number, []).append(fold.metrics[primary])
    search = {"trials": trials, "seed": experiment.seeds[0], "space": _searched(experiment, space)}
    chosen = []
    for fold_number, scores in by_fold.items():
        settings = proposals[scores.index(max(scores))]
        record = Search(search, [{**tried, primary: score} for tried, score in zip(proposals, scores, strict=True)])
        chosen.append(replace(with_settings(experiment, settings), fold=fold_number, name=name, search=record))
    return train(corpus, stores, chosen, execution, runs=runs)


def draw_settings(experiment: Experiment, trials: int, space: Space = SPACE) -> list[dict[str, Any]]:
    """Return the settings to try: first the experiment's own, then others of the space, drawn at random.

    What is drawn depends on the space and the experiment's first seed alone, so all fusions try the same. A longer
    list begins with the shorter one.
    """
    searched = _searched(experiment, space)
    own = {**asdict(model_config(experiment)), **asdict(experiment.training)}
    proposals: list[dict[str, Any]] = []
    generator = random.Random(experiment.seeds[0])
    while len(proposals) < trials - 1:
        settings = {name: generator.choice(values) for name, values in space.items()}
        settings = {name: settings[name] for name in searched}
        if settings not in proposals:
            proposals.append(settings)
    return [{name: own[name] for name in searched}, *proposals]


def refuse_search(experiment: Experiment, trials: int, space: Space = SPACE) -> None:
    """Refuse a search that can't begin; the command does so before it prepares a corpus.

    Raises:
        RunError: As `run.refuse_problems`; or there are not so many settings to try.
    """
    refuse_problems(experiment)
    different = math.prod(len(set(values)) for values in _searched(experiment, space).values())
    if not 1 <= trials <= different:
        raise RunError(
            f"{trials} trials are not between 1 and {different}, the number of different settings to try: choose "
            "another number, or leave more settings to the search."
        )
    for settings in draw_settings(experiment, trials, space):
        refuse_problems(with_settings(experiment, settings))


def with_settings(experiment: Experiment, settings: Settings) -> Experiment:
    """Return an experiment with some settings of its training and of its fusion."""
    of_training = {field.name for field in fields(TrainingConfig)}
    return replace(
        experiment,
        training=replace(experiment.training, **{name: settings[name] for name in settings if name in of_training}),
        model=replace(
            model_config(experiment), **{name: settings[name] for name in settings if name not in of_training}
        ),
    )


def _searched(experiment: Experiment, space: Space) -> dict[str, list[Any]]:
    """Return the part of a space that the experiment has."""
    names = {field.name for config in (model_config(experiment), experiment.training) for field in fields(config)}
    return {name: list(values) for name, values in space.items() if name in names}
