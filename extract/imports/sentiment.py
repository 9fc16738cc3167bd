r"""Turns the scores of sentiment corpora, which come as feature files, into classes and targets for `mer import`.

CMU-MOSEI: 23,453 segments of 3,228 videos in which 1,000 people give their opinion (English). Each has a sentiment from
-3 to 3 and six emotions from 0 to 3. The feature files of MMSA and MulT have 22,856: train 16,326, dev 1,871, test
4,659 (Zadeh et al., ACL 2018).

CMU-MOSI: 2,199 segments of 93 videos of 89 people, sentiment only: train 1,284, dev 229, test 686 (Zadeh et al., 2016,
arXiv:1606.06259).

CH-SIMS: 2,281 segments of 60 films, series and shows (Chinese): train 1,368, dev 456, test 457. Each has a sentiment
from -1 to 1, and one more of the text, the sound and the silent pictures alone (Yu et al., ACL 2020).

CH-SIMS v2.0: these and 2,121 more, 4,402 in all, with the same four sentiments, and 10,161 segments without any, which
are left out (Liu et al., ICMI 2022, arXiv:2209.02604).

Licence: for research. Features and labels come from http://multicomp.cs.cmu.edu/resources as computational sequences
(.csd), and from the authors of MMSA, https://github.com/thuiar/MMSA, as pickles (`unaligned_50.pkl`).

    mer import unaligned_50.pkl --modality speech --corpus mosi
    mer import unaligned_39.pkl --modality speech --corpus sims
    mer import CMU_MOSEI_COVAREP.csd --modality speech --corpus mosei --labels CMU_MOSEI_Labels.csd --nonfinite zero \
        --splits folds.csv

A label sequence doesn't say who is in which part: the table of video and split comes from the standard folds in the
source of the CMU-MultimodalSDK. The pickles do.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gia_mic.extract.corpora.release import CorpusInfo
from gia_mic.extract.corpus import Utterance
from gia_mic.extract.errors import CorpusError

__all__ = ["CLASSES", "DEFAULT", "EMOTIONS", "INFO", "SENTIMENT", "label", "scales", "targets"]

DEFAULT = "sign"
SENTIMENT = "sentiment"
EMOTIONS = ("happy", "sad", "angry", "surprised", "disgusted", "fearful")
"""Those of MOSEI, in the order of its label sequence."""

CLASSES = {
    DEFAULT: ("negative", "neutral", "positive"),
    "two": ("negative", "positive"),
    "nonnegative": ("negative", "non-negative"),
    "seven": ("-3", "-2", "-1", "0", "1", "2", "3"),
    "emotion": EMOTIONS,
}
"""Ways to make classes of scores, with the classes in their order.

`sign` is that of the sentiment; `two` leaves out a sentiment of 0, `nonnegative` counts it with the positive ones (the
two readings of Acc-2); `seven` rounds it (Acc-7); `emotion` is the strongest of the six, where one is.
"""


_OF_ONE_MODALITY = ("sentiment_text", "sentiment_speech", "sentiment_visual")
_SCALE, _SCALE_OF_SIMS, _SCALE_OF_EMOTIONS = (-3.0, 3.0), (-1.0, 1.0), (0.0, 3.0)


def _info(title: str, utterances: int, source: str) -> CorpusInfo:
    return CorpusInfo(
        title=title,
        utterances=utterances,
        classes=CLASSES[DEFAULT],
        holds=("features",),
        folds="split",
        licence="research",
        source=source,
    )


_CMU = "http://multicomp.cs.cmu.edu/resources"

INFO = {
    "mosei": _info("CMU-MOSEI: opinions in videos (English)", 23_453, f"{_CMU}/cmu-mosei-dataset/"),
    "mosi": _info("CMU-MOSI: opinions in videos (English)", 2_199, f"{_CMU}/cmu-mosi-dataset/"),
    "sims": _info("CH-SIMS: films, series and shows (Chinese)", 2_281, "https://github.com/thuiar/MMSA"),
    "simsv2": _info("CH-SIMS v2.0: films, series and shows (Chinese)", 4_402, "https://github.com/thuiar/ch-sims-v2"),
}


def label(scores: Sequence[float], classes: str = DEFAULT) -> str | None:
    """Return the class of an utterance, or None where it has none.

    Args:
        scores: The sentiment; and, for `emotion`, the six emotions in the order of `CLASSES`, as the label sequence
            has them.
        classes: One of `CLASSES`.

    Raises:
        CorpusError: The emotions are asked for and there are none.

    >>> [label([value], "seven") for value in (-3.0, -0.4, 1.5, 2.5)]
    ['-3', '0', '2', '2']
    """
    sentiment = scores[0]
    if not np.isfinite(scores).all():
        return None
    if classes == "emotion":
        emotions = np.asarray(scores[1:])
        if len(emotions) != len(CLASSES[classes]):
            raise CorpusError(
                f"An utterance has {len(scores)} scores, no sentiment and six emotions: choose {DEFAULT}."
            )
        strongest = np.flatnonzero(emotions == emotions.max())
        return CLASSES[classes][strongest[0]] if len(strongest) == 1 else None
    if classes == "seven":
        return CLASSES[classes][round(min(max(sentiment, -3), 3)) + 3]
    if classes == "nonnegative":
        return CLASSES[classes][int(sentiment >= 0)]
    return None if classes == "two" and sentiment == 0 else CLASSES[DEFAULT][int(np.sign(sentiment)) + 1]


def targets(scores: Sequence[float], of_one_modality: Sequence[float] = ()) -> dict[str, Any]:
    """Return the `labels` and `scores` of an utterance, each None where it has none.

    Args:
        scores: The sentiment, with the six emotions behind it or not; NaN and infinity are missing.
        of_one_modality: The sentiments of text, speech and pictures alone, where they are known.

    Returns:
        The scores by name, and the emotions whose score is above 0.

    >>> targets([1.5, 0, 0, 0, 2, 0, 0.5])["labels"]
    ('surprised', 'fearful')
    >>> targets([-0.4], [0, -0.6, -0.8])["scores"]
    {'sentiment': -0.4, 'sentiment_text': 0, 'sentiment_speech': -0.6, 'sentiment_visual': -0.8}
    """
    names = (SENTIMENT, *(EMOTIONS if len(scores) == 1 + len(EMOTIONS) else ()))
    numbers = {**dict(zip(names, scores, strict=False)), **dict(zip(_OF_ONE_MODALITY, of_one_modality, strict=False))}
    finite = {name: number for name, number in numbers.items() if np.isfinite(number)}
    labels = tuple(name for name in EMOTIONS if finite[name] > 0) if set(EMOTIONS) <= set(finite) else None
    return {"labels": labels, "scores": finite or None}


def scales(utterances: Sequence[Utterance]) -> dict[str, tuple[float, float]]:
    """Return the published range of each score by name, of those that `targets` gives and whose values fit into it.

    A sentiment lies between -1 and 1 where there is one of a modality alone, as in CH-SIMS, else between -3 and 3.
    """
    values: dict[str, list[float]] = {}
    for utterance in utterances:
        for name, value in (utterance.scores or {}).items():
            values.setdefault(name, []).append(value)
    scale = _SCALE_OF_SIMS if values.keys() & set(_OF_ONE_MODALITY) else _SCALE
    ranges = {**dict.fromkeys((SENTIMENT, *_OF_ONE_MODALITY), scale), **dict.fromkeys(EMOTIONS, _SCALE_OF_EMOTIONS)}
    return {
        name: (low, high)
        for name, (low, high) in ranges.items()
        if name in values and low <= min(values[name]) and max(values[name]) <= high
    }
