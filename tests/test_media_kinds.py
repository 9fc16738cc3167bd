"""Recordings as people have them: each is read whole, on one clock, as players play it, or fails with a sentence."""

import os
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_media import film, grey, ladder, steps, wav_bytes
from PIL import Image

from gia_mic.extract.errors import MediaError
from gia_mic.extract.media import NO_VOICE, duration_s, look, stream_audio, stream_pictures, stream_samples

RATE = 16000
LEVELS = list(range(0, 200, 5))
"""Greys of four seconds of pictures, ten a second."""


def read_sound(path, start_s=None, end_s=None):
    """Samples at 16 kHz and what is noted of them."""
    notes = []
    return np.concatenate(list(stream_audio(path, RATE, start_s, end_s, notes))), notes


def read_pictures(path, start_s=None, end_s=None, rate=4.0):
    """Pictures, and the grey of the lower right corner of each, where none is white."""
    pictures = [np.asarray(picture) for picture in stream_pictures(path, rate, start_s, end_s)]
    return pictures, [round(float(picture[-8:, -8:].mean())) for picture in pictures]


def near(actual, expected, tolerance=6):
    return len(actual) == len(expected) and max(abs(a - b) for a, b in zip(actual, expected, strict=True)) <= tolerance


# ---- lengths that are placeholders, guessed or absent


@pytest.mark.parametrize(
    "sizes",
    [
        {"riff": 0x7FFFF024, "data": 0x7FFFF000},
        {"riff": 0xFFFFFFFF, "data": 0xFFFFFFFF},
        {"riff": 0xFFFFFFFF, "data": 0xFFFFFFFF - 36},
        {"riff": 0x80000024, "data": 0x80000000},
        {"riff": 0, "data": 0},
        {"data": 0},
        {"data": 64000 + 16},
        {"riff": 12},
    ],
    ids=str,
)
def test_a_wav_whose_sizes_are_placeholders_or_a_few_bytes_off_is_read_to_its_end(tmp_path, sizes):
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(ladder(2.0), **sizes))
    samples, notes = read_sound(path)
    assert (len(samples), steps(samples), notes) == (32000, list(range(8)), [])
    assert duration_s(path) == 2.0


@pytest.mark.parametrize("data", [0, 0xFFFFFFFF])
def test_a_chunk_after_sound_of_unknown_length_is_no_sound(tmp_path, data):
    text = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0"
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(ladder(1.0), riff=data, data=data, after=text))
    assert len(read_sound(path)[0]) == 16000


def test_a_flac_from_a_pipe_whose_length_is_unknown_is_read(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, ladder(2.0), RATE)
    plain = read_sound(path)[0]
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_sound(path)[0], plain)
    assert duration_s(path) == pytest.approx(2.0)
    assert steps(read_sound(path, 0.5, 1.5)[0]) == [2, 3, 4, 5]


def test_raw_aac_is_as_long_as_it_is_not_as_its_bit_rate_lets_guess(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.3, RATE * 3).astype(np.float32)
    path = film(tmp_path / "a.aac", sounds=(np.concatenate([np.zeros(RATE * 27, np.float32), noise]),))
    assert duration_s(path) == pytest.approx(30.08)
    assert len(read_sound(path)[0]) / RATE == pytest.approx(30.08)
    clip = read_sound(path, 26.0, 29.0)[0]
    assert len(clip) == 48000
    assert [np.abs(part).max() > 0.1 for part in np.split(clip, 3)] == [False, True, True]


def test_a_browsers_recording_without_a_duration_is_read(tmp_path):
    sound = ladder(4.0, 48000)
    path = film(
        tmp_path / "a.webm", LEVELS, codec="libvpx", sounds=(sound,), rate=48000, sound_codec="libopus", live="1"
    )
    assert duration_s(path) == pytest.approx(4.0, abs=0.02)
    assert steps(read_sound(path)[0]) == list(range(16))
    assert near(read_pictures(path)[1], LEVELS[::5] and [LEVELS[round(n * 2.5)] for n in range(16)], 8)


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32"])
def test_what_telephone_systems_write_is_read_and_clipped(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", ladder(4.0, 8000), 8000, subtype=subtype)
    assert steps(read_sound(tmp_path / "a.wav")[0]) == list(range(16))
    assert steps(read_sound(tmp_path / "a.wav", 2.5, 3.5)[0]) == [10, 11, 12, 13]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp"])
def test_a_still_is_one_picture(tmp_path, name):
    grey(100, (64, 48)).to_image().save(tmp_path / name)
    pictures, greys = read_pictures(tmp_path / name)
    assert near(greys, [100])
    assert pictures[0].shape == (48, 64, 3)
    assert duration_s(tmp_path / name) < 0.1


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_an_animated_still_is_a_film(tmp_path, name):
    first, *others = (grey(level, (64, 48)).to_image() for level in (20, 120, 220))
    first.save(tmp_path / name, save_all=True, append_images=others, duration=500, lossless=True)
    assert near(read_pictures(tmp_path / name)[1], [20, 20, 120, 120, 220, 220], 12)


def test_raw_mpeg_4_video_without_any_times_is_played_at_its_rate(tmp_path):
    path = film(tmp_path / "a.m4v", LEVELS[:20], codec="mpeg4")
    assert len(read_pictures(path)[1]) == 8


# ---- a part that is taken for the whole


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {}),
        ("b.wav", {"format": "RF64"}),
        ("a.mp3", {}),
        ("a.aiff", {}),
        ("a.au", {}),
        ("a.caf", {}),
        ("a.w64", {}),
        ("a.ogg", {}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("a.nist", {"format": "NIST"}),
    ],
)
def test_half_of_a_sound_file_is_refused_in_every_format_whose_header_tells(tmp_path, name, options):
    path = tmp_path / name
    soundfile.write(path, ladder(8.0), RATE, **options)
    assert len(read_sound(path)[0]) == 8 * RATE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for read in (read_sound, duration_s, lambda path: look(path, "speech")):
        with pytest.raises(MediaError, match=rf"{name} is cut short"):
            read(path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mkv", {}),
        ("a.avi", {}),
        ("a.mp4", {"movflags": "faststart"}),
        ("b.mp4", {}),
        ("a.webm", {"codec": "libvpx", "sound_codec": "libopus", "rate": 48000}),
        ("a.asf", {"codec": "msmpeg4v3", "sound_codec": "mp2"}),
    ],
)
def test_half_of_a_film_is_refused(tmp_path, name, options):
    sound = ladder(4.0, options.get("rate", RATE))
    path = film(tmp_path / name, LEVELS, sounds=(sound,), **options)
    assert steps(read_sound(path)[0])[:8] == list(range(8))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match=r"cut short|can't be decoded"):
        read_sound(path)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.ogg", {}), ("a.opus", {"format": "OGG", "subtype": "OPUS"}), ("a.mp3", {}), ("a.wav", {}), ("a.flac", {})],
)
def test_recordings_one_after_the_other_in_a_file_are_read_whole_whatever_their_rates(tmp_path, name, options):
    path = tmp_path / name
    soundfile.write(path, ladder(2.0, 48000), 48000, **options)
    first = path.read_bytes()
    soundfile.write(path, ladder(1.0, 24000), 24000, **options)
    path.write_bytes(first + path.read_bytes())
    samples, notes = read_sound(path)
    assert len(samples) == pytest.approx(48000, abs=2)
    assert steps(samples) == [*range(8), *range(4)]
    assert notes == ["2 recordings in one file, one after the other"]
    assert steps(read_sound(path, 1.5, 2.5)[0]) == [6, 7, 0, 1]
    assert duration_s(path) == pytest.approx(3.0)


def test_a_rate_that_changes_on_the_way_is_followed(tmp_path):
    first, second = (
        film(tmp_path / "1.aac", sounds=(ladder(2.0),)),
        film(tmp_path / "2.aac", sounds=(ladder(2.0, 32000),), rate=32000),
    )
    (tmp_path / "a.aac").write_bytes(first.read_bytes() + second.read_bytes())
    samples, _ = read_sound(tmp_path / "a.aac")
    assert len(samples) / RATE == pytest.approx(4.1, abs=0.1)
    assert steps(samples[round(2.112 * RATE) :])[:7] == list(range(7))


# ---- one clock


@pytest.mark.parametrize("name", ["a.mov", "a.mkv", "a.ts", "a.mp4"])
def test_sound_that_begins_later_is_heard_beside_its_pictures(tmp_path, name):
    raw = {"sound_codec": "pcm_s16le"} if name == "a.mov" else {}
    codec = {"codec": "mpeg2video", "fps": 25} if name == "a.ts" else {}
    path = film(tmp_path / name, LEVELS, sounds=(ladder(3.0),), late_s=1.0, **raw, **codec)
    samples, notes = read_sound(path)
    assert len(samples) / RATE == pytest.approx(4.0, abs=0.1)
    assert steps(samples)[:3] == [None] * 3  # a codec's frames may begin a little before
    assert steps(samples)[4:15] == list(range(11))
    assert notes == []
    assert steps(read_sound(path, 2.0, 3.0)[0]) == [4, 5, 6, 7]
    early = steps(read_sound(path, 0.5, 1.5)[0])
    assert [early[0], *early[2:]] == [None, 0, 1]
    if name != "a.ts":
        assert near(read_pictures(path, 2.0, 3.0)[1], [100, 110, 125, 135], 8)
    assert look(path, "speech").reading.startswith("from ")
    assert look(path, "visual").reading == ""


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_pictures_that_begin_later_are_seen_beside_their_sound(tmp_path, name):
    moments = [1 + n / 10 for n in range(30)]
    path = film(tmp_path / name, LEVELS[:30], moments=moments, sounds=(ladder(4.0),))
    assert near(read_pictures(path, 2.0, 3.0)[1], [50, 60, 75, 85], 8)
    assert steps(read_sound(path, 2.0, 3.0)[0]) == [8, 9, 10, 11]
    assert near(read_pictures(path)[1][:5], [0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mkv", {}),
        ("a.webm", {"codec": "libvpx", "sound_codec": "libopus", "rate": 48000}),
    ],
)
def test_lost_packets_are_silence_of_their_length_and_noted(tmp_path, name, options):
    sound = ladder(4.0, options.get("rate", RATE))
    path = film(tmp_path / name, LEVELS, sounds=(sound,), gap=(1.0, 2.0), **options)
    samples, [note] = read_sound(path)
    assert "of its sound are missing and were taken for silence" in note
    assert len(samples) / RATE == pytest.approx(4.0, abs=0.1)
    assert steps(samples)[:4] + steps(samples)[5:15] == [0, 1, 2, 3, None, None, None, *range(8, 15)]
    assert steps(read_sound(path, 2.5, 3.5)[0]) == [10, 11, 12, 13]
    assert steps(read_sound(path, 1.5, 2.5)[0]) == [None, None, 8, 9]


def test_the_sound_of_an_mp4_with_a_gap_is_as_long_as_it_says(tmp_path):
    path = film(tmp_path / "a.mp4", LEVELS, sounds=(ladder(4.0),), gap=(1.0, 2.0))
    assert len(read_sound(path)[0]) == 64000


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_the_last_picture_stays_until_the_film_ends(tmp_path, name):
    moments = [n / 10 for n in range(11)]
    path = film(tmp_path / name, LEVELS[:11], moments=moments, sounds=(ladder(4.0),))
    _, greys = read_pictures(path)
    assert len(greys) in (16, 17)
    assert near(greys[4:], [50] * (len(greys) - 4))
    assert near(read_pictures(path, 2.0, 3.0)[1], [50] * 4)


def test_a_clock_that_jumps_back_fails_with_a_sentence(tmp_path):
    path = film(tmp_path / "a.ts", LEVELS, codec="mpeg2video", fps=25, sounds=(ladder(1.6, 48000),), rate=48000)
    path.write_bytes(path.read_bytes() * 2)
    for read in (read_sound, read_pictures):
        with pytest.raises(MediaError, match=r"has a clock that jumps from 1\.\d+ s to 0\.\d+ s"):
            read(path)


# ---- channels and tracks


def test_of_five_channels_and_bass_the_centre_comes_first_and_the_bass_not_at_all(tmp_path):
    times = np.arange(3 * RATE) / RATE
    rumble = 0.9 * np.sin(2 * np.pi * 40 * times)
    voice, nothing = ladder(3.0), np.zeros(3 * RATE)
    for name, options in (("a.wav", {"format": "WAVEX"}), ("b.wav", {}), ("a.flac", {})):
        soundfile.write(
            tmp_path / name, np.stack([nothing, nothing, voice, rumble, nothing, nothing], 1), RATE, **options
        )
        samples, _ = read_sound(tmp_path / name)
        assert steps(samples) == list(range(12))
        # by ITU-R BS.775 the centre counts 1, left and right √½, the others ½, of 1 in all
        assert np.abs(samples).max() == pytest.approx(0.4 / (1 + 2**0.5 + 1), rel=0.01)
        assert look(tmp_path / name, "speech").reading == "mix of 6"
    path = film(tmp_path / "a.mkv", sounds=(np.stack([nothing, nothing, voice, rumble, nothing, nothing]),))
    assert steps(read_sound(path)[0])[1:11] == list(range(1, 11))


@pytest.mark.parametrize("kind", ["wav", "mp4", "samples"])
def test_where_right_is_the_opposite_of_left_one_of_them_is_taken_and_noted(tmp_path, kind):
    both = np.stack([ladder(3.0), -ladder(3.0)])
    notes = []
    if kind == "samples":
        samples = np.concatenate(list(stream_samples(both.T, RATE, RATE, notes)))
    else:
        if kind == "wav":
            soundfile.write(tmp_path / "a.wav", both.T, RATE, subtype="FLOAT")
        else:
            film(tmp_path / "a.mp4", sounds=(both,))
        samples, notes = read_sound(tmp_path / f"a.{kind}")
    assert steps(samples)[:11] == list(range(11))
    assert notes == ["right is the opposite of left: left was taken"]
    if kind != "mp4":
        np.testing.assert_array_equal(samples, both[0])


def test_the_default_track_is_taken(tmp_path):
    whistle = (0.4 * np.sin(2 * np.pi * 3000 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    path = film(tmp_path / "a.mkv", sounds=(whistle, ladder(2.0)), default=1)
    assert steps(read_sound(path)[0])[:7] == list(range(7))
    assert look(path, "speech").reading == "track 1"
    path = film(tmp_path / "b.mkv", sounds=(whistle, ladder(2.0)), default=0)
    assert steps(read_sound(path)[0])[0] == 28
    assert look(path, "speech").reading == ""


# ---- pictures as they are meant


@pytest.mark.parametrize(
    ("turn", "corner", "shape"),
    [(0, (0, 0), (48, 64)), (-90, (0, -1), (64, 48)), (90, (-1, 0), (64, 48)), (180, (-1, -1), (48, 64))],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_pictures_are_turned_as_the_camera_was_held(tmp_path, name, turn, corner, shape):
    path = film(tmp_path / name, [60] * 10, turn=turn)
    pictures, _ = read_pictures(path)
    assert len(pictures) == 4
    assert pictures[0].shape == (*shape, 3)
    corners = {(y, x): pictures[0][8 * y or 4, 8 * x or 4].mean() for y in (0, -1) for x in (0, -1)}
    assert max(corners, key=corners.__getitem__) == corner
    assert sorted(level > 200 for level in corners.values()) == [False, False, False, True]
    assert (look(path, "visual").reading == "") == (turn == 0)


def test_a_photograph_held_upright_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    grey(60, (64, 48)).to_image().save(tmp_path / "a.jpg", exif=exif)
    [picture], _ = read_pictures(tmp_path / "a.jpg")
    assert picture.shape == (64, 48, 3)
    assert picture[4, -4].mean() > 200


def test_pixels_are_made_square(tmp_path):
    path = film(tmp_path / "a.mkv", [60] * 10, shape=Fraction(2))
    pictures, _ = read_pictures(path)
    assert pictures[0].shape == (48, 128, 3)
    assert look(path, "visual").reading == "pixels 2.000"


# ---- sound in which there is no voice


def nothing(kind):
    samples = np.zeros(RATE)
    if kind == "constant":
        samples += 0.25
    if kind == "spike":
        samples[8000] = 0.9
    if kind == "dither":
        samples = np.random.default_rng(0).integers(-1, 2, RATE) / 2**15
    return samples


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("silence", "its sound is silence"),
        ("constant", "its sound is the constant 0.25"),
        ("spike", "its sound is silent but for 10 ms"),
        ("dither", "its sound is almost silent, at most -90 dB of full scale"),
    ],
)
def test_sound_without_a_voice_is_read_and_noted(tmp_path, kind, note):
    soundfile.write(tmp_path / "a.wav", nothing(kind), RATE)
    samples, notes = read_sound(tmp_path / "a.wav")
    assert len(samples) == RATE
    assert notes == [f"{NO_VOICE}: {note}"]


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.flac"])
@pytest.mark.parametrize("kind", ["silence", "spike", "dither"])
def test_so_is_it_through_a_codec(tmp_path, kind, name):
    soundfile.write(tmp_path / name, nothing(kind), RATE)
    [note] = read_sound(tmp_path / name)[1]
    assert note.startswith(NO_VOICE)


def test_a_quiet_voice_and_a_short_one_are_no_silence(tmp_path):
    soundfile.write(tmp_path / "quiet.wav", ladder(1.0) / 400, RATE)
    soundfile.write(tmp_path / "short.wav", ladder(0.03), RATE)
    soundfile.write(tmp_path / "late.wav", np.concatenate([np.zeros(5 * RATE), ladder(0.2)]), RATE)
    for name in ("quiet", "short", "late"):
        assert read_sound(tmp_path / f"{name}.wav")[1] == []


# ---- what is refused with a sentence


@pytest.mark.parametrize("name", ["a.raw", "a.PCM"])
def test_a_dump_without_a_header_is_refused_and_a_wav_of_that_name_is_read(tmp_path, name):
    path = tmp_path / name
    path.write_bytes((ladder(2.0) * 32767).astype("<i2").tobytes())
    for read in (read_sound, read_pictures, duration_s, lambda path: look(path, "speech")):
        with pytest.raises(MediaError, match="is a dump of samples without a header"):
            read(path)
    path.write_bytes(wav_bytes(ladder(2.0)))
    assert len(read_sound(path)[0]) == 32000


def test_what_only_its_suffix_calls_sound_is_refused(tmp_path):
    path = tmp_path / "a.sw"
    path.write_bytes((ladder(1.0) * 32767).astype("<i2").tobytes())
    with pytest.raises(MediaError, match="can be read"):
        read_sound(path)


def test_a_pointer_of_git_lfs_is_called_so(tmp_path):
    (tmp_path / "a.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")
    with pytest.raises(MediaError, match=r"is a pointer of git-lfs.*`git lfs pull`"):
        read_sound(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a:1", "50 % – ü", os.fsdecode(b"caf\xe9")])
def test_a_file_may_have_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    sound, pictures = Path(f"{name}.wav"), Path(f"{name}.mp4")
    soundfile.write(tmp_path / "a.wav", ladder(1.0), RATE)
    film(tmp_path / "a.mp4", LEVELS[:10], sounds=(ladder(1.0),))
    (tmp_path / "a.wav").rename(sound)
    (tmp_path / "a.mp4").rename(pictures)
    assert steps(read_sound(sound)[0]) == steps(read_sound(pictures)[0])[:4] == [0, 1, 2, 3]
    assert len(read_pictures(pictures)[1]) == 4


def test_a_cover_is_no_film(tmp_path):
    import av

    path = tmp_path / "a.m4a"
    grey(60, (64, 48)).to_image().save(tmp_path / "cover.jpg")
    with av.open(str(path), "w", format="mp4") as container, av.open(str(tmp_path / "cover.jpg")) as cover:
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        picture = container.add_stream_from_template(cover.streams.video[0])
        picture.disposition = av.stream.Disposition.attached_pic
        for packet in cover.demux(video=0):
            if packet.dts is not None:
                packet.stream = picture
                container.mux(packet)
        frame = av.AudioFrame.from_ndarray(ladder(1.0)[None, :1024], "fltp", "mono")
        frame.sample_rate = RATE
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    with pytest.raises(MediaError, match="has no video"):
        read_pictures(path)
