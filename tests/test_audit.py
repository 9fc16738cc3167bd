"""An audit finds what training and test share, and what can be known of the emotion without any feature."""

import re

import numpy as np
import pytest

from gia_mic.extract.corpus import Utterance, write_corpus
from gia_mic.extract.errors import RunError
from gia_mic.extract.targets import Target
from gia_mic.fuse import controls
from gia_mic.fuse.audit import audit, normalised
from gia_mic.report.audit import render_audit, verdict

CLASSES = ("angry", "happy", "neutral", "sad")


def scripted(features, share=1.0, name="scripted"):
    """Four sessions in which eight scripts are acted, each for one emotion in `share` of its utterances."""
    generator = np.random.default_rng(0)
    utterances = []
    for session in range(1, 5):
        for script in range(8):
            for take in range(6):
                label = script % 4 if generator.random() < share else int(generator.integers(4))
                utterances.append(
                    Utterance(
                        id=f"Ses{session}-{script}-{take}",
                        label=CLASSES[label],
                        speaker=f"Ses{session}{'FM'[take % 2]}",
                        session=f"Ses{session}",
                        dialog=f"Ses{session}-{script}",
                        scenario=f"script {script}",
                        text=f"Take {take} -- of the day!",
                        split="test" if session == 4 else "train",
                    )
                )
    return write_corpus(features, name, utterances, root=features, classes=CLASSES)


def test_a_scenario_that_predicts_the_label_is_found_and_its_protocol_removes_the_advantage(tmp_path):
    prepared = scripted(tmp_path)
    by_session, by_scenario = audit(prepared, ["session", "scenario"])
    assert by_session.controls["scenario"].pooled["UA"] == 1
    assert by_session.controls["majority"].pooled["UA"] == pytest.approx(0.25)
    assert by_scenario.controls["scenario"].pooled["UA"] <= 0.25
    sentences = " ".join(verdict(prepared, [by_session, by_scenario]))
    assert "The scenario alone predicts the emotion: UA 100.0 % by session, where chance is 25.0 %" in sentences
    assert "train with --protocol scenario too" in sentences
    assert re.search(r"The scenario alone says nothing of the emotion: UA [\d.]+ % by scenario", sentences)


def test_a_scenario_that_says_little_scores_what_hand_work_gives(tmp_path):
    prepared = scripted(tmp_path, share=0.5)
    (by_session,) = audit(prepared, ["session"])
    labels, scenarios, sessions = (np.array(prepared.column(name)) for name in ("label", "scenario", "session"))
    right = 0
    for session in set(sessions):
        for scenario in set(scenarios):
            here = scenarios == scenario
            counts = np.bincount(labels[here & (sessions != session)], minlength=4)
            right += (labels[here & (sessions == session)] == counts.argmax()).sum()
    assert np.sort(counts)[-1] > np.sort(counts)[-2]
    assert by_session.controls["scenario"].pooled["WA"] == pytest.approx(right / len(prepared), abs=0.02)


def test_overlaps_are_counted_by_value_and_by_utterance(tmp_path):
    by_session, by_scenario = audit(scripted(tmp_path), ["session", "scenario"])
    assert len(by_session.overlaps) == 4
    first = by_session.overlaps[0]
    assert (first["speaker"].values, first["speaker"].shared) == (2, 0)
    assert (first["dialog"].values, first["dialog"].shared, first["dialog"].covered) == (8, 0, 0)
    assert (first["scenario"].values, first["scenario"].shared) == (8, 8)
    assert (first["sentence"].values, first["sentence"].shared, first["sentence"].covered) == (6, 6, 48)
    assert len(by_scenario.folds) == 8
    assert all(overlap["scenario"].shared == 0 for overlap in by_scenario.overlaps)
    assert all(overlap["speaker"].shared == 8 for overlap in by_scenario.overlaps)


def test_a_protocol_that_is_refused_in_training_is_looked_at_and_told(tmp_path):
    utterances = [
        Utterance(id=str(row), label=CLASSES[row % 2], speaker=f"s{row % 3}", session=f"Ses{row % 4}")
        for row in range(24)
    ]
    prepared = write_corpus(tmp_path, "shared", utterances, root=tmp_path)
    by_session, by_scenario = audit(prepared, ["session", "scenario"])
    assert "has the speakers s0, s1, s2 in training and test" in by_session.problem
    assert by_session.overlaps[0]["speaker"].shared == 3
    assert by_scenario.folds == []
    assert by_scenario.controls == {}
    assert "no scenarios, so there are no folds by scenario" in by_scenario.problem
    text = render_audit(prepared)
    assert "No folds by split, scenario; the reason is below." in text
    assert "The manifest names no scenarios" in text


def test_sentences_that_are_known_by_heart_are_told(tmp_path):
    prepared = scripted(tmp_path)
    sentences = " ".join(verdict(prepared, audit(prepared, ["session"])))
    assert "By session, 192 of 192 test sentences (100.0 %) occur word for word in the training part" in sentences


def test_the_words_are_a_control_where_they_tell(tmp_path):
    words = {"angry": "how dare you", "happy": "what a lovely day", "neutral": "the train leaves", "sad": "i miss her"}
    utterances = [
        Utterance(
            id=f"{session}-{row}", label=label, session=f"Ses{session}", speaker=f"Ses{session}F",
            text=f"{words[label]} {row}",
        )
        for session in range(3)
        for row, label in enumerate(list(words) * 5)
    ]  # fmt: skip
    (by_session,) = audit(write_corpus(tmp_path, "worded", utterances, root=tmp_path), ["session"])
    assert by_session.controls["words"].pooled["UA"] == 1
    assert "scenario" not in by_session.controls


def test_utterances_without_text_or_with_one_class_to_learn_from_do_no_harm(tmp_path):
    utterances = [
        Utterance(
            id=str(row), label=CLASSES[row // 4], session=f"Ses{row // 4}", speaker=f"s{row // 4}",
            text="hello there" if row == 0 else None,
        )
        for row in range(8)
    ]  # fmt: skip
    (by_session,) = audit(write_corpus(tmp_path, "sparse", utterances, root=tmp_path), ["session"])
    assert by_session.controls["words"].pooled["WA"] == 0
    assert by_session.overlaps[1]["sentence"].utterances == 0


def test_the_scenarios_mean_worked_by_hand():
    """a: two of class 1 against one of 0; b: a tie, which the more frequent class 1 wins; c and None: unknown."""
    target = Target("label", ("x", "y", "z"))
    values = np.array(["a", "a", "a", "b", "b", None, None], dtype=object)
    test = np.array(["a", "b", "c", None], dtype=object)

    def answered(train, values):
        return controls.of_scenario(target, np.eye(3)[train], values, test).argmax(axis=1).tolist()

    assert answered([0, 1, 1, 0, 1, 2, 1], values) == [1, 1, 1, 1]
    assert answered([0, 0, 1], np.array(["a", "a", "b"], dtype=object)) == [0, 1, 0, 0]
    assert controls.of_training_part(target, np.eye(3)[[2, 2, 0]], 4).argmax(axis=1).tolist() == [2] * 4


def test_a_control_is_pooled_over_its_folds():
    true, answers = [np.eye(2)[[0, 1]], np.eye(2)[[0, 0]]], [np.eye(2)[[0, 0]], np.eye(2)[[0, 0]]]
    control = controls.control_of("majority", Target("label", ("a", "b")), true, answers)
    assert [scores["WA"] for scores in control.folds] == [0.5, 1]
    assert control.pooled["WA"] == 0.75


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Well -- I DON’T know!", "well i don't know"), ("  ", None), (None, None), ("…", None), ("ＡＢ c", "ab c")],
)
def test_sentences_are_compared_by_their_words(text, expected):
    assert normalised(text) == expected


@pytest.mark.parametrize("format", ["terminal", "md", "latex"])
def test_every_format_has_every_table(tmp_path, format):
    text = render_audit(scripted(tmp_path), ["session", "split"], format)
    assert text.count("what test and training share") == 2
    assert re.search(r"scenario alone[ |&]+4[ |&]+100\.0", text)
    if format == "terminal":
        assert max(map(len, text.splitlines())) <= 100
        assert re.search(r"1 Ses1 +144 +48 +0 of 2 +0 of 1 +0 of 8 +8 of 8 +6 of 6\n", text)


def test_an_unknown_protocol_or_format_is_refused(tmp_path):
    prepared = scripted(tmp_path)
    with pytest.raises(RunError, match="no protocol 'random': choose one of session, speaker, split, scenario"):
        audit(prepared, ["random"])
    with pytest.raises(RunError, match="no audit format 'pdf'"):
        render_audit(prepared, format="pdf")
