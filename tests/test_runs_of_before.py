"""Runs whose settings have the names of before are finished, read, reported, applied and exported as any other."""

import json
import shutil

import numpy as np
import safetensors.numpy

from gia_mic.export import export
from gia_mic.fuse.config import RENAMED, GiaMicConfig, TrainingConfig
from gia_mic.fuse.experiment import Experiment
from gia_mic.fuse.run import train_folds
from gia_mic.fuse.runs.folder import read_config
from gia_mic.fuse.runs.runs import read_runs
from gia_mic.fuse.runs.weights import load_fusion

TRAINING = TrainingConfig(epochs=2, clip_norm=0.5, warmup=0.2, unimodal_weight=0.5, soft_target=0.3, speech_rate_hz=0.0)
MODEL = GiaMicConfig(width=8, heads=2, constraint_weight=0.2)


def make_old(folder):
    """Give the settings of a run folder the names of before, and speech the stride it had."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    before = {new: old for old, new in RENAMED.items()}
    for part in ("model", "training"):
        config[part] = {before.get(name, name): value for name, value in config[part].items()}
    del config["training"]["speech_rate_hz"]
    config["training"]["speech_stride"] = 1
    assert config["training"]["warm_up"] == 0.2
    assert config["training"].keys() >= {"clip", "alone", "evidence", "drop_modality", "drop_features"}
    assert config["model"]["weight"] == 0.2
    assert not {*config["training"], *config["model"]} & set(RENAMED.values())
    path.write_text(json.dumps(config))


def train(corpus, stores, runs, **options):
    return train_folds(corpus, stores, Experiment(model=MODEL, training=TRAINING, **options), runs=runs)


def test_a_run_of_before_is_finished_with_the_same_settings(corpus, stores, tmp_path, caplog):
    folders = train(corpus, stores, tmp_path / "runs")
    for folder in folders[:3]:
        make_old(folder)
    bytes_before = [(folder / "config.json").read_bytes() for folder in folders]
    caplog.set_level("INFO", "gia_mic")
    assert train(corpus, stores, tmp_path / "runs") == folders
    assert caplog.messages == ["gia-mic: 5 of 5 runs are finished and kept."]
    assert [(folder / "config.json").read_bytes() for folder in folders] == bytes_before


def test_other_settings_than_those_of_before_are_trained_again(corpus, stores, tmp_path, caplog):
    [folder] = train(corpus, stores, tmp_path / "runs", fold=1)
    make_old(folder)
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"warm_up": 0.2', '"warm_up": 0.1'))
    train(corpus, stores, tmp_path / "runs", fold=1)
    assert "trained before with other settings" in caplog.messages[0]


def test_runs_of_before_and_of_now_are_one_run(corpus, stores, tmp_path):
    for folder in train(corpus, stores, tmp_path / "runs")[:3]:
        make_old(folder)
    [run] = read_runs(tmp_path / "runs")
    assert len(run.folds) == 5
    assert run.note == ""
    assert run.config["training"]["warmup"] == 0.2
    assert run.config["model"]["constraint_weight"] == 0.2


def test_a_run_of_before_is_the_same_model_and_is_handed_on_under_new_names(corpus, stores, tmp_path):
    [folder] = train(corpus, stores, tmp_path / "runs", fold=1)
    old = tmp_path / "old" / "toy" / "gia-mic" / "fold-1" / "seed-0"
    shutil.copytree(folder, old)
    make_old(old)
    run = load_fusion(old)
    expected = safetensors.numpy.load_file(folder / "model.safetensors")
    assert expected
    for name, value in run.model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), expected[name])
    assert run.model.weight == 0.2
    assert run.config["training"]["soft_target"] == 0.3
    export_dir = export((old,), tmp_path / "handed-on")
    assert "soft_target 0.3" in (export_dir / "README.md").read_text()
    [exported] = export_dir.glob("fold-*/seed-*")
    config = json.loads((exported / "config.json").read_text())
    assert config["training"] == read_config(folder)["training"]
