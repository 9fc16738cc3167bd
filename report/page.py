"""Turns groups of runs into one self-contained web page: no network, no build step, all text escaped."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from gia_mic.report import error_analysis, figures
from gia_mic.report.group import Group
from gia_mic.report.provenance import provenance
from gia_mic.report.sections import sections
from gia_mic.report.summary import Summary
from gia_mic.report.table import clean
from gia_mic.report.tables import headline, percent

__all__ = ["page"]

HERE = Path(__file__).resolve().parent
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser lets the page do: nothing from elsewhere, and no script but its own."""


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
    low, high = _scale(group)
    drawn = [
        figures.interval(
            row.pooled["UA"], evidence.ua, [fold.scores["UA"] for fold in row.folds], row.run.ceiling, low, high
        )
        for row, evidence in zip(group.rows, group.evidence, strict=True)
    ]
    utterances = error_analysis.confused_utterances(group)
    return {
        "anchor": f"group-{group_number}",
        "title": f"{group.corpus}, by {group.protocol}",
        "caveat": group.caveat,
        "headline": headline(group),
        "axis": figures.axis(low, high),
        "intervals": drawn,
        "limited": any(row.run.ceiling is not None for row in group.rows),
        "tables": sections(group, reference),
        "models": [_model(group, number) for number in range(len(group.rows))],
        "classes": group.rows[group.best].run.classes,
        "confused": utterances,
        "several": sum(len(row.run.seeds) for row in group.rows) > 1,
        "best": group.names[group.best],
        "made_by": provenance([row.run for row in group.rows]),
    }


def _model(group: Group, number: int) -> dict[str, Any]:
    row, evidence = group.rows[number], group.evidence[number]
    history = error_analysis.learning_curves(row.run)
    loss = {name: values for name, values in history.items() if name == "loss"}
    scores = {name.replace("_", " "): values for name, values in history.items() if name.endswith(("UA", "WA"))}
    return {
        "name": group.names[number],
        "best": number == group.best,
        "row": row,
        "confusion": _confusion(row),
        "reliability": figures.reliability(evidence.bins),
        "calibration_error": evidence.calibration_error,
        "loss": figures.curves(loss) if loss else None,
        "scores": figures.curves(scores, high=1.0) if scores else None,
        "speakers": error_analysis.speaker_scores(row.run),
    }


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
    scores = [score for evidence in group.evidence for score in (evidence.ua.low, evidence.ua.high)]
    scores += [fold.scores["UA"] for row in group.rows for fold in row.folds]
    scores += [row.run.ceiling for row in group.rows if row.run.ceiling is not None]
    return figures.scale(scores)
