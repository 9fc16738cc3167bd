"""`mer extract`, `mer inspect` and `mer verify`: a corpus becomes frames on disk."""

from pathlib import Path
from typing import Any

import click

import gia_mic
from gia_mic.commands.options import FOLDER, corpus_option, engine_options, features_option, own_set_option
from gia_mic.commands.settings import setting_options
from gia_mic.extract.config import DEFAULT_MODELS, EncoderConfig


def parse_shard(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Return which share of how many.

    Raises:
        click.BadParameter: It is none.
    """
    if text is None:
        return None
    number, _slash, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise click.BadParameter(f"{text!r} is no share such as 1/8, 2/8 … 8/8.")
    return int(number), int(count)


@click.command()
@click.option(
    "--modality",
    type=click.Choice(["speech", "text", "visual", "all"]),
    required=True,
    help="Modality to extract; all takes every modality that the corpus has.",
)
@corpus_option
@click.option(
    "--encoder",
    metavar="ID|FOLDER|tiny",
    help="Use this pretrained model: a Hugging Face id, a local folder, or tiny (random weights, for the demo). "
    "Your own is MODULE:CLASS; `mer encoders` lists those of installed packages.  "
    f"[default: {', '.join(DEFAULT_MODELS.values())}; tiny for the demo corpus]",
)
@click.option(
    "--revision",
    help="Take the model at this commit, tag, branch or refs/pr/N.  [default: that of the corpus's first features, "
    "else main]",
)
@click.option(
    "--device",
    help="Compute on cpu or cuda, or on several GPUs such as cuda:0,cuda:1.  [default: cuda if there is a GPU]",
)
@setting_options(EncoderConfig)
@own_set_option("encoder_settings", "your own encoder")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Extract nothing; print what there is to do, and how much disk space and time it takes.",
)
@click.option("--allow-failures", is_flag=True, help="Exit with 0 even if some utterances can't be read.")
@click.option(
    "--shard",
    callback=parse_shard,
    metavar="I/N",
    help="Extract only the I-th of N shares of the corpus, for batch systems. Run --finish when all shares are done.",
)
@click.option("--finish", is_flag=True, help="Encode nothing; join what all shards have made into one feature file.")
@engine_options
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Start this many Ray workers.  [default: one for each GPU, or for each four cores]",
)
@features_option
def extract(
    **options: Any,
) -> None:
    """Run frozen encoders over a corpus and cache their frames.

    If the command is stopped, run it again to go on from there. Utterances that are already extracted stay as they are.
    """
    gia_mic.extract_features(**options, on_result=click.echo)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(dir_okay=False, path_type=Path))
@corpus_option
@features_option
@click.option(
    "--frames", "utterance", metavar="ID", help="Write a PNG of the pictures that the encoder saw of this utterance."
)
@click.option("--out", type=FOLDER, default=Path(), help="Folder to write the PNG to.  [default: the current folder]")
def inspect(files: tuple[Path, ...], corpus: str | None, features: Path, utterance: str | None, out: Path) -> None:
    """Print what feature files hold.

    For each of FILES, by default all of the corpus, these are its settings, counts and sizes, and what is missing or
    failed. With --frames ID, write the pictures behind an utterance's visual features instead, as they were cropped.
    """
    from gia_mic.extract.contact_sheet import contact_sheet
    from gia_mic.extract.corpus import find_corpus
    from gia_mic.extract.inspection import feature_files
    from gia_mic.extract.inspection import inspect as inspect_file

    if utterance is not None:
        prepared = find_corpus(features, corpus)
        for path in files or feature_files(prepared.folder, "visual"):
            click.echo(contact_sheet(prepared, path, utterance, out))
        return
    for path in files or feature_files(find_corpus(features, corpus).folder):
        click.echo(inspect_file(path) + "\n")


@click.command()
@click.argument("files", nargs=-1, type=click.Path(dir_okay=False, path_type=Path))
@corpus_option
@features_option
def verify(files: tuple[Path, ...], corpus: str | None, features: Path) -> None:
    """Check every byte of feature files against their checksums.

    FILES are by default all feature files of the corpus.
    """
    from gia_mic.extract.corpus import find_corpus
    from gia_mic.extract.inspection import feature_files, verify_all

    for line in verify_all(files or feature_files(find_corpus(features, corpus).folder)):
        click.echo(line)


@click.command()
@click.option("--encoder", "names", multiple=True, metavar="NAME", help="List only this encoder. May be repeated.")
@click.option("--check", metavar="NAME", help="Test whether this encoder does what every encoder must do.")
@own_set_option("settings", "the encoder that is checked")
def encoders(names: tuple[str, ...], check: str | None, settings: dict[str, str]) -> None:
    """List the default encoders, and those of installed packages.

    Many more can be used: any model of transformers that has frames. NAME is one that a package names, or MODULE:CLASS
    of your own: my_encoder:MyEncoder for my_encoder.py in the current folder, path/to/my_encoder.py:MyEncoder, or that
    of an installed module.
    """
    from gia_mic.extract.encoders.listing import check_named, listing

    if check is None:
        click.echo(listing(names))
        return
    from gia_mic.extract.encoders.own_class import ENCODER
    from gia_mic.extract.truths import refuse_broken

    findings = check_named(check, settings)
    click.echo("\n".join(finding.line() for finding in findings))
    refuse_broken(findings, ENCODER)


COMMANDS = (extract, inspect, verify, encoders)
