"""Turns groups of runs into data for other programs: JSON with everything, CSV with one line a fold.

JSON, scores with all their digits, accuracies and other shares as fractions in 0 … 1:

    {"format": 1,
     "groups": [{"corpus", "target": absent if it is the label, else {"kind", "names", "ranges"}, "protocol",
       "caveat": why these numbers are too high, else "", "best": name,
       "controls": {"majority" | "mean" | "scenario": {"folds": [scores], "pooled": scores}}, which see no feature,
       "runs": [{"name": as in the tables, "run": folder, "fusion", "modalities", "select", "note",
         "ceiling": float | null, or {metric: float} if the target isn't the label, "complete": bool,
         "folds_expected": int, "seeds": [int], "trainings": int, "unfinished": int,
         METRIC: {"mean": float | null, "std": float | null, "count"} for each metric of the main table, such as "UA",
         "pooled": scores, "folds": [{"fold": int, "value", "seeds": [int], **scores}],
         "intervals": {"level", "draws", "over": "dialogs" | "speakers" | "utterances", "count",
           METRIC: [low, high]},
         "calibration_error": float | null, "against_best": comparison | null, "against_reference": comparison | null,
         "robustness": [{"condition": "subset" | "noise" | "lost_frames", "level": letters | float,
           METRIC: as above}],
         "config": the shared part of config.json,
         "provenance": {"corpus_digests", "recognised", "features", "commits", "versions", "devices", "commands",
           "created"}}]}]}

    comparison: {"utterances": int, METRIC: difference of the primary one, "interval": [low, high], "p", "p_holm",
      "mcnemar_p", "mcnemar_p_holm" (null but for one class of many), "distinguishable": bool}, of pooled scores, null
      where nothing can be compared
    scores: every METRIC of the target, float | null; of one class of many, or votes, also "recall": {class: float |
      null} and "confusion": [[counts]], rows true

Over several seeds a fold's scores are those of the mean sums over utterances, so its counts may be fractions.

CSV, fractions in percent with one decimal, other scores with three: one line a fold, then three a run (`mean` and `std`
over folds, and `pooled`), named in the column `fold`. The line `pooled` also has the 95 % intervals and the calibration
error. Where models were tested with less than they were trained on, a column has the primary metric under each
condition, such as `UA subset st`. Only `--format json` has the confusion matrices and comparisons.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gia_mic.fuse.measure import Measure
from gia_mic.fuse.runs.robustness import Condition
from gia_mic.report.compare import Comparison, Evidence
from gia_mic.report.group import Group
from gia_mic.report.provenance import facts
from gia_mic.report.robustness import fold_robustness, run_robustness
from gia_mic.report.statistics import DRAWS, LEVEL
from gia_mic.report.summary import MeanStd, Summary, mean_std
from gia_mic.report.table import clean

__all__ = ["as_csv", "as_json", "fold_rows", "run_rows"]

FORMAT = 1
LABELS = ("protocol", "select", "run", "note", "fusion", "modalities", "seeds", "ceiling")


def as_json(groups: Sequence[Group], reference: str | None = None) -> str:
    """Return everything that is known of the groups, as JSON; `reference` as in `render.render`."""
    value = {
        "format": FORMAT,
        "groups": [
            {
                "corpus": group.corpus,
                **({} if group.target.kind == "label" else {"target": asdict(group.target)}),
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
    blocks = [_headings(group) for group in groups]
    headings = list(
        dict.fromkeys(heading for alike in zip(*blocks, strict=True) for block in alike for heading in block)
    )
    targets = ["target"] if any(group.target.kind != "label" for group in groups) else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([clean(name) for name in ("corpus", *targets, *LABELS, "fold", "tested on", *headings)])
    for group, of_group in zip(groups, blocks, strict=True):
        metrics = {heading: metric for block in of_group for heading, metric in block.items()}
        for row, evidence in zip(group.rows, group.evidence, strict=True):
            labels = [group.corpus, *(group.target.name for _ in targets), *_labels(row)]
            for fold, value, scores in _lines(row, evidence, list(metrics)):
                numbers = [
                    _text(group.measure, metrics[heading], scores.get(heading)) if heading in metrics else ""
                    for heading in headings
                ]
                writer.writerow([*map(clean, (*labels, fold, value)), *numbers])
    return text.getvalue().rstrip("\n")


def run_rows(group: Group) -> list[dict[str, Any]]:
    """Return a row of plain values for each run, as `Report.rows` describes them."""
    rows = []
    comparisons = zip(group.names, group.rows, group.evidence, group.against_best, strict=True)
    for number, (name, row, evidence, against_best) in enumerate(comparisons):
        scores: dict[str, Any] = {}
        for metric, over_folds in row.over_folds.items():
            interval = evidence.intervals[metric]
            scores[metric] = _known(over_folds.mean)
            scores[f"{metric}_std"] = over_folds.std
            scores[f"{metric}_pooled"] = row.pooled[metric]
            scores |= {f"{metric}_low": _known(interval.low), f"{metric}_high": _known(interval.high)}
        rows.append(
            {
                **_about(group, name, row),
                "seeds": len(row.run.seeds),
                "folds": len(row.folds),
                "complete": row.run.complete,
                **scores,
                "ceiling": row.run.ceilings.get(row.measure.primary),
                "best": number == group.best,
                "p_holm": None if against_best is None else against_best.holm,
            }
        )
    return rows


def fold_rows(group: Group) -> list[dict[str, Any]]:
    """Return a row of plain values for each fold of each run, the mean over its seeds."""
    return [
        {
            **_about(group, name, row),
            "seeds": len(fold.seeds),
            "fold": fold.number,
            "tested_on": fold.value,
            **_flat(fold.scores),
        }
        for name, row in zip(group.names, group.rows, strict=True)
        for fold in row.folds
    ]


def _about(group: Group, name: str, row: Summary) -> dict[str, Any]:
    run = row.run
    return {
        "corpus": group.corpus,
        "target": group.target.name,
        "protocol": group.protocol,
        "select": run.select,
        "caveat": group.caveat,
        "run": run.name,
        "model": name,
        "fusion": run.fusion,
        "modalities": "+".join(run.modalities),
    }


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
                **{name: [_known(ends.low), _known(ends.high)] for name, ends in evidence.intervals.items()},
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
    difference = comparison.difference
    return {
        "utterances": comparison.utterances,
        comparison.metric: _known(difference.value),
        "interval": [_known(difference.interval.low), _known(difference.interval.high)],
        "p": difference.p,
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
        "ceiling": run.ceilings.get(run.measure.primary) if run.target.kind == "label" else run.ceilings,
        "complete": run.complete,
        "folds_expected": run.expected,
        "seeds": run.seeds,
        "trainings": len(run.folds),
        "unfinished": run.unfinished,
        **{name: _mean_std(scores) for name, scores in row.over_folds.items()},
        "pooled": row.pooled,
        "folds": [
            {"fold": fold.number, "value": fold.value, "seeds": list(fold.seeds), **fold.scores} for fold in row.folds
        ],
    }


def _mean_std(scores: MeanStd) -> dict[str, Any]:
    return {"mean": _known(scores.mean), "std": scores.std, "count": scores.count}


def _known(value: float) -> float | None:
    """Return a number as JSON can hold it: None for NaN."""
    return None if math.isnan(value) else value


def _headings(group: Group) -> list[dict[str, str]]:
    """Return blocks of columns, each a heading → the metric whose unit its numbers have."""
    measure, primary = group.measure, group.measure.primary
    classes = group.classes if group.target.one_of_many else []
    return [
        {name: name for name in measure.table},
        {f"recall {label}": primary for label in classes},
        {_heading(primary, condition): primary for row in group.rows for condition in run_robustness(row.run)},
        {f"{name} {end}": name for name in measure.headline for end in ("low", "high")},
        {"calibration error": primary} if group.target.one_of_many else {},
    ]


def _labels(row: Summary) -> list[str]:
    run, primary = row.run, row.measure.primary
    return [
        run.protocol,
        run.select,
        run.name,
        run.note,
        run.fusion,
        "+".join(run.modalities),
        " ".join(str(seed) for seed in run.seeds),
        _text(row.measure, primary, run.ceilings.get(primary)),
    ]


def _lines(
    row: Summary, evidence: Evidence, headings: Sequence[str]
) -> list[tuple[str, str, Mapping[str, float | None]]]:
    """Return the lines of a run: fold, what it was tested on, and numbers by heading."""
    primary, robustness = row.measure.primary, fold_robustness(row.run)
    folds = [
        _flat(fold.scores)
        | {
            _heading(primary, condition): scores[primary]
            for condition, scores in robustness.get(fold.number, {}).items()
        }
        for fold in row.folds
    ]
    spread = {name: mean_std([scores.get(name) for scores in folds]) for name in headings}
    certainty = {
        f"{name} {end}": getattr(interval, end)
        for name, interval in evidence.intervals.items()
        for end in ("low", "high")
    }
    return [
        *((str(fold.number), fold.value, scores) for fold, scores in zip(row.folds, folds, strict=True)),
        ("mean", "", {name: scores.mean for name, scores in spread.items()}),
        ("std", "", {name: scores.std for name, scores in spread.items()}),
        ("pooled", "", _flat(row.pooled) | certainty | {"calibration error": evidence.calibration_error}),
    ]


def _flat(scores: Mapping[str, Any]) -> dict[str, float | None]:
    """Return scores by heading, without confusion matrices."""
    numbers = {name: value for name, value in scores.items() if name not in ("recall", "confusion")}
    return numbers | {f"recall {label}": share for label, share in scores.get("recall", {}).items()}


def _heading(primary: str, condition: Condition) -> str:
    """Return the heading of a column of the primary metric under a condition, such as UA subset st."""
    return f"{primary} {condition.kind} {condition.level}"


def _text(measure: Measure, metric: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return f"{100 * value:.1f}" if metric in measure.in_percent else f"{value:.3f}"
