"""Turns the `mer` commands into a page: `python -m gia_mic.commands.reference_page > docs/commands.md`."""

import re
import sys
from collections.abc import Iterator
from inspect import cleandoc

import click

from gia_mic.cli import main

__all__ = ["reference_page"]

HEAD = """\
# Commands

Every command of `mer` with its arguments and options, as `mer COMMAND --help` prints them. Every command also has `-v`
(`--verbose`), `-q` (`--quiet`) and `-h` (`--help`). This page is made from their declarations:

    python -m gia_mic.commands.reference_page > docs/commands.md

Three metrics occur in it. UA is the mean of the classes' recalls, macro F1 the mean of their F1, and CCC the
concordance correlation coefficient ([all metrics](metrics.md)).
"""

EVERYWHERE = {"verbose", "quiet", "help"}
"""Options that every command has; the page's head names them."""


def reference_page() -> str:
    """Return the page, in Markdown."""
    return "\n".join([HEAD, *_command(main, None)])


def _command(command: click.Command, parent: click.Context | None) -> Iterator[str]:
    """Give the lines of a command, then those of the commands below it."""
    context = click.Context(command, parent, info_name=command.name if parent else "mer")
    below = command.commands.values() if isinstance(command, click.Group) else ()
    if parent is not None:
        depth = context.command_path.count(" ") + 1
        yield f"{'#' * depth} {context.command_path}\n"
        yield f"{_text(command.help or '')}\n"
        yield f"    {context.command_path} {' '.join(command.collect_usage_pieces(context))}\n"
        options = [one for one in command.params if isinstance(one, click.Option) and one.name not in EVERYWHERE]
        if options:
            yield "| option | what it does |\n|---|---|"
            yield from (_row(option, context) for option in options)
            yield ""
    for one in below:
        yield from _command(one, context)


def _row(option: click.Option, context: click.Context) -> str:
    """Return an option's row: what is typed, and its help with the default and the range."""
    record = option.get_help_record(context)
    assert record is not None, option.name
    typed, help = record
    names, _, value = typed.partition(" ") if " / " not in typed else (typed, "", "")
    code = f"`{names} {value}`" if value else f"`{names}`"
    return f"| {_cell(code)} | {_cell(_text(help))} |"


def _text(help: str) -> str:
    """Return a help text in Markdown: a line for each paragraph; its brackets make no links, and nothing is HTML."""
    paragraphs = cleandoc(help.replace("\b", "")).split("\n\n")
    return re.sub(r"([\[\]<])", r"\\\1", "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs))


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    sys.stdout.write(reference_page())
