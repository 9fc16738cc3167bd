"""Turns the Berlin Database of Emotional Speech (EmoDB) into utterances.

535 recordings of ten actors (five men, five women) who say ten German sentences: angry 127, bored 81, disgusted 46,
fearful 69, happy 71, neutral 79, sad 62. Sound alone, 16 kHz. Licence: free to use, cite Burkhardt et al. (2005);
http://emodb.bilderbar.info

`wav/03a01Fa.wav`: speaker 03, sentence a01, emotion F by its German letter, version a.
"""

import re
from pathlib import Path

from gia_mic.extract.corpora.release import ALL, OTHER_NAMES, CorpusInfo, ReleaseContents, named, scan
from gia_mic.extract.corpus import Clip, Utterance

__all__ = ["INFO", "read_release"]

_NAMES = {
    "W": ("angry", 127),  # Wut (Ärger)
    "L": ("bored", 81),  # Langeweile
    "E": ("disgusted", 46),  # Ekel
    "A": ("fearful", 69),  # Angst
    "F": ("happy", 71),  # Freude
    "N": ("neutral", 79),
    "T": ("sad", 62),  # Trauer
}
_SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
_NAME = re.compile(rf"(\d\d)({'|'.join(_SENTENCES)})([{''.join(_NAMES)}])[a-z]")

INFO = CorpusInfo(
    title="EmoDB: actors saying ten sentences (German)",
    utterances=535,
    classes=tuple(name for name, _ in _NAMES.values()),
    holds=("audio", "text"),
    folds="speaker",
    licence="free to use, with citation",
    source="http://emodb.bilderbar.info",
)


def read_release(path: Path) -> ReleaseContents:
    """Read the release.

    Args:
        path: Folder that holds wav, or that folder itself.

    Raises:
        CorpusError: A file links out of the folder.
    """
    files = scan(path, ".wav")
    recordings, other_names = named(files, _NAME)
    utterances = [
        Utterance(
            id=stem,
            label=_NAMES[emotion][0],
            speaker=speaker,
            scenario=sentence,
            source_label=emotion,
            text=_SENTENCES[sentence],
            audio=Clip(files[stem]),
        )
        for stem, (speaker, sentence, emotion) in recordings.items()
    ]
    expected = {(ALL, name): count for name, count in _NAMES.values()}
    return ReleaseContents(utterances, INFO.classes, expected, odd={OTHER_NAMES: other_names})
