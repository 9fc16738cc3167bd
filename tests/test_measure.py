"""Scores equal cases worked by hand and scikit-learn's, and don't depend on what they shouldn't."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from gia_mic.extract.errors import RunError
from gia_mic.fuse import measure

CLASSES = ["angry", "happy", "neutral", "sad"]
C = len(CLASSES)

# 10 utterances, worked by hand:  angry 3 of 4 found, happy 1 of 3, neutral 2 of 2, sad 0 of 1
TRUE = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
PREDICTED = [0, 0, 0, 1, 1, 2, 2, 2, 2, 0]

labels = st.integers(1, 60).flatmap(
    lambda B: st.tuples(*[st.lists(st.integers(0, C - 1), min_size=B, max_size=B) for _ in range(2)])
)


def test_a_case_worked_by_hand():
    assert measure.wa(TRUE, PREDICTED) == pytest.approx(6 / 10)
    assert measure.ua(TRUE, PREDICTED, C) == pytest.approx((3 / 4 + 1 / 3 + 2 / 2 + 0 / 1) / 4)
    assert measure.recalls(TRUE, PREDICTED, C) == pytest.approx([3 / 4, 1 / 3, 1, 0])
    assert measure.confusion(TRUE, PREDICTED, C).tolist() == [[3, 1, 0, 0], [0, 1, 2, 0], [0, 0, 2, 0], [1, 0, 0, 0]]
    f1 = [2 * 3 / (4 + 4), 2 * 1 / (3 + 2), 2 * 2 / (2 + 4), 0]
    assert measure.macro_f1(TRUE, PREDICTED, C) == pytest.approx(sum(f1) / 4)
    assert measure.weighted_f1(TRUE, PREDICTED, C) == pytest.approx((4 * f1[0] + 3 * f1[1] + 2 * f1[2]) / 10)


def test_the_accuracies_are_not_swapped():
    """Always answering the larger class is right nine times in ten, and at chance by class."""
    true, predicted = [0] * 9 + [1], [0] * 10
    assert measure.wa(true, predicted) == pytest.approx(0.9)
    assert measure.ua(true, predicted, 2) == pytest.approx(0.5)


def test_a_class_that_never_occurs_has_no_recall_and_no_part_in_ua():
    true, predicted = [0, 0, 1], [0, 3, 1]
    recalls = measure.recalls(true, predicted, C)
    assert recalls[:2] == pytest.approx([0.5, 1])
    assert np.isnan(recalls[2:]).all()
    assert measure.ua(true, predicted, C) == pytest.approx(0.75)


def test_scores_are_ready_for_json():
    scores = measure.scores([0, 0, 1], [0, 3, 1], CLASSES)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert scores["recall"] == {"angry": 0.5, "happy": 1.0, "neutral": None, "sad": None}
    assert scores["confusion"] == [[1, 0, 0, 1], [0, 1, 0, 0], [0] * 4, [0] * 4]
    assert (scores["WA"], scores["UA"]) == (pytest.approx(2 / 3), 0.75)


@given(labels)
def test_scores_equal_those_of_scikit_learn(pair):
    true, predicted = pair
    scores = measure.scores(true, predicted, CLASSES)
    occur = sorted(set(true))
    assert scores["WA"] == pytest.approx(metrics.accuracy_score(true, predicted))
    assert scores["UA"] == pytest.approx(
        metrics.recall_score(true, predicted, labels=occur, average="macro", zero_division=0)
    )
    assert scores["confusion"] == metrics.confusion_matrix(true, predicted, labels=range(C)).tolist()
    assert scores["macro_F1"] == pytest.approx(metrics.f1_score(true, predicted, average="macro", zero_division=0))
    assert scores["weighted_F1"] == pytest.approx(
        metrics.f1_score(true, predicted, average="weighted", zero_division=0)
    )
    assert scores["WA"] == measure.wa(true, predicted)
    assert scores["UA"] == measure.ua(true, predicted, C)
    assert scores["macro_F1"] == measure.macro_f1(true, predicted, C)
    assert scores["weighted_F1"] == measure.weighted_f1(true, predicted, C)


@given(labels, st.randoms(use_true_random=False))
def test_the_order_of_utterances_changes_nothing(pair, random):
    shuffled = list(zip(*pair, strict=True))
    random.shuffle(shuffled)
    true, predicted = zip(*shuffled, strict=True)
    assert measure.scores(true, predicted, CLASSES) == measure.scores(*pair, CLASSES)


@given(labels, st.permutations(range(C)))
def test_other_numbers_for_the_classes_change_no_score(pair, order):
    renamed = [[order[label] for label in side] for side in pair]
    before, after = measure.scores(*pair, CLASSES), measure.scores(*renamed, CLASSES)
    for name in ("WA", "UA", "macro_F1", "weighted_F1"):
        assert after[name] == pytest.approx(before[name])
    for old, new in enumerate(order):
        assert after["recall"][CLASSES[new]] == before["recall"][CLASSES[old]]
        for other, new_other in enumerate(order):
            assert after["confusion"][new][new_other] == before["confusion"][old][other]


@given(labels, st.integers(2, 4))
def test_every_utterance_several_times_changes_no_score(pair, times):
    before = measure.scores(*pair, CLASSES)
    after = measure.scores(*[side * times for side in pair], CLASSES)
    for name in ("WA", "UA", "macro_F1", "weighted_F1"):
        assert after[name] == pytest.approx(before[name])
    assert np.array_equal(after["confusion"], times * np.array(before["confusion"]))


@given(labels)
def test_scores_stay_in_range_and_the_confusion_counts_every_utterance(pair):
    scores = measure.scores(*pair, CLASSES)
    for name in ("WA", "UA", "macro_F1", "weighted_F1"):
        assert 0 <= scores[name] <= 1
        assert math.isfinite(scores[name])
    assert np.sum(scores["confusion"]) == len(pair[0])


def test_with_equally_many_utterances_of_each_class_both_accuracies_agree():
    generator = np.random.default_rng(0)
    true = np.repeat(np.arange(C), 25)
    predicted = generator.integers(0, C, len(true))
    assert measure.ua(true, predicted, C) == pytest.approx(measure.wa(true, predicted))


@given(labels, labels)
def test_scores_of_a_confusion_matrix_equal_those_of_its_labels(one, other):
    tables = np.stack([measure.confusion(*pair, C) for pair in (one, other)])
    assert measure.wa_of(tables) == pytest.approx([measure.wa(*pair) for pair in (one, other)])
    assert measure.ua_of(tables) == pytest.approx([measure.ua(*pair, C) for pair in (one, other)])
    assert np.array_equal(measure.recalls_of(tables)[1], measure.recalls(*other, C), equal_nan=True)
    assert measure.scores_of(tables[0], CLASSES) == measure.scores(*one, CLASSES)


def test_the_mean_confusion_over_seeds_has_the_mean_accuracies():
    generator = np.random.default_rng(1)
    true = generator.integers(0, C, 50)
    tables = [measure.confusion(true, generator.integers(0, C, 50), C) for _ in range(3)]
    mean = np.mean(tables, axis=0)
    assert measure.wa_of(mean) == pytest.approx(np.mean([measure.wa_of(table) for table in tables]))
    assert measure.ua_of(mean) == pytest.approx(np.mean([measure.ua_of(table) for table in tables]))


@pytest.mark.parametrize("table", [np.zeros((C, C)), np.ones((C, C + 1)), np.ones(C)])
def test_a_confusion_matrix_of_another_shape_or_of_nothing_is_refused(table):
    with pytest.raises(RunError, match="A confusion matrix has the shape"):
        measure.scores_of(table, CLASSES)


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ([], [], "no labels to score"),
        ([0, 1], [0], "2 true labels but 1 predicted"),
        ([0, 4], [0, 1], "true label is 4, but the 4 classes"),
        ([0, 1], [0, -1], "predicted label is -1"),
        ([[0], [1]], [0, 1], r"shape \(2, 1\)"),
        ([0.5, 1], [0, 1], "type float64"),
        (["angry"], ["sad"], "class indices"),
    ],
)
def test_what_cannot_be_scored_is_refused(true, predicted, message):
    with pytest.raises(RunError, match=message):
        measure.scores(true, predicted, CLASSES)


def test_wa_refuses_labels_without_a_partner():
    with pytest.raises(RunError, match="3 true labels but 2 predicted"):
        measure.wa([0, 1, 2], [0, 1])
    with pytest.raises(RunError, match="no labels"):
        measure.wa([], [])
    with pytest.raises(RunError, match="class indices"):
        measure.wa(["angry"], ["angry"])
