"""From each corpus as it comes to a table of scores, by the commands that a user would type."""

import json
from pathlib import Path

import made_releases
import pytest

from gia_mic.extract.store import FAILED, open_store

TINY = [["extract", "--modality", "all", "--encoder", "tiny"]]
CSD = ["--corpus", "mosei", "--labels", "release/CMU_MOSEI_Labels.csd", "--splits", "release/folds.csv"]

CORPORA = {  # commands before the training; how many feature files; options of the training; folds
    "iemocap": ([["prepare", "iemocap", "release"], *TINY], 3, ["--protocol", "session"], 5),
    "msppodcast": ([["prepare", "msppodcast", "release"], *TINY], 2, ["--protocol", "split"], 1),
    "merchallenge": ([["prepare", "merchallenge", "release"], *TINY], 3, ["--protocol", "split"], 1),
    "emobox": (
        [["prepare", "emobox", "release", "--dataset", "cafe", "--name", "emobox"], *TINY],
        1,
        ["--protocol", "split"],
        3,
    ),
    "meld": ([["prepare", "meld", "release"], *TINY], 3, ["--protocol", "split", "--allow-shared"], 1),
    "cremad": ([["prepare", "cremad", "release"], *TINY], 3, ["--protocol", "speaker"], 2),
    "ravdess": ([["prepare", "ravdess", "release"], *TINY], 3, ["--protocol", "speaker"], 2),
    "emodb": ([["prepare", "emodb", "release"], *TINY], 2, ["--protocol", "speaker"], 2),
    "hf": ([["prepare", "hf", "release", "--name", "hf"], *TINY], 2, ["--protocol", "speaker"], 2),
    "mosei": (
        [
            ["import", "release/CMU_MOSEI_COVAREP.csd", "--modality", "speech", *CSD],
            ["import", "release/CMU_MOSEI_VisualFacet42.csd", "--modality", "visual", *CSD],
        ],
        2,
        ["--protocol", "split"],
        1,
    ),
    "mosi": (
        [
            ["import", "release/unaligned_50.pkl", "--modality", modality, "--corpus", "mosi"]
            for modality in ("speech", "visual")
        ],
        2,
        ["--protocol", "split"],
        1,
    ),
    "sims": (
        [
            ["import", "release/unaligned_39.pkl", "--modality", modality, "--corpus", "sims"]
            for modality in ("speech", "visual")
        ],
        2,
        ["--protocol", "split"],
        1,
    ),
}


SENTIMENT = ("MAE", "Pearson", "CCC", "Acc-7", "Acc-5", "Acc-2_has0", "F1_has0", "Acc-2_non0", "F1_non0")
TABLES = {  # the scores that a corpus's papers print, by target
    "iemocap": {
        "valence,arousal,dominance": ("CCC_valence", "CCC_arousal", "CCC_dominance"),
        "votes": ("WA", "UA", "JS"),
    },
    "msppodcast": {
        "arousal,valence,dominance": ("CCC_arousal", "CCC_valence", "CCC_dominance"),
        "votes": ("WA", "UA", "JS"),
    },
    "merchallenge": {"valence": ("MAE", "Pearson", "CCC")},
    "mosei": {"sentiment": SENTIMENT, "labels": ("WAcc", "macro_F1", "micro_F1")},
    "mosi": {"sentiment": SENTIMENT},
    "sims": {"sentiment": ("MAE", "Pearson", "CCC", "Acc-5", "Acc-3", "Acc-2", "F1")},
}


@pytest.fixture
def printed(mer):
    """Run a command that must succeed, and return what it printed."""

    def run(*words):
        result = mer(*words)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def runs_of(text):
    return [run for group in json.loads(text)["groups"] for run in group["runs"]]


def name_of(target):
    return "-" + target.replace(",", "-")


@pytest.fixture(autouse=True)
def somewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", CORPORA)
def test_from_a_release_to_a_table(name, printed):
    commands, files, options, folds = CORPORA[name]
    getattr(made_releases, name)(Path("release"))
    for command in commands:
        printed(*command)
    stores = [open_store(path) for path in Path("features", name).glob("*/*.h5")]
    assert len(stores) == files
    assert not any((store.status == FAILED).any() for store in stores)
    printed("fuse-train", "--epochs", "1", *options)
    assert len(list(Path("runs", name).glob("*/fold-*/seed-0/metrics.json"))) == folds
    table = printed("report")
    assert all(word in table for word in ("WA", "UA", name))
    for target, scores in TABLES.get(name, {}).items():
        table = printed("fuse-train", "--epochs", "1", "--target", target, *options)
        assert all(score in table for score in scores)
        [run] = [run for run in runs_of(printed("report", "--format", "json")) if name_of(target) in run["name"]]
        assert all(score in run["pooled"] for score in scores)


def test_speakers_on_both_sides_are_refused_in_one_sentence(printed, mer):
    made_releases.meld(Path("release"))
    for command in CORPORA["meld"][0]:
        printed(*command)
    result = mer("fuse-train", "--protocol", "split")
    assert result.exit_code == 1
    assert "Fold 1 (split test) of meld has the speakers Monica in training and test" in result.output
    assert "choose --protocol speaker, or allow it explicitly with --allow-shared." in result.output


def test_the_list_of_corpora_names_them_all(printed):
    output = printed("corpora")
    assert all(name in output for name in CORPORA if name != "hf")
    assert "Prepared in features: none." in output


def test_a_hostile_pickle_ends_in_one_sentence_and_exit_code_1(mer):
    Path("a.pkl").write_bytes(b"cos\nsystem\n(S'touch proof'\ntR.")
    result = mer("import", "a.pkl", "--modality", "speech", "--corpus", "mine")
    assert result.exit_code == 1
    assert "Error: a.pkl is refused" in result.output
    assert not Path("proof").exists()
