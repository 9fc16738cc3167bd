"""Training, testing and recording of every target."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_features import make_stores, utterances
from made_targets import RANGES, TARGETS, make_target_corpus

from gia_mic.extract.corpus import write_corpus
from gia_mic.extract.errors import CorpusError, RunError
from gia_mic.extract.store import Header, Item, open_store, write_store
from gia_mic.fuse.config import TrainingConfig
from gia_mic.fuse.data import read_data
from gia_mic.fuse.experiment import Execution, Experiment
from gia_mic.fuse.measure import measure_of
from gia_mic.fuse.models.registry import FUSIONS
from gia_mic.fuse.robustness import evaluate
from gia_mic.fuse.run import train_folds
from gia_mic.fuse.runs.fold import read_fold
from gia_mic.fuse.runs.weights import load_fusion
from gia_mic.fuse.split import folds, with_target
from gia_mic.fuse.train import RunSpec, fit, fit_together, predict
from gia_mic.fuse.tune import tune

QUICK = TrainingConfig(epochs=2, batch_size=16)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_target_corpus(tmp_path_factory.mktemp("targets"))


@pytest.fixture(scope="module")
def stores(corpus):
    return make_stores(corpus, missing={"speech": corpus.ids[:5]})


def train(corpus, stores, runs, training=QUICK, *, fold=1, execution=None, **choices):
    return train_folds(corpus, stores, Experiment(training=training, fold=fold, **choices), execution, runs=runs)


@pytest.mark.parametrize("target", TARGETS)
def test_a_run_learns_its_target_and_records_how_it_is_read(corpus, stores, tmp_path, target):
    longer = TrainingConfig(epochs=12, batch_size=16)
    [run_dir] = train(corpus, stores, tmp_path, longer, fusion="late", target=target)
    fold = read_fold(run_dir)
    measure = measure_of(corpus.target(target))
    assert fold.target == corpus.target(target)
    assert fold.metrics[measure.primary] > {"label": 0.7, "votes": 0.6, "labels": 0.7}.get(measure.target.kind, 0.6)
    expected = with_target(corpus, fold.target, folds(corpus)[0])
    assert sorted(fold.predictions.ids) == sorted(corpus.ids[row] for row in expected.test)
    assert fold.metrics["train_utterances"] == len(expected.train)
    assert f"train_{measure.primary}" in fold.history
    opened = {name: open_store(path) for name, path in stores.items()}
    data = read_data(corpus, opened, speech_rate_hz=12, target=fold.target)
    rows = np.array([corpus.ids.index(name) for name in fold.predictions.ids])
    np.testing.assert_allclose(predict(load_fusion(run_dir), data, rows), fold.predictions.answers, atol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("target", ["labels", "votes", "valence,arousal"])
def test_every_fusion_learns_every_target_alone_and_in_a_stack(corpus, stores, fusion, target):
    data = read_data(corpus, {name: open_store(path) for name, path in stores.items()}, target=corpus.target(target))
    entry = FUSIONS[fusion]
    parts = [with_target(corpus, data.target, fold).train for fold in folds(corpus)[:2]]
    specs = [RunSpec(rows, seed, choose=rows[:40], choose_by="test") for seed, rows in enumerate(parts)]

    def build():
        return entry.make(data.dims, TARGETS[target], entry.config())

    together = fit_together(build, data, specs, QUICK, steps=8)
    for spec, one in zip(specs, together, strict=True):
        alone = fit(build, data, spec, QUICK, steps=8)
        rows = np.arange(len(corpus))
        np.testing.assert_allclose(predict(one, data, rows), predict(alone, data, rows), atol=1e-2)
        assert one.history[0] == pytest.approx(alone.history[0], abs=1e-3)


def test_runs_of_targets_lie_side_by_side_and_the_default_has_no_name(corpus, stores, tmp_path):
    names = []
    for target in (None, "label", "valence", "arousal,valence"):
        [run_dir] = train(corpus, stores, tmp_path, fusion="concat", target=target)
        names.append(run_dir.parents[1].name)
        config = json.loads((run_dir / "config.json").read_text())
        assert ("target" in config) == (target not in (None, "label"))
    assert names == ["concat", "concat", "concat-valence", "concat-arousal-valence"]


@pytest.mark.parametrize("target", ["labels", "valence"])
def test_subsets_and_searches_go_by_the_targets_own_scores(corpus, stores, tmp_path, target):
    space = {"learning_rate": (1e-3, 1e-2)}
    experiment = Experiment("late", training=QUICK, fold=1, target=target)
    [run_dir] = tune(corpus, stores, experiment, Execution(jobs=1), runs=tmp_path, trials=2, space=space)
    fold, measure = read_fold(run_dir), measure_of(corpus.target(target))
    assert [set(trial) for trial in fold.config["trials"]] == [{"learning_rate", measure.primary}] * 2
    evaluate(corpus, stores, [run_dir])
    [whole] = [scores for condition, scores in read_fold(run_dir).robustness.items() if condition.level == "stv"]
    assert whole == pytest.approx({name: fold.metrics[name] for name in measure.headline}, abs=1e-6)


def test_an_utterance_without_features_counts_as_the_training_parts_mean(corpus, tmp_path, log):
    fold = folds(corpus)[0]
    lacking = corpus.ids[fold.test[0]]
    stores = make_stores(corpus, missing={name: [lacking] for name in ("speech", "text", "visual")})
    [run_dir] = train(corpus, stores, tmp_path, fusion="concat", target="valence")
    predictions = read_fold(run_dir).predictions
    [answer] = predictions.answers[predictions.ids == lacking]
    assert answer[0] == pytest.approx(np.nanmean(corpus.values(corpus.target("valence"))[fold.train]), abs=1e-5)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"target": "valence", "training": TrainingConfig(class_weights=True)}, "class_weights has no meaning for"),
        ({"target": "valence", "training": TrainingConfig(label_smoothing=0.1)}, "label_smoothing has no meaning for"),
        ({"target": "labels", "training": TrainingConfig(class_weights=True)}, "class_weights has no meaning for"),
        ({"target": "valence", "training": TrainingConfig(soft_target=0.1)}, "soft_target has no meaning for"),
        ({"target": "votes", "training": TrainingConfig(score_loss="l1")}, "score_loss has no meaning for votes, only"),
    ],
)
def test_settings_that_mean_nothing_for_a_target_are_refused(corpus, stores, tmp_path, choices, message):
    with pytest.raises(RunError, match=message):
        train(corpus, stores, tmp_path, **choices)


def test_a_target_that_the_corpus_lacks_is_refused(corpus, stores, tmp_path):
    with pytest.raises(CorpusError, match="has no target 'mood': choose label, labels, valence, arousal, votes"):
        train(corpus, stores, tmp_path, target="mood")


def linear(folder):
    """A corpus of 200 utterances whose two scores are linear in features of three modalities, but for noise."""
    random, dims = np.random.default_rng(5), {"speech": 30, "text": 20, "visual": 10}
    rows = utterances(200)
    vectors = {name: random.normal(size=(len(rows), dim)) for name, dim in dims.items()}
    signal = np.concatenate(list(vectors.values()), axis=1) @ random.normal(size=(60, 2))
    signal = signal / signal.std(0) + 0.6 * random.normal(size=signal.shape)
    scores = np.clip(3 + 0.7 * signal, 1, 5)
    rows = [
        replace(row, label=None, scores={"valence": float(valence), "arousal": float(arousal)})
        for row, (valence, arousal) in zip(rows, scores, strict=True)
    ]
    corpus = write_corpus(folder, "linear", rows, root=folder, score_ranges=RANGES)
    paths = {}
    for name, values in vectors.items():
        paths[name] = corpus.folder / name / "tiny-0123.h5"
        items = [
            Item(row.id, "digest", (vector + random.normal(0, 0.3, (4, len(vector)))).astype(np.float32))
            for row, vector in zip(rows, values, strict=True)
        ]
        write_store(paths[name], Header(name, "tiny", "0123", {}, dims[name]), items)
    return corpus, paths


@pytest.mark.parametrize("kind", ["by emotion", "linear"])
def test_scores_are_at_least_as_good_as_ridge_on_pooled_features(corpus, stores, tmp_path, kind):
    """The baseline is ridge regression on the mean frames of all modalities, side by side, its strength by itself."""
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    if kind == "linear":
        corpus, stores = linear(tmp_path)
    target = corpus.target("valence,arousal")
    values, whole = corpus.values(target), folds(corpus)
    pooled = []
    for path in stores.values():
        store = open_store(path)
        frames = [store.read(name) for name in corpus.ids]
        pooled.append([part.mean(0, dtype=float) if len(part) else np.zeros(store.dim) for part in frames])
    vectors = np.concatenate(pooled, axis=1)
    true, ridge = [], []
    for fold in (with_target(corpus, target, fold) for fold in whole):
        scaler = StandardScaler().fit(vectors[fold.train])
        baseline = RidgeCV(np.logspace(-1, 4, 11)).fit(scaler.transform(vectors[fold.train]), values[fold.train])
        ridge.append(baseline.predict(scaler.transform(vectors[fold.test])))
        true.append(values[fold.test])
    measure = measure_of(target)
    expected = measure.scores(measure.tally(np.concatenate(true), np.concatenate(ridge))[0])["CCC"]
    run_dirs = train(corpus, stores, tmp_path, TrainingConfig(), fold=None, target=target.name)
    actual = measure.scores(np.sum([read_fold(run_dir).tally for run_dir in run_dirs], axis=0))["CCC"]
    assert actual >= expected > 0.5
