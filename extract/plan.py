"""Turns a corpus and an encoder into balanced batches of work, each input known by the digest of its content."""

import os
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from gia_mic.extract import files, media
from gia_mic.extract.address import address_of
from gia_mic.extract.corpus import Corpus
from gia_mic.extract.encoders.contract import EncodeJob, Encoder
from gia_mic.extract.errors import CorpusError, MediaError
from gia_mic.extract.pipeline import reason
from gia_mic.extract.store import FAILED, MISSING, Item

__all__ = ["COLUMNS", "WHOLE", "Shard", "batches", "has_modality", "jobs", "require_modality"]

COLUMNS = {"speech": "audio", "text": "text", "visual": "video"}
"""Manifest column of each modality."""


@dataclass(frozen=True)
class Shard:
    """A share of a corpus: the i-th of n stretches of its manifest, from 1, so that clips of one file stay together."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise CorpusError(f"There is no shard {self}: of {self.count}, they are numbered from 1 to {self.count}.")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def rows(self, total: int) -> slice:
        """Return which of `total` rows it has."""
        return slice(total * (self.number - 1) // self.count, total * self.number // self.count)


WHOLE = Shard(1, 1)


def jobs(corpus: Corpus, encoder: Encoder, shard: Shard = WHOLE) -> tuple[list[EncodeJob], dict[str, Item]]:
    """Look at every input of a corpus, or of a shard of it.

    Returns:
        What there is to encode, in the manifest's order; and by id the utterances for which nothing is, missing in the
        corpus or failed.

    Raises:
        CorpusError: A path leads out of the corpus root, or that is gone.
    """
    modality = encoder.header.modality
    rows = shard.rows(len(corpus))
    no_frames: dict[str, Item] = {}
    if modality == "text":
        texts = dict(zip(corpus.ids[rows], corpus.column("text")[rows], strict=True))
        no_frames = {i: Item(i, "", status=MISSING) for i, text in texts.items() if text is None}
        to_encode = [EncodeJob(i, files.text_digest(text), text=text) for i, text in texts.items() if text is not None]
        return [replace(job, size=encoder.size(job)) for job in to_encode], no_frames

    clips = {u.id: u.audio if modality == "speech" else u.video for u in list(corpus)[rows]}
    if not corpus.root.is_dir() and address_of(corpus.root) is None:
        raise CorpusError(
            f"The folder of the corpus {corpus.name!r}, {corpus.root}, is gone: mount it or put it back, or run "
            "`mer prepare` again with where its files are now."
        )
    named = {clip.path: clip for clip in clips.values() if clip is not None}
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as workers:
        paths = dict(zip(named, workers.map(corpus.path, named.values()), strict=True))
        probes = dict(zip(paths, workers.map(partial(_probe, modality), paths.values()), strict=True))
    to_encode = []
    for utterance_id, clip in clips.items():
        if clip is None:
            no_frames[utterance_id] = Item(utterance_id, "", status=MISSING)
        elif isinstance(probe := probes[clip.path], str):
            no_frames[utterance_id] = Item(utterance_id, "", status=FAILED, reason=probe)
        else:
            file_digest, contents = probe
            length_s, reading = contents.duration_s, contents.reading and f" {contents.reading}"
            source = files.text_digest(f"{file_digest} {clip.start_s} {clip.end_s} {clip.crop}{reading}")
            duration_s = max((length_s if clip.end_s is None else clip.end_s) - (clip.start_s or 0.0), 0.0)
            to_encode.append(EncodeJob(utterance_id, source, path=paths[clip.path], clip=clip, duration_s=duration_s))
    return [replace(job, size=encoder.size(job)) for job in to_encode], no_frames


def has_modality(corpus: Corpus, modality: str) -> bool:
    """Whether any utterance of a corpus has this modality."""
    return any(value is not None for value in corpus.column(COLUMNS[modality]))


def require_modality(corpus: Corpus, modality: str) -> None:
    """Refuse a modality that no utterance of the corpus has.

    Raises:
        MediaError: No utterance has it.
    """
    if not has_modality(corpus, modality):
        raise MediaError(f"The corpus {corpus.name!r} has no {COLUMNS[modality]}: choose another --modality.")


def _probe(modality: str, path: Path) -> tuple[str, media.Look] | str:
    """Return a file's digest and what its headers say, or what is wrong with it."""
    try:
        contents = media.look(path, modality)
        return files.digest(path), contents
    except Exception as error:  # whatever one file does to what reads it, the others go on
        return reason(error)


def batches(jobs: Sequence[EncodeJob], budget: int, seed: str) -> list[list[EncodeJob]]:
    """Group jobs of like size under the budget; the largest batch first, the others shuffled.

    The first batch shows at once whether the memory suffices, the shuffle makes the time left believable.
    """
    grouped: list[list[EncodeJob]] = []
    for job in sorted(jobs, key=lambda job: (job.size, job.id)):
        if not grouped or (len(grouped[-1]) + 1) * job.size > budget:
            grouped.append([])
        grouped[-1].append(job)
    if grouped:
        largest = grouped.pop()
        random.Random(seed).shuffle(grouped)
        grouped.insert(0, largest)
    return grouped
