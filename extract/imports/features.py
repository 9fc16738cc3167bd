"""Turns features that others made into a normal feature file, and into a corpus where there is none yet."""

import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gia_mic.extract.corpora.cells import MISSING_TEXTS
from gia_mic.extract.corpora.table import bad_id
from gia_mic.extract.corpus import Corpus, corpus_names, load_corpus
from gia_mic.extract.errors import CorpusError, StoreError, one_line
from gia_mic.extract.imports import sentiment
from gia_mic.extract.imports.corpus import (
    check_corpus,
    make_corpus,
    utterances_of_files,
    utterances_of_segments,
    utterances_of_table,
)
from gia_mic.extract.imports.formats import ImportedUtterance, cut_to_segments, read_segments, read_utterances
from gia_mic.extract.names import look_alikes
from gia_mic.extract.store import EXTRACTED, FAILED, MISSING, Header, Item, write_store

__all__ = ["import_features"]

logger = logging.getLogger(__name__)

_VERSION = 1


def import_features(
    files: Sequence[Path],
    modality: str,
    features: Path,
    name: str,
    *,
    labels: Path | None = None,
    splits: Path | None = None,
    classes: str | None = None,
    ranges: Mapping[str, Sequence[float]] | None = None,
    encoder: str | None = None,
    frame_rate_hz: float | None = None,
    nonfinite: str = "fail",
    missing: Collection[str] = MISSING_TEXTS,
) -> Path:
    """Write a feature file from files in others' formats.

    Args:
        files: What `read_utterances` reads; several are put together.
        modality: speech, text or visual.
        features: The features folder.
        name: Corpus. One that isn't prepared yet is made from `labels`, or from the labels in the files.
        labels: Table with id and label, or other targets as `prepare_table` reads them, and, as far as known, split,
            speaker, session, …; or a label sequence (.csd) whose segments the files' whole videos are cut to.
        splits: For a label sequence, table of video (or id) and split; what it doesn't name is left out.
        classes: How scores in the files, in the table or in the label sequence become classes: one of
            `sentiment.CLASSES`. By default the corpus's way is kept; a new one takes the files' or the table's own
            words where there are some, else the sign. The scores are kept beside the classes; an utterance whose score
            is of no class has the scores alone.
        ranges: Lowest and highest value of scores, by name; by default those of `sentiment.scales`, else the least and
            greatest that occur.
        encoder: Short name for the features; by default the first file's name.
        frame_rate_hz: Frames per second, where they are evenly spaced.
        nonfinite: What becomes of an utterance with NaN or infinity in it: "fail" records it as failed and raises once
            the file is written, "skip" only records it, "zero" puts zeros there, as published code does for COVAREP.
        missing: Texts in the tables that stand for a missing value.

    Returns:
        The feature file.

    Raises:
        CorpusError: There is no corpus of that name and no labels, or labels and files don't fit the corpus.
        StoreError: A file is refused, broken, or contradicts another in an id or in D; or values aren't finite.
    """
    if nonfinite not in ("fail", "skip", "zero"):
        raise StoreError(f"{nonfinite!r} is not a way to treat values that aren't finite: choose fail, skip or zero.")
    if classes is not None and classes not in sentiment.CLASSES:
        raise CorpusError(f"{classes!r} is not a way to make classes of scores: choose {one_line(sentiment.CLASSES)}.")
    scores_needed = classes is not None
    corpus = load_corpus(features, name) if name in corpus_names(features) else None
    if classes is None and corpus is not None:
        classes = corpus.about.get("scores_as")
    cut = labels is not None and labels.suffix.lower() == ".csd"
    segments = read_segments(labels) if labels is not None and cut else []
    rows = (
        row for file in files for row in (cut_to_segments(file, segments) if cut else read_utterances(file, modality))
    )
    imported = _collect(rows, files)
    if labels is None:
        utterances = utterances_of_files(imported.values(), classes)
    elif cut:
        utterances = utterances_of_segments(segments, classes, splits, missing)
    else:
        existing = () if corpus is None else corpus.classes
        utterances = utterances_of_table(labels, classes, missing, ranges or {}, existing, scores_needed=scores_needed)
    source = files[0] if labels is None else labels
    if corpus is None:
        corpus = make_corpus(features, name, utterances, classes, ranges or {}, source)
    else:
        check_corpus(corpus, utterances, ranges or {}, source)
    ids = set(corpus.ids)
    unknown_ids = [utterance_id for utterance_id in imported if utterance_id not in ids]
    alike = look_alikes([*unknown_ids, *(utterance_id for utterance_id in corpus.ids if utterance_id not in imported)])
    suspects = one_line((" and ".join(map(ascii, group)) for group in alike), 3)
    hint = f" These differ in nothing but capitals, width or what isn't visible: {suspects}." if alike else ""
    if len(unknown_ids) == len(imported):
        raise CorpusError(
            f"None of the ids in {one_line(files)} is in the corpus {name!r}: they have {one_line(unknown_ids, 3)}, "
            f"the corpus has {one_line(corpus.ids, 3)}.{hint}"
        )
    if unknown_ids:
        logger.warning(f"Left out, because the corpus doesn't have them: {one_line(unknown_ids)}.{hint}")
    return _write_features(corpus, modality, imported, encoder or files[0].stem, frame_rate_hz, nonfinite)


def _collect(rows: Iterable[ImportedUtterance], files: Sequence[Path]) -> dict[str, ImportedUtterance]:
    imported: dict[str, ImportedUtterance] = {}
    twice = []
    for row in rows:
        if row.id in imported:
            twice.append(row.id)
        imported[row.id] = row
    if twice:
        raise StoreError(f"{one_line(files)} give ids twice: {one_line(twice)}; import files of different utterances.")
    if bad := [repr(utterance_id) for utterance_id in imported if bad_id(utterance_id)]:
        raise StoreError(f"{one_line(files)} have ids that lead out of a folder: {one_line(bad)}; rename them.")
    zeros = [row.id for row in imported.values() if row.frames is not None and not row.frames.any()]
    if zeros:
        imported |= {name: replace(imported[name], frames=None) for name in zeros}
        logger.info(f"Zeros alone are no features, so these have none: {one_line(zeros)}.")
    dims = sorted({row.frames.shape[1] for row in imported.values() if row.frames is not None})
    if len(dims) != 1:
        raise StoreError(
            f"{one_line(files)} hold frames of {one_line(dims) or 'no'} features, expected one number for all of them: "
            "import files of one kind."
        )
    return imported


def _write_features(
    corpus: Corpus,
    modality: str,
    imported: dict[str, ImportedUtterance],
    encoder: str,
    frame_rate_hz: float | None,
    nonfinite: str,
) -> Path:
    zero = nonfinite == "zero"
    items = [_item(utterance_id, imported.get(utterance_id), zero=zero) for utterance_id in corpus.ids]
    content = hashlib.sha256(json.dumps([(item.id, item.source) for item in items]).encode()).hexdigest()
    spec = {
        "modality": modality,
        "model": f"imported {encoder}",
        "content": content,
        "nonfinite": "zero" if zero else "failed",
        "frame_rate_hz": frame_rate_hz,
        "version": _VERSION,
    }
    header = Header(
        modality=modality,
        encoder=re.sub(r"[^A-Za-z0-9._-]+", "-", encoder).strip("-.") or "imported",
        fingerprint=hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:12],
        spec=spec,
        dim=next(row.frames.shape[1] for row in imported.values() if row.frames is not None),
        dtype="float32",
        frame_rate_hz=frame_rate_hz,
    )
    path = corpus.folder / modality / header.file_name
    if not path.is_file():
        write_store(path, header, items)
    counts = {status: sum(item.status == status for item in items) for status in (EXTRACTED, MISSING, FAILED)}
    logger.info(
        f"{path}: {counts[EXTRACTED]} utterances with frames of {header.dim} features, "
        f"{counts[MISSING]} missing, {counts[FAILED]} failed."
    )
    if failed := [item.id for item in items if item.status == FAILED]:
        line = f"{len(failed)} utterances have values that are not finite numbers: {one_line(failed)}"
        if nonfinite == "fail":
            raise StoreError(f"{line}; the others are in {path}. Go on without them (skip), or put zeros there (zero).")
        logger.warning(f"{line}.")
    return path


def _item(utterance_id: str, row: ImportedUtterance | None, *, zero: bool) -> Item:
    if row is None or row.frames is None:
        return Item(utterance_id, "", status=MISSING)
    source = hashlib.sha256(np.ascontiguousarray(row.frames).tobytes()).hexdigest()
    wrong = int(np.count_nonzero(~np.isfinite(row.frames)))
    if wrong and not zero:
        return Item(utterance_id, source, status=FAILED, reason=f"{wrong} values are not finite numbers")
    return Item(utterance_id, source, np.where(np.isfinite(row.frames), row.frames, 0.0).astype(np.float32))
