"""Turns a trained fusion into `model.safetensors`, and a run folder back into the fusion."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.files import replacing, write_json
from gia_mic.extract.targets import Target
from gia_mic.fuse.data import layer_count
from gia_mic.fuse.models import registry
from gia_mic.fuse.readout import Readout
from gia_mic.fuse.ridge import Ridge
from gia_mic.fuse.runs.folder import (
    FORMAT,
    HINT,
    METRICS,
    READOUT,
    WEIGHTS,
    is_number,
    read_config,
    read_entries,
    recorded_target,
)
from gia_mic.fuse.runs.source import load_entry

__all__ = ["TrainedFusion", "load_fusion", "write_weights"]

FITTED = ("mean", "deviation", "thresholds")
"""What a readout takes from the training part."""

RIDGE = ("weights", "centres")
"""What a readout's ridge regression is made of, by modality; in the file of weights as `ridge.<part>.<modality>`."""


@dataclass(frozen=True)
class TrainedFusion:
    """The trained fusion of a run folder.

    Attributes:
        model: The fusion, in evaluation mode.
        readout: How its outputs are read.
        config: Entries of `config.json`.
    """

    model: nn.Module
    readout: Readout
    config: dict[str, Any]


def write_weights(run_dir: Path, model: nn.Module, readout: Readout) -> None:
    """Write the model's weights, the statistics of its scalers, and what was fitted of how its outputs are read."""
    fitted = {name: list(getattr(readout, name)) for name in FITTED if getattr(readout, name)}
    if fitted:
        write_json(run_dir / READOUT, {"format": FORMAT, **fitted})
    tensors = dict(model.state_dict())
    if readout.ridge is not None:
        for part in RIDGE:
            tensors |= {f"ridge.{part}.{name}": value for name, value in getattr(readout.ridge, part).items()}
    with replacing(run_dir / WEIGHTS) as temporary:
        safetensors.torch.save_file(
            # copies, as a fusion of others may use one tensor by two names
            {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
            temporary,
        )


def load_fusion(run_dir: Path, device: str = "cpu", *, trust: bool = False) -> TrainedFusion:
    """Return the trained fusion of a run folder.

    Args:
        run_dir: The run folder.
        device: Device to compute on.
        trust: Whether the code of a fusion that isn't one of ours may be run.

    Raises:
        RunError: The folder is no finished run, its weights don't fit its configuration, or as `source.load_entry`.
    """
    config = read_config(run_dir)
    if not (run_dir / METRICS).exists():
        raise RunError(f"{run_dir} is not finished ({METRICS} is missing): run `mer fuse-train` again.")
    if stride := config["training"].get("speech_stride"):
        raise RunError(
            f"{run_dir} was trained with speech_stride {stride}, and this version averages frames instead: train the "
            "fold again, with --speech-rate."
        )
    dims = {name: config["features"][name]["dim"] for name in config["modalities"]}
    weighed = config["training"].get("layer_weights", False)
    layers = {name: layer_count(config["features"][name].get("spec", {})) if weighed else 1 for name in dims}
    readout = _read_readout(run_dir, recorded_target(config))
    outputs = len(readout.target.names)
    model = registry.build_fusion(load_entry(run_dir, config, trust=trust), dims, outputs, config["model"], layers)
    try:
        tensors = safetensors.torch.load_file(run_dir / WEIGHTS)
        if readout.target.kind == "scores" and config["training"]["ridge_base"]:
            parts = {part: {name: tensors.pop(f"ridge.{part}.{name}") for name in dims} for part in RIDGE}
            readout = replace(readout, ridge=Ridge(**parts))
        model.load_state_dict(tensors)
    except (OSError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
        raise RunError(f"{run_dir / WEIGHTS} doesn't fit its configuration ({error}): train the fold again.") from error
    return TrainedFusion(model.to(device).eval(), readout, config)


def _read_readout(run_dir: Path, target: Target) -> Readout:
    """Return how the outputs of a run are read.

    Raises:
        RunError: What was fitted is missing or broken.
    """
    names = {"scores": ("mean", "deviation"), "labels": ("thresholds",)}.get(target.kind, ())
    entries = read_entries(run_dir / READOUT, dict.fromkeys(names, list)) if names else {}
    if not all(len(entries[name]) == len(target.names) and all(map(is_number, entries[name])) for name in names):
        raise RunError(f"{run_dir / READOUT}: expected {len(target.names)} numbers each of {one_line(names)}: {HINT}.")
    mean, deviation, thresholds = (tuple(map(float, entries.get(name, ()))) for name in FITTED)
    return Readout(target, mean, deviation, thresholds)
