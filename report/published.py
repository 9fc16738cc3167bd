"""Turns published numbers on IEMOCAP into a table beside ours, each with what is known of how it was made.

Only numbers read in the source named, and only protocol facts stated there; the rest is unknown, and says so. A number
known to be chosen on the test fold never stands here, ours included.
"""

from dataclasses import dataclass

from gia_mic.report.group import Group
from gia_mic.report.table import Column, Table
from gia_mic.report.wording import mean_std_text, modalities, percent

__all__ = ["IEMOCAP", "Published", "is_iemocap", "published"]

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Published:
    """A number from a paper.

    Attributes:
        method: Short name.
        source: Where it stands.
        modalities: Names of its modalities.
        wa: In 0 … 1; None where it isn't given.
        ua: In 0 … 1; None where it isn't given.
        encoders: frozen, fine-tuned or unknown.
        folds: What is held out, such as session, or unknown.
        select: How the epoch was chosen, or unknown.
    """

    method: str
    source: str
    modalities: tuple[str, ...]
    wa: float | None
    ua: float | None
    encoders: str = UNKNOWN
    folds: str = UNKNOWN
    select: str = UNKNOWN


IEMOCAP = (
    Published(
        "GIA-MIC, the paper",
        "He, Mi, Toda, INTERSPEECH 2025, arXiv:2506.00865, abstract",
        ("speech", "text", "visual"),
        wa=0.807,
        ua=0.813,
    ),
    Published(
        "GMP-ATL",
        "Pan et al., 2024, arXiv:2405.02151, abstract",
        ("speech",),
        wa=0.800,
        ua=0.820,
        encoders="fine-tuned",
    ),
    Published(
        "wav2vec 2.0, HuBERT",
        "Wang, Boumadane, Heba, 2021, arXiv:2111.02735, abstract",
        ("speech",),
        wa=0.7301,
        ua=None,
        encoders="fine-tuned",
        folds="new speakers",
    ),
    Published(
        "the same",
        "Wang, Boumadane, Heba, 2021, arXiv:2111.02735, abstract",
        ("speech",),
        wa=0.7958,
        ua=None,
        encoders="fine-tuned",
        folds="same speakers",
    ),
)
"""The method's own paper first."""


def is_iemocap(group: Group) -> bool:
    """Whether a group is of the four-class IEMOCAP, by its corpus's name, target and number of classes."""
    return group.target.kind == "label" and group.corpus.lower().startswith("iemocap") and len(group.classes) == 4


def published(group: Group) -> Table | None:
    """Return published numbers beside a group's; None for another corpus, and for numbers with a caveat."""
    if not is_iemocap(group) or group.caveat:
        return None
    rows = [
        [
            paper.method,
            modalities(paper.modalities),
            percent(paper.wa),
            percent(paper.ua),
            paper.encoders,
            paper.folds,
            paper.select,
        ]
        for paper in IEMOCAP
    ]
    for name, row in zip(group.names, group.rows, strict=True):
        ours = (
            *(mean_std_text(row.measure, name, row.over_folds[name]) for name in ("WA", "UA")),
            "frozen",
            f"{row.run.protocol} ({len(row.folds)})",
            row.run.select,
        )
        rows.append([f"{name}, ours", modalities(row.run.modalities), *ours])
    columns = [
        Column("method"),
        Column("modalities"),
        Column("WA", number=True),
        Column("UA", number=True),
        Column("encoders"),
        Column("folds"),
        Column("select"),
    ]
    sources = [f"{paper.method}: {paper.source}." for paper in IEMOCAP if paper.method != "the same"]
    notes = [
        "Compare two of these rows only where all their flags are equal and known; unknown: the source named doesn't "
        "say. new speakers, same speakers: whether the test speakers occur in training. Ours: mean ± std over folds.",
        *sources,
    ]
    return Table("Published numbers on IEMOCAP, four classes, beside ours, %", columns, rows, notes)
