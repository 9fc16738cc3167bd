"""Turns groups of runs into data for other programs: JSON with everything, CSV with one line a fold.

JSON, scores as fractions in 0 … 1 with all their digits:

    {"format": 1,
     "groups": [{"corpus", "protocol", "optimistic": epoch chosen on the test fold,
       "runs": [{"name", "fusion", "modalities", "select", "note", "ceiling": float | null, "complete": bool,
         "folds_expected": int, "seeds": [int], "trainings": int, "unfinished": int,
         "WA": {"mean", "std": float | null, "count"}, "UA": the same,
         "pooled": scores, "folds": [{"fold": int, "value", "seeds": [int], **scores}],
         "config": the shared part of config.json,
         "provenance": {"corpus_digests", "features", "commits", "versions", "devices", "commands", "created"}}]}]}

    scores: {"WA", "UA", "macro_F1", "weighted_F1", "recall": {class: float | null}, "confusion": [[counts]], rows true}

Over several seeds a fold's scores are those of the mean confusion matrix, so its counts may be fractions.

CSV, scores in percent with one decimal: one line a fold, then three a run (`mean` and `std` over folds, and `pooled`),
named in the column `fold`. Only `--format json` has the confusion matrices.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from report.provenance import facts
from report.summary import Spread, Summary
from report.table import clean
from report.tables import Group

__all__ = ["as_csv", "as_json"]

FORMAT = 1
LABELS = ("corpus", "protocol", "select", "run", "note", "fusion", "modalities", "seeds", "ceiling")
SCORES = ("WA", "UA", "macro_F1", "weighted_F1")


def as_json(groups: Sequence[Group]) -> str:
    """Return everything that is known of the groups, as JSON."""
    value = {
        "format": FORMAT,
        "groups": [
            {
                "corpus": group.corpus,
                "protocol": group.protocol,
                "optimistic": group.optimistic,
                "runs": [_run(row) for row in group.rows],
            }
            for group in groups
        ],
    }
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def as_csv(groups: Sequence[Group]) -> str:
    """Return the scores of all groups as one table, for a spreadsheet or pandas."""
    classes = list(dict.fromkeys(label for group in groups for label in group.classes))
    names = [*SCORES, *(f"recall {label}" for label in classes)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([clean(name) for name in (*LABELS, "fold", "tested on", *names)])
    for group in groups:
        for row in group.rows:
            for fold, value, scores in _lines(row, names):
                labels = [clean(label) for label in (*_labels(row), fold, value)]
                writer.writerow([*labels, *(_percent(scores.get(name)) for name in names)])
    return text.getvalue().rstrip("\n")


def _run(row: Summary) -> dict[str, Any]:
    run = row.run
    return {
        "name": run.name,
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
        "WA": _spread(row.wa),
        "UA": _spread(row.ua),
        "pooled": row.pooled,
        "folds": [
            {"fold": fold.number, "value": fold.value, "seeds": list(fold.seeds), **fold.scores} for fold in row.folds
        ],
        "config": dict(run.config),
        "provenance": facts([run]),
    }


def _spread(scores: Spread) -> dict[str, Any]:
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
    folds = [_flat(fold.scores) for fold in row.folds]
    lines = [(str(fold.number), fold.value, scores) for fold, scores in zip(row.folds, folds, strict=True)]
    values = {name: [score for scores in folds if (score := scores.get(name)) is not None] for name in names}
    mean: dict[str, float | None] = {name: float(np.mean(found)) for name, found in values.items() if found}
    std: dict[str, float | None] = {
        name: float(np.std(found, ddof=1)) for name, found in values.items() if len(found) > 1
    }
    return [*lines, ("mean", "", mean), ("std", "", std), ("pooled", "", _flat(row.pooled))]


def _flat(scores: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        **{name: scores[name] for name in SCORES},
        **{f"recall {label}": share for label, share in scores["recall"].items()},
    }


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
