"""Turns the corpora of the challenges MER2023 to MER2026 into utterances.

Clips from Chinese films and television with one of six emotions: worried, happy, neutral, angry, surprised, sad.
MER2023 has 5,030 labelled clips: train and the parts test1 (MER-MULTI), test2 (MER-NOISE) and test3 (MER-SEMI), with a
valence except in test3. MER2024 has 5,030 to train on, MER2025 7,369 and MER2026 9,395; labels of their tests aren't
public. Licence: academic research, after an agreement; https://huggingface.co/MERChallenge (Lian et al., 2023).

Labels and texts are read as `merchallenge_labels` says. Clips (.mp4, .avi) lie in `video`, in `video-labeled` (2024) or
in `train`, `test1` … (2023), and from 2025 on their sound in `audio`. MERTools, the authors' code, writes neutral for
labels that it doesn't have: a test part in which all are neutral is left out.

Where no test part has labels, `split` names five folds, drawn by the clips' names (the authors draw them at random).
No speakers are given. Checked against the code and the notes of https://github.com/zeroQiaoba/MERTools; they don't
state the range of valence, so it is the range that occurs.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from gia_mic.extract.corpora.merchallenge_labels import read_labels, read_texts
from gia_mic.extract.corpora.release import CorpusInfo, ReleaseContents, scan
from gia_mic.extract.corpora.table import Problems
from gia_mic.extract.corpus import Clip, Utterance, inside

__all__ = ["INFO", "read_release"]

_NAMES = {
    "angry": "angry",
    "happy": "happy",
    "neutral": "neutral",
    "sad": "sad",
    "surprise": "surprised",
    "worried": "worried",
}
_FILMS = ("video", "video-labeled", "train", "test1", "test2", "test3")
_FOLDS = 5

INFO = CorpusInfo(
    title="MER2023 to MER2026: clips from films and television (Chinese)",
    utterances=9_395,
    classes=tuple(_NAMES.values()),
    holds=("audio", "text", "video"),
    folds="split",
    licence="academic research, after an agreement",
    source="https://huggingface.co/MERChallenge",
)


def read_release(path: Path, *, test: int = 1) -> ReleaseContents:
    """Read a year's release, or the folder that MERTools makes of it, with one of its test parts.

    Args:
        path: Folder with the labels and the clips.
        test: Which labelled test part is tested on: 1, 2 or 3; the others are left out.

    Raises:
        CorpusError: There are no labels, one has an unknown emotion, a clip comes twice, or a file links out of the
            folder.
        StoreError: The archive of labels is broken, or asks for more than arrays and containers.
    """
    parts = read_labels(path)
    unlabelled = [part for part in parts if part != "train" and {clip.emotion for clip in parts[part]} == {"neutral"}]
    tested = f"test{test}" in parts and f"test{test}" not in unlabelled
    texts = read_texts(path)
    films, sounds = _clips(path, _FILMS, ".mp4", ".avi"), _clips(path, ("audio",), ".wav")
    problems = Problems()
    utterances: dict[str, Utterance] = {}
    for part in ("train", f"test{test}") if tested else ("train",):
        for name, emotion, valence in parts[part]:
            if emotion not in _NAMES:
                problems.add("emotions that MER doesn't have", f"{name} ({emotion})")
                continue
            if name in utterances:
                problems.add("clips that come twice", name)
            sound = sounds.get(name) or films.get(name)
            utterances[name] = Utterance(
                id=name,
                label=_NAMES[emotion],
                source_label=emotion,
                text=texts.get(name),
                audio=Clip(sound) if sound else None,
                video=Clip(films[name]) if name in films else None,
                split=part.rstrip("123") if tested else _fold(name),
                scores=None if valence is None else {"valence": valence},
            )
    problems.raise_if_any(path, "take the labels from the release")
    odd = {
        "parts whose labels aren't known, left out": unlabelled,
        "other parts, left out": [part for part in parts if part not in ("train", f"test{test}", *unlabelled)],
        "clips that are not there": [name for name in utterances if name not in films],
    }
    return ReleaseContents(list(utterances.values()), INFO.classes, by="split", odd=odd)


def _clips(path: Path, folders: Sequence[str], *suffixes: str) -> dict[str, str]:
    """Return the clips in folders of these names, in the folder or one below, by the clips' names."""
    paths: dict[str, str] = {}
    for folder in (folder for name in folders for folder in (path / name, *sorted(path.glob(f"*/{name}")))):
        prefix = folder.relative_to(path).as_posix()
        clips = scan(inside(path, prefix), *suffixes)
        paths = {stem: f"{prefix}/{file}" for stem, file in clips.items()} | paths
    return paths


def _fold(name: str) -> str:
    return f"fold_{int(hashlib.sha256(name.encode()).hexdigest(), 16) % _FOLDS + 1}"
