"""`mer extract`, `mer inspect` and `mer verify`: a corpus becomes frames on disk."""

from pathlib import Path
from typing import Any

import click

from gia_mic.commands.options import FOLDER, corpus_option, engine_options, features_option, say


def parse_layers(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...] | str | None:
    """Return layer numbers, or "mean".

    Raises:
        click.BadParameter: It is neither.
    """
    if text is None or text == "mean":
        return text
    try:
        return tuple(int(layer) for layer in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither numbers such as 6,9,12 nor mean.") from None


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
    help="What to extract; all is whatever the corpus has.",
)
@corpus_option
@click.option(
    "--encoder",
    metavar="ID|FOLDER|tiny",
    help="Pretrained model: hub id, local folder, or tiny (random weights, for the demo).  "
    "[default: wav2vec2-base, roberta-base, clip-vit-base-patch32; tiny for the demo corpus]",
)
@click.option("--revision", help="Commit, tag or branch of the hub's model.  [default: main]")
@click.option("--device", help="cpu, cuda, or several such as cuda:0,cuda:1.  [default: cuda where there is one]")
@click.option(
    "--layers",
    callback=parse_layers,
    help="Hidden layers to keep side by side, such as -1 (the last), 6,9,12 or -4,-3,-2,-1; or mean, of all.  "
    "[default: mean for speech, else -1; -1 for tiny]",
)
@click.option("--pool", help="Frames to average: none, a number of neighbours, or utterance.  [default: none]")
@click.option("--precision", help="What the model computes in: float32, bfloat16 or float16.  [default: float32]")
@click.option("--dtype", help="What is stored: float16 or float32.  [default: float16]")
@click.option("--window", "window_s", type=float, help="Longest sound seen at once, in seconds.  [default: 20]")
@click.option("--frame-rate", "frame_rate_hz", type=float, help="Pictures per second of video.  [default: 4]")
@click.option(
    "--crop",
    type=click.Choice(["half", "none", "face"]),
    help="Part of the picture: half is the manifest's (the speaker's half), none all of it, face the largest face in "
    "the manifest's part, followed through the clip (pip install 'gia-mic[face]').  [default: half]",
)
@click.option("--dry-run", is_flag=True, help="Only say what there is to do, how much room and how long it takes.")
@click.option("--allow-failures", is_flag=True, help="Exit with 0 even if some utterances can't be read.")
@click.option(
    "--shard",
    callback=parse_shard,
    metavar="I/N",
    help="Only the I-th of N shares of the corpus, for batch systems; --finish comes after all of them.",
)
@click.option("--finish", is_flag=True, help="Encode nothing, but put together what the shards have left.")
@engine_options
@click.option("--workers", type=click.IntRange(1), help="Of Ray.  [default: one for each GPU, or for each four cores]")
@features_option
def extract(
    corpus: str | None,
    features: Path,
    modality: str,
    encoder: str | None,
    shard: tuple[int, int] | None,
    engine: str,
    address: str | None,
    workers: int | None,
    **options: Any,
) -> None:
    """Run frozen encoders over a corpus and cache their frames.

    Stopped at any moment, the same command goes on from there; run again, it does only what is new.
    """
    from gia_mic.extract.corpora import find_or_demo
    from gia_mic.extract.plan import Shard
    from gia_mic.extract.run import run

    chosen = {name: value for name, value in options.items() if value is not None}
    if shard is not None:
        chosen["shard"] = Shard(*shard)
    if engine == "ray":
        from gia_mic.extract.on_ray import ray_engine

        chosen["engine"] = ray_engine(address, workers=workers, device=chosen.pop("device", None))
    for outcome in run(find_or_demo(features, corpus, say=say), modality, encoder, say=say, **chosen):
        click.echo(outcome)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(dir_okay=False, path_type=Path))
@corpus_option
@features_option
@click.option(
    "--frames", "utterance", metavar="ID", help="Write a PNG of the pictures that were taken of an utterance."
)
@click.option("--out", type=FOLDER, default=Path(), help="Folder for it.  [default: the current folder]")
def inspect(files: tuple[Path, ...], corpus: str | None, features: Path, utterance: str | None, out: Path) -> None:
    """Print what feature files hold.

    Of FILES, by default all of the corpus: spec, counts, sizes, and what is missing or failed. With --frames ID, a
    contact sheet of the pictures behind an utterance's visual features instead, as they were cropped.
    """
    from gia_mic.extract.contact_sheet import contact_sheet
    from gia_mic.extract.corpus import find
    from gia_mic.extract.inspection import feature_files
    from gia_mic.extract.inspection import inspect as inspect_file

    if utterance is not None:
        prepared = find(features, corpus)
        for path in files or feature_files(prepared.folder, "visual"):
            click.echo(contact_sheet(prepared, path, utterance, out))
        return
    for path in files or feature_files(find(features, corpus).folder):
        click.echo(inspect_file(path) + "\n")


@click.command()
@click.argument("files", nargs=-1, type=click.Path(dir_okay=False, path_type=Path))
@corpus_option
@features_option
def verify(files: tuple[Path, ...], corpus: str | None, features: Path) -> None:
    """Read every byte of feature files and name what is damaged.

    Of FILES, by default all of the corpus, against their checksums.
    """
    from gia_mic.extract.corpus import find
    from gia_mic.extract.inspection import feature_files, verify_all

    for line in verify_all(files or feature_files(find(features, corpus).folder)):
        click.echo(line)


COMMANDS = (extract, inspect, verify)
