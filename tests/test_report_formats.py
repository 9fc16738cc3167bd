"""A comparison of eight fusions, five folds and three seeds comes out whole in every format, from a fresh process."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from made_runs import CLASSES, make_runs

from gia_mic.report.render import FORMATS, render

CHECKOUT = Path(__file__).resolve().parent.parent
FUSIONS = ["gia-mic", "concat", "sum", "tensor", "low-rank", "cross-attention", "mult", "misa"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fusions")
    for number, fusion in enumerate(FUSIONS):
        make_runs(folder, {fusion: 0.9 - number / 20}, seeds=3, B=24, model={"name": fusion}, corpus="demo")
    assert len(list(folder.glob("*/*/fold-*/seed-*/metrics.json"))) == 8 * 5 * 3
    return folder


@pytest.mark.parametrize("format", FORMATS)
def test_every_fusion_is_in_every_format(runs, format):
    text = render(runs, format)
    assert all(fusion in text for fusion in FUSIONS)
    if format == "terminal":
        assert max(map(len, text.splitlines())) <= 100
        assert len(re.findall(r"(?m)^  \S+ +s t v +5/5 ×3 ", text)) == 8
    elif format == "json":
        entries = json.loads(text)["groups"][0]["runs"]
        assert [(run["trainings"], len(run["folds"]), run["seeds"]) for run in entries] == [(15, 5, [0, 1, 2])] * 8
        assert all(list(run["pooled"]["recall"]) == CLASSES for run in entries)
    elif format == "csv":
        lines = list(csv.DictReader(io.StringIO(text)))
        assert len(lines) == 8 * (5 + 3)
        assert {line["seeds"] for line in lines} == {"0 1 2"}
    elif format == "md":
        assert len(re.findall(r"(?m)^\| \S+ +\| s t v +\|", text)) == 8
    elif format == "latex":
        assert text.count(r"5/5 $\times$3") == 8
    elif format == "html":
        assert text.count('<details class="model"') == 8


@pytest.mark.parametrize("format", ["terminal", "json", "html"])
def test_a_report_made_twice_says_the_same_from_a_fresh_process(runs, format):
    command = (
        "from pathlib import Path; from gia_mic.report.render import render; "
        f"print(render(Path({str(runs)!r}), {format!r}))"
    )
    process = subprocess.run(
        [sys.executable, "-c", command], cwd=CHECKOUT, capture_output=True, check=True, encoding="utf-8"
    )
    assert process.stdout == render(runs, format) + "\n"


def test_reading_runs_needs_no_network_library_nor_torch(runs):
    command = (
        "import sys; from pathlib import Path; from gia_mic.report.render import render; "
        f"render(Path({str(runs)!r})); "
        "print([name for name in ('torch', 'transformers', 'datasets') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", command], cwd=CHECKOUT, capture_output=True, check=True, text=True)
    assert process.stdout == "[]\n"
