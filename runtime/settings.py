"""Owns `runtime.json`, which says what an export predicts and how the inputs of its encoders are made.

The file lies beside the graphs that it names. It holds a target, the fusion's file, and for each modality what
`gia_mic.onnx_encoders` writes: the numbers by which recordings, texts or films become its encoder's inputs.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import PredictionError
from .speech import LOG_MEL, SAMPLES
from .target import Target

__all__ = ["FILE", "FILES", "FORMAT", "FUSION", "OWN", "TOKENIZER", "Settings", "graph_of", "read_settings"]

FILE = "runtime.json"
FORMAT = 1
FUSION = "model.onnx"
TOKENIZER = "tokenizer.json"

LARGEST = 10**9
"""No number is larger."""


def _is_count(value: Any, least: int = 1) -> bool:
    return type(value) is int and least <= value <= LARGEST


def _is_count_or_0(value: Any) -> bool:
    return _is_count(value, 0)


COMMON: dict[str, Callable[[Any], bool]] = {
    "dim": _is_count,
    "dtype": lambda value: value in ("float16", "float32"),
    "pool": lambda value: value in ("none", "utterance") or (isinstance(value, str) and _is_count(int(value))),
}
OWN: dict[str, dict[str, Callable[[Any], bool]]] = {
    "speech": {
        "input": lambda value: value in (SAMPLES, LOG_MEL),
        "sampling_rate_hz": _is_count,
        "normalise": lambda value: isinstance(value, bool),
        "hop": _is_count,
        "receptive_field": _is_count,
        "window": _is_count,
        "context": _is_count_or_0,
    },
    "text": {"window": _is_count, "context": _is_count_or_0},
    "visual": {
        "size": lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_count, value)),
        "resample": _is_count_or_0,
        "frame_rate_hz": lambda value: isinstance(value, int | float) and 0 < value <= LARGEST,
    },
}
"""Entries of each modality, and what tells whether a value can be one."""

FILES = (FILE, FUSION, TOKENIZER, *(f"{name}.onnx{end}" for name in OWN for end in ("", ".data")))
"""Names of all files that the runtime may need."""


@dataclass(frozen=True)
class Settings:
    """What an export predicts, and from what.

    Attributes:
        folder: Where its files are.
        name: Name of the run.
        models: Number of trained models whose answers are averaged.
        target: What they predict.
        encoders: By modality, how its encoder's inputs are made: the entries of `COMMON` and `OWN`.
    """

    folder: Path
    name: str
    models: int
    target: Target
    encoders: Mapping[str, Mapping[str, Any]]


def graph_of(modality: str) -> str:
    """Return the name of the file with a modality's encoder."""
    return f"{modality}.onnx"


def read_settings(folder: Path) -> Settings:
    """Read the settings of an export; it may come from a stranger.

    Raises:
        PredictionError: There are none, or they are broken or of another version.
    """
    path = folder / FILE
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PredictionError(
            f"{folder} has no {FILE}: give a folder that `mer export RUN FOLDER --onnx` wrote."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise PredictionError(f"{path} can't be read as JSON ({error}): export the run again.") from error
    stated = entries.get("format") if isinstance(entries, dict) else None
    if stated != FORMAT:
        raise PredictionError(f"{path} is of format {stated!r}, and this version reads {FORMAT}: export the run again.")
    try:
        target = entries["target"]
        ranges = tuple((float(low), float(high)) for low, high in target["ranges"])
        settings = Settings(
            folder,
            str(entries["name"]),
            int(entries["models"]),
            Target(target["kind"], tuple(map(str, target["names"])), ranges),
            dict(entries["encoders"]),
        )
        _check(settings)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise PredictionError(f"{path} is damaged ({error!r}): export the run again.") from error
    return settings


def _check(settings: Settings) -> None:
    """Raise a ValueError where something isn't what it must be."""
    target = settings.target
    if target.kind not in ("label", "labels", "votes", "scores") or not target.names:
        raise ValueError(f"no target {target.kind}")
    if len(target.ranges) != (len(target.names) if target.kind == "scores" else 0):
        raise ValueError("a range for each score")
    if not all(-LARGEST <= low < high <= LARGEST for low, high in target.ranges):
        raise ValueError(f"ranges {target.ranges}")
    if not settings.encoders:
        raise ValueError("no encoder")
    for modality, encoder in settings.encoders.items():
        for name, fits in {**COMMON, **OWN[modality]}.items():
            if not fits(encoder[name]):
                raise ValueError(f"{modality}: {name} is {encoder[name]!r}")
        if encoder.get("input") == LOG_MEL and not _is_count(encoder["mels"]):
            raise ValueError(f"{modality}: mels is {encoder['mels']!r}")
        if encoder.get("window", 1) <= 2 * encoder.get("context", 0):  # such windows would never end
            raise ValueError(f"{modality}: a window of {encoder['window']}")
