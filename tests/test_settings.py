"""Every setting of training can be typed, with every command that trains."""

from dataclasses import fields

import pytest
from click.testing import CliRunner
from made_features import make_corpus, make_stores

import cli
from commands.fuse import ablate, fuse_train, tune
from commands.settings import given
from fuse.config import SPACE, GiaMicConfig, TrainingConfig
from fuse.folder import read_config

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
    assert not (TRAINING | MODEL) & set(options)


def test_an_ablation_is_of_the_settings_that_were_typed(tmp_path):
    make_stores(make_corpus(tmp_path / "features"))
    words = "--epochs 1 --learning-rate 0.002 --batch-size 40 --width 8 --heads 2 --constraint cmd --jobs 2"
    places = ["--features", str(tmp_path / "features"), "--runs", str(tmp_path / "runs")]
    answer = CliRunner().invoke(cli.main, ["ablate", *words.split(), *places])
    assert answer.exit_code == 0, answer.output
    runs = {place.name: read_config(place / "fold-1" / "seed-0") for place in (tmp_path / "runs" / "toy").iterdir()}
    assert {"gia-mic-without-gate", "gia-mic-constraint-similarity", "gia-mic-without-alone"} <= set(runs)
    for name, config in runs.items():
        assert (config["training"]["learning_rate"], config["training"]["batch_size"]) == (0.002, 40), name
        assert (config["model"]["width"], config["model"]["heads"]) == (8, 2), name
    assert runs["gia-mic-without-gate"]["model"]["constraint"] == "cmd"
