"""What a GPU computes is what the CPU computes, up to rounding."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from made_demo import train_demo
from made_recordings import TINY_SPEECH, make_corpus

from gia_mic.extract.device import find_devices
from gia_mic.extract.run import extract
from gia_mic.extract.store import open_store
from gia_mic.predictor import load_predictor

pytestmark = pytest.mark.gpu

GPU = "cuda"


def test_it_is_taken_where_there_is_one():
    assert find_devices(None) == [GPU]


def test_frames_are_those_of_the_cpu(tmp_path):
    recordings = make_corpus(tmp_path)
    frames = []
    for device in ("cpu", GPU):
        path = extract(recordings, partial(TINY_SPEECH, dtype="float32"), devices=(device,), quiet=True).path
        frames.append(np.array(open_store(path).values, np.float32))
        path.unlink()
    np.testing.assert_allclose(frames[1], frames[0], atol=2e-2)


def test_a_run_is_trained_on_it_and_answers_alike_on_both(demo, corpus, stores, tmp_path):
    (run_dir,) = train_demo(corpus, stores, tmp_path, fold=1, device=GPU)
    config = json.loads((run_dir / "config.json").read_text())
    assert config["provenance"]["device"] == torch.cuda.get_device_name()
    here, there = (
        load_predictor(demo[1] / "gia-mic", device=device).predict(text="I am so angry.") for device in ("cpu", GPU)
    )
    assert there.probabilities == pytest.approx(here.probabilities, abs=1e-3)
