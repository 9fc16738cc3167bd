"""Turns a corpus of EmoBox, which describes 32 corpora of emotional speech in one way, into utterances.

262,020 recordings in 14 languages; EmoBox has their descriptions and folds, the sound comes from each corpus. Licence:
MIT for the descriptions, its own for each corpus; https://github.com/emo-box/EmoBox (Ma et al., INTERSPEECH 2024).

Corpora of four speakers and more, alike in their emotions, have several folds; others one, with a valid part if the
authors of the corpus made one. Where several test folds cover the corpus and share nothing, `split` names them; of one
fold it names train, dev and test. Most single folds are drawn at random, with speakers on both sides.

Its files are read as `emobox_folds` says. Known oddities: names of CaFE's folders went through the wrong code page;
PAVOQUE's recordings are parts of a file (start_time, end_time).
"""

from collections.abc import Collection
from pathlib import Path

from gia_mic.extract.corpora.emobox_folds import read_folds, read_label_map, read_speakers, splits_of
from gia_mic.extract.corpora.release import CorpusInfo, ReleaseContents
from gia_mic.extract.corpora.table import Problems
from gia_mic.extract.corpus import Clip, Utterance, inside
from gia_mic.extract.errors import CorpusError, one_line

__all__ = ["INFO", "read_release"]

_FILMS = (".mp4", ".avi")

INFO = CorpusInfo(
    title="EmoBox: 32 corpora of emotional speech, in 14 languages",
    utterances=262_020,
    classes=(),
    holds=("audio",),
    folds="split",
    licence="MIT; each corpus its own",
    source="https://github.com/emo-box/EmoBox",
)


def read_release(
    path: Path, *, dataset: str | None = None, root: Path | None = None, fold: int | None = None
) -> ReleaseContents:
    """Read one of its corpora.

    Args:
        path: The folder of EmoBox, or its data.
        dataset: Name of the corpus, such as cafe; by default the only one there is.
        root: Folder that holds `downloads`, or `<corpus>`, or what lies in that; by default `path`.
        fold: The fold whose parts are taken; by default all of them.

    Raises:
        CorpusError: There is no such corpus or fold, or no recording of it; a line lacks a value or has an unknown
            emotion; or the folds can't be told by one column.
    """
    data = path / "data" if (path / "data").is_dir() else path
    names = sorted(file.parent.name for file in data.glob("*/label_map.json"))
    dataset = names[0] if dataset is None and len(names) == 1 else dataset
    if not names:
        raise CorpusError(f"{data} has no <corpus>/label_map.json: give the folder of EmoBox.")
    if dataset not in names:
        has = "several corpora" if dataset is None else f"no corpus {dataset!r}"
        raise CorpusError(f"{data} has {has}: give one of {one_line(names, 40)} with --dataset.")
    folds = read_folds(data / dataset, dataset, fold)
    splits = splits_of(folds, dataset)
    rows = {key: row for parts in folds.values() for part in parts.values() for key, row in part.items()}
    label_map = read_label_map(data / dataset / "label_map.json")
    emotions = {key: label_map.get(str(row["emo"]).casefold()) for key, row in rows.items()}
    problems = Problems()
    if unknown := sorted({str(rows[key]["emo"]) for key, name in emotions.items() if name is None}):
        problems.add("emotions that label_map.json doesn't have", *unknown)
    problems.raise_if_any(data / dataset, "take it from EmoBox again")
    files = _files(root or path, dataset, [str(row["wav"]) for row in rows.values()])
    speakers = read_speakers(data / dataset / "data.seg.wrd.stm")
    utterances = []
    for key, row in sorted(rows.items()):
        file = files.get(str(row["wav"]))
        clip = Clip(file, row.get("start_time"), row.get("end_time")) if file else None
        utterances.append(
            Utterance(
                id=key,
                label=emotions[key],
                speaker=speakers.get(key),
                source_label=str(row["emo"]),
                audio=clip,
                video=clip if file and file.lower().endswith(_FILMS) else None,
                split=splits[key],
            )
        )
    odd = {"recordings that are not there": [key for key, row in rows.items() if str(row["wav"]) not in files]}
    classes = [name for name in dict.fromkeys(label_map.values()) if name in emotions.values()]
    return ReleaseContents(utterances, classes, by="split", odd=odd, root=root or path)


def _files(root: Path, dataset: str, wavs: Collection[str]) -> dict[str, str]:
    """Return the files that are there, below the root, by the path that EmoBox has for them."""
    for prefix in ("", "downloads/", f"downloads/{dataset}/"):
        spellings = {wav: _spellings(wav.removeprefix(prefix)) for wav in wavs}
        files = {wav: path for wav, paths in spellings.items() for path in paths if inside(root, path).is_file()}
        if files:
            return files
    raise CorpusError(
        f"{root} has none of the {len(wavs)} recordings of {dataset}, such as {next(iter(wavs), None)}: give the "
        "folder that holds downloads with --root."
    )


def _spellings(path: str) -> list[str]:
    """Return a path, and what it was if its letters of code page 437 were taken for those of Windows-1252."""
    try:
        return list(dict.fromkeys([path, path.encode("cp1252").decode("cp437")]))
    except UnicodeError:
        return [path]
