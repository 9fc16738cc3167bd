import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from made_features import make_corpus, make_stores

from gia_mic.commands.fuse import fuse_train
from gia_mic.commands.settings import typed_settings
from gia_mic.extract.errors import RunError
from gia_mic.extract.store import open_store
from gia_mic.fuse import tune as module
from gia_mic.fuse.config import GiaMicConfig, TrainingConfig
from gia_mic.fuse.experiment import Experiment
from gia_mic.fuse.split import folds
from gia_mic.fuse.tune import TuneResult, tune

QUICK = TrainingConfig(epochs=2, batch_size=32)


def test_a_search_never_looks_at_the_test_part(corpus, stores, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    test = set(folds(corpus)[1].test.tolist())
    visited = []
    whole = module.fit

    def watched(build, data, spec, *others, **options):
        visited.append({*spec.rows.tolist(), *spec.choose.tolist()})
        return whole(build, data, spec, *others, **options)

    monkeypatch.setattr(module, "fit", watched)
    experiment = Experiment(fold=2, fusion="concat", training=QUICK)
    result = tune(corpus, stores, experiment, trials=3, out=tmp_path / "trials.json")
    assert len(visited) == len(result.trials) == 3
    assert not any(rows & test for rows in visited)
    assert result.ua == max(trial["UA"] for trial in result.trials)
    assert (result.experiment.training.epochs, result.experiment.fold) == (2, 2)
    assert "--learning-rate" in result.options()
    assert len(json.loads((tmp_path / "trials.json").read_text())["trials"]) == 3
    assert tune(corpus, stores, experiment, trials=3).trials == result.trials
    assert open_store(stores["text"]).modality == "text"


def test_what_is_missing_is_said(corpus, stores, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RunError, match=r"Tuning needs Optuna.*gia-mic\[tune\]"):
        tune(corpus, stores)


def test_no_trials_are_refused(corpus, stores):
    pytest.importorskip("optuna")
    with pytest.raises(RunError, match="0 trials are none"):
        tune(corpus, stores, trials=0)


def test_the_options_found_give_the_settings_found():
    training = TrainingConfig(
        epochs=4, learning_rate=1e-3, patience=3, class_weights=True, layer_weights=False, weight_decay=0.3
    )
    trials = [{"learning_rate": 1e-3, "weight_decay": 0.3, "modality_dropout": 0.0, "dropout": 0.1, "UA": 0.5}]
    experiment = Experiment("mult", GiaMicConfig(dropout=0.1), training, "speaker")
    words = TuneResult(0.5, 3, experiment, trials).options().split()
    options = fuse_train.make_context("fuse-train", words).params
    assert typed_settings(TrainingConfig, options) == {
        "epochs": 4,
        "learning_rate": 1e-3,
        "class_weights": True,
        "layer_weights": False,
        "weight_decay": 0.3,
        "modality_dropout": 0.0,
    }
    assert typed_settings(GiaMicConfig, options) == {"dropout": 0.1}
    assert (options["fusion"], options["protocol"]) == ("mult", "speaker")


def test_settings_out_of_range_are_refused(corpus, stores):
    pytest.importorskip("optuna")
    with pytest.raises(RunError, match="epochs is 0, and must be at least 1"):
        tune(corpus, stores, Experiment(training=TrainingConfig(epochs=0)))


def test_what_is_typed_is_what_is_trained_and_kept(tmp_path, monkeypatch, mer):
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    make_stores(make_corpus(tmp_path / "features"))
    words = "tune --trials 1 --fusion concat --epochs 2 --clip-norm 0.5 --patience 1 --out trials.json"
    answer = mer(*words.split())
    assert answer.exit_code == 0, answer.output
    stored = json.loads(Path("trials.json").read_text())
    assert stored["training"] == asdict(TrainingConfig(epochs=2, clip_norm=0.5, patience=1))
    assert all(
        part in answer.output for part in ("--fusion concat --epochs 2 ", "--clip-norm 0.5", "--learning-rate 0.0")
    )
    assert "patience" not in answer.output
