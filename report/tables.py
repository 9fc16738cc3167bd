"""Turns the runs of a corpus under one protocol into the tables of a report."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from extract.corpus import MODALITIES
from extract.errors import one_line
from report.runs import Run
from report.summary import Spread, Summary, summarise
from report.table import Column, Table

__all__ = ["Group", "groups", "headline", "percent", "tables"]

MOST_CONFUSIONS = 4
"""Up to so many rows get a confusion matrix each; of more only the best one does, outside JSON and HTML."""

SELECTION = {
    "last": "last: the last epoch of a fixed schedule, so nothing is chosen",
    "dev": "dev: the best epoch on a held-out part of the training data",
    "test": "test: the best epoch on the test fold itself, which is an optimistic number",
}


@dataclass(frozen=True)
class Group:
    """What may stand in one table: runs of one corpus under one protocol, selected with or without the test fold.

    Attributes:
        corpus: Name of the corpus.
        protocol: Column that the folds come from.
        optimistic: Whether the epoch was chosen on the test fold.
        rows: Summaries, highest UA first.
    """

    corpus: str
    protocol: str
    optimistic: bool
    rows: tuple[Summary, ...]

    @property
    def classes(self) -> list[str]:
        """Class names that occur in the runs, in their order."""
        return list(dict.fromkeys(name for row in self.rows for name in row.run.classes))


def groups(runs: Iterable[Run]) -> list[Group]:
    """Sort runs into groups, those chosen on the test fold last."""
    found: dict[tuple[bool, str, str], list[Summary]] = {}
    for run in runs:
        found.setdefault((run.select == "test", run.corpus, run.protocol), []).append(summarise(run))
    return [
        Group(corpus, protocol, optimistic, tuple(sorted(rows, key=lambda row: -row.ua.mean)))
        for (optimistic, corpus, protocol), rows in sorted(found.items(), key=lambda item: item[0])
    ]


def tables(group: Group) -> list[Table]:
    """Return all tables of a group: headline, per fold, recall per class, confusion."""
    return [headline(group), _folds(group), _recalls(group), _confusions(group)]


def headline(group: Group) -> Table:
    """Return one row a model: WA and UA as mean ± std over folds and pooled, the ceiling, protocol and selection."""
    limited = any(row.run.ceiling is not None for row in group.rows)
    columns = [
        Column("model"),
        Column("modalities"),
        Column("folds", number=True),
        Column("mean ± std", "WA", number=True),
        Column("mean ± std", "UA", number=True),
        Column("WA", "pooled", number=True),
        Column("UA", "pooled", number=True),
        *([Column("ceiling", number=True)] if limited else []),
        Column("protocol"),
        Column("select"),
    ]
    rows = [
        [
            name,
            _modalities(row.run.modalities),
            _fold_count(row.run),
            _spread(row.wa),
            _spread(row.ua),
            percent(row.pooled["WA"]),
            percent(row.pooled["UA"]),
            *([percent(row.run.ceiling)] if limited else []),
            row.run.protocol,
            row.run.select,
        ]
        for name, row in zip(_names(group), group.rows, strict=True)
    ]
    return Table(_title(group), columns, rows, _notes(group, limited))


def percent(share: float | None) -> str:
    """Return a fraction as a percentage with one decimal.

    >>> percent(0.8134), percent(None)
    ('81.3', '—')
    """
    return "—" if share is None else f"{100 * share:.1f}"


def _folds(group: Group) -> Table:
    tested = dict(sorted({(fold.number, fold.value) for row in group.rows for fold in row.folds}))
    rows = []
    for name, row in zip(_names(group), group.rows, strict=True):
        scores = {fold.number: f"{percent(fold.scores['WA'])} / {percent(fold.scores['UA'])}" for fold in row.folds}
        rows.append([name, *(scores.get(number, "—") for number in tested)])
    columns = [
        Column(value if value == str(number) else f"{number} {value}", number=True) for number, value in tested.items()
    ]
    return Table(f"WA / UA of each fold, named by the {group.protocol} tested on, %", [Column("model"), *columns], rows)


def _recalls(group: Group) -> Table:
    rows = [
        [name, *(percent(row.pooled["recall"].get(label)) for label in group.classes), percent(row.pooled["UA"])]
        for name, row in zip(_names(group), group.rows, strict=True)
    ]
    columns = [Column(label, number=True) for label in group.classes]
    return Table(
        "Recall of each class, pooled, %", [Column("model"), *columns, Column("UA", "mean", number=True)], rows
    )


def _confusions(group: Group) -> Table:
    shown = list(zip(_names(group), group.rows, strict=True))
    notes = []
    if len(shown) > MOST_CONFUSIONS:
        shown = shown[:1]
        notes = [f"Of the model with the highest UA; `--format json` has the others of these {len(group.rows)} models."]
    rows = []
    for name, row in shown:
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


def _title(group: Group) -> str:
    corpus = group.rows[0].run.config["corpus"]
    title = f"{group.corpus}, by {group.protocol}: {corpus.get('utterances', '?')} utterances, scores in %"
    return f"{title}; epoch chosen on the test fold (optimistic)" if group.optimistic else title


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
    if limited:
        notes.append(
            "ceiling: the accuracy of the best possible model of these modalities (Bayes), known by construction."
        )
    notes.extend(f"select {SELECTION[select]}." for select in SELECTION if any(run.select == select for run in runs))
    for name, run in zip(_names(group), runs, strict=True):
        lacking = [str(number) for number in range(1, run.expected + 1) if number not in run.numbers]
        if lacking:
            notes.append(f"{name}: incomplete, fold {one_line(lacking)} of {run.expected} not finished.")
        elif not run.complete:
            notes.append(f"{name}: incomplete, {len(run.folds)} of {run.expected * len(run.seeds)} trainings finished.")
        if run.unfinished:
            notes.append(f"{name}: {run.unfinished} run folders without metrics.json, unfinished or still in training.")
    notes.extend(
        f"{name}: {row.run.note}." for name, row in zip(_names(group), group.rows, strict=True) if row.run.note
    )
    return notes


def _names(group: Group) -> list[str]:
    """Return a name for each row: the run's, with its fusion where the name doesn't say it, numbered if not unique."""
    names = []
    for row in group.rows:
        run = row.run
        names.append(run.name if run.name.startswith(run.fusion) else f"{run.name} ({run.fusion})")
    counts: dict[str, int] = {}
    unique = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        unique.append(f"{name} [{counts[name]}]" if names.count(name) > 1 else name)
    return unique


def _modalities(names: Sequence[str]) -> str:
    """Return the letters of modalities in their places, so that a column of them lines up.

    >>> _modalities(["speech", "visual"])
    's · v'
    """
    known = " ".join(letter if name in names else "·" for letter, name in MODALITIES.items())
    return " ".join([known, *(name for name in names if name not in MODALITIES.values())])


def _fold_count(run: Run) -> str:
    count = f"{len(run.numbers)}/{run.expected}"
    return f"{count} ×{len(run.seeds)}" if len(run.seeds) > 1 else count


def _spread(scores: Spread) -> str:
    return percent(scores.mean) if scores.std is None else f"{percent(scores.mean)} ± {percent(scores.std)}"
