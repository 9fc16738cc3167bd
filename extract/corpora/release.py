"""Turns the file tree of a published corpus into a manifest, and its counts into a table beside the published ones."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tabulate import tabulate

from gia_mic.extract.corpora.cells import refuse_pointers
from gia_mic.extract.corpus import Corpus, Utterance, corpus_names, write_corpus
from gia_mic.extract.errors import CorpusError, one_line
from gia_mic.extract.names import encodable

__all__ = [
    "OTHER_NAMES",
    "RELEASES",
    "CorpusInfo",
    "ReleaseContents",
    "corpus_info",
    "counts",
    "named",
    "overview",
    "prepare_release",
    "scan",
    "write_contents",
]

logger = logging.getLogger(__name__)

RELEASES = ("iemocap", "msppodcast", "merchallenge", "meld", "cremad", "ravdess", "emodb", "emobox")
"""Published corpora that can be read, each a module of this package with `INFO` and `read_release`."""

ALL = "all"

NO_CLASS = "no class"
"""Where the utterances without a label are counted."""

OTHER_NAMES = "files of another name, left out"


@dataclass(frozen=True)
class CorpusInfo:
    """What there is to know about a corpus before one has it.

    Attributes:
        title: Its name and what it is.
        utterances: Number of utterances that the release has.
        classes: Emotions that its labels tell apart; empty where that depends on what is chosen.
        holds: What an utterance comes with: audio, text and video, or features.
        folds: Manifest column to make folds from.
        licence: Terms of use, in a few words.
        source: Where to get it or ask for it.
    """

    title: str
    utterances: int
    classes: tuple[str, ...]
    holds: tuple[str, ...]
    folds: str
    licence: str
    source: str


@dataclass(frozen=True)
class ReleaseContents:
    """What was found in a release.

    Attributes:
        utterances: All of them, in the order of the manifest.
        classes: Emotions, in the order of class indices.
        expected: Published number of utterances by (group, class), where it is known.
        by: Manifest column of those groups, or "all".
        odd: What is missing or unusual: a sentence's beginning, and the files or ids it is true of.
        label_names: Emotions of `labels`, in their order; by default those that occur.
        score_ranges: Lowest and highest value of each score, by name; by default those that occur.
        root: Folder that clip paths start from; by default the release's own.
    """

    utterances: Sequence[Utterance]
    classes: Sequence[str]
    expected: Mapping[tuple[str, str], int] = field(default_factory=dict)
    by: str = ALL
    odd: Mapping[str, Sequence[str]] = field(default_factory=dict)
    label_names: Sequence[str] | None = None
    score_ranges: Mapping[str, Sequence[float]] | None = None
    root: Path | None = None


def corpus_info(release: str) -> CorpusInfo:
    """Return what there is to know about a published corpus; `release` is one of `RELEASES`."""
    info: CorpusInfo = import_module(f"gia_mic.extract.corpora.{release}").INFO
    return info


def prepare_release(
    release: str,
    path: Path,
    features: Path,
    *,
    name: str | None = None,
    **options: Any,
) -> Corpus:
    """Prepare a published corpus from its release.

    Args:
        release: One of `RELEASES`.
        path: Folder that the release was unpacked to; the corpus root, unless the release's reader says another.
        features: The features folder.
        name: Corpus name; by default the release's.
        options: What the release's `read_release` takes beside the path.

    Raises:
        CorpusError: The folder doesn't look like the release, or a file in it links out of it.
    """
    if not path.is_dir():
        raise CorpusError(f"{path} is no folder: give the one that {release} was unpacked to.")
    contents: ReleaseContents = import_module(f"gia_mic.extract.corpora.{release}").read_release(path, **options)
    if not contents.utterances:
        raise CorpusError(f"{path} holds no utterance of {release}: give the folder that it was unpacked to.")
    info = corpus_info(release)
    about = {
        "release": release,
        "description": info.title,
        "licence": info.licence,
        "source": info.source,
        "options": {key: str(value) if isinstance(value, Path) else value for key, value in options.items()},
    }
    return write_contents(features, name or release, contents, contents.root or path, about)


def write_contents(
    features: Path, name: str, contents: ReleaseContents, root: Path, about: Mapping[str, Any]
) -> Corpus:
    """Write the manifest of what was read, and say what is odd about it.

    Args:
        features: The features folder.
        name: Corpus name.
        contents: What was read.
        root: Folder that clip paths start from.
        about: JSON-like facts about the corpus.

    Raises:
        CorpusError: As `write_corpus`, or a file is a pointer to one that was never fetched.
    """
    present = [clip.path for one in contents.utterances for clip in (one.audio, one.video) if clip is not None]
    refuse_pointers(root, set(present))
    odd = {what: list(items) for what, items in contents.odd.items() if items}
    for what, items in odd.items():
        logger.warning(f"{what}: {one_line(items)}.")
    expected = [{"group": group, "class": label, "count": count} for (group, label), count in contents.expected.items()]
    return write_corpus(
        features,
        name,
        contents.utterances,
        root=root,
        classes=contents.classes or None,
        label_names=contents.label_names,
        score_ranges=contents.score_ranges,
        about={**about, "odd": odd, "counted_by": contents.by, "expected": expected},
    )


def counts(corpus: Corpus) -> str:
    """Return the number of utterances per group and class, with the published one wherever that differs."""
    by = corpus.about.get("counted_by", ALL)
    groups = [ALL] * len(corpus) if by == ALL else corpus.column(by)
    labels = [NO_CLASS if index is None else corpus.classes[index] for index in corpus.column("label")]
    tally = Counter(zip(groups, labels, strict=True))
    expected = {(row["group"], row["class"]): row["count"] for row in corpus.about.get("expected", [])}
    classes = [*corpus.classes, *([NO_CLASS] if NO_CLASS in labels else [])]
    rows = sorted({group for group, _ in [*tally, *expected]})

    def cell(keys: Sequence[tuple[str, str]]) -> str:
        count = sum(tally[key] for key in keys)
        published = sum(expected[key] for key in keys) if all(key in expected for key in keys) else None
        return f"{count} of {published}" if published not in (None, count) else str(count)

    table = [
        [row, *(cell([(row, label)]) for label in classes), cell([(row, label) for label in classes])] for row in rows
    ]
    if len(rows) > 1:
        columns = [cell([(row, label) for row in rows]) for label in classes]
        table.append([ALL, *columns, cell([(row, label) for row in rows for label in classes])])
    same = expected and all(tally[key] == expected.get(key, tally[key]) for key in {*tally, *expected})
    verdict = "As published." if same else "“n of m”: the release has m." if expected else ""
    sides = ["left", *["right"] * (len(classes) + 1)]
    return f"{tabulate(table, ['', *classes, ALL], colalign=sides, disable_numparse=True)}\n{verdict}".rstrip()


def overview(features: Path) -> str:
    """Return a table of the published corpora, and the names of those that are prepared."""
    published = {release: ("prepare", corpus_info(release)) for release in RELEASES}
    published.update(
        {name: ("import", info) for name, info in import_module("gia_mic.extract.imports.sentiment").INFO.items()}
    )
    rows = [
        [
            name,
            f"mer {command}",
            f"{info.utterances:,}",
            ", ".join(info.classes) or "as its label map says",
            ", ".join(info.holds),
            info.folds,
            info.licence,
            info.source,
        ]
        for name, (command, info) in published.items()
    ]
    headers = ["corpus", "command", "utterances", "classes", "holds", "folds by", "licence", "where to get it"]
    table = tabulate(rows, headers, disable_numparse=True, maxcolwidths=[None, None, None, 30, 12, None, 24, None])
    prepared = corpus_names(features)
    return f"{table}\n\nPrepared in {features}: {one_line(prepared, 100) or 'none'}."


def named(stems: Iterable[str], pattern: re.Pattern[str]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the groups of each name that matches a pattern as a whole, by name in order, and the names that don't."""
    matches = {stem: pattern.fullmatch(stem) for stem in sorted(stems)}
    return (
        {stem: match.groups() for stem, match in matches.items() if match},
        [stem for stem, match in matches.items() if not match],
    )


def scan(root: Path, *suffixes: str) -> dict[str, str]:
    """Return the files below `root` with one of the suffixes, by their name without it, as paths relative to it.

    Of several files of one name, the one whose suffix is given first is taken, then the one nearest to the root.
    Hidden files are left out, among them the `._` twins that macOS leaves in archives.

    Raises:
        CorpusError: A file is a symbolic link out of the root.
    """
    ranks: dict[str, tuple[int, int, str]] = {}
    outside = []
    real_root = root.resolve()
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for file in files:
            path = Path(folder, file)
            suffix = path.suffix.lower()
            if file.startswith(".") or suffix not in suffixes:
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(real_root):
                outside.append(f"{path.relative_to(root)} to {path.resolve()}")
                continue
            relative = path.relative_to(root)
            if not encodable(relative.as_posix()):
                raise CorpusError(f"{str(path)!a} has a name that isn't UTF-8: rename it.")
            rank = (suffixes.index(suffix), len(relative.parts), relative.as_posix())
            ranks[path.stem] = min(ranks.get(path.stem, rank), rank)
    if outside:
        raise CorpusError(
            f"{root} has symbolic links that lead out of it: {one_line(outside)}; copy the files instead."
        )
    return {stem: rank[2] for stem, rank in sorted(ranks.items())}
