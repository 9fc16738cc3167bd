"""Turns a column of the manifest into folds.

A fold is a value of the column: its utterances are the test part, the others the training part. Folds come from what
the corpus says about its utterances and never from row counts, so shuffled rows give the same folds.
"""

import hashlib
import re
from dataclasses import dataclass, replace

import numpy as np

from gia_mic.extract.corpus import Corpus
from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.names import part_of, same_name
from gia_mic.extract.targets import Target
from gia_mic.fuse.config import PROTOCOLS, SELECTIONS
from gia_mic.fuse.runs.folder import WHOLE

__all__ = [
    "PROTOCOLS",
    "SELECTIONS",
    "SplitFold",
    "choose",
    "development",
    "folds",
    "inner_fold",
    "one_sided_classes",
    "refuse_constant",
    "whole_corpus",
    "with_target",
    "without",
]

TEST, TRAIN, DEVELOPMENT = "test", "train", "dev"
DEVELOPMENT_SHARE = 0.15
WIDEST_FIRST = ("session", "speaker", "scenario", "dialog")
"""Columns whose values may stay whole in a development part, in the order in which they are tried."""


@dataclass(frozen=True)
class SplitFold:
    """One test part and what may be trained on.

    Rows are numbers in the manifest's order, sorted by utterance id, so that nothing depends on the manifest's order.

    Attributes:
        number: K, counted from 1, in natural order of the values.
        value: Value of the test part in the column, such as Ses03.
        train: Rows of the training part, int64.
        test: Rows of the test part, int64.
        development: Rows that the corpus itself sets apart for choosing; empty but under `split`.
    """

    number: int
    value: str
    train: np.ndarray
    test: np.ndarray
    development: np.ndarray


def folds(corpus: Corpus, protocol: str = "session", *, allow_shared: bool = False) -> list[SplitFold]:
    """Return all folds of a corpus.

    `split` with values such as train, Validation or eval (`names.PARTS`) gives one fold: test against train, with
    dev set apart; with any other values it gives a fold for each, like the other protocols.

    Args:
        corpus: A prepared corpus.
        protocol: One of `PROTOCOLS`.
        allow_shared: Go on although both sides share speakers (or, under `scenario`, scenarios).

    Raises:
        RunError: The protocol is unknown, its column isn't filled or has one value, or both sides of a fold share
            what the protocol keeps apart.
    """
    if protocol not in PROTOCOLS:
        raise RunError(f"There is no protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}.")
    values = corpus.column(protocol)
    empty = sum(value is None for value in values)
    if empty:
        raise RunError(_unfilled(corpus, protocol, empty))
    order = _by_id(corpus)
    column = np.array(values, dtype=object)[order]
    names = sorted(set(values), key=_natural)
    if protocol == "split" and any(map(part_of, names)):
        all_folds = [_fixed(corpus, order, column, names)]
    elif len(names) < 2:
        raise RunError(
            f"Corpus {corpus.name} has the one {protocol} {names[0]!r}, and a fold needs another to train on: "
            f"choose another --protocol of {', '.join(PROTOCOLS)}."
        )
    else:
        nobody = np.empty(0, dtype=np.int64)
        all_folds = [
            SplitFold(number, name, order[column != name], order[column == name], nobody)
            for number, name in enumerate(names, start=1)
        ]
    if not allow_shared:
        for fold in all_folds:
            _refuse_shared(corpus, protocol, fold)
    return all_folds


def choose(all_folds: list[SplitFold], number: int | None) -> list[SplitFold]:
    """Return the fold of that number, or all of them for None.

    Raises:
        RunError: There is no such fold.
    """
    if number is None:
        return all_folds
    if not 1 <= number <= len(all_folds):
        available = one_line(f"{fold.number} ({fold.value})" for fold in all_folds)
        raise RunError(f"There is no fold {number}: choose one of {available}, or all.")
    return [all_folds[number - 1]]


def development(corpus: Corpus, fold: SplitFold) -> tuple[np.ndarray, np.ndarray]:
    """Divide the training part into what is trained on and what is chosen on, as training and test are apart.

    Whole sessions go to one side where the fold has none on both of its own sides; else whole speakers, scenarios or
    dialogs that it has on one side alone. They are taken in an order that depends on their names alone, until the
    second side has 15 % of the utterances. Fewer than three of them would leave too little to train on, so then the
    next column is tried. A corpus's own development part is taken instead.

    Returns:
        Rows to train on and rows to choose on, int64.

    Raises:
        RunError: No such column is filled, and there are no two dialogs or speakers either.
    """
    if len(fold.development):
        return fold.train, fold.development
    column = _column_to_divide(corpus, fold)
    groups = sorted(set(column), key=_shuffled)
    dev_groups: set[str] = set()
    for group in groups[:-1]:
        if dev_groups and np.isin(column, list(dev_groups)).mean() >= DEVELOPMENT_SHARE:
            break
        dev_groups.add(group)
    in_dev = np.array([value in dev_groups for value in column])
    return fold.train[~in_dev], fold.train[in_dev]


def inner_fold(corpus: Corpus, fold: SplitFold) -> SplitFold:
    """Return a fold inside the training part of another, whose test part it lacks: `development` is tested on.

    Raises:
        RunError: As `development`.
    """
    train_rows, dev_rows = development(corpus, fold)
    return replace(fold, train=train_rows, test=dev_rows, development=np.empty(0, dtype=np.int64))


def whole_corpus(corpus: Corpus) -> SplitFold:
    """Return the fold that trains on all utterances and tests on none."""
    nobody = np.empty(0, dtype=np.int64)
    return SplitFold(WHOLE, "nothing", _by_id(corpus), nobody, nobody)


def without(fold: SplitFold, other: SplitFold) -> SplitFold:
    """Return a fold that doesn't train on the test part of another one either."""
    return replace(fold, train=fold.train[~np.isin(fold.train, other.test)])


def with_target(corpus: Corpus, target: Target, fold: SplitFold) -> SplitFold:
    """Return a fold without the utterances that lack the target.

    Raises:
        RunError: A side has no other.
    """
    has_values = np.asarray(np.isfinite(corpus.values(target)).all(axis=1), dtype=bool)
    parts = {
        name: rows[has_values[rows]] for name in ("train", "test", "development") if len(rows := getattr(fold, name))
    }
    for name, rows in parts.items():
        if not len(rows) and name != "development":
            raise RunError(
                f"Fold {fold.number} ({fold.value}) of {corpus.name} has no utterance with {target.name} in its "
                f"{'training' if name == 'train' else name} part: choose another --target, --protocol or --fold."
            )
    return replace(fold, **parts)


def one_sided_classes(corpus: Corpus, target: Target, folds: list[SplitFold]) -> list[str]:
    """Return a sentence for each class that folds have in their training part alone, or in their test part alone."""
    if target.kind == "scores":
        return []
    occurs = np.asarray(corpus.values(target) > 0, dtype=bool)
    sentences = []
    for index, name in enumerate(target.names):
        sides = [(bool(occurs[fold.train, index].any()), bool(occurs[fold.test, index].any())) for fold in folds]
        untaught = [fold for fold, (taught, tested) in zip(folds, sides, strict=True) if tested and not taught]
        untested = [fold for fold, (taught, tested) in zip(folds, sides, strict=True) if taught and not tested]
        what = [f"has nothing to learn it from in {_listed(untaught)}"] if untaught else []
        what += [f"isn't tested in {_listed(untested)}"] if untested else []
        if what:
            sentences.append(f"The class {name} {' and '.join(what)}: their scores are of other classes than the rest.")
    return sentences


def refuse_constant(corpus: Corpus, target: Target, fold: SplitFold, rows: np.ndarray) -> None:
    """Refuse to train on what is the same throughout, such as a single class.

    Args:
        corpus: The corpus.
        target: What is to be learnt.
        fold: The fold.
        rows: Rows to train on.

    Raises:
        RunError: All of them have the same target.
    """
    values = corpus.values(target)[rows]
    if (values == values[:1]).all():
        what = f"the same {target.name}"
        if target.one_of_many:
            what = f"the class {target.names[int(values[0].argmax())]} alone"
        raise RunError(
            f"Fold {fold.number} ({fold.value}) of {corpus.name} has {what} to train on, so there is nothing to learn: "
            "choose another --protocol or --fold."
        )


def _by_id(corpus: Corpus) -> np.ndarray:
    """Return the rows of a corpus, sorted by utterance id."""
    return np.argsort(np.array(corpus.ids, dtype=object), kind="stable")


def _column_to_divide(corpus: Corpus, fold: SplitFold) -> np.ndarray:
    """Return the column by which the training part is divided, (B,) in its order.

    Raises:
        RunError: There is none.
    """
    for names, least, disjoint in ((WIDEST_FIRST, 3, True), (("dialog", "speaker"), 2, False)):
        for name in names:
            column = np.array(corpus.column(name), dtype=object)
            values = set(column[fold.train])
            shared = values & set(column[fold.test])
            if None not in values and len(values) >= least and not (disjoint and shared):
                return column[fold.train]
    raise RunError(
        f"Fold {fold.number} of {corpus.name} has no two dialogs or speakers in its training part, so nothing can be "
        "chosen on a part of it: fill the column dialog, or choose nothing (--select last)."
    )


def _listed(folds: list[SplitFold]) -> str:
    return f"fold {one_line(f'{fold.number} ({fold.value})' for fold in folds)}"


def _fixed(corpus: Corpus, order: np.ndarray, column: np.ndarray, names: list[str]) -> SplitFold:
    parts = {name: part_of(name) for name in names}
    if None in parts.values() or not {TRAIN, TEST} <= set(parts.values()):
        raise RunError(
            f"The column split of {corpus.name} has the values {one_line(names)}: it needs {TRAIN} and {TEST}, may "
            f"have {DEVELOPMENT}, each in a usual spelling, and nothing else."
        )
    for part in (TRAIN, TEST):
        spellings = {same_name(name): name for name in names if parts[name] == part}
        if len(spellings) > 1:
            several = " and ".join(map(repr, spellings.values()))
            raise RunError(
                f"The column split of {corpus.name} has {several}, each a usual name of the {part} part: rename one "
                "of them."
            )
    column = np.array([parts[value] for value in column], dtype=object)
    return SplitFold(1, TEST, order[column == TRAIN], order[column == TEST], order[column == DEVELOPMENT])


def _refuse_shared(corpus: Corpus, protocol: str, fold: SplitFold) -> None:
    separate_column = PROTOCOLS[protocol]
    column = np.array(corpus.column(separate_column), dtype=object)
    sides = [{str(value) for value in column[rows].tolist() if value is not None} for rows in (fold.train, fold.test)]
    shared = sorted(sides[0] & sides[1], key=_natural)
    if shared:
        raise RunError(
            f"Fold {fold.number} ({protocol} {fold.value}) of {corpus.name} has the {separate_column}s "
            f"{one_line(shared)} in training and test, which inflates its score: "
            f"choose --protocol {separate_column}, or allow it explicitly with --allow-shared."
        )


def _unfilled(corpus: Corpus, protocol: str, empty: int) -> str:
    filled = [name for name in PROTOCOLS if None not in corpus.column(name)]
    to_fill = f"fill in the column {protocol} of its table and prepare it again"
    hint = f"choose --protocol {' or '.join(filled)}" if filled else to_fill
    what = f"no {protocol}s" if empty == len(corpus) else f"{empty} of {len(corpus)} utterances without a {protocol}"
    return f"Corpus {corpus.name} has {what}, so there are no folds by {protocol}: {hint}."


def _natural(value: str) -> list[tuple[int, int, str]]:
    """Sort key that puts Ses2 before Ses10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", value) if part]


def _shuffled(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()
