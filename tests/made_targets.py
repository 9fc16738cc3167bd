"""Makes a small corpus that has every kind of target; some utterances lack some of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from made_features import CLASSES, utterances

from gia_mic.extract.corpus import Corpus, write_corpus

RANGES = {"valence": (1, 5), "arousal": (1, 5)}
TARGETS = {"label": 4, "labels": 2, "votes": 4, "valence": 1, "valence,arousal": 2}
"""Number of outputs of each target."""

WITHOUT = {"label": 0, "labels": 3, "votes": 0, "scores": 7}
"""Remainder of an utterance's number by 16, where it lacks the target."""


def make_target_corpus(folder: Path, count: int = 160, name: str = "toy") -> Corpus:
    """Write a corpus whose targets all follow the emotion, scores with a little noise."""
    random = np.random.default_rng(0)
    rows = []
    for number, utterance in enumerate(utterances(count)):
        emotion = CLASSES.index(utterance.label)
        valence, arousal = np.clip(1.5 + np.array([emotion, 3 - emotion]) + random.normal(0, 0.3, 2), 1, 5)
        targets = {
            "label": utterance.label,
            "labels": (("low",) if emotion < 2 else ()) + (("odd",) if emotion % 2 else ()),
            "scores": {"valence": float(valence), "arousal": float(arousal)},
            "votes": {utterance.label: 2.0, CLASSES[random.integers(4)]: 1.0},
        }
        lacking = {kind: None for kind, remainder in WITHOUT.items() if kind != "label" and number % 16 == remainder}
        rows.append(replace(utterance, **{**targets, **lacking}))
    return write_corpus(
        folder, name, rows, root=folder, classes=CLASSES, label_names=("low", "odd"), score_ranges=RANGES
    )
