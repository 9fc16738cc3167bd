"""Turns a corpus and its folds into what can be known without any feature: overlaps, and what controls score."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gia_mic.extract.corpus import Corpus
from gia_mic.extract.errors import RunError
from gia_mic.extract.progress import progress
from gia_mic.extract.targets import Target
from gia_mic.fuse import controls, split
from gia_mic.fuse.controls import Control

__all__ = ["Audit", "Overlap", "audit", "normalised"]

COLUMNS = ("speaker", "session", "dialog", "scenario", "sentence")
"""What training and test may share; `sentence` is the transcript, normalised."""

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
class Audit:
    """The folds of a corpus under one protocol, with the utterances that have a target.

    Attributes:
        target: What controls predict.
        protocol: Column of the manifest that makes the folds, one of `split.PROTOCOLS`.
        folds: The folds, by number; empty where the corpus's columns don't allow the protocol.
        overlaps: For each fold, by column; columns without any value are left out.
        controls: By name; scenario and words only where the corpus names scenarios or has transcripts.
        problem: Why this protocol can't be used, as `split.folds` says; empty where it can.
    """

    target: Target
    protocol: str
    folds: list[split.SplitFold] = field(repr=False)
    overlaps: list[dict[str, Overlap]] = field(repr=False)
    controls: dict[str, Control] = field(repr=False)
    problem: str = ""


def audit(
    corpus: Corpus, protocols: Sequence[str] = tuple(split.PROTOCOLS), target: Target | None = None
) -> list[Audit]:
    """Look at a corpus under each protocol; what controls predict is by default the target that a model would.

    A protocol whose folds share what they must keep apart is still looked at, and its problem told; one that the
    corpus's columns don't allow has no folds.

    Raises:
        RunError: A protocol is unknown.
    """
    target = target or corpus.target()
    columns = {name: np.array(corpus.column(name), dtype=object) for name in COLUMNS if name != "sentence"} | {
        "sentence": np.array([normalised(text) for text in corpus.column("text")], dtype=object)
    }
    columns = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    audits = []
    for protocol in protocols:
        if protocol not in split.PROTOCOLS:
            raise RunError(f"There is no protocol {protocol!r}: choose one of {', '.join(split.PROTOCOLS)}.")
        folds, problem = _folds(corpus, protocol, target)
        overlaps = [
            {name: _overlap(values[fold.train], values[fold.test]) for name, values in columns.items()}
            for fold in folds
        ]
        audits.append(Audit(target, protocol, folds, overlaps, _controls(corpus, target, columns, folds), problem))
    return audits


def normalised(text: str | None) -> str | None:
    """Return a sentence in lower case without punctuation, so that only its words count; None without any.

    >>> normalised("Well -- I DON'T know!")
    "well i don't know"
    """
    words = re.findall(r"[\w']+", unicodedata.normalize("NFKC", text or "").replace("’", "'").casefold())
    return " ".join(words) or None


def _folds(corpus: Corpus, protocol: str, target: Target) -> tuple[list[split.SplitFold], str]:
    """Return the folds, as far as there are any, and what is wrong with them."""
    problems: list[str] = []
    for allow_shared in (False, True):
        try:
            folds = split.folds(corpus, protocol, allow_shared=allow_shared)
            return [split.with_target(corpus, target, fold) for fold in folds], "".join(problems[:1])
        except RunError as error:
            problems.append(str(error))
    return [], problems[0]


def _overlap(train: Values, test: Values) -> Overlap:
    present_values = [value for value in test if value is not None]
    shared = set(present_values) & set(train)
    return Overlap(
        len(set(present_values)), len(shared), len(present_values), sum(value in shared for value in present_values)
    )


def _controls(
    corpus: Corpus, target: Target, columns: dict[str, Values], folds: list[split.SplitFold]
) -> dict[str, Control]:
    if not folds:
        return {}
    values = corpus.values(target)
    answers: dict[str, Callable[[split.SplitFold], NDArray[np.float64]]] = {
        controls.constant_name(target): lambda fold: controls.of_training_part(
            target, values[fold.train], len(fold.test)
        )
    }
    if "scenario" in columns:
        scenarios = columns["scenario"]
        answers["scenario"] = lambda fold: controls.of_scenario(
            target, values[fold.train], scenarios[fold.train], scenarios[fold.test]
        )
    if "sentence" in columns:
        texts = np.array([text or "" for text in columns["sentence"]], dtype=object)
        answers["words"] = lambda fold: controls.of_words(
            target, values[fold.train], texts[fold.train], texts[fold.test]
        )
    true = [values[fold.test] for fold in folds]
    with progress(len(answers) * len(folds), "controls", "fold", leave=False) as bar:

        def answers_of(answer: Callable[[split.SplitFold], NDArray[np.float64]]) -> Iterator[NDArray[np.float64]]:
            for fold in folds:
                yield answer(fold)
                bar.update()

        return {
            name: controls.control_of(name, target, true, list(answers_of(answer))) for name, answer in answers.items()
        }
