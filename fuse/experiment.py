"""Turns the choices of an experiment into frozen values: what is trained and tested, and how that is carried out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gia_mic.extract.corpus import MODALITIES, Corpus
from gia_mic.fuse.config import TrainingConfig, fusion_name

__all__ = ["Execution", "Experiment", "Search", "Teachers", "default_name"]


@dataclass(frozen=True)
class Search:
    """What chose the settings of an experiment, for the record.

    Attributes:
        search: `trials`, how many settings were tried; `seed`, that drew them; `space`, the values of each setting.
        trials: Settings of each trial, and its score on the inner part of the training part, by the name of the
            target's primary metric, such as UA.
    """

    search: Mapping[str, Any]
    trials: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Teachers:
    """Trained models whose mean answer an experiment learns in the place of its target.

    Attributes:
        run: Name of the run that is distilled.
        by_fold: Run folders of the models that teach each fold; they never saw its test part.
    """

    run: str
    by_fold: Mapping[int, Sequence[Path]]


@dataclass(frozen=True)
class Experiment:
    """What is trained and tested, on whatever corpus: everything that its numbers depend on.

    Attributes:
        fusion: Name of the fusion, as `registry.find_fusion` takes it.
        model: Config of the fusion; None takes the defaults.
        training: Settings of the training.
        protocol: Column of the manifest that makes the folds, one of `config.PROTOCOLS`.
        select: Rule that chooses the epoch, one of `config.SELECTIONS`.
        fold: Number of the fold to test on, from 1; None takes all folds.
        seeds: Seeds, each at least 0; each gives a run for every fold.
        name: Name of the runs; None takes `default_name`.
        allow_shared: Accept folds that share speakers (or scenarios) between training and test.
        inner: Train and test inside each fold's training part alone, see `split.inner_fold`.
        search: What chose the settings; None where nothing did.
        target: What is predicted, as `Corpus.target` takes it; None takes the corpus's default.
        without: Number of a fold whose test part isn't trained on either; None leaves none out.
        whole: Train on the whole corpus and test on nothing, as fold `WHOLE` of `runs/folder.py`.
        teachers: Models to learn from; None learns from the corpus.
    """

    fusion: str = "gia-mic"
    model: Any = None
    training: TrainingConfig = field(default_factory=TrainingConfig)
    protocol: str = "session"
    select: str = "last"
    fold: int | None = None
    seeds: Sequence[int] = (0,)
    name: str | None = None
    allow_shared: bool = False
    inner: bool = False
    search: Search | None = None
    target: str | None = None
    without: int | None = None
    whole: bool = False
    teachers: Teachers | None = None

    def run_name(self, modalities: Sequence[str]) -> str:
        """Return the name of its runs on these modalities."""
        return self.name or default_name(self.fusion, modalities, self.target)

    def on(self, corpus: Corpus) -> "Experiment":
        """Return the same with the target as the corpus calls it, None for its default, and the training's defaults.

        Raises:
            CorpusError: The corpus has no such target.
        """
        target = corpus.target(self.target)
        name = None if target == corpus.target() else target.name
        return replace(self, target=name, training=self.training.of(target))


@dataclass(frozen=True)
class Execution:
    """How an experiment is carried out: nothing that its numbers depend on, but for rounding.

    Attributes:
        device: cpu, cuda or cuda:N; None takes cuda where there is one.
        jobs: Runs trained side by side on the CPU, one thread each; None takes as many as there are cores. The results
            don't depend on it.
        stack: Runs trained as one stack of models; None takes as many on a GPU as its memory has room for, and 1 on the
            CPU, where stacking measured no faster. A stacked run equals the one trained alone within float tolerance.
        memory_gib: Most memory for frames, of the machine or of the GPU; more than that are read from their files, or
            carried to the GPU, batch by batch. None takes all of the machine's, and 60 % of what is free on the GPU.
        logs: Where each trained run is shown too: tensorboard (events in its folder), wandb and mlflow.
        command: Command line that the user typed, for the record; None where there is none.
    """

    device: str | None = None
    jobs: int | None = None
    stack: int | None = None
    memory_gib: float | None = None
    logs: tuple[str, ...] = ()
    command: str | None = None


def default_name(fusion: str, modalities: Sequence[str], target: str | None = None) -> str:
    """Return a run's name: the fusion, the target if it isn't the default, and the modalities' letters if not all.

    >>> default_name("gia-mic", ["speech", "text"]), default_name("late", ["speech"], "valence,arousal")
    ('gia-mic-st', 'late-valence-arousal-s')
    """
    fusion = fusion_name(fusion)
    fusion = fusion if target is None else f"{fusion}-{re.sub('[^A-Za-z0-9._]+', '-', target)}"
    letters = "".join(letter for letter, name in MODALITIES.items() if name in modalities)
    return fusion if len(letters) == len(MODALITIES) else f"{fusion}-{letters}"
