"""What the hub reads of a model card: valid by its own library, and true of the run."""

import pytest
from huggingface_hub import ModelCard
from made_runs import TARGETS, make_runs, make_runs_of

from gia_mic.card_data import card_data
from gia_mic.fuse.runs.runs import read_runs
from gia_mic.model_card import card
from gia_mic.report.summary import summarise


def features(modality, model, weights):
    spec = {"modality": modality, "model": model, "weights": weights}
    return {"file": f"{modality}.h5", "encoder": "e", "fingerprint": f"{modality}-0123456789", "dim": 8, "spec": spec}


def test_the_results_are_those_of_the_report_and_the_hubs_library_reads_them(tmp_path):
    make_runs(tmp_path, {"gia-mic": 0.7}, folds=3, seeds=2)
    [run] = read_runs(tmp_path)
    data = ModelCard(card(run, licence="cc-by-4.0")).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("cc-by-4.0", "gia-mic", "video-classification")
    assert data.tags == ["emotion-recognition", "multimodal", "speech", "text", "visual"]
    assert data.metrics == ["accuracy", "recall"]
    assert data.model_name == "gia-mic"
    assert data.base_model is None  # the made-up features say nothing of their encoders
    over_folds = summarise(run).over_folds
    results = {result.metric_name: result for result in data.eval_results}
    assert list(results) == ["WA (mean over 3 folds)", "UA (mean over 3 folds)"]
    for name, result in zip(("WA", "UA"), results.values(), strict=True):
        assert result.metric_value == pytest.approx(over_folds[name].mean, abs=1e-4)
        assert result.metric_args["standard deviation over folds"] == pytest.approx(over_folds[name].std, abs=1e-4)
        assert (result.dataset_name, result.task_name) == ("small", "emotions from speech, text, visual")
        assert result.dataset_args == {
            "folds by": "session",
            "folds": "3 of 3",
            "seeds": [0, 1],
            "epoch chosen by": "last",
            "tested": "each model on the fold that it was not trained on",
        }


@pytest.mark.parametrize(
    ("target", "metrics", "first"),
    [
        ("votes", ["accuracy", "recall"], "WA (mean"),
        ("labels", ["f1"], "WAcc (mean"),
        ("sentiment", ["mae", "pearsonr", "accuracy", "f1"], "MAE (mean"),
        ("affect", ["mae"], "CCC_valence (mean"),
    ],
)
def test_every_target_has_its_own_metrics(tmp_path, target, metrics, first):
    make_runs_of(tmp_path, TARGETS[target], {"gia-mic": 0.2})
    [run] = read_runs(tmp_path)
    data = ModelCard(card(run)).data
    assert data.metrics == metrics
    assert len(data.eval_results) == len(run.measure.headline)
    assert data.eval_results[0].metric_name.startswith(first)


@pytest.mark.parametrize(
    ("modalities", "task"),
    [
        (["text"], "text-classification"),
        (["speech", "text"], "audio-classification"),
        (["visual"], "video-classification"),
    ],
)
def test_the_task_and_the_encoders_are_those_of_the_modalities(tmp_path, modalities, task):
    models = {
        "speech": features("speech", "facebook/wav2vec2-base", "a" * 40),
        "text": features("text", "my-roberta", "b" * 64),  # a folder's digest
        "visual": features("visual", "tiny", "tiny-3"),
    }
    made_of = {modality: models[modality] for modality in modalities}
    make_runs(tmp_path, {"it": 0.7}, folds=1, modalities=modalities, features=made_of)
    [run] = read_runs(tmp_path)
    data = card_data(run, licence="mit")
    assert data.pipeline_tag == task
    assert data.base_model == (["facebook/wav2vec2-base"] if "speech" in modalities else None)
    assert ("multimodal" in data.tags) == (len(modalities) > 1)


def test_an_epoch_that_the_test_fold_chose_is_told_beside_the_figure(tmp_path):
    make_runs(tmp_path, {"it": 0.7}, folds=1, select="test", allow_shared=True)
    [run] = read_runs(tmp_path)
    result = card_data(run, licence="mit").eval_results[0]
    assert result.metric_name == "WA (fold 1, epoch chosen on the test fold)"
    assert result.metric_args is None
    assert result.dataset_args["training and test share"] == "speakers or scenarios"
