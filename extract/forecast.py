"""Turns a plan of extraction into what it will take: hours of recordings, room on the disk, time."""

import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gia_mic.extract import plan
from gia_mic.extract.corpus import Corpus
from gia_mic.extract.device import batch_positions
from gia_mic.extract.encoders.contract import EncodeJob, Encoder
from gia_mic.extract.errors import StoreError
from gia_mic.extract.files import size_text
from gia_mic.extract.parts import Builder
from gia_mic.extract.pipeline import encode_all, encode_one, side_by_side
from gia_mic.extract.progress import time_text
from gia_mic.extract.store import FAILED, MISSING, Header

__all__ = ["Forecast", "check_room", "expected_bytes", "forecast"]

SAMPLE_SECONDS = 5.0
"""How long the speed is measured."""


@dataclass(frozen=True)
class Forecast:
    """What an extraction will take.

    Attributes:
        path: The feature file.
        utterances: Number of utterances in the corpus.
        todo: Number of them that are to be encoded.
        finished: Number that were encoded before.
        missing: Number that the corpus doesn't have in this modality.
        failed: Number that can't be read.
        hours: Length of the recordings to be encoded, in hours; 0 for text.
        bytes: Expected size of the finished file, in bytes.
        room: Bytes needed on the disk while it is made.
        free: Bytes free on that disk.
        seconds: Expected time in seconds, from a measured sample; None where the weights are still to be downloaded.
        download: Bytes to download.
    """

    path: Path
    utterances: int
    todo: int
    finished: int
    missing: int
    failed: int
    hours: float
    bytes: int
    room: int
    free: int
    seconds: float | None
    download: int = 0

    def __str__(self) -> str:
        lines = {
            "feature file": f"{self.path}{'' if self.path.exists() else ' (new)'}",
            "utterances": f"{self.utterances}: {self.todo} to extract, {self.finished} finished, "
            f"{self.missing} missing in the corpus, {self.failed} unreadable",
            "recordings to extract": f"{self.hours:.2f} hours" if self.hours else "none, or text",
            "size of the file": size_text(self.bytes),
            "room needed": f"{size_text(self.room)}, free {size_text(self.free)}",
            "download": f"{size_text(self.download)} of weights, to the hub's local cache",
            "time": f"about {time_text(self.seconds)}, from a measured sample"
            if self.todo and self.seconds is not None
            else "can be measured once they are fetched (mer fetch)"
            if self.todo
            else "none",
        }
        if not self.download:
            del lines["download"]
        width = max(map(len, lines))
        return "\n".join(f"{name:{width}}  {value}" for name, value in lines.items())


def forecast(corpus: Corpus, encoder: Encoder, device: str = "cpu") -> Forecast:
    """Look at every input, time a sample if the weights are there, and write nothing but a lock.

    Raises:
        MediaError: The corpus has nothing in this modality.
        StoreError: The feature file is broken, or another process writes it.
    """
    header = encoder.header
    folder = corpus.folder / header.modality
    plan.require_modality(corpus, header.modality)
    jobs, no_frames = plan.jobs(corpus, encoder)
    with Builder(folder / header.file_name, header) as builder:
        todo = [job for job in jobs if not builder.finished(job.id, job.source)]
        parts_bytes = sum(path.stat().st_size for path in builder.parts.glob("*.h5"))
        file_bytes = expected_bytes(jobs, header)
        return Forecast(
            path=builder.path,
            utterances=len(corpus),
            todo=len(todo),
            finished=len(jobs) - len(todo),
            missing=sum(item.status == MISSING for item in no_frames.values()),
            failed=sum(item.status == FAILED for item in no_frames.values()),
            hours=sum(job.duration_s for job in todo) / 3600,
            bytes=file_bytes,
            room=max(_room(todo, jobs, header) - parts_bytes, 0),
            free=shutil.disk_usage(corpus.folder).free,
            seconds=None if encoder.missing_bytes else _seconds(todo, encoder, device),
            download=encoder.missing_bytes,
        )


def expected_bytes(jobs: Sequence[EncodeJob], header: Header) -> int:
    """Return about how large the frames of these utterances are on the disk."""
    frames = 0.0
    rate = header.frame_rate_hz or header.spec.get("frame_rate_hz")  # faces: as if every picture showed one
    for job in jobs:
        if header.spec.get("pool") == "utterance":
            frames += 1
        elif rate is not None:
            frames += max(job.duration_s * rate, 1)
        else:
            frames += job.size
    return round(frames * header.dim * (2 if header.dtype == "float16" else 4)) + 200 * len(jobs)


def check_room(todo: Sequence[EncodeJob], jobs: Sequence[EncodeJob], header: Header, folder: Path) -> None:
    """Refuse to begin what the disk can't hold.

    Args:
        todo: Utterances to encode.
        jobs: All utterances that the finished file will have.
        header: What their frames have in common.
        folder: A folder on that disk.

    Raises:
        StoreError: There is too little room.
    """
    room, free = _room(todo, jobs, header), shutil.disk_usage(folder).free
    if room > free:
        raise StoreError(
            f"{folder} has {size_text(free)} free, and extracting {len(todo)} utterances takes about {size_text(room)} "
            "(half of it for as long as the file is being put together): free some, or choose another --features."
        )


def _room(todo: Sequence[EncodeJob], jobs: Sequence[EncodeJob], header: Header) -> int:
    """Return the bytes needed: the parts stay until the finished file is in place."""
    return expected_bytes(todo, header) + (expected_bytes(jobs, header) if todo else 0)


def _seconds(todo: Sequence[EncodeJob], encoder: Encoder, device: str) -> float:
    """Time batches from all over the corpus, as extraction makes them, until the sample is long enough."""
    if not todo:
        return 0.0
    encoder, budget = encoder.to(device), batch_positions(device)
    encode_one(encoder, min(todo, key=lambda job: job.size), budget)  # warms up
    batches = plan.batches(todo, budget, seed=encoder.header.fingerprint)
    sizes = {job.id: job.size for job in todo}
    size = 0
    stop = threading.Event()
    begun = now = time.perf_counter()
    encoders = side_by_side(encoder, device, len(batches))
    with closing(encode_all(encoders, batches, budget, stop)) as results:
        for items in results:
            if now - begun > SAMPLE_SECONDS:  # what was begun before it was over counts neither way
                continue
            size += sum(sizes[item.id] for item in items)
            now = time.perf_counter()
            if now - begun > SAMPLE_SECONDS:
                stop.set()
    return (now - begun) * sum(sizes.values()) / max(size, 1)
