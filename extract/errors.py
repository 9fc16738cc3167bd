"""Turns whatever a user, a file or a network can get wrong into one sentence."""

import traceback
from collections.abc import Iterable

__all__ = [
    "CorpusError",
    "EncoderError",
    "Interrupted",
    "MediaError",
    "MerError",
    "NoStoreError",
    "RunError",
    "StoreError",
    "first_line",
    "one_line",
    "what_failed",
    "words_of",
]


class MerError(Exception):
    """Something outside the code is wrong: the message says what, where, and what to do about it."""


class CorpusError(MerError):
    """A corpus or its manifest is missing, incomplete or contradicts itself."""


class MediaError(MerError):
    """One recording or transcript can't be read; the other utterances go on without it."""


class EncoderError(MerError):
    """An encoder can't be loaded, or doesn't fit the modality."""


class StoreError(MerError):
    """A feature file is missing, broken, stale, locked or can't be written."""


class NoStoreError(StoreError):
    """What stands there is no whole feature file: it is missing, cut short, of another version or something else."""


class Interrupted(MerError):
    """The user stopped a command that goes on when it is run again."""


class RunError(MerError):
    """A training run can't be set up, or a run folder can't be read."""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error for a message, or its type's name where it says nothing.

    >>> first_line(ValueError("no such model."))
    'no such model'
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


def words_of(error: BaseException) -> str:
    """Return the system's own words for an error that has some, without its number and path; else its first line.

    >>> words_of(OSError(28, "No space left on device", "a.h5"))
    'No space left on device'
    """
    return getattr(error, "strerror", None) or first_line(error)


def what_failed(error: BaseException, file: str | None = None) -> str:
    """Return an error's type and its first line, and the line of a file that it comes from, where that is known."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError):
        lines = [] if "line" in str(error) else [error.lineno]
    return f"{type(error).__name__}: {first_line(error)}" + (f", line {lines[-1]}" if lines else "")


def one_line(items: Iterable[object], most: int = 10) -> str:
    """Join items for a message, cut at `most`, with the total.

    >>> one_line(range(12), most=3)
    '0, 1, 2 and 9 more (12 in all)'
    """
    listed = [str(item) for item in items]
    if len(listed) <= most:
        return ", ".join(listed)
    return f"{', '.join(listed[:most])} and {len(listed) - most} more ({len(listed)} in all)"
