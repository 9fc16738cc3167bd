"""Runs are compared on the same utterances, whatever their order, and only where they can be."""

import json
import re
from functools import partial

import numpy as np
import pytest
from made_runs import CLASSES, make_fold, make_fold_of, make_runs

from gia_mic.extract.errors import RunError
from gia_mic.extract.targets import Target
from gia_mic.fuse import measure
from gia_mic.fuse.runs.runs import read_runs
from gia_mic.report import statistics
from gia_mic.report.compare import compare, gather
from gia_mic.report.group import groups
from gia_mic.report.render import render, render_headline

B = 80
TRUE = np.arange(B) % len(CLASSES)
MEASURE = measure.measure_of(Target("label", tuple(CLASSES)))
WA, UA = (partial(MEASURE.value, name) for name in ("WA", "UA"))
DIALOGS = [f"dialog {row // 8}" for row in range(B)]


def tally(true, predicted, groups):
    return MEASURE.tally(np.eye(len(CLASSES))[true], np.eye(len(CLASSES))[predicted], groups)


def wrong(share, seed):
    generator = np.random.default_rng(seed)
    return np.where(generator.random(B) < share, (TRUE + 1) % len(CLASSES), TRUE)


@pytest.fixture
def two(tmp_path):
    """A better and a worse model on the same two folds."""
    for fold in (1, 2):
        about = {"dialog": [f"{fold} {name}" for name in DIALOGS]}
        make_fold(tmp_path, TRUE, wrong(0.1, fold), name="gia-mic", fold=fold, about=about)
        make_fold(tmp_path, TRUE, wrong(0.5, 10 + fold), name="gia-mic-s", fold=fold, about=about)
    return tmp_path


def test_a_comparison_equals_that_of_the_arrays(two):
    (group,) = groups(read_runs(two))
    predicted = [np.concatenate([wrong(0.1, 1), wrong(0.1, 2)]), np.concatenate([wrong(0.5, 11), wrong(0.5, 12)])]
    true, dialogs = np.tile(TRUE, 2), np.repeat(np.arange(20), 8)
    tallies = [tally(true, one, dialogs) for one in predicted]
    comparison = group.against_best[1]
    assert group.names[group.best] == "gia-mic"
    assert group.against_best[0] is None
    assert comparison.utterances == 2 * B
    assert comparison.difference == statistics.paired_bootstrap(tallies[1], tallies[0], UA)
    assert comparison.difference.value == pytest.approx(
        measure.ua(true, predicted[1], 4) - measure.ua(true, predicted[0], 4)
    )
    assert comparison.mcnemar == statistics.mcnemar(predicted[1] == true, predicted[0] == true)
    assert (comparison.holm, comparison.mcnemar_holm) == (comparison.difference.p, comparison.mcnemar)
    assert comparison.distinguishable
    assert list(group.evidence[0].intervals.values()) == statistics.bootstrap(tallies[0], [WA, UA])
    right = (predicted[0] == true).mean()
    assert group.evidence[0].calibration_error == pytest.approx(abs(right - 0.8), abs=1e-6)


def test_probabilities_that_equal_the_shares_of_votes_are_calibrated(tmp_path):
    shares = np.tile([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]], (4, 1))
    make_fold_of(tmp_path, Target("votes", ("happy", "sad")), shares, shares)
    (group,) = groups(read_runs(tmp_path))
    assert group.evidence[0].calibration_error == pytest.approx(0, abs=1e-6)


def test_the_order_of_utterances_in_a_file_changes_nothing(tmp_path, two):
    order = np.random.default_rng(0).permutation(B)
    for fold in (1, 2):
        make_fold(
            tmp_path / "shuffled",
            TRUE[order],
            wrong(0.5, 10 + fold)[order],
            name="gia-mic-s",
            fold=fold,
            ids=[f"{fold}-{row:04d}" for row in order],
            about={"dialog": [f"{fold} {DIALOGS[row]}" for row in order]},
        )
    one, other = read_runs(two / "small")
    shuffled = read_runs(tmp_path / "shuffled")[0]
    straight = compare(gather([one, other]), 0)[1]
    assert compare(gather([one, shuffled]), 0)[1] == straight


def test_seeds_count_as_one_answer_of_several_minds(tmp_path):
    """The UA of three seeds is the mean of theirs, and McNemar takes the lowest seed that both have."""
    about = {"dialog": DIALOGS}
    for seed in range(3):
        make_fold(tmp_path, TRUE, wrong(0.2 * seed, seed), name="gia-mic", folds=1, seed=seed, about=about)
    make_fold(tmp_path, TRUE, wrong(0.3, 9), name="gia-mic-s", folds=1, seed=1, about=about)
    several, single = read_runs(tmp_path)
    comparison = compare(gather([several, single]), 1)[0]
    mean = np.mean([measure.ua(TRUE, wrong(0.2 * seed, seed), 4) for seed in range(3)])
    assert comparison.difference.value == pytest.approx(mean - measure.ua(TRUE, wrong(0.3, 9), 4))
    assert comparison.mcnemar == statistics.mcnemar(wrong(0.2, 1) == TRUE, wrong(0.3, 9) == TRUE)


def test_runs_are_compared_on_the_utterances_that_both_have(tmp_path, two):
    make_fold(
        two, TRUE, wrong(0.3, 20), name="gia-mic-half", fold=2, about={"dialog": [f"2 {name}" for name in DIALOGS]}
    )
    (group,) = groups(read_runs(two))
    comparison = dict(zip(group.names, group.against_best, strict=True))["gia-mic-half"]
    assert comparison.utterances == B
    assert comparison.difference.value == pytest.approx(
        measure.ua(TRUE, wrong(0.3, 20), 4) - measure.ua(TRUE, wrong(0.1, 2), 4)
    )


def test_runs_without_a_common_utterance_or_with_other_labels_are_not_compared(tmp_path, two):
    make_fold(two, TRUE, wrong(0.3, 20), name="gia-mic-other", ids=[f"other {row}" for row in range(B)])
    make_fold(two, (TRUE + 1) % 4, wrong(0.3, 20), name="gia-mic-relabelled")
    (group,) = groups(read_runs(two))
    comparisons = dict(zip(group.names, group.against_best, strict=True))
    assert comparisons["gia-mic-other"] is None
    assert comparisons["gia-mic-relabelled"] is None
    text = render(two)
    assert re.search(r"gia-mic-other +[\d.]+ +[\d.]+ … [\d.]+ +— +— +— +—", text)
    assert "—: no utterance in common with the other run, or other classes or labels." in text


def test_without_dialogs_the_intervals_say_so(tmp_path):
    make_fold(tmp_path, TRUE, wrong(0.3, 1), folds=1)
    (group,) = groups(read_runs(tmp_path))
    assert group.evidence[0].over == "utterances"
    assert group.evidence[0].groups == B
    assert "over 80 utterances (they name no dialogs)" in render(tmp_path)


def test_without_dialogs_speakers_are_drawn_if_there_are_some(tmp_path):
    speakers = [f"speaker {row // 8}" for row in range(B)]
    make_fold(tmp_path / "ten", TRUE, wrong(0.3, 1), folds=1, about={"speaker": speakers})
    make_fold(tmp_path / "nine", TRUE[:72], wrong(0.3, 1)[:72], folds=1, about={"speaker": speakers[:72]})
    (ten,), (nine,) = (groups(read_runs(tmp_path / name)) for name in ("ten", "nine"))
    assert (ten.evidence[0].over, ten.evidence[0].groups) == ("speakers", 10)
    assert [ten.evidence[0].intervals["UA"]] == statistics.bootstrap(
        tally(TRUE, wrong(0.3, 1), np.arange(B) // 8), [UA]
    )
    assert nine.evidence[0].over == "utterances"
    assert "over 10 speakers (they name no dialogs), 5,000 draws. Fewer than 20" in " ".join(
        render(tmp_path / "ten").split()
    )


def test_the_best_row_and_those_like_it_are_marked(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.8, "gia-mic-like": 0.79, "gia-mic-s": 0.4})
    text = render_headline(tmp_path)
    marks = dict(re.findall(r"(?m)^  (gia-mic\S*) .* ± \d+\.\d ([★≈ ])", text))
    assert sorted(marks.values()) == [" ", "≈", "★"]
    assert marks["gia-mic-s"] == " "
    make_runs(tmp_path / "alone", {"gia-mic": 0.8})
    assert "★" not in render_headline(tmp_path / "alone")


def test_an_unfinished_run_is_not_the_best_one(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.6, "gia-mic-s": 0.5}, folds=2)
    make_fold(tmp_path, TRUE, TRUE, name="gia-mic-lucky", fold=1)
    (group,) = groups(read_runs(tmp_path))
    assert group.names[0] == "gia-mic-lucky"
    assert group.names[group.best] == "gia-mic"


def test_an_ablation_names_what_differs(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.9})
    make_runs(tmp_path, {"gia-mic-no-gate": 0.8}, model={"name": "gia-mic", "width": 64, "gate": False})
    make_runs(tmp_path, {"mult": 0.7}, model={"name": "mult", "heads": 4}, training={"epochs": 60})
    make_runs(tmp_path, {"gia-mic-st": 0.6}, modalities=["speech", "text"])
    text = render(tmp_path, reference="gia-mic")
    table = text[text.index("What each change does") : text.index("UA of each subset")]
    assert "What each change does, against gia-mic, %" in table
    assert re.search(r"gia-mic \(reference\) +[\d.]+ ± [\d.]+\n", table)
    assert re.search(r"gia-mic-no-gate .* gate false\n", table)
    assert re.search(r"mult .* fusion mult, epochs 60, learning_rate null\n", table)
    assert re.search(r"gia-mic-st .* modalities s t ·\n", table)
    value = json.loads(render(tmp_path, "json", "gia-mic"))["groups"][0]
    against = {run["name"]: run["against_reference"] for run in value["runs"]}
    assert against["gia-mic"] is None
    assert against["gia-mic-st"]["UA"] < 0
    assert against["gia-mic-st"]["p_holm"] >= against["gia-mic-st"]["p"]
    assert render(tmp_path).count("What each change does") == 0


def test_an_unknown_or_ambiguous_reference_is_refused(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.9, "gia-mic-s": 0.5}, folds=2)
    with pytest.raises(RunError, match=r"no run 'gia' in .* choose one of gia-mic, gia-mic-s"):
        render(tmp_path, reference="gia")
    make_fold(tmp_path, TRUE, TRUE, name="gia-mic-s", fold=2, folds=2, seed=1, training={"epochs": 1})
    with pytest.raises(RunError, match=r"'gia-mic-s' is the name of 2 rows: choose one of gia-mic-s \[1\]"):
        render(tmp_path, reference="gia-mic-s")
    assert "against gia-mic-s [1]" in render(tmp_path, reference="gia-mic-s [1]")


def test_subsets_of_the_modalities_stand_in_one_row(tmp_path):
    for name, share, modalities in [
        ("gia-mic", 0.9, ["speech", "text", "visual"]),
        ("gia-mic-sv", 0.7, ["speech", "visual"]),
        ("gia-mic-t", 0.6, ["text"]),
    ]:
        make_runs(tmp_path, {name: share}, modalities=modalities)
    make_runs(tmp_path, {"mult": 0.8}, model={"name": "mult"})
    text = render(tmp_path)
    table = text[text.index("UA of each subset") : text.index("WA / UA of each fold")]
    (group,) = groups(read_runs(tmp_path))
    mean = {row.run.name: f"{100 * row.primary.mean:.1f}" for row in group.rows}
    cells = rf"gia-mic +{mean['gia-mic-t']} ± \S+ +{mean['gia-mic-sv']} ± \S+ +{mean['gia-mic']} ± \S+\n"
    assert re.search(cells, table)
    assert "mult" not in table
    assert re.search(r"model +t +s v +s t v\n", table)


def test_runs_that_share_speakers_stand_apart(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.7}, folds=2)
    make_runs(tmp_path, {"gia-mic-shared": 0.9}, folds=2, allow_shared=True)
    honest, optimistic = render_headline(tmp_path).split("\n\n\n")
    assert "gia-mic-shared" not in honest
    assert "optimistic: training and test share speakers" in optimistic


def test_answers_without_features_are_told(tmp_path):
    folder = make_fold(tmp_path, TRUE, wrong(0.3, 1), folds=1)
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**metrics, "without_features": {"train": 3, "test": 5}}))
    assert "gia-mic: 5 test answers are the most frequent class" in render(tmp_path)


def test_controls_without_features_stand_below_the_models(tmp_path):
    """Of two folds the first has more of class 0, the second more of class 1; the scenario tells every label."""
    for fold, true in ((1, [0, 0, 0, 1]), (2, [0, 1, 1, 1])):
        about = {"scenario": [f"script {label}" for label in true], "dialog": ["a", "a", "b", "b"]}
        make_fold(tmp_path, true, true, fold=fold, about=about)
    (group,) = groups(read_runs(tmp_path))
    assert [scores["WA"] for scores in group.controls["majority"].folds] == [0.25, 0.25]
    assert group.controls["scenario"].pooled["UA"] == 1
    text = render_headline(tmp_path)
    assert re.search(r"\(most frequent class\) +· · · +2/2 +25\.0 ± 0\.0 +50\.0 ± 0\.0 +25\.0 +25\.0 +session +—", text)
    assert re.search(r"\(scenario alone\) +· · · +2/2 +100\.0", text)
    assert json.loads(render(tmp_path, "json"))["groups"][0]["controls"]["scenario"]["pooled"]["WA"] == 1


def test_there_are_no_controls_where_the_training_part_is_not_known(tmp_path):
    make_fold(tmp_path, TRUE, TRUE, fold=1, folds=2)
    make_fold(tmp_path, TRUE, TRUE, name="gia-mic-split", fold=1, folds=1, protocol="split")
    assert all(group.controls == {} for group in groups(read_runs(tmp_path)))
