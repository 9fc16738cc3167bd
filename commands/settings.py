"""Options made of the settings of frozen configs, which alone know their defaults, ranges and help."""

import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from gia_mic.commands.options import FINITE
from gia_mic.extract.settings import Setting, settings_of
from gia_mic.fuse.config import RENAMED

__all__ = ["name_the_new", "option_name", "setting_options", "typed_settings"]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def setting_options(config: type[Any], *, without: tuple[str, ...] = ()) -> Decorator:
    """Add an option for each setting of a config, but for some; what is not typed is None, or ()."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, setting in reversed(settings_of(config).items()):
            if name not in without:
                command = _option(name, setting)(command)
        return command

    return add


def typed_settings(config: type[Any], options: dict[str, Any]) -> dict[str, Any]:
    """Take a config's fields out of a command's options, and return those that were typed."""
    values = {field.name: options.pop(field.name, None) for field in fields(config)}
    return {name: value for name, value in values.items() if value not in (None, ())}


def option_name(name: str) -> str:
    """Return the option of a setting, which leaves the unit to its help.

    >>> option_name("soft_target"), option_name("frame_rate_hz")
    ('--soft-target', '--frame-rate')
    """
    return f"--{re.sub('_(s|hz)$', '', name).replace('_', '-')}"


def name_the_new(error: click.NoSuchOption) -> click.UsageError:
    """Return the error for an option that a command doesn't have; for a renamed option it gives the new name."""
    if error.option_name == "--tensorboard":
        return click.UsageError("--tensorboard is now --log tensorboard.", error.ctx)
    new = option_name(RENAMED.get(error.option_name.lstrip("-").replace("-", "_"), ""))
    if error.ctx is not None and any(new in parameter.opts for parameter in error.ctx.command.params):
        return click.UsageError(f"{error.option_name} is now {new}.", error.ctx)
    return error


class _Parsed(click.ParamType):
    """What a setting's own parser makes of a text."""

    name = "text"

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self.parse = parse

    def convert(self, value: str, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        try:
            return self.parse(value)
        except ValueError as error:
            self.fail(str(error), parameter, context)


def _option(name: str, setting: Setting) -> Decorator:
    """Make the option of a setting: a truth value has two, a tuple of choices may be given piece by piece."""
    option = option_name(name)
    limits = "" if setting.choices else setting.range
    help = f"{setting.help}  [default: {'; '.join(filter(None, (setting.shown, limits)))}]"
    if isinstance(setting.default, bool):
        return click.option(f"{option}/--no-{option[2:]}", name, default=None, help=help)
    several = isinstance(setting.default, tuple) and setting.parse is None
    kind: Any = FINITE if isinstance(setting.default, float) else type(setting.default)
    if setting.choices:
        kind = click.Choice(list(setting.choices))
    elif setting.parse is not None:
        kind = _Parsed(setting.parse)
    if several:
        help = help.replace("  [", " May be repeated.  [")
    return click.option(option, name, type=kind, multiple=several, default=None, help=help)
