"""Turns numbers into inline SVG, coloured by the page's style sheet so that light and dark both work."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from gia_mic.report.statistics import Bin, Interval

__all__ = ["MARKS", "axis", "curves", "interval", "reliability", "residuals", "scale", "scatter"]

WIDTH, HEIGHT = 240, 24
"""Pixels of an interval."""
SIDE = 220
"""Pixels of a diagram's plot, which is square for reliability."""
MARGIN = 34
MARKS = 2000
"""Most marks of a scatter, one an utterance; of more utterances some are left out, evenly spaced."""

Show = Callable[[float], str]
"""Turns a score into its text."""


def scale(scores: Sequence[float], lowest: float = 0.0) -> tuple[float, float]:
    """Return a stretch of `lowest` … 1, in whole tenths, that holds all scores; correlations reach down to −1.

    >>> scale([0.62, 0.78])
    (0.6, 0.8)
    >>> scale([1.0])
    (0.9, 1.0)
    """
    low, high = math.floor(min(scores) * 10 + 1e-9) / 10, math.ceil(max(scores) * 10 - 1e-9) / 10
    low = min(max(lowest, low), 0.9)
    return low, min(1.0, max(high, low + 0.1))


def axis(low: float, high: float, percent: bool = True) -> Markup:
    """Return the axis over a column of intervals."""
    step = 0.1 if high - low <= 0.5 else 0.2 if high - low <= 1 else 0.5
    first = math.ceil(low / step - 1e-6) * step if step > 0.2 else low
    ticks = [first + step * number for number in range(math.floor((high - first) / step + 1e-6) + 1)]
    labels = "".join(
        f'<text x="{_x(tick, low, high):.1f}" y="15" text-anchor="middle">'
        f"{f'{100 * tick:.0f}' if percent else _plain(round(tick, 1))}</text>"
        for tick in ticks
    )
    return _svg(WIDTH, HEIGHT, labels, "axis, percent" if percent else "axis", "axis")


def interval(
    value: float, bounds: Interval, folds: Sequence[float], ceiling: float | None, low: float, high: float, show: Show
) -> Markup:
    """Return a score with its interval as a line, its folds as dots and its ceiling as a mark; `show` words numbers."""
    middle = HEIGHT / 2

    def x(score: float) -> str:
        return f"{_x(min(max(score, low), high), low, high):.1f}"

    parts = [
        f'<line class="rule" x1="{x(low)}" x2="{x(high)}" y1="{middle}" y2="{middle}"/>',
        *(f'<circle class="fold" cx="{x(score)}" cy="{middle}" r="2.5"/>' for score in folds),
        f'<line class="interval" x1="{x(bounds.low)}" x2="{x(bounds.high)}" y1="{middle}" y2="{middle}"/>',
        f'<circle class="value" cx="{x(value)}" cy="{middle}" r="4.5"/>',
    ]
    label = f"{show(value)}, interval {show(bounds.low)} to {show(bounds.high)}"
    if ceiling is not None:
        parts.append(f'<line class="ceiling" x1="{x(ceiling)}" x2="{x(ceiling)}" y1="4" y2="{HEIGHT - 4}"/>')
        label += f", ceiling {show(ceiling)}"
    return _svg(WIDTH, HEIGHT, "".join(parts), label, "interval")


def reliability(bins: Sequence[Bin]) -> Markup:
    """Return how often predictions of each confidence are right, beside the diagonal of a perfectly honest model."""
    total = sum(entry.count for entry in bins) or 1
    parts = [_frame("confidence", "right"), f'<line class="honest" {_line(0, 0, 1, 1)}/>']
    for entry in bins:
        if entry.count:
            x, width = MARGIN + SIDE * entry.low, SIDE * (entry.high - entry.low)
            height = SIDE * entry.accuracy
            share = 0.35 + 0.65 * min(1.0, 3 * entry.count / total)
            parts.append(
                f'<rect class="bar" x="{x + 1:.1f}" y="{4 + SIDE - height:.1f}" width="{width - 2:.1f}" '
                f'height="{height:.1f}" opacity="{share:.2f}"><title>confidence {100 * entry.confidence:.0f} %, '
                f"right {100 * entry.accuracy:.0f} %, {entry.count:.0f} predictions</title></rect>"
            )
    return _svg(SIDE + MARGIN + 8, SIDE + MARGIN + 8, "".join(parts), "reliability diagram", "diagram")


def scatter(
    true: NDArray[np.float64], answers: NDArray[np.float64], low: float, high: float, most: int = MARKS
) -> Markup:
    """Return answers over what is true, beside the diagonal of answers that are all right.

    Args:
        true: (U,) true scores.
        answers: (U,) answers.
        low: Lowest score of both axes.
        high: Highest one.
        most: Most marks.
    """
    ends = {"first": _plain(low), "last": _plain(high)}
    parts = [
        _frame("true", "answer", **ends, low=ends["first"], top=ends["last"], turned=True),
        f'<line class="honest" {_line(0, 0, 1, 1)}/>',
        _marks((true - low) / (high - low), (answers - low) / (high - low), most),
    ]
    return _svg(SIDE + MARGIN + 8, SIDE + MARGIN + 8, "".join(parts), "answers over true scores", "diagram")


def residuals(
    true: NDArray[np.float64], answers: NDArray[np.float64], low: float, high: float, most: int = MARKS
) -> Markup:
    """Return by how much answers are too high or too low, over what is true; `scatter` says what the arguments are."""
    errors = answers - true
    reach = _next_digit(max(float(np.abs(errors).max()), (high - low) / 100))
    ends = {"first": _plain(low), "last": _plain(high), "low": _plain(-reach), "top": f"+{_plain(reach)}"}
    parts = [
        _frame("true", "error", **ends, turned=True),
        f'<line class="honest" {_line(0, 0.5, 1, 0.5)}/>',
        _marks((true - low) / (high - low), (errors / reach + 1) / 2, most),
    ]
    return _svg(SIDE + MARGIN + 8, SIDE + MARGIN + 8, "".join(parts), "errors over true scores", "diagram")


def curves(lines: Mapping[str, Sequence[float]], high: float | None = None, percent: bool = True) -> Markup:
    """Return lines over epochs, from 0 to `high` or their largest value; the legend stands where they don't end."""
    top = high or max((value for line in lines.values() for value in line), default=1) or 1
    epochs = max(len(line) for line in lines.values())
    ends_high = any(line[-1] > top / 2 for line in lines.values())
    legend = SIDE - 8 - 16 * (len(lines) - 1) if ends_high else 22
    parts = [
        _frame("epoch", "", last=str(epochs), top=f"{top:.2g}" if high is None or not percent else f"{100 * top:.0f}")
    ]
    for number, (name, line) in enumerate(lines.items()):
        points = " ".join(
            f"{MARGIN + SIDE * epoch / max(1, epochs - 1):.1f},{4 + SIDE * (1 - min(max(value, 0), top) / top):.1f}"
            for epoch, value in enumerate(line)
        )
        parts.append(f'<polyline class="line line-{number % 4}" points="{points}"/>')
        parts.append(
            f'<text class="legend line-{number % 4}" x="{MARGIN + SIDE - 6}" y="{legend + 16 * number}" '
            f'text-anchor="end">{escape(name)}</text>'
        )
    return _svg(SIDE + MARGIN + 8, SIDE + MARGIN + 8, "".join(parts), f"{', '.join(lines)} by epoch", "diagram")


def _frame(
    across: str, up: str, last: str = "100", top: str = "100", first: str = "", low: str = "0", turned: bool = False
) -> str:
    """Return two axes with names, and with labels at both ends; `turned` writes the upright one's name along it."""
    bottom, middle = 4 + SIDE, 4 + SIDE / 2
    turn = f' transform="rotate(-90 {MARGIN - 12} {middle})"' if turned else ""
    place = (
        f'x="{MARGIN - 12}" y="{middle}" text-anchor="middle"'
        if turned
        else f'x="{MARGIN - 6}" y="{middle}" text-anchor="end"'
    )
    return (
        f'<path class="frame" d="M{MARGIN} 4V{bottom}H{MARGIN + SIDE}"/>'
        f'<text x="{MARGIN - 6}" y="14" text-anchor="end">{top}</text>'
        f'<text x="{MARGIN - 6}" y="{bottom}" text-anchor="end">{low}</text>'
        + (f'<text x="{MARGIN}" y="{bottom + 16}" text-anchor="start">{first}</text>' if first else "")
        + f'<text x="{MARGIN + SIDE}" y="{bottom + 16}" text-anchor="end">{last}</text>'
        f'<text x="{MARGIN + SIDE / 2}" y="{bottom + 16}" text-anchor="middle">{across}</text>'
        f"<text {place}{turn}>{up}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    ends = [MARGIN + SIDE * x1, 4 + SIDE * (1 - y1), MARGIN + SIDE * x2, 4 + SIDE * (1 - y2)]
    return 'x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"'.format(*ends)


def _marks(across: NDArray[np.float64], up: NDArray[np.float64], most: int) -> str:
    """Return a mark for each utterance, at places in 0 … 1 of both axes."""
    marked = np.unique(np.linspace(0, len(across) - 1, min(most, len(across))).round().astype(int))
    places = zip(MARGIN + SIDE * np.clip(across[marked], 0, 1), 4 + SIDE * (1 - np.clip(up[marked], 0, 1)), strict=True)
    circles = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in places)
    return f'<g class="marks">{circles}</g>'


def _next_digit(value: float) -> float:
    """Return a number with one digit that isn't below another.

    >>> _next_digit(0.62), _next_digit(2.0)
    (0.7, 2.0)
    """
    step = 10.0 ** math.floor(math.log10(value))
    return round(math.ceil(value / step - 1e-9) * step, 12)


def _plain(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _x(score: float, low: float, high: float) -> float:
    return 12 + (WIDTH - 24) * (score - low) / (high - low)


def _svg(width: float, height: float, inside: str, label: str, kind: str) -> Markup:
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return Markup(f'<svg class="{kind}" {size} role="img" aria-label="{escape(label)}">{inside}</svg>')
