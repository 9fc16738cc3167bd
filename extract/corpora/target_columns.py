"""Turns the columns of a table that hold targets into labels, scores and votes by name.

    labels                  happy|surprised, or happy;surprised; a lone - where none of them applies
    score_valence, …        a number in each, with a point or a comma
    votes_angry, …          how many annotators chose it

JSONL and Parquet may have a list in `labels`, and mappings in `scores` and `votes` instead of a column each.
"""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gia_mic.extract.corpora.cells import as_text, score_of
from gia_mic.extract.corpora.table import Problems
from gia_mic.extract.corpus import Utterance
from gia_mic.extract.errors import CorpusError, one_line
from gia_mic.extract.targets import problems_of

__all__ = ["PREFIXES", "TargetReader", "labels_of", "matching_numbers", "number_of", "ranges_of", "target_names"]

logger = logging.getLogger(__name__)

PREFIXES = {"scores": "score_", "votes": "votes_"}
"""How the columns begin that hold one number each, by what they are of."""

_NONE_APPLIES = "-"


class TargetReader:
    """Reads the targets of rows; whatever is wrong goes to the problems, so that the rest is still looked at."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self._unread: set[str] = set()

    def read(self, utterance_id: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the labels, scores and votes of a row, each None where it has none."""
        return {
            "labels": self._labels(utterance_id, row.get("labels")),
            **{kind: self._numbers(utterance_id, row, kind) for kind in PREFIXES},
        }

    def check(
        self,
        utterances: Sequence[Utterance],
        labels: Sequence[str] | None,
        ranges: Mapping[str, Sequence[float]],
        *,
        several_kinds: bool,
    ) -> None:
        """Find the targets that are missing, or that the classes and ranges don't allow.

        Args:
            utterances: All that were read.
            labels: The only classes allowed, of `label` and `votes`, or of `labels` where there are neither; None
                allows any.
            ranges: Lowest and highest value of scores, by name; the others may have any.
            several_kinds: Whether there are columns of other targets than `label`.
        """
        used = {name for utterance in utterances for name in (utterance.label, *(utterance.votes or ()))}
        classes = {name for name in used if name is not None}
        label_names = {name for utterance in utterances for name in utterance.labels or ()}
        if labels is not None:
            classes, label_names = (classes, set(labels)) if _only_labels(utterances) else (set(labels), label_names)
        if not label_names and any(utterance.labels is not None for utterance in utterances):
            self.problems.add("no name in any of the labels (--labels names those that may apply)")
        values = _scores(utterances)
        limits = {name: ranges.get(name, (min(several), max(several))) for name, several in values.items()}
        if single := [name for name in values if name not in ranges and len(set(values[name])) == 1]:
            self.problems.add("scores of one value alone, whose range must be given (--range NAME=LOW,HIGH)", *single)
        kinds = "a label, labels, scores or votes" if several_kinds else "a label"
        for utterance in utterances:
            if utterance.label is not None and utterance.label not in classes:
                problem = f"labels that are none of {one_line(labels or ())}"
                self.problems.add(problem, f"{utterance.id} ({utterance.label})")
            values_by_kind = {
                "labels": utterance.labels and list(utterance.labels),
                "scores": utterance.scores,
                "votes": utterance.votes,
            }
            if any(value is not None for value in values_by_kind.values()):
                for problem, detail in problems_of(values_by_kind, classes, label_names, limits):
                    self.problems.add(problem, f"{utterance.id}{detail}")
            elif utterance.label is None and utterance.id not in self._unread:
                self.problems.add(f"utterances without {kinds}", utterance.id)

    def _labels(self, utterance_id: str, value: Any) -> tuple[str, ...] | None:
        try:
            return None if value is None else labels_of(value)
        except ValueError:
            self._wrong("labels that aren't different names with | or ; between", utterance_id, f"{value!r:.40}")
            return None

    def _numbers(self, utterance_id: str, row: Mapping[str, Any], kind: str) -> dict[str, float] | None:
        """Return the scores or votes by name, those of a mapping and those in columns of their own."""
        nested, prefix = row.get(kind, {}), PREFIXES[kind]
        if not isinstance(nested, Mapping):
            self._wrong(
                f"{kind} that are no mapping (or give columns such as {prefix}NAME)", utterance_id, f"{nested!r:.40}"
            )
            nested = {}
        columns = {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
        numbers = {}
        for name, value in {**nested, **columns}.items():
            if value is None or value != value:  # NaN is an empty cell
                continue
            try:
                numbers[name] = number_of(value)
            except ValueError:
                self._wrong(f"{kind} that are no finite numbers", utterance_id, f"{name} {value!r:.40}")
        return numbers or None

    def _wrong(self, problem: str, utterance_id: str, detail: str) -> None:
        self._unread.add(utterance_id)
        self.problems.add(problem, f"{utterance_id} ({detail})")


def matching_numbers(present: Sequence[str]) -> dict[str, str]:
    """Return which columns hold a score or a kind of votes, with the prefix in small letters.

    >>> matching_numbers(["Score_Valence", "votes_angry", "score_", "scores"])
    {'Score_Valence': 'score_Valence', 'votes_angry': 'votes_angry'}
    """
    names: dict[str, str] = {}
    for column in present:
        for prefix in PREFIXES.values():
            score_name = column[len(prefix) :].strip()
            if column.lower().startswith(prefix) and score_name and prefix + score_name not in names.values():
                names[column] = prefix + score_name
    return names


def labels_of(value: Any) -> tuple[str, ...]:
    """Return the names in a cell of the column labels.

    Raises:
        ValueError: They aren't different names, one has a comma in it, or `-` stands beside others.

    >>> labels_of("happy | surprised"), labels_of(["sad"]), labels_of("-"), labels_of([])
    (('happy', 'surprised'), ('sad',), (), ())
    """
    if isinstance(value, str):
        cells = [] if value.strip() == _NONE_APPLIES else [part for part in re.split("[|;]", value) if part.strip()]
        empty = value.strip() != _NONE_APPLIES and not cells
    else:
        cells, empty = list(value) if isinstance(value, list | tuple) else [value], False
    names = [as_text(cell) or "" for cell in cells]
    if empty or not all(names) or len(set(names)) < len(names) or "," in "".join(names) or _NONE_APPLIES in names:
        raise ValueError(f"{value!r:.40} are not different names")
    return tuple(names)


def number_of(value: Any) -> float:
    """Return the finite number in a cell.

    Raises:
        ValueError: It holds none.

    >>> number_of("-2,4"), number_of(3)
    (-2.4, 3.0)
    """
    number = score_of(value.strip()) if isinstance(value, str) else value
    if not isinstance(number, int | float) or isinstance(number, bool) or not math.isfinite(number):
        raise ValueError(f"{value!r:.40} is no finite number")
    return float(number)


def target_names(
    utterances: Sequence[Utterance],
    labels: Sequence[str] | None,
    ranges: Mapping[str, Sequence[float]],
    *,
    where: object,
) -> dict[str, Any]:
    """Return the classes, label_names and score_ranges that `write_corpus` takes, of what `TargetReader` checked."""
    of_several = _only_labels(utterances)
    return {
        "classes": None if of_several else labels,
        "label_names": labels if of_several else None,
        "score_ranges": ranges_of(utterances, ranges, where=where),
    }


def ranges_of(
    utterances: Sequence[Utterance], ranges: Mapping[str, Sequence[float]], *, where: object
) -> dict[str, tuple[float, float]]:
    """Return the range of each score that occurs, by name: the one that is given, else its least and greatest value.

    Args:
        utterances: They have the scores.
        ranges: Lowest and highest value of scores, by name, as far as they are known.
        where: What to call their source.

    Raises:
        CorpusError: There is a range of a score that doesn't occur.
    """
    values = _scores(utterances)
    if unknown := sorted(set(ranges) - set(values)):
        raise CorpusError(
            f"{where} has no scores {one_line(unknown)}, which a range is given for: "
            f"it has {one_line(values) or 'no scores at all'}."
        )
    observed = {name: (min(several), max(several)) for name, several in values.items() if name not in ranges}
    if observed:
        listed = one_line(f"{name} {low:g} … {high:g}" for name, (low, high) in observed.items())
        first, (low, high) = next(iter(observed.items()))
        logger.info(
            f"{where}: the ranges of scores are taken from the values that occur ({listed}); --range gives the scale's "
            f"own, such as --range {first}={math.floor(low)},{math.ceil(high)}."
        )
    return {name: observed[name] if name in observed else (ranges[name][0], ranges[name][1]) for name in values}


def _only_labels(utterances: Sequence[Utterance]) -> bool:
    """Whether the utterances have several labels each, and neither one label nor votes."""
    with_labels = any(utterance.labels is not None for utterance in utterances)
    return with_labels and not any(utterance.label is not None or utterance.votes for utterance in utterances)


def _scores(utterances: Sequence[Utterance]) -> dict[str, list[float]]:
    """Return the values of each score, by name."""
    values: dict[str, list[float]] = {}
    for utterance in utterances:
        for name, value in (utterance.scores or {}).items():
            values.setdefault(name, []).append(value)
    return values
