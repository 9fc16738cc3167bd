"""Turns a pretrained model's name into its files, and these into a configuration and a network."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gia_mic.extract.device import dtype_of
from gia_mic.extract.encoders.hub import resolve, resolve_recorded
from gia_mic.extract.encoders.snapshot import SETTINGS, Snapshot, pick_weights
from gia_mic.extract.errors import EncoderError, first_line, one_line
from gia_mic.extract.notes import trusted_digest_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = [
    "COMMIT_DIGITS",
    "HUB_ID",
    "Weights",
    "find_weights",
    "load_config",
    "load_model",
    "load_settings",
    "pin",
    "recorded_revision",
]

COMMIT_DIGITS = 40
"""Of a hub's commit; a folder's digest has 64."""

HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")

WEIGHT_FILES = ("*.safetensors", *SETTINGS)


@dataclass(frozen=True)
class Weights:
    """Where a pretrained model lies.

    Attributes:
        name: Hub id, or the folder's name.
        location: Folder that transformers loads it from; the hub's files of weights come into it when they are needed.
        revision: The hub's commit; None for a local folder.
        digest: Commit, or digest of the folder's files.
        file: File of weights to load.
        snapshot: The hub's commit and what lies in it; None for a local folder.
    """

    name: str
    location: str
    revision: str | None
    digest: str
    file: str
    snapshot: Snapshot | None = None

    @property
    def folder(self) -> str:
        """The local folder, absolute; empty for a model of the hub."""
        return str(Path(self.location).resolve()) if self.revision is None else ""

    @property
    def pickled(self) -> str | None:
        """The file of weights where it is none of safetensors, as the features record it."""
        return self.file if ".bin" in self.file else None

    def missing_bytes(self) -> int:
        """Return how much has to be downloaded before the model can be loaded."""
        return 0 if self.snapshot is None else sum(self.snapshot.missing(self.snapshot.weights).values())


def find_weights(model: str, revision: str | None = None) -> Weights:
    """Find a model in a local folder or on the hub (or in the hub's local cache), without loading it.

    Of the hub's, all but the weights is downloaded.

    Raises:
        EncoderError: It isn't there, can't be fetched, or has no weights that can be read.
    """
    folder = Path(model)
    if folder.is_dir():
        files = {path for pattern in WEIGHT_FILES for path in folder.glob(pattern)}
        weights = pick_weights({path.name for path in folder.iterdir()})
        files |= {folder / name for name in weights}
        if not weights:
            raise EncoderError(
                f"{folder} holds neither model.safetensors nor pytorch_model.bin: save the model there with "
                "save_pretrained."
            )
        return Weights(folder.resolve().name, str(folder), None, trusted_digest_of(files, folder), weights[0])
    if not HUB_ID.fullmatch(model):
        raise EncoderError(f"There is no folder {model!r}, and a hub id looks like owner/name: check --encoder.")
    snapshot = resolve(model, revision)
    location = snapshot.fetch(snapshot.settings)
    return Weights(model, str(location), snapshot.commit, snapshot.commit, snapshot.weights[0], snapshot)


def pin(model: str, revision: str | None) -> str | None:
    """Return the commit of a hub's model, so that all that is made of it is made of the same; else the revision.

    Raises:
        EncoderError: The hub's model can't be found.
    """
    if Path(model).is_dir() or not HUB_ID.fullmatch(model):
        return revision
    return resolve(model, revision).commit


def recorded_revision(spec: Mapping[str, Any]) -> str:
    """Return the hub's commit that gives the weights of a recorded spec; they are looked for, not downloaded.

    Raises:
        EncoderError: It can't be found.
    """
    if "weights_file" in spec:
        return str(spec["weights"])
    return resolve_recorded(str(spec["model"]), str(spec["weights"])).commit


def load_config(weights: Weights) -> "PreTrainedConfig":
    """Load a model's configuration.

    Raises:
        EncoderError: There is none that transformers knows.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(weights.location, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise EncoderError(
            f"{weights.name} has no configuration that transformers knows ({first_line(error)}): check its "
            "config.json, or choose another encoder."
        ) from error


def load_settings(weights: Weights, part: str) -> dict[str, Any]:
    """Read how a model wants its input prepared; empty where it comes without.

    A processor of transformers 5 writes one processor_config.json with its parts' settings nested in it; before, each
    wrote preprocessor_config.json. As in transformers, the nested ones come first.

    Args:
        weights: Where it lies.
        part: feature_extractor, image_processor or video_processor.

    Raises:
        EncoderError: A file is damaged, or may be missing only from the local cache.
    """
    nested = _read_settings(weights, "processor_config.json") or {}
    names = (part, "audio_processor") if part == "feature_extractor" else (part,)
    settings = next((nested[name] for name in names if isinstance(nested.get(name), dict)), None)
    if settings is None:
        settings = _read_settings(weights, "preprocessor_config.json")
    if settings is None and weights.snapshot is not None and not weights.snapshot.lacks("preprocessor_config.json"):
        raise EncoderError(
            f"The hub's local cache has no preprocessor_config.json of {weights.name}, and can't say whether there is "
            f"one: run `mer fetch {weights.name}` where there is a network."
        )
    return {name: value for name, value in (settings or {}).items() if value is not None}


def _read_settings(weights: Weights, name: str) -> dict[str, Any] | None:
    """Return what a file of settings holds; None where there is none."""
    path = Path(weights.location) / name
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise ValueError("it is no table")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} can't be read ({first_line(error)}): copy the model again.") from error
    return settings


def load_model(model_class: Any, weights: Weights, precision: str) -> "PreTrainedModel":
    """Load a pretrained model for inference: never remote code, nor a pickle that runs; every weight from the file.

    The hub's files of weights are downloaded first, if they aren't there.

    Args:
        model_class: Class of transformers; None for what the model's configuration says.
        weights: Where it lies.
        precision: What it computes in.

    Raises:
        EncoderError: It can't be loaded, or some of its weights are not in the file and would be random.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    if weights.snapshot is not None:
        weights.snapshot.fetch(weights.snapshot.weights)
    model_class = model_class or AutoModel
    has_progress_bar = logging.is_progress_bar_enabled()
    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        options: dict[str, Any] = {
            "dtype": dtype_of(precision),
            "output_loading_info": True,
            "ignore_mismatched_sizes": True,  # refused below, in a sentence
        }
        if weights.pickled:
            model, info = _from_pickle(model_class, weights, options)
        else:
            model, info = model_class.from_pretrained(
                weights.location, use_safetensors=True, local_files_only=True, trust_remote_code=False, **options
            )
    except EncoderError:
        raise
    except Exception as error:
        raise EncoderError(
            f"{weights.name} can't be loaded ({first_line(error)}): check its files, or choose another encoder."
        ) from error
    finally:
        logging.set_verbosity(verbosity)
        if has_progress_bar:
            logging.enable_progress_bar()
    if mismatched := sorted(key for key, *_ in info["mismatched_keys"]):
        raise EncoderError(
            f"The weights of {weights.name} have other shapes than its config.json says ({one_line(mismatched, 3)}): "
            "take both from one place, or choose another encoder."
        )
    # heads that no frame passes through may be missing; anything else would be noise in every value
    random = [key for key in info["missing_keys"] if "pooler" not in key and "masked_spec_embed" not in key]
    if random:
        raise EncoderError(
            f"The weights of {weights.name} lack {one_line(sorted(random))}, which would be random: "
            "they are of another architecture, choose another encoder."
        )
    return model.eval()


def _from_pickle(
    model_class: Any, weights: Weights, options: dict[str, Any]
) -> tuple["PreTrainedModel", dict[str, Any]]:
    """Return a model with the tensors of a .bin, which transformers isn't let near, and which of them it lacks."""
    import torch
    from transformers import GenerationConfig

    from gia_mic.extract.encoders.checkpoint import read_checkpoint

    tensors = read_checkpoint(Path(weights.location) / weights.file)
    if hasattr(model_class, "from_config"):  # one of the Auto classes, which ask the configuration
        with torch.device("meta"):
            model_class = type(model_class.from_config(load_config(weights)))
    config = model_class.config_class.from_pretrained(weights.location, local_files_only=True)
    model, info = model_class.from_pretrained(None, config=config, state_dict=tensors, **options)
    if model.can_generate() and (Path(weights.location) / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(weights.location, local_files_only=True)
    return model, info
