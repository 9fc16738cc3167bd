"""Small real recordings for the tests: WAV and video files written on the spot."""

import struct
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


def ladder(seconds: float, rate: int = 16000) -> np.ndarray:
    """Tones whose pitch tells the time: 219 Hz, and 100 Hz more each quarter of a second; (n,) float32."""
    times = np.arange(round(seconds * rate)) / rate
    hz = 219.1 + 100.0 * np.floor(times / 0.25)
    return (0.4 * np.sin(2 * np.pi * np.cumsum(hz) / rate)).astype(np.float32)


def steps(samples: np.ndarray, rate: int = 16000) -> list[int | None]:
    """Which step of the ladder each quarter of a second is; None for silence."""
    numbers: list[int | None] = []
    length = rate // 4
    for begin in range(0, len(samples) - length + 1, length):
        middle = samples[begin + length // 8 : begin + 7 * length // 8]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 15))
        hz = np.argmax(spectrum) * rate / (1 << 15)
        numbers.append(round((hz - 219.1) / 100) if np.abs(middle).max() > 1e-3 else None)
    return numbers


def grey(level: int, size: tuple[int, int]) -> av.VideoFrame:
    """A grey picture with a white upper left quarter, which says which way is up."""
    picture = np.full((size[1], size[0], 3), level, np.uint8)
    picture[: size[1] // 2, : size[0] // 2] = 255
    return av.VideoFrame.from_ndarray(picture)


def film(
    path: Path,
    levels: list[int] | None = None,
    *,
    codec: str = "mpeg4",
    fps: int = 10,
    size: tuple[int, int] = (64, 48),
    moments: list[float] | None = None,
    turn: int = 0,
    shape: Fraction | int = 1,
    sounds: tuple[np.ndarray, ...] = (),
    sound_codec: str = "aac",
    rate: int = 16000,
    late_s: float = 0.0,
    gap: tuple[float, float] = (0.0, 0.0),
    default: int | None = None,
    **options: str,
) -> Path:
    """Write a film of grey pictures and of tracks of sound.

    Args:
        path: Where; its suffix says in which container.
        levels: Grey of each picture; None for sound alone.
        codec: Of the pictures.
        fps: Pictures a second.
        size: Width and height.
        moments: When each picture comes, in seconds.
        turn: Degrees by which players turn the pictures, counterclockwise.
        shape: How much wider than high the pixels are.
        sounds: Samples (n,) or (channels, n) float32 of each track.
        sound_codec: Of the sound.
        rate: Sampling rate.
        late_s: When the sound begins.
        gap: From when to when packets of sound are lost.
        default: Which track of sound is the default one.
        options: Of the container.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    packets = []
    with av.open(str(path), "w", options=options) as container:
        if levels is not None:
            pictures = container.add_stream(codec, rate=fps)
            pictures.width, pictures.height, pictures.pix_fmt = *size, "yuv420p"
            if turn:
                pictures.set_display_rotation(turn)
            if shape != 1:
                pictures.codec_context.sample_aspect_ratio = shape
            if moments is not None:
                pictures.codec_context.time_base = Fraction(1, 1000)
            for number, level in enumerate(levels):
                frame = grey(level, size).reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, fps)
                if moments is not None:
                    frame.pts, frame.time_base = round(1000 * moments[number]), Fraction(1, 1000)
                packets += pictures.encode(frame)
            packets += pictures.encode()
        tracks = []
        for number, sound in enumerate(sounds):
            samples = np.atleast_2d(sound).astype(np.float32)
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
            track = container.add_stream(sound_codec, rate=rate, layout=layout)
            if default is not None:
                track.disposition = av.stream.Disposition.default if number == default else 0
            tracks.append((track, samples, layout))
        for track, samples, layout in tracks:
            length = track.codec_context.frame_size or 1024
            resampler = av.AudioResampler(track.codec_context.format.name, layout, rate)
            for begin in range(0, samples.shape[1], length):
                if gap[0] <= begin / rate < gap[1]:
                    continue
                block = np.ascontiguousarray(samples[:, begin : begin + length])
                frame = av.AudioFrame.from_ndarray(block, "fltp", layout)
                frame.sample_rate = rate
                for part in resampler.resample(frame):
                    part.pts, part.time_base = begin + round(late_s * rate), Fraction(1, rate)
                    packets += track.encode(part)
            packets += track.encode()
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            container.mux(packet)
    return path


def wav_bytes(samples: np.ndarray, *, riff: int | None = None, data: int | None = None, after: bytes = b"") -> bytes:
    """Return a 16-bit mono WAV at 16 kHz whose two sizes may lie."""
    body = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    rest = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
    rest += struct.pack("<4sI", b"data", len(body) if data is None else data) + body + after
    return struct.pack("<4sI4s", b"RIFF", 4 + len(rest) if riff is None else riff, b"WAVE") + rest
