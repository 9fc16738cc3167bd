"""Turns a tree of run folders into a report, in the format asked for."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gia_mic.extract.errors import RunError, one_line
from gia_mic.fuse.runs.runs import Run, read_runs
from gia_mic.report.breakdown import confusions
from gia_mic.report.export import as_csv, as_json
from gia_mic.report.group import Group, groups
from gia_mic.report.provenance import provenance
from gia_mic.report.robustness import damage, hidden_modalities
from gia_mic.report.sections import sections
from gia_mic.report.table import GAP, WIDTH, Table, clean, escaped_markdown, latex, markdown, terminal, wrapped
from gia_mic.report.tables import headline
from gia_mic.report.tuning import chosen_settings

__all__ = [
    "FORMATS",
    "headlines",
    "read_groups",
    "render",
    "render_groups",
    "render_headline",
    "short_tables",
    "tables",
]


def render(
    runs: Path, format: str = "terminal", reference: str | None = None, folders: Iterable[Path] | None = None
) -> str:
    """Return the report of all finished runs in a folder, without a line break at its end.

    Args:
        runs: The runs folder, or the folder of one corpus or one run in it.
        format: One of `FORMATS`.
        reference: Name of the run that an ablation table compares the others with; None makes no such table.
        folders: Only the rows to which these `fold-<k>/seed-<n>` folders belong.

    Raises:
        RunError: The format or the reference isn't known, nothing is finished, or a run folder is broken.
    """
    _check_format(format)
    return render_groups(read_groups(runs, reference, folders), format, reference)


def read_groups(runs: Path, reference: str | None = None, folders: Iterable[Path] | None = None) -> list[Group]:
    """Read all finished runs in a folder; arguments and errors are those of `render`."""
    chosen = groups(_read_chosen(runs, folders))
    if reference is not None and all(group.find_row(reference) is None for group in chosen):
        available = one_line(name for group in chosen for name in group.names)
        raise RunError(f"There is no run {reference!r} in {runs} to be the reference: choose one of {available}.")
    return chosen


def render_groups(chosen: Sequence[Group], format: str = "terminal", reference: str | None = None) -> str:
    """Return the report of groups that are read already; arguments and errors are those of `render`."""
    _check_format(format)
    return FORMATS[format](chosen, reference)


def tables(group: Group, reference: str | None = None) -> list[Table]:
    """Return all tables of a group."""
    return [table for table in (headline(group), *sections(group, reference), confusions(group)) if table is not None]


def render_headline(runs: Path, folders: Iterable[Path] | None = None) -> str:
    """Return only the headline tables, those of robustness and tuning, and what made them, for the terminal.

    Args:
        runs: The runs folder, or the folder of one corpus or one run in it.
        folders: Only the rows to which these `fold-<k>/seed-<n>` folders belong.

    Raises:
        RunError: Nothing is finished, or a run folder is broken.
    """
    return headlines(groups(_read_chosen(runs, folders)))


def headlines(chosen: Sequence[Group]) -> str:
    """Return what `render_headline` does, of groups that are read already."""
    return "\n\n\n".join(
        "\n\n".join([*(terminal(table) for table in short_tables(group)), _footer(group)]) for group in chosen
    )


def short_tables(group: Group) -> list[Table]:
    """Return the headline table of a group, and those of tuning and robustness where there are some."""
    several = (headline(group), chosen_settings(group), hidden_modalities(group), damage(group))
    return [table for table in several if table is not None]


def _check_format(format: str) -> None:
    if format not in FORMATS:
        raise RunError(f"There is no report format {format!r}: choose one of {one_line(FORMATS)}.")


def _read_chosen(runs: Path, folders: Iterable[Path] | None) -> list[Run]:
    if folders is None:
        return read_runs(runs)
    resolved = {folder.resolve() for folder in folders}
    return [run for run in read_runs(runs) if any(fold.folder in resolved for fold in run.folds)]


def _terminal(chosen: Sequence[Group], reference: str | None) -> str:
    return "\n\n\n".join(
        "\n\n".join([*(terminal(table) for table in tables(group, reference)), _footer(group)]) for group in chosen
    )


def _footer(group: Group) -> str:
    lines = [GAP + line for note in _made_by(group) for line in wrapped(note, WIDTH - len(GAP))]
    return "\n".join(["made by", "", *lines])


def _markdown(chosen: Sequence[Group], reference: str | None) -> str:
    parts = []
    for group in chosen:
        parts += [markdown(table) for table in tables(group, reference)]
        parts.append("\n".join(["Made by:", "", *(f"- {escaped_markdown(note)}" for note in _made_by(group))]))
    return "\n\n".join(parts)


def _latex(chosen: Sequence[Group], reference: str | None) -> str:
    parts = ["% needs \\usepackage{booktabs}"]
    for group in chosen:
        footer = "\n".join(f"% {clean(note)}" for note in _made_by(group))
        parts += [f"{latex(table)}\n{footer}" for table in tables(group, reference)]
    return "\n\n".join(parts)


def _html(chosen: Sequence[Group], reference: str | None) -> str:
    from gia_mic.report.page import page

    return page(chosen, reference)


def _made_by(group: Group) -> list[str]:
    return provenance([row.run for row in group.rows])


FORMATS: dict[str, Callable[[Sequence[Group], str | None], str]] = {
    "terminal": _terminal,
    "md": _markdown,
    "csv": lambda chosen, reference: as_csv(chosen),
    "json": as_json,
    "latex": _latex,
    "html": _html,
}
"""Formats by their name on the command line."""
