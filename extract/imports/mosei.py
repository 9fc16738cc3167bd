r"""Turns the scores of CMU-MOSEI and CMU-MOSI into classes; both corpora come as feature files, for `mer import`.

CMU-MOSEI: 23,453 segments of 3,228 videos in which 1,000 people give their opinion (English). Each has a sentiment from
-3 to 3 and six emotions from 0 to 3. The feature files of MMSA and MulT have 22,856: train 16,326, dev 1,871, test
4,659 (Zadeh et al., ACL 2018).

CMU-MOSI: 2,199 segments of 93 videos of 89 people, sentiment only: train 1,284, dev 229, test 686 (Zadeh et al., 2016,
arXiv:1606.06259).

Licence: for research. Features and labels come from http://multicomp.cs.cmu.edu/resources as computational sequences
(.csd), and from the authors of MMSA, https://github.com/thuiar/MMSA, as pickles (`unaligned_50.pkl`).

    mer import unaligned_50.pkl --modality speech --corpus mosi
    mer import CMU_MOSEI_COVAREP.csd --modality speech --corpus mosei --labels CMU_MOSEI_Labels.csd --nonfinite zero \
        --splits folds.csv

A label sequence doesn't say who is in which part: the table of video and split comes from the standard folds in the
source of the CMU-MultimodalSDK. The pickles do.
"""

from collections.abc import Sequence

import numpy as np

from gia_mic.extract.corpora.release import CorpusInfo
from gia_mic.extract.errors import CorpusError

__all__ = ["CLASSES", "DEFAULT", "INFO", "label"]

DEFAULT = "sign"

CLASSES = {
    DEFAULT: ("negative", "neutral", "positive"),
    "two": ("negative", "positive"),
    "nonnegative": ("negative", "non-negative"),
    "seven": ("-3", "-2", "-1", "0", "1", "2", "3"),
    "emotion": ("happy", "sad", "angry", "surprised", "disgusted", "fearful"),
}
"""Ways to make classes of scores, with the classes in their order.

`sign` is that of the sentiment; `two` leaves out a sentiment of 0, `nonnegative` counts it with the positive ones (the
two readings of Acc-2); `seven` rounds it (Acc-7); `emotion` is the strongest of the six, where one is.
"""


def _info(title: str, utterances: int, name: str) -> CorpusInfo:
    return CorpusInfo(
        title=title,
        utterances=utterances,
        classes=CLASSES[DEFAULT],
        holds=("features",),
        folds="split",
        licence="research",
        source=f"http://multicomp.cs.cmu.edu/resources/{name}-dataset/",
    )


INFO = {
    "mosei": _info("CMU-MOSEI: opinions in videos (English)", 23_453, "cmu-mosei"),
    "mosi": _info("CMU-MOSI: opinions in videos (English)", 2_199, "cmu-mosi"),
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
