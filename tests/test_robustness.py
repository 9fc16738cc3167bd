import json

import pytest
import torch
from made_features import make_corpus, make_stores, utterances

from gia_mic.extract.errors import RunError
from gia_mic.fuse.config import GiaMicConfig, TrainingConfig
from gia_mic.fuse.experiment import Experiment
from gia_mic.fuse.models.layers import PaddedFrames
from gia_mic.fuse.robustness import evaluate, lose, table
from gia_mic.fuse.run import train_folds
from gia_mic.fuse.runs.folder import ROBUSTNESS


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("robust")
    corpus = make_corpus(folder, utterances(120))
    stores = make_stores(corpus, shown=0.95)
    config = GiaMicConfig(width=16, heads=2, latents=2, layers=1)
    training = TrainingConfig(epochs=6, batch_size=16, learning_rate=5e-3, drop_modality=0.3)
    experiment = Experiment(model=config, training=training)
    folders = train_folds(corpus, stores, experiment, runs=folder / "runs")
    evaluate(corpus, stores, folders)
    return corpus, stores, folders


def test_all_seven_subsets_are_scored_and_the_whole_equals_the_metrics(trained):
    for place in trained[2]:
        found = json.loads((place / ROBUSTNESS).read_text())
        metrics = json.loads((place / "metrics.json").read_text())
        assert list(found["subsets"]) == ["s", "t", "v", "st", "sv", "tv", "stv"]
        assert found["subsets"]["stv"] == {"WA": metrics["WA"], "UA": metrics["UA"]}
        assert len(found["noise"]) == len(found["lost_frames"]) == 4


def test_noise_hurts_and_is_reported(trained):
    found = [json.loads((place / ROBUSTNESS).read_text()) for place in trained[2]]
    assert sum(one["subsets"]["stv"]["UA"] for one in found) > sum(one["noise"][-1]["UA"] for one in found)
    text = table(trained[2])
    assert "stv" in text
    assert "part of frames lost" in text


def test_what_is_evaluated_is_not_evaluated_again(trained, caplog):
    caplog.set_level("INFO", "gia_mic")
    evaluate(*trained)
    assert caplog.messages == []
    (trained[2][0] / ROBUSTNESS).unlink()
    evaluate(*trained)
    assert caplog.messages == [f"{trained[2][0]}: {ROBUSTNESS} written."]


def test_lost_frames_leave_one():
    batch = {"speech": PaddedFrames(torch.zeros(3, 50, 2), torch.arange(50) < torch.tensor([[50], [1], [0]]))}
    mask = lose(0.9, 0)(batch)["speech"].mask
    assert mask.sum(1).tolist()[1:] == [1, 0]
    assert 1 <= mask[0].sum() < 15


def test_other_modalities_are_refused(trained):
    corpus, stores, folders = trained
    (folders[0] / ROBUSTNESS).unlink()
    with pytest.raises(RunError, match="was trained on another corpus or other modalities"):
        evaluate(corpus, {"text": stores["text"]}, folders)
