"""Turns a modality and the name of a model into its encoder; an encoder's libraries are loaded with it."""

from typing import Any

from gia_mic.extract.encoders.contract import Encoder

__all__ = ["make_encoder"]


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
