"""Turns the name of a fusion that others wrote into its class, its settings and its source."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import nn

from gia_mic.extract import plugins
from gia_mic.extract.errors import RunError
from gia_mic.extract.plugin_settings import config_of
from gia_mic.extract.plugins import Kind, Plugin, Source
from gia_mic.fuse.config import RENAMED, TrainingConfig

__all__ = ["FUSION", "OwnClass", "load_class", "load_installed", "own_class"]

FUSION = Kind(
    noun="a fusion",
    group="gia_mic.fusions",
    error=RunError,
    wanted="torch.nn.Module",
    several="modules",
    suits=lambda value: isinstance(value, type) and issubclass(value, nn.Module),
)

FORM = "__init__(self, dims, outputs, config: Config)"


@dataclass(frozen=True)
class OwnClass:
    """A fusion that others wrote.

    Attributes:
        make: Its class.
        config: Frozen dataclass of its settings.
        source: Where it comes from.
        about: What it says of itself in its first line.
    """

    make: type[nn.Module]
    config: type[Any]
    source: Source
    about: str


def load_class(name: str) -> OwnClass:
    """Load a class by MODULE:CLASS, as `extract.plugins.load` does.

    Raises:
        RunError: There is no such class, its code fails, or it can't be a fusion.
    """
    return own_class(plugins.load(FUSION, name))


def load_installed(module_name: str, class_name: str) -> OwnClass:
    """Load a class of an installed module.

    Raises:
        RunError: As `load_class`.
    """
    return own_class(plugins.load_installed(FUSION, module_name, class_name))


def own_class(plugin: Plugin) -> OwnClass:
    """Return a class with its settings.

    Raises:
        RunError: It says nothing of them, or they can't be such.
    """
    taken = {*RENAMED, *(field.name for field in dataclasses.fields(TrainingConfig))}
    config = config_of(FUSION, plugin, 2, FORM, taken=taken)
    return OwnClass(plugin.make, config, plugin.source, plugins.about(plugin))
