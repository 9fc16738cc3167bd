"""Turns the name of an encoder into its class, if others wrote it; light, as every encoder's name passes here."""

from pathlib import Path

from gia_mic.extract import plugins
from gia_mic.extract.config import EncoderConfig
from gia_mic.extract.encoders.contract import TINY
from gia_mic.extract.errors import EncoderError
from gia_mic.extract.plugins import Kind, Plugin
from gia_mic.extract.settings import settings_of

__all__ = ["ENCODER", "FORM", "REQUIRED", "TAKEN", "find_own", "installed_encoders"]

ENCODER = Kind(
    noun="an encoder",
    group="gia_mic.encoders",
    error=EncoderError,
    wanted="class with frames",
    several="classes",
    suits=lambda value: isinstance(value, type) and (hasattr(value, "frames") or hasattr(value, "modality")),
)

FORM = "__init__(self, config: Config)"

REQUIRED = {
    "speech": "frames(self, sound), which gives frames (T, D) of samples (n,) float32",
    "text": "frames(self, text), which gives frames (T, D) of a text",
    "visual": "frames(self, pictures), which gives frames (T, D) of pictures (n, height, width, 3) uint8",
}
"""The method that an encoder of each modality has."""

TAKEN = frozenset({"revision", "encoder", "modality", *settings_of(EncoderConfig)})
"""Names that mean something else for an encoder."""


def find_own(model: str) -> Plugin | None:
    """Return the class of an encoder that others wrote; None for a pretrained model.

    Args:
        model: MODULE:CLASS, a name that an installed package gives, or what else `mer extract --encoder` takes.

    Raises:
        EncoderError: There is no such class, or its code fails.
    """
    if model == TINY or Path(model).is_dir():
        return None
    if ":" in model:
        return plugins.load(ENCODER, model)
    points = {} if "/" in model else plugins.installed(ENCODER)  # of the hub's models no package can take the name
    return plugins.load_point(ENCODER, points[model]) if model in points else None


def installed_encoders() -> dict[str, Plugin | EncoderError]:
    """Return the encoders of installed packages by name, or why one can't be used.

    Raises:
        EncoderError: Two packages have one name.
    """
    encoders: dict[str, Plugin | EncoderError] = {}
    for name, point in plugins.installed(ENCODER).items():
        try:
            if name == TINY or "/" in name:
                raise EncoderError(f"An encoder of {point.value} can't be called {name}, as others are: rename it.")
            encoders[name] = plugins.load_point(ENCODER, point)
        except EncoderError as error:
            encoders[name] = error
    return encoders
