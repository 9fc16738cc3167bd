"""What training asks of a device, on one that is pretended: the CPU's values by a GPU's rules, all of it counted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_errors import OUT_OF_MEMORY
from made_features import make_corpus, make_stores, utterances

from gia_mic.extract.errors import RunError
from gia_mic.extract.store import open_store
from gia_mic.fuse import run
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import Data, read_data
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.models.layers import PaddedFrames
from gia_mic.fuse.models.registry import FUSIONS
from gia_mic.fuse.packed import PackedFrames
from gia_mic.fuse.run import train_folds
from gia_mic.fuse.runs.fold import read_fold
from gia_mic.fuse.stack import Stack
from gia_mic.fuse.train import RunSpec, bytes_of_run, fit_together, predict, predict_together, steps_per_epoch

pretended = pytest.importorskip("pretended", reason="this torch has no backends in Python").pretended

EVERYTHING = {"modality_dropout": 0.3, "feature_dropout": 0.3, "class_weights": True}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A corpus of 48 utterances, some of which lack a modality; its feature files."""
    corpus = make_corpus(tmp_path_factory.mktemp("device"), utterances(48))
    return corpus, make_stores(corpus, missing={"text": corpus.ids[3:9], "speech": ["u003"]})


def read_frames(frames, **options):
    corpus, stores = frames
    return read_data(corpus, {name: open_store(path) for name, path in stores.items()}, **options)


def train(fusion, data, runs=3, batch_size=16, **settings):
    entry = FUSIONS[fusion]
    config = TrainingConfig(epochs=1, batch_size=batch_size, learning_rate=1e-3, **settings)
    specs = [RunSpec(np.arange(4 * seed, 32 + 4 * seed), seed) for seed in range(runs)]
    steps = steps_per_epoch([32], batch_size)
    return fit_together(lambda: entry.make(data.dims, 4, entry.config()), data, specs, config, steps=steps)


def a_step(fusion, data, gpu, **settings):
    """Return the waits, copies and kernels of a step: the difference between an epoch of 8 and one of 4."""
    counts = []
    for batch_size in (32, 4, 8):  # the first meets the frames' statistics, which are kept
        gpu.reset()
        train(fusion, data, batch_size=batch_size, **settings)
        counts.append(np.array([gpu.waits.total(), gpu.uploads.total(), gpu.kernels]))
    return ((counts[1] - counts[2]) / 4).tolist()


@pytest.mark.parametrize("location", ["on the device", "on the host", "in files"])
@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_is_trained_as_on_the_cpu(frames, fusion, runs, location):
    data = read_frames(frames, memory_gib=0 if location == "in files" else None)
    on_cpu = train(fusion, data, runs, **EVERYTHING)
    everybody = np.arange(48)
    with pretended() as gpu:
        gpu.no_float64 = True
        there = data.to(torch.device("pretended"), frames=location == "on the device")
        results = train(fusion, there, runs, **EVERYTHING)
        answers = predict_together(results, there, [everybody] * runs)
        for one, other in zip(results, on_cpu, strict=True):
            assert one.history == [pytest.approx(row, abs=1e-5) for row in other.history]
    for one, other in zip(answers, on_cpu, strict=True):
        np.testing.assert_allclose(one, predict(other, data, everybody), atol=1e-4)


KERNELS = {"gia-mic": 1400, "mult": 5300, "misa": 4150}
"""Most kernels of a step; of the other fusions 800. A tenth more than there are."""


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_step_of_a_stack_waits_for_nothing_and_copies_nothing(frames, fusion):
    with pretended() as gpu:
        data = read_frames(frames).to(torch.device("pretended"))
        waits, copies, kernels = a_step(fusion, data, gpu, **EVERYTHING)
    assert (waits, copies) == (0, 0)
    assert kernels < KERNELS.get(fusion, 800)


def test_frames_on_the_host_are_carried_once_a_step_with_their_masks(frames):
    with pretended() as gpu:
        data = read_frames(frames).to(torch.device("pretended"), frames=False)
        waits, copies, _ = a_step("concat", data, gpu, **EVERYTHING)
    assert (waits, copies) == (0, 2 * len(data.modalities))


@pytest.mark.parametrize("select", ["last", "dev"])
def test_an_epoch_of_a_stack_waits_as_often_as_one_of_a_single_run(frames, select):
    choose = np.arange(40, 48) if select == "dev" else None
    config = TrainingConfig(batch_size=16, **EVERYTHING)
    entry, waits = FUSIONS["concat"], {}
    with pretended() as gpu:
        data = read_frames(frames).to(torch.device("pretended"))
        for runs in (1, 3):
            counts = []
            for epochs in (1, 2, 3):
                gpu.reset()
                specs = [RunSpec(np.arange(32), seed, choose, "test") for seed in range(runs)]
                longer = replace(config, epochs=epochs)
                fit_together(lambda: entry.make(data.dims, 4, entry.config()), data, specs, longer, steps=2)
                counts.append(gpu.waits.total())
            waits[runs] = counts[2] - counts[1]
    assert waits[1] == waits[3] <= 3


WORDS = [
    *OUT_OF_MEMORY,
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
]


def folds_of(frames, runs, **execution):
    corpus, stores = frames
    experiment = Experiment("concat", training=TrainingConfig(epochs=1, batch_size=16), fold=1, seeds=range(4))
    return train_folds(corpus, stores, experiment, Execution(device="pretended", **execution), runs=runs)


@pytest.mark.parametrize("error", WORDS, ids=lambda error: str(error)[:24])
def test_a_stack_that_does_not_fit_is_divided(frames, tmp_path, error, log):
    with pretended() as gpu:
        whole = folds_of(frames, tmp_path / "whole")
        # the weights of four runs side by side are the largest of what is made
        gpu.room, gpu.error = gpu.largest - 1, lambda: error
        halves = folds_of(frames, tmp_path / "halves")
    assert "Memory doesn't suffice for a stack of 4 runs: going on with 2." in log.messages
    for one, other in zip(whole, halves, strict=True):
        actual, expected = (read_fold(run_dir).predictions.answers for run_dir in (one, other))
        np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_memory_that_does_not_suffice_for_one_run_is_one_sentence(frames, tmp_path):
    with pretended() as gpu:
        gpu.room = 4000
        with pytest.raises(RunError, match=r"memory is too small for one run \(CUDA out of memory.*--batch-size"):
            folds_of(frames, tmp_path)


def test_a_stack_is_as_large_as_memory_lets_it_be(frames, tmp_path, monkeypatch, log):
    sizes = []
    monkeypatch.setattr(
        run, "fit_together", lambda build, data, specs, *rest, **options: sizes.append(len(specs)) or 1 / 0
    )
    for room, expected in ((None, 4), (2**40, 4), (1, 1)):
        monkeypatch.setattr(run, "free_bytes", lambda device, room=room: room)
        with pretended(), pytest.raises(ZeroDivisionError):
            folds_of(frames, tmp_path)
        assert sizes.pop() == expected


def memory_of_run(fusion, speech, text, visual):
    """Return the bytes that a run takes, for 8 utterances of so many frames of 64 features, and those of the frames."""
    packed, B, D = {}, 8, 64
    for name, length in {"speech": speech, "text": text, "visual": visual}.items():
        lengths = torch.full((B,), length)
        packed[name] = PackedFrames(torch.zeros(B * length, D).half(), lengths.cumsum(0) - lengths, lengths)
    data, entry = Data(packed, torch.zeros(B, dtype=torch.int64), ("a", "b")), FUSIONS[fusion]
    size = bytes_of_run(lambda: entry.make(data.dims, 2, entry.config()), data, TrainingConfig(batch_size=B))
    return size, 2 * data.size


TIMES_THE_FRAMES = {"gia-mic": 22, "mult": 150, "misa": 20, "tfn": 16, "lmf": 12}
"""Most bytes a run takes, as a multiple of its frames in float32; of the other fusions 4. A tenth more than it does."""


@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_a_run_of_a_stack_keeps_is_bounded_and_grows_with_lengths_not_with_their_square(fusion):
    size, frames = memory_of_run(fusion, 96, 12, 8)
    assert size < TIMES_THE_FRAMES.get(fusion, 4) * frames
    assert memory_of_run(fusion, 192, 24, 16)[0] < 2 * size


def test_nothing_as_large_as_the_scores_of_attention_is_kept_by_a_stack_of_mult():
    R, B, T, shapes = 2, 2, 150, []
    model = FUSIONS["mult"].make({"speech": 6, "text": 5}, 4, FUSIONS["mult"].config(layers=1))
    stack = Stack([model] * R)
    batch = {
        name: PaddedFrames(torch.randn(R, B, T, dim), torch.ones(R, B, T, dtype=torch.bool))
        for name, dim in {"speech": 6, "text": 5}.items()
    }
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (shapes.append(tensor.shape), tensor)[1], lambda x: x
    )
    with hooks:
        stack(batch, None, {}).logits.sum().backward()
    assert stack.rows.grad is not None
    assert len(shapes) > 50
    assert not [shape for shape in shapes if list(shape).count(T) > 1]
