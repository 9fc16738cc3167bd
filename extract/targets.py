"""Turns what a manifest says of its utterances into targets: what a model can be trained to predict.

A corpus may have several. Each is a matrix (U, K): one row an utterance, one column a class or a score.

    label    one class                                      1 for the class, else 0
    labels   any number of classes                          1 for those that apply, else 0
    votes    how many annotators chose which class          their shares, which sum to 1
    scores   named numbers with a range, such as valence    the numbers

Labels, scores and votes may be missing from an utterance: its row is NaN then.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gia_mic.extract.errors import CorpusError, one_line
from gia_mic.runtime.target import Target

__all__ = ["KINDS", "Target", "check_targets", "matrix", "problems_of", "score_names"]

KINDS = ("label", "labels", "votes", "scores")
"""Kinds of targets. The first three are also columns of the manifest, and names of the targets."""


def score_names(text: str) -> list[str]:
    """Return the names of scores in a text such as valence,arousal."""
    return [name.strip() for name in text.split(",") if name.strip()]


def matrix(target: Target, values: Sequence[Any]) -> NDArray[np.float64]:
    """Return a target as numbers, (U, K), with NaN in the rows of utterances that lack it.

    Args:
        target: The target.
        values: What the manifest has for each utterance, None where it has nothing: a class index for `label`, names
            for `labels`, numbers by name for `votes` and `scores`.
    """
    numbers = np.full((len(values), len(target.names)), np.nan)
    index = {name: column for column, name in enumerate(target.names)}
    for row, value in zip(numbers, values, strict=True):
        if value is None:
            continue
        if target.kind == "scores":
            known = [value.get(name) for name in target.names]
            if None not in known:
                row[:] = known
            continue
        row[:] = 0
        if target.kind == "label":
            row[value] = 1
        elif target.kind == "labels":
            row[[index[name] for name in value]] = 1
        else:
            for name, count in value.items():
                row[index[name]] = count or 0
            row /= row.sum()
    return numbers


def check_targets(
    rows: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    label_names: Sequence[str],
    score_ranges: Mapping[str, Sequence[float]],
    *,
    where: str,
) -> None:
    """Refuse targets that would make a wrong number later.

    Args:
        rows: Rows of a manifest.
        classes: Classes of `label` and `votes`.
        label_names: Classes of `labels`.
        score_ranges: Lowest and highest value of each score, by name.
        where: What to call the manifest in an error.

    Raises:
        CorpusError: A row has no target, or one that isn't what the names and ranges say.
    """
    _check_names(classes, label_names, score_ranges, where)
    wrong: dict[str, list[str]] = {}
    for row in rows:
        for problem, detail in problems_of(row, set(classes), set(label_names), score_ranges):
            wrong.setdefault(problem, []).append(f"{row.get('id')}{detail}")
    for problem, ids in wrong.items():
        raise CorpusError(f"{where} has {problem}: {one_line(ids)}.")


def problems_of(
    row: Mapping[str, Any], classes: set[str], label_names: set[str], score_ranges: Mapping[str, Sequence[float]]
) -> Iterator[tuple[str, str]]:
    """Give what is wrong with a row's targets: a sentence's middle, and what to write behind the id.

    Args:
        row: Row of a manifest.
        classes: Classes of `label` and `votes`.
        label_names: Classes of `labels`.
        score_ranges: Lowest and highest value of each score, by name.
    """
    label, labels, scores, votes = (row.get(name) for name in ("label", "labels", "scores", "votes"))
    if all(value is None for value in (label, labels, scores, votes)):
        yield "utterances without a label, labels, scores or votes", ""
    if _is_number(label):
        yield "labels that are numbers (numbers on a scale are scores: give them in `scores`)", f" ({label!r})"
    elif label is not None and (not isinstance(label, str) or label not in classes):
        yield f"labels that are none of {one_line(sorted(classes))}", f" ({label!r})"
    if labels is not None and not (
        isinstance(labels, list | tuple)
        and all(isinstance(name, str) for name in labels)
        and set(labels) <= label_names
        and len(set(labels)) == len(labels)
    ):
        yield f"labels that aren't a list of different names of {one_line(sorted(label_names))}", f" ({labels!r:.60})"
    if votes is not None and not _are_votes(votes, classes):
        yield f"votes that aren't counts, at least one above 0, of {one_line(sorted(classes))}", f" ({votes!r:.60})"
    if scores is not None and not (isinstance(scores, Mapping) and set(scores) <= set(score_ranges)):
        yield f"scores that aren't numbers by name, of {one_line(score_ranges)}", f" ({scores!r:.60})"
    elif scores is not None:
        for name, value in scores.items():
            low, high = score_ranges[name]
            if value is not None and not (_is_number(value) and low <= value <= high):
                yield f"scores outside their range, {name} in {low:g} … {high:g}", f" ({value!r:.40})"


def _check_names(
    classes: Sequence[str], label_names: Sequence[str], score_ranges: Mapping[str, Sequence[float]], where: str
) -> None:
    for what, names in (("classes", classes), ("labels", label_names), ("scores", score_ranges)):
        if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
            raise CorpusError(f"{where} has {what} that aren't different names ({one_line(map(repr, names))}).")
    taken = [name for name in score_ranges if name in KINDS or "," in name or name != name.strip()]
    if taken:
        raise CorpusError(f"{where} has scores called {one_line(map(repr, taken))}: give them other names.")
    for name, limits in score_ranges.items():
        if len(limits) != 2 or not all(map(_is_number, limits)) or not limits[0] < limits[1]:
            raise CorpusError(f"{where} gives the score {name} the range {limits!r}: expected its lowest and highest.")


def _are_votes(votes: Any, classes: set[str]) -> bool:
    counts = [count for count in votes.values() if count is not None] if isinstance(votes, Mapping) else []
    return bool(counts) and set(votes) <= classes and all(_is_number(n) and n >= 0 for n in counts) and sum(counts) > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
