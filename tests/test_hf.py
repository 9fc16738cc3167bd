import json

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest
from made_media import tone

from gia_mic.extract.corpora.hf import prepare_dataset
from gia_mic.extract.errors import CorpusError


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Keep the library's cache in the test's folder, and off the network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def test_a_folder_per_class(tmp_path):
    for part, label, name in [("train", "happy", "a"), ("train", "sad", "a"), ("test", "sad", "b")]:
        tone(tmp_path / f"set/{part}/{label}/{name}.wav", 0.2)
    corpus = prepare_dataset(str(tmp_path / "set"), tmp_path / "features", "mine")
    assert [(u.id, u.label, u.split) for u in corpus] == [
        ("test/sad/b.wav", "sad", "test"),
        ("train/happy/a.wav", "happy", "train"),
        ("train/sad/a.wav", "sad", "train"),
    ]
    assert all(corpus.path(u.audio).is_file() for u in corpus)
    assert not (tmp_path / "features/mine/media").exists()


def test_a_folder_with_metadata(tmp_path):
    for name in "ab":
        tone(tmp_path / f"set/{name}.wav", 0.2)
    text = "file_name,emotion,transcription,speaker_id\na.wav,happy,yes,7\nb.wav,sad,no,8\n"
    (tmp_path / "set/metadata.csv").write_text(text)
    first, second = prepare_dataset(str(tmp_path / "set"), tmp_path / "features", "mine")
    assert (first.id, first.label, first.text, first.speaker, first.audio.path) == (
        "a.wav",
        "happy",
        "yes",
        "7",
        "a.wav",
    )
    assert (second.label, second.speaker, second.split) == ("sad", "8", None)


def parquet_set(tmp_path):
    """A folder with one Parquet table as the hub serves it: the sound's bytes, and class labels as numbers."""
    sounds = [tone(tmp_path / f"{name}.wav", 0.2, hz=hz).read_bytes() for name, hz in [("a", 200), ("b", 300)]]
    kinds = datasets.Features(
        {
            "audio": datasets.Audio(),
            "emotion": datasets.ClassLabel(names=["sad", "happy"]),
            "sentence": datasets.Value("string"),
        }
    )
    columns = {
        "audio": [{"bytes": sound, "path": "x.wav"} for sound in sounds],
        "emotion": [1, 0],
        "sentence": ["yes", "no"],
    }
    table = pa.table(columns).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": kinds.to_dict()}})}
    )
    (tmp_path / "set").mkdir()
    pyarrow.parquet.write_table(table, tmp_path / "set/train-00000-of-00001.parquet")
    return tmp_path / "set", sounds


def test_tables_with_the_sound_inside(tmp_path):
    folder, sounds = parquet_set(tmp_path)
    corpus = prepare_dataset(str(folder), tmp_path / "features", "mine")
    assert [(u.id, u.label, u.text, u.split) for u in corpus] == [
        ("train-000000", "happy", "yes", "train"),
        ("train-000001", "sad", "no", "train"),
    ]
    assert [corpus.path(u.audio).read_bytes() for u in corpus] == sounds


def test_a_set_that_was_saved_to_disk(tmp_path):
    folder, sounds = parquet_set(tmp_path)
    loaded = datasets.load_dataset(str(folder))["train"].cast_column("audio", datasets.Audio(decode=False))
    loaded.cast_column("audio", datasets.Audio()).save_to_disk(tmp_path / "saved")
    corpus = prepare_dataset(str(tmp_path / "saved"), tmp_path / "features", "mine")
    assert [corpus.path(u.audio).read_bytes() for u in corpus] == sounds


def test_columns_can_be_named(tmp_path):
    folder, _ = parquet_set(tmp_path)
    corpus = prepare_dataset(str(folder), tmp_path / "features", "mine", columns={"scenario": "sentence"})
    assert corpus.column("scenario") == ["yes", "no"]
    with pytest.raises(CorpusError, match=r"no column nothing \(for speaker\); it has .*emotion"):
        prepare_dataset(str(folder), tmp_path / "features", "mine", columns={"speaker": "nothing"})
    with pytest.raises(CorpusError, match="no manifest columns age"):
        prepare_dataset(str(folder), tmp_path / "features", "mine", columns={"age": "emotion"})


def test_sets_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="can't be loaded"):
        prepare_dataset("nobody/nothing", tmp_path / "features", "mine")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="holds no sound"):
        prepare_dataset(str(tmp_path / "empty"), tmp_path / "features", "mine")
    tone(tmp_path / "outside.wav", 0.1)
    (tmp_path / "set").mkdir()
    (tmp_path / "set/metadata.csv").write_text("file_name,label\n../outside.wav,sad\n")
    with pytest.raises(CorpusError, match="outside the corpus root"):
        prepare_dataset(str(tmp_path / "set"), tmp_path / "features", "mine")
    (tmp_path / "set/metadata.csv").write_text("file_name,label\nnone.wav,sad\n")
    with pytest.raises(CorpusError, match="files that are not in"):
        prepare_dataset(str(tmp_path / "set"), tmp_path / "features", "mine")
    (tmp_path / "set/metadata.csv").write_text("file_name,mood\n../outside.wav,sad\n")
    with pytest.raises(CorpusError, match="no column of labels"):
        prepare_dataset(str(tmp_path / "set"), tmp_path / "features", "mine")
