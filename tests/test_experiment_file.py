"""A file does what the commands do that one could type instead, and says all that is wrong with it at once."""

import json
import shlex
import tomllib
from pathlib import Path

import pytest
from made_demo import make_demo

from gia_mic import cli
from gia_mic.commands.demo import run_demo
from gia_mic.commands.experiment_file import experiment_text, read_experiment
from gia_mic.extract.errors import RunError

EXAMPLE = Path(__file__).parent.parent / "examples" / "demo.toml"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(folder, text):
    """The commands of a file with this text, and what is wrong with it."""
    (folder / "file.toml").write_text(text)
    experiment = read_experiment(folder / "file.toml", cli.main)
    return [str(line).removeprefix("mer ") for line in experiment.lines], experiment.problems


def scores(runs):
    """What each run scored, to the last digit, and what it answered."""
    return {
        path.parent.relative_to(runs).as_posix(): (
            {key: value for key, value in json.loads(path.read_text()).items() if key != "seconds"},
            (path.parent / "predictions.parquet").read_bytes(),
        )
        for path in runs.rglob("metrics.json")
    }


def test_the_example_has_the_scores_of_the_demo(here, mer):
    text = EXAMPLE.read_text()
    assert "[prepare.demo]" in text
    (here / "demo.toml").write_text(text.replace("[prepare.demo]", "[prepare.demo]\nutterances = 40"))
    answer = mer("run", "demo.toml", env={"CUDA_VISIBLE_DEVICES": ""})
    assert answer.exit_code == 0, answer.output
    table = run_demo(here / "other", utterances=40, device="cpu")
    assert scores(here / "runs") == scores(here / "other" / "runs")
    assert len(scores(here / "runs")) == 4 * 5
    assert table.partition("made by")[0] in answer.stdout
    again = mer("run", "demo.toml")
    assert "Nothing changed since the last time." in again.stderr
    assert again.stderr.count("5 of 5 runs are finished and kept") == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[report]", ["report"]),
        ("[report]\n[prepare.demo]\n[extract]\nmodality = 'all'", ["prepare demo", "extract --modality all", "report"]),
        ("corpus = 'a'\n[fuse-train]\nepochs = 2", ["fuse-train --corpus a --epochs 2"]),
        ("[[fuse-train]]\nfold = 1\n[[fuse-train]]\nfold = 2", ["fuse-train --fold 1", "fuse-train --fold 2"]),
        (
            "[fuse-train]\nfusion = ['tfn', 'lmf']\nseed = [0, 9]",
            [f"fuse-train --fusion {fusion} --seed {seed}" for fusion in ("tfn", "lmf") for seed in (0, 9)],
        ),
        ("[fuse-train]\nencoder = ['a', 'b']", ["fuse-train --encoder a --encoder b"]),
        ("[tune]\nset = {width = 8, gate = false, x = [1, 2]}", ["tune --set width=8 --set gate=off --set x=1,2"]),
        ("[fuse-train]\nclass_weights = true", ["fuse-train --class-weights"]),
        ("[fuse-train]\nclass-weights = false\nallow-shared = false", ["fuse-train --no-class-weights"]),
        ("[fuse-train]\nlearning-rate = 1e-5", ["fuse-train --learning-rate 1e-05"]),
        ("[prepare.manifest]\nname = 'my corpus'\npath = 'a.csv'", ["prepare manifest a.csv --name 'my corpus'"]),
        ("[import]\nfiles = ['a', 'b']\nmodality = 'text'", ["import a b --modality text"]),
        # the seed above the tables is that of trainings, the runs' folder and the corpus are everybody's
        (
            "seed = 3\nruns = 'r'\n[prepare.demo]\n[fuse-train]\n[report]\nformat = 'md'",
            ["prepare demo", "fuse-train --seed 3 --runs r", "report r --format md"],
        ),
    ],
)
def test_a_file_is_a_list_of_commands(here, text, expected):
    assert lines(here, text) == (expected, [])


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["it has no table of a command, such as [fuse-train]"]),
        ("epochs = 3\n[report]", ["epochs: no command of this file takes it"]),
        ("[fuse-trian]\n[report]", ["fuse-trian: no command of this file takes it (the nearest is fuse-train)"]),
        ("[[tune]]\n[[tune]]\nepoch = 3", ["tune[2].epoch: mer tune has no epoch (the nearest is epochs)"]),
        ("[prepare.demi]", ["prepare.demi: there is no command mer prepare demi"]),
        ("report = 'html'", ["report is 'html', and must be a table such as [report]"]),
        ("[report]\nout = 1999-01-01", ["report.out is 1999-01-01, and must be a text or a number, or a list of them"]),
        ("[tune]\nclass-weights = 1", ["tune.class-weights is 1, and must be true or false"]),
        ("[tune]\nepochs = true\nfusion = []", ["tune.epochs is true, and must be a text", "tune.fusion is [], and"]),
        ("[run]\nfile = 'x'", ["run: a file can't have this command"]),
    ],
)
def test_what_is_no_command_is_told_with_its_path(here, text, problems):
    _, sentences = lines(here, text)
    assert len(sentences) == len(problems)
    for sentence, beginning in zip(sentences, problems, strict=True):
        assert sentence.startswith(beginning)


def test_all_that_is_wrong_is_told_before_anything_begins(here, mer):
    (here / "bad.toml").write_text(
        "protocl = 'session'\n[prepare.demo]\nutterances = 'many'\nseed = 'x'\n[prepare.hf]\nsource = 'x'\n"
        "[[fuse-train]]\nepochs = 0\nheads = 7\n[[fuse-train]]\nfusion = ['concat', 'gpt']\n[tune]\ntrials = 0\n"
        "[ablate]\nselect = 'best'\n"
    )
    for words in (["bad.toml"], ["bad.toml", "--dry-run"]):
        answer = mer("run", *words)
        assert (answer.exit_code, answer.stdout) == (1, "")
        for sentence in [
            "Error: bad.toml can't be run: ",
            "protocl: no command of this file takes it (the nearest is protocol); ",
            "prepare.demo.utterances: 'many' is not a valid integer; ",
            "prepare.demo.seed: 'x' is not a valid integer; ",
            "prepare.hf: name is missing; ",
            "fuse-train[1]: Training can't begin: width is 32, and must be a multiple of heads, 7; epochs is 0",
            "fuse-train[2]: There is no fusion 'gpt'",
            "tune: 0 trials are not between 1 and",
            "ablate.select: 'best' is not one of",
        ]:
            assert sentence in answer.stderr
    assert [path.name for path in here.iterdir()] == ["bad.toml"]


def test_a_file_that_is_no_toml_is_one_sentence(here):
    with pytest.raises(RunError, match=r"file.toml can't be read as TOML \(.+\): correct it"):
        lines(here, "[tune")


def test_what_a_dry_run_prints_may_be_typed_and_what_changed_is_told(here, mer):
    make_demo(here)
    text = "epochs = 1\nfold = 1\ndevice = 'cpu'\n[fuse-train]\nfusion = 'concat'\nset = {width = 8}\n[report]\n"
    (here / "one.toml").write_text(text)
    dry = mer("run", "one.toml", "--dry-run")
    assert not (here / "runs").exists()
    for line in dry.stdout.splitlines():
        assert mer(*shlex.split(line)[1:]).exit_code == 0
    first = mer("run", "one.toml")
    assert "concat: 1 of 1 runs are finished and kept." in first.stderr
    assert "last time" not in first.stderr
    (here / "one.toml").write_text(text.replace("concat", "late"))
    second = mer("run", "one.toml")
    messages = second.stderr.splitlines()
    line = "mer fuse-train --epochs 1 --fold 1 --device cpu --fusion {} --set width=8"
    assert messages[:3] == ["Changed since the last time:", "-" + line.format("concat"), "+" + line.format("late")]
    config = json.loads((here / "runs" / "demo" / "late" / "fold-1" / "seed-0" / "config.json").read_text())
    assert config["provenance"]["command"] == line.format("late")


def test_a_command_that_fails_ends_the_run(here, mer):
    (here / "two.toml").write_text("[extract]\ncorpus = 'nobody'\nmodality = 'text'\n[report]")
    answer = mer("run", "two.toml")
    assert answer.exit_code == 1
    assert "There is no corpus 'nobody'" in answer.stderr
    assert answer.stderr.splitlines()[-1] == "Stopped at command 1 of 2: run the same again to go on."


def test_a_written_file_says_the_same_when_it_is_read():
    shared = {"corpus": 'a "b" \\ \x7f\nä😀', "epochs": 3}
    tables = [("tune", {"learning-rate": 1e-05, "tensorboard": True, "set": {"a b": [1, 2], "c-d": "x"}}), ("tune", {})]
    content = tomllib.loads(experiment_text(shared, tables))
    assert content == {**shared, "tune": [table for _, table in tables]}
