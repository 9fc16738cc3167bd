"""Turns the training part of one fold into settings that do better on a part of it; the test part is never looked at.

The search is Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), seeded; Optuna comes with the extra
`gia-mic[tune]`.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gia_mic.extract import store as stores_on_disk
from gia_mic.extract.corpus import Corpus
from gia_mic.extract.errors import RunError
from gia_mic.extract.files import write_json
from gia_mic.fuse import split
from gia_mic.fuse.config import SPACE, TrainingConfig
from gia_mic.fuse.data import read_data
from gia_mic.fuse.experiment import Experiment
from gia_mic.fuse.models import registry as fusions
from gia_mic.fuse.train import RunSpec, fit, prepare_cpu, rounds_frames, steps_per_epoch

__all__ = ["Engine", "Search", "TuneResult", "refuse_search", "tune"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuneResult:
    """What a search gives.

    Attributes:
        ua: Best UA on the part of the training that was set apart.
        epoch: Epoch at which it was reached.
        experiment: The search's experiment with the best settings; with `fold` None it trains all folds.
        trials: Settings and UA of each trial, in order.
    """

    ua: float
    epoch: int
    experiment: Experiment
    trials: list[dict[str, Any]]

    def options(self) -> str:
        """Return the best settings as options of `mer fuse-train`: those searched, and others than the defaults.

        Without `patience`: by default the epoch isn't chosen there, so nothing stops early.
        """
        training, best = self.experiment.training, max(self.trials, key=lambda trial: trial["UA"])
        default = _typed_options(Experiment(training=TrainingConfig(patience=training.patience)))
        settings = {name: value for name, value in _typed_options(self.experiment).items() if value != default[name]}
        settings |= {name: value for name, value in best.items() if name != "UA"}
        flags = {True: "--{}", False: "--no-{}"}
        return " ".join(
            flags[value].format(option) if isinstance(value, bool) else f"--{option} {value}"
            for option, value in ((name.replace("_", "-"), value) for name, value in settings.items())
        )


@dataclass(frozen=True)
class Search:
    """What every trial of a search has in common.

    Attributes:
        corpus: A prepared corpus.
        stores: Feature file by modality.
        experiment: The settings that are not searched; its fold's training part is used, and its first seed.
    """

    corpus: Corpus
    stores: Mapping[str, Path]
    experiment: Experiment

    def scorer(self) -> Callable[[Mapping[str, Any]], tuple[float, int]]:
        """Read the frames, and return what gives the best UA of some settings, and the epoch that had it."""
        experiment = self.experiment
        folds = split.folds(self.corpus, experiment.protocol, allow_shared=experiment.allow_shared)
        [fold] = split.choose(folds, experiment.fold)
        train_rows, dev_rows = split.development(self.corpus, fold)
        split.refuse_one_class(self.corpus, fold, train_rows)
        opened = {name: stores_on_disk.open_store(path) for name, path in self.stores.items()}
        data = read_data(
            self.corpus,
            opened,
            speech_rate_hz=experiment.training.speech_rate_hz,
            layer_weights=experiment.training.layer_weights,
            rounded=rounds_frames(experiment.training, torch.device("cpu")),
        )
        entry = fusions.find_fusion(experiment.fusion)
        spec = RunSpec(train_rows, experiment.seeds[0], dev_rows)
        prepare_cpu()

        def score(settings: Mapping[str, Any]) -> tuple[float, int]:
            trial = self.with_settings(settings)
            result = fit(
                lambda: entry.make(data.dims, len(self.corpus.classes), trial.model, data.layers),
                data,
                spec,
                trial.training,
                steps=steps_per_epoch([len(train_rows)], trial.training.batch_size),
            )
            return float(np.max([row["dev_UA"] for row in result.history])), result.epoch

        return score

    def with_settings(self, settings: Mapping[str, Any]) -> Experiment:
        """Return the experiment with settings of `config.SPACE` that were chosen."""
        training_settings = {name: value for name, value in settings.items() if name != "dropout"}
        return replace(
            self.experiment,
            model=fusions.find_fusion(self.experiment.fusion).config(dropout=settings["dropout"]),
            training=replace(self.experiment.training, **training_settings),
        )


Tell = Callable[[Mapping[str, Any], float, int], None]
"""Called with a trial's settings, UA in 0 … 1 and epoch from 1."""

Engine = Callable[[Search, int, Tell], None]
"""Tries so many settings of a search, and tells of each."""


def tune(
    corpus: Corpus,
    stores: Mapping[str, Path],
    experiment: Experiment | None = None,
    *,
    trials: int = 20,
    engine: Engine | None = None,
    out: Path | None = None,
) -> TuneResult:
    """Search the settings of `SPACE` on the training part of one fold.

    Each trial trains on the training part less whole dialogs and is scored by the best UA on these
    (`split.development`), so the fold's test score stays an honest one.

    Args:
        corpus: A prepared corpus.
        stores: Feature file by modality.
        experiment: The settings that are not searched. Its fold (by default the first) is used, and its first seed for
            the search and every training; its model's config, selection and name are not.
        trials: Number of settings tried.
        engine: Tries the settings; by default one after the other, here.
        out: JSON file for all trials; None writes none.

    Raises:
        RunError: Optuna is missing, a setting is out of range, or there is nothing to choose on.
    """
    experiment = experiment or Experiment()
    experiment = replace(experiment, fold=1 if experiment.fold is None else experiment.fold, seeds=experiment.seeds[:1])
    refuse_search(experiment, trials)
    import optuna

    search = Search(corpus, stores, experiment)
    results: list[dict[str, Any]] = []
    epochs: list[int] = []

    def tell(settings: Mapping[str, Any], score: float, epoch: int) -> None:
        results.append({**settings, "UA": score})
        epochs.append(epoch)
        logger.info(f"trial {len(results)} of {trials}: UA {score:.3f} with {json.dumps(settings)}")

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (engine or _try_here)(search, trials, tell)
    best = int(np.argmax([trial["UA"] for trial in results]))
    if out is not None:
        shared = {
            "fusion": experiment.fusion,
            "fold": experiment.fold,
            "protocol": experiment.protocol,
            "seed": experiment.seeds[0],
            "training": asdict(experiment.training),
        }
        write_json(out, {"format": 1, "corpus": corpus.digest, **shared, "trials": results})
    settings = {name: value for name, value in results[best].items() if name != "UA"}
    return TuneResult(results[best]["UA"], epochs[best], search.with_settings(settings), results)


def refuse_search(experiment: Experiment, trials: int) -> None:
    """Refuse settings that no search can begin with; the command does so before it prepares a corpus.

    Raises:
        RunError: Optuna is missing, or something is out of range: all that is, is named.
    """
    if find_spec("optuna") is None:
        raise RunError("Tuning needs Optuna, which isn't installed: run `pip install 'gia-mic[tune]'`.")
    fusions.find_fusion(experiment.fusion)
    problems = experiment.training.problems()
    if trials < 1:
        problems.append(f"{trials} trials are none: give at least 1")
    if problems:
        raise RunError(f"Tuning can't begin: {'; '.join(problems)}.")


def _typed_options(experiment: Experiment) -> dict[str, Any]:
    """Return what can be typed of an experiment and isn't searched, by name."""
    return {"fusion": experiment.fusion, "protocol": experiment.protocol, **asdict(experiment.training)}


def _try_here(search: Search, trials: int, tell: Tell) -> None:
    """Try settings one after the other."""
    import optuna

    score = search.scorer()

    def objective(trial: Any) -> float:
        settings = {name: trial.suggest_categorical(name, values) for name, values in SPACE.items()}
        ua, epoch = score(settings)
        tell(settings, ua, epoch)
        return ua

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=search.experiment.seeds[0])
    )
    study.optimize(objective, n_trials=trials)
