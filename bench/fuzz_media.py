"""Reads thousands of broken recordings: none may end in a traceback, take longer than 20 s, or fill the memory.

    python bench/fuzz_media.py                          # 10,000 files, from 20 seeds
    python bench/fuzz_media.py --files 200 --seed 7     # some of them

Each is a small recording in one of many formats with bytes flipped, cut off, or spliced with those of another. Its
length, its sound, a clip of that and its pictures are read in a process of its own, which is watched. Files that go
wrong are kept in `fuzz-found/`. The last line is `ratio`: how many of the files were well-behaved.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
import traceback
from collections import Counter
from fractions import Fraction
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from process import memory
from section import measured

from gia_mic.extract.errors import MediaError
from gia_mic.extract.media import look, stream_audio, stream_pictures

LONGEST_S, MOST_BYTES = 20.0, 1 << 30
"""What one file may take, and how much more memory the process may have than at its beginning."""

SOUND = ("WAV PCM_16", "WAV GSM610", "WAV IMA_ADPCM", "FLAC PCM_16", "OGG VORBIS", "OGG OPUS", "MP3 MPEG_LAYER_III")
SOUND += ("AIFF PCM_24", "AU ULAW", "CAF ALAC_16", "W64 PCM_16", "RF64 FLOAT")
"""Formats and subtypes that libsndfile writes."""

FILMS = ("mp4 mpeg4 aac", "mov mpeg4 pcm_s16le", "mkv mpeg4 aac", "webm libvpx libopus", "avi mpeg4 mp2")
FILMS += (
    "ts mpeg2video mp2",
    "flv flv1 aac",
    "asf msmpeg4v3 mp2",
    "aac - aac",
    "mka - ac3",
    "wv - wavpack",
    "gif gif -",
)
"""Containers, codecs of pictures and codecs of sound that FFmpeg writes; - is without."""


def write_film(path: Path, video: str, audio: str, *, seconds: float = 2.0, rate: int = 44100) -> None:
    """Write a film of noise and a tone."""
    draw = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(video, rate=25) if video != "-" else None
        sound = container.add_stream(audio, rate=48000 if "opus" in audio else rate) if audio != "-" else None
        if pictures is not None:
            pictures.width, pictures.height = 64, 48
            pictures.pix_fmt = "rgb8" if video == "gif" else "yuv420p"
            for _ in range(round(25 * seconds)):
                picture = av.VideoFrame.from_ndarray(draw.integers(0, 255, (48, 64, 3), np.uint8))
                container.mux(pictures.encode(picture.reformat(format=pictures.pix_fmt)))
            container.mux(pictures.encode())
        if sound is not None:
            tone = np.sin(np.arange(round(seconds * sound.rate)) / 20).astype(np.float32)[None] / 3
            size = sound.codec_context.frame_size or 1024
            resampler = av.AudioResampler(sound.codec_context.format.name, sound.codec_context.layout.name, sound.rate)
            for begin in range(0, tone.shape[1] - size, size):
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(tone[:, begin : begin + size]), "fltp", "mono")
                frame.sample_rate, frame.pts, frame.time_base = sound.rate, begin, Fraction(1, sound.rate)
                for part in resampler.resample(frame):
                    container.mux(sound.encode(part))
            container.mux(sound.encode())


def seeds(folder: Path) -> list[Path]:
    """Write one good recording in each format, and return those that this machine can write."""
    tone = np.sin(np.arange(32000) / 20) / 3
    paths = []
    for kind in SOUND:
        name, subtype = kind.split()
        path = folder / f"{subtype}.{name.lower()}"
        try:
            soundfile.write(path, tone, 16000, format=name, subtype=subtype)
            paths.append(path)
        except (soundfile.LibsndfileError, ValueError):
            continue
    for film in FILMS:
        container, video, audio = film.split()
        path = folder / f"{video}-{audio}.{container}"
        try:
            write_film(path, video, audio)
            paths.append(path)
        except (av.FFmpegError, ValueError):
            continue
    return paths


def broken(draw: np.random.Generator, files: list[Path]) -> tuple[bytes, str]:
    """Return a broken recording and its suffix."""
    first, second = (files[draw.integers(len(files))] for _ in range(2))
    data = bytearray(first.read_bytes())
    head = min(len(data), 2048)
    how = draw.integers(6)
    if how in (0, 1, 5):  # a few bytes, of the header or anywhere
        for _ in range(int(2 ** draw.uniform(0, 6))):
            data[draw.integers(head if how else len(data))] = draw.integers(256)
    if how in (2, 5):
        data = data[: draw.integers(len(data))]
    if how == 3:
        other = second.read_bytes()
        data = data[: draw.integers(len(data))] + other[draw.integers(len(other)) :]
    if how == 4:  # a piece out of the middle, or twice
        begin, end = sorted(draw.integers(len(data), size=2))
        data = data[:begin] + data[end:] if draw.integers(2) else data[:end] + data[begin:]
    return bytes(data), first.suffix


def read_in_all_ways(path: Path) -> Counter[str]:
    """Read a file in each way, and count what became of it; any other error is a fault."""
    ways: dict[str, Any] = {
        "look": lambda: (look(path, "speech"), look(path, "visual")),
        "sound": lambda: sum(len(block) for block in stream_audio(path, 16000)),
        "clip": lambda: sum(len(block) for block in stream_audio(path, 16000, 0.5, 1.0)),
        "pictures": lambda: sum(1 for _ in islice(stream_pictures(path, 4.0), 10_000)),
    }
    outcomes: Counter[str] = Counter()
    for name, way in ways.items():
        try:
            way()
            outcomes[f"{name} read"] += 1
        except MediaError as error:
            outcomes[f"{name} refused"] += 1
            if len(str(error).splitlines()) != 1:
                raise ValueError(f"a message of several lines: {error}") from error
    return outcomes


def work(connection: Connection) -> None:
    """Read the files that are sent, in a process that may be ended at any time."""
    av.logging.set_level(None)
    while True:
        path = connection.recv()
        begun = time.monotonic()
        try:
            fault, outcomes = "", read_in_all_ways(path)
        except Exception:
            fault, outcomes = traceback.format_exc(), Counter()
        connection.send((fault, outcomes, time.monotonic() - begun, memory("VmRSS")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"), help="Where files that go wrong are kept.")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    counts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    longest, largest, start = 0.0, 0, 0
    process = None
    with tempfile.TemporaryDirectory() as folder:
        good = seeds(Path(folder))
        for number in range(options.files):
            draw = np.random.default_rng([options.seed, number])
            data, suffix = broken(draw, good)
            path = Path(folder) / f"broken{suffix}"
            path.write_bytes(data)
            if process is None:
                here, there = context.Pipe()
                process = context.Process(target=work, args=(there,), daemon=True)
                process.start()
                there.close()
                first = True
            here.send(path)
            fault = ""
            try:
                if here.poll(LONGEST_S + 60 * first):
                    fault, outcomes, took_s, memory = here.recv()
                    counts.update(outcomes)
                    start = memory if first else start
                    longest, largest = max(longest, took_s), max(largest, memory - start)
                    fault = fault or (f"took {took_s:.0f} s" if took_s > LONGEST_S else "")
                    fault = fault or (f"has {memory:,} bytes" if memory - start > MOST_BYTES else "")
                else:
                    fault = f"no answer in {LONGEST_S:.0f} s"
            except EOFError:
                process.join()
                fault = f"the process ended with {process.exitcode}"
            first = False
            if fault:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{options.seed}-{number}{suffix}").write_bytes(data)
                faults[fault.strip().splitlines()[-1][:100]] += 1
                print(f"{number}{suffix}: {fault}", flush=True)
                if not fault.startswith("Traceback"):
                    process.kill()
                    process = None
            if (number + 1) % 500 == 0:
                print(f"{number + 1} files, {sum(faults.values())} faults, longest {longest:.1f} s", flush=True)
        if process is not None:
            process.kill()
    print(json.dumps({"formats": len(good), "files": options.files, **dict(sorted(counts.items()))}))
    print(f"faults: {dict(faults) or 'none'}")
    print(f"longest {longest:.2f} s, memory {largest / 2**20:.0f} MiB more than after the first file")
    print(f"ratio {1 - sum(faults.values()) / max(options.files, 1):.4f}")


if __name__ == "__main__":
    measured(main)
