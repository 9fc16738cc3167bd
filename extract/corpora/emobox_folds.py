"""Turns EmoBox's description of a corpus into its folds, classes and speakers.

In `data/<corpus>/`, beside other forms of the same:

    fold_<k>/<corpus>_<train, valid or test>_fold_<k>.jsonl    a recording a line:
        {"key": "iemocap-Ses01F_impro04_F000", "wav": "downloads/iemocap/Session1/….wav", "emo": "neu", …}
    label_map.json            the class of each emo: {"hap": "Happy", "exc": "Happy", …}
    data.seg.wrd.stm          speakers: … <id=iemocap-Ses01F_impro04_F000,lang=en,spk=1F,emotion=neu> neu

Files of an older form (`_fold1.jsonl`) and other parts (test1) are passed over. Label maps may differ from emo in
capitals, as EmoDB's does.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gia_mic.extract.corpora.table import Problems, bad_id, read_table
from gia_mic.extract.errors import CorpusError

__all__ = ["Rows", "read_folds", "read_label_map", "read_speakers", "splits_of"]

_PARTS = {"train": "train", "valid": "dev", "test": "test"}
_NEEDED = ("key", "wav", "emo")
_SPEAKER = re.compile(r"<id=(.*),lang=\w*,spk=(.*),emotion=")

Rows = dict[str, dict[str, Any]]
"""Lines of a part by key."""


def read_folds(folder: Path, dataset: str, fold: int | None) -> dict[int, dict[str, Rows]]:
    """Return the lines of each part (train, dev, test) of each fold.

    Args:
        folder: The corpus's folder in EmoBox's data.
        dataset: Name of the corpus.
        fold: The only fold to read; None for all of them.

    Raises:
        CorpusError: A fold isn't there or lacks a part, or a line lacks a value.
    """
    name = re.compile(rf"{re.escape(dataset)}_(train|valid|test)_fold_(\d+)\.jsonl")
    problems = Problems()
    folds: dict[int, dict[str, Rows]] = {}
    for file in sorted(folder.glob("fold_*/*.jsonl")):
        match = name.fullmatch(file.name)
        if match is None or fold not in (None, int(match[2])):
            continue
        rows = folds.setdefault(int(match[2]), {})[_PARTS[match[1]]] = {}
        for row in read_table(file):
            key = str(row.get("key", "?"))
            if lacking := [column for column in _NEEDED if column not in row]:
                problems.add(f"no value for {', '.join(lacking)} in {file.name} at", key)
            elif bad_id(key):
                problems.add("keys that lead out of a folder or have control characters", repr(key))
            rows[key] = row
    if not folds or not all({"train", "test"} <= parts.keys() for parts in folds.values()):
        raise CorpusError(
            f"{folder} has no fold_{fold or 1}/{dataset}_train_fold_{fold or 1}.jsonl with its test part, or a fold of "
            "one part alone: give the folder of EmoBox, and with --fold one of its folds."
        )
    problems.raise_if_any(folder, "take it from EmoBox again")
    return folds


def splits_of(folds: Mapping[int, Mapping[str, Rows]], dataset: str) -> dict[str, str]:
    """Return the fold that each recording is tested in; of a single fold the part that it belongs to.

    Raises:
        CorpusError: A recording is in several of these, or a fold isn't trained on all that it doesn't test.
    """
    if len(folds) == 1:
        named = next(iter(folds.values()))
    else:
        named = {f"fold_{number}": parts["test"] for number, parts in sorted(folds.items())}
    splits = {key: name for name, rows in named.items() for key in rows}
    shared = len(splits) < sum(map(len, named.values()))
    if len(folds) == 1 and shared:
        raise CorpusError(f"The parts of {dataset} in EmoBox share recordings: take its data from EmoBox again.")
    partial = [
        number
        for number, parts in folds.items()
        if "dev" in parts or parts["train"].keys() != splits.keys() - parts["test"].keys()
    ]
    if len(folds) > 1 and (shared or partial):
        raise CorpusError(
            f"The {len(folds)} folds of {dataset} in EmoBox can't be told by one column, for test parts share "
            "recordings or training isn't on all the others: choose one of them with --fold."
        )
    return splits


def read_label_map(file: Path) -> dict[str, str]:
    """Return the class by emotion, in small letters."""
    try:
        return {str(emotion).casefold(): str(name) for emotion, name in json.loads(file.read_text("utf-8")).items()}
    except (AttributeError, OSError, ValueError) as error:
        raise CorpusError(f"{file} is no object of classes by emotion ({error}): take it from EmoBox again.") from error


def read_speakers(file: Path) -> dict[str, str]:
    """Return the speaker of each recording, as far as there are fewer speakers than recordings."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    speakers = {match[1]: match[2] for line in lines if (match := _SPEAKER.search(line))}
    return speakers if len(set(speakers.values())) < len(speakers) else {}
