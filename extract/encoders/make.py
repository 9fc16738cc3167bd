"""Turns a modality and the name of a model into its encoder; an encoder's libraries are loaded with it."""

from collections.abc import Collection
from typing import Any

from gia_mic.extract.config import EncoderConfig
from gia_mic.extract.encoders.contract import Encoder
from gia_mic.extract.errors import EncoderError, one_line
from gia_mic.extract.settings import settings_of

__all__ = ["OWNERS", "check_names", "make_encoder"]

OWNERS = {"window_s": "speech", "frame_rate_hz": "visual", "crop": "visual"}
"""Options that only one modality has."""


def check_names(options: Collection[str], modality: str | None = None) -> None:
    """Refuse options that no encoder has, or none of this modality.

    Raises:
        EncoderError: There are such options.
    """
    known = ["revision", *settings_of(EncoderConfig)]
    if unknown := [name for name in options if name not in known]:
        raise EncoderError(f"Encoders have no option {one_line(unknown)}: they have {', '.join(known)}.")
    if modality and (others := [name for name in options if OWNERS.get(name, modality) != modality]):
        raise EncoderError(f"{one_line(others)} is no option of {modality}: leave it out.")


def make_encoder(modality: str, model: str, **options: Any) -> Encoder:
    """Return the encoder of a modality; its weights are loaded when they are first needed.

    Args:
        modality: speech, text or visual.
        model: Hub id, local folder, or "tiny".
        options: `revision`, and the modality's settings of `EncoderConfig`; None takes the default.

    Raises:
        EncoderError: The model can't be found, or doesn't fit.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if modality == "speech":
        from gia_mic.extract.encoders.speech import SpeechEncoder

        return SpeechEncoder(model, **options)
    if modality == "text":
        from gia_mic.extract.encoders.text import TextEncoder

        return TextEncoder(model, **options)
    from gia_mic.extract.encoders.visual import VisualEncoder

    return VisualEncoder(model, **options)
