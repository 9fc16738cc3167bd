import errno
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from gia_mic.extract.errors import StoreError
from gia_mic.extract.inspection import find_features
from gia_mic.extract.parts import Builder
from gia_mic.extract.store import EXTRACTED, FAILED, MISSING, Header, Item, open_store, write_store

HEADER = Header("speech", "tiny", "0123456789ab", {"model": "tiny"}, dim=4, frame_rate_hz=50.0)


def frames(length, seed=0):
    return np.random.default_rng(seed).normal(size=(length, 4)).astype(np.float16)


ITEMS = [
    Item("u1", "s1", frames(3, 1)),
    Item("u2", "", status=MISSING),
    Item("u3", "s3", status=FAILED, reason="é is cut short"),
    Item("ü4", "s4", frames(5, 2)),
]


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "speech" / HEADER.file_name
    write_store(path, HEADER, ITEMS)
    store = open_store(path)
    assert store.header == HEADER
    assert store.ids == ["u1", "u2", "u3", "ü4"]
    assert store.reasons == ["", "", "é is cut short", ""]
    assert store.status.tolist() == [EXTRACTED, MISSING, FAILED, EXTRACTED]
    assert store.offsets.tolist() == [0, 3, 3, 3, 8]
    assert store.offsets.dtype == np.int64
    np.testing.assert_array_equal(store.frames("ü4"), ITEMS[3].frames)
    assert store.frames("u2").shape == (0, 4)
    assert store.index(["ü4", "u1"]).tolist() == [3, 0]
    assert "u2" in store
    assert len(store) == 4


def test_values_are_mapped_from_the_file_contiguous_and_uncompressed(tmp_path):
    write_store(tmp_path / "a.h5", HEADER, ITEMS)
    assert isinstance(open_store(tmp_path / "a.h5").values, np.memmap)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["values"].chunks is None
        assert file["values"].compression is None


def test_a_store_travels_to_another_process_as_its_path(tmp_path):
    write_store(tmp_path / "a.h5", HEADER, ITEMS)
    sent = pickle.dumps(open_store(tmp_path / "a.h5"))
    assert len(sent) < 500
    program = "import sys, pickle; print(pickle.load(sys.stdin.buffer).frames('u1').tobytes().hex())"
    answer = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=True)
    assert answer.stdout.decode().strip() == ITEMS[0].frames.tobytes().hex()


def test_a_file_without_any_frame_can_be_read(tmp_path):
    write_store(tmp_path / "a.h5", HEADER, ITEMS[1:3])
    assert open_store(tmp_path / "a.h5").values.shape == (0, 4)
    assert open_store(tmp_path / "a.h5").read("u2").shape == (0, 4)


@pytest.mark.parametrize("system", ["with preadv", "without"])
def test_frames_are_read_as_they_are_mapped(tmp_path, monkeypatch, system):
    if system == "without":
        monkeypatch.delattr(os, "preadv", raising=False)
    write_store(tmp_path / "a.h5", HEADER, ITEMS)
    opened = open_store(tmp_path / "a.h5")
    for name in opened.ids:
        np.testing.assert_array_equal(opened.read(name), opened.frames(name))
    whole = np.full((3, 4), 9, np.float16)
    opened.fill([(6, whole[1:]), (1, whole[:1])])
    np.testing.assert_array_equal(whole, opened.values[[1, 6, 7]])


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="this system reads through the map")
def test_a_file_written_anew_is_not_taken_for_the_one_that_was_opened(tmp_path):
    path = tmp_path / "a.h5"
    write_store(path, HEADER, ITEMS)
    early, late = open_store(path), open_store(path)
    early.read("u1")
    write_store(path, HEADER, [replace(ITEMS[0], frames=frames(3, 7)), *ITEMS[1:]])
    os.utime(path, (0, 0))  # a clock may stand still for some milliseconds
    np.testing.assert_array_equal(early.read("u1"), ITEMS[0].frames)
    with pytest.raises(StoreError, match="written anew"):
        late.read("u1")


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="this system reads through the map")
@pytest.mark.parametrize("what", ["removed", "cut short"])
def test_a_file_that_goes_while_it_is_read_is_one_sentence(tmp_path, what):
    path = tmp_path / "a.h5"
    write_store(path, HEADER, ITEMS)
    opened = open_store(path)
    if what == "removed":
        path.unlink()
    else:
        opened.read("u1")
        os.truncate(path, 8)
    with pytest.raises(StoreError, match=r"a\.h5 (can't be read \(No such file|is cut short)"):
        opened.read("u1")


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="this system reads through the map")
def test_what_the_system_reads_in_pieces_is_read_whole(tmp_path, monkeypatch):
    write_store(tmp_path / "a.h5", HEADER, ITEMS)
    opened, preadv = open_store(tmp_path / "a.h5"), os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, parts, offset: preadv(file, [parts[0][:5]], offset))
    np.testing.assert_array_equal(opened.read("ü4"), ITEMS[3].frames)


@pytest.mark.parametrize("system", ["copies", "can't copy", "copies in pieces", "copies the half"])
def test_frames_are_copied_from_file_to_file_whatever_the_system_can(tmp_path, monkeypatch, system):
    copy, calls = getattr(os, "copy_file_range", None), []

    def copies(source, target, count, offset):
        calls.append(count)
        if system == "copies the half" and len(calls) > 1:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return copy(source, target, count if system == "copies" else min(count, 5), offset)

    if system == "can't copy":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    elif copy is None:
        pytest.skip("this system has no copy_file_range")
    else:
        monkeypatch.setattr(os, "copy_file_range", copies)
    write_store(tmp_path / "a.h5", HEADER, ITEMS)
    before = (tmp_path / "a.h5").read_bytes()
    opened = open_store(tmp_path / "a.h5")
    rows = [opened.item(name) for name in opened.ids]
    stores = {name: opened for name in opened.ids if opened.length(name)}
    write_store(tmp_path / "b.h5", HEADER, rows, stores)
    copied = open_store(tmp_path / "b.h5")
    np.testing.assert_array_equal(copied.values, opened.values)
    assert not list(copied.damaged())
    assert (tmp_path / "a.h5").read_bytes() == before
    assert bool(calls) == (system != "can't copy")


def open_files():
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="counts open files in /dev/fd")
def test_what_was_read_leaves_no_file_open(tmp_path):
    path = tmp_path / "a.h5"
    write_store(path, HEADER, ITEMS)
    before = open_files()
    opened, late = open_store(path), open_store(path)
    assert open_files() == before
    for _ in range(3):
        opened.read("u1")
        opened.close()
        assert open_files() == before
    opened.read("u1")
    del opened
    assert open_files() == before
    os.utime(path, (0, 0))
    for _ in range(3):
        with pytest.raises(StoreError, match="written anew"):
            late.read("u1")
    assert open_files() == before


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="counts open files in /dev/fd")
def test_however_many_parts_there_are_few_files_are_open(tmp_path):
    before = open_files()
    with Builder(tmp_path / "a.h5", HEADER) as builder:
        for number in range(20):
            builder.add([Item(str(number), "s", frames(2))])
        builder.refresh()
        assert open_files() <= before + 1  # the lock
        builder.finalise([(str(number), "s") for number in range(20)])
        assert open_files() <= before + 1
    assert len(open_store(tmp_path / "a.h5")) == 20


def test_a_part_that_can_not_be_read_just_now_is_not_taken_for_a_broken_one(tmp_path, monkeypatch):
    with Builder(tmp_path / "a.h5", HEADER) as builder:
        builder.add([ITEMS[0]])
        opened = h5py.File

        def refuse(*_, **__):
            raise OSError(errno.EMFILE, "Unable to open file (and much more)")

        monkeypatch.setattr(h5py, "File", refuse)
        with pytest.raises(StoreError, match=r"can't be read \(Too many open files\)"):
            builder.refresh()
        monkeypatch.setattr(h5py, "File", opened)
        builder.refresh()
        assert builder.finished("u1", "s1")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_frames_that_were_read_or_put_together_do_not_count_as_memory(tmp_path):
    program = """
import sys
from pathlib import Path
import numpy as np
from gia_mic.extract.parts import Builder
from gia_mic.extract.store import Header, Item, open_store
def of_files():
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith(("RssFile", "RssShmem")))
header = Header("speech", "wide", "0", {}, 2**20)
before = of_files()
with Builder(Path(sys.argv[1]), header) as builder:
    for number in range(64):
        builder.add([Item(str(number), "s", np.ones((1, 2**20), np.float16))])
    builder.finalise([(str(number), "s") for number in range(64)])
    print(of_files() - before)
opened = open_store(Path(sys.argv[1]))
for how in (opened.read, opened.frames):
    before = of_files()
    for name in opened.ids:
        how(name).sum()
    print(of_files() - before)
"""
    answer = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.h5"], capture_output=True, check=True, text=True
    )
    building, reading, mapping = map(float, answer.stdout.split())
    assert building < 8
    assert reading < 8
    assert mapping > 100


def test_every_flipped_bit_is_found(tmp_path):
    path = tmp_path / "a.h5"
    write_store(path, HEADER, ITEMS)
    store = open_store(path)
    assert list(store.damaged()) == []
    content = bytearray(path.read_bytes())
    for byte, owner in [(0, "u1"), (3 * 4 * 2 - 1, "u1"), (3 * 4 * 2, "ü4"), (8 * 4 * 2 - 1, "ü4")]:
        broken = bytearray(content)
        broken[store.values.offset + byte] ^= 1
        (tmp_path / "b.h5").write_bytes(broken)
        assert list(open_store(tmp_path / "b.h5").damaged()) == [owner]


@pytest.mark.parametrize("keep", [0, 10, 500, 3000, -1])
def test_a_file_cut_short_anywhere_is_refused(tmp_path, keep):
    path = tmp_path / "a.h5"
    write_store(path, HEADER, ITEMS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"a\.h5 is broken \(.*\): remove it and run `mer extract` again"):
        open_store(path)


def test_a_file_of_another_kind_or_version_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["values"] = np.zeros((2, 4))
    with pytest.raises(StoreError, match="not a gia-mic features file of version 1"):
        open_store(path)
    write_store(path, HEADER, ITEMS)
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(StoreError, match="not a gia-mic features file of version 1"):
        open_store(path)
    with pytest.raises(StoreError, match="There is no feature file"):
        open_store(tmp_path / "b.h5")


def test_columns_that_do_not_fit_together_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    write_store(path, HEADER, ITEMS)
    with h5py.File(path, "r+") as file:
        file["offsets"][1] = 4
        file["offsets"][2] = 1
    with pytest.raises(StoreError, match="contradicts itself"):
        open_store(path)


def test_an_unknown_id_is_named(tmp_path):
    write_store(tmp_path / "a.h5", HEADER, ITEMS)
    with pytest.raises(StoreError, match="no row for u9"):
        open_store(tmp_path / "a.h5").index(["u1", "u9"])


def test_frames_of_another_shape_are_refused(tmp_path):
    with pytest.raises(StoreError, match=r"shape \(3, 5\)"):
        write_store(tmp_path / "a.h5", HEADER, [Item("u1", "s", np.zeros((3, 5)))])
    assert list(tmp_path.iterdir()) == []


def test_parts_become_the_file_that_writing_at_once_gives(tmp_path):
    write_store(tmp_path / "once.h5", HEADER, ITEMS)
    order = [(item.id, item.source) for item in ITEMS]
    with Builder(tmp_path / "parts.h5", HEADER) as builder:
        builder.add([ITEMS[3]])
        assert not (tmp_path / "parts.h5").exists()
    with Builder(tmp_path / "parts.h5", HEADER) as builder:
        assert builder.finished("ü4", "s4")
        assert not builder.finished("ü4", "changed")
        assert not builder.finished("u1", "s1")
        builder.add([ITEMS[0]])
        builder.finalise(order, {item.id: item for item in ITEMS[1:3]})
    assert (tmp_path / "parts.h5").read_bytes() == (tmp_path / "once.h5").read_bytes()
    assert not (tmp_path / "parts.parts").exists()


def test_a_failure_does_not_count_as_finished(tmp_path):
    with Builder(tmp_path / "a.h5", HEADER) as builder:
        builder.finalise([("u3", "s3")], {"u3": ITEMS[2]})
    with Builder(tmp_path / "a.h5", HEADER) as builder:
        assert not builder.finished("u3", "s3")


def test_a_broken_part_is_made_again_not_believed(tmp_path):
    with Builder(tmp_path / "a.h5", HEADER) as builder:
        builder.add([ITEMS[0]])
        builder.add([ITEMS[3]])
    part = next(p for p in (tmp_path / "a.parts").iterdir() if "u1" in open_store(p))
    part.write_bytes(part.read_bytes()[:100])
    with Builder(tmp_path / "a.h5", HEADER) as builder:
        assert not builder.finished("u1", "s1")
        assert builder.finished("ü4", "s4")


def test_a_file_is_not_finished_with_utterances_left_out(tmp_path):
    with Builder(tmp_path / "a.h5", HEADER) as builder, pytest.raises(StoreError, match="u1 is neither extracted nor"):
        builder.finalise([("u1", "s1")])


def test_two_writers_are_one_too_many(tmp_path):
    with Builder(tmp_path / "a.h5", HEADER), pytest.raises(StoreError, match="Another process is writing here"):
        Builder(tmp_path / "a.h5", HEADER).__enter__()
    with Builder(tmp_path / "a.h5", HEADER):
        pass


def test_which_file_is_meant(tmp_path):
    assert find_features(tmp_path, "speech") is None
    first = tmp_path / "speech" / HEADER.file_name
    second = tmp_path / "speech" / replace(HEADER, fingerprint="ba9876543210").file_name
    third = tmp_path / "speech" / replace(HEADER, encoder="wav2vec2-base").file_name
    write_store(first, HEADER, ITEMS)
    assert find_features(tmp_path, "speech") == first
    write_store(second, HEADER, ITEMS)
    write_store(third, HEADER, ITEMS)
    with pytest.raises(StoreError, match="holds 3 feature files"):
        find_features(tmp_path, "speech")
    assert find_features(tmp_path, "speech", "wav2vec2-base") == third
    assert find_features(tmp_path, "speech", "tiny-ba9876543210") == second
    with pytest.raises(StoreError, match="holds 2 feature files"):
        find_features(tmp_path, "speech", "tiny")
    assert find_features(tmp_path, "speech", "hubert") is None


def test_what_a_disk_spoils_in_a_part_is_found_in_the_file(tmp_path):
    path = tmp_path / "a.h5"
    with Builder(path, HEADER) as builder:
        builder.add([ITEMS[0]])
        builder.add([ITEMS[3]])
        part = next(p for p in builder.parts.iterdir() if "u1" in open_store(p))
        content = bytearray(part.read_bytes())
        content[open_store(part).values.offset] ^= 1
        part.write_bytes(content)
        builder.refresh()
        builder.finalise([("u1", "s1"), ("ü4", "s4")])
    assert list(open_store(path).damaged()) == ["u1"]


def test_writers_of_shards_work_side_by_side_but_not_two_of_one(tmp_path):
    path = tmp_path / "a.h5"
    with Builder(path, HEADER, "1-of-2") as first, Builder(path, HEADER, "2-of-2") as second:
        first.add([ITEMS[0], ITEMS[2]])
        second.add([ITEMS[3]])
        with pytest.raises(StoreError, match="Another process is writing here"):
            Builder(path, HEADER, "2-of-2").__enter__()
    with Builder(path, HEADER) as whole:
        assert whole.finished("ü4", "s4")
        assert whole.failed("u3", "s3").reason == "é is cut short"
        assert whole.failed("u1", "s1") is None


def test_a_file_larger_than_what_is_flushed_at_once_is_written_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("gia_mic.extract.store.FLUSH_BYTES", 10)
    write_store(tmp_path / "a.h5", HEADER, ITEMS)
    np.testing.assert_array_equal(open_store(tmp_path / "a.h5").frames("ü4"), ITEMS[3].frames)
    assert list(open_store(tmp_path / "a.h5").damaged()) == []
