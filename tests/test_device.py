"""What is said of a processor, against what the system says of it."""

from pathlib import Path

import pytest
import torch
from made_features import make_corpus, make_stores

from gia_mic.extract import device

LINE = "This processor has no instructions for bfloat16: here it takes several times as long as float32."
ABOUT = Path("/proc/cpuinfo")


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_every_processor_multiplies_float32():
    assert device.has_products("float32")
    assert device.has_products("float64") is None


@pytest.mark.skipif(not ABOUT.exists(), reason="only Linux says what its processor can do")
def test_bfloat16_is_what_the_system_says():
    words = set(ABOUT.read_text().split())
    if "avx512_bf16" in words or "bf16" in words:
        assert device.has_products("bfloat16")
    elif torch.backends.mkldnn.is_available() and "avx" in words and not words & {"avx512bw", "avx_ne_convert"}:
        assert not device.has_products("bfloat16")


def test_only_what_costs_time_is_said(monkeypatch):
    monkeypatch.setattr(device, "has_products", lambda precision: precision == "float32")
    assert device.slow("bfloat16", "cpu") == LINE
    assert device.slow("float32", "cpu") is None
    assert device.slow("bfloat16", "cuda:1") is None
    monkeypatch.setattr(device, "has_products", lambda precision: True)
    assert device.slow("bfloat16", "cpu") is None


@pytest.mark.parametrize(
    ("command", "has", "lines"),
    [
        ("fuse-train --fold 1 --epochs 1 --device cpu", False, 1),
        ("fuse-train --fold 1 --epochs 1 --device cpu", None, 0),
        ("fuse-train --fold 1 --epochs 1 --device cpu", True, 0),
        ("ablate --epochs 1 --width 8 --heads 2 --device cpu", False, 1),
        ("tune --trials 1 --epochs 1", False, 1),
        ("extract --modality text --encoder tiny --device cpu", False, 1),
    ],
)
def test_each_command_says_so_once(tmp_path, monkeypatch, command, has, lines, mer):
    if command.startswith("tune"):
        pytest.importorskip("optuna")
    monkeypatch.setattr(device, "has_products", lambda precision: has)
    monkeypatch.chdir(tmp_path)
    make_stores(make_corpus(tmp_path / "features"))
    answer = mer(*command.split(), "--precision", "bfloat16")
    assert answer.exit_code == 0, answer.output
    assert answer.output.count(LINE) == lines
