"""Turns the explanation of a prediction into a PNG: sound, words and pictures under their attention weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gia_mic.answer import change_in_words, in_words, range_of
from gia_mic.explain import Explanation
from gia_mic.extract.files import replacing
from gia_mic.runtime.target import THRESHOLD

__all__ = ["draw"]

WIDTH, MARGIN, SCALE = 1400, 40, 2
"""Size in points; a point is drawn as `SCALE` pixels."""

INK, FAINT, PALE, HOT = (28, 32, 38), (112, 120, 130), (228, 232, 236), (214, 84, 30)
MOST_PICTURES, MOST_LINES, MOST_COLUMNS = 14, 7, 6


class _Page:
    """A sheet that grows downwards; all lengths are in points."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (WIDTH * SCALE, height * SCALE), "white")
        self.pen = ImageDraw.Draw(self.image)
        self.fonts = {size: ImageFont.load_default(size * SCALE) for size in (13, 15, 18, 30)}

    def text(
        self, x: float, y: float, text: str, size: int = 15, colour: tuple[int, int, int] = INK, anchor: str = "ls"
    ) -> None:
        self.pen.text((x * SCALE, y * SCALE), text, colour, self.fonts[size], anchor)

    def width(self, text: str, size: int = 15) -> float:
        return self.fonts[size].getlength(text) / SCALE

    def shortened(self, text: str, width: float, size: int = 15) -> str:
        """Return the text, cut where it is wider than so many points."""
        if self.width(text, size) <= width:
            return text
        while text and self.width(f"{text}…", size) > width:
            text = text[:-1]
        return f"{text.rstrip(' ,')}…"

    def box(
        self, left: float, top: float, right: float, bottom: float, colour: tuple[int, int, int], round_: float = 0
    ) -> None:
        corners = [value * SCALE for value in (left, top, max(right, left), max(bottom, top))]
        self.pen.rounded_rectangle(corners, round_ * SCALE, colour)

    def paste(self, picture: np.ndarray, left: float, top: float, size: float) -> None:
        side = round(size * SCALE)
        self.image.paste(Image.fromarray(picture).resize((side, side)), (round(left * SCALE), round(top * SCALE)))


def draw(explanation: Explanation, path: Path) -> None:
    """Draw an explanation into a PNG file.

    Weights are drawn against the largest of their modality: full colour is the most attended frame, word or picture.

    Args:
        explanation: The explanation to draw.
        path: The PNG file.

    Raises:
        StoreError: It can't be written.
    """
    page = _Page(2400)
    y = _head(page, explanation)
    if explanation.sound is not None:
        y = _sound(page, y, *explanation.sound, explanation.attention.get("speech"))
    if explanation.prediction.text is not None:
        weighted_words = explanation.words or [(word, 0.0) for word in explanation.prediction.text.split()]
        y = _words(page, y, weighted_words, weighted=bool(explanation.words))
    if explanation.pictures is not None:
        y = _pictures(page, y, explanation.pictures, explanation.attention.get("visual"), explanation.seconds)
    y = _foot(page, y, explanation)
    with replacing(path) as temporary:
        page.image.crop((0, 0, WIDTH * SCALE, round((y + MARGIN) * SCALE))).save(temporary, "PNG", optimize=True)


def _head(page: _Page, explanation: Explanation) -> float:
    """Draw the answer with its probabilities, the highest first, or with its scores on the scales of their ranges."""
    answer = explanation.prediction
    title, left = answer.in_words(), 420.0
    size = 30 if page.width(title, 30) < left - MARGIN - 20 else 18
    page.text(MARGIN, 66, page.shortened(title, left - MARGIN - 20, size), size)
    certainty = f"{100 * answer.probabilities[answer.label]:.0f} %, " if answer.label else ""
    page.text(MARGIN, 92, f"{certainty}from {', '.join(answer.modalities)}", 15, FAINT)
    answered = answer.labels or (answer.label,)
    ordered = sorted(answer.probabilities.items(), key=lambda pair: -pair[1]) or list(answer.scores.items())
    name_width = max(page.width(name) for name, _ in ordered[:8])
    bar = 440 - name_width - (130 if answer.scores else 70)
    for row, (name, value) in enumerate(ordered[:8]):
        column, line = divmod(row, 4)
        x, y = left + column * 490, 48 + 24 * line
        page.text(x + name_width, y, name, anchor="rs")
        start, (low, high) = x + name_width + 10, range_of(answer.target, name)
        end = start + bar * (value - low) / (high - low)
        page.box(start, y - 13, start + bar, y + 3, PALE, 3)
        if answer.scores:
            page.box(end - 5, y - 14, end + 5, y + 4, HOT, 5)
            text = f"{in_words(answer.target, name, value)} in {low:g} … {high:g}"
        else:
            if end - start > 1:
                page.box(start, y - 13, end, y + 3, HOT if name in answered else INK, 3)
            text = f"{100 * value:.0f} %"
        if answer.target.kind == "labels":
            threshold = start + bar * THRESHOLD
            page.box(threshold - 0.5, y - 16, threshold + 0.5, y + 6, FAINT)
        page.text(start + bar + 12, y, text, colour=FAINT)
    return 150.0


def _sound(page: _Page, top: float, samples: np.ndarray, rate: int, weights: np.ndarray | None) -> float:
    """Draw the waveform in the colour of its weights, with the weights as a curve below, and a scale of seconds."""
    _title(page, top, "Speech", weights is not None)
    left, right, middle = MARGIN, WIDTH - MARGIN, top + 80.0
    columns = (right - left) * SCALE
    parts = np.array_split(samples, min(columns, len(samples)))
    loudest = max(float(np.abs(samples).max()), 1e-6)
    shares = np.zeros(len(parts)) if weights is None else weights / max(float(weights.max()), 1e-12)
    if weights is not None:
        shares = shares[np.minimum(np.arange(len(parts)) * len(shares) // len(parts), len(shares) - 1)]
    step = columns / len(parts)
    for number, (part, share) in enumerate(zip(parts, shares, strict=True)):
        x = left * SCALE + number * step
        high, low = (middle - 52 * float(end) / loudest for end in (part.max(), part.min()))
        colour = _mix(share) if weights is not None else INK
        page.pen.rectangle([x, high * SCALE - 1, x + max(step - 1, 0), low * SCALE + 1], colour)
        if weights is not None:
            page.pen.rectangle(
                [x, (middle + 96 - 34 * share) * SCALE, x + max(step - 1, 0), (middle + 96) * SCALE], _mix(share)
            )
    bottom = middle + (96 if weights is not None else 58)
    length_s = len(samples) / rate
    tick_s = next((tick for tick in (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300) if length_s / tick <= 12), 600)
    for number in range(int(length_s / tick_s) + 1):
        x = left + (right - left) * number * tick_s / length_s
        page.pen.line([x * SCALE, (bottom + 3) * SCALE, x * SCALE, (bottom + 8) * SCALE], FAINT, SCALE)
        page.text(
            x,
            bottom + 22,
            f"{number * tick_s:g} s",
            13,
            FAINT,
            "ms" if 0 < x - left < right - left - 20 else "ls" if x == left else "rs",
        )
    return bottom + 52


def _words(page: _Page, top: float, words: Sequence[tuple[str, float]], *, weighted: bool) -> float:
    """Write the words on a ground as dark as their weight, with the weight below in percent."""
    _title(page, top, "Text", weighted)
    x, y = float(MARGIN), top + 52
    most = max((weight for _, weight in words), default=0) or 1
    for index, (word, weight) in enumerate(words):
        mark = word == "<s>"
        label = ("start" if index == 0 else "end") if mark else word
        width = page.width(label, 18) + 18
        if x + width > WIDTH - MARGIN:
            x, y = float(MARGIN), y + 58
        if y > top + 52 + MOST_LINES * 58:
            page.text(x, y - 20, f"… and {len(words) - index} more words", colour=FAINT)
            break
        if weighted:
            page.box(x, y - 22, x + width, y + 9, _ground(weight / most), 5)
        page.text(x + 9, y, label, 18, FAINT if mark else INK)
        if weighted:
            page.text(x + width / 2, y + 25, f"{100 * weight:.0f} %", 13, FAINT, "ms")
        x += width + 8
    return y + 58


def _pictures(
    page: _Page, top: float, pictures: np.ndarray, weights: np.ndarray | None, seconds: dict[str, float]
) -> float:
    """Show the pictures in their order, evenly chosen where they are many, over bars of their weights."""
    _title(page, top, "Video", weights is not None)
    count = min(len(pictures), MOST_PICTURES)
    indices = np.linspace(0, len(pictures) - 1, count).round().astype(int)
    gap = 8
    size = min((WIDTH - 2 * MARGIN - gap * (MOST_PICTURES - 1)) / MOST_PICTURES * (1.6 if count < 9 else 1), 150)
    pooled = weights is not None and len(weights) != len(pictures)
    for slot, number in enumerate(indices):
        x = MARGIN + slot * (size + gap)
        page.paste(pictures[number], x, top + 24, size)
        if weights is not None and not pooled:
            share = float(weights[number] / max(float(weights.max()), 1e-12))
            page.box(x, top + 30 + size + 34 * (1 - share), x + size, top + 30 + size + 34, _mix(share))
            page.text(x + size / 2, top + size + 82, f"{100 * weights[number]:.0f} %", 13, FAINT, "ms")
        if "visual" in seconds:
            page.text(x + 4, top + 24 + size - 6, f"{number * seconds['visual']:.2g} s", 13, (255, 255, 255))
    return top + size + 118


def _foot(page: _Page, top: float, explanation: Explanation) -> float:
    """Write what each modality changes on the left, and the gates on the right."""
    y = left_end = right_end = top + 4
    if explanation.without and (explanation.prediction.label or len(explanation.prediction.values) == 1):
        left_end = _changes_of_one(page, y, explanation)
    elif explanation.without:
        left_end = _changes_of_many(page, y, explanation)
    if explanation.gates:
        x = WIDTH / 2 + 60
        page.text(x, y, "Mean gate: how much is taken from the other", 18)
        for number, ((to, of), value) in enumerate(explanation.gates.items()):
            right_end = y + 30 + 26 * number
            page.text(x, right_end, f"{to} from {of}")
            page.box(x + 170, right_end - 13, x + 470, right_end + 3, PALE, 3)
            page.box(x + 170, right_end - 13, x + 170 + 300 * value, right_end + 3, INK, 3)
            page.text(x + 482, right_end, f"{value:.2f}", colour=FAINT)
    return max(left_end, right_end)


def _changes_of_one(page: _Page, y: float, explanation: Explanation) -> float:
    """Draw how the answered class or the only score changes without each modality; a bar is as long as its range."""
    answer = explanation.prediction
    name = answer.label or next(iter(answer.values))
    low, high = range_of(answer.target, name)
    page.text(MARGIN, y, f"{name}, when a modality is left out", 18)
    zero, reach = MARGIN + 300, 150
    for modality, values in explanation.without.items():
        y += 26
        change = values[name] - answer.values[name]
        length = reach * change / (high - low)
        page.text(MARGIN, y + 4, f"without {modality}")
        page.box(zero - reach, y - 9, zero + reach, y + 7, PALE, 3)
        page.box(zero + min(0, length), y - 9, zero + max(0, length), y + 7, HOT, 2)
        text = f"{change_in_words(answer.target, name, change)}: {in_words(answer.target, name, values[name])}"
        if answer.label:
            text = f"{100 * change:+.0f} points: {max(values, key=values.__getitem__)}"
        page.text(zero + reach + 12, y + 4, text, 15, FAINT)
    return y + 4


def _changes_of_many(page: _Page, y: float, explanation: Explanation) -> float:
    """Write how each class or score changes without each modality, on a ground as dark as it changes much."""
    answer = explanation.prediction
    changes = {
        modality: {name: value - answer.values[name] for name, value in values.items()}
        for modality, values in explanation.without.items()
    }
    # changes of scores are compared as shares of their ranges
    widths = {name: high - low for name in answer.values for low, high in [range_of(answer.target, name)]}
    most = {name: max(abs(each[name]) / widths[name] for each in changes.values()) for name in answer.values}
    columns = [name for name in most if name in sorted(most, key=lambda name: -most[name])[:MOST_COLUMNS]]
    unit = "in their units" if answer.scores else "in points"
    few = f", of the {len(columns)} that change most" if len(columns) < len(most) else ""
    page.text(MARGIN, y, f"Changes when a modality is left out, {unit}{few}", 18)
    left, width = MARGIN + 140, 88
    for column, name in enumerate(columns):
        middle = left + (column + 0.5) * width
        page.text(middle, y + 28, page.shortened(name, width - 6, 13), 13, FAINT, "ms")
    y += 26
    for modality, change in changes.items():
        y += 26
        page.text(MARGIN, y, f"without {modality}")
        for column, name in enumerate(columns):
            x = left + column * width
            share = abs(change[name]) / widths[name] / (max(most.values()) or 1)
            page.box(x + 2, y - 17, x + width - 2, y + 6, _ground(share), 4)
            page.text(x + width / 2, y, change_in_words(answer.target, name, change[name]), anchor="ms")
    return y


def _title(page: _Page, top: float, title: str, weighted: bool) -> None:
    page.text(MARGIN, top + 4, title, 18)
    if weighted:
        page.text(
            MARGIN + page.width(title, 18) + 12, top + 4, "under the attention of the other modalities", 13, FAINT
        )


def _mix(share: float) -> tuple[int, int, int]:
    """Return the colour of a weight: from grey to full."""
    return _between((196, 202, 209), HOT, share)


def _ground(share: float) -> tuple[int, int, int]:
    """Return a ground of the colour of a weight, light enough to write on."""
    return _between((246, 247, 249), (246, 168, 128), share)


def _between(low: Sequence[int], high: Sequence[int], share: float) -> tuple[int, int, int]:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high, strict=True))
    return red, green, blue
