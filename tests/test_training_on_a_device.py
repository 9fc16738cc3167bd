"""What training asks of a device, on one that is pretended: the CPU's values by a GPU's rules, and everything counted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_features import make_corpus, make_stores, utterances

from gia_mic.extract.store import open_store
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import read_data
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.models.registry import FUSIONS
from gia_mic.fuse.run import train_folds
from gia_mic.fuse.runs.fold import read_fold
from gia_mic.fuse.train import RunSpec, fit_together, predict, predict_together, steps_per_epoch

pretended = pytest.importorskip("pretended", reason="this torch has no backends in Python").pretended

EVERYTHING = {"modality_dropout": 0.3, "feature_dropout": 0.3, "class_weights": True}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A corpus of 48 utterances, some of which lack a modality; its feature files."""
    corpus = make_corpus(tmp_path_factory.mktemp("device"), utterances(48))
    return corpus, make_stores(corpus, missing={"text": corpus.ids[3:9], "speech": ["u003"]})


def read(frames, **options):
    corpus, stores = frames
    return read_data(corpus, {name: open_store(path) for name, path in stores.items()}, **options)


def train(fusion, data, runs=3, batch_size=16, **settings):
    entry = FUSIONS[fusion]
    config = TrainingConfig(epochs=1, batch_size=batch_size, learning_rate=1e-3, **settings)
    specs = [RunSpec(np.arange(4 * seed, 32 + 4 * seed), seed) for seed in range(runs)]
    steps = steps_per_epoch([32], batch_size)
    return fit_together(lambda: entry.make(data.dims, 4, entry.config()), data, specs, config, steps=steps)


def a_step(fusion, data, seen, count, **settings):
    """Return what a step of training takes, as `count` says it: the difference between an epoch of 8 and one of 4."""
    taken = []
    for batch_size in (4, 8):
        seen.reset()
        train(fusion, data, batch_size=batch_size, **settings)
        taken.append(count(seen))
    return (taken[0] - taken[1]) / 4


@pytest.mark.parametrize("kept", ["on the device", "on the host", "in files"])
@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_is_trained_as_on_the_cpu(frames, fusion, runs, kept):
    data = read(frames, memory_gib=0 if kept == "in files" else None)
    on_cpu = train(fusion, data, runs, **EVERYTHING)
    everybody = np.arange(48)
    with pretended() as seen:
        seen.no_float64 = True
        there = data.to(torch.device("pretended"), frames=kept == "on the device")
        results = train(fusion, there, runs, **EVERYTHING)
        found = predict_together([result.model for result in results], there, [everybody] * runs)
        for one, other in zip(results, on_cpu, strict=True):
            assert one.history == [pytest.approx(row, abs=1e-5) for row in other.history]
    for one, other in zip(found, on_cpu, strict=True):
        np.testing.assert_allclose(one, predict(other.model, data, everybody), atol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_step_of_a_stack_waits_for_nothing_and_copies_nothing(frames, fusion):
    with pretended() as seen:
        data = read(frames).to(torch.device("pretended"))
        assert a_step(fusion, data, seen, lambda seen: seen.waits.total(), **EVERYTHING) == 0
        assert a_step(fusion, data, seen, lambda seen: seen.uploads.total(), **EVERYTHING) == 0
        print(fusion, a_step(fusion, data, seen, lambda seen: seen.kernels), a_step(fusion, data, seen, lambda seen: seen.kernels, **EVERYTHING))
