import json
import sys

import pytest
from made_features import make_corpus, make_stores

from extract import store
from extract.errors import RunError
from fuse import tune as module
from fuse.config import TrainingConfig
from fuse.split import folds
from fuse.tune import tune

QUICK = TrainingConfig(epochs=2, batch_size=32)


def test_a_search_never_looks_at_the_test_part(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    corpus = make_corpus(tmp_path)
    stores = make_stores(corpus)
    test = set(folds(corpus)[1].test.tolist())
    seen = []
    whole = module.fit

    def watched(build, data, rows, *others, choose, **options):
        seen.append({*rows.tolist(), *choose.tolist()})
        return whole(build, data, rows, *others, choose=choose, **options)

    monkeypatch.setattr(module, "fit", watched)
    search = {"fold": 2, "trials": 3, "fusion": "concat", "training": QUICK}
    found = tune(corpus, stores, **search, out=tmp_path / "trials.json")
    assert len(seen) == len(found.trials) == 3
    assert not any(rows & test for rows in seen)
    assert found.ua == max(trial["UA"] for trial in found.trials)
    assert found.training.epochs == 2
    assert "--learning-rate" in found.options()
    assert len(json.loads((tmp_path / "trials.json").read_text())["trials"]) == 3
    assert tune(corpus, stores, **search).trials == found.trials
    assert store.open_store(stores["text"]).modality == "text"


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RunError, match=r"Tuning needs Optuna.*gia-mic\[tune\]"):
        tune(corpus, make_stores(corpus))


def test_no_trials_are_refused(tmp_path):
    pytest.importorskip("optuna")
    corpus = make_corpus(tmp_path)
    with pytest.raises(RunError, match="0 trials are none"):
        tune(corpus, make_stores(corpus), trials=0)
