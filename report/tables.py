"""Turns a group of runs into tables of its scores: headline, per fold, per class or score, confusion."""

import math
from collections.abc import Mapping, Sequence

from gia_mic.extract.corpus import MODALITIES
from gia_mic.extract.errors import one_line
from gia_mic.fuse.measure import Measure
from gia_mic.fuse.runs.runs import Run
from gia_mic.report.compare import SIGNIFICANCE
from gia_mic.report.group import Group
from gia_mic.report.summary import MeanStd, Summary, mean_std
from gia_mic.report.table import Column, Table

__all__ = [
    "CONTROLS",
    "about",
    "best_by",
    "confusions",
    "folds",
    "headline",
    "mean_std_text",
    "modalities",
    "of_each",
    "pair",
    "percent",
    "pooled_names",
    "score_text",
    "unit",
]

CONTROLS = {
    "majority": "most frequent class",
    "mean": "mean of training",
    "scenario": "scenario alone",
    "words": "bag of words",
}
"""Controls, which see no feature, as tables name them."""

BEST, EQUAL = "★", "≈"
"""Beside the row that is best by the primary metric, and beside those not distinguishable from it."""

MOST_POOLED = 3
"""Metrics of the main table above which only the primary one stands there pooled too."""

MOST_IN_FULL = 4
"""Up to so many rows get a confusion matrix each; of more only the best one does, outside JSON and HTML."""

ABOUT_CLASSES = {"WA": "correct / all", "UA": "mean of the recalls of the classes"}
"""What the metrics of classes are, in fewer words than their measure has."""

ALWAYS = {
    "label": "the most frequent class of the training part",
    "labels": "the share of each label in the training part, against the threshold with the best F1 there",
    "votes": "the mean of the training part",
    "scores": "the mean of the training part",
}
"""What the control without any knowledge of an utterance answers, by the kind of target."""

MEANS = {"F1": "macro_F1", "AP": "mAP"}
"""How the mean over labels of a metric is called, where it isn't called alike."""

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
        *([Column("ceiling", number=True)] if len(ceilings) == 1 else ()),
        *(Column(name, "ceiling", number=True) for name in ceilings if len(ceilings) > 1),
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


def pooled_names(measure: Measure) -> tuple[str, ...]:
    """Return the metrics that stand in a main table pooled too."""
    return measure.headline if len(measure.headline) <= MOST_POOLED else (measure.primary,)


def unit(measure: Measure, names: Sequence[str]) -> str:
    """Return what follows a title where metrics are in percent."""
    return ", %" if measure.in_percent.issuperset(names) else ""


def best_by(measure: Measure) -> str:
    """Return which value of the primary metric is the best one, such as highest."""
    return "lowest" if measure.primary in measure.lower_is_better else "highest"


def pair(measure: Measure) -> tuple[str, ...]:
    """Return the primary metric and its neighbour in the main table, in their order.

    >>> from gia_mic.extract.targets import Target
    >>> from gia_mic.fuse.measure import measure_of
    >>> pair(measure_of(Target("label", ("angry", "sad"))))
    ('WA', 'UA')
    """
    index = measure.headline.index(measure.primary)
    return measure.headline[:2] if index < 2 else measure.headline[index : index + 2]


def about(measure: Measure, names: Sequence[str]) -> str:
    """Return what metrics are, a sentence each; those of one class or score alone are clear from the mean's."""
    if measure.target.kind == "label":
        return " ".join(f"{name}: {ABOUT_CLASSES[name]}." for name in names)
    own = tuple(f"_{name}" for name in measure.target.names) if len(measure.target.names) > 1 else ()
    return " ".join(f"{name}: {measure.about[name]}." for name in names if not name.endswith(own))


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


def of_each(group: Group) -> Table:
    """Return the pooled scores of each class or score."""
    if group.target.one_of_many:
        return _recalls(group)
    return _all_metrics(group) if len(group.target.names) == 1 else _of_each_name(group)


def confusions(group: Group) -> Table | None:
    """Return the confusion matrices, pooled over the folds, one below the other; None where answers aren't classes.

    Of votes the true class is the one with most.
    """
    if not group.target.one_of_many:
        return None
    notes = []
    if group.target.kind == "votes":
        notes.append("true: the class with most votes; several of them have their part of the utterance each.")
    pairs, left_out = _in_full(group)
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
    title = "Confusion, pooled, % of the utterances of each true class"
    return Table(title, [*columns, *predicted], rows, [*notes, *left_out])


def modalities(names: Sequence[str]) -> str:
    """Return the letters of modalities in their places, so that a column of them lines up.

    >>> modalities(["speech", "visual"])
    's · v'
    """
    letters = " ".join(letter if name in names else "·" for letter, name in MODALITIES.items())
    return " ".join([letters, *(name for name in names if name not in MODALITIES.values())])


def mean_std_text(measure: Measure, name: str, scores: MeanStd) -> str:
    """Return mean ± std of a metric."""
    mean = score_text(measure, name, scores.mean)
    return mean if scores.std is None else f"{mean} ± {score_text(measure, name, scores.std)}"


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
    rows = [
        [name, *(score_text(measure, metric, row.pooled[metric]) for metric in measure.table)]
        for name, row in zip(group.names, group.rows, strict=True)
    ]
    columns = [Column("model"), *(Column(metric, number=True) for metric in measure.table)]
    return Table(f"All metrics of {group.target.name}, pooled{unit(measure, measure.metrics)}", columns, rows)


def _of_each_name(group: Group) -> Table:
    """Return a row for each of several scores or labels with its own metrics, and one for their means."""
    measure, names = group.measure, group.target.names
    end = f"_{names[0]}"
    metrics = [name.removesuffix(end) for name in measure.table if name.endswith(end)]
    pairs, left_out = _in_full(group)
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


def _in_full(group: Group) -> tuple[list[tuple[str, Summary]], list[str]]:
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
        blind = sum(fold.without_features for fold in run.folds)
        if blind:
            answer = "most frequent class" if group.target.kind == "label" else "mean of the training part"
            notes.append(f"{name}: {blind} test answers are the {answer}, as their utterances have no features.")
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
