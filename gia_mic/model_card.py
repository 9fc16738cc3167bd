"""Turns a run into a model card: use, data, protocol, scores with intervals, encoders, limits and licence.

What the hub reads of it stands in `card_data.py`.
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from gia_mic.card_data import card_data, subject_of
from gia_mic.fuse.runs.folder import ENCODERS, SOURCE
from gia_mic.fuse.runs.runs import Run
from gia_mic.report.compare import Evidence, gather
from gia_mic.report.statistics import LEVEL
from gia_mic.report.summary import summarise
from gia_mic.report.wording import about, percent, score_text

__all__ = ["FOLDER", "at_address", "card"]

FOLDER = "THIS-FOLDER"
"""Stands in a card for where the model lies."""

_HEAD = """---
{data}
---

# {name}: {subject} from {modalities}

The fusion `{fusion}`{whose}, {models}, trained on {corpus}. Of one utterance it gives
{answer}. Any of its modalities may be missing.

## Use

    pip install gia-mic
    mer predict {address} {options}{trust_option}

```python
import gia_mic

model = gia_mic.load("{address}"{trust_argument})
print(model.predict({arguments}).{attribute})
```
"""

_ADDRESS = re.compile(r'(?<=^    mer predict )\S+|(?<=^model = gia_mic\.load\(")[^"]*', re.MULTILINE)
"""The address in the head of a card."""

_LIMITS = """## Limits

- The scores are those of this corpus: its language, speakers, recording and acting. Elsewhere expect less, and measure.
- What is told is how an utterance was labelled by others, not what somebody felt; it is no ground for a decision about
  a person. The European Union forbids inferring emotions at work and in schools (AI Act, article 5).
{more}"""

_LICENCE = """## Licence

The software is under Apache-2.0. The weights are under {licence}; they were learnt from {corpus}, whose terms bind
their use as well, and so do those of the encoders.
"""


_OF_FOLDS = "Each model on the fold that it was not trained on; the mean of several has no score of its own."
_OF_WHOLE = (
    "The model here was trained on all utterances, so it has no score of its own. These are of models that were made "
    "like it without one fold, each on that fold."
)

_OURS = " of the package gia-mic"
_OWN = ", whose code is its author's ({where}: read it before you run it)"

_ANSWERS = {
    "label": "the probabilities of {names}",
    "labels": "which of {names} apply, each with its probability; the threshold chosen in training lies at 0.5",
    "votes": "the share of annotators that would choose each of {names}",
    "scores": "the scores {names}",
}
"""What a run gives of an utterance, by the kind of its target."""

_ATTRIBUTES = {"label": "probabilities", "labels": "labels", "votes": "probabilities", "scores": "scores"}
"""The part of an answer that the example prints, by the kind of the target."""


def card(run: Run, *, licence: str = "other", address: str = FOLDER, whole: bool = False) -> str:
    """Return the model card of a run, Markdown with the hub's front matter.

    Args:
        run: A run, with its predictions.
        licence: Licence of the weights, by the hub's identifier.
        address: Where the model lies, as `gia_mic.load` takes it.
        whole: Whether the card is of the one model that was trained on the whole corpus.

    Raises:
        RunError: A predictions file is missing or broken.
    """
    [evidence] = gather([run])
    options = {"speech": "--audio a.wav", "text": '--text "No way!"', "visual": "--video a.mp4"}
    arguments = {"speech": 'audio="a.wav"', "text": 'text="No way!"', "visual": 'video="a.mp4"'}
    target = run.target
    ranges = [f"{name} ({low:g} … {high:g})" for name, (low, high) in zip(target.names, target.ranges, strict=False)]
    several = len(run.folds) > 1 and not whole
    models = f"{len(run.folds)} models (the answer is their mean)" if several else "one model"
    own = run.config.get("fusion", {})
    where = own.get("distribution") or f"{SOURCE}/{own.get('file')} of each model"
    features = run.config["features"]
    is_of_others = bool(own) or any("code" in features[name].get("spec", {}) for name in run.modalities)
    parts = [
        _HEAD.format(
            data=card_data(run, licence=licence).to_yaml(),
            address=address,
            name=run.name,
            subject=subject_of(target),
            modalities=", ".join(run.modalities),
            fusion=run.fusion,
            models=models,
            corpus=run.corpus,
            answer=_ANSWERS[target.kind].format(names=", ".join(ranges or target.names)),
            attribute=_ATTRIBUTES[target.kind],
            options=" ".join(options[name] for name in run.modalities),
            arguments=", ".join(arguments[name] for name in run.modalities),
            trust_option=" --trust" if is_of_others else "",
            trust_argument=", trust=True" if is_of_others else "",
            whose=_OWN.format(where=where) if own else _OURS,
        ),
        _data(run),
        _scores(run, evidence, whole),
        _encoders(run.config["features"]),
        _LIMITS.format(more="".join(f"- {caveat}\n" for caveat in _caveats(run, evidence))),
        _LICENCE.format(licence=licence, corpus=run.corpus),
    ]
    return "\n".join(parts)


def at_address(text: str, address: str) -> str:
    """Return a card as it is where the model lies at another address.

    >>> at_address("    mer predict hf://lab/a --text ...", "hf://lab/b")
    '    mer predict hf://lab/b --text ...'
    """
    return _ADDRESS.sub(lambda _: address, text)


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


def _scores(run: Run, evidence: Evidence, whole: bool) -> str:
    summary, measure = summarise(run), run.measure
    text = partial(score_text, measure)
    in_percent = [name for name in measure.headline if name in measure.in_percent]
    lines = [
        "## Scores\n",
        (_OF_WHOLE if whole else _OF_FOLDS) + (f" In %: {', '.join(in_percent)}.\n" if in_percent else "\n"),
        f"| fold | tested on | {' | '.join(measure.headline)} |",
        f"|---|---|{'---:|' * len(measure.headline)}",
    ]

    def line(first: str, value: str, cells: Iterable[str]) -> str:
        return f"| {first} | {value} | {' | '.join(cells)} |"

    for fold in summary.folds:
        lines.append(line(str(fold.number), fold.value, (text(name, fold.scores[name]) for name in measure.headline)))
    if len(summary.folds) > 1:
        over_folds = [(name, summary.over_folds[name]) for name in measure.headline]
        spreads = (f"{text(name, score.mean)} ± {text(name, score.std or 0)}" for name, score in over_folds)
        lines.append(line("mean ± std", "", spreads))
    pooled = [
        f"{text(name, summary.pooled[name])} ({text(name, interval.low)} to {text(name, interval.high)})"
        for name, interval in evidence.intervals.items()
    ]
    lines.append(line("pooled", "", pooled))
    if run.ceilings:
        lines.append(line("best possible", "", (text(name, run.ceilings.get(name)) for name in measure.headline)))
    lines.append(f"\nIn brackets {100 * LEVEL:.0f} % bootstrap intervals over {evidence.groups} {evidence.over}.")
    recalls = summary.pooled.get("recall") or {}
    of_having = {name: summary.pooled[f"F1_{name}"] for name in run.classes if run.target.kind == "labels"}
    for name, values in (("Recall", recalls), ("F1", of_having)):
        if values:
            each = ", ".join(f"{class_name} {percent(value)}" for class_name, value in values.items())
            lines.append(f"{name} by class, in %: {each}.")
    lines.append(f"{about(measure, measure.headline)}\n")
    return "\n".join(lines)


def _encoders(features: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["## Encoders\n", "| modality | model | weights | layers | fingerprint |", "|---|---|---|---|---|"]
    for name, entry in features.items():
        spec = entry.get("spec", {})
        layers = spec.get("layers", "")
        layer_text = layers if isinstance(layers, str) else ", ".join(map(str, layers))
        weights, model = str(spec.get("weights", "")), spec.get("model", entry["encoder"])
        if code := spec.get("code"):
            where = code["distribution"] or f"{ENCODERS}/{name}/{code['file']} of each model"
            model, weights, layer_text = f"{model}{_OWN.format(where=where)}", code["settings"].get("weights", ""), ""
        lines.append(f"| {name} | {model} | {weights} | {layer_text} | {entry['fingerprint']} |")
    lines.append(
        "\nWeights of 40 digits are a commit of the hub, from where they are fetched; those of 64 a digest of a local "
        "folder, which `--encoder MODALITY=FOLDER` names. Others than these are refused.\n"
    )
    return "\n".join(lines)


def _caveats(run: Run, evidence: Evidence) -> list[str]:
    caveats = []
    if evidence.calibration_error is not None:
        error = f"{100 * evidence.calibration_error:.1f} points on average (expected calibration error)"
        caveats.append(f"The probabilities are off by {error}.")
    if run.select == "test":
        caveats.append("The epoch was chosen on the test fold: the scores are optimistic.")
    if run.config.get("allow_shared"):
        caveats.append("Training and test share speakers or scenarios: the scores are optimistic.")
    if "distilled_from" in run.config:
        caveats.append(f"It was taught by the models of the run {run.config['distilled_from']}, not by labels.")
    if not run.complete:
        caveats.append(f"Only {len(run.numbers)} of {run.expected} folds are in it.")
    if run.ceilings:
        caveats.append("The corpus is synthetic: for trying the software, not for people.")
    return caveats
