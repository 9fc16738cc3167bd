"""`mer transcribe`: a corpus without text gets what a recogniser hears."""

from pathlib import Path
from typing import Any

import click

from gia_mic.commands.options import corpus_option, device_option, features_option
from gia_mic.extract.config import DEFAULT_REVISION


@click.command()
@corpus_option
@click.option(
    "--model",
    required=True,
    metavar="ID|FOLDER",
    help="Recogniser: hub id or local folder of Whisper, or of a wav2vec2-like model for CTC.",
)
@click.option("--revision", help=f"Commit, tag or branch of the hub's model.  [default: {DEFAULT_REVISION}]")
@click.option("--language", help="What is spoken, such as english, for a Whisper of many languages.  [default: heard]")
@device_option
@click.option("--again", is_flag=True, help="Replace what another recogniser heard, too.")
@click.option("--allow-failures", is_flag=True, help="Exit with 0 even if some utterances can't be read.")
@features_option
def transcribe(corpus: str | None, features: Path, model: str, **options: Any) -> None:
    """Fill the texts that the manifest lacks.

    They are marked with the recogniser's name; the corpus's own are never replaced. Stopped at any moment, the same
    command goes on from there. Extract the text afterwards.
    """
    from gia_mic.extract.corpus import find_corpus
    from gia_mic.extract.transcribe import transcribe as run

    click.echo(run(find_corpus(features, corpus), model, **options).describe())


COMMANDS = (transcribe,)
