"""Turns a corpus and its folds into what can be known without any feature: overlaps, and what simple controls score.

A control that sees no speech and no face shows how much of a score comes from something else, such as the script that
was acted. Whatever is fitted is fitted on the training part.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gia_mic.extract.corpus import Corpus
from gia_mic.extract.errors import RunError
from gia_mic.extract.progress import progress
from gia_mic.fuse import measure, split

__all__ = ["Audit", "Control", "Overlap", "audit", "by_value", "majority", "normalised", "scores_of_control"]

COLUMNS = ("speaker", "session", "dialog", "scenario", "sentence")
"""What training and test may share; `sentence` is the transcript, normalised."""

LARGE = 500
"""Training utterances from which words that occur once are left out, which makes the control several times faster."""

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Letters of Chinese, Japanese, Thai, Lao, Burmese and Khmer."""

Labels = NDArray[np.int64]
Values = NDArray[np.object_]


@dataclass(frozen=True)
class Overlap:
    """What the test part of a fold has in common with its training part, in one column.

    Attributes:
        values: Number of different values in the test part.
        shared: Number of these values that occur in the training part too.
        utterances: Number of test utterances that have a value.
        covered: Number of these utterances whose value is shared.
    """

    values: int
    shared: int
    utterances: int
    covered: int


@dataclass(frozen=True)
class Control:
    """What a control scores.

    Attributes:
        name: majority, scenario or words.
        folds: Scores in each fold, as `measure.scores` gives them.
        pooled: Scores over the predictions of all folds, in the same form.
    """

    name: str
    folds: list[dict[str, Any]] = field(repr=False)
    pooled: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Audit:
    """The folds of a corpus under one protocol.

    Attributes:
        protocol: Column of the manifest that makes the folds, one of `split.PROTOCOLS`.
        folds: The folds, by number; empty where the corpus's columns don't allow the protocol.
        overlaps: For each fold, by column; columns without any value are left out.
        controls: By name; scenario and words only where the corpus names scenarios or has transcripts.
        problem: Why this protocol can't be used, as `split.folds` says; empty where it can.
    """

    protocol: str
    folds: list[split.SplitFold] = field(repr=False)
    overlaps: list[dict[str, Overlap]] = field(repr=False)
    controls: dict[str, Control] = field(repr=False)
    problem: str = ""


def audit(corpus: Corpus, protocols: Sequence[str] = tuple(split.PROTOCOLS)) -> list[Audit]:
    """Look at a corpus under each protocol.

    A protocol whose folds share what they must keep apart is still looked at, and its problem told; one that the
    corpus's columns don't allow has no folds.

    Raises:
        RunError: A protocol is unknown.
    """
    labels = np.array(corpus.column("label"), dtype=np.int64)
    columns = {name: np.array(corpus.column(name), dtype=object) for name in COLUMNS if name != "sentence"} | {
        "sentence": np.array([normalised(text) for text in corpus.column("text")], dtype=object)
    }
    columns = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    audits = []
    for protocol in protocols:
        if protocol not in split.PROTOCOLS:
            raise RunError(f"There is no protocol {protocol!r}: choose one of {', '.join(split.PROTOCOLS)}.")
        folds, problem = _folds(corpus, protocol)
        overlaps = [
            {name: _overlap(values[fold.train], values[fold.test]) for name, values in columns.items()}
            for fold in folds
        ]
        audits.append(Audit(protocol, folds, overlaps, _controls(corpus, labels, columns, folds), problem))
    return audits


def majority(train: Labels, size: int, classes: int) -> Labels:
    """Return the most frequent class of the training part, for each of `size` test utterances."""
    return np.full(size, np.bincount(train, minlength=classes).argmax(), dtype=np.int64)


def by_value(train: Labels, train_values: Values, test_values: Values, classes: int) -> Labels:
    """Return the most frequent class of the training utterances that have the same value, such as the scenario.

    Where no training utterance has it, the class is the most frequent of all; ties go to the class that is more
    frequent in the whole training part.

    Args:
        train: (B,) class indices of the training part.
        train_values: (B,) str or None.
        test_values: (B of the test part,) str or None.
        classes: Number of classes, C.
    """
    overall = np.bincount(train, minlength=classes)
    counts: dict[str | None, NDArray[np.int64]] = {None: np.zeros(classes, dtype=np.int64)}
    for value, label in zip(train_values, train, strict=True):
        if value is not None:
            counts.setdefault(value, np.zeros(classes, dtype=np.int64))[label] += 1
    tie_break = overall / (overall.sum() + 1)
    return np.array([(counts.get(value, counts[None]) + tie_break).argmax() for value in test_values], dtype=np.int64)


def scores_of_control(
    name: str, true: Sequence[Labels], predicted: Sequence[Labels], classes: Sequence[str]
) -> Control:
    """Return a control's scores from its answers in each fold."""
    return Control(
        name=name,
        folds=[
            measure.scores(fold_true, fold_predicted, classes)
            for fold_true, fold_predicted in zip(true, predicted, strict=True)
        ],
        pooled=measure.scores(np.concatenate(true), np.concatenate(predicted), classes),
    )


def normalised(text: str | None) -> str | None:
    """Return a sentence in lower case without punctuation, so that only its words count; None without any.

    >>> normalised("Well -- I DON'T know!")
    "well i don't know"
    """
    words = re.findall(r"[\w']+", unicodedata.normalize("NFKC", text or "").replace("’", "'").casefold())
    return " ".join(words) or None


def _folds(corpus: Corpus, protocol: str) -> tuple[list[split.SplitFold], str]:
    try:
        return split.folds(corpus, protocol), ""
    except RunError as error:
        problem = str(error)
    try:
        return split.folds(corpus, protocol, allow_shared=True), problem
    except RunError:
        return [], problem


def _overlap(train: Values, test: Values) -> Overlap:
    present_values = [value for value in test if value is not None]
    shared = set(present_values) & set(train)
    return Overlap(
        len(set(present_values)), len(shared), len(present_values), sum(value in shared for value in present_values)
    )


def _controls(
    corpus: Corpus, labels: Labels, columns: dict[str, Values], folds: list[split.SplitFold]
) -> dict[str, Control]:
    if not folds:
        return {}
    C = len(corpus.classes)
    answers: dict[str, Callable[[split.SplitFold], Labels]] = {
        "majority": lambda fold: majority(labels[fold.train], len(fold.test), C)
    }
    if "scenario" in columns:
        scenarios = columns["scenario"]
        answers["scenario"] = lambda fold: by_value(labels[fold.train], scenarios[fold.train], scenarios[fold.test], C)
    if "sentence" in columns:
        texts = np.array([text or "" for text in columns["sentence"]], dtype=object)
        answers["words"] = lambda fold: _words(labels[fold.train], texts[fold.train], texts[fold.test])
    true = [labels[fold.test] for fold in folds]
    with progress(len(answers) * len(folds), "controls", "fold", leave=False) as shown:

        def predictions(answer: Callable[[split.SplitFold], Labels]) -> Iterator[Labels]:
            for fold in folds:
                yield answer(fold)
                shown.update()

        return {
            name: scores_of_control(name, true, list(predictions(answer)), corpus.classes)
            for name, answer in answers.items()
        }


def _words(train: Labels, train_texts: Values, test_texts: Values) -> Labels:
    """Return what a logistic regression on words and pairs of words (tf-idf) says, fitted on the training part."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    train_words, test_words = ([_letters_apart(text) for text in texts] for texts in (train_texts, test_texts))
    if len(set(train)) < 2 or not any(train_words):
        return majority(train, len(test_texts), int(train.max()) + 1)
    counts = Counter(word for text in train_words for word in set(text.split()))
    several = len(train_words) >= LARGE and max(counts.values()) > 1
    vectorizer = TfidfVectorizer(
        token_pattern=r"[^ ]+",
        lowercase=False,
        ngram_range=(1, 2),
        min_df=2 if several else 1,
        sublinear_tf=True,
    )
    model = LogisticRegression(class_weight="balanced", C=4.0, max_iter=1000)
    model.fit(vectorizer.fit_transform(train_words), train)
    return np.asarray(model.predict(vectorizer.transform(test_words)), dtype=np.int64)


def _letters_apart(text: str) -> str:
    """Put spaces around the letters of scripts that are written without any, so that each counts as a word.

    >>> _letters_apart("我很高兴 ok")
    '我 很 高 兴 ok'
    """
    return " ".join(_UNSPACED.sub(r" \g<0> ", text).split())
