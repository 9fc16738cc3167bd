"""Which hidden layers of a speech encoder tell emotions: a linear probe of each, of their mean and of all.

    python bench/layers.py RAVDESS --encoder FOLDER_OR_ID

RAVDESS is a folder with recordings of that corpus, at any depth. Each utterance is the mean of its frames; logistic
regression on standardised features, each actor tested by a model of the others. Prints UA (mean of the recalls) in
per cent, over the actors, and as its last line `ratio N`: the mean of all layers against the last one.
"""

import argparse
from pathlib import Path

import numpy as np
from section import measured
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from gia_mic.extract.encoders.contract import EncodeJob
from gia_mic.extract.encoders.make import make_encoder


def utterance_means(paths: list[Path], model: str) -> np.ndarray:
    """Return each utterance's mean frame in every hidden layer, (U, L, H), the embeddings first."""
    last = make_encoder("speech", model).layer_count
    encoder = make_encoder("speech", model, layers=tuple(range(last + 1))).to("cpu")
    means = []
    for path in tqdm(paths, unit="utterance"):
        pieces = list(encoder.pieces(EncodeJob(path.stem, "", path=path)))
        frames = np.concatenate([part for piece in pieces for part in encoder.encode([piece])])
        means.append(frames.mean(axis=0).reshape(last + 1, -1))
    return np.stack(means)


def unweighted_accuracy(features: np.ndarray, emotions: np.ndarray, actors: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation over the actors of UA in per cent, for features (U, D)."""
    scores = []
    for train, test in LeaveOneGroupOut().split(features, emotions, actors):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        guessed = probe.fit(features[train], emotions[train]).predict(features[test])
        scores.append(100 * recall_score(emotions[test], guessed, average="macro"))
    return float(np.mean(scores)), float(np.std(scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="recordings of RAVDESS")
    parser.add_argument("--encoder", required=True, help="hub id or folder")
    options = parser.parse_args()
    paths = sorted(options.folder.rglob("03-01-*.wav"))
    emotions, actors = (np.array([path.stem.split("-")[field] for path in paths]) for field in (2, 6))
    means = utterance_means(paths, options.encoder)
    transformer = means[:, 1:]
    rows = {f"layer {number}": means[:, number] for number in range(means.shape[1])}
    rows |= {"mean of all": transformer.mean(axis=1), "all side by side": transformer.reshape(len(means), -1)}
    print(f"{len(paths)} utterances of {len(set(actors))} actors, {len(set(emotions))} emotions")
    scores = {name: unweighted_accuracy(features, emotions, actors) for name, features in rows.items()}
    for name, (score, deviation) in scores.items():
        print(f"{name:18} UA {score:5.1f} ± {deviation:.1f}")
    print(f"ratio {scores['mean of all'][0] / scores[f'layer {means.shape[1] - 1}'][0]:.2f}")


if __name__ == "__main__":
    measured(main)
