"""Turns features that others made into a normal feature file, and into a corpus where there is none yet."""

import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gia_mic.extract.corpora.cells import MISSING_TEXTS, are_scores, drop_missing, score_of
from gia_mic.extract.corpora.manifest import check_rows
from gia_mic.extract.corpora.table import bad_id, read_table
from gia_mic.extract.corpus import Corpus, Utterance, corpus_names, load_corpus, write_corpus
from gia_mic.extract.errors import CorpusError, StoreError, one_line
from gia_mic.extract.imports import mosei
from gia_mic.extract.imports.formats import (
    ImportedUtterance,
    Segment,
    cut_to_segments,
    read_segments,
    read_utterances,
)
from gia_mic.extract.names import look_alikes, part_of
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
        labels: Table with id and label and, as far as known, split, speaker, session, …; or a label sequence (.csd)
            whose segments the files' whole videos are cut to.
        splits: For a label sequence, table of video (or id) and split; what it doesn't name is left out.
        classes: How scores in the files, in the table or in the label sequence become classes: one of
            `mosei.CLASSES`. By default the corpus's way is kept; a new one takes the files' or the table's own words
            where there are some, else the sign.
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
        raise StoreError(f"{nonfinite!r} is nothing to do with values that aren't finite: choose fail, skip or zero.")
    if classes is not None and classes not in mosei.CLASSES:
        raise CorpusError(f"{classes!r} is no way to make classes of scores: choose {one_line(mosei.CLASSES)}.")
    asked = classes is not None
    if classes is None and name in corpus_names(features):
        classes = load_corpus(features, name).about.get("scores_as")
    cut = labels is not None and labels.suffix.lower() == ".csd"
    segments = read_segments(labels) if labels is not None and cut else []
    rows = (
        row for file in files for row in (cut_to_segments(file, segments) if cut else read_utterances(file, modality))
    )
    imported = _collect(rows, files)
    if labels is None:
        wanted = _from_files(imported.values(), classes)
    elif cut:
        wanted = _from_segments(segments, classes, splits, missing)
    else:
        wanted = _from_table(labels, classes, missing, scores_needed=asked)
    corpus = _corpus(features, name, wanted, classes, files[0] if labels is None else labels)
    ids = set(corpus.ids)
    others = [utterance_id for utterance_id in imported if utterance_id not in ids]
    alike = look_alikes([*others, *(utterance_id for utterance_id in corpus.ids if utterance_id not in imported)])
    suspects = one_line((" and ".join(map(ascii, group)) for group in alike), 3)
    hint = f" These differ in nothing but capitals, width or what isn't visible: {suspects}." if alike else ""
    if len(others) == len(imported):
        raise CorpusError(
            f"None of the ids in {one_line(files)} is in the corpus {name!r}: they have {one_line(others, 3)}, "
            f"the corpus has {one_line(corpus.ids, 3)}.{hint}"
        )
    if others:
        logger.warning(f"Left out, because the corpus doesn't have them: {one_line(others)}.{hint}")
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


def _from_files(rows: Iterable[ImportedUtterance], classes: str | None) -> list[Utterance]:
    utterances = []
    for row in rows:
        label = row.label
        if label is None or classes is not None:
            label = mosei.label(row.scores, classes or mosei.DEFAULT) if row.scores else None
        if label is not None:
            source_label = _scores_text(row.scores)
            utterances.append(
                Utterance(row.id, label, source_label=source_label, text=row.text or None, split=row.split)
            )
    return utterances


def _from_table(labels: Path, classes: str | None, missing: Collection[str], *, scores_needed: bool) -> list[Utterance]:
    """Read a table of labels; those that are scores become classes in the way that is asked for."""
    utterances = check_rows(
        read_table(labels), where=labels, root=labels.parent, features_only=True, scores=True, missing=missing
    )
    words = sorted({utterance.label for utterance in utterances})
    if classes is None:
        if are_scores(words):
            raise CorpusError(
                f"{labels} has scores for labels ({one_line(words, 5)}): say with --classes how they become classes."
            )
        return utterances
    if no_scores := [word for word in words if score_of(word) is None]:
        if scores_needed:
            raise CorpusError(
                f"{labels} has labels that are no scores ({one_line(no_scores, 5)}), and --classes makes classes of "
                "scores: leave it out."
            )
        return utterances
    wanted = []
    for utterance in utterances:
        score = score_of(utterance.label)
        label = mosei.label([score], classes) if score is not None else None
        if label is not None:
            wanted.append(replace(utterance, label=label, source_label=utterance.source_label or utterance.label))
    if len(wanted) < len(utterances):
        logger.warning(
            f"{len(utterances) - len(wanted)} utterances have a score that is of no class, and are left out."
        )
    return wanted


def _from_segments(
    segments: Sequence[Segment], classes: str | None, splits: Path | None, missing: Collection[str]
) -> list[Utterance]:
    parts: dict[str, str] = {}
    for row in [] if splits is None else drop_missing(read_table(splits), missing):
        name = row.get("id", row.get("video"))
        if name is None or "split" not in row:
            raise CorpusError(f"{splits} has a row without video (or id) or split: expected both in every row.")
        parts[str(name)] = part_of(str(row["split"])) or str(row["split"])
    utterances = []
    for segment in segments:
        label = mosei.label(segment.scores, classes or mosei.DEFAULT)
        split = parts.get(segment.id, parts.get(segment.video))
        if label is not None and (splits is None or split is not None):
            source_label = _scores_text(segment.scores)
            utterances.append(
                Utterance(segment.id, label, dialog=segment.video, source_label=source_label, split=split)
            )
    return utterances


def _scores_text(scores: Sequence[float]) -> str | None:
    return " ".join(f"{score:g}" for score in scores) or None


def _corpus(
    features: Path,
    name: str,
    wanted: Sequence[Utterance],
    classes: str | None,
    source: Path,
) -> Corpus:
    """Return the corpus if it is there and agrees with the labels at hand, else make it from them."""
    if name not in corpus_names(features):
        if not wanted:
            raise CorpusError(
                f"There is no corpus {name!r} in {features}, and {source} has no labels to make it from: "
                "give a table of ids and labels with --labels."
            )
        order = mosei.CLASSES[classes or mosei.DEFAULT]
        corpus = write_corpus(
            features,
            name,
            wanted,
            root=features / name,
            classes=order if {utterance.label for utterance in wanted} <= set(order) else None,
            about={"source": source.name, "description": "Imported", "scores_as": classes},
        )
        logger.info(f"Made the corpus {name} from {source.name}. {corpus.describe()}")
        return corpus
    corpus = load_corpus(features, name)
    labels = dict(zip(corpus.ids, (corpus.classes[index] for index in corpus.column("label")), strict=True))
    if other := [u.id for u in wanted if u.id in labels and labels[u.id] != u.label]:
        raise CorpusError(
            f"{source} has other labels than the corpus {name!r} for {one_line(other)}: import under another name."
        )
    return corpus


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
