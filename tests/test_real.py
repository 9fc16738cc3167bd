"""The comparison on real features, on small made-up ones in the same places."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from gia_mic.fuse import run as run_module

LAYOUTS = {
    "ravdess": ("id,label,text,speaker,session", ("speech", "visual")),
    "mosi": ("id,label,text,speaker,dialog,split", ("text", "speech", "visual")),
    "meld-dev": ("id,label,text,speaker,dialog,session", ("text", "speech")),
}


@pytest.fixture
def real(monkeypatch):
    path = Path(__file__).parent.parent / "bench" / "real.py"
    monkeypatch.syspath_prepend(path.parent)  # where its section module is
    spec = importlib.util.spec_from_file_location("real", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "real", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def features(tmp_path):
    """Three corpora of 48 utterances by 12 speakers, in six sessions."""
    random = np.random.default_rng(0)
    for name, (head, modalities) in LAYOUTS.items():
        folder = tmp_path / "features" / name
        folder.mkdir(parents=True)
        lines, ids = [head], []
        for number in range(48):
            speaker = number // 4
            ids.append(f"u{number:02d}")
            columns = {
                "id": ids[-1],
                "label": "glad" if number % 2 else "sad",
                "text": "hello",
                "speaker": "one" if name == "meld-dev" else f"s{speaker}",
                "session": f"g{speaker // 2 + 1}",
                "dialog": f"d{speaker}",
                "split": "test" if speaker < 4 else "train",
            }
            lines.append(",".join(columns[column] for column in head.split(",")))
        (folder / "table.csv").write_text("\n".join(lines))
        for modality in modalities:
            np.savez(folder / f"{modality}.npz", **{one: random.normal(size=(3, 4)).astype(np.float32) for one in ids})
    return tmp_path / "features"


def test_one_command_prints_all_tables_and_keeps_what_is_trained(real, features, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{real.BEGIN}\nTables of before.\n{real.END}\nafter\n")
    words = ["real.py", str(features), str(tmp_path / "work"), "--seeds", "1", "--epochs", "1", "--fusions", "concat"]
    monkeypatch.setattr(sys, "argv", [*words, "--tuned", "--trials", "2", "--ablation", "--write", str(page)])
    real.main()
    text = capsys.readouterr().out
    titles = re.findall("^### (.*)", text, re.MULTILINE)
    assert titles[:2] == ["Every fusion at its defaults", "Every fusion, with the best of 2 settings for each fold"]
    assert titles[-1] == "GIA-MIC without each of its parts"
    assert len(titles) == 3 + 3
    assert "All tables: 1 seed; folds RAVDESS 4, 5, 6 of 6; CMU-MOSI 1 of 1; MELD dev 4, 5 of 6. 1 epochs." in text
    for name in ("gia-mic", "concat", "gia-mic-tuned", "concat-tuned", "gia-mic-without-gate"):
        assert f"| {name} " in text
    assert re.search(r"\nratio \d\.\d{3}\n$", text)
    written = page.read_text()
    assert written.startswith(f"before\n{real.BEGIN}\n\n### Every fusion at its defaults")
    assert written.endswith(f"{real.END}\nafter\n")
    assert "Tables of before" not in written

    def train(*_, **__):
        raise AssertionError("something was trained again")

    monkeypatch.setattr(run_module, "fit_together", train)
    monkeypatch.setattr(sys, "argv", words)
    real.main()
    assert "Every fusion at its defaults" in capsys.readouterr().out
