"""Turns writing a file into all or nothing, and two writers into one."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gia_mic.extract.address import push
from gia_mic.extract.errors import StoreError, words_of
from gia_mic.extract.names import encodable

__all__ = ["digest", "lock", "make_folder", "replacing", "size_text", "text_digest", "write_json", "write_text"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place once the block ends without an error.

    Whoever reads `path` sees the old file or the whole new one, also after a power cut: the bytes are
    flushed to the disk before the rename. After an error the temporary file is removed.

    Raises:
        StoreError: The folder can't be written, or the disk is full.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        push(path)
    except OSError as error:
        raise StoreError(
            f"{path} can't be written ({words_of(error)}): free some space or choose another folder."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, all or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, all or nothing; NaN and infinity are refused."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    if not encodable(text):  # a file name that isn't UTF-8, such as in the command that was typed
        text = json.dumps(value, indent=2, allow_nan=False)
    write_text(path, text + "\n")


def make_folder(path: Path) -> None:
    """Make a folder and its parents.

    Raises:
        StoreError: It can't be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"The folder {path} can't be made ({words_of(error)}): choose another one.") from error


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the only right to write what `path` guards; the operating system ends it with the process.

    Raises:
        StoreError: Another process holds it.
    """
    make_folder(path.parent)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreError(
            f"Another process is writing here (it holds {path}): wait for it to end, or stop it, and run this again."
        ) from None
    except OSError as error:
        raise StoreError(f"{path} can't be written ({words_of(error)}): choose another folder.") from error
    try:
        yield
    finally:
        lock.release()


def size_text(count: float) -> str:
    """Write a number of bytes for people.

    >>> size_text(1_920_000_000)
    '1.9 GB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
