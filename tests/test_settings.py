"""Every setting of training can be typed, with every command that trains."""

from dataclasses import fields

import pytest
from click.testing import CliRunner
from made_features import make_corpus, make_stores

from gia_mic import cli
from gia_mic.commands.fuse import ablate, fuse_train, tune
from gia_mic.commands.settings import given
from gia_mic.fuse.config import RENAMED, SPACE, GiaMicConfig, TrainingConfig
from gia_mic.fuse.runs.folder import read_config

TRAINING = {field.name for field in fields(TrainingConfig)}
MODEL = {field.name for field in fields(GiaMicConfig)}


@pytest.mark.parametrize(
    ("command", "wanted", "unwanted"),
    [
        (fuse_train, TRAINING | MODEL, set()),
        (ablate, TRAINING | MODEL - {"without"}, {"without"}),
        (tune, TRAINING - set(SPACE), set(SPACE)),
    ],
)
def test_each_field_is_an_option(command, wanted, unwanted):
    names = {parameter.name for parameter in command.params}
    assert wanted <= names
    assert not unwanted & names


def test_what_was_not_typed_is_left_to_the_config():
    options = fuse_train.make_context("fuse-train", []).params
    assert given(TrainingConfig, options) == {}
    assert given(GiaMicConfig, options) == {}


def test_an_ablation_is_of_the_settings_that_were_typed(tmp_path):
    make_stores(make_corpus(tmp_path / "features"))
    own = tmp_path / "runs" / "toy" / "gia-mic"
    own.mkdir(parents=True)
    words = "--epochs 1 --learning-rate 0.002 --batch-size 40 --width 8 --heads 2 --constraint cmd --name small"
    more = "--baselines --select dev --jobs 2 --memory 0.5"
    places = ["--features", str(tmp_path / "features"), "--runs", str(tmp_path / "runs")]
    answer = CliRunner().invoke(cli.main, ["ablate", *words.split(), *more.split(), *places])
    assert answer.exit_code == 0, answer.output
    runs = {place.name: read_config(place / "fold-1" / "seed-0") for place in own.parent.glob("small*")}
    assert {"small", "small-without-gate", "small-constraint-similarity", "small-without-alone"} <= set(runs)
    assert "small-mult" in runs
    for name, config in runs.items():
        assert (config["training"]["learning_rate"], config["training"]["batch_size"]) == (0.002, 40), name
        assert config["select"] == "dev"
        if config["model"]["name"] == "gia-mic":
            assert (config["model"]["width"], config["model"]["heads"]) == (8, 2), name
    assert runs["small-without-gate"]["model"]["constraint"] == "cmd"
    assert not list(own.iterdir())


def test_an_ablation_shows_its_own_runs_alone(tmp_path):
    make_stores(make_corpus(tmp_path / "features"))
    places = ["--features", str(tmp_path / "features"), "--runs", str(tmp_path / "runs")]
    another = ["fuse-train", "--fold", "1", "--fusion", "concat", "--name", "somebodys", "--epochs", "1"]
    assert CliRunner().invoke(cli.main, [*another, *places]).exit_code == 0
    few = ["ablate", "--modalities", "s,t", "--epochs", "1", "--width", "8", "--heads", "2"]
    answer = CliRunner().invoke(cli.main, [*few, *places])
    assert answer.exit_code == 0, answer.output
    assert "gia-mic-st-without-gate" in answer.output
    assert "somebodys" not in answer.output
    assert not (tmp_path / "runs" / "toy" / "gia-mic").exists()


@pytest.mark.parametrize("before", RENAMED)
def test_an_option_of_before_is_refused_with_its_new_name(before):
    old, new = (f"--{name.replace('_', '-')}" for name in (before, RENAMED[before]))
    answer = CliRunner().invoke(cli.main, ["fuse-train", old, "0"])
    assert answer.exit_code == 2
    assert f"{old} is now {new}." in answer.stderr


def test_other_unknown_options_are_not_taken_for_options_of_before():
    answer = CliRunner().invoke(cli.main, ["fuse-train", "--seedz", "0"])
    assert answer.exit_code == 2
    assert "--seed" in answer.stderr
    answer = CliRunner().invoke(cli.main, ["report", "--clip", "0"])  # where there never was such an option
    assert answer.exit_code == 2
    assert "is now" not in answer.stderr


def test_a_setting_of_before_is_refused_with_its_new_name():
    answer = CliRunner().invoke(cli.main, ["fuse-train", "--set", "weight=0"])
    assert answer.exit_code == 2
    assert "weight is now constraint_weight." in answer.stderr
