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
    help="Recogniser to use: a Hugging Face id or a local folder of Whisper, or of a wav2vec2-like model trained "
    "with CTC.",
)
@click.option("--revision", help=f"Commit, tag or branch of the hub's model.  [default: {DEFAULT_REVISION}]")
@click.option(
    "--language",
    help="Language that is spoken, such as english, for a Whisper of several languages.  [default: detected]",
)
@device_option
@click.option("--again", is_flag=True, help="Also replace texts that another recogniser wrote.")
@click.option("--allow-failures", is_flag=True, help="Exit with 0 even if some utterances can't be read.")
@features_option
def transcribe(corpus: str | None, features: Path, model: str, **options: Any) -> None:
    """Fill in missing texts by speech recognition.

    These texts are marked with the recogniser's name; the corpus's own texts are never replaced. If the command is
    stopped, run it again to go on from there. Then extract the modality text.
    """
    from gia_mic.extract.corpus import find_corpus
    from gia_mic.extract.transcribe import transcribe as run

    click.echo(run(find_corpus(features, corpus), model, **options).describe())


COMMANDS = (transcribe,)
