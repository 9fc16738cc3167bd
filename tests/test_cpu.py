"""What is said of a processor, against what the system says of it."""

from functools import partial
from pathlib import Path

import pytest
from made_features import make_corpus, make_stores

from extract import cpu
from extract.run import extract, make_encoder
from fuse.config import TrainingConfig
from fuse.run import train_folds
from fuse.tune import tune

LINE = "This processor has no instructions for bfloat16: here it takes several times as long as float32."
ABOUT = Path("/proc/cpuinfo")


def test_every_processor_multiplies_float32():
    assert cpu.has_products("float32")
    assert not cpu.has_products("float64")


@pytest.mark.skipif(not ABOUT.exists(), reason="only Linux says what its processor can do")
def test_bfloat16_is_what_the_system_says():
    words = set(ABOUT.read_text().split())
    if "avx512_bf16" in words or "bf16" in words:
        assert cpu.has_products("bfloat16")
    elif "avx" in words and not words & {"avx512bw", "avx_ne_convert"}:
        assert not cpu.has_products("bfloat16")


def test_only_what_costs_time_is_said(monkeypatch):
    monkeypatch.setattr(cpu, "has_products", lambda precision: precision == "float32")
    assert cpu.slow("bfloat16", "cpu") == LINE
    assert cpu.slow("float32", "cpu") is None
    assert cpu.slow("bfloat16", "cuda:1") is None
    monkeypatch.setattr(cpu, "has_products", lambda precision: True)
    assert cpu.slow("bfloat16", "cpu") is None


@pytest.mark.parametrize(("has", "lines"), [(False, 1), (True, 0)])
def test_training_tuning_and_extraction_say_so_once(tmp_path, monkeypatch, has, lines):
    pytest.importorskip("optuna")
    monkeypatch.setattr(cpu, "has_products", lambda precision: has)
    corpus = make_corpus(tmp_path)
    stores = make_stores(corpus)
    training = TrainingConfig(epochs=1, batch_size=32, precision="bfloat16")
    words = partial(make_encoder, "text", "tiny", precision="bfloat16")
    for act in (
        partial(train_folds, corpus, stores, runs=tmp_path / "runs", training=training, device="cpu"),
        partial(tune, corpus, stores, trials=1, training=training),
        partial(extract, corpus, words),
    ):
        said: list[str] = []
        act(say=said.append)
        assert said.count(LINE) == lines, said
