"""Holds an encoder that others wrote to what every encoder must do, on short random inputs, and says why it doesn't."""

from collections.abc import Callable, Mapping

import numpy as np

from gia_mic.extract.encoders.own import OwnEncoder
from gia_mic.extract.encoders.proof import difference
from gia_mic.extract.errors import EncoderError, MerError
from gia_mic.extract.truths import Finding, findings

__all__ = ["check_encoder", "refuse_unfit"]

LENGTHS = (1, 2, 3)
"""Seconds, words or pictures of the inputs."""

TOLERANCE = 1e-3
"""Largest difference of a frame (L2) that counts as rounding, as a part of how far frames lie from their mean."""

RATE_TOLERANCE = 0.05
"""Part by which the frames of a second may be more or fewer than stated."""


def check_encoder(make: Callable[[], OwnEncoder]) -> list[Finding]:
    """Return what becomes of each truth.

    Args:
        make: Makes the encoder, anew at each call.

    Raises:
        EncoderError: It can't be made.
    """
    encoder = make()
    return findings({**TRUTHS, ANEW: lambda one: _is_the_same_anew(one, make())}, encoder, encoder.spec.name)


def refuse_unfit(encoder: OwnEncoder) -> None:
    """Refuse an encoder that breaks a truth; all are tried that need no second one.

    Raises:
        EncoderError: It breaks one.
    """
    for finding in findings(TRUTHS, encoder, encoder.spec.name):
        if finding.problem is not None:
            raise EncoderError(
                f"Of the encoder {encoder.spec.name} it doesn't hold that {finding.truth} ({finding.problem}): correct "
                "it, and try `mer encoders --check`."
            )


def _has_frames_of_one_width(encoder: OwnEncoder) -> str:
    counts = [len(encoder.frames(encoder.probe(length), f"input {length}")) for length in LENGTHS]
    return f"{encoder.dim} features; {', '.join(map(str, counts))} frames of inputs of 1, 2 and 3 {_units(encoder)}"


def _answers_the_shortest(encoder: OwnEncoder) -> str | None:
    try:
        encoder.frames(encoder.probe(0), encoder.shortest)
    except MerError as error:
        if "fails on" not in str(error):  # it answers, but with something else than frames
            raise
        return f"it refuses {encoder.shortest}, so such utterances will fail"
    return None


def _is_repeatable(encoder: OwnEncoder) -> None:
    value = encoder.probe(2)
    _same(encoder.frames(value), encoder.frames(value), "the second time, frames are others")


def _remembers_nothing(encoder: OwnEncoder) -> None:
    values = [encoder.probe(length, seed) for seed, length in enumerate(LENGTHS)]
    before = [encoder.frames(value) for value in values]
    after = [encoder.frames(value) for value in reversed(values)][::-1]
    for one, other in zip(after, before, strict=True):
        _same(one, other, "after other inputs, frames are others")


def _changes_no_input(encoder: OwnEncoder) -> None:
    value = encoder.probe(2)
    encoder.frames(value)
    if not np.array_equal(value, encoder.probe(2)):
        raise EncoderError("it writes into the input that it is given")


def _keeps_its_rate(encoder: OwnEncoder) -> str | None:
    rate = encoder.evenly_spaced_hz
    if rate is None:
        return None
    counts = [len(encoder.frames(encoder.probe(length))) for length in (1, 3)]
    if abs(counts[1] - counts[0] - 2 * rate) > max(2 * rate * RATE_TOLERANCE, 1):
        raise EncoderError(f"it states {rate:g} frames a second, and gives {counts[1] - counts[0]} more for 2 s more")
    return f"{rate:g} a second"


def _is_the_same_anew(encoder: OwnEncoder, other: OwnEncoder) -> None:
    value = encoder.probe(2)
    _same(other.frames(value), encoder.frames(value), "made anew, it gives other frames (seed what it draws)")


TRUTHS: Mapping[str, Callable[[OwnEncoder], str | None]] = {
    "every input has frames of one width, all finite": _has_frames_of_one_width,
    "the shortest input has a frame": _answers_the_shortest,
    "the same input has the same frames": _is_repeatable,
    "other inputs before it change nothing": _remembers_nothing,
    "the input stays as it is": _changes_no_input,
    "frames come at the rate that it states": _keeps_its_rate,
}

ANEW = "made anew, it gives the same frames"


def _same(frames: np.ndarray, expected: np.ndarray, otherwise: str) -> None:
    if frames.shape != expected.shape:
        raise EncoderError(f"{otherwise}: {len(frames)} of them instead of {len(expected)}")
    if not np.allclose(frames, expected) and (error := difference([frames], [expected])) > TOLERANCE:
        raise EncoderError(f"{otherwise} by {100 * error:.2g} % of their spread")


def _units(encoder: OwnEncoder) -> str:
    return {"speech": "s", "text": "words", "visual": "pictures"}[encoder.spec.modality]
