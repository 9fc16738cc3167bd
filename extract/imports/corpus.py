"""Turns the targets in others' feature files, label sequences and tables into a corpus, or compares them with it."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gia_mic.extract.corpora.cells import are_scores, drop_missing, score_of
from gia_mic.extract.corpora.manifest import check_rows
from gia_mic.extract.corpora.table import read_table
from gia_mic.extract.corpora.target_columns import ranges_of
from gia_mic.extract.corpus import Corpus, Utterance, write_corpus
from gia_mic.extract.errors import CorpusError, one_line
from gia_mic.extract.imports import sentiment
from gia_mic.extract.imports.formats import ImportedUtterance, Segment
from gia_mic.extract.names import part_of

__all__ = ["check_corpus", "make_corpus", "utterances_of_files", "utterances_of_segments", "utterances_of_table"]

logger = logging.getLogger(__name__)

_SAME_SCORE = 1e-3  # files of one corpus round its scores differently


def utterances_of_files(rows: Iterable[ImportedUtterance], classes: str | None) -> list[Utterance]:
    """Return the utterances of feature files that have a target; `classes` is as `import_features` takes it."""
    utterances = []
    for row in rows:
        label = row.label
        if label is None or classes is not None:
            label = sentiment.label(row.scores, classes or sentiment.DEFAULT) if row.scores else None
        targets = sentiment.targets(row.scores, row.of_one_modality)
        source_label = _scores_text(row.scores)
        utterances.append(
            Utterance(row.id, label, source_label=source_label, text=row.text or None, split=row.split, **targets)
        )
    return _with_target(utterances)


def utterances_of_table(
    labels: Path,
    classes: str | None,
    missing: Collection[str],
    ranges: Mapping[str, Sequence[float]],
    existing: Collection[str],
    *,
    scores_needed: bool,
) -> list[Utterance]:
    """Read a table of targets; labels that are scores become classes in the way that is asked for.

    Args:
        labels: The table.
        classes: As `import_features` takes it.
        missing: Texts that stand for a missing value.
        ranges: Lowest and highest value of scores, by name.
        existing: Labels that are classes, even if they are numbers.
        scores_needed: Whether to refuse labels that are no scores where `classes` is given.

    Raises:
        CorpusError: The table can't be read, or its labels are numbers and `classes` is None.
    """
    utterances = check_rows(
        read_table(labels),
        where=labels,
        root=labels.parent,
        ranges=ranges,
        features_only=True,
        numeric_labels=True,
        missing=missing,
    )
    words = sorted({utterance.label for utterance in utterances if utterance.label is not None})
    if classes is None:
        if are_scores(words) and not set(words) <= set(existing):
            raise CorpusError(
                f"{labels} has numbers for labels ({one_line(words, 5)}): name their column score_sentiment, or else "
                "score_…, to keep them as `scores`, say with --classes how they become classes, or write classes that "
                "are numbers as words."
            )
        return utterances
    no_scores = [word for word in words if score_of(word) is None]
    if no_scores and scores_needed:
        raise CorpusError(
            f"{labels} has labels that are no scores ({one_line(no_scores, 5)}), and --classes makes classes of "
            "scores: leave it out."
        )
    if no_scores:
        return utterances
    utterances = [_classified(utterance, classes) for utterance in utterances]
    if scores_needed and not any(utterance.label for utterance in utterances):
        raise CorpusError(
            f"{labels} has nothing that --classes {classes} makes classes of, neither a label nor a score_sentiment: "
            "leave the option out."
        )
    if without := sum(utterance.label is None for utterance in utterances):
        logger.warning(f"{without} utterances have a score that is of no class, and keep it without a class.")
    return _with_target(utterances)


def utterances_of_segments(
    segments: Sequence[Segment], classes: str | None, splits: Path | None, missing: Collection[str]
) -> list[Utterance]:
    """Return the utterances of a label sequence that have a target, of those that `splits` names where it is given.

    Raises:
        CorpusError: The table of splits lacks a column.
    """
    parts: dict[str, str] = {}
    for row in [] if splits is None else drop_missing(read_table(splits), missing):
        name = row.get("id", row.get("video"))
        if name is None or "split" not in row:
            raise CorpusError(f"{splits} has a row without video (or id) or split: expected both in every row.")
        parts[str(name)] = part_of(str(row["split"])) or str(row["split"])
    utterances = []
    for segment in segments:
        label = sentiment.label(segment.scores, classes or sentiment.DEFAULT)
        split = parts.get(segment.id, parts.get(segment.video))
        if splits is None or split is not None:
            utterances.append(
                Utterance(
                    segment.id,
                    label,
                    dialog=segment.video,
                    source_label=_scores_text(segment.scores),
                    split=split,
                    **sentiment.targets(segment.scores),
                )
            )
    return _with_target(utterances)


def make_corpus(
    features: Path,
    name: str,
    utterances: Sequence[Utterance],
    classes: str | None,
    ranges: Mapping[str, Sequence[float]],
    source: Path,
) -> Corpus:
    """Make the corpus from the targets at hand."""
    if not utterances:
        raise CorpusError(
            f"There is no corpus {name!r} in {features}, and {source} has no labels to make it from: "
            "give a table of ids and labels with --labels."
        )
    order = sentiment.CLASSES[classes or sentiment.DEFAULT]
    names = {name for one in utterances for name in (one.label, *(one.votes or ())) if name is not None}
    several = {name for one in utterances for name in one.labels or ()}
    corpus = write_corpus(
        features,
        name,
        utterances,
        root=features / name,
        classes=order if names and names <= set(order) else None,
        label_names=sentiment.EMOTIONS if several and several <= set(sentiment.EMOTIONS) else None,
        score_ranges=ranges_of(utterances, {**sentiment.scales(utterances), **ranges}, where=source),
        about={"source": source.name, "description": "Imported", "scores_as": classes},
    )
    logger.info(f"Made the corpus {name} from {source.name}. {corpus.describe()}")
    return corpus


def check_corpus(
    corpus: Corpus, utterances: Sequence[Utterance], ranges: Mapping[str, Sequence[float]], source: Path
) -> None:
    """Compare the targets at hand with those of a corpus, as far as both have them.

    Raises:
        CorpusError: They contradict each other.
    """
    existing = {utterance.id: utterance for utterance in corpus}
    pairs = [(existing[one.id], one) for one in utterances if one.id in existing]
    others = {
        "labels": [
            one.id for theirs, one in pairs if None not in (theirs.label, one.label) and theirs.label != one.label
        ],
        "scores": [one.id for theirs, one in pairs if _scores_differ(theirs.scores or {}, one.scores or {})],
        "ranges of scores": [
            name for name, limits in ranges.items() if tuple(limits) != corpus.score_ranges.get(name, tuple(limits))
        ],
    }
    for what, names in others.items():
        if names:
            raise CorpusError(
                f"{source} has other {what} than the corpus {corpus.name!r} for {one_line(names)}: "
                "import under another name."
            )
    if not corpus.score_ranges and any(one.scores for one in utterances):
        logger.info(
            f"The corpus {corpus.name} has no scores and {source} does: import under another name to train on them."
        )


def _classified(utterance: Utterance, classes: str) -> Utterance:
    """Return the utterance with the class of its sentiment, which is its label, or a score of that name."""
    scores = dict(utterance.scores or {})
    value = scores.get(sentiment.SENTIMENT) if utterance.label is None else score_of(utterance.label)
    if value is None:
        return utterance
    return replace(
        utterance,
        label=sentiment.label([value], classes),
        scores={**(sentiment.targets([value])["scores"] or {}), **scores} or None,
        source_label=utterance.source_label or utterance.label,
    )


def _with_target(utterances: Iterable[Utterance]) -> list[Utterance]:
    """Return the utterances that have any target."""
    return [one for one in utterances if (one.label, one.labels, one.scores, one.votes) != (None, None, None, None)]


def _scores_text(scores: Sequence[float]) -> str | None:
    return " ".join(f"{score:g}" for score in scores) or None


def _scores_differ(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    return any(abs(first[name] - second[name]) > _SAME_SCORE for name in first.keys() & second.keys())
