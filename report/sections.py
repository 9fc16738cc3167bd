"""The tables of a report between its headline and the models one by one, in their order."""

from gia_mic.report import contrasts, robustness
from gia_mic.report.breakdown import of_each, own_metrics
from gia_mic.report.group import Group
from gia_mic.report.published import published
from gia_mic.report.table import Table
from gia_mic.report.tables import folds
from gia_mic.report.tuning import chosen_settings

__all__ = ["sections"]


def sections(group: Group, reference: str | None = None) -> list[Table]:
    """Return the tables that a group has something to show in; `reference` as in `render.render`."""
    row = None if reference is None else group.find_row(reference)
    tables = [
        contrasts.evidence(group),
        contrasts.ablation(group, row) if row is not None and len(group.rows) > 1 else None,
        contrasts.subsets(group),
        chosen_settings(group),
        robustness.hidden_modalities(group),
        robustness.damage(group),
        published(group),
        folds(group),
        of_each(group),
        own_metrics(group),
    ]
    return [table for table in tables if table is not None]
