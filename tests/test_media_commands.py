"""What commands say of odd recordings: one never stops the others, and nothing is left out without a word."""

import shutil

import numpy as np
import pytest
import soundfile
from made_media import film, ladder

from gia_mic.extract.corpus import Clip, Utterance, write_corpus
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.forecast import forecast
from gia_mic.extract.run import extract
from gia_mic.extract.store import open_store


def corpus_of(folder, name):
    """An odd recording and two good ones."""
    for number in range(2):
        soundfile.write(folder / f"good{number}.wav", ladder(1.0), 16000)
    utterances = [
        Utterance(i, "ab"[n % 2], audio=Clip(path))
        for n, (i, path) in enumerate(zip(("odd", "good0", "good1"), (name, "good0.wav", "good1.wav"), strict=True))
    ]
    return write_corpus(folder / "features", "x", utterances, root=folder)


def tiny(modality="speech"):
    return lambda: make_encoder(modality, "tiny")


def test_one_files_length_never_counts_against_all(tmp_path):
    soundfile.write(tmp_path / "a.flac", ladder(2.0), 16000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(data)
    corpus = corpus_of(tmp_path, "a.flac")
    planned = forecast(corpus, make_encoder("speech", "tiny"))
    assert planned.hours * 3600 == pytest.approx(4.0, abs=0.1)
    store = open_store(extract(corpus, tiny(), quiet=True).path)
    assert [store.length(i) for i in ("odd", "good0", "good1")] == [99, 49, 49]


def test_a_dump_without_a_header_fails_alone(tmp_path):
    (tmp_path / "a.raw").write_bytes((ladder(2.0) * 32767).astype("<i2").tobytes())
    result = extract(corpus_of(tmp_path, "a.raw"), tiny(), quiet=True)
    assert result.extracted == 2
    assert list(result.failed) == ["odd"]
    assert "is a dump of samples without a header" in result.failed["odd"]


def test_sound_without_a_voice_is_counted_at_the_end_and_said_by_inspect(tmp_path, monkeypatch, mer):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000, np.float32), 16000)
    corpus_of(tmp_path, "a.wav")
    monkeypatch.chdir(tmp_path)
    answer = mer("extract", "--corpus", "x", "--modality", "speech", "--encoder", "tiny")
    assert answer.exit_code == 0, answer.output
    assert "3 extracted, 1 with a note (see mer inspect), 1 of them without a voice to hear" in answer.stdout
    assert "odd (no voice to hear: its sound is silence)" in mer("inspect").stdout


def test_predict_says_that_there_is_no_voice(demo, tmp_path, mer):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000, np.float32), 16000)
    answer = mer("predict", demo[1] / "gia-mic" / "fold-1" / "seed-0", "--audio", tmp_path / "a.wav", "--device", "cpu")
    assert answer.exit_code == 0, answer.output
    assert "speech: no voice to hear: its sound is silence" in answer.stderr


@pytest.mark.parametrize("step", ["nan", "inf"])
def test_a_step_that_is_no_number_is_refused_by_its_option(demo, tmp_path, mer, step):
    soundfile.write(tmp_path / "a.wav", ladder(1.0), 16000)
    answer = mer("listen", demo[1] / "gia-mic" / "fold-1" / "seed-0", tmp_path / "a.wav", "--every", step)
    assert answer.exit_code == 2
    assert "'--every'" in answer.stderr
    assert "is no finite number" in answer.stderr


def test_too_few_samples_are_told_apart_from_enough(tmp_path):
    soundfile.write(tmp_path / "a.wav", ladder(1.0)[:399], 16000)
    result = extract(corpus_of(tmp_path, "a.wav"), tiny(), quiet=True)
    assert "has 24.94 ms of sound, 399 samples at 16000 Hz; tiny needs at least 400" in result.failed["odd"]


def test_a_corpus_whose_folder_is_gone_is_said_once(tmp_path, monkeypatch, mer):
    (tmp_path / "here").mkdir()
    corpus = corpus_of(tmp_path / "here", "good0.wav")
    shutil.move(corpus.folder.parent, tmp_path / "features")
    shutil.move(tmp_path / "here", tmp_path / "gone")
    monkeypatch.chdir(tmp_path)
    answer = mer("extract", "--corpus", "x", "--modality", "speech", "--encoder", "tiny")
    assert answer.exit_code == 1
    assert answer.stderr.count("/here,") == 1
    assert "is gone: mount it or put it back" in answer.stderr
    assert "Errno" not in answer.stderr


def test_only_utterances_that_are_read_otherwise_than_before_are_made_anew(tmp_path):
    """The digests of all others are those that earlier versions recorded."""
    from gia_mic.extract.files import digest, text_digest
    from gia_mic.extract.plan import jobs

    film(tmp_path / "plain.mp4", list(range(0, 100, 10)), sounds=(ladder(1.0),))
    film(tmp_path / "turned.mp4", list(range(0, 100, 10)), turn=90)
    film(tmp_path / "late.mkv", list(range(0, 200, 10)), sounds=(ladder(1.0),), late_s=1.0)
    soundfile.write(tmp_path / "six.wav", np.stack([ladder(1.0)] * 6, 1), 16000)
    names = {
        "plain.mp4": (False, False),
        "turned.mp4": (None, True),
        "late.mkv": (True, False),
        "six.wav": (True, None),
    }
    utterances = [
        Utterance(
            name,
            "a",
            audio=Clip(name) if sound is not None else None,
            video=Clip(name) if pictures is not None else None,
        )
        for name, (sound, pictures) in names.items()
    ]
    corpus = write_corpus(tmp_path / "features", "x", utterances, root=tmp_path)
    for index, modality in enumerate(("speech", "visual")):
        for job in jobs(corpus, make_encoder(modality, "tiny"))[0]:
            before = text_digest(f"{digest(tmp_path / job.id)} None None None")
            assert (job.source != before) == names[job.id][index], (modality, job.id)
