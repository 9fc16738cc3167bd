"""Every setting is told once: its option, its check, its line in a list and its row in the documentation follow."""

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from made_features import make_corpus, make_stores

from gia_mic.commands.extract import extract
from gia_mic.commands.fuse import ablate, fuse_train, tune
from gia_mic.commands.listen import listen
from gia_mic.commands.settings import typed_settings
from gia_mic.commands.settings_page import settings_page
from gia_mic.config import ListenConfig
from gia_mic.extract.config import EncoderConfig
from gia_mic.extract.settings import out_of_range, setting, settings_of
from gia_mic.fuse.config import RENAMED, GiaMicConfig, TrainingConfig
from gia_mic.fuse.models.registry import FUSIONS, configure
from gia_mic.fuse.runs.folder import read_config

TRAINING = {field.name for field in fields(TrainingConfig)}
MODEL = {field.name for field in fields(GiaMicConfig)}
CONFIGS = list(
    dict.fromkeys([EncoderConfig, TrainingConfig, ListenConfig, *(entry.config for entry in FUSIONS.values())])
)


@pytest.mark.parametrize(
    ("command", "expected", "absent"),
    [
        (fuse_train, TRAINING | MODEL, set()),
        (ablate, TRAINING | MODEL - {"without"}, {"without"}),
        (tune, TRAINING, set()),
        (extract, {field.name for field in fields(EncoderConfig)}, set()),
        (listen, {field.name for field in fields(ListenConfig)}, set()),
    ],
)
def test_each_field_is_an_option(command, expected, absent):
    names = {parameter.name for parameter in command.params}
    assert expected <= names
    assert not absent & names


@pytest.mark.parametrize("config", CONFIGS)
def test_each_field_is_told_and_its_default_is_in_its_range(config):
    assert list(settings_of(config)) == [field.name for field in fields(config)]
    for name, one in settings_of(config).items():
        assert one.help[0].isupper() or one.help[0] == "λ", name
        assert one.help.endswith("."), name
        assert getattr(config(), name) in (one.default, None)  # None where the default is known only later
    assert out_of_range(config()) == []


@pytest.mark.parametrize(
    ("command", "config"),
    [(fuse_train, TrainingConfig), (fuse_train, GiaMicConfig), (extract, EncoderConfig), (listen, ListenConfig)],
)
def test_an_option_has_the_help_the_default_and_the_choices_of_its_setting(command, config):
    options = {parameter.name: parameter for parameter in command.params}
    for name, one in settings_of(config).items():
        assert one.help in options[name].help
        assert f"[default: {one.shown}" in options[name].help
        assert list(getattr(options[name].type, "choices", ())) == list(one.choices)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"learning_rate": -1}, "learning_rate is -1, and must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, and must be above 0"),
        ({"warmup": 1.0}, "warmup is 1.0, and must be in [0, 1)"),
        ({"patience": -1}, "patience is -1, and must be at least 0"),
        ({"precision": "int8"}, "precision is 'int8', and must be float32 or bfloat16"),
    ],
)
def test_a_value_out_of_range_is_one_sentence(changes, sentence):
    assert replace(TrainingConfig(), **changes).problems() == [sentence]


def test_what_depends_on_another_setting_is_a_sentence_too():
    [sentence] = TrainingConfig(unimodal_weight=0).problems()
    assert sentence.endswith("unimodal_weight must be above 0, or soft_target 0")
    assert GiaMicConfig(width=9).problems() == ["width is 9, and must be a multiple of heads, 4"]
    assert GiaMicConfig(heads=0).problems() == ["heads is 0, and must be at least 1"]
    assert GiaMicConfig(without=("head",)).problems() == [
        "without is ('head',), and must be gate, interaction or generator"
    ]


def test_the_page_of_all_settings_is_what_they_say():
    page = Path(__file__).parent.parent / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8") == settings_page(), "make it anew, as its head says"


def test_the_page_names_every_setting():
    page = settings_page()
    for config in CONFIGS:
        for one in settings_of(config).values():
            assert one.help in page


def test_a_text_becomes_a_value_of_its_settings_type():
    layers, window = (settings_of(EncoderConfig)[name] for name in ("layers", "window_s"))
    assert (layers.value_of("6,9"), layers.value_of("mean"), window.value_of("5")) == ((6, 9), "mean", 5.0)
    with pytest.raises(ValueError, match="neither numbers such as 6,9,12 nor mean"):
        layers.value_of("six")
    assert configure("gia-mic", {"without": "gate", "dropout": "0.1"}) == GiaMicConfig(without=("gate",), dropout=0.1)


def test_an_encoder_is_made_of_what_was_typed(mer):
    words = "--modality all --layers 6,9 --window 5 --frame-rate 2 --crop none --precision bfloat16".split()
    options = extract.make_context("extract", words).params
    expected = {"layers": (6, 9), "window_s": 5.0, "frame_rate_hz": 2.0, "crop": "none", "precision": "bfloat16"}
    assert typed_settings(EncoderConfig, options) == expected
    answer = mer("extract", "--modality", "text", "--layers", "six")
    assert answer.exit_code == 2
    assert "'six' is neither numbers such as 6,9,12 nor mean" in answer.stderr


def test_declaring_settings_loads_nothing_heavy():
    program = "import sys, gia_mic.config, gia_mic.extract.config, gia_mic.fuse.config; print('numpy' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_a_limit_of_an_unknown_kind_is_a_mistake():
    with pytest.raises(TypeError, match="at_leats"):
        setting(1, "Something.", at_leats=0)


def test_what_was_not_typed_is_left_to_the_config():
    options = fuse_train.make_context("fuse-train", []).params
    assert typed_settings(TrainingConfig, options) == {}
    assert typed_settings(GiaMicConfig, options) == {}


def test_an_ablation_is_of_the_settings_that_were_typed(tmp_path, mer):
    make_stores(make_corpus(tmp_path / "features"))
    own = tmp_path / "runs" / "toy" / "gia-mic"
    own.mkdir(parents=True)
    words = "--epochs 1 --learning-rate 0.002 --batch-size 40 --width 8 --heads 2 --constraint cmd --name small"
    more = "--baselines --select dev --jobs 2 --memory 0.5"
    folders = ["--features", str(tmp_path / "features"), "--runs", str(tmp_path / "runs")]
    answer = mer("ablate", *words.split(), *more.split(), *folders)
    assert answer.exit_code == 0, answer.output
    runs = {run_dir.name: read_config(run_dir / "fold-1" / "seed-0") for run_dir in own.parent.glob("small*")}
    assert {"small", "small-without-gate", "small-constraint-similarity", "small-without-unimodal-loss"} <= set(runs)
    assert "small-mult" in runs
    for name, config in runs.items():
        assert (config["training"]["learning_rate"], config["training"]["batch_size"]) == (0.002, 40), name
        assert config["select"] == "dev"
        if config["model"]["name"] == "gia-mic":
            assert (config["model"]["width"], config["model"]["heads"]) == (8, 2), name
    assert runs["small-without-gate"]["model"]["constraint"] == "cmd"
    assert not list(own.iterdir())


def test_an_ablation_shows_its_own_runs_alone(tmp_path, mer):
    make_stores(make_corpus(tmp_path / "features"))
    folders = ["--features", str(tmp_path / "features"), "--runs", str(tmp_path / "runs")]
    another = ["fuse-train", "--fold", "1", "--fusion", "concat", "--name", "somebodys", "--epochs", "1"]
    assert mer(*another, *folders).exit_code == 0
    few = ["ablate", "--modalities", "s,t", "--epochs", "1", "--width", "8", "--heads", "2"]
    answer = mer(*few, *folders)
    assert answer.exit_code == 0, answer.output
    assert "gia-mic-st-without-gate" in answer.output
    assert "somebodys" not in answer.output
    assert not (tmp_path / "runs" / "toy" / "gia-mic").exists()


@pytest.mark.parametrize("before", RENAMED)
def test_an_option_of_before_is_refused_with_its_new_name(before, mer):
    old, new = (f"--{name.replace('_', '-')}" for name in (before, RENAMED[before]))
    answer = mer("fuse-train", old, "0")
    assert answer.exit_code == 2
    assert f"{old} is now {new}." in answer.stderr


def test_other_unknown_options_are_not_taken_for_options_of_before(mer):
    answer = mer("fuse-train", "--seedz", "0")
    assert answer.exit_code == 2
    assert "--seed" in answer.stderr
    answer = mer("report", "--clip", "0")  # where there never was such an option
    assert answer.exit_code == 2
    assert "is now" not in answer.stderr


def test_a_setting_of_before_is_refused_with_its_new_name(mer):
    answer = mer("fuse-train", "--set", "weight=0")
    assert answer.exit_code == 2
    assert "weight is now constraint_weight." in answer.stderr
