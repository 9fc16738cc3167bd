"""Run folders are read whole or refused in one sentence; what isn't finished is counted."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from made_runs import CLASSES, make_fold, make_runs

from gia_mic.extract.errors import RunError
from gia_mic.fuse.runs.runs import differences, read_runs
from gia_mic.report.render import render

TRUE, PREDICTED = [0, 0, 1, 2, 3, 3], [0, 1, 1, 2, 3, 0]


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_folds_of_one_configuration_are_one_run(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.8, "gia-mic-s": 0.5}, folds=3, seeds=2)
    runs = read_runs(tmp_path)
    assert [run.name for run in runs] == ["gia-mic", "gia-mic-s"]
    assert [(fold.number, fold.seed) for fold in runs[0].folds] == [(f, s) for f in (1, 2, 3) for s in (0, 1)]
    assert (runs[0].numbers, runs[0].seeds, runs[0].expected, runs[0].complete) == ([1, 2, 3], [0, 1], 3, True)
    assert runs[0].folds[2].value == "Ses02"


@pytest.mark.parametrize("below", [".", "small", "small/gia-mic"])
def test_a_corpus_or_a_run_can_be_read_alone(tmp_path, below):
    make_runs(tmp_path, {"gia-mic": 0.8}, folds=2)
    (run,) = read_runs(tmp_path / below)
    assert (run.corpus, run.name, len(run.folds)) == ("small", "gia-mic", 2)


def test_two_configurations_under_one_name_are_two_runs_that_say_what_differs(tmp_path):
    for fold in (1, 2, 3):
        make_fold(tmp_path, TRUE, PREDICTED, fold=fold, folds=3, training={"epochs": 30 if fold < 3 else 60, "rate": 1})
    first, second = read_runs(tmp_path)
    assert (first.numbers, second.numbers) == ([1, 2], [3])
    assert first.note == "training.epochs 30"
    assert second.note == "training.epochs 60"
    assert not first.complete


def test_another_commit_or_seed_is_not_another_configuration(tmp_path):
    make_fold(tmp_path, TRUE, PREDICTED, seed=0, provenance={"commit": "one"})
    make_fold(tmp_path, TRUE, PREDICTED, seed=1, provenance={"commit": "two"})
    (run,) = read_runs(tmp_path)
    assert run.note == ""
    assert run.seeds == [0, 1]


def test_unfinished_folds_are_counted_and_no_error(tmp_path):
    make_fold(tmp_path, TRUE, PREDICTED, fold=1)
    (make_fold(tmp_path, TRUE, PREDICTED, fold=2) / "metrics.json").unlink()
    (run,) = read_runs(tmp_path)
    assert (run.numbers, run.unfinished, run.complete) == ([1], 1, False)


def test_predictions_are_read_in_the_order_of_the_classes(tmp_path):
    make_fold(tmp_path, TRUE, PREDICTED, about={"dialog": list("aabbcc"), "text": [None, *"vwxyz"]})
    predictions = read_runs(tmp_path)[0].folds[0].predictions
    assert predictions.true.argmax(axis=1).tolist() == TRUE
    assert predictions.answers.argmax(axis=1).tolist() == PREDICTED
    assert predictions.about("dialog").tolist() == list("aabbcc")
    assert predictions.about("text")[0] is None
    assert predictions.about("scenario") is None
    assert len(predictions) == 6


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": {"b": 1, "c": [1]}}, {"a": {"b": 2, "c": [1]}}, {"a.b": [1, 2]}),
        ({"a": {}}, {"a": {"b": 1}}, {"a": [{}, None], "a.b": [None, 1]}),
    ],
)
def test_differences_are_named_by_their_path(first, second, expected):
    assert differences([first, second]) == expected


def test_a_folder_without_runs_says_what_to_do(tmp_path):
    with pytest.raises(RunError, match=r"no run folder in .*: train a model with `mer fuse-train --fold all`"):
        read_runs(tmp_path / "nowhere")
    (make_fold(tmp_path, TRUE, PREDICTED) / "metrics.json").unlink()
    with pytest.raises(RunError, match=r"no finished run \(1 unfinished\)"):
        read_runs(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "can't be read as JSON"),
        ('{"format": NaN}', "can't be read as JSON .NaN is no finite number"),
        ('{"format": 1e999}', "can't be read as JSON .1e999 is no finite number"),
        ("[" * 100_000, "can't be read as JSON"),
        ("\udce4", "can't be read as JSON"),
        ("[]", "is of format 'list', but this version reads format 1"),
        ('{"format": 2}', "is of format 2, but this version reads format 1"),
        ('{"format": 1}', "lacks "),
    ],
)
def test_a_broken_json_file_is_refused(tmp_path, name, text, message):
    folder = make_fold(tmp_path, TRUE, PREDICTED)
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunError, match=rf"{name} {message}"):
        read_runs(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fold": 2}, "fold-1/seed-0 holds fold 2, which its path contradicts"),
        ({"seed": 3}, "holds seed 3"),
        ({"folds": 0}, "it is fold 1 of 0"),
        ({"fold": True}, "lacks fold, or has it in another type"),
        ({"protocol": None, "select": 1}, "lacks protocol, select"),
        ({"corpus": {}}, "the corpus has no name, the classes aren't different names"),
        ({"model": {}}, "the model has no name"),
        ({"corpus": {"name": "small", "classes": []}}, "the classes aren't different names"),
        ({"corpus": {"name": "small", "classes": ["a", "a"]}}, "the classes aren't different names"),
        ({"corpus": {"name": "small", "classes": CLASSES, "ceiling": 91.3}}, "the ceiling isn't in 0 … 1"),
        ({"modalities": [1]}, "the modalities aren't names"),
        ({"features": {"speech": None}}, "the features aren't described"),
        ({"provenance": {"versions": "all"}}, "the versions aren't listed"),
        ({"corpus": {"name": "small", "classes": ["a", "b"]}}, "expected a confusion matrix of 2 × 2 counts"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(tmp_path, changes, message):
    rewrite(make_fold(tmp_path, TRUE, PREDICTED) / "config.json", **changes)
    with pytest.raises(RunError, match=message):
        read_runs(tmp_path)


def test_a_finished_fold_without_config_is_refused(tmp_path):
    (make_fold(tmp_path, TRUE, PREDICTED) / "config.json").unlink()
    with pytest.raises(RunError, match=r"config\.json is missing, though the fold is finished"):
        read_runs(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WA": 0.9}, "WA is 0.9000, but its confusion matrix gives 0.6667"),
        ({"UA": 0.1}, "UA is 0.1000, but its confusion matrix gives 0.7500"),
        ({"test_utterances": 7}, "over all 7 test utterances"),
        ({"confusion": [[1, 2], [3]]}, "expected a confusion matrix of 4 × 4 counts"),
        ({"confusion": [[1, -1, 0, 0], [0] * 4, [0] * 4, [0] * 4], "test_utterances": 0}, "4 × 4 counts over all 0"),
        ({"confusion": "none"}, "lacks confusion"),
    ],
)
def test_scores_that_do_not_follow_from_the_confusion_matrix_are_refused(tmp_path, changes, message):
    rewrite(make_fold(tmp_path, TRUE, PREDICTED) / "metrics.json", **changes)
    with pytest.raises(RunError, match=message):
        read_runs(tmp_path)


def test_predictions_that_contradict_the_scores_are_refused(tmp_path):
    folder = make_fold(tmp_path, TRUE, PREDICTED)
    (folder / "predictions.parquet").write_bytes(
        (make_fold(tmp_path / "other", TRUE, TRUE) / "predictions.parquet").read_bytes()
    )
    with pytest.raises(RunError, match=r"predictions\.parquet and the metrics.json beside it contradict each other"):
        read_runs(tmp_path / "small")[0].folds[0].predictions  # noqa: B018


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": None}, "lacks the columns predicted"),
        ({"predicted": ["bored"] * 6}, "the column 'predicted' holds 'bored', but the classes are angry"),
        ({"true": [None, *["sad"] * 5]}, "the column 'true' holds None"),
        ({"id": ["a", "a", *"bcde"]}, "holds an utterance twice"),
        ({"id": [None, *"abcde"]}, "one without an id"),
        ({"probabilities": [[1.0]] * 6}, "expected 4 finite numbers an utterance in 'probabilities'"),
        ({"probabilities": [[0.5] * 4] * 6}, "don't have the sum 1"),
        ({"probabilities": [[np.nan] * 4] * 6}, "expected 4 finite numbers"),
        ({"probabilities": [[2.0, -1.0, 0.0, 0.0]] * 6}, "aren't in 0 … 1"),
        ({"probabilities": ["text"] * 6}, "isn't lists of numbers"),
        ({"probabilities": [["text"]] * 6}, "isn't lists of numbers"),
        ({"true": [[1]] * 6}, "the column 'true' isn't text"),
    ],
)
def test_predictions_that_make_no_sense_are_refused(tmp_path, change, message):
    path = make_fold(tmp_path, TRUE, PREDICTED) / "predictions.parquet"
    columns = {**pyarrow.parquet.read_table(path).to_pydict(), **change}
    pyarrow.parquet.write_table(pyarrow.table({k: v for k, v in columns.items() if v is not None}), path)
    with pytest.raises(RunError, match=message):
        read_runs(tmp_path)[0].folds[0].predictions  # noqa: B018


def test_a_predictions_file_that_is_cut_or_gone_or_empty_is_refused(tmp_path):
    path = make_fold(tmp_path, TRUE, PREDICTED) / "predictions.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="can't be read as Parquet"):
        read_runs(tmp_path)[0].folds[0].predictions  # noqa: B018
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(pyarrow.BufferReader(whole)).slice(0, 0), path)
    with pytest.raises(RunError, match="holds no utterance"):
        read_runs(tmp_path)[0].folds[0].predictions  # noqa: B018
    path.unlink()
    with pytest.raises(RunError, match="is missing, though the fold is finished"):
        read_runs(tmp_path)[0].folds[0].predictions  # noqa: B018


def test_classes_keep_their_order(tmp_path):
    make_fold(tmp_path, TRUE, PREDICTED, classes=CLASSES[::-1])
    (run,) = read_runs(tmp_path)
    assert run.classes == CLASSES[::-1]
    assert run.folds[0].metrics["recall"]["sad"] == 0.5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", '{"format": 1, "WA": NaN}'),
        ("config.json", "cut"),
        ("predictions.parquet", "no table"),
        ("robustness.json", "[]"),
        ("history.csv", "epoch,loss\n1,sad\n"),
    ],
)
def test_a_broken_run_is_named_and_left_out(tmp_path, caplog, name, content):
    make_fold(tmp_path, [0, 1, 2, 3], [0, 1, 2, 0], fold=1)
    broken = make_fold(tmp_path, [0, 1, 2, 3], [0, 1, 2, 0], fold=2)
    make_fold(tmp_path, [0, 1], [0, 1], name="other", fold=1, folds=1)
    (broken / name).write_text(content)
    one, other = read_runs(tmp_path)
    assert (one.numbers, len(one.broken), other.broken) == ([1], 1, ())
    assert "Left out, because it is broken" in caplog.text
    assert "gia-mic: 1 run folders are broken and left out: " in " ".join(render(tmp_path).split())
    assert str(broken / name) in caplog.text


def test_a_run_that_is_broken_as_a_whole_keeps_no_other_from_the_report(tmp_path, caplog):
    broken = make_fold(tmp_path, [0, 1], [0, 1], name="broken", folds=1)
    make_fold(tmp_path, [0, 1], [0, 1], folds=1)
    (broken / "metrics.json").write_text("{")
    assert [run.name for run in read_runs(tmp_path)] == ["gia-mic"]
    assert str(broken / "metrics.json") in caplog.text


def test_classes_on_one_side_of_a_fold_are_noted(tmp_path):
    """Class 3 is in the test part of fold 1 alone; runs of before don't say what they were trained on."""
    first = make_fold(tmp_path, [0, 1, 2, 3], [0, 1, 2, 0], fold=1)
    second = make_fold(tmp_path, [0, 1, 2, 2], [0, 1, 2, 2], fold=2)
    [run] = read_runs(tmp_path)
    assert run.one_sided == ({"sad": [1]}, {"sad": [2]})
    note = "The class sad has nothing to learn it from in fold 1 and isn't tested in fold 2: UA of"
    assert note in " ".join(render(tmp_path).split())
    for folder in (first, second):
        metrics = json.loads((folder / "metrics.json").read_text())
        counts = {"angry": 1, "happy": 1, "neutral": 2, "sad": 1}
        (folder / "metrics.json").write_text(json.dumps({**metrics, "train_classes": counts}))
    [run] = read_runs(tmp_path)
    assert run.one_sided == ({}, {"sad": [2]})
