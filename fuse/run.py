"""Turns a corpus, its features and experiments into run folders, one for each fold and seed.

1. `plan_runs` lists the runs, each with its configuration and whether it is finished.
2. `train_here` trains those that aren't, side by side or in stacks.
3. Each is tested and written as soon as it is trained.

What a run folder holds stands in `runs/folder.py`. A finished fold whose configuration is the same is not trained
again.
"""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gia_mic.extract import store as stores_on_disk
from gia_mic.extract.corpus import MODALITIES, Corpus, valid_name
from gia_mic.extract.device import (
    choices,
    empty_cache,
    free_bytes,
    is_out_of_memory,
    kind_of,
    use_tf32,
    usual_device,
    why_unusable,
)
from gia_mic.extract.errors import Interrupted, RunError, first_line, one_line
from gia_mic.extract.files import lock
from gia_mic.extract.progress import progress
from gia_mic.extract.targets import Target
from gia_mic.fuse import split
from gia_mic.fuse.check import broken_truths
from gia_mic.fuse.data import Data, read_data
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.measure import measure_of
from gia_mic.fuse.models import registry as fusions
from gia_mic.fuse.models.registry import Entry
from gia_mic.fuse.runs import folder as run_folder
from gia_mic.fuse.runs.history import write_history
from gia_mic.fuse.runs.logs import LoggedRun, need_logs, write_logs
from gia_mic.fuse.runs.metrics import write_metrics
from gia_mic.fuse.runs.predictions import write_predictions
from gia_mic.fuse.runs.record import about_corpus, about_features
from gia_mic.fuse.runs.record import provenance as record_provenance
from gia_mic.fuse.runs.source import encoder_files, record_of, write_source
from gia_mic.fuse.runs.weights import load_fusion, weights_digest, write_weights
from gia_mic.fuse.stack import why_unstackable
from gia_mic.fuse.train import (
    RunSpec,
    TrainResult,
    bytes_of_run,
    fit_together,
    one_thread,
    predict,
    predict_together,
    prepare_cpu,
    rounds_frames,
    steps_per_epoch,
)

__all__ = ["Task", "model_config", "plan_runs", "refuse_problems", "train_folds", "train_here"]

logger = logging.getLogger(__name__)

Report = Callable[[Mapping[str, Any]], None]
"""Called with each row of a history."""


@dataclass(frozen=True)
class Task:
    """One run of an experiment: a fold and a seed.

    Attributes:
        experiment: The experiment that it is a run of.
        fold: The fold that is tested on.
        seed: Seed of the weights, the order and the dropout, at least 0.
        run_dir: Folder that the run is written into.
        config: Entries of its `config.json`, but for the provenance.
        state: State of the folder: new, unfinished, finished, or changed since it finished.
        rows: Rows to train on.
        choose: Rows that choose the epoch; None takes the last epoch.
        steps: Batches in an epoch, the same in all runs of the corpus.
        fusion: Its fusion, as it was when the runs were planned: a user may go on editing the file.
        encoders: Name and content of the file of each encoder that others wrote, by modality.
    """

    experiment: Experiment
    fold: split.SplitFold
    seed: int
    run_dir: Path
    config: Mapping[str, Any]
    state: str
    rows: np.ndarray
    choose: np.ndarray | None
    steps: int
    fusion: Entry
    encoders: Mapping[str, tuple[str, bytes]]


def train_folds(
    corpus: Corpus,
    stores: Mapping[str, Path],
    experiment: Experiment | None = None,
    execution: Execution | None = None,
    *,
    runs: Path,
) -> list[Path]:
    """Train a fusion on folds and seeds, and return their run folders in the order of folds, then seeds.

    Args:
        corpus: A prepared corpus.
        stores: Feature file by modality; the modalities of the model.
        experiment: The experiment to train and test; None takes the defaults.
        execution: Device, memory and the like; None takes the defaults.
        runs: Folder of all runs.

    Raises:
        RunError: Something about the settings is wrong (all of it is named at once), or training failed.
        StoreError: A feature file is broken or lacks utterances, or the run folder can't be written.
        Interrupted: Ctrl-C; finished runs are kept.
    """
    return train_here(corpus, stores, [experiment or Experiment()], execution, runs=runs)


def train_here(
    corpus: Corpus,
    stores: Mapping[str, Path],
    experiments: Sequence[Experiment],
    execution: Execution | None = None,
    *,
    runs: Path,
) -> list[Path]:
    """Train experiments on this machine, and return all run folders, experiment by experiment.

    The frames are read once, and runs of different experiments are trained side by side. Arguments and errors are those
    of `train_folds`.
    """
    execution = execution or Execution()
    for experiment in experiments:
        refuse_problems(experiment, execution, stores, target=corpus.target(experiment.target))
    need_logs(execution.logs)
    opened = _open_stores(stores)
    tasks = [task for experiment in experiments for task in plan_runs(corpus, opened, experiment, runs)]
    for task in tasks:
        if task.state == "changed":
            logger.warning(f"{task.run_dir}: trained before with other settings; training it again.")
    planned = Counter(_name_of(task) for task in tasks)
    finished = Counter(_name_of(task) for task in tasks if task.state == "finished")
    for name, count in finished.items():
        logger.info(f"{name}: {count} of {planned[name]} runs are finished and kept.")
    device = torch.device(execution.device or usual_device())
    by_frames: dict[tuple[Any, ...], list[Task]] = {}
    for task in tasks:
        if task.state != "finished":
            training = task.experiment.training
            read = (training.speech_rate_hz, training.layer_weights, rounds_frames(training, device))
            frames = (*read, task.experiment.target)
            by_frames.setdefault(frames, []).append(task)
    for unfinished in by_frames.values():
        _train_tasks(unfinished, corpus, opened, execution)
    return [task.run_dir for task in tasks]


def plan_runs(
    corpus: Corpus, stores: Mapping[str, stores_on_disk.Store], experiment: Experiment, runs: Path
) -> list[Task]:
    """List the runs of an experiment in the order of folds, then seeds; nothing is written.

    Args:
        corpus: A prepared corpus.
        stores: Opened feature file by modality, in the project's order.
        experiment: The experiment to train and test.
        runs: Folder of all runs.

    Raises:
        RunError: There are no such folds, a single class to train on, or nothing to choose an epoch on.
    """
    experiment = experiment.on(corpus)
    target = corpus.target(experiment.target)
    folds = split.folds(corpus, experiment.protocol, allow_shared=experiment.allow_shared)
    folds = [split.with_target(corpus, target, fold) for fold in folds]
    if experiment.inner:
        folds = [split.inner_fold(corpus, fold) for fold in folds]
    if experiment.without is not None:
        [left_out] = split.choose(folds, experiment.without)
        folds = [fold if fold is left_out else split.without(fold, left_out) for fold in folds]
    selected_folds = split.choose(folds, experiment.fold)
    if experiment.whole:
        selected_folds = [split.with_target(corpus, target, split.whole_corpus(corpus))]
    parts = {fold.number: _parts(corpus, fold, experiment.select) for fold in [*folds, *selected_folds]}
    for fold in selected_folds:
        split.refuse_constant(corpus, target, fold, parts[fold.number][0])
    trained = [replace(fold, train=parts[fold.number][0]) for fold in selected_folds]
    inside = experiment.inner or experiment.without is not None or experiment.whole
    for sentence in () if inside else split.one_sided_classes(corpus, target, trained):
        logger.warning(sentence)
    steps = steps_per_epoch([len(rows) for rows, _ in parts.values()], experiment.training.batch_size)
    encoders = encoder_files(stores)
    name, fusion = valid_name(experiment.run_name(list(stores))), fusions.find_fusion(experiment.fusion)
    experiment = experiment if experiment.model is not None else replace(experiment, model=fusion.config())
    shared = {
        "format": run_folder.FORMAT,
        "corpus": about_corpus(corpus, list(stores), target),
        **({} if target.kind == "label" else {"target": asdict(target)}),
        "protocol": experiment.protocol,
        "select": experiment.select,
        "folds": len(folds),
        "modalities": list(stores),
        "features": {modality: about_features(corpus, store) for modality, store in stores.items()},
        "model": {"name": fusion.name, **asdict(experiment.model)},
        **record_of(fusion.code),
        "training": asdict(experiment.training),
    }
    if experiment.allow_shared:
        shared["allow_shared"] = True
    if experiment.inner:
        shared["inner"] = True
    if experiment.without is not None:
        shared["without"] = experiment.without
    if experiment.search is not None:
        shared |= asdict(experiment.search)
    teachers = experiment.teachers
    if teachers is not None:
        shared["distilled_from"] = teachers.run
    tasks = []
    for fold in selected_folds:
        for seed in experiment.seeds:
            run_dir = run_folder.run_dir_of(runs / corpus.name / name, fold.number, seed)
            config = {**shared, "fold": fold.number, "fold_value": fold.value, "seed": seed}
            if teachers is not None:
                run_dirs = teachers.by_fold[fold.number]
                config["teachers"] = {"models": len(run_dirs), "digest": weights_digest(run_dirs)}
            state = run_folder.state(run_dir, config)
            tasks.append(
                Task(experiment, fold, seed, run_dir, config, state, *parts[fold.number], steps, fusion, encoders)
            )
    return tasks


def refuse_problems(
    experiment: Experiment,
    execution: Execution | None = None,
    stores: Mapping[str, Path] | None = None,
    target: Target | None = None,
) -> None:
    """Refuse settings that no training can begin with; a command does so before it prepares a corpus.

    Args:
        experiment: The experiment to train and test.
        execution: Device, memory and the like, where they are known.
        stores: Feature file by modality, where they are known.
        target: What is to be predicted, where it is known.

    Raises:
        RunError: It names everything that is wrong.
    """
    problems = _problems_of_fusion(experiment, list(stores) if stores else None)
    problems += experiment.training.problems(target)
    if experiment.select not in split.SELECTIONS:
        problems.append(f"there is no selection {experiment.select!r} (there are {', '.join(split.SELECTIONS)})")
    unknown = [name for name in stores or () if name not in MODALITIES.values()]
    if unknown or (stores is not None and not stores):
        names = ", ".join(MODALITIES.values())
        problems.append(f"the modalities are {one_line(unknown) or 'none'}, not some of {names}")
    seeds = experiment.seeds
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        problems.append(f"the seeds {one_line(seeds)} are not different numbers from 0 up")
    device = execution.device if execution else None
    if device is not None and (why := why_unusable(device)) is not None:
        problems.append(f"there is no device {device!r} here ({why}; choose {choices()})")
    elif experiment.training.precision == "bfloat16" and (why := _no_bfloat16(device)) is not None:
        problems.append(f"{device} can't train in bfloat16 ({why})")
    if problems:
        raise RunError(f"Training can't begin: {'; '.join(problems)}.")


def _problems_of_fusion(experiment: Experiment, modalities: Sequence[str] | None) -> list[str]:
    """Return what is wrong with an experiment's fusion; one that others wrote is tried where modalities are known."""
    name = experiment.fusion
    if ":" not in name and name not in fusions.names():
        return [f"there is no fusion {name!r} (there are {', '.join(fusions.FUSIONS)})"]
    fusion, config = fusions.find_fusion(name), model_config(experiment)
    if not isinstance(config, fusion.config):
        changed = fusion.code is not None and type(config).__name__ == fusion.config.__name__
        why = "; its file has changed since the command began" if changed else ""
        return [f"{name} takes a {fusion.config.__name__}, not {type(config).__name__}{why}"]
    problems = fusion.problems(config)
    if problems or fusion.code is None or modalities is None:
        return problems
    return broken_truths(fusion, config, modalities)[:1]  # the others often have the same cause


def _no_bfloat16(device: str | None) -> str | None:
    """Return why a device that can be used doesn't compute in bfloat16; None where it does."""
    try:
        torch.autocast(kind_of(device or usual_device()), torch.bfloat16)
    except RuntimeError as error:
        return first_line(error)
    return None


def model_config(experiment: Experiment) -> Any:
    """Return the config of an experiment's fusion, by default its default one."""
    return fusions.find_fusion(experiment.fusion).config() if experiment.model is None else experiment.model


def _open_stores(stores: Mapping[str, Path]) -> dict[str, stores_on_disk.Store]:
    """Open the feature files, in the project's order of modalities."""
    ordered = [modality for modality in MODALITIES.values() if modality in stores]
    opened = {modality: stores_on_disk.open_store(stores[modality]) for modality in ordered}
    for modality, store in opened.items():
        if store.modality != modality:
            raise RunError(f"{store.path} holds {store.modality} features, not {modality}: choose another file.")
    return opened


def _parts(corpus: Corpus, fold: split.SplitFold, select: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows to train on, and those that choose the epoch."""
    if select == "dev":
        return split.development(corpus, fold)
    return fold.train, fold.test if select == "test" else None


def _name_of(task: Task) -> str:
    """Return the name of a run's folder."""
    return task.run_dir.parents[1].name


def _stacks(tasks: Sequence[Task], stack_size: Callable[[Task, int], int]) -> Iterator[list[Task]]:
    """Give neighbours that are trained alike, at most `stack_size` of them, which are trained as one stack."""
    for _, group in groupby(tasks, key=_manner):
        alike = list(group)
        size = stack_size(alike[0], len(alike))
        yield from (alike[first : first + size] for first in range(0, len(alike), size))


def _manner(task: Task) -> tuple[Any, ...]:
    """Return what runs of one stack have in common."""
    experiment = task.experiment
    return task.fusion.name, experiment.model, experiment.training, experiment.select, experiment.target, task.steps


def _train_tasks(
    tasks: Sequence[Task],
    corpus: Corpus,
    stores: Mapping[str, stores_on_disk.Store],
    execution: Execution,
) -> None:
    """Read the frames, the same for all, and train the runs, in stacks and side by side as is asked for."""
    device_name = execution.device or usual_device()
    device, training = torch.device(device_name), tasks[0].experiment.training
    data = read_data(
        corpus,
        stores,
        memory_gib=execution.memory_gib,
        speech_rate_hz=training.speech_rate_hz,
        layer_weights=training.layer_weights,
        rounded=rounds_frames(training, device),
        target=corpus.target(tasks[0].experiment.target),
    )
    use_tf32(False)  # the process may have extracted in it
    data = _carried(data, device, execution.memory_gib)
    provenance = record_provenance(execution.command, device_name, stores)
    trainer = _Trainer(corpus, data, provenance, execution.logs)

    def stack_size(task: Task, runs: int) -> int:
        largest = execution.stack or (1 if device.type == "cpu" else runs)
        if min(largest, runs) > 1 and (why := trainer.why_unstackable(task)) is not None:
            logger.info(f"{task.fusion.name} can't be trained in stacks ({why}): its runs are trained one by one.")
            return 1
        return execution.stack or (1 if device.type == "cpu" else trainer.stack_size(task, runs))

    stacks = list(_stacks(tasks, stack_size))
    side_by_side = 1
    if device.type == "cpu":
        side_by_side = min(execution.jobs or cores(), len(stacks))
        prepare_cpu(side_by_side)
    names = list(dict.fromkeys(map(_name_of, tasks)))
    name = names[0] if len(names) == 1 else f"{len(names)} models"
    total = sum(task.experiment.training.epochs for task in tasks)
    failed, primary = threading.Event(), measure_of(data.target).primary
    with (
        progress(total, name, "epoch", leave=False) as bar,
        ThreadPoolExecutor(side_by_side) as pool,
    ):

        def report(row: Mapping[str, Any]) -> None:
            if failed.is_set():
                raise RunError("Stopped, because another run failed.")
            bar.update()
            bar.set(loss=f"{row['loss']:.3f}", **{primary: f"{row[f'train_{primary}']:.3f}"})

        try:
            for _ in pool.map(lambda stack: _train_within_memory(trainer, stack, report), stacks):
                pass
        except BaseException as error:
            failed.set()
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                finished = sum(run_folder.state(task.run_dir, task.config) == "finished" for task in tasks)
                raise Interrupted(
                    f"Stopped after {finished} of {len(tasks)} runs; they are kept: run the same command to go on."
                ) from error
            raise


def _train_within_memory(trainer: "_Trainer", tasks: Sequence[Task], report: Report) -> None:
    """Train runs in one stack, or where memory doesn't suffice for that in two halves, one after the other.

    Raises:
        RunError: Memory doesn't suffice for one run.
    """
    try:
        trainer.train(tasks, report)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if len(tasks) == 1:
            raise RunError(
                f"{tasks[0].run_dir}: the memory is too small for one run ({first_line(error)}): take a smaller "
                "--batch-size, fewer --jobs, or with --memory 0 leave the frames in their files."
            ) from error
    else:
        return
    # here, where the error is gone, nothing holds on to the stack any more
    empty_cache()
    half = -(-len(tasks) // 2)
    logger.info(f"Memory doesn't suffice for a stack of {len(tasks)} runs: going on with {half}.")
    _train_within_memory(trainer, tasks[:half], report)
    _train_within_memory(trainer, tasks[half:], report)


@dataclass(frozen=True)
class _Trainer:
    """Trains runs on frames that are read.

    Attributes:
        corpus: The corpus.
        data: Frames of the corpus, on the device to train on.
        provenance: Time, versions and device of the training, for each run's `config.json`.
        logs: Where trained runs are shown too.
    """

    corpus: Corpus
    data: Data
    provenance: Mapping[str, Any]
    logs: Sequence[str]

    def train(self, tasks: Sequence[Task], report: Report) -> None:
        """Train runs of one experiment in one stack, then test each and write its folder."""
        start, experiment = time.perf_counter(), tasks[0].experiment
        with ExitStack() as locks:
            for task in tasks:
                locks.enter_context(lock(task.run_dir / ".lock"))
                run_folder.begin(task.run_dir, {**task.config, "provenance": self.provenance})
                write_source(task.run_dir, task.fusion.code, task.encoders)
            specs = [
                RunSpec(task.rows, task.seed, task.choose, experiment.select, report, self.taught(task, task.rows))
                for task in tasks
            ]
            build = partial(self.build, tasks[0])
            results = fit_together(build, self.data, specs, experiment.training, steps=tasks[0].steps)
            seconds = (time.perf_counter() - start) / len(tasks)
            with one_thread():
                answers = predict_together(results, self.data, [task.fold.test for task in tasks])
            broken = []
            for task, result, task_answers in zip(tasks, results, answers, strict=True):
                scores: Mapping[str, Any] = {}
                try:
                    scores = self.finish(task, result, task_answers, seconds)
                except RunError as error:
                    broken.append(error)
                try:
                    write_logs(self.logs, LoggedRun(task.run_dir, task.config, result.history, scores))
                except RunError as error:
                    broken.append(error)
            if broken:
                raise broken[0]

    def taught(self, task: Task, rows: np.ndarray) -> np.ndarray | None:
        """Return the mean answer of a run's teachers to some utterances, (U, K), NaN for others; None without any."""
        if task.experiment.teachers is None:
            return None
        answers = np.full_like(self.data.values, np.nan)
        run_dirs = task.experiment.teachers.by_fold[task.fold.number]
        with one_thread():
            # whoever distils a run here has read its code
            teachers = [load_fusion(run_dir, str(self.data.device), trust=True) for run_dir in run_dirs]
            answers[rows] = np.mean([predict(teacher, self.data, rows) for teacher in teachers], axis=0)
        return answers

    def why_unstackable(self, task: Task) -> str | None:
        """Return why runs of a kind can't be stacked; None where they can."""
        return None if task.fusion.code is None else why_unstackable(self.build(task).to(self.data.device))

    def stack_size(self, task: Task, runs: int) -> int:
        """Return how many of an experiment's runs are stacked: all, or so few that memory suffices.

        Stacks are of about one size. What a step needs is about twice what it keeps for its way back. A wrong guess
        costs a start: a stack that runs out of memory is divided.
        """
        device = self.data.device
        free = free_bytes(str(device))
        if free is None or runs == 1:
            return runs
        try:
            each = 2 * bytes_of_run(partial(self.build, task), self.data, task.experiment.training)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            each = free
        finally:
            empty_cache()
        stacks = -(-runs // max(int(0.8 * free) // each, 1))
        return -(-runs // stacks)

    def build(self, task: Task) -> nn.Module:
        """Make the fusion of a run, untrained."""
        outputs, data = len(self.data.target.names), self.data
        return task.fusion.make(data.dims, outputs, task.experiment.model, data.layers)

    def finish(self, task: Task, result: TrainResult, answers: np.ndarray, seconds: float) -> dict[str, Any]:
        """Write all that is left of a trained model's run folder, and return its scores.

        Args:
            task: The run.
            result: What training gave.
            answers: What the model says of the fold's test part, (B, K).
            seconds: Time that the training took.

        Raises:
            RunError: It has answers that are no numbers; nothing is written.
        """
        run_dir, target, test = task.run_dir, self.data.target, task.fold.test
        values, measure = self.data.values, measure_of(target)
        if result.unusable:
            logger.warning(f"{run_dir}: {result.unusable} training utterances have no features and were left out.")
        blind = self.data.costs[test] == 0
        if blind.any():
            mean = values[task.rows].mean(0)
            answers[blind] = mean
            instead = f"{one_line(f'{value:.3g}' for value in mean)}, the training part's mean"
            if target.one_of_many:
                instead = f"{target.names[int(mean.argmax())]}, the training part's most frequent class"
            logger.warning(
                f"{run_dir}: {blind.sum()} of {len(blind)} test utterances have no features; they count as predicted "
                f"to be {instead}."
            )
        if (overflown := ~np.isfinite(answers).all(1)).any():
            ids = one_line(self.corpus.ids[row] for row in test[overflown])
            raise RunError(
                f"{run_dir}: {overflown.sum()} of {len(test)} answers are no numbers ({ids}), which ends the run: "
                "lower the learning rate, or look for features of an unusual size."
            )
        write_history(run_dir, result.history)
        write_weights(run_dir, result.model, result.readout)
        scores: dict[str, Any] = {}
        if len(test):
            write_predictions(run_dir, self.corpus, target, test, answers)
            tally = measure.tally(values[test], answers)[0]
            scores = {**measure.scores(tally), **measure.whole(values[test], answers)}
            scores |= {} if target.kind == "label" else {"tally": tally.tolist()}
            if (taught := self.taught(task, test)) is not None:
                taught[test[blind]] = values[task.rows].mean(0)  # as the answers
                teachers = measure.scores(measure.tally(values[test], taught[test])[0])
                scores["teachers"] = {name: teachers[name] for name in measure.headline if name in teachers}
        if target.kind == "label":
            scores["train_classes"] = _class_counts(values[task.rows], target.names)
        write_metrics(
            run_dir,
            scores,
            train_utterances=len(task.rows) - result.unusable,
            test_utterances=len(test),
            without_features={"train": result.unusable, "test": int(blind.sum())},
            epoch=result.epoch,
            seconds=seconds,
            parameters=sum(parameter.numel() for parameter in result.model.parameters()),
        )
        return scores


def _class_counts(values: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    return dict(zip(classes, map(int, values.sum(0)), strict=True))


def _carried(data: Data, device: torch.device, memory_gib: float | None) -> Data:
    """Return the data on a device, with all frames if they fit."""
    fits = device.type == "cpu"
    if not fits:
        free = free_bytes(str(device))
        most = memory_gib * 2**30 if memory_gib is not None else None if free is None else 0.6 * free
        fits = most is None or data.size <= most
    try:
        return data.to(device, frames=fits)
    except Exception as error:
        if not fits or not is_out_of_memory(error):
            raise
    empty_cache()
    return data.to(device, frames=False)


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
