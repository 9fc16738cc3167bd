"""Turns numbers into figures for papers, drawn by matplotlib in one style.

They are as wide as a column or as a page of two. Colours are those of Okabe and Ito (Color Universal Design, 2008),
which also those tell apart who see red or green badly; models differ by their markers as well. There is no title, as a
paper's caption says what is shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gia_mic.extract.errors import RunError
from gia_mic.extract.files import replacing
from gia_mic.report.statistics import Bin, Interval

__all__ = [
    "FORMATS",
    "MOST_LINES",
    "IntervalLine",
    "Panel",
    "confusion",
    "curves",
    "differences",
    "intervals",
    "of_each",
    "reliability",
    "save",
    "scatter",
    "short",
    "style",
]

FORMATS = ("pdf", "svg")

COLUMN, PAGE = 3.15, 6.69
"""Width of a column and of a page with two, in inches: 80 and 170 mm, as at INTERSPEECH; other venues' are wider."""

BLUE, VERMILLION, GREY, FAINT = "#0072B2", "#D55E00", "#595959", "#A6A6A6"
COLOURS = (BLUE, VERMILLION, "#009E73", "#CC79A7")
MARKERS = ("o", "s", "^", "D")
MOST_LINES = len(COLOURS)
"""Models that one figure can tell apart."""

SMALLEST_SHARE = 0.02
"""Part of the answers that a bin of confidence has at least to be shown."""

LONGEST = 28
"""Letters of a name, of which a longer one loses its middle."""

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.02,
    "font.family": ["STIXGeneral", "DejaVu Sans"],  # both come with matplotlib, the first beside Times
    "font.size": 8,
    "legend.borderpad": 0.0,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "gia-mic",
    "text.parse_math": False,
    "xtick.labelsize": 7.5,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 7.5,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
}

Figure = Any
"""A `matplotlib.figure.Figure`; matplotlib is an extra, and is only loaded to draw."""


@dataclass(frozen=True)
class IntervalLine:
    """A line of a figure of intervals, in the unit of its axis.

    Attributes:
        name: Name of the model.
        value: What the interval is of; NaN where there is nothing to show.
        interval: The interval.
        folds: The same of each fold.
        ceiling: Best possible value; None where it isn't known.
        strong: Whether it stands out; faint otherwise.
    """

    name: str
    value: float
    interval: Interval
    folds: Sequence[float] = ()
    ceiling: float | None = None
    strong: bool = True


@dataclass(frozen=True)
class Panel:
    """Lines over epochs.

    Attributes:
        label: What the values are, with their unit.
        lines: Values by epoch of each model.
        dashed: The same on the part of the corpus that chooses the epoch, of the models that have one.
        part: Name of that part: dev or test.
    """

    label: str
    lines: Mapping[str, Sequence[float]]
    dashed: Mapping[str, Sequence[float]] = field(default_factory=dict)
    part: str = ""


@contextmanager
def style() -> Iterator[None]:
    """Draw and save in the style of this module, whatever the user's own is.

    Raises:
        RunError: matplotlib isn't installed.
    """
    try:
        import matplotlib.style
    except ImportError as error:
        raise RunError("Figures need matplotlib, which isn't installed: pip install 'gia-mic[figures]'.") from error
    with matplotlib.style.context(["default", STYLE]):
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the same figure always gives the same bytes.

    Args:
        figure: What to write.
        path: File whose suffix is one of `FORMATS`.

    Raises:
        StoreError: The file can't be written.
    """
    form = path.suffix[1:]
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}[form]
    with replacing(path) as temporary:
        figure.savefig(temporary, format=form, metadata=metadata)


def confusion(shares: NDArray[np.float64], names: Sequence[str]) -> Figure:
    """Return a confusion matrix.

    Args:
        shares: (C, C) part of each true class that is answered as each class; NaN where the class never occurs.
        names: Names of the classes.
    """
    from matplotlib.colors import LinearSegmentedColormap

    C = len(names)
    width = COLUMN if C <= 7 else PAGE
    figure, axes = _figure(width, 0.82 * width)
    colours = LinearSegmentedColormap.from_list("blues", ["#FFFFFF", BLUE])
    axes.pcolormesh(np.nan_to_num(shares), cmap=colours, vmin=0, vmax=1, edgecolors="#FFFFFF", linewidth=0.8)
    for row, column in np.ndindex(C, C):
        share = shares[row, column]
        text, colour = "—" if np.isnan(share) else f"{100 * share:.0f}", "#FFFFFF" if share > 0.55 else "#000000"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, size=7.5 if C <= 16 else 5)
    ticks, texts = np.arange(C) + 0.5, [short(name) for name in names]
    turned = sum(map(len, texts)) > 13 * width
    axes.set_xticks(ticks, texts, rotation=40 if turned else 0, ha="right" if turned else "center")
    axes.set_yticks(ticks, texts)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def reliability(models: Mapping[str, Sequence[Bin]]) -> Figure:
    """Return how often answers of each confidence are right, above how many have it; at most `MOST_LINES` models.

    Where too few answers have a confidence, how many of them are right is chance, and isn't shown.
    """
    figure = _empty(COLUMN, 3.3)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 100], [0, 100], color=GREY, linewidth=0.7, dashes=(4, 3))
    for (name, bins), colour, marker in zip(models.items(), COLOURS, MARKERS, strict=False):
        total = sum(one.count for one in bins)
        filled = [one for one in bins if one.count >= SMALLEST_SHARE * total]
        upper.plot(
            [100 * one.confidence for one in filled],
            [100 * one.accuracy for one in filled],
            color=colour,
            marker=marker,
            clip_on=False,
            label=short(name),
        )
        edges = [100 * edge for edge in (*(one.low for one in bins), bins[-1].high)]
        lower.stairs([100 * one.count / total for one in bins], edges, color=colour)
    upper.set(xlim=(0, 100), ylim=(0, 100), ylabel="correct (%)")
    lower.set(xlabel="confidence (%)", ylabel="answers (%)")
    if len(models) > 1:
        upper.legend(loc="upper left", borderaxespad=0.6)
    return figure


def intervals(lines: Sequence[IntervalLine], label: str, *, pooled: str) -> Figure:
    """Return a line a model with its value, interval, folds and ceiling; `pooled` says what value and interval are."""
    figure, axes = _lines_of(lines, label)
    for row, line in enumerate(lines):
        axes.plot(line.folds, [row] * len(line.folds), ".", color=FAINT, markersize=4, zorder=1)
        axes.hlines(row, line.interval.low, line.interval.high, color=BLUE, linewidth=1.3)
        axes.plot(line.value, row, "o", color=BLUE)
        if line.ceiling is not None:
            axes.plot(line.ceiling, row, "|", color=VERMILLION, markersize=9, markeredgewidth=1.3)
    handles = [_handle(pooled, BLUE, "o", "-")]
    handles += [_handle("each fold", FAINT, ".")] if any(len(line.folds) > 1 for line in lines) else []
    handles += [_handle("ceiling", VERMILLION, "|")] if any(line.ceiling is not None for line in lines) else []
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), columnspacing=1.2, handletextpad=0.5)
    return figure


def differences(lines: Sequence[IntervalLine], label: str) -> Figure:
    """Return the interval of each model's difference from another one, faint where it could be chance."""
    figure, axes = _lines_of(lines, label)
    axes.axvline(0, color=GREY, linewidth=0.7, dashes=(4, 3), zorder=0)
    for row, line in enumerate(lines):
        colour = BLUE if line.strong else GREY
        axes.hlines(row, line.interval.low, line.interval.high, color=colour, linewidth=1.3)
        axes.plot(line.value, row, "o", color=colour, markerfacecolor=colour if line.strong else "#FFFFFF")
    return figure


def curves(panels: Sequence[Panel]) -> Figure:
    """Return panels side by side of what models reach at each epoch; at most `MOST_LINES` models."""
    figure = _empty(COLUMN if len(panels) == 1 else PAGE, 2.2)
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    colours, markers = (dict(zip(names, looks, strict=False)) for looks in (COLOURS, MARKERS))
    for axes, panel in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        for lines, dashes in ((panel.lines, ()), (panel.dashed, (3, 1.5))):
            for name, values in lines.items():
                marks = {"marker": markers[name], "markevery": max(1, len(values) // 6)}
                axes.plot(range(1, len(values) + 1), values, color=colours[name], dashes=dashes, **marks)
        axes.set(xlabel="epoch", ylabel=panel.label)
        axes.xaxis.get_major_locator().set_params(integer=True)
    handles = [_handle(short(name), colours[name], markers[name], "-") for name in names] if len(names) > 1 else []
    for part in dict.fromkeys(panel.part for panel in panels if panel.dashed):
        handles += [_handle("training", GREY, "", "-"), _handle(part, GREY, "", "--")]
    if handles:
        columns = min(len(handles), MOST_LINES)
        figure.legend(handles=handles, loc="outside upper center", ncols=columns)
    return figure


def of_each(models: Mapping[str, Sequence[float]], names: Sequence[str], label: str) -> Figure:
    """Return the score of each label by each model, a mark each on the label's line; at most `MOST_LINES` models."""
    figure, axes = _figure(COLUMN, 0.75 + 0.19 * len(names))
    rows = np.arange(len(names))
    axes.hlines(rows, 0, 100, color=FAINT, linewidth=0.5, zorder=0)
    for number, (name, values) in enumerate(models.items()):
        axes.plot(values, rows, MARKERS[number], color=COLOURS[number], clip_on=False, label=short(name))
    axes.set(xlim=(0, 100), xlabel=label, ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(rows, [short(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    if len(models) > 1:
        figure.legend(loc="outside upper center", ncols=2, columnspacing=1.2, handletextpad=0.3)
    return figure


def scatter(true: NDArray[np.float64], answers: NDArray[np.float64], low: float, high: float, name: str) -> Figure:
    """Return answers over true scores, with the line that fits them best beside that of perfect answers.

    Args:
        true: (U,) true scores.
        answers: (U,) answers.
        low: Lowest score.
        high: Highest score.
        name: Name of the score.
    """
    figure, axes = _figure(COLUMN, COLUMN)
    margin = 0.02 * (high - low)
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.7, dashes=(4, 3))
    axes.plot(true, answers, ".", color=BLUE, alpha=0.35, markersize=4, markeredgewidth=0)
    if np.ptp(true) > 0:
        slope, intercept = np.polyfit(true, answers, 1)
        ends = np.array([true.min(), true.max()])
        axes.plot(ends, intercept + slope * ends, color=VERMILLION)
    axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal")
    axes.set(xlabel=f"true {short(name)}", ylabel=f"predicted {short(name)}")
    axes.locator_params(nbins=6, steps=[1, 2, 5, 10])
    return figure


def _empty(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = _empty(width, height)
    return figure, figure.subplots()


def _lines_of(lines: Sequence[IntervalLine], label: str) -> tuple[Figure, Any]:
    """Return a figure with a row for each line, the first on top."""
    figure, axes = _figure(COLUMN, 0.75 + 0.19 * len(lines))
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_xlabel(label, loc="right" if len(label) > LONGEST else "center")  # so that a long one isn't cut off
    axes.set_yticks(range(len(lines)), [short(line.name) for line in lines])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#E6E6E6", linewidth=0.5)
    axes.locator_params(axis="x", nbins=6, steps=[1, 2, 5, 10])
    return figure, axes


def _handle(label: str, colour: str, marker: str, line: Any = "") -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker=marker, linestyle=line, label=label)


def short(name: str) -> str:
    """Return a name that leaves room for the rest of a figure.

    >>> short("gia-mic-without-the-generator-and-the-constraint")
    'gia-mic-withou…he-constraint'
    """
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[:half]}…{name[-half + 1 :]}"
