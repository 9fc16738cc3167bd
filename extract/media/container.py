"""Turns a file that FFmpeg reads into its streams on one clock, and says whether bytes of it are missing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from gia_mic.extract.errors import MediaError, words_of
from gia_mic.extract.media.films import missing_bytes
from gia_mic.extract.media.headers import TOLERANCE_S, Part, Recording, is_plain

__all__ = [
    "Track",
    "check_is_whole",
    "check_step",
    "frames_of",
    "is_credible",
    "is_guessed",
    "measured_s",
    "open_container",
    "open_track",
    "stated_s",
]

LONGEST_GAP_S = 600.0
"""A clock that leaps further than this is broken, in seconds."""

WARM_UP_S = 0.5
"""Seconds decoded before a clip's beginning, because lossy codecs carry over from one frame to the next."""

LEAST_BYTES_PER_S = 125
"""A length that leaves a second fewer bytes than this isn't believed but measured."""

RAW_SAMPLES = frozenset(
    "alaw f32be f32le f64be f64le g722 g726 g726le mulaw s8 s16be s16le s24be s24le s32be s32le u8 u16be u16le u24be "
    "u24le u32be u32le vidc adp aptx aptx_hd bin tty".split()
)
"""FFmpeg's formats that it takes for sound or pictures by the file's suffix alone."""

TIMED = ("mov", "matroska", "mpegts", "mpeg", "asf", "flv", "nut")
"""Formats whose packets say when they are played; in others the time is counted, and there are no gaps."""

INDEXED = (*TIMED, "avi", "ogg", "wav", "mxf")
"""Formats in which a moment can be gone to; in others the way there is guessed, so that all is decoded."""

ADJUSTED = ("asf", "avi")
"""Formats whose length FFmpeg reckons from the bytes that are there."""

GUESSED = frozenset("aac ac3 eac3 dts mp3 amr amrnb amrwb h264 hevc m4v mpegvideo mpeg mpegts loas latm gsm".split())
"""Formats without a length in their header: FFmpeg guesses it from the bit rate or from their last packets."""


@dataclass(frozen=True)
class Track:
    """One stream of an open file.

    Attributes:
        path: The file.
        container: The open file.
        stream: The stream of it that is read.
        origin_s: When its first stream begins, by its own clock; all times are counted from there.
        start_s: When this stream begins, in seconds from there; None where the file doesn't say.
        choice: Number of this stream among those of its kind.
        recording: Which stretch of the file it is of; None for all.
    """

    path: Path
    container: Any
    stream: Any
    origin_s: float
    start_s: float | None
    choice: int
    recording: Recording | None = None

    def __enter__(self) -> "Track":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def timed(self) -> bool:
        """Whether its packets say when they are played."""
        return _is_one_of(self.container, TIMED)

    @property
    def end_s(self) -> float | None:
        """When the header says that this stream ends; None where it doesn't say."""
        stream = self.stream
        if _names(self.container) & GUESSED:
            return None
        if stream.duration and stream.time_base:
            return (self.start_s or 0.0) + float(stream.duration * stream.time_base)
        return None

    @property
    def whole_s(self) -> float | None:
        """When the header says that the last stream of the file ends; None where it doesn't say."""
        return None if _names(self.container) & GUESSED else stated_s(self.container)

    def time_s(self, frame: Any) -> float | None:
        """Return when a frame begins; None where it doesn't say."""
        if frame.pts is None or frame.time_base is None:
            return None
        return float(frame.pts * frame.time_base) - self.origin_s


def open_track(path: Path, kind: str, recording: Recording | None = None) -> Track:
    """Open the stream of a file that a player would play.

    That is the first one marked as default, or else the first; a cover isn't a film.

    Args:
        path: A file.
        kind: "audio" or "video".
        recording: Which stretch of the file; by default all of it.

    Raises:
        MediaError: The file can't be read, or has no such stream.
    """
    container = open_container(path, recording)
    try:
        streams = [stream for stream in getattr(container.streams, kind) if not _is_cover(stream)]
        playable = [stream for stream in streams if stream.codec_context is not None]
        if not playable:
            what = "sound" if kind == "audio" else "video"
            why = f"; its {what} is of a kind that can't be decoded" if streams else ""
            raise MediaError(f"{path} has no {what}{why}: check the path.")
        default = av.stream.Disposition.default
        stream = next((stream for stream in playable if stream.disposition & default), playable[0])
        both = [s for s in (*container.streams.video, *container.streams.audio) if not _is_cover(s)]
        starts = [float(s.start_time * s.time_base) for s in both if s.start_time is not None and s.time_base]
        origin_s = min(starts, default=0.0)
        if -TOLERANCE_S < origin_s < 0:  # what a codec needs to settle, and nobody hears
            origin_s = 0.0
        start = stream.start_time
        start_s = None if start is None else float(start * stream.time_base) - origin_s
        return Track(path, container, stream, origin_s, start_s, streams.index(stream), recording)
    except BaseException:
        container.close()
        raise


def frames_of(track: Track, start_s: float, notes: list[str]) -> Iterator[Any]:
    """Decode a stream from a key frame before a moment on; what precedes it in time settles the decoder.

    A recording of something that goes on may begin and end in the middle of a frame; that is no error.

    Args:
        track: The stream.
        start_s: The moment, in seconds.
        notes: Takes what was left out.

    Raises:
        MediaError: It can't be decoded.
    """
    path, container, stream = track.path, track.container, track.stream
    exact = container.format.name != "wav" or stream.codec_context.name.startswith("pcm_")
    any_yet, error = False, None
    try:
        if start_s > WARM_UP_S and stream.time_base is not None and exact and _is_one_of(container, INDEXED):
            moment_s = start_s - WARM_UP_S + track.origin_s
            try:
                container.seek(int(moment_s / stream.time_base), stream=stream)
            except av.FFmpegError:  # nobody knows where it stands now
                with open_track(path, stream.type, track.recording) as again:
                    yield from frames_of(again, 0.0, notes)
                return
        for packet in _packets(container, stream):
            # an empty one in between: the picture before stays, or nothing is heard
            if packet is not None and not packet.size and packet.pts is not None:
                continue
            try:
                decoded = stream.decode() if packet is None else packet.decode()
            except av.FFmpegError as problem:
                error = error or problem
                continue
            if error is not None and decoded and any_yet:
                raise error
            if error is not None and decoded and start_s <= WARM_UP_S:
                notes.append("its first packets can't be decoded and were left out")
            any_yet = any_yet or bool(decoded)
            error = None if decoded else error
            yield from decoded
        if error is not None and any_yet and is_guessed(container):
            notes.append("its last packet isn't whole and was left out")
        elif error is not None and any_yet:
            raise MediaError(f"{path} is cut short or broken at its end ({words_of(error)}): copy it again.")
        elif error is not None:
            raise error
    except MediaError:
        raise
    except Exception as problem:  # whatever broken bytes make of a decoder
        raise MediaError(f"{path} can't be decoded ({words_of(problem)}): copy or convert it again.") from problem


def check_step(track: Track, step_s: float, at_s: float) -> None:
    """Refuse a clock that jumps.

    Args:
        track: The stream.
        step_s: How far after the end of the frame before a frame begins.
        at_s: When it begins.

    Raises:
        MediaError: It runs backwards, or leaps too far.
    """
    if step_s < -TOLERANCE_S or step_s > LONGEST_GAP_S:
        raise MediaError(
            f"{track.path} has a clock that jumps from {at_s - step_s:.2f} s to {at_s:.2f} s: convert it again, such "
            "as with ffmpeg."
        )


def check_is_whole(track: Track, until_s: float) -> None:
    """Refuse a stream that ended, at a moment, before its header says, and of whose file bytes are missing.

    A header that only says another length is no reason: it may be a guess, or out of date.

    Raises:
        MediaError: The stream is such a one.
    """
    missing = missing_bytes(track.path)
    promised = track.end_s
    if promised is None and track.whole_s is not None:
        promised = track.whole_s - TOLERANCE_S  # of the whole file, in which one stream may be longer than another
    if missing and _is_one_of(track.container, ADJUSTED):
        promised = until_s * (1 + missing / track.path.stat().st_size)
    if missing == 0 or (promised is not None and until_s >= promised - TOLERANCE_S):
        return
    if promised is None and not missing:
        return
    promise = f"it promises {missing} bytes more" if promised is None else f"it promises {promised:.2f} s"
    raise MediaError(f"{track.path} is cut short: {promise} and has {until_s:.2f} s; copy it again.")


def stated_s(container: Any) -> float | None:
    """Return how long a file says that it is, in seconds, or None."""
    if container.duration is not None and container.duration > 0:
        return float(container.duration / av.time_base)
    lengths = [
        float(stream.duration * stream.time_base)
        for stream in (*container.streams.video, *container.streams.audio)
        if stream.duration and stream.time_base
    ]
    return max(lengths, default=None)


def measured_s(path: Path, recording: Recording | None = None) -> float:
    """Return how long a file is by its packets, which are read and not decoded, in seconds.

    Raises:
        MediaError: It can't be read.
    """
    first, last = float("inf"), 0.0
    counted: dict[int, float] = {}
    with open_container(path, recording) as container:
        streams = [s for s in (*container.streams.video, *container.streams.audio) if not _is_cover(s)]
        try:
            for packet in container.demux(*streams) if streams else ():
                if not packet.size or packet.time_base is None:
                    continue
                length_s = float((packet.duration or 0) * packet.time_base)
                if not length_s and packet.stream.type == "video":
                    length_s = 1 / float(packet.stream.average_rate or 25)
                moment = packet.pts if packet.pts is not None else packet.dts
                counted[packet.stream_index] = counted.get(packet.stream_index, 0.0) + length_s
                if moment is not None:
                    first = min(first, float(moment * packet.time_base))
                    last = max(last, float(moment * packet.time_base) + length_s)
        except Exception:
            pass  # as far as it goes; what is wrong is said when it is decoded
    total = max(counted.values(), default=0.0)
    spanned = last - first if last > first else 0.0
    return spanned if 0 < spanned < total + LONGEST_GAP_S else total


def is_credible(length_s: float, path: Path) -> bool:
    """Whether a file has the bytes for its length."""
    return 0 < length_s * LEAST_BYTES_PER_S <= path.stat().st_size


def is_guessed(container: Any) -> bool:
    """Whether the length of a file is FFmpeg's guess."""
    return bool(_names(container) & GUESSED)


def open_container(path: Path, recording: Recording | None = None) -> Any:
    """Open a file, or a stretch of it, with FFmpeg.

    Raises:
        MediaError: It can't be read.
    """
    whole = recording is None or (recording.begin == 0 and recording.end == path.stat().st_size)
    source: Any = str(path.absolute())  # in a relative one "a:b" would be a protocol
    if not is_plain(path) or (recording is not None and (not whole or recording.patches)):
        source = Part(path, recording or Recording(0, path.stat().st_size))
    try:
        # only local files: a playlist from a stranger must not make us open addresses
        container = av.open(source, options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        if missing := missing_bytes(path):
            raise MediaError(
                f"{path} is cut short: it promises {missing} bytes more than there are; copy it again."
            ) from error
        raise MediaError(
            f"{path} is no sound or video that can be read ({words_of(error)}): convert it again."
        ) from error
    if container.format.name in RAW_SAMPLES:
        container.close()
        raise MediaError(
            f"{path} is no sound or video that can be read (it has no header that says what it is): convert it to a "
            "common format such as WAV."
        )
    return container


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets of a stream, the last of which flushes its decoder; None does that, too."""
    try:
        yield from container.demux(stream)
    except IndexError:  # PyAV's, at the end of a file of which another stream showed only on the way
        yield None


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _names(container: Any) -> set[str]:
    return set(container.format.name.split(","))


def _is_one_of(container: Any, names: tuple[str, ...]) -> bool:
    return bool(_names(container) & set(names))
