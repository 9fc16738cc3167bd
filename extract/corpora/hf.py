"""Turns an audio classification set of the `datasets` library, from the hub or a local folder, into a corpus.

Three things are understood: a folder of sound (one subfolder per class, or metadata.csv, .jsonl or .parquet with a
column file_name), a folder of Parquet or Arrow tables, and whatever else `load_dataset` finds under a hub id. Sound
that lies as files in the folder stays there; sound inside tables is written below the corpus's own folder, byte for
byte.
"""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gia_mic.extract.corpora.cells import MISSING_TEXTS, as_text
from gia_mic.extract.corpora.manifest import check_rows
from gia_mic.extract.corpora.table import read_table
from gia_mic.extract.corpora.target_columns import matching_numbers, target_names
from gia_mic.extract.corpus import Corpus, valid_name, write_corpus
from gia_mic.extract.errors import CorpusError, first_line, one_line
from gia_mic.extract.files import replacing
from gia_mic.extract.names import part_of, same_name

__all__ = ["prepare_dataset", "sound_suffix"]

logger = logging.getLogger(__name__)

_USUAL = {  # manifest column → what sets call it
    "id": ("id", "utterance_id", "utt_id"),
    "label": ("label", "emotion", "labels", "class"),
    "labels": ("labels",),
    "text": ("text", "transcript", "transcription", "sentence", "raw_text"),
    "speaker": ("speaker", "speaker_id", "actor", "client_id"),
    "session": ("session", "session_id"),
    "dialog": ("dialog", "dialogue_id", "dialog_id"),
    "scenario": ("scenario",),
}
_SOUND = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_NO_CLASSES = ("audio", "audios", "clips", "data", "files", "recordings", "wav", "wavs")
_KINDS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg"}

Row = dict[str, Any]
"""A row of a set: "file" (below the folder) or "bytes" of its sound, "part", and the set's own columns."""


def prepare_dataset(
    source: str,
    features: Path,
    name: str,
    *,
    subset: str | None = None,
    columns: Mapping[str, str] | None = None,
    labels: Sequence[str] | None = None,
    ranges: Mapping[str, Sequence[float]] | None = None,
    missing: Collection[str] = MISSING_TEXTS,
) -> Corpus:
    """Prepare a corpus from a data set with sound and labels, scores or votes.

    A column of lists of classes becomes `labels`; columns such as score_valence and votes_angry keep their names.

    Args:
        source: Local folder, or hub id.
        features: The features folder.
        name: Name of the new corpus.
        subset: Configuration of a hub set that has several.
        columns: Manifest column → the set's column, or "" for none; others are found by their usual names.
        labels: Classes in their order, as `prepare_table` takes them.
        ranges: Lowest and highest value of scores, by name; by default the least and greatest that occur.
        missing: Texts that stand for a missing value, in any column.

    Raises:
        CorpusError: The set can't be had, lacks sound or labels, or contradicts itself.
    """
    column_map = dict(columns or {})
    if wrong := sorted(set(column_map) - set(_USUAL)):
        raise CorpusError(f"There are no manifest columns {one_line(wrong)}: choose among {one_line(_USUAL)}.")
    folder = features / valid_name(name)
    local = Path(source) if Path(source).is_dir() else None
    in_files = local is not None and not any(local.rglob("*.arrow")) and not _tables(local)
    classes: dict[str, list[str]] = {}
    rows = list(_from_files(local) if in_files and local else _from_tables(source, local, subset, classes))
    if not rows:
        raise CorpusError(f"{source} holds no sound: expected {one_line(_SOUND)}, or tables with a column of sound.")
    present = list(dict.fromkeys(column for row in rows for column in row) | dict.fromkeys(classes))
    for column, usual in _USUAL.items():
        match = next((name for name in usual if name in present), None)
        if column not in column_map and match:
            column_map[column] = match
    column_map = {ours: theirs for ours, theirs in column_map.items() if theirs}
    if absent := [f"{theirs} (for {ours})" for ours, theirs in column_map.items() if theirs not in present]:
        raise CorpusError(f"{source} has no column {one_line(absent)}; it has {one_line(present, 20)}.")
    _tell_labels_apart(column_map, rows)
    numbers = matching_numbers(present)
    if not (numbers or {"label", "labels"} & set(column_map)):
        raise CorpusError(f"{source} has no column of labels; it has {one_line(present, 20)}: name one with --column.")
    every_column = {**column_map, **{name: column for column, name in numbers.items()}}
    ours = [
        {column: row[theirs] for column, theirs in every_column.items() if row.get(theirs) is not None} for row in rows
    ]
    for number, (row, own) in enumerate(zip(rows, ours, strict=True)):
        own.setdefault("id", row.get("file") or f"{row['part'] or 'all'}-{number:06d}")
        own["split"] = row["part"]
        own["audio"] = row.get("file") or _write_sound(folder, number, row)
    root = local if in_files and local else folder
    names = classes.get(column_map.get("label", ""), [])
    if names and not (numbers or "labels" in column_map):
        ours = _labelled(ours, source, column_map["label"])
    _tell_ids_apart(ours, source, column_map.get("id"))
    utterances = check_rows(
        [{column: value for column, value in row.items() if value is not None} for row in ours],
        where=source,
        root=root,
        labels=labels,
        ranges=ranges,
        classes=names,
        missing=missing,
    )
    names_of_targets = target_names(utterances, labels, ranges or {}, where=source)
    about = {"source": source, "columns": column_map}
    corpus = write_corpus(features, name, utterances, root=root, about=about, **names_of_targets)
    logger.info(f"Prepared {len(corpus)} utterances in {corpus.folder}.")
    return corpus


def sound_suffix(data: bytes, origin: Path) -> str:
    """Return what the name of a file with some bytes should end in, by their beginning, else by where they are from."""
    return _KINDS.get(data[:4]) or (origin.suffix.lower() if origin.suffix.lower() in _SOUND else ".bin")


def _tables(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.parquet") if path.name not in _METADATA]


def _from_files(folder: Path) -> Iterator[Row]:
    """Read a folder of sound: metadata beside the files, or else folders named after classes."""
    metadata = sorted(path for name in _METADATA for path in folder.rglob(name))
    for table in metadata:
        for row in read_table(table):
            file = row.pop("file_name", None)
            if not isinstance(file, str):
                raise CorpusError(
                    f"{table} has a row without file_name: expected the sound's path from {table.parent}."
                )
            sound = file if Path(file).is_absolute() else (table.parent / file).relative_to(folder).as_posix()
            yield {**row, "file": sound, "part": _part(sound)}
    if not metadata:
        yield from _from_class_folders(folder)


def _from_class_folders(folder: Path) -> Iterator[Row]:
    """Read a folder with one of sound for each class, with or without folders for parts such as train around them."""
    unlabelled, labelled = [], 0
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix.lower() not in _SOUND or path.name.startswith("."):
            continue
        names = [
            name for name in relative.parts[:-1] if not _part_of_folder(name) and same_name(name) not in _NO_CLASSES
        ]
        if names:
            labelled += 1
            yield {"label": names[-1], "file": relative.as_posix(), "part": _part(relative.as_posix())}
        else:
            unlabelled.append(relative.as_posix())
    if unlabelled:
        line = f"{folder}: {len(unlabelled)} files of sound lie in no folder of a class ({one_line(unlabelled, 3)})"
        if not labelled:
            raise CorpusError(
                f"{line}, and names such as train and test are parts, no classes: put each class into a folder of its "
                "name, or the labels into a metadata.csv with the columns file_name and label."
            )
        logger.warning(f"{line}, and are left out.")


def _part(path: str) -> str | None:
    return next((part for name in Path(path).parts[:-1] if (part := _part_of_folder(name))), None)


def _part_of_folder(name: str) -> str | None:
    """Return the part that a folder is of; beside its name there may be more, as in train-clean or test2."""
    return part_of(name) or part_of(re.split(r"[\W\d_]", same_name(name))[0])


def _tell_labels_apart(column_map: dict[str, str], rows: Sequence[Row]) -> None:
    """Take a column of lists for `labels`, and any other for `label`."""

    def has_lists(column: str) -> bool:
        return any(isinstance(row.get(column_map.get(column, "")), list) for row in rows)

    if has_lists("label"):
        column_map["labels"] = column_map.pop("label")
    elif "labels" in column_map and not has_lists("labels"):
        del column_map["labels"]


def _labelled(rows: Sequence[Row], source: str, column: str) -> list[Row]:
    """Return the rows with a label; the library writes an unknown class as −1.

    Raises:
        CorpusError: No row has one.
    """
    labelled = [row for row in rows if row.get("label") is not None]
    if not labelled:
        raise CorpusError(
            f"{source}: the class of every utterance is unknown in the column {column}: name another one."
        )
    if without := len(rows) - len(labelled):
        names = one_line(str(row["id"]) for row in rows if row.get("label") is None)
        logger.warning(
            f"{source}: {without} utterances have no class in the column {column}, and are left out: {names}."
        )
    return labelled


def _tell_ids_apart(rows: Sequence[Row], source: str, column: str | None) -> None:
    """Put the part before ids that are counted anew in each part.

    Raises:
        CorpusError: A part has an id twice.
    """
    if column is None or len({as_text(row["id"]) for row in rows}) == len(rows):
        return
    counts = Counter((row["split"], as_text(row["id"])) for row in rows)
    if twice := [name for (_, name), count in counts.items() if count > 1]:
        raise CorpusError(
            f"{source} has ids twice in the column {column}: {one_line(twice)}; name another column with "
            "--column id=NAME, or have the utterances numbered with --column id=."
        )
    for row in rows:
        row["id"] = f"{row['split'] or 'all'}-{as_text(row['id'])}"
    logger.info(f"{source}: each part counts the ids in the column {column} anew, so they have the part before them.")


def _from_tables(source: str, local: Path | None, subset: str | None, classes: dict[str, list[str]]) -> Iterator[Row]:
    """Read tables with the library itself; the sound stays the bytes or the file that it is.

    The names of classes are added to `classes`, by column; an unknown class (-1) is an empty cell.
    """
    import datasets

    try:
        if local is not None and ((local / "dataset_dict.json").is_file() or (local / "state.json").is_file()):
            loaded = datasets.load_from_disk(str(local))
        else:
            loaded = datasets.load_dataset(source, subset)
    except Exception as error:  # the library raises whatever its many readers do
        raise CorpusError(
            f"The data set {source!r} can't be loaded ({first_line(error)}): give a hub id, with --subset if it has "
            "several, or a local folder of it."
        ) from error
    parts = loaded if isinstance(loaded, datasets.DatasetDict) else {None: loaded}
    for part, table in parts.items():
        split = None if part is None else part_of(str(part)) or str(part)
        sound = next((name for name, kind in table.features.items() if isinstance(kind, datasets.Audio)), None)
        if sound is None:
            raise CorpusError(f"{source} has no column of sound; it has {one_line(table.column_names, 20)}.")
        names = {name: kind.names for name, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)}
        of_lists = {name: getattr(kind, "feature", None) for name, kind in table.features.items()}
        lists = {name: kind.names for name, kind in of_lists.items() if isinstance(kind, datasets.ClassLabel)}
        for name, values in names.items():
            classes.setdefault(name, []).extend(values)
        for row in table.cast_column(sound, datasets.Audio(decode=False)):
            data = row.pop(sound) or {}
            indices = {name: row.pop(name) for name in names}
            labels = {name: names[name][index] for name, index in indices.items() if index is not None and index >= 0}
            several = {
                name: [lists[name][index] for index in row[name] if index >= 0]
                for name in lists
                if row[name] is not None
            }
            yield {
                **row,
                **labels,
                **several,
                "bytes": data.get("bytes"),
                "path": data.get("path"),
                "part": split,
            }


def _write_sound(folder: Path, number: int, row: Row) -> str | None:
    """Write an utterance's sound below the corpus's folder, unless it is there; return its path from there."""
    data, origin = row.get("bytes"), Path(row.get("path") or "")
    if data is None and origin.is_file():
        data = origin.read_bytes()
    if data is None:
        return None
    content = hashlib.sha256(data).hexdigest()[:12]
    path = f"media/{row['part'] or 'all'}-{number:06d}-{content}{sound_suffix(data, origin)}"
    if not (folder / path).is_file():
        with replacing(folder / path) as temporary:
            temporary.write_bytes(data)
    return path
