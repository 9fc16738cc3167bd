"""Turns what was once worked out, such as a large file's digest, into notes in the user's cache, and back.

A note is a small file of its own, written all or nothing, so that any number of processes may read and write them. One
that is damaged, or can't be read or written, is as good as none. `MER_CACHE` names another folder than
`~/.cache/gia-mic`; whoever removes it loses nothing but time.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from gia_mic.extract.address import cache_folder
from gia_mic.extract.errors import StoreError
from gia_mic.extract.files import digest, text_digest, write_json

__all__ = ["Answer", "remembered", "trusted_digest", "trusted_digest_of"]

Answer = TypeVar("Answer")

LEAST_BYTES = 1 << 20
"""Smaller files are digested as fast as a note is read."""

SETTLED_S = 3.0
"""A file that was written less than this before its digest was taken, in seconds, is digested again the next time.

Clocks of files may be as coarse as two seconds, and a second writing within them would show in nothing else.
"""


def trusted_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, from a note where the file is as it was when they were read.

    It is taken to be if it has the same size, inode, and times of writing and of change, in nanoseconds. A file is
    read again if it was written just before it was read, or in the future, as a clock that runs ahead says.

    Raises:
        OSError: It can't be read.
    """
    identity = _identity(path)
    if identity["size"] < LEAST_BYTES:
        return digest(path)
    key = f"digest {path.resolve()}"
    note = _read(key)
    if note is not None and note.get("file") == identity and isinstance(note.get("sha256"), str):
        return str(note["sha256"])
    begun_ns = time.time_ns()
    sha256 = digest(path)
    written_ns = max(identity["written_ns"], identity["changed_ns"])
    if written_ns < begun_ns - SETTLED_S * 1e9 and _identity(path) == identity:
        _write(key, {"file": identity, "sha256": sha256})
    return sha256


def trusted_digest_of(files: Iterable[Path], folder: Path) -> str:
    """Return a digest of files by their names in a folder and their `trusted_digest`, in the order of their paths.

    Raises:
        OSError: One can't be read.
    """
    lines = (f"{path.relative_to(folder).as_posix()} {trusted_digest(path)}\n" for path in sorted(files))
    return text_digest("".join(lines))


def remembered(key: str, work: Callable[[], Answer]) -> Answer:
    """Return what `work` answers, from a note where it was once done.

    Args:
        key: All that decides the answer, such as versions and digests.
        work: Works out what JSON can hold; an error is no answer.
    """
    note = _read(key)
    if note is not None and "answer" in note:
        noted: Answer = note["answer"]
        return noted
    answer = work()
    _write(key, {"answer": answer})
    return answer


def _identity(path: Path) -> dict[str, int]:
    with path.open("rb") as file:  # opened, as a network's disk may answer for a while from what it was asked before
        status = os.fstat(file.fileno())
    return {
        "size": status.st_size,
        "inode": status.st_ino,
        "device": status.st_dev,
        "written_ns": status.st_mtime_ns,
        "changed_ns": status.st_ctime_ns,
    }


def _note(key: str) -> Path:
    return cache_folder() / "notes" / f"{text_digest(key)[:32]}.json"


def _read(key: str) -> dict[str, Any] | None:
    """Return the note of a key, if there is one that says that it is the key's."""
    with suppress(OSError, RuntimeError, ValueError):
        note = json.loads(_note(key).read_text(encoding="utf-8"))
        if isinstance(note, dict) and note.get("key") == key:
            return note
    return None


def _write(key: str, note: dict[str, Any]) -> None:
    with suppress(OSError, RuntimeError, ValueError, StoreError):  # such as a cache that can't be written, or no home
        write_json(_note(key), {"key": key, **note})
