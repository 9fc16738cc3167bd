"""Turns utterances without a transcript into utterances with a recognised one, in the manifest itself.

What is recognised is kept beside the manifest, a line for each utterance, under the recogniser's fingerprint and with
the digest of the sound: so whatever ends a run, the next goes on from there, and a corpus that is prepared anew gets
its texts back at once.
"""

import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gia_mic.extract import plan
from gia_mic.extract.corpus import Corpus, load_corpus, write_corpus
from gia_mic.extract.device import batch_positions, find_devices
from gia_mic.extract.encoders.contract import EncodeJob
from gia_mic.extract.errors import MediaError, one_line
from gia_mic.extract.files import lock, text_digest, write_text
from gia_mic.extract.pipeline import encode_all
from gia_mic.extract.progress import progress
from gia_mic.extract.run import stop_on_interrupt, stopped_after, unreadable
from gia_mic.extract.store import FAILED

if TYPE_CHECKING:
    from gia_mic.extract.encoders.recogniser import Recogniser

__all__ = ["transcribe"]

logger = logging.getLogger(__name__)

VERSION = 1
"""Raised whenever the same recogniser would give other words than before."""


def transcribe(
    corpus: Corpus,
    model: str,
    *,
    revision: str | None = None,
    language: str | None = None,
    device: str | None = None,
    again: bool = False,
    allow_failures: bool = False,
) -> Corpus:
    """Fill the texts that a corpus lacks with what a recogniser hears, and mark them with its name.

    Args:
        corpus: The corpus. A transcript of its own is never replaced.
        model: Hub id or local folder of a CTC model or Whisper.
        revision: Hub revision; the main one by default.
        language: For a Whisper model of many languages, which one is spoken; by default it listens for that itself.
        device: Where to compute; by default CUDA where there is some.
        again: Whether to replace what another recogniser gave.
        allow_failures: Whether utterances that can't be read are no error.

    Returns:
        The corpus with its new manifest.

    Raises:
        Interrupted: Ctrl-C; what is finished is kept.
        MediaError: No utterance without text has sound; or, at the end, some can't be read. The others are done.
        EncoderError: The model can't be found, or recognises no words.
        StoreError: Another process transcribes this corpus with this model.
    """
    from gia_mic.extract.encoders.recogniser import make_recogniser

    ids = {u.id for u in corpus if u.audio and (u.text is None or (again and u.text_source is not None))}
    if not ids:
        if None in corpus.column("text") and not plan.has_modality(corpus, "speech"):
            raise MediaError(f"The utterances of {corpus.name!r} without text have no sound either: nothing to hear.")
        logger.info(f"No utterance of {corpus.name} that has sound lacks a text: nothing to do.")
        return corpus
    [computing, *_] = find_devices(device)
    recogniser = make_recogniser(model, revision, language)
    identity = json.dumps([recogniser.spec.canonical(), language, VERSION], sort_keys=True)
    path = corpus.folder / "transcripts" / f"{recogniser.spec.name}-{text_digest(identity)[:12]}.jsonl"
    with lock(path.with_suffix(".lock")):
        texts = _read_transcripts(path)
        jobs, no_frames = plan.jobs(corpus, recogniser)
        jobs = [job for job in jobs if job.id in ids]
        todo = [job for job in jobs if (job.id, job.source) not in texts]
        failed = {i: item.reason for i, item in no_frames.items() if i in ids and item.status == FAILED}
        if todo:
            failed.update(_recognise_batches(corpus.name, recogniser, todo, texts, path, computing))
        texts_by_id = {job.id: texts[job.id, job.source] for job in jobs if (job.id, job.source) in texts}
        details = {"weights": recogniser.spec.weights, **({"language": language} if language else {})}
        corpus = _fill_texts(corpus, texts_by_id, recogniser.spec.model, details)
    earlier = f", {len(jobs) - len(todo)} of them in an earlier run" if len(todo) < len(jobs) else ""
    words = sum(len(text.split()) for text in texts_by_id.values())
    logger.info(f"{recogniser.spec.model} heard {words} words in {len(texts_by_id)} utterances{earlier}.")
    if silent := [utterance_id for utterance_id, text in texts_by_id.items() if not text]:
        logger.warning(f"Nothing was recognised in {one_line(silent)}: they stay without text.")
    if failed and not allow_failures:
        raise unreadable(failed, corpus)
    return corpus


def _recognise_batches(
    title: str,
    recogniser: "Recogniser",
    todo: Sequence[EncodeJob],
    texts: dict[tuple[str, str], str],
    path: Path,
    device: str,
) -> dict[str, str]:
    """Recognise utterances, write each batch down at once, add it to `texts`, and return why others failed, by id."""
    budget = batch_positions(device)
    batches = plan.batches(todo, budget, seed=path.stem)
    stop = threading.Event()
    failed = {}

    with (
        stop_on_interrupt(stop) as interrupted,
        path.open("a", encoding="utf-8") as file,
        progress(len(todo), f"{title} transcripts", "utterance") as bar,
        closing(encode_all([recogniser.to(device)], batches, budget, stop)) as results,
    ):
        for items in results:
            for item in items:
                if item.frames is None:
                    failed[item.id] = item.reason
                    continue
                text = texts[item.id, item.source] = recogniser.text(item.frames)
                row = {"id": item.id, "source": item.source, "text": text}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            bar.update(len(items))
        if interrupted.is_set():
            raise stopped_after(bar)
    return failed


def _read_transcripts(path: Path) -> dict[tuple[str, str], str]:
    """Return the texts of earlier runs by id and digest of the sound; a line that a crash tore is dropped."""
    texts = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                row = json.loads(line)
                texts[str(row["id"]), str(row["source"])] = str(row["text"])
            except (ValueError, KeyError, TypeError):
                continue
    rows = [{"id": id_, "source": source, "text": text} for (id_, source), text in texts.items()]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return texts


def _fill_texts(corpus: Corpus, texts_by_id: Mapping[str, str], recogniser: str, details: Mapping[str, str]) -> Corpus:
    """Write the manifest with the texts that were heard; what has changed in it meanwhile stays."""
    corpus = load_corpus(corpus.folder.parent, corpus.name)
    utterances = [
        replace(u, text=texts_by_id[u.id], text_source=recogniser)
        if texts_by_id.get(u.id) and (u.text is None or u.text_source is not None)
        else u
        for u in corpus
    ]
    recognisers = {**corpus.about.get("recognisers", {}), recogniser: details}
    counts = Counter(u.text_source for u in utterances if u.text_source is not None)
    about = {
        **corpus.about,
        "recognisers": {name: {**recognisers.get(name, {}), "utterances": count} for name, count in counts.items()},
    }
    return write_corpus(
        corpus.folder.parent,
        corpus.name,
        utterances,
        root=corpus.root,
        classes=corpus.classes,
        label_names=corpus.label_names,
        score_ranges=corpus.score_ranges,
        follow_links=corpus.follow_links,
        about=about,
    )
