"""Turns a user's own table of utterances into a corpus, or into one list of all that is wrong with it."""

import logging
import math
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gia_mic.extract import media
from gia_mic.extract.corpora.cells import (
    MISSING_TEXTS,
    are_scores,
    as_text,
    crop_of,
    drop_missing,
    matching,
    refuse_pointers,
    seconds_of,
    unnamed,
    whole_numbers,
)
from gia_mic.extract.corpora.table import Problems, bad_id, columns, read_table
from gia_mic.extract.corpora.target_columns import PREFIXES, TargetReader, matching_numbers, target_names
from gia_mic.extract.corpus import Clip, Corpus, Utterance, write_corpus
from gia_mic.extract.errors import CorpusError, MediaError, one_line
from gia_mic.extract.names import encodable, mended, same_name
from gia_mic.extract.targets import KINDS

__all__ = ["CLIPS", "check_rows", "prepare_table"]

logger = logging.getLogger(__name__)

_TEXT = ("id", "label", "speaker", "session", "dialog", "scenario", "source_label", "text", "text_source", "split")
_NAMES = ("id", "label", "speaker", "session", "dialog", "scenario", "split")
CLIPS = {
    "audio": ("audio", "audio_start_s", "audio_end_s"),
    "video": ("video", "video_start_s", "video_end_s", "video_crop"),
}
"""Columns of sound and of pictures: the file, and which part of it."""

_COLUMNS = (*_TEXT, *CLIPS["audio"], *CLIPS["video"], *KINDS[1:])


def prepare_table(
    path: Path,
    features: Path,
    name: str,
    *,
    root: Path | None = None,
    labels: Sequence[str] | None = None,
    ranges: Mapping[str, Sequence[float]] | None = None,
    features_only: bool = False,
    missing: Collection[str] = MISSING_TEXTS,
    follow_links: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Corpus:
    """Prepare a corpus from a table with one row for each utterance.

    Columns are `id` and at least one target: `label`, `labels`, scores such as `score_valence`, or votes such as
    `votes_angry`, as `target_columns` has them. As far as there is something to say come `speaker`, `session`,
    `dialog`, `scenario`, `source_label`, `text`, `text_source`, `split`, `audio`, `audio_start_s`, `audio_end_s`,
    `video`, `video_start_s`, `video_end_s` and `video_crop` ("left,top,right,bottom" in fractions of the picture). In
    JSONL and Parquet `audio` and `video` may be mappings with path, start_s, end_s and crop, as in `utterances.jsonl`.
    An empty cell is one that isn't given. Capitals in the columns' names don't matter; a column without a name is left
    out.

    Args:
        path: CSV, TSV, JSONL or Parquet file.
        features: The features folder.
        name: Name of the new corpus.
        root: Folder that media paths start from, and that they can't leave; by default the table's own.
        labels: Classes of `label` and `votes` in their order, or of `labels` where the table has neither; by default
            those that occur, sorted.
        ranges: Lowest and highest value of scores, by name; by default the least and greatest that occur.
        features_only: Let utterances have neither text, audio nor video: their features come from elsewhere.
        missing: Texts that stand for a missing value, in any column; a class named in `labels` is none of them.
        follow_links: Take files that are links to somewhere outside the root.
        about: Facts to keep with the corpus.

    Raises:
        CorpusError: The table can't be read, or something is wrong with it; everything that is wrong is listed.
    """
    root = path.parent if root is None else root
    if not root.is_dir():
        raise CorpusError(f"The corpus root {root} is no folder: give the folder that the table's paths start from.")
    labels = None if labels is None else [label.strip() for label in labels]
    if labels is not None and (len(set(labels)) < len(labels) or not all(labels)):
        raise CorpusError(f"The labels {one_line(labels)} are not one name each: give each class once.")
    utterances = check_rows(
        read_table(path),
        where=path,
        root=root,
        labels=labels,
        ranges=ranges,
        features_only=features_only,
        missing=missing,
        follow_links=follow_links,
    )
    names = target_names(utterances, labels, ranges or {}, where=path)
    corpus = write_corpus(features, name, utterances, root=root, follow_links=follow_links, about=about, **names)
    logger.info(f"Prepared {len(corpus)} utterances in {corpus.folder}.")
    return corpus


def check_rows(
    rows: Sequence[Mapping[str, Any]],
    *,
    where: object,
    root: Path,
    labels: Sequence[str] | None = None,
    ranges: Mapping[str, Sequence[float]] | None = None,
    features_only: bool = False,
    classes: Collection[str] = (),
    numeric_labels: bool = False,
    missing: Collection[str] = MISSING_TEXTS,
    follow_links: bool = False,
) -> list[Utterance]:
    """Return the utterances that rows with the manifest's columns describe.

    Args:
        rows: As `read_table` gives them.
        where: What to call their source in an error.
        root: Folder that media paths start from.
        labels: The only classes allowed, as `prepare_table` takes them; None allows any.
        ranges: Lowest and highest value of scores, by name; None allows any.
        features_only: Let utterances have neither text, audio nor video.
        classes: Labels that are known to be classes, whatever they look like.
        numeric_labels: Let labels be numbers, such as scores that are yet to become classes.
        missing: Texts that stand for a missing value.
        follow_links: Take files that are links to somewhere outside the root.

    Raises:
        CorpusError: Something is wrong; everything that is wrong is listed.
    """
    reader = _Reader(root, features_only, follow_links)
    present = columns(rows)
    named = matching_numbers(present) | matching(present, _COLUMNS)
    if nameless := [column for column in present if unnamed(column)]:
        logger.warning(
            f"{where}: a column without a name, such as pandas's index, is left out: {one_line(nameless)!r}."
        )
    if unknown := [column for column in present if column not in named and not unnamed(column)]:
        reader.problems.add(f"unknown columns (known are {one_line(_COLUMNS, 20)}, score_… and votes_…)", *unknown)
    rows = [{named[column]: value for column, value in row.items() if column in named} for row in rows]
    given_labels = [row.get("label") for row in rows]
    classes = {*classes, *(labels or ())}
    rows = whole_numbers(drop_missing(rows, missing, labels=classes), _NAMES)
    has = columns(rows)
    other_targets = [column for column in has if column in KINDS[1:] or column.startswith(tuple(PREFIXES.values()))]
    if lacking := [name for name in ("id", "label") if name not in has and not (name == "label" and other_targets)]:
        reader.problems.add(f"no value in a column it needs (it has {one_line(present, 20)})", *lacking)
    utterances = [reader.utterance(number, row) for number, row in enumerate(rows, start=1)]
    counts = Counter(utterance.id for utterance in utterances)
    if twice := [utterance_id for utterance_id, count in counts.items() if count > 1]:
        reader.problems.add("duplicate ids", *twice)
    distinct = {utterance.label for utterance in utterances if utterance.label is not None}
    if not (numeric_labels or classes) and are_scores(distinct):
        reader.problems.add(
            f"labels that are numbers ({len(distinct)} of them; numbers on a scale are `scores`, in a column such "
            "as score_valence; classes that are numbers are named with --labels, such as --labels 0,1,2)",
            *sorted(distinct),
        )
    reader.targets.check(utterances, labels, ranges or {}, several_kinds=bool(other_targets))
    remedy = "mend them and run the command again"
    lost = {str(label) for label, row in zip(given_labels, rows, strict=True) if label and "label" not in row}
    if lost:
        other_texts = [text for text in missing if text not in {label.casefold() for label in lost}]
        texts = shlex.quote(",".join(other_texts))
        remedy += f" ({one_line(sorted(lost))} is taken for no label: keep it as a class with --missing {texts})"
    reader.problems.raise_if_any(where, remedy)
    if reader.mended:
        logger.warning(
            f"{where}: texts that can't be written as UTF-8 have � in the place of half a character: "
            f"{one_line(reader.mended)}."
        )
    clips = (clip for utterance in utterances for clip in (utterance.audio, utterance.video) if clip is not None)
    refuse_pointers(root, {clip.path for clip in clips})
    return utterances


class _Reader:
    """Reads rows; whatever is wrong goes to `problems`, so that the rest is still looked at."""

    def __init__(self, root: Path, features_only: bool, follow_links: bool) -> None:
        self.root, self.features_only, self.follow_links = root, features_only, follow_links
        self.real_root = root.resolve()
        self.problems = Problems()
        self.targets = TargetReader(self.problems)
        self.names: dict[Path, dict[str, str]] = {}
        self.mended: list[str] = []
        self.files: dict[str, str | None] = {}
        self.durations_s: dict[str, float] = {}

    def utterance(self, number: int, row: Mapping[str, Any]) -> Utterance:
        texts: dict[str, Any] = {column: self._text(number, row, column) for column in _TEXT}
        given_id = texts.pop("id")
        utterance_id = given_id or f"row {number}"
        if not given_id:
            self.problems.add("rows without an id", number)
        elif bad_id(given_id):
            self.problems.add("ids that lead out of a folder or have control characters", repr(given_id))
        audio, video = (self._clip(utterance_id, row, kind) for kind in CLIPS)
        if not self.features_only and not (texts["text"] or row.get("audio") or row.get("video")):
            self.problems.add("utterances without text, audio or video", utterance_id)
        targets = self.targets.read(utterance_id, row)
        return Utterance(utterance_id, audio=audio, video=video, **texts, **targets)

    def _text(self, number: int, row: Mapping[str, Any], column: str) -> str | None:
        value = row.get(column)
        if value is None:
            return None
        text = as_text(value)
        if column == "label" and isinstance(value, float) and math.isfinite(value):
            text = text or repr(value)  # a score
        if text is None:
            self.problems.add(f"values in {column} that are not text", f"row {number} ({value!r:.40})")
        elif not encodable(text):
            name = str(row.get("id") or f"row {number}")
            if column != "text":
                self.problems.add(f"values in {column} that can't be written as UTF-8", f"{name} ({text!r:.40})")
            else:
                self.mended.append(name)
                text = mended(text)
        return text or None

    def _clip(self, utterance_id: str, row: Mapping[str, Any], kind: str) -> Clip | None:
        cells = {column.removeprefix(f"{kind}_"): row.get(column) for column in CLIPS[kind]}
        nested = cells.pop(kind)
        if isinstance(nested, Mapping):
            keys = {"path", "start_s", "end_s"} | ({"crop"} if kind == "video" else set())
            nested = {key: value for key, value in nested.items() if key != "bytes" or value is not None}
            if "bytes" in nested:
                self.problems.add(f"the files themselves in {kind} (`mer prepare hf` reads such a table)", utterance_id)
                return None
            if unknown := set(nested) - keys:
                self.problems.add(f"unknown parts of {kind} (known are {one_line(sorted(keys))})", *sorted(unknown))
            cells.update({key: nested.get(key) for key in keys - {"path"} if nested.get(key) is not None})
            nested = nested.get("path")
        if nested is None:
            if any(value is not None for value in cells.values()):
                self.problems.add(f"times or crops without a path in {kind}", utterance_id)
            return None
        if not isinstance(nested, str):
            self.problems.add(f"paths in {kind} that are not text", f"{utterance_id} ({nested!r:.40})")
            return None
        path = self._file(utterance_id, nested)
        start_s = self._time(utterance_id, kind, cells["start_s"])
        end_s = self._time(utterance_id, kind, cells["end_s"])
        crop = self._crop(utterance_id, cells.get("crop"))
        if path is None:
            return None
        self._check_times(utterance_id, path, start_s, end_s)
        return Clip(path, start_s, end_s, crop)

    def _file(self, utterance_id: str, path: str) -> str | None:
        """Return the path relative to the root, if a file is there."""
        if path not in self.files:
            self.files[path] = None
            try:
                full_path = self.root / path
                real = full_path.resolve()
                there = full_path.is_file()
            except (OSError, RuntimeError, ValueError) as error:  # too long, a circle of links, a NUL character
                self.problems.add("paths that can't be", f"{utterance_id} ({path[:40]!r}: {error})")
                return None
            outside = not real.is_relative_to(self.real_root)
            if ".." in Path(path).parts or (outside and not self._links(path)):
                self.problems.add(f"files outside the corpus root {self.root}", f"{utterance_id} ({path})")
            elif outside and not self.follow_links:
                self.problems.add(
                    f"links that lead outside the corpus root {self.root} (--follow-links takes them all the same)",
                    f"{utterance_id} ({path} to {real})",
                )
            elif not encodable(path):
                self.problems.add("file names that can't be written as UTF-8", f"{utterance_id} ({path!r})")
            elif not there:
                hint = f" to {real}" if full_path.is_symlink() else self._look_alike(full_path)
                self.problems.add(f"files that are not in {self.root}", f"{utterance_id} ({path}{hint})")
            elif Path(path).is_absolute() and not outside:
                self.files[path] = real.relative_to(self.real_root).as_posix()
            else:
                self.files[path] = full_path.relative_to(self.root).as_posix()
        return self.files[path]

    def _links(self, path: str) -> bool:
        """Whether a path is below the root as it is written, so that only a link can lead out."""
        return (self.root / path).is_relative_to(self.root)

    def _look_alike(self, path: Path) -> str:
        """Return what to say of a file beside the place of a missing one whose name looks the same."""
        folder = path.parent
        if folder not in self.names:
            there = folder.iterdir() if folder.is_dir() else ()
            self.names[folder] = {same_name(file.name): file.name for file in there}
        other = self.names[folder].get(same_name(path.name))
        return f", but {other!a} is" if other else ""

    def _time(self, utterance_id: str, kind: str, value: Any) -> float | None:
        try:
            return seconds_of(value)
        except ValueError:
            self.problems.add(f"times in {kind} that are no seconds from 0 on", f"{utterance_id} ({value!r:.40})")
            return None

    def _check_times(self, utterance_id: str, path: str, start_s: float | None, end_s: float | None) -> None:
        if start_s is None and end_s is None:
            return
        if end_s is not None and (start_s or 0.0) >= end_s:
            self.problems.add("clips that end before they start", f"{utterance_id} ({start_s or 0:g} to {end_s:g} s)")
            return
        if path not in self.durations_s:
            try:
                self.durations_s[path] = media.duration_s(self.root / path)
            except MediaError:  # extraction says what is wrong with the file, and goes on with the others
                self.durations_s[path] = math.inf
        duration_s = self.durations_s[path]
        last_s = (start_s or 0.0) if end_s is None else end_s - media.TOLERANCE_S
        if last_s >= duration_s:
            times = f"{utterance_id} ({start_s or 0:g} to {'' if end_s is None else f'{end_s:g} '}of {duration_s:g} s)"
            self.problems.add("clips that end after their recording", times)

    def _crop(self, utterance_id: str, value: Any) -> tuple[float, float, float, float] | None:
        try:
            return crop_of(value)
        except ValueError:
            self.problems.add(
                "crops that are not left,top,right,bottom with 0 ≤ left < right ≤ 1 and 0 ≤ top < bottom ≤ 1",
                f"{utterance_id} ({value!r:.40})",
            )
            return None
