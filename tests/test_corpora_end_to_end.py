import pickle

import made_releases
import numpy as np
import pytest
from click.testing import CliRunner

import cli
from extract import store

FOLDS = {"iemocap": ("session", 5), "meld": ("split", 1), "cremad": ("speaker", 2), "ravdess": ("speaker", 2)}
FOLDS["emodb"] = ("speaker", 2)
SHARED = {"meld": ["--allow-shared"]}  # the series has the same people in all parts


def mer(*words):
    """Run a command as it would be typed; return what it printed."""
    result = CliRunner().invoke(cli.main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(autouse=True)
def somewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", FOLDS)
def test_from_a_release_to_a_table(name):
    protocol, folds = FOLDS[name]
    tree = getattr(made_releases, name)(made_releases.Path("release"))
    assert "of" in mer("prepare", name, tree)
    mer("extract", "--modality", "all", "--encoder", "tiny")
    stores = [store.open_store(path) for path in made_releases.Path("features", name).glob("*/*.h5")]
    assert len(stores) == (2 if name == "emodb" else 3)
    assert not any((found.status == store.FAILED).any() for found in stores)
    mer("fuse-train", "--protocol", protocol, "--epochs", "1", *SHARED.get(name, []))
    assert len(list(made_releases.Path("runs", name).glob("*/fold-*/seed-0/metrics.json"))) == folds
    table = mer("report")
    assert "WA" in table
    assert "UA" in table
    assert name in table


def test_from_features_that_others_made_to_a_table():
    rng = np.random.default_rng(0)
    content = {}
    for part, count in (("train", 24), ("valid", 6), ("test", 12)):
        value = rng.choice([-2.0, 0.0, 1.5], count)
        frames = rng.normal(size=(count, 5, 4)) + value[:, None, None]
        names = [f"{part}{number}" for number in range(count)]
        content[part] = {"id": names, "audio": frames, "vision": frames, "labels": value.reshape(-1, 1, 1)}
    made_releases.Path("mosi.pkl").write_bytes(pickle.dumps(content))
    for modality in ("speech", "visual"):
        mer("import", "mosi.pkl", "--modality", modality, "--corpus", "mosi")
    mer("fuse-train", "--protocol", "split", "--epochs", "2")
    assert "mosi" in mer("report")


def test_the_list_of_corpora_names_them_all():
    output = mer("corpora")
    assert all(name in output for name in [*FOLDS, "mosei", "mosi"])
    assert "Prepared in features: none." in output


def test_a_hostile_pickle_ends_in_one_sentence_and_exit_code_1():
    made_releases.Path("a.pkl").write_bytes(b"cos\nsystem\n(S'touch proof'\ntR.")
    result = CliRunner().invoke(cli.main, ["import", "a.pkl", "--modality", "speech", "--corpus", "mine"])
    assert result.exit_code == 1
    assert "Error: a.pkl is refused" in result.output
    assert not made_releases.Path("proof").exists()
