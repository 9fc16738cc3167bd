"""Scores are measured as scipy and scikit-learn do, and as papers on sentiment do."""

from math import sqrt

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn import metrics

from gia_mic.extract.targets import Target
from gia_mic.fuse.measure import measure_of

MOSI = Target("scores", ("sentiment",), ((-3, 3),))
SIMS = Target("scores", ("sentiment",), ((-1, 1),))
VAD = Target("scores", ("valence", "arousal", "dominance"), ((1, 5), (1, 5), (0, 10)))


def score(target, true, answers):
    """Score numbers, (B,) or (B, K)."""
    measure, shape = measure_of(target), (-1, len(target.names))
    return measure.scores(measure.tally(np.reshape(true, shape), np.reshape(answers, shape))[0])


def ccc(true, answers):
    """Lin's concordance, letter by letter."""
    covariance = np.mean((true - np.mean(true)) * (answers - np.mean(answers)))
    return 2 * covariance / (np.var(true) + np.var(answers) + (np.mean(true) - np.mean(answers)) ** 2)


@pytest.mark.parametrize("seed", range(5))
def test_distances_equal_those_of_scipy_and_scikit_learn(seed):
    random = np.random.default_rng(seed)
    low, high = np.array(VAD.ranges).T
    true = random.uniform(low, high, (40, 3))
    answers = np.clip(true * random.uniform(-0.5, 1) + random.normal(1, 1, (40, 3)), low, high)
    scores = score(VAD, true, answers)
    for column, name in enumerate(VAD.names):
        t, a = true[:, column], answers[:, column]
        assert scores[f"MAE_{name}"] == pytest.approx(metrics.mean_absolute_error(t, a))
        assert scores[f"Pearson_{name}"] == pytest.approx(pearsonr(t, a).statistic)
        assert scores[f"CCC_{name}"] == pytest.approx(ccc(t, a))
    for name in ("MAE", "Pearson", "CCC"):
        assert scores[name] == pytest.approx(np.mean([scores[f"{name}_{own}"] for own in VAD.names]))


@pytest.mark.parametrize("seed", range(5))
def test_accuracies_of_minus_3_to_3_equal_those_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    true, answers = random.integers(-12, 13, (2, 200)) / 4  # many zeros and halves
    scores = score(MOSI, true, answers)
    for number, limit in ((7, 3), (5, 2), (3, 1)):
        t, a = (np.round(np.clip(scores, -limit, limit)) for scores in (true, answers))
        assert scores[f"Acc-{number}"] == pytest.approx(metrics.accuracy_score(t, a))
    for suffix, t, a in (
        ("has0", true >= 0, answers >= 0),
        ("non0", true[true != 0] > 0, answers[true != 0] > 0),
    ):
        assert scores[f"Acc-2_{suffix}"] == pytest.approx(metrics.accuracy_score(t, a))
        assert scores[f"F1_{suffix}"] == pytest.approx(metrics.f1_score(t, a, average="weighted"))


def test_mosi_worked_by_hand():
    """An answer of 0 is wrong for a negative truth if 0 is taken as non-negative, and right if it is not."""
    true = [3.0, 1.6, 0.0, -0.4, -2.6, 0.0, 2.5, -1.0]
    answers = [2.4, 1.4, -0.2, 0.0, -1.5, 0.0, 3.4, 0.3]
    assert score(MOSI, true, answers) == pytest.approx(
        {
            "MAE": 47 / 80,
            # 8 Σta − Σt Σa, and so on, from Σt = 3.1, Σa = 5.8, Σt² = 25.73, Σa² = 21.66, Σta = 21.54
            "Pearson": (8 * 21.54 - 3.1 * 5.8) / sqrt((8 * 25.73 - 3.1**2) * (8 * 21.66 - 5.8**2)),
            "CCC": 2 * (8 * 21.54 - 3.1 * 5.8) / (8 * 25.73 - 3.1**2 + 8 * 21.66 - 5.8**2 + (3.1 - 5.8) ** 2),
            "Acc-7": 3 / 8,  # 3 2 0 0 −3 0 2 −1 and 2 1 0 0 −2 0 3 0
            "Acc-5": 6 / 8,  # 2 2 0 0 −2 0 2 −1 and 2 1 0 0 −2 0 2 0
            "Acc-3": 7 / 8,  # 1 1 0 0 −1 0 1 −1 and 1 1 0 0 −1 0 1 0
            "Acc-2_has0": 5 / 8,  # + + + − − + + − and + + − + − + + +
            "F1_has0": (5 * 8 / 11 + 3 * 2 / 5) / 8,
            "Acc-2_non0": 5 / 6,  # + + − − + − and + + − − + +
            "F1_non0": (3 * 6 / 7 + 3 * 4 / 5) / 6,
        }
    )


def test_sims_worked_by_hand():
    """Limits belong to the interval below them, and 1.3 is clipped to 1."""
    true = [-1.0, -0.7, 0.0, 0.1, 0.8, 0.2]
    answers = [-0.5, -0.1, -0.05, 0.4, 1.3, 0.0]
    assert score(SIMS, true, answers) == pytest.approx(
        {
            "MAE": 37 / 120,
            # Σt = −0.6, Σa = 0.75, Σt² = 2.18, Σa² = 1.4225, Σta = 1.41
            "Pearson": (6 * 1.41 + 0.6 * 0.75) / sqrt((6 * 2.18 - 0.6**2) * (6 * 1.4225 - 0.75**2)),
            "CCC": 2 * (6 * 1.41 + 0.6 * 0.75) / (6 * 2.18 - 0.6**2 + 6 * 1.4225 - 0.75**2 + (0.6 + 0.75) ** 2),
            "Acc-5": 2 / 6,  # 0 0 2 2 4 3 and 1 1 2 3 4 2
            "Acc-3": 4 / 6,  # 0 0 1 1 2 2 and 0 0 1 2 2 1
            "Acc-2": 5 / 6,  # − − − + + + and − − − + + −
            "F1": (3 * 4 / 5 + 3 * 6 / 7) / 6,
        }
    )


def test_a_limit_stored_in_half_the_digits_is_still_the_limit():
    limits = np.float32([-0.7, -0.1, 0.1, 0.7]).astype(float)
    assert score(SIMS, limits, [-0.7, -0.1, 0.1, 0.7])["Acc-5"] == 1


@pytest.mark.parametrize(
    ("target", "headline"),
    [
        (MOSI, "MAE Pearson CCC Acc-7 Acc-5 Acc-3 Acc-2_has0 F1_has0 Acc-2_non0 F1_non0"),
        (SIMS, "MAE Pearson CCC Acc-5 Acc-3 Acc-2 F1"),
        (Target("scores", ("valence",), ((1, 5),)), "MAE Pearson CCC"),
        (VAD, "CCC_valence CCC_arousal CCC_dominance CCC MAE"),
        (Target("scores", ("one", "other"), ((-3, 3), (-3, 3))), "CCC_one CCC_other CCC MAE"),
    ],
)
def test_the_range_says_which_accuracies_there_are(target, headline):
    measure = measure_of(target)
    assert " ".join(measure.headline) == headline
    assert measure.in_percent == {name for name in measure.metrics if name.startswith(("Acc", "F1"))}
    assert measure.lower_is_better == {name for name in measure.metrics if name.startswith("MAE")}


@pytest.mark.parametrize("constant", [0.1, 1 / 3, -2.9, 0.0])
def test_constant_answers_have_no_correlation(constant):
    true = np.random.default_rng(0).uniform(-3, 3, 20_001)
    for pair in ((true, np.full_like(true, constant)), (np.full_like(true, constant), true)):
        scores = score(MOSI, *pair)
        assert scores["Pearson"] == scores["CCC"] == 0
    assert score(MOSI, [constant], [constant])["CCC"] == 0


def test_without_a_score_other_than_zero_there_is_no_accuracy_without_zeros():
    scores = score(MOSI, [0, 0], [1, -1])
    assert scores["Acc-2_non0"] is scores["F1_non0"] is None
    assert scores["Acc-2_has0"] == 0.5


def test_a_range_far_from_zero_costs_no_digits():
    random = np.random.default_rng(0)
    true, answers = random.random((2, 500))
    near = score(Target("scores", ("s",), ((0, 1),)), true, answers)
    far = score(Target("scores", ("s",), ((1e6, 1e6 + 1),)), 1e6 + true, 1e6 + answers)
    assert far == pytest.approx(near, rel=1e-6)
    assert near["CCC"] == pytest.approx(ccc(true, answers))
