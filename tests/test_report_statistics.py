"""Intervals, tests and calibration equal SciPy, scikit-learn or a case worked by hand, and cover what they say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from gia_mic.extract.errors import RunError
from gia_mic.extract.targets import Target
from gia_mic.fuse import measure
from gia_mic.report import statistics

C = 3
GENERATOR_SEED = 7


def of_tallies(score):
    """Return a score of confusion matrices as one of tallies, which hold them row after row."""
    return lambda tallies: score(tallies.reshape(*tallies.shape[:-1], *[math.isqrt(tallies.shape[-1])] * 2))


WA, UA = of_tallies(measure.wa_of), of_tallies(measure.ua_of)


def grouped_tallies(true, predicted, groups, classes=C, weights=None):
    """Return the confusion matrix of each group as a tally."""
    label = Target("label", tuple("abc"[:classes]))
    answers = (np.eye(classes)[labels] for labels in (true, predicted))
    return measure.measure_of(label).tally(*answers, groups, weights)


def bootstrap(tallies, scores=(UA,), **options):
    return statistics.bootstrap(tallies, scores, **options)


def paired_bootstrap(first, second, **options):
    return statistics.paired_bootstrap(first, second, UA, **options)


def generated(B, share, seed=GENERATOR_SEED, classes=C):
    generator = np.random.default_rng(seed)
    true = generator.integers(0, classes, B)
    return true, np.where(generator.random(B) < share, true, generator.integers(0, classes, B))


def test_grouped_confusions_add_up_to_the_whole():
    true, predicted = generated(60, 0.6)
    groups = np.arange(60) % 7
    tables = grouped_tallies(true, predicted, groups, C)
    assert tables.shape == (7, C * C)
    assert np.array_equal(tables.sum(axis=0), measure.confusion(true, predicted, C).ravel())
    mask = groups == 3
    assert np.array_equal(tables[3], measure.confusion(true[mask], predicted[mask], C).ravel())
    halved = grouped_tallies(true, predicted, groups, C, weights=np.full(60, 0.5))
    assert np.array_equal(halved, tables / 2)


def test_the_interval_of_single_utterances_equals_scipys():
    """With groups of one, WA is a mean of zeros and ones, which SciPy can bootstrap too."""
    true, predicted = generated(300, 0.7)
    tables = grouped_tallies(true, predicted, np.arange(300), C)
    (actual,) = bootstrap(tables, [WA], draws=20_000)
    expected = stats.bootstrap(
        ((true == predicted).astype(float),), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    assert (actual.low, actual.high) == pytest.approx((expected.low, expected.high), abs=0.004)


def test_the_interval_of_groups_equals_scipys():
    """With groups of equal size WA is the mean of their own, so SciPy can bootstrap those."""
    generator = np.random.default_rng(3)
    right = generator.random(40)[:, None] > generator.random((40, 10))
    groups = np.repeat(np.arange(40), 10)
    tables = grouped_tallies(np.zeros(400, int), np.where(right, 0, 1).ravel(), groups, C)
    (actual,) = bootstrap(tables, [WA], draws=20_000)
    expected = stats.bootstrap(
        (right.mean(axis=1),), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    assert (actual.low, actual.high) == pytest.approx((expected.low, expected.high), abs=0.006)
    alone = grouped_tallies(np.zeros(400, int), np.where(right, 0, 1).ravel(), np.arange(400), C)
    (narrow,) = bootstrap(alone, [WA])
    assert actual.high - actual.low > 1.4 * (narrow.high - narrow.low)


def test_a_95_percent_interval_covers_the_truth_in_about_95_of_100():
    """30 dialogs of 20 utterances, each dialog with its own difficulty of mean 0.7."""
    generator = np.random.default_rng(11)
    covered = {"dialogs": 0, "utterances": 0}
    for _ in range(200):
        share = np.repeat(generator.beta(7, 3, 30), 20)
        right = generator.random(600) < share
        predicted = np.where(right, 0, 1)
        for name, groups in (("dialogs", np.repeat(np.arange(30), 20)), ("utterances", np.arange(600))):
            tables = grouped_tallies(np.zeros(600, int), predicted, groups, 2)
            (interval,) = bootstrap(tables, [WA], draws=400)
            covered[name] += interval.low <= 0.7 <= interval.high
    assert 0.88 <= covered["dialogs"] / 200 <= 0.99
    assert covered["utterances"] < covered["dialogs"] - 20


def test_drawing_kinds_of_groups_is_drawing_groups():
    """Many equal groups are drawn by kind; a trace added to each, which no score sees, forces the other way."""
    true, predicted = generated(400, 0.7)
    tables = grouped_tallies(true, predicted, np.arange(400), C)
    (by_kind,) = bootstrap(tables, draws=20_000)
    distinct = tables * (1 + 1e-9 * np.arange(400))[:, None]
    (by_group,) = bootstrap(distinct, draws=20_000)
    assert (by_kind.low, by_kind.high) == pytest.approx((by_group.low, by_group.high), abs=0.004)


@settings(max_examples=20)
@given(st.integers(20, 80), st.floats(0.2, 1), st.integers(0, 1000))
def test_an_interval_holds_its_own_score_and_ignores_names(B, share, seed):
    true, predicted = generated(B, share, seed)
    groups = np.arange(B) % 10
    tables = grouped_tallies(true, predicted, groups, C)
    (interval,) = bootstrap(tables, [WA], draws=500)
    assert 0 <= interval.low <= measure.wa(true, predicted) <= interval.high <= 1
    order = np.random.default_rng(seed).permutation(B)
    shuffled = grouped_tallies(true[order], predicted[order], groups[order], C)
    assert bootstrap(shuffled, [WA], draws=500) == [interval]
    relabelled = grouped_tallies((true + 1) % C, (predicted + 1) % C, groups, C)
    (other,) = bootstrap(relabelled, draws=500)
    (same,) = bootstrap(tables, draws=500)
    assert (other.low, other.high) == pytest.approx((same.low, same.high))


def test_every_utterance_twice_in_its_dialog_changes_no_interval():
    """Copies are no new evidence, as dialogs are drawn; drawn one by one they would be."""
    true, predicted = generated(200, 0.7)
    groups = np.arange(200) % 20
    (once,) = bootstrap(grouped_tallies(true, predicted, groups, C))
    (twice,) = bootstrap(grouped_tallies(*(np.tile(a, 2) for a in (true, predicted, groups)), C))
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


def test_a_model_does_not_differ_from_itself():
    true, predicted = generated(100, 0.6)
    tables = grouped_tallies(true, predicted, np.arange(100) % 10, C)
    difference = paired_bootstrap(tables, tables)
    assert (difference.value, difference.interval, difference.p) == (0, statistics.Interval(0, 0), 1)
    assert statistics.mcnemar(true == predicted, true == predicted) == 1


def test_a_paired_difference_turns_its_sign_with_the_order():
    true, first = generated(300, 0.8)
    _, second = generated(300, 0.6, seed=8)
    groups = np.arange(300) % 30
    tables = [grouped_tallies(true, predicted, groups, C) for predicted in (first, second)]
    forth, back = paired_bootstrap(*tables), paired_bootstrap(*tables[::-1])
    assert forth.value == pytest.approx(measure.ua(true, first, C) - measure.ua(true, second, C))
    assert forth.value == pytest.approx(-back.value)
    assert (forth.interval.low, forth.interval.high) == pytest.approx((-back.interval.high, -back.interval.low))
    assert forth.p == back.p
    assert forth.p < 0.05
    assert forth.interval.low > 0


def test_two_models_that_are_equally_good_rarely_differ():
    """Under no difference the p is below 0.05 in about one of twenty."""
    generator = np.random.default_rng(5)
    p_values = []
    for _ in range(200):
        true = np.zeros(240, int)
        answers = [np.where(generator.random(240) < 0.7, 0, 1) for _ in range(2)]
        tables = [grouped_tallies(true, answer, np.repeat(np.arange(40), 6), 2) for answer in answers]
        p_values.append(paired_bootstrap(*tables, draws=400).p)
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.1


def test_mcnemar_worked_by_hand():
    """Of ten utterances that tell the models apart one has nine: 2 × (1 + 10) / 1024."""
    first = np.array([1] * 9 + [0] + [1] * 20 + [0] * 5)
    second = np.array([0] * 9 + [1] + [1] * 20 + [0] * 5)
    assert statistics.mcnemar(first, second) == pytest.approx(22 / 1024)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_twice_the_smaller_tail_of_the_binomial(only_first, only_second):
    first = np.array([1] * only_first + [0] * only_second + [1, 0])
    second = np.array([0] * only_first + [1] * only_second + [1, 0])
    total = only_first + only_second
    tail = sum(math.comb(total, count) for count in range(min(only_first, only_second) + 1))
    expected = min(1, 2 * tail / 2**total)
    assert statistics.mcnemar(first, second) == pytest.approx(expected)
    assert statistics.mcnemar(second, first) == pytest.approx(expected)


def test_holm_worked_by_hand():
    """From the smallest: 0.005 × 4, 0.011 × 3, 0.02 × 2, 0.04 × 1; none below the one before."""
    assert statistics.holm([0.04, 0.011, 0.02, 0.005]) == pytest.approx([0.04, 0.033, 0.04, 0.02])
    assert statistics.holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_p_and_bonferroni_and_keeps_their_order(p):
    corrected = statistics.holm(p)
    assert (corrected >= np.array(p)).all()
    assert (corrected <= np.minimum(np.array(p) * len(p), 1) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()
    rejected = corrected <= 0.05
    by_definition = np.zeros(len(p), bool)
    for rank, index in enumerate(np.argsort(p, kind="stable")):
        if p[index] * (len(p) - rank) > 0.05:
            break
        by_definition[index] = True
    assert (rejected == by_definition).all()


def test_calibration_worked_by_hand():
    """Bins of a half: confidences 0.3, 0.5 with one of two right, and 0.6, 0.9, 1.0 with two of three."""
    bins = statistics.calibration([1, 0, 1, 1, 0], [0.3, 0.5, 0.6, 0.9, 1.0], bins=2)
    assert [entry.count for entry in bins] == [2, 3]
    assert [entry.confidence for entry in bins] == pytest.approx([0.4, 2.5 / 3])
    assert [entry.accuracy for entry in bins] == pytest.approx([0.5, 2 / 3])
    expected = (2 * abs(0.5 - 0.4) + 3 * abs(2 / 3 - 2.5 / 3)) / 5
    assert statistics.calibration_error(bins) == pytest.approx(expected)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=60), st.integers(1, 20))
def test_calibration_counts_everything_once_and_its_error_is_in_range(answers, bins):
    correct, confidence = zip(*answers, strict=True)
    entries = statistics.calibration(correct, confidence, bins=bins)
    assert sum(entry.count for entry in entries) == len(answers)
    assert 0 <= statistics.calibration_error(entries) <= 1
    twice = statistics.calibration(correct * 2, confidence * 2, bins=bins)
    assert statistics.calibration_error(twice) == pytest.approx(statistics.calibration_error(entries))
    weighted = statistics.calibration(correct, confidence, np.full(len(answers), 2), bins=bins)
    assert [entry.count for entry in weighted] == [entry.count for entry in twice]


def test_calibration_equals_scikit_learns_curve():
    generator = np.random.default_rng(2)
    confidence = generator.random(500)
    correct = generator.random(500) < confidence
    from sklearn.calibration import calibration_curve

    accuracy, mean = calibration_curve(correct, confidence, n_bins=10)
    bins = statistics.calibration(correct, confidence, bins=10)
    assert [entry.accuracy for entry in bins] == pytest.approx(accuracy)
    assert [entry.confidence for entry in bins] == pytest.approx(mean)
    assert statistics.calibration_error(bins) < 0.08


def test_a_perfectly_honest_model_has_no_calibration_error():
    assert statistics.calibration_error(statistics.calibration([1] * 3 + [0], [0.75] * 4)) == 0
    assert statistics.calibration_error(statistics.calibration([1, 1], [1.0, 1.0])) == 0


def test_the_bootstrap_of_scikit_learns_balanced_accuracy_is_ours():
    """Drawn by hand with the same weights, scored by scikit-learn."""
    true, predicted = generated(90, 0.6)
    groups = np.arange(90) % 9
    generator = np.random.default_rng(statistics.SEED)
    values = []
    for draw in generator.integers(0, 9, (300, 9)):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in draw])
        values.append(metrics.balanced_accuracy_score(true[rows], predicted[rows]))
    (interval,) = bootstrap(grouped_tallies(true, predicted, groups, C), draws=300)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_what_cannot_be_compared_is_refused():
    tables = np.ones((3, C * C))
    with pytest.raises(RunError, match=r"shapes \(3, 9\) and \(2, 9\)"):
        paired_bootstrap(tables, tables[:2])
    with pytest.raises(RunError, match="no utterance to draw from"):
        bootstrap(np.zeros((0, C * C)))
    with pytest.raises(RunError, match="3 answers to compare with 2"):
        statistics.mcnemar([1, 0, 1], [1, 0])
