"""Turns the epochs of a training into `history.csv`, and back."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gia_mic.extract.errors import RunError
from gia_mic.extract.files import write_text
from gia_mic.fuse.runs.folder import HISTORY

__all__ = ["read_history", "write_history"]


def write_history(run_dir: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write one line an epoch."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(history)
    write_text(run_dir / HISTORY, text.getvalue())


def read_history(run_dir: Path) -> dict[str, list[float]]:
    """Return the columns of a run folder's history but the number of the epoch; empty where there is none.

    Raises:
        RunError: The history isn't a table of numbers.
    """
    path = run_dir / HISTORY
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ()) if name != "epoch"}
    except (ValueError, TypeError, KeyError, csv.Error, OSError) as error:
        raise RunError(f"{path} isn't a table of numbers ({error}): train the fold again.") from error
