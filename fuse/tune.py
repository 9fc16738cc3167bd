"""Turns the training part of one fold into settings that do better on a part of it; the test part is never looked at.

The search is Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), seeded; Optuna comes with the extra
`gia-mic[tune]`.
"""

import json
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
from gia_mic.fuse.data import read
from gia_mic.fuse.models import registry as fusions
from gia_mic.fuse.train import fit, prepare_cpu, rounds_frames, steps_per_epoch

__all__ = ["Engine", "Found", "Search", "refuse_search", "tune"]


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        ua: Best UA on the part of the training that was set apart.
        epoch: Epoch at which it was reached.
        fusion: Name of the fusion.
        protocol: What makes the folds.
        training: How to train.
        model: The fusion's config.
        trials: Settings and score of each trial, in order.
    """

    ua: float
    epoch: int
    fusion: str
    protocol: str
    training: TrainingConfig
    model: Any
    trials: list[dict[str, Any]]

    def options(self) -> str:
        """Return the best settings as options of `mer fuse-train`: those searched, and others than the defaults.

        Without `patience`: by default the epoch isn't chosen there, so nothing stops early.
        """
        best = max(self.trials, key=lambda trial: trial["UA"])
        usual = {"fusion": "gia-mic", "protocol": "session", **asdict(TrainingConfig(patience=self.training.patience))}
        given = {"fusion": self.fusion, "protocol": self.protocol, **asdict(self.training)}
        chosen = {name: value for name, value in given.items() if value != usual[name]}
        chosen |= {name: value for name, value in best.items() if name != "UA"}
        flags = {True: "--{}", False: "--no-{}"}
        return " ".join(
            flags[value].format(option) if isinstance(value, bool) else f"--{option} {value}"
            for option, value in ((name.replace("_", "-"), value) for name, value in chosen.items())
        )


@dataclass(frozen=True)
class Search:
    """What every trial of a search has in common.

    Attributes:
        corpus: A prepared corpus.
        stores: Feature file by modality.
        fold: The fold whose training part is used, from 1.
        seed: Of the search and of every training.
        fusion: Name of the fusion.
        protocol: What makes the folds.
        training: The settings that are not searched.
    """

    corpus: Corpus
    stores: Mapping[str, Path]
    fold: int
    seed: int
    fusion: str
    protocol: str
    training: TrainingConfig

    def scorer(self) -> Callable[[Mapping[str, Any]], tuple[float, int]]:
        """Read the frames, and return what gives the best UA of some settings, and the epoch that had it."""
        found = split.choose(split.folds(self.corpus, self.protocol), self.fold)[0]
        rows, apart = split.development(self.corpus, found)
        opened = {name: stores_on_disk.open_store(path) for name, path in self.stores.items()}
        data = read(
            self.corpus,
            opened,
            speech_stride=self.training.speech_stride,
            layer_weights=self.training.layer_weights,
            rounded=rounds_frames(self.training, torch.device("cpu")),
        )
        entry = fusions.find(self.fusion)
        prepare_cpu()

        def score(chosen: Mapping[str, Any]) -> tuple[float, int]:
            how, config = self.settings(chosen)
            result = fit(
                lambda: entry.make(data.dims, len(self.corpus.classes), config, data.layers),
                data,
                rows,
                how,
                seed=self.seed,
                steps=steps_per_epoch([len(rows)], how.batch_size),
                choose=apart,
            )
            return float(np.max([row["dev_UA"] for row in result.history])), result.epoch

        return score

    def settings(self, chosen: Mapping[str, Any]) -> tuple[TrainingConfig, Any]:
        """Return how to train, and the fusion's config."""
        how = replace(self.training, **{name: value for name, value in chosen.items() if name != "dropout"})
        return how, fusions.find(self.fusion).config(dropout=chosen["dropout"])


Engine = Callable[[Search, int, Callable[[Mapping[str, Any], float, int], None]], None]
"""Tries so many settings of a search, and tells of each its score and epoch."""


def tune(
    corpus: Corpus,
    stores: Mapping[str, Path],
    *,
    fold: int = 1,
    trials: int = 20,
    seed: int = 0,
    fusion: str = "gia-mic",
    protocol: str = "session",
    training: TrainingConfig | None = None,
    engine: Engine | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Found:
    """Search the settings of `SPACE` on the training part of one fold.

    Each trial trains on the training part less whole dialogs and is scored by the best UA on these
    (`split.development`), so the fold's test score stays an honest one.

    Args:
        corpus: A prepared corpus.
        stores: Feature file by modality.
        fold: The fold whose training part is used, from 1.
        trials: Number of settings tried.
        seed: Of the search and of every training.
        fusion: Name of the fusion.
        protocol: What makes the folds.
        training: The settings that are not searched; None takes the defaults.
        engine: Tries the settings; by default one after the other, here.
        out: JSON file for all trials; None writes none.
        say: Takes a line for each trial.

    Raises:
        RunError: Optuna is missing, a setting is out of range, or there is nothing to choose on.
    """
    training = training or TrainingConfig()
    refuse_search(fusion, training, trials)
    import optuna

    search = Search(corpus, stores, fold, seed, fusion, protocol, training)
    done: list[dict[str, Any]] = []
    epochs: list[int] = []

    def tell(chosen: Mapping[str, Any], score: float, epoch: int) -> None:
        done.append({**chosen, "UA": score})
        epochs.append(epoch)
        say(f"trial {len(done)} of {trials}: UA {score:.3f} with {json.dumps(chosen)}")

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (engine or _try_here)(search, trials, tell)
    best = int(np.argmax([trial["UA"] for trial in done]))
    if out is not None:
        same = {"fusion": fusion, "fold": fold, "protocol": protocol, "seed": seed, "training": asdict(search.training)}
        write_json(out, {"format": 1, "corpus": corpus.digest, **same, "trials": done})
    how, config = search.settings({name: value for name, value in done[best].items() if name != "UA"})
    return Found(done[best]["UA"], epochs[best], fusion, protocol, how, config, done)


def refuse_search(fusion: str, training: TrainingConfig, trials: int) -> None:
    """Refuse settings that no search can begin with; the command does so before it prepares a corpus.

    Raises:
        RunError: Optuna is missing, or something is out of range: all that is, is named.
    """
    if find_spec("optuna") is None:
        raise RunError("Tuning needs Optuna, which isn't installed: run `pip install 'gia-mic[tune]'`.")
    fusions.find(fusion)
    problems = training.problems()
    if trials < 1:
        problems.append(f"{trials} trials are none: give at least 1")
    if problems:
        raise RunError(f"Tuning can't begin: {'; '.join(problems)}.")


def _try_here(search: Search, trials: int, tell: Callable[[Mapping[str, Any], float, int], None]) -> None:
    import optuna

    score = search.scorer()

    def objective(trial: Any) -> float:
        chosen = {name: trial.suggest_categorical(name, values) for name, values in SPACE.items()}
        found, epoch = score(chosen)
        tell(chosen, found, epoch)
        return found

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=search.seed))
    study.optimize(objective, n_trials=trials)
