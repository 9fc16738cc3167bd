"""A window that slides over sound gives what the window alone gives, or close to it by as much as is said."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from made_media import tone
from made_models import SPEECH, preprocessor, save
from made_target_runs import TARGETS

from gia_mic.answer import Answer
from gia_mic.extract.encoders.contract import EncodeJob
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.errors import EncoderError, RunError
from gia_mic.extract.pipeline import pool
from gia_mic.listen import listen, pcm
from gia_mic.predictor import load_predictor
from gia_mic.window import SpeechWindow

RATE = 16000


def steady(seconds):
    """Noise whose loudness doesn't change."""
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def alone(encoder, samples):
    parts = encoder.encode(list(encoder.pieces(EncodeJob("alone", "", sound=(samples, RATE)))))
    return pool(np.concatenate(parts), encoder.spec.pool)


def encoder_of(kind, folder):
    save(folder / kind, *SPEECH[kind])
    preprocessor(folder / kind, sampling_rate=RATE, do_normalize=kind != "whisper")
    return make_encoder("speech", str(folder / kind), dtype="float32").to("cpu")


@pytest.mark.parametrize("kind", ["wav2vec2-base", "wav2vec2-large", "hubert", "wavlm", "whisper"])
def test_without_reuse_a_window_is_the_window_alone(tmp_path, kind):
    encoder, samples = encoder_of(kind, tmp_path), steady(2)
    window = SpeechWindow(encoder, 1.0, reuse=False)
    step = 4000
    for begin in range(0, len(samples), step):
        frames = window.push(samples[begin : begin + step])
    last = samples[-(((RATE // encoder.hop) - 1) * encoder.hop + encoder.receptive_field) :]
    assert len(frames) == RATE // encoder.hop
    # the grid of frames begins with the stream, so the window's last samples may be less than a frame
    begin = (len(samples) - encoder.receptive_field) // encoder.hop + 1 - len(frames)
    expected = alone(encoder, samples[begin * encoder.hop :][: len(last)])
    np.testing.assert_allclose(frames, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["wav2vec2-base", "wav2vec2-large", "hubert", "wavlm"])
def test_with_reuse_it_is_close_and_most_is_taken_over(tmp_path, kind):
    encoder, samples = encoder_of(kind, tmp_path), steady(4)
    anew, shared = SpeechWindow(encoder, 2.0, reuse=False), SpeechWindow(encoder, 2.0)
    worst = 0.0
    for begin in range(0, len(samples), 8000):
        first = anew.push(samples[begin : begin + 8000])
        second = shared.push(samples[begin : begin + 8000])
        assert first.shape == second.shape
        worst = max(worst, float(np.linalg.norm(first - second) / np.linalg.norm(first)))
    assert shared.reused > 300
    assert 0 < worst < 0.1  # 0.042 for this HuBERT, 0.014 at most for the others


def test_once_the_loudness_changes_all_is_computed_anew(tmp_path):
    encoder = encoder_of("wav2vec2-base", tmp_path)
    samples = np.concatenate([steady(1) * 0.01, steady(1)])
    anew, shared = SpeechWindow(encoder, 2.0, reuse=False), SpeechWindow(encoder, 2.0)
    for begin in range(0, len(samples), 8000):
        first, second = anew.push(samples[begin : begin + 8000]), shared.push(samples[begin : begin + 8000])
        if begin == 16000:
            np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_window_that_does_not_fit_is_refused(tmp_path):
    encoder = encoder_of("wav2vec2-base", tmp_path)
    for length_s in (0, 0.01, 21):
        with pytest.raises(EncoderError, match="doesn't fit wav2vec2-base"):
            SpeechWindow(encoder, length_s)
    assert SpeechWindow(encoder, 1.0).push(np.zeros(100, np.float32)) is None


def test_pcm_may_come_in_odd_pieces():
    import io

    given = np.arange(-300, 300, dtype="<i2")
    whole = np.concatenate(list(pcm(io.BytesIO(given.tobytes()))))
    np.testing.assert_array_equal(whole, given / np.float32(2**15))

    class Odd(io.RawIOBase):
        left = given.tobytes() + b"\1"

        def read(self, size=-1):
            taken, self.left = self.left[:7], self.left[7:]
            return taken

    np.testing.assert_array_equal(np.concatenate(list(pcm(Odd()))), whole)


@pytest.mark.parametrize("target", TARGETS)
def test_the_last_answer_is_that_of_the_whole_whatever_is_predicted(targets, tmp_path, target, mer):
    run, sound = targets[1][target], tone(tmp_path / "a.wav", 1.0)
    whole = load_predictor(run, device="cpu").predict(audio=sound)
    *_, last = map(json.loads, mer("listen", run, sound, "--json", "--device", "cpu").stdout.splitlines())
    assert list(last) == ["time_s", *whole.entries()]
    values = last["scores"] if whole.scores else last["probabilities"]
    assert values == pytest.approx(whole.values, abs=0.03)
    *_, line = mer("listen", run, sound, "--device", "cpu").stdout.splitlines()
    heard = Answer(whole.target, values)
    assert line.startswith(f"    1.0 s  {heard.in_words()}")
    assert line.count("%") == len(whole.probabilities)


def test_what_is_heard_in_the_end_is_what_its_last_seconds_say(demo, tmp_path):
    predictor = load_predictor(demo[1] / "gia-mic", device="cpu")
    samples, _ = soundfile.read(tone(tmp_path / "a.wav", 3.0), dtype="float32")
    heard = list(listen(predictor, [samples[:1000], samples[1000:]], every_s=0.5, window_s=4.0))
    assert [one.time_s for one in heard] == [0.5, 1, 1.5, 2, 2.5, 3]
    whole = predictor.predict(audio=samples, sampling_rate_hz=RATE)
    np.testing.assert_allclose(list(heard[-1].probabilities.values()), list(whole.probabilities.values()), atol=5e-3)
    with pytest.raises(RunError, match="takes text and no speech"):
        next(listen(load_predictor(demo[1] / "gia-mic-t"), [samples]))
    with pytest.raises(RunError, match="every_s is 0, and must be above 0"):
        next(listen(predictor, [samples], every_s=0))


def test_closed_standard_input_is_said(mer, monkeypatch):
    monkeypatch.setattr("gia_mic.commands.listen.sys", SimpleNamespace(stdin=None))
    answer = mer("listen", "runs/none", "-")
    assert (answer.exit_code, answer.stderr) == (
        1,
        "Error: Standard input is closed: pipe sound into it, or name a file.\n",
    )
