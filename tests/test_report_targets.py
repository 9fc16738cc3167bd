"""Scores, labels and votes are reported as classes are: by their measure, with intervals, controls and figures."""

import csv
import io
import json
import re

import numpy as np
import pytest
from made_runs import TARGETS, make_fold_of, make_robustness, make_runs, make_runs_of

from gia_mic.extract.corpus import Utterance, write_corpus
from gia_mic.extract.targets import Target
from gia_mic.fuse import controls
from gia_mic.fuse.audit import audit
from gia_mic.fuse.measure import measure_of
from gia_mic.fuse.runs.runs import read_runs
from gia_mic.report import figures, statistics
from gia_mic.report.audit import FORMATS as AUDIT_FORMATS
from gia_mic.report.audit import render_audit, verdict
from gia_mic.report.error_analysis import confused_utterances, speaker_scores
from gia_mic.report.group import groups
from gia_mic.report.render import FORMATS, render, tables
from gia_mic.report.summary import summarise

FOLDS, B = 3, 40


@pytest.fixture(scope="module", params=TARGETS)
def target(request):
    return TARGETS[request.param]


@pytest.fixture(scope="module")
def runs(target, tmp_path_factory):
    """Three models of the target, the last with two seeds and the worst answers."""
    folder = tmp_path_factory.mktemp(target.kind)
    make_runs_of(folder, target, {"gia-mic": 0.15, "gia-mic-st": 0.4}, folds=FOLDS, B=B)
    make_runs_of(folder, target, {"mult": 0.9}, folds=FOLDS, B=B, seeds=2, model={"name": "mult"})
    for run_dir in folder.glob("*/gia-mic/fold-*/seed-*"):
        make_robustness(run_dir, names=measure_of(target).headline)
    return folder


@pytest.fixture(scope="module")
def group(runs):
    (group,) = groups(read_runs(runs))
    return group


def answers_of(run, seed=0):
    folds = [fold.predictions for fold in run.folds if fold.seed == seed]
    return np.concatenate([fold.true for fold in folds]), np.concatenate([fold.answers for fold in folds])


# Numbers


def test_pooled_scores_are_those_of_all_answers(target, group):
    measure = measure_of(target)
    for row in group.rows:
        seeds = [answers_of(row.run, seed) for seed in row.run.seeds]
        tally = np.mean([measure.tally(*answers)[0] for answers in seeds], axis=0)
        whole = [measure.whole(*answers) for answers in seeds]
        expected = measure.scores(tally) | {name: np.mean([one[name] for one in whole]) for name in whole[0]}
        for name in measure.table:
            assert row.pooled[name] == pytest.approx(expected[name])
        for name in measure.headline:
            assert row.over_folds[name].mean == pytest.approx(np.mean([fold.scores[name] for fold in row.folds]))


def test_an_interval_is_that_of_drawing_whole_dialogs(target, group):
    """Dialogs are drawn by hand from the same seed, and all their utterances scored anew."""
    measure, draws = measure_of(target), 200
    true, answers = answers_of(group.rows[0].run)
    dialogs = np.arange(len(true)) // 8
    values = []
    for draw in np.random.default_rng(statistics.SEED).integers(0, 15, (draws, 15)):
        rows = np.concatenate([np.flatnonzero(dialogs == dialog) for dialog in draw])
        values.append(float(measure.value(measure.primary, measure.tally(true[rows], answers[rows]))[0]))
    tallies = measure.tally(true, answers, dialogs)
    (interval,) = statistics.bootstrap(tallies, [lambda sums: measure.value(measure.primary, sums)], draws=draws)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    (whole,) = statistics.bootstrap(tallies, [lambda sums: measure.value(measure.primary, sums)])
    assert group.evidence[0].intervals[measure.primary] == whole


def test_the_better_model_is_best_and_the_difference_is_that_of_the_metric(target, group):
    primary = measure_of(target).primary
    assert group.names[group.best] == "gia-mic"
    assert [row.run.name for row in group.rows][-1] == "mult"
    worst = group.against_best[-1]
    assert (worst.metric, worst.utterances) == (primary, FOLDS * B)
    assert worst.difference.value == pytest.approx(group.rows[-1].pooled[primary] - group.rows[0].pooled[primary])
    assert worst.distinguishable
    assert worst.holm >= worst.difference.p
    assert (worst.mcnemar is None) == (not target.one_of_many)
    assert (group.evidence[0].bins is None) == (not target.one_of_many)


def test_of_a_metric_that_errors_raise_the_lowest_is_best(tmp_path, monkeypatch):
    target = TARGETS["affect"]
    monkeypatch.setattr(type(measure_of(target)), "primary", "MAE")
    make_runs_of(tmp_path, target, {"gia-mic": 0.15, "mult": 0.9}, B=B)
    (group,) = groups(read_runs(tmp_path))
    assert group.names[group.best] == "gia-mic"
    assert group.rows[0].primary.mean < group.rows[1].primary.mean
    assert "★ lowest mean MAE" in render(tmp_path)
    assert speaker_scores(group.rows[0].run)[0].scores["MAE"] == max(
        row.scores["MAE"] for row in speaker_scores(group.rows[0].run)
    )


def test_many_groups_are_drawn_a_block_at_a_time_with_the_same_result(monkeypatch):
    measure = measure_of(TARGETS["sentiment"])
    source = np.random.default_rng(0)
    true, answers = source.uniform(-3, 3, (2, 60, 1))
    tallies = measure.tally(true, answers, np.arange(60))
    whole = statistics.bootstrap(tallies, [lambda sums: measure.value("CCC", sums)], draws=100)
    monkeypatch.setattr(statistics, "MOST_WEIGHTS", 700)
    blocks = statistics.bootstrap(tallies, [lambda sums: measure.value("CCC", sums)], draws=100)
    assert (blocks[0].low, blocks[0].high) == pytest.approx((whole[0].low, whole[0].high))


def test_a_label_that_never_occurs_has_no_score_and_breaks_nothing(tmp_path):
    target = Target("labels", ("happy", "bored"))
    true = np.array([[1, 0], [0, 0], [1, 0], [0, 0]], dtype=float)
    for fold in (1, 2):
        make_fold_of(tmp_path, target, true, np.where(true, 0.9, 0.1), fold=fold)
    assert summarise(read_runs(tmp_path)[0]).pooled["F1_bored"] is None
    assert re.search(r"bored +0\.0 +0\.0 +— +— +", render(tmp_path))
    value = json.loads(render(tmp_path, "json"))["groups"][0]["runs"][0]
    assert value["pooled"]["WAcc_bored"] is None
    assert "bored" in render(tmp_path, "html")


@pytest.mark.parametrize("form", FORMATS)
def test_labels_that_neither_occur_nor_are_answered_have_no_scores_in_any_format(tmp_path, form):
    for fold in (1, 2):
        for name in ("gia-mic", "mult"):
            answers = np.full((4, 2), 0.1)
            make_fold_of(
                tmp_path, Target("labels", ("happy", "bored")), np.zeros((4, 2)), answers, name=name, fold=fold
            )
    text = render(tmp_path, form)
    assert not re.search(r"\bnan\b", text)
    assert form not in ("terminal", "md", "html") or "—" in text


# Tables and formats


def test_targets_do_not_share_a_table(tmp_path):
    for target in TARGETS.values():
        make_runs_of(tmp_path, target, {f"gia-mic-{target.name}": 0.2}, folds=2, B=16)
    make_runs(tmp_path, {"gia-mic": 0.8}, folds=2, B=16)
    report_groups = groups(read_runs(tmp_path))
    assert [group.title for group in report_groups] == [
        "small, by session",
        "small, labels by session",
        "small, sentiment by session",
        "small, valence, arousal, dominance by session",
        "small, votes by session",
    ]
    lines = list(csv.DictReader(io.StringIO(render(tmp_path, "csv"))))
    assert {line["target"] for line in lines} == {"label", *(target.name for target in TARGETS.values())}
    assert {line["UA"] == "" for line in lines if line["target"] == "sentiment"} == {True}
    assert {line["CCC"] == "" for line in lines if line["target"] == "label"} == {True}
    assert "target" not in json.loads(render(tmp_path, "json"))["groups"][0]


def test_runs_as_training_leaves_them_are_reported(targets):
    _, runs = targets
    folder = next(iter(runs.values())).parent
    report_groups = groups(read_runs(folder))
    assert sorted(group.target.name for group in report_groups) == sorted(runs)
    text = render(folder)
    assert all(group.title in text for group in report_groups)
    assert len(json.loads(render(folder, "json"))["groups"]) == len(runs)
    assert render(folder, "html").count("answers over true scores") == 3


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_every_target(target, runs, group, form):
    measure, primary = measure_of(target), measure_of(target).primary
    text = render(runs, form, "gia-mic")
    assert all(name in text for name in ("gia-mic-st", "mult"))
    pooled = group.rows[0].pooled[primary]
    score = f"{100 * pooled:.1f}" if primary in measure.in_percent else f"{pooled:.3f}"
    if form == "json":
        (value,) = json.loads(text)["groups"]
        assert value["target"]["names"] == list(target.names)
        best = value["runs"][0]
        assert best["pooled"][primary] == pytest.approx(pooled)
        assert set(measure.headline) <= set(best)
        assert all(
            best["intervals"][name][0] <= best["pooled"][name] <= best["intervals"][name][1] for name in (primary,)
        )
        assert (best["calibration_error"] is None) == (not target.one_of_many)
        assert value["runs"][2]["against_best"][primary] < 0
        assert list(value["controls"]) == ["mean", "scenario"]
    elif form == "csv":
        lines = list(csv.DictReader(io.StringIO(text)))
        assert len(lines) == 3 * (FOLDS + 3)
        last = next(line for line in lines if line["fold"] == "pooled")
        assert (last[primary], last["target"]) == (score, target.name)
        assert all(last[name] for name in measure.table)
        assert last[f"{primary} low"] <= score <= last[f"{primary} high"]
        assert lines[0][f"{primary} subset stv"] in ("90.0", "0.900")
    else:
        assert score in text
        for title in ("How sure that is", "What each change does", f"{primary} with noise and with frames lost"):
            assert (title if form != "latex" else title.replace("_", r"\_")) in text.replace(
                "\\_", "_" if form == "md" else "\\_"
            )
        assert ("Confusion" in text) == target.one_of_many
        assert ("ECE" in text) == target.one_of_many
    if form == "terminal":
        assert max(map(len, text.splitlines())) <= 100
    elif form == "latex":
        assert text.isascii()
        assert len(re.findall(r"\\begin{tabular}", text)) == len(tables(group, "gia-mic"))


def test_the_best_possible_scores_stand_beside_those_that_know_them(tmp_path):
    target = TARGETS["sentiment"]
    corpus = {"name": "demo", "digest": "d", "utterances": 80, "classes": [], "ceiling": {"CCC": 0.912, "MAE": 0.41}}
    make_runs_of(tmp_path, target, {"gia-mic": 0.2}, folds=2, corpus="small")
    for path in tmp_path.glob("small/gia-mic/fold-*/seed-0/config.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "corpus": corpus}))
    text = render(tmp_path)
    assert "ceiling: the expected score of the best possible model" in text
    assert re.search(r"0\.410 +0\.912", text)
    assert json.loads(render(tmp_path, "json"))["groups"][0]["runs"][0]["ceiling"] == corpus["ceiling"]
    assert 'class="key-ceiling"' in render(tmp_path, "html")


# Figures and utterances


def test_the_page_draws_what_the_target_asks_for(target, runs):
    text = render(runs, "html")
    K = len(target.names)
    assert text.count("answers over true scores") == (3 * K if target.kind == "scores" else 0)
    assert text.count("errors over true scores") == (3 * K if target.kind == "scores" else 0)
    assert text.count('r="2"/>') == (3 * K * 2 * FOLDS * B if target.kind == "scores" else 0)
    assert text.count("F1 of each label, pooled") == (3 if target.kind == "labels" else 0)
    assert text.count('aria-label="reliability diagram"') == (3 if target.one_of_many else 0)
    assert text.count('<table class="confusion"') == (3 if target.one_of_many else 0)
    assert text.count('class="interval" viewBox') == 3


def test_a_scatter_has_a_mark_for_each_utterance_up_to_its_most():
    true = np.linspace(1, 5, 5000)
    for count, marks in ((1, 1), (700, 700), (5000, figures.MARKS)):
        assert figures.scatter(true[:count], true[:count], 1, 5).count("<circle") == marks
        assert figures.residuals(true[:count], true[:count], 1, 5).count("<circle") == marks


def test_errors_of_scores_worked_by_hand(tmp_path):
    """Of the range of 6 the answers are 3 and 0 away in one model, and 0 and 1.5 in the other."""
    target = TARGETS["sentiment"]
    about = {"text": ["one", "two"], "speaker": ["a", "b"]}
    true = np.array([[-1.0], [2.0]])
    make_fold_of(tmp_path, target, true, np.array([[-1.0], [0.5]]), name="gia-mic", folds=1, about=about)
    make_fold_of(tmp_path, target, true, np.array([[2.0], [2.0]]), name="mult", folds=1, about=about)
    (group,) = groups(read_runs(tmp_path))
    first, second = confused_utterances(group)
    assert group.names[group.best] == "gia-mic"
    assert (first.text, first.wrong, first.values, first.mean) == ("one", pytest.approx(0.25), (-1.0,), (-1.0,))
    assert (second.speaker, second.wrong, second.answers, second.mean) == ("b", pytest.approx(0.125), 2, (0.5,))


def test_wrong_labels_and_votes_worked_by_hand(tmp_path):
    labels = Target("labels", ("happy", "sad", "angry"))
    true = np.array([[1, 1, 0], [0, 0, 0]], dtype=float)
    make_fold_of(tmp_path / "labels", labels, true, np.array([[0.9, 0.2, 0.7], [0.1, 0.1, 0.1]]), folds=1)
    (group,) = groups(read_runs(tmp_path / "labels"))
    (entry,) = confused_utterances(group)
    assert (entry.true, entry.predicted, entry.wrong) == ("happy, sad", "happy, angry", pytest.approx(2 / 3))
    votes = Target("votes", ("happy", "sad", "angry"))
    shares = np.array([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6]])
    make_fold_of(tmp_path / "votes", votes, shares, np.array([[0.1, 0.8, 0.1], [0.7, 0.2, 0.1]]), folds=1)
    (group,) = groups(read_runs(tmp_path / "votes"))
    (entry,) = confused_utterances(group)
    assert (entry.true, entry.predicted, entry.wrong) == ("angry", "happy", 1)
    assert group.evidence[0].right.tolist() == [True, False]


# Controls


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three sessions in which five scripts are acted, whose words and scenario tell of everything but the arousal.

    The last utterance has a label alone.
    """
    utterances = []
    for session in range(3):
        for row in range(40):
            script = row % 5
            utterances.append(
                Utterance(
                    id=f"{session}-{row}",
                    session=f"Ses{session}",
                    speaker=f"Ses{session}F",
                    scenario=f"script {script}",
                    text=f"word{script} again",
                    labels=("happy",) if script < 2 else ("sad",) if script == 2 else (),
                    scores={"valence": 1.0 + script * 0.9, "arousal": 1.0 + row // 5 % 5},
                    votes={"angry": 3 - script % 3, "sad": 1 + script % 3},
                )
            )
    folder = tmp_path_factory.mktemp("targets")
    ranges = {"valence": (1.0, 5.0), "arousal": (1.0, 5.0)}
    names = {"classes": ("angry", "sad"), "label_names": ("happy", "sad"), "score_ranges": ranges}
    utterances.append(Utterance(id="last", session="Ses2", speaker="Ses2F", label="sad"))
    return write_corpus(folder, "targets", utterances, root=folder, **names)


@pytest.mark.parametrize("form", AUDIT_FORMATS)
@pytest.mark.parametrize("name", ["votes", "labels", "valence", "valence,arousal"])
def test_an_audit_has_every_control_of_every_target(corpus, name, form):
    text = render_audit(corpus, ["session"], form, name)
    for control in ("mean of training", "scenario alone", "bag of words"):
        assert re.search(rf"session[ |&]+{control}[ |&]+3", text)
    if form == "terminal":
        assert "120 of 121 utterances" in text
        assert max(map(len, text.splitlines())) <= 100


def test_controls_of_scores_worked_by_hand(corpus):
    (result,) = audit(corpus, ["session"], corpus.target("valence"))
    assert {len(fold.test) for fold in result.folds} == {40}
    mean = result.controls["mean"].pooled
    assert mean["MAE"] == pytest.approx(np.mean([1.8, 0.9, 0, 0.9, 1.8]))
    assert (mean["CCC"], mean["Pearson"]) == (0, 0)
    scenario = result.controls["scenario"].pooled
    assert scenario["Pearson"] == pytest.approx(1)
    assert scenario["MAE"] == pytest.approx(mean["MAE"] / 17)  # 16 utterances of the scenario and one of the mean
    assert result.controls["words"].pooled["CCC"] > 0.9
    (sentence, words) = verdict(corpus, [result])[:2]
    assert re.match(
        r"The scenario alone predicts valence: CCC 0\.9\d\d by session \(the mean of training 0\.000\)", sentence
    )
    assert words.startswith("The words alone predict valence in part: CCC")
    (result,) = audit(corpus, ["session"], corpus.target("arousal"))
    assert "The scenario alone says nothing of arousal: CCC" in " ".join(verdict(corpus, [result]))


def test_a_constant_answers_every_label_as_the_thresholds_of_the_training_part_say():
    """F1 of having a label is highest where it is always answered, unless it never occurs."""
    target = Target("labels", ("happy", "sad", "bored"))
    train = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=float)
    assert (controls.of_training_part(target, train, 2) > 0.5).tolist() == [[True, True, False]] * 2
    values = np.array(["a", "b", "b", "a"], dtype=object)
    answers = controls.of_scenario(target, train, values, np.array(["a", "b", None], dtype=object))
    assert (answers > 0.5).tolist()[:2] == [[True, False, False], [False, True, False]]


def test_controls_of_votes_are_distributions():
    target = Target("votes", ("angry", "sad", "happy"))
    train = np.array([[0.5, 0.5, 0], [1, 0, 0], [0, 1, 0], [0.25, 0.75, 0]])
    texts = np.array(["no", "no", "oh", "oh"], dtype=object)
    for answers in (
        controls.of_training_part(target, train, 2),
        controls.of_scenario(target, train, texts, texts[1:3]),
        controls.of_words(target, train, texts, texts[1:3]),
    ):
        assert answers.sum(axis=1) == pytest.approx([1, 1])
    assert answers[0, 0] > 0.5 > answers[1, 0]


def test_the_command_takes_the_target(corpus, mer):
    result = mer("audit", "--features", corpus.folder.parent, "--target", "arousal", "--protocol", "session")
    assert result.exit_code == 0
    assert "what controls score of arousal without any feature" in result.stdout
    assert mer("audit", "--features", corpus.folder.parent, "--target", "joy").exit_code == 1
