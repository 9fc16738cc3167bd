"""Turns a network's frames of a few short inputs into proof that batches change nothing, or that they would.

No list says which families of models may be batched. Whoever pads an utterance must not change its frames, and whether
that holds depends on the family, on the version of transformers and on the checkpoint's settings: so it is tried.
"""

from collections.abc import Callable, Sequence

import numpy as np

from gia_mic.extract.encoders.contract import Window
from gia_mic.extract.errors import EncoderError

__all__ = ["check_repeatable", "difference", "exact_together"]

TOLERANCES = {"float32": 1e-3, "tf32": 1e-2, "float16": 1e-2, "bfloat16": 5e-2, "int8": 1e-3}
"""Largest difference taken for rounding: for float32 what storing frames in float16 costs, for others some ulps."""

LEAST_SPREAD = 0.01
"""Least distance of frames from their mean, as a part of their length, that differences are held against: the frames of
a text of unknown words alone hardly lie apart, and rounding isn't to be taken for more."""

Encode = Callable[[Sequence[Window]], list[np.ndarray]]


def check_repeatable(encode: Encode, piece: Window, precision: str, name: str) -> None:
    """Refuse a network that gives other frames when it sees the same input again.

    Raises:
        EncoderError: Its frames differ by more than rounding.
    """
    first, second = (encode([piece])[0] for _ in range(2))
    if difference([first], [second]) > TOLERANCES[precision]:
        raise EncoderError(
            f"{name} gives other frames each time it sees the same input, as models do that mask or drop at random: "
            "choose another."
        )


def exact_together(encode: Encode, pieces: Sequence[Window], precision: str) -> bool:
    """Whether inputs of different length have the same frames in a batch as alone.

    Args:
        encode: Gives the frames of pieces in one batch.
        pieces: Short inputs of different lengths.
        precision: What the network computes in.
    """
    alone = [encode([piece])[0] for piece in pieces]
    try:
        together = encode(pieces)
    except Exception:  # some can't take a batch or a mask at all, and say so in many ways
        return False
    return bool(difference(together, alone) <= TOLERANCES[precision])


def difference(frames: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> float:
    """Return the largest difference of a frame (L2), as a part of how far frames lie from their mean.

    From their mean: some features of a trained model are large and constant, and would hide what the others do.
    Infinite where shapes differ.
    """
    if [part.shape for part in frames] != [part.shape for part in reference]:
        return float("inf")
    actual, expected = np.concatenate(frames), np.concatenate(reference)
    deviation = np.sqrt(((expected - expected.mean(axis=0)) ** 2).sum(axis=1).mean())
    spread = max(deviation, LEAST_SPREAD * np.linalg.norm(expected, axis=1).mean())
    largest = np.linalg.norm(actual - expected, axis=1).max()
    return float(largest / spread) if spread else float(largest)
