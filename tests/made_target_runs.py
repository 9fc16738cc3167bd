"""Makes a small demo corpus that has every target, with a trained run on each."""

from dataclasses import replace
from pathlib import Path

from made_demo import make_demo, train_demo

from gia_mic.extract.corpus import Corpus, write_corpus

RANGES = {"valence": (1.0, 5.0), "arousal": (-3.0, 3.0)}
TARGETS = ("label", "labels", "votes", "valence,arousal", "valence")


def with_targets(corpus: Corpus) -> Corpus:
    """Write the corpus again with labels, votes and scores, which follow from its label."""
    utterances = []
    for number, utterance in enumerate(corpus):
        index = corpus.classes.index(utterance.label)
        scores = {"valence": 1 + index + number % 3 / 3, "arousal": (-1) ** index * (1 + number % 5 / 4)}
        labels = (utterance.label, "loud") if index % 2 else (utterance.label,)
        votes = {utterance.label: 2, corpus.classes[(index + number % 2) % 4]: 1}
        utterances.append(replace(utterance, labels=labels, votes=votes, scores=scores))
    names = {"classes": corpus.classes, "label_names": (*corpus.classes, "loud"), "score_ranges": RANGES}
    return write_corpus(corpus.folder.parent, corpus.name, utterances, root=corpus.root, about=corpus.about, **names)


def train_targets(folder: Path) -> tuple[Corpus, dict[str, Path]]:
    """Return the corpus and, by target, a run of two folds."""
    corpus, stores = make_demo(folder)
    corpus = with_targets(corpus)
    runs = {}
    for target in TARGETS:
        for fold in (1, 2):
            [run_dir] = train_demo(corpus, stores, folder / "runs", fold=fold, target=target)
        runs[target] = run_dir.parents[1]
    return corpus, runs
