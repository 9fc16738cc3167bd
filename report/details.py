"""Turns runs into what a page shows beyond tables: speakers, learning curves and confused utterances."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extract.errors import RunError
from fuse import measure
from report.group import Group
from report.runs import Run

__all__ = ["Confused", "Speaker", "confused", "learning_curves", "speakers"]


@dataclass(frozen=True)
class Speaker:
    """How well one speaker is understood.

    Attributes:
        name: Who.
        utterances: How many test utterances.
        wa: In 0 … 1, the mean over seeds.
        ua: As `wa`.
    """

    name: str
    utterances: int
    wa: float
    ua: float


@dataclass(frozen=True)
class Confused:
    """An utterance that models get wrong.

    Attributes:
        id: Utterance.
        text: Transcript; empty where there is none.
        speaker: Who; empty where it isn't known.
        true: Class name.
        predicted: Wrong class that is answered most often.
        wrong: The part of all answers, over models and seeds, that is wrong.
        answers: How many answers those are.
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


def speakers(run: Run) -> list[Speaker]:
    """Return the scores of each speaker, lowest UA first; none where a prediction names no speaker."""
    C = len(run.classes)
    tables: dict[str, np.ndarray] = {}
    seeds = {number: sum(fold.number == number for fold in run.folds) for number in run.numbers}
    for fold in run.folds:
        found = fold.predictions
        names = found.about.get("speaker")
        if names is None or None in names:
            return []
        for name in set(names):
            chosen = names == name
            table = measure.confusion(found.true[chosen], found.predicted[chosen], C) / seeds[fold.number]
            tables[name] = tables.get(name, 0) + table
    rows = [
        Speaker(name, round(table.sum()), float(measure.wa_of(table)), float(measure.ua_of(table)))
        for name, table in tables.items()
    ]
    return sorted(rows, key=lambda row: (row.ua, row.name))


def learning_curves(run: Run) -> dict[str, list[float]]:
    """Return the columns of `history.csv` by epoch, the mean over folds and seeds; empty where there is none.

    Raises:
        RunError: A history isn't a table of numbers.
    """
    found: dict[str, list[list[float]]] = {}
    for fold in run.folds:
        for name, values in _history(fold.folder / "history.csv").items():
            found.setdefault(name, []).append(values)
    means = {}
    for name, several in found.items():
        length = min(len(values) for values in several)
        means[name] = np.mean([values[:length] for values in several], axis=0).tolist()
    return {name: values for name, values in means.items() if values}


def confused(group: Group, most: int = 200) -> list[Confused]:
    """Return the utterances that the models of a group get wrong most often, at most `most` of them."""
    answers: dict[str, np.ndarray] = {}
    true: dict[str, int] = {}
    about: dict[str, tuple[str, str]] = {}
    C = len(group.rows[group.best].run.classes)
    for row in group.rows:
        if row.run.classes != group.rows[group.best].run.classes:
            continue
        for fold in row.run.folds:
            found = fold.predictions
            texts, names = (found.about.get(name, [None] * len(found)) for name in ("text", "speaker"))
            for place, utterance in enumerate(found.ids):
                if utterance not in answers:
                    answers[utterance] = np.zeros(C, dtype=np.int64)
                    true[utterance] = int(found.true[place])
                    about[utterance] = (texts[place] or "", names[place] or "")
                answers[utterance][found.predicted[place]] += 1
    probabilities = _probabilities(group.rows[group.best].run)
    rows = []
    for utterance, counts in answers.items():
        label = true[utterance]
        wrong = counts.copy()
        wrong[label] = 0
        if wrong.sum() and utterance in probabilities:
            rows.append(
                (-(wrong.sum() / counts.sum()), probabilities[utterance][label], utterance, wrong, counts.sum())
            )
    rows.sort(key=lambda row: row[:3])
    classes = group.rows[group.best].run.classes
    return [
        Confused(
            id=utterance,
            text=about[utterance][0],
            speaker=about[utterance][1],
            true=classes[true[utterance]],
            predicted=classes[int(wrong.argmax())],
            wrong=-share,
            answers=int(count),
            probabilities=tuple(float(value) for value in probabilities[utterance]),
        )
        for share, _, utterance, wrong, count in rows[:most]
    ]


def _probabilities(run: Run) -> dict[str, np.ndarray]:
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for fold in run.folds:
        for utterance, row in zip(fold.predictions.ids, fold.predictions.probabilities, strict=True):
            sums[utterance] = sums.get(utterance, 0) + row
            counts[utterance] = counts.get(utterance, 0) + 1
    return {utterance: row / counts[utterance] for utterance, row in sums.items()}


def _history(path: Path) -> dict[str, list[float]]:
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ()) if name != "epoch"}
    except (ValueError, TypeError, KeyError, csv.Error, OSError) as error:
        raise RunError(f"{path} isn't a table of numbers ({error}): train the fold again.") from error
