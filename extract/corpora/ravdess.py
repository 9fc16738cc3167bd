"""Turns RAVDESS into utterances.

24 actors (odd numbers men, even numbers women) say two sentences with eight emotions, twice, at two intensities
(neutral at one): 60 spoken utterances an actor, 1,440 in all; neutral 96, and 192 each of calm, happy, sad, angry,
fearful, disgusted, surprised. Songs are left out. Licence: CC BY-NC-SA 4.0; https://zenodo.org/records/1188976
(Livingstone and Russo, 2018).

`Actor_01/03-01-05-01-02-01-12.wav`: 01 video with sound, 02 video alone, 03 sound alone; 01 speech, 02 song; emotion;
intensity 01 normal, 02 strong; sentence; repetition; actor. One utterance may have all three files.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from gia_mic.extract.corpora.release import ALL, OTHER_NAMES, CorpusInfo, ReleaseContents, named, scan
from gia_mic.extract.corpus import Clip, Utterance

__all__ = ["INFO", "read_release"]

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
_NAME = re.compile(r"(0[123])-((0[12])-(0[1-8])-(0[12])-(0[12])-0[12]-(\d\d))")

INFO = CorpusInfo(
    title="RAVDESS: actors saying two sentences (English)",
    utterances=1_440,
    classes=tuple(sorted(_NAMES.values())),
    holds=("audio", "text", "video"),
    folds="speaker",
    licence="CC BY-NC-SA 4.0",
    source="https://zenodo.org/records/1188976",
)


def read_release(path: Path) -> ReleaseContents:
    """Read the release; sound is taken from the WAV file, else from the video.

    Args:
        path: Folder that holds Actor_01 and so on, at any depth.

    Raises:
        CorpusError: A file links out of the folder.
    """
    sounds, films = scan(path, ".wav"), scan(path, ".mp4")  # a film's sound may lie beside it under the same name
    recordings, other_names = named({*sounds, *films}, _NAME)
    spoken: dict[tuple[str, ...], dict[str, str]] = {}  # the stems of an utterance, by actor and name
    for stem, (kind, name, way, emotion, intensity, sentence, actor) in recordings.items():
        if way == "01":
            spoken.setdefault((actor, name, emotion, intensity, sentence), {})[kind] = stem
    utterances = []
    for (actor, name, emotion, intensity, sentence), kinds in sorted(spoken.items()):
        sound = _first(sounds, kinds, "03", "01") or _first(films, kinds, "03", "01")
        film = _first(films, kinds, "01", "02")
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
    songs = [stem for stem, parts in recordings.items() if parts[2] == "02"]
    return ReleaseContents(utterances, INFO.classes, expected, odd={OTHER_NAMES: other_names, "songs, left out": songs})


def _first(files: Mapping[str, str], kinds: Mapping[str, str], *by_preference: str) -> str | None:
    """Return the file of the first kind that there is one of."""
    return next((files[kinds[kind]] for kind in by_preference if kinds.get(kind) in files), None)
