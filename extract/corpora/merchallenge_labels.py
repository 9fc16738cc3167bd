"""Turns the tables and archives of the MER challenges into labels by part, and into transcripts.

Tables of `name`, `discrete` and perhaps `valence`, in the release's folder or one below:

    MER2023   train-label.csv, test1-label.csv, test2-label.csv, test3-label.csv
    MER2024   label-disdim.csv
    MER2025   track1_train_disdim.csv, track1_test_dis.csv
    MER2026   track1_train.csv, track1_test.csv

MERTools makes of them `label-6way.npz` (from 2025 on `track1_label_6way.npz`), which is read where there is no table:
`train_corpus`, `test1_corpus` …, each a pickled dict of name → emo and val. A valence of -10 is a missing one.

Texts stand in tables beside: `transcription.csv` (name, sentence) as a recogniser heard them, and others with a column
`chinese`, such as `label-transcription.csv` and `subtitle_chieng.csv`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gia_mic.extract.corpora.cells import score_of
from gia_mic.extract.corpora.table import read_table
from gia_mic.extract.errors import CorpusError
from gia_mic.extract.imports.unpickle import load_objects

__all__ = ["ClipLabels", "read_labels", "read_texts"]

_TABLES = {
    "train": ("train-label.csv", "label-disdim.csv", "track1_train_disdim.csv", "track1_train.csv"),
    "test1": ("test1-label.csv", "track1_test_dis.csv", "track1_test.csv"),
    "test2": ("test2-label.csv",),
    "test3": ("test3-label.csv",),
}
_ARCHIVES = ("label-6way.npz", "track1_label_6way.npz")
_HEARD = "transcription.csv"
_MISSING_VALENCE = -10


class ClipLabels(NamedTuple):
    """What is known of a clip: its name, the word for its emotion, and the valence if there is one."""

    name: str
    emotion: str
    valence: float | None


def read_labels(path: Path) -> dict[str, list[ClipLabels]]:
    """Return the labels by part (train, test1 …), from the tables, else from the archive.

    Raises:
        CorpusError: There are none to train on, or the archive holds something else.
        StoreError: The archive is broken, or asks for more than arrays and containers.
    """
    files = {part: _first(path, names) for part, names in _TABLES.items()}
    archive = _first(path, _ARCHIVES)
    if files["train"] is not None:
        return {part: [_labels(row) for row in read_table(file)] for part, file in files.items() if file}
    if archive is None:
        raise CorpusError(
            f"{path} has neither train-label.csv, or its like of a later year, nor label-6way.npz: give the folder of "
            "MER2023, MER2024, MER2025 or MER2026, or the one that MERTools made of it."
        )
    corpora = load_objects(archive)
    try:
        return {
            part: [
                _labels({"name": name, "discrete": labels["emo"], "valence": labels.get("val")})
                for name, labels in corpora[f"{part}_corpus"].items()
            ]
            for part in _TABLES
            if part == "train" or f"{part}_corpus" in corpora
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{archive} is none of MERTools' archives of labels: expected train_corpus with emo by clip, found "
            f"{', '.join(corpora) or 'nothing'}."
        ) from error


def read_texts(path: Path) -> dict[str, str]:
    """Return the transcripts by clip; where several tables have one, what a recogniser heard comes last."""
    files = [file for file in path.glob("*.csv") if "transcription" in file.name or "subtitle" in file.name]
    texts: dict[str, str] = {}
    for file in sorted(files, key=lambda file: (file.name == _HEARD, file.name)):
        for row in read_table(file):
            if text := row.get("chinese") or row.get("sentence"):
                texts.setdefault(row.get("name", ""), text)
    return texts


def _labels(row: Mapping[str, Any]) -> ClipLabels:
    valence = score_of(str(row.get("valence", "")))
    has_valence = valence is not None and valence != _MISSING_VALENCE
    return ClipLabels(str(row.get("name", "?")), str(row.get("discrete", "none")), valence if has_valence else None)


def _first(path: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first file of these names, in the folder or one below."""
    files = (file for name in names for file in (path / name, *sorted(path.glob(f"*/{name}"))))
    return next((file for file in files if file.is_file()), None)
