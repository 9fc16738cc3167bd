"""The ridge regression that fusions of scores correct."""

import numpy as np
import pytest
import torch
from made_features import make_stores
from made_targets import make_target_corpus
from sklearn.linear_model import Ridge as SklearnRidge

from gia_mic.extract.store import open_store
from gia_mic.fuse.data import read_data
from gia_mic.fuse.ridge import STRENGTHS, _solve, fit_ridge, pooled


@pytest.mark.parametrize(("B", "D"), [(40, 7), (12, 30)])
def test_weights_and_leave_one_out_predictions_are_those_of_a_fit_without_each(B, D):
    random = np.random.default_rng(0)
    features = random.normal(size=(B, D))
    features -= features.mean(0)
    targets = features[:, :2] + random.normal(size=(B, 2))
    weights, left_out = _solve(torch.from_numpy(features), torch.from_numpy(targets))
    for column in range(2):
        best = None
        for strength in STRENGTHS:
            predicted = [
                # the mean of the features stays that of all, as in the closed form
                SklearnRidge(strength)
                .fit(np.delete(features, row, 0), np.delete(targets[:, column], row))
                .predict(features[row : row + 1])[0]
                for row in range(B)
            ]
            error = np.square(targets[:, column] - predicted).mean()
            if best is None or error < best[0]:
                best = (error, strength, predicted)
        expected = SklearnRidge(best[1]).fit(features, targets[:, column])
        np.testing.assert_allclose(weights[:, column].numpy(), expected.coef_, atol=1e-6)
        np.testing.assert_allclose(left_out[:, column].numpy(), best[2], atol=1e-6)


def test_it_reads_mean_frames_and_a_missing_modality_counts_for_nothing(tmp_path):
    corpus = make_target_corpus(tmp_path)
    stores = make_stores(corpus, missing={"speech": corpus.ids[:9], "text": corpus.ids[5:9]})
    opened = {name: open_store(path) for name, path in stores.items()}
    data = read_data(corpus, opened, target=corpus.target("valence,arousal"))
    rows = np.flatnonzero(np.isfinite(data.values).all(1))
    scaled = (data.values[rows] - data.values[rows].mean(0)) / data.values[rows].std(0)
    ridge, left_out = fit_ridge(data, rows, torch.from_numpy(scaled).float())
    batch = data.batch(torch.from_numpy(rows))
    answers = ridge(batch)
    assert np.corrcoef(answers[:, 0], scaled[:, 0])[0, 1] > np.corrcoef(left_out[:, 0], scaled[:, 0])[0, 1] > 0.6
    alone = {name: ridge({name: frames}) for name, frames in batch.items()}
    torch.testing.assert_close(sum(alone.values()), answers)
    lacking = torch.from_numpy(~np.isin(rows, [row for row in range(len(corpus)) if row >= 9]))
    assert alone["speech"][lacking].abs().max() == 0
    mean_frame = pooled(batch["speech"], 6)[~lacking][0]
    expected = (mean_frame - ridge.centres["speech"]) @ ridge.weights["speech"]
    torch.testing.assert_close(alone["speech"][~lacking][0], expected)
