"""Turns the models of a run's folds into one that answers as their mean does.

What predicts with a run averages its folds. The mean has no test part, as each utterance was in the training of all
folds but one, and it costs as many fusions as there are folds. A student learns that mean: no new labels are needed.

    student of the whole corpus    learns, on all utterances, the mean of the run's n folds
    student of fold k              learns, on the training part of k, the mean of n − 1 models of that part alone

The first is for use and can't be tested. The second is the same recipe inside a training part: its teachers are the
folds of that part, so none of them has seen the test part of k, and neither does the student. Hence its scores stand
for the first. The model without the test parts of j and k teaches both students j and k, so n (n − 1) / 2 are trained.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from gia_mic.extract.corpus import Corpus, load_corpus, valid_name
from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.store import open_store
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.experiment import Execution, Experiment, Teachers
from gia_mic.fuse.models.registry import find_fusion
from gia_mic.fuse.run import train_here
from gia_mic.fuse.runs.folder import METRICS, WHOLE, find_run_dirs, read_config, recorded_target
from gia_mic.fuse.runs.runs import Run, read_runs
from gia_mic.fuse.runs.source import named_fusion, record_of

__all__ = ["distill", "recorded_experiment"]

TEACHERS = "teachers"
"""Folder of the models inside training parts, in that of the students."""


def distill(
    run: Path,
    features: Path,
    execution: Execution | None = None,
    *,
    name: str | None = None,
    seeds: int = 1,
) -> list[Path]:
    """Train students of a run, and return their folders: those of the folds, then that of the whole corpus.

    Args:
        run: Folder of the run, `runs/<corpus>/<name>`.
        features: Folder of prepared corpora and their features.
        execution: Device, memory and the like; None takes the defaults.
        name: Name of the students' run; None takes the run's and -distilled.
        seeds: Students of each fold; the whole corpus has one.

    Raises:
        RunError: The run can't be distilled, or its corpus or features aren't there as it was trained on them.
    """
    teacher = _finished_run(run)
    corpus = load_corpus(features, teacher.corpus)
    stores = _stores(teacher, corpus)
    experiment = recorded_experiment(teacher.config, run.name)
    _refuse_changed_code(experiment, teacher)
    name = valid_name(name or f"{run.name}-distilled")
    if name == run.name:
        raise RunError(f"The students can't be called {name}, as the run that they learn from is: choose another name.")
    folder = run.resolve().parent / name
    for fold in (metrics.parent for metrics in folder.glob(f"fold-*/seed-*/{METRICS}")):
        if read_config(fold).get("distilled_from") != run.name:
            raise RunError(f"{folder} is another run: choose another name for the students.")
    runs, numbers = run.resolve().parents[1], range(1, teacher.expected + 1)
    inside = [
        replace(experiment, name=f"without-{left_out}", without=left_out, fold=fold, seeds=teacher.seeds)
        for left_out, fold in combinations(numbers, 2)
    ]
    run_dirs = train_here(corpus, stores, inside, execution, runs=runs / corpus.name / name / TEACHERS)
    by_fold: dict[int, list[Path]] = {number: [] for number in numbers}
    for position, pair in enumerate(combinations(numbers, 2)):
        for number in pair:
            by_fold[number] += run_dirs[position * len(teacher.seeds) : (position + 1) * len(teacher.seeds)]
    by_fold[WHOLE] = [fold.folder for fold in teacher.folds]
    student = replace(
        experiment,
        name=name,
        select="last",
        seeds=range(seeds),
        training=replace(experiment.training, soft_target=0.0),  # the teachers' answers are soft already
        teachers=Teachers(run.name, by_fold),
    )
    whole = replace(student, whole=True, seeds=(0,))
    return train_here(corpus, stores, [student, whole], execution, runs=runs)


def recorded_experiment(config: Mapping[str, Any], name: str) -> Experiment:
    """Return the experiment that a run's configuration records, but for its folds and seeds.

    Args:
        config: Entries of `config.json`.
        name: Name of the run.

    Raises:
        RunError: The run has settings that this version doesn't have.
    """
    fusion = named_fusion(config)
    model = {key: tuple(value) if isinstance(value, list) else value for key, value in config["model"].items()}
    del model["name"]
    try:
        return Experiment(
            fusion=fusion,
            model=find_fusion(fusion).config(**model),
            training=TrainingConfig(**config["training"]),
            protocol=config["protocol"],
            select=config["select"],
            name=name,
            allow_shared=config.get("allow_shared", False),
            target=recorded_target(config).name,
        )
    except TypeError as error:
        raise RunError(f"The settings of {name} are not those of this version ({error}): train it again.") from error


def _finished_run(path: Path) -> Run:
    """Return a run whose folds can teach.

    Raises:
        RunError: It has one fold, isn't finished, or its scores or settings know the test parts.
    """
    if find_run_dirs(path) == [path]:
        raise RunError(f"{path} is the model of one fold: give the folder of the run, runs/<corpus>/<name>.")
    runs = read_runs(path)
    if len(runs) > 1:
        raise RunError(f"The folds in {path} are of several configurations: train them alike with `mer fuse-train`.")
    [run] = runs
    why = None
    if run.expected < 3:
        count = "one fold" if run.expected == 1 else f"{run.expected} folds"
        why = f"it has {count}, and needs three, as two must be left when one is taken away for its scores"
    elif not run.complete:
        why = f"{len(run.folds)} of {run.expected * len(run.seeds)} trainings are finished: train the others first"
    elif run.select == "test":
        why = "its epochs were chosen on the test folds, which its teachers mustn't know: train one with --select last"
    elif "search" in run.config:
        why = "its settings were searched for each fold: train one with the same settings for all folds"
    elif "distilled_from" in run.config:
        why = f"it is distilled itself: give {run.config['distilled_from']}"
    if why is not None:
        raise RunError(f"{path} can't be distilled: {why}.")
    return run


def _refuse_changed_code(experiment: Experiment, run: Run) -> None:
    """Refuse a fusion of others whose code isn't that of the run: its teachers and students would be of two kinds.

    Raises:
        RunError: It is other code.
    """
    recorded = run.config.get("fusion")
    code = record_of(find_fusion(experiment.fusion).code).get("fusion")
    if (recorded and recorded.get("digest")) != (code and code["digest"]):
        raise RunError(
            f"The code of {experiment.fusion} is other than the one that {run.name} was trained with: train it again."
        )


def _stores(run: Run, corpus: Corpus) -> dict[str, Path]:
    """Return the feature files that a run was trained on.

    Raises:
        RunError: They, or the corpus, are others than then.
    """
    if run.config["corpus"]["digest"] != corpus.digest:
        raise RunError(f"The corpus {corpus.name} has changed since {run.name} was trained: train the run again.")
    features = run.config["features"]
    stores = {modality: corpus.folder / features[modality]["file"] for modality in run.modalities}
    if missing := [str(path) for path in stores.values() if not path.exists()]:
        raise RunError(f"The features that {run.name} was trained on are missing ({one_line(missing)}): extract them.")
    changed = [name for name, path in stores.items() if open_store(path).fingerprint != features[name]["fingerprint"]]
    if changed:
        raise RunError(
            f"The {one_line(changed)} features are others than those that {run.name} was trained on: train it again."
        )
    return stores
