import json
import os
import signal
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made_recordings import make_corpus

from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.errors import MerError, RunError
from gia_mic.extract.run import extract
from gia_mic.extract.store import open_store
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.models.registry import configure
from gia_mic.fuse.run import train_here
from gia_mic.fuse.runs.fold import read_fold
from gia_mic.fuse.tune import tune

ray = pytest.importorskip("ray", reason="Ray comes with the extra gia-mic[ray]")

from gia_mic.extract.on_ray import ray_engine  # noqa: E402
from gia_mic.fuse.on_ray import _by_seeds, train_on_ray  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")  # Ray's own

OWN = f"{Path(__file__).parents[1] / 'examples' / 'my_fusion.py'}:GatedMean"
TINY = partial(make_encoder, "speech", "tiny", dtype="float32")


@pytest.fixture(scope="module")
def engine():
    """Two workers of one core each, on a cluster of this machine's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        ray.init(
            address="local",
            num_cpus=2,
            num_gpus=0,
            object_store_memory=80 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}},
        )
        yield ray_engine(workers=2, device="cpu")
        ray.shutdown()


class DiesOnce:
    """An encoder whose process is killed in the middle of the job, the first time it comes there."""

    def __init__(self, flag):
        self.inner, self.flag = TINY(), flag

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def to(self, device):
        self.inner = self.inner.to(device)
        return self

    def begin(self, pieces, dtype):
        if len(list(self.flag.parent.glob("features/made/speech/*.parts/*.h5"))) > 2 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.begin(pieces, dtype)


def undisturbed(corpus):
    """What one process makes of the corpus, read into memory; the file is removed."""
    path = extract(corpus, TINY, budget=100, quiet=True).path
    store = open_store(path)
    expected = (store.ids, store.status.tolist(), store.sources, {i: np.array(store.frames(i)) for i in store.ids})
    path.unlink()
    return expected


def assert_same(path, expected):
    ids, status, sources, frames = expected
    store = open_store(path)
    assert store.ids == ids
    assert store.status.tolist() == status
    assert store.sources == sources
    for utterance_id in ids:
        np.testing.assert_allclose(store.frames(utterance_id), frames[utterance_id], rtol=1e-4, atol=1e-4)
    assert not path.with_suffix(".parts").exists()


def test_two_workers_give_what_one_process_gives_though_one_is_killed_and_a_file_is_broken(tmp_path, engine):
    corpus = make_corpus(tmp_path, count=24)
    sound = (tmp_path / "corpus" / "u004.wav").read_bytes()
    (tmp_path / "corpus" / "u004.wav").write_bytes(sound[:2000])
    expected = undisturbed(corpus)
    outcome = extract(corpus, partial(DiesOnce, tmp_path / "died"), budget=100, engine=engine)
    assert (tmp_path / "died").exists()
    assert (outcome.extracted, outcome.reused, outcome.missing, list(outcome.failed)) == (22, 0, 1, ["u004"])
    assert_same(outcome.path, expected)
    (tmp_path / "corpus" / "u004.wav").write_bytes(sound)
    again = extract(corpus, TINY, budget=100, quiet=True)
    assert (again.extracted, again.reused) == (1, 22)


def test_a_device_the_cluster_does_not_have_is_refused(tmp_path, engine):
    with pytest.raises(MerError, match="The Ray cluster has no GPU for the device 'cuda': choose cpu"):
        extract(make_corpus(tmp_path), TINY, engine=ray_engine(device="cuda"))


def test_experiments_folds_and_seeds_are_trained_as_here(corpus, stores, tmp_path, engine, caplog):
    quick, seeds, on_cpu = TrainingConfig(epochs=2), (0, 1), Execution(device="cpu")
    experiments = [
        Experiment("concat", training=quick, fold=2, seeds=seeds),
        Experiment("late", training=quick, protocol="speaker", seeds=seeds, allow_shared=True),
        Experiment(OWN, model=configure(OWN, {"width": 8}), training=quick, fold=2),
    ]
    here = train_here(corpus, stores, experiments, on_cpu, runs=tmp_path / "here")
    there = train_on_ray(corpus, stores, experiments, on_cpu, runs=tmp_path / "there")
    assert len(there) == 2 + 10 * 2 + 1
    assert [p.relative_to(tmp_path / "there") for p in there] == [p.relative_to(tmp_path / "here") for p in here]
    for one, other in zip(here, there, strict=True):
        actual, expected = (json.loads((run_dir / "metrics.json").read_text())["confusion"] for run_dir in (one, other))
        assert actual == expected
    caplog.clear()
    caplog.set_level("INFO", "gia_mic")
    train_on_ray(corpus, stores, experiments[:1], on_cpu, runs=tmp_path / "there")
    assert caplog.messages == ["concat: 1 of 1 runs are finished and kept."] * 2


@pytest.mark.parametrize(
    ("parts", "divided"), [(0, [(0, 1, 2, 3, 4)]), (1, [(0, 1, 2, 3, 4)]), (3, [(0, 1), (2, 3), (4,)]), (9, 5)]
)
def test_all_seeds_that_a_gpu_gets_are_one_task(parts, divided):
    expected = [(seed,) for seed in range(5)] if divided == 5 else divided
    assert [tuple(part.seeds) for part in _by_seeds(Experiment(seeds=range(5)), parts)] == expected


def test_what_is_wrong_with_a_training_is_said_as_here(corpus, stores, tmp_path, engine):
    with pytest.raises(RunError, match="there is no fusion 'nonsense'"):
        train_on_ray(corpus, stores, [Experiment("nonsense")], Execution(device="cpu"), runs=tmp_path / "runs")


def test_a_search_on_the_cluster_is_that_of_one_machine(corpus, stores, tmp_path, engine):
    quick = Experiment("concat", training=TrainingConfig(epochs=1), fold=1)
    space, on_cpu = {"learning_rate": (1e-3, 5e-3)}, Execution(device="cpu")
    results = []
    for name, train in (("here", train_here), ("there", train_on_ray)):
        [run_dir] = tune(corpus, stores, quick, on_cpu, runs=tmp_path / name, trials=2, space=space, train=train)
        results.append(read_fold(run_dir))
    here, there = results
    assert len(here.config["trials"]) == 2
    assert here.config["trials"] == there.config["trials"]
    assert here.metrics["confusion"] == there.metrics["confusion"]
