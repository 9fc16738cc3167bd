"""Turns a run into a model card: use, data, protocol, scores with intervals, encoders, limits and licence."""

from collections.abc import Mapping
from typing import Any

from gia_mic.fuse.runs.runs import Run
from gia_mic.report.compare import Evidence, gather
from gia_mic.report.statistics import LEVEL
from gia_mic.report.summary import summarise

__all__ = ["card"]

_HEAD = """---
license: {licence}
library_name: gia-mic
tags: [emotion-recognition, multimodal, {modalities}]
---

# {name}: emotions from {modalities}

The fusion `{fusion}` of the package gia-mic, {models}, trained on {corpus}. Of one utterance it gives
the probabilities of {classes}. Any of its modalities may be missing.

## Use

    pip install gia-mic
    mer predict THIS-FOLDER {options}

```python
import gia_mic

model = gia_mic.load("THIS-FOLDER")
print(model.predict({arguments}).probabilities)
```
"""

_LIMITS = """## Limits

- The scores are those of this corpus: its language, speakers, recording and acting. Elsewhere expect less, and measure.
- What is told is how an utterance was labelled by others, not what somebody felt; it is no ground for a decision about
  a person. The European Union forbids inferring emotions at work and in schools (AI Act, article 5).
- The probabilities are {calibration}.
{more}"""

_LICENCE = """## Licence

The software is under Apache-2.0. The weights are under {licence}; they were learnt from {corpus}, whose terms bind
their use as well, and so do those of the encoders, which are not part of this folder.
"""


def card(run: Run, *, licence: str = "other") -> str:
    """Return the model card of a run, Markdown with the hub's front matter.

    Args:
        run: A run, with its predictions.
        licence: Licence of the weights, by the hub's identifier.

    Raises:
        RunError: A predictions file is missing or broken.
    """
    [evidence] = gather([run])
    options = {"speech": "--audio a.wav", "text": '--text "No way!"', "visual": "--video a.mp4"}
    arguments = {"speech": 'audio="a.wav"', "text": 'text="No way!"', "visual": 'video="a.mp4"'}
    models = f"{len(run.folds)} models (the answer is their mean)" if len(run.folds) > 1 else "one model"
    parts = [
        _HEAD.format(
            licence=licence,
            name=run.name,
            modalities=", ".join(run.modalities),
            fusion=run.fusion,
            models=models,
            corpus=run.corpus,
            classes=", ".join(run.classes),
            options=" ".join(options[name] for name in run.modalities),
            arguments=", ".join(arguments[name] for name in run.modalities),
        ),
        _data(run),
        _scores(run, evidence),
        _encoders(run.config["features"]),
        _LIMITS.format(
            calibration=f"off by {100 * evidence.calibration_error:.1f} points on average (expected calibration error)",
            more="".join(f"- {caveat}\n" for caveat in _caveats(run)),
        ),
        _LICENCE.format(licence=licence, corpus=run.corpus),
    ]
    return "\n".join(parts)


def _data(run: Run) -> str:
    corpus, training = run.config["corpus"], run.config["training"]
    settings = {**run.config["model"], **training}
    listed = ", ".join(
        f"{name} {', '.join(value) or 'nothing' if isinstance(value, list) else value}"
        for name, value in settings.items()
        if name != "name"
    )
    if "search" in run.config:
        listed += f"; and by fold, as `mer tune` chose them: {', '.join(run.config['search']['space'])}"
    return (
        "## Data and protocol\n\n"
        f"Corpus {run.corpus}, {corpus['utterances']} utterances (manifest {corpus['digest'][:12]}). Folds by "
        f"{run.protocol}: {len(run.numbers)} of {run.expected}, seeds {', '.join(map(str, run.seeds))}; epoch chosen "
        f"by `{run.select}`. Settings: {listed}.\n"
    )


def _scores(run: Run, evidence: Evidence) -> str:
    summary = summarise(run)
    lines = [
        "## Scores\n",
        "In %, each model on the fold that it was not trained on; the mean of several has no score of its own.\n",
        "| fold | tested on | WA | UA |",
        "|---|---|---:|---:|",
    ]
    for fold in summary.folds:
        lines.append(f"| {fold.number} | {fold.value} | {_points(fold.scores['WA'])} | {_points(fold.scores['UA'])} |")
    if len(summary.folds) > 1:
        spreads = (f"{_points(score.mean)} ± {_points(score.std or 0)}" for score in (summary.wa, summary.ua))
        lines.append(f"| mean ± std | | {' | '.join(spreads)} |")
    pooled = [
        f"{_points(summary.pooled[name])} ({_points(interval.low)} to {_points(interval.high)})"
        for name, interval in (("WA", evidence.wa), ("UA", evidence.ua))
    ]
    lines.append(f"| pooled | | {' | '.join(pooled)} |")
    drawn = f"{evidence.groups} {evidence.over}"
    lines.append(f"\nIn brackets {100 * LEVEL:.0f} % bootstrap intervals over {drawn}.")
    recalls = ", ".join(
        f"{name} {'—' if value is None else _points(value)}" for name, value in summary.pooled["recall"].items()
    )
    lines.append(f"Recall by class: {recalls}. WA is the share of correct utterances, UA the mean recall.\n")
    return "\n".join(lines)


def _encoders(features: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["## Encoders\n", "| modality | model | weights | layers | fingerprint |", "|---|---|---|---|---|"]
    for name, about in features.items():
        spec = about.get("spec", {})
        layers = spec.get("layers", "")
        layer_text = layers if isinstance(layers, str) else ", ".join(map(str, layers))
        weights = str(spec.get("weights", ""))
        lines.append(
            f"| {name} | {spec.get('model', about['encoder'])} | {weights} | {layer_text} | {about['fingerprint']} |"
        )
    lines.append(
        "\nWeights of 40 digits are a commit of the hub, from where they are fetched; those of 64 a digest of a local "
        "folder, which `--encoder MODALITY=FOLDER` names. Others than these are refused.\n"
    )
    return "\n".join(lines)


def _caveats(run: Run) -> list[str]:
    caveats = []
    if run.select == "test":
        caveats.append("The epoch was chosen on the test fold: the scores are optimistic.")
    if run.config.get("allow_shared"):
        caveats.append("Training and test share speakers or scenarios: the scores are optimistic.")
    if not run.complete:
        caveats.append(f"Only {len(run.numbers)} of {run.expected} folds are in it.")
    if run.ceiling is not None:
        caveats.append("The corpus is synthetic: for trying the software, not for people.")
    return caveats


def _points(score: float) -> str:
    return f"{100 * score:.1f}"
