"""What a prediction rests on: shares that add up, and a picture of them."""

import doctest
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_media import tone, video
from PIL import Image

from gia_mic.explain import explain, words
from gia_mic.explanation_figure import draw
from gia_mic.extract.targets import Target
from gia_mic.predictor import Input, load_predictor

ROOT = Path(__file__).parent.parent


@pytest.fixture
def runs(demo):
    return demo[1]


@pytest.fixture
def utterance(tmp_path):
    sound, film = tone(tmp_path / "a.wav", 1.3), video(tmp_path / "v.mp4", [40, 90, 200] * 5)
    return Input(sound, "I can't believe it, not  again.", film)


def test_gates_are_shares_and_attention_adds_up(runs, utterance):
    explanation = explain(load_predictor(runs / "gia-mic", device="cpu"), utterance)
    assert len(explanation.gates) == 6
    assert all(0 < gate < 1 for gate in explanation.gates.values())
    assert sorted(explanation.attention) == ["speech", "text", "visual"]
    for weights in explanation.attention.values():
        assert weights.sum() == pytest.approx(1, abs=1e-4)
        assert (weights >= 0).all()
    assert [word for word, _ in explanation.words] == ["<s>", "I", "can't", "believe", "it,", "not", "again.", "<s>"]
    assert sum(weight for _, weight in explanation.words) == pytest.approx(1, abs=1e-4)
    assert len(explanation.attention["visual"]) == len(explanation.pictures) == 6
    assert len(explanation.attention["speech"]) * explanation.seconds["speech"] == pytest.approx(1.3, abs=0.08)


def test_what_a_modality_changes_is_what_is_predicted_without_it(runs, utterance):
    predictor = load_predictor(runs / "gia-mic", device="cpu")
    explanation = explain(predictor, utterance)
    without = predictor.predict(text=utterance.text, video=utterance.video)
    assert explanation.without["speech"] == pytest.approx(without.probabilities, abs=1e-5)
    assert explanation.prediction.probabilities == pytest.approx(
        predictor.predict(utterance.audio, utterance.text, utterance.video).probabilities
    )


@pytest.mark.parametrize("target", ["labels", "votes", "valence,arousal", "valence"])
def test_what_a_modality_changes_is_in_the_targets_own_numbers(targets, utterance, tmp_path, target):
    predictor = load_predictor(targets[1][target], device="cpu")
    explanation = explain(predictor, utterance)
    answer, without = explanation.prediction, predictor.predict(text=utterance.text, video=utterance.video)
    assert sorted(explanation.without) == ["speech", "text", "visual"]
    assert explanation.without["speech"] == pytest.approx(without.values, abs=1e-4)
    assert explanation.numbers()["without"] == explanation.without
    text = explanation.text()
    change = {name: explanation.without["text"][name] - value for name, value in answer.values.items()}
    if target == "votes":
        assert f"how probable {answer.label} then is" in text
        assert f"{100 * change[answer.label]:+.1f}" in text
    elif target == "labels":
        assert all(f"({100 * points:+.1f})" in text for points in change.values())
    else:
        assert all(f"({difference:+.2f})" in text for difference in change.values())
    draw(explanation, tmp_path / "why.png")
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.width == 2800


def test_many_long_names_fit_on_the_picture(targets, utterance, tmp_path):
    explanation = explain(load_predictor(targets[1]["labels"], device="cpu"), utterance)
    names = tuple(f"feeling number {number} of thirty" for number in range(30))
    rng = np.random.default_rng(0)
    answer = replace(
        explanation.prediction,
        target=Target("labels", names),
        values=dict(zip(names, rng.random(30), strict=True)),
    )
    without = {modality: dict(zip(names, rng.random(30), strict=True)) for modality in explanation.without}
    draw(replace(explanation, prediction=answer, without=without), tmp_path / "why.png")
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.height < 2400


def test_a_modality_alone_or_a_plain_fusion_has_less_to_explain(runs, utterance):
    alone = explain(load_predictor(runs / "gia-mic", device="cpu"), Input(text=utterance.text))
    assert (alone.gates, alone.attention, alone.without) == ({}, {}, {})
    assert "nothing to explain" in alone.text()
    late = explain(load_predictor(runs / "late", device="cpu"), utterance)
    assert sorted(late.without) == ["speech", "text", "visual"]
    assert not late.gates


@pytest.mark.parametrize("modalities", ["stv", "st", "v", "t"])
def test_the_picture_is_a_png_of_what_was_given(runs, utterance, tmp_path, modalities, mer):
    options = {"s": ("--audio", utterance.audio), "t": ("--text", utterance.text), "v": ("--video", utterance.video)}
    inputs = [word for letter in modalities for word in options[letter]]
    answer = mer(
        "predict", runs / "gia-mic", *inputs, "--explain", "--picture", tmp_path / "why.png", "--device", "cpu"
    )
    assert answer.exit_code == 0, answer.output
    if len(modalities) > 1:
        assert "Mean gate" in answer.stdout
        assert "Left out" in answer.stdout
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.format == "PNG"
        assert picture.width == 2800
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert (colours == 255).all(1).mean() < 0.99


def test_it_comes_as_json_too(runs, utterance, mer):
    answer = mer(
        *("predict", runs / "gia-mic", "--audio", utterance.audio, "--text", "So."),
        *("--explain", "--json", "--device", "cpu"),
    )
    explanation = json.loads(answer.stdout)["explanation"]
    assert sorted(explanation["gates"]) == ["speech <- text", "text <- speech"]
    assert sorted(explanation["without"]) == ["speech", "text"]


def test_5000_words_fit_on_the_picture(runs, tmp_path):
    text = " ".join(f"word{n}" for n in range(5000))
    utterance = Input(audio=tone(tmp_path / "a.wav", 0.5), text=text)
    draw(explain(load_predictor(runs / "gia-mic", device="cpu"), utterance), tmp_path / "why.png")
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.height < 4800


def test_pieces_of_a_word_count_together():
    spans = [None, (0, 3), (3, 4), (5, 9), None]
    assert words("hey! you", spans, [0.1, 0.2, 0.1, 0.5, 0.1]) == [
        ("<s>", 0.1),
        ("hey!", 0.3),
        ("you", 0.5),
        ("<s>", 0.1),
    ]


def test_the_examples_of_the_documentation_run(runs, targets, utterance, tmp_path, monkeypatch):
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    for run in (runs / "gia-mic", targets[1]["labels"], targets[1]["valence,arousal"]):
        (tmp_path / "runs" / "demo" / run.name).symlink_to(run)
    utterance.video.rename(tmp_path / "a.mp4")
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(str(ROOT / "docs" / "predict.md"), module_relative=False)
    assert results.attempted == 18
    assert results.failed == 0
