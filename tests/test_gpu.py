"""What a GPU computes is what the CPU computes, up to rounding."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from made_demo import train_demo
from made_recordings import TINY_SPEECH, make_corpus

from gia_mic.extract.device import find_devices
from gia_mic.extract.encoders.contract import Window
from gia_mic.extract.encoders.speech import SpeechEncoder
from gia_mic.extract.run import extract
from gia_mic.extract.store import open_store
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import read_data
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.models.registry import FUSIONS
from gia_mic.fuse.run import train_folds
from gia_mic.fuse.runs.fold import read_fold
from gia_mic.fuse.train import RunSpec, fit_together, predict
from gia_mic.predictor import load_predictor

pytestmark = pytest.mark.gpu

GPU = "cuda"


def test_it_is_taken_where_there_is_one():
    assert find_devices(None) == [GPU]


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-5), ("tf32", 3e-3), ("float16", 3e-3), ("bfloat16", 3e-2)]
)
def test_frames_are_those_of_the_cpu(tmp_path, precision, tolerance):
    recordings = make_corpus(tmp_path)
    frames = []
    for device, computed in (("cpu", "float32"), (GPU, precision)):
        make = partial(TINY_SPEECH, dtype="float32", precision=computed)
        path = extract(recordings, make, devices=(device,), quiet=True).path
        frames.append(np.array(open_store(path).values))
        path.unlink()
    assert np.linalg.norm(frames[1] - frames[0]) <= tolerance * np.linalg.norm(frames[0])


def test_an_extraction_that_runs_out_of_memory_goes_on_in_smaller_batches(tmp_path, log):
    recordings = make_corpus(tmp_path, count=200)
    make = partial(TINY_SPEECH, dtype="float32")
    path = extract(recordings, make, devices=(GPU,), quiet=True).path
    expected = np.array(open_store(path).values)
    path.unlink()
    encoder = make().to(GPU)
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 60 * 2**20) / total)
    try:
        result = extract(recordings, lambda: encoder, devices=(GPU,), quiet=True)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert not result.failed
    assert any("Out of memory: going on" in line for line in log.messages)
    np.testing.assert_allclose(open_store(result.path).values, expected, atol=1e-4)


def test_a_batch_waits_for_the_gpu_only_for_its_frames():
    rng = np.random.default_rng(0)
    encoder = TINY_SPEECH().to(GPU)
    counts = rng.integers(5, 40, 24)
    pieces = [Window(rng.normal(size=(n - 1) * 320 + 400).astype(np.float32), slice(0, int(n)), int(n)) for n in counts]
    encoder.encode(pieces)
    torch.cuda.set_sync_debug_mode("error")
    try:
        pending = encoder.begin(pieces, "float16")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [len(frames) for frames in pending.frames()] == counts.tolist()


def test_an_extraction_that_was_stopped_goes_on(tmp_path, monkeypatch):
    recordings = make_corpus(tmp_path)
    whole = extract(recordings, TINY_SPEECH, devices=(GPU,), budget=100, quiet=True).path
    expected = np.array(open_store(whole).values, np.float32)
    whole.unlink()
    begin, calls = SpeechEncoder.begin, []

    def stops(self, pieces, dtype="float32"):
        calls.append(len(pieces))
        if len(calls) > 2:
            raise KeyboardInterrupt
        return begin(self, pieces, dtype)

    monkeypatch.setattr(SpeechEncoder, "begin", stops)
    with pytest.raises(KeyboardInterrupt):
        extract(recordings, TINY_SPEECH, devices=(GPU,), budget=100, quiet=True)
    monkeypatch.setattr(SpeechEncoder, "begin", begin)
    path = extract(recordings, TINY_SPEECH, devices=(GPU,), budget=100, quiet=True).path
    np.testing.assert_allclose(np.array(open_store(path).values, np.float32), expected, atol=1e-2)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU here")
def test_two_gpus_make_what_one_makes(tmp_path):
    recordings = make_corpus(tmp_path)
    frames = []
    for devices in ((f"{GPU}:0",), (f"{GPU}:0", f"{GPU}:1")):
        path = extract(recordings, TINY_SPEECH, devices=devices, budget=100, quiet=True).path
        frames.append(np.array(open_store(path).values, np.float32))
        path.unlink()
    np.testing.assert_allclose(frames[1], frames[0], atol=1e-2)


def test_a_run_is_trained_on_it_and_answers_alike_on_both(demo, corpus, stores, tmp_path):
    (run_dir,) = train_demo(corpus, stores, tmp_path, fold=1, device=GPU)
    config = json.loads((run_dir / "config.json").read_text())
    assert config["provenance"]["device"] == torch.cuda.get_device_name()
    here, there = (
        load_predictor(demo[1] / "gia-mic", device=device).predict(text="I am so angry.") for device in ("cpu", GPU)
    )
    assert there.probabilities == pytest.approx(here.probabilities, abs=1e-3)


@pytest.fixture
def on_gpu(corpus, stores):
    """The toy corpus, on the GPU."""
    return read_data(corpus, {name: open_store(path) for name, path in stores.items()}).to(torch.device(GPU))


def trained(data, fusion, seeds):
    """Train a fusion for two epochs, in a stack where there are several seeds."""
    entry = FUSIONS[fusion]
    config = TrainingConfig(epochs=2, batch_size=16, learning_rate=1e-3, modality_dropout=0.3, feature_dropout=0.3)
    specs = [RunSpec(np.arange(64), seed) for seed in seeds]
    results = fit_together(lambda: entry.make(data.dims, 4, entry.config()), data, specs, config, steps=4)
    return [predict(result, data, np.arange(80)) for result in results]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_stack_is_what_its_runs_are_alone_and_on_the_cpu(on_gpu, fusion):
    together = trained(on_gpu, fusion, (0, 1, 2))
    for seed, one in enumerate(together):
        np.testing.assert_allclose(one, trained(on_gpu, fusion, (seed,))[0], atol=1e-3)
    np.testing.assert_allclose(together[0], trained(on_gpu.to(torch.device("cpu")), fusion, (0,))[0], atol=1e-3)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_run_repeats_up_to_rounding(on_gpu, fusion):
    np.testing.assert_allclose(trained(on_gpu, fusion, (0,))[0], trained(on_gpu, fusion, (0,))[0], atol=1e-3)


def test_a_stack_that_does_not_fit_is_divided(corpus, stores, tmp_path, log):
    training = TrainingConfig(epochs=1, batch_size=16)

    def runs(name, **options):
        experiment = Experiment("mult", training=training, fold=1, seeds=range(8), name=name)
        return train_folds(corpus, stores, experiment, Execution(device=GPU, **options), runs=tmp_path)

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    whole = runs("whole", stack=8)
    needed, there = torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()[1]
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.7 * needed / there)
    try:
        parts = runs("parts", stack=8)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any(message.startswith("Memory doesn't suffice for a stack of 8 runs") for message in log.messages)
    for one, other in zip(whole, parts, strict=True):
        actual, expected = (read_fold(run_dir).predictions.answers for run_dir in (one, other))
        np.testing.assert_allclose(actual, expected, atol=1e-3)
