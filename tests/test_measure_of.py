"""The measure of every kind of target keeps the same promises: its metrics follow from sums over utterances."""

import json

import numpy as np
import pytest

from gia_mic.extract.errors import RunError
from gia_mic.extract.targets import KINDS, Target
from gia_mic.fuse.measure import measure_of, scores

NAMES = ("angry", "happy", "sad")
TARGETS = [
    Target("label", NAMES),
    Target("votes", NAMES),
    Target("labels", NAMES),
    Target("scores", ("sentiment",), ((-3, 3),)),
    Target("scores", ("sentiment",), ((-1, 1),)),
    Target("scores", ("intensity",), ((0, 1),)),
    Target("scores", ("valence", "arousal"), ((1, 5), (1, 5))),
]
targets = pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.name}{target.ranges}")


def draw_answers(target, B=60, seed=0):
    """Draw targets and answers."""
    random, K = np.random.default_rng(seed), len(target.names)
    if target.kind == "scores":
        low, high = np.array(target.ranges, dtype=float).T
        return tuple(low + (high - low) * random.random((B, K)) for _ in range(2))
    if target.kind == "labels":
        return (random.random((B, K)) < 0.4).astype(float), random.random((B, K))
    counts = random.multinomial(1 if target.kind == "label" else 3, [1 / K] * K, B)
    return counts / counts.sum(axis=1, keepdims=True), random.dirichlet([1] * K, B)


def test_every_kind_has_a_measure():
    assert {target.kind for target in TARGETS} == set(KINDS)


@targets
def test_what_is_said_of_metrics_names_metrics(target):
    measure = measure_of(target)
    assert {measure.primary, *measure.headline} <= set(measure.metrics)
    assert measure.lower_is_better | measure.in_percent | set(measure.metrics) <= set(measure.about)
    assert set(measure.whole(*draw_answers(target))) == set(measure.about) - set(measure.metrics)
    assert not measure.primary.startswith("MAE")


@targets
def test_sums_of_groups_are_those_of_all(target):
    measure, (true, answers) = measure_of(target), draw_answers(target)
    groups = np.arange(len(true)) % 7 + (np.arange(len(true)) % 7 > 2)  # the fourth is empty
    tallies = measure.tally(true, answers, groups)
    assert tallies.shape == (8, measure.size)
    assert not tallies[3].any()
    assert tallies.sum(axis=0) == pytest.approx(measure.tally(true, answers)[0])
    for group in (0, 7):
        assert tallies[group] == pytest.approx(measure.tally(true[groups == group], answers[groups == group])[0])


@targets
def test_a_weight_of_two_is_the_utterance_twice(target):
    measure, (true, answers) = measure_of(target), draw_answers(target)
    weights = np.arange(len(true)) % 3
    weighted = measure.tally(true, answers, weights=weights)
    repeated = measure.tally(np.repeat(true, weights, axis=0), np.repeat(answers, weights, axis=0))
    assert weighted == pytest.approx(repeated)


@targets
def test_values_of_many_tallies_are_those_of_each(target):
    measure = measure_of(target)
    tallies = np.stack([measure.tally(*draw_answers(target, seed=seed))[0] for seed in range(6)]).reshape(2, 3, -1)
    for name in measure.metrics:
        values = measure.value(name, tallies)
        assert values.shape == (2, 3)
        assert values[1, 2] == pytest.approx(measure.scores(tallies[1, 2])[name])


@targets
def test_right_answers_are_best(target):
    measure, (true, _) = measure_of(target), draw_answers(target)
    best = measure.scores(measure.tally(true, true)[0])
    for name in measure.metrics:
        if name != "cross_entropy":  # its least is the entropy of the votes
            assert best[name] == pytest.approx(0 if name in measure.lower_is_better else 1), name


@targets
def test_scores_are_ready_for_json_and_without_an_utterance_there_are_none(target):
    measure, pair = measure_of(target), draw_answers(target)
    scores = measure.scores(measure.tally(*pair)[0]) | measure.whole(*pair)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert set(measure.about) <= set(scores)
    for name in measure.metrics:
        assert np.isnan(measure.value(name, np.zeros((2, measure.size)))).all()
    with pytest.raises(RunError, match=f"expected {measure.size} sums over at least one utterance"):
        measure.scores(np.zeros(measure.size))
    with pytest.raises(RunError, match=f"expected {measure.size} sums"):
        measure.scores(np.ones(measure.size + 1))


def test_a_label_has_the_scores_that_its_classes_have():
    target = TARGETS[0]
    true, answers = draw_answers(target)
    measure = measure_of(target)
    tally = measure.tally(true, answers)[0]
    expected = scores(true.argmax(axis=1), answers.argmax(axis=1), NAMES)
    assert measure.scores(tally) == expected
    assert list(measure.scores(tally)) == ["WA", "UA", "macro_F1", "weighted_F1", "recall", "confusion"]
    assert np.array_equal(tally, np.ravel(expected["confusion"]))


def without_row_5(values):
    return np.where(np.arange(len(values))[:, None] == 5, np.nan, values)


@targets
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda true, answers: (true[:0], answers[:0]), "no answers to score"),
        (lambda true, answers: (true, answers[:-1]), "expected one row an utterance"),
        (lambda true, answers: (true[:, :0], answers[:, :0]), "expected one row an utterance"),
        (lambda true, answers: (true[:, 0], answers[:, 0]), "expected one row an utterance"),
        (lambda true, answers: (without_row_5(true), answers), "1 of 60 utterances have targets .* row 5"),
        (lambda true, answers: (true, without_row_5(answers)), "1 of 60 utterances have answers .* row 5"),
    ],
)
def test_what_cannot_be_scored_is_refused(target, spoil, message):
    measure = measure_of(target)
    for score in (measure.tally, measure.whole) if target.kind == "labels" else (measure.tally,):
        with pytest.raises(RunError, match=message):
            score(*spoil(*draw_answers(target)))


@pytest.mark.parametrize("name", ["R2", "mAP"])
def test_a_metric_that_tallies_do_not_give_is_refused(name):
    measure = measure_of(TARGETS[2])
    with pytest.raises(RunError, match=f"no metric '{name}' of labels: choose one of WAcc, macro_F1"):
        measure.value(name, np.ones(measure.size))
