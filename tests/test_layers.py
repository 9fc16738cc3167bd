"""Learned weights of an encoder's layers: several hidden layers side by side in a frame become one."""

import numpy as np
import pytest
import torch
from made_features import make_corpus

from gia_mic.extract.store import Header, Item, open_store, write_store
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import layer_count, read_data
from gia_mic.fuse.experiment import Experiment
from gia_mic.fuse.models.layers import PaddedFrames, Scaler, project
from gia_mic.fuse.models.registry import FUSIONS
from gia_mic.fuse.run import train_folds
from gia_mic.fuse.runs.weights import load_fusion
from gia_mic.fuse.split import folds
from gia_mic.fuse.train import RunSpec, fit, fit_together, predict

L, H = 3, 4


def naive(values, mean, scale, weights):
    """h = Σ_l softmax(w)_l x_l, frame by frame and layer by layer."""
    exponents = [float(np.exp(weight)) for weight in weights]
    out = np.zeros((*values.shape[:-1], H))
    for index in np.ndindex(values.shape[:-1]):
        for layer in range(L):
            for feature in range(H):
                at = layer * H + feature
                scaled = (values[index][at] - mean[at]) * scale[at]
                out[index][feature] += exponents[layer] / sum(exponents) * scaled
    return out


@pytest.fixture
def scaler():
    module = Scaler(L * H, L)
    generator = torch.Generator().manual_seed(0)
    module.fit(torch.randn(L * H, generator=generator) * 5, torch.rand(L * H, generator=generator) + 0.5)
    with torch.no_grad():
        module.weights.copy_(torch.tensor([0.3, -1.2, 2.0]))
    return module


def test_the_sum_over_layers_equals_its_formula(scaler):
    values = torch.randn(2, 5, L * H, generator=torch.Generator().manual_seed(1))
    expected = naive(values.numpy(), scaler.mean.numpy(), scaler.scale.numpy(), scaler.weights.detach().numpy())
    np.testing.assert_allclose(scaler(values).detach(), expected, atol=1e-5)
    linear = torch.nn.Linear(H, 6, bias=False)
    torch.testing.assert_close(project(values, scaler, linear), linear(scaler(values)), atol=1e-5, rtol=1e-5)


def test_weights_begin_equal_and_one_layer_has_none():
    assert Scaler(12, 3).shares().tolist() == pytest.approx([1 / 3] * 3)
    assert list(Scaler(12).parameters()) == []


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("layers"))


@pytest.fixture(scope="module")
def stores(corpus):
    """Speech keeps three layers, of which the second alone shows the emotion; text keeps the last one."""
    random = np.random.default_rng(0)
    directions = random.normal(size=(4, H)) * 3
    paths = {}
    for modality, layers in (("speech", [0, 6, 12]), ("text", [-1])):
        items = []
        for number, utterance in enumerate(corpus):
            frames = random.normal(size=(6, len(layers), H))
            if modality == "speech":
                frames[:, 1] += directions[number % 4]
            items.append(Item(utterance.id, "digest", frames.reshape(6, -1).astype(np.float16)))
        paths[modality] = corpus.folder / modality / "tiny-0123.h5"
        header = Header(modality, "tiny", "0123", {"layers": layers}, H * len(layers))
        write_store(paths[modality], header, items)
    return paths


@pytest.fixture(scope="module")
def data(corpus, stores):
    return read_data(corpus, {name: open_store(path) for name, path in stores.items()})


def test_the_feature_file_says_how_many_layers_there_are(corpus, stores, data):
    opened = {name: open_store(path) for name, path in stores.items()}
    assert {name: layer_count(one.spec) for name, one in opened.items()} == {"speech": 3, "text": 1}
    assert data.layers == {"speech": 3, "text": 1}
    assert read_data(corpus, opened, layer_weights=False).layers == {"speech": 1, "text": 1}


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_every_fusion_learns_which_layer_tells_alone_and_in_a_stack(corpus, data, fusion):
    config = TrainingConfig(epochs=8, batch_size=16, learning_rate=1e-2)
    entry = FUSIONS[fusion]

    def build():
        return entry.make(data.dims, 4, entry.config(), data.layers)

    rows = folds(corpus)[0].train
    alone = fit(build, data, RunSpec(rows, seed=0), config, steps=4)
    shares = alone.model.scalers["speech"].shares()
    assert int(shares.argmax()) == 1
    assert alone.model.scalers["text"].weights is None
    quick = TrainingConfig(epochs=1, batch_size=16)
    together = fit_together(build, data, [RunSpec(rows, seed) for seed in (0, 1)], quick, steps=4)
    for seed, one in enumerate(together):
        single = fit(build, data, RunSpec(rows, seed), quick, steps=4)
        np.testing.assert_allclose(predict(one, data, rows), predict(single, data, rows), atol=1e-3)


def test_a_run_folder_brings_its_layer_weights_back(corpus, stores, data, tmp_path):
    quick = TrainingConfig(epochs=1)
    [run_dir] = train_folds(corpus, stores, Experiment(training=quick, fold=1), runs=tmp_path)
    run = load_fusion(run_dir)
    assert run.config["features"]["speech"]["spec"]["layers"] == [0, 6, 12]
    assert run.model.scalers["speech"].weights.shape == (3,)
    without = TrainingConfig(epochs=1, layer_weights=False)
    [plain] = train_folds(corpus, stores, Experiment(training=without, fold=1, name="plain"), runs=tmp_path)
    assert load_fusion(plain).model.scalers["speech"].weights is None


def test_padding_changes_no_sum(scaler):
    values = torch.randn(1, 4, L * H)
    longer = torch.cat([values, torch.full((1, 2, L * H), 9.0)], 1)
    short, long = (PaddedFrames(scaler(v), torch.ones(v.shape[:2], dtype=torch.bool)) for v in (values, longer))
    torch.testing.assert_close(short.values, long.values[:, :4])
