"""Trained runs are shown in TensorBoard, Weights & Biases and MLflow: in the real ones where they are installed."""

import json
import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import pytest

from gia_mic.extract.errors import RunError
from gia_mic.fuse.config import GiaMicConfig, TrainingConfig
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.run import train_folds
from gia_mic.fuse.runs.history import read_history
from gia_mic.fuse.runs.logs import LOGS

pytestmark = pytest.mark.usefixtures("log")

SMALL = GiaMicConfig(width=16, heads=2, latents=2, layers=1)
QUICK = TrainingConfig(epochs=3, batch_size=16)


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch, tmp_path):
    """Neither the settings of whoever runs the tests, nor those that a test leaves."""
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_ERROR_REPORTING", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")  # so that what is set is taken back
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def train(corpus, stores, tmp_path):
    def trained(*logs, fold=2):
        experiment = Experiment(model=SMALL, training=QUICK, fold=fold)
        return train_folds(corpus, stores, experiment, Execution(logs=logs, jobs=1), runs=tmp_path / "runs")

    return trained


class Wandb(ModuleType):
    """Stands in for wandb: remembers what it is told."""

    Settings = SimpleNamespace

    def __init__(self):
        super().__init__("wandb")
        self.runs = []

    @contextmanager
    def init(self, **options):
        run = SimpleNamespace(options=options, rows=[], summary={})
        run.log = lambda values, step: run.rows.append((step, values))
        self.runs.append(run)
        yield run


class MLflow(ModuleType):
    """Stands in for mlflow: the same."""

    def __init__(self):
        super().__init__("mlflow")
        self.runs = []

    @contextmanager
    def start_run(self, **options):
        run = SimpleNamespace(options=options, rows=[], params={})
        self.log_params = run.params.update
        self.log_metrics = lambda values, step=None: run.rows.append((step, values))
        self.runs.append(run)
        yield run


def history_of(run_dir):
    """Number and values of each epoch, as the run's folder has them."""
    columns = read_history(run_dir)
    return [(n + 1, {name: values[n] for name, values in columns.items()}) for n in range(len(columns["loss"]))]


def test_weights_and_biases_gets_settings_epochs_and_scores(train, monkeypatch):
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    run_dirs = train("wandb", fold=None)
    assert [run.options["name"] for run in wandb.runs] == [f"gia-mic/fold-{k}/seed-0" for k in range(1, 6)]
    for run, run_dir in zip(wandb.runs, run_dirs, strict=True):
        metrics = json.loads((run_dir / "metrics.json").read_text())
        assert (run.options["mode"], run.options["group"], run.options.get("project")) == ("offline", "gia-mic", None)
        assert run.options["config"]["training"]["epochs"] == 3
        assert run.rows == history_of(run_dir)
        assert run.summary["tested_UA"] == metrics["UA"]
        assert all(isinstance(value, float) for value in run.summary.values())
    assert train("wandb", fold=None) == run_dirs
    assert len(wandb.runs) == 5, "a finished run is not shown again"


@pytest.mark.parametrize("mode", ["online", "disabled"])
def test_only_the_users_own_variable_sends_anything(train, monkeypatch, mode):
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setenv("WANDB_MODE", mode)
    train("wandb")
    assert wandb.runs[0].options["mode"] == mode


def test_mlflow_gets_settings_epochs_and_scores(train, monkeypatch):
    mlflow = MLflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    (run_dir,) = train("mlflow")
    (run,) = mlflow.runs
    assert run.options["run_name"] == "gia-mic/fold-2/seed-0"
    assert (run.params["training.epochs"], run.params["model.width"], run.params["seed"]) == (3, 16, 0)
    *epochs, (_, tested) = run.rows
    assert epochs == history_of(run_dir)
    assert tested["tested_UA"] == json.loads((run_dir / "metrics.json").read_text())["UA"]


def test_several_logs_change_nothing_of_a_run(train, monkeypatch, tmp_path):
    wandb, mlflow = Wandb(), MLflow()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    (run_dir,) = train("wandb", "mlflow")
    before = {name: (run_dir / name).read_bytes() for name in ("model.safetensors", "history.csv")}
    (run_dir / "metrics.json").unlink()
    assert train() == [run_dir]
    assert {name: (run_dir / name).read_bytes() for name in before} == before
    assert len(wandb.runs) == len(mlflow.runs) == 1


@pytest.mark.parametrize("name", LOGS)
def test_what_is_not_installed_is_said_before_any_work(train, monkeypatch, tmp_path, name):
    monkeypatch.setitem(sys.modules, LOGS[name].module, None)
    with pytest.raises(RunError, match=rf"isn't installed: run `pip install 'gia-mic\[{name}\]'`, or go without --log"):
        train(name)
    assert not (tmp_path / "runs").exists()


def test_there_is_no_other_log(train):
    with pytest.raises(RunError, match=r"no log 'comet': choose of tensorboard, wandb, mlflow\."):
        train("comet")


def test_a_refusal_is_one_sentence_and_the_run_is_kept(train, monkeypatch, log):
    wandb = Wandb()
    wandb.init = lambda **options: 1 / 0
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    refusal = (
        r"fold-2/seed-0: the run is trained, but Weights & Biases refused it \(division by zero\): .* without --log"
    )
    with pytest.raises(RunError, match=refusal):
        train("wandb")
    train("wandb")
    assert log.messages == ["gia-mic: 1 of 1 runs are finished and kept."]


def test_the_option_of_before_names_the_new_one(mer):
    answer = mer("fuse-train", "--tensorboard")
    assert answer.exit_code == 2
    assert "--tensorboard is now --log tensorboard." in answer.stderr


def test_tensorboard_itself_reads_the_epochs(train):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run_dir,) = train("tensorboard")
    events = EventAccumulator(str(run_dir)).Reload()
    for name, values in read_history(run_dir).items():
        assert [event.step for event in events.Scalars(name)] == [1, 2, 3]
        assert [event.value for event in events.Scalars(name)] == pytest.approx(values)


@pytest.mark.filterwarnings("default")
def test_weights_and_biases_itself_works_offline(train, tmp_path):
    pytest.importorskip("wandb")
    train("wandb", fold=None)
    assert len(list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))) == 5


@pytest.mark.filterwarnings("default")
def test_mlflow_itself_keeps_the_runs_in_the_current_folder(train, monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with mlflow.start_run(run_name="of the caller"):
        (run_dir,) = train("mlflow")
    runs = {run.info.run_name: run for run in mlflow.search_runs(output_format="list")}
    data = runs["gia-mic/fold-2/seed-0"].data
    assert data.params["training.epochs"] == "3"
    assert data.metrics["tested_UA"] == json.loads((run_dir / "metrics.json").read_text())["UA"]
    assert data.metrics["loss"] == pytest.approx(read_history(run_dir)["loss"][-1])
