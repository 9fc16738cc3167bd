"""Turns runs into what a page shows beyond tables: speakers, learning curves and confused utterances."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gia_mic.fuse import measure
from gia_mic.fuse.runs.runs import Run
from gia_mic.report.group import Group

__all__ = ["ConfusedUtterance", "SpeakerScores", "confused_utterances", "learning_curves", "speaker_scores"]


@dataclass(frozen=True)
class SpeakerScores:
    """Scores of one speaker.

    Attributes:
        name: Name of the speaker.
        utterances: Number of test utterances.
        wa: In 0 … 1, the mean over seeds.
        ua: In 0 … 1, the mean over seeds.
    """

    name: str
    utterances: int
    wa: float
    ua: float


@dataclass(frozen=True)
class ConfusedUtterance:
    """An utterance that models get wrong.

    Attributes:
        id: Id of the utterance.
        text: Transcript; empty where there is none.
        speaker: Name of the speaker; empty where it isn't known.
        true: Class name.
        predicted: Wrong class that is answered most often.
        wrong: The part of all answers, over models and seeds, that is wrong.
        answers: Number of answers, over models and seeds.
        probabilities: (C,) of the best model, the mean over its seeds.
    """

    id: str
    text: str
    speaker: str
    true: str
    predicted: str
    wrong: float
    answers: int
    probabilities: tuple[float, ...]


def speaker_scores(run: Run) -> list[SpeakerScores]:
    """Return the scores of each speaker, lowest UA first; none where a prediction names no speaker."""
    C = len(run.classes)
    tables: dict[str, np.ndarray] = {}
    seeds = {number: sum(fold.number == number for fold in run.folds) for number in run.numbers}
    for fold in run.folds:
        predictions = fold.predictions
        names = predictions.about("speaker")
        if names is None or None in names:
            return []
        for name in set(names):
            chosen = names == name
            table = measure.confusion(predictions.true[chosen], predictions.predicted[chosen], C) / seeds[fold.number]
            tables[name] = tables.get(name, 0) + table
    rows = [
        SpeakerScores(name, round(table.sum()), float(measure.wa_of(table)), float(measure.ua_of(table)))
        for name, table in tables.items()
    ]
    return sorted(rows, key=lambda row: (row.ua, row.name))


def learning_curves(run: Run) -> dict[str, list[float]]:
    """Return the columns of `history.csv` by epoch, the mean over folds and seeds; empty where there is none.

    Raises:
        RunError: A history isn't a table of numbers.
    """
    histories: dict[str, list[list[float]]] = {}
    for fold in run.folds:
        for name, values in fold.history.items():
            histories.setdefault(name, []).append(values)
    means = {}
    for name, several in histories.items():
        length = min(len(values) for values in several)
        means[name] = np.mean([values[:length] for values in several], axis=0).tolist()
    return {name: values for name, values in means.items() if values}


def confused_utterances(group: Group, most: int = 200) -> list[ConfusedUtterance]:
    """Return the utterances that the models of a group get wrong most often, at most `most` of them.

    They are among those that the best model was tested on, and come with its probabilities.
    """
    best = group.rows[group.best].run
    C = len(best.classes)
    names = group.evidence[group.best].names
    counts = np.zeros((len(names), C), dtype=np.int64)
    true = np.full(len(names), -1)
    for row, evidence in zip(group.rows, group.evidence, strict=True):
        if row.run.classes == best.classes:
            counts += np.bincount(evidence.utterance * C + evidence.predicted, minlength=counts.size).reshape(-1, C)
            true[evidence.utterance] = evidence.true
    probabilities = _probabilities(best, names)
    tested = np.flatnonzero((true >= 0) & np.isfinite(probabilities[:, 0]))
    wrong = counts.copy()
    wrong[tested, true[tested]] = 0
    share = wrong[tested].sum(axis=1) / counts[tested].sum(axis=1)
    order = np.lexsort((probabilities[tested, true[tested]], -share))
    chosen = [int(number) for number in tested[order][:most] if wrong[number].any()]
    about = _about(best, names, set(chosen))
    ids = {number: name for name, number in names.items()}
    return [
        ConfusedUtterance(
            id=ids[number],
            text=about[number][0],
            speaker=about[number][1],
            true=best.classes[true[number]],
            predicted=best.classes[int(wrong[number].argmax())],
            wrong=float(wrong[number].sum() / counts[number].sum()),
            answers=int(counts[number].sum()),
            probabilities=tuple(float(value) for value in probabilities[number]),
        )
        for number in chosen
    ]


def _probabilities(run: Run, names: Mapping[str, int]) -> NDArray[np.float64]:
    """Return the mean probabilities over seeds of each utterance number, NaN where the run has none."""
    sums = np.zeros((len(names), len(run.classes)))
    counts = np.zeros(len(names))
    for fold in run.folds:
        numbers = [names[name] for name in fold.predictions.ids]
        sums[numbers] += fold.predictions.probabilities
        counts[numbers] += 1
    return sums / np.where(counts > 0, counts, np.nan)[:, None]


def _about(run: Run, names: Mapping[str, int], wanted: set[int]) -> dict[int, tuple[str, str]]:
    """Return text and speaker of utterance numbers, empty where they aren't known."""
    about = {}
    for fold in run.folds:
        texts, speakers = (fold.predictions.about(name) for name in ("text", "speaker"))
        for row, name in enumerate(fold.predictions.ids):
            if names[name] in wanted:
                columns = ("" if column is None else column[row] or "" for column in (texts, speakers))
                text, speaker = columns
                about[names[name]] = (text, speaker)
    return about
