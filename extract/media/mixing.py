"""Turns the channels of sound into one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Sound", "mixed", "usual_layout", "weights"]

SIDE = 0.5**0.5
"""Weight of left and right beside a centre of 1 (ITU-R BS.775-4, annex 4, to one channel: table 2)."""

USUAL = {6: ("FL", "FR", "FC", "LFE", "BL", "BR"), 8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR")}
"""What so many channels are where a file doesn't say; of another number each counts the same."""

OPPOSED = 1e-3
"""Left and right are opposed where their mean has less than this share of their power."""

DECIDE_S, LATEST_S = 1.0, 30.0
"""Seconds of sound that decide whether they are, and after which it is decided at the latest, silence or not."""

OPPOSED_NOTE = "right is the opposite of left: left was taken"


@dataclass(frozen=True)
class Sound:
    """A block of decoded sound.

    Attributes:
        samples: (n, channels) float32, full scale ±1.
        rate: Samples per second.
        layout: What each channel is, in FFmpeg's names; empty where the file doesn't say.
    """

    samples: np.ndarray
    rate: int
    layout: tuple[str, ...] = ()


def weights(layout: Sequence[str]) -> np.ndarray:
    """Return what each channel counts in the mix, (channels,) float32; their sum is 1.

    The centre counts 1, left and right √½, what is behind, beside or above ½, and bass nothing (ITU-R BS.775).

    >>> weights(("FL", "FR")).tolist()
    [0.5, 0.5]
    """
    front = {"FC": 1.0, **dict.fromkeys(("FL", "FR", "FLC", "FRC", "WL", "WR", "DL", "DR"), SIDE)}
    each = np.array([0.0 if name in ("LFE", "LFE2") else front.get(name, 0.5) for name in layout])
    if "AMBI0" in layout:  # the first channel of ambisonics hears all directions alike
        each = np.array([float(name == "AMBI0") for name in layout])
    if not each.any():
        each[:] = 1.0
    return (each / each.sum()).astype(np.float32)


def usual_layout(channels: int) -> tuple[str, ...]:
    """Return what so many channels usually are, in the order of WAV; empty where nothing is usual."""
    return USUAL.get(channels, ())


def mixed(blocks: Iterable[Sound], notes: list[str]) -> Iterator[tuple[np.ndarray, int]]:
    """Mix blocks of sound to one channel.

    Two channels are averaged. Where right is the opposite of left, as of a wire soldered the wrong way round, that
    would be nothing, so left is taken; the beginning of the sound decides.

    Yields:
        Samples (n,) float32, and their rate.
    """
    waiting: list[Sound] = []
    opposed: bool | None = None
    power, sounding_s, waited = np.zeros(2), 0.0, 0.0
    for block in blocks:
        if block.samples.shape[1] != 2 or opposed is not None:
            yield from _each([*waiting, block], opposed=bool(opposed))
            waiting = []
            continue
        waiting.append(block)
        block_powers = _powers(block.samples)
        power += block_powers
        waited += len(block.samples) / block.rate
        sounding_s += len(block.samples) / block.rate if block_powers[1] > 1e-8 * len(block.samples) else 0.0
        if sounding_s >= DECIDE_S or waited >= LATEST_S:
            opposed = _is_opposed(power, notes)
            yield from _each(waiting, opposed=opposed)
            waiting = []
    yield from _each(waiting, opposed=bool(waiting) and _is_opposed(power, notes))


def _is_opposed(power: np.ndarray, notes: list[str]) -> bool:
    opposed = bool(power[1] > 0 and power[0] < OPPOSED * power[1])
    if opposed:
        notes.append(OPPOSED_NOTE)
    return opposed


def _powers(samples: np.ndarray) -> np.ndarray:
    """Return the sums of squares of the mean of two channels, and of the two, halved."""
    pair = samples.astype(np.float64)
    return np.array([(pair.mean(axis=1) ** 2).sum(), (pair**2).sum() / 2])


def _each(blocks: Iterable[Sound], *, opposed: bool) -> Iterator[tuple[np.ndarray, int]]:
    for block in blocks:
        samples = block.samples
        channels = samples.shape[1]
        if channels == 1 or (channels == 2 and opposed):
            mono = samples[:, 0]
        elif channels == 2:
            mono = (samples[:, 0] + samples[:, 1]) / 2  # the same as their mean, and sooner
        elif layout := block.layout or usual_layout(channels):
            mono = samples @ weights(layout)
        else:
            mono = samples.mean(axis=1, dtype=np.float32)
        yield mono, block.rate
