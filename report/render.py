"""Turns a tree of run folders into a report, in the format asked for."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from extract.errors import RunError, one_line
from report.export import as_csv, as_json
from report.provenance import provenance
from report.runs import read_runs
from report.table import GAP, WIDTH, clean, escaped_markdown, latex, markdown, terminal, wrapped
from report.tables import Group, groups, headline, tables

__all__ = ["FORMATS", "render", "render_headline"]


def render(runs: Path, format: str = "terminal") -> str:
    """Return the report of all finished runs in a folder, without a line break at its end.

    Args:
        runs: The runs folder, or the folder of one corpus or one run in it.
        format: One of `FORMATS`.

    Raises:
        RunError: The format isn't known, nothing is finished, or a run folder is broken.
    """
    if format not in FORMATS:
        raise RunError(f"There is no report format {format!r}: choose one of {one_line(FORMATS)}.")
    return FORMATS[format](groups(read_runs(runs)))


def render_headline(runs: Path, corpus: str | None = None, names: Iterable[str] | None = None) -> str:
    """Return only the headline tables, for the terminal.

    Args:
        runs: As `render`.
        corpus: Only this corpus's runs.
        names: Only the runs of these names.

    Raises:
        RunError: Nothing is finished, or a run folder is broken.
    """
    wanted = None if names is None else set(names)
    chosen = [run for run in read_runs(runs) if corpus in (None, run.corpus) and (wanted is None or run.name in wanted)]
    if not chosen:
        raise RunError(
            f"No finished run in {runs} is of the corpus and name asked for: run `mer fuse-train --fold all`."
        )
    return "\n\n\n".join(terminal(headline(group)) for group in groups(chosen))


def _terminal(found: Sequence[Group]) -> str:
    reports = []
    for group in found:
        footer = "\n".join(GAP + line for note in _made_by(group) for line in wrapped(note, WIDTH - len(GAP)))
        reports.append("\n\n".join([*(terminal(table) for table in tables(group)), "made by", footer]))
    return "\n\n\n".join(reports)


def _markdown(found: Sequence[Group]) -> str:
    parts = []
    for group in found:
        parts += [markdown(table) for table in tables(group)]
        parts.append("\n".join(["Made by:", "", *(f"- {escaped_markdown(note)}" for note in _made_by(group))]))
    return "\n\n".join(parts)


def _latex(found: Sequence[Group]) -> str:
    parts = ["% needs \\usepackage{booktabs}"]
    for group in found:
        footer = "\n".join(f"% {clean(note)}" for note in _made_by(group))
        parts += [f"{latex(table)}\n{footer}" for table in tables(group)]
    return "\n\n".join(parts)


def _made_by(group: Group) -> list[str]:
    return provenance([row.run for row in group.rows])


FORMATS: dict[str, Callable[[Sequence[Group]], str]] = {
    "terminal": _terminal,
    "md": _markdown,
    "csv": as_csv,
    "json": as_json,
    "latex": _latex,
}
"""Formats by their name on the command line."""
