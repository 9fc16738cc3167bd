"""Turns groups of runs into figures for papers: PDF and SVG files, named for what they show.

Each group has a folder, such as `demo-by-session`, with those of these figures that make sense for its target:

    intervals                   score of each model with its interval, its folds and its ceiling
    ablation                    differences from the reference; without one `differences`, from the best model
    learning-curves             loss and score by epoch
    confusion-MODEL             classes, or those with most votes
    reliability                 the same: how often answers of each confidence are right
    labels                      F1 of each label
    scatter-SCORE-MODEL         answers over true scores

Where tables show only the best one of many models in full, so do these.
"""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gia_mic.extract.progress import progress
from gia_mic.fuse.measure import Measure
from gia_mic.report import drawings
from gia_mic.report.breakdown import confusion_shares, in_full
from gia_mic.report.drawings import Figure, IntervalLine, Panel
from gia_mic.report.error_analysis import learning_curves, mean_answers
from gia_mic.report.figures import MARKS, evenly
from gia_mic.report.group import Group
from gia_mic.report.statistics import LEVEL, Interval
from gia_mic.report.table import clean

__all__ = ["write_figures"]

logger = logging.getLogger(__name__)

NO_GLYPH = "missing from font"
"""What matplotlib says of a letter that a font lacks."""


def write_figures(groups: Sequence[Group], folder: Path, reference: str | None = None) -> list[Path]:
    """Write the figures of all groups, and return their paths.

    Args:
        groups: The groups.
        folder: Folder to write a folder for each group to; figures that are there are replaced.
        reference: Run that an ablation compares the others with; None takes the best.

    Raises:
        RunError: matplotlib isn't installed, or a history is broken.
        StoreError: A file can't be written.
    """
    figures: dict[Path, Figure] = {}
    with drawings.style(), warnings.catch_warnings(record=True) as remarks:
        warnings.filterwarnings("always", f".*{NO_GLYPH}")
        for name, group in zip(_file_names([_group_name(group) for group in groups]), groups, strict=True):
            titles, several = zip(*_figures(group, reference), strict=True)
            for title, figure in zip(_file_names(titles), several, strict=True):
                figures |= {folder / name / f"{title}.{form}": figure for form in drawings.FORMATS}
        with progress(len(figures), "figures", "file", leave=False) as bar:
            for path, figure in figures.items():
                drawings.save(figure, path)
                bar.update()
    if any(NO_GLYPH in str(remark.message) for remark in remarks):
        logger.warning("Some letters of the names aren't in the figures' fonts, and are boxes there.")
    return list(figures)


def _figures(group: Group, reference: str | None) -> Iterator[tuple[str, Figure]]:
    """Give the figures of a group with their names."""
    kind, measure = group.target.kind, group.measure
    pairs, _ = in_full(group)
    rows = [group.rows.index(row) for _, row in pairs]
    names = [clean(group.names[row]) for row in rows]
    yield "intervals", _intervals(group)
    if len(group.rows) > 1:
        yield _differences(group, None if reference is None else group.find_row(reference))
    if (panels := _panels(group, rows)) is not None:
        yield "learning-curves", drawings.curves(panels)
    if group.target.one_of_many:
        for name, row in zip(names, rows, strict=True):
            summary = group.rows[row]
            yield f"confusion-{name}", drawings.confusion(confusion_shares(summary), [*map(clean, summary.run.classes)])
        bins = {name: group.evidence[row].bins or () for name, row in zip(names, rows, strict=True)}
        yield "reliability", drawings.reliability(bins)
    elif kind == "labels":
        labels = group.target.names
        f1 = {
            name: [_axis_value(measure, f"F1_{label}", group.rows[row].pooled[f"F1_{label}"]) for label in labels]
            for name, row in zip(names, rows, strict=True)
        }
        yield "labels", drawings.of_each(f1, [*map(clean, labels)], "F1 (%)")
    else:
        for name, row in zip(names, rows, strict=True):
            answers = mean_answers(group.evidence[row])
            chosen = evenly(len(answers.true), MARKS)
            for number, (score, ends) in enumerate(zip(group.target.names, group.target.ranges, strict=True)):
                true, answer = answers.true[chosen, number], answers.mean[chosen, number]
                yield f"scatter-{score}-{name}", drawings.scatter(true, answer, *ends, clean(score))


def _intervals(group: Group) -> Figure:
    measure, primary = group.measure, group.measure.primary
    lines = [
        IntervalLine(
            clean(name),
            _axis_value(measure, primary, row.pooled[primary]),
            _axis_interval(measure, primary, evidence.intervals[primary]),
            [_axis_value(measure, primary, fold.scores[primary]) for fold in row.folds],
            _axis_value(measure, primary, row.run.ceilings[primary]) if primary in row.run.ceilings else None,
        )
        for name, row, evidence in zip(group.names, group.rows, group.evidence, strict=True)
    ]
    return drawings.intervals(lines, _label(measure, primary), pooled=f"pooled, {100 * LEVEL:.0f} % interval")


def _differences(group: Group, reference: int | None) -> tuple[str, Figure]:
    """Return the name and the figure of differences from a reference, or from the best model."""
    measure, primary = group.measure, group.measure.primary
    other = group.best if reference is None else reference
    nothing = Interval(np.nan, np.nan)
    lines = [
        IntervalLine(clean(name), np.nan, nothing)
        if compared is None
        else IntervalLine(
            clean(name),
            _axis_value(measure, primary, compared.difference.value),
            _axis_interval(measure, primary, compared.difference.interval),
            strong=compared.distinguishable,
        )
        for number, (name, compared) in enumerate(zip(group.names, group.against(other), strict=True))
        if number != other
    ]
    title, points = primary.replace("_", " "), " (points)" if primary in measure.in_percent else ""
    label = f"{title} minus that of {drawings.short(clean(group.names[other]))}{points}"
    figure = drawings.differences(lines, label)
    return "differences" if reference is None else "ablation", figure


def _panels(group: Group, rows: Sequence[int]) -> list[Panel] | None:
    """Return the loss and the primary metric by epoch; None where no model has a history."""
    measure, primary = group.measure, group.measure.primary
    histories = {clean(group.names[row]): learning_curves(group.rows[row].run) for row in rows}

    def lines(column: str) -> dict[str, list[float]]:
        return {name: history[column] for name, history in histories.items() if column in history}

    def in_unit(part: str) -> dict[str, list[float]]:
        scores = lines(f"{part}_{primary}")
        return {name: [_axis_value(measure, primary, value) for value in values] for name, values in scores.items()}

    if not (losses := lines("loss")):
        return None
    part = "test" if group.rows[rows[0]].run.select == "test" else "dev"  # a table has runs of one of them alone
    chosen, train = in_unit(part), in_unit("train")
    label = _label(measure, primary)
    scores = [Panel(label if chosen else f"training {label}", train, chosen, part)] if train else []
    return [Panel("training loss", losses), *scores]


def _label(measure: Measure, name: str) -> str:
    title = name.replace("_", " ")
    return f"{title} (%)" if name in measure.in_percent else title


def _axis_value(measure: Measure, name: str, value: float | None) -> float:
    """Return the value of a metric in the unit of its axis; NaN where there is none."""
    return np.nan if value is None else 100 * value if name in measure.in_percent else value


def _axis_interval(measure: Measure, name: str, interval: Interval) -> Interval:
    return Interval(*(_axis_value(measure, name, end) for end in (interval.low, interval.high)))


def _group_name(group: Group) -> str:
    target = "" if group.target.kind == "label" else f"-{group.target.name}"
    caveat = f"-{group.caveat}" if group.caveat else ""
    return f"{group.corpus}{target}-by-{group.protocol}{caveat}"


def _file_names(names: Sequence[str]) -> list[str]:
    """Return names that will do for files, numbered where several come out the same.

    >>> _file_names(["scatter-valence-a/b", "scatter-valence-a:b"])
    ['scatter-valence-a-b', 'scatter-valence-a-b-2']
    """
    files: list[str] = []
    for name in names:
        file, number = (stem := re.sub(r"[^\w.]+", "-", name).strip("-.")), 1
        while file.lower() in map(str.lower, files):  # some file systems don't tell A from a
            number += 1
            file = f"{stem}-{number}"
        files.append(file)
    return files
