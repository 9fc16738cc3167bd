"""Makes run folders as training leaves them, with predictions chosen by the test."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from gia_mic.fuse import measure

CLASSES = ["angry", "happy", "neutral", "sad"]


def make_fold(
    runs: Path,
    true: Sequence[int],
    predicted: Sequence[int],
    *,
    corpus: str = "small",
    name: str = "gia-mic",
    fold: int = 1,
    folds: int = 2,
    seed: int = 0,
    classes: Sequence[str] = CLASSES,
    about: Mapping[str, Sequence[str | None]] | None = None,
    probabilities: np.ndarray | None = None,
    ids: Sequence[str] | None = None,
    utterances: int = 12,
    **config: Any,
) -> Path:
    """Write one run folder and return it; `config` replaces whole entries of `config.json`."""
    folder = runs / corpus / name / f"fold-{fold}" / f"seed-{seed}"
    folder.mkdir(parents=True)
    B, C = len(true), len(classes)
    ids = [f"{fold}-{number:04d}" for number in range(B)] if ids is None else list(ids)
    if probabilities is None:
        probabilities = np.full((B, C), 0.2 / (C - 1))
        probabilities[np.arange(B), predicted] = 0.8
    entries = {
        "format": 1,
        "corpus": {"name": corpus, "digest": "c0ffee" * 10, "utterances": utterances, "classes": list(classes)},
        "protocol": "session",
        "select": "last",
        "fold": fold,
        "fold_value": f"Ses{fold:02d}",
        "folds": folds,
        "seed": seed,
        "modalities": ["speech", "text", "visual"],
        "features": {
            modality: {"file": f"{modality}.h5", "encoder": "tiny", "fingerprint": f"{modality}-0123456789", "dim": 8}
            for modality in ("speech", "text", "visual")
        },
        "model": {"name": "gia-mic", "width": 64},
        "training": {"epochs": 30, "learning_rate": 0.001},
        "provenance": {
            "created": f"2026-01-0{fold}T12:00:00+00:00",
            "command": "mer fuse-train --fold all",
            "commit": "abcdef0123456789",
            "versions": {"gia-mic": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "numpy": "2.4.6"},
            "device": "cpu",
        },
    }
    (folder / "config.json").write_text(json.dumps({**entries, **config}))
    columns = {
        "id": ids,
        "true": [classes[label] for label in true],
        "predicted": [classes[label] for label in predicted],
        "probabilities": pyarrow.array(list(probabilities.astype(np.float32)), pyarrow.list_(pyarrow.float32())),
        **{key: pyarrow.array(list(values), pyarrow.string()) for key, values in (about or {}).items()},
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "predictions.parquet")
    scores = measure.scores(true, predicted, classes)
    metrics = {"format": 1, **scores, "train_utterances": B * (folds - 1), "test_utterances": B, "seconds": 1.5}
    metrics["without_features"] = {"train": 0, "test": 0}
    (folder / "metrics.json").write_text(json.dumps({**metrics, "parameters": 1000}))
    return folder


def make_robustness(folder: Path, whole: float = 0.9, **changes: Any) -> None:
    """Write scores of a run folder's model with less than it was trained on; `changes` replaces whole entries."""

    def scores(share: float) -> dict[str, float]:
        return {"WA": share * whole, "UA": share * whole}

    entries = {
        "format": 1,
        "metrics": hashlib.sha256((folder / "metrics.json").read_bytes()).hexdigest(),
        "subsets": {letters: scores(len(letters) / 3) for letters in ("s", "t", "v", "st", "sv", "tv", "stv")},
        "noise": [{"deviation": deviation, **scores(1 - deviation / 4)} for deviation in (0.5, 1.0)],
        "lost_frames": [{"share": share, **scores(1 - share)} for share in (0.25, 0.5)],
    }
    (folder / "robustness.json").write_text(json.dumps({**entries, **changes}))


def make_runs(
    runs: Path, names: Mapping[str, float], *, folds: int = 5, seeds: int = 1, B: int = 40, **settings: Any
) -> None:
    """Write whole runs: name → share of right answers; every class equally often, dialogs of eight utterances."""
    for number, (name, share) in enumerate(names.items()):
        for fold in range(1, folds + 1):
            for seed in range(seeds):
                generator = np.random.default_rng([number, fold, seed])
                true = np.arange(B) % len(CLASSES)
                wrong = (true + generator.integers(1, len(CLASSES), B)) % len(CLASSES)
                predicted = np.where(generator.random(B) < share, true, wrong)
                about = {
                    "dialog": [f"Ses{fold:02d}-{row // 8}" for row in range(B)],
                    "speaker": [f"Ses{fold:02d}{'FM'[row % 2]}" for row in range(B)],
                    "text": [f"sentence {row} of session {fold}" for row in range(B)],
                }
                make_fold(
                    runs,
                    true,
                    predicted,
                    name=name,
                    fold=fold,
                    folds=folds,
                    seed=seed,
                    about=about,
                    utterances=B * folds,
                    **settings,
                )
