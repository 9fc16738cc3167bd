"""Turns CREMA-D into utterances.

7,442 clips of 91 actors (48 men, 43 women) who say 12 sentences with six emotions: angry, disgusted, fearful, happy and
sad 1,271 each, neutral 1,087. Licence: Open Database License 1.0; https://github.com/CheyneyComputerScience/CREMA-D
(Cao et al., 2014). The files are in Git LFS: without it they are pointers of about 130 bytes.

`AudioWAV/1001_DFA_ANG_XX.wav`, `AudioMP3/….mp3`, `VideoFlash/….flv`: actor, sentence, emotion, level (LO, MD, HI; XX
where none was asked for; one file has X). The label is the emotion that the actor was asked for.
"""

import re
from pathlib import Path

from gia_mic.extract.corpora.release import ALL, OTHER_NAMES, CorpusInfo, ReleaseContents, named, scan
from gia_mic.extract.corpus import Clip, Utterance

__all__ = ["INFO", "read_release"]

_NAMES = {"ANG": "angry", "DIS": "disgusted", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_SENTENCES = {
    "DFA": "Don't forget a jacket.",
    "IEO": "It's eleven o'clock.",
    "IOM": "I'm on my way to the meeting.",
    "ITH": "I think I have a doctor's appointment.",
    "ITS": "I think I've seen this before.",
    "IWL": "I would like a new alarm clock.",
    "IWW": "I wonder what this is about.",
    "MTI": "Maybe tomorrow it will be cold.",
    "TAI": "The airplane is almost full.",
    "TIE": "That is exactly what happened.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
_NAME = re.compile(rf"(\d{{4}})_({'|'.join(_SENTENCES)})_({'|'.join(_NAMES)})_([A-Z]{{1,2}})")

INFO = CorpusInfo(
    title="CREMA-D: actors saying 12 sentences (English)",
    utterances=7_442,
    classes=tuple(_NAMES.values()),
    holds=("audio", "text", "video"),
    folds="speaker",
    licence="ODbL 1.0",
    source="https://github.com/CheyneyComputerScience/CREMA-D",
)


def read_release(path: Path) -> ReleaseContents:
    """Read the release, or any folder with files of its names; sound is taken from WAV, else MP3, else the video.

    Args:
        path: Folder that holds AudioWAV and VideoFlash.

    Raises:
        CorpusError: A file links out of the folder.
    """
    sounds, films = scan(path, ".wav", ".mp3"), scan(path, ".flv", ".mp4")
    recordings, other_names = named({*sounds, *films}, _NAME)
    utterances = [
        Utterance(
            id=stem,
            label=_NAMES[emotion],
            speaker=actor,
            scenario=sentence,
            source_label=f"{emotion}_{level}",
            text=_SENTENCES[sentence],
            audio=Clip(sounds.get(stem) or films[stem]),
            video=Clip(films[stem]) if stem in films else None,
        )
        for stem, (actor, sentence, emotion, level) in recordings.items()
    ]
    expected = {(ALL, name): 1087 if name == "neutral" else 1271 for name in _NAMES.values()}
    odd = {OTHER_NAMES: other_names, "utterances without video": [stem for stem in recordings if stem not in films]}
    return ReleaseContents(utterances, INFO.classes, expected, odd=odd)
