"""Turns an experiment's file into the commands that could be typed instead, and tables of settings into such a file.

A file is TOML. A table stands for a command, an entry of it for an option or an argument:

    corpus = "demo"                          # above the tables: for several commands
    [[fuse-train]]                           # mer fuse-train --corpus demo --fusion concat --set width=32
    fusion = "concat"
    set = {width = 32}
    [[fuse-train]]                           # mer fuse-train --corpus demo --modalities s, and the same for t
    modalities = ["s", "t"]

The commands, their options and arguments are those of `mer`, which this module reads off them.
"""

import json
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any

import click

from gia_mic.extract.errors import RunError, one_line, words_of

__all__ = ["TRAINING", "CommandLine", "ExperimentFile", "experiment_text", "key_of", "read_experiment"]

TRAINING = ("fuse-train", "tune", "ablate")
"""Commands that take every entry above the tables that they have an option for."""

EVERYWHERE = ("corpus", "features", "runs", "device", "target", "protocol", "engine", "address")
"""Entries above the tables that all other commands take too, since they mean the same there."""

EXCLUDED = ("run",)
"""Commands that no file may name."""


@dataclass(frozen=True)
class CommandLine:
    """A command of an experiment.

    Attributes:
        path: Where it stands in the file, such as fuse-train[2], the second table of that name.
        words: What is typed after `mer`.
    """

    path: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(["mer", *self.words])


@dataclass(frozen=True)
class ExperimentFile:
    """What a file says.

    Attributes:
        lines: Its commands, in the order in which `mer` lists them.
        runs: Folder of its runs.
        problems: What is wrong with its entries, a clause each, with their paths; what is wrong isn't in `lines`.
    """

    lines: Sequence[CommandLine]
    runs: Path
    problems: Sequence[str]


def read_experiment(file: Path, root: click.Group) -> ExperimentFile:
    """Return what a file says.

    Args:
        file: The file.
        root: The command `mer`.

    Raises:
        RunError: The file can't be read.
    """
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = words_of(error) if isinstance(error, OSError) else error
        raise RunError(f"{file} can't be read as TOML ({why}): correct it.") from error
    reader = _Reader(root, {key: value for key, value in entries.items() if key not in root.commands})
    lines = [line for name in root.commands if name in entries for line in reader.lines_of(name, entries[name])]
    problems = [*reader.problems, *reader.unused()]
    if not entries.keys() & root.commands.keys():
        problems.append("it has no table of a command, such as [fuse-train]")
    runs = entries.get("runs", "runs")
    return ExperimentFile(lines, Path(runs if isinstance(runs, str) else "runs"), problems)


def key_of(parameter: click.Parameter) -> str:
    """Return the key of an option or an argument: the option as it is typed, or the argument's name."""
    longest = max(parameter.opts, key=len)
    return longest.removeprefix("--") if isinstance(parameter, click.Option) else str(parameter.name)


def experiment_text(shared: Mapping[str, Any], tables: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Return the text of an experiment's file.

    Args:
        shared: What stands above the tables.
        tables: Each command with its entries: texts, numbers, truth values, and lists and dictionaries of them.
    """
    parts = ["".join(f"{key} = {_toml(value)}\n" for key, value in shared.items())]
    for name, table in tables:
        parts.append("".join([f"[[{name}]]\n", *(f"{key} = {_toml(value)}\n" for key, value in table.items())]))
    return "\n".join(filter(None, parts))


@dataclass
class _Reader:
    """Turns tables into commands, and collects what is wrong with them.

    Attributes:
        root: The command `mer`.
        shared: Entries above the tables.
        problems: What is wrong, one clause each.
        used: Keys of `shared` that a command takes.
        known: Keys that some command of the file takes.
    """

    root: click.Group
    shared: Mapping[str, Any]
    problems: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    known: dict[str, None] = field(default_factory=dict)

    def lines_of(self, name: str, content: Any) -> Iterator[CommandLine]:
        """Give the commands of an entry that has a command's name."""
        if name in EXCLUDED:
            self.problems.append(f"{name}: a file can't have this command")
            return
        yield from self._lines(name, (name,), self.root.commands[name], content)

    def unused(self) -> Iterator[str]:
        """Give what is wrong with the entries above the tables that no command takes."""
        for key in [key for key in self.shared if key not in self.used]:
            yield f"{key}: no command of this file takes it{_nearest(key, [*self.root.commands, *self.known])}"

    def _lines(self, path: str, names: tuple[str, ...], command: click.Command, content: Any) -> Iterator[CommandLine]:
        if isinstance(content, list) and all(isinstance(table, dict) for table in content):
            for number, table in enumerate(content, 1):
                yield from self._lines(f"{path}[{number}]", names, command, table)
        elif not isinstance(content, dict):
            self.problems.append(f"{path} is {content!r}, and must be a table such as [{path}]")
        elif isinstance(command, click.Group):
            for name, inner in content.items():
                if name in command.commands:
                    yield from self._lines(f"{path}.{name}", (*names, name), command.commands[name], inner)
                else:
                    hint = f" (there are {one_line(command.commands, 20)})"
                    self.problems.append(f"{path}.{name}: there is no command mer {' '.join(names)} {name}{hint}")
        else:
            yield from self._product(path, names, command, content)

    def _product(
        self, path: str, names: tuple[str, ...], command: click.Command, table: Mapping[str, Any]
    ) -> Iterator[CommandLine]:
        """Give a command for each choice of values where a table has lists of them."""
        parameters = {
            key_of(parameter): parameter for parameter in command.params if getattr(parameter, "expose_value", True)
        }
        self.known |= dict.fromkeys(parameters)
        shared = {
            key: value
            for key, value in self.shared.items()
            if _plain(key) in parameters and (names[0] in TRAINING or _plain(key) in EVERYWHERE)
        }
        self.used |= shared.keys()
        choices: list[tuple[click.Parameter, list[Any]]] = []
        for key, value in {**_plain_keys(shared), **_plain_keys(table)}.items():
            if key not in parameters:
                self.problems.append(f"{path}.{key}: mer {' '.join(names)} has no {key}{_nearest(key, parameters)}")
            elif (problem := _problem(parameters[key], value)) is not None:
                self.problems.append(f"{path}.{key} is {_toml(value)}, and must be {problem}")
            else:
                one_each = isinstance(value, list) and not _takes_several(parameters[key])
                choices.append((parameters[key], value if one_each else [value]))
        choices.sort(key=lambda choice: isinstance(choice[0], click.Option))
        for values in product(*(several for _, several in choices)):
            words = [_words(parameter, value) for (parameter, _), value in zip(choices, values, strict=True)]
            yield CommandLine(path, (*names, *(word for several in words for word in several)))


def _plain(key: str) -> str:
    """Return a key with hyphens, as options are typed; run folders have underscores."""
    return key.replace("_", "-")


def _plain_keys(table: Mapping[str, Any]) -> dict[str, Any]:
    return {_plain(key): value for key, value in table.items()}


def _nearest(key: str, keys: Iterable[str]) -> str:
    """Return a hint at the known key that a wrong one is most like."""
    nearest = get_close_matches(_plain(key), list(keys), 1)
    return f" (the nearest is {nearest[0]})" if nearest else ""


def _takes_several(parameter: click.Parameter) -> bool:
    return parameter.nargs == -1 or (isinstance(parameter, click.Option) and parameter.multiple)


def _takes_pairs(parameter: click.Parameter) -> bool:
    """Whether an option is typed as NAME=VALUE."""
    return isinstance(parameter, click.Option) and parameter.multiple and "=" in (parameter.metavar or "")


def _problem(parameter: click.Parameter, value: Any) -> str | None:
    """Return what a value must be if it is of a wrong kind; what it may be in detail, its command knows."""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        several = value if isinstance(value, list) else [value]
        return None if several and all(isinstance(one, bool) for one in several) else "true or false"
    if isinstance(value, dict):
        return None if _takes_pairs(parameter) else "a text or a number"
    several = value if isinstance(value, list) else [value]
    if several and all(_is_plain(one) for one in several):
        return None
    return "a text or a number, or a list of them"


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _words(parameter: click.Parameter, value: Any) -> list[str]:
    """Return how a value is typed."""
    several = value if isinstance(value, list) else [value]
    if isinstance(parameter, click.Argument):
        return [str(one) for one in several]
    option = f"--{key_of(parameter)}"
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return [option] if value else parameter.secondary_opts[:1]
    if isinstance(value, dict):
        several = [f"{name}={_pair_text(one)}" for name, one in value.items()]
    return [word for one in several for word in (option, str(one))]


def _pair_text(value: Any) -> str:
    """Return a value of a pair: several by comma, and a truth value as on or off."""
    if isinstance(value, list):
        return ",".join(map(_pair_text, value))
    return ("off", "on")[value] if isinstance(value, bool) else str(value)


def _toml(value: Any) -> str:
    """Return a value as TOML; a string of JSON is one of TOML, but for the character DEL."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml_key(key)} = {_toml(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)


def _toml_key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _toml(key)
