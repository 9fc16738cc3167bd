from dataclasses import replace

import numpy as np
import pytest
import torch
from made_features import make_corpus, make_stores, utterances
from torch.func import functional_call

from gia_mic.extract.errors import RunError
from gia_mic.extract.store import open_store
from gia_mic.extract.targets import Target
from gia_mic.fuse import measure
from gia_mic.fuse.config import GiaMicConfig, TrainingConfig
from gia_mic.fuse.data import Data, read_data
from gia_mic.fuse.models.gia_mic import GiaMic
from gia_mic.fuse.models.layers import PaddedFrames, initialise
from gia_mic.fuse.objective import log_prior, objective, step_targets
from gia_mic.fuse.plan import feature_masks, modality_masks
from gia_mic.fuse.readout import Readout
from gia_mic.fuse.split import folds
from gia_mic.fuse.train import (
    RunSpec,
    fit,
    fit_scalers,
    hide,
    predict,
    steps_per_epoch,
)

SMALL = GiaMicConfig(width=16, heads=2, latents=2, layers=1)
QUICK = TrainingConfig(epochs=6, batch_size=16, learning_rate=5e-3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("features"), utterances(160))


@pytest.fixture(scope="module")
def data(corpus):
    return read_data(corpus, {name: open_store(path) for name, path in make_stores(corpus).items()})


def trained(data, rows, config=QUICK, seed=0, **options):
    return fit(lambda: GiaMic(data.dims, 4, SMALL), data, RunSpec(rows, seed, **options), config, steps=8)


def ua(trained, data, rows):
    return measure.ua(data.values[rows].argmax(-1), predict(trained, data, rows).argmax(-1), 4)


def test_training_learns_the_emotion_and_labels_at_random_land_at_chance(corpus, data):
    fold = folds(corpus)[0]
    assert ua(trained(data, fold.train), data, fold.test) > 0.7
    accuracies = []
    for seed in range(4):
        shuffled = data.values.copy()
        shuffled[fold.train] = data.values[np.random.default_rng(seed).permutation(fold.train)]
        control = Data(data.modalities, shuffled, data.target)
        accuracies.append(ua(trained(control, fold.train, seed=seed), data, fold.test))
    # four times 32 utterances: two standard deviations of the mean are 0.08
    assert 0.1 < np.mean(accuracies) < 0.4


def test_the_same_seed_gives_the_same_predictions_and_another_does_not(corpus, data):
    fold = folds(corpus)[1]
    one, again, other = (predict(trained(data, fold.train, seed=seed), data, fold.test) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3


def test_the_test_part_changes_nothing_about_training(corpus, data):
    fold = folds(corpus)[0]
    noisy = {
        name: type(packed)(packed.values.clone(), packed.starts, packed.lengths)
        for name, packed in data.modalities.items()
    }
    for packed in noisy.values():
        for row in fold.test:
            packed.values[packed.starts[row] : packed.starts[row] + packed.lengths[row]] = 1000
    other = Data(noisy, data.values, data.target)
    low = replace(QUICK, precision="bfloat16")
    rounded = [predict(trained(each.rounded(), fold.train, low), data, fold.train) for each in (data, other)]
    assert abs(rounded[0] - rounded[1]).mean() < 0.01  # the origin, one for all folds, may move the last bits
    one, two = trained(data, fold.train).model.state_dict(), trained(other, fold.train).model.state_dict()
    assert any("scalers" in name for name in one)
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def test_history_has_a_row_an_epoch(corpus, data):
    rows = []
    history = trained(data, folds(corpus)[0].train, report=rows.append).history
    assert rows == history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert list(history[0]) == ["epoch", "loss", "constraint", "learning_rate", "train_UA"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert 0 < history[-1]["learning_rate"] < QUICK.learning_rate / 10


def test_the_best_epoch_is_chosen_and_training_stops_early(corpus, data):
    fold = folds(corpus)[0]
    config = TrainingConfig(epochs=40, batch_size=16, learning_rate=5e-3, patience=2)
    result = trained(data, fold.train, config, choose=fold.test)
    scores = [row["dev_UA"] for row in result.history]
    assert len(scores) < 40
    assert result.epoch == int(np.argmax(scores)) + 1 == len(scores) - 2
    assert ua(result, data, fold.test) == max(scores)
    optimistic = trained(data, fold.train, QUICK, choose=fold.test, choose_by="test")
    assert len(optimistic.history) == QUICK.epochs
    assert "test_UA" in optimistic.history[0]


def test_utterances_without_features_are_left_out_and_counted(tmp_path):
    corpus = make_corpus(tmp_path)
    lacking = corpus.ids[20:26]
    paths = make_stores(corpus, missing={"speech": lacking, "text": [*lacking, "u040"], "visual": lacking})
    data = read_data(corpus, {name: open_store(path) for name, path in paths.items()})
    rows = np.arange(80)
    result = trained(data, rows)
    assert result.unusable == 6
    assert predict(result, data, rows).shape == (80, 4)
    with pytest.raises(RunError, match="No utterance of the training part has features"):
        trained(data, np.arange(20, 26))


def test_hidden_modalities_are_as_good_as_absent(corpus, data):
    fold = folds(corpus)[0]
    run = trained(data, fold.train)
    speech = Data({"speech": data.modalities["speech"]}, data.values, data.target)
    np.testing.assert_allclose(
        predict(run, data, fold.test, hidden=["text", "visual"]), predict(run, speech, fold.test), atol=1e-6
    )


def test_hiding_keeps_at_least_one_modality_and_adds_none():
    mask = torch.ones(500, 2, dtype=torch.bool)
    some = mask.clone()
    some[:100] = False
    batch = {"speech": PaddedFrames(torch.zeros(500, 2, 3), mask), "text": PaddedFrames(torch.zeros(500, 2, 3), some)}
    modalities = hide(batch, modality_masks(500, 2, 0.5, torch.Generator().manual_seed(0)))
    present = torch.stack([padded.present for padded in modalities.values()], 1)
    assert present.any(1).all()
    assert present[:100].tolist() == [[True, False]] * 100
    assert 0.25 < (present[100:].sum(1) == 1).float().mean() < 0.75
    for all_seen in modality_masks(500, 2, 0.0, torch.Generator()), torch.zeros(500, 2, dtype=torch.bool):
        for name, frames in hide(batch, all_seen).items():
            assert torch.equal(frames.mask, batch[name].mask)


def test_a_hidden_feature_is_at_its_mean_for_the_whole_step(data):
    model = GiaMic(data.dims, 4, SMALL).eval()
    initialise(model, torch.Generator().manual_seed(0))
    rows = np.arange(40)
    fit_scalers(model, data, rows)
    masks = feature_masks(model, 0.4, torch.Generator().manual_seed(0))
    assert masks.keys() == {f"scalers.{name}.scale" for name in data.dims}
    assert {round(float(value), 4) for mask in masks.values() for value in mask} == {0.0, 1.6667}
    batch = data.batch(torch.from_numpy(rows))
    by_hand = {}
    for name, frames in batch.items():
        mean, mask = model.scalers[name].mean, masks[f"scalers.{name}.scale"]
        by_hand[name] = PaddedFrames(mean + (frames.values.float() - mean) * mask, frames.mask)
    buffers = {name: model.get_buffer(name) * mask for name, mask in masks.items()}
    torch.testing.assert_close(
        functional_call(model, buffers, (batch,)).logits, model(by_hand).logits, atol=1e-5, rtol=0
    )
    assert feature_masks(model, 0.0, torch.Generator()) == {}


def test_hiding_features_spreads_weights_over_those_that_say_the_same(corpus, data):
    """Of a feature and its copy a model may read either; where one is hidden at times, it reads both alike."""
    again = replace(
        data, modalities={name: replace(one, values=one.values.repeat(1, 2)) for name, one in data.modalities.items()}
    )
    distances = []
    for probability in (0.0, 0.5):
        config = replace(QUICK, epochs=12, feature_dropout=probability)
        model = trained(again, folds(corpus)[0].train, config).model
        first, second = model.project["speech"].weight.detach().chunk(2, 1)
        distances.append(float((first - second).norm() / (first + second).norm()))
    assert distances[1] < distances[0]


@pytest.mark.parametrize(
    "change",
    [
        {"class_weights": True},
        {"label_smoothing": 0.2},
        {"clip_norm": 0.0},
        {"modality_dropout": 0.5},
        {"feature_dropout": 0.5},
        {"precision": "bfloat16"},
        {"unimodal_weight": 1.0, "soft_target": 0.5},
    ],
)
def test_every_option_trains(corpus, data, change):
    config = TrainingConfig(epochs=4, batch_size=16, learning_rate=5e-3, **change)
    assert ua(trained(data, folds(corpus)[0].train, config), data, folds(corpus)[0].test) > 0.5


def test_weight_decay_shrinks_matrices_alone(corpus, data):
    config = replace(QUICK, epochs=2, weight_decay=150.0)
    weights = dict(trained(data, folds(corpus)[0].train, config).model.named_parameters())
    assert max(weight.abs().max() for weight in weights.values() if weight.dim() >= 2) < 0.01
    norms = [weight for name, weight in weights.items() if "norm" in name and name.endswith("weight")]
    assert norms
    assert min(weight.min() for weight in norms) > 0.9


@pytest.mark.parametrize("beforehand", [True, False])
def test_bfloat16_follows_float32_where_means_are_large_against_deviations(corpus, data, beforehand):
    """Rounded before the mean is taken away, these frames would keep nothing of what tells them apart."""
    far = {
        name: replace(packed, values=packed.values.float() + 300 * packed.values.float().std())
        for name, packed in data.modalities.items()
    }
    far_data = Data(far, data.values, data.target)
    if beforehand:
        far_data = far_data.rounded()
    train, test = folds(corpus)[0].train, folds(corpus)[0].test
    plain = trained(far_data, train)
    rounded = trained(far_data, train, replace(QUICK, precision="bfloat16"))
    for one, other in zip(plain.history, rounded.history, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=0.1, abs=0.02)
    assert abs(predict(rounded, far_data, test) - predict(plain, far_data, test)).mean() < 0.05


def test_loss_is_torchs_weighted_and_smoothed_cross_entropy(corpus, data):
    rows = np.concatenate([np.arange(0, 160, 4), np.arange(1, 80, 4)])
    config = TrainingConfig(label_smoothing=0.1, class_weights=True)
    table = step_targets(Readout(data.target), data.values, rows, config)[:4]
    logits, labels = torch.randn(9, 4), torch.tensor([0, 1, 0, 1, 1, 0, 0, 0, 1])
    weights = torch.tensor([60 / (4 * 40), 60 / (4 * 20), 0, 0])
    expected = torch.nn.functional.cross_entropy(logits, labels, weights, label_smoothing=0.1)
    loss = -(logits.log_softmax(-1) * table[labels]).sum() / weights[labels].sum()
    # torch spreads the smoothing over the classes' own weights, we by the true class's weight
    plain = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(loss, (plain * weights[labels]).sum() / weights[labels].sum())
    assert expected.isfinite()


def test_a_loss_that_is_no_number_is_refused(corpus, data):
    config = TrainingConfig(epochs=8, learning_rate=1e20, clip_norm=0.0)
    with pytest.raises(RunError, match=r"The loss is \w+ in epoch \d: lower the learning rate"):
        trained(data, folds(corpus)[0].train, config)


def test_every_fold_makes_the_same_number_of_steps():
    assert steps_per_epoch([100, 96, 70], 32) == 4
    assert steps_per_epoch([3], 32) == 1


def test_a_wrong_config_names_every_problem():
    wrong = TrainingConfig(
        epochs=0, warmup=1.0, clip_norm=-1, learning_rate=0, precision="float8", unimodal_weight=0, soft_target=0.5
    )
    assert len(wrong.problems()) == 6
    assert TrainingConfig().problems() == []


def test_the_objective_equals_its_formula():
    """loss = CE(p, (1 − ε) label + ε q) + α mean over m of CE(p_m, label), q ∝ π Π_m (p_m / π), by utterance."""
    random = np.random.default_rng(0)
    M, B, C, alone, evidence = 3, 5, 4, 0.7, 0.4
    logits, singles = random.normal(size=(B, C)), random.normal(size=(M, B, C))
    present = np.array([[1, 1, 0, 1, 0], [1, 0, 1, 1, 0], [1, 1, 1, 0, 1]], dtype=bool)
    labels, weights = random.integers(0, C, B), random.uniform(0.5, 2, B)
    prior = random.dirichlet(np.ones(C))

    def shares(scores):
        return np.exp(scores) / np.exp(scores).sum()

    together, unimodal = 0.0, np.zeros(M)
    for utterance in range(B):
        product = prior.copy()
        for m in range(M):
            if present[m, utterance]:
                product *= shares(singles[m, utterance]) / prior
                unimodal[m] -= weights[utterance] * np.log(shares(singles[m, utterance])[labels[utterance]])
        product /= product.sum()
        for c in range(C):
            target = (1 - evidence) * (c == labels[utterance]) + evidence * product[c]
            together -= weights[utterance] * target * np.log(shares(logits[utterance])[c])
    unimodal /= [weights[there].sum() for there in present]
    expected = together / weights.sum() + alone * unimodal.mean()

    targets = torch.eye(C)[labels] * torch.from_numpy(weights).float().unsqueeze(1)
    tensors = [torch.from_numpy(one).float().requires_grad_() for one in (logits, *singles)]
    config = TrainingConfig(unimodal_weight=alone, soft_target=evidence)
    of_all = (
        torch.from_numpy(present),
        targets,
        torch.ones(B, dtype=torch.bool),
        torch.from_numpy(prior).float().log(),
    )
    loss = objective("label", tensors[0], tensors[1:], *of_all, config)
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    # a modality learns from the label alone, not from how it is used as a target
    loss.backward()
    plain = replace(config, soft_target=0.0)
    only = objective("label", tensors[0].detach(), tensors[1:], *of_all, plain)
    [expected_gradient] = torch.autograd.grad(only, tensors[1])
    torch.testing.assert_close(tensors[1].grad, expected_gradient)


def test_classes_are_as_frequent_as_the_loss_weighs_them():
    labels, target = torch.tensor([0, 0, 0, 1]), Target("label", ("a", "b"))
    torch.testing.assert_close(log_prior(target, torch.eye(2)[labels]).exp(), torch.tensor([0.75, 0.25]))
    weighted = torch.diag(torch.tensor([4 / 6, 4 / 2]))
    torch.testing.assert_close(log_prior(target, weighted[labels]).exp(), torch.tensor([0.5, 0.5]))
    absent = log_prior(Target("label", ("a", "b", "c")), torch.eye(3)[labels])
    assert absent.isfinite().all()


def test_without_unimodal_logits_the_objective_is_cross_entropy():
    logits, labels = torch.randn(6, 4), torch.randint(0, 4, (6,))
    present, prior = torch.ones(1, 6, dtype=torch.bool), torch.full((4,), 0.25).log()
    loss = objective("label", logits, [], present, torch.eye(4)[labels], present[0], prior, TrainingConfig())
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, labels))
