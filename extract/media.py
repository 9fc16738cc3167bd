"""Turns sound and video files of any common format into mono samples and RGB pictures, as streams.

Sound in WAV, FLAC, OGG and MP3 is read by libsndfile; all else, and the sound of video files, by FFmpeg's libraries.
Nothing here holds more than a block of a recording at a time.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from PIL import Image

from gia_mic.extract.errors import MediaError, words_of

__all__ = ["TOLERANCE_S", "Framing", "duration_s", "stream_audio", "stream_pictures", "stream_samples"]

TOLERANCE_S = 0.25
"""How far a recording may fall short of its clip's end or its own header, in seconds; both get rounded."""

BLOCK_S = 10.0
"""Seconds of sound decoded at a time."""

ROUNDING_S = 1e-6
"""Moments closer than this are the same; the times of pictures are sums of rounded fractions."""

WARM_UP_S = 0.5
"""Seconds decoded before a clip's beginning, because lossy codecs carry over from one frame to the next."""


@dataclass(frozen=True)
class Framing:
    """How a picture is cut and scaled to what a vision model takes.

    Attributes:
        size: Height and width of the result in pixels.
        shortest_edge: The picture is scaled until its shorter side has this many pixels, then `size` is cut from its
            centre; None scales all of it to `size`, whatever its shape.
        resample: Pillow's number of the interpolation: 2 bilinear, 3 bicubic.
    """

    size: tuple[int, int] = (224, 224)
    shortest_edge: int | None = None
    resample: int = 3

    def apply(self, picture: Image.Image, crop: tuple[float, float, float, float] | None = None) -> np.ndarray:
        """Return the framed picture, (height, width, 3) uint8.

        Args:
            picture: An RGB picture.
            crop: Part to use, as left, top, right, bottom in fractions.
        """
        left, top, right, bottom = crop or (0.0, 0.0, 1.0, 1.0)
        left, right = left * picture.width, right * picture.width
        top, bottom = top * picture.height, bottom * picture.height
        height, width = self.size
        if self.shortest_edge is not None:
            scale = min(right - left, bottom - top) / self.shortest_edge
            x, y = (left + right) / 2, (top + bottom) / 2
            half_x, half_y = min(width * scale, right - left) / 2, min(height * scale, bottom - top) / 2
            left, top, right, bottom = x - half_x, y - half_y, x + half_x, y + half_y
        box = (max(left, 0.0), max(top, 0.0), min(right, picture.width), min(bottom, picture.height))
        return np.asarray(picture.resize((width, height), Image.Resampling(self.resample), box=box))


def duration_s(path: Path) -> float:
    """Return how long a recording is, in seconds, from its header alone.

    Raises:
        MediaError: There is no such file, or it is no recording.
    """
    _check(path)
    try:
        with soundfile.SoundFile(str(path)) as sound:
            return float(sound.frames / sound.samplerate)
    except soundfile.LibsndfileError:
        pass
    with _container(path) as container:
        if container.duration is not None:
            return float(container.duration / av.time_base)
        for stream in (*container.streams.video, *container.streams.audio):
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
    raise MediaError(f"{path} doesn't say how long it is: convert it to a common format such as WAV or MP4.")


def stream_audio(
    path: Path, sampling_rate_hz: int, start_s: float | None = None, end_s: float | None = None
) -> Iterator[np.ndarray]:
    """Decode sound, mix its channels to one and resample it.

    Args:
        path: A sound or video file.
        sampling_rate_hz: Rate of the samples that are given, in Hz.
        start_s: First moment, in seconds.
        end_s: Last moment, in seconds.

    Yields:
        Blocks of samples, (n,) float32, full scale ±1; together about (end_s - start_s) · sampling_rate_hz.

    Raises:
        MediaError: The file is missing, broken, cut short, without sound, or ends before the clip does.
    """
    _check(path)
    start = start_s or 0.0
    try:
        sound = soundfile.SoundFile(str(path))
    except soundfile.LibsndfileError:
        blocks, rate = _av_blocks(path, start)
    else:
        blocks, rate = _soundfile_blocks(path, sound, start), sound.samplerate
    wanted = math.inf if end_s is None else round((end_s - start) * rate)
    yield from _resampled(_limited(path, blocks, rate, wanted), rate, sampling_rate_hz)


def stream_samples(samples: np.ndarray, sampling_rate_hz: int, wanted_rate_hz: int) -> Iterator[np.ndarray]:
    """Mix down and resample sound that is in memory, as `stream_audio` does a file's.

    Args:
        samples: (n,) or (n, channels); floats of full scale ±1, or integers of their type's full scale (unsigned ones
            around their middle, as in 8-bit WAV).
        sampling_rate_hz: Rate of `samples`, in Hz, at least 1.
        wanted_rate_hz: Rate of the samples that are given, in Hz.

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
    if array.dtype.kind in "iu":
        middle = 0 if array.dtype.kind == "i" else 2 ** (8 * array.itemsize - 1)
        array = (array.astype(np.float64) - middle) / 2 ** (8 * array.itemsize - 1)
    blocks = array.astype(np.float32).reshape(len(array), -1)
    yield from _resampled(
        _limited(Path("the sound"), iter([blocks]), sampling_rate_hz, math.inf), sampling_rate_hz, wanted_rate_hz
    )


def stream_pictures(
    path: Path, frame_rate_hz: float, start_s: float | None = None, end_s: float | None = None
) -> Iterator[Image.Image]:
    """Decode the pictures that are on the screen at start_s, start_s + 1 / frame_rate_hz, and so on.

    Args:
        path: A video file.
        frame_rate_hz: Pictures wanted per second.
        start_s: First moment, in seconds.
        end_s: Last moment, in seconds.

    Yields:
        RGB pictures; at least one.

    Raises:
        MediaError: The file is missing, broken, without pictures, or ends before the clip does.
    """
    _check(path)
    start, end = start_s or 0.0, math.inf if end_s is None else end_s
    count = 0
    visible: av.VideoFrame | None = None
    until = start
    for frame, from_s, to_s in _pictures(path, start):
        # the picture before this one stays on the screen until this one's time
        while visible is not None and start + count / frame_rate_hz < min(from_s, end) - ROUNDING_S:
            yield visible.to_image()
            count += 1
        if from_s >= end:
            break
        visible, until = frame, to_s
    while visible is not None and start + count / frame_rate_hz < min(until, end) - ROUNDING_S:
        yield visible.to_image()
        count += 1
    if count == 0:
        raise MediaError(f"{path} has no pictures{_between(start_s, end_s)}: check the file and the clip's times.")
    if end_s is not None and until < end_s - TOLERANCE_S:
        raise _too_short(path, end_s - until)


def _check(path: Path) -> None:
    if not path.is_file():
        raise MediaError(f"There is no file {path}: check the path.")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty: copy it again.")
    _check_wav_is_whole(path)


def _check_wav_is_whole(path: Path) -> None:
    """Refuse a WAV file that ends before its header says; libsndfile would read the rest as if that were all."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"RIFF" or file.seek(8) != 8 or file.read(4) != b"WAVE":
            return
        while len(head := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", head)
            if name == b"data":
                # a recorder that writes to a pipe can't know the length and puts 0 or the largest number
                if 0 < length < 0xFFFFFF00 and file.tell() + length > size:
                    raise MediaError(
                        f"{path} is cut short: its header promises {length} bytes of sound and "
                        f"{max(size - file.tell(), 0)} are there; copy it again."
                    )
                return
            file.seek(length + length % 2, 1)


def _soundfile_blocks(path: Path, sound: soundfile.SoundFile, start_s: float) -> Iterator[np.ndarray]:
    """Yield (n, channels) float32 from `start_s` on."""
    try:
        with sound:
            first = round(start_s * sound.samplerate)
            if first >= sound.frames:
                return
            sound.seek(first)
            while len(block := sound.read(round(BLOCK_S * sound.samplerate), dtype="float32", always_2d=True)):
                yield block
    except soundfile.LibsndfileError as error:
        raise MediaError(f"{path} can't be decoded ({error}): copy or convert it again.") from error


def _av_blocks(path: Path, start_s: float) -> tuple[Iterator[np.ndarray], int]:
    """Return blocks (n, channels) float32 from `start_s` on, and their sampling rate."""
    with _container(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{path} has no sound: check the manifest's audio path.")
        rate = int(container.streams.audio[0].rate)

    def blocks() -> Iterator[np.ndarray]:
        with _container(path) as container:
            stream = container.streams.audio[0]
            to_float = av.AudioResampler(format="fltp")
            position = None  # of the next sample, from the beginning of the sound
            for frame in _decoded(path, container, stream, start_s):
                for part in to_float.resample(frame):
                    samples = part.to_ndarray().T
                    if position is None:
                        position = round(_time_s(frame, stream) * rate)
                    skip = max(round(start_s * rate) - position, 0)
                    position += len(samples)
                    if skip < len(samples):
                        yield samples[skip:]
            _check_is_whole(path, container, stream, (position or 0) / rate)

    return blocks(), rate


def _limited(path: Path, blocks: Iterator[np.ndarray], rate: int, wanted: float) -> Iterator[np.ndarray]:
    """Mix down, stop after the wanted number of samples, and refuse what is missing or no number."""
    count = 0
    for block in blocks:
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        mono = mono[: int(min(len(mono), wanted - count))]
        if not np.isfinite(mono).all():
            raise MediaError(f"{path} has samples that are not finite numbers: convert it again.")
        count += len(mono)
        yield mono
        if count >= wanted:
            return
    if count == 0:
        raise MediaError(f"{path} has no samples in the clip: check the file and the clip's times.")
    if math.isfinite(wanted) and count < wanted - TOLERANCE_S * rate:
        raise _too_short(path, (wanted - count) / rate)


def _resampled(blocks: Iterator[np.ndarray], rate: int, wanted_rate: int) -> Iterator[np.ndarray]:
    if rate == wanted_rate:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate, wanted_rate, 1, dtype="float32")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty(0, np.float32), last=True)


def _pictures(path: Path, start_s: float) -> Iterator[tuple["av.VideoFrame", float, float]]:
    """Yield each picture from the one on the screen at `start_s` on, with the times it appears and goes."""
    with _container(path) as container:
        if not container.streams.video:
            raise MediaError(f"{path} has no video: check the manifest's video path.")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        length_s = 1 / float(stream.average_rate or 25)
        before: tuple[av.VideoFrame, float] | None = None
        until = 0.0
        for frame in _decoded(path, container, stream, start_s):
            from_s = _time_s(frame, stream)
            until = from_s + length_s
            if from_s <= start_s:
                before = frame, from_s
                continue
            if before is not None:
                yield *before, from_s
                before = None
            yield frame, from_s, until
        if before is not None and until > start_s:
            yield *before, until
        _check_is_whole(path, container, stream, until)


def _check_is_whole(
    path: Path, container: "av.container.InputContainer", stream: "av.stream.Stream", until: float
) -> None:
    """Refuse a stream that ended, at `until` seconds, before its header says."""
    if stream.duration and stream.time_base:
        promised = float(stream.duration * stream.time_base)
    else:  # of the whole file, in which one stream may be a little longer than another
        promised = float((container.duration or 0) / av.time_base) - TOLERANCE_S
    if until < promised - TOLERANCE_S:
        raise MediaError(f"{path} is cut short: it promises {promised:.2f} s and has {until:.2f} s; copy it again.")


def _decoded(
    path: Path, container: "av.container.InputContainer", stream: "av.stream.Stream", start_s: float
) -> Iterator:
    """Decode a stream from a key frame before `start_s` on; what precedes it in time settles the decoder."""
    try:
        if start_s > 0 and stream.time_base is not None:
            container.seek(
                int(max(start_s - WARM_UP_S, 0) / stream.time_base) + (stream.start_time or 0), stream=stream
            )
        yield from container.decode(stream)
    except (av.FFmpegError, EOFError) as error:
        raise MediaError(f"{path} can't be decoded ({words_of(error)}): copy or convert it again.") from error


def _container(path: Path) -> "av.container.InputContainer":
    try:
        # only local files: a playlist from a stranger must not make us open addresses
        return av.open(str(path), options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(
            f"{path} is no sound or video that can be read ({words_of(error)}): convert it again."
        ) from error


def _time_s(frame: "av.VideoFrame | av.AudioFrame", stream: "av.stream.Stream") -> float:
    """When a frame begins, in seconds from the beginning of its stream."""
    if frame.pts is None or frame.time_base is None:
        return 0.0
    return float((frame.pts - (stream.start_time or 0)) * frame.time_base)


def _between(start_s: float | None, end_s: float | None) -> str:
    if start_s is None and end_s is None:
        return ""
    return f" between {start_s or 0:.2f} s and {'its end' if end_s is None else f'{end_s:.2f} s'}"


def _too_short(path: Path, missing_s: float) -> MediaError:
    return MediaError(f"{path} ends {missing_s:.2f} s before its clip does: check the clip's times against the file.")
