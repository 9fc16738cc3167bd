import multiprocessing
import os
import random
import resource
import signal
import threading
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_media import tone, video
from made_models import SPEECH, save
from made_recordings import TINY_SPEECH, content, make_corpus

from gia_mic.extract import plan
from gia_mic.extract import run as run_module
from gia_mic.extract.corpus import Clip, Utterance, find_corpus, load_corpus, write_corpus
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.encoders.speech import SpeechEncoder
from gia_mic.extract.errors import EncoderError, Interrupted, MediaError, StoreError
from gia_mic.extract.inspection import feature_files, inspect, verify_all
from gia_mic.extract.parts import Builder, frame_bytes
from gia_mic.extract.run import extract, extract_generated, run
from gia_mic.extract.store import EXTRACTED, FAILED, MISSING, open_store


@pytest.fixture(autouse=True)
def one_thread():
    """Sums depend on how many threads share them: to compare bytes, both sides compute on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_utterance_is_extracted_in_the_manifests_order(tmp_path):
    corpus = make_corpus(tmp_path)
    result = extract(corpus, TINY_SPEECH, budget=150)
    assert (result.extracted, result.reused, result.missing, result.failed) == (11, 0, 1, {})
    store = open_store(result.path)
    assert store.ids == corpus.ids
    assert store.status[2] == MISSING
    assert (np.delete(store.status, 2) == EXTRACTED).all()
    assert result.path.name == f"tiny-{TINY_SPEECH().spec.fingerprint}.h5"
    assert [path.name for path in result.path.parent.glob("*.h5")] == [result.path.name]
    assert list(store.damaged()) == []
    assert str(result) == f"{result.path}: 11 extracted, 1 missing in the corpus"


@pytest.mark.parametrize("modality", ["speech", "text"])
def test_batches_change_nothing(tmp_path, modality):
    corpus = make_corpus(tmp_path)
    make = partial(make_encoder, modality, "tiny", dtype="float32")
    together = open_store(extract(corpus, make, budget=400).path)
    frames = {utterance_id: np.array(together.frames(utterance_id)) for utterance_id in corpus.ids}
    together.path.unlink()
    alone = open_store(extract(corpus, make, budget=1).path)
    for utterance_id in corpus.ids:
        np.testing.assert_allclose(alone.frames(utterance_id), frames[utterance_id], rtol=1e-4, atol=1e-4)


def test_a_second_run_does_nothing(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path)
    path = extract(corpus, TINY_SPEECH).path
    before = path.stat()
    monkeypatch.setattr(
        "gia_mic.extract.encoders.speech.SpeechEncoder.begin", lambda *_: pytest.fail("nothing is left to encode")
    )
    result = extract(corpus, TINY_SPEECH)
    assert (result.extracted, result.reused) == (0, 11)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_only_what_has_changed_is_extracted_again(tmp_path, caplog):
    corpus = make_corpus(tmp_path)
    first = content(extract(corpus, TINY_SPEECH).path)
    tone(tmp_path / "corpus" / "u004.wav", 0.7)
    caplog.set_level("INFO", "gia_mic")
    result = extract(corpus, TINY_SPEECH)
    assert (result.extracted, result.changed, result.reused) == (1, 1, 10)
    assert caplog.messages == ["1 of 12 utterances have changed since they were extracted."]
    store = open_store(result.path)
    assert len(store.frames("u004")) == (int(0.7 * 16000) - 400) // 320 + 1
    assert content(result.path)[0] == first[0]


def test_a_corrected_transcript_or_a_moved_cut_is_a_changed_input(tmp_path):
    corpus = make_corpus(tmp_path)
    make_text = partial(make_encoder, "text", "tiny")
    extract(corpus, make_text)
    extract(corpus, TINY_SPEECH)
    utterances = list(corpus)
    utterances[5] = Utterance("u005", "b", audio=Clip("u005.wav", end_s=0.15), text="This is another sentence.")
    corpus = write_corpus(tmp_path / "features", "made", utterances, root=corpus.root)
    assert extract(corpus, make_text).changed == 1
    assert extract(corpus, TINY_SPEECH).changed == 1


def test_a_new_label_changes_no_feature(tmp_path):
    corpus = make_corpus(tmp_path)
    extract(corpus, TINY_SPEECH)
    relabelled = [Utterance(u.id, "c", audio=u.audio, text=u.text) for u in corpus]
    corpus = write_corpus(tmp_path / "features", "made", relabelled, root=corpus.root)
    assert extract(corpus, TINY_SPEECH).reused == 11


def test_another_spec_is_another_file(tmp_path):
    corpus = make_corpus(tmp_path)
    every_frame = extract(corpus, TINY_SPEECH).path
    every_fourth = extract(corpus, partial(TINY_SPEECH, pool="4")).path
    assert every_frame != every_fourth
    assert every_frame.exists()
    lengths = np.diff(open_store(every_frame).offsets)
    np.testing.assert_array_equal(np.diff(open_store(every_fourth).offsets), -(-lengths // 4))


def test_files_that_can_not_be_read_do_not_stop_the_others(tmp_path):
    corpus = make_corpus(tmp_path)
    folder = tmp_path / "corpus"
    (folder / "u000.wav").write_bytes((folder / "u000.wav").read_bytes()[:2000])
    (folder / "u001.wav").write_text("no sound")
    (folder / "u003.wav").unlink()
    tone(folder / "u004.wav", 0.01)
    with pytest.raises(MediaError, match=r"4 of 12 utterances can't be read.*u000 \(.*cut short.*--allow-failures"):
        list(run(corpus, "speech", "tiny", device="cpu"))
    (result,) = run(corpus, "speech", "tiny", device="cpu", allow_failures=True)
    assert (result.extracted, result.reused, len(result.failed)) == (0, 7, 4)
    assert list(result.failed) == ["u000", "u001", "u003", "u004"]
    store = open_store(result.path)
    assert store.status[:5].tolist() == [FAILED, FAILED, MISSING, FAILED, FAILED]
    assert "has 10 ms of sound" in store.reasons[4]
    assert len(store.frames("u000")) == 0
    tone(folder / "u000.wav", 0.5)
    (result,) = run(corpus, "speech", "tiny", device="cpu", allow_failures=True)
    assert (result.extracted, len(result.failed)) == (1, 3)


def test_an_empty_transcript_fails_and_a_missing_one_is_missing(tmp_path):
    utterances = [Utterance("u1", "a", text=""), Utterance("u2", "a"), Utterance("u3", "a", text="Yes.")]
    corpus = write_corpus(tmp_path, "made", utterances, root=tmp_path)
    with pytest.raises(MediaError, match=r"1 of 3 utterances can't be read.*The transcript of u1 is empty"):
        list(run(corpus, "text", "tiny", device="cpu"))
    assert open_store(next(tmp_path.glob("made/text/*.h5"))).status.tolist() == [FAILED, MISSING, EXTRACTED]


def test_an_unmounted_disk_costs_nothing_that_was_extracted(tmp_path, caplog):
    corpus = make_corpus(tmp_path)
    path = extract(corpus, TINY_SPEECH).path
    before = path.read_bytes()
    (tmp_path / "corpus").rename(tmp_path / "elsewhere")
    (tmp_path / "corpus").mkdir()
    caplog.set_level("INFO", "gia_mic")
    result = extract(corpus, TINY_SPEECH)
    assert len(result.failed) == 11
    assert "11 utterances that were extracted before can't be read any more" in caplog.messages[-1]
    assert path.read_bytes() == before


def test_all_takes_what_the_corpus_has(tmp_path, caplog):
    caplog.set_level("INFO", "gia_mic")
    results = list(run(make_corpus(tmp_path), "all", "tiny", device="cpu"))
    assert [result.path.parent.name for result in results] == ["speech", "text"]
    assert caplog.messages == ["The corpus made has no video: no visual features."]
    with pytest.raises(MediaError, match="The corpus 'made' has no video"):
        list(run(find_corpus(tmp_path / "features"), "visual", "tiny", device="cpu"))


def test_video_is_extracted_at_the_wanted_rate(tmp_path):
    video(tmp_path / "a.mp4", [50] * 20, fps=10)
    utterances = [Utterance("u1", "a", video=Clip("a.mp4")), Utterance("u2", "a", video=Clip("a.mp4", 0.5, 1.5))]
    corpus = write_corpus(tmp_path, "made", utterances, root=tmp_path)
    (result,) = run(corpus, "visual", "tiny", device="cpu")
    store = open_store(result.path)
    assert store.frame_rate_hz == 4.0
    assert np.diff(store.offsets).tolist() == [8, 4]


def test_a_corpus_with_an_encoder_of_its_own_is_extracted_once(tmp_path, caplog):
    corpus = make_corpus(tmp_path)
    caplog.set_level("INFO", "gia_mic")
    extract_generated(corpus)
    assert caplog.messages == []
    corpus = write_corpus(tmp_path / "features", "made", list(corpus), root=corpus.root, about={"encoder": "tiny"})
    extract_generated(corpus)
    assert caplog.messages[0] == "Nothing is extracted from made yet: doing it now."
    caplog.clear()
    extract_generated(corpus)
    assert caplog.messages == []


def test_wrong_settings_are_refused_before_any_work(tmp_path):
    corpus = make_corpus(tmp_path, count=3)
    with pytest.raises(EncoderError, match="'some/model' is the encoder of one modality"):
        list(run(corpus, "all", "some/model"))
    with pytest.raises(EncoderError, match="no device 'gpu' here"):
        list(run(corpus, "speech", "tiny", device="gpu"))
    assert not (corpus.folder / "speech").exists()


def test_a_folder_that_can_not_be_written_is_one_sentence(tmp_path):
    corpus = make_corpus(tmp_path, count=3)
    (corpus.folder / "speech").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"can't be made|can't be written"):
        extract(corpus, TINY_SPEECH)


def test_a_broken_feature_file_is_one_sentence_and_stays(tmp_path):
    corpus = make_corpus(tmp_path, count=4)
    path = extract(corpus, TINY_SPEECH).path
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StoreError, match=r"is broken .*: remove it and run `mer extract` again"):
        extract(corpus, TINY_SPEECH)
    assert path.stat().st_size == 1000


def test_out_of_memory_halves_the_batches_and_goes_on(tmp_path, monkeypatch, caplog):
    from gia_mic.extract.encoders.speech import SpeechEncoder

    corpus = make_corpus(tmp_path)
    expected = open_store(extract(corpus, partial(TINY_SPEECH, dtype="float32")).path)
    values = np.array(expected.values)
    begin = SpeechEncoder.begin

    def small(self, pieces, dtype):
        if len(pieces) > 2:
            raise MemoryError
        return begin(self, pieces, dtype)

    monkeypatch.setattr(SpeechEncoder, "begin", small)
    caplog.set_level("INFO", "gia_mic")
    next((corpus.folder / "speech").glob("*.h5")).unlink()
    halved = open_store(extract(corpus, partial(TINY_SPEECH, dtype="float32"), budget=800).path)
    assert halved.ids == expected.ids
    np.testing.assert_allclose(halved.values, values, atol=1e-4)
    assert caplog.messages[0] == "Out of memory: going on with batches of 400 positions."


def test_an_utterance_too_large_for_the_memory_fails_alone(tmp_path, monkeypatch):
    from gia_mic.extract.encoders.speech import SpeechEncoder

    corpus = make_corpus(tmp_path)
    begin = SpeechEncoder.begin
    longest = max(next(TINY_SPEECH().pieces(job)).size for job in plan.jobs(corpus, TINY_SPEECH())[0])

    def small(self, pieces, dtype):
        if any(piece.size == longest for piece in pieces):
            raise MemoryError
        return begin(self, pieces, dtype)

    monkeypatch.setattr(SpeechEncoder, "begin", small)
    result = extract(corpus, TINY_SPEECH, budget=800)
    assert list(result.failed.values()) == [f"not enough memory to encode even {longest} positions alone"]
    assert result.extracted == 10


def test_an_error_in_the_model_is_not_swallowed(tmp_path, monkeypatch):
    monkeypatch.setattr(SpeechEncoder, "begin", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        extract(make_corpus(tmp_path), TINY_SPEECH)


def test_two_models_side_by_side_give_what_one_gives(tmp_path):
    corpus = make_corpus(tmp_path)
    content_before = content(extract(corpus, TINY_SPEECH, budget=100).path)
    next((corpus.folder / "speech").glob("*.h5")).unlink()
    assert content(extract(corpus, TINY_SPEECH, budget=100, devices=("cpu", "cpu")).path) == content_before


def test_any_number_of_cores_gives_the_same_bytes(tmp_path):
    corpus = make_corpus(tmp_path)
    content_before = content(extract(corpus, TINY_SPEECH, budget=100).path)
    next((corpus.folder / "speech").glob("*.h5")).unlink()
    torch.set_num_threads(3)
    assert content(extract(corpus, TINY_SPEECH, budget=100).path) == content_before
    assert torch.get_num_threads() == 3


def test_ctrl_c_ends_after_the_batch_and_keeps_what_is_finished(tmp_path, monkeypatch):
    from gia_mic.extract.encoders.speech import SpeechEncoder

    corpus = make_corpus(tmp_path, count=40)
    undisturbed = content(extract(corpus, TINY_SPEECH, budget=100).path)
    next((corpus.folder / "speech").glob("*.h5")).unlink()
    begin = SpeechEncoder.begin
    calls = []

    def interrupting(self, pieces, dtype):
        calls.append(len(pieces))
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        return begin(self, pieces, dtype)

    monkeypatch.setattr(SpeechEncoder, "begin", interrupting)
    with pytest.raises(Interrupted, match=r"Stopped after \d+ of 39 utterances; they are kept: run the same command"):
        extract(corpus, TINY_SPEECH, budget=100)
    count = sum(calls)
    result = extract(corpus, TINY_SPEECH, budget=100)
    assert result.reused == count < 39
    assert content(result.path) == undisturbed
    assert threading.active_count() < 10


def test_a_part_is_written_once_the_bound_of_waiting_frames_is_passed(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path, count=40)
    undisturbed = content(extract(corpus, TINY_SPEECH, budget=100).path)
    next((corpus.folder / "speech").glob("*.h5")).unlink()
    bound, largest_batch = 20_000, 100 * 64 * 2
    sizes = []
    add = Builder.add
    monkeypatch.setattr(Builder, "add", lambda builder, items: (sizes.append(frame_bytes(items)), add(builder, items)))
    monkeypatch.setattr(run_module, "PART_BYTES", bound)
    monkeypatch.setattr(run_module, "TRIM_SECONDS", 0.0)
    assert content(extract(corpus, TINY_SPEECH, budget=100).path) == undisturbed
    assert len(sizes) > 5
    assert all(bound < size <= bound + largest_batch for size in sizes[:-1])


WAV2VEC2 = "transformers.models.wav2vec2.modeling_wav2vec2"


def extract_in_child(features, sender):
    """Extract in a process of its own, writing a part after every batch, and send what was done."""
    torch.set_num_threads(1)
    run_module.PART_SECONDS, run_module.PART_SHARE = 0.0, 0.0
    sender.send("begun")
    result = extract(load_corpus(features, "made"), TINY_SPEECH, budget=100, quiet=True)
    sender.send((result.extracted, result.reused))


@pytest.mark.parametrize("times", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_a_run_killed_again_and_again_ends_as_if_undisturbed(tmp_path, times):
    corpus = make_corpus(tmp_path, count=150)
    undisturbed = content(extract(corpus, TINY_SPEECH, budget=100).path)
    path = next((corpus.folder / "speech").glob("*.h5"))
    path.unlink()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["gia_mic.extract.run", "gia_mic.extract.encoders.speech", "datasets", "tqdm", WAV2VEC2]
    )
    rng = random.Random(0)
    longest_s = None  # until a kill: half of what the first run takes on this machine, which isn't killed
    kills = kills_between_parts = 0
    while True:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=extract_in_child, args=(tmp_path / "features", sender))
        process.start()
        sender.close()
        assert receiver.recv() == "begun"
        begun = time.monotonic()
        process.join(rng.uniform(0.0, longest_s) if longest_s and kills < times else None)
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            kills_between_parts += any(path.parent.glob("*.parts/*.h5"))
            assert not path.exists() or content(path) == undisturbed
        else:
            extracted, reused = receiver.recv()
            assert extracted + reused == 149
            longest_s = longest_s or (time.monotonic() - begun) / 2
            if kills >= times:
                break
            path.unlink()  # it was not killed: begin anew
    assert kills_between_parts > times / 10
    assert content(path) == undisturbed
    assert list(path.parent.glob("*.parts")) == []


def test_options_of_one_modality_go_to_it_alone(tmp_path):
    video(tmp_path / "a.mp4", [50] * 20, fps=10)
    utterances = [Utterance("u1", "a", text="Yes.", video=Clip("a.mp4"))]
    corpus = write_corpus(tmp_path, "made", utterances, root=tmp_path)
    _, visual = run(corpus, "all", "tiny", device="cpu", frame_rate_hz=2.0)
    assert open_store(visual.path).frame_rate_hz == 2.0
    with pytest.raises(EncoderError, match="frame_rate_hz is no option of text"):
        list(run(corpus, "text", "tiny", device="cpu", frame_rate_hz=2.0))


@pytest.mark.parametrize("modality", ["speech", "text"])
def test_a_dry_run_foresees_the_size_and_writes_nothing(tmp_path, modality):
    corpus = make_corpus(tmp_path)
    (foreseen,) = run(corpus, modality, "tiny", device="cpu", dry_run=True)
    assert not foreseen.path.exists()
    assert (foreseen.utterances, foreseen.finished) == (12, 0)
    assert foreseen.seconds > 0
    assert "(new)" in str(foreseen)
    (result,) = run(corpus, modality, "tiny", device="cpu")
    assert foreseen.todo == result.extracted
    values = open_store(result.path).values.nbytes
    assert 0.5 * values < foreseen.bytes < 2 * values + 5000
    (again,) = run(corpus, modality, "tiny", device="cpu", dry_run=True)
    assert (again.todo, again.finished, again.seconds, again.room) == (0, foreseen.todo, 0.0, 0)


def test_an_extraction_the_disk_can_not_hold_is_refused_before_it_begins(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path)
    monkeypatch.setattr("gia_mic.extract.forecast.shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    monkeypatch.setattr(SpeechEncoder, "begin", lambda *_: pytest.fail("it began"))
    with pytest.raises(StoreError, match=r"has 1\.0 kB free, and extracting 11 utterances takes about .* kB"):
        extract(corpus, TINY_SPEECH)


def write_little(features, sender):
    """Extract in a process of its own that may not write files larger than 40 kB."""
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    run_module.PART_SECONDS, run_module.PART_SHARE = 0.0, 0.0
    try:
        extract(load_corpus(features, "made"), TINY_SPEECH, budget=100, quiet=True)
    except StoreError as error:
        sender.send(str(error))
    else:
        sender.send("no error")


def test_a_full_disk_is_one_sentence_and_what_is_finished_stays(tmp_path):
    corpus = make_corpus(tmp_path, count=40)
    undisturbed = content(extract(corpus, TINY_SPEECH, budget=100).path)
    path = next((corpus.folder / "speech").glob("*.h5"))
    path.unlink()
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=write_little, args=(tmp_path / "features", sender))
    process.start()
    sender.close()
    assert "can't be written" in receiver.recv()
    process.join()
    assert not path.exists()
    assert len(list(path.parent.glob("*.parts/*.h5"))) > 3
    assert not list(path.parent.glob("**/*.tmp"))
    result = extract(corpus, TINY_SPEECH, budget=100)
    assert result.reused > 10
    assert content(path) == undisturbed


def test_inspection_says_what_a_file_holds(tmp_path):
    corpus = make_corpus(tmp_path)
    (tmp_path / "corpus" / "u000.wav").write_text("no sound")
    path = extract(corpus, TINY_SPEECH).path
    text = inspect(path)
    assert "10 extracted, 1 missing in the corpus, 1 failed" in text
    assert "missing            u002" in text
    assert "u000: " in text
    assert path.stem.rpartition("-")[2] in text
    assert feature_files(corpus.folder) == [path]
    with pytest.raises(StoreError, match="no feature file in"):
        feature_files(tmp_path)


def test_verification_names_every_damaged_utterance(tmp_path):
    corpus = make_corpus(tmp_path)
    path = extract(corpus, TINY_SPEECH).path
    assert next(verify_all([path])).endswith("of frames are as they were written.")
    store = open_store(path)
    damaged = bytearray(path.read_bytes())
    for utterance in ("u003", "u007"):
        row = store.ids.index(utterance)
        damaged[store.values.offset + int(store.offsets[row]) * store.dim * 2] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"frames of 2 of 12 utterances .* \(u003, u007\): remove the file"):
        list(verify_all([path]))
    path.write_bytes(damaged[:-10])
    with pytest.raises(StoreError, match="is broken"):
        list(verify_all([path]))


def test_whoever_has_the_last_layer_of_an_encoder_is_told_of_the_new_default(tmp_path, caplog):
    corpus = make_corpus(tmp_path, count=4)
    model = str(save(tmp_path / "hubert", *SPEECH["hubert"]))
    caplog.set_level("INFO", "gia_mic")
    (last,) = run(corpus, "speech", model, device="cpu", layers=(-1,))
    assert not caplog.messages
    (mean,) = run(corpus, "speech", model, device="cpu")
    assert open_store(mean.path).spec["layers"] == "mean"
    (line,) = caplog.messages
    assert line.startswith(f"{last.path} has frames of hubert of its last layer, and now --layers mean is taken:")
    assert line.endswith(f"with the old one by --encoder {last.path.stem}.")
    list(run(corpus, "speech", model, device="cpu"))
    assert len(caplog.messages) == 1
