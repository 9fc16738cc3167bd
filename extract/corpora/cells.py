"""Turns cells as people and programs write them into values: missing ones, whole numbers, bytes, times."""

import logging
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gia_mic.extract.errors import CorpusError, one_line
from gia_mic.extract.names import same_name

__all__ = [
    "MISSING_TEXTS",
    "are_scores",
    "as_text",
    "crop_of",
    "cut_zero",
    "drop_missing",
    "file_pointer",
    "matching",
    "refuse_pointers",
    "score_of",
    "seconds_of",
    "unnamed",
    "whole_numbers",
]

logger = logging.getLogger(__name__)

MISSING_TEXTS = ("nan", "na", "n/a", "<na>", "#n/a", "nat", "none", "null")
"""Texts that stand for a value that is missing, as programs write it; capitals don't matter."""

_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)
_UNNAMED = re.compile(r"|Unnamed: \d+(\.\d+)*|__index_level_\d+__")
_POINTERS = {b"version https://git-lfs": "git lfs pull", b"/annex/objects/": "git annex get"}
_POINTER_BYTES = 1024
_MOST_CLASSES = 30


def drop_missing(
    rows: Iterable[Mapping[str, Any]], missing: Collection[str] = MISSING_TEXTS, *, labels: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return rows without the cells that say that a value is missing, and say which texts were taken so.

    Args:
        rows: One mapping a row.
        missing: Texts that stand for a missing value, in any column.
        labels: Classes that are asked for by name, which are none of these in the columns label and labels.
    """
    missing_texts = {text.casefold() for text in missing if text}
    counts: Counter[tuple[str, str]] = Counter()
    typed_rows = []
    for row in rows:
        cells = {}
        for column, value in row.items():
            text = value.strip() if isinstance(value, str) else None
            if (
                text is not None
                and text.casefold() in missing_texts
                and not (column in ("label", "labels") and text in labels)
            ):
                counts[column, text] += 1
            else:
                cells[column] = value
        typed_rows.append(cells)
    if counts:
        listed = one_line(f"{text!r} in {column} ({count})" for (column, text), count in counts.items())
        logger.info(
            f"Taken for missing values: {listed}. --missing names the texts that are, such as --missing nan,na."
        )
    return typed_rows


def whole_numbers(rows: Sequence[Mapping[str, Any]], names: Collection[str]) -> list[dict[str, Any]]:
    """Return rows in which 1.0 is 1 in some columns, as it was before pandas made floats of whole numbers with gaps.

    A column that has a number with decimals is left as it is.

    >>> whole_numbers([{"session": "1.0", "id": "1.0"}, {"session": "2", "id": "1.5"}], ("session", "id"))
    [{'session': '1', 'id': '1.0'}, {'session': '2', 'id': '1.5'}]
    """
    decimal = {
        name for name in names for row in rows if isinstance(value := row.get(name), str) and _has_fraction(value)
    }
    return [
        {
            name: cut_zero(value) if name in names and name not in decimal and isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in rows
    ]


def cut_zero(text: str) -> str:
    """Return a whole number without its decimals, and any other text as it is.

    >>> cut_zero("12.0"), cut_zero("12"), cut_zero("1.5"), cut_zero("v1.0")
    ('12', '12', '1.5', 'v1.0')
    """
    match = _WHOLE.fullmatch(text)
    return match[1] if match else text


def as_text(value: Any) -> str | None:
    """Return a cell as text, stripped; None for what isn't text, a number or bytes of UTF-8.

    >>> as_text(b"so happy"), as_text(2.0), as_text(" a "), as_text([1])
    ('so happy', '2', 'a', None)
    """
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # whole numbers beside empty cells come as floats
    return str(value).strip() if isinstance(value, str | int) else None


def score_of(text: str) -> float | None:
    """Return the number that a text stands for, with a point or a comma; None where it is none.

    >>> score_of("-2.4"), score_of("0,5"), score_of("happy"), score_of("nan")
    (-2.4, 0.5, None, None)
    """
    return float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else None


def are_scores(labels: Collection[str]) -> bool:
    """Whether labels look like numbers on a scale rather than names of classes.

    All of them are numbers, or most are and these have decimals or are very many.

    >>> are_scores({"-1", "0", "1"}), are_scores({"-2.4", "0.6", "?"}), are_scores({"1", "2", "sad"})
    (True, True, False)
    """
    numbers = [label for label in labels if score_of(label) is not None]
    on_a_scale = any(map(_has_fraction, numbers)) or len(numbers) > _MOST_CLASSES
    return 2 * len(numbers) > len(labels) and (on_a_scale or len(numbers) == len(labels))


def unnamed(column: str) -> bool:
    """Whether a column has no name of its own, as the index that pandas writes beside a table.

    >>> [unnamed(name) for name in ("", "Unnamed: 0", "__index_level_0__", "index")]
    [True, True, True, False]
    """
    return _UNNAMED.fullmatch(column) is not None


def matching(present: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """Return which of the columns that are present are which known ones: by their names, or by these but for capitals.

    >>> matching(["ID", "Audio", "audio"], ("id", "audio", "text"))
    {'ID': 'id', 'audio': 'audio'}
    """
    names = {name: name for name in present if name in known}
    for name in present:
        plain = same_name(name).replace(" ", "_")
        if plain in known and plain not in names.values():
            names[name] = plain
    return {name: names[name] for name in present if name in names}


def seconds_of(value: Any) -> float | None:
    """Return a time in seconds; None for an empty cell.

    Raises:
        ValueError: It is none from 0 on.
    """
    if value is None or value == "":
        return None
    try:
        time_s = float(value)
    except (TypeError, ValueError, OverflowError):
        time_s = math.nan
    if not math.isfinite(time_s) or time_s < 0 or isinstance(value, bool):
        raise ValueError(f"{value!r:.40} is no time in seconds from 0 on")
    return time_s


def crop_of(value: Any) -> tuple[float, float, float, float] | None:
    """Return a part of the picture as left, top, right, bottom in fractions; None for an empty cell.

    Raises:
        ValueError: It is none.
    """
    if value is None or value == "":
        return None
    try:
        left, top, right, bottom = (float(part) for part in (value.split(",") if isinstance(value, str) else value))
    except (TypeError, ValueError):
        left = top = right = bottom = math.nan
    if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
        return left, top, right, bottom
    raise ValueError(f"{value!r:.40} is no left,top,right,bottom with 0 ≤ left < right ≤ 1 and 0 ≤ top < bottom ≤ 1")


def file_pointer(path: Path) -> str | None:
    """Return the command that fetches a file whose content isn't here; None where the file is itself.

    Git LFS and git-annex leave a line of text in the place of a large file.
    """
    try:
        if path.stat().st_size > _POINTER_BYTES:
            return None
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        return None
    return next((command for mark, command in _POINTERS.items() if start.startswith(mark)), None)


def refuse_pointers(root: Path, paths: Collection[str]) -> None:
    """Name the files whose content isn't here, of those at some paths below a folder.

    Raises:
        CorpusError: None of the files is here.
    """
    pointers = {path: command for path in sorted(paths) if (command := file_pointer(root / path)) is not None}
    if not pointers:
        return
    commands = " and ".join(f"`{command}`" for command in dict.fromkeys(pointers.values()))
    line = (
        f"{root}: {len(pointers)} of {len(paths)} files are pointers of git-lfs or git-annex to files that aren't here"
    )
    if len(pointers) == len(paths):
        raise CorpusError(f"{line} ({one_line(pointers)}): run {commands} there first.")
    logger.warning(f"{line}, and can't be extracted before {commands} was run there: {one_line(pointers)}.")


def _has_fraction(text: str) -> bool:
    number = score_of(text)
    return number is not None and math.isfinite(number) and not number.is_integer()
