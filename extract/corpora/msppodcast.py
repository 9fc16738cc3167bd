"""Turns MSP-Podcast into utterances.

Speaking turns from podcasts with free licences (English), each judged by at least five people. The corpus grows:
release 1.12 has 207,136 turns (324 hours), release 2.0 has 264,705 with labels. Licence: academic, after an agreement;
https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html (Busso et al., 2025, arXiv:2509.09791).

    Labels/labels_consensus.csv     FileName, EmoClass, EmoAct, EmoVal, EmoDom, SpkrID, Gender, Split_Set
    Labels/labels_detailed.csv      FileName and EmoClass_Major, or EmoDetail: WORKER1; Happy; Amused; A:5; V:6; D:4;
    Audios/MSP-PODCAST_0001_0008.wav (older releases: Audio), Transcripts/MSP-PODCAST_0001_0008.txt

EmoClass is A angry, C contempt, D disgust, F fear, H happy, N neutral, S sad, U surprise; O (other) and X (no
agreement) become no label. The attributes are means from 1 to 7. Split_Set is Train, Development (older releases:
Validation) and the test parts: Test1 chosen as training is, Test2 by chance, Test3 balanced; its labels aren't public.
An annotator's vote is the primary emotion; votes for others, which annotators may word freely, are left out.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from gia_mic.extract.corpora.cells import score_of
from gia_mic.extract.corpora.release import CorpusInfo, ReleaseContents, scan
from gia_mic.extract.corpora.table import Problems, read_table
from gia_mic.extract.corpus import Clip, Utterance, inside
from gia_mic.extract.errors import CorpusError
from gia_mic.extract.names import part_of

__all__ = ["INFO", "read_release"]

_NAMES = {
    "Angry": "angry",
    "Contempt": "contemptuous",
    "Disgust": "disgusted",
    "Fear": "fearful",
    "Happy": "happy",
    "Neutral": "neutral",
    "Sad": "sad",
    "Surprise": "surprised",
}
_LETTERS = {"U" if word == "Surprise" else word[0]: name for word, name in _NAMES.items()}
_NO_LABEL = ("O", "X")
_SCORES = {"valence": "EmoVal", "arousal": "EmoAct", "dominance": "EmoDom"}
_NEEDED = ("FileName", "EmoClass", *_SCORES.values(), "Split_Set")

INFO = CorpusInfo(
    title="MSP-Podcast: speaking turns from podcasts (English)",
    utterances=264_705,
    classes=tuple(_NAMES.values()),
    holds=("audio", "text"),
    folds="split",
    licence="academic, after a signed agreement",
    source="https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html",
)


def read_release(path: Path, *, test: int = 1) -> ReleaseContents:
    """Read the release, with one of its test parts.

    Args:
        path: The folder with Labels and Audios in it, archives unpacked.
        test: Which test part is tested on: 1, 2 or 3; the others are left out.

    Raises:
        CorpusError: There is no table of labels, one lacks values or has unknown ones, or a file links out of the
            folder.
    """
    table = next(iter(sorted(path.glob("[Ll]abels/labels_con[sc]ensus.csv"))), None)
    if table is None:
        raise CorpusError(f"{path} has no Labels/labels_consensus.csv: give the folder with Labels and Audios in it.")
    folder = next((name for name in ("Audios", "Audio") if (path / name).is_dir()), "Audios")
    sounds, texts = scan(inside(path, folder), ".wav"), scan(inside(path, "Transcripts"), ".txt")
    detailed = table.with_name("labels_detailed.csv")
    votes = _votes(detailed) if detailed.is_file() else {}
    problems = Problems()
    odd: dict[str, list[str]] = defaultdict(list)
    utterances: dict[str, Utterance] = {}
    other_parts: Counter[str] = Counter()
    for row in read_table(table):
        stem = str(row.get("FileName", "a row without FileName")).removesuffix(".wav")
        scores = {name: score_of(row.get(column, "")) for name, column in _SCORES.items()}
        if lacking := [column for column in _NEEDED if column not in row]:
            problems.add(f"no value for {', '.join(lacking)} in", stem)
        elif row["EmoClass"] not in (*_LETTERS, *_NO_LABEL):
            problems.add("emotions that MSP-Podcast doesn't have", f"{stem} ({row['EmoClass']})")
        elif None in scores.values():
            problems.add("attributes that aren't numbers", stem)
        elif stem in utterances:
            problems.add("turns that come twice", stem)
        elif (part := "test" if row["Split_Set"] == f"Test{test}" else part_of(row["Split_Set"])) is None:
            other_parts[row["Split_Set"]] += 1
        else:
            if stem not in sounds:
                odd["turns without sound"].append(stem)
            speaker = row.get("SpkrID", "Unknown")
            utterances[stem] = Utterance(
                id=stem,
                label=_LETTERS.get(row["EmoClass"]),
                speaker=None if speaker.lower() == "unknown" else speaker,
                dialog="_".join(stem.split("_")[:2]),
                source_label=row["EmoClass"],
                text=_text(path / "Transcripts" / texts[stem]) if stem in texts else None,
                audio=Clip(f"{folder}/{sounds[stem]}") if stem in sounds else None,
                split=part,
                scores={name: value for name, value in scores.items() if value is not None},
                votes=votes.get(stem),
            )
    problems.raise_if_any(table, "take the labels from the release")
    if "test" not in {utterance.split for utterance in utterances.values()}:
        odd["parts that the labels don't have"] = [f"Test{test}"]
    odd["other parts, left out"] = [f"{part} ({count})" for part, count in sorted(other_parts.items())]
    ranges = dict.fromkeys(_SCORES, (1.0, 7.0))
    return ReleaseContents(list(utterances.values()), INFO.classes, by="split", odd=odd, score_ranges=ranges)


def _votes(file: Path) -> dict[str, Mapping[str, int]]:
    """Return how many annotators chose which class, by turn; a line at a time, for there are over a million."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        for row in csv.DictReader(lines):
            _, _, detail = (row.get("EmoDetail") or "").partition(";")
            word = (row.get("EmoClass_Major") or detail.partition(";")[0]).strip()
            if word in _NAMES:
                votes[(row.get("FileName") or "").strip().removesuffix(".wav")][_NAMES[word]] += 1
    return dict(votes)


def _text(file: Path) -> str | None:
    return " ".join(file.read_text(encoding="utf-8", errors="replace").split()) or None
