"""A window that slides over a stream gives what the window alone gives, or close to it by as much as is said."""

import io
import json
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile
from made_media import grey, tone, video
from made_models import SPEECH, preprocessor, save, save_ctc
from made_target_runs import TARGETS
from PIL import Image

from gia_mic.answer import Answer
from gia_mic.extract.encoders.contract import EncodeJob
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.errors import EncoderError, MediaError, RunError
from gia_mic.extract.face import FaceTrackerConfig
from gia_mic.extract.media.live import Picture, open_device, open_pipe, stream_container
from gia_mic.extract.pipeline import pool
from gia_mic.listen import listen
from gia_mic.predictor import load_predictor
from gia_mic.streams import Devices, film, paced, pcm
from gia_mic.window import PictureWindow, SpeechWindow

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
    samples = np.arange(-300, 300, dtype="<i2")
    whole = np.concatenate(list(pcm(io.BytesIO(samples.tobytes()))))
    np.testing.assert_array_equal(whole, samples / np.float32(2**15))

    class Odd(io.RawIOBase):
        left = samples.tobytes() + b"\1"

        def read(self, size=-1):
            data, self.left = self.left[:7], self.left[7:]
            return data

    np.testing.assert_array_equal(np.concatenate(list(pcm(Odd()))), whole)


@pytest.mark.parametrize("target", TARGETS)
def test_the_last_answer_is_that_of_the_whole_whatever_is_predicted(targets, tmp_path, target, mer):
    run, sound = targets[1][target], tone(tmp_path / "a.wav", 1.0)
    whole = load_predictor(run, device="cpu").predict(audio=sound)
    *_, last = map(json.loads, mer("listen", run, sound, "--json", "--device", "cpu").stdout.splitlines())
    assert list(last) == ["time_s", *whole.entries(), "modalities", "ages_s"]
    assert last["modalities"] == ["speech"]
    values = last["scores"] if whole.scores else last["probabilities"]
    assert values == pytest.approx(whole.values, abs=0.03)
    *_, line = mer("listen", run, sound, "--device", "cpu").stdout.splitlines()
    answer = Answer(whole.target, values)
    assert line.startswith(f"    1.0 s  {answer.in_words()}")
    assert line.count("%") == len(whole.probabilities)


def test_what_is_heard_in_the_end_is_what_its_last_seconds_say(demo, tmp_path):
    predictor = load_predictor(demo[1] / "gia-mic", device="cpu")
    samples, _ = soundfile.read(tone(tmp_path / "a.wav", 3.0), dtype="float32")
    answers = list(listen(predictor, [samples[:1000], samples[1000:]], every_s=0.5, window_s=4.0))
    assert [one.time_s for one in answers] == [0.5, 1, 1.5, 2, 2.5, 3]
    whole = predictor.predict(audio=samples, sampling_rate_hz=RATE)
    np.testing.assert_allclose(list(answers[-1].probabilities.values()), list(whole.probabilities.values()), atol=5e-3)
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


def pictures(count, rate_hz=4.0):
    """Pictures whose brightness tells their number."""
    return [Picture(number / rate_hz, Image.new("RGB", (64, 64), (20 * number,) * 3)) for number in range(count)]


def test_each_picture_is_encoded_once_whatever_window_it_is_in():
    encoder = make_encoder("visual", "tiny", frame_rate_hz=4.0, dtype="float32").to("cpu")
    window, stream = PictureWindow(encoder, 1.0), pictures(10)
    for picture in stream:
        window.push(picture)
        frames, newest_s = window.frames(picture.time_s)
    assert (window.encoded, newest_s) == (10, 9 / 4)
    expected = encoder.encode([encoder.piece([encoder.framing.apply(one.image) for one in stream[-5:]])])[0]
    np.testing.assert_allclose(frames, expected, atol=1e-5)
    assert window.frames(60.0) is None


def test_a_face_is_encoded_again_only_where_its_place_has_moved(monkeypatch):
    class Tracker(FaceTrackerConfig):
        def detector(self):
            return lambda picture: [(8.0, 8.0, 40.0, 40.0)] if picture.getpixel((0, 0))[0] != 20 else []

    encoder = make_encoder("visual", "tiny", frame_rate_hz=4.0, dtype="float32").to("cpu")
    monkeypatch.setattr(type(encoder), "tracker", property(lambda _: Tracker()))
    window = PictureWindow(encoder, 1.0)
    for picture in pictures(4):
        window.push(picture)
        frames, _ = window.frames(picture.time_s)
    assert (len(frames), window.encoded) == (3, 3)  # one shows no face, the others stay where they are


@pytest.fixture
def speaking_film(tmp_path):
    return video(tmp_path / "film.mp4", list(range(0, 240, 12)), sound=True)


def test_a_film_ends_with_what_its_sound_and_pictures_say(demo, speaking_film):
    predictor = load_predictor(demo[1] / "gia-mic", device="cpu")
    answers = list(listen(predictor, film(speaking_film, RATE, 4.0)))
    assert [one.time_s for one in answers] == [0.5, 1, 1.5, 2]
    assert {one.modalities for one in answers} == {("speech", "visual")}
    assert all(one.ages_s["visual"] <= 0.25 and one.ages_s["text"] is None for one in answers)
    whole = predictor.predict(audio=speaking_film, video=speaking_film)
    np.testing.assert_allclose(list(answers[-1].values.values()), list(whole.values.values()), atol=5e-3)


def test_what_a_film_lacks_is_missing_and_a_film_of_nothing_is_refused(demo, tmp_path):
    silent = video(tmp_path / "silent.mp4", [0] * 20)
    items = list(film(silent, RATE, 4.0))
    assert [item.time_s for item in items] == [number / 4 for number in range(8)]
    answers = list(listen(load_predictor(demo[1] / "gia-mic", device="cpu"), items))
    assert [(one.time_s, one.modalities) for one in answers] == [(t, ("visual",)) for t in (0.5, 1, 1.5)]
    with pytest.raises(MediaError, match="has no sound"):
        next(film(silent, RATE, None))


def test_pictures_for_an_encoder_of_others_are_left_out_and_refused_alone(demo):
    predictor = load_predictor(demo[1] / "gia-mic", device="cpu")
    predictor.encoders.specs["visual"] = {**predictor.encoders.specs["visual"], "code": {}}
    assert [one.modalities for one in listen(predictor, [*pictures(1), steady(0.5)])] == [("speech",)]
    predictor.modalities = ("visual",)
    with pytest.raises(RunError, match=r"takes visual and no speech: listen with another\."):
        next(listen(predictor, []))


def test_a_modality_that_lags_is_missing_and_not_stale(demo):
    predictor = load_predictor(demo[1] / "gia-mic", device="cpu")
    answers = list(listen(predictor, [*pictures(1), steady(2)], lag_s=1.0))
    assert [one.modalities for one in answers] == [("speech", "visual")] * 2 + [("speech",)] * 2
    assert [one.ages_s["visual"] for one in answers] == [0.5, 1.0, 1.5, 2.0]
    late = list(listen(predictor, [steady(0.5), *pictures(8)], lag_s=1.0))  # the sound stops, the pictures go on
    assert [one.modalities for one in late] == [("speech",), ("speech", "visual")]


@pytest.mark.parametrize("live", [False, True])
def test_words_are_heard_in_the_latest_seconds_and_their_age_is_said(demo, tmp_path, live):
    predictor = load_predictor(demo[1] / "gia-mic-t", device="cpu", transcribe=str(save_ctc(tmp_path / "ctc")))
    encoded = []
    encode = predictor.encoders.encode
    predictor.encoders.encode = lambda inputs: encoded.append(inputs[0].text) or encode(inputs)

    def stream():
        for _ in range(60):
            yield steady(0.5)
            if live:
                time.sleep(0.3)

    with closing(listen(predictor, stream(), lag_s=20.0, live=live)) as answers:
        answer = next(one for one in answers if not live or one.ages_s["text"])
        assert answer.modalities == ("text",)
        assert answer.text == encoded[-1]
        assert (answer.ages_s["text"] > 0) == live
    assert len(encoded) == len(set(encoded))
    assert not [thread for thread in threading.enumerate() if thread.name == "words"]


def test_devices_are_read_by_threads_that_end():
    if "lavfi" not in av.formats_available:
        pytest.skip("this FFmpeg has no made-up devices")
    camera = open_device("video", "lavfi:testsrc=size=64x48:rate=10:duration=1")
    microphone = open_device("audio", "lavfi:sine=frequency=300:sample_rate=44100:duration=1")
    with Devices([camera, microphone], RATE, 4.0) as devices:
        items = list(devices)
    assert len([item for item in items if isinstance(item, Picture)]) == 4
    assert sum(len(item) for item in items if not isinstance(item, Picture)) == pytest.approx(RATE, rel=0.05)
    with Devices([open_device("video", "lavfi:testsrc=size=64x48:rate=10")], None, 4.0) as endless:
        next(iter(endless))
    assert not [thread for thread in threading.enumerate() if thread.name == "device"]
    with pytest.raises(MediaError, match="camera nonsense can't be opened by lavfi"):
        open_device("video", "lavfi:nonsense")


def test_a_film_may_come_through_a_pipe():
    pipe = io.BytesIO()
    with av.open(pipe, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(20):
            container.mux(stream.encode(grey(90, (64, 48))))
        container.mux(stream.encode())
    items = list(stream_container(open_pipe(io.BytesIO(pipe.getvalue())), RATE, 4.0))
    assert [item.time_s for item in items] == pytest.approx([0, 0.3, 0.5, 0.8, 1.0, 1.3, 1.5, 1.8])
    with pytest.raises(MediaError, match="Standard input is no film"):
        open_pipe(io.BytesIO(b"nothing"))


def test_a_paced_stream_takes_its_time():
    begun = time.monotonic()
    list(paced([steady(0.1), *pictures(2), steady(0.2)], RATE))
    assert time.monotonic() - begun >= 0.29


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "Give FILE, --microphone or --camera."),
        (["a.wav", "--microphone"], "Give FILE or --microphone for the sound, not both."),
        (["--camera", "--real-time"], "--real-time is for a file"),
    ],
)
def test_what_makes_no_sense_together_is_refused(mer, words, line):
    answer = mer("listen", "runs/none", *words)
    assert answer.exit_code == 2
    assert line in answer.stderr
