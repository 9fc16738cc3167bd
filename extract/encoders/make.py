"""Turns a modality and the name of a model into its encoder; an encoder's libraries are loaded with it."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from gia_mic.extract.config import EncoderConfig
from gia_mic.extract.encoders.contract import Encoder
from gia_mic.extract.encoders.own_class import find_own
from gia_mic.extract.errors import EncoderError, one_line
from gia_mic.extract.plugins import Plugin
from gia_mic.extract.settings import settings_of

if TYPE_CHECKING:
    from gia_mic.extract.encoders.own import OwnEncoder

__all__ = ["OWNERS", "check_names", "make_encoder", "make_own", "make_pretrained"]

NOT_OF_OWN = ("revision", "layers", "precision")
"""Options that an encoder which others wrote doesn't have."""

OWNERS = {"window_s": "speech", "frame_rate_hz": "visual", "crop": "visual"}
"""Options that only one modality has."""


def check_names(options: Collection[str], modality: str | None = None) -> None:
    """Refuse options that no encoder has, or none of this modality.

    Raises:
        EncoderError: There are such options.
    """
    all_options = ["revision", "settings", *settings_of(EncoderConfig)]
    if unknown := [name for name in options if name not in all_options]:
        raise EncoderError(f"Encoders have no option {one_line(unknown)}: they have {', '.join(all_options)}.")
    if modality and (others := [name for name in options if OWNERS.get(name, modality) != modality]):
        raise EncoderError(f"{one_line(others)} is no option of {modality}: leave it out.")


def make_encoder(modality: str, model: str, **options: Any) -> Encoder:
    """Return the encoder of a modality; its weights are loaded when they are first needed.

    Args:
        modality: speech, text or visual.
        model: Hub id, local folder, "tiny", or an encoder that others wrote, as `own_class.find_own` takes it.
        options: `revision`, and the modality's settings of `EncoderConfig`; None takes the default. `settings` are the
            own ones of an encoder that others wrote.

    Raises:
        EncoderError: The model can't be found, or doesn't fit.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if (plugin := find_own(model)) is not None:
        return make_own(plugin, modality, **options)
    if options.pop("settings", None):
        raise EncoderError(f"{model} has no settings of its own: leave --set out.")
    return make_pretrained(modality, model, **options)


def make_pretrained(modality: str, model: str, **options: Any) -> Encoder:
    """Return the encoder of a modality by a pretrained model, whatever its name: code of others is never run.

    Args:
        modality: speech, text or visual.
        model: Hub id, local folder, or "tiny".
        options: `revision`, and the modality's settings of `EncoderConfig`.

    Raises:
        EncoderError: The model can't be found, or doesn't fit.
    """
    if modality == "speech":
        from gia_mic.extract.encoders.speech import SpeechEncoder

        return SpeechEncoder(model, **options)
    if modality == "text":
        from gia_mic.extract.encoders.text import TextEncoder

        return TextEncoder(model, **options)
    from gia_mic.extract.encoders.visual import VisualEncoder

    return VisualEncoder(model, **options)


def make_own(plugin: Plugin, modality: str | None = None, **options: Any) -> "OwnEncoder":
    """Return an encoder that others wrote.

    Args:
        plugin: Its class.
        modality: speech, text or visual; None takes what it encodes.
        options: As for `make_encoder`.

    Raises:
        EncoderError: It can't be made, lacks something, is of another modality, or has no such option.
    """
    from gia_mic.extract.encoders.own import OwnEncoder

    if others := [name for name in options if name in NOT_OF_OWN]:
        raise EncoderError(
            f"{one_line(others)} is no option of {plugin.source.class_name} in {plugin.source.file}: its own settings "
            "are given by --set."
        )
    return OwnEncoder(plugin, modality, **options)
