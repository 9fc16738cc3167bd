"""Turns the frames of many utterances into one HDF5 file that is memory-mapped, and back.

The only module that knows the file's layout, which `features/README.md` gives as a table. A feature file appears under
its name only when it is complete; `parts.py` has what lies beside it until then.
"""

import dataclasses
import io
import json
import math
import os
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from gia_mic.extract.errors import NoStoreError, StoreError, first_line, one_line
from gia_mic.extract.files import replacing

__all__ = [
    "EXTRACTED",
    "FAILED",
    "MISSING",
    "Header",
    "Item",
    "Store",
    "checksum",
    "open_store",
    "write_store",
]

FORMAT = "gia-mic features"
VERSION = 1

FLUSH_BYTES = 64 * 2**20
"""Bytes after which a file being written is flushed."""


EXTRACTED, MISSING, FAILED = 0, 1, 2
"""Status of an utterance: has frames; isn't in the corpus in this modality; couldn't be read, with the reason."""


@dataclass(frozen=True)
class Header:
    """What all frames of a file have in common.

    Attributes:
        modality: speech, text or visual.
        encoder: Short name of the encoder, which begins the file's name.
        fingerprint: Hash of everything that changes a value, which ends the file's name.
        spec: All that the fingerprint is the hash of, JSON-like.
        dim: Features per frame, D.
        dtype: float16 or float32.
        frame_rate_hz: Frames per second; None where frames are not evenly spaced in time, as tokens are.
        location: Local folder that the weights were read from; empty where they came from the hub or from nowhere.
        code: File of an encoder that others wrote; empty of ours, and where it is in a package.
    """

    modality: str
    encoder: str
    fingerprint: str
    spec: Mapping[str, Any]
    dim: int
    dtype: str = "float16"
    frame_rate_hz: float | None = None
    location: str = ""
    code: bytes = dataclasses.field(default=b"", repr=False)

    @property
    def file_name(self) -> str:
        """Name of the feature file, `<encoder>-<fingerprint>.h5`."""
        return f"{self.encoder}-{self.fingerprint}.h5"


@dataclass(frozen=True)
class Item:
    """One utterance's frames, or why it has none.

    Attributes:
        id: Utterance id.
        source: Digest of the input that the frames were made from; empty where the corpus has none.
        frames: (T, D), T ≥ 1; None unless the status is EXTRACTED, and where they lie in an open file.
        status: EXTRACTED, MISSING or FAILED.
        reason: Why it failed, or what was left out of its frames.
        checksum: CRC-32 of the frames as they are stored, where it is known.
    """

    id: str
    source: str
    frames: np.ndarray | None = None
    status: int = EXTRACTED
    reason: str = ""
    checksum: int | None = None


class Store:
    """A finished feature file, open for reading.

    Frames are read or mapped from the file when they are wanted, so a Store costs no memory, can be shared across a
    fork, and travels to another process as its path.

    Attributes:
        path: The feature file.
        header: What all frames have in common.
        ids: Utterance ids, in the order of the rows.
        shape: (N, D) of `values`.
        offsets: (U + 1,) int64; utterance u is `values[offsets[u]:offsets[u + 1]]`.
        sources: (U,) digests of the inputs.
        checksums: (U,) uint32, CRC-32 of each utterance's stored bytes.
        status: (U,) uint8; EXTRACTED, MISSING or FAILED.
        reasons: (U,) text; why FAILED, or what was left out of the frames, such as pictures without a face.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _reading(path) as file:
            if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
                raise NoStoreError(
                    f"{path} is not a {FORMAT} file of version {VERSION}, the only one this version of mer reads: "
                    "remove it and run `mer extract` again."
                )
            values = file["values"]
            rate = float(file.attrs["frame_rate_hz"])
            self.header = Header(
                modality=str(file.attrs["modality"]),
                encoder=str(file.attrs["encoder"]),
                fingerprint=str(file.attrs["fingerprint"]),
                spec=json.loads(file.attrs["spec"]),
                dim=values.shape[1],
                dtype=values.dtype.name,
                frame_rate_hz=None if math.isnan(rate) else rate,
                location=str(file.attrs.get("location", "")),
                code=file["code"][:].tobytes() if "code" in file else b"",
            )
            self.ids: list[str] = file["id"].asstr()[:].tolist()
            self.sources: list[str] = file["source"].asstr()[:].tolist()
            self.reasons: list[str] = file["reason"].asstr()[:].tolist()
            self.offsets: np.ndarray = file["offsets"][:]
            self.checksums: np.ndarray = file["checksum"][:]
            self.status: np.ndarray = file["status"][:]
            self.shape: tuple[int, int] = values.shape
            self._begin = _begin(values)
            self._stamp = _stamp(file.id.get_vfd_handle())
        self._rows = {utterance_id: row for row, utterance_id in enumerate(self.ids)}
        lengths = np.diff(self.offsets)
        columns = (self.sources, self.reasons, self.checksums, self.status, lengths)
        if (
            any(len(column) != len(self.ids) for column in columns)
            or len(self._rows) != len(self.ids)
            or (lengths < 0).any()
            or ((lengths > 0) != (self.status == EXTRACTED)).any()
            or self.offsets[0] != 0
            or self.offsets[-1] != self.shape[0]
        ):
            raise NoStoreError(
                f"{path} contradicts itself (its columns don't fit together): remove it and run `mer extract` again."
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, utterance_id: object) -> bool:
        return utterance_id in self._rows

    def __reduce__(self) -> tuple[Callable[[Path], "Store"], tuple[Path]]:
        return open_store, (self.path,)

    @property
    def modality(self) -> str:
        """Modality of the frames: speech, text or visual."""
        return self.header.modality

    @property
    def encoder(self) -> str:
        """Short name of the encoder."""
        return self.header.encoder

    @property
    def spec(self) -> Mapping[str, Any]:
        """Everything that changes a value."""
        return self.header.spec

    @property
    def fingerprint(self) -> str:
        """Hash of the spec."""
        return self.header.fingerprint

    @property
    def dim(self) -> int:
        """Features per frame, D."""
        return self.header.dim

    @property
    def nbytes(self) -> int:
        """Bytes of all frames."""
        return math.prod(self.shape) * np.dtype(self.header.dtype).itemsize

    @property
    def frame_rate_hz(self) -> float | None:
        """Frames per second, where they are evenly spaced."""
        return self.header.frame_rate_hz

    @property
    def partial(self) -> dict[str, str]:
        """What was noted of an utterance, such as what was left out of its frames, by id, where something was."""
        rows = zip(self.ids, self.status, self.reasons, strict=True)
        return {utterance_id: reason for utterance_id, status, reason in rows if status == EXTRACTED and reason}

    def frames(self, utterance_id: str) -> np.ndarray:
        """Return an utterance's frames (T, D), a view of the file; T is 0 where it has none."""
        row = self._rows[utterance_id]
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def length(self, utterance_id: str) -> int:
        """Return how many frames an utterance has, T."""
        row = self._rows[utterance_id]
        return int(self.offsets[row + 1] - self.offsets[row])

    def read(self, utterance_id: str) -> np.ndarray:
        """Return a copy of an utterance's frames (T, D), as `fill` reads them."""
        frames = np.empty((self.length(utterance_id), self.dim), self.header.dtype)
        self.fill([(int(self.offsets[self._rows[utterance_id]]), frames)])
        return frames

    def fill(self, spans: Iterable[tuple[int, np.ndarray]]) -> None:
        """Copy frames out of the file into arrays, past the map, whose pages would count as this process's memory.

        Args:
            spans: For each, the first of its rows in `values`, and the array (T, D) of their type, C-contiguous, that
                is filled from it on.

        Raises:
            StoreError: The file was replaced or removed since it was opened, is cut short, or can't be read.
        """
        for start, frames in spans:
            assert frames.dtype == self.header.dtype
            if not len(frames):
                continue
            if not hasattr(os, "preadv"):
                frames[:] = self.values[start : start + len(frames)]
                continue
            left, offset = frames.view(np.uint8).data.cast("B"), self._begin + start * frames[0].nbytes
            while left:
                try:
                    count = os.preadv(self._descriptor, [left], offset)
                except OSError as error:
                    raise _unreadable(self.path, error) from error
                if not count:
                    raise NoStoreError(f"{self.path} is cut short: remove it and run `mer extract` again.")
                left, offset = left[count:], offset + count

    def copy(self, utterance_id: str, descriptor: int) -> int:
        """Write an utterance's frames as they are stored to where an open file stands; return how many bytes.

        The system copies them without this process where it can, and some file systems need not even copy.
        """
        row = self._rows[utterance_id]
        size = self.length(utterance_id) * self.dim * np.dtype(self.header.dtype).itemsize
        begin = self._begin + int(self.offsets[row]) * self.dim * np.dtype(self.header.dtype).itemsize
        copied = 0
        with suppress(OSError):  # such as between two disks; what else is wrong, reading or writing says better
            while copied < size and hasattr(os, "copy_file_range"):
                count = os.copy_file_range(self._descriptor, descriptor, size - copied, begin + copied)
                if not count:
                    break
                copied += count
        if copied < size:
            _write(descriptor, self.read(utterance_id).view(np.uint8).data.cast("B")[copied:])
        return size

    def close(self) -> None:
        """Close what `fill` or `copy` has opened; they open it again."""
        if self.__dict__.pop("_descriptor", None) is not None:
            self._close()

    @cached_property
    def values(self) -> np.ndarray:
        """(N, D) float16 or float32, mapped from the file, read-only: the frames of all utterances end to end."""
        if not self.offsets[-1]:
            return np.empty(self.shape, self.header.dtype)
        with os.fdopen(self._open(), "rb") as file:
            return np.memmap(file, self.header.dtype, "r", self._begin, self.shape)

    @cached_property
    def _descriptor(self) -> int:
        descriptor = self._open()
        self._close = weakref.finalize(self, os.close, descriptor)
        return descriptor

    def _open(self) -> int:
        """Open the file that was opened at first; what has since taken its name is another one."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if _stamp(descriptor) != self._stamp:
            os.close(descriptor)
            raise StoreError(f"{self.path} was written anew while it was read: run this again.")
        return descriptor

    def index(self, ids: Sequence[str]) -> np.ndarray:
        """Return the row numbers (U,) int64 of utterances.

        Raises:
            StoreError: The file doesn't know some of them.
        """
        unknown = [utterance_id for utterance_id in ids if utterance_id not in self._rows]
        if unknown:
            raise StoreError(
                f"{self.path} has no row for {one_line(unknown)}: the corpus has grown; run `mer extract` again."
            )
        return np.fromiter((self._rows[utterance_id] for utterance_id in ids), dtype=np.int64, count=len(ids))

    def item(self, utterance_id: str) -> Item:
        """Return an utterance as it was written, without its frames."""
        row = self._rows[utterance_id]
        return Item(
            utterance_id,
            self.sources[row],
            None,
            int(self.status[row]),
            self.reasons[row],
            int(self.checksums[row]),
        )

    def damaged(self) -> Iterator[str]:
        """Read every byte and give the ids whose frames are not those that were written."""
        for row, utterance_id in enumerate(self.ids):
            if checksum(self.read(utterance_id)) != self.checksums[row]:
                yield utterance_id


def open_store(path: Path) -> Store:
    """Open a feature file.

    Raises:
        StoreError: It is missing, cut short, of another version, or no feature file at all.
    """
    return Store(Path(path))


def write_store(path: Path, header: Header, items: Sequence[Item], stores: Mapping[str, Store] | None = None) -> None:
    """Write a whole feature file, all or nothing.

    Args:
        path: File to write; one that is there is replaced.
        header: What all frames have in common.
        items: Utterances in the order of the rows.
        stores: By id, the file that an utterance's frames are copied from when their turn comes; of many files one at a
            time is open.

    Raises:
        StoreError: The frames don't fit the header, or the file can't be written.
    """
    stores = stores or {}
    lengths = [
        stores[item.id].length(item.id) if item.id in stores else 0 if item.frames is None else len(item.frames)
        for item in items
    ]
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    checksums = np.zeros(len(items), dtype=np.uint32)
    text = h5py.string_dtype("utf-8")
    rate = math.nan if header.frame_rate_hz is None else header.frame_rate_hz
    with (
        replacing(path) as temporary,
        _room_for(temporary, offsets[-1], header, items),
        h5py.File(temporary, "w") as file,
    ):
        begin = _reserve(file, (int(offsets[-1]), header.dim), header.dtype)
        with _writing(temporary, begin) as file_end:
            for row, item in enumerate(items):
                if (store := stores.get(item.id)) is not None:
                    checksums[row] = store.checksums[store.index([item.id])[0]]
                    file_end.copy(store, item.id)
                    continue
                stored = _stored(item.id, item.frames, header)
                checksums[row] = checksum(stored) if item.checksum is None else item.checksum
                file_end.append(stored)
        file.create_dataset("offsets", data=offsets)
        file.create_dataset("id", data=[item.id for item in items], dtype=text)
        file.create_dataset("source", data=[item.source for item in items], dtype=text)
        file.create_dataset("checksum", data=checksums)
        file.create_dataset("status", data=np.array([item.status for item in items], dtype=np.uint8))
        file.create_dataset("reason", data=[item.reason for item in items], dtype=text)
        if header.code:
            file.create_dataset("code", data=np.frombuffer(header.code, np.uint8))
        file.attrs.update(
            {
                "format": FORMAT,
                "version": VERSION,
                "modality": header.modality,
                "encoder": header.encoder,
                "fingerprint": header.fingerprint,
                "spec": json.dumps(header.spec, sort_keys=True),
                "frame_rate_hz": rate,
                "location": header.location,
            }
        )


@contextmanager
def _room_for(path: Path, frames: int, header: Header, items: Sequence[Item]) -> Iterator[None]:
    """Try whether the disk has room for a file, before HDF5 does: in the middle of a write it can't give up cleanly.

    Raises:
        OSError: It hasn't.
    """
    size = int(frames) * header.dim * np.dtype(header.dtype).itemsize
    size += sum(200 + len(item.id) + len(item.reason) for item in items) + len(header.code) + 16_384
    if hasattr(os, "posix_fallocate"):
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    try:
        yield
    except RuntimeError as error:  # HDF5's way of saying that a write failed after all
        raise OSError(first_line(error)) from error


def _reserve(file: h5py.File, shape: tuple[int, int], dtype: str) -> int:
    """Make the dataset `values`, contiguous and not filled, and return where in the file its bytes go."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    dataset = file.create_dataset("values", shape, dtype, dcpl=layout)
    begin = dataset.id.get_offset() or 0
    if dataset.nbytes and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.id.get_vfd_handle(), begin, dataset.nbytes)
    return begin


class _End:
    """The end of what is written of a file, which a thread meanwhile flushes to the disk.

    Past HDF5, and with the disk at work all the time, 1.8 GB took 1.1 s instead of 1.9 s where this was measured.
    """

    def __init__(self, file: io.FileIO, disk: ThreadPoolExecutor) -> None:
        self._file, self._disk = file, disk
        self._flushes: list[Future[None]] = []
        self._unflushed = 0

    def append(self, frames: np.ndarray) -> None:
        """Write frames (T, D), C-contiguous."""
        if frames.size:
            _write(self._file.fileno(), frames.view(np.uint8).data.cast("B"))
            self._flush(frames.nbytes)

    def copy(self, store: Store, utterance_id: str) -> None:
        """Write what another file has of an utterance."""
        self._flush(store.copy(utterance_id, self._file.fileno()))
        store.close()

    def _flush(self, written: int) -> None:
        self._unflushed += written
        if self._unflushed > FLUSH_BYTES:
            self._flushes.append(self._disk.submit(os.fsync, self._file.fileno()))
            self._unflushed = 0

    def finish(self) -> None:
        """Wait for the disk."""
        for flush in self._flushes:
            flush.result()


@contextmanager
def _writing(path: Path, begin: int) -> Iterator[_End]:
    """Open a file to write from a place in it on."""
    with path.open("r+b", buffering=0) as file, ThreadPoolExecutor(1, "flush") as disk:
        file.seek(begin)
        end = _End(file, disk)
        yield end
        end.finish()


def _write(descriptor: int, content: memoryview) -> None:
    """Write all of it: the system takes at most 2 GiB at once."""
    while content:
        content = content[os.write(descriptor, content) :]


@contextmanager
def _reading(path: Path) -> Iterator[h5py.File]:
    """Open for reading; whatever HDF5 finds wrong becomes one sentence."""
    if not path.is_file():
        raise NoStoreError(f"There is no feature file {path}: run `mer extract` first.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, ValueError, RuntimeError, IndexError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's trouble, not the file's
            raise _unreadable(path, error) from error
        raise NoStoreError(f"{path} is broken ({first_line(error)}): remove it and run `mer extract` again.") from error


def _stamp(descriptor: int) -> tuple[int, int]:
    """Return what tells a file from another of its name: not the inode, which is used again and changes on FUSE."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> StoreError:
    words = os.strerror(error.errno or 0)  # HDF5's own are many
    return StoreError(f"{path} can't be read ({words}): see to that, and run this again.")


def _begin(dataset: h5py.Dataset) -> int:
    """Return where in the file the bytes of a contiguous dataset begin."""
    if dataset.size == 0:
        return 0
    offset = dataset.id.get_offset()
    if offset is None or dataset.dtype.name not in ("float16", "float32"):
        raise ValueError("values are not contiguous float16 or float32")
    if offset + dataset.nbytes > os.fstat(dataset.file.id.get_vfd_handle()).st_size:
        raise ValueError("values are cut short")
    return offset


def _stored(utterance_id: str, frames: np.ndarray | None, header: Header) -> np.ndarray:
    """Return frames as they go to the file, (T, D), C-contiguous."""
    if frames is None:
        return np.empty((0, header.dim), header.dtype)
    if frames.ndim != 2 or frames.shape[1] != header.dim or len(frames) == 0:
        raise StoreError(
            f"The frames of {utterance_id} have shape {frames.shape}; {header.file_name} takes (T ≥ 1, {header.dim})."
        )
    return np.ascontiguousarray(frames, dtype=header.dtype)


def checksum(stored: np.ndarray) -> int:
    """Return the CRC-32 of frames as they are stored."""
    return zlib.crc32(np.ascontiguousarray(stored).view(np.uint8).data) if stored.size else 0
