"""Tables as people and programs write them: what a cell means, and that nothing is lost or renamed without a word."""

import json
import pickle
import subprocess
import sys

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from made_features import utterances
from made_media import tone, video
from made_releases import csd

from gia_mic.extract.corpora.cells import are_scores, whole_numbers
from gia_mic.extract.corpora.hf import prepare_dataset
from gia_mic.extract.corpora.manifest import prepare_table
from gia_mic.extract.corpora.release import prepare_release
from gia_mic.extract.corpus import Utterance, load_corpus, write_corpus
from gia_mic.extract.errors import CorpusError, RunError, StoreError
from gia_mic.extract.imports.features import import_features
from gia_mic.extract.names import look_alikes, part_of
from gia_mic.extract.store import EXTRACTED, MISSING, open_store
from gia_mic.fuse.audit import audit
from gia_mic.fuse.split import folds, one_sided_classes, refuse_constant

pytestmark = pytest.mark.usefixtures("log")

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Keep the library's cache in the test's folder, and off the network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def prepared(tmp_path, text, name="t.csv", **options):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return prepare_table(tmp_path / name, tmp_path / "features", "mine", **options)


def corpus_of(tmp_path, rows, name="mine"):
    return write_corpus(tmp_path / "features", name, rows, root=tmp_path)


# -- missing values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["nan", "NaN", "NA", "N/A", "None", "NULL", "<NA>", "NaT"])
@pytest.mark.parametrize("column", ["speaker", "session", "dialog", "scenario", "split"])
def test_a_missing_value_written_as_text_is_missing_in_every_column(tmp_path, log, column, word):
    corpus = prepared(tmp_path, f"id,label,text,{column}\na,x,yes,{word}\nb,y,no,one\n")
    assert corpus.column(column) == [None, "one"]
    assert f"Taken for missing values: '{word}' in {column} (1)." in log.text


def test_a_missing_path_time_and_text_are_missing_too(tmp_path):
    tone(tmp_path / "a.wav", 1.0)
    text = "id,label,text,audio,audio_start_s,audio_end_s\na,x,nan,a.wav,0.5,nan\nb,y,yes,NaN,nan,nan\n"
    one, other = prepared(tmp_path, text)
    assert (one.text, one.audio.start_s, one.audio.end_s) == (None, 0.5, None)
    assert other.audio is None


def test_a_class_called_none_is_refused_with_the_way_to_keep_it(tmp_path):
    text = "id,label,text\nu0,none,a\nu1,sad,b\nu2,None,c\n"
    with pytest.raises(
        CorpusError, match=r"without a label: u0, u2; .*None, none is taken .* --missing 'nan,na,n/a,<na>"
    ):
        prepared(tmp_path, text)
    assert prepared(tmp_path, text.replace("None", "none"), missing=("nan",)).classes == ("none", "sad")
    assert prepared(tmp_path, text.replace("None", "none"), labels=["sad", "none"]).classes == ("sad", "none")


def test_missing_speakers_make_no_fold(tmp_path):
    corpus = prepared(tmp_path, "id,label,text,speaker\na,x,yes,nan\nb,y,no,s1\nc,x,no,s2\n")
    with pytest.raises(RunError, match="1 of 3 utterances without a speaker"):
        folds(corpus, "speaker")


# -- names, numbers and bytes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [("Happy", "happy"), ("ｓａｄ", "sad"), ("caf\u00e9", "cafe\u0301"), ("sad\u200b", "sad"), ("so  sad", "so sad")],
)
@pytest.mark.parametrize("column", ["label", "speaker", "session"])
def test_names_that_look_alike_are_named(tmp_path, log, column, one, other):
    rows = [{"id": "a", "label": "x", column: one}, {"id": "b", "label": "y", column: other}]
    write_corpus(tmp_path, "mine", [Utterance(**row) for row in rows], root=tmp_path)
    assert f"The {column}s {one!a} and {other!a}" in log.text or f"{other!a} and {one!a}" in log.text
    assert look_alikes([one, other, "calm"]) == [sorted([one, other])]


def test_names_that_differ_raise_no_suspicion(tmp_path, log):
    corpus_of(tmp_path, utterances())
    assert "differ in nothing" not in log.text


@pytest.mark.parametrize("column", ["speaker", "session", "dialog", "scenario", "id"])
def test_a_whole_number_is_one_value_whether_pandas_put_a_point_behind_it(tmp_path, column):
    numbers = ["1.0", "1", "2.0", "2"] if column != "id" else ["1.0", "2", "3.0", "4"]
    ids = numbers if column == "id" else "abcd"
    columns = "" if column == "id" else f",{column}"
    rows = [f"{name},x,yes{'' if column == 'id' else ',' + number}" for name, number in zip(ids, numbers, strict=True)]
    corpus = prepared(tmp_path, f"id,label,text{columns}\n" + "\n".join(rows))
    assert len(set(corpus.column(column))) == (4 if column == "id" else 2)
    assert all("." not in value for value in corpus.column(column))


def test_numbers_with_decimals_stay_as_they_are():
    rows = [{"session": "1.0"}, {"session": "1.5"}, {"session": "v2.0"}]
    assert whole_numbers(rows, ("session",)) == rows


@pytest.mark.parametrize(
    "labels", [["0.517", "-2.1", "?"], ["0", "1", "2"], ["-3", "3", "0"], [str(n) for n in range(60)], [0.5, 1.5]]
)
def test_a_label_that_is_a_number_is_refused_with_the_name_of_scores(tmp_path, labels):
    rows = [{"id": f"u{n}", "label": label, "text": "yes"} for n, label in enumerate(labels)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    with pytest.raises(
        CorpusError, match=r"labels that are numbers .* `scores`, in a column such as score_valence; .*"
    ):
        prepared(tmp_path, text, "t.jsonl")


def test_classes_that_are_numbers_are_named(tmp_path):
    text = "id,label,text\n" + "".join(f"u{n},{n % 3},yes\n" for n in range(6))
    assert prepared(tmp_path, text, labels=["2", "1", "0"]).classes == ("2", "1", "0")
    assert prepared(tmp_path, text + "u6,x,yes\nu7,y,yes\n").classes == ("0", "1", "2", "x", "y")
    assert not are_scores(set())


def test_bytes_are_text(tmp_path):
    table = pa.table({"id": [b"a", b"b"], "label": ["x", "y"], "text": [b"so happy", "caf\u00e9".encode()]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    corpus = prepare_table(tmp_path / "t.parquet", tmp_path / "features", "mine")
    assert corpus.ids == ["a", "b"]
    assert corpus.column("text") == ["so happy", "caf\u00e9"]


def test_half_a_surrogate_pair_is_replaced_in_a_text_and_refused_in_a_name(tmp_path, log):
    row = {"id": "u2", "label": "x", "text": "so \ud83d happy"}
    corpus = prepared(tmp_path, json.dumps(row), "t.jsonl")
    assert corpus.column("text") == ["so \ufffd happy"]
    assert "u2" in log.text
    with pytest.raises(CorpusError, match="values in speaker that can't be written as UTF-8: u2"):
        prepared(tmp_path, json.dumps({**row, "speaker": "\udc00"}), "t.jsonl")


def test_a_file_whose_name_looks_the_same_is_named(tmp_path):
    tone(tmp_path / "cafe\u0301.wav", 0.2)
    tone(tmp_path / "B.WAV", 0.2)
    text = "id,label,audio\na,x,caf\u00e9.wav\nb,y,b.wav\nc,y,c.wav\n"
    with pytest.raises(CorpusError, match=r"but 'cafe\\u0301.wav' is\), b \(b.wav, but 'B.WAV' is\), c \(c.wav\);"):
        prepared(tmp_path, text)


def test_ids_that_look_alike_are_named_where_features_do_not_fit(tmp_path, log):
    files = npy(tmp_path, 2)
    (tmp_path / "t.csv").write_text("id,label\nU0,x\nu1,y\n")
    import_features(files, "speech", tmp_path / "f", "x", labels=tmp_path / "t.csv")
    assert "doesn't have them: u0. These differ in nothing but capitals, width or what isn't visible" in log.text
    (tmp_path / "t.csv").write_text("id,label\nU0,x\nU1,y\n")
    with pytest.raises(CorpusError, match="'U0' and 'u0'"):
        import_features(files, "speech", tmp_path / "f", "y", labels=tmp_path / "t.csv")


# -- the table's shape ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_the_index_that_pandas_writes_is_left_out_with_a_word(tmp_path, log, name):
    corpus = prepared(tmp_path, f"{name},id,label,text\n0,a,x,yes\n1,b,y,no\n")
    assert corpus.ids == ["a", "b"]
    assert "a column without a name, such as pandas's index" in log.text


def test_capitals_in_headers_do_not_matter(tmp_path):
    corpus = prepared(tmp_path, "ID,Label,Text,Speaker\na,x,yes,s1\n")
    assert corpus.column("speaker") == ["s1"]


def test_a_long_text_is_read_whole(tmp_path):
    text = "word " * 40_000
    assert prepared(tmp_path, f'id,label,text\na,x,"{text}"\n').column("text") == [text.strip()]


def test_a_link_out_of_the_root_is_named_and_may_be_followed(tmp_path):
    (tmp_path / "set/wav").mkdir(parents=True)
    tone(tmp_path / "store/blob.wav", 0.5)
    (tmp_path / "set/wav/u0.wav").symlink_to(tmp_path / "store/blob.wav")
    (tmp_path / "set/t.csv").write_text("id,label,audio\nu0,x,wav/u0.wav\n")
    with pytest.raises(CorpusError, match=r"links that lead outside .* \(--follow-links .*u0.wav to .*store/blob.wav"):
        prepare_table(tmp_path / "set/t.csv", tmp_path / "features", "mine")
    corpus = prepare_table(tmp_path / "set/t.csv", tmp_path / "features", "mine", follow_links=True)
    [one] = load_corpus(tmp_path / "features", "mine")
    assert corpus.path(one.audio).resolve() == (tmp_path / "store/blob.wav").resolve()
    (tmp_path / "set/t.csv").write_text("id,label,audio\nu0,x,../store/blob.wav\n")
    with pytest.raises(CorpusError, match="outside the corpus root"):
        prepare_table(tmp_path / "set/t.csv", tmp_path / "features", "other", follow_links=True)


def test_pointers_of_git_lfs_are_told_from_files(tmp_path, log):
    tone(tmp_path / "AudioWAV/1001_DFA_ANG_XX.wav", 0.2)
    (tmp_path / "VideoFlash").mkdir()
    (tmp_path / "VideoFlash/1001_DFA_ANG_XX.flv").write_text(POINTER)
    prepare_release("cremad", tmp_path, tmp_path / "features")
    assert "1 of 2 files are pointers" in log.text
    (tmp_path / "AudioWAV/1001_DFA_ANG_XX.wav").write_text(POINTER)
    with pytest.raises(CorpusError, match=r"2 of 2 files are pointers .*: run `git lfs pull` there first"):
        prepare_release("cremad", tmp_path, tmp_path / "features")
    (tmp_path / "a.wav").write_text("/annex/objects/SHA256E-s1--0.wav\n")
    with pytest.raises(CorpusError, match="git annex get"):
        prepared(tmp_path, "id,label,audio\na,x,a.wav\n")
    with pytest.raises(CorpusError, match="pointer to a table"):
        prepared(tmp_path, POINTER)
    (tmp_path / "f.pkl").write_text(POINTER)
    with pytest.raises(StoreError, match="git lfs pull"):
        import_features([tmp_path / "f.pkl"], "speech", tmp_path / "features", "x")


# -- published corpora and data sets ----------------------------------------------------------------------------------


def test_ravdess_takes_the_film_and_the_sound_beside_it_by_their_suffixes(tmp_path):
    folder = tmp_path / "in/Actor_01"
    folder.mkdir(parents=True)
    video(folder / "01-01-03-01-01-01-01.mp4", [0, 50])
    tone(folder / "01-01-03-01-01-01-01.wav", 0.2)
    [one] = prepare_release("ravdess", tmp_path / "in", tmp_path / "features")
    assert (one.video.path[-3:], one.audio.path[-3:]) == ("mp4", "wav")


def test_meld_saved_again_by_pandas_finds_its_clips(tmp_path):
    (tmp_path / "in/train_splits").mkdir(parents=True)
    (tmp_path / "in/train_splits/dia0_utt1.mp4").write_bytes(b"film")
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
    (tmp_path / "in/train_sent_emo.csv").write_text(f"{header}1,Hi,Joey,joy,positive,0.0,1.0\n")
    [one] = prepare_release("meld", tmp_path / "in", tmp_path / "features")
    assert (one.id, one.dialog, one.video.path) == ("train_dia0_utt1", "train_dia0", "train_splits/dia0_utt1.mp4")
    (tmp_path / "in/train_sent_emo.csv").write_text(f"{header}1,Hi,Joey,joy,positive,x7,1\n")
    with pytest.raises(CorpusError, match=r"None of the 1 clips .* such as train_diax7_utt1"):
        prepare_release("meld", tmp_path / "in", tmp_path / "features")


def test_folders_of_parts_are_no_classes(tmp_path, log):
    for part in ("train", "Validation", "test-clean"):
        tone(tmp_path / f"set/{part}/0.wav", 0.2)
    with pytest.raises(CorpusError, match=r"3 files of sound lie in no folder of a class .*parts, no classes"):
        prepare_dataset(str(tmp_path / "set"), tmp_path / "features", "mine")
    tone(tmp_path / "set/happy/train/1.wav", 0.2)
    [one] = prepare_dataset(str(tmp_path / "set"), tmp_path / "features", "mine")
    assert (one.label, one.split) == ("happy", "train")
    assert "are left out" in log.text


def saved_set(tmp_path, labels, ids=None, parts=None):
    sound = {"bytes": tone(tmp_path / "x.wav", 0.2).read_bytes(), "path": "x.wav"}
    audio_type = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    kinds = {"audio": audio_type, "label": datasets.ClassLabel(names=["calm", "angry", "none"])}

    def make_part(part_labels):
        columns = {"audio": [sound] * len(part_labels), "label": part_labels}
        if ids is not None:
            columns["id"] = ids[: len(part_labels)]
        features = datasets.Features(kinds | ({"id": datasets.Value("int64")} if ids is not None else {}))
        part = datasets.Dataset.from_dict(columns, features=features)
        return part.cast_column("audio", datasets.Audio(decode=False))

    whole = make_part(labels) if parts is None else datasets.DatasetDict({part: make_part(labels) for part in parts})
    whole.save_to_disk(tmp_path / "set")
    return str(tmp_path / "set")


def test_a_class_label_of_minus_one_is_no_class(tmp_path, log):
    corpus = prepare_dataset(saved_set(tmp_path, [0, 1, -1, 1, None, 2]), tmp_path / "features", "mine")
    assert [utterance.label for utterance in corpus] == ["calm", "angry", "angry", "none"]
    assert "2 utterances have no class in the column label, and are left out: all-000002, all-000004." in log.text


def test_a_set_without_any_class_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="the class of every utterance is unknown"):
        prepare_dataset(saved_set(tmp_path, [-1, -1]), tmp_path / "features", "mine")


def test_ids_that_each_part_counts_anew_have_the_part_before_them(tmp_path):
    source = saved_set(tmp_path, [0, 1], ids=[0, 1], parts=["train", "test"])
    corpus = prepare_dataset(source, tmp_path / "features", "mine")
    assert corpus.ids == ["train-0", "train-1", "test-0", "test-1"]


def test_ids_that_come_twice_in_a_part_can_be_numbered(tmp_path):
    source = saved_set(tmp_path, [0, 1], ids=[7, 7])
    with pytest.raises(CorpusError, match=r"ids twice in the column id: 7; .* --column id="):
        prepare_dataset(source, tmp_path / "features", "mine")
    corpus = prepare_dataset(source, tmp_path / "features", "mine", columns={"id": ""})
    assert corpus.ids == ["all-000000", "all-000001"]


# -- features of others -----------------------------------------------------------------------------------------------


def npy(tmp_path, count=6):
    (tmp_path / "npy").mkdir()
    for number in range(count):
        np.save(tmp_path / f"npy/u{number}.npy", np.full((2, 3), number + 1.0, np.float32))
    return [tmp_path / "npy"]


def test_scores_in_a_table_become_the_classes_that_are_asked_for(tmp_path, log):
    files = npy(tmp_path)
    scores = ["-2.4", "0.0", "0.6", "3", "0", "-1"]
    (tmp_path / "t.csv").write_text("id,label\n" + "".join(f"u{n},{score}\n" for n, score in enumerate(scores)))
    import_features(files, "speech", tmp_path / "f", "x", labels=tmp_path / "t.csv", classes="sign")
    corpus = load_corpus(tmp_path / "f", "x")
    assert corpus.classes == ("negative", "neutral", "positive")
    assert corpus.column("label") == [0, 1, 2, 2, 1, 0]
    assert corpus.column("source_label") == ["-2.4", "0.0", "0.6", "3", "0", "-1"]
    import_features(files, "speech", tmp_path / "f", "two", labels=tmp_path / "t.csv", classes="two")
    two = load_corpus(tmp_path / "f", "two")
    assert two.column("label") == [0, None, 1, 1, None, 0]
    assert two.values(two.target("sentiment")).ravel().tolist() == [-2.4, 0, 0.6, 3, 0, -1]
    assert "2 utterances have a score that is of no class" in log.text
    with pytest.raises(
        CorpusError, match=r"has numbers for labels .*: name their column score_sentiment, .* say with --classes"
    ):
        import_features(files, "speech", tmp_path / "f", "y", labels=tmp_path / "t.csv")
    (tmp_path / "w.csv").write_text("id,label\n" + "".join(f"u{n},sad\n" for n in range(6)))
    with pytest.raises(CorpusError, match=r"labels that are no scores \(sad\)"):
        import_features(files, "speech", tmp_path / "f", "z", labels=tmp_path / "w.csv", classes="sign")


def pickled(tmp_path, **changes):
    part = {
        "id": ["a", "b"],
        "audio": np.array([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]]),
        "raw_text": np.array([b"so happy", "caf\u00e9".encode()], dtype=object),
        "annotations": np.array([b"Positive", b"Negative"]),
        "regression_labels": np.array([1.5, -2.0]),
        **changes,
    }
    (tmp_path / "f.pkl").write_bytes(pickle.dumps({"Training": part, b"test": {**part, "id": ["c", "d"]}}))
    return [tmp_path / "f.pkl"]


def test_bytes_in_a_pickle_are_text_and_its_parts_have_their_usual_names(tmp_path):
    import_features(pickled(tmp_path), "speech", tmp_path / "f", "x")
    corpus = load_corpus(tmp_path / "f", "x")
    assert corpus.column("text") == ["so happy", "caf\u00e9"] * 2
    assert corpus.classes == ("negative", "neutral", "positive")
    assert corpus.column("split") == ["train", "train", "test", "test"]


def test_zeros_alone_are_no_features_in_any_format(tmp_path, log):
    store = open_store(import_features(pickled(tmp_path), "speech", tmp_path / "f", "x"))
    assert store.status.tolist() == [EXTRACTED, MISSING] * 2
    times = np.array([[0.0, 1.0], [1.0, 2.0]])
    csd(tmp_path / "v.csd", {"good": (np.ones((2, 3)), times), "black": (np.zeros((2, 3)), times)})
    csd(tmp_path / "l.csd", {name: (np.array([[1.0], [-1.0]]), times) for name in ("good", "black")})
    store = open_store(import_features([tmp_path / "v.csd"], "visual", tmp_path / "f", "y", labels=tmp_path / "l.csd"))
    by_id = dict(zip(store.ids, store.status.tolist(), strict=True))
    assert by_id == {"good[0]": EXTRACTED, "good[1]": EXTRACTED, "black[0]": MISSING, "black[1]": MISSING}
    assert "Zeros alone are no features, so these have none: b, d." in log.text
    assert "Zeros alone are no features, so these have none: black[0], black[1]." in log.text


def test_a_value_too_large_for_a_float_is_told_as_infinite(tmp_path):
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy/a.npy", np.array([[1e300, 1.0]]))
    np.save(tmp_path / "npy/b.npy", np.array([[1.0, 1.0]]))
    (tmp_path / "t.csv").write_text("id,label\na,x\nb,y\n")
    with pytest.raises(StoreError, match="1 utterances have values that are not finite numbers: a"):
        import_features([tmp_path / "npy"], "speech", tmp_path / "f", "x", labels=tmp_path / "t.csv")


# -- folds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "dev", "test"),
    [
        ("Train", "Validation", "Test"),
        ("training", "development", "evaluation"),
        ("TRN", "val", "tst"),
        ("train", "devel", "eval"),
        ("train_set", "dev set", "test-set"),
    ],
)
def test_usual_spellings_of_parts_make_one_fold(tmp_path, train, dev, test):
    rows = [Utterance(f"u{n}", "xy"[n % 2], split=(train, train, dev, test)[n // 2]) for n in range(8)]
    corpus = corpus_of(tmp_path, rows)
    [fold] = folds(corpus, "split")
    assert [fold.train.tolist(), fold.development.tolist(), fold.test.tolist()] == [[0, 1, 2, 3], [4, 5], [6, 7]]
    assert corpus.column("split")[0] == train  # the manifest keeps its words


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("Train", "Test1", "Test2"), "has the values Test1, Test2, Train: it needs train and test"),
        (("train", "dev", "dev"), "it needs train and test"),
        (("train", "eval", "test"), "'eval' and 'test', each a usual name of the test part"),
    ],
)
def test_parts_that_are_not_understood_are_refused(tmp_path, names, message):
    rows = [Utterance(f"u{n}", "xy"[n % 2], split=names[n % 3]) for n in range(9)]
    with pytest.raises(RunError, match=message):
        folds(corpus_of(tmp_path, rows), "split")
    assert [part_of(name) for name in ("Ses01", "1", "fold")] == [None] * 3


def test_a_class_on_one_side_of_a_fold_is_named(tmp_path):
    rows = [Utterance(f"u{n:02d}", ("sad", "calm")[n % 2], speaker=f"s{n // 4}") for n in range(12)]
    corpus = corpus_of(tmp_path, [*rows, Utterance("u99", "fear", speaker="s0")])
    [sentence] = one_sided_classes(corpus, corpus.target(), folds(corpus, "speaker"))
    assert sentence.startswith(
        "The class fear has nothing to learn it from in fold 1 (s0) and isn't tested in fold 2 (s1), 3 (s2):"
    )
    assert one_sided_classes(corpus_of(tmp_path, rows, "even"), corpus.target(), []) == []


def test_training_on_one_class_is_refused(tmp_path):
    rows = [Utterance(f"u{n}", ("sad", "calm")[n // 4], speaker=f"s{n // 4}") for n in range(8)]
    corpus = corpus_of(tmp_path, rows)
    fold = folds(corpus, "speaker")[0]
    with pytest.raises(RunError, match=r"Fold 1 \(s0\) of .* has the class calm alone to train on"):
        refuse_constant(corpus, corpus.target(), fold, fold.train)


@pytest.mark.parametrize("letters", ["我很高兴今天去学校看见朋友", "あいうえおかきくけこさしす", "กขคงจฉชซฌญฎฏฐ"])
def test_texts_without_spaces_are_audited_letter_by_letter(tmp_path, letters):
    rng = np.random.default_rng(0)
    # the first letter gives the class away; no two texts are the same
    rows = [
        Utterance(
            f"u{n:03d}",
            ("x", "y")[n % 2],
            speaker=f"s{n % 4 // 2}",
            text=letters[n % 2] + "".join(rng.choice(list(letters[2:]), 12)),
        )
        for n in range(1200)
    ]
    [result] = audit(corpus_of(tmp_path, rows), ["speaker"])
    assert result.controls["words"].pooled["UA"] == 1.0


def test_words_that_never_come_twice_are_audited(tmp_path):
    rows = [Utterance(f"u{n:04d}", ("x", "y")[n % 2], speaker=f"s{n % 4 // 2}", text=f"w{n}") for n in range(1200)]
    [result] = audit(corpus_of(tmp_path, rows), ["speaker"])
    assert 0 <= result.controls["words"].pooled["UA"] <= 1


# -- terminal ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii", "utf-16"])
def test_a_terminal_of_any_encoding_gets_what_it_can_show(tmp_path, encoding):
    write_corpus(tmp_path, "mine", [Utterance("a", "难过"), Utterance("b", "高兴")], root=tmp_path)
    command = f"from gia_mic.cli import main; main(['audit', '--corpus', 'mine', '--features', {str(tmp_path)!r}])"
    process = subprocess.run(
        [sys.executable, "-c", command],
        capture_output=True,
        env={"PYTHONIOENCODING": encoding, "PATH": ""},
        check=False,
    )
    assert process.returncode == 0, process.stderr.decode(encoding, "replace")
    assert "mine" in process.stdout.decode(encoding, "replace")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    "words",
    [
        ("listen", "run", "a.wav", "--every"),
        ("listen", "run", "a.wav", "--window"),
        ("fuse-train", "--learning-rate"),
        ("fuse-train", "--memory"),
        ("import", ".", "--modality", "speech", "--corpus", "x", "--frame-rate"),
        ("prepare", "demo", "--cue"),
    ],
)
def test_numbers_that_are_none_are_refused_by_the_options_name(mer, words, value):
    answer = mer(*words, value)
    assert answer.exit_code == 2, answer.output
    assert f"'{words[-1]}'" in answer.output
