import json
import shutil
from dataclasses import fields, replace

import numpy as np
import pandas
import pytest
from made_features import CLASSES, make_corpus, make_stores, utterances

from gia_mic.extract.errors import Interrupted, RunError
from gia_mic.fuse import run as run_module
from gia_mic.fuse import train as train_module
from gia_mic.fuse.config import GiaMicConfig, TrainingConfig
from gia_mic.fuse.data import read_data
from gia_mic.fuse.experiment import Execution, Experiment, default_name
from gia_mic.fuse.run import plan_runs, train_folds, train_here
from gia_mic.fuse.runs import folder
from gia_mic.fuse.runs.history import write_history
from gia_mic.fuse.runs.weights import load_fusion
from gia_mic.fuse.train import predict

pytestmark = pytest.mark.usefixtures("log")

SMALL = GiaMicConfig(width=16, heads=2, latents=2, layers=1)
QUICK = TrainingConfig(epochs=3, batch_size=16, learning_rate=5e-3)


def train(corpus, stores, runs, **options):
    settings = {field.name: options.pop(field.name) for field in fields(Execution) if field.name in options}
    experiment = Experiment(**{"model": SMALL, "training": QUICK, **options})
    return train_folds(corpus, stores, experiment, Execution(**settings), runs=runs)


def messages(log):
    """What has been said since this was asked last."""
    texts = log.messages.copy()
    log.clear()
    return texts


def contents(run_dir):
    return {name: (run_dir / name).read_bytes() for name in (folder.WEIGHTS, folder.HISTORY, folder.PREDICTIONS)}


def test_a_run_folder_holds_what_it_promises(corpus, stores, tmp_path):
    (run_dir,) = train(corpus, stores, tmp_path, fold=3, command="mer fuse-train --fold 3")
    assert run_dir == tmp_path / "toy" / "gia-mic" / "fold-3" / "seed-0"
    config = json.loads((run_dir / "config.json").read_text())
    assert config["corpus"] == {
        "name": "toy", "digest": corpus.digest, "utterances": 80, "classes": list(CLASSES), "ceiling": 0.9,
    }  # fmt: skip
    assert (config["fold"], config["fold_value"], config["folds"], config["seed"]) == (3, "Ses10", 5, 0)
    assert (config["protocol"], config["select"]) == ("session", "last")
    assert config["features"]["text"] == {
        "spec": {"seed": 0},
        "file": "text/tiny-0123.h5", "encoder": "tiny", "fingerprint": "0123", "dim": 5, "frame_rate_hz": None,
    }  # fmt: skip
    assert config["model"]["name"] == "gia-mic"
    assert config["model"]["width"] == 16
    assert config["training"]["epochs"] == 3
    assert config["provenance"]["command"] == "mer fuse-train --fold 3"
    assert set(config["provenance"]["versions"]) == {"gia-mic", "python", "torch", "numpy"}
    metrics = json.loads((run_dir / "metrics.json").read_text())
    table = pandas.read_parquet(run_dir / "predictions.parquet")
    assert list(table) == [
        "id",
        "true",
        "predicted",
        "probabilities",
        "dialog",
        "speaker",
        "session",
        "scenario",
        "text",
    ]
    assert set(table["session"]) == {"Ses10"}
    assert len(table) == metrics["test_utterances"] == 16
    assert metrics["train_utterances"] == 64
    assert metrics["WA"] == np.mean(table["true"] == table["predicted"])
    counted = pandas.crosstab(table["true"], table["predicted"]).reindex(index=CLASSES, columns=CLASSES, fill_value=0)
    assert metrics["confusion"] == counted.to_numpy().tolist()
    probabilities = np.stack(table["probabilities"])
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert [CLASSES[best] for best in probabilities.argmax(1)] == table["predicted"].tolist()
    assert len((run_dir / "history.csv").read_text().splitlines()) == 4


def test_a_stored_model_gives_its_stored_predictions(corpus, stores, tmp_path):
    from gia_mic.extract.store import open_store

    (run_dir,) = train(corpus, stores, tmp_path, fold=1)
    run = load_fusion(run_dir)
    data = read_data(corpus, {name: open_store(path) for name, path in stores.items()})
    table = pandas.read_parquet(run_dir / "predictions.parquet")
    rows = np.array([corpus.ids.index(name) for name in table["id"]])
    np.testing.assert_allclose(predict(run, data, rows), np.stack(table["probabilities"]), atol=1e-6)
    assert run.config["fold"] == 1


def test_finished_folds_are_kept_and_unfinished_ones_trained_to_the_same_end(corpus, stores, tmp_path, log):
    run_dirs = train(corpus, stores, tmp_path)
    assert [run_dir.parent.name for run_dir in run_dirs] == [f"fold-{k}" for k in range(1, 6)]
    assert messages(log) == []
    before = [contents(run_dir) for run_dir in run_dirs]
    stamps = [(run_dir / "metrics.json").stat().st_mtime_ns for run_dir in run_dirs]
    (run_dirs[2] / "metrics.json").unlink()
    shutil.rmtree(run_dirs[4])
    assert train(corpus, stores, tmp_path) == run_dirs
    assert messages(log) == ["gia-mic: 3 of 5 runs are finished and kept."]
    assert [contents(run_dir) for run_dir in run_dirs] == before
    after = [(run_dir / "metrics.json").stat().st_mtime_ns for run_dir in run_dirs]
    assert [one == other for one, other in zip(stamps, after, strict=True)] == [True, True, False, True, False]


def test_a_changed_setting_trains_again_and_says_so(corpus, stores, tmp_path, log):
    (run_dir,) = train(corpus, stores, tmp_path, fold=2)
    before = contents(run_dir)
    changed = TrainingConfig(epochs=4, batch_size=16, learning_rate=5e-3)
    train(corpus, stores, tmp_path, fold=2, training=changed)
    assert messages(log) == [f"{run_dir}: trained before with other settings; training it again."]
    assert contents(run_dir) != before
    (run_dir / "config.json").write_text("{")
    train(corpus, stores, tmp_path, fold=2)
    assert contents(run_dir) == before


def test_results_do_not_depend_on_what_is_trained_beside(corpus, stores, tmp_path):
    together = train(corpus, stores, tmp_path / "together", seeds=(0, 1), jobs=3)
    one_by_one = train(corpus, stores, tmp_path / "alone", seeds=(0, 1), jobs=1)
    (alone,) = train(corpus, stores, tmp_path / "single", fold=4, seeds=(1,))
    assert len(together) == 10
    assert [contents(run_dir) for run_dir in together] == [contents(run_dir) for run_dir in one_by_one]
    assert contents(alone) == contents(together[7])
    assert contents(together[6]) != contents(together[7])


def test_experiments_beside_each_other_become_what_they_are_alone(corpus, stores, tmp_path, log):
    experiments = [
        Experiment(model=SMALL, training=QUICK, fold=2),
        Experiment("concat", training=replace(QUICK, epochs=2), fold=4),
        Experiment("late", training=replace(QUICK, speech_rate_hz=6), fold=1),
    ]
    execution = Execution(device="cpu", jobs=2)
    together = train_here(corpus, stores, experiments, execution, runs=tmp_path / "together")
    for experiment, run_dir in zip(experiments, together, strict=True):
        [alone] = train_folds(corpus, stores, experiment, execution, runs=tmp_path / "alone")
        assert contents(alone) == contents(run_dir)
    messages(log)
    assert train_here(corpus, stores, experiments, execution, runs=tmp_path / "together") == together
    assert messages(log) == [f"{name}: 1 of 1 runs are finished and kept." for name in ("gia-mic", "concat", "late")]


def test_a_plan_writes_nothing_and_says_what_is_finished(corpus, stores, tmp_path):
    from gia_mic.extract.store import open_store

    opened = {name: open_store(path) for name, path in stores.items()}
    experiment = Experiment(model=SMALL, training=QUICK, seeds=(0, 7), select="dev")
    tasks = plan_runs(corpus, opened, experiment, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert [(task.fold.number, task.seed) for task in tasks] == [(k, seed) for k in range(1, 6) for seed in (0, 7)]
    assert {task.state for task in tasks} == {"new"}
    assert {task.steps for task in tasks} == {3}  # 48 utterances: a session of 16 is set apart
    for task in tasks:
        assert not {*task.rows.tolist(), *task.choose.tolist()} & {*task.fold.test.tolist()}
    assert train_folds(corpus, stores, replace(experiment, fold=2), runs=tmp_path / "runs") == [
        task.run_dir for task in tasks if task.fold.number == 2
    ]
    states = {(task.fold.number, task.state) for task in plan_runs(corpus, opened, experiment, tmp_path / "runs")}
    assert states == {(1, "new"), (2, "finished"), (3, "new"), (4, "new"), (5, "new")}
    other = replace(experiment, training=TrainingConfig(epochs=2), fold=2)
    assert {task.state for task in plan_runs(corpus, opened, other, tmp_path / "runs")} == {"changed"}


@pytest.mark.parametrize(("options", "pools"), [({"jobs": 3}, 3), ({"jobs": 8}, 5), ({"jobs": 3, "stack": 3}, 2)])
def test_what_trains_side_by_side_gets_a_pool_of_memory_each(corpus, stores, tmp_path, monkeypatch, options, pools):
    pool_counts = []
    monkeypatch.setattr(train_module, "keep_freed", pool_counts.append)
    train(corpus, stores, tmp_path, training=TrainingConfig(epochs=1, batch_size=16), **options)
    assert pool_counts == [pools]


def test_runs_trained_in_a_stack_are_those_trained_alone(corpus, stores, tmp_path):
    stacked = train(corpus, stores, tmp_path / "stacked", seeds=(0, 1), stack=4)
    alone = train(corpus, stores, tmp_path / "alone", seeds=(0, 1))
    for one, other in zip(stacked, alone, strict=True):
        probabilities = [
            np.stack(pandas.read_parquet(run_dir / "predictions.parquet")["probabilities"]) for run_dir in (one, other)
        ]
        np.testing.assert_allclose(*probabilities, atol=1e-3)
        assert (one / "metrics.json").exists()


def test_selection_on_dev_and_on_test_says_so(corpus, stores, tmp_path):
    (run_dir,) = train(corpus, stores, tmp_path, fold=1, select="dev", name="chosen")
    assert run_dir.parent.parent.name == "chosen"
    assert json.loads((run_dir / "config.json").read_text())["select"] == "dev"
    assert "dev_UA" in (run_dir / "history.csv").read_text()
    assert json.loads((run_dir / "metrics.json").read_text())["train_utterances"] < 64
    (run_dir,) = train(corpus, stores, tmp_path, fold=1, select="test")
    assert "test_UA" in (run_dir / "history.csv").read_text()


def test_utterances_without_features_are_named_and_get_the_majority_class(tmp_path, log):
    corpus = make_corpus(tmp_path)
    missing = {name: ["u000", "u040"] for name in ("speech", "text")}
    stores = make_stores(corpus, dims={"speech": 6, "text": 5}, missing=missing)
    (run_dir,) = train(corpus, stores, tmp_path / "runs", fold=1)
    assert run_dir.parent.parent.name == "gia-mic-st"
    [message] = messages(log)
    assert "2 of 16 test utterances have no features" in message
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["without_features"] == {"train": 0, "test": 2}
    table = pandas.read_parquet(run_dir / "predictions.parquet").set_index("id")
    np.testing.assert_allclose(table.loc["u000", "probabilities"], table.loc["u040", "probabilities"])
    train(corpus, stores, tmp_path / "runs", fold=2)
    assert messages(log) == [
        f"{run_dir.parent.parent / 'fold-2' / 'seed-0'}: 2 training utterances have no features and were left out."
    ]


def test_all_wrong_settings_are_named_at_once(corpus, stores, tmp_path):
    with pytest.raises(RunError) as raised:
        train(
            corpus, stores, tmp_path, model=GiaMicConfig(width=5), training=TrainingConfig(epochs=0), select="luck",
            seeds=(1, 1), device="abacus",
        )  # fmt: skip
    for part in ("width is 5, and", "epochs is 0", "no selection 'luck'", "seeds 1, 1", "no device 'abacus'"):
        assert part in str(raised.value)
    with pytest.raises(RunError, match=r"there is no fusion 'magic' .*gia-mic"):
        train(corpus, stores, tmp_path, fusion="magic")
    with pytest.raises(RunError, match="the modalities are smell, not some of speech, text, visual"):
        train(corpus, {"smell": stores["text"]}, tmp_path)
    with pytest.raises(RunError, match="gia-mic takes a GiaMicConfig, not int"):
        train(corpus, stores, tmp_path, model=3)
    with pytest.raises(RunError, match="There is no fold 9"):
        train(corpus, stores, tmp_path, fold=9)
    with pytest.raises(RunError, match="holds text features, not speech"):
        train(corpus, {"speech": stores["text"]}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failure_in_one_run_ends_the_others(corpus, stores, tmp_path):
    wild = TrainingConfig(epochs=500, learning_rate=1e20, clip_norm=0.0)
    with pytest.raises(RunError, match="lower the learning rate"):
        train(corpus, stores, tmp_path, training=wild, jobs=2)
    assert not list(tmp_path.rglob("metrics.json"))


def test_a_folder_that_is_no_run_is_refused(corpus, stores, tmp_path):
    with pytest.raises(RunError, match=r"is no run folder \(config.json is missing\)"):
        load_fusion(tmp_path)
    (run_dir,) = train(corpus, stores, tmp_path, fold=1)
    weights = (run_dir / "model.safetensors").read_bytes()
    (run_dir / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(RunError, match="doesn't fit its configuration"):
        load_fusion(run_dir)
    (run_dir / "metrics.json").unlink()
    with pytest.raises(RunError, match="is not finished"):
        load_fusion(run_dir)
    (run_dir / "config.json").write_text('{"format": 99}')
    with pytest.raises(RunError, match="is of format 99, but this version reads format 1"):
        load_fusion(run_dir)


def test_settings_of_another_version_are_refused(corpus, stores, tmp_path):
    (run_dir,) = train(corpus, stores, tmp_path, fold=1)
    config = json.loads((run_dir / "config.json").read_text())
    config["model"]["depth"] = 4
    (run_dir / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"The settings of gia-mic are not those of this version"):
        load_fusion(run_dir)


def test_names_follow_the_modalities():
    assert default_name("gia-mic", ["speech", "text", "visual"]) == "gia-mic"
    assert default_name("tfn", ["visual", "speech"]) == "tfn-sv"


def test_ctrl_c_says_how_many_runs_are_kept(corpus, stores, tmp_path, monkeypatch, log):
    written = []

    def interrupt_the_second(run_dir, history):
        if written:
            raise KeyboardInterrupt
        written.append(run_dir)
        write_history(run_dir, history)

    monkeypatch.setattr("gia_mic.fuse.run.write_history", interrupt_the_second)
    with pytest.raises(Interrupted, match="Stopped after 1 of 5 runs; they are kept: run the same command"):
        train(corpus, stores, tmp_path, jobs=1)
    monkeypatch.undo()
    messages(log)
    train(corpus, stores, tmp_path, jobs=1)
    assert "gia-mic: 1 of 5 runs are finished and kept." in messages(log)


def test_a_run_with_answers_that_are_no_numbers_is_refused_and_keeps_no_other_back(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path)
    stores = make_stores(corpus)
    real = run_module.predict_together

    def overflowing(models, data, rows):
        probabilities = real(models, data, rows)
        probabilities[0][3] = np.nan
        return probabilities

    monkeypatch.setattr(run_module, "predict_together", overflowing)
    with pytest.raises(RunError, match=r"fold-1/seed-0: 1 of 16 answers are no numbers \(u\d+\)"):
        train(corpus, stores, tmp_path / "runs", stack=5)
    written = sorted(path.parent.parent.name for path in (tmp_path / "runs").rglob("metrics.json"))
    assert written == ["fold-2", "fold-3", "fold-4", "fold-5"]


def test_what_there_was_to_learn_from_is_recorded_by_class(corpus, stores, tmp_path):
    (run_dir,) = train(corpus, stores, tmp_path, fold=1)
    counts = json.loads((run_dir / "metrics.json").read_text())["train_classes"]
    assert list(counts) == list(CLASSES)
    assert sum(counts.values()) == 64


def test_one_class_to_train_on_is_refused_and_one_sided_classes_are_told(tmp_path, log):
    rows = [replace(row, label="ang" if row.session == "Ses8" else "sad") for row in utterances()]
    corpus = make_corpus(tmp_path, rows)
    stores = make_stores(corpus)
    with pytest.raises(RunError, match=r"Fold 1 \(Ses8\) of toy has the class sad alone to train on"):
        train(corpus, stores, tmp_path / "runs")
    train(corpus, stores, tmp_path / "runs", fold=2)
    assert "The class ang isn't tested in fold 2 (Ses9)" in log.text
