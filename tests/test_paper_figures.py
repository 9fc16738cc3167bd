"""Figures for papers: their numbers are those of the tables, their files the same each time."""

import sys

import numpy as np
import pytest
from made_runs import TARGETS, make_fold, make_runs, make_runs_of

from gia_mic.extract.errors import RunError
from gia_mic.fuse.runs.runs import read_runs
from gia_mic.report import drawings
from gia_mic.report.group import groups
from gia_mic.report.paper_figures import _figures, write_figures
from gia_mic.report.report import read_report

HISTORY = "epoch,loss,train_UA,dev_UA\n1,2.0,0.5,0.4\n2,1.0,0.75,0.5\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two models of the label, which have a history, and one of each other target."""
    folder = tmp_path_factory.mktemp("runs")
    make_runs(folder, {"gia-mic": 0.9, "gia-mic-s": 0.5}, folds=2, select="dev")
    for run_dir in folder.glob("*/*/fold-*/seed-*"):
        (run_dir / "history.csv").write_text(HISTORY)
    for name, target in TARGETS.items():
        make_runs_of(folder, target, {"gia-mic": 0.1}, folds=2, corpus=name)
    return folder


@pytest.fixture(scope="module")
def figures(runs):
    """The figures of the label by name, and their group."""
    [group] = groups(read_runs(runs / "small"))
    with drawings.style():
        return dict(_figures(group, None)), group


def test_each_target_has_what_makes_sense_of_it(runs, tmp_path, monkeypatch):
    expected = {
        "votes-votes-by-session": {"confusion-gia-mic", "reliability"},
        "labels-labels-by-session": {"labels"},
        "sentiment-sentiment-by-session": {"scatter-sentiment-gia-mic"},
        "affect-valence-arousal-dominance-by-session": {
            f"scatter-{score}-gia-mic" for score in ("valence", "arousal", "dominance")
        },
    }
    monkeypatch.setattr(drawings, "FORMATS", ("svg",))
    paths = write_figures([group for group in groups(read_runs(runs)) if group.corpus != "small"], tmp_path)
    assert {path.relative_to(tmp_path).with_suffix("").as_posix() for path in paths} == {
        f"{group}/{name}" for group, names in expected.items() for name in {*names, "intervals"}
    }
    assert all(path.stat().st_size for path in paths)


def test_files_have_the_same_bytes_each_time_and_fonts_that_can_be_edited(runs, tmp_path):
    report = read_report(runs / "small")
    paths = report.figures(tmp_path / "first")
    for path, again in zip(paths, report.figures(tmp_path / "second"), strict=True):
        content = path.read_bytes()
        assert content == again.read_bytes()
        if path.suffix == ".pdf":
            assert b"/FontFile2" in content  # TrueType, which Type 3 isn't
            assert b"/Type3" not in content


def test_a_confusion_matrix_has_the_shares_of_the_table(figures):
    figures, group = figures
    counts = np.array(group.rows[0].pooled["confusion"])
    texts = [text.get_text() for text in figures["confusion-gia-mic"].axes[0].texts]
    assert texts == [f"{100 * share:.0f}" for share in (counts / counts.sum(1, keepdims=True)).ravel()]


def test_an_interval_is_that_of_the_evidence(figures):
    figures, group = figures
    lines = figures["intervals"].axes[0].collections
    for evidence, line in zip(group.evidence, lines, strict=True):
        [[(low, _), (high, _)]] = line.get_segments()
        assert (low, high) == pytest.approx((100 * evidence.intervals["UA"].low, 100 * evidence.intervals["UA"].high))
    values = [line.get_xdata()[0] for line in figures["intervals"].axes[0].lines if line.get_marker() == "o"]
    assert values == pytest.approx([100 * row.pooled["UA"] for row in group.rows])


def test_curves_are_of_the_training_and_of_the_part_that_chooses(figures):
    loss, score = figures[0]["learning-curves"].axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[2, 1]] * 2
    assert [list(line.get_ydata()) for line in score.lines] == [[50, 75]] * 2 + [[40, 50]] * 2


def test_a_difference_that_could_be_chance_is_hollow():
    interval = drawings.Interval(-1, 1)
    lines = [drawings.IntervalLine(name, 0.5, interval, strong=name == "real") for name in ("real", "chance")]
    with drawings.style():
        axes = drawings.differences(lines, "UA minus that of gia-mic (points)").axes[0]
    assert [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"] == [drawings.BLUE, "#FFFFFF"]


def test_names_of_any_kind_stay_apart_and_in_the_folder(tmp_path, monkeypatch, log):
    monkeypatch.setattr(drawings, "FORMATS", ("svg",))
    for name in ("a$_1$", "A:_1", "愛"):
        make_fold(tmp_path, [0, 1, 2, 3], [0, 1, 2, 0], name=name, model={"name": name})
    paths = write_figures(groups(read_runs(tmp_path)), tmp_path / "figures")
    names = {path.name for path in paths if path.name.startswith("confusion")}
    assert names == {"confusion-A-_1.svg", "confusion-a-_1-2.svg", "confusion-愛.svg"}
    assert "aren't in the figures' fonts" in log.text


def test_the_command_writes_them_beside_the_report(runs, tmp_path, mer):
    result = mer("report", runs / "small", "--reference", "gia-mic-s", "--figures", tmp_path / "figures")
    assert result.exit_code == 0
    assert "gia-mic-s (reference)" in result.stdout
    assert (tmp_path / "figures" / "small-by-session" / "ablation.pdf").exists()
    assert f"Wrote 12 files to {tmp_path / 'figures'}." in result.stderr


def test_without_matplotlib_a_sentence_says_what_to_install(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(RunError, match=r"^Figures need matplotlib, .*pip install 'gia-mic\[figures\]'\.$"):
        read_report(runs / "small").figures(tmp_path)
