"""Makes a small corpus of real recordings and texts, and says what a feature file made of it holds."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
from made_media import tone

from gia_mic.extract.corpus import Clip, Corpus, Utterance, write_corpus
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.store import open_store

TINY_SPEECH = partial(make_encoder, "speech", "tiny")


def make_corpus(folder: Path, count: int = 12, seed: int = 0) -> Corpus:
    """Utterances of 0.2 to 2 s; the third has no sound."""
    lengths = np.random.default_rng(seed).uniform(0.2, 2.0, count).round(3)
    utterances = []
    for n, length in enumerate(lengths):
        name = f"u{n:03d}"
        tone(folder / "corpus" / f"{name}.wav", float(length), hz=100.0 + 10 * n)
        audio = None if n == 2 else Clip(f"{name}.wav")
        utterances.append(Utterance(name, "ab"[n % 2], audio=audio, text=f"This is sentence number {n}."))
    return write_corpus(folder / "features", "made", utterances, root=folder / "corpus")


def content(path: Path) -> tuple:
    """Everything in a feature file that must not depend on how it came about, short enough to print."""
    store = open_store(path)
    values = hashlib.sha256(store.values.tobytes()).hexdigest()
    return store.ids, store.offsets.tolist(), values, store.status.tolist()
