"""Turns the audit of a corpus into tables and plain words."""

import math
from collections.abc import Sequence

import numpy as np

from gia_mic.extract.corpus import Corpus
from gia_mic.extract.errors import RunError, one_line
from gia_mic.extract.targets import Target
from gia_mic.fuse.audit import Audit, Overlap, audit
from gia_mic.fuse.controls import constant_name
from gia_mic.fuse.measure import measure_of
from gia_mic.fuse.split import PROTOCOLS
from gia_mic.report.summary import mean_std
from gia_mic.report.table import GAP, WIDTH, Column, Table, escaped_markdown, latex, markdown, terminal, wrapped
from gia_mic.report.tables import CONTROLS
from gia_mic.report.wording import about, mean_std_text, percent, pooled_names, score_text, unit

__all__ = ["FORMATS", "render_audit", "tables", "verdict"]

FORMATS = ("terminal", "md", "latex")

PREDICTS = {
    "scenario": (
        "The scenario alone predicts {what}: {scores}. A model can score that much by recognising the script and "
        "hearing nothing: read no score under such a protocol without it, and train with --protocol scenario too."
    ),
    "words": "The words alone predict {what} in part: {scores}. A model with text should be well above it.",
}
NOTHING = {
    "scenario": "The scenario alone says nothing of {what}: {scores}.",
    "words": "The words alone say nothing of {what}: {scores}.",
}

NOTICEABLE = 0.05
"""How much above chance, or the mean of the training part, makes a control worth a warning; in the metric's unit."""

ALWAYS = {
    "label": "most frequent class: of the training part.",
    "labels": "mean of training: the share of each label in the training part, against the threshold with the best F1.",
    "votes": "mean of training: the mean of the training part's votes.",
    "scores": "mean of training: the mean of the training part.",
}
SCENARIO = {
    "label": "the most frequent class of the training utterances of the same scenario.",
    "labels": "the same of the training utterances of the same scenario.",
}
WORDS = {"scores": "ridge regression"}
"""What controls are, by the kind of target."""


def render_audit(
    corpus: Corpus,
    protocols: Sequence[str] = tuple(PROTOCOLS),
    format: str = "terminal",
    target: str | None = None,
) -> str:
    """Return the audit of a corpus under each protocol, without a line break at its end.

    Args:
        corpus: A prepared corpus.
        protocols: Names of protocols.
        format: One of `FORMATS`.
        target: Name of what controls predict, as `Corpus.target` takes it; by default what a model would.

    Raises:
        CorpusError: The corpus doesn't have the target.
        RunError: A protocol or the format isn't known.
    """
    if format not in FORMATS:
        raise RunError(f"There is no audit format {format!r}: choose one of {', '.join(FORMATS)}.")
    audits = audit(corpus, protocols, corpus.target(target))
    audit_tables, sentences = tables(corpus, audits), verdict(corpus, audits)
    if format == "md":
        return "\n\n".join(
            [*map(markdown, audit_tables), "\n".join(f"- {escaped_markdown(line)}" for line in sentences)]
        )
    if format == "latex":
        return "\n\n".join(["% needs \\usepackage{booktabs}", *map(latex, audit_tables)])
    lines = ["\n".join(GAP + part for part in wrapped(line, WIDTH - len(GAP))) for line in sentences]
    return "\n\n".join([*map(terminal, audit_tables), "In plain words", *lines])


def tables(corpus: Corpus, audits: Sequence[Audit]) -> list[Table]:
    """Return a table of the controls under all protocols, and one of the overlaps under each."""
    return [_controls(corpus, audits), *(_overlaps(corpus, result) for result in audits if result.folds)]


def verdict(corpus: Corpus, audits: Sequence[Audit]) -> list[str]:
    """Say in plain sentences what the audit means."""
    sentences = [f"By {result.protocol}: {result.problem}" for result in audits if result.problem]
    what = _what(audits[0].target if audits else corpus.target())
    for name in ("scenario", "words"):
        sentences += _about(name, [result for result in audits if name in result.controls])
    for result in audits:
        overlaps = [overlaps["sentence"] for overlaps in result.overlaps if "sentence" in overlaps]
        covered, utterances = (sum(getattr(entry, count) for entry in overlaps) for count in ("covered", "utterances"))
        if utterances and covered / utterances > NOTICEABLE:
            sentences.append(
                f"By {result.protocol}, {covered:,} of {utterances:,} test sentences ({percent(covered / utterances)} "
                "%) occur word for word in the training part: a model with text may know them by heart."
            )
    for name, count in corpus.recognised().items():
        sentences.append(
            f"{count:,} of {len(corpus) - corpus.column('text').count(None):,} transcripts are what the recogniser "
            f"{name} heard: text features, and the controls by words, know its mistakes, not the corpus's own text."
        )
    if not any("scenario" in result.controls for result in audits):
        sentences.append(f"The manifest names no scenarios, so whether the script gives {what} away can't be known.")
    return sentences


def _what(target: Target) -> str:
    """Return what controls predict, in a sentence."""
    return {"label": "the emotion", "labels": "the emotions", "votes": "the votes"}.get(
        target.kind, one_line(target.names)
    )


def _about(name: str, audits: Sequence[Audit]) -> list[str]:
    """Say under which protocols a control predicts the target, and under which it doesn't."""
    predicting: list[Audit] = []
    without_effect: list[Audit] = []
    for result in audits:
        worth, base = (_worth(result, control) for control in (name, constant_name(result.target)))
        base = 1 / len(result.target.names) if result.target.one_of_many else base
        (predicting if worth > base + NOTICEABLE else without_effect).append(result)
    return [
        template.format(what=_what(chosen[0].target), scores=_scores(name, chosen))
        for template, chosen in ((PREDICTS[name], predicting), (NOTHING[name], without_effect))
        if chosen
    ]


def _worth(result: Audit, control: str) -> float:
    """Return the pooled primary metric of a control, turned so that more is better; lowest where it has none."""
    measure = measure_of(result.target)
    value = result.controls[control].pooled[measure.primary]
    return -math.inf if value is None else -value if measure.primary in measure.lower_is_better else float(value)


def _scores(name: str, audits: Sequence[Audit]) -> str:
    """Return what a control scores under each protocol, beside chance or what the mean of the training part scores."""
    target = audits[0].target
    measure = measure_of(target)

    def text(result: Audit, control: str) -> str:
        value = score_text(measure, measure.primary, result.controls[control].pooled[measure.primary])
        return f"{value} %" if measure.primary in measure.in_percent else value

    if target.one_of_many:
        listed = ", ".join(f"{text(result, name)} by {result.protocol}" for result in audits)
        return f"{measure.primary} {listed}, where chance is {percent(1 / len(target.names))} %"
    constant = constant_name(target)
    listed = ", ".join(
        f"{text(result, name)} by {result.protocol} (the {CONTROLS[constant]} {text(result, constant)})"
        for result in audits
    )
    return f"{measure.primary} {listed}"


def _controls(corpus: Corpus, audits: Sequence[Audit]) -> Table:
    target = audits[0].target
    measure = measure_of(target)
    pooled = pooled_names(measure)
    columns = [
        Column("protocol"),
        Column("control"),
        Column("folds", number=True),
        *(Column("mean ± std", name, number=True) for name in measure.headline),
        *(Column(name, "pooled", number=True) for name in pooled),
    ]
    rows = [
        [
            result.protocol,
            CONTROLS[name],
            str(len(result.folds)),
            *(
                mean_std_text(measure, metric, mean_std([scores[metric] for scores in control.folds]))
                for metric in measure.headline
            ),
            *(score_text(measure, metric, control.pooled[metric]) for metric in pooled),
        ]
        for result in audits
        for name, control in result.controls.items()
    ]
    scenario = SCENARIO.get(target.kind, "the mean of the training utterances of the same scenario.")
    words = f"{WORDS.get(target.kind, 'logistic regression')} on the words of the transcript."
    notes = [f"{ALWAYS[target.kind]} scenario alone: {scenario} bag of words: {words} None of them sees a feature."]
    if target.kind != "label":
        notes.insert(0, about(measure, measure.headline))
    lacking = [result.protocol for result in audits if not result.folds]
    if lacking:
        notes.append(f"No folds by {one_line(lacking)}; the reason is below.")
    scored = int((~np.isnan(corpus.values(target)).any(axis=1)).sum())
    utterances = f"{len(corpus)} utterances" if scored == len(corpus) else f"{scored} of {len(corpus)} utterances"
    of_what = "" if target.kind == "label" else f" of {', '.join(target.name.split(','))}"
    title = f"{corpus.name}: what controls score{of_what} without any feature, {utterances}"
    title += unit(measure, measure.headline)
    return Table(title, columns, rows, notes)


def _overlaps(corpus: Corpus, result: Audit) -> Table:
    names = list(result.overlaps[0])
    columns = [
        Column("fold"),
        Column("training", "utterances", number=True),
        Column("test", "utterances", number=True),
        *(Column(f"{name}s", "in test and training", number=True) for name in names),
    ]
    rows = [
        [
            fold.value if fold.value == str(fold.number) else f"{fold.number} {fold.value}",
            str(len(fold.train)),
            str(len(fold.test)),
            *(_shared(overlaps[name]) for name in names),
        ]
        for fold, overlaps in zip(result.folds, result.overlaps, strict=True)
    ]
    notes = [
        "Of the values in the test part, how many occur in the training part too; in brackets what part of the test "
        "utterances has one of those."
    ]
    return Table(f"{corpus.name}, by {result.protocol}: what test and training share", columns, rows, notes)


def _shared(overlap: Overlap) -> str:
    if not overlap.utterances:
        return "—"
    share = f" ({100 * overlap.covered / overlap.utterances:.0f} %)" if 0 < overlap.shared < overlap.values else ""
    return f"{overlap.shared} of {overlap.values}{share}"
