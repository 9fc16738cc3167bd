"""Tables hold the numbers that hand work gives, in every format, and show hostile text as text."""

import csv
import io
import json
import re

import numpy as np
import pandas
import pytest
from made_runs import CLASSES, make_fold, make_runs

from gia_mic.extract.errors import RunError
from gia_mic.fuse.runs.runs import read_runs
from gia_mic.report.render import FORMATS, render, render_headline
from gia_mic.report.summary import mean_std, summarise
from gia_mic.report.table import WIDTH, Column, Table, clean, latex, markdown, terminal

# fold 1: 6 of 8 right, recalls 3/4, 2/2, 1/1, 0/1;  fold 2: 2 of 4 right, recalls 1/1, 0/1, 1/1, 0/1
FIRST = ([0, 0, 0, 0, 1, 1, 2, 3], [0, 0, 0, 1, 1, 1, 2, 2])
SECOND = ([0, 1, 2, 3], [0, 0, 2, 2])
HOSTILE = r"\input{/etc/passwd} & 100% #1_a ~^ <script>alert('x')</script> | $x$"


@pytest.fixture
def two_folds(tmp_path):
    make_fold(tmp_path, *FIRST, fold=1)
    make_fold(tmp_path, *SECOND, fold=2)
    return tmp_path


def test_a_summary_worked_by_hand(two_folds):
    summary = summarise(read_runs(two_folds)[0])
    assert [fold.scores["WA"] for fold in summary.folds] == [6 / 8, 2 / 4]
    assert [fold.scores["UA"] for fold in summary.folds] == pytest.approx([2.75 / 4, 2 / 4])
    assert summary.over_folds["WA"].mean == pytest.approx(0.625)
    assert summary.over_folds["WA"].std == pytest.approx(np.std([0.75, 0.5], ddof=1))
    assert summary.primary.mean == pytest.approx((0.6875 + 0.5) / 2)
    assert summary.pooled["WA"] == pytest.approx(8 / 12)
    assert list(summary.pooled["recall"].values()) == pytest.approx([4 / 5, 2 / 3, 2 / 2, 0 / 2])
    assert summary.pooled["UA"] == pytest.approx((4 / 5 + 2 / 3 + 1) / 4)
    assert np.sum(summary.pooled["confusion"]) == 12


def test_seeds_are_averaged_within_their_fold(tmp_path):
    """A fold with more seeds than another doesn't weigh more."""
    make_fold(tmp_path, *SECOND, fold=1, seed=0)
    make_fold(tmp_path, SECOND[0], SECOND[0], fold=1, seed=1)
    make_fold(tmp_path, SECOND[0], SECOND[0], fold=2, seed=0)
    summary = summarise(read_runs(tmp_path)[0])
    assert [fold.seeds for fold in summary.folds] == [(0, 1), (0,)]
    assert [fold.scores["WA"] for fold in summary.folds] == [0.75, 1]
    assert summary.pooled["WA"] == pytest.approx(0.875)
    assert np.sum(summary.pooled["confusion"]) == 8
    text = render(tmp_path)
    assert "2/2 ×2" in text
    assert "× 2 seeds: a fold's score is the mean over its seeds" in text
    assert "incomplete, 3 of 4 trainings finished" in text


def test_one_fold_has_no_std(tmp_path):
    make_fold(tmp_path, *FIRST, folds=5)
    assert mean_std([0.5]).std is None
    text = render_headline(tmp_path)
    assert re.search(r"gia-mic +s t v +1/5 +75\.0 +68\.8 +75\.0 +68\.8 +session +last", text)
    assert "incomplete, fold 2, 3, 4, 5 of 5 not finished" in text


def test_the_terminal_shows_every_part(two_folds):
    text = render(two_folds)
    assert re.search(r"gia-mic +s t v +2/2 +62\.5 ± 17\.7 +59\.4 ± 13\.3 +66\.7 +61\.7 +session +last", text)
    assert re.search(r"model +1 Ses01 +2 Ses02\n.*\n +gia-mic +75\.0 / 68\.8 +50\.0 / 50\.0", text)
    assert re.search(r"gia-mic +80\.0 +66\.7 +100\.0 +0\.0 +61\.7", text)
    assert re.search(r"gia-mic +angry +5 +80\.0 +20\.0 +0\.0 +0\.0", text)
    assert re.search(r"Corpus: c0ffeec0ffee\.\n.*Features: speech tiny", text)
    assert "Command: mer fuse-train --fold all." in text


def test_the_ceiling_stands_beside_each_row_where_there_is_one(tmp_path, two_folds):
    assert "ceiling" not in render(two_folds)
    corpus = {"name": "demo", "digest": "d", "utterances": 12, "classes": CLASSES, "ceiling": 0.913}
    make_fold(tmp_path, *FIRST, corpus="demo", name="gia-mic-st", modalities=["speech", "text"])
    config = tmp_path / "demo/gia-mic-st/fold-1/seed-0/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "corpus": corpus}))
    text = render(tmp_path)
    assert re.search(r"gia-mic-st +s t · .* 91\.3 +session", text)
    assert "ceiling: the accuracy of the best possible model" in text


def test_rows_chosen_on_the_test_fold_stand_in_a_table_of_their_own(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.7, "gia-mic-last": 0.8}, folds=2)
    make_runs(tmp_path, {"gia-mic-test": 0.9}, folds=2, select="test")
    honest, optimistic = render_headline(tmp_path).split("\n\n\n")
    assert "gia-mic-last" in honest
    assert "gia-mic-test" not in honest
    assert "gia-mic-test" in optimistic
    assert "; optimistic: epoch chosen on the test fold" in optimistic


def test_corpora_and_protocols_do_not_share_a_table(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.7}, folds=2, corpus="one")
    make_runs(tmp_path, {"gia-mic": 0.7}, folds=2, corpus="two")
    make_runs(tmp_path, {"gia-mic-speaker": 0.7}, folds=2, corpus="two", protocol="speaker")
    text = render_headline(tmp_path)
    assert [line for line in text.splitlines() if "utterances, scores" in line] == [
        "one, by session: 80 utterances, scores in %",
        "two, by session: 80 utterances, scores in %",
        "two, by speaker: 80 utterances, scores in %",
    ]
    assert render_headline(tmp_path / "one").count("by session") == 1


def test_folders_choose_the_rows(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.7, "other": 0.5}, folds=2)
    text = render_headline(tmp_path, [tmp_path / "small/other/fold-1/seed-0"])
    assert "other (gia-mic)" in text
    assert "\n  gia-mic " not in text


def test_folders_tell_which_configuration_of_a_name_is_the_reference(tmp_path):
    make_fold(tmp_path, *FIRST, fold=1, training={"epochs": 30})
    folder = make_fold(tmp_path, *SECOND, fold=2, training={"epochs": 60})
    with pytest.raises(RunError, match="is the name of 2 rows"):
        render(tmp_path, reference="gia-mic")
    assert render(tmp_path, reference="gia-mic", folders=[folder])


def test_two_configurations_of_a_name_are_told_apart(tmp_path):
    make_fold(tmp_path, *FIRST, fold=1, training={"epochs": 30})
    make_fold(tmp_path, *SECOND, fold=2, training={"epochs": 60})
    text = render(tmp_path)
    assert "gia-mic [1]: training.epochs 30." in text
    assert "gia-mic [2]: training.epochs 60." in text


def test_many_models_get_one_confusion_matrix(tmp_path):
    make_runs(tmp_path, {f"gia-mic-{number}": 0.5 + number / 20 for number in range(6)}, folds=2)
    text = render(tmp_path)
    confusion = text[text.index("Confusion") :]
    assert "gia-mic-5" in confusion
    assert "gia-mic-0" not in confusion
    assert "`--format json` has the others of these 6 models" in confusion


def test_the_terminal_keeps_to_its_width(tmp_path):
    make_runs(tmp_path, {"gia-mic-with-a-rather-long-name": 0.7, "gia-mic": 0.8}, folds=12, seeds=2, B=16)
    text = render(tmp_path)
    assert "In every row: protocol session, select last." in text
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "12 Ses12" in text


def test_json_is_complete_and_its_sums_check(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.8, "gia-mic-s": 0.5}, folds=3)
    value = json.loads(render(tmp_path, "json"))
    (group,) = value["groups"]
    assert (value["format"], group["corpus"], group["protocol"], group["caveat"]) == (1, "small", "session", "")
    assert [run["name"] for run in group["runs"]] == ["gia-mic", "gia-mic-s"]
    for run in group["runs"]:
        assert np.sum(run["pooled"]["confusion"]) == 120
        assert np.allclose(run["pooled"]["confusion"], np.sum([fold["confusion"] for fold in run["folds"]], axis=0))
        assert run["WA"]["mean"] == pytest.approx(np.mean([fold["WA"] for fold in run["folds"]]))
        assert run["pooled"]["WA"] == pytest.approx(np.trace(run["pooled"]["confusion"]) / 120)
        assert run["pooled"]["UA"] == pytest.approx(np.mean(list(run["pooled"]["recall"].values())))
        assert run["config"]["model"] == {"name": "gia-mic", "width": 64}
        assert run["provenance"]["commits"] == ["abcdef0123456789"]
        assert run["provenance"]["created"] == ["2026-01-01T12:00:00+00:00", "2026-01-03T12:00:00+00:00"]


def test_csv_parses_back(two_folds):
    text = render(two_folds, "csv")
    table = pandas.read_csv(io.StringIO(text))
    assert table["fold"].tolist() == ["1", "2", "mean", "std", "pooled"]
    assert table["tested on"].tolist()[:2] == ["Ses01", "Ses02"]
    assert table["WA"].tolist() == [75.0, 50.0, 62.5, 17.7, 66.7]
    assert table["UA"].tolist() == [68.8, 50.0, 59.4, 13.3, 61.7]
    assert table["recall happy"].tolist() == [100.0, 0.0, 50.0, 70.7, 66.7]
    assert set(map(len, csv.reader(io.StringIO(text)))) == {len(table.columns)}


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_takes_hostile_names(tmp_path, format):
    classes = [HOSTILE, "sad\x1b[2J\nface", "ärger, 怒り", '"quoted"']
    make_fold(tmp_path, *FIRST, classes=classes, fold_value="=1+1|\n\\")
    make_fold(tmp_path, *SECOND, classes=classes, fold=2, fold_value="`b`")
    text = render(tmp_path, format)
    assert "\x1b" not in text
    if format == "json":
        assert list(json.loads(text)["groups"][0]["runs"][0]["pooled"]["recall"]) == classes
    elif format == "csv":
        lines = list(csv.reader(io.StringIO(text)))
        assert len(lines) == 6
        assert set(map(len, lines)) == {len(lines[0])}
    elif format == "latex":
        assert "\\input" not in text
        assert r"\textbackslash{}input\{/etc/passwd\} \& 100\% \#1\_a" in text
    elif format == "md":
        assert "<script>" not in text.replace("\\<", "")
        for block in re.findall(r"(?m)(?:^\|.*\n?)+", text):
            bars = [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()]
            assert len(set(bars)) == 1


def test_latex_is_balanced_and_every_row_has_all_its_cells(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.8, "gia-mic-s": 0.5}, folds=3)
    text = render(tmp_path, "latex")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == text.count(r"\caption{") == 5
    for columns, body in re.findall(r"\\begin{tabular}{([lr]+)}\n(.*?)\\end{tabular}", text, re.DOTALL):
        for line in body.splitlines():
            if line.endswith(r"\\"):
                spanned = sum(int(size) - 1 for size in re.findall(r"\\multicolumn{(\d+)}", line))
                assert len(re.findall(r"(?<!\\)&", line)) + 1 + spanned == len(columns)
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.isascii()


def test_an_unknown_format_is_refused(two_folds):
    with pytest.raises(RunError, match="no report format 'pdf': choose one of terminal, md, csv, json, latex"):
        render(two_folds, "pdf")


def test_a_table_aligns_wide_letters_and_its_groups():
    columns = [Column("model"), Column("a", "a wide heading over", number=True), Column("b", "a wide heading over")]
    table = Table("title", columns, [["怒り", "1", "x"], ["sad", "10", "yy"]], ["A note."])
    assert terminal(table).splitlines() == [
        "title",
        "",
        "         a wide heading over",
        "  model                a  b",
        "  ──────────────────────────",
        "  怒り                 1  x",
        "  sad                 10  yy",
        "",
        "  A note.",
    ]


def test_a_table_that_is_too_wide_goes_on_below():
    table = Table("title", [Column("model"), *(Column(f"column {n}") for n in range(3))], [["m", "1", "2", "3"]])
    assert terminal(table, width=30).splitlines()[2:] == [
        "  model  column 0  column 1",
        "  ─────────────────────────",
        "  m      1         2",
        "",
        "  model  column 2",
        "  ───────────────",
        "  m      3",
    ]


def test_columns_that_say_the_same_give_way_where_there_is_no_room():
    columns = [
        Column("model"),
        Column("one", foldable=True),
        Column("two", foldable=True),
        Column("three", foldable=True),
    ]
    table = Table("title", columns, [["m", "same", "a", "same"], ["n", "same", "b", "same"]])
    assert terminal(table).splitlines()[2] == "  model  one   two  three"
    assert terminal(table, width=22).splitlines()[2:] == [
        "  model  one   two",
        "  ────────────────",
        "  m      same  a",
        "  n      same  b",
        "",
        "  In every row: three",
        "  same.",
    ]
    assert terminal(table, width=12).splitlines()[2] == "  model  two"


def test_markdown_and_latex_name_groups():
    table = Table("title", [Column("model"), Column("WA", "pooled", number=True)], [["m|x", "±1"]], ["A_note."])
    assert "pooled WA" in markdown(table)
    assert r"m\|x" in markdown(table)
    assert r"A\_note." in latex(table)
    assert r"$\pm$1 \\" in latex(table)


def test_control_characters_are_no_part_of_a_report():
    assert clean("a\u202eb\x07c\td") == "a b c d"
