"""Turns the name of a fusion that others wrote into its class, its settings and its source.

Such a fusion is a class in one Python file, or in an installed package, which may give it a name by an entry point of
the group `gia_mic.fusions`. A file may import what is installed, but not its neighbours: it is copied into the run
folder alone.
"""

import dataclasses
import hashlib
import importlib
import inspect
import sys
import typing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from gia_mic.extract.errors import RunError, first_line, one_line, words_of
from gia_mic.extract.settings import Setting
from gia_mic.fuse.config import RENAMED, TrainingConfig
from gia_mic.fuse.models.own import what_failed

__all__ = ["GROUP", "OwnClass", "Source", "installed", "load_class", "load_copy", "load_installed", "settings_of_own"]

GROUP = "gia_mic.fusions"
"""Group of the entry points that packages name their fusions by."""

TYPES = (bool, int, float, str, tuple)
"""Types that a setting may have."""


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


@dataclass(frozen=True)
class OwnClass:
    """A fusion that others wrote.

    Attributes:
        make: Its class.
        config: Frozen dataclass of its settings.
        source: Where it comes from.
    """

    make: type[nn.Module]
    config: type[Any]
    source: Source


def installed() -> dict[str, metadata.EntryPoint]:
    """Return the fusions of installed packages by name; nothing is imported.

    Raises:
        RunError: Two packages have one name.
    """
    points: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=GROUP):
        if (other := points.setdefault(point.name, point)).value != point.value:
            raise RunError(
                f"Two packages have a fusion {point.name!r} ({other.value} and {point.value}): uninstall one, or name "
                "it by MODULE:CLASS."
            )
    return points


def load_class(name: str) -> OwnClass:
    """Load `path/to/file.py:Class`; `module:Class` of `module.py` in the current folder, or of an installed module.

    Raises:
        RunError: There is no such class, its code fails, or it can't be a fusion.
    """
    module_name, _, class_name = name.rpartition(":")
    path = Path(module_name if module_name.endswith(".py") else f"{module_name}.py")
    if path.is_file():
        try:
            code = path.read_bytes()
        except OSError as error:
            raise RunError(f"{path} can't be read ({words_of(error)}): give a file that you may read.") from error
        return _of_file(path, code, class_name)
    if module_name.endswith(".py"):
        raise RunError(f"There is no file {path} with a fusion: check the path.")
    return load_installed(module_name, class_name)


def load_installed(module_name: str, class_name: str) -> OwnClass:
    """Load a class of an installed module.

    Raises:
        RunError: As `load_class`.
    """
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise RunError(
                f"There is no module {module_name!r}, neither {module_name}.py in the current folder nor an installed "
                "one: check the name, or install it."
            ) from error
        raise RunError(f"The module {module_name} can't be imported ({first_line(error)}): install that.") from error
    except Exception as error:
        raise RunError(f"The module {module_name} can't be imported ({what_failed(error)}): correct it.") from error
    return _checked(module, class_name, _source_of(module, class_name))


def load_copy(path: Path, class_name: str, digest: str) -> OwnClass:
    """Load a class from the copy of its file in a run folder.

    Raises:
        RunError: It isn't the file with this digest, or as `load_class`.
    """
    try:
        code = path.read_bytes()
    except OSError as error:
        raise RunError(
            f"{path}, the code of a fusion, can't be read ({words_of(error)}): copy the run again."
        ) from None
    if hashlib.sha256(code).hexdigest() != digest:
        raise RunError(f"{path} isn't the code that the run was trained with: copy the run again, or train it again.")
    return _of_file(path, code, class_name)


def settings_of_own(config: type[Any]) -> dict[str, Setting]:
    """Return the settings of a config by name; a plain field of a dataclass is one without a help."""
    return {
        field.name: field.metadata.get("setting") or Setting(field.default, "") for field in dataclasses.fields(config)
    }


def _of_file(path: Path, code: bytes, class_name: str) -> OwnClass:
    """Run a file, once for each content, and return a class of it."""
    digest = hashlib.sha256(code).hexdigest()
    name = f"gia_mic_fusion_{path.stem}_{digest[:16]}"
    module = sys.modules.get(name)
    if module is None:
        module = ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module  # dataclasses look their module up
        try:
            exec(compile(code, str(path), "exec"), module.__dict__)
        except Exception as error:
            del sys.modules[name]
            raise RunError(f"{path} can't be loaded ({what_failed(error, str(path))}): correct it.") from error
    return _checked(module, class_name, Source(class_name, path.stem, digest, path.name, code))


def _source_of(module: ModuleType, class_name: str) -> Source:
    """Return the source of an imported module.

    Raises:
        RunError: It has none.
    """
    top = sys.modules[module.__name__.partition(".")[0]]
    folders = [Path(folder) for folder in getattr(top, "__path__", ())]
    file = Path(module.__file__ or "")
    if file.suffix != ".py" or not file.is_file():
        raise RunError(f"The module {module.__name__} has no Python file: a fusion needs one.")
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


def _checked(module: ModuleType, class_name: str, source: Source) -> OwnClass:
    """Return a class of a module with its config.

    Raises:
        RunError: It can't be a fusion.
    """
    own = getattr(module, class_name, None)
    if not (isinstance(own, type) and issubclass(own, nn.Module)):
        others = [
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__
        ]
        kind = "no" if own is None else "something else than a torch.nn.Module called"
        raise RunError(f"{source.file} has {kind} {class_name}: its modules are {one_line(others) or 'none'}.")
    return OwnClass(own, _config_of(own, source), source)


def _config_of(own: type[nn.Module], source: Source) -> type[Any]:
    """Return the class of a fusion's settings, which the third argument of its `__init__` names.

    Raises:
        RunError: There is none, it is no frozen dataclass, or a field can't be a setting.
    """
    where = f"{source.class_name} in {source.file}"
    arguments = list(inspect.signature(own).parameters)
    try:
        config = typing.get_type_hints(own.__init__).get(arguments[2]) if len(arguments) > 2 else None
    except Exception as error:
        raise RunError(f"{where}: its annotations can't be read ({what_failed(error)}): correct them.") from error
    if config is None or not isinstance(config, type) or not _is_frozen(config):
        raise RunError(
            f"{where} says nothing of its settings: write __init__(self, dims, outputs, config: Config) with a frozen "
            "dataclass Config."
        )
    fields = {field.name: field.default for field in dataclasses.fields(config)}
    untyped = [name for name, default in fields.items() if not isinstance(default, TYPES)]
    if untyped:
        raise RunError(
            f"{where}: {one_line(untyped)} in {config.__name__} can't be set: give a default that is a number, a text, "
            "True, False or a tuple."
        )
    taken = {"name", *RENAMED, *(field.name for field in dataclasses.fields(TrainingConfig))}
    if clashes := sorted(taken & fields.keys()):
        raise RunError(f"{where}: {one_line(clashes)} in {config.__name__} means something else here: rename it.")
    return config


def _is_frozen(config: type[Any]) -> bool:
    parameters: Any = getattr(config, "__dataclass_params__", None)
    return parameters is not None and parameters.frozen
