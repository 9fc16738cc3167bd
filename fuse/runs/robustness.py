"""Turns scores under hidden modalities, noise and lost frames into `robustness.json`, and back.

The file, with scores as fractions in 0 … 1:

    {"format": 1, "metrics": SHA-256 of the metrics.json of the same training,
     "subsets": {"s": {"WA", "UA"}, …, "stv": …}, "noise": [{"deviation": 0.5, "WA", "UA"}, …],
     "lost_frames": [{"share": 0.25, "WA", "UA"}, …]}
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from gia_mic.extract.corpus import MODALITIES
from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.files import digest, write_json
from gia_mic.fuse.measure import Measure
from gia_mic.fuse.runs.folder import FORMAT, METRICS, ROBUSTNESS, is_number, read_entries

__all__ = ["Condition", "Robustness", "read_robustness", "subsets", "write_robustness"]

LEVELS = {"noise": ("deviation", 1e6), "lost_frames": ("share", 1)}
"""Strength of each kind of damage: its name in the file, and its greatest value."""
HINT = "remove the file, and test again with `mer fuse-train --evaluate-subsets`"


class Condition(NamedTuple):
    """What a trained model is tested with instead of all it was trained on.

    Attributes:
        kind: `subset` (the other modalities are hidden), `noise` or `lost_frames`.
        level: Letters of the modalities left, such as st; standard deviation of the noise, in each feature's own;
            or the part of the frames that is lost, in 0 … 1.
    """

    kind: str
    level: str | float


Robustness = Mapping[Condition, Mapping[str, float | None]]
"""The main scores under each condition, such as WA and UA, by name; None where no utterance counts for one."""


def subsets(modalities: Sequence[str]) -> list[str]:
    """Return the letters of every subset of modalities, the smallest first.

    >>> subsets(["speech", "text"])
    ['s', 't', 'st']
    """
    letters = [letter for letter, name in MODALITIES.items() if name in modalities]
    return ["".join(some) for count in range(1, len(letters) + 1) for some in combinations(letters, count)]


def write_robustness(run_dir: Path, robustness: Robustness) -> None:
    """Write the scores of a finished run folder's model under each condition."""
    levels: dict[str, list[dict[str, Any]]] = {
        kind: [{name: level, **scores} for (of, level), scores in robustness.items() if of == kind]
        for kind, (name, _) in LEVELS.items()
    }
    by_subset = {level: dict(scores) for (kind, level), scores in robustness.items() if kind == "subset"}
    write_json(
        run_dir / ROBUSTNESS, {"format": FORMAT, "metrics": digest(run_dir / METRICS), "subsets": by_subset, **levels}
    )


def read_robustness(run_dir: Path, modalities: Sequence[str], measure: Measure) -> Robustness | None:
    """Return the scores of a run folder's model under each condition.

    Args:
        run_dir: A finished run folder.
        modalities: Names of the modalities that the model was trained on.
        measure: What the model's answers are scored by.

    Returns:
        None where the model wasn't tested so, or the file is of an earlier training or doesn't say of which.

    Raises:
        RunError: The file is broken or of another format.
    """
    path = run_dir / ROBUSTNESS
    if not path.is_file():
        return None
    entries = read_entries(path, {"subsets": dict, "noise": list, "lost_frames": list}, HINT)
    if entries.get("metrics") != digest(run_dir / METRICS):
        return None
    robustness: dict[Condition, Mapping[str, float | None]] = {}
    for letters, scores in entries["subsets"].items():
        if letters not in subsets(modalities):
            raise RunError(f"{path} names a subset {letters!r} of {one_line(modalities)}: {HINT}.")
        robustness[Condition("subset", letters)] = _scores(path, scores, measure)
    for kind, (name, most) in LEVELS.items():
        for entry in entries[kind]:
            level = entry.get(name) if isinstance(entry, dict) else None
            if not is_number(level) or not 0 <= level <= most:
                raise RunError(f"{path}: expected a {name} in 0 … {most:g} in each entry of {kind}: {HINT}.")
            robustness[Condition(kind, float(level))] = _scores(path, entry, measure)
    return robustness


def _scores(path: Path, entry: Any, measure: Measure) -> dict[str, float | None]:
    scores = entry if isinstance(entry, dict) else {}
    for name in measure.headline:
        value = scores.get(name, "nothing")
        if value is not None and not (is_number(value) and (name not in measure.in_percent or 0 <= value <= 1)):
            fractions = " in 0 … 1" if measure.in_percent.issuperset(measure.headline) else ""
            raise RunError(
                f"{path}: expected {' and '.join(measure.headline)}{fractions} under each condition: {HINT}."
            )
    return {name: None if scores[name] is None else float(scores[name]) for name in measure.headline}
