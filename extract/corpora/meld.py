"""Turns MELD's raw release into utterances.

1,433 dialogs of the series Friends, 13,708 utterances in the authors' own parts: train 9,989, dev 1,109, test 2,610.
Seven classes: angry, disgusted, fearful, happy ("joy"), neutral, sad, surprised. Licence: GPL-3.0 for the annotations;
the clips are from television, for research. https://affective-meld.github.io (Poria et al., 2019).

`<part>_sent_emo.csv` has the columns Sr No., Utterance, Speaker, Emotion, Sentiment, Dialogue_ID, Utterance_ID, Season,
Episode, StartTime, EndTime. The clips `dia<D>_utt<U>.mp4`, numbered anew in each part, lie in train_splits,
dev_splits_complete and output_repeated_splits_test. Known oddities: dev's dia110_utt7 is not there and train's
dia125_utt3 is broken; there are clips without a line, `._` twins and `final_videos_test…` copies; apostrophes and
dashes are control characters of Windows-1252.
"""

from collections import defaultdict
from pathlib import Path

from gia_mic.extract.corpora.cells import cut_zero
from gia_mic.extract.corpora.release import CorpusInfo, ReleaseContents, scan
from gia_mic.extract.corpora.table import Problems, read_table
from gia_mic.extract.corpus import Clip, Utterance, inside
from gia_mic.extract.errors import CorpusError, one_line

__all__ = ["INFO", "read_release"]

_NAMES = {
    "anger": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "joy": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprise": "surprised",
}
_COUNTS = {  # in the order of _NAMES
    "train": (1109, 271, 268, 1743, 4710, 683, 1205),
    "dev": (153, 22, 40, 163, 470, 111, 150),
    "test": (345, 68, 50, 402, 1256, 208, 281),
}
_NEEDED = ("Emotion", "Dialogue_ID", "Utterance_ID")

INFO = CorpusInfo(
    title="MELD: conversations from the series Friends (English)",
    utterances=13_708,
    classes=tuple(_NAMES.values()),
    holds=("audio", "text", "video"),
    folds="split",
    licence="GPL-3.0 (annotations); clips for research",
    source="https://affective-meld.github.io",
)


def read_release(path: Path) -> ReleaseContents:
    """Read the release; sound and pictures are both in its clips.

    Args:
        path: MELD.Raw, with its archives unpacked.

    Raises:
        CorpusError: There is no annotation file, or one lacks columns, has unknown emotions or repeats an utterance.
    """
    tables = scan(path, ".csv")
    clips = {part: _clips(path, part) for part in _COUNTS}
    odd: dict[str, list[str]] = defaultdict(list)
    utterances: dict[str, Utterance] = {}
    for part in _COUNTS:
        table = tables.get(f"{part}_sent_emo")
        if table is None:
            odd["annotations that are not there"].append(f"{part}_sent_emo.csv")
            continue
        problems = Problems()
        used = set()
        for row in read_table(path / table):
            lacking = [column for column in _NEEDED if column not in row]
            if lacking:
                problems.add(f"no value for {', '.join(lacking)} in row", row.get("Sr No.", "?"))
                continue
            dialog, number = (cut_zero(str(row[name])) for name in ("Dialogue_ID", "Utterance_ID"))
            clip, emotion = f"dia{dialog}_utt{number}", row["Emotion"].lower()
            utterance_id = f"{part}_{clip}"
            if emotion not in _NAMES:
                problems.add("emotions that MELD doesn't have", f"{utterance_id} ({emotion})")
                continue
            if utterance_id in utterances:
                problems.add("utterances that come twice", utterance_id)
            if clip not in clips[part]:
                odd["utterances without a clip"].append(utterance_id)
            used.add(clip)
            film = Clip(clips[part][clip]) if clip in clips[part] else None
            utterances[utterance_id] = Utterance(
                id=utterance_id,
                label=_NAMES[emotion],
                speaker=row.get("Speaker"),
                dialog=f"{part}_dia{dialog}",
                source_label=emotion,
                text=_readable(row.get("Utterance", "")) or None,
                audio=film,
                video=film,
                split=part,
            )
        problems.raise_if_any(path / table, "take the annotations from the release")
        odd["clips without a line, left out"] += [f"{part}: {clip}" for clip in clips[part] if clip not in used]
    if not utterances:
        raise CorpusError(f"{path} has no train_sent_emo.csv, dev_sent_emo.csv or test_sent_emo.csv: give MELD.Raw.")
    if any(clips.values()) and not any(utterance.video for utterance in utterances.values()):
        raise CorpusError(
            f"None of the {sum(map(len, clips.values()))} clips in {path} is one of its {len(utterances)} utterances, "
            f"such as {one_line(utterances, 3)}: Dialogue_ID and Utterance_ID make names like dia0_utt0.mp4."
        )
    expected = {
        (part, name): count
        for part, counts in _COUNTS.items()
        for name, count in zip(_NAMES.values(), counts, strict=True)
    }
    return ReleaseContents(list(utterances.values()), INFO.classes, expected, by="split", odd=odd)


def _clips(path: Path, part: str) -> dict[str, str]:
    """Return the clips in folders of a part, such as train_splits, by name."""
    paths = {}
    for folder in sorted(path.glob("*/")) + sorted(path.glob("*/*/")):
        if part in folder.name.lower() and not folder.name.startswith(".") and folder.name.lower() != part:
            prefix = folder.relative_to(path).as_posix()
            clips = scan(inside(path, prefix), ".mp4")
            paths.update({stem: f"{prefix}/{file}" for stem, file in clips.items()})
    return paths


def _readable(text: str) -> str:
    """Give back the apostrophes and dashes that became control characters."""
    return "".join(
        bytes([ord(letter)]).decode("cp1252", errors="replace") if "\x80" <= letter <= "\x9f" else letter
        for letter in text
    )
