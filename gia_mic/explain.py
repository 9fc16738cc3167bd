"""Turns a prediction into what it rests on: gates, attention over time, and what each modality changes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from gia_mic.answer import change_in_words, in_words
from gia_mic.predictor import Input, Prediction, Predictor

__all__ = ["Explanation", "explain", "words"]

BARS = "▁▂▃▄▅▆▇█"
COLUMNS = 48
"""Columns of a line of bars in the terminal."""


@dataclass(frozen=True)
class Explanation:
    """What a prediction rests on; everything is the mean over the models.

    Attributes:
        prediction: The prediction that is explained.
        gates: For each ordered pair i ← j of modalities that are there, the mean over i's frames and features of the
            gate, in 0 … 1: how much of what i hands on comes from j rather than from itself. Empty without gates.
        attention: By modality, the weight (T,) of each of its frames in what the others take from it: the mean over the
            others, their frames and the heads; its sum is 1. Empty for a fusion without attention or a modality alone.
        words: The transcript's words with the summed weights of their tokens; marks of beginning and end are `<s>`.
        without: By modality, what is answered when it is left out, as `Answer.values`.
        seconds: Duration of a frame in seconds, by modality, where frames are evenly spaced.
        sound: Samples (n,) of the sound and their rate in Hz; None without.
        pictures: The pictures as the encoder saw them, (n, height, width, 3) uint8; None without.
    """

    prediction: Prediction
    gates: dict[tuple[str, str], float]
    attention: dict[str, np.ndarray] = field(repr=False)
    words: list[tuple[str, float]]
    without: dict[str, dict[str, float]]
    seconds: dict[str, float]
    sound: tuple[np.ndarray, int] | None = field(repr=False)
    pictures: np.ndarray | None = field(repr=False)

    def numbers(self) -> dict[str, Any]:
        """Return the explanation as JSON values."""
        return {
            "gates": {f"{to} <- {of}": round(value, 6) for (to, of), value in self.gates.items()},
            "attention": {name: [round(float(w), 6) for w in weights] for name, weights in self.attention.items()},
            "words": [[word, round(weight, 6)] for word, weight in self.words],
            "without": self.without,
            "frame_seconds": self.seconds,
        }

    def text(self) -> str:
        """Return the explanation for a terminal."""
        parts = []
        if self.gates:
            gate_rows = [(f"{to} ← {of}", f"{value:.2f}") for (to, of), value in self.gates.items()]
            parts.append("Mean gate (1: all from the other, 0: all its own)\n" + _plain(gate_rows))
        lines = []
        for name, weights in self.attention.items():
            if name == "text" and self.words:
                lines.append((name, "  ".join(f"{word} {weight:.2f}" for word, weight in self.words)))
                continue
            length_s, peak = self.seconds.get(name, 0) * len(weights), int(weights.argmax())
            most = f"  0–{length_s:.1f} s, most at {self.seconds[name] * (peak + 0.5):.1f} s" if length_s else ""
            lines.append((name, _bars(weights) + most))
        if lines:
            parts.append("Attention by the other modalities, over time\n" + _plain(lines))
        if self.without:
            parts.append(self._without_in_words())
        return "\n\n".join(parts) or "There is nothing to explain it by: neither gates nor attention took part."

    def _repr_html_(self) -> str:
        return f"{self.prediction._repr_html_()}\n<pre>{escape(self.text())}</pre>"

    def _without_in_words(self) -> str:
        """Return what each modality changes: of the answered class, or of each class that may apply or score."""
        target, full = self.prediction.target, self.prediction.values
        if label := self.prediction.label:
            rows = [("nothing", in_words(target, label, full[label]), "", label)]
            for modality, values in self.without.items():
                change = change_in_words(target, label, values[label] - full[label])
                top = max(values, key=values.__getitem__)
                rows.append((modality, in_words(target, label, values[label]), change, top))
            return f"Left out, and how probable {label} then is\n" + _plain(rows)
        table = [("", "nothing", *self.without)]
        for name, value in full.items():
            cells = [
                f"{in_words(target, name, values[name])} ({change_in_words(target, name, values[name] - value)})"
                for values in self.without.values()
            ]
            table.append((name, in_words(target, name, value), *cells))
        what = "what the scores then are" if target.kind == "scores" else "how probable each class then is"
        return f"Left out, and {what}\n" + _plain(table)


def explain(predictor: Predictor, utterance: Input, *, allow_failures: bool = False) -> Explanation:
    """Predict an input and return what that rests on.

    Raises:
        MediaError: As `Predictor.predict`.
    """
    [utterance], [encoded] = predictor.encode([utterance])
    [prediction] = predictor.answers([utterance], [encoded], allow_failures=allow_failures)
    if not isinstance(prediction, Prediction):
        raise prediction
    present = prediction.modalities
    batch = predictor.data([encoded.frames]).batch(torch.zeros(1, dtype=torch.int64, device=predictor.device))
    with torch.inference_mode():
        details = [one.model(batch, details=True).details for one in predictor.trained]
    gates, attention = {}, {}
    for of in present:
        pair_weights = []
        for to in present:
            if f"gate/{to}_{of}" in details[0]:
                gates[to, of] = float(np.mean([tensors[f"gate/{to}_{of}"].mean().item() for tensors in details]))
            if f"attention/{to}_{of}" in details[0]:
                pair_weights += [tensors[f"attention/{to}_{of}"].mean((0, 1, 2)).cpu().numpy() for tensors in details]
        if pair_weights:
            attention[of] = np.mean(pair_weights, axis=0)
    seconds = {}
    for name in present:
        if rate := predictor.config["features"][name]["frame_rate_hz"]:
            seconds[name] = (predictor.speech_group if name == "speech" else 1) / rate
    without = {}
    for name in present if len(present) > 1 else ():
        without[name] = predictor.named(predictor.fuse([encoded.frames], hidden=[name]).mean((0, 1)))
    sound, pictures = predictor.encoders.sound_and_pictures(utterance, present)
    spans = predictor.encoders.spans(utterance) if "text" in attention else []
    weights = _by_token(attention["text"], len(spans), predictor.encoders["text"].spec.pool) if spans else np.empty(0)
    return Explanation(
        prediction=prediction,
        gates=gates,
        attention=attention,
        words=words(utterance.text or "", spans, weights),
        without=without,
        seconds=seconds,
        sound=sound,
        pictures=pictures,
    )


def words(
    text: str, spans: Sequence[tuple[int, int] | None], weights: Sequence[float] | np.ndarray
) -> list[tuple[str, float]]:
    """Join the weights of tokens to those of whole words.

    Args:
        text: A transcript.
        spans: Begin and end of each token in it; None for one that only marks. One of spaces alone counts
            to what precedes it.
        weights: Attention weight of each token, in 0 … 1.

    >>> words("no way", [None, (0, 2), (3, 5), (5, 6), None], [0.1, 0.2, 0.3, 0.3, 0.1])
    [('<s>', 0.1), ('no', 0.2), ('way', 0.6), ('<s>', 0.1)]
    """
    word_spans = [match.span() for match in re.finditer(r"\S+", text)]
    joined: list[tuple[int | None, float]] = []
    for span, weight in zip(spans, weights, strict=True):
        word = None
        if span is not None:
            word = next((n for n, (first, last) in enumerate(word_spans) if span[0] < last and span[1] > first), None)
        if joined and (joined[-1][0] == word if word is not None else span is not None):
            joined[-1] = joined[-1][0], joined[-1][1] + float(weight)
        else:
            joined.append((word, float(weight)))
    return [("<s>" if word is None else text[slice(*word_spans[word])], round(weight, 12)) for word, weight in joined]


def _by_token(weights: np.ndarray, tokens: int, pool: str) -> np.ndarray:
    """Spread the weights of frames over the tokens that were pooled into each."""
    each = int(pool) if pool.isdigit() else 1 if pool == "none" else tokens
    counts = np.diff(np.minimum(np.arange(len(weights) + 1) * each, tokens))
    return np.repeat(weights / np.maximum(counts, 1), counts)


def _bars(weights: np.ndarray) -> str:
    """Return weights as a line of bars, the largest in each column, against the largest of all."""
    parts = np.array_split(weights, min(COLUMNS, len(weights)))
    heights = np.array([part.max() for part in parts]) / max(float(weights.max()), 1e-12)
    return "".join(BARS[min(int(height * len(BARS)), len(BARS) - 1)] for height in heights)


def _plain(rows: Sequence[Sequence[str]]) -> str:
    table = tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=None)
    return "\n".join(f"  {line}" for line in table.splitlines())
