"""Owns `runtime.json`, which says what an export predicts and how the inputs of its encoders are made.

The file lies beside the graphs that it names. It holds a target, the fusion's file, and for each modality what
`gia_mic.onnx_encoders` writes: the numbers by which recordings, texts or films become its encoder's inputs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import PredictionError
from .target import Target

__all__ = ["FILE", "FILES", "FORMAT", "FUSION", "OWN", "TOKENIZER", "Settings", "graph_of", "read_settings"]

FILE = "runtime.json"
FORMAT = 1
FUSION = "model.onnx"
TOKENIZER = "tokenizer.json"

COMMON = {"dim": int, "dtype": str, "pool": str}
OWN: dict[str, dict[str, type | tuple[type, ...]]] = {
    "speech": {
        "input": str,
        "sampling_rate_hz": int,
        "normalise": bool,
        "hop": int,
        "receptive_field": int,
        "window": int,
        "context": int,
    },
    "text": {"window": int, "context": int},
    "visual": {"size": list, "resample": int, "frame_rate_hz": (int, float)},
}
"""Entries of each modality, and their types."""

MOST = 1_000_000
"""No number in the settings is as great."""

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
        read = Settings(
            folder,
            str(entries["name"]),
            int(entries["models"]),
            Target(target["kind"], tuple(map(str, target["names"])), ranges),
            dict(entries["encoders"]),
        )
        _check(read)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise PredictionError(f"{path} is damaged ({error!r}): export the run again.") from error
    return read


def _check(settings: Settings) -> None:
    """Raise a ValueError where something isn't what it must be."""
    target = settings.target
    if target.kind not in ("label", "labels", "votes", "scores") or not target.names:
        raise ValueError(f"no target {target.kind}")
    if len(target.ranges) != (len(target.names) if target.kind == "scores" else 0):
        raise ValueError("a range for each score")
    if not settings.encoders:
        raise ValueError("no encoder")
    for modality, encoder in settings.encoders.items():
        for name, kind in {**COMMON, **OWN[modality]}.items():
            if not isinstance(encoder[name], kind) or not _can_be(name, encoder[name]):
                raise ValueError(f"{modality}: {name} is {encoder[name]!r}")
        if 2 * encoder.get("context", 0) >= encoder.get("window", 1):
            raise ValueError(f"{modality}: a context of {encoder['context']} in a window of {encoder['window']}")


def _can_be(name: str, value: Any) -> bool:
    """Whether an entry, which has its type, has a value that makes sense."""
    if name == "dtype":
        return value in ("float32", "float16")
    if name == "pool":
        return value in ("none", "utterance") or (value.isascii() and value.isdigit() and int(value) > 0)
    if name == "size":
        return len(value) == 2 and all(isinstance(side, int) and 0 < side < MOST for side in value)
    if isinstance(value, bool | str):
        return isinstance(value, str) or name == "normalise"
    return (0 if name in ("context", "resample") else 1e-3) <= value < MOST
