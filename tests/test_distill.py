"""One model learns what the folds of a run say together, and its scores know nothing of what they are of."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_features import CLASSES, make_stores, utterances
from made_targets import make_target_corpus

from gia_mic.export import export
from gia_mic.extract.corpus import load_corpus, write_corpus
from gia_mic.extract.errors import MerError
from gia_mic.fuse.config import PooledConfig, TrainingConfig
from gia_mic.fuse.data import read_data
from gia_mic.fuse.distill import TEACHERS, distill
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.models.registry import FUSIONS
from gia_mic.fuse.run import train_here
from gia_mic.fuse.runs.folder import find_run_dirs
from gia_mic.fuse.train import RunSpec, fit
from gia_mic.predictor import Predictor
from gia_mic.report.render import render

CPU = Execution(device="cpu", jobs=1)
LATE = Experiment(fusion="late", model=PooledConfig(width=8), training=TrainingConfig(epochs=2), name="late")


def three_sessions(count=48):
    return [replace(utterance, session=f"Ses{int(utterance.speaker[2:]) % 3}") for utterance in utterances(count)]


def train(folder, experiment=LATE, rows=None, **changes):
    """Prepare a corpus and train a run on it; return both."""
    corpus = write_corpus(folder / "features", "toy", rows or three_sessions(), root=folder, classes=CLASSES)
    run_dirs = train_here(corpus, make_stores(corpus), [replace(experiment, **changes)], CPU, runs=folder / "runs")
    return corpus, run_dirs[0].parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of three folds and its students, beside the corpus and its features."""
    folder = tmp_path_factory.mktemp("distill")
    _, run = train(folder)
    distill(run, folder / "features", CPU)
    return folder


def weights(run_dir):
    return (run_dir / "model.safetensors").read_bytes()


def test_a_student_knows_nothing_of_its_test_part(folder, tmp_path):
    def others(utterance):
        """Another label in the second session alone."""
        return CLASSES[(CLASSES.index(utterance.label) + 1) % 4] if utterance.session == "Ses1" else utterance.label

    shutil.copytree(folder / "features", tmp_path / "features")
    rows = [replace(utterance, label=others(utterance)) for utterance in three_sessions()]
    corpus = write_corpus(tmp_path / "features", "toy", rows, root=tmp_path, classes=CLASSES)
    stores = {path.parent.name: path for path in corpus.folder.glob("*/*.h5")}
    train_here(corpus, stores, [LATE], CPU, runs=tmp_path / "runs")
    students = distill(tmp_path / "runs" / "toy" / "late", tmp_path / "features", CPU)
    same = [weights(student) == weights(folder / student.relative_to(tmp_path)) for student in students]
    assert same == [False, True, False, False]  # those of the folds, and that of the whole corpus


def test_teachers_of_a_fold_are_those_that_lack_its_test_part_and_one_more(folder):
    run = folder / "runs" / "toy" / "late-distilled"
    teachers = sorted((run / TEACHERS / "toy").glob("*/fold-*/seed-*"))
    assert [path.parts[-3:-1] for path in teachers] == [
        ("without-1", "fold-2"),
        ("without-1", "fold-3"),
        ("without-2", "fold-3"),
    ]
    assert [json.loads((path / "metrics.json").read_text())["train_utterances"] for path in teachers] == [12, 16, 20]
    config = json.loads((run / "fold-2" / "seed-0" / "config.json").read_text())
    assert (config["distilled_from"], config["teachers"]["models"]) == ("late", 2)


def test_the_run_is_predicted_with_by_its_one_model_and_reported_by_its_folds(folder, tmp_path):
    run = folder / "runs" / "toy" / "late-distilled"
    [whole] = find_run_dirs(run)
    assert whole == run / "fold-0" / "seed-0"
    predictor = Predictor([whole], device="cpu")
    assert predictor.fuse([{"text": np.ones((3, 5), np.float16)}]).shape == (1, 1, 4)
    text = " ".join(render(folder / "runs", reference="late").split())
    assert "late-distilled s t v 3/3" in text
    assert "learns the mean answer of models made like late without its test part, whose mean scores UA" in text
    assert "distilled from late" in text
    card = (export((whole,), tmp_path / "export") / "README.md").read_text()
    assert "`late` of the package gia-mic, one model, trained on toy" in card
    assert "The model here was trained on all utterances, so it has no score of its own." in card
    assert find_run_dirs(tmp_path / "export") == [tmp_path / "export" / "fold-0" / "seed-0"]


def test_what_is_finished_is_not_trained_again_unless_a_teacher_is(folder, log):
    run = folder / "runs" / "toy" / "late"
    before = [path.stat().st_mtime_ns for path in find_run_dirs(run)]
    distill(run, folder / "features", CPU)
    assert "late-distilled: 4 of 4 runs are finished and kept." in log.text
    assert [path.stat().st_mtime_ns for path in find_run_dirs(run)] == before
    (teacher,) = (folder / "runs/toy/late-distilled" / TEACHERS).glob("toy/without-1/fold-2/seed-0")
    (teacher / "metrics.json").unlink()
    shutil.copy(run / "fold-1/seed-0/model.safetensors", teacher)
    (teacher / "config.json").write_text("{}")
    distill(run, folder / "features", CPU)
    assert "without-1: 1 of 2 runs are finished and kept." in log.text


def test_a_distilled_run_is_not_mistaken_for_one_that_learnt_labels(folder, tmp_path, mer):
    runs = folder / "runs" / "toy"
    result = mer("fuse-train", "--like", runs / "late-distilled")
    assert (result.exit_code, "With labels and no teachers, give a --name" in result.stderr) == (2, True)
    assert mer("report", runs, "--write-experiment", tmp_path / "again.toml").exit_code == 0
    assert "# Distil again, with `mer distill`: late-distilled.\n" in (tmp_path / "again.toml").read_text()


@pytest.mark.parametrize("target", ["labels", "valence,arousal"])
def test_every_target_can_be_distilled(tmp_path, target):
    corpus = make_target_corpus(tmp_path / "features")
    rows = [replace(utterance, session=f"Ses{int(utterance.speaker[2:]) % 3}") for utterance in corpus]
    names = {"label_names": corpus.label_names, "score_ranges": dict(corpus.score_ranges)}
    corpus = write_corpus(tmp_path / "features", "toy", rows, root=tmp_path, classes=CLASSES, **names)
    [run_dir, *_] = train_here(corpus, make_stores(corpus), [replace(LATE, target=target)], CPU, runs=tmp_path / "runs")
    *students, whole = distill(run_dir.parents[1], tmp_path / "features", CPU)
    assert len(students) == 3
    for student in students:
        metrics = json.loads((student / "metrics.json").read_text())
        assert all(np.isfinite(value) for value in metrics["teachers"].values())
    assert Predictor([whole], device="cpu").target == corpus.target(target)


def test_learning_what_teachers_say_is_learning_labels_where_they_say_these(corpus, stores):
    from gia_mic.extract.store import open_store

    data = read_data(corpus, {name: open_store(path) for name, path in stores.items()})
    rows = np.arange(40)

    def trained(taught):
        return fit(
            lambda: FUSIONS["late"].make(data.dims, 4, PooledConfig(width=8), data.layers),
            data,
            RunSpec(rows, seed=0, taught=taught),
            TrainingConfig(epochs=1),
            steps=2,
        ).model.state_dict()

    learnt, others = trained(None), np.full_like(data.values, 0.25)
    assert all(torch.equal(value, trained(data.values)[name]) for name, value in learnt.items())
    assert not all(torch.equal(value, trained(others)[name]) for name, value in learnt.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fold": 1}, "1 of 3 trainings are finished"),
        ({"select": "test"}, "epochs were chosen on the test folds"),
        ({"rows": "two"}, "it has 2 folds, and needs three"),
    ],
)
def test_what_cannot_be_distilled_is_refused(tmp_path, changes, message):
    if changes.pop("rows", None):
        changes["rows"] = [replace(one, session=f"Ses{int(one.speaker[2:]) % 2}") for one in utterances(48)]
    _, run = train(tmp_path, **changes)
    with pytest.raises(MerError, match=message):
        distill(run, tmp_path / "features", CPU)


def test_a_fusion_of_others_whose_code_has_changed_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = Path(shutil.copy(Path(__file__).parent.parent / "examples" / "my_fusion.py", tmp_path))
    own = replace(LATE, fusion="my_fusion:GatedMean", model=None, training=TrainingConfig(epochs=1))
    _, run = train(tmp_path, own)
    with pytest.raises(MerError, match="a/b"):
        distill(run, tmp_path / "features", CPU, name="a/b")
    code.write_text(code.read_text() + "# changed\n")
    with pytest.raises(MerError, match="The code of my_fusion:GatedMean is other than the one that late was trained"):
        distill(run, tmp_path / "features", CPU)
    assert not (run.parent / "late-distilled").exists()


def test_a_run_whose_corpus_or_features_are_others_is_refused(folder, tmp_path, mer):
    run = folder / "runs" / "toy" / "late"

    def refusal(path, *options):
        result = mer("distill", path, "--features", tmp_path / "features", "--device", "cpu", *options)
        assert result.exit_code == 1
        return result.stderr

    shutil.copytree(folder / "features", tmp_path / "features")
    assert "is the model of one fold" in refusal(run / "fold-1" / "seed-0")
    assert "can't be called late" in refusal(run, "--name", "late")
    assert "can't be a name" in refusal(run, "--name", "../late")
    assert "is distilled itself: give late" in refusal(run.parent / "late-distilled")
    [path] = (tmp_path / "features" / "toy" / "text").iterdir()
    path.unlink()
    assert "are missing" in refusal(run)
    make_stores(load_corpus(tmp_path / "features", "toy"), seed=1, dims={"text": 5})
    rows = three_sessions()[:-1]
    write_corpus(tmp_path / "features", "toy", rows, root=tmp_path, classes=CLASSES)
    assert "has changed" in refusal(run)
