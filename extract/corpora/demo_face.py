"""Turns an emotion, an intensity and a speaker's looks into a short video of a drawn face.

The mouth moves at a pace of its own: lips in step with the sound would show the tempo, which is a cue of the speech.
The more intense, the higher the shoulders; they are the only thing that intensity moves.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["FRAME_RATE_HZ", "SIZE", "Looks", "face", "looks", "write_video"]

FRAME_RATE_HZ = 8
SIZE = 96

_SHIRT = (0.20, 0.22, 0.30)

Image = NDArray[Any]  # float32, (T, height, width) or with a last axis of colours


@dataclass(frozen=True, slots=True)
class Looks:
    """What stays the same whenever a speaker is seen: colours as RGB from 0 to 1, lengths in half picture widths."""

    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    wall: tuple[float, float, float]
    width: float
    height: float
    eye_distance: float
    fringe: float


@dataclass(frozen=True, slots=True)
class _Expression:
    """Positions relative to a face at rest; up is negative, as rows count downwards."""

    brow_inner: float
    brow_outer: float
    eye_open: float
    mouth_curve: float  # how far the corners lie above the middle
    mouth_open: float
    mouth_width: float


_EXPRESSIONS = {
    "angry": _Expression(0.10, -0.08, 0.070, -0.08, 0.050, 0.17),
    "happy": _Expression(-0.07, -0.07, 0.060, 0.24, 0.070, 0.36),
    "neutral": _Expression(0.00, 0.00, 0.085, 0.00, 0.015, 0.24),
    "sad": _Expression(-0.13, 0.10, 0.035, -0.24, 0.010, 0.24),
}


def looks(rng: np.random.Generator) -> Looks:
    """Draw a speaker's face."""
    tone = rng.uniform(0.7, 0.95)
    return Looks(
        skin=(tone, tone * rng.uniform(0.72, 0.82), tone * rng.uniform(0.55, 0.68)),
        hair=_colour(rng, 0.03, 0.2),
        wall=_colour(rng, 0.35, 0.65),
        width=rng.uniform(0.60, 0.68),
        height=rng.uniform(0.74, 0.84),
        eye_distance=rng.uniform(0.25, 0.27),
        fringe=rng.uniform(-0.62, -0.48),
    )


def face(
    emotion: str, intensity: float, speaker: Looks, duration_s: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return a clip of `emotion` and `intensity` (1 to 5), as (T, 96, 96, 3) uint8 with T = round(duration_s · 8)."""
    expression = _EXPRESSIONS[emotion]
    T = max(2, round(duration_s * FRAME_RATE_HZ))
    time_s = np.arange(T) / FRAME_RATE_HZ
    sway_x, sway_y, roll = (_drift(time_s, size, rng) for size in (0.012, 0.012, 0.02))
    strength = rng.uniform(0.95, 1.05)
    talk = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(1.5, 3.0) * time_s + rng.uniform()))
    blink = np.where(np.arange(T) == rng.integers(2 * T), 0.2, 1.0)

    grid = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE * 2 - 1
    x = grid[None, None, :] - _column(sway_x)
    y = grid[None, :, None] - _column(sway_y)
    cos, sin = _column(np.cos(roll)), _column(np.sin(roll))
    x, y = cos * x + sin * y, cos * y - sin * x

    picture = np.empty((T, SIZE, SIZE, 3), np.float32)
    picture[:] = speaker.wall
    shoulder = np.float32(0.95 - 0.0875 * (intensity - 1)) + np.float32(0.15) * (np.abs(grid) - np.float32(0.75))
    _paint(picture, _SHIRT, _soft(grid[:, None] - shoulder)[None])  # as the body sits still, not by x and y of the head
    head = np.hypot(x / speaker.width, y / speaker.height)
    _paint(picture, speaker.hair, _soft((1.12 - np.hypot(x / speaker.width, (y + 0.05) / speaker.height)) * 0.6))
    _paint(picture, speaker.skin, _soft((1 - head) * 0.6) * _soft(y - speaker.fringe))
    # From here on each part lies within a box of its own: paint only there.
    for side in (-1, 1):
        box = (slice(None), slice(16, 62), slice(8, 50) if side < 0 else slice(46, 88))
        across = (x[box] - side * speaker.eye_distance) * side
        down = y[box] + 0.18
        part = picture[box]
        open_ = _column(blink) * np.float32(expression.eye_open * rng.uniform(0.95, 1.05)) + np.float32(0.012)
        lid = 1 - np.hypot(across / 0.13, down / open_)
        _paint(part, (0.97, 0.97, 0.97), _soft(lid * open_))
        _paint(part, (0.10, 0.07, 0.05), _soft((1 - np.hypot(across, down) / 0.055) * 0.055) * _soft(lid * open_))
        slant = np.float32(expression.brow_inner) + (across + 0.16) / 0.32 * np.float32(
            expression.brow_outer - expression.brow_inner
        )
        brow = 0.045 - np.abs(down + 0.19 - slant * np.float32(strength))
        _paint(part, speaker.hair, _soft(brow) * _soft(0.17 - np.abs(across)))
    nose = (slice(None), slice(42, 62), slice(36, 60))
    _paint(picture[nose], _darker(speaker.skin), _soft(0.02 - np.abs(x[nose])) * _soft(0.1 - np.abs(y[nose] - 0.06)))
    box = (slice(None), slice(54, 92), slice(18, 78))
    across, down = x[box] / np.float32(expression.mouth_width), y[box] - 0.42
    middle = np.float32(expression.mouth_curve * strength) * (0.5 - across**2)
    gap = _column(expression.mouth_open * (0.4 + 0.9 * talk)) * np.maximum(1 - across**2, 0)
    ends = _soft((1 - np.abs(across)) * np.float32(expression.mouth_width))
    _paint(picture[box], (0.65, 0.2, 0.2), _soft(gap + 0.045 - np.abs(down - middle)) * ends)
    _paint(picture[box], (0.2, 0.03, 0.03), _soft(gap - 0.005 - np.abs(down - middle)) * ends)

    picture *= np.float32(rng.uniform(0.95, 1.05))
    picture += rng.normal(0, 0.02, (SIZE, SIZE, 1)).astype(np.float32)
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def write_video(path: Path, frames: NDArray[np.uint8]) -> None:
    """Write (T, height, width, 3) RGB frames as MPEG-4 part 2 in an MP4 file, which every build of FFmpeg can make."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=FRAME_RATE_HZ)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 200_000
        stream.codec_context.thread_count = 1
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE_HZ)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _colour(rng: np.random.Generator, low: float, high: float) -> tuple[float, float, float]:
    red, green, blue = rng.uniform(low, high, 3)
    return float(red), float(green), float(blue)


def _darker(colour: tuple[float, float, float]) -> tuple[float, float, float]:
    return colour[0] * 0.8, colour[1] * 0.8, colour[2] * 0.8


def _drift(time_s: NDArray[np.float64], size: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a slow sway about a place of its own, within ± 2 · size."""
    return size * (rng.uniform(-1, 1) + np.sin(2 * np.pi * (rng.uniform(0.3, 0.8) * time_s + rng.uniform())))


def _column(values: NDArray[np.float64]) -> Image:
    return values.astype(np.float32)[:, None, None]


def _soft(distance: Image) -> Image:
    """Turn a signed distance to an edge into coverage from 0 to 1 over about one pixel."""
    covered: Image = np.clip(distance * np.float32(SIZE / 2) + np.float32(0.5), 0, 1)
    return covered


def _paint(picture: Image, colour: tuple[float, float, float], coverage: Image) -> None:
    """Blend a colour into (T, height, width, 3) where (T, height, width) says how much."""
    picture += coverage[..., None] * (np.array(colour, np.float32) - picture)
