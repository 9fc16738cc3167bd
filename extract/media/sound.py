"""Turns the sound of a file, or samples in memory, into one channel at the wanted rate, as a stream of blocks."""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from gia_mic.extract.errors import MediaError, words_of
from gia_mic.extract.media.container import Track, check_is_whole, check_step, frames_of, measured_s, open_track
from gia_mic.extract.media.headers import TOLERANCE_S, Part, Recording, check_file, check_parts, is_plain, recordings
from gia_mic.extract.media.voice import Ear
from gia_mic.runtime.mixing import Sound, full_scale, mixed, resampled, usual_layout

__all__ = ["BLOCK_S", "layout_of", "open_sound", "samples_of", "stream_audio", "stream_samples"]

BLOCK_S = 10.0
"""Seconds of sound decoded at a time."""

JOINED_S = 1.0
"""Seconds of sound that FFmpeg's frames are joined to."""

MOST_SAMPLES = 1 << 24
"""Samples decoded at a time, of all channels, however many a header says that a second has."""

LONGEST_S = 1e7
"""A header that promises more seconds than this promises nothing."""

RATES = range(1_000, 1_000_001)
"""Sampling rates that sound may have, in Hz; a damaged header may say anything."""

GAP_S, EXACT_GAP_S = 0.1, 0.02
"""Sound that comes later than this is preceded by silence, in seconds; MP4's times are exact, others are rounded."""

PRIMING_S = 0.15
"""Most that a codec needs to settle at the beginning of a stream, which is cut off and no gap, in seconds."""

SLIGHT_S = 0.02
"""What of a recording is missing is noted from so much on, in seconds."""


def stream_audio(
    path: Path,
    sampling_rate_hz: int,
    start_s: float | None = None,
    end_s: float | None = None,
    notes: list[str] | None = None,
) -> Iterator[np.ndarray]:
    """Decode sound, mix its channels to one and resample it.

    Args:
        path: A sound or video file.
        sampling_rate_hz: Rate wanted.
        start_s: First moment, in seconds from the beginning of the first stream of the file.
        end_s: Last moment, in seconds.
        notes: Takes what is odd about the sound; complete once the last block is taken.

    Yields:
        Blocks of samples, (n,) float32, full scale ±1; together about (end_s - start_s) · sampling_rate_hz.

    Raises:
        MediaError: The file is missing, broken, cut short, without sound, or ends before the clip does.
    """
    check_file(path)
    notes = [] if notes is None else notes
    start = start_s or 0.0
    wanted_s = math.inf if end_s is None else end_s - start
    sounds = _sounds(path, recordings(path), start, notes)
    yield from resampled(_limited(path, mixed(sounds, notes), wanted_s, notes), sampling_rate_hz)


def stream_samples(
    samples: np.ndarray, sampling_rate_hz: int, wanted_rate_hz: int, notes: list[str] | None = None
) -> Iterator[np.ndarray]:
    """Mix down and resample sound that is in memory, as `stream_audio` does a file's.

    Args:
        samples: (n,) or (n, channels); floats of full scale ±1, or integers of their type's full scale (unsigned ones
            around their middle, as in 8-bit WAV).
        sampling_rate_hz: Their rate.
        wanted_rate_hz: Rate wanted.
        notes: As in `stream_audio`.

    Yields:
        Blocks (n,) float32, full scale ±1.

    Raises:
        MediaError: There is no sample, one is no finite number, or the array has another shape or type.
    """
    array = np.asarray(samples)
    if array.ndim not in (1, 2) or not array.size or array.dtype.kind not in "fiu" or sampling_rate_hz < 1:
        raise MediaError(
            f"Samples of shape {array.shape} and type {array.dtype} at {sampling_rate_hz} Hz are no sound: give (n,) "
            "or (n, channels) floats or integers, and their sampling rate."
        )
    notes = [] if notes is None else notes
    sound = Sound(full_scale(array), sampling_rate_hz)
    blocks = _limited(Path("the sound"), mixed([sound], notes), math.inf, notes)
    yield from resampled(blocks, wanted_rate_hz)


def open_sound(path: Path, recording: Recording) -> soundfile.SoundFile | None:
    """Open what libsndfile reads; None for what FFmpeg has to read.

    That is more than two channels, too, of which libsndfile doesn't say where they belong.
    """
    if recording.unknown:
        return None
    whole = recording.begin == 0 and recording.end == path.stat().st_size and not recording.patches
    is_named = whole and path.suffix.lower() != ".raw" and is_plain(path)
    source = str(path) if is_named else Part(path, recording)
    with suppress(soundfile.SoundFileError, TypeError):
        return soundfile.SoundFile(source)
    return None


def _sounds(path: Path, parts: list[Recording], start_s: float, notes: list[str]) -> Iterator[Sound]:
    """Decode the recordings of a file one after the other, from `start_s` on."""
    check_parts(path, parts)
    notes += [f"{p.missing_s:.2f} s fewer than its header promises" for p in parts if p.missing_s > SLIGHT_S]
    notes += [part.note for part in parts if part.note]
    if len(parts) > 1:
        notes.append(f"{len(parts)} recordings in one file, one after the other")
    left_s = start_s
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        sound = open_sound(path, part)
        if sound is not None and sound.channels > 2:
            with suppress(MediaError):
                open_track(path, "audio", part).container.close()
                sound.close()
                sound = None
        if sound is not None:
            length_s = sound.frames / sound.samplerate
        elif not last:
            length_s = measured_s(path, part)
        if not last and left_s >= length_s:
            left_s -= length_s
            if sound is not None:
                sound.close()
            continue
        if sound is not None:
            yield from _soundfile_blocks(path, sound, left_s)
        else:
            yield from _joined(_av_blocks(path, part, left_s, notes))
        left_s = 0.0


def _soundfile_blocks(path: Path, sound: soundfile.SoundFile, start_s: float) -> Iterator[Sound]:
    """Yield what libsndfile reads from `start_s` on."""
    rate, layout = sound.samplerate, usual_layout(sound.channels)
    length = max(min(round(BLOCK_S * rate), MOST_SAMPLES // sound.channels), 1)
    try:
        with sound:
            _check_rate(path, rate)
            first = round(start_s * rate)
            if first >= sound.frames:
                return
            if sound.seekable():
                sound.seek(first)
                skip = 0
            else:
                skip = first
            count = first - skip
            while len(block := sound.read(length, dtype="float32", always_2d=True)):
                count += len(block)
                if skip < len(block):
                    yield Sound(block[skip:], rate, layout)
                skip = max(skip - len(block), 0)
            if count < sound.frames - TOLERANCE_S * rate:
                raise MediaError(
                    f"{path} is cut short: it promises {sound.frames / rate:.2f} s and has {count / rate:.2f} s; copy "
                    "it again."
                )
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        if rate in RATES and sound.frames < LONGEST_S * rate:
            raise MediaError(
                f"{path} is cut short or broken ({words_of(error)}): its header promises {sound.frames / rate:.2f} s, "
                "and not all of it can be decoded; copy it again."
            ) from error
        raise MediaError(f"{path} can't be decoded ({words_of(error)}): copy or convert it again.") from error


def _av_blocks(path: Path, part: Recording, start_s: float, notes: list[str]) -> Iterator[Sound]:
    """Yield what FFmpeg decodes from `start_s` on, with silence where the file has nothing to play."""
    with open_track(path, "audio", part) as track:
        gap_s = EXACT_GAP_S if "mov" in track.container.format.name else GAP_S
        at_s: float | None = None  # where the next sample belongs, by the samples before it
        clock_s = 0.0  # where it belongs by the frames' own times
        silent_s = 0.0
        for frame in frames_of(track, start_s, notes):
            samples = samples_of(frame)
            rate, layout = int(frame.sample_rate), layout_of(frame)
            moment_s = track.time_s(frame) if track.timed else None
            if at_s is None:
                at_s = _first_s(track, frame, start_s, gap_s)
                late_s = 0.0 if moment_s is None else max(moment_s - at_s, 0.0)
                check_step(track, late_s, at_s + late_s)
            elif moment_s is None:
                late_s = 0.0
            else:
                check_step(track, moment_s - clock_s, moment_s)
                late_s = moment_s - at_s if moment_s - at_s > gap_s else 0.0
                silent_s += late_s
                if moment_s - at_s < -TOLERANCE_S:  # a clock that is slower than its sound
                    at_s = moment_s
            for silence in _silence(late_s, samples.shape[1], rate, layout):
                yield from _from(silence, at_s, start_s)
                at_s += len(silence.samples) / rate
            if silent_s and track.end_s is not None:  # after a gap, what fills the last frame would be too much
                samples = samples[: max(round((track.end_s - at_s) * rate), 0)]
            yield from _from(Sound(samples, rate, layout), at_s, start_s)
            clock_s = (at_s if moment_s is None else moment_s) + len(samples) / rate
            at_s += len(samples) / rate
        if silent_s:
            notes.append(f"{silent_s:.2f} s of its sound are missing and were taken for silence")
        if at_s is not None:
            check_is_whole(track, max(at_s, clock_s))


def _joined(sounds: Iterator[Sound]) -> Iterator[Sound]:
    """Join the frames of a codec, some 20 ms each, to blocks that are worth the calls that mix and resample them.

    What was decoded before an error comes before the error: whoever needs no more than that doesn't meet it.
    """
    waiting: list[Sound] = []
    count = 0

    def join() -> Iterator[Sound]:
        nonlocal count
        if waiting:
            yield Sound(np.concatenate([sound.samples for sound in waiting]), waiting[0].rate, waiting[0].layout)
        waiting.clear()
        count = 0

    try:
        for sound in sounds:
            if waiting and _kind(sound) != _kind(waiting[0]):
                yield from join()
            waiting.append(sound)
            count += len(sound.samples)
            if count >= JOINED_S * sound.rate:
                yield from join()
    except MediaError:
        yield from join()
        raise
    yield from join()


def _kind(sound: Sound) -> tuple[int, tuple[str, ...], int]:
    """Return what sound that is joined must have in common."""
    return sound.rate, sound.layout, sound.samples.shape[1]


def _first_s(track: Track, frame: Any, start_s: float, gap_s: float) -> float:
    """Return where the first frame that was decoded is taken to begin, before silence that may precede it, in seconds.

    What a codec cuts off while it settles moves nothing: then the whole file begins with the first sample there is.
    """
    moment_s = track.time_s(frame)
    if moment_s is None:
        return 0.0
    if start_s > 0:
        return start_s if moment_s > start_s + gap_s else moment_s
    moment_s = max(moment_s, 0.0)  # a codec may settle before the beginning
    begun_s = moment_s if track.start_s is None or moment_s - track.start_s > PRIMING_S else track.start_s
    return 0.0 if begun_s > gap_s else moment_s


def _from(sound: Sound, at_s: float, start_s: float) -> Iterator[Sound]:
    """Yield what of a block, which begins at a moment, isn't before the start."""
    skip = max(round(start_s * sound.rate) - round(at_s * sound.rate), 0)
    if skip < len(sound.samples):
        yield Sound(sound.samples[skip:], sound.rate, sound.layout)


def _silence(length_s: float, channels: int, rate: int, layout: tuple[str, ...]) -> Iterator[Sound]:
    remaining = round(length_s * rate)
    while remaining > 0:
        count = min(remaining, round(BLOCK_S * rate))
        yield Sound(np.zeros((count, channels), np.float32), rate, layout)
        remaining -= count


def samples_of(frame: Any) -> np.ndarray:
    """Return the samples of a decoded frame, (n, channels) float32, full scale ±1."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype.kind == "u":
        return (values.astype(np.float32) - 128) / 128
    if values.dtype.kind == "i":
        return values.astype(np.float32) / np.float32(2 ** (8 * values.dtype.itemsize - 1))
    return np.ascontiguousarray(values, np.float32)


def layout_of(frame: Any) -> tuple[str, ...]:
    """Return what each channel of a decoded frame is, in FFmpeg's names; empty where it doesn't say."""
    names = tuple(channel.name for channel in frame.layout.channels)
    return names if all(name and name not in ("NONE", "UNK", "UNSD") for name in names) else ()


def _limited(
    path: Path, blocks: Iterator[tuple[np.ndarray, int]], wanted_s: float, notes: list[str]
) -> Iterator[tuple[np.ndarray, int]]:
    """Stop after the wanted seconds, refuse what is missing or no number, and note where there is nothing to hear."""
    count, now_rate, target_count = 0, 0, math.inf
    total = 0
    ear = Ear()
    for mono, rate in blocks:
        if rate != now_rate:
            _check_rate(path, rate)
            left_s = wanted_s - (count / now_rate if now_rate else 0.0)
            if now_rate:
                wanted_s = left_s
            target_count = round(left_s * rate) if math.isfinite(left_s) else math.inf
            count, now_rate = 0, rate
        mono = mono[: int(min(len(mono), target_count - count))]
        if not np.isfinite(mono).all():
            raise MediaError(f"{path} has samples that are not finite numbers: convert it again.")
        count += len(mono)
        total += len(mono)
        ear.hear(mono, rate)
        yield mono, rate
        if count >= target_count:
            break
    if total == 0:
        raise MediaError(f"{path} has no samples in the clip: check the file and the clip's times.")
    if math.isfinite(target_count) and count < target_count - TOLERANCE_S * now_rate:
        missing_s = (target_count - count) / now_rate
        raise MediaError(
            f"{path} ends {missing_s:.2f} s before its clip does: check the clip's times against the file."
        )
    if ear.note:
        notes.append(ear.note)


def _check_rate(path: Path, rate: int) -> None:
    if rate not in RATES:
        raise MediaError(f"{path} says that it has {rate} samples a second, which no sound has: convert it again.")
