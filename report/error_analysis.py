"""Turns runs into what a page shows beyond tables: speakers, learning curves, and utterances that models get wrong."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gia_mic.fuse.runs.runs import Run
from gia_mic.report.compare import Evidence, is_right
from gia_mic.report.group import Group

__all__ = [
    "ConfusedUtterance",
    "MeanAnswers",
    "SpeakerScores",
    "confused_utterances",
    "learning_curves",
    "mean_answers",
    "speaker_scores",
]


@dataclass(frozen=True)
class SpeakerScores:
    """Scores of one speaker.

    Attributes:
        name: Name of the speaker.
        utterances: Number of test utterances.
        scores: All metrics of the run's measure, the mean over seeds; None where there is nothing to judge.
    """

    name: str
    utterances: int
    scores: Mapping[str, float | None]


@dataclass(frozen=True)
class ConfusedUtterance:
    """An utterance that models get wrong.

    Attributes:
        id: Id of the utterance.
        text: Transcript; empty where there is none.
        speaker: Name of the speaker; empty where it isn't known.
        true: Name of the class, or names of the labels; of votes the class with most. Empty for scores.
        predicted: Wrong class that is answered most often, or the labels that the best model answers. Empty for scores.
        wrong: How wrong the answers are on average, over models and seeds: the part of them that is wrong; of labels
            the part of all labels; of scores the distance from the true one, as part of its range.
        answers: Number of answers, over models and seeds.
        values: (K,) what is true, as `Corpus.values` gives it.
        mean: (K,) answer of the best model, the mean over its seeds.
    """

    id: str
    text: str
    speaker: str
    true: str
    predicted: str
    wrong: float
    answers: int
    values: tuple[float, ...]
    mean: tuple[float, ...]


@dataclass(frozen=True)
class MeanAnswers:
    """What a run says of each utterance that it was tested on, the mean over its seeds.

    Attributes:
        utterance: (U,) utterance numbers, rising.
        true: (U, K) what is true.
        mean: (U, K) its answers.
    """

    utterance: NDArray[np.int64]
    true: NDArray[np.float64]
    mean: NDArray[np.float64]


def mean_answers(evidence: Evidence) -> MeanAnswers:
    """Return the mean answers of a run."""
    utterance, first, index = np.unique(evidence.utterance, return_index=True, return_inverse=True)
    counts = np.bincount(index)
    mean = np.stack([np.bincount(index, column) / counts for column in evidence.answers.T], axis=-1)
    return MeanAnswers(utterance, evidence.true[first], mean)


def speaker_scores(run: Run) -> list[SpeakerScores]:
    """Return the scores of each speaker, those worst by the primary metric first; none where one isn't named."""
    measure = run.measure
    tallies: dict[str, NDArray[np.float64]] = {}
    utterances: dict[str, float] = {}
    seeds = {number: sum(fold.number == number for fold in run.folds) for number in run.numbers}
    for fold in run.folds:
        predictions, weight = fold.predictions, 1 / seeds[fold.number]
        speakers = predictions.about("speaker")
        if speakers is None or None in speakers:
            return []
        names, numbers, counts = np.unique(speakers, return_inverse=True, return_counts=True)
        parts = measure.tally(predictions.true, predictions.answers, numbers)
        for name, tally, count in zip(names, parts, counts, strict=True):
            tallies[name] = tallies.get(name, 0) + weight * tally
            utterances[name] = utterances.get(name, 0) + weight * count
    rows = [SpeakerScores(name, round(utterances[name]), measure.scores(tally)) for name, tally in tallies.items()]
    sign = -1 if measure.primary in measure.lower_is_better else 1

    def merit(row: SpeakerScores) -> float:
        value = row.scores[measure.primary]
        return np.inf if value is None else sign * value

    return sorted(rows, key=lambda row: (merit(row), row.name))


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
    """Return the utterances that the models of a group get most wrong, at most `most` of them.

    They are among those that the best model was tested on, and come with its answers.
    """
    best, names = group.rows[group.best].run, group.evidence[group.best].names
    K = len(best.classes)
    wrong, counts, answered = np.zeros(len(names)), np.zeros(len(names), dtype=np.int64), np.zeros((len(names), K))
    for evidence in group.evidence:
        if evidence.measure == best.measure:
            wrong += np.bincount(evidence.utterance, _wrong(evidence), len(names))
            counts += np.bincount(evidence.utterance, minlength=len(names))
            if best.target.one_of_many:
                cells = evidence.utterance * K + evidence.answers.argmax(axis=1)
                answered += np.bincount(cells, minlength=answered.size).reshape(-1, K)
    answers = mean_answers(group.evidence[group.best])
    share = wrong[answers.utterance] / counts[answers.utterance]
    order = np.lexsort((_probability_of_right(best, answers), -share))
    rows = [row for row in order[:most] if share[row] > 0]
    about = _about(best, names, {int(answers.utterance[row]) for row in rows})
    ids = {number: name for name, number in names.items()}
    confused = []
    for row in rows:
        number, true, mean = int(answers.utterance[row]), answers.true[row], answers.mean[row]
        text, speaker = about[number]
        confused.append(
            ConfusedUtterance(
                id=ids[number],
                text=text,
                speaker=speaker,
                true=_true_names(best, true),
                predicted=_answer_names(best, true, mean, answered[number]),
                wrong=float(share[row]),
                answers=int(counts[number]),
                values=tuple(map(float, true)),
                mean=tuple(map(float, mean)),
            )
        )
    return confused


def _probability_of_right(run: Run, answers: MeanAnswers) -> NDArray[np.float64]:
    """Return how probable a run finds what is right, (U,), which orders utterances that are equally often wrong."""
    if not run.target.one_of_many:
        return np.zeros(len(answers.true))
    most = answers.true == answers.true.max(axis=1, keepdims=True)
    return np.asarray(np.where(most, answers.mean, 0).max(axis=1))


def _true_names(run: Run, true: NDArray[np.float64]) -> str:
    if run.target.one_of_many:
        return " or ".join(name for name, value in zip(run.classes, true, strict=True) if value == true.max())
    return "" if run.target.kind == "scores" else _labels(run, true)


def _answer_names(run: Run, true: NDArray[np.float64], mean: NDArray[np.float64], answered: NDArray[np.float64]) -> str:
    """Return the wrong class that is answered most often, or the labels that a run answers."""
    if run.target.one_of_many:
        return run.classes[int(np.where(true == true.max(), -1, answered).argmax())]
    return "" if run.target.kind == "scores" else _labels(run, mean)


def _labels(run: Run, values: NDArray[np.float64]) -> str:
    return ", ".join(name for name, value in zip(run.classes, values, strict=True) if value > 0.5) or "none"


def _wrong(evidence: Evidence) -> NDArray[np.float64]:
    """Return how wrong each answer is, (N,), in 0 … 1."""
    target, true, answers = evidence.measure.target, evidence.true, evidence.answers
    if target.kind == "scores":
        low, high = np.array(target.ranges).T
        return np.asarray((np.abs(answers - true) / (high - low)).mean(axis=1), dtype=np.float64)
    if target.kind == "labels":
        return np.asarray(((answers > 0.5) != (true > 0.5)).mean(axis=1))
    return np.where(is_right(true, answers), 0.0, 1.0)


def _about(run: Run, names: Mapping[str, int], rows: set[int]) -> dict[int, tuple[str, str]]:
    """Return text and speaker of utterance numbers, empty where they aren't known."""
    about = {}
    for fold in run.folds:
        texts, speakers = (fold.predictions.about(name) for name in ("text", "speaker"))
        for row, name in enumerate(fold.predictions.ids):
            if names[name] in rows:
                columns = ("" if column is None else column[row] or "" for column in (texts, speakers))
                text, speaker = columns
                about[names[name]] = (text, speaker)
    return about
