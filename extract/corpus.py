"""Turns `utterances.jsonl` into a typed table of utterances, and back.

A corpus is a folder below the features folder. Its manifest is the only place where targets live, so a changed label
map never makes a feature stale. `corpus.json` beside it holds what is not about one utterance: the root that clip paths
start from, the order of the classes, the ranges of the scores, and facts about the corpus.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gia_mic.extract.address import address_of, fetch, is_address, mirror
from gia_mic.extract.errors import CorpusError, one_line
from gia_mic.extract.files import digest, write_json, write_text
from gia_mic.extract.names import encodable, look_alikes
from gia_mic.extract.targets import KINDS, Target, check_targets, matrix, score_names

if TYPE_CHECKING:
    import datasets

__all__ = [
    "MODALITIES",
    "Clip",
    "Corpus",
    "Utterance",
    "corpus_names",
    "find_corpus",
    "load_corpus",
    "valid_name",
    "write_corpus",
]

logger = logging.getLogger(__name__)

FORMAT = 1
MANIFEST = "utterances.jsonl"
ABOUT = "corpus.json"

MODALITIES = {"s": "speech", "t": "text", "v": "visual"}
"""One letter for each modality, in the order used everywhere."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of a recording.

    Attributes:
        path: File, relative to the corpus root, with forward slashes.
        start_s: First moment in seconds; None is the file's beginning.
        end_s: Last moment in seconds; None is the file's end.
        crop: Part of the picture as left, top, right, bottom in fractions of its width and height; None is all of it.
            Only for video.
    """

    path: str
    start_s: float | None = None
    end_s: float | None = None
    crop: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance of a manifest; None is what the corpus doesn't say or hold.

    Attributes:
        id: The only key, unique in the corpus.
        label: Emotion, one of the corpus's classes.
        labels: Emotions that apply, of the corpus's `label_names`; () where none does.
        scores: Numbers by name, such as valence, each in its range; one that isn't known is left out.
        votes: How many annotators chose which of the corpus's classes.
        speaker: Name of the one who speaks.
        session: Name of the recording session.
        dialog: Name of the conversation or take.
        scenario: Name of the script or prompt that was acted.
        source_label: The corpus's own label before it was mapped to `label`.
        text: Transcript of what is said.
        text_source: Name of the recogniser that heard the text; None where it is the corpus's own.
        audio: Where its sound is.
        video: Where its moving picture is.
        split: The corpus's own part, such as train, dev or test.
    """

    id: str
    label: str | None = None
    speaker: str | None = None
    session: str | None = None
    dialog: str | None = None
    scenario: str | None = None
    source_label: str | None = None
    text: str | None = None
    text_source: str | None = None
    audio: Clip | None = None
    video: Clip | None = None
    split: str | None = None
    labels: tuple[str, ...] | None = None
    scores: Mapping[str, float] | None = None
    votes: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus.

    Attributes:
        name: Name of its folder below the features folder.
        folder: Its folder below the features folder.
        root: Folder that clip paths start from.
        classes: Emotions of `label` and `votes`, in the order of class indices.
        label_names: Emotions of `labels`, in their order.
        score_ranges: Lowest and highest value of each score, by name.
        table: The manifest, typed with `datasets`; `label` is a class index.
        about: Facts about the corpus, such as its licence or the demo's Bayes ceilings.
        digest: SHA-256 of the manifest.
        follow_links: Whether files may be links to somewhere outside the root.
    """

    name: str
    folder: Path
    root: Path
    classes: tuple[str, ...]
    table: "datasets.Dataset" = field(repr=False)
    about: Mapping[str, Any] = field(repr=False)
    digest: str
    follow_links: bool = False
    label_names: tuple[str, ...] = ()
    score_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    _values: dict[Target, NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.table)

    def __str__(self) -> str:
        return self.describe()

    __repr__ = __str__

    def __iter__(self) -> Iterator[Utterance]:
        for block in self.table.with_format("arrow").iter(1_000):  # eight times as fast as row by row
            for row in block.to_pylist():
                label, labels = row.get("label"), row.get("labels")
                yield Utterance(
                    **{
                        **row,
                        **{name: _clip(row[name]) for name in ("audio", "video")},
                        "label": None if label is None else self.classes[label],
                        "labels": None if labels is None else tuple(labels),
                        **{name: _numbers(row.get(name)) for name in ("scores", "votes")},
                    }
                )

    @property
    def ids(self) -> list[str]:
        """Utterance ids, in the manifest's order."""
        return self.column("id")

    def column(self, name: str) -> list[Any]:
        """Return one column as plain values, in the manifest's order; `label` as class indices."""
        if name in KINDS and name not in self.table.column_names:
            return [None] * len(self)
        return list(self.table[name])

    @cached_property
    def targets(self) -> dict[str, Target]:
        """What a model can be trained to predict, by name: `label`, `labels`, each score, and `votes`, as far as known.

        The first is the default.
        """
        known = set(self.table.column_names)
        targets = {
            "label": Target("label", self.classes),
            "labels": Target("labels", self.label_names),
            **{name: Target("scores", (name,), (limits,)) for name, limits in self.score_ranges.items()},
            "votes": Target("votes", self.classes),
        }
        return {name: target for name, target in targets.items() if {name, target.kind} & known}

    def target(self, name: str | None = None) -> Target:
        """Return what is to be predicted.

        Args:
            name: label, labels, votes, or names of scores such as valence,arousal. By default the label; where the
                corpus has none, its labels, else all of its scores, else its votes.

        Raises:
            CorpusError: The corpus doesn't have it.
        """
        if name is None:
            first = next(iter(self.targets.values()))
            if first.kind != "scores":
                return first
            names = list(self.score_ranges)
        else:
            names = score_names(name)
        if len(names) == 1 and names[0] in self.targets:
            return self.targets[names[0]]
        if twice := sorted({each for each in names if names.count(each) > 1}):
            raise CorpusError(f"The target {name!r} names {one_line(twice)} twice: name each score once.")
        if not names or not set(names) <= set(self.score_ranges):
            raise CorpusError(
                f"Corpus {self.name} has no target {name!r}: choose {one_line(self.targets)}"
                f"{', or several scores with commas between' if len(self.score_ranges) > 1 else ''}."
            )
        return Target("scores", tuple(names), tuple(self.score_ranges[each] for each in names))

    def values(self, target: Target) -> NDArray[np.float64]:
        """Return a target of all utterances as numbers, (U, K), as `targets.matrix` does; NaN where it is missing.

        It is the same array each time, not to be written into.
        """
        if target not in self._values:
            self._values[target] = matrix(target, self.column(target.kind))
        return self._values[target]

    def recognised(self) -> dict[str, int]:
        """Return how many texts each recogniser heard, by its name; all others are the corpus's own."""
        return dict(Counter(name for name in self.column("text_source") if name is not None))

    def describe(self) -> str:
        """Return what is in the corpus, in two lines."""
        counts = Counter(self.column("label"))
        classes = ", ".join(f"{name} {counts[index]}" for index, name in enumerate(self.classes))
        present = {name: len(self) - self.column(name).count(None) for name in ("audio", "text", "video")}
        groups = {name: len(set(self.column(name)) - {None}) for name in ("speaker", "session", "dialog", "scenario")}
        parts = [f"{count} {name}s" for name, count in groups.items() if count]
        parts += [f"{count} with {name}" for name, count in present.items() if count]
        parts += [f"{count} texts heard by {name}" for name, count in self.recognised().items()]
        what = [f"label: {classes}"] if counts.keys() - {None} else []
        several = Counter(name for names in self.column("labels") for name in names or ())
        what += [f"labels: {', '.join(f'{name} {several[name]}' for name in self.label_names)}"] if several else []
        what += [f"{name} in {low:g} … {high:g}" for name, (low, high) in self.score_ranges.items()]
        what += [f"votes on {one_line(self.classes, 20)}"] if "votes" in self.targets else []
        known = classes if what == [f"label: {classes}"] else "; ".join(what)
        return f"{self.name}: {len(self)} utterances ({known}).\n{', '.join(parts) or 'Nothing else is known of them'}."

    def path(self, clip: Clip) -> Path:
        """Return the file of a clip.

        Raises:
            CorpusError: It lies outside the corpus root, by `..`, by an absolute path or by a link that isn't followed.
            StoreError: It lies behind an address that can't be read.
        """
        full_path = inside(self.root, clip.path, follow_links=self.follow_links)
        if address_of(self.root) is not None:
            fetch(self.root, clip.path)
        return full_path


def inside(root: Path, path: str, *, follow_links: bool = False) -> Path:
    """Return `root / path`, if that is below `root`, and really so unless links may lead out.

    Raises:
        CorpusError: It leads elsewhere, by `..`, by an absolute path or by a symbolic link.
    """
    full_path = root / path
    below = full_path.is_relative_to(root) if follow_links else full_path.resolve().is_relative_to(root.resolve())
    if ".." in PurePosixPath(path).parts or not below:
        raise CorpusError(
            f"The file {path!r} lies outside the corpus root {root}: move it there, or give a wider root."
        )
    return full_path


def valid_name(name: str) -> str:
    """Return a corpus or run name that can be a folder's name.

    Raises:
        CorpusError: It has other characters than letters, digits, `.`, `_` and `-`, or begins with one of these three.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise CorpusError(f"{name!r} can't be a name: use letters, digits, '.', '_' and '-', a letter or digit first.")
    return name


def write_corpus(
    features: Path,
    name: str,
    utterances: Sequence[Utterance],
    *,
    root: Path | str,
    classes: Sequence[str] | None = None,
    label_names: Sequence[str] | None = None,
    score_ranges: Mapping[str, Sequence[float]] | None = None,
    follow_links: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Corpus:
    """Write a manifest and return the corpus as `load_corpus` reads it.

    Args:
        features: The features folder.
        name: Corpus name, as `valid_name` takes it.
        utterances: At least one; their order is the order of every feature file.
        root: Folder, or fsspec address, that the clip paths start from.
        classes: Emotions of `label` and `votes`, in the order of class indices; by default those that occur, sorted.
        label_names: Emotions of `labels`, in their order; by default those that occur, sorted.
        score_ranges: Lowest and highest value of each score, by name; by default those that occur.
        follow_links: Whether files may be links to somewhere outside the root.
        about: JSON-like facts about the corpus.

    Raises:
        CorpusError: The name can't be a folder's, there is no utterance, or the utterances contradict each other.
    """
    folder = features / valid_name(name)
    rows = [_row(utterance) for utterance in utterances]
    names = _names(rows, classes, label_names, score_ranges)
    _check(rows, names, where=f"The new corpus {name!r}")
    _warn_of_look_alikes(utterances)
    stored_root = str(root) if is_address(str(root)) else address_of(Path(root))
    if stored_root is None:
        full_path = Path(root).resolve()
        below = full_path.is_relative_to(folder.resolve())
        stored_root = full_path.relative_to(folder.resolve()).as_posix() if below else str(full_path)
    write_text(
        folder / MANIFEST,
        "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows),
    )
    write_json(
        folder / ABOUT,
        {
            "format": FORMAT,
            "name": name,
            "root": stored_root,
            "classes": names.classes,
            **({"labels": names.labels} if names.labels else {}),
            **({"scores": names.ranges} if names.ranges else {}),
            "about": dict(about or {}),
            **({"follow_links": True} if follow_links else {}),
        },
    )
    return load_corpus(features, name)


def corpus_names(features: Path) -> list[str]:
    """Return the names of the prepared corpora, sorted."""
    return sorted(manifest.parent.name for manifest in features.glob(f"*/{MANIFEST}"))


def find_corpus(features: Path, name: str | None = None) -> Corpus:
    """Load the named corpus, or the only one there is.

    Raises:
        CorpusError: There is none of that name, or several to choose from.
    """
    if name is not None:
        return load_corpus(features, name)
    prepared = corpus_names(features)
    if not prepared:
        raise CorpusError(f"No corpus is prepared in {features}: run `mer prepare` or `mer demo` first.")
    if len(prepared) > 1:
        raise CorpusError(f"{features} holds {len(prepared)} corpora ({one_line(prepared)}): choose one with --corpus.")
    return load_corpus(features, prepared[0])


def load_corpus(features: Path, name: str) -> Corpus:
    """Read a corpus.

    `corpus.json` may be left out of a folder made by hand: then paths start from that folder, and the classes are
    the labels that occur, sorted.

    Raises:
        CorpusError: There is no such corpus, or its files are not what they should be.
    """
    folder = features / valid_name(name)
    manifest = folder / MANIFEST
    if not manifest.is_file():
        prepared = corpus_names(features)
        hint = f"prepared are {one_line(prepared)}" if prepared else "none is prepared; run `mer prepare` or `mer demo`"
        raise CorpusError(f"There is no corpus {name!r} in {features} ({manifest} is missing): {hint}.")
    rows = _read_rows(manifest)
    settings = _read_about(folder / ABOUT)
    root = str(settings.get("root", "."))
    names = _names(rows, settings.get("classes") or None, settings.get("labels"), settings.get("scores"))
    _check(rows, names, where=str(manifest))
    if not settings.get("classes") and names.classes and all(map(_is_number, names.classes)):
        raise CorpusError(
            f"{manifest} has labels that are numbers ({one_line(names.classes)}): numbers on a scale are scores, so "
            f"give them in `scores`; classes that are numbers are named in `classes` of {ABOUT}."
        )
    return Corpus(
        name=name,
        folder=folder,
        root=mirror(root) if is_address(root) else folder / root,
        classes=tuple(names.classes),
        table=_table(rows, names, manifest),
        about=settings.get("about", {}),
        digest=digest(manifest),
        follow_links=settings.get("follow_links") is True,
        label_names=tuple(names.labels),
        score_ranges={name: (float(low), float(high)) for name, (low, high) in names.ranges.items()},
    )


class _Names(NamedTuple):
    """Names that a manifest's targets are made of: classes, classes of `labels`, and the ranges of scores by name."""

    classes: list[str]
    labels: list[str]
    ranges: dict[str, list[float]]


def _names(
    rows: Sequence[Mapping[str, Any]],
    classes: Sequence[str] | None,
    label_names: Sequence[str] | None,
    score_ranges: Mapping[str, Sequence[float]] | None,
) -> _Names:
    """Return the names of a manifest's targets; those that aren't given are the ones that occur."""
    if classes is None:
        voted = [name for row in rows if isinstance(votes := row.get("votes"), Mapping) for name in votes]
        labelled = [label for row in rows if (label := row.get("label")) is not None]
        classes = sorted({str(name) for name in (*labelled, *voted)})
    if label_names is None:
        several = [name for row in rows if isinstance(labels := row.get("labels"), list | tuple) for name in labels]
        label_names = sorted(set(map(str, several)))
    if score_ranges is None:
        values: dict[str, list[float]] = {}
        for row in rows:
            for name, value in (row.get("scores") or {}).items() if isinstance(row.get("scores"), Mapping) else ():
                if isinstance(value, int | float):
                    values.setdefault(name, []).append(value)
        score_ranges = {name: [min(several), max(several)] for name, several in values.items()}
    return _Names(list(classes), list(label_names), {name: list(limits) for name, limits in score_ranges.items()})


def _is_number(text: str) -> bool:
    """Whether a text is a number, with a point or a comma.

    >>> _is_number("-1.5"), _is_number("0,5"), _is_number("happy")
    (True, True, False)
    """
    return re.fullmatch(r"[-+]?\d*[.,]?\d+", text.strip()) is not None


def _row(value: Utterance | Clip) -> dict[str, Any]:
    """Return the fields that say something; `dataclasses.asdict` copies all of them deeply, which takes long."""
    row = {each.name: getattr(value, each.name) for each in fields(value)}
    return {name: _row(entry) if isinstance(entry, Clip) else entry for name, entry in row.items() if entry is not None}


def _numbers(value: Mapping[str, Any] | None) -> dict[str, float] | None:
    """Return the numbers of a struct that are known; None where there is none."""
    known = {name: number for name, number in (value or {}).items() if number is not None}
    return known or None


def _clip(value: Mapping[str, Any] | None) -> Clip | None:
    if value is None or value["path"] is None:
        return None
    crop = value.get("crop")
    return Clip(value["path"], value["start_s"], value["end_s"], tuple(crop) if crop else None)


def _read_rows(manifest: Path) -> list[dict[str, Any]]:
    rows = []
    with manifest.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise CorpusError(
                    f"{manifest}, line {number}: not JSON ({error}); prepare the corpus again."
                ) from error
            if not isinstance(row, dict):
                raise CorpusError(
                    f"{manifest}, line {number}: expected one JSON object a line, found {line.strip()[:40]!r}."
                )
            rows.append(row)
    return rows


def _read_about(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorpusError(f"{path} is not JSON ({error}): prepare the corpus again.") from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise CorpusError(
            f"{path} is not of format {FORMAT}, the only one this version reads: prepare the corpus again."
        )
    return settings


def _check(rows: Sequence[Mapping[str, Any]], names: _Names, *, where: str) -> None:
    """Refuse what would make a wrong number later."""
    if not rows:
        raise CorpusError(f"{where} has no utterance: prepare the corpus again.")
    ids: set[str] = set()
    twice: list[str] = []
    unwritable: list[str] = []
    for number, row in enumerate(rows, start=1):
        utterance_id = row.get("id")
        if not isinstance(utterance_id, str) or not utterance_id:
            raise CorpusError(f"{where}: utterance {number} has no id; every utterance needs one.")
        if utterance_id in ids:
            twice.append(utterance_id)
        ids.add(utterance_id)
        if not all(map(encodable, _texts(row))):
            unwritable.append(ascii(utterance_id))
    if twice:
        raise CorpusError(f"{where} has duplicate ids: {one_line(twice)}; every utterance needs its own.")
    if unwritable:
        raise CorpusError(f"{where} has texts or file names that can't be written as UTF-8: {one_line(unwritable)}.")
    check_targets(rows, names.classes, names.labels, names.ranges, where=where)


def _texts(row: Mapping[str, Any]) -> Iterator[str]:
    for value in row.values():
        if isinstance(value, Mapping):
            yield from _texts(value)
        elif isinstance(value, list | tuple):
            yield from (text for text in value if isinstance(text, str))
        elif isinstance(value, str):
            yield value


def _warn_of_look_alikes(utterances: Sequence[Utterance]) -> None:
    """Name the groups that are two in the manifest and perhaps one in fact."""
    for column in ("label", "speaker", "session", "dialog", "scenario"):
        names = {name for utterance in utterances if (name := getattr(utterance, column)) is not None}
        if suspects := look_alikes(sorted(names)):
            listed = one_line(" and ".join(ascii(name) for name in group) for group in suspects)
            logger.warning(
                f"The {column}s {listed} differ in nothing but capitals, width or what isn't visible, and count as "
                f"different: write each {column} in one way."
            )


def _table(rows: Sequence[Mapping[str, Any]], names: _Names, manifest: Path) -> "datasets.Dataset":
    import datasets
    import pyarrow

    text = datasets.Value("string")
    number = datasets.Value("float64")
    clip = {"path": text, "start_s": number, "end_s": number}
    columns = {column for row in rows for column, value in row.items() if value is not None}
    targets = {
        "label": datasets.ClassLabel(names=names.classes),
        "labels": datasets.Sequence(text),
        "scores": dict.fromkeys(names.ranges, number),
        "votes": dict.fromkeys(names.classes, number),
    }
    features = datasets.Features(
        {
            "id": text,
            **{name: feature for name, feature in targets.items() if name in columns},
            **dict.fromkeys(["speaker", "session", "dialog", "scenario", "source_label", "text", "text_source"], text),
            "audio": clip,
            "video": {**clip, "crop": datasets.Sequence(number)},
            "split": text,
        }
    )
    unknown = sorted({key for row in rows for key in row} - set(features))
    if unknown:
        raise CorpusError(
            f"{manifest} has columns that mean nothing here: {one_line(unknown)}; known are {one_line(features, 20)}."
        )
    values = {name: [row.get(name) for row in rows] for name in features}
    try:
        return datasets.Dataset.from_dict(values, features=features)
    except (pyarrow.ArrowException, TypeError, ValueError, KeyError) as error:
        raise CorpusError(
            f"{manifest} has a value of the wrong type ({error}): text must be text, times numbers."
        ) from error
