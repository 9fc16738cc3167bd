"""Turns a sound file into the recordings in it, each as if it were a file of its own, and refuses what isn't whole.

libsndfile reads the first recording of a file, and of one that was cut short it reads what there is, without a word. So
the headers are looked at here first: whether all the bytes are there that they promise, and whether another recording
follows, as `cat` and radio streams make them.
"""

import io
import mmap
import re
from functools import lru_cache
from pathlib import Path

from gia_mic.extract.errors import MediaError, words_of
from gia_mic.extract.media.formats import Recording, recording_at

__all__ = ["TOLERANCE_S", "Part", "Recording", "check_file", "check_parts", "is_plain", "recordings"]

TOLERANCE_S = 0.25
"""How far a recording may fall short of its clip's end or its own header, in seconds; both get rounded."""

RAW = frozenset({".raw", ".pcm"})
"""Suffixes of dumps without a header."""


class Part(io.RawIOBase):
    """A stretch of a file as if it were a file, with some bytes of its header read differently.

    Args:
        path: The file.
        recording: Which stretch.
    """

    def __init__(self, path: Path, recording: Recording) -> None:
        self._file, self._recording, self._at = path.open("rb"), recording, 0

    def readable(self) -> bool:
        """Return True: it is for reading."""
        return True

    def seekable(self) -> bool:
        """Return True: any place in it can be gone to."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place, as in any file."""
        length = self._recording.end - self._recording.begin
        self._at = max(offset + (0, self._at, length)[whence], 0)
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Read as much as fits."""
        view = memoryview(buffer).cast("B")
        begin = self._recording.begin + self._at
        length = max(min(len(view), self._recording.end - begin), 0)
        self._file.seek(begin)
        data = bytearray(self._file.read(length))
        for offset, patch in self._recording.patches:
            for index, value in enumerate(patch):
                if 0 <= offset + index - begin < len(data):
                    data[offset + index - begin] = value
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file, too."""
        self._file.close()
        super().close()


def is_plain(path: Path) -> bool:
    """Whether a file's name is text; on Linux it may be any bytes, which libraries don't take."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def check_file(path: Path) -> None:
    """Refuse what is no recording for a reason that can be named.

    Raises:
        MediaError: There is no such file, it is empty, it is a pointer of git-lfs, or a dump without a header.
    """
    try:
        if not path.is_file():
            raise MediaError(f"There is no file {path}: check the path.")
        with path.open("rb") as file:
            head = file.read(64)
    except (OSError, ValueError) as error:
        raise MediaError(f"{path} can't be read ({words_of(error)}): check the path and its permissions.") from error
    if not head:
        raise MediaError(f"{path} is empty: copy it again.")
    if head.startswith(b"version https://git-lfs"):
        raise MediaError(f"{path} is a pointer of git-lfs, not the file itself: run `git lfs pull` in its folder.")
    if path.suffix.lower() in RAW and not re.match(rb"RIFF|RF64|fLaC|OggS|FORM|\.snd|caff|NIST|riff", head):
        raise MediaError(
            f"{path} is a dump of samples without a header, so that nobody knows its rate and type: convert it to WAV, "
            f"for 16 bits at 16 kHz with `ffmpeg -f s16le -ar 16000 -ac 1 -i {path.name} {path.stem}.wav`."
        )


def check_parts(path: Path, parts: list[Recording]) -> None:
    """Refuse recordings that aren't whole; what gets rounded in headers may be missing.

    Raises:
        MediaError: A recording is cut short.
    """
    for part in parts:
        if part.missing_s > TOLERANCE_S:
            raise MediaError(f"{path} is cut short: {part.missing}; copy it again.")


def recordings(path: Path) -> list[Recording]:
    """Return the recordings in a sound file, in their order; of any other file one, all of it.

    Raises:
        MediaError: It can't be read.
    """
    try:
        status = path.stat()
        return list(_recordings(path, status.st_size, status.st_mtime_ns))
    except (OSError, ValueError) as error:
        raise MediaError(f"{path} can't be read ({words_of(error)}): check the file and its permissions.") from error


@lru_cache(maxsize=256)
def _recordings(path: Path, size: int, _: int) -> tuple[Recording, ...]:
    """Look for them once, however many clips a file has, as long as its size and time stay."""
    recordings: list[Recording] = []
    begin = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while begin < size:
            recording = recording_at(data, begin, size)
            if recording is None:
                break
            recordings.append(recording)
            begin = recording.end
    return tuple(recordings) or (Recording(0, size),)
