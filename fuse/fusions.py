"""Turns the name of a fusion into a model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from extract.errors import RunError, one_line
from fuse.config import GiaMicConfig
from fuse.model import GiaMic

__all__ = ["FUSIONS", "Entry", "build", "configure", "find"]


@dataclass(frozen=True)
class Entry:
    """A fusion that can be trained.

    Attributes:
        name: As on the command line.
        about: One line.
        source: Where it comes from.
        config: Its frozen dataclass, with a method `problems()`.
        make: Makes the model of dims by modality, the number of classes and a config.
    """

    name: str
    about: str
    source: str
    config: type[Any]
    make: Callable[[Mapping[str, int], int, Any], nn.Module]


FUSIONS: dict[str, Entry] = {
    entry.name: entry
    for entry in [
        Entry(
            "gia-mic",
            "gated interactive attention, modality-invariant generator and constraint",
            "He, Mi and Toda, INTERSPEECH 2025 (our reading)",
            GiaMicConfig,
            GiaMic,
        )
    ]
}


def find(name: str) -> Entry:
    """Return a fusion by name.

    Raises:
        RunError: There is none of that name.
    """
    if name not in FUSIONS:
        raise RunError(f"There is no fusion {name!r}: choose one of {', '.join(FUSIONS)}.")
    return FUSIONS[name]


def configure(name: str, given: Mapping[str, Any]) -> Any:
    """Return a fusion's config with some of its settings given, the others at their defaults.

    Raises:
        RunError: The fusion is unknown, or has no such setting.
    """
    config = find(name).config
    known = [field.name for field in fields(config)]
    strange = [key for key in given if key not in known]
    if strange:
        raise RunError(f"The fusion {name} has no setting {one_line(strange)}: it has {one_line(known, 20)}.")
    return config(**given)


def build(name: str, dims: Mapping[str, int], classes: int, settings: Mapping[str, Any]) -> nn.Module:
    """Make a model from the settings that a run folder's `config.json` holds under `model`.

    Raises:
        RunError: The fusion or one of its settings is unknown to this version.
    """
    entry = find(name)
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items() if key != "name"
    }
    try:
        config = entry.config(**values)
    except TypeError as error:
        raise RunError(
            f"The settings of {name} are not those of this version ({error}): train the run again."
        ) from error
    return entry.make(dims, classes, config)
