"""What extraction asks of an accelerator, and what it does when that refuses, on one that is pretended."""

import sys
import threading
from functools import partial

import numpy as np
import pytest
import torch
from made_errors import OUT_OF_MEMORY
from made_models import SPEECH, TEXT, VISUAL, save, save_ctc, save_text
from made_recordings import TINY_SPEECH, make_corpus

from gia_mic.extract import forecast
from gia_mic.extract.device import use_tf32
from gia_mic.extract.encoders import fast
from gia_mic.extract.encoders.contract import EncodeJob, Window
from gia_mic.extract.encoders.make import make_encoder
from gia_mic.extract.encoders.recogniser import make_recogniser
from gia_mic.extract.errors import EncoderError
from gia_mic.extract.run import extract
from gia_mic.extract.store import open_store

pretended = pytest.importorskip("pretended", exc_type=ImportError).pretended


def sounds(lengths, seed=0):
    """Windows of noise of so many samples, as an encoder's `pieces` gives them for 16 kHz."""
    rng = np.random.default_rng(seed)
    counts = [(length - 400) // 320 + 1 for length in lengths]
    values = [rng.normal(size=length).astype(np.float32) for length in lengths]
    return [Window(one, slice(0, count), count) for one, count in zip(values, counts, strict=True)]


@pytest.fixture
def speech(tmp_path):
    """A wav2vec2 as deep as the real one, and narrow."""
    architecture, settings = SPEECH["wav2vec2-base"]
    folder = save(tmp_path / "wav2vec2", architecture, {**settings, "num_hidden_layers": 12})
    return partial(make_encoder, "speech", str(folder))


@pytest.mark.parametrize("name", [*SPEECH, *TEXT, *VISUAL])
def test_frames_are_those_of_the_cpu(tmp_path, name):
    rng = np.random.default_rng(0)
    folder = tmp_path / name
    if name in SPEECH:
        modality, layers = "speech", "mean"
        save(folder, *SPEECH[name])
        jobs = [EncodeJob("", "", sound=(rng.normal(size=n), 16000)) for n in (16000, 9000, 12345, 16000)]
    elif name in TEXT:
        modality, layers = "text", (1, 3)
        save_text(folder, *TEXT[name])
        jobs = [EncodeJob("", "", text=text) for text in ("No.", "Why would anyone say so?", "I say no.")]
    else:
        modality, layers = "visual", (-1,)
        save(folder, *VISUAL[name])
        jobs = []
    with pretended() as gpu:
        encoder, on_cpu = (
            make_encoder(modality, str(folder), layers=layers).to(device) for device in ("pretended", "cpu")
        )
        pieces = [piece for job in jobs for piece in encoder.pieces(job)]
        if not jobs:
            pictures = [rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8) for count in (2, 3)]
            pieces = [Window(several, slice(0, len(several)), len(several)) for several in pictures]
        actual, expected = encoder.encode(pieces), on_cpu.encode(pieces)
        assert not gpu.float64
    assert len(actual) == len(pieces)
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())


def test_a_whole_extraction_has_the_frames_of_the_cpu(tmp_path):
    corpus = make_corpus(tmp_path)
    values = []
    with pretended():
        for device in ("cpu", "pretended"):
            path = extract(corpus, partial(TINY_SPEECH, dtype="float32"), devices=(device,), quiet=True).path
            values.append(np.array(open_store(path).values))
            path.unlink()
    np.testing.assert_allclose(values[1], values[0], atol=1e-4)


@pytest.mark.parametrize("modality", ["speech", "text", "visual"])
def test_a_batch_takes_two_copies_there_and_one_back(modality):
    rng = np.random.default_rng(0)
    with pretended() as gpu:
        encoder = make_encoder(modality, "tiny").to("pretended")
        if modality == "speech":
            pieces = sounds(rng.integers(3000, 4001, 24))
        elif modality == "text":
            pieces = [Window(rng.integers(5, 50, n), slice(0, n), n) for n in rng.integers(3, 20, 24)]
        else:
            pieces = [Window(rng.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8), slice(0, 4), 4) for _ in range(6)]
        gpu.reset()
        pending = encoder.begin(pieces, "float16")
        assert not gpu.waits  # the host goes on at once
        frames, finite = pending.frames(), pending.finite()
        assert sum(gpu.waits.values()) == 1
        assert sum(gpu.uploads.values()) <= 2
        assert gpu.download_bytes <= 1.1 * sum(each.nbytes for each in frames)
    assert all(finite)
    assert {each.dtype for each in frames} == {np.dtype("float16")}


def test_recordings_of_many_lengths_take_hardly_more_kernels_than_of_one(speech):
    kernels = []
    with pretended() as gpu:
        encoder = speech().to("pretended")
        for lengths in ([4000] * 24, np.random.default_rng(0).integers(3000, 4001, 24)):
            gpu.reset()
            encoder.encode(sounds(lengths))
            kernels.append(gpu.kernels)
    assert kernels[1] <= 1.25 * kernels[0]


@pytest.mark.parametrize("modality", ["speech", "text"])
def test_what_a_type_can_not_hold_is_found_on_the_device(modality):
    with pretended():
        encoder = make_encoder(modality, "tiny").to("pretended")
        job = EncodeJob("", "", text="Yes.", sound=(np.ones(4000), 16000))
        pieces = 2 * list(encoder.pieces(job))
        values = np.full(pieces[0].values.shape, np.nan, np.float32)
        if modality == "speech":
            pieces[1] = Window(values, pieces[1].keep, pieces[1].size)
            assert encoder.begin(pieces, "float16").finite() == [True, False]
        with torch.no_grad():
            for parameter in encoder.model.parameters():
                parameter.fill_(1e30)
        assert encoder.begin(pieces, "float16").finite() == [False, False]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:40])
def test_out_of_memory_halves_the_batches_in_whatever_words(tmp_path, error, log):
    corpus = make_corpus(tmp_path)
    make = partial(TINY_SPEECH, dtype="float32")
    path = extract(corpus, make, quiet=True).path
    expected = np.array(open_store(path).values)
    path.unlink()
    with pretended() as gpu:
        encoder = make().to("pretended")
        gpu.reset()
        encoder.encode(sounds([32000]))  # as long as the longest, alone
        gpu.room, gpu.error = 3 * gpu.largest, lambda: error
        result = extract(corpus, lambda: encoder, devices=("pretended",), budget=800, quiet=True)
        assert gpu.refused
    assert not result.failed
    assert "Out of memory: going on with batches of 400 positions." in log.messages
    np.testing.assert_allclose(open_store(result.path).values, expected, atol=1e-4)


def test_weights_that_do_not_fit_are_one_sentence():
    with pretended() as gpu:
        gpu.room = 1000
        with pytest.raises(EncoderError, match="pretended has too little memory free for the weights of tiny"):
            make_encoder("speech", "tiny").to("pretended")


def test_two_threads_share_an_encoder(monkeypatch):
    monkeypatch.setattr(fast, "suits", lambda device: False)  # as on an accelerator
    encoder = TINY_SPEECH().to("cpu")
    batches = [sounds(lengths, seed=n) for n, lengths in enumerate([(16000, 9000, 12000), (15000, 4000, 16000)])]
    expected = [encoder.encode(batch) for batch in batches]
    right = []

    def encode(batch, frames):
        for _ in range(30):
            actual = encoder.encode(batch)
            right.append(all(np.allclose(one, other, atol=1e-4) for one, other in zip(actual, frames, strict=True)))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=encode, args=pair) for pair in zip(batches, expected, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert right == [True] * 60


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_only_tf32_multiplies_in_tf32(precision):
    allowed = set()

    def watch(func, args):
        if "convolution" in str(func) or "mm" in str(func):
            allowed.add((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))

    with pretended() as gpu:
        encoder = TINY_SPEECH(precision=precision).to("pretended")
        use_tf32(precision == "float32")  # as somebody else may have left it
        gpu.watch = watch
        encoder.encode(sounds([4000]))
    use_tf32(False)
    assert allowed == {2 * (precision == "tf32",)}


def test_a_dry_run_times_batches():
    counts = set()
    encoder = TINY_SPEECH()
    jobs = [EncodeJob(f"u{n}", "", sound=(np.ones(4000, np.float32), 16000), size=12) for n in range(20)]

    def watch(func, args):
        if "convolution" in str(func):
            counts.add(args[0].shape[0])

    with pretended() as gpu:
        encoder.to("pretended")
        gpu.watch = watch
        assert forecast._seconds(jobs, encoder, "pretended") > 0
    assert max(counts) == 20


def test_a_recogniser_hears_what_it_hears_on_the_cpu_and_waits_once(tmp_path):
    folder = save_ctc(tmp_path / "recogniser")
    rng = np.random.default_rng(0)
    jobs = [EncodeJob("", "", sound=(rng.normal(size=n), 16000)) for n in (16000, 9000, 12345)]
    tokens = []
    with pretended() as gpu:
        for device in ("cpu", "pretended"):
            recogniser = make_recogniser(str(folder)).to(device)
            pieces = [piece for job in jobs for piece in recogniser.pieces(job)]
            gpu.reset()
            tokens.append(recogniser.encode(pieces))
        assert sum(gpu.waits.values()) == 1
    for one, other in zip(*tokens, strict=True):
        np.testing.assert_array_equal(one, other)
