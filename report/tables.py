"""Turns a group of runs into tables of its scores: headline, per fold, recall per class, confusion."""

from collections.abc import Sequence

from gia_mic.extract.corpus import MODALITIES
from gia_mic.extract.errors import one_line
from gia_mic.fuse.runs.runs import Run
from gia_mic.report.compare import SIGNIFICANCE
from gia_mic.report.group import Group
from gia_mic.report.summary import MeanStd, mean_std
from gia_mic.report.table import Column, Table

__all__ = ["CONTROLS", "confusions", "folds", "headline", "mean_std_text", "modalities", "percent", "recalls"]

CONTROLS = {"majority": "most frequent class", "scenario": "scenario alone", "words": "bag of words"}
"""Controls, which see no feature, as tables name them."""

BEST, EQUAL = "★", "≈"
"""Beside the row with the highest UA, and beside those not distinguishable from it."""

MOST_CONFUSIONS = 4
"""Up to so many rows get a confusion matrix each; of more only the best one does, outside JSON and HTML."""

SELECTION = {
    "last": "last: the last epoch of a fixed schedule, so nothing is chosen",
    "dev": "dev: the best epoch on a held-out part of the training data",
    "test": "test: the best epoch on the test fold itself, which is an optimistic number",
}


def headline(group: Group) -> Table:
    """Return one row a model: WA and UA as mean ± std over folds and pooled, the ceiling, protocol and selection."""
    limited = any(row.run.ceiling is not None for row in group.rows)
    columns = [
        Column("model"),
        Column("modalities", foldable=True),
        Column("folds", number=True),
        Column("mean ± std", "WA", number=True),
        Column("mean ± std", "UA", number=True),
        Column("WA", "pooled", number=True),
        Column("UA", "pooled", number=True),
        *([Column("ceiling", number=True)] if limited else []),
        Column("protocol", foldable=True),
        Column("select", foldable=True),
    ]
    rows = [
        [
            name,
            modalities(row.run.modalities),
            _fold_count(row.run),
            mean_std_text(row.wa),
            mean_std_text(row.ua) + mark,
            percent(row.pooled["WA"]),
            percent(row.pooled["UA"]),
            *([percent(row.run.ceiling)] if limited else []),
            row.run.protocol,
            row.run.select,
        ]
        for name, row, mark in zip(group.names, group.rows, _marks(group), strict=True)
    ]
    return Table(_title(group), columns, [*rows, *_controls(group, limited)], _notes(group, limited))


def percent(share: float | None) -> str:
    """Return a fraction as a percentage with one decimal.

    >>> percent(0.8134), percent(None)
    ('81.3', '—')
    """
    return "—" if share is None else f"{100 * share:.1f}"


def folds(group: Group) -> Table:
    """Return WA and UA of each fold."""
    tested = dict(sorted({(fold.number, fold.value) for row in group.rows for fold in row.folds}))
    rows = []
    for name, row in zip(group.names, group.rows, strict=True):
        scores = {fold.number: f"{percent(fold.scores['WA'])} / {percent(fold.scores['UA'])}" for fold in row.folds}
        rows.append([name, *(scores.get(number, "—") for number in tested)])
    columns = [
        Column(value if value.lstrip("0") == str(number) else f"{number} {value}", number=True)
        for number, value in tested.items()
    ]
    return Table(f"WA / UA of each fold, named by the {group.protocol} tested on, %", [Column("model"), *columns], rows)


def recalls(group: Group) -> Table:
    """Return the recall of each class and both means of F1, pooled over the folds."""
    rows = [
        [
            name,
            *(percent(row.pooled["recall"].get(label)) for label in group.classes),
            *(percent(row.pooled[score]) for score in ("UA", "macro_F1", "weighted_F1")),
        ]
        for name, row in zip(group.names, group.rows, strict=True)
    ]
    columns = [
        Column("model"),
        *(Column(label, "recall", number=True) for label in group.classes),
        Column("UA", number=True),
        Column("macro", "F1", number=True),
        Column("weighted", "F1", number=True),
    ]
    notes = ["UA: mean of the recalls. macro: mean of the classes' F1. weighted: by their number of utterances."]
    return Table("Recall of each class and F1, pooled, %", columns, rows, notes)


def confusions(group: Group) -> Table:
    """Return the confusion matrices, pooled over the folds, one below the other."""
    pairs = list(zip(group.names, group.rows, strict=True))
    notes = []
    if len(pairs) > MOST_CONFUSIONS:
        pairs = pairs[group.best : group.best + 1]
        notes = [f"Of the model with the highest UA; `--format json` has the others of these {len(group.rows)} models."]
    rows = []
    for name, row in pairs:
        for number, label in enumerate(row.run.classes):
            counts = row.pooled["confusion"][number]
            total = sum(counts)
            shares = dict(zip(row.run.classes, (count / total if total else None for count in counts), strict=True))
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
    return Table("Confusion, pooled, % of the utterances of each true class", [*columns, *predicted], rows, notes)


def modalities(names: Sequence[str]) -> str:
    """Return the letters of modalities in their places, so that a column of them lines up.

    >>> modalities(["speech", "visual"])
    's · v'
    """
    letters = " ".join(letter if name in names else "·" for letter, name in MODALITIES.items())
    return " ".join([letters, *(name for name in names if name not in MODALITIES.values())])


def mean_std_text(scores: MeanStd) -> str:
    """Return mean ± std as percentages."""
    return percent(scores.mean) if scores.std is None else f"{percent(scores.mean)} ± {percent(scores.std)}"


def _title(group: Group) -> str:
    corpus = group.rows[0].run.config["corpus"]
    title = f"{group.corpus}, by {group.protocol}: {corpus.get('utterances', '?')} utterances, scores in %"
    return f"{title}; optimistic: {group.caveat}" if group.caveat else title


def _controls(group: Group, limited: bool) -> list[list[str]]:
    """Return a row for each control; it is no model, so its name stands in brackets."""
    return [
        [
            f"({CONTROLS[name]})",
            "· · ·",
            f"{len(control.folds)}/{len(control.folds)}",
            mean_std_text(mean_std([scores["WA"] for scores in control.folds])),
            mean_std_text(mean_std([scores["UA"] for scores in control.folds])) + ("  " if len(group.rows) > 1 else ""),
            percent(control.pooled["WA"]),
            percent(control.pooled["UA"]),
            *(["—"] if limited else []),
            group.protocol,
            "—",
        ]
        for name, control in group.controls.items()
    ]


def _marks(group: Group) -> list[str]:
    """Return what follows each row's UA; one row alone has nothing to stand out from."""
    if len(group.rows) == 1:
        return [""]
    return [
        f" {BEST}" if number == group.best else f" {EQUAL}" if comparison and not comparison.distinguishable else "  "
        for number, comparison in enumerate(group.against_best)
    ]


def _notes(group: Group, limited: bool) -> list[str]:
    runs = [row.run for row in group.rows]
    notes = [
        "WA: correct / all. UA: mean of the recalls of the classes. mean ± std: over folds. "
        "pooled: over the test predictions of all folds. "
        + ", ".join(f"{letter} {name}" for letter, name in MODALITIES.items())
        + "."
    ]
    several = sorted({len(run.seeds) for run in runs if len(run.seeds) > 1})
    if several:
        notes.append(
            f"× {one_line(several)} seeds: a fold's score is the mean over its seeds, so ± is between folds, not seeds."
        )
    if len(group.rows) > 1:
        notes.append(
            f"{BEST} highest mean UA; {EQUAL} not distinguishable from it on the same utterances "
            f"(p ≥ {SIGNIFICANCE}, corrected for the number of models)."
        )
    if group.controls:
        notes.append(
            "(in brackets): what can be had without any feature, by always answering the most frequent class of the "
            "training part" + (", or that of the same scenario." if "scenario" in group.controls else ".")
        )
    if limited:
        notes.append(
            "ceiling: the accuracy of the best possible model of these modalities (Bayes), known by construction."
        )
    notes.extend(f"select {SELECTION[select]}." for select in SELECTION if any(run.select == select for run in runs))
    if len({str(run.config["corpus"].get("digest")) for run in runs}) > 1:
        notes.append("The corpus changed between these runs (its digests differ), so their utterances may differ.")
    for name, run in zip(group.names, runs, strict=True):
        lacking = [str(number) for number in range(1, run.expected + 1) if number not in run.numbers]
        if lacking:
            notes.append(f"{name}: incomplete, fold {one_line(lacking)} of {run.expected} not finished.")
        elif not run.complete:
            notes.append(f"{name}: incomplete, {len(run.folds)} of {run.expected * len(run.seeds)} trainings finished.")
        if run.unfinished:
            notes.append(f"{name}: {run.unfinished} run folders without metrics.json, unfinished or still in training.")
        if run.broken:
            notes.append(f"{name}: {len(run.broken)} run folders are broken and left out: {one_line(run.broken, 3)}")
        if run.note:
            notes.append(f"{name}: {run.note}.")
        blind = sum(fold.without_features for fold in run.folds)
        if blind:
            notes.append(
                f"{name}: {blind} test answers are the most frequent class, as their utterances have no features."
            )
    return [*notes, *_one_sided(group)]


def _one_sided(group: Group) -> list[str]:
    """Return what is said of classes that folds have on one side alone; once, where it is the same of all models."""
    by_text: dict[str, list[str]] = {}
    for name, row in zip(group.names, group.rows, strict=True):
        untaught, untested = row.run.one_sided
        for label in row.run.classes:
            what = [f"has nothing to learn it from in fold {one_line(untaught[label])}"] if label in untaught else []
            what += [f"isn't tested in fold {one_line(untested[label])}"] if label in untested else []
            if what:
                text = f"The class {label} {' and '.join(what)}: UA of such a fold is the mean over its own classes."
                by_text.setdefault(text, []).append(name)
    everywhere = len(group.rows)
    return [text if len(names) == everywhere else f"{one_line(names, 3)}: {text}" for text, names in by_text.items()]


def _fold_count(run: Run) -> str:
    count = f"{len(run.numbers)}/{run.expected}"
    return f"{count} ×{len(run.seeds)}" if len(run.seeds) > 1 else count
