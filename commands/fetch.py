"""`mer fetch`: the encoders' files come to this machine, for machines without a network."""

from pathlib import Path

import click


@click.command()
@click.argument("encoders", nargs=-1, metavar="[ENCODER|RUN]...")
@click.option(
    "--revision", help="Download this commit, tag or branch of the models; a RUN has recorded its own.  [default: main]"
)
def fetch(encoders: tuple[str, ...], revision: str | None) -> None:
    """Download encoders, for machines without a network.

    ENCODER is a Hugging Face id. RUN is the folder of a run or of an export, whose encoders are downloaded, or
    hf://OWNER/NAME, whose own files are downloaded too. Without either, the default encoders of all modalities are. The
    files go to the hub's local cache. Then all commands work with HF_HUB_OFFLINE=1, here and wherever HF_HOME is the
    same folder.
    """
    from gia_mic.extract.config import DEFAULT_MODELS
    from gia_mic.extract.encoders.fetch import fetch as download
    from gia_mic.extract.files import size_text
    from gia_mic.fuse.runs.folder import find_run_dirs, read_config
    from gia_mic.rebuild import recorded_models
    from gia_mic.repository import HUB, local_run

    models: dict[tuple[str, str | None], None] = {}
    for encoder in encoders or DEFAULT_MODELS.values():
        is_run = encoder.startswith(HUB) or Path(encoder).is_dir()
        if revision and is_run:
            raise click.UsageError(
                f"--revision is of hub ids; the run {encoder} recorded its own: leave one of them out."
            )
        pairs = [(encoder, revision)]
        if is_run:
            folder = local_run(encoder, with_code=True)
            pairs = recorded_models(read_config(find_run_dirs(folder)[0]))
            if encoder.startswith(HUB):
                click.echo(f"{encoder}: in {folder}")
        models.update(dict.fromkeys(pairs))
    total = 0
    for fetched in download(models):
        total += fetched.bytes
        click.echo(fetched)
    if len(models) > 1:
        click.echo(f"{len(models)} models, {size_text(total)} in all")


COMMANDS = (fetch,)
