import pytest
import torch
from made_features import make_corpus, make_stores, utterances

from gia_mic.extract.errors import RunError
from gia_mic.fuse.config import GiaMicConfig, TrainingConfig
from gia_mic.fuse.experiment import Experiment
from gia_mic.fuse.models.layers import PaddedFrames
from gia_mic.fuse.robustness import evaluate, lose
from gia_mic.fuse.run import train_folds
from gia_mic.fuse.runs.fold import read_fold
from gia_mic.fuse.runs.folder import ROBUSTNESS, begin, read_config
from gia_mic.fuse.runs.robustness import Condition, write_robustness


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("robust")
    corpus = make_corpus(folder, utterances(120))
    stores = make_stores(corpus, share=0.95, speech_hz=50)
    config = GiaMicConfig(width=16, heads=2, latents=2, layers=1)
    training = TrainingConfig(epochs=6, batch_size=16, learning_rate=5e-3, modality_dropout=0.3)
    experiment = Experiment(model=config, training=training)
    folders = train_folds(corpus, stores, experiment, runs=folder / "runs")
    evaluate(corpus, stores, folders)
    return corpus, stores, folders


def test_all_seven_subsets_are_scored_and_the_whole_equals_the_metrics(trained):
    for folder in trained[2]:
        fold = read_fold(folder)
        subsets = [level for kind, level in fold.robustness if kind == "subset"]
        assert subsets == ["s", "t", "v", "st", "sv", "tv", "stv"]
        assert fold.robustness["subset", "stv"] == {"WA": fold.metrics["WA"], "UA": fold.metrics["UA"]}
        kinds = [kind for kind, _ in fold.robustness]
        assert kinds.count("noise") == kinds.count("lost_frames") == 4


def test_noise_hurts(trained):
    tested = [read_fold(folder).robustness for folder in trained[2]]
    assert sum(one["subset", "stv"]["UA"] for one in tested) > sum(one["noise", 2.0]["UA"] for one in tested)


def test_what_is_evaluated_is_not_evaluated_again(trained, caplog):
    caplog.set_level("INFO", "gia_mic")
    evaluate(*trained)
    assert caplog.messages == []
    (trained[2][0] / ROBUSTNESS).unlink()
    evaluate(*trained)
    assert caplog.messages == [f"{trained[2][0]}: tested with less than it was trained on."]


def test_lost_frames_leave_one():
    batch = {"speech": PaddedFrames(torch.zeros(3, 50, 2), torch.arange(50) < torch.tensor([[50], [1], [0]]))}
    mask = lose(0.9, 0)(batch)["speech"].mask
    assert mask.sum(1).tolist()[1:] == [1, 0]
    assert 1 <= mask[0].sum() < 15


def test_scores_are_read_as_they_were_written(trained):
    folder = trained[2][0]
    robustness = {Condition("noise", 0.5): {"WA": 0.25, "UA": 1 / 3}, Condition("subset", "s"): {"WA": 0.0, "UA": 1.0}}
    before = read_fold(folder).robustness
    write_robustness(folder, robustness)
    assert read_fold(folder).robustness == robustness
    write_robustness(folder, before)
    assert read_fold(folder).robustness == before


def test_other_modalities_are_refused(trained):
    corpus, stores, folders = trained
    (folders[0] / ROBUSTNESS).unlink()
    with pytest.raises(RunError, match="was trained on another corpus or other modalities"):
        evaluate(corpus, {"text": stores["text"]}, folders)


def test_a_training_that_begins_takes_the_scores_of_the_last_one_away(trained):
    folder = trained[2][1]
    assert (folder / ROBUSTNESS).exists()
    begin(folder, read_config(folder))
    assert not (folder / ROBUSTNESS).exists()
