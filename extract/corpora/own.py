"""Turns a folder into a manifest by a class or function that others wrote, which gives its utterances."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gia_mic.extract import plugins
from gia_mic.extract.corpora.release import RELEASES, ReleaseContents, write_contents
from gia_mic.extract.corpus import Corpus, Utterance
from gia_mic.extract.errors import CorpusError, MerError, one_line, what_failed
from gia_mic.extract.plugin_settings import NoSettings, config_of, configured
from gia_mic.extract.plugins import Kind, Plugin, short_name

__all__ = ["CORPUS", "find_reader", "installed_lines", "prepare_own"]

CORPUS = Kind(
    noun="a corpus",
    group="gia_mic.corpora",
    error=CorpusError,
    wanted="class or function",
    several="classes and functions",
    suits=lambda value: callable(value) and not hasattr(value, "__dataclass_fields__"),
)

FORM = "read(path, config: Config)"

OURS = ("demo", "manifest", "hf", "own", *RELEASES)


def find_reader(name: str) -> Plugin:
    """Return what reads a corpus: MODULE:NAME, or what an installed package names.

    Raises:
        CorpusError: There is none, or its code fails.
    """
    if ":" in name:
        return plugins.load(CORPUS, name)
    points = plugins.installed(CORPUS)
    if name not in points:
        raise CorpusError(
            f"There is no corpus {name!r} of an installed package ({one_line(points) or 'there are none'}): name your "
            "own by MODULE:NAME."
        )
    return plugins.load_point(CORPUS, points[name])


def prepare_own(
    reader: str,
    path: Path,
    features: Path,
    *,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Corpus:
    """Prepare a corpus that a class or function of others reads.

    Args:
        reader: As `find_reader` takes it.
        path: The folder that it reads; clip paths start from it, unless it says another root.
        features: The features folder.
        name: Corpus name; by default that of the reader.
        settings: Settings of the reader, as values or as text.

    Raises:
        CorpusError: It can't be loaded, fails, or gives something else than utterances.
    """
    if not path.is_dir():
        raise CorpusError(f"{path} is no folder: give the one that the corpus is in.")
    plugin = find_reader(reader)
    title = short_name(reader)
    where = f"{plugin.source.class_name} in {plugin.source.file}"
    config_class = config_of(CORPUS, plugin, 1, FORM, optional=True)
    config = configured(config_class, settings or {}, f"The corpus {title}", CorpusError)
    arguments = () if config_class is NoSettings else (config,)
    try:
        answer = plugin.make(path, *arguments)
        contents = answer if isinstance(answer, ReleaseContents) else ReleaseContents(list(answer), ())
        utterances = list(contents.utterances)
    except Exception as error:
        if isinstance(error, MerError):
            raise
        why = what_failed(error, plugins.file_of(plugin.make))
        raise CorpusError(f"{where} fails on {path} ({why}): correct it.") from error
    wrong = [number for number, one in enumerate(utterances, start=1) if not isinstance(one, Utterance)]
    if wrong:
        kind = type(utterances[wrong[0] - 1]).__name__
        raise CorpusError(f"{where} gives a {kind} as utterance {wrong[0]}: give gia_mic.corpus.Utterance.")
    if not utterances:
        raise CorpusError(f"{where} gives no utterance of {path}: check the folder.")
    root = contents.root or path
    clips = {clip.path: None for one in utterances for clip in (one.audio, one.video) if clip is not None}
    missing = [clip for clip in clips if not (root / clip).is_file()]
    if missing and len(missing) == len(clips):
        raise CorpusError(f"{where} names no file that is in {root} ({one_line(missing, 3)}): give paths from there.")
    odd = {**contents.odd, **({"files that are not there": missing} if missing else {})}
    about = {
        "release": title,
        "description": plugins.about(plugin),
        "code": plugin.source.record(),
        "options": asdict(config),
    }
    return write_contents(features, name or title, replace(contents, utterances=utterances, odd=odd), root, about)


def installed_lines() -> list[str]:
    """Return a line for each corpus of an installed package, or why it can't be read.

    Raises:
        CorpusError: Two packages have one name.
    """
    lines = []
    for name, point in plugins.installed(CORPUS).items():
        try:
            if name in OURS:
                raise CorpusError(f"A corpus of {point.value} is called as one of ours: rename it.")
            plugin = plugins.load_point(CORPUS, point)
            lines.append(f"{name}  {plugins.about(plugin)} ({plugin.source.origin})")
        except CorpusError as error:
            lines.append(f"{name}  {error}")
    return lines
