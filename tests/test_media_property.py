"""Random recordings in ten containers: sound, pictures and times equal those that the program ffmpeg gives.

A minute at most: `MEDIA_SECONDS=600 pytest tests/test_media_property.py` looks for longer.
"""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from made_media import film

from gia_mic.extract.errors import MediaError
from gia_mic.extract.media import look, stream_audio, stream_pictures

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the program ffmpeg isn't installed")

SECONDS = float(os.environ.get("MEDIA_SECONDS", "40"))
RATE = 16000


@dataclass(frozen=True)
class Kind:
    """A container and its codecs.

    Attributes:
        suffix: Of the container.
        video: Codec of the pictures; None for sound alone.
        audio: Codec of the sound.
        rates: Sampling rates that it takes.
        keeps_offsets: Whether one stream may begin later than the other.
        keeps_turns: Whether it says how pictures are turned.
        tells_length: Whether half of a file shows that it is half.
    """

    suffix: str
    video: str | None
    audio: str
    rates: tuple[int, ...]
    keeps_offsets: bool = False
    keeps_turns: bool = False
    tells_length: bool = True


KINDS = (
    Kind("mp4", "mpeg4", "aac", (16000, 44100, 48000), True, True),
    Kind("mov", "mpeg4", "pcm_s16le", (8000, 16000, 44100), True, True),
    Kind("mkv", "mpeg4", "flac", (16000, 48000), True, True),
    Kind("webm", "libvpx", "libopus", (48000,), True),
    Kind("avi", "mpeg4", "mp2", (44100, 48000)),
    Kind("ts", "mpeg2video", "mp2", (44100, 48000), True, tells_length=False),
    Kind("flv", "flv1", "aac", (22050, 44100)),
    Kind("asf", "msmpeg4v3", "mp2", (44100,)),
    Kind("wav", None, "pcm_s16le", (8000, 22050, 44100)),
    Kind("mka", None, "libmp3lame", (22050, 48000)),
    Kind("aac", None, "aac", (16000, 44100), tells_length=False),
    Kind("w64", None, "pcm_s24le", (16000, 96000)),
)


def ffmpeg(*words):
    process = subprocess.run(["ffmpeg", "-v", "error", *map(str, words)], capture_output=True, check=True)
    return np.frombuffer(process.stdout, np.uint8)


def sound_by_ffmpeg(path, track, rate):
    """Samples (n,) of the stream alone, at its own rate, in stereo's mean."""
    values = ffmpeg("-i", path, "-map", f"0:a:{track}", "-f", "f32le", "-").view(np.float32)
    return values, rate


def tones(draw, seconds, rate, channels):
    """Some tones that come and go, another for each channel, and a click that shows the time to the sample."""
    times = np.arange(round(seconds * rate)) / rate
    sounds = []
    for _ in range(channels):
        sound = sum(0.2 * np.sin(2 * np.pi * draw.uniform(100, 2000) * times + draw.uniform(0, 6)) for _ in range(3))
        swell = 0.5 + 0.5 * np.sin(2 * np.pi * draw.uniform(1, 4) * times + draw.uniform(0, 6))
        sounds.append(sound * swell)
    return np.stack(sounds).astype(np.float32)


def lag(first, second, most):
    """By how many samples one signal is later than another, and how much they are alike there, -1 to 1."""
    length = min(len(first), len(second))
    first, second = first[:length] - first[:length].mean(), second[:length] - second[:length].mean()
    size = 1 << (2 * length).bit_length()
    both = np.fft.irfft(np.fft.rfft(first, size) * np.conj(np.fft.rfft(second, size)), size)
    shifts = np.r_[np.arange(most + 1), np.arange(-most, 0)]
    values = both[shifts] / (np.linalg.norm(first) * np.linalg.norm(second) + 1e-12)
    best = int(values.argmax())
    return int(shifts[best]), float(values[best])


def check(draw, folder: Path) -> str:
    """Write one recording at random and compare it; return what it was."""
    kind = KINDS[draw.integers(len(KINDS))]
    rate = int(draw.choice(kind.rates))
    seconds = float(draw.uniform(1.5, 4.0))
    channels = int(draw.integers(1, 3))
    tracks = int(draw.integers(1, 3)) if kind.suffix in ("mkv", "mka", "mp4", "mov") else 1
    default = int(draw.integers(tracks)) if kind.suffix in ("mkv", "mka") else None
    late_s = float(draw.choice([0.0, 0.5, 1.2])) if kind.keeps_offsets else 0.0
    turn = int(draw.choice([0, 90, -90, 180])) if kind.keeps_turns else 0
    sounds = tuple(tones(draw, seconds, rate, channels) for _ in range(tracks))
    fps = 25 if kind.suffix == "ts" else 10
    levels = (
        None
        if kind.video is None
        else [round(200 * n / (fps * (seconds + late_s))) for n in range(round(fps * (seconds + late_s)))]
    )
    path = film(
        folder / f"a.{kind.suffix}",
        levels,
        codec=kind.video or "",
        fps=fps,
        sounds=sounds,
        sound_codec=kind.audio,
        rate=rate,
        late_s=late_s,
        default=default,
        turn=turn,
    )
    what = (
        f"{kind.suffix} {rate} Hz, {channels} channels, {seconds:.2f} s, late {late_s}, turn {turn}, default {default}"
    )
    if draw.random() < 0.25:
        check_half(path, kind, what)
        return what
    track = default or 0
    alone = ffmpeg("-i", path, "-map", f"0:a:{track}", "-ac", channels, "-f", "f32le", "-").view(np.float32)
    alone = alone.reshape(-1, channels).mean(axis=1)
    notes: list[str] = []
    samples = np.concatenate(list(stream_audio(path, rate, notes=notes)))
    assert notes == [], what
    # the sound is ffmpeg's, after the silence that precedes it
    silent = round(late_s * rate)
    assert abs(len(samples) - silent - len(alone)) <= 0.13 * rate, (what, len(samples) / rate, len(alone) / rate)
    shift, alike = lag(samples[silent:], alone, rate // 5)
    assert alike > 0.95, (what, shift / rate, alike)
    assert abs(shift) <= 0.14 * rate, (what, shift / rate)
    # a clip is that part of the film, in sound and pictures alike
    start = float(draw.uniform(0.1, 1.0)) + late_s
    clip = np.concatenate(list(stream_audio(path, rate, start, start + 0.4)))
    part = samples[round(start * rate) : round((start + 0.4) * rate)]
    shift, alike = lag(clip, part, rate // 8)
    assert alike > 0.98, (what, start, shift / rate, alike)
    assert abs(shift) <= 0.07 * rate, (what, start, shift / rate)
    assert abs(look(path, "speech").duration_s - len(samples) / rate) < 0.2, what
    if levels is not None:
        check_pictures(path, levels, fps, turn, start, what)
    return what


def check_pictures(path, levels, fps, turn, start, what):
    pictures = [np.asarray(picture) for picture in stream_pictures(path, fps)]
    width, height = (48, 64) if abs(turn) == 90 else (64, 48)
    expected = ffmpeg(
        "-i", path, "-map", "0:v:0", "-vsync", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"
    ).reshape(-1, height, width, 3)
    assert 0 <= len(pictures) - len(levels) <= 2, (what, len(pictures), len(levels))
    assert pictures[0].shape == expected[0].shape, what
    length = min(len(pictures), len(expected))
    actual = np.stack(pictures[:length]).astype(int)
    # where the first picture comes a little after the sound, each is seen a moment later
    before = expected[np.maximum(np.arange(length) - 1, 0)]
    differences = np.minimum(*(np.abs(actual - other).mean(axis=(1, 2, 3)) for other in (expected[:length], before)))
    assert np.median(differences) < 4, (what, differences.round(1).tolist())
    [picture] = (np.asarray(one) for one in stream_pictures(path, fps, start, start + 0.5 / fps))
    grey = np.median(picture.astype(int)[picture < 230])
    assert abs(grey - levels[int(start * fps)]) <= 12 + 400 / len(levels), (what, start, grey)


def check_half(path, kind, what):
    whole = path.read_bytes()
    length_s = sum(map(len, stream_audio(path, RATE))) / RATE
    path.write_bytes(whole[: len(whole) * 6 // 10])
    notes: list[str] = []
    try:
        found_s = sum(map(len, stream_audio(path, RATE, notes=notes))) / RATE
    except MediaError:
        return
    assert not kind.tells_length, (what, found_s, length_s)
    assert found_s < length_s, what


def test_random_recordings_are_what_ffmpeg_makes_of_them(tmp_path):
    draw = np.random.default_rng(int(os.environ.get("MEDIA_SEED", "0")))
    begun, recordings = time.monotonic(), []
    while time.monotonic() - begun < SECONDS and len(recordings) < 60 * max(SECONDS / 40, 1):
        recordings.append(check(draw, tmp_path))
    assert len(recordings) >= 10
    assert len({what.split()[0] for what in recordings}) >= 6
