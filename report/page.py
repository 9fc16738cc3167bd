"""Turns groups of runs into one self-contained web page: no network, no build step, all text escaped."""

import base64
import hashlib
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from gia_mic.report import error_analysis, figures
from gia_mic.report.compare import Evidence
from gia_mic.report.group import Group
from gia_mic.report.provenance import provenance
from gia_mic.report.sections import sections
from gia_mic.report.summary import Summary
from gia_mic.report.table import clean
from gia_mic.report.tables import headline
from gia_mic.report.wording import pair, percent, score_text, unit

__all__ = ["page"]

HERE = Path(__file__).resolve().parent
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser lets the page do: nothing from elsewhere, and no script but its own."""

CONFUSED = {"scores": "Utterances with the largest errors", "labels": "Utterances with the most wrong labels"}
FEW_MARKS = 500
"""Most marks of a scatter of a model that isn't the best one, which keeps a page of many models small."""


def page(groups: Sequence[Group], reference: str | None = None) -> str:
    """Return the page of all groups; `reference` as in `render.render`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters["percent"] = percent
    script = (HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        policy=f"{POLICY}; script-src 'sha256-{digest}'",
        groups=[_group(number, group, reference) for number, group in enumerate(groups, start=1)],
    )


def _group(group_number: int, group: Group, reference: str | None) -> dict[str, Any]:
    measure, primary = group.measure, group.measure.primary
    low, high = _scale(group)
    interval_figures = [
        ""
        if (value := row.pooled[primary]) is None or math.isnan(evidence.intervals[primary].low)
        else figures.interval(
            value,
            evidence.intervals[primary],
            [fold.scores[primary] for fold in row.folds if fold.scores[primary] is not None],
            row.run.ceilings.get(primary),
            low,
            high,
            partial(score_text, measure, primary),
        )
        for row, evidence in zip(group.rows, group.evidence, strict=True)
    ]
    best = group.rows[group.best].run
    return {
        "anchor": f"group-{group_number}",
        "title": group.title,
        "caveat": group.caveat,
        "kind": group.target.kind,
        "primary": primary,
        "worst": "highest" if primary in measure.lower_is_better else "lowest",
        "headline": headline(group),
        "axis": figures.axis(low, high, primary in measure.in_percent),
        "intervals": interval_figures,
        "limited": any(primary in row.run.ceilings for row in group.rows),
        "tables": sections(group, reference),
        "models": [_model(group, number) for number in range(len(group.rows))],
        "names": best.classes,
        "confused": error_analysis.confused_utterances(group),
        "confused_note": _confused_note(group),
        "answer_heading": f"said by {group.names[group.best]}" if group.target.kind == "labels" else "usual answer",
        "confused_title": CONFUSED.get(group.target.kind, "Utterances most often confused"),
        "made_by": provenance([row.run for row in group.rows]),
    }


def _confused_note(group: Group) -> str:
    """Say what the numbers of the utterances that are most wrong are."""
    best = group.names[group.best]
    answers = "all models' answers" + (" over all seeds" if any(len(row.run.seeds) > 1 for row in group.rows) else "")
    most = "at most the first 200 are shown."
    if group.target.kind == "scores":
        return (
            f"error: how far the answers are from what is true, in % of the score's range, the mean over {answers}; "
            f"{most} said: what {best} answers."
        )
    if group.target.kind == "labels":
        return (
            f"wrong: the part of {answers} to all labels that is wrong; {most} The last columns are the answers of "
            f"{best} in %: a label applies above 50."
        )
    return (
        f"wrong: the part of {answers} that is wrong; {most} The last columns are the probabilities, in %, that "
        f"{best} gives."
    )


def _model(group: Group, number: int) -> dict[str, Any]:
    row, evidence, measure = group.rows[number], group.evidence[number], group.measure
    history = error_analysis.learning_curves(row.run)
    loss = {name: values for name, values in history.items() if name == "loss"}
    scores = {name.replace("_", " "): values for name, values in history.items() if name.endswith(measure.headline)}
    in_percent = measure.primary in measure.in_percent
    best = number == group.best
    return {
        "name": group.names[number],
        "best": best,
        "row": row,
        "short": ", ".join(
            f"{name} {score_text(measure, name, row.pooled[name])}{' %' if name in measure.in_percent else ''}"
            for name in sorted(pair(measure), key=lambda name: name != measure.primary)
        ),
        "confusion": _confusion(row) if group.target.one_of_many else None,
        "scatters": _scatters(group, evidence, figures.MARKS if best else FEW_MARKS),
        "labels": _labels(row),
        "reliability": None if evidence.bins is None else figures.reliability(evidence.bins),
        "calibration_error": evidence.calibration_error,
        "loss": figures.curves(loss) if loss else None,
        "scores": figures.curves(scores, high=1.0, percent=in_percent) if scores else None,
        "scores_title": "Accuracy while training, %"
        if group.target.kind == "label"
        else f"{measure.primary} while training{unit(measure, [measure.primary])}",
        "speakers": _speakers(row),
    }


def _speakers(row: Summary) -> list[dict[str, Any]]:
    """Return name, utterances and primary metric of each speaker, and the length of its bar in 0 … 1."""
    measure, primary = row.measure, row.measure.primary
    lines = []
    for speaker in error_analysis.speaker_scores(row.run):
        value = speaker.scores[primary]
        lines.append(
            {
                "name": speaker.name,
                "utterances": speaker.utterances,
                "text": score_text(measure, primary, value),
                "share": min(max(value or 0.0, 0.0), 1.0),
            }
        )
    return lines


def _labels(row: Summary) -> list[dict[str, Any]]:
    """Return name and F1 of each label; none of other targets."""
    if row.run.target.kind != "labels":
        return []
    return [{"name": name, "f1": row.pooled[f"F1_{name}"]} for name in row.run.classes]


def _scatters(group: Group, evidence: Evidence, most: int) -> list[dict[str, Any]]:
    """Return the diagrams of each score: answers over what is true, and errors over it; none of classes."""
    if group.target.kind != "scores":
        return []
    answers = error_analysis.mean_answers(evidence)
    columns = zip(group.target.names, group.target.ranges, answers.true.T, answers.mean.T, strict=True)
    return [
        {
            "name": name,
            "answers": figures.scatter(true, answer, low, high, most),
            "errors": figures.residuals(true, answer, low, high, most),
        }
        for name, (low, high), true, answer in columns
    ]


def _confusion(row: Summary) -> list[dict[str, Any]]:
    """Return a line of the matrix for each true class: counts, and their share of the line."""
    counts = np.array(row.pooled["confusion"], dtype=float)
    lines = []
    for label, line in zip(row.run.classes, counts, strict=True):
        total = line.sum()
        shares = line / total if total else np.zeros_like(line)
        lines.append(
            {
                "label": label,
                "total": total,
                "cells": [
                    {"share": float(share), "count": float(count), "right": other == label}
                    for share, count, other in zip(shares, line, row.run.classes, strict=True)
                ],
            }
        )
    return lines


def _scale(group: Group) -> tuple[float, float]:
    primary = group.measure.primary
    scores = [end for one in group.evidence for end in (one.intervals[primary].low, one.intervals[primary].high)]
    scores += [fold.scores[primary] for row in group.rows for fold in row.folds]
    scores += [row.run.ceilings[primary] for row in group.rows if primary in row.run.ceilings]
    numbers = [score for score in scores if score is not None and not math.isnan(score)]
    return figures.scale(numbers or [0.0], 0.0 if primary in group.measure.in_percent else -1.0)
