"""Turns the encoders that there are by default, and those that others wrote, into a table for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from gia_mic.extract.config import DEFAULT_MODELS
from gia_mic.extract.encoders.check_own import check_encoder
from gia_mic.extract.encoders.contract import TINY
from gia_mic.extract.encoders.make import make_own
from gia_mic.extract.encoders.own_class import ENCODER, FORM, TAKEN, find_own, installed_encoders
from gia_mic.extract.errors import EncoderError
from gia_mic.extract.plugin_settings import config_of, settings_lines, settings_of_own
from gia_mic.extract.plugins import Plugin, about, short_name
from gia_mic.extract.truths import Finding

__all__ = ["check_named", "listing"]


def listing(names: Sequence[str] = ()) -> str:
    """Return a line for each encoder, with what it encodes; under one that others wrote, a line for each setting.

    Args:
        names: Encoders that others wrote; by default ours and those of installed packages, of which one that fails has
            its error instead.

    Raises:
        EncoderError: There is no such encoder, or its code fails.
    """
    lines = [line for name in names for line in _lines(short_name(name), _own(name))]
    if names:
        return "\n".join(lines)
    lines = [_line(model, modality, "by default") for modality, model in DEFAULT_MODELS.items()]
    lines.append(_line(TINY, "any", "random weights, by default for the demo corpus"))
    for name, plugin in installed_encoders().items():
        try:
            lines += [_line(name, "—", str(plugin))] if isinstance(plugin, EncoderError) else _lines(name, plugin)
        except EncoderError as error:
            lines.append(_line(name, "—", str(error)))
    return "\n".join(lines)


def check_named(name: str, settings: Mapping[str, Any] | None = None) -> list[Finding]:
    """Return what becomes of each truth that an encoder is held to.

    Raises:
        EncoderError: There is no such encoder, or it can't be made.
    """
    plugin = _own(name)
    return check_encoder(lambda: make_own(plugin, settings=settings))


def _own(name: str) -> Plugin:
    plugin = find_own(name)
    if plugin is None:
        raise EncoderError(
            f"There is no encoder {name!r} that others wrote: name your own by MODULE:CLASS; those of transformers are "
            "tried when `mer extract` loads them."
        )
    return plugin


def _lines(name: str, plugin: Plugin) -> list[str]:
    config = config_of(ENCODER, plugin, 0, FORM, taken=TAKEN, optional=True)
    text = f"{about(plugin)} ({plugin.source.origin})"
    return [_line(name, getattr(plugin.make, "modality", "—"), text), *settings_lines(settings_of_own(config))]


def _line(name: str, modality: str, text: str) -> str:
    return f"{name:32}{modality:8}{text}"
