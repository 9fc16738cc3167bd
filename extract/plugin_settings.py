"""Turns the annotation of a class or function that others wrote into its settings, and settings into its config."""

import dataclasses
import inspect
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gia_mic.extract.errors import MerError, one_line, what_failed
from gia_mic.extract.plugins import Kind, Plugin
from gia_mic.extract.settings import Setting

__all__ = ["NoSettings", "config_of", "configured", "settings_lines", "settings_of_own"]

TYPES = (bool, int, float, str, tuple)
"""Types that a setting may have."""


@dataclass(frozen=True)
class NoSettings:
    """The settings of something that has none."""


def config_of(
    kind: Kind, plugin: Plugin, position: int, form: str, *, taken: Collection[str] = (), optional: bool = False
) -> type[Any]:
    """Return the class of its settings, which an argument's annotation names.

    Args:
        kind: Of which kind it is.
        plugin: The class or function.
        position: Number of that argument, from 0; a class's `self` doesn't count.
        form: How to write the arguments.
        taken: Names that a setting can't have.
        optional: Whether it may have no such argument, and so no settings.

    Raises:
        MerError: There is none, it is no frozen dataclass, or a field can't be a setting.
    """
    own, where = plugin.make, f"{plugin.source.class_name} in {plugin.source.file}"
    try:
        arguments = list(inspect.signature(own).parameters)
        hints = typing.get_type_hints(inspect.getattr_static(own, "__init__") if isinstance(own, type) else own)
        config = hints.get(arguments[position]) if len(arguments) > position else None
    except Exception as error:
        raise kind.error(f"{where}: its annotations can't be read ({what_failed(error)}): correct them.") from error
    if optional and len(arguments) <= position:
        return NoSettings
    if config is None or not isinstance(config, type) or not _is_frozen(config):
        raise kind.error(f"{where} says nothing of its settings: write {form} with a frozen dataclass Config.")
    fields = {field.name: field.default for field in dataclasses.fields(config)}
    untyped = [name for name, default in fields.items() if not isinstance(default, TYPES)]
    if untyped:
        raise kind.error(
            f"{where}: {one_line(untyped)} in {config.__name__} can't be set: give a default that is a number, a text, "
            "True, False or a tuple."
        )
    if clashes := sorted({"name", *taken} & fields.keys()):
        raise kind.error(f"{where}: {one_line(clashes)} in {config.__name__} means something else here: rename it.")
    return config


def settings_of_own(config: type[Any]) -> dict[str, Setting]:
    """Return the settings of a config by name; a plain field of a dataclass is one without a help."""
    return {
        field.name: field.metadata.get("setting") or Setting(field.default, "") for field in dataclasses.fields(config)
    }


def settings_lines(settings: Mapping[str, Setting]) -> list[str]:
    """Return a line for each setting, with its default."""
    lines = []
    for name, setting in settings.items():
        choices = f" ({setting.range})" if setting.choices else ""
        help_text = f"{setting.help.removesuffix('.')}{choices}." if setting.help else ""
        lines.append(f"  {name:18}{setting.shown:>12}  {help_text}".rstrip())
    return lines


def configured(config: type[Any], settings: Mapping[str, Any], whose: str, error: type[MerError]) -> Any:
    """Return a config with these settings, as values or as text, and the others at their defaults.

    Args:
        config: Its dataclass.
        settings: Values by name.
        whose: Whose settings they are, such as "The fusion late".
        error: What to raise.

    Raises:
        MerError: There is no such setting, or a text is not of the setting's type.
    """
    known_settings = settings_of_own(config)
    unknown = [key for key in settings if key not in known_settings]
    if unknown:
        settings_in_words = one_line(known_settings, 20) or "none"
        raise error(f"{whose} has no setting {one_line(unknown)}: it has {settings_in_words}.")
    return config(**{key: _typed(key, value, known_settings[key], error) for key, value in settings.items()})


def _typed(name: str, value: Any, setting: Setting, refusal: type[MerError]) -> Any:
    """Return a setting, which may be a text, as a value."""
    if not isinstance(value, str):
        return value
    try:
        return setting.value_of(value)
    except ValueError:
        raise refusal(
            f"The setting {name}={value} is no {type(setting.default).__name__}: give one such as {setting.shown}."
        ) from None


def _is_frozen(config: type[Any]) -> bool:
    parameters: Any = getattr(config, "__dataclass_params__", None)
    return parameters is not None and parameters.frozen
