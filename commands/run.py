"""`mer run`: a file with an experiment becomes the commands that it stands for, one after the other."""

import logging
from collections.abc import Iterator, Sequence
from difflib import unified_diff
from pathlib import Path

import click

from gia_mic.commands.experiment_file import TRAINING, CommandLine, key_of, read_experiment
from gia_mic.commands.options import CHECK_ONLY, WORDS
from gia_mic.extract.errors import MerError, RunError

logger = logging.getLogger(__name__)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print the commands that could be typed instead, and run none.")
@click.pass_context
def run(context: click.Context, file: Path, dry_run: bool) -> None:
    """Run the experiment that a file describes.

    FILE is TOML. A table stands for a command, such as [fuse-train], and its entries for the options. The commands run
    in the order of `mer --help`, from corpora to reports. All are checked before the first one begins. Finished parts
    are kept, so the same command goes on after a stop.
    """
    root = context.find_root().command
    assert isinstance(root, click.Group)
    experiment = read_experiment(file, root)
    lines = experiment.lines
    if problems := [*experiment.problems, *(problem for line in lines for problem in _problems(line, root))]:
        message = "; ".join(dict.fromkeys(problem.rstrip(".") for problem in problems))
        raise RunError(f"{file} can't be run: {message}.")
    if dry_run:
        click.echo("\n".join(map(str, lines)))
        return
    _tell_changes(experiment.runs / f"{file.stem}.commands", lines)
    for number, line in enumerate(lines, 1):
        logger.info(f"{number} of {len(lines)}: {line}")
        with root.make_context("mer", list(line.words)) as command_context:
            command_context.meta[WORDS] = line.words
            try:
                root.invoke(command_context)
            except click.exceptions.Exit as end:
                if end.exit_code:
                    logger.info(f"Stopped at command {number} of {len(lines)}: run the same again to go on.")
                raise


def _problems(line: CommandLine, root: click.Group) -> Iterator[str]:
    """Give what a command would refuse: its options, and of a training its settings."""
    command, parent, words = _find_command(root, list(line.words))
    name = command.name
    try:
        with command.make_context(name, words.copy(), parent=parent) as checked:
            checked.meta[CHECK_ONLY] = True
            if line.words[0] in TRAINING:
                command.invoke(checked)
    except click.UsageError as error:
        of_options = _wrong_options(line.path, command, click.Context(command, parent=parent, info_name=name), words)
        yield from list(of_options) or [f"{line.path}: {error.message}"]
    except click.exceptions.Exit:
        pass
    except MerError as error:
        yield f"{line.path}: {error}"


def _find_command(root: click.Group, words: list[str]) -> tuple[click.Command, click.Context, list[str]]:
    """Return the command that words begin with, the context that it is in, and the words that it takes."""
    group, context = root, click.Context(root, info_name="mer")
    while isinstance(command := group.commands[words.pop(0)], click.Group):
        group, context = command, click.Context(command, parent=context, info_name=command.name)
    return command, context, words


def _wrong_options(path: str, command: click.Command, context: click.Context, words: list[str]) -> Iterator[str]:
    """Give what click says of each option, since it stops at the first that is wrong."""
    values, rest, order = command.make_parser(context).parse_args(words)
    for parameter in click.core.iter_params_for_processing(order, command.get_params(context)):
        try:
            _, rest = parameter.handle_parse_result(context, values, rest)
        except click.MissingParameter:
            yield f"{path}: {key_of(parameter)} is missing"
        except click.UsageError as error:
            yield f"{path}.{key_of(parameter)}: {error.message}"


def _tell_changes(record: Path, lines: Sequence[CommandLine]) -> None:
    """Say which commands are others than when an experiment of this name ran last, and record the present ones."""
    from gia_mic.extract.files import write_text

    now = list(map(str, lines))
    if record.exists():
        before = record.read_text(encoding="utf-8").splitlines()
        difference = list(unified_diff(before, now, n=0, lineterm=""))[2:]  # without its two headings
        changes = [change for change in difference if not change.startswith("@@")]
        what = (
            "\n".join(["Changed since the last time:", *changes]) if changes else "Nothing changed since the last time."
        )
        logger.info(what)
    write_text(record, "".join(f"{line}\n" for line in now))


COMMANDS = (run,)
