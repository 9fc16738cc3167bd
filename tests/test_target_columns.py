"""Targets in a user's own table: labels, scores and votes beside or instead of a label."""

import json

import datasets
import numpy as np
import pandas as pd
import pytest
from made_media import tone

from gia_mic.extract.corpora.hf import prepare_dataset
from gia_mic.extract.corpora.manifest import prepare_table
from gia_mic.extract.errors import CorpusError
from gia_mic.extract.targets import Target

pytestmark = pytest.mark.usefixtures("log")

NAN = np.nan
CSV = """id,label,labels,score_valence,Score_arousal,votes_sad,votes_happy,text
a,happy,happy|surprised,"4,5",1,,3,yes
b,sad,-,1.5,,2,1,no
c,sad,,,,,,maybe
d,,happy; sad,2,5,,,so
"""
NESTED = [
    {
        "label": "happy",
        "labels": ["happy", "surprised"],
        "scores": {"valence": 4.5, "arousal": 1},
        "votes": {"happy": 3},
    },
    {"label": "sad", "labels": [], "scores": {"valence": 1.5, "arousal": NAN}, "votes": {"sad": 2, "happy": 1}},
    {"label": "sad", "labels": None, "scores": {"valence": None}, "votes": None},
    {"label": None, "labels": ["happy", "sad"], "scores": {"valence": 2, "arousal": 5}, "votes": {}},
]


def prepared(tmp_path, content, name="t.csv", **options):
    (tmp_path / name).write_text(content, encoding="utf-8")
    return prepare_table(tmp_path / name, tmp_path / "features", "mine", **options)


def kinds_of_table(tmp_path):
    rows = [{"id": "abcd"[n], "text": "yes", **row} for n, row in enumerate(NESTED)]
    (tmp_path / "t.csv").write_text(CSV)
    (tmp_path / "t.tsv").write_text(CSV.replace('"4,5"', "4.5").replace(",", "\t"))
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    return [tmp_path / f"t.{suffix}" for suffix in ("csv", "tsv", "jsonl", "parquet")]


def test_every_kind_of_table_gives_the_same_targets(tmp_path):
    for table in kinds_of_table(tmp_path):
        corpus = prepare_table(
            table, tmp_path / "features", "mine", ranges={"valence": (1, 5), "arousal": (1, 5)}, labels=["sad", "happy"]
        )
        assert corpus.targets == {
            "label": Target("label", ("sad", "happy")),
            "labels": Target("labels", ("happy", "sad", "surprised")),
            "valence": Target("scores", ("valence",), ((1, 5),)),
            "arousal": Target("scores", ("arousal",), ((1, 5),)),
            "votes": Target("votes", ("sad", "happy")),
        }
        expected = {
            "label": [[0, 1], [1, 0], [1, 0], [NAN, NAN]],
            "labels": [[1, 0, 1], [0, 0, 0], [NAN, NAN, NAN], [1, 1, 0]],
            "valence,arousal": [[4.5, 1], [NAN, NAN], [NAN, NAN], [2, 5]],
            "valence": [[4.5], [1.5], [NAN], [2]],
            "votes": [[0, 1], [2 / 3, 1 / 3], [NAN, NAN], [NAN, NAN]],
        }
        for name, values in expected.items():
            np.testing.assert_array_equal(corpus.values(corpus.target(name)), values, err_msg=f"{table} {name}")


@pytest.mark.parametrize(
    ("column", "cells", "target"),
    [
        ("labels", ("happy|sad", "-"), Target("labels", ("happy", "sad"))),
        ("score_valence", ("1", "2.5"), Target("scores", ("valence",), ((1, 2.5),))),
        ("votes_angry", ("1", "2"), Target("votes", ("angry",))),
    ],
)
def test_a_label_is_not_needed_beside_another_target(tmp_path, column, cells, target):
    corpus = prepared(tmp_path, f"id,text,{column}\n" + "".join(f"{cell},yes,{cell}\n" for cell in cells))
    assert corpus.targets == {target.name: target}
    assert corpus.target() == target


def test_named_labels_are_those_that_may_apply(tmp_path):
    corpus = prepared(tmp_path, "id,text,labels\na,yes,sad\nb,no,none\n", labels=["sad", "none", "happy"])
    assert corpus.label_names == ("sad", "none", "happy")
    with pytest.raises(CorpusError, match=r"different names of happy: a \(\['sad'\]\)"):
        prepared(tmp_path, "id,text,labels\na,yes,sad\n", labels=["happy"])


def test_ranges_that_are_not_given_are_told(tmp_path, log):
    text = "id,text,score_valence,score_arousal\na,yes,1.25,2\nb,no,4,3\n"
    assert prepared(tmp_path, text, ranges={"arousal": (1, 5)}).score_ranges == {
        "valence": (1.25, 4),
        "arousal": (1, 5),
    }
    assert "taken from the values that occur (valence 1.25 … 4);" in log.text
    assert "such as --range valence=1,4." in log.text


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("u,yes,,6,,,", r"scores outside their range, valence in 1 … 5: u \(6.0\)"),
        ("u,yes,,inf,,,", r"scores that are no finite numbers: u \(valence 'inf'\)"),
        ("u,yes,,1e999,,,", r"scores that are no finite numbers: u \(valence '1e999'\)"),
        ("u,yes,,high,,,", r"scores that are no finite numbers: u \(valence 'high'\)"),
        ("u,yes,,,-1,2,", r"votes that aren't counts, .* of angry, sad: u "),
        ("u,yes,,,0,0,", "votes that aren't counts, at least one above 0"),
        ("u,yes,,,many,,", r"votes that are no finite numbers: u \(angry 'many'\)"),
        ("u,yes,sad|sad,,,,", r"labels that aren't different names with \| or ; between: u \('sad\|sad'\)"),
        ("u,yes,sad|-,,,,", r"labels that aren't different names with \| or ; between: u \('sad\|-'\)"),
        ('u,yes,"sad, happy",,,,', "labels that aren't different names"),
        ("u,yes,;,,,,", "labels that aren't different names"),
        ("u,yes,,,,,", "utterances without a label, labels, scores or votes: u"),
        ("u,yes,,,,,{}", r"scores that are no mapping \(or give columns such as score_NAME\)"),
    ],
)
def test_each_problem_is_named_once(tmp_path, row, problem):
    text = f"id,text,labels,score_valence,votes_angry,votes_sad,scores\na,yes,sad,1,1,1,\n{row}\n"
    with pytest.raises(CorpusError, match=problem) as caught:
        prepared(tmp_path, text, ranges={"valence": (1, 5)})
    assert "problems of" not in str(caught.value)


def test_ranges_without_scores_and_scores_without_a_range_are_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"no scores arousal, which a range is given for: it has valence\."):
        prepared(tmp_path, "id,text,score_valence\na,yes,1\nb,no,2\n", ranges={"arousal": (1, 5)})
    with pytest.raises(CorpusError, match=r"one value alone, whose range must be given .*: valence"):
        prepared(tmp_path, "id,text,score_valence\na,yes,1\nb,no,1\n")
    with pytest.raises(CorpusError, match="no name in any of the labels"):
        prepared(tmp_path, "id,text,labels\na,yes,-\n")


def test_the_command_takes_ranges(tmp_path, mer):
    (tmp_path / "t.csv").write_text("id,text,score_valence\na,yes,2\nb,no,3\n")
    words = ("prepare", "manifest", str(tmp_path / "t.csv"), "--name", "mine", "--features", str(tmp_path / "f"))
    answer = mer(*words, "--range", "valence=1,5")
    assert "valence in 1 … 5" in answer.output, answer.output
    for wrong in ("valence=5,1", "valence=1", "=1,5", "valence=a,b", "valence=1,nan", "valence=-inf,1"):
        assert "no NAME=LOW,HIGH" in mer(*words, "--range", wrong).output


def saved_set(tmp_path, kinds, **columns):
    """Save a set of the datasets library with three sounds."""
    sound = {"bytes": tone(tmp_path / "x.wav", 0.2).read_bytes(), "path": "x.wav"}
    audio_type = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"audio": audio_type, **kinds})
    table = datasets.Dataset.from_dict({"audio": [sound] * 3, **columns}, features=features)
    table.cast_column("audio", datasets.Audio(decode=False)).save_to_disk(tmp_path / "set")
    return str(tmp_path / "set")


def test_a_saved_set_of_the_datasets_library_has_targets_too(tmp_path):
    kinds = {
        "emotion": datasets.Sequence(datasets.ClassLabel(names=["calm", "angry"])),
        "score_valence": datasets.Value("float32"),
    }
    source = saved_set(tmp_path, kinds, emotion=[[1, 0], [], [0]], score_valence=[1.5, None, 4.0])
    corpus = prepare_dataset(source, tmp_path / "features", "mine", ranges={"valence": (1, 5)})
    assert [one.labels for one in corpus] == [("angry", "calm"), (), ("calm",)]
    np.testing.assert_array_equal(corpus.values(corpus.target("valence")), [[1.5], [NAN], [4]])


def test_numbers_without_names_in_a_saved_set_are_named(tmp_path):
    source = saved_set(tmp_path, {"label": datasets.Value("int64")}, label=[0, 1, 0])
    with pytest.raises(CorpusError, match=r"labels that are numbers .* --labels 0,1,2\): 0, 1;"):
        prepare_dataset(source, tmp_path / "features", "mine")
    assert prepare_dataset(source, tmp_path / "features", "mine", labels=["1", "0"]).classes == ("1", "0")
