import numpy as np
import pytest
from made_media import tone
from made_recordings import TINY_SPEECH, make_corpus

from gia_mic.extract import address
from gia_mic.extract.corpus import Clip, Utterance, corpus_names, write_corpus
from gia_mic.extract.errors import CorpusError, StoreError
from gia_mic.extract.run import extract
from gia_mic.extract.store import open_store

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path, monkeypatch):
    """An address, empty; and this machine's cache."""
    monkeypatch.setenv("MER_CACHE", str(tmp_path / "cache"))
    yield f"memory://{tmp_path.name}" if request.param == "memory" else f"file://{tmp_path}/far"
    fsspec.filesystem("memory").store.clear()


def another_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("MER_CACHE", str(tmp_path / "another"))


def upload(url, folder):
    store, root = fsspec.core.url_to_fs(url)
    store.put(f"{folder}/", f"{root}/", recursive=True)


def files(url):
    store, root = fsspec.core.url_to_fs(url)
    return {path.removeprefix(root).lstrip("/") for path in store.find(root)}


def test_features_behind_an_address_are_extracted_and_read_from_elsewhere(tmp_path, monkeypatch, url, mer):
    make_corpus(tmp_path)
    upload(url, tmp_path / "features")
    command = ["extract", "--modality", "speech", "--encoder", "tiny", "--device", "cpu", "--features", url]
    answer = mer(*command)
    assert answer.exit_code == 0, answer.output
    name = f"made/speech/{TINY_SPEECH().header.file_name}"
    marker = {f"{name}.complete"} if url.startswith("memory") else set()
    assert files(url) == {"made/utterances.jsonl", "made/corpus.json", name} | marker
    here = open_store(address.mirror(url) / name)
    another_machine(tmp_path, monkeypatch)
    again = mer(*command)
    assert "11 reused" in again.output
    there = open_store(address.mirror(url) / name)
    assert there.path != here.path
    assert there.ids == here.ids
    np.testing.assert_array_equal(there.values, here.values)


def test_parts_go_to_the_address_at_once_and_another_machine_goes_on(tmp_path, monkeypatch, url, mer):
    make_corpus(tmp_path)
    upload(url, tmp_path / "features")
    folder = address.mirror(url)
    address.pull(folder)
    command = ["extract", "--modality", "speech", "--encoder", "tiny", "--device", "cpu", "--features", url]
    assert mer(*command, "--shard", "1/2").exit_code == 0
    assert len([path for path in files(url) if ".parts/" in path]) == 1
    another_machine(tmp_path, monkeypatch)
    answer = mer(*command)
    assert "6 extracted, 5 reused, 1 missing" in answer.output
    assert not [path for path in files(url) if ".parts/" in path]


def test_an_object_without_its_marker_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("MER_CACHE", str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    store.pipe_file("/half/made/speech/tiny-0.h5", b"cut short")
    folder = address.mirror("memory://half")
    address.pull(folder)
    assert not list(folder.rglob("*.h5"))
    store.pipe_file("/half/made/speech/tiny-0.h5.complete", b"9")
    address.pull(folder)
    assert len(list((folder / "made").rglob("*.h5"))) == 1
    store.store.clear()


def test_recordings_behind_an_address_come_when_they_are_decoded(tmp_path, url):
    for number in range(3):
        tone(tmp_path / "sound" / f"{number}.wav", 0.5)
    upload(url, tmp_path / "sound")
    utterances = [Utterance(f"u{n}", "a", audio=Clip(f"{n}.wav")) for n in range(2)]
    corpus = write_corpus(tmp_path / "features", "far", utterances, root=url)
    assert extract(corpus, TINY_SPEECH, quiet=True).extracted == 2
    assert sorted(path.name for path in corpus.root.glob("*.wav")) == ["0.wav", "1.wav"]
    tone(tmp_path / "sound" / "1.wav", 0.7)
    upload(url, tmp_path / "sound")
    assert extract(corpus, TINY_SPEECH, quiet=True).changed == 1
    with pytest.raises(CorpusError, match="outside the corpus root"):
        corpus.path(Clip("../0.wav"))


def test_what_is_gone_from_an_address_goes_here_too(tmp_path, url):
    make_corpus(tmp_path)
    upload(url, tmp_path / "features")
    folder = address.mirror(url)
    address.pull(folder)
    assert corpus_names(folder) == ["made"]
    store, root = fsspec.core.url_to_fs(url)
    store.rm(f"{root}/made", recursive=True)
    address.pull(folder)
    assert corpus_names(folder) == []


@pytest.mark.parametrize("wrong", ["nonsense://bucket/features", "file:///proc/nowhere/features"])
def test_an_address_that_can_not_be_used_is_one_sentence(tmp_path, monkeypatch, wrong):
    monkeypatch.setenv("MER_CACHE", str(tmp_path / "cache"))
    folder = address.mirror(wrong)
    (folder / "made").mkdir(exist_ok=True)
    with pytest.raises(StoreError, match=r"can't be used .*: check the address and your credentials"):
        write_corpus(folder, "made", [Utterance("u1", "a", text="Yes.")], root=tmp_path)
