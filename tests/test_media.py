import numpy as np
import pytest
import soundfile
from made_media import tone, video
from PIL import Image

from gia_mic.extract.errors import MediaError
from gia_mic.extract.media import Framing, duration_s, sound, stream_audio, stream_pictures

SMALL = Framing((8, 8))


def samples(path, **options):
    return np.concatenate(list(stream_audio(path, 16000, **options)))


def stream_video(path, frame_rate_hz, framing, crop=None, **times):
    return (framing.apply(picture, crop) for picture in stream_pictures(path, frame_rate_hz, **times))


def right_half(pictures):
    """Brightness of the right half of each picture."""
    return [float(picture[:, 5:].mean()) for picture in pictures]


def test_wav_at_its_own_rate_comes_back_sample_for_sample(tmp_path):
    path = tone(tmp_path / "a.wav", 0.5)
    np.testing.assert_array_equal(samples(path), soundfile.read(path, dtype="float32")[0])


@pytest.mark.parametrize(
    ("name", "rate", "channels", "options"),
    [
        ("a.wav", 44100, 2, {"subtype": "PCM_U8"}),
        ("a.flac", 48000, 1, {}),
        ("a.ogg", 22050, 2, {}),
        ("a.mp3", 44100, 2, {}),
        ("a.wav", 8000, 1, {"subtype": "FLOAT"}),
    ],
)
def test_a_tone_keeps_its_pitch_and_length_in_any_format_rate_and_channel_count(
    tmp_path, name, rate, channels, options
):
    path = tone(tmp_path / name, 2.0, rate=rate, channels=channels, hz=220.0, **options)
    sound = samples(path)
    assert abs(len(sound) / 16000 - 2.0) < 0.1
    spectrum = np.abs(np.fft.rfft(sound))
    assert abs(np.argmax(spectrum) * 16000 / len(sound) - 220.0) < 2.0
    assert abs(duration_s(path) - 2.0) < 0.1


def test_the_sound_of_a_video_file_is_read(tmp_path):
    path = video(tmp_path / "a.mp4", [100] * 20, sound=True)
    sound = samples(path)
    assert abs(len(sound) / 16000 - 2.0) < 0.1
    assert abs(np.argmax(np.abs(np.fft.rfft(sound))) * 16000 / len(sound) - 220.0) < 2.0


def test_a_stretch_equals_that_part_of_the_whole(tmp_path):
    path = tone(tmp_path / "a.wav", 2.0)
    np.testing.assert_array_equal(samples(path, start_s=0.5, end_s=1.25), samples(path)[8000:20000])


def test_a_stretch_of_a_video_files_sound_equals_that_part_of_the_whole(tmp_path):
    path = video(tmp_path / "a.mp4", [100] * 30, sound=True)
    part, whole = samples(path, start_s=1.0, end_s=2.0), samples(path)
    assert len(part) == 16000
    assert np.abs(part[200:-200] - whole[16200:31800]).max() < 0.02


def test_streaming_in_blocks_changes_nothing(tmp_path, monkeypatch):
    path = tone(tmp_path / "a.wav", 3.0, rate=44100)
    whole = samples(path)
    monkeypatch.setattr(sound, "BLOCK_S", 0.1)
    np.testing.assert_allclose(samples(path), whole, atol=1e-6)


def test_pictures_are_those_on_the_screen_at_each_moment(tmp_path):
    path = video(tmp_path / "a.mp4", [20, 60, 100, 140, 180, 220], fps=10)
    np.testing.assert_allclose(right_half(stream_video(path, 10.0, SMALL)), [20, 60, 100, 140, 180, 220], atol=6)
    np.testing.assert_allclose(right_half(stream_video(path, 5.0, SMALL)), [20, 100, 180], atol=6)
    np.testing.assert_allclose(right_half(stream_video(path, 20.0, SMALL))[:4], [20, 20, 60, 60], atol=6)


def test_a_stretch_of_video_begins_with_the_picture_on_the_screen(tmp_path):
    path = video(tmp_path / "a.mp4", [20, 60, 100, 140, 180, 220], fps=10)
    np.testing.assert_allclose(
        right_half(stream_video(path, 10.0, SMALL, start_s=0.25, end_s=0.5)), [100, 140, 180], atol=6
    )


def test_a_crop_takes_only_its_part(tmp_path):
    path = video(tmp_path / "a.mp4", [200] * 3)
    (left, *_), (right, *_) = (
        list(stream_video(path, 10.0, SMALL, crop=crop)) for crop in [(0.0, 0.0, 0.45, 1.0), (0.55, 0.0, 1.0, 1.0)]
    )
    assert left.mean() < 10
    assert abs(right.mean() - 200) < 10


def test_framing_by_the_shortest_edge_is_resize_then_centre_crop():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8))
    expected = np.asarray(picture.resize((48, 32), Image.Resampling.BICUBIC).crop((8, 0, 40, 32)), dtype=float)
    framed = Framing((32, 32), 32, 3).apply(picture).astype(float)
    assert np.abs(framed - expected).mean() < 1.0


@pytest.mark.parametrize("read", [duration_s, samples, lambda path: list(stream_video(path, 4.0, SMALL))])
def test_a_text_file_named_wav_is_refused(tmp_path, read):
    path = tmp_path / "a.wav"
    path.write_text("not a sound at all, " * 50)
    with pytest.raises(MediaError, match="no sound or video that can be read"):
        read(path)


@pytest.mark.parametrize("read", [duration_s, samples])
def test_a_truncated_wav_is_refused_not_read_as_if_that_were_all(tmp_path, read):
    path = tone(tmp_path / "a.wav", 1.0)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(MediaError, match="cut short: its header promises 32000 bytes of sound and 19956 are there"):
        read(path)


def test_a_wav_of_unknown_length_from_a_pipe_is_read(tmp_path):
    path = tone(tmp_path / "a.wav", 1.0)
    content = bytearray(path.read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(samples(path)) == 16000


def test_a_truncated_video_is_refused(tmp_path):
    path = video(tmp_path / "a.mp4", [100] * 100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"can't be decoded|can be read|cut short"):
        list(stream_video(path, 4.0, SMALL))


def test_a_video_with_sound_but_no_pictures_is_refused(tmp_path):
    with pytest.raises(MediaError, match="has no video"):
        list(stream_video(tone(tmp_path / "a.wav", 1.0), 4.0, SMALL))


def test_a_silent_video_has_no_sound(tmp_path):
    with pytest.raises(MediaError, match="has no sound"):
        samples(video(tmp_path / "a.mp4", [100] * 5))


def test_an_empty_file_and_a_missing_one_are_refused(tmp_path):
    (tmp_path / "a.wav").touch()
    with pytest.raises(MediaError, match="is empty"):
        samples(tmp_path / "a.wav")
    with pytest.raises(MediaError, match="There is no file"):
        samples(tmp_path / "b.wav")


def test_a_clip_past_the_end_is_refused_but_for_rounding(tmp_path):
    path = tone(tmp_path / "a.wav", 1.0)
    assert len(samples(path, start_s=0.5, end_s=1.1)) == 8000
    with pytest.raises(MediaError, match=r"ends 0\.50 s before its clip does"):
        samples(path, start_s=0.5, end_s=1.5)
    with pytest.raises(MediaError, match="no samples in the clip"):
        samples(path, start_s=1.5)
    moving = video(tmp_path / "a.mp4", [100] * 10)
    with pytest.raises(MediaError, match=r"ends 1\.00 s before its clip does"):
        list(stream_video(moving, 4.0, SMALL, end_s=2.0))
    with pytest.raises(MediaError, match="no pictures between"):
        list(stream_video(moving, 4.0, SMALL, start_s=1.5, end_s=2.0))


def test_samples_that_are_no_numbers_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.0, np.nan, 0.0], np.float32), 16000, subtype="FLOAT")
    with pytest.raises(MediaError, match="not finite numbers"):
        samples(tmp_path / "a.wav")
