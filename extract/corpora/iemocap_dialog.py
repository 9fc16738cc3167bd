"""Turns the text files of a dialog of IEMOCAP into judged turns and their transcripts.

`EmoEvaluation/<dialog>.txt`:

    [6.2901 - 8.2357]<tab>Ses01F_impro01_F000<tab>neu<tab>[2.5000, 2.5000, 2.5000]
    C-E2:<tab>Neutral;<tab>()
    C-F1:<tab>Neutral;<tab>(curious)
    A-E3:<tab>val 3; act 2; dom  2;<tab>()

The three numbers are the means of valence, activation and dominance over at least two evaluators (`A-E…`). At least
three others (`C-E…`) name the emotions that they perceive, and may name several. `C-F…`, `C-M…`, `A-F…` and `A-M…` are
how the actors judge themselves, which is not counted here. The label is xxx where no emotion has a majority.

`transcriptions/<dialog>.txt`:

    Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SCORES", "Turn", "outside_scale", "read_transcript", "read_turns", "score_ranges"]

SCORES = ("valence", "arousal", "dominance")
"""Names of the three numbers, in their order; the release calls the second activation."""

_TURN = re.compile(
    r"\[(\d+\.?\d*) - (\d+\.?\d*)\]\t(Ses0\d[FM]_\w+_[FM]\d+)\t(\w+)\t(?:\[([\d.]+), ([\d.]+), ([\d.]+)\])?"
)
_CHOICE = re.compile(r"C-E\d+:\s*([^(\t]*)")
_LINE = re.compile(r"(Ses0\d[FM]_\w+) \[(\d+\.?\d*)-(\d+\.?\d*)\]: ?(.*)")
_SCALE = (1.0, 5.0)


@dataclass(frozen=True)
class Turn:
    """A turn as it was judged.

    Attributes:
        id: Its name.
        start_s: First moment in the dialog, in seconds.
        end_s: Last moment in the dialog, in seconds.
        label: Emotion that most evaluators chose, in three letters; xxx where they don't agree.
        scores: Means by the names in `SCORES`; None where they aren't given.
        choices: For each evaluator the emotions that were named, in three letters.
    """

    id: str
    start_s: float
    end_s: float
    label: str
    scores: dict[str, float] | None
    choices: list[set[str]]


def read_turns(file: Path) -> list[Turn]:
    """Return the turns of an evaluation file, in its order; other lines are passed over."""
    turns: list[Turn] = []
    for line in _lines(file):
        if match := _TURN.match(line):
            start, end, name, label, *means = match.groups()
            scores = None if None in means else dict(zip(SCORES, map(float, means), strict=True))
            turns.append(Turn(name, float(start), float(end), label, scores, []))
        elif turns and (choice := _CHOICE.match(line)):
            words = [word.strip().lower() for word in choice[1].split(";")]
            turns[-1].choices.append({word[:3] for word in words if word})  # Happiness is hap, as in the labels
    return turns


def score_ranges(turns: Sequence[Turn]) -> dict[str, tuple[float, float]]:
    """Return the range of each score: 1 to 5, or wider where a mean lies outside."""
    values = {name: [*_SCALE, *(turn.scores[name] for turn in turns if turn.scores)] for name in SCORES}
    return {name: (min(numbers), max(numbers)) for name, numbers in values.items()}


def outside_scale(turns: Sequence[Turn]) -> list[str]:
    """Return the names of the turns with a mean outside 1 to 5."""
    low, high = _SCALE
    return [turn.id for turn in turns if not all(low <= value <= high for value in (turn.scores or {}).values())]


def read_transcript(file: Path) -> dict[str, tuple[str, float, float]]:
    """Return text, start and end in seconds by turn; lines of turns that nobody judged (`M: …`) are passed over."""
    lines = map(_LINE.match, _lines(file))
    return {line[1]: (line[4].strip(), float(line[2]), float(line[3])) for line in lines if line}


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").replace("\r", "").splitlines()
