"""Turns the header of a sound file of one of nine formats into where its recording ends and how much is missing."""

import math
import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Recording", "recording_at"]

PLACEHOLDER = 1 << 16
"""A size this close to 2³¹ or 2³² stands for "unknown", as programs write it that write to a pipe."""

TRAILING = re.compile(rb"LIST|id3 |ID3 |bext|fact|cue |smpl|PEAK|JUNK|iXML|_PMX|afsp|DISP|inst|axml|chna|cart|MD5 ")
"""Chunks that may follow the sound of a WAV whose size is unknown."""

SLIGHTLY_S = 0.25
"""What follows the sound that an MP3's header counts is read as another recording if it is longer than this."""

TAIL = 1 << 20
"""Bytes at the end of a WAV in which such chunks are looked for."""


@dataclass(frozen=True)
class Recording:
    """One recording in a file.

    Attributes:
        begin: Its first byte.
        end: The byte after its last.
        missing_s: Seconds that its header promises and that aren't there; infinite where some are but not how many.
        missing: The same for a message.
        patches: Bytes of the header to be read differently, by their place in the file.
        unknown: Whether the header doesn't say how long it is.
        note: What else is odd.
    """

    begin: int
    end: int
    missing_s: float = 0.0
    missing: str = ""
    patches: tuple[tuple[int, bytes], ...] = ()
    unknown: bool = False
    note: str = ""


def recording_at(data: mmap.mmap, begin: int, size: int) -> Recording | None:
    """Return the recording that begins at a byte, or None where none of these formats does."""
    head = data[begin : begin + 16]
    try:
        if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:12] == b"WAVE":
            return _wav(data, begin, size)
        if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            return _aiff(data, begin, size)
        if head[:4] == b"fLaC":
            return _flac(data, begin, size)
        if head[:4] == b"OggS":
            return _ogg(data, begin, size)
        if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
            return _mp3(data, begin, size)
        if begin == 0:
            for magic, reader in ((b".snd", _au), (b"caff", _caf), (b"riff\x2e\x91", _w64), (b"NIST_1A", _nist)):
                if head.startswith(magic):
                    return reader(data, size)
    except (struct.error, ValueError, ZeroDivisionError, OverflowError, IndexError):
        return None  # a damaged header: what reads the file says what is wrong with it
    return None


def _cut(begin: int, end: int, promised: int, there: int, bytes_per_s: float) -> Recording:
    """Return a recording of which so many bytes are promised and so many are there."""
    missing = max(promised - there, 0)
    return Recording(
        begin,
        end,
        missing / bytes_per_s if bytes_per_s > 0 else 0.0,
        f"its header promises {promised} bytes of sound and {max(there, 0)} are there",
    )


def _chunks(data: mmap.mmap, begin: int, end: int, form: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, first byte and length of the chunks of a RIFF or an IFF file."""
    at = begin
    while at + 8 <= end:
        name, length = struct.unpack_from(form, data, at)
        yield name, at + 8, length
        at += 8 + length + length % 2


def _wav(data: mmap.mmap, begin: int, size: int) -> Recording:
    form = ">4sI" if data[begin : begin + 4] == b"RIFX" else "<4sI"
    [riff] = struct.unpack_from(form[0] + "I", data, begin + 4)
    long: int | None = None
    bytes_per_s = 0.0
    for name, at, length in _chunks(data, begin + 12, size, form):
        if name == b"ds64":
            riff, long = struct.unpack_from("<QQ", data, at)
        elif name == b"fmt ":
            [bytes_per_s] = struct.unpack_from(form[0] + "I", data, at + 8)
        elif name == b"data":
            promised = long if long is not None and length == 0xFFFFFFFF else length
            if promised == 0 or any(abs(promised - limit) < PLACEHOLDER for limit in (1 << 31, 1 << 32)):
                end = _end_of_sound(data, at, size)
                if promised and end == size:
                    return Recording(begin, size)
                sizes = (end - begin - 8, end - at)
                if max(sizes) >> 32:
                    return Recording(begin, size)
                patches = zip((begin + 4, at - 4), sizes, strict=True)
                return Recording(
                    begin, size, patches=tuple((start, struct.pack(form[0] + "I", n)) for start, n in patches)
                )
            if promised > size - at:
                return _cut(begin, size, promised, size - at, bytes_per_s)
            end = at + promised + promised % 2
            riff_end = begin + 8 + riff + riff % 2
            for after in (riff_end, end):
                if after >= end and re.match(rb"(RIFF|RF64)....WAVE", data[after : after + 12], re.DOTALL):
                    return Recording(begin, after)
            left_s = (size - end) / bytes_per_s if bytes_per_s else 0.0
            if left_s > 0.25 and not re.fullmatch(rb"[ -~]{4}", data[end : end + 4]):
                return Recording(begin, size, note=f"{left_s:.2f} s after the end that its header names were left out")
            return Recording(begin, size)
    return Recording(begin, size)


def _end_of_sound(data: mmap.mmap, at: int, size: int) -> int:
    """Return where a WAV's sound ends whose size is unknown: before the chunks that lead to the end of the file."""
    for match in TRAILING.finditer(data, max(at, size - TAIL)):
        start = match.start()
        for _, first, length in _chunks(data, start, size, "<4sI"):
            if first + length + length % 2 >= size:
                if first + length in (size, size - 1):
                    return start
                break
    return size


def _aiff(data: mmap.mmap, begin: int, size: int) -> Recording:
    length_s, promised, there = 0.0, 0, 0
    for name, at, length in _chunks(data, begin + 12, size, ">4sI"):
        if name == b"COMM":
            _, frames, _, exponent, mantissa = struct.unpack_from(">hIhHQ", data, at)
            length_s = frames / (mantissa * 2.0 ** (exponent - 16383 - 63))
        elif name == b"SSND":
            promised, there = length, size - at
    [form] = struct.unpack_from(">I", data, begin + 4)
    end = begin + 8 + form + form % 2
    if promised > there and length_s:
        return _cut(begin, size, promised, there, promised / length_s)
    follows = data[end : end + 4] == b"FORM" and there
    return Recording(begin, end if follows else size)


def _flac(data: mmap.mmap, begin: int, size: int) -> Recording:
    high, low = struct.unpack_from(">BI", data, begin + 8 + 13)
    after = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22").search(data, begin + 42)
    return Recording(begin, after.start() if after else size, unknown=not (high & 0xF or low))


def _ogg(data: mmap.mmap, begin: int, size: int) -> Recording:
    at, first, flags = begin, True, 0
    while at + 27 <= size:
        if data[at : at + 4] != b"OggS":
            at = data.find(b"OggS", at)
            if at < 0:
                break
            continue
        flags = data[at + 5]
        if not flags & 2:
            first = False
        elif not first:
            return Recording(begin, at)
        segments = data[at + 26]
        end = at + 27 + segments + sum(data[at + 27 : at + 27 + segments])
        if end > size:
            return Recording(begin, size, math.inf, "it ends in the middle of a page")
        at = end
    note = "" if flags & 4 else "its last page isn't marked as the last, so that it may be cut short"
    return Recording(begin, size, note=note)


_MP3_RATES = (44100, 48000, 32000)


def _mp3(data: mmap.mmap, begin: int, size: int) -> Recording | None:
    at = begin
    while data[at : at + 3] == b"ID3":
        a, b, c, d = data[at + 6 : at + 10]
        at += 10 + (a << 21 | b << 14 | c << 7 | d)
    while at < min(begin + (1 << 21), size) and data[at] == 0:  # what pads a tag
        at += 1
    [head] = struct.unpack_from(">I", data, at)
    version, layer, rate_index = head >> 19 & 3, head >> 17 & 3, head >> 10 & 3
    if head >> 21 != 0x7FF or layer != 1 or version == 1 or rate_index == 3 or head >> 12 & 15 in (0, 15):
        return None
    rate = _MP3_RATES[rate_index] >> (3 - version if version else 2)
    mono = head >> 6 & 3 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    frames = promised = 0
    if data[at + 4 + side : at + 8 + side] in (b"Xing", b"Info"):
        start = at + 8 + side
        [flags] = struct.unpack_from(">I", data, start)
        fields = struct.unpack_from(f">{(flags & 1) + (flags >> 1 & 1)}I", data, start + 4)
        if flags & 3 == 3:
            frames, promised = fields
    elif data[at + 36 : at + 40] == b"VBRI":
        promised, frames = struct.unpack_from(">II", data, at + 46)
    if not frames or not promised:
        return Recording(begin, size)
    length_s = frames * (1152 if version == 3 else 576) / rate
    if promised > size - at:
        return _cut(begin, size, promised, size - at, promised / length_s)
    end = at + promised
    # a frame more or less is how programs count; what is longer is another recording
    longer = (size - end) * length_s / promised > SLIGHTLY_S and re.match(rb"\xff[\xe0-\xff]", data[end : end + 2])
    follows = data[end : end + 3] == b"ID3" or longer
    return Recording(begin, end if follows else size)


def _au(data: mmap.mmap, size: int) -> Recording:
    at, promised, kind, rate, channels = struct.unpack_from(">5I", data, 4)
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(kind, 0.5)
    if promised == 0xFFFFFFFF:
        return Recording(0, size)
    return _cut(0, size, promised, size - at, width * rate * channels)


def _caf(data: mmap.mmap, size: int) -> Recording:
    at, bytes_per_s = 8, 0.0
    while at + 12 <= size:
        name, length = struct.unpack_from(">4sq", data, at)
        if name == b"desc":
            rate, _, _, width, count = struct.unpack_from(">d4s3I", data, at + 12)
            bytes_per_s = rate * width / count if width and count else 0.0
        if name == b"data":
            return Recording(0, size) if length < 0 else _cut(0, size, length, size - at - 12, bytes_per_s or 1000.0)
        at += 12 + max(length, 0)
    return Recording(0, size)


def _w64(data: mmap.mmap, size: int) -> Recording:
    at, bytes_per_s = 40, 0.0
    while at + 24 <= size:
        name, length = struct.unpack_from("<4s12xQ", data, at)
        if name == b"fmt ":
            [bytes_per_s] = struct.unpack_from("<I", data, at + 32)
        if name == b"data":
            return _cut(0, size, length - 24, size - at - 24, bytes_per_s)
        at += max(length + -length % 8, 24)
    return Recording(0, size)


def _nist(data: mmap.mmap, size: int) -> Recording:
    at = int(data[8:16])
    fields = dict(re.findall(rb"(\w+) -i (\d+)", data[16:at]))
    count, width, channels, rate = (
        int(fields.get(name, b"1")) for name in (b"sample_count", b"sample_n_bytes", b"channel_count", b"sample_rate")
    )
    if b"shorten" in data[:at]:
        return Recording(0, size)
    return _cut(0, size, count * width * channels, size - at, width * channels * rate)
