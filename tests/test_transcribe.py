import json
import os
import signal
import time

import numpy as np
import pytest
import soundfile
import torch
import transformers
from made_media import tone
from made_models import SPEECH_SIZE, STABLE, save_ctc, save_whisper
from made_runs import make_fold

from gia_mic.extract import plan
from gia_mic.extract.corpus import Clip, Utterance, load_corpus, write_corpus
from gia_mic.extract.encoders.recogniser import _Ctc, make_recogniser, quiet_windows
from gia_mic.extract.errors import EncoderError, Interrupted, MediaError, StoreError
from gia_mic.extract.run import run
from gia_mic.extract.transcribe import transcribe
from gia_mic.fuse.data import find_stores
from gia_mic.fuse.runs.runs import read_runs
from gia_mic.report.audit import verdict
from gia_mic.report.provenance import provenance


@pytest.fixture(scope="module")
def ctc(tmp_path_factory):
    return save_ctc(tmp_path_factory.mktemp("models") / "ctc")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return save_whisper(tmp_path_factory.mktemp("models") / "whisper")


@pytest.fixture
def corpus(tmp_path):
    """Three utterances without text, one with, one without sound."""
    names = ["one", "two", "three", "known"]
    for number, name in enumerate(names):
        tone(tmp_path / f"{name}.wav", 0.4 + 0.3 * number, hz=150.0 + 90 * number)
    utterances = [Utterance(name, "ab"[number % 2], audio=Clip(f"{name}.wav")) for number, name in enumerate(names[:3])]
    utterances += [Utterance("known", "a", text="As written.", audio=Clip("known.wav")), Utterance("mute", "b")]
    return write_corpus(tmp_path / "features", "mine", utterances, root=tmp_path)


def reference(folder, path):
    """What transformers itself makes of one recording with a CTC model."""
    samples = soundfile.read(path, dtype="float32")[0]
    model = transformers.AutoModelForCTC.from_pretrained(folder).eval()
    features = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)(
        samples, sampling_rate=16000, return_tensors="pt"
    )
    with torch.inference_mode():
        ids = model(features.input_values).logits.argmax(-1)[0]
    return " ".join(
        transformers.AutoTokenizer.from_pretrained(folder).decode(ids, skip_special_tokens=True).lower().split()
    )


@pytest.mark.parametrize(("architecture", "settings"), [("Wav2Vec2", {}), ("Wav2Vec2", STABLE), ("Hubert", {})])
def test_a_batch_is_heard_as_transformers_hears_each_recording_alone(tmp_path, corpus, architecture, settings):
    folder = save_ctc(tmp_path / "model", architecture, **settings)
    utterances = {u.id: u for u in transcribe(corpus, str(folder))}
    expected = {name: reference(folder, tmp_path / f"{name}.wav") for name in ("one", "two", "three")}
    assert {name: utterances[name].text or "" for name in expected} == expected
    assert len(set(expected.values())) == 3
    assert all(expected.values())


def test_only_missing_texts_are_filled_and_marked(corpus, ctc, caplog):
    caplog.set_level("INFO", "gia_mic")
    utterances = {u.id: u for u in transcribe(corpus, str(ctc))}
    assert {name: u.text_source for name, u in utterances.items()} == {
        **dict.fromkeys(["one", "two", "three"], "ctc"), "known": None, "mute": None
    }  # fmt: skip
    assert utterances["known"].text == "As written."
    assert utterances["mute"].text is None
    assert load_corpus(corpus.folder.parent, "mine").about["recognisers"]["ctc"]["weights"]
    assert "words in 3 utterances." in caplog.messages[0]


def test_targets_and_links_stay_as_they_were_prepared(tmp_path, ctc):
    tone(tmp_path / "a.wav", 0.5)
    utterances = [Utterance("a", "sad", audio=Clip("a.wav"), labels=("sad",), scores={"valence": 2}, votes={"sad": 1})]
    names = {"classes": ["sad", "angry"], "label_names": ["angry", "sad"], "score_ranges": {"valence": (1, 5)}}
    before = write_corpus(tmp_path / "features", "one", utterances, root=tmp_path, follow_links=True, **names)
    after = transcribe(before, str(ctc))
    assert next(iter(after)).text_source == "ctc"
    assert (after.targets, after.follow_links) == (before.targets, True)


def test_what_was_heard_before_a_kill_is_not_heard_again(corpus, ctc, monkeypatch, caplog):
    whole = [u.text for u in transcribe(corpus, str(ctc))]
    (transcripts,) = (corpus.folder / "transcripts").glob("*.jsonl")
    lines = transcripts.read_text().splitlines(keepends=True)
    transcripts.write_text(lines[0] + lines[1][:30])  # the second was being written
    write_corpus(corpus.folder.parent, "mine", list(corpus), root=corpus.root)
    assert [u.text for u in load_corpus(corpus.folder.parent, "mine")] == [None, None, None, "As written.", None]
    caplog.set_level("INFO", "gia_mic")
    assert [u.text for u in transcribe(corpus, str(ctc))] == whole
    assert "3 utterances, 1 of them in an earlier run" in caplog.messages[0]
    assert len(transcripts.read_text().splitlines()) == 3
    monkeypatch.setattr("gia_mic.extract.transcribe.encode_all", None)  # nobody listens any more
    write_corpus(corpus.folder.parent, "mine", list(corpus), root=corpus.root)
    assert [u.text for u in transcribe(corpus, str(ctc))] == whole


def test_another_recogniser_replaces_only_what_a_recogniser_gave(tmp_path, corpus, ctc):
    transcribe(corpus, str(ctc))
    other = save_ctc(tmp_path / "other", num_hidden_layers=1)
    again = load_corpus(corpus.folder.parent, "mine")
    assert [u.text_source for u in transcribe(again, str(other))] == ["ctc"] * 3 + [None] * 2
    utterances = list(transcribe(again, str(other), again=True))
    assert [u.text_source for u in utterances] == ["other"] * 3 + [None] * 2
    assert utterances[3].text == "As written."


def test_whisper_says_the_same_in_a_batch_as_alone(corpus, whisper, monkeypatch):
    together = [u.text for u in transcribe(corpus, str(whisper))]
    write_corpus(corpus.folder.parent, "mine", list(corpus), root=corpus.root)
    (transcripts,) = (corpus.folder / "transcripts").glob("*.jsonl")
    transcripts.unlink()
    monkeypatch.setattr("gia_mic.extract.transcribe.batch_positions", lambda device: 100_000)
    assert [u.text for u in transcribe(corpus, str(whisper))] == together
    assert all(together[:4])


def test_a_long_recording_goes_through_windows(tmp_path, whisper):
    tone(tmp_path / "long.wav", 70.0)
    long = write_corpus(tmp_path / "features", "long", [Utterance("u", "a", audio=Clip("long.wav"))], root=tmp_path)
    recogniser = make_recogniser(str(whisper)).to("cpu")
    (job,), _ = plan.jobs(long, recogniser)
    assert len(list(recogniser.pieces(job))) == 3
    assert next(iter(transcribe(long, str(whisper)))).text


def test_windows_are_cut_where_it_is_quiet_and_lose_nothing():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=100_000).astype(np.float32)
    samples[27_300:27_700] = 0
    windows = list(quiet_windows(iter(np.array_split(samples, 7)), 1000, 30.0))
    np.testing.assert_array_equal(np.concatenate(windows), samples)
    assert 27_300 < len(windows[0]) < 27_700
    assert all(25_000 <= len(window) <= 30_000 for window in windows[:-1])
    assert [len(window) for window in quiet_windows(iter([samples[:500]]), 1000, 30.0)] == [500]


def test_what_cannot_be_read_is_named_and_the_others_are_done(tmp_path, corpus, ctc):
    (tmp_path / "two.wav").write_bytes(b"noise")
    with pytest.raises(MediaError, match="1 of 5 utterances can't be read, the others are done: two"):
        transcribe(corpus, str(ctc))
    result = load_corpus(corpus.folder.parent, "mine")
    assert [u.id for u in result if u.text_source] == ["one", "three"]
    assert len(transcribe(result, str(ctc), allow_failures=True)) == 5


def test_a_model_that_recognises_no_words_is_refused(tmp_path, corpus, ctc):
    config = transformers.Wav2Vec2Config(**SPEECH_SIZE)
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path / "plain")
    with pytest.raises(EncoderError, match=r"recognises no words \(it is Wav2Vec2Model\)"):
        transcribe(corpus, str(tmp_path / "plain"))
    with pytest.raises(EncoderError, match="takes no language"):
        transcribe(corpus, str(ctc), language="english")


def test_ctrl_c_says_how_many_texts_are_kept(corpus, ctc, monkeypatch):
    hear = _Ctc.begin
    calls = []

    def interrupting(self, pieces, dtype):
        calls.append(len(pieces))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        return hear(self, pieces, dtype)

    monkeypatch.setattr(_Ctc, "begin", interrupting)
    monkeypatch.setattr("gia_mic.extract.transcribe.batch_positions", lambda device: 1)
    with pytest.raises(Interrupted, match="Stopped after 2 of 3 utterances; they are kept"):
        transcribe(corpus, str(ctc), device="cpu")
    (transcripts,) = (corpus.folder / "transcripts").glob("*.jsonl")
    assert len(transcripts.read_text().splitlines()) == 2
    assert calls == [1, 1]


def test_a_corpus_with_nothing_to_hear_is_left_alone(tmp_path, ctc, caplog):
    caplog.set_level("INFO", "gia_mic")
    full = write_corpus(tmp_path, "full", [Utterance("u", "a", text="Yes.")], root=tmp_path)
    assert transcribe(full, str(ctc)) is full
    assert caplog.messages == ["No utterance of full that has sound lacks a text: nothing to do."]
    mute = write_corpus(tmp_path, "mute", [Utterance("u", "a")], root=tmp_path)
    with pytest.raises(MediaError, match="have no sound either"):
        transcribe(mute, str(ctc))


def test_the_command_fills_the_manifest(corpus, ctc, mer):
    words = ["transcribe", "--model", str(ctc), "--features", str(corpus.folder.parent)]
    answer = mer(*words)
    assert answer.exit_code == 0, answer.output
    assert "4 with text" in answer.stdout
    answer = mer("transcribe", "--model", "nowhere/x/y", *words[3:], "--again")
    assert answer.exit_code == 1
    assert "a hub id looks like owner/name" in answer.output


def test_audit_and_report_say_whose_words_they_are(tmp_path, corpus, ctc):
    transcribed = transcribe(corpus, str(ctc))
    assert verdict(corpus, [])[-1].startswith("The manifest names no scenarios")
    assert any("3 of 4 transcripts are what the recogniser ctc heard" in line for line in verdict(transcribed, []))
    path = make_fold(tmp_path / "runs", [0, 1], [0, 1], corpus="mine", classes=["a", "b"], folds=1) / "config.json"
    config = json.loads(path.read_text())
    config["corpus"]["recognisers"] = transcribed.about["recognisers"]
    path.write_text(json.dumps(config))
    (run,) = read_runs(tmp_path / "runs")
    assert "Text: heard by ctc in 3 of 12 utterances." in provenance([run])
    config["modalities"] = ["speech"]
    path.write_text(json.dumps(config))
    assert not any("heard" in line for line in provenance(read_runs(tmp_path / "runs")))


def test_text_features_of_before_are_refused_until_they_are_made_again(corpus, ctc):
    list(run(corpus, "text", "tiny"))
    assert list(find_stores(corpus)) == ["text"]
    transcribed = transcribe(corpus, str(ctc))
    with pytest.raises(StoreError, match="made of other texts than the manifest has now: one, two, three"):
        find_stores(transcribed)
    list(run(transcribed, "text", "tiny"))
    assert list(find_stores(transcribed)) == ["text"]
