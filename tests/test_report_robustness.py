"""What models score with less than they were trained on is read with suspicion, and shown in every format."""

import csv
import io
import json

import pytest
from made_runs import make_fold, make_robustness, make_runs

from gia_mic.extract.errors import RunError
from gia_mic.fuse.runs.fold import read_fold
from gia_mic.fuse.runs.runs import read_runs
from gia_mic.report.group import groups
from gia_mic.report.render import FORMATS, render, render_headline
from gia_mic.report.robustness import damage, hidden_modalities, run_robustness

TRUE, PREDICTED = [0, 0, 1, 2, 3, 3], [0, 1, 1, 2, 3, 0]


@pytest.fixture
def runs(tmp_path):
    """Two models in two folds and two seeds, of which only the first is tested so, and a model of one modality."""
    make_runs(tmp_path, {"gia-mic": 0.9, "gia-mic-late": 0.6}, folds=2, seeds=2, B=24)
    make_runs(tmp_path, {"gia-mic-s": 0.5}, folds=2, B=24, modalities=["speech"])
    for fold, seed, whole in ((1, 0, 0.9), (1, 1, 0.6), (2, 0, 0.6), (2, 1, 0.6)):
        make_robustness(tmp_path / f"small/gia-mic/fold-{fold}/seed-{seed}", whole)
    for fold in (1, 2):
        make_robustness(tmp_path / f"small/gia-mic-s/fold-{fold}/seed-0", subsets={"s": {"WA": 0.5, "UA": 0.5}})
    return tmp_path


def test_scores_are_the_mean_over_seeds_and_then_over_folds(runs):
    run = read_runs(runs)[0]
    whole = run_robustness(run)["subset", "stv"]["UA"]
    assert (whole.mean, whole.count) == (pytest.approx((0.75 + 0.6) / 2), 2)
    assert run_robustness(run)["lost_frames", 0.5]["WA"].mean == pytest.approx(whole.mean / 2)


def test_tables_have_a_row_for_each_model_that_was_tested(runs):
    (group,) = groups(read_runs(runs))
    hidden, damaged = hidden_modalities(group), damage(group)
    assert [column.title for column in hidden.columns] == ["model", "s", "t", "v", "s t", "s v", "t v", "s t v"]
    assert hidden.rows == [["gia-mic", "22.5", "22.5", "22.5", "45.0", "45.0", "45.0", "67.5"]]
    assert [column.title for column in damaged.columns] == ["model", "0.5", "1", "25 %", "50 %"]
    assert damaged.rows == [
        ["gia-mic", "59.1", "50.6", "50.6", "33.8"],
        ["gia-mic-s", "78.8", "67.5", "67.5", "45.0"],
    ]
    assert not any("tested so in" in note for note in [*hidden.notes, *damaged.notes])


def test_folds_that_were_not_tested_are_told(runs):
    for seed in (0, 1):
        (runs / f"small/gia-mic/fold-2/seed-{seed}/robustness.json").unlink()
    (group,) = groups(read_runs(runs))
    assert hidden_modalities(group).rows[0][-1] == "75.0"
    assert hidden_modalities(group).notes[-1] == "gia-mic: tested so in 1 of its 2 folds."


@pytest.mark.parametrize("form", [name for name in FORMATS if name not in ("json", "csv")])
def test_formats_for_people_have_both_tables(runs, form):
    text = render(runs, form)
    for title in ("UA with modalities hidden after training", "UA with noise and with frames lost"):
        assert title in text
    assert "59.1" in text


def test_the_headline_comes_with_them(runs):
    assert "UA with modalities hidden after training" in render_headline(runs)


def test_json_and_csv_have_every_condition(runs):
    first, second, last = json.loads(render(runs, "json"))["groups"][0]["runs"]
    assert len(first["robustness"]) == 11
    assert first["robustness"][6]["condition"] == "subset"
    assert first["robustness"][6]["level"] == "stv"
    assert first["robustness"][6]["UA"]["mean"] == pytest.approx(0.675)
    assert second["robustness"] == []
    assert len(last["robustness"]) == 5
    lines = list(csv.DictReader(io.StringIO(render(runs, "csv"))))
    by_fold = {line["fold"]: line["UA subset stv"] for line in lines if line["run"] == "gia-mic"}
    assert by_fold == {"1": "75.0", "2": "60.0", "mean": "67.5", "std": "10.6", "pooled": ""}
    assert {line["UA noise 0.5"] for line in lines if line["run"] == "gia-mic-late"} == {""}


def test_nothing_is_shown_where_nothing_was_tested(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.9}, folds=2, B=24)
    (group,) = groups(read_runs(tmp_path))
    assert (hidden_modalities(group), damage(group)) == (None, None)
    assert "UA subset" not in render(tmp_path, "csv")


@pytest.mark.parametrize("metrics", ["0" * 64, None])
def test_scores_of_an_earlier_training_count_as_none(tmp_path, metrics):
    folder = make_fold(tmp_path, TRUE, PREDICTED)
    assert read_fold(folder).robustness is None
    make_robustness(folder)
    assert read_fold(folder).robustness is not None
    make_robustness(folder, metrics=metrics)
    assert read_fold(folder).robustness is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "is of format 2, but this version reads format 1: remove the file"),
        ({"noise": {}}, "lacks noise, or has it in another type: remove the file"),
        ({"subsets": {"xyz": {"WA": 1, "UA": 1}}}, "names a subset 'xyz' of speech, text, visual: remove the file"),
        ({"subsets": {"s": {"WA": 0.5, "UA": 1.5}}}, "expected WA and UA in 0 … 1"),
        ({"subsets": {"s": {"WA": 0.5}}}, "expected WA and UA in 0 … 1"),
        ({"subsets": {"s": True}}, "expected WA and UA in 0 … 1"),
        ({"noise": ["strong"]}, "expected a deviation in 0 … 1e.06 in each entry of noise"),
        ({"noise": [{"deviation": 10**400, "WA": 1, "UA": 1}]}, "expected a deviation in 0 … 1e.06"),
        ({"lost_frames": [{"share": 1.5, "WA": 1, "UA": 1}]}, "expected a share in 0 … 1 in each entry of lost_frames"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, changes, message):
    folder = make_fold(tmp_path, TRUE, PREDICTED)
    make_robustness(folder, **changes)
    with pytest.raises(RunError, match=rf"robustness\.json:? {message}"):
        render(tmp_path)
