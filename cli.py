"""The `mer` command: what its subcommands have in common."""

from pathlib import Path
from typing import Any

import click

from gia_mic.commands import extract, fetch, fuse, predict, prepare, report, transcribe
from gia_mic.commands.options import FOLDER, device_option, say
from gia_mic.extract.errors import Interrupted, MerError


class _Commands(click.Group):
    """Commands whose expected errors end in one sentence: exit code 1, or 130 after Ctrl-C."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the work, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MerError as error:
            click.echo(f"Error: {error}", err=True)
            raise click.exceptions.Exit(130 if isinstance(error, Interrupted) else 1) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="gia-mic", prog_name="mer")
def main() -> None:
    """Train and compare fusion models for emotion recognition from speech, text and face video.

    Extraction runs frozen encoders once over a corpus and writes their frames to HDF5; training reads only those.
    """


@main.command()
@click.option(
    "--out", type=FOLDER, default=Path(), help="Folder for features/ and runs/.  [default: the current folder]"
)
@device_option
def demo(out: Path, device: str | None) -> None:
    """Do the whole job on the demo corpus, in one go.

    Makes the corpus, extracts its features, trains and compares models.
    """
    from gia_mic.commands.demo import run_demo

    click.echo(run_demo(out, device=device, say=say))


for stage in (prepare, transcribe, fetch, extract, fuse, report, predict):
    for command in stage.COMMANDS:
        main.add_command(command)
