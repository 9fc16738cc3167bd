"""Turns an fsspec address, such as s3://bucket/features, into a folder of this machine that is kept in step with it.

Feature files are read at any place, and decoders want files, so what lies behind an address is used through a mirror:
a folder in the cache that knows its address. Features are pulled whole, recordings one by one when they are decoded;
what has changed since comes again. Whatever `files.replacing` puts into a mirror goes to the address at once, as a
whole: by a rename where the store has one, otherwise followed, if it is a finished feature file, by a marker without
which nobody takes it. The lock of a feature file is this machine's alone: two machines that write the same one behind
an address both do all the work, and the later one stays.

fsspec's own caches don't serve: they keep files flat, by hash or base name, so nothing can look through a folder, and
don't hand back what is written. `fsspec.generic.rsync` overlooks a change that keeps a file's size, knows no markers,
and deletes what is only here.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from gia_mic.extract.errors import StoreError

__all__ = [
    "address_of",
    "cache_folder",
    "fetch",
    "is_address",
    "local_folder",
    "mirror",
    "mirror_of",
    "pull",
    "push",
    "withdraw",
]

MARK, VERSIONS, COMPLETE = ".address", ".versions", ".complete"

RENAMING = frozenset("file local sftp ssh smb ftp hdfs webhdfs".split())
"""Stores in which a rename is one step; elsewhere it is a copy."""

_STAMPS = ("size", "ETag", "etag", "mtime", "LastModified", "last_modified", "created", "updated", "generation")


def is_address(text: str) -> bool:
    """Whether a text is an address, not a path.

    >>> is_address("s3://bucket/features"), is_address("features")
    (True, False)
    """
    return "://" in text


def mirror(address: str) -> Path:
    """Return the folder that stands for an address, empty at first."""
    folder = cache_folder() / hashlib.sha256(address.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text(address, encoding="utf-8")
    return folder


def local_folder(path: str | Path) -> Path:
    """Return a folder as it is, or the mirror of an address with what lies there.

    Raises:
        StoreError: The address can't be read.
    """
    if not is_address(str(path)):
        return Path(path)
    folder = mirror(str(path))
    pull(folder)
    return folder


def address_of(folder: Path) -> str | None:
    """Return the address that a folder stands for, if it is a mirror."""
    mark = folder / MARK
    return mark.read_text(encoding="utf-8") if folder.parent == cache_folder() and mark.is_file() else None


def mirror_of(path: Path) -> Path | None:
    """Return the mirror that a path lies in."""
    cache = cache_folder()
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 (links stay)
    if not absolute.is_relative_to(cache):
        return None
    folder = cache / absolute.relative_to(cache).parts[0]
    return folder if (folder / MARK).is_file() else None


def pull(folder: Path) -> None:
    """Make a mirror hold what lies at its address.

    Raises:
        StoreError: The address can't be read.
    """
    with _store(folder) as (store, root):
        listing: dict[str, Any] = {}
        with suppress(FileNotFoundError):
            listing = store.find(root, detail=True)
        remote = {
            PurePosixPath(path).relative_to(PurePosixPath(root)).as_posix(): info for path, info in listing.items()
        }
        for path, info in remote.items():
            if not _renames(store) and _finished(path) and path + COMPLETE not in remote:
                continue
            if not path.endswith((COMPLETE, ".tmp")):
                _get(store, root, folder, path, info)
        for version in [path for path in (folder / VERSIONS).rglob("*") if path.is_file()]:
            name = version.relative_to(folder / VERSIONS)
            if name.as_posix() not in remote:
                (folder / name).unlink(missing_ok=True)
                version.unlink()


def fetch(folder: Path, path: str) -> None:
    """Bring one file into a mirror, unless it is there as it is at the address.

    Raises:
        StoreError: The address can't be read.
    """
    with _store(folder) as (store, root):
        if store.exists(f"{root}/{path}"):  # else whoever opens it says that it is missing
            _get(store, root, folder, path, store.info(f"{root}/{path}"))


def push(path: Path) -> None:
    """Write a file of a mirror to its address; other files are left alone.

    Raises:
        StoreError: The address can't be written.
    """
    folder = mirror_of(path)
    if folder is None:
        return
    name = path.relative_to(folder).as_posix()
    with _store(folder) as (store, root):
        address = f"{root}/{name}"
        store.makedirs(str(PurePosixPath(address).parent), exist_ok=True)
        if _renames(store):
            temporary = f"{address}.{uuid.uuid4().hex}.tmp"
            store.put_file(str(path), temporary)
            store.mv(temporary, address)
        else:
            if _finished(name) and store.exists(address + COMPLETE):
                store.rm_file(address + COMPLETE)
            store.put_file(str(path), address)
            if _finished(name):
                store.pipe_file(address + COMPLETE, str(path.stat().st_size).encode())
        store.invalidate_cache()
        _remember(folder, name, store.info(address))


def withdraw(path: Path) -> None:
    """Remove a folder of a mirror, there and at the address.

    Raises:
        StoreError: The address can't be written.
    """
    folder = mirror_of(path)
    if folder is not None:
        name = path.relative_to(folder).as_posix()
        with _store(folder) as (store, root), suppress(FileNotFoundError):
            store.rm(f"{root}/{name}", recursive=True)
        shutil.rmtree(folder / VERSIONS / name, ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)


def cache_folder() -> Path:
    """Return the folder of what may be removed at any time: `MER_CACHE`, or one in the home folder.

    Raises:
        RuntimeError: There is no home folder.
    """
    return Path(os.environ.get("MER_CACHE") or Path.home() / ".cache" / "gia-mic").resolve()


@contextmanager
def _store(folder: Path) -> Iterator[tuple[Any, str]]:
    """Open the store behind a mirror; whatever it finds wrong becomes one sentence."""
    import fsspec

    address = (folder / MARK).read_text(encoding="utf-8")
    try:
        store, root = fsspec.core.url_to_fs(address)
        yield store, root.rstrip("/")
    except (OSError, ValueError, ImportError) as error:
        raise StoreError(f"{address} can't be used ({error}): check the address and your credentials.") from error


def _renames(store: Any) -> bool:
    return not RENAMING.isdisjoint([store.protocol] if isinstance(store.protocol, str) else store.protocol)


def _finished(path: str) -> bool:
    """Whether a path is that of a finished feature file, not of a part."""
    return path.endswith(".h5") and not PurePosixPath(path).parent.name.endswith(".parts")


def _version(info: Mapping[str, Any]) -> str:
    return " ".join(str(info[stamp]) for stamp in _STAMPS if stamp in info)


def _remember(folder: Path, path: str, info: Mapping[str, Any]) -> None:
    version = folder / VERSIONS / path
    version.parent.mkdir(parents=True, exist_ok=True)
    version.write_text(_version(info), encoding="utf-8")


def _get(store: Any, root: str, folder: Path, path: str, info: Mapping[str, Any]) -> None:
    local, version = folder / path, folder / VERSIONS / path
    if local.is_file() and version.is_file() and version.read_text(encoding="utf-8") == _version(info):
        return
    local.parent.mkdir(parents=True, exist_ok=True)
    temporary = local.with_name(f".{local.name}.{uuid.uuid4().hex}.tmp")
    try:
        store.get_file(f"{root}/{path}", str(temporary))
        temporary.replace(local)
    finally:
        temporary.unlink(missing_ok=True)
    _remember(folder, path, info)
