"""Turns a pretrained model's name into its files, and these into a configuration and a network."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gia_mic.extract.config import DEFAULT_REVISION
from gia_mic.extract.errors import EncoderError, first_line, one_line
from gia_mic.extract.files import digest

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["Weights", "find_weights", "load_config", "load_model", "load_settings"]

WEIGHT_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class Weights:
    """Where a pretrained model lies.

    Attributes:
        name: Hub id, or the folder's name.
        location: What transformers loads it from.
        revision: The hub's revision asked for; None for a folder.
        digest: Commit, or digest of the folder's files.
    """

    name: str
    location: str
    revision: str | None
    digest: str

    @property
    def folder(self) -> str:
        """The local folder, absolute; empty for a model of the hub."""
        return str(Path(self.location).resolve()) if self.revision is None else ""


def find_weights(model: str, revision: str | None = None) -> Weights:
    """Find a model in a local folder or on the hub (or in the hub's local cache), without loading it.

    Raises:
        EncoderError: It isn't there, can't be fetched, or has no safetensors weights.
    """
    folder = Path(model)
    if folder.is_dir():
        files = sorted({path for pattern in WEIGHT_FILES for path in folder.glob(pattern)})
        if not any(path.suffix == ".safetensors" for path in files):
            raise EncoderError(
                f"{folder} holds no *.safetensors, the only weights that are safe to load: save the model there with "
                "save_pretrained."
            )
        hashed = hashlib.sha256("".join(f"{path.name} {digest(path)}\n" for path in files).encode()).hexdigest()
        return Weights(folder.resolve().name, str(folder), None, hashed)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        raise EncoderError(f"There is no folder {model!r}, and a hub id looks like owner/name: check --encoder.")

    from transformers.utils.hub import cached_file, extract_commit_hash

    wanted = revision or DEFAULT_REVISION
    try:
        config = cached_file(model, "config.json", revision=wanted)
    except Exception as error:  # the hub's libraries raise many kinds
        raise EncoderError(
            f"{model!r} is neither a local folder nor a model that the hub gave at revision {wanted!r} "
            f"({first_line(error)}): check the name and the network, or give a folder."
        ) from error
    commit = extract_commit_hash(config, None)
    if commit is None:
        raise EncoderError(f"The hub gave no commit for {model!r}: download it to a folder and give that.")
    return Weights(model, model, wanted, commit)


def load_config(weights: Weights) -> "PreTrainedConfig":
    """Load a model's configuration.

    Raises:
        EncoderError: There is none that transformers knows.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            weights.location, revision=weights.revision or "main", trust_remote_code=False
        )
    except Exception as error:
        raise EncoderError(
            f"{weights.name} has no configuration that transformers knows ({first_line(error)}): choose another."
        ) from error


def load_settings(weights: Weights, file_name: str) -> dict[str, Any]:
    """Load a model's JSON file of settings; empty where the model comes without."""
    from transformers.utils.hub import cached_file

    path = cached_file(
        weights.location, file_name, revision=weights.revision or "main", _raise_exceptions_for_missing_entries=False
    )
    return {} if path is None else dict(json.loads(Path(path).read_text(encoding="utf-8")))


def load_model(model_class: Any, weights: Weights, precision: str) -> "PreTrainedModel":
    """Load a pretrained model for inference: safetensors only, never remote code, every weight from the file.

    Args:
        model_class: Class of transformers; None for what the model's configuration says.
        weights: Where it lies.
        precision: What it computes in.

    Raises:
        EncoderError: It can't be loaded, or some of its weights are not in the file and would be random.
    """
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        model, info = (model_class or AutoModel).from_pretrained(
            weights.location,
            revision=weights.revision or "main",
            use_safetensors=True,
            trust_remote_code=False,
            dtype=getattr(torch, precision),
            output_loading_info=True,
        )
    except Exception as error:
        raise EncoderError(f"{weights.name} can't be loaded ({first_line(error)}): check its files.") from error
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
    # heads that no frame passes through may be missing; anything else would be noise in every value
    random = [key for key in info["missing_keys"] if "pooler" not in key and "masked_spec_embed" not in key]
    if random:
        raise EncoderError(
            f"The weights of {weights.name} lack {one_line(sorted(random))}, which would be random: "
            "they are of another architecture, choose another encoder."
        )
    return model.eval()
