"""A package of others, installed beside the wheel, adds a fusion, an encoder, a corpus and a metric to the commands."""

import json
import shutil
import subprocess

import pytest
from made_media import tone
from made_wheel import ROOT, build, build_ours, environment

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "their-models"
version = "1.2"

[project.entry-points."gia_mic.fusions"]
their-gate = "their_models.my_fusion:GatedMean"

[project.entry-points."gia_mic.encoders"]
their-bands = "their_models.my_encoder:MelBands"
tiny = "their_models.my_encoder:MelBands"

[project.entry-points."gia_mic.corpora"]
their-corpus = "their_models.others:read"

[project.entry-points."gia_mic.metrics"]
Brier = "their_models.others:Brier"
"""

OTHERS = '''
import json
import numpy as np
from gia_mic.corpus import Clip, Utterance

def read(path):
    """Recordings that a list names."""
    for name, label, session in json.loads((path / "list.json").read_text()):
        yield Utterance(name, label, session=session, speaker=session, audio=Clip(f"{name}.wav"))

class Brier:
    """Mean squared distance of the probabilities from the truth."""
    targets, lower_is_better = ("label",), True

    def sums(self, true, answers):
        return np.column_stack([((true - answers) ** 2).sum(1), np.ones(len(true))])

    def value(self, sums):
        return sums[0] / sums[1]
'''

PROGRAM = """
import json, sys
from click.testing import CliRunner
from gia_mic.cli import main
answers = [CliRunner().invoke(main, words) for words in json.loads(sys.argv[1])]
print(json.dumps([[answer.exit_code, answer.output] for answer in answers]))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An environment with our wheel and theirs."""
    folder = tmp_path_factory.mktemp("third-party")
    package = folder / "source" / "their_models"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "others.py").write_text(OTHERS)
    for name in ("my_fusion.py", "my_encoder.py"):
        shutil.copy(ROOT / "examples" / name, package)
    (folder / "source" / "pyproject.toml").write_text(PROJECT)
    for name in ("ours", "theirs"):
        (folder / name).mkdir()
    wheel = build(folder / "source", folder / "theirs")
    return environment(folder / "environment", build_ours(folder / "ours"), wheel)[0]


def run(python, folder, *commands):
    """Run commands in one process, which loads torch but once; return what each printed."""
    words = json.dumps([[str(word) for word in command] for command in commands])
    answer = subprocess.run([python, "-c", PROGRAM, words], cwd=folder, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def test_a_package_adds_its_parts_to_every_command(python, tmp_path):
    rows = [(f"u{n}", "happy" if n % 2 else "sad", f"s{n % 3}") for n in range(12)]
    for number, (name, label, _) in enumerate(rows):
        tone(tmp_path / "data" / f"{name}.wav", 0.5 + number / 50, hz=300 if label == "happy" else 150)
    (tmp_path / "data" / "list.json").write_text(json.dumps(rows))
    run_folder, quick = "runs/theirs/their-gate-s", ("--fold", 1, "--epochs", 1, "--fusion", "their-gate")
    lists = run(
        python,
        tmp_path,
        ("prepare", "own", "their-corpus", "data", "--name", "theirs"),
        ("corpora",),
        ("encoders",),
        ("fusions",),
        ("metrics",),
        ("extract", "--modality", "speech", "--encoder", "their-bands", "--set", "bands=8"),
        ("fuse-train", *quick),
        ("report",),
        ("predict", run_folder, "--audio", "data/u1.wav", "--trust"),
        ("predict", run_folder, "--audio", "data/u1.wav"),
        ("export", run_folder, "shared"),
    )
    failed = [output for code, output in lists if code]
    assert len(failed) == 1, failed
    prepared, corpora, encoders, fusions, metrics, extracted, _, report, predicted, refused, _ = (
        output for _, output in lists
    )
    assert "theirs: 12 utterances (happy 6, sad 6)" in prepared
    assert "their-corpus  Recordings that a list names (their-models 1.2)" in corpora
    assert "Energy in mel bands, in decibels (their-models 1.2)" in encoders
    assert "An encoder of their_models.my_encoder:MelBands can't be called tiny, as others are: rename it." in encoders
    assert "their-gate" in fusions
    assert "Mean squared distance of the probabilities from the truth (their-models 1.2)" in metrics
    assert "12 extracted" in extracted
    assert "Metrics of installed packages, pooled" in report
    assert "Brier: Mean squared distance" in report
    assert "happy" in predicted
    assert "GatedMean in the package their-models 1.2, and could do whatever you can" in refused
    [fold, *_] = sorted((tmp_path / run_folder).glob("fold-*/seed-*"))
    config = json.loads((fold / "config.json").read_text())
    assert config["features"]["speech"]["spec"]["code"]["distribution"] == "their-models 1.2"
    assert 0 < json.loads((fold / "metrics.json").read_text())["Brier"] < 2
    assert not [*(tmp_path / "shared").rglob("*.py")]
