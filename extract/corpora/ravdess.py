"""Turns RAVDESS into utterances.

24 actors (odd numbers men, even numbers women) say two sentences with eight emotions, twice, at two intensities
(neutral at one): 60 spoken utterances an actor, 1,440 in all; neutral 96, and 192 each of calm, happy, sad, angry,
fearful, disgusted, surprised. Songs are left out. Licence: CC BY-NC-SA 4.0; https://zenodo.org/records/1188976
(Livingstone and Russo, 2018).

`Actor_01/03-01-05-01-02-01-12.wav`: 01 video with sound, 02 video alone, 03 sound alone; 01 speech, 02 song; emotion;
intensity 01 normal, 02 strong; sentence; repetition; actor. One utterance may have all three files.
"""

import re
from collections import defaultdict
from pathlib import Path

from extract.corpora.release import ALL, Facts, Reading, scan
from extract.corpus import Clip, Utterance

__all__ = ["FACTS", "read"]

_NAMES = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgusted",
    "08": "surprised",
}
_SENTENCES = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
_NAME = re.compile(r"(0[123])-((0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d))")

FACTS = Facts(
    title="RAVDESS: actors saying two sentences (English)",
    utterances=1_440,
    classes=tuple(sorted(_NAMES.values())),
    holds=("audio", "text", "video"),
    folds="speaker",
    licence="CC BY-NC-SA 4.0",
    source="https://zenodo.org/records/1188976",
)


def read(path: Path) -> Reading:
    """Read the release; sound is taken from the WAV file, else from the video.

    Args:
        path: Folder that holds Actor_01 and so on, at any depth.

    Raises:
        CorpusError: A file links out of the folder.
    """
    files: dict[str, dict[str, str]] = defaultdict(dict)
    odd: dict[str, list[str]] = defaultdict(list)
    songs = 0
    for stem, file in scan(path, ".wav", ".mp4").items():
        match = _NAME.fullmatch(stem)
        if match is None:
            odd["files of another name, left out"].append(stem)
        elif match[3] == "02":
            songs += 1
        else:
            files[match[2]][match[1]] = file
    if songs:
        odd["songs, left out"] = [f"{songs} files"]
    utterances = []
    for name, kinds in sorted(files.items(), key=lambda item: (item[0][-2:], item[0])):
        _, emotion, intensity, sentence, _, actor = name.split("-")
        sound, film = kinds.get("03") or kinds.get("01"), kinds.get("01") or kinds.get("02")
        utterances.append(
            Utterance(
                id=name,
                label=_NAMES[emotion],
                speaker=f"Actor_{actor}",
                scenario=f"sentence {int(sentence)}",
                source_label=f"{_NAMES[emotion]}, {'strong' if intensity == '02' else 'normal'}",
                text=_SENTENCES[sentence],
                audio=Clip(sound) if sound else None,
                video=Clip(film) if film else None,
            )
        )
    expected = {(ALL, name): 96 if name == "neutral" else 192 for name in _NAMES.values()}
    return Reading(utterances, FACTS.classes, expected, odd=odd)
