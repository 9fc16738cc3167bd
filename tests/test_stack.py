import numpy as np
import pytest
import torch
from made_features import make_corpus, make_stores, utterances

from gia_mic.extract.store import open_store
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import read_data
from gia_mic.fuse.models.registry import FUSIONS, configure
from gia_mic.fuse.split import development, folds
from gia_mic.fuse.train import RunSpec, fit, fit_together, predict, steps_per_epoch


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    # the last speakers have fewer utterances, so that folds differ in size
    return make_corpus(tmp_path_factory.mktemp("stack"), utterances(106))


@pytest.fixture(scope="module")
def data(corpus):
    stores = make_stores(corpus, missing={"text": corpus.ids[3:9], "speech": ["u003"], "visual": ["u003"]})
    return read_data(corpus, {name: open_store(path) for name, path in stores.items()})


def compare(corpus, data, fusion, config, select=False, **settings):
    entry = FUSIONS[fusion]
    model_config = configure(fusion, settings)
    all_folds = folds(corpus)
    steps = steps_per_epoch([len(fold.train) for fold in all_folds], config.batch_size)
    specs = []
    for fold, seed in ((all_folds[0], 0), (all_folds[0], 1), (all_folds[4], 0)):
        rows, choose = development(corpus, fold) if select else (fold.train, None)
        specs.append(RunSpec(rows, seed, choose))

    def build():
        return entry.make(data.dims, 4, model_config)

    together = fit_together(build, data, specs, config, steps=steps)
    everybody = np.arange(len(corpus))
    for spec, one in zip(specs, together, strict=True):
        alone = fit(build, data, spec, config, steps=steps)
        assert (one.epoch, one.unusable) == (alone.epoch, alone.unusable)
        assert len(one.history) == len(alone.history)
        for mine, other in zip(one.history, alone.history, strict=True):
            assert mine == pytest.approx(other, abs=1e-4)
        np.testing.assert_allclose(predict(one, data, everybody), predict(alone, data, everybody), atol=1e-3)
    assert not torch.equal(together[0].model.state_dict()["head.0.bias"], together[1].model.state_dict()["head.0.bias"])


SMALL = {"width": 16, "heads": 2, "latents": 2, "layers": 1}


@pytest.mark.parametrize(
    ("training", "settings"),
    [
        ({}, {}),
        ({"modality_dropout": 0.3, "class_weights": True, "label_smoothing": 0.1}, {"constraint": "adversarial"}),
        ({"clip_norm": 0.0, "weight_decay": 10.0}, {"constraint": "cmd", "without": ("gate",)}),
        ({"unimodal_weight": 1.0, "soft_target": 0.7, "modality_dropout": 0.3}, {}),
        ({"unimodal_weight": 1.0, "feature_dropout": 0.5}, {}),
        ({}, {"without": ("interaction", "generator"), "dropout": 0.0}),
    ],
)
def test_a_stacked_run_equals_the_one_trained_alone(corpus, data, training, settings):
    config = TrainingConfig(epochs=2, batch_size=16, learning_rate=1e-3, **training)
    compare(corpus, data, "gia-mic", config, **{**SMALL, **settings})


def test_choosing_and_stopping_early_are_the_same_in_a_stack(corpus, data):
    # few steps at a low rate: rounding grows with every step, and a tie between two epochs can fall either way
    config = TrainingConfig(epochs=8, batch_size=16, learning_rate=1e-3, patience=2, modality_dropout=0.0)
    compare(corpus, data, "gia-mic", config, select=True, **{**SMALL, "dropout": 0.3})


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_can_be_stacked_in_bfloat16(corpus, data, fusion):
    entry = FUSIONS[fusion]
    config = TrainingConfig(epochs=1, batch_size=16, precision="bfloat16")
    rows = folds(corpus)[0].train
    data = data.rounded()

    def build():
        return entry.make(data.dims, 4, entry.config())

    alone = fit(build, data, RunSpec(rows, seed=1), config, steps=6)
    other, one = fit_together(build, data, [RunSpec(rows, seed) for seed in (0, 1)], config, steps=6)
    expected, actual, others = (predict(each, data, np.arange(106)) for each in (alone, one, other))
    assert abs(actual - expected).mean() < 0.03
    assert abs(actual - expected).mean() < abs(others - expected).mean() / 3


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if name != "gia-mic"])
def test_every_baseline_can_be_stacked(corpus, data, fusion):
    entry = FUSIONS[fusion]
    config = TrainingConfig(epochs=1, batch_size=16)
    specs = [RunSpec(folds(corpus)[0].train, seed) for seed in (0, 1)]

    def build():
        return entry.make(data.dims, 4, entry.config())

    for spec, one in zip(specs, fit_together(build, data, specs, config, steps=6), strict=True):
        alone = fit(build, data, spec, config, steps=6)
        np.testing.assert_allclose(predict(one, data, np.arange(106)), predict(alone, data, np.arange(106)), atol=1e-3)


def test_a_run_with_fewer_utterances_than_steps_is_trained_alone(corpus, data):
    specs = [RunSpec(np.arange(20, 24), 0), RunSpec(np.arange(40, 60), 0)]
    entry = FUSIONS["concat"]
    config = TrainingConfig(epochs=1)

    def build():
        return entry.make(data.dims, 4, entry.config())

    for spec, one in zip(specs, fit_together(build, data, specs, config, steps=6), strict=True):
        alone = fit(build, data, spec, config, steps=6).model.state_dict()
        for name, value in one.model.state_dict().items():
            assert torch.equal(value, alone[name]), name
