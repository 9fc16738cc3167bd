"""Turns the spec that a feature file or a run recorded back into the encoder that made its frames."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gia_mic.extract.encoders.contract import EXTRACTOR_VERSION, TINY, Encoder
from gia_mic.extract.encoders.make import make_own, make_pretrained
from gia_mic.extract.encoders.own_class import ENCODER
from gia_mic.extract.encoders.weights import COMMIT_DIGITS, recorded_revision
from gia_mic.extract.errors import EncoderError, one_line
from gia_mic.extract.plugins import load_recorded
from gia_mic.fuse.runs.folder import CONFIG
from gia_mic.fuse.runs.source import encoder_folder

__all__ = ["from_folder", "from_hub", "rebuild", "recorded_models"]

_DERIVED = (
    "modality model weights weights_file sampling_rate_hz context_s normalise window_tokens context_tokens framing "
    "code version"
).split()
"""Fields of a spec that the encoder itself finds out; all others were options."""


def from_folder(weights: str) -> bool:
    """Whether recorded weights were read from a folder, whose digest they are, and not from the hub."""
    return len(weights) != COMMIT_DIGITS


def from_hub(spec: Mapping[str, Any]) -> bool:
    """Whether a recorded spec is of a model of the hub."""
    return "weights" in spec and spec["model"] != TINY and not from_folder(spec["weights"])


def recorded_models(config: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Return the hub's models, each with its commit, that a run's configuration recorded.

    Raises:
        EncoderError: A commit can't be found.
    """
    specs = [config["features"][modality].get("spec", {}) for modality in config["modalities"]]
    recognisers = config["corpus"].get("recognisers") or {}
    models: list[tuple[str, str | None]] = [
        (str(spec["model"]), recorded_revision(spec)) for spec in specs if from_hub(spec)
    ]
    recogniser_models = [
        (model, about["weights"]) for model, about in recognisers.items() if not from_folder(about["weights"])
    ]
    return models + recogniser_models


def rebuild(
    spec: Mapping[str, Any],
    folder: str | None = None,
    run_dir: Path | None = None,
    *,
    precision: str | None = None,
    trust: bool = False,
) -> Encoder:
    """Return the encoder of a recorded spec; its weights are loaded when they are first needed.

    Args:
        spec: The recorded spec, as `EncoderSpec.canonical` gives it.
        folder: Folder of the weights; None fetches those of the hub from there. A folder may have moved: its content
            is checked against the recorded digest.
        run_dir: The run that recorded it, which has the code of an encoder that others wrote; None for ours alone.
        precision: What it computes in; None takes what was recorded, and another one makes frames that differ a little.
        trust: Whether such code may be run.

    Raises:
        EncoderError: The weights aren't there or are others, or this version would make other frames of the same spec.
    """
    modality, model = spec.get("modality"), spec.get("model")
    if "weights" not in spec or "version" not in spec:
        raise EncoderError(
            f"The {modality} features were made by other software ({model}): there is no encoder for files."
        )
    if spec["version"] != EXTRACTOR_VERSION:
        raise EncoderError(
            f"The {modality} frames were made by version {spec['version']} of the extractor and this is version "
            f"{EXTRACTOR_VERSION}, which makes others: run `mer extract` and `mer fuse-train` again."
        )
    if spec.get("code") is not None:
        return _rebuild_own(spec, folder, run_dir, trust=trust)
    local = from_folder(spec["weights"])
    if model != TINY and (local or folder) and not (folder and Path(folder).is_dir()):
        raise EncoderError(
            f"The {modality} encoder {model} was read from a folder, and {folder or 'where that lies'} isn't "
            f"{'there' if folder else 'known'}: give --encoder {modality}=FOLDER."
        )
    holder = None
    options = {name: tuple(v) if isinstance(v, list) else v for name, v in spec.items() if name not in _DERIVED}
    if crop := (spec.get("framing") or {}).get("crop"):
        options["crop"] = crop
    if model != TINY and not folder:
        options["revision"] = holder = recorded_revision(spec)
    if precision:
        options["precision"] = precision
    try:
        encoder = make_pretrained(str(modality), str(model if model == TINY else folder or model), **options)
    except TypeError as error:
        raise EncoderError(
            f"This version can't make {modality} frames with {one_line(options)}: train again."
        ) from error
    rebuilt = encoder.spec.canonical()
    same = {"model", "precision"} if precision else {"model"}
    if rebuilt["weights"] == holder:  # what an earlier version recorded of these weights
        same |= {"weights", "weights_file"}
    differing = [name for name in {**rebuilt, **spec} if name not in same and rebuilt.get(name) != spec.get(name)]
    if "weights" in differing:
        raise EncoderError(
            f"{folder or model} holds other weights ({rebuilt['weights'][:12]}…) than the {modality} frames were made "
            f"with ({model}, {spec['weights'][:12]}…): give --encoder {modality}=FOLDER with those."
        )
    if differing:
        raise EncoderError(
            f"The {modality} encoder {model} would make other frames than recorded, by {one_line(differing)}."
        )
    return encoder


def _rebuild_own(spec: Mapping[str, Any], folder: str | None, run_dir: Path | None, *, trust: bool) -> Encoder:
    """Return an encoder that others wrote.

    Raises:
        EncoderError: Its code isn't trusted, can't be loaded or would make other frames, or its weights are others.
    """
    modality, name, record = str(spec.get("modality")), str(spec.get("model")), spec["code"]
    if run_dir is None or not isinstance(record, Mapping) or not isinstance(record.get("settings"), Mapping):
        raise EncoderError(f"The {modality} encoder {name} isn't recorded as a run does it: train the run again.")
    code_folder, where = encoder_folder(run_dir, modality), run_dir / CONFIG
    plugin = load_recorded(ENCODER, name, record, code_folder, where=where, trust=trust)
    settings = {key: tuple(v) if isinstance(v, list) else v for key, v in record["settings"].items()}
    options = {key: spec[key] for key in ("pool", "dtype", "window_s", "frame_rate_hz", "crop") if key in spec}
    if weights := settings.get("weights"):
        if folder is None:
            raise EncoderError(
                f"The {modality} encoder {name} reads weights, and where they lie isn't known: give --encoder "
                f"{modality}=FOLDER."
            )
        options["weights"] = folder
    elif folder is not None:
        raise EncoderError(f"The {modality} encoder {name} reads no weights: leave --encoder {modality}=FOLDER out.")
    encoder = make_own(plugin, modality, settings=settings, **options)
    rebuilt = encoder.spec.canonical()
    if weights and rebuilt["code"]["settings"]["weights"] != weights:
        raise EncoderError(
            f"{folder} holds other weights than the {modality} frames were made with ({name}, {weights[:12]}…): give "
            f"--encoder {modality}=FOLDER with those."
        )
    # a name of the package may have changed, its code hasn't
    same = {"code"} if rebuilt["code"]["settings"] == record["settings"] else set()
    if differing := [key for key in {**rebuilt, **spec} if key not in same and rebuilt.get(key) != spec.get(key)]:
        raise EncoderError(
            f"The {modality} encoder {name} would make other frames than recorded, by {one_line(differing)}: train the "
            "run again."
        )
    return encoder
