"""Turns a group of runs into the tables of its scores: headline, and per fold."""

from collections.abc import Mapping, Sequence

from gia_mic.extract.corpus import MODALITIES
from gia_mic.extract.errors import one_line
from gia_mic.fuse.measure import Measure
from gia_mic.fuse.runs.folder import is_number
from gia_mic.fuse.runs.runs import Run
from gia_mic.report.compare import SIGNIFICANCE
from gia_mic.report.group import Group
from gia_mic.report.summary import MeanStd, mean_std
from gia_mic.report.table import Column, Table
from gia_mic.report.wording import about, best_by, mean_std_text, modalities, pair, pooled_names, score_text, unit

__all__ = ["CONTROLS", "folds", "headline"]

CONTROLS = {
    "majority": "most frequent class",
    "mean": "mean of training",
    "scenario": "scenario alone",
    "words": "bag of words",
}
"""Controls, which see no feature, as tables name them."""

BEST, EQUAL = "★", "≈"
"""Beside the row that is best by the primary metric, and beside those not distinguishable from it."""

ALWAYS = {
    "label": "the most frequent class of the training part",
    "labels": "the share of each label in the training part, against the threshold with the best F1 there",
    "votes": "the mean of the training part",
    "scores": "the mean of the training part",
}
"""What the control without any knowledge of an utterance answers, by the kind of target."""

SELECTION = {
    "last": "last: the last epoch of a fixed schedule, so nothing is chosen",
    "dev": "dev: the best epoch on a held-out part of the training data",
    "test": "test: the best epoch on the test fold itself, which is an optimistic number",
}


def headline(group: Group) -> Table:
    """Return one row a model: its metrics as mean ± std over folds and pooled, the ceiling, protocol and selection."""
    measure = group.measure
    pooled = pooled_names(measure)
    ceilings = _ceilings(group)
    columns = [
        Column("model"),
        Column("modalities", foldable=True),
        Column("folds", number=True),
        *(Column("mean ± std", name, number=True) for name in measure.headline),
        *(Column(name, "pooled", number=True) for name in pooled),
        *(
            Column("ceiling", number=True) if group.target.kind == "label" else Column(name, "ceiling", number=True)
            for name in ceilings
        ),
        Column("protocol", foldable=True),
        Column("select", foldable=True),
    ]
    rows = [
        [
            name,
            modalities(row.run.modalities),
            _fold_count(row.run),
            *_over_folds(measure, row.over_folds, mark),
            *(score_text(measure, metric, row.pooled[metric]) for metric in pooled),
            *(score_text(measure, metric, row.run.ceilings.get(metric)) for metric in ceilings),
            row.run.protocol,
            row.run.select,
        ]
        for name, row, mark in zip(group.names, group.rows, _marks(group), strict=True)
    ]
    for name, control in group.controls.items():  # it is no model, so its name stands in brackets
        over_folds = {metric: mean_std([scores[metric] for scores in control.folds]) for metric in measure.headline}
        rows.append(
            [
                f"({CONTROLS[name]})",
                "· · ·",
                f"{len(control.folds)}/{len(control.folds)}",
                *_over_folds(measure, over_folds, "  " if len(group.rows) > 1 else ""),
                *(score_text(measure, metric, control.pooled[metric]) for metric in pooled),
                *("—" for _ in ceilings),
                group.protocol,
                "—",
            ]
        )
    return Table(_title(group), columns, rows, _notes(group, ceilings))


def folds(group: Group) -> Table:
    """Return the primary metric and the one beside it, of each fold."""
    names = pair(group.measure)
    tested = dict(sorted({(fold.number, fold.value) for row in group.rows for fold in row.folds}))
    rows = []
    for name, row in zip(group.names, group.rows, strict=True):
        scores = {
            fold.number: " / ".join(score_text(group.measure, metric, fold.scores[metric]) for metric in names)
            for fold in row.folds
        }
        rows.append([name, *(scores.get(number, "—") for number in tested)])
    columns = [
        Column(value if value.lstrip("0") == str(number) else f"{number} {value}", number=True)
        for number, value in tested.items()
    ]
    title = f"{' / '.join(names)} of each fold, named by the {group.protocol} tested on{unit(group.measure, names)}"
    return Table(title, [Column("model"), *columns], rows)


def _title(group: Group) -> str:
    corpus, measure = group.rows[0].run.config["corpus"], group.measure
    title = f"{group.title}: {corpus.get('utterances', '?')} utterances"
    title += ", scores in %" if measure.in_percent.issuperset(measure.headline) else ""
    return f"{title}; optimistic: {group.caveat}" if group.caveat else title


def _ceilings(group: Group) -> list[str]:
    """Return the metrics whose best possible value a run knows; of classes the one that both have in common."""
    if group.target.kind == "label":
        return ["UA"] if any(row.run.ceilings for row in group.rows) else []
    return [name for name in group.measure.headline if any(name in row.run.ceilings for row in group.rows)]


def _over_folds(measure: Measure, scores: Mapping[str, MeanStd], mark: str) -> list[str]:
    """Return mean ± std of each metric of the main table, the primary one with a mark."""
    return [
        mean_std_text(measure, name, scores[name]) + (mark if name == measure.primary else "")
        for name in measure.headline
    ]


def _marks(group: Group) -> list[str]:
    """Return what follows each row's primary metric; one row alone has nothing to stand out from."""
    if len(group.rows) == 1:
        return [""]
    return [
        f" {BEST}" if number == group.best else f" {EQUAL}" if comparison and not comparison.distinguishable else "  "
        for number, comparison in enumerate(group.against_best)
    ]


def _notes(group: Group, ceilings: Sequence[str]) -> list[str]:
    runs = [row.run for row in group.rows]
    measure = group.measure
    notes = [
        f"{about(measure, measure.headline)} mean ± std: over folds. pooled: over the test predictions of all folds. "
        + ", ".join(f"{letter} {name}" for letter, name in MODALITIES.items())
        + "."
    ]
    mixed = [name for name in measure.headline if name in measure.in_percent]
    if mixed and len(mixed) < len(measure.headline):
        notes.append(f"In %: {one_line(mixed)}.")
    several = sorted({len(run.seeds) for run in runs if len(run.seeds) > 1})
    if several:
        notes.append(
            f"× {one_line(several)} seeds: a fold's score is the mean over its seeds, so ± is between folds, not seeds."
        )
    if len(group.rows) > 1:
        notes.append(
            f"{BEST} {best_by(measure)} mean {measure.primary}; {EQUAL} not distinguishable from it on the same "
            f"utterances (p ≥ {SIGNIFICANCE}, corrected for the number of models)."
        )
    if group.controls:
        notes.append(
            f"(in brackets): what can be had without any feature, by always answering {ALWAYS[group.target.kind]}"
            + (", or that of the same scenario." if "scenario" in group.controls else ".")
        )
    if ceilings:
        what = "accuracy" if group.target.kind == "label" else "expected score"
        notes.append(
            f"ceiling: the {what} of the best possible model of these modalities (Bayes), known by construction."
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
        if "distilled_from" in run.config:
            notes.append(_distilled(name, run))
        blind = sum(fold.without_features for fold in run.folds)
        if blind:
            answer = "most frequent class" if group.target.kind == "label" else "mean of the training part"
            notes.append(f"{name}: {blind} test answers are the {answer}, as their utterances have no features.")
    return [*notes, *_one_sided(group)]


def _distilled(name: str, run: Run) -> str:
    """Say what a distilled run's scores are of, and what its teachers score together on the same test parts."""
    primary = run.measure.primary
    scores = [teachers.get(primary) for fold in run.folds if isinstance(teachers := fold.metrics.get("teachers"), dict)]
    together = mean_std_text(run.measure, primary, mean_std([score if is_number(score) else None for score in scores]))
    return (
        f"{name}: each fold's model learns the mean answer of models made like {run.config['distilled_from']} without "
        f"its test part, whose mean scores {primary} {together} there. The one model of the whole corpus has no test "
        "part, and these scores stand for it."
    )


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
