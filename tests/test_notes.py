"""A digest is taken from its note only while the file is surely the one that was read."""

import os
from pathlib import Path

import pytest

from gia_mic.extract import notes
from gia_mic.extract.files import digest


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A large file, and how often it was read."""
    monkeypatch.setenv("MER_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"a" * notes.LEAST_BYTES)
    reads: list[Path] = []
    monkeypatch.setattr(notes, "digest", lambda path: reads.append(path) or digest(path))
    return path, reads


def test_a_settled_file_is_read_once(file, monkeypatch):
    path, reads = file
    monkeypatch.setattr(notes, "SETTLED_S", -1.0)
    assert [notes.trusted_digest(path) for _ in range(3)] == [digest(path)] * 3
    assert len(reads) == 1
    before = path.stat()
    path.write_bytes(b"b" * notes.LEAST_BYTES)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as large and as old as before
    assert notes.trusted_digest(path) == digest(path)
    path.replace(path.with_name("other"))
    path.write_bytes(b"c" * notes.LEAST_BYTES)
    assert notes.trusted_digest(path) == digest(path)


def test_a_file_just_written_and_one_of_the_future_are_read_again(file):
    path, reads = file
    notes.trusted_digest(path)
    os.utime(path, (2**32, 2**32))
    for _ in range(2):
        assert notes.trusted_digest(path) == digest(path)
    assert len(reads) == 3


@pytest.mark.parametrize("harm", ["damaged", "another key", "no folder"])
def test_a_note_that_is_no_use_is_as_good_as_none(file, harm, monkeypatch, tmp_path):
    path, reads = file
    monkeypatch.setattr(notes, "SETTLED_S", -1.0)
    notes.trusted_digest(path)
    [note] = (tmp_path / "cache" / "notes").iterdir()
    if harm == "damaged":
        note.write_bytes(b"\xff{")
    elif harm == "another key":
        note.write_text(note.read_text().replace("safetensors", "bin"))
    else:
        (tmp_path / "in the way").touch()
        monkeypatch.setenv("MER_CACHE", str(tmp_path / "in the way"))
    assert notes.trusted_digest(path) == digest(path)
    assert len(reads) == 2


def test_what_was_worked_out_is_remembered_and_an_error_is_not(file):
    calls = []

    def work():
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("no answer")
        return False

    with pytest.raises(ValueError, match="no answer"):
        notes.remembered("key", work)
    assert [notes.remembered("key", work) for _ in range(3)] == [False] * 3
    assert len(calls) == 2
