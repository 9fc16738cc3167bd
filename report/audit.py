"""Turns the audit of a corpus into tables and plain words."""

from collections.abc import Sequence

from gia_mic.extract.corpus import Corpus
from gia_mic.extract.errors import RunError, one_line
from gia_mic.fuse.audit import Audit, Overlap, audit
from gia_mic.fuse.split import PROTOCOLS
from gia_mic.report.summary import mean_std
from gia_mic.report.table import GAP, WIDTH, Column, Table, escaped_markdown, latex, markdown, terminal, wrapped
from gia_mic.report.tables import CONTROLS, mean_std_text, percent

__all__ = ["FORMATS", "render_audit", "tables", "verdict"]

FORMATS = ("terminal", "md", "latex")

PREDICTS = {
    "scenario": (
        "The scenario alone predicts the emotion: UA {scores}, where chance is {chance} %. A model can score that much "
        "by recognising the script and hearing nothing: read no score under such a protocol without it, and train "
        "with --protocol scenario too."
    ),
    "words": (
        "The words alone predict the emotion in part: UA {scores}, where chance is {chance} %. A model with text "
        "should be well above it."
    ),
}
NOTHING = {
    "scenario": "The scenario alone says nothing of the emotion: UA {scores}, where chance is {chance} %.",
    "words": "The words alone say nothing of the emotion: UA {scores}, where chance is {chance} %.",
}

NOTICEABLE = 0.05
"""How much UA above chance makes a control worth a warning, in 0 … 1."""


def render_audit(corpus: Corpus, protocols: Sequence[str] = tuple(PROTOCOLS), format: str = "terminal") -> str:
    """Return the audit of a corpus under each protocol, without a line break at its end.

    Raises:
        RunError: A protocol or the format isn't known.
    """
    if format not in FORMATS:
        raise RunError(f"There is no audit format {format!r}: choose one of {', '.join(FORMATS)}.")
    audits = audit(corpus, protocols)
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
    for name in ("scenario", "words"):
        sentences += _about(name, [result for result in audits if name in result.controls], 1 / len(corpus.classes))
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
        sentences.append(
            "The manifest names no scenarios, so whether the script gives the emotion away can't be known."
        )
    return sentences


def _about(name: str, audits: Sequence[Audit], chance: float) -> list[str]:
    """Say under which protocols a control predicts the emotion, and under which it doesn't."""
    scores = {result.protocol: result.controls[name].pooled["UA"] for result in audits}
    sentences = []
    for template, chosen in (
        (PREDICTS[name], {key: score for key, score in scores.items() if score > chance + NOTICEABLE}),
        (NOTHING[name], {key: score for key, score in scores.items() if score <= chance + NOTICEABLE}),
    ):
        if chosen:
            listed = ", ".join(f"{percent(score)} % by {key}" for key, score in chosen.items())
            sentences.append(template.format(scores=listed, chance=percent(chance)))
    return sentences


def _controls(corpus: Corpus, audits: Sequence[Audit]) -> Table:
    columns = [
        Column("protocol"),
        Column("control"),
        Column("folds", number=True),
        Column("mean ± std", "WA", number=True),
        Column("mean ± std", "UA", number=True),
        Column("WA", "pooled", number=True),
        Column("UA", "pooled", number=True),
    ]
    rows = [
        [
            result.protocol,
            CONTROLS[name],
            str(len(result.folds)),
            *(mean_std_text(mean_std([scores[score] for scores in control.folds])) for score in ("WA", "UA")),
            *(percent(control.pooled[score]) for score in ("WA", "UA")),
        ]
        for result in audits
        for name, control in result.controls.items()
    ]
    notes = [
        "most frequent class: of the training part. scenario alone: the most frequent class of the training "
        "utterances of the same scenario. bag of words: logistic regression on the words of the transcript. "
        "None of them sees a feature."
    ]
    lacking = [result.protocol for result in audits if not result.folds]
    if lacking:
        notes.append(f"No folds by {one_line(lacking)}; the reason is below.")
    title = f"{corpus.name}: what controls score without any feature, {len(corpus)} utterances, %"
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
