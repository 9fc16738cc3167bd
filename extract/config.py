"""Turns the choices of an extraction into frozen values; every default of extraction stands here, once.

Nothing here imports numpy or torch, so the command line reads its defaults from here without loading them.
"""

from dataclasses import dataclass

from gia_mic.extract.settings import setting

__all__ = ["CROPS", "DEFAULT_MODELS", "DEFAULT_REVISION", "DTYPES", "PRECISIONS", "EncoderConfig"]

DEFAULT_MODELS = {
    "speech": "facebook/wav2vec2-base",
    "text": "FacebookAI/roberta-base",
    "visual": "openai/clip-vit-base-patch32",
}
"""What encodes a modality of a corpus that names no encoder of its own."""

DEFAULT_REVISION = "main"

PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "int8")
DTYPES = ("float16", "float32")

CROPS = {
    "half": "the part that the manifest names, such as the speaker's half, or else all",
    "none": "the whole picture",
    "face": "the largest face in that part, followed through the clip",
}
"""What may be cut out of each picture."""


def parse_layers(text: str) -> tuple[int, ...] | str:
    """Return layer numbers, or "mean".

    Raises:
        ValueError: The text is neither.
    """
    if text == "mean":
        return text
    try:
        return tuple(int(layer) for layer in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is neither numbers such as 6,9,12 nor mean.") from None


@dataclass(frozen=True)
class EncoderConfig:
    """What can be chosen about the frames of an encoder; what else shapes them follows from its model."""

    layers: tuple[int, ...] | str = setting(
        (-1,),
        "Keep these hidden layers side by side, such as 6,9,12 or -2,-1; or the mean of all (mean). Layer -1 is the "
        "last, 0 the embeddings.",
        elsewhere="mean for speech, but for tiny",
        parse=parse_layers,
    )
    pool: str = setting("none", "Average no frames (none), this many neighbours, or all of an utterance (utterance).")
    precision: str = setting(
        "float32",
        "Number type that the model computes in. tf32 is float32 with products of 10 bits, on NVIDIA's GPUs. int8 is "
        "float32 with linear layers of 8-bit integers, on CPUs.",
        choices=PRECISIONS,
    )
    dtype: str = setting("float16", "Number type that features are stored in.", choices=DTYPES)
    window_s: float = setting(
        20.0, "Cut longer sound into windows of this many seconds. Whisper always takes 30.", above=0
    )
    frame_rate_hz: float = setting(
        4.0, "Take this many pictures of each second of video.", above=0, elsewhere="8 for models of clips"
    )
    crop: str = setting(
        "half",
        f"Part of the picture. {'. '.join(f'{name.capitalize()} is {part}' for name, part in CROPS.items())}; it needs "
        "pip install 'gia-mic[face]'.",
        choices=CROPS,
    )
