"""An answer reads alike for every target: what it doesn't have is None or empty."""

import doctest

import pytest

import gia_mic.answer
import gia_mic.runtime.answer
from gia_mic.answer import Answer, change_in_words, in_words
from gia_mic.extract.targets import Target

CLASSES = ("angry", "happy", "sad")
SCORES = Target("scores", ("valence", "arousal"), ((1, 5), (-3, 3)))


@pytest.mark.parametrize(
    ("target", "values", "label", "labels", "words"),
    [
        (Target("label", CLASSES), (0.2, 0.5, 0.3), "happy", (), "happy"),
        (Target("votes", CLASSES), (0.1, 0.3, 0.6), "sad", (), "sad"),
        (Target("labels", CLASSES), (0.9, 0.5, 0.51), None, ("angry", "sad"), "angry, sad"),
        (Target("labels", CLASSES), (0.1, 0.2, 0.5), None, (), "none"),
        (SCORES, (3.256, -0.5), None, (), "valence 3.26, arousal -0.50"),
    ],
)
def test_each_target_has_its_part_of_an_answer(target, values, label, labels, words):
    named = dict(zip(target.names, values, strict=True))
    answer = Answer(target, named)
    assert (answer.label, answer.labels) == (label, labels)
    assert (answer.probabilities, answer.scores) == (({}, named) if target is SCORES else (named, {}))
    assert answer.in_words() == words
    entries = answer.entries()
    assert entries.get("label") == label
    assert entries.get("labels") == (list(labels) if target.kind == "labels" else None)
    assert entries["scores" if target is SCORES else "probabilities"] == named


def test_lines_show_how_much_and_what_applies():
    shares = dict(zip(CLASSES, (0.2, 0.5, 0.0), strict=True))
    assert Answer(Target("label", CLASSES), shares).lines().splitlines() == [
        f"happy   50.0 %  {'█' * 15}",
        f"angry   20.0 %  {'█' * 6}",
        "sad      0.0 %",
    ]
    applying = Answer(Target("labels", CLASSES), shares | {"sad": 0.6}).lines().splitlines()
    assert [line.endswith("applies") for line in applying] == [True, False, False]
    assert Answer(SCORES, {"valence": 1.0, "arousal": 3.0}).lines().splitlines() == [
        f"valence    1.00   1 ●{'─' * 30} 5",
        f"arousal    3.00  -3 {'─' * 30}● 3",
    ]


@pytest.mark.parametrize(("width", "text"), [(1, "0.12"), (6, "0.12"), (0.02, "0.1230"), (100, "0"), (30, "0.1")])
def test_a_score_is_printed_to_about_a_hundredth_of_its_range(width, text):
    target = Target("scores", ("valence",), ((0, width),))
    assert in_words(target, "valence", 0.123) == text
    assert change_in_words(target, "valence", 0.123) == f"+{text}"


def test_the_examples_run():
    results = [doctest.testmod(module) for module in (gia_mic.answer, gia_mic.runtime.answer)]
    assert sum(result.attempted for result in results) == 4
    assert not any(result.failed for result in results)
