"""Small real recordings for the tests: WAV and video files written on the spot."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile


def tone(
    path: Path, seconds: float, *, rate: int = 16000, channels: int = 1, hz: float = 220.0, **options: str
) -> Path:
    """Write a tone with some noise, the same every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(round(1000 * seconds) + int(hz)).normal(0, 0.05, len(times))
    samples = 0.3 * np.sin(2 * np.pi * hz * times) + noise
    soundfile.write(path, np.stack([samples] * channels, axis=1), rate, **options)
    return path


def video(
    path: Path, brightness: list[int], *, fps: int = 10, size: tuple[int, int] = (64, 48), sound: bool = False
) -> Path:
    """Write a video whose n-th picture is left half black, right half of the n-th brightness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        voice = container.add_stream("aac", rate=44100, layout="stereo") if sound else None
        for level in brightness:
            picture = np.zeros((size[1], size[0], 3), np.uint8)
            picture[:, size[0] // 2 :] = level
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
        if voice is not None:
            times = np.arange(round(44100 * len(brightness) / fps)) / 44100
            wave = (0.3 * np.sin(2 * np.pi * 220 * times)).astype(np.float32)
            for begin in range(0, len(wave), 1024):
                frame = av.AudioFrame.from_ndarray(np.stack([wave[begin : begin + 1024]] * 2), "fltp", "stereo")
                frame.sample_rate, frame.pts, frame.time_base = 44100, begin, Fraction(1, 44100)
                container.mux(voice.encode(frame))
            container.mux(voice.encode())
    return path
