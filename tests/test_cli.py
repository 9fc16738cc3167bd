"""The commands as users type them, in a process of their own where it matters."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from made_media import tone

from gia_mic import cli

ROOT = str(Path(cli.__file__).parent)
COMMANDS = sorted(cli.main.commands)


def make_table(folder, speakers=4, each=6):
    """A CSV corpus: short tones, one pitch for each label."""
    lines = ["id,label,speaker,text,audio"]
    for speaker in range(speakers):
        for n in range(each):
            name, label = f"s{speaker}-{n}", ["low", "high"][n % 2]
            tone(folder / f"{name}.wav", 0.3 + 0.02 * n, hz=200.0 if label == "low" else 400.0)
            lines.append(f"{name},{label},speaker {speaker},It is {label}.,{name}.wav")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_all_its_options_explained(command, mer):
    answer = mer(command, "--help")
    assert answer.exit_code == 0
    for parameter in cli.main.commands[command].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"mer {command} {parameter.name} has no help"


@pytest.mark.parametrize("words", [(), ("prepare",)])
def test_no_line_of_a_list_of_commands_is_cut(words, mer):
    listed = mer(*words, "--help").stdout.partition("Commands:")[2]
    assert len(listed.splitlines()) > 10
    assert "..." not in listed


def test_from_a_table_of_ones_own_to_scores(here, mer):
    make_table(here / "data")
    prepared = mer("prepare", "manifest", "data/table.csv", "--name", "mine")
    assert prepared.exit_code == 0, prepared.output
    assert "mine: 24 utterances (high 12, low 12)" in prepared.stdout
    for modality in ("speech", "text"):
        extracted = mer("extract", "--modality", modality, "--encoder", "tiny", "--device", "cpu")
        assert extracted.exit_code == 0, extracted.output
        assert ": 24 extracted" in extracted.stdout
    trained = mer("fuse-train", "--fold", "all", "--protocol", "speaker", "--epochs", "2", "--device", "cpu")
    assert trained.exit_code == 0, trained.output
    assert "gia-mic-st" in trained.stdout
    reported = mer("report", "--format", "json")
    assert reported.exit_code == 0, reported.output
    assert "gia-mic-st" in json.dumps(json.loads(reported.stdout))
    again = mer("fuse-train", "--fold", "2", "--protocol", "speaker", "--epochs", "2", "--device", "cpu")
    assert "finished and kept" in again.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report"], "runs"),
        (["fuse-train", "--fold", "99", "--corpus", "mine", "--protocol", "speaker"], "fold"),
        (["fuse-train", "--corpus", "mine"], "session"),
        (["fuse-train", "--corpus", "other"], "There is no corpus 'other'"),
        (["extract", "--modality", "visual", "--corpus", "mine", "--encoder", "tiny"], "has no video"),
        (["extract", "--modality", "speech", "--corpus", "mine", "--encoder", "/nowhere"], "no folder '/nowhere'"),
        (["extract", "--modality", "speech", "--encoder", "tiny", "--device", "tpu9"], "no device 'tpu9' here"),
        (["prepare", "manifest", "data/table.csv", "--name", "../x"], "can't be a name"),
    ],
)
def test_what_can_not_be_done_is_one_sentence_and_exit_code_1(here, words, message, mer):
    make_table(here / "data", speakers=2, each=2)
    assert mer("prepare", "manifest", "data/table.csv", "--name", "mine").exit_code == 0
    mer("extract", "--modality", "speech", "--encoder", "tiny", "--device", "cpu")
    answer = mer(*words)
    assert answer.exit_code == 1, answer.output
    assert message in answer.stderr
    assert answer.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in answer.output
    assert answer.stdout == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["fuse-train", "--epochs", "0", "--heads", "7"],
            "width is 32.* multiple of heads, 7; epochs is 0",
        ),
        (["fuse-train", "--unimodal-weight", "0"], "unimodal_weight must be above 0, or soft_target 0"),
        (["fuse-train", "--fusion", "gpt"], "no fusion 'gpt'"),
        (["fuse-train", "--fusion", "tfn", "--set", "rank=2"], "no setting rank"),
        (["fuse-train", "--seed", "-1"], "seeds -1"),
        (["fuse-train", "--device", "tpu9"], "no device 'tpu9'"),
        (["ablate", "--constraint-weight", "-1"], "constraint_weight is -1.0, and must be at least 0"),
        (["fuse-train", "--engine", "ray", "--device", "cuda", "--epochs", "0"], "begin: epochs is 0, and must be"),
        (["tune", "--trials", "0", "--epochs", "0"], "epochs is 0, and must be at least 1"),
        (["tune", "--trials", "0"], "0 trials are not between 1 and"),
    ],
)
def test_wrong_settings_are_refused_before_a_corpus_is_made(here, words, message, mer):
    answer = mer(*words)
    assert answer.exit_code == 1, answer.output
    assert re.search(message, answer.stderr)
    assert "demo" not in answer.stderr
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["extract"],
        ["extract", "--modality", "smell"],
        ["fuse-train", "--fold", "three"],
        ["no-such-command"],
        ["report", "a", "b"],
    ],
)
def test_wrong_usage_is_exit_code_2(here, words, mer):
    answer = mer(*words)
    assert answer.exit_code == 2
    assert "Usage:" in answer.stderr


@pytest.mark.skipif(
    getattr(os, "geteuid", int)() == 0, reason="root may write anywhere; the next test covers the message"
)
def test_a_folder_without_rights_is_one_sentence(here, mer):
    make_table(here / "data", speakers=2, each=2)
    (here / "features").mkdir(mode=0o500)
    answer = mer("prepare", "manifest", "data/table.csv", "--name", "mine")
    assert answer.exit_code == 1
    assert "can't be made" in answer.stderr


def test_a_demo_corpus_of_another_seed_and_harder(here, mer):
    answer = mer("prepare", "demo", "--name", "hard", "--seed", "1", "--utterances", "8", "--cue", "0.5")
    assert answer.exit_code == 0, answer.output
    assert "hard: 8 utterances (label: angry 2, happy 2, neutral 2, sad 2; intensity in 1 … 5)" in answer.stdout
    about = json.loads((here / "features" / "hard" / "corpus.json").read_text())["about"]
    assert about["cues"] == {"s": 0.5, "t": 0.5, "v": 0.5}
    assert about["ceiling"]["s"] == 0.5
    assert mer("prepare", "demo", "--cue", "1.5").exit_code == 1


def test_a_demo_corpus_with_a_cue_for_each_modality(here, mer):
    assert mer("prepare", "demo", "--utterances", "8", "--cue", "0.65,0.5,0.7").exit_code == 0
    about = json.loads((here / "features" / "demo" / "corpus.json").read_text())["about"]
    assert about["cues"] == {"s": 0.65, "t": 0.5, "v": 0.7}
    for wrong in ("0.5,0.6", "much"):
        answer = mer("prepare", "demo", "--cue", wrong)
        assert answer.exit_code == 2
        assert f"'{wrong}' is neither one number nor 3 by comma" in answer.stderr


def test_a_features_folder_that_can_not_be_one_is_one_sentence(here, mer):
    make_table(here / "data", speakers=2, each=2)
    (here / "features").write_text("a file")
    answer = mer("prepare", "manifest", "data/table.csv", "--name", "mine", "--features", "features/below")
    assert answer.exit_code == 1
    assert "features/below/mine can't be made" in answer.stderr


def test_help_comes_in_well_under_a_second_of_computing(here):
    program = (
        "import time; from gia_mic.cli import main; main(['--help'], standalone_mode=False); print(time.process_time())"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(answer.stdout.split()[-1]) < 1.0


def test_the_three_commands_alone_in_an_empty_folder(here, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    program = "from gia_mic.cli import main; main()"
    for words in (["extract", "--modality", "speech"], ["fuse-train", "--fold", "3"], ["report"]):
        answer = subprocess.run([sys.executable, "-c", program, *words], cwd=here, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
    assert "making the demo corpus there" not in answer.stderr
    assert "gia-mic-s" in answer.stdout


@pytest.mark.parametrize(
    ("typed", "offered"), [("mer fuse", {"fuse-train"}), ("mer fuse-train --log ", {"tensorboard", "wandb", "mlflow"})]
)
def test_a_shell_completes_commands_and_values(typed, offered):
    word = str(len(typed.split(" ")) - 1)
    variables = {"_MER_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": word}
    command = [sys.executable, "-c", "from gia_mic.cli import main; main(prog_name='mer')"]
    answer = subprocess.run(command, env=os.environ | variables, cwd=ROOT, capture_output=True, text=True)
    assert {line.removeprefix("plain,") for line in answer.stdout.splitlines()} == offered
