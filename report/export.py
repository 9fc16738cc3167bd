"""Turns groups of runs into data for other programs: JSON with everything, CSV with one line a fold.

JSON, scores as fractions in 0 … 1 with all their digits:

    {"format": 1,
     "groups": [{"corpus", "protocol", "caveat": why these numbers are too high, else "", "best": name,
       "controls": {"majority" | "scenario": {"folds": [scores], "pooled": scores}}, which see no feature,
       "runs": [{"name": as in the tables, "run": folder, "fusion", "modalities", "select", "note",
         "ceiling": float | null, "complete": bool, "folds_expected": int, "seeds": [int], "trainings": int,
         "unfinished": int, "WA": {"mean", "std": float | null, "count"}, "UA": the same,
         "pooled": scores, "folds": [{"fold": int, "value", "seeds": [int], **scores}],
         "intervals": {"level", "draws", "over": "dialogs" | "speakers" | "utterances", "count", "WA": [low, high],
           "UA": the same},
         "calibration_error": float, "against_best": comparison | null, "against_reference": comparison | null,
         "robustness": [{"condition": "subset" | "noise" | "lost_frames", "level": letters | float,
           "WA": as above, "UA": the same}],
         "config": the shared part of config.json,
         "provenance": {"corpus_digests", "recognised", "features", "commits", "versions", "devices", "commands",
           "created"}}]}]}

    comparison: {"utterances": int, "UA": difference, "interval": [low, high], "p", "p_holm", "mcnemar_p",
      "mcnemar_p_holm", "distinguishable": bool}, of pooled scores, null where nothing can be compared
    scores: {"WA", "UA", "macro_F1", "weighted_F1", "recall": {class: float | null}, "confusion": [[counts]], rows true}

Over several seeds a fold's scores are those of the mean confusion matrix, so its counts may be fractions.

CSV, scores in percent with one decimal: one line a fold, then three a run (`mean` and `std` over folds, and `pooled`),
named in the column `fold`. The line `pooled` also has the 95 % intervals and the calibration error. Where models
were tested with less than they were trained on, a column has the UA under each condition, such as `UA subset st`. Only
`--format json` has the confusion matrices and comparisons.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gia_mic.fuse.runs.robustness import Condition
from gia_mic.report.compare import Comparison
from gia_mic.report.group import Group
from gia_mic.report.provenance import facts
from gia_mic.report.robustness import fold_robustness, run_robustness
from gia_mic.report.statistics import DRAWS, LEVEL
from gia_mic.report.summary import MeanStd, Summary
from gia_mic.report.table import clean

__all__ = ["as_csv", "as_json"]

FORMAT = 1
LABELS = ("corpus", "protocol", "select", "run", "note", "fusion", "modalities", "seeds", "ceiling")
EVIDENCE = ("WA low", "WA high", "UA low", "UA high", "calibration error")
SCORES = ("WA", "UA", "macro_F1", "weighted_F1")


def as_json(groups: Sequence[Group], reference: str | None = None) -> str:
    """Return everything that is known of the groups, as JSON; `reference` as in `render.render`."""
    value = {
        "format": FORMAT,
        "groups": [
            {
                "corpus": group.corpus,
                "protocol": group.protocol,
                "caveat": group.caveat,
                "best": group.names[group.best],
                "controls": {
                    name: {"folds": control.folds, "pooled": control.pooled} for name, control in group.controls.items()
                },
                "runs": _runs(group, reference),
            }
            for group in groups
        ],
    }
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def as_csv(groups: Sequence[Group]) -> str:
    """Return the scores of all groups as one table, for a spreadsheet or pandas."""
    classes = list(dict.fromkeys(label for group in groups for label in group.classes))
    conditions = [condition for group in groups for row in group.rows for condition in run_robustness(row.run)]
    damaged = list(dict.fromkeys(_heading(condition) for condition in conditions))
    names = [*SCORES, *(f"recall {label}" for label in classes), *damaged]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([clean(name) for name in (*LABELS, "fold", "tested on", *names, *EVIDENCE)])
    for group in groups:
        for row, evidence in zip(group.rows, group.evidence, strict=True):
            for fold, value, scores in _lines(row, names):
                labels = [clean(label) for label in (*_labels(row), fold, value)]
                certainty = (
                    evidence.wa.low,
                    evidence.wa.high,
                    evidence.ua.low,
                    evidence.ua.high,
                    evidence.calibration_error,
                )
                numbers = [
                    *(scores.get(name) for name in names),
                    *(certainty if fold == "pooled" else [None] * len(certainty)),
                ]
                writer.writerow([*labels, *map(_percent, numbers)])
    return text.getvalue().rstrip("\n")


def _runs(group: Group, reference: str | None) -> list[dict[str, Any]]:
    row_number = None if reference is None else group.find_row(reference)
    against = [None] * len(group.rows) if row_number is None else group.against(row_number)
    columns = (group.names, group.rows, group.evidence, group.against_best, against)
    return [
        {
            **_run(name, row),
            "intervals": {
                "level": LEVEL,
                "draws": DRAWS,
                "over": evidence.over,
                "count": evidence.groups,
                "WA": [evidence.wa.low, evidence.wa.high],
                "UA": [evidence.ua.low, evidence.ua.high],
            },
            "calibration_error": evidence.calibration_error,
            "against_best": _comparison(best),
            "against_reference": _comparison(other),
            "robustness": [
                {"condition": kind, "level": level, **{name: _mean_std(scores[name]) for name in scores}}
                for (kind, level), scores in run_robustness(row.run).items()
            ],
            "config": dict(row.run.config),
            "provenance": facts([row.run]),
        }
        for name, row, evidence, best, other in zip(*columns, strict=True)
    ]


def _comparison(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    return {
        "utterances": comparison.utterances,
        "UA": comparison.ua.value,
        "interval": [comparison.ua.interval.low, comparison.ua.interval.high],
        "p": comparison.ua.p,
        "p_holm": comparison.holm,
        "mcnemar_p": comparison.mcnemar,
        "mcnemar_p_holm": comparison.mcnemar_holm,
        "distinguishable": comparison.distinguishable,
    }


def _run(name: str, row: Summary) -> dict[str, Any]:
    run = row.run
    return {
        "name": name,
        "run": run.name,
        "fusion": run.fusion,
        "modalities": run.modalities,
        "select": run.select,
        "note": run.note,
        "ceiling": run.ceiling,
        "complete": run.complete,
        "folds_expected": run.expected,
        "seeds": run.seeds,
        "trainings": len(run.folds),
        "unfinished": run.unfinished,
        "WA": _mean_std(row.wa),
        "UA": _mean_std(row.ua),
        "pooled": row.pooled,
        "folds": [
            {"fold": fold.number, "value": fold.value, "seeds": list(fold.seeds), **fold.scores} for fold in row.folds
        ],
    }


def _mean_std(scores: MeanStd) -> dict[str, Any]:
    return {"mean": scores.mean, "std": scores.std, "count": scores.count}


def _labels(row: Summary) -> list[str]:
    run = row.run
    seeds = " ".join(str(seed) for seed in run.seeds)
    modalities = "+".join(run.modalities)
    return [
        run.corpus,
        run.protocol,
        run.select,
        run.name,
        run.note,
        run.fusion,
        modalities,
        seeds,
        _percent(run.ceiling),
    ]


def _lines(row: Summary, names: Sequence[str]) -> list[tuple[str, str, dict[str, float | None]]]:
    robustness = fold_robustness(row.run)
    folds = [
        _flat(fold.scores)
        | {_heading(condition): scores["UA"] for condition, scores in robustness.get(fold.number, {}).items()}
        for fold in row.folds
    ]
    lines = [(str(fold.number), fold.value, scores) for fold, scores in zip(row.folds, folds, strict=True)]
    values = {name: [score for scores in folds if (score := scores.get(name)) is not None] for name in names}
    mean: dict[str, float | None] = {name: float(np.mean(shares)) for name, shares in values.items() if shares}
    std: dict[str, float | None] = {
        name: float(np.std(shares, ddof=1)) for name, shares in values.items() if len(shares) > 1
    }
    return [*lines, ("mean", "", mean), ("std", "", std), ("pooled", "", _flat(row.pooled))]


def _flat(scores: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        **{name: scores[name] for name in SCORES},
        **{f"recall {label}": share for label, share in scores["recall"].items()},
    }


def _heading(condition: Condition) -> str:
    """Return the heading of a column of UA under a condition, such as UA subset st."""
    return f"UA {condition.kind} {condition.level}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
