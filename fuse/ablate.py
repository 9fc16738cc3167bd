"""Turns GIA-MIC into runs that each lack one of its parts, for a table of what each part is worth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gia_mic.extract.corpus import Corpus
from gia_mic.fuse.config import ABLATIONS, CONSTRAINTS, GiaMicConfig, TrainingConfig
from gia_mic.fuse.models.registry import FUSIONS
from gia_mic.fuse.run import default_name, train_folds

__all__ = ["REFERENCE", "train_ablations", "train_models", "variants"]

REFERENCE = "gia-mic"


def variants(config: GiaMicConfig, name: str = REFERENCE) -> dict[str, GiaMicConfig]:
    """Return configs by run name: the whole model, then without each part, then with each other constraint."""
    found = {name: config}
    for part in ABLATIONS:
        found[f"{name}-without-{part}"] = replace(config, without=(part,))
    for constraint in CONSTRAINTS:
        if constraint != config.constraint:
            suffix = "without-constraint" if constraint == "none" else f"constraint-{constraint}"
            found[f"{name}-{suffix}"] = replace(config, constraint=constraint)
    return found


def train_ablations(
    corpus: Corpus,
    stores: Mapping[str, Path],
    *,
    runs: Path,
    name: str | None = None,
    config: GiaMicConfig | None = None,
    training: TrainingConfig | None = None,
    baselines: Sequence[str] = (),
    train: Callable[..., list[Path]] | None = None,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> list[Path]:
    """Train every variant of GIA-MIC, and other fusions at their defaults, and return all run folders.

    One variant more is the whole model trained on cross-entropy and its constraint, without learning each modality by
    itself.

    Args:
        corpus: A prepared corpus.
        stores: Feature file by modality.
        runs: Folder of all runs.
        name: Of the whole model's run, with which the names of all others begin; by default all have their usual names.
        config: GIA-MIC's settings; None takes the defaults.
        training: How all are trained; None takes the defaults.
        baselines: Other fusions to train beside it.
        train: Trains all models, such as `spread.train_on_ray`; by default one after the other, here.
        say: Takes lines for the user.
        options: The rest of `run.train_folds`, the same for all.

    Raises:
        RunError: As `run.train_folds`.
    """
    config, training = config or GiaMicConfig(), training or TrainingConfig()
    whole = name or default_name(REFERENCE, list(stores))
    models: list[dict[str, Any]] = [
        {"model": variant, "name": called} for called, variant in variants(config, whole).items()
    ]
    if training.unimodal_weight:
        plain = replace(training, unimodal_weight=0.0, soft_target=0.0)
        models.append({"model": config, "name": f"{whole}-without-alone", "training": plain})
    models += [
        {"fusion": fusion, "name": name and f"{name}-{fusion}"}
        for fusion in baselines
        if fusion in FUSIONS and fusion != REFERENCE
    ]
    return (train or train_models)(corpus, stores, models, training=training, runs=runs, say=say, **options)


def train_models(
    corpus: Corpus, stores: Mapping[str, Path], models: Sequence[Mapping[str, Any]], **options: Any
) -> list[Path]:
    """Train models one after the other, here; each is what `run.train_folds` is to be told of it, over `options`."""
    return [folder for model in models for folder in train_folds(corpus, stores, **{**options, **model})]
