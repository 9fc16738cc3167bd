"""Says how long a recording is and what is unusual about it, without decoding it."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gia_mic.extract.errors import MediaError
from gia_mic.extract.media.container import (
    frames_of,
    is_credible,
    is_guessed,
    measured_s,
    open_container,
    open_track,
    stated_s,
)
from gia_mic.extract.media.headers import Recording, check_file, check_parts, recordings
from gia_mic.extract.media.pictures import LINGER_S, SLIGHT_S
from gia_mic.extract.media.sound import open_sound
from gia_mic.runtime.upright import shape_of, turn_of

__all__ = ["Look", "duration_s", "look"]


@dataclass(frozen=True)
class Look:
    """What a file's headers say.

    Attributes:
        duration_s: About how long it is, in seconds.
        reading: What of it is read in another way than version 0.6 did; empty for an ordinary file. Frames that were
            extracted before then are made anew, all others are kept.
    """

    duration_s: float
    reading: str


def duration_s(path: Path) -> float:
    """Return about how long a recording is, in seconds, from its headers, or from its packets where these can't be.

    Raises:
        MediaError: There is no such file, it is no recording, or it is cut short.
    """
    check_file(path)
    return _length_s(path, recordings(path))


def look(path: Path, modality: str) -> Look:
    """Return what a file's headers say to one who wants its sound ("speech") or its pictures ("visual").

    Raises:
        MediaError: There is no such file, it is no recording, or it is cut short.
    """
    check_file(path)
    parts = recordings(path)
    length_s = _length_s(path, parts)
    with suppress(MediaError):  # decoding says what is wrong
        return Look(length_s, _reading(path, parts, modality, length_s))
    return Look(length_s, "")


def _length_s(path: Path, parts: list[Recording]) -> float:
    check_parts(path, parts)
    return sum(_part_s(path, part) for part in parts)


def _part_s(path: Path, part: Recording) -> float:
    sound = open_sound(path, part)
    if sound is not None:
        with sound:
            length_s = sound.frames / sound.samplerate
        if not length_s or is_credible(length_s, path):
            return length_s
        return measured_s(path, part)
    with open_container(path, part) as container:
        length = None if is_guessed(container) else stated_s(container)
    return length if length is not None and is_credible(length, path) else measured_s(path, part)


def _reading(path: Path, parts: list[Recording], modality: str, length_s: float) -> str:
    """Name what is read otherwise than by taking the first stream from its beginning as it is."""
    words = [f"{len(parts)} recordings"] if len(parts) > 1 else []
    if modality == "speech":
        sound = open_sound(path, parts[0])
        if sound is not None:
            with sound:
                return " ".join([*words, f"mix of {sound.channels}"] if sound.channels > 2 else words)
    with open_track(path, "audio" if modality == "speech" else "video") as track:
        if track.choice:
            words.append(f"track {track.choice}")
        if track.start_s is not None and abs(track.start_s) >= (5e-4 if modality == "speech" else SLIGHT_S):
            words.append(f"from {track.start_s:.3f} s")
        if modality == "speech":
            if track.stream.codec_context.layout.nb_channels > 2:
                words.append(f"mix of {track.stream.codec_context.layout.nb_channels}")
            return " ".join(words)
        if track.end_s is not None and length_s > track.end_s + LINGER_S:
            words.append("lingers")
        if (shape := shape_of(track.stream)) != 1.0:
            words.append(f"pixels {shape:.3f}")
        frame = next(frames_of(track, 0.0, []), None)
        if frame is not None and (turn := turn_of(frame)) is not None:
            words.append(turn.name)
        return " ".join(words)
