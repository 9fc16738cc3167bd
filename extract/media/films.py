"""Says how many bytes of a film its header promises that aren't there."""

import struct
from pathlib import Path
from typing import Any

__all__ = ["missing_bytes"]


def missing_bytes(path: Path) -> int | None:
    """Return how many bytes a film's header promises and aren't there; None where it doesn't say."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(1 << 16)
        try:
            if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"):
                return _missing_in_boxes(file, size)
            if head[:4] == b"\x1a\x45\xdf\xa3":
                return _missing_in_segment(head, size)
            if head[:4] == b"RIFF":
                [length] = struct.unpack_from("<I", head, 4)
                return max(length + 8 - size, 0) if 0 < length < 0x7FFF0000 else None
            offset = head.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))  # ASF's file properties
            if offset >= 0:
                [length] = struct.unpack_from("<Q", head, offset + 40)
                [flags] = struct.unpack_from("<I", head, offset + 88)
                return max(length - size, 0) if length and not flags & 1 else None
        except (struct.error, IndexError):
            return None
    return None


def _missing_in_boxes(file: Any, size: int) -> int:
    """Walk the boxes of an MP4 or MOV."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        [length] = struct.unpack_from(">I", head)
        if length == 1:
            [length] = struct.unpack_from(">Q", head, 8)
        if length == 0:
            return 0
        if length < 8:
            break
        at += length
    return max(at - size, 0)


def _missing_in_segment(head: bytes, size: int) -> int | None:
    """Read the length of a Matroska file's segment, which may be unknown."""
    at = 4
    length, width = _vint(head, at)
    at += width + length
    if head[at : at + 4] != b"\x18\x53\x80\x67":
        return None
    length, width = _vint(head, at + 4)
    if length == (1 << (7 * width)) - 1:
        return None
    return max(at + 4 + width + length - size, 0)


def _vint(data: bytes, at: int) -> tuple[int, int]:
    width = 9 - data[at].bit_length()
    return int.from_bytes(data[at : at + width], "big") & ((1 << (7 * width)) - 1), width
