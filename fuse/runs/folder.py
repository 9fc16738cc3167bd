"""Owns the layout of a run folder: file names, format, and whether a fold is finished.

`runs/<corpus>/<name>/fold-<k>/seed-<n>/` holds `config.json`, written before the first batch; `model.safetensors`,
`history.csv` and `predictions.parquet`; for the targets scores and labels `readout.json`; and `metrics.json`, written
last: where it is, the fold is finished. A finished fold may have a `robustness.json` too. `fusion/` holds the file of a
fusion that isn't one of ours, and `encoders/<modality>/` that of such an encoder. What is inside each file stands in
the modules beside this one.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from gia_mic.extract.errors import RunError, one_line, words_of
from gia_mic.extract.files import write_json
from gia_mic.extract.targets import KINDS, Target
from gia_mic.fuse.config import OF_ONE_FOLD, RENAMED, TrainingConfig

__all__ = [
    "CONFIG",
    "ENCODERS",
    "FORMAT",
    "HISTORY",
    "METRICS",
    "PREDICTIONS",
    "READOUT",
    "ROBUSTNESS",
    "SOURCE",
    "WEIGHTS",
    "WHOLE",
    "begin",
    "find_run_dirs",
    "is_number",
    "read_config",
    "read_entries",
    "read_json",
    "recorded_target",
    "run_dir_of",
    "shared",
    "state",
]

FORMAT = 1
CONFIG, METRICS, WEIGHTS = "config.json", "metrics.json", "model.safetensors"
READOUT = "readout.json"
HISTORY, PREDICTIONS = "history.csv", "predictions.parquet"
ROBUSTNESS = "robustness.json"
SOURCE, ENCODERS = "fusion", "encoders"

WHOLE = 0
"""Number of the fold that has no test part, whose model is trained on the whole corpus and has no scores."""

HINT = "remove the folder and train the fold again"


def run_dir_of(run: Path, fold: int, seed: int) -> Path:
    """Return the run folder of one training of a run.

    Args:
        run: `runs/<corpus>/<name>`.
        fold: Fold that is tested on, from 1.
        seed: Seed of the training.
    """
    return run / f"fold-{fold}" / f"seed-{seed}"


def find_run_dirs(path: Path) -> list[Path]:
    """Return the finished run folders in a folder: itself, or its folds and seeds, in their order.

    Where one model was trained on the whole corpus, as by `mer distill`, it is that one.

    Raises:
        RunError: There is none, the folder holds several runs, or it may not be read.
    """
    try:
        if (path / CONFIG).is_file():
            return [path]
    except OSError as error:
        raise RunError(f"{path} can't be read ({words_of(error)}): give a folder that you may read.") from error
    finished = [f"{pattern}/{METRICS}" for pattern in ("seed-*", "fold-*/seed-*")]
    run_dirs = [metrics.parent for pattern in finished for metrics in path.glob(pattern)]
    if of_whole := [run_dir for run_dir in run_dirs if run_dir.parent.name == f"fold-{WHOLE}"]:
        run_dirs = of_whole  # it stands for the others
    if run_dirs:
        return sorted(run_dirs, key=lambda run_dir: [(len(part), part) for part in run_dir.parts[-2:]])
    several = sorted({str(seed.parents[1]) for seed in path.glob("**/fold-*/seed-*") if seed.is_dir()})
    content = f"it holds {one_line(several)}" if several else "nothing is trained there"
    if several == [str(path)]:
        content = "none of its folds is finished"
    raise RunError(
        f"{path} is no finished run ({content}): give runs/<corpus>/<name>, or one fold-<k>/seed-<n> folder in it."
    )


def state(run_dir: Path, config: Mapping[str, Any]) -> str:
    """Return what a run folder is, beside a configuration: new, unfinished, finished, or changed since it finished."""
    if not (run_dir / METRICS).exists():
        return "unfinished" if (run_dir / CONFIG).exists() else "new"
    try:
        before = read_config(run_dir)
    except RunError:
        return "changed"
    before.pop("provenance", None)
    return "finished" if before == json.loads(json.dumps(config)) else "changed"


def begin(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Make a run folder, or make an old one unfinished, and write its configuration."""
    for name in (METRICS, ROBUSTNESS):
        (run_dir / name).unlink(missing_ok=True)
    write_json(run_dir / CONFIG, config)


def recorded_target(config: Mapping[str, Any]) -> Target:
    """Return what the run of a configuration predicts.

    Raises:
        KeyError, TypeError, ValueError: The configuration describes none.
    """
    recorded = config.get("target")
    if recorded is None:
        return Target("label", tuple(config["corpus"]["classes"]))
    kind, names = recorded["kind"], tuple(recorded["names"])
    ranges = tuple((float(low), float(high)) for low, high in recorded["ranges"])
    if kind not in KINDS or not names or len(ranges) != (len(names) if kind == "scores" else 0):
        raise ValueError(f"{recorded!r:.80} is no target")
    return Target(kind, names, ranges)


def shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a configuration that all folds and seeds of a run have in common.

    Settings that were searched are chosen for each fold, so they aren't among them.
    """
    entries = {key: value for key, value in config.items() if key not in OF_ONE_FOLD}
    search = config.get("search")
    if isinstance(search, dict) and isinstance(search.get("space"), dict):
        for part in ("model", "training"):
            entries[part] = {name: value for name, value in config[part].items() if name not in search["space"]}
    return entries


def read_config(run_dir: Path, entries: Mapping[str, type] | None = None) -> dict[str, Any]:
    """Return a run folder's configuration, with the settings of an old run as they are said at present.

    Renamed settings have their present names; a run of before `speech_rate_hz` averaged no frames, and one of before
    `score_loss` predicted no scores.

    Args:
        run_dir: The run folder.
        entries: Entries it must have, and their types.

    Raises:
        RunError: As `read_entries`.
    """
    if not (run_dir / CONFIG).exists() and not (run_dir / METRICS).exists():
        raise RunError(f"{run_dir} is no run folder ({CONFIG} is missing): give a fold-<k>/seed-<n> folder.")
    config = read_entries(run_dir / CONFIG, entries or {})
    for part in ("model", "training"):
        if isinstance(config.get(part), dict):
            config[part] = {RENAMED.get(name, name): value for name, value in config[part].items()}
    if isinstance(training := config.get("training"), dict):
        if training.get("speech_stride") == 1:
            del training["speech_stride"]
        training.setdefault("speech_rate_hz", 0.0)
        training.setdefault("score_loss", TrainingConfig.score_loss)
        training.setdefault("ridge_base", TrainingConfig.ridge_base)
    return config


def read_json(path: Path, hint: str = HINT) -> dict[str, Any]:
    """Return what a JSON file of a run folder holds; it may come from a stranger.

    Args:
        path: The file.
        hint: End of the error's sentence: what to do where the file is broken.

    Raises:
        RunError: It is missing, no JSON, holds a number that isn't finite, or is of another format.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse, parse_float=_finite)
    except FileNotFoundError:
        raise RunError(f"{path} is missing, though the fold is finished: {hint}.") from None
    except (ValueError, RecursionError, OSError) as error:
        raise RunError(f"{path} can't be read as JSON ({error}): {hint}.") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        stated = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise RunError(f"{path} is of format {stated!r}, but this version reads format {FORMAT}: {hint}.")
    return value


def read_entries(path: Path, entries: Mapping[str, type], hint: str = HINT) -> dict[str, Any]:
    """Return what a JSON file of a run folder holds, which must have these entries in these types.

    Raises:
        RunError: As `read_json`; or an entry is missing or of another type.
    """
    value = read_json(path, hint)
    wrong = [
        name
        for name, kind in entries.items()
        if not isinstance(value.get(name), (int, float) if kind is float else kind) or isinstance(value[name], bool)
    ]
    if wrong:
        raise RunError(f"{path} lacks {one_line(wrong)}, or has it in another type: {hint}.")
    return value


def is_number(value: Any) -> TypeGuard[float]:
    """Whether an entry of a JSON file is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _refuse(text)


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no finite number")
