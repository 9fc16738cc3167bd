"""Draws the two stages of mer, docs/stages.svg: `python docs/stages.py`."""

from pathlib import Path

WIDTH, HEIGHT = 880, 250
INK, FAINT, LINE = "#1f2328", "#59636e", "#8c959f"
SPEECH, TEXT, FACE, PLAIN = "#ddf4ff", "#fff8c5", "#ffeff7", "#f6f8fa"

BOXES = {  # name: left, top, width, height, colour, words, words below in small
    "audio": (16, 52, 112, 42, SPEECH, "speech", "WAV, FLAC, MP3 …"),
    "text": (16, 106, 112, 42, TEXT, "text", "transcripts"),
    "video": (16, 160, 112, 42, FACE, "face video", "MP4, AVI …"),
    "wav2vec": (180, 52, 130, 42, SPEECH, "wav2vec 2.0", "frozen"),
    "roberta": (180, 106, 130, 42, TEXT, "RoBERTa", "frozen"),
    "clip": (180, 160, 130, 42, FACE, "CLIP", "frozen"),
    "cache": (362, 79, 112, 96, PLAIN, "features", "HDF5, on disk"),
    "fusion": (526, 79, 130, 96, PLAIN, "fusion", "GIA-MIC or another"),
    "scores": (708, 52, 156, 66, PLAIN, "report", "scores by fold, intervals"),
    "answers": (708, 136, 156, 66, PLAIN, "prediction", "for your own recordings"),
}
ARROWS = [
    ("audio", "wav2vec"),
    ("text", "roberta"),
    ("video", "clip"),
    ("wav2vec", "cache"),
    ("roberta", "cache"),
    ("clip", "cache"),
    ("cache", "fusion"),
    ("fusion", "scores"),
    ("fusion", "answers"),
]
STAGES = [(16, 474, "mer extract: once"), (526, 864, "mer fuse-train, mer report, mer predict: seconds to minutes")]


def drawing() -> str:
    """Return the drawing as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="Helvetica, Arial, '
        'sans-serif" role="img" aria-label="Two stages that meet on disk: extraction and fusion">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="{LINE}"/></marker>',
    ]
    for left, right, words in STAGES:
        parts += [
            f'<path d="M{left} 30V22H{right}V30" fill="none" stroke="{LINE}"/>',
            text((left + right) / 2, 14, words, 13, FAINT),
        ]
    for start, end in ARROWS:
        left, top, width, height, *_ = BOXES[start]
        to_left, to_top, _, to_height, *_ = BOXES[end]
        aim = min(max(top + height / 2, to_top + 16), to_top + to_height - 16)
        parts.append(
            f'<path d="M{left + width} {min(max(top + height / 2, top + 16), top + height - 16)}L{to_left - 3} {aim}" '
            f'stroke="{LINE}" stroke-width="1.5" marker-end="url(#head)"/>'
        )
    for left, top, width, height, colour, words, below in BOXES.values():
        middle = top + height / 2
        parts += [
            f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="6" fill="{colour}" stroke="{LINE}"/>',
            text(left + width / 2, middle - 2, words, 14, INK),
            text(left + width / 2, middle + 14, below, 11, FAINT),
        ]
    parts.append(
        text(WIDTH / 2, 234, "targets: one class · several classes · scores on a scale · annotators' votes", 12, FAINT)
    )
    return "\n".join([*parts, "</svg>", ""])


def text(x: float, y: float, words: str, size: int, colour: str) -> str:
    """Return a centred line of text."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="middle">{words}</text>'


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(drawing(), encoding="utf-8")
