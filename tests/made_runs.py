"""Makes run folders as training leaves them, with predictions chosen by the test."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from gia_mic.extract.targets import Target
from gia_mic.fuse.measure import measure_of

CLASSES = ["angry", "happy", "neutral", "sad"]


def make_fold(
    runs: Path,
    true: Sequence[int],
    predicted: Sequence[int],
    *,
    classes: Sequence[str] = CLASSES,
    probabilities: np.ndarray | None = None,
    **settings: Any,
) -> Path:
    """Write one run folder of the target `label` and return it; `settings` as of `make_fold_of`."""
    B, C = len(true), len(classes)
    if probabilities is None:
        probabilities = np.full((B, C), 0.2 / (C - 1))
        probabilities[np.arange(B), predicted] = 0.8
    return make_fold_of(runs, Target("label", tuple(classes)), np.eye(C)[list(true)], probabilities, **settings)


def make_fold_of(
    runs: Path,
    target: Target,
    true: np.ndarray,
    answers: np.ndarray,
    *,
    corpus: str = "small",
    name: str = "gia-mic",
    fold: int = 1,
    folds: int = 2,
    seed: int = 0,
    about: Mapping[str, Sequence[str | None]] | None = None,
    ids: Sequence[str] | None = None,
    utterances: int = 12,
    **config: Any,
) -> Path:
    """Write one run folder of any target and return it; `config` replaces whole entries of `config.json`."""
    folder = runs / corpus / name / f"fold-{fold}" / f"seed-{seed}"
    folder.mkdir(parents=True)
    B, names, of_label = len(true), target.names, target.kind == "label"
    ids = [f"{fold}-{number:04d}" for number in range(B)] if ids is None else list(ids)
    entries = {
        "format": 1,
        "corpus": {"name": corpus, "digest": "c0ffee" * 10, "utterances": utterances, "classes": list(names)},
        **({} if of_label else {"target": asdict(target)}),
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
    answers = answers.astype(np.float32)
    floats = pyarrow.list_(pyarrow.float32())
    if of_label:
        columns = {
            "true": [names[row.argmax()] for row in true],
            "predicted": [names[row.argmax()] for row in answers],
            "probabilities": pyarrow.array(list(answers), floats),
        }
    else:
        columns = {
            "true": pyarrow.array(list(true), pyarrow.list_(pyarrow.float64())),
            "answer": pyarrow.array(list(answers), floats),
        }
    texts = {key: pyarrow.array(list(values), pyarrow.string()) for key, values in (about or {}).items()}
    pyarrow.parquet.write_table(pyarrow.table({"id": ids, **columns, **texts}), folder / "predictions.parquet")
    measure = measure_of(target)
    [tally] = measure.tally(true, answers)
    scores = measure.scores(tally) | measure.whole(true, answers) | ({} if of_label else {"tally": tally.tolist()})
    metrics = {"format": 1, **scores, "train_utterances": B * (folds - 1), "test_utterances": B, "seconds": 1.5}
    metrics["without_features"] = {"train": 0, "test": 0}
    (folder / "metrics.json").write_text(json.dumps({**metrics, "parameters": 1000}))
    return folder


def make_robustness(folder: Path, whole: float = 0.9, names: Sequence[str] = ("WA", "UA"), **changes: Any) -> None:
    """Write scores of a run folder's model with less than it was trained on; `changes` replaces whole entries."""

    def scores(share: float) -> dict[str, float]:
        return dict.fromkeys(names, share * whole)

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


TARGETS = {
    "votes": Target("votes", tuple(CLASSES)),
    "labels": Target("labels", ("happy", "sad", "angry")),
    "sentiment": Target("scores", ("sentiment",), ((-3.0, 3.0),)),
    "affect": Target("scores", ("valence", "arousal", "dominance"), ((1.0, 5.0),) * 3),
}
"""A target of each kind but the label, and scores of which there are one or several."""


def truth_and_answers(target: Target, B: int, noise: float, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return what is true of B utterances, which depends on the first of the seeds alone, and answers with noise."""
    K, source, own = len(target.names), np.random.default_rng(seed[0]), np.random.default_rng(seed)
    if target.kind == "scores":
        low, high = np.array(target.ranges).T
        true = low + (high - low) * source.random((B, K)).round(2)
        return true, np.clip(true + noise * (high - low) * own.normal(size=(B, K)), low, high)
    if target.kind == "labels":
        true = (source.random((B, K)) < 0.4).astype(float)
        return true, np.clip(0.25 + 0.5 * true + noise * own.normal(size=(B, K)), 0.01, 0.99)
    true = source.multinomial(3, np.full(K, 1 / K), B) / 3
    answers = np.clip(true + noise * own.random((B, K)), 0.01, None)
    return true, answers / answers.sum(axis=1, keepdims=True)


def make_runs_of(
    runs: Path,
    target: Target,
    names: Mapping[str, float],
    *,
    folds: int = 3,
    seeds: int = 1,
    B: int = 40,
    **settings: Any,
) -> None:
    """Write whole runs of a target: name → noise of its answers; dialogs of eight utterances, five scenarios."""
    for number, (name, noise) in enumerate(names.items()):
        for fold in range(1, folds + 1):
            about = {
                "dialog": [f"Ses{fold:02d}-{row // 8}" for row in range(B)],
                "speaker": [f"Ses{fold:02d}{'FM'[row % 2]}" for row in range(B)],
                "scenario": [f"script {row % 5}" for row in range(B)],
                "text": [f"sentence {row} of session {fold}" for row in range(B)],
            }
            for seed in range(seeds):
                true, answers = truth_and_answers(target, B, noise, [fold, number, seed])
                placed = {"name": name, "fold": fold, "folds": folds, "seed": seed, "utterances": B * folds}
                make_fold_of(runs, target, true, answers, about=about, **placed, **settings)
