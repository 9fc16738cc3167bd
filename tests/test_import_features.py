import os
import pickle
from collections import OrderedDict

import h5py
import numpy as np
import pytest
from made_releases import csd

from gia_mic.extract.corpus import Utterance, load_corpus, write_corpus
from gia_mic.extract.errors import CorpusError, StoreError
from gia_mic.extract.imports.features import import_features
from gia_mic.extract.imports.unpickle import load_objects, load_pickle
from gia_mic.extract.store import EXTRACTED, FAILED, MISSING, open_store


def frames(count, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def dump(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def mmsa(path, **changes):
    """An MMSA-like file: three parts of two utterances, sound padded to 6 frames behind, video in front."""
    parts = {}
    for number, part in enumerate(("train", "valid", "test")):
        audio, vision = np.zeros((2, 6, 3), np.float32), np.zeros((2, 5, 4))
        audio[0, :4], audio[1, :2] = frames(4, 3, number), frames(2, 3, number + 9)
        vision[0, 3:], vision[1, 1:] = frames(2, 4, number), frames(4, 4, number + 9)
        parts[part] = {
            "raw_text": np.array([f"one {part}", "two"], dtype=object),
            "audio": audio,
            "vision": vision,
            "text": frames(2 * 3, 5).reshape(2, 3, 5),
            "text_bert": np.array([[[7, 8, 0], [1, 1, 0], [0, 0, 0]], [[7, 8, 9], [1, 1, 1], [0, 0, 0]]]),
            "id": [f"v{number}$_$0", f"v{number}$_$1"],
            "annotations": np.array(["Positive", "Negative"]),
            "regression_labels": np.array([1.5, -2.0]),
            **changes,
        }
    return dump(path, parts)


def test_mmsa_pickle_becomes_a_corpus_and_three_stores(tmp_path):
    path = mmsa(tmp_path / "unaligned_50.pkl")
    stores = {}
    for modality in ("speech", "text", "visual"):
        stores[modality] = open_store(import_features([path], modality, tmp_path / "f", "mosi"))
    corpus = load_corpus(tmp_path / "f", "mosi")
    assert [(u.id, u.label, u.source_label, u.text, u.split) for u in corpus][:3] == [
        ("v0$_$0", "positive", "1.5", "one train", "train"),
        ("v0$_$1", "negative", "-2", "two", "train"),
        ("v1$_$0", "positive", "1.5", "one valid", "dev"),
    ]
    assert [len(stores["speech"].frames(i)) for i in corpus.ids] == [4, 2] * 3
    assert [len(stores["visual"].frames(i)) for i in corpus.ids] == [2, 4] * 3
    assert [len(stores["text"].frames(i)) for i in corpus.ids] == [2, 3] * 3
    np.testing.assert_array_equal(stores["speech"].frames("v1$_$0"), frames(4, 3, 1))
    assert {name: (s.encoder, s.dim, s.values.dtype.name) for name, s in stores.items()} == {
        "speech": ("unaligned_50", 3, "float32"),
        "text": ("unaligned_50", 5, "float32"),
        "visual": ("unaligned_50", 4, "float32"),
    }
    assert not any(list(s.damaged()) for s in stores.values())


def test_lengths_in_the_file_are_believed(tmp_path):
    path = mmsa(tmp_path / "a.pkl", audio_lengths=[3, 1])
    speech = open_store(import_features([path], "speech", tmp_path / "f", "mosi"))
    assert [len(speech.frames(i)) for i in speech.ids] == [3, 1] * 3


def test_mult_pickle_of_one_part_with_bytes_for_ids(tmp_path):
    content = {
        "id": np.array([[b"vid", b"0.5", b"2.0"], [b"vid", b"2.0", b"3.0"], [b"other", b"0", b"1"]]),
        "vision": frames(12, 4).reshape(3, 4, 4),
        "labels": np.array([0.0, -1.2, 3.0]).reshape(3, 1, 1),
    }
    import_features([dump(tmp_path / "mosi.pkl", {"train": content}, 2)], "visual", tmp_path / "f", "mosi")
    corpus = load_corpus(tmp_path / "f", "mosi")
    assert [(u.id, u.label) for u in corpus] == [
        ("vid_0.5_2.0", "neutral"),
        ("vid_2.0_3.0", "negative"),
        ("other_0_1", "positive"),
    ]


def test_computational_sequences_are_cut_to_the_segments_of_the_labels(tmp_path):
    times = np.arange(10.0)
    sound = csd(tmp_path / "COVAREP.csd", {"v": (frames(10, 3), np.stack([times, times + 1], axis=1))})
    labels = csd(
        tmp_path / "labels.csd",
        {"v": (np.array([[1.0, 0], [-0.5, 0], [0.0, 1]]), [[0.0, 2.0], [5.0, 9.0], [20.0, 21.0]])},
    )
    speech = open_store(import_features([sound], "speech", tmp_path / "f", "mosei", labels=labels, frame_rate_hz=1))
    corpus = load_corpus(tmp_path / "f", "mosei")
    assert [(u.id, u.label, u.dialog) for u in corpus] == [
        ("v[0]", "positive", "v"),
        ("v[1]", "negative", "v"),
        ("v[2]", "neutral", "v"),
    ]
    np.testing.assert_array_equal(speech.frames("v[1]"), frames(10, 3)[5:9])
    assert speech.status.tolist() == [EXTRACTED, EXTRACTED, MISSING]
    assert speech.frame_rate_hz == 1


@pytest.mark.parametrize(
    ("classes", "names", "expected"),
    [
        ("sign", ("negative", "neutral", "positive"), ["negative", "negative", "neutral", "positive", "positive"]),
        ("two", ("negative", "positive"), ["negative", "negative", None, "positive", "positive"]),
        (
            "nonnegative",
            ("negative", "non-negative"),
            ["negative", "negative", "non-negative", "non-negative", "non-negative"],
        ),
        ("seven", ("-3", "-2", "-1", "0", "1", "2", "3"), ["-3", "0", "0", "1", "2"]),
    ],
)
def test_scores_become_classes_as_published_work_has_them(tmp_path, classes, names, expected):
    scores = np.array([-3.0, -0.4, 0.0, 1.0, 2.5])
    ids = [f"u{number}" for number in range(5)]
    content = {"train": {"id": ids, "audio": frames(10, 3).reshape(5, 2, 3), "regression_labels": scores}}
    path = dump(tmp_path / "a.pkl", content)
    import_features([path], "speech", tmp_path / "f", "mosi", classes=classes)
    corpus = load_corpus(tmp_path / "f", "mosi")
    assert corpus.classes == names
    labels = {u.id: u.label for u in corpus}
    assert [labels.get(utterance_id) for utterance_id in ids] == expected
    content["train"]["vision"] = content["train"].pop("audio")
    import_features([dump(path, content)], "visual", tmp_path / "f", "mosi")  # the corpus remembers its way
    assert load_corpus(tmp_path / "f", "mosi").digest == corpus.digest


def test_the_strongest_emotion_is_the_class_and_ties_have_none(tmp_path):
    scores = [[1.0, 2, 0, 0, 0, 0, 0], [0.0, 0, 0, 1, 0, 1, 0], [-1.0, 0, 0, 0, 0, 0, 0.5], [0.0] * 7]
    labels = csd(tmp_path / "labels.csd", {"v": (np.array(scores), [[n, n + 1.0] for n in range(4)])})
    times = np.arange(4.0)
    sound = csd(tmp_path / "a.csd", {"v": (frames(4, 3), np.stack([times, times + 1], axis=1))})
    import_features([sound], "speech", tmp_path / "f", "mosei", labels=labels, classes="emotion")
    corpus = load_corpus(tmp_path / "f", "mosei")
    assert [(u.id, u.label) for u in corpus] == [
        ("v[0]", "happy"),
        ("v[1]", None),
        ("v[2]", "fearful"),
        ("v[3]", None),
    ]
    with pytest.raises(CorpusError, match="no sentiment and six emotions"):
        import_features([mmsa(tmp_path / "b.pkl")], "speech", tmp_path / "f", "mosi", classes="emotion")
    with pytest.raises(CorpusError, match="not a way to make classes of scores: choose sign"):
        import_features([sound], "speech", tmp_path / "f", "mosei", labels=labels, classes="mood")


def test_folder_of_arrays_with_a_table_of_labels(tmp_path, caplog):
    (tmp_path / "hubert").mkdir()
    np.save(tmp_path / "hubert/a.npy", frames(5, 3))
    np.save(tmp_path / "hubert/b.npy", frames(1, 3)[0])
    np.save(tmp_path / "hubert/unknown.npy", frames(1, 3))
    table = tmp_path / "labels.csv"
    table.write_text("id,label,session,split\na,happy,S1,train\nb,sad,S2,test\nc,sad,S2,test\n")
    caplog.set_level("INFO", "gia_mic")
    path = import_features([tmp_path / "hubert"], "speech", tmp_path / "f", "mine", labels=table)
    speech = open_store(path)
    assert [len(speech.frames(i)) for i in "abc"] == [5, 1, 0]
    assert load_corpus(tmp_path / "f", "mine").column("split") == ["train", "test", "test"]
    assert "Left out, because the corpus doesn't have them: unknown." in caplog.messages
    assert "2 utterances with frames of 3 features, 1 missing, 0 failed" in caplog.messages[-1]
    before = path.stat().st_mtime_ns
    assert import_features([tmp_path / "hubert"], "speech", tmp_path / "f", "mine", labels=table) == path
    assert path.stat().st_mtime_ns == before


def test_npz_goes_to_a_corpus_that_is_there(tmp_path):
    write_corpus(tmp_path / "f", "mine", [Utterance("a", "sad"), Utterance("b", "happy")], root=tmp_path)
    np.savez(tmp_path / "clip.npz", a=frames(2, 3), b=frames(4, 3))
    path = import_features([tmp_path / "clip.npz"], "visual", tmp_path / "f", "mine", encoder="CLIP large")
    assert path.name.startswith("CLIP-large-")
    assert open_store(path).ids == ["a", "b"]


def test_values_that_are_not_finite(tmp_path):
    values = frames(4, 3)
    values[1, 2] = -np.inf
    np.savez(tmp_path / "a.npz", a=values, b=frames(2, 3))
    (tmp_path / "labels.csv").write_text("id,label\na,sad\nb,happy\n")
    files, options = [tmp_path / "a.npz"], {"labels": tmp_path / "labels.csv"}
    with pytest.raises(StoreError, match="1 utterances have values that are not finite numbers: a; the others are in"):
        import_features(files, "speech", tmp_path / "f", "mine", **options)
    skipped = open_store(import_features(files, "speech", tmp_path / "f", "mine", nonfinite="skip", **options))
    assert (skipped.status.tolist(), skipped.reasons[0]) == ([FAILED, 0], "1 values are not finite numbers")
    zeroed = open_store(import_features(files, "speech", tmp_path / "f", "mine", nonfinite="zero", **options))
    assert zeroed.frames("a")[1, 2] == 0
    with pytest.raises(StoreError, match="choose fail, skip or zero"):
        import_features(files, "speech", tmp_path / "f", "mine", nonfinite="mean")


class Hostile:
    """Runs a command when it is loaded by an ordinary reader."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_a_command_is_refused(tmp_path, protocol):
    proof = tmp_path / "proof"
    path = dump(tmp_path / "hostile.pkl", {"train": {"id": ["a"], "audio": Hostile(proof)}}, protocol)
    with pytest.raises(StoreError, match=r"asks for (posix|nt)\.system, and loading it could run anything"):
        import_features([path], "speech", tmp_path / "f", "mine")
    assert not proof.exists()
    pickle.loads(path.read_bytes())
    assert proof.exists()


@pytest.mark.parametrize(
    "name", ["builtins.eval", "builtins.getattr", "numpy.load", "numpy.lib.npyio.load", "os.system"]
)
def test_no_other_callable_is_found(tmp_path, name):
    module, _, function = name.rpartition(".")
    path = tmp_path / "a.pkl"
    path.write_bytes(f"c{module}\n{function}\n(S'1'\ntR.".encode())
    with pytest.raises(StoreError, match=f"asks for {name}".replace(".", r"\.")):
        load_pickle(path)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_containers_come_back(tmp_path, protocol):
    value = {
        "array": frames(3, 2),
        "text": np.array(["a", "bc"]),
        "objects": np.array(["a", None, [1]], dtype=object),
        "scalar": np.float64(2.5),
        "bytes": b"\x00\xff",
        "ordered": OrderedDict(a=1),
        "plain": [1, 2.5, "x", None, True, {1, 2}, (3,)],
    }
    loaded = load_pickle(dump(tmp_path / "a.pkl", value, protocol))
    np.testing.assert_array_equal(loaded["array"], value["array"])
    assert loaded["text"].tolist() == ["a", "bc"]
    assert loaded["objects"].tolist() == ["a", None, [1]]
    assert {key: loaded[key] for key in ("scalar", "bytes", "ordered", "plain")} == {
        key: value[key] for key in ("scalar", "bytes", "ordered", "plain")
    }


def test_objects_come_out_of_an_archive_beside_arrays(tmp_path):
    rows = {"a": {"emo": "sad", "val": np.float64(0.5)}, "b": {"emo": "angry", "val": ""}}
    objects = np.array(["a", None], dtype=object)
    np.savez_compressed(tmp_path / "a.npz", rows=rows, plain=np.asfortranarray(frames(3, 2)), objects=objects)
    loaded = load_objects(tmp_path / "a.npz")
    assert loaded["rows"] == rows
    assert loaded["objects"].tolist() == ["a", None]
    np.testing.assert_array_equal(loaded["plain"], frames(3, 2))
    (tmp_path / "b.npz").write_bytes(b"nonsense")
    with pytest.raises(StoreError, match=r"no readable \.npz .*: copy it again"):
        load_objects(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: dump(p / "a.pkl", [1, 2]), "no feature file"),
        (lambda p: dump(p / "a.pkl", {"train": {"id": ["a"], "vision": frames(1, 2)}}), "has no speech: .* id, vision"),
        (lambda p: dump(p / "a.pkl", {"id": ["a", "b"], "audio": frames(1, 2)}), "2 ids, but 1 of audio"),
        (lambda p: dump(p / "a.pkl", {"id": ["a", "a"], "audio": frames(2, 2)}), "ids twice: a"),
        (lambda p: dump(p / "a.pkl", {"id": ["../a"], "audio": frames(1, 2)}), r"lead out of a folder: '\.\./a'"),
        (lambda p: dump(p / "a.pkl", {"id": ["a"], "audio": np.array(["x"])}), "expected numbers"),
        (lambda p: dump(p / "a.pkl", {"id": ["a"], "audio": np.zeros((1, 2, 3))}), "hold frames of no features"),
        (lambda p: dump(p / "a.pkl", {"id": ["a"], "audio": [frames(1, 2), frames(1, 3)][:1]}), "has no labels"),
        (lambda p: _written(p / "a.pkl", b"\x80\x04nonsense"), "no readable pickle"),
        (lambda p: _written(p / "a.npz", b"nonsense"), "no readable set of arrays"),
        (lambda p: _written(p / "a.csd", b"nonsense"), "no readable computational sequence"),
        (lambda p: _written(p / "a.txt", b"nonsense"), "not( of)? a known kind"),
        (lambda p: p, r"holds no \.npy file"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path, make, message):
    with pytest.raises((StoreError, CorpusError), match=message):
        import_features([make(tmp_path)], "speech", tmp_path / "f", "mine")


def _written(path, content):
    path.write_bytes(content)
    return path


def test_arrays_of_objects_and_links_out_of_the_folder_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a/x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(StoreError, match="only plain numbers are read"):
        import_features([tmp_path / "a"], "speech", tmp_path / "f", "mine")
    (tmp_path / "b").mkdir()
    np.save(tmp_path / "secret.npy", frames(1, 2))
    (tmp_path / "b/x.npy").symlink_to(tmp_path / "secret.npy")
    with pytest.raises(StoreError, match="symbolic link out of"):
        import_features([tmp_path / "b"], "speech", tmp_path / "f", "mine")


def test_a_sequence_that_points_into_another_file_is_refused(tmp_path):
    csd(tmp_path / "secret.csd", {"v": (frames(2, 2), [[0, 1], [1, 2]])})
    path = csd(tmp_path / "a.csd", {"v": (frames(2, 2), [[0, 1], [1, 2]])})
    with h5py.File(path, "r+") as file:
        del file["Any Name/data/v/features"]
        file["Any Name/data/v/features"] = h5py.ExternalLink("secret.csd", "Any Name/data/v/features")
    with pytest.raises(StoreError, match="features of v points into another file"):
        import_features([path], "speech", tmp_path / "f", "mine")


def test_files_that_do_not_fit_the_corpus_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=frames(2, 3))
    np.savez(tmp_path / "b.npz", b=frames(2, 4))
    np.savez(tmp_path / "c.npz", c=frames(2, 3))
    (tmp_path / "labels.csv").write_text("id,label\na,sad\nb,happy\n")
    labels = {"labels": tmp_path / "labels.csv"}
    with pytest.raises(StoreError, match="frames of 3, 4 features"):
        import_features([tmp_path / "a.npz", tmp_path / "b.npz"], "speech", tmp_path / "f", "mine", **labels)
    import_features([tmp_path / "a.npz"], "speech", tmp_path / "f", "mine", **labels)
    with pytest.raises(CorpusError, match=r"None of the ids .* they have c, the corpus has a, b"):
        import_features([tmp_path / "c.npz"], "speech", tmp_path / "f", "mine")
    (tmp_path / "labels.csv").write_text("id,label\na,happy\n")
    with pytest.raises(CorpusError, match="other labels than the corpus 'mine' for a"):
        import_features([tmp_path / "a.npz"], "speech", tmp_path / "f", "mine", **labels)
