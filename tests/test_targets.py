"""Targets: what a manifest says of an utterance that a model can be trained to predict."""

import json

import numpy as np
import pytest

from gia_mic.extract.corpus import Utterance, load_corpus, write_corpus
from gia_mic.extract.errors import CorpusError
from gia_mic.extract.targets import Target

UTTERANCES = [
    Utterance("a", "happy", labels=("happy", "surprised"), scores={"valence": 4, "arousal": 3.5}, votes={"happy": 3}),
    Utterance("b", "sad", labels=(), scores={"valence": 1.5}, votes={"sad": 2, "happy": 1}),
    Utterance("c", scores={"valence": 2, "arousal": 1}),
]


@pytest.fixture
def corpus(tmp_path):
    ranges = {"valence": (1, 5), "arousal": (1, 5)}
    return write_corpus(
        tmp_path, "mine", UTTERANCES, root=tmp_path, score_ranges=ranges, label_names=["surprised", "happy"]
    )


def test_a_corpus_has_several_targets_and_the_label_is_the_default(corpus):
    assert list(corpus.targets) == ["label", "labels", "valence", "arousal", "votes"]
    assert corpus.target() == Target("label", ("happy", "sad"))
    assert corpus.target("arousal, valence") == Target("scores", ("arousal", "valence"), ((1, 5), (1, 5)))


def test_targets_are_numbers_and_what_is_missing_is_nan(corpus):
    nan = np.nan
    expected = {
        "label": [[1, 0], [0, 1], [nan, nan]],
        "labels": [[1, 1], [0, 0], [nan, nan]],
        "votes": [[1, 0], [1 / 3, 2 / 3], [nan, nan]],
        "valence": [[4], [1.5], [2]],
        "valence,arousal": [[4, 3.5], [nan, nan], [2, 1]],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(corpus.values(corpus.target(name)), values)


def test_utterances_come_back_as_they_were_written(corpus):
    assert list(corpus) == UTTERANCES


def test_without_a_label_the_default_is_all_scores(tmp_path):
    rows = [{"id": name, "scores": {"valence": value, "arousal": 1 - value}} for name, value in (("a", 0), ("b", 1))]
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "utterances.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load_corpus(tmp_path, "bare").target() == Target("scores", ("valence", "arousal"), ((0, 1), (0, 1)))


@pytest.mark.parametrize("name", ["dominance", "valence,label", "", "scores"])
def test_a_target_that_the_corpus_lacks_is_refused_with_those_it_has(corpus, name):
    with pytest.raises(CorpusError, match=r"no target .*: choose label, labels, valence, arousal, votes, or several"):
        corpus.target(name)


def test_a_score_that_is_named_twice_is_refused(corpus):
    with pytest.raises(CorpusError, match="'valence,valence' names valence twice: name each score once"):
        corpus.target("valence,valence")


@pytest.mark.parametrize(
    ("utterance", "message"),
    [
        (Utterance("u", labels=("bored",)), "labels that aren't a list of different names of happy"),
        (Utterance("u", labels=("happy", "happy")), "labels that aren't a list of different names of happy"),
        (Utterance("u", scores={"valence": 5.5}), r"outside their range, valence in 1 … 5: u \(5.5\)"),
        (Utterance("u", scores={"valence": float("nan")}), r"outside their range, valence in 1 … 5: u \(nan\)"),
        (Utterance("u", scores={"mood": 3}), "aren't numbers by name, of valence"),
        (Utterance("u", votes={"happy": 0}), "votes that aren't counts, at least one above 0, of happy, sad"),
        (Utterance("u", votes={"bored": 1}), "votes that aren't counts"),
    ],
)
def test_targets_that_contradict_their_names_are_refused(tmp_path, utterance, message):
    names = {"classes": ["happy", "sad"], "label_names": ["happy"], "score_ranges": {"valence": (1, 5)}}
    with pytest.raises(CorpusError, match=message):
        write_corpus(tmp_path, "bad", [utterance], root=tmp_path, **names)


@pytest.mark.parametrize("ranges", [{"valence": (5, 1)}, {"valence": (1,)}, {"label": (0, 1)}, {"a,b": (0, 1)}])
def test_ranges_that_make_no_sense_are_refused(tmp_path, ranges):
    with pytest.raises(CorpusError, match=r"range|other names"):
        write_corpus(tmp_path, "bad", [Utterance("u", "happy")], root=tmp_path, score_ranges=ranges)
