import itertools
import shutil
from collections import Counter
from dataclasses import replace

import av
import numpy as np
import pytest
from scipy.io import wavfile

from gia_mic.extract.corpora import demo, demo_cues, demo_face, demo_intensity, demo_speech, demo_text
from gia_mic.extract.corpora.demo import Demo
from gia_mic.extract.errors import CorpusError

SUBSETS = ["s", "t", "v", "st", "sv", "tv", "stv"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A demo corpus of 40 utterances."""
    return demo.prepare_demo(tmp_path_factory.mktemp("features"), demo=Demo(utterances=40))


def pictures(path):
    with av.open(str(path)) as container:
        return np.array([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_corpus_is_balanced_and_complete(small):
    utterances = list(small)
    assert len(utterances) == 40
    assert small.classes == ("angry", "happy", "neutral", "sad")
    assert {(u.speaker, u.label) for u in utterances} == set(
        itertools.product([f"Ses0{n}{who}" for n in range(1, 6) for who in "FM"], small.classes)
    )
    assert all(u.speaker.startswith(u.session) and u.dialog.startswith(u.session) for u in utterances)
    for utterance in utterances:
        rate, samples = wavfile.read(small.path(utterance.audio))
        assert (rate, samples.dtype, samples.ndim) == (16_000, np.int16, 1)
        assert 1.2 <= len(samples) / rate <= 1.9
        assert 1000 < np.abs(samples.astype(int)).max() < 32767
        film = pictures(small.path(utterance.video))
        assert film.shape[1:] == (96, 96, 3)
        assert abs(len(film) / demo_face.FRAME_RATE_HZ - len(samples) / rate) < 0.1


def test_whole_plan_has_unique_ids_and_five_equal_sessions():
    utterances, emotions, levels = demo.plan_demo(Demo())
    assert len({u.id for u in utterances}) == len(utterances) == len(emotions) == len(levels) == 1000
    for session in {u.session for u in utterances}:
        assert [sum(u.session == session and u.label == label for u in utterances) for label in demo.EMOTIONS] == [
            50
        ] * 4
    assert {u.scenario for u in utterances} == set(demo_text.SCENARIOS)
    assert len({u.dialog for u in utterances}) == 5 * 17


def test_a_scenario_says_nothing_about_the_emotion():
    utterances = demo.plan_demo(Demo()).utterances
    counts = Counter((u.session, u.scenario, u.label) for u in utterances)
    assert len(counts) == 5 * 10 * 4
    assert 1 <= min(counts.values()) <= max(counts.values()) <= 9
    right = 0
    for utterance in utterances:  # the commonest label of the scenario in the other sessions
        others = Counter(
            u.label for u in utterances if u.scenario == utterance.scenario and u.session != utterance.session
        )
        right += others.most_common(1)[0][0] == utterance.label
    assert 0.2 < right / len(utterances) < 0.3


def test_same_seed_gives_the_same_bytes_and_another_seed_others(small, tmp_path):
    again = demo.prepare_demo(tmp_path / "again", demo=Demo(utterances=40))
    other = demo.prepare_demo(tmp_path / "other", demo=Demo(utterances=40, seed=1))
    assert again.digest == small.digest
    for mine, same, different in zip(small, again, other, strict=True):
        assert small.path(mine.audio).read_bytes() == again.path(same.audio).read_bytes()
        assert (pictures(small.path(mine.video)) == pictures(again.path(same.video))).all()
        assert small.path(mine.audio).read_bytes() != other.path(different.audio).read_bytes()


def test_prepared_corpus_is_reused_and_only_completed(small, tmp_path, caplog):
    features = tmp_path / "features"
    shutil.copytree(small.folder, features / "demo")
    paths = [small.folder / clip.path for u in small for clip in (u.audio, u.video)]
    lost = [features / "demo" / path.relative_to(small.folder) for path in (paths[0], paths[3])]
    untouched = [features / "demo" / path.relative_to(small.folder) for path in paths[4:]]
    for path in lost:
        path.unlink()
    before = [path.stat().st_mtime_ns for path in untouched]
    caplog.set_level("INFO", "gia_mic")
    assert demo.prepare_demo(features, demo=Demo(utterances=40)).digest == small.digest
    assert "2 of them now" in caplog.messages[0]
    assert [path.read_bytes() for path in lost] == [paths[0].read_bytes(), paths[3].read_bytes()]
    assert [path.stat().st_mtime_ns for path in untouched] == before
    demo.prepare_demo(features, demo=Demo(utterances=40))
    assert "is complete" in caplog.messages[1]


def test_other_parameters_take_the_place_of_the_old_recordings(tmp_path):
    first = demo.prepare_demo(tmp_path, demo=Demo(utterances=4))
    second = demo.prepare_demo(tmp_path, demo=Demo(utterances=5, cues={"s": 0.5, "t": 0.5, "v": 0.5}))
    assert len(second) == 5
    assert second.about["cues"] == {"s": 0.5, "t": 0.5, "v": 0.5}
    assert len(list((tmp_path / "demo").rglob("*.wav"))) == 5
    assert first.digest != second.digest


@pytest.mark.parametrize("cues", [demo.CUES, {"s": 0.6, "t": 0.6, "v": 0.6}, {"s": 0.9, "t": 0.4, "v": 0.25}])
def test_ceilings_equal_a_simulation(cues):
    rng = np.random.default_rng(0)
    count = 200_000
    truth = rng.integers(4, size=count)
    shows = {
        letter: np.where(rng.random(count) < p, truth, (truth + rng.integers(1, 4, count)) % 4)
        for letter, p in cues.items()
    }
    closed = demo.ceilings(cues)
    assert list(closed) == SUBSETS
    for subset in SUBSETS:
        # the posterior of each emotion up to a factor, as products of what each modality says
        score = np.zeros((count, 4))
        for letter in subset:
            says = np.full((count, 4), np.log((1 - cues[letter]) / 3))
            says[np.arange(count), shows[letter]] = np.log(cues[letter])
            score += says
        score += rng.random(score.shape) * 1e-9  # ties fall at random
        assert closed[subset] == pytest.approx((score.argmax(axis=1) == truth).mean(), abs=0.005)


def test_ceilings_by_hand():
    assert demo.ceilings({"s": 1.0, "t": 0.25, "v": 0.25}) == {
        **dict.fromkeys(["s", "st", "sv", "stv"], 1.0),
        **dict.fromkeys(["t", "v", "tv"], 0.25),
    }
    # Three of 0.7: right if two or three are, 0.7³ + 3 · 0.7² · 0.3, or in a third of the cases where all differ and
    # one is right, 3 · 0.7 · 0.3² · 2/3 · 1/3.
    p = 0.7
    by_hand = p**3 + 3 * p**2 * (1 - p) + 3 * p * (1 - p) ** 2 * 2 / 9
    assert demo.ceilings({"s": p, "t": p, "v": p})["stv"] == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_best_decisions_on_the_sample_reach_the_closed_form(seed):
    plan = demo.plan_demo(Demo(seed=seed))
    label = np.array([demo.EMOTIONS.index(u.label) for u in plan.utterances])
    sample, closed = demo_cues.in_sample(label, plan.emotions, demo.CUES), demo.ceilings(demo.CUES)
    assert all(abs(sample[subset] - closed[subset]) < 0.01 for subset in SUBSETS)
    assert closed["stv"] > max(closed[letter] for letter in "stv") + 0.08


def test_displayed_emotions_are_independent_given_the_truth():
    label = np.repeat(np.arange(4), 5000)
    displays = demo_cues.displayed(label, demo.CUES, np.random.default_rng(0))
    for one, other in itertools.combinations(range(3), 2):
        for truth in range(4):
            members = label == truth
            joint = np.zeros((4, 4))
            np.add.at(joint, (displays[members, one], displays[members, other]), 1 / members.sum())
            product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
            assert np.abs(joint - product).max() < 4 * np.sqrt(0.25 / members.sum())
    for column, letter in enumerate("stv"):
        assert (displays[:, column] == label).mean() == pytest.approx(demo.CUES[letter], abs=1e-4)


@pytest.mark.parametrize("noise", [demo_intensity.NOISE, {"s": 0.3, "t": 1.0, "v": 3.0}])
def test_best_scores_equal_a_simulation_of_the_best_answers(noise):
    """The median and mean of what is left once the levels are known, counted in a first half and scored on a second."""
    rng = np.random.default_rng(0)
    count = 1_000_000
    x = rng.normal(3, 1, 2 * count)
    x = x[(x >= 1) & (x <= 5)][:count]
    half = count // 2
    best = demo_intensity.best_scores(noise)
    assert list(best) == SUBSETS
    for subset in SUBSETS:
        codes = np.zeros(count, np.int64)
        for letter in subset:
            level = np.rint(2 * (np.clip(x + rng.normal(0, noise[letter], count), 1, 5) - 1)).astype(int)
            codes = 9 * codes + level
        medians, means = np.full(9 ** len(subset), 3.0), np.full(9 ** len(subset), 3.0)
        order = np.argsort(codes[:half], kind="stable")
        levels, starts = np.unique(codes[:half][order], return_index=True)
        for level, values in zip(levels, np.split(x[:half][order], starts[1:]), strict=True):
            medians[level], means[level] = np.median(values), values.mean()
        truth, answers = x[half:], means[codes[half:]]
        assert best[subset]["MAE"] == pytest.approx(np.abs(truth - medians[codes[half:]]).mean(), abs=0.003)
        correlation = np.corrcoef(truth, answers)[0, 1]
        assert best[subset]["Pearson"] == pytest.approx(correlation, abs=0.003)
        stretched = 3 + (answers - 3) * truth.std() / answers.std()
        ccc = (
            2
            * np.cov(truth, stretched)[0, 1]
            / (truth.var() + stretched.var() + (truth.mean() - stretched.mean()) ** 2)
        )
        assert best[subset]["CCC"] == pytest.approx(ccc, abs=0.003)


def test_best_scores_without_noise_and_with_nothing_but_noise():
    best = demo_intensity.best_scores({"s": 1e-3, "t": 1e3, "v": 1e3})
    for subset in SUBSETS:
        if "s" in subset:  # rounding to steps of 0.5 leaves errors between 0 and 0.25
            assert 0.115 < best[subset]["MAE"] < 0.125
            assert best[subset]["Pearson"] > 0.98
        else:  # 3 for all leaves the mean deviation: 2 (φ(0) − φ(2)) / (Φ(2) − Φ(−2)) of the normal distribution
            assert best[subset]["MAE"] == pytest.approx(0.7228, abs=1e-3)
            assert best[subset]["Pearson"] < 2e-3


@pytest.mark.parametrize("seed", range(3))
def test_best_answers_on_the_sample_come_near_what_is_expected(seed):
    intensity, levels = demo_intensity.draw_intensities(1000, np.random.default_rng(seed))
    sample, best = demo_intensity.best_scores_in_sample(intensity, levels), demo_intensity.best_scores()
    for subset in SUBSETS:
        assert all(abs(sample[subset][name] - best[subset][name]) < 0.02 for name in best[subset])
    assert best["stv"]["Pearson"] > max(best[letter]["Pearson"] for letter in "stv") + 0.1


def test_intensity_is_known_of_each_utterance_and_goes_with_nothing_else(small):
    assert small.targets["intensity"].ranges == ((1, 5),)
    assert small.target().name == "label"
    assert small.about["score_ceiling"] == {"intensity": demo_intensity.best_scores()}
    utterances, emotions, _ = demo.plan_demo(Demo())
    intensity = np.array([u.scores["intensity"] for u in utterances])
    assert 1 <= intensity.min() < 1.2 < 4.8 < intensity.max() <= 5
    for groups in ([u.label for u in utterances], [u.speaker for u in utterances], *emotions.T):
        for group in set(groups):
            members = intensity[np.array(groups) == group]
            assert abs(members.mean() - 3) < 4 * intensity.std() / np.sqrt(len(members))


def test_sentences_show_their_emotion_and_intensity_and_repeat_little():
    utterances, emotions, levels = demo.plan_demo(Demo())
    bearing = {e: {*demo_text._EXCLAMATIONS[e], *demo_text._ADJECTIVES[e]} for e in demo.EMOTIONS}
    for utterance, (_, emotion, _), (_, level, _) in zip(utterances, emotions, levels, strict=True):
        words = utterance.text.lower().rstrip(".!").replace(",", "").split()
        assert utterance.text.count("!") == level
        assert set(words) <= set(demo_text.WORDS)
        assert [e for e in bearing for word in words if word in bearing[e]] == [demo.EMOTIONS[emotion]] * 2
    assert len({u.text for u in utterances}) > 550
    assert sum(map(len, bearing.values())) == len(set().union(*bearing.values()))


def test_anger_is_louder_and_brighter_than_calm_and_sadness_quieter():
    speaker = demo_speech.voice(np.random.default_rng(0), low=True)

    def measured(emotion):
        sounds = [demo_speech.speech(emotion, 3, speaker, 1.5, np.random.default_rng(n)) / 32768 for n in range(8)]
        spectrum = np.mean([np.abs(np.fft.rfft(sound)) ** 2 for sound in sounds], axis=0)
        hertz = np.fft.rfftfreq(24_000, 1 / 16_000)
        return np.std(sounds), spectrum[(hertz > 500) & (hertz < 4000)].sum() / spectrum[hertz <= 500].sum()

    (sad_level, _), (neutral_level, neutral_tilt), (angry_level, angry_tilt) = map(
        measured, ("sad", "neutral", "angry")
    )
    assert sad_level < neutral_level < angry_level
    assert neutral_tilt < angry_tilt


def test_corners_of_the_mouth_rise_with_happiness_and_fall_with_sadness():
    speaker = demo_face.looks(np.random.default_rng(0))

    def drop_of_corners(emotion):
        frames = demo_face.face(emotion, 3, speaker, 1.5, np.random.default_rng(1)).astype(float)
        lips = np.mean(frames[:, 54:92, 18:78, 0] > 2.2 * frames[:, 54:92, 18:78, 1], axis=0)  # red beyond any skin
        rows = np.arange(len(lips))
        middle, sides = lips[:, 26:34].sum(axis=1), (lips[:, 20:24] + lips[:, 36:40]).sum(axis=1)
        return rows @ sides / sides.sum() - rows @ middle / middle.sum()

    assert drop_of_corners("happy") < -0.5 < 0.5 < drop_of_corners("sad")


def test_shoulders_rise_and_vowels_open_with_intensity():
    voice, face = demo_speech.voice(np.random.default_rng(0), low=True), demo_face.looks(np.random.default_rng(0))
    hertz = np.fft.rfftfreq(24_000, 1 / 16_000)
    wall, open_share = [], []
    for intensity in demo_intensity.LEVELS:
        left_edge = demo_face.face("sad", intensity, face, 1.5, np.random.default_rng(1))[0, :, 0].mean(axis=-1)
        wall.append((left_edge > (left_edge[0] + left_edge[-1]) / 2).sum())
        power = [
            np.abs(np.fft.rfft(demo_speech.speech("neutral", intensity, voice, 1.5, np.random.default_rng(n)))) ** 2
            for n in range(4)
        ]
        share = np.mean(power, axis=0)
        open_share.append(share[(hertz > 600) & (hertz < 1300)].sum() / share[(hertz > 1700) & (hertz < 2300)].sum())
    assert (np.diff(wall) < 0).all()
    assert (np.diff(open_share) > 0).all()


def test_voices_and_faces_differ_by_speaker():
    voices = [demo_speech.voice(np.random.default_rng([0, 1, n]), low=bool(n % 2)) for n in range(10)]
    faces = [demo_face.looks(np.random.default_rng([0, 1, n])) for n in range(10)]
    assert len(set(voices)) == len(set(faces)) == 10
    assert max(v.pitch_hz for v in voices[1::2]) < min(v.pitch_hz for v in voices[::2])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"utterances": 3}, "utterances is 3, at least 4"),
        ({"seed": -1}, "seed is -1"),
        ({"cues": {"s": 0.2, "t": 0.5, "v": 1.1}}, r"cue of s is 0.2, .*; the cue of v is 1.1"),
        ({"cues": {"s": 0.5}}, "cues are given for s, expected s, t, v"),
    ],
)
def test_parameters_out_of_range_are_refused(tmp_path, wrong, message):
    with pytest.raises(CorpusError, match=message):
        demo.prepare_demo(tmp_path, demo=replace(Demo(), **wrong))
    assert not list(tmp_path.iterdir())
