"""Turns a fusion into experiments that each lack one of its parts, for a table of what each part is worth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gia_mic.extract.corpus import Corpus
from gia_mic.extract.errors import RunError
from gia_mic.fuse.config import ABLATIONS, CONSTRAINTS, GiaMicConfig
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.models.registry import FUSIONS, find_fusion
from gia_mic.fuse.run import model_config, train_here

__all__ = ["REFERENCE", "ablations", "train_ablations", "variants"]

REFERENCE = "gia-mic"


def variants(config: GiaMicConfig, name: str = REFERENCE) -> dict[str, GiaMicConfig]:
    """Return configs by run name: the whole model, then without each part, then with each other constraint."""
    configs = {name: config}
    if config.unimodal_width:
        configs[f"{name}-without-unimodal-heads"] = replace(config, unimodal_width=0)
    for part in ABLATIONS:
        configs[f"{name}-without-{part}"] = replace(config, without=(part,))
    for constraint in CONSTRAINTS:
        if constraint != config.constraint:
            suffix = "without-constraint" if constraint == "none" else f"constraint-{constraint}"
            configs[f"{name}-{suffix}"] = replace(config, constraint=constraint)
    return configs


def ablations(full: Experiment, modalities: Sequence[str], baselines: Sequence[str] = ()) -> list[Experiment]:
    """Return the experiments that show what each part of a fusion is worth, itself first.

    Beside the variants of GIA-MIC stand those of its training: without learning each modality by itself, without
    feature dropout, and the equations alone, without anything that is ours. The parts of another fusion are the
    settings that it declares with an off value.

    Args:
        full: The experiment with all of the fusion; with its name, if it has one, begin those of the others.
        modalities: Names of the modalities to train on.
        baselines: Other fusions to train beside it, at their defaults.

    Raises:
        RunError: There is no such fusion, or it declares no parts.
    """
    experiments = _of_gia_mic(full, modalities) if full.fusion == REFERENCE else _of_another(full, modalities)
    experiments += [
        replace(full, fusion=fusion, model=None, name=full.name and f"{full.name}-{fusion}")
        for fusion in baselines
        if fusion in FUSIONS and fusion != full.fusion
    ]
    return experiments


def _of_gia_mic(full: Experiment, modalities: Sequence[str]) -> list[Experiment]:
    """Return the experiments that show what the parts of GIA-MIC are worth."""
    full = replace(full, model=full.model or GiaMicConfig())
    name, training = full.run_name(modalities), full.training
    experiments = [
        replace(full, model=model, name=variant_name) for variant_name, model in variants(full.model, name).items()
    ]
    plain = replace(training, unimodal_weight=0.0, soft_target=0.0)
    all_seen = replace(training, feature_dropout=0.0)
    for part, changed in (("unimodal-loss", plain), ("feature-dropout", all_seen)):
        if changed != training:
            experiments.append(replace(full, name=f"{name}-without-{part}", training=changed))
    model = replace(full.model, unimodal_width=0)
    equations = replace(full, name=f"{name}-equations", model=model, training=replace(plain, feature_dropout=0.0))
    if all((equations.model, equations.training) != (variant.model, variant.training) for variant in experiments):
        experiments.append(equations)
    return experiments


def _of_another(full: Experiment, modalities: Sequence[str]) -> list[Experiment]:
    """Return the experiments that show what the parts of another fusion are worth.

    Raises:
        RunError: As `ablations`.
    """
    name, config = full.run_name(modalities), model_config(full)
    settings = find_fusion(full.fusion).settings
    parts = {part: setting.off for part, setting in settings.items() if setting.off is not None}
    if not parts:
        raise RunError(
            f"The fusion {full.fusion} declares no part that can be left out: give a setting of it an off value, as "
            "in setting(True, ..., off=False)."
        )
    return [
        replace(full, model=config, name=name),
        *(
            replace(full, model=replace(config, **{part: off}), name=f"{name}-without-{part.replace('_', '-')}")
            for part, off in parts.items()
            if getattr(config, part) != off
        ),
    ]


def train_ablations(
    corpus: Corpus,
    stores: Mapping[str, Path],
    experiment: Experiment | None = None,
    execution: Execution | None = None,
    *,
    runs: Path,
    baselines: Sequence[str] = (),
    train: Callable[..., list[Path]] = train_here,
) -> list[Path]:
    """Train every variant of a fusion, and other fusions at their defaults, and return all run folders.

    Args:
        corpus: A prepared corpus.
        stores: Feature file by modality.
        experiment: The one with all of the fusion; None takes GIA-MIC at its defaults.
        execution: Device, memory and the like; None takes the defaults.
        runs: Folder of all runs.
        baselines: Other fusions to train beside it.
        train: Trains experiments, as `run.train_here` does one after the other and `on_ray.train_on_ray` on a cluster.

    Raises:
        RunError: As `run.train_folds`.
    """
    full = (experiment or Experiment()).on(corpus)
    return train(corpus, stores, ablations(full, list(stores), baselines), execution, runs=runs)
