"""What a run recorded is enough to train it again, or another one like it."""

import shutil
from pathlib import Path

import pytest

from gia_mic.fuse.runs.folder import read_config

EXAMPLES = Path(__file__).parent.parent / "examples"


def configs(runs):
    """Configurations of all runs by folder, but for when, where and by which command they were made."""
    by_folder = {
        path.parent.relative_to(runs).as_posix(): read_config(path.parent) for path in runs.rglob("config.json")
    }
    for config in by_folder.values():
        del config["provenance"]
    return by_folder


MADE = """
runs = "then"
device = "cpu"
fold = 1
[prepare.demo]
utterances = 40
[extract]
modality = "all"
layers = "1,-1"
[[fuse-train]]
heads = 2
epochs = 2
seed = [1, 4]
without = ["gate", "interaction"]
select = "dev"
class-weights = true
evaluate-subsets = true
[[fuse-train]]
fusion = "lmf"
modalities = "st"
set = {rank = 2}
epochs = 1
name = "mine"
fold = [1, 3]
[[fuse-train]]
fusion = "my_fusion:GatedMean"
set = {gate = false}
epochs = 1
[[fuse-train]]
target = "intensity"
protocol = "speaker"
epochs = 1
[tune]
fusion = "concat"
trials = 2
epochs = 1
set = {width = 16}
"""


@pytest.fixture(scope="module")
def folder_with_runs(tmp_path_factory, mer):
    """A folder with a small demo corpus and runs of all kinds in `then`, made by commands."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "made.toml").write_text(MADE)
    shutil.copy(EXAMPLES / "my_fusion.py", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        answer = mer("run", "made.toml")
    assert answer.exit_code == 0, answer.output
    return folder


@pytest.fixture
def trained(folder_with_runs, monkeypatch):
    """The same as current folder; nothing is written into `then`."""
    monkeypatch.chdir(folder_with_runs)
    return folder_with_runs


def test_a_report_writes_the_file_that_makes_its_runs_again(trained, mer):
    answer = mer("report", "then", "--write-experiment", "again.toml")
    assert answer.exit_code == 0, answer.output
    text = (trained / "again.toml").read_text()
    (trained / "again.toml").write_text(f'features = "fresh"\n{text}')
    assert mer("prepare", "demo", "--utterances", "40", "--features", "fresh").exit_code == 0
    answer = mer("run", "again.toml")
    assert answer.exit_code == 0, answer.output
    assert configs(trained / "runs") == configs(trained / "then")
    assert len(configs(trained / "runs")) > 6
    assert len([*trained.glob("runs/**/robustness.json")]) == 2
    for default in ("batch-size", "latents", '"session"', "warmup"):
        assert default not in text


def test_a_run_like_another_has_its_settings_and_those_that_are_given(trained, mer):
    like = ("fuse-train", "--device", "cpu", "--runs", "like", "--fold", "1", "--like")
    assert mer(*like, "then/demo/mine", "--seed", "7").exit_code == 0
    assert mer(*like, "then/demo/mine", "--set", "width=8", "--epochs", "2", "--name", "new").exit_code == 0
    assert mer(*like, "then/demo/mine", "--fusion", "concat", "--name", "other").exit_code == 0
    mine = configs(trained / "then")["demo/mine/fold-1/seed-0"]
    by_folder = configs(trained / "like")
    new, other = by_folder["demo/new/fold-1/seed-0"], by_folder["demo/other/fold-1/seed-0"]
    assert by_folder["demo/mine/fold-1/seed-7"] == {**mine, "seed": 7}
    assert new["model"] == {**mine["model"], "width": 8}
    assert new["training"] == {**mine["training"], "epochs": 2}
    assert new["modalities"] == other["modalities"] == ["speech", "text"]
    assert other["model"]["name"] == "concat"
    assert other["training"] == mine["training"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["mine", "--epochs", "2"], 2, "With other epochs, give a --name, or it would replace then/demo/mine."),
        (["concat-tuned"], 2, "With settings that were searched for one fold, give a --name"),
        (["nothing"], 1, "then/demo/nothing is no finished run"),
    ],
)
def test_a_run_is_not_replaced_by_one_like_it(trained, mer, words, code, message):
    answer = mer("fuse-train", "--like", f"then/demo/{words[0]}", *words[1:])
    assert answer.exit_code == code
    assert message in answer.stderr
