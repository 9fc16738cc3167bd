"""Makes small corpora with feature files in which each modality shows the emotion with a known probability."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gia_mic.extract.corpus import Corpus, Utterance, write_corpus
from gia_mic.extract.store import MISSING, Header, Item, write_store

CLASSES = ("ang", "hap", "neu", "sad")
LENGTHS = {"speech": (8, 24), "text": (2, 6), "visual": (2, 5)}


def utterances(count: int = 80, **same: str | None) -> list[Utterance]:
    """Ten speakers in five sessions, two dialogs each; `same` overrides a column for all."""
    rows = []
    for number in range(count):
        speaker = number // len(CLASSES) % 10
        columns: dict[str, str | None] = {
            "speaker": f"sp{speaker}",
            "session": f"Ses{speaker // 2 + 8}",
            "dialog": f"{speaker}-{number // 40 % 2}",
            "scenario": f"sc{number % 3}",
            "text": f"sentence {number % 7}",
        }
        rows.append(Utterance(id=f"u{number:03d}", label=CLASSES[number % len(CLASSES)], **{**columns, **same}))
    return rows


def make_corpus(folder: Path, rows: Sequence[Utterance] | None = None, name: str = "toy") -> Corpus:
    return write_corpus(
        folder, name, rows or utterances(), root=folder, classes=CLASSES, about={"ceiling": {"stv": 0.9}}
    )


def make_stores(
    corpus: Corpus,
    *,
    dims: Mapping[str, int] | None = None,
    share: float = 0.9,
    missing: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    speech_hz: float | None = None,
) -> dict[str, Path]:
    """Write a feature file for each modality.

    `missing` names by modality the utterances that lack it, `speech_hz` is the frame rate of speech.
    """
    random = np.random.default_rng(seed)
    paths = {}
    for modality, dim in (dims or {"speech": 6, "text": 5, "visual": 4}).items():
        directions = np.random.default_rng(len(modality)).normal(size=(len(CLASSES), dim))
        items = []
        for utterance in corpus:
            emotion = CLASSES.index(utterance.label)
            if random.random() > share:
                emotion = (emotion + 1 + random.integers(3)) % 4
            low, high = LENGTHS[modality]
            frames = random.normal(size=(random.integers(low, high + 1), dim)) + 2 * directions[emotion] + 3
            lacking = utterance.id in (missing or {}).get(modality, ())
            items.append(
                Item(utterance.id, "", None, MISSING)
                if lacking
                else Item(utterance.id, "digest", frames.astype(np.float16))
            )
        paths[modality] = corpus.folder / modality / "tiny-0123.h5"
        rate_hz = speech_hz if modality == "speech" else None
        write_store(
            paths[modality], Header(modality, "tiny", "0123", {"seed": seed}, dim, frame_rate_hz=rate_hz), items
        )
    return paths
