"""Votes are scored as classes and as distributions."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from sklearn import metrics

from gia_mic.extract.targets import Target
from gia_mic.fuse.measure import measure_of

NAMES = ("angry", "happy", "sad")
C = len(NAMES)
MEASURE = measure_of(Target("votes", NAMES))


def score(true, answers):
    return MEASURE.scores(MEASURE.tally(true, answers)[0])


def shares(counts):
    return np.array(counts) / np.sum(counts, axis=1, keepdims=True)


def voted(seed, B=80):
    """Draw votes of five, without and with ties, and answers."""
    random = np.random.default_rng(seed)
    return shares(random.multinomial(5, random.dirichlet([1] * C), B)), random.dirichlet([0.5] * C, B)


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_classes_are_scored_as_labels_are(seed):
    true, answers = voted(seed)
    clear = (true == true.max(axis=1, keepdims=True)).sum(axis=1) == 1
    true, answers = true[clear], answers[clear]
    scores, (y, predicted) = score(true, answers), (true.argmax(axis=1), answers.argmax(axis=1))
    assert scores["WA"] == pytest.approx(metrics.accuracy_score(y, predicted))
    assert scores["UA"] == pytest.approx(metrics.recall_score(y, predicted, labels=np.unique(y), average="macro"))
    assert scores["macro_F1"] == pytest.approx(metrics.f1_score(y, predicted, average="macro"))
    assert scores["weighted_F1"] == pytest.approx(metrics.f1_score(y, predicted, average="weighted"))


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_those_of_scipy(seed):
    true, answers = voted(seed)
    scores = score(true, answers)
    assert scores["JS"] == pytest.approx(np.mean(jensenshannon(true, answers, base=2, axis=1) ** 2))
    assert scores["TV"] == pytest.approx(np.mean(np.abs(true - answers).sum(axis=1) / 2))
    assert scores["cross_entropy"] == pytest.approx(np.mean(entropy(true, axis=1) + entropy(true, answers, axis=1)))


def test_an_answer_that_is_one_of_the_tied_classes_is_right():
    """Worked by hand.

    The first utterance counts for angry and happy in halves, both found. The second does too, and both are missed. The
    third is of all three, found in thirds. The fourth is clearly sad, and missed.
    """
    true = shares([[2, 2, 1], [2, 2, 1], [1, 1, 1], [0, 1, 4]])
    answers = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 1], [1, 0, 0]])
    scores = score(true, answers)
    third, half = 1 / 3, 1 / 2
    confusion = [[half + third, 0, half], [0, half + third, half], [1, 0, third]]
    assert np.array(scores["confusion"]) == pytest.approx(np.array(confusion))
    assert scores["WA"] == pytest.approx(2 / 4)
    recalls = {"angry": (half + third) / (1 + third), "happy": (half + third) / (1 + third), "sad": third / (1 + third)}
    assert scores["recall"] == pytest.approx(recalls)
    assert scores["UA"] == pytest.approx(sum(recalls.values()) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_ties_count_the_same_whatever_is_answered(seed):
    """So two models are compared on the same number of utterances of each class."""
    true, answers = voted(seed)
    most = true == true.max(axis=1, keepdims=True)
    for guesses in (answers, np.roll(answers, 1, axis=0)):
        scores = score(true, guesses)
        assert np.sum(scores["confusion"], axis=1) == pytest.approx(
            (most / most.sum(axis=1, keepdims=True)).sum(axis=0)
        )
        assert scores["WA"] == pytest.approx(most[np.arange(len(true)), guesses.argmax(axis=1)].mean())


def test_an_impossible_class_that_got_a_vote_costs_a_finite_amount():
    scores = score([[0, 0, 1]], [[0, 1, 0]])
    assert (scores["JS"], scores["TV"]) == (1, 1)
    assert scores["cross_entropy"] == pytest.approx(12 * np.log(10))
    assert (scores["WA"], scores["UA"], scores["macro_F1"]) == (0, 0, 0)
