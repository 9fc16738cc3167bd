"""Hands trained runs to what people compare runs in: TensorBoard, Weights & Biases and MLflow.

A run is handed over when it is trained: its settings, a row for each epoch and its scores on the test part. Where that
goes is up to each program's own settings; without any, nothing leaves the machine.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from gia_mic.extract.errors import RunError, first_line

__all__ = ["LOGS", "LoggedRun", "need_logs", "write_logs"]

_LOCK = Lock()
"""Runs are trained side by side, but handed over one by one."""


@dataclass(frozen=True)
class LoggedRun:
    """A trained run.

    Attributes:
        run_dir: Its folder, `<name>/fold-<k>/seed-<n>`.
        config: Its settings, as its `config.json` has them.
        history: Its epochs, each with its number as `epoch`.
        scores: Its scores on the test part by name, of which those that are one number are shown. Empty where it
            couldn't be tested.
    """

    run_dir: Path
    config: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    scores: Mapping[str, Any]

    @property
    def group(self) -> str:
        """Name that all folds and seeds of the model share."""
        return self.run_dir.parts[-3]

    @property
    def name(self) -> str:
        """Name of the run, with its fold and seed."""
        return "/".join(self.run_dir.parts[-3:])

    def epochs(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Give the number of each epoch, from 1, and its values by name."""
        for row in self.history:
            yield row["epoch"], {name: value for name, value in row.items() if name != "epoch"}

    def tested(self) -> dict[str, float]:
        """Return the scores on the test part, such as `tested_UA`: `test_UA` is what an epoch was chosen by."""
        return {f"tested_{name}": float(value) for name, value in self.scores.items() if isinstance(value, float)}


def _to_tensorboard(run: LoggedRun) -> None:
    """Write events into the run's folder; `tensorboard --logdir runs` shows all runs side by side."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run.run_dir)) as writer:
        for epoch, values in run.epochs():
            for name, value in values.items():
                writer.add_scalar(name, value, epoch)


def _to_wandb(run: LoggedRun) -> None:
    """Make a run of Weights & Biases: online only where WANDB_MODE says so, and beside a run that the caller has."""
    import wandb

    with wandb.init(
        mode=os.environ.get("WANDB_MODE") or "offline",
        group=run.group,
        name=run.name,
        config=dict(run.config),
        reinit="create_new",
        settings=wandb.Settings(console="off", silent=True),
    ) as tracked:
        for epoch, values in run.epochs():
            tracked.log(values, step=epoch)
        tracked.summary.update(run.tested())


def _to_mlflow(run: LoggedRun) -> None:
    """Make a run of MLflow, beside or below one that the caller has."""
    import mlflow

    with mlflow.start_run(run_name=run.name, nested=True, tags={"group": run.group}):
        mlflow.log_params(dict(_flat(run.config)))
        for epoch, values in run.epochs():
            mlflow.log_metrics(values, step=epoch)
        mlflow.log_metrics(run.tested())


@dataclass(frozen=True)
class _Log:
    """One of the programs.

    Attributes:
        title: Its own name.
        module: The module that it needs, which the extra of the same name as the log brings.
        write: Hands over a run.
        private: Variable of the environment, and its value, by which the program tells its makers nothing; a user's own
            value stays.
    """

    title: str
    module: str
    write: Callable[[LoggedRun], None]
    private: tuple[str, str] | None = None


LOGS = {
    "tensorboard": _Log("TensorBoard", "torch.utils.tensorboard", _to_tensorboard),
    "wandb": _Log("Weights & Biases", "wandb", _to_wandb, ("WANDB_ERROR_REPORTING", "false")),
    "mlflow": _Log("MLflow", "mlflow", _to_mlflow, ("MLFLOW_DISABLE_TELEMETRY", "true")),
}
"""The programs by the name that `--log` takes."""


def need_logs(names: Sequence[str]) -> None:
    """Import what is needed to log.

    Raises:
        RunError: There is no such log, or its package isn't installed.
    """
    for name in names:
        if name not in LOGS:
            raise RunError(f"There is no log {name!r}: choose of {', '.join(LOGS)}.")
        log = LOGS[name]
        if log.private is not None:
            os.environ.setdefault(*log.private)
        try:
            import_module(log.module)
        except ImportError:
            raise RunError(
                f"{log.title} isn't installed: run `pip install 'gia-mic[{name}]'`, or go without --log {name}."
            ) from None


def write_logs(names: Sequence[str], run: LoggedRun) -> None:
    """Hand a run over to each of some logs.

    Raises:
        RunError: One of them refused it.
    """
    for name in names:
        try:
            with _LOCK:
                LOGS[name].write(run)
        except Exception as error:
            raise RunError(
                f"{run.run_dir}: the run is trained, but {LOGS[name].title} refused it ({first_line(error)}): set it "
                f"right, or run the same command without --log {name} to go on."
            ) from error


def _flat(entries: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Give the values of nested entries, each by its path.

    >>> dict(_flat({"seed": 1, "training": {"epochs": 3}}))
    {'seed': 1, 'training.epochs': 3}
    """
    for name, value in entries.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
