"""The loss of each kind of target, against its formula worked out utterance by utterance."""

import numpy as np
import pytest
import torch

from gia_mic.extract.targets import Target
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.objective import log_prior, objective, step_targets
from gia_mic.fuse.readout import Readout, fit_readout

M, B, K = 2, 6, 3
RANDOM = np.random.default_rng(0)
OUTPUTS, ALONE = RANDOM.normal(size=(B, K)), RANDOM.normal(size=(M, B, K))
PRESENT = np.array([[1, 1, 0, 1, 0, 1], [1, 0, 1, 1, 1, 1]], dtype=bool)
FILLED = np.array([1, 1, 1, 1, 1, 0], dtype=bool)


def loss_of(kind, targets, prior=None, **settings):
    tensors = [torch.from_numpy(array).float() for array in (OUTPUTS, ALONE, targets)]
    masks = [torch.from_numpy(array) for array in (PRESENT, FILLED)]
    prior = torch.zeros(K) if prior is None else torch.from_numpy(prior).float()
    return objective(
        kind, tensors[0], list(tensors[1]), masks[0], tensors[2], masks[1], prior, TrainingConfig(**settings)
    ).item()


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def test_several_classes_are_learnt_by_binary_cross_entropy():
    targets, prior = RANDOM.integers(0, 2, (B, K)).astype(float), RANDOM.normal(size=K)

    def entropy(logits, target):
        return -np.mean(target * np.log(sigmoid(logits)) + (1 - target) * np.log(1 - sigmoid(logits)))

    together, unimodal = [], [[], []]
    for row in np.flatnonzero(FILLED):
        there = [m for m in range(M) if PRESENT[m, row]]
        joined = sigmoid(prior + sum(ALONE[m, row] - prior for m in there))
        together.append(entropy(OUTPUTS[row], 0.6 * targets[row] + 0.4 * joined))
        for m in there:
            unimodal[m].append(entropy(ALONE[m, row], targets[row]))
    expected = np.mean(together) + 0.7 * np.mean([np.mean(losses) for losses in unimodal])
    assert loss_of("labels", targets, prior, unimodal_weight=0.7, soft_target=0.4) == pytest.approx(expected, abs=1e-5)


def ccc(x, y):
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


LOSSES = {
    "ccc": lambda outputs, targets: np.mean([1 - ccc(x, y) for x, y in zip(outputs.T, targets.T, strict=True)]),
    "l1": lambda outputs, targets: np.abs(outputs - targets).mean(),
    "l2": lambda outputs, targets: np.square(outputs - targets).mean(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_scores_are_learnt_by_the_loss_that_is_named(name):
    targets = RANDOM.normal(size=(B, K))
    unimodal = [LOSSES[name](ALONE[m][PRESENT[m] & FILLED], targets[PRESENT[m] & FILLED]) for m in range(M)]
    expected = LOSSES[name](OUTPUTS[FILLED], targets[FILLED]) + 0.7 * np.mean(unimodal)
    settings = {"score_loss": name, "unimodal_weight": 0.7, "soft_target": 0.4}
    assert loss_of("scores", targets, **settings) == pytest.approx(expected, abs=1e-4)


def test_votes_are_learnt_as_the_distribution_that_they_are():
    values = np.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]])
    targets = step_targets(Readout(Target("votes", ("a", "b", "c"))), values, np.arange(2), TrainingConfig())
    np.testing.assert_allclose(targets.numpy(), values)
    prior = log_prior(Target("votes", ("a", "b", "c")), targets)
    np.testing.assert_allclose(prior.exp().numpy(), values.mean(0))


def test_nobody_and_missing_targets_change_nothing():
    targets = RANDOM.normal(size=(B, K))
    gaps = targets.copy()
    gaps[~FILLED] = np.nan
    for kind in ("labels", "scores"):
        assert loss_of(kind, gaps) == loss_of(kind, targets)


def test_smoothed_labels_lie_between_nothing_and_all():
    readout = fit_readout(Target("labels", ("a", "b")), np.eye(2))
    targets = step_targets(readout, np.eye(2), np.arange(2), TrainingConfig(label_smoothing=0.1))
    np.testing.assert_allclose(targets.numpy(), [[0.95, 0.05], [0.05, 0.95]], atol=1e-6)
