"""Several labels an utterance are scored as papers on CMU-MOSEI score them, and as scikit-learn does."""

import numpy as np
import pytest
from sklearn import metrics

from gia_mic.extract.targets import Target
from gia_mic.fuse.measure import measure_of

NAMES = ("happy", "sad", "fear")
MEASURE = measure_of(Target("labels", NAMES))


def score(true, answers):
    return MEASURE.scores(MEASURE.tally(true, answers)[0]) | MEASURE.whole(true, answers)


def draw_answers(seed, B=50):
    """Draw labels, the last of which is rare, and answers of few values, so that some are equal."""
    random = np.random.default_rng(seed)
    true = (random.random((B, 3)) < [0.6, 0.3, 0.08]).astype(float)
    true[0], true[1] = 1, 0
    return true, np.round(random.random((B, 3)) * 0.7 + 0.3 * true, 1)


@pytest.mark.parametrize("seed", range(8))
def test_scores_equal_those_of_scikit_learn(seed):
    true, answers = draw_answers(seed)
    scores, decisions = score(true, answers), answers > 0.5
    for column, name in enumerate(NAMES):
        y, predicted = true[:, column], decisions[:, column]
        assert scores[f"WAcc_{name}"] == pytest.approx(metrics.balanced_accuracy_score(y, predicted))
        assert scores[f"F1_{name}"] == pytest.approx(metrics.f1_score(y, predicted, zero_division=0))
        assert scores[f"two_sided_F1_{name}"] == pytest.approx(metrics.f1_score(y, predicted, average="weighted"))
        assert scores[f"AP_{name}"] == pytest.approx(metrics.average_precision_score(y, answers[:, column]))
    assert scores["macro_F1"] == pytest.approx(metrics.f1_score(true, decisions, average="macro", zero_division=0))
    assert scores["micro_F1"] == pytest.approx(metrics.f1_score(true, decisions, average="micro"))
    assert scores["mAP"] == pytest.approx(metrics.average_precision_score(true, answers, average="macro"))
    for name in ("WAcc", "two_sided_F1"):
        assert scores[name] == pytest.approx(np.mean([scores[f"{name}_{label}"] for label in NAMES]))


def test_a_case_worked_by_hand():
    """Of four happy utterances three are found, of six others two are taken for happy."""
    happy, answer = [1] * 4 + [0] * 6, [0.9, 0.8, 0.6, 0.5, 0.7, 0.51, 0.5, 0.1, 0, 0]
    scores = score(np.column_stack([happy] * 3), np.column_stack([answer] * 3))
    P, N, TP, TN = 4, 6, 3, 4
    assert scores["WAcc_happy"] == pytest.approx((TP * N / P + TN) / (2 * N))
    assert scores["F1_happy"] == pytest.approx(2 * 3 / (4 + 5))
    assert scores["two_sided_F1_happy"] == pytest.approx((4 * 2 * 3 / (4 + 5) + 6 * 2 * 4 / (6 + 5)) / 10)
    # the happy ones come first, second, fourth, and sixth together with another
    assert scores["AP_happy"] == pytest.approx((1 / 1 + 2 / 2 + 3 / 4 + 4 / 7) / 4)


def test_a_rare_emotion_that_is_never_found_has_no_f1_of_having_it():
    """The two-sided F1 hides what the other shows."""
    true = np.zeros((100, 3))
    true[:5] = 1
    scores = score(true, np.zeros((100, 3)))
    assert scores["F1_fear"] == 0
    assert scores["WAcc_fear"] == 0.5
    assert scores["two_sided_F1_fear"] == pytest.approx(0.95 * 2 * 95 / (95 + 100))


def test_labels_that_never_occur_have_no_part_in_means():
    true = np.array([[1, 0, 0], [0, 0, 0], [1, 0, 0]])
    answers = np.array([[0.9, 0.1, 0.9], [0.2, 0.1, 0.1], [0.4, 0.2, 0.1]])
    scores = score(true, answers)
    assert (
        scores["WAcc_sad"] is scores["F1_sad"] is scores["AP_sad"] is scores["WAcc_fear"] is scores["AP_fear"] is None
    )
    assert scores["F1_fear"] == 0  # answered once, wrongly
    assert scores["WAcc"] == scores["WAcc_happy"] == pytest.approx((1 / 2 + 1) / 2)
    assert scores["macro_F1"] == pytest.approx((2 / 3 + 0) / 2)
    assert scores["mAP"] == scores["AP_happy"] == 1
    nothing = score(np.zeros((2, 3)), np.zeros((2, 3)))
    assert nothing["macro_F1"] is nothing["micro_F1"] is nothing["mAP"] is None
