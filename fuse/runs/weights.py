"""Turns a trained fusion into `model.safetensors`, and a run folder back into the fusion."""

from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

from gia_mic.extract.errors import RunError
from gia_mic.extract.files import replacing
from gia_mic.fuse.data import layer_count
from gia_mic.fuse.models import registry
from gia_mic.fuse.runs.folder import METRICS, WEIGHTS, read_config

__all__ = ["load_fusion", "write_weights"]


def write_weights(run_dir: Path, model: nn.Module) -> None:
    """Write the model's weights and the statistics of its scalers."""
    with replacing(run_dir / WEIGHTS) as temporary:
        safetensors.torch.save_file(
            {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, temporary
        )


def load_fusion(run_dir: Path, device: str = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """Return the trained fusion of a run folder, in evaluation mode, and its configuration.

    Raises:
        RunError: The folder is no finished run, or its weights don't fit its configuration.
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
    model = registry.build_fusion(
        config["model"]["name"], dims, len(config["corpus"]["classes"]), config["model"], layers
    )
    try:
        model.load_state_dict(safetensors.torch.load_file(run_dir / WEIGHTS))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise RunError(f"{run_dir / WEIGHTS} doesn't fit its configuration ({error}): train the fold again.") from error
    return model.to(device).eval(), config
