"""Turns GIA-MIC into experiments that each lack one of its parts, for a table of what each part is worth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gia_mic.extract.corpus import Corpus
from gia_mic.fuse.config import ABLATIONS, CONSTRAINTS, GiaMicConfig
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.models.registry import FUSIONS
from gia_mic.fuse.run import train_here

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


def ablations(whole: Experiment, modalities: Sequence[str], baselines: Sequence[str] = ()) -> list[Experiment]:
    """Return the experiments that show what each part of GIA-MIC is worth, itself first.

    Beside the variants of the model stand those of its training: without learning each modality by itself, without
    feature dropout, and the equations alone, without anything that is ours.

    Args:
        whole: The experiment with all of GIA-MIC; with the name of its runs, if it has one, begin those of the others.
        modalities: Names of the modalities to train on.
        baselines: Other fusions to train beside it, at their defaults.
    """
    whole = replace(whole, fusion=REFERENCE, model=whole.model or GiaMicConfig())
    name, training = whole.run_name(modalities), whole.training
    experiments = [
        replace(whole, model=model, name=variant_name) for variant_name, model in variants(whole.model, name).items()
    ]
    plain = replace(training, unimodal_weight=0.0, soft_target=0.0)
    all_seen = replace(training, feature_dropout=0.0)
    for part, changed in (("unimodal-loss", plain), ("feature-dropout", all_seen)):
        if changed != training:
            experiments.append(replace(whole, name=f"{name}-without-{part}", training=changed))
    model = replace(whole.model, unimodal_width=0)
    equations = replace(whole, name=f"{name}-equations", model=model, training=replace(plain, feature_dropout=0.0))
    if all((equations.model, equations.training) != (one.model, one.training) for one in experiments):
        experiments.append(equations)
    experiments += [
        replace(whole, fusion=fusion, model=None, name=whole.name and f"{whole.name}-{fusion}")
        for fusion in baselines
        if fusion in FUSIONS and fusion != REFERENCE
    ]
    return experiments


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
    """Train every variant of GIA-MIC, and other fusions at their defaults, and return all run folders.

    Args:
        corpus: A prepared corpus.
        stores: Feature file by modality.
        experiment: The one with all of GIA-MIC; None takes the defaults.
        execution: Device, memory and the like; None takes the defaults.
        runs: Folder of all runs.
        baselines: Other fusions to train beside it.
        train: Trains experiments, as `run.train_here` does one after the other and `on_ray.train_on_ray` on a cluster.

    Raises:
        RunError: As `run.train_folds`.
    """
    whole = (experiment or Experiment()).on(corpus)
    return train(corpus, stores, ablations(whole, list(stores), baselines), execution, runs=runs)
