"""Turns a training part into answers without any feature, and into what such controls score.

    majority, mean    the mean of the training part; its most frequent class, where classes are answered
    scenario          the mean of the training utterances of the same scenario
    words             a linear model of the transcript's words

A control that sees no speech and no face shows how much of a score comes from something else, such as the script that
was acted. Whatever is fitted is fitted on the training part. Targets and answers are those of `Corpus.values` and of
`Readout.answers`, (B, K); so a control is scored by the same measure as a model.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gia_mic.extract.targets import Target
from gia_mic.fuse.measure import measure_of
from gia_mic.fuse.readout import fit_readout

__all__ = ["Control", "constant_name", "control_of", "of_scenario", "of_training_part", "of_words"]

LARGE = 500
"""Training utterances from which words that occur once are left out, which makes the control several times faster."""

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Letters of Chinese, Japanese, Thai, Lao, Burmese and Khmer."""

Numbers = NDArray[np.float64]
Values = NDArray[np.object_]


@dataclass(frozen=True)
class Control:
    """What a control scores.

    Attributes:
        name: majority or mean, scenario or words.
        folds: Scores in each fold, as `Measure.scores` and `Measure.whole` give them.
        pooled: Scores over the answers of all folds, in the same form.
    """

    name: str
    folds: list[dict[str, Any]] = field(repr=False)
    pooled: dict[str, Any] = field(repr=False)


def constant_name(target: Target) -> str:
    """Return how the control is called that always answers the same."""
    return "majority" if target.kind == "label" else "mean"


def control_of(name: str, target: Target, true: Sequence[Numbers], answers: Sequence[Numbers]) -> Control:
    """Return a control's scores from what is true and what it answers in each fold, (B, K) each."""
    measure = measure_of(target)

    def scores(true: Numbers, answers: Numbers) -> dict[str, Any]:
        return measure.scores(measure.tally(true, answers)[0]) | measure.whole(true, answers)

    return Control(
        name=name,
        folds=[scores(*fold) for fold in zip(true, answers, strict=True)],
        pooled=scores(np.concatenate(true), np.concatenate(answers)),
    )


def of_training_part(target: Target, train: Numbers, size: int) -> Numbers:
    """Return the mean of the training part, for each of `size` test utterances.

    Args:
        target: What is predicted.
        train: (B, K) targets of the training part.
        size: Number of test utterances.
    """
    mean = np.broadcast_to(train.mean(axis=0), (len(train), train.shape[1]))
    return _with_thresholds(target, train, mean, np.repeat(mean[:1], size, axis=0))


def of_scenario(target: Target, train: Numbers, train_values: Values, test_values: Values) -> Numbers:
    """Return the mean of the training utterances that have the same value, such as the scenario.

    The mean of the whole training part counts as one utterance more. So it is the answer where no training utterance
    has the value, and it decides between classes that are equally frequent.

    Args:
        target: What is predicted.
        train: (B, K) targets of the training part.
        train_values: (B,) str or None.
        test_values: (B of the test part,) str or None.
    """
    overall = train.mean(axis=0)
    means = {}
    for value in set(train_values) - {None}:
        rows = train[train_values == value]
        means[value] = (rows.sum(axis=0) + overall) / (len(rows) + 1)
    of_train, of_test = (
        np.array([means.get(value, overall) for value in values]) for values in (train_values, test_values)
    )
    return _with_thresholds(target, train, of_train, of_test)


def of_words(target: Target, train: Numbers, train_texts: Values, test_texts: Values) -> Numbers:
    """Return what a linear model of words and pairs of words (tf-idf) says, fitted on the training part.

    For classes it is a logistic regression: of the one class, of each of several by itself, or of votes, where each
    utterance counts for a class by its share. For scores it is a ridge regression, cut to their range.

    Args:
        target: What is predicted.
        train: (B, K) targets of the training part.
        train_texts: (B,) words with spaces between, empty where there is no transcript.
        test_texts: (B of the test part,) as well.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    train_words, test_words = ([_letters_apart(text) for text in texts] for texts in (train_texts, test_texts))
    if not any(train_words) or (target.kind != "scores" and not np.ptp(train, axis=0).any()):
        return of_training_part(target, train, len(test_texts))
    counts = Counter(word for text in train_words for word in set(text.split()))
    several = len(train_words) >= LARGE and max(counts.values()) > 1
    vectorizer = TfidfVectorizer(
        token_pattern=r"[^ ]+",
        lowercase=False,
        ngram_range=(1, 2),
        min_df=2 if several else 1,
        sublinear_tf=True,
    )
    train_features, test_features = vectorizer.fit_transform(train_words), vectorizer.transform(test_words)
    if target.kind == "scores":
        low, high = np.array(target.ranges).T
        return np.clip(Ridge().fit(train_features, train).predict(test_features).reshape(-1, train.shape[1]), low, high)
    if target.kind == "label":
        return np.eye(train.shape[1])[
            _logistic(train_features, train.argmax(axis=1), balanced=True).predict(test_features)
        ]
    if target.kind == "labels":
        return np.column_stack([_applies(train_features, column, test_features) for column in train.T > 0.5])
    rows, classes = np.nonzero(train)
    model = _logistic(train_features[rows], classes, weights=train[rows, classes])
    answers = np.zeros((len(test_texts), train.shape[1]))
    answers[:, model.classes_] = model.predict_proba(test_features)
    return answers


def _logistic(words: Any, classes: NDArray[Any], weights: Numbers | None = None, balanced: bool = False) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(class_weight="balanced" if balanced else None, C=4.0, max_iter=1000)
    return model.fit(words, classes, weights)


def _applies(train_features: Any, applies: NDArray[np.bool_], test_features: Any) -> Numbers:
    """Return how probable it is that a label applies, where both sides count the same; (B of the test part,)."""
    if applies.all() or not applies.any():
        return np.full(test_features.shape[0], float(applies[0]))
    return np.asarray(_logistic(train_features, applies, balanced=True).predict_proba(test_features)[:, 1], dtype=float)


def _with_thresholds(target: Target, train: Numbers, of_train: Numbers, of_test: Numbers) -> Numbers:
    """Return the answers to the test part; those of labels so that the best threshold of the training part is at 0.5.

    Args:
        target: What is predicted.
        train: (B, K) targets of the training part.
        of_train: (B, K) answers to the training part.
        of_test: (B of the test part, K) answers to the test part.
    """
    if target.kind != "labels":
        return of_test
    thresholds = fit_readout(target, train).with_thresholds(of_train.astype(np.float32), train).thresholds
    return np.asarray(1 / (1 + np.exp(np.array(thresholds) - of_test)))


def _letters_apart(text: str) -> str:
    """Put spaces around the letters of scripts that are written without any, so that each counts as a word.

    >>> _letters_apart("我很高兴 ok")
    '我 很 高 兴 ok'
    """
    return " ".join(_UNSPACED.sub(r" \g<0> ", text).split())
