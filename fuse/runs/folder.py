"""Owns the layout of a run folder: file names, format, and whether a fold is finished.

`runs/<corpus>/<name>/fold-<k>/seed-<n>/` holds `config.json`, written before the first batch; `model.safetensors`,
`history.csv` and `predictions.parquet`; and `metrics.json`, written last: where it is, the fold is finished. What is
inside each file stands in the modules beside this one.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gia_mic.extract.errors import RunError
from gia_mic.extract.files import write_json
from gia_mic.fuse.config import OF_ONE_FOLD, RENAMED

__all__ = [
    "CONFIG",
    "FORMAT",
    "HISTORY",
    "METRICS",
    "PREDICTIONS",
    "ROBUSTNESS",
    "WEIGHTS",
    "begin",
    "read_config",
    "read_json",
    "shared",
    "state",
]

FORMAT = 1
CONFIG, METRICS, WEIGHTS = "config.json", "metrics.json", "model.safetensors"
HISTORY, PREDICTIONS = "history.csv", "predictions.parquet"
ROBUSTNESS = "robustness.json"

HINT = "remove the folder and train the fold again"


def state(place: Path, config: Mapping[str, Any]) -> str:
    """Return what a run folder is, beside a configuration: new, unfinished, finished, or changed since it finished."""
    if not (place / METRICS).exists():
        return "unfinished" if (place / CONFIG).exists() else "new"
    try:
        before = read_config(place)
    except RunError:
        return "changed"
    before.pop("provenance", None)
    return "finished" if before == json.loads(json.dumps(config)) else "changed"


def begin(place: Path, config: Mapping[str, Any]) -> None:
    """Make a run folder, or make an old one unfinished, and write its configuration."""
    (place / METRICS).unlink(missing_ok=True)
    write_json(place / CONFIG, config)


def shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a configuration that all folds and seeds of a run have in common."""
    return {key: value for key, value in config.items() if key not in OF_ONE_FOLD}


def read_config(place: Path) -> dict[str, Any]:
    """Return a run folder's configuration, with the settings of a run of before under their present names.

    Raises:
        RunError: It is missing, no JSON, or of another format.
    """
    if not (place / CONFIG).exists() and not (place / METRICS).exists():
        raise RunError(f"{place} is no run folder ({CONFIG} is missing): give a fold-<k>/seed-<n> folder.")
    config = read_json(place / CONFIG)
    for part in ("model", "training"):
        if isinstance(config.get(part), dict):
            config[part] = {RENAMED.get(name, name): value for name, value in config[part].items()}
    return config


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file of a run folder holds; it may come from a stranger.

    Raises:
        RunError: It is missing, no JSON, holds a number that isn't finite, or is of another format.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse, parse_float=_finite)
    except FileNotFoundError:
        raise RunError(f"{path} is missing, though the fold is finished: {HINT}.") from None
    except (ValueError, RecursionError, OSError) as error:
        raise RunError(f"{path} can't be read as JSON ({error}): {HINT}.") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise RunError(f"{path} is of format {found!r}, but this version reads format {FORMAT}: {HINT}.")
    return value


def _finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _refuse(text)


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no finite number")
