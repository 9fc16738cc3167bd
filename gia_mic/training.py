"""Turns what a caller leaves open about a training into what is there, and run folders into a trained run."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gia_mic.extract.corpora import find_or_demo
from gia_mic.extract.corpus import Corpus
from gia_mic.extract.device import slow
from gia_mic.extract.errors import RunError
from gia_mic.extract.run import extract_generated
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.run import train_here
from gia_mic.report.report import Report, read_report

if TYPE_CHECKING:
    from gia_mic.model import Model

__all__ = ["TrainedRun", "choose_engine", "local_device", "ready_corpus", "warn_if_slow"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class TrainedRun:
    """What a training made: the models of its folds and seeds. It prints and shows as its main table.

    Attributes:
        path: Folder of the run, `runs/<corpus>/<name>`.
        run_dirs: Folder of each of its models that was asked for, by fold, then seed.
    """

    path: Path
    run_dirs: tuple[Path, ...]

    def __str__(self) -> str:
        return str(self.report)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.report._repr_html_()

    @cached_property
    def report(self) -> Report:
        """Return the report of its scores."""
        return read_report(self.path, folders=self.run_dirs)

    def load(self, **options: Any) -> "Model":
        """Load it to predict with; `options` are those of `gia_mic.load`."""
        from gia_mic.model import load_model

        return load_model(str(self.path), **options)


def ready_corpus(features: Path, name: str | None) -> Corpus:
    """Return the corpus to train on; one that mer makes itself is made and extracted first where it isn't yet."""
    corpus = find_or_demo(features, name)
    extract_generated(corpus)
    return corpus


def choose_engine(engine: str, address: str | None) -> Callable[..., list[Path]]:
    """Return what trains models: `train_here`, or the same on a Ray cluster.

    Raises:
        RunError: There is no such engine.
    """
    if engine == "local":
        return train_here
    if engine != "ray":
        raise RunError(f"There is no engine {engine!r}: choose local or ray.")
    from gia_mic.fuse.on_ray import train_on_ray

    return partial(train_on_ray, address=address)


def local_device(device: str | None, engine: str) -> str:
    """Return the device of this machine that is named; what a cluster has isn't known here."""
    return device if device and engine == "local" else "cpu"


def warn_if_slow(training: TrainingConfig, engine: str, device: str | None) -> None:
    """Say so where these settings are slow on this machine."""
    if engine == "local" and (line := slow(training.precision, device)):
        logger.warning(line)
