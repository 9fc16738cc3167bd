"""The `mer` command: what its subcommands have in common."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from gia_mic.commands import export, extract, fetch, fuse, listen, predict, prepare, report, run, serve, transcribe
from gia_mic.commands.options import FOLDER, device_option
from gia_mic.commands.settings import name_the_new
from gia_mic.extract.errors import Interrupted, MerError

LOGGER = logging.getLogger("gia_mic")


class _StandardError(logging.Handler):
    """Writes what happens to standard error, a line each, above the progress bar where one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        mark = "Warning: " if record.levelno >= logging.WARNING else ""
        try:
            with tqdm.external_write_mode(file=sys.stderr):
                click.echo(mark + self.format(record), err=True)
        except Exception:
            self.handleError(record)


@contextmanager
def _lines_on_standard_error() -> Iterator[None]:
    """Show what the package logs, from INFO up unless an option says otherwise, for as long as a command runs."""
    handler, level = _StandardError(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False  # other libraries may have configured the root
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        LOGGER.propagate = True


def _set_level(_: click.Context, parameter: click.Parameter, chosen: bool) -> None:
    if chosen:
        LOGGER.setLevel({"verbose": logging.DEBUG, "quiet": logging.WARNING}[str(parameter.name)])


def _add_volume(command: click.Command) -> None:
    """Add the options --verbose and --quiet to a command and to those below it."""
    texts = {"verbose": "Print more about what happens.", "quiet": "Print only what is wrong, and no progress bars."}
    for name, text in texts.items():
        names = [f"-{name[0]}", f"--{name}"]
        command.params.append(click.Option(names, is_flag=True, expose_value=False, callback=_set_level, help=text))
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _add_volume(below)


class _Commands(click.Group):
    """Commands whose expected errors end in one sentence: exit code 1, or 130 after Ctrl-C."""

    def main(self, *args: Any, **options: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
                stream.reconfigure(errors="replace")  # work that is done isn't lost for a letter that can't be shown
        with _lines_on_standard_error():
            return super().main(*args, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the work, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            raise name_the_new(error) from None
        except (Interrupted, KeyboardInterrupt) as interruption:
            click.echo(str(interruption) or "Stopped by Ctrl-C.", err=True)
            raise click.exceptions.Exit(130) from interruption
        except MerError as error:
            click.echo(f"Error: {error}", err=True)
            raise click.exceptions.Exit(1) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="gia-mic", prog_name="mer")
def main() -> None:
    """Train and compare fusion models for emotion recognition from speech, text and face video.

    `mer demo` shows the whole pipeline. Its stages are prepare, extract, train and report. Encoders run once over a
    corpus and their features are cached, so training takes minutes.
    """


@main.command()
@click.option(
    "--out", type=FOLDER, default=Path(), help="Folder to write features/ and runs/ to.  [default: the current folder]"
)
@device_option
def demo(out: Path, device: str | None) -> None:
    """Run the whole pipeline on a synthetic corpus.

    Make the demo corpus, extract its features, train models and compare them. Nothing is downloaded, and it takes some
    minutes.
    """
    from gia_mic.commands.demo import run_demo

    click.echo(run_demo(out, device=device))


for stage in (prepare, transcribe, fetch, extract, fuse, report, run, predict, listen, serve, export):
    for command in stage.COMMANDS:
        main.add_command(command)
_add_volume(main)
