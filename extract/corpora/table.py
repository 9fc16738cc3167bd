"""Turns a CSV, TSV, JSONL or Parquet file into rows of text cells and nested values."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gia_mic.extract.corpora.cells import file_pointer
from gia_mic.extract.errors import CorpusError, one_line, words_of

__all__ = ["Problems", "bad_id", "columns", "filled", "read_rows", "read_table"]

_LONGEST_CELL = 2**31 - 1
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


class Problems:
    """What is wrong with a corpus, collected so that all of it can be mended in one go."""

    def __init__(self) -> None:
        self._groups: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, what: str, *items: object) -> None:
        """Add items to the group of problems named `what`; without items the group speaks for itself."""
        self._groups.setdefault(what, []).extend(str(item) for item in items)

    def raise_if_any(self, where: object, remedy: str) -> None:
        """Raise one error that lists every group, each cut at ten items.

        Raises:
            CorpusError: There is a problem.
        """
        if not self._groups:
            return
        lines = [f"{what}: {one_line(items)}" if items else what for what, items in self._groups.items()]
        if len(lines) == 1:
            raise CorpusError(f"{where} has {lines[0]}; {remedy}.")
        listed = "".join(f"\n- {line}" for line in lines)
        raise CorpusError(f"{where} has problems of {len(lines)} kinds; {remedy}:{listed}")


def read_table(path: Path) -> list[dict[str, Any]]:
    """Read a table; its suffix says which kind.

    Returns:
        One mapping a row, without the cells that are empty, None or NaN. Cells of CSV and TSV are text, stripped;
        others are what the file holds.

    Raises:
        CorpusError: It can't be read, or has no row.
    """
    rows = [row for row in filled(read_rows(path)) if row]
    if not rows:
        raise CorpusError(f"{path} has no rows: expected one for each utterance.")
    return rows


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a table as it is: with empty cells and spaces; `read_table` says more.

    Raises:
        CorpusError: It can't be read, or has no row.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CorpusError(f"{path} is not a known kind of table: expected one that ends in {one_line(SUFFIXES)}.")
    if command := file_pointer(path):
        raise CorpusError(f"{path} is a pointer to a table that isn't here: run `{command}` there first.")
    try:
        if suffix == ".parquet":
            rows = _read_parquet(path)
        elif suffix in (".jsonl", ".ndjson"):
            rows = _read_jsonl(path)
        else:
            rows = _read_csv(path, suffix)
    except OSError as error:
        raise CorpusError(f"{path} can't be read ({words_of(error)}): give a table you may read.") from error
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8."
        ) from error
    if not rows:
        raise CorpusError(f"{path} has no rows: expected one for each utterance.")
    return rows


def filled(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without their empty cells, with text stripped."""
    stripped = ({key: _stripped(value) for key, value in row.items()} for row in rows)
    return [{key: value for key, value in row.items() if not _empty(value)} for row in stripped]


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the columns that have a value in some row, in the order of their first one."""
    return list(dict.fromkeys(key for row in rows for key in row))


def bad_id(utterance_id: str) -> bool:
    r"""Whether an id, taken as a path, would lead out of a folder, or couldn't be printed on one line.

    >>> [bad_id(name) for name in ("a/1", "a$_$1", "../a", "/a", "C:\\a", "a\nb")]
    [False, False, True, True, True, True]
    """
    parts = utterance_id.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or "\\" in utterance_id or not utterance_id.isprintable()


def _read_csv(path: Path, suffix: str) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        separator = "\t" if suffix == ".tsv" else ";" if ";" in header and "," not in header else ","
        limit = csv.field_size_limit(_LONGEST_CELL)
        try:
            reader = csv.reader(file, delimiter=separator, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            twice = sorted({name for name in columns if columns.count(name) > 1})
            if twice:
                names = one_line(name or "no name" for name in twice)
                raise CorpusError(f"{path} has several columns of one name: {names}; keep one of each.")
            rows, ragged = [], []
            for cells in reader:
                if len(cells) != len(columns) and not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(columns):
                    ragged.append(f"line {reader.line_num} ({len(cells)})")
                rows.append(dict(zip(columns, cells, strict=False)))
        except csv.Error as error:
            raise CorpusError(f"{path}, line {reader.line_num}: {error}; write it again as CSV.") from error
        finally:
            csv.field_size_limit(limit)
    if ragged:
        raise CorpusError(
            f"{path} has rows with another number of cells than its header's {len(columns)}: {one_line(ragged)}; "
            "put cells that contain the separator in quotes."
        )
    return rows


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    rows, wrong = [], []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                rows.append(row)
            else:
                wrong.append(number)
    if wrong:
        raise CorpusError(f"{path} has lines that are not one JSON object each: {one_line(wrong)}; correct them.")
    return rows


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as file:
            rows: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
    except pyarrow.ArrowException as error:
        raise CorpusError(f"{path} is not a Parquet table ({error}): write it again.") from error
    return rows


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and value != value)
