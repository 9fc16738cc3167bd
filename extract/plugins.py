"""Turns the name of a class or function that others wrote into that and its source.

It stands in one Python file, or in an installed package, which may give it a name by an entry point. A file may import
what is installed, but not its neighbours: where it is kept with a run, it is copied alone.
"""

import dataclasses
import hashlib
import importlib
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from gia_mic.extract.errors import MerError, first_line, one_line, what_failed, words_of

__all__ = [
    "Kind",
    "Plugin",
    "Source",
    "about",
    "file_of",
    "installed",
    "load",
    "load_copy",
    "load_installed",
    "load_point",
    "load_recorded",
    "short_name",
]

RUNNING = threading.RLock()
"""Held while a file is run."""


@dataclass(frozen=True)
class Kind:
    """What others may add, such as a fusion.

    Attributes:
        noun: What one is called, with its article.
        group: Group of the entry points that packages name theirs by.
        error: What is raised where one can't be loaded.
        wanted: What it is in Python.
        several: Several of these, in words.
        suits: Whether an object of a module is such.
    """

    noun: str
    group: str
    error: type[MerError]
    wanted: str
    several: str
    suits: Callable[[Any], bool]


@dataclass(frozen=True)
class Source:
    """Where a class comes from, and its code as it was loaded.

    Attributes:
        class_name: Name of the class.
        module: Name of its module.
        digest: SHA-256 of its file; where that is in a package, of all Python files of the package.
        file: Name of its file.
        code: Bytes of its file; None where that is in a package, which is to be installed.
        distribution: Name and version of the package; None for a file.
    """

    class_name: str
    module: str
    digest: str
    file: str
    code: bytes | None = dataclasses.field(default=None, repr=False)
    distribution: str | None = None

    @property
    def origin(self) -> str:
        """What it came in: the package with its version, or else the file's name."""
        return self.distribution or self.file

    def record(self) -> dict[str, Any]:
        """Return all but the code, JSON-like."""
        return {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "code"}


@dataclass(frozen=True)
class Plugin:
    """A class or function that others wrote.

    Attributes:
        make: The class or function.
        source: Where it comes from.
    """

    make: Any
    source: Source


def file_of(own: Any) -> str | None:
    """Return the file that a class is in; None where that isn't known."""
    return getattr(sys.modules.get(own.__module__), "__file__", None)


def short_name(name: str) -> str:
    """Return what is named by MODULE:CLASS in short: its class; any other name stays.

    >>> short_name("concat"), short_name("my_module:LowRankMean"), short_name("fusions/mine.py:MyTFN")
    ('concat', 'low-rank-mean', 'my-tfn')
    """
    _, colon, class_name = name.rpartition(":")
    words = re.sub("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", class_name)
    return words.replace("_", "-").lower() if colon else name


def installed(kind: Kind) -> dict[str, metadata.EntryPoint]:
    """Return what installed packages have of a kind, by name; nothing is imported.

    Raises:
        MerError: Two packages have one name.
    """
    points: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=kind.group):
        if (other := points.setdefault(point.name, point)).value != point.value:
            raise kind.error(
                f"Two packages have {kind.noun} {point.name!r} ({other.value} and {point.value}): uninstall one, or "
                "name it by MODULE:CLASS."
            )
    return points


def load(kind: Kind, name: str) -> Plugin:
    """Load `path/to/file.py:Class`; `module:Class` of `module.py` in the current folder, or of an installed module.

    Raises:
        MerError: There is no such class, its code fails, or it isn't of this kind.
    """
    module_name, _, class_name = name.rpartition(":")
    path = Path(module_name if module_name.endswith(".py") else f"{module_name}.py")
    if path.is_file():
        try:
            code = path.read_bytes()
        except OSError as error:
            raise kind.error(f"{path} can't be read ({words_of(error)}): give a file that you may read.") from error
        return _of_file(kind, path, code, class_name)
    if module_name.endswith(".py"):
        raise kind.error(f"There is no file {path} with {kind.noun}: check the path.")
    return load_installed(kind, module_name, class_name)


def load_point(kind: Kind, point: metadata.EntryPoint) -> Plugin:
    """Load what an entry point names.

    Raises:
        MerError: As `load`.
    """
    return load_installed(kind, point.module, point.attr)


def load_installed(kind: Kind, module_name: str, class_name: str) -> Plugin:
    """Load a class of an installed module.

    Raises:
        MerError: As `load`.
    """
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise kind.error(
                f"There is no module {module_name!r}, neither {module_name}.py in the current folder nor an installed "
                "one: check the name, or install it."
            ) from error
        raise kind.error(f"The module {module_name} can't be imported ({first_line(error)}): install that.") from error
    except (Exception, SystemExit) as error:
        raise kind.error(f"The module {module_name} can't be imported ({what_failed(error)}): correct it.") from error
    return _checked(kind, module, class_name, _source_of(kind, module, class_name))


def load_copy(kind: Kind, path: Path, class_name: str, digest: str) -> Plugin:
    """Load a class from the copy of its file in a run folder.

    Raises:
        MerError: It isn't the file with this digest, or as `load`.
    """
    try:
        code = path.read_bytes()
    except OSError as error:
        raise kind.error(
            f"{path}, the code of {kind.noun}, can't be read ({words_of(error)}): copy the run again."
        ) from None
    if hashlib.sha256(code).hexdigest() != digest:
        raise kind.error(f"{path} isn't the code that the run was trained with: copy the run again, or train it again.")
    return _of_file(kind, path, code, class_name)


def load_recorded(kind: Kind, name: str, record: Any, folder: Path, *, where: Path, trust: bool) -> Plugin:
    """Load a class that a run recorded; the run may come from a stranger.

    Args:
        kind: Of which kind it is.
        name: What it is called.
        record: What `Source.record` gave.
        folder: Where the run keeps its file.
        where: The file that holds the record.
        trust: Whether code of others may be run.

    Raises:
        MerError: It isn't trusted, has changed, or can't be loaded.
    """
    what, again = kind.noun.partition(" ")[2], "train the fold again"
    entries = record if isinstance(record, Mapping) else {}
    texts = [entries.get(key) for key in ("class_name", "module", "digest", "file")]
    if not all(isinstance(text, str) for text in texts) or PurePath(str(texts[3])).name != texts[3]:
        raise kind.error(f"{where} doesn't say where its {what} comes from: remove the folder and {again}.")
    class_name, module, digest, file = map(str, texts)
    package = entries.get("distribution")
    if not trust:
        origin = f"the package {package}" if package else str(folder / file)
        raise kind.error(
            f"The {what} {name} is code of its author, {class_name} in {origin}, and could do whatever you can: read "
            "it, then add --trust (in Python, trust=True) to run it."
        )
    if not package:
        return load_copy(kind, folder / file, class_name, digest)
    plugin = load_installed(kind, module, class_name)
    if plugin.source.digest != digest:
        raise kind.error(
            f"{where.parent} was trained with {package}, and {plugin.source.origin} that is installed has other code: "
            f"install that version, or {again}."
        )
    return plugin


def about(plugin: Plugin) -> str:
    """Return the first line of what it says of itself."""
    return (plugin.make.__doc__ or "no description").strip().splitlines()[0].rstrip(".")


def _of_file(kind: Kind, path: Path, code: bytes, class_name: str) -> Plugin:
    """Run a file, once for each content, and return a class of it."""
    digest = hashlib.sha256(code).hexdigest()
    name = f"gia_mic_own_{path.stem}_{digest[:16]}"
    with RUNNING:  # another thread must not take the module before all of it has run
        module = sys.modules.get(name)
        if module is None:
            module = ModuleType(name)
            module.__file__ = str(path)
            sys.modules[name] = module  # dataclasses look their module up
            try:
                exec(compile(code, str(path), "exec"), module.__dict__)
            except (Exception, SystemExit) as error:
                del sys.modules[name]
                raise kind.error(f"{path} can't be loaded ({what_failed(error, str(path))}): correct it.") from error
    return _checked(kind, module, class_name, Source(class_name, path.stem, digest, path.name, code))


def _source_of(kind: Kind, module: ModuleType, class_name: str) -> Source:
    """Return the source of an imported module.

    Raises:
        MerError: It has none.
    """
    top = sys.modules[module.__name__.partition(".")[0]]
    folders = [Path(folder) for folder in getattr(top, "__path__", ())]
    file = Path(module.__file__ or "")
    if file.suffix != ".py" or not file.is_file():
        raise kind.error(f"The module {module.__name__} has no Python file: {kind.noun} needs one.")
    if not folders:
        code = file.read_bytes()
        return Source(class_name, module.__name__, hashlib.sha256(code).hexdigest(), file.name, code)
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            for part in (path.relative_to(folder).as_posix().encode(), path.read_bytes()):
                digest.update(len(part).to_bytes(8) + part)
    names = metadata.packages_distributions().get(top.__name__, [])
    distribution = " ".join([names[0], metadata.version(names[0])]) if names else top.__name__
    return Source(class_name, module.__name__, digest.hexdigest(), file.name, None, distribution)


def _checked(kind: Kind, module: ModuleType, class_name: str, source: Source) -> Plugin:
    """Return a class of a module.

    Raises:
        MerError: There is none of this kind.
    """
    own = getattr(module, class_name, None)
    if own is None or not kind.suits(own):
        others = [
            name
            for name, value in vars(module).items()
            if kind.suits(value) and getattr(value, "__module__", None) == module.__name__
        ]
        what = "no" if own is None else f"something else than a {kind.wanted} called"
        raise kind.error(f"{source.file} has {what} {class_name}: its {kind.several} are {one_line(others) or 'none'}.")
    return Plugin(own, source)
