"""Turns a group of runs into tables of what differs between them: from the best, from a reference, by modality."""

import json
from collections.abc import Mapping
from typing import Any

from gia_mic.extract.corpus import MODALITIES
from gia_mic.extract.errors import one_line
from gia_mic.fuse.measure import Measure
from gia_mic.fuse.runs.robustness import subsets as subsets_of
from gia_mic.fuse.runs.runs import Run, differences, setting_text
from gia_mic.report.compare import SIGNIFICANCE, Comparison
from gia_mic.report.group import Group
from gia_mic.report.statistics import BINS, DRAWS, LEVEL, Interval
from gia_mic.report.summary import Summary
from gia_mic.report.table import Column, Table
from gia_mic.report.wording import mean_std_text, modalities, percent, score_text, unit

__all__ = ["ablation", "evidence", "subsets"]

INTERVAL = f"{LEVEL:.0%} interval".replace("%", " %")
FEW = 20
"""Dialogs or speakers below which a bootstrap interval is told to be rough."""


def evidence(group: Group) -> Table:
    """Return the interval of each row, its calibration where it has one, and its comparison with the best one."""
    measure, primary = group.measure, group.measure.primary
    several, calibrated = len(group.rows) > 1, group.target.one_of_many
    columns = [
        Column("model"),
        Column("value", f"pooled {primary}", number=True),
        Column(INTERVAL, f"pooled {primary}", number=True),
        *(_comparison_columns("from the best") if several else []),
        *([Column("McNemar p", number=True)] if several and calibrated else []),
        *([Column("ECE", number=True)] if calibrated else []),
    ]
    rows = []
    for name, row, row_evidence, compared in zip(
        group.names, group.rows, group.evidence, group.against_best if several else [None], strict=True
    ):
        cells = [
            name,
            score_text(measure, primary, row.pooled[primary]),
            _interval(measure, row_evidence.intervals[primary]),
        ]
        if several:
            cells += _comparison(measure, compared)
        if several and calibrated:
            cells.append("—" if compared is None else _p(compared.mcnemar_holm))
        rows.append([*cells, *([percent(row_evidence.calibration_error)] if calibrated else [])])
    notes = [_how(group), *_uncommon(group, group.against_best if several else [])]
    if several:
        notes.append(
            f"p: no difference from {group.names[group.best]}; {'both ' if calibrated else ''}corrected for the number "
            "of models (Holm). The best was picked from the same data, which flatters it."
            + (" McNemar's exact test takes utterances as independent, and one seed." if calibrated else "")
        )
    if calibrated:
        against = ", against the votes for the class that is answered" if group.measure.target.kind == "votes" else ""
        notes.append(f"ECE: expected calibration error in {BINS} bins{against}, %.")
    return Table("How sure that is", columns, rows, notes)


def ablation(group: Group, reference: int) -> Table:
    """Return what sets each row apart from a reference, and what that does to the primary metric."""
    measure, primary = group.measure, group.measure.primary
    against = group.against(reference)
    base = group.rows[reference]
    rows = [[f"{group.names[reference]} (reference)", _primary(base), "", "", "", ""]]
    for number, (name, row, compared) in enumerate(zip(group.names, group.rows, against, strict=True)):
        if number != reference:
            rows.append([name, _primary(row), *_comparison(measure, compared), _changes(base.run, row.run)])
    columns = [
        Column("model"),
        Column("mean ± std", primary, number=True),
        *_comparison_columns("from the reference"),
        Column("differs in"),
    ]
    notes = [
        _how(group),
        f"Differences are of the pooled {primary}; p corrected for the number of models (Holm), real below "
        f"{SIGNIFICANCE}.",
        *_uncommon(group, against),
    ]
    title = f"What each change does, against {group.names[reference]}{unit(measure, [primary])}"
    return Table(title, columns, rows, notes)


def subsets(group: Group) -> Table | None:
    """Return the primary metric of each model by its modalities; None where no model was trained on two subsets."""
    measure, primary = group.measure, group.measure.primary
    families: dict[str, list[dict[str, Summary]]] = {}
    ceilings: dict[str, float] = {}
    for row in group.rows:
        subset = "".join(letter for letter, name in MODALITIES.items() if name in row.run.modalities)
        alike = families.setdefault(_family(row.run), [{}])
        if subset in alike[-1]:
            alike.append({})
        alike[-1][subset] = row
        if primary in row.run.ceilings:
            ceilings[subset] = row.run.ceilings[primary]
    several = [family for alike in families.values() for family in alike if len(family) > 1]
    if not several:
        return None
    present = [
        subset for subset in subsets_of(list(MODALITIES.values())) if any(subset in family for family in several)
    ]
    rows = []
    for family in several:
        widest = max(family.values(), key=lambda row: len(row.run.modalities))
        name = group.names[group.rows.index(widest)]
        rows.append([name, *(_primary(family[subset]) if subset in family else "—" for subset in present)])
    if ceilings:
        rows.append(["ceiling", *(score_text(measure, primary, ceilings.get(subset)) for subset in present)])
    columns = [Column(" ".join(subset), number=True) for subset in present]
    meaning = ", ".join(f"{letter} {name}" for letter, name in MODALITIES.items())
    return Table(
        f"{primary} of each subset of the modalities, mean ± std over folds{unit(measure, [primary])}",
        [Column("model"), *columns],
        rows,
        [f"{meaning}."],
    )


def _primary(row: Summary) -> str:
    return mean_std_text(row.measure, row.measure.primary, row.primary)


def _family(run: Run) -> str:
    """Return what runs of different modalities share when all else is the same."""
    config = {key: value for key, value in run.config.items() if key not in ("modalities", "features", "corpus")}
    return json.dumps([config, run.config["corpus"].get("digest")], sort_keys=True)


def _changes(base: Run, run: Run) -> str:
    """Say in few words what sets a run apart; of another fusion not all its settings."""
    if run.fusion != base.fusion:
        changes = [f"fusion {run.fusion}"]
    else:
        changes = [f"{path} {setting_text(new)}" for path, new in _changed(base.config["model"], run.config["model"])]
    if run.modalities != base.modalities:
        changes.append(f"modalities {modalities(run.modalities)}")
    else:
        fingerprints = [
            {name: entry.get("fingerprint") for name, entry in one.config["features"].items()} for one in (base, run)
        ]
        changes += [f"{name} features" for name in differences(fingerprints)]
    changes += [
        f"{path} {setting_text(new)}" for path, new in _changed(base.config["training"], run.config["training"])
    ]
    if run.select != base.select:
        changes.append(f"select {run.select}")
    if run.seeds != base.seeds:
        changes.append(f"seeds {one_line(run.seeds)}")
    return one_line(changes, 4) or "nothing"


def _changed(base: Mapping[str, Any], config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(path, new) for path, (_, new) in differences([base, config]).items()]


def _how(group: Group) -> str:
    group_evidence = group.evidence
    over = group_evidence[0].over
    what = over if over == "dialogs" else f"{over} (they name no dialogs)"
    counts = sorted({entry.groups for entry in group_evidence})
    size = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    rough = f" Fewer than {FEW} make them rough." if counts[0] < FEW else ""
    heading = "Intervals and p" if len(group_evidence) > 1 else "Interval"
    return f"{heading}: bootstrap of the pooled {group.measure.primary} over {size} {what}, {DRAWS:,} draws.{rough}"


def _uncommon(group: Group, comparisons: list[Comparison | None]) -> list[str]:
    """Say which rows couldn't be compared on all of their utterances."""
    notes = []
    if comparisons.count(None) > 1:
        truth = {"label": "classes or labels", "scores": "true scores"}.get(
            group.target.kind, f"true {group.target.kind}"
        )
        notes.append(f"—: no utterance in common with the other run, or other {truth}.")
    evidences = group.evidence
    for name, row_evidence, comparison in zip(group.names, evidences, comparisons, strict=True) if comparisons else ():
        tested = round(row_evidence.weight.sum())
        if comparison is not None and comparison.utterances < tested:
            notes.append(
                f"{name}: compared on the {comparison.utterances:,} of its {tested:,} utterances that both have."
            )
    return notes


def _comparison_columns(group: str) -> list[Column]:
    return [
        Column("difference", group, number=True),
        Column(INTERVAL, group, number=True),
        Column("p", group, number=True),
    ]


def _comparison(measure: Measure, comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return ["—", "—", "—"]
    difference = comparison.difference
    return [
        score_text(measure, measure.primary, difference.value, signed=True),
        _interval(measure, difference.interval, signed=True),
        _p(comparison.holm),
    ]


def _interval(measure: Measure, interval: Interval, signed: bool = False) -> str:
    low, high = (score_text(measure, measure.primary, end, signed) for end in (interval.low, interval.high))
    return f"{low} … {high}"


def _p(p: float | None) -> str:
    return "—" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
