"""Turns scores, and what they are, into the texts of cells, titles and notes."""

import math
from collections.abc import Sequence

from gia_mic.extract.corpus import MODALITIES
from gia_mic.fuse.measure import Measure
from gia_mic.report.summary import MeanStd

__all__ = [
    "about",
    "best_by",
    "mean_std_text",
    "modalities",
    "pair",
    "percent",
    "pooled_names",
    "score_text",
    "unit",
]

MOST_POOLED = 3
"""Metrics of the main table above which only the primary one stands there pooled too."""

ABOUT_CLASSES = {"WA": "correct / all", "UA": "mean of the recalls of the classes"}
"""What the metrics of classes are, in fewer words than their measure has."""


def percent(share: float | None) -> str:
    """Return a fraction as a percentage with one decimal.

    >>> percent(0.8134), percent(None)
    ('81.3', '—')
    """
    return "—" if share is None or math.isnan(share) else f"{100 * share:.1f}"


def score_text(measure: Measure, name: str, value: float | None, signed: bool = False) -> str:
    """Return the value of a metric: a fraction as a percentage with one decimal, any other with three.

    >>> from gia_mic.extract.targets import Target
    >>> from gia_mic.fuse.measure import measure_of
    >>> measure = measure_of(Target("scores", ("valence",), ((1, 5),)))
    >>> score_text(measure, "CCC", 0.61251), score_text(measure, "MAE", -0.5, signed=True)
    ('0.613', '−0.500')
    """
    if value is None or math.isnan(value):
        return "—"
    text = f"{100 * value:+.1f}" if name in measure.in_percent else f"{value:+.3f}"
    if float(text) == 0:
        return text[1:]
    return (text if signed else text.removeprefix("+")).replace("-", "−")


def mean_std_text(measure: Measure, name: str, scores: MeanStd) -> str:
    """Return mean ± std of a metric."""
    mean = score_text(measure, name, scores.mean)
    return mean if scores.std is None else f"{mean} ± {score_text(measure, name, scores.std)}"


def modalities(names: Sequence[str]) -> str:
    """Return the letters of modalities in their places, so that a column of them lines up.

    >>> modalities(["speech", "visual"])
    's · v'
    """
    letters = " ".join(letter if name in names else "·" for letter, name in MODALITIES.items())
    return " ".join([letters, *(name for name in names if name not in MODALITIES.values())])


def unit(measure: Measure, names: Sequence[str]) -> str:
    """Return what follows a title where metrics are in percent."""
    return ", %" if measure.in_percent.issuperset(names) else ""


def best_by(measure: Measure) -> str:
    """Return which value of the primary metric is the best one, such as highest."""
    return "lowest" if measure.primary in measure.lower_is_better else "highest"


def pair(measure: Measure) -> tuple[str, ...]:
    """Return the primary metric and the next one in the main table; the one before it, where it is the last.

    >>> from gia_mic.extract.targets import Target
    >>> from gia_mic.fuse.measure import measure_of
    >>> pair(measure_of(Target("label", ("angry", "sad"))))
    ('WA', 'UA')
    """
    index = measure.headline.index(measure.primary)
    begin = min(index, len(measure.headline) - 2)
    return measure.headline[begin : begin + 2]


def pooled_names(measure: Measure) -> tuple[str, ...]:
    """Return the metrics that stand in a main table pooled too."""
    return measure.headline if len(measure.headline) <= MOST_POOLED else (measure.primary,)


def about(measure: Measure, names: Sequence[str]) -> str:
    """Return what metrics are, a sentence each; those of one class or score alone are clear from the mean's."""
    if measure.target.kind == "label":
        return " ".join(f"{name}: {ABOUT_CLASSES[name]}." for name in names)
    own = tuple(f"_{name}" for name in measure.target.names) if len(measure.target.names) > 1 else ()
    return " ".join(f"{name}: {measure.about[name]}." for name in names if not name.endswith(own))
