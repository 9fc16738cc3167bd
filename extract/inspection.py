"""Turns feature files into what a person wants to know about them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from gia_mic.extract.errors import StoreError, one_line
from gia_mic.extract.files import size_text, text_digest
from gia_mic.extract.store import EXTRACTED, FAILED, MISSING, open_store

__all__ = ["feature_files", "find_features", "inspect", "refuse_stale_texts", "verify_all"]


def feature_files(corpus_folder: Path, modality: str = "*") -> list[Path]:
    """Return all feature files of a corpus, or those of one modality.

    Raises:
        StoreError: The folder holds no such file.
    """
    paths = sorted(corpus_folder.glob(f"{modality}/*.h5"))
    if not paths:
        raise StoreError(f"There is no feature file in {corpus_folder}: run `mer extract --modality all` first.")
    return paths


def inspect(path: Path) -> str:
    """Return what a feature file holds: spec, counts, sizes, and what is missing or failed with the reasons.

    Raises:
        StoreError: It can't be read.
    """
    store = open_store(path)
    lengths = np.diff(store.offsets)[store.status == EXTRACTED]
    rate = store.frame_rate_hz
    lines = [str(path), ""]
    lines += [f"  {name:18} {value}" for name, value in store.spec.items()]
    lines += ["", f"  {'fingerprint':18} {store.fingerprint}"]
    lines.append(f"  {'size':18} {size_text(path.stat().st_size)}")
    lines.append(f"  {'values':18} {store.shape[0]} frames × {store.dim}, {store.header.dtype}")
    counts = Counter(store.status.tolist())
    lines.append(
        f"  {'utterances':18} {len(store)}: {counts[EXTRACTED]} extracted, {counts[MISSING]} missing in the corpus, "
        f"{counts[FAILED]} failed"
    )
    if len(lengths):
        lines.append(
            f"  {'frames each':18} {lengths.min()} to {lengths.max()}, median {np.median(lengths):.0f}"
            + ("" if rate is None else f"; {rate:g} a second, {lengths.sum() / rate / 3600:.2f} hours in all")
        )
    missing = [i for i, status in zip(store.ids, store.status, strict=True) if status == MISSING]
    if missing:
        lines.append(f"  {'missing':18} {one_line(missing)}")
    if partial := store.partial:
        items = [f"{utterance_id} ({what})" for utterance_id, what in partial.items()]
        lines.append(f"  {'with a note':18} {len(items)} utterances: {one_line(items)}")
    for utterance_id, status, reason in zip(store.ids, store.status, store.reasons, strict=True):
        if status == FAILED:
            lines.append(f"  {'failed':18} {utterance_id}: {reason}")
    return "\n".join(lines)


def verify_all(paths: Sequence[Path]) -> Iterator[str]:
    """Read every byte of feature files and give a line for each that is sound.

    Raises:
        StoreError: At the end: files are broken, or frames are not those that were written; every such utterance is
            named.
    """
    problems = []
    for path in paths:
        try:
            store = open_store(path)
        except StoreError as error:
            problems.append(str(error))
            continue
        damaged = list(store.damaged())
        if damaged:
            problems.append(
                f"{path}: the frames of {len(damaged)} of {len(store)} utterances are not those that were written "
                f"({one_line(damaged, most=len(damaged))}): remove the file and run `mer extract` again."
            )
        else:
            yield f"{path}: all {size_text(store.nbytes)} of frames are as they were written."
    if problems:
        raise StoreError(" ".join(problems))


def find_features(corpus_folder: Path, modality: str, encoder: str | None = None) -> Path | None:
    """Return the one finished feature file of a modality, or None where there is none.

    Args:
        corpus_folder: `features/<corpus>`.
        modality: speech, text or visual.
        encoder: Encoder's short name, or the file's whole name; needed where there are several files.

    Raises:
        StoreError: Several files would do.
    """
    paths = sorted((corpus_folder / modality).glob("*.h5"))
    if encoder is not None:
        paths = [path for path in paths if encoder in (path.name, path.stem, path.stem.rpartition("-")[0])]
    if len(paths) > 1:
        raise StoreError(
            f"{corpus_folder / modality} holds {len(paths)} feature files ({one_line(path.stem for path in paths)}): "
            "choose one with --encoder."
        )
    return paths[0] if paths else None


def refuse_stale_texts(path: Path, texts: Mapping[str, str | None]) -> None:
    """Refuse text features that were made from other texts than the manifest has now.

    Args:
        path: The feature file.
        texts: The manifest's texts by utterance id.

    Raises:
        StoreError: Texts have changed since, or come in, such as by `mer transcribe`.
    """
    store = open_store(path)
    if "weights" not in store.spec:  # others made them, of texts that the manifest needn't have
        return
    rows = zip(store.ids, store.sources, store.status, strict=True)
    sources = {utterance_id: source for utterance_id, source, status in rows if status != FAILED}
    stale = [i for i, text in texts.items() if text is not None and i in sources and sources[i] != text_digest(text)]
    if stale:
        raise StoreError(
            f"{path} was made of other texts than the manifest has now: {one_line(stale)}; run "
            "`mer extract --modality text` again."
        )
