"""Turns runs whose settings were searched into a table of what was chosen for each fold."""

from typing import Any

from gia_mic.fuse.measure import measure_of
from gia_mic.fuse.runs.fold import FoldRun
from gia_mic.fuse.runs.runs import setting_text
from gia_mic.report.group import Group
from gia_mic.report.table import Column, Table
from gia_mic.report.wording import best_by, score_text

__all__ = ["chosen_settings"]


def chosen_settings(group: Group) -> Table | None:
    """Return the settings that `mer tune` chose for each model and fold; None where it chose none."""
    tuned = [
        (name, fold)
        for name, row in zip(group.names, group.rows, strict=True)
        if "search" in row.run.config
        for fold in {fold.number: fold for fold in reversed(row.run.folds)}.values()
    ]
    if not tuned:
        return None
    tuned.sort(key=lambda entry: (group.names.index(entry[0]), entry[1].number))
    searched = list(dict.fromkeys(name for _, fold in tuned for name in fold.config["search"]["space"]))
    rows = [
        [name, fold.value, *(_text(_settings(fold).get(setting)) for setting in searched), *_scores(fold)]
        for name, fold in tuned
    ]
    primary = group.measure.primary
    columns = [
        Column("model"),
        Column("fold"),
        *(Column(setting.replace("_", " "), number=True) for setting in searched),
        Column("chosen", f"{primary} inside", number=True),
        Column("as given", f"{primary} inside", number=True),
        Column("trials", number=True, foldable=True),
    ]
    notes = [
        f"Each fold's settings are those with the {best_by(group.measure)} {primary} inside, on a part of the fold's "
        "own training part; its test part was not looked at. as given: that of the first trial."
    ]
    return Table("Settings that were chosen for each fold", columns, rows, notes)


def _settings(fold: FoldRun) -> dict[str, Any]:
    return {**fold.config["model"], **fold.config["training"]}


def _scores(fold: FoldRun) -> list[str]:
    measure = measure_of(fold.target)
    scores = [trial[measure.primary] for trial in fold.config["trials"]]
    best = min(scores) if measure.primary in measure.lower_is_better else max(scores)
    return [*(score_text(measure, measure.primary, score) for score in (best, scores[0])), str(len(scores))]


def _text(value: Any) -> str:
    return "—" if value is None else setting_text(value)
