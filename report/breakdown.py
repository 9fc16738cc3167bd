"""Turns a group of runs into tables of each class or score, pooled: their metrics, and confusion."""

import numpy as np
from numpy.typing import NDArray

from gia_mic.report.group import Group
from gia_mic.report.summary import Summary
from gia_mic.report.table import Column, Table
from gia_mic.report.wording import about, best_by, percent, score_text, unit

__all__ = ["confusion_shares", "confusions", "in_full", "of_each", "own_metrics"]

MOST_IN_FULL = 4
"""Up to so many rows get a confusion matrix each; of more only the best one does, outside JSON and HTML."""

MEANS = {"F1": "macro_F1", "AP": "mAP"}
"""How the mean over labels of a metric is called, where it isn't called alike."""


def of_each(group: Group) -> Table:
    """Return the pooled scores of each class or score."""
    if group.target.one_of_many:
        return _recalls(group)
    return _all_metrics(group) if len(group.target.names) == 1 else _of_each_name(group)


def own_metrics(group: Group) -> Table | None:
    """Return the pooled scores by metrics that others wrote; None where there are none."""
    measure = group.measure
    if not measure.own:
        return None
    rows = [
        [name, *(score_text(measure, metric, row.pooled[metric]) for metric in measure.own)]
        for name, row in zip(group.names, group.rows, strict=True)
    ]
    columns = [Column("model"), *(Column(metric, number=True) for metric in measure.own)]
    title = f"Metrics of installed packages, pooled{unit(measure, measure.own)}"
    return Table(title, columns, rows, [" ".join(f"{name}: {measure.about[name]}." for name in measure.own)])


def confusions(group: Group) -> Table | None:
    """Return the confusion matrices, pooled over the folds, one below the other; None where answers aren't classes.

    Of votes the true class is the one with most.
    """
    if not group.target.one_of_many:
        return None
    notes = []
    if group.target.kind == "votes":
        notes.append("true: the class with most votes; where several tie, the utterance counts for each in part.")
    pairs, left_out = in_full(group)
    rows = []
    for name, row in pairs:
        parts = confusion_shares(row)
        for number, label in enumerate(row.run.classes):
            total = sum(row.pooled["confusion"][number])
            shares = dict(zip(row.run.classes, parts[number], strict=True))
            rows.append(
                [
                    name if number == 0 else "",
                    label,
                    f"{total:.0f}",
                    *(percent(shares.get(other)) for other in group.classes),
                ]
            )
    columns = [Column("model"), Column("true"), Column("utterances", number=True)]
    predicted = [Column(label, "predicted as", number=True) for label in group.classes]
    title = "Confusion, pooled, % of the utterances of each true class"
    return Table(title, [*columns, *predicted], rows, [*notes, *left_out])


def confusion_shares(row: Summary) -> NDArray[np.float64]:
    """Return which part of each true class is answered as each class, (C, C), NaN where the class never occurs."""
    counts = np.array(row.pooled["confusion"], dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)


def _recalls(group: Group) -> Table:
    """Return the recall of each class and both means of F1, and of votes the distances."""
    measure = group.measure
    distances = [name for name in measure.metrics if name in measure.lower_is_better]
    rows = [
        [
            name,
            *(percent(row.pooled["recall"].get(label)) for label in group.classes),
            *(score_text(measure, score, row.pooled[score]) for score in ("UA", "macro_F1", "weighted_F1", *distances)),
        ]
        for name, row in zip(group.names, group.rows, strict=True)
    ]
    columns = [
        Column("model"),
        *(Column(label, "recall", number=True) for label in group.classes),
        Column("UA", number=True),
        Column("macro", "F1", number=True),
        Column("weighted", "F1", number=True),
        *(Column(name, "distance", number=True) for name in distances),
    ]
    notes = ["UA: mean of the recalls. macro: mean of the classes' F1. weighted: by their number of utterances."]
    if distances:
        return Table(
            "Recall of each class and F1, in %, and distances, pooled",
            columns,
            rows,
            [*notes, about(measure, distances)],
        )
    return Table("Recall of each class and F1, pooled, %", columns, rows, notes)


def _all_metrics(group: Group) -> Table:
    """Return all metrics of one score."""
    measure = group.measure
    metrics = [metric for metric in measure.table if metric not in measure.own]
    rows = [
        [name, *(score_text(measure, metric, row.pooled[metric]) for metric in metrics)]
        for name, row in zip(group.names, group.rows, strict=True)
    ]
    columns = [Column("model"), *(Column(metric, number=True) for metric in metrics)]
    return Table(f"All metrics of {group.target.name}, pooled{unit(measure, measure.metrics)}", columns, rows)


def _of_each_name(group: Group) -> Table:
    """Return a row for each of several scores or labels with its own metrics, and one for their means."""
    measure, names = group.measure, group.target.names
    end = f"_{names[0]}"
    metrics = [name.removesuffix(end) for name in measure.table if name.endswith(end)]
    pairs, left_out = in_full(group)
    rows = []
    for model, row in pairs:
        shares = _shares(group, row) if group.target.kind == "labels" else [[] for _ in names]
        for number, (name, cells) in enumerate(zip(names, shares, strict=True)):
            scores = (score_text(measure, f"{metric}_{name}", row.pooled[f"{metric}_{name}"]) for metric in metrics)
            rows.append([model if number == 0 else "", name, *cells, *scores])
        means = (MEANS.get(metric, metric) for metric in metrics)
        rows.append(
            ["", "mean", *("" for _ in shares[0]), *(score_text(measure, name, row.pooled[name]) for name in means)]
        )
    if group.target.kind == "scores":
        columns = [Column("model"), Column("score"), *(Column(metric, number=True) for metric in metrics)]
        return Table("Each score, pooled", columns, rows, [about(measure, metrics), *left_out])
    columns = [
        Column("model"),
        Column("label"),
        *(Column(title, "utterances", number=True) for title in ("true", "answered")),
        *(Column(metric, number=True) for metric in metrics),
    ]
    notes = [
        "utterances: those that have the label, and those that are said to have it. AP: average precision.",
        about(measure, [MEANS.get(metric, metric) for metric in metrics]),
    ]
    return Table("Each label, pooled, %", columns, rows, [*notes, *left_out])


def _shares(group: Group, row: Summary) -> list[list[str]]:
    """Return how many of the utterances have each label, and how many are said to have it, as percentages."""
    evidence = group.evidence[group.rows.index(row)]
    weight = evidence.weight[:, None] / evidence.weight.sum()
    shares = [(weight * (values > 0.5)).sum(axis=0) for values in (evidence.true, evidence.answers)]
    return [list(map(percent, pair)) for pair in zip(*shares, strict=True)]


def in_full(group: Group) -> tuple[list[tuple[str, Summary]], list[str]]:
    """Return the rows with their names that are shown in full, and a note where others aren't."""
    pairs = list(zip(group.names, group.rows, strict=True))
    if len(pairs) <= MOST_IN_FULL:
        return pairs, []
    measure = group.measure
    note = (
        f"Of the model with the {best_by(measure)} {measure.primary}; `--format json` has the others of these "
        f"{len(group.rows)} models."
    )
    return pairs[group.best : group.best + 1], [note]
