"""Turns runs whose settings were searched into a table of what was chosen for each fold."""

from typing import Any

from gia_mic.fuse.runs.fold import FoldRun
from gia_mic.fuse.runs.runs import setting_text
from gia_mic.report.group import Group
from gia_mic.report.table import Column, Table
from gia_mic.report.tables import percent

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
    columns = [
        Column("model"),
        Column("fold"),
        *(Column(setting.replace("_", " "), number=True) for setting in searched),
        Column("chosen", "UA inside", number=True),
        Column("as given", "UA inside", number=True),
        Column("trials", number=True, foldable=True),
    ]
    notes = [
        "Each fold's settings are those with the highest UA inside, on a part of the fold's own training part; its "
        "test part was not looked at. as given: that of the first trial."
    ]
    return Table("Settings that were chosen for each fold", columns, rows, notes)


def _settings(fold: FoldRun) -> dict[str, Any]:
    return {**fold.config["model"], **fold.config["training"]}


def _scores(fold: FoldRun) -> list[str]:
    scores = [trial["UA"] for trial in fold.config["trials"]]
    return [*map(percent, (max(scores), scores[0])), str(len(scores))]


def _text(value: Any) -> str:
    return "—" if value is None else setting_text(value)
