"""Fits metrics that others wrote to the measure of a target.

An installed package names one by an entry point of the group `gia_mic.metrics`, whose name is the metric's. It is a
class that says which kinds of targets it judges and has two methods: `sums` gives what each utterance adds, and `value`
turns the sums over utterances into the metric. So folds, of which it is worked out, may be put together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gia_mic.extract import plugins
from gia_mic.extract.errors import RunError, what_failed
from gia_mic.extract.plugins import Kind, Plugin
from gia_mic.extract.targets import KINDS, Target
from gia_mic.fuse.measure.metric import Measure, Metric, plain

__all__ = ["METRIC", "OwnMetric", "check_metric", "own_metrics", "with_own"]

Numbers = NDArray[np.float64]

METRIC = Kind(
    noun="a metric",
    group="gia_mic.metrics",
    error=RunError,
    wanted="class with sums and a value",
    several="classes",
    suits=lambda value: isinstance(value, type) and (hasattr(value, "sums") or hasattr(value, "value")),
)

TRIAL = 7
"""Utterances that a metric is tried on."""


@dataclass(frozen=True, eq=False)
class OwnMetric:
    """A metric that others wrote; each is equal to itself alone, as an object of theirs may have no hash.

    Attributes:
        name: What it is called in tables.
        plugin: Its class.
        judge: An object of that class.
    """

    name: str
    plugin: Plugin
    judge: Any

    @property
    def entry(self) -> Metric:
        """What is known of it."""
        percent, lower = (getattr(self.judge, name, False) for name in ("percent", "lower_is_better"))
        about = f"{plugins.about(self.plugin)} ({self.plugin.source.origin})"
        return Metric(about, None, percent=bool(percent), lower_is_better=bool(lower))

    def of(self, true: Numbers, answers: Numbers) -> float:
        """Return the metric of targets and answers, (B, K) each; NaN where there is nothing to judge.

        Raises:
            RunError: It fails, or gives something else.
        """
        try:
            rows = np.asarray(self.judge.sums(true.copy(), answers.copy()), dtype=float)
            if rows.ndim != 2 or len(rows) != len(true):
                raise ValueError(f"sums gives the shape {rows.shape} for {len(true)} utterances, not ({len(true)}, S)")
            if not np.isfinite(rows).all():
                raise ValueError("sums gives NaN or infinity")
            value = np.asarray(self.judge.value(rows.sum(axis=0)), dtype=float)
            if value.shape != () or np.isinf(value):
                raise ValueError(f"value gives {value.tolist()}, not one number")
        except Exception as error:
            why = what_failed(error, plugins.file_of(self.plugin.make))
            raise RunError(
                f"The metric {self.name} of {self.plugin.source.origin} fails ({why}): correct it, or uninstall it."
            ) from error
        return float(value)


@lru_cache
def own_metrics(kind: str) -> tuple[OwnMetric, ...]:
    """Return the metrics of installed packages that judge a kind of target.

    Raises:
        RunError: One can't be loaded, lacks something, or two have one name.
    """
    metrics = [
        check_metric(name, plugins.load_point(METRIC, point)) for name, point in plugins.installed(METRIC).items()
    ]
    return tuple(metric for metric in metrics if kind in metric.judge.targets)


def check_metric(name: str, plugin: Plugin) -> OwnMetric:
    """Return a metric, tried on random answers to each kind of target that it judges.

    Raises:
        RunError: It lacks something, fails, or depends on the order of the utterances.
    """
    where = f"{plugin.source.class_name} of {plugin.source.origin}"
    try:
        judge = plugin.make()
    except Exception as error:
        why = what_failed(error, plugins.file_of(plugin.make))
        raise RunError(f"The metric {where} can't be made ({why}): correct it, or uninstall it.") from error
    lacking = [method for method in ("sums", "value") if not callable(getattr(judge, method, None))]
    if lacking:
        raise RunError(f"The metric {where} has no method {lacking[0]}: write it, or uninstall it.")
    kinds = getattr(judge, "targets", None)
    if not isinstance(kinds, tuple) or not kinds or not set(kinds) <= set(KINDS):
        raise RunError(f"The metric {where} has the targets {kinds!r}: write a tuple of some of {', '.join(KINDS)}.")
    metric = OwnMetric(name, plugin, judge)
    for kind in kinds:
        true, answers = _trial(kind)
        value, turned = metric.of(true, answers), metric.of(true[::-1], answers[::-1])
        if not np.isclose(value, turned, equal_nan=True):
            raise RunError(f"The metric {where} depends on the order of utterances: correct it, or uninstall it.")
    return metric


def with_own(measure: type[Measure], metrics: tuple[OwnMetric, ...], target: Target) -> Measure:
    """Return the measure of a target with metrics that others wrote.

    Raises:
        RunError: One has the name of one of ours.
    """
    if not metrics:
        return measure(target)
    ours = measure(target).table
    for metric in metrics:
        if metric.name in ours:
            raise RunError(
                f"The metric {metric.name} of {metric.plugin.source.origin} is called as one of ours: rename its entry "
                "point, or uninstall it."
            )
    return _extended(measure, metrics)(target)


@lru_cache
def _extended(measure: type[Measure], metrics: tuple[OwnMetric, ...]) -> type[Measure]:
    class Extended(measure):  # type: ignore[misc,valid-type]
        """A measure with metrics that others wrote."""

        own = tuple(metric.name for metric in metrics)

        @property
        def table(self) -> Mapping[str, Metric]:
            return {**super().table, **{metric.name: metric.entry for metric in metrics}}

        def whole(self, true: ArrayLike, answers: ArrayLike) -> dict[str, float | None]:
            checked = self.checked(true, answers)
            return super().whole(*checked) | {metric.name: plain(metric.of(*checked)) for metric in metrics}

    return Extended


def _trial(kind: str) -> tuple[Numbers, Numbers]:
    """Return targets and answers (B, K) of a kind."""
    generator = np.random.default_rng(0)
    if kind == "scores":
        return generator.normal(size=(TRIAL, 1)), generator.normal(size=(TRIAL, 1))
    shares, answers = generator.dirichlet(np.ones(3), (2, TRIAL))
    if kind == "votes":
        return shares, answers
    if kind == "labels":
        return (shares > 0.3).astype(float), answers
    return np.eye(3)[shares.argmax(axis=1)], answers
