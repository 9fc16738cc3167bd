"""Turns answers, what they rest on, and refusals into HTML; all text is escaped."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from gia_mic.answer import Answer, change_in_words, in_words, range_of
from gia_mic.explain import Explanation
from gia_mic.predictor import Predictor

__all__ = ["answer_html", "explanation_html", "heading_html", "refusal_html"]

COLUMNS = 160
"""Columns that sound is drawn in."""

HEIGHT = 64
"""Height of the drawing of sound, in its own units."""

MOST_PICTURES, PICTURE_SIDE = 8, 112
"""Pictures of a film that are shown, and their side in pixels."""

# what a user types may look like a template to the page, which has its own
BRACES = str.maketrans({"{": "&#123;", "}": "&#125;", "$": "&#36;"})


def heading_html(predictor: Predictor) -> str:
    """Return the page's heading, with what the runs answer from what."""
    target = predictor.target
    ranges = [f"{name} ({low:g} to {high:g})" for name, (low, high) in zip(target.names, target.ranges, strict=False)]
    return _render(
        "heading",
        fusion=predictor.config["model"]["name"],
        corpus=predictor.config["corpus"]["name"],
        kind=target.kind,
        names=_listed(ranges or target.names, "and" if target.kind == "scores" else "or"),
        modalities=_listed(predictor.modalities, "and"),
        several=len(predictor.modalities) > 1,
    )


def answer_html(answer: Answer, from_what: str) -> str:
    """Return an answer: in words, and each class or score with a bar.

    Args:
        answer: The answer.
        from_what: What it rests on, as it stands after "from".
    """
    return _render("answer", said=_answer(answer), from_what=from_what)


def explanation_html(explanation: Explanation, paths: Sequence[str] = ()) -> str:
    """Return an answer with what each modality changes, and the attention over time.

    Args:
        explanation: The explanation.
        paths: Files that its notes name, which are shown without their folders.
    """
    prediction = explanation.prediction
    return _render(
        "explanation",
        said=_answer(prediction),
        from_what=_listed(prediction.modalities, "and"),
        text=prediction.text,
        notes=[_without_folders(note, paths) for note in prediction.notes],
        changes=_changes(explanation) if explanation.without else None,
        attention=_attention(explanation),
    )


def refusal_html(sentence: str, paths: Sequence[str] = ()) -> str:
    """Return why there is no answer; `paths` as in `explanation_html`."""
    return _render("refusal", sentence=_without_folders(sentence, paths))


def _render(name: str, **values: Any) -> str:
    return str(getattr(TEMPLATE.module, name)(**values)).translate(BRACES)


def _listed(names: Sequence[str], last: str) -> str:
    """Join names as a sentence does.

    >>> _listed(["speech", "text", "visual"], "and")
    'speech, text and visual'
    """
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _without_folders(text: str, paths: Sequence[str]) -> str:
    for path in paths:
        text = text.replace(path, Path(path).name)
    return text


def _answer(answer: Answer) -> dict[str, Any]:
    rows = []
    for name, value in sorted(answer.values.items(), key=lambda pair: 0 if answer.scores else -pair[1]):
        low, high = range_of(answer.target, name)
        rows.append(
            {
                "name": name,
                "value": in_words(answer.target, name, value),
                "percent": 100 * (value - low) / (high - low),
                "applies": name in answer.labels,
                "chosen": name in (*answer.labels, answer.label),
                "range": f"{low:g} to {high:g}" if answer.scores else "",
            }
        )
    sure = in_words(answer.target, answer.label, answer.values[answer.label]) if answer.label else ""
    return {"words": answer.in_words(), "sure": sure, "kind": answer.target.kind, "rows": rows}


def _changes(explanation: Explanation) -> dict[str, Any]:
    """Return the table of what is answered without each modality: of the answered class or only score, or of all."""
    answer = explanation.prediction
    if answer.label or len(answer.values) == 1:
        name = answer.label or next(iter(answer.values))
        rows = []
        for modality, values in explanation.without.items():
            top = [max(values, key=values.__getitem__)] if answer.label else []
            rows.append([f"without {modality}", _with_change(answer, name, values[name]), *top])
        return {"columns": [f"{name} is then", *(["answer is then"] if answer.label else [])], "rows": rows}
    rows = []
    for name, value in answer.values.items():
        cells = [_with_change(answer, name, values[name]) for values in explanation.without.values()]
        rows.append([name, in_words(answer.target, name, value), *cells])
    return {"columns": ["with all", *(f"without {modality}" for modality in explanation.without)], "rows": rows}


def _with_change(answer: Answer, name: str, value: float) -> str:
    """Return another value of a class or score, and in brackets by how much it differs from the answer's."""
    change = change_in_words(answer.target, name, value - answer.values[name])
    return f"{in_words(answer.target, name, value)} ({change})"


def _attention(explanation: Explanation) -> dict[str, Any]:
    """Return what is shown of the attention, by modality; empty where there is none."""
    attention = explanation.attention
    content: dict[str, Any] = {}
    if "speech" in attention and explanation.sound is not None:
        content["speech"] = _sound(*explanation.sound, attention["speech"])
    if explanation.words:
        most = max(weight for _, weight in explanation.words) or 1.0
        words = [(word, weight) for word, weight in explanation.words if word != "<s>"]
        content["text"] = [(word, weight / most, f"{100 * weight:.0f} %") for word, weight in words]
    if "visual" in attention and explanation.pictures is not None:
        content["visual"] = _pictures(explanation, attention["visual"])
    return content


def _sound(samples: np.ndarray, rate: int, weights: np.ndarray) -> dict[str, Any]:
    """Return the columns of a waveform, each with its share of the largest weight."""
    parts = np.array_split(samples, min(COLUMNS, len(samples)))
    loudest = max(float(np.abs(samples).max()), 1e-6)
    columns = []
    for number, part in enumerate(parts):
        top, bottom = (HEIGHT / 2 * (1 - float(end) / loudest) for end in (part.max(), part.min()))
        share = _at(weights, number, len(parts)) / float(weights.max())
        columns.append((number, round(top - 0.5, 1), round(bottom - top + 1, 1), round(share, 2)))
    length_s = len(samples) / rate
    return {
        "columns": columns,
        "height": HEIGHT,
        "length": f"{length_s:.1f} s",
        "most": f"{length_s * (int(weights.argmax()) + 0.5) / len(weights):.1f} s",
    }


def _pictures(explanation: Explanation, weights: np.ndarray) -> list[dict[str, Any]]:
    """Return pictures in their order, evenly chosen where they are many, each with its share of the largest weight."""
    assert explanation.pictures is not None
    count = len(explanation.pictures)
    pictures = []
    for number in np.linspace(0, count - 1, min(count, MOST_PICTURES)).round().astype(int):
        at_s = explanation.seconds.get("visual", 0) * len(weights) * number / count
        pictures.append(
            {
                "address": _jpeg(explanation.pictures[number]),
                "moment": f"{at_s:.1f} s" if "visual" in explanation.seconds else f"picture {number + 1}",
                "share": round(_at(weights, number, count) / float(weights.max()), 2),
            }
        )
    return pictures


def _at(weights: Sequence[float] | np.ndarray, number: int, count: int) -> float:
    """Return the weight of one of `count` parts of equal length, of weights that may be fewer or more."""
    return float(weights[min(number * len(weights) // count, len(weights) - 1)])


def _jpeg(picture: np.ndarray) -> str:
    """Return a picture (height, width, 3) uint8 as an address that holds it."""
    image, file = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    image.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


TEMPLATE: Any = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
).get_template("view.html")
