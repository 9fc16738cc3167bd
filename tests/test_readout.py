"""Outputs become answers in the units of the target."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from gia_mic.extract.targets import Target
from gia_mic.fuse.readout import Readout, fit_readout

EMOTIONS = Target("labels", ("happy", "sad"))
DIMENSIONS = Target("scores", ("valence", "arousal"), ((1, 5), (0, 10)))


@pytest.mark.parametrize("kind", ["label", "votes"])
def test_classes_get_probabilities(kind):
    outputs = torch.randn(5, 3)
    answers = Readout(Target(kind, ("a", "b", "c"))).answers(outputs)
    torch.testing.assert_close(answers, outputs.softmax(-1))


def test_scores_come_back_in_their_own_unit_and_range():
    values = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]])
    readout = fit_readout(DIMENSIONS, values)
    scaled = readout.scaled(values)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(0), [1, 0])  # a score that is the same throughout stays finite
    np.testing.assert_allclose(readout.answers(torch.from_numpy(scaled)).numpy(), values, atol=1e-6)
    np.testing.assert_array_equal(readout.answers(torch.tensor([[9.0, -9.0]])).numpy(), [[5, 0]])


def test_a_threshold_gives_the_highest_f1_of_the_training_part():
    random = np.random.default_rng(0)
    values = (random.random((200, 2)) < (0.1, 0.6)).astype(float)
    outputs = (2 * values + random.normal(-2, 1.5, values.shape)).astype(np.float32)
    readout = fit_readout(EMOTIONS, values).with_thresholds(outputs, values)
    answers = readout.answers(torch.from_numpy(outputs)).numpy()
    for column in range(2):
        score = f1_score(values[:, column], answers[:, column] > 0.5)
        tried = [f1_score(values[:, column], outputs[:, column] >= output) for output in outputs[:, column]]
        assert score == pytest.approx(max(tried))


@pytest.mark.parametrize("values", [np.zeros((4, 2)), np.ones((4, 2))])
def test_a_class_that_always_or_never_applies_has_the_plain_threshold(values):
    readout = fit_readout(EMOTIONS, values).with_thresholds(np.random.default_rng(0).normal(size=(4, 2)), values)
    assert readout.thresholds == (0.0, 0.0)


def test_equal_outputs_lie_on_one_side_of_a_threshold():
    outputs, values = np.array([[2.0], [1.0], [1.0], [0.0]], np.float32), np.array([[1.0], [1.0], [0.0], [0.0]])
    readout = fit_readout(Target("labels", ("happy",)), values).with_thresholds(outputs, values)
    answers = readout.answers(torch.from_numpy(outputs)).numpy() > 0.5
    assert f1_score(values[:, 0], answers[:, 0]) == pytest.approx(0.8)
