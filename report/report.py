"""Turns finished runs into an object to look at, render, save, or take into pandas."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.files import write_text
from gia_mic.report.export import fold_rows, run_rows
from gia_mic.report.group import Group
from gia_mic.report.render import headlines, read_groups, render_groups, short_tables
from gia_mic.report.table import Table

if TYPE_CHECKING:
    import pandas

__all__ = ["Report", "read_report"]

SUFFIXES = {".txt": "terminal", ".md": "md", ".csv": "csv", ".json": "json", ".tex": "latex", ".html": "html"}
"""Format of a file, by its suffix."""


@dataclass(frozen=True, repr=False)
class Report:
    """The scores of finished runs; it prints and shows as its main tables.

    Attributes:
        groups: The runs, those that may stand in one table together.
        reference: Run that an ablation table compares the others with; None where there is none.
    """

    groups: tuple[Group, ...]
    reference: str | None = None

    def __str__(self) -> str:
        return headlines(self.groups)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "\n".join(table._repr_html_() for table in self.tables)

    @cached_property
    def tables(self) -> list[Table]:
        """The main table of each group, and those of tuning and robustness."""
        return [table for group in self.groups for table in short_tables(group)]

    def render(self, format: str = "terminal") -> str:
        """Return the whole report as text, as `mer report --format` prints it.

        Args:
            format: terminal, md, csv, json, latex or html.

        Raises:
            RunError: There is no such format.
        """
        return render_groups(self.groups, format, self.reference)

    def save(self, path: str | Path) -> Path:
        """Write the whole report into a file, and return its path.

        Args:
            path: File, whose suffix says the format: .txt, .md, .csv, .json, .tex or .html.

        Raises:
            RunError: The suffix is another one.
            StoreError: The file can't be written.
        """
        path = Path(path)
        if path.suffix not in SUFFIXES:
            raise RunError(f"{path} has no suffix of a report: choose one of {one_line(SUFFIXES)}.")
        write_text(path, self.render(SUFFIXES[path.suffix]) + "\n")
        return path

    def rows(self, per: str = "run") -> list[dict[str, Any]]:
        """Return the numbers as rows: names to values, accuracies and other shares in 0 … 1.

        Args:
            per: run, for the mean over the folds of each metric of the main table, such as `UA`. Beside it stand the
                standard deviation, the score of all test predictions together and its 95 % interval: `UA_std`,
                `UA_pooled`, `UA_low` and `UA_high`. Or fold, for all metrics of each fold.

        Raises:
            RunError: `per` is neither.
        """
        if per not in ("run", "fold"):
            raise RunError(f"A report has no rows per {per!r}: choose run or fold.")
        of_group = run_rows if per == "run" else fold_rows
        return [row for group in self.groups for row in of_group(group)]

    def to_pandas(self, per: str = "run") -> "pandas.DataFrame":
        """Return `rows` as a table of pandas.

        Raises:
            RunError: `per` is neither run nor fold, or pandas isn't installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise RunError("pandas isn't installed: pip install 'gia-mic[pandas]', or use rows().") from error
        return pandas.DataFrame(self.rows(per))


def read_report(runs: Path, reference: str | None = None, folders: Iterable[Path] | None = None) -> Report:
    """Read all finished runs in a folder; arguments and errors are those of `render.render`."""
    return Report(tuple(read_groups(runs, reference, folders)), reference)
