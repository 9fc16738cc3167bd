import json
import time

import pytest

from gia_mic.extract.corpus import Clip, Utterance, find_corpus, load_corpus, write_corpus
from gia_mic.extract.errors import CorpusError

TWO = [
    Utterance("u1", "sad", speaker="A", text="Oh no.", audio=Clip("a.wav", 0.5, 1.5)),
    Utterance("u2", "happy", speaker="B", video=Clip("b.mp4", crop=(0.0, 0.0, 0.5, 1.0)), source_label="exc"),
]


def test_what_was_written_is_read(tmp_path):
    written = write_corpus(tmp_path, "two", TWO, root=tmp_path, about={"licence": "none"})
    corpus = load_corpus(tmp_path, "two")
    assert list(corpus) == list(written) == TWO
    assert corpus.classes == ("happy", "sad")
    assert corpus.column("label") == [1, 0]
    assert corpus.about == {"licence": "none"}
    assert corpus.root == tmp_path
    assert corpus.describe().startswith("two: 2 utterances (happy 1, sad 1).\n2 speakers, 1 with audio, 1 with text")


def test_a_manifest_made_by_hand_needs_no_other_file(tmp_path):
    (tmp_path / "mine").mkdir()
    lines = [{"id": "u1", "label": "b", "audio": {"path": "x/a.wav"}}, {"id": "u2", "label": "a"}]
    (tmp_path / "mine" / "utterances.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    corpus = find_corpus(tmp_path)
    assert corpus.classes == ("a", "b")
    assert corpus.path(next(iter(corpus)).audio) == tmp_path / "mine" / "x/a.wav"


def test_the_digest_changes_with_any_value(tmp_path):
    first = write_corpus(tmp_path, "two", TWO, root=tmp_path).digest
    assert write_corpus(tmp_path, "two", TWO, root=tmp_path).digest == first
    assert write_corpus(tmp_path, "two", TWO[::-1], root=tmp_path).digest != first


def test_a_folder_inside_can_be_moved_with_its_corpus(tmp_path):
    write_corpus(tmp_path / "one", "two", TWO, root=tmp_path / "one" / "two" / "media")
    (tmp_path / "one").rename(tmp_path / "other")
    assert load_corpus(tmp_path / "other", "two").root == tmp_path / "other" / "two" / "media"


@pytest.mark.parametrize("path", ["../a.wav", "/etc/passwd", "x/../../a.wav", "link/passwd"])
def test_no_path_leads_out_of_the_root(tmp_path, path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to("/etc")
    corpus = write_corpus(tmp_path, "two", TWO, root=tmp_path / "root")
    with pytest.raises(CorpusError, match="lies outside the corpus root"):
        corpus.path(Clip(path))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"id": "u", "label": "a"}, {"id": "u", "label": "a"}], "duplicate ids: u; every utterance needs its own"),
        ([{"id": "u", "label": None}], "utterances without a label, labels, scores or votes: u"),
        ([{"id": "u", "label": float("nan")}], r"none of nan: u \(nan\)"),
        ([{"id": "u", "label": 1.5}], r"numbers on a scale are scores.*: u \(1.5\)"),
        (
            [{"id": "u", "label": "1.5"}, {"id": "v", "label": "-2"}],
            r"labels that are numbers \(-2, 1.5\): .* are scores",
        ),
        ([{"id": "u"}], "utterances without a label, labels, scores or votes: u"),
        ([{"label": "a"}], "utterance 1 has no id"),
        ([{"id": 7, "label": "a"}], "utterance 1 has no id"),
        ([{"id": "u", "label": "a", "colour": "red"}], "columns that mean nothing here: colour"),
        ([{"id": "u", "label": "a", "audio": {"path": "a", "start_s": "soon"}}], "value of the wrong type"),
        ([], "has no utterance"),
    ],
)
def test_a_manifest_that_would_give_wrong_numbers_is_refused(tmp_path, lines, message):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "utterances.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(CorpusError, match=message):
        load_corpus(tmp_path, "bad")


def test_a_line_that_is_no_json_object_is_named(tmp_path):
    (tmp_path / "bad").mkdir()
    manifest = tmp_path / "bad" / "utterances.jsonl"
    manifest.write_text('{"id": "u", "label": "a"}\n{"id": \n')
    with pytest.raises(CorpusError, match="line 2: not JSON"):
        load_corpus(tmp_path, "bad")
    manifest.write_text("[1]\n")
    with pytest.raises(CorpusError, match="line 1: expected one JSON object"):
        load_corpus(tmp_path, "bad")


def test_settings_of_another_format_are_refused(tmp_path):
    write_corpus(tmp_path, "two", TWO, root=tmp_path)
    settings = tmp_path / "two" / "corpus.json"
    settings.write_text('{"format": 99}')
    with pytest.raises(CorpusError, match="not of format 1"):
        load_corpus(tmp_path, "two")
    settings.write_text("{")
    with pytest.raises(CorpusError, match="not JSON"):
        load_corpus(tmp_path, "two")


def test_which_corpus_is_meant(tmp_path):
    with pytest.raises(CorpusError, match="No corpus is prepared in"):
        find_corpus(tmp_path)
    write_corpus(tmp_path, "one", TWO, root=tmp_path)
    assert find_corpus(tmp_path).name == "one"
    write_corpus(tmp_path, "two", TWO, root=tmp_path)
    with pytest.raises(CorpusError, match=r"holds 2 corpora \(one, two\): choose one with --corpus"):
        find_corpus(tmp_path)
    assert find_corpus(tmp_path, "two").name == "two"
    with pytest.raises(CorpusError, match=r"There is no corpus 'three'.*prepared are one, two"):
        find_corpus(tmp_path, "three")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b"])
def test_a_name_that_can_be_no_folder_is_refused(tmp_path, name):
    with pytest.raises(CorpusError, match="can't be a name"):
        write_corpus(tmp_path, name, TWO, root=tmp_path)


def test_a_hundred_thousand_lines_are_no_trouble(tmp_path):
    many = [
        Utterance(f"u{n:06d}", "ab"[n % 2], speaker=f"s{n % 99}", text="Yes.", audio=Clip("a.wav", 0.0, 1.0))
        for n in range(100_000)
    ]
    began = time.perf_counter()
    write_corpus(tmp_path, "many", many, root=tmp_path)
    corpus = load_corpus(tmp_path, "many")
    assert len(corpus) == 100_000
    assert sum(corpus.column("label")) == 50_000
    assert sum(1 for utterance in corpus if utterance.audio is not None) == 100_000
    assert time.perf_counter() - began < 60


def test_a_manifest_of_before_there_were_recognisers_is_read(tmp_path):
    write_corpus(tmp_path, "two", TWO, root=tmp_path)
    assert "text_source" not in (tmp_path / "two/utterances.jsonl").read_text()
    assert [u.text_source for u in load_corpus(tmp_path, "two")] == [None, None]
    assert load_corpus(tmp_path, "two").recognised() == {}
