import random

import numpy as np
import pytest
from made_features import make_corpus, utterances

from gia_mic.extract.errors import RunError
from gia_mic.fuse.split import choose, development, folds, inner_fold


def members(corpus, rows):
    ids = corpus.ids
    return [ids[row] for row in rows]


def test_session_folds_hold_every_utterance_once_and_no_speaker_on_both_sides(tmp_path):
    corpus = make_corpus(tmp_path)
    speakers = np.array(corpus.column("speaker"))
    all_folds = folds(corpus)
    assert [fold.value for fold in all_folds] == ["Ses8", "Ses9", "Ses10", "Ses11", "Ses12"]
    assert [fold.number for fold in all_folds] == [1, 2, 3, 4, 5]
    assert sorted(np.concatenate([fold.test for fold in all_folds])) == list(range(80))
    for fold in all_folds:
        assert sorted([*fold.train, *fold.test]) == list(range(80))
        assert not set(speakers[fold.train]) & set(speakers[fold.test])


@pytest.mark.parametrize("protocol", ["session", "speaker", "scenario"])
def test_the_order_of_rows_does_not_matter(tmp_path, protocol):
    rows = utterances()
    shuffled = random.Random(0).sample(rows, len(rows))
    one, other = make_corpus(tmp_path, rows, "one"), make_corpus(tmp_path, shuffled, "other")
    for fold, again in zip(folds(one, protocol), folds(other, protocol), strict=True):
        assert members(one, fold.train) == members(other, again.train)
        assert members(one, fold.test) == members(other, again.test)
        assert members(one, development(one, fold)[1]) == members(other, development(other, again)[1])


def test_a_scenario_is_never_on_both_sides_of_a_scenario_fold(tmp_path):
    corpus = make_corpus(tmp_path)
    scenarios = np.array(corpus.column("scenario"))
    for fold in folds(corpus, "scenario"):
        assert not set(scenarios[fold.train]) & set(scenarios[fold.test])


@pytest.mark.parametrize(
    ("protocol", "same", "whole"),
    [
        ("session", {}, "session"),
        ("session", {"dialog": None, "speaker": None}, "session"),
        ("speaker", {}, "speaker"),
        ("speaker", {"dialog": None, "session": None}, "speaker"),
        ("scenario", {}, "dialog"),  # two scenarios are left to train on, and each session is on both sides
        ("scenario", {"dialog": None}, "speaker"),
    ],
)
def test_development_is_apart_as_the_fold_is(tmp_path, protocol, same, whole):
    corpus = make_corpus(tmp_path, utterances(**same))
    values = np.array(corpus.column(whole))
    for fold in folds(corpus, protocol):
        train_rows, dev_rows = development(corpus, fold)
        assert sorted([*train_rows, *dev_rows]) == sorted(fold.train)
        assert not set(values[train_rows]) & set(values[dev_rows])
        assert 0.1 <= len(dev_rows) / len(fold.train) <= 0.3


def test_development_shares_speakers_only_where_the_fold_does(tmp_path):
    parts = {row.dialog: "test" if number % 3 == 0 else "train" for number, row in enumerate(utterances(24))}
    rows = [
        type(row)(id=row.id, label=row.label, speaker="one", dialog=row.dialog, split=parts[row.dialog])
        for row in utterances()
        if row.dialog in parts
    ]
    corpus = make_corpus(tmp_path, rows)
    [fold] = folds(corpus, "split", allow_shared=True)
    train_rows, dev_rows = development(corpus, fold)
    dialogs = np.array(corpus.column("dialog"))
    assert len(dev_rows)
    assert not set(dialogs[train_rows]) & set(dialogs[dev_rows])


def test_a_fold_inside_a_fold_is_tested_on_its_development_part(tmp_path):
    corpus = make_corpus(tmp_path)
    for fold in folds(corpus):
        train_rows, dev_rows = development(corpus, fold)
        inner = inner_fold(corpus, fold)
        assert (inner.number, inner.value) == (fold.number, fold.value)
        assert (inner.train.tolist(), inner.test.tolist()) == (train_rows.tolist(), dev_rows.tolist())
        assert not set(inner.train) & set(inner.test)
        assert not {*inner.train, *inner.test} & set(fold.test)


def split_rows():
    part = {"sp0": "test", "sp1": "test", "sp2": "dev"}
    rows = utterances()
    return [
        type(row)(id=row.id, label=row.label, speaker=row.speaker, split=part.get(row.speaker, "train")) for row in rows
    ]


def test_a_split_with_test_is_one_fold_and_dev_is_set_apart(tmp_path):
    corpus = make_corpus(tmp_path, split_rows())
    (fold,) = folds(corpus, "split")
    splits = np.array(corpus.column("split"))
    assert set(splits[fold.train]) == {"train"}
    assert set(splits[fold.test]) == {"test"}
    assert set(splits[development(corpus, fold)[1]]) == {"dev"}


def test_a_split_without_test_gives_a_fold_for_each_value(tmp_path):
    rows = [type(row)(id=row.id, label=row.label, split=f"part{number % 3}") for number, row in enumerate(utterances())]
    assert [fold.value for fold in folds(make_corpus(tmp_path, rows), "split")] == ["part0", "part1", "part2"]


def test_shared_speakers_are_refused_unless_allowed(tmp_path):
    rows = [type(row)(id=row.id, label=row.label, speaker="one", session=row.session) for row in utterances()]
    corpus = make_corpus(tmp_path, rows)
    with pytest.raises(RunError, match="has the speakers one in training and test"):
        folds(corpus)
    assert len(folds(corpus, allow_shared=True)) == 5


@pytest.mark.parametrize(
    ("same", "protocol", "message"),
    [
        ({"session": None}, "session", "has no sessions, so there are no folds by session: choose --protocol speaker"),
        ({"speaker": "one"}, "speaker", "has the one speaker 'one'"),
        ({}, "weekday", "There is no protocol 'weekday'"),
        ({"session": None, "speaker": None, "scenario": None}, "session", "fill in the column session of its table"),
    ],
)
def test_a_protocol_that_gives_no_folds_is_refused(tmp_path, same, protocol, message):
    with pytest.raises(RunError, match=message):
        folds(make_corpus(tmp_path, utterances(**same)), protocol)


def test_an_unfilled_row_is_counted(tmp_path):
    rows = utterances()
    rows[3] = type(rows[3])(id="u003", label="sad")
    with pytest.raises(RunError, match="1 of 80 utterances without a session"):
        folds(make_corpus(tmp_path, rows))


def test_a_strange_value_beside_test_is_refused(tmp_path):
    rows = split_rows()
    rows[0] = type(rows[0])(id="u000", label="ang", split="holdout")
    with pytest.raises(RunError, match="has the values dev, holdout, test, train"):
        folds(make_corpus(tmp_path, rows), "split")


def test_an_unknown_fold_names_those_there_are(tmp_path):
    all_folds = folds(make_corpus(tmp_path))
    assert choose(all_folds, None) == all_folds
    assert choose(all_folds, 3)[0].value == "Ses10"
    with pytest.raises(RunError, match=r"There is no fold 6: choose one of 1 \(Ses8\), .* 5 \(Ses12\), or all"):
        choose(all_folds, 6)


def test_nothing_to_choose_an_epoch_on_is_refused(tmp_path):
    corpus = make_corpus(tmp_path, utterances(dialog=None, speaker=None, session=None))
    with pytest.raises(RunError, match="has no two dialogs or speakers in its training part"):
        development(corpus, folds(corpus, "scenario")[0])
