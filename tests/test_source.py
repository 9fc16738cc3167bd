"""The example fusion goes the whole way by commands alone, and its code is run only for those who trust it."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_demo import make_demo

import gia_mic
from gia_mic.extract.errors import RunError
from gia_mic.fuse.check import check_fusion
from gia_mic.fuse.models.registry import find_fusion
from gia_mic.fuse.runs.weights import load_fusion
from gia_mic.predictor import Input, load_predictor

EXAMPLE = Path(__file__).parent.parent / "examples" / "my_fusion.py"
NAME = "my_fusion:GatedMean"
QUICK = ("--fold", 1, "--epochs", 2)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory):
    """A demo corpus with features."""
    folder = tmp_path_factory.mktemp("own")
    make_demo(folder)
    return folder


@pytest.fixture
def here(demo_folder, monkeypatch):
    """The corpus's folder as the current one, with the example in it as it is in the repository."""
    monkeypatch.chdir(demo_folder)
    shutil.copy(EXAMPLE, demo_folder)
    return demo_folder


@pytest.fixture
def run(here, mer):
    """A trained run of the example."""
    answer = mer("fuse-train", "--fusion", NAME, *QUICK)
    assert answer.exit_code == 0, answer.output
    return here / "runs" / "demo" / "gated-mean"


@pytest.fixture
def sound(here):
    return next(here.rglob("*.wav"))


def test_the_example_is_short_and_keeps_every_truth(here, mer):
    assert len(EXAMPLE.read_text().splitlines()) < 60
    answer = mer("fusions", "--check", NAME)
    assert answer.exit_code == 0, answer.output
    assert [line.split()[0] for line in answer.output.splitlines()] == ["holds"] * 10
    assert all(not finding.note for finding in check_fusion(find_fusion(NAME)))


def test_it_is_trained_compared_and_tested_with_less(run, mer):
    fold = run / "fold-1" / "seed-0"
    config = json.loads((fold / "config.json").read_text())
    assert config["model"] == {"name": "gated-mean", "width": 64, "dropout": 0.5, "gate": True}
    assert (fold / "fusion" / "my_fusion.py").read_bytes() == EXAMPLE.read_bytes()
    assert str(run.parent) not in json.dumps(config["fusion"])
    assert mer("fuse-train", "--fusion", "concat", *QUICK).exit_code == 0
    answer = mer("fuse-train", "--fusion", NAME, *QUICK, "--evaluate-subsets")
    assert "1 of 1 runs are finished and kept" in answer.output
    assert (fold / "robustness.json").exists()
    table = mer("report", "--reference", "concat").output
    digest = hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
    assert f"Fusion: GatedMean of my_fusion.py {digest[:12]}." in table
    assert "concat" in table


@pytest.mark.parametrize(
    ("right", "wrong", "why"),
    [
        ("mean(frames)", "frames.values.mean(1)", "padding changes nothing (six frames of padding more, and the"),
        ("self.decide(fused)", "self.decide(fused).T", "is answered (gated-mean answers (4, 2) to 2 utterances"),
        (
            "softmax(1) * present",
            "softmax(1) / present",
            "is left out, and changes nobody else's answer (answers without",
        ),
        ("unsqueeze(2)).sum(1)", "unsqueeze(2)).sum(7)", "is answered (gated-mean fails on speech (2, 3, 6), text"),
    ],
)
def test_what_breaks_a_truth_is_not_trained(here, mer, right, wrong, why):
    path = here / "my_fusion.py"
    assert right in path.read_text()
    path.write_text(path.read_text().replace(right, wrong))
    answer = mer("fuse-train", "--fusion", NAME, *QUICK, "--name", "broken")
    assert answer.exit_code == 1
    [error] = [line for line in answer.output.splitlines() if line.startswith("Error")]
    assert error.startswith("Error: Training can't begin: of gated-mean it doesn't hold that ")
    assert why in error


def test_a_changed_file_is_trained_again(run, here, mer):
    path = here / "my_fusion.py"
    path.write_text(path.read_text().replace("torch.relu", "torch.tanh"))
    answer = mer("fuse-train", "--fusion", NAME, *QUICK)
    assert "training it again" in answer.output
    assert "torch.tanh" in (run / "fold-1" / "seed-0" / "fusion" / "my_fusion.py").read_text()


def test_its_parts_are_left_out_and_its_settings_are_searched(here, mer):
    answer = mer("ablate", "--fusion", NAME, "--epochs", 1, "--name", "parts", "--set", "width=8")
    assert answer.exit_code == 0, answer.output
    config = json.loads((here / "runs/demo/parts-without-gate/fold-1/seed-0/config.json").read_text())
    assert (config["model"]["gate"], config["model"]["width"]) == (False, 8)
    answer = mer("tune", "--fusion", NAME, "--fold", 1, "--epochs", 1, "--trials", 2)
    assert answer.exit_code == 0, answer.output
    assert len(list(here.glob("runs/demo/gated-mean-tuned/search/demo/gated-mean-trial-*"))) == 2
    answer = mer("ablate", "--fusion", "late")
    assert "Error: The fusion late declares no part that can be left out" in answer.output


def test_only_those_who_trust_its_code_run_it(run, sound, here, mer):
    for command in [("predict", run, "--audio", sound, "--explain"), ("listen", run, sound)]:
        answer = mer(*command)
        assert (answer.exit_code, len(answer.output.splitlines())) == (1, 1)
        assert "The fusion gated-mean is code of its author, GatedMean in " in answer.output
        assert "read it, then add --trust" in answer.output
        assert mer(*command, "--trust").exit_code == 0
    assert "then add --trust" in mer("export", run, "out", "--onnx").output
    assert mer("export", run, "out").exit_code == 0
    with pytest.raises(RunError, match="trust=True"):
        gia_mic.load(run)
    expected = gia_mic.load(run, trust=True).predict(audio=sound, text="No way!").probabilities
    (here / "my_fusion.py").unlink()
    assert gia_mic.load("out", trust=True).predict(audio=sound, text="No way!").probabilities == expected
    card = (here / "out" / "README.md").read_text()
    assert "`gated-mean`, whose code is its author's (fusion/my_fusion.py of each model: read it" in card
    assert 'gia_mic.load("THIS-FOLDER", trust=True)' in card


def test_its_onnx_file_answers_as_it_does(run, sound, here):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx isn't installed")
    pytest.importorskip("onnxscript", reason="the extra onnx isn't installed")
    from gia_mic.onnx import write_onnx

    predictor = load_predictor(run, device="cpu", trust=True)
    write_onnx(predictor.run_dirs, here / "model.onnx", trust=True)
    _, [encoded] = predictor.encode([Input(sound, text="No way!")])
    fed = {}
    for name in predictor.modalities:
        frames = encoded.frames.get(name, np.zeros((1, predictor.config["features"][name]["dim"])))
        fed[name] = frames[None].astype(np.float32)
        fed[f"{name}_mask"] = np.full((1, len(frames)), name in encoded.frames)
    [[answers]] = onnxruntime.InferenceSession(here / "model.onnx").run(None, fed)
    np.testing.assert_allclose(answers, predictor.fuse([encoded.frames])[0, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../my_fusion.py"}, "doesn't say where its fusion comes from"),
        ({"digest": 3}, "doesn't say where its fusion comes from"),
        ({"digest": "0" * 64}, "isn't the code that the run was trained with"),
        ({"file": "other.py"}, "other.py, the code of a fusion, can't be read"),
        ({"class_name": "Other"}, "my_fusion.py has no Other: its modules are GatedMean"),
        ({"module": "no_such", "distribution": "theirs 1.2"}, "There is no module 'no_such'"),
        ({"module": "torch.nn", "class_name": "Linear", "distribution": "torch 2"}, "is installed has other code"),
    ],
)
def test_a_run_of_a_stranger_says_what_is_wrong_with_its_code(run, tmp_path, change, message):
    copy = tmp_path / "run"
    shutil.copytree(run / "fold-1" / "seed-0", copy)
    config = json.loads((copy / "config.json").read_text())
    config["fusion"].update(change)
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=message):
        load_fusion(copy, trust=True)


def test_a_package_is_loaded_where_it_is_installed_as_it_was(here, tmp_path, monkeypatch, mer):
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(EXAMPLE, package / "gated.py")
    information = tmp_path / "theirs-1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.2\n")
    (information / "top_level.txt").write_text("theirs\n")
    (information / "entry_points.txt").write_text("[gia_mic.fusions]\ntheir-gate = theirs.gated:GatedMean\n")
    monkeypatch.syspath_prepend(tmp_path)
    answer = mer("fuse-train", "--fusion", "their-gate", *QUICK)
    assert answer.exit_code == 0, answer.output
    fold = here / "runs" / "demo" / "their-gate" / "fold-1" / "seed-0"
    assert not (fold / "fusion").exists()
    with pytest.raises(RunError, match=r"GatedMean in the package theirs 1\.2, and could do whatever you can"):
        load_fusion(fold)
    assert load_fusion(fold, trust=True).model.name == "their-gate"
    (package / "gated.py").write_text(EXAMPLE.read_text() + "# changed\n")
    with pytest.raises(RunError, match=r"was trained with theirs 1\.2, and theirs 1\.2 that is installed has"):
        load_fusion(fold, trust=True)
