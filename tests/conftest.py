"""What many tests share: the `mer` command, a toy corpus with features, a trained run, and where it is all computed."""

import os
import shutil
import time

# Tests side by side take a core each. Torch reads this when it is imported, and so do the processes that tests begin.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from click.testing import CliRunner
from made_demo import make_demo, train_demo
from made_features import make_corpus, make_stores
from made_hub import Hub
from made_target_runs import train_targets

from gia_mic import cli
from gia_mic.fuse.config import PooledConfig, TrainingConfig
from gia_mic.predictor import load_predictor

is_gpu_available = torch.cuda.is_available


def pytest_collection_modifyitems(items):
    if not is_gpu_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="there is no GPU here"))


@pytest.fixture(scope="session", autouse=True)
def _no_gpu():
    """Compute on the CPU, whatever this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keep notes and mirrors out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _gpu(request, monkeypatch):
    """Let a test that is marked `gpu` see the GPU."""
    if request.node.get_closest_marker("gpu"):
        monkeypatch.setattr(torch.cuda, "is_available", is_gpu_available)


@pytest.fixture(scope="session")
def mer():
    """Run a command in this process; return what it printed and its exit code."""

    def run(*words, **options):
        return CliRunner().invoke(cli.main, [str(word) for word in words], **options)

    return run


@pytest.fixture
def log(caplog):
    """What is said at level INFO and above."""
    caplog.set_level("INFO", "gia_mic")
    return caplog


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """The toy corpus of 80 utterances. All tests share it: none may write into its folder."""
    return make_corpus(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def stores(corpus):
    """The feature file of each modality of the toy corpus."""
    return make_stores(corpus)


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A demo corpus and its runs, to be read only; the feature files are away, as on another machine.

    gia-mic has three models of two folds; gia-mic-st, gia-mic-t and late have one each.
    """
    folder = tmp_path_factory.mktemp("demo")
    corpus, stores = make_demo(folder)
    speech_text = {name: stores[name] for name in ("speech", "text")}
    runs = folder / "runs"
    train_demo(corpus, stores, runs, fold=1, command="mer fuse-train --secret")
    train_demo(corpus, stores, runs, fold=2, seeds=(0, 1))
    train_demo(corpus, speech_text, runs, fold=1, training=TrainingConfig(epochs=2, batch_size=8, speech_rate_hz=17))
    train_demo(corpus, {"text": stores["text"]}, runs, fold=1)
    train_demo(corpus, stores, runs, fold=1, fusion="late", model=PooledConfig(width=8))
    for path in stores.values():
        path.unlink()
    return corpus, runs / "demo"


@pytest.fixture(scope="session")
def exported_run(demo, tmp_path_factory):
    """A run of two folds without corpus or features, and what it says of a text."""
    run = tmp_path_factory.mktemp("made") / "runs" / "demo" / "gia-mic"
    shutil.copytree(demo[1] / "gia-mic", run, ignore=shutil.ignore_patterns("seed-1"))
    return run, load_predictor(run, device="cpu").predict(text="I am so angry.")


@pytest.fixture(scope="session")
def targets(tmp_path_factory):
    """A demo corpus that has every target, and by target a run of two folds on it; to be read only."""
    return train_targets(tmp_path_factory.mktemp("targets"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The stand-in; an empty cache; nobody is logged in."""
    hub = Hub()
    for name, value in {
        "ENDPOINT": hub.address,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_TOKEN_PATH": str(tmp_path / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between two attempts, the library's as well
    yield hub
    hub.stop()


@pytest.fixture
def offline(monkeypatch):
    """Ends the network when it is called."""
    return lambda: monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
